//! Suspensions at a later time. The schedule of a directory carries them out, beside other due things.

use serde_json::json;

use crate::engine::admin::users::UserError;
use crate::engine::triggers::due::DueThing;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{Actor, Event, EventCause, Guid, Identity, KnownAs, Timestamp, User, UserId};
use crate::store::{ScheduledSuspension, StoreError};
use crate::telemetry::chain;

impl Engine {
    /// Schedules the suspension of a user by an operator.
    pub async fn suspend_at(
        &self,
        who: &str,
        at: Timestamp,
        why: &str,
        actor: &Actor,
    ) -> Result<User, EngineError> {
        let user = self.suspendable(who).await?;
        let now = self.clock.now();
        if at <= now {
            return Err(UserError::NotLater(at).into());
        }
        if self.configured().directories.is_empty() {
            return Err(UserError::NoSchedule.into());
        }
        let scheduled = ScheduledSuspension {
            user: user.id,
            at,
            actor: actor.clone(),
            reason: why.to_owned(),
            created_at: now,
        };
        let event = self.event("user.suspension_scheduled", &user, &scheduled, actor).await?;
        self.store.schedule_suspension(&scheduled, event, &self.clock).await?;
        for directory in self.configured().directories.values() {
            directory.work.wake.notify_one();
        }
        Ok(user)
    }

    /// Cancels the scheduled suspension of a user.
    pub async fn cancel_suspension(&self, who: &str, actor: &Actor) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        let scheduled = self.store.scheduled_suspensions().await?.remove(&user.id);
        let Some(scheduled) = scheduled else {
            return Err(UserError::NotScheduled(who.to_owned()).into());
        };
        let event = self.event("user.suspension_cancelled", &user, &scheduled, actor).await?;
        self.store.remove_scheduled_suspension(&scheduled, Some(event), &self.clock).await?;
        Ok(user)
    }

    async fn event(
        &self,
        kind: &'static str,
        user: &User,
        scheduled: &ScheduledSuspension,
        actor: &Actor,
    ) -> Result<Event, EngineError> {
        let account = Some(self.account_of(user).await?.handle);
        let at = self.clock.now();
        let cause = EventCause { actor: actor.clone(), run: None, account, at };
        let after = json!({ "at": scheduled.at, "reason": scheduled.reason });
        let known = Identity::of(user, None);
        let known = KnownAs { before: Some(known.clone()), after: Some(known) };
        let event = Event::about(kind, user.id, &cause, serde_json::Value::Null, after);
        Ok(Event { user: Some(Box::new(known)), ..event })
    }

    /// Returns the scheduled suspensions that this directory's schedule carries out: of its users, and of
    /// users whom no configured directory has. Several schedules may try, and the first one succeeds.
    pub(in crate::engine) async fn due_suspensions(
        &self,
        directory: &Directory,
    ) -> Result<Vec<(DueThing, UserId)>, StoreError> {
        let scheduled = self.store.scheduled_suspensions().await?;
        if scheduled.is_empty() {
            return Ok(Vec::new());
        }
        let users = self.store.users_by_id(&scheduled.keys().copied().collect()).await?;
        let configured = self.configured();
        let is_here = |user: &User| match &user.link {
            Some(link) if configured.directories.contains_key(&link.directory) => {
                link.directory == directory.config.name
            }
            _ => true,
        };
        let due = scheduled.into_values().filter(|s| users.get(&s.user).is_none_or(is_here));
        // The backoff tells things apart by 16 bytes, of a GUID or of a user's id.
        let thing = |s: ScheduledSuspension| {
            (DueThing { person: Guid(*s.user.0.as_bytes()), about: s.at, at: s.at }, s.user)
        };
        Ok(due.map(thing).collect())
    }

    /// Carries out scheduled suspensions. One that fails stays, and is tried again.
    pub(in crate::engine) async fn suspend_scheduled(&self, users: &[UserId]) {
        for user in users {
            if let Err(error) = self.suspend_one_scheduled(*user).await {
                tracing::error!(user = %user, "scheduled suspension failed: {}", chain(&error));
            }
        }
    }

    async fn suspend_one_scheduled(&self, user: UserId) -> Result<(), EngineError> {
        let Some(scheduled) = self.store.scheduled_suspensions().await?.remove(&user) else {
            return Ok(());
        };
        let why = if scheduled.reason.is_empty() {
            format!("scheduled at {}", scheduled.created_at)
        } else {
            scheduled.reason.clone()
        };
        match self.suspend(&user.to_string(), &why, &scheduled.actor).await {
            // Otherwise another schedule or an operator was faster, or nothing is left to suspend.
            Ok(_)
            | Err(EngineError::User(UserError::AlreadySuspended(_) | UserError::Unknown { .. })) => {
            }
            // A user that is invited or released has no access. It is suspended when it gets some.
            Err(EngineError::User(UserError::NotSuspendable { .. })) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.store.remove_scheduled_suspension(&scheduled, None, &self.clock).await?;
        Ok(())
    }
}
