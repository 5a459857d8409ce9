//! The review of many changes: totals, groups, and the difference of two plans.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};

use super::change::{self, Extent, Kind};
use super::csv::csv;
use super::text::{Page, View, bold, count, dim, number, time};
use crate::control::api::{Change, ChangedPerson, HoldReason, Reason, Tier};

/// How many changes are shown, and in which form.
#[derive(Debug, Clone, Default, Args)]
pub struct Form {
    /// Show all changes, however many
    #[arg(long)]
    pub all: bool,
    /// Group the changes by ou, department, manager, cause or tier
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    pub by: Option<By>,
    /// Print all changes as CSV
    #[arg(long, conflicts_with_all = ["all", "by"])]
    pub csv: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    Ou,
    Department,
    Manager,
    Cause,
    Tier,
}

/// Values of one total on a line; the others are counted.
const LISTED: usize = 6;

/// Returns the OU of a person, or an empty text.
pub(crate) fn ou(change: &Change) -> String {
    let dn = change.person.as_ref().and_then(|person| person.dn.as_deref());
    dn.and_then(parent).unwrap_or_default().to_owned()
}

/// Returns the DN without its first part. A comma in a name is escaped (RFC 4514).
pub(crate) fn parent(dn: &str) -> Option<&str> {
    let is_comma = |(at, _): &(usize, &str)| !dn[..*at].ends_with('\\');
    dn.match_indices(',').find(is_comma).map(|(at, _)| &dn[at + 1..])
}

/// Returns the value of the first part of a DN: the name of a manager.
pub(crate) fn name_of(dn: &str) -> String {
    let first = parent(dn).map_or(dn, |parent| &dn[..dn.len() - parent.len() - 1]);
    first.split_once('=').map(|(_, name)| name.replace('\\', "")).unwrap_or_default()
}

/// Returns the name of an OU without its parents.
fn name_of_ou(dn: &str) -> String {
    dn.split(',').next().unwrap_or_default().to_owned()
}

pub(crate) fn department(change: &Change) -> String {
    change.person.as_ref().and_then(|p| p.department.clone()).unwrap_or_default()
}

fn manager(change: &Change) -> String {
    let dn = change.person.as_ref().and_then(|person| person.manager.clone()).unwrap_or_default();
    name_of(&dn)
}

pub(crate) fn tier(change: &Change) -> String {
    change
        .person
        .as_ref()
        .and_then(|p| p.tier)
        .map(|tier: Tier| tier.to_string())
        .unwrap_or_default()
}

fn domain(change: &Change) -> String {
    change
        .email
        .as_deref()
        .and_then(|e| e.split_once('@'))
        .map(|(_, d)| d.to_owned())
        .unwrap_or_default()
}

fn cause(change: &Change) -> String {
    change.reason.map(|reason: Reason| reason.to_string()).unwrap_or_default()
}

fn held(change: &Change) -> String {
    change.held.map(|held: HoldReason| held.to_string()).unwrap_or_default()
}

impl By {
    pub(crate) fn of(self, change: &Change) -> String {
        match self {
            Self::Ou => ou(change),
            Self::Department => department(change),
            Self::Manager => manager(change),
            Self::Cause => cause(change),
            Self::Tier => tier(change),
        }
    }

    pub(crate) fn none(self) -> &'static str {
        match self {
            Self::Ou => "no known OU",
            Self::Department => "no department",
            Self::Manager => "no manager",
            Self::Cause => "no cause",
            Self::Tier => "no tier",
        }
    }
}

/// Groups the changes by a value, the largest group first.
pub(crate) fn groups<'a>(
    changes: &[&'a Change],
    of: impl Fn(&Change) -> String,
) -> Vec<(String, Vec<&'a Change>)> {
    let mut groups: BTreeMap<String, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        groups.entry(of(change)).or_default().push(change);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, changes)| std::cmp::Reverse(changes.len()));
    groups
}

