//! High-water marks: the USNs up to which runs have read the databases of domain controllers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{DirectoryName, Guid, Timestamp};

/// A USN of one database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HighWaterMark {
    pub invocation_id: Guid,
    pub usn: u64,
}

impl HighWaterMark {
    fn is_before(&self, other: &Self) -> bool {
        self.invocation_id == other.invocation_id && self.usn < other.usn
    }
}

/// The marks that the servers of a directory have left, beside the stamps of its people.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HighWaterMarks {
    /// The highest USN at which each database was read.
    pub highest: BTreeMap<Guid, u64>,
    /// The last change of a configured or nested group.
    pub groups: Option<HighWaterMark>,
    /// The same of the groups of other directories.
    #[serde(default)]
    pub groups_elsewhere: BTreeMap<DirectoryName, HighWaterMark>,
    /// The last move or rename of an organizational unit or container, in each database. It writes nothing
    /// on the people below.
    #[serde(default)]
    pub containers: BTreeMap<Guid, Write>,
    /// The databases that were set back, each with its lowest USN since.
    pub set_back: BTreeMap<Guid, u64>,
    /// The last write in each database by which a person was decided.
    #[serde(default)]
    pub writes: BTreeMap<Guid, Write>,
}

/// The last write in one database that runs have seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Write {
    pub usn: u64,
    pub at: Timestamp,
}

impl Write {
    pub(super) fn raise(&mut self, other: Self) {
        (self.usn, self.at) = (self.usn.max(other.usn), self.at.max(other.at));
    }
}

impl HighWaterMarks {
    /// Notes the highest USN of a server. Returns whether it is lower than before: the server was set back.
    pub fn note(&mut self, now: HighWaterMark) -> bool {
        let HighWaterMark { invocation_id, usn } = now;
        let before = self.highest.insert(invocation_id, usn);
        let is_set_back = before.is_some_and(|before| usn < before);
        if is_set_back {
            let lowest = self.set_back.entry(invocation_id).or_insert(usn);
            *lowest = usn.min(*lowest);
        }
        is_set_back
    }

    /// Adds these marks to the stored ones. Another run may have stored newer ones meanwhile.
    pub fn add_to(&self, stored: &mut Self) {
        for (database, usn) in &self.highest {
            let known = stored.highest.entry(*database).or_insert(*usn);
            let was_set_back = self.set_back.get(database) != stored.set_back.get(database);
            *known = if was_set_back { *usn } else { (*known).max(*usn) };
        }
        for (database, usn) in &self.set_back {
            let known = stored.set_back.entry(*database).or_insert(*usn);
            *known = (*known).min(*usn);
        }
        if let Some(new) = self.groups
            && !stored.groups.is_some_and(|stored| new.is_before(&stored))
        {
            stored.groups = Some(new);
        }
        for (database, new) in &self.containers {
            stored.containers.entry(*database).or_insert(*new).raise(*new);
        }
        for (directory, new) in &self.groups_elsewhere {
            let known = stored.groups_elsewhere.entry(directory.clone()).or_insert(*new);
            if !new.is_before(known) {
                *known = *new;
            }
        }
    }
}
