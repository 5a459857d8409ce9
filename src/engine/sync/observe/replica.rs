//! The knowledge of the server of a run. Domain controllers replicate late, and some are restored from
//! old copies.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::Session;
use crate::engine::sync::observe::connection::Connection;
use crate::engine::sync::stages::ObservedRun;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{Guid, Timestamp};
use crate::reconcile::{
    Closure, Currency, HighWaterMark, HighWaterMarks, Knowledge, LastSeen, OLDEST_STAMP,
};
use crate::store::DirectoryState;

/// Above this number of changed people, only the stamps of those are read that have stored ones.
const MAX_STAMPED: usize = 10_000;

/// The up-to-dateness of a server, and the marks that earlier servers left.
#[derive(Debug)]
pub(in crate::engine) struct UpToDateness {
    pub knowledge: Option<Knowledge>,
    pub marks: HighWaterMarks,
    /// The USN up to which runs have read this database.
    read_to: u64,
    /// Whether the server's database is an older copy than in the last run.
    pub is_set_back: bool,
}

impl UpToDateness {
    /// Reads it. The caller reads groups and people afterwards, so that the server has at least what it tells.
    pub(super) async fn read(
        session: &mut Session,
        mut marks: HighWaterMarks,
        warnings: &mut Vec<String>,
    ) -> Self {
        // A server that does not show its highest USN is not set back.
        let own = own_mark(session, session.root.usn).filter(|own| own.usn > 0);
        let before = own.and_then(|own| marks.highest.get(&own.invocation_id)).copied();
        let is_set_back = own.is_some_and(|own| marks.note(own));
        let read_to = before.filter(|_| !is_set_back).unwrap_or_default();
        let mut knowledge = session.knowledge().await.unwrap_or_else(|error| {
            warnings.push(format!("the server's replUpToDateVector could not be read: {error}"));
            None
        });
        if let Some(knowledge) = &mut knowledge {
            knowledge.limit(&marks.set_back);
        }
        Self { knowledge, marks, read_to, is_set_back }
    }

    /// Returns whether the server has heard of the last move of a container, and notes those that it shows.
    pub(super) async fn compare_containers(
        &mut self,
        session: &mut Session,
        now: Timestamp,
        warnings: &mut Vec<String>,
    ) -> Currency {
        let currency = self.marks.currency_of_containers(self.knowledge.as_ref());
        match session.container_moves(self.read_to).await {
            Ok(moves) => self.marks.note_moves(&moves, now),
            Err(error) => {
                // The next run reads them.
                if let Some(own) = own_mark(session, self.read_to) {
                    self.marks.highest.insert(own.invocation_id, own.usn);
                }
                warnings.push(format!("the moves of OUs could not be read: {error}"));
            }
        }
        currency
    }

    /// Returns whether the server has heard of the last change of a group. If so, the next server is compared
    /// with these groups.
    pub(super) fn compare_groups(&mut self, session: &Session, closure: &Closure) -> Currency {
        self.marks.groups_elsewhere.extend(closure.changes_elsewhere());
        let currency = Currency::of(self.marks.groups.as_ref(), self.knowledge.as_ref());
        if let (Currency::Current | Currency::Unproven, false, Some(usn)) =
            (currency, closure.is_partial(), closure.last_change())
        {
            self.marks.groups = own_mark(session, usn);
        }
        currency
    }
}

/// Returns the mark of a USN of this server.
pub(super) fn own_mark(session: &Session, usn: u64) -> Option<HighWaterMark> {
    let invocation_id = session.root.identity.invocation_id?;
    Some(HighWaterMark { invocation_id, usn })
}

impl Engine {
    /// Reads the stamps of the decided people, and takes back what the server cannot know.
    pub(super) async fn judge_people(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        state: &DirectoryState,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        let is_first = state.last_complete_read.is_none() && observed.seen.is_full();
        let decided: BTreeSet<Guid> = observed.seen.desired.keys().copied().collect();
        let stored = self.last_seen(directory, &decided).await?;
        if (is_first && stored.is_empty()) || decided.is_empty() {
            return Ok(());
        }
        let has_stamps =
            |(guid, seen): (&Guid, &LastSeen)| seen.metadata.is_some().then_some(*guid);
        let asked: BTreeSet<Guid> = if decided.len() > MAX_STAMPED {
            stored.iter().filter_map(has_stamps).collect()
        } else {
            decided
        };
        if self.is_connected(directory, connection).await {
            match connection.session.metadata(&asked).await {
                Ok(metadata) => observed.seen.replica.metadata = metadata,
                Err(error) => observed
                    .warnings
                    .push(format!("the replPropertyMetaData of people could not be read: {error}")),
            }
        }
        observed.seen.judge(&stored);
        Ok(())
    }

    /// Reads the stamps of all who have left lately. Most have no user, or are no news, so that no decision
    /// is made about them.
    pub(super) async fn read_leavers(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        observed: &mut ObservedRun,
    ) {
        if !self.is_connected(directory, connection).await {
            return;
        }
        let now = self.clock.now();
        match connection.session.recent_leavers(now.minus(OLDEST_STAMP), now).await {
            Ok(leavers) => observed.seen.replica.leavers = leavers,
            Err(error) => observed
                .warnings
                .push(format!("the stamps of recent leavers could not be read: {error}")),
        }
    }

    /// Returns what runs have last seen of people, early leavers included.
    pub(super) async fn last_seen(
        &self,
        directory: &Directory,
        people: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<Guid, LastSeen>, EngineError> {
        let name = &directory.config.name;
        let early = self.store.early_leavers(name, people.iter().copied()).await?;
        let now = self.clock.now();
        let mut seen: BTreeMap<Guid, LastSeen> = early
            .into_iter()
            .map(|(guid, metadata)| (guid, LastSeen { metadata: Some(metadata), alive: None }))
            .collect();
        for (guid, person) in self.store.people(name, people.iter().copied().collect()).await? {
            let early = seen.remove(&guid).and_then(|early| early.metadata);
            seen.insert(guid, person.last_seen(early, now));
        }
        Ok(seen)
    }
}
