//! Laws of replication: whatever servers have heard of each other, and whichever of them is read.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rosterd::model::*;
use rosterd::reconcile::*;

use crate::world::forest::{
    Controller, Forest, Links, OUS, Stamps, copy, is_member, is_newer, ou_of,
};
use crate::world::*;

const PEOPLE: u32 = 8;
const SERVERS: usize = 3;

/// An event at a domain controller.
#[derive(Clone, Debug)]
enum Event {
    Disable(usize, u32, bool),
    Expire(usize, u32, bool),
    Delete(usize, u32, bool),
    Rename(usize, u32, u32),
    Join(usize, u32),
    /// A person is added to the Pro group or the Basic group, or removed from it.
    Link(usize, u32, bool, bool),
    /// An OU is moved into the base, or out of it.
    MoveOu(usize, u32, bool),
    Replicate(usize, usize),
    BackUp(usize),
    /// Both are observed before anything else is written there.
    SetBack(usize),
    Restore(usize),
    /// A run reads this server.
    Read(usize),
    /// Changes of this server are followed beside those of the one that was read last.
    Follow(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let (at, who) = (0..SERVERS, 0..PEOPLE + 2);
    let write = (at.clone(), who, any::<bool>());
    prop_oneof![
        3 => write.clone().prop_map(|(at, who, is)| Event::Disable(at, who, is)),
        1 => write.clone().prop_map(|(at, who, is)| Event::Expire(at, who, is)),
        2 => write.clone().prop_map(|(at, who, is)| Event::Delete(at, who, is)),
        1 => (write.clone(), 0..9u32).prop_map(|((at, who, _), name)| Event::Rename(at, who, name)),
        1 => (at.clone(), PEOPLE..PEOPLE + 2).prop_map(|(at, who)| Event::Join(at, who)),
        4 => (write.clone(), any::<bool>())
            .prop_map(|((at, who, is), is_pro)| Event::Link(at, who, is_pro, is)),
        2 => (at.clone(), 0..OUS, any::<bool>()).prop_map(|(at, ou, is)| Event::MoveOu(at, ou, is)),
        4 => (at.clone(), at.clone()).prop_map(|(from, to)| Event::Replicate(from, to)),
        1 => at.clone().prop_map(Event::BackUp),
        1 => at.clone().prop_map(Event::SetBack),
        1 => at.clone().prop_map(Event::Restore),
        6 => at.clone().prop_map(Event::Read),
        6 => at.prop_map(Event::Follow),
    ]
}

/// The newest writes that runs have seen, by AD's own order: of people, of the OU of each, and of their
/// memberships.
#[derive(Clone, Default)]
struct Newest(BTreeMap<Guid, (Facts, Stamps)>, BTreeMap<Guid, (bool, Stamp)>, Links);

impl Newest {
    /// Sees the writes by which those people have left.
    fn leave(&mut self, people: &BTreeMap<Guid, (Facts, Stamps)>, is_seen: impl Fn(Guid) -> bool) {
        let by = |facts: &Facts, stamps: &Stamps| {
            let by = leaves(facts).into_iter();
            by.filter_map(|attribute| Some((attribute, *stamps.get(&attribute)?))).collect()
        };
        let seen = people.iter().filter(|(guid, _)| is_seen(**guid));
        let seen = seen.map(|(guid, (facts, stamps))| (*guid, (facts.clone(), by(facts, stamps))));
        self.see(&seen.collect());
    }

    /// Returns whether the server has heard of everything that was seen of the person.
    fn is_known_to(&self, server: &Controller, guid: Guid) -> bool {
        let known = self.0.get(&guid).into_iter().flat_map(|(_, stamps)| stamps);
        let own = server.people.get(&guid).map(|(_, stamps)| stamps);
        let is_heard_of = |(attribute, stamp): (&AttributeId, &Stamp)| {
            own.and_then(|own| own.get(attribute)).is_some_and(|own| !is_newer(stamp, own))
        };
        known.into_iter().all(is_heard_of)
    }

    /// Sees the places of those people of whom the server has the newest writes.
    fn see_places(&mut self, server: &Controller) {
        for guid in self.0.keys() {
            if let (true, Some((is_inside, stamp))) =
                (self.is_known_to(server, *guid), server.ous.get(&ou_of(*guid)))
                && self.1.get(guid).is_none_or(|(_, known)| is_newer(stamp, known))
            {
                self.1.insert(*guid, (*is_inside, *stamp));
            }
        }
    }

