//! The values of metrics, and the formats of their page.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{active_dn, site};
use crate::process::{Daemon, exchange};

/// Returns the samples of a page by name and labels, without fractions.
fn samples(answer: &str) -> BTreeMap<String, u64> {
    let (_, page) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let sample = |line: &str| {
        line.rsplit_once(' ')
            .map(|(series, value)| (series.to_owned(), value.parse::<f64>().expect(line) as u64))
    };
    page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// Returns the sum of the series of a metric with all these labels.
fn sum(samples: &BTreeMap<String, u64>, metric: &str, labels: &[(&str, &str)]) -> u64 {
    let has = |series: &str| {
        labels.iter().all(|(name, value)| series.contains(&format!("{name}=\"{value}\"")))
    };
    let of_metric = samples.iter().filter(|(series, _)| series.split('{').next() == Some(metric));
    of_metric.filter(|(series, _)| has(series)).map(|(_, value)| value).sum()
}

#[test]
fn the_counters_equal_the_changes_of_the_runs() {
    // Enough people for several transactions.
    let site = site(700, "", |_, _| {});
    site.done("sync corp");
    let victims: Vec<String> = (0..3).map(|n| active_dn(&site, n)).collect();
    site.sim.edit(|ad| victims.iter().for_each(|dn| ad.disable(dn.as_str())));
    assert_eq!(site.done("sync corp")["changes"]["suspend"], 3);
    let braked =
        site.done("user list --status active")["users"][0]["id"].as_str().unwrap().to_owned();
    site.done(&format!("user suspend {braked} --reason test"));
    site.sim.faults().push(adsim::Fault::new(adsim::When::page(1), adsim::What::Cut).always());
    assert_eq!(site.daemon.ctl("sync corp").0, 1);
    site.sim.faults().clear();

    let page = samples(&site.daemon.ask("GET /v1/metrics", ""));
    let runs = site.done("run list --limit 100")["runs"].as_array().unwrap().clone();
    assert!(runs.len() >= 5, "{runs:#?}");
    for run in &runs {
        let text = |key: &str| run[key].as_str().unwrap_or_default();
        let (directory, trigger, state) = (text("directory"), text("trigger"), text("state"));
        let same =
            |r: &&Value| ["directory", "trigger", "state"].iter().all(|key| r[key] == run[key]);
        let facts = runs.iter().filter(same).count();
        let series = [("directory", directory), ("trigger", trigger), ("state", state)];
        assert_eq!(sum(&page, "rosterd_runs_total", &series), facts as u64, "{series:?}");
    }
    assert_eq!(sum(&page, "rosterd_runs_total", &[]), runs.len() as u64, "and no others");
    for kind in ["create", "update", "suspend", "reactivate", "tier", "link", "release"] {
        for directory in ["corp", ""] {
            let of =
                runs.iter().filter(|r| r["directory"].as_str().unwrap_or_default() == directory);
            let facts: u64 = of.filter_map(|r| r["changes"][kind].as_u64()).sum();
            assert_eq!(
                sum(
                    &page,
                    "rosterd_changes_applied_total",
                    &[("directory", directory), ("kind", kind)]
                ),
                facts,
                "{directory} {kind}"
            );
        }
    }
    assert_eq!(
        sum(&page, "rosterd_changes_applied_total", &[("directory", "corp"), ("kind", "suspend")]),
        3
    );
    let read: u64 = runs.iter().filter_map(|r| r["read"]["entries"].as_u64()).sum();
    assert_eq!(sum(&page, "rosterd_entries_read_total", &[]), read);
    let timed = runs.iter().filter(|r| r["directory"] == "corp").count();
    assert_eq!(sum(&page, "rosterd_run_duration_seconds_count", &[]), timed as u64);

    // The gauges.
    for status in ["active", "suspended"] {
        let facts =
            site.done(&format!("user list --status {status}"))["users"].as_array().unwrap().len()
                as u64;
        assert_eq!(sum(&page, "rosterd_users", &[("status", status)]), facts, "{status}");
        assert_eq!(sum(&page, "rosterd_directory_users", &[("status", status)]), facts, "{status}");
    }
    assert_eq!(
        sum(&page, "rosterd_directory_state", &[("state", "degraded")]),
        1,
        "the last run failed"
    );
    assert_eq!(sum(&page, "rosterd_directory_state", &[]), 1, "a directory is in one state");
    let seqs = site.done("event list --limit 1")["events"][0]["seq"].as_u64();
    assert!(seqs.is_none_or(|seq| sum(&page, "rosterd_events_total", &[]) <= seq));
    assert!(sum(&page, "rosterd_events_total", &[]) > 3);
    let suspended = [("method", "POST"), ("route", "/v1/users/{who}/suspend"), ("status", "200")];
    assert_eq!(
        sum(&page, "rosterd_control_requests_total", &suspended),
        1,
        "by the pattern, not by the path"
    );
    assert!(sum(&page, "process_resident_memory_bytes", &[]) > 1_000_000);
    assert_eq!(
        page[&format!("rosterd_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))],
        1
    );
    assert!(
        !page.keys().any(|series| series.contains('@') || series.contains(&braked)),
        "metrics name no person"
    );
}

#[test]
fn a_refused_bind_is_counted_and_shown_until_it_ends() {
    let site = site(10, "", |_, _| {});
    site.done("sync corp");
    std::fs::write(site.folder.path().join("password"), "wrong").unwrap();
    for _ in 0..2 {
        assert_eq!(site.daemon.ctl("sync corp").0, 1);
    }
    let page = samples(&site.daemon.ask("GET /v1/metrics", ""));
    assert_eq!(
        sum(&page, "rosterd_bind_refusals_total", &[("directory", "corp"), ("code", "52e")]),
        1,
        "AD was asked once"
    );
    assert_eq!(sum(&page, "rosterd_directory_bind_refused", &[]), 1);
    std::fs::write(site.folder.path().join("password"), site.sim.service_password()).unwrap();
    site.done("sync corp");
    let page = samples(&site.daemon.ask("GET /v1/metrics", ""));
    assert_eq!(sum(&page, "rosterd_directory_bind_refused", &[]), 0);
}

#[test]
fn a_scraper_gets_openmetrics_if_it_asks_for_it() {
    let site = site(1, "", |_, _| {});
    let prometheus = "accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3\r\n";
    let asked = site.daemon.ask("GET /v1/metrics", prometheus);
    assert!(
        asked.contains(
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
        ),
        "{asked}"
    );
    assert!(asked.ends_with("# EOF\n"), "{asked}");
    for accept in ["", "accept: text/plain\r\n"] {
        let usual = site.daemon.ask("GET /v1/metrics", accept);
        assert!(
            usual.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n")
                && !usual.contains("# EOF"),
            "{usual}"
        );
    }
    let head = site.daemon.ask("HEAD /v1/metrics", "");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

/// Returns a free port.
fn free_port() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn the_metrics_port_serves_metrics_and_changes_at_a_restart() {
    let port = free_port();
    let mut site = site(5, &format!("[metrics]\nlisten = \"{port}\""), |_, _| {});
    site.done("sync corp");
    let page = exchange(&mut TcpStream::connect(port).unwrap(), "GET /metrics", "");
    assert!(
        page.starts_with("HTTP/1.1 200")
            && sum(&samples(&page), "rosterd_directory_users", &[]) > 1,
        "{page}"
    );
    assert!(
        !site.done("status").to_string().contains("metrics"),
        "nothing needs attention about them"
    );

    site.configure(&format!("[metrics]\nlisten = \"{}\"", free_port()), "");
    assert_eq!(site.done("reload")["needs_restart"], serde_json::json!(["metrics.listen"]));

    // A port in use prevents the start, with a message.
    site.daemon.signal(Signal::SIGTERM);
    assert!(site.daemon.wait().success());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    site.configure(&format!("[metrics]\nlisten = \"{address}\""), "");
    let refused = Daemon::command(site.folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("cannot serve metrics on {address}")) && said.contains("in use"),
        "{said}"
    );
}
