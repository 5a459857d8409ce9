//! Problems: entries of the directory that cannot be used, each with its remedy.
//!
//! A person who was created anew has two entries. They are shown side by side, and an operator links
//! the user to the new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};

use super::layout::{
    self, Fault, Place, Shown, Tone, badge, facts, notice, number, segment, sentence, when,
};
use super::state::Console;
use super::visit::{Fields, Visit};
use crate::control::api::{
    ExplainedEntry, Explanation, Looked, Quarantine, QuarantineReason, QuarantinedEntry, Relinking,
    Run, User,
};
use crate::control::client::Route;
use crate::ctl::link::{Answer, Failure};
use crate::ctl::review::{name_of, parent};
use crate::ctl::text::View;

pub async fn list(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
) -> Shown {
    let entries: Answer<Quarantine> = console.daemon().get(&Route::to(["quarantine"])).await?;
    let mut reasons: BTreeMap<QuarantineReason, Vec<&QuarantinedEntry>> = BTreeMap::new();
    for entry in &entries.value.quarantined {
        reasons.entry(entry.reason).or_default().push(entry);
    }
    Ok(layout::page(
        &visit,
        Place::Problems,
        "Problems",
        &html! {
            p { "Entries of the directory that rosterd cannot use. Their users stay as they are until somebody mends the entry." }
            @if reasons.is_empty() { p.empty { "There are none." } }
            @for (reason, entries) in &reasons {
                section.card {
                    h2 { (reason) " " (badge(Tone::Waits, number(entries.len() as u64))) }
                    p { (sentence(reason.remedy())) }
                    table.wide {
                        thead { tr { th scope="col" { "Entry" } th scope="col" { "Directory" } th scope="col" { "Since" } th scope="col" { "User" } } }
                        tbody { @for entry in entries { (one(entry, &visit.view)) } }
                    }
                }
            }
        },
    ))
}

fn one(entry: &QuarantinedEntry, view: &View) -> Markup {
    let QuarantinedEntry { directory, object_guid, dn, since, user, .. } = entry;
    let name = if dn.is_empty() { object_guid.clone() } else { name_of(dn) };
    html! {
        tr {
            td { a href={ "/problems/" (segment(object_guid)) } { (name) } span.small { (parent(dn).unwrap_or_default()) } }
            td { (directory) }
            td { @if let Some(since) = since { (when(since, view)) } }
            td { @match user { Some(user) => a href={ "/person/" (segment(user)) } { "has a user" }, None => "none" } }
        }
    }
}

/// An entry, and the user of another entry who has its address.
struct Compared {
    entry: ExplainedEntry,
    holder: Option<User>,
    /// The entry of the holder, where a directory still shows it.
    former: Option<ExplainedEntry>,
}

/// Finds the entry by its objectGUID, and the user with its address.
async fn compared(console: &Console, guid: &str) -> Result<Compared, Failure> {
    let explain = async |who: &str| {
        let route = Route::to(["users", who, "explain"]);
        Ok::<_, Failure>(console.daemon().get::<Explanation>(&route).await?.value)
    };
    let by_guid = explain(guid).await?;
    let missing = || Failure::Unresolved(format!("no directory shows an entry {guid} any more"));
    let is_wanted = |entry: &ExplainedEntry| entry.object_guid.eq_ignore_ascii_case(guid);
    let entry = by_guid.entries.into_iter().find(is_wanted).ok_or_else(missing)?;
    let address = entry.addresses.first().map(|line| line.value.clone());
    let mut compared = Compared { entry, holder: None, former: None };
    let Some(address) = address.filter(|address| address.contains('@')) else {
        return Ok(compared);
    };
    let by_address = explain(&address).await?;
    let is_other = |user: &User| {
        user.directory.as_ref().is_none_or(|link| !link.object_guid.eq_ignore_ascii_case(guid))
    };
    compared.holder = by_address.user.filter(is_other);
    let own = compared.holder.as_ref().and_then(|user| user.directory.as_ref());
    compared.former = own.and_then(|link| {
        by_address.entries.iter().find(|entry| entry.object_guid == link.object_guid).cloned()
    });
    if let Some(shown) = by_address.entries.into_iter().find(is_wanted) {
        // Beside its holder the entry has the remedy with all names.
        compared.entry = shown;
    }
    Ok(compared)
}

