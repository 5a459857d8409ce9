//! The wire types of the control socket: what scripts rely on. Imports nothing of rosterd.
//!
//! Times are RFC 3339 UTC as text, GUIDs dashed lower-case, ids UUIDs. Unknown fields may be added.
//! Which routes there are, who may use them, and what they take and answer is in one table (`routes`).
//! The document at `/v1/openapi.json` is made from that table and from these types, comments included.
//!
//! Errors are [`Problem`] documents (RFC 9457).

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `GET /v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// rosterd's version.
    pub version: String,
    /// When the daemon started.
    pub started_at: String,
    /// Every configured directory.
    pub directories: Vec<DirectoryStatus>,
    /// Deliveries.
    pub hooks: HookCounts,
}

/// `GET /v1/directories/{name}/check`: what a run would need, looked at step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The directory.
    pub directory: String,
    /// Whether no step failed.
    pub ok: bool,
    /// The steps, in the order they were taken.
    pub steps: Vec<CheckStep>,
}

/// One step of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckStep {
    /// What was looked at: `secret`, `dns`, `tcp`, `tls`, `bind`, `identity`, `clock`, `base`, `paging`, `rights`,
    /// `deleted objects`, `filter`, `attributes`, `groups`, `directory`.
    pub name: String,
    /// The server it is about, where it is about one.
    pub server: Option<String>,
    /// `ok`, `warning`, `failed` or `skipped`.
    pub outcome: String,
    /// What was found.
    pub finding: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// `POST /v1/reload`: what came of reading the configuration again. A file with problems is refused, and changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Every directory that is or was configured.
    pub directories: Vec<ReloadedDirectory>,
    /// Keys that changed in the file and take effect only when the daemon starts.
    pub needs_restart: Vec<String>,
}

/// What a reload means for one directory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReloadedDirectory {
    /// Its name.
    pub name: String,
    /// `added`, `unchanged`, `changed`, `rescoped` (its next run only plans) or `removed` (its users stay as they are).
    pub outcome: String,
}

/// Deliveries that are not done.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct HookCounts {
    /// Waiting.
    pub pending: u64,
    /// Dead-lettered.
    pub failed: u64,
}

/// How one directory stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DirectoryStatus {
    /// Its name.
    pub name: String,
    /// The handle of its account.
    pub account: String,
    /// `ok`, `no-account`, `no-domain`, `paused`, `degraded`, `plan-only` or `starting`.
    pub state: String,
    /// The server of the last successful run.
    pub server: Option<String>,
    /// Whether change notifications are followed.
    pub live: bool,
    /// When a run last began.
    pub last_attempt: Option<String>,
    /// When one last ended well.
    pub last_success: Option<String>,
    /// When one last read everything.
    pub last_complete_read: Option<String>,
    /// When the next scheduled one is due.
    pub next_run: Option<String>,
    /// Until when it is paused.
    pub paused_until: Option<String>,
    /// Managed users.
    pub users: ManagedCounts,
    /// Changes that wait for an operator.
    pub held: u64,
    /// Entries that cannot be used.
    pub quarantined: u64,
    /// What needs attention, as sentences.
    pub attention: Vec<String>,
}

/// Managed users of a directory.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ManagedCounts {
    /// Who may sign in.
    pub active: u64,
    /// Who may not.
    pub suspended: u64,
}

/// `GET /v1/directories`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Directories {
    /// By name.
    pub directories: Vec<DirectoryStatus>,
}

/// How far the run in progress has come.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Entries read.
    pub entries: u64,
    /// Entries of the last complete read; 0 when there was none.
    pub expected: u64,
    /// `connecting`, `reading`, `confirming`, `asking` (a gate), `applying`.
    pub phase: String,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The directory; `null` for an operator's write.
    pub directory: Option<String>,
    /// What set it off.
    pub trigger: String,
    /// `full`, `delta` or `scoped`.
    pub mode: String,
    /// `running`, `succeeded`, `held`, `failed` or `cancelled`.
    pub state: String,
    /// Who asked for it.
    pub actor: Option<String>,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// What was read.
    pub read: Read,
    /// What was applied.
    pub changes: Changes,
    /// How many changes of the directory wait for approval afterwards.
    pub held: u64,
    /// How many entries were quarantined.
    pub quarantined: u64,
    /// How many changes were dropped.
    pub dropped: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// What an operator should know although it went on.
    pub warnings: Vec<String>,
}

/// What a run read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Read {
    /// How many entries.
    pub entries: u64,
    /// Whether that was all.
    pub complete: bool,
    /// From which server.
    pub server: Option<String>,
}

/// How many changes of each kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// Users that came to be.
    pub create: u64,
    /// Users whose attributes or addresses changed.
    pub update: u64,
    /// Suspensions.
    pub suspend: u64,
    /// Suspensions lifted.
    pub reactivate: u64,
    /// Tiers changed.
    pub tier: u64,
    /// Users linked.
    pub link: u64,
    /// Users released.
    pub release: u64,
}

/// What was asked for is under way; how it ends is not awaited.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {}

/// A list of runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Runs {
    /// Newest first.
    pub runs: Vec<Run>,
}

/// `GET /v1/runs/{id}`: the run with its changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunDetail {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// Its changes, applied, held and dropped, in order; at most 10,000.
    pub applied: Vec<Change>,
}

/// One change of a plan or run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// `create`, `invite`, `register`, `link`, `suspend`, `reactivate`, `tier`, `update`, `transfer`, `release` or `remove`.
    pub kind: String,
    /// What it counts as.
    pub class: Option<String>,
    /// Whom.
    pub user_id: String,
    /// The address it is shown by.
    pub email: Option<String>,
    /// The person.
    pub object_guid: Option<String>,
    /// The reason of a suspension, or of what is lifted.
    pub reason: Option<String>,
    /// What was seen.
    pub evidence: Value,
    /// Why it waits: `limit`, `cluster`, `protected`, `no-witness`, `plan-only`, `gate`, `settling`.
    pub held: Option<String>,
    /// What was.
    pub before: Value,
    /// What is, or would be.
    pub after: Value,
    /// `applied`, `held`, `dropped`; absent in a plan that was only made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<String>,
}

/// An entry that cannot be used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Quarantined {
    /// The person.
    pub object_guid: String,
    /// Where it stands.
    pub dn: String,
    /// Why.
    pub reason: String,
}

/// `GET /v1/directories/{name}/plan`: what a run would do now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// `null`: this plan is nowhere but here.
    pub id: Option<String>,
    /// The directory.
    pub directory: String,
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// What cannot be used.
    pub quarantined: Vec<Quarantined>,
    /// Why the read was not complete, if it was not.
    pub error: Option<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// One held plan.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HeldPlan {
    /// Its id.
    pub id: String,
    /// The directory.
    pub directory: String,
    /// The run that made it.
    pub run: String,
    /// What it is recognised by.
    pub digest: String,
    /// `open`, `approved`, `applied`, `rejected`, `withdrawn`, `superseded` or `expired`.
    pub state: String,
    /// When it was first held.
    pub created_at: String,
    /// Who approved or rejected it.
    pub actor: Option<String>,
    /// What a gate said that holds it, and what it printed.
    #[serde(default)]
    pub note: Option<String>,
    /// How many changes.
    pub count: u64,
    /// What they amount to.
    pub by: Vec<HeldGroup>,
    /// The changes; only when one plan is asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub changes: Option<Vec<Change>>,
}

/// Held changes that have something in common.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HeldGroup {
    /// Their class.
    pub class: Option<String>,
    /// The suspension's reason.
    pub reason: Option<String>,
    /// What they have in common: `ou:…`, `group:…` or `attribute:…`.
    pub cause: Option<String>,
    /// Why they wait.
    pub held: Option<String>,
    /// How many.
    pub count: u64,
}

/// `GET /v1/held`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HeldPlans {
    /// Newest first.
    pub held: Vec<HeldPlan>,
}

/// `POST /v1/held/{id}/approve`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// The run that applied it, or tried to.
    #[serde(flatten)]
    pub run: Run,
    /// What waits of the directory afterwards.
    pub waiting: Option<HeldPlan>,
}

/// `POST /v1/accounts/{handle}/rename`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Renaming {
    /// The new name. The handle stays.
    pub name: String,
}

/// `POST /v1/accounts/{handle}/delete`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// The handle of the account once more.
    pub confirm: String,
}

/// `POST /v1/accounts/{handle}/policies`: policies by name, each `true`, `false`, or for `regions` a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NewPolicies(pub BTreeMap<String, PolicyValue>);

/// What a policy is set to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PolicyValue {
    /// Whether people may.
    Flag(bool),
    /// Several, such as regions.
    List(Vec<String>),
    /// The same as text: `true`, `false`, or a list with commas.
    Text(String),
}

/// `POST /v1/accounts/{handle}/invitations`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitations {
    /// Addresses. One text may hold several, between `;`, commas and white space.
    pub addresses: Vec<String>,
}

/// What came of inviting people, in the order they were given.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Invitations {
    /// One for each address.
    pub invitations: Vec<Invitation>,
}

/// What came of inviting one address.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The address, as it was given.
    pub address: String,
    /// `invited`, `already-here`, `elsewhere`, `other-domain` or `malformed`.
    pub outcome: String,
    /// The user's id, when it is here now.
    pub user: Option<String>,
    /// Why not, as a sentence.
    pub detail: Option<String>,
}

/// `POST /v1/accounts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// `[a-z0-9-]{1,63}`.
    pub handle: String,
    /// The name.
    pub name: String,
}

