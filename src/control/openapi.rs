//! The OpenAPI document (3.1), made from the route table and the types of the API.
//!
//! It depends on the version of the daemon only.

use std::sync::LazyLock;

use axum::http::Method;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::api::Problem;
use super::auth::roles::{Role, Roles};
use super::operation::{
    Answers, Content, DryRuns, Effect, OCTET_STREAM, Operation, SchemaOf, Takes,
};
use super::problem;

const ABOUT: &str = "\
The control socket of rosterd: HTTP/1.1 with JSON over a Unix socket. The kernel reports the caller, and the user database \
its groups. Nothing in a request grants a role. Roles are sets: `x-rosterd-roles` lists those of which a caller needs one, \
and no role includes another. An operation that changes or exports something leaves an event with its actor. Its type is \
`x-rosterd-event`, unless the operation leaves a more specific one.

Times are RFC 3339 in UTC, ids are UUIDs, objectGUIDs are dashed and lower-case. A later version may add fields to answers \
and values to enums; clients ignore unknown fields. The daemon refuses unknown fields and parameters of a request. A \
document is JSON, whatever its Content-Type is. Errors are problem documents (RFC 9457).";

/// The tags of operations, each with its description. A test compares them with the route table.
const TAGS: [(&str, &str); 19] = [
    ("accounts", "Team and enterprise accounts, which own domains and users."),
    ("backup", "A consistent copy of the store."),
    ("caller", "The caller as the daemon sees it, with its roles."),
    ("directories", "Configured AD domains: their health, and their plans, which are not stored."),
    ("domains", "Email domains that accounts have claimed, with their verification by DNS."),
    ("events", "The event log, whose hash chain can be verified."),
    ("held", "Plans that wait for an operator's decision."),
    ("hooks", "Programs, web servers and mail servers that receive events, with their deliveries."),
    ("leader", "The rosterd that leads on a store that several share."),
    ("metrics", "Counters and gauges in the text format of Prometheus."),
    ("openapi", "This document."),
    ("quarantine", "Directory entries that cannot be used, each with its reason."),
    ("reload", "Reloads of the configuration."),
    ("runs", "Runs of directories with their changes, and the undoing of a run."),
    ("sign-ins", "Sign-in decisions for applications."),
    ("status", "The status of the daemon and of its directories."),
    ("sync", "Runs of all directories."),
    ("targets", "SCIM service providers that follow the users of an account."),
    ("users", "Users of accounts: managed by a directory, or created by an operator."),
];

fn role_names(roles: Option<Roles>) -> Vec<&'static str> {
    roles.map_or_else(|| vec!["anybody"], |roles| roles.iter().map(Role::as_str).collect())
}

/// Schemas of answers and of requests. They differ, because a request may omit fields with a
/// default.
struct Schemas {
    answers: SchemaGenerator,
    requests: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            answers: settings().for_serialize().into_generator(),
            requests: settings().for_deserialize().into_generator(),
        }
    }

    fn of_answer(&mut self, of: SchemaOf) -> Value {
        of(&mut self.answers).to_value()
    }

    fn of_request(&mut self, of: SchemaOf) -> Value {
        of(&mut self.requests).to_value()
    }

    fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = self.answers.take_definitions(true);
        all.extend(self.requests.take_definitions(true));
        all
    }
}

/// Examples by the id of the operation: its `request`, and its answers by status. They are values of a
/// test, which checks them against the schemas (`ROSTERD_WRITE_EXAMPLES=1` writes them anew).
static EXAMPLES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).unwrap_or_default());

/// Returns a JSON content with its example.
fn with_example(schema: &Value, operation: &Operation, which: &str) -> Value {
    let mut content = json!({ "schema": schema });
    if let Some(example) = EXAMPLES[id(&operation.method, operation.path)].get(which) {
        content["example"] = example.clone();
    }
    json!({ "application/json": content })
}

