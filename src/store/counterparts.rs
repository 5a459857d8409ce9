//! Counterparts: the account of each user at each target, and the work that is due for it.

use std::collections::{BTreeMap, BTreeSet};

use super::changes::Recorded;
use super::counterpart_rows::{COLUMNS, fields};
use super::database::{Store, Writing};
use super::error::{Doing as _, StoreError};
use super::recording::append;
use super::rows::{Columns, Row as _};
use super::sql::{Sql, insert, pieces};
use crate::clock::Clock;
use crate::model::{
    ChangeOutcome, CounterpartRow, CounterpartState, DirectoryName, Due, Event, Holdable as _,
    Lane, ProposedStep, RemoteId, RunId, StepKind, TargetName, Timestamp, UserId, words,
};

/// Steps that are written in one transaction.
const BATCH: usize = 500;

/// The number of counterparts of a target in each state that operators see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CounterpartCounts {
    pub active: u64,
    pub inactive: u64,
    pub pending: u64,
    pub quarantined: u64,
    /// The time of the change of the oldest pending deactivation.
    pub oldest_deactivation: Option<Timestamp>,
}

words! {
    /// The counterparts to list.
    pub enum CounterpartFilter {
        /// Work is due.
        Pending = "pending",
        /// The user cannot be provisioned, or another client changed the account.
        Quarantined = "quarantined",
        Drifted = "drifted",
        Inactive = "inactive",
    }
}

/// The steps for one user that a run or an operator admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    pub kinds: BTreeSet<StepKind>,
    /// The account of a suspended user is taken out, before the accounts of others.
    pub is_leaver: bool,
}

/// The writer of a settled counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettledBy {
    Push,
    Run,
}

/// The result of the work on one counterpart.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The row as the work found it.
    pub before: CounterpartRow,
    pub after: CounterpartRow,
    pub events: Vec<Event>,
    pub by: SettledBy,
}

/// Writes rows whole.
async fn write(
    writing: &mut Writing<'_>,
    target: &TargetName,
    rows: &[CounterpartRow],
) -> Result<(), StoreError> {
    let tail = COLUMNS.split(", ").skip(1).map(|name| format!("{name} = excluded.{name}"));
    let tail = format!(
        "ON CONFLICT (target, user_id) DO UPDATE SET {}",
        tail.collect::<Vec<_>>().join(", ")
    );
    let rows = rows.iter().map(|row| fields(target, row));
    insert(&mut writing.tx, "counterparts", &tail, rows).await.doing("write counterparts")
}

impl Store {
    fn of_target(target: &TargetName) -> Sql {
        Sql::select::<CounterpartRow>()
            .push(" FROM counterparts WHERE target = ")
            .bind(target.as_str())
    }

    async fn read_counterparts(&self, sql: Sql) -> Result<Vec<CounterpartRow>, StoreError> {
        let rows = sql.all(&self.readers).await.doing("read counterparts")?;
        rows.iter().map(CounterpartRow::of).collect()
    }

    /// Returns the counterparts of the lanes up to `last` that are due, leavers first.
    pub async fn due_counterparts(
        &self,
        target: &TargetName,
        now: Timestamp,
        last: Lane,
        limit: u64,
    ) -> Result<Vec<CounterpartRow>, StoreError> {
        let sql = Self::of_target(target).push(" AND due_at <= ").bind(now);
        let sql = sql.push(" AND lane <= ").bind(last as u64);
        self.read_counterparts(sql.push(" ORDER BY lane, due_at LIMIT ").bind(limit)).await
    }

    /// Returns the time of the next work of a target that is due after a time.
    pub async fn next_counterpart(
        &self,
        target: &TargetName,
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let sql = Sql::new("SELECT MIN(due_at) FROM counterparts WHERE due_at > ").bind(after);
        let sql = sql.push(" AND target = ").bind(target.as_str());
        let row = sql.first(&self.readers).await.doing("read due work")?;
        row.map_or(Ok(None), |row| Columns::of(&row).maybe_time())
    }

    pub async fn counterpart(
        &self,
        target: &TargetName,
        user: UserId,
    ) -> Result<Option<CounterpartRow>, StoreError> {
        let sql = Self::of_target(target).push(" AND user_id = ").bind(user.0);
        Ok(self.read_counterparts(sql).await?.pop())
    }

