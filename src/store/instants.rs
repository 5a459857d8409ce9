//! Instants that decide something and lie in the future, because the clock was ahead when they were written.
//!
//! They are corrected here and nowhere else. What has happened has happened by now; what is to happen later keeps its
//! distance from the instant at which that was decided.

use std::time::Duration;

use super::outbox::WAITING;
use super::sql::{Columns, Sql};
use super::{Doing as _, Store, StoreError, Writing, users};
use crate::model::{Cause, Causes, DirectoryName, Timestamp, User};

use super::directories::DirectoryState;

/// Columns that say when something happened.
pub(super) const HAPPENED: &[(&str, &[&str])] = &[
    ("accounts", &["created_at"]),
    ("changes", &["at"]),
    ("claims", &["claimed_at", "verified_at", "checked_at"]),
    ("deliveries", &["first_at", "done_at"]),
    ("hooks", &["delivered_at", "error_at", "removed_at"]),
    ("people", &["quarantined_at", "seen_at"]),
    ("plans", &["created_at", "updated_at", "approved_at", "announced_at"]),
    ("runs", &["started_at", "finished_at"]),
    ("grace_periods", &["first_seen"]),
    ("users", &["invited_at", "joined_at", "created_at", "updated_at"]),
];

/// Columns that say when something is to be tried or looked at again: doing that early does no harm.
pub(super) const DUE: &[(&str, &[&str])] =
    &[("deliveries", &["next_at"]), ("grace_periods", &["due"])];

/// Columns of [`DirectoryState`], corrected as values; and those that whoever counts by them corrects.
#[cfg(test)]
pub(super) const AS_VALUES: &[(&str, &[&str])] = &[
    (
        "directories",
        &[
            "paused_until",
            "paused_at",
            "server_changed_at",
            "plan_only_since",
            "last_attempt",
            "last_success",
            "last_complete_read",
        ],
    ),
    ("sign_in_attempts", &["at"]),
];

/// Columns that the directory says: not ours to correct.
#[cfg(test)]
pub(super) const OF_THE_DIRECTORY: &[(&str, &[&str])] = &[("people", &["expires"])];

/// Columns that repeat what a chained document says: a correction would read as an edit of the log.
#[cfg(test)]
pub(super) const CHAINED: &[(&str, &[&str])] = &[("events", &["at"])];

/// An instant that is further ahead than this was written by another time.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Instants that lay in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FutureInstants {
    /// How many.
    pub count: u64,
    /// The latest of them.
    pub latest: Timestamp,
}

impl FutureInstants {
    fn add(into: &mut Option<Self>, count: u64, latest: Timestamp) {
        if count > 0 {
            let known = into.unwrap_or(Self { count: 0, latest });
            *into = Some(Self { count: known.count + count, latest: known.latest.max(latest) });
        }
    }
}

impl DirectoryState {
    /// Returns the state with every instant that lies in the future corrected.
    fn corrected(&self, now: Timestamp) -> Self {
        let mut state = self.clone();
        if let (Some(until), Some(at)) =
            (state.paused_until, state.paused_at.filter(|at| *at > now))
        {
            // A pause without an end has none.
            state.paused_until =
                Some(if until == Timestamp(i64::MAX) { until } else { now.plus(until.since(at)) });
        }
        let happened = [
            &mut state.paused_at,
            &mut state.server_changed_at,
            &mut state.plan_only_since,
            &mut state.last_attempt,
            &mut state.last_success,
            &mut state.last_complete_read,
        ];
        for at in happened {
            *at = at.map(|at| at.min(now));
        }
        if let Some(checkpoint) = &mut state.checkpoint {
            (checkpoint.at, checkpoint.full_at) =
                (checkpoint.at.min(now), checkpoint.full_at.min(now));
        }
        let latest = now.plus(super::directories::LONGEST_BIND_PAUSE);
        if let Some(refused) = &mut state.bind_refused {
            refused.retry_at = refused.retry_at.map(|at| at.min(latest));
        }
        state
    }
}

/// Returns the causes with every beginning that lies in the future corrected.
fn corrected_causes(causes: &Causes, now: Timestamp) -> Causes {
    let causes: Vec<Cause> =
        causes.iter().map(|cause| Cause { since: cause.since.min(now), ..cause.clone() }).collect();
    causes.into()
}

