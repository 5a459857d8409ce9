//! The outbox: what hooks are to be told, a row for each hook and event, written in the transaction of the event.
//!
//! Of each hook and subject only the first row that is not done is due; those behind it wait with [`WAITING`] as their
//! time, until it is done or given up. So whoever delivers asks for what is due, and gets it in order.
//!
//! That something was delivered is written without waiting for the disk: a crash of rosterd loses none of it, a power
//! cut the last moment's, which is then delivered again. What is dead-lettered is written as safely as any event.

use std::collections::BTreeSet;

use serde_json::json;
use sqlx::any::AnyRow;

use super::events::of_kind;
use super::sql::{Columns, Sql, Value};
use super::{Commits, Doing as _, LogHead, Store, StoreError, Writing, events};
use crate::clock::Clock;
use crate::model::{Actor, Event, EventCause, EventId, Timestamp};
use crate::telemetry::Delivered;

/// What a hook wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The hook.
    pub hook: String,
    /// Types of events, families (`user.*`) or all (`*`).
    pub events: Vec<String>,
}

/// A delivery that is due.
#[derive(Debug, Clone)]
pub struct Due {
    /// The event's place in the log.
    pub seq: u64,
    /// The event's id.
    pub event: EventId,
    /// Its type.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// The CloudEvents document, as it is in the log.
    pub document: String,
    /// The log's head after this event.
    pub head: LogHead,
    /// How often it has been tried.
    pub attempts: u32,
    /// Since when it is to be delivered.
    pub first_at: Timestamp,
}

/// What came of one attempt.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The event's place in the log.
    pub seq: u64,
    /// Its type.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// What is to be written of the delivery.
    pub settlement: Settlement,
    /// What went wrong.
    pub error: Option<String>,
    /// The last of what the hook printed, or answered.
    pub output: Option<String>,
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It is done.
    Delivered,
    /// It is tried again.
    Again(Timestamp),
    /// It is given up.
    Dead,
}

/// The time of what waits behind an earlier delivery about the same subject.
pub(super) const WAITING: i64 = i64::MAX;

/// Deliveries that are done are kept for `hook deliveries`, the latest of them so many for each hook.
const KEPT: u64 = 10_000;

/// The others are removed whenever so many more were done.
const PRUNED_EVERY: u64 = 1_000;

/// Rows that are given up, put back or made anew in one transaction: a sync must not wait for long.
pub(super) const AT_ONCE: u64 = 1_000;

/// Events of which a dead-letter event tells the places.
const TOLD: usize = 20;

/// The type of the event that tells of dead letters. None is written of such an event itself, nor is a hook told of its
/// own: two hooks that both fail must not feed each other for ever.
const DEAD_LETTERED: &str = "hook.dead_lettered";

/// Writes what hooks are to be told of events that were just written, the ones from `first` to `last`.
pub(super) async fn enqueue(
    writing: &mut Writing<'_>,
    first: i64,
    last: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let subscriptions = std::sync::Arc::clone(&writing.subscriptions);
    for subscription in subscriptions.iter() {
        let sql = rows_of(subscription, first, last, now);
        sql.execute(&mut *writing.tx).await.doing("write what hooks are to be told")?;
    }
    Ok(())
}

/// `INSERT` of the rows of a hook for the events between two places.
pub(super) fn rows_of(
    Subscription { hook, events }: &Subscription,
    first: i64,
    last: i64,
    now: Timestamp,
) -> Sql {
    let sql = Sql::new(
        "INSERT INTO deliveries (hook, seq, subject, state, attempts, first_at, next_at) SELECT ",
    )
    .bind(hook.as_str());
    let sql = sql.push(", e.seq, e.subject, 'pending', 0, ").bind(now);
    let sql = sql.push(", CASE WHEN EXISTS (SELECT 1 FROM deliveries d WHERE d.state = 'pending' AND d.hook = ").bind(hook.as_str());
    let sql = sql
        .push(" AND d.subject = e.subject) OR EXISTS (SELECT 1 FROM events b WHERE b.subject = e.subject AND b.seq < e.seq AND b.seq >= ");
    let sql = wanted(sql.bind(first).push(" AND "), "b.", hook, events)
        .push(") THEN ")
        .bind(WAITING)
        .push(" ELSE ")
        .bind(now);
    let sql = sql
        .push(" END FROM events e WHERE e.seq >= ")
        .bind(first)
        .push(" AND e.seq <= ")
        .bind(last)
        .push(" AND ");
    wanted(sql, "e.", hook, events)
}

