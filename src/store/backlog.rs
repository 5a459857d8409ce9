//! The backlog: one row for each hook and event, written in the transaction of the event.
//!
//! For each hook and subject, only the oldest pending delivery is due. The later ones have the time
//! [`BLOCKED`] until it is delivered or dead-lettered. A worker therefore reads the events of one
//! subject in order.

use std::collections::BTreeSet;

use super::database::Writing;
use super::error::{Doing as _, StoreError};
use super::events::of_kinds;
use super::sql::Sql;
use super::subscription::Subscription;
use crate::model::Timestamp;

/// The due time of a delivery behind an earlier one about the same subject.
pub(super) const BLOCKED: i64 = i64::MAX;

/// Rows that one transaction changes: a run must not wait for long.
pub(super) const AT_ONCE: u64 = 1_000;

/// The type of the event about dead letters.
///
/// A dead letter of such an event has no event. No hook gets the event about its own dead letters.
/// Otherwise two failing hooks would feed each other for ever.
pub(super) const DEAD_LETTERED: &str = "hook.dead_lettered";

/// Returns the insertion of the deliveries of a hook for the events from `first` to `last`.
pub(super) fn deliveries_of(
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
    let sql = subscribed(sql.bind(first).push(" AND "), "b.", hook, events)
        .push(") THEN ")
        .bind(BLOCKED)
        .push(" ELSE ")
        .bind(now);
    let sql = sql
        .push(" END FROM events e WHERE e.seq >= ")
        .bind(first)
        .push(" AND e.seq <= ")
        .bind(last)
        .push(" AND ");
    subscribed(sql, "e.", hook, events)
}

/// Appends the condition that the hook subscribes to an event.
fn subscribed(sql: Sql, alias: &str, hook: &str, events: &[String]) -> Sql {
    let sql = of_kinds(sql, alias, events)
        .push(" AND NOT (")
        .push(alias)
        .push("kind = ")
        .bind(DEAD_LETTERED);
    sql.push(" AND ").push(alias).push("subject = ").bind(hook).push(")")
}

/// Makes the oldest pending delivery of each subject due.
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
        .doing("make the next deliveries due")?;
    Ok(())
}

/// Returns the statement of [`promote`].
pub(super) fn promotion(hook: &str, subjects: &BTreeSet<&str>, now: Timestamp) -> Sql {
    let sql = Sql::new("UPDATE deliveries SET next_at = ")
        .bind(now)
        .push(" WHERE state = 'pending' AND hook = ")
        .bind(hook);
    let sql = sql.push(" AND seq IN (SELECT MIN(d.seq) FROM deliveries d WHERE d.state = 'pending' AND d.hook = ").bind(hook);
    // The first subject twice: for a list of one, SQLite would scan all deliveries of the hook.
    let sql = sql.push(" AND d.subject IN ").list(subjects.iter().chain(subjects.first()).copied());
    sql.push(" GROUP BY d.subject HAVING MIN(d.next_at) = ").bind(BLOCKED).push(")")
}
