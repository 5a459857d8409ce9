//! `[[target]]`: a SCIM service provider that follows the users of an account.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;
use reqwest::Url;

use super::table::Table;
use super::values::{
    cron, date, duration, duration_or_off, handle, is_open, one_of, path, pattern, rate, some_text,
    target_name, web_url,
};
use super::{files, safety};
use crate::model::{
    Adopt, ChangeClass, Cron, DriftAction, Handle, LeaverAction, MatchAttribute, Mode, Rate,
    RemoteId, TargetCredential, TargetGroup, TargetName, Tier, Timestamp, nearest,
};
use crate::reconcile::provision::{
    AttributePath, DEFAULT_MAPPING, Mapping, Paging, Quirks, Template, fields,
};
use crate::reconcile::{Limit, Limits};

/// A `[[target]]` section.
#[derive(Clone, PartialEq, Debug)]
pub struct Target {
    /// The name, which no other target and no directory has.
    pub name: TargetName,
    /// The account whose users the target follows.
    pub account: Handle,
    pub mode: Mode,
    /// The base URL. Its query is sent with each request.
    pub url: Url,
    pub credential: TargetCredential,
    /// The end of the token's validity.
    pub token_expires: Option<Timestamp>,
    /// A PEM file of trusted CAs; `None` is the system's trust store.
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<Url>,
    /// Time limit of one request; more than zero.
    pub timeout: Duration,
    /// Accounts in one answer; 0 lets the target decide.
    pub page_size: u32,
    pub rate: Rate,
    /// Requests at once.
    pub concurrency: u32,
    /// Tiers whose users have an account.
    pub tiers: BTreeSet<Tier>,
    /// Patterns of addresses; nothing is created, adopted or changed for them.
    pub exclude: Vec<String>,
    pub adopt: Adopt,
    pub matched_by: MatchAttribute,
    pub leaver: LeaverAction,
    /// Time after which inactive accounts are deleted.
    pub delete_after: Option<Duration>,
    pub drift: DriftAction,
    /// Times of full runs.
    pub full: Cron,
    pub mapping: Mapping,
    pub quirks: Quirks,
    pub limits: Limits,
    /// The groups of the target. Names are unique.
    pub groups: Vec<TargetGroup>,
}

/// The documented limits of a service, which the other keys overrule.
#[derive(Clone, Copy)]
enum Preset {
    Generic,
    /// "Limitations" and ListUsers of the IAM Identity Center SCIM developer guide: 50 users without
    /// `startIndex`, no members.
    Aws,
    /// "Rate limits" of SCIM for Enterprise Managed Users: 1,000 users an hour.
    GitHub,
    /// "Rate limits" of Slack's SCIM API: 180 writes a minute.
    Slack,
    /// "Get users" of Atlassian's user provisioning API: pages of 100, filters by `userName`.
    Atlassian,
}

impl Preset {
    fn rate(self) -> Rate {
        let (requests, per) = match self {
            Self::Generic | Self::Aws | Self::Atlassian => (5, Duration::from_secs(1)),
            Self::GitHub => (16, Duration::from_mins(1)),
            Self::Slack => (180, Duration::from_mins(1)),
        };
        Rate { requests, per }
    }

    fn page_size(self) -> u32 {
        match self {
            Self::Aws => 0,
            Self::Generic | Self::GitHub | Self::Slack | Self::Atlassian => 100,
        }
    }

    fn quirks(self) -> Quirks {
        match self {
            Self::Generic | Self::GitHub | Self::Slack => Quirks::default(),
            Self::Aws => Quirks {
                filter: Some(true),
                paging: Some(Paging::None),
                members: Some(false),
                ..Quirks::default()
            },
            Self::Atlassian => {
                Quirks { filter: Some(true), paging: Some(Paging::Index), ..Quirks::default() }
            }
        }
    }
}