/// That an event is one of those that the hook wants.
fn wanted(sql: Sql, alias: &str, hook: &str, events: &[String]) -> Sql {
    let mut sql = sql.push("(");
    for (at, kind) in events.iter().enumerate() {
        sql = of_kind(sql.push(if at > 0 { " OR " } else { "" }), alias, kind);
    }
    let sql = sql.push(") AND NOT (").push(alias).push("kind = ").bind(DEAD_LETTERED);
    sql.push(" AND ").push(alias).push("subject = ").bind(hook).push(")")
}

/// Of these subjects, makes the first delivery due where none is.
pub(super) async fn promote(
    writing: &mut Writing<'_>,
    hook: &str,
    subjects: &BTreeSet<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if subjects.is_empty() {
        return Ok(());
    }
    promotion(hook, subjects, now)
        .execute(&mut *writing.tx)
        .await
        .doing("write what is to be delivered next")?;
    Ok(())
}

pub(super) fn promotion(hook: &str, subjects: &BTreeSet<&str>, now: Timestamp) -> Sql {
    let sql = Sql::new("UPDATE deliveries SET next_at = ")
        .bind(now)
        .push(" WHERE state = 'pending' AND hook = ")
        .bind(hook);
    let sql = sql.push(" AND seq IN (SELECT MIN(d.seq) FROM deliveries d WHERE d.state = 'pending' AND d.hook = ").bind(hook);
    // The first one twice: for a single subject SQLite would look through all that the hook was ever told.
    let sql = sql.push(" AND d.subject IN ").list(subjects.iter().chain(subjects.first()).copied());
    sql.push(" GROUP BY d.subject HAVING MIN(d.next_at) = ").bind(WAITING).push(")")
}

/// The event that tells that deliveries were given up; none when all of them were of such events.
fn dead_letters(hook: &str, dead: &[(u64, &str)], error: &str, now: Timestamp) -> Option<Event> {
    let told: Vec<u64> =
        dead.iter().filter(|(_, kind)| *kind != DEAD_LETTERED).map(|(seq, _)| *seq).collect();
    if told.is_empty() {
        return None;
    }
    let cause = EventCause { actor: Actor::rosterd(), run: None, account: None, at: now };
    let after = json!({ "count": told.len(), "events": told.iter().take(TOLD).collect::<Vec<_>>(), "error": error });
    Some(Event::about(DEAD_LETTERED, hook, &cause, serde_json::Value::Null, after))
}

impl Store {
    /// From now on, what these hooks want to be told is written with each event.
    pub fn subscribe(&self, subscriptions: Vec<Subscription>) {
        *self.subscriptions.write().unwrap_or_else(std::sync::PoisonError::into_inner) =
            subscriptions.into();
    }

