//! The server on its port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use futures_util::stream;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::answer::Answer;
use crate::fault::{Fault, Manners, What};
use crate::resource::set;
use crate::service::{Call, Service};

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query as they were sent.
    pub target: String,
    pub headers: BTreeMap<String, String>,
    /// `Null` without a body, or if it is no JSON.
    pub body: Value,
}

#[derive(Debug)]
struct Desk {
    service: Mutex<Service>,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Vec<Request>>,
    token: Mutex<String>,
    /// The validity of a token of OAuth in seconds.
    validity: Mutex<u64>,
    arrived: Notify,
}

/// A running service.
#[derive(Debug)]
pub struct Sim {
    address: SocketAddr,
    desk: Arc<Desk>,
    serving: JoinHandle<()>,
}

/// The path of the service.
const BASE: &str = "/scim/v2";

/// The path of the token server (RFC 6749, 3.2).
const TOKENS: &str = "/oauth/token";

/// The credentials of the client that gets a token, `rosterd` and `client-secret`, as they are sent.
const CLIENT: &str = "Basic cm9zdGVyZDpjbGllbnQtc2VjcmV0";

impl Drop for Sim {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    /// Starts a service without users on a free loopback port.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut service = Service::default();
        service.base = format!("http://{address}{BASE}");
        let desk = Arc::new(Desk {
            service: Mutex::new(service),
            faults: Mutex::default(),
            log: Mutex::default(),
            token: Mutex::new("scimsim-token".to_owned()),
            validity: Mutex::new(3600),
            arrived: Notify::new(),
        });
        let router = Router::new().fallback(handle).with_state(Arc::clone(&desk));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, desk, serving })
    }

    /// Returns the base URL.
    pub fn url(&self) -> String {
        format!("http://{}{BASE}", self.address)
    }

    /// Returns the URL where the client `rosterd` gets the token by its secret, `client-secret`.
    pub fn token_url(&self) -> String {
        format!("http://{}{TOKENS}", self.address)
    }

    /// Sets the seconds for which a token of OAuth is said to be valid.
    pub fn set_validity(&self, seconds: u64) {
        *locked(&self.desk.validity) = seconds;
    }

    pub fn token(&self) -> String {
        locked(&self.desk.token).clone()
    }

    /// Replaces the token, so that the former one is refused.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut locked(&self.desk.token));
    }

    pub fn set_manners(&self, manners: Manners) {
        locked(&self.desk.service).manners = manners;
    }

    /// Adds a fault. The first that matches a request applies.
    pub fn fail(&self, fault: Fault) {
        locked(&self.desk.faults).push(fault);
    }

    pub fn clear_faults(&self) {
        locked(&self.desk.faults).clear();
    }

    /// Returns all requests so far.
    pub fn log(&self) -> Vec<Request> {
        locked(&self.desk.log).clone()
    }

    /// Waits until a request is in the log that has this method.
    pub async fn requested(&self, method: &str) {
        loop {
            let arrived = self.desk.arrived.notified();
            if self.log().iter().any(|request| request.method == method) {
                return;
            }
            arrived.await;
        }
    }

    /// Adds an active user; returns its id.
    pub fn add_user(&self, name: &str) -> String {
        self.add(&json!({ "userName": name, "active": true }))
    }

    /// Adds a user with these attributes; returns its id, which may be among them.
    pub fn add(&self, user: &Value) -> String {
        let user: Map<String, Value> = user.as_object().cloned().unwrap_or_default();
        locked(&self.desk.service).add_user(user)
    }

    /// Changes an attribute of a user, as another client would.
    pub fn set(&self, id: &str, name: &str, value: Value) {
        locked(&self.desk.service).change_user(id, |user| set(user, name, value));
    }

    pub fn delete(&self, id: &str) {
        locked(&self.desk.service).delete_user(id);
    }

    /// Returns all users.
    pub fn users(&self) -> Vec<Value> {
        locked(&self.desk.service).users()
    }

    /// Adds a group of this name; returns its id.
    pub fn add_group(&self, name: &str) -> String {
        let group = json!({ "displayName": name }).as_object().cloned().unwrap_or_default();
        locked(&self.desk.service).add_group(group)
    }

    /// Adds a member to a group, as another client would.
    pub fn join(&self, group: &str, member: &str) {
        locked(&self.desk.service).join(group, member);
    }

    /// Returns the ids of the members of a group, in order; `None` if there is no such group.
    pub fn members(&self, group: &str) -> Option<Vec<String>> {
        let groups = locked(&self.desk.service).groups();
        let found = groups.into_iter().find(|found| found["displayName"] == group)?;
        let ids = found["members"].as_array().into_iter().flatten();
        let mut ids: Vec<String> =
            ids.filter_map(|member| Some(member["value"].as_str()?.to_owned())).collect();
        ids.sort();
        Some(ids)
    }

    /// Returns the user of a name.
    pub fn user(&self, name: &str) -> Option<Value> {
        self.users().into_iter().find(|user| user["userName"] == name)
    }
}

