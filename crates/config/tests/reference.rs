//! `config/reference.toml` and the files beside it against the program: the defaults written there are
//! the built-in ones, every key that is known stands there, and nothing else does.

use std::{collections::BTreeSet, path::PathBuf};

use tidegate_config::{Config, Problem, load, parse};
use tidegate_model::UpstreamSpec;

const REFERENCE: &str = include_str!("../../../config/reference.toml");

const STRANGER: &str = "zzzzzzzzzzzz";

/// The required keys and those whose value is an example; all else is default.
const ESSENCE: &str = r#"
    [access_log]
    path = "stdout"
    [[listener]]
    address = "0.0.0.0:8080"
    [[listener]]
    address = "0.0.0.0:8443"
    protocol = "tcp"
    upstream = "tls"
    sni = [{ name = "*.example.com", upstream = "tls" }]
    [[listener]]
    address = "0.0.0.0:53"
    protocol = "udp"
    upstream = "dns"
    [[route]]
    upstream = "ImGateway"
    [upstream.ImGateway]
    servers = ["10.0.0.1:8080", "10.0.0.2:8080"]
    [upstream.tls]
    servers = ["10.0.0.3:443"]
    [upstream.dns]
    servers = ["10.0.0.4:53"]
"#;

fn config(text: &str) -> Config {
    parse("test.toml", text).expect("it reads").config
}

/// Everything, with the settings in effect instead of `[upstream_defaults]` as typed.
fn meant(text: &str) -> String {
    let mut config = config(text);
    let defaults = std::mem::take(&mut config.upstream_defaults);
    format!("{config:#?}\n{:#?}", UpstreamSpec::default().resolve(&defaults))
}

/// The reference with the settings that have no default switched on, too.
fn complete() -> String {
    let switched_on = |line: &'static str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with([' ', '#']) => setting,
        _ => line,
    };
    REFERENCE.lines().map(|line| format!("{}\n", switched_on(line))).collect()
}

#[test]
fn the_defaults_of_the_reference_are_the_built_in_ones() {
    assert_eq!(meant(REFERENCE), meant(ESSENCE));
}

/// A check is off by default, so its keys are written as examples: with the values they have when
/// the table is there and they are not.
#[test]
fn the_check_of_the_reference_is_the_built_in_one() {
    let check = |text: &str| {
        let defaults = config(text).upstream_defaults;
        UpstreamSpec::default().resolve(&defaults).check.expect("a check")
    };
    let listener = "listener = [{ address = '[::]:80' }]\n";
    let (_, rest) = REFERENCE.split_once("#[upstream_defaults.check]").expect("the table");
    let (table, _) = rest.split_once("\n[").expect("another table follows");
    let keys = table.lines().filter_map(|line| line.strip_prefix('#'));
    let keys: Vec<_> = keys.filter(|key| !key.starts_with(' ')).collect();
    assert!(keys.len() > 10);
    let written = format!("{listener}[upstream_defaults.check]\n{}", keys.join("\n"));
    let empty = format!("{listener}[upstream_defaults.check]");
    assert_eq!(check(&written), check(&empty));
}

#[test]
fn the_examples_of_the_reference_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("reference.toml");
    std::fs::write(dir.path().join("token"), "secret\n").expect("it is written");
    std::fs::write(dir.path().join("token.ci"), "another\n").expect("it is written");
    std::fs::write(&path, complete()).expect("it is written");
    let loaded = load(&path).expect("it reads");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.listeners[0].name, "edge");
    assert_eq!(loaded.config.routes[0].hosts.len(), 2);
}

#[test]
fn every_file_beside_the_reference_is_read_without_a_warning() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let files = std::fs::read_dir(dir).expect("it is listed");
    let files = files.map(|file| file.expect("a file").path()).filter(|path| path.is_file());
    let paths: Vec<_> = files.collect();
    assert!(paths.len() > 2);
    for path in paths {
        assert_eq!(load(&path).expect("it reads").warnings, [], "{}", path.display());
    }
}

/// A key nobody knows in every table makes the reader list those it knows; each has to be written
/// in the same table.
#[test]
fn every_known_key_stands_in_the_reference() {
    let mut text = format!("{STRANGER} = 1\n");
    for line in complete().lines() {
        text += &line.replace("tags = {}", &format!("tags = {{}}, {STRANGER} = 1"));
        text += "\n";
        if line.starts_with('[') {
            text += &format!("{STRANGER} = 1\n");
        }
    }
    let problems = parse("test.toml", &text).expect_err("strangers");
    let tables: Vec<_> = problems.iter().filter(|p| p.key.ends_with(STRANGER)).collect();
    assert_eq!(tables.len(), text.matches(STRANGER).count());

    let written: BTreeSet<_> = written_keys(&complete()).iter().map(|key| of_a_pool(key)).collect();
    for key in tables.into_iter().flat_map(known_keys) {
        assert!(written.contains(&of_a_pool(&key)), "{key}");
    }
}

/// The keys of a pool are written once, for any pool or for all of them.
fn of_a_pool(key: &str) -> String {
    let own = key.strip_prefix("upstream.").and_then(|rest| rest.split_once('.'));
    own.map_or_else(|| key.to_owned(), |(_, key)| format!("upstream_defaults.{key}"))
}

/// The keys that the message lists, each after the table it is about.
fn known_keys(problem: &Problem) -> Vec<String> {
    let table = problem.key.strip_suffix(STRANGER).expect("it is about the stranger");
    let (_, listed) = problem.message.split_once("known here: ").expect("a list of keys");
    listed.split(", ").map(|key| format!("{table}{key}")).collect()
}

/// Every key of a file in `table.key` form, also those of inline tables, and every table.
fn written_keys(text: &str) -> BTreeSet<String> {
    let table: toml::Table = text.parse().expect("it is TOML");
    let mut keys = BTreeSet::new();
    collect("", &toml::Value::Table(table), &mut keys);
    keys
}

fn collect(path: &str, value: &toml::Value, keys: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            collect(&path, value, keys);
            keys.insert(path);
        }),
        toml::Value::Array(values) => values.iter().for_each(|value| collect(path, value, keys)),
        _ => {}
    }
}

#[test]
fn the_examples_of_the_documentation_are_read() {
    let pages =
        [include_str!("../../../docs/configuration.md"), include_str!("../../../docs/http2.md")];
    let blocks = pages.iter().flat_map(|page| page.split("```toml\n").skip(1));
    let blocks: Vec<_> = blocks.collect();
    assert!(blocks.len() > 7);
    for block in blocks {
        let (example, _) = block.split_once("```").expect("the block ends");
        let listener = "listener = [{ address = '[::]:80' }]\n";
        let listener = if example.contains("[[listener]]") { "" } else { listener };
        let text = format!("{listener}{example}");
        assert!(parse("example", &text).is_ok(), "{:?}\n{example}", parse("example", &text));
    }
}
