//! The rows of reports, from pages of the event log and of the list of users.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use super::{By, Period};
use crate::control::api::{Event, Events, User, Users};
use crate::control::client::Route;
use crate::ctl::event::{data, field, former_name, present_name};
use crate::ctl::link::{Answer, Daemon, Failure, PAGE};
use crate::ctl::text::{View, time, value};
use crate::ctl::{change, review};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    Leavers,
    Joiners,
    Changes,
    AccessReview,
    Expiring,
    Inactive,
    Licences,
}

/// A column of a report.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name in CSV and JSON.
    pub name: &'static str,
    /// Its heading in tables, which leave some columns out.
    pub heading: Option<&'static str>,
}

impl Column {
    /// Formats a cell for a table: instants in the time zone of the view.
    pub fn shown(&self, cell: &str, view: &View) -> String {
        match (self.name, cell) {
            ("last_sign_in_at", "") => "never".to_owned(),
            (name, cell) if name.ends_with("_at") => time(cell, view),
            (_, cell) => cell.to_owned(),
        }
    }
}

/// One row: a cell for each column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    pub cells: Vec<String>,
    pub tier: String,
    /// The time of an event, in RFC 3339.
    at: Option<String>,
}

impl Row {
    /// Returns the day of the event in UTC.
    pub fn day(&self) -> Option<NaiveDate> {
        let at = DateTime::parse_from_rfc3339(self.at.as_deref()?).ok()?;
        Some(at.to_utc().date_naive())
    }
}

macro_rules! columns {
    ($($name:literal $(as $heading:literal)?),* $(,)?) => {
        &[$(Column { name: $name, heading: columns!(@ $($heading)?) }),*]
    };
    (@) => { None };
    (@ $heading:literal) => { Some($heading) };
}

const LEAVERS: &[Column] = columns![
    "left_at" as "LEFT", "display_name" as "NAME", "primary_email" as "ADDRESS", "cause" as "CAUSE",
    "approved_by" as "APPROVED BY", "department" as "DEPARTMENT", "manager", "ou", "tier", "sam_account_name",
    "employee_id", "account", "directory", "evidence", "comment", "plan", "returned_at", "note", "run", "seq", "user_id",
];
const JOINERS: &[Column] = columns![
    "joined_at" as "JOINED", "display_name" as "NAME", "primary_email" as "ADDRESS", "tier" as "TIER",
    "approved_by" as "APPROVED BY", "department" as "DEPARTMENT", "manager", "ou", "how", "sam_account_name",
    "employee_id", "account", "directory", "comment", "plan", "run", "seq", "user_id",
];
const CHANGES: &[Column] = columns![
    "changed_at" as "TIME", "display_name" as "NAME", "primary_email" as "ADDRESS", "type" as "TYPE",
    "approved_by" as "APPROVED BY", "change" as "CHANGE", "cause", "department", "manager", "ou", "tier",
    "sam_account_name", "employee_id", "former_display_name", "former_primary_email", "account", "directory",
    "evidence", "actor", "comment", "plan", "run", "seq", "user_id",
];
const PEOPLE: &[Column] = columns![
    "display_name" as "NAME", "primary_email" as "ADDRESS", "department" as "DEPARTMENT", "manager" as "MANAGER",
    "tier" as "TIER", "last_sign_in_at" as "SIGNED IN", "title", "ou", "sam_account_name", "employee_id", "account",
    "directory", "created_at", "expires_at", "note" as "NOTE", "decision", "user_id",
];
const EXPIRING: &[Column] = columns![
    "expires_at" as "EXPIRES", "display_name" as "NAME", "primary_email" as "ADDRESS", "department" as "DEPARTMENT",
    "manager" as "MANAGER", "tier" as "TIER", "title", "ou", "sam_account_name", "employee_id", "account", "directory",
    "created_at", "last_sign_in_at", "note" as "NOTE", "decision", "user_id",
];