/// Reads a section. Returns `None` after a problem that left a required value without one.
pub(super) fn read(
    mut table: Table<'_>,
    credentials: Option<&Path>,
    zone: Tz,
    general: &Limits,
    directories: &[(&str, &str)],
) -> Option<Target> {
    table.require(&[
        ("name", "\"slack\""),
        ("account", "\"acme\", the handle of the account whose users it follows"),
        ("url", "\"https://api.slack.com/scim/v2\""),
    ]);
    let name = table.text("name", |text| {
        if directories.iter().any(|(name, _)| *name == text) {
            return Err(format!(
                "there is a directory \"{text}\", and commands name both: give this target another name"
            ));
        }
        target_name(text)
    });
    let account = table.text("account", handle);
    let mode = table.text("mode", one_of(&[("apply", Mode::Apply), ("plan-only", Mode::PlanOnly)]));
    let presets = [
        ("generic", Preset::Generic),
        ("aws", Preset::Aws),
        ("github", Preset::GitHub),
        ("slack", Preset::Slack),
        ("atlassian", Preset::Atlassian),
    ];
    let preset = table.text("preset", one_of(&presets)).unwrap_or(Preset::Generic);
    let url = read_url(&mut table);
    let credential = read_credential(&mut table, credentials);
    let token_expires = table.text("token-expires", date);
    let ca_file = table.text("ca-file", |text| {
        path(text).and_then(|path| files::certificates(&path).map(|()| path))
    });
    let proxy = table.text("proxy", web_url);
    let tiers = table.texts("tiers", one_of(&Tier::ALL.map(|tier| (tier.as_str(), tier))));
    if tiers.as_ref().is_some_and(Vec::is_empty) {
        table.problem_at(
            "tiers",
            "tiers is empty, so the target follows no user: remove it for all tiers",
        );
    }
    let exclude = table.texts("exclude", pattern);
    let adopt = table.text("adopt", one_of(&Adopt::ALL.map(|rule| (rule.as_str(), rule))));
    let matched_by = table.text("match", one_of(&MatchAttribute::ALL.map(|m| (m.as_str(), m))));
    let leaver = table.text("leaver", one_of(&LeaverAction::ALL.map(|rule| (rule.as_str(), rule))));
    let delete_after = table.text("delete-after", duration_or_off).flatten();
    let drift = table.text("drift", one_of(&DriftAction::ALL.map(|rule| (rule.as_str(), rule))));
    let full = table.text_or("full", "15 3 * * *", |text| cron(text, zone));
    let rate = table.text("rate", rate);
    let concurrency = table.integer("concurrency", &(1..=20));
    let timeout = table.text("timeout", duration);
    let page_size = table.integer("page-size", &(0..=1000));
    let mapping = read_mapping(&mut table);
    let quirks = read_quirks(table.table("quirks"), preset.quirks());
    // Deletions at a target cannot be undone, so that each one is held by default.
    let mut general = general.clone();
    general.classes.insert(ChangeClass::Deleted, Limit { percent: 0, at_least: 0, at_most: None });
    let limits = safety::read(table.table("safety"), &general);
    let groups = read_groups(&mut table);
    table.finish();
    Some(Target {
        name: name?,
        account: account?,
        mode: mode.unwrap_or(Mode::Apply),
        url: url?,
        credential: credential?,
        token_expires,
        ca_file,
        proxy,
        timeout: timeout.unwrap_or(Duration::from_secs(30)),
        page_size: page_size.unwrap_or(preset.page_size()),
        rate: rate.unwrap_or(preset.rate()),
        concurrency: concurrency.unwrap_or(2),
        tiers: tiers.map_or_else(|| Tier::ALL.into(), |tiers| tiers.into_iter().collect()),
        exclude: exclude.unwrap_or_default(),
        adopt: adopt.unwrap_or(Adopt::Ask),
        matched_by: matched_by.unwrap_or(MatchAttribute::UserName),
        leaver: leaver.unwrap_or(LeaverAction::Deactivate),
        delete_after,
        drift: drift.unwrap_or(DriftAction::Report),
        full: full?,
        mapping: mapping?,
        quirks,
        limits,
        groups: groups?,
    })
}

fn read_url(table: &mut Table<'_>) -> Option<Url> {
    let url = table.text("url", web_url);
    let allow_http = table.flag("allow-http").unwrap_or(false);
    if url.as_ref().is_some_and(is_open) && !allow_http {
        table.problem_at("url", "this is http, so that others on the network can read the token: write https, or add allow-http = true");
    }
    url
}

fn read_credential(table: &mut Table<'_>, credentials: Option<&Path>) -> Option<TargetCredential> {
    let token = read_secret(table, "token-file", "token-credential", "token", credentials);
    let oauth = table.table("oauth");
    let ways = ["token-file", "token-credential", "oauth"];
    let present: Vec<_> = ways.into_iter().filter(|key| table.has(key)).collect();
    match present[..] {
        [] => table.missing(
            "token-file",
            "\"/etc/rosterd/slack.token\", a file that only rosterd can read",
        ),
        [_] => {}
        [first, another, ..] => table.problem_at(
            another,
            format!("there are both {first} and {another}: remove one of them"),
        ),
    }
    let oauth = read_oauth(oauth, credentials);
    token.map(TargetCredential::Token).or(oauth)
}

fn read_oauth(mut table: Table<'_>, credentials: Option<&Path>) -> Option<TargetCredential> {
    let is_present = table.is_present();
    if is_present {
        table.require(&[
            ("token-url", "\"https://login.example.com/oauth/token\""),
            ("client-id", "\"rosterd\""),
        ]);
        if !(table.has("client-secret-file") || table.has("client-secret-credential")) {
            table.missing("client-secret-file", "\"/etc/rosterd/slack.secret\"");
        }
    }
    let token_url = table.text("token-url", web_url);
    if token_url.as_ref().is_some_and(is_open) {
        table.problem_at(
            "token-url",
            "this is http, so that others on the network can read the secret: write https",
        );
    }
    let client_id = table.text("client-id", some_text);
    let secret_file = read_secret(
        &mut table,
        "client-secret-file",
        "client-secret-credential",
        "secret",
        credentials,
    );
    if table.has("client-secret-file") && table.has("client-secret-credential") {
        table.problem_at(
            "client-secret-credential",
            "there are both client-secret-file and client-secret-credential: remove one of them",
        );
    }
    let scope = table.text("scope", some_text);
    table.finish();
    Some(TargetCredential::OAuth {
        token_url: token_url?,
        client_id: client_id?,
        secret_file: secret_file?,
        scope,
    })
}

