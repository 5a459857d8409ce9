//! Runs: a timeline by day, one run with its changes, and the preview of its undo.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{
    self, Fault, Place, Shown, Tone, badge, count, facts, link, notice, number, people, sentence,
    when,
};
use super::state::Console;
use super::visit::{Fields, TYPED_ABOVE, Visit};
use crate::control::api::{Change, LeftAlone, Run, RunDetail, RunState, Runs, Undo};
use crate::control::client::Route;
use crate::ctl::change::{self, Kind};
use crate::ctl::id;
use crate::ctl::link::{Answer, PAGE};
use crate::ctl::run::{applied, of, users, wait};
use crate::ctl::text::{View, time, took};

/// Runs on one page.
const SHOWN: u64 = 100;
/// Changes of one kind that a page lists.
const LISTED: usize = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Id of the last run of the page before.
    before: String,
    state: String,
}

/// The part of a run's changes that a page shows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Part {
    /// The `next` of the page before.
    after: String,
}

pub async fn list(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(Filter { before, state }): Query<Filter>,
) -> Shown {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let route = Route::to(["runs"])
        .with_some("before", given(&before))
        .with_some("state", given(&state))
        .with("limit", SHOWN);
    let runs: Answer<Runs> = console.daemon().get(&route).await?;
    let Runs { runs, older } = runs.value;
    let view = &visit.view;
    let mut days: Vec<(String, Vec<&Run>)> = Vec::new();
    for run in &runs {
        let day = time(&run.started_at, view).chars().take(10).collect::<String>();
        match days.last_mut() {
            Some((last, runs)) if *last == day => runs.push(run),
            _ => days.push((day, vec![run])),
        }
    }
    Ok(layout::page(
        &visit,
        Place::Runs,
        "Runs",
        &html! {
            form.tools method="get" {
                label { span { "State" } select name="state" {
                    (layout::choice("", "all", &state))
                    @for one in RunState::ALL { (layout::choice(one.as_str(), one.as_str(), &state)) }
                } }
                button { "Show" }
            }
            @if runs.is_empty() { p.empty { "No run matches." } }
            @for (day, runs) in &days {
                section {
                    h2 { (day) }
                    ol.timeline { @for run in runs { (line(run, view)) } }
                }
            }
            @if let (Some(last), true) = (runs.last(), older > 0) {
                p.pages { a href=(link("/runs", &[("before", &last.id), ("state", &state)])) { (number(older)) " older runs" } }
            }
        },
    ))
}

fn tone(state: RunState) -> Tone {
    match state {
        RunState::Succeeded => Tone::Good,
        RunState::Failed => Tone::Bad,
        RunState::Held | RunState::Cancelled => Tone::Waits,
        RunState::Running => Tone::Plain,
    }
}

fn line(run: &Run, view: &View) -> Markup {
    let at = time(&run.started_at, view);
    let clock: String = at.chars().skip(11).collect();
    html! {
        li class=(tone(run.state).class()) {
            time datetime=(run.started_at) { (clock) }
            div {
                a href={ "/runs/" (run.id) } { strong { (of(run)) } ", " (run.trigger) ", " (run.mode) }
                " " (badge(tone(run.state), run.state))
                span.small {
                    (applied(&run.changes).unwrap_or_else(|| "nothing changed".to_owned()))
                    @if run.held > 0 { "; " (count(run.held, "change")) " held" }
                    @if let Some(actor) = &run.actor { "; by " (actor) }
                }
                @if let Some(error) = &run.error { span.small.bad-text { (sentence(error)) } }
            }
        }
    }
}

pub async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Query(Part { after }): Query<Part>,
) -> Shown {
    let route = Route::to(["runs", &id]).with("limit", PAGE);
    let route = route.with_some("after", Some(after).filter(|after| !after.is_empty()));
    let run: Answer<RunDetail> = console.daemon().get(&route).await?;
    let RunDetail { run, undone_by, applied: changes, next } = run.value;
    let view = &visit.view;
    let lasted = run.finished_at.as_ref().and_then(|end| took(&run.started_at, end));
    let can_undo = visit.may_change && undone_by.is_none() && applied(&run.changes).is_some();
    Ok(layout::page(
        &visit,
        Place::Runs,
        &format!("Run of {}", of(&run)),
        &html! {
            p { (badge(tone(run.state), run.state)) " " (applied(&run.changes).unwrap_or_else(|| "Nothing changed.".to_owned())) }
            @if let Some(error) = &run.error { (notice(Tone::Bad, &html! { (sentence(error)) })) }
            @if run.held > 0 {
                (notice(Tone::Waits, &html! { (wait(run.held)) " for a decision. " a href="/held" { "To the waiting plans" } }))
            }
            @for warning in &run.warnings { (notice(Tone::Waits, &html! { (sentence(warning)) })) }
            (facts(&[
                ("Started", html! { (when(&run.started_at, view)) @if let Some(lasted) = &lasted { ", took " (lasted) } }),
                ("Trigger", html! { (run.trigger) }),
                ("Requested by", html! { (run.actor.as_deref().unwrap_or_default()) }),
                ("Read", match run.read.entries { 0 => html! {}, n => html! { (count(n, "entry")) " (" (run.mode) ")" @if let Some(server) = &run.read.server { " from " (server) } } }),
                ("Full read because", html! { (run.full_read_reason.as_deref().unwrap_or_default()) }),
                ("Dropped", match run.dropped { 0 => html! {}, n => html! { (count(n, "change")) ", because the user changed meanwhile" } }),
                ("Undoes", run.undoes.as_ref().map_or_else(|| html! {}, |other| html! { a href={ "/runs/" (other) } { "run " (id::short(other)) } })),
                ("Undone by", undone_by.as_ref().map_or_else(|| html! {}, |other| html! { a href={ "/runs/" (other) } { "run " (id::short(other)) } })),
            ]))
            (by_kind(&changes, view))
            @if let Some(next) = &next {
                p.pages { a href=(link(&format!("/runs/{}", run.id), &[("after", next)])) { "Next changes of this run" } }
            }
            @if can_undo { p { a href={ "/runs/" (run.id) "/undo" } { "What would an undo do?" } } }
        },
    ))
}

