//! Requests to rosterd by its schedule, by operators and by an administrator.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rosterd::engine::{Engine, EngineError, Request, Scope, Selection};
use rosterd::model::{
    Actor, DirectoryName, PlanState, Reason, Status, Trigger, User, WrittenChange,
};
use rosterd::store::{HeldPlan, HeldRow, Run, UserFilter};

use super::books::shown;
use super::history::{ALL, Do};
use super::office::{Office, SECOND};
use crate::firm::alice;

impl Office {
    /// Carries out a request.
    pub(super) fn carry_out<'a>(
        &'a self,
        what: &'a Do,
    ) -> BoxFuture<'a, Result<String, EngineError>> {
        Box::pin(async move {
            match Box::pin(self.ask(what)).await {
                Err(error @ EngineError::Store(_)) => Err(error),
                Err(refused) => Ok(format!("refused: {refused}")),
                Ok(told) => Ok(told),
            }
        })
    }

    /// Returns the names of the directories that a number means.
    pub(super) fn chosen(&self, n: usize) -> Vec<String> {
        let sections = self.sections.lock().expect("sections");
        if n == ALL {
            (0..sections.len()).map(|n| sections.name(n).to_owned()).collect()
        } else {
            vec![sections.name(n).to_owned()]
        }
    }

    async fn ask(&self, what: &Do) -> Result<String, EngineError> {
        let engine = self.engine();
        let actor = alice();
        let of_user =
            |user: Option<User>| user.map(|u| u.id.to_string()).ok_or_else(|| nobody("user"));
        let told = |user: &User| format!("{} is {}", user.id, user.status().as_str());
        Ok(match what {
            Do::Tick(n) => {
                let mut text = Vec::new();
                for name in self.chosen(*n) {
                    let directory = engine.directory(&name)?;
                    let request = engine.scheduled(&directory).await;
                    text.push(ended(&engine.run(&directory, request).await?));
                }
                text.join("; ")
            }
            Do::Full(n) => {
                let mut text = Vec::new();
                for name in self.chosen(*n) {
                    text.push(ended(
                        &engine
                            .run(&*engine.directory(&name)?, Request::full(Trigger::Schedule, None))
                            .await?,
                    ));
                }
                text.join("; ")
            }
            Do::Due => self.due(&engine).await?,
            Do::SyncUser(n) => ended(
                &engine
                    .sync_user(&of_user(self.user(*n, |u| u.link.is_some()).await?)?, &actor)
                    .await?,
            ),
            Do::Plan(n) => {
                let directory = engine.directory(&self.chosen(*n)[0])?;
                let dry_run = engine
                    .dry_run(&directory, &Request::full(Trigger::Manual, Some(actor)))
                    .await?;
                format!("{} would be applied", dry_run.planned.verdict.admitted.len())
            }
            Do::Approve(n) => {
                let names = self.chosen(*n);
                let plans = engine.store.plans(false).await?;
                let mut text = Vec::new();
                for plan in plans
                    .into_iter()
                    .filter(|p| names.iter().any(|name| name == p.directory.as_str()))
                {
                    self.note_shown(&plan, &[]).await?;
                    text.push(ended(&engine.approve(plan.id, actor.clone()).await?.run));
                }
                text.join("; ")
            }
            Do::ApprovePart(n) => {
                let plan = engine
                    .store
                    .plans(false)
                    .await?
                    .into_iter()
                    .next()
                    .ok_or_else(|| nobody("plan"))?;
                let rows = engine.store.held_rows(plan.id).await?;
                let row = rows.get(n % rows.len().max(1)).ok_or_else(|| nobody("change"))?;
                let (causes, people) = if n % 2 == 0 {
                    (vec![row.key.clone()], Vec::new())
                } else {
                    (Vec::new(), vec![row.user.to_string()])
                };
                let is_chosen =
                    |r: &HeldRow| if n % 2 == 0 { r.key == row.key } else { r.user == row.user };
                self.note_shown(&plan, &rows.iter().map(is_chosen).collect::<Vec<_>>()).await?;
                ended(
                    &engine
                        .approve_part(
                            plan.id,
                            &Selection { causes, people, digest: None },
                            "by chance",
                            actor.into(),
                        )
                        .await?
                        .run,
                )
            }
            Do::ApproveOld(n) => {
                let plans = engine.store.plans(true).await?;
                let plan = plans.get(n % plans.len().max(1)).ok_or_else(|| nobody("plan"))?;
                self.note_shown(plan, &[]).await?;
                ended(&engine.approve(plan.id, actor).await?.run)
            }
            Do::Reject(n) => {
                let names = self.chosen(*n);
                let mut text = Vec::new();
                for plan in engine
                    .store
                    .plans(false)
                    .await?
                    .into_iter()
                    .filter(|p| names.iter().any(|name| name == p.directory.as_str()))
                {
                    if matches!(plan.state, PlanState::Open | PlanState::Approved) {
                        let rejected = engine.reject(plan.id, "by chance", &actor).await?;
                        self.note_rejected(&plan).await?;
                        text.push(rejected.id.to_string());
                    }
                }
                text.join("; ")
            }
            Do::Reopen(n) => self.reopen(&engine, *n, &actor).await?,
            Do::Undo(n) => {
                let runs = engine.store.runs(None, 12).await?;
                let run = runs.get(n % runs.len().max(1)).ok_or_else(|| nobody("run"))?;
                let undone = engine.undo(run.id, &actor).await?;
                format!(
                    "{} taken back, {} left; {}",
                    undone.changes.len(),
                    undone.left.len(),
                    undone.read.as_ref().map_or_else(String::new, ended)
                )
            }
            Do::Suspend(n) => told(
                &engine
                    .suspend(&of_user(self.user(*n, |_| true).await?)?, "by chance", &actor)
                    .await?,
            ),
            Do::Activate(n) => {
                let user = self.user(*n, |u| u.status() == Status::Suspended).await?;
                told(&engine.activate(&of_user(user)?, &actor).await?.0)
            }
            Do::Pause(n, minutes) => {
                for name in self.chosen(*n) {
                    engine.pause(&name, Some(Duration::from_mins(*minutes)), &actor).await?;
                }
                String::new()
            }
            Do::Resume(n) => {
                for name in self.chosen(*n) {
                    engine.resume(&name, &actor).await?;
                }
                String::new()
            }
            Do::Relink(n) => self.relink(&engine, *n, &actor).await?,
            Do::ReleaseAddress(n) => {
                let user = self.user(*n, |u| u.status() == Status::Suspended).await?;
                told(&engine.release_address(&of_user(user)?, &actor).await?)
            }
            Do::ClearOverride(n) => told(
                &engine
                    .clear_override(
                        &of_user(self.user(*n, |u| !u.overrides.is_empty()).await?)?,
                        &actor,
                    )
                    .await?,
            ),
            Do::Claim => engine.claim("acme", SECOND, &actor).await?.domain.to_string(),
            Do::Release => format!(
                "touches {}",
                engine.release(SECOND, Some("acme"), &actor).await?.people.len()
            ),
            Do::Invite(n) => {
                let text = self.address(*n).unwrap_or_else(|| format!("person{n}@example.com"));
                format!("{:?}", engine.invite("acme", &[text], &actor).await?)
            }
            Do::Remove(n) => {
                told(&engine.remove(&of_user(self.user(*n, |_| true).await?)?, &actor).await?)
            }
            Do::Forget => format!("{:?}", engine.apply_retention().await?),
            Do::Rebaseline(n) => {
                for name in self.chosen(*n) {
                    engine.rebaseline(&name, &actor).await?;
                    let mut words = self.words.lock().expect("what operators said");
                    words.rebaselined.push(name.clone());
                }
                String::new()
            }
        })
    }

    /// Does the due work of the schedule between its ticks. A pause delays it.
    async fn due(&self, engine: &Engine) -> Result<String, EngineError> {
        let mut text = String::new();
        for name in self.chosen(ALL) {
            let directory = engine.directory(&name)?;
            let now = engine.clock.now();
            let name = &directory.config.name;
            if engine.store.directory(name).await?.paused_until.is_some_and(|until| until > now) {
                continue;
            }
            let grace_periods = engine.store.grace_periods(name).await?;
            let again: BTreeSet<_> = grace_periods
                .into_iter()
                .filter(|s| s.due.is_some_and(|due| due <= now))
                .map(|s| s.guid)
                .collect();
            let expiries = engine.store.expiries(name, now).await?;
            let expired: BTreeSet<_> =
                expiries.into_iter().filter(|(_, at)| *at <= now).map(|(guid, _)| guid).collect();
            for (trigger, people) in [(Trigger::Recheck, again), (Trigger::Expiry, expired)] {
                let request = Request::people(trigger, people, None);
                if request.scope != Scope::People(BTreeSet::new()) {
                    text.push_str(&ended(&engine.run(&directory, request).await?));
                }
            }
        }
        Ok(text)
    }

    /// Reopens a rejected plan.
    async fn reopen(
        &self,
        engine: &Engine,
        n: usize,
        actor: &Actor,
    ) -> Result<String, EngineError> {
        let mut plans = Vec::new();
        for name in self.chosen(n) {
            plans.extend(
                engine.store.rejected_plans(Some(&engine.directory(&name)?.config.name)).await?,
            );
        }
        let mut text = Vec::new();
        let mut reopened = BTreeSet::new();
        // The users of one plan may be in two directories by now.
        for plan in plans.into_iter().filter(|p| reopened.insert(p.id)) {
            let changes = engine.store.plan_changes(plan.id).await?;
            engine.reopen(plan.id, "by chance", actor).await?;
            let mut words = self.words.lock().expect("what operators said");
            for change in &changes {
                words.rejected.remove(&recognised(change));
            }
            text.push(plan.id.to_string());
        }
        Ok(text.join("; "))
    }

    /// Links a recreated person to the old user.
    async fn relink(
        &self,
        engine: &Engine,
        n: usize,
        actor: &Actor,
    ) -> Result<String, EngineError> {
        let name = self.chosen(n).remove(0);
        let waiting =
            engine.store.quarantined(&DirectoryName::parse(&name).expect("a name")).await?;
        let (person, ..) = waiting.get(n % waiting.len().max(1)).ok_or_else(|| nobody("person"))?;
        let left = |u: &User| u.causes.has(Reason::Deleted) || u.causes.has(Reason::Vanished);
        let user = self.user(n, left).await?.ok_or_else(|| nobody("user"))?;
        Ok(ended(&engine.relink(&user.id.to_string(), &person.to_string(), actor).await?))
    }

    /// Returns the n-th user, or the next one that matches.
    async fn user(
        &self,
        n: usize,
        is_wanted: impl Fn(&User) -> bool,
    ) -> Result<Option<User>, EngineError> {
        let users = self
            .store()
            .users(&UserFilter { limit: Some(10_000), ..UserFilter::default() })
            .await?;
        let start = n % users.len().max(1);
        Ok(users.iter().skip(start).chain(users.iter().take(start)).find(|u| is_wanted(u)).cloned())
    }

    /// Chooses a part of a plan as an operator does, or the whole.
    async fn note_shown(&self, plan: &HeldPlan, chosen: &[bool]) -> Result<(), EngineError> {
        let changes = self.store().plan_changes(plan.id).await?;
        let now = self.now();
        let approved = changes
            .iter()
            .enumerate()
            .filter(|(n, _)| chosen.get(*n).copied().unwrap_or(chosen.is_empty()));
        let mut words = self.words.lock().expect("what operators said");
        for (_, change) in approved {
            words.approved.insert(recognised(change), now);
            words.rejected.remove(&recognised(change));
        }
        // A part with all changes is the whole.
        if chosen.iter().all(|chosen| *chosen) {
            words.accepted.insert(plan.directory.to_string());
        }
        Ok(())
    }

    async fn note_rejected(&self, plan: &HeldPlan) -> Result<(), EngineError> {
        let changes = self.store().plan_changes(plan.id).await?;
        let mut words = self.words.lock().expect("what operators said");
        for change in &changes {
            words.approved.remove(&recognised(change));
            words.rejected.insert(recognised(change), change.user);
        }
        self.sections.lock().expect("sections").refuse(plan.directory.as_str());
        Ok(())
    }

    /// Any run may apply an approved change while it is held, for a day.
    pub(super) async fn forget_approved(&self) -> Result<(), EngineError> {
        let store = self.store();
        let mut held = Vec::new();
        for plan in store.plans(false).await? {
            held.extend(store.plan_changes(plan.id).await?);
        }
        let waiting: BTreeSet<String> = held.iter().map(recognised).collect();
        let since = self.now().minus(self.rulebook.config.limits.approval_expires);
        self.words
            .lock()
            .expect("what operators said")
            .approved
            .retain(|change, at| waiting.contains(change) && *at >= since);
        Ok(())
    }
}

fn recognised(change: &WrittenChange) -> String {
    shown(
        change.user,
        change.kind.as_str(),
        &change.before,
        &change.after,
        change.reason.map(Reason::as_str),
    )
}

fn nobody(what: &'static str) -> EngineError {
    EngineError::NotFound { what, name: "as wanted".to_owned(), near: None }
}

fn ended(run: &Run) -> String {
    let Run { directory, mode, state, counts, held, quarantined, dropped, error, .. } = run;
    let quarantined =
        if *quarantined > 0 { format!(", {quarantined} in quarantine") } else { String::new() };
    let dropped = if *dropped > 0 { format!(", {dropped} dropped") } else { String::new() };
    let error = error.as_ref().map(|e| format!(": {e}")).unwrap_or_default();
    let because =
        run.full_read_reason.as_ref().map(|b| format!(" because {b}")).unwrap_or_default();
    let trigger = run.trigger.as_str();
    let directory = directory.as_ref().map_or("", |name| name.as_str());
    format!(
        "{directory} {trigger} {mode}{because} {state:?}, {} changed, {held} held{quarantined}{dropped}{error}",
        counts.total()
    )
}
