//! `[[directory]]`: one AD domain, and the account it is connected to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;

use super::table::Table;
use super::values::{
    ad_domain, address, attribute, base, cron, directory_name, duration, extra_attribute, filter,
    handle, one_of, path, pattern, principal, server, some_text,
};
use super::{credential, files, safety};
use crate::model::{
    Address, AttributeNames, Credential, Cron, DirectoryName, Discovery, Dn, Filter,
    FollowedServers, GroupName, Handle, Mode, Profile, QuietHours, ServerUrl, Tier, Timeouts,
};
use crate::reconcile::{Limits, Ou, OuRule, OuRules, TierRules, WithoutGroup};

/// The domain controllers of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Servers {
    /// Servers in the order of preference; at least one.
    Listed(Vec<ServerUrl>),
    /// Servers that DNS names.
    Discovered(Discovery),
}

/// A `[[directory]]` section.
#[derive(Clone, PartialEq, Debug)]
pub struct Directory {
    /// The name, which no other directory has.
    pub name: DirectoryName,
    /// The former name, under which its people are stored.
    pub rename_from: Option<DirectoryName>,
    /// The account of its users, which need not exist yet.
    pub account: Handle,
    pub mode: Mode,
    pub servers: Servers,
    /// Whether `ldap://` servers are asked for StartTLS before anything else.
    pub starttls: bool,
    /// A PEM file of trusted CAs; `None` is the system's trust store.
    pub ca_file: Option<PathBuf>,
    /// The credential of the service account, whose file is read again at each bind.
    pub credential: Credential,
    /// The bases below which people are read: at least one, none within another.
    pub bases: Vec<Dn>,
    /// The filter as it is written, which the scope hash covers, and parsed.
    pub filter: Option<(String, Filter)>,
    pub timeouts: Timeouts,
    /// Entries in one answer.
    pub page_size: u32,
    /// Times of runs.
    pub schedule: Cron,
    /// Times of full runs, which read all people even where changes can be followed.
    pub full: Cron,
    /// Whether AD's change notifications start runs.
    pub live: bool,
    /// The further servers whose change notifications start runs.
    pub watch: FollowedServers,
    /// Whether scheduled runs follow changes; without it every one is a full run.
    pub incremental: bool,
    /// Age of the last complete read at which the directory is stale.
    pub stale_after: Duration,
    /// Groups and the tiers of their members.
    pub groups: Vec<(Tier, GroupName)>,
    pub tiers: TierRules,
    /// Patterns of addresses that are never provisioned; `*` stands for any text.
    pub exclude: Vec<String>,
    /// OUs below which people are out of scope; each within a base.
    pub exclude_ou: Vec<Dn>,
    /// Rules for the people below OUs, each within a base. No OU has two.
    pub rules: OuRules,
    /// Addresses of people whose automatic suspension is always held.
    pub protect: Vec<Address>,
    /// Entries that must be readable for a read to count, by DN or UPN; none is the service
    /// account's own.
    pub canaries: Vec<String>,
    pub attributes: AttributeNames,
    pub limits: Limits,
    /// The times in which changes that can wait are not applied.
    pub quiet: QuietHours,
    /// The time zone of leave dates.
    pub zone: Tz,
}

