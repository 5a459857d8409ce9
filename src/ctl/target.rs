//! `rosterctl target`: SCIM service providers that follow the users.

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::check::{REQUESTS_WORK, check_steps};
use super::link::{Answer, Daemon, Failure, PAGE, joined};
use super::text::{
    Page, View, bold, count, dim, green, number, red, table, time, time_and_age, time_or_never,
    yellow,
};
use super::{Exit, Output, run};
use crate::control::api::{
    Forgotten, Run, StepKind, TargetAccount, TargetAccounts, TargetCheck, TargetPlan, TargetState,
    TargetStatus, TargetStep, Targets, UnmanagedAccounts,
};
use crate::control::client::Route;

/// Applications whose accounts follow the users (SCIM 2.0)
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List all targets with their state
    #[command(alias = "ls")]
    List,
    /// Show one target in full
    Show {
        /// The name of the target
        name: String,
    },
    /// Check what requests to a target need: DNS, TLS, token, list, filter. Changes no account
    Check {
        /// The name of the target
        name: String,
    },
    /// Show each step of a run now, and the reason that holds it; sends nothing
    Plan {
        /// The name of the target
        name: String,
        /// Only the steps of this user
        #[arg(long, value_name = "WHO")]
        user: Option<String>,
    },
    /// Run over a target now; exit status 3 if steps are held
    Sync {
        /// The name of the target
        name: String,
        /// Only this user
        #[arg(long, value_name = "WHO")]
        user: Option<String>,
    },
    /// List the accounts of users at a target, or those that belong to no user
    Accounts(Accounts),
    /// Link a user to an account that exists at the target
    Adopt {
        /// The name of the target
        name: String,
        /// A name of the user: address, id, logon name, employee id or DN
        who: String,
        /// The id of the account, as printed by `target accounts --unmanaged`
        #[arg(long)]
        id: String,
    },
    /// End the link between a user and its account, which is then never changed again
    Disown {
        /// The name of the target
        name: String,
        /// A name of the user: address, id, logon name, employee id or DN
        who: String,
    },
    /// Send all attributes of a user again, also where another client deactivated the account
    Push {
        /// The name of the target
        name: String,
        /// A name of the user: address, id, logon name, employee id or DN
        who: String,
    },
    /// Try a quarantined user again now
    Retry {
        /// The name of the target
        name: String,
        /// A name of the user: address, id, logon name, employee id or DN
        who: String,
    },
    /// Send nothing for a time, not even deactivations
    Pause {
        /// The name of the target
        name: String,
        /// The length of the pause, such as 4h
        #[arg(long = "for", value_name = "TIME", default_value = "4h")]
        duration: String,
    },
    /// Resume a paused target
    Resume {
        /// The name of the target
        name: String,
    },
    /// Try a target again that refused the token, or that was not recognised by its accounts
    Unlock {
        /// The name of the target
        name: String,
    },
    /// Forget the accounts of a target that is no longer configured; asks first
    Forget {
        /// The name of the target
        name: String,
    },
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Accounts {
    /// The name of the target
    name: String,
    /// Only accounts with work that is due
    #[arg(long, group = "which")]
    pending: bool,
    /// Only users that cannot be provisioned
    #[arg(long, group = "which")]
    quarantined: bool,
    /// Only accounts that another client changed
    #[arg(long, group = "which")]
    drifted: bool,
    /// Accounts that belong to no user
    #[arg(long, group = "which")]
    unmanaged: bool,
    /// Active accounts that belong to no user and have the name of a suspended one
    #[arg(long, group = "which")]
    left: bool,
}

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        Command::List => {
            let targets: Answer<Targets> = daemon.get(&Route::to(["targets"])).await?;
            output.data(&targets.raw, |view| list(&targets.value, view))?;
        }
        Command::Show { name } => {
            let target: Answer<TargetStatus> = daemon.get(&Route::to(["targets", name])).await?;
            output.data(&target.raw, |view| shown(&target.value, view))?;
        }
        Command::Check { name } => {
            let check: Answer<TargetCheck> =
                daemon.get(&Route::to(["targets", name, "check"])).await?;
            let steps = &check.value.steps;
            output.data(&check.raw, |view| check_steps(name, steps, REQUESTS_WORK, view))?;
            return Ok(if check.value.ok { Exit::Done } else { Exit::Failed });
        }
        Command::Plan { name, user } => {
            let route = Route::to(["targets", name, "plan"]).with_some("user", user.as_ref());
            let plan: Answer<TargetPlan> = daemon.get(&route).await?;
            output.data(&plan.raw, |view| self::plan(&plan.value, view))?;
            let is_held = plan.value.steps.iter().any(|step| step.held.is_some());
            return Ok(if is_held { Exit::Held } else { Exit::Done });
        }
        Command::Sync { name, user } => {
            let route = Route::to(["targets", name, "sync"]);
            let run: Answer<Run> = daemon.post(&route, &json!({ "user": user })).await?;
            output.data(&run.raw, |view| run::summary(&run.value, view))?;
            return Ok(run::exit(&run.value));
        }
        Command::Accounts(which) => accounts(which, daemon, output).await?,
        Command::Adopt { name, who, id } => {
            let body = json!({ "user": who, "id": id });
            post((name, "adopt"), &body, account, daemon, output).await?;
        }
        Command::Disown { name, who } => {
            let body = json!({ "user": who });
            post((name, "disown"), &body, account, daemon, output).await?;
        }
        Command::Push { name, who } => {
            let body = json!({ "user": who, "again": true });
            post((name, "push"), &body, account, daemon, output).await?;
        }
        Command::Retry { name, who } => {
            let body = json!({ "user": who });
            post((name, "push"), &body, account, daemon, output).await?;
        }
        Command::Pause { name, duration } => {
            let body = json!({ "for": duration });
            post((name, "pause"), &body, block, daemon, output).await?;
        }
        Command::Resume { name } => {
            post((name, "resume"), &json!({}), block, daemon, output).await?;
        }
        Command::Unlock { name } => {
            post((name, "unlock"), &json!({}), block, daemon, output).await?;
        }
        Command::Forget { name } => {
            output.can_ask("target forget")?;
            output.ask(&format!(
                "Forget all accounts at {name}? They keep their state there, and rosterd deactivates none of them when their users leave."
            ))?;
            let route = Route::to(["targets", name, "forget"]);
            let done: Answer<Forgotten> = daemon.post(&route, &json!({})).await?;
            output.data(&done.raw, |_| {
                let Forgotten { target, accounts } = &done.value;
                Page::from(format!("{} of {target} forgotten\n", count(*accounts, "account")))
            })?;
        }
    }
    Ok(Exit::Done)
}

