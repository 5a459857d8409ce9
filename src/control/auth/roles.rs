//! Roles: sets, not ranks. An operation of the route table names the set of roles of which a caller needs one.
//!
//! A ranking ("an operator may do what a viewer may, a viewer what an authenticator may") gave viewers the right to
//! create users by sign-ins. A set grants nothing that is not written down.

use std::collections::BTreeSet;
use std::fmt;

/// The overflow user: the kernel reports every user that it cannot name in this user namespace as this one.
const OVERFLOW: u32 = 65_534;

/// One role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Changes and exports.
    Operator,
    /// Asks for sign-in decisions.
    Authenticator,
}

impl Role {
    /// Every role, in the order of messages and documents.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Authenticator];

    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Authenticator => "authenticator",
        }
    }
}

/// A set of roles: those that a caller has, or those of which an operation takes any one.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// Every role: root's.
    pub const ALL: Self = Self::of(&Role::ALL);

    /// Exactly these roles.
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

    /// Whether the role is in the set.
    pub const fn has(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// Whether some role is in both sets.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Lists the roles of the set.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The groups behind the roles, by number; a group that does not exist is `None`, and has no members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoleGroups {
    /// Group of the operators.
    pub operators: Option<u32>,
    /// Group of the viewers.
    pub viewers: Option<u32>,
    /// Group of the authenticators.
    pub authenticators: Option<u32>,
}

/// The user that the daemon runs as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnUser {
    /// Number of the user.
    pub uid: u32,
    /// Whether it operates the daemon. Only a trial in the foreground says so, because every program that the daemon
    /// starts may be this user, too.
    pub operates: bool,
}

impl RoleGroups {
    /// Returns the roles of the user `uid`, who is in these groups, towards a daemon that runs as `own`.
    ///
    /// The daemon's own user has none, whatever group it is in.
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
