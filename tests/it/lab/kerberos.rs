//! The bind by Kerberos: a keytab, tickets of the domain controller's own KDC, and channel binding.

use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rosterd::engine::{CheckOutcome, CheckReport, DirectoryConfig};
use rosterd::model::{Credential, RunState, ServerUrl};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_util::task::AbortOnDropHandle;

use super::branch::{Branch, config};
use super::{DOMAIN, Lab, staff};
use crate::process::{Daemon, Programs, until};

/// The port of LDAPS.
const LDAPS: u16 = 636;
/// The port of the KDC.
const KERBEROS: u16 = 88;
const KEY_REFUSED: &str = "is not the account's any more (Kerberos error 24)";

fn keytab(lab: &Lab) -> PathBuf {
    lab.folder().join("corp.keytab")
}

/// Returns the helper, which `cargo test --workspace` builds.
fn helper() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_rosterd")).with_file_name("rosterd-gssapi")
}

fn credential(keytab: PathBuf) -> Credential {
    Credential::Kerberos { keytab, principal: None, krb5_conf: None, helper: helper() }
}

/// Returns a branch that binds by a fresh keytab.
async fn branch(adapt: impl FnOnce(&Lab, &mut DirectoryConfig)) -> Branch {
    branch_on(Lab::start(), adapt).await
}

async fn branch_on(lab: Lab, adapt: impl FnOnce(&Lab, &mut DirectoryConfig)) -> Branch {
    export(&lab);
    let mut config = config(&lab);
    config.settings.credential = credential(keytab(&lab));
    adapt(&lab, &mut config);
    Branch::on(lab, config).await
}

fn export(lab: &Lab) {
    lab.samba("keytab", &[&keytab(lab).display().to_string()]);
}

fn set_password(lab: &Lab, password: &str) {
    let new = format!("--newpassword={password}");
    lab.samba("tool", &["user", "setpassword", "svc-rosterd", &new]);
}

async fn error(branch: &Branch) -> String {
    let run = branch.sync().await;
    assert_eq!(run.state, RunState::Failed, "{run:?}");
    run.error.expect("an error")
}

async fn succeeds(branch: &Branch) {
    let run = branch.sync().await;
    assert_eq!((run.state, run.error.as_deref()), (RunState::Succeeded, None), "{run:?}");
}

async fn check(branch: &Branch) -> CheckReport {
    branch.engine.check_directory("corp").await.expect("a check")
}

fn bad_passwords(lab: &Lab) -> String {
    lab.samba("search", &["(sAMAccountName=svc-rosterd)", "badPwdCount"])
        .lines()
        .find_map(|line| Some(line.strip_prefix("badPwdCount: ")?.to_owned()))
        .unwrap_or_default()
}

fn listen(address: IpAddr, port: u16) -> tokio::net::TcpListener {
    let listener = TcpListener::bind((address, port)).expect("a listener");
    listener.set_nonblocking(true).expect("a socket");
    tokio::net::TcpListener::from_std(listener).expect("a socket")
}

/// Forwards TCP connections to a port of the lab, as a firewall that lets only this port through.
fn forward(from: IpAddr, lab: &Lab, port: u16) -> AbortOnDropHandle<()> {
    let to = (lab.fact("LAB_IP").parse::<IpAddr>().expect("an address"), port);
    let listener = listen(from, port);
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    }))
}

