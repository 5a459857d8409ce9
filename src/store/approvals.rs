//! Decisions about held plans: approve all or a part, reject, reopen, expire an approval.
//!
//! Each compares the plan with the one that the caller read, and fails if it has changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use sqlx::any::AnyRow;

use super::database::{Store, Writing};
use super::directories::lenient_default;
use super::error::{Doing as _, StoreError};
use super::plans::HeldPlan;
use super::recording::append;
use super::rejections;
use super::rows::Columns;
use super::sql::{Sql, pieces};
use super::transitions::{close, insert_plan, raced, seize, set_state, waiting_now};
use super::value;
use crate::clock::Clock;
use crate::model::{
    Actor, Approval, Approver, Change, Digest, DirectoryName, Event, EventCause, GivenApproval,
    PlanId, PlanState, Timestamp,
};
use crate::reconcile::Given;

/// An operator's decision about a held plan.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    pub actor: &'a Actor,
    /// May be empty.
    pub comment: &'a str,
}

/// One operator's approval of held changes.
#[derive(Debug, Clone, Copy)]
pub struct Consent<'a> {
    pub by: &'a Approver,
    /// May be empty.
    pub comment: &'a str,
    /// The number of operators that a change needs.
    pub needed: u32,
    /// Approvals that were given before do not count any more.
    pub valid_from: Timestamp,
}

