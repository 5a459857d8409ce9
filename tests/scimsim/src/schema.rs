//! The schemas of RFC 7643, as one table from which the documents are made.

use serde_json::{Map, Value, json};

use crate::resource::{find, is_unassigned, key};

pub(crate) const CORE_USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(crate) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
pub(crate) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// One attribute a line: name, type and letters; sub-attributes are indented. M: several values,
/// R: required, X: exact case, U: unique, r: read-only, w: write-only, i: immutable.
const USER_ATTRIBUTES: &str = "\
userName string RU
name complex
  formatted string
  familyName string
  givenName string
  middleName string
  honorificPrefix string
  honorificSuffix string
displayName string
nickName string
profileUrl reference X
title string
userType string
preferredLanguage string
locale string
timezone string
active boolean
password string w
emails complex M
  value string
  display string
  type string
  primary boolean
phoneNumbers complex M
  value string
  display string
  type string
  primary boolean
ims complex M
  value string
  display string
  type string
  primary boolean
photos complex M
  value reference X
  display string
  type string
  primary boolean
addresses complex M
  formatted string
  streetAddress string
  locality string
  region string
  postalCode string
  country string
  type string
  primary boolean
groups complex Mr
  value string r
  $ref reference Xr
  display string r
  type string r
entitlements complex M
  value string
  display string
  type string
  primary boolean
roles complex M
  value string
  display string
  type string
  primary boolean
x509Certificates complex M
  value binary X
  display string
  type string
  primary boolean
";

const ENTERPRISE_ATTRIBUTES: &str = "\
employeeNumber string
costCenter string
organization string
division string
department string
manager complex
  value string
  $ref reference X
  displayName string r
";

const GROUP_ATTRIBUTES: &str = "\
displayName string R
members complex M
  value string i
  $ref reference Xi
  type string i
";

/// Attributes of every resource that only the server sets.
const COMMON_READ_ONLY: [&str; 2] = ["id", "meta"];

pub(crate) fn is_extension(text: &str) -> bool {
    text.eq_ignore_ascii_case(ENTERPRISE)
}

fn table(schema: &str) -> &'static str {
    match schema {
        CORE_USER => USER_ATTRIBUTES,
        GROUP => GROUP_ATTRIBUTES,
        _ => ENTERPRISE_ATTRIBUTES,
    }
}

fn attribute(line: &str) -> Value {
    let mut words = line.split_whitespace();
    let (name, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let letters = words.next().unwrap_or_default();
    let mutability = match letters {
        l if l.contains('r') => "readOnly",
        l if l.contains('w') => "writeOnly",
        l if l.contains('i') => "immutable",
        _ => "readWrite",
    };
    let mut attribute = json!({
        "name": name, "type": kind, "description": name,
        "multiValued": letters.contains('M'), "required": letters.contains('R'),
        "caseExact": letters.contains('X'), "mutability": mutability,
        "returned": if mutability == "writeOnly" { "never" } else { "default" },
        "uniqueness": if letters.contains('U') { "server" } else { "none" },
    });
    if kind == "reference" {
        attribute["referenceTypes"] = json!(["external"]);
    }
    attribute
}

/// Returns the attributes of a schema, with sub-attributes in their attribute.
pub(crate) fn attributes(schema: &str) -> Vec<Value> {
    let mut attributes: Vec<Value> = Vec::new();
    for line in table(schema).lines() {
        match (line.starts_with(' '), attributes.last_mut()) {
            (true, Some(parent)) => {
                if parent.get("subAttributes").is_none() {
                    parent["subAttributes"] = json!([]);
                }
                if let Some(subs) = parent["subAttributes"].as_array_mut() {
                    subs.push(attribute(line));
                }
            }
            _ => attributes.push(attribute(line)),
        }
    }
    attributes
}

/// Returns the document of a schema.
pub(crate) fn document(schema: &str, base: &str) -> Value {
    let name = match schema {
        CORE_USER => "User",
        GROUP => "Group",
        _ => "EnterpriseUser",
    };
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
        "id": schema, "name": name, "description": name, "attributes": attributes(schema),
        "meta": { "resourceType": "Schema", "location": format!("{base}/Schemas/{schema}") },
    })
}

/// Returns the document of a resource type.
pub(crate) fn resource_type(name: &str, base: &str) -> Value {
    let (schema, extensions) = match name {
        "User" => (CORE_USER, json!([{ "schema": ENTERPRISE, "required": false }])),
        _ => (GROUP, json!([])),
    };
    let mut document = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": name, "name": name, "description": name, "endpoint": format!("/{name}s"), "schema": schema,
        "meta": { "resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{name}") },
    });
    if extensions.as_array().is_some_and(|e| !e.is_empty()) {
        document["schemaExtensions"] = extensions;
    }
    document
}

