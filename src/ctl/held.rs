//! `rosterctl held`: held plans and an operator's decisions on them.

use clap::{Args, Subcommand};

use super::link::{Answer, Daemon, Failure};
use super::text::{
    Page, View, bold, count, dim, number, quoted, table, time, time_and_age, yellow,
};
use super::{Exit, Output, change, id, run};
use crate::control::api::{
    Approval, Approving, Change, ChangeClass, HeldGroup, HeldPlan, HeldPlans, PlanState, Rejecting,
    Run,
};
use crate::control::client::Route;

/// Held plans: changes that need an approval
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List held plans, newest first
    List {
        /// Include closed plans
        #[arg(long)]
        all: bool,
        /// Only rejected plans that the directory still asks for
        #[arg(long, conflicts_with = "all")]
        rejected: bool,
    },
    /// Show one plan with its changes
    Show {
        /// The id, or at least four characters of its start or end
        id: String,
    },
    /// Read the people of a plan again and apply the changes that still hold; asks first
    Approve(Approve),
    /// Reject a plan: every run holds its changes until the directory no longer asks for them
    Reject {
        /// The id, or at least four characters of its start or end
        id: String,
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
pub struct Approve {
    /// The id, or at least four characters of its start or end
    id: String,
    /// Only the changes with this cause, as printed by `held show`; repeatable
    #[arg(long, value_name = "CAUSE")]
    cause: Vec<String>,
    /// Only the changes of this user: an address, id, logon name, DN, employee id or full name; repeatable
    #[arg(long, value_name = "WHO")]
    user: Vec<String>,
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
        Command::Show { id } => {
            let id = resolve(id, daemon).await?;
            let plan: Answer<HeldPlan> = daemon.get(&Route::to(["held", &id])).await?;
            output.data(&plan.raw, |view| show(&plan.value, view))?;
        }
        Command::Approve(what) => return approve(what, daemon, output).await,
        Command::Reject { id, comment } => {
            let id = resolve(id, daemon).await?;
            let word = Rejecting { comment: comment.clone() };
            let plan: Answer<HeldPlan> =
                daemon.post(&Route::to(["held", &id, "reject"]), &word).await?;
            output.data(&plan.raw, |view| rejected(&plan.value, view))?;
        }
        Command::Reopen { id, comment } => {
            let id = resolve(id, daemon).await?;
            let word = Rejecting { comment: comment.clone() };
            let plan: Answer<HeldPlan> =
                daemon.post(&Route::to(["held", &id, "reopen"]), &word).await?;
            output.data(&plan.raw, |view| reopened(&plan.value, view))?;
        }
    }
    Ok(Exit::Done)
}

async fn approve(
    what: &Approve,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let Approve { id: given, cause, user, comment } = what;
    output.can_ask("held approve")?;
    let id = resolve(given, daemon).await?;
    if !output.yes {
        let plan: Answer<HeldPlan> = daemon.get(&Route::to(["held", &id])).await?;
        let shown = show(&plan.value, &output.terminal.view());
        output.note(&shown);
        let chosen = if cause.is_empty() && user.is_empty() {
            these(plan.value.count)
        } else {
            format!("the changes of {}", [cause.as_slice(), user].concat().join(" and "))
        };
        output
            .ask(&format!("Read these people again and apply {chosen}, as far as still true?"))?;
    }
    let approving =
        Approving { causes: cause.clone(), people: user.clone(), comment: comment.clone() };
    let approval: Answer<Approval> =
        daemon.post(&Route::to(["held", &id, "approve"]), &approving).await?;
    output.data(&approval.raw, |view| approved(&approval.value, view))?;
    Ok(exit(&approval.value))
}

fn these(n: u64) -> String {
    if n == 1 { "this change".to_owned() } else { format!("these {}", count(n, "change")) }
}

async fn resolve(given: &str, daemon: &Daemon) -> Result<String, Failure> {
    if id::is_whole(given) {
        return Ok(given.to_owned());
    }
    let plans: Answer<HeldPlans> = daemon.get(&Route::to(["held"]).with("all", true)).await?;
    id::resolved(
        given,
        "held plan",
        "rosterctl held list --all",
        plans.value.held.iter().map(|p| p.id.as_str()),
    )
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
            time(&plan.created_at),
            number(plan.count),
            plan.by.iter().map(group).collect::<Vec<_>>().join("; "),
        ]
    });
    table(["ID", "DIRECTORY", "STATE", "SINCE", "CHANGES", "WHAT"], rows, view)
}