    fn see_links(&mut self, links: &Links) {
        for (link, (is, stamp)) in links {
            if self.2.get(link).is_none_or(|(_, known)| is_newer(stamp, known)) {
                self.2.insert(*link, (*is, *stamp));
            }
        }
    }

    /// Returns the tier that the groups give the person.
    fn tier(&self, guid: Guid) -> Option<Tier> {
        let is_in = |group| is_member(&self.2, group, guid);
        if is_in(PRO) { Some(Tier::Pro) } else { is_in(BASIC).then_some(Tier::Basic) }
    }

    /// Returns whether the OU of the person is in the base.
    fn has_inside(&self, guid: Guid) -> bool {
        self.1.get(&guid).is_none_or(|(is_inside, _)| *is_inside)
    }

    fn see(&mut self, people: &BTreeMap<Guid, (Facts, Stamps)>) {
        for (guid, (facts, stamps)) in people {
            let (known, own) = self.0.entry(*guid).or_insert((facts.clone(), Stamps::new()));
            for (attribute, stamp) in stamps {
                if own.get(attribute).is_none_or(|old| is_newer(stamp, old)) {
                    copy(*attribute, facts, known);
                    own.insert(*attribute, *stamp);
                }
            }
        }
    }
}

fn user(company: &Company, guid: Guid) -> Option<&User> {
    company.users.values().find(|user| user.link.as_ref().is_some_and(|link| link.guid == guid))
}

/// Returns the attributes by which a person leaves.
fn leaves(facts: &Facts) -> Vec<AttributeId> {
    let leaves = [
        (AttributeId::USER_ACCOUNT_CONTROL, facts.disabled),
        (AttributeId::ACCOUNT_EXPIRES, facts.expires != Expiry::Never),
        (AttributeId::IS_DELETED, facts.life == Life::Tombstone),
    ];
    leaves.into_iter().filter_map(|(attribute, leaves)| leaves.then_some(attribute)).collect()
}

/// Returns whether a followed server shows the newest write by which a person leaves, which the server in use
/// lacks.
fn is_news(forest: &Forest, (at, in_use): (usize, usize), newest: &Newest, guid: Guid) -> bool {
    let on = |at: usize| forest.controllers[at].people.get(&guid);
    let (Some((here, stamps)), Some((_, used))) = (on(at), on(in_use)) else { return false };
    leaves(here).into_iter().any(|attribute| {
        let stamp = stamps.get(&attribute);
        here.life == Life::Alive
            && stamp == newest.0[&guid].1.get(&attribute)
            && stamp != used.get(&attribute)
    })
}

/// Checks what a followed server has changed: a suspension where it shows the newest write of a leaver,
/// and nothing else.
fn check_followed(
    forest: &Forest,
    (at, in_use): (usize, usize),
    newest: &Newest,
    before: &Company,
    company: &Company,
    loss: &Loss,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(&company.last_server, &before.last_server);
    prop_assert_eq!(&company.grace_periods, &before.grace_periods);
    prop_assert_eq!(company.users.len(), before.users.len(), "a user was created or removed");
    for (guid, (facts, stamps)) in &newest.0 {
        let (Some(was), Some(now)) = (user(before, *guid), user(company, *guid)) else { continue };
        if now.status() != was.status() {
            prop_assert_eq!((was.status(), now.status()), (Status::Active, Status::Suspended));
            prop_assert!(!facts.is_in_order(company.now), "server {} suspends {}", at, guid);
            prop_assert!(now.causes.iter().all(|cause| cause.reason.is_positive()));
        }
        prop_assert_eq!(
            (&now.addresses, now.tier, &now.profile),
            (&was.addresses, was.tier, &was.profile)
        );
        let Some((here, _)) = forest.controllers[at].people.get(guid) else { continue };
        let is_visible = here.life == Life::Alive || loss.tombstones_visible;
        let has_left = leaves(here).into_iter().any(|attribute| {
            let is_shown = attribute == AttributeId::IS_DELETED || here.life == Life::Alive;
            let on = |at: usize| forest.controllers[at].people.get(guid)?.1.get(&attribute);
            // A write that the server in use has, too, is left to it,
            // and so is a person whom it does not have.
            is_shown
                && on(at) == stamps.get(&attribute)
                && on(in_use) != on(at)
                && forest.controllers[in_use].people.contains_key(guid)
        });
        let is_held = company.held.iter().any(|held| held.change.guid == Some(*guid));
        prop_assert!(
            !has_left || !is_visible || is_held || now.status() != Status::Active,
            "server {} shows that {} has left, who stays active",
            at,
            guid
        );
    }
    Ok(())
}

/// Plays events, and checks after each run what the newest writes say.
fn play(
    events: &[Event],
    tombstones_visible: bool,
    shows_metadata: bool,
) -> Result<(), TestCaseError> {
    let mut company = Company::running(PEOPLE);
    let free = Limit { percent: 100, at_least: 1000, at_most: None };
    company.limits.classes = ChangeClass::ALL.map(|class| (class, free)).into();
    let mut forest = Forest::of(&company, SERVERS);
    let mut newest = Newest::default();
    let loss = Loss { tombstones_visible, ..Loss::default() };
    let read = |at: usize, forest: &mut Forest, newest: &mut Newest, company: &mut Company| {
        company.later(Duration::from_mins(20));
        let before = company.clone();
        forest.serve(at, company, shows_metadata);
        company.run(&loss);
        for (guid, (facts, _)) in &newest.0 {
            let is_made = user(&before, *guid).is_none() && user(company, *guid).is_some();
            let own = forest.controllers[at].people.get(guid);
            let mut now = newest.clone();
            now.see(&own.map(|own| (*guid, own.clone())).into_iter().collect());
            prop_assert!(
                !is_made || now.0[guid].0.is_in_order(company.now),
                "server {at} makes a user of {guid}, who has left: {facts:?}"
            );
        }
        // Nothing is stored about a person without a user, except that it leaves.
        let people = &forest.controllers[at].people;
        let with_user = people.iter().filter(|(guid, _)| user(company, **guid).is_some());
        newest.see(&with_user.map(|(guid, seen)| (*guid, seen.clone())).collect());
        newest.see_places(&forest.controllers[at]);
        let links = &forest.controllers[at].links;
        let (mut grouped, groups) =
            (newest.clone(), company.shown.as_ref().expect("a server").groups);
        grouped.see_links(links);
        if groups != Currency::Behind {
            newest.see_links(links);
        }
        if shows_metadata {
            let is_out = |guid: Guid| {
                let (facts, _) = &people[&guid];
                facts.life == Life::Alive && !facts.is_in_order(company.now)
            };
            newest.leave(people, |guid| user(company, guid).is_none() && is_out(guid));
        }
        for (guid, (facts, _)) in &newest.0 {
            let (Some(was), Some(now)) = (user(&before, *guid), user(company, *guid)) else {
                continue;
            };
            let (was_active, is_active) =
                (was.status() == Status::Active, now.status() == Status::Active);
            let is_at_work = facts.is_in_order(company.now);
            let tier = grouped.tier(*guid);
            let is_in_order = is_at_work && newest.has_inside(*guid) && tier.is_some();
            // A deletion that no run could see, or had to act on, keeps nobody out.
            let is_noticed = tombstones_visible || was.causes.has(Reason::Vanished);
            let is_back = Facts { life: Life::Alive, ..facts.clone() }.is_in_order(company.now);
            // Nor does a place that no run had to act on.
            let is_placed = newest.has_inside(*guid) || !was.causes.has(Reason::OutOfScope);
            let is_grouped = tier.is_some() || !was.causes.has(Reason::NoGroup);
            prop_assert!(
                was_active
                    || !is_active
                    || is_placed && is_grouped && (is_at_work || !is_noticed && is_back),
                "server {at} brings back {guid}, who left: {:?}",
                was.causes
            );
            if !shows_metadata {
                continue;
            }
            let is_held = company.held.iter().any(|held| held.change.guid == Some(*guid));
            prop_assert!(
                is_at_work || !tombstones_visible || !is_active || is_held,
                "server {at} keeps {guid}, who left",
            );
            prop_assert!(
                !is_in_order || !was_active || is_active,
                "server {at} suspends {guid}, who is in order",
            );
            prop_assert!(
                was.tier == now.tier || tier == Some(now.tier),
                "server {at} gives {guid} the tier {} again",
                now.tier
            );
            let is_decided = groups != Currency::Behind
                && newest.is_known_to(&forest.controllers[at], *guid)
                && ou_of(*guid) >= OUS;
            prop_assert!(
                !is_decided || !is_active || is_held || tier == Some(now.tier),
                "server {at} leaves {guid} as {}, who is {tier:?} by the groups",
                now.tier
            );
            let has_newest = |user: &User| {
                user.addresses.primary.as_ref().is_some_and(|a| a.as_str() == facts.mail)
            };
            prop_assert!(
                !has_newest(was) || has_newest(now),
                "server {at} sets the address of {guid} back",
            );
        }
        Ok(())
    };
    // All servers have heard of all people.
    for at in 0..SERVERS {
        read(at, &mut forest, &mut newest, &mut company)?;
    }
    let mut in_use = SERVERS - 1;
    for event in events {
        let now = company.now;
        match *event {
            Event::Disable(at, who, is) => {
                let attribute = AttributeId::USER_ACCOUNT_CONTROL;
                forest.write(at, guid(who), attribute, now, |facts| facts.disabled = is);
            }
            Event::Expire(at, who, is) => {
                let expires = if is { Expiry::At(now) } else { Expiry::Never };
                let attribute = AttributeId::ACCOUNT_EXPIRES;
                forest.write(at, guid(who), attribute, now, |facts| facts.expires = expires);
            }
            Event::Delete(at, who, is) => {
                let life = if is { Life::Tombstone } else { Life::Alive };
                let attribute = AttributeId::IS_DELETED;
                forest.write(at, guid(who), attribute, now, |facts| facts.life = life);
            }
            Event::Rename(at, who, name) => {
                let mail = format!("renamed{who}.{name}@example.com");
                forest.write(at, guid(who), AttributeId(0x0015_0003), now, |f| f.mail = mail);
            }
            Event::Join(at, who) => {
                let facts = company.truth.values().next().expect("a person").clone();
                let joiner = Facts {
                    mail: format!("joiner{who}@example.com"),
                    proxies: Vec::new(),
                    life: Life::Alive,
                    disabled: false,
                    expires: Expiry::Never,
                    ..facts
                };
                forest.join(at, guid(who), joiner, now);
            }
            Event::Link(at, who, is_pro, is) => {
                forest.link(at, if is_pro { PRO } else { BASIC }, guid(who), is, now);
            }
            Event::MoveOu(at, ou, is_inside) => forest.move_ou(at, ou, is_inside, now),
            Event::Replicate(from, to) => forest.replicate(from, to),
            Event::BackUp(at) => forest.back_up(at),
            Event::SetBack(at) => {
                read(at, &mut forest, &mut newest, &mut company)?;
                forest.set_back(at);
                read(at, &mut forest, &mut newest, &mut company)?;
                in_use = at;
            }
            Event::Restore(at) => forest.restore(at),
            Event::Read(at) => {
                read(at, &mut forest, &mut newest, &mut company)?;
                in_use = at;
            }
            Event::Follow(at) if at == in_use || !shows_metadata => {}
            Event::Follow(at) => {
                let mut compared = newest.clone();
                compared.see(&forest.controllers[in_use].people);
                compared.see(&forest.controllers[at].people);
                let before = company.clone();
                forest.follow(at, in_use, &mut company, &loss);
                check_followed(&forest, (at, in_use), &compared, &before, &company, &loss)?;
                let has_left = |guid| {
                    let (was, now) = (user(&before, guid), user(&company, guid));
                    was.map(User::status) != now.map(User::status)
                        || (now.is_none() && is_news(&forest, (at, in_use), &compared, guid))
                };
                newest.leave(&forest.controllers[at].people, has_left);
            }
        }
        company.later(Duration::from_mins(1));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_leaver_stays_out_and_a_joiner_stays_in_whichever_server_is_read(
        events in prop::collection::vec(event(), 1..30),
        tombstones_visible in any::<bool>(),
    ) {
        play(&events, tombstones_visible, true)?;
    }

    #[test]
    fn a_leaver_stays_out_where_no_server_shows_its_metadata(
        events in prop::collection::vec(event(), 1..30),
        tombstones_visible in any::<bool>(),
    ) {
        play(&events, tombstones_visible, false)?;
    }
}

/// A server that lacks another write shows the return. A third one shows the departure alone.
#[test]
fn a_return_that_a_lagging_server_has_shown_is_not_undone_by_an_older_departure() {
    use self::Event::{Delete, Disable, Read};
    let events =
        [Disable(2, 3, true), Disable(0, 3, false), Delete(1, 3, false), Read(1), Read(0), Read(2)];
    play(&events, false, true).unwrap_or_else(|error| panic!("{error}"));
}

/// A followed server shows an old departure. The return is known from the server in use alone, or from a
/// server that runs have left since.
#[test]
fn a_followed_server_that_lags_behind_suspends_no_person_who_has_returned() {
    use self::Event::{Disable, Follow, Read, Replicate};
    let old = |at| [Disable(at, 0, true), Replicate(at, 1), Disable(at, 0, false)];
    let unread = [&old(2)[..], &[Follow(1)]].concat();
    let stored = [&old(0)[..], &[Read(0), Read(2), Follow(1)]].concat();
    for events in [unread, stored] {
        play(&events, true, true).unwrap_or_else(|error| panic!("{events:?}: {error}"));
    }
}
