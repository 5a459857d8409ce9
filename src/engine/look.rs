//! Looking: everything a run learns from the directory, before anything is concluded for anybody's user.

use std::collections::{BTreeMap, BTreeSet};

use super::pins::shown;
use super::run::{Request, Scope};
use super::{Directory, Engine, EngineError};
use crate::directory::{Decoder, DirectoryError, Grants, Right, Session, Settings, Suspect};
use crate::model::{AccountId, AddressKey, ClaimedDomains, DirectoryName, Dn, Guid, ObservationNumber, Status, Tier, Timestamp};
use crate::reconcile::{
    Absent, Canary, Closure, Complete, Confirmation, Desired, Exclude, Expectation, Index, Ledger, Membership, Moment, Observation,
    Observed, Policy, Position, Problem, Rival, ServerIdentity, StoredPerson, Takeover, TierWish, decide, suspects,
};
use crate::store::DirectoryState;

/// Clocks further apart than this say nothing about what has expired.
pub(super) const MAX_SKEW: std::time::Duration = std::time::Duration::from_mins(5);

/// What was seen, decided per person.
#[derive(Debug)]
pub struct Sight {
    /// The server.
    pub server: String,
    /// Who it was.
    pub identity: ServerIdentity,
    /// The order of this observation among all.
    pub number: ObservationNumber,
    /// When looking began.
    pub began_at: Timestamp,
    /// What people were measured against.
    pub policy: Policy,
    /// The people that are new, changed or absent.
    pub desired: BTreeMap<Guid, Desired>,
    /// The proof that what was not seen is not there.
    pub proof: Option<Complete>,
    /// Why the run has failed all the same.
    pub failure: Option<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// The people whose loss of a group was put to the groups, or needs not be.
    pub confirmed: BTreeSet<Guid>,
    /// Whether the groups stood still.
    pub groups_stood: bool,
    /// Entries that could not be decoded, of stored people and others.
    pub malformed: Vec<(Option<Guid>, Dn)>,
    /// How many entries were read.
    pub entries: u64,
    /// What asking for people by GUID found: of a run over some people, each of them.
    pub found: BTreeMap<Guid, Confirmation>,
    /// Of these, who has a user.
    pub known_users: BTreeSet<Guid>,
    /// What gives the service account a right it lacks.
    pub grants: Grants,
    /// The name of what rights were lost for.
    pub rights_lost: Option<String>,
    /// By which baseline it was seen; see [`DirectoryState::baseline`].
    pub baseline: u64,
    /// From where on changes can be followed after this, where everybody was to be read.
    pub position: Option<Position>,
    /// Of people whose user is linked to another directory of the account: whether this one takes them over.
    pub takeovers: BTreeMap<Guid, Takeover>,
    /// The people that other directories of the account have to read, with their places there.
    pub left_to: BTreeMap<DirectoryName, BTreeMap<Guid, Dn>>,
    /// The addresses that people of other directories of the account want, too.
    pub rivals: BTreeMap<AddressKey, Rival>,
    /// The pending addresses whose people were asked for.
    pub addresses: BTreeSet<AddressKey>,
    scope: Scope,
    unknown: BTreeSet<Guid>,
}

impl Sight {
    /// Whether the run is about the person already.
    pub(super) fn covers(&self, guid: Guid) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::People(people) => people.contains(&guid),
        }
    }

    /// Takes more people into a run that covers some.
    pub(super) fn cover(&mut self, more: &BTreeSet<Guid>) {
        if let Scope::People(people) = &mut self.scope {
            people.extend(more);
        }
    }

    /// Notes that nothing is concluded about the person here.
    pub(super) fn leave(&mut self, guid: Guid) {
        self.unknown.insert(guid);
    }

    /// Whether everything was read.
    pub fn is_complete(&self) -> bool {
        self.failure.is_none() && (self.proof.is_some() || !self.is_full())
    }

    /// Whether the whole directory was to be read.
    pub fn is_full(&self) -> bool {
        self.scope == Scope::All
    }

    /// Of whom could not be told what is to become of them.
    pub fn unknown(&self) -> &BTreeSet<Guid> {
        &self.unknown
    }

    /// Whether this run has an opinion about the person: what was stored of it waits no longer than this run says.
    pub fn is_judged(&self, guid: Guid) -> bool {
        if self.unknown.contains(&guid) {
            return false;
        }
        match (&self.scope, &self.failure) {
            (Scope::People(people), None) => people.contains(&guid),
            (Scope::All, None) => true,
            (_, Some(_)) => self.proof.as_ref().is_some_and(|p| self.desired.get(&guid).is_some_and(|d| p.covers(&d.dn))),
        }
    }
}

