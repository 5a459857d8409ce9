//! Attempts: reads due deliveries, and records the result of each attempt.

use std::collections::BTreeSet;

use serde_json::json;

use super::backlog::{AT_ONCE, BLOCKED, DEAD_LETTERED, promote};
use super::database::{Commits, Store, Writing};
use super::deliveries::DeliveryState;
use super::error::{Doing as _, StoreError};
use super::log_keys::LogHead;
use super::recording::append;
use super::rows::{Columns, Row as _, row};
use super::sql::Sql;
use crate::clock::Clock;
use crate::model::{Actor, Event, EventCause, EventId, Subject, Timestamp};
use crate::telemetry::Delivered;

/// A delivery that is due.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    /// The number of the event in the log.
    pub seq: u64,
    pub event: EventId,
    pub kind: String,
    pub subject: Subject,
    /// The CloudEvents document of the log.
    pub document: String,
    /// The head of the log after this event.
    pub head: LogHead,
    /// The number of earlier attempts.
    pub attempts: u32,
    /// The time at which the event was written, or redelivered.
    pub first_at: Timestamp,
}

row! {
    DueDelivery {
        seq: "d.seq",
        event: "e.id",
        kind: "e.kind",
        subject: "d.subject",
        document: "e.document",
        attempts: "d.attempts",
        first_at: "d.first_at",
        head: "e.seq, e.hash" as log_head,
    }
}

/// A log head in two columns.
mod log_head {
    use super::{Columns, LogHead, StoreError};

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<LogHead, StoreError> {
        Ok(LogHead { seq: columns.read()?, hash: columns.read()? })
    }
}

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The number of the event in the log.
    pub seq: u64,
    pub kind: String,
    pub subject: Subject,
    pub result: AttemptResult,
    pub error: Option<String>,
    /// The end of the output of the program, or of the answer of the server.
    pub output: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    Delivered,
    RetryAt(Timestamp),
    DeadLetter,
}

/// The number of delivered rows that are kept for each hook, for `hook deliveries`.
const KEPT: u64 = 10_000;

/// Older rows are deleted after this many deliveries.
const PRUNED_EVERY: u64 = 1_000;

/// The number of events that a dead-letter event lists.
const LISTED: usize = 20;

/// Returns the event about dead letters; `None` if all of them are such events themselves.
fn dead_letters(hook: &str, dead: &[(u64, &str)], error: &str, now: Timestamp) -> Option<Event> {
    let seqs: Vec<u64> =
        dead.iter().filter(|(_, kind)| *kind != DEAD_LETTERED).map(|(seq, _)| *seq).collect();
    if seqs.is_empty() {
        return None;
    }
    let cause = EventCause { actor: Actor::rosterd(), run: None, account: None, at: now };
    let after = json!({ "count": seqs.len(), "events": seqs.iter().take(LISTED).collect::<Vec<_>>(), "error": error });
    Some(Event::about(DEAD_LETTERED, hook, &cause, serde_json::Value::Null, after))
}

impl Store {
    /// Returns the due deliveries of a hook, longest due first.
    pub async fn due(
        &self,
        hook: &str,
        now: Timestamp,
        limit: u64,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        let sql = Sql::select::<DueDelivery>()
            .push(" FROM deliveries d JOIN events e ON e.seq = d.seq")
            .push(" WHERE d.state = 'pending' AND d.hook = ")
            .bind(hook)
            .push(" AND d.next_at <= ")
            .bind(now);
        let rows = sql
            .push(" ORDER BY d.next_at, d.seq LIMIT ")
            .bind(limit)
            .all(&self.readers)
            .await
            .doing("read due deliveries")?;
        rows.iter().map(DueDelivery::of).collect()
    }

    /// Returns the next time at which a delivery of a hook becomes due.
    pub async fn next_due(
        &self,
        hook: &str,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let sql = Sql::new("SELECT next_at FROM deliveries WHERE state = 'pending' AND hook = ")
            .bind(hook);
        let sql = sql
            .push(" AND next_at > ")
            .bind(now)
            .push(" AND next_at < ")
            .bind(BLOCKED)
            .push(" ORDER BY next_at LIMIT 1");
        let row = sql.first(&self.readers).await.doing("read due deliveries")?;
        row.map(|row| Columns::of(&row).time()).transpose()
    }

