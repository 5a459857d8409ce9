//! The shipped files: complete, valid, and equal to the defaults.

use std::path::Path;

use rosterd::config;
use rosterd::model::AttributeNames;
use rosterd::reconcile::Limits;

use super::{MINIMAL, Machine, SHIPPED, everything, uncomment};
use crate::files::{rust_files, text_of};

#[test]
fn the_shipped_file_equals_the_minimal_file_with_all_defaults() {
    let machine = Machine::new();
    let minimal = machine.config(MINIMAL);
    assert_eq!(machine.config(SHIPPED), minimal);
    let written_out = uncomment(SHIPPED, "#");
    assert!(
        written_out.lines().count() == SHIPPED.lines().count()
            && written_out.len() + 40 < SHIPPED.len(),
        "nothing was uncommented"
    );
    assert_eq!(machine.config(&written_out), minimal);
}

#[test]
fn the_shipped_examples_are_valid_except_for_alternatives() {
    insta::assert_snapshot!(Machine::new().problems(&everything()), @r#"
    rosterd.toml:20:1: password-file belongs to a PostgreSQL: remove it, or write url = "postgres://USER@HOST/DATABASE"
    rosterd.toml:22:1: password-credential belongs to a PostgreSQL: remove it, or write url = "postgres://USER@HOST/DATABASE"
    rosterd.toml:22:1: there are both password-file and password-credential: remove one of them
    rosterd.toml:22:23: systemd gave no credential "store": add LoadCredential=store:/etc/rosterd/store.password to the unit, or use password-file
    rosterd.toml:24:1: ca-file belongs to a PostgreSQL: remove it, or write url = "postgres://USER@HOST/DATABASE"
    rosterd.toml:117:1: there are both key-file and key-credential: remove one of them
    rosterd.toml:117:18: systemd gave no credential "events": add LoadCredential=events:/etc/rosterd/events.key to the unit, or use key-file
    rosterd.toml:138:1: there are both servers and discover: remove one of them
    rosterd.toml:156:1: there are both password-file and password-credential: remove one of them
    rosterd.toml:156:23: systemd gave no credential "corp": add LoadCredential=corp:/etc/rosterd/corp.password to the unit, or use password-file
    rosterd.toml:159:1: keytab belongs to a bind by Kerberos: remove it, or write bind = "kerberos"
    rosterd.toml:161:1: keytab-credential belongs to a bind by Kerberos: remove it, or write bind = "kerberos"
    rosterd.toml:161:1: there are both keytab and keytab-credential: remove one of them
    rosterd.toml:161:21: systemd gave no credential "corp": add LoadCredential=corp:/etc/rosterd/corp.keytab to the unit, or use keytab
    rosterd.toml:163:1: principal belongs to a bind by Kerberos: remove it, or write bind = "kerberos"
    rosterd.toml:166:1: krb5-conf belongs to a bind by Kerberos: remove it, or write bind = "kerberos"
    rosterd.toml:266:1: there are both password-file and password-credential: remove one of them
    rosterd.toml:266:23: systemd gave no credential "mail": add LoadCredential=mail:/etc/rosterd/mail.password to the unit, or use password-file
    rosterd.toml:325:1: there are both secret-file and secret-credential: remove one of them
    rosterd.toml:325:21: systemd gave no credential "siem": add LoadCredential=siem:/etc/rosterd/siem.secret to the unit, or use secret-file
    rosterd.toml:356:1: there are both token-file and token-credential: remove one of them
    rosterd.toml:356:20: systemd gave no credential "slack": add LoadCredential=slack:/etc/rosterd/slack.token to the unit, or use token-file
    rosterd.toml:399:1: there are both client-secret-file and client-secret-credential: remove one of them
    rosterd.toml:399:28: systemd gave no credential "slack": add LoadCredential=slack:/etc/rosterd/slack.secret to the unit, or use client-secret-file
    "#);
}

#[test]
fn every_key_occurs_in_the_shipped_file() {
    let text = everything();
    let file: toml::Value = toml::from_str(&text).expect("TOML");
    for key in config::keys() {
        // Keys that a directory can override are explained once.
        let path = key.replace("directory.safety.", "safety.");
        let path = path.replace("target.safety.", "safety.");
        let mut found = vec![&file];
        for part in path.split('.') {
            found = found
                .iter()
                .filter_map(|v| v.get(part))
                .flat_map(|v| {
                    v.as_array()
                        .filter(|a| a.iter().all(toml::Value::is_table) && !a.is_empty())
                        .map_or(vec![v], |a| a.iter().collect())
                })
                .collect();
        }
        assert!(
            !found.is_empty() || path == "safety.confirmed.at-most",
            "{key} is missing from config/rosterd.toml"
        );
    }
}

#[test]
fn a_hook_can_ask_for_every_event_that_is_recorded() {
    const OTHER_TEXTS: [&str; 4] = ["ann.lee", "emails.value", "example.com", "rosterd.db"];
    let is_word = |text: &str| {
        text.len() >= 3 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let is_type = |text: &str| {
        text.split_once('.').is_some_and(|(family, rest)| is_word(family) && is_word(rest))
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut recorded = 0;
    let mut unknown: Vec<String> = Vec::new();
    for file in ["engine", "store"].iter().flat_map(|room| rust_files(&root.join(room))) {
        let text = text_of(&file);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for text in code.flat_map(|line| line.split('"').skip(1).step_by(2)) {
            if !is_type(text) || OTHER_TEXTS.contains(&text) {
                continue;
            }
            recorded += 1;
            if !rosterd::model::EVENT_TYPES.contains(&text) {
                unknown.push(format!("{}: {text}", file.display()));
            }
        }
    }
    assert!(recorded > 60, "{recorded} types of events were found");
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn the_guide_lists_every_type_of_event() {
    let guide = include_str!("../../../docs/guide/hooks.md");
    let missing =
        rosterd::model::EVENT_TYPES.iter().filter(|kind| !guide.contains(&format!("`{kind}`")));
    assert_eq!(missing.collect::<Vec<_>>(), [&""; 0]);
}

#[test]
fn an_absent_key_has_the_default_of_its_type() {
    let machine = Machine::new();
    let corp = machine.config(MINIMAL).directories.remove(0);
    assert_eq!((corp.limits, corp.attributes), (Limits::default(), AttributeNames::default()));
    assert_eq!(machine.config("").directories, []);
}
