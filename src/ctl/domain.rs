//! `rosterctl domain`: the email domains an account says are its own.

use clap::Subcommand;

use super::link::{Answer, Daemon, Failure};
use super::text::{Page, View, bold, green, red, table, time, time_and_age, yellow};
use super::{Exit, Output};
use crate::control::api::{Domain, Domains, NewClaim};
use crate::control::client::Route;

/// Email domains and who holds them
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Claim a domain for an account; prints the TXT record that proves it
    Claim {
        /// The account
        account: String,
        /// The domain
        domain: String,
    },
    /// Look for the TXT record now
    Verify {
        /// The domain
        domain: String,
        /// Whose claim, where several accounts claim it
        #[arg(long)]
        account: Option<String>,
    },
    /// All claims
    List {
        /// Only those of this account
        account: Option<String>,
    },
}

pub(super) async fn call(command: &Command, daemon: &Daemon, output: &mut Output<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Claim { account, domain } => {
            let body = NewClaim { domain: domain.clone() };
            let claim: Answer<Domain> = daemon.post(&Route::to(["accounts", account, "domains"]), &body).await?;
            output.data(&claim.raw, |view| claimed(&claim.value, view))?;
        }
        Command::Verify { domain, account } => {
            let route = Route::to(["domains", domain, "verify"]).with_some("account", account.as_ref());
            let claim: Answer<Domain> = daemon.post(&route, &()).await?;
            output.data(&claim.raw, |view| verified(&claim.value, view))?;
            return Ok(exit(&claim.value));
        }
        Command::List { account } => {
            let domains: Answer<Domains> = daemon.get(&Route::to(["domains"]).with_some("account", account.as_ref())).await?;
            output.data(&domains.raw, |view| list(&domains.value, view))?;
        }
    }
    Ok(Exit::Done)
}

/// 1 when the record that was looked for was not there.
pub fn exit(claim: &Domain) -> Exit {
    if claim.state == "verified" { Exit::Done } else { Exit::Failed }
}

/// A new claim, and the record to add in the form of a zone file.
pub fn claimed(claim: &Domain, view: &View) -> Page {
    let mut page = Page::default();
    page.line(format!("{} is claimed for {}: {}", bold(&claim.domain), bold(&claim.account), coloured_state(&claim.state)));
    if claim.state == "verified" {
        return page;
    }
    page.line("");
    page.line(format!("Add this record to the DNS of {}, and keep it there:", claim.domain));
    page.line("");
    page.line(record(claim));
    page.line("");
    page.sentence(
        "",
        &format!("Then: rosterctl domain verify {} (rosterd also looks for it by itself from time to time)", claim.domain),
        view,
    );
    page
}

/// What looking for the record came to.
pub fn verified(claim: &Domain, view: &View) -> Page {
    let mut page = Page::default();
    page.line(format!("{} of {}: {}", bold(&claim.domain), bold(&claim.account), coloured_state(&claim.state)));
    let mut fields = Vec::new();
    if let Some(finding) = &claim.finding {
        fields.push(("found", finding.clone()));
    }
    if let Some(at) = &claim.checked_at {
        fields.push(("looked", time_and_age(at, view)));
    }
    if let Some(at) = &claim.verified_at {
        fields.push(("verified", time_and_age(at, view)));
    }
    page.fields(&fields, view);
    if claim.state != "verified" {
        page.line("");
        page.line("The record that is looked for:");
        page.line("");
        page.line(record(claim));
    }
    page
}

/// One line of a zone file; never broken, since it is pasted.
fn record(claim: &Domain) -> String {
    format!("{}. 3600 IN TXT \"{}\"", claim.record.name.trim_end_matches('.'), claim.record.value)
}

/// The claims of a list.
pub fn list(domains: &Domains, view: &View) -> Page {
    if domains.domains.is_empty() {
        return Page::from("no domain is claimed: rosterctl domain claim ACCOUNT DOMAIN\n".to_owned());
    }
    let at = |t: &Option<String>| t.as_deref().map_or_else(String::new, time);
    let rows = domains.domains.iter().map(|d| {
        [
            d.domain.clone(),
            d.account.clone(),
            coloured_state(&d.state),
            time(&d.claimed_at),
            at(&d.verified_at),
            at(&d.checked_at),
            d.finding.clone().unwrap_or_default(),
        ]
    });
    table(["DOMAIN", "ACCOUNT", "STATE", "CLAIMED", "VERIFIED", "CHECKED", "FOUND"], rows, view)
}

/// The state in its colour.
pub(super) fn coloured_state(state: &str) -> String {
    match state {
        "verified" => green(state),
        "lapsed" => red(state),
        "pending" => yellow(state),
        other => other.to_owned(),
    }
}
