//! The service: from a method, a path, a query and a body to an answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::fault::{Manners, Paging};
use crate::filter::Filter;
use crate::patch;
use crate::resource::{find, key, remove, set};
use crate::schema::{CORE_USER, ENTERPRISE, GROUP, accepted, document, resource_type, shown};

type Resource = Map<String, Value>;

/// The resources and manners of a service.
#[derive(Debug, Default)]
pub(crate) struct Service {
    pub(crate) base: String,
    pub(crate) manners: Manners,
    /// Users and groups by the number of their creation.
    users: BTreeMap<u64, Resource>,
    groups: BTreeMap<u64, Resource>,
    /// Rises with each write, and is the time of the service.
    writes: u64,
}

/// A request, with its query decoded.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    /// Below the base, decoded, without a slash at its beginning.
    pub(crate) path: Vec<String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: &'a [u8],
}

fn names(text: Option<&String>) -> Vec<String> {
    text.map(|text| text.split(',').map(|name| name.trim().to_owned()).collect())
        .unwrap_or_default()
}

impl Service {
    pub(crate) fn answer(&mut self, call: &Call<'_>) -> Answer {
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        match (call.method, &path[..]) {
            ("GET", ["ServiceProviderConfig" | "Schemas" | "ResourceTypes", ..])
                if self.manners.no_discovery =>
            {
                Answer::missing("the document")
            }
            ("GET", ["ServiceProviderConfig"]) => Answer::ok(self.config()),
            ("GET", ["Schemas", rest @ ..]) => {
                let all = [CORE_USER, ENTERPRISE, GROUP].map(|s| document(s, &self.base));
                discovered(rest, &all, &call.query)
            }
            ("GET", ["ResourceTypes", rest @ ..]) => {
                let all = ["User", "Group"].map(|name| resource_type(name, &self.base));
                discovered(rest, &all, &call.query)
            }
            ("POST", [".search"]) => self.search(None, call),
            ("POST", [kind @ ("Users" | "Groups"), ".search"]) => self.search(Some(kind), call),
            ("GET", []) => self.list(None, &call.query),
            ("GET", [kind @ ("Users" | "Groups")]) => self.list(Some(kind), &call.query),
            ("POST", [kind @ ("Users" | "Groups")]) => self.create(kind, call),
            ("GET" | "PUT" | "PATCH" | "DELETE", [kind @ ("Users" | "Groups"), id]) => {
                match self.number(kind, id) {
                    Some(number) => self.one(kind, number, call),
                    None => Answer::missing(&format!("resource {id}")),
                }
            }
            (
                _,
                ["Users" | "Groups" | "Schemas" | "ResourceTypes" | "ServiceProviderConfig", ..],
            ) => Answer::error(405, "", "the method is not supported here"),
            (_, ["Me" | "Bulk", ..]) => Answer::error(501, "", "not supported"),
            _ => Answer::missing("the endpoint"),
        }
    }

