//! Looking: everything a run learns from the directory, before anything is concluded for anybody's user.

pub(in crate::engine) mod absence;
pub(in crate::engine) mod baseline;
pub(in crate::engine) mod connection;
pub(in crate::engine) mod contenders;
pub(in crate::engine) mod neighbours;
pub(in crate::engine) mod rights;

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Bases, Decoder, DirectoryError, Grants, Right, Session, Settings};
use crate::engine::sync::observe::connection::Connection;
use crate::engine::sync::observe::rights::note;
use crate::engine::sync::{Request, Scope};
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{
    AccountId, AddressKey, ClaimedDomains, DirectoryName, Dn, Guid, ObservationNumber, Timestamp,
    unknown_rule,
};
use crate::reconcile::{
    Checkpoint, Closure, Complete, Confirmation, Desired, Exclude, Expectation, Index, Ledger,
    Moment, Observation, Observed, Policy, Problem, Rival, ServerIdentity, Takeover, decide,
};
use crate::store::DirectoryState;

/// Clocks further apart than this say nothing about what has expired.
pub(in crate::engine) const MAX_SKEW: std::time::Duration = std::time::Duration::from_mins(5);

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
    pub checkpoint: Option<Checkpoint>,
    /// Of people whose user is linked to another directory of the account: whether this one takes them over.
    pub takeovers: BTreeMap<Guid, Takeover>,
    /// The people that other directories of the account have to read, with their places there.
    pub left_to: BTreeMap<DirectoryName, BTreeMap<Guid, Dn>>,
    /// The addresses that people of other directories of the account want, too.
    pub rivals: BTreeMap<AddressKey, Rival>,
    /// The pending addresses whose people were asked for.
    pub addresses: BTreeSet<AddressKey>,
    /// Whether all people who were to be asked for by GUID were answered for.
    pub is_answered: bool,
    scope: Scope,
    unknown: BTreeSet<Guid>,
}

impl Sight {
    /// Whether the run is about the person already.
    pub(in crate::engine) fn covers(&self, guid: Guid) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::People(people) => people.contains(&guid),
        }
    }

    /// Takes more people into a run that covers some.
    pub(in crate::engine) fn cover(&mut self, more: &BTreeSet<Guid>) {
        if let Scope::People(people) = &mut self.scope {
            people.extend(more);
        }
    }

    /// Notes that nothing is concluded about the person here.
    pub(in crate::engine) fn leave(&mut self, guid: Guid) {
        self.unknown.insert(guid);
    }

    /// Whether everything was read.
    pub fn is_complete(&self) -> bool {
        self.failure.is_none() && self.is_answered && (self.proof.is_some() || !self.is_full())
    }

    /// Whether the whole directory was to be read.
    pub fn is_full(&self) -> bool {
        self.scope == Scope::All
    }

    /// Takes note of people of whom nothing can be told.
    pub(in crate::engine) fn add_unknown(&mut self, people: impl IntoIterator<Item = Guid>) {
        self.unknown.extend(people);
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
            (_, Some(_)) => self
                .proof
                .as_ref()
                .is_some_and(|p| self.desired.get(&guid).is_some_and(|d| p.covers(&d.dn))),
        }
    }
}

