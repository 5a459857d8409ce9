//! Judging: what was seen, against what is stored and what the limits allow. One at a time.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Grants, Right};
use crate::engine::sync::Request;
use crate::engine::sync::gates::Gates;
use crate::engine::sync::observe::Sight;
use crate::engine::{Directory, DirectoryConfig, Engine, EngineError};
use crate::model::{
    AccountId, Address, AddressKey, DirectoryName, Guid, HoldReason, Mode, Quarantine,
    QuarantineReason, Rejection, Trigger, UserId,
};
use crate::reconcile::{
    DEFERRAL, Desired, Entitlement, HoldAll, Known, Membership, PersonRow, Proposal, Rejected,
    Situation, Verdict, ended, guard, plan, suspects,
};
use crate::store::{Pin, PinKind, REBASELINED, RESTORED};

/// What a run may do, and what it may not.
#[derive(Debug)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// What a gate said that holds everything.
    pub note: Option<String>,
    /// The rejections of changes that the directory no longer asks for.
    pub ended: Vec<Rejection>,
}

/// The places where people stood of whom nothing can be seen any more, nor of anybody else: each with what would let us see.
fn unseen_places(proposal: &Proposal, grants: &Grants) -> Vec<String> {
    let mut places: BTreeMap<&str, u64> = BTreeMap::new();
    let unseen = proposal.plan.changes.iter().filter(|c| proposal.unwitnessed.contains(&c.user));
    for place in unseen.filter_map(|c| c.cluster.as_deref()?.strip_prefix("ou:")) {
        *places.entry(place).or_default() += 1;
    }
    let sentence = |(place, n): (&str, u64)| {
        let grant = grants.command(Right::ListContents, place);
        format!(
            "nothing below {place} proves that the {n} people who stood there are gone: if the service account has lost the right to see \
             them, give it back, as a domain administrator: {grant}"
        )
    };
    places.into_iter().map(sentence).collect()
}

/// The users that this run takes over, each with the directory of its link.
fn moving(known: &Known) -> BTreeMap<UserId, DirectoryName> {
    let moving = known
        .takeovers
        .iter()
        .filter(|(_, takeover)| takeover.is_move())
        .filter_map(|(guid, _)| known.of_person(*guid));
    moving.filter_map(|user| Some((user.id, user.link.as_ref()?.directory.clone()))).collect()
}

