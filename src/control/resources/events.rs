//! The event log: listed, followed and verified.

use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::request::{Answer, Shared, limit};
use crate::control::api;
use crate::control::operation::{Operation, read};
use crate::control::problem::Refusal;
use crate::control::state::Control;
use crate::control::transport::connection::Peer;
use crate::control::transport::limits::POLLS_PER_USER;
use crate::engine::EngineError;
use crate::model::{Guid, RunId, Timestamp};
use crate::store::{AccountScope, ChainBreak, EventFilter, LogHead, StoredEvent, Verified};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read("/events", list, "Everything that happened")
            .with_query::<WhichEvents>()
            .answers::<api::Events>("The events, oldest first; none where the time is over, or the connection is needed by others")
            .fails(&[(429, "Too many requests of the caller wait for news")]),
        read("/events/verify", verify, "Follow the chain of the log from its first entry")
            .with_query::<AgainstWhat>()
            .answers::<api::LogCheck>("Its end, or where it breaks"),
    ]
}

/// Longer than this nobody waits for news in one request: who follows the log asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WhichEvents {
    /// The first ones after this place in the log; without it, the newest ones.
    after: Option<u64>,
    /// Of this type; `user.*` is all that begin so.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// About this user's id, account, directory or other object.
    subject: Option<String>,
    /// About this person: an address, a user id or an objectGUID.
    person: Option<String>,
    /// That have to do with the account of this handle: about itself, its users, claims and directories.
    account: Option<String>,
    /// Of the run with this id.
    #[schemars(with = "Option<String>")]
    run: Option<RunId>,
    /// Not earlier than this, RFC 3339.
    #[schemars(with = "Option<String>")]
    since: Option<Timestamp>,
    /// Earlier than this, RFC 3339.
    #[schemars(with = "Option<String>")]
    until: Option<Timestamp>,
    /// At most so many; 200 when nothing is said, 1,000 at most.
    limit: Option<u64>,
    /// Where there are none yet, how many seconds to wait for some; 25 at most. Needs `after`.
    wait: Option<u64>,
}

async fn list(
    State(control): Shared,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(which): Query<WhichEvents>,
) -> Answer<api::Events> {
    let wait = which.wait.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
    if wait.is_some() && which.after.is_none() {
        return Err(Refusal::invalid("wait needs after: the place in the log to wait behind"));
    }
    let filter = control.filter(which).await?;
    let store = &control.engine.store;
    let _waiting = match wait {
        Some(_) => Some(peer.begin_poll().ok_or_else(|| too_many(peer.uid))?),
        None => None,
    };
    // Before the first look: what is written in between wakes us.
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
    Ok(Json(api::Events { events: events.into_iter().map(convert).collect() }))
}

fn too_many(uid: u32) -> Refusal {
    let detail = format!(
        "{POLLS_PER_USER} requests of uid {uid} wait for news already: end one of them, or ask without wait"
    );
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, detail)
}

impl Control {
    async fn filter(&self, which: WhichEvents) -> Result<EventFilter, Refusal> {
        let WhichEvents {
            after,
            kind,
            subject,
            person,
            account,
            run,
            since,
            until,
            limit: asked,
            wait: _,
        } = which;
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
        Ok(EventFilter { after, kind, subjects, account, run, since, until, limit: limit(asked) })
    }

    /// What events about a person are about: its user, and its objectGUID while it had none.
    async fn subjects_of(&self, who: &str) -> Result<Vec<String>, EngineError> {
        match self.engine.find_user(who).await {
            Ok(user) => Ok([Some(user.id.to_string()), user.link.map(|l| l.guid.to_string())]
                .into_iter()
                .flatten()
                .collect()),
            Err(EngineError::NotFound { what, name }) => match who.parse::<Guid>() {
                Ok(guid) => Ok(vec![guid.to_string()]),
                Err(_) => Err(EngineError::NotFound { what, name }),
            },
            Err(error) => Err(error),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AgainstWhat {
    /// A head that was noted elsewhere, as `SEQ:HASH`: the log has to contain it.
    head: Option<String>,
}

async fn verify(
    State(control): Shared,
    Query(AgainstWhat { head }): Query<AgainstWhat>,
) -> Answer<api::LogCheck> {
    let noted = match head.as_deref() {
        None => None,
        Some(text) => Some(noted(text).ok_or_else(|| {
            Refusal::invalid(format!(
                "\"{text}\" is no head of a log: write SEQ:HASH, as event verify prints it"
            ))
        })?),
    };
    Ok(Json(log_check(control.engine.store.verify_log(noted).await?, noted)))
}

/// `SEQ:HASH`, the hash in hexadecimal digits.
fn noted(text: &str) -> Option<LogHead> {
    let (seq, digits) = text.split_once(':')?;
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(LogHead { seq: seq.parse().ok()?, hash })
}

/// An event.
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

/// What following the chain of the log came to.
pub(in crate::control) fn log_check(
    outcome: Result<Verified, ChainBreak>,
    noted: Option<LogHead>,
) -> api::LogCheck {
    match outcome {
        Ok(verified) => {
            let Verified { begins_after: _, head, keyed_from } = verified;
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

/// The sentence on what an unbroken chain proves, and what it does not.
fn proves(
    Verified { begins_after, head, keyed_from }: &Verified,
    noted: Option<LogHead>,
) -> String {
    let (first, last) = (begins_after + 1, head.seq);
    if last < first {
        return "The log is empty: that proves nothing.".to_owned();
    }
    let mut told = match keyed_from {
        Some(keyed) => vec![format!(
            "Entries {first} to {last} follow from each other, from {keyed} on by the key: nobody without the key edited, inserted or removed \
             any of them."
        )],
        None => vec![format!(
            "Entries {first} to {last} follow from each other. That shows edits within the log; whoever can write the database can compute \
             the whole chain anew ([events] key-file prevents that)."
        )],
    };
    told.push(match noted {
        Some(noted) if noted.seq == last => "It is the log whose head was noted, from beginning to end.".to_owned(),
        Some(noted) => format!(
            "Up to entry {} it is the log whose head was noted: that part was neither computed anew nor cut off. Of the end after it, \
             entries may have been cut off.",
            noted.seq
        ),
        None => "That no entries were cut off at the end is not proven: only a head that was noted elsewhere shows that (the journal has \
                 one for each run, webhooks one for each event)."
            .to_owned(),
    });
    told.join(" ")
}
