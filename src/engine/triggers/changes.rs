//! Follows changes: finds the affected people. These are read and decided as in every other run.
//!
//! A checkpoint records how far changes were followed. It advances only after a run has processed
//! all changes before it. Any [`FullReadReason`] leads to a full read instead.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::directory::{
    ChangedObject, Decoder, DirectoryError, ObjectKind, Session, Settings, WATCHED_OBJECTS,
};
use crate::engine::sync::observe::connection::Connection;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{AccountId, ClaimedDomains, Dn, Guid, Tier, Timestamp};
use crate::reconcile::{Checkpoint, Closure, FullReadReason, Index, Policy};
use crate::store::DirectoryState;

/// A scoped read needs five times the searches of a full read per person. So at most this fraction
/// of all people is read by GUID: one in four.
const SCOPED_FRACTION: u64 = 4;
/// The fraction of the run's time limit that the query for a new checkpoint may take: one in ten.
/// The next run can do without it.
const CHECKPOINT_FRACTION: u32 = 10;
/// Time limit of one DirSync answer. A busy server answers in parts, and a firewall does not
/// answer.
pub(in crate::engine) const DIRSYNC_TIMEOUT: Duration = Duration::from_secs(30);
/// Up to this number people are always read by GUID.
const ALWAYS_SCOPED: u64 = 1_000;

/// The reason why changes cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    #[error("another server answers under the same name")]
    OtherServer,
    #[error("a base cannot be read")]
    BaseUnreadable,
    #[error("the server in use does not answer, so that nothing can be compared with it")]
    NotCompared,
    #[error("the server shows no invocationId, so that its changes cannot be followed")]
    Nameless,
    /// Another server of its site is followed, or it is in use.
    #[error("the server is not followed any more")]
    NotChosen,
    /// The checkpoint cannot be continued from here.
    #[error("{0}")]
    Checkpoint(FullReadReason),
    #[error("{0}")]
    RunFailed(String),
}

/// The scope of an incremental run.
#[derive(Debug)]
pub(in crate::engine) enum ChangedPeople {
    /// The affected people, and the checkpoint after their run.
    People(BTreeSet<Guid>, Checkpoint),
    /// A full read instead.
    FullRead(FullReadReason),
}

/// Returns the hash of everything that a person's user depends on beside the entry. A checkpoint of
/// another hash is not continued.
fn measure(directory: &Directory, account: AccountId, claims: &ClaimedDomains) -> String {
    let ClaimedDomains(domains) = claims;
    let domains: Vec<&str> = domains.iter().map(crate::model::Domain::as_str).collect();
    let all = serde_json::json!([
        directory.config.scope_hash(),
        directory.config.settings.attributes.extra,
        account.to_string(),
        domains,
        WATCHED_OBJECTS
    ]);
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(all.to_string().as_bytes()))
}

/// Returns the attributes whose changes matter. DirSync never reports `memberOf`, which AD
/// computes: it reports the groups.
fn watched(settings: &Settings) -> BTreeSet<String> {
    let decoded = Decoder::new(&settings.attributes, &Closure::default()).watched();
    let filtered =
        settings.filter.iter().flat_map(|(_, filter)| filter.attributes()).map(str::to_owned);
    decoded.into_iter().chain(filtered).filter(|name| !is_member_of(name)).collect()
}

fn is_member_of(attribute: &str) -> bool {
    attribute.eq_ignore_ascii_case("memberOf")
}

/// The changed objects, by the query that they need.
#[derive(Debug, Default)]
struct ChangedObjects {
    /// Stored people and new ones.
    people: BTreeSet<Guid>,
    /// Groups with added or removed members, and deleted or restored objects that may be groups.
    groups: Vec<ChangedObject>,
    /// Objects that are not stored: containers, and people without a user.
    unknown: Vec<ChangedObject>,
}

impl ChangedObjects {
    fn of(objects: Vec<ChangedObject>, is_stored: impl Fn(Guid) -> bool) -> Self {
        let mut sorted = Self::default();
        for object in objects {
            match object.kind {
                _ if is_stored(object.guid) => drop(sorted.people.insert(object.guid)),
                Some(ObjectKind::Person) if !object.is_deleted => {
                    sorted.people.insert(object.guid);
                }
                // A restored object of unknown kind: its members are restored with it.
                _ if object.is_restored => {
                    sorted.groups.push(ChangedObject {
                        members: [object.dn.clone()].into(),
                        ..object.clone()
                    });
                    sorted.unknown.push(object);
                }
                _ if object.is_deleted || !object.members.is_empty() => sorted.groups.push(object),
                None | Some(ObjectKind::Container) => sorted.unknown.push(object),
                // A new group had no members.
                Some(_) => {}
            }
        }
        sorted
    }
}

