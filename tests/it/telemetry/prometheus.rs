//! The alert rules and the dashboard: existing metrics, and promtool accepts them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser as _;
use rosterd::engine::{DirectoryCondition, TargetCondition};
use rosterd::model::{ChangeCounts, DirectoryName, Reason, RunMode, RunState, Timestamp, Trigger};
use rosterd::telemetry::{
    AccountSeries, Counters, DirectorySeries, Format, HookSeries, Snapshot, States, StoreSnapshot,
    TargetSeries, page,
};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// Returns a page on which every metric has a series.
fn everything(format: Format) -> String {
    let counters = Counters::default();
    let corp = DirectoryName::parse("corp");
    counters.run_ended(
        corp.as_ref(),
        Trigger::Schedule,
        RunState::Succeeded,
        RunMode::Full,
        Duration::from_secs(3),
        1004,
    );
    counters.applied(
        corp.as_ref(),
        (ChangeCounts::default(), 0),
        (ChangeCounts { create: 2, ..ChangeCounts::default() }, 1),
    );
    counters.suspended(corp.as_ref(), Reason::Disabled);
    counters.bind_refused("corp", "52e");
    counters.answered("GET", "/v1/status", 200);
    counters.signed_in("deny", "unknown-user");
    let at = Some(Timestamp(1_795_530_600_000_000));
    let directory = DirectorySeries {
        name: "corp".to_owned(),
        account: "acme".to_owned(),
        state: "ok",
        last_attempt: at,
        last_success: at,
        last_complete_read: at,
        next_run: at,
        held_since: at,
        approval_expires: at,
        users: vec![("active", 800), ("suspended", 3)],
        ..DirectorySeries::default()
    };
    let account = AccountSeries {
        handle: "acme".to_owned(),
        users: vec![("active", 800)],
        claims: vec![("verified", 1), ("lapsed", 1)],
    };
    let hook = HookSeries {
        name: "vpn".to_owned(),
        pending: 2,
        failed: 1,
        oldest: at,
        delivered_at: at,
        disabled: false,
    };
    counters.target_asked("slack", "modify", "200", Duration::from_millis(40));
    counters.deactivated("slack", Duration::from_millis(300));
    let target = TargetSeries {
        name: "slack".to_owned(),
        state: "ok",
        accounts: vec![("active", 800), ("left", 1)],
        pending: 1,
        quarantined: 2,
        held: 3,
        oldest_deactivation: at,
        last_complete_run: at,
        token_expires: at,
    };
    let store = StoreSnapshot {
        bytes: Some(4096),
        events: 7,
        attention: 1,
        cluster_attention: Some(1),
        directories: vec![directory],
        accounts: vec![account],
        hooks: vec![hook],
        targets: vec![target],
    };
    let snapshot = Snapshot {
        started_at: Timestamp(1_795_530_000_000_000),
        writable: true,
        leads: Some(true),
        store: Some(store),
    };
    page(
        &counters,
        &snapshot,
        &States {
            directories: &DirectoryCondition::ALL.map(DirectoryCondition::as_str),
            targets: &TargetCondition::ALL.map(TargetCondition::as_str),
        },
        format,
    )
}

/// Returns the names of all samples.
fn served() -> BTreeSet<String> {
    let page = everything(Format::OpenMetrics);
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect()
}

/// Returns the names in a text that look like metrics of rosterd.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| ["rosterd_", "process_"].iter().any(|p| word.starts_with(p)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_and_dashboard_use_existing_metrics() {
    let served = served();
    for file in ["prometheus/alerts.yml", "prometheus/alerts.test.yml", "grafana/rosterd.json"] {
        let named = named(&std::fs::read_to_string(shipped(file)).unwrap());
        assert!(named.len() > 3, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&served).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn every_alert_names_a_command_of_rosterctl() {
    let text = std::fs::read_to_string(shipped("prometheus/alerts.yml"))
        .unwrap()
        .replace("{{ $labels.directory }}", "corp")
        .replace("{{ $labels.hook }}", "vpn")
        .replace("{{ $labels.target }}", "slack");
    for alert in text.split("- alert: ").skip(1) {
        let prose = alert.split_whitespace().collect::<Vec<_>>().join(" ");
        let commands: Vec<&str> = prose
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|quoted| quoted.starts_with("rosterctl "))
            .collect();
        assert!(
            !commands.is_empty() && prose.contains("summary:") && prose.contains("severity:"),
            "{prose}"
        );
        for command in commands {
            let parsed = rosterd::ctl::Cli::try_parse_from(command.split(' '));
            assert!(parsed.is_ok(), "{command}: {}", parsed.err().unwrap());
        }
    }
}

#[test]
fn every_metric_has_a_help_text_a_type_and_its_unit() {
    let page = everything(Format::OpenMetrics);
    for name in served() {
        let family = ["_total", "_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(&name);
        for what in ["HELP", "TYPE"] {
            assert!(
                page.lines().any(|line| line.starts_with(&format!("# {what} {family} "))),
                "{what} of {name}"
            );
        }
        for unit in ["seconds", "bytes"] {
            let says = page.contains(&format!("# UNIT {family} {unit}\n"));
            assert_eq!(says, family.ends_with(&format!("_{unit}")), "{name}");
        }
    }
}

#[test]
fn the_dashboard_has_the_structure_that_grafana_reads() {
    let text = std::fs::read_to_string(shipped("grafana/rosterd.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|p| p["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    assert!(
        panels
            .iter()
            .all(|p| p["title"].is_string()
                && p["targets"].as_array().is_some_and(|t| !t.is_empty()))
    );
    assert!(dashboard["title"].is_string() && dashboard["uid"].is_string());
}

fn promtool(arguments: &[&str], stdin: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of the Debian package prometheus");
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(done.status.success(), "promtool {arguments:?}: {said}");
    said
}

#[test]
#[ignore = "needs the lab: tests/run"]
fn promtool_accepts_metrics_rules_and_scrape_job() {
    let findings = promtool(&["check", "metrics"], &everything(Format::Text));
    assert_eq!(findings, "", "HELP, names and units");
    let [alerts, tests, scrape] = ["alerts.yml", "alerts.test.yml", "scrape.yml"]
        .map(|file| shipped("prometheus").join(file).to_str().unwrap().to_owned());
    promtool(&["check", "rules", &alerts], "");
    promtool(&["test", "rules", &tests], "");
    promtool(&["check", "config", "--syntax-only", &scrape], "");
}
