//! Undoing a run: the opposite of each change, unless the user has changed since.
//!
//! A positive suspension is never undone, nor is a value that has changed since. Such changes are
//! listed as left. An override keeps the directory from asking for the same again. Where the run had
//! itself set an override, undoing it clears the override.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::model::{
    Address, AddressKey, Addresses, By, Cause, Change, ChangeKind, ChangeVerb, Evidence, Guid,
    Joined, Override, Reason, RunId, Standing, Status, Tier, Timestamp, User, UserId,
    WrittenChange,
};

/// The outcome of undoing a run.
#[derive(Debug, Default)]
pub struct Undoing {
    pub changes: Vec<Change>,
    pub left: Vec<Left>,
}

/// A change that is not undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Left {
    pub user: UserId,
    pub email: Option<String>,
    pub kind: ChangeVerb,
    pub why: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub run: RunId,
    pub at: Timestamp,
}

/// Returns the opposite of written changes. `holders` has the present holder of each address.
pub fn undo(
    taken: Taken,
    done: &[WrittenChange],
    users: &BTreeMap<UserId, User>,
    holders: &BTreeMap<AddressKey, UserId>,
) -> Undoing {
    let mut of_user: BTreeMap<UserId, Vec<&WrittenChange>> = BTreeMap::new();
    for change in done {
        of_user.entry(change.user).or_default().push(change);
    }
    let mut undoing = Undoing::default();
    for (id, done) in &of_user {
        let Some(user) = users.get(id) else {
            undoing.left.extend(
                done.iter().map(|change| Left::of(change, "the user no longer exists".to_owned())),
            );
            continue;
        };
        let mut reversal = Reversal {
            taken,
            was: user,
            user: user.clone(),
            overrides: user.overrides.clone(),
            kinds: Vec::new(),
        };
        undoing.left.extend(reversal.all(done));
        undoing.changes.extend(reversal.changes());
    }
    leave_taken_addresses(&mut undoing, users, holders);
    undoing
}

/// The reversal of the changes of one user.
struct Reversal<'a> {
    taken: Taken,
    was: &'a User,
    /// The user after the changes that were reversed so far.
    user: User,
    overrides: BTreeSet<Override>,
    kinds: Vec<ChangeKind>,
}

