//! The users and changes by cluster and by home, as the store counts them.

use std::collections::{BTreeMap, BTreeSet};

use rosterd::model::*;
use rosterd::reconcile::*;

use super::Company;

impl Company {
    /// Returns the users of each cluster.
    pub(crate) fn members(&self) -> BTreeMap<String, BTreeSet<UserId>> {
        let mut members: BTreeMap<String, BTreeSet<UserId>> = BTreeMap::new();
        for (_, person) in self.people.values() {
            let Some(user) = person
                .user
                .filter(|u| self.users.get(u).is_some_and(|u| u.status() == Status::Active))
            else {
                continue;
            };
            let clusters = [
                Some(format!("ou:{}", person.home)),
                person.entitled_by.map(|g| format!("group:{g}")),
            ];
            for cluster in clusters.into_iter().flatten() {
                members.entry(cluster).or_default().insert(user);
            }
        }
        members
    }

    /// Returns the clusters over the window that began then, as the store counts them.
    pub(super) fn clusters(&self, since: Timestamp) -> BTreeMap<String, Cluster> {
        let members = self.members();
        let mut belonged = members.clone();
        let mut left: BTreeMap<String, BTreeSet<UserId>> = BTreeMap::new();
        for (at, cluster, user, is_asked) in self.taken_out.iter().filter(|(at, ..)| *at > since) {
            debug_assert!(*at <= self.now);
            belonged.entry(cluster.clone()).or_default().insert(*user);
            if !is_asked {
                left.entry(cluster.clone()).or_default().insert(*user);
            }
        }
        let cluster = |(name, users): (String, BTreeSet<UserId>)| {
            let left = left.remove(&name).unwrap_or_default();
            let former = users.difference(&self.newcomers(&name, since)).count() as u64;
            let present = members.get(&name).map_or(0, BTreeSet::len) as u64;
            let here = ClusterMembers { former, present, left };
            (name, Cluster { here, ..Cluster::default() })
        };
        belonged.into_iter().map(cluster).collect()
    }

    /// Returns the users who came to a cluster after that time.
    pub(crate) fn newcomers(&self, cluster: &str, since: Timestamp) -> BTreeSet<UserId> {
        let is_group = cluster.starts_with("group:");
        let comes = |class: ChangeClass, left: &Option<String>| match class {
            ChangeClass::Create | ChangeClass::Reactivate => true,
            ChangeClass::Upgrade => is_group,
            ChangeClass::Downgrade => is_group && left.as_deref().is_some_and(|l| l != cluster),
            _ => false,
        };
        let later = self.came_in.iter().filter(|(at, ..)| *at > since);
        later.filter(|(.., class, left)| comes(*class, left)).map(|(_, user, ..)| *user).collect()
    }

    /// Returns the users and changes by home, as the store counts them.
    pub(super) fn homes(&self, since: Timestamp) -> HomeCounts {
        let mut homes = HomeCounts::default();
        for (name, users) in self.members() {
            if let Some(home) = name.strip_prefix("ou:") {
                homes.active.insert(home.to_owned(), users.len() as u64);
            }
        }
        let applied = self.at_home.iter().filter(|(at, _)| *at > since);
        homes.applied = applied.map(|(_, applied)| applied.clone()).collect();
        homes
    }
}
