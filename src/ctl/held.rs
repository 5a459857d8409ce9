//! `rosterctl held`: held plans and an operator's decisions on them.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};

use super::change::Extent;
use super::link::{Answer, Daemon, Failure, PAGE, joined};
use super::review::{By, Form};
use super::selection::{Selection, cause, what};
use super::text::{Page, View, bold, count, dim, number, table, time, time_and_age, yellow};
use super::{Exit, Output, change, id, review, run};
use crate::control::api::{
    Approval, Approving, Change, ChangeClass, ChangeVerb, GivenApproval, HeldGroup, HeldLimit,
    HeldPlan, HeldPlans, HoldReason, PlanState, Rejecting, Run,
};
use crate::control::client::Route;
use crate::visible::quoted;

/// Held plans: changes that need an approval
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List held plans, newest first
    #[command(alias = "ls")]
    List {
        /// Include closed plans
        #[arg(long)]
        all: bool,
        /// Only rejected plans that the directory still asks for
        #[arg(long, conflicts_with = "all")]
        rejected: bool,
    },
    /// Show a plan or a part of it: totals first, then its changes
    Show(Show),
    /// Approve a plan or a part of it: reads its people again and applies the changes that are still due; asks first
    Approve(Approve),
    /// Reject a plan: its changes stay off until the directory asks for something else
    Reject {
        /// The id, or at least four characters of its start or end; default: the only one that waits
        id: Option<String>,
        /// The reason, for the record
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        comment: String,
    },
    /// Withdraw a rejection: the changes are held or applied as usual
    Reopen {
        /// The id, or at least four characters of its start or end
        id: String,
        /// The reason, for the record
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        comment: String,
    },
}

#[derive(Debug, Args)]
pub struct Show {
    /// The id, or at least four characters of its start or end; default: the only one that waits
    id: Option<String>,
    #[command(flatten)]
    which: Selection,
    #[command(flatten)]
    form: Form,
    /// Show what differs from the plan before
    #[arg(long, conflicts_with_all = ["by", "csv", "cause", "user", "file", "ou", "department", "first"])]
    diff: bool,
}

#[derive(Debug, Args)]
pub struct Approve {
    /// The id, or at least four characters of its start or end; default: the only one that waits
    id: Option<String>,
    #[command(flatten)]
    which: Selection,
    /// The reason, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
}

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        Command::List { all, rejected } => {
            let route = Route::to(["held"])
                .with_some("all", all.then_some(true))
                .with_some("rejected", rejected.then_some(true));
            let plans: Answer<HeldPlans> = daemon.get(&route).await?;
            output.data(&plans.raw, |view| list(&plans.value, view))?;
        }
        Command::Show(what) => return showing(what, daemon, output).await,
        Command::Approve(what) => return approve(what, daemon, output).await,
        Command::Reject { id, comment } => {
            let id = resolve(id.as_deref(), daemon).await?;
            let word = Rejecting { comment: comment.clone() };
            let plan: Answer<HeldPlan> =
                daemon.post(&Route::to(["held", &id, "reject"]), &word).await?;
            output.data(&plan.raw, |view| rejected(&plan.value, view))?;
        }
        Command::Reopen { id, comment } => {
            let id = resolve(Some(id), daemon).await?;
            let word = Rejecting { comment: comment.clone() };
            let plan: Answer<HeldPlan> =
                daemon.post(&Route::to(["held", &id, "reopen"]), &word).await?;
            output.data(&plan.raw, |view| reopened(&plan.value, view))?;
        }
    }
    Ok(Exit::Done)
}

async fn showing(what: &Show, daemon: &Daemon, output: &mut Output<'_>) -> Result<Exit, Failure> {
    let Show { id, which, form, diff } = what;
    let id = resolve(id.as_deref(), daemon).await?;
    let Answer { value: plan, mut raw } = plan(&id, daemon).await?;
    let all: Vec<&Change> = plan.changes.iter().flatten().collect();
    let users = which.users(&all, daemon).await?;
    let chosen = which.choose(&plan, &all, &users)?;
    if let (Some(chosen), Some(changes)) = (&chosen, raw["changes"].as_array_mut()) {
        let people: BTreeSet<&str> = chosen.iter().map(|change| change.user_id.as_str()).collect();
        changes.retain(|change| change["user_id"].as_str().is_some_and(|id| people.contains(id)));
    }
    if *diff {
        let before = before(&plan, daemon).await?;
        output.data(&raw, |view| difference(&before, &plan, form, view))?;
    } else if form.csv && !output.json {
        output.terminal.print(&review::as_csv(chosen.as_ref().unwrap_or(&all)))?;
    } else {
        output.data(&raw, |view| match &chosen {
            None => show(&plan, form, view),
            Some(chosen) => part(&plan, chosen, form.by, Extent::of(form.all), view),
        })?;
    }
    Ok(Exit::Done)
}