/// One account.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Its handle.
    pub handle: String,
    /// Its name.
    pub name: String,
    /// `team` or `enterprise`.
    pub kind: String,
    /// The domains it holds or claims.
    pub domains: Vec<Domain>,
    /// The directories connected to it.
    pub directories: Vec<String>,
    /// Its policies.
    pub policies: Value,
    /// Its users.
    pub users: UserCounts,
    /// When it was created.
    pub created_at: String,
}

/// Users of an account by status.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct UserCounts {
    /// Who may sign in.
    pub active: u64,
    /// Who may not.
    pub suspended: u64,
    /// Asked to join.
    pub invited: u64,
    /// No longer of the account.
    pub released: u64,
}

/// `GET /v1/accounts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accounts {
    /// By handle.
    pub accounts: Vec<Account>,
}

/// `POST /v1/accounts/{handle}/domains`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClaim {
    /// The domain.
    pub domain: String,
}

/// One domain claim.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Domain {
    /// Its id.
    pub id: String,
    /// The handle of its account.
    pub account: String,
    /// The domain, as an A-label.
    pub domain: String,
    /// The same as people write it, where that is something else: `bücher.example`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unicode: Option<String>,
    /// `pending`, `verified`, `lapsed` or `released`.
    pub state: String,
    /// The TXT record to add.
    pub record: TxtRecord,
    /// When it was claimed.
    pub claimed_at: String,
    /// When it was verified.
    pub verified_at: Option<String>,
    /// When the record was last looked up.
    pub checked_at: Option<String>,
    /// What that found.
    pub finding: Option<String>,
}

