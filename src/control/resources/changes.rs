//! Changes of plans and runs.

use serde_json::json;

use crate::control::api;
use crate::model::{Change, ChangeCounts, ChangeOutcome, HoldReason, Names, WrittenChange};
use crate::store::cause_key;

pub(in crate::control) fn counts(counts: ChangeCounts) -> api::Changes {
    let ChangeCounts { create, update, suspend, reactivate, tier, link, release } = counts;
    api::Changes { create, update, suspend, reactivate, tier, link, release }
}

/// A change that a run or a held plan has stored.
pub(in crate::control) fn stored(change: WrittenChange) -> api::Change {
    let WrittenChange {
        user,
        guid,
        email,
        names: Names { display_name, sam_account_name, user_principal_name },
        kind,
        class: counted,
        reason,
        before,
        after,
        evidence,
        cluster,
        hold: held,
        outcome,
        at: _,
    } = change;
    let key =
        (outcome == ChangeOutcome::Held).then(|| cause_key(counted, reason, cluster.as_deref()));
    api::Change {
        kind,
        class: counted,
        user_id: user.to_string(),
        email,
        display_name,
        sam_account_name,
        user_principal_name,
        object_guid: guid.map(|g| g.to_string()),
        reason,
        evidence,
        held,
        before,
        after,
        outcome: Some(outcome),
        key,
    }
}

pub(in crate::control) fn planned(change: &Change, held: Option<HoldReason>) -> api::Change {
    let Names { display_name, sam_account_name, user_principal_name } = change.names.clone();
    api::Change {
        kind: change.kind.verb(),
        class: change.class,
        user_id: change.user.to_string(),
        email: change.email.as_ref().map(|e| e.as_str().to_owned()),
        display_name,
        sam_account_name,
        user_principal_name,
        object_guid: change.guid.map(|g| g.to_string()),
        reason: change.reason(),
        evidence: json!(change.evidence()),
        held,
        before: change.before(),
        after: change.after(),
        outcome: None,
        key: None,
    }
}
