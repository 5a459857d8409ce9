//! Deliveries as operators list them, redeliver them and replay them.

use super::backlog::{AT_ONCE, BLOCKED, deliveries_of, promote};
use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::events::of_kind;
use super::rows::{Columns, Row as _, row, word_columns};
use super::sql::Sql;
use super::subscription::Subscription;
use crate::model::{EventId, Subject, Timestamp, words};

words! {
    pub enum DeliveryState {
        Pending = "pending",
        Delivered = "delivered",
        /// A dead letter.
        Failed = "failed",
    }
}

word_columns! { DeliveryState "state of a delivery"; }

/// A delivery as lists show it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The number of the event in the log.
    pub seq: u64,
    pub event: EventId,
    pub kind: String,
    pub subject: Subject,
    pub state: DeliveryState,
    pub attempts: u32,
    /// The time at which the event was written, or redelivered.
    pub first_at: Timestamp,
    /// The time of the next attempt; `None` behind an earlier delivery about the same subject.
    pub next_at: Option<Timestamp>,
    /// The time at which it was delivered or dead-lettered.
    pub done_at: Option<Timestamp>,
    /// The error of the last attempt.
    pub error: Option<String>,
    /// The end of the output of the program, or of the answer of the server.
    pub output: Option<String>,
}

row! {
    Delivery {
        seq: "d.seq",
        event: "e.id",
        kind: "e.kind",
        subject: "d.subject",
        state: "d.state",
        attempts: "d.attempts",
        first_at: "d.first_at",
        next_at: "CASE WHEN d.state = 'pending' THEN d.next_at END" as due_time,
        done_at: "d.done_at",
        error: "d.error",
        output: "d.output",
    }
}

/// The time of the next attempt, with [`BLOCKED`] as `None`.
mod due_time {
    use super::{BLOCKED, Columns, StoreError, Timestamp};

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<Option<Timestamp>, StoreError> {
        let at: Option<Timestamp> = columns.read()?;
        Ok(at.filter(|at| at.0 != BLOCKED))
    }
}

/// The deliveries to list.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    pub state: Option<DeliveryState>,
    /// The number of the event in the log.
    pub seq: Option<u64>,
    /// A type, or a family such as `user.*`.
    pub kind: Option<String>,
    pub subject: Option<String>,
    /// The earliest time of the event.
    pub since: Option<Timestamp>,
    /// Only events with a smaller number.
    pub before: Option<u64>,
}

/// The counts and the last error of a hook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryStatus {
    pub pending: u64,
    /// The number of dead letters.
    pub failed: u64,
    /// The number of deliveries since the hook was configured.
    pub delivered: u64,
    /// The time of the oldest pending delivery.
    pub oldest: Option<Timestamp>,
    pub delivered_at: Option<Timestamp>,
    pub error: Option<String>,
    pub error_at: Option<Timestamp>,
    /// The URL that answered 410 Gone.
    pub gone: Option<String>,
}

fn filtered(sql: Sql, hook: &str, filter: &DeliveryFilter) -> Sql {
    let DeliveryFilter { state, seq, kind, subject, since, before } = filter;
    let mut sql = sql.push(" WHERE d.hook = ").bind(hook);
    // The words are part of the text, so that the partial indexes are used.
    match state {
        Some(DeliveryState::Pending) => sql = sql.push(" AND d.state = 'pending'"),
        Some(DeliveryState::Failed) => sql = sql.push(" AND d.state = 'failed'"),
        Some(DeliveryState::Delivered) => sql = sql.push(" AND d.state = 'delivered'"),
        None => {}
    }
    if let Some(seq) = seq {
        sql = sql.push(" AND d.seq = ").bind(*seq);
    }
    if let Some(kind) = kind {
        sql = of_kind(sql.push(" AND "), "e.", kind);
    }
    if let Some(subject) = subject {
        sql = sql.push(" AND d.subject = ").bind(subject.as_str());
    }
    if let Some(since) = since {
        sql = sql.push(" AND e.at >= ").bind(*since);
    }
    if let Some(before) = before {
        sql = sql.push(" AND d.seq < ").bind(*before);
    }
    sql
}

