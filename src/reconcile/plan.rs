//! The plan: the ordered changes from the stored users to the decided ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::addresses::{self, chosen};
use super::decide::Finding;
use super::wishes::{quarantine, rivals, wishes};
use super::{
    Desired, Entitlement, Fingerprint, Known, PersonRow, Policy, Primary, Proposal, Takeover,
    TierRules, TierWish, WithoutGroup,
};
use crate::model::{
    Addresses, By, Cause, Causes, Change, ChangeClass, ChangeKind, Guid, Joined, Link, Names,
    Override, Profile, Quarantine, QuarantineReason, Reason, Standing, Status, Tier, User, UserId,
};

/// A suspension by a directory that is younger than this is lifted without counting against a limit.
const FREE_REACTIVATION: Duration = Duration::from_hours(7 * 24);

/// Returns the people who would lose a tier or the last group. `memberOf` is no evidence of a loss.
/// Without configured groups a tier is lost by the configuration, which needs no evidence.
pub fn suspects(
    desired: &BTreeMap<Guid, Desired>,
    known: &Known,
    tiers: &TierRules,
) -> BTreeSet<Guid> {
    if !tiers.grouped {
        return BTreeSet::new();
    }
    let loses = |d: &Desired, user: &User| match d.tier {
        TierWish::Without => !user.causes.has(Reason::NoGroup),
        TierWish::Entitled { tier, .. } => tier < user.tier,
        TierWish::OfOu(tier) => tier != user.tier,
        TierWish::Unknown => false,
    };
    desired
        .values()
        .filter(|d| known.of_person(d.guid).is_some_and(|u| loses(d, u)))
        .map(|d| d.guid)
        .collect()
}

