//! Observing another server than the one in use: it may suspend people, and decides nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Decoder, Grants, Session, Use};
use crate::engine::sync::stages::{ObservedRun, Request, Scope};
use crate::engine::triggers::changes::FollowError;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{Guid, ServerUrl};
use crate::reconcile::{Absent, HighWaterMarks, Metadata, Observation};

impl Engine {
    /// Reads the people of the request on one server, and keeps the suspensions that are newer there than
    /// on the server in use. Absences, groups and scope are not read.
    pub(super) async fn observe_other(
        &self,
        directory: &Directory,
        request: &Request,
        url: &ServerUrl,
    ) -> Result<ObservedRun, EngineError> {
        let people = match &request.scope {
            Scope::People(people) => people.clone(),
            Scope::All => BTreeSet::new(),
        };
        let in_use = self.stamps_in_use(directory, &people).await?;
        let mut session = self.open_at(directory, url, &directory.config.settings).await?;
        let read = self.read_other(directory, &mut session, people, &in_use).await;
        if let Err(EngineError::Directory(error)) = &read
            && error.is_lost_connection()
        {
            let now = self.clock.passed();
            directory.work.servers.note_lost(&session, error.finding(), now);
        }
        read
    }

    /// Returns the stamps that the server in use shows. Another server is not asked in its place, because it
    /// may lack the newest ones.
    async fn stamps_in_use(
        &self,
        directory: &Directory,
        people: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<Guid, Metadata>, EngineError> {
        let mut session = self.open(directory, Use::LookUp).await?.0;
        if !directory.work.servers.is_in_use(session.url()) {
            return Err(FollowError::NotCompared.into());
        }
        Ok(session.metadata(people).await?)
    }

    async fn read_other(
        &self,
        directory: &Directory,
        session: &mut Session,
        people: BTreeSet<Guid>,
        in_use: &BTreeMap<Guid, Metadata>,
    ) -> Result<ObservedRun, EngineError> {
        let settings = &directory.config.settings;
        let number = self.store.next_observation().await?;
        let began_at = self.clock.now();
        let policy = self.scope_policy(directory, session, began_at, &mut Vec::new()).await?;
        let decoder = Decoder::new(&settings.attributes, &policy.closure);
        // Stamps precede entries: an account that is enabled in between is not disabled by its old stamp.
        let metadata = session.metadata(&people).await?;
        let mut found = session.entries(&people, settings, &decoder).await?;
        let entries = found.len() as u64;
        let (server, identity) = (session.server.clone(), session.root.identity.clone());
        let scope = Scope::People(people.clone());
        let mut observed = ObservedRun {
            seen: Observation::new(scope, policy, server, identity),
            number,
            began_at,
            warnings: Vec::new(),
            entries,
            found: BTreeMap::new(),
            known_users: BTreeSet::new(),
            grants: Grants::of(session),
            rights_lost: None,
            baseline: 0,
            checkpoint: None,
            left_to: BTreeMap::new(),
            addresses: BTreeSet::new(),
            sids: BTreeMap::new(),
            unseen: BTreeSet::new(),
            lost_server: None,
            high_water_marks: HighWaterMarks::default(),
        };
        // The tombstone of a person who moved to another domain is no deletion.
        self.leave_to_others(directory, &mut found, &[], &mut observed).await?;
        let seen = &mut observed.seen;
        seen.desired =
            Absent::decide(&found, &BTreeMap::new(), None, |_| false, &seen.policy).desired;
        seen.replica.metadata = metadata;
        let stored = self.last_seen(directory, &people).await?;
        seen.keep_newer_suspensions(in_use, &stored);
        Ok(observed)
    }
}
