//! Holding: writes the held changes of a run into the one open plan of its directory.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::baseline::{BaselineKind, BaselineObject};
use super::changes::Recorded;
use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::held_changes::HeldChanges;
use super::plans::{HeldPlan, HeldRow, HeldSummary, held_of, summary_of};
use super::recording::append;
use super::rows::{Columns, Row as _};
use super::sql::{Sql, insert};
use super::transitions::{carry, insert_plan, lose, seize, set_state, waiting_now};
use crate::clock::Clock;
use crate::model::{
    Actor, ChangeCounts, ChangeOutcome, Digest, DirectoryName, Event, EventCause, GivenApproval,
    Guid, Names, PlanId, PlanState, RunId, Shown, UserId,
};

/// The circumstances of a held plan.
#[derive(Debug, Clone, Default)]
pub struct DecidedBy {
    /// The scope by which the run decided.
    pub scope_hash: String,
    /// The output of the gate that holds the plan.
    pub note: Option<String>,
    /// The changes that the run applied.
    pub applied: ChangeCounts,
}

/// The held plan of a directory after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    pub plan: Option<PlanId>,
    /// The number of its changes.
    pub count: u64,
    /// Whether the plan was created by this run.
    pub is_new: bool,
}

/// Held changes in one piece of the insertion.
const HELD_AT_ONCE: usize = 500;

impl Store {
    /// Returns the entries of a directory whose links to users of former entries wait for approval.
    pub async fn proposed_relinks(
        &self,
        directory: &DirectoryName,
    ) -> Result<BTreeSet<Guid>, StoreError> {
        let sql = Sql::new(
            "SELECT c.guid FROM changes c JOIN plans p ON p.id = c.plan_id WHERE c.outcome = 'held' AND c.hold = 'relink' \
             AND c.guid IS NOT NULL AND p.state IN ('open', 'approved') AND p.directory = ",
        );
        let rows = sql.bind(directory.as_str()).all(&self.readers).await;
        rows.doing("read proposed links")?.iter().map(|row| Columns::of(row).read()).collect()
    }

