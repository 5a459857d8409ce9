//! Histories of a company: the real engine and store over a simulated directory, random edits, faults at every layer,
//! operators who act by chance, crashes, and time. After every step DESIGN's promises are checked against what is *true* in
//! the directory, and in the end everybody has to be what the directory says.
//!
//! A history is made from a seed. An ordinary test run plays a few of new seeds; by hand it plays for hours:
//!
//! ```text
//! ROSTERD_SIM_SECONDS=7200 cargo nextest run --workspace --features postgres -E 'test(simulation::)' --no-capture
//! ```
//!
//! `ROSTERD_SIM_SEED` begins with that seed, `ROSTERD_SIM_HISTORIES` plays so many, `ROSTERD_SIM_STEPS` makes them that
//! long, `ROSTERD_SIM_KEEP=0,4,7` plays only these steps of each. A history that breaks a promise is told with its steps and
//! with the command that plays it again; `ROSTERD_SIM_SHRINK=1` first looks for the fewest steps that still break it. Where
//! a crash hits, and which of two things that happen at once comes first, is up to the machine: a seed may take a few tries.

mod books;
mod edits;
mod history;
mod invariants;
mod office;
mod oracle;
mod truth;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rosterd::model::{Profile, Status, Timestamp, User};

use books::Books;
use history::{Do, Edit, Stage, Step};
use invariants::{CHECKS, Seen};
use office::Office;

/// Histories of an ordinary test run: about a minute on two cores.
const HISTORIES: u64 = 16;
/// Steps of one.
const STEPS: usize = 60;
/// Rounds of a day, a run and an approval after which nothing may wait any more.
const ROUNDS: usize = 12;

/// Which promise was broken, and how.
#[derive(Debug)]
struct Broken {
    promise: String,
    /// What happened, up to there.
    told: Vec<String>,
    wrong: Vec<String>,
}

/// One history, as it is played.
struct Play {
    office: Office,
    books: Books,
    /// How many managed users were active, since there were any.
    actives: Vec<(Timestamp, u64)>,
    told: Vec<String>,
    lies: usize,
    /// Whether the store was restored, or what is so was accepted, and no operator has approved what follows from it.
    only_plans: bool,
    /// What the books said when the backup was made.
    backup: Option<Books>,
}

impl Play {
    async fn begin(stage: &Stage, seed: u64) -> Result<Self, Broken> {
        let office = Office::open(stage, seed).await;
        let books = Books::new().read(&office.store(), &office.url(), &BTreeSet::new()).await;
        let mut play =
            Self { office, books, actives: Vec::new(), told: vec![format!("{stage:?}")], lies: 0, only_plans: false, backup: None };
        for step in [Step::Do(Do::Full), Step::Do(Do::Approve), Step::Do(Do::Full)] {
            play.step(&step).await?;
        }
        // The first day is measured by those whom the first run and its approval made active.
        play.actives.clear();
        play.note_active();
        if stage.established {
            play.step(&Step::Wait(25 * 60)).await?;
        }
        Ok(play)
    }

    fn note_active(&mut self) {
        let active = self.books.users.values().filter(|u| u.link.is_some() && u.status() == Status::Active).count() as u64;
        self.actives.push((self.office.now(), active));
    }

    /// Makes a step happen, reads what came of it, and checks every promise.
    async fn step(&mut self, step: &Step) -> Result<(), Broken> {
        let lies = self.office.lies_told();
        let restores = self.office.restores(step);
        let outcome = Box::pin(self.office.step(step)).await;
        self.told.push(format!("{step:?} -> {}", outcome.as_ref().map_or_else(|error| format!("{error:?}"), Clone::clone)));
        if let Err(error) = outcome {
            return Err(self.broken("nothing breaks on the store", vec![format!("{error:?}")]));
        }
        let (truths, approved) = self.office.since_then();
        let before = match (&self.backup, restores) {
            (Some(backup), true) => backup.clone(),
            _ => self.books.clone(),
        };
        let after = before.read(&self.office.store(), &self.office.url(), &approved).await;
        let lied = self.office.lies_told() > lies;
        self.lies += usize::from(lied);
        let seen = Seen {
            step,
            rulebook: &self.office.rulebook,
            before: &before,
            after: &after,
            truths: &truths,
            actives: &self.actives,
            lied,
            lied_again: self.lies > 1,
            only_plans: self.only_plans,
        };
        let found = CHECKS.iter().map(|(promise, check)| (*promise, check(&seen))).find(|(_, wrong)| !wrong.is_empty());
        // A run that leaves nothing to wait for accepts the scope, and so does whoever approves a plan.
        let is_accepted = seen.does(Do::approves) || seen.runs().any(|r| r.mode == "full" && r.error.is_none() && r.held == 0);
        self.only_plans = restores || seen.does(|what| matches!(what, Do::Repin)) || (self.only_plans && !is_accepted);
        self.books = after;
        if matches!(step, Step::Backup) {
            self.backup = Some(self.books.clone());
        }
        self.note_active();
        found.map_or(Ok(()), |(promise, wrong)| Err(self.broken(promise, wrong)))
    }

