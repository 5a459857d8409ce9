//! A client that a generator makes from the OpenAPI document.

use std::collections::BTreeSet;
use std::process::Command;

use rosterd::control::openapi_document;
use serde_json::{Value, json};

use crate::socket::Office;

const LAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab");

/// Returns the output of a program that succeeds.
fn output(command: &mut Command) -> String {
    let done = tokio::task::block_in_place(|| command.output()).expect("a program");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
    String::from_utf8(done.stdout).expect("UTF-8")
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_reads_status_and_users_over_the_socket() {
    let office = Office::open().await;
    let folder = tempfile::tempdir().unwrap();
    let (document, client) =
        (folder.path().join("openapi.json"), folder.path().join("rosterd_client"));
    std::fs::write(&document, openapi_document()).unwrap();
    let lab = format!("{LAB}/client");
    output(Command::new(&lab).arg("generate").args([&document, &client]));
    let venv = output(Command::new(&lab).arg("provision"));
    let python = format!("{}/bin/python", venv.trim());
    let script = format!("{LAB}/client.py");
    let asked = output(Command::new(python).arg(script).arg(folder.path()).arg(&office.socket));
    let asked: Value = serde_json::from_str(&asked).expect("JSON");
    let users = office.firm.users().await;
    let ids: BTreeSet<String> = users.iter().map(|user| user.id.to_string()).collect();
    let read: Vec<String> = serde_json::from_value(asked["ids"].clone()).unwrap();
    assert_eq!((read.len(), read.iter().cloned().collect()), (ids.len(), ids), "each user once");
    assert_eq!((&asked["directories"], &asked["refused"]), (&json!(["corp"]), &json!(404)));
    assert_eq!(asked["user"], read[0]);
}