impl Report {
    pub fn name(self) -> &'static str {
        match self {
            Self::Leavers => "leavers",
            Self::Joiners => "joiners",
            Self::Changes => "changes",
            Self::AccessReview => "access-review",
            Self::Expiring => "expiring",
            Self::Inactive => "inactive",
            Self::Licences => "licences",
        }
    }

    /// Returns the heading of a printed report.
    pub fn title(self) -> &'static str {
        match self {
            Self::Leavers => "Leavers",
            Self::Joiners => "Joiners",
            Self::Changes => "Changes of users",
            Self::AccessReview => "Access review",
            Self::Expiring => "Expiring accounts",
            Self::Inactive => "Inactive people",
            Self::Licences => "Licences",
        }
    }

    /// Names this number of rows.
    pub fn noun(self, n: u64) -> &'static str {
        match (self, n) {
            (Self::Leavers, 1) => "leaver",
            (Self::Leavers, _) => "leavers",
            (Self::Joiners, 1) => "joiner",
            (Self::Joiners, _) => "joiners",
            (Self::Changes, 1) => "change",
            (Self::Changes, _) => "changes",
            (Self::Expiring, 1) => "expiring account",
            (Self::Expiring, _) => "expiring accounts",
            (Self::AccessReview | Self::Licences, 1) => "person with access",
            (Self::AccessReview | Self::Licences, _) => "people with access",
            (Self::Inactive, 1) => "inactive person",
            (Self::Inactive, _) => "inactive people",
        }
    }

    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Leavers => LEAVERS,
            Self::Joiners => JOINERS,
            Self::Changes => CHANGES,
            Self::Expiring => EXPIRING,
            Self::AccessReview | Self::Inactive | Self::Licences => PEOPLE,
        }
    }

    pub fn column(self, name: &str) -> Option<usize> {
        self.columns().iter().position(|column| column.name == name)
    }

    /// Returns the column that rows are counted by. Licences are always counted.
    pub(crate) fn counted_by(self, given: Option<By>) -> Result<Option<By>, Failure> {
        let by = match (self, given) {
            (Self::Licences, None) => Some(By::Account),
            (_, given) => given,
        };
        match by {
            Some(by) if self.column(by.column()).is_none() => Err(Failure::Usage(format!(
                "report {} has no {}: --by ou, department, manager, tier or account",
                self.name(),
                by.column()
            ))),
            by => Ok(by),
        }
    }

    /// Returns the column of the chart, unless the operator chose one.
    pub(crate) fn charted_by(self) -> By {
        match self {
            Self::Leavers => By::Cause,
            Self::Licences => By::Tier,
            _ => By::Department,
        }
    }

    /// Returns whether it is about events, which come in the order of their time. People come in that
    /// of their ids.
    pub(crate) fn is_about_events(self) -> bool {
        self.events().is_some()
    }

    /// Returns the types of its events; `None` for a report about the present users.
    fn events(self) -> Option<&'static str> {
        match self {
            Self::Leavers => Some("user.suspended,user.released,user.removed"),
            Self::Joiners => Some("user.created,user.invited"),
            Self::Changes => Some("user.*"),
            Self::AccessReview | Self::Expiring | Self::Inactive | Self::Licences => None,
        }
    }
}

/// Sorts people as a reader looks for one: by the first column, a name or an expiry.
pub(crate) fn sort(people: &mut [Row]) {
    people.sort_by_cached_key(|row| row.cells[0].to_lowercase());
}

/// The rows of one report.
pub(crate) struct Source<'a> {
    pub(crate) report: Report,
    pub(crate) period: Period,
    daemon: &'a Daemon,
    /// When suspended users came back, by user id, the earliest first.
    returns: BTreeMap<String, Vec<String>>,
}

