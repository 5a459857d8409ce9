//! The state of a directory beside its people: pause, server, checkpoint, scope.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::database::{Commits, Right, Store, Writing};
use super::error::{Doing as _, StoreError};
use super::recording::append;
use super::rows::{Columns, Row as _, StoredRow as _, row};
use super::scope::ScopeState;
use super::sql::{Fields, Sql};
use super::value::{Value, json};
use crate::clock::Clock;
use crate::model::{DirectoryName, Event, Guid, Timestamp};
use crate::reconcile::{AttributeCounts, Checkpoint, HighWaterMarks, ServerIdentity};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct DirectoryState {
    /// No automatic runs before this time.
    pub paused_until: Option<Timestamp>,
    /// The time at which the pause began.
    pub paused_at: Option<Timestamp>,
    /// The server of the last successful run, as configured.
    pub server: Option<String>,
    pub identity: Option<ServerIdentity>,
    /// The time of the last change to another server.
    pub server_changed_at: Option<Timestamp>,
    /// The number of people with each attribute in the last complete read.
    pub counts: AttributeCounts,
    /// The accepted scope; `None` before the first full run.
    pub scope: Option<ScopeState>,
    /// The time since which runs only plan, because the scope has changed.
    pub plan_only_since: Option<Timestamp>,
    /// The rights that the last full read found lost.
    pub rights_lost: Option<String>,
    /// The time at which the last run began.
    pub last_attempt: Option<Timestamp>,
    /// The time at which a run last succeeded.
    pub last_success: Option<Timestamp>,
    pub last_complete_read: Option<Timestamp>,
    /// The number of entries in the last complete read.
    pub entries: u64,
    /// Set while AD refuses the service account.
    pub bind_refused: Option<BindRefused>,
    pub checkpoint: Option<Checkpoint>,
    /// The number of rebaselines. A run that began before the last one does not write its baseline.
    pub baseline: u64,
    /// The last answer of DNS about the servers, where they are discovered.
    pub found_servers: Option<FoundServers>,
    /// The marks of the servers until now, which the next one is compared with.
    pub high_water_marks: HighWaterMarks,
    /// How far the changes of further servers were followed, by invocationId.
    pub followed: BTreeMap<Guid, Checkpoint>,
}

/// The servers of an AD domain that DNS named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundServers {
    pub domain: String,
    /// In order of preference, each with its last known addresses.
    pub servers: Vec<(String, Vec<IpAddr>)>,
}

/// A refused bind of the service account, and the condition of the next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindRefused {
    /// A mark of the secret.
    pub secret: String,
    /// The answer of AD, as a sentence.
    pub told: String,
    /// The time of the next attempt with the same secret; `None` for never.
    pub retry_at: Option<Timestamp>,
    /// The time of the refusal; absent where an earlier version stored it.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// Marks of secrets that AD refused before, those of other nodes among them.
    #[serde(default)]
    pub earlier: Vec<String>,
    /// AD accepted another secret since. The refused ones stay unsent.
    #[serde(default)]
    pub is_over: bool,
}

impl BindRefused {
    /// Returns whether AD refused the secret of a mark.
    pub fn has(&self, mark: &str) -> bool {
        self.secret == mark || self.earlier.iter().any(|earlier| earlier == mark)
    }

    /// Returns this refusal after another one, whose secret stays refused.
    #[must_use]
    pub fn after(mut self, former: Option<Self>) -> Self {
        let former = former.into_iter().flat_map(|was| was.earlier.into_iter().chain([was.secret]));
        self.earlier = former.filter(|mark| *mark != self.secret).collect();
        let surplus = self.earlier.len().saturating_sub(EARLIER);
        self.earlier.drain(..surplus);
        self
    }
}

/// The refused secrets that are remembered beside the last one.
const EARLIER: usize = 16;

/// The longest wait before a secret is tried again that AD refused for a temporary reason.
pub const LONGEST_BIND_PAUSE: std::time::Duration = std::time::Duration::from_mins(30);

row! {
    stored DirectoryState {
        paused_until: "paused_until",
        paused_at: "paused_at",
        server: "server",
        identity: "identity" as lenient_json,
        server_changed_at: "server_changed_at",
        counts: "counts" as lenient_default,
        scope: "scope_hash",
        plan_only_since: "plan_only_since",
        rights_lost: "rights_lost",
        last_attempt: "last_attempt",
        last_success: "last_success",
        last_complete_read: "last_complete_read",
        entries: "entries" as nullable_count,
        bind_refused: "bind_refused" as lenient_json,
        checkpoint: "checkpoint" as lenient_json,
        baseline: "baseline",
        found_servers: "found_servers" as lenient_json,
        high_water_marks: "high_water_marks" as lenient_default,
        followed: "followed" as lenient_default,
    }
}

/// JSON that the next run reads anew from the directory where it cannot be parsed.
pub(super) mod lenient_json {
    use super::{Columns, DeserializeOwned, Serialize, StoreError, Value, json};

    pub(in crate::store) fn read<T: DeserializeOwned>(
        columns: &mut Columns<'_>,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<String> = columns.read()?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    #[expect(clippy::ref_option, reason = "`row!` passes a reference to the field")]
    pub(in crate::store) fn write(value: &Option<impl Serialize>, values: &mut Vec<Value>) {
        values.push(value.as_ref().map(json).into());
    }
}

/// JSON as above, with the default where it is missing.
pub(super) mod lenient_default {
    use super::{Columns, DeserializeOwned, Serialize, StoreError, Value, json, lenient_json};

