//! Targets: defaults, presets and mistakes.

use std::time::Duration;

use rosterd::config;
use rosterd::model::{Adopt, ChangeClass, DriftAction, LeaverAction, Rate};
use rosterd::reconcile::Limits;
use rosterd::reconcile::provision::{DEFAULT_MAPPING, Paging};

use super::{MINIMAL, Machine};

const TARGET: &str = "[[target]]\nname = \"app\"\naccount = \"acme\"\nurl = \"https://app.example.com/scim/v2?tenant=7\"\ntoken-file = \"/etc/rosterd/slack.token\"\n";

#[test]
fn a_target_has_safe_defaults_and_a_preset_gives_way_to_keys() {
    let machine = Machine::new();
    let target = |more: &str| machine.config(&format!("{TARGET}{more}")).targets.remove(0);
    let app = target("");
    assert_eq!(app.url.query(), Some("tenant=7"));
    assert_eq!(
        (app.adopt, app.leaver, app.drift),
        (Adopt::Ask, LeaverAction::Deactivate, DriftAction::Report)
    );
    assert_eq!(app.limits.allowed(ChangeClass::Deleted, 1000), 0, "each deletion is held");
    assert_eq!(
        app.limits.allowed(ChangeClass::Create, 10),
        Limits::default().allowed(ChangeClass::Create, 10)
    );
    let paths = |target: &config::Target| {
        target.mapping.attributes.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(paths(&app), DEFAULT_MAPPING.map(|(path, _)| path.to_owned()));
    let slack = target("preset = \"slack\"\npage-size = 0\n");
    assert_eq!(
        (slack.rate, slack.page_size),
        (Rate { requests: 180, per: Duration::from_mins(1) }, 0)
    );
    assert_eq!(
        target("preset = \"slack\"\nrate = \"9/h\"\n").rate,
        Rate { requests: 9, per: Duration::from_hours(1) }
    );
    let aws = target("preset = \"aws\"\nquirks = { paging = \"cursor\" }\n");
    assert_eq!((aws.quirks.paging, aws.quirks.members), (Some(Paging::Cursor), Some(false)));
    let mapped = target(
        "[target.attributes]\nemails = \"{primary-email:lower}\"\ntitle = \"\"\n\"urn:example:1.0:App:seat\" = \"{tier} seat\"\n[target.values]\ntier = { pro = \"Pro\" }\n",
    );
    let paths = paths(&mapped);
    assert!(
        paths.contains(&"emails".to_owned()) && !paths.contains(&"emails[work]".to_owned()),
        "{paths:?}"
    );
    assert!(
        !paths.contains(&"title".to_owned())
            && paths.contains(&"urn:example:1.0:App:seat".to_owned()),
        "{paths:?}"
    );
}

#[test]
fn all_mistakes_of_a_target_are_reported_together_with_their_remedies() {
    let machine = Machine::new();
    machine.file("open.token", "xoxp-1\n", 0o644);
    let text = r#"[[target]]
name = "corp"
account = "Acme Inc"
url = "http://app.example.com/scim"
token-file = "/etc/rosterd/open.token"
preset = "okta"
tiers = ["gold"]
rate = "fast"
full = "daily"
token-expires = "soon"
[target.oauth]
token-url = "https://login.example.com/token"
client-id = "rosterd"
[target.attributes]
userName = ""
active = "true"
title = "{titl}"
"emails[home]" = "{primary-email}"
"emails[work]" = "{primary-email:upper}"
name.givenName = "{given-name}"
[target.values]
tier = { gold = "Gold" }
departement = { x = "y" }
[target.quirks]
paging = "sometimes"
[[target.group]]
name = "Roster Pro"
tier = "pro"
[[target.group]]
name = "Roster Pro"
tier = "pro"
"#;
    let problems = machine.problems(&format!("{MINIMAL}\n{text}"));
    let offset = format!("{MINIMAL}\n").lines().count();
    for (line, words) in [
        (2, "there is a directory \"corp\""),
        (3, "not an account handle"),
        (4, "add allow-http = true"),
        (5, "run chmod o= on it"),
        (6, "\"okta\" is not known here: write \"generic\" or"),
        (7, "\"gold\" is not known here"),
        (8, "is not a rate: write"),
        (9, "daily"),
        (10, "is not a date: write"),
        (11, "there are both token-file and oauth"),
        (11, "client-secret-file is missing"),
        (16, "active is not for the mapping"),
        (17, "there is no field titl: did you mean title?"),
        (19, "emails[home] writes the same attribute"),
        (20, "write the whole name in double quotes"),
        (22, "there is no tier \"gold\""),
        (23, "there is no key departement in [target.values]: did you mean department?"),
        (25, "\"sometimes\" is not known here"),
        (30, "there is another group \"Roster Pro\""),
    ] {
        let place = format!("rosterd.toml:{}:", offset + line);
        assert!(
            problems.lines().any(|l| l.starts_with(&place) && l.contains(words)),
            "{line} {words}:\n{problems}"
        );
    }
    let left_out = machine.problems(&format!("{TARGET}[target.attributes]\nexternalId = \"\"\n"));
    assert!(left_out.contains("externalId is left out"), "{left_out}");
}
