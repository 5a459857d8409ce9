//! `directory check` on a real domain: a healthy one, and each failing step with its remedy.

use std::time::Duration;

use rosterd::clock::Clock;
use rosterd::directory::Servers;
use rosterd::engine::{CheckOutcome, CheckReport, DirectoryConfig, check_directory};
use rosterd::model::{Credential, Filter, GroupName, Reason, Resolver, RunState, Tier};

use super::branch::{Branch, PROVISIONED, config};
use super::{Lab, staff};

async fn check(config: &DirectoryConfig) -> CheckReport {
    check_directory(config, Resolver::System, Clock::system().now(), None).await
}

/// A failing step, its message, and its cause.
type Mistake = (&'static str, &'static str, fn(&mut DirectoryConfig));

fn filtered(config: &mut DirectoryConfig, text: &str) {
    config.settings.filter = Some((text.to_owned(), Filter::parse(text).expect("a filter")));
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_controller_describes_itself_before_the_bind() {
    let lab = Lab::start();
    let mut settings = config(&lab).settings;
    settings.credential = Credential::Password {
        bind_dn: "nobody@corp.example.com".to_owned(),
        file: "/nowhere".into(),
    };
    let servers = Servers::default();
    servers.look(&settings, &|| Duration::ZERO).await;
    let server = servers.server(&settings.servers[0]);
    assert_eq!(server.greeting.is_writable, Some(true), "{server:?}");
    assert!(server.greeting.site.is_some() && server.greeting.ds_service_name.is_some());
    assert_eq!(servers.client_site(), server.greeting.client_site);
    assert!(servers.client_site().is_some(), "{server:?}");
    assert!(server.certificate_until.is_some());
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_check_passes_a_healthy_domain_and_names_a_failing_step() {
    let lab = Lab::start();
    let mut well = config(&lab);
    filtered(&mut well, "(!(employeeType=robot))");
    let found = check(&well).await;
    assert!(found.is_ok(), "{found:#?}");
    for step in [
        "dns",
        "tcp",
        "tls",
        "bind",
        "identity",
        "clock",
        "base",
        "paging",
        "filter",
        "attributes",
        "groups",
    ] {
        assert!(
            found.steps.iter().any(|s| s.name == step && s.outcome == CheckOutcome::Ok),
            "{step}: {found:#?}"
        );
    }
    let table: [Mistake; 6] = [
        ("base", "OU=Nowhere,DC=corp,DC=example,DC=com was not found", |c| {
            c.settings.bases = vec!["OU=Nowhere,DC=corp,DC=example,DC=com".to_owned()];
        }),
        ("base", "is outside the domain DC=corp,DC=example,DC=com", |c| {
            c.settings.bases = vec!["DC=other,DC=org".to_owned()]
        }),
        ("base", "finds none of them", |c| filtered(c, "(employeeType=nobody)")),
        ("filter", "AD has no attribute employeType", |c| filtered(c, "(!(employeType=robot))")),
        ("attributes", "AD has no attribute emailAddress", |c| {
            c.settings.attributes.email = "emailAddress".to_owned()
        }),
        ("groups", "there is no group \"Rooster Pro\"", |c| {
            c.settings.groups = vec![(Tier::Pro, GroupName::parse("Rooster Pro"))]
        }),
    ];
    for (step, finding, break_it) in table {
        let mut config = well.clone();
        break_it(&mut config);
        let found = check(&config).await;
        let failed = found
            .steps
            .iter()
            .find(|s| s.outcome == CheckOutcome::Failed)
            .unwrap_or_else(|| panic!("{step}: {found:#?}"));
        assert!(
            failed.name == step && failed.finding.contains(finding) && failed.remedy.is_some(),
            "{step}: {failed:?}"
        );
    }
    // The missing right to see deletions is printed as a command, and the command grants it.
    let deletions = |found: &CheckReport| {
        found.steps.iter().find(|s| s.name == "deleted objects").cloned().expect("a step")
    };
    lab.delete(&staff("Engineering", "Alan Turing"));
    let blind = deletions(&check(&well).await);
    assert_eq!(blind.outcome, CheckOutcome::Warning, "{blind:?}");
    let remedy = blind.remedy.expect("a remedy");
    let (_, command) = remedy.split_once("controller: ").expect("a command");
    let dir = lab.dir.display();
    let command =
        command.replace("-H /var/lib/samba/", &format!("--configfile={dir}/smb.conf -H {dir}/"));
    let typed = std::process::Command::new("sh").args(["-c", &command]).output().expect("sh");
    assert!(typed.status.success(), "{command}: {typed:?}");
    assert_eq!(deletions(&check(&well).await).outcome, CheckOutcome::Ok);
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_on_an_unknown_attribute_suspends_only_disabled_users() {
    let branch = Branch::running(|_| {}).await;
    let mut config = branch.engine.directory("corp").expect("corp").config.clone();
    filtered(&mut config, "(!(employeType=robot))");
    let was = branch.engine.configured();
    branch.engine.reconfigure(vec![config], was.rules.clone());
    branch.lab.disable(&staff("Engineering", "Alan Turing"));
    let run = branch.sync().await;
    assert_eq!(
        (run.state, run.counts.suspend, run.counts.total()),
        (RunState::Failed, 1, 1),
        "{run:?}"
    );
    assert!(run.error.as_deref().is_some_and(|e| e.contains("employeType")), "{run:?}");
    assert_eq!(
        (branch.reason("alan.turing@example.com").await, branch.active().await),
        (Some(Reason::Disabled), PROVISIONED - 1)
    );
}
