//! Lists of users, their exports, and colleagues.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::csv::csv;
use super::link::{self, Answer, Daemon, Failure};
use super::text::{
    Page, View, coloured_status, dim, maybe_more, not_shown, number, table, time, time_and_age,
    value, yellow,
};
use super::{Exit, Output};
use crate::control::api::{
    Contact, Contacts, Quarantine, QuarantinedEntry, User, UserStatus, Users,
};
use crate::control::client::Route;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    Basic,
    Pro,
}

/// Search users by the start of a name or an address
#[derive(Debug, Args)]
pub struct Search {
    /// Words, each the start of a name or an address
    #[arg(required = true)]
    text: Vec<String>,
    /// Show at most N users
    #[arg(long, value_name = "N", default_value_t = SEARCHED)]
    limit: u64,
}

pub(super) async fn search(
    Search { text, limit }: &Search,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let route = Route::to(["users", "search"]).with("q", text.join(" ")).with("limit", limit);
    let found: Answer<Users> = daemon.get(&route).await?;
    output.data(&found.raw, |view| {
        let mut page = list(&found.value, view);
        page.append(&maybe_more(found.value.users.len(), (*limit).min(link::PAGE)));
        page
    })?;
    Ok(Exit::Done)
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct List {
    /// Only users of this account
    #[arg(long)]
    account: Option<String>,
    /// Only users of this status
    #[arg(long)]
    status: Option<Status>,
    /// Only suspended users
    #[arg(long, conflicts_with = "status")]
    suspended: bool,
    /// Only users of this department
    #[arg(long)]
    department: Option<String>,
    /// Only users of this tier
    #[arg(long)]
    tier: Option<Tier>,
    /// Only users with an address in this domain
    #[arg(long)]
    domain: Option<String>,
    /// Only users suspended for this reason, such as disabled
    #[arg(long)]
    reason: Option<String>,
    /// Only users of a claimed domain that are in no directory of their account
    #[arg(long)]
    unmanaged: bool,
    /// Only entries and users in quarantine, each with its remedy
    #[arg(long)]
    quarantined: bool,
    /// Only active users whom their own directory does not show, and no other one has taken over
    #[arg(long)]
    unseen: bool,
    /// Only active users whose account in the directory expires within this time, such as 14d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expiring: Option<Duration>,
    /// Only users whose suspension is scheduled (rosterctl user suspend --at)
    #[arg(long)]
    scheduled: bool,
    /// Only users with a note (rosterctl user note)
    #[arg(long)]
    noted: bool,
    /// Only users of this directory about whom its present server has not heard what another one showed
    #[arg(long, value_name = "DIRECTORY")]
    behind: Option<String>,
    /// The sort key; default: name, or the expiry with --expiring
    #[arg(long, value_name = "BY")]
    sort: Option<Sort>,
    /// Show at most N users
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print only the number of users
    #[arg(long, conflicts_with_all = ["csv", "json_lines", "limit"])]
    count: bool,
    /// Print as CSV
    #[arg(long, conflicts_with = "json_lines")]
    csv: bool,
    /// Print JSON, one user per line
    #[arg(long)]
    json_lines: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Status {
    Invited,
    Active,
    Suspended,
    Released,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Id,
    Address,
    Name,
    Created,
    Updated,
}

/// Users that a search shows, unless `--limit` says otherwise.
pub(super) const SEARCHED: u64 = 200;

/// The page size of requests to the daemon.
const PAGE: u32 = 500;
/// The number of users that a question names.
const FIRST: u32 = 20;

/// Returns the time after a duration in RFC 3339; `None` beyond the calendar.
fn from_now(within: Duration, now: DateTime<Utc>) -> Option<String> {
    let end = now.checked_add_signed(TimeDelta::from_std(within).ok()?)?;
    Some(end.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Returns the word of an option's value.
pub(crate) fn word<T: ValueEnum + Copy>(value: T) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

pub(super) async fn call(
    arguments: &List,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    if output.json && (arguments.csv || arguments.json_lines) {
        return Err(Failure::Usage(
            "--json is one document: choose it, --csv or --json-lines".to_owned(),
        ));
    }
    if arguments.quarantined {
        return quarantined(arguments, daemon, output).await;
    }
    let now = output.terminal.view().now;
    let mut users = all(arguments, now, daemon).await?;
    let found = users.value.users.len();
    if arguments.count {
        output.data(&json!({ "count": found }), |_| Page::from(format!("{found}\n")))?;
        return Ok(Exit::Done);
    }
    let shown = arguments.limit.map_or(found, |n| usize::try_from(n).unwrap_or(found).min(found));
    let totals = totals(&users.value);
    users.value.users.truncate(shown);
    if let Some(raw) = users.raw["users"].as_array_mut() {
        raw.truncate(shown);
    }
    if arguments.csv {
        output.terminal.print(&as_csv(&users.value))?;
    } else if arguments.json_lines {
        output.terminal.print(&json_lines(&users.raw["users"]))?;
    } else {
        output.data(&users.raw, |view| {
            let mut page = list(&users.value, view);
            page.append(&not_shown((found - shown) as u64, "more", "--limit"));
            if found > 0 {
                page.line(totals);
            }
            page
        })?;
    }
    Ok(Exit::Done)
}

fn json_lines(items: &Value) -> Page {
    let lines = items.as_array().into_iter().flatten().map(|item| format!("{item}\n"));
    Page::from(lines.collect::<String>())
}

/// Lists quarantined entries, with and without a user.
async fn quarantined(
    arguments: &List,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let mut entries: Answer<Quarantine> = daemon.get(&Route::to(["quarantine"])).await?;
    let found = entries.value.quarantined.len();
    let shown = arguments.limit.map_or(found, |n| usize::try_from(n).unwrap_or(found).min(found));
    entries.value.quarantined.truncate(shown);
    if let Some(raw) = entries.raw["quarantined"].as_array_mut() {
        raw.truncate(shown);
    }
    if arguments.count {
        output.data(&json!({ "count": found }), |_| Page::from(format!("{found}\n")))?;
    } else if arguments.csv {
        output.terminal.print(&quarantine_csv(&entries.value))?;
    } else if arguments.json_lines {
        output.terminal.print(&json_lines(&entries.raw["quarantined"]))?;
    } else {
        let now = output.terminal.view().now;
        let users = if output.json { Some(all(arguments, now, daemon).await?) } else { None };
        if let Some(users) = users {
            entries.raw["users"] = users.raw["users"].clone();
        }
        output.data(&entries.raw, |view| {
            let mut page = quarantine(&entries.value, view);
            page.append(&not_shown((found - shown) as u64, "more", "--limit"));
            page
        })?;
    }
    Ok(Exit::Done)
}

fn quarantine_csv(quarantine: &Quarantine) -> Page {
    let rows = quarantine.quarantined.iter().map(|entry| {
        let QuarantinedEntry { directory, object_guid, dn, reason, since, user, remedy } = entry;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        [
            directory.clone(),
            object_guid.clone(),
            dn.clone(),
            reason.to_string(),
            text(since),
            text(user),
            remedy.clone(),
        ]
    });
    csv(["directory", "object_guid", "dn", "reason", "since", "user", "remedy"], rows)
}

/// Counts people by status: `3,002 people: 2,994 active, 8 suspended`.
fn totals(users: &Users) -> String {
    let all = users.users.len() as u64;
    let of = |status: UserStatus| users.users.iter().filter(|u| u.status == status).count() as u64;
    let parts: Vec<String> = UserStatus::ALL
        .iter()
        .map(|status| (of(*status), status))
        .filter(|(n, _)| *n > 0)
        .map(|(n, status)| format!("{} {status}", number(n)))
        .collect();
    let people = if all == 1 { "1 person".to_owned() } else { format!("{} people", number(all)) };
    format!("{people}: {}", parts.join(", "))
}

/// Joins all pages into one document. Sorting is done here, because each sorted page costs the daemon a
/// scan of all users.
async fn all(
    arguments: &List,
    now: DateTime<Utc>,
    daemon: &Daemon,
) -> Result<Answer<Users>, Failure> {
    let List {
        account,
        status,
        suspended,
        department,
        tier,
        domain,
        reason,
        unmanaged,
        quarantined,
        unseen,
        expiring,
        scheduled,
        noted,
        behind,
        sort,
        limit: _,
        count: _,
        csv: _,
        json_lines: _,
    } = arguments;
    let status = if *suspended { &Some(Status::Suspended) } else { status };
    let first = Route::to(["users"])
        .with_some("account", account.as_ref())
        .with_some("status", status.map(word))
        .with_some("tier", tier.map(word))
        .with_some("domain", domain.as_ref())
        .with_some("reason", reason.as_ref())
        .with_some("unmanaged", unmanaged.then_some(true))
        .with_some("quarantined", quarantined.then_some(true))
        .with_some("unseen", unseen.then_some(true))
        .with_some("scheduled", scheduled.then_some(true))
        .with_some("noted", noted.then_some(true))
        .with_some("expires_before", expiring.and_then(|within| from_now(within, now)))
        .with_some("behind", behind.as_ref())
        .with("limit", PAGE);
    let mut users: Vec<(Value, User)> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page: Answer<Users> =
            daemon.get(&first.clone().with_some("after", after.as_ref())).await?;
        let raw = page.raw["users"].as_array().cloned().unwrap_or_default();
        users.extend(raw.into_iter().zip(page.value.users));
        // A page that names itself as the next would loop forever.
        if page.value.next.is_none() || page.value.next == after {
            break;
        }
        after = page.value.next;
    }
    if let Some(wanted) = department {
        users.retain(|(_, user)| {
            let department = user.profile.get("department").and_then(Value::as_str);
            department.is_some_and(|is| is.to_lowercase() == wanted.to_lowercase())
        });
    }
    let address = |user: &User| user.primary_email.clone().unwrap_or_default().to_lowercase();
    match sort {
        None if expiring.is_some() => {
            users.sort_by(|(_, a), (_, b)| a.expires_at.cmp(&b.expires_at));
        }
        Some(Sort::Id) => {}
        Some(Sort::Address) => users.sort_by_cached_key(|(_, user)| address(user)),
        None | Some(Sort::Name) => users.sort_by_cached_key(|(_, user)| {
            user.display_name.as_ref().map_or_else(|| address(user), |n| n.to_lowercase())
        }),
        Some(Sort::Created) => users.sort_by(|(_, a), (_, b)| a.created_at.cmp(&b.created_at)),
        Some(Sort::Updated) => users.sort_by(|(_, a), (_, b)| a.updated_at.cmp(&b.updated_at)),
    }
    let (raw, users): (Vec<Value>, Vec<User>) = users.into_iter().unzip();
    Ok(Answer { raw: json!({ "users": raw }), value: Users { users, next: None } })
}

/// Returns the route of the first users about whom a directory's present server is behind.
pub(super) fn behind(directory: &str) -> Route {
    Route::to(["users"]).with("behind", directory).with("limit", FIRST)
}

pub fn list(users: &Users, view: &View) -> Page {
    if users.users.is_empty() {
        return Page::from("no such users\n".to_owned());
    }
    let rows = users.users.iter().map(|user| {
        let mut about: Vec<String> = user
            .suspension
            .iter()
            .map(|s| format!("{} since {}", s.reason, time(&s.since, view)))
            .collect();
        about.extend(user.expires_at.iter().map(|at| format!("expires {}", time(at, view))));
        about.extend(
            user.scheduled_suspension
                .iter()
                .map(|scheduled| format!("suspended from {}", time(&scheduled.at, view))),
        );
        about.extend(user.note.iter().map(|note| yellow(format!("note: {}", note.text))));
        about.extend(user.quarantine.iter().map(|q| yellow(format!("quarantined: {q}"))));
        [
            user.primary_email.clone().unwrap_or_else(|| user.id.clone()),
            user.display_name.clone().unwrap_or_default(),
            user.account.clone(),
            coloured_status(user.status),
            user.tier.to_string(),
            user.directory.as_ref().map_or_else(|| dim("not managed"), |d| d.name.clone()),
            about.join(", "),
        ]
    });
    table(["ADDRESS", "NAME", "ACCOUNT", "STATUS", "TIER", "DIRECTORY", "WHY"], rows, view)
}

/// Lists quarantined entries, each with its remedy.
pub fn quarantine(quarantine: &Quarantine, view: &View) -> Page {
    if quarantine.quarantined.is_empty() {
        return Page::from("nothing is quarantined\n".to_owned());
    }
    let mut page = Page::default();
    for QuarantinedEntry { directory, object_guid, dn, reason, since, user, remedy } in
        &quarantine.quarantined
    {
        let at = if dn.is_empty() { object_guid } else { dn };
        page.sentence("", &format!("{}  {at}", yellow(format!("? {reason}"))), view);
        let mut fields = vec![("person", format!("{object_guid} in directory {directory}"))];
        fields.extend(user.iter().map(|id| ("user", id.clone())));
        fields.extend(since.iter().map(|at| ("since", time_and_age(at, view))));
        fields.push(("remedy", remedy.clone()));
        page.fields(&fields, view);
    }
    page
}

/// Returns the values of a further attribute, as one text.
fn extra(user: &User, name: &str) -> String {
    let values = user.profile.get("extra").and_then(|extra| extra.get(name));
    values
        .filter(|values| values.as_array().is_some_and(|v| !v.is_empty()))
        .map(value)
        .unwrap_or_default()
}

pub fn as_csv(users: &Users) -> Page {
    let names = |user: &User| {
        let extra = user.profile.get("extra").and_then(Value::as_object).cloned();
        extra.into_iter().flatten().map(|(name, _)| name)
    };
    let further: BTreeSet<String> = users.users.iter().flat_map(names).collect();
    let rows = users.users.iter().map(|user| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let profile = |name: &str| {
            user.profile.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (directory, person) = user
            .directory
            .as_ref()
            .map(|d| (d.name.clone(), d.object_guid.clone()))
            .unwrap_or_default();
        let (reason, since) = user
            .suspension
            .as_ref()
            .map(|s| (s.reason.to_string(), s.since.clone()))
            .unwrap_or_default();
        let row = [
            user.id.clone(),
            user.account.clone(),
            user.status.to_string(),
            user.tier.to_string(),
            text(&user.primary_email),
            user.secondary_emails.join(" "),
            text(&user.display_name),
            text(&user.given_name),
            text(&user.surname),
            profile("sam_account_name"),
            profile("user_principal_name"),
            profile("title"),
            profile("department"),
            profile("employee_id"),
            directory,
            person,
            text(&user.expires_at),
            reason,
            since,
            user.quarantine.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(" "),
            text(&user.invited_at),
            text(&user.joined_at),
            user.created_at.clone(),
            user.updated_at.clone(),
            user.note.as_ref().map(|note| note.text.clone()).unwrap_or_default(),
        ];
        let further = further.iter().map(|name| extra(user, name));
        row.into_iter().chain(further).collect::<Vec<_>>()
    });
    let header = [
        "id",
        "account",
        "status",
        "tier",
        "primary_email",
        "secondary_emails",
        "display_name",
        "given_name",
        "surname",
        "sam_account_name",
        "user_principal_name",
        "title",
        "department",
        "employee_id",
        "directory",
        "object_guid",
        "expires_at",
        "reason",
        "suspended_since",
        "quarantine",
        "invited_at",
        "joined_at",
        "created_at",
        "updated_at",
        "note",
    ];
    csv(header.into_iter().chain(further.iter().map(String::as_str)), rows)
}

pub fn contacts(contacts: &Contacts, view: &View) -> Page {
    if contacts.contacts.is_empty() {
        return Page::from("no such colleagues\n".to_owned());
    }
    let rows = contacts.contacts.iter().map(
        |Contact { id, display_name, primary_email, profile, given_name: _, surname: _ }| {
            let about = |name: &str| {
                profile.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            [
                display_name.clone().unwrap_or_default(),
                primary_email.clone().unwrap_or_else(|| id.clone()),
                about("title"),
                about("department"),
                about("phone"),
            ]
        },
    );
    table(["NAME", "ADDRESS", "TITLE", "DEPARTMENT", "PHONE"], rows, view)
}
