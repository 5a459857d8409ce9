//! Held plans: the review of many changes, and the decision about exactly those that were shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use clap::ValueEnum as _;
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{
    Fault, Place, Shown, Tone, badge, choice, count, facts, instant, link, notice, number, people,
    sentence, when,
};
use super::state::Console;
use super::visit::{Fields, TYPED_ABOVE, Visit};
use crate::control::api::{
    Approval, Approving, Change, ChangeVerb, GivenApproval, HeldGroup, HeldPlan, HeldPlans,
    PlanState, Rejecting,
};
use crate::control::client::Route;
use crate::ctl::change::{self, Kind, evidence};
use crate::ctl::link::Answer;
use crate::ctl::review::{self, By};
use crate::ctl::text::View;
use crate::ctl::{held, id, selection, users};

/// People on one page. An approval covers those that were shown.
const LONGEST: usize = 5_000;
/// Changes that a notice lists by name.
const LISTED: usize = 20;

#[derive(Debug, Default, Deserialize)]
pub struct Listing {
    #[serde(default)]
    all: bool,
}

pub async fn list(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(Listing { all }): Query<Listing>,
) -> Shown {
    let plans = if all {
        let route = Route::to(["held"]).with("all", true);
        console.daemon().get::<HeldPlans>(&route).await?.value.held
    } else {
        open_plans(&console).await?
    };
    Ok(super::layout::page(
        &visit,
        Place::Held,
        if all { "All plans" } else { "Waiting for a decision" },
        &html! {
            @if plans.is_empty() {
                p.empty { "Nothing waits. rosterd applies the usual changes by itself, and shows the unusual ones here." }
            }
            ul.cards {
                @for plan in &plans { li.card { (summary(plan, &visit)) } }
            }
            p {
                @if all { a href="/held" { "Only plans that wait" } } @else { a href="/held?all=true" { "Also closed plans" } }
            }
        },
    ))
}

/// Returns the plans that wait for a decision, and then the rejected ones whose changes the
/// directory still asks for.
pub(super) async fn open_plans(console: &Console) -> Result<Vec<HeldPlan>, Fault> {
    let read = async |route: Route| console.daemon().get::<HeldPlans>(&route).await;
    let waiting = read(Route::to(["held"])).await?;
    let rejected = read(Route::to(["held"]).with("rejected", true)).await?;
    Ok(waiting.value.held.into_iter().chain(rejected.value.held).collect())
}

/// Returns a plan in a few lines, with the link to its page.
pub fn summary(plan: &HeldPlan, visit: &Visit) -> Markup {
    let view = &visit.view;
    html! {
        h3 { a href={ "/held/" (plan.id) } { (count(plan.count, "change")) " of " (plan.directory) } " " (state(plan)) }
        ul.plain {
            @for group in &plan.by { li { (number(group.count)) " × " (group_words(group)) (cause(group)) } }
        }
        p.small { "since " (when(&plan.created_at, view)) }
        @if let (PlanState::Rejected, Some(actor)) = (plan.state, &plan.actor) {
            p.small { "rejected by " (actor) @if let Some(comment) = &plan.comment { ": “" (comment) "”" } }
            @if visit.may_change { (reopening(visit, plan)) }
        }
    }
}

/// Describes the changes of a group, with the reason in words.
fn group_words(group: &HeldGroup) -> String {
    match (group.kind, group.reason) {
        (ChangeVerb::Suspend, Some(reason)) => format!("suspend, {}", reason.explanation()),
        (ChangeVerb::Reactivate, Some(reason)) => {
            format!("reactivate, no longer: {}", reason.explanation())
        }
        _ => selection::what(group),
    }
}

/// Describes a change without its user, with the reason in words.
fn what_words(kind: Kind, change: &Change) -> String {
    match (kind, change.reason) {
        (Kind::Suspend, Some(reason)) => reason.explanation().to_owned(),
        (Kind::Reactivate, Some(reason)) => format!("no longer: {}", reason.explanation()),
        _ => change::what(kind, change),
    }
}

