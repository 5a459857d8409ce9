//! Changes as a diff: grouped by kind, each with its evidence and its hold reason.

use std::collections::BTreeMap;

use serde_json::Value;

use super::step::Step;
use super::text::{Page, View, bold, count, dim, green, number, red, time, value, yellow};
use crate::control::api::{
    Change, ChangeClass, ChangeOutcome, ChangeVerb, HoldReason, Quarantined, Reason, StepKind,
};

/// A list of more changes than this is shortened to [`SHOWN`].
const MANY: usize = 50;
const SHOWN: usize = 20;

/// The length of a list of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent<'a> {
    /// The first of many. The command has an option for all.
    Short,
    /// The first of many. This command shows all.
    Elsewhere(&'a str),
    All,
}

impl Extent<'_> {
    pub(crate) fn of(all: bool) -> Self {
        if all { Self::All } else { Self::Short }
    }

    fn of_list(self, length: usize) -> usize {
        if self != Self::All && length > MANY { SHOWN } else { length }
    }
}

/// The kinds in display order: changes that take access away come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Suspend,
    Deactivate,
    AdoptAndDeactivate,
    Delete,
    Reactivate,
    Create,
    Link,
    Adopt,
    Tier,
    Readdress,
    Update,
    Release,
}

impl Kind {
    pub(crate) fn of(change: &Change) -> Self {
        if let Some(step) = Step::of(change) {
            return match step.kind {
                StepKind::Deactivate => Self::Deactivate,
                StepKind::Adopt if step.reason.is_some() => Self::AdoptAndDeactivate,
                StepKind::Adopt | StepKind::Link => Self::Adopt,
                StepKind::Delete => Self::Delete,
                StepKind::Reactivate => Self::Reactivate,
                StepKind::Create => Self::Create,
                StepKind::Rename => Self::Readdress,
                StepKind::Update => Self::Update,
            };
        }
        match change.kind {
            ChangeVerb::Suspend => Self::Suspend,
            ChangeVerb::Reactivate => Self::Reactivate,
            ChangeVerb::Create => Self::Create,
            ChangeVerb::Link => Self::Link,
            ChangeVerb::Tier => Self::Tier,
            ChangeVerb::Release => Self::Release,
            ChangeVerb::Invite
            | ChangeVerb::Register
            | ChangeVerb::Transfer
            | ChangeVerb::Remove
            | ChangeVerb::Unlink
            | ChangeVerb::Move
            | ChangeVerb::Update => match change.class {
                Some(ChangeClass::Readdress) => Self::Readdress,
                _ => Self::Update,
            },
        }
    }

    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Deactivate => "deactivate",
            Self::AdoptAndDeactivate => "adopt and deactivate",
            Self::Delete => "delete",
            Self::Reactivate => "reactivate",
            Self::Create => "create",
            Self::Link => "link to the directory",
            Self::Adopt => "adopt",
            Self::Tier => "change tier",
            Self::Readdress => "change addresses",
            Self::Update => "update",
            Self::Release => "release",
        }
    }
}

/// Formats the changes, grouped by kind.
pub(crate) fn diff(changes: &[Change], extent: Extent<'_>, view: &View) -> Page {
    let mut kinds: BTreeMap<Kind, Vec<&Change>> = BTreeMap::new();
    for change in changes.iter().filter(|change| !is_bookkeeping(change)) {
        kinds.entry(Kind::of(change)).or_default().push(change);
    }
    let mut page = Page::default();
    for (n, (kind, changes)) in kinds.iter().enumerate() {
        if n > 0 {
            page.line("");
        }
        let waiting = changes.iter().filter(|c| waits(c)).count() as u64;
        let waiting = if waiting > 0 {
            yellow(format!(" ({} held)", number(waiting)))
        } else {
            String::new()
        };
        page.line(format!("{}: {}{waiting}", bold(kind.heading()), number(changes.len() as u64)));
        page.append(&people(changes, extent, view));
    }
    page
}

/// Returns whether a change only notes that an operator's override has begun or ended.
pub(crate) fn is_bookkeeping(change: &Change) -> bool {
    change.kind == ChangeVerb::Update
        && [&change.before, &change.after].iter().all(|values| {
            values.as_object().is_some_and(|v| v.len() == 1 && v.contains_key("overrides"))
        })
}

