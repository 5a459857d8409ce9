//! Suspensions that operators have scheduled for a later time.

use std::collections::BTreeMap;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::recording::append;
use super::rows::{Row as _, StoredRow as _, row};
use super::sql::Sql;
use crate::clock::Clock;
use crate::model::{Actor, Event, Timestamp, UserId};

/// A suspension that takes place later. It survives restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledSuspension {
    pub user: UserId,
    pub at: Timestamp,
    /// The operator who scheduled it, and answers for it.
    pub actor: Actor,
    /// May be empty.
    pub reason: String,
    pub created_at: Timestamp,
}

row! {
    stored ScheduledSuspension {
        user: "user_id",
        at: "at",
        actor: "actor",
        reason: "reason",
        created_at: "created_at",
    }
}

impl Store {
    /// Schedules the suspension of a user, in place of one that was scheduled before.
    pub async fn schedule_suspension(
        &self,
        scheduled: &ScheduledSuspension,
        event: Event,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::insert("scheduled_suspensions", scheduled.fields()).push(
            " ON CONFLICT (user_id) DO UPDATE SET at = excluded.at, actor = excluded.actor, reason = excluded.reason, created_at = excluded.created_at",
        );
        sql.execute(&mut *writing.tx).await.doing("schedule a suspension")?;
        append(&mut writing, &[event], clock).await?;
        writing.commit().await
    }

    /// Returns the scheduled suspensions by user.
    pub async fn scheduled_suspensions(
        &self,
    ) -> Result<BTreeMap<UserId, ScheduledSuspension>, StoreError> {
        let sql = Sql::select::<ScheduledSuspension>().push(" FROM scheduled_suspensions");
        let rows = sql.all(&self.readers).await.doing("read scheduled suspensions")?;
        let scheduled = rows.iter().map(|row| {
            let scheduled = ScheduledSuspension::of(row)?;
            Ok((scheduled.user, scheduled))
        });
        scheduled.collect()
    }

    /// Removes a scheduled suspension that was cancelled, which is an event, or carried out.
    pub async fn remove_scheduled_suspension(
        &self,
        scheduled: &ScheduledSuspension,
        event: Option<Event>,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("DELETE FROM scheduled_suspensions WHERE user_id = ")
            .bind(scheduled.user.0)
            .push(" AND at = ")
            .bind(scheduled.at);
        sql.execute(&mut *writing.tx).await.doing("remove a scheduled suspension")?;
        append(&mut writing, event.as_slice(), clock).await?;
        writing.commit().await
    }
}
