//! `rosterctl user`: users and actions on them.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::link::{Answer, Daemon, Failure, PAGE};
use super::text::{Page, View, count, maybe_more, red};
use super::{Exit, Output, explain, run, users, when};
use crate::control::api::{
    self, Activation, Contacts, Invitation, InvitationOutcome, Invitations, NewInvitations,
    NewNote, NewTier, Relinking, Run, Suspension, User, UserDetail, UserStatus,
};
use crate::control::client::Route;

mod views;

pub use views::{activated, invited, noted, show};
use views::{cancelled, freed, has_tier, name, overrides_cleared, removed, suspended};

/// Users of all accounts
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List all users
    #[command(alias = "ls")]
    List(users::List),
    #[command(alias = "find")]
    Search(users::Search),
    /// Show one user with its history
    Show {
        /// An address, id, logon name, DN, employee id or full name
        who: String,
    },
    /// Explain the state of a user or an entry, and what would change it
    Explain {
        /// An address, id, logon name, DN, employee id or full name
        who: String,
    },
    /// Read one person now and apply the changes
    Sync {
        /// An address, id, logon name, DN, employee id or full name
        who: String,
    },
    /// Search the colleagues of a user
    Contacts {
        /// An address, id, logon name, DN, employee id or full name
        who: String,
        /// Words, each the start of a name or an address
        #[arg(required = true)]
        text: Vec<String>,
        /// Show at most N users
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Invite people to an account
    Invite {
        /// The handle of the account
        account: String,
        /// Addresses, separated by semicolons, commas or spaces
        #[arg(required_unless_present = "file")]
        emails: Vec<String>,
        /// Also the addresses in this file; - is standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Remove a user from an account and erase its personal data; asks first
    #[command(alias = "rm")]
    Remove {
        #[command(flatten)]
        whom: Whom,
    },
    /// Write a note on a user, such as "parental leave", that lists, plans and hooks show
    Note {
        /// An address, id, logon name, DN, employee id or full name
        who: String,
        /// One line of at most 200 characters
        #[arg(required_unless_present = "clear")]
        text: Option<String>,
        /// Remove the note
        #[arg(long, conflicts_with = "text")]
        clear: bool,
    },
    /// Set the tier of a user that no directory manages
    Tier {
        /// Addresses, ids, logon names, DNs, employee ids or full names
        #[arg(required = true)]
        who: Vec<String>,
        /// The new tier
        tier: users::Tier,
    },
    /// Link a user to a new directory entry of the same person
    Relink {
        /// An address, id, logon name, DN, employee id or full name
        #[arg(required_unless_present = "file", requires = "person")]
        who: Option<String>,
        /// The objectGUID of the new entry
        #[arg(value_name = "OBJECT-GUID")]
        person: Option<String>,
        /// A CSV file of WHO,OBJECT-GUID without a header; - is standard input
        #[arg(long, value_name = "FILE", conflicts_with = "who")]
        file: Option<PathBuf>,
    },
    /// Free the addresses of suspended users for other users; asks first
    ReleaseAddress {
        #[command(flatten)]
        whom: Whom,
    },
    /// Clear an operator's override, so that the directory decides again
    ClearOverride {
        #[command(flatten)]
        whom: Whom,
    },
    /// Suspend a user at once, whatever the directory says; asks first
    #[command(alias = "disable")]
    Suspend {
        #[command(flatten)]
        whom: Whom,
        /// The reason, for the record
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Suspend at this time instead: 2026-11-30T17:00:00Z, 2026-11-30, 18:00, tomorrow, or 4h
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Cancel the suspension that was scheduled with --at
        #[arg(long, conflicts_with_all = ["at", "reason"])]
        cancel: bool,
    },
    /// Lift a suspension, as far as the directory allows
    #[command(alias = "enable")]
    Activate {
        #[command(flatten)]
        whom: Whom,
    },
}

#[derive(Debug, Args)]
pub struct Whom {
    /// Addresses, ids, logon names, DNs, employee ids or full names
    #[arg(required_unless_present = "file")]
    who: Vec<String>,
    /// Also the users in this file, one per line; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Whom {
    /// Returns all users that the arguments name.
    fn all(&self) -> Result<Vec<String>, Failure> {
        let Self { who, file } = self;
        let mut all = who.clone();
        if let Some(file) = file {
            all.extend(lines(file)?);
        }
        if all.is_empty() {
            Err(Failure::Usage(
                "no user is named: give an address, an id, a logon name, a DN, an employee id or a full name".to_owned(),
            ))
        } else {
            Ok(all)
        }
    }
}

/// Returns the non-empty lines of a file; `-` is standard input.
pub(super) fn lines(file: &Path) -> Result<Vec<String>, Failure> {
    let unreadable =
        |error: io::Error| Failure::Usage(format!("{} cannot be read: {error}", file.display()));
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map_err(unreadable)?;
        text
    } else {
        std::fs::read_to_string(file).map_err(unreadable)?
    };
    let lines: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(Failure::Usage(format!("{} is empty: write one a line", file.display())));
    }
    Ok(lines)
}

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        Command::List(which) => return users::call(which, daemon, output).await,
        Command::Search(which) => return users::search(which, daemon, output).await,
        Command::Contacts { who, text, limit } => {
            let route = Route::to(["users", who, "contacts"])
                .with("q", text.join(" "))
                .with_some("limit", *limit);
            let found: Answer<Contacts> = daemon.get(&route).await?;
            output.data(&found.raw, |view| {
                let mut page = users::contacts(&found.value, view);
                let limit = limit.unwrap_or(users::SEARCHED).min(PAGE);
                page.append(&maybe_more(found.value.contacts.len(), limit));
                page
            })?;
        }
        Command::Explain { who } => return explain::call(who, daemon, output).await,
        Command::Show { who } => {
            let user: Answer<UserDetail> = daemon.get(&Route::to(["users", who])).await?;
            output.data(&user.raw, |view| {
                let mut page = show(&user.value.user, view);
                page.append(&explain::targets(&user.value.targets, view));
                page.append(&explain::history(&user.value.history, view));
                page
            })?;
        }
        Command::Sync { who } => {
            let run: Answer<Run> = daemon.post(&Route::to(["users", who, "sync"]), &()).await?;
            output.data(&run.raw, |view| run::summary(&run.value, view))?;
            // Other held changes of the directory do not matter to this run.
            return Ok(if run::exit(&run.value) == Exit::Failed {
                Exit::Failed
            } else {
                Exit::Done
            });
        }
        Command::Suspend { whom, cancel: true, .. } => {
            let ask = async |who: &str| {
                daemon.post(&Route::to(["users", who, "cancel-suspension"]), &()).await
            };
            return each(&whom.all()?, output, cancelled, |_| Exit::Done, ask).await;
        }
        Command::Suspend { whom, reason, at, cancel: false } => {
            let all = whom.all()?;
            let view = output.terminal.view();
            let at = at.as_ref().map(|at| when::coming("--at", at, &view)).transpose()?;
            ask(&all, "suspend", "Suspend", daemon, output).await?;
            let body = Suspension { reason: reason.clone(), at: at.map(Into::into) };
            return each(
                &all,
                output,
                suspended,
                |_| Exit::Done,
                async |who| daemon.post(&Route::to(["users", who, "suspend"]), &body).await,
            )
            .await;
        }
        Command::Activate { whom } => {
            let exit = |activation: &Activation| {
                if activation.user.status == UserStatus::Active { Exit::Done } else { Exit::Failed }
            };
            let ask =
                async |who: &str| daemon.post(&Route::to(["users", who, "activate"]), &()).await;
            return each(&whom.all()?, output, activated, exit, ask).await;
        }
        Command::Note { who, text, clear: _ } => {
            let body = NewNote { text: text.clone() };
            let user: Answer<User> = daemon.post(&Route::to(["users", who, "note"]), &body).await?;
            output.data(&user.raw, |view| noted(&user.value, view))?;
        }
        Command::Tier { who, tier } => {
            let tier = match tier {
                users::Tier::Basic => api::Tier::Basic,
                users::Tier::Pro => api::Tier::Pro,
            };
            let body = NewTier { tier };
            let ask =
                async |who: &str| daemon.post(&Route::to(["users", who, "tier"]), &body).await;
            return each(who, output, has_tier, |_: &User| Exit::Done, ask).await;
        }
        Command::Remove { whom } => {
            let all = whom.all()?;
            ask(&all, "remove", "Remove, with all personal data,", daemon, output).await?;
            let ask =
                async |who: &str| daemon.post(&Route::to(["users", who, "remove"]), &()).await;
            return each(&all, output, removed, |_: &User| Exit::Done, ask).await;
        }
        Command::Relink { who, person, file } => {
            let pairs = match (who, person, file) {
                (Some(who), Some(person), _) => vec![(who.clone(), person.clone())],
                (_, _, Some(file)) => pairs(file)?,
                _ => {
                    return Err(Failure::Usage(
                        "name the user and the objectGUID of the new entry".to_owned(),
                    ));
                }
            };
            let all: Vec<String> = pairs.iter().map(|(who, _)| who.clone()).collect();
            let ask = async |who: &str| {
                let person = pairs
                    .iter()
                    .find(|(w, _)| w == who)
                    .map(|(_, p)| p.clone())
                    .unwrap_or_default();
                daemon
                    .post(&Route::to(["users", who, "relink"]), &Relinking { object_guid: person })
                    .await
            };
            return each(
                &all,
                output,
                run::summary,
                |run: &Run| if run::exit(run) == Exit::Failed { Exit::Failed } else { Exit::Done },
                ask,
            )
            .await;
        }
        Command::ReleaseAddress { whom } => {
            let all = whom.all()?;
            ask(&all, "release-address", "Free the addresses of", daemon, output).await?;
            let ask = async |who: &str| {
                daemon.post(&Route::to(["users", who, "release-address"]), &()).await
            };
            return each(&all, output, freed, |_: &User| Exit::Done, ask).await;
        }
        Command::ClearOverride { whom } => {
            let ask = async |who: &str| {
                daemon.post(&Route::to(["users", who, "clear-override"]), &()).await
            };
            return each(&whom.all()?, output, overrides_cleared, |_: &User| Exit::Done, ask).await;
        }
        Command::Invite { account, emails, file } => {
            return invite(account, emails, file.as_deref(), daemon, output).await;
        }
    }
    Ok(Exit::Done)
}