    fn broken(&self, promise: &str, wrong: Vec<String>) -> Broken {
        Broken { promise: promise.to_owned(), told: self.told.clone(), wrong }
    }

    /// All is well again, day after day, and operators approve what waits: then nothing is left to do.
    async fn end(&mut self) -> Result<(), Broken> {
        self.office.make_well().await;
        self.only_plans = true;
        self.told.push("all is well".to_owned());
        for _ in 0..ROUNDS {
            for step in [Step::Wait(25 * 60), Step::Do(Do::Full), Step::Do(Do::Approve), Step::Do(Do::Due)] {
                self.step(&step).await?;
            }
            let before = self.books.clone();
            self.step(&Step::Do(Do::Full)).await?;
            let last = self.books.runs.first().map(|r| (r.counts.total(), r.held, r.dropped, r.error.clone()));
            let is_quiet = self.books.plans.is_empty() && self.books.settling.is_empty() && last == Some((0, 0, 0, None));
            if is_quiet && before.users == self.books.users {
                return self.is_as_the_directory_says().await;
            }
        }
        let wrong = vec![format!("{:?} {:?} {:?}", self.books.runs.first(), self.books.held, self.books.settling)];
        Err(self.broken("in the end a run changes nothing", wrong))
    }

    async fn is_as_the_directory_says(&self) -> Result<(), Broken> {
        let (truths, _) = self.office.since_then();
        let account = self.office.engine().account("acme").await.expect("the account");
        let claims = self.office.store().claimed_domains(account.id).await.expect("the claims");
        let wrong = oracle::differences(&truths[0], &self.books, &claims, &self.office.rulebook);
        if wrong.is_empty() { Ok(()) } else { Err(self.broken("in the end everybody is what the directory says", wrong)) }
    }
}

/// Plays a history; how many steps it had.
async fn play(stage: Stage, seed: u64, steps: Vec<Step>) -> Result<usize, Broken> {
    let mut play = Play::begin(&stage, seed).await?;
    for step in &steps {
        play.step(step).await?;
    }
    play.end().await?;
    Ok(play.told.len())
}

/// Plays it where a panic is a broken promise, too.
async fn attempt(stage: &Stage, seed: u64, steps: Vec<Step>) -> Result<usize, Broken> {
    let played = tokio::spawn(Box::pin(play(stage.clone(), seed, steps))).await;
    played.unwrap_or_else(|panic| {
        let text = panic.to_string();
        Err(Broken { promise: "nothing panics".to_owned(), told: Vec::new(), wrong: vec![text] })
    })
}

