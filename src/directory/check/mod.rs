//! `directory check`: one finding and one remedy for each step.
//!
//! A check writes nothing. After a refusal there is no bind on another server, because a check must
//! not lock the account.

mod domain;
mod server;

use super::secret::{Secret, read_secret};
use super::{BindRefusal, DirectoryError, Retry, Settings};
use crate::model::{CheckOutcome, CheckStep, Credential, Timestamp};
use domain::{changes, directory};
use server::{connect, keytab_step, sign_in};

/// Returns the step of an error.
fn failed(name: &'static str, error: &DirectoryError) -> CheckStep {
    let remedy = error.remedy().map(str::to_owned);
    CheckStep::new(name, CheckOutcome::Failed, error.finding(), remedy)
}

/// Result of a check.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    pub steps: Vec<CheckStep>,
    /// The refusal of the service account, which the caller stores as a bind lock.
    pub refusal: Option<BindRefusal>,
    /// AD accepted the service account.
    pub is_bound: bool,
}

impl CheckReport {
    /// Returns whether no step failed.
    pub fn is_ok(&self) -> bool {
        !self.steps.iter().any(|step| step.outcome == CheckOutcome::Failed)
    }

    fn add(&mut self, step: CheckStep) {
        self.steps.push(step);
    }

    fn ok(&mut self, name: &'static str, finding: impl Into<String>) {
        self.add(CheckStep::new(name, CheckOutcome::Ok, finding, None));
    }

    fn warn(&mut self, name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.add(CheckStep::new(name, CheckOutcome::Warning, finding, Some(remedy.into())));
    }

    fn fail(&mut self, name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.add(CheckStep::new(name, CheckOutcome::Failed, finding, Some(remedy.into())));
    }
}

/// Checks a directory. With `no_bind` the service account is not bound, for that reason.
///
/// DirSync is tested only if `is_incremental`.
pub async fn check(
    settings: &Settings,
    now: Timestamp,
    no_bind: Option<&str>,
    is_incremental: bool,
) -> CheckReport {
    let mut report = CheckReport::default();
    let secret = read_secret(settings);
    match (&secret, &settings.credential) {
        (Ok(Secret::Password(..)), _) => {}
        (Ok(Secret::Kerberos(login)), _) => report.add(keytab_step(login)),
        (Err(error), Credential::Password { .. }) => report.add(failed("secret", error)),
        (Err(error), Credential::Kerberos { .. }) => report.add(failed("keytab", error)),
    }
    let mut session = None;
    for url in &settings.servers {
        let Some(connected) = connect(url, settings, now, &mut report).await else { continue };
        let server = url.to_string();
        if let Some(reason) = no_bind {
            report.add(CheckStep::new("bind", CheckOutcome::Failed, reason, None).at(&server));
        } else if report.refusal.as_ref().is_some_and(|refusal| refusal.retry() != Retry::Anytime) {
            let reason = "not tried: AD has refused the service account already";
            report.add(CheckStep::new("bind", CheckOutcome::Skipped, reason, None).at(&server));
        } else if let Ok(secret) = &secret
            && let Some(bound) = sign_in(connected, secret, now, &mut report).await
        {
            session.get_or_insert(bound);
        }
    }
    match session {
        Some(mut session) => {
            if let Err(error) = directory(&mut session, settings, &mut report).await {
                report.add(failed("directory", &error));
            }
            // Last, because a firewall may end the connection at a DirSync request.
            changes(&mut session, is_incremental, &mut report).await;
        }
        None => report.add(CheckStep::new(
            "directory",
            CheckOutcome::Skipped,
            "base, groups and rights were not looked at: no server can be used",
            None,
        )),
    }
    report
}
