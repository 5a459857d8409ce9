//! Applied changes, and changes dropped because the user or its address has changed since.

use super::*;

on_both! {
    applied_changes_are_read_back_with_their_events
    addresses_are_swapped_in_one_transaction
    a_change_of_another_version_is_dropped
    only_automatic_changes_count_against_the_budget
    a_taken_address_drops_no_other_change
}

async fn applied_changes_are_read_back_with_their_events(f: Fresh) {
    let applied = f
        .apply(vec![
            f.creation(1, "Zoë Müller", "Zoe@Example.com"),
            f.creation(2, "Bob", "bob@example.com"),
        ])
        .await;
    assert_eq!((applied.counts.create, applied.dropped), (2, 0));
    let zoe = f.user(1).await;
    assert_eq!(
        (zoe.status(), zoe.version, zoe.addresses.primary.unwrap().as_str()),
        (Status::Active, 1, "Zoe@example.com")
    );
    let cause = f.cause(Reason::Disabled);
    f.apply(vec![change(
        zoe.id,
        1,
        ChangeKind::Suspend { cause: cause.clone(), was_active: true },
        Some(ChangeClass::Confirmed),
        Some(1),
    )])
    .await;
    let zoe = f.user(1).await;
    assert_eq!((zoe.status(), zoe.causes.weightiest().cloned()), (Status::Suspended, Some(cause)));
    let events = f
        .store
        .events(&EventFilter { kinds: vec!["user.*".into()], limit: 10, ..EventFilter::default() })
        .await
        .unwrap();
    let kinds: Vec<_> =
        events.iter().map(|e| e.document["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["user.created", "user.created", "user.suspended"]);
    assert_eq!(events[2].document["data"]["evidence"][0]["value"], "514");
    assert_eq!(
        f.store.verify_events(None).await.unwrap().map(|head| head.seq),
        Ok(4),
        "with the account's own"
    );
}

async fn addresses_are_swapped_in_one_transaction(f: Fresh) {
    f.apply(vec![f.creation(1, "A", "a@example.com"), f.creation(2, "B", "b@example.com")]).await;
    let swap = |n, from, to| {
        let kind = ChangeKind::Readdress { before: addresses(from), after: addresses(to) };
        change(
            UserId::of_person(f.account, guid(n)),
            n,
            kind,
            Some(ChangeClass::Readdress),
            Some(1),
        )
    };
    let applied = f
        .apply(vec![
            swap(1, "a@example.com", "b@example.com"),
            swap(2, "b@example.com", "a@example.com"),
        ])
        .await;
    assert_eq!(applied.counts.update, 2);
    let holder = f
        .store
        .user_by_address(&Address::parse("A@example.com").unwrap().key())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(holder.id, f.user(2).await.id);
}

async fn a_change_of_another_version_is_dropped(f: Fresh) {
    f.apply(vec![f.creation(1, "A", "a@example.com")]).await;
    let tier = |version| {
        let evidence = f.cause(Reason::NoGroup).evidence;
        let kind = ChangeKind::Tier { before: Tier::Basic, after: Tier::Pro, evidence };
        change(
            UserId::of_person(f.account, guid(1)),
            1,
            kind,
            Some(ChangeClass::Upgrade),
            Some(version),
        )
    };
    assert_eq!(f.apply(vec![tier(1)]).await.dropped, 0);
    let late = f.apply(vec![tier(1)]).await;
    assert_eq!((late.dropped, late.counts.total()), (1, 0));
    assert_eq!(
        f.apply(vec![f.creation(1, "A", "a@example.com")]).await.dropped,
        1,
        "created twice"
    );
}

async fn only_automatic_changes_count_against_the_budget(f: Fresh) {
    f.apply(vec![f.creation(1, "A", "a@example.com")]).await;
    let budget = f.store.budget(&corp(), Duration::from_hours(24), f.clock.now()).await.unwrap();
    assert_eq!((budget.active, budget.used.len()), (0, 0), "an operator's change");
}

async fn a_taken_address_drops_no_other_change(f: Fresh) {
    let address = |n: usize| format!("a{n}@example.com");
    let creation = |n: usize| {
        let joined = Joined {
            tier: Tier::Basic,
            addresses: addresses(&address(n)),
            profile: Profile::default(),
            link: None,
            causes: Causes::default(),
        };
        let kind = ChangeKind::Create(Box::new(joined));
        Change {
            user: UserId(f.clock.new_id()),
            guid: None,
            email: None,
            names: Names::default(),
            kind,
            class: None,
            version: None,
            cluster: None,
            home: None,
        }
    };
    // Another user has the last address: its change alone is dropped.
    let mut first = f.creation(1, "A", &address(700));
    first.version = None;
    f.apply(vec![first]).await;
    let writer = Writer {
        right: Right::Leader,
        run: RunId(f.clock.new_id()),
        directory: None,
        account: f.reference(),
        actor: alice(),
        observed_from: ObservationNumber::default(),
        clock: &f.clock,
        asked: &[],
    };
    let mut applied = Applied::default();
    let changes = (0..=700).map(creation).collect();
    f.store.apply(&Admitted::by_operator(changes, alice()), &writer, &mut applied).await.unwrap();
    assert_eq!((applied.counts.create, applied.dropped, applied.written), (700, 1, 701));
    let users =
        f.store.users(&UserFilter { limit: Some(1_000), ..UserFilter::default() }).await.unwrap();
    assert_eq!(users.len(), 701);
}