fn read_secret(
    table: &mut Table<'_>,
    file: &'static str,
    credential: &'static str,
    suffix: &str,
    credentials: Option<&Path>,
) -> Option<PathBuf> {
    let path =
        table.text(file, |text| path(text).and_then(|path| files::token(&path).map(|()| path)));
    let passed = table.text(credential, |name| {
        let path = files::credential(name, suffix, file, credentials)?;
        files::token(&path).map(|()| path)
    });
    path.or(passed)
}

/// Reads `[target.attributes]` and `[target.values]` on top of the shipped mapping.
fn read_mapping(table: &mut Table<'_>) -> Option<Mapping> {
    let near = |name: &str| nearest(name, fields().into_iter());
    let template = |text: &str| Template::parse(text, near).map_err(|error| error.to_string());
    let mut own: Vec<(AttributePath, Option<Template>)> = Vec::new();
    let read = table.table("attributes").texts_by_key(|key, text| {
        let path = AttributePath::parse(key).map_err(|error| error.to_string())?;
        if let Some((other, _)) = own.iter().find(|(other, _)| other.overlaps(&path)) {
            return Err(format!("{other} writes the same attribute: remove one of them"));
        }
        let template = if text.is_empty() { None } else { Some(template(text)?) };
        own.push((path, template));
        Ok(())
    });
    let values = read_values(table.table("values"));
    read?;
    let mut attributes = Vec::new();
    for (path, text) in DEFAULT_MAPPING {
        let path = AttributePath::parse(path).ok()?;
        if !own.iter().any(|(own, _)| own.overlaps(&path)) {
            attributes.push((path, Template::parse(text, near).ok()?));
        }
    }
    attributes.extend(own.into_iter().filter_map(|(path, text)| Some((path, text?))));
    for name in ["userName", "externalId"] {
        if !attributes.iter().any(|(path, _)| path.to_string().eq_ignore_ascii_case(name)) {
            table.problem_at(
                "attributes",
                format!("{name} is left out, by which accounts are recognised: remove the line"),
            );
            return None;
        }
    }
    Some(Mapping { attributes, values: values? })
}

fn read_values(mut table: Table<'_>) -> Option<BTreeMap<String, BTreeMap<String, String>>> {
    let mut values = BTreeMap::new();
    let mut is_whole = true;
    // Any field may have a table, but only those of the file are read.
    for field in fields() {
        if !table.has(field) {
            table.note(field);
            continue;
        }
        let mut texts = BTreeMap::new();
        let read = table.table(field).texts_by_key(|key, text| {
            if field == "tier" && Tier::parse(key).is_none() {
                return Err(format!("there is no tier \"{key}\": write pro or basic"));
            }
            texts.insert(key.to_owned(), text.to_owned());
            Ok(())
        });
        is_whole &= read.is_some();
        values.insert(field.to_owned(), texts);
    }
    table.finish();
    is_whole.then_some(values)
}

fn read_quirks(mut table: Table<'_>, preset: Quirks) -> Quirks {
    let media_types = [("application/scim+json", true), ("application/json", false)];
    let quirks = Quirks {
        patch: table.flag("patch").or(preset.patch),
        filter: table.flag("filter").or(preset.filter),
        paging: table
            .text("paging", one_of(&Paging::ALL.map(|paging| (paging.as_str(), paging))))
            .or(preset.paging),
        members: table.flag("members").or(preset.members),
        active: table.flag("active").or(preset.active),
        scim_json: table.text("media-type", one_of(&media_types)).or(preset.scim_json),
    };
    table.finish();
    quirks
}

fn read_groups(table: &mut Table<'_>) -> Option<Vec<TargetGroup>> {
    let mut names = BTreeSet::new();
    let tables = table.tables("group");
    let read_one = |mut table: Table<'_>| {
        table.require(&[("name", "\"Roster Pro\""), ("tier", "\"pro\"")]);
        let name = table.text("name", |text| {
            if names.insert(text.to_owned()) {
                some_text(text)
            } else {
                Err(format!("there is another group \"{text}\": give this one another name"))
            }
        });
        let tier = table.text("tier", one_of(&Tier::ALL.map(|tier| (tier.as_str(), tier))));
        let id = table.text("id", some_text).map(RemoteId);
        table.finish();
        Some(TargetGroup { name: name?, tier: tier?, id })
    };
    // Collect twice, so that every table is checked.
    tables.into_iter().map(read_one).collect::<Vec<_>>().into_iter().collect()
}
