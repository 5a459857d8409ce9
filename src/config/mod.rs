//! The configuration: TOML files become a [`Config`] of typed values, or a list of all its
//! problems.
//!
//! A wrong value is recorded with its place and reads as absent ([`table`]). So an administrator
//! sees all problems at once. `rosterd check-config`, the start and a reload use this same code.
//!
//! Secrets are checked, but not kept. Reading a configuration opens no connection and changes
//! nothing.

mod credential;
mod directory;
mod files;
mod hooks;
mod mail;
mod problems;
mod programs;
mod safety;
mod table;
mod targets;
mod values;
mod warnings;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chrono_tz::Tz;

use crate::model::{Cron, DatabaseServer, Domain, Gate, Resolver, Retention, Sharing, StoreAt};
use crate::ownership::{self, Owners};
use crate::reconcile::Limits;
use crate::sources::{self, Source};
use table::{Reading, Table};

pub use directory::{Directory, Servers};
pub use hooks::{Hook, Receiver, Webhook};
pub use problems::{Place, Problem, Problems};
pub use programs::{NamedProgram, programs};
pub use targets::Target;

#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    pub store: StoreAt,
    /// The part of this rosterd in sharing a store on a server.
    pub cluster: Sharing,
    pub control: Control,
    pub resolver: Resolver,
    /// Domains whose claim needs no TXT record.
    pub trusted: BTreeSet<Domain>,
    /// The time zone of all schedules.
    pub timezone: Tz,
    pub sign_in: SignIn,
    pub retention: Retention,
    /// The file of the event log's keys, one a line.
    pub log_keys: Option<PathBuf>,
    /// The directories in the order of the file. Names are unique.
    pub directories: Vec<Directory>,
    /// The hooks in the order of the file, then the deliveries of `[mail]`. Names are unique.
    pub hooks: Vec<Hook>,
    /// The times of the digest that `[mail]` sends.
    pub digest: Option<Cron>,
    /// The gates in the order of the file, all of which are asked. Names are unique.
    pub gates: Vec<Gate>,
    /// The targets in the order of the file. Names are unique.
    pub targets: Vec<Target>,
    /// The address of the metrics, which the control socket serves as well.
    pub metrics_listen: Option<SocketAddr>,
}

/// The control socket and the Unix groups of its roles. Root has every role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// An absolute path.
    pub socket: PathBuf,
    pub operators: String,
    pub viewers: String,
    pub authenticators: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignIn {
    /// Sign-in attempts of one user in 15 minutes that AD may count as failures; at least 1.
    pub max_failures: u32,
}

impl Config {
    /// Reads a file and its parts in `conf.d`, which only root and the daemon's user may change. The
    /// unit's credentials are those that systemd passes (`$CREDENTIALS_DIRECTORY`).
    pub fn load(file: &Path) -> Result<Self, Problems> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let about = |file: PathBuf, message| Problem { file, place: None, message };
        let sources = sources::read(file).map_err(|(file, error)| {
            let message =
                format!("the configuration cannot be read ({error}): {}", files::remedy(&error));
            Problems::new(vec![about(file, message)])
        })?;
        let (config, mut problems, _) = read(&sources, credentials.as_deref());
        let files = sources.into_iter().map(|source| source.file);
        // Others could add a part to a folder that is theirs.
        let trusted = files.chain([file.with_file_name(sources::PARTS)]);
        problems.extend(trusted.filter_map(|file| {
            ownership::refusal(&file, &Owners::here()).map(|message| about(file, message))
        }));
        // A folder that is not safe is reported once.
        problems.dedup_by(|a, b| a.place.is_none() && a.message == b.message);
        Self::without_problems(config, problems)
    }

    /// Reads the texts of the files, and checks the files that they name.
    pub fn parse(sources: &[Source], credentials: Option<&Path>) -> Result<Self, Problems> {
        let (config, problems, _) = read(sources, credentials);
        Self::without_problems(config, problems)
    }

    fn without_problems(config: Option<Self>, problems: Vec<Problem>) -> Result<Self, Problems> {
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems::new(problems)),
        }
    }
}

