//! Roles are sets, not ranks. An operation of the route table names the roles of which a caller
//! needs one.
//!
//! In a ranking, each role has the rights of the lower ones. So viewers could create users by
//! sign-ins. A set grants only the rights that it names.

use std::collections::BTreeSet;
use std::fmt;

/// The overflow user. The kernel reports every user without a mapping in this user namespace as
/// this one.
const OVERFLOW: u32 = 65_534;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// May read everything.
    Viewer,
    /// May read, change and export.
    Operator,
    /// May request sign-in decisions.
    Authenticator,
}

impl Role {
    /// Every role, in the order of messages and documents.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Authenticator];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Authenticator => "authenticator",
        }
    }
}

/// A set of roles: those of a caller, or those of which an operation needs one.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    pub const NONE: Self = Self(0);
    /// The roles of root.
    pub const ALL: Self = Self::of(&Role::ALL);

    pub const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < roles.len() {
            bits |= 1 << roles[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Returns the set with one more role.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | 1 << role as u8)
    }

    pub const fn has(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// Returns whether the sets have a role in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Group ids of the roles. A group that does not exist is `None`, and has no members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoleGroups {
    pub operators: Option<u32>,
    pub viewers: Option<u32>,
    pub authenticators: Option<u32>,
}

/// The user that runs the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnUser {
    pub uid: u32,
    /// Whether it has every role. Only a trial in the foreground sets this, because programs that
    /// the daemon starts may run as this user, too.
    pub operates: bool,
}

impl RoleGroups {
    /// Returns the roles of the user `uid` with these groups, towards a daemon that runs as `own`.
    ///
    /// The daemon's own user has no role in any group.
    pub fn roles(&self, uid: u32, groups: &BTreeSet<u32>, own: OwnUser) -> Roles {
        let Self { operators, viewers, authenticators } = *self;
        if uid == 0 {
            return Roles::ALL;
        }
        if uid == own.uid {
            return if own.operates && uid != OVERFLOW { Roles::ALL } else { Roles::NONE };
        }
        [
            (Role::Operator, operators),
            (Role::Viewer, viewers),
            (Role::Authenticator, authenticators),
        ]
        .into_iter()
        .filter(|(_, group)| group.is_some_and(|group| groups.contains(&group)))
        .fold(Roles::NONE, |roles, (role, _)| roles.with(role))
    }
}
