//! The readable text of an event, for mails and for programs that post to a chat.
//!
//! A text says what waits or happened, why, how many people it concerns, who they are, and which
//! command to type next. All values come from directories and servers, so they are escaped.

use serde_json::Value;

use crate::model::{HoldReason, Reason};
use crate::visible::escaped;

/// A text with its heading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    pub subject: String,
    pub body: String,
}

impl Text {
    /// Returns heading and body in one text.
    pub fn whole(&self) -> String {
        format!("{}\n\n{}", self.subject, self.body)
    }
}

/// Most characters of a value, of a subject and of a body.
const VALUE: usize = 500;
const SUBJECT: usize = 150;
const BODY: usize = 8_000;

/// Returns the text of a CloudEvents document; `None` where the event says nothing new.
pub fn text_of(document: &str) -> Option<Text> {
    let document: Value = serde_json::from_str(document).ok()?;
    let event = Event(&document);
    let kind = event.text("/type");
    let (subject, lines) = if document["sample"] == true {
        sample(&kind)
    } else {
        match kind.as_str() {
            "run.held" => held(&event)?,
            "run.failed" => failed(&event),
            "plan.expiring" => expiring(&event),
            "plan.expired" => expired(&event),
            "digest.daily" => digest(&event),
            "domain.lapsed" => lapsed(&event),
            "hook.dead_lettered" => dead_letter(&event),
            "store.rewound" => rewound(&event),
            kind if kind.starts_with("directory.") => directory(kind, &event),
            kind if kind.starts_with("user.") => user(kind, &event),
            kind => other(kind, &event),
        }
    };
    Some(Text { subject: cut(&subject, SUBJECT), body: cut(&lines.join("\n"), BODY) + "\n" })
}

/// Cuts a long text. A command at its end stays whole, because it is the remedy.
fn cut(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let command = text.rfind("rosterctl ").map_or("", |at| &text[at..]);
    let command = if command.chars().count() < most / 2 { command } else { "" };
    let kept: String = text.chars().take(most - command.chars().count()).collect();
    if command.is_empty() { format!("{kept}…") } else { format!("{kept}… {command}") }
}

/// A document whose values are read as harmless text.
struct Event<'a>(&'a Value);

impl Event<'_> {
    fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn text(&self, pointer: &str) -> String {
        text(self.at(pointer))
    }

    fn number(&self, pointer: &str) -> u64 {
        self.at(pointer).as_u64().unwrap_or(0)
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.at(pointer).as_array().map_or(&[], Vec::as_slice)
    }
}

/// Returns a value on one line; an absent value is empty.
fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => escaped(text).replace(['\n', '\r', '\t'], " "),
        other => escaped(&other.to_string()).into_owned(),
    };
    cut(&text, VALUE)
}

type Lines = (String, Vec<String>);

fn sample(kind: &str) -> Lines {
    let lines = vec![
        "This is a sample, sent by rosterctl hook test. Deliveries work.".to_owned(),
        format!("An event of the type {kind} would be reported like this."),
    ];
    ("rosterd: a test".to_owned(), lines)
}

/// Names a person: `Ann Lee <ann.lee@example.com>`.
fn person(names: &Value) -> String {
    let [name, address, logon] =
        ["display_name", "primary_email", "sam_account_name"].map(|field| text(&names[field]));
    match (name.as_str(), address.as_str()) {
        ("", "") => logon,
        ("", address) => address.to_owned(),
        (name, "") => name.to_owned(),
        (name, address) => format!("{name} <{address}>"),
    }
}

