//! The chain of the log with a key.

use serde_json::Value as Json;

use super::*;
use crate::model::{Event, EventCause};

on_both! {
    a_chain_with_a_key_cannot_be_computed_anew_without_it
    a_chain_continues_with_another_key_and_is_verified_by_all_keys
    a_chain_without_a_key_is_sealed_by_the_first_entry_with_one
    an_entry_without_a_key_is_refused_after_one_with_it
    events_of_one_transaction_have_the_names_before_and_after_it
    a_forgotten_user_is_not_named_again
    an_edit_of_the_log_breaks_the_chain_at_its_place
}

const KEY: &str = "a key of at least thirty-two characters";
const NEXT: &str = "another key of at least thirty-two characters";

impl Fresh {
    async fn record(&self, count: usize) {
        let cause = EventCause { actor: alice(), run: None, account: None, at: self.clock.now() };
        let events: Vec<Event> = (0..count)
            .map(|n| Event::about("run.failed", format!("{n}"), &cause, Json::Null, Json::Null))
            .collect();
        self.store.record(&events, &self.clock).await.unwrap();
    }

    /// Edits an entry, and computes the chain anew from there with these keys.
    async fn forge(&self, from: i64, keys: &LogKeys) {
        let writer = self.store.writer.lock().await;
        let mut hash: Vec<u8> = match from {
            1 => log_keys::GENESIS.to_vec(),
            _ => sqlx::query_scalar("SELECT hash FROM events WHERE seq = $1")
                .bind(from - 1)
                .fetch_one(&*writer)
                .await
                .unwrap(),
        };
        sqlx::query(
            "UPDATE events SET document = REPLACE(document, 'alice', 'mallory') WHERE seq = $1",
        )
        .bind(from)
        .execute(&*writer)
        .await
        .unwrap();
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT seq, document FROM events WHERE seq >= $1 ORDER BY seq")
                .bind(from)
                .fetch_all(&*writer)
                .await
                .unwrap();
        for (seq, document) in rows {
            hash = keys.link(hash.try_into().unwrap(), &document).to_vec();
            sqlx::query("UPDATE events SET hash = $1 WHERE seq = $2")
                .bind(hash.clone())
                .bind(seq)
                .execute(&*writer)
                .await
                .unwrap();
        }
    }

    async fn verified(&self) -> Result<(u64, Option<u64>), u64> {
        let verified = self.store.verify_log(None).await.unwrap();
        verified.map(|v| (v.head.seq, v.keyed_from)).map_err(|broken| broken.seq)
    }
}

async fn a_chain_with_a_key_cannot_be_computed_anew_without_it(f: Fresh) {
    f.record(3).await;
    let noted = f.store.log_head().await.unwrap();
    f.forge(2, &LogKeys::default()).await;
    assert_eq!(
        f.verified().await,
        Ok((4, None)),
        "without a key, a chain that was computed anew is as good as the first"
    );
    assert_eq!(
        f.store.verify_log(Some(noted)).await.unwrap().map_err(|b| b.seq),
        Err(4),
        "a noted head tells them apart"
    );

    f.store.set_log_keys(LogKeys::of(KEY));
    assert_eq!(f.verified().await, Err(4), "a key is configured, and nothing is chained with it");
    for is_first in [true, false] {
        let cause = EventCause { actor: alice(), run: None, account: None, at: f.clock.now() };
        let mark = |_| Event::about("log.keyed", "log", &cause, Json::Null, Json::Null);
        let before = f.store.chain_with(LogKeys::of(KEY), mark, &f.clock).await.unwrap();
        assert_eq!(before.map(|head| head.seq), is_first.then_some(4), "the mark is written once");
    }
    f.record(2).await;
    assert_eq!(f.verified().await, Ok((7, Some(5))));
    for from in [1, 3, 5, 6, 7] {
        f.forge(from, &LogKeys::default()).await;
        assert!(f.verified().await.is_err(), "from {from} on it was computed anew without the key");
        f.forge(from, &LogKeys::of("a key that was guessed, which is another one")).await;
        assert!(
            f.verified().await.is_err(),
            "from {from} on it was computed anew with another key"
        );
        // With the key it is possible, which shows that the above is not refused for anything else.
        f.forge(1, &LogKeys::of(KEY)).await;
        assert_eq!(f.verified().await, Ok((7, Some(1))));
    }
    f.store.set_log_keys(LogKeys::default());
    assert_eq!(f.verified().await, Err(1), "without the key, the chain cannot be verified");
}

async fn a_chain_continues_with_another_key_and_is_verified_by_all_keys(f: Fresh) {
    f.store.set_log_keys(LogKeys::of(KEY));
    f.record(2).await;
    f.store.set_log_keys(LogKeys::of(&format!("{NEXT}\n\n{KEY}\n")));
    f.record(2).await;
    assert_eq!(f.verified().await, Ok((5, Some(2))), "the first entry is the account's");
    f.store.set_log_keys(LogKeys::of(NEXT));
    assert_eq!(f.verified().await, Err(2));
}

