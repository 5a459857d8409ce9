//! The resources of the API: one file for each noun, with its rows of the route table.

pub mod accounts;
pub mod backup;
pub mod callers;
pub mod changes;
pub mod contacts;
pub mod directories;
pub mod domains;
pub mod events;
pub mod explain;
pub mod held;
pub mod hooks;
pub mod invitations;
pub mod leader;
pub mod metrics;
pub mod plans;
pub mod quarantine;
pub mod reload;
pub mod request;
pub mod runs;
pub mod sign_ins;
pub mod status;
pub mod targets;
pub mod time;
pub mod undo;
pub mod users;

use super::operation::Operation;

/// Returns the rows of all resources.
pub(super) fn operations() -> Vec<Operation> {
    [
        accounts::operations,
        backup::operations,
        callers::operations,
        contacts::operations,
        directories::operations,
        domains::operations,
        events::operations,
        explain::operations,
        held::operations,
        hooks::operations,
        invitations::operations,
        leader::operations,
        metrics::operations,
        plans::operations,
        quarantine::operations,
        reload::operations,
        runs::operations,
        sign_ins::operations,
        status::operations,
        targets::operations,
        undo::operations,
        users::operations,
    ]
    .into_iter()
    .flat_map(|rows: fn() -> Vec<Operation>| rows())
    .collect()
}
