//! Attribute paths: `name`, `name.sub`, `urn:…:name`, and the name of an extension alone.

use serde_json::{Map, Value};

use crate::resource::{find, key, remove, set};
use crate::schema::{CORE_USER, GROUP, is_extension};

/// A parsed path without a filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    /// The members from the resource to the attribute: the extension, the attribute, its sub.
    pub(crate) steps: Vec<String>,
}

impl Path {
    pub(crate) fn parse(text: &str) -> Self {
        let text = strip_core(text);
        let (extension, rest) = match split_extension(text) {
            Some((extension, rest)) => (Some(extension.to_owned()), rest),
            None => (None, text),
        };
        let names = rest.split('.').filter(|name| !name.is_empty()).map(str::to_owned);
        Self { steps: extension.into_iter().chain(names).collect() }
    }

    /// Returns all values at the path. Lists on the way give the values of all their items.
    pub(crate) fn values<'a>(&self, resource: &'a Map<String, Value>) -> Vec<&'a Value> {
        let mut found = vec![];
        let Some((first, rest)) = self.steps.split_first() else { return found };
        found.extend(find(resource, first));
        for step in rest {
            let items = found.into_iter().flat_map(|value| match value {
                Value::Array(items) => items.iter().collect(),
                other => vec![other],
            });
            found = items.filter_map(|item| find(item.as_object()?, step)).collect();
        }
        found
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(items) => items.iter().collect(),
                other => vec![other],
            })
            .collect()
    }

    /// Returns the object that has the last member, created on request.
    pub(crate) fn parent<'a>(
        &self,
        resource: &'a mut Map<String, Value>,
        create: bool,
    ) -> Option<(&'a mut Map<String, Value>, String)> {
        let (last, rest) = self.steps.split_last()?;
        let mut object = resource;
        for step in rest {
            if key(object, step).is_none() {
                if !create {
                    return None;
                }
                set(object, step, Value::Object(Map::new()));
            }
            let name = key(object, step)?;
            object = object.get_mut(&name)?.as_object_mut()?;
        }
        Some((object, last.clone()))
    }

    pub(crate) fn remove(&self, resource: &mut Map<String, Value>) {
        if let Some((parent, last)) = self.parent(resource, false) {
            remove(parent, &last);
        }
    }
}

/// Removes the name of a core schema.
pub(crate) fn strip_core(text: &str) -> &str {
    for core in [CORE_USER, GROUP] {
        if let Some(rest) = text.get(core.len()..)
            && text[..core.len()].eq_ignore_ascii_case(core)
            && let Some(rest) = rest.strip_prefix(':')
        {
            return rest;
        }
    }
    text
}

/// Splits the name of an extension from the rest, which may be empty.
fn split_extension(text: &str) -> Option<(&str, &str)> {
    if !text.to_ascii_lowercase().starts_with("urn:") {
        return None;
    }
    if is_extension(text) {
        return Some((text, ""));
    }
    let (extension, rest) = text.rsplit_once(':')?;
    Some((extension, rest))
}