/// Reads a section. `directories` are the names of all, each with its account. Returns `None` after a problem that left a required value without one.
pub(super) fn read(
    mut table: Table<'_>,
    credentials: Option<&Path>,
    zone: Tz,
    general: &Limits,
    directories: &[(&str, &str)],
) -> Option<Directory> {
    table.require(&[
        ("name", "\"corp\""),
        ("account", "\"acme\", the handle of the account this directory is for"),
        ("base", "[\"DC=corp,DC=example,DC=com\"]"),
    ]);
    let name = table.text("name", directory_name);
    let rename_from = table.text("rename-from", directory_name);
    let account = table.text("account", handle);
    let mode = table.text("mode", one_of(&[("apply", Mode::Apply), ("plan-only", Mode::PlanOnly)]));
    let servers = read_servers(&mut table);
    let starttls = table.flag("starttls");
    let ca_file = table.text("ca-file", |text| {
        path(text).and_then(|path| files::certificates(&path).map(|()| path))
    });
    let credential = credential::read(&mut table, credentials);
    let bases = read_bases(&mut table);
    let filter = table.text("filter", |text| Ok((text.to_owned(), filter(text)?)));
    let timeouts = read_timeouts(table.table("timeouts"));
    let page_size = table.integer("page-size", &(1..=10_000));
    let schedule = table.text_or("schedule", "*/15 * * * *", |text| cron(text, zone));
    let full = table.text_or("full", "30 2 * * *", |text| cron(text, zone));
    let live = table.flag("live");
    let watch = table.text("watch", one_of(&FollowedServers::ALL.map(|w| (w.as_str(), w))));
    let incremental = table.flag("incremental");
    let follows = live != Some(false) && incremental != Some(false);
    if watch.is_some_and(|watch| watch != FollowedServers::One) && !follows {
        table.problem_at("watch", "further servers are followed with live and incremental only: remove watch, or the false one of these two");
    }
    let stale_after = table.text("stale-after", duration);
    let groups = [
        read_groups(&mut table, "pro-groups", Tier::Pro, directories),
        read_groups(&mut table, "basic-groups", Tier::Basic, directories),
    ]
    .concat();
    let without_group = table.text(
        "without-group",
        one_of(&[
            ("suspend", WithoutGroup::Suspend),
            ("keep", WithoutGroup::Keep),
            ("basic", WithoutGroup::Basic),
        ]),
    );
    let default_tier = table.text("default-tier", one_of(&TIERS));
    let exclude = table.texts("exclude", pattern);
    let exclude_ou =
        table.texts("exclude-ou", |text| excluded(text, bases.as_deref().unwrap_or_default()));
    let protect = table.texts("protect", address);
    let canaries = table.texts("canaries", principal);
    let mut attributes = read_attributes(table.table("attributes"));
    attributes.extra = read_extra(&mut table, &attributes);
    let limits = safety::read(table.table("safety"), general);
    let mut quiet = QuietHours::none(zone);
    table.texts("quiet-hours", |text| quiet.add(text));
    let rules = read_rules(&mut table, bases.as_deref().unwrap_or_default(), &limits);
    table.finish();
    Some(Directory {
        name: name?,
        rename_from,
        account: account?,
        mode: mode.unwrap_or(Mode::Apply),
        servers: servers?,
        starttls: starttls.unwrap_or(false),
        ca_file,
        credential: credential?,
        bases: bases?,
        filter,
        timeouts,
        page_size: page_size.unwrap_or(1000),
        schedule: schedule?,
        full: full?,
        live: live.unwrap_or(true),
        watch: watch.unwrap_or_default(),
        incremental: incremental.unwrap_or(true),
        stale_after: stale_after.unwrap_or(Duration::from_hours(6)),
        tiers: TierRules {
            grouped: !groups.is_empty(),
            without_group: without_group.unwrap_or_default(),
            default_tier: default_tier.unwrap_or(Tier::Pro),
        },
        groups,
        exclude: exclude.unwrap_or_default(),
        exclude_ou: exclude_ou.unwrap_or_default(),
        rules,
        protect: protect.unwrap_or_default(),
        canaries: canaries.unwrap_or_default(),
        attributes,
        limits,
        quiet,
        zone,
    })
}

