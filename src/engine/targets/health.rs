//! The health of a target, as the work on its accounts shows it.
//!
//! | Trouble | Work that waits |
//! |---|---|
//! | outage: no request succeeds | all |
//! | the target cannot be recognised | all but that of leavers |
//! | the target refuses accounts in a row | all but that of leavers |
//!
//! After each wait the target is tried with a single account. Leavers and other users are counted
//! apart, because a target that refuses new accounts may well deactivate those that it has.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::backoff::{MAX_BACKOFF, backoff, jitter};
use crate::model::{Lane, TargetName, Timestamp, UserId};
use crate::reconcile::provision::{Operation, Outcome};

/// Refused accounts in a row after which the fault is one of the target.
const MAX_REFUSED: usize = 10;

/// Maximum wait in trouble, unless the target asks for a longer one.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// The statement that the answers to the work on one account make about the target, the weakest
/// first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Evidence {
    /// No request was sent, or none was answered.
    #[default]
    None,
    /// The target gave an answer.
    Answered,
    /// The target refused a request, and the fault is not one of the account's values.
    Refused(String),
    /// The target accepted a write.
    Accepted,
}

impl Evidence {
    pub(super) fn of(operation: Operation, outcome: &Outcome) -> Self {
        match outcome {
            // These are about the values of one account.
            Outcome::Refused(refusal) if matches!(refusal.status, 400 | 422) => Self::Answered,
            Outcome::Refused(refusal) | Outcome::Retry { refusal, is_down: false, .. } => {
                Self::Refused(refusal.to_string())
            }
            Outcome::Retry { is_down: true, .. }
            | Outcome::NotScim(_)
            | Outcome::Unauthorized(_) => Self::None,
            Outcome::Done(_) | Outcome::Unverified if is_write(operation) => Self::Accepted,
            _ => Self::Answered,
        }
    }
}

fn is_write(operation: Operation) -> bool {
    match operation {
        Operation::Create | Operation::Modify | Operation::Replace | Operation::Delete => true,
        Operation::Read | Operation::List | Operation::Search | Operation::Describe => false,
    }
}

/// A trouble with its wait.
#[derive(Clone, Debug)]
struct Trouble {
    reason: String,
    failures: u32,
    /// The elapsed time of this process at which the wait ends.
    until: Duration,
}

/// The accounts that were refused since the last accepted one.
#[derive(Debug, Default)]
struct Refused {
    users: BTreeSet<UserId>,
    reason: String,
}

/// The change of the health that operators are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum HealthChange {
    Worse(String),
    Recovered,
}

/// The health of one target. It outlasts a reload.
#[derive(Debug, Default)]
pub(in crate::engine) struct Health {
    outage: Option<Trouble>,
    unrecognised: Option<Trouble>,
    refusing: Option<Trouble>,
    refused_leavers: Refused,
    refused_others: Refused,
    /// The trouble that was reported, and its beginning.
    reported: Option<(String, Timestamp)>,
}

impl Trouble {
    fn wait(trouble: Option<&Self>, passed: Duration) -> Duration {
        trouble.map_or(Duration::ZERO, |trouble| trouble.until.saturating_sub(passed))
    }

    /// Begins or repeats a trouble.
    fn again(
        trouble: &mut Option<Self>,
        name: &TargetName,
        reason: String,
        after: Option<Duration>,
        passed: Duration,
    ) {
        let failures = trouble.as_ref().map_or(0, |trouble| trouble.failures).saturating_add(1);
        let wait = backoff(failures - 1, jitter(name.as_str(), 0, failures))
            .min(MAX_WAIT)
            .max(after.unwrap_or_default().min(MAX_BACKOFF));
        *trouble = Some(Self { reason, failures, until: passed + wait });
    }
}

impl Refused {
    fn is_long(&self) -> bool {
        self.users.len() >= MAX_REFUSED
    }

    fn add(&mut self, user: UserId, reason: &str) {
        // Further ones stay due in any case.
        if !self.is_long() {
            self.users.insert(user);
        }
        reason.clone_into(&mut self.reason);
    }

