//! What becomes of held plans by an operator's word: approved whole or in part, rejected, reopened; and approvals that were
//! too late. Each compares the plan with the one that the caller saw, and refuses a lost race.

use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;

use super::plans::HeldPlan;
use super::sql::{Columns, Sql, pieces};
use super::transitions::{approval_of, close, insert_plan, raced, seize, set_state, waiting_now};
use super::{Doing as _, Store, StoreError, Writing, events, rejections};
use crate::clock::Clock;
use crate::model::{Actor, Digest, Event, EventCause, PlanId, PlanState};

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
    ///
    /// A plan whose place another took meanwhile stays superseded: what both hold is applied. A whole plan that waits takes
    /// its scope along, unless something of that scope is rejected.
    pub async fn approve_plan(
        &self,
        plan: &HeldPlan,
        chosen: Option<&[Digest]>,
        word: Word<'_>,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let now = clock.now();
        let mut writing = self.begin().await?;
        let plan = seize(&mut writing, plan.id).await?;
        if !plan.state.waits() && plan.state != PlanState::Superseded {
            return Err(raced(&plan));
        }
        let sql = Sql::new("UPDATE plans SET actor = ")
            .bind(word.actor.0.as_str())
            .push(", comment = ")
            .bind(spoken(word.comment));
        let mut sql = sql.push(", approved_at = ").bind(now).push(", updated_at = ").bind(now);
        let is_whole = chosen.is_none() && plan.state.waits();
        if is_whole {
            sql = sql.push(", state = ").bind(PlanState::Approved.as_str());
        }
        sql.push(" WHERE id = ")
            .bind(plan.id.0)
            .execute(&mut *writing.tx)
            .await
            .doing("approve a plan")?;
        let approve = || {
            Sql::new("UPDATE changes SET approved = 1 WHERE outcome = 'held' AND plan_id = ")
                .bind(plan.id.0)
        };
        match chosen {
            None => {
                approve().execute(&mut *writing.tx).await.doing("approve a plan")?;
            }
            Some(chosen) => {
                for piece in pieces(chosen.iter().map(|d| d.0)) {
                    approve()
                        .push(" AND digest IN ")
                        .list(piece)
                        .execute(&mut *writing.tx)
                        .await
                        .doing("approve changes")?;
                }
            }
        }
        if is_whole {
            accept_scope(&mut writing, &plan).await?;
        }
        let count = chosen.map_or(plan.count, |chosen| chosen.len() as u64);
        tell(&mut writing, "plan.approved", &plan, word, count, clock).await?;
        writing.commit().await
    }

    /// An operator rejects a plan: what was approved of it is not any more, and every later run holds its changes.
    pub async fn reject_plan(
        &self,
        plan: &HeldPlan,
        word: Word<'_>,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let plan = seize(&mut writing, plan.id).await?;
        if !plan.state.waits() {
            return Err(raced(&plan));
        }
        disapprove(&mut writing, &plan, word).await?;
        rejections::record(&mut writing, plan.id, &plan.directory, plan.scope_hash.as_deref())
            .await?;
        let sql = Sql::new("UPDATE plans SET announced_at = ")
            .bind(clock.now())
            .push(" WHERE id = ")
            .bind(plan.id.0);
        sql.execute(&mut *writing.tx).await.doing("reject a plan")?;
        set_state(&mut writing, plan.id, PlanState::Rejected, clock.now()).await?;
        tell(&mut writing, "plan.rejected", &plan, word, plan.count, clock).await?;
        writing.commit().await
    }

    /// An operator takes the rejection of a plan back, or of these changes of it: they wait again. Returns the plan in which.
    ///
    /// That is the same plan where nothing else waits, and else a new one that takes the place of both. It is a plan of the
    /// directory that its users are linked to by now. Changes of users in still another one are proposed anew there.
    pub async fn reopen_plan(
        &self,
        plan: &HeldPlan,
        chosen: Option<&[Digest]>,
        word: Word<'_>,
        clock: &Clock,
    ) -> Result<PlanId, StoreError> {
        let now = clock.now();
        let mut writing = self.begin().await?;
        let plan = seize(&mut writing, plan.id).await?;
        if plan.state != PlanState::Rejected {
            return Err(raced(&plan));
        }
        rejections::lift(&mut writing, &plan, chosen).await?;
        let plan = follow_users(&mut writing, plan).await?;
        let count = chosen.map_or(plan.count, |chosen| chosen.len() as u64);
        let waiting = waiting_now(&mut writing, &plan.directory).await?;
        let id = if count == plan.count && waiting.is_none() {
            disapprove(&mut writing, &plan, word).await?;
            set_state(&mut writing, plan.id, PlanState::Open, now).await?;
            plan.id
        } else {
            let id = PlanId(clock.new_id());
            move_held(&mut writing, plan.id, id, chosen).await?;
            if let Some(waiting) = &waiting {
                seize(&mut writing, waiting.id).await?;
                move_held(&mut writing, waiting.id, id, None).await?;
                set_state(&mut writing, waiting.id, PlanState::Superseded, now).await?;
            }
            if count == plan.count {
                set_state(&mut writing, plan.id, PlanState::Superseded, now).await?;
            }
            let like = waiting.as_ref().unwrap_or(&plan);
            let merged = HeldPlan {
                id,
                directory: plan.directory.clone(),
                run: like.run,
                digest: digest_of(&mut writing, id).await?,
                created_at: now,
                scope_hash: like.scope_hash.clone(),
                note: like.note.clone(),
                count: count + waiting.as_ref().map_or(0, |w| w.count),
                ..approval_of(waiting.as_ref().filter(|w| w.approved_at.is_some()))
            };
            insert_plan(&mut writing, &merged).await?;
            id
        };
        let sql =
            Sql::new("UPDATE plans SET announced_at = ").bind(now).push(" WHERE id = ").bind(id.0);
        sql.execute(&mut *writing.tx).await.doing("reopen a plan")?;
        tell(&mut writing, "plan.reopened", &HeldPlan { id, ..plan }, word, count, clock).await?;
        writing.commit().await?;
        Ok(id)
    }

    /// Returns the directory that a plan is reopened in: the one that its users are linked to by now.
    pub async fn present_directory(&self, plan: &HeldPlan) -> Result<String, StoreError> {
        home_of(plan, &homes(plan).all(&self.readers).await.doing("read whose plan it is")?)
    }

    /// What was approved of a plan could not be applied in time: it takes another approval. Does nothing where the plan was
    /// approved anew, or has ended, since it was read.
    pub async fn expire_approval(&self, plan: &HeldPlan, clock: &Clock) -> Result<(), StoreError> {
        let seen = plan.approved_at;
        let (actor, mut writing) = (Actor::rosterd(), self.begin().await?);
        let plan = seize(&mut writing, plan.id).await?;
        if !plan.state.waits() || plan.approved_at != seen {
            return Ok(());
        }
        let sql = Sql::new(
            "SELECT COUNT(*) FROM changes WHERE outcome = 'held' AND approved = 1 AND plan_id = ",
        )
        .bind(plan.id.0);
        let approved = sql.count(&mut *writing.tx).await.doing("read what is approved")?;
        let word = Word { actor: &actor, comment: "" };
        disapprove(&mut writing, &plan, word).await?;
        if plan.state == PlanState::Approved {
            close(&mut writing, plan.id, PlanState::Expired, clock.now()).await?;
        } else {
            set_state(&mut writing, plan.id, plan.state, clock.now()).await?;
        }
        tell(&mut writing, "plan.expired", &plan, word, approved, clock).await?;
        writing.commit().await
    }

    /// Operators are told again of a plan, unless it has become something else since it was read.
    pub async fn announce_plan(
        &self,
        plan: &HeldPlan,
        event: Event,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        if seize(&mut writing, plan.id).await?.state != plan.state {
            return Ok(());
        }
        let sql = Sql::new("UPDATE plans SET announced_at = ")
            .bind(clock.now())
            .push(" WHERE id = ")
            .bind(plan.id.0);
        sql.execute(&mut *writing.tx).await.doing("write that a plan was announced")?;
        events::append(&mut writing, &[event], clock).await?;
        writing.commit().await
    }
}

