use std::collections::{BTreeMap, BTreeSet};

use adsim::Ad;
use uuid::Uuid;

use super::{INCREMENTAL, PEOPLE, Reader, SECURE, few};
use crate::client::{Attributes, Client};
use crate::company;

#[tokio::test]
async fn a_round_continues_where_the_previous_one_ended_on_any_connection() {
    let sim = company(25).await;
    for (round, sizes) in [(10, vec![10, 10, 5]), (25, vec![25]), (24, vec![24, 1]), (0, vec![25])]
    {
        sim.set_dirsync_round(round);
        let mut reader = Reader::new(&sim, PEOPLE, &["mail"]).await;
        let (mut names, mut found) = (BTreeSet::new(), Vec::new());
        while reader.more {
            let entries = reader.entries().await;
            found.push(entries.len());
            names.extend(entries.into_iter().map(|(dn, _)| dn));
            reader.client = Client::service(&sim).await;
        }
        assert_eq!((found, names.len()), (sizes, 25), "{round}");
        assert!(reader.read().await.is_empty() && !reader.more);
    }
    sim.set_dirsync_round(2);
    let mut reader = Reader::new(&sim, PEOPLE, &["title"]).await;
    while reader.more {
        reader.read().await;
    }
    let people = sim.look(Ad::people);
    sim.edit(|ad| {
        for guid in &people[1..6] {
            ad.set(guid, "title", "Moved on");
        }
    });
    for (count, more) in [(2, true), (2, true), (1, false)] {
        assert_eq!(
            (reader.read().await.len(), reader.more),
            (count, more),
            "a delta has rounds, too"
        );
    }
}

#[tokio::test]
async fn a_change_between_rounds_is_returned_by_a_later_round() {
    let sim = few().await;
    sim.edit(|ad| ad.show_tombstones(true));
    sim.set_dirsync_round(2);
    let mut reader =
        Reader::new(&sim, "(&(objectClass=user)(!(sAMAccountName=svc*)))", &["title", "isDeleted"])
            .await;
    assert_eq!(reader.read().await, ["ann: title=Clerk", "bob: title=Clerk"]);
    sim.edit(|ad| {
        ad.set("ann", "title", "Chef");
        ad.delete("bob");
    });
    assert_eq!(reader.read().await, ["cat: title=Clerk", "ann: title=Chef"]);
    assert_eq!(reader.read().await, ["bob: isDeleted=TRUE"]);
    assert!(!reader.more);
    assert!(reader.read().await.is_empty());
}

/// The directory as the sum of all deltas.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    titles: BTreeMap<Uuid, Option<String>>,
    members: BTreeMap<Uuid, BTreeSet<String>>,
}

impl Known {
    fn add(&mut self, attributes: &Attributes) {
        let guid = Uuid::from_slice_le(&attributes["objectGUID"][0]).expect("a GUID");
        match attributes.get("isDeleted").map(Vec::len) {
            Some(1) => {
                self.titles.remove(&guid);
                return;
            }
            Some(_) => _ = self.titles.insert(guid, None),
            None => {}
        }
        if let Some(title) = attributes.get("title") {
            let title = title.first().map(|title| String::from_utf8_lossy(title).into_owned());
            self.titles.insert(guid, title);
        }
        let members = self.members.entry(guid).or_default();
        for (option, made) in [("member;range=0-0", false), ("member;range=1-1", true)] {
            for member in attributes.get(option).into_iter().flatten() {
                let member = String::from_utf8_lossy(member).into_owned();
                if made {
                    members.insert(member)
                } else {
                    members.remove(&member)
                };
            }
        }
        if members.is_empty() {
            self.members.remove(&guid);
        }
    }

    fn truth(ad: &Ad) -> Self {
        let titles = ad
            .people()
            .into_iter()
            .filter(|guid| ad.value(guid, "sAMAccountName").is_none_or(|sam| sam != "svc-rosterd"));
        let titles = titles.map(|guid| (guid, ad.value(guid, "title")));
        let groups = ["Roster Basic", "Roster Pro", "Roster Pro Nested"].map(|name| ad.guid(name));
        let names = |group: &Uuid| ad.members(group).iter().map(|member| ad.dn(member)).collect();
        Self {
            titles: titles.collect(),
            members: groups.iter().map(|group| (*group, names(group))).collect(),
        }
    }
}

#[tokio::test]
async fn deltas_add_up_to_the_directory_despite_changes_between_rounds() {
    let sim = company(60).await;
    sim.edit(|ad| ad.show_tombstones(true));
    let filter = "(|(&(objectClass=user)(!(sAMAccountName=svc-rosterd)))(&(objectClass=group)(name=Roster*)))";
    let mut reader = Reader::new(&sim, filter, &["title", "isDeleted", "member"]).await;
    reader.flags = SECURE + INCREMENTAL;
    let (mut known, mut state) = (Known::default(), 1u64);
    let mut draw = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let everybody = sim.look(Ad::people);
    let (mut dead, mut deaths) = (Vec::new(), 0);
    for step in 0..400 {
        sim.set_dirsync_round(1 + draw(9));
        let groups = ["Roster Basic", "Roster Pro", "Roster Pro Nested"];
        let (who, group, kind) =
            (everybody[1 + draw(everybody.len() - 1)], groups[draw(3)], draw(6));
        sim.edit(|ad| match kind {
            _ if dead.contains(&who) => {
                ad.restore(who);
                dead.retain(|one| *one != who);
            }
            0 => {
                // Links to and from deleted entries are hidden, so the client has to drop them
                // itself.
                for group in groups {
                    ad.remove_member(group, who);
                }
            }
            1 => ad.set(who, "title", &format!("Title {step}")),
            2 => ad.clear(who, "title"),
            3 => ad.add_member(group, who),
            4 => ad.remove_member(group, who),
            _ if groups.iter().all(|group| !ad.members(*group).contains(&who)) => {
                ad.delete(who);
                dead.push(who);
                deaths += 1;
            }
            _ => {}
        });
        for (_, attributes) in reader.entries().await {
            known.add(&attributes);
        }
        if draw(5) == 0 {
            while reader.more {
                for (_, attributes) in reader.entries().await {
                    known.add(&attributes);
                }
            }
            assert_eq!(known, sim.look(Known::truth), "step {step}");
        }
    }
    assert!(deaths > 20, "{deaths}");
}
