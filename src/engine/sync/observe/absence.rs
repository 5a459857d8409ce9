//! Absent people: each is asked for by GUID before anything is concluded.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Bases, Decoder, LookupContext, LookupResults, PendingLookups};
use crate::engine::sync::observe::connection::Connection;
use crate::engine::sync::observe::neighbours::people;
use crate::engine::sync::stages::ObservedRun;
use crate::engine::{Directory, Engine, EngineError, Phase};
use crate::model::{AccountId, DirectoryName, Guid, Status, Timestamp};
use crate::reconcile::{Absent, Complete, Confirmation, StoredPerson};

impl Engine {
    /// Asks for people by GUID and decides about their absence.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one observation, each owned by its caller"
    )]
    pub(in crate::engine) async fn confirm_absent(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        bases: &Bases,
        decoder: &Decoder,
        absent: BTreeSet<Guid>,
        last_complete_read: Option<Timestamp>,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        if absent.is_empty() {
            return Ok(());
        }
        directory.work.progress.send_modify(|p| p.phase = Phase::Confirming);
        let mut stored =
            self.store.people(&directory.config.name, absent.iter().copied().collect()).await?;
        self.last_seen_elsewhere(directory, observed.seen.policy.account, &absent, &mut stored)
            .await?;
        let settings = connection.settings.clone();
        let inquiry = LookupContext {
            bases,
            settings: &settings,
            decoder,
            stored: &stored,
            now: observed.began_at,
            last_complete_read,
        };
        let mut found = self.ask_for(directory, connection, &absent, &inquiry).await;
        if directory.config.limits.grace_period.is_zero() {
            // Without a grace period, the second observation is made now.
            let nowhere: BTreeSet<Guid> = found
                .people
                .iter()
                .filter(|(_, c)| matches!(c, Confirmation::Nowhere(_)))
                .map(|(g, _)| *g)
                .collect();
            let second = self.ask_for(directory, connection, &nowhere, &inquiry).await;
            // One observation of an absence is no evidence. All other answers are.
            found.people.retain(|guid, _| !nowhere.contains(guid));
            found.people.extend(second.people);
            found.unplaced.extend(second.unplaced);
            found.problems.extend(second.problems);
            found.warnings.extend(second.warnings);
        }
        Self::note_unanswered(&absent, &found, observed);
        if !observed.seen.is_full() {
            observed.entries += found.people.len() as u64;
        }
        self.conclude_absent(directory, absent, found, bases, &stored, observed).await
    }

    /// Asks for people until all are answered, the time limit passes or the connection cannot be replaced.
    async fn ask_for(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        people: &BTreeSet<Guid>,
        inquiry: &LookupContext<'_>,
    ) -> LookupResults {
        let mut found = LookupResults::default();
        if people.is_empty() {
            return found;
        }
        let limit = inquiry.settings.timeouts.run;
        let asking = async {
            let mut questions = PendingLookups::of(people);
            while self.is_connected(directory, connection).await {
                if connection.session.confirm(&mut questions, inquiry, &mut found).await.is_ok() {
                    return;
                }
            }
            found.problems.insert(format!("the connection to {} ended", connection.session.server));
        };
        if tokio::time::timeout(limit, asking).await.is_err() {
            connection.session.close();
            found.problems.insert(EngineError::TooLong(limit).to_string());
        }
        found
    }

    /// Marks the people without an answer as unknown. The run fails if that concerns all of them, or if
    /// it is a full run.
    fn note_unanswered(absent: &BTreeSet<Guid>, found: &LookupResults, observed: &mut ObservedRun) {
        observed.warnings.extend(found.warnings.iter().cloned());
        let unanswered: BTreeSet<Guid> = absent
            .iter()
            .copied()
            .filter(|guid| !found.people.contains_key(guid) || found.unplaced.contains(guid))
            .collect();
        if unanswered.is_empty() {
            return;
        }
        let reason = found.problems.iter().cloned().collect::<Vec<_>>().join("; ");
        let reason =
            if reason.is_empty() { "a base can no longer be read".to_owned() } else { reason };
        let message =
            format!("{} could not be asked for by GUID: {reason}", people(unanswered.len() as u64));
        if observed.seen.is_full() || unanswered.len() == absent.len() {
            observed.seen.failure.get_or_insert(message);
        } else {
            observed.warnings.push(message);
        }
        observed.seen.all_answered = false;
        observed.seen.add_unknown(unanswered);
    }

    async fn conclude_absent(
        &self,
        directory: &Directory,
        absent: BTreeSet<Guid>,
        mut found: LookupResults,
        bases: &Bases,
        stored: &BTreeMap<Guid, StoredPerson>,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        let last_seen = stored.iter().map(|(guid, person)| (*guid, person.dn.clone())).collect();
        let known = self
            .store
            .load(&directory.config.name, observed.seen.policy.account, &absent, &BTreeSet::new())
            .await?;
        let is_suspended =
            |guid| known.of_person(guid).is_none_or(|user| user.status() != Status::Active);
        let answered: BTreeSet<Guid> = found.people.keys().copied().collect();
        let scoped = if observed.seen.is_full() {
            None
        } else {
            Complete::of_people(&answered, &found.people)
        };
        if !observed.seen.is_full() {
            observed
                .known_users
                .extend(absent.iter().copied().filter(|guid| known.of_person(*guid).is_some()));
            observed.found.extend(found.people.clone());
        }
        let left = self.leave_to_others(directory, &mut found.people, &bases.dns, observed).await?;
        observed.seen.malformed.extend(found.people.iter().filter_map(|(guid, c)| match c {
            Confirmation::Malformed(rest) => Some((Some(*guid), rest.dn.clone())),
            _ => None,
        }));
        let decided = Absent::decide(
            &found.people,
            &last_seen,
            observed.seen.proof.as_ref().or(scoped.as_ref()),
            is_suspended,
            &observed.seen.policy,
        );
        if let Some(base) = decided.unexplained.first() {
            observed.seen.failure.get_or_insert(format!(
                "{base} shows no entry although it had people, and not all of them are elsewhere: give the service account the right to list it, or correct base"
            ));
        }
        observed.seen.add_unknown(decided.unknown);
        observed.seen.desired.extend(decided.desired);
        observed.seen.desired.extend(left);
        Ok(())
    }

    /// Adds the people that directories stored which are no longer configured, because this directory
    /// may be their successor.
    async fn last_seen_elsewhere(
        &self,
        directory: &Directory,
        account: AccountId,
        absent: &BTreeSet<Guid>,
        stored: &mut BTreeMap<Guid, StoredPerson>,
    ) -> Result<(), EngineError> {
        let mut orphans: BTreeMap<DirectoryName, Vec<Guid>> = BTreeMap::new();
        for link in self.orphans(directory, account, absent.iter().copied()).await? {
            orphans.entry(link.directory).or_default().push(link.guid);
        }
        for (former, people) in orphans {
            stored.extend(self.store.people(&former, people).await?);
        }
        Ok(())
    }
}
