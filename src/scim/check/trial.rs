//! The trial account of a check: created, changed, deactivated and deleted.

use super::{Checking, described, id_of};
use crate::model::{Address, RemoteId, StepKind, StepOrigin, UserId};
use crate::reconcile::provision::{
    AttributePath, Outcome, Request, Requests, Resource, Step, meaning,
};

impl Checking<'_> {
    /// Takes one account of this address through its whole life.
    pub(super) async fn trial(&mut self, address: &Address, accounts: &[Resource]) {
        let name = address.to_string();
        let exists = accounts.iter().any(|account| {
            account.text("userName").is_some_and(|its| its.eq_ignore_ascii_case(&name))
                || account.emails().iter().any(|email| email.eq_ignore_ascii_case(&name))
        });
        if exists {
            let finding = format!("an account of {name} exists, and the trial would change it");
            return self.fail("create", finding, "give --write an address that no account has");
        }
        let create = self.step(StepKind::Create, None, self.attributes_of(&name));
        let Some(created) = self.perform("create", &create).await else { return };
        let Some(id) = created.as_ref().and_then(id_of) else {
            let remedy = "look for the account at the target and delete it";
            return self.fail("create", "the answer has no id", remedy);
        };
        self.ok("create", format!("the account {id} of {name} was created"));
        self.change(&id).await;
        self.deactivate(&id).await;
        self.delete(&id).await;
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
        if self.perform("change", &update).await.is_none() {
            return;
        }
        match self.get(&Request::read(id)).await {
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
            Ok(other) => self.fail("change", described(&other), "ask the provider"),
            Err(error) => self.fail("change", error.to_string(), "ask the provider"),
        }
    }

    async fn deactivate(&mut self, id: &RemoteId) {
        let step = self.step(StepKind::Deactivate, Some(id), Vec::new());
        if self.perform("deactivate", &step).await.is_none() {
            return;
        }
        match self.get(&Request::read(id)).await {
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
            Ok(other) => self.fail("deactivate", described(&other), "ask the provider"),
            Err(error) => self.fail("deactivate", error.to_string(), "ask the provider"),
        }
    }

    async fn delete(&mut self, id: &RemoteId) {
        let step = self.step(StepKind::Delete, Some(id), Vec::new());
        if self.perform("delete", &step).await.is_none() {
            let remedy = format!("delete the account {id} at the target");
            return self.warn("delete", "the trial account is left", remedy);
        }
        match self.get(&Request::read(id)).await {
            Ok(Outcome::NotFound) => self.ok("delete", "the account was deleted"),
            Ok(Outcome::Done(_)) => self.warn(
                "delete",
                "the account still exists after its deletion, as where a provider only deactivates",
                format!("delete the account {id} at the target"),
            ),
            _ => self.warn("delete", "the deletion cannot be verified", "look at the target"),
        }
    }

    /// Sends the requests of a step, with PUT where PATCH is refused; `None` after a failure.
    async fn perform(&mut self, name: &'static str, step: &Step) -> Option<Option<Resource>> {
        let (mut seen, mut shown) = (None, None);
        'again: loop {
            let (requests, is_read) = match step.requests(&self.capabilities, seen.as_ref()) {
                Requests::ReadFirst(request) => (vec![request], true),
                Requests::Send(requests) => (requests, false),
            };
            for request in &requests {
                let sent = self.client.send(request, &self.capabilities, self.now).await;
                match sent.map(|answer| meaning(request, &answer)) {
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
                        self.fail(name, described(&other), remedy);
                        return None;
                    }
                    Err(error) => {
                        self.fail(name, error.to_string(), "ask the provider");
                        return None;
                    }
                }
            }
            return Some(shown);
        }
    }
}
