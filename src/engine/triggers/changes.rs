//! Following changes: whom they concern. What becomes of those is read and decided as in every other run.
//!
//! A checkpoint says how far changes were followed, and moves on only when a run has dealt with everything before the next
//! one. Whatever leaves a doubt has everybody read instead.

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

/// Asking for people by GUID takes five times the searches of a full read: fewer than this part of all may have changed.
const WORTH_IT: u64 = 4;
/// The part of the time for a run that the question for changes may take before a full read: what it is good for, the next run can do without.
const SHARE: u32 = 10;
/// How long an answer to DirSync is waited for. A server that is busy answers with a part; a firewall does not answer.
pub(in crate::engine) const PATIENCE: Duration = Duration::from_secs(30);
/// So few are always asked for by GUID.
const FEW: u64 = 1_000;

/// Whom a run covers that follows changes.
#[derive(Debug)]
pub(in crate::engine) enum Since {
    /// These people; and how far changes are followed after that.
    People(BTreeSet<Guid>, Checkpoint),
    /// Everybody, for this reason.
    Everybody(FullReadReason),
}

/// What people are measured against, as a hash: once it is another one, all of them are.
fn measure(directory: &Directory, account: AccountId, claims: &ClaimedDomains) -> String {
    let ClaimedDomains(domains) = claims;
    let domains: Vec<&str> = domains.iter().map(crate::model::Domain::as_str).collect();
    let all = serde_json::json!([
        directory.config.scope_hash(),
        account.to_string(),
        domains,
        WATCHED_OBJECTS
    ]);
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(all.to_string().as_bytes()))
}

/// The attributes a change of which can matter. Nobody is told of `memberOf`, which AD computes: groups are.
fn watched(settings: &Settings) -> BTreeSet<String> {
    let decoded = Decoder::new(&settings.attributes, &Closure::default()).attributes();
    let filtered =
        settings.filter.iter().flat_map(|(_, filter)| filter.attributes()).map(str::to_owned);
    decoded.into_iter().chain(filtered).filter(|name| !is_member_of(name)).collect()
}

fn is_member_of(attribute: &str) -> bool {
    attribute.eq_ignore_ascii_case("memberOf")
}

/// The objects that have changed, by what has to be asked about them.
#[derive(Debug, Default)]
struct Sorted {
    /// People that are stored, and new ones.
    people: BTreeSet<Guid>,
    /// Groups with members that came or went, and what was deleted or came back and may be one.
    groups: Vec<ChangedObject>,
    /// Not stored: what people stand in, and whatever is not new, people without a user among it.
    unknown: Vec<ChangedObject>,
}

impl Sorted {
    fn of(objects: Vec<ChangedObject>, is_stored: impl Fn(Guid) -> bool) -> Self {
        let mut sorted = Self::default();
        for object in objects {
            match object.kind {
                _ if is_stored(object.guid) => drop(sorted.people.insert(object.guid)),
                Some(ObjectKind::Person) if !object.is_deleted => {
                    sorted.people.insert(object.guid);
                }
                // Whatever it is: all of it is back.
                _ if object.is_restored => {
                    sorted.groups.push(ChangedObject {
                        members: [object.dn.clone()].into(),
                        ..object.clone()
                    });
                    sorted.unknown.push(object);
                }
                _ if object.is_deleted || !object.members.is_empty() => sorted.groups.push(object),
                None | Some(ObjectKind::Container) => sorted.unknown.push(object),
                // Of a group that is new nobody was a member.
                Some(_) => {}
            }
        }
        sorted
    }
}

impl Since {
    /// Everybody, where it is the shorter way.
    fn unless_many(self, entries: u64) -> Self {
        match self {
            Self::People(people, _) if people.len() as u64 > FEW.max(entries / WORTH_IT) => {
                Self::Everybody(FullReadReason::Many(people.len() as u64))
            }
            other => other,
        }
    }
}

impl Engine {
    /// Whom the changes concern that nobody has dealt with yet.
    pub(in crate::engine) async fn since(
        &self,
        directory: &Directory,
        session: &mut Session,
        settings: &Settings,
    ) -> Result<Since, EngineError> {
        let state = self.store.directory(&directory.config.name).await?;
        let Some(checkpoint) = state.checkpoint else {
            return Ok(Since::Everybody(FullReadReason::NoCheckpoint));
        };
        let now = self.clock.now();
        let (account, claims) = self.claims_of(directory).await?;
        // Before it is asked: what is given later counts as not seen.
        let root = session.read_root().await?;
        if let Some(doubt) = checkpoint.full_read_reason(
            &root.identity,
            root.usn,
            &measure(directory, account, &claims),
            now,
        ) {
            return Ok(Since::Everybody(doubt));
        }
        let changes = match session.changes(&checkpoint.cookie, &watched(settings)).await {
            Ok(changes) => changes,
            Err(error @ DirectoryError::Search { .. }) => {
                return Ok(Since::Everybody(FullReadReason::Refused(error.finding())));
            }
            Err(error) => return Err(error.into()),
        };
        let (objects, cookie) = match changes.all() {
            Ok(all) => all,
            Err(count) => return Ok(Since::Everybody(FullReadReason::Many(count))),
        };
        let people = self.concerned(directory, session, settings, objects).await?;
        Ok(Since::People(people, checkpoint.moved(root.usn, cookie, now))
            .unless_many(state.entries))
    }

