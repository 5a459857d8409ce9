//! The server of a console: its routes, and the exchange of the code.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Form};
use chrono_tz::Tz;
use maud::{Markup, html};
use serde::Deserialize;
use tokio::net::TcpListener;

use super::door::{Ending, NoRandom, Secret};
use super::guard::{OPEN, guard};
use super::layout::{self, Fault, LEAVE};
use super::state::Console;
use super::visit::Visit;
use super::{events, held, overview, people, person, problems, reports, runs, systems};
use crate::clock::Clock;
use crate::control::api::{Caller, Means};
use crate::control::client::Route;
use crate::ctl::link::{Daemon, Failure};

#[derive(Debug, Clone)]
pub struct Settings {
    pub socket: PathBuf,
    pub read_only: bool,
    pub zone: Tz,
}

/// A console that listens, and is not served yet.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) console: Arc<Console>,
    listener: TcpListener,
    code: Secret,
}

/// The console cannot begin.
#[derive(Debug)]
pub(super) enum Unopened {
    Failure(Failure),
    Listen(io::Error),
    NoRandom(NoRandom),
}

impl Listening {
    /// Asks the daemon for the caller, and listens on a free port.
    pub(super) async fn open(settings: Settings, clock: Clock) -> Result<Self, Unopened> {
        let Settings { socket, read_only, zone } = settings;
        let (daemon, caller) = connect(&socket).await.map_err(Unopened::Failure)?;
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Unopened::Listen)?;
        let port = listener.local_addr().map_err(Unopened::Listen)?.port();
        let code = Secret::random().map_err(Unopened::NoRandom)?;
        let rights = (read_only, zone);
        let console = Console::new(daemon, caller, rights, port, code.clone(), clock);
        Ok(Self { console: Arc::new(console), listener, code })
    }

    /// Returns the link, with the code in the fragment, which no browser sends.
    pub(super) fn link(&self) -> String {
        format!("http://127.0.0.1:{}{OPEN}#{}", self.console.port(), self.code.as_str())
    }

    /// Serves until the session ends.
    pub(super) async fn serve(self) -> io::Result<Ending> {
        let Self { console, listener, code: _ } = self;
        let service =
            router(Arc::clone(&console)).into_make_service_with_connect_info::<SocketAddr>();
        tokio::select! {
            served = async { axum::serve(listener, service).await } => served.map(|()| Ending::Left),
            ending = console.ended() => Ok(ending),
        }
    }
}

/// Opens a console. Returns its link, and serves it until the session ends.
pub async fn start(settings: Settings, clock: Clock) -> Option<(String, impl Future<Output = ()>)> {
    let listening = Listening::open(settings, clock).await.ok()?;
    let link = listening.link();
    Some((link, async { drop(listening.serve().await) }))
}

/// Connects to the daemon, and asks it for the caller.
pub(super) async fn connect(socket: &Path) -> Result<(Daemon, Caller), Failure> {
    let daemon = Daemon::on(socket, false)?.via(Means::Console);
    let caller = daemon.get::<Caller>(&Route::to(["caller"])).await?.value;
    Ok((daemon, caller))
}

fn router(console: Arc<Console>) -> Router {
    pages()
        .route(LEAVE, post(leave))
        .route(OPEN, get(ask_for_code).post(open))
        .route("/assets/{name}", get(layout::asset))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&console), guard))
        .with_state(console)
}

/// Returns the pages, which are the same in a browser and in Cockpit.
pub(super) fn pages() -> Router<Arc<Console>> {
    Router::new()
        .route("/", get(overview::page))
        .route("/here", get(async || ""))
        .route("/held", get(held::list))
        .route("/held/{id}", get(held::page))
        .route("/held/{id}/approve", post(held::approve))
        .route("/held/{id}/reject", post(held::reject))
        .route("/held/{id}/reopen", post(held::reopen))
        .route("/person/{who}", get(person::page))
        .route("/person/{who}/suspend", post(person::suspend))
        .route("/person/{who}/activate", post(person::activate))
        .route("/people", get(people::page))
        .route("/people.csv", get(people::csv))
        .route("/runs", get(runs::list))
        .route("/runs/{id}", get(runs::page))
        .route("/runs/{id}/undo", get(runs::undo).post(runs::revert))
        .route("/problems", get(problems::list))
        .route("/problems/{guid}", get(problems::page))
        .route("/problems/{guid}/relink", post(problems::relink))
        .route("/systems", get(systems::page))
        .route("/systems/hooks/{name}", get(systems::hook))
        .route("/systems/hooks/{name}/redeliver", post(systems::redeliver))
        .route("/events", get(events::page))
        .route("/events.csv", get(events::csv))
        .route("/events/verify", get(events::verify))
        .route("/reports", get(reports::list))
        .route("/reports/{name}", get(reports::page))
        .route("/reports/{name}/csv", get(reports::csv))
        .fallback(async || Fault::new(StatusCode::NOT_FOUND, "There is no such page."))
        .method_not_allowed_fallback(wrong_method)
}

/// Refuses the address of a form that is opened as a page, and a form sent to a page.
async fn wrong_method(method: Method) -> Fault {
    let sentence = match method {
        Method::POST => "This page takes no form. Nothing was changed.",
        _ => "This address takes a form, and has no page. Nothing was changed.",
    };
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
}

/// The script of this page sends the code from the fragment. Without the script, a person copies it.
async fn ask_for_code() -> Markup {
    layout::bare(
        "Open the console",
        &html! {
            form #open method="post" action=(OPEN) {
                label for="code" { "The code of the link: all characters after #" }
                input #code name="code" autocomplete="off" required;
                button { "Open" }
            }
        },
    )
}

#[derive(Debug, Deserialize)]
struct Code {
    code: String,
}

async fn open(
    State(console): State<Arc<Console>>,
    Form(Code { code }): Form<Code>,
) -> Result<Response, Fault> {
    let new = || Secret::random().map_err(|error| Fault::internal(&error));
    let opened = console.open(code.trim(), [new()?, new()?])?;
    let cookie = format!(
        "{}={}; HttpOnly; SameSite=Strict; Path=/",
        console.cookie_name(),
        opened.cookie.as_str()
    );
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

async fn leave(State(console): State<Arc<Console>>, Extension(_): Extension<Visit>) -> Markup {
    console.leave();
    layout::bare("Goodbye", &html! { p { "The console has ended. This tab can be closed." } })
}
