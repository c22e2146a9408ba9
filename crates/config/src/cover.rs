//! Routes that can never match, because an earlier one takes every request they could: the first
//! match wins, unlike nginx's longest prefix, and people who come from there trip over it.

use std::collections::HashMap;

use tidegate_model::{HostPattern, PathPattern, Route};

/// Routes so far, in file order. Those with hosts are found by these: 10,000 hosts are not compared
/// with one another.
#[derive(Default)]
pub(crate) struct Earlier<'r> {
    list: Vec<&'r Route>,
    by_host: HashMap<&'r str, Vec<usize>>,
    any_host: Vec<usize>,
}

impl<'r> Earlier<'r> {
    /// Which of them takes every request of `route`, by its number.
    pub(crate) fn covering(&self, route: &Route) -> Option<usize> {
        // Whoever takes all of its hosts takes the first.
        let of_host = route.hosts.first().into_iter().flat_map(hosts_above);
        let of_host = of_host.filter_map(|host| self.by_host.get(host)).flatten();
        let covering = |at: &&usize| covers(self.list[**at], route);
        of_host.chain(&self.any_host).filter(covering).min().copied()
    }

    pub(crate) fn push(&mut self, route: &'r Route) {
        let at = self.list.len();
        self.list.push(route);
        if route.hosts.is_empty() {
            self.any_host.push(at);
        }
        for host in &route.hosts {
            let (HostPattern::Exact(text) | HostPattern::Suffix(text)) = host;
            self.by_host.entry(text).or_default().push(at);
        }
    }
}

/// A host as it is written, and every wildcard above it without its star.
fn hosts_above(host: &HostPattern) -> impl Iterator<Item = &str> {
    let (HostPattern::Exact(text) | HostPattern::Suffix(text)) = host;
    let dots = text.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'.');
    std::iter::once(text.as_str()).chain(dots.map(|(at, _)| &text[at..]))
}

/// Whether `first` takes every request of `route`.
fn covers(first: &Route, route: &Route) -> bool {
    covers_path(&first.path, &route.path)
        && covers_all(&first.listeners, &route.listeners, |a, b| a == b)
        && covers_all(&first.hosts, &route.hosts, covers_host)
        && first.conditions.cover(&route.conditions)
}

/// Whether each of `later` is covered; no restriction covers everything and nothing else covers it.
fn covers_all<T>(first: &[T], later: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    let covered = |one: &T| first.iter().any(|other| covers(other, one));
    first.is_empty() || (!later.is_empty() && later.iter().all(covered))
}

fn covers_host(first: &HostPattern, later: &HostPattern) -> bool {
    use HostPattern::{Exact, Suffix};
    match (first, later) {
        (Exact(a), Exact(b)) => a == b,
        (Exact(_), Suffix(_)) => false,
        (Suffix(a), Suffix(b)) => b.ends_with(a.as_str()),
        (Suffix(a), Exact(b)) => b.len() > a.len() && b.ends_with(a.as_str()),
    }
}

fn covers_path(first: &PathPattern, later: &PathPattern) -> bool {
    use PathPattern::{Exact, Prefix, Regex};
    match (first, later) {
        (Prefix(a), _) if a == "/" => true,
        (Prefix(a), Prefix(b) | Exact(b)) => b.starts_with(a.as_str()),
        (Exact(a), Exact(b)) => a == b,
        (Regex(a), Exact(b)) => a.is_match(b.as_bytes()),
        (Regex(a), Regex(b)) => a.as_str() == b.as_str(),
        (Prefix(_), Regex(_)) | (Exact(_) | Regex(_), Prefix(_)) | (Exact(_), Regex(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::route::{Conditions, ValuePattern};

    use super::*;

    fn route(listeners: &[&str], hosts: &[&str], path: &str) -> Route {
        let host = |text: &&str| HostPattern::parse(text).expect("a host");
        Route {
            listeners: listeners.iter().map(ToString::to_string).collect(),
            hosts: hosts.iter().map(host).collect(),
            path: PathPattern::parse(path).expect("a path"),
            ..crate::route::catch_all()
        }
    }

    fn covers_paths(first: &str, later: &str) -> bool {
        covers(&route(&[], &[], first), &route(&[], &[], later))
    }

    #[test]
    fn a_prefix_takes_what_begins_with_it() {
        for (first, later) in [
            ("/", "/a"),
            ("/a", "/a"),
            ("/a", "/ab"),
            ("/a", "= /a/b"),
            ("= /a", "= /a"),
            ("/", "~ ^/x"),
            ("~ ^/x", "~ ^/x"),
            ("~ ^/x", "= /xy"),
        ] {
            assert!(covers_paths(first, later), "{first} should cover {later}");
        }
        for (first, later) in
            [("/a", "/"), ("= /a", "/a"), ("/a", "~ ^/a"), ("~ ^/a", "/a"), ("/ab", "/a")]
        {
            assert!(!covers_paths(first, later), "{first} should not cover {later}");
        }
    }

    #[test]
    fn a_restriction_covers_only_a_narrower_one() {
        let hosts = |a: &[&str], b: &[&str]| covers(&route(&[], a, "/"), &route(&[], b, "/"));
        assert!(hosts(&[], &["a.b"]) && hosts(&["*.b"], &["a.b"]) && hosts(&["*.b"], &["*.a.b"]));
        assert!(hosts(&["a.b", "c.d"], &["c.d"]));
        assert!(!hosts(&["a.b"], &[]) && !hosts(&["a.b"], &["a.b", "c.d"]));
        assert!(!hosts(&["*.b"], &["b"]) && !hosts(&["a.b"], &["*.b"]));
        let listeners = |a: &[&str], b: &[&str]| covers(&route(a, &[], "/"), &route(b, &[], "/"));
        assert!(listeners(&[], &["x"]) && listeners(&["x", "y"], &["y"]));
        assert!(!listeners(&["x"], &[]) && !listeners(&["x"], &["y"]));
    }

    #[test]
    fn what_asks_for_more_is_covered_and_not_the_reverse() {
        let gray = ValuePattern::parse("b").expect("a value");
        let conditions =
            Conditions { cookies: vec![("gray".into(), gray)], ..Conditions::default() };
        let all = route(&[], &[], "/a");
        let some = Route { conditions, ..all.clone() };
        assert!(covers(&all, &some) && covers(&some, &some) && !covers(&some, &all));
    }

    #[test]
    fn earlier_routes_are_found_by_any_host() {
        let routes = [
            route(&[], &["x.example"], "/a"),
            route(&[], &["*.b.example", "c.example"], "/"),
            route(&[], &[], "/any"),
            route(&[], &["*.example"], "/z"),
        ];
        let mut earlier = Earlier::default();
        routes.iter().for_each(|route| earlier.push(route));
        let covering = |hosts: &[&str], path: &str| earlier.covering(&route(&[], hosts, path));
        assert_eq!(covering(&["a.b.example"], "/"), Some(1));
        assert_eq!(covering(&["a.b.example", "c.example"], "/x"), Some(1));
        assert_eq!(covering(&["a.b.example", "d.example"], "/x"), None);
        assert_eq!(covering(&["*.a.b.example"], "/x"), Some(1));
        assert_eq!(covering(&["a.b.example"], "/any"), Some(1));
        assert_eq!(covering(&["a.b.example", "q"], "/any"), Some(2));
        assert_eq!(covering(&[], "/any"), Some(2));
        assert_eq!(covering(&[], "/"), None);
        assert_eq!(covering(&["x.example"], "/z"), Some(3));
        assert_eq!(covering(&["example"], "/z"), None);
    }
}