/// Returns a plan with its changes in the order of the names of their people.
///
/// It comes in pages, so that the daemon never has all changes in memory. If it changes meanwhile, it is
/// read anew.
pub(crate) async fn plan(id: &str, daemon: &Daemon) -> Result<Answer<HeldPlan>, Failure> {
    'anew: loop {
        let mut plan = page(id, None, PAGE, daemon).await?;
        while let Some(after) = plan.value.next.take() {
            let next = page(id, Some(&after), PAGE, daemon).await?;
            let state = |plan: &HeldPlan| (plan.state, plan.count, plan.digest.clone());
            if state(&next.value) != state(&plan.value) {
                continue 'anew;
            }
            plan.value.next = next.value.next;
            plan.raw = joined(plan.raw, next.raw, "changes");
            if let (Some(all), Some(more)) = (&mut plan.value.changes, next.value.changes) {
                all.extend(more);
            }
        }
        if let Some(document) = plan.raw.as_object_mut() {
            document.remove("next");
        }
        if let Some(changes) = &mut plan.value.changes {
            sort_by_name(changes);
        }
        return Ok(plan);
    }
}

async fn page(
    id: &str,
    after: Option<&str>,
    limit: u64,
    daemon: &Daemon,
) -> Result<Answer<HeldPlan>, Failure> {
    daemon.get(&Route::to(["held", id]).with("limit", limit).with_some("after", after)).await
}

/// Sorts changes by the names of their people, in which order an operator looks for one.
pub fn sort_by_name(changes: &mut [Change]) {
    changes.sort_by_cached_key(|change| {
        let name = change.display_name.as_ref().or(change.email.as_ref());
        name.map(|name| name.to_lowercase())
    });
}

/// Returns the plan that this one replaced.
async fn before(plan: &HeldPlan, daemon: &Daemon) -> Result<HeldPlan, Failure> {
    let all: Answer<HeldPlans> = daemon.get(&Route::to(["held"]).with("all", true)).await?;
    let is_older = |other: &&HeldPlan| {
        other.directory == plan.directory
            && other.id != plan.id
            && other.created_at <= plan.created_at
    };
    let before = all.value.held.iter().find(is_older).ok_or_else(|| {
        Failure::Unresolved(format!(
            "{} has no plan before {}",
            plan.directory,
            id::short(&plan.id)
        ))
    })?;
    Ok(self::plan(&before.id, daemon).await?.value)
}

fn difference(before: &HeldPlan, plan: &HeldPlan, form: &Form, view: &View) -> Page {
    let changes = |plan: &HeldPlan| plan.changes.clone().unwrap_or_default();
    let mut page = Page::default();
    page.line(heading(plan));
    page.append(&review::diff(
        (&before.created_at, &changes(before)),
        (&plan.created_at, &changes(plan)),
        Extent::of(form.all),
        view,
    ));
    page
}

async fn approve(
    what: &Approve,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    output.can_ask("held approve")?;
    let id = resolve(what.id.as_deref(), daemon).await?;
    // A plan that is neither shown nor divided is not read.
    let plan = if output.yes && what.which.is_whole() {
        page(&id, None, 1, daemon).await?.value
    } else {
        plan(&id, daemon).await?.value
    };
    let all: Vec<&Change> = plan.changes.iter().flatten().collect();
    let users = what.which.users(&all, daemon).await?;
    let chosen = what.which.choose(&plan, &all, &users)?;
    if !output.yes {
        let view = output.terminal.view();
        let shown = match &chosen {
            None => show(&plan, &Form::default(), &view),
            Some(chosen) => {
                let all = format!("rosterctl held show {} --all", id::short(&plan.id));
                part(&plan, chosen, None, Extent::Elsewhere(&all), &view)
            }
        };
        output.note(&shown);
        output.ask(&question(chosen.as_ref().unwrap_or(&all), plan.count))?;
    }
    // A part is sent as its people. The digest says which plan was seen.
    let people: BTreeSet<String> =
        chosen.iter().flatten().map(|change| change.user_id.clone()).collect();
    let approving = Approving {
        causes: Vec::new(),
        people: people.into_iter().collect(),
        digest: Some(plan.digest.clone()),
        comment: what.comment.clone(),
    };
    let approval: Answer<Approval> =
        daemon.post(&Route::to(["held", &id, "approve"]), &approving).await?;
    output.data(&approval.raw, |view| approved(&approval.value, view))?;
    Ok(exit(&approval.value))
}

