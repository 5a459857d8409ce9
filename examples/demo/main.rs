//! rosterd's main use, from an operator's view. A simulated Active Directory has a thousand people.
//! The real daemon has its store in a temporary folder, and `rosterctl` uses its socket.
//!
//! `cargo run --release --example demo` shows one scene after another, and stays up afterwards; with
//! `-- --once` it exits. The program is `rosterctl`, too, when it is called by that name, and
//! [`company`] has the verbs that change the simulated company.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "an example prints to its user"
)]

mod company;
#[path = "../../tests/support/folder.rs"]
mod folder;
mod operator;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use adsim::{NewPerson, Sim};
use clap::Parser as _;
use operator::{Operator, section};
use rosterd::clock::Clock;
use rosterd::config::Config;
use rosterd::ctl::{self, Terminal};
use rosterd::daemon::{self, Reload};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The scenes: each begins after Enter, or at once where there is no terminal.
struct Scenes {
    /// Lines of the terminal; `None` where no one is asked.
    lines: Option<mpsc::UnboundedReceiver<String>>,
    stop: CancellationToken,
}

impl Scenes {
    fn new(is_stepped: bool, stop: CancellationToken) -> Self {
        // A thread of its own, because a blocked read would delay the end of the runtime.
        let lines = is_stepped.then(|| {
            let (send, lines) = mpsc::unbounded_channel();
            std::thread::spawn(move || {
                for line in std::io::stdin().lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        break;
                    }
                }
            });
            lines
        });
        Self { lines, stop }
    }

    /// Begins a scene. Returns false at the end of the demo.
    async fn begin(&mut self, text: &str) -> bool {
        if let Some(lines) = &mut self.lines {
            print!("\n\x1b[2mEnter: next scene, q: no more stops\x1b[0m ");
            std::io::Write::flush(&mut std::io::stdout()).expect("a terminal");
            let line = tokio::select! {
                () = self.stop.cancelled() => return false,
                line = lines.recv() => line,
            };
            if line.is_none_or(|line| line.trim().eq_ignore_ascii_case("q")) {
                self.lines = None;
            }
        }
        section(text);
        !self.stop.is_cancelled()
    }
}

/// The configuration apart from paths and the directory.
const SAFETY: &str = "\
[safety]
grace-period = \"3s\"            # default 10m: an absence counts if a recheck still finds it
";

const SCHEDULE: &str = "schedule = \"*/15 * * * *\"";

#[tokio::main]
async fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    if Path::new(&called).file_name().is_some_and(|name| name == "rosterctl") {
        let clock = Clock::system();
        let mut terminal = Terminal::standard(move || clock.now().to_utc());
        return ctl::run(ctl::Cli::of_process(), &mut terminal).await.into();
    }
    let cli = company::Cli::parse();
    if cli.verb.is_some() {
        let words: Vec<String> = std::env::args().skip(1).collect();
        return match company::send(&words) {
            Ok(answer) => {
                println!("{answer}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{}", error.trim_end());
                ExitCode::FAILURE
            }
        };
    }
    show(cli.once).await;
    ExitCode::SUCCESS
}

