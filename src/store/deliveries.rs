//! Deliveries as operators see them, and what they have made of them again.

use sqlx::any::AnyRow;

use super::events::of_kind;
use super::outbox::{AT_ONCE, Subscription, WAITING, promote, rows_of};
use super::sql::{Columns, Sql, Value};
use super::{Doing as _, Store, StoreError};
use crate::model::{EventId, Timestamp};

/// One delivery as it is shown.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event's place in the log.
    pub seq: u64,
    /// The event's id.
    pub event: EventId,
    /// Its type.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it is, or was, to be delivered.
    pub first_at: Timestamp,
    /// When it is tried next; none while an earlier one about the same subject is not done.
    pub next_at: Option<Timestamp>,
    /// When it was delivered or given up.
    pub done_at: Option<Timestamp>,
    /// What went wrong at the last attempt.
    pub error: Option<String>,
    /// The last of what the hook printed, or answered.
    pub output: Option<String>,
}

/// Which deliveries of a hook.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// `pending`, `delivered` or `failed`.
    pub state: Option<String>,
    /// Of the event at this place.
    pub seq: Option<u64>,
    /// Of events of this type; `user.*` for all of a noun.
    pub kind: Option<String>,
    /// About this.
    pub subject: Option<String>,
    /// Of events not before this.
    pub since: Option<Timestamp>,
}

/// How a hook's deliveries stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookStanding {
    /// Deliveries that are not done.
    pub pending: u64,
    /// Deliveries that were given up.
    pub failed: u64,
    /// Deliveries that were done, in all.
    pub delivered: u64,
    /// Since when the oldest that is not done is to be delivered.
    pub oldest: Option<Timestamp>,
    /// When one was last done.
    pub delivered_at: Option<Timestamp>,
    /// What went wrong last.
    pub error: Option<String>,
    /// When.
    pub error_at: Option<Timestamp>,
    /// The address that said it is gone for good.
    pub gone: Option<String>,
}

fn filtered(sql: Sql, hook: &str, filter: &DeliveryFilter) -> Sql {
    let DeliveryFilter { state, seq, kind, subject, since } = filter;
    let mut sql = sql.push(" WHERE d.hook = ").bind(hook);
    match state.as_deref() {
        // The words stand in the text, so that the indexes over them are used.
        Some("pending") => sql = sql.push(" AND d.state = 'pending'"),
        Some("failed") => sql = sql.push(" AND d.state = 'failed'"),
        Some(_) => sql = sql.push(" AND d.state = 'delivered'"),
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
    sql
}

impl Store {
    /// Remembers that an address has said it is gone for good, or that this is to be forgotten.
    pub async fn note_gone(&self, hook: &str, gone: Option<&str>) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let row: Vec<Value> = vec![hook.into(), 0_i64.into(), gone.into()];
        let sql = Sql::new("INSERT INTO hooks (name, delivered, gone) VALUES ").list(row);
        let sql = sql.push(" ON CONFLICT (name) DO UPDATE SET gone = excluded.gone");
        sql.execute(&mut *writing.tx).await.doing("write how a hook stands")?;
        writing.has_news = true;
        writing.commit().await
    }

    /// How a hook's deliveries stand.
    pub async fn hook_standing(&self, hook: &str) -> Result<HookStanding, StoreError> {
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
        let mut standing = HookStanding { pending, failed, oldest, ..HookStanding::default() };
        if let Some(row) = sql.first(&self.readers).await.doing("read how a hook stands")? {
            let mut c = Columns::of(&row);
            standing.delivered = c.int()? as u64;
            (standing.delivered_at, standing.error, standing.error_at, standing.gone) =
                (c.maybe_time()?, c.maybe_text()?, c.maybe_time()?, c.maybe_text()?);
        }
        Ok(standing)
    }

    /// The latest deliveries of a hook, newest event first.
    pub async fn deliveries(
        &self,
        hook: &str,
        filter: &DeliveryFilter,
        limit: u64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let sql = Sql::new(
            "SELECT d.seq, e.id, e.kind, d.subject, d.state, d.attempts, d.first_at, d.next_at, d.done_at, d.error, d.output \
             FROM deliveries d JOIN events e ON e.seq = d.seq",
        );
        let sql = filtered(sql, hook, filter).push(" ORDER BY d.seq DESC LIMIT ").bind(limit);
        let delivery = |row: &AnyRow| {
            let mut c = Columns::of(row);
            let (seq, event, kind, subject, state) =
                (c.int()? as u64, EventId(c.uuid()?), c.text()?, c.text()?, c.text()?);
            let (attempts, first_at, next_at) = (c.int()? as u32, c.time()?, c.time()?);
            let next_at = Some(next_at).filter(|at| state == "pending" && at.0 != WAITING);
            let (done_at, error, output) = (c.maybe_time()?, c.maybe_text()?, c.maybe_text()?);
            Ok(Delivery {
                seq,
                event,
                kind,
                subject,
                state,
                attempts,
                first_at,
                next_at,
                done_at,
                error,
                output,
            })
        };
        sql.all(&self.readers).await.doing("list deliveries")?.iter().map(delivery).collect()
    }

    /// Puts deliveries that ended back to be delivered, as if they had never been tried; returns how many.
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
                let sql = Sql::new("UPDATE deliveries SET state = 'pending', attempts = 0, done_at = NULL, next_at = ").bind(WAITING);
                let sql = sql.push(", first_at = ").bind(now).push(" WHERE hook = ").bind(hook);
                let sql = sql.push(" AND seq IN ").list(found.iter().map(|(seq, _)| *seq));
                sql.execute(&mut *writing.tx).await.doing("put deliveries back")?;
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

    /// Has a hook told of everything it wants to know since then, whether it has been told before or not; returns how
    /// many deliveries that makes.
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
            let sql = rows_of(subscription, first, piece, now).push(
                " ON CONFLICT (hook, seq) DO UPDATE SET state = 'pending', attempts = 0, done_at = NULL, first_at = excluded.first_at, \
                 next_at = excluded.next_at WHERE deliveries.state <> 'pending'",
            );
            count +=
                sql.execute(&mut *writing.tx).await.doing("write what a hook is to be told")?;
            writing.has_news = true;
            writing.commit().await?;
            first = piece + 1;
        }
        Ok(count)
    }
}
