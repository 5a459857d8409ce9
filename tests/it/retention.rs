//! Retention: data that is removed after some time, and data that stays.

use std::time::Duration;

use rosterd::engine::Forgotten;
use rosterd::model::{Reason, Retention, Status};

use crate::firm::{Firm, alice};

const DAY: Duration = Duration::from_hours(24);

/// Returns a company with a retention. The first person is disabled, the second deleted. An
/// operator has suspended the third, who is also disabled, and the fourth.
async fn leaving(retention: Retention) -> (Firm, Vec<String>) {
    let firm = Firm::running(40, |_| {}).await;
    firm.sim.edit(|ad| ad.show_tombstones(true));
    let was = firm.engine.configured();
    let directories = was.directories.values().map(|d| d.config.clone()).collect();
    firm.engine.reconfigure(directories, rosterd::engine::Rules { retention, ..was.rules.clone() });
    let users = firm.users().await;
    let dn = |n: usize| users[n].link.as_ref().unwrap().dn.as_str().to_owned();
    firm.sim.edit(|ad| {
        ad.disable(dn(0).as_str());
        ad.delete(dn(1).as_str());
        ad.disable(dn(2).as_str());
    });
    firm.sync().await;
    let ids: Vec<String> = users.iter().take(5).map(|u| u.id.to_string()).collect();
    for n in [2, 3] {
        firm.engine.suspend(&ids[n], "", &alice()).await.unwrap();
    }
    (firm, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_data_is_removed_by_default() {
    let (firm, _) = leaving(Retention::default()).await;
    let before = (firm.users().await, firm.engine.store.event_count().await.unwrap());
    firm.later(DAY * 4_000);
    assert_eq!(firm.engine.apply_retention().await.unwrap(), Forgotten::default());
    assert_eq!((firm.users().await, firm.engine.store.event_count().await.unwrap()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_addresses_of_deleted_users_are_freed() {
    let (firm, ids) =
        leaving(Retention { release_address_after: Some(DAY * 90), ..Retention::default() }).await;
    let address = firm.user(&ids[1]).await.addresses.primary.unwrap();
    firm.later(DAY * 89);
    assert_eq!(firm.engine.apply_retention().await.unwrap().freed, 0);
    firm.later(DAY * 2);
    assert_eq!(firm.engine.apply_retention().await.unwrap().freed, 1);
    assert_eq!(firm.engine.apply_retention().await.unwrap().freed, 0, "an address is freed once");
    assert!(firm.user(&ids[1]).await.addresses.primary.is_none());
    assert!(firm.user(&ids[0]).await.addresses.primary.is_some(), "a disabled user may return");
    firm.sim.edit(|ad| {
        ad.add_person(
            adsim::NewPerson::new("next").mail(address.as_str()).member_of(adsim::names::PRO),
        )
    });
    assert_eq!(firm.sync().await.counts.create, 1, "a newcomer gets the address");
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_users_are_removed_unless_an_operator_suspended_them() {
    let (firm, ids) =
        leaving(Retention { remove_after: Some(DAY * 365), ..Retention::default() }).await;
    let gone = firm.user(&ids[0]).await;
    let (mail, dn) = (gone.addresses.primary.unwrap(), gone.link.unwrap().dn);
    firm.later(DAY * 366);
    assert_eq!(firm.engine.apply_retention().await.unwrap().removed, 2);
    for (n, is_left) in [(0, false), (1, false), (2, true), (3, true), (4, true)] {
        assert_eq!(firm.engine.find_user(&ids[n]).await.is_ok(), is_left, "{n}");
    }
    let told = firm.events("user.removed").await;
    assert_eq!(told.len(), 2);
    assert_eq!(
        told[0]["data"]["before"],
        serde_json::json!({ "status": "suspended" }),
        "the event holds no personal data"
    );
    assert_eq!(told[0]["data"]["actor"], "rosterd");
    let written = firm.engine.store.runs(None, 100).await.unwrap();
    for run in written {
        for change in firm.engine.store.run_changes(run.id).await.unwrap() {
            assert_ne!(change.email.as_deref(), Some(mail.as_str()), "{}: {}", change.kind, run.id);
        }
    }
    let run = firm.sync().await;
    assert_eq!((run.counts.create, run.error), (0, None), "a disabled person gets no new user");
    firm.sim.edit(|ad| ad.enable(dn.as_str()));
    assert_eq!(firm.sync().await.counts.create, 1, "an enabled person gets a new user");
    let kept = firm.user(&ids[2]).await;
    assert_eq!((kept.status(), kept.causes.has(Reason::Operator)), (Status::Suspended, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortened_event_log_continues_without_a_gap_and_verifies() {
    let (firm, ids) = leaving(Retention { events: Some(DAY), ..Retention::default() }).await;
    let store = &firm.engine.store;
    let early = store.verify_events(None).await.unwrap().unwrap();
    firm.later(DAY * 6);
    assert_eq!(firm.engine.apply_retention().await.unwrap().events, 0, "not before 7 days");
    firm.later(DAY * 2);
    let gone = firm.engine.apply_retention().await.unwrap().events;
    assert_eq!(gone, early.seq);
    assert_eq!(store.event_count().await.unwrap(), early.seq, "the sequence continues");
    firm.engine.suspend(&ids[4], "", &alice()).await.unwrap();
    let listed = store
        .events(&rosterd::store::EventFilter { after: Some(0), limit: 10, ..Default::default() })
        .await
        .unwrap();
    assert_eq!(listed.iter().map(|e| e.seq).collect::<Vec<_>>(), [early.seq + 1]);
    assert_eq!(
        store.verify_events(Some(early)).await.unwrap().map(|head| head.seq),
        Ok(early.seq + 1),
        "the log begins at the noted head"
    );
    let older = rosterd::store::LogHead { seq: early.seq - 1, ..early };
    assert!(
        store
            .verify_events(Some(older))
            .await
            .unwrap()
            .is_err_and(|broken| broken.finding.contains("note a newer one"))
    );
    let first = store.runs(Some("corp"), 100).await.unwrap().pop().unwrap();
    assert!(
        store.run_changes(first.id).await.unwrap().is_empty(),
        "the changes of old runs are removed with the events"
    );
    assert_eq!(firm.sync().await.error, None);
}
