//! Changes of header fields: which lines go, and which come in their place.

use crate::Template;

/// Fields whose value lets somebody in, by what their names hold.
const CREDENTIALS: [&str; 7] =
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey"];

/// What is changed about the fields of a message. `Default` changes nothing.
#[derive(Clone, Debug, Default)]
pub struct FieldEdits {
    /// Each takes the place of all lines of its name.
    pub set: Vec<(String, Template)>,
    /// Further lines.
    pub add: Vec<(String, Template)>,
    pub remove: Vec<String>,
}

impl FieldEdits {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Whether the lines of that name that are there go.
    pub fn take(&self, name: &str) -> bool {
        let set = self.set.iter().map(|(name, _)| name);
        set.chain(&self.remove).any(|one| one.eq_ignore_ascii_case(name))
    }

    /// The lines that come, in order.
    pub fn lines(&self) -> impl Iterator<Item = &(String, Template)> {
        self.set.iter().chain(&self.add)
    }

    pub(super) fn templates_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        self.set.iter_mut().chain(&mut self.add).map(|(_, value)| value)
    }
}

/// Whether the value of a field of that name is nobody's to see.
pub fn is_credential(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    CREDENTIALS.iter().any(|word| field.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_or_removed_takes_the_lines_that_are_there() {
        let line = |name: &str| (name.to_owned(), Template::parse("v").expect("a template"));
        let edits = FieldEdits {
            set: vec![line("X-Set")],
            add: vec![line("X-Add")],
            remove: vec!["x-gone".into()],
        };
        assert!(edits.take("x-set") && edits.take("X-Gone") && !edits.take("X-Add"));
        assert!(!FieldEdits::default().take("") && FieldEdits::default().is_empty());
        let names: Vec<_> = edits.lines().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["X-Set", "X-Add"]);
    }
}
