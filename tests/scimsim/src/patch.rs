//! PATCH (RFC 7644, 3.5.2): all operations of a request, or none of them.

use serde_json::{Map, Value, json};

use crate::filter::Filter;
use crate::path::{Path, strip_core};
use crate::resource::{find, is_unassigned, key, remove, set};
use crate::schema::{CORE_USER, ENTERPRISE, definition, is_extension, is_read_only};

/// The `scimType` and the detail of a refusal.
pub(crate) type Refusal = (&'static str, String);

/// Applies the operations of a body.
pub(crate) fn apply(
    schema: &str,
    resource: &Map<String, Value>,
    body: &Map<String, Value>,
) -> Result<Map<String, Value>, Refusal> {
    let mut changed = resource.clone();
    let operations = find(body, "Operations").and_then(Value::as_array);
    let operations = operations.ok_or(("invalidSyntax", "no Operations".to_owned()))?;
    for operation in operations {
        let bad = |detail: &str| ("invalidSyntax", detail.to_owned());
        let operation = operation.as_object().ok_or_else(|| bad("an operation is no object"))?;
        let op = find(operation, "op").and_then(Value::as_str).ok_or_else(|| bad("no op"))?;
        let (path, value) = (find(operation, "path"), find(operation, "value"));
        let path = path.and_then(Value::as_str);
        match (op.to_ascii_lowercase().as_str(), path) {
            ("add" | "replace", None) => {
                let values = value.and_then(Value::as_object);
                let values = values.ok_or_else(|| bad("a value without a path is an object"))?;
                for (name, value) in values {
                    one(schema, &mut changed, op, name, Some(value))?;
                }
            }
            ("add" | "replace", Some(path)) if value.is_some() => {
                one(schema, &mut changed, op, path, value)?;
            }
            ("remove", Some(path)) => one(schema, &mut changed, op, path, value)?,
            ("remove", None) => return Err(("noTarget", "remove has no path".to_owned())),
            _ => return Err(bad("unknown op, or no value")),
        }
    }
    Ok(changed)
}

/// A path with a filter on the values of a list, and a sub-attribute behind it.
struct Target {
    path: Path,
    filter: Option<Filter>,
    sub: Option<String>,
}

fn target(text: &str) -> Option<Target> {
    let text = strip_core(text);
    let Some((before, rest)) = text.split_once('[') else {
        return Some(Target { path: Path::parse(text), filter: None, sub: None });
    };
    let (filter, after) = rest.rsplit_once(']')?;
    let sub = match after {
        "" => None,
        after => Some(after.strip_prefix('.')?.to_owned()),
    };
    Some(Target { path: Path::parse(before), filter: Some(Filter::parse(filter)?), sub })
}

fn one(
    schema: &str,
    resource: &mut Map<String, Value>,
    op: &str,
    path: &str,
    value: Option<&Value>,
) -> Result<(), Refusal> {
    let target = target(path).ok_or_else(|| ("invalidPath", format!("malformed path {path}")))?;
    let (owner, name) = match &target.path.steps[..] {
        [extension] if is_extension(extension) => (ENTERPRISE, None),
        [extension, name, ..] if is_extension(extension) => (ENTERPRISE, Some(name)),
        [name, ..] => (schema, Some(name)),
        [] => return Err(("invalidPath", "the path is empty".to_owned())),
    };
    if let Some(name) = name {
        let is_common = ["externalId", "schemas", "id", "meta"]
            .iter()
            .any(|common| common.eq_ignore_ascii_case(name));
        let known = definition(owner, name);
        if !is_common && known.is_none() {
            return Err(("invalidPath", format!("there is no attribute {path}")));
        }
        let is_required = known.as_ref().is_some_and(|a| a["required"] == true);
        let sub = target.path.steps.get(if owner == schema { 1 } else { 2 });
        let is_sub_read_only = known.as_ref().zip(sub).is_some_and(|(attribute, sub)| {
            attribute["subAttributes"].as_array().into_iter().flatten().any(|s| {
                s["mutability"] == "readOnly"
                    && s["name"].as_str().is_some_and(|its| its.eq_ignore_ascii_case(sub))
            })
        });
        if is_read_only(owner, name) || is_sub_read_only {
            return Err(("mutability", format!("{path} is read-only")));
        }
        let clears = op.eq_ignore_ascii_case("remove") || value.is_some_and(is_unassigned);
        if is_required && clears {
            return Err(("mutability", format!("{path} is required")));
        }
        if owner == ENTERPRISE && !clears && schema == CORE_USER {
            let schemas = resource.entry("schemas").or_insert_with(|| json!([]));
            if let Some(schemas) = schemas.as_array_mut()
                && !schemas.iter().any(|s| s == ENTERPRISE)
            {
                schemas.push(json!(ENTERPRISE));
            }
        }
        if let (Some(value), Some(attribute), None) = (value, &known, sub)
            && target.filter.is_none()
            && attribute["type"] == "boolean"
            && !value.is_boolean()
        {
            return Err(("invalidValue", format!("{path} is not boolean")));
        }
    }
    match &target.filter {
        None => whole(resource, op, &target.path, value),
        Some(filter) => filtered(resource, op, &target, filter, value, path),
    }
}

fn whole(
    resource: &mut Map<String, Value>,
    op: &str,
    path: &Path,
    value: Option<&Value>,
) -> Result<(), Refusal> {
    if op.eq_ignore_ascii_case("remove") || value.is_some_and(is_unassigned) {
        path.remove(resource);
        return Ok(());
    }
    let Some(value) = value else { return Ok(()) };
    // A path below a list means each of its values.
    if let [list, sub] = &path.steps[..]
        && let Some(name) = key(resource, list)
        && let Some(items) = resource.get_mut(&name).and_then(Value::as_array_mut)
    {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            set(item, sub, value.clone());
        }
        return Ok(());
    }
    let Some((parent, last)) = path.parent(resource, true) else {
        return Err(("invalidPath", "the path leads through a value".to_owned()));
    };
    let former = key(parent, &last).and_then(|name| parent.get_mut(&name));
    match (former, value) {
        (Some(Value::Array(items)), value) if op.eq_ignore_ascii_case("add") => {
            let new: Vec<Value> = match value {
                Value::Array(new) => new.clone(),
                one => vec![one.clone()],
            };
            let becomes_primary = |item: &Value| item["primary"] == true;
            if new.iter().any(becomes_primary) {
                items
                    .iter_mut()
                    .filter(|i| becomes_primary(i))
                    .for_each(|i| i["primary"] = json!(false));
            }
            for item in new {
                let is_same = |known: &Value| {
                    *known == item
                        || known.get("value").is_some_and(|v| {
                            Some(v) == item.get("value") && item.get("type") == known.get("type")
                        })
                };
                if !items.iter().any(is_same) {
                    items.push(item);
                }
            }
        }
        (Some(Value::Object(members)), Value::Object(new)) => {
            for (name, value) in new {
                if is_unassigned(value) {
                    remove(members, name);
                } else {
                    set(members, name, value.clone());
                }
            }
        }
        _ => set(parent, &last, value.clone()),
    }
    Ok(())
}

