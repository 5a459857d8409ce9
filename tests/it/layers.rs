//! Imports point one way: between the rooms of the program, and between the files of each room.

mod imports;

use std::collections::BTreeMap;
use std::path::Path;

use crate::files::{rust_files, text_of};

/// Returns the rooms that each room may use.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("model", &[][..]),
        ("clock", &["model"]),
        ("reconcile", &["model"]),
        ("directory", &["model", "ownership", "reconcile"]),
        ("dns", &["model"]),
        ("scim", &["http", "model", "ownership", "reconcile"]),
        ("store", &["clock", "model", "reconcile", "telemetry"]),
        ("config", &["model", "ownership", "reconcile", "sources"]),
        ("http", &["model", "telemetry"]),
        ("hooks", &["http", "model", "ownership", "sources", "telemetry", "visible"]),
        (
            "engine",
            &[
                "clock",
                "directory",
                "dns",
                "hooks",
                "model",
                "reconcile",
                "scim",
                "store",
                "telemetry",
                "visible",
            ],
        ),
        ("control", &["clock", "dns", "engine", "model", "reconcile", "store", "telemetry"]),
        ("ctl", &["control", "manual", "sources", "visible"]),
        ("console", &["clock", "control", "ctl"]),
        // The Kerberos helper, a program of its own.
        ("gssapi", &[]),
        ("manual", &[]),
        ("ownership", &[]),
        ("sources", &[]),
        ("visible", &[]),
        ("telemetry", &["model", "visible"]),
        (
            "daemon",
            &[
                "clock",
                "config",
                "control",
                "directory",
                "dns",
                "engine",
                "hooks",
                "http",
                "model",
                "reconcile",
                "scim",
                "sources",
                "store",
                "telemetry",
            ],
        ),
    ])
}

#[test]
fn imports_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed = allowed();
    let mut wrong = Vec::new();
    for file in rust_files(&root) {
        let inside = file.strip_prefix(&root).unwrap();
        let room =
            inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if matches!(room.as_str(), "lib" | "main" | "bin") {
            continue;
        }
        let may = allowed
            .get(room.as_str())
            .unwrap_or_else(|| panic!("{} is in a room without a rule", inside.display()));
        let text = text_of(&file);
        // Test modules may reach further: they build whole worlds.
        if inside.to_string_lossy().contains("tests") {
            continue;
        }
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for used in code.split("crate::").skip(1) {
            let other: String =
                used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if allowed.contains_key(other.as_str())
                && other != room
                && !may.contains(&other.as_str())
            {
                wrong.push(format!("{} uses {other}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_two_files_of_a_folder_import_each_other_in_a_circle() {
    let imports =
        imports::Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).imports();
    let mut circles = Vec::new();
    for files in imports::circles(&imports) {
        let is_inside = |file: &String| files.contains(file.as_str());
        let edges: BTreeMap<_, _> = imports
            .iter()
            .filter(|import| is_inside(&import.from) && is_inside(&import.to))
            .map(|import| ((&import.from, &import.to), &import.path))
            .collect();
        let lines = edges.iter().map(|((from, to), path)| format!("  {from} -> {to}: {path}"));
        circles.push(lines.collect::<Vec<_>>().join("\n"));
    }
    assert!(circles.is_empty(), "imports in a circle:\n{}", circles.join("\n\n"));
}

#[test]
fn one_crypto_provider_is_in_the_tree() {
    let mut tree = std::process::Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--offline",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--features",
        "postgres",
        "--manifest-path",
    ]);
    let done = tree.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let tree = String::from_utf8(done.stdout).unwrap();
    let used: std::collections::BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(used.contains("aws-lc-rs") && used.contains("reqwest"), "{used:?}");
    for other in ["ring", "openssl", "openssl-sys", "native-tls", "rustls-rustcrypto", "boring"] {
        assert!(!used.contains(other), "{other} is in the tree");
    }
}
