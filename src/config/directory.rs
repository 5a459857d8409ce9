//! `[[directory]]`: one AD domain, and the account it is connected to.

use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;

use super::table::Table;
use super::values::{
    ad_domain, address, attribute, base, directory_name, duration, handle, one_of, path, pattern,
    principal, some_text,
};
use super::{Checks, Safety, files, safety};
use crate::model::{Address, DirectoryName, Dn, Domain, Handle, Tier};

/// Whether a directory's runs apply what they plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// They do, within the limits.
    Apply,
    /// They only plan; an operator approves each plan.
    PlanOnly,
}

/// What happens to people in none of the configured groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WithoutGroup {
    /// They are suspended, and not provisioned in the first place.
    Suspend,
    /// They keep their tier; newcomers are basic.
    Keep,
    /// They are basic.
    Basic,
}

/// Which domain controllers are asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Servers {
    /// These URLs, in order of preference; at least one, none of them without TLS, none the global catalog.
    Listed(Vec<String>),
    /// Those that DNS names.
    Discovered {
        /// The AD domain.
        domain: Domain,
        /// The AD site to prefer.
        site: Option<String>,
        /// Further domains that the servers' names may lie in.
        suffixes: Vec<Domain>,
    },
}

/// How long to wait; all more than zero.
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
pub struct Attributes {
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

/// One directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory {
    /// Its name; no other directory has it.
    pub name: DirectoryName,
    /// The name that it had before.
    pub rename_from: Option<DirectoryName>,
    /// The account it is connected to, which need not exist yet.
    pub account: Handle,
    /// Whether plans are applied.
    pub mode: Mode,
    /// Where it is.
    pub servers: Servers,
    /// Whether `ldap://` servers are asked for TLS before anything else.
    pub starttls: bool,
    /// A PEM file of the CAs to trust; the system's when there is none.
    pub ca_file: Option<PathBuf>,
    /// Who we are: a DN or a UPN.
    pub bind_dn: String,
    /// The file that holds the password, to be read again at each bind; the systemd credential's when one is named.
    pub password_file: PathBuf,
    /// The bases people are read from: at least one, none within another.
    pub bases: Vec<Dn>,
    /// Who is in scope, an RFC 4515 filter; everybody when there is none.
    pub filter: Option<String>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Entries in a page.
    pub page_size: u32,
    /// When runs are due: a cron expression that fires.
    pub schedule: String,
    /// When full reads are due even though deltas work: a cron expression that fires.
    pub full: String,
    /// Whether AD's change notifications are acted on between scheduled runs.
    pub live: bool,
    /// Whether changes are followed at all; without it every scheduled run is a full one, and DirSync is never asked.
    pub incremental: bool,
    /// How old the last complete read may become before it is an alarm.
    pub stale_after: Duration,
    /// Groups whose members are pro: names or DNs.
    pub pro_groups: Vec<String>,
    /// Groups whose members are basic: names or DNs.
    pub basic_groups: Vec<String>,
    /// For people in none of the groups.
    pub without_group: WithoutGroup,
    /// Everybody's tier, when no groups are configured.
    pub default_tier: Tier,
    /// Patterns of the addresses nobody is provisioned for; `*` stands for any text.
    pub exclude: Vec<String>,
    /// People whose automatic suspension is always held.
    pub protect: Vec<Address>,
    /// Users that must be readable for a read to count, by DN or UPN; our own entry when there is none.
    pub canaries: Vec<String>,
    /// Which attributes hold what.
    pub attributes: Attributes,
    /// How much may happen unasked.
    pub safety: Safety,
}

