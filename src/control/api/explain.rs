//! The explanation of one person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::changes::Change;
use super::targets::{TargetAccount, TargetOutlook};
use super::users::{Done, User};
use crate::model::QuarantineReason;

/// Document of `GET /v1/users/{who}/explain`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The name in the request.
    pub who: String,
    /// The user, if there is one.
    pub user: Option<User>,
    /// Sentences on actions that would change the result.
    pub remedies: Vec<String>,
    /// Entries of the person, by directory.
    pub entries: Vec<ExplainedEntry>,
    /// Directories without an entry of the person, and directories that cannot be read.
    pub elsewhere: Vec<Elsewhere>,
    /// Accounts of the user at targets.
    #[serde(default)]
    pub targets: Vec<TargetAccount>,
    /// The next steps at the targets of its account.
    #[serde(default)]
    pub outlook: Vec<TargetOutlook>,
    /// Changes of the user, the latest first; at most 20.
    pub history: Vec<Done>,
}

/// The entry of a person in one directory, and its consequences.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedEntry {
    /// Name of the directory.
    pub directory: String,
    /// The server that was read.
    pub server: String,
    /// objectGUID of the person.
    pub object_guid: String,
    /// Distinguished name of the entry, or its last known one.
    pub dn: String,
    /// Finding, as a sentence.
    pub found: String,
    /// Logon names of the entry.
    #[serde(default)]
    pub names: Vec<Looked>,
    /// Whether the entry is in scope, and by which rule; `null` without a readable entry.
    pub scope: Option<Looked>,
    /// Whether the entry is enabled, and whether it has expired.
    pub state: Vec<Looked>,
    /// The tier in the directory, and its rule.
    pub tier: Option<String>,
    /// The steps to a user; `null` without a readable entry.
    #[serde(default)]
    pub steps: Option<ExplainedSteps>,
    /// Paths from groups of the person to configured groups, the nearest group first.
    pub groups: Vec<Vec<String>>,
    /// The addresses, each with the claim that covers it.
    pub addresses: Vec<Looked>,
    /// Sentences on why there is no user; empty where there is one or would be.
    pub obstacles: Vec<String>,
    /// Reason of its quarantine.
    pub quarantine: Option<QuarantineReason>,
    /// Remedy of the quarantine.
    pub remedy: Option<String>,
    /// Changes that a run would plan now. `held` marks those that would wait.
    pub would: Vec<Change>,
    /// Sentence on its changes that wait for approval or were rejected.
    pub waits: Option<String>,
    /// Sentences on attributes and servers that cannot be read.
    pub warnings: Vec<String>,
}

/// The conditions of a user that an entry meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a condition of its own")]
pub struct ExplainedSteps {
    /// Whether the entry is in scope.
    pub scope: bool,
    /// Whether its primary address is in a claimed domain.
    pub address: bool,
    /// Whether it is enabled, and has not expired.
    pub enabled: bool,
    /// Whether its groups give a tier.
    pub tier: bool,
}

/// One attribute that was read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Looked {
    /// Name of the attribute.
    pub attribute: String,
    /// Value; empty where the attribute has none or cannot be read.
    pub value: String,
    /// Meaning of the value.
    pub meaning: String,
}

/// A directory without an entry of the person, or one that cannot be read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Elsewhere {
    /// Name of the directory.
    pub directory: String,
    /// The search without a result, or the error.
    pub why: String,
}
