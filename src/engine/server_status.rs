//! The status of each server of a directory, and what needs attention about it.

use std::time::Duration;

use crate::directory::DirectoryError;
use crate::engine::{Attention, Directory, Engine, Following};
use crate::model::{ServerUrl, Timestamp};

/// A certificate that expires sooner needs attention.
const RENEW: Duration = Duration::from_hours(30 * 24);
/// Time after which a failing server needs attention, although another one serves.
const FAILING: Duration = Duration::from_mins(5);

/// The status of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    pub url: String,
    /// Whether runs use it.
    pub in_use: bool,
    /// Whether the last attempt succeeded; `None` before the first.
    pub reachable: Option<bool>,
    pub failing_since: Option<Timestamp>,
    /// The reason why it is not used.
    pub reason: Option<String>,
    pub certificate_until: Option<Timestamp>,
    /// Whether it holds a writable copy of the domain; `None` where it does not tell.
    pub writable: Option<bool>,
    /// The AD site of the server.
    pub site: Option<String>,
    /// Since when its changes are followed, although it is not the one in use.
    pub followed_since: Option<Timestamp>,
    /// The reason why they are not, although they should be, and since when.
    pub unfollowed: Option<(Timestamp, String)>,
}

impl Engine {
    /// Returns the status of each server, in order of preference, without a connection.
    pub(super) fn server_statuses(&self, directory: &Directory) -> Vec<ServerStatus> {
        let further = self.further_servers(directory);
        let status = |url| self.server_status(directory, url, further.contains(url));
        directory.known_servers().iter().map(status).collect()
    }

    fn server_status(
        &self,
        directory: &Directory,
        url: &ServerUrl,
        is_further: bool,
    ) -> ServerStatus {
        let servers = &directory.work.servers;
        let server = servers.server(url);
        let passed = self.clock.passed();
        let ago = |at: Duration| self.clock.now().minus(passed.saturating_sub(at));
        let resting = server.resting(passed).map(|(refusal, left)| {
            let (server, refusal) = (url.to_string(), refusal.clone());
            DirectoryError::Resting { server, refusal, left }.to_string()
        });
        let failure = server.failure.as_ref();
        let following = directory.work.others().get(&url.to_string()).cloned();
        let (followed_since, unfollowed) = match following.filter(|_| is_further) {
            Some((Following::Live, at)) => (Some(at), None),
            Some((Following::Inactive(Some(why)), at)) => (None, Some((at, why))),
            _ => (None, None),
        };
        ServerStatus {
            url: url.to_string(),
            in_use: servers.is_in_use(url),
            reachable: failure.map(|_| false).or(server.last_good.map(|_| true)),
            failing_since: failure.map(|failure| ago(failure.since)),
            reason: resting.or_else(|| failure.map(|failure| failure.reason.clone())),
            certificate_until: server.certificate_until,
            writable: server.greeting.is_writable,
            site: server.greeting.site,
            followed_since,
            unfollowed,
        }
    }

    /// Returns the sentences about servers that fail, refuse or have to renew their certificates.
    pub(super) fn server_attention(
        &self,
        directory: &Directory,
        servers: &[ServerStatus],
    ) -> Vec<Attention> {
        let now = self.clock.now();
        let is_discovered = directory.config.discover.is_some();
        let mut attention = Vec::new();
        for server in servers {
            let ServerStatus { url, failing_since, reason, certificate_until, unfollowed, .. } =
                server;
            // DNS names all domain controllers, so a read-only one among them is no mistake.
            if is_discovered && server.writable == Some(false) {
                continue;
            }
            let lasts = failing_since.is_none_or(|since| now.since(since) >= FAILING);
            if let Some(reason) = reason
                && lasts
            {
                let server = if reason.starts_with(url.as_str()) { "" } else { url };
                let colon = if server.is_empty() { "" } else { ": " };
                attention.push(format!("a server cannot be used: {server}{colon}{reason}"));
            }
            if let (Some((since, why)), None) = (unfollowed, reason)
                && now.since(*since) >= FAILING
            {
                attention.push(format!(
                    "changes of {url} are not followed, so leavers who are disabled there arrive by replication: {why}"
                ));
            }
            if let Some(until) = certificate_until
                && until.since(now) < RENEW
            {
                attention.push(format!(
                    "the certificate of {url} expires on {}: renew it on the server",
                    until.to_utc().format("%-d %B %Y")
                ));
            }
        }
        attention
    }
}
