//! Several files as one configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tidegate_config::{ListenAddress, Loaded, Problem, load};

const MAIN: &str = "include = ['conf.d/*.toml']\n[[listener]]\naddress = '0.0.0.0:80'\n";

/// A directory with these files in it.
fn files(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("it is made");
        fs::write(path, text).expect("it is written");
    }
    dir
}

fn read(dir: &TempDir) -> Result<Loaded, Vec<Problem>> {
    load(&dir.path().join("main.toml"))
}

/// The problems, with paths from the directory on.
fn problems(dir: &TempDir) -> Vec<String> {
    let base = format!("{}/", dir.path().display());
    let problems = read(dir).expect_err("it should not read");
    problems.iter().map(|problem| problem.to_string().replace(&base, "")).collect()
}

#[test]
fn routes_follow_in_the_order_of_the_files() {
    let dir = files(&[
        ("main.toml", &format!("{MAIN}[[route]]\nupstream = 'a'\npath = '/main'")),
        ("conf.d/2.toml", "[[route]]\nupstream = 'a'\npath = '/2'"),
        ("conf.d/1.toml", "[[route]]\nupstream = 'a'\npath = '/1'\n[upstream.a]"),
        ("conf.d/ignored.txt", "not TOML"),
    ]);
    let loaded = read(&dir).expect("it reads");
    let labels: Vec<_> = loaded.config.routes.iter().map(|route| route.label.as_str()).collect();
    assert_eq!(labels, ["/main", "/1", "/2"]);
    assert_eq!(loaded.warnings, []);
    let names = ["main.toml", "conf.d/1.toml", "conf.d/2.toml"];
    assert_eq!(loaded.config.files, names.map(|name| dir.path().join(name)));
}

#[test]
fn what_two_files_define_names_both() {
    let dir = files(&[
        ("main.toml", &format!("{MAIN}[log]\n[upstream.Kf]")),
        ("conf.d/a.toml", "[log]\n[[listener]]\nname = 'x'\naddress = '0.0.0.0:80'\n[upstream.kF]"),
    ]);
    assert_eq!(
        problems(&dir),
        [
            "conf.d/a.toml:1:1: log: defined twice: also at main.toml:4:1 (log)",
            "conf.d/a.toml:4:11: listener.address: defined twice: also at main.toml:3:11 (listener.address)",
            "conf.d/a.toml:5:11: upstream.kF: defined twice: also at main.toml:5:11 (upstream.Kf)",
        ]
    );
}

#[test]
fn included_files_may_not_include() {
    let dir = files(&[("main.toml", MAIN), ("conf.d/a.toml", "include = []")]);
    assert_eq!(problems(&dir), ["conf.d/a.toml:1:11: include: included files may not include"]);
}

#[test]
fn a_pattern_may_match_nothing_but_a_file_has_to_be_there() {
    assert!(read(&files(&[("main.toml", MAIN)])).is_ok());
    let dir = files(&[("main.toml", "include = ['a.toml']")]);
    let found = problems(&dir);
    assert_eq!(found.len(), 1, "what a.toml may hold is not missed: {found:?}");
    assert!(found[0].starts_with("main.toml:1:12: include: a.toml cannot be read: "), "{found:?}");
}

#[test]
fn problems_come_file_by_file_even_when_one_is_broken() {
    let dir = files(&[
        ("main.toml", &format!("{MAIN}[process]\nworkers = 0")),
        ("conf.d/a.toml", "[log]\nlevel = "),
        ("conf.d/b.toml", "[log]\nlevel = 'inof'"),
    ]);
    let found = problems(&dir);
    let places = ["main.toml:5:11: ", "conf.d/a.toml:2:", "conf.d/b.toml:2:9: "];
    assert_eq!(found.len(), places.len(), "{found:?}");
    for (problem, place) in found.iter().zip(places) {
        assert!(problem.starts_with(place), "{problem}");
    }
}

#[test]
fn a_file_is_read_once() {
    let text = "include = ['*.toml', 'b.toml']\n[[listener]]\naddress = '0.0.0.0:80'";
    let dir = files(&[("main.toml", text), ("b.toml", "[log]")]);
    assert_eq!(read(&dir).expect("it reads").config.files.len(), 2);
}

#[test]
fn relative_paths_start_where_the_file_is() {
    let dir = files(&[
        ("main.toml", MAIN),
        (
            "conf.d/a.toml",
            "process.state_dir = 'state'\nadmin = { listen = ['unix:s'], token_file = 't' }",
        ),
        ("conf.d/t", "secret"),
    ]);
    let config = read(&dir).expect("it reads").config;
    let inside = |name: &str| dir.path().join("conf.d").join(name);
    assert_eq!(config.process.state_dir, Some(inside("state")));
    assert_eq!(config.admin.listen, [ListenAddress::Unix(inside("s"))]);
    assert_eq!(config.admin.tokens.len(), 1);
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_a_problem_of_its_own() {
    let path: PathBuf = Path::new("no").join("such.toml");
    let found = load(&path).expect_err("it should not read");
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().starts_with("no/such.toml:1:1: no/such.toml cannot be read: "));

    let dir = files(&[]);
    fs::write(dir.path().join("main.toml"), b"[log]\nlevel = 'x\xff'").expect("it is written");
    let found = problems(&dir);
    assert_eq!(found[0], "main.toml:1:1: listener: at least one [[listener]] is needed");
    assert!(found[1].starts_with("main.toml:2:9: log.level: "), "the rest is read: {found:?}");
    assert_eq!(found[2], "main.toml:2:11: not UTF-8");
}