impl Engine {
    /// Looks at what the request covers.
    ///
    /// Reading everybody may take as long as a run may, and what was seen by then counts; asking for who is
    /// missing may take as long again.
    pub(super) async fn look(&self, directory: &Directory, request: &Request) -> Result<Sight, EngineError> {
        let limit = directory.config.settings.timeouts.run;
        tokio::time::timeout(limit * 2, self.look_now(directory, request)).await.map_err(|_| EngineError::TooLong(limit))?
    }

    async fn look_now(&self, directory: &Directory, request: &Request) -> Result<Sight, EngineError> {
        let config = &directory.config;
        // Before anything is read: an observation that begins later has a higher number.
        let number = self.store.next_observation().await?;
        let began_at = self.clock.now();
        let (mut session, settings) = self.open(directory).await?;
        self.confirm_clock(session.root.current_time).await?;
        let state = self.store.directory(&config.name).await?;
        directory.note_lag(session.root.current_time, self.clock.now());
        let mut warnings: Vec<String> = directory.note_clock(None).into_iter().collect();
        let bases = self.bases(directory, &mut session, &mut warnings).await?;
        let misnamed = match &request.scope {
            Scope::All => misnamed(&mut session, &settings).await?,
            Scope::People(_) => None,
        };
        let (closure, trouble) = match self.groups(directory, &mut session, &mut warnings).await {
            Ok((closure, trouble)) => (closure, trouble.map(|t| t.to_string())),
            // People are still read: who was disabled must not stay because a group could not be looked up.
            Err(EngineError::Directory(error @ DirectoryError::Search { .. })) => {
                (Closure::default(), Some(format!("the groups could not be read: {error}")))
            }
            Err(error) => return Err(error),
        };
        let policy = self.policy(directory, &session, closure, began_at, &mut warnings).await?;
        let position = match &request.scope {
            Scope::All => self.position(directory, &mut session, &state, &policy, began_at, &mut warnings).await?,
            Scope::People(_) => None,
        };
        let decoder = Decoder::new(&settings.attributes, &policy.closure);
        let mut sight = Sight {
            server: session.server.clone(),
            identity: session.root.identity.clone(),
            number,
            began_at,
            policy,
            desired: BTreeMap::new(),
            proof: None,
            failure: None,
            warnings,
            confirmed: BTreeSet::new(),
            groups_stood: true,
            malformed: Vec::new(),
            entries: 0,
            found: BTreeMap::new(),
            known_users: BTreeSet::new(),
            grants: Grants::of(&session),
            rights_lost: state.rights_lost.clone(),
            baseline: state.baseline,
            position,
            takeovers: BTreeMap::new(),
            left_to: BTreeMap::new(),
            rivals: BTreeMap::new(),
            addresses: BTreeSet::new(),
            scope: request.scope.clone(),
            unknown: BTreeSet::new(),
        };
        let pending = self.pending_people(directory, request, &mut session, &settings, &mut sight).await?;
        let mut absent = match &request.scope {
            Scope::All => self.read_all(directory, &settings, &mut session, &bases, &decoder, &state, &mut sight).await?,
            Scope::People(people) => {
                sight.failure =
                    state.rights_lost.as_ref().map(|what| format!("{what}; only a full run can tell whether the right is back"));
                people.clone()
            }
        };
        absent.extend(pending.into_iter().filter(|guid| !sight.desired.contains_key(guid)));
        sight.cover(&absent);
        self.confirm_absent(directory, &settings, &mut session, &bases, &decoder, absent, &mut sight).await?;
        self.read_contenders(directory, &settings, &mut session, &bases, &decoder, &mut sight).await?;
        self.take_over(directory, &bases, &mut sight).await?;
        self.confirm_groups(directory, &mut session, &mut sight).await?;
        if trouble.is_some() {
            // Whoever had a tier from what was not found would lose it, and nothing has been seen of that.
            sight.groups_stood = false;
        }
        for why in misnamed.into_iter().chain(trouble) {
            sight.failure.get_or_insert(why);
        }
        directory.names.keep(session);
        Ok(sight)
    }

    /// The account of a directory, nobody's where there is none, and the domains it holds.
    pub(super) async fn claims_of(&self, directory: &Directory) -> Result<(AccountId, ClaimedDomains), EngineError> {
        match self.store.account(&directory.config.account).await? {
            Some(account) => Ok((account.id, self.store.claimed_domains(account.id).await?)),
            None => Ok((AccountId(uuid::Uuid::nil()), ClaimedDomains::default())),
        }
    }

