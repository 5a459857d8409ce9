//! A web server that receives events and answers with configured responses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A received request.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) at: Instant,
}

impl Told {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|h| h.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn document(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(super) fn subject(&self) -> String {
        self.document()["subject"].as_str().expect("a subject").to_owned()
    }
}

type Answer = Box<dyn Fn(&Told, usize) -> Response + Send + Sync>;

pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    serving: JoinHandle<()>,
}

struct Desk {
    told: Arc<Mutex<Vec<Told>>>,
    answer: Answer,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Returns a response without a body.
pub(super) fn status(code: u16) -> Response {
    with(code, &[])
}

/// Returns a response with these headers.
pub(super) fn with(code: u16, headers: &[(&str, &str)]) -> Response {
    let mut answer = Response::builder().status(code);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(Body::from(format!("this is {code}"))).expect("an answer")
}

async fn take(
    State(desk): State<Arc<Desk>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let told = Told { method, uri, headers, body, at: Instant::now() };
    let count = {
        let mut all = desk.told.lock().unwrap();
        all.push(told.clone());
        all.len()
    };
    (desk.answer)(&told, count)
}

/// Returns an acceptor of TLS for `localhost`, with the certificate of its CA.
pub(super) fn tls_of_localhost() -> (TlsAcceptor, String) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let tls = tls.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    (TlsAcceptor::from(Arc::new(tls)), cert.pem())
}

impl Receiver {
    /// Starts a server whose response is a function of the request and the number of requests.
    pub(super) async fn start(
        answer: impl Fn(&Told, usize) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, told, app) = (listener.local_addr().unwrap(), Arc::default(), router);
        let app = app(Arc::clone(&told), Box::new(answer));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, told, serving }
    }

    /// Starts a TLS server for `localhost`; returns it with the certificate of its CA.
    pub(super) async fn start_tls(
        answer: impl Fn(&Told, usize) -> Response + Send + Sync + 'static,
    ) -> (Self, String) {
        let (acceptor, pem) = tls_of_localhost();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, told) = (tcp.local_addr().unwrap(), Arc::default());
        let app = router(Arc::clone(&told), Box::new(answer));
        let listener = Tls { tcp, acceptor };
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (Self { address, told, serving }, pem)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(super) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }
}

fn router(told: Arc<Mutex<Vec<Told>>>, answer: Answer) -> Router {
    Router::new().fallback(take).with_state(Arc::new(Desk { told, answer }))
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // A client that does not trust the certificate closes the connection.
            if let Ok((stream, address)) = self.tcp.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
