//! What is remembered of a directory beside its people: its server, its pins, its attention.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use super::sql::{Columns, Sql, Value, json};
use super::{Doing as _, ScopeState, Store, StoreError, Writing, events};
use crate::clock::Clock;
use crate::model::{AccountId, AddressKey, DirectoryName, Event, Guid, Timestamp};
use crate::reconcile::{AttributeCounts, Checkpoint, ServerIdentity};

/// What is remembered of one directory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DirectoryState {
    /// No runs by themselves until then.
    pub paused_until: Option<Timestamp>,
    /// When that was asked for.
    pub paused_at: Option<Timestamp>,
    /// The server of the last successful run, as configured.
    pub server: Option<String>,
    /// Who that server was.
    pub identity: Option<ServerIdentity>,
    /// When another server was chosen last.
    pub server_changed_at: Option<Timestamp>,
    /// On how many people each attribute was seen in the last complete read.
    pub counts: AttributeCounts,
    /// The accepted scope; `None` before the first full run.
    pub scope: Option<ScopeState>,
    /// Since when runs only plan, because the scope has changed.
    pub plan_only_since: Option<Timestamp>,
    /// What the last full read found rights lost for.
    pub rights_lost: Option<String>,
    /// When a run last began.
    pub last_attempt: Option<Timestamp>,
    /// When one last ended well.
    pub last_success: Option<Timestamp>,
    /// When one last read everything.
    pub last_complete_read: Option<Timestamp>,
    /// How many entries it read.
    pub entries: u64,
    /// Since AD refused the service account: what keeps rosterd from trying again.
    pub bind_refused: Option<BindRefused>,
    /// How far its changes were followed.
    pub checkpoint: Option<Checkpoint>,
    /// Counts how often an operator accepted bases, groups and rights anew: a run that began before takes no part in it.
    pub baseline: u64,
}

/// AD refused the service account, and what would let it be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindRefused {
    /// Which secret it was, without telling it.
    pub secret: String,
    /// What AD said, as a sentence.
    pub told: String,
    /// When the same secret may be tried again; never, where there is none.
    pub retry_at: Option<Timestamp>,
}

/// A secret that AD refused for a reason that passes by itself is tried again this much later.
pub const LONGEST_BIND_PAUSE: std::time::Duration = std::time::Duration::from_mins(30);

/// What a pin binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PinKind {
    /// A base.
    Base,
    /// A Pro or Basic group.
    Group,
    /// A canary; its detail lists the attributes it showed.
    Canary,
    /// A group that listed members: one that lists none any more was emptied, or can no longer be read.
    Listing,
    /// A protected person.
    Protected,
}

impl PinKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Group => "group",
            Self::Canary => "canary",
            Self::Listing => "listing",
            Self::Protected => "protected",
        }
    }
}

/// A configured name and the object it meant when it was first resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The name as configured, folded.
    pub name: String,
    /// The object.
    pub guid: Guid,
    /// What else is to be remembered: a distinguished name, a list of attributes.
    pub detail: String,
}

const COLUMNS: &str = "name, paused_until, server, identity, server_changed_at, counts, scope_hash, plan_only_since, rights_lost, last_attempt, \
     last_success, last_complete_read, entries, bind_refused, checkpoint, baseline, paused_at";

pub(super) fn select(name: &DirectoryName) -> Sql {
    Sql::new("SELECT ").push(COLUMNS).push(" FROM directories WHERE name = ").bind(name.as_str())
}

