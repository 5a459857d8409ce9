//! The trial account of a check: created, changed, deactivated and deleted.
//!
//! Targets answer a creation with an account that existed before, or break off their answer. So only
//! an account that is certainly the trial's is changed and deleted.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Accounts, Checking, described};
use crate::model::{Address, RemoteId, StepKind, StepOrigin, UserId};
use crate::reconcile::provision::{AttributePath, Outcome, Request, Requests, Resource, Step};
use crate::scim::error::ScimError;
use crate::scim::pace::Pace;

/// The account that a trial creates.
struct Trial {
    /// Its user name and address.
    name: String,
    /// Its externalId, which no account had before.
    external_id: String,
    /// The ids that the list showed before it was created.
    before: BTreeSet<String>,
    /// Whether the target showed that no account had the name.
    is_free: bool,
}

impl Trial {
    fn has_name(&self, account: &Resource) -> bool {
        let is_it = |text: &str| text.eq_ignore_ascii_case(&self.name);
        account.text("userName").is_some_and(is_it) || account.emails().into_iter().any(is_it)
    }

    /// Returns whether the externalId of an account is the trial's; `None` if it shows none.
    fn has_external_id(&self, account: &Resource) -> Option<bool> {
        match account.get("externalId")? {
            Value::Null => None,
            Value::String(text) if text.is_empty() => None,
            other => Some(other.as_str() == Some(self.external_id.as_str())),
        }
    }
}

/// The reason why a step has no result. The step is reported already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The request had no effect.
    Refused,
    /// The request may have had its effect.
    Unknown,
}

impl Failure {
    fn of(answer: &Result<Outcome, ScimError>) -> Self {
        match answer {
            Ok(Outcome::NotScim(refusal)) if (200..300).contains(&refusal.status) => Self::Unknown,
            Ok(Outcome::Retry { refusal, .. }) if refusal.status != 429 => Self::Unknown,
            Err(ScimError::Unreachable(_) | ScimError::TimedOut(_) | ScimError::TooLong) => {
                Self::Unknown
            }
            _ => Self::Refused,
        }
    }
}

