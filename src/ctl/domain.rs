//! `rosterctl domain`: the email domains that accounts claim.

use clap::Subcommand;

use super::link::{Answer, Daemon, Failure};
use super::text::{
    Page, View, bold, count, dim, green, number, red, table, time, time_and_age, yellow,
};
use super::{Exit, Output};
use crate::control::api::{ClaimState, Domain, Domains, NewClaim, Release, ReleaseEffect};
use crate::control::client::Route;

/// Email domains and the accounts that hold them
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Claim a domain for an account; prints the TXT record to add
    Claim {
        /// The handle of the account
        account: String,
        /// The email domain
        domain: String,
    },
    /// Look the TXT record up now
    Verify {
        /// The email domain
        domain: String,
        /// The account, if several accounts claim the domain
        #[arg(long)]
        account: Option<String>,
    },
    /// Release a domain; shows the affected users first, and asks
    Release {
        /// The email domain
        domain: String,
        /// The account, if several accounts claim the domain
        #[arg(long)]
        account: Option<String>,
    },
    /// List all claims
    #[command(alias = "ls")]
    List {
        /// Only claims of this account
        account: Option<String>,
    },
}

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        Command::Claim { account, domain } => {
            let body = NewClaim { domain: domain.clone() };
            let claim: Answer<Domain> =
                daemon.post(&Route::to(["accounts", account, "domains"]), &body).await?;
            let mut raw = claim.raw;
            if output.dry_run
                && let Some(document) = raw.as_object_mut()
            {
                // The claim of a rehearsal is undone, and the next one gets another record.
                document.remove("record");
            }
            let is_dry = output.dry_run;
            output.data(&raw, |view| claimed(&claim.value, is_dry, view))?;
        }
        Command::Verify { domain, account } => {
            let route =
                Route::to(["domains", domain, "verify"]).with_some("account", account.as_ref());
            let claim: Answer<Domain> = daemon.post(&route, &()).await?;
            output.data(&claim.raw, |view| verified(&claim.value, view))?;
            return Ok(exit(&claim.value));
        }
        Command::Release { domain, account } => {
            release(domain, account.as_deref(), daemon, output).await?
        }
        Command::List { account } => {
            let domains: Answer<Domains> =
                daemon.get(&Route::to(["domains"]).with_some("account", account.as_ref())).await?;
            output.data(&domains.raw, |view| list(&domains.value, view))?;
        }
    }
    Ok(Exit::Done)
}

async fn release(
    domain: &str,
    account: Option<&str>,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let route = Route::to(["domains", domain, "release"]).with_some("account", account);
    output.can_ask("domain release")?;
    if !output.yes {
        let look = route.clone().with("dry_run", true);
        let would: Answer<Release> = daemon.post(&look, &()).await?;
        let shown = released(&would.value, &output.terminal.view());
        output.note(&shown);
        let users = would.value.users.iter();
        let losing = users.filter(|u| u.effect == ReleaseEffect::Released).count() as u64;
        output.ask_to_type(&format!("{} access.", lose(losing)), "release the domain", domain)?;
    }
    let done: Answer<Release> = daemon.post(&route, &()).await?;
    output.data(&done.raw, |view| released(&done.value, view))
}

fn lose(people: u64) -> String {
    match people {
        1 => "1 person loses".to_owned(),
        n => format!("{} people lose", number(n)),
    }
}

/// A list of more users than this is shortened.
const SHOWN: usize = 50;

/// Lists the users that a release affects.
pub fn released(release: &Release, view: &View) -> Page {
    let Release { domain, account, dry_run, becomes_team, users } = release;
    let mut page = Page::default();
    let (is, are) = if *dry_run {
        ("would be released from", "would be affected")
    } else {
        ("is released from", "are affected")
    };
    page.line(format!(
        "{} {is} {}: {} {are}",
        bold(domain),
        bold(account),
        count(users.len() as u64, "user")
    ));
    if *becomes_team {
        let becomes = if *dry_run { "would become" } else { "is" };
        page.sentence("  ", &format!("it was the last domain: {account} {becomes} a team, and its directories provision no users"), view);
    }
    for (effect, heading) in [
        (
            ReleaseEffect::Released,
            "released: they can no longer sign in, and their addresses are free",
        ),
        (
            ReleaseEffect::StaysSuspended,
            "stay suspended, and keep their addresses from being used by others",
        ),
        (ReleaseEffect::LosesAddress, "lose their secondary addresses in it"),
    ] {
        let touched: Vec<_> = users.iter().filter(|u| u.effect == effect).collect();
        if touched.is_empty() {
            continue;
        }
        page.sentence("  ", &format!("{} {heading}", touched.len()), view);
        for user in touched.iter().take(SHOWN) {
            page.line(format!("    {}", user.primary_email.as_deref().unwrap_or(&user.id)));
        }
        if touched.len() > SHOWN {
            page.line(dim(format!(
                "    … and {} more (use --json for all)",
                touched.len() - SHOWN
            )));
        }
    }
    page
}

/// 1 when the record that was looked for was not there.
pub fn exit(claim: &Domain) -> Exit {
    if claim.state == ClaimState::Verified { Exit::Done } else { Exit::Failed }
}

/// A new claim, and the record to add in the form of a zone file.
pub fn claimed(claim: &Domain, is_dry: bool, view: &View) -> Page {
    let mut page = Page::default();
    page.line(format!(
        "{} is claimed for {}: {}",
        bold(shown(claim)),
        bold(&claim.account),
        coloured_state(claim.state)
    ));
    if claim.state == ClaimState::Verified {
        return page;
    }
    if is_dry {
        page.sentence("  ", "the claim itself prints the record for the DNS", view);
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

pub fn verified(claim: &Domain, view: &View) -> Page {
    let mut page = Page::default();
    page.line(format!(
        "{} of {}: {}",
        bold(shown(claim)),
        bold(&claim.account),
        coloured_state(claim.state)
    ));
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
    if claim.state != ClaimState::Verified {
        page.line("");
        page.line("The expected record:");
        page.line("");
        page.line(record(claim));
    }
    page
}

/// Formats the domain in its DNS form, with the Unicode form in parentheses.
fn shown(claim: &Domain) -> String {
    match &claim.unicode {
        Some(unicode) => format!("{} ({unicode})", claim.domain),
        None => claim.domain.clone(),
    }
}

/// Formats one line of a zone file. It is never wrapped, because operators paste it.
fn record(claim: &Domain) -> String {
    format!("{}. 3600 IN TXT \"{}\"", claim.record.name.trim_end_matches('.'), claim.record.value)
}

pub fn list(domains: &Domains, view: &View) -> Page {
    if domains.domains.is_empty() {
        return Page::from(
            "no domain is claimed: rosterctl domain claim ACCOUNT DOMAIN\n".to_owned(),
        );
    }
    let at = |t: &Option<String>| t.as_deref().map(|at| time(at, view)).unwrap_or_default();
    let rows = domains.domains.iter().map(|d| {
        [
            shown(d),
            d.account.clone(),
            coloured_state(d.state),
            time(&d.claimed_at, view),
            at(&d.verified_at),
            at(&d.checked_at),
            d.finding.clone().unwrap_or_default(),
        ]
    });
    table(["DOMAIN", "ACCOUNT", "STATE", "CLAIMED", "VERIFIED", "CHECKED", "FOUND"], rows, view)
}

pub(super) fn coloured_state(state: ClaimState) -> String {
    match state {
        ClaimState::Verified => green(state),
        ClaimState::Lapsed => red(state),
        ClaimState::Pending => yellow(state),
        ClaimState::Released => state.to_string(),
    }
}
