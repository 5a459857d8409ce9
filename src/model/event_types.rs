//! The types of events.

use crate::model::nearest;

/// All types of events.
pub const EVENT_TYPES: [&str; 83] = [
    "account.created",
    "account.renamed",
    "account.converted",
    "account.deleted",
    "account.policy_changed",
    "domain.claimed",
    "domain.verified",
    "domain.lapsed",
    "domain.released",
    "user.created",
    "user.updated",
    "user.suspended",
    "user.suspension_scheduled",
    "user.suspension_cancelled",
    "user.noted",
    "user.reactivated",
    "user.tier_changed",
    "user.linked",
    "user.transferred",
    "user.moved",
    "user.released",
    "user.invited",
    "user.registered",
    "user.removed",
    "user.quarantined",
    "run.requested",
    "run.succeeded",
    "run.failed",
    "run.held",
    "run.cancelled",
    "run.undone",
    "plan.approval_given",
    "plan.approved",
    "plan.rejected",
    "plan.reopened",
    "plan.expiring",
    "plan.expired",
    "directory.unreachable",
    "directory.recovered",
    "directory.stale",
    "directory.attention",
    "directory.paused",
    "directory.resumed",
    "directory.unlocked",
    "directory.server_trusted",
    "directory.rebaselined",
    "directory.renamed",
    "provision.created",
    "provision.updated",
    "provision.deactivated",
    "provision.reactivated",
    "provision.deleted",
    "provision.adopted",
    "provision.drifted",
    "provision.quarantined",
    "target.unreachable",
    "target.recovered",
    "target.unauthorized",
    "target.foreign",
    "target.synced",
    "target.pushed",
    "target.adopted",
    "target.disowned",
    "target.paused",
    "target.resumed",
    "target.unlocked",
    "target.forgotten",
    "hook.dead_lettered",
    "sign_in.refused",
    "hook.tested",
    "hook.redelivered",
    "hook.replayed",
    "store.backed_up",
    "store.rewound",
    "store.loss_accepted",
    "cluster.led",
    "cluster.step_down",
    "cluster.taken",
    "cluster.node_forgotten",
    "configuration.reloaded",
    "operation.requested",
    "log.keyed",
    "digest.daily",
];

/// Checks the selection of event types: a type, a family such as `user.*`, or `*`. An error is a
/// sentence with a remedy.
pub fn event_types(text: &str) -> Result<(), String> {
    let family = |kind: &'static str| kind.split_once('.').map_or(kind, |(family, _)| family);
    let is_known = match text.strip_suffix(".*") {
        Some(wanted) => EVENT_TYPES.iter().any(|kind| family(kind) == wanted),
        None => text == "*" || EVENT_TYPES.contains(&text),
    };
    if is_known {
        return Ok(());
    }
    Err(match nearest(text, EVENT_TYPES.into_iter()) {
        Some(kind) => format!("there is no event \"{text}\": did you mean {kind}?"),
        None => format!(
            "there is no event \"{text}\": write a type such as user.suspended, a family such as user.*, or *"
        ),
    })
}
