//! The rosterds that share one store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The rosterds on a shared store, and the one that leads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cluster {
    /// The name of the node that answers.
    pub node: String,
    /// The node that leads; absent while none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<ClusterLeader>,
    /// The time for which a leader may be silent before another node takes over, in seconds.
    pub lease_seconds: f64,
    /// All nodes, ordered by name.
    pub nodes: Vec<ClusterNode>,
    /// Sentences about what needs attention.
    pub attention: Vec<String>,
}

/// The node that leads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClusterLeader {
    /// The name of the node.
    pub node: String,
    /// The number of its term. It never falls.
    pub epoch: u64,
    /// The beginning of its term.
    pub since: String,
}

/// One rosterd on a shared store.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClusterNode {
    /// The name of the node.
    pub node: String,
    /// Whether it leads.
    pub leads: bool,
    /// Whether it may lead.
    pub takeover: bool,
    /// Version of rosterd on this node.
    pub version: String,
    /// A hash of its configuration.
    pub configuration: String,
    /// The time at which it was last heard of.
    pub heard_at: String,
    /// Its status on one line.
    pub health: String,
}

/// A request to let another node lead.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepDown {
    /// The node that is to lead; any other one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A request to forget a node that is gone.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetNode {
    /// The name of the node.
    pub node: String,
}
