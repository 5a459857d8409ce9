//! The explanation of one person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::changes::Change;
use super::users::{Done, User};

/// `GET /v1/users/{who}/explain`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Who was asked about, as it was asked.
    pub who: String,
    /// The user, if there is one.
    pub user: Option<User>,
    /// What would make it otherwise, a sentence each.
    pub remedies: Vec<String>,
    /// What the directories have of the person.
    pub entries: Vec<ExplainedEntry>,
    /// The directories that have nobody like that, or could not be asked.
    pub elsewhere: Vec<Elsewhere>,
    /// What rosterd did, the latest first; at most 20.
    pub history: Vec<Done>,
}

/// What one directory has of a person, and what that means.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedEntry {
    /// The directory.
    pub directory: String,
    /// The server that was asked.
    pub server: String,
    /// The person.
    pub object_guid: String,
    /// Where the entry stands, or stood.
    pub dn: String,
    /// What was found, in a sentence.
    pub found: String,
    /// In or out, and by which rule; `null` where there is no entry that can be read.
    pub scope: Option<Looked>,
    /// Enabled or not, expired or not.
    pub state: Vec<Looked>,
    /// The tier it has by the directory, and by which rule.
    pub tier: Option<String>,
    /// The ways from the groups it is in to the configured ones, each from the nearest on.
    pub groups: Vec<Vec<String>>,
    /// Each address, and which claim covers it.
    pub addresses: Vec<Looked>,
    /// Why there is no user for it, a sentence each; empty where there is one, or would be.
    pub obstacles: Vec<String>,
    /// Why it cannot be used as it is.
    pub quarantine: Option<String>,
    /// What to do about that.
    pub remedy: Option<String>,
    /// What a run would do now; `held` says what would wait.
    pub would: Vec<Change>,
    /// What of it waits for an operator, or was refused by one.
    pub waits: Option<String>,
    /// What could not be read, and what an operator should know.
    pub warnings: Vec<String>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Looked {
    /// The attribute.
    pub attribute: String,
    /// What it holds; empty where it holds nothing, or could not be read.
    pub value: String,
    /// What that means.
    pub meaning: String,
}

/// A directory that has nobody like that, or could not be asked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Elsewhere {
    /// The directory.
    pub directory: String,
    /// What was looked for, or went wrong.
    pub why: String,
}
