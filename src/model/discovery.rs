//! The domains within which DNS may name servers.
//!
//! DNS is not authenticated. A certificate only proves a name, and attackers own names, too
//! (RFC 4513, 3.1.3; RFC 6125, 6.2.1). Names outside the domains of the
//! configuration are therefore discarded before anything is sent to them.

use super::email::Domain;
use super::server_url::{NameSource, ServerUrl};

/// The ports of LDAP over TLS, and of LDAP with StartTLS. SRV records have the latter; the same
/// servers listen on both.
const LDAPS: u16 = 636;
const LDAP: u16 = 389;

/// An AD domain whose servers are looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discovery {
    pub domain: Domain,
    /// The AD site whose servers come first.
    pub site: Option<String>,
    /// Further domains that names of servers may lie in.
    pub suffixes: Vec<Domain>,
}

impl Discovery {
    /// Returns the domain that a server's name lies in, compared label by label.
    pub fn domain_of(&self, target: &str) -> Option<&Domain> {
        let name = host_name(target)?;
        std::iter::once(&self.domain).chain(&self.suffixes).find(|domain| {
            let (mut labels, mut suffix) = (name.rsplit('.'), domain.as_str().rsplit('.'));
            suffix
                .all(|wanted| labels.next().is_some_and(|label| label.eq_ignore_ascii_case(wanted)))
        })
    }

    /// Returns the server of an SRV target within the listed domains. The certificate is checked
    /// against the target itself, whatever it is an alias of.
    pub fn server(&self, target: &str, starttls: bool) -> Option<ServerUrl> {
        let domain = self.domain_of(target)?.clone();
        let host = host_name(target)?.to_owned();
        Some(ServerUrl {
            host,
            port: if starttls { LDAP } else { LDAPS },
            implicit_tls: !starttls,
            addresses: Vec::new(),
            source: NameSource::Discovered(domain),
        })
    }

    /// Returns the domains that names may lie in, for messages.
    pub fn allowed(&self) -> String {
        let all = std::iter::once(&self.domain).chain(&self.suffixes).map(Domain::as_str);
        all.collect::<Vec<_>>().join(", ")
    }
}

/// Returns a target as a host name without its trailing dot. A target with an escaped dot, a
/// wildcard or an empty label is no host name.
fn host_name(target: &str) -> Option<&str> {
    let name = target.strip_suffix('.').unwrap_or(target);
    let is_label = |label: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(is_plain)
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery() -> Discovery {
        let domain = |text| Domain::parse(text).expect("a domain");
        Discovery {
            domain: domain("corp.example.com"),
            site: None,
            suffixes: vec![domain("dc.example.net")],
        }
    }

    #[test]
    fn a_target_outside_the_listed_domains_is_no_server() {
        let discovery = discovery();
        for (target, domain) in [
            ("dc1.corp.example.com", "corp.example.com"),
            ("DC1.CORP.Example.COM.", "corp.example.com"),
            ("corp.example.com", "corp.example.com"),
            ("dc1.berlin.corp.example.com.", "corp.example.com"),
            ("dc_1.corp.example.com", "corp.example.com"),
            ("dc7.dc.example.net", "dc.example.net"),
        ] {
            assert_eq!(discovery.domain_of(target).map(Domain::as_str), Some(domain), "{target}");
        }
        let long = format!("{}.corp.example.com", "a".repeat(64));
        for target in [
            "evilcorp.example.com",
            "dc1.evil-corp.example.com",
            "dc1.corp.example.com.evil.net",
            "corp.example.com.evil.net.",
            "dc1.example.com",
            "example.com",
            "com",
            "evil.net",
            "dc1.example.net",
            "10.0.0.1",
            "::1",
            ".",
            "",
            "..",
            ".corp.example.com",
            "dc1..corp.example.com",
            "dc1.corp.example.com..",
            "*.corp.example.com",
            "evil\\.net.corp.example.com",
            "evil\\000.corp.example.com",
            "evil.net/.corp.example.com",
            "evil.net@dc1.corp.example.com",
            "dc1.corp.example.com:636",
            "dc1.corp.ex\u{e4}mple.com",
            "dc1.corp\u{3002}example.com",
            &long,
        ] {
            assert_eq!(discovery.domain_of(target), None, "{target}");
            assert_eq!(discovery.server(target, false), None, "{target}");
        }
    }

    #[test]
    fn the_certificate_is_checked_against_the_target_itself() {
        for (starttls, url) in
            [(false, "ldaps://DC1.corp.example.com"), (true, "ldap://DC1.corp.example.com")]
        {
            let server = discovery().server("DC1.corp.example.com.", starttls).expect("a server");
            assert_eq!(server.to_string(), url);
        }
    }
}
