//! The place of a store: a file of SQLite, or the servers of a PostgreSQL.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// The place of a store, as its URL names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreAt {
    /// An embedded database.
    File(PathBuf),
    Server(DatabaseServer),
}

/// A database on one of several servers. No value has a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseServer {
    pub user: String,
    /// In the order of the URL. The first one that takes writes is used.
    pub hosts: Vec<DatabaseHost>,
    pub database: String,
    pub password_file: Option<PathBuf>,
    /// The certificates that are trusted, in place of those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether a failover loses no commit, although PostgreSQL itself has no synchronous standby.
    pub durable_failover: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseHost {
    /// A name, an address without brackets, or the folder of a socket.
    pub name: String,
    pub port: u16,
}

impl DatabaseHost {
    /// Returns whether the traffic stays on this machine, and needs no TLS.
    pub fn is_here(&self) -> bool {
        self.name.starts_with('/')
            || self.name == "localhost"
            || self.name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// The port of PostgreSQL.
const PORT: u16 = 5432;

/// Parameters of other programs, with what to do here.
const PARAMETERS: [(&str, &str); 9] = [
    ("sslmode", "remove it: TLS with the name of the host is always used to another machine"),
    ("sslrootcert", "remove it, and write ca-file below [store]"),
    ("password", "remove it, and write password-file below [store]"),
    ("user", "write it before the host: postgres://USER@HOST/DATABASE"),
    ("dbname", "write it after the host: postgres://USER@HOST/DATABASE"),
    ("port", "write it after the host: postgres://USER@HOST:PORT/DATABASE"),
    ("connect_timeout", "remove it: rosterd has time limits of its own"),
    ("target_session_attrs", "remove it: rosterd uses the host that takes writes"),
    ("keepalives", "remove it: rosterd has time limits of its own"),
];

impl StoreAt {
    /// Parses a URL. The error quotes no part that may be a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        if let Some(rest) = url.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let path = path.split('?').next().unwrap_or_default();
            if path.starts_with('/') {
                return Ok(Self::File(path.into()));
            }
        }
        let postgres = url.strip_prefix("postgres://");
        match postgres.or_else(|| url.strip_prefix("postgresql://")) {
            Some(rest) if cfg!(feature = "postgres") => DatabaseServer::parse(rest).map(Self::Server),
            // The message does not quote the URL, which may contain a password.
            _ => Err("this is not a store: write sqlite:///var/lib/rosterd/rosterd.db, or postgres://USER@HOST/DATABASE".to_owned()),
        }
    }
}

impl fmt::Display for StoreAt {
    /// Writes the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "sqlite://{}", path.display()),
            Self::Server(DatabaseServer { user, hosts, database, .. }) => {
                let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
                let hosts = hosts.join(",");
                if hosts.starts_with('/') {
                    return write!(f, "postgres://{user}@/{database}?host={hosts}");
                }
                write!(f, "postgres://{user}@{hosts}/{database}")
            }
        }
    }
}

impl fmt::Display for DatabaseHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, port } = self;
        if name.contains(':') {
            write!(f, "[{name}]")?
        } else {
            write!(f, "{name}")?
        }
        if *port == PORT { Ok(()) } else { write!(f, ":{port}") }
    }
}

impl DatabaseServer {
    fn parse(rest: &str) -> Result<Self, String> {
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may have any character: nothing before the last @ is quoted.
        let (user, place) = place.rsplit_once('@').unwrap_or(("", place));
        if user.contains(':') {
            return Err("a password is never inline: take it out of the URL, and name a file that has it: password-file below [store], or --password-file of store copy".to_owned());
        }
        if user.is_empty() {
            return Err("the URL names no user: write postgres://USER@HOST/DATABASE".to_owned());
        }
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        if database.is_empty() || database.contains('/') {
            return Err("the URL names no database: write postgres://USER@HOST/DATABASE".to_owned());
        }
        let is_plain =
            |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !is_plain(user) || !is_plain(database) {
            return Err("the names of user and database have letters, digits, \".\", \"_\" and \"-\" only: rename them, or grant a role of such a name".to_owned());
        }
        let mut folder = None;
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if key == "host" && value.starts_with('/') {
                folder = Some(value.to_owned());
                continue;
            }
            let advice = PARAMETERS.iter().find(|(known, _)| key.starts_with(known));
            let advice = advice.map_or("remove it", |(_, advice)| advice);
            let name: String =
                key.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect();
            return Err(format!(
                "the URL has the parameter {name}, which rosterd does not know: {advice}"
            ));
        }
        let hosts = match folder {
            Some(name) if hosts.is_empty() => vec![DatabaseHost { name, port: PORT }],
            Some(_) => {
                return Err("the URL names a host and the folder of a socket: remove one of them"
                    .to_owned());
            }
            None => hosts.split(',').map(host).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            user: user.to_owned(),
            hosts,
            database: database.to_owned(),
            password_file: None,
            ca_file: None,
            durable_failover: false,
        })
    }
}