/// Counts the changes by kind, tier, cause, OU, domain and department.
pub(crate) fn totals(changes: &[&Change], view: &View) -> Page {
    type Of = fn(&Change) -> String;
    let totals: [(&str, Of); 7] = [
        ("changes", |change| Kind::of(change).heading().to_owned()),
        ("tier", tier),
        ("cause", cause),
        ("OU", |change| name_of_ou(&ou(change))),
        ("domain", domain),
        ("department", department),
        ("note", |change| change::note(change).unwrap_or_default().to_owned()),
    ];
    let mut page = Page::default();
    let mut fields = Vec::new();
    for (name, of) in totals {
        let groups = groups(changes, of);
        if groups.iter().all(|(value, _)| value.is_empty()) {
            continue;
        }
        let mut parts: Vec<String> = groups
            .iter()
            .filter(|(value, _)| !value.is_empty())
            .take(LISTED)
            .map(|(value, of)| format!("{} {value}", number(of.len() as u64)))
            .collect();
        let named = groups.iter().filter(|(value, _)| !value.is_empty()).count();
        if named > LISTED {
            let rest: usize = groups
                .iter()
                .filter(|(value, _)| !value.is_empty())
                .skip(LISTED)
                .map(|(_, of)| of.len())
                .sum();
            parts.push(format!(
                "{} in {} more",
                number(rest as u64),
                number((named - LISTED) as u64)
            ));
        }
        let without =
            groups.iter().find(|(value, _)| value.is_empty()).map_or(0, |(_, of)| of.len());
        if without > 0 {
            parts.push(dim(format!("{} without", number(without as u64))));
        }
        fields.push((name, parts.join(", ")));
    }
    page.fields(&fields, view);
    page
}

/// Shows the changes in groups of one value.
pub(crate) fn by(changes: &[&Change], what: By, extent: Extent<'_>, view: &View) -> Page {
    let mut page = Page::default();
    for (n, (value, changes)) in groups(changes, |change| what.of(change)).iter().enumerate() {
        if n > 0 {
            page.line("");
        }
        let value = if value.is_empty() { what.none() } else { value };
        page.line(format!("{}: {}", bold(value), number(changes.len() as u64)));
        page.append(&change::people(changes, extent, view));
    }
    page
}

/// Prints the changes as CSV.
pub(crate) fn as_csv(changes: &[&Change]) -> Page {
    let rows = changes.iter().map(|change| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let person = change.person.clone().unwrap_or_default();
        let ChangedPerson { dn, department, manager, tier: _, note } = &person;
        let differences = change::differences(&change.before, &change.after).join("; ");
        [
            change.kind.to_string(),
            text(&change.email),
            text(&change.display_name),
            text(&change.sam_account_name),
            text(department),
            text(manager),
            tier(change),
            text(dn),
            cause(change),
            held(change),
            text(&change.key),
            if change.before.is_null() { String::new() } else { differences },
            change.user_id.clone(),
            text(&change.object_guid),
            text(note),
        ]
    });
    let header = [
        "kind",
        "email",
        "display_name",
        "sam_account_name",
        "department",
        "manager",
        "tier",
        "dn",
        "reason",
        "held",
        "cause",
        "change",
        "user_id",
        "object_guid",
        "note",
    ];
    csv(header, rows)
}

/// Returns the changes that only the second plan has, and those that only the first one has. The second
/// one takes over what both have, and such changes are older than itself.
pub(crate) fn between<'a>(
    before: &'a [Change],
    (since, now): (&str, &'a [Change]),
) -> (Vec<&'a Change>, Vec<&'a Change>) {
    let key = |change: &Change| {
        (change.user_id.clone(), change.kind.to_string(), change.after.to_string())
    };
    let of = |changes: &[Change]| changes.iter().map(key).collect::<BTreeSet<_>>();
    let (was, is) = (of(before), of(now));
    let is_new = |change: &&Change| {
        !was.contains(&key(change)) && change.at.as_deref().is_none_or(|at| at >= since)
    };
    let added = now.iter().filter(is_new).collect();
    let gone = before.iter().filter(|change| !is.contains(&key(change))).collect();
    (added, gone)
}

/// Shows the changes that a plan has and the one before it had not, and the reverse. Changes that were
/// carried over keep the time at which they were held first.
pub(crate) fn diff(
    before: (&str, &[Change]),
    now: (&str, &[Change]),
    extent: Extent<'_>,
    view: &View,
) -> Page {
    let (since_before, before) = before;
    let (added, gone) = between(before, now);
    let mut page = Page::default();
    page.line(format!("since the plan of {}:", time(since_before, view)));
    for (heading, changes) in [("new", &added), ("no longer held", &gone)] {
        page.line(format!("{}: {}", bold(heading), count(changes.len() as u64, "change")));
        page.append(&change::people(changes, extent, view));
    }
    page
}
