//! The search of a target for the account of a user.
//!
//! A filter that returns another account than was asked for is not used again.

use crate::engine::targets::Target;
use crate::engine::targets::exchange::{Exchange, Halt};
use crate::engine::{Engine, EngineError};
use crate::model::{Lane, MatchAttribute, RemoteId};
use crate::reconcile::provision::{Account, Lesson, Outcome, Partial, Request, Resource, Wanted};
use crate::scim::{ListError, Pages};

impl Engine {
    /// Returns whether a target shows an account of this id.
    pub(in crate::engine) async fn has_account(
        &self,
        target: &Target,
        id: &RemoteId,
    ) -> Result<bool, EngineError> {
        Ok(Exchange::new(self, target, Lane::Change).read(id).await?.is_some())
    }
}

impl Exchange<'_> {
    /// Reads an account; `None` if the target has none of this id. An answer about another account
    /// proves nothing.
    pub(in crate::engine) async fn read(&self, id: &RemoteId) -> Result<Option<Resource>, Halt> {
        match self.ask(&Request::read(id)).await? {
            Outcome::Done(resource) if resource.is_of(id) => Ok(Some(resource)),
            Outcome::Done(_) => Err(Halt::later(format!(
                "asked for the account {id}, the target shows another one"
            ))),
            Outcome::NotFound => Ok(None),
            other => Err(Halt::unexpected(&other)),
        }
    }

    /// Returns the accounts that may belong to a leaver whose account was to be created. A filter may
    /// miss it, so the list decides.
    pub(in crate::engine) async fn search_lost(
        &self,
        wanted: &Wanted,
    ) -> Result<Vec<Account>, Halt> {
        let found = self.search(wanted).await?;
        if found.is_empty() { self.listed(wanted).await } else { Ok(found) }
    }

    /// Returns the accounts that may belong to a user.
    pub(in crate::engine) async fn search(&self, wanted: &Wanted) -> Result<Vec<Account>, Halt> {
        if self.capabilities().await?.filter
            && let Some(found) = self.filtered(wanted).await?
        {
            return Ok(found);
        }
        self.listed(wanted).await
    }

    /// Searches the list of all accounts, which has to be whole.
    async fn listed(&self, wanted: &Wanted) -> Result<Vec<Account>, Halt> {
        let (found, partial) = self.list_for(wanted).await?;
        // An account that was not listed could be created a second time.
        match partial {
            None => Ok(found),
            Some(partial) => {
                Err(Halt::later(format!("the list of accounts cannot be read whole: {partial}")))
            }
        }
    }

    /// Searches by filters; returns `None` if the target does not filter.
    async fn filtered(&self, wanted: &Wanted) -> Result<Option<Vec<Account>>, Halt> {
        let by_name = match self.target.config.matched_by {
            MatchAttribute::UserName => Some(("userName", wanted.user_name.as_str())),
            MatchAttribute::Emails => wanted.email().map(|email| ("emails.value", email)),
        };
        let by_id = wanted.external_id.as_deref().map(|id| ("externalId", id));
        let mut found: Vec<Account> = Vec::new();
        for (attribute, text) in by_id.into_iter().chain(by_name) {
            let list = match self.ask(&Request::search(attribute, text)).await? {
                Outcome::Done(list) => list,
                Outcome::Learned(_) => return Ok(None),
                other => return Err(Halt::unexpected(&other)),
            };
            for resource in list.resources() {
                let Some(account) = Account::of(resource, &self.target.config.mapping) else {
                    continue;
                };
                if !account.has(attribute, text) {
                    self.engine.learn(self.target, Lesson::NoFilter).await?;
                    return Ok(None);
                }
                if !found.iter().any(|other| other.id == account.id) {
                    found.push(account);
                }
            }
        }
        Ok(Some(found))
    }

    /// Searches the list of all accounts. Returns the reason why it was not read whole as well.
    pub(in crate::engine) async fn list_for(
        &self,
        wanted: &Wanted,
    ) -> Result<(Vec<Account>, Option<Partial>), Halt> {
        let page_size = self.target.config.client.page_size;
        let mut pages = Pages::new(&self.capabilities().await?, page_size);
        let mut found = Vec::new();
        while let Some(request) = pages.request() {
            let accounts = pages.take(self.ask(&request).await?).map_err(|error| halt(&error))?;
            let accounts =
                accounts.into_iter().filter_map(|a| Account::of(a, &self.target.config.mapping));
            found.extend(accounts.filter(|account| account.may_belong_to(wanted)));
        }
        Ok((found, pages.finish().err()))
    }
}

/// Returns the halt after a page that was none.
pub(in crate::engine) fn halt(error: &ListError) -> Halt {
    match error {
        ListError::Answered(outcome) => Halt::unexpected(outcome),
        other => Halt::later(other.to_string()),
    }
}