impl DirectoryState {
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let mut c = Columns::of(row);
        c.text()?;
        let state = Self {
            paused_until: c.maybe_time()?,
            paused_at: None,
            server: c.maybe_text()?,
            identity: parsed(c.maybe_text()?),
            server_changed_at: c.maybe_time()?,
            counts: parsed(c.maybe_text()?).unwrap_or_default(),
            scope: c.maybe_text()?.map(ScopeState::parse),
            plan_only_since: c.maybe_time()?,
            rights_lost: c.maybe_text()?,
            last_attempt: c.maybe_time()?,
            last_success: c.maybe_time()?,
            last_complete_read: c.maybe_time()?,
            entries: c.maybe_int()?.unwrap_or(0) as u64,
            bind_refused: parsed(c.maybe_text()?),
            checkpoint: parsed(c.maybe_text()?),
            baseline: c.int()? as u64,
        };
        Ok(Self { paused_at: c.maybe_time()?, ..state })
    }

    pub(super) fn write(&self, name: &DirectoryName) -> Sql {
        let Self {
            paused_until,
            paused_at,
            server,
            identity,
            server_changed_at,
            counts,
            scope,
            plan_only_since,
            rights_lost,
            last_attempt,
            last_success,
            last_complete_read,
            entries,
            bind_refused,
            checkpoint,
            baseline,
        } = self;
        let values: Vec<Value> = vec![
            name.as_str().into(),
            (*paused_until).into(),
            server.as_deref().into(),
            identity.as_ref().map(json).into(),
            (*server_changed_at).into(),
            json(counts).into(),
            scope.as_ref().map(ScopeState::as_str).into(),
            (*plan_only_since).into(),
            rights_lost.as_deref().into(),
            (*last_attempt).into(),
            (*last_success).into(),
            (*last_complete_read).into(),
            (*entries).into(),
            bind_refused.as_ref().map(json).into(),
            checkpoint.as_ref().map(json).into(),
            (*baseline).into(),
            (*paused_at).into(),
        ];
        let columns: Vec<String> =
            COLUMNS.split(", ").skip(1).map(|c| format!("{c} = excluded.{c}")).collect();
        let update = format!(" ON CONFLICT (name) DO UPDATE SET {}", columns.join(", "));
        Sql::new("INSERT INTO directories (")
            .push(COLUMNS)
            .push(") VALUES ")
            .list(values)
            .push(&update)
    }
}

/// What cannot be read back is looked up again by the next run.
fn parsed<T: DeserializeOwned>(text: Option<String>) -> Option<T> {
    serde_json::from_str(&text?).ok()
}

impl DirectoryState {
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
    /// What is remembered of a directory; nothing, the first time.
    pub async fn directory(&self, name: &DirectoryName) -> Result<DirectoryState, StoreError> {
        let found = select(name).first(&self.readers).await.doing("read a directory's state")?;
        found.as_ref().map_or_else(|| Ok(DirectoryState::default()), DirectoryState::read)
    }

    /// Changes what is remembered. Nobody else's change comes between the reading and the writing of it.
    pub async fn change_directory(
        &self,
        name: &DirectoryName,
        change: impl FnOnce(&mut DirectoryState) + Send,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        if change_in(&mut writing, name, change).await? { writing.commit().await } else { Ok(()) }
    }

    /// Sets or ends a pause, with the event that reports it. Of a pause that has just been ended or replaced by another
    /// caller (`was` is not the stored one any more) nothing is written.
    pub async fn pause_directory(
        &self,
        name: &DirectoryName,
        was: Option<Timestamp>,
        until: Option<Timestamp>,
        event: Event,
        clock: &Clock,
    ) -> Result<bool, StoreError> {
        let mut writing = self.begin().await?;
        let found = select(name).first(&mut *writing.tx).await.doing("read a directory's state")?;
        let mut state =
            found.as_ref().map_or_else(|| Ok(DirectoryState::default()), DirectoryState::read)?;
        if state.paused_until != was {
            return Ok(false);
        }
        (state.paused_until, state.paused_at) = (until, until.map(|_| clock.now()));
        state.write(name).execute(&mut *writing.tx).await.doing("write a directory's state")?;
        events::append(&mut writing, &[event], clock).await?;
        writing.commit().await?;
        Ok(true)
    }

    /// The pins of one kind, by name.
    pub async fn pins(
        &self,
        directory: &DirectoryName,
        kind: PinKind,
    ) -> Result<BTreeMap<String, Vec<Pin>>, StoreError> {
        let sql = Sql::new("SELECT name, guid, detail FROM pins WHERE directory = ")
            .bind(directory.as_str())
            .push(" AND kind = ")
            .bind(kind.as_str());
        let mut pins: BTreeMap<String, Vec<Pin>> = BTreeMap::new();
        for row in sql.push(" ORDER BY name, guid").all(&self.readers).await.doing("read pins")? {
            let mut c = Columns::of(&row);
            let pin = Pin { name: c.text()?, guid: c.guid()?, detail: c.text()? };
            pins.entry(pin.name.clone()).or_default().push(pin);
        }
        Ok(pins)
    }

