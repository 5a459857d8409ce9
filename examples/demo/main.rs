//! rosterd's main use, from an operator's view. A simulated Active Directory has a thousand people.
//! The real daemon has its store in a temporary folder, and `rosterctl` uses its socket.
//!
//! `cargo run --release --example demo` stays up afterwards; with `-- --once` it exits.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "an example prints to its user")]

#[path = "../../tests/support/folder.rs"]
mod folder;

use std::path::Path;
use std::time::Duration;

use adsim::{NewPerson, Sim};
use clap::Parser as _;
use rosterd::clock::Clock;
use rosterd::config::Config;
use rosterd::ctl::{self, Terminal};
use rosterd::daemon::{self, Reload};
use tokio_util::sync::CancellationToken;

/// Runs commands and shows their output.
struct Operator {
    socket: String,
}

impl Operator {
    async fn run(&self, command: &str) -> ctl::Exit {
        println!("\n\x1b[1m$ rosterctl {command}\x1b[0m");
        let words = shell_words(command);
        let line = ["rosterctl", "--socket", &self.socket, "--yes"]
            .into_iter()
            .map(str::to_owned)
            .chain(words);
        let cli = ctl::Cli::parse_from(line);
        let clock = Clock::system();
        let mut terminal = Terminal::standard(move || clock.now().to_utc());
        terminal.interactive = false;
        let exit = ctl::run(cli, &mut terminal).await;
        if exit != ctl::Exit::Done {
            println!("\x1b[2m(exit status {})\x1b[0m", exit.code());
        }
        exit
    }

    /// Returns the short id of the newest held plan.
    async fn held(&self) -> String {
        let client =
            rosterd::control::client::Client::new(Path::new(&self.socket)).expect("a client");
        let held: rosterd::control::api::HeldPlans = client
            .get(&rosterd::control::client::Route::to(["held"]))
            .await
            .expect("the held plans");
        held.held.first().map_or_else(|| "none".to_owned(), |plan| plan.id.clone())
    }
}

/// Splits at blanks, but keeps "quoted words" together.
fn shell_words(line: &str) -> Vec<String> {
    line.split('"')
        .enumerate()
        .flat_map(|(n, part)| {
            if n % 2 == 1 {
                vec![part.to_owned()]
            } else {
                part.split_whitespace().map(str::to_owned).collect()
            }
        })
        .collect()
}

fn section(text: &str) {
    println!("\n\x1b[36m── {text}\x1b[0m");
}

/// The configuration apart from paths and the directory.
const SAFETY: &str = "\
[safety]
grace-period = \"3s\"            # default 10m: an absence counts if a recheck still finds it
";

#[tokio::main]
async fn main() {
    let once = std::env::args().any(|a| a == "--once");
    section(
        "A company with a thousand people in Active Directory (simulated; LDAPS on the loopback)",
    );
    let sim = Sim::builder().people(1000).start().await.expect("a simulator");
    let folder = tempfile::tempdir().expect("a temporary folder");
    folder::write_files(folder.path(), &sim.ca_pem(), &sim.service_password());
    let file = folder.path().join("rosterd.toml");
    let configuration = folder::Directory::of(&sim, folder.path()).configuration(
        folder.path(),
        SAFETY,
        "schedule = \"*/15 * * * *\"",
    );
    std::fs::write(&file, &configuration).expect("a file");
    println!("{}", configuration.trim());

    section("The daemon starts");
    let config = Config::load(&file).unwrap_or_else(|problems| panic!("{problems}"));
    let stop = CancellationToken::new();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    // The user who runs the demo is its operator.
    let set_up = |config: &Config| {
        let mut setup = daemon::setup(config);
        setup.control.own_user_operates = true;
        setup
    };
    let reload = Reload::new(move || Config::load(&file).map(|config| set_up(&config)));
    let reloader = reload.reloader();
    let running = tokio::spawn(daemon::run(
        set_up(&config),
        reload,
        Clock::system(),
        stop.clone(),
        move || {
            let _ = ready.send(());
        },
    ));
    if is_ready.await.is_err() {
        let error = running.await.expect("the daemon").expect_err("it did not start");
        panic!("{error}");
    }
    let operator = Operator { socket: folder.path().join("control.sock").display().to_string() };
    story(&operator, &sim).await;
    let app = scimsim::Sim::start().await.expect("an application");
    provision(&operator, &sim, &app, &configuration, folder.path()).await;
    if !once {
        daemon::watch_signals(stop.clone(), reloader).expect("signals");
        stay(&operator.socket, &stop).await;
    }
    stop.cancel();
    running.await.expect("the daemon ends").expect("it ends well");
}

