//! DNS look-ups: the TXT record of a domain claim, and the SRV records of a domain's controllers.
//!
//! Nothing is cached: a record that was just added has to be seen at the next look.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::model::Resolver;

/// What a look-up found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer<T> {
    /// An answer: these records.
    Records(Vec<T>),
    /// An answer: there is no such name (NXDOMAIN).
    NoName,
    /// An answer: the name has no record of this type. It may be an alias (CNAME) of that one.
    NoRecord {
        /// What it is an alias of.
        alias_of: Option<String>,
    },
    /// No answer: a time-out, SERVFAIL, no resolver. Says nothing about the record.
    None(String),
}

/// One SRV record (RFC 2782).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Srv {
    /// Lower is asked first.
    pub priority: u16,
    /// Higher is asked first among equals.
    pub weight: u16,
    /// The host.
    pub target: String,
    /// The port.
    pub port: u16,
}

impl Resolver {
    fn client(self) -> Result<TokioResolver, String> {
        let provider = TokioRuntimeProvider::default();
        let builder = match self {
            Self::System => TokioResolver::builder(provider)
                .map_err(|e| format!("the system's resolver is not set up: {e}"))?,
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
            Err(problem) => return Answer::None(problem),
        };
        // Absolute, so that no search domain is tried.
        let name = format!("{}.", name.trim_end_matches('.'));
        match client.lookup(name, kind).await {
            Ok(found) => Answer::Records(found.answers().iter().map(|r| r.data.clone()).collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if none.response_code == ResponseCode::NXDomain =>
            {
                Answer::NoName
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Answer::NoRecord { alias_of: None },
            Err(NetError::Dns(DnsError::ResponseCode(code))) => {
                Answer::None(format!("the name server answers {code}"))
            }
            Err(NetError::Timeout) => Answer::None("no name server answered in time".to_owned()),
            Err(error) => Answer::None(error.to_string()),
        }
    }

    /// What a name is an alias of (CNAME).
    async fn alias(self, name: &str) -> Option<String> {
        let Answer::Records(found) = self.look_up(name, RecordType::CNAME).await else {
            return None;
        };
        found.into_iter().find_map(|data| match data {
            RData::CNAME(target) => Some(target.to_ascii().trim_end_matches('.').to_owned()),
            _ => None,
        })
    }

    /// The TXT records of a name, the strings of each joined. Follows CNAMEs.
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
            Answer::None(why) => Answer::None(why),
            Answer::Records(found) => {
                let texts: Vec<String> = found.into_iter().filter_map(text).collect();
                if texts.is_empty() {
                    Answer::NoRecord { alias_of: self.alias(name).await }
                } else {
                    Answer::Records(texts)
                }
            }
            // An alias may lead nowhere.
            nothing @ (Answer::NoName | Answer::NoRecord { .. }) => {
                match (self.alias(name).await, nothing) {
                    (Some(target), _) => Answer::NoRecord { alias_of: Some(target) },
                    (None, Answer::NoName) => Answer::NoName,
                    (None, _) => Answer::NoRecord { alias_of: None },
                }
            }
        }
    }

    /// The addresses of a host, IPv4 first; none where there is no answer.
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

    /// The LDAP servers of an AD domain, by priority and weight; those of a site first, if one is named.
    pub async fn ldap_servers(self, domain: &str, site: Option<&str>) -> Answer<Srv> {
        let mut all = Vec::new();
        let names = site
            .map(|s| format!("_ldap._tcp.{s}._sites.dc._msdcs.{domain}"))
            .into_iter()
            .chain([format!("_ldap._tcp.dc._msdcs.{domain}"), format!("_ldap._tcp.{domain}")]);
        for name in names {
            match self.look_up(&name, RecordType::SRV).await {
                Answer::None(why) if all.is_empty() => return Answer::None(why),
                Answer::None(_) => break,
                Answer::NoName | Answer::NoRecord { .. } => {}
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
