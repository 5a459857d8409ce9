//! Taking a run back: what it changed of each user, the other way round, where that is still so.
//!
//! What was seen to be so in the directory is never taken back, nor is what has become something else since: it is left
//! alone, and told. What the directory would ask for again is overruled, until it asks for something else. And where
//! the run itself overruled the directory, taking it back gives the word back to the directory.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::model::{
    Address, AddressKey, Addresses, By, Cause, Change, ChangeKind, Evidence, Guid, Joined,
    Override, Profile, Reason, RunId, Standing, Status, Tier, Timestamp, User, UserId,
    WrittenChange,
};

/// What taking a run back comes to.
#[derive(Debug, Default)]
pub struct Undoing {
    /// What is to be done.
    pub changes: Vec<Change>,
    /// What is left alone.
    pub left: Vec<Left>,
}

/// A change that is not taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Left {
    /// Whose it was.
    pub user: UserId,
    /// The address it was shown by.
    pub email: Option<String>,
    /// What it was.
    pub kind: String,
    /// Why it is left alone.
    pub why: String,
}

/// The run that is taken back, and when.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The run.
    pub run: RunId,
    /// Now.
    pub at: Timestamp,
}

/// The opposite of what was done, for users as they are now. `holders` says who has which address.
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
                done.iter().map(|change| Left::of(change, "the user is no more".to_owned())),
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

/// One user, on the way back.
struct Reversal<'a> {
    taken: Taken,
    was: &'a User,
    /// As it is after what was reversed so far.
    user: User,
    /// What is overruled afterwards.
    overrides: BTreeSet<Override>,
    kinds: Vec<ChangeKind>,
}