impl Store {
    /// Adds the approval of one operator to a plan, or to the chosen changes of it. A change is
    /// approved once enough operators have done so.
    ///
    /// A superseded plan stays superseded; the changes that both plans hold are applied. The approval
    /// of a whole plan accepts its scope, unless a change of that scope is rejected.
    pub async fn approve_plan(
        &self,
        plan: &HeldPlan,
        chosen: Option<&[Digest]>,
        consent: Consent<'_>,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let Consent { by, comment, needed, valid_from } = consent;
        let now = clock.now();
        let mut writing = self.begin().await?;
        let plan = seize(&mut writing, plan.id).await?;
        if !plan.state.waits() && plan.state != PlanState::Superseded {
            return Err(raced(&plan));
        }
        let new = GivenApproval { by: by.clone(), at: now, comment: comment.to_owned() };
        let sql = Sql::new(
            "SELECT digest, approved, approvals FROM changes WHERE outcome = 'held' AND plan_id = ",
        );
        let chosen_ones: Option<BTreeSet<Digest>> = chosen.map(|d| d.iter().copied().collect());
        // Few operators approve a plan, so that most changes have the same approvals.
        let mut alike: Vec<(Given, Vec<Digest>)> = Vec::new();
        let (mut count, mut is_whole) = (0, chosen.is_none() && plan.state.waits());
        let add = |c: &mut Columns<'_>| {
            let (digest, approved): (Digest, bool) = (c.read()?, c.read()?);
            let given: Vec<GivenApproval> = lenient_default::read(c)?;
            if chosen_ones.as_ref().is_some_and(|chosen| !chosen.contains(&digest)) {
                return Ok(());
            }
            count += 1;
            let Some(given) = Given::add(&given, &new, needed, valid_from) else {
                is_whole &= approved;
                return Ok(());
            };
            is_whole &= given.is_enough || approved;
            match alike.iter_mut().find(|(known, _)| *known == given) {
                Some((_, digests)) => digests.push(digest),
                None => alike.push((given, vec![digest])),
            }
            Ok(())
        };
        sql.bind(plan.id.0).each(&mut *writing.tx, "read held changes", add).await?;
        let is_approved = alike.iter().any(|(given, _)| given.is_enough);
        let sql = Sql::new("UPDATE plans SET actor = ")
            .bind(by.actor.0.as_str())
            .push(", comment = ")
            .bind(non_empty(comment));
        let mut sql = sql.push(", updated_at = ").bind(now);
        if is_approved {
            sql = sql.push(", approved_at = ").bind(now);
        }
        if is_whole {
            sql = sql.push(", state = ").bind(PlanState::Approved.as_str());
        }
        sql.push(" WHERE id = ")
            .bind(plan.id.0)
            .execute(&mut *writing.tx)
            .await
            .doing("approve a plan")?;
        for (given, digests) in &alike {
            let (approvals, approves) = (value::json(&given.approvals), given.is_enough);
            for piece in pieces(digests.iter().map(|digest| digest.0)) {
                let sql = Sql::new("UPDATE changes SET approvals = ").bind(approvals.as_str());
                let sql = if approves { sql.push(", approved = 1") } else { sql };
                sql.push(" WHERE outcome = 'held' AND plan_id = ")
                    .bind(plan.id.0)
                    .push(" AND digest IN ")
                    .list(piece)
                    .execute(&mut *writing.tx)
                    .await
                    .doing("approve changes")?;
            }
        }
        if is_whole {
            accept_scope(&mut writing, &plan).await?;
        }
        let kind = if is_approved { "plan.approved" } else { "plan.approval_given" };
        let decision = Decision { actor: &by.actor, comment };
        let mut approvals: Vec<&GivenApproval> = Vec::new();
        for approval in alike.iter().flat_map(|(given, _)| &given.approvals) {
            if !approvals.contains(&approval) {
                approvals.push(approval);
            }
        }
        let further = json!({ "approvals": approvals, "needed": needed });
        record_with(&mut writing, kind, &plan, decision, count, further, clock).await?;
        writing.commit().await
    }

    /// Rejects a plan, with its approved changes. Every later run holds its changes.
    pub async fn reject_plan(
        &self,
        plan: &HeldPlan,
        decision: Decision<'_>,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let plan = seize(&mut writing, plan.id).await?;
        if !plan.state.waits() {
            return Err(raced(&plan));
        }
        disapprove(&mut writing, &plan, decision).await?;
        rejections::record(&mut writing, plan.id, &plan.directory, plan.scope_hash.as_deref())
            .await?;
        let sql = Sql::new("UPDATE plans SET announced_at = ")
            .bind(clock.now())
            .push(" WHERE id = ")
            .bind(plan.id.0);
        sql.execute(&mut *writing.tx).await.doing("reject a plan")?;
        set_state(&mut writing, plan.id, PlanState::Rejected, clock.now()).await?;
        record(&mut writing, "plan.rejected", &plan, decision, plan.count, clock).await?;
        writing.commit().await
    }

    /// Reopens a rejected plan, or the chosen changes of it. Returns the plan that holds them.
    ///
    /// The plan keeps its id if no other is open. Otherwise a new plan supersedes both. The plan
    /// belongs to the directory that its users are linked to now. The people of other directories
    /// join the pending set there.
    pub async fn reopen_plan(
        &self,
        plan: &HeldPlan,
        chosen: Option<&[Digest]>,
        decision: Decision<'_>,
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
            disapprove(&mut writing, &plan, decision).await?;
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
            let approved = waiting.as_ref().filter(|waiting| waiting.approved_at.is_some());
            let merged = HeldPlan {
                id,
                directory: plan.directory.clone(),
                run: like.run,
                digest: digest_of(&mut writing, id).await?,
                created_at: now,
                scope_hash: like.scope_hash.clone(),
                note: like.note.clone(),
                count: count + waiting.as_ref().map_or(0, |w| w.count),
                size: count + waiting.as_ref().map_or(0, |w| w.count),
                state: PlanState::Open,
                actor: approved.and_then(|plan| plan.actor.clone()),
                comment: approved.and_then(|plan| plan.comment.clone()),
                approved_at: approved.and_then(|plan| plan.approved_at),
                announced_at: None,
                version: 0,
            };
            insert_plan(&mut writing, &merged).await?;
            id
        };
        let sql =
            Sql::new("UPDATE plans SET announced_at = ").bind(now).push(" WHERE id = ").bind(id.0);
        sql.execute(&mut *writing.tx).await.doing("reopen a plan")?;
        record(&mut writing, "plan.reopened", &HeldPlan { id, ..plan }, decision, count, clock)
            .await?;
        writing.commit().await?;
        Ok(id)
    }

    /// Returns the directory in which a plan is reopened: the one that its users are linked to now.
    pub async fn present_directory(&self, plan: &HeldPlan) -> Result<DirectoryName, StoreError> {
        home_of(
            plan,
            &homes(plan).all(&self.readers).await.doing("read the directories of a plan")?,
        )
    }

    /// Takes an approval back that could not be applied in time.
    ///
    /// Does nothing if the plan was approved anew, or has ended, since it was read.
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
        let approved = sql.count(&mut *writing.tx).await.doing("count approved changes")?;
        let decision = Decision { actor: &actor, comment: "" };
        disapprove(&mut writing, &plan, decision).await?;
        if plan.state == PlanState::Approved {
            close(&mut writing, plan.id, PlanState::Expired, clock.now()).await?;
        } else {
            set_state(&mut writing, plan.id, plan.state, clock.now()).await?;
        }
        record(&mut writing, "plan.expired", &plan, decision, approved, clock).await?;
        writing.commit().await
    }

    /// Records a reminder of a plan, unless its state has changed since it was read.
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
        sql.execute(&mut *writing.tx).await.doing("record a reminder")?;
        append(&mut writing, &[event], clock).await?;
        writing.commit().await
    }
}

