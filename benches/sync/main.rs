//! Time of a full sync, relative to `ldapsearch` reading the same entries from the same OpenLDAP.
//!
//! `cargo bench --bench sync -- --people 100000`; needs the Debian packages slapd and ldap-utils.
//! Only the ratios carry over from one machine to another. Wall time is mostly the server's, so the
//! client's CPU time is compared as well.
#![allow(clippy::print_stdout, reason = "a bench prints to its user")]

#[path = "../../tests/support/folder.rs"]
mod folder;
mod front;
mod limit;
mod population;
#[path = "../../tests/support/process.rs"]
mod process;
#[path = "../ratios.rs"]
mod ratios;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::sys::time::TimeValLike as _;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use folder::Directory;
use front::Front;
use population::{ATTRIBUTES, Population, READER, ROOT};
use process::{Daemon, Programs};
use ratios::{Ratio, report};
use server::{PASSWORD, Server};

#[derive(Debug, Parser)]
struct Arguments {
    /// People in the directory
    #[arg(long, default_value_t = 10_000)]
    people: u64,
    /// Values of memberOf per person
    #[arg(long, default_value_t = 1)]
    memberships: u64,
    /// Reads of each side
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Folder of loaded directories
    #[arg(long, env = "ROSTERD_BENCH_CACHE", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/sync"))]
    cache: PathBuf,
    /// The daemon to measure, for a comparison of two builds
    #[arg(long, default_value = env!("CARGO_BIN_EXE_rosterd"))]
    rosterd: PathBuf,
    /// The client of that daemon
    #[arg(long, default_value = env!("CARGO_BIN_EXE_rosterctl"))]
    rosterctl: PathBuf,
    /// Fail where a ratio exceeds its limit
    #[arg(long)]
    check: bool,
    /// Keep the daemon's folder, and print its path
    #[arg(long)]
    keep: bool,
    /// Passed by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// The cost of one step.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    searches: u64,
}

fn main() -> anyhow::Result<()> {
    let Arguments { people, memberships, rounds, cache, rosterd, rosterctl, check, keep, bench: _ } =
        Arguments::parse();
    let programs = Programs { rosterd, rosterctl };
    ensure!(rounds > 0 && memberships > 0, "--rounds and --memberships must be at least 1");
    let population = Population { people, memberships };
    std::fs::create_dir_all(&cache)?;
    let folder = tempfile::Builder::new().prefix("rosterd-bench").tempdir()?;
    let server = Server::start(population, &cache, folder.path())?;
    let front = Front::start(server.socket.clone())?;
    let directory = Directory {
        url: format!("ldaps://127.0.0.1:{}", front.port),
        bind_dn: READER.to_owned(),
        base: ROOT.to_owned(),
        ..Directory::nowhere(folder.path())
    };
    let keys = "schedule = \"@yearly\"\ntimeouts = { connect = \"5s\", operation = \"10m\", run = \"6h\" }";
    folder::write_files(folder.path(), &front.ca, PASSWORD);
    std::fs::write(
        folder.path().join("rosterd.toml"),
        directory.configuration(folder.path(), "", keys),
    )?;
    println!(
        "{people} people, {memberships} memberOf each; {rounds} rounds; R is ldapsearch in the same run\n"
    );

    let mut reference = vec![];
    read(&front, folder.path())?;
    reference.push(read(&front, folder.path())?);
    let store = limit::measure(population, folder.path())?;
    println!("R {}; the store's limit {}", show(reference[0].wall), show(store));
    let import = import(&front, folder.path(), &programs, population)?;
    reference.push(read(&front, folder.path())?);
    let before = median(reference.iter().map(|r| r.wall));
    println!(
        "first import: planned in {}, {} CPU, {} searches",
        show(import.plan.wall),
        show(import.plan.cpu),
        import.plan.searches
    );
    println!(
        "              approved in {}, {} CPU, {} searches",
        show(import.apply.wall),
        show(import.apply.cpu),
        import.apply.searches
    );
    println!("              peak {:.0} MiB, store {:.0} MiB", import.peak, import.store);

    let daemon = start(&programs, folder.path());
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        theirs.push(read(&front, folder.path())?);
        let (cost, run) = cost(&front, || cpu_of(&daemon), || Ok(daemon.done("sync corp")))?;
        ours.push(cost);
        ensure!(
            run["state"] == "succeeded" && run["read"]["entries"] == people && run["held"] == 0,
            "the run changed users: {run:#}"
        );
    }
    let peak = stop(daemon);
    let wall = |costs: &[Cost]| median(costs.iter().map(|c| c.wall));
    let cpu = |costs: &[Cost]| median(costs.iter().map(|c| c.cpu));
    println!(
        "unchanged:    {} wall, {} CPU, {} searches, peak {peak:.1} MiB",
        show(wall(&ours)),
        show(cpu(&ours)),
        ours[0].searches
    );
    println!(
        "R:            {} wall, {} CPU, {} searches",
        show(wall(&theirs)),
        show(cpu(&theirs)),
        theirs[0].searches
    );
    let ratios = [
        Ratio {
            what: "unchanged full run, time",
            figure: wall(&ours),
            reference: wall(&theirs),
            of: "ldapsearch",
            must: 1.15,
        },
        Ratio {
            what: "unchanged full run, CPU of the client",
            figure: cpu(&ours),
            reference: cpu(&theirs),
            of: "ldapsearch",
            must: 1.2,
        },
        Ratio {
            what: "first import: read, planned and approved",
            figure: import.plan.wall + import.apply.wall,
            reference: before + store,
            of: "ldapsearch and bare writes",
            must: 2.0,
        },
    ];
    if keep {
        println!("kept in {}", folder.keep().display());
    }
    report(&ratios, check)
}

