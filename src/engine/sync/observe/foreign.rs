//! Groups that have members of other domains, and groups of other directories of the account.
//!
//! A domain names a member of another one by its SID or its DN. A person is found there by the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{GroupError, ObjectKind, Session};
use crate::engine::sync::observe::replica::{UpToDateness, own_mark};
use crate::engine::sync::stages::{ObservedRun, Request, Scope};
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{DirectoryName, Dn, GroupName, Guid, Sid, Tier};
use crate::reconcile::{Closure, Currency, ForeignMember, foreign_members};

impl Engine {
    /// Adds the configured groups of other directories to the closure, with the members that may be
    /// people of this one.
    ///
    /// A directory that cannot be asked makes the closure partial: no user gets or loses a tier by
    /// the absence of such a group.
    pub(super) async fn groups_elsewhere(
        &self,
        directory: &Directory,
        session: &mut Session,
        closure: &mut Closure,
        warnings: &mut Vec<String>,
    ) -> Result<Option<GroupError>, EngineError> {
        let mut by_directory: BTreeMap<&DirectoryName, Vec<(Tier, &GroupName)>> = BTreeMap::new();
        for (tier, group) in &directory.config.settings.groups {
            if let Some(other) = group.directory() {
                by_directory.entry(other).or_default().push((*tier, group));
            }
        }
        let mut trouble = None;
        for (other, groups) in by_directory {
            match self.groups_in(directory, other, &groups, closure, warnings).await {
                Ok(problem) => trouble = trouble.or(problem),
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    warnings.push(format!(
                        "the groups of {other} could not be read ({error}): no user loses a tier, or is suspended as no-group, before they can; look with rosterctl directory check {other}"
                    ));
                    *closure = std::mem::take(closure).partial();
                }
            }
        }
        self.nested_groups(directory, session, closure).await?;
        Ok(trouble)
    }

    /// Adds groups of another directory, nested ones included, to the closure.
    async fn groups_in(
        &self,
        directory: &Directory,
        other: &DirectoryName,
        groups: &[(Tier, &GroupName)],
        closure: &mut Closure,
        warnings: &mut Vec<String>,
    ) -> Result<Option<GroupError>, EngineError> {
        let neighbours = self.neighbours(directory);
        let other = neighbours.iter().find(|d| d.config.name == *other).ok_or_else(|| {
            EngineError::NotFound {
                what: "directory of the account",
                name: other.to_string(),
                near: None,
            }
        })?;
        let (mut session, _) = self.open_neighbour(other).await?;
        self.trust_groups(directory, other, &mut session, warnings).await?;
        let (mut roots, mut trouble) = (Vec::new(), None);
        for (tier, group) in groups {
            match self.group(directory, &mut session, group, warnings).await? {
                Ok(object) => roots.push((*tier, object)),
                Err(problem) => trouble = Some(problem),
            }
        }
        let found = session.closure(&roots).await?;
        // A second directory of one domain reads the same groups, whose members are its own entries.
        for group in found.groups() {
            let members = session.group_members(group.guid).await?;
            closure.add_elsewhere(group.clone(), members, &session.server);
        }
        if let Some(change) = found.last_change().and_then(|usn| own_mark(&session, usn)) {
            closure.note_change_elsewhere(other.config.name.clone(), change);
        }
        Ok(trouble)
    }

    /// Fails if the server of another directory may lack a change of its groups that another server has
    /// shown. Such groups may list a leaver, and lack a joiner.
    async fn trust_groups(
        &self,
        directory: &Directory,
        other: &Directory,
        session: &mut Session,
        warnings: &mut Vec<String>,
    ) -> Result<(), EngineError> {
        let (name, other) = (&directory.config.name, &other.config.name);
        let marks = self.store.directory(name).await?.high_water_marks;
        let Some(last_change) = marks.groups_elsewhere.get(other) else { return Ok(()) };
        let theirs = self.store.directory(other).await?.high_water_marks;
        let up_to_dateness = UpToDateness::read(session, theirs, warnings).await;
        let is_own = session.root.identity.invocation_id == Some(last_change.invocation_id)
            && !up_to_dateness.is_set_back;
        match Currency::of(Some(last_change), up_to_dateness.knowledge.as_ref()) {
            Currency::Current => Ok(()),
            Currency::Unproven if is_own => Ok(()),
            Currency::Behind | Currency::Unproven => Err(EngineError::GroupsBehind {
                server: session.server.clone(),
                directory: name.clone(),
            }),
        }
    }

    /// Adds the groups of this domain that are members of groups of other directories.
    async fn nested_groups(
        &self,
        directory: &Directory,
        session: &mut Session,
        closure: &mut Closure,
    ) -> Result<(), EngineError> {
        let (sids, dns) = self.unknown_members(directory, session, closure).await?;
        let mut roots = Vec::new();
        let found = session.objects_by_sid(&sids).await?;
        let named = session.objects_by_dn(&dns).await?;
        for (kind, object) in found.into_iter().chain(named) {
            let sid = object.bytes("objectSid").and_then(Sid::from_ad);
            let by: Vec<Guid> =
                closure.listing(sid.as_ref(), &Dn::new(object.dn.clone())).collect();
            match (kind, closure.best(&by)) {
                (ObjectKind::Group, Some((tier, _))) => roots.push((tier, object)),
                (ObjectKind::Person, _) => closure.strangers.extend(object.guid()),
                _ => {}
            }
        }
        for group in session.closure(&roots).await?.groups() {
            closure.add(group.clone());
        }
        Ok(())
    }

    /// Returns the members of this domain that groups of other directories list, and that are no stored
    /// people.
    async fn unknown_members(
        &self,
        directory: &Directory,
        session: &Session,
        closure: &Closure,
    ) -> Result<(BTreeSet<Sid>, BTreeSet<Dn>), EngineError> {
        let domain = session.domain_sid();
        let (sids, dns) = closure.members_elsewhere();
        let mut sids: BTreeSet<Sid> = sids.filter(|sid| sid.domain() == domain).cloned().collect();
        for (_, person) in self.store.people_by_sid(&sids).await? {
            if person.directory == directory.config.name {
                sids.remove(&person.sid);
            }
        }
        let root = Dn::new(session.root.default_naming_context.clone());
        let dns = dns.filter(|dn| dn.is_within(&root)).cloned().collect();
        Ok((sids, dns))
    }

    /// Returns the people whom groups of other directories list otherwise than when their tiers were
    /// decided. The changes of those groups are no changes of this domain.
    pub(super) async fn regrouped(
        &self,
        directory: &Directory,
        request: &Request,
        observed: &ObservedRun,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let closure = &observed.seen.policy.closure;
        let elsewhere: BTreeSet<Guid> = closure.groups_elsewhere().collect();
        let is_incremental =
            matches!(request.scope, Scope::People(_)) && request.checkpoint.is_some();
        if !is_incremental || elsewhere.is_empty() {
            return Ok(BTreeSet::new());
        }
        let name = &directory.config.name;
        let sids: BTreeSet<Sid> = closure.members_elsewhere().0.cloned().collect();
        let listed = self.store.people_by_sid(&sids).await?;
        let entitled = self.store.entitled_by(name, &elsewhere).await?;
        let mut asked = closure.strangers.clone();
        let mut unlisted = entitled.clone();
        for (guid, person) in listed {
            if person.directory != *name {
                continue;
            }
            let by: Vec<Guid> = closure.listing(Some(&person.sid), &person.dn).collect();
            let stored = person.entitled_by.and_then(|group| closure.tier_of(group));
            if closure.best(&by).map(|(tier, _)| tier) > stored {
                asked.insert(guid);
            }
            if person.entitled_by.is_some_and(|group| by.contains(&group)) {
                unlisted.remove(&guid);
            }
        }
        asked.extend(unlisted);
        Ok(asked)
    }

    /// Warns of members of the groups whom this directory cannot give a tier, because they are of other
    /// domains.
    pub(super) async fn warn_of_foreign_members(
        &self,
        directory: &Directory,
        session: &mut Session,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        let name = &directory.config.name;
        let closure = &observed.seen.policy.closure;
        let mut groups: BTreeMap<Guid, String> =
            closure.own_groups().map(|group| (group.guid, group.dn.name())).collect();
        match session.groups_with_foreign_members(&groups.keys().copied().collect()).await {
            Ok(listing) => groups.retain(|group, _| listing.contains(group)),
            Err(error) => {
                observed
                    .warnings
                    .push(format!("the foreign members of groups could not be read: {error}"));
                return Ok(());
            }
        }
        let mut foreign: BTreeSet<ForeignMember> = BTreeSet::new();
        let mut of: BTreeSet<String> = BTreeSet::new();
        for (group, group_name) in groups {
            match session.group_members(group).await {
                Ok(members) if members.foreign.is_empty() => {}
                Ok(members) => {
                    of.insert(group_name);
                    foreign.extend(members.foreign);
                }
                Err(error) => {
                    observed
                        .warnings
                        .push(format!("the members of {group_name} could not be read: {error}"));
                    return Ok(());
                }
            }
        }
        let sids = foreign.iter().filter_map(|member| match member {
            ForeignMember::Sid(sid) => Some(sid.clone()),
            ForeignMember::Name(_) => None,
        });
        let known = self.store.people_by_sid(&sids.collect()).await?;
        let known: BTreeMap<Sid, _> =
            known.into_iter().map(|(guid, person)| (person.sid.clone(), (guid, person))).collect();
        // A directory that has these groups in its configuration finds its people in them.
        let reads_groups = |other: &DirectoryName| {
            let configured = self.configured();
            configured.directories.get(other).is_some_and(|other| {
                let groups = &other.config.settings.groups;
                groups.iter().any(|(_, group)| group.directory() == Some(name))
            })
        };
        foreign.retain(|member| match member {
            ForeignMember::Sid(sid) => {
                known.get(sid).is_none_or(|(_, person)| !reads_groups(&person.directory))
            }
            ForeignMember::Name(_) => true,
        });
        if foreign.is_empty() {
            return Ok(());
        }
        let named = |member: &ForeignMember| match member {
            ForeignMember::Sid(sid) => known.get(sid).map_or_else(
                || sid.to_string(),
                |(_, person)| format!("{} of {}", person.dn.as_str(), person.directory),
            ),
            ForeignMember::Name(dn) => dn.as_str().to_owned(),
        };
        let names: Vec<String> = foreign.iter().map(named).collect();
        let groups: Vec<String> = of.into_iter().collect();
        let group = groups.first().map_or("", String::as_str);
        observed.warnings.push(format!(
            "{}; write \"{name}:{group}\" in the groups of the directory of these people",
            foreign_members(&groups.join(", "), &names)
        ));
        Ok(())
    }
}