impl<'a> Source<'a> {
    pub(crate) async fn new(
        report: Report,
        period: Period,
        daemon: &'a Daemon,
    ) -> Result<Self, Failure> {
        let mut returns: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if report == Report::Leavers {
            // The returns since, also after the end of the period, because they change the answer.
            let route = Route::to(["events"])
                .with("type", "user.reactivated")
                .with_some("since", period.since.as_ref());
            let mut pages = EventPages::new(route, daemon);
            while let Some(page) = pages.next().await? {
                for event in page.value.events {
                    let (id, at) =
                        (field(&event.document, "subject"), field(&event.document, "time"));
                    returns.entry(id.to_owned()).or_default().push(at.to_owned());
                }
            }
        }
        Ok(Self { report, period, daemon, returns })
    }

    /// Returns the rows with all terminal control characters escaped.
    pub(crate) fn pages(&self) -> Pages<'_> {
        Pages { source: self, items: self.items(), is_raw: false }
    }

    /// Returns the rows as the daemon has them.
    pub(crate) fn raw_pages(&self) -> Pages<'_> {
        Pages { source: self, items: self.items(), is_raw: true }
    }

    fn items(&self) -> Items<'_> {
        let Period { since, until } = &self.period;
        match self.report.events() {
            Some(kinds) => {
                let route = Route::to(["events"])
                    .with("type", kinds)
                    .with_some("since", since.as_ref())
                    .with_some("until", until.as_ref());
                Items::Events(EventPages::new(route, self.daemon))
            }
            None => {
                let route = Route::to(["users"])
                    .with("status", "active")
                    .with_some("expires_before", until.as_ref())
                    .with("limit", PAGE);
                Items::Users(UserPages { route, after: None, is_over: false, daemon: self.daemon })
            }
        }
    }

    fn rows_of_events(&self, events: &[Event]) -> Vec<Row> {
        let returned = |event: &Event| {
            let (id, at) = (field(&event.document, "subject"), field(&event.document, "time"));
            let returns = self.returns.get(id).into_iter().flatten();
            returns.into_iter().find(|back| instant_of(back) > instant_of(at)).cloned()
        };
        events
            .iter()
            .filter_map(|event| event_row(self.report, event, returned(event).as_deref()))
            .collect()
    }

    fn rows_of_users(&self, users: &[User]) -> Vec<Row> {
        let since = self.period.since.as_deref().and_then(instant_of);
        let is_wanted = |user: &&User| {
            self.report != Report::Inactive
                || [last_seen(user).as_deref(), Some(user.created_at.as_str())]
                    .into_iter()
                    .flatten()
                    .all(|at| instant_of(at) < since)
        };
        users.iter().filter(is_wanted).map(|user| user_row(self.report, user)).collect()
    }
}

fn instant_of(rfc3339: &str) -> Option<DateTime<Utc>> {
    Some(DateTime::parse_from_rfc3339(rfc3339).ok()?.to_utc())
}

enum Items<'a> {
    Events(EventPages<'a>),
    Users(UserPages<'a>),
}

/// The pages of rows. `None` is the end; a page may be empty before it.
pub(crate) struct Pages<'a> {
    source: &'a Source<'a>,
    items: Items<'a>,
    is_raw: bool,
}

impl Pages<'_> {
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Row>>, Failure> {
        let Self { source, items, is_raw } = self;
        match items {
            Items::Events(pages) => {
                let Some(page) = pages.next().await? else { return Ok(None) };
                let page = if *is_raw { page.unescaped(source.daemon)? } else { page.value };
                Ok(Some(source.rows_of_events(&page.events)))
            }
            Items::Users(pages) => {
                let Some(page) = pages.next().await? else { return Ok(None) };
                let page = if *is_raw { page.unescaped(source.daemon)? } else { page.value };
                Ok(Some(source.rows_of_users(&page.users)))
            }
        }
    }
}

/// The event log, page by page, oldest first.
struct EventPages<'a> {
    route: Route,
    /// The number of the last event; `None` after the last page.
    after: Option<u64>,
    daemon: &'a Daemon,
}

