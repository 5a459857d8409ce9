//! `rosterctl directory`: status, checks, pauses and baselines of directories.

use clap::Subcommand;
use serde_json::json;

use super::check::check_steps;
use super::link::{Answer, Daemon, Failure};
use super::text::{Page, View, number, table, time};
use super::{Exit, Output, run, status, users, when};
use crate::control::api::{
    Check, Directories, DirectoryRenaming, DirectoryStatus, Pause, Run, Users,
};
use crate::control::client::Route;

/// Configured directories and their state
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List all directories
    #[command(alias = "ls")]
    List,
    /// Show the state of one directory
    Show {
        /// The name of the directory; default: all
        name: Option<String>,
    },
    /// Check each requirement of a run: DNS, TLS, bind, rights, bases, groups. Exit status 0 if no step failed
    Check {
        /// The name of the directory; default: all
        name: Option<String>,
        /// Read all people as well, and count them: by tier, without mail, in no group
        #[arg(long)]
        people: bool,
    },
    /// Pause all runs of a directory. No leaver is suspended meanwhile; sign-ins continue
    Pause {
        /// The name of the directory
        name: String,
        /// How long: 4h, 2d, 18:00, tomorrow or monday; default 4h, at most 7d
        #[arg(long = "for", value_name = "TIME")]
        duration: Option<String>,
    },
    /// End a pause
    Resume {
        /// The name of the directory
        name: String,
    },
    /// Bind again after Active Directory refused the service account
    Unlock {
        /// The name of the directory
        name: String,
    },
    /// Believe the present server although another one showed newer changes; the next run applies what it shows
    TrustServer {
        /// The name of the directory
        name: String,
    },
    /// Move all stored data of a renamed directory section to its new name
    Rename {
        /// The former name, no longer configured
        old: String,
        /// The new name
        new: String,
    },
    /// After a migration between forests: propose the entries of this directory whose sIDHistory has the SID of
    /// a user's entry in another directory. The links are held for approval
    Relink {
        /// The name of the directory with the new entries
        name: String,
        /// Find the pairs by sIDHistory; rosterctl user relink links single users
        #[arg(long, required = true)]
        sid_history: bool,
    },
    /// Accept the present bases, groups, canaries and readable attributes; the next run only plans
    Rebaseline {
        /// The name of the directory
        name: String,
    },
}

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        Command::List => {
            let directories: Answer<Directories> = daemon.get(&Route::to(["directories"])).await?;
            output.data(&directories.raw, |view| list(&directories.value, view))?;
        }
        Command::Show { name } => {
            let mut all: Answer<Directories> = daemon.get(&Route::to(["directories"])).await?;
            if let Some(name) = name {
                all.value.directories.retain(|directory| directory.name == *name);
                if all.value.directories.is_empty() {
                    let known = names(daemon).await?.join(", ");
                    return Err(Failure::Unresolved(format!(
                        "there is no directory {name}; configured: {known}"
                    )));
                }
                let mut raw = all.raw["directories"].as_array().into_iter().flatten();
                let found = raw.find(|d| d["name"].as_str() == Some(name)).cloned();
                all.raw = found.unwrap_or_default();
            }
            output.data(&all.raw, |view| {
                let mut page = Page::default();
                for directory in &all.value.directories {
                    page.append(&status::block(directory, view));
                }
                page
            })?;
        }
        Command::Check { name, people } => {
            return check(name.as_deref(), *people, daemon, output).await;
        }
        Command::Pause { name, duration } => {
            let view = output.terminal.view();
            let length =
                duration.as_deref().map(|text| when::duration("--for", text, &view)).transpose()?;
            let body = Pause { duration: length };
            let directory: Answer<DirectoryStatus> =
                daemon.post(&Route::to(["directories", name, "pause"]), &body).await?;
            output.data(&directory.raw, |view| status::block(&directory.value, view))?;
        }
        Command::Rename { old, new } => {
            let body = DirectoryRenaming { to: new.clone() };
            let directory: Answer<DirectoryStatus> =
                daemon.post(&Route::to(["directories", old, "rename"]), &body).await?;
            output.data(&directory.raw, |view| status::block(&directory.value, view))?;
        }
        Command::Relink { name, sid_history: _ } => {
            let run: Answer<Run> = daemon
                .post(&Route::to(["directories", name, "relink-by-sid-history"]), &())
                .await?;
            output.data(&run.raw, |view| run::summary(&run.value, view))?;
            return Ok(if run::exit(&run.value) == Exit::Failed {
                Exit::Failed
            } else {
                Exit::Done
            });
        }
        Command::Resume { name } => change(name, "resume", daemon, output).await?,
        Command::Unlock { name } => change(name, "unlock", daemon, output).await?,
        Command::TrustServer { name } => {
            output.can_ask("directory trust-server")?;
            if !output.yes {
                let users: Answer<Users> = daemon.get(&users::behind(name)).await?;
                let shown = unheard_of(name, &users.value, &output.terminal.view());
                output.note(&shown);
                output.ask(&format!(
                    "Believe the present server of {name}? A leaver whom only another server knows becomes active again."
                ))?;
            }
            change(name, "trust-server", daemon, output).await?;
        }
        Command::Rebaseline { name } => change(name, "rebaseline", daemon, output).await?,
    }
    Ok(Exit::Done)
}

