//! Users, what of them cannot be used, and why they are what they are.

use serde_json::json;

use super::runs::{planned, stored_change};
use super::{guid, time};
use crate::control::api;
use crate::engine::{Decision, Entry, Explanation, Invitation};
use crate::model::{Cause, Causes, Handle, Link, QuarantineReason, RunId, User, WrittenChange};
use crate::reconcile::{Line, Reading};
use crate::store::Quarantined;

/// What came of an invitation.
pub(in crate::control) fn invitation(address: String, invitation: Invitation) -> api::Invitation {
    let (outcome, user, detail) = match invitation {
        Invitation::Invited(id) => ("invited", Some(id), None),
        Invitation::AlreadyHere(id) => ("already-here", Some(id), None),
        Invitation::Elsewhere => {
            ("elsewhere", None, Some("the address belongs to another account".to_owned()))
        }
        Invitation::OtherDomain => (
            "other-domain",
            None,
            Some(
                "an enterprise invites people of its own domains: claim this one first".to_owned(),
            ),
        ),
        Invitation::Malformed(why) => ("malformed", None, Some(why)),
    };
    api::Invitation {
        address,
        outcome: outcome.to_owned(),
        user: user.map(|id| id.to_string()),
        detail,
    }
}

/// An entry that cannot be used as it is.
pub(in crate::control) fn quarantined(entry: Quarantined) -> api::QuarantinedEntry {
    let Quarantined { directory, person, dn, reason, since, user } = entry;
    api::QuarantinedEntry {
        directory: directory.to_string(),
        object_guid: guid(person),
        dn: dn.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        since: since.map(time),
        user: user.map(|id| id.to_string()),
        remedy: reason.remedy().to_owned(),
    }
}

/// A colleague.
pub(in crate::control) fn contact(user: User) -> api::Contact {
    let User { id, addresses, mut profile, .. } = user;
    let (display_name, given_name, surname) =
        (profile.display_name.take(), profile.given_name.take(), profile.surname.take());
    // Where somebody stands in the directory, and under which number, is nobody's business.
    (profile.manager, profile.employee_id) = (None, None);
    (profile.sam_account_name, profile.user_principal_name) = (None, None);
    let primary_email = addresses.primary.map(|a| a.as_str().to_owned());
    api::Contact {
        id: id.to_string(),
        display_name,
        given_name,
        surname,
        primary_email,
        profile: json!(profile),
    }
}

/// Seconds after which a sign-in that could not be decided is asked again: a server is tried for five by default, and the budget
/// of attempts refills sooner.
const RETRY_AFTER: u64 = 5;

/// Whether somebody may sign in.
pub(in crate::control) fn decision(decision: &Decision) -> api::SignInDecision {
    let word = decision.as_str().to_owned();
    let none = api::SignInDecision {
        decision: word,
        reason: None,
        retry_after: None,
        account: None,
        user: None,
        tier: None,
        policies: None,
    };
    match decision {
        Decision::Allow { account, user } => api::SignInDecision {
            account: Some(account.handle.to_string()),
            user: Some(user.id.to_string()),
            tier: Some(user.tier.as_str().to_owned()),
            policies: Some(json!(account.policies)),
            ..none
        },
        Decision::Deny(denied) => {
            api::SignInDecision { reason: Some(denied.as_str().to_owned()), ..none }
        }
        Decision::Unavailable => api::SignInDecision { retry_after: Some(RETRY_AFTER), ..none },
        Decision::Redirect => none,
    }
}

