//! How far a directory's changes were followed, and whether they can be followed from there.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ServerIdentity;
use crate::model::Timestamp;

/// Objects that were deleted so long ago may be remembered by no server any more (a tombstone lives 60 days at least), and
/// a server that was away for longer may bring them back.
const OLDEST: Duration = Duration::from_hours(30 * 24);

/// Everything that changed before this is dealt with, by a complete read and what was followed since.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The server; another one counts otherwise.
    pub server: ServerIdentity,
    /// Its highest USN before it was asked.
    pub usn: u64,
    /// What it is to be asked with next.
    pub cookie: Vec<u8>,
    /// When it was asked.
    pub at: Timestamp,
    /// When everybody was last read.
    pub full_at: Timestamp,
    /// What people were measured against then, as a hash: claims, scope.
    pub measure: String,
}

/// Why changes cannot be followed, and everything has to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FullReadReason {
    /// The configuration says `incremental = false`.
    NotConfigured,
    /// They never were, or no longer are by somebody's word.
    NoCheckpoint,
    /// Another server, or another database of it, counts otherwise.
    OtherServer,
    /// The server has fewer changes behind it than before: it was set back (MS-DRSR, USN rollback).
    SetBack,
    /// Nobody remembers what was deleted so long ago.
    TooOld,
    /// People are measured against something else.
    OtherMeasure,
    /// Deleted objects cannot be seen.
    BlindToDeletions,
    /// So much has changed, or so many are concerned, that a full read is the shorter way.
    Many(u64),
    /// The server does not tell.
    Refused(String),
}

impl FullReadReason {
    /// Whether an operator should look after it.
    pub fn is_alarming(&self) -> bool {
        *self == Self::SetBack
    }
}

impl fmt::Display for FullReadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured => f.write_str("incremental = false"),
            Self::NoCheckpoint => f.write_str("there is nothing yet to follow changes from"),
            Self::OtherServer => f.write_str("another server, or another database on it, answers now"),
            Self::SetBack => f.write_str(
                "the server was set back: its highest USN is lower than before, under the same invocationId. If it was restored \
                 from a snapshot, what other servers know of it is wrong, too: see repadmin /showutdvec",
            ),
            Self::TooOld => f.write_str("changes were last followed too long ago"),
            Self::OtherMeasure => f.write_str("domains were claimed or released, or the configuration has changed"),
            Self::BlindToDeletions => f.write_str("the service account sees no deleted objects, so changes alone would miss deletions"),
            Self::Many(count) => write!(f, "{count} changes or people are too many to be looked at one by one"),
            Self::Refused(why) => write!(f, "changes cannot be asked for: {why}"),
        }
    }
}

impl Checkpoint {
    /// Why changes cannot be followed from here on this server, if they cannot.
    pub fn doubt(
        &self,
        server: &ServerIdentity,
        usn: u64,
        measure: &str,
        now: Timestamp,
    ) -> Option<FullReadReason> {
        match () {
            () if self.server != *server => Some(FullReadReason::OtherServer),
            () if usn < self.usn => Some(FullReadReason::SetBack),
            () if self.measure != measure => Some(FullReadReason::OtherMeasure),
            () if now.since(self.at) > OLDEST => Some(FullReadReason::TooOld),
            () => None,
        }
    }

    /// The checkpoint once what changed since was dealt with.
    #[must_use]
    pub fn moved(&self, usn: u64, cookie: Vec<u8>, at: Timestamp) -> Self {
        Self { usn, cookie, at, ..self.clone() }
    }

    /// Takes the place of an earlier one on the same way. Another run may have moved on further meanwhile, or have begun
    /// anew; and what somebody has put an end to does not come back.
    pub fn succeed(self, now: &mut Option<Self>) {
        if let Some(now) = now.as_mut().filter(|now| {
            now.server == self.server && now.measure == self.measure && now.usn <= self.usn
        }) {
            *now = Self { full_at: now.full_at, ..self };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Guid;

    #[test]
    fn changes_are_followed_only_on_the_same_database_that_was_not_set_back_and_not_for_ever() {
        let server = |name: &str, id: u8| ServerIdentity {
            ds_service_name: name.to_owned(),
            invocation_id: Some(Guid([id; 16])),
        };
        let at = Timestamp(1_000_000);
        let checkpoint = Checkpoint {
            server: server("dc1", 1),
            usn: 500,
            cookie: vec![1],
            at,
            full_at: at,
            measure: "m".to_owned(),
        };
        let later = |days: u64| at.plus(Duration::from_hours(24 * days));
        let table = [
            (server("dc1", 1), 500, "m", later(1), None),
            (server("dc1", 1), 900, "m", later(29), None),
            (server("dc2", 1), 900, "m", later(1), Some(FullReadReason::OtherServer)),
            (server("dc1", 2), 900, "m", later(1), Some(FullReadReason::OtherServer)),
            (server("dc1", 1), 499, "m", later(1), Some(FullReadReason::SetBack)),
            (server("dc1", 1), 900, "n", later(1), Some(FullReadReason::OtherMeasure)),
            (server("dc1", 1), 900, "m", later(31), Some(FullReadReason::TooOld)),
        ];
        for (server, usn, measure, now, doubt) in table {
            assert_eq!(
                checkpoint.doubt(&server, usn, measure, now),
                doubt,
                "{server:?} {usn} {measure} {now}"
            );
        }
    }

    #[test]
    fn a_position_moves_on_only_along_its_own_way_and_not_back() {
        let server = ServerIdentity {
            ds_service_name: "dc1".to_owned(),
            invocation_id: Some(Guid([1; 16])),
        };
        let at = |n| Timestamp(n);
        let here = Checkpoint {
            server,
            usn: 500,
            cookie: vec![0],
            at: at(1),
            full_at: at(1),
            measure: "m".to_owned(),
        };
        let further = here.moved(600, vec![1], at(2));
        let moves = |to: &Checkpoint, from: Option<&Checkpoint>| {
            let mut now = from.cloned();
            to.clone().succeed(&mut now);
            now.is_some_and(|now| now.cookie == to.cookie)
        };
        assert!(moves(&further, Some(&here)));
        assert!(!moves(&here, Some(&further)), "back");
        assert!(!moves(&further, None), "somebody has put an end to it");
        assert!(
            !moves(
                &further,
                Some(&Checkpoint { server: ServerIdentity::default(), ..here.clone() })
            ),
            "another server"
        );
        assert!(
            !moves(&further, Some(&Checkpoint { measure: "n".to_owned(), ..here.clone() })),
            "another measure"
        );
        // When everybody was read, only whoever reads everybody says.
        let mut now = Some(Checkpoint { full_at: at(9), ..here });
        further.succeed(&mut now);
        assert_eq!(now.map(|now| (now.usn, now.full_at)), Some((600, at(9))));
    }
}