impl<'a> EventPages<'a> {
    fn new(route: Route, daemon: &'a Daemon) -> Self {
        Self { route, after: Some(0), daemon }
    }

    async fn next(&mut self) -> Result<Option<Answer<Events>>, Failure> {
        let Some(after) = self.after else { return Ok(None) };
        let route = self.route.clone().with("after", after).with("limit", PAGE);
        let page: Answer<Events> = self.daemon.get(&route).await?;
        let is_full = page.value.events.len() as u64 == PAGE;
        self.after = page.value.events.last().map(|last| last.seq).filter(|_| is_full);
        Ok(Some(page))
    }
}

/// The list of users, page by page, in the order of their ids.
struct UserPages<'a> {
    route: Route,
    /// The cursor of the next page.
    after: Option<String>,
    is_over: bool,
    daemon: &'a Daemon,
}

impl UserPages<'_> {
    async fn next(&mut self) -> Result<Option<Answer<Users>>, Failure> {
        if self.is_over {
            return Ok(None);
        }
        let after = self.after.take();
        let page: Answer<Users> =
            self.daemon.get(&self.route.clone().with_some("after", after.as_ref())).await?;
        // A page that names itself as the next would loop forever.
        self.after = page.value.next.clone().filter(|next| Some(next) != after.as_ref());
        self.is_over = self.after.is_none();
        Ok(Some(page))
    }
}

