//! `rosterctl user`: the people.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::link::{Answer, Daemon, Failure};
use super::text::{Page, View, bold, count, dim, green, red, table, time, time_and_age, yellow};
use super::{Exit, Output, change, run};
use crate::control::api::{Activation, Run, Suspension, User, UserCause, Users};
use crate::control::client::Route;

/// People and their place in the accounts
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All users
    List(List),
    /// Users whose name or address begins with these words
    Search {
        /// The words, each of which begins a name or an address
        #[arg(required = true)]
        text: Vec<String>,
        /// At most so many
        #[arg(long)]
        limit: Option<u32>,
    },
    /// One user
    Show {
        /// An address, a user id or an objectGUID
        who: String,
    },
    /// Read one person again, and apply what has changed
    Sync {
        /// An address, a user id or an objectGUID
        who: String,
    },
    /// Bar somebody at once, whatever the directory says; asks first
    Suspend {
        /// An address, a user id or an objectGUID
        who: String,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Lift an operator's suspension, and what else the directory allows
    Activate {
        /// An address, a user id or an objectGUID
        who: String,
    },
}

/// Which users.
#[derive(Debug, Args)]
pub struct List {
    /// Only users of this account
    #[arg(long)]
    account: Option<String>,
    /// Only users of this status
    #[arg(long)]
    status: Option<Status>,
    /// Only users whose directory entry cannot be used as it is
    #[arg(long)]
    quarantined: bool,
}

/// A user's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Status {
    Invited,
    Active,
    Suspended,
    Released,
}

/// How many users one page of the daemon's list holds.
const PAGE: u32 = 500;

pub(super) async fn call(command: &Command, daemon: &Daemon, output: &mut Output<'_>) -> Result<Exit, Failure> {
    match command {
        Command::List(filter) => {
            let users = all(filter, daemon).await?;
            output.data(&users.raw, |view| list(&users.value, view))?;
        }
        Command::Search { text, limit } => {
            let users: Answer<Users> =
                daemon.get(&Route::to(["users", "search"]).with("q", text.join(" ")).with_some("limit", *limit)).await?;
            output.data(&users.raw, |view| list(&users.value, view))?;
        }
        Command::Show { who } => {
            let user: Answer<User> = daemon.get(&Route::to(["users", who])).await?;
            output.data(&user.raw, |view| show(&user.value, view))?;
        }
        Command::Sync { who } => {
            let run: Answer<Run> = daemon.post(&Route::to(["users", who, "sync"]), &()).await?;
            output.data(&run.raw, |view| run::summary(&run.value, view))?;
            // What else waits in the directory is no concern of one person's run.
            return Ok(if run::exit(&run.value) == Exit::Failed { Exit::Failed } else { Exit::Done });
        }
        Command::Suspend { who, reason } => suspend(who, reason, daemon, output).await?,
        Command::Activate { who } => {
            let activation: Answer<Activation> = daemon.post(&Route::to(["users", who, "activate"]), &()).await?;
            output.data(&activation.raw, |view| activated(&activation.value, view))?;
            return Ok(if activation.value.user.status == "active" { Exit::Done } else { Exit::Failed });
        }
    }
    Ok(Exit::Done)
}

async fn suspend(who: &str, reason: &str, daemon: &Daemon, output: &mut Output<'_>) -> Result<(), Failure> {
    output.can_ask("user suspend")?;
    if !output.yes {
        let user: Answer<User> = daemon.get(&Route::to(["users", who])).await?;
        let shown = show(&user.value, &output.terminal.view());
        output.note(&shown);
        output.ask(&format!("Suspend {}?", name(&user.value)))?;
    }
    let body = Suspension { reason: reason.to_owned() };
    let user: Answer<User> = daemon.post(&Route::to(["users", who, "suspend"]), &body).await?;
    output.data(&user.raw, |view| suspended(&user.value, view))
}

/// Every page of the list as one document.
async fn all(List { account, status, quarantined }: &List, daemon: &Daemon) -> Result<Answer<Users>, Failure> {
    let status = status.and_then(|s| s.to_possible_value()).map(|s| s.get_name().to_owned());
    let first = Route::to(["users"])
        .with_some("account", account.as_ref())
        .with_some("status", status)
        .with_some("quarantined", quarantined.then_some(true))
        .with("limit", PAGE);
    let (mut raw, mut users) = (Vec::new(), Vec::new());
    let mut after: Option<String> = None;
    loop {
        let mut page: Answer<Users> = daemon.get(&first.clone().with_some("after", after.as_ref())).await?;
        if let Some(Value::Array(more)) = page.raw.get_mut("users").map(Value::take) {
            raw.extend(more);
        }
        users.append(&mut page.value.users);
        // A page that leads to itself would never end.
        if page.value.next.is_none() || page.value.next == after {
            break;
        }
        after = page.value.next;
    }
    Ok(Answer { raw: json!({ "users": raw }), value: Users { users, next: None } })
}

