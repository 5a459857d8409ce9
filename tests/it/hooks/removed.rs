//! Hooks that are removed from the configuration while they have a backlog.

use std::time::Duration;

use nix::sys::signal::Signal;
use rosterd::ctl::text::View;
use rosterd::ctl::{hook, reload};
use rosterd::engine::EngineError;
use rosterd::hooks::Hook;
use serde_json::{Value, json};

use super::{Desk, by_program};
use crate::process::{Daemon, until};
use crate::service::Site;

/// Removes a hook with a backlog of these subjects, before any attempt.
async fn removed(desk: &Desk, subjects: &[&str]) -> Hook {
    let vpn = Hook {
        events: vec!["user.*".to_owned()],
        ..by_program("vpn", desk.script("vpn", "exit 0"))
    };
    desk.engine.reconfigure_hooks(vec![vpn.clone()]);
    desk.engine.forget_removed_hooks().await.unwrap();
    desk.happens("user.suspended", subjects).await;
    desk.engine.reconfigure_hooks(Vec::new());
    desk.engine.forget_removed_hooks().await.unwrap();
    vpn
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_of_a_removed_hook_is_kept_and_delivered_when_it_comes_back() {
    let desk = Desk::open().await;
    let vpn = removed(&desk, &["anna", "bert"]).await;
    let status = desk.status("vpn").await;
    assert_eq!((status.state.as_str(), status.deliveries.pending), ("removed", 2));
    let day = status.kept_until.expect("an end").since(desk.clock.now());
    assert!(day > Duration::from_hours(23) && day <= Duration::from_hours(24), "{day:?}");
    assert_eq!(desk.deliveries("vpn").await.len(), 2);
    desk.happens("user.suspended", &["carl"]).await;

    desk.clock.advance(Duration::from_hours(23));
    desk.engine.forget_removed_hooks().await.unwrap();
    desk.hook_up(vec![vpn]);
    desk.engine.forget_removed_hooks().await.unwrap();
    desk.idle("vpn").await;
    let status = desk.status("vpn").await;
    assert_eq!(
        (status.state.as_str(), status.deliveries.delivered, status.deliveries.failed),
        ("ok", 2, 0),
        "carl was nobody's to tell"
    );
    desk.clock.advance(Duration::from_hours(23));
    desk.engine.forget_removed_hooks().await.unwrap();
    assert_eq!(desk.status("vpn").await.deliveries.delivered, 2, "the time it was away is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_of_a_removed_hook_becomes_dead_letters_at_its_maximum_age() {
    let desk = Desk::open().await;
    // More deliveries than one transaction handles.
    let subjects: Vec<String> = (0..2_100).map(|n| n.to_string()).collect();
    let vpn = removed(&desk, &subjects.iter().map(String::as_str).collect::<Vec<_>>()).await;
    desk.clock.advance(Duration::from_hours(25));
    desk.engine.forget_removed_hooks().await.unwrap();
    let told = desk.events("hook.dead_lettered").await;
    let count: u64 =
        told.iter().map(|event| event["data"]["after"]["count"].as_u64().unwrap()).sum();
    assert_eq!((count, &told[0]["subject"]), (2_100, &json!("vpn")));
    assert!(desk.engine.hook_statuses().await.unwrap().is_empty());
    let unknown =
        desk.engine.deliveries("vpn", &rosterd::store::DeliveryFilter::default(), 1).await;
    assert!(matches!(unknown, Err(EngineError::NotFound { .. })), "{unknown:?}");

    // A new hook of the same name starts without a backlog.
    desk.hook_up(vec![vpn]);
    desk.happens("user.suspended", &["anna"]).await;
    desk.idle("vpn").await;
    assert_eq!(desk.status("vpn").await.deliveries.delivered, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_hook_without_a_backlog_is_not_shown() {
    let desk = Desk::open().await;
    desk.hook_up(vec![by_program("vpn", desk.script("vpn", "exit 0"))]);
    desk.happens("user.suspended", &["anna"]).await;
    desk.idle("vpn").await;
    desk.hook_up(Vec::new());
    desk.engine.forget_removed_hooks().await.unwrap();
    assert!(desk.engine.hook_statuses().await.unwrap().is_empty());
}

#[test]
fn a_reload_reports_its_effect_on_each_hook_and_the_backlog_of_a_removed_one() {
    let mut site = Site::empty(3);
    let reloaded = |site: &Site, hooks: &[(&str, &str)]| {
        let hooks = hooks.iter().map(|(name, exec)| {
            format!("[[hook]]\nname = \"{name}\"\nevents = [\"account.*\"]\nexec = [\"{exec}\"]\n")
        });
        site.configure(&hooks.collect::<String>(), "");
        site.done("reload")["hooks"].clone()
    };
    let outcome = |name: &str, outcome: &str| json!({ "name": name, "outcome": outcome });
    assert_eq!(reloaded(&site, &[]), json!([]));
    let both = [("crm", "/bin/true"), ("vpn", "/bin/false")];
    assert_eq!(reloaded(&site, &both), json!([outcome("crm", "added"), outcome("vpn", "added")]));
    assert_eq!(
        reloaded(&site, &both),
        json!([outcome("crm", "unchanged"), outcome("vpn", "unchanged")])
    );
    site.done("account create acme --name Acme");
    until("the other has taken it", || {
        (site.done("hook list")["hooks"][0]["delivered"] == 1).then_some(())
    });
    let counts = |site: &Site| site.done("status")["hooks"].clone();
    assert_eq!(counts(&site), json!({ "pending": 1, "failed": 0, "removed": 0, "attention": [] }));

    assert_eq!(
        reloaded(&site, &[("crm", "/bin/false")]),
        json!([outcome("crm", "changed"), outcome("vpn", "removed")])
    );
    let gone = json!({ "pending": 0, "failed": 0, "removed": 1, "attention": [] });
    until("that is noted", || (counts(&site) == gone).then_some(()));
    let listed = site.done("hook list")["hooks"].clone();
    assert_eq!((&listed[0]["name"], &listed[0]["kept_until"]), (&json!("crm"), &Value::Null));
    assert_eq!(
        (&listed[1]["name"], &listed[1]["state"], listed[1]["kept_until"].is_string()),
        (&json!("vpn"), &json!("removed"), true)
    );
    assert_eq!(site.done("hook deliveries vpn")["deliveries"][0]["state"], "pending");
    assert_eq!(site.daemon.ctl("hook test vpn").0, 1);
    let metrics = site.daemon.ask("GET /v1/metrics", "");
    assert!(
        metrics.contains("rosterd_hook_pending_deliveries{hook=\"crm\"} 0")
            && !metrics.contains("pending_deliveries{hook=\"vpn\"}")
    );

    // A removal while no daemon runs is noticed, too, and the hook continues when it is back.
    site.configure("", "");
    site.daemon.signal(Signal::SIGTERM);
    site.daemon.wait();
    site.daemon = Daemon::start(site.folder.path());
    until("that is noted", || (counts(&site) == gone).then_some(()));
    assert_eq!(reloaded(&site, &[("vpn", "/bin/true")]), json!([outcome("vpn", "added")]));
    until("it has taken it", || {
        (site.done("hook list")["hooks"][0]["delivered"] == 1).then_some(())
    });
    assert_eq!(counts(&site), json!({ "pending": 0, "failed": 0, "removed": 0, "attention": [] }));
}

#[test]
fn the_backlog_of_a_removed_hook_is_reported_as_a_sentence() {
    let view = View {
        width: 100,
        now: "2026-11-26T12:00:00Z".parse().expect("a time"),
        zone: chrono_tz::Tz::UTC,
    };
    let removed = json!({ "hooks": [{
        "name": "vpn", "events": [], "target": "", "state": "removed", "pending": 2, "failed": 1, "delivered": 40, "lag_seconds": 7200,
        "last_delivered": null, "last_error": "it ended with exit status 1", "last_error_at": "2026-11-26T11:00:00Z",
        "kept_until": "2026-12-03T10:00:00Z",
    }] });
    insta::assert_snapshot!(hook::list(&serde_json::from_value(removed).expect("hooks"), &view).plain(), @"
    ● vpn: no longer configured
      deliveries  40 done, 2 pending, the oldest for 2h, 1 given up
      kept until  2026-12-03 10:00 UTC, in case the hook is configured again
      last error  2026-11-26 11:00 UTC, 60 minutes ago: it ended with exit status 1
    ");
    let reloaded = json!({
        "directories": [{ "name": "corp", "outcome": "unchanged" }],
        "hooks": [
            { "name": "crm", "outcome": "changed" },
            { "name": "mail", "outcome": "added" },
            { "name": "siem", "outcome": "unchanged" },
            { "name": "vpn", "outcome": "removed" },
        ],
        "needs_restart": [],
    });
    insta::assert_snapshot!(reload::page(&serde_json::from_value(reloaded).expect("an answer"), &view).plain(), @"
    DIRECTORY  NOW
    corp       unchanged

    HOOK  NOW
    crm   changed; the new configuration is in use
    mail  added; receives events from now on
    siem  unchanged
    vpn   removed; its backlog is kept until its max-age has passed
    ");
}
