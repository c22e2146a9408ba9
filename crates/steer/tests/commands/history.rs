//! `tidegate history`, `diff`, `restore`.

use serde_json::json;

use crate::kit::{Proxy, Reply, changed};

#[test]
fn history_is_a_table_that_says_where_it_goes_on() {
    let proxy = Proxy::of(&[(
        "GET /api/v1/generations?limit=2&upstream=chat",
        Reply::json(json!({"generations": [
            {"generation": 42, "at": "2026-11-27T10:00:00Z", "source": "api", "caller": "ci",
                "reason": "more room", "changed": ["chat"]},
            {"generation": 41, "at": "2026-11-27T09:00:00Z", "source": "dyups", "caller": "127.0.0.1",
                "reason": null, "changed": ["chat", "shop"]},
        ], "next": 41, "oldest": 3})),
    )]);
    let said = proxy.run("history chat --limit 2");
    let want = "GENERATION  AT                    SOURCE  CHANGED     REASON     CALLER\n\
                \x20       42  2026-11-27T10:00:00Z  api     chat        more room  ci\n\
                \x20       41  2026-11-27T09:00:00Z  dyups   chat, shop             127.0.0.1\n";
    assert_eq!((said.code, said.out.as_str()), (0, want));
    let want =
        "there are more: --before 41 goes on, --limit shows more\nwhat was before 3 is forgotten\n";
    assert_eq!(said.err, want);
}

#[test]
fn a_diff_reads_like_one() {
    let proxy = Proxy::of(&[
        (
            "GET /api/v1/generations/40/diff?to=42",
            Reply::json(json!({"from": 40, "to": 42, "changes": [
                {"upstream": "chat", "change": "changed", "before": {"servers": ["a:1", "b:1"]},
                    "after": {"servers": ["b:1", "c:1"]}},
                {"upstream": "shop", "change": "deleted", "before": {"balance": "hash"}, "after": null},
            ]})),
        ),
        (
            "GET /api/v1/generations/41/diff?to=41",
            Reply::json(json!({"from": 41, "to": 41, "changes": []})),
        ),
    ]);
    let want = "chat changed\n  - servers = \"a:1\"\n  + servers = \"c:1\"\n\
                shop deleted\n  - balance = \"hash\"\n";
    assert_eq!(proxy.run("diff 40 42").out, want);
    assert_eq!(proxy.run("diff 41 41").out, "generations 41 and 41 are the same\n");
}

#[test]
fn restore_is_a_change_like_others() {
    let proxy = Proxy::new(|_| changed(44, &["chat", "shop"]));
    let said = proxy.run("restore 40 --existing drain --reason oops --dry-run");
    assert_eq!(said.out, "changed chat, shop: generation 44, on disk, visible after 87 µs\n");
    let asked = proxy.last();
    assert_eq!(asked.target, "/api/v1/generations/40/restore?dry_run=true");
    assert_eq!(asked.body, json!({"existing": "drain", "reason": "oops"}));
}
