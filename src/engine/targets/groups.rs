//! The groups of a target: the accounts of each tier are members of one group.
//!
//! Members follow after their accounts. rosterd removes only members that it added, and its own
//! record says which, because some targets show none. It never deletes a group.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use sha2::Digest as _;

use crate::engine::Engine;
use crate::engine::targets::Target;
use crate::engine::targets::exchange::{Exchange, Extent, Halt};
use crate::model::{Lane, RemoteId, TargetGroup};
use crate::reconcile::provision::{Outcome, Permission, Request, Resource};
use crate::store::Member;

/// Members in one request. AWS takes no more.
const BATCH: u64 = 100;

impl Engine {
    /// Brings the groups of a target up to date. Under rules that wait for approval, they stay as
    /// they are. Returns whether the target refused a request, which is repeated later: some targets
    /// do not know a new account for a while.
    pub(in crate::engine) async fn sync_groups(&self, target: &Target) -> Result<bool, Halt> {
        let state = self.target_state(target).await?;
        if Self::permission(target, &state) != Permission::All {
            return Ok(false);
        }
        let mut problems = Vec::new();
        for group in &target.config.groups {
            match self.sync_group(target, group).await {
                Err(halt @ Halt::Later { extent: Extent::Account, .. }) => {
                    problems.push(Problem::refused(target, group, &halt));
                }
                done => problems.extend(done?),
            }
        }
        let is_refused = problems.iter().any(|problem| problem.is_refused);
        let texts = problems.into_iter().map(|problem| problem.text).collect();
        *target.work.group_problems.lock().unwrap_or_else(PoisonError::into_inner) = texts;
        Ok(is_refused)
    }

    async fn sync_group(
        &self,
        target: &Target,
        group: &TargetGroup,
    ) -> Result<Option<Problem>, Halt> {
        let exchange = Exchange::new(self, target, Lane::Change);
        let name = &target.config.name;
        let Some(followed) = self.followed(target).await? else { return Ok(None) };
        let id = match exchange.group(group).await? {
            Ok(id) => id,
            Err(problem) => return Ok(Some(problem)),
        };
        loop {
            let joining = self.store.joining_members(name, group, followed.account, BATCH).await?;
            if joining.is_empty() {
                break;
            }
            if let Err(problem) = exchange.join(group, &id, &joining).await? {
                return Ok(Some(problem));
            }
        }
        loop {
            let leaving = self.store.leaving_members(name, group, BATCH).await?;
            if leaving.is_empty() {
                return Ok(None);
            }
            let ids: Vec<&RemoteId> = leaving.iter().map(|(_, id)| id).collect();
            match exchange.ask(&Request::remove_members(&id, &ids)).await? {
                Outcome::Done(_) | Outcome::Unverified => {
                    self.store.remove_members(name, &group.name, &leaving).await?;
                }
                other => return Ok(Some(refused(target, group, &other))),
            }
        }
    }
}

impl Exchange<'_> {
    /// Returns the id of a group: configured, known, found by our `externalId`, or created.
    async fn group(&self, group: &TargetGroup) -> Result<Result<RemoteId, Problem>, Halt> {
        if let Some(id) = &group.id {
            return Ok(Ok(id.clone()));
        }
        let name = &self.target.config.name;
        if let Some(id) = self.engine.store.target_group(name, &group.name).await? {
            return Ok(Ok(id));
        }
        let external_id = external_id(name.as_str(), &group.name);
        let found = match self.ask(&Request::search_group(&group.name)).await? {
            Outcome::Done(list) => list.resources(),
            // Without a filter, a conflict shows that the group exists.
            Outcome::Learned(_) => Vec::new(),
            other => return Ok(Err(refused(self.target, group, &other))),
        };
        let of_name = found.iter().filter(|found| {
            found.text("displayName").is_some_and(|its| its.eq_ignore_ascii_case(&group.name))
        });
        let of_name: Vec<&Resource> = of_name.collect();
        let ours = of_name.iter().find(|g| g.text("externalId") == Some(external_id.as_str()));
        let id = match (ours.and_then(|ours| ours.id()), of_name.first()) {
            (Some(id), _) => RemoteId(id),
            (None, Some(other)) => {
                return Ok(Err(Problem::lasting(format!(
                    "{name}: a group \"{}\" exists, and rosterd did not create it: to use it, add id = \"{}\" to its [[target.group]]",
                    group.name,
                    other.id().unwrap_or_default()
                ))));
            }
            (None, None) => {
                match self.ask(&Request::create_group(&group.name, &external_id)).await? {
                    Outcome::Done(created) => RemoteId(created.id().unwrap_or_default()),
                    other => return Ok(Err(refused(self.target, group, &other))),
                }
            }
        };
        self.engine.store.save_target_group(name, &group.name, &id).await?;
        Ok(Ok(id))
    }

    /// Adds members. Where the target shows members, only those that it shows count as added.
    async fn join(
        &self,
        group: &TargetGroup,
        id: &RemoteId,
        joining: &[Member],
    ) -> Result<Result<(), Problem>, Halt> {
        let name = &self.target.config.name;
        let ids: Vec<&RemoteId> = joining.iter().map(|(_, id)| id).collect();
        match self.ask(&Request::add_members(id, &ids)).await? {
            Outcome::Done(_) | Outcome::Unverified => {}
            other => return Ok(Err(refused(self.target, group, &other))),
        }
        let mut added = joining.to_vec();
        if self.capabilities().await?.shows_members
            && let Outcome::Done(shown) = self.ask(&Request::read_group(id)).await?
        {
            let shown: BTreeSet<String> = shown.members().into_iter().collect();
            added.retain(|(_, id)| shown.contains(&id.0));
        }
        let lost = joining.len() - added.len();
        if !added.is_empty() {
            self.engine.store.add_members(name, &group.name, &added).await?;
        }
        Ok(if lost == 0 {
            Ok(())
        } else {
            // It is not repeated by itself, because the target may lose members each time.
            Err(Problem::lasting(format!(
                "{name}: the group \"{}\" does not show {lost} of {} members that were added: ask the provider; rosterctl target sync {name} tries again",
                group.name,
                joining.len()
            )))
        })
    }
}

/// The reason why a group cannot be brought up to date.
struct Problem {
    text: String,
    /// The target refused a request, and may accept it later.
    is_refused: bool,
}

impl Problem {
    /// Returns a problem that an operator or a run has to end.
    fn lasting(text: String) -> Self {
        Self { text, is_refused: false }
    }

    fn refused(target: &Target, group: &TargetGroup, halt: &Halt) -> Self {
        let (name, group) = (&target.config.name, &group.name);
        let text = format!(
            "{name}: the group \"{group}\" cannot be brought up to date, and is tried again: {halt}; rosterctl target sync {name} tries at once"
        );
        Self { text, is_refused: true }
    }
}

fn refused(target: &Target, group: &TargetGroup, outcome: &Outcome) -> Problem {
    Problem::refused(target, group, &Halt::unexpected(outcome))
}

/// Returns the `externalId` of our group: a UUID of target and name.
fn external_id(target: &str, group: &str) -> String {
    let hash = sha2::Sha256::digest(format!("rosterd group v1 {target} {group}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}
