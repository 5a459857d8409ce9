//! The contents of the store after a step, read by queries of its own, and the sum of its events.

use std::collections::{BTreeMap, BTreeSet};

use rosterd::model::{
    ChangeClass, ChangeVerb, Guid, PlanId, Reason, RunId, Timestamp, User, UserId, WrittenChange,
};
use rosterd::store::{EventFilter, Run, Store, UserFilter};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// One change that was applied for a directory or by an operator.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) run: RunId,
    /// The directory whose run wrote it; empty for an operator.
    pub(super) directory: String,
    /// Whether a run of a directory wrote it.
    pub(super) by_directory: bool,
    pub(super) kind: String,
    pub(super) class: Option<ChangeClass>,
    pub(super) user: UserId,
    pub(super) guid: Option<Guid>,
    pub(super) reason: Option<Reason>,
    pub(super) before: Value,
    pub(super) after: Value,
    pub(super) evidence: Value,
    pub(super) cluster: Option<String>,
    /// The row of the store.
    pub(super) marked_approved: bool,
    /// Whether an operator had seen and approved it.
    pub(super) approved: bool,
    pub(super) at: Timestamp,
}

/// The stored state of a person.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    /// The parent of the entry.
    pub(super) home: String,
    pub(super) entitled_by: Option<Guid>,
    pub(super) quarantine: Option<String>,
}

/// The sum of a user's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    standing: String,
    /// Whether it is invited and has not joined yet.
    is_invited: bool,
    causes: BTreeSet<Reason>,
    tier: String,
    primary: Option<String>,
    secondary: BTreeSet<String>,
    guid: Option<String>,
}

/// The store's contents at one moment.
#[derive(Clone, Debug)]
pub(super) struct Books {
    pub(super) users: BTreeMap<UserId, User>,
    /// Status by user, from the column.
    pub(super) statuses: BTreeMap<UserId, String>,
    pub(super) holders: BTreeMap<String, UserId>,
    pub(super) people: BTreeMap<Guid, Remembered>,
    /// The users whose automatic suspension is always held.
    pub(super) protected: BTreeSet<Guid>,
    /// The plans that have not ended, with their states and directories.
    pub(super) plans: Vec<(PlanId, String, String)>,
    /// The held changes, and the rejected ones that are still asked for.
    pub(super) held: Vec<WrittenChange>,
    /// The due rechecks: user, cause, and since when.
    pub(super) grace_periods: BTreeMap<(UserId, ChangeClass), Timestamp>,
    pub(super) runs: Vec<Run>,
    /// All applied changes since the beginning, in order.
    pub(super) written: Vec<Written>,
    /// The number of applied changes before the last step.
    pub(super) written_before: usize,
    pub(super) told: BTreeMap<UserId, Told>,
    /// The number of events of each change, by run and user.
    pub(super) events: BTreeMap<(RunId, UserId), u64>,
    /// The types of the last step's events.
    pub(super) news: Vec<String>,
    last_row: i64,
    last_event: u64,
    /// The directories renamed in the last step, each with its previous name.
    pub(super) renamed: Vec<(String, String)>,
    /// Faults of the event chain.
    pub(super) broken_chain: Option<String>,
}

impl Written {
    /// The digest by which an operator recognises it.
    pub(super) fn recognised(&self) -> String {
        shown(self.user, &self.kind, &self.before, &self.after, self.reason.map(Reason::as_str))
    }
}

fn bytes16(row: &AnyRow, at: usize) -> Option<[u8; 16]> {
    row.get::<Option<Vec<u8>>, _>(at)?.try_into().ok()
}

fn id(row: &AnyRow, at: usize) -> uuid::Uuid {
    uuid::Uuid::from_bytes(bytes16(row, at).expect("an id"))
}

fn json(row: &AnyRow, at: usize) -> Value {
    serde_json::from_str(&row.get::<String, _>(at)).expect("a document")
}

/// The digest by which an operator recognises a change.
pub(super) fn shown(
    user: UserId,
    kind: &str,
    before: &Value,
    after: &Value,
    reason: Option<&str>,
) -> String {
    format!("{user} {kind} {before} {after} {reason:?}")
}

impl Books {
    /// Opens the store for reading.
    pub(super) fn new() -> Self {
        Self {
            users: BTreeMap::new(),
            statuses: BTreeMap::new(),
            holders: BTreeMap::new(),
            people: BTreeMap::new(),
            protected: BTreeSet::new(),
            plans: Vec::new(),
            held: Vec::new(),
            grace_periods: BTreeMap::new(),
            runs: Vec::new(),
            written: Vec::new(),
            written_before: 0,
            told: BTreeMap::new(),
            events: BTreeMap::new(),
            news: Vec::new(),
            last_row: 0,
            last_event: 0,
            renamed: Vec::new(),
            broken_chain: None,
        }
    }

