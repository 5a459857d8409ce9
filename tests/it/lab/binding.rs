//! Connecting: TLS, certificates, passwords, and unreachable servers.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use rosterd::engine::DirectoryConfig;
use rosterd::model::{RunState, ServerUrl};

use super::Lab;
use super::branch::{Branch, PROVISIONED};
use super::office::Office;

/// Returns the error of a first run with changed settings.
async fn error(adapt: impl FnOnce(&mut DirectoryConfig)) -> String {
    let branch = Branch::of(adapt).await;
    let run = branch.sync().await;
    assert_eq!(run.state, RunState::Failed, "{run:?}");
    run.error.expect("an error")
}

fn plain(config: &mut DirectoryConfig, starttls: bool) {
    let host = config.settings.servers[0].host.clone();
    config.settings.servers = vec![ServerUrl::parse(&format!("ldap://{host}")).expect("a URL")];
    config.settings.starttls = starttls;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn starttls_carries_a_run_and_plain_ldap_sends_no_password() {
    Branch::running(|c| plain(c, true)).await;
    let refused = error(|c| plain(c, false)).await;
    assert!(refused.contains("without TLS is refused"), "{refused}");
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_or_for_another_name_is_refused() {
    let other =
        rcgen::generate_simple_self_signed(["another.example".to_owned()]).expect("a certificate");
    for starttls in [false, true] {
        let refused = error(|c| {
            let file = c.settings.credential.file().with_file_name("other-ca.pem");
            std::fs::write(&file, other.cert.pem()).expect("a file");
            c.settings.ca_file = Some(file);
            if starttls {
                plain(c, true);
            }
        })
        .await;
        assert!(
            refused.contains("was issued by CN=Lab CA")
                && refused.contains("put the certificate of the CA"),
            "{refused}"
        );
    }
    let lab = Lab::start();
    let mut impostor = impostor(&lab);
    let refused = error(|c| {
        c.settings.ca_file = Some(PathBuf::from(lab.fact("LAB_CA_FILE")));
        c.settings.servers = vec![ServerUrl::parse(&impostor.url).expect("a URL")];
    })
    .await;
    assert!(
        refused.contains("the certificate is for impostor.example, and not for 127.0.0.1"),
        "{refused}"
    );
    impostor.process.kill().expect("a process");
    impostor.process.wait().expect("its end");
}

/// A server with a certificate of the lab's own authority, for another name.
struct Impostor {
    process: Child,
    _told: Lines<BufReader<ChildStdout>>,
    url: String,
}

fn impostor(lab: &Lab) -> Impostor {
    let [key, certificate] = ["impostor.key", "impostor.pem"].map(|name| lab.folder().join(name));
    let (ca, ca_key) = (lab.fact("LAB_CA_FILE"), lab.fact("LAB_CA_KEY_FILE"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=impostor",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:impostor.example",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-CA",
            ca,
            "-CAkey",
            ca_key,
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut process = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-key"])
        .arg(&key)
        .arg("-cert")
        .arg(&certificate)
        // openssl exits when it can neither read nor write.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl");
    let mut told = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    let port = told
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.strip_prefix("ACCEPT ")?.rsplit_once(':')?.1.to_owned()));
    Impostor { process, _told: told, url: format!("ldaps://127.0.0.1:{}", port.expect("a port")) }
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_reported_and_not_retried_until_it_changes() {
    let branch = Branch::running(|_| {}).await;
    let file = PathBuf::from(branch.lab.fact("LAB_PASSWORD_FILE"));
    let right = std::fs::read(&file).expect("a password");
    std::fs::write(&file, "wrong").expect("a file");
    for _ in 0..3 {
        let run = branch.sync().await;
        assert!(run.error.as_deref().is_some_and(|e| e.contains("52e")), "{run:?}");
        let check = branch.engine.check_directory("corp").await.expect("a check");
        assert!(
            check.steps.iter().any(|s| s.name == "bind" && s.finding.contains("52e")),
            "{check:?}"
        );
    }
    let found = branch.lab.samba("search", &["(sAMAccountName=svc-rosterd)", "badPwdCount"]);
    assert!(
        found.contains("badPwdCount: 1\n"),
        "one attempt, so that the account is not locked out: {found}"
    );
    std::fs::write(&file, right).expect("a file");
    branch.quiet("the password is right again").await;
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_disabled_service_account_is_reported_and_retried_by_an_operators_unlock() {
    let office = Office::of_acme("");
    office.sync();
    let account = office.lab.fact("LAB_BIND_DN").to_owned();
    office.lab.disable(&account);
    let (code, run) = office.ctl("sync corp");
    assert!(
        code == 1 && run["error"].as_str().is_some_and(|e| e.contains("disabled (533)")),
        "{code} {run:#}"
    );
    office.lab.enable(&account);
    let (code, run) = office.ctl("sync corp");
    assert!(
        code == 1
            && run["error"].as_str().is_some_and(
                |e| e.contains("the bind is tried again only when the password file changes, or by rosterctl directory unlock corp")
            ),
        "{code} {run:#}"
    );
    office.done("directory unlock corp");
    office.sync();
    assert_eq!(
        office.status()["users"],
        serde_json::json!({"active": PROVISIONED, "suspended": 0})
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn domain_controllers_are_found_through_dns() {
    let lab = Lab::start();
    let dns: std::net::SocketAddr = lab.fact("LAB_DNS_SERVER").parse().expect("an address");
    let rosterd::dns::Answer::Records(found) =
        rosterd::model::Resolver::At(dns).ldap_servers(lab.fact("LAB_REALM"), None).await
    else {
        panic!("no answer");
    };
    assert_eq!(
        found.iter().map(|s| s.target.as_str()).collect::<Vec<_>>(),
        [lab.fact("LAB_SERVER_NAME")]
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn the_first_reachable_server_is_used_and_a_run_survives_its_crash() {
    let gone = Lab::start();
    let nowhere = gone.fact("LAB_URL").to_owned();
    drop(gone);
    let branch = Branch::running(|c| {
        c.settings.servers.insert(0, ServerUrl::parse(&nowhere).expect("a URL"))
    })
    .await;
    branch.lab.samba("crash", &[]);
    let run = branch.sync().await;
    assert_eq!((run.state, run.counts.total()), (RunState::Failed, 0), "{run:?}");
    branch.lab.samba("restart", &[]);
    branch.quiet("the controller is back").await;
}