    /// The same, with everybody whom an earlier run has left something to do about, and who is out of observed now; and what an
    /// operator should know of that.
    pub(in crate::engine) async fn since_and_pending(
        &self,
        directory: &Directory,
        session: &mut Session,
        settings: &Settings,
    ) -> Result<(Since, Vec<String>), EngineError> {
        // Where deletions cannot be seen, only who is missing from everybody tells of them.
        if !session.sees_tombstones().await? {
            return Ok((Since::Everybody(FullReadReason::BlindToDeletions), Vec::new()));
        }
        let name = &directory.config.name;
        let (mut people, checkpoint) = match self.since(directory, session, settings).await? {
            Since::People(people, checkpoint) => (people, checkpoint),
            everybody @ Since::Everybody(_) => return Ok((everybody, Vec::new())),
        };
        people.extend(self.store.pending(name, self.clock.now()).await?);
        let mut remarks = Vec::new();
        // A loss of observed is no change of an object: nothing tells of it.
        match self.out_of_sight(directory, session, settings).await {
            Ok(unseen) => people.extend(unseen),
            Err(EngineError::Store(error)) => return Err(error.into()),
            Err(error) => remarks.push(format!(
                "who can no longer be seen could not be compared with who is known: {error}"
            )),
        }
        let entries = self.store.directory(name).await?.entries;
        Ok((Since::People(people, checkpoint).unless_many(entries), remarks))
    }

    /// Whom these changes concern.
    async fn concerned(
        &self,
        directory: &Directory,
        session: &mut Session,
        settings: &Settings,
        objects: Vec<ChangedObject>,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let name = &directory.config.name;
        let stored =
            self.store.people(name, objects.iter().map(|object| object.guid).collect()).await?;
        let Sorted { mut people, groups, unknown } =
            Sorted::of(objects, |guid| stored.contains_key(&guid));
        if !groups.is_empty() {
            people.extend(self.concerned_by_groups(directory, session, settings, &groups).await?);
        }
        let kinds =
            session.object_kinds(&unknown.iter().map(|object| object.guid).collect()).await?;
        for object in unknown {
            match kinds.get(&object.guid) {
                Some(ObjectKind::Person) => drop(people.insert(object.guid)),
                // Nobody tells of those below it, and they stand elsewhere now.
                Some(ObjectKind::Container) if object.is_named => {
                    people.extend(session.people_below(&object.dn).await?)
                }
                _ => {}
            }
        }
        Ok(people)
    }

    /// Whom changed groups concern: who came into one that counts or went out of it, and everybody who has a tier by a group
    /// that did.
    async fn concerned_by_groups(
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
                // Its tier counts for nothing here: all below it is asked for.
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

    /// From where on changes can be followed once everybody has been read; asked before that.
    ///
    /// It is a convenience, and asked on a connection of its own: it may be refused, cut or left without an answer, and the
    /// read goes on. Why changes are not followed is a warning of the run.
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
        let doubt = state.checkpoint.as_ref().and_then(|checkpoint| {
            checkpoint.full_read_reason(&server, usn, &checkpoint.measure, at)
        });
        warnings
            .extend(doubt.as_ref().filter(|doubt| doubt.is_alarming()).map(ToString::to_string));
        // To go on from an old cookie spares the server all that has not changed since.
        let known = state
            .checkpoint
            .as_ref()
            .filter(|_| doubt.is_none())
            .map(|checkpoint| checkpoint.cookie.clone());
        let limit = connection.settings.timeouts.run / SHARE;
        let asked = tokio::time::timeout(
            limit,
            self.ask_for_cookie(directory, connection, known.as_deref()),
        )
        .await;
        let why = match asked {
            Ok(Ok(cookie)) => {
                return Ok(Some(Checkpoint { server, usn, cookie, at, full_at: at, measure }));
            }
            Ok(Err(EngineError::Store(error))) => return Err(error.into()),
            Ok(Err(EngineError::Directory(error @ DirectoryError::Search { .. }))) => {
                error.finding()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!(
                "the answer to DirSync had no end after {}",
                humantime::format_duration(limit)
            ),
        };
        warnings.push(format!(
            "changes are not followed, so each scheduled run reads everybody: {why}"
        ));
        directory
            .work
            .following
            .send_replace(crate::engine::triggers::live::Following::Not(Some(why)));
        Ok(None)
    }

    /// The cookie to follow changes from, on a connection of its own to the same server.
    async fn ask_for_cookie(
        &self,
        directory: &Directory,
        connection: &Connection,
        known: Option<&[u8]>,
    ) -> Result<Vec<u8>, EngineError> {
        let mut session =
            self.open_at(directory, &connection.settings, &connection.session.server).await?;
        session.limit_wait(PATIENCE);
        if session.root.identity != connection.session.root.identity {
            return Err(EngineError::Refused(
                "another server answers under the same name".to_owned(),
            ));
        }
        let cookie = session.dirsync_cookie(known.unwrap_or_default()).await;
        if known.is_some() && matches!(cookie, Err(DirectoryError::Search { .. })) {
            return Ok(session.dirsync_cookie(&[]).await?);
        }
        Ok(cookie?)
    }

    /// The people with an active user who are not visible below the bases any more, though nothing was told of them: those who
    /// were moved to where the service account has no rights, for example.
    async fn out_of_sight(
        &self,
        directory: &Directory,
        session: &mut Session,
        settings: &Settings,
    ) -> Result<BTreeSet<Guid>, EngineError> {
        let bases = self.bases(directory, session, &mut Vec::new()).await?;
        if !bases.are_certain {
            return Err(EngineError::Refused("a base cannot be read".to_owned()));
        }
        let mut index =
            Index::new(self.store.active_people(&directory.config.name).await?, BTreeSet::new());
        session
            .visible_people(&bases.dns, settings.page_size, |guid| index.mark_seen(guid))
            .await?;
        Ok(index.unseen().collect())
    }
}
