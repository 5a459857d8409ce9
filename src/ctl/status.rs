//! `rosterctl status`: the state of daemon, directories and hooks.

use super::text::{
    Page, View, bold, count, dim, green, is_for_ever, number, red, time_and_age, time_or_never,
    took, yellow,
};
use super::{leader, target};
use crate::control::api::{
    DirectoryState, DirectoryStatus, HookCounts, Phase, Progress, QuietWait, RunUnderWay,
    ServerStatus, Status,
};

pub fn page(status: &Status, view: &View) -> Page {
    let Status { version, started_at, directories, targets, hooks, store, cluster } = status;
    let mut page = Page::default();
    page.line(format!("rosterd {version}, running since {}", time_and_age(started_at, view)));
    for sentence in &store.attention {
        page.sentence(&format!("  {} ", yellow("!")), sentence, view);
    }
    if let Some(cluster) = cluster {
        page.line(leader::line(cluster, view));
        for sentence in &cluster.attention {
            page.sentence(&format!("  {} ", yellow("!")), sentence, view);
        }
    }
    if directories.is_empty() {
        page.line("");
        page.sentence(
            "",
            "No directory is configured: add a [[directory]] to a file in /etc/rosterd/conf.d, then systemctl reload rosterd",
            view,
        );
    }
    for directory in directories {
        page.line("");
        page.append(&block(directory, view));
    }
    for target in targets {
        page.line("");
        page.append(&target::block(target, view));
    }
    let HookCounts { pending, failed, removed, attention } = hooks;
    if pending + failed + removed > 0 || !attention.is_empty() {
        page.line("");
        let failed_text = format!("{} failed", count(*failed, "delivery"));
        let failed_text = if *failed > 0 { red(failed_text) } else { failed_text };
        page.line(format!("hooks: {} pending, {failed_text}", number(*pending)));
    }
    for sentence in attention {
        page.sentence(&format!("  {} ", yellow("!")), sentence, view);
    }
    if *removed > 0 {
        page.line(format!(
            "  {} for hooks that are no longer configured: rosterctl hook list",
            yellow(count(*removed, "delivery"))
        ));
    }
    page
}

pub(super) fn block(directory: &DirectoryStatus, view: &View) -> Page {
    let DirectoryStatus {
        name,
        account,
        state,
        server,
        servers,
        live,
        running,
        last_attempt,
        last_success,
        last_complete_read,
        next_run,
        paused_until,
        users,
        held,
        quarantined,
        quiet,
        attention,
    } = directory;
    let mut page = Page::default();
    let live = if *live { ", follows changes live" } else { "" };
    page.line(format!(
        "{} {} → account {account}: {}{live}",
        light(*state),
        bold(name),
        coloured_state(*state)
    ));

    let mut people =
        format!("{} active, {} suspended", number(users.active), number(users.suspended));
    if *held > 0 {
        people = format!("{people}, {}", yellow(format!("{} held", count(*held, "change"))));
    }
    if *quarantined > 0 {
        people = format!("{people}, {}", yellow(format!("{} quarantined", number(*quarantined))));
    }
    let mut fields = vec![("users", people)];
    fields.extend(running.as_ref().map(|run| ("running", under_way(run, view))));
    let from = server.as_ref().map(|s| format!(", from {s}")).unwrap_or_default();
    if last_attempt == last_success || last_success.is_none() || !is_failing(*state) {
        fields.push((
            "last run",
            last_success.as_ref().map_or_else(
                || "none yet".to_owned(),
                |at| format!("{}{from}", time_and_age(at, view)),
            ),
        ));
    } else {
        fields.push((
            "last success",
            format!("{}{from}", time_or_never(last_success.as_deref(), view)),
        ));
    }
    if is_failing(*state) {
        fields.push(("last attempt", time_or_never(last_attempt.as_deref(), view)));
    }
    fields.push(("complete read", time_or_never(last_complete_read.as_deref(), view)));
    fields.push((
        "next run",
        next_run
            .as_ref()
            .map_or_else(|| "none is scheduled".to_owned(), |at| time_and_age(at, view)),
    ));
    if let Some(QuietWait { until, people }) = quiet {
        let kinds: Vec<String> =
            people.iter().map(|(kind, n)| format!("{} {kind}", number(*n))).collect();
        let text = format!("{}, until {}", kinds.join(", "), time_and_age(until, view));
        fields.push(("quiet hours", text));
    }
    if servers.len() > 1 {
        fields.extend(servers.iter().map(|server| ("server", server_line(server, view))));
    }
    if let Some(until) = paused_until {
        let until = if is_for_ever(until) {
            format!("resumed: rosterctl directory resume {name}")
        } else {
            time_and_age(until, view)
        };
        fields.push(("paused until", yellow(until)));
    }
    page.fields(&fields, view);
    for sentence in attention {
        page.sentence(&format!("  {} ", yellow("!")), sentence, view);
    }
    page
}