/// Leaves out whatever the history breaks without; the places of what is left, and how that breaks.
async fn shrink(stage: &Stage, seed: u64, steps: &[Step], mut kept: Vec<usize>, mut broken: Broken) -> (Vec<usize>, Broken) {
    let mut piece = kept.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < kept.len() {
            let without: Vec<usize> = kept.iter().enumerate().filter(|(n, _)| *n < at || *n >= at + piece).map(|(_, k)| *k).collect();
            match attempt(stage, seed, without.iter().map(|k| steps[*k].clone()).collect()).await {
                Err(still) if still.promise == broken.promise => (kept, broken) = (without, still),
                _ => at += piece,
            }
        }
        piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
    }
    (kept, broken)
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Plays the history of a seed; how many steps it had, or what to tell of it.
async fn of_seed(seed: u64) -> Result<usize, String> {
    let length = setting("ROSTERD_SIM_STEPS").map_or(STEPS, |n| n as usize);
    let (stage, steps) = history::of_seed(seed, length);
    let kept: Vec<usize> = match std::env::var("ROSTERD_SIM_KEEP") {
        Ok(text) => text.split(',').map(|n| n.trim().parse().expect("ROSTERD_SIM_KEEP lists numbers")).collect(),
        Err(_) => (0..steps.len()).collect(),
    };
    let broken = match attempt(&stage, seed, kept.iter().map(|k| steps[*k].clone()).collect()).await {
        Ok(steps) => return Ok(steps),
        Err(broken) => broken,
    };
    let (kept, Broken { promise, told, wrong }) = match setting("ROSTERD_SIM_SHRINK") {
        Some(1) => shrink(&stage, seed, &steps, kept, broken).await,
        _ => (kept, broken),
    };
    let keep = if kept.len() == steps.len() {
        String::new()
    } else {
        format!("ROSTERD_SIM_KEEP={} ", kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    };
    Err(format!(
        "broken: {promise}\n{}\n\n{}\n\nagain: ROSTERD_SIM_SEED={seed} ROSTERD_SIM_HISTORIES=1 ROSTERD_SIM_STEPS={length} {keep}\
         cargo nextest run --workspace --features postgres -E 'test(simulation::)'",
        wrong.join("\n"),
        told.join("\n"),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_company_the_promises_hold() {
    let seed = setting("ROSTERD_SIM_SEED").unwrap_or_else(|| fastrand::u64(0..1 << 40));
    let seconds = setting("ROSTERD_SIM_SECONDS").map(Duration::from_secs);
    let histories = setting("ROSTERD_SIM_HISTORIES").unwrap_or(if seconds.is_some() { u64::MAX } else { HISTORIES });
    let begun = Instant::now();
    let (begin, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    // Two at a time; when one has found something, the other ends its history and begins no other.
    let found = AtomicBool::new(false);
    let play = async || {
        while !found.load(Ordering::Relaxed) && seconds.is_none_or(|limit| begun.elapsed() < limit) {
            let n = begin.fetch_add(1, Ordering::Relaxed);
            if n >= histories {
                break;
            }
            match of_seed(seed.wrapping_add(n)).await {
                Ok(played) => drop(steps.fetch_add(played as u64, Ordering::Relaxed)),
                Err(told) => {
                    found.store(true, Ordering::Relaxed);
                    return Some(told);
                }
            }
        }
        None
    };
    let broken: Vec<String> = <[_; 2]>::from(tokio::join!(play(), play())).into_iter().flatten().collect();
    let histories = begin.load(Ordering::Relaxed).min(histories);
    eprintln!("seed {seed}: {histories} histories, {} steps, in {:.0?}", steps.load(Ordering::Relaxed), begun.elapsed());
    assert!(broken.is_empty(), "seed {seed}\n{}", broken.join("\n\n"));
}

/// Everybody but for the manager: that a manager was renamed or deleted is told of the manager alone.
fn people(books: &Books) -> Vec<User> {
    let alike = |user: &User| {
        let profile = Profile { manager: None, ..user.profile.clone() };
        User { profile, version: 0, observed_from: Timestamp(0), updated_at: Timestamp(0), ..user.clone() }
    };
    books.users.values().map(alike).collect()
}

/// What is edited, a few at a time, with a tick after each few, and how many ticks read only what has changed.
async fn follow(seed: u64) -> Result<usize, String> {
    let (stage, _) = history::of_seed(seed, 0);
    // Deletions have to be seen, and nothing may be left for later.
    let stage = Stage { tombstones: true, two_servers: false, settles: false, ..stage };
    let mut rng = fastrand::Rng::with_seed(seed);
    let told = |broken: Broken| format!("seed {seed}: {}: {}\n{}", broken.promise, broken.wrong.join("\n"), broken.told.join("\n"));
    let mut play = Play::begin(&stage, seed).await.map_err(told)?;
    // Tombstones count as seen once there is one.
    play.step(&Step::Edit(Edit::Delete(0))).await.map_err(told)?;
    play.step(&Step::Do(Do::Full)).await.map_err(told)?;
    let mut deltas = 0;
    for _ in 0..12 {
        for edit in std::iter::repeat_with(|| history::edit(&mut rng)).filter(Edit::is_told).take(fastrand::usize(1..5)) {
            play.step(&Step::Edit(edit)).await.map_err(told)?;
        }
        play.step(&Step::Do(Do::Tick)).await.map_err(told)?;
        deltas += usize::from(play.books.runs.first().is_some_and(|run| run.mode == "delta" && run.error.is_none()));
        // What a run has done may let go of what it held.
        play.step(&Step::Do(Do::Tick)).await.map_err(told)?;
        let after = play.books.clone();
        play.step(&Step::Do(Do::Full)).await.map_err(told)?;
        let Some(run) = play.books.runs.first().filter(|run| run.error.is_none()) else {
            // So many have left that a full read does not believe it.
            return Ok(deltas);
        };
        if run.counts.total() > run.counts.update || people(&after) != people(&play.books) || after.held.len() != play.books.held.len() {
            let (before, now) = (people(&after), people(&play.books));
            let mut wrong = vec![format!("{run:?}\nafter {:?}", after.runs.first())];
            wrong.extend(now.iter().filter(|user| !before.contains(user)).map(|user| format!("{user:?}")));
            return Err(told(play.broken("what was followed leaves a full read nothing to do", wrong)));
        }
    }
    Ok(deltas)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_edited_what_was_followed_leaves_a_full_read_nothing_to_do() {
    let seed = setting("ROSTERD_SIM_SEED").unwrap_or_else(|| fastrand::u64(0..1 << 40));
    let histories = setting("ROSTERD_SIM_HISTORIES").unwrap_or(8);
    let mut deltas = 0;
    for n in 0..histories {
        deltas += follow(seed.wrapping_add(n)).await.unwrap_or_else(|told| panic!("{told}"));
    }
    assert!(deltas as u64 > histories * 9, "seed {seed}: hardly anything was followed: {deltas}");
}
