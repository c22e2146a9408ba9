//! Routes that can never match, because an earlier one takes every request they could: the first
//! match wins, unlike nginx's longest prefix, and people who come from there trip over it.

use tidegate_model::{HostPattern, PathPattern, Route};

/// Whether `first` takes every request of `route`.
pub(crate) fn covers(first: &Route, route: &Route) -> bool {
    covers_path(&first.path, &route.path)
        && covers_all(&first.listeners, &route.listeners, |a, b| a == b)
        && covers_all(&first.hosts, &route.hosts, covers_host)
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
    use tidegate_model::Template;

    use super::*;

    fn route(listeners: &[&str], hosts: &[&str], path: &str) -> Route {
        let host = |text: &&str| HostPattern::parse(text).expect("a host");
        Route {
            listeners: listeners.iter().map(ToString::to_string).collect(),
            hosts: hosts.iter().map(host).collect(),
            path: PathPattern::parse(path).expect("a path"),
            upstream: Template::parse("a").expect("a template"),
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
}
