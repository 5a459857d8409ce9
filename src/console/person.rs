//! One person: the steps from the directory to a user, the history, and what would change it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde_json::Value;

use super::layout::{
    self, Fault, Place, Shown, Tone, badge, facts, instant, marked, notice, segment, sentence, when,
};
use super::state::Console;
use super::visit::{Fields, Visit};
use crate::control::api::{
    Activation, Elsewhere, Event, Events, ExplainedEntry, ExplainedSteps, Explanation, Looked,
    Suspension, User, UserStatus,
};
use crate::control::client::Route;
use crate::ctl::event::{actor, brief, data, field};
use crate::ctl::link::{Answer, Failure};
use crate::ctl::text::{View, value};
use crate::ctl::{change, review};

/// Events in the history.
const HISTORY: u64 = 50;

pub async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(who): Path<String>,
) -> Shown {
    show(&console, &visit, &who, None).await
}

async fn show(console: &Console, visit: &Visit, who: &str, notice: Option<Markup>) -> Shown {
    let explained: Answer<Explanation> =
        console.daemon().get(&Route::to(["users", who, "explain"])).await?;
    let Explanation { who, user, remedies, entries, elsewhere, targets, outlook: _, history: _ } =
        explained.value;
    let events = match &user {
        Some(user) => events(console, &user.id).await?,
        None => Vec::new(),
    };
    let title = user.as_ref().map_or(who.as_str(), name);
    let view = &visit.view;
    Ok(layout::page(
        visit,
        Place::People,
        title,
        &html! {
            @if let Some(notice) = &notice { (notice) }
            @match &user {
                Some(user) => (about(user, view)),
                None => p { (badge(Tone::Plain, "no account")) " There is no user for this person." },
            }
            @for entry in &entries {
                section.card {
                    h2 { "In the directory " (entry.directory) }
                    (steps(entry, user.is_some()))
                }
            }
            @for Elsewhere { directory, why } in &elsewhere {
                p.small { strong { (directory) } ": " (why) }
            }
            @if !remedies.is_empty() {
                section { h2 { "What would change it" } ul { @for remedy in &remedies { li { (sentence(remedy)) } } } }
            }
            @if let Some(user) = user.as_ref().filter(|_| visit.may_change) { (actions(visit, user)) }
            @if !targets.is_empty() {
                section { h2 { "Accounts at connected systems" }
                    ul { @for account in &targets {
                        li { strong { (account.target) } ": " (account.state) @if let Some(problem) = &account.problem { " – " (problem) } @if let Some(answer) = &account.answer { span.small { (answer) } } }
                    } }
                }
            }
            @if !events.is_empty() {
                section { h2 { "History" } (history(&events, view)) }
            }
        },
    ))
}

pub fn name(user: &User) -> &str {
    user.display_name.as_deref().or(user.primary_email.as_deref()).unwrap_or(&user.id)
}

pub fn status(status: UserStatus) -> Markup {
    let tone = match status {
        UserStatus::Active => Tone::Good,
        UserStatus::Suspended => Tone::Bad,
        UserStatus::Invited => Tone::Waits,
        UserStatus::Released => Tone::Plain,
    };
    badge(tone, status)
}