/// Returns all keys, dotted and with tables, such as `directory.safety.gone.percent`.
pub fn keys() -> BTreeSet<String> {
    // Arrays of tables are read only if they have an element.
    let text = "[[directory]]\n[[hook]]\n[[gate]]\n[[target]]\n[[target.group]]\n";
    read(&[Source::main(Path::new(""), text)], None).2
}

fn read(
    sources: &[Source],
    credentials: Option<&Path>,
) -> (Option<Config>, Vec<Problem>, BTreeSet<String>) {
    let padded = table::padded(sources);
    let (reading, root) = match Reading::of(sources, &padded) {
        Ok(read) => read,
        Err(problems) => return (None, problems, BTreeSet::new()),
    };
    let config = read_root(Table::root(&reading, &root), credentials);
    let (problems, keys) = reading.finish();
    (config, problems, keys)
}

fn read_root(mut root: Table<'_>, credentials: Option<&Path>) -> Option<Config> {
    let store = read_store(root.table("store"), credentials);
    let cluster = read_cluster(root.table("cluster"));
    let control = read_control(root.table("control"));
    let resolver = read_dns(root.table("dns"));
    let trusted = read_domains(root.table("domains"));
    let timezone = read_schedule(root.table("schedule"));
    let safety = safety::read(root.table("safety"), &Limits::default());
    let sign_in = read_sign_in(root.table("sign-in"));
    let retention = read_retention(root.table("retention"));
    let log_keys = read_events(root.table("events"), credentials);
    let mut former = BTreeSet::new();
    let accounts = root.peek_tables("directory", "name", "account");
    let directories = named(&mut root, "directory", |table| {
        if let Some(name) = table.peek_text("rename-from")
            && !former.insert(name)
        {
            let message = "another directory has this rename-from: one name can go over to one directory; leave it out where a directory is split";
            table.problem_at("rename-from", message);
        }
        directory::read(table, credentials, timezone, &safety, &accounts)
    });
    let targets = named(&mut root, "target", |table| {
        targets::read(table, credentials, timezone, &safety, &accounts)
    });
    let (mail, digest) = mail::read(root.table("mail"), credentials, timezone);
    let has_mail = root.has("mail");
    let hooks = named(&mut root, "hook", |table| {
        if has_mail && table.peek_text("name") == Some(mail::NAME) {
            let message = "the section [mail] has this name: give the hook another one";
            table.problem_at("name", message);
        }
        hooks::read_hook(table, credentials)
    });
    let gates = named(&mut root, "gate", hooks::read_gate);
    let metrics_listen = read_metrics(root.table("metrics"));
    root.finish();
    Some(Config {
        store: store?,
        cluster,
        control,
        resolver,
        trusted,
        timezone,
        sign_in,
        retention,
        log_keys,
        directories: directories?,
        hooks: hooks?.into_iter().chain(mail).collect(),
        digest,
        gates: gates?,
        targets: targets?,
        metrics_listen,
    })
}

/// Reads the tables of an array, whose names must be unique.
fn named<'a, T>(
    root: &mut Table<'a>,
    key: &'static str,
    mut read: impl FnMut(Table<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut names = BTreeSet::new();
    let read_one = |table: Table<'a>| {
        if let Some(name) = table.peek_text("name")
            && !names.insert(name)
        {
            table.problem_at(
                "name",
                format!("there is another {key} \"{name}\": give this one another name"),
            );
        }
        read(table)
    };
    // Collect twice, so that every table is checked.
    root.tables(key).into_iter().map(read_one).collect::<Vec<_>>().into_iter().collect()
}

