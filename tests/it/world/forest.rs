//! Replicating domain controllers: each has its own copy, its stamps, and what it has heard of the others.

use std::collections::{BTreeMap, BTreeSet};

use rosterd::model::*;
use rosterd::reconcile::*;

use super::{BASIC, Company, Facts, Life, Loss, PRO};

const MAIL: AttributeId = AttributeId(0x0015_0003);
/// The attributes that are written apart.
const ATTRIBUTES: [AttributeId; 5] = [
    AttributeId::OBJECT_CLASS,
    AttributeId::USER_ACCOUNT_CONTROL,
    AttributeId::ACCOUNT_EXPIRES,
    AttributeId::IS_DELETED,
    MAIL,
];

/// The replication metadata that the server of a run shows.
#[derive(Clone)]
pub(crate) struct Shown {
    pub identity: ServerIdentity,
    pub metadata: BTreeMap<Guid, Metadata>,
    pub knowledge: Option<Knowledge>,
    is_set_back: bool,
    containers: Currency,
    pub groups: Currency,
}

pub(crate) type Stamps = BTreeMap<AttributeId, Stamp>;
/// Whether each person is a member of each group, with the write of that value (MS-ADTS 3.1.1.1.9).
pub(crate) type Links = BTreeMap<(Guid, Guid), (bool, Stamp)>;

#[derive(Clone)]
pub(crate) struct Controller {
    name: usize,
    invocation_id: Guid,
    usn: u64,
    heard: BTreeMap<Guid, u64>,
    pub people: BTreeMap<Guid, (Facts, Stamps)>,
    /// Whether each OU that moves is in a base, with the write that moved it.
    pub ous: BTreeMap<u32, (bool, Stamp)>,
    pub links: Links,
    /// The highest `uSNChanged` of the groups.
    groups: u64,
}

#[derive(Clone)]
pub(crate) struct Forest {
    pub controllers: Vec<Controller>,
    copies: Vec<Controller>,
    /// The writes that runs have read on each server.
    read: Vec<BTreeSet<Stamp>>,
    made: u8,
    /// The highest USN at which runs have seen each server, and the databases that they saw set back.
    pub marks: HighWaterMarks,
}

/// Returns whether AD keeps the first write.
pub(crate) fn is_newer(one: &Stamp, other: &Stamp) -> bool {
    let order = |s: &Stamp| (s.version, s.at, s.invocation_id);
    order(one) > order(other)
}

/// Copies one attribute.
pub(crate) fn copy(attribute: AttributeId, from: &Facts, to: &mut Facts) {
    match attribute {
        AttributeId::USER_ACCOUNT_CONTROL => to.disabled = from.disabled,
        AttributeId::ACCOUNT_EXPIRES => to.expires = from.expires,
        AttributeId::IS_DELETED => to.life.clone_from(&from.life),
        _ if attribute == MAIL => to.mail.clone_from(&from.mail),
        _ => {}
    }
}

impl Forest {
    /// Returns controllers that all have the people of a company.
    pub(crate) fn of(company: &Company, count: usize) -> Self {
        let first = database(0);
        let people = company.truth.iter().zip(1..).map(|((guid, facts), usn)| {
            let stamp = Stamp { version: 1, at: company.now, invocation_id: first, usn };
            let stamps = ATTRIBUTES.into_iter().filter(|a| *a != AttributeId::IS_DELETED);
            (*guid, (facts.clone(), stamps.map(|a| (a, stamp)).collect()))
        });
        let people: BTreeMap<_, _> = people.collect();
        let usn = people.len() as u64;
        let links = company.truth.iter().flat_map(|(guid, facts)| {
            let stamp = Stamp { version: 1, at: company.now, invocation_id: first, usn };
            [(PRO, facts.pro), (BASIC, facts.basic)]
                .map(|(group, is)| ((group, *guid), (is, stamp)))
        });
        let links: Links = links.filter(|(_, (is, _))| *is).collect();
        let controller = |name| Controller {
            name,
            invocation_id: database(name as u8),
            usn,
            heard: (0..count).map(|name| (database(name as u8), usn)).collect(),
            people: people.clone(),
            ous: BTreeMap::new(),
            links: links.clone(),
            groups: usn,
        };
        let controllers: Vec<Controller> = (0..count).map(controller).collect();
        Self {
            copies: controllers.clone(),
            read: vec![BTreeSet::new(); count],
            controllers,
            made: count as u8,
            marks: HighWaterMarks::default(),
        }
    }

