//! How `rosterctl user` shows users, and what was done to them.

use serde_json::Value;

use crate::control::api::{
    Activation, Invitation, InvitationOutcome, Invitations, Note, Reason, ScheduledSuspension,
    User, UserCause,
};
use crate::ctl::change;
use crate::ctl::text::{
    Page, View, bold, coloured_status, count, dim, green, red, table, time_and_age, value, yellow,
};
use crate::visible::quoted;

/// Formats the result of each invitation.
pub fn invited(invitations: &Invitations, view: &View) -> Page {
    let rows =
        invitations.invitations.iter().map(|Invitation { address, outcome, user: _, detail }| {
            let coloured = match outcome {
                InvitationOutcome::Invited => green("invited"),
                InvitationOutcome::AlreadyHere => dim("already here"),
                InvitationOutcome::Elsewhere
                | InvitationOutcome::OtherDomain
                | InvitationOutcome::Malformed => red(outcome),
            };
            [address.clone(), coloured, detail.clone().unwrap_or_default()]
        });
    table(["ADDRESS", "OUTCOME", "WHY"], rows, view)
}

pub fn show(user: &User, view: &View) -> Page {
    let User {
        id,
        account,
        status,
        tier,
        primary_email: _,
        secondary_emails,
        display_name,
        given_name,
        surname,
        profile,
        directory,
        expires_at,
        suspension,
        scheduled_suspension,
        note,
        quarantine,
        overrides,
        invited_at,
        joined_at,
        last_sign_in_at,
        created_at,
        updated_at,
    } = user;
    let mut page = Page::default();
    page.line(format!("{}: {}, {tier}, in {account}", bold(name(user)), coloured_status(*status)));
    let mut fields = Vec::new();
    let full = [given_name, surname]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ");
    let called = display_name.clone().unwrap_or_else(|| full.clone());
    let called =
        if full.is_empty() || full == called { called } else { format!("{called} ({full})") };
    if !called.is_empty() {
        fields.push(("name", called));
    }
    for (n, address) in secondary_emails.iter().enumerate() {
        fields.push((if n == 0 { "also" } else { "" }, address.clone()));
    }
    let extra = profile.get("extra").and_then(Value::as_object).into_iter().flatten();
    let extra = extra.map(|(name, values)| (name.clone(), value(values)));
    let profile: Vec<(String, String)> = profile
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.replace('_', " "), value.as_str()?.to_owned())))
        .chain(extra)
        .collect();
    for (key, text) in &profile {
        let key = match key.as_str() {
            "sam account name" => "logon name",
            "user principal name" => "UPN",
            other => other,
        };
        if !matches!(key, "display name" | "given name" | "surname") {
            fields.push((key, text.clone()));
        }
    }
    fields.push(("id", id.clone()));
    match directory {
        Some(link) => {
            fields.push(("person", format!("{} in directory {}", link.object_guid, link.name)));
            fields.push(("", link.dn.clone()));
        }
        None => fields.push(("person", dim("not managed by a directory"))),
    }
    for (what, at) in [
        ("expires", expires_at.as_ref()),
        ("invited", invited_at.as_ref()),
        ("joined", joined_at.as_ref()),
        ("signed in", last_sign_in_at.as_ref()),
        ("created", Some(created_at)),
        ("updated", Some(updated_at)),
    ] {
        fields.extend(at.map(|at| (what, time_and_age(at, view))));
    }
    if !overrides.is_empty() {
        fields.push((
            "overrides",
            format!("{}, until the directory asks for something else", overrides.join(", ")),
        ));
    }
    page.fields(&fields, view);
    if let Some(ScheduledSuspension { at, actor, reason }) = scheduled_suspension {
        let why = if reason.is_empty() { String::new() } else { format!(": \"{reason}\"") };
        let text =
            format!("{actor} has scheduled its suspension at {}{why}", time_and_age(at, view));
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
    }
    if let Some(Note { text, actor, at }) = note {
        let text = format!("note of {actor}: \"{text}\", {}", time_and_age(at, view));
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
    }
    for cause in suspension.iter().flat_map(|s| &s.causes) {
        page.append(&one_cause(cause, view));
    }
    for reason in quarantine {
        page.sentence(
            &format!("  {} ", yellow("!")),
            &format!("the directory entry is quarantined: {reason}"),
            view,
        );
    }
    page
}

