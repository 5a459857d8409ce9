//! Limits, groups, hooks and gates as configured.

use std::time::Duration;

use rosterd::config::{Receiver, Servers};
use rosterd::model::{
    ChangeClass, Discovery, Dn, Mode, Program, ServerUrl, StoreAt, TargetCredential, Tier,
};
use rosterd::reconcile::Limit;

use super::{MINIMAL, Machine, everything};

#[test]
fn limits_of_a_directory_override_general_limits_key_by_key() {
    let machine = Machine::new();
    let general = "[safety]\nwindow = \"12h\"\ngone = { percent = 3, at-most = 20 }\n";
    let own = "[directory.safety]\ngrace-period = \"0s\"\ngone = { at-most = 10 }\nconfirmed = { at-most = 99 }\n";
    let safety = machine.config(&format!("{general}{MINIMAL}{own}")).directories.remove(0).limits;
    assert_eq!((safety.window, safety.grace_period), (Duration::from_hours(12), Duration::ZERO));
    let limit = |class| {
        (
            safety.classes[&class].percent,
            safety.classes[&class].at_least,
            safety.classes[&class].at_most,
        )
    };
    assert_eq!(limit(ChangeClass::Gone), (3, 5, Some(10)));
    assert_eq!(limit(ChangeClass::Confirmed), (20, 10, Some(99)));
    assert_eq!(limit(ChangeClass::Deleted), (10, 5, Some(100)));
    let text = format!("{general}{MINIMAL}[directory.safety.gone]\nat-least = 30\n");
    insta::assert_snapshot!(machine.problems(&text), @r#"
    rosterd.toml:14:1: at-least 30 is more than at-most 20 (what is not written here keeps its general value): raise at-most, or lower at-least
    "#);
}

#[test]
fn directories_hooks_and_gates_have_their_configured_values() {
    let machine = Machine::new();
    let text = everything()
        .replace("discover = \"corp.example.com\"", "")
        .replace("site = \"Berlin\"", "")
        .replace("discover-suffixes = [\"dc.example.net\"]", "")
        .replace("sqlite:///var/lib/rosterd/rosterd.db", "postgres://rosterd@db1,db2:5433/roster")
        .replace("password-credential = \"store\"", "")
        .replace("password-credential = \"corp\"", "")
        .replace("password-credential = \"mail\"", "")
        .replace("keytab-credential = \"corp\"", "")
        .replace("keytab = \"/etc/rosterd/corp.keytab\"", "")
        .replace("principal = \"svc-rosterd@CORP.EXAMPLE.COM\"", "")
        .replace("krb5-conf = \"/etc/rosterd/krb5.conf\"", "")
        .replace("secret-credential = \"siem\"", "")
        .replace("key-credential = \"events\"", "")
        .replace("token-file = \"/etc/rosterd/slack.token\"", "")
        .replace("token-credential = \"slack\"", "")
        .replace("client-secret-credential = \"slack\"", "")
        .replace("\"svc-*@example.com\"", "\"svc-*@Bücher.example\"");
    let config = machine.config(&text);
    let StoreAt::Server(store) = &config.store else { panic!("{:?}", config.store) };
    assert_eq!((store.hosts[1].name.as_str(), store.hosts[1].port), ("db2", 5433));
    assert_eq!(store.password_file, Some(machine.etc.path().join("store.password")));
    assert_eq!(store.ca_file, Some(machine.etc.path().join("store-ca.pem")));
    let slack = &config.targets[0];
    assert!(
        matches!(&slack.credential, TargetCredential::OAuth { client_id, .. } if client_id == "rosterd")
    );
    assert_eq!((slack.mode, slack.quirks.scim_json), (Mode::PlanOnly, Some(false)));
    let group = &slack.groups[0];
    assert_eq!((group.name.as_str(), group.tier), ("Roster Pro", Tier::Pro));
    assert!(group.id.is_some());
    let corp = &config.directories[0];
    assert_eq!(
        corp.servers,
        Servers::Listed(vec![ServerUrl::parse("ldaps://dc1.corp.example.com").unwrap()])
    );
    let (written, filter) = corp.filter.as_ref().unwrap();
    assert_eq!(
        (written.as_str(), filter.to_string()),
        ("(!(employeeType=robot))", written.clone())
    );
    assert_eq!(corp.exclude, ["svc-*@xn--bcher-kva.example"]);
    let [rule] = &*corp.rules.0 else { panic!("{:?}", corp.rules) };
    assert_eq!(rule.ou.configured, Dn::new("OU=Interns,DC=corp,DC=example,DC=com"));
    assert_eq!(rule.tier, Some(Tier::Basic));
    let limit = Limit { percent: 2, at_least: 1, at_most: Some(3) };
    assert_eq!(rule.limits, [(ChangeClass::Gone, limit)].into());
    assert_eq!(corp.exclude_ou, [Dn::new("OU=Robots,DC=corp,DC=example,DC=com")]);
    assert_eq!(corp.ca_file.as_deref(), Some(&*machine.etc.path().join("corp-ca.pem")));
    let [vpn, siem, mail] = &*config.hooks else { panic!("{:?}", config.hooks) };
    assert_eq!((mail.name.as_str(), config.digest.is_some()), ("mail", true));
    assert_eq!(
        vpn.receiver,
        Receiver::Exec(Program::of(&["/usr/libexec/rosterd/revoke-vpn".to_owned()]))
    );
    let Receiver::Webhook(webhook) = &siem.receiver else { panic!("{siem:?}") };
    assert!(webhook.allow_http);
    assert_eq!(
        webhook.proxy.as_ref().map(|url| url.as_str()),
        Some("http://proxy.example.com:3128/")
    );
    // The first hook has its defaults written out, the second has none.
    assert_eq!(
        (vpn.timeout, vpn.max_age, vpn.concurrency),
        (siem.timeout, siem.max_age, siem.concurrency)
    );
    assert_eq!(config.gates[0].timeout, siem.timeout);
    assert_eq!(config.metrics_listen.map(|a| a.port()), Some(9464));

    let discovered = MINIMAL.replace(
        "servers = [\"ldaps://dc1.corp.example.com\"]",
        &[
            "discover = \"corp.example.com\"",
            "site = \"Berlin\"",
            "discover-suffixes = [\"dc.example.net\"]",
            "ca-file = \"/etc/rosterd/corp-ca.pem\"",
        ]
        .join("\n"),
    );
    let found = machine.config(&discovered).directories.remove(0).servers;
    assert!(
        matches!(&found, Servers::Discovered(Discovery { domain, site, suffixes })
            if domain.as_str() == "corp.example.com" && site.as_deref() == Some("Berlin") && suffixes[0].as_str() == "dc.example.net"),
        "{found:?}"
    );
}

#[test]
fn a_group_of_another_directory_is_one_of_a_directory_of_the_account() {
    let machine = Machine::new();
    let second = |name: &str, account: &str, group: &str| {
        let section = MINIMAL.replace("name = \"corp\"", &format!("name = \"{name}\""));
        let section = section.replace("account = \"acme\"", &format!("account = \"{account}\""));
        let at = section.find("[[directory]]").expect("a section");
        let keys = section[at..].lines().filter(|line| !line.contains("-groups"));
        let keys = keys.collect::<Vec<_>>().join("\n");
        format!(
            "{MINIMAL}\n{}\n",
            keys.replacen(
                "[[directory]]",
                &format!("[[directory]]\npro-groups = [\"{group}\"]"),
                1
            )
        )
    };
    let config = machine.config(&second("emea", "acme", "corp:Roster Pro"));
    let (_, group) = &config.directories[1].groups[0];
    assert_eq!(
        (group.directory().map(ToString::to_string).as_deref(), group.name()),
        (Some("corp"), "Roster Pro")
    );
    for (account, group, problem) in [
        (
            "acme",
            "crop:Roster Pro",
            "there is no directory crop: correct the name before the colon",
        ),
        ("acme", "emea:Roster Pro", "emea is this directory: write \"Roster Pro\""),
        ("other", "corp:Roster Pro", "the directory corp is for the account acme"),
        ("acme", "corp:", "names no group"),
    ] {
        let problems = machine.problems(&second("emea", account, group));
        assert!(problems.contains(problem), "{problems}");
    }
}
