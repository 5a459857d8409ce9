//! Stored instants in the future, written while the clock was ahead, and their correction.
//!
//! The time of a past event becomes now. A due time keeps its distance from the instant at which it
//! was decided.

use std::time::Duration;

use super::backlog::BLOCKED;
use super::database::{Store, Writing};
use super::directories::{DirectoryState, LONGEST_BIND_PAUSE, select};
use super::error::{Doing as _, StoreError};
use super::rows::{Columns, Row as _};
use super::sql::Sql;
use super::value::json;
use crate::model::{Cause, Causes, DirectoryName, Timestamp, User};

/// Columns with the time of something that has happened.
pub(super) const HAPPENED: &[(&str, &[&str])] = &[
    ("accounts", &["created_at"]),
    ("changes", &["at"]),
    ("counterparts", &["due_since", "failing_since", "sent_at", "seen_at", "found_at"]),
    ("claims", &["claimed_at", "verified_at", "checked_at"]),
    ("deliveries", &["first_at", "done_at"]),
    ("early_leavers", &["noted_at"]),
    ("last_sign_ins", &["at"]),
    ("hooks", &["delivered_at", "error_at", "removed_at"]),
    ("people", &["quarantined_at", "seen_at", "behind_since", "unseen_since"]),
    ("plans", &["created_at", "updated_at", "approved_at", "announced_at"]),
    ("runs", &["started_at", "finished_at"]),
    ("grace_periods", &["first_seen"]),
    ("scheduled_suspensions", &["created_at"]),
    ("targets", &["plan_only_since", "paused_at", "last_attempt", "last_success"]),
    ("users", &["invited_at", "joined_at", "created_at", "updated_at", "noted_at"]),
];

/// Columns with a due time. An early attempt or recheck does no harm.
pub(super) const DUE: &[(&str, &[&str])] = &[
    ("counterparts", &["due_at"]),
    ("deliveries", &["next_at"]),
    ("grace_periods", &["due"]),
    ("pending_people", &["quiet_until"]),
];

/// Columns of [`DirectoryState`], corrected as values, and columns that their reader corrects.
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
    ("targets", &["paused_until"]),
];

/// Columns with instants that the directory or an operator chose, which are not corrected.
#[cfg(test)]
pub(super) const CHOSEN: &[(&str, &[&str])] =
    &[("people", &["expires"]), ("scheduled_suspensions", &["at"])];

/// Columns that repeat a chained document. A correction would look like an edit of the log.
#[cfg(test)]
pub(super) const CHAINED: &[(&str, &[&str])] = &[("events", &["at"])];

/// Instants no further ahead than this are being written at this moment.
const TOLERANCE: Duration = Duration::from_secs(2);

/// The stored instants in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FutureInstants {
    pub count: u64,
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
    /// Returns the state with every future instant corrected.
    fn corrected(&self, now: Timestamp) -> Self {
        let mut state = self.clone();
        if let (Some(until), Some(at)) =
            (state.paused_until, state.paused_at.filter(|at| *at > now))
        {
            state.paused_until = Some(now.plus(until.since(at)));
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
        for checkpoint in state.checkpoint.iter_mut().chain(state.followed.values_mut()) {
            (checkpoint.at, checkpoint.full_at) =
                (checkpoint.at.min(now), checkpoint.full_at.min(now));
        }
        let latest = now.plus(LONGEST_BIND_PAUSE);
        if let Some(refused) = &mut state.bind_refused {
            refused.retry_at = refused.retry_at.map(|at| at.min(latest));
        }
        state
    }
}

/// Returns the causes with every future beginning corrected.
fn corrected_causes(causes: &Causes, now: Timestamp) -> Causes {
    let causes: Vec<Cause> =
        causes.iter().map(|cause| Cause { since: cause.since.min(now), ..cause.clone() }).collect();
    causes.into()
}

impl Store {
    /// Returns the instants after `now` in the columns of [`HAPPENED`] and the directories' state.
    pub async fn future_instants(
        &self,
        now: Timestamp,
    ) -> Result<Option<FutureInstants>, StoreError> {
        let now = now.plus(TOLERANCE);
        let mut found = None;
        for (table, columns) in HAPPENED {
            for column in *columns {
                let sql = Sql::new(&format!(
                    "SELECT COUNT({column}), MAX({column}) FROM {table} WHERE {column} > "
                ))
                .bind(now);
                if let Some(row) =
                    sql.first(&self.readers).await.doing("read instants in the future")?
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
            .doing("read instants in the future")?;
        for row in &rows {
            let name = Columns::of(row).read::<DirectoryName>()?;
            let state = self.directory(&name).await?;
            let latest = [
                state.paused_at,
                state.server_changed_at,
                state.last_attempt,
                state.last_success,
                state.last_complete_read,
            ];
            let checkpoints = state.checkpoint.iter().chain(state.followed.values());
            let checkpoints = checkpoints.flat_map(|p| [p.at, p.full_at]);
            let latest =
                latest.into_iter().flatten().chain(checkpoints).filter(|at| *at > now).max();
            FutureInstants::add(
                &mut found,
                u64::from(state != state.corrected(now)),
                latest.unwrap_or(now),
            );
        }
        Ok(found)
    }

    /// Corrects every stored instant in the future.
    ///
    /// The caller has confirmed `now` with a server, because a clock that is behind would move correct
    /// instants.
    pub async fn correct_instants(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        correct_values(&mut writing, now).await?;
        let happened = HAPPENED.iter().map(|of| (of, i64::MAX));
        for ((table, columns), before) in happened.chain(DUE.iter().map(|of| (of, BLOCKED))) {
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
        let name = Columns::of(row).read::<DirectoryName>()?;
        let found =
            select(&name).first(&mut *writing.tx).await.doing("read a directory's state")?;
        let Some(state) = found.as_ref().map(DirectoryState::of).transpose()? else { continue };
        let corrected = state.corrected(now);
        if corrected != state {
            corrected
                .write(&name)
                .execute(&mut *writing.tx)
                .await
                .doing("write a directory's state")?;
        }
    }
    let sql = Sql::new("UPDATE targets SET paused_until = paused_until - paused_at + ").bind(now);
    let sql = sql.push(" WHERE paused_at > ").bind(now);
    sql.execute(&mut *writing.tx).await.doing("correct the pauses of targets")?;
    // A user with a cause in the future was last written in the future, too.
    let sql = Sql::select::<User>()
        .push(" FROM users WHERE status = 'suspended' AND updated_at > ")
        .bind(now);
    for row in &sql.all(&mut *writing.tx).await.doing("correct instants in the future")? {
        let User { id, causes, .. } = User::of(row)?;
        let causes = json(&corrected_causes(&causes, now));
        let sql =
            Sql::new("UPDATE users SET causes = ").bind(causes).push(" WHERE id = ").bind(id.0);
        sql.execute(&mut *writing.tx).await.doing("correct instants in the future")?;
    }
    Ok(())
}
