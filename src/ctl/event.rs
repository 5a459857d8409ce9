//! `rosterctl event`: the event log.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::csv::csv;
use super::link::{Answer, Daemon, Failure, PAGE, joined};
use super::terminal::Reader;
use super::text::{Page, View, dim, green, not_shown, number, red, table, time, value, yellow};
use super::when::instant;
use super::{Exit, Output, change, run};
use crate::control::api::{Event, Events, LogCheck, StoreStatus};
use crate::control::client::{ClientError, Route};

/// The event log: each change with its actor
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List events, oldest first
    #[command(alias = "ls")]
    List(List),
    /// Follow new events, one per line; continues after a restart of rosterd
    Tail(Tail),
    /// Verify the hash chain of the log: finds edited, deleted and moved entries, and states what the result proves
    Verify {
        /// A head from this command, the journal or a webhook: also finds truncated and recomputed entries
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<String>,
    },
    /// Accept that the database has lost commits: status no longer tells of it. Changes that wait for approval still wait
    AcceptLoss,
}

#[derive(Debug, Args)]
pub struct Which {
    /// Only this type, such as user.suspended; user.* means all types of users
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only this subject: a user id, account, directory or other object
    #[arg(long, conflicts_with = "person")]
    subject: Option<String>,
    /// Only this user: an address, id, logon name, DN, employee id or full name
    #[arg(long, visible_alias = "user", value_name = "WHO")]
    person: Option<String>,
    /// Only this account, with its users, domains and directories
    #[arg(long, value_name = "HANDLE")]
    account: Option<String>,
    /// Only this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only after this sequence number
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    which: Which,
    /// Events since: a time, a date, yesterday, monday, or an age such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Events before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show at most N events, the newest ones; default: 200, and all with --csv and --json
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print as CSV
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Args)]
pub struct Tail {
    #[command(flatten)]
    which: Which,
    /// End after this number of events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Seconds that the daemon waits for new events before an empty answer (long polling).
const POLL_TIMEOUT: u64 = 20;

/// The retry interval while the daemon restarts.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        Command::List(arguments) => {
            let List { which, since, until, limit, csv } = arguments;
            if *csv && output.json {
                return Err(Failure::Usage("--csv and --json: choose one".to_owned()));
            }
            let view = output.terminal.view();
            let given = |option: &str, text: &Option<String>| {
                text.as_deref().map(|text| instant(option, text, &view)).transpose()
            };
            let (since, until) = (given("--since", since)?, given("--until", until)?);
            let route =
                which.route(daemon).await?.with_some("since", since).with_some("until", until);
            let is_export = *csv || output.json;
            let mut further = None;
            let events = match (limit, which.after) {
                (None, after) if is_export => {
                    first(&route, after.unwrap_or(0), u64::MAX, daemon).await?
                }
                (limit, Some(after)) => {
                    let events = first(&route, after, limit.unwrap_or(LISTED), daemon).await?;
                    further = newer_than(&events.value, &route, daemon).await?;
                    events
                }
                (limit, None) => newest(&route, limit.unwrap_or(LISTED), daemon).await?,
            };
            if *csv {
                output.terminal.print(&as_csv(&events.value, &view))?;
            } else {
                output.data(&events.raw, |view| {
                    let mut page = list(&events.value, view);
                    if let Some(after) = further {
                        page.line(dim(format!("… newer ones follow: --after {after}, --limit")));
                    }
                    page
                })?;
            }
            Ok(Exit::Done)
        }
        Command::Tail(arguments) => tail(arguments, daemon, output).await,
        Command::Verify { head } => {
            let check: Answer<LogCheck> = daemon
                .get(&Route::to(["events", "verify"]).with_some("head", head.as_ref()))
                .await?;
            output.data(&check.raw, |view| verified(&check.value, view))?;
            Ok(if check.value.intact { Exit::Done } else { Exit::Failed })
        }
        Command::AcceptLoss => {
            let route = Route::to(["events", "accept-loss"]);
            let left: Answer<StoreStatus> = daemon.post(&route, &serde_json::json!({})).await?;
            output.data(&left.raw, |view| {
                let mut page = Page::from(
                    "the loss is accepted; rosterctl held list shows what waits\n".to_owned(),
                );
                for sentence in &left.value.attention {
                    page.sentence("  ", sentence, view);
                }
                page
            })?;
            Ok(Exit::Done)
        }
    }
}