impl Reversal<'_> {
    /// Reverses the changes, the last first. Returns those that are left.
    fn all(&mut self, done: &[&WrittenChange]) -> Vec<Left> {
        let own_overrides: BTreeSet<Override> = done
            .iter()
            .flat_map(|c| {
                set(&c.after, "overrides")
                    .difference(&set(&c.before, "overrides"))
                    .copied()
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut left = Vec::new();
        for change in done.iter().rev() {
            // Without the override of the run, the directory decides again.
            let is_given_back = !own_overrides.is_empty() && change.kind != ChangeVerb::Suspend;
            let reversed = if is_given_back { Ok(()) } else { self.one(change) };
            left.extend(reversed.err().map(|why| Left::of(change, why)));
        }
        self.overrides.retain(|decision| !own_overrides.contains(decision));
        left
    }

    fn one(&mut self, change: &WrittenChange) -> Result<(), String> {
        let WrittenChange { kind, before, after, .. } = change;
        match kind {
            ChangeVerb::Suspend => self.suspension(change),
            ChangeVerb::Reactivate => self.reactivation(),
            ChangeVerb::Tier => self.tier(before, after),
            ChangeVerb::Update if before.get("overrides").is_some() => {
                self.overrides
                    .extend(set(before, "overrides").difference(&set(after, "overrides")).copied());
                Ok(())
            }
            ChangeVerb::Update if before.get("primary_email").is_some() => {
                self.addresses(before, after)
            }
            ChangeVerb::Update => self.attributes(before, after),
            ChangeVerb::Create => self.creation(),
            ChangeVerb::Link if before.get("tier").is_some() => self.link(before, after),
            ChangeVerb::Link => Err("a link is changed with rosterctl user relink".to_owned()),
            ChangeVerb::Move => {
                Err("the directories decide which of them shows the person".to_owned())
            }
            ChangeVerb::Unlink => {
                Err("the next run links it again once its override is cleared".to_owned())
            }
            ChangeVerb::Transfer => {
                Err("users follow their domain: release it, and claim it for the other account"
                    .to_owned())
            }
            ChangeVerb::Release => {
                Err("users come back with their domain: claim it again".to_owned())
            }
            ChangeVerb::Invite => {
                Err("an invited user is removed with rosterctl user remove".to_owned())
            }
            ChangeVerb::Register => Err("a first sign-in cannot be undone".to_owned()),
            ChangeVerb::Remove => Err("a removed user cannot be restored".to_owned()),
        }
    }

    fn suspension(&mut self, change: &WrittenChange) -> Result<(), String> {
        let reason = change.reason.ok_or("its reason is unknown")?;
        if reason.is_positive() {
            return Err(format!("the directory shows that it is {reason}: change it there"));
        }
        let cause = self
            .user
            .causes
            .get(reason)
            .filter(|cause| json!([cause.evidence]) == change.evidence)
            .cloned();
        let cause =
            cause.ok_or_else(|| format!("it is no longer suspended as {reason} by this run"))?;
        let remaining =
            self.user.causes.iter().map(|c| c.reason).filter(|r| *r != reason).collect();
        self.push(ChangeKind::Reactivate {
            lifted: vec![cause].into(),
            remaining,
            evidence: vec![self.evidence()],
        });
        if reason != Reason::Operator {
            self.overrides.insert(Override::Reason(reason));
        }
        Ok(())
    }

    /// Suspends with the cause `operator`, because the evidence of the former cause was refuted.
    fn reactivation(&mut self) -> Result<(), String> {
        if self.user.standing == Standing::Released {
            return Err("it was released since".to_owned());
        }
        if self.user.causes.has(Reason::Operator) {
            return Err("an operator has suspended it since".to_owned());
        }
        let cause = Cause {
            reason: Reason::Operator,
            since: self.taken.at,
            by: By::Operator("undo".to_owned()),
            evidence: self.evidence(),
        };
        let was_active = self.user.status() == Status::Active;
        self.push(ChangeKind::Suspend { cause, was_active });
        Ok(())
    }

    fn tier(&mut self, before: &Value, after: &Value) -> Result<(), String> {
        let tier =
            |of: &Value| of["tier"].as_str().and_then(Tier::parse).ok_or("its tier is unknown");
        let (before, after) = (tier(before)?, tier(after)?);
        if self.user.standing == Standing::Released || self.user.tier != after {
            return Err("its tier has changed since".to_owned());
        }
        self.push(ChangeKind::Tier { before: after, after: before, evidence: self.evidence() });
        self.set_override(Override::Tier(after));
        Ok(())
    }

    fn addresses(&mut self, before: &Value, after: &Value) -> Result<(), String> {
        let (before, after) = (addresses(before), addresses(after));
        if self.user.standing == Standing::Released || self.user.addresses != after {
            return Err("its addresses have changed since".to_owned());
        }
        self.push(ChangeKind::Readdress { before: after.clone(), after: before });
        self.set_override(Override::addresses(&after));
        Ok(())
    }

    /// Restores attributes. Further attributes follow the directory, and are left as they are.
    fn attributes(&mut self, before: &Value, after: &Value) -> Result<(), String> {
        let mut restored = self.user.profile.clone();
        let now = self.user.profile.values();
        let text =
            |of: &Value, name: &String| of.get(name).and_then(Value::as_str).map(str::to_owned);
        let names = before.as_object().into_iter().flatten().map(|(name, _)| name);
        let (same, other): (Vec<&String>, Vec<&String>) = names
            .filter(|name| restored.field_mut(name).is_some())
            .partition(|name| now.get(*name) == Some(&json!(text(after, name))));
        if same.is_empty() || self.user.standing == Standing::Released {
            return Err("its attributes have changed since".to_owned());
        }
        for name in same {
            if let Some(field) = restored.field_mut(name) {
                *field = text(before, name);
            }
        }
        let (before, after) = (Box::new(self.user.profile.clone()), Box::new(restored));
        self.set_override(Override::attributes(&before));
        self.push(ChangeKind::Update { before, after });
        if other.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{} changed since; the others are undone",
            other.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
        ))
    }

    fn creation(&mut self) -> Result<(), String> {
        match self.user.status() {
            Status::Active => {}
            status => return Err(format!("it is {} since", status.as_str())),
        }
        self.push(ChangeKind::Release { before: Status::Active });
        self.overrides.insert(Override::Return);
        Ok(())
    }

    fn link(&mut self, before: &Value, after: &Value) -> Result<(), String> {
        let person: Option<Guid> = after["object_guid"].as_str().and_then(|guid| guid.parse().ok());
        let person = person.filter(|guid| self.user.link.as_ref().is_some_and(|l| l.guid == *guid));
        let person = person.ok_or("it was linked to another person since")?;
        if let Some(cause) = self.user.causes.weightiest().filter(|c| c.reason != Reason::Operator)
        {
            return Err(format!(
                "it is suspended as {}: change that in the directory",
                cause.reason
            ));
        }
        let tier = before["tier"].as_str().and_then(Tier::parse).unwrap_or(self.user.tier);
        let profile = serde_json::from_value(before["profile"].clone()).unwrap_or_default();
        let causes = self.user.causes.clone();
        let after = Joined { tier, addresses: addresses(before), profile, link: None, causes };
        self.push(ChangeKind::Unlink {
            before: Box::new(self.user.joined()),
            after: Box::new(after),
        });
        self.overrides.insert(Override::Link(person));
        Ok(())
    }

    /// Sets an override. A user without a link needs none, because no directory asks again.
    fn set_override(&mut self, what: Override) {
        if self.user.link.is_some() {
            self.overrides.insert(what);
        }
    }

    fn push(&mut self, kind: ChangeKind) {
        self.user.apply(&kind, self.taken.at);
        self.kinds.push(kind);
    }

    /// Returns the evidence of an operator's decision.
    fn evidence(&self) -> Evidence {
        let person = self.user.link.as_ref().map(|l| l.guid);
        Evidence::of_operator(&format!("undo of run {}", self.taken.run), person, self.taken.at)
    }

    fn changes(self) -> Vec<Change> {
        let Self { was, overrides, mut kinds, .. } = self;
        if overrides != was.overrides {
            kinds.push(ChangeKind::Override { before: was.overrides.clone(), after: overrides });
        }
        kinds.into_iter().map(|kind| Change::by_hand(was, kind)).collect()
    }
}

