//! What becomes of held plans by somebody's word: approved whole or in part, rejected, and approvals that were too late.

use serde_json::{Value as Json, json};

use super::plans::{HeldPlan, set_state};
use super::sql::{Sql, pieces};
use super::{Doing as _, Store, StoreError, Writing, events};
use crate::clock::Clock;
use crate::model::{Actor, Digest, Event, EventCause, PlanState, Timestamp};

/// An operator's word on a held plan.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// Why; may be empty.
    pub comment: &'a str,
}

impl Store {
    /// An operator approves these changes of a plan, or all of it.
    pub async fn approve_plan(&self, plan: &HeldPlan, chosen: Option<&[Digest]>, word: Word<'_>, clock: &Clock) -> Result<(), StoreError> {
        let now = clock.now();
        let mut writing = self.begin().await?;
        let sql = Sql::new("UPDATE plans SET actor = ").bind(word.actor.0.as_str()).push(", comment = ").bind(spoken(word.comment));
        let mut sql = sql.push(", approved_at = ").bind(now).push(", updated_at = ").bind(now);
        // What took the place of another plan stays what it is; only what both hold is applied.
        if chosen.is_none() && plan.state != PlanState::Superseded {
            sql = sql.push(", state = ").bind(PlanState::Approved.as_str());
        }
        sql.push(" WHERE id = ").bind(plan.id.0).execute(&mut *writing.tx).await.doing("approve a plan")?;
        let approve = || Sql::new("UPDATE changes SET approved = 1 WHERE outcome = 'held' AND plan_id = ").bind(plan.id.0);
        match chosen {
            None => {
                approve().execute(&mut *writing.tx).await.doing("approve a plan")?;
            }
            Some(chosen) => {
                for piece in pieces(chosen.iter().map(|d| d.0)) {
                    approve().push(" AND digest IN ").list(piece).execute(&mut *writing.tx).await.doing("approve changes")?;
                }
            }
        }
        let count = chosen.map_or(plan.count, |chosen| chosen.len() as u64);
        tell(&mut writing, "plan.approved", plan, word, count, clock).await?;
        writing.commit().await
    }

    /// An operator rejects a plan: what was approved of it is not any more.
    pub async fn reject_plan(&self, plan: &HeldPlan, word: Word<'_>, clock: &Clock) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        disapprove(&mut writing, plan, PlanState::Rejected, word, clock.now()).await?;
        tell(&mut writing, "plan.rejected", plan, word, plan.count, clock).await?;
        writing.commit().await
    }

    /// What was approved of a plan could not be applied in time: it takes another approval.
    pub async fn expire_approval(&self, plan: &HeldPlan, clock: &Clock) -> Result<(), StoreError> {
        let approved = self.held_rows(plan.id).await?.iter().filter(|row| row.approved).count() as u64;
        let state = if plan.state == PlanState::Approved { PlanState::Expired } else { plan.state };
        let (actor, mut writing) = (Actor::rosterd(), self.begin().await?);
        let word = Word { actor: &actor, comment: "" };
        disapprove(&mut writing, plan, state, word, clock.now()).await?;
        tell(&mut writing, "plan.expired", plan, word, approved, clock).await?;
        writing.commit().await
    }

    /// Operators are told again that a plan waits.
    pub async fn announce_plan(&self, plan: &HeldPlan, event: Event, clock: &Clock) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("UPDATE plans SET announced_at = ").bind(clock.now()).push(" WHERE id = ").bind(plan.id.0);
        sql.execute(&mut *writing.tx).await.doing("write that a plan was announced")?;
        events::append(&mut writing, &[event], clock).await?;
        writing.commit().await
    }
}

fn spoken(comment: &str) -> Option<&str> {
    Some(comment).filter(|comment| !comment.is_empty())
}

async fn disapprove(
    writing: &mut Writing<'_>,
    plan: &HeldPlan,
    state: PlanState,
    word: Word<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = Sql::new("UPDATE plans SET approved_at = ").bind(None::<i64>).push(", actor = ").bind(word.actor.0.as_str());
    let sql = sql.push(", comment = ").bind(spoken(word.comment)).push(" WHERE id = ").bind(plan.id.0);
    sql.execute(&mut *writing.tx).await.doing("take an approval back")?;
    let sql = Sql::new("UPDATE changes SET approved = 0 WHERE outcome = 'held' AND approved = 1 AND plan_id = ").bind(plan.id.0);
    sql.execute(&mut *writing.tx).await.doing("take an approval back")?;
    set_state(writing, plan.id, state, now).await
}

/// The event of a word on a plan.
async fn tell(
    writing: &mut Writing<'_>,
    kind: &'static str,
    plan: &HeldPlan,
    word: Word<'_>,
    count: u64,
    clock: &Clock,
) -> Result<(), StoreError> {
    let cause = EventCause { actor: word.actor.clone(), run: None, account: None, at: clock.now() };
    let after = json!({
        "directory": plan.directory,
        "digest": plan.digest.to_string(),
        "count": count,
        "of": plan.count,
        "comment": spoken(word.comment),
    });
    events::append(writing, &[Event::about(kind, plan.id.to_string(), &cause, Json::Null, after)], clock).await
}
