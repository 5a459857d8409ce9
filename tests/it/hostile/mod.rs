//! Faulty and hostile servers, which must not abort, hang or bloat the daemon, nor suspend an
//! enabled user.
//!
//! Each row of a table is a fault at one moment of a run, with the expected result. [`Ordeal`]
//! applies the rows to a company one after the other. First a person is disabled, whom the run may
//! or may not see. Then the server is valid again, and the next run must restore the state.

mod answers;
mod bytes;
mod entries;
mod flood;
mod identity;
mod opening;
mod sweep;

use std::time::{Duration, Instant};

use adsim::{Fault, What, When};
use rosterd::engine::DirectoryConfig;
use rosterd::model::{RunState, Status};
use rosterd::reconcile::Limit;
use rosterd::store::Run;

use crate::firm::Firm;

/// Beginning of the filter of a full read, which no other search has.
pub(crate) const PEOPLE: &str = "objectcategory=person";

/// Expected end of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ends {
    /// The run fails, and its error contains this text.
    Failed(&'static str),
    /// The run succeeds.
    Succeeded,
    /// The run may fail or succeed; its changes are checked.
    Either,
}

/// Visibility of the person who was disabled before the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sees {
    /// The person must be suspended.
    TheLeaver,
    /// The person must stay active.
    NoLeaver,
    /// The result depends on the moment.
    Perhaps,
}

/// A fault and its expected result.
#[derive(Debug)]
pub(crate) struct Row {
    /// The name in messages of the test.
    pub(crate) name: String,
    /// The faults in order of time.
    pub(crate) faults: Vec<(When, What)>,
    pub(crate) ends: Ends,
    pub(crate) sees: Sees,
}

/// Returns a row with one fault, which occurs once.
pub(crate) fn row(name: impl Into<String>, when: When, what: What, ends: Ends, sees: Sees) -> Row {
    Row { name: name.into(), faults: vec![(when, what)], ends, sees }
}

/// The given page of a full read, from 1.
pub(crate) fn page(number: usize) -> When {
    When::page(number).containing(PEOPLE)
}

/// A full read after this number of entries.
pub(crate) fn after(entries: usize) -> When {
    When::search().containing(PEOPLE).after_entries(entries)
}

/// A company whose server has faults.
pub(crate) struct Ordeal {
    pub(crate) firm: Firm,
    /// The person near the beginning of page 1 who is disabled before each run.
    leaver: uuid::Uuid,
    /// Number of active users after a valid read.
    active: usize,
    /// Time limit of a run, with room for a busy machine.
    patience: Duration,
}

impl Ordeal {
    /// Creates a company of 130 people, read in three pages of 50. Limits and grace period are off,
    /// because the read itself must protect people here.
    pub(crate) async fn new(adapt: impl FnOnce(&mut DirectoryConfig)) -> Self {
        let firm = Firm::running(130, |c| {
            c.settings.page_size = 50;
            c.limits.grace_period = Duration::ZERO;
            for limit in c.limits.classes.values_mut() {
                *limit = Limit { percent: 100, at_least: 10_000, at_most: None };
            }
            adapt(c);
        })
        .await;
        let users: Vec<_> = firm
            .users()
            .await
            .into_iter()
            .filter_map(|u| u.link)
            .map(|l| l.guid.to_string())
            .collect();
        let leaver = firm
            .sim
            .look(|ad| ad.people().into_iter().find(|p| users.contains(&p.to_string())))
            .unwrap();
        let active = firm.active().await;
        assert!(active > 80, "{active} active users");
        let timeouts = firm.engine.directory("corp").unwrap().config.settings.timeouts;
        let patience = timeouts.connect
            + timeouts.operation * 2
            + timeouts.run.min(timeouts.operation)
            + Duration::from_secs(10);
        Self { firm, leaver, active, patience }
    }

    /// Applies each row to a run of its own.
    pub(crate) async fn suffer(&self, rows: Vec<Row>) {
        for row in rows {
            self.suffer_one(row).await;
        }
    }

    /// Applies one row, then runs with a valid server.
    pub(crate) async fn suffer_one(&self, row: Row) {
        self.suffer_mended(row, || {}).await;
    }

