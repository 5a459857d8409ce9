//! The cost of a PostgreSQL beside SQLite: a first import, an unchanged full run, and sign-ins on one, two
//! and three nodes.
//!
//! `cargo bench --bench cluster -- --people 10000`; needs the Debian package postgresql. The directory is
//! the simulator. All processes share the cores of one machine, so nodes add what those leave.
#![allow(clippy::print_stdout, reason = "a bench prints to its user")]

#[path = "../tests/support/folder.rs"]
mod folder;
#[path = "../tests/support/process.rs"]
mod process;
#[path = "ratios.rs"]
mod ratios;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use adsim::Sim;
use anyhow::{Context as _, ensure};
use clap::Parser;

use folder::Directory;
use process::{Daemon, until};
use ratios::{Ratio, report};

#[derive(Debug, Parser)]
struct Arguments {
    /// People in the directory
    #[arg(long, default_value_t = 2_000)]
    people: usize,
    /// Unchanged runs of each store
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Fail where a ratio exceeds its limit
    #[arg(long)]
    check: bool,
    /// Passed by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// Sign-ins that a node takes at once before its rate limit holds some back.
const AT_ONCE: usize = 150;

/// A PostgreSQL that ends with this program.
struct Database(PathBuf);

impl Database {
    /// Starts it. Returns its URL, too.
    fn start(folder: &Path) -> anyhow::Result<(Self, String)> {
        let database = Self(folder.join("postgres"));
        let told = database.lab("start")?;
        let url = told.trim().strip_prefix("ROSTERD_TEST_POSTGRES=").context(told.clone())?;
        Ok((database, url.to_owned()))
    }

    fn lab(&self, verb: &str) -> anyhow::Result<String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/postgres");
        let done = Command::new(script).arg(verb).arg(&self.0).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.lab("stop");
    }
}

/// A daemon and its folder.
struct Node {
    daemon: Daemon,
    _folder: tempfile::TempDir,
}

impl Node {
    /// Starts a daemon on a store; `None` is a file of its own.
    fn start(name: &str, sim: &Sim, url: Option<&str>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        folder::write_files(folder.path(), &sim.ca_pem(), &sim.service_password());
        let more = format!("[cluster]\nnode = \"{name}\"\n");
        let keys = "schedule = \"@yearly\"";
        let mut text = Directory::of(sim, folder.path()).configuration(folder.path(), &more, keys);
        if let Some(url) = url {
            let file = format!("sqlite://{}/rosterd.db", folder.path().display());
            text = text.replace(&file, url);
        }
        std::fs::write(folder.path().join("rosterd.toml"), text)?;
        let daemon = Daemon::start_without_store(folder.path());
        until("the node answers", || (daemon.ctl("status").0 == 0).then_some(()));
        Ok(Self { daemon, _folder: folder })
    }

    /// Imports all people, and reads them again some times. Returns the times of both.
    fn work(&self, rounds: usize) -> (Duration, Duration) {
        until("the node leads", || {
            let cluster = self.daemon.done("status")["cluster"].clone();
            (cluster.is_null() || !cluster["leader"].is_null()).then_some(())
        });
        let begun = Instant::now();
        self.daemon.import();
        let import = begun.elapsed();
        self.daemon.ctl("sync corp --full");
        let mut runs: Vec<Duration> = (0..rounds.max(1))
            .map(|_| {
                let begun = Instant::now();
                self.daemon.done("sync corp");
                begun.elapsed()
            })
            .collect();
        runs.sort_unstable();
        (import, runs[runs.len() / 2])
    }
}

/// Signs people in on all nodes at once. Returns the number of answers a second.
fn sign_ins(nodes: &[Node], addresses: &[String], password: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut pairs = addresses.chunks(AT_ONCE).zip(nodes);
    ensure!(pairs.len() == nodes.len(), "there are too few people for {} nodes", nodes.len());
    let allowed: usize = std::thread::scope(|threads| {
        let asking: Vec<_> = pairs
            .by_ref()
            .flat_map(|(some, node)| some.iter().map(move |address| (address, node)))
            .map(|(address, node)| threads.spawn(move || is_allowed(node, address, password)))
            .collect();
        asking.into_iter().filter_map(|asked| asked.join().ok()).filter(|allowed| *allowed).count()
    });
    let took = begun.elapsed();
    ensure!(allowed == AT_ONCE * nodes.len(), "{allowed} sign-ins were allowed");
    Ok(allowed as f64 / took.as_secs_f64())
}

fn is_allowed(node: &Node, address: &str, password: &str) -> bool {
    let asked = format!(r#"{{"address":"{address}","password":"{password}"}}"#);
    let length = asked.len();
    let headers =
        format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n{asked}");
    node.daemon.ask("POST /v1/sign-ins", &headers).contains(r#""decision":"allow""#)
}

fn main() -> anyhow::Result<()> {
    let Arguments { people, rounds, check, bench: _ } = Arguments::parse();
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o711))
        .tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let sim = runtime.block_on(Sim::builder().people(people).start())?;
    let (_database, url) = Database::start(folder.path())?;

    let on_file = Node::start("file", &sim, None)?;
    let file = on_file.work(rounds);
    let mut nodes = vec![Node::start("a", &sim, Some(&url))?];
    let server = nodes[0].work(rounds);
    println!("{people} people; the median of {rounds} unchanged runs\n");
    for (what, (import, unchanged)) in [("SQLite", file), ("PostgreSQL", server)] {
        println!("{what:10} import {import:8.2?}, unchanged {unchanged:8.2?}");
    }

    let users = nodes[0].daemon.done("user list --status active --limit 1000");
    let address = |user: &serde_json::Value| user["primary_email"].as_str().map(str::to_owned);
    let addresses: Vec<String> =
        users["users"].as_array().into_iter().flatten().filter_map(address).collect();
    let password = sim.default_password();
    let alone = sign_ins(std::slice::from_ref(&on_file), &addresses, &password)?;
    println!("\n{AT_ONCE} sign-ins at once on each node:");
    println!("SQLite              {alone:6.0} a second");
    drop(on_file);
    for name in ["a", "b", "c"] {
        if name != "a" {
            nodes.push(Node::start(name, &sim, Some(&url))?);
        }
        let rate = sign_ins(&nodes, &addresses, &password)?;
        println!("PostgreSQL, {} nodes {rate:6.0} a second", nodes.len());
        // The rate limit takes its time to refill.
        std::thread::sleep(Duration::from_secs(6));
    }
    let ratios = [
        Ratio {
            what: "first import on PostgreSQL",
            figure: server.0,
            reference: file.0,
            of: "SQLite",
            must: 3.0,
        },
        Ratio {
            what: "unchanged full run on PostgreSQL",
            figure: server.1,
            reference: file.1,
            of: "SQLite",
            must: 2.0,
        },
    ];
    report(&ratios, check)
}
