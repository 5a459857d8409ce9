//! The servers of a directory: the configured ones, or those that DNS names within the allowed
//! domains.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use crate::directory::Settings;
use crate::dns::Answer;
use crate::engine::{Directory, DirectoryConfig, Engine, EngineError};
use crate::model::{Discovery, Resolver, ServerUrl};
use crate::store::FoundServers;

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
    /// Returns the settings of a directory with its present servers. DNS is asked where no answer is
    /// kept, or the last question is too long ago.
    pub(super) async fn locate(&self, directory: &Directory) -> Result<Settings, EngineError> {
        let config = &directory.config;
        let Some(discovery) = &config.discover else { return Ok(config.settings.clone()) };
        let recent = directory.work.dns().recent(&discovery.domain, self.clock.passed());
        match recent {
            Some(servers) => Ok(Settings { servers, ..config.settings.clone() }),
            None => self.ask_dns(directory, discovery).await,
        }
    }

    /// Asks DNS for the servers of a directory, and logs the left-out targets. Where DNS does not
    /// answer, its last answer is used.
    pub(super) async fn ask_dns(
        &self,
        directory: &Directory,
        discovery: &Discovery,
    ) -> Result<Settings, EngineError> {
        let config = &directory.config;
        let name = &config.name;
        let site = directory.work.servers.client_site();
        let located = locate(config, site, self.configured().rules.resolver).await;
        let now = self.clock.passed();
        let Located { settings, outside } = match located {
            Ok(located) => located,
            Err(NoServer::NoAnswer { domain, error }) => {
                let kept = directory.work.dns().fail(&discovery.domain, &error, now);
                let servers = match kept {
                    Some(servers) => servers,
                    None => self.stored_servers(directory, discovery).await?,
                };
                if servers.is_empty() {
                    return Err(NoServer::NoAnswer { domain, error }.into());
                }
                directory.work.dns().keep(&discovery.domain, servers.clone());
                return Ok(Settings { servers, ..config.settings.clone() });
            }
            Err(error) => return Err(error.into()),
        };
        directory.work.dns().succeed(&discovery.domain, &settings.servers, now);
        let found = FoundServers {
            domain: discovery.domain.to_string(),
            servers: settings
                .servers
                .iter()
                .map(|url| {
                    let last = directory.work.servers.server(url).address;
                    let last = url.addresses.is_empty().then_some(last).flatten();
                    (url.host.clone(), url.addresses.iter().copied().chain(last).collect())
                })
                .collect(),
        };
        // Nodes of several sites would replace each other's order.
        let is_known = self.store.directory(name).await?.found_servers.as_ref() == Some(&found);
        if self.leads() && !is_known {
            self.store.change_directory(name, |state| state.found_servers = Some(found)).await?;
        }
        let is_due = directory
            .work
            .outside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_due(&outside, self.clock.now());
        if is_due {
            tracing::warn!(directory = %name, "{name}: {}: {}", left_out(discovery, &outside), remedy());
        }
        Ok(settings)
    }

    /// Returns the servers that DNS named before the last restart.
    async fn stored_servers(
        &self,
        directory: &Directory,
        discovery: &Discovery,
    ) -> Result<Vec<ServerUrl>, EngineError> {
        let stored = self.store.directory(&directory.config.name).await?.found_servers;
        let stored = stored.filter(|found| found.domain == discovery.domain.as_str());
        let starttls = directory.config.settings.starttls;
        Ok(stored
            .into_iter()
            .flat_map(|found| found.servers)
            .filter_map(|(host, addresses)| {
                let server = discovery.server(&host, starttls)?;
                Some(ServerUrl { addresses, ..server })
            })
            .collect())
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

/// Returns the settings of a directory. Where no servers are configured, DNS names them, those of the
/// configured site first, or else of the site of this machine.
pub(super) async fn locate(
    config: &DirectoryConfig,
    client_site: Option<String>,
    resolver: Resolver,
) -> Result<Located, NoServer> {
    let mut settings = config.settings.clone();
    let mut outside = BTreeSet::new();
    let Some(discovery) = &config.discover else { return Ok(Located { settings, outside }) };
    let domain = &discovery.domain;
    if settings.ca_file.is_none() {
        return Err(NoServer::NoCaFile(domain.to_string()));
    }
    let site = discovery.site.clone().or(client_site);
    let found = match resolver.ldap_servers(domain.as_str(), site.as_deref()).await {
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
        let Some(mut server) = discovery.server(&found.target, settings.starttls) else {
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
