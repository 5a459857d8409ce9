//! Commits that a database server has lost: they are told, and brakes are put on again.

use serde_json::{Value, json};

use crate::engine::{Attention, Engine, EngineError, UserError};
use crate::model::{Actor, Brake, BrakeTurn, Event, EventCause};
use crate::store::{Loss, REWOUND};

/// The end of the reason for a brake that is put on again.
const AGAIN: &str = "(put on again: the database had lost it)";

/// The event of an operator who knows of a loss.
pub const LOSS_ACCEPTED: &str = "store.loss_accepted";

impl Engine {
    /// Tells what the store has lost since this machine last worked with it, puts brakes on again that
    /// were lost, and has each later transaction compared with the log. Only a leader tells.
    pub async fn settle_lost_commits(&self) -> Result<(), EngineError> {
        if let Some(mut loss) = self.store.lost_commits().await? {
            let event = |loss: &Loss| self.about_store(REWOUND, &Actor::rosterd(), document(loss));
            if self.leads() && self.store.tell_loss(&mut loss, event, &self.clock).await? {
                let first = loss.first.map_or_else(String::new, |first| format!("{first} to "));
                tracing::error!(
                    "store has lost the events {first}{}, which were committed; all runs only plan until you approve: rosterctl event list --type {REWOUND}",
                    loss.last.seq
                );
            }
            for brake in &loss.brakes {
                self.put_on_again(brake).await?;
            }
        }
        Ok(self.store.trust_log().await?)
    }

    async fn put_on_again(&self, brake: &Brake) -> Result<(), EngineError> {
        let Brake { subject, actor, turn, .. } = brake;
        let done = match turn {
            BrakeTurn::Suspended { why } => {
                let why = format!("{why} {AGAIN}");
                self.suspend(subject, why.trim(), actor).await.map(drop)
            }
            BrakeTurn::Paused { until } if *until > self.clock.now() => {
                self.pause_until(subject, *until, actor).await
            }
            BrakeTurn::Paused { .. } | BrakeTurn::Reactivated | BrakeTurn::Resumed => return Ok(()),
        };
        match done {
            Ok(()) => {
                tracing::warn!("{subject}: the brake of {actor} was lost, and is on again");
                Ok(())
            }
            Err(EngineError::User(UserError::AlreadySuspended(_))) => Ok(()),
            Err(error @ EngineError::Store(_)) => Err(error),
            // The user or the directory was lost, too. The event names the brake.
            Err(error) => {
                tracing::error!("{subject}: the brake of {actor} is not on again: {error}");
                Ok(())
            }
        }
    }

    /// Returns what needs attention about the store itself.
    pub async fn store_attention(&self) -> Result<Vec<Attention>, EngineError> {
        let lost = self.store.loss().await?.map(|seq| {
            format!(
                "the database has lost commits (event {seq}), and all runs only plan until you approve; see rosterctl event list --type {REWOUND}, then rosterctl event accept-loss"
            )
        });
        let others = self.store.notes_of_others();
        Ok(lost.into_iter().chain(others).chain(self.store.warning()).collect())
    }

    /// Notes that an operator knows of a loss. Changes that wait for approval still wait.
    pub async fn accept_loss(&self, actor: &Actor) -> Result<(), EngineError> {
        let seq = self.store.loss().await?.ok_or(EngineError::NoLoss)?;
        let event = self.about_store(LOSS_ACCEPTED, actor, json!({ "event": seq }));
        Ok(self.store.accept_loss(event, &self.clock).await?)
    }

    fn about_store(&self, kind: &'static str, actor: &Actor, after: Value) -> Event {
        let cause =
            EventCause { actor: actor.clone(), run: None, account: None, at: self.clock.now() };
        Event::about(kind, "store", &cause, Value::Null, after)
    }
}

fn document(loss: &Loss) -> Value {
    let brakes: Vec<Value> = loss
        .brakes
        .iter()
        .map(|brake| json!({ "seq": brake.seq, "subject": brake.subject, "actor": brake.actor }))
        .collect();
    json!({
        "lost": loss.first.map(|first| loss.last.seq + 1 - first),
        "from": loss.first,
        "to": loss.last.seq,
        "brakes": brakes,
    })
}
