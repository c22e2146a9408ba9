//! `[admin]`: tokens, what they may do, the audit log and the history.

mod kit;

use std::{fs, path::Path};

use tidegate_config::{Admin, Config, History, load};
use tidegate_model::{Access, Name, Role, Span};

use kit::found;

/// A file with this `[admin]`, beside files of tokens `a`, `b`, and `c`, which is equal to `a`.
fn read(admin: &str) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect(name);
    for (name, text) in [("a", "first"), ("b", "second"), ("c", "first\nand more"), ("d", "third")]
    {
        write(name, text);
    }
    let path = folder.path().join("edge.toml");
    write("edge.toml", &format!("listener = [{{ address = '[::]:80' }}]\n[admin]\n{admin}"));
    let problem =
        |problem: &tidegate_config::Problem| format!("{}: {}", problem.key, problem.message);
    match load(Path::new(&path)) {
        Ok(loaded) => Ok(loaded.config),
        Err(problems) => Err(problems.iter().map(problem).collect()),
    }
}

fn admin(text: &str) -> Admin {
    read(text).expect("it reads").admin
}

#[test]
fn tokens_have_a_role_and_pools() {
    let admin = admin(
        "token_file = 'a'\n\
         [[admin.tokens]]\nname = 'ci'\nfile = 'b'\nrole = 'operate'\nupstreams = ['kf_*', 'one']",
    );
    let names: Vec<_> = admin.tokens.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names, ["token_file", "ci"]);
    assert_eq!(admin.tokens[0].access, Access::default());
    let ci = &admin.tokens[1];
    assert_eq!((ci.secret.reveal(), ci.access.role), ("second", Role::Operate));
    let covers = |pool: &str| ci.access.covers(&Name::new(pool).expect("a name"));
    assert!(covers("KF_7") && covers("one") && !covers("two"));
    assert!(!format!("{admin:?}").contains("second"), "the secret is shown");
}

#[test]
fn each_token_is_one_and_has_one_name() {
    let tokens = |second: &str| {
        let first = "{ name = 'ci', file = 'a', role = 'read' }";
        read(&format!("token_file = 'b'\ntokens = [{first}, {second}]")).expect_err("it is refused")
    };
    let twice = tokens("{ name = 'ci', file = 'c', role = 'admin' }");
    assert!(twice[0].starts_with("admin.tokens.name: defined twice: also at "), "{twice:?}");
    for (second, message) in [
        ("{ name = 'x', file = 'c', role = 'admin' }", "name: the same secret as that of \"ci\""),
        (
            "{ name = 'x', file = 'b', role = 'read' }",
            "name: the same secret as that of \"token_file\"",
        ),
        (
            "{ name = 'token_file', file = 'c', role = 'read' }",
            "name: \"token_file\" is what the token of that key is called",
        ),
        (
            "{ name = 'a b', file = 'c', role = 'read' }",
            "name: 1 to 64 of a-z, A-Z, 0-9, '-', '_', '.' and '@'",
        ),
        ("{ name = 'x', file = 'c' }", "role: this key is required"),
        (
            "{ name = 'x', file = 'c', role = 'root' }",
            "role: expected \"read\" or \"operate\" or \"admin\", found \"root\"",
        ),
        (
            "{ name = 'x', file = 'd', role = 'read', upstreams = [] }",
            "upstreams: an empty list matches nothing; leave the key out to match everything",
        ),
    ] {
        assert_eq!(tokens(second), [format!("admin.tokens.{message}")], "{second}");
    }
}

#[test]
fn others_than_this_machine_need_a_token_of_either_kind() {
    let open = "listen = ['0.0.0.0:1']\n";
    let refused = ["admin.listen: 0.0.0.0:1 is not a loopback address: set token_file or tokens"];
    assert_eq!(read(open).expect_err("nobody is asked"), refused);
    assert_eq!(read(&format!("{open}tokens = []")).expect_err("nobody is asked"), refused);
    let token = "tokens = [{ name = 'ci', file = 'a', role = 'read' }]";
    assert!(read(&format!("{open}{token}")).is_ok());
    assert!(read(&format!("{open}token_file = 'a'")).is_ok());
}

#[test]
fn the_audit_log_and_the_history() {
    let default = Admin::default();
    assert_eq!(default.history, History { count: 10_000, age: Span::from_secs(90 * 86_400) });
    assert_eq!((admin("").history, admin("").audit_log), (default.history, None));
    assert_eq!(admin("audit_log = ''").audit_log, None);
    let path = admin("audit_log = 'audit.log'").audit_log.expect("a path");
    assert!(path.is_absolute() && path.ends_with("audit.log"), "{}", path.display());
    let history = admin("history = { count = 5, age = '1h' }").history;
    assert_eq!(history, History { count: 5, age: Span::from_secs(3_600) });
    for (text, message) in [
        ("admin.history.count = 0", "t:2:23: admin.history.count: has to be from 1 to 1000000"),
        ("admin.history.age = '0s'", "t:2:21: admin.history.age: has to be longer than 0s"),
    ] {
        assert_eq!(found(text), [message]);
    }
}