    /// Writes one attribute of a person on one server.
    pub(crate) fn write(
        &mut self,
        at: usize,
        guid: Guid,
        attribute: AttributeId,
        now: Timestamp,
        change: impl FnOnce(&mut Facts),
    ) {
        let controller = &mut self.controllers[at];
        controller.usn += 1;
        let (invocation_id, usn) = (controller.invocation_id, controller.usn);
        let Some((facts, stamps)) = controller.people.get_mut(&guid) else { return };
        change(facts);
        let version = stamps.get(&attribute).map_or(0, |stamp| stamp.version) + 1;
        stamps.insert(attribute, Stamp { version, at: now, invocation_id, usn });
    }

    /// Moves an OU into the base or out of it on one server. Nothing is written on the people below.
    pub(crate) fn move_ou(&mut self, at: usize, ou: u32, is_inside: bool, now: Timestamp) {
        let controller = &mut self.controllers[at];
        controller.usn += 1;
        let (invocation_id, usn) = (controller.invocation_id, controller.usn);
        let version = controller.ous.get(&ou).map_or(1, |(_, stamp)| stamp.version) + 1;
        controller.ous.insert(ou, (is_inside, Stamp { version, at: now, invocation_id, usn }));
    }

    /// Adds a person to a group on one server, or removes it. Nothing is written on the person.
    pub(crate) fn link(&mut self, at: usize, group: Guid, guid: Guid, is: bool, now: Timestamp) {
        let controller = &mut self.controllers[at];
        let known = controller.links.get(&(group, guid));
        let was = known.is_some_and(|(is, _)| *is);
        if !controller.people.contains_key(&guid) || was == is {
            return;
        }
        let version = known.map_or(0, |(_, stamp)| stamp.version) + 1;
        controller.usn += 1;
        let (invocation_id, usn) = (controller.invocation_id, controller.usn);
        let stamp = Stamp { version, at: now, invocation_id, usn };
        controller.links.insert((group, guid), (is, stamp));
        controller.groups = usn;
    }

    /// Adds a person on one server.
    pub(crate) fn join(&mut self, at: usize, guid: Guid, facts: Facts, now: Timestamp) {
        if self.controllers[at].people.contains_key(&guid) {
            return;
        }
        self.controllers[at].people.insert(guid, (facts, Stamps::new()));
        for attribute in ATTRIBUTES.into_iter().filter(|a| *a != AttributeId::IS_DELETED) {
            self.write(at, guid, attribute, now, |_| {});
        }
        self.link(at, BASIC, guid, true, now);
    }

