//! The tests of the gauntlet, by the groups of its rows. A test here checks that
//! `tests/gauntlet.md` is complete and names existing tests only.

mod identity;
mod mass;
mod membership;
mod people;
mod state;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Collects all Rust files below a folder.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() && path.file_name() != Some("target".as_ref()) {
            sources(&path, into);
        } else if path.extension() == Some("rs".as_ref()) {
            into.push(path);
        }
    }
}

/// Returns the names of all tests of the project, property tests included.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests"), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            is_test |=
                ["#[test]", "#[tokio::test", "#[rstest"].iter().any(|mark| line.starts_with(mark));
            if let Some(name) =
                line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| is_test)
            {
                names.insert(name.split(['(', '<']).next().unwrap_or_default().to_owned());
                is_test = false;
            }
        }
    }
    names
}

#[test]
fn every_row_names_an_existing_test_or_gives_a_reason() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gauntlet.md"))
            .unwrap();
    let names = tests();
    assert!(names.len() > 200, "{} tests", names.len());
    let mut rows = BTreeSet::new();
    let mut missing = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(row) = cells[0].parse::<u32>().ok() else { continue };
        let [_, event, answer] = cells[..] else { panic!("row {row} has {} cells", cells.len()) };
        assert!(rows.insert(row), "row {row} exists twice");
        assert!(!event.is_empty(), "row {row} has no event");
        let named: Vec<&str> = answer.split('`').skip(1).step_by(2).collect();
        let reason: String = answer.split('`').step_by(2).collect();
        // A row without a test needs a sentence that gives the reason.
        assert!(
            !named.is_empty() || (reason.len() > 30 && reason.ends_with('.')),
            "row {row} has neither a test nor a reason"
        );
        missing.extend(
            named
                .into_iter()
                .filter(|name| !names.contains(*name))
                .map(|name| format!("row {row}: {name}")),
        );
    }
    assert_eq!(missing, Vec::<String>::new(), "tests that do not exist");
    assert_eq!(
        (1..=140).collect::<BTreeSet<u32>>().difference(&rows).collect::<Vec<_>>(),
        Vec::<&u32>::new(),
        "missing rows"
    );
}
