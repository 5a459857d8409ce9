//! `tests/gauntlet.md` says which test answers which row; that no test in it is a dream is checked here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// All Rust files below a folder.
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

/// The names of all tests of the project, those of property tests included.
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
            is_test |= ["#[test]", "#[tokio::test", "#[rstest"].iter().any(|mark| line.starts_with(mark));
            if let Some(name) = line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| is_test) {
                names.insert(name.split(['(', '<']).next().unwrap_or_default().to_owned());
                is_test = false;
            }
        }
    }
    names
}

#[test]
fn every_test_that_the_gauntlet_names_exists() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gauntlet.md")).unwrap();
    let names = tests();
    assert!(names.len() > 200, "{} tests", names.len());
    let mut rows = BTreeSet::new();
    let mut missing = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let Some(row) = cells.next().and_then(|number| number.parse::<u32>().ok()) else { continue };
        assert!(rows.insert(row), "row {row} comes twice");
        let answer = cells.nth(1).unwrap_or_default();
        let named: Vec<&str> = answer.split('`').skip(1).step_by(2).collect();
        // Without a test, a reason.
        assert!(!named.is_empty() || answer.len() > 20, "row {row} has neither a test nor a reason");
        missing.extend(named.into_iter().filter(|name| !names.contains(*name)).map(|name| format!("row {row}: {name}")));
    }
    assert_eq!(missing, Vec::<String>::new(), "tests that do not exist");
    let wanted: BTreeSet<u32> = (1..=35).chain(110..=137).collect();
    assert_eq!(wanted.difference(&rows).collect::<Vec<_>>(), Vec::<&u32>::new(), "rows that are not there");
}
