//! `rosterctl user explain`: why a user has its state.

use super::link::{Answer, Daemon, Failure};
use super::text::{Page, View, bold, coloured_status, dim, green, red, time, yellow};
use super::{Exit, Output, change, id, target};
use crate::control::api::{
    Done, Elsewhere, ExplainedEntry, Explanation, Looked, TargetAccount, TargetOutlook,
};
use crate::control::client::Route;

pub(super) async fn call(
    who: &str,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let explained: Answer<Explanation> = daemon.get(&Route::to(["users", who, "explain"])).await?;
    output.data(&explained.raw, |view| page(&explained.value, view))?;
    Ok(exit(&explained.value))
}

/// Returns 1 if neither a user nor an entry was found.
pub fn exit(Explanation { user, entries, .. }: &Explanation) -> Exit {
    if user.is_none() && entries.is_empty() { Exit::Failed } else { Exit::Done }
}

pub fn page(explanation: &Explanation, view: &View) -> Page {
    let Explanation { who, user, remedies, entries, elsewhere, targets, outlook, history } =
        explanation;
    let mut page = Page::default();
    match user {
        Some(user) => {
            let name = user.primary_email.as_deref().unwrap_or(&user.id);
            page.line(format!(
                "{}: {}, {}, in {}",
                bold(name),
                coloured_status(user.status),
                user.tier,
                user.account
            ));
            for cause in user.suspension.iter().flat_map(|s| &s.causes) {
                let text = format!(
                    "suspended as {} by {} since {}",
                    red(cause.reason),
                    cause.by,
                    time(&cause.since, view)
                );
                page.sentence(&format!("  {} ", red("✗")), &text, view);
                for seen in change::evidence(&cause.evidence, view) {
                    page.sentence("      ", &dim(seen), view);
                }
            }
        }
        None if entries.is_empty() => {
            page.line(format!("{}: no user, and no entry in any directory", bold(who)))
        }
        None => page.line(format!("{}: no user", bold(who))),
    }
    if let Some(note) = user.as_ref().and_then(|user| user.note.as_ref()) {
        let text = format!("note of {}: \"{}\"", note.actor, note.text);
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
    }
    for sentence in remedies {
        page.sentence("  → ", sentence, view);
    }
    for entry in entries {
        page.line("");
        page.append(&one(entry, user.is_some(), view));
    }
    for Elsewhere { directory, why } in elsewhere {
        page.line("");
        page.sentence("", &format!("{}: {why}", bold(directory)), view);
    }
    page.append(&self::targets(targets, view));
    page.append(&self::outlook(outlook, view));
    page.append(&self::history(history, view));
    page
}

/// Lists the accounts at targets.
pub(super) fn targets(targets: &[TargetAccount], view: &View) -> Page {
    let mut page = Page::default();
    if !targets.is_empty() {
        page.line("");
        page.line(bold("targets"));
        page.append(&target::of_user(targets, view));
    }
    page
}

/// Says what a run of each target would send now.
fn outlook(outlook: &[TargetOutlook], view: &View) -> Page {
    let mut page = Page::default();
    for TargetOutlook { target, steps, error } in outlook {
        match error {
            Some(error) => {
                let text = format!("{} cannot be asked: {error}", bold(target));
                page.sentence(&format!("  {} ", yellow("!")), &text, view);
            }
            None if steps.is_empty() => {
                page.line(format!("  {} nothing is to be sent to {target}", green("✓")));
            }
            None => page.line(format!("  a run of {target} would now:")),
        }
        for step in steps {
            page.append(&target::one_step(step, view));
        }
    }
    page
}

/// Lists the applied changes, each with its evidence.
pub(super) fn history(history: &[Done], view: &View) -> Page {
    let mut page = Page::default();
    if !history.is_empty() {
        page.line("");
        page.line(bold("history"));
    }
    for Done { at, run, change } in
        history.iter().filter(|done| !change::is_bookkeeping(&done.change))
    {
        page.sentence(
            "  ",
            &format!(
                "{}  {}  {}",
                time(at, view),
                dim(format!("run {}", id::short(run))),
                change::sentence(change)
            ),
            view,
        );
        for seen in change::evidence(&change.evidence, view) {
            page.sentence("      ", &dim(seen), view);
        }
    }
    page
}

fn one(entry: &ExplainedEntry, is_user: bool, view: &View) -> Page {
    let ExplainedEntry {
        directory,
        server,
        object_guid,
        dn,
        found,
        names,
        scope,
        state,
        tier,
        steps: _,
        groups,
        addresses,
        obstacles,
        quarantine,
        remedy,
        would,
        waits,
        warnings,
    } = entry;
    let mut page = Page::default();
    page.sentence("", &format!("{} ({server}): {found}", bold(directory)), view);
    let mut fields = vec![("person", object_guid.clone())];
    if !dn.is_empty() {
        fields.push(("", dn.clone()));
    }
    let mut lines = |heading, all: &[Looked]| {
        for (n, Looked { attribute, value, meaning }) in all.iter().enumerate() {
            let shown =
                if value.is_empty() { attribute.clone() } else { format!("{attribute} = {value}") };
            fields.push((if n == 0 { heading } else { "" }, format!("{shown}: {meaning}")));
        }
    };
    lines("names", names);
    lines("scope", scope.as_slice());
    lines("state", state);
    lines("addresses", addresses);
    fields.extend(tier.iter().map(|tier| ("tier", tier.clone())));
    fields
        .extend(groups.iter().map(|way| ("", format!("member of {}", way.join(", which is in ")))));
    page.fields(&fields, view);
    if let Some(why) = quarantine {
        let text =
            format!("the entry is quarantined: {why}: {}", remedy.as_deref().unwrap_or_default());
        page.sentence(&format!("  {} ", yellow("!")), &text, view);
    }
    if !is_user && would.is_empty() {
        for why in obstacles {
            page.sentence(&format!("  {} ", red("✗")), &format!("no user for it: {why}"), view);
        }
    }
    if let Some(waits) = waits {
        page.sentence(&format!("  {} ", yellow("!")), waits, view);
    }
    match would.as_slice() {
        [] if is_user => page.line(format!("  {} a run would change nothing", green("✓"))),
        [] => page.line(format!("  {} no account, and the next run will not create one", red("✗"))),
        changes => {
            page.line("  a run would now:");
            for change in changes {
                let held =
                    change.held.map(|held| format!(": {}", held.explanation())).unwrap_or_default();
                page.sentence(
                    "    ",
                    &format!("{}{}", change::sentence(change), yellow(held)),
                    view,
                );
            }
        }
    }
    for warning in warnings {
        page.sentence(&format!("  {} ", yellow("!")), warning, view);
    }
    page
}
