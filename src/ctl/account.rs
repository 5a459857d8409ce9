//! `rosterctl account`: accounts and their policies.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::Value;

use super::link::{Answer, Daemon, Failure};
use super::text::{Page, View, bold, dim, number, table, time, value};
use super::{Exit, Output, domain};
use crate::control::api::{
    Account, Accounts, Deletion, NewAccount, NewPolicies, PolicyValue, Renaming,
};
use crate::control::client::Route;

/// Team and enterprise accounts
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create an account; it is a team until it holds a domain
    Create {
        /// The permanent handle: lower-case letters, digits and hyphens
        handle: String,
        /// The display name
        #[arg(long)]
        name: String,
    },
    /// List all accounts
    #[command(alias = "ls")]
    List {
        /// Only accounts whose handle, or a word of whose name, begins with this
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Show one account
    Show {
        /// The handle of the account
        handle: String,
    },
    /// Change the display name of an account; its handle stays
    Rename {
        /// The handle of the account
        handle: String,
        /// The new display name
        #[arg(long)]
        name: String,
    },
    /// Delete an account that holds no domain and has no users; asks for its handle
    Delete {
        /// The handle of the account
        handle: String,
        /// The handle again; required with --yes
        #[arg(value_name = "SAME-HANDLE")]
        confirm: Option<String>,
    },
    /// Show the policies of an account; with KEY=VALUE, set one
    Policy {
        /// The handle of the account
        handle: String,
        /// screen-share-control, outbound-calling, external-app-sign-in, external-users: true or false; regions: comma-separated, or all
        #[arg(value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        Command::Create { handle, name } => {
            let body = NewAccount { handle: handle.clone(), name: name.clone() };
            let account: Answer<Account> = daemon.post(&Route::to(["accounts"]), &body).await?;
            output.data(&account.raw, |view| created(&account.value, view))?;
        }
        Command::List { search } => {
            let accounts: Answer<Accounts> =
                daemon.get(&Route::to(["accounts"]).with_some("q", search.as_ref())).await?;
            output.data(&accounts.raw, |view| list(&accounts.value, view))?;
        }
        Command::Show { handle } => {
            let account: Answer<Account> = daemon.get(&Route::to(["accounts", handle])).await?;
            output.data(&account.raw, |view| show(&account.value, view))?;
        }
        Command::Rename { handle, name } => {
            let body = Renaming { name: name.clone() };
            let account: Answer<Account> =
                daemon.post(&Route::to(["accounts", handle, "rename"]), &body).await?;
            output.data(&account.raw, |view| show(&account.value, view))?;
        }
        Command::Delete { handle, confirm } => {
            delete(handle, confirm.as_deref(), daemon, output).await?
        }
        Command::Policy { handle, set } => {
            let account: Answer<Account> = if set.is_empty() {
                daemon.get(&Route::to(["accounts", handle])).await?
            } else {
                daemon
                    .post(&Route::to(["accounts", handle, "policies"]), &NewPolicies(wanted(set)?))
                    .await?
            };
            output.data(&account.raw, |view| policies(&account.value, view))?;
        }
    }
    Ok(Exit::Done)
}

async fn delete(
    handle: &str,
    confirm: Option<&str>,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let confirmed = match confirm {
        Some(confirm) if output.yes => confirm.to_owned(),
        _ if output.terminal.interactive && !output.yes => {
            let account: Answer<Account> = daemon.get(&Route::to(["accounts", handle])).await?;
            let shown = show(&account.value, &output.terminal.view());
            output.note(&shown);
            let typed = output
                .terminal
                .ask_for("This cannot be undone. To delete the account, type its handle: ")?;
            if typed != handle {
                return Err(Failure::Declined);
            }
            typed
        }
        _ => {
            return Err(Failure::Usage(format!(
                "account delete needs the handle as confirmation: account delete {handle} --yes {handle}"
            )));
        }
    };
    if confirmed != handle {
        return Err(Failure::Usage(format!(
            "\"{confirmed}\" is not {handle}: nothing was deleted"
        )));
    }
    let account: Answer<Account> = daemon
        .post(&Route::to(["accounts", handle, "delete"]), &Deletion { confirm: confirmed })
        .await?;
    output.data(&account.raw, |_| {
        let mut page = Page::default();
        page.line(format!(
            "{} ({}) is deleted, with all data of its users",
            bold(handle),
            account.value.name
        ));
        page
    })
}

fn wanted(set: &[String]) -> Result<BTreeMap<String, PolicyValue>, Failure> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Failure::Usage(format!("\"{text}\" is not a policy: write KEY=VALUE"))
        })?;
        Ok((key.trim().to_owned(), PolicyValue::Text(value.trim().to_owned())))
    };
    set.iter().map(pair).collect()
}

/// The policies of an account.
pub fn policies(account: &Account, view: &View) -> Page {
    let shown = |policy: &Value| match policy {
        Value::Array(all) if all.is_empty() => "all".to_owned(),
        other => value(other),
    };
    let rows = account
        .policies
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, policy)| [key.clone(), shown(policy)]);
    table(["POLICY", "VALUE"], rows, view)
}

fn created(account: &Account, view: &View) -> Page {
    let mut page = Page::default();
    page.line(format!(
        "{} ({}) was created as a {}",
        bold(&account.handle),
        account.name,
        account.kind
    ));
    if account.domains.is_empty() {
        page.sentence(
            "",
            &format!(
                "Next: rosterctl domain claim {} DOMAIN, with the domain of its people's addresses",
                account.handle
            ),
            view,
        );
    }
    page
}

/// The accounts of a list.
pub fn list(accounts: &Accounts, view: &View) -> Page {
    if accounts.accounts.is_empty() {
        return Page::from(
            "there are no accounts yet: rosterctl account create HANDLE --name NAME\n".to_owned(),
        );
    }
    let rows = accounts.accounts.iter().map(|a| {
        [
            a.handle.clone(),
            a.name.clone(),
            a.kind.to_string(),
            a.domains.iter().map(|d| d.domain.as_str()).collect::<Vec<_>>().join(", "),
            a.directories.join(", "),
            number(a.users.active),
            number(a.users.suspended),
        ]
    });
    table(["HANDLE", "NAME", "KIND", "DOMAINS", "DIRECTORIES", "ACTIVE", "SUSPENDED"], rows, view)
}

pub fn show(account: &Account, view: &View) -> Page {
    let Account { id, handle, name, kind, domains, directories, policies, users, created_at } =
        account;
    let mut page = Page::default();
    page.line(format!("{} ({name}), {kind}", bold(handle)));
    let mut people =
        format!("{} active, {} suspended", number(users.active), number(users.suspended));
    for (n, what) in [(users.invited, "invited"), (users.released, "released")] {
        if n > 0 {
            people = format!("{people}, {} {what}", number(n));
        }
    }
    let mut fields = vec![("id", id.clone()), ("users", people)];
    fields.push((
        "directories",
        if directories.is_empty() { dim("none") } else { directories.join(", ") },
    ));
    for (n, claim) in domains.iter().enumerate() {
        fields.push((
            if n == 0 { "domains" } else { "" },
            format!("{} {}", claim.domain, domain::coloured_state(claim.state)),
        ));
    }
    if policies.as_object().is_some_and(|p| !p.is_empty()) {
        fields.push(("policies", value(policies)));
    }
    fields.push(("created", time(created_at, view)));
    page.fields(&fields, view);
    page
}
