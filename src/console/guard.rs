//! The guard: every request passes it, and every answer gets its headers.
//!
//! A hostile page in the next tab can send requests to this port, can let its own name point here
//! (DNS rebinding), and can embed or open pages. Another user of the machine can connect. None of
//! them has the cookie, and none can make the browser send it:
//!
//! 1. The peer is a process of the same user.
//! 2. `Host` is this address and port, so no other name leads here.
//! 3. A POST comes from a page of this origin, by `Sec-Fetch-Site` or else by `Origin`.
//! 4. The cookie is that of the session. Browsers do not send it across sites (`SameSite=Strict`).
//! 5. A form has the token of the session.
//!
//! There are no CORS headers, so no other origin can read an answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Form, FromRequest as _, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::door::{Secret, Shut, Use};
use super::layout::{Fault, LEAVE};
use super::state::Console;
use super::visit::{Fields, Visit};

/// Paths without a session: the exchange of the code, and files that are the same for all.
pub const OPEN: &str = "/open";
const ASSETS: &str = "/assets/";
/// The script sends this with requests that no person caused.
const REFRESH: &str = "rosterd-refresh";

/// Only files of this origin are loaded, and only they run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Passes a request to its page, or refuses it.
pub async fn guard(
    State(console): State<Arc<Console>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match admit(&console, peer, request).await {
        Ok(request) => next.run(request).await,
        Err(fault) => fault.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Passes a request of the process that started this one, as the user that it runs as. A form needs
/// the token all the same.
pub async fn pass_own(
    State((console, token)): State<(Arc<Console>, Secret)>,
    mut request: Request,
    next: Next,
) -> Response {
    let visit = Visit::new(&console, token);
    if request.method() == Method::POST {
        match checked_form(request, &console, &visit).await {
            Ok(checked) => request = checked,
            Err(fault) => return fault.into_response(),
        }
    }
    request.extensions_mut().insert(visit);
    next.run(request).await
}

async fn admit(
    console: &Arc<Console>,
    peer: SocketAddr,
    mut request: Request,
) -> Result<Request, Fault> {
    let refuse = |why: &str| Fault::new(StatusCode::FORBIDDEN, why);
    if !is_own(peer, console.port()).await {
        return Err(refuse(&not_own(nix::unistd::geteuid().is_root())));
    }
    let headers = request.headers();
    let host = one(headers, &header::HOST).unwrap_or_default();
    if !console.hosts().iter().any(|own| own == host) {
        return Err(Fault::new(
            StatusCode::MISDIRECTED_REQUEST,
            "The console answers under its own address only: open the link that rosterctl printed.",
        ));
    }
    let is_post = match *request.method() {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        _ => {
            return Err(Fault::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "The console knows GET and POST.",
            ));
        }
    };
    if is_post && !is_same_origin(headers, host) {
        return Err(refuse("Another site sent this request. Nothing was changed."));
    }
    let path = request.uri().path();
    if path == OPEN || path.starts_with(ASSETS) {
        return Ok(request);
    }
    let by = if !is_post && headers.contains_key(REFRESH) { Use::Refresh } else { Use::Person };
    let token = console.pass(cookie(headers, &console.cookie_name()).as_deref(), by)?;
    let visit = Visit::new(console, token);
    if is_post {
        request = checked_form(request, console, &visit).await?;
    }
    request.extensions_mut().insert(visit);
    Ok(request)
}

impl From<Shut> for Fault {
    fn from(shut: Shut) -> Self {
        let why = match shut {
            Shut::Code => "This link was used before, or is not complete.",
            Shut::Cookie => "This browser has no session with the console.",
            Shut::Over(ending) => ending.sentence(),
        };
        Self::new(StatusCode::UNAUTHORIZED, format!("{why} Run rosterctl console for a new link."))
    }
}

/// Reads a form, and checks its token. A console that only looks takes no form but the one that
/// ends it.
async fn checked_form(
    request: Request,
    console: &Console,
    visit: &Visit,
) -> Result<Request, Fault> {
    if let Some(why) = console.only_looks().filter(|_| request.uri().path() != LEAVE) {
        let sentence = format!("This console only looks: {why}. Nothing was changed.");
        return Err(Fault::new(StatusCode::FORBIDDEN, sentence));
    }
    let (mut parts, body) = request.into_parts();
    let form = Request::from_parts(parts.clone(), body);
    let Form(fields) = Form::<Vec<(String, String)>>::from_request(form, &())
        .await
        .map_err(|error| Fault::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let fields = Fields(fields);
    if !visit.has_token(fields.get("token")) {
        return Err(Fault::new(
            StatusCode::FORBIDDEN,
            "The form belongs to another session. Nothing was changed: open the page again.",
        ));
    }
    parts.extensions.insert(fields);
    Ok(Request::from_parts(parts, Body::empty()))
}

/// Returns the value of a header that occurs once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Returns whether a page of this origin sent the request. A request that tells neither is refused.
fn is_same_origin(headers: &HeaderMap, host: &str) -> bool {
    let site = HeaderName::from_static("sec-fetch-site");
    if headers.contains_key(&site) {
        return one(headers, &site) == Some("same-origin");
    }
    one(headers, &header::ORIGIN).and_then(|origin| origin.strip_prefix("http://")) == Some(host)
}

/// Returns the value of a cookie (RFC 6265).
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';'));
    pairs.find_map(|pair| Some(pair.trim().strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// Says to a browser of another user what to do. A console of root is mostly one under sudo.
fn not_own(is_root: bool) -> String {
    if is_root {
        "The console runs as root and this browser as another user: run rosterctl console without sudo.".to_owned()
    } else {
        "The console answers programs of its own user only: run rosterctl console as the user of this browser.".to_owned()
    }
}

/// Returns whether the process at the other end belongs to the user of this one.
async fn is_own(peer: SocketAddr, port: u16) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    let table = tokio::fs::read_to_string("/proc/net/tcp").await.unwrap_or_default();
    uid_of(&table, peer, port) == Some(own)
}

/// Finds the uid of a connection in the kernel's table (proc_pid_net(5)): its own address is that of
/// the peer, its other one is ours.
fn uid_of(table: &str, peer: SocketAddr, port: u16) -> Option<u32> {
    let SocketAddr::V4(peer) = peer else { return None };
    let shown = |ip: std::net::Ipv4Addr, port: u16| {
        format!("{:08X}:{port:04X}", u32::from_ne_bytes(ip.octets()))
    };
    let wanted = [shown(*peer.ip(), peer.port()), shown(std::net::Ipv4Addr::LOCALHOST, port)];
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_wanted = fields.get(1..3)? == wanted.each_ref().map(String::as_str);
        is_wanted.then(|| fields.get(7)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn a_change_comes_from_a_page_of_this_origin() {
        const HOST: &str = "127.0.0.1:4000";
        for (given, is_own) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:4000")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", "http://127.0.0.1:4000")], true),
            (&[("origin", "http://127.0.0.1:4001")], false),
            (&[("origin", "https://127.0.0.1:4000")], false),
            (&[("origin", "null")], false),
            (&[("origin", "http://evil.example")], false),
            (&[], false),
        ] {
            assert_eq!(is_same_origin(&headers(given), HOST), is_own, "{given:?}");
        }
    }

    #[test]
    fn a_browser_of_another_user_is_told_how_the_console_is_started() {
        assert!(not_own(true).ends_with("run rosterctl console without sudo."));
        assert!(not_own(false).ends_with("run rosterctl console as the user of this browser."));
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let sent =
            headers(&[("cookie", "a=1; console-40=x; console-4000=right"), ("cookie", "z=2")]);
        assert_eq!(cookie(&sent, "console-4000").as_deref(), Some("right"));
        assert_eq!(cookie(&sent, "z").as_deref(), Some("2"));
        assert_eq!(cookie(&sent, "console"), None);
    }

    #[test]
    fn the_kernel_names_the_user_of_a_connection() {
        const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0100007F:C350 0100007F:0FA0 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0
   2: 0100007F:0FA0 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0
";
        let peer = |text: &str| text.parse().unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(uid_of(TABLE, peer("127.0.0.1:50000"), 4000), Some(1000));
        }
        assert_eq!(uid_of(TABLE, peer("127.0.0.1:50001"), 4000), None);
        assert_eq!(uid_of(TABLE, peer("127.0.0.1:50000"), 4001), None);
        assert_eq!(uid_of(TABLE, peer("[::1]:50000"), 4000), None);
    }
}