    /// Writes the held changes of a run into the held plan of the directory.
    ///
    /// A plan that loses changes keeps its id. A plan that gains or alters changes is superseded by a
    /// new one. An empty plan is withdrawn. Rejected changes are in no open plan. Held changes of
    /// people outside `is_covered` stay, because the run has not decided about them.
    #[expect(clippy::too_many_arguments, reason = "each is a result of the run")]
    pub async fn hold_changes(
        &self,
        directory: &DirectoryName,
        run: RunId,
        first_seq: u64,
        held: HeldChanges,
        by: &DecidedBy,
        is_covered: impl Fn(&HeldRow) -> bool,
        clock: &Clock,
    ) -> Result<Holding, StoreError> {
        let rejected: BTreeSet<Digest> =
            self.rejections(directory).await?.into_iter().map(|rejection| rejection.key).collect();
        let HeldChanges { mut shown, digests } = held;
        let mut proposed: BTreeSet<Digest> = digests.into_iter().collect();
        // Keys are hashes of JSON, so they are made only where they matter.
        if !rejected.is_empty() {
            shown.show(|(_, shown)| {
                if shown.rejection_keys().iter().any(|key| rejected.contains(key)) {
                    proposed.remove(&shown.digest);
                }
            })?;
        }
        let now = clock.now();
        let baseline = self.baseline(directory, BaselineKind::Group).await?;
        let notes = self.notes().await?;
        loop {
            let current = self.current_plan(directory).await?;
            let mut stored = StoredPlan::new(&notes);
            if let Some(plan) = &current {
                // An incomplete read covers few people, and still applies positive suspensions.
                let applied = self.applied_by(run).await?;
                let is_decided =
                    |digest: &Digest| proposed.contains(digest) || applied.contains(digest);
                let is_carried = |row: &HeldRow| !is_covered(row) && !is_decided(&row.digest);
                let add = |columns: &mut Columns<'_>| {
                    let row = HeldRow::next(columns)?;
                    let is_carried = is_carried(&row);
                    stored.add(row, is_carried);
                    Ok(())
                };
                held_of(plan.id).each(&self.readers, "read held changes", add).await?;
            }
            let StoredPlan { known, carried, approved, approvals, mut people } = stored;
            let wanted: BTreeSet<Digest> = proposed.iter().chain(&carried).copied().collect();
            let count = wanted.len() as u64;
            let is_same = |p: &HeldPlan| {
                p.scope_hash.as_deref() == Some(by.scope_hash.as_str()) && p.note == by.note
            };
            if wanted == known && current.as_ref().is_none_or(is_same) {
                return Ok(Holding { plan: current.map(|p| p.id), count, is_new: false });
            }
            let mut writing = self.begin().await?;
            // Another writer changed the plan: read it again.
            let seen = current.as_ref().map(|plan| (plan.id, plan.version));
            if waiting_now(&mut writing, directory).await?.map(|plan| (plan.id, plan.version))
                != seen
            {
                continue;
            }
            if let Some(plan) = &current {
                seize(&mut writing, plan.id).await?;
            }
            let result = match current {
                Some(plan) if wanted.is_subset(&known) => {
                    let sql = Sql::new("UPDATE plans SET scope_hash = ")
                        .bind(by.scope_hash.as_str())
                        .push(", note = ")
                        .bind(by.note.as_deref());
                    let sql = sql.push(" WHERE id = ").bind(plan.id.0);
                    sql.execute(&mut *writing.tx).await.doing("write the scope of a plan")?;
                    let lost: Vec<Digest> = known.difference(&wanted).copied().collect();
                    let state = match (wanted.is_empty(), plan.approved_at) {
                        (true, Some(_)) => PlanState::Applied,
                        (true, None) => PlanState::Withdrawn,
                        (false, _) => plan.state,
                    };
                    lose(
                        &mut writing,
                        &plan,
                        &lost,
                        state,
                        Digest::of_all(wanted.into_iter().collect()),
                        now,
                    )
                    .await?;
                    Holding { plan: state.waits().then_some(plan.id), count, is_new: false }
                }
                current => {
                    let id = PlanId(clock.new_id());
                    if let Some(old) = &current {
                        carry(&mut writing, old.id, id, &carried).await?;
                        set_state(&mut writing, old.id, PlanState::Superseded, now).await?;
                    }
                    let earlier = current
                        .as_ref()
                        .filter(|_| wanted.iter().any(|digest| approved.contains(digest)));
                    let plan = HeldPlan {
                        id,
                        directory: directory.clone(),
                        run,
                        digest: Digest::of_all(wanted.iter().copied().collect()),
                        state: PlanState::Open,
                        created_at: now,
                        scope_hash: Some(by.scope_hash.clone()),
                        note: by.note.clone(),
                        count,
                        size: count,
                        version: 0,
                        actor: earlier.and_then(|plan| plan.actor.clone()),
                        comment: earlier.and_then(|plan| plan.comment.clone()),
                        approved_at: earlier.and_then(|plan| plan.approved_at),
                        announced_at: None,
                    };
                    insert_plan(&mut writing, &plan).await?;
                    // In pieces: a million rows at once would take more memory than the run itself.
                    let mut seqs = first_seq..;
                    let is_proposed = |change: &Result<(_, Shown), StoreError>| {
                        change.as_ref().map_or(true, |(_, shown)| proposed.contains(&shown.digest))
                    };
                    let mut changes = shown.into_values()?.filter(is_proposed);
                    loop {
                        let mut rows = Vec::with_capacity(HELD_AT_ONCE);
                        let piece = changes.by_ref().take(HELD_AT_ONCE);
                        for (change, seq) in piece.zip(seqs.by_ref()) {
                            let (hold, shown) = change?;
                            let recorded = Recorded {
                                run,
                                seq,
                                plan: Some(id),
                                directory: Some(directory),
                                hold: Some(hold),
                                outcome: ChangeOutcome::Held,
                                approved: approved.contains(&shown.digest),
                                approvals: approvals.of(shown.digest),
                                at: now,
                            };
                            people.add(shown.user, shown.email.as_deref(), &shown.names);
                            rows.push(recorded.fields(&shown));
                        }
                        if rows.is_empty() {
                            break;
                        }
                        insert(&mut writing.tx, "changes", "", rows).await.doing("hold changes")?;
                    }
                    let cause = EventCause {
                        actor: Actor::rosterd(),
                        run: Some(run),
                        account: None,
                        at: now,
                    };
                    let summary = summary_of(&mut *writing.tx, id).await?;
                    let after = serde_json::json!({
                        "plan": id, "directory": directory, "count": count, "held": count, "changes": by.applied,
                        "by": groups(&summary, &baseline), "people": people.named(),
                    });
                    append(
                        &mut writing,
                        &[Event::about("run.held", run, &cause, Json::Null, after)],
                        clock,
                    )
                    .await?;
                    Holding { plan: Some(id), count, is_new: true }
                }
            };
            writing.commit().await?;
            return Ok(result);
        }
    }
}

