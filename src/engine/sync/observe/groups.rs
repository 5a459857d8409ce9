//! The groups: a person who seems to have left one is confirmed at the group itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{DirectoryError, MembershipQuery, Right, Session};
use crate::engine::sync::stages::ObservedRun;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{GroupName, Guid, Tier};
use crate::reconcile::{Membership, TierWish, suspects};
use crate::store::{BaselineKind, BaselineObject};

impl Engine {
    /// Returns the groups that listed members before this run. A full run adds the groups of the closure that list some now.
    async fn listed_before(
        &self,
        directory: &Directory,
        session: &mut Session,
        observed: &mut ObservedRun,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let name = &directory.config.name;
        let listed: BTreeSet<Guid> = self
            .store
            .baseline(name, BaselineKind::Listing)
            .await?
            .into_values()
            .flatten()
            .map(|pin| pin.guid)
            .collect();
        let fresh: BTreeSet<Guid> = observed
            .seen
            .policy
            .closure
            .own_groups()
            .map(|group| group.guid)
            .filter(|guid| !listed.contains(guid))
            .collect();
        if !observed.seen.is_full() || fresh.is_empty() {
            return Ok(listed);
        }
        match session.groups_with_members(&fresh).await {
            Ok(listing) => {
                for guid in listing {
                    let object =
                        BaselineObject { name: guid.to_string(), guid, detail: String::new() };
                    self.store
                        .accept_in_baseline(observed.baseline, name, BaselineKind::Listing, &object)
                        .await?;
                }
            }
            Err(error) => observed
                .warnings
                .push(format!("the groups could not be asked whether they list members: {error}")),
        }
        Ok(listed)
    }

    /// Returns the groups of other directories, with those that were configured before.
    async fn known_elsewhere(
        &self,
        directory: &Directory,
        observed: &ObservedRun,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let accepted =
            self.store.baseline(&directory.config.name, BaselineKind::Group).await?.into_iter();
        let of_others = accepted.filter(|(name, _)| GroupName::parse(name).directory().is_some());
        let mut groups: BTreeSet<Guid> =
            of_others.flat_map(|(_, objects)| objects).map(|object| object.guid).collect();
        groups.extend(observed.seen.policy.closure.groups_elsewhere());
        Ok(groups)
    }