/// Starts a load balancer that ends TLS with a certificate of its own for the controller's name, and
/// opens TLS to the controller.
fn balancer(from: IpAddr, lab: &Lab) -> AbortOnDropHandle<()> {
    let (key, certificate) = certificate_of(lab);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate).expect("a certificate")],
            PrivateKeyDer::from_pem_file(key).expect("a key"),
        )
        .expect("a certificate with its key");
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(lab.fact("LAB_CA_FILE")).expect("the lab's CA");
    roots.add(ca).expect("the lab's CA");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from(lab.fact("LAB_SERVER_NAME").to_owned()).expect("a name");
    let to = (lab.fact("LAB_IP").parse::<IpAddr>().expect("an address"), LDAPS);
    let listener = listen(from, LDAPS);
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, connector, name) = (acceptor.clone(), connector.clone(), name.clone());
            tokio::spawn(async move {
                let mut inside = acceptor.accept(tcp).await?;
                let tcp = tokio::net::TcpStream::connect(to).await?;
                let mut outside = connector.connect(name, tcp).await?;
                tokio::io::copy_bidirectional(&mut inside, &mut outside).await
            });
        }
    }))
}

/// Issues another certificate of the lab's CA for the controller's name. Returns key and certificate.
fn certificate_of(lab: &Lab) -> (PathBuf, PathBuf) {
    let [key, certificate] = ["balancer.key", "balancer.pem"].map(|name| lab.folder().join(name));
    let name = format!("subjectAltName=DNS:{}", lab.fact("LAB_SERVER_NAME"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-subj", "/CN=balancer", "-addext", &name])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-CA", lab.fact("LAB_CA_FILE"), "-CAkey", lab.fact("LAB_CA_KEY_FILE")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (key, certificate)
}

/// Returns the lab's server at another address.
fn server_at(lab: &Lab, address: IpAddr) -> ServerUrl {
    let url = format!("ldaps://{}", lab.fact("LAB_SERVER_NAME"));
    ServerUrl { addresses: vec![address], ..ServerUrl::parse(&url).expect("a URL") }
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_keytab_binds_by_name_by_address_and_over_starttls() {
    let branch = branch(|_, _| {}).await;
    succeeds(&branch).await;
    let lab = &branch.lab;
    let mut config = branch.engine.directory("corp").expect("corp").config.clone();
    let rules = branch.engine.configured().rules.clone();
    let address = lab.fact("LAB_IP").parse().expect("an address");
    config.settings.servers = vec![server_at(lab, address)];
    branch.engine.reconfigure(vec![config.clone()], rules.clone());
    succeeds(&branch).await;
    config.settings.servers = vec![ServerUrl::parse(lab.fact("LAB_STARTTLS_URL")).expect("a URL")];
    config.settings.starttls = true;
    branch.engine.reconfigure(vec![config], rules);
    succeeds(&branch).await;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_keytab_is_refused_once_and_a_rotated_one_is_used_at_the_next_bind() {
    let branch = branch(|_, _| {}).await;
    succeeds(&branch).await;
    set_password(&branch.lab, "Lab-Reader-2");
    for _ in 0..3 {
        let error = error(&branch).await;
        assert!(error.contains(KEY_REFUSED) && error.contains("(kvno 1)"), "{error}");
        let report = check(&branch).await;
        assert!(
            report.steps.iter().any(|s| s.finding.contains(KEY_REFUSED)),
            "{:#?}",
            report.steps
        );
    }
    let told = error(&branch).await;
    assert!(
        told.contains("msDS-KeyVersionNumber") && told.contains("only when the keytab changes"),
        "{told}"
    );
    assert_eq!(bad_passwords(&branch.lab), "1", "one attempt, so that no account is locked out");
    export(&branch.lab);
    succeeds(&branch).await;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_gets_no_ticket_and_is_tried_again_after_an_unlock() {
    let branch = branch(|_, _| {}).await;
    let account = branch.lab.fact("LAB_BIND_DN").to_owned();
    branch.lab.disable(&account);
    let told = error(&branch).await;
    assert!(told.contains("disabled, expired or locked out (Kerberos error 18)"), "{told}");
    branch.lab.enable(&account);
    let told = error(&branch).await;
    assert!(told.contains("tried again only at "), "{told}");
    branch.engine.unlock("corp", &crate::acme::alice()).await.expect("an unlock");
    succeeds(&branch).await;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_keytab_kdc_ticket_and_channel_binding() {
    let branch = branch(|_, _| {}).await;
    let report = check(&branch).await;
    let finding = |name: &str| {
        let step = report.steps.iter().find(|step| step.name == name);
        let step = step.unwrap_or_else(|| panic!("{name}: {:#?}", report.steps));
        assert_eq!(step.outcome, CheckOutcome::Ok, "{step:?}");
        step.finding.clone()
    };
    assert!(finding("keytab").contains("the key of svc-rosterd@CORP.EXAMPLE.COM, kvno 1"));
    assert!(finding("kdc").contains(branch.lab.fact("LAB_IP")));
    assert_eq!(finding("ticket"), "for ldap/dc1.corp.example.com@CORP.EXAMPLE.COM");
    assert!(finding("bind").contains("by Kerberos with channel binding"));
    finding("identity");
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_kdc_is_silent_or_closed_is_left_for_the_next_one() {
    let silent: IpAddr = "127.88.1.1".parse().expect("an address");
    let closed: IpAddr = "127.88.1.2".parse().expect("an address");
    // Connections are accepted by the kernel and never answered.
    let _kdc = TcpListener::bind((silent, KERBEROS)).expect("a listener");
    let branch = branch(|lab, config| {
        config.settings.servers = vec![server_at(lab, silent)];
    })
    .await;
    let _forwards = [silent, closed].map(|address| forward(address, &branch.lab, LDAPS));
    let told = error(&branch).await;
    assert!(
        told.contains("no answer from the KDC 127.88.1.1 (port 88) within 2s")
            && told.contains("open TCP port 88"),
        "{told}"
    );
    let mut config = branch.engine.directory("corp").expect("corp").config.clone();
    let rules = branch.engine.configured().rules.clone();
    config.settings.servers = vec![server_at(&branch.lab, closed)];
    branch.engine.reconfigure(vec![config.clone()], rules.clone());
    let told = error(&branch).await;
    assert!(
        told.contains("the KDC 127.88.1.2 (port 88) cannot be reached")
            && told.contains("open TCP port 88"),
        "{told}"
    );
    config.settings.servers.push(ServerUrl::parse(branch.lab.fact("LAB_URL")).expect("a URL"));
    branch.engine.reconfigure(vec![config], rules);
    succeeds(&branch).await;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_service_name_and_a_missing_helper_are_reported() {
    let branch = branch(|_, _| {}).await;
    let config = branch.engine.directory("corp").expect("corp").config.clone();
    let rules = branch.engine.configured().rules.clone();
    // Removes the names of the DC's service.
    branch.lab.set(
        "CN=DC1,OU=Domain Controllers,DC=corp,DC=example,DC=com",
        &[("servicePrincipalName", "HOST/dc1")],
    );
    let told = error(&branch).await;
    assert!(
        told.contains("knows no service ldap/dc1.corp.example.com@CORP.EXAMPLE.COM")
            && told.contains("servicePrincipalName"),
        "{told}"
    );
    let mut absent = config.clone();
    if let Credential::Kerberos { helper, .. } = &mut absent.settings.credential {
        *helper = "/nowhere/rosterd-gssapi".into();
    }
    branch.engine.reconfigure(vec![absent], rules);
    let told = error(&branch).await;
    assert!(told.contains("install the package of rosterd again"), "{told}");
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_ten_minutes_off_still_binds() {
    let branch = branch(|lab, config| {
        let late = lab.folder().join("late-helper");
        script(&late, &format!("exec /usr/bin/faketime -f +10m {}", helper().display()));
        if let Credential::Kerberos { helper, .. } = &mut config.settings.credential {
            *helper = late;
        }
    })
    .await;
    succeeds(&branch).await;
}

/// Returns the programs of a build whose helper says that each ticket ends in fifteen seconds. Samba's
/// KDC accepts none that ends within five minutes.
fn programs_with_short_tickets(lab: &Lab) -> Programs {
    let Programs { rosterd, rosterctl } = Programs::built();
    let beside = lab.folder().join("rosterd");
    std::fs::copy(rosterd, &beside).expect("a copy");
    let text = format!("{} | sed -u -E 's/^(token|last) [0-9]+/\\1 15/'", helper().display());
    script(&lab.folder().join("rosterd-gssapi"), &text);
    Programs { rosterd: beside, rosterctl }
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_daemon_binds_again_before_its_ticket_ends_and_warns_of_nothing() {
    let lab = Lab::start();
    export(&lab);
    let directory = lab.directory(DOMAIN);
    let keys = "live = true\nschedule = \"@yearly\"\npage-size = 20\n[directory.safety]\ngrace-period = \"0s\"";
    let bind = format!("bind = \"kerberos\"\nkeytab = \"{}\"", keytab(&lab).display());
    let text = directory.configuration(lab.folder(), "", keys);
    let of_password = format!(
        "bind-dn = \"{}\"\npassword-file = \"{}\"",
        directory.bind_dn, directory.password_file
    );
    assert!(text.contains(&of_password), "{text}");
    let text = text.replace(&of_password, &bind);
    std::fs::write(lab.folder().join("rosterd.toml"), text).expect("a configuration");
    let daemon = Daemon::start_of(&programs_with_short_tickets(&lab), lab.folder());
    daemon.create_acme();
    daemon.done("sync corp");
    let status = || daemon.done("status")["directories"][0].clone();
    until("changes are followed", || (status()["live"] == true).then_some(()));
    // More than one ticket later.
    let renewals = || daemon.log().matches("the ticket was about to end").count();
    for times in 1..=2 {
        until("both connections are replaced", || (renewals() >= times).then_some(()));
    }
    lab.disable(&staff("Engineering", "Grace Hopper"));
    until("the leaver is suspended", || {
        let user = daemon.done("user show grace.hopper@example.com");
        (user["status"] == "suspended").then_some(())
    });
    let log = daemon.log();
    // The warning of the machine's missing group comes first.
    let warnings = log.lines().filter(|line| line.contains("WARN") && !line.contains("groupadd"));
    assert_eq!(warnings.count(), 0, "{log}");
    assert_eq!(status()["live"], true);
}

#[ignore = "needs the lab: tests/run --release"]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_enforces_channel_binding_accepts_the_right_one_only() {
    let Ok(tree) = std::env::var("ROSTERD_LAB_NEWER") else {
        eprintln!("skipped: only tests/run --release has a Samba that checks channel bindings");
        return;
    };
    let branch = branch_on(Lab::start_of(&tree), |_, _| {}).await;
    succeeds(&branch).await;
    let balanced: IpAddr = "127.88.1.3".parse().expect("an address");
    let _parts = [balancer(balanced, &branch.lab), forward(balanced, &branch.lab, KERBEROS)];
    let mut config = branch.engine.directory("corp").expect("corp").config.clone();
    let rules = branch.engine.configured().rules.clone();
    config.settings.servers = vec![server_at(&branch.lab, balanced)];
    branch.engine.reconfigure(vec![config.clone()], rules.clone());
    let told = error(&branch).await;
    assert!(
        told.contains("refuses the channel binding of this connection (80090346)")
            && told.contains("a proxy or load balancer that ends TLS"),
        "{told}"
    );
    assert_eq!(bad_passwords(&branch.lab), "0", "no password was wrong");
    // A simple bind carries no binding, and passes.
    config.settings.credential = Credential::Password {
        bind_dn: branch.lab.fact("LAB_BIND_UPN").to_owned(),
        file: branch.lab.fact("LAB_PASSWORD_FILE").into(),
    };
    config.settings.servers = vec![ServerUrl::parse(branch.lab.fact("LAB_URL")).expect("a URL")];
    branch.engine.reconfigure(vec![config], rules);
    succeeds(&branch).await;
}
