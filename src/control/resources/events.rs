//! The log, as it is looked at: listed, followed and verified.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::control::problem::Refusal;
use crate::control::read::limit;
use crate::control::server::{Answer, Control};
use crate::control::transport::connection::Peer;
use crate::control::transport::limits::POLLS_OF_ONE;
use crate::control::{api, convert};
use crate::engine::EngineError;
use crate::model::{Guid, RunId, Timestamp};
use crate::store::{AccountScope, EventFilter, LogHead};

/// Longer than this nobody waits for news in one request: who follows the log asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

type Shared = State<Arc<Control>>;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct WhichEvents {
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

pub(in crate::control) async fn events(
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
        Some(_) => Some(peer.waits().ok_or_else(|| too_many(peer.uid))?),
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
        () = peer.hurry.cancelled(), if wait.is_some() => Vec::new(),
    };
    Ok(Json(api::Events { events: events.into_iter().map(convert::event).collect() }))
}

fn too_many(uid: u32) -> Refusal {
    let detail = format!(
        "{POLLS_OF_ONE} requests of uid {uid} wait for news already: end one of them, or ask without wait"
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
pub(in crate::control) struct AgainstWhat {
    /// A head that was noted elsewhere, as `SEQ:HASH`: the log has to contain it.
    head: Option<String>,
}

pub(in crate::control) async fn verify(
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
    Ok(Json(convert::log_check(control.engine.store.verify_log(noted).await?, noted)))
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