/// Formats changes with their users, at most [`SHOWN`] of a long list.
pub(crate) fn people(changes: &[&Change], extent: Extent<'_>, view: &View) -> Page {
    let mut page = Page::default();
    let shown = extent.of_list(changes.len());
    let is_cut = shown < changes.len();
    let mut changes = changes.to_vec();
    if is_cut {
        // An operator decides by a note, so people with one are among the first.
        changes.sort_by_key(|change| note(change).is_none());
    }
    for (n, change) in changes[..shown].iter().enumerate() {
        one(Kind::of(change), change, &mut page, view);
        // Much the same evidence below each of many people would hide the people.
        if !is_cut || n == 0 {
            for seen in evidence(&change.evidence, view) {
                page.sentence("      ", &dim(seen), view);
            }
        }
    }
    if is_cut {
        let more = number((changes.len() - shown) as u64);
        let evidence = changes.iter().any(|change| !evidence(&change.evidence, view).is_empty());
        let what = if evidence { ", and the evidence of each" } else { "" };
        let how = if let Extent::Elsewhere(command) = extent { command } else { "--all" };
        page.line(dim(format!("  … and {more} more{what}: {how}")));
    }
    page
}

fn one(kind: Kind, change: &Change, page: &mut Page, view: &View) {
    let who = who(change);
    let mark = waiting_mark(change);
    let what = match (kind, &change.display_name) {
        (Kind::Create, Some(_)) if Step::of(change).is_none() => {
            text(&change.after, "tier").unwrap_or_default()
        }
        _ => what(kind, change),
    };
    let (lead, line) = match kind {
        Kind::Suspend | Kind::Deactivate | Kind::AdoptAndDeactivate | Kind::Delete => {
            ("  ", red(format!("- {who}  {what}")))
        }
        Kind::Reactivate | Kind::Create | Kind::Link | Kind::Adopt => {
            ("  ", green(format!("+ {who}  {what}")))
        }
        Kind::Tier | Kind::Readdress | Kind::Update | Kind::Release => {
            ("  ~ ", format!("{who}  {what}"))
        }
    };
    page.sentence(lead, &format!("{line}{mark}"), view);
    if let Some(note) = note(change) {
        page.sentence("      ", &yellow(format!("note: {note}")), view);
    }
}

/// Returns the operator's note on the person of a change.
pub(crate) fn note(change: &Change) -> Option<&str> {
    change.person.as_ref()?.note.as_deref()
}

/// Describes a change without its user.
pub(crate) fn what(kind: Kind, change: &Change) -> String {
    if let Some(step) = Step::of(change) {
        return step.words();
    }
    let reason = change.reason.map_or("no reason given", Reason::as_str);
    match kind {
        Kind::Suspend | Kind::Deactivate | Kind::AdoptAndDeactivate => reason.to_owned(),
        Kind::Reactivate if change.reason == Some(Reason::Operator) => {
            "no longer suspended by an operator".to_owned()
        }
        Kind::Reactivate => format!("no longer {reason}"),
        Kind::Create => newcomer(&change.after),
        // The user of another entry: the operator compares both.
        Kind::Link if change.before.get("object_guid").is_some() => {
            differences(&change.before, &change.after).join("; ")
        }
        Kind::Link => {
            let barred =
                change.reason.as_ref().map(|r| format!(", suspended as {r}")).unwrap_or_default();
            let newcomer = newcomer(&change.after);
            let entry = || change.object_guid.as_ref().map(|guid| format!("entry {guid}"));
            let named = Some(newcomer).filter(|text| !text.is_empty()).or_else(entry);
            format!("{}{barred}", named.unwrap_or_default())
        }
        Kind::Tier
        | Kind::Readdress
        | Kind::Update
        | Kind::Release
        | Kind::Adopt
        | Kind::Delete => differences(&change.before, &change.after).join("; "),
    }
}

/// Describes a change where the context names the user.
pub(crate) fn sentence(change: &Change) -> String {
    let kind = Kind::of(change);
    let what = what(kind, change);
    if let Some(step) = Step::of(change) {
        let what = if what.is_empty() { what } else { format!(" ({what})") };
        return format!("at {}: {}{what}", step.target, kind.heading());
    }
    match kind {
        Kind::Suspend => red(format!("suspended as {what}")),
        Kind::Reactivate => green(what),
        Kind::Create => green(format!("created: {what}")),
        Kind::Link => green(format!("linked: {what}")),
        _ => what,
    }
}

/// Names the user of a change: `Ann Lee <ann.lee@example.com> (alee)`. A logon name that begins the
/// address is left out.
fn who(change: &Change) -> String {
    let Change { display_name, sam_account_name, email, object_guid, user_id, .. } = change;
    let address = email.as_deref();
    let begins_address = |name: &&String| {
        address.is_some_and(|a| a.split('@').next().is_some_and(|l| l.eq_ignore_ascii_case(name)))
    };
    let logon = sam_account_name.as_ref().filter(|name| !begins_address(name));
    let known = match (display_name, address) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (Some(name), None) => name.clone(),
        (None, Some(address)) => address.to_owned(),
        (None, None) => object_guid.as_ref().unwrap_or(user_id).clone(),
    };
    logon.map_or_else(|| known.clone(), |logon| format!("{known} ({logon})"))
}