async fn a_chain_without_a_key_is_sealed_by_the_first_entry_with_one(f: Fresh) {
    f.record(3).await;
    f.store.set_log_keys(LogKeys::of(KEY));
    f.record(1).await;
    // Only the part without a key is computed anew.
    let writer = f.store.writer.lock().await;
    sqlx::query("UPDATE events SET document = REPLACE(document, 'alice', 'mallory') WHERE seq = 2")
        .execute(&*writer)
        .await
        .unwrap();
    drop(writer);
    let sealed: Vec<u8> = {
        let writer = f.store.writer.lock().await;
        sqlx::query_scalar("SELECT hash FROM events WHERE seq = 5")
            .fetch_one(&*writer)
            .await
            .unwrap()
    };
    f.forge(2, &LogKeys::default()).await;
    let writer = f.store.writer.lock().await;
    sqlx::query("UPDATE events SET hash = $1 WHERE seq = 5")
        .bind(sealed)
        .execute(&*writer)
        .await
        .unwrap();
    drop(writer);
    assert_eq!(f.verified().await, Err(5));
}

async fn an_entry_without_a_key_is_refused_after_one_with_it(f: Fresh) {
    let cause = EventCause { actor: alice(), run: None, account: None, at: f.clock.now() };
    let event = || Event::about("run.failed", "corp", &cause, Json::Null, Json::Null);
    f.record(1).await;
    f.store.set_log_keys(LogKeys::of(KEY));
    f.record(2).await;
    f.store.set_log_keys(LogKeys::default());
    let refused = f.store.record(&[event()], &f.clock).await;
    assert!(matches!(refused, Err(StoreError::Keyless)), "{refused:?}");
    f.store.set_log_keys(LogKeys::of(KEY));
    let refused = f.store.chain_with(LogKeys::default(), |_| event(), &f.clock).await;
    assert!(matches!(refused, Err(StoreError::Keyless)), "{refused:?}");
    // The former keys stay in use.
    f.record(1).await;
    assert_eq!(f.verified().await, Ok((5, Some(3))), "the first entry is the account's");
}

/// The `data.user` of the latest events, oldest first.
async fn named(f: &Fresh, count: u64) -> Vec<Json> {
    let events =
        f.store.events(&EventFilter { limit: count, ..EventFilter::default() }).await.unwrap();
    events.into_iter().map(|event| event.document["data"]["user"].clone()).collect()
}

async fn events_of_one_transaction_have_the_names_before_and_after_it(f: Fresh) {
    f.apply(vec![f.creation(1, "Ann", "ann@example.com")]).await;
    let user = f.user(1).await;
    let profile = |sam: &str| Profile {
        sam_account_name: Some(sam.to_owned()),
        employee_id: Some("E7".to_owned()),
        ..user.profile.clone()
    };
    let update = ChangeKind::Update {
        before: Box::new(user.profile.clone()),
        after: Box::new(profile("Ann")),
    };
    let version = Some(user.version);
    f.apply(vec![change(user.id, 1, update, None, version)]).await;
    let user = f.user(1).await;
    let version = Some(user.version);
    // One edit in the directory: another name, another address, disabled.
    let update = ChangeKind::Update {
        before: Box::new(user.profile.clone()),
        after: Box::new(profile("ann.lee")),
    };
    let readdress = ChangeKind::Readdress {
        before: user.addresses.clone(),
        after: addresses("ann.lee@example.com"),
    };
    let suspend = ChangeKind::Suspend { cause: f.cause(Reason::Disabled), was_active: true };
    let kinds = [suspend, readdress, update];
    f.apply(kinds.into_iter().map(|kind| change(user.id, 1, kind, None, version)).collect()).await;
    let events = named(&f, 3).await;
    for event in &events {
        let of = |when: &str| {
            let known = &event[when];
            ["sam_account_name", "primary_email", "employee_id", "status"]
                .map(|name| known[name].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(of("before"), ["Ann", "ann@example.com", "E7", "active"], "{event:#}");
        assert_eq!(of("after"), ["ann.lee", "ann.lee@example.com", "E7", "suspended"], "{event:#}");
        assert_eq!(
            (&event["after"]["object_guid"], &event["after"]["dn"]),
            (&serde_json::json!(guid(1)), &Json::from("CN=Ann,DC=corp"))
        );
    }
    assert_eq!(events.len(), 3);
}

async fn a_forgotten_user_is_not_named_again(f: Fresh) {
    f.apply(vec![f.creation(1, "Ann", "ann@example.com"), f.creation(2, "Bob", "bob@example.com")])
        .await;
    let remove = |user: &User, before| {
        change(
            user.id,
            0,
            ChangeKind::Remove { before, status: Status::Active },
            None,
            Some(user.version),
        )
    };
    let (ann, bob) = (f.user(1).await, f.user(2).await);
    f.apply(vec![remove(&ann, None), remove(&bob, Some(Box::new(bob.joined())))]).await;
    let events = named(&f, 2).await;
    let named: Vec<&Json> = events.iter().map(|event| &event["before"]["primary_email"]).collect();
    assert_eq!(named.iter().filter(|name| name.is_null()).count(), 1, "{events:#?}");
    assert!(!format!("{events:?}").contains("ann@"), "{events:#?}");
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
