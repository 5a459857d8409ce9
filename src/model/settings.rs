//! Settings that the configuration shares with the parts that follow them.

use std::net::SocketAddr;
use std::time::Duration;

use super::words::words;

/// Whether the runs of a directory apply their plans.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    #[default]
    Apply,
    /// An operator approves each plan.
    PlanOnly,
}

words! {
    /// The servers whose changes are followed beside those of the server in use.
    #[derive(Default)]
    pub enum FollowedServers {
        One = "one",
        /// One of each further AD site.
        #[default]
        Sites = "sites",
        All = "all",
    }
}

/// Time limits of a directory; all are more than zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// Limit of the TCP and TLS handshakes together.
    pub connect: Duration,
    /// Limit of the wait for the next answer to any operation.
    pub operation: Duration,
    /// Limit of a whole run.
    pub run: Duration,
}

/// The server that answers DNS questions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Resolver {
    /// The resolver of `/etc/resolv.conf`.
    #[default]
    System,
    At(SocketAddr),
}

/// Time after which data is removed; `None` is never.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// Time from a suspension as deleted or vanished until the user's addresses become free.
    pub release_address_after: Option<Duration>,
    /// Time from a suspension until the user is removed with all personal data.
    pub remove_after: Option<Duration>,
    /// Age at which events, and the changes of runs, are removed.
    pub events: Option<Duration>,
}
