//! The options of `rosterctl held show` and `held approve` that select a part of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;

use super::link::{Daemon, Failure};
use super::user::lines;
use super::{id, review};
use crate::control::api::{
    Change, ChangeClass, ChangeVerb, HeldGroup, HeldPlan, HoldReason, Reason, UserDetail,
};
use crate::control::client::{ClientError, Route};
use crate::visible::quoted;

/// Options of one kind add up. `--cause`, `--user` and `--file` name changes; `--ou`, `--department`
/// and `--first` narrow them.
#[derive(Debug, Default, Args)]
pub struct Selection {
    /// Only the changes with this cause, as printed by `held show`; repeatable
    #[arg(long, value_name = "CAUSE")]
    cause: Vec<String>,
    /// Only the changes of this user: an address, id, logon name, DN, employee id or full name; repeatable
    #[arg(long, value_name = "WHO")]
    user: Vec<String>,
    /// Only the changes of the users in this file, one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only the changes of people in this OU or below it: its DN or its name; repeatable
    #[arg(long, value_name = "OU")]
    ou: Vec<String>,
    /// Only the changes of people of this department; repeatable
    #[arg(long, value_name = "NAME")]
    department: Vec<String>,
    /// Only the changes of the first N of these people
    #[arg(long, value_name = "N")]
    first: Option<std::num::NonZeroUsize>,
}

impl Selection {
    /// Returns whether all changes are chosen.
    pub fn is_whole(&self) -> bool {
        let Self { cause, user, file, ou, department, first } = self;
        let names = [cause, user, ou, department];
        names.iter().all(|names| names.is_empty()) && file.is_none() && first.is_none()
    }

    /// Returns the named users. A name that no change of the plan shows is resolved by the daemon,
    /// which knows all names of a user.
    pub(super) async fn users(
        &self,
        all: &[&Change],
        daemon: &Daemon,
    ) -> Result<Vec<String>, Failure> {
        let mut users = self.user.clone();
        if let Some(file) = &self.file {
            users.extend(lines(file)?);
        }
        for who in &mut users {
            if all.iter().any(|change| is_of(change, who)) {
                continue;
            }
            match daemon.get::<UserDetail>(&Route::to(["users", who])).await {
                Ok(found) => *who = found.value.user.id,
                // A joiner has no user yet, and a slip is told with the plan.
                Err(Failure::Client(ClientError::Problem(problem))) if problem.status == 404 => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(users)
    }

    /// Returns the chosen changes, or `None` for all. The other changes of a chosen person are
    /// chosen, too. A name without a match is a slip, and a slip approves nothing.
    pub fn choose<'a>(
        &self,
        plan: &HeldPlan,
        all: &[&'a Change],
        users: &[String],
    ) -> Result<Option<Vec<&'a Change>>, Failure> {
        let Self { cause, user: _, file, ou, department, first } = self;
        if self.is_whole() {
            return Ok(None);
        }
        let is_named = !cause.is_empty() || !users.is_empty() || file.is_some();
        let keys = cause.iter().map(|cause| keys(plan, cause)).collect::<Result<Vec<_>, _>>()?;
        let keys: BTreeSet<&str> = keys.into_iter().flatten().collect();
        let matching =
            |option: &str, given: &[String], is: &dyn Fn(&Change, &str) -> bool| match given
                .iter()
                .find(|text| !all.iter().any(|change| is(change, text)))
            {
                Some(text) => Err(Failure::Unresolved(format!(
                    "plan {} has no change with {option} {text}: rosterctl held show {0} --all",
                    id::short(&plan.id)
                ))),
                None => Ok(()),
            };
        matching("--user", users, &is_of)?;
        users.iter().try_for_each(|user| is_one_person(plan, all, user))?;
        matching("--ou", ou, &is_in)?;
        matching("--department", department, &has_department)?;
        let is_any = |given: &[String], is: &dyn Fn(&Change, &str) -> bool, change: &Change| {
            given.is_empty() || given.iter().any(|text| is(change, text))
        };
        let is_chosen = |change: &&&Change| {
            let is_named = !is_named
                || change.key.as_deref().is_some_and(|key| keys.contains(key))
                || users.iter().any(|user| is_of(change, user));
            is_named && is_any(ou, &is_in, change) && is_any(department, &has_department, change)
        };
        let mut people: Vec<&str> = Vec::new();
        let mut seen = BTreeSet::new();
        for change in all.iter().filter(is_chosen) {
            if seen.insert(change.user_id.as_str()) {
                people.push(&change.user_id);
            }
        }
        people.truncate(first.map_or(usize::MAX, std::num::NonZeroUsize::get));
        let people: BTreeSet<&str> = people.into_iter().collect();
        let chosen: Vec<&Change> =
            all.iter().copied().filter(|c| people.contains(c.user_id.as_str())).collect();
        if chosen.is_empty() {
            return Err(Failure::Unresolved(format!(
                "no change of plan {} matches all of these options",
                id::short(&plan.id)
            )));
        }
        Ok(Some(chosen))
    }
}

/// Returns the keys of a cause: the key itself, or any name that `held show` prints for it.
fn keys<'a>(plan: &'a HeldPlan, given: &str) -> Result<Vec<&'a str>, Failure> {
    let is = |group: &&HeldGroup| {
        let reason = group.reason.map(Reason::as_str);
        [Some(group.key.as_str()), reason, group.name.as_deref()].contains(&Some(given))
            || [what(group), cause(group)].iter().any(|name| name == given)
    };
    let found: Vec<&str> = plan.by.iter().filter(is).map(|group| group.key.as_str()).collect();
    if found.is_empty() {
        let known: Vec<String> = plan.by.iter().map(|group| quoted(&group.key)).collect();
        return Err(Failure::Unresolved(format!(
            "plan {} has no change with --cause {given}; it has: {}",
            id::short(&plan.id),
            known.join(", ")
        )));
    }
    Ok(found)
}