/// Posts an operation on a target, and shows its answer.
async fn post<T: DeserializeOwned>(
    (name, verb): (&str, &str),
    body: &Value,
    show: impl Fn(&T, &View) -> Page,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let answer: Answer<T> = daemon.post(&Route::to(["targets", name, verb]), body).await?;
    output.data(&answer.raw, |view| show(&answer.value, view))?;
    Ok(())
}

fn account(account: &TargetAccount, view: &View) -> Page {
    of_user(std::slice::from_ref(account), view)
}

async fn accounts(
    which: &Accounts,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let Accounts { name, pending, quarantined, drifted, unmanaged, left } = which;
    if *unmanaged || *left {
        let first = Route::to(["targets", name, "unmanaged"])
            .with_some("left", left.then_some(true))
            .with("limit", PAGE);
        let mut found: Answer<UnmanagedAccounts> = daemon.get(&first).await?;
        while let Some(after) = found.value.next.take() {
            let page: Answer<UnmanagedAccounts> =
                daemon.get(&first.clone().with("after", after)).await?;
            found.raw = joined(found.raw, page.raw, "accounts");
            found.value.accounts.extend(page.value.accounts);
            found.value.next = page.value.next;
        }
        if let Some(document) = found.raw.as_object_mut() {
            document.remove("next");
        }
        output.data(&found.raw, |view| strangers(&found.value, view))?;
        return Ok(());
    }
    let state = [(*pending, "pending"), (*quarantined, "quarantined"), (*drifted, "drifted")]
        .into_iter()
        .find_map(|(is_set, word)| is_set.then_some(word));
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let route = Route::to(["targets", name, "accounts"])
            .with_some("state", state)
            .with_some("after", after.as_ref())
            .with("limit", 1000);
        let page: Answer<TargetAccounts> = daemon.get(&route).await?;
        all.extend(page.value.accounts);
        after = page.value.next;
        if after.is_none() {
            break;
        }
    }
    let mut document = Map::new();
    document.insert("accounts".to_owned(), json!(all));
    output.data(&Value::Object(document), |view| listed(&all, view))?;
    Ok(())
}

pub fn list(targets: &Targets, view: &View) -> Page {
    if targets.targets.is_empty() {
        return Page::from(
            "no target is configured: add a [[target]] to a file in /etc/rosterd/conf.d\n"
                .to_owned(),
        );
    }
    let mut page = Page::default();
    for (at, target) in targets.targets.iter().enumerate() {
        if at > 0 {
            page.line("");
        }
        page.append(&block(target, view));
    }
    page
}

