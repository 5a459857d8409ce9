//! Time to find a colleague among 100,000, relative to reading one user by its address.
//!
//! `cargo bench --bench contacts`. Only the ratios carry over from one machine to another.
#![allow(clippy::print_stdout, reason = "a bench prints to its user")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rosterd::clock::Clock;
use rosterd::model::{
    Account, AccountId, AccountKind, Actor, Address, Addresses, Causes, Change, ChangeKind, Handle,
    Joined, Names, ObservationNumber, Policies, Profile, RunId, Status, Tier, UserId,
};
use rosterd::reconcile::Admitted;
use rosterd::store::{Applied, Store, UserFilter, Writer};

const PEOPLE: usize = 100_000;
const ROUNDS: usize = 30;
const GIVEN: [&str; 8] = ["Zoë", "Anna", "Ben", "Çağla", "Dmitri", "Ève", "Frank", "Grace"];
const SURNAMES: [&str; 10] = [
    "Müller",
    "Smith",
    "Rodríguez",
    "Novák",
    "Jensen",
    "Rossi",
    "Kowalski",
    "Silva",
    "Nguyen",
    "Becker",
];

fn creation(clock: &Clock, n: usize) -> Change {
    let (given, surname) = (GIVEN[n % GIVEN.len()], SURNAMES[n / 7 % SURNAMES.len()]);
    let email = Address::parse(&format!("person{n}@example.com")).expect("an address");
    let profile =
        Profile { display_name: Some(format!("{given} {surname}{n}")), ..Profile::default() };
    let joined = Joined {
        tier: Tier::Pro,
        addresses: Addresses { primary: Some(email.clone()), secondary: BTreeSet::new() },
        profile,
        link: None,
        causes: Causes::default(),
    };
    let kind = ChangeKind::Create(Box::new(joined));
    Change {
        user: UserId(clock.new_id()),
        guid: None,
        email: Some(email),
        names: Names::default(),
        kind,
        class: None,
        version: None,
        cluster: None,
        home: None,
    }
}

/// The median of several rounds.
async fn median<T>(mut round: impl AsyncFnMut(usize) -> T) -> Duration {
    let mut took = Vec::with_capacity(ROUNDS);
    for n in 0..ROUNDS {
        let begun = Instant::now();
        drop(round(n).await);
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took[ROUNDS / 2]
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&format!("sqlite://{}", folder.path().join("rosterd.db").display()))
        .await
        .expect("a store");
    let (clock, actor) = (Clock::system(), Actor("bench".to_owned()));
    let account = Account {
        id: AccountId(clock.new_id()),
        handle: Handle::parse("acme").expect("a handle"),
        name: "Acme".to_owned(),
        kind: AccountKind::Team,
        policies: Policies::default(),
        users: BTreeMap::new(),
        created_at: clock.now(),
    };
    store.create_account(&account, &actor, &clock).await.expect("an account");
    let changes = (0..PEOPLE).map(|n| creation(&clock, n)).collect();
    let writer = Writer {
        right: rosterd::store::Right::Leader,
        run: RunId(clock.new_id()),
        directory: None,
        account: account.reference(),
        actor: actor.clone(),
        observed_from: ObservationNumber(1),
        clock: &clock,
        asked: &[],
    };
    store
        .apply(&Admitted::by_operator(changes, actor), &writer, &mut Applied::default())
        .await
        .expect("users");

    let by_address = |n: usize| {
        Address::parse(&format!("person{}@example.com", n * 997 % PEOPLE))
            .expect("an address")
            .key()
    };
    let reference =
        median(async |n| store.user_by_address(&by_address(n)).await.expect("a user")).await;
    println!("{PEOPLE} users; one of them by its address: {reference:.1?}");
    let filter = UserFilter {
        account: Some(account.id),
        status: Some(Status::Active),
        limit: Some(20),
        ..UserFilter::default()
    };
    for (what, text) in [
        ("one letter", "z"),
        ("a common first name", "zoe"),
        ("a common word of an address", "person"),
        ("first and last name", "cagla rodriguez1"),
        ("a rare address", "person99999"),
        ("no match", "xylophone"),
        ("two common words", "zoe mull"),
    ] {
        let took = median(async |_| store.search(text, &filter).await.expect("users")).await;
        let found = store.search(text, &filter).await.expect("users").len();
        println!(
            "{what:>28}: {took:>9.1?}, {:>6.1} x, {found} found",
            took.as_secs_f64() / reference.as_secs_f64()
        );
    }
}