async fn check(
    name: Option<&str>,
    people: bool,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => names(daemon).await?,
    };
    let mut checks: Vec<Answer<Check>> = Vec::new();
    for name in &names {
        let route = Route::to(["directories", name, "check"]);
        checks.push(daemon.get(&route.with_some("people", people.then_some(true))).await?);
    }
    let raw = match checks.as_slice() {
        [one] => one.raw.clone(),
        all => json!({ "checks": all.iter().map(|check| &check.raw).collect::<Vec<_>>() }),
    };
    output.data(&raw, |view| {
        let mut page = Page::default();
        for check in &checks {
            page.append(&examined(&check.value, view));
        }
        page
    })?;
    Ok(if checks.iter().all(|check| check.value.ok) { Exit::Done } else { Exit::Failed })
}

/// Posts an action that needs only the directory's name, and shows the new status.
async fn change(
    name: &str,
    what: &str,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let directory: Answer<DirectoryStatus> =
        daemon.post(&Route::to(["directories", name, what]), &()).await?;
    output.data(&directory.raw, |view| status::block(&directory.value, view))
}

/// Names the users about whom the present server of a directory is behind.
pub fn unheard_of(name: &str, users: &Users, view: &View) -> Page {
    if users.users.is_empty() {
        return Page::from(format!("The present server of {name} is behind about no user.\n"));
    }
    let mut page = Page::default();
    let heading = format!(
        "The present server of {name} has not heard of changes that another server showed. They concern:"
    );
    page.sentence("", &heading, view);
    page.append(&users::list(users, view));
    if users.next.is_some() {
        page.line(format!("… and more: rosterctl user list --behind {name}"));
    }
    page
}

/// Returns the names of all directories.
pub(super) async fn names(daemon: &Daemon) -> Result<Vec<String>, Failure> {
    let directories: Answer<Directories> = daemon.get(&Route::to(["directories"])).await?;
    Ok(directories.value.directories.into_iter().map(|d| d.name).collect())
}

pub fn list(directories: &Directories, view: &View) -> Page {
    if directories.directories.is_empty() {
        return Page::from(
            "no directory is configured: add a [[directory]] to a file in /etc/rosterd/conf.d\n"
                .to_owned(),
        );
    }
    let at = |t: &Option<String>| t.as_deref().map(|at| time(at, view)).unwrap_or_default();
    let rows = directories.directories.iter().map(|d| {
        [
            d.name.clone(),
            d.account.clone(),
            status::coloured_state(d.state),
            number(d.users.active),
            number(d.users.suspended),
            number(d.held),
            number(d.quarantined),
            at(&d.last_success),
            at(&d.next_run),
        ]
    });
    table(
        [
            "NAME",
            "ACCOUNT",
            "STATE",
            "ACTIVE",
            "SUSPENDED",
            "HELD",
            "QUARANTINED",
            "LAST RUN",
            "NEXT RUN",
        ],
        rows,
        view,
    )
}

pub fn examined(check: &Check, view: &View) -> Page {
    check_steps(&check.directory, &check.steps, "ready", view)
}
