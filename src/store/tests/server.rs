//! A store on a database server: its network, its locale, its standbys, and other writers.

use std::sync::Arc;

use super::postgres::{administer, database, parts};
use super::sql::Sql;
use super::*;
use crate::model::{Event, EventCause, StoreAt};
use relay::Relay;

#[path = "../../../tests/support/relay.rs"]
mod relay;

/// Returns the URL with the relay in place of the server, and the address of the server.
async fn relayed(url: &str) -> (Relay, String) {
    let (user, server, database) = parts(url);
    let relay = Relay::to(server).await;
    let through = format!("{user}@{}/{database}", relay.address);
    (relay, through)
}

fn told() -> Event {
    let cause = EventCause {
        actor: alice(),
        run: None,
        account: None,
        at: Timestamp(1_700_000_000_000_000),
    };
    Event::about("user.suspended", "corp", &cause, serde_json::Value::Null, serde_json::json!({}))
}

#[tokio::test]
async fn a_silent_network_fails_a_write_and_holds_no_row_of_the_next() {
    let Some(url) = database().await else { return };
    let (relay, through) = relayed(&url).await;
    let (store, clock) = (Store::open(&through).await.unwrap(), Clock::system());
    // A transaction is open, with the lock of the writer, when the network falls silent.
    let writing = store.begin().await.unwrap();
    relay.silence();
    let lost = writing.commit().await.unwrap_err();
    assert!(matches!(lost, StoreError::Unconfirmed(_)), "{lost}");
    let begun = std::time::Instant::now();
    store.record(&[told()], &clock).await.unwrap();
    // The server ends the orphan after five seconds.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    // Readers were silent, too.
    assert_eq!(store.event_count().await.unwrap(), 1);
}

#[tokio::test]
async fn writers_on_two_machines_wait_for_each_other_and_number_without_a_gap() {
    let Some(url) = database().await else { return };
    let clock = Clock::system();
    let nodes = [Store::open(&url).await.unwrap(), Store::open(&url).await.unwrap()].map(Arc::new);
    let writes = (0..40).map(|n| {
        let (node, clock) = (Arc::clone(&nodes[n % 2]), clock.clone());
        tokio::spawn(async move { node.record(&[told()], &clock).await })
    });
    for done in futures_util::future::join_all(writes).await {
        done.unwrap().unwrap();
    }
    let verified = nodes[0].verify_events(None).await.unwrap().unwrap();
    assert_eq!(verified.seq, 40);
}

#[tokio::test]
async fn texts_compare_by_bytes_in_a_database_of_any_locale() {
    let Some(server) = database().await else { return };
    let (base, _) = server.rsplit_once('/').unwrap();
    for (kind, locale) in [
        ("libc", "LC_COLLATE 'C.utf8' LC_CTYPE 'C.utf8'"),
        ("icu", "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.utf8'"),
    ] {
        let name = format!("{kind}{}", uuid::Uuid::new_v4().simple());
        administer(
            &server,
            &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {locale}"),
        )
        .await;
        let url = format!("{base}/{name}");
        administer(
            &url,
            &format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"),
        )
        .await;
        let store = Store::open(&url).await.unwrap();
        let other = Sql::new(
            "SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.table_type = 'BASE TABLE' WHERE c.table_schema = 'public' AND c.data_type = 'text' AND c.table_name NOT LIKE '\\_sqlx%' AND c.collation_name IS DISTINCT FROM 'C'",
        );
        let other: Vec<String> = other
            .all(&store.readers)
            .await
            .unwrap()
            .iter()
            .map(|row| sqlx::Row::get(row, 0))
            .collect();
        assert_eq!(other, Vec::<String>::new(), "{kind}");
        let isolation = Sql::new("SELECT current_setting('default_transaction_isolation')");
        let isolation = isolation.first(&store.readers).await.unwrap().unwrap();
        assert_eq!(sqlx::Row::get::<String, _>(&isolation, 0), "read committed", "{kind}");
        store.record(&[told()], &Clock::system()).await.unwrap();
        let family =
            EventFilter { kinds: vec!["user.*".into()], limit: 10, ..EventFilter::default() };
        assert_eq!(store.events(&family).await.unwrap().len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_store_follows_the_server_that_takes_writes() {
    let Some(url) = database().await else { return };
    let name = parts(&url).2;
    // The first host does not answer.
    let several = url.replace('@', "@127.0.0.1:1,");
    let store = Store::open(&several).await.unwrap();
    store.record(&[told()], &Clock::system()).await.unwrap();
    store.watch_server().await.unwrap();
    // The server becomes a standby, and ends all connections.
    let elsewhere = url.replace(name, "postgres");
    let end =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    let becomes = |what: &str| format!("ALTER DATABASE {name} {what}; {end}");
    administer(&elsewhere, &becomes("SET default_transaction_read_only = on")).await;
    let away = store.watch_server().await.unwrap_err().to_string();
    assert!(away.contains("127.0.0.1 takes no writes"), "{away}");
    assert!(away.contains("Connection refused"), "{away}");
    administer(&elsewhere, &becomes("RESET default_transaction_read_only")).await;
    store.watch_server().await.unwrap();
    store.record(&[told()], &Clock::system()).await.unwrap();
}

#[tokio::test]
async fn a_former_leader_that_wakes_up_writes_nothing() {
    let Some(url) = database().await else { return };
    let (at, clock) = (StoreAt::parse(&url).unwrap(), Clock::system());
    let node = async || {
        let store = Store::shared(&at, Duration::from_secs(3)).unwrap();
        store.watch_server().await.unwrap();
        store
    };
    let (a, b) = (node().await, node().await);
    assert!(matches!(a.record(&[told()], &clock).await, Err(StoreError::Database { .. })));
    a.prepare_shared().await.unwrap();
    assert!(matches!(a.record(&[told()], &clock).await, Err(StoreError::NotLeader)));
    assert!(a.look().await.unwrap().is_free);
    assert!(a.bid("a").await.unwrap());
    a.record(&[told()], &clock).await.unwrap();
    b.prepare_shared().await.unwrap();
    assert!(!b.bid("b").await.unwrap());
    let look = b.look().await.unwrap();
    assert_eq!((look.leader.node.as_str(), look.is_free, look.is_own), ("a", false, false));
    // The leader freezes in a transaction, which keeps the lock of the writer.
    let frozen = a.begin().await.unwrap();
    let begun = std::time::Instant::now();
    while !b.bid("b").await.unwrap() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    b.record(&[told()], &clock).await.unwrap();
    frozen.commit().await.unwrap_err();
    assert!(matches!(a.record(&[told()], &clock).await, Err(StoreError::NotLeader)));
    assert!(!a.look().await.unwrap().is_own);
    assert!(!a.prolong().await.unwrap());
    assert_eq!(b.event_count().await.unwrap(), 2);
    // A brake needs no lease.
    a.record_anywhere(&[told()], &clock).await.unwrap();
    // A leader that stops leaves its place at once.
    b.resign().await;
    let c = node().await;
    assert!(c.bid("c").await.unwrap());
    assert_eq!(c.look().await.unwrap().leader.epoch, 3);
    c.record(&[told()], &clock).await.unwrap();
}
