//! Operations on single users: suspend, activate, set the tier, relink, release the address, sync.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::directory::Use;
use crate::engine::sync::stages::Request;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{
    AccountKind, Actor, Address, AddressError, By, Cause, ChangeKind, DirectoryName, Evidence,
    Guid, Handle, Link, NoteError, Override, QuarantineReason, Reason, Status, Tier, Timestamp,
    Trigger, User, UserId,
};
use crate::reconcile::Confirmation;
use crate::store::Run;
use crate::visible::quoted;

/// The reason why an operation on a user is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("{}", unknown(who, similar))]
    Unknown { who: String, similar: Vec<String> },
    #[error("\"{0}\" is no objectGUID")]
    NoGuid(String),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("{who} means {count} users: {}; name one of them by its id", first_of(users, *count))]
    Ambiguous { who: String, count: usize, users: Vec<String> },
    #[error("{0} is suspended by an operator already")]
    AlreadySuspended(String),
    #[error("{who} is {}, and has nothing to be suspended from", status.as_str())]
    NotSuspendable { who: String, status: Status },
    #[error(
        "{account} is a team, and a team cannot suspend: remove {who} with rosterctl user remove, or claim the domain of its people"
    )]
    TeamCannotSuspend { account: Handle, who: String },
    #[error(
        "the groups of the directory {directory} decide the tier of {who}: change the membership in AD, and rosterctl user sync {}",
        quoted(who)
    )]
    TierOfDirectory { directory: DirectoryName, who: String },
    #[error("{0} is released, and has no tier")]
    NoTier(String),
    #[error("no directory manages {0}: the next run links them by their address")]
    NotLinked(String),
    #[error(
        "{who} has not left {directory}, and {guid} is not in another directory of the account: a user is linked to another entry of the same directory only after the former one is deleted"
    )]
    NotLeft { who: String, directory: DirectoryName, guid: Guid },
    #[error(
        "{guid} is out of the scope of {directory}, so no run would read it: correct base, filter or exclude of {directory}, or move the entry"
    )]
    NotInScope { guid: Guid, directory: DirectoryName },
    #[error(
        "{guid} is {reason} in {directory}, so {who} would be suspended: correct the entry in AD first"
    )]
    NotUsable { guid: Guid, directory: DirectoryName, reason: Reason, who: String },
    #[error("{guid} is the user {user} already")]
    AlreadyLinked { guid: Guid, user: UserId },
    #[error(
        "{guid} is not quarantined in {directory}, nor in another directory of the account: rosterctl user list --quarantined lists who is"
    )]
    NotQuarantined { guid: Guid, directory: DirectoryName },
    #[error("{who} is {}: only addresses of suspended users are released", status.as_str())]
    KeepsAddress { who: String, status: Status },
    #[error("{0} holds no address any more")]
    NoAddress(String),
    #[error("{0} is not in the future: leave --at out to suspend at once")]
    NotLater(Timestamp),
    #[error(
        "no directory is configured, whose schedule would carry this out: leave --at out to suspend at once"
    )]
    NoSchedule,
    #[error("no suspension of {0} is scheduled: rosterctl user list --scheduled")]
    NotScheduled(String),
    #[error(transparent)]
    Note(NoteError),
    #[error("{0} has no note: rosterctl user list --noted")]
    NoNote(String),
    #[error("{0} has no override")]
    NoOverride(String),
    #[error("{who} is {}, not suspended", status.as_str())]
    NotSuspended { who: String, status: Status },
    #[error("no directory manages this user")]
    Unmanaged,
    #[error("{who} is {}, and has no colleagues", status.as_str())]
    NoColleagues { who: String, status: Status },
    #[error(
        "the directory {directory} manages {who}, and would bring them back: suspend them instead, with rosterctl user suspend"
    )]
    ReturnsByDirectory { directory: DirectoryName, who: String },
    #[error(
        "{who} has an address of a domain of {account}, and would be back at the next sign-in: suspend them instead, with rosterctl user suspend"
    )]
    ReturnsBySignIn { account: Handle, who: String },
    #[error("another request changed this user at the same moment: try again")]
    Changed,
}

/// Returns the error about a name that no user has.
fn unknown(who: &str, similar: &[String]) -> String {
    let kind = if Address::parse(who).is_ok() { "address" } else { "name" };
    match similar {
        [] => format!(
            "no user has the {kind} {who}: give an address, an id, a logon name, a DN, an employee id or a full name"
        ),
        similar => format!("no user has the {kind} {who}. By name: {}", similar.join(", ")),
    }
}

fn first_of(users: &[String], count: usize) -> String {
    let more = count - users.len();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", users.join(", "))
}

