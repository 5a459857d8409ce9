//! The other directories of an account, and the directory that a person belongs to.
//!
//! A directory that is no longer configured shows no person. When one cannot be asked, the link stays,
//! the run has a warning, and the next run asks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::directory::{
    Decoder, LookupContext, LookupResults, PendingLookups, Session, Settings, Use,
};
use crate::engine::sync::observe::policy::believed;
use crate::engine::sync::stages::ObservedRun;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{
    AccountId, DirectoryName, Dn, Guid, Link, Override, Reason, Status, Timestamp, User,
};
use crate::reconcile::{
    AttributeId, Closure, Confirmation, Desired, Finding, LeaveDates, Policy, Provenance, Takeover,
    Whereabouts, decide,
};
use crate::store::Mark;

/// The answers of the other directories about people who are missing in one directory.
#[derive(Debug, Default)]
pub(in crate::engine) struct Elsewhere {
    /// People in the scope of another directory, with their DNs there.
    in_scope: BTreeMap<DirectoryName, BTreeMap<Guid, Dn>>,
    /// People alive in another directory, but out of its scope.
    outside: BTreeMap<Guid, Desired>,
    /// People deleted in another directory, each with the tombstone and the time.
    deleted: BTreeMap<Guid, (Dn, Timestamp)>,
    /// People with an unclear answer of a directory.
    unknown: BTreeSet<Guid>,
    /// Directories that could not be asked, each with the error.
    unasked: BTreeMap<DirectoryName, String>,
}

impl Engine {
    /// Returns the other configured directories of the account.
    pub(in crate::engine) fn neighbours(&self, directory: &Directory) -> Vec<Arc<Directory>> {
        let is_neighbour = |d: &&Arc<Directory>| {
            d.config.account == directory.config.account && d.config.name != directory.config.name
        };
        self.configured().directories.values().filter(is_neighbour).cloned().collect()
    }

    /// Opens a session with another directory of the account. Servers that did not answer lately are
    /// not waited for.
    pub(in crate::engine) async fn open_neighbour(
        &self,
        directory: &Directory,
    ) -> Result<(Session, Settings), EngineError> {
        let settings = self.locate(directory).await?;
        match directory.work.servers.silence(&settings, self.clock.passed()) {
            Some(reasons) => Err(EngineError::Silent(reasons)),
            None => self.open(directory, Use::Follow).await,
        }
    }

