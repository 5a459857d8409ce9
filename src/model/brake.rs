//! Brakes: what operators have stopped, as the event log tells it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Actor, Timestamp};

/// A brake that an operator put on or took off.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Brake {
    /// The number of its event, and the id.
    pub seq: u64,
    pub event: Uuid,
    pub actor: Actor,
    /// The id of a user, or the name of a directory.
    pub subject: String,
    pub turn: BrakeTurn,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrakeTurn {
    Suspended { why: String },
    Reactivated,
    Paused { until: Timestamp },
    Resumed,
}

impl Brake {
    /// Returns the brake that the text of an event tells of. Few events do, and only those are parsed.
    pub fn told_by(seq: u64, kind: &str, document: &str) -> Option<Self> {
        let may_tell = match kind {
            "directory.paused" | "directory.resumed" => true,
            _ => kind.starts_with("user.") && document.contains("\"operator\""),
        };
        let document = may_tell.then(|| serde_json::from_str(document).ok()).flatten()?;
        Self::of(seq, &document)
    }

    /// Returns the brake that an event tells of.
    pub fn of(seq: u64, document: &Value) -> Option<Self> {
        let data = &document["data"];
        let names_operator =
            |causes: &Value| causes.as_array().is_some_and(|all| all.contains(&"operator".into()));
        let turn = match document["type"].as_str()? {
            "user.suspended" | "user.updated" if data["after"]["cause"] == "operator" => {
                let why = data["evidence"][0]["value"].as_str().unwrap_or_default().to_owned();
                BrakeTurn::Suspended { why }
            }
            "user.reactivated" | "user.updated"
                if names_operator(&data["before"]["causes"])
                    && !names_operator(&data["after"]["causes"]) =>
            {
                BrakeTurn::Reactivated
            }
            "directory.paused" => {
                let until = serde_json::from_value(data["after"]["paused_until"].clone()).ok()?;
                BrakeTurn::Paused { until }
            }
            "directory.resumed" => BrakeTurn::Resumed,
            _ => return None,
        };
        Some(Self {
            seq,
            event: serde_json::from_value(document["id"].clone()).ok()?,
            actor: serde_json::from_value(data["actor"].clone()).ok()?,
            subject: document["subject"].as_str()?.to_owned(),
            turn,
        })
    }
}