fn non_empty(comment: &str) -> Option<&str> {
    Some(comment).filter(|comment| !comment.is_empty())
}

/// Accepts the scope of a plan. No operator has seen a later one.
async fn accept_scope(writing: &mut Writing<'_>, plan: &HeldPlan) -> Result<(), StoreError> {
    let Some(scope) = plan.scope_hash.as_deref() else { return Ok(()) };
    let sql = Sql::new("UPDATE directories SET plan_only_since = NULL, scope_hash = ").bind(scope);
    let sql = sql.push(" WHERE scope_hash IS NOT NULL AND name = ").bind(plan.directory.as_str());
    let sql = sql.push(
        " AND NOT EXISTS (SELECT 1 FROM rejections r LEFT JOIN users u ON u.id = r.user_id WHERE r.scope_pending = 1 \
         AND COALESCE(u.directory, r.directory) = directories.name)",
    );
    sql.execute(&mut *writing.tx).await.doing("accept a scope")?;
    let sql = Sql::new("UPDATE targets SET plan_only_since = NULL, rules_hash = ").bind(scope);
    let sql = sql.push(" WHERE name = ").bind(plan.directory.as_str());
    let sql = sql.push(
        " AND NOT EXISTS (SELECT 1 FROM rejections r WHERE r.scope_pending = 1 AND r.of_target = 1 AND r.directory = targets.name)",
    );
    sql.execute(&mut *writing.tx).await.doing("accept the rules of a target")?;
    Ok(())
}

/// Moves a plan to the directory that its users are linked to now, and returns it.
///
/// Its scope was the former directory's, so an approval accepts none. People of other directories
/// join the pending set there.
async fn follow_users(writing: &mut Writing<'_>, plan: HeldPlan) -> Result<HeldPlan, StoreError> {
    let rows = homes(&plan).all(&mut *writing.tx).await.doing("read the directories of a plan")?;
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
            .doing("move a plan to another directory")?;
        let sql = Sql::new("UPDATE changes SET directory = ")
            .bind(directory.as_str())
            .push(" WHERE outcome = 'held' AND plan_id = ");
        sql.bind(plan.id.0)
            .execute(&mut *writing.tx)
            .await
            .doing("move a plan to another directory")?;
        HeldPlan { directory, scope_hash: None, ..plan }
    };
    let sql = Sql::new("INSERT INTO pending_people (directory, guid) SELECT DISTINCT u.directory, c.guid FROM changes c ")
        .push("JOIN users u ON u.id = c.user_id WHERE c.outcome = 'held' AND c.guid IS NOT NULL AND u.directory <> ")
        .bind(plan.directory.as_str())
        .push(" AND c.plan_id = ")
        .bind(plan.id.0)
        .push(" ON CONFLICT (directory, guid) DO NOTHING");
    sql.execute(&mut *writing.tx).await.doing("add people to the pending set")?;
    Ok(plan)
}

/// Returns the query for the directories of a plan's users, by number of changes.
fn homes(plan: &HeldPlan) -> Sql {
    let sql = Sql::new(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM targets t WHERE t.name = c.directory) THEN c.directory \
         ELSE COALESCE(u.directory, c.directory) END FROM changes c LEFT JOIN users u ON u.id = c.user_id ",
    );
    sql.push("WHERE c.outcome = 'held' AND c.plan_id = ")
        .bind(plan.id.0)
        .push(" GROUP BY 1 ORDER BY COUNT(*) DESC, 1")
}

