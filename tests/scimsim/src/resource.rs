//! Resources as JSON objects, whose names have no case (RFC 7643, 2.1).

use serde_json::{Map, Value};

/// Returns a member, whatever the case of its name.
pub fn find<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let key = key(map, name)?;
    map.get(&key)
}

/// Returns the spelling of a name in a map.
pub(crate) fn key(map: &Map<String, Value>, name: &str) -> Option<String> {
    map.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}

/// Sets a member under the spelling that the map has already.
pub(crate) fn set(map: &mut Map<String, Value>, name: &str, value: Value) {
    let key = key(map, name).unwrap_or_else(|| name.to_owned());
    map.insert(key, value);
}

pub(crate) fn remove(map: &mut Map<String, Value>, name: &str) -> Option<Value> {
    map.remove(&key(map, name)?)
}

/// Returns whether a value is true in any of the forms that clients send.
pub fn is_true(value: &Value) -> bool {
    value
        .as_bool()
        .unwrap_or_else(|| value.as_str().is_some_and(|v| v.eq_ignore_ascii_case("true")))
}

/// Returns whether a value counts as unassigned (RFC 7643, 2.5).
pub(crate) fn is_unassigned(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