/// Events in a list, unless `--limit` says otherwise.
const LISTED: u64 = 200;

/// Returns the first events after a number, page by page.
async fn first(
    route: &Route,
    after: u64,
    limit: u64,
    daemon: &Daemon,
) -> Result<Answer<Events>, Failure> {
    let page =
        |after: u64, left: u64| route.clone().with("after", after).with("limit", left.min(PAGE));
    let mut events: Answer<Events> = daemon.get(&page(after, limit)).await?;
    let mut is_full = events.value.events.len() as u64 == limit.min(PAGE);
    while let (true, Some(last)) = (is_full, events.value.events.last()) {
        let left = limit - events.value.events.len() as u64;
        if left == 0 {
            break;
        }
        let next: Answer<Events> = daemon.get(&page(last.seq, left)).await?;
        is_full = next.value.events.len() as u64 == left.min(PAGE);
        events.raw = joined(events.raw, next.raw, "events");
        events.value.events.extend(next.value.events);
    }
    Ok(events)
}

/// Returns the number of the last event shown, if other ones follow it.
async fn newer_than(
    shown: &Events,
    route: &Route,
    daemon: &Daemon,
) -> Result<Option<u64>, Failure> {
    let Some(last) = shown.events.last() else { return Ok(None) };
    let next = route.clone().with("after", last.seq).with("limit", 1);
    let next: Answer<Events> = daemon.get(&next).await?;
    Ok((!next.value.events.is_empty()).then_some(last.seq))
}

/// Returns the newest events. More than a page of them are the last ones of all.
async fn newest(route: &Route, limit: u64, daemon: &Daemon) -> Result<Answer<Events>, Failure> {
    if limit <= PAGE {
        return daemon.get(&route.clone().with("limit", limit)).await;
    }
    let mut events = first(route, 0, u64::MAX, daemon).await?;
    let excess = (events.value.events.len() as u64).saturating_sub(limit);
    let surplus = usize::try_from(excess).unwrap_or(usize::MAX);
    events.value.events.drain(..surplus);
    if let Some(raw) = events.raw["events"].as_array_mut() {
        raw.drain(..surplus);
    }
    events.value.older = Some(excess);
    Ok(events)
}

impl Which {
    /// Returns the route of the selected events.
    async fn route(&self, daemon: &Daemon) -> Result<Route, Failure> {
        let Self { kind, subject, person, account, run, after: _ } = self;
        let run = match run {
            Some(given) => Some(run::resolve(given, daemon).await?),
            None => None,
        };
        let route = Route::to(["events"])
            .with_some("type", kind.as_ref())
            .with_some("subject", subject.as_ref());
        Ok(route
            .with_some("person", person.as_ref())
            .with_some("account", account.as_ref())
            .with_some("run", run))
    }
}