async fn story(operator: &Operator, sim: &Sim) {
    operator.run("status").await;

    section("An account, and its domain. The first verified domain makes it an enterprise");
    operator.run("account create acme --name \"Acme Ltd\"").await;
    operator.run("domain claim acme example.com").await;

    section("The first import has more than fifty people, so it is held for approval");
    operator.run("sync corp").await;
    operator.run(&format!("held show {}", operator.held().await)).await;
    operator.run(&format!("held approve {}", operator.held().await)).await;
    operator.run("status").await;

    section(
        "In Active Directory: two people join, one is disabled, one marries, one is deleted, one becomes Pro",
    );
    let people = sim.look(|ad| {
        let of = |group: &str| ad.members(group);
        of(adsim::names::BASIC)
            .into_iter()
            .filter(|p| ad.value(*p, "mail").is_some())
            .take(4)
            .collect::<Vec<_>>()
    });
    sim.edit(|ad| {
        for (sam, given, surname) in [("ada", "Ada", "Lovelace"), ("grace", "Grace", "Hopper")] {
            let mail = format!("{given}.{surname}@example.com").to_lowercase();
            let new = ad
                .add_person(NewPerson::new(sam).name(given, surname).mail(&mail).ou("Engineering"));
            ad.add_member(adsim::names::BASIC, new);
        }
        ad.show_tombstones(true);
        ad.disable(people[0]);
        ad.set(people[1], "sn", "Married-Name");
        ad.set(people[1], "displayName", "Newly Married-Name");
        ad.set(people[1], "mail", "newly.married-name@example.com");
        ad.rename(people[1], "Newly Married-Name");
        ad.delete(people[2]);
        ad.add_member(adsim::names::PRO, people[3]);
    });
    operator.run("plan corp").await;
    operator.run("sync corp").await;
    operator.run(&format!("user show {}", people[0])).await;

    section(
        "The service account loses the right to list OU=Sales. Active Directory answers with success, without its people",
    );
    sim.edit(|ad| ad.hide_subtree("Sales"));
    operator.run("sync corp").await;
    operator.run(&format!("held show {}", operator.held().await)).await;
    section("No user was suspended. The right is restored, and the plan is withdrawn");
    sim.edit(|ad| ad.show_subtree("Sales"));
    operator.run("sync corp").await;

    section(
        "The connection is cut in the middle of a read. A person on the first page was disabled",
    );
    let early = sim.look(|ad| {
        ad.people()
            .into_iter()
            .filter(|p| ad.members(adsim::names::BASIC).contains(p))
            .nth(1)
            .expect("a person")
    });
    sim.edit(|ad| ad.disable(early));
    sim.faults().push(adsim::Fault::new(
        adsim::When::search().containing("objectcategory=person").after_entries(600),
        adsim::What::Cut,
    ));
    operator.run("sync corp").await;

    section("A suspension by an operator, which no sync lifts");
    operator
        .run("user suspend ada.lovelace@example.com --reason \"asked by the works council\"")
        .await;
    operator.run("sync corp").await;
    operator.run("user activate ada.lovelace@example.com").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    operator.run("run list --limit 8").await;
    operator.run("event list --limit 6").await;
    operator.run("status").await;
}

/// Shows an application whose accounts follow the users over SCIM 2.0.
async fn provision(
    operator: &Operator,
    sim: &Sim,
    app: &scimsim::Sim,
    configuration: &str,
    folder: &Path,
) {
    section("An application with SCIM 2.0 (simulated) becomes a target: its accounts follow");
    let token_file = folder.join("app.token");
    folder::write(&token_file, &app.token(), 0o600);
    let target = format!(
        "[[target]]\nname = \"app\"\naccount = \"acme\"\nurl = \"{}\"\ntoken-file = \"{}\"\nrate = \"1000/s\"\n",
        app.url(),
        token_file.display()
    );
    println!("{target}");
    std::fs::write(folder.join("rosterd.toml"), format!("{configuration}\n{target}"))
        .expect("a file");
    operator.run("reload").await;
    operator.run("target sync app").await;
    operator.run(&format!("held approve {} --first 3", operator.held().await)).await;
    operator.run(&format!("held approve {}", operator.held().await)).await;
    let accounts = || app.users().iter().filter(|user| user["active"] == true).count();
    let mut before = usize::MAX;
    while before != accounts() {
        before = accounts();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    operator.run("target show app").await;

    section("A leaver is inactive there, too, a moment after the run");
    let leaver = sim.look(|ad| ad.members(adsim::names::PRO).into_iter().nth(5).expect("a person"));
    sim.edit(|ad| ad.disable(leaver));
    operator.run("sync corp").await;
    while before == accounts() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    operator.run(&format!("user show {leaver}")).await;
    operator.run("event list --type provision.deactivated").await;
}

async fn stay(socket: &str, stop: &CancellationToken) {
    section("The daemon stays up. In another terminal:");
    println!(
        "\n  export ROSTERD_SOCKET={socket}\n  cargo build --release && PATH=$PWD/target/release:$PATH\n\n  rosterctl status\n  rosterctl user search ada\n  rosterctl user show ada.lovelace@example.com\n  rosterctl plan\n  rosterctl run list\n  rosterctl event list --type 'user.*'\n  rosterctl --json status\n\nCtrl-C ends it."
    );
    stop.cancelled().await;
}