/// Returns the number of accounts of no user, in words. It is unknown where the list cannot be read whole.
pub(crate) fn of_no_user(target: &TargetStatus) -> String {
    match (target.listed, &target.last_complete_run) {
        (None, Some(_)) => "an unknown number".to_owned(),
        _ => number(target.unmanaged),
    }
}

/// Shows one target in full.
fn shown(target: &TargetStatus, view: &View) -> Page {
    let mut page = block(target, view);
    let known = target.capabilities.as_ref().and_then(Value::as_object);
    let known: Vec<String> = known
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let name = name.replace('_', " ");
            match value {
                Value::Bool(true) => name,
                Value::Bool(false) => format!("no {name}"),
                other => format!("{name} by {}", text(other)),
            }
        })
        .collect();
    if !known.is_empty() {
        page.fields(&[("capabilities", known.join(", "))], view);
    }
    page
}

/// Shows one target, as `status` does.
pub fn block(target: &TargetStatus, view: &View) -> Page {
    let TargetStatus {
        name,
        account,
        state,
        host,
        active,
        inactive,
        pending,
        quarantined,
        unmanaged: _,
        left: _,
        held,
        oldest_deactivation,
        last_attempt: _,
        last_success: _,
        last_complete_run,
        listed,
        next_run,
        paused_until,
        token_expires,
        capabilities: _,
        attention,
    } = target;
    let mut page = Page::default();
    let host = host.as_ref().map(|host| format!(" ({host})")).unwrap_or_default();
    page.line(format!(
        "{} {}{host} ← account {account}: {}",
        light(*state),
        bold(name),
        coloured(*state)
    ));
    let mut fields = vec![(
        "accounts",
        format!(
            "{} active, {} inactive, {} of no user",
            number(*active),
            number(*inactive),
            of_no_user(target),
        ),
    )];
    if pending + quarantined + held > 0 {
        fields.push((
            "work",
            format!(
                "{} pending, {} quarantined, {} held",
                number(*pending),
                number(*quarantined),
                number(*held)
            ),
        ));
    }
    let listed = listed.map(|n| format!(", {}", count(n, "account"))).unwrap_or_default();
    let last = time_or_never(last_complete_run.as_deref(), view);
    fields.push(("last full run", format!("{last}{listed}")));
    fields.extend(next_run.as_ref().map(|at| ("next full run", time(at, view))));
    fields.extend(
        oldest_deactivation.as_ref().map(|at| ("oldest leaver", red(time_and_age(at, view)))),
    );
    fields.extend(paused_until.as_ref().map(|at| ("paused until", time(at, view))));
    fields.extend(token_expires.as_ref().map(|at| ("token until", time(at, view))));
    page.fields(&fields, view);
    for sentence in attention {
        page.sentence(&format!("  {} ", yellow("!")), sentence, view);
    }
    page
}

fn light(state: TargetState) -> String {
    match state {
        TargetState::Ok => green("●"),
        TargetState::New => dim("●"),
        TargetState::Degraded | TargetState::Unauthorized | TargetState::Foreign => red("●"),
        TargetState::PlanOnly | TargetState::Paused | TargetState::Removed => yellow("●"),
    }
}

fn coloured(state: TargetState) -> String {
    match state {
        TargetState::Ok => green(state),
        TargetState::New => dim(state),
        TargetState::Degraded | TargetState::Unauthorized | TargetState::Foreign => red(state),
        TargetState::PlanOnly | TargetState::Paused | TargetState::Removed => yellow(state),
    }
}

fn plan(plan: &TargetPlan, view: &View) -> Page {
    let TargetPlan { target, listed, partial, steps, further } = plan;
    let mut page = Page::default();
    let held = steps.iter().filter(|step| step.held.is_some()).count() as u64;
    page.line(format!(
        "{}: {} listed, {} to send, {} to hold",
        bold(target),
        count(*listed, "account"),
        count(steps.len() as u64 - held, "step"),
        number(held)
    ));
    if let Some(partial) = partial {
        page.sentence(&format!("  {} ", yellow("!")), &format!("not a full list: {partial}"), view);
    }
    if *further > 0 {
        let sentence = format!("{} follow when these are decided", count(*further, "further step"));
        page.sentence(&format!("  {} ", yellow("!")), &sentence, view);
    }
    for step in steps {
        page.append(&one_step(step, view));
    }
    page
}