/// Returns the document of these operations.
pub(super) fn document(operations: &[Operation]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let at = paths.entry(format!("/v1{}", operation.path)).or_insert_with(|| json!({}));
        at[operation.method.as_str().to_lowercase()] = describe(operation, &mut schemas);
    }
    let problem = schemas.of_answer(|generator| generator.subschema_for::<Problem>());
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "rosterd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The control socket, /run/rosterd/control.sock by default; any host name is accepted" }],
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": {
            "responses": {
                "Problem": { "description": "The error", "content": { problem::MEDIA_TYPE: { "schema": problem } } },
            },
            "schemas": schemas.into_definitions(),
        },
    })
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let Operation { method, path, roles, effect, summary, query, takes, dry_runs, answers, .. } =
        operation;
    let mut parameters = of_path(path);
    parameters.extend(query.iter().flat_map(|of| of_query(*of, schemas)));
    if *dry_runs == DryRuns::Rehearsed {
        parameters.push(json!({
            "name": "dry_run", "in": "query", "required": false, "schema": { "type": "boolean" },
            "description": "Whether to do it on a copy of the store, which shows the effect and changes nothing",
        }));
    }
    let mut described = json!({
        "operationId": id(method, path),
        "tags": [tag(path)],
        "summary": summary,
        "x-rosterd-roles": role_names(*roles),
        "responses": responses(operation, answers, schemas),
    });
    if let Effect::Records(kind) = effect {
        described["x-rosterd-event"] = json!(kind);
    }
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    let body = match takes {
        Takes::Nothing => None,
        Takes::Optional(of) => Some((*of, false)),
        Takes::Document(of) => Some((*of, true)),
    };
    if let Some((of, required)) = body {
        described["requestBody"] = json!({ "required": required, "content": with_example(&schemas.of_request(of), operation, "request") });
    }
    described
}

/// Returns the noun of an operation, by which generators group the functions of a client.
fn tag(path: &str) -> &str {
    path.split(['/', '.']).find(|word| !word.is_empty()).unwrap_or_default()
}

/// Returns the id of an operation, such as `get_directories_name_plan`.
fn id(method: &Method, path: &str) -> String {
    // A generator makes a function of it, and a hyphen is in no name of a function.
    let words =
        path.split(['/', '.', '-']).filter(|w| !w.is_empty()).map(|w| w.trim_matches(['{', '}']));
    std::iter::once(method.as_str().to_lowercase().as_str())
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

fn of_path(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            let what = match name {
                "name" => "Name of the directory or hook",
                "handle" => "Handle of the account",
                "who" => "An address, id, logon name, DN, employee id or full name",
                "domain" => "The domain",
                _ => "Id of the resource",
            };
            json!({ "name": name, "in": "path", "required": true, "description": what, "schema": { "type": "string" } })
        })
        .collect()
}

/// Returns the fields of an object as query parameters.
fn of_query(of: SchemaOf, schemas: &Schemas) -> Vec<Value> {
    let settings =
        schemas.requests.settings().clone().with(|settings| settings.inline_subschemas = true);
    let object = of(&mut settings.into_generator()).to_value();
    let required: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = object["properties"].as_object().into_iter().flatten();
    fields
        .map(|(name, field)| {
            let mut schema = field.clone();
            let description = schema.as_object_mut().and_then(|s| s.remove("description")).unwrap_or_default();
            json!({ "name": name, "in": "query", "required": required.contains(&name.as_str()), "description": description, "schema": schema })
        })
        .collect()
}

fn responses(
    operation: &Operation,
    answers: &[Answers],
    schemas: &mut Schemas,
) -> Map<String, Value> {
    let mut all = Map::new();
    for Answers { status, says, content } in answers {
        let content = match content {
            Content::Json(of) => with_example(&schemas.of_answer(*of), operation, status.as_str()),
            Content::Bytes(media_type) => json!({ *media_type: {} }),
            // Generators take an answer without a schema for an empty one.
            Content::File => {
                json!({ OCTET_STREAM: { "schema": { "type": "string", "format": "binary" } } })
            }
        };
        all.insert(status.as_str().to_owned(), json!({ "description": says, "content": content }));
    }
    for (status, says) in failures(operation) {
        let problem = json!({ "$ref": "#/components/responses/Problem", "description": says });
        all.insert(status.to_string(), problem);
    }
    all
}

/// Returns the errors of an operation.
fn failures(
    Operation { path, roles, query, takes, fails, .. }: &Operation,
) -> Vec<(u16, &'static str)> {
    let mut all = fails.to_vec();
    if query.is_some() || !matches!(takes, Takes::Nothing) || path.contains('{') || roles.is_some()
    {
        all.push((400, "The request is malformed, or has an unknown field or parameter"));
    }
    if roles.is_some() {
        all.push((403, "The caller has none of the roles"));
        all.push((500, "The store failed; the log of rosterd has the cause"));
    }
    if path.contains('{') || query.is_some() {
        all.push((404, "The named resource does not exist"));
    }
    all.push((408, "The request did not arrive in time"));
    all.push((413, "The document is too large"));
    all.push((
        503,
        "rosterd is stopping, has no free connection slot, or cannot look the caller up",
    ));
    all
}
