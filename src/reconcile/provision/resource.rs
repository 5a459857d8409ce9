//! Resources as targets send them, read leniently.
//!
//! Attribute names have no case (RFC 7643, 2.1), and targets write numbers, `status` and `active` as
//! text. An unknown attribute is ignored, and an absent one is unknown.

use serde_json::{Map, Value};

use crate::model::RemoteId;

/// The schema of a user (RFC 7643, 4.1).
pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The enterprise extension of a user (RFC 7643, 4.3).
pub const ENTERPRISE_USER: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// A JSON object of a target: a resource, a list, an error or a document of the service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resource(pub Map<String, Value>);

impl Resource {
    /// Reads a body, which may begin with a byte-order mark. `None` if it is not a JSON object.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body = body.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(body);
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Some(Self(map)),
            _ => None,
        }
    }

    /// Returns the value of an attribute, whatever the case of its name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        find(&self.0, name)
    }

    /// Returns the text of an attribute. An empty text is absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// Returns the id, which some targets send as a number. URLs cannot name `.` and `..`.
    pub fn id(&self) -> Option<String> {
        text_of(self.get("id")?).filter(|id| id != "." && id != "..")
    }

    /// Returns whether this is the account of an id.
    pub fn is_of(&self, id: &RemoteId) -> bool {
        self.id().as_deref() == Some(id.0.as_str())
    }

    /// Returns the value of `active`; `None` if the target does not show it.
    pub fn active(&self) -> Option<bool> {
        boolean(self.get("active")?)
    }

    /// Returns a number, which may be written as text.
    pub fn number(&self, name: &str) -> Option<u64> {
        number(self.get(name)?)
    }

    /// Returns a flag of a nested object, such as `patch.supported`.
    pub fn flag(&self, object: &str, name: &str) -> Option<bool> {
        boolean(find(self.get(object)?.as_object()?, name)?)
    }

    /// Returns the resources of a list. A list without the attribute has none.
    pub fn resources(&self) -> Vec<Self> {
        let items = self.get("Resources").and_then(Value::as_array);
        let objects = items.into_iter().flatten().filter_map(Value::as_object);
        objects.cloned().map(Self).collect()
    }

    /// Returns whether this is a message of SCIM, by its schemas.
    pub fn is_scim(&self) -> bool {
        let schemas = self.get("schemas").and_then(Value::as_array);
        schemas
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|schema| schema.to_ascii_lowercase().starts_with("urn:ietf:params:scim:"))
    }

    /// Returns the ids of the members of a group.
    pub fn members(&self) -> Vec<String> {
        let items = self.get("members").and_then(Value::as_array);
        let id = |item: &Value| text_of(find(item.as_object()?, "value")?);
        items.into_iter().flatten().filter_map(id).collect()
    }

    /// Returns all addresses.
    pub fn emails(&self) -> Vec<&str> {
        let items = self.get("emails").and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .filter_map(|item| find(item.as_object()?, "value")?.as_str())
            .collect()
    }
}

/// Returns a member of an object, whatever the case of its name. The exact name comes first.
pub(super) fn find<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).or_else(|| {
        map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_u64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Returns a text, or a number or flag as text. An empty text is absent.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(value: &Value) -> Resource {
        Resource::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn active_is_read_in_every_form_and_unknown_otherwise() {
        for (value, active) in [
            (json!(true), Some(true)),
            (json!("True"), Some(true)),
            (json!("FALSE"), Some(false)),
            (json!(1), Some(true)),
            (json!("0"), Some(false)),
            (json!(null), None),
            (json!("yes"), None),
            (json!(2), None),
            (json!([]), None),
        ] {
            assert_eq!(resource(&json!({ "Active": value })).active(), active, "{value}");
        }
        assert_eq!(Resource::default().active(), None);
    }

    #[test]
    fn a_list_is_read_with_names_of_any_case_and_numbers_as_text() {
        let list =
            resource(&json!({ "totalresults": "2", "resources": [{ "ID": 7 }, 3, { "id": "x" }] }));
        assert_eq!(list.number("totalResults"), Some(2));
        let ids: Vec<_> = list.resources().iter().filter_map(Resource::id).collect();
        assert_eq!(ids, ["7", "x"]);
        assert!(resource(&json!({ "totalResults": 0 })).resources().is_empty());
    }

    #[test]
    fn a_body_is_json_whatever_its_type_and_a_login_page_is_not() {
        assert!(Resource::parse(b"\xef\xbb\xbf{\"id\":\"1\"}").is_some());
        for body in [&b"<html>please sign in</html>"[..], b"", b"[]", b"{\"id\":", b"\xff{}"] {
            assert_eq!(Resource::parse(body), None, "{}", String::from_utf8_lossy(body));
        }
    }
}
