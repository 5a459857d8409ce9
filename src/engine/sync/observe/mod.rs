//! Observing: everything a run reads from the directory, before it is compared with the users.

pub(in crate::engine) mod absence;
pub(in crate::engine) mod baseline;
pub(in crate::engine) mod connection;
pub(in crate::engine) mod contenders;
pub(in crate::engine) mod foreign;
pub(in crate::engine) mod full_read;
pub(in crate::engine) mod groups;
pub(in crate::engine) mod neighbours;
pub(in crate::engine) mod other_server;
pub(in crate::engine) mod policy;
pub(in crate::engine) mod replica;
pub(in crate::engine) mod rights;
pub(in crate::engine) mod schema;
pub(in crate::engine) mod successors;

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Decoder, Grants, Right, Use};
use crate::engine::sync::observe::connection::Connection;
use crate::engine::sync::observe::replica::UpToDateness;
use crate::engine::sync::observe::schema::{NamedAttributes, check_names};
use crate::engine::sync::stages::{ObservedRun, Request, Scope, Source};
use crate::engine::{Directory, Engine, EngineError};
use crate::reconcile::{Closure, Currency, Observation};
use crate::store::DirectoryState;

impl Engine {
    /// Reads the people that the request covers.
    ///
    /// `timeouts.run` limits the full read and the search for absent people separately. The whole
    /// observation ends after three times that limit.
    pub(in crate::engine) async fn observe(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<ObservedRun, EngineError> {
        let limit = directory.config.settings.timeouts.run;
        let observing = async {
            match &request.source {
                Source::InUse => self.observe_now(directory, request).await,
                Source::Other(url) => self.observe_other(directory, request, url).await,
            }
        };
        tokio::time::timeout(limit * 3, Box::pin(observing))
            .await
            .map_err(|_| EngineError::TooLong(limit))?
    }

    /// Observes. A run that loses its server before it saw anyone begins again with the next one.
    async fn observe_now(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<ObservedRun, EngineError> {
        match self.observe_once(directory, request).await {
            Ok(observed) => Ok(observed),
            Err((Some(lost), error)) => {
                self.observe_next(directory, request, &lost).await.ok_or(error)
            }
            Err((None, error)) => Err(error),
        }
    }

    /// Observes once more, with the next server. Returns `None` where no other server answers.
    pub(in crate::engine) async fn observe_next(
        &self,
        directory: &Directory,
        request: &Request,
        lost: &str,
    ) -> Option<ObservedRun> {
        if self.locate(directory).await.is_ok_and(|settings| settings.servers.len() < 2) {
            return None;
        }
        tracing::warn!("{lost}; the run begins again with another server");
        let mut request = request.clone();
        request.remarks.push(format!("the run began again with another server: {lost}"));
        let limit = directory.config.settings.timeouts.run * 3;
        let next = Box::pin(self.observe_once(directory, &request));
        let mut observed = tokio::time::timeout(limit, next).await.ok()?.ok()?;
        observed.lost_server = None;
        Some(observed)
    }

    /// Observes over one connection. An error is accompanied by the reason for which the server was
    /// lost, if it was.
    async fn observe_once(
        &self,
        directory: &Directory,
        request: &Request,
    ) -> Result<ObservedRun, (Option<String>, EngineError)> {
        let purpose = match request.scope {
            Scope::All => Use::FullRun,
            Scope::People(_) => Use::Follow,
        };
        let mut connection =
            self.connect(directory, purpose).await.map_err(|error| (None, error))?;
        let mut observed = Box::pin(self.observe_over(directory, request, &mut connection)).await;
        let is_failed = observed.as_ref().is_ok_and(|observed| observed.seen.failure.is_some());
        if let Ok(observed) = &mut observed
            && is_failed
            && !connection.session.is_open()
        {
            let ended = || format!("{}: the connection ended", connection.session.server);
            observed.lost_server.get_or_insert_with(ended);
        }
        let lost = match &observed {
            Ok(observed) => observed.lost_server.clone(),
            Err(EngineError::Directory(error)) if error.is_lost_connection() => {
                Some(error.finding())
            }
            Err(_) => None,
        };
        if let Some(lost) = &lost {
            let now = self.clock.passed();
            directory.work.servers.note_lost(&connection.session, lost.clone(), now);
        }
        if connection.session.is_open() {
            directory.names.keep(connection.session);
        }
        observed.map_err(|error| (lost, error))
    }

    async fn observe_over(
        &self,
        directory: &Directory,
        request: &Request,
        connection: &mut Connection,
    ) -> Result<ObservedRun, EngineError> {
        let config = &directory.config;
        // Taken before the read, so that an observation that begins later has a higher number.
        let number = self.store.next_observation().await?;
        let began_at = self.clock.now();
        self.confirm_clock(connection.session.root.current_time).await?;
        let state = self.store.directory(&config.name).await?;
        directory.note_lag(connection.session.root.current_time, self.clock.now());
        let mut warnings = request.remarks.clone();
        warnings.extend(directory.note_clock(None));
        let mut up_to_dateness =
            UpToDateness::read(&mut connection.session, connection.marks.clone(), &mut warnings)
                .await;
        let bases = self.bases(directory, &mut connection.session, &mut warnings).await?;
        let names = match &request.scope {
            Scope::All if self.is_connected(directory, connection).await => {
                check_names(connection, &mut warnings).await
            }
            _ => NamedAttributes::default(),
        };
        let (closure, trouble) = if self.is_connected(directory, connection).await {
            match self.groups(directory, &mut connection.session, &mut warnings).await {
                Ok((closure, trouble)) => (closure, trouble.map(|t| t.to_string())),
                // People are still read, because a disabled person must not stay active meanwhile.
                Err(EngineError::Directory(error)) => {
                    (Closure::unread(), Some(format!("the groups could not be read: {error}")))
                }
                Err(error) => return Err(error),
            }
        } else {
            (
                Closure::unread(),
                Some("the groups could not be read: the connection ended".to_owned()),
            )
        };
        let groups = up_to_dateness.compare_groups(&connection.session, &closure);
        let containers = if self.is_connected(directory, connection).await {
            let session = &mut connection.session;
            up_to_dateness.compare_containers(session, began_at, &mut warnings).await
        } else {
            Currency::Unproven
        };
        let policy = self
            .policy(directory, &mut connection.session, closure, began_at, &mut warnings)
            .await?;
        let checkpoint = match &request.scope {
            Scope::All => {
                self.checkpoint(directory, connection, &state, &policy, began_at, &mut warnings)
                    .await?
            }
            Scope::People(_) => None,
        };
        let decoder = Decoder::new(&connection.settings.attributes, &policy.closure);
        let session = &connection.session;
        let (server, identity) = (session.server.clone(), session.root.identity.clone());
        let mut observed = ObservedRun {
            seen: Observation::new(request.scope.clone(), policy, server, identity),
            number,
            began_at,
            warnings,
            entries: 0,
            found: BTreeMap::new(),
            known_users: BTreeSet::new(),
            grants: Grants::of(session),
            rights_lost: state.rights_lost.clone(),
            baseline: state.baseline,
            checkpoint,
            left_to: BTreeMap::new(),
            sids: BTreeMap::new(),
            unseen: BTreeSet::new(),
            addresses: BTreeSet::new(),
            lost_server: None,
            high_water_marks: up_to_dateness.marks,
        };
        observed.seen.replica.knowledge = up_to_dateness.knowledge;
        observed.seen.replica.is_set_back = up_to_dateness.is_set_back;
        observed.seen.replica.groups = groups;
        observed.seen.replica.containers = containers;
        observed.seen.replica.is_scope_by_groups = !connection.settings.filter_groups().is_empty();
        let pending = if self.is_connected(directory, connection).await {
            let mut pending =
                self.pending_people(directory, request, connection, &mut observed).await?;
            pending.extend(self.regrouped(directory, request, &observed).await?);
            if observed.seen.is_full() {
                self.warn_of_foreign_members(directory, &mut connection.session, &mut observed)
                    .await?;
            }
            pending
        } else {
            BTreeSet::new()
        };
        let mut absent = match &request.scope {
            Scope::All => {
                self.read_all(
                    directory,
                    connection,
                    &bases,
                    &decoder,
                    &state,
                    &names.links,
                    &mut observed,
                )
                .await?
            }
            Scope::People(people) => {
                self.check_rights(directory, connection, &state, &mut observed).await?;
                people.clone()
            }
        };
        absent.extend(pending.into_iter().filter(|guid| !observed.seen.desired.contains_key(guid)));
        observed.seen.cover(&absent);
        let read_at = state.last_complete_read;
        self.confirm_absent(
            directory,
            connection,
            &bases,
            &decoder,
            absent,
            read_at,
            &mut observed,
        )
        .await?;
        self.read_contenders(directory, connection, &bases, &decoder, read_at, &mut observed)
            .await?;
        self.take_over(directory, &bases.dns, &mut observed).await?;
        self.find_successors(directory, request, connection, &bases.dns, &mut observed).await?;
        self.judge_people(directory, connection, &state, &mut observed).await?;
        if observed.seen.is_full() {
            self.read_leavers(directory, connection, &mut observed).await;
        }
        self.withhold(directory, connection, &bases, &state.counts, &mut observed).await?;
        if self.is_connected(directory, connection).await {
            self.confirm_groups(directory, &mut connection.session, &mut observed).await?;
        } else {
            observed.seen.closure_is_stable = observed.seen.policy.closure.is_empty();
        }
        for reason in names.problem.into_iter().chain(trouble) {
            observed.seen.failure.get_or_insert(reason);
        }
        Ok(observed)
    }

    /// Fails a scoped run whose service account has lost a right: it applies only changes that are
    /// positively seen.
    async fn check_rights(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        state: &DirectoryState,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        if let Some(lost) = &state.rights_lost {
            observed.seen.failure =
                Some(format!("{lost}; only a full run can tell whether the right is back"));
            return Ok(());
        }
        if let Some(lost) = self.lost_right(directory, connection, &mut observed.warnings).await? {
            let naming_context = &connection.session.root.default_naming_context;
            let grant = observed.grants.command(Right::ReadProperty, naming_context);
            observed.seen.failure = Some(format!("{lost}; as a domain administrator: {grant}"));
        }
        Ok(())
    }
}
