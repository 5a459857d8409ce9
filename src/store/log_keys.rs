//! The hash of the event log: each entry's covers its document and the hash of the entry before.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::{Digest as _, Sha256};

/// The hash before the first event.
pub(super) const GENESIS: [u8; 32] = [0; 32];

/// Counts the row which says that entries are chained with a key.
pub(super) const IS_KEYED: &str = "SELECT COUNT(*) FROM counters WHERE name = 'keyed'";

/// The keys of the chain. The first one chains new entries; the others verify older entries.
#[derive(Debug, Clone, Default)]
pub struct LogKeys(Arc<[SecretSlice<u8>]>);

/// The end of the log. A copy kept elsewhere shows later whether the log was changed or cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    pub seq: u64,
    /// The hash of all entries up to `seq`.
    pub hash: [u8; 32],
}

impl fmt::Display for LogHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seq)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for LogHead {
    type Err = ();

    /// Parses `SEQ:HASH`, with the hash in hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (seq, digits) = text.split_once(':').ok_or(())?;
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(());
        }
        let mut hash = [0; 32];
        for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(drop)?;
        }
        Ok(Self { seq: seq.parse().map_err(drop)?, hash })
    }
}

/// The way in which an entry is chained to the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Chained {
    WithKey,
    WithoutKey,
    Not,
}

impl LogKeys {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the keys of a text, one per line.
    pub fn of(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Self(lines.map(|line| SecretSlice::from(line.as_bytes().to_vec())).collect())
    }

    /// Returns a mark of the key of new entries, which tells nothing about it.
    pub(super) fn mark(&self) -> Option<String> {
        let hash = keyed(self.0.first()?, GENESIS, "mark of the key of new entries")?;
        let [first, ..] = hash.as_chunks::<8>().0 else { return None };
        Some(format!("{:016x}", u64::from_be_bytes(*first)))
    }

    /// Returns the hash of a new entry.
    pub(super) fn link(&self, before: [u8; 32], document: &str) -> [u8; 32] {
        self.0
            .first()
            .and_then(|key| keyed(key, before, document))
            .unwrap_or_else(|| plain(before, document))
    }

    pub(super) fn chained(&self, before: [u8; 32], document: &str, hash: [u8; 32]) -> Chained {
        if hash == plain(before, document) {
            Chained::WithoutKey
        } else if self.0.iter().any(|key| keyed(key, before, document) == Some(hash)) {
            Chained::WithKey
        } else {
            Chained::Not
        }
    }
}

fn plain(before: [u8; 32], document: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(document.as_bytes());
    hash.finalize().into()
}

/// Returns `Some` for every key, because HMAC accepts any length.
fn keyed(key: &SecretSlice<u8>, before: [u8; 32], document: &str) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
    mac.update(&before);
    mac.update(document.as_bytes());
    Some(mac.finalize().into_bytes().into())
}
