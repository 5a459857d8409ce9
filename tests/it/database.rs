//! The daemon on a PostgreSQL that is away, silent, or behind a pooler.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adsim::{Fault, Sim, What, When};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::folder;
use crate::postgres::{database, parts};
use crate::process::{Daemon, until};
use crate::relay::Relay;
use crate::service::configuration;

/// A directory and the folder of a daemon that does not run yet.
pub(crate) struct Place {
    pub(crate) sim: Sim,
    pub(crate) runtime: Runtime,
    pub(crate) folder: TempDir,
    url: String,
}

impl Place {
    /// Returns `None` without a server.
    fn new() -> Option<Self> {
        Self::database().map(Self::at)
    }

    /// Creates a database.
    pub(crate) fn database() -> Option<String> {
        Runtime::new().unwrap().block_on(database())
    }

    /// Returns a place whose database exists.
    pub(crate) fn at(url: String) -> Self {
        let runtime = Runtime::new().unwrap();
        let sim = runtime.block_on(Sim::builder().people(16).start()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        folder::write_files(folder.path(), &sim.ca_pem(), &sim.service_password());
        Self { sim, runtime, folder, url }
    }

    /// Writes the configuration of a daemon whose database is at this address.
    pub(crate) fn configure(&self, address: impl std::fmt::Display) {
        self.configure_in(self.folder.path(), address);
    }

    /// Writes the configuration of a daemon that has a folder of its own.
    fn configure_in(&self, folder: &Path, address: impl std::fmt::Display) {
        let (user, _, name) = parts(&self.url);
        let file = format!("sqlite://{}/rosterd.db", folder.display());
        let text = configuration(&self.sim, folder, "", "");
        let text = text.replace(&file, &format!("{user}@{address}/{name}"));
        std::fs::write(folder.join("rosterd.toml"), text).unwrap();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn state(daemon: &Daemon) -> Option<String> {
    let (code, status) = daemon.ctl("status");
    let leads = code == 0 && !status["cluster"]["leader"].is_null();
    leads.then(|| status["directories"][0]["state"].as_str().unwrap().to_owned())
}

fn detail(document: &Value) -> &str {
    document["detail"].as_str().unwrap_or_default()
}

#[test]
fn a_daemon_waits_for_its_database_and_goes_on_when_it_is_back() {
    let Some(place) = Place::new() else { return };
    let address = free_address();
    place.configure(address);
    let daemon = Daemon::start_without_store(place.folder.path());
    let no_store = |what: &str| {
        until(what, || {
            let (code, told) = daemon.ctl("status");
            (code != 0 && detail(&told).contains("127.0.0.1: ")).then(|| detail(&told).to_owned())
        })
    };
    let told = no_store("the database is down at the start");
    assert!(told.starts_with("the store does not answer (127.0.0.1: "), "{told}");
    let asked = r#"{"address":"p1@example.com","password":"secret"}"#;
    let headers =
        format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{asked}", asked.len());
    let decided = daemon.ask("POST /v1/sign-ins", &headers);
    assert!(decided.contains(r#""decision":"unavailable""#), "{decided}");

    let (_, server, _) = parts(&place.url);
    let relay = place.runtime.block_on(Relay::at(address, server));
    until("the daemon works", || state(&daemon).filter(|state| state == "no-account"));
    daemon.import();
    assert_eq!(state(&daemon).as_deref(), Some("ok"));

    drop(relay);
    no_store("the database is gone");
    let _relay = place.runtime.block_on(Relay::at(address, server));
    let begun = std::time::Instant::now();
    until("the daemon works again", || state(&daemon));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // The run after the import may have been cut off. The next one does the rest.
    daemon.done("sync corp");
    assert_eq!(state(&daemon).as_deref(), Some("ok"));
}

#[test]
fn a_leaver_is_suspended_while_the_name_of_another_has_u_0000() {
    let Some(place) = Place::new() else { return };
    place.configure(parts(&place.url).1);
    let daemon = Daemon::start_without_store(place.folder.path());
    until("the daemon works", || state(&daemon));
    daemon.import();
    let users = daemon.done("user list --status active");
    let dn = |n: usize| users["users"][n]["directory"]["dn"].as_str().unwrap();
    place.sim.edit(|ad| {
        ad.set(dn(0), "displayName", "Ann\0Miller");
        ad.set(dn(1), "mail", "b\0@example.com");
        ad.disable(dn(2));
    });
    daemon.ctl("sync corp");
    let suspended = daemon.done("user list --status suspended");
    assert_eq!(suspended["users"][0]["directory"]["dn"].as_str(), Some(dn(2)));
    let names = daemon.done("user list --status active")["users"].to_string();
    assert!(names.contains("AnnMiller"), "{names}");
    let quarantined = daemon.done("user list --quarantined").to_string();
    assert!(quarantined.contains("malformed-address"), "{quarantined}");
}

#[test]
fn a_run_that_an_outage_cut_off_is_followed_by_another_at_once() {
    let Some(place) = Place::new() else { return };
    let (address, server) = (free_address(), parts(&place.url).1);
    place.configure(address);
    let relay = place.runtime.block_on(Relay::at(address, server));
    let daemon = Daemon::start_without_store(place.folder.path());
    until("the daemon works", || state(&daemon));
    daemon.import();
    let users = daemon.done("user list --status active");
    let leaver = users["users"][0]["directory"]["dn"].as_str().unwrap();
    let runs = daemon.done("run list")["runs"].as_array().unwrap().len();

    // The server is slow, and the database goes away meanwhile.
    let slow = What::Delay(Duration::from_secs(3));
    place.sim.faults().push(Fault::new(When::search(), slow).times(1));
    place.sim.edit(|ad| ad.disable(leaver));
    let asking = daemon.client("sync corp").stdout(Stdio::null()).spawn();
    let running = || daemon.done("run list")["runs"].as_array().unwrap().len() > runs;
    until("a run is under way", || running().then_some(()));
    drop(relay);
    let ended = asking.unwrap().wait().unwrap();
    assert!(!ended.success());
    let cut = |run: &&Value| {
        run["trigger"] == "manual" && (run["state"] == "failed" || run["state"] == "cancelled")
    };
    let _relay = place.runtime.block_on(Relay::at(address, server));

    // Nothing is scheduled, and nobody asks for a run.
    until("the leaver is suspended", || {
        let (code, users) = daemon.ctl("user list --status suspended");
        (code == 0 && users["users"][0]["directory"]["dn"] == leaver).then_some(())
    });
    until("the directory is well", || state(&daemon).filter(|state| state == "ok"));
    let listed = daemon.done("run list");
    let listed = listed["runs"].as_array().unwrap();
    assert_eq!(listed[0]["trigger"], "schedule", "{listed:#?}");
    // No run stays "running" in the store, and one makes up for all.
    assert_eq!((listed.iter().filter(cut).count(), listed.len()), (1, runs + 2), "{listed:#?}");
}

/// PgBouncer in front of the server, killed when dropped.
struct Pooler(Child);

impl Drop for Pooler {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pooler {
    fn start(folder: &Path, server: &str, mode: &str) -> Option<(Self, SocketAddr)> {
        let program = Path::new("/usr/sbin/pgbouncer");
        if !program.exists() {
            assert!(std::env::var_os("ROSTERD_LAB").is_none(), "no pgbouncer: tests/lab/install");
            return None;
        }
        let address = free_address();
        let (host, port) = server.split_once(':').unwrap();
        let users = folder.join("users.txt");
        folder::write(&users, "\"rosterd\" \"\"\n", 0o644);
        let file = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\nignore_startup_parameters = extra_float_digits\n",
            address.port(),
            users.display()
        );
        folder::write(&file, &text, 0o644);
        let log = File::create(folder.join("pgbouncer.log")).unwrap();
        let mut command = Command::new(program);
        // It refuses to run as root.
        if nix::unistd::geteuid().is_root() {
            let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
            command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
        }
        let child = command.arg(&file).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let pooler = Self(child.unwrap());
        until("PgBouncer listens", || std::net::TcpStream::connect(address).ok());
        Some((pooler, address))
    }
}

#[test]
fn a_pooler_by_transaction_is_refused_in_one_sentence() {
    let Some(place) = Place::new() else { return };
    let (_, server, _) = parts(&place.url);
    // The user of PgBouncer reads its files.
    let folder = tempfile::tempdir().unwrap();
    let readable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), readable).unwrap();
    let Some((pooler, address)) = Pooler::start(folder.path(), server, "transaction") else {
        return;
    };
    place.configure(address);
    let refused = Daemon::command(place.folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("use session pooling (PgBouncer: pool_mode = session)"), "{said}");
    drop(pooler);

    let (_pooler, address) = Pooler::start(folder.path(), server, "session").unwrap();
    place.configure(address);
    let daemon = Daemon::start_without_store(place.folder.path());
    until("the daemon works", || state(&daemon).filter(|state| state == "no-account"));
    daemon.import();
}

#[test]
fn a_daemon_without_an_answer_of_its_database_says_that_it_is_starting() {
    let Some(place) = Place::new() else { return };
    // Each connection is open, and no answer comes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap().to_string();
    place.configure(vec![host; 6].join(","));
    let daemon = Daemon::start_without_store(place.folder.path());
    let (code, told) = daemon.ctl("leader show");
    assert_ne!(code, 0, "{told:#}");
    assert!(
        detail(&told).starts_with("rosterd is starting, and connects to its store"),
        "{told:#}"
    );
}