/// `POST /v1/domains/{domain}/release`: whom it touches, and how.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// The domain, as an A-label.
    pub domain: String,
    /// The handle of its account.
    pub account: String,
    /// Whether it was only looked at (`dry_run=true`), and nothing was done.
    pub dry_run: bool,
    /// Whether it was the account's last domain: then the account is a team again.
    pub becomes_team: bool,
    /// The users that are touched, by id.
    pub users: Vec<ReleasedUser>,
}

/// What the release of a domain does to one user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReleasedUser {
    /// Its id.
    pub id: String,
    /// Its primary address.
    pub primary_email: Option<String>,
    /// `released`, `stays-suspended` or `loses-address` (a secondary one).
    pub effect: String,
}

/// A DNS TXT record.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TxtRecord {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// `GET /v1/domains`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Domains {
    /// By domain.
    pub domains: Vec<Domain>,
}

/// One user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Its id.
    pub id: String,
    /// The handle of its account.
    pub account: String,
    /// `invited`, `active`, `suspended` or `released`.
    pub status: String,
    /// `basic` or `pro`.
    pub tier: String,
    /// The address shown.
    pub primary_email: Option<String>,
    /// The others.
    pub secondary_emails: Vec<String>,
    /// Name to show.
    pub display_name: Option<String>,
    /// First name.
    pub given_name: Option<String>,
    /// Family name.
    pub surname: Option<String>,
    /// Job title, department and so on, where known.
    pub profile: Value,
    /// The person it is linked to.
    pub directory: Option<UserLink>,
    /// Why it is suspended.
    pub suspension: Option<UserSuspension>,
    /// What of its entry cannot be used.
    pub quarantine: Vec<String>,
    /// Reasons an operator has overruled until AD changes.
    pub pinned: Vec<String>,
    /// When it was invited.
    pub invited_at: Option<String>,
    /// When it first signed in.
    pub joined_at: Option<String>,
    /// When it came to be.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
}

