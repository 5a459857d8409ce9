//! `rosterctl directory`: the directories, and a pause for one.

use clap::Subcommand;

use super::link::{Answer, Daemon, Failure};
use super::text::{
    Page, View, bold, count, dim, green, harmless, number, red, table, time, yellow,
};
use super::{Exit, Output, status};
use crate::control::api::{
    Check, CheckStep, Directories, DirectoryRenaming, DirectoryStatus, Pause,
};
use crate::control::client::Route;

/// The configured directories
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All of them
    List,
    /// Look at everything a run needs, step by step: DNS, TLS, bind, rights, base, groups. Exit status 0 if nothing failed
    Check {
        /// The directory
        name: String,
    },
    /// Start no runs of it for a while; nobody who leaves is suspended meanwhile, what people do at sign-in stays as it is
    Pause {
        /// The directory
        name: String,
        /// How long, such as 8h, at most 7d; four hours without it
        #[arg(long = "for", value_name = "TIME")]
        duration: Option<String>,
    },
    /// Start runs of it again
    Resume {
        /// The directory
        name: String,
    },
    /// Try the bind again, after Active Directory has refused the service account
    Unlock {
        /// The directory
        name: String,
    },
    /// Give everything stored under a former name of a directory to the name that it has in the configuration now
    Rename {
        /// The former name, which is not configured any more
        old: String,
        /// The present name
        new: String,
    },
    /// Accept bases, groups, canaries and readable attributes as they are now; the next run only plans
    Rebaseline {
        /// The directory
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
        Command::Check { name } => {
            let check: Answer<Check> =
                daemon.get(&Route::to(["directories", name, "check"])).await?;
            output.data(&check.raw, |view| examined(&check.value, view))?;
            return Ok(if check.value.ok { Exit::Done } else { Exit::Failed });
        }
        Command::Pause { name, duration } => {
            let body = Pause { duration: duration.clone() };
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
        Command::Resume { name } => change(name, "resume", daemon, output).await?,
        Command::Unlock { name } => change(name, "unlock", daemon, output).await?,
        Command::Rebaseline { name } => change(name, "rebaseline", daemon, output).await?,
    }
    Ok(Exit::Done)
}

/// Does something to a directory that takes no more than its name, and shows how it stands then.
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

/// The names of all directories.
pub(super) async fn names(daemon: &Daemon) -> Result<Vec<String>, Failure> {
    let directories: Answer<Directories> = daemon.get(&Route::to(["directories"])).await?;
    Ok(directories.value.directories.into_iter().map(|d| d.name).collect())
}

/// The directories of a list.
pub fn list(directories: &Directories, view: &View) -> Page {
    if directories.directories.is_empty() {
        return Page::from(
            "no directory is configured: add a [[directory]] to /etc/rosterd/rosterd.toml\n"
                .to_owned(),
        );
    }
    let at = |t: &Option<String>| t.as_deref().map_or_else(String::new, time);
    let rows = directories.directories.iter().map(|d| {
        [
            d.name.clone(),
            d.account.clone(),
            status::coloured_state(&d.state),
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

/// What a check found, step by step.
pub fn examined(check: &Check, view: &View) -> Page {
    let mut page = Page::default();
    let mut about: Option<&str> = None;
    for CheckStep { name, server, outcome, finding, remedy } in &check.steps {
        if server.is_some() && server.as_deref() != about {
            page.line(bold(harmless(server.as_deref().unwrap_or_default())));
        } else if server.is_none() && about.is_some() {
            page.line(bold("the directory"));
        }
        about = server.as_deref();
        let mark = match outcome.as_str() {
            "ok" => green("ok     "),
            "failed" => red("FAILED "),
            "warning" => yellow("warning"),
            _ => dim("skipped"),
        };
        page.sentence(&format!("  {mark}  {name:15}  "), &harmless(finding), view);
        if let Some(remedy) = remedy {
            page.sentence(&format!("{:26}  ", ""), &format!("→ {}", harmless(remedy)), view);
        }
    }
    let failed = check.steps.iter().filter(|step| step.outcome == "failed").count() as u64;
    page.line(if check.ok {
        format!("{}: runs can work", check.directory)
    } else {
        format!("{}: {} failed", check.directory, count(failed, "step"))
    });
    page
}