fn cause(group: &HeldGroup) -> String {
    let cause = selection::cause(group);
    if cause.is_empty() { cause } else { format!(" ({cause})") }
}

fn state(plan: &HeldPlan) -> Markup {
    match plan.state {
        PlanState::Open => badge(Tone::Waits, "waits for a decision"),
        PlanState::Approved => badge(Tone::Waits, "approved, not applied yet"),
        PlanState::Applied => badge(Tone::Good, "applied"),
        PlanState::Rejected => badge(Tone::Bad, "rejected"),
        state @ (PlanState::Withdrawn | PlanState::Superseded | PlanState::Expired) => {
            badge(Tone::Plain, state)
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub struct Form {
    /// The groups of the page: ou, department, cause, tier or manager.
    #[serde(default)]
    by: String,
    /// Words that a person must match.
    #[serde(default)]
    q: String,
}

impl Form {
    fn grouping(&self) -> By {
        By::from_str(&self.by, true).unwrap_or(By::Ou)
    }
}

/// The unfinished decision of a person.
#[derive(Debug, Default)]
struct Draft {
    /// Ids of the people without a tick.
    left_out: BTreeSet<String>,
    comment: String,
    notice: Option<Markup>,
}

pub async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Query(form): Query<Form>,
) -> Shown {
    let plan = read(&console, &id).await?;
    console.remember(&plan);
    Ok(show(&visit, &plan, &form, &Draft::default()))
}

async fn read(console: &Console, id: &str) -> Result<HeldPlan, Fault> {
    Ok(held::plan(id, console.daemon()).await?.value)
}

/// One person of a plan with all changes. A decision is about people.
struct Row<'a> {
    user: &'a str,
    changes: Vec<&'a Change>,
}

impl Row<'_> {
    fn first(&self) -> &Change {
        self.changes[0]
    }

    fn name(&self) -> &str {
        let Change { display_name, email, user_id, .. } = self.first();
        display_name.as_deref().or(email.as_deref()).unwrap_or(user_id)
    }

    /// Returns the text that a search is about.
    fn text(&self) -> String {
        let Change { display_name, email, sam_account_name, .. } = self.first();
        let names = [display_name, email, sam_account_name].into_iter().flatten().cloned();
        let about = [review::department(self.first()), review::ou(self.first())];
        names.chain(about).collect::<Vec<_>>().join(" ").to_lowercase()
    }
}

fn rows(plan: &HeldPlan) -> Vec<Row<'_>> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rows: Vec<Row<'_>> = Vec::new();
    for change in plan.changes.iter().flatten() {
        let at = *places.entry(&change.user_id).or_insert(rows.len());
        match rows.get_mut(at) {
            Some(row) => row.changes.push(change),
            None => rows.push(Row { user: &change.user_id, changes: vec![change] }),
        }
    }
    rows
}

/// Returns whether the plan waits for a decision, and the visitor may decide.
fn is_decided_here(visit: &Visit, plan: &HeldPlan) -> bool {
    visit.may_change && matches!(plan.state, PlanState::Open | PlanState::Approved)
}

