//! A full run over a target without differences, and leavers during an import at a rate limit.
//!
//! `cargo bench --bench targets -- --accounts 100000`. The daemon is a process of its own, so that its
//! CPU time and its memory are its own. The reference of the full run is a client that only reads the
//! same list. The target answers the leavers after 50 ms, and the reference is that time.
#![allow(clippy::print_stdout, reason = "a bench prints to its user")]

#[path = "../tests/support/folder.rs"]
mod folder;
#[path = "../tests/support/process.rs"]
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use nix::sys::signal::Signal;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use rosterd::clock::Clock;
use rosterd::http::Transport;
use rosterd::model::{
    Account as Company, AccountId, AccountKind, Actor, Address, Addresses, Causes, Change,
    ChangeKind, CounterpartRow, CounterpartState, Handle, Joined, Names, ObservationNumber,
    Policies, Profile, RemoteId, RunId, StepKind, StepOrigin, TargetCredential, TargetName, Tier,
    Timestamp, UserId,
};
use rosterd::reconcile::Admitted;
use rosterd::reconcile::provision::{
    Account, AttributePath, Capabilities, DEFAULT_MAPPING, Declared, Mapping, Quirks, Requests,
    Resource, Step, Template, meaning,
};
use rosterd::scim::{self, Client, Pages};
use rosterd::store::{Applied, Settled, SettledBy, Store, UserFilter, Writer};
use scimsim::{Fault, Sim};
use serde_json::Value;
use tokio::runtime::Runtime;

use folder::Directory;
use process::Daemon;

