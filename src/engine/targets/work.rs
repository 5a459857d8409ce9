//! The work on one counterpart: decides its steps at this moment, and sends those that are cleared.

use std::time::Duration;

use serde_json::json;

use crate::engine::targets::TargetConfig;
use crate::engine::targets::exchange::{Exchange, Extent, Halt};
use crate::model::{
    Actor, CounterpartRow, CounterpartState, Event, EventCause, InactiveReason, LinkOrigin,
    ProvisionProblem, RemoteId, StepKind, UserId,
};
use crate::reconcile::provision::{
    Account, Capabilities, Clearance, Cleared, Followed, Outcome, Permission, Refusal, Request,
    Requests, Resource, Sighting, Step, Wanted, Wish, steps,
};
use crate::store::{Settled, SettledBy};

/// Rounds of one piece of work: search, link, write, and once more for an account that has changed.
const MAX_ROUNDS: usize = 6;

/// The wait before a name is tried again that another account has, and may be about to lose.
const CONTESTED_RETRY: Duration = Duration::from_secs(5);

/// Failed searches or renames after which an account of a taken name is invisible, or a
/// name is contested.
pub(super) const TAKEN_ATTEMPTS: u32 = 2;

/// A counterpart that is being worked on, with the events of the work so far.
#[derive(Debug)]
pub(in crate::engine) struct Work {
    before: CounterpartRow,
    pub(in crate::engine) row: CounterpartRow,
    pub(in crate::engine) events: Vec<Event>,
    /// Steps need the admission of a run.
    pub(in crate::engine) waits: bool,
    /// The wanted name, and the user whose account had it.
    pub(in crate::engine) contested: Option<(String, UserId)>,
}

/// The continuation after the steps of a round.
pub(super) enum Next {
    Done {
        /// No step was refused.
        is_complete: bool,
    },
    /// The account was seen anew.
    Again(Sighting),
}

pub(super) const DONE: Next = Next::Done { is_complete: true };

/// The result of a request that changes an account.
enum Written {
    /// The account as the target shows it afterwards.
    Shown(Resource),
    Gone,
    Refused(Refusal),
    /// Another account has the name.
    Taken(Refusal),
}

impl Work {
    /// Returns whether a run has admitted steps already.
    pub(in crate::engine) fn is_admitted(&self) -> bool {
        !self.before.due.admitted.is_empty()
    }

    pub(in crate::engine) fn on(row: CounterpartRow) -> Self {
        Self { before: row.clone(), row, events: Vec::new(), waits: false, contested: None }
    }

    pub(in crate::engine) fn user(&self) -> UserId {
        self.row.account.user
    }

    /// Returns the id of the account, if one is linked.
    pub(in crate::engine) fn linked(&self) -> Option<RemoteId> {
        let account = &self.row.account;
        account.id.clone().filter(|_| account.state == CounterpartState::Linked)
    }

    /// Returns whether the account was active before the work.
    pub(in crate::engine) fn was_active(&self) -> bool {
        let account = &self.before.account;
        account.state == CounterpartState::Linked && account.active != Some(false)
    }

    pub(in crate::engine) fn has_changed(&self) -> bool {
        self.before != self.row
    }

    /// Returns whether nothing but the time of the sight has changed.
    pub(in crate::engine) fn differs_only_by_time(&self) -> bool {
        CounterpartRow { seen_at: self.before.seen_at, ..self.row.clone() } == self.before
    }

    /// Returns the result to store.
    pub(in crate::engine) fn settled(&self, by: SettledBy) -> Settled {
        let Self { before, row, events, waits: _, contested: _ } = self;
        Settled { before: before.clone(), after: row.clone(), events: events.clone(), by }
    }

    fn shows(&mut self, account: &Account) {
        self.row.user_name.clone_from(&account.user_name);
        self.row.account.echo = Some(account.echo);
        if account.active.is_some() {
            self.row.account.active = account.active;
        }
    }
}

