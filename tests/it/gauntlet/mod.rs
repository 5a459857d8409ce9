//! The tests of the gauntlet, by the groups of its rows. A test here checks that
//! `tests/gauntlet.md` is complete and names existing tests only.

mod identity;
mod mass;
mod membership;
mod people;
mod state;

use std::collections::BTreeSet;
use std::path::Path;

use crate::files::{rust_files, text_of};

/// Returns the names of all tests of the project, property tests included.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for file in ["src", "tests"].map(|folder| rust_files(&root.join(folder))).concat() {
        let text = text_of(&file);
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
    let text = text_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gauntlet.md"));
    let names = tests();
    assert!(names.len() > 200, "{} tests", names.len());
    let mut rows = BTreeSet::new();
    let mut missing = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let row = cells[0];
        if row.trim_start_matches('T').parse::<u32>().is_err() {
            continue;
        }
        let [_, event, answer] = cells[..] else { panic!("row {row} has {} cells", cells.len()) };
        assert!(rows.insert(row.to_owned()), "row {row} exists twice");
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
    let of_directories = (1..=140).map(|row: u32| row.to_string());
    let of_targets = (1..=46).map(|row: u32| format!("T{row}"));
    let absent: Vec<String> =
        of_directories.chain(of_targets).filter(|row| !rows.contains(row)).collect();
    assert_eq!(absent, Vec::<String>::new(), "missing rows");
}
