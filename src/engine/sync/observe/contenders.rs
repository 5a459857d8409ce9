//! Contenders: the other people who want an address are read before it changes hands. So the outcome
//! does not depend on the people of the run.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Bases, Decoder};
use crate::engine::sync::observe::connection::Connection;
use crate::engine::sync::stages::ObservedRun;
use crate::engine::sync::stages::{Request, Scope};
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{AddressKey, Guid, QuarantineReason, Timestamp, Trigger, User};
use crate::reconcile::{Primary, Rival, newly_wanted};

/// Maximum length of a chain of people who pass addresses on. A longer one waits for a full run.
const LONGEST_CHAIN: usize = 16;

impl Engine {
    /// Returns the people with pending addresses. A user with such an address was invited, removed or
    /// unlinked, or came with a domain.
    pub(in crate::engine) async fn pending_people(
        &self,
        directory: &Directory,
        request: &Request,
        connection: &mut Connection,
        observed: &mut ObservedRun,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let is_due = request.scope == Scope::All
            || (request.checkpoint.is_some() && request.trigger == Trigger::Schedule);
        if !is_due {
            return Ok(BTreeSet::new());
        }
        let pending = self.store.pending_addresses(&directory.config.name).await?;
        match connection
            .session
            .people_by_address(&pending, &connection.settings.attributes.email)
            .await
        {
            Ok(people) => {
                observed.addresses = pending;
                Ok(people.into_values().flatten().collect())
            }
            Err(error) => {
                observed.warnings.push(format!(
                    "the people of {} addresses could not be asked for: {error}",
                    pending.len()
                ));
                Ok(BTreeSet::new())
            }
        }
    }

    /// Reads the other people who want, or hold, an address that would change hands.
    pub(in crate::engine) async fn read_contenders(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        bases: &Bases,
        decoder: &Decoder,
        last_complete_read: Option<Timestamp>,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        let has_read_all = observed.seen.is_full() && observed.seen.is_complete();
        if has_read_all && self.neighbours(directory).is_empty() {
            return Ok(());
        }
        let mut asked = BTreeSet::new();
        for round in 0.. {
            let fresh: BTreeSet<AddressKey> =
                self.newly_wanted(directory, observed).await?.difference(&asked).cloned().collect();
            if fresh.is_empty() {
                break;
            }
            asked.extend(fresh.iter().cloned());
            if has_read_all {
                break;
            }
            let people = if self.is_connected(directory, connection).await {
                connection
                    .session
                    .people_by_address(&fresh, &connection.settings.attributes.email)
                    .await
                    .ok()
            } else {
                None
            };
            let more = match people {
                Some(people) if round < LONGEST_CHAIN => {
                    self.contenders(directory, &fresh, people, observed).await?
                }
                // The contenders are unknown, so these addresses do not change hands.
                Some(_) | None => {
                    observed.seen.rivals.extend(fresh.into_iter().map(|key| (key, Rival::Primary)));
                    break;
                }
            };
            if more.is_empty() {
                break;
            }
            observed.seen.cover(&more);
            self.confirm_absent(
                directory,
                connection,
                bases,
                decoder,
                more,
                last_complete_read,
                observed,
            )
            .await?;
        }
        self.read_rivals(directory, &asked, observed).await
    }

    async fn newly_wanted(
        &self,
        directory: &Directory,
        observed: &ObservedRun,
    ) -> Result<BTreeSet<AddressKey>, EngineError> {
        let people: BTreeSet<Guid> = observed.seen.desired.keys().copied().collect();
        let wanted: BTreeSet<AddressKey> = observed
            .seen
            .desired
            .values()
            .flat_map(crate::reconcile::Desired::wanted_keys)
            .collect();
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let known = self
            .store
            .load(&directory.config.name, observed.seen.policy.account, &people, &wanted)
            .await?;
        Ok(newly_wanted(&observed.seen.desired, &known))
    }

