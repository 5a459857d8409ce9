//! `rosterctl hook`: hooks and their deliveries.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

use super::link::{Answer, Daemon, Failure};
use super::text::{
    Page, View, bold, count, dim, green, maybe_more, number, red, table, time, time_and_age, yellow,
};
use super::when::instant;
use super::{Exit, Output};
use crate::control::api::{
    Deliveries, Delivery, DeliveryState, Hook, HookState, Hooks, Redelivered, Sample,
};
use crate::control::client::Route;

/// Programs and web servers that receive events
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List all hooks with backlog, dead letters and the last error
    #[command(alias = "ls")]
    List,
    /// Send a sample event to a hook; exit status 0 if the hook accepts it
    Test {
        /// The name of the hook
        name: String,
    },
    /// List the deliveries of a hook, newest event first
    Deliveries(Which),
    /// Deliver dead letters again: one event, some, or all
    Redeliver(Redeliver),
    /// Deliver all matching events again since a time
    Replay {
        /// The name of the hook
        name: String,
        /// The start: a time, a date, yesterday, or an age such as 30d
        #[arg(long, value_name = "TIME")]
        since: String,
    },
}

#[derive(Debug, Args)]
pub struct Which {
    /// The name of the hook
    name: String,
    /// Only deliveries in this state: pending, delivered or failed
    #[arg(long, value_name = "STATE", value_parser = ["pending", "delivered", "failed"], hide_possible_values = true)]
    state: Option<String>,
    /// Only events of this type; user.* means all types of users
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only this subject: a user id, account, directory or other object
    #[arg(long)]
    subject: Option<String>,
    /// Only the event with this sequence number, with the output of the hook
    #[arg(long, value_name = "SEQ")]
    seq: Option<u64>,
    /// Show at most N deliveries
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).args(["seq", "kind", "subject", "since", "all"])))]
pub struct Redeliver {
    /// The name of the hook
    name: String,
    /// The event with this sequence number, in any state
    #[arg(long, value_name = "SEQ", conflicts_with_all = ["kind", "subject", "since", "all"])]
    seq: Option<u64>,
    /// Events of this type; user.* means all types of users
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only this subject: a user id, account, directory or other object
    #[arg(long)]
    subject: Option<String>,
    /// Events since: a time, a date, yesterday, or an age such as 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// All dead letters
    #[arg(long, conflicts_with_all = ["kind", "subject", "since"])]
    all: bool,
}

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let view = output.terminal.view();
    match command {
        Command::List => {
            let hooks: Answer<Hooks> = daemon.get(&Route::to(["hooks"])).await?;
            output.data(&hooks.raw, |view| list(&hooks.value, view))?;
        }
        Command::Test { name } => {
            let sample: Answer<Sample> =
                daemon.post(&Route::to(["hooks", name, "test"]), &()).await?;
            output.data(&sample.raw, |view| sampled(&sample.value, view))?;
            return Ok(if sample.value.delivered { Exit::Done } else { Exit::Failed });
        }
        Command::Deliveries(Which { name, state, kind, subject, seq, limit }) => {
            let route = Route::to(["hooks", name, "deliveries"])
                .with_some("state", state.as_ref())
                .with_some("type", kind.as_ref());
            let route = route
                .with_some("subject", subject.as_ref())
                .with_some("seq", *seq)
                .with("limit", limit);
            let deliveries: Answer<Deliveries> = daemon.get(&route).await?;
            output.data(&deliveries.raw, |view| {
                let mut page = of_hook(&deliveries.value, view);
                page.append(&maybe_more(deliveries.value.deliveries.len(), *limit));
                page
            })?;
        }
        Command::Redeliver(Redeliver { name, seq, kind, subject, since, all: _ }) => {
            let since = since.as_deref().map(|text| instant("--since", text, &view)).transpose()?;
            let mut which = serde_json::Map::new();
            let given = [
                ("seq", seq.map(|seq| json!(seq))),
                ("type", kind.as_ref().map(|kind| json!(kind))),
                ("subject", subject.as_ref().map(|subject| json!(subject))),
                ("since", since.map(|since| json!(since))),
            ];
            which.extend(
                given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))),
            );
            let done: Answer<Redelivered> =
                daemon.post(&Route::to(["hooks", name, "redeliver"]), &which).await?;
            output.data(&done.raw, |_| again(&done.value))?;
        }
        Command::Replay { name, since } => {
            let body = json!({ "since": instant("--since", since, &view)? });
            let done: Answer<Redelivered> =
                daemon.post(&Route::to(["hooks", name, "replay"]), &body).await?;
            output.data(&done.raw, |_| again(&done.value))?;
        }
    }
    Ok(Exit::Done)
}

fn again(Redelivered { hook, deliveries }: &Redelivered) -> Page {
    Page::from(match deliveries {
        0 => format!("no delivery to {hook} matches\n"),
        n => format!(
            "{} to {hook} queued: rosterctl hook deliveries {hook}\n",
            count(*n, "delivery")
        ),
    })
}

pub fn list(hooks: &Hooks, view: &View) -> Page {
    if hooks.hooks.is_empty() {
        return Page::from("no hooks are configured\n".to_owned());
    }
    let mut page = Page::default();
    for (at, hook) in hooks.hooks.iter().enumerate() {
        if at > 0 {
            page.line("");
        }
        page.append(&one(hook, view));
    }
    page
}