fn spoken(comment: &str) -> Option<&str> {
    Some(comment).filter(|comment| !comment.is_empty())
}

/// Accepts the scope by which a plan was decided. One that came later was seen by no operator.
async fn accept_scope(writing: &mut Writing<'_>, plan: &HeldPlan) -> Result<(), StoreError> {
    let Some(scope) = plan.scope_hash.as_deref() else { return Ok(()) };
    let sql = Sql::new("UPDATE directories SET plan_only_since = NULL, scope_hash = ").bind(scope);
    let sql = sql.push(" WHERE scope_hash IS NOT NULL AND name = ").bind(plan.directory.as_str());
    let sql = sql.push(
        " AND NOT EXISTS (SELECT 1 FROM rejections r LEFT JOIN users u ON u.id = r.user_id WHERE r.scope_pending = 1 \
         AND COALESCE(u.directory, r.directory) = directories.name)",
    );
    sql.execute(&mut *writing.tx).await.doing("accept a scope")?;
    Ok(())
}

/// Makes a plan one of the directory that its users are linked to by now, and returns it as it is then.
///
/// The scope it was decided by was the former directory's, so an approval accepts none. People of other directories than
/// that are pending there.
async fn follow_users(writing: &mut Writing<'_>, plan: HeldPlan) -> Result<HeldPlan, StoreError> {
    let rows = homes(&plan).all(&mut *writing.tx).await.doing("read whose plan it is")?;
    let directory = home_of(&plan, &rows)?;
    let plan = if directory == plan.directory {
        plan
    } else {
        let sql =
            Sql::new("UPDATE plans SET scope_hash = NULL, directory = ").bind(directory.as_str());
        sql.push(" WHERE id = ")
            .bind(plan.id.0)
            .execute(&mut *writing.tx)
            .await
            .doing("give a plan to another directory")?;
        let sql = Sql::new("UPDATE changes SET directory = ")
            .bind(directory.as_str())
            .push(" WHERE outcome = 'held' AND plan_id = ");
        sql.bind(plan.id.0)
            .execute(&mut *writing.tx)
            .await
            .doing("give a plan to another directory")?;
        HeldPlan { directory, scope_hash: None, ..plan }
    };
    let sql = Sql::new("INSERT INTO pending_people (directory, guid) SELECT DISTINCT u.directory, c.guid FROM changes c ")
        .push("JOIN users u ON u.id = c.user_id WHERE c.outcome = 'held' AND c.guid IS NOT NULL AND u.directory <> ")
        .bind(plan.directory.as_str())
        .push(" AND c.plan_id = ")
        .bind(plan.id.0)
        .push(" ON CONFLICT (directory, guid) DO NOTHING");
    sql.execute(&mut *writing.tx).await.doing("note who is asked about again")?;
    Ok(plan)
}