impl ChangedPeople {
    /// Returns a full read where that is faster.
    fn or_full_read(self, entries: u64) -> Self {
        match self {
            Self::People(people, _)
                if people.len() as u64 > ALWAYS_SCOPED.max(entries / SCOPED_FRACTION) =>
            {
                Self::FullRead(FullReadReason::Many(people.len() as u64))
            }
            other => other,
        }
    }
}

impl Engine {
    /// Returns the people affected by changes since the checkpoint.
    pub(in crate::engine) async fn changed_people(
        &self,
        directory: &Directory,
        session: &mut Session,
        settings: &Settings,
    ) -> Result<ChangedPeople, EngineError> {
        let state = self.store.directory(&directory.config.name).await?;
        let Some(checkpoint) = state.checkpoint else {
            return Ok(ChangedPeople::FullRead(FullReadReason::NoCheckpoint));
        };
        let now = self.clock.now();
        let (account, claims) = self.claims_of(directory).await?;
        // Reads the USN before DirSync, so that changes committed in between are reported again.
        let root = session.read_root().await?;
        if let Some(reason) = checkpoint.full_read_reason(
            &root.identity,
            root.usn,
            &measure(directory, account, &claims),
            now,
        ) {
            return Ok(ChangedPeople::FullRead(reason));
        }
        let changes = match session.changes(&checkpoint.cookie, &watched(settings)).await {
            Ok(changes) => changes,
            Err(error @ DirectoryError::Search { .. }) => {
                return Ok(ChangedPeople::FullRead(FullReadReason::Refused(error.finding())));
            }
            Err(error) => return Err(error.into()),
        };
        let (objects, cookie) = match changes.all() {
            Ok(all) => all,
            Err(count) => return Ok(ChangedPeople::FullRead(FullReadReason::Many(count))),
        };
        let people = self.affected(directory, session, settings, objects).await?;
        Ok(ChangedPeople::People(people, checkpoint.moved(root.usn, cookie, now))
            .or_full_read(state.entries))
    }

    /// Returns the same with the pending set and the people who are not visible any more. Also
    /// returns warnings.
    pub(in crate::engine) async fn changed_and_pending_people(
        &self,
        directory: &Directory,
        session: &mut Session,
        settings: &Settings,
    ) -> Result<(ChangedPeople, Vec<String>), EngineError> {
        // Without access to deleted objects, a deletion is only visible as an absence from a full
        // read.
        if !session.sees_tombstones().await? {
            return Ok((ChangedPeople::FullRead(FullReadReason::BlindToDeletions), Vec::new()));
        }
        let name = &directory.config.name;
        let (mut people, checkpoint) =
            match self.changed_people(directory, session, settings).await? {
                ChangedPeople::People(people, checkpoint) => (people, checkpoint),
                full_read @ ChangedPeople::FullRead(_) => return Ok((full_read, Vec::new())),
            };
        people.extend(self.store.pending(name, self.clock.now()).await?);
        let mut remarks = Vec::new();
        // AD does not report a loss of read access.
        match self.no_longer_visible(directory, session, settings).await {
            Ok(unseen) => people.extend(unseen),
            Err(EngineError::Store(error)) => return Err(error.into()),
            Err(error) => remarks.push(format!(
                "the visible people could not be compared with the known ones: {error}"
            )),
        }
        let entries = self.store.directory(name).await?.entries;
        Ok((ChangedPeople::People(people, checkpoint).or_full_read(entries), remarks))
    }

    /// Returns the people affected by changed objects.
    async fn affected(
        &self,
        directory: &Directory,
        session: &mut Session,
        settings: &Settings,
        objects: Vec<ChangedObject>,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let name = &directory.config.name;
        let guids: Vec<Guid> = objects.iter().map(|object| object.guid).collect();
        let mut stored: BTreeSet<Guid> =
            self.store.people(name, guids.clone()).await?.into_keys().collect();
        // This directory may be the successor of one that is no longer configured.
        let account = self.claims_of(directory).await?.0;
        stored.extend(self.orphans(directory, account, guids).await?.iter().map(|link| link.guid));
        let ChangedObjects { mut people, groups, unknown } =
            ChangedObjects::of(objects, |guid| stored.contains(&guid));
        if !groups.is_empty() {
            people.extend(self.affected_by_groups(directory, session, settings, &groups).await?);
        }
        let kinds =
            session.object_kinds(&unknown.iter().map(|object| object.guid).collect()).await?;
        for object in unknown {
            match kinds.get(&object.guid) {
                Some(ObjectKind::Person) => drop(people.insert(object.guid)),
                // AD does not report the people below a moved or renamed container.
                Some(ObjectKind::Container) if object.is_named => {
                    people.extend(session.people_below(&object.dn).await?)
                }
                _ => {}
            }
        }
        Ok(people)
    }

