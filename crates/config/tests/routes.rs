//! `[[route]]` as it is read: conditions, actions, rewrites and changes of fields, and what is said
//! about those that cannot be meant.

use tidegate_config::{Loaded, parse};
use tidegate_model::{Action, Route};

/// What every file needs, on one line so that the lines of a test count from 2.
const LISTENER: &str = "listener = [{ address = '0.0.0.0:8080' }]\n";

fn problems(route: &str) -> Vec<String> {
    let problems = parse("t", &format!("{LISTENER}[[route]]\n{route}")).expect_err("no route");
    problems.iter().map(|problem| problem.to_string().replacen("t:", "", 1)).collect()
}

#[track_caller]
fn problem(route: &str) -> String {
    let mut problems = problems(route);
    assert_eq!(problems.len(), 1, "{route}: {problems:#?}");
    problems.remove(0)
}

fn loaded(routes: &str) -> Loaded {
    parse("t", &format!("{LISTENER}{routes}")).expect("it reads")
}

fn route(lines: &str) -> Route {
    loaded(&format!("[[route]]\n{lines}")).config.routes.remove(0)
}

#[test]
fn conditions_are_read() {
    let read = route(
        "upstream = 'a'\nmethod = 'GET'\nheader = { X-Env = 'gray' }\ncookie = { Uid = '~ ^7' }\n\
         query = { v = '2' }",
    );
    let conditions = &read.conditions;
    assert_eq!(conditions.methods, ["GET", "HEAD"], "a HEAD goes the same way");
    assert_eq!(conditions.headers[0].0, "x-env");
    assert_eq!(conditions.cookies[0].0, "Uid", "cookies have case");
    assert!(conditions.arguments[0].1.matches(b"2") && conditions.cookies[0].1.matches(b"71"));
    assert_eq!(route("upstream = 'a'\nmethod = ['PUT']").conditions.methods, ["PUT"]);
}

#[test]
fn bad_conditions_are_refused() {
    for (line, message) in [
        (
            "method = []",
            "4:10: route.method: an empty list matches nothing; leave the key out to match everything",
        ),
        ("method = 'get'", "4:10: route.method: never matches: the method is GET"),
        ("method = 'a b'", "4:10: route.method: \"a b\" is no method"),
        ("method = ['CONNECT']", "4:11: route.method: never matches: CONNECT is not offered"),
        ("header = {}", "4:10: route.header: an empty table asks for nothing; leave the key out"),
        ("header = { Host = 'a' }", "4:19: route.header.Host: the host has a key of its own: host"),
        ("header = { 'a b' = 'a' }", "4:20: route.header.\"a b\": \"a b\" is no name of a header"),
        (
            "header = { a = 7 }",
            "4:16: route.header.a: expected a value in quotes, or \"~ regex\", found an integer",
        ),
        ("cookie = { 'a;' = 'a' }", "4:19: route.cookie.\"a;\": \"a;\" is no name of a cookie"),
        (
            "query = { 'a&b' = 'a' }",
            "4:19: route.query.\"a&b\": \"a&b\" is no name as it stands in a query: escaped, without '&' and '='",
        ),
    ] {
        assert_eq!(problem(&format!("upstream = 'app'\n{line}")), message);
    }
    let regex = problem("upstream = 'app'\nheader = { a = '~ (' }");
    assert!(regex.starts_with("4:16: route.header.a: regex parse error"), "{regex}");
    let all = problems("upstream = 'a'\nheader = { 'a b' = '1', Host = '2', c = '~ [' }");
    assert!(all.len() == 1, "the bad value takes the table: {all:?}");
    let all = problems("upstream = 'a'\nheader = { 'a b' = '1', Host = '2' }");
    assert_eq!(all.len(), 2, "{all:?}");
}

#[test]
fn a_route_has_one_action() {
    assert_eq!(
        problem("path = '/'"),
        "2:1: route.upstream: this key is required, or split, respond or redirect in its place"
    );
    assert_eq!(
        problem("respond = {}\nredirect = { location = '/' }"),
        "4:12: route.redirect: there is respond already: a route has one of upstream, split, respond, redirect"
    );
    let said =
        problems("redirect = { location = '/' }\nfallback = 'a'\nupgrade = []\nrewrite = {}");
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().all(|line| line.ends_with("and no server is asked")), "{said:?}");
}