/// The directories of the users of a plan, the one with the most of its changes first.
fn homes(plan: &HeldPlan) -> Sql {
    let sql = Sql::new(
        "SELECT COALESCE(u.directory, c.directory) FROM changes c LEFT JOIN users u ON u.id = c.user_id ",
    );
    sql.push("WHERE c.outcome = 'held' AND c.plan_id = ")
        .bind(plan.id.0)
        .push(" GROUP BY 1 ORDER BY COUNT(*) DESC, 1")
}

/// The directory of a plan: it stays as long as one of its users does.
fn home_of(plan: &HeldPlan, homes: &[AnyRow]) -> Result<String, StoreError> {
    let homes: Result<Vec<String>, StoreError> =
        homes.iter().map(|row| Columns::of(row).text()).collect();
    let homes = homes?;
    let stays = homes.contains(&plan.directory);
    Ok(homes.into_iter().next().filter(|_| !stays).unwrap_or_else(|| plan.directory.clone()))
}

/// Moves held changes from one plan to another.
async fn move_held(
    writing: &mut Writing<'_>,
    from: PlanId,
    to: PlanId,
    chosen: Option<&[Digest]>,
) -> Result<(), StoreError> {
    let all = || {
        Sql::new("UPDATE changes SET plan_id = ")
            .bind(to.0)
            .push(" WHERE outcome = 'held' AND plan_id = ")
            .bind(from.0)
    };
    let Some(chosen) = chosen else {
        all().execute(&mut *writing.tx).await.doing("move changes to another plan")?;
        return Ok(());
    };
    for piece in pieces(chosen.iter().map(|d| d.0)) {
        all()
            .push(" AND digest IN ")
            .list(piece)
            .execute(&mut *writing.tx)
            .await
            .doing("move changes to another plan")?;
    }
    Ok(())
}

/// The digest of what a plan holds.
async fn digest_of(writing: &mut Writing<'_>, plan: PlanId) -> Result<Digest, StoreError> {
    let sql =
        Sql::new("SELECT digest FROM changes WHERE outcome = 'held' AND plan_id = ").bind(plan.0);
    let rows = sql.all(&mut *writing.tx).await.doing("read what is held")?;
    let digests: Result<Vec<Digest>, StoreError> =
        rows.iter().map(|row| Columns::of(row).hash().map(Digest)).collect();
    Ok(Digest::of_all(digests?))
}

/// Takes back what was approved of a plan.
async fn disapprove(
    writing: &mut Writing<'_>,
    plan: &HeldPlan,
    word: Word<'_>,
) -> Result<(), StoreError> {
    let sql = Sql::new("UPDATE plans SET approved_at = ")
        .bind(None::<i64>)
        .push(", actor = ")
        .bind(word.actor.0.as_str());
    let sql =
        sql.push(", comment = ").bind(spoken(word.comment)).push(" WHERE id = ").bind(plan.id.0);
    sql.execute(&mut *writing.tx).await.doing("take an approval back")?;
    let sql = Sql::new(
        "UPDATE changes SET approved = 0 WHERE outcome = 'held' AND approved = 1 AND plan_id = ",
    )
    .bind(plan.id.0);
    sql.execute(&mut *writing.tx).await.doing("take an approval back")?;
    Ok(())
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
    events::append(
        writing,
        &[Event::about(kind, plan.id.to_string(), &cause, Json::Null, after)],
        clock,
    )
    .await
}