/// Shows the chosen changes of a plan.
fn part(
    plan: &HeldPlan,
    chosen: &[&Change],
    by: Option<By>,
    extent: Extent<'_>,
    view: &View,
) -> Page {
    let mut page = Page::default();
    page.line(heading(plan));
    page.line(format!("{} of them:", number(chosen.len() as u64)));
    page.append(&review::totals(chosen, view));
    page.append(&match by {
        Some(by) => review::by(chosen, by, extent, view),
        None => change::people(chosen, extent, view),
    });
    page
}

/// Asks what will be done: `Re-check and apply 2,999 changes (2,999 new people)?`
pub fn question(chosen: &[&Change], of: u64) -> String {
    let kinds: [(&str, &[ChangeVerb]); 4] = [
        ("new person", &[ChangeVerb::Create, ChangeVerb::Invite]),
        ("suspension", &[ChangeVerb::Suspend]),
        ("reactivation", &[ChangeVerb::Reactivate]),
        ("tier change", &[ChangeVerb::Tier]),
    ];
    let mut parts = Vec::new();
    let mut others = chosen.len() as u64;
    for (noun, verbs) in kinds {
        let n = chosen.iter().filter(|change| verbs.contains(&change.kind)).count() as u64;
        others -= n;
        match (n, noun) {
            (0, _) => {}
            (2.., "new person") => parts.push(format!("{} new people", number(n))),
            _ => parts.push(count(n, noun)),
        }
    }
    if others > 0 && !parts.is_empty() {
        parts.push(format!("{} other", number(others)));
    }
    let n = chosen.len() as u64;
    let of = if n < of { format!(" of {}", number(of)) } else { String::new() };
    let kinds = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    let noun = if n == 1 { "change" } else { "changes" };
    format!("Re-check and apply {}{of} {noun}{kinds}?", number(n))
}

fn these(n: u64) -> String {
    if n == 1 { "This change".to_owned() } else { format!("These {}", count(n, "change")) }
}

/// Returns the whole id of a plan. Without one, exactly one plan must wait.
async fn resolve(given: Option<&str>, daemon: &Daemon) -> Result<String, Failure> {
    let list = |all: bool| Route::to(["held"]).with_some("all", all.then_some(true));
    match given {
        Some(id) if id::is_whole(id) => Ok(id.to_owned()),
        None | Some("latest") => {
            let plans: Answer<HeldPlans> = daemon.get(&list(false)).await?;
            match (plans.value.held.as_slice(), given) {
                ([], _) => Err(Failure::Unresolved("no plan waits for approval".to_owned())),
                ([one], _) | ([one, ..], Some(_)) => Ok(one.id.clone()),
                (several, None) => {
                    let name = |p: &HeldPlan| format!("{} ({})", id::short(&p.id), p.directory);
                    Err(Failure::Unresolved(format!(
                        "{} plans wait: name one of {}",
                        several.len(),
                        several.iter().map(name).collect::<Vec<_>>().join(", ")
                    )))
                }
            }
        }
        Some(given) => {
            let plans: Answer<HeldPlans> = daemon.get(&list(true)).await?;
            id::resolved(
                given,
                "held plan",
                "rosterctl held list --all",
                plans.value.held.iter().map(|p| p.id.as_str()),
            )
        }
    }
}

/// Returns 3 if changes of the directory are still held. A failed run takes precedence.
pub fn exit(approval: &Approval) -> Exit {
    let of_run = run::exit(&approval.run);
    if approval.waiting.is_some() { of_run.max(Exit::Held) } else { of_run }
}

