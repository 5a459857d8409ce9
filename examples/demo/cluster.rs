//! Three rosterds share one PostgreSQL, and the leader is killed. A simulated Active Directory has two
//! hundred people. Each rosterd is a process of its own: this program, called with `--node FILE`.
//!
//! `cargo run --release --example cluster` needs PostgreSQL (`apt install postgresql`), and starts a server
//! of its own in a temporary folder.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "an example prints to its user"
)]

#[path = "../../tests/support/folder.rs"]
mod folder;
mod operator;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use adsim::Sim;
use operator::{Operator, section};
use rosterd::clock::Clock;
use rosterd::config::Config;
use rosterd::control::api::{Cluster, User};
use rosterd::control::client::{Client, Route};
use rosterd::daemon::{self, Reload};
use tokio_util::sync::CancellationToken;

/// The script that starts and stops a throwaway PostgreSQL.
const POSTGRES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/lab/postgres");

/// The time for which a leader may be silent. The default of 10s would make the scenes long.
const LEASE: &str = "3s";

/// A PostgreSQL that ends with this program.
struct Database(PathBuf);

impl Database {
    /// Starts it. Returns its URL, too.
    fn start(folder: &Path) -> Result<(Self, String), String> {
        let folder = folder.join("postgres");
        let told = Command::new(POSTGRES).arg("start").arg(&folder).output();
        let told = told.map_err(|error| format!("{POSTGRES}: {error}"))?;
        let database = Self(folder);
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        match text.trim().strip_prefix("ROSTERD_TEST_POSTGRES=") {
            Some(url) => Ok((database, url.to_owned())),
            None => Err(String::from_utf8_lossy(&told.stderr).into_owned()),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = Command::new(POSTGRES).arg("stop").arg(&self.0).status();
    }
}

/// One rosterd, killed when dropped.
struct Node {
    name: &'static str,
    folder: tempfile::TempDir,
    process: Child,
}

impl Node {
    fn start(name: &'static str, sim: &Sim, url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        folder::write_files(folder.path(), &sim.ca_pem(), &sim.service_password());
        let directory = folder::Directory::of(sim, folder.path());
        let more = format!("[cluster]\nnode = \"{name}\"\nlease = \"{LEASE}\"\n");
        let text = directory.configuration(folder.path(), &more, "live = true");
        let file = format!("sqlite://{}/rosterd.db", folder.path().display());
        std::fs::write(folder.path().join("rosterd.toml"), text.replace(&file, url))
            .expect("a file");
        let process = Self::process(folder.path());
        Self { name, folder, process }
    }

    fn process(folder: &Path) -> Child {
        let program = std::env::current_exe().expect("this program");
        let mut node = Command::new(program);
        node.arg("--node").arg(folder.join("rosterd.toml")).env("STATE_DIRECTORY", folder);
        node.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    fn operator(&self) -> Operator {
        Operator { socket: self.socket().display().to_string() }
    }

    /// Returns the name of the leader by the word of this node.
    async fn leader(&self) -> Option<String> {
        let client = Client::new(&self.socket()).ok()?;
        let cluster: Cluster = client.get(&Route::to(["leader"])).await.ok()?;
        Some(cluster.leader?.node)
    }

    async fn status_of(&self, user: &str) -> Option<String> {
        let client = Client::new(&self.socket()).ok()?;
        let user: User = client.get(&Route::to(["users", user])).await.ok()?;
        Some(user.status.to_string())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks until there is an answer.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, option, file] = words.as_slice()
        && option == "--node"
    {
        return serve(Path::new(file)).await;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The server of PostgreSQL runs as another user, and enters this folder.
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o711);
    std::fs::set_permissions(folder.path(), open).expect("a mode");
    match Database::start(folder.path()) {
        Ok((_database, url)) => {
            show(&url).await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("PostgreSQL did not start: {}", error.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// Runs one rosterd until a signal.
async fn serve(file: &Path) -> ExitCode {
    let config = Config::load(file).unwrap_or_else(|problems| panic!("{problems}"));
    let mut setup = daemon::setup(&config);
    setup.control.own_user_operates = true;
    let reload = Reload::new(move || Ok(daemon::setup(&config)));
    let stop = CancellationToken::new();
    daemon::watch_signals(stop.clone(), reload.reloader()).expect("signals");
    match daemon::run(setup, reload, Clock::system(), stop, || {}).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn show(url: &str) {
    section("Three rosterds on one PostgreSQL, and a company of two hundred people (simulated)");
    let sim = Sim::builder().people(200).start().await.expect("a simulator");
    let mut nodes: Vec<Node> = ["a", "b", "c"].map(|name| Node::start(name, &sim, url)).into();
    let mut led = String::new();
    for node in &nodes {
        led = until(|| node.leader()).await;
    }
    let at = |nodes: &[Node], name: &str| nodes.iter().position(|node| node.name == name);
    let leads = at(&nodes, &led).expect("a node");
    nodes[leads].operator().run("leader show").await;

    section("The leader imports. The others answer, and name it for everything else");
    let operator = nodes[leads].operator();
    operator.run("account create acme --name \"Acme Ltd\"").await;
    operator.run("domain claim acme example.com").await;
    operator.run("sync corp").await;
    operator.run("held approve").await;
    let standby = nodes[(leads + 1) % 3].operator();
    standby.run("user list --limit 3").await;
    standby.run("sync corp").await;

    section("The leader is killed (kill -9), and somebody is disabled in Active Directory");
    let leaver = sim.look(|ad| {
        let person = ad.members(adsim::names::PRO).into_iter().nth(3).expect("a person");
        ad.value(person, "mail").expect("an address")
    });
    nodes[leads].process.kill().expect("a process");
    nodes[leads].process.wait().expect("its end");
    let killed = Instant::now();
    sim.edit(|ad| {
        let person = ad.members(adsim::names::PRO).into_iter().nth(3).expect("a person");
        ad.disable(person);
    });
    let other = (leads + 1) % 3;
    let now = until(async || nodes[other].leader().await.filter(|name| *name != led)).await;
    println!(
        "{now} leads {:.1} s after the death of {led} (lease {LEASE})",
        killed.elapsed().as_secs_f64()
    );
    let is_out = async || nodes[other].status_of(&leaver).await.filter(|is| is == "suspended");
    until(is_out).await;
    println!("{leaver} is suspended {:.1} s after it", killed.elapsed().as_secs_f64());

    section("The killed one comes back, and answers beside the others. Nothing was lost");
    nodes[leads].process = Node::process(nodes[leads].folder.path());
    until(|| nodes[leads].leader()).await;
    let operator = nodes[leads].operator();
    operator.run("leader show").await;
    operator.run(&format!("user show {leaver}")).await;
    operator.run("event list --type cluster.led").await;
    operator.run("event verify").await;

    section("An operator hands over, as before an upgrade");
    let begun = Instant::now();
    nodes[other].operator().run(&format!("leader step-down --to {led}")).await;
    println!("done in {:.1} s", begun.elapsed().as_secs_f64());
}
