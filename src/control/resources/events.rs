//! The event log: listed, followed and verified.

use std::time::Duration;

use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::request::{Answer, By, Shared, limit};
use crate::control::api;
use crate::control::operation::{Operation, REFUSED, act, read};
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::control::transport::connection::Peer;
use crate::control::transport::limits::POLLS_PER_USER;
use crate::engine::{EngineError, LOSS_ACCEPTED, UserError};
use crate::model::{Guid, RunId, Timestamp, event_types};
use crate::store::{
    AccountScope, ChainBreak, EventFilter, LogHead, REWOUND, StoredEvent, Verified,
};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/events", list, "List events")
            .with_query::<ListQuery>()
            .answers::<api::Events>(
                "The events, the oldest first; none when a long poll ended without one",
            )
            .fails(&[(429, "The caller has too many long polls")]),
        read("/events/verify", verify, "Verify the hash chain of the log from its first entry")
            .with_query::<VerifyQuery>()
            .answers::<api::LogCheck>("The head of the chain, or the entry that breaks it"),
        act(
            LOSS_ACCEPTED,
            "/events/accept-loss",
            accept_loss,
            "Accept that the database lost commits",
        )
        .answers::<api::StoreStatus>("What needs attention about the store afterwards")
        .fails(&[REFUSED]),
    ]
}

async fn accept_loss(State(control): Shared, Extension(by): By) -> Answer<api::StoreStatus> {
    control.engine.accept_loss(&by.actor).await?;
    Ok(Json(api::StoreStatus { attention: control.engine.store_attention().await? }))
}

/// Time limit of a long poll. A client that follows the log sends another request.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Sequence number. The events after it are returned; without it, the newest ones.
    after: Option<u64>,
    /// Sequence number. Only events before it are returned.
    before: Option<u64>,
    /// Event types, separated by commas; `user.*` covers all types with this prefix.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Subject: a user id, account, directory or other object.
    subject: Option<String>,
    /// Person: an address, id, logon name, DN, employee id or full name.
    person: Option<String>,
    /// Handle of an account. Covers events of its users, claims and directories, too.
    account: Option<String>,
    /// Id of a run.
    #[schemars(with = "Option<String>")]
    run: Option<RunId>,
    /// Earliest time (RFC 3339).
    #[schemars(with = "Option<String>")]
    since: Option<Timestamp>,
    /// End of the time range, which is excluded (RFC 3339).
    #[schemars(with = "Option<String>")]
    until: Option<Timestamp>,
    /// Maximum number of results: 200 by default, 1,000 at most.
    limit: Option<u64>,
    /// Seconds to wait for an event if there is none; 25 at most. Needs `after`.
    wait: Option<u64>,
}

async fn list(
    State(control): Shared,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(query): Query<ListQuery>,
) -> Answer<api::Events> {
    let wait = query.wait.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
    if wait.is_some() && query.after.is_none() {
        return Err(Refusal::invalid(
            "wait needs after: give the sequence number of the last known event",
        ));
    }
    let filter = control.filter(query).await?;
    let store = &control.engine.store;
    let _poll = match wait {
        Some(_) => Some(peer.begin_poll().ok_or_else(|| too_many(peer.uid))?),
        None => None,
    };
    // Subscribes before the first query, so that an event written in between ends the wait.
    let mut news = store.news();
    let found = async {
        loop {
            let events = store.events(&filter).await?;
            if !events.is_empty() || wait.is_none() || news.changed().await.is_err() {
                return Ok::<_, Refusal>(events);
            }
        }
    };
    let events = tokio::select! {
        found = tokio::time::timeout(wait.unwrap_or(Duration::MAX), found) => found.unwrap_or(Ok(Vec::new()))?,
        () = control.engine.stop.cancelled() => Vec::new(),
        () = peer.finish.cancelled(), if wait.is_some() => Vec::new(),
    };
    let older = match (events.first(), filter.after) {
        (Some(first), None) => store.older_events(&filter, first.seq).await?,
        _ => None,
    };
    Ok(Json(api::Events { events: events.into_iter().map(convert).collect(), older }))
}

fn too_many(uid: u32) -> Refusal {
    let detail =
        format!("uid {uid} has {POLLS_PER_USER} long polls already: end one of them, or omit wait");
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, detail)
}

