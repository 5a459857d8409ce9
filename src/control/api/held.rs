//! Held plans.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::changes::Change;
use super::runs::Run;

/// `GET /v1/held`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HeldPlans {
    /// Newest first.
    pub held: Vec<HeldPlan>,
}

/// One held plan.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HeldPlan {
    /// Its id.
    pub id: String,
    /// The directory.
    pub directory: String,
    /// The run that made it.
    pub run: String,
    /// What it is recognised by.
    pub digest: String,
    /// `open`, `approved`, `applied`, `rejected`, `withdrawn`, `superseded` or `expired`.
    pub state: String,
    /// When it was first held.
    pub created_at: String,
    /// Who approved or rejected it, or a part of it.
    pub actor: Option<String>,
    /// What they said.
    #[serde(default)]
    pub comment: Option<String>,
    /// When it, or a part of it, was approved.
    #[serde(default)]
    pub approved_at: Option<String>,
    /// Until when what was approved is tried again; after that it takes another approval.
    #[serde(default)]
    pub approval_expires: Option<String>,
    /// What a gate said that holds it, and what it printed, line by line.
    #[serde(default)]
    pub note: Vec<String>,
    /// How many changes.
    pub count: u64,
    /// What they amount to.
    pub by: Vec<HeldGroup>,
    /// The changes; only when one plan is asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub changes: Option<Vec<Change>>,
}

/// Held changes that have something in common.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HeldGroup {
    /// Their class.
    pub class: Option<String>,
    /// The suspension's reason.
    pub reason: Option<String>,
    /// What they have in common: `ou:…`, `group:…` or `attribute:…`.
    pub cause: Option<String>,
    /// What approves them alone.
    #[serde(default)]
    pub key: String,
    /// The name of a group that is configured, where the cause is one.
    #[serde(default)]
    pub name: Option<String>,
    /// Why they wait.
    pub held: Option<String>,
    /// How many.
    pub count: u64,
    /// How many of them are approved, and wait for the directory to be readable.
    #[serde(default)]
    pub approved: u64,
}

/// `POST /v1/held/{id}/approve`: all of the plan, where neither causes nor people are named.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Approving {
    /// All changes of these groups, by their keys.
    pub causes: Vec<String>,
    /// All changes of these people, by address, user id or objectGUID.
    pub people: Vec<String>,
    /// Why, for whoever asks later.
    pub comment: String,
}

/// `POST /v1/held/{id}/approve`: what came of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// The run that applied it, or tried to.
    #[serde(flatten)]
    pub run: Run,
    /// What waits of the directory afterwards.
    pub waiting: Option<HeldPlan>,
}

/// `POST /v1/held/{id}/reject` and `…/reopen`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rejecting {
    /// Why, for whoever asks later.
    pub comment: String,
}
