//! The servers of a directory: the configured ones, or those that DNS names within the allowed
//! domains.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use crate::directory::Settings;
use crate::dns::Answer;
use crate::engine::{Directory, DirectoryConfig, Engine, EngineError};
use crate::model::{Discovery, Resolver};

/// The reason why a directory has no server to connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoServer {
    #[error(
        "the servers of {0} are not looked up without ca-file, because DNS alone does not prove a server's identity"
    )]
    NoCaFile(String),
    #[error("DNS knows no domain controllers of {0}")]
    Unknown(String),
    #[error("the domain controllers of {domain} cannot be looked up: {error}")]
    NoAnswer { domain: String, error: String },
    /// The only target is the root (RFC 2782).
    #[error("DNS says that {0} has no domain controllers")]
    NotOffered(String),
    #[error("no server of {domain} can be used: {problem}: {}", remedy())]
    AllOutside { domain: String, problem: String },
}

/// Maximum number of names in one message, because the answer of DNS may have any number.
const NAMES_SHOWN: usize = 10;

/// The settings of a directory with its servers.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) settings: Settings,
    /// The targets outside the allowed domains. Nothing is sent to them, not even a query for their
    /// addresses.
    pub(super) outside: BTreeSet<String>,
}

impl Engine {
    /// Returns the settings of a directory with its present servers, and logs the left-out targets.
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

/// Returns the warning about left-out targets.
pub(super) fn left_out(discovery: &Discovery, outside: &BTreeSet<String>) -> String {
    format!(
        "DNS names servers outside {}, which are not used: {}",
        discovery.allowed(),
        listed(outside)
    )
}

/// Returns the remedy for left-out targets.
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

/// Returns the settings of a directory. Where no servers are configured, DNS names them.
pub(super) async fn locate(
    config: &DirectoryConfig,
    resolver: Resolver,
) -> Result<Located, NoServer> {
    let mut settings = config.settings.clone();
    let mut outside = BTreeSet::new();
    let Some(discovery) = &config.discover else { return Ok(Located { settings, outside }) };
    let domain = &discovery.domain;
    if settings.ca_file.is_none() {
        return Err(NoServer::NoCaFile(domain.to_string()));
    }
    let found = match resolver.ldap_servers(domain.as_str(), discovery.site.as_deref()).await {
        Answer::Records(found) if !found.is_empty() => found,
        Answer::Records(_) | Answer::NxDomain | Answer::NoData { .. } => {
            return Err(NoServer::Unknown(domain.to_string()));
        }
        Answer::Failed(error) => {
            return Err(NoServer::NoAnswer { domain: domain.to_string(), error });
        }
    };
    for found in found {
        // The root as a target means that the service is not offered (RFC 2782).
        if found.target.is_empty() {
            continue;
        }
        let Some(mut server) = discovery.server(&found.target, Vec::new()) else {
            outside.insert(found.target);
            continue;
        };
        // A configured resolver knows the addresses. The system's resolver may not.
        if let Resolver::At(_) = resolver {
            server.addresses = resolver.addresses(&server.host).await;
        }
        if !settings.servers.iter().any(|known| known.host.eq_ignore_ascii_case(&server.host)) {
            settings.servers.push(server);
        }
    }
    if settings.servers.is_empty() {
        let domain = domain.to_string();
        return Err(if outside.is_empty() {
            NoServer::NotOffered(domain)
        } else {
            NoServer::AllOutside { domain, problem: left_out(discovery, &outside) }
        });
    }
    Ok(Located { settings, outside })
}