    /// Notes that a node attempts deliveries until a time. No other node begins them before, nor a later one
    /// about the same subject.
    pub async fn claim_deliveries(
        &self,
        hook: &str,
        seqs: &[u64],
        node: &str,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        if seqs.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin_to(Commits::Lightly).await?;
        let sql = Sql::new("UPDATE deliveries SET next_at = ").bind(until);
        let sql = sql.push(", claimed_by = ").bind(node).push(" WHERE hook = ").bind(hook);
        let sql = sql.push(" AND state = 'pending' AND seq IN ").list(seqs.iter().copied());
        sql.execute(&mut *writing.tx).await.doing("claim deliveries")?;
        writing.commit().await
    }

    /// Makes the deliveries due that a former term or process of this node attempted. It has ended.
    pub async fn release_deliveries(&self, node: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("UPDATE deliveries SET claimed_by = NULL, next_at = ").bind(now);
        let sql = sql.push(" WHERE state = 'pending' AND claimed_by = ").bind(node);
        sql.execute(&mut *writing.tx).await.doing("release deliveries")?;
        writing.commit().await
    }

    /// Records attempts, and makes the deliveries behind them due.
    ///
    /// Deliveries are committed without waiting for the disk. A power cut loses those of the last
    /// moment, which are then delivered again. Dead letters are committed safely.
    pub async fn record_attempts(
        &self,
        hook: &str,
        attempts: &[Attempt],
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let now = clock.now();
        let of = |result: fn(&AttemptResult) -> bool| {
            attempts.iter().filter(move |attempt| result(&attempt.result))
        };
        let dead: Vec<(u64, &str)> =
            of(|s| *s == AttemptResult::DeadLetter).map(|s| (s.seq, s.kind.as_str())).collect();
        let mut writing =
            self.begin_to(if dead.is_empty() { Commits::Lightly } else { Commits::Safely }).await?;
        let quiet: Vec<u64> = of(|s| *s == AttemptResult::Delivered)
            .filter(|s| s.output.is_none())
            .map(|s| s.seq)
            .collect();
        if !quiet.is_empty() {
            let sql = Sql::new(
                "UPDATE deliveries SET state = 'delivered', attempts = attempts + 1, error = NULL, output = NULL, done_at = ",
            );
            let sql =
                sql.bind(now).push(" WHERE hook = ").bind(hook).push(" AND seq IN ").list(quiet);
            sql.execute(&mut *writing.tx).await.doing("record deliveries")?;
        }
        for one in
            attempts.iter().filter(|a| a.result != AttemptResult::Delivered || a.output.is_some())
        {
            let (state, next_at, done_at) = match one.result {
                AttemptResult::Delivered => (DeliveryState::Delivered, now, Some(now)),
                AttemptResult::RetryAt(at) => (DeliveryState::Pending, at, None),
                AttemptResult::DeadLetter => (DeliveryState::Failed, now, Some(now)),
            };
            let sql = Sql::new("UPDATE deliveries SET attempts = attempts + 1, state = ")
                .bind(state.as_str());
            let sql = sql
                .push(", claimed_by = NULL, next_at = ")
                .bind(next_at)
                .push(", done_at = ")
                .bind(done_at);
            let sql = sql
                .push(", error = ")
                .bind(one.error.as_deref())
                .push(", output = ")
                .bind(one.output.as_deref());
            let sql = sql.push(" WHERE hook = ").bind(hook).push(" AND seq = ").bind(one.seq);
            sql.execute(&mut *writing.tx).await.doing("record an attempt")?;
        }
        let done: BTreeSet<&str> =
            of(|s| !matches!(s, AttemptResult::RetryAt(_))).map(|s| s.subject.0.as_str()).collect();
        promote(&mut writing, hook, &done, now).await?;
        let delivered = of(|s| *s == AttemptResult::Delivered).count() as u64;
        let error = attempts.iter().rev().find_map(|s| s.error.as_deref());
        let total = count_delivered(&mut writing, hook, delivered, error, now).await?;
        if total / PRUNED_EVERY != (total - delivered) / PRUNED_EVERY {
            prune(&mut writing, hook).await?;
        }
        let event = dead_letters(hook, &dead, error.unwrap_or_default(), now);
        append(&mut writing, event.as_slice(), clock).await?;
        writing.commit().await?;
        for one in attempts {
            self.counters.delivery(
                hook,
                match one.result {
                    AttemptResult::Delivered => Delivered::Accepted,
                    AttemptResult::RetryAt(_) => Delivered::Retried,
                    AttemptResult::DeadLetter => Delivered::DeadLettered,
                },
            );
        }
        Ok(())
    }