impl<P: Pace> Checking<'_, P> {
    /// Takes one account of this address through its whole life.
    pub(super) async fn trial(&mut self, address: &Address, accounts: &Accounts) {
        let mut trial = Trial {
            name: address.to_string(),
            external_id: self.check.unique.to_string(),
            before: accounts.all.iter().filter_map(Resource::id).collect(),
            is_free: accounts.is_whole,
        };
        let mut seen: Vec<Resource> =
            accounts.all.iter().filter(|account| trial.has_name(account)).cloned().collect();
        // A list that was not read whole may lack the account.
        if let Some(found) = self.search("userName", &trial.name).await {
            seen.extend(found.into_iter().filter(|account| trial.has_name(account)));
            trial.is_free = true;
        }
        if !seen.is_empty() {
            let finding =
                format!("an account of {} exists, and the trial would change it", trial.name);
            return self.fail("create", finding, "give --write an address that no account has");
        }
        let create = self.step(StepKind::Create, None, self.attributes_of(&trial.name));
        let created = match self.perform("create", &create).await {
            Ok(Some(created)) => created,
            Ok(None) => {
                let finding = "the target accepted the account, and does not show it";
                self.fail("create", finding, "ask the provider");
                return self.clean_up(&trial).await;
            }
            Err(Failure::Unknown) => return self.clean_up(&trial).await,
            Err(Failure::Refused) => return,
        };
        match self.own(&trial, &created).await {
            Ok(id) => {
                self.ok("create", format!("the account {id} of {} was created", trial.name));
                self.change(&id).await;
                self.deactivate(&id).await;
                self.delete(&id).await;
            }
            Err(reason) => {
                let remedy = format!(
                    "ask the provider why a creation is answered so. Nothing else was sent: look for an account of {} at the target",
                    trial.name
                );
                self.fail("create", reason, remedy);
            }
        }
    }

    /// Returns the id of an account that is certainly the trial's, or the reason against it.
    async fn own(&self, trial: &Trial, shown: &Resource) -> Result<RemoteId, String> {
        let Some(id) = shown.id() else { return Err("the account has no id".to_owned()) };
        if trial.before.contains(&id) {
            return Err(format!("the target answered with the account {id}, which existed before"));
        }
        let id = RemoteId(id);
        let read;
        let account = if trial.has_external_id(shown).is_some() {
            shown
        } else if trial.is_free {
            read = match self.read(&Request::read(&id)).await {
                Ok(Outcome::Done(account)) if account.id().as_ref() == Some(&id.0) => account,
                Ok(other) => {
                    return Err(format!("reading the account {id} failed: {}", described(&other)));
                }
                Err(error) => return Err(format!("reading the account {id} failed: {error}")),
            };
            &read
        } else {
            return Err(format!(
                "the account {id} shows no externalId, and may have existed before"
            ));
        };
        if trial.has_external_id(account) == Some(false) || !trial.has_name(account) {
            return Err(format!(
                "the target answered with the account {id}, which does not have the externalId {} and the name {}",
                trial.external_id, trial.name
            ));
        }
        Ok(id)
    }

    /// Deletes the account that a creation without a valid answer left, or names it.
    async fn clean_up(&mut self, trial: &Trial) {
        let left = self.left(trial).await;
        if left.is_empty() {
            let remedy = format!(
                "look at the target for an account of {} with the externalId {}, and delete it",
                trial.name, trial.external_id
            );
            self.warn("delete", "no account of the trial is shown, and one may appear", remedy);
        }
        for account in left {
            match self.own(trial, &account).await {
                Ok(id) => self.delete(&id).await,
                Err(reason) => {
                    let id = account.id().unwrap_or_default();
                    let remedy = format!(
                        "look at the account {id} of {} at the target, and delete it if the trial created it",
                        trial.name
                    );
                    self.fail("delete", reason, remedy);
                }
            }
        }
    }

    /// Returns the accounts that have the externalId or the name of the trial.
    async fn left(&self, trial: &Trial) -> Vec<Resource> {
        let is_it = |account: &Resource| {
            trial.has_external_id(account) == Some(true) || trial.has_name(account)
        };
        for (attribute, text) in [("externalId", &trial.external_id), ("userName", &trial.name)] {
            let mut found = self.search(attribute, text).await.unwrap_or_default();
            found.retain(is_it);
            if !found.is_empty() {
                return found;
            }
        }
        let mut left = Vec::new();
        let each = |account| {
            if is_it(&account) {
                left.push(account);
            }
        };
        // The accounts that came are valid, also where the list broke off.
        let _ = self.list(each).await;
        left
    }

    /// Returns the accounts that a filter finds; `None` without filters.
    async fn search(&self, attribute: &str, text: &str) -> Option<Vec<Resource>> {
        if !self.capabilities.filter {
            return None;
        }
        match self.read(&Request::search(attribute, text)).await {
            Ok(Outcome::Done(found)) => Some(found.resources()),
            _ => None,
        }
    }

    fn step(
        &self,
        kind: StepKind,
        id: Option<&RemoteId>,
        attributes: Vec<(AttributePath, Option<String>)>,
    ) -> Step {
        let (user, origin) = (UserId(self.check.unique), StepOrigin::Followed);
        Step { user, kind, origin, reason: None, id: id.cloned(), attributes }
    }

    /// Returns the mapped attributes of the trial account.
    fn attributes_of(&self, name: &str) -> Vec<(AttributePath, Option<String>)> {
        let text = |path: &AttributePath| match (path.schema(), path.attribute()) {
            (None, "userName" | "emails") => Some(name.to_owned()),
            (None, "externalId") => Some(self.check.unique.to_string()),
            (None, "displayName" | "name") => Some("rosterd check".to_owned()),
            _ => None,
        };
        let paths = self.check.mapping.attributes.iter().map(|(path, _)| path);
        paths.map(|path| (path.clone(), text(path))).collect()
    }

    /// Changes one attribute, and reads it back.
    async fn change(&mut self, id: &RemoteId) {
        let mapped = self.check.mapping.attributes.iter().map(|(path, _)| path);
        let Some(path) = mapped.into_iter().find(|path| path.attribute() == "displayName") else {
            return self.skip("change", "displayName is not mapped");
        };
        let (path, text) = (path.clone(), "rosterd check, changed".to_owned());
        let update =
            self.step(StepKind::Update, Some(id), vec![(path.clone(), Some(text.clone()))]);
        if self.perform("change", &update).await.is_err() {
            return;
        }
        match self.read(&Request::read(id)).await {
            Ok(Outcome::Done(seen)) if path.read(&seen).as_ref() == Some(&text) => {
                self.ok("change", "displayName was changed");
            }
            Ok(Outcome::Done(_)) => {
                let remedy =
                    "ask the provider; patch = false under [target.quirks] sends PUT instead";
                self.fail(
                    "change",
                    "the target answered with success and kept displayName",
                    remedy,
                );
            }
            Ok(other) => self.fail_by("change", &other, "ask the provider"),
            Err(error) => self.fail("change", error.to_string(), "ask the provider"),
        }
    }

    async fn deactivate(&mut self, id: &RemoteId) {
        let step = self.step(StepKind::Deactivate, Some(id), Vec::new());
        if self.perform("deactivate", &step).await.is_err() {
            return;
        }
        match self.read(&Request::read(id)).await {
            Ok(Outcome::Done(seen)) => match seen.active() {
                Some(false) => self.ok("deactivate", "the account was deactivated, and shows it"),
                Some(true) => {
                    let remedy = "ask the provider; patch = false under [target.quirks] sends PUT instead. leaver = \"delete\" is for targets that know no active";
                    self.fail(
                        "deactivate",
                        "the target answered with success and the account stayed active",
                        remedy,
                    );
                }
                None => self.warn(
                    "deactivate",
                    "the target does not show active, so a deactivation cannot be verified",
                    "write active = false under [target.quirks] to take it at its word",
                ),
            },
            Ok(Outcome::NotFound) => self.warn(
                "deactivate",
                "the account is gone after its deactivation",
                "nothing, if the provider hides inactive accounts",
            ),
            Ok(other) => self.fail_by("deactivate", &other, "ask the provider"),
            Err(error) => self.fail("deactivate", error.to_string(), "ask the provider"),
        }
    }

    async fn delete(&mut self, id: &RemoteId) {
        let step = self.step(StepKind::Delete, Some(id), Vec::new());
        if self.perform("delete", &step).await.is_err() {
            let remedy = format!("delete the account {id} at the target");
            return self.warn("delete", "the trial account is left", remedy);
        }
        match self.read(&Request::read(id)).await {
            Ok(Outcome::NotFound) => self.ok("delete", "the account was deleted"),
            Ok(Outcome::Done(_)) => self.warn(
                "delete",
                "the account still exists after its deletion, as where a provider only deactivates",
                format!("delete the account {id} at the target"),
            ),
            _ => self.warn("delete", "the deletion cannot be verified", "look at the target"),
        }
    }

    /// Sends the requests of a step, with PUT where PATCH is refused. Returns the account that the
    /// target showed.
    async fn perform(
        &mut self,
        name: &'static str,
        step: &Step,
    ) -> Result<Option<Resource>, Failure> {
        let (mut seen, mut shown) = (None, None);
        'again: loop {
            let (requests, is_read) = match step.requests(&self.capabilities, seen.as_ref()) {
                Requests::ReadFirst(request) => (vec![request], true),
                Requests::Send(requests) => (requests, false),
            };
            for request in &requests {
                let answer = self.send(request).await;
                let failure = Failure::of(&answer);
                match answer {
                    Ok(Outcome::Done(resource)) if is_read => {
                        seen = Some(resource);
                        continue 'again;
                    }
                    Ok(Outcome::Done(resource)) => shown = Some(resource),
                    Ok(Outcome::Unverified) => {}
                    Ok(Outcome::Learned(lesson)) if self.capabilities.learn(lesson) => {
                        continue 'again;
                    }
                    Ok(other) => {
                        let remedy = "ask the provider, or leave the attribute out under [target.attributes]";
                        self.fail_by(name, &other, remedy);
                        return Err(failure);
                    }
                    Err(error) => {
                        self.fail(name, error.to_string(), "ask the provider");
                        return Err(failure);
                    }
                }
            }
            return Ok(shown);
        }
    }
}