    async fn policy(
        &self,
        directory: &Directory,
        session: &Session,
        closure: Closure,
        at: Timestamp,
        warnings: &mut Vec<String>,
    ) -> Result<Policy, EngineError> {
        let config = &directory.config;
        let (account, claims) = self.claims_of(directory).await?;
        let theirs = session.root.current_time;
        let now = believed(theirs, at);
        if now.is_none() {
            let by = theirs.map_or_else(|| "unknown".to_owned(), |t| t.to_string());
            warnings.push(format!("the server's clock says {by}, ours {at}: set one of them right; until then nobody expires"));
        }
        Ok(Policy {
            directory: config.name.clone(),
            account,
            claims,
            closure,
            tiers: config.tiers,
            exclude: Exclude::new(config.exclude.iter().cloned()),
            now,
            observed: Observation { server: session.server.clone(), at },
        })
    }

    /// Reads everybody; returns whom to ask for by GUID: the stored people that were not seen, and those seen badly.
    #[expect(clippy::too_many_arguments, reason = "the parts of one look, each owned by its caller")]
    async fn read_all(
        &self,
        directory: &Directory,
        settings: &Settings,
        session: &mut Session,
        bases: &[Dn],
        decoder: &Decoder,
        state: &DirectoryState,
        sight: &mut Sight,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let name = &directory.config.name;
        let account = sight.policy.account;
        let (foreign, orphans) = self.foreign(directory, account).await?;
        let mut index = Index::new(self.store.index(name).await?, self.store.unmanaged(account).await?).with_foreign(foreign, orphans);
        let canaries = self.canaries(directory, session).await?;
        let mut ledger = Ledger::new(Expectation {
            bases: bases.to_vec(),
            people: Vec::new(),
            canaries: canaries.clone(),
            attributes: decoder.attributes(),
            universal: Decoder::universal(),
            exempt: ["memberOf".to_owned()].into(),
            counts: state.counts.clone(),
        });
        note(session, &canaries, Moment::Before, &mut ledger).await?;
        directory.work.progress.send_modify(|p| p.phase = "reading");
        let mut again = BTreeSet::new();
        let policy = &sight.policy;
        let (desired, malformed, entries) = (&mut sight.desired, &mut sight.malformed, &mut sight.entries);
        let filter = settings.filter.as_ref().map(|(text, _)| text.as_str());
        let limit = settings.timeouts.run;
        let read = session.read_people(bases, filter, settings.page_size, decoder, &mut ledger, |entry| {
            *entries += 1;
            // A progress bar needs no more than this.
            if entries.is_multiple_of(256) {
                directory.work.progress.send_modify(|p| p.entries = *entries);
            }
            match entry {
                Ok(person) => {
                    let decision = decide(person, policy);
                    match index.observe(&decision, policy) {
                        Observed::Same | Observed::Stranger => {}
                        Observed::Changed | Observed::New => drop(desired.insert(decision.guid, decision)),
                        Observed::Twice => drop(again.insert(decision.guid)),
                    }
                }
                Err(bad) => {
                    malformed.push((bad.guid, bad.rest.dn.clone()));
                    if let Some(guid) = bad.guid {
                        index.mark_seen(guid);
                        // That it cannot be used keeps no leaver active.
                        desired.extend(Desired::broken(guid, bad.rest, policy).map(|d| (guid, d)));
                    }
                }
            }
        });
        let read = tokio::time::timeout(limit, read).await;
        directory.work.progress.send_modify(|p| p.entries = *entries);
        let after = match read {
            Ok(Ok(())) => note(session, &canaries, Moment::After, &mut ledger).await.err().map(EngineError::from),
            Ok(Err(error)) => Some(error.into()),
            Err(_) => {
                session.hang_up();
                Some(EngineError::TooLong(limit))
            }
        };
        if ledger.shows_an_empty_base() {
            ledger.expect_people(self.store.people_below(name, bases).await?);
        }
        match ledger.finish() {
            Ok(complete) => {
                sight.rights_lost = None;
                sight.proof = Some(complete);
            }
            Err(incomplete) => {
                let mut why = after.map_or_else(|| incomplete.to_string(), |error| format!("{incomplete} ({error})"));
                let lost = incomplete.problems.iter().find(|p| matches!(p, Problem::RightsLost { .. } | Problem::CanaryBlind(..)));
                sight.rights_lost = lost.zip(bases.first()).map(|(lost, base)| {
                    let grant = sight.grants.command(Right::ReadProperty, base.as_str());
                    why = format!("{why}; as a domain administrator: {grant}");
                    format!("{lost}; as a domain administrator: {grant}")
                });
                sight.failure = Some(why);
                sight.proof = incomplete.partial;
            }
        }
        let is_useful = sight.proof.is_some();
        again.extend(index.unseen().filter(|_| is_useful));
        Ok(again)
    }