    /// Returns the people that show these addresses, or hold them as users of this directory. People
    /// that the run has asked for are left out.
    async fn contenders(
        &self,
        directory: &Directory,
        wanted: &BTreeSet<AddressKey>,
        people: BTreeMap<AddressKey, BTreeSet<Guid>>,
        observed: &ObservedRun,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let mut more: BTreeSet<Guid> = people.into_values().flatten().collect();
        let holders: BTreeSet<_> = self.store.holders(wanted).await?.into_values().collect();
        let links =
            self.store.users_by_id(&holders).await?.into_values().filter_map(|user| user.link);
        more.extend(
            links.filter(|link| link.directory == directory.config.name).map(|link| link.guid),
        );
        // An incomplete full run covers people whom it has not read.
        more.retain(|guid| {
            let is_asked_for = if observed.seen.is_full() {
                observed.seen.desired.contains_key(guid)
            } else {
                observed.seen.covers(*guid)
            };
            !is_asked_for
        });
        Ok(more)
    }

    /// Asks the other directories of the account for people who want these addresses.
    ///
    /// A directory that cannot be asked blocks no joiner, because the holder of an address keeps it in any
    /// case. An address that was contested before stays so, because the rival may be there.
    async fn read_rivals(
        &self,
        directory: &Directory,
        wanted: &BTreeSet<AddressKey>,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let mut is_unasked = false;
        for other in self.neighbours(directory) {
            match self.rivals_in(&other, wanted, observed).await {
                Ok(rivals) => {
                    for (key, rival) in rivals {
                        let strongest = observed.seen.rivals.entry(key).or_insert(rival);
                        *strongest = rival.max(*strongest);
                    }
                }
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    is_unasked = true;
                    let name = &other.config.name;
                    observed.warnings.push(format!(
                        "{name} could not be asked for people who want the same addresses: {error}"
                    ));
                }
            }
        }
        if is_unasked {
            self.keep_contested(directory, wanted, observed).await?;
        }
        Ok(())
    }

    /// Keeps addresses from people who were quarantined because another person wanted the same one.
    async fn keep_contested(
        &self,
        directory: &Directory,
        wanted: &BTreeSet<AddressKey>,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        let quarantined = self.store.quarantined(&directory.config.name).await?;
        let contested = quarantined
            .into_iter()
            .filter(|(_, _, reason, _)| *reason == QuarantineReason::ContestedAddress)
            .filter_map(|(guid, ..)| observed.seen.desired.get(&guid));
        let keys: Vec<AddressKey> = contested
            .flat_map(crate::reconcile::Desired::wanted_keys)
            .filter(|key| wanted.contains(key))
            .collect();
        observed.seen.rivals.extend(keys.into_iter().map(|key| (key, Rival::Primary)));
        Ok(())
    }

    async fn rivals_in(
        &self,
        other: &Directory,
        wanted: &BTreeSet<AddressKey>,
        observed: &ObservedRun,
    ) -> Result<BTreeMap<AddressKey, Rival>, EngineError> {
        let mut people: BTreeSet<Guid> = {
            let (mut session, settings) = self.open_neighbour(other).await?;
            let found = session.people_by_address(wanted, &settings.attributes.email).await?;
            found.into_values().flatten().collect()
        };
        // A person in the scope of both directories is no rival of itself. A person read only as a
        // contender is a rival.
        people.retain(|guid| {
            !observed.seen.desired.get(guid).is_some_and(crate::reconcile::Desired::is_in_scope)
        });
        let mut rivals: BTreeMap<AddressKey, Rival> = BTreeMap::new();
        if people.is_empty() {
            return Ok(rivals);
        }
        let (desired, policy) = self.decided_in(other, &people).await?;
        let known =
            self.store.load(&other.config.name, policy.account, &people, &BTreeSet::new()).await?;
        for (guid, d) in desired {
            let is_of_it =
                |u: &&User| u.link.as_ref().is_some_and(|l| l.directory == other.config.name);
            if !d.may_want_addresses(known.of_person(guid).filter(is_of_it), &policy) {
                continue;
            }
            for key in d.wanted_keys().into_iter().filter(|key| wanted.contains(key)) {
                let is_primary =
                    matches!(&d.primary, Primary::Usable(primary) if primary.key() == key);
                let rival = if is_primary { Rival::Primary } else { Rival::Secondary };
                let strongest = rivals.entry(key).or_insert(rival);
                *strongest = rival.max(*strongest);
            }
        }
        Ok(rivals)
    }
}