/// Lists changes by kind. Changes that take access away come first.
fn by_kind(changes: &[Change], view: &View) -> Markup {
    let mut kinds: BTreeMap<Kind, Vec<&Change>> = BTreeMap::new();
    for change in changes.iter().filter(|change| !change::is_bookkeeping(change)) {
        kinds.entry(Kind::of(change)).or_default().push(change);
    }
    html! {
        @for (kind, changes) in &kinds {
            details.group open {
                summary { span.group-name { (kind.heading()) } span.group-count { (number(changes.len() as u64)) } }
                table.plan { tbody {
                    @for change in changes.iter().take(LISTED) {
                        tr {
                            td.who {
                                a href={ "/person/" (change.user_id) } { (change.display_name.as_deref().or(change.email.as_deref()).unwrap_or(&change.user_id)) }
                                @if let Some(email) = change.email.as_ref().filter(|_| change.display_name.is_some()) { span.small { (email) } }
                            }
                            td { (change::what(*kind, change)) @if let Some(outcome) = change.outcome.filter(|o| o.as_str() != "applied") { " " (badge(Tone::Waits, outcome)) } }
                            td { @for seen in change::evidence(&change.evidence, view) { span.small { (seen) } } }
                        }
                    }
                } }
                @if changes.len() > LISTED { p.small { "The first " (number(LISTED as u64)) "." } }
            }
        }
    }
}

pub async fn undo(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Shown {
    Ok(preview(&visit, &would_undo(&console, &id).await?, None))
}

/// Reverts a run, if the undo is still the one that was shown.
pub async fn revert(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Extension(fields): Extension<Fields>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let would = would_undo(&console, &id).await?;
    let refuse = |status, sentence: String| {
        let said = notice(Tone::Bad, &html! { "Nothing was reverted. " (sentence) });
        Ok((status, preview(&visit, &would, Some(&said))).into_response())
    };
    if fields.text("shown") != mark(&would) {
        let sentence = "The undo would do something else now. Below is what it would do.";
        return refuse(StatusCode::CONFLICT, sentence.to_owned());
    }
    let users = users(&would.changes);
    if !fields.confirms(users) {
        let sentence = format!("Type {users} into the field beside the button.");
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, sentence);
    }
    let done: Answer<Undo> = console.daemon().post(&Route::to(["runs", &id, "undo"]), &()).await?;
    let run = done.value.run.map_or(id, |run| run.id);
    Ok(Redirect::to(&format!("/runs/{run}")).into_response())
}

async fn would_undo(console: &Console, id: &str) -> Result<Undo, Fault> {
    let route = Route::to(["runs", id, "undo"]).with("dry_run", true);
    let undo: Answer<Undo> = console.daemon().post(&route, &()).await?;
    Ok(undo.value)
}

/// Returns a mark of what an undo does. Another mark means another undo.
fn mark(undo: &Undo) -> String {
    let done = undo.changes.iter().map(|c| (&c.user_id, c.kind, c.reason, &c.before, &c.after));
    let text = serde_json::to_vec(&done.collect::<Vec<_>>()).unwrap_or_default();
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&text))
}

fn preview(visit: &Visit, undo: &Undo, said: Option<&Markup>) -> Markup {
    let Undo { undoes, changes, left, .. } = undo;
    let (view, users) = (&visit.view, users(changes));
    layout::page(
        visit,
        Place::Runs,
        &format!("Undo of run {}", id::short(undoes)),
        &html! {
            @if let Some(said) = &said { (said) }
            p { "Nothing has been changed yet. An undo would change " (people(users)) "." }
            (by_kind(changes, view))
            @if !left.is_empty() {
                h2 { "It would leave alone" }
                ul { @for LeftAlone { user_id, email, kind, why } in left {
                    li { (email.as_deref().unwrap_or(user_id)) ", " (kind) ": " (why) }
                } }
            }
            @if visit.may_change && !changes.is_empty() {
                section.actions-box {
                    h2 { "Decide" }
                    form.decide method="post" action={ "/runs/" (undoes) "/undo" } {
                        (visit.token())
                        input type="hidden" name="shown" value=(mark(undo));
                        @if users > TYPED_ABOVE as u64 {
                            label { span { "Type the number of people: " (users) } input name="number" inputmode="numeric" autocomplete="off"; }
                        }
                        button.danger { "Revert it for " (people(users)) }
                    }
                    p.small { "Later runs leave these people as they are now, until the directory says something new about them." }
                }
            }
            p { a href={ "/runs/" (undoes) } { "Back to the run" } }
        },
    )
}