    /// Asks for these people by GUID and decides what their absence means.
    #[expect(clippy::too_many_arguments, reason = "the parts of one look, each owned by its caller")]
    pub(super) async fn confirm_absent(
        &self,
        directory: &Directory,
        settings: &Settings,
        session: &mut Session,
        bases: &[Dn],
        decoder: &Decoder,
        absent: BTreeSet<Guid>,
        sight: &mut Sight,
    ) -> Result<(), EngineError> {
        if absent.is_empty() {
            return Ok(());
        }
        directory.work.progress.send_modify(|p| p.phase = "confirming");
        let mut stored = self.store.people(&directory.config.name, absent.iter().copied().collect()).await?;
        self.last_seen_elsewhere(directory, sight.policy.account, &absent, &mut stored).await?;
        let now = sight.began_at;
        let mut found = match session.confirm(&absent, bases, settings, decoder, &stored, now).await {
            Ok(found) => found,
            Err(error) => {
                sight.failure.get_or_insert(format!("people could not be asked for by GUID: {error}"));
                sight.proof = None;
                return Ok(());
            }
        };
        if directory.config.limits.settle.is_zero() {
            // No second look later: so both looks are now.
            let nowhere: BTreeSet<Guid> =
                found.people.iter().filter(|(_, c)| matches!(c, Confirmation::Nowhere(_))).map(|(g, _)| *g).collect();
            match session.confirm(&nowhere, bases, settings, decoder, &stored, now).await {
                Ok(second) => found.people.extend(second.people),
                Err(error) => {
                    // One look is no evidence. What else was seen is, and keeps no leaver active.
                    sight.failure.get_or_insert(format!("people could not be asked for a second time: {error}"));
                    found.people.retain(|guid, _| !nowhere.contains(guid));
                    sight.unknown.extend(nowhere);
                }
            }
        }
        if !sight.is_full() {
            sight.entries += found.people.len() as u64;
        }
        let last_seen = stored.into_iter().map(|(guid, person)| (guid, person.dn)).collect();
        let known = self.store.load(&directory.config.name, sight.policy.account, &absent, &BTreeSet::new()).await?;
        let is_suspended = |guid| known.of_person(guid).is_none_or(|user| user.status() != Status::Active);
        let scoped = if sight.is_full() { None } else { Complete::of_people(&absent, &found.people) };
        if !sight.is_full() {
            sight.known_users.extend(absent.iter().copied().filter(|guid| known.of_person(*guid).is_some()));
            sight.found.extend(found.people.clone());
        }
        let left = self.leave_to_others(directory, &mut found.people, bases, sight).await?;
        sight.malformed.extend(found.people.iter().filter_map(|(guid, c)| match c {
            Confirmation::Malformed(rest) => Some((Some(*guid), rest.dn.clone())),
            _ => None,
        }));
        let decided = Absent::decide(&found.people, &last_seen, sight.proof.as_ref().or(scoped.as_ref()), is_suspended, &sight.policy);
        if let Some(base) = decided.unexplained.first() {
            sight.failure.get_or_insert(format!(
                "{base} shows nobody although it had people, and not all of them are elsewhere: give the service account the right to list it, or correct base"
            ));
        }
        sight.unknown.extend(decided.unknown);
        sight.desired.extend(decided.desired);
        sight.desired.extend(left);
        Ok(())
    }

    /// Adds where people of directories that are not configured any more were last seen: this one may be the successor.
    async fn last_seen_elsewhere(
        &self,
        directory: &Directory,
        account: AccountId,
        absent: &BTreeSet<Guid>,
        stored: &mut BTreeMap<Guid, StoredPerson>,
    ) -> Result<(), EngineError> {
        let neighbours = self.neighbours(directory);
        let links = self.store.links_elsewhere(account, &directory.config.name, absent.iter().copied()).await?;
        let mut orphans: BTreeMap<DirectoryName, Vec<Guid>> = BTreeMap::new();
        for link in links.into_values().filter(|link| neighbours.iter().all(|d| d.config.name != link.directory)) {
            orphans.entry(link.directory).or_default().push(link.guid);
        }
        for (former, people) in orphans {
            stored.extend(self.store.people(&former, people).await?);
        }
        Ok(())
    }

