//! A change: one thing a plan proposes for one user. Every write to a user is one.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::{
    AccountRef, Address, Addresses, Cause, Causes, Class, Evidence, Guid, Link, Override, Profile,
    Reason, Status, Tier, User, UserId,
};

/// What a user is when it comes to be, or is linked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// Tier.
    pub tier: Tier,
    /// Addresses.
    pub addresses: Addresses,
    /// What describes it.
    pub profile: Profile,
    /// The person behind it.
    pub link: Option<Link>,
    /// Why it is suspended from the start; empty unless it is linked and barred.
    pub causes: Causes,
}

/// What happens to the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// The user comes to be, or comes back from released.
    Create(Box<Joined>),
    /// Somebody is asked to join. Nobody is, until the first sign-in.
    Invite {
        /// What the user is from then on.
        after: Box<Joined>,
        /// The account's name, for whoever writes the invitation.
        account_name: String,
    },
    /// The first sign-in.
    Register {
        /// What it was.
        before: Status,
    },
    /// The user goes over to the account that has claimed its domain.
    Transfer {
        /// Whose it was.
        before: AccountRef,
        /// Whose it becomes.
        after: AccountRef,
    },
    /// The user's domain is no longer its account's: it keeps its place and what it was, and holds no address.
    Release {
        /// What it was.
        before: Status,
    },
    /// The user is no more.
    Remove {
        /// What it was; nothing where that is to be forgotten, too.
        before: Option<Box<Joined>>,
        /// As what it was listed.
        status: Status,
    },
    /// An unmanaged user of the account is linked to a person.
    Link {
        /// What it was.
        before: Box<Joined>,
        /// What it becomes.
        after: Box<Joined>,
    },
    /// A user is no longer linked to a person: a link is taken back.
    Unlink {
        /// What it was.
        before: Box<Joined>,
        /// What it becomes.
        after: Box<Joined>,
    },
    /// The same person has been created anew in the directory, and an operator says that it is the same.
    Relink {
        /// Who it was.
        before: Link,
        /// Who it is.
        after: Link,
    },
    /// Another directory of the account shows the person now, and the former one does not: the link goes over.
    Move {
        /// The former link.
        before: Link,
        /// The link from then on, to the same person.
        after: Link,
    },
    /// A cause is added.
    Suspend {
        /// The cause.
        cause: Cause,
        /// Whether the user could sign in until then; a second cause takes nothing away.
        was_active: bool,
    },
    /// Causes are lifted.
    Reactivate {
        /// What is lifted.
        lifted: Causes,
        /// What stays, by reason.
        remaining: BTreeSet<Reason>,
        /// What was seen that refutes them.
        evidence: Vec<Evidence>,
    },
    /// Another tier.
    Tier {
        /// What it was.
        before: Tier,
        /// What it becomes.
        after: Tier,
        /// What was seen.
        evidence: Evidence,
    },
    /// Other addresses.
    Readdress {
        /// What they were.
        before: Addresses,
        /// What they become.
        after: Addresses,
    },
    /// Other attributes.
    Update {
        /// What they were.
        before: Box<Profile>,
        /// What they become.
        after: Box<Profile>,
    },
    /// Something the directory asks for is overruled, or no longer.
    Override {
        /// What was.
        before: BTreeSet<Override>,
        /// What is.
        after: BTreeSet<Override>,
    },
}

impl ChangeKind {
    /// The word in store and output.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Invite { .. } => "invite",
            Self::Register { .. } => "register",
            Self::Transfer { .. } => "transfer",
            Self::Release { .. } => "release",
            Self::Remove { .. } => "remove",
            Self::Link { .. } | Self::Relink { .. } => "link",
            Self::Unlink { .. } => "unlink",
            Self::Move { .. } => "move",
            Self::Suspend { .. } => "suspend",
            Self::Reactivate { .. } => "reactivate",
            Self::Tier { .. } => "tier",
            Self::Readdress { .. } | Self::Update { .. } | Self::Override { .. } => "update",
        }
    }
}

/// One change of one user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Whom it changes.
    pub user: UserId,
    /// The person, for managed users.
    pub guid: Option<Guid>,
    /// The address to show it by.
    pub email: Option<Address>,
    /// What happens.
    pub kind: ChangeKind,
    /// What it counts as; `None` has no limit.
    pub class: Option<Class>,
    /// The version of the user it was decided on; `None` where there was none.
    pub version: Option<i64>,
    /// What many changes of one plan can have in common (a group, a parent OU, a filter attribute); see the guard's clusters.
    pub cluster: Option<String>,
}

