//! People who were not seen, or seen badly: each is asked for by GUID, and the groups about those who seem to have left them.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{
    Bases, Decoder, DirectoryError, Found, Inquiry, Questions, Right, Session, Suspect,
};
use crate::engine::sync::observe::Sight;
use crate::engine::sync::observe::connection::Connection;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{AccountId, DirectoryName, Guid, Status, Tier, Timestamp};
use crate::reconcile::{
    Absent, Complete, Confirmation, Membership, StoredPerson, TierWish, suspects,
};
use crate::store::{Pin, PinKind};

impl Engine {
    /// Asks for these people by GUID and decides what their absence means.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one look, each owned by its caller"
    )]
    pub(in crate::engine) async fn confirm_absent(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        bases: &Bases,
        decoder: &Decoder,
        absent: BTreeSet<Guid>,
        last_complete_read: Option<Timestamp>,
        sight: &mut Sight,
    ) -> Result<(), EngineError> {
        if absent.is_empty() {
            return Ok(());
        }
        directory.work.progress.send_modify(|p| p.phase = "confirming");
        let mut stored =
            self.store.people(&directory.config.name, absent.iter().copied().collect()).await?;
        self.last_seen_elsewhere(directory, sight.policy.account, &absent, &mut stored).await?;
        let settings = connection.settings.clone();
        let inquiry = Inquiry {
            bases,
            settings: &settings,
            decoder,
            stored: &stored,
            now: sight.began_at,
            last_complete_read,
        };
        let mut found = self.ask_for(directory, connection, &absent, &inquiry).await;
        if directory.config.limits.grace_period.is_zero() {
            // No recheck later: so both looks are now.
            let nowhere: BTreeSet<Guid> = found
                .people
                .iter()
                .filter(|(_, c)| matches!(c, Confirmation::Nowhere(_)))
                .map(|(g, _)| *g)
                .collect();
            let second = self.ask_for(directory, connection, &nowhere, &inquiry).await;
            // One look is no evidence. What else was seen is, and keeps no leaver active.
            found.people.retain(|guid, _| !nowhere.contains(guid));
            found.people.extend(second.people);
            found.unplaced.extend(second.unplaced);
            found.problems.extend(second.problems);
            found.warnings.extend(second.warnings);
        }
        Self::note_unanswered(&absent, &found, sight);
        if !sight.is_full() {
            sight.entries += found.people.len() as u64;
        }
        self.conclude_absent(directory, absent, found, bases, &stored, sight).await
    }

    /// Asks for people until all questions are answered, time is up, or the server cannot be reached any more.
    async fn ask_for(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        people: &BTreeSet<Guid>,
        inquiry: &Inquiry<'_>,
    ) -> Found {
        let mut found = Found::default();
        if people.is_empty() {
            return found;
        }
        let limit = inquiry.settings.timeouts.run;
        let asking = async {
            let mut questions = Questions::about(people);
            while self.is_connected(directory, connection).await {
                if connection.session.confirm(&mut questions, inquiry, &mut found).await.is_ok() {
                    return;
                }
            }
            found.problems.insert(format!("the connection to {} ended", connection.session.server));
        };
        if tokio::time::timeout(limit, asking).await.is_err() {
            connection.session.hang_up();
            found.problems.insert(EngineError::TooLong(limit).to_string());
        }
        found
    }

    /// Takes note of the people who could not be asked for: nothing is known of them, and nothing is concluded.
    fn note_unanswered(absent: &BTreeSet<Guid>, found: &Found, sight: &mut Sight) {
        sight.warnings.extend(found.warnings.iter().cloned());
        let unanswered: BTreeSet<Guid> = absent
            .iter()
            .copied()
            .filter(|guid| !found.people.contains_key(guid) || found.unplaced.contains(guid))
            .collect();
        if unanswered.is_empty() {
            return;
        }
        let why = found.problems.iter().cloned().collect::<Vec<_>>().join("; ");
        let why = if why.is_empty() { "a base can no longer be read".to_owned() } else { why };
        let told = format!("{} people could not be asked for by GUID: {why}", unanswered.len());
        if sight.is_full() || unanswered.len() == absent.len() {
            sight.failure.get_or_insert(told);
        } else {
            sight.warnings.push(told);
        }
        sight.is_answered = false;
        sight.add_unknown(unanswered);
    }

    async fn conclude_absent(
        &self,
        directory: &Directory,
        absent: BTreeSet<Guid>,
        mut found: Found,
        bases: &Bases,
        stored: &BTreeMap<Guid, StoredPerson>,
        sight: &mut Sight,
    ) -> Result<(), EngineError> {
        let last_seen = stored.iter().map(|(guid, person)| (*guid, person.dn.clone())).collect();
        let known = self
            .store
            .load(&directory.config.name, sight.policy.account, &absent, &BTreeSet::new())
            .await?;
        let is_suspended =
            |guid| known.of_person(guid).is_none_or(|user| user.status() != Status::Active);
        let answered: BTreeSet<Guid> = found.people.keys().copied().collect();
        let scoped =
            if sight.is_full() { None } else { Complete::of_people(&answered, &found.people) };
        if !sight.is_full() {
            sight
                .known_users
                .extend(absent.iter().copied().filter(|guid| known.of_person(*guid).is_some()));
            sight.found.extend(found.people.clone());
        }
        let left = self.leave_to_others(directory, &mut found.people, &bases.dns, sight).await?;
        sight.malformed.extend(found.people.iter().filter_map(|(guid, c)| match c {
            Confirmation::Malformed(rest) => Some((Some(*guid), rest.dn.clone())),
            _ => None,
        }));
        let decided = Absent::decide(
            &found.people,
            &last_seen,
            sight.proof.as_ref().or(scoped.as_ref()),
            is_suspended,
            &sight.policy,
        );
        if let Some(base) = decided.unexplained.first() {
            sight.failure.get_or_insert(format!(
                "{base} shows nobody although it had people, and not all of them are elsewhere: give the service account the right to list it, or correct base"
            ));
        }
        sight.add_unknown(decided.unknown);
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
        let links = self
            .store
            .links_elsewhere(account, &directory.config.name, absent.iter().copied())
            .await?;
        let mut orphans: BTreeMap<DirectoryName, Vec<Guid>> = BTreeMap::new();
        for link in links
            .into_values()
            .filter(|link| neighbours.iter().all(|d| d.config.name != link.directory))
        {
            orphans.entry(link.directory).or_default().push(link.guid);
        }
        for (former, people) in orphans {
            stored.extend(self.store.people(&former, people).await?);
        }
        Ok(())
    }

    /// Returns the groups that listed members before this run. A full run adds the groups of the closure that list some now.
    async fn listed_before(
        &self,
        directory: &Directory,
        session: &mut Session,
        sight: &mut Sight,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let name = &directory.config.name;
        let listed: BTreeSet<Guid> = self
            .store
            .pins(name, PinKind::Listing)
            .await?
            .into_values()
            .flatten()
            .map(|pin| pin.guid)
            .collect();
        let fresh: BTreeSet<Guid> = sight
            .policy
            .closure
            .groups()
            .map(|group| group.guid)
            .filter(|guid| !listed.contains(guid))
            .collect();
        if !sight.is_full() || fresh.is_empty() {
            return Ok(listed);
        }
        match session.groups_with_members(&fresh).await {
            Ok(listing) => {
                for guid in listing {
                    let pin = Pin { name: guid.to_string(), guid, detail: String::new() };
                    self.store.pin_by(sight.baseline, name, PinKind::Listing, &pin).await?;
                }
            }
            Err(error) => sight
                .warnings
                .push(format!("the groups could not be asked whether they list members: {error}")),
        }
        Ok(listed)
    }

    /// Puts to the groups themselves whether they hold those who seem to have left them; then looks whether the groups stood still.
    pub(in crate::engine) async fn confirm_groups(
        &self,
        directory: &Directory,
        session: &mut Session,
        sight: &mut Sight,
    ) -> Result<(), EngineError> {
        if sight.policy.closure.is_empty() {
            return Ok(());
        }
        let name = &directory.config.name;
        let listed = self.listed_before(directory, session, sight).await?;
        let losing: BTreeSet<Guid> = sight
            .desired
            .values()
            .filter(|d| !matches!(d.tier, TierWish::Entitled { tier: Tier::Pro, .. }))
            .map(|d| d.guid)
            .collect();
        let known = self.store.load(name, sight.policy.account, &losing, &BTreeSet::new()).await?;
        let suspects: BTreeMap<Guid, Suspect> = suspects(&sight.desired, &known)
            .into_iter()
            .map(|guid| {
                let d = &sight.desired[&guid];
                let entitled_by = known.stored(guid).and_then(|p| p.entitled_by);
                (
                    guid,
                    Suspect {
                        dn: d.dn.clone(),
                        groups: d.entitled_by().into_iter().collect(),
                        entitled_by,
                    },
                )
            })
            .collect();
        if !suspects.is_empty() {
            let mut in_use: BTreeSet<Guid> = self.store.groups_in_use(name).await?;
            // A section of another name has used none of the groups that its people come from.
            in_use.extend(suspects.values().filter_map(|suspect| suspect.entitled_by));
            let answers = async {
                let mut silent = session.groups_without_members(&in_use).await?;
                // A group that listed members is not heard by those who have it as their primary group.
                let known: BTreeSet<Guid> = in_use.intersection(&listed).copied().collect();
                silent.extend(known.difference(&session.groups_with_members(&known).await?));
                silent.extend(session.detached(&in_use, &sight.policy.closure).await?);
                Ok::<_, DirectoryError>((
                    session.memberships(&suspects, &sight.policy.closure, &silent).await?,
                    silent,
                ))
            };
            match answers.await {
                Ok((answers, silent)) => {
                    for group in silent
                        .iter()
                        .filter(|g| suspects.values().any(|s| s.entitled_by == Some(**g)))
                    {
                        let dn =
                            sight.policy.closure.groups().find(|g| g.guid == *group).map_or_else(
                                || format!("<GUID={group}>"),
                                |g| g.dn.as_str().to_owned(),
                            );
                        let grant = sight.grants.command(Right::ReadProperty, &dn);
                        sight.warnings.push(format!(
                            "the group {dn} shows no member, or not what it is a member of, although it gave people their tier: emptied, or no longer readable; nobody loses anything by it until it can be read (as a domain administrator: {grant}), or rosterctl directory rebaseline accepts it"
                        ));
                    }
                    for (guid, answer) in &answers {
                        if let Some(desired) = sight.desired.get_mut(guid) {
                            desired.confirm_membership(answer, &sight.policy);
                        }
                    }
                    sight.confirmed.extend(
                        answers
                            .into_iter()
                            .filter(|(_, a)| *a != Membership::Unknown)
                            .map(|(g, _)| g),
                    );
                }
                Err(error) => sight
                    .warnings
                    .push(format!("the groups could not be asked for their members: {error}")),
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