/// The open plan of a directory as a run finds it: digests, and the approvals that operators gave.
struct StoredPlan<'a> {
    known: BTreeSet<Digest>,
    /// The changes of people about whom the run has not decided.
    carried: BTreeSet<Digest>,
    /// An approval that was not applied yet stays, whatever changes are added.
    approved: BTreeSet<Digest>,
    approvals: KnownApprovals,
    /// The first people of the carried changes.
    people: FirstPeople<'a>,
}

impl<'a> StoredPlan<'a> {
    fn new(notes: &'a BTreeMap<UserId, String>) -> Self {
        Self {
            known: BTreeSet::new(),
            carried: BTreeSet::new(),
            approved: BTreeSet::new(),
            approvals: KnownApprovals::default(),
            people: FirstPeople { notes, people: BTreeMap::new() },
        }
    }

    fn add(&mut self, row: HeldRow, is_carried: bool) {
        let HeldRow { digest, user, email, names, approved, approvals, .. } = row;
        self.known.insert(digest);
        if is_carried {
            self.carried.insert(digest);
            self.people.add(user, email.as_deref(), &names);
        }
        if approved {
            self.approved.insert(digest);
        }
        self.approvals.add(digest, approvals);
    }
}

/// The approvals of changes. Few operators approve a plan, so that most changes have the same ones.
#[derive(Default)]
struct KnownApprovals {
    alike: Vec<Vec<GivenApproval>>,
    of: BTreeMap<Digest, usize>,
}

impl KnownApprovals {
    fn add(&mut self, digest: Digest, given: Vec<GivenApproval>) {
        if given.is_empty() {
            return;
        }
        let at = self.alike.iter().position(|known| *known == given).unwrap_or_else(|| {
            self.alike.push(given);
            self.alike.len() - 1
        });
        self.of.insert(digest, at);
    }

    fn of(&self, digest: Digest) -> &[GivenApproval] {
        self.of.get(&digest).map_or(&[], |at| &self.alike[*at])
    }
}

/// People that the event about a new plan names.
const NAMED: usize = 10;

/// Returns the groups of a plan, the largest first, for the event about it.
fn groups(summary: &[HeldSummary], baseline: &BTreeMap<String, Vec<BaselineObject>>) -> Vec<Json> {
    let name = |cluster: &Option<String>| {
        let guid: Guid = cluster.as_deref()?.strip_prefix("group:")?.parse().ok()?;
        let is_it = |objects: &[BaselineObject]| objects.iter().any(|object| object.guid == guid);
        baseline.iter().find(|(_, objects)| is_it(objects)).map(|(name, _)| name)
    };
    let group = |group: &HeldSummary| {
        let HeldSummary { kind, class, hold, cluster, reason, count, approved: _ } = group;
        serde_json::json!({
            "kind": kind, "class": class, "reason": reason, "cause": cluster, "name": name(cluster), "held": hold, "count": count,
        })
    };
    summary.iter().map(group).collect()
}

/// The first people of a plan: those with a note, then by name.
struct FirstPeople<'a> {
    notes: &'a BTreeMap<UserId, String>,
    people: BTreeMap<PlaceOfPerson, (UserId, Names)>,
}

/// Whether the person has no note, the name without case, and the address.
type PlaceOfPerson = (bool, String, Option<String>);

impl FirstPeople<'_> {
    fn add(&mut self, user: UserId, email: Option<&str>, names: &Names) {
        let name = names.display_name.as_deref().or(email).unwrap_or_default().to_lowercase();
        let place = (!self.notes.contains_key(&user), name, email.map(str::to_owned));
        self.people.insert(place, (user, names.clone()));
        if self.people.len() > NAMED {
            self.people.pop_last();
        }
    }

    /// Returns each with name, address, logon name and note.
    fn named(self) -> Vec<Json> {
        let named = |((.., email), (user, names)): (PlaceOfPerson, (UserId, Names))| {
            let mut person = serde_json::json!({
                "display_name": names.display_name, "primary_email": email,
                "sam_account_name": names.sam_account_name,
            });
            if let Some(note) = self.notes.get(&user) {
                person["note"] = note.as_str().into();
            }
            person
        };
        self.people.into_iter().map(named).collect()
    }
}
