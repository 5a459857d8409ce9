//! Tests of the store, on SQLite and on PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::model::{
    Account, AccountId, AccountKind, AccountRef, Actor, Address, Addresses, By, Cause, Causes,
    Change, ChangeClass, ChangeKind, Claim, ClaimId, ClaimState, DirectoryName, Dn, Domain,
    Evidence, Guid, Handle, HeldChange, HoldReason, Joined, Link, Names, ObservationNumber,
    PlanState, Policies, Profile, Reason, RunId, Status, TargetName, Tier, Timestamp, User, UserId,
};
use crate::reconcile::{Admitted, Fingerprint, IndexRow};

/// A store for one test, with an account.
struct Fresh {
    store: Store,
    account: AccountId,
    clock: Clock,
    folder: tempfile::TempDir,
}

async fn on(flavour: &str) -> Option<Fresh> {
    let folder = tempfile::tempdir().unwrap();
    let url = match flavour {
        "sqlite" => format!("sqlite://{}", folder.path().join("rosterd.db").display()),
        #[cfg(feature = "postgres")]
        _ => postgres::database().await?,
        #[cfg(not(feature = "postgres"))]
        _ => return None,
    };
    let store = Store::open(&url).await.unwrap();
    let clock = Clock::system();
    let account = AccountId(clock.new_id());
    let new = Account {
        id: account,
        handle: Handle::parse("acme").unwrap(),
        name: "Acme".into(),
        kind: AccountKind::Team,
        policies: Policies::default(),
        users: BTreeMap::new(),
        created_at: clock.now(),
    };
    store.create_account(&new, &alice(), &clock).await.unwrap();
    Some(Fresh { store, account, clock, folder })
}

#[cfg(feature = "postgres")]
#[path = "../../tests/support/postgres.rs"]
mod postgres;

#[tokio::test]
async fn a_renamed_directory_leaves_no_rows_under_its_old_name() {
    let Some(f) = on("sqlite").await else { return };
    let rows = sqlx::query(
        "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'directory' ORDER BY 1",
    )
    .fetch_all(&f.store.readers)
    .await
    .unwrap();
    let mut tables: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, 0)).collect();
    let mut renamed: Vec<&str> = rename::TABLES.to_vec();
    tables.sort();
    renamed.sort_unstable();
    assert_eq!(tables, renamed);
}

macro_rules! on_both {
    ($($name:ident)*) => {$(
        mod $name {
            #[tokio::test]
            async fn on_sqlite() {
                super::$name(super::on("sqlite").await.unwrap()).await;
            }
            #[tokio::test]
            async fn on_postgres() {
                if let Some(fresh) = super::on("postgres").await {
                    super::$name(fresh).await;
                }
            }
        }
    )*};
}

on_both! {
    an_index_is_the_same_whatever_the_size_of_its_pages
    a_plan_is_the_same_whatever_the_size_of_its_pages
    a_plan_holds_what_the_run_did_not_decide_beside_what_it_found
    applied_changes_are_read_back_with_their_events
    addresses_are_swapped_in_one_transaction
    a_change_of_another_version_is_dropped
    a_held_plan_keeps_its_id_until_it_gains_a_change
    a_rejected_plan_stays_closed_until_a_new_change_is_proposed
    an_approved_change_stays_approved_in_the_superseding_plan
    a_domain_belongs_to_one_account_and_converts_it
    search_finds_words_by_prefix_regardless_of_accents
    only_automatic_changes_count_against_the_budget
    an_edit_of_the_log_breaks_the_chain_at_its_place
    concurrent_changes_of_a_directory_state_are_all_stored
    a_taken_address_drops_no_other_change
    a_store_is_copied_where_it_is_a_file
}

mod bytes;
mod chain;
mod deliveries;
mod following;
mod instants;
#[cfg(feature = "postgres")]
mod server;

fn alice() -> Actor {
    Actor("alice".into())
}