async fn tail(
    Tail { which, limit }: &Tail,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let route = which.route(daemon).await?;
    let mut after = match which.after {
        Some(after) => after,
        None => {
            let newest: Answer<Events> =
                daemon.get(&Route::to(["events"]).with("limit", 1)).await?;
            newest.value.events.last().map_or(0, |event| event.seq)
        }
    };
    let mut left = limit.unwrap_or(u64::MAX);
    let mut is_told = false;
    while left > 0 {
        let begun = Instant::now();
        let asked = route
            .clone()
            .with("after", after)
            .with("wait", POLL_TIMEOUT)
            .with("limit", left.min(1_000));
        let events: Answer<Events> = match daemon.get(&asked).await {
            Ok(events) => events,
            // After a restart the daemon still has the events after `after`.
            Err(Failure::Client(
                reason @ (ClientError::NoDaemon { .. } | ClientError::WrongAnswer { .. }),
            )) => {
                if !std::mem::replace(&mut is_told, true) {
                    let mut page = Page::default();
                    page.line(format!("{} {reason}", yellow("!")));
                    page.line(format!("  retrying; continues after event {after}"));
                    output.note(&page);
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        is_told = false;
        let raw = events.raw.get("events").and_then(Value::as_array).into_iter().flatten();
        for (event, raw) in events.value.events.iter().zip(raw) {
            let page = if output.json {
                Page::from(format!("{raw}\n"))
            } else {
                line(event, &output.terminal.view())
            };
            if output.terminal.feed(&page)? == Reader::Gone {
                return Ok(Exit::Done);
            }
            after = event.seq;
            left -= 1;
        }
        // A busy daemon answers early. The pause lets other callers proceed.
        if events.value.events.is_empty() && begun.elapsed() < Duration::from_secs(POLL_TIMEOUT) {
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
    Ok(Exit::Done)
}

/// Summarises the state after an event, without empty values and zeros.
pub(crate) fn brief(after: &Value) -> String {
    match after {
        Value::Object(fields) => {
            let shown = fields
                .iter()
                .map(|(name, field)| (name, brief(field)))
                .filter(|(_, text)| !text.is_empty());
            shown
                .map(|(name, text)| format!("{} {text}", name.replace('_', " ")))
                .collect::<Vec<_>>()
                .join(", ")
        }
        Value::Null => String::new(),
        Value::Array(items) if items.is_empty() => String::new(),
        Value::Number(n) if n.as_u64() == Some(0) => String::new(),
        other => value(other),
    }
}

pub(crate) fn field<'a>(document: &'a Value, name: &str) -> &'a str {
    document.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn data<'a>(document: &'a Value, name: &str) -> &'a Value {
    document.get("data").and_then(|d| d.get(name)).unwrap_or(&Value::Null)
}

/// Colours an event type: red for failures and lost access, yellow for pending decisions.
pub(crate) fn coloured(kind: &str) -> String {
    match kind {
        "user.suspended"
        | "run.failed"
        | "directory.unreachable"
        | "directory.stale"
        | "domain.lapsed"
        | "hook.dead_lettered" => red(kind),
        "run.held" | "plan.expired" | "user.quarantined" | "directory.attention" => yellow(kind),
        other => other.to_owned(),
    }
}

pub fn list(events: &Events, view: &View) -> Page {
    if events.events.is_empty() {
        return Page::from("no such events\n".to_owned());
    }
    if view.width < TABLE_WIDTH {
        let mut page = Page::default();
        for event in &events.events {
            page.append(&block(event, view));
        }
        page.append(&not_shown(events.older.unwrap_or(0), "older ones", "--limit, --since"));
        return page;
    }
    let rows = events.events.iter().map(|Event { seq, document }| {
        [
            seq.to_string(),
            time(field(document, "time"), view),
            coloured(field(document, "type")),
            subject(document).to_owned(),
            actor(document),
            dim(brief(data(document, "after"))),
        ]
    });
    let mut page = table(["SEQ", "TIME", "TYPE", "SUBJECT", "BY", "NOW"], rows, view);
    page.append(&not_shown(events.older.unwrap_or(0), "older ones", "--limit, --since"));
    page
}

/// Below this width, the columns of a table are too narrow for addresses and texts.
const TABLE_WIDTH: usize = 100;

/// Shows an event in two lines: what happened to whom, and the values afterwards.
fn block(Event { seq, document }: &Event, view: &View) -> Page {
    let mut page = Page::default();
    let head = format!(
        "{}  {}  {}  by {}",
        time(field(document, "time"), view),
        coloured(field(document, "type")),
        subject(document),
        actor(document)
    );
    page.sentence(&format!("{seq:>7}  "), &head, view);
    let after = brief(data(document, "after"));
    if !after.is_empty() {
        page.sentence("         ", &dim(after), view);
    }
    page
}

fn line(Event { seq, document }: &Event, view: &View) -> Page {
    let mut page = Page::default();
    let by = actor(document);
    let (at, kind, subject) =
        (time(field(document, "time"), view), coloured(field(document, "type")), subject(document));
    page.line(format!("{seq} {at} {kind} {subject} {by} {}", dim(brief(data(document, "after")))));
    page
}

/// Names the actor of an event, and the program through which it acted: `alice via console`.
pub(crate) fn actor(document: &Value) -> String {
    let actor = data(document, "actor").as_str().unwrap_or_default();
    match data(document, "via").as_str() {
        Some(via) => format!("{actor} via {via}"),
        None => actor.to_owned(),
    }
}

/// Returns a name of the event's user, as it was before the change or is after it.
fn name_of<'a>(document: &'a Value, when: &str, name: &str) -> &'a str {
    let known = data(document, "user").get(when).unwrap_or(&Value::Null);
    field(known, name)
}