/// Returns whether comparisons of an attribute respect the case.
pub(crate) fn is_case_exact(name: &str) -> bool {
    name.eq_ignore_ascii_case("id") || name.eq_ignore_ascii_case("externalId")
}

/// Returns the letters of an attribute of a core schema or of the extension.
pub(crate) fn definition(schema: &str, name: &str) -> Option<Value> {
    attributes(schema)
        .into_iter()
        .find(|a| a["name"].as_str().is_some_and(|its| its.eq_ignore_ascii_case(name)))
}

pub(crate) fn is_read_only(schema: &str, name: &str) -> bool {
    COMMON_READ_ONLY.iter().any(|common| common.eq_ignore_ascii_case(name))
        || definition(schema, name).is_some_and(|a| a["mutability"] == "readOnly")
}

/// Takes a resource of a client: unknown, read-only and unassigned attributes are left out.
pub(crate) fn accepted(
    schema: &str,
    sent: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let mut taken = cleaned(schema, sent)?;
    if let Some(external) = find(sent, "externalId").filter(|v| !is_unassigned(v)) {
        taken.insert("externalId".to_owned(), external.clone());
    }
    let mut schemas = vec![schema];
    if schema == CORE_USER
        && let Some(extension) = find(sent, ENTERPRISE).and_then(Value::as_object)
    {
        let extension = cleaned(ENTERPRISE, extension)?;
        if !extension.is_empty() {
            schemas.push(ENTERPRISE);
            taken.insert(ENTERPRISE.to_owned(), extension.into());
        }
    }
    taken.insert("schemas".to_owned(), json!(schemas));
    for attribute in attributes(schema) {
        let name = attribute["name"].as_str().unwrap_or_default();
        let is_missing = find(&taken, name).and_then(Value::as_str).is_none_or(str::is_empty);
        if attribute["required"] == true && is_missing {
            return Err(format!("{name} is required"));
        }
    }
    Ok(taken)
}

fn cleaned(schema: &str, sent: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut taken = Map::new();
    for attribute in attributes(schema) {
        let name = attribute["name"].as_str().unwrap_or_default();
        let Some(value) = find(sent, name).filter(|value| !is_unassigned(value)) else { continue };
        if attribute["mutability"] == "readOnly" {
            continue;
        }
        let kind = attribute["type"].as_str().unwrap_or_default();
        let is_many = attribute["multiValued"] == true;
        let items: Vec<&Value> = match value {
            Value::Array(items) if is_many => items.iter().collect(),
            Value::Array(_) => return Err(format!("{name} has one value")),
            other => vec![other],
        };
        let fits = |item: &&Value| match kind {
            "complex" => item.is_object(),
            "boolean" => item.is_boolean(),
            _ => item.is_string(),
        };
        if !items.iter().all(fits) {
            return Err(format!("{name} is not {kind}"));
        }
        taken.insert(name.to_owned(), value.clone());
    }
    Ok(taken)
}

/// Returns a resource as a client asked for it (RFC 7644, 3.9).
pub(crate) fn shown(resource: &Map<String, Value>, only: &[String], without: &[String]) -> Value {
    use crate::path::Path;
    let mut shown = resource.clone();
    if let Some(password) = key(&shown, "password") {
        shown.remove(&password);
    }
    if !only.is_empty() {
        let mut part = Map::new();
        for name in ["schemas", "id"] {
            part.extend(shown.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        for path in only.iter().map(|name| Path::parse(name)) {
            copy(&path.steps, &shown, &mut part);
        }
        return part.into();
    }
    for name in without.iter().filter(|name| !["id", "schemas"].contains(&name.as_str())) {
        Path::parse(name).remove(&mut shown);
    }
    shown.into()
}

fn copy(steps: &[String], from: &Map<String, Value>, to: &mut Map<String, Value>) {
    let Some((first, rest)) = steps.split_first() else { return };
    let Some(name) = key(from, first) else { return };
    match (&from[&name], rest) {
        (Value::Object(inner), [_, ..]) => {
            let entry = to.entry(name).or_insert_with(|| json!({}));
            if let Some(entry) = entry.as_object_mut() {
                copy(rest, inner, entry);
            }
        }
        (Value::Array(items), [_, ..]) => {
            let part = |item: &Value| {
                let mut part = Map::new();
                if let Some(item) = item.as_object() {
                    copy(rest, item, &mut part);
                }
                Value::from(part)
            };
            to.insert(name.clone(), items.iter().map(part).collect());
        }
        (value, _) => drop(to.insert(name.clone(), value.clone())),
    }
}
