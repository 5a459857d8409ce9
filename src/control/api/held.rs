//! The documents of held plans.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::changes::Change;
use super::runs::Run;
use crate::model::{ChangeClass, ChangeVerb, HoldReason, PlanState, Reason};

/// Document of `GET /v1/held`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HeldPlans {
    /// The plans, the newest first.
    pub held: Vec<HeldPlan>,
    /// The `after` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// One held plan.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HeldPlan {
    /// Id of the plan.
    pub id: String,
    /// Name of the directory.
    pub directory: String,
    /// Id of the run that made it.
    pub run: String,
    /// Digest of its changes, equal for equal plans.
    pub digest: String,
    /// State of the plan.
    pub state: PlanState,
    /// Time when it was first held.
    pub created_at: String,
    /// Actor of the last approval or rejection.
    pub actor: Option<String>,
    /// Comment of the actor.
    #[serde(default)]
    pub comment: Option<String>,
    /// Time of the last approval, of the plan or a part of it.
    #[serde(default)]
    pub approved_at: Option<String>,
    /// End of the approval. Changes that are not applied by then need another one.
    #[serde(default)]
    pub approval_expires: Option<String>,
    /// Number of operators that have to approve each change.
    #[serde(default = "one")]
    pub approvals_needed: u32,
    /// Approvals of its changes that count.
    #[serde(default)]
    pub approvals: Vec<GivenApproval>,
    /// Output of the gate that holds the plan, line by line.
    #[serde(default)]
    pub note: Vec<String>,
    /// Number of changes.
    pub count: u64,
    /// The changes of all pages, grouped by class, reason and cause; empty on every page after the first.
    pub by: Vec<HeldGroup>,
    /// The changes; absent in a list of plans.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub changes: Option<Vec<Change>>,
    /// The `after` of the next page of changes. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

fn one() -> u32 {
    1
}

/// One operator's approval of held changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GivenApproval {
    /// Name of the operator.
    pub actor: String,
    /// The uid, which counts once; absent for rosterd itself.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Time of the approval.
    pub at: String,
    /// Comment of the operator.
    #[serde(default)]
    pub comment: Option<String>,
    /// Number of changes that it covers.
    pub count: u64,
}

/// Held changes with the same kind, class, reason and cause.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HeldGroup {
    /// Kind of the changes.
    pub kind: ChangeVerb,
    /// Class whose limit they count towards.
    pub class: Option<ChangeClass>,
    /// Reason of the suspensions.
    pub reason: Option<Reason>,
    /// Common cause: `ou:…`, `group:…` or `attribute:…`.
    pub cause: Option<String>,
    /// Key of the group, for an approval of these changes alone.
    #[serde(default)]
    pub key: String,
    /// Configured name of the group that is the cause.
    #[serde(default)]
    pub name: Option<String>,
    /// Reason why they wait for approval.
    pub held: Option<HoldReason>,
    /// The limit that held them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<HeldLimit>,
    /// Number of changes.
    pub count: u64,
    /// Number of approved changes that wait for the directory to be readable.
    #[serde(default)]
    pub approved: u64,
}

/// A limit of `[safety]`, for the class of the changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldLimit {
    /// Changes that are applied without an approval in one window.
    pub allowed: u64,
    /// Changes that were applied so in the present window.
    pub applied: u64,
    /// Length of the window, such as `24h`.
    pub window: String,
}

/// `POST /v1/held/{id}/approve`: the whole plan, unless causes or people are named.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Approving {
    /// Keys of the groups to approve.
    pub causes: Vec<String>,
    /// People to approve, each by address, id, logon name, DN, employee id or full name.
    pub people: Vec<String>,
    /// Digest of the plan that the operator saw. Another plan is refused.
    pub digest: Option<String>,
    /// Comment for the log.
    pub comment: String,
}

/// `POST /v1/held/{id}/approve`: the result of the approval.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// The run that applied it.
    #[serde(flatten)]
    pub run: Run,
    /// The held plan of the directory afterwards.
    pub waiting: Option<HeldPlan>,
}

/// `POST /v1/held/{id}/reject` and `…/reopen`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rejecting {
    /// Comment for the log.
    pub comment: String,
}