fn read_store(mut table: Table<'_>, credentials: Option<&Path>) -> Option<StoreAt> {
    let has_url = table.has("url");
    let at = table.text("url", |text| match StoreAt::parse(text)? {
        StoreAt::File(path) => files::folder_of(&path).map(|()| StoreAt::File(path)),
        server @ StoreAt::Server(_) => Ok(server),
    });
    let password = credential::read_password(&mut table, credentials);
    let ca = table.text("ca-file", |text| {
        values::path(text).and_then(|path| files::readable(&path).map(|()| path))
    });
    let durable = table.flag("durable-failover");
    let at = match at {
        Some(StoreAt::Server(server)) => Some(StoreAt::Server(DatabaseServer {
            password_file: password,
            ca_file: ca,
            durable_failover: durable.unwrap_or_default(),
            ..server
        })),
        at => {
            let durable = durable.filter(|durable| *durable).map(|_| "durable-failover");
            for key in
                ["password-file", "password-credential", "ca-file"].into_iter().chain(durable)
            {
                if table.has(key) && (at.is_some() || !has_url) {
                    let problem = format!(
                        "{key} belongs to a PostgreSQL: remove it, or write url = \"postgres://USER@HOST/DATABASE\""
                    );
                    table.problem_at(key, problem);
                }
            }
            at.or_else(|| (!has_url).then(|| StoreAt::File(DEFAULT_STORE.into())))
        }
    };
    table.finish();
    at
}

fn read_cluster(mut table: Table<'_>) -> Sharing {
    let node = table.text("node", values::node_name);
    let lease = table.text("lease", values::lease);
    let takeover = table.flag("takeover");
    table.finish();
    Sharing {
        node: node.unwrap_or_else(host_name),
        lease: lease.unwrap_or(Sharing::LEASE),
        takeover: takeover.unwrap_or(true),
    }
}

/// Returns the name of this machine.
fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "unknown".to_owned())
}

/// The file of the store where no URL is given.
const DEFAULT_STORE: &str = "/var/lib/rosterd/rosterd.db";

fn read_control(mut table: Table<'_>) -> Control {
    let socket = table.text("socket", |text| {
        values::path(text).and_then(|path| files::folder_of(&path).map(|()| path))
    });
    let mut group = |key, default: &str| {
        table.text(key, values::some_text).unwrap_or_else(|| default.to_owned())
    };
    let control = Control {
        socket: socket.unwrap_or_else(|| "/run/rosterd/control.sock".into()),
        operators: group("operators", "rosterd-operators"),
        viewers: group("viewers", "adm"),
        authenticators: group("authenticators", "rosterd-auth"),
    };
    table.finish();
    control
}

fn read_dns(mut table: Table<'_>) -> Resolver {
    let resolver = table.text("resolver", values::resolver);
    table.finish();
    resolver.unwrap_or(Resolver::System)
}

fn read_domains(mut table: Table<'_>) -> BTreeSet<Domain> {
    let trusted = table.texts("trusted", values::claimable);
    table.finish();
    trusted.unwrap_or_default().into_iter().collect()
}

fn read_schedule(mut table: Table<'_>) -> Tz {
    let timezone = table.text("timezone", values::timezone);
    table.finish();
    timezone.unwrap_or(Tz::UTC)
}

fn read_sign_in(mut table: Table<'_>) -> SignIn {
    // The lockout threshold of AD is at most 999.
    let max_failures = table.integer("max-failures", &(1..=999));
    table.finish();
    SignIn { max_failures: max_failures.unwrap_or(3) }
}

fn read_retention(mut table: Table<'_>) -> Retention {
    let mut after = |key| table.text(key, values::duration_or_off).flatten();
    let retention = Retention {
        release_address_after: after("release-address-after"),
        remove_after: after("remove-after"),
        events: after("events"),
    };
    table.finish();
    retention
}

fn read_events(mut table: Table<'_>, credentials: Option<&Path>) -> Option<PathBuf> {
    let file = table.text("key-file", |text| {
        values::path(text).and_then(|path| files::log_keys(&path).map(|()| path))
    });
    let credential = table.text("key-credential", |name| {
        let path = files::credential(name, "key", "key-file", credentials)?;
        files::log_keys(&path).map(|()| path)
    });
    if table.has("key-file") && table.has("key-credential") {
        table.problem_at(
            "key-credential",
            "there are both key-file and key-credential: remove one of them",
        );
    }
    table.finish();
    file.or(credential)
}

fn read_metrics(mut table: Table<'_>) -> Option<SocketAddr> {
    let listen = table.text("listen", values::listener);
    table.finish();
    listen
}