fn corp() -> DirectoryName {
    DirectoryName::parse("corp").unwrap()
}

fn guid(n: u8) -> Guid {
    Guid([n; 16])
}

fn addresses(primary: &str) -> Addresses {
    Addresses { primary: Some(Address::parse(primary).unwrap()), secondary: BTreeSet::new() }
}

fn change(
    user: UserId,
    n: u8,
    kind: ChangeKind,
    class: Option<ChangeClass>,
    version: Option<i64>,
) -> Change {
    let names = Names::default();
    Change {
        user,
        guid: Some(guid(n)),
        email: None,
        names,
        kind,
        class,
        version,
        cluster: None,
        home: None,
    }
}

impl Fresh {
    fn reference(&self) -> AccountRef {
        AccountRef { id: self.account, handle: Handle::parse("acme").unwrap() }
    }

    fn creation(&self, n: u8, name: &str, email: &str) -> Change {
        let joined = Joined {
            tier: Tier::Basic,
            addresses: addresses(email),
            profile: Profile { display_name: Some(name.into()), ..Profile::default() },
            link: Some(Link {
                directory: corp(),
                guid: guid(n),
                dn: Dn::new(format!("CN={name},DC=corp")),
            }),
            causes: Causes::default(),
        };
        change(
            UserId::of_person(self.account, guid(n)),
            n,
            ChangeKind::Create(Box::new(joined)),
            Some(ChangeClass::Create),
            None,
        )
    }

    async fn apply(&self, changes: Vec<Change>) -> Applied {
        let writer = Writer {
            right: Right::Leader,
            run: RunId(self.clock.new_id()),
            directory: None,
            account: self.reference(),
            actor: alice(),
            observed_from: ObservationNumber::default(),
            clock: &self.clock,
            asked: &[],
        };
        let mut applied = Applied::default();
        self.store
            .apply(&Admitted::by_operator(changes, alice()), &writer, &mut applied)
            .await
            .unwrap();
        applied
    }

    async fn user(&self, n: u8) -> User {
        self.store.user(UserId::of_person(self.account, guid(n))).await.unwrap().unwrap()
    }

    fn cause(&self, reason: Reason) -> Cause {
        let evidence = Evidence {
            server: "dc1".into(),
            object: None,
            dn: None,
            attribute: "userAccountControl".into(),
            value: "514".into(),
            seen_at: self.clock.now(),
        };
        Cause { reason, since: self.clock.now(), by: By::Directory("corp".into()), evidence }
    }

    fn held(&self, n: u8) -> HeldChange {
        HeldChange {
            change: self.creation(n, "Bob", &format!("b{n}@example.com")),
            hold: HoldReason::Limit,
        }
    }

    async fn hold(&self, people: &[u8]) -> Holding {
        self.hold_of(people, |_| true).await
    }

    /// Holds changes of a run that decided about some people only.
    async fn hold_beside(&self, people: &[u8], decided: &[u8]) -> Holding {
        let is_decided = |row: &HeldRow| decided.iter().any(|n| row.guid == Some(guid(*n)));
        self.hold_of(people, is_decided).await
    }

    async fn hold_of(&self, people: &[u8], is_covered: impl Fn(&HeldRow) -> bool) -> Holding {
        let held: Vec<HeldChange> = people.iter().map(|n| self.held(*n)).collect();
        self.store
            .hold_changes(
                &corp(),
                RunId(self.clock.new_id()),
                0,
                &held,
                &DecidedBy::default(),
                is_covered,
                &self.clock,
            )
            .await
            .unwrap()
    }
}

