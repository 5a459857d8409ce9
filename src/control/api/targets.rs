//! Targets: SCIM service providers that follow the users of an account.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::directories::CheckStep;
use crate::engine::TargetCondition;
use crate::model::{
    CounterpartState, HoldReason, InactiveReason, Lane, LinkOrigin, ProvisionProblem, StepKind,
};

/// Document of `GET /v1/targets`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Targets {
    /// The configured targets, ordered by name, and then the removed ones that have accounts.
    pub targets: Vec<TargetStatus>,
    /// The `after` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// Status of one target.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TargetStatus {
    /// Name of the target.
    pub name: String,
    /// Handle of the account whose users it follows.
    pub account: String,
    /// State of the target.
    pub state: TargetCondition,
    /// Host name of the service; `null` for a removed target.
    pub host: Option<String>,
    /// Number of active accounts that belong to users.
    pub active: u64,
    /// Number of inactive accounts that belong to users.
    pub inactive: u64,
    /// Number of users with work that is due.
    pub pending: u64,
    /// Number of users that cannot be provisioned, or whose account another client changed.
    pub quarantined: u64,
    /// Number of accounts that belong to no user, in the last run over all accounts.
    pub unmanaged: u64,
    /// Number of active ones among them that have the name of a suspended user.
    pub left: u64,
    /// Number of steps that wait for approval.
    pub held: u64,
    /// Time since which the oldest deactivation is pending.
    pub oldest_deactivation: Option<String>,
    /// Start of the last run.
    pub last_attempt: Option<String>,
    /// End of the last run that succeeded.
    pub last_success: Option<String>,
    /// End of the last full run, which read each account of a user.
    pub last_complete_run: Option<String>,
    /// Number of accounts in that run; `null` if the list was not read whole.
    pub listed: Option<u64>,
    /// Time of the next scheduled run.
    pub next_run: Option<String>,
    /// End of the pause.
    pub paused_until: Option<String>,
    /// End of the validity of the token, if the configuration says so.
    pub token_expires: Option<String>,
    /// Capabilities that answers of the service showed; `null` as declared.
    pub capabilities: Option<Value>,
    /// Sentences about what needs an operator, each with its remedy.
    pub attention: Vec<String>,
}

/// Document of `GET /v1/targets/{name}/accounts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TargetAccounts {
    /// The accounts, ordered by user.
    pub accounts: Vec<TargetAccount>,
    /// The parameter `after` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// The account of one user at one target.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TargetAccount {
    /// Name of the target.
    pub target: String,
    /// Id of the user.
    pub user_id: String,
    /// Primary address of the user.
    pub email: Option<String>,
    /// State of the link between user and account.
    pub state: CounterpartState,
    /// The `id` of the account at the target.
    pub id: Option<String>,
    /// The `userName` that the target last showed.
    pub user_name: Option<String>,
    /// Origin of the link.
    pub origin: LinkOrigin,
    /// Whether the account is active, as far as the target shows it.
    pub active: Option<bool>,
    /// Time of the next work; `null` where nothing is due.
    pub due_at: Option<String>,
    /// Order of the work.
    pub lane: Option<Lane>,
    /// Number of failed attempts in a row.
    pub attempts: u32,
    /// Time since which the work fails.
    pub failing_since: Option<String>,
    /// Problem of the account.
    pub problem: Option<ProvisionProblem>,
    /// Last refusal, in the words of the target.
    pub answer: Option<String>,
    /// Time of the last change that was sent.
    pub sent_at: Option<String>,
    /// Time when a run last saw the account.
    pub seen_at: Option<String>,
}

/// Document of `GET /v1/targets/{name}/unmanaged`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UnmanagedAccounts {
    /// The accounts that belong to no user, ordered by id.
    pub accounts: Vec<UnmanagedAccount>,
    /// The `after` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

/// An account at a target that belongs to no user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UnmanagedAccount {
    /// The `id` of the account.
    pub id: String,
    /// The `userName` of the account.
    pub user_name: Option<String>,
    /// Whether the account is active, as far as the target shows it.
    pub active: Option<bool>,
    /// Id of the user whose name or address the account has.
    pub user_id: Option<String>,
    /// Primary address of that user.
    pub email: Option<String>,
    /// Whether that user is suspended.
    pub left: bool,
}

/// Document of `GET /v1/targets/{name}/check`: what requests need, checked one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetCheck {
    /// Name of the target.
    pub target: String,
    /// Whether no step failed.
    pub ok: bool,
    /// The steps, in the order of the check.
    pub steps: Vec<CheckStep>,
}

/// The next steps for one user at a target.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TargetOutlook {
    /// Name of the target.
    pub target: String,
    /// The steps that a run would take now. `held` marks those that would wait.
    pub steps: Vec<TargetStep>,
    /// Reason why the target cannot be asked.
    pub error: Option<String>,
}

/// Document of `GET /v1/targets/{name}/plan`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TargetPlan {
    /// Name of the target.
    pub target: String,
    /// Number of accounts that were listed.
    pub listed: u64,
    /// Reason why the list was not read whole.
    pub partial: Option<String>,
    /// The steps of a run now, ordered by user.
    pub steps: Vec<TargetStep>,
    /// Number of further steps, which are proposed when these are decided.
    pub further: u64,
}

/// One step at a target.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TargetStep {
    /// Kind of the step.
    pub step: StepKind,
    /// Id of the user.
    pub user_id: String,
    /// Primary address of the user.
    pub email: Option<String>,
    /// Display name of the user.
    pub display_name: Option<String>,
    /// The `id` of the account; `null` for a creation.
    pub id: Option<String>,
    /// Reason of a deactivation.
    pub reason: Option<InactiveReason>,
    /// Attributes with their values before, as far as the target showed them.
    pub before: Value,
    /// Attributes with their values after the step.
    pub after: Value,
    /// Reason why the step waits for approval; `null` is sent.
    pub held: Option<HoldReason>,
}

/// Document of `POST /v1/targets/{name}/sync`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSync {
    /// Name of a user, for a run over that user alone.
    #[serde(default)]
    pub user: Option<String>,
}

/// Document of `POST /v1/targets/{name}/push`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetPush {
    /// Name of the user.
    pub user: String,
    /// Whether to send all attributes, whatever was sent before, and to overrule a deactivation by
    /// another client.
    #[serde(default)]
    pub again: bool,
}

/// Document of `POST /v1/targets/{name}/adopt`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adoption {
    /// Name of the user.
    pub user: String,
    /// The `id` of the account at the target.
    pub id: String,
}

/// Document of `POST /v1/targets/{name}/disown`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disowning {
    /// Name of the user.
    pub user: String,
}

/// Document of `POST /v1/targets/{name}/forget`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Forgotten {
    /// Name of the target.
    pub target: String,
    /// Number of accounts that are not known any more. They keep their state at the target.
    pub accounts: u64,
}