impl Engine {
    /// Looks at what the request covers.
    ///
    /// Reading everybody may take as long as a run may, and what was seen by then counts; asking for who is
    /// missing may take as long again, and so may the questions around both.
    pub(in crate::engine) async fn look(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<Sight, EngineError> {
        let limit = directory.config.settings.timeouts.run;
        tokio::time::timeout(limit * 3, Box::pin(self.look_now(directory, request)))
            .await
            .map_err(|_| EngineError::TooLong(limit))?
    }

    async fn look_now(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<Sight, EngineError> {
        let config = &directory.config;
        // Before anything is read: an observation that begins later has a higher number.
        let number = self.store.next_observation().await?;
        let began_at = self.clock.now();
        let mut connection = self.connect(directory).await?;
        self.confirm_clock(connection.session.root.current_time).await?;
        let state = self.store.directory(&config.name).await?;
        directory.note_lag(connection.session.root.current_time, self.clock.now());
        let mut warnings = request.remarks.clone();
        warnings.extend(directory.note_clock(None));
        let bases = self.bases(directory, &mut connection.session, &mut warnings).await?;
        let misnamed = match &request.scope {
            Scope::All if self.is_connected(directory, &mut connection).await => {
                misnamed(&mut connection, &mut warnings).await
            }
            _ => Names::default(),
        };
        let (closure, trouble) = if self.is_connected(directory, &mut connection).await {
            match self.groups(directory, &mut connection.session, &mut warnings).await {
                Ok((closure, trouble)) => (closure, trouble.map(|t| t.to_string())),
                // People are still read: who was disabled must not stay because a group could not be looked up.
                Err(EngineError::Directory(error)) => {
                    (Closure::default(), Some(format!("the groups could not be read: {error}")))
                }
                Err(error) => return Err(error),
            }
        } else {
            (
                Closure::default(),
                Some("the groups could not be read: the connection ended".to_owned()),
            )
        };
        let policy =
            self.policy(directory, &connection.session, closure, began_at, &mut warnings).await?;
        let checkpoint = match &request.scope {
            Scope::All => {
                self.checkpoint(directory, &connection, &state, &policy, began_at, &mut warnings)
                    .await?
            }
            Scope::People(_) => None,
        };
        let decoder = Decoder::new(&connection.settings.attributes, &policy.closure);
        let mut sight = Sight {
            server: connection.session.server.clone(),
            identity: connection.session.root.identity.clone(),
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
            grants: Grants::of(&connection.session),
            rights_lost: state.rights_lost.clone(),
            baseline: state.baseline,
            checkpoint,
            takeovers: BTreeMap::new(),
            left_to: BTreeMap::new(),
            rivals: BTreeMap::new(),
            addresses: BTreeSet::new(),
            is_answered: true,
            scope: request.scope.clone(),
            unknown: BTreeSet::new(),
        };
        let pending = if self.is_connected(directory, &mut connection).await {
            self.pending_people(directory, request, &mut connection, &mut sight).await?
        } else {
            BTreeSet::new()
        };
        let mut absent = match &request.scope {
            Scope::All => {
                self.read_all(
                    directory,
                    &mut connection,
                    &bases,
                    &decoder,
                    &state,
                    &misnamed.links,
                    &mut sight,
                )
                .await?
            }
            Scope::People(people) => {
                self.check_rights(directory, &mut connection, &state, &mut sight).await?;
                people.clone()
            }
        };
        absent.extend(pending.into_iter().filter(|guid| !sight.desired.contains_key(guid)));
        sight.cover(&absent);
        self.confirm_absent(
            directory,
            &mut connection,
            &bases,
            &decoder,
            absent,
            state.last_complete_read,
            &mut sight,
        )
        .await?;
        self.read_contenders(
            directory,
            &mut connection,
            &bases,
            &decoder,
            state.last_complete_read,
            &mut sight,
        )
        .await?;
        self.take_over(directory, &bases.dns, &mut sight).await?;
        self.withhold(directory, &mut connection, &bases, &state.counts, &mut sight).await?;
        if self.is_connected(directory, &mut connection).await {
            self.confirm_groups(directory, &mut connection.session, &mut sight).await?;
        }
        if trouble.is_some() {
            // Whoever had a tier from what was not found would lose it, and nothing has been seen of that.
            sight.groups_stood = false;
        }
        for why in misnamed.problem.into_iter().chain(trouble) {
            sight.failure.get_or_insert(why);
        }
        directory.names.keep(connection.session);
        Ok(sight)
    }

    /// Whether a run over some people may conclude anything but what is seen positively.
    async fn check_rights(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        state: &DirectoryState,
        sight: &mut Sight,
    ) -> Result<(), EngineError> {
        if let Some(what) = &state.rights_lost {
            sight.failure =
                Some(format!("{what}; only a full run can tell whether the right is back"));
            return Ok(());
        }
        if let Some(lost) = self.lost_right(directory, connection, &mut sight.warnings).await? {
            let grant = sight
                .grants
                .command(Right::ReadProperty, &connection.session.root.default_naming_context);
            sight.failure = Some(format!("{lost}; as a domain administrator: {grant}"));
        }
        Ok(())
    }

    /// The account of a directory, nobody's where there is none, and the domains it holds.
    pub(in crate::engine) async fn claims_of(
        &self,
        directory: &Directory,
    ) -> Result<(AccountId, ClaimedDomains), EngineError> {
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
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one look, each owned by its caller"
    )]
    async fn read_all(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        bases: &Bases,
        decoder: &Decoder,
        state: &DirectoryState,
        links: &BTreeSet<String>,
        sight: &mut Sight,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let name = &directory.config.name;
        let account = sight.policy.account;
        let (foreign, orphans) = self.foreign(directory, account).await?;
        let mut index =
            Index::new(self.store.index(name).await?, self.store.unmanaged(account).await?)
                .with_foreign(foreign, orphans);
        let settings = connection.settings.clone();
        let (canaries, lost_canaries) = self.canaries(directory, connection).await?;
        // AD clears a link by itself, when the object that it names is deleted: that is no lack of rights.
        let cleared = [&settings.attributes.manager, "memberOf"].into_iter().map(str::to_owned);
        let mut ledger = Ledger::new(Expectation {
            bases: bases.dns.clone(),
            people: Vec::new(),
            canaries: canaries.clone(),
            attributes: decoder.attributes(),
            universal: Decoder::universal(),
            exempt: cleared.chain(links.iter().cloned()).collect(),
            counts: state.counts.clone(),
        });
        if self.is_connected(directory, connection).await {
            // A canary that does not answer makes the read incomplete; the people are read all the same.
            let _ = note(&mut connection.session, &canaries, Moment::Before, &mut ledger).await;
        }
        directory.work.progress.send_modify(|p| p.phase = "reading");
        let mut again = BTreeSet::new();
        let policy = &sight.policy;
        let (desired, malformed, entries) =
            (&mut sight.desired, &mut sight.malformed, &mut sight.entries);
        let filter = settings.filter_text();
        let limit = settings.timeouts.run;
        // Whether it is connected is told by the read itself.
        self.is_connected(directory, connection).await;
        let read = connection.session.read_people(
            &bases.dns,
            filter.as_deref(),
            settings.page_size,
            decoder,
            &mut ledger,
            |entry| {
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
                            Observed::Changed | Observed::New => {
                                drop(desired.insert(decision.guid, decision))
                            }
                            Observed::Twice => drop(again.insert(decision.guid)),
                        }
                    }
                    Err(bad) => {
                        malformed.push((bad.guid, bad.rest.dn.clone()));
                        if let Some(guid) = bad.guid {
                            index.mark_seen(guid);
                            // That it cannot be used keeps no leaver active.
                            desired
                                .extend(Desired::broken(guid, bad.rest, policy).map(|d| (guid, d)));
                        }
                    }
                }
            },
        );
        let read = tokio::time::timeout(limit, read).await;
        directory.work.progress.send_modify(|p| p.entries = *entries);
        let after = match read {
            Ok(Ok(())) => note(&mut connection.session, &canaries, Moment::After, &mut ledger)
                .await
                .err()
                .map(EngineError::from),
            Ok(Err(error)) => Some(error.into()),
            Err(_) => {
                connection.session.hang_up();
                Some(EngineError::TooLong(limit))
            }
        };
        if ledger.shows_an_empty_base() {
            ledger.expect_people(self.store.people_below(name, &bases.dns).await?);
            self.ask_about_filter(directory, connection, &ledger, &mut sight.warnings).await;
        }
        match ledger.finish() {
            Ok(complete) => {
                sight.rights_lost = None;
                sight.proof = Some(complete);
            }
            Err(incomplete) => {
                let mut why = after.map_or_else(
                    || incomplete.to_string(),
                    |error| format!("{incomplete} ({error})"),
                );
                let lost = incomplete
                    .problems
                    .iter()
                    .find(|p| matches!(p, Problem::RightsLost { .. } | Problem::CanaryBlind(..)));
                sight.rights_lost = lost.zip(bases.dns.first()).map(|(lost, base)| {
                    let grant = sight.grants.command(Right::ReadProperty, base.as_str());
                    why = format!("{why}; as a domain administrator: {grant}");
                    format!("{lost}; as a domain administrator: {grant}")
                });
                sight.failure = Some(why);
                sight.proof = incomplete.partial;
            }
        }
        if let Some(lost) = lost_canaries {
            // Without a canary, nothing proves that what is not seen could have been.
            sight.failure.get_or_insert(lost);
            sight.proof = None;
        }
        // After an incomplete read, too: a tombstone, or an account that was disabled and moved, is evidence.
        again.extend(index.unseen());
        Ok(again)
    }

    /// Says so, where the filter finds no entry in a base that has people.
    async fn ask_about_filter(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        ledger: &Ledger,
        warnings: &mut Vec<String>,
    ) {
        let Some(filter) = connection.settings.filter_text() else { return };
        for base in ledger.empty_bases() {
            if self.is_connected(directory, connection).await
                && matches!(connection.session.shows_people(base).await, Ok(true))
            {
                warnings.push(format!(
                    "{base} has people, and the filter {filter} finds none of them: correct filter"
                ));
            }
        }
    }
}

