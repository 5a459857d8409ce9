//! Recording: appends events to the log and to the backlog of each hook, in one transaction.
//!
//! The one writer numbers the events and chains each to the one before.

use super::backlog::deliveries_of;
use super::compared;
use super::database::{Store, Writing};
use super::error::{Doing as _, StoreError};
use super::event_watch::means;
use super::events::beginning;
use super::followers::make_due;
use super::follows;
use super::log_keys::{IS_KEYED, LogHead};
use super::rows::Columns;
use super::sql::{Fields, Sql, insert};
use crate::clock::Clock;
use crate::model::{Brake, Event, EventId, Timestamp};

/// Appends events in the transaction that writes the change they report.
pub(super) async fn append(
    writing: &mut Writing<'_>,
    events: &[Event],
    clock: &Clock,
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let last = Sql::new("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")
        .first(&mut *writing.tx)
        .await
        .doing("read the event log")?;
    let (mut seq, mut hash): (i64, [u8; 32]) = match last {
        Some(row) => {
            let mut c = Columns::of(&row);
            (c.read()?, c.read()?)
        }
        None => beginning(&mut *writing.tx).await?,
    };
    mark_keyed(writing, seq as u64 + 1).await?;
    if let Some(noted) = writing.noted.take() {
        compared::check(&mut writing.tx, noted, LogHead { seq: seq as u64, hash }).await?;
    }
    seq = seq.max(writing.number_after as i64);
    let first = seq + 1;
    let mut rows: Vec<Fields> = Vec::with_capacity(events.len());
    for event in events {
        if !writing.actors.contains(&event.cause.actor) {
            writing.actors.push(event.cause.actor.clone());
        }
        let id = EventId(clock.new_id());
        let document = event.document(id, means(&event.cause.actor));
        seq += 1;
        writing.added.brakes.extend(Brake::told_by(seq as u64, event.kind, &document));
        hash = writing.keys.link(hash, &document);
        rows.push(vec![
            ("seq", seq.into()),
            ("id", id.0.into()),
            ("kind", event.kind.into()),
            ("subject", event.subject.0.as_str().into()),
            ("run_id", event.cause.run.map(|run| run.0).into()),
            ("at", event.cause.at.into()),
            ("document", document.into()),
            ("hash", hash.into()),
        ]);
    }
    insert(&mut writing.tx, "events", "", rows).await.doing("write events")?;
    writing.added.head = Some(LogHead { seq: seq as u64, hash });
    writing.has_news = true;
    if std::mem::take(&mut writing.is_of_other_node)
        && let Some(follows) = follows::of_leader(&mut writing.tx).await?
    {
        writing.follows = std::sync::Arc::new(follows);
    }
    make_due(writing, events, first, clock.now()).await?;
    enqueue(writing, first, seq, clock.now()).await
}

/// Notes that the entry with this number is chained with a key. An entry without one, after those that
/// have one, would break the chain for good, and is refused.
async fn mark_keyed(writing: &mut Writing<'_>, seq: u64) -> Result<(), StoreError> {
    let is_keyed = Sql::new(IS_KEYED).count(&mut *writing.tx).await;
    let is_keyed = is_keyed.doing("read how its log is chained")? > 0;
    match (writing.keys.is_empty(), is_keyed) {
        (true, true) => Err(StoreError::Keyless),
        (false, false) => {
            let row = vec![("name", "keyed".into()), ("value", seq.into())];
            let noted = Sql::insert("counters", row).execute(&mut *writing.tx).await;
            noted.map(drop).doing("note how its log is chained")
        }
        _ => Ok(()),
    }
}

/// Writes the deliveries of the events from `first` to `last`.
async fn enqueue(
    writing: &mut Writing<'_>,
    first: i64,
    last: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let follows = std::sync::Arc::clone(&writing.follows);
    for subscription in &follows.hooks {
        deliveries_of(subscription, first, last, now)
            .execute(&mut *writing.tx)
            .await
            .doing("write deliveries")?;
    }
    Ok(())
}

impl Store {
    /// Records events that belong to no change of a user.
    pub async fn record(&self, events: &[Event], clock: &Clock) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        append(&mut writing, events, clock).await?;
        writing.commit().await
    }

    /// Records events on whatever node they occur.
    pub async fn record_anywhere(&self, events: &[Event], clock: &Clock) -> Result<(), StoreError> {
        let mut writing = self.begin_anyone().await?;
        append(&mut writing, events, clock).await?;
        writing.commit().await
    }
}
