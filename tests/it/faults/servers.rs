//! A server's name comes from the configuration, and no other server gets a secret.
//!
//! The rule that was broken: the identity of a server never comes from DNS alone (RFC 4513, 3.1.3).

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;

use rosterd::engine::{CheckReport, check_directory};
use rosterd::model::{CheckOutcome, Discovery, Domain, Resolver};
use tokio::net::TcpListener;

use crate::firm::{Firm, config};
use crate::names::{Names, Reply};

const SRV: &str = "_ldap._tcp.dc._msdcs.corp.example.com";

/// The address of the attacker's server: a real listener where the test may open port 636.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 66, 0, 9);
/// The address of the company's servers: connections are refused there, which the check reports.
const OWN: Ipv4Addr = Ipv4Addr::new(127, 66, 0, 1);

fn discovery(suffixes: &[&str]) -> Discovery {
    let domain = |text: &str| Domain::parse(text).expect("a domain");
    Discovery {
        domain: domain("corp.example.com"),
        site: None,
        suffixes: suffixes.iter().map(|s| domain(s)).collect(),
    }
}

/// Checks a directory whose servers come from DNS.
async fn check(names: &Names, targets: &[&'static str], discovery: Discovery) -> CheckReport {
    names.reply(SRV, Reply::Servers(targets.to_vec()));
    let sim = adsim::Sim::builder().start().await.expect("a simulator");
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(&sim, folder.path());
    config.settings.servers.clear();
    config.discover = Some(discovery);
    check_directory(&config, Resolver::At(names.at), rosterd::clock::Clock::system().now(), None)
        .await
}

/// Returns the servers of connections and attempts.
fn tried(found: &CheckReport) -> Vec<String> {
    let mut servers: Vec<String> = found
        .steps
        .iter()
        .filter(|step| step.name == "tcp")
        .filter_map(|step| step.server.clone())
        .collect();
    servers.sort();
    servers
}

fn told(found: &CheckReport) -> String {
    let lines: Vec<String> = found
        .steps
        .iter()
        .map(|step| format!("{} {}", step.finding, step.remedy.as_deref().unwrap_or_default()))
        .collect();
    lines.join("\n")
}

async fn serve() -> Names {
    let names = Names::serve().await;
    for own in ["dc1.corp.example.com", "dc2.berlin.corp.example.com", "dc7.dc.example.net"] {
        names.reply(own, Reply::At(OWN));
    }
    for attacker in [
        "dc.evil.net",
        "dc1.evilcorp.example.com",
        "dc1.corp.example.com.evil.net",
        "dc1.dc.example.net.evil.net",
    ] {
        names.reply(attacker, Reply::At(ATTACKER));
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dns_names_outside_the_domain_gets_no_connection_and_no_query() {
    let names = serve().await;
    // Only root may listen on this port. Otherwise the steps and the queries still show the
    // attempts.
    let listener = TcpListener::bind((ATTACKER, 636)).await.ok();
    let outside = [
        "dc.evil.net.",
        "dc1.evilcorp.example.com.",
        "dc1.corp.example.com.evil.net.",
        "dc1.example.com.",
    ];
    let targets =
        [&outside[..], &["DC1.CORP.example.com.", "dc2.berlin.corp.example.com."]].concat();
    let found = check(&names, &targets, discovery(&[])).await;
    assert_eq!(
        tried(&found),
        ["ldaps://DC1.CORP.example.com", "ldaps://dc2.berlin.corp.example.com"]
    );
    let warning =
        found.steps.iter().find(|step| step.outcome == CheckOutcome::Warning).expect("a warning");
    for name in outside {
        assert!(warning.finding.contains(name.trim_end_matches('.')), "{}", warning.finding);
        assert!(!names.asked().contains(name.trim_end_matches('.')), "its address was asked for");
    }
    assert!(
        warning.remedy.as_deref().is_some_and(|r| r.contains("discover-suffixes")),
        "{warning:?}"
    );
    if let Some(listener) = listener {
        let came =
            tokio::time::timeout(std::time::Duration::from_millis(100), listener.accept()).await;
        assert!(came.is_err(), "the attacker's server got a connection");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_domain_counts_only_when_the_configuration_lists_it() {
    let names = serve().await;
    let targets = ["dc7.dc.example.net.", "dc1.dc.example.net.evil.net."];
    let found = check(&names, &targets, discovery(&[])).await;
    assert_eq!(tried(&found), Vec::<String>::new());
    let text = told(&found);
    assert!(!found.is_ok() && text.contains("no server of corp.example.com can be used"), "{text}");
    assert!(
        text.contains("dc7.dc.example.net") && text.contains("dc1.dc.example.net.evil.net"),
        "{text}"
    );
    let found = check(&names, &targets, discovery(&["dc.example.net"])).await;
    assert_eq!(tried(&found), ["ldaps://dc7.dc.example.net"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_no_host_name_and_one_that_offers_nothing_are_no_servers() {
    let names = serve().await;
    for targets in [
        vec!["."],
        vec!["127.66.0.9."],
        vec!["evil\\.net.corp.example.com."],
        vec!["*.corp.example.com."],
    ] {
        let found = check(&names, &targets, discovery(&[])).await;
        assert_eq!(
            (tried(&found), found.is_ok()),
            (Vec::new(), false),
            "{targets:?}: {}",
            told(&found)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_not_looked_up_without_a_ca_of_ones_own() {
    let names = serve().await;
    names.reply(SRV, Reply::Servers(vec!["dc1.corp.example.com."]));
    let sim = adsim::Sim::builder().start().await.expect("a simulator");
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(&sim, folder.path());
    config.settings.servers.clear();
    config.settings.ca_file = None;
    config.discover = Some(discovery(&[]));
    let found = check_directory(
        &config,
        Resolver::At(names.at),
        rosterd::clock::Clock::system().now(),
        None,
    )
    .await;
    assert!(!found.is_ok() && told(&found).contains("without ca-file"), "{}", told(&found));
    assert!(names.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_the_certificate_proves_and_why_its_name_is_believed() {
    let firm = Firm::of(3, |_| {}).await;
    let found = firm.engine.check_directory("corp").await.expect("an examination");
    let step = found.steps.iter().find(|step| step.name == "tls").expect("a step");
    for part in [
        "the certificate is for ",
        "issued by CN=adsim CA",
        "it proves, by ca-file ",
        "a name that is configured in servers",
    ] {
        assert!(step.finding.contains(part), "{}", step.finding);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_password_file_is_reported_and_nothing_of_it_is_sent() {
    let firm = Firm::of(3, |_| {}).await;
    let right = firm.sim.service_password();
    let file = firm.folder.path().join("password");
    let write = |content: &[u8]| {
        std::fs::write(&file, content).expect("the file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    };
    let table = [
        (format!("{right}\n\n").into_bytes(), "more than one line end"),
        (format!("{right}\r\n\n").into_bytes(), "more than one line end"),
        (format!("{right} \n").into_bytes(), "white space"),
        (format!("\t{right}\n").into_bytes(), "white space"),
        (format!("\u{feff}{right}\n").into_bytes(), "byte-order mark"),
        (
            [
                &[0xff, 0xfe],
                &right.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()[..],
            ]
            .concat(),
            "UTF-16",
        ),
        (format!("{right}\0").into_bytes(), "NUL"),
        (format!("{right}\u{200b}\n").into_bytes(), "U+200B"),
        (b"\n".to_vec(), "is empty"),
    ];
    for (content, shape) in &table {
        write(content);
        firm.sim.clear_log();
        let run = firm.sync().await;
        assert!(
            run.error.as_deref().is_some_and(|e| e.contains(shape)),
            "{shape}: {:?}",
            run.error
        );
        let found = firm.engine.check_directory("corp").await.expect("an examination");
        assert!(!found.is_ok() && told(&found).contains(shape), "{shape}: {}", told(&found));
        assert!(firm.sim.log().binds().is_empty(), "{shape}: a malformed secret was sent");
    }
    for content in [right.clone(), format!("{right}\n"), format!("{right}\r\n")] {
        write(content.as_bytes());
        assert_eq!(firm.sync().await.error, None, "{content:?}");
    }
}
