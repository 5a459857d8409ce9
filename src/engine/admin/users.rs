//! What operators do to single users: suspend, activate, set the tier, look again.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::sync::stages::Request;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{
    AccountKind, Actor, Address, By, Cause, ChangeKind, Evidence, Guid, Link, Override,
    QuarantineReason, Reason, Status, Tier, Trigger, User, UserId,
};
use crate::store::Run;

impl Engine {
    /// The user that is meant by an address, a user id or an objectGUID.
    pub async fn find_user(&self, who: &str) -> Result<User, EngineError> {
        let missing = || EngineError::NotFound { what: "user", name: who.to_owned() };
        if who.contains('@') {
            let address = Address::parse(who).map_err(|e| EngineError::Invalid(e.to_string()))?;
            if let Some(user) = self.store.user_by_address(&address.key()).await? {
                return Ok(user);
            }
            // A released user holds no address any more, but is still known by the last one.
            return self
                .only_one(who, self.store.released_users(&address.key()).await?)
                .await?
                .ok_or_else(missing);
        }
        let mut users = match who.parse::<Guid>() {
            Ok(guid) => self.store.users_by_guid(guid).await?,
            Err(_) => {
                return Err(EngineError::Invalid(format!(
                    "\"{who}\" is no address, user id or objectGUID"
                )));
            }
        };
        if let Ok(id) = who.parse::<UserId>()
            && let Some(user) = self.store.user(id).await?
            && users.iter().all(|known| known.id != user.id)
        {
            users.push(user);
        }
        self.only_one(who, users).await?.ok_or_else(missing)
    }

    /// The user, if there is no more than one: a name that means several is refused with all of them.
    async fn only_one(&self, who: &str, mut users: Vec<User>) -> Result<Option<User>, EngineError> {
        if users.len() < 2 {
            return Ok(users.pop());
        }
        let mut named = Vec::new();
        for user in &users {
            let account = self.account_of(user).await?.handle;
            let address = user.addresses.primary.as_ref().map_or("no address", Address::as_str);
            named.push(format!("{} ({address}, {} in {account})", user.id, user.status().as_str()));
        }
        Err(EngineError::Refused(format!(
            "{who} means {} users: {}; name one of them by its id",
            users.len(),
            named.join(", ")
        )))
    }

    /// The emergency brake: the cause `operator`, which no sync touches.
    pub async fn suspend(&self, who: &str, why: &str, actor: &Actor) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        match user.status() {
            _ if user.causes.has(Reason::Operator) => {
                return Err(EngineError::Refused(format!(
                    "{who} is suspended by an operator already"
                )));
            }
            Status::Released | Status::Invited => {
                return Err(EngineError::Refused(format!(
                    "{who} is {}, and has nothing to be suspended from",
                    user.status().as_str()
                )));
            }
            Status::Active | Status::Suspended => {}
        }
        let account = self.account_of(&user).await?;
        if account.kind == AccountKind::Team {
            return Err(EngineError::Refused(format!(
                "{} is a team, and a team cannot suspend: remove {who} with rosterctl user remove, or claim the domain of its people",
                account.handle
            )));
        }
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