    /// The people that directories of an account protect, or protected, by this address, with the names of those directories.
    pub async fn protected_by(
        &self,
        account: AccountId,
        address: &AddressKey,
    ) -> Result<Vec<(DirectoryName, Guid)>, StoreError> {
        let sql = Sql::new("SELECT directory, guid FROM pins WHERE kind = ")
            .bind(PinKind::Protected.as_str());
        let sql = sql.push(" AND name = ").bind(address.0.as_str());
        let sql = sql.push(" AND directory IN (SELECT directory FROM users WHERE directory IS NOT NULL AND account_id = ").bind(account.0);
        let rows = sql
            .push(") ORDER BY directory, guid")
            .all(&self.readers)
            .await
            .doing("read who is protected")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok((c.word("directory name", DirectoryName::parse)?, c.guid()?))
            })
            .collect()
    }

    /// Pins a name that was resolved by this baseline; does nothing where an operator has accepted another one since.
    pub async fn pin_by(
        &self,
        baseline: u64,
        directory: &DirectoryName,
        kind: PinKind,
        pin: &Pin,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let found =
            select(directory).first(&mut *writing.tx).await.doing("read a directory's state")?;
        if found
            .as_ref()
            .map_or_else(|| Ok(DirectoryState::default()), DirectoryState::read)?
            .baseline
            != baseline
        {
            return Ok(());
        }
        pin_in(&mut writing, directory, kind, pin).await?;
        writing.commit().await
    }

    /// Pins a name; one that is already pinned to the object gets the new detail.
    pub async fn pin(
        &self,
        directory: &DirectoryName,
        kind: PinKind,
        pin: &Pin,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        pin_in(&mut writing, directory, kind, pin).await?;
        writing.commit().await
    }

    /// Forgets what names meant and what was seen of attributes and groups, and changes the directory's state along with it: all in
    /// one transaction, and as a baseline of its own, so that no run that began before writes over it.
    pub async fn rebaseline(
        &self,
        name: &DirectoryName,
        change: impl FnOnce(&mut DirectoryState) + Send,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        // Protected people stay protected: their pin is about somebody, not about what can be seen.
        let sql = Sql::new("DELETE FROM pins WHERE kind <> 'protected' AND directory = ")
            .bind(name.as_str());
        sql.execute(&mut *writing.tx).await.doing("forget pins")?;
        let sql =
            Sql::new("UPDATE people SET entitled_by = NULL, fingerprint = 0 WHERE directory = ")
                .bind(name.as_str());
        sql.execute(&mut *writing.tx).await.doing("forget groups")?;
        let change = |state: &mut DirectoryState| {
            change(state);
            state.baseline += 1;
        };
        change_in(&mut writing, name, change).await?;
        writing.commit().await
    }
}

/// Changes what is remembered of a directory inside a transaction; returns whether anything was written.
async fn change_in(
    writing: &mut Writing<'_>,
    name: &DirectoryName,
    change: impl FnOnce(&mut DirectoryState) + Send,
) -> Result<bool, StoreError> {
    let found = select(name).first(&mut *writing.tx).await.doing("read a directory's state")?;
    let mut state =
        found.as_ref().map_or_else(|| Ok(DirectoryState::default()), DirectoryState::read)?;
    let was = state.clone();
    change(&mut state);
    if state == was && found.is_some() {
        return Ok(false);
    }
    state.write(name).execute(&mut *writing.tx).await.doing("write a directory's state")?;
    Ok(true)
}

async fn pin_in(
    writing: &mut Writing<'_>,
    directory: &DirectoryName,
    kind: PinKind,
    pin: &Pin,
) -> Result<(), StoreError> {
    let values: Vec<Value> = vec![
        directory.as_str().into(),
        kind.as_str().into(),
        pin.name.as_str().into(),
        pin.guid.into(),
        pin.detail.as_str().into(),
    ];
    let sql =
        Sql::new("INSERT INTO pins (directory, kind, name, guid, detail) VALUES ").list(values);
    let sql = sql
        .push(" ON CONFLICT (directory, kind, name, guid) DO UPDATE SET detail = excluded.detail");
    sql.execute(&mut *writing.tx).await.doing("pin a name")?;
    Ok(())
}