/// The server's clock, where it is near enough to ours to say what has expired.
pub(in crate::engine) fn believed(theirs: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    theirs.filter(|theirs| theirs.distance(at) <= MAX_SKEW)
}

/// Facts of the schema about the attributes that the configuration names.
#[derive(Debug, Default)]
struct Names {
    /// Why the configuration cannot work.
    problem: Option<String>,
    /// Attributes whose values name other objects: AD clears them by itself, when such an object is deleted.
    links: BTreeSet<String>,
}

/// Looks for attributes that the configuration names and AD does not have, and for matching rules: a filter on one finds
/// nobody, whatever was meant. A schema that does not answer costs this check, not the run.
async fn misnamed(connection: &mut Connection, warnings: &mut Vec<String>) -> Names {
    let Connection { session, settings, .. } = connection;
    let limit = settings.timeouts.run / 10;
    match tokio::time::timeout(limit, ask_schema(session, settings)).await {
        Ok(Ok(names)) => names,
        Ok(Err(error)) => {
            warnings.push(format!("the schema could not be asked for the attributes that the configuration names: {error}"));
            Names::default()
        }
        Err(_) => {
            session.hang_up();
            warnings.push("the schema did not answer in time: attributes that the configuration names were not checked".to_owned());
            Names::default()
        }
    }
}

async fn ask_schema(session: &mut Session, settings: &Settings) -> Result<Names, DirectoryError> {
    let mut names = Names::default();
    let rules = settings.filter.iter().flat_map(|(_, filter)| filter.unknown_rules());
    names.problem = rules
        .map(|rule| format!("{}: check filter in the configuration", unknown_rule(rule)))
        .next();
    for (_, key, attributes) in settings.named_attributes() {
        let Some(schema) = session.schema_of(attributes.iter().map(String::as_str)).await? else {
            continue;
        };
        if !schema.unknown.is_empty() {
            let unknown = schema.unknown.into_iter().collect::<Vec<_>>().join(", ");
            names.problem.get_or_insert(format!(
                "AD has no attribute {unknown}: check {key} in the configuration"
            ));
        }
        names.links.extend(schema.links);
    }
    Ok(names)
}