fn one_cause(UserCause { reason, since, by, evidence }: &UserCause, view: &View) -> Page {
    let mut page = Page::default();
    let as_what =
        if *reason == Reason::Operator { String::new() } else { format!(" as {}", red(reason)) };
    page.sentence(
        &format!("  {} ", red("✗")),
        &format!("suspended{as_what} by {by} since {}", time_and_age(since, view)),
        view,
    );
    for seen in change::evidence(evidence, view) {
        page.sentence("      ", &dim(seen), view);
    }
    page
}

pub(super) fn cancelled(user: &User, view: &View) -> Page {
    let mut page = Page::default();
    page.sentence(
        "",
        &format!("no suspension of {} is scheduled any more", bold(name(user))),
        view,
    );
    page
}

pub(super) fn suspended(user: &User, view: &View) -> Page {
    let mut page = Page::default();
    let who = name(user);
    let word = quoted(who);
    if let Some(scheduled) = &user.scheduled_suspension {
        let at = time_and_age(&scheduled.at, view);
        let text = format!("{} will be suspended at {at}", bold(who));
        page.sentence("", &text, view);
        page.line(format!("{} rosterctl user suspend {word} --cancel", dim("Take it back:")));
        return page;
    }
    let text = format!(
        "{} is suspended until an operator activates it: rosterctl user activate {word}",
        bold(who)
    );
    page.sentence("", &text, view);
    page
}

pub fn activated(Activation { user, remains }: &Activation, view: &View) -> Page {
    let mut page = Page::default();
    page.line(format!("{}: {}", bold(name(user)), coloured_status(user.status)));
    if !remains.is_empty() {
        page.line(format!(
            "  {} suspended:",
            if remains.len() == 1 { "one cause keeps it" } else { "these causes keep it" }
        ));
    }
    for sentence in remains {
        page.sentence(&format!("  {} ", red("✗")), sentence, view);
    }
    if !user.overrides.is_empty() {
        let overridden = count(user.overrides.len() as u64, "reason");
        page.sentence(
            "  ",
            &format!(
                "{overridden} overridden until the directory asks for something else: {}",
                user.overrides.join(", ")
            ),
            view,
        );
    }
    page
}

pub fn noted(user: &User, view: &View) -> Page {
    let mut page = Page::default();
    let who = bold(name(user));
    let text = match &user.note {
        Some(note) => format!("{who} has the note \"{}\"", note.text),
        None => format!("{who} has no note any more"),
    };
    page.sentence("", &text, view);
    page
}

pub(super) fn has_tier(user: &User, _: &View) -> Page {
    let mut page = Page::default();
    page.line(format!("{}: {}", bold(name(user)), user.tier));
    page
}

pub(super) fn freed(user: &User, view: &View) -> Page {
    let mut page = Page::default();
    page.sentence(
        "",
        &format!("{} stays suspended; its addresses are free for other users", bold(name(user))),
        view,
    );
    page
}

pub(super) fn overrides_cleared(user: &User, view: &View) -> Page {
    let mut page = Page::default();
    page.sentence(
        "",
        &format!("{}: the directory decides again from the next run on", bold(name(user))),
        view,
    );
    page
}

pub(super) fn removed(user: &User, _: &View) -> Page {
    let mut page = Page::default();
    page.line(format!("{} is removed from {}", bold(name(user)), user.account));
    page
}

pub(super) fn name(user: &User) -> &str {
    user.primary_email.as_deref().unwrap_or(&user.id)
}
