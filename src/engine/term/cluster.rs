//! The nodes of a shared store: what each tells the others, and an operator's change of the leader.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::engine::{Engine, EngineError, Rules};
use crate::model::{Leader, Node, NodeHealth, Sharing, Timestamp};

/// The sentence of a node that lacks steps of the schema.
pub(super) const BEHIND: &str =
    "this rosterd is of an earlier version than the store: it answers, and never leads; upgrade it";

/// The sentence of a node without the key of the event log.
pub(super) const KEYLESS: &str = "this rosterd has no key of the event log, which is chained with one: it answers, never leads, and refuses suspensions and pauses; name the file of the key in [events] key-file, then systemctl reload rosterd";

/// Returns the sentence of a node whose name another one has.
pub(super) fn twin(node: &str) -> String {
    format!(
        "another rosterd on this store is named {node}, too: give each one its own name ([cluster] node), and restart it"
    )
}

/// The reason why an operator's request about the leader is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaderError {
    #[error(
        "the store is a file, which one rosterd has for itself: share a PostgreSQL (store.url) to have another one lead"
    )]
    NotShared,
    #[error("no other rosterd is there to lead: {0}")]
    Nobody(String),
    #[error("no rosterd on this store is named {name}: rosterctl leader show lists {known}")]
    Unknown { name: String, known: String },
    #[error(
        "{0} never leads: takeover = false is in its configuration, it has no key of the event log, or it is of an earlier version than the store"
    )]
    NeverLeads(String),
    #[error("{node} was last heard of at {heard}: start rosterd there, and ask again")]
    Silent { node: String, heard: Timestamp },
    #[error("{0} is there: stop rosterd on it first (systemctl disable --now rosterd)")]
    IsThere(String),
    #[error("{0} did not take over in time, and the leader is who it was: rosterctl leader show")]
    NotTaken(String),
}

/// The nodes of a store, as status shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The name of this node.
    pub node: String,
    pub leader: Option<Leader>,
    pub nodes: Vec<Node>,
    pub lease: Duration,
    /// Sentences about what needs attention.
    pub attention: Vec<String>,
}

/// A node that was not heard of for so many leases is not there.
const SILENT: u32 = 3;

impl ClusterStatus {
    fn named(&self, name: &str) -> Result<&Node, LeaderError> {
        self.nodes.iter().find(|node| node.node == name).ok_or_else(|| {
            let known: Vec<&str> = self.nodes.iter().map(|node| node.node.as_str()).collect();
            LeaderError::Unknown { name: name.to_owned(), known: known.join(", ") }
        })
    }
}