    /// Returns the people affected by changed groups: added and removed members, and people with a
    /// tier by a changed nested group.
    async fn affected_by_groups(
        &self,
        directory: &Directory,
        session: &mut Session,
        settings: &Settings,
        groups: &[ChangedObject],
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let name = &directory.config.name;
        let closure = self.groups(directory, session, &mut Vec::new()).await?.0;
        let giving: BTreeSet<Guid> = closure.groups().map(|group| group.guid).collect();
        let in_use = self.store.groups_in_use(name).await?;
        let is_filtered = settings
            .filter
            .iter()
            .any(|(_, filter)| filter.attributes().into_iter().any(is_member_of));
        let counts = |group: &&ChangedObject| {
            is_filtered || giving.contains(&group.guid) || in_use.contains(&group.guid)
        };
        let members: BTreeSet<Dn> =
            groups.iter().filter(counts).flat_map(|group| group.members.iter().cloned()).collect();
        let (mut people, mut nested) = (BTreeSet::new(), Vec::new());
        for (kind, member) in session.objects_by_dn(&members).await? {
            match kind {
                ObjectKind::Person => people.extend(member.guid()),
                // The tier does not matter: all members below are read.
                ObjectKind::Group => nested.push((Tier::Basic, member)),
                ObjectKind::Container | ObjectKind::Other => {}
            }
        }
        let below = session.closure(&nested).await?;
        people.extend(session.people_in_groups(&below).await?);
        let by = below
            .groups()
            .map(|group| group.guid)
            .chain(in_use.difference(&giving).copied())
            .collect();
        people.extend(self.store.entitled_by(name, &by).await?);
        Ok(people)
    }

    /// Returns the checkpoint from which changes can be followed after a full read. Called before
    /// that read.
    ///
    /// Following changes is a convenience, and has a connection of its own. A refusal, a cut or a
    /// missing answer does not stop the read. The reason becomes a warning of the run.
    pub(in crate::engine) async fn checkpoint(
        &self,
        directory: &Directory,
        connection: &Connection,
        state: &DirectoryState,
        policy: &Policy,
        at: Timestamp,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Checkpoint>, EngineError> {
        if !directory.config.incremental {
            return Ok(None);
        }
        let measure = measure(directory, policy.account, &policy.claims);
        let (server, usn) = (connection.session.root.identity.clone(), connection.session.root.usn);
        let full_read = state.checkpoint.as_ref().and_then(|checkpoint| {
            checkpoint.full_read_reason(&server, usn, &checkpoint.measure, at)
        });
        warnings.extend(
            full_read.as_ref().filter(|reason| reason.is_alarming()).map(ToString::to_string),
        );
        // An old cookie spares the server everything that has not changed since.
        let known = state
            .checkpoint
            .as_ref()
            .filter(|_| full_read.is_none())
            .map(|checkpoint| checkpoint.cookie.clone());
        let limit = connection.settings.timeouts.run / CHECKPOINT_FRACTION;
        let asked = tokio::time::timeout(
            limit,
            self.ask_for_cookie(directory, connection, known.as_deref()),
        )
        .await;
        let reason = match asked {
            Ok(Ok(cookie)) => {
                return Ok(Some(Checkpoint { server, usn, cookie, at, full_at: at, measure }));
            }
            Ok(Err(EngineError::Store(error))) => return Err(error.into()),
            Ok(Err(EngineError::Directory(error @ DirectoryError::Search { .. }))) => {
                error.finding()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                format!("no complete answer to DirSync after {}", humantime::format_duration(limit))
            }
        };
        warnings.push(format!(
            "changes are not followed, so each scheduled run is a full run: {reason}"
        ));
        directory
            .work
            .following
            .send_replace(crate::engine::triggers::following::Following::Inactive(Some(reason)));
        Ok(None)
    }

    /// Reads the cookie over a connection of its own to the same server.
    async fn ask_for_cookie(
        &self,
        directory: &Directory,
        connection: &Connection,
        known: Option<&[u8]>,
    ) -> Result<Vec<u8>, EngineError> {
        let mut session =
            self.open_beside(directory, &connection.session, &connection.settings).await?;
        session.limit_wait(DIRSYNC_TIMEOUT);
        let cookie = session.dirsync_cookie(known.unwrap_or_default()).await;
        if known.is_some() && matches!(cookie, Err(DirectoryError::Search { .. })) {
            return Ok(session.dirsync_cookie(&[]).await?);
        }
        Ok(cookie?)
    }

    /// Returns the people with an active user who are no longer visible below the bases, although
    /// no change was reported. One example is a move to an OU without read access.
    async fn no_longer_visible(
        &self,
        directory: &Directory,
        session: &mut Session,
        settings: &Settings,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let bases = self.bases(directory, session, &mut Vec::new()).await?;
        if !bases.are_certain {
            return Err(FollowError::BaseUnreadable.into());
        }
        let mut index =
            Index::new(self.store.active_people(&directory.config.name).await?, BTreeSet::new());
        session
            .visible_people(&bases.dns, settings.page_size, |guid| index.mark_seen(guid))
            .await?;
        Ok(index.unseen().collect())
    }
}