async fn an_index_is_the_same_whatever_the_size_of_its_pages(f: Fresh) {
    let fingerprints = [0, 1, 7, u64::MAX - 1, u64::MAX];
    let people: Vec<IndexRow> = (0..)
        .zip(fingerprints)
        .map(|(n, number)| IndexRow {
            guid: Guid([n * 60; 16]),
            fingerprint: Fingerprint::from_stored(number),
        })
        .collect();
    let mut writing = f.store.begin().await.unwrap();
    for IndexRow { guid, fingerprint } in &people {
        let row = vec![
            ("directory", "corp".into()),
            ("guid", (*guid).into()),
            ("fingerprint", (*fingerprint).into()),
            ("dn", "".into()),
            ("parent_key", "".into()),
            ("seen_at", 0_i64.into()),
        ];
        sql::Sql::insert("people", row).execute(&mut *writing.tx).await.unwrap();
    }
    writing.commit().await.unwrap();
    let corp = DirectoryName::parse("corp").unwrap();
    assert_eq!(f.store.index(&corp).await.unwrap(), people);
    for size in 1..=people.len() + 1 {
        let all = "people p WHERE p.directory = ";
        let index = f.store.index_in_pages(all, &corp, size).await.unwrap();
        assert_eq!(index, people, "pages of {size}");
    }
    assert_eq!(f.store.index(&DirectoryName::parse("sales").unwrap()).await.unwrap(), []);
}

async fn a_plan_is_the_same_whatever_the_size_of_its_pages(f: Fresh) {
    f.hold(&[1, 2, 3]).await;
    // The second run carries two changes, so that the plan has changes of two runs.
    let plan = f.hold_beside(&[4, 5], &[3]).await.plan.unwrap();
    let all = f.store.page_of_plan(plan, None, None).await.unwrap();
    assert_eq!(all.len(), 4);
    for size in 1..=5 {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = f.store.page_of_plan(plan, after, Some(size)).await.unwrap();
            after = page.last().map(|(place, _)| *place);
            let is_last = (page.len() as u64) < size;
            pages.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(pages, all, "pages of {size}");
    }
    let place = all[0].0;
    assert_eq!(place.to_string().parse(), Ok(place));
    assert!(["", "x.1", "1"].iter().all(|text| text.parse::<ChangePlace>().is_err()));
}