#[derive(Debug, Parser)]
struct Arguments {
    /// Accounts that a full run reads
    #[arg(long, default_value_t = 100_000)]
    accounts: usize,
    /// Accounts that are imported while users leave
    #[arg(long, default_value_t = 10_000)]
    import: usize,
    /// Users who leave, one after the other
    #[arg(long, default_value_t = 100)]
    leavers: usize,
    /// Passed by cargo to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

const PAGE: u32 = 1_000;

/// The time after which the target answers, while users leave.
const LATENCY: Duration = Duration::from_millis(50);

/// The longest wait for a step of the bench.
const PATIENCE: Duration = Duration::from_mins(30);

/// Rows of one transaction.
const BATCH: usize = 500;

fn creation(clock: &Clock, n: usize) -> Change {
    let email = Address::parse(&format!("person{n}@example.com")).expect("an address");
    let display_name = Some(format!("Person Number{n}"));
    let profile = Profile { display_name, title: Some("Clerk".to_owned()), ..Profile::default() };
    let joined = Joined {
        tier: Tier::Pro,
        addresses: Addresses { primary: Some(email.clone()), secondary: BTreeSet::new() },
        profile,
        link: None,
        causes: Causes::default(),
    };
    let user = UserId(clock.new_id());
    Change {
        user,
        guid: None,
        email: Some(email),
        names: Names::default(),
        kind: ChangeKind::Create(Box::new(joined)),
        class: None,
        version: None,
        cluster: None,
        home: None,
    }
}

fn mapping() -> Mapping {
    let attributes = DEFAULT_MAPPING.iter().map(|(path, text)| {
        (
            AttributePath::parse(path).expect("a path"),
            Template::parse(text, |_| None).expect("a template"),
        )
    });
    Mapping { attributes: attributes.collect(), values: BTreeMap::default() }
}

/// Writes users into a new store, and accounts of the first `known` of them at the target.
async fn fill(folder: &Path, sim: &Sim, users: usize, known: usize) -> anyhow::Result<()> {
    let store = Store::open(&format!("sqlite://{}", folder.join("rosterd.db").display())).await?;
    let (clock, actor) = (Clock::system(), Actor("bench".to_owned()));
    let handle = Handle::parse("acme").context("a handle")?;
    let company = Company {
        id: AccountId(clock.new_id()),
        handle: handle.clone(),
        name: "Acme".to_owned(),
        kind: AccountKind::Enterprise,
        policies: Policies::default(),
        users: BTreeMap::new(),
        created_at: clock.now(),
    };
    store.create_account(&company, &actor, &clock).await?;
    let changes = (0..users).map(|n| creation(&clock, n)).collect();
    let writer = Writer {
        right: rosterd::store::Right::Leader,
        run: RunId(clock.new_id()),
        directory: None,
        account: company.reference(),
        actor: actor.clone(),
        observed_from: ObservationNumber(1),
        clock: &clock,
        asked: &[],
    };
    let admitted = Admitted::by_operator(changes, actor);
    store.apply(&admitted, &writer, &mut Applied::default()).await?;
    let all =
        store.users(&UserFilter { limit: Some(known as u64), ..UserFilter::default() }).await?;
    let (name, mapping) = (TargetName::parse("app").context("a name")?, mapping());
    let capabilities = Capabilities::of(&Declared::default(), &Quirks::default());
    for batch in all.chunks(BATCH) {
        let mut settled = Vec::new();
        for user in batch {
            let wanted = mapping.wanted(user, &handle).ok().context("a wanted account")?;
            let step = Step {
                user: user.id,
                kind: StepKind::Create,
                origin: StepOrigin::Found,
                reason: None,
                id: None,
                attributes: wanted.attributes.clone(),
            };
            let Requests::Send(requests) = step.requests(&capabilities, None) else { continue };
            let mut body = requests[0].body.clone().context("a body")?;
            body["active"] = Value::Bool(true);
            body["id"] = Value::from(sim.add(&body));
            let resource = Resource(body.as_object().cloned().unwrap_or_default());
            let account = Account::of(resource, &mapping).context("an account")?;
            let before = CounterpartRow::absent(user.id);
            let mut after = before.clone();
            after.account.state = CounterpartState::Linked;
            after.account.id = Some(RemoteId(account.id.0.clone()));
            after.account.sent = Some(wanted.fingerprint());
            after.account.echo = Some(account.echo);
            after.account.active = Some(true);
            after.user_name = account.user_name;
            after.seen_at = Some(clock.now());
            settled.push(Settled { before, after, events: Vec::new(), by: SettledBy::Push });
        }
        store.settle(&name, &settled, &clock).await?;
    }
    store.close().await;
    Ok(())
}

/// Writes the configuration of a daemon that follows a target.
fn configure(folder: &Path, sim: &Sim, keys: &str) -> anyhow::Result<()> {
    folder::write(&folder.join("token"), &sim.token(), 0o600);
    // No directory answers, and its section needs a certificate.
    let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    folder::write_files(folder, &ca.cert.pem(), "password");
    let target = format!(
        "[[target]]\nname = \"app\"\naccount = \"acme\"\nurl = \"{}\"\ntoken-file = \"{}/token\"\nfull = \"0 0 29 2 *\"\n{keys}\n",
        sim.url(),
        folder.display()
    );
    let directory = Directory {
        url: "ldaps://127.0.0.1:9".to_owned(),
        bind_dn: "cn=reader".to_owned(),
        base: "dc=example,dc=com".to_owned(),
        ..Directory::nowhere(folder)
    };
    let text = directory.configuration(folder, &target, "schedule = \"@yearly\"");
    Ok(std::fs::write(folder.join("rosterd.toml"), text)?)
}

/// Polls until the function returns a value. A run over all accounts takes minutes.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn cpu_of(daemon: &Daemon) -> anyhow::Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(daemon.pid().cast_signed()))?;
    Ok(clock_gettime(clock)?.into())
}

fn target(daemon: &Daemon) -> Value {
    daemon.done("target list")["targets"][0].clone()
}

/// Reads the list as a client does that wants nothing else.
fn reference(runtime: &Runtime, sim: &Sim, folder: &Path) -> anyhow::Result<(usize, Duration)> {
    let client = Client::new(scim::Settings {
        url: sim.url().parse()?,
        credential: TargetCredential::Token(folder.join("token")),
        transport: Transport::default(),
        timeout: Duration::from_mins(1),
        page_size: PAGE,
        quirks: Quirks::default(),
    });
    let capabilities = Capabilities::of(&Declared::default(), &Quirks::default());
    let (mut accounts, begun) = (0, Instant::now());
    let mut pages = Pages::new(&capabilities, PAGE);
    while let Some(request) = pages.request() {
        let sent = client.send(&request, &capabilities, Timestamp::default());
        accounts += pages.take(meaning(&request, &runtime.block_on(sent)?))?.len();
    }
    pages.finish()?;
    Ok((accounts, begun.elapsed()))
}

