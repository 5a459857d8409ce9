//! The chain of the event log: each entry's hash covers its document and the hash of the entry before.
//!
//! Without a key, whoever can write the database can compute the chain anew, or cut its end off: only a head that was
//! noted elsewhere shows that. With a key (HMAC-SHA-256, RFC 2104) the chain cannot be computed anew without it; a head is
//! still needed against cutting off. A chain may begin without a key and go on with one, never the other way round.

use std::fmt;
use std::sync::{Arc, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::{Digest as _, Sha256};

use super::events::{PAGE, append, beginning};
use super::sql::{Columns, Sql};
use super::{Doing as _, Store, StoreError, Writing};
use crate::clock::Clock;
use crate::model::Event;

/// The keys of the chain. The first one chains new entries; the others verify those that it was not yet there for.
#[derive(Debug, Clone, Default)]
pub struct LogKeys(Arc<[SecretSlice<u8>]>);

/// Where the chain of the log is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainBreak {
    /// The first entry that does not follow from the one before.
    pub seq: u64,
    /// The sentence on what is wrong there.
    pub finding: &'static str,
}

/// The end of the log. Noted elsewhere, it shows later whether anything up to it was changed or cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// The number of an entry.
    pub seq: u64,
    /// The hash of everything up to and including it.
    pub hash: [u8; 32],
}

impl fmt::Display for LogHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seq)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A chain that was followed to its end without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The entry after which the log begins; 0 unless its beginning was given up.
    pub begins_after: u64,
    /// The end of the chain.
    pub head: LogHead,
    /// The first entry that is chained with a key.
    pub keyed_from: Option<u64>,
}

/// How an entry is chained to the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chained {
    WithKey,
    WithoutKey,
    Not,
}

impl LogKeys {
    /// Reads the keys of a text, one a line.
    pub fn of(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Self(lines.map(|line| SecretSlice::from(line.as_bytes().to_vec())).collect())
    }

    /// Computes the hash of a new entry.
    pub(super) fn link(&self, before: [u8; 32], document: &str) -> [u8; 32] {
        self.0
            .first()
            .and_then(|key| keyed(key, before, document))
            .unwrap_or_else(|| plain(before, document))
    }

    fn chained(&self, before: [u8; 32], document: &str, hash: [u8; 32]) -> Chained {
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

/// None never happens: a key of any length makes a MAC.
fn keyed(key: &SecretSlice<u8>, before: [u8; 32], document: &str) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
    mac.update(&before);
    mac.update(document.as_bytes());
    Some(mac.finalize().into_bytes().into())
}

impl Store {
    /// Chains all further entries with the first of these keys; without a key where there is none. The first entry with a
    /// key is this mark, made from the head before it: a log without one, although a key is configured, was computed anew.
    /// Returns the head before the mark, if that was written.
    pub async fn chain_with(
        &self,
        keys: LogKeys,
        mark: impl FnOnce(LogHead) -> Event + Send,
        clock: &Clock,
    ) -> Result<Option<LogHead>, StoreError> {
        if keys.0.is_empty() {
            self.set_log_keys(keys);
            return Ok(None);
        }
        let mut writing = self.begin().await?;
        self.set_log_keys(keys.clone());
        let Some(head) = unkeyed_head(&keys, &mut writing).await? else { return Ok(None) };
        writing.keys = keys;
        append(&mut writing, &[mark(head)], clock).await?;
        writing.commit().await?;
        Ok(Some(head))
    }