impl Store {
    /// Stores or clears the URL that answered 410 Gone.
    pub async fn set_gone(&self, hook: &str, gone: Option<&str>) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let row = vec![("name", hook.into()), ("delivered", 0_i64.into()), ("gone", gone.into())];
        let sql = Sql::insert("hooks", row)
            .push(" ON CONFLICT (name) DO UPDATE SET gone = excluded.gone");
        sql.execute(&mut *writing.tx).await.doing("write the state of a hook")?;
        writing.has_news = true;
        writing.commit().await
    }

    pub async fn delivery_status(&self, hook: &str) -> Result<DeliveryStatus, StoreError> {
        let count = |state: &str| {
            Sql::new("SELECT COUNT(*) FROM deliveries WHERE state = ")
                .push(state)
                .push(" AND hook = ")
                .bind(hook)
        };
        let pending = count("'pending'").count(&self.readers).await.doing("count deliveries")?;
        let failed = count("'failed'").count(&self.readers).await.doing("count deliveries")?;
        let oldest =
            Sql::new("SELECT first_at FROM deliveries WHERE state = 'pending' AND hook = ")
                .bind(hook)
                .push(" ORDER BY seq LIMIT 1");
        let oldest = oldest
            .first(&self.readers)
            .await
            .doing("count deliveries")?
            .map(|row| Columns::of(&row).time())
            .transpose()?;
        let sql = Sql::new(
            "SELECT delivered, delivered_at, error, error_at, gone FROM hooks WHERE name = ",
        )
        .bind(hook);
        let mut status = DeliveryStatus { pending, failed, oldest, ..DeliveryStatus::default() };
        if let Some(row) = sql.first(&self.readers).await.doing("read the state of a hook")? {
            let mut c = Columns::of(&row);
            status.delivered = c.read()?;
            (status.delivered_at, status.error, status.error_at, status.gone) =
                (c.read()?, c.read()?, c.read()?, c.read()?);
        }
        Ok(status)
    }

    /// Returns the latest deliveries of a hook, newest event first.
    pub async fn deliveries(
        &self,
        hook: &str,
        filter: &DeliveryFilter,
        limit: u64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let sql =
            Sql::select::<Delivery>().push(" FROM deliveries d JOIN events e ON e.seq = d.seq");
        let sql = filtered(sql, hook, filter).push(" ORDER BY d.seq DESC LIMIT ").bind(limit);
        sql.all(&self.readers).await.doing("list deliveries")?.iter().map(Delivery::of).collect()
    }

    /// Makes ended deliveries pending again, without earlier attempts. Returns their number.
    pub async fn redeliver(
        &self,
        hook: &str,
        filter: &DeliveryFilter,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        loop {
            let mut writing = self.begin().await?;
            let sql = filtered(
                Sql::new(
                    "SELECT d.seq, d.subject FROM deliveries d JOIN events e ON e.seq = d.seq",
                ),
                hook,
                filter,
            );
            let sql = sql.push(" AND d.state <> 'pending' ORDER BY d.seq LIMIT ").bind(AT_ONCE);
            let rows = sql.all(&mut *writing.tx).await.doing("list deliveries")?;
            let found = rows.iter().map(|row| {
                let mut c = Columns::of(row);
                Ok((c.int()? as u64, c.text()?))
            });
            let found: Vec<(u64, String)> = found.collect::<Result<_, StoreError>>()?;
            if !found.is_empty() {
                let sql = Sql::new("UPDATE deliveries SET state = 'pending', attempts = 0, done_at = NULL, next_at = ").bind(BLOCKED);
                let sql = sql.push(", first_at = ").bind(now).push(" WHERE hook = ").bind(hook);
                let sql = sql.push(" AND seq IN ").list(found.iter().map(|(seq, _)| *seq));
                sql.execute(&mut *writing.tx).await.doing("make deliveries pending")?;
                promote(
                    &mut writing,
                    hook,
                    &found.iter().map(|(_, subject)| subject.as_str()).collect(),
                    now,
                )
                .await?;
            }
            writing.has_news = true;
            writing.commit().await?;
            count += found.len() as u64;
            if (found.len() as u64) < AT_ONCE {
                return Ok(count);
            }
        }
    }

    /// Makes deliveries of all subscribed events since `since` pending, delivered or not. Returns
    /// their number.
    pub async fn replay(
        &self,
        subscription: &Subscription,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let range = Sql::new(
            "SELECT COALESCE(MIN(seq), 1), COALESCE(MAX(seq), 0) FROM events WHERE at >= ",
        )
        .bind(since);
        let row = range.first(&self.readers).await.doing("read the event log")?;
        let (mut first, last) = row.map_or(Ok((1, 0)), |row| {
            let mut c = Columns::of(&row);
            Ok::<_, StoreError>((c.int()?, c.int()?))
        })?;
        let mut count = 0;
        while first <= last {
            let piece = (first + AT_ONCE as i64 - 1).min(last);
            let mut writing = self.begin().await?;
            let sql = deliveries_of(subscription, first, piece, now).push(
                " ON CONFLICT (hook, seq) DO UPDATE SET state = 'pending', attempts = 0, done_at = NULL, first_at = excluded.first_at, \
                 next_at = excluded.next_at WHERE deliveries.state <> 'pending'",
            );
            count += sql.execute(&mut *writing.tx).await.doing("write deliveries")?;
            writing.has_news = true;
            writing.commit().await?;
            first = piece + 1;
        }
        Ok(count)
    }
}