    /// Puts to the groups themselves whether they hold those who seem to have left them; then looks whether the groups stood still.
    async fn confirm_groups(&self, directory: &Directory, session: &mut Session, sight: &mut Sight) -> Result<(), EngineError> {
        if sight.policy.closure.is_empty() {
            return Ok(());
        }
        let name = &directory.config.name;
        let losing: BTreeSet<Guid> =
            sight.desired.values().filter(|d| !matches!(d.tier, TierWish::Entitled { tier: Tier::Pro, .. })).map(|d| d.guid).collect();
        let known = self.store.load(name, sight.policy.account, &losing, &BTreeSet::new()).await?;
        let suspects: BTreeMap<Guid, Suspect> = suspects(&sight.desired, &known)
            .into_iter()
            .map(|guid| {
                let d = &sight.desired[&guid];
                let entitled_by = known.people.get(&guid).and_then(|p| p.entitled_by);
                (guid, Suspect { dn: d.dn.clone(), groups: d.entitled_by().into_iter().collect(), entitled_by })
            })
            .collect();
        if !suspects.is_empty() {
            let in_use: BTreeSet<Guid> = self.store.groups_in_use(name).await?;
            let answers = async {
                let mut silent = session.groups_without_members(&in_use).await?;
                silent.extend(session.detached(&in_use, &sight.policy.closure).await?);
                Ok::<_, DirectoryError>((session.memberships(&suspects, &sight.policy.closure, &silent).await?, silent))
            };
            match answers.await {
                Ok((answers, silent)) => {
                    for group in silent.iter().filter(|g| suspects.values().any(|s| s.entitled_by == Some(**g))) {
                        let dn = sight
                            .policy
                            .closure
                            .groups()
                            .find(|g| g.guid == *group)
                            .map_or_else(|| format!("<GUID={group}>"), |g| g.dn.as_str().to_owned());
                        let grant = sight.grants.command(Right::ReadProperty, &dn);
                        sight.warnings.push(format!(
                            "the group {dn} shows no member, or not what it is a member of, although it gave people their tier: emptied, or no longer readable; nobody loses anything by it until it can be read (as a domain administrator: {grant}), or rosterctl directory repin accepts it"
                        ));
                    }
                    for (guid, answer) in &answers {
                        if let Some(desired) = sight.desired.get_mut(guid) {
                            desired.confirm_membership(answer, &sight.policy);
                        }
                    }
                    sight.confirmed.extend(answers.into_iter().filter(|(_, a)| *a != Membership::Unknown).map(|(g, _)| g));
                }
                Err(error) => sight.warnings.push(format!("the groups could not be asked for their members: {error}")),
            }
            sight.groups_stood = match session.reread_closure(&sight.policy.closure).await {
                Ok(later) => sight.policy.closure.stands_as(&later),
                Err(_) => false,
            };
            if !sight.groups_stood {
                sight.warnings.push("groups were renamed or moved while people were read: nobody loses a tier in this run".to_owned());
            }
        }
        Ok(())
    }
}

/// The server's clock, where it is near enough to ours to say what has expired.
pub(super) fn believed(theirs: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    theirs.filter(|theirs| theirs.distance(at) <= MAX_SKEW)
}

/// Notes who the server is and what the canaries show.
async fn note(session: &mut Session, canaries: &[Canary], moment: Moment, ledger: &mut Ledger) -> Result<(), DirectoryError> {
    ledger.server(moment, session.read_root().await?.identity);
    for canary in canaries {
        if let Some(object) = session.object(&format!("<GUID={}>", canary.guid), &["*".to_owned()]).await? {
            ledger.canary(moment, canary.guid, &shown(&object));
        }
    }
    Ok(())
}

/// Attributes that the configuration names and AD does not have: a filter on one finds nobody, whatever was meant.
async fn misnamed(session: &mut Session, settings: &Settings) -> Result<Option<String>, DirectoryError> {
    for (_, key, names) in settings.named_attributes() {
        let unknown = session.unknown_attributes(names.iter().map(String::as_str)).await?.unwrap_or_default();
        if !unknown.is_empty() {
            let names = unknown.into_iter().collect::<Vec<_>>().join(", ");
            return Ok(Some(format!("AD has no attribute {names}: check {key} in the configuration")));
        }
    }
    Ok(None)
}
