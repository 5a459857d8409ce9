//! The caller of a request.
//!
//! The kernel reports the user at the other end of the socket. The user database lists the groups
//! of that user *now*, because the peer's credentials carry no supplementary groups. Nothing in a
//! request counts.
//!
//! The unit must not set `PrivateUsers=`: it makes every caller the overflow user, 65534.

use std::collections::{BTreeSet, HashMap};
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::roles::{OwnUser, Role, RoleGroups, Roles};
use crate::control::settings::Settings;
use crate::model::{Actor, Approver};

/// Lifetime of a cached lookup. It covers the requests of a script, and a new membership counts
/// soon.
const CACHE_LIFETIME: Duration = Duration::from_secs(10);

/// Time limit of a lookup. The user database may be a directory on the network.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Concurrent lookups. A user database that hangs holds no more threads.
const LOOKUPS: usize = 8;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Actor of its events: the user name, or `uid:1234` for a user without one.
    pub actor: Actor,
    pub uid: u32,
    pub roles: Roles,
}

impl Caller {
    /// Returns the caller as one who approves changes.
    pub fn approver(self) -> Approver {
        Approver { uid: Some(self.uid), actor: self.actor }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("lookup of the groups of uid {uid} in the user database failed")]
    Database {
        uid: u32,
        #[source]
        source: Errno,
    },
    #[error(
        "the user database did not answer about uid {uid} within {}",
        humantime::format_duration(LOOKUP_TIMEOUT)
    )]
    Timeout { uid: u32 },
}

/// Looks callers up, and caches the result for a short time.
#[derive(Debug)]
pub struct Callers {
    names: RwLock<Names>,
    own: OwnUser,
    lookups: Arc<Semaphore>,
    known: Mutex<HashMap<(u32, u32), (Instant, Caller)>>,
}

/// Group names of the roles.
#[derive(Debug, Clone)]
struct Names {
    operators: String,
    viewers: String,
    authenticators: String,
}

impl Names {
    fn of(settings: &Settings) -> Self {
        let Settings { socket: _, operators, viewers, authenticators, own_user_operates: _ } =
            settings.clone();
        Self { operators, viewers, authenticators }
    }
}

impl Callers {
    pub fn new(settings: &Settings) -> Self {
        Self {
            names: RwLock::new(Names::of(settings)),
            own: OwnUser { uid: Uid::effective().as_raw(), operates: settings.own_user_operates },
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            known: Mutex::default(),
        }
    }

    /// Replaces the groups, and clears the cache.
    pub fn regroup(&self, settings: &Settings) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = Names::of(settings);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn names(&self) -> Names {
        self.names.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the groups of which a caller needs one, as text for a message.
    pub fn groups_of(&self, roles: Roles) -> String {
        let Names { operators, viewers, authenticators } = self.names();
        let group = |role| match role {
            Role::Operator => operators.clone(),
            Role::Viewer => viewers.clone(),
            Role::Authenticator => authenticators.clone(),
        };
        roles.iter().map(group).collect::<Vec<_>>().join(" or ")
    }

    /// Returns the cached caller. Root needs no lookup.
    pub fn known(&self, uid: u32, gid: u32) -> Option<Caller> {
        if uid == 0 {
            // Root has access even when the user database fails.
            return Some(Caller { actor: Actor("root".to_owned()), uid, roles: Roles::ALL });
        }
        let now = Instant::now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(uid, gid)).filter(|(until, _)| *until > now).map(|(_, caller)| caller.clone())
    }

    /// Returns the caller with this `uid` who connected with the group `gid`.
    pub async fn identify(&self, uid: u32, gid: u32) -> Result<Caller, PeerError> {
        if let Some(caller) = self.known(uid, gid) {
            return Ok(caller);
        }
        let caller = tokio::time::timeout(LOOKUP_TIMEOUT, self.query(uid, gid))
            .await
            .map_err(|_| PeerError::Timeout { uid })??;
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (until, _)| *until > now);
        known.insert((uid, gid), (now + CACHE_LIFETIME, caller.clone()));
        Ok(caller)
    }

    async fn query(&self, uid: u32, gid: u32) -> Result<Caller, PeerError> {
        let timed_out = || PeerError::Timeout { uid };
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(|_| timed_out())?;
        let (names, own) = (self.names(), self.own);
        let queried = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            look_up(uid, gid, own, &names)
        });
        queried
            .await
            .map_err(|_| timed_out())?
            .map_err(|source| PeerError::Database { uid, source })
    }
}

fn look_up(uid: u32, gid: u32, own: OwnUser, names: &Names) -> Result<Caller, Errno> {
    let user = or_none(User::from_uid(Uid::from_raw(uid)))?;
    let mut groups = BTreeSet::from([gid]);
    if let Some(user) = &user {
        let name = CString::new(user.name.as_str()).map_err(|_| Errno::EINVAL)?;
        groups.extend(getgrouplist(&name, user.gid)?.into_iter().map(Gid::as_raw));
    }
    let group = |name: &str| match name {
        "" => Ok(None),
        name => Ok(or_none(Group::from_name(name))?.map(|g| g.gid.as_raw())),
    };
    let Names { operators, viewers, authenticators } = names;
    let ids = RoleGroups {
        operators: group(operators)?,
        viewers: group(viewers)?,
        authenticators: group(authenticators)?,
    };
    let actor = Actor(user.map_or_else(|| format!("uid:{uid}"), |u| u.name));
    Ok(Caller { actor, uid, roles: ids.roles(uid, &groups, own) })
}

/// Maps the errors that getpwuid_r(3) lists for an unknown name to `None`.
fn or_none<T>(found: Result<Option<T>, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        found => found,
    }
}
