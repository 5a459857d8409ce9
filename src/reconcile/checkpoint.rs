//! The checkpoint of a directory, and whether an incremental run can start from it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ServerIdentity;
use crate::model::Timestamp;

/// Older checkpoints are not used, because a tombstone may have been removed: it lives 60 days at
/// least. A server that was offline for longer may also bring deleted objects back.
const OLDEST: Duration = Duration::from_hours(30 * 24);

/// The point up to which all changes were processed, by a complete read and incremental runs since.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Other servers have USNs of their own.
    pub server: ServerIdentity,
    /// The server's highest USN before DirSync was asked.
    pub usn: u64,
    /// The DirSync cookie.
    pub cookie: Vec<u8>,
    /// The time of the cookie.
    pub at: Timestamp,
    /// The time of the last full read.
    pub full_at: Timestamp,
    /// The hash of claims and scope.
    pub measure: String,
}

/// The reason why an incremental run becomes a full one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FullReadReason {
    NotConfigured,
    /// There was no complete full read yet, or an operator has discarded the checkpoint.
    NoCheckpoint,
    /// The server, or its database, is another one than that of the checkpoint.
    OtherServer,
    /// The server's highest USN is lower than before (USN rollback, MS-DRSR).
    SetBack,
    /// Tombstones of deletions since then may be gone.
    TooOld,
    /// Claims or the scope have changed.
    OtherMeasure,
    /// Deletions would be missed, because deleted objects are not visible.
    BlindToDeletions,
    /// A full read is faster than asking for so many changes or people.
    Many(u64),
    /// The server refused DirSync.
    Refused(String),
}

impl FullReadReason {
    /// Returns whether an operator has to act on it.
    pub fn is_alarming(&self) -> bool {
        *self == Self::SetBack
    }
}

impl fmt::Display for FullReadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured => f.write_str("incremental = false"),
            Self::NoCheckpoint => f.write_str("there is no checkpoint yet"),
            Self::OtherServer => f.write_str("another server, or another copy of its database, answers now"),
            Self::SetBack => f.write_str(
                "the server was set back: its highest USN is lower than before, under the same invocationId. If it was restored \
                 from a snapshot, what other servers know of it is wrong, too: see repadmin /showutdvec",
            ),
            Self::TooOld => f.write_str("the checkpoint is too old"),
            Self::OtherMeasure => f.write_str("domains were claimed or released, or the configuration has changed"),
            Self::BlindToDeletions => f.write_str("the service account sees no deleted objects, so changes alone would miss deletions"),
            Self::Many(count) => write!(f, "{count} changes or people are too many to be read one by one"),
            Self::Refused(why) => write!(f, "changes cannot be asked for: {why}"),
        }
    }
}

impl Checkpoint {
    /// Returns why an incremental run on this server cannot start here; `None` if it can.
    pub fn full_read_reason(
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
            () if self.is_too_old(now) => Some(FullReadReason::TooOld),
            () => None,
        }
    }

    /// Returns whether tombstones of deletions since then may be gone.
    pub fn is_too_old(&self, now: Timestamp) -> bool {
        now.since(self.at) > OLDEST
    }

    /// Returns the checkpoint after the changes up to `usn` were processed.
    #[must_use]
    pub fn moved(&self, usn: u64, cookie: Vec<u8>, at: Timestamp) -> Self {
        Self { usn, cookie, at, ..self.clone() }
    }

    /// Replaces `now`, unless that is of another server or scope, is ahead, or was discarded meanwhile.
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
    fn a_checkpoint_is_used_only_on_the_same_database_without_rollback_for_30_days() {
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
        for (server, usn, measure, now, reason) in table {
            assert_eq!(
                checkpoint.full_read_reason(&server, usn, measure, now),
                reason,
                "{server:?} {usn} {measure} {now}"
            );
        }
    }

    #[test]
    fn a_checkpoint_only_moves_forward_on_the_same_server_and_scope() {
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
        assert!(!moves(&further, None), "discarded");
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
        // The time of the full read is that of the stored one.
        let mut now = Some(Checkpoint { full_at: at(9), ..here });
        further.succeed(&mut now);
        assert_eq!(now.map(|now| (now.usn, now.full_at)), Some((600, at(9))));
    }
}
