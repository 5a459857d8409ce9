//! The requests of a step, and the meaning of their answers.
//!
//! Each operation of a PATCH has a path and one attribute. A deactivation is a request of its own,
//! because servers apply nothing of a request that has one failing operation (RFC 7644, 3.5.2). PUT
//! replaces a resource that was just read, with `active` written out: servers drop it otherwise.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::capabilities::{Capabilities, Lesson};
use super::listing::PageQuery;
use super::mapping::resource;
use super::resource::{Resource, USER, text_of};
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

/// An answer to a request.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: AnswerBody,
    /// The wait that `Retry-After` asks for.
    pub retry_after: Option<Duration>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum AnswerBody {
    Empty,
    /// A JSON object, whatever the content type says.
    Object(Resource),
    /// No JSON object, such as a login page.
    Other,
}

/// The meaning of an answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The request succeeded, and the target showed this.
    Done(Resource),
    /// The request was accepted, and a read has to show its effect.
    Unverified,
    /// The account is gone: 404 of a SCIM service. A read has to confirm it.
    NotFound,
    /// The target refuses the request, and accepts others.
    Refused(Refusal),
    /// The target refuses rosterd.
    Unauthorized(Refusal),
    /// An account of the name exists.
    Conflict(Refusal),
    /// A capability is not supported.
    Learned(Lesson),
    /// The account changed meanwhile: read it again, once.
    Stale,
    /// The request is too large.
    TooLarge,
    /// The cursor is not valid any more.
    CursorExpired,
    /// The request is repeated later.
    Retry {
        refusal: Refusal,
        after: Option<Duration>,
        /// The target would refuse every other request, too.
        is_down: bool,
    },
    /// The address is not one of SCIM, or a proxy answered.
    NotScim(Refusal),
}

/// The words of a target about a refusal, without control characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub status: u16,
    pub scim_type: Option<String>,
    pub detail: Option<String>,
}

/// Most characters of a detail, which is stored and shown.
const MAX_DETAIL: usize = 1000;

impl Refusal {
    fn of(answer: &Answer) -> Self {
        let text = |name: &str| match &answer.body {
            AnswerBody::Object(body) => body.get(name).and_then(text_of),
            AnswerBody::Empty | AnswerBody::Other => None,
        };
        let clean = |text: String| -> String {
            text.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect()
        };
        Self {
            status: answer.status,
            scim_type: text("scimType").map(clean),
            detail: text("detail").or_else(|| text("message")).map(clean),
        }
    }

