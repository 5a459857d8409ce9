//! A helper, a KDC or a server that fails a bind by Kerberos. The helper is a script here; real ones are
//! in `lab::kerberos`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use adsim::{Fault, What, When};
use rosterd::engine::CheckOutcome;
use rosterd::model::{Credential, RunState};

use crate::firm::Firm;
use crate::process::until;

/// A ticket-granting ticket, and a first token.
const TICKET: &str = "echo ticket 36000; echo token 36000 dG9rZW4=";

/// Writes a helper that reads its request, and notes each start in the file `starts`.
fn write_helper(folder: &Path, text: &str) {
    let path = folder.join("helper");
    let starts = folder.join("starts");
    let text = format!("#!/bin/sh\necho $$ >>{}\nread -r request\n{text}\n", starts.display());
    std::fs::write(&path, text).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

fn starts(firm: &Firm) -> Vec<String> {
    let text = std::fs::read_to_string(firm.folder.path().join("starts")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Returns a company whose service account binds by a keytab.
async fn firm() -> Firm {
    let firm = Firm::of(3, |config| {
        let folder = config.settings.ca_file.as_ref().and_then(|file| file.parent());
        let folder = folder.expect("the folder").to_owned();
        let keytab = folder.join("keytab");
        std::fs::write(&keytab, crate::config::keytab(&["svc-rosterd"])).expect("a keytab");
        std::fs::set_permissions(&keytab, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        let helper = folder.join("helper");
        config.settings.credential =
            Credential::Kerberos { keytab, principal: None, krb5_conf: None, helper };
    })
    .await;
    firm.sim.clear_log();
    firm
}

async fn error(firm: &Firm) -> String {
    let run = firm.sync().await;
    assert_eq!(run.state, RunState::Failed, "{run:?}");
    run.error.expect("an error")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_before_the_bind_has_its_message_and_its_remedy() {
    let firm = firm().await;
    for (answer, finding, remedy) in [
        ("echo failed 14 x", "no encryption type of the keytab", "AES keys"),
        ("echo failed 37 x", "clocks of this machine and the KDC differ", "correct the clock"),
        ("echo failed 68 x", "x (Kerberos error 68)", "set krb5-conf"),
        ("echo failed 156 x", "the KDC 127.0.0.1 (port 88) cannot be reached: x", "TCP port 88"),
        ("echo failed 60 unlike all others", "unlike all others (Kerberos error 60)", ""),
        ("echo missing none", "there is no Kerberos library: none", "install libgssapi-krb5-2"),
        ("echo nonsense", "its answer cannot be read", "install the package"),
        ("echo token 1 dG9rZW4=", "its answer is out of order", "install the package"),
        ("exit 1", "it ended", "install the package"),
        ("echo ticket 36000; echo failed 7 x", "knows no service ldap/", "servicePrincipalName"),
    ] {
        write_helper(firm.folder.path(), answer);
        let told = error(&firm).await;
        assert!(told.contains(finding) && told.contains(remedy), "{answer}: {told}");
    }
    assert_eq!(starts(&firm).len(), 10, "none of them ends the attempts");
    assert!(firm.sim.log().binds().is_empty(), "nothing was sent to the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_the_kdc_refuses_is_tried_once_until_the_keytab_changes() {
    let firm = firm().await;
    let keytab = firm.folder.path().join("keytab");
    for (n, code) in ["6", "23", "24", "31"].into_iter().enumerate() {
        write_helper(firm.folder.path(), &format!("echo failed {code} x"));
        for _ in 0..3 {
            let told = error(&firm).await;
            assert!(told.contains(&format!("(Kerberos error {code})")), "{told}");
        }
        assert_eq!(starts(&firm).len(), n + 1, "{code}");
        let content = std::fs::read(&keytab).expect("a keytab");
        // A removed record makes another file of the same keys.
        std::fs::write(&keytab, [&content[..], &[0xff; 4], &[0]].concat()).expect("a keytab");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_hangs_is_killed_at_the_time_limit() {
    let firm = firm().await;
    write_helper(firm.folder.path(), "exec sleep 600");
    let told = error(&firm).await;
    assert!(told.contains("no answer from the KDC 127.0.0.1 (port 88) within 2s"), "{told}");
    let process = Path::new("/proc").join(&starts(&firm)[0]);
    until("the helper has ended", || (!process.exists()).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_accepts_before_it_proves_its_identity_is_left() {
    let firm = firm().await;
    write_helper(firm.folder.path(), TICKET);
    firm.sim.faults().push(Fault::new(When::Bind, What::result(0, "")));
    let told = error(&firm).await;
    assert!(told.contains("did not prove its identity in the bind by Kerberos"), "{told}");
    let binds = firm.sim.log().binds().len();
    assert_eq!(binds, 1, "one request, and no search after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_mechanism_or_with_a_refusal_names_the_remedy() {
    let firm = firm().await;
    write_helper(firm.folder.path(), TICKET);
    let told = error(&firm).await;
    assert!(told.contains("does not offer a bind by Kerberos"), "{told}");
    firm.sim.faults().push(Fault::new(
        When::Bind,
        What::result(49, "80090346: LdapErr: DSID-0C090632, comment: …, data 80090346, v4563"),
    ));
    let told = error(&firm).await;
    assert!(told.contains("refuses the channel binding") && told.contains("a proxy"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_the_step_that_failed_and_binds_no_further() {
    let firm = firm().await;
    for (answer, step) in [
        ("echo failed 156 x", "kdc"),
        ("echo ticket 36000; echo failed 7 x", "ticket"),
        (TICKET, "bind"),
    ] {
        write_helper(firm.folder.path(), answer);
        let report = firm.engine.check_directory("corp").await.expect("a check");
        let failed: Vec<&str> = report
            .steps
            .iter()
            .filter(|step| step.outcome == CheckOutcome::Failed)
            .map(|step| step.name)
            .collect();
        assert_eq!(failed, [step], "{:#?}", report.steps);
        assert!(report.steps.iter().any(|s| s.name == "keytab" && s.finding.contains("kvno 3")));
    }
    std::fs::write(firm.folder.path().join("keytab"), "password").expect("a file");
    let report = firm.engine.check_directory("corp").await.expect("a check");
    let keytab = report.steps.iter().find(|step| step.name == "keytab").expect("a step");
    assert!(keytab.finding.contains("is not a keytab"), "{keytab:?}");
}
