//! The store of a company, as maps: loaded by a run, and written by a verdict.

use std::collections::{BTreeMap, BTreeSet};

use rosterd::model::*;
use rosterd::reconcile::*;

use super::{Company, account};

/// Returns a change as the store keeps it.
pub(super) fn written(change: &Change, at: Timestamp) -> WrittenChange {
    WrittenChange {
        user: change.user,
        guid: change.guid,
        email: change.email.as_ref().map(|e| e.as_str().to_owned()),
        names: change.names.clone(),
        kind: change.kind.verb(),
        class: change.class,
        reason: change.reason(),
        before: change.before(),
        after: change.after(),
        evidence: serde_json::json!(change.evidence()),
        cluster: change.cluster.clone(),
        hold: None,
        outcome: ChangeOutcome::Applied,
        at,
    }
}

impl Company {
    /// Returns what runs have last seen of people.
    pub(super) fn last_seen(&self) -> BTreeMap<Guid, LastSeen> {
        let early = |(guid, metadata): (&Guid, &Metadata)| {
            (*guid, LastSeen { metadata: Some(metadata.clone()), alive: None })
        };
        let mut seen: BTreeMap<Guid, LastSeen> = self.early_leavers.iter().map(early).collect();
        for (guid, (_, person)) in &self.people {
            let early = seen.remove(guid).and_then(|early| early.metadata);
            seen.insert(*guid, person.clone().last_seen(early, self.now));
        }
        seen
    }

    /// Loads users and people as the store does.
    pub(super) fn load(&self, people: &BTreeSet<Guid>, wanted: &BTreeSet<AddressKey>) -> Known {
        let mut known = Known::default();
        let is_loaded = |user: &&User| {
            user.link.as_ref().is_some_and(|link| people.contains(&link.guid))
                || people.iter().any(|guid| UserId::of_person(account(), *guid) == user.id)
                || user.addresses.keys().iter().any(|key| wanted.contains(key))
        };
        for user in self.users.values().filter(is_loaded) {
            known.add(user.clone(), account());
        }
        let stored = self.people.iter().filter(|(guid, _)| people.contains(guid));
        known.people = stored.map(|(guid, (_, person))| (*guid, person.clone())).collect();
        known
    }