pub fn list(plans: &HeldPlans, view: &View) -> Page {
    if plans.held.is_empty() {
        return Page::from("nothing is held\n".to_owned());
    }
    let rows = plans.held.iter().map(|plan| {
        [
            bold(id::short(&plan.id)),
            plan.directory.clone(),
            state(plan.state),
            time(&plan.created_at, view),
            number(plan.count),
            plan.by.iter().map(group).collect::<Vec<_>>().join("; "),
        ]
    });
    table(["ID", "DIRECTORY", "STATE", "SINCE", "CHANGES", "WHAT"], rows, view)
}

/// Returns the first line of a plan.
fn heading(plan: &HeldPlan) -> String {
    let HeldPlan { id, directory, state: is, actor, count: n, .. } = plan;
    let actor = actor.as_ref().filter(|_| *is != PlanState::Open);
    let by_whom = actor.map(|a| format!(" by {a}")).unwrap_or_default();
    format!(
        "held plan {} of {}: {}{by_whom}, {}",
        bold(id::short(id)),
        bold(directory),
        state(*is),
        count(*n, "change")
    )
}

/// Formats one plan: totals, then each cause with its people.
pub fn show(plan: &HeldPlan, form: &Form, view: &View) -> Page {
    let HeldPlan {
        id,
        directory: _,
        run,
        digest: _,
        state: is,
        created_at,
        actor,
        comment,
        approved_at: _,
        approval_expires,
        approvals_needed,
        approvals,
        note,
        count: _,
        by,
        changes,
        next: _,
    } = plan;
    let mut page = Page::default();
    page.line(heading(plan));
    page.fields(
        &[
            ("id", id.clone()),
            ("held since", time_and_age(created_at, view)),
            ("made by run", id::short(run).to_owned()),
        ],
        view,
    );
    if let Some(said) = comment.as_ref().filter(|_| approvals.is_empty()) {
        page.sentence(
            &format!("  {}  ", dim(actor.as_deref().unwrap_or("said"))),
            &format!("\"{said}\""),
            view,
        );
    }
    for given in approvals {
        let GivenApproval { actor, uid: _, at, comment, count: n } = given;
        let said = comment.as_ref().map(|text| format!(": \"{text}\"")).unwrap_or_default();
        let text = format!("approved {} on {}{said}", count(*n, "change"), time(at, view));
        page.sentence(&format!("  {}  ", dim(actor)), &text, view);
    }
    if *approvals_needed > 1 && matches!(is, PlanState::Open | PlanState::Approved) {
        page.sentence(&format!("  {} ", yellow("!")), &missing(plan), view);
    }
    let approved: u64 = by.iter().map(|g| g.approved).sum();
    if let (Some(until), true) = (approval_expires, approved > 0) {
        let text = format!(
            "{} approved, and applied as soon as the directory can be read, until {}",
            count(approved, "change"),
            time(until, view)
        );
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
    }
    for (at, line) in note.iter().enumerate() {
        page.sentence(if at == 0 { "  ! " } else { "      " }, line, view);
    }
    let all: Vec<&Change> = changes.iter().flatten().collect();
    if all.len() > 1 {
        page.line("");
        page.append(&review::totals(&all, view));
    }
    let whole = format!("rosterctl held show {} --all", id::short(id));
    let extent = if form.all { Extent::All } else { Extent::Elsewhere(&whole) };
    if let Some(what) = form.by {
        page.line("");
        page.append(&review::by(&all, what, extent, view));
    }
    for group in by.iter().filter(|_| form.by.is_none()) {
        page.line("");
        let cause = Some(cause(group))
            .filter(|cause| !cause.is_empty())
            .map(|cause| format!(" ({cause})"))
            .unwrap_or_default();
        page.sentence("", &format!("{}: {}{cause}", bold(what(group)), number(group.count)), view);
        let why = Some(why(group)).filter(|why| !why.is_empty());
        for line in why.into_iter().chain(
            (by.len() > 1 && !group.key.is_empty())
                .then(|| format!("--cause {}", quoted(&group.key))),
        ) {
            page.sentence("  ", &dim(line), view);
        }
        let people: Vec<&Change> = changes
            .iter()
            .flatten()
            .filter(|c| {
                c.key.as_ref() == Some(&group.key) && c.held == group.held && c.kind == group.kind
            })
            .collect();
        page.append(&change::people(&people, extent, view));
    }
    if *is == PlanState::Rejected {
        page.line("");
        page.line(format!("{} rosterctl held reopen {}", dim("Decide again:"), id::short(id)));
    }
    if matches!(is, PlanState::Open | PlanState::Approved) {
        page.line("");
        let id = id::short(id);
        page.line(format!("{} rosterctl held approve {id}", dim("Approve:")));
        if all.len() > 1 {
            page.sentence(
                &format!("{} ", dim("A part: ")),
                &format!("rosterctl held approve {id} --first 10 (or --ou, --cause, --user)"),
                view,
            );
        }
        page.line(format!("{} rosterctl held reject {id}", dim("Reject: ")));
    }
    page
}

