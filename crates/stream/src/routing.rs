//! Which pool a connection goes to: the listener's own, or that of the first rule for the name which
//! its ClientHello asks for.

use tidegate_model::{HostPattern, Name};

/// The pools of one tcp listener.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Where connections go that no rule is for.
    pub upstream: Option<Name>,
    /// By the name in a ClientHello, the most specific first.
    pub rules: Vec<(HostPattern, Name)>,
}

impl Routing {
    /// Whether the pool depends on what the client says first.
    pub(crate) fn needs_hello(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The pool for a client that asks for that name, or for none.
    pub(crate) fn pool(&self, server_name: Option<&str>) -> Option<&Name> {
        let named = server_name.and_then(|name| {
            self.rules.iter().find(|(pattern, _)| pattern.matches(name)).map(|(_, pool)| pool)
        });
        named.or(self.upstream.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_for_the_name_then_the_listeners_own_pool() {
        let name = |text: &str| Name::new(text).expect("a name");
        let rule = |pattern, pool| (HostPattern::parse(pattern).expect("a pattern"), name(pool));
        let rules = vec![rule("a.test", "exact"), rule("*.test", "wild")];
        let mut routing = Routing { upstream: Some(name("other")), rules };
        let pools = |routing: &Routing| {
            [Some("a.test"), Some("b.test"), Some("a.example"), None]
                .map(|asked| routing.pool(asked).map(|pool| pool.as_str().to_owned()))
        };
        let some = |pool: &str| Some(pool.to_owned());
        assert_eq!(pools(&routing), [some("exact"), some("wild"), some("other"), some("other")]);
        routing.upstream = None;
        assert_eq!(pools(&routing), [some("exact"), some("wild"), None, None]);
    }
}
