//! What a client is shown instead of our one plain line: a file by status, read when the
//! configuration is.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::Arc,
};

use crate::upstream::StatusPattern;

/// The pages of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages(Vec<(StatusPattern, Arc<Page>)>);

/// The content of a file.
#[derive(PartialEq, Eq)]
pub struct Page {
    pub content_type: &'static str,
    pub body: Box<[u8]>,
}

impl ErrorPages {
    pub fn new(mut pages: Vec<(StatusPattern, Arc<Page>)>) -> Self {
        // A status itself comes before its class.
        pages.sort_by_key(|(pattern, _)| matches!(pattern, StatusPattern::Class(_)));
        Self(pages)
    }

    /// What is shown with that status.
    pub fn of(&self, status: u16) -> Option<&Page> {
        let (_, page) = self.0.iter().find(|(pattern, _)| pattern.matches(status))?;
        Some(page)
    }
}

impl Page {
    /// The type of a file by the end of its name; `None` when that tells of none.
    pub fn content_type(path: &Path) -> Option<&'static str> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match &*extension {
            "html" | "htm" => "text/html; charset=utf-8",
            "json" => "application/json",
            "txt" => "text/plain; charset=utf-8",
            _ => return None,
        })
    }
}

/// A fingerprint in place of a megabyte: whether two configurations are the same is told by their
/// `Debug` form.
impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.body.hash(&mut hasher);
        f.debug_struct("Page")
            .field("content_type", &self.content_type)
            .field("length", &self.body.len())
            .field("hash", &hasher.finish())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Arc<Page> {
        Arc::new(Page { content_type: "text/plain", body: text.as_bytes().into() })
    }

    #[test]
    fn a_status_itself_comes_before_its_class() {
        let pages = ErrorPages::new(vec![
            (StatusPattern::Class(5), page("any")),
            (StatusPattern::Code(502), page("this one")),
        ]);
        let shown = |status| pages.of(status).map(|page| &*page.body);
        assert_eq!(shown(502), Some(&b"this one"[..]));
        assert_eq!(shown(504), Some(&b"any"[..]));
        assert_eq!(shown(404), None);
    }

    #[test]
    fn the_end_of_a_name_tells_the_type() {
        let of = |name: &str| Page::content_type(Path::new(name));
        assert_eq!(of("a/502.HTML"), Some("text/html; charset=utf-8"));
        assert_eq!(of("e.json"), Some("application/json"));
        assert_eq!((of("html"), of("a.png"), of("a.")), (None, None, None));
    }

    #[test]
    fn what_is_printed_tells_contents_apart() {
        assert_eq!(format!("{:?}", page("a")), format!("{:?}", page("a")));
        assert_ne!(format!("{:?}", page("a")), format!("{:?}", page("b")));
    }
}