/// Starts a daemon and waits for the end of its first run, which starts automatically.
fn start(programs: &Programs, folder: &Path) -> Daemon {
    let at = rosterd::clock::Clock::system().now().to_string();
    let daemon = Daemon::start_of(programs, folder);
    loop {
        let runs = daemon.done("run list --limit 1");
        let newest = &runs["runs"][0];
        if newest["started_at"].as_str() >= Some(at.as_str()) && newest["state"] != "running" {
            return daemon;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Stops the daemon with SIGTERM. Returns its peak memory in MiB.
fn stop(mut daemon: Daemon) -> f64 {
    let peak = daemon.memory("VmHWM");
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    peak
}

/// Returns the CPU time of the daemon, user and system, all threads.
fn cpu_of(daemon: &Daemon) -> anyhow::Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(daemon.pid().cast_signed()))?;
    Ok(clock_gettime(clock)?.into())
}

/// The cost of a first import.
struct Import {
    plan: Cost,
    apply: Cost,
    /// Peak memory in MiB.
    peak: f64,
    /// Size of the store in MiB.
    store: f64,
}

/// Runs a first import into a new store: all people are planned, held, and approved.
fn import(
    front: &Front,
    folder: &Path,
    programs: &Programs,
    population: Population,
) -> anyhow::Result<Import> {
    let daemon = start(programs, folder);
    daemon.create_acme();
    let (plan, _) = cost(front, || cpu_of(&daemon), || Ok(daemon.ctl("sync corp")))?;
    let held = daemon.done("held list")["held"][0]["id"].as_str().unwrap_or_default().to_owned();
    let (apply, _) =
        cost(front, || cpu_of(&daemon), || Ok(daemon.done(&format!("held approve {held}"))))?;
    let active = daemon.done("status")["directories"][0]["users"]["active"].as_u64();
    let expected = population.people - population.people / 50;
    ensure!(active == Some(expected), "{active:?} users are active, and {expected} should be");
    let peak = stop(daemon);
    let store = std::fs::metadata(folder.join("rosterd.db"))?.len() as f64 / f64::from(1 << 20);
    Ok(Import { plan, apply, peak, store })
}

/// Measures R: `ldapsearch` reads the same attributes as rosterd.
fn read(front: &Front, folder: &Path) -> anyhow::Result<Cost> {
    let mut command = Command::new("ldapsearch");
    command.env("LDAPTLS_CACERT", folder.join("ca.pem")).args([
        "-x",
        "-H",
        &format!("ldaps://127.0.0.1:{}", front.port),
    ]);
    command.args([
        "-D",
        READER,
        "-w",
        PASSWORD,
        "-b",
        ROOT,
        "-E",
        "pr=1000/noprompt",
        "-LLL",
        "-o",
        "ldif-wrap=no",
        "(objectClass=user)",
    ]);
    command.args(ATTRIBUTES).stdin(Stdio::null()).stdout(Stdio::null());
    let children = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let time = usage.user_time() + usage.system_time();
        Ok(Duration::from_micros(time.num_microseconds().unsigned_abs()))
    };
    let (cost, ended) = cost(front, children, || Ok(command.status()?))?;
    ensure!(ended.success(), "ldapsearch failed");
    Ok(cost)
}

fn cost<T>(
    front: &Front,
    cpu: impl Fn() -> anyhow::Result<Duration>,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(Cost, T)> {
    let (searches, cpu_before, begun) = (front.searches(), cpu()?, Instant::now());
    let done = work()?;
    let cost = Cost {
        wall: begun.elapsed(),
        cpu: cpu()?.saturating_sub(cpu_before),
        searches: front.searches() - searches,
    };
    Ok((cost, done))
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn show(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
