//! The schema: attributes and matching rules that the configuration names have to exist.

use std::collections::BTreeSet;

use crate::directory::{DirectoryError, Session, Settings};
use crate::engine::sync::observe::connection::Connection;
use crate::model::unknown_rule;

/// The attributes that the configuration names, compared with the schema.
#[derive(Debug, Default)]
pub(super) struct NamedAttributes {
    /// Why the configuration cannot work.
    pub problem: Option<String>,
    /// Link attributes. AD clears such a value by itself when the object that it names is deleted.
    pub links: BTreeSet<String>,
}

/// Checks the attributes and matching rules that the configuration names, because a filter with an
/// unknown one matches no entry. When the schema does not answer, the check is skipped.
pub(super) async fn check_names(
    connection: &mut Connection,
    warnings: &mut Vec<String>,
) -> NamedAttributes {
    let Connection { session, settings, .. } = connection;
    let limit = settings.timeouts.run / 10;
    match tokio::time::timeout(limit, ask_schema(session, settings)).await {
        Ok(Ok(names)) => names,
        Ok(Err(error)) => {
            warnings.push(format!("the schema could not be asked for the attributes that the configuration names: {error}"));
            NamedAttributes::default()
        }
        Err(_) => {
            session.close();
            warnings.push("the schema did not answer in time: attributes that the configuration names were not checked".to_owned());
            NamedAttributes::default()
        }
    }
}

async fn ask_schema(
    session: &mut Session,
    settings: &Settings,
) -> Result<NamedAttributes, DirectoryError> {
    let mut names = NamedAttributes::default();
    let rules = settings.filter.iter().flat_map(|(_, filter)| filter.unknown_rules());
    names.problem = rules
        .map(|rule| format!("{}: check filter in the configuration", unknown_rule(rule)))
        .next();
    let named = settings.named_attributes();
    for (_, key, attributes) in named.into_iter().filter(|(_, _, names)| !names.is_empty()) {
        let Some(schema) = session.schema_of(attributes.iter().map(String::as_str)).await? else {
            continue;
        };
        if !schema.unknown.is_empty() {
            let unknown = schema.unknown.into_iter().collect::<Vec<_>>().join(", ");
            names.problem.get_or_insert(format!(
                "AD has no attribute {unknown}: check {key} in the configuration"
            ));
        }
        names.links.extend(schema.links);
    }
    Ok(names)
}