fn show(visit: &Visit, plan: &HeldPlan, form: &Form, draft: &Draft) -> Markup {
    let mut rows = rows(plan);
    let all = rows.len();
    let words: Vec<String> = form.q.split_whitespace().map(str::to_lowercase).collect();
    rows.retain(|row| {
        let text = row.text();
        words.iter().all(|word| text.contains(word))
    });
    let found = rows.len();
    rows.truncate(LONGEST);
    let by = form.grouping();
    let decides = is_decided_here(visit, plan);
    let list = groups(&rows, by, decides.then_some(draft), &visit.view);
    super::layout::page(
        visit,
        Place::Held,
        &format!("{} of {}", count(plan.count, "change"), plan.directory),
        &html! {
            @if decides { a.skip href="#decide" { "To the decision" } }
            @if let Some(notice) = &draft.notice { (notice) }
            (head(plan, visit))
            (totals(plan))
            form.tools method="get" action={ "/held/" (plan.id) } {
                label.grow { span { "Search" } input #search type="search" name="q" value=(form.q) placeholder="Name, address, department" data-filter; }
                label {
                    span { "Group by" }
                    select name="by" data-swap="#plan" {
                        @for (value, label) in [("ou", "OU"), ("department", "Department"), ("cause", "Cause"), ("tier", "Tier"), ("manager", "Manager")] {
                            (choice(value, label, &users::word(by)))
                        }
                    }
                }
                button.script-less { "Show" }
            }
            @if found < all { p.small { "The search matches " (number(found as u64)) " of " (people(all as u64)) ". Only those below are approved." } }
            @if found > LONGEST { (notice(Tone::Waits, &html! { "The first " (number(LONGEST as u64)) " of " (people(found as u64)) ". Only those below are approved." })) }
            @if decides {
                form #decision method="post" action={ "/held/" (plan.id) "/approve" } data-total=(rows.len()) data-typed-above=(TYPED_ABOVE) {
                    (visit.token())
                    input type="hidden" name="digest" value=(plan.digest);
                    input type="hidden" name="by" value=(form.by);
                    input type="hidden" name="q" value=(form.q);
                    div #plan { (list) }
                    (decision(plan, &rows, draft))
                }
            } @else {
                div #plan { (list) }
                @if !visit.may_change && plan.state.waits() {
                    (notice(Tone::Plain, &html! { "You may look. An operator decides." }))
                }
                @if visit.may_change && plan.state == PlanState::Rejected { (reopening(visit, plan)) }
            }
        },
    )
}

fn head(plan: &HeldPlan, visit: &Visit) -> Markup {
    let view = &visit.view;
    let approved: u64 = plan.by.iter().map(|group| group.approved).sum();
    html! {
        p { (state(plan)) }
        (facts(&[
            ("Waiting since", when(&plan.created_at, view)),
            ("Made by", html! { a href={ "/runs/" (plan.run) } { "run " (id::short(&plan.run)) } }),
            ("Because", html! {
                @for group in &plan.by {
                    @let why = held::words(group);
                    div { strong { (number(group.count)) " × " (group_words(group)) } (cause(group)) @if !why.is_empty() { " – " (sentence(&why)) } }
                }
            }),
            ("Gate", html! { @for line in &plan.note { div { (line) } } }),
            ("Approvals", html! {
                @for GivenApproval { actor, at, comment, count: n, .. } in &plan.approvals {
                    div { (actor) " approved " (count(*n, "change")) ", " (instant(at, view)) @if let Some(comment) = comment { ": “" (comment) "”" } }
                }
                @if plan.approvals_needed > 1 && plan.state.waits() { div.waits-text { (held::missing(plan)) } }
            }),
            ("Decision", match (&plan.actor, plan.approvals.is_empty()) {
                (Some(actor), true) if !plan.state.waits() => html! { (actor) @if let Some(comment) = &plan.comment { ": “" (comment) "”" } },
                _ => html! {},
            }),
            ("Approved", match (&plan.approval_expires, approved) {
                (Some(until), 1..) => html! { (count(approved, "change")) ", applied as soon as the directory can be read, until " (instant(until, view)) },
                _ => html! {},
            }),
        ]))
    }
}

/// Returns the numbers by kind of change, which a person reads first.
fn totals(plan: &HeldPlan) -> Markup {
    let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
    for change in plan.changes.iter().flatten() {
        *kinds.entry(Kind::of(change)).or_default() += 1;
    }
    html! {
        ul.totals aria-label="Changes by kind" {
            @for (kind, n) in kinds {
                li class=(tone(kind).class()) { strong { (number(n)) } " " (kind.heading()) }
            }
        }
    }
}