/// Describes the run under way: `full, for 20 s, 1,800 of about 3,021`.
pub(crate) fn under_way(run: &RunUnderWay, view: &View) -> String {
    let RunUnderWay { id: _, mode, trigger: _, started_at, progress } = run;
    let now = view.now.to_rfc3339();
    let lasts = took(started_at, &now).map(|time| format!(", for {time}")).unwrap_or_default();
    let Progress { entries, expected, phase } = progress;
    let done = match (phase, entries, expected) {
        (Phase::Idle, ..) => String::new(),
        (Phase::Reading, 1.., 1..) => {
            format!(", {} of about {}", number(*entries), number(*expected))
        }
        (Phase::Reading, 1.., _) => format!(", {} read", count(*entries, "entry")),
        (phase, ..) => format!(", {phase}"),
    };
    format!("{mode}{lasts}{done}")
}

/// Returns a server with its site and certificate, or with the time since which it fails.
fn server_line(server: &ServerStatus, view: &View) -> String {
    let ServerStatus {
        url,
        in_use,
        reachable,
        failing_since,
        certificate_until,
        writable,
        site,
        followed_since,
        ..
    } = server;
    let mut parts = vec![url.clone()];
    match (reachable, failing_since) {
        _ if *writable == Some(false) => parts.push(yellow("read-only, not used")),
        (_, Some(since)) => {
            parts.push(red(format!("unreachable since {}", time_and_age(since, view))));
        }
        (None, None) => parts.push(dim("not tried yet")),
        _ if *in_use => parts.push(green("in use")),
        _ => parts.push("reachable".to_owned()),
    }
    parts.extend(site.as_ref().map(|site| format!("site {site}")));
    parts.extend(
        followed_since.as_ref().map(|at| format!("followed since {}", time_and_age(at, view))),
    );
    // A server that fails may have another one by now, and its failure may be just that.
    if let (Some(until), None) = (certificate_until, failing_since) {
        parts.push(format!("certificate until {}", until.split('T').next().unwrap_or_default()));
    }
    parts.join(", ")
}

fn is_failing(state: DirectoryState) -> bool {
    state == DirectoryState::Degraded
}

fn light(state: DirectoryState) -> String {
    match state {
        DirectoryState::Ok => green("●"),
        DirectoryState::Degraded => red("●"),
        DirectoryState::Starting => dim("●"),
        DirectoryState::PlanOnly
        | DirectoryState::Paused
        | DirectoryState::NoAccount
        | DirectoryState::NoDomain => yellow("●"),
    }
}

pub(super) fn coloured_state(state: DirectoryState) -> String {
    match state {
        DirectoryState::Ok => green(state),
        DirectoryState::Degraded => red(state),
        DirectoryState::Starting => dim(state),
        DirectoryState::PlanOnly
        | DirectoryState::Paused
        | DirectoryState::NoAccount
        | DirectoryState::NoDomain => yellow(state),
    }
}
