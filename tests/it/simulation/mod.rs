//! Histories of a company: the real engine and store over a simulated directory. A history has
//! random edits and operators, faults at every layer, crashes, and time. After every step the
//! promises of the design are checked against the *truth* in the directory. In the end all users
//! must match the directory.
//!
//! A history is made from a seed. An ordinary test run plays a few histories with new seeds. A long
//! run is started by hand:
//!
//! ```text
//! ROSTERD_SIM_SECONDS=7200 cargo test --features postgres --test it -- simulation::the_promises_hold --nocapture
//! ```
//!
//! | Variable | Effect |
//! |---|---|
//! | `ROSTERD_SIM_SEED` | the first seed |
//! | `ROSTERD_SIM_HISTORIES` | the number of histories |
//! | `ROSTERD_SIM_STEPS` | the number of steps in each |
//! | `ROSTERD_SIM_KINDS=all` | all kinds of trouble |
//! | `ROSTERD_SIM_KEEP=0,4,7` | only these steps of each history |
//! | `ROSTERD_SIM_AT_ONCE` | the number of concurrent histories |
//! | `ROSTERD_SIM_GO_ON=1` | a broken promise is reported, and the next history is played |
//! | `ROSTERD_SIM_SHRINK=1` | first searches the fewest steps that break the promise |
//!
//! A broken promise is reported with the steps of its history and the command that repeats it. A
//! seed may need several attempts, because the machine decides where a crash occurs and which of two
//! concurrent actions is first.

mod books;
mod brakes;
mod chance;
mod edits;
mod history;
mod invariants;
mod memory;
mod office;
mod operators;
mod oracle;
mod sections;
mod seen;
mod sequences;
mod suspensions;
mod troubles;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rosterd::model::{Profile, RunMode, Status, Timestamp, User};

use books::Books;
use history::{ALL, Do, Edit, Layout, Stage, Step};
use invariants::{CHECKS, SEQUENCES};
use memory::Memory;
use office::Office;
use seen::Seen;

/// Histories of an ordinary test run: about a minute on two cores.
const HISTORIES: u64 = 16;
/// Steps of one history.
const STEPS: usize = 60;
/// Rounds of a day, a run and an approval after which no change may be held any more.
const ROUNDS: usize = 12;

/// A history that takes longer hangs.
const LONGEST: Duration = Duration::from_mins(10);

/// A broken promise.
#[derive(Debug)]
struct Broken {
    promise: String,
    /// The steps up to there.
    told: Vec<String>,
    wrong: Vec<String>,
}

/// A history in progress.
struct Play {
    office: Office,
    books: Books,
    /// The number of active managed users, since there were any.
    actives: Vec<(Timestamp, BTreeMap<String, u64>)>,
    told: Vec<String>,
    lies: usize,
    /// The directories with a restored store, a changed scope or a rebaseline, without an approval
    /// since.
    only_plans: BTreeSet<String>,
    /// The directories with changed bases.
    rescoped: BTreeSet<String>,
    memory: Memory,
    /// The contents of the store at the backup.
    backup: Option<Books>,
}

impl Play {
    async fn begin(stage: &Stage, seed: u64) -> Result<Self, Broken> {
        let office = Office::open(stage, seed).await;
        let names = office.names();
        let books =
            Books::new().read(&office.store(), &office.url(), &names, &BTreeSet::new()).await;
        let (actives, told) = (Vec::new(), vec![format!("{stage:?}")]);
        let mut play = Self {
            office,
            books,
            actives,
            told,
            lies: 0,
            only_plans: BTreeSet::new(),
            rescoped: BTreeSet::new(),
            memory: Memory::default(),
            backup: None,
        };
        for step in [Step::Do(Do::Full(ALL)), Step::Do(Do::Approve(ALL)), Step::Do(Do::Full(ALL))] {
            play.step(&step).await?;
        }
        // The first day is measured by the users that the first run and its approval made active.
        play.actives.clear();
        play.memory.belonged.clear();
        play.note_active();
        if stage.established {
            play.step(&Step::Wait(25 * 60)).await?;
        }
        Ok(play)
    }

    fn note_active(&mut self) {
        let mut active: BTreeMap<String, u64> = BTreeMap::new();
        for user in self.books.users.values().filter(|u| u.status() == Status::Active) {
            if let Some(link) = &user.link {
                *active.entry(link.directory.to_string()).or_default() += 1;
            }
        }
        self.actives.push((self.office.now(), active));
    }