    fn is(&self, scim_type: &str) -> bool {
        self.scim_type.as_deref().is_some_and(|its| its.eq_ignore_ascii_case(scim_type))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it answered {}", self.status)?;
        if let Some(kind) = &self.scim_type {
            write!(f, " {kind}")?;
        }
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

/// Returns the meaning of an answer.
#[expect(clippy::match_same_arms, reason = "one line for each answer, in the order of its status")]
pub fn meaning(request: &Request, answer: &Answer) -> Outcome {
    let refusal = Refusal::of(answer);
    let is_scim = matches!(&answer.body, AnswerBody::Object(body) if body.is_scim());
    let operation = request.operation;
    let is_list = matches!(operation, Operation::List | Operation::Search);
    match answer.status {
        202 => Outcome::Unverified,
        200..=299 => success(operation, answer, refusal),
        // Only a proxy sends 407.
        300..=399 | 407 => Outcome::NotScim(refusal),
        401 => Outcome::Unauthorized(refusal),
        400 if operation == Operation::List
            && (refusal.is("expiredCursor") || refusal.is("invalidCursor")) =>
        {
            Outcome::CursorExpired
        }
        400 | 403 | 404 | 405 | 501 if operation == Operation::Search => {
            Outcome::Learned(Lesson::NoFilter)
        }
        403 if operation == Operation::List => Outcome::Unauthorized(refusal),
        400 if operation == Operation::Create && refusal.is("uniqueness") => {
            Outcome::Conflict(refusal)
        }
        405 | 501 if operation == Operation::Modify => Outcome::Learned(Lesson::NoPatch),
        // GET has no content type, so that only its Accept can be meant.
        406 | 415 => Outcome::Learned(Lesson::PlainJson),
        404 | 410 if is_scim && !is_list && operation != Operation::Describe => Outcome::NotFound,
        404 | 410 => Outcome::NotScim(refusal),
        409 => Outcome::Conflict(refusal),
        412 => Outcome::Stale,
        413 => Outcome::TooLarge,
        429 | 502..=504 => Outcome::Retry { refusal, after: answer.retry_after, is_down: true },
        408 | 425 | 500 | 505..=599 => {
            Outcome::Retry { refusal, after: answer.retry_after, is_down: false }
        }
        _ => Outcome::Refused(refusal),
    }
}

fn success(operation: Operation, answer: &Answer, refusal: Refusal) -> Outcome {
    match (operation, &answer.body) {
        (Operation::Delete, AnswerBody::Empty | AnswerBody::Object(_))
        | (Operation::Modify | Operation::Replace, AnswerBody::Empty) => Outcome::Unverified,
        // Without an id nothing was created.
        (operation, AnswerBody::Object(body))
            if body.id().is_some() || !matches!(operation, Operation::Create | Operation::Read) =>
        {
            Outcome::Done(body.clone())
        }
        _ => Outcome::NotScim(refusal),
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

    const ERROR: &str =
        r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"404","#;

    #[test]
    fn every_quirk_of_an_answer_has_one_meaning() {
        use Operation::{Create, Delete, Describe, List, Modify, Read, Replace, Search};
        let user = r#"{"id":"7","userName":"a"}"#;
        let scim = |kind: &str| format!("{ERROR}\"scimType\":\"{kind}\"}}");
        let list = r#"{"totalResults":0}"#;
        let page = "<html>sign in</html>";
        let table: Vec<(Operation, u16, &str, &str)> = vec![
            (Create, 201, user, "Done"),
            (Create, 201, r#"{"userName":"a"}"#, "NotScim"),
            (Create, 201, "", "NotScim"),
            (Create, 200, page, "NotScim"),
            (Create, 202, "", "Unverified"),
            (Create, 409, "", "Conflict"),
            (Create, 400, "uniqueness", "Conflict"),
            (Create, 400, "invalidValue", "Refused"),
            (Create, 403, "", "Refused"),
            (Create, 402, "", "Refused"),
            (Create, 422, "", "Refused"),
            (Create, 401, "", "Unauthorized"),
            (Create, 407, "", "NotScim"),
            (Create, 415, "", "Learned(PlainJson)"),
            (Create, 302, page, "NotScim"),
            (Create, 429, "", "Retry down"),
            (Create, 500, "", "Retry"),
            (Modify, 200, user, "Done"),
            (Modify, 204, "", "Unverified"),
            (Modify, 200, "", "Unverified"),
            (Modify, 200, page, "NotScim"),
            (Modify, 405, "", "Learned(NoPatch)"),
            (Modify, 501, "", "Learned(NoPatch)"),
            (Modify, 404, "notFound", "NotFound"),
            (Modify, 404, page, "NotScim"),
            (Modify, 404, "", "NotScim"),
            (Modify, 412, "", "Stale"),
            (Modify, 413, "", "TooLarge"),
            (Modify, 503, page, "Retry down"),
            (Replace, 405, "", "Refused"),
            (Replace, 204, "", "Unverified"),
            (Read, 200, user, "Done"),
            (Read, 200, page, "NotScim"),
            (Read, 404, "notFound", "NotFound"),
            (Read, 410, "notFound", "NotFound"),
            (Read, 404, page, "NotScim"),
            (Read, 408, "", "Retry"),
            (List, 200, list, "Done"),
            (List, 403, "", "Unauthorized"),
            (Describe, 403, "", "Refused"),
            (List, 404, "notFound", "NotScim"),
            (List, 400, "expiredCursor", "CursorExpired"),
            (List, 400, "invalidCursor", "CursorExpired"),
            (List, 400, "tooMany", "Refused"),
            (List, 502, page, "Retry down"),
            (Search, 200, list, "Done"),
            (Search, 400, "invalidFilter", "Learned(NoFilter)"),
            (Search, 403, "", "Learned(NoFilter)"),
            (Search, 404, "", "Learned(NoFilter)"),
            (Search, 501, "", "Learned(NoFilter)"),
            (Search, 429, "", "Retry down"),
            (Describe, 404, page, "NotScim"),
            (Describe, 406, "", "Learned(PlainJson)"),
            (Delete, 204, "", "Unverified"),
            (Delete, 200, page, "NotScim"),
            (Delete, 404, "notFound", "NotFound"),
        ];
        for (operation, status, body, meant) in table {
            let body = match body {
                "" => AnswerBody::Empty,
                text if text.starts_with(['<', '{']) => {
                    Resource::parse(text.as_bytes()).map_or(AnswerBody::Other, AnswerBody::Object)
                }
                kind => AnswerBody::Object(Resource::parse(scim(kind).as_bytes()).unwrap()),
            };
            let request = Request { operation, ..Request::describe("Users") };
            let outcome = meaning(&request, &Answer { status, body, retry_after: None });
            let found = match &outcome {
                Outcome::Retry { is_down, .. } => {
                    if *is_down {
                        "Retry down".to_owned()
                    } else {
                        "Retry".to_owned()
                    }
                }
                Outcome::Learned(lesson) => format!("Learned({lesson:?})"),
                other => format!("{other:?}").split('(').next().unwrap().to_owned(),
            };
            assert_eq!(found, meant, "{operation} {status}");
        }
    }

    #[test]
    fn a_refusal_has_the_words_of_the_target_without_control_characters() {
        let body = json!({ "scimType": "invalidValue", "detail": format!("bad \u{1b}[31mphone{}", "x".repeat(9000)) });
        let answer = Answer {
            status: 400,
            body: AnswerBody::Object(Resource(body.as_object().unwrap().clone())),
            retry_after: None,
        };
        let refusal = Refusal::of(&answer).to_string();
        assert!(refusal.starts_with("it answered 400 invalidValue: bad [31mphonexx"), "{refusal}");
        assert!(refusal.chars().count() < MAX_DETAIL + 50);
    }
}