/// A user of the account with this handle.
pub(in crate::control) fn user(
    user: User,
    account: &Handle,
    quarantine: &[QuarantineReason],
) -> api::User {
    let status = user.status();
    let User {
        id,
        account: _,
        standing: _,
        tier,
        addresses,
        mut profile,
        link,
        causes,
        overrides,
        version: _,
        observed_from: _,
        invited_at,
        joined_at,
        created_at,
        updated_at,
    } = user;
    let (display_name, given_name, surname) =
        (profile.display_name.take(), profile.given_name.take(), profile.surname.take());
    api::User {
        id: id.to_string(),
        account: account.to_string(),
        status: status.as_str().to_owned(),
        tier: tier.as_str().to_owned(),
        primary_email: addresses.primary.map(|a| a.as_str().to_owned()),
        secondary_emails: addresses.secondary.iter().map(|a| a.as_str().to_owned()).collect(),
        display_name,
        given_name,
        surname,
        // Names have fields of their own.
        profile: json!(profile),
        directory: link.map(|Link { directory, guid, dn }| api::UserLink {
            name: directory.to_string(),
            object_guid: guid.to_string(),
            dn: dn.as_str().to_owned(),
        }),
        suspension: suspension(&causes),
        quarantine: quarantine.iter().map(|q| q.as_str().to_owned()).collect(),
        overrides: overrides.iter().map(ToString::to_string).collect(),
        invited_at: invited_at.map(time),
        joined_at: joined_at.map(time),
        created_at: time(created_at),
        updated_at: time(updated_at),
    }
}

fn suspension(causes: &Causes) -> Option<api::UserSuspension> {
    let reason = causes.weightiest()?.reason.as_str().to_owned();
    // Suspended since the first of the causes that still hold.
    let since = causes.iter().map(|c| c.since).min()?;
    Some(api::UserSuspension {
        reason,
        since: time(since),
        causes: causes.iter().map(cause).collect(),
    })
}

fn cause(cause: &Cause) -> api::UserCause {
    let Cause { reason, since, by, evidence } = cause;
    api::UserCause {
        reason: reason.as_str().to_owned(),
        since: time(*since),
        by: by.to_string(),
        evidence: json!(evidence),
    }
}

/// Why somebody is what they are.
pub(in crate::control) fn explanation(
    who: &str,
    explanation: Explanation,
    user: Option<api::User>,
) -> api::Explanation {
    let Explanation { user: _, remedies, entries, elsewhere, history } = explanation;
    api::Explanation {
        who: who.to_owned(),
        user,
        remedies,
        entries: entries.into_iter().map(entry).collect(),
        elsewhere: elsewhere
            .into_iter()
            .map(|(directory, why)| api::Elsewhere { directory: directory.to_string(), why })
            .collect(),
        history: self::history(history),
    }
}

/// What was done to a user.
pub(in crate::control) fn history(history: Vec<(RunId, WrittenChange)>) -> Vec<api::Done> {
    let done = |(run, change): (RunId, WrittenChange)| api::Done {
        at: time(change.at),
        run: run.to_string(),
        change: stored_change(change),
    };
    history.into_iter().map(done).collect()
}

fn entry(entry: Entry) -> api::ExplainedEntry {
    let Entry {
        directory,
        server,
        guid: person,
        dn,
        found,
        reading,
        groups,
        has_user,
        quarantine,
        would,
        waits,
        warnings,
    } = entry;
    let (scope, state, tier, addresses, obstacles) = match reading {
        Some(Reading { scope, state, tier, groups: _, addresses, obstacles }) => {
            (Some(scope), state, Some(tier), addresses, obstacles)
        }
        None => (None, Vec::new(), None, Vec::new(), Vec::new()),
    };
    api::ExplainedEntry {
        directory: directory.to_string(),
        server,
        object_guid: guid(person),
        dn,
        found,
        scope: scope.map(looked),
        state: state.into_iter().map(looked).collect(),
        tier,
        groups,
        addresses: addresses.into_iter().map(looked).collect(),
        obstacles: if has_user { Vec::new() } else { obstacles },
        quarantine: quarantine.map(|q| q.as_str().to_owned()),
        remedy: quarantine.map(|q| q.remedy().to_owned()),
        would: would.iter().map(|(change, hold)| planned(change, *hold)).collect(),
        waits,
        warnings,
    }
}

fn looked(Line { attribute, value, meaning }: Line) -> api::Looked {
    api::Looked { attribute, value, meaning }
}