/// Formats one plan: each cause with its people.
pub fn show(plan: &HeldPlan, view: &View) -> Page {
    let HeldPlan {
        id,
        directory,
        run,
        digest: _,
        state: is,
        created_at,
        actor,
        comment,
        approved_at: _,
        approval_expires,
        note,
        count: n,
        by,
        changes,
    } = plan;
    let mut page = Page::default();
    let by_whom = actor
        .as_ref()
        .filter(|_| *is != PlanState::Open)
        .map(|a| format!(" by {a}"))
        .unwrap_or_default();
    page.line(format!(
        "held plan {} of {}: {}{by_whom}, {}",
        bold(id::short(id)),
        bold(directory),
        state(*is),
        count(*n, "change")
    ));
    page.fields(
        &[
            ("id", id.clone()),
            ("held since", time_and_age(created_at, view)),
            ("made by run", id::short(run).to_owned()),
        ],
        view,
    );
    if let Some(said) = comment {
        page.sentence(
            &format!("  {}  ", dim(actor.as_deref().unwrap_or("said"))),
            &format!("\"{said}\""),
            view,
        );
    }
    let approved: u64 = by.iter().map(|g| g.approved).sum();
    if let (Some(until), true) = (approval_expires, approved > 0) {
        let text = format!(
            "{} approved, and applied as soon as the directory can be read, until {}",
            count(approved, "change"),
            time(until)
        );
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
    }
    for (at, line) in note.iter().enumerate() {
        page.sentence(if at == 0 { "  ! " } else { "      " }, line, view);
    }
    for group in by {
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
            .filter(|c| c.key.as_ref() == Some(&group.key) && c.held == group.held)
            .collect();
        page.append(&change::people(&people, view));
    }
    if *is == PlanState::Rejected {
        page.line("");
        page.line(format!("{} rosterctl held reopen {}", dim("to decide again:"), id::short(id)));
    }
    if matches!(is, PlanState::Open | PlanState::Approved) {
        page.line("");
        page.line(format!("{} rosterctl held approve {}", dim("to apply: "), id::short(id)));
        if by.len() > 1 {
            page.line(format!(
                "{} rosterctl held approve {} --cause … or --user …",
                dim("a part:   "),
                id::short(id)
            ));
        }
        page.line(format!("{} rosterctl held reject {}", dim("to refuse:"), id::short(id)));
    }
    page
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
    }
    page
}

fn rejected(plan: &HeldPlan, view: &View) -> Page {
    let mut page = Page::default();
    let changes = these(plan.count);
    let text = format!(
        "plan {} of {} is {}: {changes} will not be applied unless rosterctl held reopen {} takes that back, or the directory asks for \
         something else",
        id::short(&plan.id),
        plan.directory,
        plan.state,
        id::short(&plan.id)
    );
    page.sentence("", &text, view);
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

fn what(group: &HeldGroup) -> String {
    match (group.reason, group.class) {
        (Some(reason), Some(ChangeClass::Reactivate)) => format!("reactivate, no longer {reason}"),
        (Some(reason), _) => format!("suspend as {reason}"),
        (None, Some(ChangeClass::Readdress)) => "change addresses".to_owned(),
        (None, class) => class.map_or("update", ChangeClass::as_str).to_owned(),
    }
}

fn cause(group: &HeldGroup) -> String {
    match group.cause.as_deref().and_then(|c| c.split_once(':')) {
        Some(("ou", dn)) => format!("all below {dn}"),
        Some(("group", guid)) => format!("group {}", group.name.as_deref().unwrap_or(guid)),
        Some(("attribute", name)) => format!("attribute {name}"),
        _ => group.cause.clone().unwrap_or_default(),
    }
}

fn why(group: &HeldGroup) -> String {
    group
        .held
        .map(|held| format!("{}: {}", yellow(held), change::why_held(held)))
        .unwrap_or_default()
}

fn group(group: &HeldGroup) -> String {
    let cause = cause(group);
    let cause = if cause.is_empty() { cause } else { format!(" ({cause})") };
    format!("{} {}{cause}", number(group.count), what(group))
}
