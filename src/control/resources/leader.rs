//! The rosterds on a shared store, and the one that leads.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;

use super::request::{Answer, Shared, document, optional_document};
use super::time::time;
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, act, read};
use crate::engine::{ClusterStatus, EngineError, LeaderError};
use crate::model::{Leader, Node};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/leader", get, "Read who leads, and the nodes of a shared store")
            .answers::<api::Cluster>("The nodes")
            .fails(&[REFUSED]),
        act("cluster.step_down", "/leader/step-down", step_down, "Let another node lead")
            .on_every_node()
            .may_take::<api::StepDown>()
            .answers::<api::Cluster>("The nodes, after another one leads")
            .fails(&[REFUSED, UNKNOWN]),
        act("cluster.taken", "/leader/take", take, "Let this node lead")
            .on_every_node()
            .answers::<api::Cluster>("The nodes, after this one leads")
            .fails(&[REFUSED]),
        act("cluster.node_forgotten", "/leader/forget", forget, "Forget a node that is gone")
            .on_every_node()
            .takes::<api::ForgetNode>()
            .answers::<api::Cluster>("The nodes, without that one")
            .fails(&[REFUSED, UNKNOWN]),
    ]
}

const UNKNOWN: (u16, &str) = (404, "No node has this name");

async fn get(State(control): Shared) -> Answer<api::Cluster> {
    let status = control.engine.cluster_status().await?;
    let status = status.ok_or(EngineError::Leader(LeaderError::NotShared))?;
    Ok(Json(convert(status)))
}

async fn step_down(State(control): Shared, body: Bytes) -> Answer<api::Cluster> {
    let api::StepDown { to } = optional_document(&body)?;
    Ok(Json(convert(control.engine.hand_over(to.as_deref()).await?)))
}

async fn take(State(control): Shared) -> Answer<api::Cluster> {
    Ok(Json(convert(control.engine.lead_here().await?)))
}

async fn forget(State(control): Shared, body: Bytes) -> Answer<api::Cluster> {
    let api::ForgetNode { node } = document(&body)?;
    Ok(Json(convert(control.engine.forget_node(&node).await?)))
}

pub(in crate::control) fn convert(status: ClusterStatus) -> api::Cluster {
    let ClusterStatus { node, leader, nodes, lease, attention } = status;
    let leading = leader.as_ref().map(|leader| leader.node.clone());
    let nodes = nodes.into_iter().map(|each| {
        let Node { node, version, configuration, takeover, health, heard } = each;
        api::ClusterNode {
            leads: leading.as_ref() == Some(&node),
            node,
            takeover,
            version,
            configuration,
            heard_at: time(heard),
            health: health.line,
        }
    });
    api::Cluster {
        node,
        leader: leader.map(|Leader { node, epoch, since }| api::ClusterLeader {
            node,
            epoch,
            since: time(since),
        }),
        lease_seconds: lease.as_secs_f64(),
        nodes: nodes.collect(),
        attention,
    }
}