async fn a_plan_holds_what_the_run_did_not_decide_beside_what_it_found(f: Fresh) {
    let first = f.store.plan(f.hold(&[1, 2, 3]).await.plan.unwrap()).await.unwrap().unwrap();
    let approver = alice().into();
    let consent = Consent { by: &approver, comment: "yes", needed: 1, valid_from: Timestamp(0) };
    let rows = f.store.held_rows(first.id).await.unwrap();
    let chosen: Vec<_> =
        rows.iter().filter(|row| row.guid != Some(guid(3))).map(|row| row.digest).collect();
    f.store.approve_plan(&first, Some(&chosen), consent, &f.clock).await.unwrap();
    // The run found the change of 2 again and one of 4. It decided about 3, and not about 1.
    let plan = f.hold_beside(&[2, 4], &[2, 3, 4]).await.plan.unwrap();
    let rows = f.store.held_rows(plan).await.unwrap();
    let mut found: Vec<_> =
        rows.iter().map(|row| (row.guid, row.approved, row.approvals.len())).collect();
    found.sort_unstable();
    let approved = |n| (Some(guid(n)), true, 1);
    assert_eq!(found, [approved(1), approved(2), (Some(guid(4)), false, 0)]);
    let digests: BTreeSet<_> =
        rows.iter().filter(|row| row.approved).map(|row| row.digest).collect();
    assert_eq!(f.store.approved_changes(plan).await.unwrap(), digests);
    assert_eq!(f.store.held_about(plan, guid(4)).await.unwrap(), 1);
    assert_eq!(f.store.held_about(plan, guid(3)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_page_of_a_plan_is_found_without_reading_the_others() {
    let f = on("sqlite").await.unwrap();
    let plan = f.hold(&[1, 2, 3]).await.plan.unwrap();
    let place = f.store.page_of_plan(plan, None, Some(1)).await.unwrap()[0].0;
    let sql = changes::of_plan(plan, Some(place), Some(1)).explained();
    let rows = sql.all(&f.store.readers).await.unwrap();
    let steps: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, "detail")).collect();
    assert_eq!(
        steps,
        ["SEARCH changes USING INDEX changes_of_plan (plan_id=? AND (run_id,seq)>(?,?))"]
    );
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

async fn a_held_plan_keeps_its_id_until_it_gains_a_change(f: Fresh) {
    let first = f.hold(&[1, 2, 3]).await;
    assert!(first.is_new && first.count == 3);
    assert_eq!(f.hold(&[1, 2, 3]).await, Holding { is_new: false, ..first });
    let fewer = f.hold(&[1, 2]).await;
    assert_eq!((fewer.plan, fewer.count), (first.plan, 2));
    let more = f.hold(&[1, 2, 4]).await;
    assert!(more.plan != first.plan && more.count == 3 && more.is_new);
    assert_eq!(
        f.store.plan(first.plan.unwrap()).await.unwrap().unwrap().state,
        PlanState::Superseded
    );
    assert_eq!(f.store.plan_changes(more.plan.unwrap()).await.unwrap().len(), 3);
    assert_eq!(f.store.waiting(&corp()).await.unwrap().len(), 3);
    assert_eq!(f.hold(&[]).await.plan, None);
    assert_eq!(
        f.store.plan(more.plan.unwrap()).await.unwrap().unwrap().state,
        PlanState::Withdrawn
    );
}

async fn a_rejected_plan_stays_closed_until_a_new_change_is_proposed(f: Fresh) {
    let id = f.hold(&[1, 2]).await.plan.unwrap();
    let plan = f.store.plan(id).await.unwrap().unwrap();
    f.store
        .reject_plan(&plan, Decision { actor: &alice(), comment: "no" }, &f.clock)
        .await
        .unwrap();
    assert_eq!(f.hold(&[1, 2]).await, Holding { plan: None, count: 0, is_new: false });
    let new = f.hold(&[1, 2, 3]).await;
    assert!(new.is_new && new.plan != Some(id));
}

async fn an_approved_change_stays_approved_in_the_superseding_plan(f: Fresh) {
    let id = f.hold(&[1, 2, 3]).await.plan.unwrap();
    let plan = f.store.plan(id).await.unwrap().unwrap();
    let rows = f.store.held_rows(id).await.unwrap();
    let by = alice().into();
    let consent = Consent { by: &by, comment: "one of them", needed: 1, valid_from: Timestamp(0) };
    f.store.approve_plan(&plan, Some(&[rows[0].digest]), consent, &f.clock).await.unwrap();
    let summary = f.store.plan_summary(id).await.unwrap();
    assert_eq!(
        summary.iter().map(|line| (line.count, line.approved)).collect::<Vec<_>>(),
        [(3, 1)]
    );
    let next = f.hold(&[1, 2, 3, 4]).await.plan.unwrap();
    let approved: Vec<_> = f
        .store
        .held_rows(next)
        .await
        .unwrap()
        .into_iter()
        .filter(|row| row.approved)
        .map(|row| row.digest)
        .collect();
    let plan = f.store.plan(next).await.unwrap().unwrap();
    assert_eq!(
        (approved, plan.state, plan.approved_at.is_some()),
        (vec![rows[0].digest], PlanState::Open, true)
    );
    f.store.expire_approval(&plan, &f.clock).await.unwrap();
    let plan = f.store.plan(next).await.unwrap().unwrap();
    assert_eq!((plan.state, plan.approved_at), (PlanState::Open, None));
    assert!(f.store.held_rows(next).await.unwrap().iter().all(|row| !row.approved));
}

async fn a_domain_belongs_to_one_account_and_converts_it(f: Fresh) {
    let claim = |account, state: ClaimState| Claim {
        id: ClaimId(f.clock.new_id()),
        account,
        domain: Domain::parse("example.com").unwrap(),
        state,
        token: "t".into(),
        claimed_at: f.clock.now(),
        verified_at: state.holds().then(|| f.clock.now()),
        checked_at: None,
        finding: None,
        misses: 0,
    };
    f.store
        .add_claim(&claim(f.account, ClaimState::Pending), &f.reference(), &alice(), &f.clock)
        .await
        .unwrap();
    assert!(f.store.claimed_domains(f.account).await.unwrap().is_empty());
    assert!(matches!(
        f.store
            .add_claim(&claim(f.account, ClaimState::Pending), &f.reference(), &alice(), &f.clock)
            .await,
        Err(ClaimRefused::ClaimedAlready(_))
    ));
    let mut pending = f.store.claims(Some(f.account)).await.unwrap().remove(0);
    let now = Some(f.clock.now());
    (pending.state, pending.verified_at, pending.checked_at) = (ClaimState::Verified, now, now);
    f.store
        .check_claim(&pending, ClaimState::Pending, &f.reference(), &alice(), &f.clock)
        .await
        .unwrap();
    assert_eq!(
        f.store.account(&Handle::parse("acme").unwrap()).await.unwrap().unwrap().kind,
        AccountKind::Enterprise
    );
    let other = Account {
        id: AccountId(f.clock.new_id()),
        handle: Handle::parse("other").unwrap(),
        name: "Other".into(),
        kind: AccountKind::Team,
        policies: Policies::default(),
        users: BTreeMap::new(),
        created_at: f.clock.now(),
    };
    f.store.create_account(&other, &alice(), &f.clock).await.unwrap();
    let refused = f
        .store
        .add_claim(&claim(other.id, ClaimState::Pending), &other.reference(), &alice(), &f.clock)
        .await
        .unwrap_err();
    assert!(!refused.to_string().contains("acme"), "the holder is not named: {refused}");
}

async fn search_finds_words_by_prefix_regardless_of_accents(f: Fresh) {
    f.apply(vec![
        f.creation(1, "Zoë Müller", "zoe@example.com"),
        f.creation(2, "Zora Neale", "zora@example.com"),
    ])
    .await;
    let found = |text: &'static str| async {
        f.store.search(text, &UserFilter::default()).await.unwrap().len()
    };
    assert_eq!(
        [
            found("zo").await,
            found("zoe mull").await,
            found("MÜLL").await,
            found("zora@").await,
            found("eale").await,
            found("").await
        ],
        [2, 1, 1, 1, 0, 0]
    );
}

async fn only_automatic_changes_count_against_the_budget(f: Fresh) {
    f.apply(vec![f.creation(1, "A", "a@example.com")]).await;
    let budget = f.store.budget(&corp(), Duration::from_hours(24), f.clock.now()).await.unwrap();
    assert_eq!((budget.active, budget.used.len()), (0, 0), "an operator's change");
}

async fn an_edit_of_the_log_breaks_the_chain_at_its_place(f: Fresh) {
    f.apply((1..6).map(|n| f.creation(n, "A", &format!("a{n}@example.com"))).collect()).await;
    let head = f.store.verify_events(None).await.unwrap().unwrap();
    assert_eq!(head.seq, 6);
    let all = |from: &str| format!("UPDATE events SET {from} WHERE seq = 3");
    let edits = [
        (vec![all("document = '{}'")], 3),
        (vec![all("document = document || ' '")], 3),
        (vec![all("kind = 'user.updated'")], 3),
        (vec![all("subject = 'another subject'")], 3),
        (vec![all("at = at + 1")], 3),
        (vec![all("run_id = NULL")], 3),
        (vec![all("id = (SELECT id FROM events WHERE seq = 4)")], 3),
        (vec![all("hash = (SELECT hash FROM events WHERE seq = 4)")], 3),
        (vec!["DELETE FROM events WHERE seq = 1".to_owned()], 1),
        (vec!["DELETE FROM events WHERE seq = 4".to_owned()], 4),
        (
            vec![
                "DELETE FROM events WHERE seq = 4".to_owned(),
                "UPDATE events SET seq = seq - 1 WHERE seq > 4".to_owned(),
            ],
            4,
        ),
        (
            vec![
                "UPDATE events SET seq = 100 WHERE seq = 2".to_owned(),
                "UPDATE events SET seq = 2 WHERE seq = 3".to_owned(),
                "UPDATE events SET seq = 3 WHERE seq = 100".to_owned(),
            ],
            2,
        ),
    ];
    for (edit, broken_at) in edits {
        let writer = f.store.writer.lock().await;
        sqlx::query("CREATE TABLE saved AS SELECT * FROM events").execute(&*writer).await.unwrap();
        for statement in &edit {
            sqlx::query(sqlx::AssertSqlSafe(statement.clone())).execute(&*writer).await.unwrap();
        }
        drop(writer);
        let verified = f.store.verify_events(None).await.unwrap();
        assert_eq!(verified.map_err(|broken| broken.seq), Err(broken_at), "{edit:?}");
        let writer = f.store.writer.lock().await;
        for statement in
            ["DELETE FROM events", "INSERT INTO events SELECT * FROM saved", "DROP TABLE saved"]
        {
            sqlx::query(statement).execute(&*writer).await.unwrap();
        }
        drop(writer);
        assert_eq!(
            f.store.verify_events(Some(head)).await.unwrap(),
            Ok(head),
            "{edit:?} was undone"
        );
    }
    let writer = f.store.writer.lock().await;
    sqlx::query("DELETE FROM events WHERE seq > 4").execute(&*writer).await.unwrap();
    drop(writer);
    assert_eq!(
        f.store.verify_events(None).await.unwrap().map(|head| head.seq),
        Ok(4),
        "of itself, the log does not know its end"
    );
    assert_eq!(
        f.store.verify_events(Some(head)).await.unwrap().map_err(|broken| broken.seq),
        Err(5),
        "the noted head shows the cut"
    );
    let other = LogHead { seq: 3, hash: [7; 32] };
    assert_eq!(
        f.store.verify_events(Some(other)).await.unwrap().map_err(|broken| broken.seq),
        Err(3),
        "it is another log"
    );
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

/// A pause that an operator sets while a run ends must stay.
async fn concurrent_changes_of_a_directory_state_are_all_stored(f: Fresh) {
    let name = DirectoryName::parse("corp").unwrap();
    let changes = (0..20).map(|_| f.store.change_directory(&name, |state| state.entries += 1));
    for done in futures_util::future::join_all(changes).await {
        done.unwrap();
    }
    assert_eq!(f.store.directory(&name).await.unwrap().entries, 20);
}

#[tokio::test]
async fn a_second_rosterd_on_a_store_is_refused() {
    let f = on("sqlite").await.unwrap();
    let url = format!("sqlite://{}", f.folder.path().join("rosterd.db").display());
    assert!(matches!(Store::open(&url).await, Err(StoreError::InUse { .. })));
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let f = on("sqlite").await.unwrap();
    let url = format!("sqlite://{}", f.folder.path().join("rosterd.db").display());
    let Fresh { store, folder: _folder, .. } = f;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'later', true, x'00', 0)",
    )
    .execute(&*store.writer.lock().await)
    .await
    .unwrap();
    store.close().await;
    drop(store);
    let refused = Store::open(&url).await.unwrap_err();
    assert!(refused.to_string().contains("newer rosterd"), "{refused}");
}

async fn a_store_is_copied_where_it_is_a_file(f: Fresh) {
    let copied = Scratch::copy_of(&f.store).await;
    match (f.store.file(), copied) {
        (Some(_), copied) => copied.expect("a copy").store.close().await,
        (None, copied) => {
            assert!(matches!(copied, Err(StoreError::NoCopy)), "{copied:?}");
            let saved = f.store.backup("/nowhere/copy.db".as_ref()).await;
            assert!(matches!(saved, Err(StoreError::NoBackup)), "{saved:?}");
        }
    }
}