    /// Plays a step, reads its effects, and checks every promise.
    async fn step(&mut self, step: &Step) -> Result<(), Broken> {
        let (lies, troubles, was_down, before_it) = (
            self.office.lies_told(),
            self.office.troubles(),
            self.office.is_down(),
            self.office.now(),
        );
        let restores = self.office.restores(step);
        let rejected: BTreeMap<_, _> =
            self.office.words.lock().expect("what operators said").rejected.clone();
        let outcome = Box::pin(self.office.step(step)).await;
        self.told.push(format!(
            "{step:?} -> {}",
            outcome.as_ref().map_or_else(|error| format!("{error:?}"), Clone::clone)
        ));
        if let Err(error) = outcome {
            return Err(self.broken("nothing breaks on the store", vec![format!("{error:?}")]));
        }
        let truths = self.office.since_then();
        let approved = self
            .office
            .words
            .lock()
            .expect("what operators said")
            .approved
            .keys()
            .cloned()
            .collect();
        let now = self.office.now();
        let mut before = match (&self.backup, restores) {
            (Some(backup), true) => backup.clone(),
            _ => self.books.clone(),
        };
        if now < before_it {
            before.clamp(now);
            self.memory.clamp(now);
            self.actives.iter_mut().for_each(|(at, _)| *at = (*at).min(now));
        }
        if matches!(
            step,
            Step::Clock(_)
                | Step::ClockRight
                | Step::Reload(_)
                | Step::Meanwhile(..)
                | Step::Restore
        ) {
            self.memory.upset = Some(now);
        }
        let after = before
            .read(&self.office.store(), &self.office.url(), &self.office.names(), &approved)
            .await;
        for (from, to) in &after.renamed {
            for (_, active) in &mut self.actives {
                if let Some(count) = active.remove(from) {
                    active.insert(to.clone(), count);
                }
            }
        }
        let lied = self.office.lies_told() > lies;
        self.lies += usize::from(lied);
        let only_plans: BTreeSet<String> = self.only_plans.union(&self.rescoped).cloned().collect();
        let is_calm = self.office.troubles() == troubles
            && !was_down
            && !matches!(step, Step::Kill(..) | Step::Both(..));
        let directories = self.office.chosen(ALL);
        let attention = self.attention().await;
        let seen = Seen {
            step,
            rulebook: &self.office.rulebook,
            before: &before,
            after: &after,
            truths: &truths,
            actives: &self.actives,
            lied,
            lied_again: self.lies > 1,
            only_plans: &only_plans,
            is_clear: is_calm,
            directories: &directories,
            rejected: &rejected,
            attention: &attention,
            memory: &self.memory,
        };
        let sequences = SEQUENCES.iter().filter(|_| chance::plays("sequences"));
        let found = CHECKS
            .iter()
            .chain(sequences)
            .map(|(promise, check)| (*promise, check(&seen)))
            .find(|(_, wrong)| !wrong.is_empty());
        let mut memory = self.memory.clone();
        memory.learn(&seen, now);
        if restores {
            memory.forget(&seen, now);
        }
        // A run that holds no change accepts the scope, and so does the approval of a plan.
        let mut only_plans = self.only_plans.clone();
        let mut accepted: BTreeSet<String> = seen
            .runs()
            .filter(|r| r.mode == RunMode::Full && r.error.is_none() && r.held == 0)
            .filter_map(|r| r.directory.as_ref().map(ToString::to_string))
            .collect();
        let read: BTreeSet<String> = seen
            .runs()
            .filter(|r| r.mode == RunMode::Full && r.complete)
            .filter_map(|r| r.directory.as_ref().map(ToString::to_string))
            .collect();
        self.memory = memory;
        self.take_words(&truths, &after);
        let (mut approved, mut rebaselined, rejected) = {
            let mut words = self.office.words.lock().expect("what operators said");
            let words = &mut *words;
            let approved = std::mem::take(&mut words.accepted);
            (approved, std::mem::take(&mut words.rebaselined), words.rejected.clone())
        };
        let has_rejection = |name: &str| {
            let is_of =
                |user: &User| user.link.as_ref().is_none_or(|l| l.directory.as_str() == name);
            rejected.values().any(|id| after.users.get(id).is_none_or(is_of))
        };
        if matches!(step, Step::Both(..)) {
            // A run at the same time may be the one that accepts the scope.
            rebaselined.retain(|name| !accepted.contains(name) && !approved.contains(name));
        }
        {
            let mut sections = self.office.sections.lock().expect("sections");
            for name in &read {
                sections.note_read(name);
            }
            // Bases whose changes were rejected are accepted by no run while the rejection stands.
            accepted.retain(|name| !(sections.is_refused(name) && has_rejection(name)));
            accepted.append(&mut approved);
            for name in &accepted {
                only_plans.remove(name);
                sections.accept(name);
            }
            self.rescoped = sections.rescoped();
        }
        only_plans.extend(rebaselined);
        if restores {
            only_plans.extend(directories);
        }
        self.only_plans = only_plans;
        self.books = after;
        if matches!(step, Step::Backup) {
            self.backup = Some(self.books.clone());
        }
        self.note_active();
        found.map_or(Ok(()), |(promise, wrong)| Err(self.broken(promise, wrong)))
    }