/// Refuses a name that several people of the plan have, because one of them may be meant.
fn is_one_person(plan: &HeldPlan, all: &[&Change], who: &str) -> Result<(), Failure> {
    let named: BTreeMap<&str, &Change> = all
        .iter()
        .filter(|change| is_of(change, who))
        .map(|change| (change.user_id.as_str(), *change))
        .collect();
    if named.len() < 2 {
        return Ok(());
    }
    let address = |change: &&Change| change.email.clone().unwrap_or_else(|| change.user_id.clone());
    let mut addresses: Vec<String> = named.values().map(address).collect();
    addresses.sort();
    Err(Failure::Unresolved(format!(
        "{} people of plan {} are called {}: name one of {}",
        named.len(),
        id::short(&plan.id),
        quoted(who),
        addresses.join(", ")
    )))
}

fn is_of(change: &Change, who: &str) -> bool {
    let names = [
        change.email.as_deref(),
        Some(&change.user_id),
        change.object_guid.as_deref(),
        change.display_name.as_deref(),
        change.sam_account_name.as_deref(),
        change.user_principal_name.as_deref(),
        change.person.as_ref().and_then(|person| person.dn.as_deref()),
        change.after["profile"]["employee_id"].as_str(),
    ];
    let who = who.to_lowercase();
    names.into_iter().flatten().any(|name| name.to_lowercase() == who)
}

fn is_in(change: &Change, given: &str) -> bool {
    let (ou, given) = (review::ou(change).to_lowercase(), given.to_lowercase());
    let is_below = |parent: &str| ou == parent || ou.ends_with(&format!(",{parent}"));
    let is_named = |part: &str| part.split_once('=').is_some_and(|(_, name)| name == given);
    is_below(&given) || ou.split(',').any(|part| part == given || is_named(part))
}

fn has_department(change: &Change, given: &str) -> bool {
    review::department(change).to_lowercase() == given.to_lowercase()
}

/// Returns the name of a group's changes, as `held show` prints it.
pub fn what(group: &HeldGroup) -> String {
    let reason = group.reason.map_or("no reason given", Reason::as_str);
    match (group.kind, group.class) {
        // Only a suspension in a directory has a reason; the others are steps at a target.
        (ChangeVerb::Suspend, _) if group.reason.is_none() => "deactivate".to_owned(),
        (ChangeVerb::Reactivate, _) if group.reason.is_none() => "reactivate".to_owned(),
        (ChangeVerb::Link, Some(ChangeClass::Create))
            if group.held == Some(HoldReason::Adoption) =>
        {
            "adopt".to_owned()
        }
        (ChangeVerb::Remove, _) => "delete".to_owned(),
        (ChangeVerb::Suspend, _) => format!("suspend as {reason}"),
        (ChangeVerb::Reactivate, _) => format!("reactivate, no longer {reason}"),
        (ChangeVerb::Update, Some(ChangeClass::Readdress)) => "change addresses".to_owned(),
        (ChangeVerb::Tier, Some(class)) => class.to_string(),
        (kind, _) => kind.to_string(),
    }
}

