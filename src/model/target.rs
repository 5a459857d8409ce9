//! Targets: SCIM service providers that follow the users of an account.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::change::ChangeVerb;
use super::class::ChangeClass;
use super::digest::Digest;
use super::ids::{DirectoryName, RunId, UserId, is_label};
use super::profile::Names;
use super::rejection;
use super::tier::Tier;
use super::time::Timestamp;
use super::words::words;
use super::written::{Holdable, Shown};

/// The name of a target in the configuration: `[a-z0-9-]{1,63}`. No directory has the same name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetName(String);

impl TargetName {
    pub fn parse(text: &str) -> Option<Self> {
        is_label(text).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Runs, plans and limits have one kind of name, because no target has the name of a directory.
impl From<&TargetName> for DirectoryName {
    fn from(target: &TargetName) -> Self {
        Self::of_label(target.0.clone())
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `id` of a resource, which only its target can interpret (RFC 7643, 3.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RemoteId(pub String);

impl fmt::Display for RemoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

words! {
    /// The rule for accounts that exist at a target already.
    pub enum Adopt {
        /// An operator approves each adoption.
        Ask = "ask",
        /// Adoptions within the limits need no approval.
        Always = "always",
        Never = "never",
    }
}

words! {
    /// The request that takes a leaver out of a target.
    pub enum LeaverAction {
        Deactivate = "deactivate",
        /// For targets without the attribute `active`.
        Delete = "delete",
    }
}

words! {
    /// The rule for mapped attributes that were changed at the target.
    pub enum DriftAction {
        Report = "report",
        Correct = "correct",
    }
}

words! {
    /// The attribute by which an account is recognised, beside `externalId`.
    pub enum MatchAttribute {
        UserName = "userName",
        Emails = "emails",
    }
}

words! {
    /// The origin of the link between a user and an account at a target.
    pub enum LinkOrigin {
        Created = "created",
        Adopted = "adopted",
    }
}

words! {
    /// The state of a counterpart.
    pub enum CounterpartState {
        /// No account is known.
        Absent = "absent",
        /// The account is about to be created. An answer may have been lost.
        Intended = "intended",
        Linked = "linked",
        /// The account was deleted at the target.
        Gone = "gone",
        /// An operator has ended the link.
        Disowned = "disowned",
    }
}

/// The account of one user at one target, as the rules need it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counterpart {
    pub user: UserId,
    pub state: CounterpartState,
    /// `None` until the target has answered with an id.
    pub id: Option<RemoteId>,
    pub origin: LinkOrigin,
    /// The fingerprint of the account that was last sent; `None` sends all attributes.
    pub sent: Option<u64>,
    /// The fingerprint of the mapped attributes that the target showed after that.
    pub echo: Option<u64>,
    /// The value of `active` that was last verified; `None` where the target does not show it.
    pub active: Option<bool>,
    /// rosterd sent the last deactivation, and not another client.
    pub deactivated_by_us: bool,
}

words! {
    /// The reason why a counterpart has to be inactive.
    pub enum InactiveReason {
        Suspended = "suspended",
        Released = "released",
        Removed = "removed",
        Transferred = "transferred",
        /// The user has not joined yet, or its link was undone.
        Invited = "invited",
        /// The tier of the user does not belong to the target.
        OutOfScope = "out-of-scope",
    }
}

impl InactiveReason {
    /// Explains the reason to an operator.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Suspended => "its user is suspended",
            Self::Released => "its user was released",
            Self::Removed => "its user was removed",
            Self::Transferred => "its user moved to another account",
            Self::Invited => "its user has not joined yet",
            Self::OutOfScope => "its user is out of scope of the target",
        }
    }
}

words! {
    /// The kind of a step.
    pub enum StepKind {
        Deactivate = "deactivate",
        Reactivate = "reactivate",
        Create = "create",
        /// The account shows our `externalId`, so a lost answer is made up for.
        Link = "link",
        Adopt = "adopt",
        Rename = "rename",
        Update = "update",
        Delete = "delete",
    }
}

impl CounterpartRow {
    /// Returns the row of a user of whom the target is not known to have an account.
    pub fn absent(user: UserId) -> Self {
        Self {
            account: Counterpart {
                user,
                state: CounterpartState::Absent,
                id: None,
                origin: LinkOrigin::Created,
                sent: None,
                echo: None,
                active: None,
                deactivated_by_us: false,
            },
            user_name: None,
            due: Due::default(),
            problem: None,
            answer: None,
            sent_at: None,
            seen_at: None,
            found_at: None,
        }
    }

    /// Returns the account, if one is known or about to be created.
    pub fn known(&self) -> Option<&Counterpart> {
        Some(&self.account).filter(|account| account.state != CounterpartState::Absent)
    }
}

impl StepKind {
    /// Returns the class whose limit a step counts towards when a run found it; `None` has no limit.
    pub fn class(self, reason: Option<InactiveReason>) -> Option<ChangeClass> {
        match self {
            Self::Create | Self::Adopt => Some(ChangeClass::Create),
            Self::Reactivate => Some(ChangeClass::Reactivate),
            Self::Rename => Some(ChangeClass::Readdress),
            Self::Delete => Some(ChangeClass::Deleted),
            // The user table proves that a suspended user has left.
            Self::Deactivate if reason == Some(InactiveReason::Suspended) => None,
            Self::Deactivate => Some(ChangeClass::Gone),
            Self::Link | Self::Update => None,
        }
    }
}

words! {
    /// The origin of a step, which decides whether the guard has to admit it.
    pub enum StepOrigin {
        /// The user changed, and the guard admitted that change.
        Followed = "followed",
        /// Something else changed: the target, the mapping, the scope or the store.
        Found = "found",
    }
}

words! {
    /// The reason why a user or an account cannot be provisioned.
    pub enum ProvisionProblem {
        /// The mapping gives no `userName`.
        NoUserName = "no-user-name",
        /// More than one account matches.
        Ambiguous = "ambiguous",
        /// The account has another `externalId`.
        ManagedElsewhere = "managed-elsewhere",
        /// An account of that name exists, and `adopt` is `never`.
        NotAdopted = "not-adopted",
        /// Another client changed mapped attributes.
        Drifted = "drifted",
        /// The account was deactivated by another client.
        DeactivatedElsewhere = "deactivated-elsewhere",
        /// The target refuses the account, or a change of it.
        Refused = "refused",
        /// Another account has the new name.
        Contested = "contested",
        /// The name belongs to an account that the target does not show.
        TakenInvisibly = "taken-invisibly",
        /// The target reports the success of a deactivation, and shows the account as active.
        Ineffective = "ineffective",
        /// The target shows no account of this id any more, once.
        Missing = "missing",
        /// The steps need the approval of a run of the target.
        Waiting = "waiting",
    }
}

words! {
    /// The order in which due counterparts are sent.
    pub enum Lane {
        /// Deactivations of leavers.
        Leaver = "leaver",
        /// Other changes of users.
        Change = "change",
        /// Steps that a run of the target admitted.
        Run = "run",
    }
}

/// The work that is due for a counterpart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Due {
    /// `None` where nothing is due.
    pub at: Option<Timestamp>,
    /// The time of the first change that is not done yet; for a leaver, of the suspension.
    pub since: Option<Timestamp>,
    pub lane: Option<Lane>,
    /// The number of the last event that made it due. Work that began before does not end it.
    pub seq: u64,
    /// The run of that event.
    pub run: Option<RunId>,
    /// A change of the user made it due, and the guard admitted that change.
    pub is_followed: bool,
    /// The kinds of steps that the guard or an operator admitted.
    pub admitted: BTreeSet<StepKind>,
    /// Failed attempts in a row.
    pub attempts: u32,
    pub failing_since: Option<Timestamp>,
}

impl Due {
    /// Returns the work that an operator asks for, due at once and without earlier failures. A leaver
    /// stays before the others, and late since its suspension.
    #[must_use]
    pub fn asked_for(&self, now: Timestamp) -> Self {
        Self {
            at: Some(now),
            since: self.since.or(Some(now)),
            lane: self.lane.filter(|lane| *lane == Lane::Leaver).or(Some(Lane::Change)),
            is_followed: true,
            attempts: 0,
            failing_since: None,
            ..self.clone()
        }
    }
}

/// A counterpart with its work and its history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CounterpartRow {
    pub account: Counterpart,
    /// The `userName` that was last sent or seen.
    pub user_name: Option<String>,
    pub due: Due,
    pub problem: Option<ProvisionProblem>,
    /// The last refusal, in the words of the target.
    pub answer: Option<String>,
    pub sent_at: Option<Timestamp>,
    pub seen_at: Option<Timestamp>,
    /// The time at which a run first found that the account has to go.
    pub found_at: Option<Timestamp>,
}

