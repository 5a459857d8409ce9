//! Commits that a database has lost.
//!
//! A database on a server loses commits by a failover to a standby that lagged behind, or when an older
//! state of it is restored. Its log then lacks the noted head. A file has no such standby, and a
//! backup of it is marked as a copy.
//!
//! The id in the store says which log that is. A dump has it, wherever it is restored.
#![cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a file loses no commits"))]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{AnyConnection, Row as _};
use uuid::Uuid;

use super::backup::mark_restored;
use super::compared::{Compared, compare, end};
use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::head::{Added, Seen, Watched};
use super::limits::{CONNECT, within};
use super::log_keys::LogHead;
use super::recording::append;
use super::rows::Columns;
use super::sql::Sql;
use crate::clock::Clock;
use crate::model::{Brake, BrakeTurn, Event};

/// The interval at which the noted head is saved.
const SAVED_EVERY: Duration = Duration::from_secs(5);

/// The counter whose value is the number of the event about the last loss.
const LOSS: &str = "loss";

/// Events that were committed, and that the store lacks.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The first of them; `None` where others have their numbers now.
    pub first: Option<u64>,
    /// The last one that was noted.
    pub last: LogHead,
    /// The lost brakes that nobody has changed since, the newest one of each user and directory.
    pub brakes: Vec<Brake>,
}

impl Store {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the head in a file of this folder, too. The notes of a former process there are read with the
    /// id of the store.
    pub fn note_head_in(&self, folder: &Path) {
        if self.is_remote() {
            self.seen().folder = Some(folder.to_owned());
        }
    }

    /// Returns the id of a store on a server, when it was read.
    pub(super) fn id(&self) -> Option<Uuid> {
        self.seen().store
    }

    /// Reads the id of the store. Another one than before ends the process, as a log without the noted
    /// head does.
    pub(super) async fn identify(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let sql = Sql::new("SELECT id FROM identity");
        let row = sql.first(conn).await.doing("read its id")?;
        let row = row.ok_or(StoreError::Corrupt { what: "table identity without a row" })?;
        let store = Columns::of(&row).uuid()?;
        let mut seen = self.seen();
        let is_first = seen.store.is_none();
        seen.identify(store)?;
        drop(seen);
        if is_first && let Some(sentence) = self.notes_of_others() {
            tracing::warn!("{sentence}");
        }
        Ok(())
    }

    /// Returns a sentence about notes of this machine that are about another store.
    pub fn notes_of_others(&self) -> Option<String> {
        let seen = self.seen();
        let store = seen.store?;
        let files: Vec<String> = seen
            .others
            .iter()
            .filter(|path| path.exists())
            .map(|path| path.display().to_string())
            .collect();
        (!files.is_empty()).then(|| format!(
            "this machine has worked with another store than {store}, which is in the database now: if that is an error, correct store.url and restart rosterd; if not, rm {}",
            files.join(" ")
        ))
    }

    /// Returns the noted head, if each transaction is compared with it.
    pub(super) fn watched_head(&self) -> Option<LogHead> {
        let seen = self.seen();
        seen.head.filter(|_| seen.watched == Watched::Yes)
    }

    /// Notes what was committed. A brake is saved at once.
    pub(super) fn note_added(&self, added: Added) {
        let Some(head) = added.head.filter(|_| self.is_remote()) else { return };
        let is_brake = !added.brakes.is_empty();
        let mut seen = self.seen();
        // A node that waits for its turn commits brakes, too.
        let is_next = seen.head.is_some_and(|noted| noted.seq < head.seq);
        let is_noted = match seen.watched {
            Watched::Yes => true,
            Watched::No => is_next && !seen.is_missed,
            Watched::Settling => false,
        };
        if is_noted {
            seen.note(head, added.brakes);
            Self::save_head(&mut seen, is_brake);
        }
    }

    /// Saves the noted head for the next process.
    pub(super) fn save_noted_head(&self) {
        Self::save_head(&mut self.seen(), true);
    }

    fn save_head(seen: &mut Seen, is_due: bool) {
        let is_due = is_due || seen.saved_at.is_none_or(|at| at.elapsed() >= SAVED_EVERY);
        if is_due
            && !seen.is_saved
            && let Err(error) = seen.save()
        {
            seen.saved_at = Some(Instant::now());
            tracing::warn!(
                "head of the event log was not saved: {error}; commits that the database loses while rosterd is stopped will not be noticed"
            );
        }
    }

