//! Who else wants an address: read before an address changes hands, so that it does not matter whom a run was about.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Bases, Decoder};
use crate::engine::sync::observe::Sight;
use crate::engine::sync::observe::connection::Connection;
use crate::engine::sync::{Request, Scope};
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{AddressKey, Guid, Timestamp, Trigger};
use crate::reconcile::{Primary, Rival, newly_wanted};

/// A chain of people who pass addresses on is followed so far; what is beyond waits for a full run.
const LONGEST_CHAIN: usize = 16;

impl Engine {
    /// The people of the addresses that are pending: a user with such an address was invited, removed or unlinked, or came
    /// with a domain.
    pub(in crate::engine) async fn pending_people(
        &self,
        directory: &Directory,
        request: &Request,
        connection: &mut Connection,
        sight: &mut Sight,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let is_due = request.scope == Scope::All
            || (request.checkpoint.is_some() && request.trigger == Trigger::Schedule);
        if !is_due {
            return Ok(BTreeSet::new());
        }
        let pending = self.store.pending_addresses(&directory.config.name).await?;
        match connection.session.people_with(&pending, &connection.settings.attributes.email).await
        {
            Ok(people) => {
                sight.addresses = pending;
                Ok(people.into_values().flatten().collect())
            }
            Err(error) => {
                sight.warnings.push(format!(
                    "the people of {} addresses could not be asked for: {error}",
                    pending.len()
                ));
                Ok(BTreeSet::new())
            }
        }
    }

    /// Reads everybody else who wants, or holds, an address that would change hands.
    pub(in crate::engine) async fn read_contenders(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        bases: &Bases,
        decoder: &Decoder,
        last_complete_read: Option<Timestamp>,
        sight: &mut Sight,
    ) -> Result<(), EngineError> {
        // A full run has read everybody of this directory, and there is no other.
        if sight.is_full() && self.neighbours(directory).is_empty() {
            return Ok(());
        }
        let mut asked = BTreeSet::new();
        for round in 0.. {
            let fresh: BTreeSet<AddressKey> =
                self.newly_wanted(directory, sight).await?.difference(&asked).cloned().collect();
            if fresh.is_empty() {
                break;
            }
            asked.extend(fresh.iter().cloned());
            if sight.is_full() {
                break;
            }
            let people = if self.is_connected(directory, connection).await {
                connection
                    .session
                    .people_with(&fresh, &connection.settings.attributes.email)
                    .await
                    .ok()
            } else {
                None
            };
            let more = match people {
                Some(people) if round < LONGEST_CHAIN => {
                    self.contenders(directory, &fresh, people, sight).await?
                }
                // It could not be told who else wants them: nothing about them changes.
                Some(_) | None => {
                    sight.rivals.extend(fresh.into_iter().map(|key| (key, Rival::Primary)));
                    break;
                }
            };
            if more.is_empty() {
                break;
            }
            sight.cover(&more);
            self.confirm_absent(
                directory,
                connection,
                bases,
                decoder,
                more,
                last_complete_read,
                sight,
            )
            .await?;
        }
        self.read_rivals(directory, &asked, sight).await
    }

    async fn newly_wanted(
        &self,
        directory: &Directory,
        sight: &Sight,
    ) -> Result<BTreeSet<AddressKey>, EngineError> {
        let people: BTreeSet<Guid> = sight.desired.keys().copied().collect();
        let wanted: BTreeSet<AddressKey> =
            sight.desired.values().flat_map(crate::reconcile::Desired::wanted_keys).collect();
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let known =
            self.store.load(&directory.config.name, sight.policy.account, &people, &wanted).await?;
        Ok(newly_wanted(&sight.desired, &known))
    }

    /// The people that show these addresses, and the users of this directory that hold them, as far as the run does not
    /// cover them yet.
    async fn contenders(
        &self,
        directory: &Directory,
        wanted: &BTreeSet<AddressKey>,
        people: BTreeMap<AddressKey, BTreeSet<Guid>>,
        sight: &Sight,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let mut more: BTreeSet<Guid> = people.into_values().flatten().collect();
        let holders: BTreeSet<_> = self.store.holders(wanted).await?.into_values().collect();
        let links =
            self.store.users_by_id(&holders).await?.into_values().filter_map(|user| user.link);
        more.extend(
            links.filter(|link| link.directory == directory.config.name).map(|link| link.guid),
        );
        more.retain(|guid| !sight.covers(*guid));
        Ok(more)
    }

    /// Asks the other directories of the account who of theirs wants these addresses. One that cannot be asked stops
    /// nobody from joining here; the holder of an address keeps it in any case.
    async fn read_rivals(
        &self,
        directory: &Directory,
        wanted: &BTreeSet<AddressKey>,
        sight: &mut Sight,
    ) -> Result<(), EngineError> {
        if wanted.is_empty() {
            return Ok(());
        }
        for other in self.neighbours(directory) {
            match self.rivals_in(&other, wanted, sight).await {
                Ok(rivals) => {
                    for (key, rival) in rivals {
                        let strongest = sight.rivals.entry(key).or_insert(rival);
                        *strongest = rival.max(*strongest);
                    }
                }
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    let name = &other.config.name;
                    sight.warnings.push(format!("{name} could not be asked who of its people want the same addresses: {error}"));
                }
            }
        }
        Ok(())
    }

    async fn rivals_in(
        &self,
        other: &Directory,
        wanted: &BTreeSet<AddressKey>,
        sight: &Sight,
    ) -> Result<BTreeMap<AddressKey, Rival>, EngineError> {
        let mut people: BTreeSet<Guid> = {
            let (mut session, settings) = self.open(other).await?;
            let found = session.people_with(wanted, &settings.attributes.email).await?;
            found.into_values().flatten().collect()
        };
        // The same person in the scope of two directories is no rival. One that is only read here, as a contender, is.
        people.retain(|guid| {
            !sight.desired.get(guid).is_some_and(crate::reconcile::Desired::is_in_scope)
        });
        let mut rivals: BTreeMap<AddressKey, Rival> = BTreeMap::new();
        if people.is_empty() {
            return Ok(rivals);
        }
        let (desired, policy) = self.decided_in(other, &people).await?;
        let known =
            self.store.load(&other.config.name, policy.account, &people, &BTreeSet::new()).await?;
        for (guid, d) in desired {
            let is_of_it = known
                .of_person(guid)
                .is_some_and(|u| u.link.as_ref().is_some_and(|l| l.directory == other.config.name));
            if !is_of_it && !d.is_provisionable(&policy) {
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