pub async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(guid): Path<String>,
) -> Shown {
    let Compared { entry, holder, former } = compared(&console, &guid).await?;
    let title = if entry.dn.is_empty() { entry.object_guid.clone() } else { name_of(&entry.dn) };
    let is_held = entry.quarantine == Some(QuarantineReason::AddressHeld);
    Ok(layout::page(
        &visit,
        Place::Problems,
        &title,
        &html! {
            @match entry.quarantine {
                Some(reason) => (notice(Tone::Waits, &html! { strong { (reason) } ": " (sentence(entry.remedy.as_deref().unwrap_or_else(|| reason.remedy()))) })),
                None => (notice(Tone::Good, &html! { "The directory shows no problem of this entry any more." })),
            }
            div.pair {
                section.card { h2 { @if is_held { "The new entry" } @else { "The entry" } } (shown(&entry)) }
                @if let Some(user) = &holder {
                    section.card {
                        h2 { "The user with its address" }
                        p { a href={ "/person/" (segment(&user.id)) } { (super::person::name(user)) } " " (super::person::status(user.status)) }
                        (facts(&[
                            ("Address", html! { (user.primary_email.as_deref().unwrap_or_default()) }),
                            ("Last known entry", user.directory.as_ref().map_or_else(|| html! { "in no directory" }, |link| html! { (link.dn) span.small { (link.object_guid) } })),
                            ("Created", when(&user.created_at, &visit.view)),
                            ("Suspended", user.suspension.as_ref().map_or_else(|| html! {}, |s| html! { (s.reason) " since " (when(&s.since, &visit.view)) })),
                        ]))
                        @if let Some(former) = &former { h3 { "Its former entry" } (shown(former)) }
                    }
                }
            }
            @if let Some(user) = holder.as_ref().filter(|_| visit.may_change && is_held) {
                section.actions-box {
                    h2 { "Are they the same person?" }
                    form.decide method="post" action={ "/problems/" (segment(&entry.object_guid)) "/relink" } {
                        (visit.token())
                        input type="hidden" name="user" value=(user.id);
                        button.primary { "Yes, created anew: link them" }
                    }
                    p.small { "The user keeps its account and history, and follows the new entry. For another person: "
                        code { "rosterctl user release-address " (user.primary_email.as_deref().unwrap_or(&user.id)) } }
                }
            }
        },
    ))
}

fn shown(entry: &ExplainedEntry) -> Markup {
    let looked = |all: &[Looked]| {
        html! { @for Looked { attribute, value, meaning } in all { div { (meaning) span.small { (attribute) @if !value.is_empty() { " = " (value) } } } } }
    };
    facts(&[
        ("Found", html! { (entry.found) span.small { "asked " (entry.server) } }),
        ("Place", html! { (entry.dn) }),
        ("objectGUID", html! { (entry.object_guid) }),
        ("Names", looked(&entry.names)),
        ("State", looked(&entry.state)),
        ("Addresses", looked(&entry.addresses)),
        ("Tier", html! { (entry.tier.as_deref().unwrap_or_default()) }),
    ])
}

pub async fn relink(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
    Path(guid): Path<String>,
) -> Result<Response, Fault> {
    let user = fields.text("user");
    let body = Relinking { object_guid: guid };
    let _: Answer<Run> =
        console.daemon().post(&Route::to(["users", user, "relink"]), &body).await?;
    Ok(Redirect::to(&format!("/person/{}", segment(user))).into_response())
}
