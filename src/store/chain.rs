//! Verification of the event log's chain.
//!
//! Without a key, a writer of the database can compute the chain anew, or cut its end off. Only a
//! head that was copied elsewhere shows that. With a key (HMAC-SHA-256, RFC 2104) the chain cannot
//! be computed anew; the head still shows a cut. A chain may begin without a key and continue with
//! one, never the other way round.

use std::sync::PoisonError;

use super::database::{Store, Writing};
use super::error::{Doing as _, StoreError};
use super::events::{PAGE, beginning};
use super::log_keys::{Chained, IS_KEYED, LogHead, LogKeys};
use super::recording::append;
use super::rows::Columns;
use super::sql::Sql;
use crate::clock::Clock;
use crate::model::Event;

/// The place where the chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainBreak {
    /// The first entry that does not follow from the one before.
    pub seq: u64,
    /// The fault, as a sentence.
    pub finding: &'static str,
}

/// The result of a verification that found no break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The last entry that retention has deleted; 0 if there is none.
    pub begins_after: u64,
    pub head: LogHead,
    /// The first entry that is chained with a key.
    pub keyed_from: Option<u64>,
    /// The entries that the database lost, as later ones tell.
    pub lost: u64,
}

impl Store {
    /// Chains all further entries with the first of these keys, or without a key if there is none.
    ///
    /// The first entry with a key is `mark`, which names the head before it. A log without the mark
    /// was computed anew. Returns the head before the mark, if the mark was written.
    pub async fn chain_with(
        &self,
        keys: LogKeys,
        mark: impl FnOnce(LogHead) -> Event + Send,
        clock: &Clock,
    ) -> Result<Option<LogHead>, StoreError> {
        if keys.is_empty() {
            if self.is_keyed().await? {
                return Err(StoreError::Keyless);
            }
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

    /// Returns whether an entry was chained with a key. All further ones have to be.
    async fn is_keyed(&self) -> Result<bool, StoreError> {
        let count = Sql::new(IS_KEYED).count(&self.readers).await;
        Ok(count.doing("read how its log is chained")? > 0)
    }

    /// Returns whether this rosterd has no keys of the log.
    pub fn has_no_log_keys(&self) -> bool {
        self.log_keys().is_empty()
    }

    /// Chains further entries with these keys. The leader has marked the first of them.
    pub fn use_log_keys(&self, keys: LogKeys) {
        self.set_log_keys(keys);
    }

    /// Returns a mark of the key of new entries, by which nodes notice that they differ.
    pub fn log_key_mark(&self) -> Option<String> {
        self.log_keys().mark()
    }

    pub(super) fn set_log_keys(&self, keys: LogKeys) {
        *self.log_keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    pub(super) fn log_keys(&self) -> LogKeys {
        self.log_keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Verifies the whole chain. Returns its end, or the break.
    pub async fn verify_events(
        &self,
        noted: Option<LogHead>,
    ) -> Result<Result<LogHead, ChainBreak>, StoreError> {
        Ok(self.verify_log(noted).await?.map(|verified| verified.head))
    }

    /// Verifies the whole chain. It must contain `noted`, a head that was copied elsewhere.
    pub async fn verify_log(
        &self,
        noted: Option<LogHead>,
    ) -> Result<Result<Verified, ChainBreak>, StoreError> {
        let verified = self.follow(noted).await?;
        if verified.is_ok() {
            return Ok(verified);
        }
        // The keys may have changed meanwhile. They do not while the writer is locked.
        let _writer = self.writer.lock().await;
        self.follow(noted).await
    }

    async fn follow(
        &self,
        noted: Option<LogHead>,
    ) -> Result<Result<Verified, ChainBreak>, StoreError> {
        let keys = self.log_keys();
        let (mut keyed_from, mut is_keyed, mut lost) = (None, false, 0);
        let (begins, mut hash) = beginning(&self.readers).await?;
        let mut seq = begins as u64;
        let broken = |seq, finding| Ok(Err(ChainBreak { seq, finding }));
        if noted.is_some_and(|noted| noted.seq < seq) {
            return broken(
                seq + 1,
                "the noted head is older than the first entry that retention has kept: note a newer one",
            );
        }
        if noted.is_some_and(|noted| noted.seq == seq && noted.hash != hash) {
            return broken(
                seq + 1,
                "the log begins after another log than the one of the noted head",
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
                let document = c.text()?;
                if at != seq + 1 {
                    if !tells_loss(&document, seq + 1, at - 1) {
                        return broken(seq + 1, "the entry is missing");
                    }
                    if noted.is_some_and(|noted| (seq + 1..at).contains(&noted.seq)) {
                        return broken(
                            seq + 1,
                            "the noted head is among the entries that the database has lost",
                        );
                    }
                    lost += at - 1 - seq;
                }
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
                    Chained::Not if keys.is_empty() => {
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
                    return broken(at, "the columns of the entry differ from its document");
                }
                if noted.is_some_and(|noted| noted.seq == at && noted.hash != hash) {
                    return broken(at, "the log up to this entry is not the one of the noted head");
                }
                seq = at;
                is_keyed = chained == Chained::WithKey;
            }
        }
        if !keys.is_empty() && !is_keyed && seq > begins as u64 {
            return broken(
                seq,
                "the newest entry is chained without the key that [events] names: the log was computed anew without it",
            );
        }
        match noted {
            Some(noted) if noted.seq > seq => {
                broken(seq + 1, "the log ends before the noted head: entries were cut off")
            }
            _ => Ok(Ok(Verified {
                begins_after: begins as u64,
                head: LogHead { seq, hash },
                keyed_from,
                lost,
            })),
        }
    }
}

/// Returns the head of a log whose newest entry is chained without a key, although there are keys.
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

/// The event about commits that the database has lost.
pub const REWOUND: &str = "store.rewound";

/// Returns whether an entry tells that the entries before it, from `first` to `last`, were lost. The
/// chain covers what it tells.
fn tells_loss(document: &str, first: u64, last: u64) -> bool {
    let Ok(document) = serde_json::from_str::<serde_json::Value>(document) else { return false };
    let told = &document["data"]["after"];
    document["type"] == REWOUND && told["from"] == first && told["to"] == last
}

/// Returns whether the columns of an event agree with its document. The chain does not cover them.
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