impl Left {
    pub fn of(change: &WrittenChange, why: String) -> Self {
        Self { user: change.user, email: change.email.clone(), kind: change.kind, why }
    }
}

/// Leaves users whose former address another user holds by now, unless that one releases it as well.
fn leave_taken_addresses(
    undoing: &mut Undoing,
    users: &BTreeMap<UserId, User>,
    holders: &BTreeMap<AddressKey, UserId>,
) {
    loop {
        let leaving: BTreeSet<(UserId, AddressKey)> = undoing
            .changes
            .iter()
            .flat_map(|c| c.address_moves().0.into_iter().map(|key| (c.user, key)))
            .collect();
        let released: BTreeSet<UserId> = undoing
            .changes
            .iter()
            .filter(|c| matches!(c.kind, ChangeKind::Release { .. }))
            .map(|c| c.user)
            .collect();
        let stays = |key: &AddressKey, of: UserId| {
            holders.get(key).is_some_and(|h| {
                *h != of && !released.contains(h) && !leaving.contains(&(*h, key.clone()))
            })
        };
        let blocked: BTreeMap<UserId, AddressKey> = undoing
            .changes
            .iter()
            .filter_map(|c| {
                c.address_moves()
                    .1
                    .into_iter()
                    .find(|key| stays(key, c.user))
                    .map(|key| (c.user, key))
            })
            .collect();
        if blocked.is_empty() {
            return;
        }
        // All changes of such a user are left, because a user in half its former state is inconsistent.
        undoing.changes.retain(|c| !blocked.contains_key(&c.user));
        undoing.left.extend(blocked.into_iter().map(|(user, key)| {
            Left {
                user,
                email: users
                    .get(&user)
                    .and_then(|u| u.addresses.primary.as_ref())
                    .map(|a| a.as_str().to_owned()),
                kind: ChangeVerb::Update,
                why: format!("another user holds {} by now", key.0),
            }
        }));
    }
}

fn addresses(of: &Value) -> Addresses {
    let address = |value: &Value| value.as_str().and_then(|text| Address::parse(text).ok());
    let secondary =
        of["secondary_emails"].as_array().into_iter().flatten().filter_map(address).collect();
    Addresses { primary: address(&of["primary_email"]), secondary }
}

fn set(of: &Value, name: &str) -> BTreeSet<Override> {
    let all = of.get(name).and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|value| value.as_str()?.parse().ok()).collect()
}
