//! The OpenAPI document (3.1) of the API, made from the table of routes and the wire types.
//!
//! It is made once, when somebody first asks. It holds nothing of this daemon but its version.

use axum::http::Method;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::api::Problem;
use super::auth::roles::{Role, Roles};
use super::operation::{Answers, Content, Effect, Operation, SchemaOf, Takes};
use super::problem;

const ABOUT: &str = "\
The control socket of rosterd: HTTP/1.1 with JSON over a Unix socket. Who may do what follows from the caller's user and \
groups, as the kernel and the user database tell them; nothing in a request counts. Roles are sets: each operation names those of \
which a caller needs one, `x-rosterd-roles`, and a role includes no other. What changes or exports something leaves an event with its \
actor, of the type `x-rosterd-event` unless it leaves a more specific one.

Times are RFC 3339 in UTC, ids UUIDs, objectGUIDs dashed and lower-case. Fields may be added to answers, and words to what a \
field can say; clients pass over what they do not know. What a request asks for and the daemon does not know is refused, never \
passed over. A document is JSON whatever its Content-Type says. Errors are problem documents (RFC 9457).";

/// The words for a set of roles.
fn words(roles: Option<Roles>) -> Vec<&'static str> {
    roles.map_or_else(|| vec!["anybody"], |roles| roles.iter().map(Role::as_str).collect())
}

/// The two ways in which a type is written: what is sent has all its fields, what is asked for may leave some out.
struct Schemas {
    sent: SchemaGenerator,
    asked: SchemaGenerator,
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
            sent: settings().for_serialize().into_generator(),
            asked: settings().for_deserialize().into_generator(),
        }
    }

    fn sent(&mut self, of: SchemaOf) -> Value {
        of(&mut self.sent).to_value()
    }

    fn asked(&mut self, of: SchemaOf) -> Value {
        of(&mut self.asked).to_value()
    }

    fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = self.sent.take_definitions(true);
        all.extend(self.asked.take_definitions(true));
        all
    }
}

/// The document.
pub(super) fn document(operations: &[Operation]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let at = paths.entry(format!("/v1{}", operation.path)).or_insert_with(|| json!({}));
        at[operation.method.as_str().to_lowercase()] = describe(operation, &mut schemas);
    }
    let problem = schemas.sent(|generator| generator.subschema_for::<Problem>());
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "rosterd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The control socket, /run/rosterd/control.sock by default; any host name will do" }],
        "paths": paths,
        "components": {
            "responses": {
                "Problem": { "description": "What went wrong", "content": { problem::MEDIA_TYPE: { "schema": problem } } },
            },
            "schemas": schemas.into_definitions(),
        },
    })
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let Operation { method, path, roles, effect, summary, query, takes, answers, .. } = operation;
    let mut parameters = of_path(path);
    parameters.extend(query.iter().flat_map(|of| of_query(*of, schemas)));
    let mut described = json!({
        "operationId": id(method, path),
        "summary": summary,
        "x-rosterd-roles": words(*roles),
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
        described["requestBody"] = json!({ "required": required, "content": { "application/json": { "schema": schemas.asked(of) } } });
    }
    described
}

/// `get_directories_name_plan`.
fn id(method: &Method, path: &str) -> String {
    let words =
        path.split(['/', '.']).filter(|w| !w.is_empty()).map(|w| w.trim_matches(['{', '}']));
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
                "name" => "The directory's name",
                "handle" => "The account's handle",
                "who" => "An address, a user id or an objectGUID",
                "domain" => "The domain",
                _ => "The id",
            };
            json!({ "name": name, "in": "path", "required": true, "description": what, "schema": { "type": "string" } })
        })
        .collect()
}

/// The fields of an object as query parameters.
fn of_query(of: SchemaOf, schemas: &Schemas) -> Vec<Value> {
    let settings =
        schemas.asked.settings().clone().with(|settings| settings.inline_subschemas = true);
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
            Content::Json(of) => json!({ "application/json": { "schema": schemas.sent(*of) } }),
            Content::Bytes(media_type) => json!({ *media_type: {} }),
        };
        all.insert(status.as_str().to_owned(), json!({ "description": says, "content": content }));
    }
    for (status, says) in failures(operation) {
        let problem = json!({ "$ref": "#/components/responses/Problem", "description": says });
        all.insert(status.to_string(), problem);
    }
    all
}

/// Everything that can go wrong with an operation.
fn failures(
    Operation { path, roles, query, takes, fails, .. }: &Operation,
) -> Vec<(u16, &'static str)> {
    let mut all = fails.to_vec();
    if query.is_some() || !matches!(takes, Takes::Nothing) || path.contains('{') || roles.is_some()
    {
        all.push((400, "The request asks for something that is not known, or malformed"));
    }
    if roles.is_some() {
        all.push((403, "The caller has none of the roles"));
        all.push((500, "It failed; the log of rosterd says why"));
    }
    if path.contains('{') || query.is_some() {
        all.push((404, "What is named does not exist"));
    }
    all.push((408, "The request did not come to its end in time"));
    all.push((413, "The document is too large"));
    all.push((503, "rosterd is stopping, has too many callers, or cannot look the caller up"));
    all
}