/// What a change is recognised by from plan to plan: user, kind, before, after and reason, never times or servers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a plan: of its changes' digests in order.
    pub fn of_all(mut digests: Vec<Self>) -> Self {
        digests.sort_unstable();
        let mut hash = sha2::Sha256::new();
        for digest in digests {
            hash.update(digest.0);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Change {
    /// A change that no directory asks for: an operator does, or a domain that changes hands.
    pub fn by_hand(user: &User, kind: ChangeKind) -> Self {
        let email = user.addresses.primary.clone();
        Self {
            user: user.id,
            guid: user.link.as_ref().map(|l| l.guid),
            email,
            kind,
            class: None,
            version: Some(user.version),
            cluster: None,
        }
    }

    /// The reason of a suspension, or of what is lifted.
    pub fn reason(&self) -> Option<Reason> {
        match &self.kind {
            ChangeKind::Suspend { cause, .. } => Some(cause.reason),
            ChangeKind::Reactivate { lifted, .. } => lifted.weightiest().map(|c| c.reason),
            ChangeKind::Link { after, .. } => after.causes.weightiest().map(|c| c.reason),
            _ => None,
        }
    }

    /// Whether this suspends on something that was seen.
    pub fn is_positive(&self) -> bool {
        match &self.kind {
            ChangeKind::Suspend { cause, .. } => cause.reason.is_positive(),
            ChangeKind::Link { after, .. } => after.causes.iter().any(|c| c.reason.is_positive()),
            _ => false,
        }
    }

    /// The evidence behind it.
    pub fn evidence(&self) -> Vec<&Evidence> {
        match &self.kind {
            ChangeKind::Suspend { cause, .. } => vec![&cause.evidence],
            ChangeKind::Reactivate { evidence, .. } => evidence.iter().collect(),
            ChangeKind::Tier { evidence, .. } => vec![evidence],
            ChangeKind::Link { after, .. } => after.causes.iter().map(|c| &c.evidence).collect(),
            ChangeKind::Create(_)
            | ChangeKind::Invite { .. }
            | ChangeKind::Register { .. }
            | ChangeKind::Transfer { .. }
            | ChangeKind::Release { .. }
            | ChangeKind::Remove { .. }
            | ChangeKind::Unlink { .. }
            | ChangeKind::Relink { .. }
            | ChangeKind::Move { .. }
            | ChangeKind::Readdress { .. }
            | ChangeKind::Update { .. }
            | ChangeKind::Override { .. } => Vec::new(),
        }
    }

    /// What was, as JSON; `null` where nothing was.
    pub fn before(&self) -> Value {
        match &self.kind {
            ChangeKind::Create(_) | ChangeKind::Invite { .. } => Value::Null,
            ChangeKind::Register { before } | ChangeKind::Release { before } => {
                json!({ "status": before })
            }
            ChangeKind::Transfer { before, .. } => json!({ "account": before.handle }),
            ChangeKind::Remove { before, status } => {
                let mut was = before.as_ref().map_or_else(|| json!({}), |before| joined(before));
                was["status"] = json!(status);
                was
            }
            ChangeKind::Link { before, .. } | ChangeKind::Unlink { before, .. } => joined(before),
            ChangeKind::Relink { before, .. } => {
                json!({ "object_guid": before.guid, "dn": before.dn.as_str() })
            }
            ChangeKind::Move { before, .. } => link(before),
            ChangeKind::Suspend { was_active, .. } => {
                json!({ "status": if *was_active { "active" } else { "suspended" } })
            }
            ChangeKind::Reactivate { lifted, remaining, .. } => {
                json!({ "status": "suspended", "causes": lifted.iter().map(|c| c.reason).chain(remaining.iter().copied()).collect::<BTreeSet<_>>() })
            }
            ChangeKind::Tier { before, .. } => json!({ "tier": before }),
            ChangeKind::Readdress { before, .. } => addresses(before),
            ChangeKind::Update { before, after } => profile_difference(before, after),
            ChangeKind::Override { before, .. } => json!({ "overrides": before }),
        }
    }

    /// What is afterwards, as JSON.
    pub fn after(&self) -> Value {
        match &self.kind {
            ChangeKind::Create(after)
            | ChangeKind::Link { after, .. }
            | ChangeKind::Unlink { after, .. } => joined(after),
            ChangeKind::Invite { after, account_name } => {
                let mut is = joined(after);
                is["status"] = json!(Status::Invited);
                is["account_name"] = json!(account_name);
                is
            }
            ChangeKind::Register { .. } => json!({ "status": Status::Active }),
            ChangeKind::Transfer { after, .. } => json!({ "account": after.handle }),
            ChangeKind::Release { .. } => json!({ "status": Status::Released }),
            ChangeKind::Remove { .. } => Value::Null,
            ChangeKind::Relink { after, .. } => {
                json!({ "object_guid": after.guid, "dn": after.dn.as_str() })
            }
            ChangeKind::Move { after, .. } => link(after),
            ChangeKind::Suspend { cause, .. } => {
                json!({ "status": "suspended", "cause": cause.reason })
            }
            ChangeKind::Reactivate { remaining, .. } => {
                json!({ "status": if remaining.is_empty() { "active" } else { "suspended" }, "causes": remaining })
            }
            ChangeKind::Tier { after, .. } => json!({ "tier": after }),
            ChangeKind::Readdress { after, .. } => addresses(after),
            ChangeKind::Update { before, after } => profile_difference(after, before),
            ChangeKind::Override { after, .. } => json!({ "overrides": after }),
        }
    }

    /// As it is shown to whoever is asked about it.
    pub fn document(&self) -> Value {
        json!({
            "kind": self.kind.as_str(),
            "class": self.class,
            "user_id": self.user,
            "email": self.email,
            "object_guid": self.guid,
            "reason": self.reason(),
            "evidence": self.evidence(),
            "held": null,
            "before": self.before(),
            "after": self.after(),
        })
    }

    /// What it is recognised by.
    pub fn digest(&self) -> Digest {
        let shown =
            json!([self.user, self.kind.as_str(), self.before(), self.after(), self.reason()]);
        Digest(sha2::Sha256::digest(shown.to_string().as_bytes()).into())
    }

    /// Address keys that this change gives up, and those it takes.
    pub fn address_moves(&self) -> (BTreeSet<super::AddressKey>, BTreeSet<super::AddressKey>) {
        match &self.kind {
            ChangeKind::Create(after) | ChangeKind::Invite { after, .. } => {
                (BTreeSet::new(), after.addresses.keys())
            }
            ChangeKind::Remove { before: Some(before), .. } => {
                (before.addresses.keys(), BTreeSet::new())
            }
            ChangeKind::Link { before, after } | ChangeKind::Unlink { before, after } => {
                moves(&before.addresses, &after.addresses)
            }
            ChangeKind::Readdress { before, after } => moves(before, after),
            _ => (BTreeSet::new(), BTreeSet::new()),
        }
    }
}

fn moves(
    before: &Addresses,
    after: &Addresses,
) -> (BTreeSet<super::AddressKey>, BTreeSet<super::AddressKey>) {
    let (before, after) = (before.keys(), after.keys());
    (before.difference(&after).cloned().collect(), after.difference(&before).cloned().collect())
}

fn link(l: &Link) -> Value {
    json!({ "directory": l.directory, "object_guid": l.guid, "dn": l.dn.as_str() })
}

fn addresses(a: &Addresses) -> Value {
    json!({ "primary_email": a.primary, "secondary_emails": a.secondary })
}

fn joined(j: &Joined) -> Value {
    let Joined { tier, addresses, profile, link, causes } = j;
    json!({
        "tier": tier,
        "primary_email": addresses.primary,
        "secondary_emails": addresses.secondary,
        "profile": profile,
        "object_guid": link.as_ref().map(|l| l.guid),
        "causes": causes.iter().map(|c| c.reason).collect::<Vec<_>>(),
    })
}

fn profile_difference(of: &Profile, against: &Profile) -> Value {
    let different = of.fields().into_iter().zip(against.fields()).filter(|((_, a), (_, b))| a != b);
    Value::Object(different.map(|((name, value), _)| (name.to_owned(), json!(value))).collect())
}

/// Who wants a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A directory's run.
    Run,
    /// An operator, or whoever the actor is.
    Operator(Actor),
}

/// Who did something: the name of the local user, or rosterd itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub String);

impl Actor {
    /// rosterd itself.
    pub fn rosterd() -> Self {
        Self("rosterd".to_owned())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