impl Engine {
    /// Notes the status line of this node, which the other ones show.
    pub fn note_health(&self, line: &str) {
        line.clone_into(&mut self.turn.health.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn own_node(&self, cluster: &Sharing) -> Node {
        let line = self.turn.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let configured = self.configured();
        let reach = self.turn.reach();
        let failed =
            reach.failed.iter().filter(|(name, _)| configured.directories.contains_key(*name));
        let unreadable = failed.map(|(name, (_, why))| format!("{name}: {why}")).collect();
        let unreadable = reach.is_known.then_some(unreadable);
        Node {
            node: cluster.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: self.configuration_hash(),
            takeover: cluster.takeover && self.turn.unfitness().is_none(),
            health: NodeHealth { line, unreadable },
            heard: self.clock.now(),
        }
    }

    /// Returns a hash of what the configuration decides. Two nodes of one configuration have the same.
    fn configuration_hash(&self) -> String {
        let configured = self.configured();
        let directories = configured.directories.values().map(|directory| {
            let c = &directory.config;
            let decides = (c.mode, &c.limits, &c.protect, &c.schedule, &c.full, &c.quiet, c.live);
            json!([c.name, c.account, c.scope_hash(), format!("{decides:?}")])
        });
        let hooks = self.hooks();
        let hooks = hooks.values().map(|hook| format!("{:?}", hook.config));
        let targets = self.targets();
        let targets = targets.values().map(|t| json!([t.config.name, t.config.rules_hash()]));
        let Rules { trusted, max_failures, gates, retention, digest, resolver: _ } =
            &configured.rules;
        let all = json!([
            directories.collect::<Vec<_>>(),
            hooks.collect::<Vec<_>>(),
            targets.collect::<Vec<_>>(),
            format!("{trusted:?}{max_failures}{gates:?}{retention:?}{digest:?}"),
            self.store.log_key_mark(),
        ]);
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(all.to_string().as_bytes()))
    }

    /// Returns the nodes of the store; `None` where it is a file.
    pub async fn cluster_status(&self) -> Result<Option<ClusterStatus>, EngineError> {
        let Some(Sharing { node, lease, .. }) = &self.turn.cluster else { return Ok(None) };
        let (leader, nodes) = (self.leader(), self.store.nodes().await?);
        let now = self.clock.now();
        let mut attention = Vec::new();
        let is_leader = |other: &&Node| leader.as_ref().is_some_and(|l| l.node == other.node);
        let theirs = nodes.iter().find(is_leader).map(|node| node.configuration.clone());
        for other in &nodes {
            let Node { node, configuration, version, heard, health, .. } = other;
            for failed in health.unreadable.iter().flatten() {
                attention.push(format!(
                    "{node} cannot read {failed}; it takes over later than the others: rosterctl directory check on {node} tells what to do"
                ));
            }
            if now.since(*heard) > *lease * SILENT {
                attention.push(format!(
                    "{node} was last heard of at {heard}: start rosterd there; if it is gone for good, rosterctl leader forget {node}"
                ));
            } else if theirs.as_ref().is_some_and(|theirs| theirs != configuration) {
                attention.push(format!(
                    "{node} has another configuration than the leader, and takes over later: make both the same, then systemctl reload rosterd"
                ));
            } else if version != env!("CARGO_PKG_VERSION") {
                attention.push(format!("{node} runs rosterd {version}: upgrade it"));
            }
        }
        if self.turn.has_twin.load(Ordering::Relaxed) {
            attention.push(twin(node));
        }
        attention.extend(self.turn.unfitness().map(str::to_owned));
        if leader.is_none() {
            attention
                .push("nobody leads at this moment: a node takes over within seconds".to_owned());
        }
        let (node, lease) = (node.clone(), *lease);
        Ok(Some(ClusterStatus { node, leader, nodes, lease, attention }))
    }

    /// Lets this node lead. Returns when it does.
    pub async fn lead_here(&self) -> Result<ClusterStatus, EngineError> {
        let node = self.turn.cluster.as_ref().map(|cluster| cluster.node.as_str());
        self.hand_over(Some(node.ok_or(LeaderError::NotShared)?)).await
    }

    /// Lets another node lead, the named one if there is a name. Returns when it does.
    pub async fn hand_over(&self, to: Option<&str>) -> Result<ClusterStatus, EngineError> {
        let Some(status) = self.cluster_status().await? else {
            return Err(LeaderError::NotShared.into());
        };
        let now = self.clock.now();
        let is_there = |node: &&Node| now.since(node.heard) <= status.lease * SILENT;
        let mut changes = self.turn.leader.subscribe();
        // Between two terms nobody leads for a moment.
        let leader =
            match tokio::time::timeout(status.lease * 2, changes.wait_for(Option::is_some)).await {
                Ok(Ok(leader)) => leader.clone(),
                _ => None,
            };
        let Some(leader) = leader else {
            let why = "nobody leads; see what the nodes say in rosterctl leader show";
            return Err(LeaderError::Nobody(why.to_owned()).into());
        };
        match to {
            Some(name) => {
                let node = status.named(name)?;
                if leader.node == name {
                    return Ok(status);
                }
                if !is_there(&node) {
                    let (node, heard) = (name.to_owned(), node.heard);
                    return Err(LeaderError::Silent { node, heard }.into());
                }
                if !node.takeover {
                    return Err(LeaderError::NeverLeads(name.to_owned()).into());
                }
            }
            None if !status
                .nodes
                .iter()
                .any(|n| is_there(&n) && n.takeover && n.node != leader.node) =>
            {
                let why = format!("{} leads, and goes on", leader.node);
                return Err(LeaderError::Nobody(why).into());
            }
            None => {}
        }
        self.store.want_leader(leader.epoch, to.unwrap_or_default()).await?;
        let is_new = |now: &Option<Leader>| now.as_ref().is_some_and(|n| n.epoch > leader.epoch);
        // A leader that hangs does not make room by itself.
        let patience = Duration::from_secs(2).min(status.lease);
        if tokio::time::timeout(patience, changes.wait_for(is_new)).await.is_err() {
            self.store.revoke_lease(leader.epoch).await?;
            let patience = status.lease * 2;
            if tokio::time::timeout(patience, changes.wait_for(is_new)).await.is_err() {
                let who = to.unwrap_or("another node").to_owned();
                return Err(LeaderError::NotTaken(who).into());
            }
        }
        self.cluster_status().await?.ok_or_else(|| LeaderError::NotShared.into())
    }

    /// Forgets a node that is gone. It is there again when it starts again.
    pub async fn forget_node(&self, name: &str) -> Result<ClusterStatus, EngineError> {
        let status = self.cluster_status().await?.ok_or(LeaderError::NotShared)?;
        let node = status.named(name)?;
        if self.clock.now().since(node.heard) <= status.lease * SILENT {
            return Err(LeaderError::IsThere(name.to_owned()).into());
        }
        self.store.forget_node(name).await?;
        self.cluster_status().await?.ok_or_else(|| LeaderError::NotShared.into())
    }
}
