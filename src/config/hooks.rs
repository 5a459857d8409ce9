//! `[[hook]]` and `[[gate]]`: programs and web servers of the administrator.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use super::files;
use super::table::Table;
use super::values::{duration, hook_name, is_open, path, web_url};
use crate::model::{Gate, Mail, Program, event_types};

/// A `[[hook]]` section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook {
    /// The name, which no other hook has.
    pub name: String,
    /// Types of events, families (`user.*`) or all (`*`); at least one.
    pub events: Vec<String>,
    pub receiver: Receiver,
    /// Time limit of one attempt; more than zero.
    pub timeout: Duration,
    /// Age at which a delivery becomes a dead letter; more than zero.
    pub max_age: Duration,
    /// Maximum number of concurrent deliveries.
    pub concurrency: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Receiver {
    /// A program that gets the event on stdin.
    Exec(Program),
    /// A web server that gets the event as a POST.
    Webhook(Webhook),
    /// The section `[mail]`.
    Mail(Box<Mail>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Webhook {
    /// An http or https URL.
    pub url: Url,
    /// The file of signing keys, one a line, which is read again for each delivery. Deliveries are
    /// unsigned without it.
    pub secret_file: Option<PathBuf>,
    /// A PEM file of trusted CAs; `None` is the system's trust store.
    pub ca_file: Option<PathBuf>,
    /// The URL of a proxy.
    pub proxy: Option<Url>,
    /// Whether `url` may be http to another machine.
    pub allow_http: bool,
}

/// Default time limit of hooks and gates.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a section. Returns `None` after a problem that left a required value without one.
pub(super) fn read_hook(mut table: Table<'_>, credentials: Option<&Path>) -> Option<Hook> {
    table.require(&[("name", "\"revoke-vpn\""), ("events", "[\"user.suspended\"]")]);
    let name = table.text("name", hook_name);
    let events = table.texts("events", event);
    if events.as_ref().is_some_and(Vec::is_empty) {
        table.problem_at(
            "events",
            "events is empty, so this hook receives nothing: write [\"*\"] for all events",
        );
    }
    let receiver = read_receiver(&mut table, credentials);
    let timeout = table.text("timeout", duration);
    let max_age = table.text("max-age", duration);
    let concurrency = table.integer("concurrency", &(1..=100));
    table.finish();
    Some(Hook {
        name: name?,
        events: events?,
        receiver: receiver?,
        timeout: timeout.unwrap_or(HOOK_TIMEOUT),
        max_age: max_age.unwrap_or(Duration::from_hours(7 * 24)),
        concurrency: concurrency.unwrap_or(4),
    })
}

/// Reads a section. Returns `None` after a problem that left a required value without one.
pub(super) fn read_gate(mut table: Table<'_>) -> Option<Gate> {
    table.require(&[
        ("name", "\"change-board\""),
        ("exec", "[\"/usr/libexec/rosterd/change-board\"]"),
    ]);
    let name = table.text("name", hook_name);
    let exec = read_exec(&mut table);
    let timeout = table.text("timeout", duration);
    table.finish();
    Some(Gate { name: name?, program: exec?, timeout: timeout.unwrap_or(HOOK_TIMEOUT) })
}

fn read_receiver(table: &mut Table<'_>, credentials: Option<&Path>) -> Option<Receiver> {
    let exec = read_exec(table);
    let url = table.text("url", web_url);
    let secret_file = table.text("secret-file", |text| {
        path(text).and_then(|path| files::signing_keys(&path).map(|()| path))
    });
    let secret_credential = table.text("secret-credential", |name| {
        let path = files::credential(name, "secret", "secret-file", credentials)?;
        files::signing_keys(&path).map(|()| path)
    });
    if table.has("secret-file") && table.has("secret-credential") {
        table.problem_at(
            "secret-credential",
            "there are both secret-file and secret-credential: remove one of them",
        );
    }
    let secret_file = secret_file.or(secret_credential);
    let ca_file = table.text("ca-file", |text| {
        path(text).and_then(|path| files::certificates(&path).map(|()| path))
    });
    let proxy = table.text("proxy", web_url);
    let allow_http = table.flag("allow-http").unwrap_or(false);
    if url.as_ref().is_some_and(is_open) && !allow_http {
        table.problem_at("url", "this is http, which others on the network can read and change: write https, or add allow-http = true");
    }
    match (table.has("exec"), table.has("url")) {
        (true, true) => {
            table.problem_at("url", "there are both exec and url: make two hooks of them")
        }
        (false, false) => table.missing(
            "exec",
            "[\"/usr/libexec/rosterd/revoke-vpn\"], or url = \"https://siem.example.com/rosterd\"",
        ),
        (true, false) => {
            for key in ["secret-file", "secret-credential", "ca-file", "proxy", "allow-http"]
                .into_iter()
                .filter(|key| table.has(key))
            {
                table.problem_at(
                    key,
                    format!("{key} is for hooks with a url, and this one has exec: remove it"),
                );
            }
        }
        (false, true) => {}
    }
    exec.map(Receiver::Exec)
        .or(url
            .map(|url| Receiver::Webhook(Webhook { url, secret_file, ca_file, proxy, allow_http })))
}

fn read_exec(table: &mut Table<'_>) -> Option<Program> {
    let mut is_first = true;
    let exec = table.texts("exec", |text| {
        if !std::mem::take(&mut is_first) {
            return Ok(text.to_owned());
        }
        let program = path(text).map_err(|e| {
            format!("{e}; no shell looks for the program, nor takes a command line apart")
        })?;
        files::program(&program).map(|()| text.to_owned())
    });
    if exec.as_ref().is_some_and(Vec::is_empty) {
        table.problem_at(
            "exec",
            "exec is empty: write the absolute path of the program, then its arguments",
        );
    }
    exec.as_deref().map(|exec| Program { part: table.part_of("exec"), ..Program::of(exec) })
}

pub(super) fn event(text: &str) -> Result<String, String> {
    event_types(text).map(|()| text.to_owned())
}