/// Shows a step with its attributes, and the reason that holds it.
pub(super) fn one_step(step: &TargetStep, view: &View) -> Page {
    let mut page = Page::default();
    let TargetStep { step: kind, user_id, email, display_name, id: _, reason, before, after, held } =
        step;
    let what = match (kind, reason) {
        (StepKind::Adopt, Some(_)) => "adopt and deactivate".to_owned(),
        _ => kind.to_string(),
    };
    let who = display_name.as_ref().or(email.as_ref()).unwrap_or(user_id);
    let address = email.as_ref().filter(|email| *email != who);
    let address = address.map(|email| format!(" <{email}>")).unwrap_or_default();
    let reason = reason.map(|reason| format!(": {}", reason.explanation())).unwrap_or_default();
    let held = held.map(|held| format!(" [{held}: {}]", held.explanation()));
    page.sentence(
        "  ",
        &format!("{} {who}{address}{reason}{}", bold(what), yellow(held.unwrap_or_default())),
        view,
    );
    let nothing = Map::new();
    for (name, value) in after.as_object().unwrap_or(&nothing) {
        let before = before.get(name).filter(|before| !before.is_null());
        let before = before.map(|before| format!("{} → ", text(before))).unwrap_or_default();
        page.sentence("      ", &dim(format!("{name}: {before}{}", text(value))), view);
    }
    page
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "nothing".to_owned(), str::to_owned)
}

fn listed(accounts: &[TargetAccount], view: &View) -> Page {
    if accounts.is_empty() {
        return Page::from("no such accounts\n".to_owned());
    }
    let rows = accounts.iter().map(|account| {
        let who = account.email.as_ref().or(account.user_name.as_ref());
        [
            who.unwrap_or(&account.user_id).clone(),
            account.id.clone().unwrap_or_default(),
            state(account),
            account.due_at.as_ref().map(|at| time(at, view)).unwrap_or_default(),
            dim(problem(account)),
        ]
    });
    let mut page = table(["USER", "ID", "STATE", "NEXT TRY", "PROBLEM"], rows, view);
    page.line("");
    page.line(count(accounts.len() as u64, "account"));
    page
}

/// Lists the accounts of one user.
pub(super) fn of_user(accounts: &[TargetAccount], view: &View) -> Page {
    let mut page = Page::default();
    for account in accounts {
        let next = account.due_at.as_ref().map(|at| format!(", next try {}", time(at, view)));
        let problem = Some(problem(account)).filter(|problem| !problem.is_empty());
        let problem = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
        let id = account.id.as_ref().map(|id| format!(" (id {id})")).unwrap_or_default();
        let sent = account.sent_at.as_ref().map(|at| format!(", last sent {}", time(at, view)));
        page.sentence(
            "  ",
            &format!(
                "{}: {}{id}{}{}{problem}",
                bold(&account.target),
                state(account),
                sent.unwrap_or_default(),
                next.unwrap_or_default()
            ),
            view,
        );
    }
    page
}

fn state(account: &TargetAccount) -> String {
    match (account.state.as_str(), account.active) {
        ("linked", Some(false)) => dim("inactive"),
        ("linked", _) => green("active"),
        (state, _) => state.to_owned(),
    }
}

fn problem(account: &TargetAccount) -> String {
    let parts = [account.problem.map(|problem| problem.to_string()), account.answer.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

fn strangers(found: &UnmanagedAccounts, view: &View) -> Page {
    if found.accounts.is_empty() {
        return Page::from("no such accounts\n".to_owned());
    }
    let rows = found.accounts.iter().map(|account| {
        let active = match account.active {
            Some(true) => green("active"),
            Some(false) => dim("inactive"),
            None => "not shown".to_owned(),
        };
        let user = account.email.clone().or_else(|| account.user_id.clone()).unwrap_or_default();
        let mark = if account.left { red("suspended here") } else { String::new() };
        [account.id.clone(), account.user_name.clone().unwrap_or_default(), active, user, mark]
    });
    let mut page = table(["ID", "USERNAME", "STATE", "NAME OF USER", ""], rows, view);
    page.line("");
    page.line(count(found.accounts.len() as u64, "account"));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_no_user_are_unknown_after_a_run_without_a_whole_list() {
        let time = "2026-11-30T03:15:00.000Z";
        for (listed, last_complete_run, shown) in
            [(None, None, "0"), (Some(7), Some(time), "2"), (None, Some(time), "an unknown number")]
        {
            let document = json!({
                "name": "app", "account": "acme", "state": "ok", "host": "app.example.com",
                "active": 5, "inactive": 0, "pending": 0, "quarantined": 0, "left": 0, "held": 0,
                "unmanaged": listed.map_or(0, |all: u64| all - 5), "listed": listed,
                "last_complete_run": last_complete_run, "attention": [],
            });
            let target: TargetStatus = serde_json::from_value(document).expect("a target");
            assert_eq!(of_no_user(&target), shown);
        }
    }
}