fn count(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// Adds the first people with the notes on them, and the number of the others.
fn add_people(lines: &mut Vec<String>, people: &[Value], of: u64) {
    if people.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push("Concerned:".to_owned());
    for names in people {
        lines.push(format!("  {}", person(names)));
        let note = text(&names["note"]);
        if !note.is_empty() {
            lines.push(format!("    note: {note}"));
        }
    }
    let others = of.saturating_sub(people.len() as u64);
    if others > 0 {
        lines.push(format!("  and {others} more"));
    }
}

/// Returns the part of an id that commands accept.
fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

fn held(event: &Event<'_>) -> Option<Lines> {
    // A run that applied other changes while the plan waits has no plan, and nothing new to say.
    let plan = event.at("/data/after/plan").as_str()?;
    let (directory, n) = (event.text("/data/after/directory"), event.number("/data/after/count"));
    let (wait, none) = if n == 1 {
        ("change waits", "It was not applied.")
    } else {
        ("changes wait", "None of them was applied.")
    };
    let mut lines = vec![format!("{n} {wait} for your approval. {none}"), String::new()];
    for group in event.list("/data/after/by") {
        lines.push(format!("  {}", would(group)));
        let held = group["held"].as_str().and_then(HoldReason::parse);
        lines.extend(held.map(|held| format!("    {}: {}", held.as_str(), held.explanation())));
    }
    add_people(&mut lines, event.list("/data/after/people"), n);
    let id = short(plan);
    lines.extend([
        String::new(),
        format!("Review:  rosterctl held show {id}"),
        format!("Approve: rosterctl held approve {id}"),
        format!("Reject:  rosterctl held reject {id}"),
    ]);
    Some((format!("{directory}: {n} {wait} for approval"), lines))
}

/// Describes a group of held changes: `120 people would be suspended as no-group (group Roster Pro)`.
fn would(group: &Value) -> String {
    let n = group["count"].as_u64().unwrap_or(0);
    let people = count(n, "person", "people");
    let reason = group["reason"].as_str().and_then(Reason::parse).map_or("", Reason::as_str);
    let what = match (group["kind"].as_str().unwrap_or_default(), group["class"].as_str()) {
        ("suspend", _) => format!("would be suspended as {reason}"),
        ("reactivate", _) => format!("would get access again, no longer {reason}"),
        ("create" | "invite", _) => "would get access".to_owned(),
        ("tier", Some("downgrade")) => "would go from Pro to Basic".to_owned(),
        ("tier", _) => "would go from Basic to Pro".to_owned(),
        ("link", _) => "would be linked to an entry".to_owned(),
        ("update", Some("readdress")) => "would get other addresses".to_owned(),
        (kind, _) => format!("would change ({kind})"),
    };
    let cause = match text(&group["cause"]).split_once(':') {
        Some(("ou", dn)) => format!(" (all below {dn})"),
        Some(("group", _)) if group["name"].is_string() => {
            format!(" (group {})", text(&group["name"]))
        }
        Some((kind, name)) => format!(" ({kind} {name})"),
        None => String::new(),
    };
    format!("{people} {what}{cause}")
}

fn failed(event: &Event<'_>) -> Lines {
    let directory = event.text("/data/after/directory");
    let lines = vec![
        format!("A run of {directory} failed: {}", event.text("/data/after/error")),
        String::new(),
        format!("The run:       rosterctl run show {}", short(&event.text("/subject"))),
        format!("The directory: rosterctl directory check {directory}"),
    ];
    (format!("{directory}: a run failed"), lines)
}

fn expiring(event: &Event<'_>) -> Lines {
    let (directory, n) = (event.text("/data/after/directory"), event.number("/data/after/count"));
    let lines = vec![
        format!(
            "{} approved by {} could not be applied yet. The approval expires at {}.",
            count(n, "change", "changes"),
            event.text("/data/after/approved_by"),
            event.text("/data/after/expires_at")
        ),
        String::new(),
        format!("Find out why: rosterctl directory check {directory}"),
        format!("Apply now:    rosterctl held approve {}", short(&event.text("/subject"))),
    ];
    (format!("{directory}: an approval expires soon"), lines)
}

fn expired(event: &Event<'_>) -> Lines {
    let (directory, n) = (event.text("/data/after/directory"), event.number("/data/after/count"));
    let lines = vec![
        format!(
            "{} approval.",
            count(
                n,
                "change was approved, and not applied in time. It needs another",
                "changes were approved, and not applied in time. They need another"
            )
        ),
        String::new(),
        "What waits:    rosterctl held list".to_owned(),
        format!("The directory: rosterctl directory check {directory}"),
    ];
    (format!("{directory}: an approval has expired"), lines)
}

fn lapsed(event: &Event<'_>) -> Lines {
    let domain = event.text("/data/after/domain");
    let lines = vec![
        format!(
            "The claim of {domain} is not confirmed any more: {}",
            event.text("/data/after/finding")
        ),
        String::new(),
        format!("After the TXT record is back: rosterctl domain verify {domain}"),
    ];
    (format!("{domain}: the domain claim has lapsed"), lines)
}

/// Commits that the database has lost.
fn rewound(event: &Event<'_>) -> Lines {
    let lost = event.number("/data/after/lost");
    let which = match event.text("/data/after/from").as_str() {
        "" => format!("up to event {}", event.text("/data/after/to")),
        from => format!(
            "{} ({from} to {})",
            count(lost, "event", "events"),
            event.text("/data/after/to")
        ),
    };
    let mut lines = vec![format!(
        "The database has lost what was committed: {which}. All runs only plan until you approve."
    )];
    let brakes = event.list("/data/after/brakes");
    if !brakes.is_empty() {
        lines.push(String::new());
        lines.push("Lost, and put on again:".to_owned());
        for brake in brakes {
            lines.push(format!("  {} (by {})", text(&brake["subject"]), text(&brake["actor"])));
        }
    }
    lines.extend([
        String::new(),
        "What was lost: rosterctl event list --type store.rewound".to_owned(),
        "What waits:    rosterctl held list".to_owned(),
        "You know it:   rosterctl event accept-loss".to_owned(),
    ]);
    ("the database has lost commits".to_owned(), lines)
}

fn dead_letter(event: &Event<'_>) -> Lines {
    let hook = event.text("/subject");
    let mut lines =
        vec![format!("The hook {hook} gave up an event, so what it does was not done.")];
    lines.extend(fields(event.at("/data/after")));
    lines.extend([
        String::new(),
        format!("All of them:   rosterctl hook deliveries {hook} --state failed"),
        format!("Deliver again: rosterctl hook redeliver {hook} --all"),
    ]);
    (format!("hook {hook}: an event was given up"), lines)
}

fn directory(kind: &str, event: &Event<'_>) -> Lines {
    let name = event.text("/subject");
    let what = match kind {
        "directory.unreachable" => "cannot be read",
        "directory.recovered" => "can be read again",
        "directory.stale" => "was not read completely for too long",
        "directory.attention" => "needs attention",
        "directory.paused" => "is paused",
        "directory.resumed" => "runs again",
        kind => kind.trim_start_matches("directory."),
    };
    let mut lines = vec![format!("{name} {what}.")];
    let sentences = event.list("/data/after/attention");
    lines.extend(sentences.iter().map(|sentence| format!("\n{}", text(sentence))));
    if sentences.is_empty() {
        lines.extend(fields(event.at("/data/after")));
    }
    lines.push(String::new());
    match event.at("/data/after/plan").as_str() {
        Some(plan) => lines.push(format!("Review: rosterctl held show {}", short(plan))),
        None if matches!(kind, "directory.unreachable" | "directory.stale") => {
            lines.push(format!("Find out why: rosterctl directory check {name}"));
        }
        None => lines.push("The state: rosterctl status".to_owned()),
    }
    (format!("{name} {what}"), lines)
}

fn user(kind: &str, event: &Event<'_>) -> Lines {
    let after = event.at("/data/user/after");
    let names = if after.is_null() { event.at("/data/user/before") } else { after };
    let who = Some(person(names)).filter(|who| !who.is_empty());
    let who = who.unwrap_or_else(|| event.text("/subject"));
    let what = match kind {
        "user.suspended" => format!("was suspended ({})", event.text("/data/after/cause")),
        "user.reactivated" => "has access again".to_owned(),
        "user.created" => "got access".to_owned(),
        "user.noted" => match names["note"].as_str() {
            Some(note) => format!("has the note \"{}\"", escaped(note)),
            None => "has no note any more".to_owned(),
        },
        "user.tier_changed" => format!("is {} now", event.text("/data/after/tier")),
        kind => kind.trim_start_matches("user.").replace('_', " "),
    };
    let mut lines = vec![format!("{who} {what}, by {}.", event.text("/data/actor"))];
    for seen in event.list("/data/evidence") {
        lines.push(format!("  {} = {}", text(&seen["attribute"]), text(&seen["value"])));
    }
    if let Some(note) = names["note"].as_str().filter(|_| kind != "user.noted") {
        lines.push(format!("  note: {}", escaped(note)));
    }
    for given in event.list("/data/approval/approvals") {
        let line = format!("  approved by {} {}", text(&given["actor"]), text(&given["comment"]));
        lines.push(line.trim_end().to_owned());
    }
    lines.extend([
        String::new(),
        format!("Explain: rosterctl user explain {}", event.text("/subject")),
    ]);
    (format!("{who} {what}"), lines)
}

fn other(kind: &str, event: &Event<'_>) -> Lines {
    let names =
        ["handle", "domain", "directory"].map(|name| event.text(&format!("/data/after/{name}")));
    let name = names.into_iter().find(|name| !name.is_empty());
    let subject = name.unwrap_or_else(|| event.text("/subject"));
    let mut lines = vec![format!("{kind} {subject}, by {}", event.text("/data/actor"))];
    lines.extend(fields(event.at("/data/after")));
    lines.extend([String::new(), "The state: rosterctl status".to_owned()]);
    (format!("{kind} {subject}"), lines)
}

/// Returns a line for each value, without the empty ones.
fn fields(values: &Value) -> Vec<String> {
    let values = values.as_object().into_iter().flatten();
    let filled = values.map(|(name, value)| (name.replace('_', " "), text(value)));
    filled
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("  {}: {value}", escaped(&name)))
        .collect()
}