/// The proof of identity that a target gets. No value holds a secret: the files are read again when
/// they change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetCredential {
    /// A bearer token (RFC 6750) in a file.
    Token(PathBuf),
    /// OAuth client credentials (RFC 6749, 4.4), with the secret in a file.
    OAuth { token_url: Url, client_id: String, secret_file: PathBuf, scope: Option<String> },
}

impl TargetCredential {
    /// Returns the file that holds the secret.
    pub fn file(&self) -> &Path {
        match self {
            Self::Token(file) | Self::OAuth { secret_file: file, .. } => file,
        }
    }
}

/// The most requests to a target in a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// At least 1.
    pub requests: u32,
    pub per: Duration,
}

/// A group of a target, whose members are the counterparts of one tier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetGroup {
    pub name: String,
    pub tier: Tier,
    /// The id of an existing group to use; `None` creates one.
    pub id: Option<RemoteId>,
}

/// A step that a run of a target proposes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProposedStep {
    pub target: TargetName,
    pub user: UserId,
    pub email: Option<String>,
    pub names: Names,
    pub kind: StepKind,
    pub reason: Option<InactiveReason>,
    /// `None` for a creation.
    pub id: Option<RemoteId>,
    /// The attributes that change, with their values before, as far as the target showed them, and
    /// after.
    pub attributes: BTreeMap<String, (Option<String>, Option<String>)>,
    pub cluster: Option<String>,
}

