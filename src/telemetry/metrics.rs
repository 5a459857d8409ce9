//! The metrics page: every metric's name, unit and help text.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units in the name, `_total`
//! for counters, gauges of 0 and 1 for booleans. An unknown value, such as the end of the first
//! run, has no series.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::counters::{Counters, Labels, labels};
use super::process::Process;
use super::snapshot::{
    AccountSeries, DirectorySeries, HookSeries, ServerSeries, Snapshot, States, StoreSnapshot,
    TargetSeries,
};
use crate::model::Timestamp;

/// The exposition format of the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// The Prometheus text format, which names counters in full.
    #[default]
    Text,
}

impl Format {
    /// Returns the format for an `Accept` header: OpenMetrics only where it is asked for, because
    /// `promtool check metrics` and older scrapers read the text format.
    pub fn accepted_by(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// Returns the page.
pub fn page(
    counters: &Counters,
    snapshot: &Snapshot,
    states: &States<'_>,
    format: Format,
) -> String {
    let mut registry = Registry::default();
    let Snapshot { started_at, writable, leads, store } = snapshot;
    of_process(&mut registry, *started_at);
    gauges(
        &mut registry,
        "rosterd_store_up",
        "Whether the store answers",
        [(Vec::new(), store.is_some().into())],
    );
    gauges(
        &mut registry,
        "rosterd_store_writable",
        "Whether the last write of the store succeeded",
        [(Vec::new(), (*writable).into())],
    );
    if let Some(leads) = leads {
        gauges(
            &mut registry,
            "rosterd_cluster_leader",
            "Whether this rosterd leads the shared store; the sum over all nodes is 1",
            [(Vec::new(), (*leads).into())],
        );
    }
    if let Some(snapshot) = store {
        let StoreSnapshot {
            bytes,
            events,
            attention,
            cluster_attention,
            directories,
            accounts,
            hooks,
            targets,
        } = snapshot;
        gauges(
            &mut registry,
            "rosterd_store_attention",
            "Findings about the store that need attention, as rosterctl status lists them",
            [(Vec::new(), *attention as i64)],
        );
        gauges(
            &mut registry,
            "rosterd_cluster_attention",
            "Findings about the nodes of a shared store, as rosterctl leader show lists them",
            cluster_attention.map(|findings| (Vec::new(), findings as i64)),
        );
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
            "Events recorded in the log since it was created",
            ConstCounter::new(*events),
        );
        of_directories(&mut registry, directories, states.directories);
        of_servers(&mut registry, directories);
        of_accounts(&mut registry, accounts);
        of_hooks(&mut registry, hooks);
        of_targets(&mut registry, targets, states.targets);
        for directory in directories {
            counters.start_directory(&directory.name);
        }
        for hook in hooks {
            counters.start_hook(&hook.name);
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
    gauges(registry, "rosterd_build_info", "Version of rosterd; always 1", [(version, 1)]);
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

type Count = fn(&DirectorySeries) -> i64;
type Instant = fn(&DirectorySeries) -> Option<Timestamp>;

fn of_directories(
    registry: &mut Registry,
    directories: &[DirectorySeries],
    states: &[&'static str],
) {
    let name = |d: &DirectorySeries| labels([("directory", &d.name)]);
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
        "State of a directory: 1 for the current one, 0 for the others",
        is_in,
    );
    let users = directories.iter().flat_map(|d| {
        let series = |(status, count): &(&'static str, u64)| {
            (labels([("directory", &d.name), ("status", status)]), *count as i64)
        };
        d.users.iter().map(series).collect::<Vec<_>>()
    });
    gauges(registry, "rosterd_directory_users", "Managed users of a directory", users);

    let counts: [(&str, &str, Count); 8] = [
        ("rosterd_directory_held_changes", "Changes that wait for approval", |d| d.held as i64),
        ("rosterd_directory_quarantined_entries", "Entries in quarantine", |d| {
            d.quarantined as i64
        }),
        (
            "rosterd_directory_attention",
            "Findings that need attention, as rosterctl status lists them",
            |d| d.attention as i64,
        ),
        (
            "rosterd_directory_stale",
            "Whether the last complete read is older than stale-after",
            |d| d.stale.into(),
        ),
        (
            "rosterd_directory_paused",
            "Whether an operator has paused the runs of a directory",
            |d| d.paused.into(),
        ),
        (
            "rosterd_directory_bind_refused",
            "Whether binds are suspended because AD refused the service account",
            |d| d.bind_refused.into(),
        ),
        (
            "rosterd_directory_overdue_expiries",
            "Active users whose account in the directory expired more than five minutes ago",
            |d| d.overdue_expiries as i64,
        ),
        ("rosterd_directory_live", "Whether change notifications are received", |d| d.live.into()),
    ];
    for (metric, help, count) in counts {
        gauges(registry, metric, help, directories.iter().map(|d| (name(d), count(d))));
    }
    let ages = directories.iter().map(|d| (name(d), Some(d.stale_after)));
    seconds(
        registry,
        "rosterd_directory_stale_after",
        "Age of the last complete read at which a directory is stale",
        ages,
    );

    let instants: [(&str, &str, Instant); 6] = [
        ("rosterd_directory_last_attempt_timestamp", "Start of the last run", |d| d.last_attempt),
        ("rosterd_directory_last_success_timestamp", "End of the last successful run", |d| {
            d.last_success
        }),
        ("rosterd_directory_last_complete_read_timestamp", "Time of the last complete read", |d| {
            d.last_complete_read
        }),
        ("rosterd_directory_held_since_timestamp", "Time of the oldest held change", |d| {
            d.held_since
        }),
        (
            "rosterd_directory_approval_expiry_timestamp",
            "End of an approval whose changes are not applied yet",
            |d| d.approval_expires,
        ),
        ("rosterd_directory_next_run_timestamp", "Time of the next scheduled run", |d| d.next_run),
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

fn of_targets(registry: &mut Registry, targets: &[TargetSeries], states: &[&'static str]) {
    type Count = fn(&TargetSeries) -> u64;
    type Instant = fn(&TargetSeries) -> Option<Timestamp>;
    let name = |target: &TargetSeries| labels([("target", &target.name)]);
    let is_in = targets.iter().flat_map(|target| {
        let series = |state: &&'static str| {
            let is_it = i64::from(*state == target.state);
            (labels([("target", &target.name), ("state", state)]), is_it)
        };
        states.iter().map(series).collect::<Vec<_>>()
    });
    let help = "State of a target: 1 for the current one, 0 for the others";
    gauges(registry, "rosterd_target_state", help, is_in);
    let accounts = targets.iter().flat_map(|target| {
        let series = |(state, count): &(&'static str, u64)| {
            (labels([("target", &target.name), ("state", state)]), *count as i64)
        };
        target.accounts.iter().map(series).collect::<Vec<_>>()
    });
    gauges(registry, "rosterd_target_accounts", "Accounts at a target", accounts);
    let counts: [(&str, &str, Count); 3] = [
        ("rosterd_target_due", "Users with work that is due at a target", |t| t.pending),
        ("rosterd_target_quarantined", "Users that cannot be provisioned", |t| t.quarantined),
        ("rosterd_target_held_changes", "Steps that wait for approval", |t| t.held),
    ];
    for (metric, help, count) in counts {
        gauges(registry, metric, help, targets.iter().map(|t| (name(t), count(t) as i64)));
    }
    let instants: [(&str, &str, Instant); 3] = [
        (
            "rosterd_target_oldest_deactivation_timestamp",
            "Time of the oldest suspension that has not reached the target",
            |t| t.oldest_deactivation,
        ),
        (
            "rosterd_target_last_complete_run_timestamp",
            "End of the last full run of a target; before the first one, the start of rosterd",
            |t| t.last_complete_run,
        ),
        ("rosterd_target_token_expires_timestamp", "End of the validity of a token", |t| {
            t.token_expires
        }),
    ];
    for (metric, help, instant) in instants {
        let series = targets.iter().map(|t| (name(t), instant(t).map(epoch)));
        seconds(registry, metric, help, series);
    }
}

fn of_servers(registry: &mut Registry, directories: &[DirectorySeries]) {
    type Flag = fn(&ServerSeries) -> Option<bool>;
    let servers = || directories.iter().flat_map(|d| d.servers.iter().map(move |s| (d, s)));
    let name = |directory: &DirectorySeries, server: &ServerSeries| {
        labels([("directory", &directory.name), ("server", &server.url)])
    };
    let flags: [(&str, &str, Flag); 4] = [
        ("rosterd_server_in_use", "Whether runs use this server", |s| Some(s.in_use)),
        (
            "rosterd_server_followed",
            "Whether changes of a server are followed beside those of the server in use",
            |s| Some(s.followed),
        ),
        (
            "rosterd_server_reachable",
            "Whether the last attempt to connect to a server succeeded",
            |s| s.reachable,
        ),
        ("rosterd_server_writable", "Whether a server holds a writable copy of the domain", |s| {
            s.writable
        }),
    ];
    for (metric, help, flag) in flags {
        let series = servers().filter_map(|(d, s)| Some((name(d, s), flag(s)?.into())));
        gauges(registry, metric, help, series);
    }
    seconds(
        registry,
        "rosterd_server_certificate_expiry_timestamp",
        "End of the validity of a server's certificate",
        servers().map(|(d, s)| (name(d, s), s.certificate_until.map(epoch))),
    );
}

fn of_accounts(registry: &mut Registry, accounts: &[AccountSeries]) {
    let series = |account: &AccountSeries, label, counts: &[(&'static str, u64)]| {
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
    gauges(registry, "rosterd_domain_claims", "Domain claims of an account by state", claims);
}

fn of_hooks(registry: &mut Registry, hooks: &[HookSeries]) {
    type Of = fn(&HookSeries) -> i64;
    type When = fn(&HookSeries) -> Option<Timestamp>;
    let name = |hook: &HookSeries| labels([("hook", &hook.name)]);
    let counts: [(&str, &str, Of); 3] = [
        ("rosterd_hook_pending_deliveries", "Pending deliveries of a hook", |h| h.pending as i64),
        ("rosterd_hook_dead_letters", "Dead letters of a hook that were not redelivered", |h| {
            h.failed as i64
        }),
        (
            "rosterd_hook_disabled",
            "Whether a hook is disabled because its server answered 410 Gone",
            |h| h.disabled.into(),
        ),
    ];
    for (metric, help, count) in counts {
        gauges(registry, metric, help, hooks.iter().map(|h| (name(h), count(h))));
    }
    let instants: [(&str, &str, When); 2] = [
        ("rosterd_hook_oldest_pending_timestamp", "Time of the oldest pending delivery", |h| {
            h.oldest
        }),
        ("rosterd_hook_last_delivery_timestamp", "Time of the last delivery", |h| h.delivered_at),
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
        suspended,
        dropped,
        refusals,
        requests,
        sign_ins,
        refused_users,
        deliveries,
        target_requests,
        target_seconds,
        deactivation_seconds,
    } = counters.clone();
    registry.register(
        "rosterd_runs",
        "Runs that ended; runs without a directory are writes of operators",
        runs,
    );
    for (name, help, histogram) in [
        ("rosterd_run_duration", "Duration of runs", seconds),
        ("rosterd_target_request_duration", "Duration of requests to a target", target_seconds),
        (
            "rosterd_target_deactivation",
            "Time from a suspension until the account is verified as inactive",
            deactivation_seconds,
        ),
    ] {
        registry.register_with_unit(name, help, Unit::Seconds, histogram);
    }
    registry.register(
        "rosterd_target_requests",
        "Requests to a target, by operation and status of HTTP",
        target_requests,
    );
    registry.register("rosterd_entries_read", "Directory entries read", entries);
    registry.register(
        "rosterd_people_suspended",
        "People who lost their access, by cause; without a directory by an operator",
        suspended,
    );
    registry.register("rosterd_changes_applied", "Applied changes of users", applied);
    registry.register(
        "rosterd_changes_dropped",
        "Changes dropped because the user had changed since they were planned",
        dropped,
    );
    registry.register(
        "rosterd_bind_refusals",
        "Refused binds of the service account, by sub-code of AD",
        refusals,
    );
    registry.register(
        "rosterd_hook_deliveries",
        "Delivery attempts of a hook, by outcome",
        deliveries,
    );
    registry.register(
        "rosterd_control_requests",
        "Answered requests of the control socket",
        requests,
    );
    registry.register("rosterd_sign_ins", "Sign-in decisions", sign_ins);
    let text = "Users with a refused sign-in, each counted once in five minutes";
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

/// Registers ages and instants. `None` has no series.
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

/// Returns seconds since the Unix epoch.
fn epoch(at: Timestamp) -> f64 {
    at.0 as f64 / 1e6
}
