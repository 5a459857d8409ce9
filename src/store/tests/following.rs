//! Whom a run looks at that follows changes, beside those who have changed; and how far it has got.

use std::time::Duration;

use super::*;
use crate::model::{QuarantineReason, Timestamp};
use crate::reconcile::{Checkpoint, ServerIdentity};
use crate::store::sql::{Sql, Value};

/// What is remembered of one person.
#[derive(Clone, Copy, Default)]
struct Remembered {
    fingerprint: u64,
    expires: Option<Timestamp>,
    entitled_by: Option<Guid>,
    quarantine: Option<QuarantineReason>,
}

/// Of whom nothing is left to do.
const DONE: Remembered =
    Remembered { fingerprint: 7, expires: None, entitled_by: None, quarantine: None };

impl Fresh {
    /// Remembers the person of a number, whose user is active.
    async fn remember(&self, n: u8, what: Remembered) {
        self.apply(vec![self.creation(n, "Somebody", &format!("p{n}@example.com"))]).await;
        let Remembered { fingerprint, expires, entitled_by, quarantine } = what;
        let row: Vec<Value> = vec![
            "corp".into(),
            guid(n).into(),
            (fingerprint as i64).into(),
            self.user(n).await.id.0.into(),
            "CN=Somebody,DC=corp".into(),
            "dc=corp".into(),
            expires.into(),
            entitled_by.into(),
            quarantine.map(QuarantineReason::as_str).into(),
            self.clock.now().into(),
        ];
        let mut writing = self.store.begin().await.unwrap();
        let sql = Sql::new(
            "INSERT INTO people (directory, guid, fingerprint, user_id, dn, parent_key, expires, entitled_by, quarantine, seen_at) VALUES ",
        );
        sql.list(row).execute(&mut *writing.tx).await.unwrap();
        writing.commit().await.unwrap();
    }

    async fn pending(&self) -> BTreeSet<Guid> {
        self.store.pending(&corp(), self.clock.now()).await.unwrap()
    }
}

on_both! {
    pending_is_whoever_something_is_left_to_do_about
    whoever_has_a_tier_by_a_group_is_found_by_it
    how_far_changes_were_followed_is_read_back
}

async fn pending_is_whoever_something_is_left_to_do_about(f: Fresh) {
    let now = f.clock.now();
    let (past, future) =
        (Some(now.minus(Duration::from_hours(1))), Some(now.plus(Duration::from_hours(1))));
    f.remember(1, DONE).await;
    f.remember(2, Remembered { fingerprint: 0, ..DONE }).await;
    f.remember(3, Remembered { quarantine: Some(QuarantineReason::MalformedEntry), ..DONE }).await;
    f.remember(4, Remembered { expires: past, ..DONE }).await;
    f.remember(5, Remembered { expires: past, ..DONE }).await;
    f.remember(6, Remembered { expires: future, ..DONE }).await;
    let suspension = ChangeKind::Suspend { cause: f.cause(Reason::Expired), was_active: true };
    f.apply(vec![change(f.user(5).await.id, 5, suspension, Some(Class::Confirmed), Some(1))]).await;
    // Whatever is written of a user is looked at again.
    assert_eq!(f.pending().await, [2, 3, 4, 5].map(guid).into());
    f.rehold(&[8]).await;
    assert_eq!(
        f.pending().await,
        [2, 3, 4, 5, 8].map(guid).into(),
        "what is held, and of a person without a user"
    );
    f.store.look_again(&corp(), &[1].map(guid).into()).await.unwrap();
    assert_eq!(f.pending().await, [1, 2, 3, 4, 5, 8].map(guid).into());
    let elsewhere = DirectoryName::parse("lab").unwrap();
    assert_eq!(f.store.pending(&elsewhere, now).await.unwrap(), BTreeSet::new());
}

async fn whoever_has_a_tier_by_a_group_is_found_by_it(f: Fresh) {
    let (one, other) = (guid(0xa0), guid(0xb0));
    for (n, group) in [(1, Some(one)), (2, Some(other)), (3, None)] {
        f.remember(n, Remembered { entitled_by: group, ..DONE }).await;
    }
    let found = async |groups: &[Guid]| {
        f.store.entitled_by(&corp(), &groups.iter().copied().collect()).await.unwrap()
    };
    assert_eq!(found(&[one]).await, [1].map(guid).into());
    assert_eq!(found(&[one, other]).await, [1, 2].map(guid).into());
    assert_eq!(found(&[]).await, BTreeSet::new());
}

async fn how_far_changes_were_followed_is_read_back(f: Fresh) {
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
        .change_directory(&corp(), |state| state.checkpoint = Some(checkpoint.clone()))
        .await
        .unwrap();
    assert_eq!(f.store.directory(&corp()).await.unwrap().checkpoint, Some(checkpoint));
}