fn host(text: &str) -> Result<DatabaseHost, String> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let is_name = name.parse::<IpAddr>().is_ok()
        || !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !is_name {
        return Err(
            "the URL has a host without a name: write postgres://USER@HOST,HOST:PORT/DATABASE"
                .to_owned(),
        );
    }
    let port = match port {
        None => PORT,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => {
                return Err(format!(
                    "the port of {name} is not a number from 1 to 65535: correct it"
                ));
            }
        },
    };
    Ok(DatabaseHost { name: name.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_as_the_url_that_names_it() {
        for url in [
            "sqlite:///var/lib/rosterd.db",
            "postgres://r@db1,db2.example.com:5433/rosterd",
            "postgres://r@[2001:db8::1],[2001:db8::2]:1/rosterd",
            "postgres://r@/rosterd?host=/run/postgresql",
        ] {
            assert_eq!(StoreAt::parse(url).map(|at| at.to_string()), Ok(url.to_owned()));
        }
    }

    #[test]
    fn a_url_of_a_server_is_hosts_or_an_advice_without_the_password() {
        for (url, expected) in [
            ("sqlite:///var/lib/rosterd.db", "/var/lib/rosterd.db"),
            ("postgres://r@db1,db2.example.com:5433/rosterd", "db1:5432 db2.example.com:5433"),
            ("postgresql://r@[2001:db8::1]:1/rosterd", "2001:db8::1:1"),
            ("postgres://r@/rosterd?host=/run/postgresql", "/run/postgresql:5432"),
            ("postgres://r:hunter2@db/rosterd", "a password is never inline"),
            ("postgres://r:hun/t@er2@db/rosterd", "a password is never inline"),
            ("postgres://r:hunter2@db?x=hunter2", "a password is never inline"),
            ("postgres://r@db/rosterd?password=hunter2", "write password-file below [store]"),
            ("postgres://r@db/rosterd?connect_timeout=3", "connect_timeout, which rosterd"),
            ("postgres://r@db/rosterd?target_session_attrs=any", "the host that takes writes"),
            ("postgres://r@db/rosterd?keepalives_idle=3", "rosterd has time limits of its own"),
            ("postgres://r@db/rosterd?sslmode=disable", "is always used to another machine"),
            ("postgres://r@db/rosterd?hunter2", "which rosterd does not know"),
            ("postgres://r@db:70000/rosterd", "the port of db is not a number from 1 to 65535"),
            ("postgres://r@,db/rosterd", "a host without a name"),
            ("postgres://db/rosterd", "the URL names no user"),
            ("postgres://r@db", "the URL names no database"),
            ("mysql://root:hunter2@db", "this is not a store"),
        ] {
            let shown = match StoreAt::parse(url) {
                Ok(StoreAt::File(path)) => path.display().to_string(),
                Ok(StoreAt::Server(server)) => server
                    .hosts
                    .iter()
                    .map(|host| format!("{}:{}", host.name, host.port))
                    .collect::<Vec<_>>()
                    .join(" "),
                Err(error) => error,
            };
            assert!(shown.contains(expected), "{url}: {shown}");
            // The name of an unknown parameter is quoted, and no value is.
            assert!(url.ends_with("?hunter2") || !shown.contains("hunter2"), "{url}: {shown}");
        }
    }
}
