//! The event log: names, filters, export, and the check of its hash chain.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use chrono::NaiveDate;
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{
    self, Fault, Place, Shown, Tone, download, facts, instant, link, notice, number, segment,
};
use super::person::event_tone;
use super::state::Console;
use super::visit::Visit;
use crate::control::api::{Event, Events, LogCheck};
use crate::control::client::Route;
use crate::ctl::event::{self, actor, brief, data, field, subject};
use crate::ctl::link::{Answer, PAGE};
use crate::ctl::text::View;

/// Events on one page.
const SHOWN: u64 = 100;

/// A longer text is folded.
const LONGEST: usize = 160;

/// Families of types, for the filter.
const KINDS: [(&str, &str); 6] = [
    ("", "all"),
    ("user.*", "people"),
    ("plan.*", "held plans"),
    ("run.*", "runs"),
    ("directory.*", "directories"),
    ("hook.*", "hooks"),
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    #[serde(rename = "type")]
    kind: String,
    person: String,
    /// First and last day, or times.
    since: String,
    until: String,
    /// Number of the last event of the page before.
    before: String,
}

impl Filter {
    fn route(&self, view: &View) -> Result<Route, Fault> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let day = |name: &str, text: &str| {
            given(text).map(|text| crate::ctl::when::instant(name, &text, view)).transpose()
        };
        // The day itself belongs to the range.
        let next = self.until.parse::<NaiveDate>().ok().and_then(|day| day.succ_opt());
        let until = next.map_or_else(|| self.until.clone(), |day| day.to_string());
        let (since, until) = (day("From", &self.since)?, day("Until", &until)?);
        Ok(Route::to(["events"])
            .with_some("type", given(&self.kind))
            .with_some("person", given(&self.person))
            .with_some("since", since)
            .with_some("until", until)
            .with_some("before", given(&self.before)))
    }

    fn link(&self, path: &str, before: &str) -> String {
        let Self { kind, person, since, until, before: _ } = self;
        link(
            path,
            &[
                ("type", kind),
                ("person", person),
                ("since", since),
                ("until", until),
                ("before", before),
            ],
        )
    }
}

pub async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(filter): Query<Filter>,
) -> Shown {
    let view = &visit.view;
    let route = filter.route(view)?.with("limit", SHOWN);
    let events: Answer<Events> = console.daemon().get(&route).await?;
    let Events { mut events, older } = events.value;
    events.reverse();
    let last = events.last().map(|event| event.seq.to_string());
    Ok(layout::page(
        &visit,
        Place::Events,
        "Events",
        &html! {
            form.tools method="get" {
                label { span { "About" } select name="type" {
                    @for (value, name) in KINDS { (layout::choice(value, name, &filter.kind)) }
                } }
                label.grow { span { "Person" } input #search name="person" value=(filter.person) placeholder="Address, logon name or full name"; }
                label { span { "From" } input type="date" name="since" value=(filter.since); }
                label { span { "Until" } input type="date" name="until" value=(filter.until); }
                button { "Show" }
            }
            @if events.is_empty() { p.empty { "No event matches." } }
            @else { (table(&events, view)) }
            p.pages {
                @if let (Some(last), Some(1..)) = (&last, older) {
                    a href=(filter.link("/events", last)) { (number(older.unwrap_or(0))) " older ones" }
                }
                a href=(filter.link("/events.csv", "")) { "All as CSV" }
                a href="/events/verify" { "Verify the log" }
            }
        },
    ))
}

fn table(events: &[Event], view: &View) -> Markup {
    html! {
        table.wide {
            thead { tr { th scope="col" { "Time" } th scope="col" { "Event" } th scope="col" { "About" } th scope="col" { "By" } th scope="col" { "Now" } } }
            tbody {
                @for Event { seq, document } in events {
                    @let kind = field(document, "type");
                    tr {
                        td { (instant(field(document, "time"), view)) span.small { "no. " (seq) } }
                        td { span class={ "verb " (event_tone(kind).class()) } { (kind) } }
                        td {
                            @if kind.starts_with("user.") { a href={ "/person/" (segment(field(document, "subject"))) } { (subject(document)) } }
                            @else { (subject(document)) }
                        }
                        td { (actor(document)) }
                        td.small {
                            @let now = brief(data(document, "after"));
                            @if now.chars().count() > LONGEST { details { summary { "Details" } (now) } } @else { (now) }
                        }
                    }
                }
            }
        }
    }
}

pub async fn csv(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(filter): Query<Filter>,
) -> Result<Response, Fault> {
    let route = filter.route(&visit.view)?.with("limit", PAGE);
    let (mut all, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let page: Answer<Events> = console.daemon().get(&route.clone().with("after", from)).await?;
        let is_full = page.value.events.len() as u64 == PAGE;
        after = page.value.events.last().map(|last| last.seq).filter(|_| is_full);
        all.extend(page.value.events);
    }
    let page = event::as_csv(&Events { events: all, older: None }, &visit.view);
    Ok(download("events.csv", page.plain()))
}

pub async fn verify(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
) -> Shown {
    let check: Answer<LogCheck> = console.daemon().get(&Route::to(["events", "verify"])).await?;
    let LogCheck { intact, entries, broken_at, finding, head, keyed_from: _, proves } = check.value;
    Ok(layout::page(
        &visit,
        Place::Events,
        "The event log",
        &html! {
            @if intact { (notice(Tone::Good, &html! { (number(entries)) " entries, and the chain is intact." })) }
            @else { (notice(Tone::Bad, &html! { "The log breaks at entry " (broken_at.unwrap_or_default()) ": " (finding.as_deref().unwrap_or("its hash does not match the entry before")) })) }
            (facts(&[
                ("Proof", html! { (proves.as_deref().unwrap_or_default()) }),
                ("Head", html! { @if let Some(head) = &head { code { (head) } span.small { "Keep it elsewhere: it later shows whether entries were removed." } } }),
            ]))
            p { a href="/events" { "Back to the events" } }
        },
    ))
}
