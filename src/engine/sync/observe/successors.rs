//! Successors: entries whose sIDHistory has the SID of a person of another directory of the account.
//!
//! A migration between forests makes a new entry with another GUID. Such an entry is proposed to an
//! operator as the new one of the same person, and never linked without approval.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::sync::observe::connection::Connection;
use crate::engine::sync::stages::{ObservedRun, Request};
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{AccountId, Dn, Guid, Sid, Status, UserId};

/// The users whose former entries were found.
#[derive(Debug, Default)]
pub(in crate::engine) struct Successors {
    pub users: BTreeMap<Guid, UserId>,
    /// The number of entries that share a person, or have several.
    pub unclear: usize,
}

impl Engine {
    /// Finds the former entries of those whom an operator asked about, and of those whose links wait
    /// for approval.
    pub(super) async fn find_successors(
        &self,
        directory: &Directory,
        request: &Request,
        connection: &mut Connection,
        bases: &[Dn],
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        let mut entries = self.store.proposed_relinks(&directory.config.name).await?;
        entries.extend(&request.relinks);
        entries.retain(|guid| observed.seen.desired.contains_key(guid));
        if entries.is_empty() {
            return Ok(());
        }
        let history = if self.is_connected(directory, connection).await {
            connection.session.sid_history(bases, Some(&entries)).await.map_err(|e| e.to_string())
        } else {
            Err("the connection ended".to_owned())
        };
        match history {
            Ok(history) => {
                let account = observed.seen.policy.account;
                observed.seen.successors =
                    self.successors(directory, account, history).await?.users;
            }
            Err(error) => {
                observed
                    .warnings
                    .push(format!("the sIDHistory of entries could not be read: {error}"));
                // Their proposed links stay as they are.
                observed.seen.add_unknown(entries);
            }
        }
        Ok(())
    }

    /// Returns the users of other directories whose people had these SIDs.
    pub(in crate::engine) async fn successors(
        &self,
        directory: &Directory,
        account: AccountId,
        history: BTreeMap<Guid, BTreeSet<Sid>>,
    ) -> Result<Successors, EngineError> {
        let sids: BTreeSet<Sid> = history.values().flatten().cloned().collect();
        let name = &directory.config.name;
        let mut people: BTreeMap<Sid, BTreeSet<(Guid, UserId)>> = BTreeMap::new();
        for (guid, person) in self.store.people_by_sid(&sids).await? {
            if let Some(user) = person.user.filter(|_| person.directory != *name) {
                people.entry(person.sid).or_default().insert((guid, user));
            }
        }
        let ids = people.values().flatten().map(|(_, user)| *user).collect();
        let mut users = self.store.users_by_id(&ids).await?;
        users.retain(|_, user| {
            user.account == account && matches!(user.status(), Status::Active | Status::Suspended)
        });
        let is_linked = |guid: Guid, id: &UserId| {
            users.get(id).and_then(|user| user.link.as_ref()).is_some_and(|link| link.guid == guid)
        };
        let mut found: Vec<(Guid, BTreeSet<UserId>)> = Vec::new();
        for (entry, sids) in history {
            let is_taken =
                self.store.users_by_guid(entry).await?.iter().any(|u| u.account == account);
            let former = sids.iter().filter_map(|sid| people.get(sid)).flatten();
            let former: BTreeSet<UserId> =
                former.filter(|(guid, id)| is_linked(*guid, id)).map(|(_, id)| *id).collect();
            if !is_taken && !former.is_empty() {
                found.push((entry, former));
            }
        }
        let mut wanted: BTreeMap<UserId, usize> = BTreeMap::new();
        for id in found.iter().flat_map(|(_, former)| former) {
            *wanted.entry(*id).or_default() += 1;
        }
        let mut successors = Successors::default();
        for (entry, former) in found {
            match (former.len(), former.first()) {
                (1, Some(id)) if wanted[id] == 1 => drop(successors.users.insert(entry, *id)),
                _ => successors.unclear += 1,
            }
        }
        Ok(successors)
    }
}