    /// A rejection ends when the truth about the person has changed.
    fn take_words(&self, truths: &[truth::Truth], after: &Books) {
        let [first, .., last] = truths else { return };
        let changed = |user: &User| {
            let guid = user.link.as_ref().map(|l| l.guid);
            guid.is_some_and(|guid| first.people.get(&guid) != last.people.get(&guid))
                || user.link.is_none()
        };
        let is_changed = |id: &rosterd::model::UserId| after.users.get(id).is_none_or(changed);
        self.office
            .words
            .lock()
            .expect("what operators said")
            .rejected
            .retain(|_, user| !is_changed(user));
    }

    fn broken(&self, promise: &str, wrong: Vec<String>) -> Broken {
        Broken { promise: promise.to_owned(), told: self.told.clone(), wrong }
    }

    /// Restores normal conditions, day after day, with approvals of all held plans, until no change
    /// is left.
    async fn end(&mut self) -> Result<(), Broken> {
        self.office.make_well().await;
        // A directory without a read has nothing to compare with.
        let read: BTreeSet<String> = self
            .books
            .runs
            .iter()
            .filter(|r| r.complete && r.error.is_none())
            .filter_map(|r| r.directory.as_ref().map(ToString::to_string))
            .collect();
        self.only_plans = self.office.names().intersection(&read).cloned().collect();
        self.told.push("all is well".to_owned());
        let has_former = self.office.names().len() > self.office.chosen(ALL).len();
        for round in 0..ROUNDS {
            if has_former && round == 1 {
                // An emptied group that a section took over from a former one was accepted for that
                // one only.
                self.step(&Step::Do(Do::Rebaseline(ALL))).await?;
            }
            let day = [Do::Full(ALL), Do::Reopen(ALL), Do::Approve(ALL), Do::Due].map(Step::Do);
            for step in [Step::Wait(25 * 60)].into_iter().chain(day) {
                self.step(&step).await?;
            }
            let before = self.books.clone();
            self.step(&Step::Do(Do::Full(ALL))).await?;
            let is_done = |run: &rosterd::store::Run| {
                (run.counts.total(), run.held, run.dropped) == (0, 0, 0) && run.error.is_none()
            };
            let names = self.office.chosen(ALL);
            let last: Vec<_> = names
                .iter()
                .filter_map(|name| {
                    self.books
                        .runs
                        .iter()
                        .find(|r| r.directory.as_ref().is_some_and(|d| d.as_str() == name))
                })
                .collect();
            let waits = self.books.plans.iter().any(|(.., directory)| names.contains(directory));
            let has_grace_period = self.books.grace_periods.keys().any(|(id, _)| {
                let link = self.books.users.get(id).and_then(|u| u.link.as_ref());
                link.is_some_and(|l| names.iter().any(|name| name == l.directory.as_str()))
            });
            let is_quiet = !waits && !has_grace_period && last.iter().all(|run| is_done(run));
            let is_accepted = !has_former || round > 0;
            if is_accepted && is_quiet && before.users == self.books.users {
                if !self.books.news.is_empty() {
                    // The full run before may have failed, or warned about a problem that an
                    // approval has solved. The recovery is reported then. The next run has no such
                    // report.
                    self.step(&Step::Do(Do::Full(ALL))).await?;
                }
                if chance::plays("sequences") && !self.books.news.is_empty() {
                    return Err(
                        self.broken("a run without changes has no events", self.books.news.clone())
                    );
                }
                return self.is_as_the_directory_says().await;
            }
        }
        let wrong = vec![format!(
            "{:#?} {:?} {:?}",
            &self.books.runs[..self.books.runs.len().min(3)],
            self.books.held,
            self.books.grace_periods
        )];
        Err(self.broken("in the end a run changes nothing", wrong))
    }

    /// Returns the remarks in the status of all directories.
    async fn attention(&self) -> String {
        let engine = self.office.engine();
        let mut attention = String::new();
        for name in self.office.chosen(ALL) {
            let Ok(directory) = engine.directory(&name) else { continue };
            let status = engine.directory_status(&directory).await.expect("its status");
            attention.push_str(&status.attention.join("\n"));
        }
        attention
    }

