//! Servers that break, lie, and mean harm: nothing they send or withhold may abort, hang or bloat the daemon, and nobody enabled is
//! suspended by it.
//!
//! Each row of a table is one misfortune, at one moment of a run, and what must be true of that run. [`Ordeal`] lets them happen to
//! a company one after the other: first somebody is disabled, whom the run may or may not get to see; after it the server is honest again,
//! and the next run must find everything as it was.

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

/// The filter that the read of everybody begins with, and no other search has.
pub(crate) const PEOPLE: &str = "objectcategory=person";

/// What becomes of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ends {
    /// Failed; its error contains this.
    Failed(&'static str),
    /// As if nothing had happened.
    Well,
    /// Either; what counts is what it did.
    Somehow,
}

/// Whether the run got to see the person who was disabled before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sees {
    /// So the person is suspended.
    TheLeaver,
    /// So the person stays active.
    Nobody,
    /// Depends on the moment.
    Perhaps,
}

/// One misfortune.
#[derive(Debug)]
pub(crate) struct Row {
    /// What it is called when it goes wrong.
    pub(crate) name: String,
    /// All that goes wrong, in this order.
    pub(crate) faults: Vec<(When, What)>,
    /// What the run is then.
    pub(crate) ends: Ends,
    /// What it saw.
    pub(crate) sees: Sees,
}

/// A row with one fault, which happens once.
pub(crate) fn row(name: impl Into<String>, when: When, what: What, ends: Ends, sees: Sees) -> Row {
    Row { name: name.into(), faults: vec![(when, what)], ends, sees }
}

/// A page of the read of everybody, from 1.
pub(crate) fn page(number: usize) -> When {
    When::page(number).containing(PEOPLE)
}

/// The read of everybody, after so many entries.
pub(crate) fn after(entries: usize) -> When {
    When::search().containing(PEOPLE).after_entries(entries)
}

/// A company to which misfortunes happen.
pub(crate) struct Ordeal {
    pub(crate) firm: Firm,
    /// The first user that a read shows, by GUID: near the beginning of page 1.
    leaver: uuid::Uuid,
    /// Everybody who is active on a good day.
    active: usize,
    /// What one run may take, with room for a busy machine.
    patience: Duration,
}

impl Ordeal {
    /// A company of 130 people, read in three pages of 50. Neither limits nor rechecks stand between what is seen and what is done:
    /// it must be the reading that protects people here, and not the brakes behind it.
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

    /// Lets all of the misfortunes happen, each to a run of its own.
    pub(crate) async fn suffer(&self, rows: Vec<Row>) {
        for row in rows {
            self.suffer_one(row).await;
        }
    }

    /// One row: the misfortune, and the honest run after it.
    pub(crate) async fn suffer_one(&self, row: Row) {
        self.suffer_mended(row, || {}).await;
    }

    /// One row, of which something has to be put right before the server is honest again.
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
            "{name}: it has happened, {run:?}"
        );
        assert!(took < self.patience, "{name}: the run took {took:?}");
        self.judge(&name, &run, ends, sees).await;

        sim.faults().clear();
        mend();
        sim.edit(|ad| ad.enable(self.leaver));
        let mut honest = self.firm.sync().await;
        if honest.error.is_none() && !self.suspended().await.is_empty() {
            // The server seemed to be another one for a while, and what another one says of people being back is believed later.
            self.firm.later(Duration::from_mins(11));
            honest = self.firm.sync().await;
        }
        assert_eq!(
            (honest.state, honest.error.as_deref()),
            (RunState::Succeeded, None),
            "{name}: the next run is well, {honest:?}"
        );
        assert_eq!(self.suspended().await, Vec::<String>::new(), "{name}: everybody is back");
        assert_eq!(self.firm.active().await, self.active, "{name}: and nobody new has come");
    }

    /// What must be true of a run that met with the misfortune.
    async fn judge(&self, name: &str, run: &Run, ends: Ends, sees: Sees) {
        match ends {
            Ends::Failed(told) => {
                assert_eq!(run.state, RunState::Failed, "{name}: {run:?}");
                let error = run.error.as_deref().unwrap_or_default();
                assert!(error.contains(told), "{name}: the error does not say \"{told}\": {error}");
            }
            Ends::Well => assert_eq!(
                (run.state, run.error.as_deref()),
                (RunState::Succeeded, None),
                "{name}: {run:?}"
            ),
            Ends::Somehow => assert!(
                matches!(run.state, RunState::Failed | RunState::Succeeded),
                "{name}: {run:?}"
            ),
        }
        let suspended = self.suspended().await;
        let leaver = vec![self.leaver.to_string()];
        match sees {
            Sees::TheLeaver => assert_eq!(
                suspended, leaver,
                "{name}: who was seen disabled, and nobody else, is suspended: {run:?}"
            ),
            Sees::Nobody => {
                assert_eq!(suspended, Vec::<String>::new(), "{name}: nobody is suspended: {run:?}")
            }
            Sees::Perhaps => assert!(
                suspended.is_empty() || suspended == leaver,
                "{name}: {suspended:?} are suspended: {run:?}"
            ),
        }
        if let Some(held) = self.firm.engine.store.plans(false).await.unwrap().first() {
            let changes = self.firm.engine.store.plan_changes(held.id).await.unwrap();
            panic!(
                "{name}: nothing is proposed of what was not seen: {:#?} of {run:?}",
                changes.first()
            );
        }
    }

    /// The GUIDs of those who are suspended.
    async fn suspended(&self) -> Vec<String> {
        let users = self.firm.users().await;
        users
            .iter()
            .filter(|u| u.status() == Status::Suspended)
            .filter_map(|u| Some(u.link.as_ref()?.guid.to_string()))
            .collect()
    }

    /// Some user who is not the leaver, read on page 1, with its place in the read.
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
