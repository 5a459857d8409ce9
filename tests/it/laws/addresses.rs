//! A law about addresses that several people want.

use proptest::prelude::*;
use rosterd::model::*;

use super::history::*;
use crate::world::*;

/// Returns a loss of sight that leaves people undecided without hiding their addresses.
fn indecision(n: u32) -> impl Strategy<Value = Loss> {
    let some = prop::collection::btree_set((0..n).prop_map(guid), 0..n as usize);
    (some, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(no_control, no_basic_group, clocks_apart, groups_unasked)| Loss {
            no_control,
            no_basic_group,
            clocks_apart,
            groups_unasked,
            tombstones_visible: true,
            ..Loss::default()
        },
    )
}

#[test]
fn no_undecided_person_loses_its_address_to_another_who_wants_it() {
    let wants = prop::collection::vec((0..PEOPLE + 6, 0..3u32, prop::bool::weighted(0.3)), 2..8);
    try_all(400, &(wants, indecision(PEOPLE + 6)), |(wants, loss)| {
        let mut company = Company::running(PEOPLE);
        for n in PEOPLE..PEOPLE + 6 {
            happen(&mut company, &Happening::Join(n));
        }
        for (who, address, is_alias) in &wants {
            let person = company.person(*who);
            if *is_alias {
                person.proxies = vec![format!("smtp:contested{address}@example.com")];
            } else {
                person.mail = format!("contested{address}@example.com");
            }
        }
        company.run(&loss);
        for address in (0..3).map(|n| format!("contested{n}@example.com")) {
            let alias = format!("smtp:{address}");
            let primaries = company.truth.values().filter(|t| t.mail == address).count();
            let wanting = |t: &&Facts| t.mail == address || t.proxies.contains(&alias);
            let is_contested = match primaries {
                0 => company.truth.values().filter(wanting).count() > 1,
                _ => primaries > 1,
            };
            let key = Address::parse(&address).expect("an address").key();
            let holders: Vec<_> =
                company.users.values().filter(|u| u.addresses.keys().contains(&key)).collect();
            prop_assert!(!is_contested || holders.is_empty(), "{address}: {holders:?}");
            let is_alias =
                |u: &&User| u.addresses.primary.as_ref().is_none_or(|primary| primary.key() != key);
            let aliases = holders.into_iter().filter(is_alias).count();
            prop_assert!(primaries == 0 || aliases == 0, "{address} is an alias of another");
        }
        Ok(())
    });
}