    /// Ends the row. Returns its accounts if the fault was one of the target.
    fn end(&mut self) -> BTreeSet<UserId> {
        let was_long = self.is_long();
        let Self { users, .. } = std::mem::take(self);
        if was_long { users } else { BTreeSet::new() }
    }
}

impl Health {
    /// Ends all waits, because the target has another configuration.
    pub(super) fn end_waits(&mut self) {
        let troubles = [&mut self.outage, &mut self.unrecognised, &mut self.refusing];
        for trouble in troubles.into_iter().flatten() {
            trouble.until = Duration::ZERO;
        }
    }

    /// Returns the wait of all work.
    pub(super) fn wait(&self, passed: Duration) -> Duration {
        Trouble::wait(self.outage.as_ref(), passed)
    }

    /// Returns the wait of work that is not about leavers.
    pub(super) fn wait_of_others(&self, passed: Duration) -> Duration {
        let waits = [&self.unrecognised, &self.refusing];
        waits
            .map(|trouble| Trouble::wait(trouble.as_ref(), passed))
            .into_iter()
            .max()
            .unwrap_or_default()
    }

    /// Returns whether the next work is a trial of a target that is down.
    pub(super) fn is_down(&self) -> bool {
        self.outage.is_some()
    }

    /// Returns whether the target could not be recognised, and is not asked again now. Due leavers
    /// come before the question.
    pub(super) fn is_unrecognised(&self, passed: Duration, has_leavers: bool) -> bool {
        let is_known = self.unrecognised.is_some();
        is_known && (has_leavers || !Trouble::wait(self.unrecognised.as_ref(), passed).is_zero())
    }

    /// Returns whether accounts are refused whose users are no leavers, and the fault is the target's.
    pub(super) fn is_refusing(&self) -> bool {
        self.refused_others.is_long()
    }

    /// Returns how many leavers and how many others may be worked on at once.
    pub(super) fn slots(&self, concurrency: usize, passed: Duration) -> (usize, usize) {
        let one_if = |trial: bool| if trial { 1 } else { concurrency };
        let others = if self.wait_of_others(passed).is_zero() {
            one_if(self.is_down() || self.is_refusing())
        } else {
            0
        };
        (one_if(self.is_down()), others)
    }

    /// Notes that no request succeeds.
    pub(super) fn fails(
        &mut self,
        name: &TargetName,
        reason: String,
        after: Option<Duration>,
        passed: Duration,
    ) {
        Trouble::again(&mut self.outage, name, reason, after, passed);
    }

    /// Notes that no answer tells whether the target has our accounts.
    pub(super) fn was_not_recognised(
        &mut self,
        name: &TargetName,
        reason: String,
        passed: Duration,
    ) {
        Trouble::again(&mut self.unrecognised, name, reason, None, passed);
    }

    pub(super) fn was_recognised(&mut self) {
        self.unrecognised = None;
    }

    /// Notes that the target answers.
    pub(super) fn answers(&mut self) {
        self.outage = None;
    }

    /// Takes the evidence of the work on one account. Returns the accounts to try again, because the
    /// target refused them by its own fault and accepts accounts now.
    pub(super) fn note(
        &mut self,
        name: &TargetName,
        (user, lane): (UserId, Lane),
        evidence: &Evidence,
        passed: Duration,
    ) -> BTreeSet<UserId> {
        if *evidence != Evidence::None {
            self.answers();
        }
        let mut again = BTreeSet::new();
        let row = match lane {
            Lane::Leaver => &mut self.refused_leavers,
            Lane::Change | Lane::Run => &mut self.refused_others,
        };
        match evidence {
            Evidence::Refused(reason) => row.add(user, reason),
            Evidence::Accepted => again = row.end(),
            Evidence::None | Evidence::Answered => {}
        }
        // An account without a refusal belongs to no row any more.
        if !matches!(evidence, Evidence::Refused(_)) {
            for row in [&mut self.refused_leavers, &mut self.refused_others] {
                row.users.remove(&user);
            }
        }
        again.remove(&user);
        if !self.is_refusing() {
            self.refusing = None;
        } else if lane != Lane::Leaver
            && matches!(evidence, Evidence::Refused(_))
            && Trouble::wait(self.refusing.as_ref(), passed).is_zero()
        {
            // Refusals of requests that were under way prolong no wait.
            let reason = self.refused_others.reason.clone();
            Trouble::again(&mut self.refusing, name, reason, None, passed);
        }
        again
    }