impl ProposedStep {
    fn verb(&self) -> ChangeVerb {
        match self.kind {
            StepKind::Create => ChangeVerb::Create,
            StepKind::Link | StepKind::Adopt => ChangeVerb::Link,
            StepKind::Deactivate => ChangeVerb::Suspend,
            StepKind::Reactivate => ChangeVerb::Reactivate,
            StepKind::Rename | StepKind::Update => ChangeVerb::Update,
            StepKind::Delete => ChangeVerb::Remove,
        }
    }

    fn before(&self) -> Value {
        let values: BTreeMap<&String, &Option<String>> =
            self.attributes.iter().map(|(name, (before, _))| (name, before)).collect();
        json!({ "id": self.id, "attributes": values })
    }

    fn after(&self) -> Value {
        let values: BTreeMap<&String, &Option<String>> =
            self.attributes.iter().map(|(name, (_, after))| (name, after)).collect();
        json!({ "target": self.target, "step": self.kind, "reason": self.reason, "attributes": values })
    }
}

impl Holdable for ProposedStep {
    fn digest(&self) -> Digest {
        let shown = json!([self.user, self.before(), self.after()]);
        Digest(sha2::Sha256::digest(shown.to_string().as_bytes()).into())
    }

    fn rejection_keys(&self) -> Vec<Digest> {
        rejection::keys(self.user, self.verb(), None, &self.before(), &self.after())
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    }

    fn shown(&self) -> Shown {
        Shown {
            user: self.user,
            guid: None,
            email: self.email.clone(),
            names: self.names.clone(),
            kind: self.verb(),
            class: self.kind.class(self.reason),
            reason: None,
            before: self.before().into(),
            after: self.after().into(),
            evidence: json!([]).into(),
            digest: self.digest(),
            cluster: self.cluster.clone(),
            home: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaver_that_an_operator_retries_keeps_its_lane_and_its_instant() {
        let (suspended, now) = (Timestamp(1), Timestamp(2));
        let due = |lane| Due { since: Some(suspended), lane, attempts: 7, ..Due::default() };
        let table = [
            (due(Some(Lane::Leaver)), Lane::Leaver, suspended),
            (due(Some(Lane::Run)), Lane::Change, suspended),
            (Due::default(), Lane::Change, now),
        ];
        for (before, lane, since) in table {
            let after = before.asked_for(now);
            assert_eq!((after.at, after.lane, after.since), (Some(now), Some(lane), Some(since)));
            assert_eq!(after.attempts, 0);
        }
    }
}