/// Says what a plan lacks that needs several operators.
pub(crate) fn missing(plan: &HeldPlan) -> String {
    let needed = plan.approvals_needed;
    let rule = format!("each change needs the approval of {needed} operators");
    match plan.approvals.as_slice() {
        [] => rule,
        given => {
            let names: Vec<&str> = given.iter().map(|given| given.actor.as_str()).collect();
            format!("{rule}: another one than {} has to approve, too", names.join(", "))
        }
    }
}

/// Formats the result of an approval.
pub fn approved(approval: &Approval, view: &View) -> Page {
    let Approval { run, waiting } = approval;
    // A line below names the held plan.
    let mut page = run::summary(
        &Run { held: if waiting.is_some() { 0 } else { run.held }, ..run.clone() },
        view,
    );
    if let Some(plan) = waiting {
        let text = format!(
            "{} for approval: rosterctl held show {}",
            run::wait(plan.count),
            id::short(&plan.id)
        );
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
        if plan.approvals_needed > 1 {
            page.sentence(&format!("  {} ", yellow("!")), &missing(plan), view);
        }
    }
    page
}

fn rejected(plan: &HeldPlan, view: &View) -> Page {
    let mut page = Page::default();
    let changes = these(plan.count);
    let stay =
        if plan.count == 1 { "stays off until it differs" } else { "stay off until they differ" };
    page.sentence("", &format!("Rejected. {changes} of {} {stay}.", plan.directory), view);
    page.line(format!("{} rosterctl held reopen {}", dim("Take it back:"), id::short(&plan.id)));
    page
}

fn reopened(plan: &HeldPlan, view: &View) -> Page {
    let mut page = Page::default();
    let (id, changes) = (id::short(&plan.id), run::wait(plan.count));
    page.sentence(
        "",
        &format!(
            "plan {id} of {}: {changes} for approval: rosterctl held show {id}",
            plan.directory
        ),
        view,
    );
    page
}

fn state(state: PlanState) -> String {
    match state {
        PlanState::Open => yellow("waits for approval"),
        PlanState::Applied | PlanState::Withdrawn | PlanState::Superseded | PlanState::Expired => {
            dim(state)
        }
        PlanState::Approved | PlanState::Rejected => state.to_string(),
    }
}

/// Returns why a group is held, after the code by which scripts know the reason.
pub(crate) fn why(group: &HeldGroup) -> String {
    let code = group.held.map(|held| format!("{}: ", yellow(held)));
    code.map_or_else(String::new, |code| code + &words(group))
}

/// Returns why a group is held, for a person who knows no codes.
pub(crate) fn words(group: &HeldGroup) -> String {
    let Some(held) = group.held else { return String::new() };
    match (held, &group.limit) {
        (HoldReason::Limit, Some(HeldLimit { allowed, applied, window })) => {
            let class = group.class.map_or("other", ChangeClass::as_str);
            let fits = applied.saturating_add(group.count) <= *allowed;
            let then = if fits { "; the limit has room again" } else { "" };
            format!(
                "more than [safety] {class} allows in {window} (limit {}, {} applied, {} wait{then})",
                number(*allowed),
                number(*applied),
                number(group.count)
            )
        }
        (HoldReason::Cluster, _) if group.count > 1 => {
            format!("{} changes share one cause", number(group.count))
        }
        _ => held.explanation().to_owned(),
    }
}

fn group(group: &HeldGroup) -> String {
    let cause = cause(group);
    let cause = if cause.is_empty() { cause } else { format!(" ({cause})") };
    format!("{} {}{cause}", number(group.count), what(group))
}