async fn handle(
    State(desk): State<Arc<Desk>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let target = uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string);
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    locked(&desk.log).push(Request {
        method: method.to_string(),
        target: target.clone(),
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    desk.arrived.notify_waiters();
    let fault = fault(&desk, method.as_str(), &target);
    match &fault {
        Some(What::Answer { status, headers, body }) => {
            let mut response = Response::builder().status(*status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            return response.body(Body::from(body.clone())).unwrap_or_default();
        }
        Some(What::Cut { after: false }) => return cut(200),
        Some(What::Endless) => {
            let piece = Bytes::from(vec![b' '; 64 * 1024]);
            let pieces = stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
            return Response::new(Body::from_stream(pieces));
        }
        Some(What::Drip) => {
            let drops = stream::unfold((), async |()| {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
            });
            return Response::new(Body::from_stream(Box::pin(drops)));
        }
        Some(What::Wait(time)) => tokio::time::sleep(*time).await,
        Some(What::Hang { after: false }) => std::future::pending().await,
        Some(What::Delete(id)) => locked(&desk.service).delete_user(id),
        Some(What::Cut { after: true } | What::Hang { after: true }) | None => {}
    }
    if uri.path() == TOKENS {
        return response(&token(&desk, headers.get("authorization").map(text).as_deref()));
    }
    let bearer = format!("Bearer {}", locked(&desk.token));
    let answer = if headers.get("authorization").map(text).as_deref() == Some(bearer.as_str()) {
        let query = decoded_query(uri.query().unwrap_or_default());
        match uri.path().strip_prefix(BASE) {
            Some(rest) => {
                let path = rest.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
                let call = Call { method: method.as_str(), path, query, body: &body };
                locked(&desk.service).answer(&call)
            }
            None => Answer::missing("the path"),
        }
    } else {
        Answer::error(401, "", "the token is not valid")
    };
    match fault {
        Some(What::Cut { after: true }) => return cut(answer.status),
        Some(What::Hang { after: true }) => std::future::pending().await,
        _ => {}
    }
    response(&answer)
}

/// Answers a request for a token by client credentials (RFC 6749, 4.4).
fn token(desk: &Desk, authorization: Option<&str>) -> Answer {
    if authorization != Some(CLIENT) {
        let refused = json!({ "error": "invalid_client" });
        return Answer { status: 401, body: Some(refused), location: None };
    }
    Answer::ok(json!({
        "access_token": *locked(&desk.token), "token_type": "Bearer",
        "expires_in": *locked(&desk.validity),
    }))
}

/// Returns the effect of the first fault that applies, and counts it.
fn fault(desk: &Desk, method: &str, target: &str) -> Option<What> {
    let mut faults = locked(&desk.faults);
    let matching = faults.iter_mut().find(|fault| {
        (fault.method.is_empty() || fault.method == method)
            && target.contains(&fault.path)
            && fault.times > 0
    })?;
    if matching.skip > 0 {
        matching.skip -= 1;
        return None;
    }
    matching.times -= 1;
    Some(matching.what.clone())
}

/// Returns an answer whose body breaks off, and with it the connection.
fn cut(status: u16) -> Response<Body> {
    let broken = stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
    let response = Response::builder().status(status);
    response.body(Body::from_stream(Box::pin(broken))).unwrap_or_default()
}

fn response(answer: &Answer) -> Response<Body> {
    let mut response = Response::builder().status(answer.status);
    if let Some(location) = &answer.location {
        response = response.header("location", location);
    }
    match &answer.body {
        Some(body) => response
            .header("content-type", "application/scim+json")
            .body(Body::from(body.to_string())),
        None => response.body(Body::empty()),
    }
    .unwrap_or_default()
}

fn decoded_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(&value.replace('+', " ")))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [a, b, ..]) => {
                std::str::from_utf8(&[*a, *b]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