impl Exchange<'_> {
    pub(super) fn config(&self) -> &TargetConfig {
        &self.target.config
    }

    /// Does what is due for a counterpart. The row has what was done, also after a halt.
    pub(in crate::engine) async fn work(
        &self,
        work: &mut Work,
        followed: &Followed,
        permission: Permission,
    ) -> Result<(), Halt> {
        let user = self.engine.store.user(work.user()).await?;
        let wish = match followed.wish(user.as_ref(), &self.config().mapping) {
            Ok(wish) => wish,
            Err(problem) => {
                work.row.problem = Some(problem);
                return Ok(());
            }
        };
        let situation = self.config().situation(&work.row, self.engine.clock.now());
        let Some(mut sighting) = self.first_sighting(work, &wish).await? else { return Ok(()) };
        for _ in 0..MAX_ROUNDS {
            let decision = steps(work.user(), &wish, work.row.known(), &sighting, &situation);
            work.row.problem = decision.problem;
            if decision.needs_search {
                let Some(wanted) = wish.wanted() else { return Ok(()) };
                sighting = Sighting::Seen(self.candidates(work, &wish, wanted).await?);
                continue;
            }
            let Clearance { cleared, waiting } =
                Cleared::of(decision, permission, &work.row.due.admitted);
            match self.carry_out(work, &cleared, &wish, &sighting, followed).await? {
                Next::Again(seen) => sighting = seen,
                Next::Done { .. } if !waiting.is_empty() => {
                    work.waits = true;
                    work.row.problem = Some(ProvisionProblem::Waiting);
                    return Ok(());
                }
                Next::Done { is_complete } => {
                    if is_complete {
                        work.complete(&wish);
                    }
                    return Ok(());
                }
            }
        }
        Err(Halt::later("the account changes while it is written"))
    }

    /// Returns the accounts that may belong to a user without a linked one.
    async fn candidates(
        &self,
        work: &Work,
        wish: &Wish,
        wanted: &Wanted,
    ) -> Result<Vec<Account>, Halt> {
        let was_intended = work.row.account.state == CounterpartState::Intended;
        if was_intended && matches!(wish, Wish::Inactive(..)) {
            self.search_lost(wanted).await
        } else {
            self.search(wanted).await
        }
    }

    /// Returns the sighting that the work begins with. An account that a run found is read again,
    /// because the target may have changed since. So is the account of a leaver that was inactive by
    /// another client's will. `None` waits for a second read.
    async fn first_sighting(&self, work: &mut Work, wish: &Wish) -> Result<Option<Sighting>, Halt> {
        // A removed user is forgotten after this, so that its account is read in any case.
        let is_removed = matches!(wish, Wish::Inactive(InactiveReason::Removed, _));
        let account = &work.row.account;
        let may_be_active = matches!(wish, Wish::Inactive(..))
            && account.active == Some(false)
            && !account.deactivated_by_us;
        if work.row.due.is_followed && !is_removed && !may_be_active {
            return Ok(Some(Sighting::Unasked));
        }
        let Some(id) = account.id.clone() else {
            return Ok(Some(match wish.wanted() {
                Some(wanted) => Sighting::Seen(self.candidates(work, wish, wanted).await?),
                None => Sighting::Unasked,
            }));
        };
        match self.read(&id).await? {
            Some(resource) => {
                let account = Account::of(resource, &self.config().mapping);
                Ok(Some(Sighting::Seen(account.into_iter().collect())))
            }
            None if matches!(wish, Wish::Inactive(..)) => Ok(Some(Sighting::Gone)),
            None => {
                let now = self.engine.clock.now();
                if work.confirm_gone(now, self.config().limits.grace_period) {
                    Ok(Some(Sighting::Unasked))
                } else {
                    Ok(None)
                }
            }
        }
    }

    async fn carry_out(
        &self,
        work: &mut Work,
        cleared: &Cleared,
        wish: &Wish,
        sighting: &Sighting,
        followed: &Followed,
    ) -> Result<Next, Halt> {
        let (mut refused, mut taken) = (None, None);
        for step in cleared.steps() {
            match step.kind {
                StepKind::Create => return self.create(work, step, wish, followed).await,
                StepKind::Link | StepKind::Adopt => {
                    let account = match (sighting, &step.id) {
                        (Sighting::Seen(accounts), Some(id)) => {
                            accounts.iter().find(|account| account.id == *id)
                        }
                        _ => None,
                    };
                    let Some(account) = account else { return Ok(DONE) };
                    let is_adopted = step.kind == StepKind::Adopt;
                    work.link(
                        account,
                        if is_adopted { LinkOrigin::Adopted } else { LinkOrigin::Created },
                    );
                    if is_adopted {
                        work.event("provision.adopted", self, followed, step);
                    } else {
                        return Ok(Next::Again(sighting.clone()));
                    }
                }
                _ => match self.modify(step).await? {
                    Written::Refused(refusal) | Written::Taken(refusal) if is_end(step.kind) => {
                        work.row.problem = Some(ProvisionProblem::Refused);
                        work.row.answer = Some(refusal.to_string());
                        return Err(Halt::later(refusal.to_string()));
                    }
                    Written::Taken(refusal) if step.kind == StepKind::Rename => {
                        taken = Some(refusal);
                    }
                    Written::Refused(refusal) | Written::Taken(refusal) => refused = Some(refusal),
                    Written::Gone => return self.gone(work, step, followed),
                    Written::Shown(resource) => {
                        self.written(work, step, resource, followed)?;
                    }
                },
            }
        }
        if let Some(refusal) = &refused {
            work.row.problem = Some(ProvisionProblem::Refused);
            work.row.answer = Some(refusal.to_string());
        }
        if let Some(refusal) = &taken {
            self.contested(work, wish, refusal).await?;
        }
        Ok(Next::Done { is_complete: refused.is_none() && taken.is_none() })
    }

    /// Takes that another account has the new name of a user. It may lose the name at this moment.
    /// Otherwise an operator decides, because no name in between is harmless.
    async fn contested(&self, work: &mut Work, wish: &Wish, refusal: &Refusal) -> Result<(), Halt> {
        if work.row.due.attempts < TAKEN_ATTEMPTS {
            let (reason, after) = (refusal.to_string(), Some(CONTESTED_RETRY));
            return Err(Halt::Later { reason, after, extent: Extent::Account });
        }
        let (name, user) = (&self.config().name, work.user());
        let wanted = wish.wanted().map(|wanted| wanted.user_name.as_str()).unwrap_or_default();
        let holder = self.engine.store.holder_of_name(name, wanted).await?;
        let holder = holder.filter(|holder| *holder != user);
        let whose = holder.map_or_else(
            || "an account of no user".to_owned(),
            |holder| format!("the account of user {holder}"),
        );
        work.contested = holder.map(|holder| (wanted.to_owned(), holder));
        work.row.problem = Some(ProvisionProblem::Contested);
        work.row.answer = Some(format!(
            "{refusal}: {whose} has the name. Rename that account at the target, then run rosterctl target retry {name} {user}"
        ));
        Ok(())
    }

    /// Sends the requests of a step, and reads the account where no answer shows it.
    async fn modify(&self, step: &Step) -> Result<Written, Halt> {
        let Some(id) = &step.id else { return Err(Halt::later("the account has no id")) };
        let mut seen = None;
        let mut may_patch = true;
        // A target without PATCH is learned, PUT needs a read, and PATCH may have no effect on a leaver.
        for _ in 0..4 {
            let known = self.capabilities().await?;
            let capabilities = Capabilities { patch: known.patch && may_patch, ..known };
            let requests = match step.requests(&capabilities, seen.as_ref()) {
                Requests::Send(requests) => requests,
                Requests::ReadFirst(_) => match self.read(id).await? {
                    Some(resource) => {
                        seen = Some(resource);
                        continue;
                    }
                    None => return Ok(Written::Gone),
                },
            };
            match self.send(&requests).await? {
                Outcome::Done(resource) if is_shown(step, &resource) => {
                    return Ok(Written::Shown(resource));
                }
                outcome @ (Outcome::Done(_) | Outcome::Unverified | Outcome::NotFound) => {
                    // PATCH is 404 for existing accounts of some services: GET decides.
                    let Some(resource) = self.read(id).await? else { return Ok(Written::Gone) };
                    let is_without_effect = match step.kind {
                        StepKind::Deactivate => resource.active() == Some(true),
                        _ => outcome == Outcome::NotFound,
                    };
                    if is_without_effect && capabilities.patch {
                        (may_patch, seen) = (false, Some(resource));
                    } else if is_without_effect && outcome == Outcome::NotFound {
                        return Ok(Written::Refused(Refusal::not_found()));
                    } else {
                        return Ok(Written::Shown(resource));
                    }
                }
                Outcome::Learned(_) => {}
                Outcome::Stale => seen = None,
                Outcome::Refused(refusal) => return Ok(Written::Refused(refusal)),
                Outcome::Conflict(refusal) => return Ok(Written::Taken(refusal)),
                other => return Err(Halt::unexpected(&other)),
            }
        }
        Err(Halt::later("the account changes while it is written"))
    }

    async fn send(&self, requests: &[Request]) -> Result<Outcome, Halt> {
        let mut last = Outcome::Unverified;
        for request in requests {
            last = self.ask(request).await?;
            if !matches!(last, Outcome::Done(_) | Outcome::Unverified) {
                break;
            }
        }
        Ok(last)
    }

    /// Takes what the target showed after a step.
    fn written(
        &self,
        work: &mut Work,
        step: &Step,
        resource: Resource,
        followed: &Followed,
    ) -> Result<(), Halt> {
        let active = resource.active();
        if let Some(account) = Account::of(resource, &self.config().mapping) {
            work.shows(&account);
        }
        work.row.sent_at = Some(self.engine.clock.now());
        let kind = match step.kind {
            StepKind::Deactivate | StepKind::Delete => {
                // A target that shows no `active` is taken at its word; see `rosterd check-target`.
                let is_done =
                    active == Some(false) || active.is_none() && step.kind == StepKind::Deactivate;
                if !is_done {
                    work.row.problem = Some(ProvisionProblem::Ineffective);
                    let reason = "the target reports success and still shows the account as active";
                    work.row.answer = Some(reason.to_owned());
                    return Err(Halt::later(reason));
                }
                work.row.account.active = Some(false);
                work.row.account.deactivated_by_us = true;
                if let Some(since) = work.row.due.since {
                    let took = self.engine.clock.now().since(since);
                    let name = self.config().name.as_str();
                    self.engine.store.counters.deactivated(name, took);
                }
                "provision.deactivated"
            }
            StepKind::Reactivate => {
                if active == Some(false) {
                    return Err(Halt::later(
                        "the target reports success and still shows the account as inactive",
                    ));
                }
                work.row.account.active = Some(true);
                work.row.account.deactivated_by_us = false;
                "provision.reactivated"
            }
            _ => "provision.updated",
        };
        work.event(kind, self, followed, step);
        Ok(())
    }

    /// Takes that the account of the counterpart's id is gone. A leaver is out. Otherwise a second
    /// look has to confirm it, and a run admits a new account.
    fn gone(&self, work: &mut Work, step: &Step, followed: &Followed) -> Result<Next, Halt> {
        let now = self.engine.clock.now();
        if is_end(step.kind) {
            work.row.account.state = CounterpartState::Gone;
            work.row.account.id = None;
            work.row.account.active = Some(false);
            let kind = match step.kind {
                StepKind::Delete => "provision.deleted",
                _ => "provision.deactivated",
            };
            work.event(kind, self, followed, step);
            return Ok(DONE);
        }
        if work.confirm_gone(now, self.config().limits.grace_period) {
            return Ok(Next::Again(Sighting::Unasked));
        }
        let after = Some(self.config().limits.grace_period);
        let reason = "the target shows no such account any more".to_owned();
        Err(Halt::Later { reason, after, extent: Extent::Account })
    }
}