    /// What a hook is to be told now: at most so many, what has been due longest first.
    pub async fn due(
        &self,
        hook: &str,
        now: Timestamp,
        limit: u64,
    ) -> Result<Vec<Due>, StoreError> {
        let sql = Sql::new(
            "SELECT d.seq, e.id, e.kind, d.subject, e.document, d.attempts, d.first_at, e.hash FROM deliveries d JOIN events e ON e.seq = d.seq",
        );
        let sql = sql
            .push(" WHERE d.state = 'pending' AND d.hook = ")
            .bind(hook)
            .push(" AND d.next_at <= ")
            .bind(now);
        let rows = sql
            .push(" ORDER BY d.next_at, d.seq LIMIT ")
            .bind(limit)
            .all(&self.readers)
            .await
            .doing("read what is to be delivered")?;
        let due = |row: &AnyRow| {
            let mut c = Columns::of(row);
            let (seq, event, kind, subject, document) =
                (c.int()? as u64, EventId(c.uuid()?), c.text()?, c.text()?, c.text()?);
            let (attempts, first_at) = (c.int()? as u32, c.time()?);
            Ok(Due {
                seq,
                event,
                kind,
                subject,
                document,
                attempts,
                first_at,
                head: LogHead { seq, hash: c.hash()? },
            })
        };
        rows.iter().map(due).collect()
    }

    /// When something is due of a hook that is not yet.
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
            .bind(WAITING)
            .push(" ORDER BY next_at LIMIT 1");
        let row = sql.first(&self.readers).await.doing("read what is to be delivered")?;
        row.map(|row| Columns::of(&row).time()).transpose()
    }

    /// Writes what came of attempts, and makes due what waited for them.
    pub async fn settle(
        &self,
        hook: &str,
        settled: &[Settled],
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let now = clock.now();
        let of = |settlement: fn(&Settlement) -> bool| {
            settled.iter().filter(move |s| settlement(&s.settlement))
        };
        let dead: Vec<(u64, &str)> =
            of(|s| *s == Settlement::Dead).map(|s| (s.seq, s.kind.as_str())).collect();
        let mut writing =
            self.begin_to(if dead.is_empty() { Commits::Lightly } else { Commits::Safely }).await?;
        let quiet: Vec<u64> = of(|s| *s == Settlement::Delivered)
            .filter(|s| s.output.is_none())
            .map(|s| s.seq)
            .collect();
        if !quiet.is_empty() {
            let sql = Sql::new(
                "UPDATE deliveries SET state = 'delivered', attempts = attempts + 1, error = NULL, output = NULL, done_at = ",
            );
            let sql =
                sql.bind(now).push(" WHERE hook = ").bind(hook).push(" AND seq IN ").list(quiet);
            sql.execute(&mut *writing.tx).await.doing("write that something was delivered")?;
        }
        for one in
            settled.iter().filter(|s| s.settlement != Settlement::Delivered || s.output.is_some())
        {
            let (state, next_at, done_at) = match one.settlement {
                Settlement::Delivered => ("delivered", now, Some(now)),
                Settlement::Again(at) => ("pending", at, None),
                Settlement::Dead => ("failed", now, Some(now)),
            };
            let sql =
                Sql::new("UPDATE deliveries SET attempts = attempts + 1, state = ").bind(state);
            let sql = sql.push(", next_at = ").bind(next_at).push(", done_at = ").bind(done_at);
            let sql = sql
                .push(", error = ")
                .bind(one.error.as_deref())
                .push(", output = ")
                .bind(one.output.as_deref());
            let sql = sql.push(" WHERE hook = ").bind(hook).push(" AND seq = ").bind(one.seq);
            sql.execute(&mut *writing.tx).await.doing("write what came of a delivery")?;
        }
        let done: BTreeSet<&str> =
            of(|s| !matches!(s, Settlement::Again(_))).map(|s| s.subject.as_str()).collect();
        promote(&mut writing, hook, &done, now).await?;
        let delivered = of(|s| *s == Settlement::Delivered).count() as u64;
        let error = settled.iter().rev().find_map(|s| s.error.as_deref());
        let total = note(&mut writing, hook, delivered, error, now).await?;
        if total / PRUNED_EVERY != (total - delivered) / PRUNED_EVERY {
            prune(&mut writing, hook).await?;
        }
        let told = dead_letters(hook, &dead, error.unwrap_or_default(), now);
        events::append(&mut writing, told.as_slice(), clock).await?;
        writing.commit().await?;
        for one in settled {
            self.counters.delivery(
                hook,
                match one.settlement {
                    Settlement::Delivered => Delivered::Accepted,
                    Settlement::Again(_) => Delivered::Retried,
                    Settlement::Dead => Delivered::DeadLettered,
                },
            );
        }
        Ok(())
    }

    /// Gives up what a hook has not been told since `before`, but for what is under way; returns how many there were.
    pub async fn give_up(
        &self,
        hook: &str,
        before: Timestamp,
        under_way: &[u64],
        why: &str,
        clock: &Clock,
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        loop {
            let sql = Sql::new(
                "SELECT d.seq, e.kind, d.subject FROM deliveries d JOIN events e ON e.seq = d.seq WHERE d.state = 'pending'",
            );
            let mut sql =
                sql.push(" AND d.hook = ").bind(hook).push(" AND d.first_at < ").bind(before);
            if !under_way.is_empty() {
                sql = sql.push(" AND d.seq NOT IN ").list(under_way.iter().copied());
            }
            // All that waits may be looked through for it, which is no affair of the writer's.
            let rows = sql
                .push(" ORDER BY d.seq LIMIT ")
                .bind(AT_ONCE)
                .all(&self.readers)
                .await
                .doing("read what is too old")?;
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
                .bind(why);
            let sql = sql
                .push(") WHERE state = 'pending' AND hook = ")
                .bind(hook)
                .push(" AND seq IN ")
                .list(old.iter().map(|(seq, ..)| *seq));
            sql.execute(&mut *writing.tx).await.doing("give deliveries up")?;
            promote(
                &mut writing,
                hook,
                &old.iter().map(|(_, _, subject)| subject.as_str()).collect(),
                now,
            )
            .await?;
            let dead: Vec<(u64, &str)> =
                old.iter().map(|(seq, kind, _)| (*seq, kind.as_str())).collect();
            events::append(&mut writing, dead_letters(hook, &dead, why, now).as_slice(), clock)
                .await?;
            writing.commit().await?;
            count += old.len() as u64;
            for _ in &old {
                self.counters.delivery(hook, Delivered::DeadLettered);
            }
        }
    }
}