    /// Returns the counterparts of a user at all targets.
    pub async fn counterparts_of(
        &self,
        user: UserId,
    ) -> Result<Vec<(TargetName, CounterpartRow)>, StoreError> {
        let sql = Sql::select::<CounterpartRow>()
            .push(", target FROM counterparts WHERE user_id = ")
            .bind(user.0)
            .push(" ORDER BY target");
        let rows = sql.all(&self.readers).await.doing("read counterparts")?;
        let of = |row| {
            let mut c = Columns::of(row);
            let counterpart = CounterpartRow::next(&mut c)?;
            let target = TargetName::parse(&c.text()?);
            Ok((target.ok_or(StoreError::Corrupt { what: "target name" })?, counterpart))
        };
        rows.iter().map(of).collect()
    }

    /// Returns the counterparts that have these ids at the target.
    pub async fn counterparts_by_id(
        &self,
        target: &TargetName,
        ids: &[RemoteId],
    ) -> Result<Vec<CounterpartRow>, StoreError> {
        let mut found = Vec::new();
        for piece in pieces(ids.iter().map(|id| id.0.as_str())) {
            let sql = Self::of_target(target).push(" AND remote_id IN ").list(piece);
            found.extend(self.read_counterparts(sql).await?);
        }
        Ok(found)
    }

    /// Returns the counterparts of these users.
    pub async fn counterparts_of_users(
        &self,
        target: &TargetName,
        users: &[UserId],
    ) -> Result<BTreeMap<UserId, CounterpartRow>, StoreError> {
        let mut found = BTreeMap::new();
        for piece in pieces(users.iter().map(|id| id.0)) {
            let sql = Self::of_target(target).push(" AND user_id IN ").list(piece);
            let rows = self.read_counterparts(sql).await?;
            found.extend(rows.into_iter().map(|row| (row.account.user, row)));
        }
        Ok(found)
    }

    /// Returns counterparts in the order of their users, after one of them.
    pub async fn counterparts(
        &self,
        target: &TargetName,
        filter: Option<CounterpartFilter>,
        after: Option<UserId>,
        limit: u64,
    ) -> Result<Vec<CounterpartRow>, StoreError> {
        let sql = Self::of_target(target).push(match filter {
            None => "",
            Some(CounterpartFilter::Pending) => " AND due_at IS NOT NULL",
            Some(CounterpartFilter::Quarantined) => {
                " AND problem IS NOT NULL AND problem NOT IN ('waiting', 'missing')"
            }
            Some(CounterpartFilter::Drifted) => {
                " AND problem IN ('drifted', 'deactivated-elsewhere')"
            }
            Some(CounterpartFilter::Inactive) => " AND active = 0",
        });
        let sql = sql.push(" AND user_id > ");
        let sql = sql.bind(after.map_or(uuid::Uuid::nil(), |id| id.0));
        self.read_counterparts(sql.push(" ORDER BY user_id LIMIT ").bind(limit)).await
    }

    /// Returns the linked counterparts that were seen last, by which the target is recognised.
    pub async fn canary_counterparts(
        &self,
        target: &TargetName,
        limit: u64,
    ) -> Result<Vec<CounterpartRow>, StoreError> {
        let sql = Self::of_target(target).push(" AND state = 'linked' AND remote_id IS NOT NULL");
        self.read_counterparts(sql.push(" ORDER BY seen_at DESC LIMIT ").bind(limit)).await
    }

    pub async fn counterpart_counts(
        &self,
        target: &TargetName,
    ) -> Result<CounterpartCounts, StoreError> {
        let sql = Sql::new(
            "SELECT COUNT(CASE WHEN state = 'linked' AND COALESCE(active, 1) = 1 THEN 1 END), \
             COUNT(CASE WHEN state = 'linked' AND active = 0 THEN 1 END), COUNT(due_at), \
             COUNT(CASE WHEN problem IS NOT NULL AND problem NOT IN ('waiting', 'missing') THEN 1 END), \
             MIN(CASE WHEN due_at IS NOT NULL AND lane = 0 THEN due_since END) \
             FROM counterparts WHERE target = ",
        );
        let row =
            sql.bind(target.as_str()).first(&self.readers).await.doing("count counterparts")?;
        row.map_or(Ok(CounterpartCounts::default()), |row| {
            let mut c = Columns::of(&row);
            Ok(CounterpartCounts {
                active: c.read()?,
                inactive: c.read()?,
                pending: c.read()?,
                quarantined: c.read()?,
                oldest_deactivation: c.read()?,
            })
        })
    }

