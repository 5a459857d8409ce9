//! The servers of a directory: those that are configured, or those that DNS names within the configured domains.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use crate::directory::Settings;
use crate::dns::Answer;
use crate::engine::{Directory, DirectoryConfig, Engine, EngineError};
use crate::model::{Discovery, Resolver, Timestamp};

/// A warning about the same names is repeated this much later.
const WARNED_AGAIN: Duration = Duration::from_hours(24);

/// Names of left-out targets in one message: whoever answers for DNS chooses how many there are.
const NAMES_SHOWN: usize = 10;

/// A directory's settings with its servers, and the targets that DNS named outside the configured domains.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) settings: Settings,
    /// The targets that were left out. Nothing is sent to them, not even a query for their addresses.
    pub(super) outside: BTreeSet<String>,
}

/// The left-out targets that the log has named, and when.
#[derive(Debug, Default)]
pub(super) struct Warned {
    names: BTreeSet<String>,
    at: Option<Timestamp>,
}

impl Warned {
    /// Returns whether these names are to be logged now: they are others than before, or a day has passed.
    fn is_due(&mut self, names: &BTreeSet<String>, now: Timestamp) -> bool {
        let is_old = self.at.is_none_or(|at| now.distance(at) >= WARNED_AGAIN);
        let is_due = !names.is_empty() && (self.names != *names || is_old);
        if is_due || names.is_empty() {
            *self = Self { names: names.clone(), at: is_due.then_some(now) };
        }
        is_due
    }
}

impl Engine {
    /// Returns the settings of a directory with the servers it has now, and logs the targets that were left out.
    pub(super) async fn locate(&self, directory: &Directory) -> Result<Settings, EngineError> {
        let located = locate(&directory.config, self.configured().rules.resolver).await;
        let Located { settings, outside } = located?;
        let is_due = directory
            .work
            .outside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_due(&outside, self.clock.now());
        if let (true, Some(discovery)) = (is_due, &directory.config.discover) {
            let name = &directory.config.name;
            tracing::warn!(directory = %name, "{name}: {}: {}", left_out(discovery, &outside), remedy());
        }
        Ok(settings)
    }
}

/// Returns the sentence about targets that were left out.
pub(super) fn left_out(discovery: &Discovery, outside: &BTreeSet<String>) -> String {
    format!(
        "DNS names servers outside {}, which are not used: {}",
        discovery.allowed(),
        listed(outside)
    )
}

/// Returns what to do about targets that were left out.
pub(super) fn remedy() -> &'static str {
    "if they are yours, add their domain to discover-suffixes; if not, find out who answers this machine's DNS queries"
}

fn listed(names: &BTreeSet<String>) -> String {
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let mut text =
        names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text = format!("{text} and {more} more");
    }
    text
}

/// Returns the settings of a directory, with the servers that DNS names where none are configured.
pub(super) async fn locate(
    config: &DirectoryConfig,
    resolver: Resolver,
) -> Result<Located, EngineError> {
    let mut settings = config.settings.clone();
    let mut outside = BTreeSet::new();
    let Some(discovery) = &config.discover else { return Ok(Located { settings, outside }) };
    let domain = &discovery.domain;
    let refused = |why: String| Err(EngineError::Refused(why));
    if settings.ca_file.is_none() {
        return refused(format!(
            "the servers of {domain} are not looked up without ca-file: DNS alone does not say who a server is"
        ));
    }
    let found = match resolver.ldap_servers(domain.as_str(), discovery.site.as_deref()).await {
        Answer::Records(found) if !found.is_empty() => found,
        Answer::Records(_) | Answer::NxDomain | Answer::NoData { .. } => {
            return refused(format!("DNS knows no domain controllers of {domain}"));
        }
        Answer::Failed(why) => {
            return refused(format!(
                "the domain controllers of {domain} cannot be looked up: {why}"
            ));
        }
    };
    for found in found {
        // The root as a target says that the service is not offered there (RFC 2782).
        if found.target.is_empty() {
            continue;
        }
        let Some(mut server) = discovery.server(&found.target, Vec::new()) else {
            outside.insert(found.target);
            continue;
        };
        // A resolver that is configured knows where they are; the system's may not.
        if let Resolver::At(_) = resolver {
            server.addresses = resolver.addresses(&server.host).await;
        }
        if !settings.servers.iter().any(|known| known.host.eq_ignore_ascii_case(&server.host)) {
            settings.servers.push(server);
        }
    }
    if settings.servers.is_empty() {
        let problem = if outside.is_empty() {
            format!("DNS says that {domain} has no domain controllers")
        } else {
            format!(
                "no server of {domain} can be used: {}: {}",
                left_out(discovery, &outside),
                remedy()
            )
        };
        return refused(problem);
    }
    Ok(Located { settings, outside })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_out_servers_are_logged_when_they_change_and_once_a_day() {
        let mut warned = Warned::default();
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        let now = Timestamp(1_000_000_000_000);
        assert!(!warned.is_due(&names(&[]), now));
        assert!(warned.is_due(&names(&["dc.evil.net"]), now));
        assert!(!warned.is_due(&names(&["dc.evil.net"]), now.plus(Duration::from_hours(1))));
        assert!(
            warned.is_due(
                &names(&["dc.evil.net", "dc2.evil.net"]),
                now.plus(Duration::from_hours(1))
            )
        );
        assert!(
            warned.is_due(
                &names(&["dc.evil.net", "dc2.evil.net"]),
                now.plus(Duration::from_hours(26))
            )
        );
        assert!(!warned.is_due(&names(&[]), now.plus(Duration::from_hours(26))));
        assert!(
            warned.is_due(&names(&["dc2.evil.net"]), now.plus(Duration::from_hours(26))),
            "the warning was over"
        );
    }
}
