//! Requests whose answers and events are checked against the OpenAPI document.

use std::collections::BTreeMap;

use rosterd::store::EventFilter;
use serde_json::{Value, json};

use super::Office;

/// Keeps the document with the most different fields as the example.
fn keep(examples: &mut BTreeMap<String, Value>, which: String, mut document: Value) {
    fn shorten(value: &mut Value) -> usize {
        match value {
            Value::Array(items) => {
                items.truncate(1);
                items.iter_mut().map(shorten).sum()
            }
            Value::Object(fields) => fields.values_mut().map(|value| 1 + shorten(value)).sum(),
            Value::Null => 0,
            _ => 1,
        }
    }
    let size = shorten(&mut document);
    let known = examples.get(&which).cloned().map(|mut known| shorten(&mut known));
    if Some(size) > known {
        examples.insert(which, document);
    }
}

impl Office {
    /// Returns the documented path of a request. A literal segment goes before a parameter.
    fn template(&self, path: &str) -> String {
        let wanted: Vec<&str> = path.split('/').collect();
        let fits = |template: &&String| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == wanted.len()
                && parts
                    .iter()
                    .zip(&wanted)
                    .all(|(part, word)| part.starts_with('{') || part == word)
        };
        let paths = self.document["paths"].as_object().unwrap();
        paths
            .keys()
            .filter(fits)
            .min_by_key(|t| t.matches('{').count())
            .unwrap_or_else(|| panic!("{path} is not documented"))
            .clone()
    }

    /// Checks a document against a schema.
    pub(super) fn check(&self, schema: &Value, document: &Value, what: &str) {
        let mut whole = schema.clone();
        whole["components"] = self.document["components"].clone();
        let validator = jsonschema::validator_for(&whole).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(document)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{what} is not as documented: {wrong:#?}\n{document:#}");
    }

    /// Sends a request, and checks its answer and events against the OpenAPI document.
    pub(super) async fn ask(&mut self, line: &str, body: Option<Value>) -> (u16, Value) {
        let (method, url) = line.split_once(' ').unwrap();
        let template = self.template(url.split('?').next().unwrap());
        let operation = &self.document["paths"][&template][method];
        assert!(operation.is_object(), "{line} is not documented");
        for (name, _) in reqwest::Url::parse(&format!("http://rosterd{url}")).unwrap().query_pairs()
        {
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(
                parameters.iter().any(|p| p["in"] == "query" && p["name"] == *name),
                "{line}: {name} is not documented"
            );
        }
        let mut request = self
            .http
            .request(method.to_uppercase().parse().unwrap(), format!("http://rosterd{url}"));
        if let Some(body) = &body {
            request = request.json(body);
        }
        let before = self.firm.engine.store.event_count().await.unwrap();
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let leaves = operation["x-rosterd-event"].as_str().map(str::to_owned);
        self.check_events(line, leaves.as_deref(), status, before).await;
        assert_eq!(answer.headers()["server"], format!("rosterd/{}", env!("CARGO_PKG_VERSION")));
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let response = match operation["responses"][status.to_string()].clone() {
            Value::Null => panic!(
                "{line} answers {status}, which is not documented: {}",
                answer.text().await.unwrap()
            ),
            response if response["$ref"].is_string() => {
                assert_eq!(response["$ref"], "#/components/responses/Problem");
                self.document["components"]["responses"]["Problem"].clone()
            }
            response => response,
        };
        let content = &response["content"][&content_type];
        assert!(
            content.is_object(),
            "{line} answers {status} as {content_type}, which is not documented"
        );
        if status < 300 {
            let request = &operation["requestBody"];
            assert!(!request["required"].as_bool().unwrap_or(false) || body.is_some());
            if let Some(body) = &body {
                self.check(
                    &request["content"]["application/json"]["schema"],
                    body,
                    &format!("the body of {line}"),
                );
            }
        }
        self.seen.insert(format!("{method} {template} {status}"));
        let Some(schema) = content.get("schema") else { return (status, Value::Null) };
        if content_type == "application/octet-stream" {
            assert_eq!(*schema, json!({ "type": "string", "format": "binary" }));
            assert!(!answer.bytes().await.unwrap().is_empty(), "{line} answers no bytes");
            return (status, Value::Null);
        }
        let answered: Value = answer.json().await.unwrap();
        self.check(schema, &answered, &format!("{status} of {line}"));
        if status < 300 {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let examples = self.examples.entry(id).or_default();
            keep(examples, status.to_string(), answered.clone());
            if let Some(body) = body {
                keep(examples, "request".to_owned(), body);
            }
        }
        if status >= 400 {
            assert_eq!(answered["status"], status);
        }
        (status, answered)
    }

    /// Checks that a change or an export left an event of its caller, and a read none.
    async fn check_events(&self, line: &str, leaves: Option<&str>, status: u16, before: u64) {
        let filter = EventFilter { after: Some(before), limit: 1_000, ..EventFilter::default() };
        let events = self.firm.engine.store.events(&filter).await.unwrap();
        let own: Vec<_> = events
            .iter()
            .filter(|e| e.document["data"]["actor"] == json!(self.me))
            .map(|e| e.document["type"].clone())
            .collect();
        let is_dry_run = line.contains("dry_run=true") || line.ends_with("/preview");
        match leaves {
            Some(kind) if status < 300 && !is_dry_run => {
                assert!(!own.is_empty(), "{line} left no event of its caller");
                // The router adds no event to a more specific one of the operation.
                assert!(
                    own.iter().filter(|k| **k == json!(kind)).count() <= 1,
                    "{line} left two events: {own:?}"
                );
            }
            // A run that was requested earlier may end meanwhile.
            None if !line.ends_with("/sign-ins") => {
                let is_of_run = |kind: &Value| {
                    kind.as_str().is_some_and(|k| {
                        ["run.", "directory.", "user."].iter().any(|f| k.starts_with(f))
                    })
                };
                assert!(own.iter().all(is_of_run), "{line} only reads, and left {own:?}");
            }
            _ => {}
        }
    }
}
