//! Runs, plans and what is held.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The directory; `null` for an operator's write.
    pub directory: Option<String>,
    /// What set it off.
    pub trigger: String,
    /// `full`, `delta` or `scoped`.
    pub mode: String,
    /// `running`, `succeeded`, `held`, `failed` or `cancelled`.
    pub state: String,
    /// Who asked for it.
    pub actor: Option<String>,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// What was read.
    pub read: Read,
    /// What was applied.
    pub changes: Changes,
    /// How many changes of the directory wait for approval afterwards.
    pub held: u64,
    /// How many entries were quarantined.
    pub quarantined: u64,
    /// How many changes were dropped.
    pub dropped: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// What an operator should know although it went on.
    pub warnings: Vec<String>,
    /// The run that it took back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undoes: Option<String>,
    /// Why it read everything, where changes were to be followed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub full_read_reason: Option<String>,
}

/// What a run read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Read {
    /// How many entries.
    pub entries: u64,
    /// Whether that was all.
    pub complete: bool,
    /// From which server.
    pub server: Option<String>,
}

/// How many changes of each kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// Users that came to be.
    pub create: u64,
    /// Users whose attributes or addresses changed.
    pub update: u64,
    /// Suspensions.
    pub suspend: u64,
    /// Suspensions lifted.
    pub reactivate: u64,
    /// Tiers changed.
    pub tier: u64,
    /// Users linked.
    pub link: u64,
    /// Users released.
    pub release: u64,
}

/// A list of runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Runs {
    /// Newest first.
    pub runs: Vec<Run>,
}

/// `GET /v1/runs/{id}`: the run with its changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunDetail {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// The run that took it back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undone_by: Option<String>,
    /// Its changes, applied, held and dropped, in order; at most 10,000.
    pub applied: Vec<Change>,
}

/// One change of a plan or run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// `create`, `invite`, `register`, `link`, `unlink`, `suspend`, `reactivate`, `tier`, `update`, `transfer`, `release` or `remove`.
    pub kind: String,
    /// What it counts as.
    pub class: Option<String>,
    /// Whom.
    pub user_id: String,
    /// The address it is shown by.
    pub email: Option<String>,
    /// The person.
    pub object_guid: Option<String>,
    /// The reason of a suspension, or of what is lifted.
    pub reason: Option<String>,
    /// What was seen.
    pub evidence: Value,
    /// Why it waits: `limit`, `cluster`, `protected`, `no-witness`, `plan-only`, `gate`, `grace-period`, `rejected`.
    pub held: Option<String>,
    /// What was.
    pub before: Value,
    /// What is, or would be.
    pub after: Value,
    /// `applied`, `held`, `dropped`; absent in a plan that was only made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
    /// The key of the group of the held plan that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
}

/// An entry that cannot be used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Quarantined {
    /// The person.
    pub object_guid: String,
    /// Where it stands.
    pub dn: String,
    /// Why.
    pub reason: String,
}

/// `GET /v1/directories/{name}/plan`: what a run would do now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// `null`: this plan is nowhere but here.
    pub id: Option<String>,
    /// The directory.
    pub directory: String,
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// What cannot be used.
    pub quarantined: Vec<Quarantined>,
    /// Why the read was not complete, if it was not.
    pub error: Option<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
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

/// `GET /v1/held`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HeldPlans {
    /// Newest first.
    pub held: Vec<HeldPlan>,
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

/// `POST /v1/held/{id}/reject` and `…/reopen`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rejecting {
    /// Why, for whoever asks later.
    pub comment: String,
}

/// `POST /v1/runs/{id}/undo`: what taking a run back came to, or would come to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Undo {
    /// The run.
    pub undoes: String,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The run that did it; `null` where nothing was, or was to be, done.
    pub run: Option<Run>,
    /// What was done, or would be.
    pub changes: Vec<Change>,
    /// What is left alone.
    pub left: Vec<LeftAlone>,
    /// The run that read the people again afterwards.
    pub read: Option<Run>,
    /// What waits of the directory afterwards.
    pub waiting: Option<HeldPlan>,
}

/// A change that is not taken back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LeftAlone {
    /// Whose it was.
    pub user_id: String,
    /// The address it was shown by.
    pub email: Option<String>,
    /// What it was.
    pub kind: String,
    /// Why it is left alone.
    pub why: String,
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
