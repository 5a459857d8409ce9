//! Time from an edit in the directory to the suspension of the user, with change notification.
//!
//! `cargo bench --bench live -- --people 10000`. A daemon follows a simulator in which people are
//! disabled and enabled again, one after the other. The reference is a run over one person that an
//! operator asks for, because every suspension needs at least that. The listing of all GUIDs, which
//! each incremental run does, is measured against a full run.
#![allow(clippy::print_stdout, reason = "a bench prints to its user")]

#[path = "../tests/support/folder.rs"]
mod folder;
#[path = "../tests/support/process.rs"]
mod process;
#[path = "ratios.rs"]
mod ratios;

use std::time::{Duration, Instant};

use adsim::Sim;
use anyhow::Context as _;
use chrono::DateTime;
use clap::Parser;
use rosterd::clock::Clock;
use rosterd::directory::{Servers, Settings, Use};
use rosterd::model::{AttributeNames, Credential, Dn, ServerUrl, Timeouts, Timestamp};
use rosterd::reconcile::{HighWaterMarks, OuRules};
use serde_json::Value;
use tokio::runtime::Runtime;

use folder::Directory;
use process::{Daemon, until};
use ratios::{Ratio, report};

#[derive(Debug, Parser)]
struct Arguments {
    /// People in the directory
    #[arg(long, default_value_t = 10_000)]
    people: usize,
    /// People that are disabled, one after the other
    #[arg(long, default_value_t = 100)]
    leavers: usize,
    /// Fail where a ratio exceeds its limit
    #[arg(long)]
    check: bool,
    /// Passed by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// Measures the listing of the GUIDs of all visible people, as each incremental run does it.
fn list(sim: &Sim, folder: &std::path::Path, runtime: &Runtime) -> anyhow::Result<Duration> {
    let settings = Settings {
        servers: vec![ServerUrl::parse(&sim.ldaps_url()).map_err(anyhow::Error::msg)?],
        starttls: false,
        ca_file: Some(folder.join("ca.pem")),
        credential: Credential::Password {
            bind_dn: sim.service_upn(),
            file: folder.join("password"),
        },
        bases: vec![sim.root_dn()],
        filter: None,
        exclude_ou: Vec::new(),
        rules: OuRules::default(),
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            operation: Duration::from_mins(1),
            run: Duration::from_mins(30),
        },
        page_size: 1_000,
        groups: Vec::new(),
        canaries: Vec::new(),
        attributes: AttributeNames::default(),
    };
    let bases = [Dn::new(sim.root_dn())];
    runtime.block_on(async {
        let mut session = Servers::default()
            .open(&settings, Use::Follow, &HighWaterMarks::default(), &|| Duration::ZERO)
            .await?;
        let begun = Instant::now();
        session.visible_people(&bases, settings.page_size, |_| {}).await?;
        Ok(begun.elapsed())
    })
}

/// No limit holds a change: all people may leave.
const LIMITS: &str = "live = true\nschedule = \"@yearly\"\n[directory.safety]\nconfirmed = { percent = 100 }\nreactivate = { percent = 100, at-most = 1000000 }";

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times
        .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

/// Returns user and time of the last suspension.
fn last(daemon: &Daemon) -> Option<(String, Timestamp)> {
    let events = daemon.done("event list --type user.suspended --limit 1");
    let event = events["events"].as_array()?.last()?;
    let time = DateTime::parse_from_rfc3339(event["time"].as_str()?).ok()?;
    Some((event["subject"].as_str()?.to_owned(), Timestamp::from(time.to_utc())))
}

fn main() -> anyhow::Result<()> {
    let Arguments { people, leavers, check, bench: _ } = Arguments::parse();
    let (runtime, clock) = (Runtime::new()?, Clock::system());
    let folder = tempfile::tempdir()?;
    let sim = runtime
        .block_on(Sim::builder().people(people).start())
        .map_err(|error| anyhow::anyhow!("the simulator: {error}"))?;
    folder::write_files(folder.path(), &sim.ca_pem(), &sim.service_password());
    std::fs::write(
        folder.path().join("rosterd.toml"),
        Directory::of(&sim, folder.path()).configuration(folder.path(), "", LIMITS),
    )?;
    let daemon = Daemon::start(folder.path());
    daemon.import();
    daemon.done("sync corp");
    until("changes are followed", || {
        (daemon.done("status")["directories"][0]["live"] == true).then_some(())
    });

    let active = daemon.done("user list --status active");
    let active = active["users"].as_array().context("users")?.iter().take(leavers);
    let chosen: Vec<(String, String)> = active
        .filter_map(|user: &Value| {
            Some((user["id"].as_str()?.to_owned(), user["directory"]["dn"].as_str()?.to_owned()))
        })
        .collect();
    let (mut seen, mut asked) = (Vec::new(), Vec::new());
    for (id, dn) in &chosen {
        let begun = clock.now();
        sim.edit(|ad| ad.disable(dn.as_str()));
        let (_, at) =
            until("the leaver is suspended", || last(&daemon).filter(|(subject, _)| subject == id));
        seen.push(at.since(begun));
        sim.edit(|ad| ad.enable(dn.as_str()));
        until("the one who is back is active", || {
            (daemon.done(&format!("user show {id}"))["status"] == "active").then_some(())
        });
        let begun = Instant::now();
        daemon.done(&format!("user sync {id}"));
        asked.push(begun.elapsed());
    }
    let (half, most) = (percentile(&mut seen, 50), percentile(&mut seen, 99));
    let requested = percentile(&mut asked, 50);
    let begun = Instant::now();
    daemon.done("sync corp");
    let (full, listed) = (begun.elapsed(), list(&sim, folder.path(), &runtime)?);
    println!("of {people} people {} were disabled, one after the other", seen.len());
    let ratio = |what, figure, reference, of, must| Ratio { what, figure, reference, of, must };
    report(
        &[
            ratio("disabled until suspended, median", half, requested, "a requested run", 2.0),
            ratio(
                "disabled until suspended, 99th percentile",
                most,
                requested,
                "a requested run",
                4.0,
            ),
            ratio("listing the visible people", listed, full, "a full run", 0.5),
        ],
        check,
    )
}
