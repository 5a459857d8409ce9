//! Settings of the control socket.

use std::path::PathBuf;

/// Path of the control socket, and the groups behind the roles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Path of the socket; its directory must exist.
    pub socket: PathBuf,
    /// The Unix group of operators: they change things and read. Root always may.
    pub operators: String,
    /// The Unix group of viewers: they read.
    pub viewers: String,
    /// The Unix group of authenticators: they ask for sign-in decisions.
    pub authenticators: String,
    /// Whether the daemon's own user has every role: for a trial in the foreground.
    pub own_user_operates: bool,
}
