//! The operations on quarantined entries.

use axum::Json;
use axum::extract::{Query, State};

use super::request::{Answer, PageQuery, Shared};
use super::time::time;
use crate::control::api;
use crate::control::operation::{Operation, read};
use crate::store::Quarantined;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/quarantine", list, "List quarantined entries")
            .with_query::<PageQuery>()
            .answers::<api::Quarantine>("The entries, each with its remedy"),
    ]
}

async fn list(State(control): Shared, Query(page): Query<PageQuery>) -> Answer<api::Quarantine> {
    let entries = control.engine.store.quarantine().await?;
    let key = |entry: &Quarantined| format!("{}:{}", entry.directory, entry.person);
    let (entries, next) = page.of(entries, key)?;
    Ok(Json(api::Quarantine { quarantined: entries.into_iter().map(convert).collect(), next }))
}

pub(in crate::control) fn convert(entry: Quarantined) -> api::QuarantinedEntry {
    let Quarantined { directory, person, dn, reason, since, user } = entry;
    api::QuarantinedEntry {
        directory: directory.to_string(),
        object_guid: person.to_string(),
        dn: dn.as_str().to_owned(),
        reason,
        since: since.map(time),
        user: user.map(|id| id.to_string()),
        remedy: reason.remedy().to_owned(),
    }
}
