//! Instants that were stored while the clock was ahead.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::store::instants::{AS_VALUES, CHAINED, CHOSEN, DUE, HAPPENED};

const YEARS: Duration = Duration::from_hours(24 * 3_653);

on_both! {
    instants_written_while_the_clock_was_ahead_are_corrected_once
    observation_numbers_rise_after_the_clock_is_set_back
}

async fn instants_written_while_the_clock_was_ahead_are_corrected_once(f: Fresh) {
    f.clock.advance(YEARS);
    let ahead = f.clock.now();
    f.apply(vec![f.creation(1, "Bob", "bob@example.com")]).await;
    let user = f.user(1).await;
    let suspension = ChangeKind::Suspend { cause: f.cause(Reason::Disabled), was_active: true };
    f.apply(vec![change(user.id, 1, suspension, Some(ChangeClass::Confirmed), Some(1))]).await;
    let pause = ahead.plus(Duration::from_hours(4));
    f.store
        .change_directory(&corp(), |s| (s.paused_until, s.paused_at) = (Some(pause), Some(ahead)))
        .await
        .unwrap();
    let target = TargetName::parse("app").unwrap();
    f.store
        .change_target(&target, &Handle::parse("acme").unwrap(), |s| {
            (s.paused_until, s.paused_at) = (Some(pause), Some(ahead));
        })
        .await
        .unwrap();
    f.clock.set_back(YEARS);
    let now = f.clock.now();
    let future = f.store.future_instants(now).await.unwrap().expect("instants in the future");
    assert!(future.latest >= ahead);
    f.store.correct_instants(now).await.unwrap();
    assert_eq!(f.store.future_instants(now).await.unwrap(), None);
    let user = f.store.user(user.id).await.unwrap().expect("the user");
    assert_eq!(user.updated_at, now);
    assert!(user.causes.iter().all(|cause| cause.since <= now), "{:?}", user.causes);
    let state = f.store.directory(&corp()).await.unwrap();
    assert_eq!(
        (state.paused_until, state.paused_at),
        (Some(now.plus(Duration::from_hours(4))), Some(now))
    );
    let target = f.store.target(&target).await.unwrap().expect("the target");
    assert_eq!(
        (target.paused_until, target.paused_at),
        (Some(now.plus(Duration::from_hours(4))), Some(now))
    );
    let used = f
        .store
        .budget(&corp(), Duration::from_hours(24), now.plus(Duration::from_hours(25)))
        .await
        .unwrap()
        .used;
    assert_eq!(used.get(&ChangeClass::Confirmed), None, "an applied change counts for one window");
}

async fn observation_numbers_rise_after_the_clock_is_set_back(f: Fresh) {
    let first = f.store.next_observation().await.unwrap();
    f.clock.set_back(YEARS);
    let second = f.store.next_observation().await.unwrap();
    assert!(ObservationNumber::default() < first && first < second);
}

/// A new column with an instant must be added to one of the lists.
#[tokio::test]
async fn every_instant_of_the_schema_is_known_to_the_correction() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}", folder.path().join("rosterd.db").display()))
        .await
        .unwrap();
    let known: BTreeSet<(String, String)> = [HAPPENED, DUE, AS_VALUES, CHAINED, CHOSEN]
        .into_iter()
        .flatten()
        .flat_map(|(table, columns)| {
            columns.iter().map(|column| ((*table).to_owned(), (*column).to_owned()))
        })
        .collect();
    let sql = "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
               WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name NOT LIKE '\\_%' ESCAPE '\\' AND c.type = 'INTEGER'";
    let columns = sqlx::query(sql).fetch_all(&store.readers).await.unwrap();
    let is_instant = |name: &str| {
        ["at", "due", "expires", "first_seen"].contains(&name)
            || ["_at", "_until", "_since", "_attempt", "_success", "_read"]
                .iter()
                .any(|end| name.ends_with(end))
    };
    for row in &columns {
        let (table, column): (String, String) = (sqlx::Row::get(row, 0), sqlx::Row::get(row, 1));
        if is_instant(&column) {
            assert!(
                known.contains(&(table.clone(), column.clone())),
                "{table}.{column}: add it to store/instants.rs"
            );
        }
    }
}
