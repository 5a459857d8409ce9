//! Who is calling, and what they may do.
//!
//! The kernel says which user is at the other end; the user database says which groups that user is in
//! *now* (the peer's credentials carry no supplementary groups). Nothing the caller sends counts.
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
use crate::model::Actor;

/// Long enough for a script's hundred requests, short enough that nobody waits for a new membership.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The user database may be a directory on the network.
const PATIENCE: Duration = Duration::from_secs(10);

/// A user database that hangs takes no more threads than this.
const LOOK_UPS: usize = 8;

/// A caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The name it goes by in events: the user's, else `uid:1234`.
    pub actor: Actor,
    /// Roles that it has.
    pub roles: Roles,
}

/// Why a caller is not known.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The user database said no.
    #[error("the groups of uid {uid} cannot be looked up in the user database")]
    Database {
        /// Whose.
        uid: u32,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The user database does not answer.
    #[error(
        "the user database did not answer about uid {uid} within {}",
        humantime::format_duration(PATIENCE)
    )]
    Silent {
        /// Who was asked about.
        uid: u32,
    },
}

/// Looks callers up, and remembers them for a moment.
#[derive(Debug)]
pub struct Callers {
    names: RwLock<Names>,
    own: OwnUser,
    look_ups: Arc<Semaphore>,
    known: Mutex<HashMap<(u32, u32), (Instant, Caller)>>,
}

/// The names of the groups behind the roles.
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
    /// Looks callers up in these groups.
    pub fn new(settings: &Settings) -> Self {
        Self {
            names: RwLock::new(Names::of(settings)),
            own: OwnUser { uid: Uid::effective().as_raw(), operates: settings.own_user_operates },
            look_ups: Arc::new(Semaphore::new(LOOK_UPS)),
            known: Mutex::default(),
        }
    }

    /// From now on with these groups.
    pub fn regroup(&self, settings: &Settings) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = Names::of(settings);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn names(&self) -> Names {
        self.names.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Names the groups of which a caller needs one, for a message.
    pub fn groups_of(&self, roles: Roles) -> String {
        let Names { operators, viewers, authenticators } = self.names();
        let group = |role| match role {
            Role::Operator => operators.clone(),
            Role::Viewer => viewers.clone(),
            Role::Authenticator => authenticators.clone(),
        };
        roles.iter().map(group).collect::<Vec<_>>().join(" or ")
    }

    /// Returns what is known of a caller without asking the user database.
    pub fn known(&self, uid: u32, gid: u32) -> Option<Caller> {
        if uid == 0 {
            // Whatever has become of the user database, root gets in.
            return Some(Caller { actor: Actor("root".to_owned()), roles: Roles::ALL });
        }
        let now = Instant::now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(uid, gid)).filter(|(until, _)| *until > now).map(|(_, caller)| caller.clone())
    }

    /// Returns the caller with this `uid`, connected with the group `gid`.
    pub async fn identify(&self, uid: u32, gid: u32) -> Result<Caller, PeerError> {
        if let Some(caller) = self.known(uid, gid) {
            return Ok(caller);
        }
        let caller = tokio::time::timeout(PATIENCE, self.ask(uid, gid))
            .await
            .map_err(|_| PeerError::Silent { uid })??;
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (until, _)| *until > now);
        known.insert((uid, gid), (now + REMEMBERED, caller.clone()));
        Ok(caller)
    }

    async fn ask(&self, uid: u32, gid: u32) -> Result<Caller, PeerError> {
        let silent = || PeerError::Silent { uid };
        let permit = Arc::clone(&self.look_ups).acquire_owned().await.map_err(|_| silent())?;
        let (names, own) = (self.names(), self.own);
        let asked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            look_up(uid, gid, own, &names)
        });
        asked.await.map_err(|_| silent())?.map_err(|source| PeerError::Database { uid, source })
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
    Ok(Caller { actor, roles: ids.roles(uid, &groups, own) })
}

/// What getpwuid_r(3) lists as ways to say that there is none.
fn or_none<T>(found: Result<Option<T>, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        found => found,
    }
}