/// Notes how a hook does; returns how much it has been told in all.
async fn note(
    writing: &mut Writing<'_>,
    hook: &str,
    delivered: u64,
    error: Option<&str>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let row: Vec<Value> = vec![
        hook.into(),
        delivered.into(),
        (delivered > 0).then_some(now).into(),
        error.into(),
        error.map(|_| now).into(),
    ];
    let sql = Sql::new("INSERT INTO hooks (name, delivered, delivered_at, error, error_at) VALUES ").list(row).push(
        " ON CONFLICT (name) DO UPDATE SET delivered = hooks.delivered + excluded.delivered, \
         delivered_at = COALESCE(excluded.delivered_at, hooks.delivered_at), error = COALESCE(excluded.error, hooks.error), \
         error_at = COALESCE(excluded.error_at, hooks.error_at) RETURNING delivered",
    );
    sql.count(&mut *writing.tx).await.doing("write how a hook stands")
}

/// Removes all but the latest deliveries that are done.
async fn prune(writing: &mut Writing<'_>, hook: &str) -> Result<(), StoreError> {
    let sql = Sql::new("DELETE FROM deliveries WHERE state = 'delivered' AND hook = ").bind(hook);
    let sql = sql
        .push(
            " AND seq < (SELECT d.seq FROM deliveries d WHERE d.state = 'delivered' AND d.hook = ",
        )
        .bind(hook);
    let sql = sql.push(" ORDER BY d.seq DESC LIMIT 1 OFFSET ").bind(KEPT).push(")");
    sql.execute(&mut *writing.tx).await.doing("forget old deliveries")?;
    Ok(())
}
