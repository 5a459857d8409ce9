//! Settings of the control socket.

use std::path::PathBuf;

/// Path of the control socket, and the groups of the roles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Path of the socket. Its directory must exist.
    pub socket: PathBuf,
    /// Unix group of operators, who read, change and export. Root always may.
    pub operators: String,
    /// Unix group of viewers, who read.
    pub viewers: String,
    /// Unix group of authenticators, who request sign-in decisions.
    pub authenticators: String,
    /// Whether the daemon's own user has every role, for a trial in the foreground.
    pub own_user_operates: bool,
}