    /// Notes the end of the log, whoever wrote it. A log without the noted head ends a process that
    /// has worked with it: what that has in memory is about another store.
    pub(super) async fn watch_log(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let found = async {
            self.note_standbys(conn).await?;
            self.identify(conn).await?;
            let (noted, is_watched, read_to) = {
                let seen = self.seen();
                (seen.head, seen.watched == Watched::Yes, seen.read_to)
            };
            if let Some(noted) = noted
                && compare(conn, noted).await? != Compared::Whole
            {
                self.seen().is_missed = true;
                return if is_watched { Err(StoreError::Rewound) } else { Ok(None) };
            }
            self.seen().is_missed = false;
            let Some(head) = end(conn).await? else { return Ok(None) };
            // Its own commits are ahead of those of other nodes that it has not read.
            let read_to = read_to.or(noted.map(|noted| noted.seq)).unwrap_or(head.seq);
            let brakes = brakes_after(conn, read_to).await?;
            Ok(Some((noted, head, brakes)))
        };
        match found.await {
            Ok(Some((noted, head, brakes))) => {
                let is_brake = !brakes.is_empty();
                let mut seen = self.seen();
                // A commit of this process may have gone further meanwhile.
                let further = seen.head.filter(|_| seen.head != noted).unwrap_or(head);
                seen.note(further, brakes);
                seen.read_to = Some(head.seq);
                Self::save_head(&mut seen, is_brake);
                Ok(())
            }
            Ok(None) => Ok(()),
            // A new store has no tables yet.
            #[cfg(feature = "postgres")]
            Err(StoreError::Database { source, .. })
                if super::error::sqlstate(&source).as_deref() == Some("42P01") =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn note_standbys(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let asked = Sql::new("SELECT current_setting('synchronous_standby_names')").first(conn);
        let row = within(CONNECT, asked).await.doing("read its settings")?;
        let names: Option<String> =
            row.map(|row| row.try_get(0)).transpose().doing("read its settings")?;
        self.seen().is_synchronous = names.map(|names| !names.trim().is_empty());
        Ok(())
    }

    /// Returns a sentence about a database server whose failover can lose commits.
    pub fn warning(&self) -> Option<String> {
        let is_doubted = self.seen().is_synchronous == Some(false) && !self.is_durable();
        let warning = "PostgreSQL has no synchronous standby (synchronous_standby_names): a failover can lose the last commits, such as a suspension by an operator; if it loses none all the same, as on Aurora, write durable-failover = true below [store]";
        is_doubted.then(|| warning.to_owned())
    }

    /// Returns whether the store lacks what this process has seen committed.
    pub fn lacks_commits(&self) -> bool {
        self.seen().is_missed
    }

    /// Returns whether an event tells of the missing commits.
    pub async fn is_loss_told(&self) -> Result<bool, StoreError> {
        let Some(noted) = self.seen().head else { return Ok(true) };
        let mut conn = self.readers.acquire().await.doing("read the event log")?;
        Ok(matches!(compare(&mut conn, noted).await?, Compared::Whole | Compared::Told))
    }

    /// Returns what was committed, and is missing.
    pub async fn lost_commits(&self) -> Result<Option<Loss>, StoreError> {
        if !self.is_remote() {
            return Ok(None);
        }
        let mut conn = self.readers.acquire().await.doing("read the event log")?;
        self.identify(&mut conn).await?;
        let (noted, brakes) = {
            let mut seen = self.seen();
            seen.watched = Watched::Settling;
            (seen.head, seen.brakes.clone())
        };
        let Some(noted) = noted else { return Ok(None) };
        if compare(&mut conn, noted).await? == Compared::Whole {
            return Ok(None);
        }
        // The newest brake of each subject counts. Those of other nodes are noted later.
        let mut brakes = Vec::from(brakes);
        brakes.sort_by_key(|brake| brake.seq);
        let newest: BTreeMap<String, Brake> =
            brakes.into_iter().map(|brake| (brake.subject.clone(), brake)).collect();
        let mut lost = Vec::new();
        for brake in newest.into_values() {
            let is_on =
                matches!(brake.turn, BrakeTurn::Suspended { .. } | BrakeTurn::Paused { .. });
            if is_on && is_lost(&mut conn, &brake).await? {
                lost.push(brake);
            }
        }
        Ok(Some(Loss { first: None, last: noted, brakes: lost }))
    }

    /// Tells of a loss: numbers go on after the lost ones, and all runs only plan, as those of a
    /// restored backup do. Returns false if an event tells of it already.
    pub async fn tell_loss(
        &self,
        loss: &mut Loss,
        event: impl FnOnce(&Loss) -> Event + Send,
        clock: &Clock,
    ) -> Result<bool, StoreError> {
        let mut writing = self.begin().await?;
        loss.first = match compare(&mut writing.tx, loss.last).await? {
            Compared::Whole | Compared::Told => return Ok(false),
            Compared::Behind(end) => Some(end.seq + 1),
            Compared::Other => None,
        };
        let event = event(loss);
        mark_restored(&mut writing.tx).await.doing("mark its state")?;
        writing.number_after = loss.last.seq;
        append(&mut writing, &[event], clock).await?;
        let seq = writing.added.head.map_or(loss.last.seq, |head| head.seq);
        let sql = Sql::new("INSERT INTO counters (name, value) VALUES (").bind(LOSS).push(", ");
        let sql = sql.bind(seq).push(") ON CONFLICT (name) DO UPDATE SET value = excluded.value");
        sql.execute(&mut *writing.tx).await.doing("note a loss")?;
        writing.commit().await?;
        Ok(true)
    }

    /// Compares each transaction with the head from now on.
    pub async fn trust_log(&self) -> Result<(), StoreError> {
        if self.is_remote() {
            let head = self.log_head().await?;
            let mut seen = self.seen();
            seen.note(head, []);
            (seen.watched, seen.is_missed) = (Watched::Yes, false);
            seen.read_to = Some(head.seq);
            Self::save_head(&mut seen, true);
        }
        Ok(())
    }

    /// Returns the number of the event about a loss that no operator has accepted.
    pub async fn loss(&self) -> Result<Option<u64>, StoreError> {
        let sql = Sql::new("SELECT value FROM counters WHERE name = ").bind(LOSS);
        let row = sql.first(&self.readers).await.doing("read a loss")?;
        row.map(|row| Columns::of(&row).read()).transpose()
    }

    /// Notes that an operator knows of a loss, with its event.
    pub async fn accept_loss(&self, event: Event, clock: &Clock) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("DELETE FROM counters WHERE name = ").bind(LOSS);
        sql.execute(&mut *writing.tx).await.doing("accept a loss")?;
        append(&mut writing, &[event], clock).await?;
        writing.commit().await
    }
}

/// Returns the brakes in the entries after a number.
async fn brakes_after(conn: &mut AnyConnection, seq: u64) -> Result<Vec<Brake>, StoreError> {
    let sql = Sql::new("SELECT seq, document FROM events WHERE seq > ").bind(seq).push(
        " AND kind IN ('user.suspended', 'user.updated', 'user.reactivated', 'directory.paused', 'directory.resumed') ORDER BY seq DESC LIMIT 1000",
    );
    let rows = sql.all(conn).await.doing("read the event log")?;
    let brake = |row| {
        let mut c = Columns::of(row);
        let seq = c.read()?;
        Ok(Brake::of(seq, &c.json("event")?))
    };
    let brakes: Result<Vec<Option<Brake>>, StoreError> = rows.iter().rev().map(brake).collect();
    Ok(brakes?.into_iter().flatten().collect())
}

/// Returns whether the event of a brake is missing, and nothing is told about its subject since.
async fn is_lost(conn: &mut AnyConnection, brake: &Brake) -> Result<bool, StoreError> {
    let sql = Sql::new("SELECT 1 FROM events WHERE (seq = ").bind(brake.seq).push(" AND id = ");
    let sql = sql.bind(brake.event).push(") OR (seq >= ").bind(brake.seq).push(" AND subject = ");
    let sql = sql.bind(brake.subject.as_str());
    let sql = sql.push(" AND kind IN ('user.suspended', 'user.reactivated', 'directory.paused', 'directory.resumed')) LIMIT 1");
    Ok(sql.first(conn).await.doing("read the event log")?.is_none())
}