    /// Returns the reason why the target cannot be used.
    fn problem(&self) -> Option<String> {
        let trouble = self.outage.as_ref().or(self.unrecognised.as_ref());
        if let Some(trouble) = trouble {
            return Some(trouble.reason.clone());
        }
        let rows = [(&self.refused_leavers, "leavers"), (&self.refused_others, "accounts")];
        let (row, subject) = rows.into_iter().find(|(row, _)| row.is_long())?;
        Some(format!("the target refuses {subject}, {MAX_REFUSED} in a row: {}", row.reason))
    }

    /// Returns the change since the last report.
    pub(super) fn report(&mut self, now: Timestamp) -> Option<HealthChange> {
        let problem = self.problem();
        match (&mut self.reported, problem) {
            (Some((reason, _)), Some(problem)) => {
                *reason = problem;
                None
            }
            (None, None) => None,
            (None, Some(problem)) => {
                self.reported = Some((problem.clone(), now));
                Some(HealthChange::Worse(problem))
            }
            (Some(_), None) => {
                self.reported = None;
                Some(HealthChange::Recovered)
            }
        }
    }

    /// Returns the reported trouble, and its beginning.
    pub(in crate::engine) fn reported(&self) -> Option<(String, Timestamp)> {
        self.reported.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::provision::Refusal;

    /// A health and the elapsed time.
    struct Course {
        health: Health,
        passed: Duration,
        name: TargetName,
        users: Vec<UserId>,
    }

    impl Course {
        fn new() -> Self {
            let users = (0..40).map(|n| UserId(uuid::Uuid::from_u128(n))).collect();
            let name = TargetName::parse("app").unwrap();
            Self { health: Health::default(), passed: Duration::ZERO, name, users }
        }

        fn saw(&mut self, number: usize, lane: Lane, evidence: &Evidence) -> usize {
            let Self { health, passed, name, users } = self;
            health.note(name, (users[number], lane), evidence, *passed).len()
        }

        fn refuse(&mut self, numbers: std::ops::Range<usize>, lane: Lane) {
            for number in numbers {
                self.saw(number, lane, &refused());
            }
        }

        fn slots(&self) -> (usize, usize) {
            self.health.slots(4, self.passed)
        }

        fn change(&mut self) -> Option<HealthChange> {
            self.health.report(Timestamp(0))
        }

        fn pass(&mut self) {
            self.passed += MAX_WAIT * 2;
        }
    }

    fn refused() -> Evidence {
        Evidence::Refused("it answered 402".to_owned())
    }

    #[test]
    fn an_answer_about_the_values_of_an_account_is_no_fault_of_the_target() {
        let refusal = |status| Refusal { status, scim_type: None, detail: None };
        let retry =
            |status, is_down| Outcome::Retry { refusal: refusal(status), after: None, is_down };
        let table = [
            (Operation::Modify, Outcome::Refused(refusal(402)), "refused"),
            (Operation::Create, Outcome::Refused(refusal(403)), "refused"),
            (Operation::Modify, retry(500, false), "refused"),
            (Operation::Read, retry(500, false), "refused"),
            (Operation::Modify, Outcome::Refused(refusal(400)), "answered"),
            (Operation::Create, Outcome::Refused(refusal(422)), "answered"),
            (Operation::Create, Outcome::Conflict(refusal(409)), "answered"),
            (Operation::Modify, Outcome::NotFound, "answered"),
            (Operation::Modify, retry(503, true), "none"),
            (Operation::Read, Outcome::NotScim(refusal(200)), "none"),
            (Operation::Modify, Outcome::Unverified, "accepted"),
            (Operation::Read, Outcome::Unverified, "answered"),
        ];
        for (operation, outcome, expected) in table {
            let found = match Evidence::of(operation, &outcome) {
                Evidence::None => "none",
                Evidence::Answered => "answered",
                Evidence::Refused(_) => "refused",
                Evidence::Accepted => "accepted",
            };
            assert_eq!(found, expected, "{operation} {outcome:?}");
        }
    }

    #[test]
    fn ten_refused_accounts_in_a_row_are_a_fault_of_the_target() {
        let mut course = Course::new();
        course.refuse(0..9, Lane::Change);
        // The same account again is no further one.
        course.refuse(0..9, Lane::Run);
        assert_eq!((course.slots(), course.change()), ((4, 4), None));
        course.saw(9, Lane::Change, &refused());
        assert_eq!(course.slots(), (4, 0), "leavers do not wait");
        assert!(
            matches!(course.change(), Some(HealthChange::Worse(reason)) if reason.contains("402"))
        );
        course.pass();
        assert_eq!(course.slots(), (4, 1), "one account is tried");
        course.saw(10, Lane::Change, &refused());
        assert_eq!(course.slots(), (4, 0));
        course.pass();
        assert_eq!(course.saw(11, Lane::Run, &Evidence::Accepted), MAX_REFUSED);
        assert_eq!((course.slots(), course.change()), ((4, 4), Some(HealthChange::Recovered)));
    }

    #[test]
    fn an_accepted_account_ends_the_row_of_its_own_lanes_only() {
        let mut course = Course::new();
        course.refuse(0..9, Lane::Change);
        assert_eq!(course.saw(20, Lane::Leaver, &Evidence::Accepted), 0);
        // Reads and work without a request accept nothing.
        course.saw(21, Lane::Change, &Evidence::Answered);
        course.saw(22, Lane::Change, &Evidence::None);
        course.saw(9, Lane::Run, &refused());
        assert!(course.health.is_refusing());
        course.saw(23, Lane::Leaver, &Evidence::Accepted);
        assert!(course.health.is_refusing());
        let mut course = Course::new();
        course.refuse(0..9, Lane::Change);
        assert_eq!(course.saw(20, Lane::Run, &Evidence::Accepted), 0, "nine are their own fault");
        course.refuse(9..18, Lane::Change);
        assert_eq!(course.change(), None);
    }

    #[test]
    fn refused_leavers_are_reported_and_wait_for_nothing_but_their_own_backoff() {
        let mut course = Course::new();
        course.refuse(0..10, Lane::Leaver);
        assert!(matches!(course.change(), Some(HealthChange::Worse(_))));
        assert_eq!(course.slots(), (4, 4));
        // A leaver who came back has no refused work any more.
        course.saw(3, Lane::Change, &Evidence::Answered);
        assert_eq!(course.change(), Some(HealthChange::Recovered));
    }

    #[test]
    fn requests_under_way_prolong_no_wait_and_each_trial_doubles_it() {
        let mut course = Course::new();
        course.refuse(0..10, Lane::Change);
        let first = course.health.wait_of_others(course.passed);
        course.refuse(10..14, Lane::Change);
        assert_eq!(course.health.wait_of_others(course.passed), first);
        for trial in 0..12 {
            course.pass();
            course.saw(trial, Lane::Change, &refused());
        }
        let last = course.health.wait_of_others(course.passed);
        assert!(first < Duration::from_secs(2) && last == MAX_WAIT, "{first:?} {last:?}");
    }

    #[test]
    fn an_outage_stops_all_work_and_any_answer_ends_it() {
        let mut course = Course::new();
        let (name, passed) = (course.name.clone(), course.passed);
        course.health.fails(&name, "cut".to_owned(), None, passed);
        assert!(!course.health.wait(course.passed).is_zero());
        assert!(matches!(course.change(), Some(HealthChange::Worse(_))));
        assert_eq!(course.slots(), (1, 1));
        course.saw(0, Lane::Change, &Evidence::None);
        assert!(course.health.is_down(), "nothing was sent");
        course.saw(0, Lane::Change, &refused());
        assert_eq!((course.slots(), course.change()), ((4, 4), Some(HealthChange::Recovered)));
    }
}