    fn config(&self) -> Value {
        let is_cursor = self.manners.paging.is_cursor();
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
            "patch": { "supported": true },
            "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
            "filter": { "supported": true, "maxResults": self.manners.page },
            "changePassword": { "supported": false },
            "sort": { "supported": false },
            "etag": { "supported": false },
            "pagination": {
                "cursor": is_cursor, "index": !is_cursor,
                "defaultPaginationMethod": if is_cursor { "cursor" } else { "index" },
                "defaultPageSize": self.manners.page, "maxPageSize": self.manners.page,
            },
            "authenticationSchemes": [{
                "type": "oauthbearertoken", "name": "Bearer token", "description": "RFC 6750",
            }],
            "meta": {
                "resourceType": "ServiceProviderConfig",
                "location": format!("{}/ServiceProviderConfig", self.base),
            },
        })
    }

    fn all(&mut self, kind: &str) -> &mut BTreeMap<u64, Resource> {
        if kind == "Users" { &mut self.users } else { &mut self.groups }
    }

    fn number(&mut self, kind: &str, id: &str) -> Option<u64> {
        self.all(kind)
            .iter()
            .find(|(_, r)| r.get("id").is_some_and(|its| its == id))
            .map(|(n, _)| *n)
    }

    /// Adds a user; returns its id.
    pub(crate) fn add_user(&mut self, resource: Resource) -> String {
        let mut taken = resource;
        taken.entry("schemas").or_insert_with(|| json!([CORE_USER]));
        self.store("Users", None, taken)["id"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn users(&self) -> Vec<Value> {
        self.users.values().cloned().map(Value::from).collect()
    }

    pub(crate) fn groups(&self) -> Vec<Value> {
        self.groups.values().cloned().map(Value::from).collect()
    }

    pub(crate) fn add_group(&mut self, resource: Resource) -> String {
        let mut taken = resource;
        taken.entry("schemas").or_insert_with(|| json!([GROUP]));
        self.store("Groups", None, taken)["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Adds a member to each group of a name, as another client would.
    pub(crate) fn join(&mut self, group: &str, member: &str) {
        for group in self.groups.values_mut().filter(|g| g["displayName"] == group) {
            let members = group.entry("members").or_insert_with(|| json!([]));
            members.as_array_mut().into_iter().for_each(|m| m.push(json!({ "value": member })));
        }
    }

    pub(crate) fn change_user(&mut self, id: &str, change: impl FnOnce(&mut Resource)) {
        if let Some(number) = self.number("Users", id)
            && let Some(user) = self.users.get_mut(&number)
        {
            change(user);
        }
    }

    pub(crate) fn delete_user(&mut self, id: &str) {
        if let Some(number) = self.number("Users", id) {
            self.delete("Users", number);
        }
    }

    /// Writes a resource; returns it with its id and meta.
    fn store(&mut self, kind: &str, number: Option<u64>, mut resource: Resource) -> Value {
        self.writes += 1;
        let former = number.and_then(|number| self.all(kind).get(&number).cloned());
        let number = number.unwrap_or(self.writes);
        // An id of the client, of a test, is kept.
        let id = former
            .as_ref()
            .and_then(|former| former.get("id").cloned())
            .or_else(|| resource.get("id").cloned())
            .unwrap_or_else(|| json!(format!("{number:08x}-{}", kind.to_ascii_lowercase())));
        let now = format!(
            "2026-01-01T{:02}:{:02}:{:02}Z",
            self.writes / 3600 % 24,
            self.writes / 60 % 60,
            self.writes % 60
        );
        let created = former.and_then(|f| Some(f.get("meta")?["created"].clone()));
        let encoded: String =
            id.as_str().unwrap_or_default().bytes().fold(String::new(), |url, b| {
                if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                    url + &char::from(b).to_string()
                } else {
                    url + &format!("%{b:02X}")
                }
            });
        resource.insert(
            "meta".to_owned(),
            json!({
                "resourceType": kind.trim_end_matches('s'),
                "created": created.unwrap_or_else(|| json!(now)), "lastModified": now,
                "location": self.location(kind, &encoded, &resource),
            }),
        );
        resource.insert("id".to_owned(), id);
        if self.manners.normalises && kind == "Users" {
            normalise(&mut resource);
        }
        if kind == "Groups" {
            self.complete_members(&mut resource);
        }
        self.all(kind).insert(number, resource.clone());
        resource.into()
    }

    fn location(&self, kind: &str, encoded: &str, resource: &Resource) -> String {
        let name = find(resource, "userName").and_then(Value::as_str).unwrap_or_default();
        match self.manners.location {
            "" => format!("{}/{kind}/{encoded}", self.base),
            template => template.replace("{id}", encoded).replace("{name}", name),
        }
    }

    fn complete_members(&self, group: &mut Resource) {
        let base = self.base.clone();
        let Some(members) = key(group, "members").and_then(|k| group.get_mut(&k)) else { return };
        for member in members.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
        {
            let id = find(member, "value").and_then(Value::as_str).unwrap_or_default().to_owned();
            let is_group = self.groups.values().any(|g| g.get("id").is_some_and(|its| *its == id));
            let kind = if is_group { "Group" } else { "User" };
            member.entry("$ref").or_insert_with(|| json!(format!("{base}/{kind}s/{id}")));
            member.entry("type").or_insert_with(|| json!(kind));
        }
    }

    /// Returns a resource as it is shown.
    fn view(&self, kind: &str, resource: &Resource, query: &BTreeMap<String, String>) -> Value {
        let mut seen = resource.clone();
        if kind == "Users" {
            if self.manners.hides_active {
                remove(&mut seen, "active");
            }
            let id = resource.get("id");
            let of = self.groups.values().filter(|group| {
                let members = find(group, "members").and_then(Value::as_array);
                members.into_iter().flatten().any(|m| m.get("value") == id)
            });
            let groups: Vec<Value> = of
                .map(|group| json!({
                    "value": group["id"], "display": group["displayName"], "type": "direct",
                    "$ref": format!("{}/Groups/{}", self.base, group["id"].as_str().unwrap_or_default()),
                }))
                .collect();
            if !groups.is_empty() {
                seen.insert("groups".to_owned(), groups.into());
            }
        }
        shown(&seen, &names(query.get("attributes")), &names(query.get("excludedAttributes")))
    }

    fn create(&mut self, kind: &str, call: &Call<'_>) -> Answer {
        let schema = if kind == "Users" { CORE_USER } else { GROUP };
        let Some(sent) = object(call.body) else {
            return Answer::error(400, "invalidSyntax", "the body is no object");
        };
        let mut taken = match accepted(schema, &sent) {
            Ok(taken) => taken,
            Err(detail) => return Answer::error(400, "invalidValue", &detail),
        };
        if kind == "Users" {
            if self.is_taken(&taken, None) {
                return Answer::error(409, "uniqueness", "userName is taken");
            }
            taken.entry("active").or_insert(json!(true));
        }
        let stored = self.store(kind, None, taken);
        if self.manners.create_has_no_body {
            return Answer::empty(201);
        }
        let stored = stored.as_object().cloned().unwrap_or_default();
        Answer::created(self.view(kind, &stored, &call.query))
    }

    fn is_taken(&self, user: &Resource, number: Option<u64>) -> bool {
        let name =
            |user: &Resource| find(user, "userName").and_then(Value::as_str).map(str::to_lowercase);
        !self.manners.no_uniqueness
            && self.users.iter().any(|(n, other)| Some(*n) != number && name(other) == name(user))
    }

    fn one(&mut self, kind: &str, number: u64, call: &Call<'_>) -> Answer {
        let Some(former) = self.all(kind).get(&number).cloned() else {
            return Answer::missing("resource");
        };
        let schema = if kind == "Users" { CORE_USER } else { GROUP };
        let mut changed = match call.method {
            "GET" => return Answer::ok(self.view(kind, &former, &call.query)),
            "DELETE" => {
                if self.manners.delete_deactivates && kind == "Users" {
                    self.change_user_number(number, |user| set(user, "active", json!(false)));
                } else {
                    self.delete(kind, number);
                }
                return Answer::empty(204);
            }
            _ if object(call.body).is_none() => {
                return Answer::error(400, "invalidSyntax", "the body is no object");
            }
            "PUT" => match accepted(schema, &object(call.body).unwrap_or_default()) {
                Ok(taken) => taken,
                Err(detail) => return Answer::error(400, "invalidValue", &detail),
            },
            _ if self.manners.no_patch => return Answer::error(501, "", "no PATCH"),
            _ => {
                let body = object(call.body).unwrap_or_default();
                let count = find(&body, "Operations").and_then(Value::as_array).map_or(0, Vec::len);
                if self.manners.one_operation && count > 1 {
                    return Answer::error(400, "invalidValue", "one operation in a request");
                }
                let body = if self.manners.keeps_removed { without_removals(body) } else { body };
                match patch::apply(schema, &former, &body) {
                    Ok(changed) => changed,
                    Err((kind, detail)) => return Answer::error(400, kind, &detail),
                }
            }
        };
        if self.manners.ignores_active {
            match find(&former, "active") {
                Some(active) => set(&mut changed, "active", active.clone()),
                None => drop(remove(&mut changed, "active")),
            }
        }
        if kind == "Users" && self.is_taken(&changed, Some(number)) {
            return Answer::error(409, "uniqueness", "userName is taken");
        }
        let stored = self.store(kind, Some(number), changed);
        if self.manners.patch_has_no_body && call.method == "PATCH" {
            return Answer::empty(204);
        }
        let stored = stored.as_object().cloned().unwrap_or_default();
        Answer::ok(self.view(kind, &stored, &call.query))
    }

    fn change_user_number(&mut self, number: u64, change: impl FnOnce(&mut Resource)) {
        if let Some(user) = self.users.get_mut(&number) {
            change(user);
        }
    }

    fn delete(&mut self, kind: &str, number: u64) {
        let Some(gone) = self.all(kind).remove(&number) else { return };
        for group in self.groups.values_mut() {
            if let Some(members) = group.get_mut("members").and_then(Value::as_array_mut) {
                members.retain(|member| member.get("value") != gone.get("id"));
            }
        }
    }

    fn search(&self, kind: Option<&str>, call: &Call<'_>) -> Answer {
        let body = object(call.body).unwrap_or_default();
        let text = |value: &Value| match value {
            Value::Array(items) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let query = body.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        self.list(kind, &query)
    }

    fn list(&self, kind: Option<&str>, query: &BTreeMap<String, String>) -> Answer {
        let kinds = kind.map_or(vec!["Users", "Groups"], |kind| vec![kind]);
        let mut all: Vec<(&str, &Resource)> = Vec::new();
        for kind in kinds {
            let of_kind = if kind == "Users" { &self.users } else { &self.groups };
            all.extend(of_kind.values().map(|resource| (kind, resource)));
        }
        if let Some(text) = query.get("filter") {
            if self.manners.no_filter {
                return Answer::error(400, "invalidFilter", "filters are not supported");
            }
            let Some(filter) = Filter::parse(text) else {
                return Answer::error(400, "invalidFilter", "the filter is malformed");
            };
            match &self.manners {
                Manners { filter_matches_all: true, .. } => {}
                Manners { filter_matches_none: true, .. } => all.clear(),
                Manners { filter_matches_more: true, .. } => {
                    if !all.iter().any(|(_, r)| filter.matches(r)) {
                        all.clear();
                    }
                }
                manners => {
                    let is_exact = manners.filter_is_case_sensitive;
                    let wanted = text.split('"').nth(1).unwrap_or_default().to_owned();
                    let has_case = |user: &Resource| {
                        find(user, "userName").and_then(Value::as_str) == Some(wanted.as_str())
                    };
                    all.retain(|(_, r)| filter.matches(r) && (!is_exact || has_case(r)));
                }
            }
        }
        self.page(&all, query)
    }

    fn page(&self, all: &[(&str, &Resource)], query: &BTreeMap<String, String>) -> Answer {
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<i64>().ok());
        let count = number("count").map_or(self.manners.page, |count| count.max(0) as usize);
        let count = count.min(self.manners.page);
        let start = number("startIndex").unwrap_or(1).max(0) as usize;
        let is_cursor = self.manners.paging.is_cursor();
        let skip = match self.manners.paging {
            Paging::Index => start.max(1) - 1,
            Paging::FromZero => start,
            Paging::Ignored | Paging::OnePage => 0,
            Paging::Overlapping => start.max(1).saturating_sub(2),
            Paging::Cursor | Paging::ExpiringCursor | Paging::StuckCursor => {
                match query.get("cursor").map(String::as_str) {
                    None | Some("") => 0,
                    Some(_) if self.manners.paging == Paging::ExpiringCursor => {
                        return Answer::error(400, "expiredCursor", "the cursor has expired");
                    }
                    Some(cursor) => match cursor.strip_prefix("at-").and_then(|at| at.parse().ok())
                    {
                        Some(at) => at,
                        None => {
                            return Answer::error(400, "invalidCursor", "the cursor is invalid");
                        }
                    },
                }
            }
        };
        let resources: Vec<Value> = all
            .iter()
            .skip(skip)
            .take(count)
            .map(|(kind, resource)| self.view(kind, resource, query))
            .collect();
        let total = match self.manners.paging {
            Paging::OnePage => resources.len(),
            _ => all.len() + usize::from(self.manners.counts_more),
        };
        let mut list = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": total, "itemsPerPage": resources.len(),
        });
        if is_cursor {
            if skip + resources.len() < all.len() {
                let next = match self.manners.paging {
                    Paging::StuckCursor => resources.len(),
                    _ => skip + resources.len(),
                };
                list["nextCursor"] = json!(format!("at-{next}"));
            }
        } else {
            list["startIndex"] = json!(start.max(1));
        }
        if self.manners.loose_lists {
            list["totalResults"] = json!(total.to_string());
            list["resources"] = resources.into();
        } else {
            list["Resources"] = resources.into();
        }
        Answer::ok(list)
    }
}

