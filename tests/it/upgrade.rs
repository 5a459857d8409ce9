//! The upgrade from 0.1.0: it alone suspends or reactivates no user.
//!
//! `upgrade/0.1.0.sql` is the dump of a store that 0.1.0 wrote on the company that [`company`]
//! makes again. It has these users:
//!
//! * one is suspended as disabled, one as expired, one by an operator
//! * an operator reactivated one in spite of `no-group`
//! * one is in the grace period of `no-group`
//! * one is invited, and one is protected
//!
//! Two newcomers contest an address. An operator has rejected the suspension of five deleted people.

use std::collections::BTreeMap;
use std::time::Duration;

use adsim::{NewPerson, Sim, names};
use rosterd::clock::Clock;
use rosterd::model::{Address, Status, User};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::acme;
use crate::firm::{Firm, again, config, guid_of, tick};

/// The people who are users, in the order of their addresses.
fn people(sim: &Sim, users: &[User]) -> Vec<uuid::Uuid> {
    let mut people: Vec<uuid::Uuid> =
        users.iter().filter(|u| u.link.is_some()).map(guid_of).collect();
    people.sort_by_key(|who| sim.look(|ad| ad.value(*who, "sAMAccountName")));
    people
}

fn leave_groups(sim: &Sim, who: uuid::Uuid) {
    sim.edit(|ad| {
        for group in [names::BASIC, names::PRO, names::PRO_NESTED] {
            ad.remove_member(group, who);
        }
    });
}

/// Deleted objects are visible, and one exists.
fn first_day(sim: &Sim) {
    sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.add_person(NewPerson::new("nobody").ou(names::STAFF));
        ad.delete("nobody");
    });
}

/// One person is disabled, one has expired, two newcomers share an address.
fn second_day(sim: &Sim, people: &[uuid::Uuid]) {
    leave_groups(sim, people[4]);
    sim.edit(|ad| {
        ad.disable(people[0]);
        ad.set(people[1], "accountExpires", "132000000000000000");
        for name in ["first", "second"] {
            ad.add_person(
                NewPerson::new(name)
                    .mail("shared@example.com")
                    .ou("Finance")
                    .member_of(names::BASIC),
            );
        }
    });
}

/// Five people are deleted, which is more than the limit of so small a company.
fn third_day(sim: &Sim, people: &[uuid::Uuid]) {
    sim.edit(|ad| people[8..13].iter().for_each(|who| ad.delete(*who)));
}

/// The directory of that day, and the store as 0.1.0 left it, opened by this version.
async fn company() -> (Firm, Vec<uuid::Uuid>, BTreeMap<Vec<u8>, String>) {
    let sim = Sim::builder().people(20).start().await.expect("a simulator");
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("rosterd.db").display());
    let statuses = write_store(&url).await;
    let clock = Clock::system();
    let store = acme::store(folder.path()).await;
    first_day(&sim);
    let users = acme::users(&store).await;
    let people = people(&sim, &users);
    second_day(&sim, &people);
    leave_groups(&sim, people[2]);
    third_day(&sim, &people);
    let mut config = config(&sim, folder.path());
    let mail = sim.look(|ad| ad.value(people[5], "mail")).expect("an address");
    config.protect = vec![Address::parse(&mail).expect("an address")];
    let engine = acme::engine(store, &clock, config);
    (Firm { sim, engine, clock, folder }, people, statuses)
}

/// Writes the dump into a new database. Returns each user's status, by the user's id.
async fn write_store(url: &str) -> BTreeMap<Vec<u8>, String> {
    let options: SqliteConnectOptions = url.parse().expect("a URL");
    let mut database = options.create_if_missing(true).connect().await.expect("a database");
    sqlx::raw_sql(include_str!("upgrade/0.1.0.sql"))
        .execute(&mut database)
        .await
        .expect("the dump");
    let rows =
        sqlx::query("SELECT id, status FROM users").fetch_all(&mut database).await.expect("users");
    database.close().await.expect("the end");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn statuses(firm: &Firm) -> BTreeMap<Vec<u8>, String> {
    firm.users()
        .await
        .iter()
        .map(|user| (user.id.0.as_bytes().to_vec(), user.status().as_str().to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_alone_suspends_and_reactivates_no_user() {
    let (firm, people, before) = company().await;
    // The person in the grace period is in a group again, so that the directory asks for no change.
    firm.sim.edit(|ad| ad.add_member(names::BASIC, people[2]));
    for _ in 0..3 {
        let (run, full) = (tick(&firm).await, firm.sync().await);
        assert_eq!((run.error, run.counts.suspend, run.counts.reactivate), (None, 0, 0));
        assert_eq!(
            (full.error, full.counts.suspend, full.counts.reactivate, full.dropped),
            (None, 0, 0, 0)
        );
        assert_eq!(statuses(&firm).await, before);
        firm.later(Duration::from_hours(9));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_is_suspended_after_the_upgrade() {
    let (firm, people, before) = company().await;
    let users = firm.users().await;
    let user = |who: uuid::Uuid| {
        users
            .iter()
            .find(|u| u.link.as_ref().is_some_and(|l| l.guid.to_string() == who.to_string()))
            .expect("a user")
            .clone()
    };
    let (without_group, leaver) = (user(people[2]), user(people[7]));
    firm.sim.edit(|ad| ad.disable(people[7]));
    for _ in 0..3 {
        assert_eq!(firm.sync().await.error, None);
        firm.later(Duration::from_mins(15));
    }
    for left in [&without_group, &leaver] {
        let now = again(&firm, left).await;
        assert_eq!((left.status(), now.status()), (Status::Active, Status::Suspended), "{now:?}");
    }
    let changed =
        statuses(&firm).await.into_iter().filter(|(id, status)| before[id] != *status).count();
    assert_eq!(changed, 2, "and no other user");
}
