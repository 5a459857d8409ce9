//! Targets: SCIM service providers that follow the users of an account.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::ids::{UserId, is_label};
use super::tier::Tier;
use super::words::words;

/// The name of a target in the configuration: `[a-z0-9-]{1,63}`. No directory has the same name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetName(String);

impl TargetName {
    pub fn parse(text: &str) -> Option<Self> {
        is_label(text).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `id` of a resource, which only its target can interpret (RFC 7643, 3.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RemoteId(pub String);

impl fmt::Display for RemoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

words! {
    /// The rule for accounts that exist at a target already.
    pub enum Adopt {
        /// An operator approves each adoption.
        Ask = "ask",
        /// Adoptions within the limits need no approval.
        Always = "always",
        Never = "never",
    }
}

words! {
    /// The request that takes a leaver out of a target.
    pub enum LeaverAction {
        Deactivate = "deactivate",
        /// For targets without the attribute `active`.
        Delete = "delete",
    }
}

words! {
    /// The rule for mapped attributes that were changed at the target.
    pub enum DriftAction {
        Report = "report",
        Correct = "correct",
    }
}

words! {
    /// The attribute by which an account is recognised, beside `externalId`.
    pub enum MatchAttribute {
        UserName = "userName",
        Emails = "emails",
    }
}

words! {
    /// The origin of the link between a user and an account at a target.
    pub enum LinkOrigin {
        Created = "created",
        Adopted = "adopted",
    }
}

words! {
    /// The state of a counterpart.
    pub enum CounterpartState {
        /// The account is about to be created. An answer may have been lost.
        Intended = "intended",
        Linked = "linked",
        /// The account was deleted at the target.
        Gone = "gone",
        /// An operator has ended the link.
        Disowned = "disowned",
    }
}

/// The account of one user at one target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counterpart {
    pub user: UserId,
    pub state: CounterpartState,
    /// `None` until the target has answered with an id.
    pub id: Option<RemoteId>,
    pub origin: LinkOrigin,
    /// The fingerprint of the account that was last sent; `None` sends all attributes.
    pub sent: Option<u64>,
    /// The fingerprint of the mapped attributes that the target showed after that.
    pub echo: Option<u64>,
    /// The value of `active` that was last verified; `None` where the target does not show it.
    pub active: Option<bool>,
    /// rosterd sent the last deactivation, and not another client.
    pub deactivated_by_us: bool,
}

words! {
    /// The reason why a counterpart has to be inactive.
    pub enum InactiveReason {
        Suspended = "suspended",
        Released = "released",
        Removed = "removed",
        Transferred = "transferred",
        /// The tier of the user does not belong to the target.
        OutOfScope = "out-of-scope",
    }
}

words! {
    /// The kind of a step.
    pub enum StepKind {
        Deactivate = "deactivate",
        Reactivate = "reactivate",
        Create = "create",
        /// The account shows our `externalId`, so a lost answer is made up for.
        Link = "link",
        Adopt = "adopt",
        Rename = "rename",
        Update = "update",
        Delete = "delete",
    }
}

words! {
    /// The origin of a step, which decides whether the guard has to admit it.
    pub enum StepOrigin {
        /// The user changed, and the guard admitted that change.
        Followed = "followed",
        /// Something else changed: the target, the mapping, the scope or the store.
        Found = "found",
    }
}

words! {
    /// The reason why a user or an account cannot be provisioned.
    pub enum ProvisionProblem {
        /// The mapping gives no `userName`.
        NoUserName = "no-user-name",
        /// More than one account matches.
        Ambiguous = "ambiguous",
        /// The account has another `externalId`.
        ManagedElsewhere = "managed-elsewhere",
        /// An account of that name exists, and `adopt` is `never`.
        NotAdopted = "not-adopted",
        /// The account was deactivated by another client.
        DeactivatedElsewhere = "deactivated-elsewhere",
    }
}

/// The proof of identity that a target gets. No value holds a secret: the files are read again when
/// they change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetCredential {
    /// A bearer token (RFC 6750) in a file.
    Token(PathBuf),
    /// OAuth client credentials (RFC 6749, 4.4), with the secret in a file.
    OAuth { token_url: Url, client_id: String, secret_file: PathBuf, scope: Option<String> },
}

impl TargetCredential {
    /// Returns the file that holds the secret.
    pub fn file(&self) -> &Path {
        match self {
            Self::Token(file) | Self::OAuth { secret_file: file, .. } => file,
        }
    }
}

/// The most requests to a target in a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// At least 1.
    pub requests: u32,
    pub per: Duration,
}

/// A group of a target, whose members are the counterparts of one tier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetGroup {
    pub name: String,
    pub tier: Tier,
}