/// Plans the changes of these people.
pub fn plan(desired: &BTreeMap<Guid, Desired>, known: &Known, policy: &Policy) -> Proposal {
    let decided = desired;
    let chosen = chosen(desired, known, policy);
    let desired = chosen.as_ref().unwrap_or(decided);
    let leaving: BTreeSet<UserId> = desired
        .values()
        .filter(|d| d.holding().next().is_some())
        .filter_map(|d| known.of_person(d.guid))
        .map(|u| u.id)
        .collect();
    let mut wishes = wishes(desired, known, policy);
    let rivals = rivals(desired, known, policy, &wishes);
    let mut settled = addresses::settle(&wishes, known, &rivals, &leaving);
    // A user with an override of the new addresses keeps the present ones, so they are not free.
    let is_overridden = |guid: &Guid, granted: &Addresses| {
        wishes
            .get(guid)
            .and_then(|w| w.user)
            .is_some_and(|user| user.overrides.contains(&Override::addresses(granted)))
    };
    let overridden: BTreeSet<Guid> = settled
        .granted
        .iter()
        .filter(|(guid, granted)| is_overridden(guid, granted))
        .map(|(g, _)| *g)
        .collect();
    if !overridden.is_empty() {
        wishes.retain(|guid, _| !overridden.contains(guid));
        settled = addresses::settle(&wishes, known, &rivals, &leaving);
    }
    let mut proposal = Proposal::default();
    for d in desired.values() {
        let user = known.of_person(d.guid);
        let takeover = user.and_then(|user| known.takeover(user, policy));
        if let Some(left) = takeover.filter(|takeover| !takeover.is_move()) {
            if let (Takeover::Unasked(_), Some(user), Some(leaver)) =
                (left, user.filter(|u| u.standing != Standing::Released), d.only_positive())
            {
                let planned = Planned { d: &leaver, known, policy, quarantine: left.quarantine() };
                planned.existing(user, None, &mut proposal.plan.changes);
            }
            left_alone(d, left, known, &mut proposal);
            continue;
        }
        let linked = wishes
            .get(&d.guid)
            .and_then(|w| w.user)
            .filter(|u| user.is_none_or(|own| own.id != u.id));
        let refused = settled.refused.get(&d.guid).copied();
        let granted = settled.granted.get(&d.guid);
        // A released user claims nothing, so its entry is not quarantined.
        let has_user = user.is_some_and(|u| u.standing != Standing::Released);
        let is_taken = user.is_none() && linked.is_none() && known.is_id_taken(d, policy);
        let quarantine = quarantine(d, has_user, refused, policy)
            .or(is_taken.then_some(QuarantineReason::IdTaken));
        let planned = Planned { d, known, policy, quarantine };
        let start = proposal.plan.changes.len();
        if let (Some(user), Some(_)) = (user.filter(|u| u.standing != Standing::Released), takeover)
        {
            planned.take_over(user, &mut proposal.plan.changes);
        }
        // The address of a person without a user is decided by the entry and the claims alone.
        let is_settled = user.is_none()
            && matches!(
                quarantine,
                Some(QuarantineReason::NoAddress | QuarantineReason::UnclaimedDomain)
            );
        let mut whole = quarantine.is_none() || is_settled;
        let mut plans_all_causes = true;
        let former = if user.is_none() { known.former_user(d) } else { None };
        whole &= former.is_none();
        let owner = match (user, linked) {
            (None, _) if former.is_some() => {
                planned.relink(former, &mut proposal.plan.changes);
                None
            }
            (Some(user), _) if user.standing == Standing::Released => {
                planned.come_back(user, granted, &mut proposal.plan.changes);
                let is_kept_away = user.overrides.contains(&Override::Return)
                    && proposal.plan.changes.len() == start;
                if is_kept_away && takeover.is_some() {
                    // The override is about this person. The former directory, which shows it no more, may not end it.
                    planned.take_over(user, &mut proposal.plan.changes);
                }
                Some(user.id)
            }
            (Some(user), _) => {
                plans_all_causes = planned.existing(user, granted, &mut proposal.plan.changes);
                Some(user.id)
            }
            (None, Some(unmanaged)) => {
                let linked = planned.link(unmanaged, granted, &mut proposal.plan.changes);
                // A link suspends as disabled or expired alone. The next run adds the other reasons.
                whole &= d.holding().all(|r| matches!(r, Reason::Disabled | Reason::Expired));
                linked
            }
            (None, None) => planned.create(granted, &mut proposal.plan.changes),
        };
        if d.unwitnessed {
            proposal.unwitnessed.extend(owner);
        }
        if let Some(reason) = quarantine {
            proposal.plan.quarantined.push(Quarantine {
                object_guid: d.guid,
                dn: d.dn.as_str().to_owned(),
                reason,
            });
        }
        whole &= plans_all_causes;
        whole &= !d.is_alive()
            || [Reason::Disabled, Reason::Expired]
                .into_iter()
                .all(|r| d.finding(r) != Finding::Unknown);
        whole &= d.tier != TierWish::Unknown || !d.is_alive();
        whole &= d.finding(Reason::OutOfScope) != Finding::Unknown || !d.is_alive();
        // A secondary address that another user holds may become free, which is no change of this entry.
        whole &= granted.is_none_or(|granted| granted.secondary == d.secondary);
        let changed = proposal.plan.changes.len() > start;
        let mut notes: BTreeSet<String> = d.several().collect();
        notes.extend(
            settled
                .left_out
                .get(&d.guid)
                .into_iter()
                .flatten()
                .map(|left| left.sentence(d, desired)),
        );
        if owner.is_some() || quarantine.is_some() || changed || known.people.contains_key(&d.guid)
        {
            let last_seen =
                takeover.and(user).and_then(|user| user.link.as_ref()).map(|link| link.dn.clone());
            proposal.people.push(PersonRow {
                guid: d.guid,
                user: owner,
                // The next run compares the decision before one of several values is chosen.
                fingerprint: if whole && d.is_fully_readable() {
                    Fingerprint::Settled(decided[&d.guid].fingerprint())
                } else {
                    Fingerprint::Revisit
                },
                dn: if d.is_alive() { Some(d.dn.clone()) } else { last_seen },
                expires: d.expires(),
                entitled_by: match d.tier {
                    TierWish::Entitled { by: Some(group), .. } => Entitlement::By(group),
                    TierWish::Entitled { by: None, .. } | TierWish::OfOu(_) | TierWish::Without => {
                        Entitlement::Nothing
                    }
                    TierWish::Unknown => Entitlement::Unknown,
                },
                // A place that may be out of scope is not stored while that is unknown.
                keeps_place: !d.is_alive()
                    || !plans_all_causes
                    || d.finding(Reason::OutOfScope) == Finding::Unknown,
                quarantine,
                notes,
                metadata: None,
                sid: d.sid.clone(),
            });
        }
    }
    proposal
}

/// Adds the row of a person whose user stays with another directory.
fn left_alone(d: &Desired, left: &Takeover, known: &Known, proposal: &mut Proposal) {
    let quarantine = left.quarantine();
    if let Some(reason) = quarantine {
        proposal.plan.quarantined.push(Quarantine {
            object_guid: d.guid,
            dn: d.dn.as_str().to_owned(),
            reason,
        });
    }
    if quarantine.is_some() || known.people.contains_key(&d.guid) {
        let dn = d.is_alive().then(|| d.dn.clone());
        let notes = BTreeSet::new();
        proposal.people.push(PersonRow {
            guid: d.guid,
            user: None,
            fingerprint: Fingerprint::Revisit,
            dn,
            expires: None,
            entitled_by: Entitlement::Unknown,
            keeps_place: true,
            quarantine,
            notes,
            metadata: None,
            sid: d.sid.clone(),
        });
    }
}

