//! The values of all gauges at one moment, as the metrics page takes them.

use crate::model::Timestamp;

/// The values of all gauges at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub started_at: Timestamp,
    /// Whether the last write of the store succeeded.
    pub writable: bool,
    /// Whether this rosterd leads; `None` where the store is a file.
    pub leads: Option<bool>,
    /// `None` when the store does not answer.
    pub store: Option<StoreSnapshot>,
}

#[derive(Clone, Debug, Default)]
pub struct StoreSnapshot {
    /// Size of the files; `None` on a database server.
    pub bytes: Option<u64>,
    /// Events ever recorded.
    pub events: u64,
    /// Findings about the store that need attention.
    pub attention: u64,
    /// Findings about the nodes; `None` where the store is a file.
    pub cluster_attention: Option<u64>,
    pub directories: Vec<DirectorySeries>,
    pub accounts: Vec<AccountSeries>,
    pub hooks: Vec<HookSeries>,
    pub targets: Vec<TargetSeries>,
}

/// One target. An unknown value has no series.
#[derive(Clone, Debug, Default)]
pub struct TargetSeries {
    pub name: String,
    pub state: &'static str,
    /// Accounts by state: active, inactive, unmanaged, left.
    pub accounts: Vec<(&'static str, u64)>,
    pub pending: u64,
    pub quarantined: u64,
    /// Steps that wait for approval.
    pub held: u64,
    pub oldest_deactivation: Option<Timestamp>,
    pub last_complete_run: Option<Timestamp>,
    pub token_expires: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
pub struct HookSeries {
    pub name: String,
    pub pending: u64,
    /// Number of dead letters.
    pub failed: u64,
    /// Time of the oldest pending delivery.
    pub oldest: Option<Timestamp>,
    pub delivered_at: Option<Timestamp>,
    /// Whether deliveries ended because the server answered 410 Gone.
    pub disabled: bool,
}

#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a gauge of 0 and 1")]
pub struct DirectorySeries {
    pub name: String,
    pub account: String,
    pub state: &'static str,
    pub servers: Vec<ServerSeries>,
    /// Whether change notifications are received.
    pub live: bool,
    pub paused: bool,
    /// Whether the last complete read is older than `stale_after`.
    pub stale: bool,
    /// Whether binds are suspended because AD refused the service account.
    pub bind_refused: bool,
    /// Age in seconds.
    pub stale_after: f64,
    /// Start of the last run.
    pub last_attempt: Option<Timestamp>,
    /// End of the last successful run.
    pub last_success: Option<Timestamp>,
    /// Time of the last complete read.
    pub last_complete_read: Option<Timestamp>,
    pub next_run: Option<Timestamp>,
    /// Managed users by status.
    pub users: Vec<(&'static str, u64)>,
    /// Changes that wait for approval.
    pub held: u64,
    /// Time at which the first of them was held.
    pub held_since: Option<Timestamp>,
    /// End of an approval that is not applied yet.
    pub approval_expires: Option<Timestamp>,
    /// Active users whose account has expired.
    pub overdue_expiries: u64,
    pub quarantined: u64,
    /// Findings that need attention.
    pub attention: u64,
}

/// One server of a directory. An unknown value has no series.
#[derive(Clone, Debug, Default)]
pub struct ServerSeries {
    pub url: String,
    pub in_use: bool,
    /// Whether its changes are followed beside those of the server in use.
    pub followed: bool,
    pub reachable: Option<bool>,
    pub certificate_until: Option<Timestamp>,
    pub writable: Option<bool>,
}

#[derive(Clone, Debug, Default)]
pub struct AccountSeries {
    pub handle: String,
    /// Users by status.
    pub users: Vec<(&'static str, u64)>,
    /// Domain claims by state.
    pub claims: Vec<(&'static str, u64)>,
}

/// All states of each kind of object.
#[derive(Clone, Copy, Debug)]
pub struct States<'a> {
    pub directories: &'a [&'static str],
    pub targets: &'a [&'static str],
}