    /// Dead-letters the pending deliveries of a hook that are older than `before`, or all of them,
    /// except those under way. Returns their number.
    pub async fn dead_letter(
        &self,
        hook: &str,
        before: Option<Timestamp>,
        under_way: &[u64],
        reason: &str,
        clock: &Clock,
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        loop {
            let sql = Sql::new(
                "SELECT d.seq, e.kind, d.subject FROM deliveries d JOIN events e ON e.seq = d.seq WHERE d.state = 'pending'",
            );
            let mut sql = sql.push(" AND d.hook = ").bind(hook);
            if let Some(before) = before {
                sql = sql.push(" AND d.first_at < ").bind(before);
            }
            if !under_way.is_empty() {
                sql = sql.push(" AND d.seq NOT IN ").list(under_way.iter().copied());
            }
            // May scan the whole backlog: use a reader, not the writer connection.
            let rows = sql
                .push(" ORDER BY d.seq LIMIT ")
                .bind(AT_ONCE)
                .all(&self.readers)
                .await
                .doing("read old deliveries")?;
            let old = rows.iter().map(|row| {
                let mut c = Columns::of(row);
                Ok((c.int()? as u64, c.text()?, c.text()?))
            });
            let old: Vec<(u64, String, String)> = old.collect::<Result<_, StoreError>>()?;
            if old.is_empty() {
                return Ok(count);
            }
            let mut writing = self.begin().await?;
            let now = clock.now();
            let sql = Sql::new("UPDATE deliveries SET state = 'failed', done_at = ")
                .bind(now)
                .push(", error = COALESCE(error, ")
                .bind(reason);
            let sql = sql
                .push(") WHERE state = 'pending' AND hook = ")
                .bind(hook)
                .push(" AND seq IN ")
                .list(old.iter().map(|(seq, ..)| *seq));
            sql.execute(&mut *writing.tx).await.doing("dead-letter deliveries")?;
            promote(
                &mut writing,
                hook,
                &old.iter().map(|(_, _, subject)| subject.as_str()).collect(),
                now,
            )
            .await?;
            let dead: Vec<(u64, &str)> =
                old.iter().map(|(seq, kind, _)| (*seq, kind.as_str())).collect();
            append(&mut writing, dead_letters(hook, &dead, reason, now).as_slice(), clock).await?;
            writing.commit().await?;
            count += old.len() as u64;
            for _ in &old {
                self.counters.delivery(hook, Delivered::DeadLettered);
            }
        }
    }
}

/// Adds to the number of deliveries of a hook, and stores its last error. Returns the new number.
async fn count_delivered(
    writing: &mut Writing<'_>,
    hook: &str,
    delivered: u64,
    error: Option<&str>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let row = vec![
        ("name", hook.into()),
        ("delivered", delivered.into()),
        ("delivered_at", (delivered > 0).then_some(now).into()),
        ("error", error.into()),
        ("error_at", error.map(|_| now).into()),
    ];
    let sql = Sql::insert("hooks", row).push(
        " ON CONFLICT (name) DO UPDATE SET delivered = hooks.delivered + excluded.delivered, \
         delivered_at = COALESCE(excluded.delivered_at, hooks.delivered_at), \
         error = COALESCE(excluded.error, hooks.error), \
         error_at = COALESCE(excluded.error_at, hooks.error_at) RETURNING delivered",
    );
    sql.count(&mut *writing.tx).await.doing("count deliveries")
}

/// Deletes all but the latest delivered rows of a hook.
async fn prune(writing: &mut Writing<'_>, hook: &str) -> Result<(), StoreError> {
    let sql = Sql::new("DELETE FROM deliveries WHERE state = 'delivered' AND hook = ").bind(hook);
    let sql = sql
        .push(
            " AND seq < (SELECT d.seq FROM deliveries d WHERE d.state = 'delivered' AND d.hook = ",
        )
        .bind(hook);
    let sql = sql.push(" ORDER BY d.seq DESC LIMIT 1 OFFSET ").bind(KEPT).push(")");
    sql.execute(&mut *writing.tx).await.doing("delete old deliveries")?;
    Ok(())
}