fn about(user: &User, view: &View) -> Markup {
    let text = |name: &str| {
        let known = user.profile.get(name).and_then(Value::as_str).unwrap_or_default();
        html! { (known) }
    };
    let at = |at: &Option<String>| at.as_ref().map_or_else(|| html! {}, |at| when(at, view));
    html! {
        p { (status(user.status)) " " (badge(Tone::Plain, user.tier)) " in " (user.account) }
        @for cause in user.suspension.iter().flat_map(|suspension| &suspension.causes) {
            (notice(Tone::Bad, &html! {
                p { strong { "Suspended: " (cause.reason) } ", by " (cause.by) " since " (when(&cause.since, view)) }
                @for seen in change::evidence(&cause.evidence, view) { p.small { (seen) } }
            }))
        }
        @if let Some(planned) = &user.scheduled_suspension {
            (notice(Tone::Waits, &html! {
                (planned.actor) " has scheduled a suspension at " (when(&planned.at, view))
                @if !planned.reason.is_empty() { ": “" (planned.reason) "”" }
            }))
        }
        @for reason in &user.quarantine {
            (notice(Tone::Waits, &html! { "The entry has a problem: " (reason) ". " a href="/problems" { "To the problems" } }))
        }
        (facts(&[
            ("Address", html! { (user.primary_email.as_deref().unwrap_or_default()) }),
            ("Also", html! { (user.secondary_emails.join(", ")) }),
            ("Department", text("department")),
            ("Title", text("title")),
            ("Manager", html! { (user.profile.get("manager").and_then(Value::as_str).map(review::name_of).unwrap_or_default()) }),
            ("Logon name", text("sam_account_name")),
            ("Expires", at(&user.expires_at)),
            ("Last sign-in", at(&user.last_sign_in_at)),
            ("Created", when(&user.created_at, view)),
            ("Overrides", if user.overrides.is_empty() { html! {} } else {
                html! { (user.overrides.join(", ")) ", until the directory asks for something else" }
            }),
        ]))
    }
}

/// Shows the way of an entry to a user as steps with ticks.
fn steps(entry: &ExplainedEntry, is_user: bool) -> Markup {
    let looked = |all: &[Looked]| {
        html! {
            @for Looked { attribute, value, meaning } in all {
                div { (meaning) span.small { (attribute) @if !value.is_empty() { " = " (value) } } }
            }
        }
    };
    let scope = looked(entry.scope.as_slice());
    let ExplainedSteps { scope: is_in_scope, address, enabled, tier } = entry
        .steps
        .unwrap_or(ExplainedSteps { scope: false, address: false, enabled: false, tier: false });
    let groups = html! {
        @if let Some(tier) = &entry.tier { div { (tier) } }
        @for way in &entry.groups { span.small { "member of " (way.join(", which is in ")) } }
    };
    let found = html! { div { (entry.found) span.small { (entry.dn) } span.small { "asked " (entry.server) } } };
    let all = [
        ("Found", entry.steps.is_some(), found),
        ("In scope", is_in_scope, scope),
        ("Enabled", enabled, looked(&entry.state)),
        ("Address", address, looked(&entry.addresses)),
        ("Tier", tier, groups),
    ];
    html! {
        ol.steps {
            @for (name, is_met, about) in &all {
                @if entry.steps.is_some() || *name == "Found" {
                    li class=(if *is_met { "met" } else { "unmet" }) {
                        strong { (name) span.visually-hidden { @if *is_met { ": yes" } @else { ": no" } } }
                        (about)
                    }
                }
            }
        }
        @if let Some(reason) = entry.quarantine {
            (notice(Tone::Waits, &html! { "The entry cannot be used: " (reason) ". " (sentence(entry.remedy.as_deref().unwrap_or_default()))
                " " a href={ "/problems/" (segment(&entry.object_guid)) } { "Compare and decide" } }))
        }
        @if !is_user && entry.would.is_empty() {
            @for why in &entry.obstacles { p.bad-text { "No user, because " (sentence(why)) } }
        }
        @if let Some(waits) = &entry.waits { (notice(Tone::Waits, &html! { (sentence(waits)) })) }
        @match entry.would.as_slice() {
            [] if is_user => p.small { "A run would change nothing now." },
            [] => p.small { "The next run creates no user." },
            changes => div {
                p { "A run would now:" }
                ul { @for change in changes { li { (marked(&change::sentence(change))) @if let Some(held) = change.held { span.small { (held.explanation()) } } } } }
            },
        }
        @for warning in &entry.warnings { p.waits-text { (sentence(warning)) } }
    }
}

