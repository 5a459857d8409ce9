//! The overview: what needs a person first, then each directory and target.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use chrono::{DateTime, Days, NaiveDate};
use maud::{Markup, html};

use super::layout::{
    self, Place, Shown, Tone, badge, count, facts, notice, number, sentence, when,
};
use super::state::Console;
use super::visit::Visit;
use super::{held, systems};
use crate::control::api::{
    DirectoryState, DirectoryStatus, HeldPlan, ManagedCounts, Progress, QuietWait, Run,
    RunUnderWay, Runs, Status,
};
use crate::control::client::Route;
use crate::ctl::link::{Answer, PAGE};
use crate::ctl::report::charts::column_chart;
use crate::ctl::status::under_way;
use crate::ctl::text::{View, is_for_ever};

/// Commands of sentences whose subject has a card or a link of its own here.
const SHOWN_OTHERWISE: [&str; 2] = ["rosterctl held show", "rosterctl user list --quarantined"];
/// Days of the chart.
const DAYS: u64 = 30;
/// Pages of runs that the chart reads at most.
const LONGEST_CHART: usize = 10;

pub async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
) -> Shown {
    let status: Answer<Status> = console.daemon().get(&Route::to(["status"])).await?;
    let plans = held::open_plans(&console).await?;
    let status = status.value;
    let days = days(&console, &status, &visit.view).await?;
    let is_running = status.directories.iter().any(|directory| directory.running.is_some());
    Ok(layout::page(
        &visit,
        Place::Overview,
        "Overview",
        &html! {
            div #live data-refresh[is_running] {
                (needs(&status, &plans, &visit))
                @if status.directories.is_empty() {
                    (notice(Tone::Waits, &html! { "No directory is configured: add a " code { "[[directory]]" } " to a file in /etc/rosterd/conf.d." }))
                }
                section aria-labelledby="directories" {
                    h2 #directories { "Directories" }
                    ul.cards { @for one in &status.directories { li.card { (directory(one, &visit.view)) } } }
                }
                @if !status.targets.is_empty() {
                    section aria-labelledby="targets" {
                        h2 #targets { "Connected systems" }
                        ul.cards { @for one in &status.targets { li.card { (systems::target(one, &visit.view)) } } }
                    }
                }
            }
            section aria-labelledby="days" {
                h2 #days { "The last " (DAYS) " days" }
                (chart(&days))
            }
            p.small { "rosterd " (status.version) ", running since " (when(&status.started_at, &visit.view)) }
        },
    ))
}

/// Lists what waits for a person, the most urgent first.
fn needs(status: &Status, plans: &[HeldPlan], visit: &Visit) -> Markup {
    let directories = status.directories.iter();
    let sentences: Vec<(&str, &String)> = directories
        .flat_map(|one| one.attention.iter().map(|sentence| (one.name.as_str(), sentence)))
        .chain(
            status
                .targets
                .iter()
                .flat_map(|one| one.attention.iter().map(|sentence| (one.name.as_str(), sentence))),
        )
        .chain(status.hooks.attention.iter().map(|sentence| ("hooks", sentence)))
        .chain(status.store.attention.iter().map(|sentence| ("store", sentence)))
        .collect();
    let sentences: Vec<_> = sentences
        .into_iter()
        .filter(|(_, text)| !SHOWN_OTHERWISE.iter().any(|command| text.contains(command)))
        .collect();
    let quarantined: u64 = status.directories.iter().map(|one| one.quarantined).sum();
    let nothing =
        plans.is_empty() && sentences.is_empty() && quarantined == 0 && status.hooks.failed == 0;
    html! {
        section.needs aria-labelledby="needs" {
            h2 #needs { "Needs you" }
            @if nothing {
                p.calm { "Nothing. rosterd does the usual changes by itself." }
            }
            ul.cards {
                @for plan in plans { li.card.waits { (held::summary(plan, visit)) } }
            }
            ul.list {
                @for (name, text) in sentences {
                    li { (badge(Tone::Waits, name)) " " (sentence(text)) }
                }
                @if quarantined > 0 {
                    li { (badge(Tone::Waits, "problems")) " " a href="/problems" { (count(quarantined, "entry")) " of the directory cannot be used" } }
                }
                @if status.hooks.failed > 0 {
                    li { (badge(Tone::Bad, "hooks")) " " a href="/systems" { (count(status.hooks.failed, "delivery")) " failed" } }
                }
            }
        }
    }
}