    /// Asks the groups about the people who seem to have left them, then whether the groups have changed.
    pub(in crate::engine) async fn confirm_groups(
        &self,
        directory: &Directory,
        session: &mut Session,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        if observed.seen.policy.closure.is_empty() {
            return Ok(());
        }
        let name = &directory.config.name;
        let listed = self.listed_before(directory, session, observed).await?;
        let losing: BTreeSet<Guid> = observed
            .seen
            .desired
            .values()
            .filter(|d| !matches!(d.tier, TierWish::Entitled { tier: Tier::Pro, .. }))
            .map(|d| d.guid)
            .collect();
        let known =
            self.store.load(name, observed.seen.policy.account, &losing, &BTreeSet::new()).await?;
        let mut in_use: BTreeSet<Guid> = self.store.groups_in_use(name).await?;
        let neighbours = self.neighbours(directory);
        // A group of the directory that a person comes from may be one of another domain, which says
        // nothing here. A section without a configuration may be a former name of this one.
        let is_known = |person: Guid, group: &Guid| {
            let link = known.of_person(person).and_then(|user| user.link.as_ref());
            let is_elsewhere =
                link.is_some_and(|l| neighbours.iter().any(|d| d.config.name == l.directory));
            let closure = &observed.seen.policy.closure;
            !is_elsewhere || in_use.contains(group) || closure.tier_of(*group).is_some()
        };
        let suspects: BTreeMap<Guid, MembershipQuery> =
            suspects(&observed.seen.desired, &known, &observed.seen.policy.tiers)
                .into_iter()
                .map(|guid| {
                    let d = &observed.seen.desired[&guid];
                    let entitled_by = known.stored(guid).and_then(|p| p.entitled_by);
                    (
                        guid,
                        MembershipQuery {
                            dn: d.dn.clone(),
                            groups: d.entitled_by().into_iter().collect(),
                            entitled_by: entitled_by.filter(|group| is_known(guid, group)),
                        },
                    )
                })
                .collect();
        if !suspects.is_empty() {
            // A renamed section has not used the groups of its people yet.
            in_use.extend(suspects.values().filter_map(|suspect| suspect.entitled_by));
            // This domain has no answer about groups of others, which the closure has read.
            let elsewhere = self.known_elsewhere(directory, observed).await?;
            let silent_elsewhere: Vec<Guid> = observed
                .seen
                .policy
                .closure
                .silent_elsewhere()
                .filter(|g| in_use.contains(g))
                .collect();
            in_use.retain(|group| !elsewhere.contains(group));
            let answers = async {
                let mut silent = session.groups_without_members(&in_use).await?;
                silent.extend(silent_elsewhere);
                // A group that listed members and lists none now is silent, even when it is the primary group
                // of people.
                let listing = session.groups_with_members(&listed).await?;
                silent
                    .extend(in_use.intersection(&listed).filter(|group| !listing.contains(group)));
                // The groups below an emptied one have left the closure, whether it was emptied or hidden.
                let closure = &observed.seen.policy.closure;
                let is_inside = |group: &Guid| closure.tier_of(*group).is_some();
                let emptied: BTreeSet<Guid> =
                    listed.difference(&listing).copied().filter(is_inside).collect();
                let of_suspects = suspects.values().filter_map(|suspect| suspect.entitled_by);
                let below: BTreeSet<Guid> =
                    of_suspects.filter(|group| !emptied.is_empty() && !is_inside(group)).collect();
                silent.extend(
                    session.hidden_nested_groups(&in_use, &observed.seen.policy.closure).await?,
                );
                // Only the emptied group is told of, and not those that it hides.
                let mut told: BTreeSet<Guid> = silent
                    .iter()
                    .filter(|group| suspects.values().any(|s| s.entitled_by == Some(**group)))
                    .copied()
                    .collect();
                if !below.is_empty() {
                    told.extend(emptied);
                    told.retain(|group| !below.contains(group));
                    silent.extend(below);
                }
                Ok::<_, DirectoryError>((
                    session.memberships(&suspects, &observed.seen.policy.closure, &silent).await?,
                    told,
                ))
            };
            match answers.await {
                Ok((answers, told)) => {
                    for group in &told {
                        let dn = observed
                            .seen
                            .policy
                            .closure
                            .groups()
                            .find(|g| g.guid == *group)
                            .map_or_else(
                                || format!("<GUID={group}>"),
                                |g| g.dn.as_str().to_owned(),
                            );
                        let grant = observed.grants.command(Right::ReadProperty, &dn);
                        observed.warnings.push(format!(
                            "the group {dn} looks empty, or shows no parent groups, although it gave people their tier. Its people keep the tier. If it can no longer be read, as a domain administrator: {grant}; if it is really empty: rosterctl directory rebaseline {name}"
                        ));
                    }
                    for (guid, answer) in &answers {
                        if let Some(desired) = observed.seen.desired.get_mut(guid) {
                            desired.confirm_membership(answer, &observed.seen.policy);
                        }
                    }
                    observed.seen.membership_confirmed.extend(
                        answers
                            .into_iter()
                            .filter(|(_, a)| *a != Membership::Unknown)
                            .map(|(g, _)| g),
                    );
                }
                Err(error) => observed
                    .warnings
                    .push(format!("the groups could not be asked for their members: {error}")),
            }
        }
        if !observed.seen.desired.is_empty() {
            observed.seen.closure_is_stable =
                match session.reread_closure(&observed.seen.policy.closure).await {
                    Ok(later) => observed.seen.policy.closure.is_same_as(&later),
                    Err(_) => false,
                };
            if !observed.seen.closure_is_stable {
                observed.warnings.push("groups were renamed or moved during the read: no user loses a tier or gets another address in this run".to_owned());
            }
        }
        Ok(())
    }
}