fn tone(kind: Kind) -> Tone {
    match kind {
        Kind::Suspend
        | Kind::Release
        | Kind::Deactivate
        | Kind::AdoptAndDeactivate
        | Kind::Delete => Tone::Bad,
        Kind::Reactivate | Kind::Create | Kind::Link | Kind::Adopt => Tone::Good,
        Kind::Tier | Kind::Readdress | Kind::Update => Tone::Plain,
    }
}

/// Returns the people in groups, the largest group first. With a draft each has a tick.
fn groups(rows: &[Row<'_>], by: By, draft: Option<&Draft>, view: &View) -> Markup {
    let mut groups: BTreeMap<String, Vec<&Row<'_>>> = BTreeMap::new();
    for row in rows {
        groups.entry(by.of(row.first())).or_default().push(row);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    html! {
        @if rows.is_empty() { p.empty { "No person matches." } }
        @for (value, rows) in &groups {
            @let name = match (by, rows[0].first().reason) {
                (By::Cause, Some(reason)) => reason.explanation(),
                _ if value.is_empty() => by.none(),
                _ => value,
            };
            details.group open {
                summary {
                    span.group-name { (name) }
                    span.group-count { (people(rows.len() as u64)) }
                }
                @if draft.is_some() {
                    label.script-only.all { input type="checkbox" data-all; " All of " (name) }
                }
                table.plan {
                    thead.visually-hidden { tr {
                        @if draft.is_some() { th scope="col" { "Approve" } }
                        th scope="col" { "Person" } th scope="col" { "Department" } th scope="col" { "Tier" } th scope="col" { "Change" }
                    } }
                    tbody { @for row in rows { (one(row, draft, view)) } }
                }
            }
        }
    }
}

fn one(row: &Row<'_>, draft: Option<&Draft>, view: &View) -> Markup {
    let first = row.first();
    let address = first.email.as_deref().filter(|address| *address != row.name());
    html! {
        tr data-text=(row.text()) {
            @if let Some(draft) = draft {
                td.tick {
                    input type="checkbox" name="who" value=(row.user) checked[!draft.left_out.contains(row.user)]
                        aria-label={ "Approve " (row.name()) };
                }
            }
            td.who {
                a href={ "/person/" (row.user) } { (row.name()) }
                @if let Some(address) = address { span.small { (address) } }
                @if let Some(note) = change::note(first) { span.small.waits-text { "Note: " (note) } }
            }
            td { (review::department(first)) }
            td { (review::tier(first)) }
            td {
                @for change in &row.changes {
                    @let kind = Kind::of(change);
                    div { span class={ "verb " (tone(kind).class()) } { (kind.heading()) } " " (what_words(kind, change)) }
                    @let seen = evidence(&change.evidence, view);
                    @if !seen.is_empty() {
                        details.evidence { summary { "Evidence" } @for line in &seen { p.small { (line) } } }
                    }
                }
            }
        }
    }
}

fn decision(plan: &HeldPlan, rows: &[Row<'_>], draft: &Draft) -> Markup {
    let shown = rows.len();
    let chosen = rows.iter().filter(|row| !draft.left_out.contains(row.user)).count();
    html! {
        section #decide aria-label="Decision" {
            p.selected role="status" { strong #chosen { (number(chosen as u64)) } " of " (people(shown as u64)) " selected" span #hidden {} }
            label { span { "Comment" } input name="comment" value=(draft.comment) placeholder="CHG-1234, or who was asked" maxlength="500"; }
            @if shown > TYPED_ABOVE {
                label #typed { span { "Type the number of selected people" } input name="number" inputmode="numeric" autocomplete="off"; }
            }
            div.actions {
                // Enter in a field presses the first button of the form, so this one comes first.
                button.primary #approve { "Approve " span #approved { (number(chosen as u64)) } }
                button.danger formaction={ "/held/" (plan.id) "/reject" } formnovalidate { "Reject the whole plan" }
            }
        }
        p.small.script-only { "Keys: " kbd { "j" } " " kbd { "k" } " next and previous person, " kbd { "x" } " tick, " kbd { "/" } " search, " kbd { "a" } " approve" }
    }
}

fn reopening(visit: &Visit, plan: &HeldPlan) -> Markup {
    html! {
        form.decide method="post" action={ "/held/" (plan.id) "/reopen" } {
            (visit.token())
            label { span { "Comment" } input name="comment" maxlength="500"; }
            button.primary { "Decide again" }
        }
    }
}

pub async fn approve(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Extension(fields): Extension<Fields>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let form = Form { by: fields.text("by").to_owned(), q: fields.text("q").to_owned() };
    let comment = fields.text("comment").to_owned();
    let plan = read(&console, &id).await?;
    let digest = fields.text("digest").to_owned();
    if digest != plan.digest || !is_decided_here(&visit, &plan) {
        return Ok(changed(&console, &visit, &plan, &fields, &form).await?.into_response());
    }
    let ticked: BTreeSet<&str> = fields.all("who").collect();
    let rows = rows(&plan);
    let chosen: Vec<&str> =
        rows.iter().map(|row| row.user).filter(|user| ticked.contains(user)).collect();
    let refuse = |sentence: String| {
        let left_out =
            rows.iter().filter(|row| !ticked.contains(row.user)).map(|row| row.user.to_owned());
        let draft = Draft {
            left_out: left_out.collect(),
            comment: comment.clone(),
            notice: Some(notice(Tone::Bad, &html! { "Nothing was approved. " (sentence) })),
        };
        (StatusCode::UNPROCESSABLE_ENTITY, show(&visit, &plan, &form, &draft)).into_response()
    };
    if chosen.is_empty() {
        return Ok(refuse("Tick at least one person.".to_owned()));
    }
    if !fields.confirms(chosen.len() as u64) {
        return Ok(refuse(format!(
            "{} are selected: type {} into the field beside the button.",
            people(chosen.len() as u64),
            chosen.len()
        )));
    }
    let people = if chosen.len() == rows.len() { Vec::new() } else { chosen };
    let approving = Approving {
        causes: Vec::new(),
        people: people.into_iter().map(str::to_owned).collect(),
        digest: Some(digest.clone()),
        comment: comment.clone(),
    };
    let route = Route::to(["held", &id, "approve"]);
    match console.daemon().post::<Approval>(&route, &approving).await {
        Ok(approval) => {
            Ok(Redirect::to(&format!("/runs/{}", approval.value.run.id)).into_response())
        }
        Err(failure) => {
            let now = read(&console, &id).await?;
            if now.digest == plan.digest {
                return Ok(refuse(Fault::from(failure).sentence().to_owned()));
            }
            Ok(changed(&console, &visit, &now, &fields, &form).await?.into_response())
        }
    }
}

/// Refuses a decision about a plan that is not the present one any more, and shows what changed.
/// The fields name the plan that the page has shown; `seen` is what is left of it. Comment and ticks
/// stay.
async fn changed(
    console: &Console,
    visit: &Visit,
    seen: &HeldPlan,
    fields: &Fields,
    form: &Form,
) -> Result<(StatusCode, Markup), Fault> {
    let plans: Answer<HeldPlans> = console.daemon().get(&Route::to(["held"])).await?;
    let present = plans.value.held.iter().find(|plan| plan.directory == seen.directory);
    let Some(present) = present else {
        let sentence = format!(
            "Nothing was approved. The plan is {} meanwhile, and nothing of {} waits any more.",
            seen.state, seen.directory
        );
        let draft =
            Draft { notice: Some(notice(Tone::Bad, &html! { (sentence) })), ..Draft::default() };
        return Ok((StatusCode::CONFLICT, show(visit, seen, form, &draft)));
    };
    let now = read(console, &present.id).await?;
    let seen = console.shown(fields.text("digest")).unwrap_or_else(|| seen.clone());
    let of = |plan: &HeldPlan| plan.changes.clone().unwrap_or_default();
    let (before, after) = (of(&seen), of(&now));
    let (added, gone) = review::between(&before, ("", &after));
    console.remember(&now);
    let body = html! {
        p { strong { "Nothing was approved: the plan has changed since you opened it." } " Below is the present one." }
        (difference("New", &added))
        (difference("No longer in it", &gone))
    };
    let draft = Draft {
        notice: Some(notice(Tone::Bad, &body)),
        left_out: left_out(&seen, fields),
        comment: fields.text("comment").to_owned(),
    };
    Ok((StatusCode::CONFLICT, show(visit, &now, form, &draft)))
}

/// Returns the people of the shown plan without a tick. The page that asks before a rejection has no
/// ticks, and leaves nobody out.
fn left_out(shown: &HeldPlan, fields: &Fields) -> BTreeSet<String> {
    let ticked: BTreeSet<&str> = fields.all("who").collect();
    let people = rows(shown).into_iter().map(|row| row.user.to_owned());
    people.filter(|user| !ticked.is_empty() && !ticked.contains(user.as_str())).collect()
}

fn difference(heading: &str, changes: &[&Change]) -> Markup {
    let name = |change: &Change| {
        change.display_name.clone().or(change.email.clone()).unwrap_or(change.user_id.clone())
    };
    html! {
        @if !changes.is_empty() {
            p { (heading) ": " (count(changes.len() as u64, "change")) " – "
                (changes.iter().take(LISTED).map(|change| name(change)).collect::<Vec<_>>().join(", "))
                @if changes.len() > LISTED { " and " (number((changes.len() - LISTED) as u64)) " more" }
            }
        }
    }
}

pub async fn reject(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Extension(fields): Extension<Fields>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let plan = read(&console, &id).await?;
    let digest = fields.text("digest").to_owned();
    if digest != plan.digest || !is_decided_here(&visit, &plan) {
        let form = Form::default();
        return Ok(changed(&console, &visit, &plan, &fields, &form).await?.into_response());
    }
    if fields.get("sure").is_none() {
        return Ok(ask(&visit, &plan, fields.text("comment")).into_response());
    }
    decide(&console, &fields, &id, "reject").await
}

/// Asks whether a whole plan is rejected.
fn ask(visit: &Visit, plan: &HeldPlan, comment: &str) -> Markup {
    let title = format!("Reject {} of {}?", count(plan.count, "change"), plan.directory);
    let body = html! {
        p { "They stay off until an operator decides again. Nothing has been rejected yet." }
        form.decide method="post" action={ "/held/" (plan.id) "/reject" } {
            (visit.token())
            input type="hidden" name="digest" value=(plan.digest);
            input type="hidden" name="sure" value="yes";
            label { span { "Comment" } input name="comment" value=(comment) maxlength="500"; }
            button.danger { "Reject the whole plan" }
        }
        p { a href={ "/held/" (plan.id) } { "Back to the plan" } }
    };
    super::layout::page(visit, Place::Held, &title, &body)
}

pub async fn reopen(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    decide(&console, &fields, &id, "reopen").await
}

/// Sends a decision about a whole plan, and shows the plan that follows.
async fn decide(
    console: &Console,
    fields: &Fields,
    id: &str,
    verb: &str,
) -> Result<Response, Fault> {
    let word = Rejecting { comment: fields.text("comment").to_owned() };
    let plan: Answer<HeldPlan> =
        console.daemon().post(&Route::to(["held", id, verb]), &word).await?;
    Ok(Redirect::to(&link(&format!("/held/{}", plan.value.id), &[])).into_response())
}