    /// Applies one row, and calls `mend` before the run with a valid server.
    pub(crate) async fn suffer_mended(&self, row: Row, mend: impl FnOnce()) {
        let Row { name, faults, ends, sees } = row;
        let sim = &self.firm.sim;
        sim.edit(|ad| ad.disable(self.leaver));
        let count = faults.len();
        for (when, what) in faults {
            sim.faults().push(Fault::new(when, what));
        }
        let begun = Instant::now();
        let run = self.firm.sync().await;
        let took = begun.elapsed();
        assert!(
            sim.faults().fired() > 0 && (count > 1 || sim.faults().fired() == 1),
            "{name}: the fault did not occur exactly once, {run:?}"
        );
        assert!(took < self.patience, "{name}: the run took {took:?}");
        self.judge(&name, &run, ends, sees).await;

        sim.faults().clear();
        mend();
        sim.edit(|ad| ad.enable(self.leaver));
        let mut honest = self.firm.sync().await;
        if honest.error.is_none() && !self.suspended().await.is_empty() {
            // After a change of server identity, reactivations wait for the replication delay.
            self.firm.later(Duration::from_mins(11));
            honest = self.firm.sync().await;
        }
        assert_eq!(
            (honest.state, honest.error.as_deref()),
            (RunState::Succeeded, None),
            "{name}: the next run failed, {honest:?}"
        );
        assert_eq!(
            self.suspended().await,
            Vec::<String>::new(),
            "{name}: some users stay suspended"
        );
        assert_eq!(
            self.firm.active().await,
            self.active,
            "{name}: the number of active users changed"
        );
    }

    /// Checks the run with the fault.
    async fn judge(&self, name: &str, run: &Run, ends: Ends, sees: Sees) {
        match ends {
            Ends::Failed(told) => {
                assert_eq!(run.state, RunState::Failed, "{name}: {run:?}");
                let error = run.error.as_deref().unwrap_or_default();
                assert!(error.contains(told), "{name}: the error does not say \"{told}\": {error}");
            }
            Ends::Succeeded => assert_eq!(
                (run.state, run.error.as_deref()),
                (RunState::Succeeded, None),
                "{name}: {run:?}"
            ),
            Ends::Either => assert!(
                matches!(run.state, RunState::Failed | RunState::Succeeded),
                "{name}: {run:?}"
            ),
        }
        let suspended = self.suspended().await;
        let leaver = vec![self.leaver.to_string()];
        match sees {
            Sees::TheLeaver => assert_eq!(
                suspended, leaver,
                "{name}: the disabled person alone must be suspended: {run:?}"
            ),
            Sees::NoLeaver => {
                assert_eq!(
                    suspended,
                    Vec::<String>::new(),
                    "{name}: no user may be suspended: {run:?}"
                )
            }
            Sees::Perhaps => assert!(
                suspended.is_empty() || suspended == leaver,
                "{name}: {suspended:?} are suspended: {run:?}"
            ),
        }
        if let Some(held) = self.firm.engine.store.plans(false).await.unwrap().first() {
            let changes = self.firm.engine.store.plan_changes(held.id).await.unwrap();
            panic!(
                "{name}: a change rests on what no server showed: {:#?} of {run:?}",
                changes.first()
            );
        }
    }

    /// Returns the GUIDs of the suspended users.
    async fn suspended(&self) -> Vec<String> {
        let users = self.firm.users().await;
        users
            .iter()
            .filter(|u| u.status() == Status::Suspended)
            .filter_map(|u| Some(u.link.as_ref()?.guid.to_string()))
            .collect()
    }

    /// Returns a user of page 1 other than the leaver, with the position in the read.
    pub(crate) async fn colleague(&self) -> (uuid::Uuid, usize) {
        let users: Vec<_> = self
            .firm
            .users()
            .await
            .into_iter()
            .filter_map(|u| u.link)
            .map(|l| l.guid.to_string())
            .collect();
        self.firm.sim.look(|ad| {
            let people = ad.people();
            let at = people
                .iter()
                .position(|p| *p != self.leaver && users.contains(&p.to_string()))
                .unwrap();
            (people[at], at)
        })
    }
}
