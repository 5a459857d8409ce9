//! The values that pass between the stages of a run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::directory::Grants;
use crate::model::{
    Actor, AddressKey, ChangeVerb, Digest, DirectoryName, Dn, Guid, ObservationNumber, PlanId,
    Rejection, RunMode, ServerUrl, Sid, Timestamp, Trigger,
};
pub use crate::reconcile::Scope;
use crate::reconcile::{
    Checkpoint, Confirmation, FullReadReason, GracePeriod, HighWaterMarks, Observation, Proposal,
    Reviewed, Verdict,
};
use crate::store::{HeldChanges, Spool};

/// The server that a run reads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Source {
    /// The server in use, or the next one where it does not answer.
    #[default]
    InUse,
    /// Another server, of which only suspensions are taken.
    Other(ServerUrl),
}

/// A run to begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub trigger: Trigger,
    pub scope: Scope,
    pub source: Source,
    /// The operator or program that asked for the run; `None` for rosterd itself.
    pub actor: Option<Actor>,
    /// The entries whose sIDHistory an operator asked about.
    pub relinks: BTreeSet<Guid>,
    /// The plan whose approved changes the run applies, if they are still proposed.
    pub approves: Option<PlanId>,
    /// The checkpoint of the directory once the run has succeeded.
    pub checkpoint: Option<Checkpoint>,
    /// Why an incremental run became a full one.
    pub full_read_reason: Option<FullReadReason>,
    /// Warnings from the choice of people.
    pub remarks: Vec<String>,
}

impl Request {
    pub fn full(trigger: Trigger, actor: Option<Actor>) -> Self {
        Self::over(Scope::All, trigger, actor)
    }

    /// Returns a request for a scoped run.
    pub fn people(
        trigger: Trigger,
        people: impl IntoIterator<Item = Guid>,
        actor: Option<Actor>,
    ) -> Self {
        Self::over(Scope::People(people.into_iter().collect()), trigger, actor)
    }

    fn over(scope: Scope, trigger: Trigger, actor: Option<Actor>) -> Self {
        Self {
            trigger,
            scope,
            source: Source::InUse,
            actor,
            relinks: BTreeSet::new(),
            approves: None,
            checkpoint: None,
            full_read_reason: None,
            remarks: Vec::new(),
        }
    }

    pub(in crate::engine) fn mode(&self) -> RunMode {
        match (&self.scope, &self.checkpoint) {
            (Scope::All, _) => RunMode::Full,
            (Scope::People(_), Some(_)) => RunMode::Incremental,
            (Scope::People(_), None) => RunMode::Scoped,
        }
    }
}

/// The result of the read phase.
#[derive(Debug)]
pub struct ObservedRun {
    /// The people, each decided. The plan is made of nothing else.
    pub seen: Observation,
    /// The order of this observation among all.
    pub number: ObservationNumber,
    pub began_at: Timestamp,
    pub warnings: Vec<String>,
    /// The number of entries read.
    pub entries: u64,
    /// The answers about people who were asked for by GUID. A scoped run asks for all of them.
    pub found: BTreeMap<Guid, Confirmation>,
    /// The people in `found` who have a user.
    pub known_users: BTreeSet<Guid>,
    /// The commands that give the service account a right.
    pub grants: Grants,
    /// The loss of rights that this or an earlier full read found.
    pub rights_lost: Option<String>,
    /// The baseline that the read was compared with; see `DirectoryState::baseline`.
    pub baseline: u64,
    /// The checkpoint that a complete full read makes valid.
    pub checkpoint: Option<Checkpoint>,
    /// The people that other directories of the account have to read, with their DNs there.
    pub left_to: BTreeMap<DirectoryName, BTreeMap<Guid, Dn>>,
    /// The SIDs of stored people that are not stored yet.
    pub sids: BTreeMap<Guid, Sid>,
    /// The people of this directory whom it does not show, and who may belong to another one.
    pub unseen: BTreeSet<Guid>,
    /// The pending addresses whose people were read.
    pub addresses: BTreeSet<AddressKey>,
    /// Why the connection was lost, if it was. The people who were seen before still count.
    pub lost_server: Option<String>,
    /// The marks of the servers until now, which the next one is compared with.
    pub high_water_marks: HighWaterMarks,
}

/// The whole plan of a run that changes nothing.
#[derive(Debug)]
pub struct PlannedRun {
    pub verdict: Verdict,
    pub warnings: Vec<String>,
}

/// A plan that the guard has ruled on.
#[derive(Debug)]
pub(in crate::engine) struct ReviewedRun {
    pub reviewed: Reviewed,
    /// The plans of the slices, in order. One is in memory, so that a run of one slice writes no file.
    pub plans: Spool<Proposal>,
    pub warnings: Vec<String>,
    /// The output of the gate that holds the plan.
    pub note: Option<String>,
}

/// The observation and plan of a run that changes nothing.
#[derive(Debug)]
pub struct DryRun {
    pub observed: ObservedRun,
    pub planned: PlannedRun,
}

/// A plan to show to the gates.
#[derive(Debug)]
pub(in crate::engine) struct GateQuestion {
    /// The digest of the changes that would be applied without an operator's approval.
    pub digest: Digest,
    /// The document that the gates read.
    pub plan: Value,
}

/// The answer of all gates together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::engine) enum GateAnswer {
    Unasked,
    /// Every gate passed the changes of this digest.
    Passed(Digest),
    /// One gate held the plan, with its reason and output.
    Held(String),
}

/// The parts of a plan that are recorded once its admitted changes have been applied.
#[derive(Debug)]
pub(in crate::engine) struct AppliedRun {
    /// The changes that wait for an operator.
    pub held: HeldChanges,
    /// The people with changes that wait for the end of quiet hours.
    pub quiet: BTreeMap<Guid, ChangeVerb>,
    pub grace_periods: Vec<GracePeriod>,
    pub ended: Vec<Rejection>,
    pub note: Option<String>,
    /// The sequence number from which the held changes are numbered.
    pub first_seq: u64,
}

/// The outcome of a run that reached its end.
#[derive(Debug, Default)]
pub(in crate::engine) struct Done {
    /// The reason why the run counts as failed although changes were applied.
    pub failure: Option<String>,
    /// Whether the event of a new held plan was recorded, so that `run.held` would repeat it.
    pub is_reported: bool,
}
