//! Logon names and further attributes: from the controller through an event to a hook, and back.

use serde_json::{Value, json};

use super::office::Office;
use super::{PRO, staff};
use crate::process::until;

#[ignore = "needs the lab: tests/run"]
#[test]
fn logon_names_and_further_attributes_reach_a_hook_and_find_their_user() {
    let office = Office::of_acme("extra = [\"division\"]");
    office.sync();
    let folder = office.lab.folder();
    let program = folder.join("names");
    crate::folder::write(
        &program,
        "#!/bin/sh\ncat >> \"$0.events\"\necho >> \"$0.events\"\n",
        0o755,
    );
    let file = folder.join("rosterd.toml");
    let text = std::fs::read_to_string(&file).expect("a configuration");
    let hook = format!(
        "[[hook]]\nname = \"names\"\nevents = [\"user.suspended\"]\nexec = [\"{}\"]\n",
        program.display()
    );
    std::fs::write(&file, format!("{text}\n{hook}")).expect("a configuration");
    office.done("reload");

    let dn = staff("Engineering", "Radia");
    office.lab.hire(&dn, "radia.perlman", PRO);
    let upn = "radia@corp.example.com";
    office.lab.set(&dn, &[("userPrincipalName", upn), ("division", "Research")]);
    assert_eq!(office.sync()["create"], 1);
    let id = office.user("radia.perlman@example.com")["id"].clone();
    for who in ["radia.perlman", r"CORP\radia.perlman", upn, &dn] {
        let user = office.user(who);
        assert_eq!(user["id"], id, "{who}");
        assert_eq!(user["profile"]["extra"], json!({ "division": ["Research"] }));
    }

    let leaves = [("sAMAccountName", "rperlman"), ("userAccountControl", "514")];
    office.lab.set(&dn, &leaves);
    assert_eq!(office.sync()["suspend"], 1);
    let event: Value = until("the hook has the event", || {
        let text = std::fs::read_to_string(folder.join("names.events")).ok()?;
        text.lines().find_map(|line| serde_json::from_str(line).ok())
    });
    let known = |when: &str| {
        let user = &event["data"]["user"][when];
        ["sam_account_name", "user_principal_name", "primary_email"]
            .map(|name| user[name].as_str().unwrap_or_default().to_owned())
    };
    let mail = "radia.perlman@example.com";
    assert_eq!(known("before"), ["radia.perlman", upn, mail]);
    assert_eq!(known("after"), ["rperlman", upn, mail]);
    assert_eq!(event["data"]["user"]["after"]["extra"], json!({ "division": ["Research"] }));
    assert_eq!(office.user("rperlman")["status"], "suspended");
    let former = office.ctl("user show radia.perlman");
    assert_eq!(former.0, 1, "{}", former.1);

    // People who are no users are found in the directory.
    let new = staff("Engineering", "Newcomer");
    office.lab.hire(&new, "newcomer", PRO);
    for who in ["newcomer", r"CORP\newcomer", "newcomer@example.com", &new] {
        let explained = office.done(&format!("user explain {who}"));
        assert_eq!(explained["entries"][0]["dn"], json!(new), "{who}: {explained:#}");
    }
}