fn digest(event: &Event<'_>) -> Lines {
    let waiting = event.number("/data/after/waiting");
    let (joiners, leavers) =
        (event.number("/data/after/joiners"), event.number("/data/after/leavers"));
    let mut lines = vec![format!("Since {}:", event.text("/data/after/since"))];
    lines.push(format!("  {} got access", count(joiners, "person", "people")));
    let causes = event.at("/data/after/causes").as_object().into_iter().flatten();
    let causes: Vec<String> = causes.map(|(cause, n)| format!("{n} {}", escaped(cause))).collect();
    let causes = if causes.is_empty() { String::new() } else { format!(": {}", causes.join(", ")) };
    lines.push(format!("  {} lost access{causes}", count(leavers, "person", "people")));
    lines.push(format!(
        "  {} got access again",
        count(event.number("/data/after/returned"), "person", "people")
    ));
    add_people(&mut lines, event.list("/data/after/people"), leavers);
    lines.push(String::new());
    let attention = event.list("/data/after/attention");
    lines.extend(attention.iter().map(|sentence| format!("! {}", text(sentence))));
    let expiring = event.number("/data/after/expiring");
    if expiring > 0 {
        lines.push(format!(
            "{} within 14 days: rosterctl report expiring --until 14d",
            count(expiring, "account expires", "accounts expire")
        ));
    }
    if attention.is_empty() {
        lines.push("Nothing waits for you.".to_owned());
    }
    lines.extend([
        String::new(),
        "All of it: rosterctl report changes --since yesterday".to_owned(),
    ]);
    let waits =
        if waiting == 0 { String::new() } else { format!(", {waiting} waiting for approval") };
    (format!("rosterd: {leavers} left, {joiners} joined{waits}"), lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_before_the_command_at_its_end() {
        let long = "x".repeat(900);
        let command = "rosterctl user relink ann@example.com 4e2b8c22";
        let shown = cut(&format!("{long}: {command}"), VALUE);
        assert!(shown.ends_with(&format!("x… {command}")), "{shown}");
        assert_eq!(shown.chars().count(), VALUE + 2);
        assert_eq!(cut(&long, VALUE), format!("{}…", "x".repeat(VALUE)));
        assert_eq!(cut("short", VALUE), "short");
    }
}
