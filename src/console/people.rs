//! The list of people: search, filters and export.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::layout::{
    self, Fault, Place, Shown, Tone, badge, choice, download, instant, link, people, segment,
};
use super::person;
use super::state::Console;
use super::visit::Visit;
use crate::control::api::{User, UserStatus, Users};
use crate::control::client::Route;
use crate::ctl::link::{Answer, Failure, PAGE};
use crate::ctl::text::View;
use crate::ctl::users;

/// People on one page.
const SHOWN: u64 = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Words, each the beginning of a name or an address.
    q: String,
    status: String,
    tier: String,
    after: String,
}

impl Filter {
    fn route(&self) -> Route {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let route = match self.q.trim() {
            "" => Route::to(["users"]).with("sort", "name"),
            words => Route::to(["users", "search"]).with("q", words),
        };
        route
            .with_some("status", given(&self.status))
            .with_some("tier", given(&self.tier))
            .with_some("after", given(&self.after))
    }

    /// Returns the path with this filter.
    fn link(&self, path: &str, after: &str) -> String {
        let Self { q, status, tier, after: _ } = self;
        link(path, &[("q", q), ("status", status), ("tier", tier), ("after", after)])
    }

    async fn page(&self, limit: u64, console: &Console) -> Result<Users, Failure> {
        let users: Answer<Users> = console.daemon().get(&self.route().with("limit", limit)).await?;
        Ok(users.value)
    }
}

pub async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(filter): Query<Filter>,
) -> Shown {
    let Users { users, next } = filter.page(SHOWN, &console).await?;
    Ok(layout::page(
        &visit,
        Place::People,
        "People",
        &html! {
            form.tools method="get" {
                label.grow { span { "Search" } input #search type="search" name="q" value=(filter.q) placeholder="Beginning of a name or an address"; }
                label { span { "Status" } select name="status" {
                    (choice("", "all", &filter.status))
                    @for status in UserStatus::ALL { (choice(status.as_str(), status.as_str(), &filter.status)) }
                } }
                label { span { "Tier" } select name="tier" {
                    @for (value, name) in [("", "all"), ("basic", "basic"), ("pro", "pro")] { (choice(value, name, &filter.tier)) }
                } }
                button { "Show" }
            }
            @if users.is_empty() { p.empty { "No person matches." } }
            @else { (table(&users, &visit.view)) }
            p.pages {
                span { (people(users.len() as u64)) " on this page" }
                @if let Some(next) = &next { a href=(filter.link("/people", next)) { "Next page" } }
                a href=(filter.link("/people.csv", "")) { "All as CSV" }
            }
        },
    ))
}

fn table(users: &[User], view: &View) -> Markup {
    html! {
        table.wide {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Address" } th scope="col" { "Department" } th scope="col" { "Status" } th scope="col" { "Tier" } th scope="col" { "About" } } }
            tbody {
                @for user in users {
                    tr {
                        td { a href={ "/person/" (segment(&user.id)) } { (person::name(user)) } }
                        td { (user.primary_email.as_deref().unwrap_or_default()) }
                        td { (user.profile.get("department").and_then(Value::as_str).unwrap_or_default()) }
                        td { (person::status(user.status)) }
                        td { (user.tier) }
                        td.about { (about(user, view)) }
                    }
                }
            }
        }
    }
}

fn about(user: &User, view: &View) -> Markup {
    html! {
        @if let Some(suspension) = &user.suspension { div { (suspension.reason) " since " (instant(&suspension.since, view)) } }
        @if let Some(at) = &user.expires_at { div { "expires " (instant(at, view)) } }
        @if let Some(planned) = &user.scheduled_suspension { div { "suspended from " (instant(&planned.at, view)) } }
        @for reason in &user.quarantine { (badge(Tone::Waits, reason)) }
    }
}

pub async fn csv(
    State(console): State<Arc<Console>>,
    Query(mut filter): Query<Filter>,
) -> Result<Response, Fault> {
    let mut all = Vec::new();
    loop {
        let Users { users, next } = filter.page(PAGE, &console).await?;
        all.extend(users);
        match next {
            Some(next) if next != filter.after => filter.after = next,
            _ => break,
        }
    }
    let page = users::as_csv(&Users { users: all, next: None });
    Ok(download("people.csv", page.plain()))
}