/// Returns whether an answer shows the effect of a step, so that no read is needed.
fn is_shown(step: &Step, resource: &Resource) -> bool {
    let is_whole = step.id.as_ref().is_some_and(|id| resource.is_of(id));
    match step.kind {
        StepKind::Deactivate => is_whole && resource.active() == Some(false),
        StepKind::Reactivate => is_whole && resource.active() == Some(true),
        StepKind::Delete => false,
        _ => is_whole,
    }
}

/// Returns whether a step ends the access of a leaver, and so is never given up.
fn is_end(kind: StepKind) -> bool {
    matches!(kind, StepKind::Deactivate | StepKind::Delete)
}

impl Work {
    /// Notes that nothing of the wish is left to do.
    fn complete(&mut self, wish: &Wish) {
        self.row.answer = None;
        match wish {
            Wish::Present(wanted) if self.row.account.id.is_some() => {
                self.row.account.sent = Some(wanted.fingerprint());
                self.row.found_at = None;
            }
            // The account of a removed user is inactive, and no work is due for it.
            Wish::Inactive(InactiveReason::Removed, _) => {
                self.row = CounterpartRow {
                    due: std::mem::take(&mut self.row.due),
                    ..CounterpartRow::absent(self.user())
                };
            }
            Wish::Present(_) | Wish::Inactive(..) | Wish::Nothing => {}
        }
    }

