//! The documents of undone runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::changes::Change;
use super::held::HeldPlan;
use super::runs::Run;
use crate::model::ChangeVerb;

/// `POST /v1/runs/{id}/undo`: the result of an undo, or of its dry run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Undo {
    /// Id of the run to undo.
    pub undoes: String,
    /// Whether this was a dry run (`dry_run=true`).
    pub dry_run: bool,
    /// The run of the undo; `null` without a change to apply.
    pub run: Option<Run>,
    /// Its changes, applied or planned.
    pub changes: Vec<Change>,
    /// Changes that are not undone.
    pub left: Vec<LeftAlone>,
    /// The run that read the people again afterwards.
    pub read: Option<Run>,
    /// The held plan of the directory afterwards.
    pub waiting: Option<HeldPlan>,
}

/// A change that is not undone.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LeftAlone {
    /// Id of the user.
    pub user_id: String,
    /// Primary address of the user at the time of the change.
    pub email: Option<String>,
    /// Kind of the change.
    pub kind: ChangeVerb,
    /// Reason why it is not undone.
    pub why: String,
}