    /// A clock that is set back moves the instants that were written.
    pub(super) fn clamp(&mut self, now: Timestamp) {
        self.written.iter_mut().for_each(|w| w.at = w.at.min(now));
    }

    /// Returns the changes of the last step.
    pub(super) fn fresh(&self) -> &[Written] {
        &self.written[self.written_before..]
    }

    /// Reads the changes since the last call. `approved` are the approved changes that this step
    /// may apply; `directories` are all names of directories, past and present.
    pub(super) async fn read(
        &self,
        store: &Store,
        url: &str,
        directories: &BTreeSet<String>,
        approved: &BTreeSet<String>,
    ) -> Self {
        use sqlx::Connection as _;
        let mut next = self.clone();
        next.written_before = next.written.len();
        let filter = UserFilter { limit: Some(1_000_000), ..UserFilter::default() };
        next.users =
            store.users(&filter).await.expect("users").into_iter().map(|u| (u.id, u)).collect();
        next.grace_periods.clear();
        for name in directories {
            let name = rosterd::model::DirectoryName::parse(name).expect("a name");
            let grace_periods = store.grace_periods(&name).await.expect("candidates");
            next.grace_periods.extend(
                grace_periods.into_iter().map(|s| ((s.user, s.cause.class()), s.first_seen)),
            );
        }
        next.runs = store.runs(None, 60).await.expect("runs");
        next.runs.retain(|run| {
            run.directory
                .as_ref()
                .is_some_and(|name| directories.iter().any(|d| d == name.as_str()))
        });

        let mut raw = sqlx::AnyConnection::connect(url).await.expect("a connection");
        let statuses = sqlx::query("SELECT id, status FROM users")
            .fetch_all(&mut raw)
            .await
            .expect("statuses");
        next.statuses = statuses.iter().map(|row| (UserId(id(row, 0)), row.get(1))).collect();
        let holders = sqlx::query("SELECT address_key, user_id FROM addresses")
            .fetch_all(&mut raw)
            .await
            .expect("addresses");
        next.holders = holders.iter().map(|row| (row.get(0), UserId(id(row, 1)))).collect();
        // A person whom several directories know is remembered as the directory of its user knows it.
        let people = sqlx::query(
            "SELECT p.guid, p.parent_key, p.entitled_by, p.quarantine FROM people p \
             LEFT JOIN users u ON u.guid = p.guid AND u.directory = p.directory \
             ORDER BY CASE WHEN u.id IS NULL THEN 0 ELSE 1 END",
        );
        let people = people.fetch_all(&mut raw).await.expect("people");
        let remembered = |row: &AnyRow| {
            let is = Remembered {
                home: row.get(1),
                entitled_by: bytes16(row, 2).map(Guid),
                quarantine: row.get(3),
            };
            (Guid(bytes16(row, 0).expect("a person")), is)
        };
        next.people = people.iter().map(remembered).collect();
        let protected = sqlx::query("SELECT guid FROM baseline_objects WHERE kind = 'protected'")
            .fetch_all(&mut raw)
            .await
            .expect("the baseline");
        next.protected =
            protected.iter().map(|row| Guid(bytes16(row, 0).expect("a person"))).collect();
        let plans = sqlx::query(
            "SELECT id, state, directory FROM plans WHERE state IN ('open', 'approved')",
        );
        let plans = plans.fetch_all(&mut raw).await.expect("plans");
        next.plans = plans.iter().map(|row| (PlanId(id(row, 0)), row.get(1), row.get(2))).collect();
        let written = sqlx::query(
            "SELECT c.run_id, c.directory, c.kind, c.class, c.user_id, c.guid, c.reason, c.before, c.after, c.evidence, c.cluster, \
             c.approved, c.at, c.rowid FROM changes c WHERE c.outcome = 'applied' AND c.rowid > $1 ORDER BY c.rowid",
        );
        for row in written.bind(self.last_row).fetch_all(&mut raw).await.expect("changes") {
            next.last_row = row.get(13);
            let (user, kind, before, after) =
                (UserId(id(&row, 4)), row.get::<String, _>(2), json(&row, 7), json(&row, 8));
            let reason = row.get::<Option<String>, _>(6);
            let approved =
                approved.contains(&shown(user, &kind, &before, &after, reason.as_deref()));
            next.written.push(Written {
                run: RunId(id(&row, 0)),
                by_directory: directories.contains(&row.get::<String, _>(1)),
                directory: row.get(1),
                kind,
                class: row.get::<Option<String>, _>(3).and_then(|c| ChangeClass::parse(&c)),
                user,
                guid: bytes16(&row, 5).map(Guid),
                reason: reason.and_then(|r| Reason::parse(&r)),
                before,
                after,
                evidence: json(&row, 9),
                cluster: row.get(10),
                marked_approved: row.get::<i64, _>(11) != 0,
                approved,
                at: Timestamp(row.get(12)),
            });
        }
        raw.close().await.expect("a connection that ends");

        next.held = Vec::new();
        let rejected =
            store.rejected_plans(None).await.expect("plans").into_iter().map(|plan| plan.id);
        for plan in next.plans.iter().map(|(plan, ..)| *plan).chain(rejected) {
            next.held.extend(store.plan_changes(plan).await.expect("a plan"));
        }
        let fresh = EventFilter {
            after: Some(self.last_event),
            limit: 1_000_000,
            ..EventFilter::default()
        };
        next.news.clear();
        next.renamed.clear();
        for event in store.events(&fresh).await.expect("events") {
            next.last_event = event.seq;
            next.news.push(event.document["type"].as_str().unwrap_or_default().to_owned());
            next.tell(&event.document);
        }
        // A renamed directory's history counts for its present name.
        for (from, to) in &next.renamed {
            next.written
                .iter_mut()
                .filter(|w| w.directory == *from)
                .for_each(|w| w.directory.clone_from(to));
        }
        next.broken_chain =
            store.verify_events(None).await.expect("the log").err().map(|b| format!("{b:?}"));
        next
    }