/// The person behind a user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserLink {
    /// The directory.
    pub name: String,
    /// The person.
    pub object_guid: String,
    /// Where it was last seen.
    pub dn: String,
}

/// Why a user is suspended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserSuspension {
    /// The weightiest reason.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// All causes.
    pub causes: Vec<UserCause>,
}

/// One cause.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserCause {
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// By whom.
    pub by: String,
    /// What was seen.
    pub evidence: Value,
}

/// A list of users.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Users {
    /// In order of id.
    pub users: Vec<User>,
    /// Give this as `after` for the next page; `null` at the end.
    #[serde(default)]
    pub next: Option<String>,
}

/// `POST /v1/users/{who}/tier`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTier {
    /// `basic` or `pro`.
    pub tier: String,
}

/// `POST /v1/users/{who}/relink`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relinking {
    /// The person that it is now.
    pub object_guid: String,
}

/// `GET /v1/quarantine`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Quarantine {
    /// By directory, the oldest first.
    pub quarantined: Vec<QuarantinedEntry>,
}

/// One entry that cannot be used as it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QuarantinedEntry {
    /// The directory.
    pub directory: String,
    /// The person.
    pub object_guid: String,
    /// Where it stands.
    pub dn: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Option<String>,
    /// The id of its user, if it has one.
    pub user: Option<String>,
    /// What to do about it.
    pub remedy: String,
}

/// `GET /v1/users/{who}/contacts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Contacts {
    /// By name.
    pub contacts: Vec<Contact>,
}

/// A colleague, as colleagues see each other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    /// The user's id.
    pub id: String,
    /// Name to show.
    pub display_name: Option<String>,
    /// First name.
    pub given_name: Option<String>,
    /// Family name.
    pub surname: Option<String>,
    /// The address shown.
    pub primary_email: Option<String>,
    /// Job title, department and so on, where known.
    pub profile: Value,
}

/// `POST /v1/sign-ins`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The address, as it was typed.
    pub address: String,
    /// The password, for whom a directory manages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub password: Option<String>,
    /// `external`, when the external provider has authenticated the address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authenticated_by: Option<String>,
}

impl fmt::Debug for SignIn {
    /// Without the password, and whose it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").field("authenticated_by", &self.authenticated_by).finish_non_exhaustive()
    }
}

/// Whether somebody may sign in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SignInDecision {
    /// `allow`, `deny`, `redirect` (to the external provider) or `unavailable` (the directory cannot be asked).
    pub decision: String,
    /// Of `deny`: `credentials`, `suspended`, `no-user`, `rate-limited` or `not-allowed`.
    pub reason: Option<String>,
    /// Of `allow`: the handle of the account.
    pub account: Option<String>,
    /// Of `allow`: the user's id.
    pub user: Option<String>,
    /// Of `allow`: `basic` or `pro`.
    pub tier: Option<String>,
    /// Of `allow`: the account's policies, by name.
    pub policies: Option<Value>,
}