/// Reads one; `None` when something it needs is wrong or missing, which has been noted.
pub(super) fn read(
    mut table: Table<'_>,
    checks: &Checks,
    zone: Tz,
    general: &Safety,
) -> Option<Directory> {
    table.require(&[
        ("name", "\"corp\""),
        ("account", "\"acme\", the handle of the account this directory is for"),
        ("bind-dn", "\"svc-rosterd@corp.example.com\""),
        ("base", "[\"DC=corp,DC=example,DC=com\"]"),
    ]);
    let name = table.text("name", directory_name);
    let rename_from = table.text("rename-from", directory_name);
    let account = table.text("account", handle);
    let mode = table.text("mode", one_of(&[("apply", Mode::Apply), ("plan-only", Mode::PlanOnly)]));
    let servers = read_servers(&mut table, checks);
    let starttls = table.flag("starttls");
    let ca_file = table.text("ca-file", |text| {
        path(text).and_then(|path| files::certificates(&path).map(|()| path))
    });
    let bind_dn = table.text("bind-dn", principal);
    let password_file = read_password(&mut table, checks);
    let bases = read_bases(&mut table);
    let filter = table.text("filter", |text| filter(text, checks));
    let timeouts = read_timeouts(table.table("timeouts"));
    let page_size = table.integer("page-size", &(1..=10_000)).and_then(|n| u32::try_from(n).ok());
    let schedule = table.text("schedule", |text| cron(text, checks, zone));
    let full = table.text("full", |text| cron(text, checks, zone));
    let live = table.flag("live");
    let incremental = table.flag("incremental");
    let stale_after = table.text("stale-after", duration);
    let pro_groups = table.texts("pro-groups", some_text);
    let basic_groups = table.texts("basic-groups", some_text);
    let without_group = table.text(
        "without-group",
        one_of(&[
            ("suspend", WithoutGroup::Suspend),
            ("keep", WithoutGroup::Keep),
            ("basic", WithoutGroup::Basic),
        ]),
    );
    let default_tier =
        table.text("default-tier", one_of(&[("pro", Tier::Pro), ("basic", Tier::Basic)]));
    let exclude = table.texts("exclude", pattern);
    let protect = table.texts("protect", address);
    let canaries = table.texts("canaries", principal);
    let attributes = read_attributes(table.table("attributes"));
    let safety = safety::read(table.table("safety"), general);
    table.finish();
    Some(Directory {
        name: name?,
        rename_from,
        account: account?,
        mode: mode.unwrap_or(Mode::Apply),
        servers: servers?,
        starttls: starttls.unwrap_or(false),
        ca_file,
        bind_dn: bind_dn?,
        password_file: password_file?,
        bases: bases?,
        filter,
        timeouts,
        page_size: page_size.unwrap_or(1000),
        schedule: schedule_or(schedule, "*/15 * * * *"),
        full: schedule_or(full, "30 2 * * *"),
        live: live.unwrap_or(true),
        incremental: incremental.unwrap_or(true),
        stale_after: stale_after.unwrap_or(Duration::from_hours(6)),
        pro_groups: pro_groups.unwrap_or_default(),
        basic_groups: basic_groups.unwrap_or_default(),
        without_group: without_group.unwrap_or(WithoutGroup::Suspend),
        default_tier: default_tier.unwrap_or(Tier::Pro),
        exclude: exclude.unwrap_or_default(),
        protect: protect.unwrap_or_default(),
        canaries: canaries.unwrap_or_default(),
        attributes,
        safety,
    })
}

