//! The daily digest: an event that sums up a day, and what waits for an operator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::engine::periodic::Periodic;
use crate::engine::{Engine, EngineError};
use crate::model::{Actor, Event, EventCause, Timestamp};
use crate::store::{EventFilter, StoredEvent, UserFilter};

const PERIOD: Duration = Duration::from_mins(1);

const DIGEST: &str = "digest.daily";

/// People that a digest names.
const NAMED: usize = 10;

/// Most expiring accounts that are counted.
const COUNTED: u64 = 10_000;

/// The digest counts accounts that expire within this time.
const SOON: Duration = Duration::from_hours(14 * 24);

/// The periodic task that records the digest.
pub(in crate::engine) struct DailyDigest(Arc<Engine>);

impl DailyDigest {
    pub(in crate::engine) fn new(engine: &Arc<Engine>) -> Self {
        Self(Arc::clone(engine))
    }
}

impl Periodic for DailyDigest {
    fn name(&self) -> &'static str {
        "daily-digest"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn round(&mut self) -> Result<(), EngineError> {
        self.0.record_digest().await
    }
}

/// The events of a day, summed up.
#[derive(Default)]
struct Day {
    joiners: u64,
    leavers: u64,
    returned: u64,
    causes: BTreeMap<String, u64>,
    /// The first leavers by name.
    people: BTreeMap<String, Value>,
}

impl Day {
    fn add(&mut self, event: &StoredEvent) {
        let data = &event.document["data"];
        match event.document["type"].as_str().unwrap_or_default() {
            "user.created" | "user.invited" => self.joiners += 1,
            "user.reactivated" => self.returned += 1,
            kind @ ("user.suspended" | "user.released" | "user.removed") => {
                // A user who was not active has lost its access before.
                if kind != "user.suspended" && data["before"]["status"] != "active" {
                    return;
                }
                self.leavers += 1;
                let cause = match kind {
                    "user.released" => "released",
                    "user.removed" => "removed",
                    _ => data["after"]["cause"].as_str().unwrap_or("unknown"),
                };
                *self.causes.entry(cause.to_owned()).or_default() += 1;
                let names = &data["user"]["before"];
                if names.is_object() {
                    let name = names["display_name"].as_str().unwrap_or_default().to_lowercase();
                    let field = |field: &str| names[field].clone();
                    let named = json!({ "display_name": field("display_name"),
                        "primary_email": field("primary_email"), "sam_account_name": field("sam_account_name") });
                    self.people.insert(format!("{name} {}", event.seq), named);
                    if self.people.len() > NAMED {
                        self.people.pop_last();
                    }
                }
            }
            _ => {}
        }
    }
}

impl Engine {
    /// Records the digest if its time has come since the last one.
    pub async fn record_digest(&self) -> Result<(), EngineError> {
        let Some(times) = self.configured().rules.digest.clone() else { return Ok(()) };
        let now = self.clock.now();
        let last =
            EventFilter { kinds: vec![DIGEST.to_owned()], limit: 1, ..EventFilter::default() };
        let last = self.store.events(&last).await?.pop();
        let last = last.and_then(|event| Timestamp::deserialize(&event.document["time"]).ok());
        let since = last.unwrap_or(self.started_at);
        if times.next(since).is_none_or(|due| now < due) {
            return Ok(());
        }
        let cause = EventCause { actor: Actor::rosterd(), run: None, account: None, at: now };
        let after = self.digest(since, now).await?;
        let event = Event::about(DIGEST, "digest", &cause, Value::Null, after);
        Ok(self.store.record(&[event], &self.clock).await?)
    }

    /// Sums up the events since a time, and the present state.
    async fn digest(&self, since: Timestamp, now: Timestamp) -> Result<Value, EngineError> {
        let mut day = Day::default();
        let kinds = [
            "user.created",
            "user.invited",
            "user.suspended",
            "user.reactivated",
            "user.released",
            "user.removed",
        ];
        let mut filter = EventFilter {
            after: Some(0),
            kinds: kinds.map(str::to_owned).to_vec(),
            since: Some(since),
            until: Some(now),
            limit: 1_000,
            ..EventFilter::default()
        };
        loop {
            let page = self.store.events(&filter).await?;
            for event in &page {
                day.add(event);
            }
            match page.last() {
                Some(last) if page.len() as u64 == filter.limit => filter.after = Some(last.seq),
                _ => break,
            }
        }
        let mut waiting = 0;
        let mut attention = Vec::new();
        for directory in self.configured().directories.values() {
            let name = &directory.config.name;
            let status = self.directory_status(directory).await?;
            waiting += status.held;
            attention.extend(status.attention.into_iter().map(|text| format!("{name}: {text}")));
        }
        for target in self.target_statuses().await? {
            waiting += target.held;
            attention.extend(target.attention);
        }
        for hook in self.hook_statuses().await? {
            if hook.deliveries.failed > 0 {
                let (name, n) = (&hook.name, hook.deliveries.failed);
                attention.push(format!(
                    "hook {name}: {n} dead letters: rosterctl hook deliveries {name} --state failed"
                ));
            }
        }
        let expiring = UserFilter {
            expires_before: Some(now.plus(SOON)),
            limit: Some(COUNTED),
            ..UserFilter::default()
        };
        let expiring = self.store.users(&expiring).await?.len();
        let Day { joiners, leavers, returned, causes, people } = day;
        Ok(json!({
            "since": since,
            "joiners": joiners,
            "leavers": leavers,
            "returned": returned,
            "causes": causes,
            "people": people.into_values().collect::<Vec<_>>(),
            "waiting": waiting,
            "attention": attention,
            "expiring": expiring,
        }))
    }
}
