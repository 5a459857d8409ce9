//! The URL of a domain controller.

use std::fmt;
use std::net::IpAddr;

use super::email::Domain;

/// One domain controller: `ldaps://host[:port]` or `ldap://host[:port]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerUrl {
    /// The host, against which the certificate is checked.
    pub host: String,
    pub port: u16,
    /// Whether the connection begins with TLS (`ldaps`) instead of StartTLS.
    pub implicit_tls: bool,
    /// Addresses from the discovery. Without them the name is looked up.
    pub addresses: Vec<IpAddr>,
    pub source: NameSource,
}

/// The reason to trust a server's name. A certificate proves the name, but not that it is the right
/// one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameSource {
    /// The configuration lists the name.
    Configured,
    /// DNS returned the name, which lies in this domain of the configuration.
    Discovered(Domain),
}

impl ServerUrl {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (implicit_tls, rest, default) = match text.split_once("://") {
            Some(("ldaps", rest)) => (true, rest, 636),
            Some(("ldap", rest)) => (false, rest, 389),
            _ => return Err(format!("\"{text}\" is not a server: write ldaps://dc1.example.com")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => rest.split_once(':').map_or((rest, None), |(h, p)| (h, Some(p))),
        };
        let port = port.map_or(Ok(default), |p| {
            p.parse().map_err(|_| format!("\"{text}\" has no valid port"))
        })?;
        if host.is_empty() || host.contains(['/', '@', '?', ' ']) {
            return Err(format!("\"{text}\" is not a server: write ldaps://dc1.example.com"));
        }
        if matches!(port, 3268 | 3269) {
            return Err(format!(
                "\"{text}\" is the global catalog, which does not hold accountExpires and other attributes that rosterd decides by: use port 636"
            ));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            implicit_tls,
            addresses: Vec::new(),
            source: NameSource::Configured,
        })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default) = if self.implicit_tls { ("ldaps", 636) } else { ("ldap", 389) };
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default {
            write!(f, "{scheme}://{host}")
        } else {
            write!(f, "{scheme}://{host}:{}", self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_scheme_and_a_host_and_is_not_the_global_catalog() {
        for (text, shown) in [
            ("ldaps://dc1.corp", "ldaps://dc1.corp"),
            ("ldap://dc1:1389/", "ldap://dc1:1389"),
            ("ldaps://[::1]:636", "ldaps://[::1]"),
        ] {
            assert_eq!(ServerUrl::parse(text).map(|u| u.to_string()), Ok(shown.to_owned()));
        }
        for bad in [
            "dc1.corp",
            "http://dc1",
            "ldaps://",
            "ldaps://dc1:x",
            "ldaps://dc1:3269",
            "ldap://dc1:3268",
            "ldaps://me@dc1",
            "ldaps://dc1/dc=x",
        ] {
            assert!(ServerUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