fn one(hook: &Hook, view: &View) -> Page {
    let Hook {
        name,
        events,
        target,
        state,
        pending,
        failed,
        delivered,
        lag_seconds,
        last_delivered,
        last_error,
        last_error_at,
        kept_until,
    } = hook;
    let mut page = Page::default();
    let (light, state) = match state {
        HookState::Ok => (green("●"), green(state)),
        HookState::Failing => (red("●"), red(state)),
        HookState::Disabled | HookState::Removed => (yellow("●"), yellow(state)),
    };
    match kept_until {
        None => page.line(format!("{light} {} → {target}: {state}", bold(name))),
        Some(_) => page.line(format!("{light} {}: {}", bold(name), yellow("no longer configured"))),
    }
    let mut waits = format!("{} pending", number(*pending));
    if *pending > 0 {
        let lag = std::time::Duration::from_secs(*lag_seconds);
        waits = format!("{waits}, the oldest for {}", humantime::format_duration(lag));
    }
    let failed = if *failed > 0 {
        red(format!("{} given up", number(*failed)))
    } else {
        "0 given up".to_owned()
    };
    let mut fields = Vec::new();
    if kept_until.is_none() {
        fields.push(("events", events.join(", ")));
    }
    fields.push(("deliveries", format!("{} done, {waits}, {failed}", number(*delivered))));
    fields.extend(kept_until.as_ref().map(|until| {
        ("kept until", format!("{}, in case the hook is configured again", time(until, view)))
    }));
    fields.extend(last_delivered.as_ref().map(|at| ("last", time_and_age(at, view))));
    if let (Some(error), Some(at)) = (last_error, last_error_at) {
        fields.push(("last error", format!("{}: {error}", time_and_age(at, view))));
    }
    page.fields(&fields, view);
    page
}

pub fn sampled(sample: &Sample, view: &View) -> Page {
    let Sample { hook, event: _, kind, delivered: _, error, output, took_ms } = sample;
    let mut page = Page::default();
    match error {
        None => page.line(format!(
            "{} {} accepted a sample of {kind} in {took_ms} ms",
            green("✓"),
            bold(hook)
        )),
        Some(error) => page.sentence(
            &format!("{} ", red("✗")),
            &format!("{} refused a sample of {kind}: {error}", bold(hook)),
            view,
        ),
    }
    page.append(&printed(output, view));
    page
}

fn printed(output: &str, view: &View) -> Page {
    let mut page = Page::default();
    for line in output.split("\\n").flat_map(str::lines) {
        page.sentence("  ", &dim(line), view);
    }
    page
}

/// Lists deliveries, or shows a single delivery in full.
pub fn of_hook(deliveries: &Deliveries, view: &View) -> Page {
    match deliveries.deliveries.as_slice() {
        [] => Page::from("no such deliveries\n".to_owned()),
        [only] => single(only, view),
        all => {
            let rows = all.iter().map(|delivery| {
                let Delivery {
                    seq,
                    kind,
                    subject,
                    state,
                    attempts,
                    since,
                    next_at,
                    done_at,
                    error,
                    output,
                    event: _,
                } = delivery;
                let when = match (state, done_at, next_at) {
                    (DeliveryState::Pending, _, Some(next)) => format!("next {}", time(next, view)),
                    (DeliveryState::Pending, _, None) => "after an earlier delivery".to_owned(),
                    (_, Some(done), _) => time(done, view),
                    _ => time(since, view),
                };
                let last =
                    output.as_deref().and_then(|o| o.split("\\n").flat_map(str::lines).last());
                let said = error.as_deref().or(last).unwrap_or_default();
                [
                    seq.to_string(),
                    kind.clone(),
                    subject.clone(),
                    coloured(*state),
                    attempts.to_string(),
                    when,
                    dim(said),
                ]
            });
            table(["SEQ", "TYPE", "SUBJECT", "STATE", "TRIES", "WHEN", "SAID"], rows, view)
        }
    }
}

fn single(delivery: &Delivery, view: &View) -> Page {
    let Delivery {
        seq,
        event,
        kind,
        subject,
        state,
        attempts,
        since,
        next_at,
        done_at,
        error,
        output,
    } = delivery;
    let mut page = Page::default();
    page.line(format!("{} {kind} about {subject}: {}", bold(seq), coloured(*state)));
    let mut fields = vec![
        ("event", event.clone()),
        ("since", time_and_age(since, view)),
        ("tries", attempts.to_string()),
    ];
    for (name, at) in [("next", next_at), ("ended", done_at)] {
        fields.extend(at.as_ref().map(|at| (name, time_and_age(at, view))));
    }
    fields.extend(error.as_ref().map(|error| ("error", red(error))));
    page.fields(&fields, view);
    page.append(&printed(output.as_deref().unwrap_or_default(), view));
    page
}

fn coloured(state: DeliveryState) -> String {
    match state {
        DeliveryState::Delivered => green(state),
        DeliveryState::Failed => red(state),
        DeliveryState::Pending => yellow(state),
    }
}