/// Returns the cause that the changes of a group share.
pub fn cause(group: &HeldGroup) -> String {
    match group.cause.as_deref().and_then(|c| c.split_once(':')) {
        Some(("ou", dn)) => format!("all below {dn}"),
        Some(("group", guid)) => format!("group {}", group.name.as_deref().unwrap_or(guid)),
        Some(("attribute", name)) => format!("attribute {name}"),
        _ => group.cause.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn change(number: u32, name: &str, dn: &str, department: &str) -> Value {
        json!({
            "user_id": format!("id-{number}"), "object_guid": null, "email": format!("a{number}@example.com"),
            "display_name": name, "sam_account_name": format!("a{number}"), "user_principal_name": null,
            "kind": "create", "class": "create", "reason": null, "before": null,
            "after": {}, "person": { "dn": dn, "department": department }, "evidence": [], "cause": null,
            "key": "create", "held": "limit", "outcome": "held", "at": "2026-01-01T00:00:00Z",
        })
    }

    fn plan() -> HeldPlan {
        let group = json!({
            "kind": "create", "class": "create", "held": "limit", "reason": null, "cause": null, "name": null,
            "key": "create", "count": 3, "approved": 0, "limit": null,
        });
        let changes = [
            change(1, "Anna Berg", "CN=1,OU=Sales,DC=corp", "Sales"),
            change(2, "Anna Berg", "CN=2,OU=Ops,DC=corp", "Ops"),
            change(3, "Carl Dorn", "CN=3,OU=East,OU=Sales,DC=corp", "Sales"),
        ];
        serde_json::from_value(json!({
            "id": "00000000-0000-0000-0000-000000000001", "directory": "corp", "run": "r", "digest": "d",
            "state": "open", "created_at": "2026-01-01T00:00:00Z", "actor": null, "comment": null,
            "approved_at": null, "approval_expires": null, "note": [], "count": 3, "by": [group],
            "changes": changes,
        }))
        .unwrap()
    }

    /// Returns the numbers of the chosen people, or the error.
    fn chosen(selection: &Selection) -> Result<String, String> {
        let plan = plan();
        let all: Vec<&Change> = plan.changes.iter().flatten().collect();
        let chosen =
            selection.choose(&plan, &all, &selection.user).map_err(|failure| match failure {
                Failure::Unresolved(reason) => reason,
                other => format!("{other:?}"),
            })?;
        let ids = |c: Vec<&Change>| c.iter().map(|c| c.user_id[3..].to_owned()).collect::<String>();
        Ok(chosen.map_or_else(|| "all".to_owned(), ids))
    }

    #[test]
    fn options_select_people_and_a_slip_selects_none() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let of = |user: &[&str], ou: &[&str], department: &[&str], first: usize| Selection {
            user: texts(user),
            ou: texts(ou),
            department: texts(department),
            first: std::num::NonZeroUsize::new(first),
            ..Selection::default()
        };
        let table = [
            (of(&[], &[], &[], 0), "all"),
            (of(&["A2"], &[], &[], 0), "2"),
            (of(&["carl dorn", "a1@example.com"], &[], &[], 0), "13"),
            (of(&[], &["sales"], &[], 0), "13"),
            (of(&[], &["OU=East,OU=Sales,DC=corp"], &[], 0), "3"),
            (of(&[], &["sales"], &["sales"], 1), "1"),
            (of(&["a2"], &["sales"], &[], 0), "no change of plan 00000001 matches all"),
            (of(&["dora"], &[], &[], 0), "no change with --user dora"),
            (
                of(&["anna berg"], &[], &[], 0),
                "2 people of plan 00000001 are called 'anna berg': name one of a1@example.com, a2@example.com",
            ),
        ];
        for (selection, expected) in table {
            match chosen(&selection) {
                Ok(found) => assert_eq!(found, expected, "{selection:?}"),
                Err(error) => assert!(error.contains(expected), "{error}"),
            }
        }
    }
}
