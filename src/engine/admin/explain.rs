//! Why somebody is what they are: where the directories have them, what that says, what rosterd did, and what it would do now.
//! Also for people it does not have.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::Session;
use crate::engine::sync::stages::{DryRun, Request};
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{
    Address, Change, DirectoryName, Guid, HoldReason, QuarantineReason, RunId, Trigger, User,
    WrittenChange,
};
use crate::reconcile::{Closure, Confirmation, Reading, paths, read, remedies};
use crate::store::PinKind;

/// Changes of somebody's that are told, the latest first.
const HISTORY: u64 = 20;

/// Everything there is to say about somebody.
#[derive(Debug)]
pub struct Explanation {
    /// The user, if there is one.
    pub user: Option<User>,
    /// What would make it otherwise.
    pub remedies: Vec<String>,
    /// What the directories have.
    pub entries: Vec<Entry>,
    /// The directories that have nobody like that, or could not be asked, each with what was looked for or went wrong.
    pub elsewhere: Vec<(DirectoryName, String)>,
    /// What rosterd did, the latest first, each with its run.
    pub history: Vec<(RunId, WrittenChange)>,
}

/// What one directory has of somebody.
#[derive(Debug)]
pub struct Entry {
    /// The directory.
    pub directory: DirectoryName,
    /// The server that was asked.
    pub server: String,
    /// The person.
    pub guid: Guid,
    /// Where the entry stands, or stood.
    pub dn: String,
    /// What was found, in a sentence.
    pub found: String,
    /// What the entry says; nothing where there is none that can be read.
    pub reading: Option<Reading>,
    /// The ways from the person's groups to the configured ones.
    pub groups: Vec<Vec<String>>,
    /// Whether the person has a user.
    pub has_user: bool,
    /// Why it cannot be used as it is.
    pub quarantine: Option<QuarantineReason>,
    /// What a run would do now, and why not at once.
    pub would: Vec<(Change, Option<HoldReason>)>,
    /// What of it waits for an operator, or was refused by one.
    pub waits: Option<String>,
    /// What could not be read, and what an operator should know.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Explains somebody: an address, a user id, or an objectGUID.
    pub async fn explain(&self, who: &str) -> Result<Explanation, EngineError> {
        let user = match self.find_user(who).await {
            Ok(user) => Some(user),
            Err(EngineError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let history = match &user {
            Some(user) => self.history(user).await?,
            None => Vec::new(),
        };
        let account = match &user {
            Some(user) => Some(self.account_of(user).await?.handle),
            None => None,
        };
        let (mut entries, mut elsewhere) = (Vec::new(), Vec::new());
        for directory in self.configured().directories.values() {
            // A person may have moved, or be in several: every directory of the account is asked.
            if account.as_ref().is_some_and(|account| *account != directory.config.account) {
                continue;
            }
            match self.explain_in(directory, who, user.as_ref()).await {
                Ok(found) if found.is_empty() => {
                    let what = format!(
                        "nobody in it has {who} as objectGUID, address or userPrincipalName"
                    );
                    elsewhere.push((directory.config.name.clone(), what));
                }
                Ok(found) => entries.extend(found),
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => elsewhere.push((
                    directory.config.name.clone(),
                    format!("it could not be asked: {error}"),
                )),
            }
        }
        let remedies = user.as_ref().map(remedies).unwrap_or_default();
        Ok(Explanation { user, remedies, entries, elsewhere, history })
    }

    /// What was done to a user, the latest first, each with its run.
    pub async fn history(&self, user: &User) -> Result<Vec<(RunId, WrittenChange)>, EngineError> {
        Ok(self.store.history(user.id, HISTORY).await?)
    }

    async fn explain_in(
        &self,
        directory: &Directory,
        who: &str,
        user: Option<&User>,
    ) -> Result<Vec<Entry>, EngineError> {
        let (mut session, settings) = self.open(directory).await?;
        let linked = user.and_then(|u| u.link.as_ref()).map(|l| l.guid);
        let people: BTreeSet<Guid> =
            match (linked.or_else(|| who.parse().ok()), Address::parse(who)) {
                (Some(guid), _) => [guid].into(),
                (None, Ok(address)) => {
                    session
                        .people_with_address(address.as_str(), &settings.attributes.email)
                        .await?
                }
                // A user id, of somebody whom no directory has: the address is what may be known there.
                (None, Err(_)) => match user.and_then(|u| u.addresses.primary.as_ref()) {
                    Some(address) => {
                        session
                            .people_with_address(address.as_str(), &settings.attributes.email)
                            .await?
                    }
                    None => BTreeSet::new(),
                },
            };
        if people.is_empty() {
            return Ok(Vec::new());
        }
        let dry_run = self
            .dry_run(directory, &Request::people(Trigger::Manual, people.iter().copied(), None))
            .await?;
        let groups = Nesting::read(
            self,
            directory,
            &mut session,
            &dry_run.observed.seen.policy.closure,
            &people,
            &dry_run,
        )
        .await?;
        let mut entries = Vec::new();
        for guid in people {
            let Some(confirmation) = dry_run.observed.found.get(&guid) else { continue };
            let waits = self.what_waits(directory, guid).await?;
            let entry = entry(directory, guid, confirmation, &dry_run, &groups, user, waits);
            // A GUID that nothing was ever known by is no person of this directory.
            let is_linked_here = user
                .and_then(|u| u.link.as_ref())
                .is_some_and(|l| l.guid == guid && l.directory == directory.config.name);
            let is_known = !matches!(confirmation, Confirmation::Nowhere(_)) || is_linked_here;
            entries.extend(is_known.then_some(entry));
        }
        Ok(entries)
    }

    async fn what_waits(
        &self,
        directory: &Directory,
        guid: Guid,
    ) -> Result<Option<String>, EngineError> {
        let name = &directory.config.name;
        let changes =
            |n: usize| if n == 1 { "1 change".to_owned() } else { format!("{n} changes") };
        let mut said = Vec::new();
        if let Some(plan) = self.store.current_plan(name).await? {
            let n = self
                .store
                .held_rows(plan.id)
                .await?
                .iter()
                .filter(|row| row.guid == Some(guid))
                .count();
            if n > 0 {
                said.push(format!(
                    "{} of plan {} wait for approval: rosterctl held show {}",
                    changes(n),
                    plan.id,
                    plan.id
                ));
            }
        }
        for plan in self.store.rejected_plans(Some(name)).await? {
            let n = self
                .store
                .held_rows(plan.id)
                .await?
                .iter()
                .filter(|row| row.guid == Some(guid))
                .count();
            if n > 0 {
                let by = plan.actor.map(|actor| format!(" by {actor}")).unwrap_or_default();
                said.push(format!(
                    "{} of plan {} were rejected{by}: rosterctl held show {}",
                    changes(n),
                    plan.id,
                    plan.id
                ));
            }
        }
        Ok(Some(said.join("; ")).filter(|said| !said.is_empty()))
    }
}

fn entry(
    directory: &Directory,
    guid: Guid,
    confirmation: &Confirmation,
    dry_run: &DryRun,
    groups: &Nesting,
    user: Option<&User>,
    waits: Option<String>,
) -> Entry {
    let DryRun { observed, planned } = dry_run;
    let last_seen = user.and_then(|u| u.link.as_ref()).map_or("", |l| l.dn.as_str());
    let desired = observed.seen.desired.get(&guid);
    let email = &directory.config.settings.attributes.email;
    let (dn, found, person) = match confirmation {
        Confirmation::Alive(person) => (person.dn.as_str(), "there is an entry", Some(person)),
        Confirmation::Tombstone(dn) => {
            (dn.as_str(), "it is deleted: what is left is the tombstone", None)
        }
        Confirmation::Malformed(rest) => {
            (rest.dn.as_str(), "there is an entry that cannot be read as it is", None)
        }
        Confirmation::Nowhere(_) => (
            last_seen,
            "neither an entry nor a tombstone can be seen: it is gone for long, or the service account has no right to see it where it stood",
            None,
        ),
    };
    let reading =
        person.and_then(|person| Some(read(person, desired?, &observed.seen.policy, email)));
    let ways = reading.as_ref().map(|reading| groups.ways(&reading.groups)).unwrap_or_default();
    let verdict = &planned.verdict;
    let admitted = verdict.admitted.changes().map(|(change, _)| (change.clone(), None));
    let would =
        admitted.chain(verdict.held.iter().map(|held| (held.change.clone(), Some(held.hold))));
    let has_user = observed.known_users.contains(&guid);
    let told = observed.seen.failure.iter().chain(&observed.warnings).chain(&planned.warnings);
    let mut warnings: Vec<String> = told
        .chain(verdict.admitted.people().iter().filter(|p| p.guid == guid).flat_map(|p| &p.notes))
        .cloned()
        .collect();
    warnings.dedup();
    Entry {
        directory: directory.config.name.clone(),
        server: observed.seen.server.clone(),
        guid,
        dn: dn.to_owned(),
        found: found.to_owned(),
        reading,
        groups: ways,
        has_user,
        quarantine: verdict.quarantined.iter().find(|q| q.object_guid == guid).map(|q| q.reason),
        would: would.filter(|(change, _)| change.guid == Some(guid)).collect(),
        waits,
        warnings,
    }
}

/// How the groups that give a tier are nested, as far as these people are concerned.
struct Nesting {
    names: BTreeMap<Guid, String>,
    parents: BTreeMap<Guid, Vec<Guid>>,
    configured: BTreeSet<Guid>,
}

impl Nesting {
    async fn read(
        engine: &Engine,
        directory: &Directory,
        session: &mut Session,
        closure: &Closure,
        people: &BTreeSet<Guid>,
        dry_run: &DryRun,
    ) -> Result<Self, EngineError> {
        let direct = people.iter().filter_map(|guid| match dry_run.observed.found.get(guid) {
            Some(Confirmation::Alive(person)) => Some(person.groups.clone()),
            _ => None,
        });
        let parents = session.parent_groups(&direct.flatten().collect(), closure).await?;
        let pins = engine.store.pins(&directory.config.name, PinKind::Group).await?;
        Ok(Self {
            names: closure.groups().map(|group| (group.guid, group.dn.name())).collect(),
            parents,
            configured: pins.into_values().flatten().map(|pin| pin.guid).collect(),
        })
    }

    fn ways(&self, direct: &[Guid]) -> Vec<Vec<String>> {
        let name = |guid: &Guid| self.names.get(guid).cloned().unwrap_or_else(|| guid.to_string());
        let mut ways: Vec<Vec<String>> = paths(direct, &self.parents, &self.configured)
            .iter()
            .map(|way| way.iter().map(name).collect())
            .collect();
        ways.sort();
        ways
    }
}