    /// Stores a verdict as the store does.
    pub(super) fn apply(&mut self, verdict: Verdict, seen: &Observation) {
        self.written.clear();
        for (change, approved) in verdict.admitted.changes() {
            self.written.push(written(change, self.now));
            match self.users.get_mut(&change.user) {
                Some(user) => user.apply(&change.kind, self.now),
                None => match &change.kind {
                    ChangeKind::Create(joined) => {
                        self.users.insert(
                            change.user,
                            User::created(change.user, account(), joined, self.now),
                        );
                    }
                    other => panic!("{} of a user that does not exist", other.verb()),
                },
            }
            if let Some(class) = change.class {
                self.came_in.push((self.now, change.user, class, change.cluster.clone()));
            }
            if let (Some(class), false) = (change.class, approved) {
                self.applied.push((self.now, class));
            }
            if let (Some(class), Some(home)) = (change.class, change.home.clone()) {
                self.at_home.push((self.now, AppliedAtHome { home, class, approved, count: 1 }));
            }
            self.taken_out.extend(
                change.cluster.clone().map(|cluster| (self.now, cluster, change.user, approved)),
            );
        }
        for row in verdict.admitted.people() {
            let stood = self.people.get(&row.guid).map(|(_, p)| p.clone());
            let dn =
                row.dn.clone().or_else(|| stood.as_ref().map(|s| s.dn.clone())).expect("seen once");
            let entitled_by = match (row.entitled_by, &stood) {
                (Entitlement::By(_) | Entitlement::Nothing, Some(stood)) if row.keeps_place => {
                    stood.entitled_by
                }
                (Entitlement::By(group), _) => Some(group),
                (Entitlement::Nothing, _) => None,
                (Entitlement::Unknown, stood) => stood.as_ref().and_then(|s| s.entitled_by),
            };
            let home = match &stood {
                Some(stood) if row.keeps_place => stood.home.clone(),
                _ => dn.parent().map(|p| p.key().to_owned()).unwrap_or_default(),
            };
            let stored = StoredPerson {
                dn,
                home,
                entitled_by,
                user: row.user,
                seen_at: self.now,
                notes: row.notes.clone(),
                metadata: row.metadata.clone(),
            };
            self.people.insert(
                row.guid,
                (IndexRow { guid: row.guid, fingerprint: row.fingerprint }, stored),
            );
        }
        for guid in seen.replica.behind() {
            if let Some((row, _)) = self.people.get_mut(&guid) {
                row.fingerprint = Fingerprint::Revisit;
            }
        }
        // Held changes of people without a decision stay.
        let proposed: BTreeSet<Digest> = verdict.held.iter().map(|h| h.change.digest()).collect();
        let applied: BTreeSet<Digest> =
            verdict.admitted.changes().map(|(change, _)| change.digest()).collect();
        let is_settled = |digest: Digest| proposed.contains(&digest) || applied.contains(&digest);
        self.held.retain(|h| {
            h.change.guid.is_some_and(|g| !seen.is_conclusive(g)) && !is_settled(h.change.digest())
        });
        self.held.extend(verdict.held);
        self.grace_periods.retain(|s| {
            !seen.is_conclusive(s.guid)
                && !verdict
                    .grace_periods
                    .iter()
                    .any(|new| (new.user, new.cause) == (s.user, s.cause))
        });
        self.grace_periods.extend(verdict.grace_periods);
        self.first_seen =
            self.grace_periods.iter().map(|s| ((s.user, s.cause), s.first_seen)).collect();
        self.quarantined = verdict.quarantined;
        let mut holders: BTreeMap<AddressKey, UserId> = BTreeMap::new();
        for user in self.users.values().filter(|u| u.standing != Standing::Released) {
            for key in user.addresses.keys() {
                assert_eq!(holders.insert(key.clone(), user.id), None, "two users hold {}", key.0);
            }
        }
    }

    /// Undoes written changes. Returns those that are left, a line each.
    pub(crate) fn undo(&mut self, done: &[WrittenChange]) -> Vec<String> {
        let mut holders = BTreeMap::new();
        for user in self.users.values() {
            let held =
                user.addresses.keys().into_iter().filter(|_| user.standing != Standing::Released);
            holders.extend(held.map(|key| (key, user.id)));
        }
        let run = "00000000-0000-0000-0000-0000000000ff".parse().expect("an id");
        let Undoing { changes, left } =
            undo(Taken { run, at: self.now }, done, &self.users, &holders);
        self.written.clear();
        for change in &changes {
            self.written.push(written(change, self.now));
            self.users.get_mut(&change.user).expect("a user").apply(&change.kind, self.now);
            if matches!(change.kind, ChangeKind::Unlink { .. }) {
                self.people.retain(|guid, _| Some(*guid) != change.guid);
            }
            for (row, _) in
                self.people.values_mut().filter(|(row, _)| Some(row.guid) == change.guid)
            {
                row.fingerprint = Fingerprint::Revisit;
            }
        }
        left.into_iter()
            .map(|l| format!("{} {}: {}", l.email.unwrap_or_default(), l.kind, l.why))
            .collect()
    }

    /// Returns the changes of the open plan, each with its person.
    pub(super) fn held_changes(&self) -> Vec<(Option<Guid>, Waiting)> {
        let held = self.held.iter().filter(|h| {
            !matches!(
                h.hold,
                HoldReason::GracePeriod | HoldReason::Rejected | HoldReason::QuietHours
            )
        });
        held.filter_map(|h| {
            let Change { user, class, cluster, home, .. } = h.change.clone();
            let digest = Some(h.change.digest());
            Some((h.change.guid, Waiting { user, class: class?, cluster, home, digest }))
        })
        .collect()
    }
}