    pub(super) fn set_log_keys(&self, keys: LogKeys) {
        *self.log_keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The keys of the chain.
    pub(super) fn log_keys(&self) -> LogKeys {
        self.log_keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows the whole chain; returns its end, or where it breaks.
    pub async fn verify_events(
        &self,
        noted: Option<LogHead>,
    ) -> Result<Result<LogHead, ChainBreak>, StoreError> {
        Ok(self.verify_log(noted).await?.map(|verified| verified.head))
    }

    /// Follows the whole chain; returns what that found, or where the chain breaks. With a head that was noted elsewhere, the
    /// chain has to pass through it.
    pub async fn verify_log(
        &self,
        noted: Option<LogHead>,
    ) -> Result<Result<Verified, ChainBreak>, StoreError> {
        let verified = self.follow(noted).await?;
        if verified.is_ok() {
            return Ok(verified);
        }
        // The keys may have changed meanwhile. While the writer waits, they do not.
        let _writer = self.writer.lock().await;
        self.follow(noted).await
    }

    async fn follow(
        &self,
        noted: Option<LogHead>,
    ) -> Result<Result<Verified, ChainBreak>, StoreError> {
        let keys = self.log_keys();
        let (mut keyed_from, mut is_keyed) = (None, false);
        let (begins, mut hash) = beginning(&self.readers).await?;
        let mut seq = begins as u64;
        let broken = |seq, finding| Ok(Err(ChainBreak { seq, finding }));
        if noted.is_some_and(|noted| noted.seq < seq) {
            return broken(
                seq + 1,
                "the head that was noted is older than the log, whose beginning was given up: note a newer one",
            );
        }
        if noted.is_some_and(|noted| noted.seq == seq && noted.hash != hash) {
            return broken(
                seq + 1,
                "it begins after another log than the one whose head was noted",
            );
        }
        loop {
            let sql = Sql::new("SELECT seq, document, hash, id, kind, subject, run_id, at FROM events WHERE seq > ").bind(seq);
            let rows = sql
                .push(" ORDER BY seq LIMIT ")
                .bind(PAGE)
                .all(&self.readers)
                .await
                .doing("read the event log")?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let mut c = Columns::of(&row);
                let at = c.int()? as u64;
                if at != seq + 1 {
                    return broken(seq + 1, "the entry is missing");
                }
                let document = c.text()?;
                let stored = c.hash()?;
                let chained = keys.chained(hash, &document, stored);
                match chained {
                    Chained::WithKey => keyed_from = keyed_from.or(Some(at)),
                    Chained::WithoutKey if keyed_from.is_none() => {}
                    Chained::WithoutKey => {
                        return broken(
                            at,
                            "the entry is chained without a key, although earlier ones are chained with it: it was written by another program, or while [events] named no key",
                        );
                    }
                    Chained::Not if keys.0.is_empty() => {
                        return broken(
                            at,
                            "the entry, or the one before, is not what was written; or it is chained with a key that [events] does not name",
                        );
                    }
                    Chained::Not => {
                        return broken(at, "the entry, or the one before, is not what was written");
                    }
                }
                hash = stored;
                if !says_the_same(&document, &mut c)? {
                    return broken(at, "what the entry is listed by is not what it says");
                }
                if noted.is_some_and(|noted| noted.seq == at && noted.hash != hash) {
                    return broken(
                        at,
                        "up to this entry it is another log than the one whose head was noted",
                    );
                }
                seq = at;
                is_keyed = chained == Chained::WithKey;
            }
        }
        if !keys.0.is_empty() && !is_keyed && seq > begins as u64 {
            return broken(
                seq,
                "the newest entry is chained without the key that [events] names: the log was computed anew without it",
            );
        }
        match noted {
            Some(noted) if noted.seq > seq => {
                broken(seq + 1, "the log ends before the head that was noted: entries were cut off")
            }
            _ => Ok(Ok(Verified {
                begins_after: begins as u64,
                head: LogHead { seq, hash },
                keyed_from,
            })),
        }
    }
}

/// The head of a log whose newest entry is not chained with a key, although there are keys.
async fn unkeyed_head(
    keys: &LogKeys,
    writing: &mut Writing<'_>,
) -> Result<Option<LogHead>, StoreError> {
    let sql = Sql::new("SELECT seq, hash, document FROM events ORDER BY seq DESC LIMIT 2");
    let rows = sql.all(&mut *writing.tx).await.doing("read the event log")?;
    let (begins, genesis) = beginning(&mut *writing.tx).await?;
    let Some(newest) = rows.first() else {
        return Ok(Some(LogHead { seq: begins as u64, hash: genesis }));
    };
    let mut c = Columns::of(newest);
    let (seq, hash, document) = (c.int()? as u64, c.hash()?, c.text()?);
    let before = match rows.get(1) {
        Some(row) => {
            let mut c = Columns::of(row);
            c.int()?;
            c.hash()?
        }
        None => genesis,
    };
    let is_keyed = keys.chained(before, &document, hash) == Chained::WithKey;
    Ok((!is_keyed).then_some(LogHead { seq, hash }))
}

/// Whether the columns that events are found by say what the document says: they are not in the chain.
fn says_the_same(document: &str, columns: &mut Columns<'_>) -> Result<bool, StoreError> {
    let (id, kind, subject) = (columns.uuid()?, columns.text()?, columns.text()?);
    let (run, at) = (columns.maybe_uuid()?, columns.time()?);
    let Ok(document) = serde_json::from_str::<serde_json::Value>(document) else {
        return Ok(false);
    };
    let text = |pointer: &str| {
        document.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let time = document.get("time").cloned().and_then(|time| serde_json::from_value(time).ok());
    Ok(text("/id") == id.to_string()
        && text("/type") == kind
        && text("/subject") == subject
        && text("/data/run") == run.map(|run| run.to_string()).unwrap_or_default()
        && time == Some(at))
}