    /// Sends one server what it has not heard of.
    pub(crate) fn replicate(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let source = self.controllers[from].clone();
        let target = &mut self.controllers[to];
        let known = target.heard.clone();
        let is_news = |stamp: &Stamp| {
            stamp.invocation_id != target.invocation_id
                && known.get(&stamp.invocation_id).is_none_or(|usn| stamp.usn > *usn)
        };
        for (guid, (theirs, stamps)) in &source.people {
            let news: Vec<_> = stamps.iter().filter(|(_, stamp)| is_news(stamp)).collect();
            let (ours, own) = match target.people.get_mut(guid) {
                Some(known) => known,
                // An entry without its class is not made.
                None if !news.iter().any(|(a, _)| **a == AttributeId::OBJECT_CLASS) => continue,
                None => target.people.entry(*guid).or_insert((theirs.clone(), Stamps::new())),
            };
            for (attribute, stamp) in news {
                if own.get(attribute).is_none_or(|known| is_newer(stamp, known)) {
                    copy(*attribute, theirs, ours);
                    own.insert(*attribute, *stamp);
                    target.usn += 1;
                }
            }
        }
        for (ou, (is_inside, stamp)) in &source.ous {
            let is_wanted =
                |own: Option<&(bool, Stamp)>| own.is_none_or(|(_, known)| is_newer(stamp, known));
            if is_news(stamp) && is_wanted(target.ous.get(ou)) {
                target.ous.insert(*ou, (*is_inside, *stamp));
            }
        }
        for ((group, guid), (is, stamp)) in &source.links {
            let is_wanted =
                |own: Option<&(bool, Stamp)>| own.is_none_or(|(_, known)| is_newer(stamp, known));
            if is_news(stamp) && is_wanted(target.links.get(&(*group, *guid))) {
                target.links.insert((*group, *guid), (*is, *stamp));
                target.usn += 1;
                target.groups = target.usn;
            }
        }
        for (database, usn) in source.heard.iter().chain([(&source.invocation_id, &source.usn)]) {
            let known = target.heard.entry(*database).or_default();
            *known = (*known).max(*usn);
        }
    }

    pub(crate) fn back_up(&mut self, at: usize) {
        self.copies[at] = self.controllers[at].clone();
    }

    /// Puts back the copy under the same invocationId (USN rollback).
    pub(crate) fn set_back(&mut self, at: usize) {
        self.controllers[at] = self.copies[at].clone();
    }

    /// Restores the copy under a new invocationId.
    pub(crate) fn restore(&mut self, at: usize) {
        let copy = self.copies[at].clone();
        self.made += 1;
        let mut heard = copy.heard.clone();
        heard.insert(copy.invocation_id, copy.usn);
        self.controllers[at] =
            Controller { invocation_id: database(self.made), heard, ..copy.clone() };
        self.copies[at] = self.controllers[at].clone();
    }

    /// Has the company follow this server, while it reads the other one.
    pub(crate) fn follow(&self, at: usize, in_use: usize, company: &mut Company, loss: &Loss) {
        let Controller { name, invocation_id, people, .. } = &self.controllers[at];
        let other = Shown {
            identity: ServerIdentity {
                ds_service_name: format!("CN=DC{name}"),
                invocation_id: Some(*invocation_id),
            },
            metadata: self.controllers[at].metadata(),
            knowledge: None,
            is_set_back: false,
            containers: Currency::default(),
            groups: Currency::default(),
        };
        let truth = people.iter().map(|(guid, (facts, _))| (*guid, facts.clone())).collect();
        let was = (std::mem::replace(&mut company.truth, truth), company.shown.replace(other));
        company.run_other(&self.controllers[in_use].metadata(), loss);
        (company.truth, company.shown) = was;
    }