    /// Writes that an account is about to be created, because its answer may be lost.
    pub async fn intend(&self, target: &TargetName, user: UserId) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new(
            "UPDATE counterparts SET state = 'intended' WHERE remote_id IS NULL AND target = ",
        );
        let sql = sql.bind(target.as_str()).push(" AND user_id = ").bind(user.0);
        sql.execute(&mut *writing.tx).await.doing("write a counterpart")?;
        writing.commit().await
    }

    /// Writes the results of work on counterparts, with their events.
    ///
    /// Work that became due meanwhile stays due. An absent counterpart without work or problem is
    /// deleted.
    pub async fn settle(
        &self,
        target: &TargetName,
        settled: &[Settled],
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let mut stored: BTreeMap<UserId, CounterpartRow> = BTreeMap::new();
        for piece in pieces(settled.iter().map(|one| one.after.account.user.0)) {
            let sql = Self::of_target(target).push(" AND user_id IN ").list(piece);
            for row in &sql.all(&mut *writing.tx).await.doing("read counterparts")? {
                let row = CounterpartRow::of(row)?;
                stored.insert(row.account.user, row);
            }
        }
        let (mut written, mut idle, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for Settled { before, after, events: its, by } in settled {
            let now = stored.get(&before.account.user).cloned();
            let now = now.unwrap_or_else(|| CounterpartRow::absent(before.account.user));
            // The push alone changes accounts. A run that saw an account before that knows less.
            if *by == SettledBy::Run && now != *before {
                continue;
            }
            let mut row = after.clone();
            if now.due != before.due {
                row.due = now.due;
            }
            events.extend(its.iter().cloned());
            let is_idle = row.account.state == CounterpartState::Absent
                && row.due.at.is_none()
                && row.problem.is_none();
            if is_idle { idle.push(row.account.user) } else { written.push(row) }
        }
        write(&mut writing, target, &written).await?;
        for piece in pieces(idle.iter().map(|id| id.0)) {
            let sql = Sql::new("DELETE FROM counterparts WHERE target = ")
                .bind(target.as_str())
                .push(" AND user_id IN ")
                .list(piece);
            sql.execute(&mut *writing.tx).await.doing("delete counterparts")?;
        }
        append(&mut writing, &events, clock).await?;
        writing.has_news = true;
        writing.commit().await
    }

    /// Makes counterparts due for steps that a run or an operator admitted.
    pub async fn admit(
        &self,
        target: &TargetName,
        admitted: &BTreeMap<UserId, Admission>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for piece in pieces(admitted.iter()) {
            let mut writing = self.begin().await?;
            let rows = piece.into_iter().map(|(user, admission)| {
                let due = Due {
                    at: Some(now),
                    since: Some(now),
                    lane: Some(if admission.is_leaver { Lane::Leaver } else { Lane::Run }),
                    admitted: admission.kinds.clone(),
                    ..Due::default()
                };
                fields(target, &CounterpartRow { due, ..CounterpartRow::absent(*user) })
            });
            let tail = "ON CONFLICT (target, user_id) DO UPDATE SET admitted = excluded.admitted, \
                        lane = CASE WHEN counterparts.due_at IS NOT NULL AND counterparts.lane < excluded.lane \
                        THEN counterparts.lane ELSE excluded.lane END, \
                        due_since = CASE WHEN counterparts.due_at IS NOT NULL AND counterparts.lane <= excluded.lane \
                        THEN counterparts.due_since ELSE excluded.due_since END, \
                        due_at = excluded.due_at, attempts = 0";
            insert(&mut writing.tx, "counterparts", tail, rows)
                .await
                .doing("make counterparts due")?;
            writing.has_news = true;
            writing.commit().await?;
        }
        Ok(())
    }

    /// Makes the counterparts due whose names other accounts had, because a name is free now.
    pub async fn retry_contested(
        &self,
        target: &TargetName,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("UPDATE counterparts SET attempts = 0, due_at = ").bind(now);
        let sql = sql.push(" WHERE problem = 'contested' AND target = ").bind(target.as_str());
        sql.execute(&mut *writing.tx).await.doing("make counterparts due")?;
        writing.has_news = true;
        writing.commit().await
    }

    /// Makes counterparts due that were refused by a fault of the target.
    pub async fn retry_counterparts(
        &self,
        target: &TargetName,
        users: &BTreeSet<UserId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        for piece in pieces(users.iter().map(|user| user.0)) {
            let sql = Sql::new("UPDATE counterparts SET attempts = 0, due_at = ").bind(now);
            let sql = sql.push(" WHERE due_at > ").bind(now).push(" AND target = ");
            let sql = sql.bind(target.as_str()).push(" AND user_id IN ").list(piece);
            sql.execute(&mut *writing.tx).await.doing("make counterparts due")?;
        }
        writing.has_news = true;
        writing.commit().await
    }

    /// Returns the user whose account has a name, if it is a counterpart.
    pub async fn holder_of_name(
        &self,
        target: &TargetName,
        user_name: &str,
    ) -> Result<Option<UserId>, StoreError> {
        let sql = Self::of_target(target).push(" AND state = 'linked' AND LOWER(user_name) = ");
        let sql = sql.bind(user_name.to_ascii_lowercase()).push(" LIMIT 1");
        Ok(self.read_counterparts(sql).await?.pop().map(|row| row.account.user))
    }

    /// Notes the accounts that a run has found to have to go, for a second run.
    pub async fn note_found(
        &self,
        target: &TargetName,
        users: &BTreeSet<UserId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for piece in pieces(users.iter().map(|id| id.0)) {
            let mut writing = self.begin().await?;
            let sql = Sql::new("UPDATE counterparts SET found_at = COALESCE(found_at, ")
                .bind(now)
                .push(") WHERE target = ")
                .bind(target.as_str())
                .push(" AND user_id IN ")
                .list(piece);
            sql.execute(&mut *writing.tx).await.doing("write counterparts")?;
            writing.commit().await?;
        }
        Ok(())
    }

    /// Returns the time of the first find that no second run has confirmed yet.
    pub async fn oldest_found(&self, target: &TargetName) -> Result<Option<Timestamp>, StoreError> {
        let sql = Sql::new(
            "SELECT MIN(found_at) FROM counterparts WHERE found_at IS NOT NULL AND due_at IS NULL AND target = ",
        );
        let row = sql.bind(target.as_str()).first(&self.readers).await;
        let row = row.doing("read what a second run has to confirm")?;
        row.map_or(Ok(None), |row| Columns::of(&row).maybe_time())
    }

    /// Writes the steps that a run admitted, each with whether an operator approved it. Returns
    /// their number.
    pub async fn record_steps(
        &self,
        run: RunId,
        target: &DirectoryName,
        steps: &[(ProposedStep, bool)],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        for (piece, first) in steps.chunks(BATCH).zip((0..).step_by(BATCH)) {
            let mut writing = self.begin().await?;
            let rows = piece.iter().zip(first..).map(|((step, approved), seq)| {
                let recorded = Recorded {
                    run,
                    seq,
                    plan: None,
                    directory: Some(target),
                    hold: None,
                    outcome: ChangeOutcome::Applied,
                    approved: *approved,
                    approvals: &[],
                    at: now,
                };
                recorded.fields(&step.shown())
            });
            insert(&mut writing.tx, "changes", "", rows).await.doing("write steps")?;
            writing.commit().await?;
        }
        Ok(steps.len() as u64)
    }

    /// Deletes everything that is known of a target.
    pub async fn forget_target(&self, target: &TargetName) -> Result<u64, StoreError> {
        let mut writing = self.begin().await?;
        let mut count = 0;
        for table in ["unmanaged_accounts", "target_groups", "target_members", "counterparts"] {
            let sql = Sql::new("DELETE FROM ").push(table).push(" WHERE target = ");
            count = sql
                .bind(target.as_str())
                .execute(&mut *writing.tx)
                .await
                .doing("forget a target")?;
        }
        let sql = Sql::new("DELETE FROM targets WHERE name = ").bind(target.as_str());
        sql.execute(&mut *writing.tx).await.doing("forget a target")?;
        writing.commit().await?;
        Ok(count)
    }
}