fn read_servers(table: &mut Table<'_>) -> Option<Servers> {
    let starttls = table.peek_flag("starttls");
    let servers = table.texts("servers", |text| {
        let url = server(text)?;
        if text.starts_with("ldap://") && !starttls {
            return Err(format!(
                "no bind is sent without TLS: write {}, or starttls = true",
                text.replacen("ldap://", "ldaps://", 1)
            ));
        }
        Ok(url)
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
    servers.map(Servers::Listed).or(domain.map(|domain| {
        Servers::Discovered(Discovery { domain, site, suffixes: suffixes.unwrap_or_default() })
    }))
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

/// Parses an OU of an exclusion. It holds no whole base.
fn excluded(text: &str, bases: &[Dn]) -> Result<Dn, String> {
    let dn = base(text)?;
    match bases.iter().find(|base| base.is_within(&dn)) {
        Some(base) => Err(format!(
            "\"{text}\" excludes the whole base \"{}\": name an OU below it",
            base.as_str()
        )),
        None => ou(text, bases),
    }
}

/// Parses an OU within one of the bases. Without a valid base its place is not checked.
fn ou(text: &str, bases: &[Dn]) -> Result<Dn, String> {
    let dn = base(text)?;
    if bases.is_empty() || bases.iter().any(|base| dn.is_within(base)) {
        Ok(dn)
    } else {
        Err(format!("\"{text}\" is below no base: correct it, or remove it"))
    }
}

fn read_rules(table: &mut Table<'_>, bases: &[Dn], directory: &Limits) -> OuRules {
    let mut rules: Vec<OuRule> = Vec::new();
    for mut table in table.tables("rule") {
        table.require(&[("ou", "\"OU=Interns,DC=corp,DC=example,DC=com\"")]);
        let found = table.text("ou", |text| {
            let dn = ou(text, bases)?;
            if rules.iter().any(|rule| rule.ou.configured == dn) {
                return Err(format!("\"{text}\" has a rule already: write one rule for each OU"));
            }
            Ok(dn)
        });
        let tier = table.text("tier", one_of(&TIERS));
        let is_empty = !table.has("tier") && !table.has("safety");
        let limits = safety::read_ou(table.table("safety"), directory);
        if is_empty {
            table.problem(
                "this rule changes nothing: write a tier, or limits in [directory.rule.safety]",
            );
        }
        table.finish();
        if let Some(configured) = found {
            rules.push(OuRule { ou: Ou { configured, present: None }, tier, limits });
        }
    }
    OuRules(rules)
}

const TIERS: [(&str, Tier); 2] = [("pro", Tier::Pro), ("basic", Tier::Basic)];

fn read_groups(
    table: &mut Table<'_>,
    key: &'static str,
    tier: Tier,
    directories: &[(&str, &str)],
) -> Vec<(Tier, GroupName)> {
    let (name, account) = (table.peek_text("name"), table.peek_text("account"));
    let names = table.texts(key, |text| {
        let group = GroupName::parse(&some_text(text)?);
        let Some(other) = group.directory() else { return Ok(group) };
        if group.name().is_empty() {
            return Err(format!("\"{text}\" names no group: write \"{other}:Roster Pro\""));
        }
        let of = directories.iter().find(|(name, _)| *name == other.as_str());
        match of {
            Some(_) if name == Some(other.as_str()) => {
                Err(format!("{other} is this directory: write \"{}\"", group.name()))
            }
            Some((_, of)) if account.is_some_and(|account| account != *of) => Err(format!(
                "the directory {other} is for the account {of}: only groups of directories of the same account count"
            )),
            Some(_) => Ok(group),
            None => Err(format!(
                "there is no directory {other}: correct the name before the colon, or write the distinguished name of a group whose name has a colon"
            )),
        }
    });
    names.unwrap_or_default().into_iter().map(|name| (tier, name)).collect()
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

/// Maximum number of further attributes of a person. Each is stored with every user and event.
const MAX_EXTRA: usize = 32;

fn read_extra(table: &mut Table<'_>, attributes: &AttributeNames) -> Vec<String> {
    let defaults = AttributeNames::default();
    let fields = Profile::default().fields().map(|(field, _)| field);
    let leave_date = attributes.leave_date.as_deref();
    let read =
        [attributes.all(), defaults.all(), fields.to_vec(), leave_date.into_iter().collect()]
            .concat();
    let mut names: Vec<String> = Vec::new();
    let extra = table.texts("extra", |text| {
        let name = extra_attribute(text, &read)?;
        if names.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
            return Err(format!("\"{text}\" is listed twice: remove one"));
        }
        names.push(name.clone());
        Ok(name)
    });
    if names.len() > MAX_EXTRA {
        table.problem_at(
            "extra",
            format!("there are {} attributes: list at most {MAX_EXTRA}", names.len()),
        );
    }
    extra.unwrap_or_default()
}

fn read_attributes(mut table: Table<'_>) -> AttributeNames {
    let mut attributes = AttributeNames::default();
    for (key, name) in attributes.keys_mut() {
        if let Some(configured) = table.text(key, attribute) {
            *name = configured;
        }
    }
    attributes.leave_date = table.text("leave-date", attribute);
    table.finish();
    attributes
}
