//! DNS look-ups: the TXT record of a domain claim, and the SRV records of domain controllers.
//!
//! There is no cache, because a new record must be visible at the next look-up.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::model::Resolver;

/// Result of a look-up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer<T> {
    Records(Vec<T>),
    /// NXDOMAIN: the name does not exist (RFC 2308).
    NxDomain,
    /// NODATA: the name has no record of this type (RFC 2308).
    NoData {
        /// Target of a CNAME record.
        alias_of: Option<String>,
    },
    /// No answer: timeout, SERVFAIL or no resolver. The record may or may not exist.
    Failed(String),
}

/// One SRV record (RFC 2782).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Srv {
    /// Lower values are preferred.
    pub priority: u16,
    /// Among equal priorities, higher values are preferred.
    pub weight: u16,
    pub target: String,
    pub port: u16,
}

impl Resolver {
    fn client(self) -> Result<TokioResolver, String> {
        let provider = TokioRuntimeProvider::default();
        let builder = match self {
            Self::System => TokioResolver::builder(provider)
                .map_err(|e| format!("the system resolver is not configured: {e}"))?,
            Self::At(address) => {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                for connection in &mut server.connections {
                    connection.port = address.port();
                }
                TokioResolver::builder_with_config(
                    ResolverConfig::from_parts(None, Vec::new(), vec![server]),
                    provider,
                )
            }
        };
        let mut options = ResolverOpts::default();
        options.cache_size = 0;
        options.timeout = Duration::from_secs(3);
        options.attempts = 2;
        options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
        builder.with_options(options).build().map_err(|e| e.to_string())
    }

    async fn look_up(self, name: &str, kind: RecordType) -> Answer<RData> {
        let client = match self.client() {
            Ok(client) => client,
            Err(problem) => return Answer::Failed(problem),
        };
        // Absolute, so that no search domain is appended.
        let name = format!("{}.", name.trim_end_matches('.'));
        match client.lookup(name, kind).await {
            Ok(found) => Answer::Records(found.answers().iter().map(|r| r.data.clone()).collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if none.response_code == ResponseCode::NXDomain =>
            {
                Answer::NxDomain
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Answer::NoData { alias_of: None },
            Err(NetError::Dns(DnsError::ResponseCode(code))) => {
                Answer::Failed(format!("the name server answers {code}"))
            }
            Err(NetError::Timeout) => Answer::Failed("no name server answered in time".to_owned()),
            Err(error) => Answer::Failed(error.to_string()),
        }
    }

    /// Returns the target of a CNAME record.
    async fn alias(self, name: &str) -> Option<String> {
        let Answer::Records(found) = self.look_up(name, RecordType::CNAME).await else {
            return None;
        };
        found.into_iter().find_map(|data| match data {
            RData::CNAME(target) => Some(target.to_ascii().trim_end_matches('.').to_owned()),
            _ => None,
        })
    }

    /// Returns the TXT records of a name, with the strings of each joined. Follows CNAMEs.
    pub async fn txt(self, name: &str) -> Answer<String> {
        let text = |data| match data {
            RData::TXT(txt) => Some(
                txt.txt_data
                    .iter()
                    .map(|s| String::from_utf8_lossy(s).into_owned())
                    .collect::<String>(),
            ),
            _ => None,
        };
        match self.look_up(name, RecordType::TXT).await {
            Answer::Failed(reason) => Answer::Failed(reason),
            Answer::Records(found) => {
                let texts: Vec<String> = found.into_iter().filter_map(text).collect();
                if texts.is_empty() {
                    Answer::NoData { alias_of: self.alias(name).await }
                } else {
                    Answer::Records(texts)
                }
            }
            // The target of an alias may not exist.
            missing @ (Answer::NxDomain | Answer::NoData { .. }) => {
                match (self.alias(name).await, missing) {
                    (Some(target), _) => Answer::NoData { alias_of: Some(target) },
                    (None, Answer::NxDomain) => Answer::NxDomain,
                    (None, _) => Answer::NoData { alias_of: None },
                }
            }
        }
    }

    /// Returns the addresses of a host, IPv4 first; none after a failure.
    pub async fn addresses(self, host: &str) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            if let Answer::Records(records) = self.look_up(host, kind).await {
                found.extend(records.into_iter().filter_map(|data| match data {
                    RData::A(address) => Some(IpAddr::V4(address.0)),
                    RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                    _ => None,
                }));
            }
        }
        found
    }

    /// Returns the LDAP servers of an AD domain by priority and weight, those of the site first.
    pub async fn ldap_servers(self, domain: &str, site: Option<&str>) -> Answer<Srv> {
        let mut all = Vec::new();
        let names = site
            .map(|s| format!("_ldap._tcp.{s}._sites.dc._msdcs.{domain}"))
            .into_iter()
            .chain([format!("_ldap._tcp.dc._msdcs.{domain}"), format!("_ldap._tcp.{domain}")]);
        for name in names {
            match self.look_up(&name, RecordType::SRV).await {
                Answer::Failed(reason) if all.is_empty() => return Answer::Failed(reason),
                Answer::Failed(_) => break,
                Answer::NxDomain | Answer::NoData { .. } => {}
                Answer::Records(found) => {
                    let mut servers: Vec<Srv> = found
                        .into_iter()
                        .filter_map(|data| match data {
                            RData::SRV(srv) => {
                                let target = srv.target.to_ascii().trim_end_matches('.').to_owned();
                                Some(Srv {
                                    priority: srv.priority,
                                    weight: srv.weight,
                                    target,
                                    port: srv.port,
                                })
                            }
                            _ => None,
                        })
                        .collect();
                    servers.sort_by(|a, b| {
                        a.priority
                            .cmp(&b.priority)
                            .then(b.weight.cmp(&a.weight))
                            .then(a.target.cmp(&b.target))
                    });
                    for server in servers {
                        if !all.iter().any(|s: &Srv| s.target == server.target) {
                            all.push(server);
                        }
                    }
                }
            }
        }
        Answer::Records(all)
    }
}