    pub(in crate::store) fn read<T: DeserializeOwned + Default>(
        columns: &mut Columns<'_>,
    ) -> Result<T, StoreError> {
        Ok(lenient_json::read(columns)?.unwrap_or_default())
    }

    pub(super) fn write(value: &impl Serialize, values: &mut Vec<Value>) {
        values.push(json(value).into());
    }
}

/// A number that version 0.1.0 may have left NULL.
mod nullable_count {
    use super::{Columns, StoreError, Value};

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<u64, StoreError> {
        Ok(columns.read::<Option<u64>>()?.unwrap_or(0))
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "`row!` passes a reference to the field")]
    pub(super) fn write(count: &u64, values: &mut Vec<Value>) {
        values.push((*count).into());
    }
}

pub(super) fn select(name: &DirectoryName) -> Sql {
    Sql::select::<DirectoryState>().push(" FROM directories WHERE name = ").bind(name.as_str())
}

impl DirectoryState {
    pub(super) fn write(&self, name: &DirectoryName) -> Sql {
        let columns: Vec<String> =
            Self::COLUMNS.split(", ").map(|c| format!("{c} = excluded.{c}")).collect();
        let update = format!(" ON CONFLICT (name) DO UPDATE SET {}", columns.join(", "));
        let mut row: Fields = vec![("name", name.as_str().into())];
        row.extend(self.fields());
        Sql::insert("directories", row).push(&update)
    }
}

impl DirectoryState {
    /// Notes a complete read. A clock that is behind makes the last one no older.
    pub fn note_complete_read(&mut self, now: Timestamp) {
        self.last_complete_read = self.last_complete_read.max(Some(now));
    }

    /// Notes the scope of a full run that began at `at`, and returns whether it is accepted. It is
    /// not while changes of its plan are held or rejected (`is_open`).
    pub fn observe_scope(&mut self, hash: String, at: Timestamp, is_open: bool) -> bool {
        let is_new = self.scope.as_ref().is_some_and(|scope| !scope.accepts(&hash));
        if is_new && is_open {
            self.plan_only_since.get_or_insert(at);
            return false;
        }
        self.scope = Some(ScopeState::Accepted(hash));
        self.plan_only_since = None;
        true
    }
}

impl Store {
    /// Returns the state of a directory; the default before the first run.
    pub async fn directory(&self, name: &DirectoryName) -> Result<DirectoryState, StoreError> {
        let found = select(name).first(&self.readers).await.doing("read a directory's state")?;
        found.as_ref().map_or_else(|| Ok(DirectoryState::default()), DirectoryState::of)
    }

    /// Changes the state of a directory in one transaction.
    pub async fn change_directory(
        &self,
        name: &DirectoryName,
        change: impl FnOnce(&mut DirectoryState) + Send,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        if change_in(&mut writing, name, change).await? { writing.commit().await } else { Ok(()) }
    }

    /// Changes what each node notes about a directory, such as a refused bind.
    pub async fn note_directory(
        &self,
        name: &DirectoryName,
        change: impl FnOnce(&mut DirectoryState) + Send,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin_anyone().await?;
        if change_in(&mut writing, name, change).await? { writing.commit().await } else { Ok(()) }
    }

    /// Sets or ends a pause, with its event. Returns false and writes nothing if another caller
    /// changed the pause, so that `was` is no longer stored.
    pub async fn pause_directory(
        &self,
        name: &DirectoryName,
        was: Option<Timestamp>,
        until: Option<Timestamp>,
        event: Event,
        clock: &Clock,
    ) -> Result<bool, StoreError> {
        // A pause is a brake. Its end starts runs, and is the leader's.
        let right = if until.is_some() { Right::Anyone } else { Right::Leader };
        let mut writing = self.begin_as(right, Commits::Safely).await?;
        let found = select(name).first(&mut *writing.tx).await.doing("read a directory's state")?;
        let mut state =
            found.as_ref().map_or_else(|| Ok(DirectoryState::default()), DirectoryState::of)?;
        if state.paused_until != was {
            return Ok(false);
        }
        (state.paused_until, state.paused_at) = (until, until.map(|_| clock.now()));
        state.write(name).execute(&mut *writing.tx).await.doing("write a directory's state")?;
        append(&mut writing, &[event], clock).await?;
        writing.commit().await?;
        Ok(true)
    }
}

/// Changes the state of a directory inside a transaction. Returns whether anything was written.
pub(super) async fn change_in(
    writing: &mut Writing<'_>,
    name: &DirectoryName,
    change: impl FnOnce(&mut DirectoryState) + Send,
) -> Result<bool, StoreError> {
    let found = select(name).first(&mut *writing.tx).await.doing("read a directory's state")?;
    let mut state =
        found.as_ref().map_or_else(|| Ok(DirectoryState::default()), DirectoryState::of)?;
    let was = state.clone();
    change(&mut state);
    if state == was && found.is_some() {
        return Ok(false);
    }
    state.write(name).execute(&mut *writing.tx).await.doing("write a directory's state")?;
    Ok(true)
}
