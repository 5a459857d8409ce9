//! The metrics page: every name, unit and help text that Prometheus sees, in one place.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units in the name, `_total` for what only grows,
//! a gauge of 0 and 1 for a yes or no. What is not known (a run that never was) has no series.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::counters::{Counters, Labels, labels};
use super::process::Process;
use crate::model::Timestamp;

/// How the page is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// OpenMetrics 1.0, which Prometheus asks for.
    #[default]
    OpenMetrics,
    /// The text format of before, for scrapers that know no other, and for `promtool check metrics`.
    Text,
}

impl Format {
    /// What suits whoever sends this `Accept` header: the older format only where it is asked for and OpenMetrics is not.
    pub fn accepted_by(accept: &str) -> Self {
        if accept.contains("text/plain") && !accept.contains("application/openmetrics-text") {
            Self::Text
        } else {
            Self::OpenMetrics
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// How everything stands at this moment.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// When the daemon was started.
    pub started_at: Timestamp,
    /// What the store says; nothing when it does not answer.
    pub store: Option<StoreStanding>,
}

/// What the store says.
#[derive(Clone, Debug, Default)]
pub struct StoreStanding {
    /// How large its files are together; nothing on a database server.
    pub bytes: Option<u64>,
    /// Events in the log since it was begun.
    pub events: u64,
    /// The directories that are configured.
    pub directories: Vec<DirectoryStanding>,
    /// The accounts.
    pub accounts: Vec<AccountStanding>,
    /// The hooks that are configured.
    pub hooks: Vec<HookSeries>,
}

/// How one hook stands.
#[derive(Clone, Debug, Default)]
pub struct HookSeries {
    /// Its name.
    pub name: String,
    /// Deliveries that are not done.
    pub pending: u64,
    /// Deliveries that were given up.
    pub failed: u64,
    /// Since when the oldest that is not done is to be delivered.
    pub oldest: Option<Timestamp>,
    /// When one was last done.
    pub delivered_at: Option<Timestamp>,
    /// Whether nothing is delivered, because its address said it is gone.
    pub disabled: bool,
}

/// How one directory stands.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a gauge of 0 and 1")]
pub struct DirectoryStanding {
    /// Its name.
    pub name: String,
    /// The account it is connected to.
    pub account: String,
    /// Its state, and all that there are.
    pub state: &'static str,
    /// Whether change notifications are followed.
    pub live: bool,
    /// Whether runs are paused.
    pub paused: bool,
    /// Whether the last complete read is older than it may be.
    pub stale: bool,
    /// Whether no bind is tried, because AD refused the service account.
    pub bind_refused: bool,
    /// How old the last complete read may become, in seconds.
    pub stale_after: f64,
    /// When a run last began.
    pub last_attempt: Option<Timestamp>,
    /// When one last ended well.
    pub last_success: Option<Timestamp>,
    /// When one last read everything.
    pub last_complete_read: Option<Timestamp>,
    /// When the next one is due.
    pub next_run: Option<Timestamp>,
    /// Managed users by status.
    pub users: Vec<(&'static str, u64)>,
    /// Changes that wait for an operator.
    pub held: u64,
    /// Entries that cannot be used.
    pub quarantined: u64,
    /// Things that need attention.
    pub attention: u64,
}

/// How one account stands.
#[derive(Clone, Debug, Default)]
pub struct AccountStanding {
    /// Its handle.
    pub handle: String,
    /// Its users by status.
    pub users: Vec<(&'static str, u64)>,
    /// Its domain claims by state.
    pub claims: Vec<(&'static str, u64)>,
}

/// The page. `states` are all the states a directory can be in.
pub fn page(
    counters: &Counters,
    standing: &Standing,
    states: &[&'static str],
    format: Format,
) -> String {
    let mut registry = Registry::default();
    let Standing { started_at, store } = standing;
    of_process(&mut registry, *started_at);
    gauges(
        &mut registry,
        "rosterd_store_up",
        "Whether the store answers (1) or not (0)",
        [(Vec::new(), store.is_some().into())],
    );
    if let Some(StoreStanding { bytes, events, directories, accounts, hooks }) = store {
        let bytes = bytes.map(|bytes| (Vec::new(), bytes as i64));
        gauges_in(
            &mut registry,
            "rosterd_store_size",
            "Size of the store's files",
            Unit::Bytes,
            bytes,
        );
        registry.register(
            "rosterd_events",
            "Events in the log, since it was begun",
            ConstCounter::new(*events),
        );
        of_directories(&mut registry, directories, states);
        of_accounts(&mut registry, accounts);
        of_hooks(&mut registry, hooks);
        for directory in directories {
            counters.know(&directory.name);
        }
        for hook in hooks {
            counters.know_hook(&hook.name);
        }
    }
    counted(&mut registry, counters);
    let mut page = String::new();
    let written = match format {
        Format::OpenMetrics => text::encode(&mut page, &registry),
        Format::Text => prometheus_text::encode(&mut page, &registry),
    };
    debug_assert!(written.is_ok(), "writing to a String does not fail");
    page
}

fn of_process(registry: &mut Registry, started_at: Timestamp) {
    let Process { cpu_seconds, resident_bytes, open_fds, max_fds } = Process::now();
    let version = labels([("version", env!("CARGO_PKG_VERSION"))]);
    gauges(registry, "rosterd_build_info", "The version that runs; always 1", [(version, 1)]);
    if let Some(seconds) = cpu_seconds {
        let help = "User and system CPU time spent";
        registry.register_with_unit("process_cpu", help, Unit::Seconds, ConstCounter::new(seconds));
    }
    let one = |value: Option<u64>| {
        value.map(|value| (Vec::new(), i64::try_from(value).unwrap_or(i64::MAX)))
    };
    gauges_in(
        registry,
        "process_resident_memory",
        "Resident memory size",
        Unit::Bytes,
        one(resident_bytes),
    );
    gauges(registry, "process_open_fds", "Number of open file descriptors", one(open_fds));
    gauges(registry, "process_max_fds", "Maximum number of open file descriptors", one(max_fds));
    let started_at = [(Vec::new(), Some(epoch(started_at)))];
    seconds(
        registry,
        "process_start_time",
        "Start time of the process since the Unix epoch",
        started_at,
    );
}

type Count = fn(&DirectoryStanding) -> i64;
type Instant = fn(&DirectoryStanding) -> Option<Timestamp>;

fn of_directories(
    registry: &mut Registry,
    directories: &[DirectoryStanding],
    states: &[&'static str],
) {
    let name = |d: &DirectoryStanding| labels([("directory", &d.name)]);
    let is_in = directories.iter().flat_map(|d| {
        let series = |state: &&'static str| {
            (
                labels([("directory", &d.name), ("account", &d.account), ("state", state)]),
                i64::from(*state == d.state),
            )
        };
        states.iter().map(series).collect::<Vec<_>>()
    });
    gauges(
        registry,
        "rosterd_directory_state",
        "The state a directory is in (1), and those it is not in (0)",
        is_in,
    );
    let users = directories.iter().flat_map(|d| {
        let series = |(status, count): &(&'static str, u64)| {
            (labels([("directory", &d.name), ("status", status)]), *count as i64)
        };
        d.users.iter().map(series).collect::<Vec<_>>()
    });
    gauges(registry, "rosterd_directory_users", "Users a directory manages", users);

    let counts: [(&str, &str, Count); 7] = [
        ("rosterd_directory_held_changes", "Changes that wait for an operator's approval", |d| {
            d.held as i64
        }),
        ("rosterd_directory_quarantined_entries", "Entries that cannot be used as they are", |d| {
            d.quarantined as i64
        }),
        (
            "rosterd_directory_attention",
            "Things that need attention, as rosterctl status lists them",
            |d| d.attention as i64,
        ),
        (
            "rosterd_directory_stale",
            "Whether the last complete read is older than stale-after",
            |d| d.stale.into(),
        ),
        ("rosterd_directory_paused", "Whether an operator has paused the directory's runs", |d| {
            d.paused.into()
        }),
        (
            "rosterd_directory_bind_refused",
            "Whether no bind is tried, because AD refused the service account",
            |d| d.bind_refused.into(),
        ),
        ("rosterd_directory_live", "Whether change notifications are followed", |d| d.live.into()),
    ];
    for (metric, help, count) in counts {
        gauges(registry, metric, help, directories.iter().map(|d| (name(d), count(d))));
    }
    let ages = directories.iter().map(|d| (name(d), Some(d.stale_after)));
    seconds(
        registry,
        "rosterd_directory_stale_after",
        "How old the last complete read may become",
        ages,
    );

    let instants: [(&str, &str, Instant); 4] = [
        ("rosterd_directory_last_attempt_timestamp", "When a run last began", |d| d.last_attempt),
        ("rosterd_directory_last_success_timestamp", "When a run last ended well", |d| {
            d.last_success
        }),
        (
            "rosterd_directory_last_complete_read_timestamp",
            "When a run last read everything",
            |d| d.last_complete_read,
        ),
        ("rosterd_directory_next_run_timestamp", "When the next scheduled run is due", |d| {
            d.next_run
        }),
    ];
    for (metric, help, instant) in instants {
        seconds(
            registry,
            metric,
            help,
            directories.iter().map(|d| (name(d), instant(d).map(epoch))),
        );
    }
}

fn of_accounts(registry: &mut Registry, accounts: &[AccountStanding]) {
    let series = |account: &AccountStanding, label, counts: &[(&'static str, u64)]| {
        counts
            .iter()
            .map(|(word, count)| {
                (labels([("account", &account.handle), (label, word)]), *count as i64)
            })
            .collect::<Vec<_>>()
    };
    gauges(
        registry,
        "rosterd_users",
        "Users of an account",
        accounts.iter().flat_map(|a| series(a, "status", &a.users)),
    );
    let claims = accounts.iter().flat_map(|a| series(a, "state", &a.claims));
    gauges(
        registry,
        "rosterd_domain_claims",
        "Email domains an account claims; lapsed is an alarm",
        claims,
    );
}

fn of_hooks(registry: &mut Registry, hooks: &[HookSeries]) {
    type Of = fn(&HookSeries) -> i64;
    type When = fn(&HookSeries) -> Option<Timestamp>;
    let name = |hook: &HookSeries| labels([("hook", &hook.name)]);
    let counts: [(&str, &str, Of); 3] = [
        ("rosterd_hook_pending_deliveries", "Deliveries of a hook that are not done", |h| {
            h.pending as i64
        }),
        (
            "rosterd_hook_dead_letters",
            "Deliveries of a hook that were given up, and not put back since",
            |h| h.failed as i64,
        ),
        (
            "rosterd_hook_disabled",
            "Whether a hook is told nothing, because its address answered 410 Gone",
            |h| h.disabled.into(),
        ),
    ];
    for (metric, help, count) in counts {
        gauges(registry, metric, help, hooks.iter().map(|h| (name(h), count(h))));
    }
    let instants: [(&str, &str, When); 2] = [
        (
            "rosterd_hook_oldest_pending_timestamp",
            "Since when the oldest delivery that is not done waits",
            |h| h.oldest,
        ),
        ("rosterd_hook_last_delivery_timestamp", "When something was last delivered", |h| {
            h.delivered_at
        }),
    ];
    for (metric, help, instant) in instants {
        seconds(registry, metric, help, hooks.iter().map(|h| (name(h), instant(h).map(epoch))));
    }
}

fn counted(registry: &mut Registry, counters: &Counters) {
    let Counters {
        runs,
        seconds,
        entries,
        applied,
        dropped,
        refusals,
        requests,
        sign_ins,
        refused_users,
        deliveries,
    } = counters.clone();
    registry.register(
        "rosterd_runs",
        "Runs that ended; those of no directory are operators' writes",
        runs,
    );
    registry.register_with_unit(
        "rosterd_run_duration",
        "How long runs took",
        Unit::Seconds,
        seconds,
    );
    registry.register("rosterd_entries_read", "Directory entries read", entries);
    registry.register("rosterd_changes_applied", "Changes of users that were applied", applied);
    registry.register(
        "rosterd_changes_dropped",
        "Changes not applied because something newer had happened to the user",
        dropped,
    );
    registry.register(
        "rosterd_bind_refusals",
        "Binds of the service account that AD refused, by its sub-code",
        refusals,
    );
    registry.register(
        "rosterd_hook_deliveries",
        "Attempts to tell a hook something, by what came of them",
        deliveries,
    );
    registry.register(
        "rosterd_control_requests",
        "Requests answered on the control socket",
        requests,
    );
    registry.register("rosterd_sign_ins", "Sign-in decisions", sign_ins);
    let text = "Users whose sign-in was refused, each counted once in five minutes";
    registry.register("rosterd_sign_in_refused_users", text, refused_users);
}

type Series = (Labels, i64);

fn family(series: impl IntoIterator<Item = Series>) -> Family<Labels, Gauge> {
    let family = Family::<Labels, Gauge>::default();
    for (labels, value) in series {
        family.get_or_create(&labels).set(value);
    }
    family
}

fn gauges(
    registry: &mut Registry,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = Series>,
) {
    registry.register(name, help, family(series));
}

fn gauges_in(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
    series: impl IntoIterator<Item = Series>,
) {
    registry.register_with_unit(name, help, unit, family(series));
}

/// Ages and instants; what never was has no series.
fn seconds(
    registry: &mut Registry,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels, Option<f64>)>,
) {
    let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (labels, value) in series {
        if let Some(value) = value {
            family.get_or_create(&labels).set(value);
        }
    }
    registry.register_with_unit(name, help, Unit::Seconds, family);
}

/// Seconds since 1970.
fn epoch(at: Timestamp) -> f64 {
    at.0 as f64 / 1e6
}
