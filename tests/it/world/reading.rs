//! The reads of a company: page by page, by GUID, and at the groups.

use std::collections::{BTreeMap, BTreeSet};

use rosterd::model::*;
use rosterd::reconcile::*;

use super::{BASE, BASIC, Company, Life, Loss, PRO};

impl Company {
    /// Reads all people, base by base.
    pub(super) fn read(
        &mut self,
        loss: &Loss,
        index: &mut Index,
        seen: &mut Observation,
    ) -> Result<Complete, Incomplete> {
        let bases: Vec<Dn> = self.bases.iter().map(|b| Dn::new(b.as_str())).collect();
        let below =
            |base: &Dn| self.people.values().filter(|(_, p)| p.dn.is_within(base)).count() as u64;
        let mut ledger = Ledger::new(Expectation {
            people: bases.iter().map(below).collect(),
            bases: bases.clone(),
            attributes: vec!["userAccountControl".to_owned(), "mail".to_owned()],
            universal: ["userAccountControl".to_owned()].into(),
            counts: self.counts.clone(),
            ..Expectation::default()
        });
        ledger.server(Moment::Before, self.server(loss));
        let mut people: Vec<Guid> = self.truth.keys().copied().collect();
        if loss.reversed {
            people.reverse();
        }
        let mut left = loss.cut_after.unwrap_or(usize::MAX);
        for (at, base) in bases.iter().enumerate() {
            for guid in &people {
                let Some(truth) = self
                    .visible(*guid, loss)
                    .filter(|t| !loss.skipped.contains(guid) && t.ou != "Elsewhere")
                else {
                    continue;
                };
                let person = Self::person_of(*guid, truth, loss);
                if !person.dn.is_within(base) || left == 0 {
                    continue;
                }
                left -= 1;
                if person.control.is_some_and(UserAccountControl::is_disabled) {
                    self.seen_disabled.insert(*guid);
                }
                ledger.entry(
                    at,
                    Presence(
                        u32::from(person.control.is_some())
                            | u32::from(person.mail != Field::Absent) << 1,
                    ),
                );
                if loss.broken.contains(guid) {
                    let rest = Self::rest_of(&person);
                    seen.malformed.push((Some(*guid), rest.dn.clone()));
                    index.mark_seen(*guid);
                    let broken = Desired::broken(*guid, rest, &seen.policy);
                    seen.desired.extend(broken.map(|d| (*guid, d)));
                    continue;
                }
                let decision = decide(person, &seen.policy);
                match index.observe(&decision, &seen.policy) {
                    Observed::Changed | Observed::New => drop(seen.desired.insert(*guid, decision)),
                    Observed::Same | Observed::Stranger => {}
                    Observed::Twice => panic!("twice"),
                }
            }
            let end = loss
                .end
                .filter(|(which, _)| which % bases.len() == at)
                .map_or(PageEnd::Last, |(_, end)| end);
            ledger.page(at, end);
            if end == PageEnd::Cut {
                return ledger.finish();
            }
        }
        let other = ServerIdentity { ds_service_name: "CN=DC3".to_owned(), invocation_id: None };
        ledger.server(Moment::After, if loss.other_server { other } else { self.server(loss) });
        ledger.finish()
    }

    fn rest_of(person: &Person) -> Broken {
        Broken { dn: person.dn.clone(), control: person.control, expires: person.expires }
    }

    /// Asks for people by GUID.
    pub(super) fn ask(
        &mut self,
        guids: &BTreeSet<Guid>,
        loss: &Loss,
    ) -> BTreeMap<Guid, Confirmation> {
        let witnesses: BTreeSet<Dn> = self
            .truth
            .keys()
            .filter_map(|g| Self::dn(self.visible(*g, loss)?, *g).parent())
            .collect();
        let mut found = BTreeMap::new();
        let mut disabled = Vec::new();
        for guid in guids.iter().copied() {
            let confirmation = if let Some(truth) = self.visible(guid, loss) {
                let person = Self::person_of(guid, truth, loss);
                disabled.extend(person.control.filter(|c| c.is_disabled()).map(|_| guid));
                if loss.broken.contains(&guid) {
                    Confirmation::Malformed(Self::rest_of(&person))
                } else {
                    Confirmation::Alive(Box::new(person))
                }
            } else if loss.tombstones_visible
                && self.truth.get(&guid).is_some_and(|t| t.life == Life::Tombstone)
            {
                Confirmation::Tombstone(Dn::new(format!(
                    "CN={guid}\\0ADEL:{guid},CN=Deleted Objects,{BASE}"
                )))
            } else {
                // A person without a user is not stored, and has no last known parent.
                let parent = self.people.get(&guid).and_then(|(_, stored)| stored.dn.parent());
                let witness = parent.is_some_and(|parent| witnesses.contains(&parent));
                Confirmation::Nowhere(if witness && !loss.tombstones_visible {
                    Look::Witnessed
                } else {
                    Look::Unwitnessed
                })
            };
            found.insert(guid, confirmation);
        }
        self.seen_disabled.extend(disabled);
        found
    }

    /// Asks the groups about the people who seem to have left them.
    pub(super) fn confirm_groups(&self, seen: &mut Observation, loss: &Loss) {
        if loss.groups_unasked {
            return;
        }
        let people = seen.desired.keys().copied().collect();
        let known = self.load(&people, &BTreeSet::new());
        for guid in suspects(&seen.desired, &known, &seen.policy.tiers) {
            let truth = &self.truth[&guid];
            let d = seen.desired.get_mut(&guid).expect("a suspect was decided");
            let groups = [(truth.pro, PRO), (truth.basic && !loss.no_basic_group, BASIC)];
            let mut held_by: Vec<Guid> = groups
                .into_iter()
                .filter(|(is, g)| *is && !loss.blind_groups.contains(g))
                .map(|(_, g)| g)
                .collect();
            held_by.extend(d.entitled_by());
            let entitled_by = known.people.get(&guid).and_then(|p| p.entitled_by);
            let may_be_hidden = !loss.blind_groups.is_empty()
                && entitled_by.is_none_or(|g| loss.blind_groups.contains(&g));
            let answer = match (held_by.is_empty(), may_be_hidden) {
                (_, true) => Membership::Unknown,
                (true, false) => Membership::NotIn,
                (false, false) => Membership::In(held_by),
            };
            d.confirm_membership(&answer, &seen.policy);
            if answer != Membership::Unknown {
                seen.membership_confirmed.insert(guid);
            }
        }
    }
}
