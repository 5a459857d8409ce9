//! The requests of a step, and those that read accounts and groups.
//!
//! Each operation of a PATCH has a path and one attribute. A deactivation is a request of its own,
//! because servers apply nothing of a request that has one failing operation (RFC 7644, 3.5.2). PUT
//! replaces a resource that was just read, with `active` written out: servers drop it otherwise.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::capabilities::Capabilities;
use super::listing::PageQuery;
use super::mapping::resource;
use super::resource::{Resource, USER};
use super::steps::Step;
use crate::model::{RemoteId, StepKind, words};

words! {
    /// A method of HTTP.
    pub enum Method {
        Get = "GET",
        Post = "POST",
        Put = "PUT",
        Patch = "PATCH",
        Delete = "DELETE",
    }
}

words! {
    /// The purpose of a request.
    pub enum Operation {
        Create = "create",
        Read = "read",
        List = "list",
        /// A list with a filter.
        Search = "search",
        /// A PATCH of single attributes.
        Modify = "modify",
        /// A PUT of the whole account.
        Replace = "replace",
        Delete = "delete",
        /// A document of the service, such as `Schemas`.
        Describe = "describe",
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    pub operation: Operation,
    pub method: Method,
    /// Below the base URL of the target, percent-encoded.
    pub path: String,
    /// Percent-encoded; empty for none.
    pub query: String,
    pub body: Option<Value>,
}

/// The requests of a step.
#[derive(Clone, PartialEq, Debug)]
pub enum Requests {
    /// In this order, each after the success of the one before.
    Send(Vec<Request>),
    /// The account has to be read first, because PUT replaces it as a whole.
    ReadFirst(Request),
}

/// The schema of a PATCH (RFC 7644, 3.5.2).
const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// The schema of a group (RFC 7643, 4.2).
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// Encodes everything but the unreserved characters of RFC 3986, because an id may have any.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

fn query(parameters: &[(&'static str, String)]) -> String {
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

impl Request {
    fn new(operation: Operation, method: Method, path: String, body: Option<Value>) -> Self {
        Self { operation, method, path, query: String::new(), body }
    }

    /// Reads an account.
    pub fn read(id: &RemoteId) -> Self {
        Self::new(Operation::Read, Method::Get, user_path(id), None)
    }

    /// Reads one page of all accounts.
    pub fn list(page: &PageQuery) -> Self {
        let list = Self::new(Operation::List, Method::Get, "Users".to_owned(), None);
        Self { query: query(&page.parameters()), ..list }
    }

    /// Searches the accounts whose attribute equals a text. Filters can be dishonest, so that the
    /// caller compares the values again.
    pub fn search(attribute: &str, text: &str) -> Self {
        let search = Self::new(Operation::Search, Method::Get, "Users".to_owned(), None);
        let filter = format!("{attribute} eq {}", json!(text));
        Self { query: query(&[("filter", filter)]), ..search }
    }

    /// Reads a document of the service, such as `Schemas`.
    pub fn describe(document: &str) -> Self {
        Self::new(Operation::Describe, Method::Get, document.to_owned(), None)
    }

    /// Deletes an account.
    pub fn delete(id: &RemoteId) -> Self {
        Self::new(Operation::Delete, Method::Delete, user_path(id), None)
    }

    /// Searches the groups of a name.
    pub fn search_group(name: &str) -> Self {
        let search = Self::new(Operation::Search, Method::Get, "Groups".to_owned(), None);
        let filter = format!("displayName eq {}", json!(name));
        let query = query(&[("filter", filter), ("excludedAttributes", "members".to_owned())]);
        Self { query, ..search }
    }

    pub fn create_group(name: &str, external_id: &str) -> Self {
        let body = json!({ "schemas": [GROUP], "displayName": name, "externalId": external_id });
        Self::new(Operation::Create, Method::Post, "Groups".to_owned(), Some(body))
    }

    /// Reads a group with its members.
    pub fn read_group(id: &RemoteId) -> Self {
        Self::new(Operation::Read, Method::Get, group_path(id), None)
    }

    /// Adds accounts to a group.
    pub fn add_members(id: &RemoteId, members: &[&RemoteId]) -> Self {
        let values: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
        let add = json!({ "op": "add", "path": "members", "value": values });
        let body = json!({ "schemas": [PATCH_OP], "Operations": [add] });
        Self::new(Operation::Modify, Method::Patch, group_path(id), Some(body))
    }

    /// Removes accounts from a group. Each has an operation with a filter of its own, because a
    /// removal of `members` without one empties the group.
    pub fn remove_members(id: &RemoteId, members: &[&RemoteId]) -> Self {
        let remove = |id: &&RemoteId| {
            let path = format!("members[value eq {}]", json!(id));
            json!({ "op": "remove", "path": path })
        };
        let operations: Vec<Value> = members.iter().map(remove).collect();
        let body = json!({ "schemas": [PATCH_OP], "Operations": operations });
        Self::new(Operation::Modify, Method::Patch, group_path(id), Some(body))
    }

    fn patch(id: &RemoteId, operations: &[Value]) -> Self {
        let body = json!({ "schemas": [PATCH_OP], "Operations": operations });
        Self::new(Operation::Modify, Method::Patch, user_path(id), Some(body))
    }

    fn put(id: &RemoteId, resource: Resource) -> Self {
        Self::new(Operation::Replace, Method::Put, user_path(id), Some(resource.0.into()))
    }
}

fn user_path(id: &RemoteId) -> String {
    format!("Users/{}", encoded(&id.0))
}

fn group_path(id: &RemoteId) -> String {
    format!("Groups/{}", encoded(&id.0))
}

fn replace_active(active: bool) -> Value {
    json!({ "op": "replace", "path": "active", "value": active })
}

impl Step {
    /// Returns the requests of a step. `seen` is the account as it was just read.
    pub fn requests(&self, capabilities: &Capabilities, seen: Option<&Resource>) -> Requests {
        let Some(id) = &self.id else {
            return match self.kind {
                StepKind::Create => Requests::Send(vec![Request::new(
                    Operation::Create,
                    Method::Post,
                    "Users".to_owned(),
                    Some(resource(&self.attributes).into()),
                )]),
                _ => Requests::Send(Vec::new()),
            };
        };
        let active = match self.kind {
            // The update behind it writes externalId.
            StepKind::Link | StepKind::Adopt | StepKind::Create => {
                return Requests::Send(Vec::new());
            }
            StepKind::Delete => return Requests::Send(vec![Request::delete(id)]),
            StepKind::Deactivate => Some(false),
            StepKind::Reactivate => Some(true),
            StepKind::Rename | StepKind::Update => None,
        };
        if capabilities.patch {
            let operations: Vec<Value> = match active {
                Some(active) => vec![replace_active(active)],
                None => self
                    .attributes
                    .iter()
                    .map(|(path, text)| {
                        let name = path.patch_path();
                        match text {
                            Some(text) => {
                                json!({ "op": "replace", "path": name, "value": path.value(text) })
                            }
                            None => json!({ "op": "remove", "path": name }),
                        }
                    })
                    .collect(),
            };
            return Requests::Send(vec![Request::patch(id, &operations)]);
        }
        let Some(seen) = seen else { return Requests::ReadFirst(Request::read(id)) };
        let mut resource = seen.clone();
        for (path, text) in &self.attributes {
            path.write(&mut resource.0, text.as_deref());
        }
        let active = active.or(seen.active()).unwrap_or(true);
        resource.0.retain(|key, _| !["active", "meta"].iter().any(|k| key.eq_ignore_ascii_case(k)));
        resource.0.insert("active".to_owned(), json!(active));
        resource.0.entry("schemas").or_insert_with(|| json!([USER]));
        Requests::Send(vec![Request::put(id, resource)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{StepOrigin, UserId};
    use crate::reconcile::provision::{AttributePath, Declared, Quirks};

    fn capabilities(patch: bool) -> Capabilities {
        let declared = Declared { patch: Some(patch), ..Declared::default() };
        Capabilities::of(&declared, &Quirks::default())
    }

    fn step(kind: StepKind, attributes: &[(&str, Option<&str>)]) -> Step {
        Step {
            user: UserId(uuid::Uuid::nil()),
            kind,
            origin: StepOrigin::Followed,
            reason: None,
            id: (kind != StepKind::Create).then(|| RemoteId("7".to_owned())),
            attributes: attributes
                .iter()
                .map(|(path, text)| (AttributePath::parse(path).unwrap(), text.map(str::to_owned)))
                .collect(),
        }
    }

    fn sent(step: &Step, patch: bool, seen: Option<&Value>) -> Vec<(Method, String, Value)> {
        let seen = seen.map(|seen| Resource(seen.as_object().unwrap().clone()));
        match step.requests(&capabilities(patch), seen.as_ref()) {
            Requests::Send(requests) => requests
                .into_iter()
                .map(|request| (request.method, request.path, request.body.unwrap_or_default()))
                .collect(),
            Requests::ReadFirst(request) => panic!("it is read first: {request:?}"),
        }
    }

    #[test]
    fn a_deactivation_is_one_operation_in_a_request_of_its_own() {
        assert_eq!(
            sent(&step(StepKind::Deactivate, &[]), true, None),
            [(
                Method::Patch,
                "Users/7".to_owned(),
                json!({ "schemas": [PATCH_OP], "Operations": [{ "op": "replace", "path": "active", "value": false }] })
            )]
        );
    }

    #[test]
    fn an_update_has_one_attribute_in_each_operation_and_whole_collections() {
        let update = step(
            StepKind::Update,
            &[
                ("name.givenName", Some("Anna")),
                ("emails[work]", Some("anna@example.com")),
                ("enterprise.department", None),
            ],
        );
        let [(_, _, body)] = &sent(&update, true, None)[..] else { panic!() };
        assert_eq!(
            body["Operations"],
            json!([
                { "op": "replace", "path": "name.givenName", "value": "Anna" },
                { "op": "replace", "path": "emails", "value": [{ "value": "anna@example.com", "type": "work", "primary": true }] },
                { "op": "remove", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department" },
            ])
        );
    }

    #[test]
    fn a_put_keeps_foreign_attributes_and_always_writes_active() {
        let seen = json!({ "id": "7", "Active": false, "userName": "a", "nickName": "An", "meta": {}, "Name": { "GivenName": "A" } });
        let update = step(StepKind::Update, &[("name.givenName", Some("Anna")), ("title", None)]);
        assert_eq!(
            sent(&update, false, Some(&seen)),
            [(
                Method::Put,
                "Users/7".to_owned(),
                json!({ "id": "7", "active": false, "userName": "a", "nickName": "An", "Name": { "givenName": "Anna" }, "schemas": [USER] })
            )]
        );
        let [(_, _, inactive)] =
            &sent(&step(StepKind::Deactivate, &[]), false, Some(&json!({ "id": "7" })))[..]
        else {
            panic!()
        };
        assert_eq!(inactive["active"], json!(false));
        // Only users who should be active have updates.
        let [(_, _, unknown)] = &sent(&update, false, Some(&json!({ "id": "7" })))[..] else {
            panic!()
        };
        assert_eq!(unknown["active"], json!(true));
        let first = step(StepKind::Deactivate, &[]).requests(&capabilities(false), None);
        assert!(matches!(first, Requests::ReadFirst(request) if request.method == Method::Get));
    }

    #[test]
    fn a_creation_leaves_unassigned_attributes_out_and_names_its_schemas() {
        let create = step(
            StepKind::Create,
            &[
                ("userName", Some("anna")),
                ("title", None),
                ("emails", Some("anna@example.com")),
                ("enterprise.department", Some("Sales")),
            ],
        );
        let [(Method::Post, path, body)] = &sent(&create, true, None)[..] else { panic!() };
        assert_eq!(path, "Users");
        assert_eq!(
            *body,
            json!({
                "userName": "anna", "active": true, "emails": [{ "value": "anna@example.com" }],
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "Sales" },
                "schemas": [USER, super::super::resource::ENTERPRISE_USER],
            })
        );
    }

    #[test]
    fn each_member_is_removed_by_a_filter_of_its_own() {
        let ids = ["7", "a\"b"].map(|id| RemoteId(id.to_owned()));
        let request = Request::remove_members(&RemoteId("g".to_owned()), &[&ids[0], &ids[1]]);
        assert_eq!(request.path, "Groups/g");
        assert_eq!(
            request.body.unwrap()["Operations"],
            json!([
                { "op": "remove", "path": "members[value eq \"7\"]" },
                { "op": "remove", "path": "members[value eq \"a\\\"b\"]" },
            ])
        );
    }

    #[test]
    fn ids_and_filter_values_are_encoded() {
        let read = Request::read(&RemoteId("a/b ?c#ü%2e".to_owned()));
        assert_eq!(read.path, "Users/a%2Fb%20%3Fc%23%C3%BC%252e");
        let search = Request::search("userName", "a\"+&\\ü@x");
        assert_eq!(search.query, "filter=userName%20eq%20%22a%5C%22%2B%26%5C%5C%C3%BC%40x%22");
    }
}