impl Store {
    /// Returns the instants that happened after `now`, as far as columns of their own say so.
    pub async fn future_instants(
        &self,
        now: Timestamp,
    ) -> Result<Option<FutureInstants>, StoreError> {
        // What is written at this moment is not meant.
        let now = now.plus(TOLERANCE);
        let mut found = None;
        for (table, columns) in HAPPENED {
            for column in *columns {
                let sql = Sql::new(&format!(
                    "SELECT COUNT({column}), MAX({column}) FROM {table} WHERE {column} > "
                ))
                .bind(now);
                if let Some(row) =
                    sql.first(&self.readers).await.doing("look for instants in the future")?
                {
                    let mut c = Columns::of(&row);
                    FutureInstants::add(
                        &mut found,
                        c.int()? as u64,
                        c.maybe_time()?.unwrap_or(now),
                    );
                }
            }
        }
        let rows = Sql::new("SELECT name FROM directories")
            .all(&self.readers)
            .await
            .doing("look for instants in the future")?;
        for row in &rows {
            let name = Columns::of(row).word("directory name", DirectoryName::parse)?;
            let state = self.directory(&name).await?;
            let latest = [
                state.paused_at,
                state.server_changed_at,
                state.last_attempt,
                state.last_success,
                state.last_complete_read,
            ];
            let checkpoint = state.checkpoint.iter().flat_map(|p| [p.at, p.full_at]);
            let latest =
                latest.into_iter().flatten().chain(checkpoint).filter(|at| *at > now).max();
            FutureInstants::add(
                &mut found,
                u64::from(state != state.corrected(now)),
                latest.unwrap_or(now),
            );
        }
        Ok(found)
    }

    /// Corrects every stored instant that lies in the future. The caller has a witness that `now` is right: a clock that is
    /// behind would make everything else look old.
    pub async fn correct_instants(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        correct_values(&mut writing, now).await?;
        let happened = HAPPENED.iter().map(|of| (of, i64::MAX));
        for ((table, columns), before) in happened.chain(DUE.iter().map(|of| (of, WAITING))) {
            for column in *columns {
                let sql = Sql::new(&format!("UPDATE {table} SET {column} = "))
                    .bind(now)
                    .push(&format!(" WHERE {column} > "))
                    .bind(now);
                let sql = sql.push(&format!(" AND {column} < ")).bind(before);
                sql.execute(&mut *writing.tx).await.doing("correct instants in the future")?;
            }
        }
        writing.has_news = true;
        writing.commit().await
    }
}

/// Corrects the instants that are part of a value.
async fn correct_values(writing: &mut Writing<'_>, now: Timestamp) -> Result<(), StoreError> {
    let rows = Sql::new("SELECT name FROM directories")
        .all(&mut *writing.tx)
        .await
        .doing("correct instants in the future")?;
    for row in &rows {
        let name = Columns::of(row).word("directory name", DirectoryName::parse)?;
        let found = super::directories::select(&name)
            .first(&mut *writing.tx)
            .await
            .doing("read a directory's state")?;
        let Some(state) = found.as_ref().map(DirectoryState::read).transpose()? else { continue };
        let corrected = state.corrected(now);
        if corrected != state {
            corrected
                .write(&name)
                .execute(&mut *writing.tx)
                .await
                .doing("write a directory's state")?;
        }
    }
    // A user whose cause begins in the future was written then.
    let sql = Sql::new("SELECT ")
        .push(users::COLUMNS)
        .push(" FROM users WHERE status = 'suspended' AND updated_at > ")
        .bind(now);
    for row in &sql.all(&mut *writing.tx).await.doing("correct instants in the future")? {
        let User { id, causes, .. } = users::user(row)?;
        let causes = super::sql::json(&corrected_causes(&causes, now));
        let sql =
            Sql::new("UPDATE users SET causes = ").bind(causes).push(" WHERE id = ").bind(id.0);
        sql.execute(&mut *writing.tx).await.doing("correct instants in the future")?;
    }
    Ok(())
}
