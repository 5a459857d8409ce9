//! Explains a user: the entries in the directories, their meaning, the history, and the next plan.
//! Also explains people without a user.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Session, Use};
use crate::engine::sync::stages::{DryRun, Request};
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{
    Address, Change, DirectoryName, Guid, HoldReason, QuarantineReason, RunId, Trigger, User,
    WrittenChange,
};
use crate::reconcile::{Closure, Confirmation, Reading, paths, read, remedies};
use crate::store::BaselineKind;
use crate::visible::quoted;

/// Maximum number of changes in the history.
const HISTORY: u64 = 20;

/// The explanation of one user or person.
#[derive(Debug)]
pub struct Explanation {
    pub user: Option<User>,
    /// The remedies that would change the user's state.
    pub remedies: Vec<String>,
    pub entries: Vec<Entry>,
    /// The directories without such an entry, or that failed to answer, each with the search or the
    /// error.
    pub elsewhere: Vec<(DirectoryName, String)>,
    /// Past changes, the latest first, each with its run.
    pub history: Vec<(RunId, WrittenChange)>,
}

/// The entry in one directory.
#[derive(Debug)]
pub struct Entry {
    pub directory: DirectoryName,
    pub server: String,
    pub guid: Guid,
    /// The present DN, or the last known one.
    pub dn: String,
    /// The finding, as a sentence.
    pub found: String,
    /// Whether only a tombstone is left, or nothing.
    pub is_gone: bool,
    /// The attributes and their meaning; `None` where no entry can be read.
    pub reading: Option<Reading>,
    /// The paths from the person's groups to the configured ones.
    pub groups: Vec<Vec<String>>,
    pub has_user: bool,
    pub quarantine: Option<QuarantineReason>,
    /// The remedy of the quarantine, as a command where one is known.
    pub remedy: Option<String>,
    /// The changes that a run would plan, with the reason where one is held.
    pub would: Vec<(Change, Option<HoldReason>)>,
    /// The held and rejected changes of this person, as a sentence.
    pub waits: Option<String>,
    pub warnings: Vec<String>,
}

impl Engine {
    /// Explains a user, or a person of a directory without one.
    pub async fn explain(&self, who: &str) -> Result<Explanation, EngineError> {
        let user = self.user_if_any(who).await?;
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
            // Every directory of the account is read, because a person may have moved or be in
            // several.
            if account.as_ref().is_some_and(|account| *account != directory.config.account) {
                continue;
            }
            match self.explain_in(directory, who, user.as_ref()).await {
                Ok(found) if found.is_empty() => {
                    let what = format!(
                        "no entry has {who} as objectGUID, address, logon name, DN, employee id or name"
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
        let own = user.as_ref().and_then(|user| user.link.as_ref()).map(|link| link.guid);
        let mut states = entries.iter().filter(|entry| Some(entry.guid) == own).peekable();
        let is_gone = states.peek().is_some() && states.all(|entry| entry.is_gone);
        let remedies = user.as_ref().map(|user| remedies(user, is_gone)).unwrap_or_default();
        for entry in &mut entries {
            entry.remedy = user
                .as_ref()
                .and_then(|user| rehire(entry, user, is_gone))
                .or_else(|| entry.quarantine.map(|reason| reason.remedy().to_owned()));
        }
        Ok(Explanation { user, remedies, entries, elsewhere, history })
    }

    /// Returns the latest changes of a user, each with its run.
    pub async fn history(&self, user: &User) -> Result<Vec<(RunId, WrittenChange)>, EngineError> {
        Ok(self.store.history(user.id, HISTORY).await?)
    }

    async fn explain_in(
        &self,
        directory: &Directory,
        who: &str,
        user: Option<&User>,
    ) -> Result<Vec<Entry>, EngineError> {
        let (mut session, _) = self.open(directory, Use::LookUp).await?;
        let link = user.and_then(|u| u.link.as_ref());
        let mut people: BTreeSet<Guid> = link.map(|l| l.guid).into_iter().collect();
        // Another entry may have the address: the person was created anew, or is in this directory, too.
        let address = user.and_then(|u| u.addresses.primary.as_ref()).map(Address::as_str);
        if let Some(name) = address.or_else(|| user.is_none().then_some(who)) {
            people.extend(self.people_called(directory, &mut session, name).await?);
        }
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
            // An unknown GUID is no person of this directory.
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
        let changes = |n: u64| if n == 1 { "1 change".to_owned() } else { format!("{n} changes") };
        let mut said = Vec::new();
        if let Some(plan) = self.store.current_plan(name).await? {
            let n = self.store.held_about(plan.id, guid).await?;
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
            let n = self.store.held_about(plan.id, guid).await?;
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

/// Returns the commands about an entry with the address of a user whose own entry is gone.
fn rehire(entry: &Entry, user: &User, is_gone: bool) -> Option<String> {
    let id = user.id.to_string();
    let who = quoted(user.addresses.primary.as_ref().map_or(id.as_str(), Address::as_str));
    let same = format!(
        "if it is the same person, created anew: rosterctl user relink {who} {}",
        entry.guid
    );
    match entry.quarantine? {
        QuarantineReason::AddressHeld => {
            Some(format!("{same}; if it is another person: rosterctl user release-address {who}"))
        }
        QuarantineReason::ContestedAddress if is_gone => Some(same),
        _ => None,
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
    let warnings = observed.seen.failure.iter().chain(&observed.warnings).chain(&planned.warnings);
    let mut warnings: Vec<String> = warnings
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
        is_gone: matches!(confirmation, Confirmation::Tombstone(_) | Confirmation::Nowhere(_)),
        reading,
        groups: ways,
        has_user,
        quarantine: verdict.quarantined.iter().find(|q| q.object_guid == guid).map(|q| q.reason),
        remedy: None,
        would: would.filter(|(change, _)| change.guid == Some(guid)).collect(),
        waits,
        warnings,
    }
}

/// The nesting of the configured groups above these people.
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
        let accepted = engine.store.baseline(&directory.config.name, BaselineKind::Group).await?;
        Ok(Self {
            names: closure.groups().map(|group| (group.guid, group.dn.name())).collect(),
            parents,
            configured: accepted.into_values().flatten().map(|group| group.guid).collect(),
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