    pub(super) fn link(&mut self, account: &Account, origin: LinkOrigin) {
        self.row.account.state = CounterpartState::Linked;
        self.row.account.id = Some(account.id.clone());
        self.row.account.origin = origin;
        self.row.account.sent = None;
        self.row.account.deactivated_by_us = false;
        self.row.found_at = None;
        self.row.problem = None;
        self.shows(account);
    }

    /// Notes that the account was not found. Returns whether that was so a grace period ago, too.
    pub(in crate::engine) fn confirm_gone(
        &mut self,
        now: crate::model::Timestamp,
        grace_period: Duration,
    ) -> bool {
        let first = *self.row.found_at.get_or_insert(now);
        if now < first.plus(grace_period) {
            self.row.problem = Some(ProvisionProblem::Missing);
            return false;
        }
        self.row.account.state = CounterpartState::Gone;
        self.row.account.id = None;
        self.row.account.active = None;
        self.row.found_at = None;
        true
    }

    pub(super) fn event(
        &mut self,
        kind: &'static str,
        exchange: &Exchange<'_>,
        followed: &Followed,
        step: &Step,
    ) {
        let cause = EventCause {
            actor: Actor::rosterd(),
            run: self.row.due.run,
            account: Some(followed.handle.clone()),
            at: exchange.engine.clock.now(),
        };
        let attributes: Vec<String> =
            step.attributes.iter().map(|(path, _)| path.to_string()).collect();
        let id: Option<&RemoteId> = self.row.account.id.as_ref().or(step.id.as_ref());
        let after = json!({
            "target": exchange.target.config.name,
            "remote_id": id,
            "reason": step.reason,
            "attributes": attributes,
        });
        let event = Event::about(kind, step.user, &cause, serde_json::Value::Null, after);
        self.events.push(event);
    }
}
