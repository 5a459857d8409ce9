//! Changes of plans and runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::time::time;
use crate::control::api;
use crate::model::{
    Change, ChangeCounts, ChangeOutcome, HoldReason, Names, Tier, User, UserId, WrittenChange,
};
use crate::store::{Store, StoreError, cause_key};

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
        at,
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
        person: None,
        reason,
        evidence,
        held,
        before,
        after,
        outcome: Some(outcome),
        at: Some(time(at)),
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
        person: None,
        reason: change.reason(),
        evidence: json!(change.evidence()),
        held,
        before: change.before(),
        after: change.after(),
        outcome: None,
        at: None,
        key: None,
    }
}

/// Adds the people of the changes, so that an operator can review them by OU or department.
pub(in crate::control) async fn with_people(
    store: &Store,
    mut changes: Vec<api::Change>,
) -> Result<Vec<api::Change>, StoreError> {
    let ids: BTreeSet<UserId> = changes.iter().filter_map(|c| c.user_id.parse().ok()).collect();
    let users: BTreeMap<UserId, User> = store.users_by_id(&ids).await?;
    for change in &mut changes {
        let user = change.user_id.parse().ok().and_then(|id: UserId| users.get(&id));
        change.person = Some(person(&change.after, user));
    }
    Ok(changes)
}

/// Returns the person of a change. A joiner is described by the change, another one by its user.
fn person(after: &Value, user: Option<&User>) -> api::ChangedPerson {
    let profile = user.map(|user| &user.profile);
    let joined = |field: &str| after["profile"][field].as_str().map(str::to_owned);
    let link = user.and_then(|user| user.link.as_ref());
    api::ChangedPerson {
        dn: after["dn"].as_str().map(str::to_owned).or_else(|| Some(link?.dn.to_string())),
        department: joined("department").or_else(|| profile?.department.clone()),
        manager: joined("manager").or_else(|| profile?.manager.clone()),
        note: user.and_then(|user| Some(user.note.as_ref()?.text.to_string())),
        tier: after["tier"].as_str().and_then(Tier::parse).or(user.map(|user| user.tier)),
    }
}
