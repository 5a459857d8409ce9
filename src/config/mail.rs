//! `[mail]`: the mail server, the recipients and the events that they are mailed.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;
use lettre::message::Mailbox;

use super::files;
use super::hooks::{self, Hook, Receiver};
use super::table::Table;
use super::values::{cron, duration, one_of, path, some_text};
use crate::model::{Cron, Mail, MailLogin, MailTls};

/// The name of its deliveries, in `rosterctl hook list`. No hook may have it beside the section.
pub(super) const NAME: &str = "mail";

/// The events of a section without `events`.
const EVENTS: [&str; 11] = [
    "run.held",
    "plan.expiring",
    "plan.expired",
    "directory.unreachable",
    "directory.recovered",
    "directory.stale",
    "directory.attention",
    "domain.lapsed",
    "hook.dead_lettered",
    "store.rewound",
    "digest.daily",
];

/// The time of the digest, unless the section names another.
const DIGEST: &str = "0 7 * * *";

const TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the section. Returns the deliveries, and the times of the digest.
pub(super) fn read(
    mut table: Table<'_>,
    credentials: Option<&Path>,
    zone: Tz,
) -> (Option<Hook>, Option<Cron>) {
    let is_present = table.is_present();
    if is_present {
        table.require(&[
            ("server", "\"mail.example.com\""),
            ("from", "\"rosterd <rosterd@example.com>\""),
            ("to", "[\"it-team@example.com\"]"),
        ]);
    }
    let server = table.text("server", server);
    let words =
        [("starttls", MailTls::StartTls), ("tls", MailTls::Implicit), ("off", MailTls::Off)];
    let tls = table.text("tls", one_of(&words)).unwrap_or(MailTls::StartTls);
    let port = table.integer("port", &(1..=u16::MAX));
    let ca_file = table.text("ca-file", |text| {
        path(text).and_then(|path| files::certificates(&path).map(|()| path))
    });
    let login = read_login(&mut table, credentials);
    let from = table.text("from", mailbox);
    let to = table.texts("to", mailbox);
    if to.as_ref().is_some_and(Vec::is_empty) {
        table.problem_at("to", "to is empty, so no mail is sent: write an address");
    }
    let events = table.texts("events", hooks::event);
    let digest = table.text_or("digest", DIGEST, |text| match text {
        "off" => Ok(None),
        text => cron(text, zone).map(Some).map_err(|error| format!("{error}; or \"off\"")),
    });
    let timeout = table.text("timeout", duration);
    let max_age = table.text("max-age", duration);
    if let (Some(server), MailTls::Off) = (&server, tls)
        && !is_here(server)
    {
        table.problem_at(
            "tls",
            "without TLS, others on the network can read and change the mails: write \"starttls\" or \"tls\"",
        );
    }
    table.finish();
    let hook = || {
        let port = port.unwrap_or(match tls {
            MailTls::StartTls => 587,
            MailTls::Implicit => 465,
            MailTls::Off => 25,
        });
        let mail = Mail { server: server?, port, tls, ca_file, login, from: from?, to: to? };
        Some(Hook {
            name: NAME.to_owned(),
            events: events.unwrap_or_else(|| EVENTS.map(str::to_owned).to_vec()),
            receiver: Receiver::Mail(Box::new(mail)),
            timeout: timeout.unwrap_or(TIMEOUT),
            max_age: max_age.unwrap_or(Duration::from_hours(7 * 24)),
            concurrency: 1,
        })
    };
    (hook(), digest.flatten().filter(|_| is_present))
}

fn read_login(table: &mut Table<'_>, credentials: Option<&Path>) -> Option<MailLogin> {
    let user = table.text("user", some_text);
    let password = table.text("password-file", |text| {
        path(text).and_then(|path| files::password(&path).map(|()| path))
    });
    let credential: Option<PathBuf> = table.text("password-credential", |name| {
        let path = files::credential(name, "password", "password-file", credentials)?;
        files::password(&path).map(|()| path)
    });
    let (has_file, has_credential) = (table.has("password-file"), table.has("password-credential"));
    if has_file && has_credential {
        table.problem_at(
            "password-credential",
            "there are both password-file and password-credential: remove one of them",
        );
    }
    match (table.has("user"), has_file || has_credential) {
        (true, false) => table.missing("password-file", "\"/etc/rosterd/mail.password\""),
        (false, true) => table.missing("user", "\"rosterd@example.com\""),
        _ => {}
    }
    Some(MailLogin { user: user?, password_file: password.or(credential)? })
}

fn server(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
        || text.parse::<IpAddr>().is_ok();
    if is_name {
        return Ok(text.to_owned());
    }
    Err(format!(
        "\"{text}\" is not the name of a server: write mail.example.com, and the port as port = 587"
    ))
}

fn is_here(server: &str) -> bool {
    server == "localhost" || server.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| {
        format!("\"{text}\" is not a mail address: write it-team@example.com, or \"IT <it-team@example.com>\"")
    })
}
