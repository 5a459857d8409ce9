//! What the adapter is told: filled in by the daemon, already checked by the configuration.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::GroupName;
use crate::model::{Domain, Tier};
use crate::reconcile::Filter;

/// One domain controller: `ldaps://host[:port]` or `ldap://host[:port]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerUrl {
    /// The host asked for, against which the certificate is checked.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS comes first (`ldaps`), or is asked for (StartTLS).
    pub implicit_tls: bool,
    /// Where it is, if whoever found it knows; else its name is looked up.
    pub addresses: Vec<IpAddr>,
    /// The reason why the host's name is believed.
    pub source: NameSource,
}

/// The reason why a server's name is believed. A certificate proves the name; it does not prove that the name is the right one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameSource {
    /// An administrator wrote the name into the configuration.
    Configured,
    /// DNS named it, and it lies in this domain, which the configuration lists.
    Discovered(Domain),
}

impl ServerUrl {
    /// The server of this URL.
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

/// How long to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For TCP and TLS together.
    pub connect: Duration,
    /// For the next answer to any operation.
    pub operation: Duration,
    /// For a whole run.
    pub run: Duration,
}

/// The attributes that hold what rosterd wants to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttributeNames {
    /// The primary address.
    pub email: String,
    /// Name to show.
    pub display_name: String,
    /// First name.
    pub given_name: String,
    /// Family name.
    pub surname: String,
    /// Job title.
    pub title: String,
    /// Department.
    pub department: String,
    /// Telephone number.
    pub phone: String,
    /// Number in the personnel system.
    pub employee_id: String,
    /// The manager's DN.
    pub manager: String,
}

impl AttributeNames {
    /// All of them, in an order that stays.
    pub fn all(&self) -> [&str; 9] {
        let Self {
            email,
            display_name,
            given_name,
            surname,
            title,
            department,
            phone,
            employee_id,
            manager,
        } = self;
        [email, display_name, given_name, surname, title, department, phone, employee_id, manager]
    }
}

impl Default for AttributeNames {
    fn default() -> Self {
        Self {
            email: "mail".into(),
            display_name: "displayName".into(),
            given_name: "givenName".into(),
            surname: "sn".into(),
            title: "title".into(),
            department: "department".into(),
            phone: "telephoneNumber".into(),
            employee_id: "employeeID".into(),
            manager: "manager".into(),
        }
    }
}

/// One directory.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The servers, in order of preference; empty when they are discovered.
    pub servers: Vec<ServerUrl>,
    /// Whether `ldap://` servers are asked for TLS. Without it they are not used at all.
    pub starttls: bool,
    /// The CAs to trust; the system's when there is none.
    pub ca_file: Option<PathBuf>,
    /// Who we are: a DN or a UPN.
    pub bind_dn: String,
    /// Where the password is.
    pub password_file: PathBuf,
    /// The bases, as configured.
    pub bases: Vec<String>,
    /// Who is in scope.
    pub filter: Option<(String, Filter)>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Entries in a page.
    pub page_size: u32,
    /// The groups that give a tier.
    pub groups: Vec<(Tier, GroupName)>,
    /// The canaries, as configured; our own entry when there is none.
    pub canaries: Vec<String>,
    /// Which attributes hold what.
    pub attributes: AttributeNames,
}

impl Settings {
    /// The servers in the order they are tried: the preferred one before the others.
    pub(super) fn servers_from(&self, preferred: Option<&str>) -> Vec<&ServerUrl> {
        let mut urls: Vec<&ServerUrl> = self.servers.iter().collect();
        urls.sort_by_key(|url| Some(url.to_string().as_str()) != preferred);
        urls
    }

    /// The filter as it is sent: in the form of RFC 4515, whatever form it was written in.
    pub fn filter_text(&self) -> Option<String> {
        self.filter.as_ref().map(|(_, filter)| filter.to_string())
    }

    /// The attributes that the configuration names, by the step of a check and the key they come from.
    pub fn named_attributes(&self) -> [(&'static str, &'static str, Vec<String>); 2] {
        let filter = self
            .filter
            .iter()
            .flat_map(|(_, filter)| filter.attributes())
            .map(str::to_owned)
            .collect();
        let mapped = self.attributes.all().iter().map(|name| (*name).to_owned()).collect();
        [("filter", "filter", filter), ("attributes", "[directory.attributes]", mapped)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_with_a_scheme_and_never_the_global_catalog() {
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
