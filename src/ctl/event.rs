//! `rosterctl event`: everything that happened.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::link::{Answer, Daemon, Failure};
use super::text::{Page, View, dim, red, table, time, value};
use super::{Exit, Output, run};
use crate::control::api::{Event, Events};
use crate::control::client::Route;

/// Everything that happened, and who did it
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Events, oldest first
    List(List),
}

/// Which events.
#[derive(Debug, Args)]
pub struct List {
    /// Of this type, such as user.suspended
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// About this user's id, account, directory or other object
    #[arg(long)]
    subject: Option<String>,
    /// Of this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Not earlier than this: a time, a date, or how long ago, such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// After this place in the log
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// At most so many
    #[arg(long)]
    limit: Option<u32>,
}

pub(super) async fn call(command: &Command, daemon: &Daemon, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let Command::List(List { kind, subject, run, since, after, limit }) = command;
    let since = since.as_deref().map(|text| instant(text, output.terminal.view().now)).transpose()?;
    let run = match run {
        Some(given) => Some(run::resolve(given, daemon).await?),
        None => None,
    };
    let route = Route::to(["events"])
        .with_some("type", kind.as_ref())
        .with_some("subject", subject.as_ref())
        .with_some("run", run)
        .with_some("since", since)
        .with_some("after", *after)
        .with_some("limit", *limit);
    let events: Answer<Events> = daemon.get(&route).await?;
    output.data(&events.raw, |view| list(&events.value, view))?;
    Ok(Exit::Done)
}

/// The instant that is meant, as the daemon wants it.
fn instant(text: &str, now: DateTime<Utc>) -> Result<String, Failure> {
    let at = DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .ok()
        .or_else(|| text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0).map(|midnight| midnight.and_utc()))
        .or_else(|| now.checked_sub_signed(chrono::Duration::from_std(humantime::parse_duration(text).ok()?).ok()?));
    match at {
        Some(at) => Ok(at.to_rfc3339_opts(SecondsFormat::Millis, true)),
        None => Err(Failure::Usage(format!("--since {text} is no time: write 2026-11-24T02:58:00Z, 2026-11-24, or 2h for two hours ago"))),
    }
}

/// What an event left behind, without what says nothing.
fn brief(after: &Value) -> String {
    match after {
        Value::Object(fields) => {
            let told = fields.iter().map(|(name, field)| (name, brief(field))).filter(|(_, text)| !text.is_empty());
            told.map(|(name, text)| format!("{} {text}", name.replace('_', " "))).collect::<Vec<_>>().join(", ")
        }
        Value::Null => String::new(),
        Value::Array(items) if items.is_empty() => String::new(),
        Value::Number(n) if n.as_u64() == Some(0) => String::new(),
        other => value(other),
    }
}

/// The events of a list.
pub fn list(events: &Events, view: &View) -> Page {
    if events.events.is_empty() {
        return Page::from("no such events\n".to_owned());
    }
    let rows = events.events.iter().map(|Event { seq, document }| {
        let field = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
        let data = |name: &str| document.get("data").and_then(|d| d.get(name)).unwrap_or(&Value::Null);
        let kind = field("type");
        let bad = matches!(kind, "user.suspended" | "run.failed" | "directory.unreachable" | "domain.lapsed");
        let after = data("after");
        [
            seq.to_string(),
            time(field("time")),
            if bad { red(kind) } else { kind.to_owned() },
            field("subject").to_owned(),
            data("actor").as_str().unwrap_or_default().to_owned(),
            dim(brief(after)),
        ]
    });
    table(["SEQ", "TIME", "TYPE", "SUBJECT", "BY", "NOW"], rows, view)
}