/// The users of a list.
pub fn list(users: &Users, view: &View) -> Page {
    if users.users.is_empty() {
        return Page::from("no such users\n".to_owned());
    }
    let rows = users.users.iter().map(|user| {
        let mut about: Vec<String> = user.suspension.iter().map(|s| format!("{} since {}", s.reason, time(&s.since))).collect();
        about.extend(user.quarantine.iter().map(|q| yellow(format!("quarantined: {q}"))));
        [
            user.primary_email.clone().unwrap_or_else(|| user.id.clone()),
            user.display_name.clone().unwrap_or_default(),
            user.account.clone(),
            coloured_status(&user.status),
            user.tier.clone(),
            user.directory.as_ref().map_or_else(|| dim("not managed"), |d| d.name.clone()),
            about.join(", "),
        ]
    });
    table(["ADDRESS", "NAME", "ACCOUNT", "STATUS", "TIER", "DIRECTORY", "WHY"], rows, view)
}

/// One user.
pub fn show(user: &User, view: &View) -> Page {
    let User {
        id,
        account,
        status,
        tier,
        primary_email: _,
        secondary_emails,
        display_name,
        given_name,
        surname,
        profile,
        directory,
        suspension,
        quarantine,
        pinned,
        invited_at,
        joined_at,
        created_at,
        updated_at,
    } = user;
    let mut page = Page::default();
    page.line(format!("{}: {}, {tier}, in {account}", bold(name(user)), coloured_status(status)));
    let mut fields = Vec::new();
    let full = [given_name, surname].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
    let called = display_name.clone().unwrap_or_else(|| full.clone());
    let called = if full.is_empty() || full == called { called } else { format!("{called} ({full})") };
    if !called.is_empty() {
        fields.push(("name", called));
    }
    for (n, address) in secondary_emails.iter().enumerate() {
        fields.push((if n == 0 { "also" } else { "" }, address.clone()));
    }
    let profile: Vec<(String, &str)> =
        profile.as_object().into_iter().flatten().filter_map(|(key, value)| Some((key.replace('_', " "), value.as_str()?))).collect();
    for (key, text) in &profile {
        if !matches!(key.as_str(), "display name" | "given name" | "surname") {
            fields.push((key, (*text).to_owned()));
        }
    }
    fields.push(("id", id.clone()));
    match directory {
        Some(link) => {
            fields.push(("person", format!("{} in directory {}", link.object_guid, link.name)));
            fields.push(("", link.dn.clone()));
        }
        None => fields.push(("person", dim("not managed by a directory"))),
    }
    for (what, at) in
        [("invited", invited_at.as_ref()), ("joined", joined_at.as_ref()), ("created", Some(created_at)), ("updated", Some(updated_at))]
    {
        fields.extend(at.map(|at| (what, time_and_age(at, view))));
    }
    if !pinned.is_empty() {
        fields.push(("overruled", format!("{}, until the directory says something new", pinned.join(", "))));
    }
    page.fields(&fields, view);
    for cause in suspension.iter().flat_map(|s| &s.causes) {
        page.append(&one_cause(cause, view));
    }
    for reason in quarantine {
        page.sentence(&format!("  {} ", yellow("!")), &format!("the directory entry cannot be used as it is: {reason}"), view);
    }
    page
}

fn one_cause(UserCause { reason, since, by, evidence }: &UserCause, view: &View) -> Page {
    let mut page = Page::default();
    let as_what = if reason == "operator" { String::new() } else { format!(" as {}", red(reason)) };
    page.sentence(&format!("  {} ", red("✗")), &format!("suspended{as_what} by {by} since {}", time_and_age(since, view)), view);
    for seen in change::evidence(evidence) {
        page.sentence("      ", &dim(seen), view);
    }
    page
}

fn suspended(user: &User, view: &View) -> Page {
    let mut page = Page::default();
    let who = name(user);
    let text = format!("{} is suspended, until an operator says otherwise: rosterctl user activate {who}", bold(who));
    page.sentence("", &text, view);
    page
}

/// What lifting a suspension came to.
pub fn activated(Activation { user, remains }: &Activation, view: &View) -> Page {
    let mut page = Page::default();
    page.line(format!("{}: {}", bold(name(user)), coloured_status(&user.status)));
    if !remains.is_empty() {
        page.line(format!("  {} suspended:", if remains.len() == 1 { "one thing keeps it" } else { "these keep it" }));
    }
    for sentence in remains {
        page.sentence(&format!("  {} ", red("✗")), sentence, view);
    }
    if !user.pinned.is_empty() {
        let pins = count(user.pinned.len() as u64, "reason");
        page.sentence("  ", &format!("{pins} overruled until the directory says something new: {}", user.pinned.join(", ")), view);
    }
    page
}

fn name(user: &User) -> &str {
    user.primary_email.as_deref().unwrap_or(&user.id)
}

fn coloured_status(status: &str) -> String {
    match status {
        "active" => green(status),
        "suspended" => red(status),
        "invited" => yellow(status),
        other => dim(other),
    }
}
