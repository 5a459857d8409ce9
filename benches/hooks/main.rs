//! Throughput of a webhook and of a trivial program, their memory, and their effect on a sync.
//!
//! `cargo bench --bench hooks -- --events 100000`. A store is filled with events, and a daemon
//! replays all of them to each hook. Meanwhile a directory of the simulator is synced again and
//! again. Receiver, simulator and programs run on the same machine, so the figures include all of
//! them.
#![allow(clippy::print_stdout, reason = "a bench prints to its user")]

#[path = "../../tests/support/folder.rs"]
mod folder;
#[path = "../../tests/support/process.rs"]
mod process;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adsim::Sim;
use anyhow::{Context as _, ensure};
use axum::Router;
use axum::http::StatusCode;
use clap::Parser;
use rosterd::clock::Clock;
use rosterd::model::{Actor, Event, EventCause};
use rosterd::store::{Store, Subscription};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use folder::Directory;
use process::Daemon;

#[derive(Debug, Parser)]
struct Arguments {
    /// Events that are delivered to each hook
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// People of the directory that is synced meanwhile
    #[arg(long, default_value_t = 10_000)]
    people: usize,
    /// Concurrent deliveries of a hook
    #[arg(long, default_value_t = 4)]
    concurrency: u32,
    /// Passed by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// Events written in one transaction.
const BATCH: u64 = 500;

/// Writes the configuration of a daemon over this simulator, with both hooks.
fn configure(folder: &Path, sim: &Sim, receiver: &str, concurrency: u32) -> anyhow::Result<()> {
    folder::write_files(folder, &sim.ca_pem(), &sim.service_password());
    folder::write(&folder.join("key"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", 0o600);
    let at = folder.display();
    // The hooks subscribe to an event that does not occur during the bench.
    let hooks = format!(
        r#"
[[hook]]
name = "webhook"
events = ["domain.lapsed"]
url = "{receiver}"
secret-file = "{at}/key"
concurrency = {concurrency}
[[hook]]
name = "program"
events = ["domain.lapsed"]
exec = ["/bin/true"]
concurrency = {concurrency}
"#
    );
    let text = Directory::of(sim, folder).configuration(folder, &hooks, "schedule = \"@yearly\"");
    Ok(std::fs::write(folder.join("rosterd.toml"), text)?)
}

/// Measures a sync of the directory.
fn sync(daemon: &Daemon) -> Duration {
    let begun = Instant::now();
    let run = daemon.done("sync corp");
    assert_eq!(
        run["changes"].as_object().map(|kinds| kinds.values().all(|n| n == 0)),
        Some(true),
        "{run:#}"
    );
    begun.elapsed()
}

fn hook(daemon: &Daemon, name: &str) -> anyhow::Result<Value> {
    let hooks = daemon.done("hook list");
    let all = hooks["hooks"].as_array().context("hooks")?;
    all.iter().find(|hook| hook["name"] == name).cloned().context("the hook")
}

/// Fills the event log. Returns the time it took.
async fn fill(folder: &Path, events: u64, hooks: &[&str]) -> anyhow::Result<Duration> {
    let clock = Clock::system();
    let store = Store::open(&format!("sqlite://{}", folder.join("rosterd.db").display())).await?;
    let subscription =
        |hook: &&str| Subscription { hook: (*hook).to_owned(), events: vec!["*".to_owned()] };
    store.subscribe(hooks.iter().map(subscription).collect());
    let begun = Instant::now();
    for first in (0..events).step_by(BATCH as usize) {
        let cause =
            EventCause { actor: Actor::rosterd(), run: None, account: None, at: clock.now() };
        let about = |n: u64| {
            let after = json!({ "domain": "example.com", "account": "4b1f0a52-7a3e-4a43-9f3c-3f7d2c6f4f10", "note": "x".repeat(200) });
            // Ten events of each user.
            Event::about("domain.lapsed", format!("domain-{}", n / 10), &cause, Value::Null, after)
        };
        let batch: Vec<Event> = (first..(first + BATCH).min(events)).map(about).collect();
        store.record(&batch, &clock).await?;
    }
    let took = begun.elapsed();
    store.close().await;
    Ok(took)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() -> anyhow::Result<()> {
    let Arguments { events, people, concurrency, bench: _ } = Arguments::parse();
    let runtime = Runtime::new()?;
    let folder = tempfile::tempdir()?;
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let url = format!("http://{}/", listener.local_addr()?);
    let take = move || {
        count.fetch_add(1, Ordering::Relaxed);
        async { StatusCode::NO_CONTENT }
    };
    runtime.spawn(async move { axum::serve(listener, Router::new().fallback(take)).await });
    let sim = runtime
        .block_on(Sim::builder().people(people).start())
        .map_err(|error| anyhow::anyhow!("the simulator: {error}"))?;
    configure(folder.path(), &sim, &url, concurrency)?;
    let told = tempfile::tempdir()?;
    let with_hooks = runtime.block_on(fill(told.path(), events, &["a", "b"]))?;
    drop(told);
    let filled = runtime.block_on(fill(folder.path(), events, &[]))?;
    println!(
        "{events} events written in {:.2} s without a hook, in {:.2} s with two that are told all of them",
        filled.as_secs_f64(),
        with_hooks.as_secs_f64()
    );

    let daemon = Daemon::start(folder.path());
    daemon.import();
    let alone = median((0..5).map(|_| sync(&daemon)).collect());
    println!(
        "a full sync of {people} people that changes nothing, alone: {:.0} ms; memory {:.1} MiB",
        alone.as_secs_f64() * 1e3,
        daemon.memory("VmRSS")
    );

    for name in ["webhook", "program"] {
        let before = hook(&daemon, name)?["delivered"].as_u64().unwrap_or(0);
        let begun = Instant::now();
        let queued = daemon.done(&format!("hook replay {name} --since 1d"))["deliveries"]
            .as_u64()
            .context("deliveries")?;
        let put = begun.elapsed();
        let (mut syncs, mut peak) = (Vec::new(), 0.0_f64);
        loop {
            syncs.push(sync(&daemon));
            peak = peak.max(daemon.memory("VmRSS"));
            if hook(&daemon, name)?["pending"] == 0 {
                break;
            }
        }
        let took = begun.elapsed();
        let done = hook(&daemon, name)?["delivered"].as_u64().unwrap_or(0) - before;
        ensure!(done == queued, "{done} of {queued} were delivered");
        let last = syncs.len().saturating_sub(1).max(1);
        syncs.truncate(last);
        let slowest = syncs.iter().max().copied().unwrap_or_default();
        println!(
            "{name}: {queued} events in {:.1} s ({:.0}/s; put into the backlog in {:.1} s), memory at most {peak:.1} MiB; \
             {} syncs meanwhile: median {:.0} ms, slowest {:.0} ms",
            took.as_secs_f64(),
            done as f64 / took.as_secs_f64(),
            put.as_secs_f64(),
            syncs.len(),
            median(syncs.clone()).as_secs_f64() * 1e3,
            slowest.as_secs_f64() * 1e3,
        );
    }
    ensure!(
        received.load(Ordering::Relaxed) >= events,
        "the receiver has {} of them",
        received.load(Ordering::Relaxed)
    );
    println!(
        "memory at the end {:.1} MiB, the most ever {:.1} MiB",
        daemon.memory("VmRSS"),
        daemon.memory("VmHWM")
    );
    Ok(())
}