/// Leaves the removals of a PATCH out.
fn without_removals(mut body: Resource) -> Resource {
    let operations = key(&body, "Operations").and_then(|key| body.get_mut(&key));
    if let Some(operations) = operations.and_then(Value::as_array_mut) {
        operations.retain(|operation| operation["op"] != "remove");
    }
    body
}

fn object(body: &[u8]) -> Option<Resource> {
    serde_json::from_slice::<Value>(body).ok()?.as_object().cloned()
}

fn normalise(user: &mut Resource) {
    for name in ["userName", "displayName"] {
        if let Some(text) = find(user, name).and_then(Value::as_str) {
            let text = text.trim().to_lowercase();
            set(user, name, json!(text));
        }
    }
    remove(user, "phoneNumbers");
}

/// Answers a request for documents of the service.
fn discovered(rest: &[&str], all: &[Value], query: &BTreeMap<String, String>) -> Answer {
    match rest {
        // RFC 7644, 4: filters are not allowed here.
        [] if query.contains_key("filter") => Answer::error(403, "", "no filter here"),
        [] => Answer::ok(json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": all.len(), "itemsPerPage": all.len(), "startIndex": 1, "Resources": all,
        })),
        [id] => match all.iter().find(|document| document["id"] == **id) {
            Some(document) => Answer::ok(document.clone()),
            None => Answer::missing(id),
        },
        _ => Answer::missing("the document"),
    }
}