/// Returns the row of an event; `None` where the event does not belong in the report.
pub fn event_row(report: Report, event: &Event, returned_at: Option<&str>) -> Option<Row> {
    let Event { seq, document } = event;
    let kind = field(document, "type");
    let (before, after) = (data(document, "before"), data(document, "after"));
    // A release or a removal of a suspended user takes no access away.
    if report == Report::Leavers && kind != "user.suspended" && field(before, "status") != "active"
    {
        return None;
    }
    let reason = || {
        let of = |list: &Value| list.as_array().and_then(|all| all.first()).cloned();
        let lifted = of(before.get("causes").unwrap_or(&Value::Null));
        lifted.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let cause = match kind {
        "user.suspended" => field(after, "cause").to_owned(),
        "user.reactivated" => reason(),
        "user.released" => "domain released".to_owned(),
        "user.removed" => "removed".to_owned(),
        _ => String::new(),
    };
    let approval = data(document, "approval");
    let actor = data(document, "actor").as_str().unwrap_or_default();
    let by_operator =
        cause == "operator" || matches!(kind, "user.released" | "user.removed" | "user.invited");
    let approvals: Vec<&Value> = approval["approvals"].as_array().into_iter().flatten().collect();
    let approved_by = match (approvals.as_slice(), field(approval, "by")) {
        ([], "") if by_operator => actor.to_owned(),
        ([], "") => AUTOMATIC.to_owned(),
        ([], by) => by.to_owned(),
        (all, _) => all.iter().map(|one| field(one, "actor")).collect::<Vec<_>>().join(", "),
    };
    let tier = present_name(document, "tier").to_owned();
    let at = field(document, "time");
    let change = || match kind {
        "user.created" | "user.invited" | "user.removed" => String::new(),
        "user.suspended" => format!("suspended as {cause}"),
        "user.reactivated" => format!("no longer {cause}"),
        _ => change::differences(before, after).join("; "),
    };
    let evidence = || {
        let view = View { width: usize::MAX, now: DateTime::UNIX_EPOCH, zone: chrono_tz::Tz::UTC };
        change::evidence(data(document, "evidence"), &view).join("; ")
    };
    let comment = || match (approvals.as_slice(), field(approval, "comment")) {
        ([], "") if cause == "operator" => {
            let said = data(document, "evidence").get(0).map(|seen| field(seen, "value"));
            said.unwrap_or_default().to_owned()
        }
        ([] | [_], comment) => comment.to_owned(),
        (all, _) => {
            let said = all.iter().map(|one| (field(one, "actor"), field(one, "comment")));
            let said = said.filter(|(_, comment)| !comment.is_empty());
            said.map(|(actor, comment)| format!("{actor}: {comment}"))
                .collect::<Vec<_>>()
                .join("; ")
        }
    };
    let cell = |name: &str| match name {
        "left_at" | "joined_at" | "changed_at" => at.to_owned(),
        "cause" => cause.clone(),
        "approved_by" => approved_by.clone(),
        "manager" => review::name_of(present_name(document, "manager")),
        "ou" => review::parent(present_name(document, "dn")).unwrap_or_default().to_owned(),
        "tier" => tier.clone(),
        "how" => kind.trim_start_matches("user.").to_owned(),
        "type" => kind.to_owned(),
        "change" => change(),
        "evidence" => evidence(),
        "comment" => comment(),
        "plan" => field(approval, "plan").to_owned(),
        "returned_at" => returned_at.unwrap_or_default().to_owned(),
        "former_display_name" => former_name(document, "display_name").to_owned(),
        "former_primary_email" => former_name(document, "primary_email").to_owned(),
        "account" | "actor" | "run" => data(document, name).as_str().unwrap_or_default().to_owned(),
        "seq" => seq.to_string(),
        "user_id" => field(document, "subject").to_owned(),
        name => present_name(document, name).to_owned(),
    };
    let cells = report.columns().iter().map(|column| cell(column.name)).collect();
    Some(Row { cells, tier: tier.clone(), at: Some(at.to_owned()) })
}

/// Stands for the approver of a change within the limits, which needs no approval.
const AUTOMATIC: &str = "automatic";

/// Returns the row of a user.
pub fn user_row(report: Report, user: &User) -> Row {
    let profile = |name: &str| user.profile.get(name).and_then(Value::as_str).unwrap_or_default();
    let link = user.directory.as_ref();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let cell = |name: &str| match name {
        "display_name" => text(&user.display_name),
        "primary_email" => text(&user.primary_email),
        "tier" => user.tier.to_string(),
        "manager" => review::name_of(profile("manager")),
        "ou" => link.and_then(|link| review::parent(&link.dn)).unwrap_or_default().to_owned(),
        "account" => user.account.clone(),
        "directory" => link.map(|link| link.name.clone()).unwrap_or_default(),
        "last_sign_in_at" => last_seen(user).unwrap_or_default(),
        "created_at" => user.created_at.clone(),
        "expires_at" => text(&user.expires_at),
        "note" => user.note.as_ref().map(|note| note.text.clone()).unwrap_or_default(),
        "user_id" => user.id.clone(),
        // Filled in by the reviewer.
        "decision" => String::new(),
        name => profile(name).to_owned(),
    };
    let cells = report.columns().iter().map(|column| cell(column.name)).collect();
    Row { cells, tier: user.tier.to_string(), at: None }
}

/// Returns the last sign-in of a user, here or in AD. AD tells it where `extra` names
/// lastLogonTimestamp, up to two weeks late (MS-ADA1 2.351).
fn last_seen(user: &User) -> Option<String> {
    let extra = user.profile.get("extra").and_then(|extra| extra.get("lastLogonTimestamp"));
    let in_ad = extra.map(value).and_then(|ticks| of_filetime(&ticks));
    let here = [&user.last_sign_in_at, &user.joined_at].into_iter().flatten().cloned();
    here.chain(in_ad).max_by_key(|at| instant_of(at))
}

/// Converts a number of 100 ns since 1601 (MS-DTYP 2.3.3) to RFC 3339.
fn of_filetime(ticks: &str) -> Option<String> {
    let microseconds = ticks.parse::<i64>().ok().filter(|ticks| *ticks > 0)? / 10;
    let begin = DateTime::parse_from_rfc3339("1601-01-01T00:00:00Z").ok()?.to_utc();
    let at = begin.checked_add_signed(TimeDelta::microseconds(microseconds))?;
    Some(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}
