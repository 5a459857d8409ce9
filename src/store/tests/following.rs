//! The pending set and the checkpoint.

use std::time::Duration;

use super::*;
use crate::model::{QuarantineReason, Timestamp};
use crate::reconcile::{Checkpoint, ServerIdentity};
use crate::store::sql::Sql;

#[derive(Clone, Copy, Default)]
struct StoredRow {
    fingerprint: u64,
    expires: Option<Timestamp>,
    entitled_by: Option<Guid>,
    quarantine: Option<QuarantineReason>,
}

/// A person outside the pending set.
const DONE: StoredRow =
    StoredRow { fingerprint: 7, expires: None, entitled_by: None, quarantine: None };

impl Fresh {
    /// Stores the person of a number with an active user.
    async fn store_person(&self, n: u8, row: StoredRow) {
        self.apply(vec![self.creation(n, "Person", &format!("p{n}@example.com"))]).await;
        let StoredRow { fingerprint, expires, entitled_by, quarantine } = row;
        let row = vec![
            ("directory", "corp".into()),
            ("guid", guid(n).into()),
            ("fingerprint", (fingerprint as i64).into()),
            ("user_id", self.user(n).await.id.0.into()),
            ("dn", "CN=Person,DC=corp".into()),
            ("parent_key", "dc=corp".into()),
            ("expires", expires.into()),
            ("entitled_by", entitled_by.into()),
            ("quarantine", quarantine.map(QuarantineReason::as_str).into()),
            ("seen_at", self.clock.now().into()),
        ];
        let mut writing = self.store.begin().await.unwrap();
        Sql::insert("people", row).execute(&mut *writing.tx).await.unwrap();
        writing.commit().await.unwrap();
    }

    async fn pending(&self) -> BTreeSet<Guid> {
        self.store.pending(&corp(), self.clock.now()).await.unwrap()
    }
}

on_both! {
    the_pending_set_has_unfinished_quarantined_expired_and_held_people
    people_with_a_tier_by_a_group_are_found_by_the_group
    a_checkpoint_is_read_back
}

async fn the_pending_set_has_unfinished_quarantined_expired_and_held_people(f: Fresh) {
    let now = f.clock.now();
    let (past, future) =
        (Some(now.minus(Duration::from_hours(1))), Some(now.plus(Duration::from_hours(1))));
    f.store_person(1, DONE).await;
    f.store_person(2, StoredRow { fingerprint: 0, ..DONE }).await;
    f.store_person(3, StoredRow { quarantine: Some(QuarantineReason::MalformedEntry), ..DONE })
        .await;
    f.store_person(4, StoredRow { expires: past, ..DONE }).await;
    f.store_person(5, StoredRow { expires: past, ..DONE }).await;
    f.store_person(6, StoredRow { expires: future, ..DONE }).await;
    let suspension = ChangeKind::Suspend { cause: f.cause(Reason::Expired), was_active: true };
    f.apply(vec![change(f.user(5).await.id, 5, suspension, Some(ChangeClass::Confirmed), Some(1))])
        .await;
    // A written user is in the pending set.
    assert_eq!(f.pending().await, [2, 3, 4, 5].map(guid).into());
    f.hold(&[8]).await;
    assert_eq!(
        f.pending().await,
        [2, 3, 4, 5, 8].map(guid).into(),
        "and the people of held changes, also without a user"
    );
    f.store.add_pending_people(&corp(), &[1].map(guid).into()).await.unwrap();
    assert_eq!(f.pending().await, [1, 2, 3, 4, 5, 8].map(guid).into());
    let elsewhere = DirectoryName::parse("lab").unwrap();
    assert_eq!(f.store.pending(&elsewhere, now).await.unwrap(), BTreeSet::new());
}

async fn people_with_a_tier_by_a_group_are_found_by_the_group(f: Fresh) {
    let (one, other) = (guid(0xa0), guid(0xb0));
    for (n, group) in [(1, Some(one)), (2, Some(other)), (3, None)] {
        f.store_person(n, StoredRow { entitled_by: group, ..DONE }).await;
    }
    let found = async |groups: &[Guid]| {
        f.store.entitled_by(&corp(), &groups.iter().copied().collect()).await.unwrap()
    };
    assert_eq!(found(&[one]).await, [1].map(guid).into());
    assert_eq!(found(&[one, other]).await, [1, 2].map(guid).into());
    assert_eq!(found(&[]).await, BTreeSet::new());
}

async fn a_checkpoint_is_read_back(f: Fresh) {
    let server =
        ServerIdentity { ds_service_name: "CN=dc1".to_owned(), invocation_id: Some(guid(1)) };
    let (at, full_at) = (f.clock.now(), Timestamp(1));
    let checkpoint = Checkpoint {
        server,
        usn: u64::MAX,
        cookie: vec![0, 255, b'"'],
        at,
        full_at,
        measure: "m".to_owned(),
    };
    f.store
        .change_directory(&corp(), |state| {
            state.checkpoint = Some(checkpoint.clone());
            state.followed = [(guid(1), checkpoint.clone())].into();
        })
        .await
        .unwrap();
    let state = f.store.directory(&corp()).await.unwrap();
    assert_eq!(state.followed, [(guid(1), checkpoint.clone())].into());
    assert_eq!(state.checkpoint, Some(checkpoint));
}