impl Reversal<'_> {
    /// Reverses what was done to the user, the last first; returns what is left alone.
    fn all(&mut self, done: &[&WrittenChange]) -> Vec<Left> {
        let overruled: BTreeSet<Override> = done
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
            // The directory decides about it again.
            let is_given_back = !overruled.is_empty() && change.kind != "suspend";
            let reversed = if is_given_back { Ok(()) } else { self.one(change) };
            left.extend(reversed.err().map(|why| Left::of(change, why)));
        }
        self.overrides.retain(|pin| !overruled.contains(pin));
        left
    }

    fn one(&mut self, change: &WrittenChange) -> Result<(), String> {
        let WrittenChange { kind, before, after, .. } = change;
        match kind.as_str() {
            "suspend" => self.suspension(change),
            "reactivate" => self.reactivation(),
            "tier" => self.tier(before, after),
            "update" if before.get("overrides").is_some() => {
                self.overrides.extend(set(before, "overrides").difference(&set(after, "overrides")).copied());
                Ok(())
            }
            "update" if before.get("primary_email").is_some() => self.addresses(before, after),
            "update" => self.attributes(before, after),
            "create" => self.creation(),
            "link" if before.get("tier").is_some() => self.link(before, after),
            "link" => Err("that it is the same person, only rosterctl user relink can say otherwise".to_owned()),
            "move" => Err("which directory shows the person, only the directories say".to_owned()),
            "unlink" => Err("the next run links it again, once it is overrides_cleared".to_owned()),
            "transfer" => Err("whoever holds the domain has its people: release the domain, and claim it for the other account".to_owned()),
            "release" => Err("claim the domain again: its people come back with it".to_owned()),
            "invite" => Err("an invitation is taken back with rosterctl user remove".to_owned()),
            "register" => Err("who has signed in has signed in".to_owned()),
            _ => Err("what was removed is gone".to_owned()),
        }
    }

    fn suspension(&mut self, change: &WrittenChange) -> Result<(), String> {
        let reason =
            change.reason.as_deref().and_then(Reason::parse).ok_or("its reason is unknown")?;
        if reason.is_positive() {
            return Err(format!("it was seen to be {reason}: only the directory takes that back"));
        }
        let cause = self
            .user
            .causes
            .get(reason)
            .filter(|cause| json!([cause.evidence]) == change.evidence)
            .cloned();
        let cause =
            cause.ok_or_else(|| format!("it is no longer suspended as {reason} by that run"))?;
        let remaining =
            self.user.causes.iter().map(|c| c.reason).filter(|r| *r != reason).collect();
        self.push(ChangeKind::Reactivate {
            lifted: vec![cause].into(),
            remaining,
            evidence: vec![self.word()],
        });
        if reason != Reason::Operator {
            self.overrides.insert(Override::Reason(reason));
        }
        Ok(())
    }

    /// A suspension whose evidence was refuted cannot come back as it was. It comes back as what it is: an operator's.
    fn reactivation(&mut self) -> Result<(), String> {
        if self.user.standing == Standing::Released {
            return Err("it is released since".to_owned());
        }
        if self.user.causes.has(Reason::Operator) {
            return Err("an operator has suspended it since".to_owned());
        }
        let cause = Cause {
            reason: Reason::Operator,
            since: self.taken.at,
            by: By::Operator("undo".to_owned()),
            evidence: self.word(),
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
            return Err("it has another tier since".to_owned());
        }
        self.push(ChangeKind::Tier { before: after, after: before, evidence: self.word() });
        self.overrule(Override::Tier(after));
        Ok(())
    }

    fn addresses(&mut self, before: &Value, after: &Value) -> Result<(), String> {
        let (before, after) = (addresses(before), addresses(after));
        if self.user.standing == Standing::Released || self.user.addresses != after {
            return Err("it has other addresses since".to_owned());
        }
        self.push(ChangeKind::Readdress { before: after.clone(), after: before });
        self.overrule(Override::addresses(&after));
        Ok(())
    }

    fn attributes(&mut self, before: &Value, after: &Value) -> Result<(), String> {
        let now = self
            .user
            .profile
            .fields()
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        let now: BTreeMap<String, Option<String>> = now.into();
        let text =
            |of: &Value, name: &String| of.get(name).and_then(Value::as_str).map(str::to_owned);
        let names = before.as_object().into_iter().flatten().map(|(name, _)| name);
        let (same, other): (Vec<&String>, Vec<&String>) =
            names.partition(|name| now.get(*name).is_some_and(|is| *is == text(after, name)));
        if same.is_empty() || self.user.standing == Standing::Released {
            return Err("its attributes are others since".to_owned());
        }
        let restored = now.iter().map(|(name, value)| {
            (
                name.replace('-', "_"),
                if same.contains(&name) { json!(text(before, name)) } else { json!(value) },
            )
        });
        let restored: Profile = serde_json::from_value(Value::Object(restored.collect()))
            .map_err(|_| "its attributes cannot be read")?;
        let (before, after) = (Box::new(self.user.profile.clone()), Box::new(restored));
        self.overrule(Override::attributes(&before));
        self.push(ChangeKind::Update { before, after });
        if other.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{} changed since; the rest is taken back",
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
        let person = person.ok_or("it is linked to somebody else since")?;
        if let Some(cause) = self.user.causes.weightiest().filter(|c| c.reason != Reason::Operator)
        {
            return Err(format!(
                "it is suspended as {}, which only the directory takes back",
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

    /// Only a directory asks again.
    fn overrule(&mut self, what: Override) {
        if self.user.link.is_some() {
            self.overrides.insert(what);
        }
    }

    fn push(&mut self, kind: ChangeKind) {
        self.user.apply(&kind, self.taken.at);
        self.kinds.push(kind);
    }

    /// Nothing was looked at for this: an operator wants it.
    fn word(&self) -> Evidence {
        let person = self.user.link.as_ref().map(|l| l.guid);
        Evidence::of_operator(
            &format!("run {} is taken back", self.taken.run),
            person,
            self.taken.at,
        )
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
    /// Leaves a change alone, for this reason.
    pub fn of(change: &WrittenChange, why: String) -> Self {
        Self { user: change.user, email: change.email.clone(), kind: change.kind.clone(), why }
    }
}

/// Leaves those alone whose former address somebody else has by now, unless that one gives it up along with them.
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
        // All of such a user is left alone: half of it back would be neither one thing nor the other.
        undoing.changes.retain(|c| !blocked.contains_key(&c.user));
        undoing.left.extend(blocked.into_iter().map(|(user, key)| {
            Left {
                user,
                email: users
                    .get(&user)
                    .and_then(|u| u.addresses.primary.as_ref())
                    .map(|a| a.as_str().to_owned()),
                kind: "update".to_owned(),
                why: format!("{} is somebody else's by now", key.0),
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