struct Planned<'a> {
    d: &'a Desired,
    known: &'a Known,
    policy: &'a Policy,
    quarantine: Option<QuarantineReason>,
}

impl Planned<'_> {
    fn joined(&self, tier: Tier, addresses: &Addresses, causes: Causes) -> Box<Joined> {
        Box::new(Joined {
            tier,
            addresses: addresses.clone(),
            profile: self.d.profile.clone().unwrap_or_default(),
            link: Some(Link {
                directory: self.policy.directory.clone(),
                guid: self.d.guid,
                dn: self.d.dn.clone(),
            }),
            causes,
        })
    }

    fn cause(&self, reason: Reason) -> Cause {
        Cause {
            reason,
            since: self.policy.provenance.at,
            by: By::Directory(self.policy.directory.to_string()),
            evidence: self.d.evidence(reason, self.policy),
        }
    }

    fn change(
        &self,
        user: Option<&User>,
        id: UserId,
        kind: ChangeKind,
        class: Option<ChangeClass>,
    ) -> Change {
        let email = match (&self.d.primary, user.and_then(|u| u.addresses.primary.as_ref())) {
            (_, Some(address)) | (Primary::Usable(address), None) => Some(address.clone()),
            _ => None,
        };
        let profile = user.map(|u| &u.profile).or(self.d.profile.as_ref());
        let cluster = self.cluster(&kind, class);
        let stored = self.known.stored(self.d.guid).map(|s| s.home.clone());
        // The row of an expected mover has no home yet.
        let present = || self.d.dn.parent().map(|parent| parent.key().to_owned());
        let home = stored.filter(|home| !home.is_empty()).or_else(present);
        Change {
            user: id,
            guid: Some(self.d.guid),
            email,
            names: profile.map(Names::from).unwrap_or_default(),
            kind,
            class,
            version: user.map(|u| u.version),
            cluster,
            home,
        }
    }

    /// Returns the cluster: the lost group, the attribute that excludes the person, or the parent.
    fn cluster(&self, kind: &ChangeKind, class: Option<ChangeClass>) -> Option<String> {
        if !matches!(class, Some(ChangeClass::Deleted | ChangeClass::Gone | ChangeClass::Downgrade))
        {
            return None;
        }
        let stored = self.known.stored(self.d.guid);
        let group = || stored.and_then(|s| s.entitled_by).map(|g| format!("group:{g}"));
        let parent = || stored.map(|s| format!("ou:{}", s.home));
        match kind {
            ChangeKind::Tier { .. } => group().or_else(parent),
            ChangeKind::Suspend { cause, .. } if cause.reason == Reason::NoGroup => {
                group().or_else(parent)
            }
            ChangeKind::Suspend { cause, .. }
                if cause.reason == Reason::OutOfScope
                    && cause.evidence.attribute != "distinguishedName" =>
            {
                Some(format!("attribute:{}", cause.evidence.attribute.to_ascii_lowercase()))
            }
            ChangeKind::Suspend { .. } => parent(),
            _ => None,
        }
    }

    /// Moves the link to this directory.
    fn take_over(&self, user: &User, changes: &mut Vec<Change>) {
        let Some(before) = user.link.clone() else { return };
        let dn = if self.d.is_alive() { self.d.dn.clone() } else { before.dn.clone() };
        let after = Link { directory: self.policy.directory.clone(), guid: self.d.guid, dn };
        changes.push(self.change(Some(user), user.id, ChangeKind::Move { before, after }, None));
    }

    /// Links the user of a former entry to this one, when an operator approves it.
    fn relink(&self, user: Option<&User>, changes: &mut Vec<Change>) {
        let Some((user, before)) = user.and_then(|user| Some((user, user.link.clone()?))) else {
            return;
        };
        let directory = self.policy.directory.clone();
        let after = Link { directory, guid: self.d.guid, dn: self.d.dn.clone() };
        changes.push(self.change(Some(user), user.id, ChangeKind::Relink { before, after }, None));
    }

    fn create(&self, granted: Option<&Addresses>, changes: &mut Vec<Change>) -> Option<UserId> {
        let (Some(addresses), Some(tier), None) =
            (granted, self.d.joining_tier(self.policy), self.quarantine)
        else {
            return None;
        };
        let id = UserId::of_person(self.policy.account, self.d.guid);
        changes.push(self.change(
            None,
            id,
            ChangeKind::Create(self.joined(tier, addresses, Causes::default())),
            Some(ChangeClass::Create),
        ));
        Some(id)
    }

    fn come_back(&self, user: &User, granted: Option<&Addresses>, changes: &mut Vec<Change>) {
        if user.overrides.contains(&Override::Return) {
            if self.is_over(Override::Return, granted) {
                let after = user
                    .overrides
                    .iter()
                    .copied()
                    .filter(|decision| *decision != Override::Return)
                    .collect();
                changes.push(self.change(
                    Some(user),
                    user.id,
                    ChangeKind::Override { before: user.overrides.clone(), after },
                    None,
                ));
            }
            return;
        }
        if let (Some(addresses), Some(tier), None) =
            (granted, self.d.joining_tier(self.policy), self.quarantine)
        {
            changes.push(self.change(
                Some(user),
                user.id,
                ChangeKind::Create(self.joined(tier, addresses, Causes::default())),
                Some(ChangeClass::Create),
            ));
        }
    }

    fn link(
        &self,
        user: &User,
        granted: Option<&Addresses>,
        changes: &mut Vec<Change>,
    ) -> Option<UserId> {
        let (Some(addresses), None) = (granted, self.quarantine) else { return None };
        let causes: Vec<Cause> = [Reason::Disabled, Reason::Expired]
            .into_iter()
            .filter(|r| self.d.finding(*r) == Finding::Holds)
            .map(|r| self.cause(r))
            .collect();
        // A leaver without a tier keeps the present one.
        let tier = self.d.joining_tier(self.policy).or((!causes.is_empty()).then_some(user.tier))?;
        let class = if causes.is_empty() { ChangeClass::Create } else { ChangeClass::Confirmed };
        let before = Joined {
            tier: user.tier,
            addresses: user.addresses.clone(),
            profile: user.profile.clone(),
            link: None,
            causes: user.causes.clone(),
        };
        let kind = ChangeKind::Link {
            before: Box::new(before),
            after: self.joined(tier, addresses, causes.into()),
        };
        changes.push(self.change(Some(user), user.id, kind, Some(class)));
        Some(user.id)
    }

    /// Plans an existing user. Returns whether no cause is left for a later run.
    fn existing(
        &self,
        user: &User,
        granted: Option<&Addresses>,
        changes: &mut Vec<Change>,
    ) -> bool {
        let mut push = |kind, class| changes.push(self.change(Some(user), user.id, kind, class));
        let was_active = user.status() != Status::Suspended;

        let is_overridden = |what: Override| user.overrides.contains(&what);
        let new: Vec<Reason> = self
            .d
            .holding()
            .filter(|r| !user.causes.has(*r) || self.is_backed_by_leave_date(user, *r))
            .filter(|r| !is_overridden(Override::Reason(*r)))
            .collect();
        // An active user is suspended for the weightiest reason alone, so that one limit decides. Others
        // follow once it is suspended. A rejected reason is planned in addition, so that it does not hide
        // one that is not rejected.
        let (rejected, new): (Vec<Reason>, Vec<Reason>) =
            new.into_iter().partition(|r| self.known.rejected.contains(&(user.id, *r)));
        let (now, later) = new.split_at(if was_active { new.len().min(1) } else { new.len() });
        let now: Vec<Reason> = rejected.into_iter().chain(now.iter().copied()).collect();
        for reason in &now {
            push(
                ChangeKind::Suspend { cause: self.cause(*reason), was_active },
                if was_active { reason.class() } else { None },
            );
        }
        let still: BTreeSet<Override> = user
            .overrides
            .iter()
            .copied()
            .filter(|decision| !self.is_over(*decision, granted))
            .collect();
        if still != user.overrides {
            push(ChangeKind::Override { before: user.overrides.clone(), after: still }, None);
        }
        if self.quarantine.is_none() {
            self.lift(user, &now, &mut push);
        }
        self.retier(user, &mut push);
        if let Some(after) =
            granted.filter(|after| self.quarantine.is_none() && **after != user.addresses)
        {
            push(
                ChangeKind::Readdress { before: user.addresses.clone(), after: after.clone() },
                Some(ChangeClass::Readdress),
            );
        }
        let wanted =
            self.d.profile.as_ref().map(|profile| profile.keeping_logon_name(&user.profile));
        // Further attributes follow the directory, whatever an operator overrides.
        let wanted = wanted.map(|wanted| {
            if is_overridden(Override::attributes(&wanted)) {
                Profile { extra: wanted.extra, ..user.profile.clone() }
            } else {
                wanted
            }
        });
        if let Some(profile) = wanted.filter(|wanted| *wanted != user.profile) {
            push(
                ChangeKind::Update {
                    before: Box::new(user.profile.clone()),
                    after: Box::new(profile),
                },
                None,
            );
        }
        later.is_empty()
    }

    fn lift(
        &self,
        user: &User,
        added: &[Reason],
        push: &mut impl FnMut(ChangeKind, Option<ChangeClass>),
    ) {
        let is_lifted = |c: &&Cause| {
            c.reason != Reason::Operator
                && self.d.finding(c.reason) == Finding::Refuted
                && !self.d.has_lost_leave_date(c.reason, Some(&c.evidence.attribute))
        };
        let lifted: Vec<Cause> = user.causes.iter().filter(is_lifted).cloned().collect();
        if lifted.is_empty() {
            return;
        }
        let remaining: BTreeSet<Reason> = user
            .causes
            .iter()
            .map(|c| c.reason)
            .filter(|r| !lifted.iter().any(|l| l.reason == *r))
            .chain(added.iter().copied())
            .collect();
        // The last cause is lifted only when every cause is refuted.
        if remaining.is_empty() && !self.is_in_order(user) {
            return;
        }
        let is_free =
            lifted.iter().all(|c| self.policy.provenance.at.since(c.since) <= FREE_REACTIVATION);
        let class = (remaining.is_empty() && !is_free).then_some(ChangeClass::Reactivate);
        let evidence = lifted.iter().map(|c| self.d.evidence(c.reason, self.policy)).collect();
        push(ChangeKind::Reactivate { lifted: lifted.into(), remaining, evidence }, class);
    }

    /// Returns whether the leave date has passed as well, which the stored cause does not say yet. It has
    /// to, because an emptied leave date lifts nothing.
    fn is_backed_by_leave_date(&self, user: &User, reason: Reason) -> bool {
        let stored = user.causes.get(reason).map(|cause| cause.evidence.attribute.as_str());
        reason == Reason::Expired
            && self.d.has_left_by_date()
            && stored != self.policy.leave_date.attribute.as_deref()
    }

    /// Returns whether every cause is refuted or overridden.
    fn is_in_order(&self, user: &User) -> bool {
        let is_out = |reason: Reason| {
            self.d.finding(reason) == Finding::Refuted
                || user.overrides.contains(&Override::Reason(reason))
        };
        Reason::ALL.into_iter().filter(|reason| *reason != Reason::Operator).all(is_out)
    }

    /// Returns whether the directory no longer asks for the overridden change. Unknown findings do not
    /// clear an override.
    fn is_over(&self, decision: Override, granted: Option<&Addresses>) -> bool {
        match decision {
            Override::Reason(reason) => {
                self.d.finding(reason) == Finding::Refuted && !self.d.unwitnessed
            }
            Override::Tier(tier) => self.wanted_tier().is_some_and(|wanted| wanted != tier),
            Override::Addresses(_) => {
                granted.is_some_and(|granted| Override::addresses(granted) != decision)
            }
            Override::Attributes(_) => self
                .d
                .profile
                .as_ref()
                .is_some_and(|profile| Override::attributes(profile) != decision),
            // An absence is a conclusion, and the entry may show again.
            Override::Return => self.d.holding().any(|reason| reason != Reason::Vanished),
            // A link override is cleared by an operator only.
            Override::Link(_) => false,
        }
    }

    /// Returns the tier that the directory asks for.
    fn wanted_tier(&self) -> Option<Tier> {
        match (self.d.tier, self.policy.tiers.without_group) {
            _ if !self.d.is_alive() => None,
            (TierWish::Entitled { tier, .. } | TierWish::OfOu(tier), _) => Some(tier),
            (TierWish::Without, WithoutGroup::Basic) => Some(Tier::Basic),
            (TierWish::Without, WithoutGroup::Suspend | WithoutGroup::Keep)
            | (TierWish::Unknown, _) => None,
        }
    }

    fn retier(&self, user: &User, push: &mut impl FnMut(ChangeKind, Option<ChangeClass>)) {
        let wanted = self.wanted_tier().filter(|after| {
            *after != user.tier && !user.overrides.contains(&Override::Tier(*after))
        });
        if let Some(after) = wanted {
            let class =
                if after > user.tier { ChangeClass::Upgrade } else { ChangeClass::Downgrade };
            let evidence = self.d.evidence(Reason::NoGroup, self.policy);
            push(ChangeKind::Tier { before: user.tier, after, evidence }, Some(class));
        }
    }
}