fn tone(state: DirectoryState) -> Tone {
    match state {
        DirectoryState::Ok => Tone::Good,
        DirectoryState::Degraded => Tone::Bad,
        DirectoryState::Starting => Tone::Plain,
        DirectoryState::PlanOnly
        | DirectoryState::Paused
        | DirectoryState::NoAccount
        | DirectoryState::NoDomain => Tone::Waits,
    }
}

fn directory(directory: &DirectoryStatus, view: &View) -> Markup {
    let DirectoryStatus {
        name,
        account,
        state,
        server,
        live,
        running,
        last_success,
        last_complete_read,
        next_run,
        paused_until,
        users: ManagedCounts { active, suspended },
        held,
        quarantined,
        quiet,
        ..
    } = directory;
    let never = || html! { "never" };
    let at = |at: &Option<String>| at.as_ref().map_or_else(never, |at| when(at, view));
    html! {
        h3 { (name) " " (badge(tone(*state), state)) @if *live { " " (badge(Tone::Good, "live")) } }
        p.big { strong { (number(*active)) } " active" span.dim { " · " (number(*suspended)) " suspended" } }
        @if let Some(run) = running { (progress(run, view)) }
        (facts(&[
            ("Account", html! { (account) }),
            ("Waiting", if *held > 0 { html! { a href="/held" { (count(*held, "change")) } } } else { html! {} }),
            ("Problems", if *quarantined > 0 { html! { a href="/problems" { (count(*quarantined, "entry")) } } } else { html! {} }),
            ("Last run", html! { (at(last_success)) @if let Some(server) = server { span.small { "from " (server) } } }),
            ("Complete read", at(last_complete_read)),
            ("Next run", next_run.as_ref().map_or_else(|| html! { "none is scheduled" }, |at| when(at, view))),
            ("Quiet hours", match quiet {
                Some(QuietWait { until, people }) => html! {
                    @for (kind, n) in people { (number(*n)) " " (kind) " " } "until " (when(until, view))
                },
                None => html! {},
            }),
            ("Paused until", match paused_until {
                Some(until) if is_for_ever(until) => html! { "somebody resumes it" },
                Some(until) => when(until, view),
                None => html! {},
            }),
        ]))
    }
}

fn progress(run: &RunUnderWay, view: &View) -> Markup {
    let Progress { entries, expected, .. } = &run.progress;
    html! {
        div.running {
            label { "Running: " (under_way(run, view))
                @if *expected > 0 { progress max=(expected) value=(entries.min(expected)) {} } @else { progress {} }
            }
        }
    }
}

/// Returns the creations and suspensions of users of each day, from the records of runs. Runs of
/// targets change accounts of other systems.
async fn days(
    console: &Console,
    status: &Status,
    view: &View,
) -> Result<BTreeMap<NaiveDate, [u64; 2]>, layout::Fault> {
    let today = view.now.with_timezone(&view.zone).date_naive();
    let first = today - Days::new(DAYS - 1);
    let mut days: BTreeMap<NaiveDate, [u64; 2]> =
        (0..DAYS).map(|n| (first + Days::new(n), [0, 0])).collect();
    let since = (view.now - chrono::TimeDelta::days(DAYS.cast_signed())).to_rfc3339();
    let route = Route::to(["runs"]).with("since", since).with("limit", PAGE);
    let mut before: Option<String> = None;
    for _ in 0..LONGEST_CHART {
        let page: Answer<Runs> =
            console.daemon().get(&route.clone().with_some("before", before.as_ref())).await?;
        let Runs { runs, older } = page.value;
        let is_of_target = |run: &&Run| {
            status.targets.iter().any(|target| run.directory.as_ref() == Some(&target.name))
        };
        for run in runs.iter().filter(|run| !is_of_target(run)) {
            let Ok(at) = DateTime::parse_from_rfc3339(&run.started_at) else { continue };
            if let Some(day) = days.get_mut(&at.with_timezone(&view.zone).date_naive()) {
                day[0] += run.changes.create;
                day[1] += run.changes.suspend;
            }
        }
        before = runs.last().map(|run| run.id.clone()).filter(|_| older > 0);
        if before.is_none() {
            break;
        }
    }
    Ok(days)
}

fn chart(days: &BTreeMap<NaiveDate, [u64; 2]>) -> Markup {
    let columns: Vec<(String, [u64; 2])> =
        days.iter().map(|(day, counts)| (day.to_string(), *counts)).collect();
    let sum = |at: usize| days.values().map(|counts| counts[at]).sum::<u64>();
    html! {
        div.chart tabindex="0" { (column_chart(&columns, ["created", "suspended"])) }
        ul.legend {
            li { span.key.series-0 {} " " (number(sum(0))) " created" }
            li { span.key.series-1 {} " " (number(sum(1))) " suspended" }
        }
    }
}
