//! The status of the daemon.

use axum::Json;
use axum::extract::State;

use super::request::{Answer, Shared};
use super::time::time;
use super::{directories, leader, targets};
use crate::control::api;
use crate::control::operation::{Operation, read};
use crate::engine::HookStatus;
use crate::model::Timestamp;
use crate::store::DeliveryStatus;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/status", get, "Read the status of the daemon")
            .answers::<api::Status>("The status of the daemon and of its directories"),
    ]
}

async fn get(State(control): Shared) -> Answer<api::Status> {
    let hooks = control.engine.hook_statuses().await?;
    let attention = control.engine.runner.trouble();
    let store = api::StoreStatus { attention: control.engine.store_attention().await? };
    Ok(Json(convert(
        control.engine.started_at,
        directories::statuses(&control).await?,
        targets::statuses(&control).await?,
        &hooks,
        attention,
        store,
        control.engine.cluster_status().await?.map(leader::convert),
    )))
}

pub(in crate::control) fn convert(
    started_at: Timestamp,
    directories: Vec<api::DirectoryStatus>,
    targets: Vec<api::TargetStatus>,
    hooks: &[HookStatus],
    attention: Option<String>,
    store: api::StoreStatus,
    cluster: Option<api::Cluster>,
) -> api::Status {
    let (removed, hooks): (Vec<_>, Vec<_>) =
        hooks.iter().partition(|hook| hook.kept_until.is_some());
    let count = |of: fn(&DeliveryStatus) -> u64, hooks: &[&HookStatus]| {
        hooks.iter().map(|hook| of(&hook.deliveries)).sum()
    };
    let hooks = api::HookCounts {
        pending: count(|s| s.pending, &hooks),
        failed: count(|s| s.failed, &hooks),
        removed: count(|s| s.pending, &removed),
        attention: attention.into_iter().collect(),
    };
    api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: time(started_at),
        directories,
        targets,
        hooks,
        store,
        cluster,
    }
}