/// Reads a CSV file of two columns.
fn pairs(file: &Path) -> Result<Vec<(String, String)>, Failure> {
    let text = lines(file)?.join("\n");
    let mut rows = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let wrong =
        |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", file.display()));
    rows.records()
        .map(|row| {
            let row = row.map_err(|e| wrong(&e))?;
            match (row.get(0), row.get(1), row.len()) {
                (Some(who), Some(person), 2) => Ok((who.to_owned(), person.to_owned())),
                _ => Err(wrong(&format!(
                    "\"{}\" is not WHO,OBJECT-GUID",
                    row.iter().collect::<Vec<_>>().join(",")
                ))),
            }
        })
        .collect()
}

/// Asks once for all users.
async fn ask(
    all: &[String],
    command: &str,
    question: &str,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    output.can_ask(&format!("user {command}"))?;
    if output.yes {
        return Ok(());
    }
    let [who] = all else {
        return output.ask(&format!("{question} {}?", count(all.len() as u64, "user")));
    };
    let user: Answer<User> = daemon.get(&Route::to(["users", who])).await?;
    let shown = show(&user.value, &output.terminal.view());
    output.note(&shown);
    output.ask(&format!("{question} {}?", name(&user.value)))
}

/// Applies an action to each user. A failure for one user does not stop the others.
async fn each<T>(
    all: &[String],
    output: &mut Output<'_>,
    view: impl Fn(&T, &View) -> Page,
    exit: impl Fn(&T) -> Exit,
    ask: impl AsyncFn(&str) -> Result<Answer<T>, Failure>,
) -> Result<Exit, Failure> {
    if let [who] = all {
        let answer = ask(who).await?;
        output.data(&answer.raw, |v| view(&answer.value, v))?;
        return Ok(exit(&answer.value));
    }
    let (mut worst, mut results, mut page) = (Exit::Done, Vec::new(), Page::default());
    for who in all {
        match ask(who).await {
            Ok(answer) => {
                worst = worst.max(exit(&answer.value));
                page.append(&view(&answer.value, &output.terminal.view()));
                results.push(json!({ "who": who, "result": answer.raw }));
            }
            Err(failure) => {
                // The failure is the same for all other users.
                if matches!(failure.exit(), Exit::NoDaemon | Exit::NotAllowed) {
                    return Err(failure);
                }
                worst = worst.max(failure.exit());
                page.sentence(
                    &format!("{} ", red("✗")),
                    &format!("{who}: {}", failure.sentence()),
                    &output.terminal.view(),
                );
                results.push(json!({ "who": who, "problem": failure.problem() }));
            }
        }
    }
    output.data(&json!({ "results": results }), |_| page)?;
    Ok(worst)
}

async fn invite(
    account: &str,
    emails: &[String],
    file: Option<&Path>,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let mut addresses = emails.to_vec();
    if let Some(file) = file {
        addresses.extend(lines(file)?);
    }
    let answer: Answer<Invitations> = daemon
        .post(&Route::to(["accounts", account, "invitations"]), &NewInvitations { addresses })
        .await?;
    output.data(&answer.raw, |view| invited(&answer.value, view))?;
    let is_well = |invitation: &Invitation| {
        matches!(invitation.outcome, InvitationOutcome::Invited | InvitationOutcome::AlreadyHere)
    };
    Ok(if answer.value.invitations.iter().all(is_well) { Exit::Done } else { Exit::Failed })
}
