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
    a_domain_belongs_to_one_account_and_converts_it
    search_finds_words_by_prefix_regardless_of_accents
    concurrent_changes_of_a_directory_state_are_all_stored
    a_store_is_copied_where_it_is_a_file
}

mod applied;
mod bytes;
mod chain;
mod deliveries;
mod following;
mod instants;
mod plans;
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
        let mut held = self.store.held_changes();
        for n in people {
            held.push(&self.held(*n)).unwrap();
        }
        self.store
            .hold_changes(
                &corp(),
                RunId(self.clock.new_id()),
                0,
                held,
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
