//! A history in progress: its steps, the checks after each step, and its end.

use std::collections::{BTreeMap, BTreeSet};

use rosterd::model::{RunMode, Status, Timestamp, User};

use super::books::Books;
use super::history::{ALL, Do, Stage, Step};
use super::invariants::{CHECKS, SEQUENCES};
use super::memory::Memory;
use super::office::Office;
use super::seen::Seen;
use super::{Broken, chance, oracle, truth};

/// Rounds of a day, a run and an approval after which no change may be held any more.
const ROUNDS: usize = 12;

/// A history in progress.
pub(super) struct Play {
    office: Office,
    pub(super) books: Books,
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
    pub(super) async fn begin(stage: &Stage, seed: u64) -> Result<Self, Broken> {
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
    pub(super) async fn step(&mut self, step: &Step) -> Result<(), Broken> {
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

    pub(super) fn broken(&self, promise: &str, wrong: Vec<String>) -> Broken {
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
pub(super) async fn play(stage: Stage, seed: u64, steps: Vec<Step>) -> Result<usize, Broken> {
    let mut play = Play::begin(&stage, seed).await?;
    for step in &steps {
        play.step(step).await?;
    }
    play.end().await?;
    Ok(play.told.len())
}