    /// Sets the tier of somebody whom no directory manages.
    pub async fn set_tier(
        &self,
        who: &str,
        tier: Tier,
        actor: &Actor,
    ) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        if let Some(link) = &user.link {
            return Err(EngineError::Refused(format!(
                "the groups of the directory {} decide the tier of {who}: change the membership in AD, and rosterctl user sync {who}",
                link.directory
            )));
        }
        if user.status() == Status::Released {
            return Err(EngineError::Refused(format!("{who} is released, and has no tier")));
        }
        if user.tier == tier {
            return Ok(user);
        }
        let evidence = Evidence::of_operator("", None, self.clock.now());
        self.write_one(&user, ChangeKind::Tier { before: user.tier, after: tier, evidence }, actor)
            .await
    }

    /// Says that somebody who left and was created anew in the directory is the same person; reads that person, and applies what
    /// follows from it, as any run would.
    pub async fn relink(&self, who: &str, person: &str, actor: &Actor) -> Result<Run, EngineError> {
        let user = self.find_user(who).await?;
        let guid: Guid = person
            .parse()
            .map_err(|_| EngineError::Invalid(format!("\"{person}\" is no objectGUID")))?;
        let refused = |why: String| Err(EngineError::Refused(why));
        let Some(before) = user.link.clone() else {
            return refused(format!(
                "no directory manages {who}: the next run links them by their address"
            ));
        };
        if ![Reason::Deleted, Reason::Vanished].into_iter().any(|r| user.causes.has(r)) {
            return refused(format!(
                "{who} has not left {}: only who is suspended as deleted or vanished can be somebody else's entry",
                before.directory
            ));
        }
        if let Some(other) = self
            .store
            .users_by_guid(guid)
            .await?
            .into_iter()
            .find(|other| other.account == user.account)
        {
            return refused(format!("{guid} is the user {} already", other.id));
        }
        // It may have been created anew in another directory of the account.
        let mut entry = None;
        for directory in self.directories_of_account(&user).await? {
            let quarantined = self.store.quarantined(&directory.config.name).await?;
            let found = quarantined.into_iter().find(|(known, ..)| *known == guid);
            entry = entry.or(found.map(|(_, dn, ..)| (directory.config.name.clone(), dn)));
        }
        let Some((directory, dn)) = entry else {
            return refused(format!(
                "{guid} is not quarantined in {}, nor in another directory of the account: rosterctl user list --quarantined lists who is",
                before.directory
            ));
        };
        let former = before.guid;
        let after = Link { directory, guid, dn };
        let user = self.write_one(&user, ChangeKind::Relink { before, after }, actor).await?;
        self.follow_relink(&user, former, guid, actor).await?;
        self.look_again(&user, actor).await
    }

    /// Other users that an operator has said are not the former entry are not the new one either.
    async fn follow_relink(
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

    /// Takes the addresses of somebody who is suspended off, so that somebody new can have them; reads whoever waits for them.
    pub async fn release_address(&self, who: &str, actor: &Actor) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        if user.status() != Status::Suspended {
            return Err(EngineError::Refused(format!(
                "{who} is {}: only addresses of suspended users are released",
                user.status().as_str()
            )));
        }
        if user.addresses.primary.is_none() {
            return Err(EngineError::Refused(format!("{who} holds no address any more")));
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

    /// Forgets what an operator has overruled: the directory decides again.
    pub async fn clear_override(&self, who: &str, actor: &Actor) -> Result<User, EngineError> {
        let user = self.find_user(who).await?;
        if user.overrides.is_empty() {
            return Err(EngineError::Refused(format!("nothing is overruled for {who}")));
        }
        let nothing =
            ChangeKind::Override { before: user.overrides.clone(), after: BTreeSet::new() };
        self.write_one(&user, nothing, actor).await
    }

    /// Lifts an operator's suspension, and what AD's causes allow; says what remains.
    pub async fn activate(
        &self,
        who: &str,
        actor: &Actor,
    ) -> Result<(User, Vec<String>), EngineError> {
        let user = self.find_user(who).await?;
        if user.status() != Status::Suspended {
            return Err(EngineError::Refused(format!(
                "{who} is {}, not suspended",
                user.status().as_str()
            )));
        }
        let user = self.lift(user, |r| r == Reason::Operator, false, actor).await?;
        if user.causes.is_empty() {
            return Ok((user, Vec::new()));
        }
        // AD may say otherwise by now.
        let looked = self.look_again(&user, actor).await;
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
        // A cause of AD that an operator overrules while another remains would be overruled for nothing.
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

    /// Reads one person again, and applies what is to be done.
    pub async fn sync_user(&self, who: &str, actor: &Actor) -> Result<Run, EngineError> {
        let user = match self.find_user(who).await {
            Ok(user) => user,
            // Somebody rosterd does not have may be meant by the GUID.
            Err(EngineError::NotFound { .. }) => return self.sync_stranger(who, actor).await,
            Err(error) => return Err(error),
        };
        self.look_again(&user, actor).await
    }

    async fn look_again(&self, user: &User, actor: &Actor) -> Result<Run, EngineError> {
        let Some(link) = &user.link else {
            return Err(EngineError::Refused("no directory manages this user".to_owned()));
        };
        let request = || Request::people(Trigger::Manual, [link.guid], Some(actor.clone()));
        let mut last = match self.directory(link.directory.as_str()) {
            Ok(directory) => Some(self.run(&directory, request()).await?),
            Err(_) => None,
        };
        // Another directory of the account that knows the entry may be the one that it has moved to.
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
        })
    }

    /// The configured directories of the account that a user is in.
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
        let guid: Guid = who
            .parse()
            .map_err(|_| EngineError::NotFound { what: "user", name: who.to_owned() })?;
        let mut last = Err(EngineError::NotFound { what: "user", name: who.to_owned() });
        for directory in self.configured().directories.values() {
            last = self
                .run(directory, Request::people(Trigger::Manual, [guid], Some(actor.clone())))
                .await;
            if last.as_ref().is_ok_and(|run| run.counts.total() > 0 || run.held > 0) {
                break;
            }
        }
        last
    }

    async fn reread(&self, id: UserId) -> Result<User, EngineError> {
        self.store
            .user(id)
            .await?
            .ok_or_else(|| EngineError::NotFound { what: "user", name: id.to_string() })
    }
}