/// Starts company and daemon, and shows all scenes.
async fn show(once: bool) {
    section(
        "A company with a thousand people in Active Directory (simulated; LDAPS on the loopback)",
    );
    let sim = Arc::new(Sim::builder().people(1000).start().await.expect("a simulator"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    folder::write_files(folder.path(), &sim.ca_pem(), &sim.service_password());
    let file = folder.path().join("rosterd.toml");
    let directory = folder::Directory::of(&sim, folder.path());
    // The scenes start the runs themselves. At the end the daemon follows changes.
    let configuration = directory.configuration(folder.path(), SAFETY, SCHEDULE);
    let live = directory.configuration(folder.path(), SAFETY, &format!("{SCHEDULE}\nlive = true"));
    std::fs::write(&file, &configuration).expect("a file");
    println!("{}", configuration.trim());

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
    daemon::watch_signals(stop.clone(), reloader).expect("signals");
    let operator = Operator { socket: folder.path().join("control.sock").display().to_string() };
    let is_stepped = !once && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut scenes = Scenes::new(is_stepped, stop.clone());
    let app = scimsim::Sim::start().await.expect("an application");
    let company = Company { sim: &sim, app: &app, folder: folder.path(), live: &live };
    let is_over = story(&operator, &company, &mut scenes).await.is_none();
    if !once && !is_over {
        let control = Path::new(&operator.socket);
        company::serve(&company::socket_beside(control), Arc::clone(&sim)).expect("a socket");
        let programs = programs(folder.path()).expect("links");
        stay(&operator.socket, &programs, &company);
        stop.cancelled().await;
    }
    stop.cancel();
    running.await.expect("the daemon ends").expect("it ends well");
}

/// Links this program under the names by which it is `rosterctl` and `demo`.
fn programs(folder: &Path) -> std::io::Result<String> {
    let programs = folder.join("bin");
    std::fs::create_dir(&programs)?;
    for name in ["rosterctl", "demo"] {
        std::os::unix::fs::symlink(std::env::current_exe()?, programs.join(name))?;
    }
    Ok(programs.display().to_string())
}

/// The simulated company with its application, and the daemon's folder.
struct Company<'a> {
    sim: &'a Sim,
    app: &'a scimsim::Sim,
    folder: &'a Path,
    /// The configuration of a daemon that follows changes.
    live: &'a str,
}

/// Shows all scenes. Returns `None` when the operator ends the demo.
async fn story(operator: &Operator, company: &Company<'_>, scenes: &mut Scenes) -> Option<()> {
    let Company { sim, folder, live, .. } = company;
    scene(scenes, "The daemon starts").await?;
    operator.run("status").await;

    scene(scenes, "An account, and its domain. The first verified domain makes it an enterprise")
        .await?;
    operator.run("account create acme --name \"Acme Ltd\"").await;
    operator.run("domain claim acme example.com").await;

    scene(scenes, "The first import has more than fifty people, so it is held for approval")
        .await?;
    operator.run("sync corp").await;
    operator.run("held show").await;
    operator.run("held approve").await;
    operator.run("status").await;

    scene(
        scenes,
        "In Active Directory: two people join, one is disabled, one marries, one is deleted, one becomes Pro",
    )
    .await?;
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

    scene(
        scenes,
        "The connection is cut in the middle of a read. A person on the first page was disabled",
    )
    .await?;
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

    scene(scenes, "A suspension by an operator, which no sync lifts").await?;
    operator
        .run("user suspend ada.lovelace@example.com --reason \"asked by the works council\"")
        .await;
    operator.run("sync corp").await;
    operator.run("user activate ada.lovelace@example.com").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    operator.run("run list --limit 8").await;
    operator.run("event list --limit 6").await;

    provision(operator, company, scenes).await?;

    scene(
        scenes,
        "The service account loses the right to list OU=Sales. Active Directory answers with success, without its people",
    )
    .await?;
    sim.edit(|ad| ad.hide_subtree("Sales"));
    operator.run("sync corp").await;
    operator.run("held show").await;
    // From here on the daemon follows changes by itself.
    let target = target(company);
    std::fs::write(folder.join("rosterd.toml"), format!("{live}\n{target}")).expect("a file");
    operator.run("reload").await;
    operator.run("status").await;
    Some(())
}

async fn scene(scenes: &mut Scenes, text: &str) -> Option<()> {
    scenes.begin(text).await.then_some(())
}

/// Returns the section of the application.
fn target(Company { app, folder, .. }: &Company<'_>) -> String {
    format!(
        "[[target]]\nname = \"app\"\naccount = \"acme\"\nurl = \"{}\"\ntoken-file = \"{}\"\nrate = \"1000/s\"\n",
        app.url(),
        folder.join("app.token").display()
    )
}

/// Shows an application whose accounts follow the users over SCIM 2.0.
async fn provision(operator: &Operator, company: &Company<'_>, scenes: &mut Scenes) -> Option<()> {
    let Company { sim, app, folder, .. } = company;
    scene(scenes, "An application with SCIM 2.0 (simulated) becomes a target: its accounts follow")
        .await?;
    folder::write(&folder.join("app.token"), &app.token(), 0o600);
    let target = target(company);
    println!("{target}");
    let file = folder.join("rosterd.toml");
    let configuration = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, format!("{configuration}\n{target}")).expect("a file");
    operator.run("reload").await;
    operator.run("target sync app").await;
    operator.run("held approve --first 3").await;
    operator.run("held approve").await;
    let accounts = || app.users().iter().filter(|user| user["active"] == true).count();
    let mut before = usize::MAX;
    while before != accounts() {
        before = accounts();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    operator.run("target show app").await;

    scene(scenes, "A leaver is inactive there, too, a moment after the run").await?;
    let leaver = sim.look(|ad| ad.members(adsim::names::PRO).into_iter().nth(5).expect("a person"));
    sim.edit(|ad| ad.disable(leaver));
    operator.run("sync corp").await;
    while before == accounts() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    operator.run(&format!("user show {leaver}")).await;
    operator.run("event list --type provision.deactivated").await;
    Some(())
}

/// Says what to try.
fn stay(socket: &str, programs: &str, Company { sim, .. }: &Company<'_>) {
    let leaver = sim.look(|ad| {
        let person = ad.members(adsim::names::BASIC).into_iter().nth(7).expect("a person");
        ad.value(person, "mail").unwrap_or_default()
    });
    section("Your turn. No user was suspended: a plan waits for you. In another terminal:");
    println!(
        "
  export ROSTERD_SOCKET={socket} PATH={programs}:$PATH

  rosterctl held show           # decide, or give the right back:
  demo show-ou sales            # the plan is withdrawn a moment later
  rosterctl status

  demo disable {leaver}
  rosterctl user show {leaver}
  demo join \"Eve New\"         # rosterd follows changes
  rosterctl search eve
  demo hide-ou sales
  rosterctl user explain {leaver}
  rosterctl event list --type 'user.*'

  demo --help lists all that can happen in the company. Ctrl-C here ends it."
    );
}