/// `POST /v1/users/{who}/suspend`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// Why, in the operator's words.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/users/{who}/activate`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Activation {
    /// The user afterwards.
    #[serde(flatten)]
    pub user: User,
    /// Why it is still suspended, as sentences.
    pub remains: Vec<String>,
}

/// `POST /v1/directories/{name}/pause`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// For how long, such as `4h`; without it, until resumed.
    #[serde(rename = "for", default)]
    pub duration: Option<String>,
}

/// `GET /v1/events`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Event>,
}

/// One event: its place in the log, and the CloudEvents document.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its place in the log.
    pub seq: u64,
    /// The CloudEvents 1.0 document.
    #[serde(flatten)]
    pub document: Value,
}

/// `GET /v1/hooks`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Hooks {
    /// By name.
    pub hooks: Vec<Hook>,
}

/// How one hook does.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Which events it is told.
    pub events: Vec<String>,
    /// The program, or the server; never the whole of an address.
    pub target: String,
    /// `ok`, `failing` (it did not take what it was last told) or `disabled` (it answered 410 Gone).
    pub state: String,
    /// Deliveries that are not done.
    pub pending: u64,
    /// Deliveries that were given up.
    pub failed: u64,
    /// Deliveries that were done, in all.
    pub delivered: u64,
    /// How many seconds the oldest delivery that is not done has been waiting.
    pub lag_seconds: u64,
    /// When something was last delivered.
    pub last_delivered: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<String>,
}

/// `GET /v1/hooks/{name}/deliveries`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Deliveries {
    /// Newest event first. Of those that are done, a hook's latest 10,000 are kept.
    pub deliveries: Vec<Delivery>,
}

/// One event on its way to a hook.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// The event's place in the log.
    pub seq: u64,
    /// The event's id.
    pub event: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// `pending`, `delivered` or `failed` (given up).
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it is, or was, to be delivered.
    pub since: String,
    /// When it is tried next; `null` while an earlier one about the same subject is not done.
    pub next_at: Option<String>,
    /// When it was delivered or given up.
    pub done_at: Option<String>,
    /// What went wrong at the last attempt.
    pub error: Option<String>,
    /// The last of what the program printed, or the server answered.
    pub output: Option<String>,
}

/// `POST /v1/hooks/{name}/test`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// The hook.
    pub hook: String,
    /// The id of the sample.
    pub event: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the hook took it.
    pub delivered: bool,
    /// Why not.
    pub error: Option<String>,
    /// The last of what the program printed, or the server answered.
    pub output: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// `POST /v1/hooks/{name}/redeliver`: which of the deliveries that were given up; without anything, all of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeliver {
    /// The event at this place in the log, given up or delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Events of this type; `user.*` is all that begin so.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// About this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Not earlier than this, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// `POST /v1/hooks/{name}/replay`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Since when, RFC 3339.
    pub since: String,
}

/// Deliveries that are made again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Redelivered {
    /// The hook.
    pub hook: String,
    /// How many.
    pub deliveries: u64,
}

/// `GET /v1/events/verify`: whether anything of the log was edited, deleted or put elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogCheck {
    /// Whether all entries are as they were written.
    pub intact: bool,
    /// How many entries follow from each other, from the first one on.
    pub entries: u64,
    /// The first entry that does not.
    pub broken_at: Option<u64>,
    /// What is wrong there.
    pub finding: Option<String>,
    /// The end of an intact log, as `SEQ:HASH`. Noted elsewhere, it shows later whether entries were cut off.
    pub head: Option<String>,
}

/// An error (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What kind of error: `about:blank`, or `urn:rosterd:problem:unknown-route`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, to what, and what to do.
    pub detail: String,
}

/// The kind of a problem that says that the API of this daemon has no such route: its client may be of another version.
pub const UNKNOWN_ROUTE: &str = "urn:rosterd:problem:unknown-route";