fn filtered(
    resource: &mut Map<String, Value>,
    op: &str,
    target: &Target,
    filter: &Filter,
    value: Option<&Value>,
    path: &str,
) -> Result<(), Refusal> {
    let no_target = || ("noTarget", format!("no value matches {path}"));
    let (parent, last) = target.path.parent(resource, false).ok_or_else(no_target)?;
    let name = key(parent, &last).ok_or_else(no_target)?;
    let items = parent.get_mut(&name).and_then(Value::as_array_mut).ok_or_else(no_target)?;
    let matches = |item: &Value| item.as_object().is_some_and(|item| filter.matches(item));
    if !items.iter().any(matches) {
        return Err(no_target());
    }
    let is_removal = op.eq_ignore_ascii_case("remove");
    if is_removal && target.sub.is_none() {
        items.retain(|item| !matches(item));
    } else {
        for item in items.iter_mut().filter(|item| matches(item)) {
            let Some(item) = item.as_object_mut() else { continue };
            match (&target.sub, value) {
                (Some(sub), _) if is_removal => drop(remove(item, sub)),
                (Some(sub), Some(value)) => set(item, sub, value.clone()),
                (None, Some(Value::Object(new))) => {
                    new.iter().for_each(|(name, value)| set(item, name, value.clone()));
                }
                _ => return Err(("invalidValue", "the value is no object".to_owned())),
            }
        }
    }
    if items.is_empty() {
        parent.remove(&name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(resource: &Value, operations: &Value) -> Result<Value, &'static str> {
        let body = json!({ "Operations": operations });
        apply(CORE_USER, resource.as_object().unwrap(), body.as_object().unwrap())
            .map(Value::from)
            .map_err(|(kind, _)| kind)
    }

    #[test]
    fn operations_change_values_lists_and_extensions_or_nothing() {
        let user = json!({ "userName": "a", "active": true, "schemas": [CORE_USER], "emails": [{ "value": "a@x", "type": "work" }] });
        let replaced = patched(
            &user,
            &json!([
                { "op": "replace", "path": "active", "value": false },
                { "op": "Replace", "path": "name.givenName", "value": "Anna" },
                { "op": "add", "path": "emails", "value": [{ "value": "b@x", "type": "home" }] },
                { "op": "replace", "path": "emails[type eq \"work\"].value", "value": "c@x" },
                { "op": "add", "path": format!("{ENTERPRISE}:department"), "value": "Sales" },
            ]),
        )
        .unwrap();
        assert_eq!(replaced["active"], json!(false));
        assert_eq!(replaced["name"]["givenName"], "Anna");
        assert_eq!(
            replaced["emails"],
            json!([{ "value": "c@x", "type": "work" }, { "value": "b@x", "type": "home" }])
        );
        assert_eq!(replaced[ENTERPRISE]["department"], "Sales");
        for (operations, kind) in [
            (
                json!([{ "op": "replace", "path": "active", "value": false }, { "op": "replace", "path": "emails[type eq \"home\"].value", "value": "x" }]),
                "noTarget",
            ),
            (json!([{ "op": "remove" }]), "noTarget"),
            (json!([{ "op": "remove", "path": "userName" }]), "mutability"),
            (json!([{ "op": "replace", "path": "groups", "value": [] }]), "mutability"),
            (json!([{ "op": "replace", "path": "nonsense", "value": 1 }]), "invalidPath"),
            (json!([{ "op": "replace", "path": "active", "value": "False" }]), "invalidValue"),
        ] {
            assert_eq!(patched(&user, &operations), Err(kind), "{operations}");
        }
    }
}