    /// Has the company read this server from now on. Returns what it shows.
    pub(crate) fn serve(&mut self, at: usize, company: &mut Company, shows_metadata: bool) {
        let controller = &self.controllers[at];
        let Controller { name, invocation_id, usn, heard, people, ous, groups, .. } = controller;
        let own = HighWaterMark { invocation_id: *invocation_id, usn: *usn };
        let is_set_back = self.marks.note(own);
        let cursors = heard.iter().map(|(id, usn)| (*id, *usn));
        let mut knowledge: Knowledge = cursors.chain([(*invocation_id, *usn)]).collect();
        knowledge.limit(&self.marks.set_back);
        // DirSync reports what was written since the last read, whatever the values are now.
        let reported = people
            .iter()
            .filter(|(_, (_, stamps))| stamps.values().any(|stamp| !self.read[at].contains(stamp)));
        for (guid, _) in reported {
            if let Some((row, _)) = company.people.get_mut(guid) {
                row.fingerprint = Fingerprint::Revisit;
            }
        }
        self.read[at].extend(people.values().flat_map(|(_, stamps)| stamps.values().copied()));
        let containers = self.marks.currency_of_containers(Some(&knowledge));
        let of_groups =
            Currency::of(self.marks.groups.as_ref(), shows_metadata.then_some(&knowledge));
        if of_groups != Currency::Behind {
            let mark = HighWaterMark { invocation_id: *invocation_id, usn: *groups };
            self.marks.groups = Some(mark);
        }
        let moves: Vec<Stamp> = ous.values().map(|(_, stamp)| *stamp).collect();
        self.marks.note_moves(&moves, company.now);
        company.truth =
            people.keys().filter_map(|guid| Some((*guid, controller.shows(*guid)?))).collect();
        company.shown = Some(Shown {
            containers,
            groups: of_groups,
            identity: ServerIdentity {
                ds_service_name: format!("CN=DC{name}"),
                invocation_id: Some(*invocation_id),
            },
            metadata: if shows_metadata {
                self.controllers[at].metadata()
            } else {
                BTreeMap::new()
            },
            knowledge: shows_metadata.then_some(knowledge),
            is_set_back,
        });
    }
}

/// The number of OUs that move.
pub(crate) const OUS: u32 = 2;

pub(crate) fn is_member(links: &Links, group: Guid, guid: Guid) -> bool {
    links.get(&(group, guid)).is_some_and(|(is, _)| *is)
}

/// Returns the OU that moves with the person.
pub(crate) fn ou_of(guid: Guid) -> u32 {
    u32::from(guid.0[15]) % (2 * OUS)
}

impl Controller {
    /// Returns what the server shows of a person, at the place where it has the OU.
    pub(crate) fn shows(&self, guid: Guid) -> Option<Facts> {
        let (mut facts, _) = self.people.get(&guid)?.clone();
        if let Some((false, _)) = self.ous.get(&ou_of(guid)) {
            "Elsewhere".clone_into(&mut facts.ou);
        }
        facts.pro = is_member(&self.links, PRO, guid);
        facts.basic = is_member(&self.links, BASIC, guid);
        Some(facts)
    }

    /// Returns the stamps of all people.
    fn metadata(&self) -> BTreeMap<Guid, Metadata> {
        let stamps = |stamps: &Stamps| stamps.iter().map(|(a, s)| (*a, *s)).collect();
        self.people.iter().map(|(guid, (_, own))| (*guid, stamps(own))).collect()
    }
}

impl Company {
    /// Judges the people of an observation by what the server shows.
    pub(super) fn judge(&self, seen: &mut Observation) {
        let Some(shown) = &self.shown else {
            seen.replica.containers = Currency::Current;
            return;
        };
        seen.replica.containers = shown.containers;
        seen.replica.groups = shown.groups;
        seen.replica.knowledge.clone_from(&shown.knowledge);
        seen.replica.is_set_back = shown.is_set_back;
        let leaves = |guid: &Guid| {
            self.truth.get(guid).is_some_and(|f| f.life == Life::Alive && !f.is_in_order(self.now))
        };
        let leavers = shown.metadata.iter().filter(|(guid, _)| leaves(guid));
        seen.replica.leavers = leavers.map(|(guid, m)| (*guid, m.clone())).collect();
        let decided = |(guid, _): &(&Guid, &Metadata)| seen.desired.contains_key(guid);
        let metadata = shown.metadata.iter().filter(decided);
        seen.replica.metadata = metadata.map(|(guid, m)| (*guid, m.clone())).collect();
        seen.judge(&self.last_seen());
    }
}

impl Facts {
    pub(crate) fn is_in_order(&self, now: Timestamp) -> bool {
        let is_expired = matches!(self.expires, Expiry::At(at) if at <= now);
        self.life == Life::Alive && !self.disabled && !is_expired
    }
}

/// Returns the n-th invocationId.
fn database(n: u8) -> Guid {
    Guid([0xd0 + n; 16])
}