impl Engine {
    /// Plans what was seen, and guards the plan.
    pub(in crate::engine) async fn judge(
        &self,
        directory: &Directory,
        request: &Request,
        sight: &Sight,
        gates: &Gates,
    ) -> Result<Judged, EngineError> {
        let config = &directory.config;
        let name = &config.name;
        let mut warnings = Vec::new();
        let guids: BTreeSet<Guid> = sight
            .desired
            .keys()
            .copied()
            .chain(sight.malformed.iter().filter_map(|(g, _)| *g))
            .collect();
        let wanted: BTreeSet<AddressKey> =
            sight.desired.values().flat_map(Desired::wanted_keys).collect();
        let mut known = self.store.load(name, sight.policy.account, &guids, &wanted).await?;
        known.takeovers.clone_from(&sight.takeovers);
        known.rivals.clone_from(&sight.rivals);
        let rejections = self.rejections(name, &known).await?;
        let suspensions = rejections.iter().filter(|r| r.kind == "suspend");
        known.rejected = suspensions.filter_map(|r| Some((r.user, r.reason?))).collect();

        // A tier may have changed since the groups were asked: whoever was not asked about loses nothing.
        let unasked: Vec<Guid> = suspects(&sight.desired, &known)
            .into_iter()
            .filter(|g| !sight.confirmed.contains(g))
            .collect();
        let mut proposal = if unasked.is_empty() {
            plan(&sight.desired, &known, &sight.policy)
        } else {
            let mut desired = sight.desired.clone();
            for guid in unasked {
                if let Some(d) = desired.get_mut(&guid) {
                    d.confirm_membership(&Membership::Unknown, &sight.policy);
                }
            }
            plan(&desired, &known, &sight.policy)
        };
        if sight.failure.is_some() || !sight.unknown().is_empty() {
            proposal.restrict(|guid| sight.is_judged(guid));
        }
        if !sight.groups_stood {
            let lost = proposal.without_group_losses();
            warnings.push(format!("{lost} changes that take a tier away were dropped"));
        }
        for (guid, dn) in &sight.malformed {
            let quarantine = Quarantine {
                object_guid: guid.unwrap_or(Guid([0; 16])),
                dn: dn.as_str().to_owned(),
                reason: QuarantineReason::MalformedEntry,
            };
            proposal.plan.quarantined.retain(|q| Some(q.object_guid) != *guid);
            proposal.plan.quarantined.push(quarantine);
            if let Some((guid, stored)) = guid.and_then(|g| Some((g, known.people.get(&g)?))) {
                let row = PersonRow {
                    guid,
                    user: stored.user,
                    fingerprint: 0,
                    dn: None,
                    expires: None,
                    entitled_by: Entitlement::Unknown,
                    keeps_place: true,
                    quarantine: Some(QuarantineReason::MalformedEntry),
                    notes: stored.notes.clone(),
                };
                // What it shows of a leaver is applied; that it is broken stays what is written down of it.
                proposal.people.retain(|p| p.guid != guid);
                proposal.people.push(row);
            }
        }

        warnings.extend(unseen_places(&proposal, &sight.grants));
        warnings.extend(proposal.news(&known));
        let state = self.store.directory(name).await?;
        let now = self.clock.now();
        let budget = self.store.budget(name, config.limits.window, now).await?;
        let clusters: BTreeSet<String> =
            proposal.plan.changes.iter().filter_map(|c| c.cluster.clone()).collect();
        let grace_periods = self.store.grace_periods(name).await?;
        let mut waiting: Vec<_> = self
            .store
            .waiting(name)
            .await?
            .into_iter()
            .filter(|(guid, _)| !guid.is_some_and(|g| sight.is_judged(g)))
            .map(|(_, w)| w)
            .collect();
        let elsewhere =
            grace_periods.iter().filter(|s| s.due.is_some() && !sight.is_judged(s.guid));
        waiting.extend(elsewhere.map(|s| crate::reconcile::Waiting {
            user: s.user,
            class: s.cause.class(),
            cluster: s.cluster.clone(),
        }));
        let unjudged =
            rejections.iter().filter(|r| !r.guid.is_some_and(|guid| sight.is_judged(guid)));
        let rejected = Rejected {
            keys: rejections.iter().map(|r| r.key).collect(),
            clusters: unjudged.filter_map(|r| r.cluster.clone()).collect(),
        };
        let is_whole = sight.is_complete() && sight.groups_stood;
        let ended = ended(rejections, &proposal, &sight.desired, &known, is_whole, |guid| {
            sight.is_judged(guid)
        });
        let former_scope = self.former_scope(directory, &known).await?;
        let scope_changed = former_scope.is_some()
            || state.scope_hash.as_ref().is_some_and(|h| *h != config.scope_hash());
        let server_changed = state.server.as_ref().is_some_and(|s| *s != sight.server)
            || state.identity.as_ref().is_some_and(|i| *i != sight.identity);
        let changed_at = if server_changed { Some(now) } else { state.server_changed_at };
        let protected = self.protected(directory, sight.policy.account).await?;
        let situation = Situation {
            limits: &config.limits,
            active: budget.active,
            used: budget.used,
            waiting,
            first_seen: grace_periods
                .into_iter()
                .map(|s| ((s.user, s.cause), s.first_seen))
                .collect(),
            clusters: self
                .store
                .clusters(name, sight.policy.account, &clusters, now.minus(config.limits.window))
                .await?,
            protected: &protected,
            hold_all: match (config.mode, gates) {
                (Mode::PlanOnly, _) => HoldAll::Everything(HoldReason::PlanOnly),
                (Mode::Apply, Gates::Held(_)) => HoldAll::Everything(HoldReason::Gate),
                (Mode::Apply, _) if scope_changed => HoldAll::ExceptPositive,
                (Mode::Apply, _) => HoldAll::No,
            },
            approved: self.approved(directory, request).await?,
            rejected,
            deferred_until: changed_at
                .map(|at| at.plus(config.limits.grace_period.max(DEFERRAL)))
                .filter(|until| *until > now),
            now,
        };
        if scope_changed {
            let why = match former_scope.as_deref().or(state.scope_hash.as_deref()) {
                Some(RESTORED) => "the store was restored from a backup",
                Some(REBASELINED) => "bases, groups and rights were accepted anew",
                _ => "who is in scope has changed in the configuration",
            };
            warnings.push(format!(
                "{why}: this run only plans; look at rosterctl held show, and approve it"
            ));
        }
        let note = match gates {
            Gates::Held(why) => Some(why.clone()),
            Gates::Unasked | Gates::Passed(_) => None,
        };
        Ok(Judged { verdict: guard(proposal, &situation), warnings, note, ended })
    }

    /// The mark in place of the scope of a former directory whose people this run takes over: its next run was to plan only,
    /// because the store was restored or a baseline accepted, and another name is no approval of that.
    async fn former_scope(
        &self,
        directory: &Directory,
        known: &Known,
    ) -> Result<Option<String>, EngineError> {
        let neighbours = self.neighbours(directory);
        let mut formers: BTreeSet<DirectoryName> = moving(known).into_values().collect();
        formers.retain(|former| neighbours.iter().all(|d| d.config.name != *former));
        for former in formers {
            let scope = self.store.directory(&former).await?.scope_hash;
            if let Some(mark) = scope.filter(|hash| matches!(hash.as_str(), RESTORED | REBASELINED))
            {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    /// The rejections that concern this run: of the directory's own users, and of those that it takes over.
    async fn rejections(
        &self,
        name: &DirectoryName,
        known: &Known,
    ) -> Result<Vec<Rejection>, EngineError> {
        let mut rejections = self.store.rejections(name).await?;
        let moving = moving(known);
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

    /// The changes an operator has approved: of the plan this run is for, and of one whose approval could not be carried out yet.
    async fn approved(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<BTreeSet<crate::model::Digest>, EngineError> {
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
            approved.extend(
                self.store
                    .held_rows(plan)
                    .await?
                    .into_iter()
                    .filter(|row| row.approved)
                    .map(|row| row.digest),
            );
        }
        Ok(approved)
    }

    /// The protected people of the account, whichever of its directories lists them: a user that moves stays protected.
    ///
    /// Each configured address is pinned to the person who has it when it is first found.
    async fn protected(
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
        let pins: BTreeMap<String, Vec<Pin>> = self.store.pins(name, PinKind::Protected).await?;
        let mut protected = BTreeSet::new();
        for key in addresses.iter().map(Address::key) {
            if let Some(found) = pins.get(&key.0) {
                protected.extend(found.iter().map(|p| p.guid));
                continue;
            }
            // A section that took another name, or the place of another, protects the person that its forerunner did.
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
                    .pin(
                        name,
                        PinKind::Protected,
                        &Pin { name: key.0.clone(), guid, detail: String::new() },
                    )
                    .await?;
                protected.insert(guid);
            }
        }
        Ok(protected)
    }
}
