//! The event log: append-only, numbered by the one writer, each entry chained to the one before.

use sha2::Digest as _;

use super::sql::{Columns, Sql, Value, insert};
use super::{Doing as _, GENESIS, Store, StoreError, Writing};
use crate::clock::Clock;
use crate::model::{Event, EventId, RunId, Timestamp};

/// One event as it is stored.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its place in the log, from 1, without gaps.
    pub seq: u64,
    /// The CloudEvents document.
    pub document: serde_json::Value,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// After this place.
    pub after: u64,
    /// Of this type; `user.*` for all of a noun.
    pub kind: Option<String>,
    /// About this.
    pub subject: Option<String>,
    /// Of this run.
    pub run: Option<RunId>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// At most so many, the newest ones.
    pub limit: u64,
}

/// Where the chain of the log is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainBreak {
    /// The first entry that does not follow from the one before.
    pub seq: u64,
}

fn chain(before: [u8; 32], document: &str) -> [u8; 32] {
    let mut hash = sha2::Sha256::new();
    hash.update(before);
    hash.update(document.as_bytes());
    hash.finalize().into()
}

/// Appends events within the transaction that writes what they tell.
pub(super) async fn append(writing: &mut Writing<'_>, events: &[Event], clock: &Clock) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let last =
        Sql::new("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").first(&mut *writing.tx).await.doing("read the event log")?;
    let (mut seq, mut hash) = match last {
        Some(row) => {
            let mut c = Columns::of(&row);
            (c.int()?, c.hash()?)
        }
        None => (0, GENESIS),
    };
    let mut rows: Vec<Vec<Value>> = Vec::with_capacity(events.len());
    for event in events {
        let id = EventId(clock.new_id());
        let document = event.document(id).to_string();
        seq += 1;
        hash = chain(hash, &document);
        rows.push(vec![
            seq.into(),
            id.0.into(),
            event.kind.into(),
            event.subject.0.as_str().into(),
            event.cause.run.map(|r| r.0).into(),
            event.cause.at.into(),
            document.into(),
            hash.into(),
        ]);
    }
    insert(&mut writing.tx, "INSERT INTO events (seq, id, kind, subject, run_id, at, document, hash)", "", rows).await.doing("write events")
}

impl Store {
    /// How many there have been: the number of the newest one.
    pub async fn event_count(&self) -> Result<u64, StoreError> {
        let last = Sql::new("SELECT seq FROM events ORDER BY seq DESC LIMIT 1").first(&self.readers).await.doing("read the event log")?;
        last.map_or(Ok(0), |row| Ok(Columns::of(&row).int()? as u64))
    }

    /// Writes events that no change of a user causes.
    pub async fn record(&self, events: &[Event], clock: &Clock) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        append(&mut writing, events, clock).await?;
        writing.commit().await
    }

    /// The events that pass the filter, oldest first: the newest ones, or the first ones after a place.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        let EventFilter { after, kind, subject, run, since, limit } = filter;
        let mut sql = Sql::new("SELECT seq, document FROM events WHERE seq > ").bind(*after);
        sql = match kind.as_deref().map(|k| (k, k.strip_suffix('*'))) {
            Some((_, Some(""))) | None => sql,
            // "user." < every "user.x" < "user/"
            Some((_, Some(noun))) => {
                sql.push(" AND kind >= ").bind(noun).push(" AND kind < ").bind(format!("{}/", noun.trim_end_matches('.')))
            }
            Some((kind, None)) => sql.push(" AND kind = ").bind(kind),
        };
        if let Some(subject) = subject {
            sql = sql.push(" AND subject = ").bind(subject.as_str());
        }
        if let Some(run) = run {
            sql = sql.push(" AND run_id = ").bind(run.0);
        }
        if let Some(since) = since {
            sql = sql.push(" AND at >= ").bind(*since);
        }
        // Whoever follows the log reads on from where it was; whoever looks wants the newest.
        let order = if *after > 0 { " ORDER BY seq LIMIT " } else { " ORDER BY seq DESC LIMIT " };
        let mut rows = sql.push(order).bind(*limit).all(&self.readers).await.doing("list events")?;
        if *after == 0 {
            rows.reverse();
        }
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok(StoredEvent { seq: c.int()? as u64, document: c.json("event")? })
            })
            .collect()
    }

    /// Follows the whole chain; returns how many entries it has, or where it breaks.
    pub async fn verify_events(&self) -> Result<Result<u64, ChainBreak>, StoreError> {
        let (mut seq, mut hash) = (0_u64, GENESIS);
        loop {
            let sql = Sql::new("SELECT seq, document, hash FROM events WHERE seq > ").bind(seq).push(" ORDER BY seq LIMIT 5000");
            let rows = sql.all(&self.readers).await.doing("read the event log")?;
            if rows.is_empty() {
                return Ok(Ok(seq));
            }
            for row in rows {
                let mut c = Columns::of(&row);
                let at = c.int()? as u64;
                hash = chain(hash, &c.text()?);
                if at != seq + 1 || hash != c.hash()? {
                    return Ok(Err(ChainBreak { seq: seq + 1 }));
                }
                seq = at;
            }
        }
    }
}