#[test]
fn actions_are_read() {
    let Action::Split(split) = route("split = { key = 'cookie:uid', to = [{ upstream = 'a', weight = 95 }, { upstream = 'b_${host}', weight = 5 }] }").action else {
        panic!("no split")
    };
    assert_eq!((split.key.to_string().as_str(), split.to[1].weight), ("cookie:uid", 5));
    let Action::Respond(respond) =
        route("respond = { body = 'x', headers = { a = '${host}' } }").action
    else {
        panic!("no answer")
    };
    assert_eq!((respond.status, &*respond.body), (200, &b"x"[..]));
    let Action::Redirect(redirect) = route("redirect = { location = '/${host}' }").action else {
        panic!("no redirect")
    };
    assert_eq!((redirect.status, redirect.location.as_str()), (302, "/${host}"));
}

#[test]
fn bad_actions_are_refused() {
    for (lines, message) in [
        (
            "split = { key = 'uid', to = [{ upstream = 'a', weight = 1 }] }",
            "3:17: route.split.key: \"uid\" is none of client_ip, uri, header:NAME, cookie:NAME and query:NAME",
        ),
        ("split = { key = 'uri' }", "3:9: route.split.to: this key is required"),
        ("split = { key = 'uri', to = [] }", "3:29: route.split.to: at least one pool is needed"),
        (
            "split = { key = 'uri', to = [{ upstream = 'a', weight = 0 }] }",
            "3:29: route.split.to: one of them has to have weight",
        ),
        (
            "split = { key = 'uri', to = [{ upstream = 'a' }] }",
            "3:30: route.split.to.weight: this key is required",
        ),
        (
            "split = { key = 'uri', to = [{ upstream = '${server}', weight = 1 }] }",
            "3:43: route.split.to.upstream: ${upstream} and ${server} are not known before a pool is chosen",
        ),
        (
            "split = { key = 'uri', to = [{ upstream = 'a', weight = 1 }] }\nupstream_in = ['b*']",
            "3:43: route.split.to.upstream: \"a\" is not among upstream_in",
        ),
        ("respond = { status = 101 }", "3:22: route.respond.status: has to be from 200 to 599"),
        (
            "respond = { status = 204, body = 'x' }",
            "3:34: route.respond.body: an answer of 204 has none",
        ),
        (
            "respond = { headers = { content-length = '1' } }",
            "3:42: route.respond.headers.content-length: \"content-length\" may not be changed: it says where the body ends",
        ),
        (
            "respond = { headers = { a = '${server}' } }",
            "3:23: route.respond.headers: ${upstream} and ${server} mean nothing here: no server is asked",
        ),
        (
            "redirect = { status = 300, location = '/' }",
            "3:23: route.redirect.status: has to be 301, 302, 303, 307 or 308",
        ),
        ("redirect = { location = '' }", "3:25: route.redirect.location: may not be empty"),
        (
            "redirect = { location = 'a b' }",
            "3:25: route.redirect.location: a reference holds neither blanks nor control characters",
        ),
        (
            "redirect = { location = '/${upstream}' }",
            "3:25: route.redirect.location: ${upstream} and ${server} mean nothing here: no server is asked",
        ),
        ("redirect = {}", "3:12: route.redirect.location: this key is required"),
        (
            "respond = {}\nresponse_headers = { set = { a = '${server}' } }",
            "4:20: route.response_headers: ${upstream} and ${server} mean nothing here: no server is asked",
        ),
    ] {
        assert_eq!(problem(lines), message);
    }
    let long = problem(&format!("respond = {{ body = '{}' }}", "x".repeat(64 * 1024 + 1)));
    assert!(long.ends_with("at most 64k: larger ones are a server's"), "{long}");
}

#[test]
fn bad_rewrites_are_refused() {
    for (line, message) in [
        ("strip_prefix = 'ws'", "4:16: route.strip_prefix: a path starts with '/'"),
        ("strip_prefix = '/'", "4:16: route.strip_prefix: there is nothing to strip"),
        (
            "strip_prefix = '/a//b'",
            "4:16: route.strip_prefix: slashes are merged before: it is never there",
        ),
        ("rewrite = { to = '/' }", "4:11: route.rewrite.from: this key is required"),
        (
            "rewrite = { from = '^/(a)', to = 'x' }",
            "4:34: route.rewrite.to: a path starts with '/'",
        ),
        (
            "rewrite = { from = '^/(a)', to = '/$2' }",
            "4:34: route.rewrite.to: \"from\" captures no \"2\"; ${1}x is $1 and an x",
        ),
        (
            "rewrite = { from = '^/(a)', to = '/?a=$1' }",
            "4:34: route.rewrite.to: a '?' has no place here: a path, not escaped, without a query",
        ),
    ] {
        assert_eq!(problem(&format!("upstream = 'app'\n{line}")), message);
    }
    assert_eq!(
        problem("upstream = 'a'\nstrip_prefix = '/a'\nrewrite = { from = 'a', to = '/b' }"),
        "5:11: route.rewrite: there is strip_prefix already: a path is rewritten once"
    );
    let regex = problem("upstream = 'a'\nrewrite = { from = '(', to = '/b' }");
    assert!(regex.starts_with("4:20: route.rewrite.from: regex parse error"), "{regex}");
}

