//! `rosterctl sign-in`: a sign-in decision, requested as an application requests it.

use clap::Args;

use super::link::{Answer, Daemon, Failure};
use super::text::{Page, View, bold, green, red, yellow};
use super::{Exit, Output};
use crate::control::api::{Denied, SignIn, SignInDecision, SignInVerdict, Tier};
use crate::control::client::Route;

/// Request a sign-in decision; asks for the password, or reads it from standard input
#[derive(Debug, Args)]
pub struct Arguments {
    /// The email address
    email: String,
    /// The external provider has authenticated the address; no password is needed
    #[arg(long)]
    external: bool,
}

pub(super) async fn call(
    arguments: &Arguments,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let Arguments { email, external } = arguments;
    let password = if *external { None } else { Some(output.terminal.secret("Password: ")?) };
    let authenticated_by = external.then(|| "external".to_owned());
    let body = SignIn { address: email.clone(), password, authenticated_by, client_address: None };
    let decision: Answer<SignInDecision> = daemon.post(&Route::to(["sign-ins"]), &body).await?;
    output.data(&decision.raw, |view| decided(email, &decision.value, view))?;
    Ok(if decision.value.decision == SignInVerdict::Allow { Exit::Done } else { Exit::Failed })
}

fn decided(email: &str, decision: &SignInDecision, view: &View) -> Page {
    let SignInDecision { decision, reason, retry_after: _, account, user, tier, policies: _ } =
        decision;
    let mut page = Page::default();
    let who = bold(email);
    match decision {
        SignInVerdict::Allow => {
            let (account, tier) =
                (account.as_deref().unwrap_or_default(), tier.map_or("", Tier::as_str));
            page.line(format!("{}: {who}, {tier}, in {account}", green("allow")));
            page.fields(&[("user", user.clone().unwrap_or_default())], view);
        }
        SignInVerdict::Deny => {
            let why = match reason {
                Some(Denied::Credentials) => {
                    "sign-in refused; journalctl -u rosterd and rosterctl user explain show the reason"
                }
                None => "",
            };
            page.sentence(&format!("{}: ", red("deny")), &format!("{who}: {why}"), view);
        }
        SignInVerdict::Redirect => page.sentence(
            &format!("{}: ", yellow("redirect")),
            &format!("the external provider is to be asked about {who}"),
            view,
        ),
        SignInVerdict::Unavailable => page.sentence(
            &format!("{}: ", red(decision)),
            &format!("the directory of {who} cannot be reached, or too many sign-ins are in progress; try again"),
            view,
        ),
    }
    page
}
