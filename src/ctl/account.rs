//! `rosterctl account`: the accounts people belong to.

use clap::Subcommand;

use super::link::{Answer, Daemon, Failure};
use super::text::{Page, View, bold, dim, number, table, time, value};
use super::{Exit, Output, domain};
use crate::control::api::{Account, Accounts, NewAccount};
use crate::control::client::Route;

/// Team and enterprise accounts
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create an account; it is a team until it holds a domain
    Create {
        /// What it is called by, for good: lower-case letters, digits and hyphens
        handle: String,
        /// Its name for people
        #[arg(long)]
        name: String,
    },
    /// All accounts
    List,
    /// One account
    Show {
        /// The account
        handle: String,
    },
}

pub(super) async fn call(command: &Command, daemon: &Daemon, output: &mut Output<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Create { handle, name } => {
            let body = NewAccount { handle: handle.clone(), name: name.clone() };
            let account: Answer<Account> = daemon.post(&Route::to(["accounts"]), &body).await?;
            output.data(&account.raw, |view| created(&account.value, view))?;
        }
        Command::List => {
            let accounts: Answer<Accounts> = daemon.get(&Route::to(["accounts"])).await?;
            output.data(&accounts.raw, |view| list(&accounts.value, view))?;
        }
        Command::Show { handle } => {
            let account: Answer<Account> = daemon.get(&Route::to(["accounts", handle])).await?;
            output.data(&account.raw, |view| show(&account.value, view))?;
        }
    }
    Ok(Exit::Done)
}

fn created(account: &Account, view: &View) -> Page {
    let mut page = Page::default();
    page.line(format!("{} ({}) was created as a {}", bold(&account.handle), account.name, account.kind));
    if account.domains.is_empty() {
        page.sentence(
            "",
            &format!("Next: rosterctl domain claim {} DOMAIN, with the domain of its people's addresses", account.handle),
            view,
        );
    }
    page
}

/// The accounts of a list.
pub fn list(accounts: &Accounts, view: &View) -> Page {
    if accounts.accounts.is_empty() {
        return Page::from("there are no accounts yet: rosterctl account create HANDLE --name NAME\n".to_owned());
    }
    let rows = accounts.accounts.iter().map(|a| {
        [
            a.handle.clone(),
            a.name.clone(),
            a.kind.clone(),
            a.domains.iter().map(|d| d.domain.as_str()).collect::<Vec<_>>().join(", "),
            a.directories.join(", "),
            number(a.users.active),
            number(a.users.suspended),
        ]
    });
    table(["HANDLE", "NAME", "KIND", "DOMAINS", "DIRECTORIES", "ACTIVE", "SUSPENDED"], rows, view)
}

/// One account.
pub fn show(account: &Account, view: &View) -> Page {
    let Account { id, handle, name, kind, domains, directories, policies, users, created_at } = account;
    let mut page = Page::default();
    page.line(format!("{} ({name}), {kind}", bold(handle)));
    let mut people = format!("{} active, {} suspended", number(users.active), number(users.suspended));
    for (n, what) in [(users.invited, "invited"), (users.released, "released")] {
        if n > 0 {
            people = format!("{people}, {} {what}", number(n));
        }
    }
    let mut fields = vec![("id", id.clone()), ("users", people)];
    fields.push(("directories", if directories.is_empty() { dim("none") } else { directories.join(", ") }));
    for (n, claim) in domains.iter().enumerate() {
        fields.push((if n == 0 { "domains" } else { "" }, format!("{} {}", claim.domain, domain::coloured_state(&claim.state))));
    }
    if policies.as_object().is_some_and(|p| !p.is_empty()) {
        fields.push(("policies", value(policies)));
    }
    fields.push(("created", time(created_at)));
    page.fields(&fields, view);
    page
}
