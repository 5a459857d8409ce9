//! Loading: the stored decisions of operators that a plan is measured against.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::sync::stages::{ObservedRun, Request};
use crate::engine::{Directory, DirectoryConfig, Engine, EngineError};
use crate::model::{
    AccountId, Address, Digest, DirectoryName, Guid, Rejection, Trigger, User, UserId,
};
use crate::reconcile::{Desired, Known, Observation};
use crate::store::{BaselineKind, BaselineObject, ScopeState};

impl Engine {
    /// Leaves people to later observations that were recorded while this one was made, or while gates
    /// were asked. The caller holds the apply lock.
    pub(in crate::engine) async fn leave_to_later(
        &self,
        directory: &Directory,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        if self.store.last_observation().await? <= observed.number {
            return Ok(());
        }
        let seen = &observed.seen;
        let malformed = seen.malformed.iter().filter_map(|(guid, _)| *guid);
        let people: BTreeSet<Guid> = seen.desired.keys().copied().chain(malformed).collect();
        let name = &directory.config.name;
        let later = self.store.observed_after(name, observed.number, people).await?;
        observed.seen.leave_to_later(later);
        Ok(())
    }

    /// Returns the stored people and users that the plan of a slice is made from.
    pub(in crate::engine) async fn known(
        &self,
        name: &DirectoryName,
        seen: &Observation,
        slice: &[Guid],
    ) -> Result<Known, EngineError> {
        let account = seen.policy.account;
        let people: BTreeSet<Guid> = slice.iter().copied().collect();
        let decided = slice.iter().filter_map(|guid| seen.desired.get(guid));
        let wanted = decided.flat_map(Desired::wanted_keys).collect();
        let mut known = self.store.load(name, account, &people, &wanted).await?;
        let former = slice.iter().filter_map(|guid| seen.successors.get(guid)).copied().collect();
        for user in self.store.users_by_id(&former).await?.into_values() {
            known.add(user, account);
        }
        Ok(known)
    }

    /// Returns the users that this run takes over, each with the directory of its link.
    pub(in crate::engine) async fn moving(
        &self,
        name: &DirectoryName,
        seen: &Observation,
    ) -> Result<BTreeMap<UserId, DirectoryName>, EngineError> {
        let moves = seen.takeovers.iter().filter(|(_, takeover)| takeover.is_move());
        let people: BTreeSet<Guid> = moves.map(|(guid, _)| *guid).collect();
        let known = self.store.load(name, seen.policy.account, &people, &BTreeSet::new()).await?;
        let moving = people.iter().filter_map(|guid| known.of_person(*guid));
        let directory = |user: &User| Some((user.id, user.link.as_ref()?.directory.clone()));
        Ok(moving.filter_map(directory).collect())
    }

    /// Returns the rejections of the directory's users, and of those that it takes over.
    pub(in crate::engine) async fn rejections(
        &self,
        name: &DirectoryName,
        moving: &BTreeMap<UserId, DirectoryName>,
    ) -> Result<Vec<Rejection>, EngineError> {
        let mut rejections = self.store.rejections(name).await?;
        for former in moving.values().collect::<BTreeSet<_>>() {
            rejections.extend(
                self.store
                    .rejections(former)
                    .await?
                    .into_iter()
                    .filter(|rejection| moving.contains_key(&rejection.user)),
            );
        }
        Ok(rejections)
    }

    /// Returns the mark of a removed directory whose people this run takes over. After a restore or a
    /// rebaseline the next run only plans. A new name of the section is no approval of its plan.
    pub(in crate::engine) async fn former_scope(
        &self,
        directory: &Directory,
        moving: &BTreeMap<UserId, DirectoryName>,
    ) -> Result<Option<ScopeState>, EngineError> {
        let neighbours = self.neighbours(directory);
        let mut formers: BTreeSet<DirectoryName> = moving.values().cloned().collect();
        formers.retain(|former| neighbours.iter().all(|d| d.config.name != *former));
        for former in formers {
            let scope = self.store.directory(&former).await?.scope;
            if let Some(ScopeState::Restored | ScopeState::Rebaselined) = scope {
                return Ok(scope);
            }
        }
        Ok(None)
    }

    /// Returns the approved changes of the requested plan, and of an earlier approval that could not be
    /// applied yet. An approval that is too old expires.
    pub(in crate::engine) async fn approved(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<BTreeSet<Digest>, EngineError> {
        let mut plans: BTreeSet<_> = request.approves.into_iter().collect();
        if let Some(plan) = self
            .store
            .current_plan(&directory.config.name)
            .await?
            .filter(|p| p.approved_at.is_some())
        {
            if request.trigger != Trigger::Approval && self.is_too_late(directory, &plan) {
                self.store.expire_approval(&plan, &self.clock).await?;
            } else {
                plans.insert(plan.id);
            }
        }
        let mut approved = BTreeSet::new();
        for plan in plans {
            approved.extend(self.store.approved_changes(plan).await?);
        }
        Ok(approved)
    }

    /// Returns the people that any directory of the account protects, so that a moved user stays
    /// protected. The baseline has the GUID of the person who first had each address.
    pub(in crate::engine) async fn protected(
        &self,
        directory: &Directory,
        account: AccountId,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let mut protected = BTreeSet::new();
        for (name, addresses) in
            self.neighbours(directory).iter().map(|d| (&d.config.name, &d.config.protect))
        {
            protected.extend(self.protected_in(directory, name, addresses, account).await?);
        }
        let DirectoryConfig { name, protect, .. } = &directory.config;
        protected.extend(self.protected_in(directory, name, protect, account).await?);
        Ok(protected)
    }

    async fn protected_in(
        &self,
        directory: &Directory,
        name: &DirectoryName,
        addresses: &[Address],
        account: AccountId,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let accepted: BTreeMap<String, Vec<BaselineObject>> =
            self.store.baseline(name, BaselineKind::Protected).await?;
        let mut protected = BTreeSet::new();
        for key in addresses.iter().map(Address::key) {
            if let Some(found) = accepted.get(&key.0) {
                protected.extend(found.iter().map(|p| p.guid));
                continue;
            }
            // A renamed section, or one that replaces another, protects the same people.
            let neighbours = self.neighbours(directory);
            let is_former = |of: &DirectoryName| {
                *of != directory.config.name && neighbours.iter().all(|d| d.config.name != *of)
            };
            let former = self.store.protected_by(account, &key).await?;
            let mut people: BTreeSet<Guid> =
                former.into_iter().filter(|(of, _)| is_former(of)).map(|(_, guid)| guid).collect();
            if people.is_empty() {
                let user =
                    self.store.user_by_address(&key).await?.filter(|user| user.account == account);
                people.extend(user.and_then(|user| user.link).map(|link| link.guid));
            }
            for guid in people {
                self.store
                    .accept(
                        name,
                        BaselineKind::Protected,
                        &BaselineObject { name: key.0.clone(), guid, detail: String::new() },
                    )
                    .await?;
                protected.insert(guid);
            }
        }
        Ok(protected)
    }
}