    async fn is_as_the_directory_says(&self) -> Result<(), Broken> {
        let truths = self.office.since_then();
        let account = self.office.engine().account("acme").await.expect("the account");
        let claims = self.office.store().claimed_domains(account.id).await.expect("the claims");
        let attention = self.attention().await;
        let rulebook = &self.office.rulebook;
        let wrong = oracle::differences(&truths[0], &self.books, &claims, rulebook, &attention);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(self.broken("in the end all users match the directory", wrong))
        }
    }
}

/// Plays a history. Returns the number of its steps.
async fn play(stage: Stage, seed: u64, steps: Vec<Step>) -> Result<usize, Broken> {
    let mut play = Play::begin(&stage, seed).await?;
    for step in &steps {
        play.step(step).await?;
    }
    play.end().await?;
    Ok(play.told.len())
}

/// Plays a history in which a panic is a broken promise, too.
async fn attempt(stage: &Stage, seed: u64, steps: Vec<Step>) -> Result<usize, Broken> {
    let told = |promise: &str, text: String| {
        Err(Broken { promise: promise.to_owned(), told: Vec::new(), wrong: vec![text] })
    };
    let playing =
        tokio::time::timeout(LONGEST, tokio::spawn(Box::pin(play(stage.clone(), seed, steps))));
    match playing.await {
        Ok(played) => played.unwrap_or_else(|panic| told("nothing panics", panic.to_string())),
        Err(_) => told("a history comes to an end", format!("not within {LONGEST:?}")),
    }
}