    /// Returns whether a suspension of this user is held.
    pub(super) fn is_held(&self, user: UserId) -> bool {
        self.held
            .iter()
            .any(|h| h.user == user && (matches!(h.kind, ChangeVerb::Suspend | ChangeVerb::Link)))
    }

    /// Applies one event.
    fn tell(&mut self, event: &Value) {
        let text =
            |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = text("/type");
        if kind == "directory.renamed" {
            let name = |when: &str| text(&format!("/data/{when}/directory")).to_owned();
            self.renamed.push((name("before"), name("after")));
        }
        let Some(user) =
            text("/subject").parse::<UserId>().ok().filter(|_| kind.starts_with("user."))
        else {
            return;
        };
        if kind == "user.quarantined" {
            return;
        }
        if let Ok(run) = text("/data/run").parse::<RunId>() {
            *self.events.entry((run, user)).or_default() += 1;
        }
        if kind == "user.removed" {
            self.told.remove(&user);
            return;
        }
        let after = &event["data"]["after"];
        let told = self.told.entry(user).or_default();
        let reasons = |value: &Value| -> BTreeSet<Reason> {
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|r| Reason::parse(r.as_str()?))
                .collect()
        };
        if after.get("primary_email").is_some() {
            told.primary = after["primary_email"].as_str().map(str::to_owned);
            told.secondary = after["secondary_emails"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|a| a.as_str())
                .map(str::to_owned)
                .collect();
        }
        match kind {
            "user.created" | "user.invited" | "user.linked" if after.get("tier").is_some() => {
                told.is_invited |= kind == "user.invited";
                if kind == "user.invited" { "invited" } else { "active" }
                    .clone_into(&mut told.standing);
                after["tier"].as_str().unwrap_or_default().clone_into(&mut told.tier);
                told.guid = after["object_guid"].as_str().map(str::to_owned);
                told.causes.extend(reasons(&after["causes"]));
            }
            "user.linked" => told.guid = after["object_guid"].as_str().map(str::to_owned),
            // An undone link.
            "user.updated" if after.get("tier").is_some() => {
                if told.is_invited {
                    "invited".clone_into(&mut told.standing);
                }
                after["tier"].as_str().unwrap_or_default().clone_into(&mut told.tier);
                told.guid = after["object_guid"].as_str().map(str::to_owned);
                told.causes = reasons(&after["causes"]);
            }
            "user.registered" => {
                told.is_invited = false;
                "active".clone_into(&mut told.standing);
            }
            "user.released" => "released".clone_into(&mut told.standing),
            "user.tier_changed" => {
                after["tier"].as_str().unwrap_or_default().clone_into(&mut told.tier)
            }
            "user.suspended" | "user.updated" if after.get("cause").is_some() => {
                told.causes.extend(after["cause"].as_str().and_then(Reason::parse));
            }
            "user.reactivated" | "user.updated" if after.get("causes").is_some() => {
                told.causes = reasons(&after["causes"])
            }
            _ => {}
        }
    }
}

impl Told {
    /// Returns the expected sum of this user's events.
    pub(super) fn of(user: &User) -> Self {
        Self {
            standing: user.standing.as_str().to_owned(),
            is_invited: user.invited_at.is_some() && user.joined_at.is_none(),
            causes: user.causes.iter().map(|c| c.reason).collect(),
            tier: user.tier.as_str().to_owned(),
            primary: user.addresses.primary.as_ref().map(ToString::to_string),
            secondary: user.addresses.secondary.iter().map(ToString::to_string).collect(),
            guid: user.link.as_ref().map(|l| l.guid.to_string()),
        }
    }
}
