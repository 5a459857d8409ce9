//! The full read: all people of all bases, page by page.

use std::collections::BTreeSet;

use crate::directory::{Bases, Decoder, Right};
use crate::engine::sync::observe::connection::Connection;
use crate::engine::sync::observe::rights::note;
use crate::engine::sync::stages::ObservedRun;
use crate::engine::{Directory, Engine, EngineError, Phase};
use crate::model::{Filter, Guid};
use crate::reconcile::{Desired, Expectation, Index, Ledger, Moment, Observed, Problem, decide};
use crate::store::DirectoryState;

impl Engine {
    /// Reads all people. Returns those to ask for by GUID: stored people who were not read, and people
    /// who were read twice.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one observation, each owned by its caller"
    )]
    pub(super) async fn read_all(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        bases: &Bases,
        decoder: &Decoder,
        state: &DirectoryState,
        links: &BTreeSet<String>,
        observed: &mut ObservedRun,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let name = &directory.config.name;
        let account = observed.seen.policy.account;
        let (foreign, orphans) = self.foreign(directory, account).await?;
        let mut index =
            Index::new(self.store.index(name).await?, self.store.unmanaged(account).await?)
                .with_foreign(foreign, orphans);
        let settings = connection.settings.clone();
        let (canaries, lost_canaries) = self.canaries(directory, connection).await?;
        // A missing link is no lack of rights, because AD clears it when its target is deleted.
        let cleared = [&settings.attributes.manager, "memberOf"].into_iter().map(str::to_owned);
        let filter = settings.filter.as_ref().map(|(_, filter)| filter);
        let excluding: BTreeSet<String> =
            filter.into_iter().flat_map(Filter::excluding_attributes).map(str::to_owned).collect();
        let mut ledger = Ledger::new(Expectation {
            bases: bases.dns.clone(),
            people: Vec::new(),
            canaries: canaries.clone(),
            attributes: decoder.attributes(),
            universal: Decoder::universal(),
            exempt: cleared.chain(links.iter().cloned()).collect(),
            counts: state.counts.clone(),
            excluding: excluding.clone(),
        });
        if self.is_connected(directory, connection).await {
            // Without its canaries the read is incomplete. People are read nevertheless.
            let _ = note(&mut connection.session, &canaries, Moment::Before, &mut ledger).await;
        }
        directory.work.progress.send_modify(|p| p.phase = Phase::Reading);
        let mut again = BTreeSet::new();
        let without_sid = self.store.people_without_sid(name).await?;
        let sids = &mut observed.sids;
        let policy = &observed.seen.policy;
        let (desired, malformed, entries) =
            (&mut observed.seen.desired, &mut observed.seen.malformed, &mut observed.entries);
        let filter = settings.filter_text();
        let limit = settings.timeouts.run;
        // The read itself reports a missing connection.
        self.is_connected(directory, connection).await;
        let read = connection.session.read_people(
            &bases.dns,
            filter.as_deref(),
            settings.page_size,
            decoder,
            &mut ledger,
            |entry| {
                *entries += 1;
                // A progress bar needs no more updates.
                if entries.is_multiple_of(256) {
                    directory.work.progress.send_modify(|p| p.entries = *entries);
                }
                match entry {
                    Ok(person) => {
                        let decision = decide(person, policy);
                        if without_sid.contains(&decision.guid) {
                            sids.extend(decision.sid.clone().map(|sid| (decision.guid, sid)));
                        }
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
                            // A malformed entry does not keep a leaver active.
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
            Ok(Err(error)) => {
                if error.is_lost_connection() {
                    observed.lost_server = Some(error.finding());
                }
                Some(error.into())
            }
            Err(_) => {
                connection.session.close();
                Some(EngineError::TooLong(limit))
            }
        };
        for attribute in &excluding {
            if self.is_shown(directory, connection, &bases.dns, attribute).await {
                ledger.shown(attribute);
            }
        }
        if ledger.shows_an_empty_base() {
            ledger.expect_people(self.store.people_below(name, &bases.dns).await?);
            self.check_filter(directory, connection, &ledger, &mut observed.warnings).await;
        }
        match ledger.finish() {
            Ok(complete) => {
                observed.rights_lost = None;
                observed.seen.proof = Some(complete);
            }
            Err(incomplete) => {
                let mut reason = after.map_or_else(
                    || incomplete.to_string(),
                    |error| format!("{incomplete} ({error})"),
                );
                let lost = incomplete
                    .problems
                    .iter()
                    .find(|p| matches!(p, Problem::RightsLost { .. } | Problem::CanaryBlind(..)));
                observed.rights_lost = lost.zip(bases.dns.first()).map(|(lost, base)| {
                    let grant = observed.grants.command(Right::ReadProperty, base.as_str());
                    reason = format!("{reason}; as a domain administrator: {grant}");
                    format!("{lost}; as a domain administrator: {grant}")
                });
                observed.seen.failure = Some(reason);
                observed.seen.proof = incomplete.partial;
            }
        }
        if let Some(lost) = lost_canaries {
            // Without a canary there is no proof that the service account still has its rights.
            observed.seen.failure.get_or_insert(lost);
            observed.seen.proof = None;
        }
        // After an incomplete read as well, because a tombstone or a disabled account is evidence.
        again.extend(index.unseen());
        Ok(again)
    }

    /// Warns when the filter matches no entry in a base with people.
    async fn check_filter(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        ledger: &Ledger,
        warnings: &mut Vec<String>,
    ) {
        let Some(filter) = connection.settings.filter_text() else { return };
        for base in ledger.empty_bases() {
            if self.is_connected(directory, connection).await
                && matches!(connection.session.has_visible_people(base).await, Ok(true))
            {
                warnings.push(format!(
                    "{base} has people, and the filter {filter} finds none of them: correct filter"
                ));
            }
        }
    }
}
