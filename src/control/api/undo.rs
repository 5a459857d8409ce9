//! Undone runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::changes::Change;
use super::held::HeldPlan;
use super::runs::Run;

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