fn read_servers(table: &mut Table<'_>, checks: &Checks) -> Option<Servers> {
    let starttls = table.peek_flag("starttls");
    let servers = table.texts("servers", |text| {
        (checks.server)(text)?;
        if text.starts_with("ldap://") && !starttls {
            return Err(format!(
                "a password is never sent without TLS: write {}, or starttls = true",
                text.replacen("ldap://", "ldaps://", 1)
            ));
        }
        Ok(text.to_owned())
    });
    let domain = table.text("discover", ad_domain);
    let site = table.text("site", some_text);
    let suffixes = table.texts("discover-suffixes", ad_domain);
    let (is_listed, is_discovered) = (table.has("servers"), table.has("discover"));
    if table.has("site") && !is_discovered {
        table.problem_at("site", "site only says which servers discover prefers: remove it, or write discover = \"corp.example.com\"");
    }
    if table.has("discover-suffixes") && !is_discovered {
        let problem = "discover-suffixes only says where servers that discover finds may lie: remove it, or write discover = \"corp.example.com\"";
        table.problem_at("discover-suffixes", problem);
    }
    if is_discovered && !is_listed && !table.has("ca-file") {
        // RFC 4513, 3.1.3: a name from DNS proves nothing by itself.
        let problem = "discover needs ca-file, since DNS alone does not say who a server is: write ca-file = \"/etc/rosterd/corp-ca.pem\", \
                       the certificate of the CA that issues the domain controllers' certificates, or list servers";
        table.problem_at("discover", problem);
    }
    match (is_listed, is_discovered) {
        (true, true) => {
            table.problem_at("discover", "there are both servers and discover: remove one of them")
        }
        (true, false) if servers.as_ref().is_some_and(Vec::is_empty) => {
            table.problem_at(
                "servers",
                "servers is empty: write [\"ldaps://dc1.corp.example.com\"], or discover = \"corp.example.com\" instead",
            );
        }
        (false, false) => table.missing(
            "servers",
            "[\"ldaps://dc1.corp.example.com\"], or discover = \"corp.example.com\"",
        ),
        _ => {}
    }
    servers.map(Servers::Listed).or(domain.map(|domain| Servers::Discovered {
        domain,
        site,
        suffixes: suffixes.unwrap_or_default(),
    }))
}

fn read_password(table: &mut Table<'_>, checks: &Checks) -> Option<PathBuf> {
    let file = table.text("password-file", |text| {
        path(text).and_then(|path| files::password(&path).map(|()| path))
    });
    let credential = table.text("password-credential", |name| {
        let path = files::credential(name, "password", checks)?;
        files::password(&path).map(|()| path)
    });
    match (table.has("password-file"), table.has("password-credential")) {
        (true, true) => table.problem_at(
            "password-credential",
            "there are both password-file and password-credential: remove one of them",
        ),
        (false, false) => table.missing(
            "password-file",
            "\"/etc/rosterd/corp.password\", a file that only rosterd can read",
        ),
        _ => {}
    }
    file.or(credential)
}

fn read_bases(table: &mut Table<'_>) -> Option<Vec<Dn>> {
    let mut bases: Vec<Dn> = Vec::new();
    let all = table.texts("base", |text| {
        let dn = base(text)?;
        if let Some(other) = bases.iter().find(|other| dn.is_within(other) || other.is_within(&dn))
        {
            return Err(format!(
                "the bases \"{}\" and \"{text}\" overlap: remove the inner one",
                other.as_str()
            ));
        }
        bases.push(dn.clone());
        Ok(dn)
    });
    if all.as_ref().is_some_and(Vec::is_empty) {
        table.problem_at("base", "base is empty: write the DN below which people are, [\"DC=corp,DC=example,DC=com\"] for example");
    }
    all
}

fn read_timeouts(mut table: Table<'_>) -> Timeouts {
    let timeouts = Timeouts {
        connect: table.text("connect", duration).unwrap_or(Duration::from_secs(5)),
        operation: table.text("operation", duration).unwrap_or(Duration::from_mins(1)),
        run: table.text("run", duration).unwrap_or(Duration::from_mins(30)),
    };
    table.finish();
    timeouts
}

fn read_attributes(mut table: Table<'_>) -> Attributes {
    let mut read =
        |key, default: &str| table.text(key, attribute).unwrap_or_else(|| default.to_owned());
    let attributes = Attributes {
        email: read("email", "mail"),
        display_name: read("display-name", "displayName"),
        given_name: read("given-name", "givenName"),
        surname: read("surname", "sn"),
        title: read("title", "title"),
        department: read("department", "department"),
        phone: read("phone", "telephoneNumber"),
        employee_id: read("employee-id", "employeeID"),
        manager: read("manager", "manager"),
    };
    table.finish();
    attributes
}

fn filter(text: &str, checks: &Checks) -> Result<String, String> {
    (checks.filter)(text).map(|()| text.to_owned())
}

fn cron(text: &str, checks: &Checks, zone: Tz) -> Result<String, String> {
    (checks.schedule)(text, zone).map(|()| text.to_owned())
}

fn schedule_or(schedule: Option<String>, default: &str) -> String {
    schedule.unwrap_or_else(|| default.to_owned())
}