/// Removes the steps that the failure does not need. Returns the remaining steps and their failure.
async fn shrink(
    stage: &Stage,
    seed: u64,
    steps: &[Step],
    mut kept: Vec<usize>,
    mut broken: Broken,
) -> (Vec<usize>, Broken) {
    let mut piece = kept.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < kept.len() {
            let without: Vec<usize> = kept
                .iter()
                .enumerate()
                .filter(|(n, _)| *n < at || *n >= at + piece)
                .map(|(_, k)| *k)
                .collect();
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
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Plays the history of a seed. Returns the number of steps, or the report of a failure.
async fn of_seed(seed: u64) -> Result<usize, String> {
    let length = setting("ROSTERD_SIM_STEPS").map_or(STEPS, |n| n as usize);
    let (stage, steps) = chance::of_seed(seed, length);
    let kept: Vec<usize> = match std::env::var("ROSTERD_SIM_KEEP") {
        Ok(text) => text
            .split(',')
            .map(|n| n.trim().parse().expect("ROSTERD_SIM_KEEP lists numbers"))
            .collect(),
        Err(_) => (0..steps.len()).collect(),
    };
    let broken = match attempt(&stage, seed, kept.iter().map(|k| steps[*k].clone()).collect()).await
    {
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
        format!(
            "ROSTERD_SIM_KEEP={} ",
            kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        )
    };
    let kinds = std::env::var("ROSTERD_SIM_KINDS")
        .map_or_else(|_| String::new(), |kinds| format!("ROSTERD_SIM_KINDS={kinds} "));
    Err(format!(
        "broken: {promise}\n{}\n\n{}\n\nagain: ROSTERD_SIM_SEED={seed} ROSTERD_SIM_HISTORIES=1 ROSTERD_SIM_STEPS={length} {kinds}{keep}\
         cargo test --features postgres --test it -- simulation::the_promises_hold --nocapture",
        wrong.join("\n"),
        told.join("\n"),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promises_hold_for_every_history_of_a_company() {
    let seed = setting("ROSTERD_SIM_SEED").unwrap_or_else(|| fastrand::u64(0..1 << 40));
    let seconds = setting("ROSTERD_SIM_SECONDS").map(Duration::from_secs);
    let histories = setting("ROSTERD_SIM_HISTORIES").unwrap_or(if seconds.is_some() {
        u64::MAX
    } else {
        HISTORIES
    });
    let begun = Instant::now();
    let (begin, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    // After the first failure the other histories end, unless they are to continue.
    let goes_on = setting("ROSTERD_SIM_GO_ON") == Some(1);
    let found = AtomicBool::new(false);
    let play = async || {
        let mut all = Vec::new();
        while !found.load(Ordering::Relaxed) && seconds.is_none_or(|limit| begun.elapsed() < limit)
        {
            let n = begin.fetch_add(1, Ordering::Relaxed);
            if n >= histories {
                break;
            }
            match of_seed(seed.wrapping_add(n)).await {
                Ok(played) => drop(steps.fetch_add(played as u64, Ordering::Relaxed)),
                Err(told) => {
                    if goes_on {
                        eprintln!("{told}\n");
                    }
                    found.store(!goes_on, Ordering::Relaxed);
                    all.push(told);
                }
            }
        }
        all
    };
    let at_once = setting("ROSTERD_SIM_AT_ONCE").unwrap_or(2);
    let broken = futures_util::future::join_all((0..at_once).map(|_| play())).await.concat();
    let histories = begin.load(Ordering::Relaxed).min(histories);
    eprintln!(
        "seed {seed}: {histories} histories, {} steps, {} broken, in {:.0?}",
        steps.load(Ordering::Relaxed),
        broken.len(),
        begun.elapsed()
    );
    assert!(broken.is_empty(), "seed {seed}\n{}", broken.join("\n\n"));
}

/// Returns all users without the manager, because a change of the manager's name is reported for
/// the manager alone.
fn people(books: &Books) -> Vec<User> {
    let alike = |user: &User| {
        let profile = Profile { manager: None, ..user.profile.clone() };
        User {
            profile,
            version: 0,
            observed_from: rosterd::model::ObservationNumber(0),
            updated_at: Timestamp(0),
            ..user.clone()
        }
    };
    books.users.values().map(alike).collect()
}

/// Makes a few edits at a time, with a tick after each group. Returns the number of ticks, and of
/// the incremental ones.
async fn follow(seed: u64) -> Result<(usize, usize), String> {
    let (stage, _) = chance::of_seed(seed, 0);
    // Deletions must be visible, and no work may be due later.
    let stage = Stage {
        tombstones: true,
        two_servers: false,
        has_grace_period: false,
        layout: Layout::One,
        ..stage
    };
    let mut rng = fastrand::Rng::with_seed(seed);
    let told = |broken: Broken| {
        format!(
            "seed {seed}: {}: {}\n{}",
            broken.promise,
            broken.wrong.join("\n"),
            broken.told.join("\n")
        )
    };
    let mut play = Play::begin(&stage, seed).await.map_err(told)?;
    // Tombstones count as visible once one exists.
    play.step(&Step::Edit(Edit::Delete(0))).await.map_err(told)?;
    play.step(&Step::Do(Do::Full(ALL))).await.map_err(told)?;
    let (mut ticks, mut deltas) = (0, 0);
    for _ in 0..12 {
        for edit in std::iter::repeat_with(|| chance::edit(&mut rng))
            .filter(Edit::is_notified)
            .take(fastrand::usize(1..5))
        {
            play.step(&Step::Edit(edit)).await.map_err(told)?;
        }
        play.step(&Step::Do(Do::Tick(ALL))).await.map_err(told)?;
        ticks += 1;
        deltas += usize::from(
            play.books
                .runs
                .first()
                .is_some_and(|run| run.mode == RunMode::Incremental && run.error.is_none()),
        );
        // The effects of a run may release held changes.
        play.step(&Step::Do(Do::Tick(ALL))).await.map_err(told)?;
        let after = play.books.clone();
        play.step(&Step::Do(Do::Full(ALL))).await.map_err(told)?;
        let Some(run) = play.books.runs.first().filter(|run| run.error.is_none()) else {
            // Too many have left for a full read to believe it.
            return Ok((ticks, deltas));
        };
        if run.counts.total() > run.counts.update
            || people(&after) != people(&play.books)
            || after.held.len() != play.books.held.len()
        {
            let (before, now) = (people(&after), people(&play.books));
            let mut wrong = vec![format!("{run:?}\nafter {:?}", after.runs.first())];
            wrong.extend(
                now.iter().filter(|user| !before.contains(user)).map(|user| format!("{user:?}")),
            );
            return Err(told(
                play.broken("incremental runs leave a full read nothing to do", wrong),
            ));
        }
    }
    Ok((ticks, deltas))
}

#[tokio::test(flavor = "multi_thread")]
async fn incremental_runs_leave_a_full_read_nothing_to_do() {
    let seed = setting("ROSTERD_SIM_SEED").unwrap_or_else(|| fastrand::u64(0..1 << 40));
    let histories = setting("ROSTERD_SIM_HISTORIES").unwrap_or(8);
    let (mut ticks, mut deltas) = (0, 0);
    for n in 0..histories {
        let (more, of_them) =
            follow(seed.wrapping_add(n)).await.unwrap_or_else(|told| panic!("{told}"));
        (ticks, deltas) = (ticks + more, deltas + of_them);
    }
    assert!(
        deltas * 2 > ticks,
        "seed {seed}: few changes were followed: {deltas} of {ticks} ticks"
    );
}