    /// Returns the answer of a directory about these people, by its own base, filter and exclusions.
    async fn whereabouts_in(
        &self,
        directory: &Directory,
        people: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<Guid, Whereabouts>, EngineError> {
        let (mut session, settings) = self.open_neighbour(directory).await?;
        self.whereabouts_at(directory, &mut session, &settings, people).await
    }

    /// Returns the answer of a directory about people who are missing in another one. Each server is asked
    /// that answers, because the one in use may not have heard of the entry of a mover.
    async fn whereabouts_of_missing(
        &self,
        directory: &Directory,
        people: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<Guid, Whereabouts>, EngineError> {
        let (mut session, settings) = self.open_neighbour(directory).await?;
        let mut whereabouts =
            self.whereabouts_at(directory, &mut session, &settings, people).await?;
        let asked = session.url().to_string();
        for url in settings.servers.iter().filter(|url| url.to_string() != asked) {
            let missing: BTreeSet<Guid> = whereabouts
                .iter()
                .filter_map(|(guid, place)| (!place.is_in_scope()).then_some(*guid))
                .collect();
            if missing.is_empty() {
                break;
            }
            if directory.work.servers.server(url).failure.is_some() {
                continue;
            }
            let asked = async {
                let mut session = self.open_at(directory, url, &settings).await?;
                self.whereabouts_at(directory, &mut session, &settings, &missing).await
            };
            match asked.await {
                Ok(found) => {
                    for (guid, place) in found {
                        let known = whereabouts.entry(guid).or_insert(Whereabouts::Absent);
                        if place.says_more_than(known) {
                            *known = place;
                        }
                    }
                }
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => tracing::debug!("{url} was not asked for missing people: {error}"),
            }
        }
        Ok(whereabouts)
    }

    async fn whereabouts_at(
        &self,
        directory: &Directory,
        session: &mut Session,
        settings: &Settings,
        people: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<Guid, Whereabouts>, EngineError> {
        let config = &directory.config;
        let now = self.clock.now();
        let bases = self.bases(directory, session, &mut Vec::new()).await?;
        let decoder = Decoder::new(&settings.attributes, &Closure::default());
        let stored = self.store.people(&config.name, people.iter().copied().collect()).await?;
        let last_complete_read = self.store.directory(&config.name).await?.last_complete_read;
        let inquiry = LookupContext {
            bases: &bases,
            settings,
            decoder: &decoder,
            stored: &stored,
            now,
            last_complete_read,
        };
        let mut found = LookupResults::default();
        session.confirm(&mut PendingLookups::of(people), &inquiry, &mut found).await?;
        let policy = self.scope_policy(directory, session, now, &mut Vec::new()).await?;
        // A person without an answer may be anywhere.
        let mut whereabouts: BTreeMap<Guid, Whereabouts> =
            people.iter().map(|guid| (*guid, Whereabouts::Unknown)).collect();
        found.people.retain(|guid, _| !found.unplaced.contains(guid));
        let is_deleted = |(guid, confirmation): (&Guid, &Confirmation)| {
            matches!(confirmation, Confirmation::Tombstone(_)).then_some(*guid)
        };
        let deleted: BTreeSet<Guid> = found.people.iter().filter_map(is_deleted).collect();
        let stamps = session.metadata(&deleted).await.unwrap_or_default();
        let deleted_at = |guid| stamps.get(&guid)?.written_at(AttributeId::IS_DELETED);
        for (guid, confirmation) in found.people {
            let place = match confirmation {
                Confirmation::Alive(person) => {
                    let desired = decide(*person, &policy);
                    match desired.finding(Reason::OutOfScope) {
                        Finding::Refuted => Whereabouts::InScope(desired.dn),
                        Finding::Holds => Whereabouts::Outside(Box::new(desired)),
                        Finding::Unknown => Whereabouts::Unknown,
                    }
                }
                Confirmation::Malformed(_) => Whereabouts::Unknown,
                // An entry without readable attributes is found by its DN only.
                Confirmation::Nowhere(_) if is_hidden(session, guid).await? => Whereabouts::Unknown,
                Confirmation::Nowhere(_) => Whereabouts::Absent,
                Confirmation::Tombstone(tombstone) => match deleted_at(guid) {
                    Some(at) => Whereabouts::Deleted { tombstone, at },
                    None => Whereabouts::Absent,
                },
            };
            whereabouts.insert(guid, place);
        }
        Ok(whereabouts)
    }

    /// Returns the decisions of a directory, by all of its rules, about those people who are alive there.
    pub(in crate::engine) async fn decided_in(
        &self,
        directory: &Directory,
        people: &BTreeSet<Guid>,
    ) -> Result<(BTreeMap<Guid, Desired>, Policy), EngineError> {
        let now = self.clock.now();
        let (mut session, settings) = self.open_neighbour(directory).await?;
        let bases = self.bases(directory, &mut session, &mut Vec::new()).await?;
        let closure = self.groups(directory, &mut session, &mut Vec::new()).await?.0;
        let policy = Policy {
            closure,
            ..self.scope_policy(directory, &mut session, now, &mut Vec::new()).await?
        };
        let decoder = Decoder::new(&settings.attributes, &policy.closure);
        let stored = BTreeMap::new();
        let inquiry = LookupContext {
            bases: &bases,
            settings: &settings,
            decoder: &decoder,
            stored: &stored,
            now,
            last_complete_read: None,
        };
        let mut found = LookupResults::default();
        session.confirm(&mut PendingLookups::of(people), &inquiry, &mut found).await?;
        let alive =
            found.people.into_iter().filter_map(|(guid, confirmation)| match confirmation {
                Confirmation::Alive(person) => Some((guid, decide(*person, &policy))),
                _ => None,
            });
        Ok((alive.collect(), policy))
    }

    /// Returns a policy for scope and account state alone. The groups are not read.
    pub(super) async fn scope_policy(
        &self,
        directory: &Directory,
        session: &mut Session,
        at: Timestamp,
        warnings: &mut Vec<String>,
    ) -> Result<Policy, EngineError> {
        let config = &directory.config;
        let (account, claims) = self.claims_of(directory).await?;
        Ok(Policy {
            directory: config.name.clone(),
            account,
            claims,
            closure: Closure::unread(),
            tiers: config.tiers,
            exclude: self.exclude(directory, session, warnings).await?,
            rules: self.rules(directory, session, warnings).await?,
            leave_date: LeaveDates {
                attribute: config.settings.attributes.leave_date.clone(),
                zone: config.zone,
            },
            now: believed(session.root.current_time, at),
            provenance: Provenance { server: session.server.clone(), at },
        })
    }

    /// Asks every other directory of the account for these people.
    pub(in crate::engine) async fn elsewhere(
        &self,
        directory: &Directory,
        people: &BTreeSet<Guid>,
    ) -> Result<Elsewhere, EngineError> {
        let mut elsewhere = Elsewhere::default();
        if people.is_empty() {
            return Ok(elsewhere);
        }
        for other in self.neighbours(directory) {
            match self.whereabouts_of_missing(&other, people).await {
                Ok(whereabouts) => elsewhere.note(&other.config.name, whereabouts),
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    drop(elsewhere.unasked.insert(other.config.name.clone(), error.to_string()))
                }
            }
        }
        Ok(elsewhere)
    }

    /// Leaves people to the other directories that show them, and has those directories read them.
    ///
    /// The absence of a person from this directory is void while another directory shows the person. Such
    /// people are removed from `found`. Returns the decisions about them that remain.
    pub(in crate::engine) async fn leave_to_others(
        &self,
        directory: &Directory,
        found: &mut BTreeMap<Guid, Confirmation>,
        bases: &[Dn],
        observed: &mut ObservedRun,
    ) -> Result<BTreeMap<Guid, Desired>, EngineError> {
        let mut here = BTreeMap::new();
        // The people to ask for, each with the cause that this directory would add.
        let mut missing = BTreeMap::new();
        for (guid, confirmation) in &*found {
            match confirmation {
                Confirmation::Nowhere(_) => drop(missing.insert(*guid, Reason::Vanished)),
                Confirmation::Tombstone(_) => drop(missing.insert(*guid, Reason::Deleted)),
                Confirmation::Alive(person) => {
                    let desired = decide((**person).clone(), &observed.seen.policy);
                    if desired.finding(Reason::OutOfScope) == Finding::Holds {
                        missing.insert(*guid, Reason::OutOfScope);
                        here.insert(*guid, desired);
                    }
                }
                Confirmation::Malformed(_) => {}
            }
        }
        let asked: BTreeSet<Guid> = missing.keys().copied().collect();
        let known = self
            .store
            .load(&directory.config.name, observed.seen.policy.account, &asked, &BTreeSet::new())
            .await?;
        let neighbours = self.neighbours(directory);
        // Suspended users are asked for as well, because a wrong cause would outlast the right one.
        let can_lose = |guid: &Guid| {
            let has_it =
                |user: &User| user.status() == Status::Suspended && user.causes.has(missing[guid]);
            // A released user can only lose the override `Return`.
            let is_over = |user: &User| {
                user.status() == Status::Released && !user.overrides.contains(&Override::Return)
            };
            let user = known.of_person(*guid).filter(|user| !is_over(user) && !has_it(user));
            // Users of another configured directory are left to it.
            user.and_then(|user| user.link.as_ref())
                .is_some_and(|link| neighbours.iter().all(|d| d.config.name != link.directory))
        };
        let asked: BTreeSet<Guid> = asked.into_iter().filter(can_lose).collect();
        let elsewhere = self.elsewhere(directory, &asked).await?;
        let is_own = |guid: Guid| {
            let link = known.of_person(guid).and_then(|user| user.link.as_ref());
            link.is_some_and(|link| link.directory == directory.config.name)
        };
        let mut left = BTreeMap::new();
        for guid in asked {
            let is_tombstone = matches!(found.get(&guid), Some(Confirmation::Tombstone(_)));
            if elsewhere.shows(guid) {
                // A disabled account needs no answer of another directory.
                left.extend(
                    here.get(&guid).and_then(Desired::only_positive).map(|desired| (guid, desired)),
                );
            } else if elsewhere.may_show(guid) && !is_tombstone {
                left.extend(
                    here.get(&guid).and_then(Desired::only_positive).map(|desired| (guid, desired)),
                );
            } else if here.contains_key(&guid) {
                continue;
            } else if !is_own(guid) && elsewhere.has_entry(guid) {
                // The directory that shows an entry of a removed one decides about it.
                found.remove(&guid);
                observed.seen.add_unknown([guid]);
                continue;
            } else if let Some(outside) = elsewhere.outside.get(&guid) {
                // An entry below a base of this directory is only invisible here, not out of scope.
                if !bases.iter().any(|base| outside.dn.is_within(base)) {
                    left.insert(guid, Desired::seen_outside(outside));
                }
            } else if let Some((tombstone, at)) = elsewhere.deleted.get(&guid)
                && known.people.get(&guid).is_some_and(|person| person.was_seen_before(*at))
                && !is_tombstone
            {
                // An older tombstone is what a move to this directory has left.
                left.insert(guid, Desired::deleted(guid, tombstone.clone()));
            } else {
                continue;
            }
            found.remove(&guid);
            if !left.contains_key(&guid) {
                observed.seen.add_unknown([guid]);
                observed.unseen.insert(guid);
            }
        }
        for (name, people) in &elsewhere.in_scope {
            observed
                .left_to
                .entry(name.clone())
                .or_default()
                .extend(people.iter().map(|(guid, dn)| (*guid, dn.clone())));
            let (from, n) = (&directory.config.name, people.len());
            tracing::info!(directory = %from, "{from}: {n} of its people are now in the scope of {name}, whose next run moves their users there");
        }
        observed.warnings.extend(elsewhere.warnings());
        // The next run of the other directory takes them over, unless something is in its way.
        let before = self.store.marked_people(&directory.config.name, Mark::Unseen).await?;
        let still = observed.unseen.iter().filter(|guid| before.contains_key(guid)).count();
        if still > 0 || elsewhere.is_unclear() {
            let people = match observed.unseen.len() {
                1 => {
                    "1 person is not shown any more, and no other directory has taken its user over"
                        .to_owned()
                }
                n => format!(
                    "{n} people are not shown any more, and no other directory has taken their users over"
                ),
            };
            observed.warnings.push(format!(
                "{people}: rosterctl user list --unseen, then rosterctl user explain USER"
            ));
        }
        Ok(left)
    }

    /// Decides which people this directory takes over from other directories of the account.
    pub(in crate::engine) async fn take_over(
        &self,
        directory: &Directory,
        bases: &[Dn],
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        let name = &directory.config.name;
        let links = self
            .store
            .links_elsewhere(
                observed.seen.policy.account,
                name,
                observed.seen.desired.keys().copied(),
            )
            .await?;
        let mut by_directory: BTreeMap<DirectoryName, Vec<Link>> = BTreeMap::new();
        for link in links.into_values() {
            by_directory.entry(link.directory.clone()).or_default().push(link);
        }
        let neighbours = self.neighbours(directory);
        let mut positive = BTreeMap::new();
        for (former, links) in by_directory {
            let present = match neighbours.iter().find(|d| d.config.name == former) {
                Some(other) => Some(self.present_whereabouts(other, &links, observed).await?),
                None => None,
            };
            let mut shown = 0_u64;
            let guids = links.iter().map(|link| link.guid).collect();
            let stored = self.store.people(&former, guids).await?;
            for link in links {
                let Some(here) = observed.seen.desired.get(&link.guid) else { continue };
                // A held change of scope leaves the stored home, although the entry has a new DN.
                let home = stored.get(&link.guid).map(|person| Dn::new(person.home.clone()));
                let covers = |dn: &Dn| bases.iter().any(|base| dn.is_within(base));
                let is_successor = covers(&link.dn) || home.as_ref().is_some_and(covers);
                let place = present
                    .as_ref()
                    .map(|present| present.get(&link.guid).unwrap_or(&Whereabouts::Unknown));
                let takeover = Takeover::decide(here, place, &former, is_successor);
                shown += u64::from(matches!(takeover, Takeover::Shown(_)));
                // Another directory may read that OU, so only positive reasons count here.
                if takeover.is_move() && present.is_none() && !here.is_in_scope() && !is_successor {
                    positive.extend(here.only_positive().map(|desired| (link.guid, desired)));
                }
                observed.seen.takeovers.insert(link.guid, takeover);
            }
            if shown > 0 {
                observed.warnings.push(format!(
                    "{} in the scope of both {former} and {name}: their users stay with {former}; correct the bases or filters, so that each person is in one of them",
                    people(shown)
                ));
            }
        }
        observed.seen.desired.extend(positive);
        Ok(())
    }

    /// Returns the answers of the linked directory about the people in scope here, and about leavers.
    /// Others stay with it.
    async fn present_whereabouts(
        &self,
        other: &Directory,
        links: &[Link],
        observed: &mut ObservedRun,
    ) -> Result<BTreeMap<Guid, Whereabouts>, EngineError> {
        let is_here = |guid: &Guid| {
            observed.seen.desired.get(guid).is_some_and(Desired::concerns_another_directory)
        };
        let asked: BTreeSet<Guid> = links.iter().map(|link| link.guid).filter(is_here).collect();
        if asked.is_empty() {
            return Ok(BTreeMap::new());
        }
        match self.whereabouts_in(other, &asked).await {
            Ok(whereabouts) => Ok(whereabouts),
            Err(EngineError::Store(error)) => Err(error.into()),
            Err(error) => {
                let (moved, name) = (people(asked.len() as u64), &other.config.name);
                observed.warnings.push(format!(
                    "{moved} may have moved here from {name}, which could not be asked ({error}): their users stay with it, only leavers among them are suspended, and the next run asks again"
                ));
                Ok(BTreeMap::new())
            }
        }
    }

    /// Returns the warnings about active users whose directory is no longer configured, because no run
    /// reads them.
    pub(in crate::engine) async fn left_behind(
        &self,
        directory: &Directory,
        account: AccountId,
    ) -> Result<Vec<String>, EngineError> {
        let neighbours = self.neighbours(directory);
        let mut sentences = Vec::new();
        for former in self.store.foreign(account, &directory.config.name).await?.into_keys() {
            if neighbours.iter().any(|d| d.config.name == former) {
                continue;
            }
            let active = self
                .store
                .managed_counts(&former)
                .await?
                .get(&Status::Active)
                .copied()
                .unwrap_or(0);
            if active > 0 {
                sentences.push(format!(
                    "{active} active users are linked to {former}, which is no longer configured: the next full run takes over those it shows; for the others configure a section that reads them, with rename-from = \"{former}\" if it is the same directory"
                ));
            }
        }
        Ok(sentences)
    }

    /// Returns the links of these people to directories that are no longer configured.
    pub(in crate::engine) async fn orphans(
        &self,
        directory: &Directory,
        account: AccountId,
        people: impl IntoIterator<Item = Guid>,
    ) -> Result<Vec<Link>, EngineError> {
        let neighbours = self.neighbours(directory);
        let links = self.store.links_elsewhere(account, &directory.config.name, people).await?;
        let is_orphan = |link: &Link| neighbours.iter().all(|d| d.config.name != link.directory);
        Ok(links.into_values().filter(is_orphan).collect())
    }

    /// Returns the people of other directories, and among them those of directories that are no longer
    /// configured. A full read may find them here.
    pub(in crate::engine) async fn foreign(
        &self,
        directory: &Directory,
        account: AccountId,
    ) -> Result<(Vec<Guid>, BTreeSet<Guid>), EngineError> {
        let neighbours = self.neighbours(directory);
        let (mut foreign, mut orphans) = (Vec::new(), BTreeSet::new());
        for (name, people) in self.store.foreign(account, &directory.config.name).await? {
            foreign.extend(people.iter().copied());
            if neighbours.iter().all(|d| d.config.name != name) {
                orphans.extend(people);
            }
        }
        Ok((foreign, orphans))
    }
}

impl Elsewhere {
    fn note(&mut self, name: &DirectoryName, whereabouts: BTreeMap<Guid, Whereabouts>) {
        for (guid, place) in whereabouts {
            match place {
                Whereabouts::InScope(dn) => {
                    drop(self.in_scope.entry(name.clone()).or_default().insert(guid, dn))
                }
                Whereabouts::Outside(desired) => drop(self.outside.insert(guid, *desired)),
                Whereabouts::Deleted { tombstone, at } => {
                    drop(self.deleted.insert(guid, (tombstone, at)))
                }
                Whereabouts::Unknown => drop(self.unknown.insert(guid)),
                Whereabouts::Absent => {}
            }
        }
    }

    /// Returns whether a directory shows the person in its scope.
    fn shows(&self, guid: Guid) -> bool {
        self.in_scope.values().any(|people| people.contains_key(&guid))
    }

    /// Returns whether a directory has an entry of the person that is out of its scope, or deleted.
    fn has_entry(&self, guid: Guid) -> bool {
        self.outside.contains_key(&guid) || self.deleted.contains_key(&guid)
    }

    /// Returns whether a directory may show the person, because it has no clear answer.
    fn may_show(&self, guid: Guid) -> bool {
        self.unknown.contains(&guid) || !self.unasked.is_empty()
    }

    /// Returns whether a directory has an unclear answer about a person.
    fn is_unclear(&self) -> bool {
        !self.unknown.is_empty()
    }

    fn warnings(&self) -> impl Iterator<Item = String> {
        let sentence = |(name, error): (&DirectoryName, &String)| {
            format!(
                "{name} could not be asked for people who are missing here ({error}): none of them is suspended before it answers"
            )
        };
        self.unasked.iter().map(sentence)
    }
}

/// Returns a number of people in words.
pub(super) fn people(number: u64) -> String {
    match number {
        1 => "1 person".to_owned(),
        number => format!("{number} people"),
    }
}

/// Returns whether the server has an entry with this GUID but without a readable attribute.
async fn is_hidden(session: &mut Session, guid: Guid) -> Result<bool, EngineError> {
    Ok(session.object(&format!("<GUID={guid}>"), &["objectGUID".to_owned()]).await?.is_some())
}