#[test]
fn fields_that_others_stand_on_may_not_be_changed() {
    for name in [
        "Connection",
        "keep-alive",
        "TE",
        "Upgrade",
        "Transfer-Encoding",
        "content-length",
        "trailer",
        "Host",
        "expect",
        "Max-Forwards",
        "http2-settings",
        "proxy-connection",
    ] {
        for line in [
            format!("request_headers = {{ set = {{ {name} = 'x' }} }}"),
            format!("request_headers = {{ add = {{ {name} = 'x' }} }}"),
            format!("request_headers = {{ remove = ['{name}'] }}"),
        ] {
            let said = problem(&format!("upstream = 'a'\n{line}"));
            assert!(said.contains(&format!("\"{name}\" may not be changed: ")), "{said}");
        }
    }
    let of = |table: &str| problem(&format!("upstream = 'a'\nresponse_headers = {{ {table} }}"));
    assert_eq!(
        of("set = { Date = 'x' }"),
        "4:37: route.response_headers.set.Date: \"Date\" may not be changed: it says when the answer was made"
    );
    assert!(of("remove = ['a b']").contains("\"a b\" is no name of a header"));
    assert!(of("set = { a = \"x\\r\\nb: c\" }").contains("holds a control character"));
    assert!(of("set = { a = '1', A = '2' }").contains("it is there twice: names have no case"));
    assert!(of("set = { a = '1' }, remove = ['A']").contains("it is set or added, too"));
    assert!(of("sett = {}").contains("did you mean \"set\""));
    let read = route(
        "upstream = 'a'\nresponse_headers = { set = { a = '${server}' }, remove = ['host'] }",
    );
    assert!(read.response_headers.take("HOST") && read.request_headers.is_empty());
}

#[test]
fn what_can_never_match_is_warned_of_and_nothing_else() {
    let warnings = |routes: &[&str]| -> Vec<String> {
        let text: String = routes.iter().map(|lines| format!("[[route]]\n{lines}\n")).collect();
        let found = loaded(&text).warnings.into_iter();
        let found = found.filter(|one| one.message.starts_with("never matches"));
        found.map(|one| format!("{}: {}", one.line, one.message)).collect()
    };
    let [plain, gray, get] =
        ["respond = {}", "cookie = { gray = 'b' }\nrespond = {}", "method = 'GET'\nrespond = {}"];
    let covered = |line: usize, by: usize| {
        vec![format!("{line}: never matches: the route at t:{by}:1 takes all of it")]
    };
    assert!(warnings(&[gray, get, plain]).is_empty());
    assert_eq!(warnings(&[plain, gray]), covered(4, 2));
    assert_eq!(warnings(&[gray, gray]), covered(5, 2));
    assert_eq!(warnings(&[get, "method = ['HEAD']\nrespond = {}"]), covered(5, 2));
    assert!(warnings(&[get, "method = ['PUT']\nrespond = {}"]).is_empty());
    assert!(
        warnings(&["header = { a = '1' }\nrespond = {}", "header = { a = '2' }\nrespond = {}"])
            .is_empty()
    );
    assert!(warnings(&["host = 'x'\nrespond = {}", gray, plain]).is_empty());
}

#[test]
fn pools_of_a_split_are_known_or_warned_of() {
    let said = loaded(
        "[[route]]\nsplit = { key = 'uri', to = [{ upstream = 'a', weight = 1 }, { upstream = 'b', weight = 1 }] }\n[upstream.a]",
    );
    let said: Vec<_> = said.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["t:3:75: route.split.to.upstream: no pool \"b\" here: 502 until the API makes it"]
    );
}

#[test]
fn the_recipes_of_the_documentation_are_read() {
    let documentation = include_str!("../../../docs/routing.md");
    let blocks = documentation.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let blocks: Vec<_> = blocks.map(|(block, _)| block).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let warnings = loaded(block).warnings.into_iter();
        let never: Vec<_> = warnings.filter(|one| one.message.starts_with("never")).collect();
        assert!(never.is_empty(), "{never:?}");
    }
}