fn full_run(runtime: &Runtime, accounts: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let sim = runtime.block_on(Sim::start())?;
    runtime.block_on(fill(folder.path(), &sim, accounts, accounts))?;
    let keys = format!("rate = \"1000/s\"\npage-size = {PAGE}");
    configure(folder.path(), &sim, &keys)?;
    // Its first run accepts the rules.
    let mut daemon = Daemon::start(folder.path());
    until("the first run has ended", || {
        target(&daemon)["last_complete_run"].is_string().then_some(())
    });
    let (listed, alone) = reference(runtime, &sim, folder.path())?;
    ensure!(listed == accounts, "{listed} of {accounts} accounts are listed");
    // A paused target is not read at the start of the next daemon, whose memory is that of an idle one.
    daemon.done("target pause app --for 1h");
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let daemon = Daemon::start(folder.path());
    until("the run at the start has been refused", || {
        let runs = daemon.done("run list --limit 5");
        let mut runs = runs["runs"].as_array()?.iter();
        runs.any(|run| run["directory"] == "app" && run["state"] == "failed").then_some(())
    });
    let idle = daemon.memory("VmHWM");
    daemon.done("target resume app");
    let (cpu, begun) = (cpu_of(&daemon)?, Instant::now());
    let run = daemon.done("target sync app");
    let (cpu, took) = (cpu_of(&daemon)?.saturating_sub(cpu), begun.elapsed());
    ensure!(run["held"] == 0 && run["read"]["entries"] == accounts, "the run differs: {run:#}");
    println!(
        "{accounts} accounts without a difference: {:.1} s, {:.1} s of CPU; the list alone takes {:.1} s: {:.2} times that",
        took.as_secs_f64(),
        cpu.as_secs_f64(),
        alone.as_secs_f64(),
        took.as_secs_f64() / alone.as_secs_f64()
    );
    println!(
        "memory at most: {idle:.1} MiB before, {:.1} MiB with the run",
        daemon.memory("VmHWM")
    );
    Ok(())
}

/// Returns a percentile of times, in milliseconds.
fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
}

/// Returns the time of the only event of a type about a user.
fn time_of(daemon: &Daemon, kind: &str, user: &str) -> Option<Timestamp> {
    let events = daemon.done(&format!("event list --type {kind} --limit 200"));
    let events = events["events"].as_array()?;
    let event = events.iter().find(|event| event["subject"] == user)?;
    let time = chrono::DateTime::parse_from_rfc3339(event["time"].as_str()?).ok()?;
    Some(Timestamp::from(time.to_utc()))
}

fn leavers(runtime: &Runtime, import: usize, leavers: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let sim = runtime.block_on(Sim::start())?;
    runtime.block_on(fill(folder.path(), &sim, leavers + import, leavers))?;
    sim.fail(Fault::wait("", LATENCY));
    let keys = "rate = \"50/s\"\n[target.safety]\ncreate = { percent = 100, at-least = 1000000, at-most = 1000000 }";
    configure(folder.path(), &sim, keys)?;
    let daemon = Daemon::start(folder.path());
    until("the import is under way", || {
        (target(&daemon)["pending"].as_u64()? > import as u64 / 2).then_some(())
    });
    let known = daemon.done(&format!("user list --limit {leavers}"));
    let users: Vec<String> = known["users"]
        .as_array()
        .context("users")?
        .iter()
        .filter_map(|user| Some(user["id"].as_str()?.to_owned()))
        .collect();
    let mut times = Vec::new();
    for user in &users {
        daemon.done(&format!("user suspend {user} --reason bench"));
        let done =
            until("the account is inactive", || time_of(&daemon, "provision.deactivated", user));
        let left = time_of(&daemon, "user.suspended", user).context("the suspension")?;
        times.push(done.since(left));
    }
    let pending = target(&daemon)["pending"].as_u64().unwrap_or_default();
    ensure!(pending > 0, "the import ended before the last user left");
    let (half, most) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!(
        "{} users left while {pending} of {import} accounts were still to be imported at 50 requests a second: \
         inactive after {half:.0} ms at the median, {most:.0} ms at the 99th percentile; an answer takes {} ms: {:.1} times that",
        times.len(),
        LATENCY.as_millis(),
        most / LATENCY.as_secs_f64() / 1e3
    );
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let Arguments { accounts, import, leavers: count, bench: _ } = Arguments::parse();
    let runtime = Runtime::new()?;
    leavers(&runtime, import, count)?;
    full_run(&runtime, accounts)
}