/// Returns the directory of a plan. It stays while one of the users is linked to it.
fn home_of(plan: &HeldPlan, homes: &[AnyRow]) -> Result<DirectoryName, StoreError> {
    let homes: Result<Vec<DirectoryName>, StoreError> =
        homes.iter().map(|row| Columns::of(row).read()).collect();
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

/// Returns the digest of the held changes of a plan.
async fn digest_of(writing: &mut Writing<'_>, plan: PlanId) -> Result<Digest, StoreError> {
    let sql =
        Sql::new("SELECT digest FROM changes WHERE outcome = 'held' AND plan_id = ").bind(plan.0);
    let rows = sql.all(&mut *writing.tx).await.doing("read held changes")?;
    let digests: Result<Vec<Digest>, StoreError> =
        rows.iter().map(|row| Columns::of(row).read()).collect();
    Ok(Digest::of_all(digests?))
}

/// Takes back the approvals of a plan.
async fn disapprove(
    writing: &mut Writing<'_>,
    plan: &HeldPlan,
    decision: Decision<'_>,
) -> Result<(), StoreError> {
    let sql = Sql::new("UPDATE plans SET approved_at = ")
        .bind(None::<i64>)
        .push(", actor = ")
        .bind(decision.actor.0.as_str());
    let sql = sql
        .push(", comment = ")
        .bind(non_empty(decision.comment))
        .push(" WHERE id = ")
        .bind(plan.id.0);
    sql.execute(&mut *writing.tx).await.doing("take an approval back")?;
    let sql = Sql::new(
        "UPDATE changes SET approved = 0, approvals = NULL WHERE outcome = 'held' AND plan_id = ",
    )
    .bind(plan.id.0);
    sql.execute(&mut *writing.tx).await.doing("take an approval back")?;
    Ok(())
}

/// Records the event of a decision.
async fn record(
    writing: &mut Writing<'_>,
    kind: &'static str,
    plan: &HeldPlan,
    decision: Decision<'_>,
    count: u64,
    clock: &Clock,
) -> Result<(), StoreError> {
    record_with(writing, kind, plan, decision, count, json!({}), clock).await
}

/// Records the event of a decision with further fields.
async fn record_with(
    writing: &mut Writing<'_>,
    kind: &'static str,
    plan: &HeldPlan,
    decision: Decision<'_>,
    count: u64,
    further: Json,
    clock: &Clock,
) -> Result<(), StoreError> {
    let cause =
        EventCause { actor: decision.actor.clone(), run: None, account: None, at: clock.now() };
    let mut after = json!({
        "directory": plan.directory,
        "digest": plan.digest.to_string(),
        "count": count,
        "of": plan.count,
        "comment": non_empty(decision.comment),
    });
    if let (Some(after), Json::Object(further)) = (after.as_object_mut(), further) {
        after.extend(further);
    }
    append(writing, &[Event::about(kind, plan.id, &cause, Json::Null, after)], clock).await
}

/// Returns the approvals of the held changes that a run of the directory is about to apply, by digest.
pub(super) async fn approvals_of(
    writing: &mut Writing<'_>,
    directory: Option<&DirectoryName>,
    batch: &[(&Change, bool)],
) -> Result<BTreeMap<Digest, Approval>, StoreError> {
    let mut approvals = BTreeMap::new();
    let Some(directory) = directory else { return Ok(approvals) };
    let approved = batch.iter().filter(|(_, approved)| *approved);
    for piece in pieces(approved.map(|(change, _)| change.digest().0)) {
        let sql = Sql::new(
            "SELECT c.digest, p.id, p.actor, p.comment, c.approvals FROM plans p JOIN changes c ON c.plan_id = p.id \
             WHERE p.approved_at IS NOT NULL AND p.actor IS NOT NULL AND c.outcome = 'held' AND c.approved = 1 AND p.directory = ",
        );
        let sql = sql.bind(directory.as_str()).push(" AND c.digest IN ").list(piece);
        let sql = sql.push(" ORDER BY p.approved_at");
        for row in sql.all(&mut *writing.tx).await.doing("read approvals")? {
            let mut c = Columns::of(&row);
            let (digest, plan) = (c.read()?, c.read()?);
            let (actor, comment) = (Actor(c.text()?), c.maybe_text()?);
            let given: Vec<GivenApproval> = lenient_default::read(&mut c)?;
            // An earlier version stored the operator with the plan alone.
            let (by, comment) = match given.last() {
                Some(last) => (last.by.actor.clone(), non_empty(&last.comment).map(str::to_owned)),
                None => (actor, comment),
            };
            approvals.insert(digest, Approval { plan, by, comment, approvals: given });
        }
    }
    Ok(approvals)
}