/// Returns whether the change is held. An applied or dropped change is not.
fn waits(change: &Change) -> bool {
    change.held.is_some()
        && !matches!(change.outcome, Some(ChangeOutcome::Applied | ChangeOutcome::Dropped))
}

fn waiting_mark(change: &Change) -> String {
    match change.held {
        Some(why) if waits(change) => yellow(format!("  [held: {why}]")),
        _ if change.outcome == Some(ChangeOutcome::Dropped) => yellow("  [dropped]"),
        _ => String::new(),
    }
}

/// Describes a new user: name and tier.
fn newcomer(after: &Value) -> String {
    let name = after
        .get("profile")
        .and_then(|p| text(p, "display_name"))
        .or_else(|| text(after, "display_name"));
    [name, text(after, "tier")].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn text(of: &Value, name: &str) -> Option<String> {
    of.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// Formats each field that differs, as `tier: pro → basic`.
pub(crate) fn differences(before: &Value, after: &Value) -> Vec<String> {
    let (Some(was), Some(is)) = (before.as_object(), after.as_object()) else {
        return vec![format!("{} → {}", value(before), value(after))];
    };
    let names = was.keys().chain(is.keys().filter(|name| !was.contains_key(*name)));
    names
        .filter_map(|name| {
            let (was, is) =
                (was.get(name).unwrap_or(&Value::Null), is.get(name).unwrap_or(&Value::Null));
            let name =
                if name == "overrides" { "overruled".to_owned() } else { name.replace('_', " ") };
            (was != is).then(|| format!("{name}: {} → {}", value(was), value(is)))
        })
        .collect()
}

/// Formats the evidence, one sentence for each item. Evidence is one object or a list.
pub(crate) fn evidence(evidence: &Value, view: &View) -> Vec<String> {
    match evidence {
        Value::Array(all) => all.iter().filter_map(|one| one_evidence(one, view)).collect(),
        one => one_evidence(one, view).into_iter().collect(),
    }
}

fn one_evidence(evidence: &Value, view: &View) -> Option<String> {
    let field = |name| evidence.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let attribute = field("attribute")?;
    let seen = field("value").unwrap_or("nothing");
    let at = field("seen_at").map(|at| format!(", {}", time(at, view))).unwrap_or_default();
    if attribute == "operator" {
        return Some(match field("value") {
            Some(why) => format!("\"{why}\"{at}"),
            None => format!("no reason given{at}"),
        });
    }
    let object =
        field("dn").or_else(|| field("object")).map(|dn| format!(" at {dn}")).unwrap_or_default();
    let server = field("server").map(|server| format!(", seen on {server}")).unwrap_or_default();
    Some(format!("{attribute} = {seen}{object}{server}{at}"))
}

/// Lists the hold reasons that occur, each with its explanation.
pub(crate) fn reasons_to_wait(changes: &[Change], view: &View) -> Page {
    let mut reasons: BTreeMap<&str, (HoldReason, u64)> = BTreeMap::new();
    for held in changes.iter().filter(|c| waits(c)).filter_map(|c| c.held) {
        reasons.entry(held.as_str()).or_insert((held, 0)).1 += 1;
    }
    let mut page = Page::default();
    if !reasons.is_empty() {
        page.line("");
    }
    for (held, n) in reasons.into_values() {
        page.sentence(
            &format!("{}  ", yellow(format!("held: {held}"))),
            &format!("{}: {}", count(n, "change"), held.explanation()),
            view,
        );
    }
    page
}

/// Lists the quarantined entries.
pub(crate) fn quarantined(entries: &[Quarantined], view: &View) -> Page {
    let mut page = Page::default();
    if entries.is_empty() {
        return page;
    }
    page.line(format!("{}: {}", bold("quarantined"), number(entries.len() as u64)));
    let shown = Extent::Short.of_list(entries.len());
    for Quarantined { object_guid, dn, reason } in &entries[..shown] {
        let at = if dn.is_empty() { object_guid } else { dn };
        page.sentence("  ", &format!("{}  {reason}", yellow(format!("? {at}"))), view);
    }
    if shown < entries.len() {
        page.line(dim(format!(
            "  … and {} more: --json has all",
            number((entries.len() - shown) as u64)
        )));
    }
    page
}