impl Control {
    async fn filter(&self, query: ListQuery) -> Result<EventFilter, Refusal> {
        let ListQuery {
            after,
            before,
            kind,
            subject,
            person,
            account,
            run,
            since,
            until,
            limit: asked,
            wait: _,
        } = query;
        let kinds =
            kind.iter().flat_map(|kinds| kinds.split(',')).map(|kind| kind.trim().to_owned());
        let kinds: Vec<String> = kinds.filter(|kind| !kind.is_empty()).collect();
        for kind in &kinds {
            event_types(kind).map_err(Refusal::invalid)?;
        }
        let mut subjects: Vec<String> = subject.into_iter().collect();
        if let Some(who) = person {
            subjects.extend(self.subjects_of(&who).await?);
        }
        let account = match account {
            None => None,
            Some(handle) => {
                let account = self.engine.account(&handle).await?;
                let configured = self.engine.configured();
                let connected =
                    configured.directories.values().filter(|d| d.config.account == account.handle);
                let directories = connected.map(|d| d.config.name.clone()).collect();
                Some(AccountScope { account: account.id, handle: account.handle, directories })
            }
        };
        let limit = limit(asked);
        Ok(EventFilter { after, before, kinds, subjects, account, run, since, until, limit })
    }

    /// Returns the subjects of a person's events: the id of its user, and its objectGUID. Events
    /// from before the user existed have the objectGUID.
    async fn subjects_of(&self, who: &str) -> Result<Vec<String>, EngineError> {
        match self.engine.find_user(who).await {
            Ok(user) => Ok([Some(user.id.to_string()), user.link.map(|l| l.guid.to_string())]
                .into_iter()
                .flatten()
                .collect()),
            Err(error @ EngineError::User(UserError::Unknown { .. })) => {
                let guid: Guid = who.parse().map_err(|_| error)?;
                Ok(vec![guid.to_string()])
            }
            Err(error) => Err(error),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VerifyQuery {
    /// A noted head, as `SEQ:HASH`. The log must contain it.
    head: Option<String>,
}

async fn verify(
    State(control): Shared,
    Query(VerifyQuery { head }): Query<VerifyQuery>,
) -> Answer<api::LogCheck> {
    let noted = match head.as_deref() {
        None => None,
        Some(text) => Some(text.parse::<LogHead>().map_err(|()| {
            Refusal::invalid(format!(
                "\"{text}\" is not the head of a log: write SEQ:HASH, as event verify prints it"
            ))
        })?),
    };
    Ok(Json(log_check(control.engine.store.verify_log(noted).await?, noted)))
}

pub(in crate::control) fn convert(event: StoredEvent) -> api::Event {
    let StoredEvent { seq, document } = event;
    api::Event {
        seq,
        document: if document.is_object() {
            document
        } else {
            Value::Object(serde_json::Map::new())
        },
    }
}

pub(in crate::control) fn log_check(
    outcome: Result<Verified, ChainBreak>,
    noted: Option<LogHead>,
) -> api::LogCheck {
    match outcome {
        Ok(verified) => {
            let Verified { begins_after: _, head, keyed_from, lost: _ } = verified;
            let (entries, proves) = (head.seq, Some(proves(&verified, noted)));
            let head = Some(head.to_string());
            api::LogCheck {
                intact: true,
                entries,
                broken_at: None,
                finding: None,
                head,
                keyed_from,
                proves,
            }
        }
        Err(ChainBreak { seq, finding }) => {
            let entries = seq.saturating_sub(1);
            let (broken_at, finding) = (Some(seq), Some(finding.to_owned()));
            api::LogCheck {
                intact: false,
                entries,
                broken_at,
                finding,
                head: None,
                keyed_from: None,
                proves: None,
            }
        }
    }
}

/// Returns the proof that an unbroken chain gives, in sentences.
fn proves(
    Verified { begins_after, head, keyed_from, lost }: &Verified,
    noted: Option<LogHead>,
) -> String {
    let (first, last) = (begins_after + 1, head.seq);
    if last < first {
        return "The log is empty: that proves nothing.".to_owned();
    }
    let mut sentences = match keyed_from {
        Some(keyed) => vec![format!(
            "Entries {first} to {last} form an unbroken chain, with a key from {keyed} on: without the key, none of them can be \
             edited, inserted or removed."
        )],
        None => vec![format!(
            "Entries {first} to {last} form an unbroken chain. It shows edits within the log, but a writer of the database can \
             compute the whole chain anew ([events] key-file prevents that)."
        )],
    };
    if *lost > 0 {
        sentences.push(format!(
            "{lost} of these numbers are of entries that the database lost: rosterctl event list --type {REWOUND}."
        ));
    }
    sentences.push(match noted {
        Some(noted) if noted.seq == last => "The noted head is its end: the log is complete.".to_owned(),
        Some(noted) => format!(
            "The noted head is entry {}: the log up to it is unchanged and complete. Entries may have been cut off after the end.",
            noted.seq
        ),
        None => "Entries may have been cut off at the end: only a noted head shows that (the journal has one for each run, \
                 webhooks one for each event)."
            .to_owned(),
    });
    sentences.join(" ")
}