/// Returns the present name of the event's user, or the last one of a removed user.
pub(crate) fn present_name<'a>(document: &'a Value, name: &str) -> &'a str {
    match name_of(document, "after", name) {
        "" => name_of(document, "before", name),
        name => name,
    }
}

/// Returns the name before a change that gives the user another one.
pub(crate) fn former_name<'a>(document: &'a Value, name: &str) -> &'a str {
    let (was, is) = (name_of(document, "before", name), name_of(document, "after", name));
    if was == is || is.is_empty() { "" } else { was }
}

/// Names the subject of an event: a user by address or logon name, another object by its id or name.
pub(crate) fn subject(document: &Value) -> &str {
    ["primary_email", "sam_account_name"]
        .into_iter()
        .map(|name| present_name(document, name))
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| field(document, "subject"))
}

/// Exports have UTC, whatever the time zone of the operator.
pub fn as_csv(events: &Events, view: &View) -> Page {
    const NAMES: [&str; 5] =
        ["display_name", "primary_email", "sam_account_name", "user_principal_name", "employee_id"];
    let utc = View { zone: chrono_tz::Tz::UTC, ..*view };
    let rows = events.events.iter().map(|Event { seq, document }| {
        let named = |name: &str| field(document, name).to_owned();
        let of = |name: &str| brief(data(document, name));
        let is = NAMES.map(|name| present_name(document, name).to_owned());
        let was = ["display_name", "primary_email", "sam_account_name"]
            .map(|name| former_name(document, name).to_owned());
        let begin = [seq.to_string(), named("time"), named("type"), named("subject")];
        let evidence = change::evidence(data(document, "evidence"), &utc).join("; ");
        let end = [
            of("actor"),
            of("run"),
            of("account"),
            of("before"),
            of("after"),
            evidence,
            named("id"),
        ];
        begin.into_iter().chain(is).chain(was).chain(end).collect::<Vec<_>>()
    });
    let header = ["seq", "time", "type", "subject"].into_iter().chain(NAMES).chain([
        "former_display_name",
        "former_primary_email",
        "former_sam_account_name",
        "actor",
        "run",
        "account",
        "before",
        "after",
        "evidence",
        "id",
    ]);
    csv(header, rows)
}

pub fn verified(check: &LogCheck, view: &View) -> Page {
    let LogCheck { intact: _, entries, broken_at, finding, head, keyed_from: _, proves } = check;
    let mut page = Page::default();
    match broken_at {
        None => {
            page.line(format!("{} {} entries, the chain is intact", green("✓"), number(*entries)));
            if let Some(proves) = proves {
                page.sentence("  ", proves, view);
            }
            if let Some(head) = head {
                page.line(format!("head: {head}"));
                let advice = "Keep the head elsewhere: rosterctl event verify --head … later shows whether entries were removed";
                page.sentence("", &dim(advice), view);
            }
        }
        Some(seq) => {
            let finding = finding.as_deref().unwrap_or("its hash does not match the entry before");
            page.sentence(
                &format!("{} ", red("✗")),
                &format!("the log breaks at entry {seq}: {finding}"),
                view,
            );
            page.line(format!("  the {} entries before it are intact", number(*entries)));
        }
    }
    page
}