impl Engine {
    /// Returns the user, if an operator can suspend it.
    pub(in crate::engine) async fn suspendable(&self, who: &str) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        match user.status() {
            _ if user.causes.has(Reason::Operator) => {
                return Err(UserError::AlreadySuspended(who.to_owned()).into());
            }
            status @ (Status::Released | Status::Invited) => {
                return Err(UserError::NotSuspendable { who: who.to_owned(), status }.into());
            }
            Status::Active | Status::Suspended => {}
        }
        let account = self.account_of(&user).await?;
        if account.kind == AccountKind::Team {
            return Err(UserError::TeamCannotSuspend {
                account: account.handle,
                who: who.to_owned(),
            }
            .into());
        }
        Ok(user)
    }

    /// Suspends a user with the cause `operator`, which no sync lifts.
    pub async fn suspend(&self, who: &str, why: &str, actor: &Actor) -> Result<User, EngineError> {
        let user = self.suspendable(who).await?;
        let now = self.clock.now();
        let evidence = Evidence::of_operator(why, user.link.as_ref().map(|l| l.guid), now);
        let cause = Cause {
            reason: Reason::Operator,
            since: now,
            by: By::Operator(actor.0.clone()),
            evidence,
        };
        let was_active = user.status() == Status::Active;
        self.write_one(&user, ChangeKind::Suspend { cause, was_active }, actor).await
    }

    /// Sets the tier of an unmanaged user.
    pub async fn set_tier(
        &self,
        who: &str,
        tier: Tier,
        actor: &Actor,
    ) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        if let Some(link) = &user.link {
            let directory = link.directory.clone();
            return Err(UserError::TierOfDirectory { directory, who: who.to_owned() }.into());
        }
        if user.status() == Status::Released {
            return Err(UserError::NoTier(who.to_owned()).into());
        }
        if user.tier == tier {
            return Ok(user);
        }
        let evidence = Evidence::of_operator("", None, self.clock.now());
        self.write_one(&user, ChangeKind::Tier { before: user.tier, after: tier, evidence }, actor)
            .await
    }

    /// Links a user to another entry of the same person. Then a run reads that entry.
    ///
    /// In its own directory only a user whose former entry is gone gets another one. In another directory of the account,
    /// after a migration, both entries may exist.
    pub async fn relink(&self, who: &str, person: &str, actor: &Actor) -> Result<Run, EngineError> {
        let user = self.find_user(who).await?;
        let guid: Guid = person.parse().map_err(|_| UserError::NoGuid(person.to_owned()))?;
        let Some(before) = user.link.clone() else {
            return Err(UserError::NotLinked(who.to_owned()).into());
        };
        if let Some(other) = self
            .store
            .users_by_guid(guid)
            .await?
            .into_iter()
            .find(|other| other.account == user.account)
        {
            return Err(UserError::AlreadyLinked { guid, user: other.id }.into());
        }
        let has_left = [Reason::Deleted, Reason::Vanished].iter().any(|r| user.causes.has(*r));
        let mut entry = if has_left { self.quarantined_entry(&user, guid).await? } else { None };
        if entry.is_none() {
            entry = self.entry_elsewhere(who, &user, &before, guid).await?;
        }
        if entry.is_none() {
            entry = self.entry_instead(&before, guid).await?;
        }
        let Some(after) = entry else {
            let (who, directory) = (who.to_owned(), before.directory);
            return Err(if has_left {
                UserError::NotQuarantined { guid, directory }.into()
            } else {
                UserError::NotLeft { who, directory, guid }.into()
            });
        };
        let former = before.guid;
        let user = self.write_one(&user, ChangeKind::Relink { before, after }, actor).await?;
        self.follow_relink(&user, former, guid, actor).await?;
        self.sync_linked(&user, actor).await
    }

    /// Returns the quarantined entry in a directory of the user's account.
    async fn quarantined_entry(
        &self,
        user: &User,
        guid: Guid,
    ) -> Result<Option<Link>, EngineError> {
        for directory in self.directories_of_account(user).await? {
            let name = &directory.config.name;
            let quarantined = self.store.quarantined(name).await?;
            if let Some((_, dn, ..)) = quarantined.into_iter().find(|(known, ..)| *known == guid) {
                return Ok(Some(Link { directory: name.clone(), guid, dn }));
            }
        }
        Ok(None)
    }

    /// Returns the entry in another directory of the user's account, which shows it in its scope now.
    /// An entry that would suspend an active user is refused.
    async fn entry_elsewhere(
        &self,
        who: &str,
        user: &User,
        before: &Link,
        guid: Guid,
    ) -> Result<Option<Link>, EngineError> {
        let mut unasked = None;
        for directory in self.directories_of_account(user).await? {
            let name = &directory.config.name;
            if *name == before.directory {
                continue;
            }
            let desired = match self.decided_in(&directory, &BTreeSet::from([guid])).await {
                Ok((mut decided, _)) => decided.remove(&guid),
                Err(EngineError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    unasked.get_or_insert(error);
                    continue;
                }
            };
            let Some(desired) = desired else { continue };
            let directory = name.clone();
            if !desired.is_in_scope() {
                return Err(UserError::NotInScope { guid, directory }.into());
            }
            let is_active = user.status() == Status::Active;
            if let Some(reason) = desired.holding().next().filter(|_| is_active) {
                let who = who.to_owned();
                return Err(UserError::NotUsable { guid, directory, reason, who }.into());
            }
            return Ok(Some(Link { directory, guid, dn: desired.dn }));
        }
        // The entry may be in the directory that cannot be asked.
        unasked.map_or(Ok(None), Err)
    }

    /// Returns the entry if the user's directory shows it in its scope now, and the former one no more.
    async fn entry_instead(&self, before: &Link, guid: Guid) -> Result<Option<Link>, EngineError> {
        let Ok(directory) = self.directory(before.directory.as_str()) else { return Ok(None) };
        let people = Request::people(Trigger::Manual, [before.guid, guid], None);
        let observed = self.dry_run(&directory, &people).await?.observed;
        let is_gone = matches!(
            observed.found.get(&before.guid),
            Some(Confirmation::Tombstone(_) | Confirmation::Nowhere(_))
        );
        let entry = observed.seen.desired.get(&guid).filter(|d| is_gone && d.is_in_scope());
        let directory = before.directory.clone();
        Ok(entry.map(|desired| Link { directory, guid, dn: desired.dn.clone() }))
    }

    /// A link override that excludes the former entry excludes the new one, too.
    pub(super) async fn follow_relink(
        &self,
        user: &User,
        former: Guid,
        now: Guid,
        actor: &Actor,
    ) -> Result<(), EngineError> {
        for other in self.store.unmanaged_users(user.account, false).await? {
            if !other.overrides.contains(&Override::Link(former)) {
                continue;
            }
            let mut after = other.overrides.clone();
            after.remove(&Override::Link(former));
            after.insert(Override::Link(now));
            self.write_one(
                &other,
                ChangeKind::Override { before: other.overrides.clone(), after },
                actor,
            )
            .await?;
        }
        Ok(())
    }

    /// Removes the addresses of a suspended user, and reads the people who are quarantined for an
    /// address.
    pub async fn release_address(&self, who: &str, actor: &Actor) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        if user.status() != Status::Suspended {
            return Err(
                UserError::KeepsAddress { who: who.to_owned(), status: user.status() }.into()
            );
        }
        if user.addresses.primary.is_none() {
            return Err(UserError::NoAddress(who.to_owned()).into());
        }
        let kind = ChangeKind::Readdress {
            before: user.addresses.clone(),
            after: crate::model::Addresses::default(),
        };
        let user = self.write_one(&user, kind, actor).await?;
        for directory in self.directories_of_account(&user).await? {
            let waiting = self.store.quarantined(&directory.config.name).await?;
            let is_address = |reason| {
                matches!(reason, QuarantineReason::AddressHeld | QuarantineReason::ContestedAddress)
            };
            let people: BTreeSet<Guid> = waiting
                .into_iter()
                .filter(|(_, _, reason, _)| is_address(*reason))
                .map(|(guid, ..)| guid)
                .collect();
            if !people.is_empty() {
                self.run(&directory, Request::people(Trigger::Manual, people, Some(actor.clone())))
                    .await?;
            }
        }
        Ok(user)
    }

    /// Clears the overrides of a user: the directory decides again.
    pub async fn clear_override(&self, who: &str, actor: &Actor) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        if user.overrides.is_empty() {
            return Err(UserError::NoOverride(who.to_owned()).into());
        }
        let nothing =
            ChangeKind::Override { before: user.overrides.clone(), after: BTreeSet::new() };
        self.write_one(&user, nothing, actor).await
    }

    /// Lifts an operator's suspension and the causes that an operator may override. Returns the
    /// user and what remains.
    pub async fn activate(
        &self,
        who: &str,
        actor: &Actor,
    ) -> Result<(User, Vec<String>), EngineError> {
        let user = self.find_user(who).await?;
        if user.status() != Status::Suspended {
            return Err(
                UserError::NotSuspended { who: who.to_owned(), status: user.status() }.into()
            );
        }
        let user = self.lift(user, |r| r == Reason::Operator, false, actor).await?;
        if user.causes.is_empty() {
            return Ok((user, Vec::new()));
        }
        // AD may have changed since the last read.
        let looked = self.sync_linked(&user, actor).await;
        let user = self.reread(user.id).await?;
        let user = self
            .lift(
                user,
                |r| matches!(r, Reason::Vanished | Reason::OutOfScope | Reason::NoGroup),
                true,
                actor,
            )
            .await?;
        let mut remains: Vec<String> = user
            .causes
            .iter()
            .map(|c| {
                format!(
                    "{}: {} was {} on {}; AD has to say otherwise first",
                    c.reason, c.evidence.attribute, c.evidence.value, c.evidence.server
                )
            })
            .collect();
        if let Err(error) = looked {
            remains.push(format!("the person could not be read again: {error}"));
        }
        Ok((user, remains))
    }

    async fn lift(
        &self,
        user: User,
        is_lifted: impl Fn(Reason) -> bool,
        pin: bool,
        actor: &Actor,
    ) -> Result<User, EngineError> {
        let (lifted, kept): (Vec<Cause>, Vec<Cause>) =
            user.causes.iter().cloned().partition(|c| is_lifted(c.reason));
        if lifted.is_empty() {
            return Ok(user);
        }
        let remaining: BTreeSet<Reason> = kept.iter().map(|c| c.reason).collect();
        // An override is useless while another cause remains.
        if pin && !remaining.is_empty() {
            return Ok(user);
        }
        let mut kinds = Vec::new();
        if pin {
            let after = user
                .overrides
                .iter()
                .copied()
                .chain(lifted.iter().map(|c| Override::Reason(c.reason)))
                .collect();
            kinds.push(ChangeKind::Override { before: user.overrides.clone(), after });
        }
        kinds.push(ChangeKind::Reactivate {
            lifted: lifted.into(),
            remaining,
            evidence: Vec::new(),
        });
        self.write_user(&user, kinds, actor).await
    }

    /// Reads one person and applies the changes.
    pub async fn sync_user(&self, who: &str, actor: &Actor) -> Result<Run, EngineError> {
        match self.user_if_any(who).await? {
            Some(user) => self.sync_linked(&user, actor).await,
            None => self.sync_stranger(who, actor).await,
        }
    }

    async fn sync_linked(&self, user: &User, actor: &Actor) -> Result<Run, EngineError> {
        let Some(link) = &user.link else {
            return Err(UserError::Unmanaged.into());
        };
        let request = || Request::people(Trigger::Manual, [link.guid], Some(actor.clone()));
        let mut last = match self.directory(link.directory.as_str()) {
            Ok(directory) => Some(self.run(&directory, request()).await?),
            Err(_) => None,
        };
        // The person may have moved to another directory of the account that knows the entry.
        for directory in self.directories_of_account(user).await? {
            let name = &directory.config.name;
            let is_known = *name != link.directory
                && !self.store.index_of(name, &BTreeSet::from([link.guid])).await?.is_empty();
            if is_known || last.is_none() {
                last = Some(self.run(&directory, request()).await?);
            }
        }
        last.ok_or_else(|| EngineError::NotFound {
            what: "directory",
            name: link.directory.to_string(),
            near: None,
        })
    }

    /// Returns the configured directories of a user's account.
    async fn directories_of_account(
        &self,
        user: &User,
    ) -> Result<Vec<Arc<Directory>>, EngineError> {
        let account = self.account_of(user).await?.handle;
        Ok(self
            .configured()
            .directories
            .values()
            .filter(|d| d.config.account == account)
            .cloned()
            .collect())
    }

    async fn sync_stranger(&self, who: &str, actor: &Actor) -> Result<Run, EngineError> {
        let mut last = Err(UserError::Unknown { who: who.to_owned(), similar: Vec::new() }.into());
        for directory in self.configured().directories.values() {
            let (mut session, _) = self.open(directory, Use::LookUp).await?;
            let people = self.people_called(directory, &mut session, who).await?;
            match people.len() {
                0 => continue,
                1 => {}
                count => {
                    let users = people.iter().map(Guid::to_string).take(10).collect();
                    return Err(UserError::Ambiguous { who: who.to_owned(), count, users }.into());
                }
            }
            last = self
                .run(directory, Request::people(Trigger::Manual, people, Some(actor.clone())))
                .await;
            if last.as_ref().is_ok_and(|run| run.counts.total() > 0 || run.held > 0) {
                break;
            }
        }
        last
    }

    async fn reread(&self, id: UserId) -> Result<User, EngineError> {
        self.store.user(id).await?.ok_or_else(|| EngineError::NotFound {
            what: "user",
            name: id.to_string(),
            near: None,
        })
    }
}
