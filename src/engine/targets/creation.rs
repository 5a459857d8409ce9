//! The creation of an account at a target, whose answer may be lost, or about another account.

use std::time::Duration;

use crate::engine::targets::exchange::{Exchange, Extent, Halt};
use crate::engine::targets::work::{DONE, Next, TAKEN_ATTEMPTS, Work};
use crate::model::{CounterpartState, LinkOrigin, ProvisionProblem, UserId};
use crate::reconcile::provision::{
    Account, Followed, Lesson, Outcome, Refusal, Requests, Resource, Sighting, Step, Wanted, Wish,
};

/// The wait before a search for an account whose name the target says is taken.
const TAKEN_RETRY: Duration = Duration::from_secs(20);

impl Exchange<'_> {
    /// Creates an account. The intention is stored before, because the answer may be lost.
    pub(super) async fn create(
        &self,
        work: &mut Work,
        step: &Step,
        wish: &Wish,
        followed: &Followed,
    ) -> Result<Next, Halt> {
        let Wish::Present(wanted) = wish else { return Ok(DONE) };
        let Requests::Send(requests) = step.requests(&self.capabilities().await?, None) else {
            return Ok(DONE);
        };
        self.engine.store.intend(&self.config().name, work.user()).await?;
        work.row.account.state = CounterpartState::Intended;
        for request in &requests {
            match self.ask(request).await? {
                Outcome::Done(resource) => {
                    let Some(account) = self.made(resource, work.user(), wanted).await? else {
                        return Ok(work.misled());
                    };
                    work.link(&account, LinkOrigin::Created);
                    work.row.sent_at = Some(self.engine.clock.now());
                    work.event("provision.created", self, followed, step);
                }
                Outcome::Conflict(refusal) => return self.taken(work, wanted, &refusal).await,
                Outcome::Refused(refusal) => {
                    work.row.account.state = CounterpartState::Absent;
                    work.row.problem = Some(ProvisionProblem::Refused);
                    work.row.answer = Some(refusal.to_string());
                    return Ok(Next::Done { is_complete: false });
                }
                Outcome::Unverified => {
                    return Err(Halt::later("the target has not created the account yet"));
                }
                other => return Err(Halt::unexpected(&other)),
            }
        }
        Ok(DONE)
    }

    /// Returns the account that the answer to a creation shows; `None` if it is another one.
    async fn made(
        &self,
        resource: Resource,
        user: UserId,
        wanted: &Wanted,
    ) -> Result<Option<Account>, Halt> {
        let mapping = &self.config().mapping;
        let Some(mut account) = Account::of(resource, mapping) else {
            return Err(Halt::later("the answer to the creation has no id"));
        };
        if account.external_id.is_none()
            && account.user_name.is_none()
            && let Some(whole) = self.read(&account.id).await?
            && let Some(read) = Account::of(whole, mapping)
        {
            account = read;
        }
        let ids = std::slice::from_ref(&account.id);
        let rows = self.engine.store.counterparts_by_id(&self.config().name, ids).await?;
        let is_ours =
            account.is_made_for(wanted) && rows.iter().all(|row| row.account.user == user);
        Ok(is_ours.then_some(account))
    }

    /// Looks for the account that has the name. A filter has not found it, so the list is read.
    async fn taken(
        &self,
        work: &mut Work,
        wanted: &Wanted,
        refusal: &Refusal,
    ) -> Result<Next, Halt> {
        let (found, _) = self.list_for(wanted).await?;
        if !found.is_empty() {
            // The filter has missed an account, so that it is not believed again.
            self.engine.learn(self.target, Lesson::NoFilter).await?;
            return Ok(Next::Again(Sighting::Seen(found)));
        }
        if work.row.due.attempts < TAKEN_ATTEMPTS {
            let reason = format!("{refusal}, and the target shows no such account");
            return Err(Halt::Later { reason, after: Some(TAKEN_RETRY), extent: Extent::Account });
        }
        work.row.problem = Some(ProvisionProblem::TakenInvisibly);
        work.row.answer = Some(refusal.to_string());
        Ok(Next::Done { is_complete: false })
    }
}

impl Work {
    /// Notes that the answer to a creation showed another account. It is not linked, and stays as it is.
    fn misled(&mut self) -> Next {
        self.row.problem = Some(ProvisionProblem::Refused);
        self.row.answer = Some(
            "the target answered the creation with the account of somebody else, which was not linked"
                .to_owned(),
        );
        Next::Done { is_complete: false }
    }
}