/// Reads the latest events of a user, the newest first.
async fn events(console: &Console, id: &str) -> Result<Vec<Event>, Failure> {
    let route = Route::to(["events"]).with("person", id).with("limit", HISTORY);
    let events: Answer<Events> = console.daemon().get(&route).await?;
    let mut events = events.value.events;
    events.reverse();
    Ok(events)
}

fn history(events: &[Event], view: &View) -> Markup {
    html! {
        ol.timeline {
            @for Event { document, .. } in events {
                @let approval = data(document, "approval");
                li class=(event_tone(field(document, "type")).class()) {
                    (instant(field(document, "time"), view))
                    div {
                        strong { (field(document, "type")) } " by " (actor(document))
                        @if !field(approval, "by").is_empty() { ", approved by " (field(approval, "by")) }
                        @let now = brief(data(document, "after"));
                        @if !now.is_empty() { span.small { (now) } }
                        @if let comment @ [_, ..] = field(approval, "comment").as_bytes() { span.small { "“" (String::from_utf8_lossy(comment)) "”" } }
                        @for seen in change::evidence(data(document, "evidence"), view) { span.small { (seen) } }
                        @if let run @ Value::String(_) = data(document, "run") { " " a.small href={ "/runs/" (value(run)) } { "run" } }
                    }
                }
            }
        }
    }
}

/// Returns the tone of an event type: access lost, access won, or neither.
pub fn event_tone(kind: &str) -> Tone {
    match kind {
        "user.suspended" | "user.released" | "user.removed" => Tone::Bad,
        "user.created" | "user.reactivated" => Tone::Good,
        kind if kind.contains("failed") || kind.contains("unreachable") => Tone::Bad,
        kind if kind.contains("held")
            || kind.contains("quarantined")
            || kind.contains("attention") =>
        {
            Tone::Waits
        }
        _ => Tone::Plain,
    }
}

fn actions(visit: &Visit, user: &User) -> Markup {
    let action = |verb: &str| format!("/person/{}/{verb}", segment(&user.id));
    html! {
        section.actions-box {
            h2 { "Decide" }
            @if user.status == UserStatus::Active || user.status == UserStatus::Invited {
                form.decide method="post" action=(action("suspend")) {
                    (visit.token())
                    label { span { "Reason, for the record" } input name="reason" required maxlength="500"; }
                    button.danger { "Suspend " (name(user)) }
                }
                p.small { "Takes access away at once, and lasts until an operator activates the person, whatever the directory says." }
            } @else {
                form.decide method="post" action=(action("activate")) {
                    (visit.token())
                    button.primary { "Activate " (name(user)) }
                }
                p.small { "Lifts the suspension, as far as the directory allows." }
            }
        }
    }
}

pub async fn suspend(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Extension(fields): Extension<Fields>,
    Path(who): Path<String>,
) -> Result<Response, Fault> {
    let reason = fields.text("reason");
    if reason.is_empty() {
        let said = notice(Tone::Bad, &html! { "Nothing was changed. Write the reason down." });
        let page = show(&console, &visit, &who, Some(said)).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    let body = Suspension { reason: reason.to_owned(), at: None };
    let user: Answer<User> =
        console.daemon().post(&Route::to(["users", &who, "suspend"]), &body).await?;
    Ok(Redirect::to(&format!("/person/{}", segment(&user.value.id))).into_response())
}

pub async fn activate(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(who): Path<String>,
) -> Result<Response, Fault> {
    let done: Answer<Activation> =
        console.daemon().post(&Route::to(["users", &who, "activate"]), &()).await?;
    let Activation { user, remains } = done.value;
    if remains.is_empty() {
        return Ok(Redirect::to(&format!("/person/{}", segment(&user.id))).into_response());
    }
    let kept = notice(
        Tone::Waits,
        &html! { p { "The person stays suspended:" } ul { @for why in &remains { li { (sentence(why)) } } } },
    );
    Ok(show(&console, &visit, &user.id, Some(kept)).await?.into_response())
}
