//! Deliveries: creation, order, attempts, dead letters, redelivery and removal.

use serde_json::Value as Json;

use super::*;
use crate::model::{Event, EventCause, Timestamp};

const EVENTS: &[&str] = &["user.suspended", "user.reactivated", "run.failed"];

fn wants(hook: &str, events: &[&str]) -> Subscription {
    Subscription { hook: hook.to_owned(), events: events.iter().map(|e| (*e).to_owned()).collect() }
}

impl Fresh {
    /// Records events of these types and subjects in one transaction.
    async fn happens(&self, events: &[(usize, &str)]) {
        let cause = EventCause { actor: alice(), run: None, account: None, at: self.clock.now() };
        let events: Vec<Event> = events
            .iter()
            .map(|(kind, about)| {
                Event::about(EVENTS[*kind], *about, &cause, Json::Null, Json::Null)
            })
            .collect();
        self.store.record(&events, &self.clock).await.unwrap();
    }

    /// Returns number and subject of the due deliveries.
    async fn due(&self, hook: &str) -> Vec<(u64, String)> {
        let due = self.store.due(hook, self.clock.now(), 1_000).await.unwrap();
        due.into_iter().map(|due| (due.seq, due.subject.0)).collect()
    }

    async fn attempt(&self, hook: &str, seq: u64, result: AttemptResult, error: Option<&str>) {
        let due = self
            .store
            .due(hook, self.clock.now(), 1_000)
            .await
            .unwrap()
            .into_iter()
            .find(|due| due.seq == seq)
            .unwrap();
        let DueDelivery { seq, kind, subject, .. } = due;
        let attempt =
            Attempt { seq, kind, subject, result, error: error.map(str::to_owned), output: None };
        self.store.record_attempts(hook, &[attempt], &self.clock).await.unwrap();
    }

    async fn states(&self, hook: &str) -> Vec<(u64, DeliveryState)> {
        let all = self.store.deliveries(hook, &DeliveryFilter::default(), 1_000).await.unwrap();
        all.into_iter().rev().map(|d| (d.seq, d.state)).collect()
    }
}

fn about(due: &[(u64, &str)]) -> Vec<(u64, String)> {
    due.iter().map(|(seq, subject)| (*seq, (*subject).to_owned())).collect()
}

on_both! {
    a_hook_gets_a_delivery_for_each_subscribed_event
    the_oldest_pending_delivery_of_each_subject_is_due
    a_failed_delivery_blocks_its_own_subject_only
    a_dead_letter_is_recorded_once_and_not_sent_to_its_own_hook
    redelivered_and_replayed_events_are_due_in_order
    a_removed_hook_is_kept_for_its_max_age_and_deleted_with_its_deliveries
    an_account_has_the_events_of_its_users_claims_and_directories
}

async fn a_hook_gets_a_delivery_for_each_subscribed_event(f: Fresh) {
    f.happens(&[(0, "anna")]).await;
    f.store.subscribe(vec![
        wants("all", &["*"]),
        wants("vpn", &["user.suspended"]),
        wants("users", &["user.*", "user.suspended"]),
    ]);
    let news = f.store.news();
    f.happens(&[(0, "anna"), (1, "bert"), (2, "run")]).await;
    assert!(news.has_changed().unwrap(), "waiting tasks are woken");
    assert_eq!(
        f.due("all").await,
        about(&[(3, "anna"), (4, "bert"), (5, "run")]),
        "not the events before the subscription"
    );
    assert_eq!(f.due("vpn").await, about(&[(3, "anna")]));
    assert_eq!(f.due("users").await, about(&[(3, "anna"), (4, "bert")]), "once each");
    f.store.subscribe(vec![wants("vpn", &["user.suspended"])]);
    f.happens(&[(0, "carl")]).await;
    assert_eq!((f.due("vpn").await.len(), f.due("all").await.len()), (2, 3));
    let due = &f.store.due("vpn", f.clock.now(), 1).await.unwrap()[0];
    let event = &f
        .store
        .events(&EventFilter { after: Some(2), limit: 1, ..EventFilter::default() })
        .await
        .unwrap()[0];
    assert_eq!(serde_json::from_str::<Json>(&due.document).unwrap(), event.document);
    assert_eq!(event.document["id"], due.event.to_string());
}

async fn the_oldest_pending_delivery_of_each_subject_is_due(f: Fresh) {
    f.store.subscribe(vec![wants("h", &["user.*"])]);
    f.happens(&[(0, "anna"), (2, "anna"), (1, "anna"), (0, "bert")]).await;
    f.happens(&[(1, "bert"), (0, "carl"), (1, "anna")]).await;
    assert_eq!(f.due("h").await, about(&[(2, "anna"), (5, "bert"), (7, "carl")]));
    f.attempt("h", 2, AttemptResult::Delivered, None).await;
    assert_eq!(f.due("h").await.len(), 3);
    f.attempt("h", 4, AttemptResult::Delivered, None).await;
    f.attempt("h", 5, AttemptResult::Delivered, None).await;
    f.attempt("h", 8, AttemptResult::Delivered, None).await;
    assert_eq!(
        f.due("h").await,
        about(&[(7, "carl"), (6, "bert")]),
        "in the order of their due times"
    );
    f.attempt("h", 6, AttemptResult::Delivered, None).await;
    f.attempt("h", 7, AttemptResult::Delivered, None).await;
    let status = f.store.delivery_status("h").await.unwrap();
    assert_eq!((status.pending, status.failed, status.delivered, status.oldest), (0, 0, 6, None));
    f.happens(&[(0, "anna")]).await;
    assert_eq!(f.due("h").await, about(&[(9, "anna")]));
}

async fn a_failed_delivery_blocks_its_own_subject_only(f: Fresh) {
    f.store.subscribe(vec![wants("h", &["*"])]);
    f.happens(&[(0, "anna"), (1, "anna"), (0, "bert")]).await;
    let later = f.clock.now().plus(Duration::from_mins(5));
    f.attempt("h", 2, AttemptResult::RetryAt(later), Some("exit status 1")).await;
    assert_eq!(f.due("h").await, about(&[(4, "bert")]));
    assert_eq!(f.store.next_due("h", f.clock.now()).await.unwrap(), Some(later));
    let status = f.store.delivery_status("h").await.unwrap();
    assert_eq!((status.pending, status.error.as_deref()), (3, Some("exit status 1")));
    f.clock.advance(Duration::from_mins(6));
    let due = f.store.due("h", f.clock.now(), 10).await.unwrap();
    assert_eq!(due.iter().map(|d| (d.seq, d.attempts)).collect::<Vec<_>>(), [(4, 0), (2, 1)]);
    f.attempt("h", 2, AttemptResult::Delivered, None).await;
    assert_eq!(f.due("h").await, about(&[(4, "bert"), (3, "anna")]));
}

async fn a_dead_letter_is_recorded_once_and_not_sent_to_its_own_hook(f: Fresh) {
    f.store.subscribe(vec![wants("vpn", &["*"]), wants("siem", &["*"])]);
    f.happens(&[(0, "anna"), (1, "anna")]).await;
    f.attempt("vpn", 2, AttemptResult::DeadLetter, Some("it answered 404 Not Found")).await;
    assert_eq!(
        f.due("vpn").await,
        about(&[(3, "anna")]),
        "the next delivery is due, and the hook gets no event about itself"
    );
    assert_eq!(f.due("siem").await, about(&[(2, "anna"), (4, "vpn")]));
    let events = f
        .store
        .events(&EventFilter {
            kinds: vec!["hook.dead_lettered".into()],
            limit: 10,
            ..EventFilter::default()
        })
        .await
        .unwrap();
    let after =
        serde_json::json!({ "count": 1, "events": [2], "error": "it answered 404 Not Found" });
    assert_eq!(
        (
            events.len(),
            &events[0].document["data"]["after"],
            events[0].document["subject"].as_str()
        ),
        (1, &after, Some("vpn"))
    );
    // The other hook fails, too. Its dead letters about the first hook have no event.
    f.clock.advance(Duration::from_hours(1));
    f.happens(&[(0, "bert")]).await;
    let old = f.clock.now().minus(Duration::from_mins(1));
    assert_eq!(
        f.store.dead_letter("siem", Some(old), &[3], "down", &f.clock).await.unwrap(),
        2,
        "except the delivery under way"
    );
    assert_eq!(
        f.states("siem").await,
        [
            (2, DeliveryState::Failed),
            (3, DeliveryState::Pending),
            (4, DeliveryState::Failed),
            (5, DeliveryState::Pending),
        ]
    );
    let events = f
        .store
        .events(&EventFilter { kinds: vec!["hook.*".into()], limit: 10, ..EventFilter::default() })
        .await
        .unwrap();
    assert_eq!(
        (events.len(), &events[1].document["data"]["after"]["events"]),
        (2, &serde_json::json!([2]))
    );
    assert_eq!(f.store.dead_letter("siem", Some(old), &[3], "down", &f.clock).await.unwrap(), 0);
    assert_eq!(f.store.verify_events(None).await.unwrap().map(|head| head.seq), Ok(6));
}

async fn redelivered_and_replayed_events_are_due_in_order(f: Fresh) {
    f.happens(&[(0, "anna"), (0, "bert"), (1, "anna"), (2, "run")]).await;
    let subscription = wants("h", &["user.*"]);
    f.store.subscribe(vec![subscription.clone()]);
    let begin = Timestamp::default();
    assert_eq!(
        f.store.replay(&subscription, begin, f.clock.now()).await.unwrap(),
        3,
        "a hook that came later"
    );
    assert_eq!(f.due("h").await, about(&[(2, "anna"), (3, "bert")]));
    assert_eq!(
        f.store.replay(&subscription, begin, f.clock.now()).await.unwrap(),
        0,
        "the deliveries are pending"
    );
    f.attempt("h", 2, AttemptResult::DeadLetter, Some("no")).await;
    f.attempt("h", 3, AttemptResult::DeadLetter, Some("no")).await;
    f.attempt("h", 4, AttemptResult::Delivered, None).await;
    let failed = |seq| DeliveryFilter {
        state: Some(DeliveryState::Failed),
        seq,
        ..DeliveryFilter::default()
    };
    assert_eq!(f.store.redeliver("h", &failed(Some(3)), f.clock.now()).await.unwrap(), 1);
    assert_eq!(f.due("h").await, about(&[(3, "bert")]));
    let of = |kind: &str| DeliveryFilter { kind: Some(kind.to_owned()), ..failed(None) };
    assert_eq!(
        f.store.redeliver("h", &of("user.reactivated"), f.clock.now()).await.unwrap(),
        0,
        "that one was delivered"
    );
    assert_eq!(f.store.redeliver("h", &of("user.suspended"), f.clock.now()).await.unwrap(), 1);
    assert_eq!(f.due("h").await, about(&[(3, "bert"), (2, "anna")]));
    assert_eq!(f.store.redeliver("h", &failed(None), f.clock.now()).await.unwrap(), 0);
    assert_eq!(f.store.delivery_status("h").await.unwrap().failed, 0);
    f.happens(&[(1, "anna")]).await;
    let sent = f.store.replay(&subscription, begin, f.clock.now()).await.unwrap();
    assert_eq!(sent, 1, "delivered events are sent again, pending ones are not sent twice");
    let order = async {
        let mut order = Vec::new();
        while let Some((seq, subject)) =
            f.due("h").await.into_iter().find(|(_, subject)| subject == "anna")
        {
            f.attempt("h", seq, AttemptResult::Delivered, None).await;
            order.push((seq, subject));
        }
        order
    };
    assert_eq!(order.await.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2, 4, 8]);
}

#[tokio::test]
async fn the_next_delivery_of_a_subject_is_found_by_an_index() {
    let f = on("sqlite").await.unwrap();
    for subjects in [&["anna"][..], &["anna", "bert"]] {
        let sql =
            backlog::promotion("h", &subjects.iter().copied().collect(), f.clock.now()).explained();
        let steps = sql.all(&*f.store.writer.lock().await).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|step| sqlx::Row::get(step, 3)).collect();
        assert!(
            steps.iter().any(|step| step.contains("INDEX deliveries_order (hook=? AND subject=?)")),
            "{subjects:?}: {steps:#?}"
        );
    }
}

#[tokio::test]
async fn only_the_latest_delivered_rows_are_kept() {
    let f = on("sqlite").await.unwrap();
    f.store.subscribe(vec![wants("h", &["*"])]);
    let subjects: Vec<String> = (0..11_200).map(|n| n.to_string()).collect();
    for piece in subjects.chunks(800) {
        f.happens(&piece.iter().map(|s| (0, s.as_str())).collect::<Vec<_>>()).await;
    }
    f.attempt("h", 2, AttemptResult::DeadLetter, Some("no")).await;
    loop {
        let due = f.store.due("h", f.clock.now(), 700).await.unwrap();
        if due.is_empty() {
            break;
        }
        let delivered = |DueDelivery { seq, kind, subject, .. }| Attempt {
            seq,
            kind,
            subject,
            result: AttemptResult::Delivered,
            error: None,
            output: None,
        };
        f.store
            .record_attempts("h", &due.into_iter().map(delivered).collect::<Vec<_>>(), &f.clock)
            .await
            .unwrap();
    }
    let kept = f
        .store
        .deliveries(
            "h",
            &DeliveryFilter { state: Some(DeliveryState::Delivered), ..DeliveryFilter::default() },
            100_000,
        )
        .await
        .unwrap();
    assert!((10_000..=11_000).contains(&kept.len()), "{}", kept.len());
    let status = f.store.delivery_status("h").await.unwrap();
    assert_eq!(
        (status.failed, status.delivered),
        (1, 11_199),
        "dead letters stay, and every delivery is counted"
    );
}

async fn an_account_has_the_events_of_its_users_claims_and_directories(f: Fresh) {
    f.apply(vec![f.creation(1, "Zoë", "zoe@example.com")]).await;
    f.happens(&[(0, "corp"), (0, "elsewhere"), (2, "other")]).await;
    let scope = |directories: Vec<DirectoryName>| {
        Some(AccountScope {
            account: f.account,
            handle: Handle::parse("acme").unwrap(),
            directories,
        })
    };
    let seqs = async |filter: EventFilter| {
        f.store.events(&filter).await.unwrap().iter().map(|e| e.seq).collect::<Vec<_>>()
    };
    let newest = |account| EventFilter { account, limit: 10, ..EventFilter::default() };
    assert_eq!(seqs(newest(scope(Vec::new()))).await, [1, 2], "the account and its user");
    assert_eq!(seqs(newest(scope(vec![corp()]))).await, [1, 2, 3], "and its directory");
    assert_eq!(seqs(EventFilter { after: Some(1), ..newest(scope(vec![corp()])) }).await, [2, 3]);
    assert_eq!(
        seqs(EventFilter { limit: 1, ..newest(scope(vec![corp()])) }).await,
        [3],
        "the newest"
    );
    let other = AccountId(f.clock.new_id());
    assert_eq!(
        seqs(newest(Some(AccountScope {
            account: other,
            handle: Handle::parse("other").unwrap(),
            directories: Vec::new()
        })))
        .await,
        [0; 0]
    );
    let of = |subjects: &[&str]| EventFilter {
        subjects: subjects.iter().map(|s| (*s).to_owned()).collect(),
        limit: 10,
        ..EventFilter::default()
    };
    assert_eq!(seqs(of(&["corp", "other"])).await, [3, 5]);
    let until = f.clock.now().plus(Duration::from_secs(1));
    assert_eq!(
        seqs(EventFilter {
            until: Some(until),
            since: Some(until),
            limit: 10,
            ..EventFilter::default()
        })
        .await,
        [0; 0]
    );
    assert_eq!(
        seqs(EventFilter { until: Some(until), limit: 2, ..EventFilter::default() }).await,
        [4, 5]
    );
}

async fn a_removed_hook_is_kept_for_its_max_age_and_deleted_with_its_deliveries(f: Fresh) {
    let hour = Duration::from_hours(1);
    let configured = |hooks: &[(&str, Duration)]| {
        hooks.iter().map(|(name, age)| ((*name).to_owned(), *age)).collect()
    };
    let removed = async || {
        let all = f.store.removed_hooks().await.unwrap();
        all.into_iter().map(|hook| (hook.name, hook.kept_until)).collect::<Vec<_>>()
    };
    f.store.subscribe(vec![wants("vpn", &["*"]), wants("siem", &["*"])]);
    f.store.note_hooks(&configured(&[("vpn", hour), ("siem", hour)]), f.clock.now()).await.unwrap();
    f.happens(&[(0, "anna"), (0, "bert"), (1, "anna")]).await;
    f.attempt("vpn", 2, AttemptResult::Delivered, None).await;
    f.attempt("vpn", 3, AttemptResult::DeadLetter, Some("it answered 404 Not Found")).await;
    assert_eq!(removed().await, []);

    let at = f.clock.now();
    f.store.note_hooks(&configured(&[("siem", hour)]), at).await.unwrap();
    f.store.note_hooks(&configured(&[("siem", hour)]), at.plus(hour)).await.unwrap();
    assert_eq!(
        removed().await,
        [("vpn".to_owned(), at.plus(hour))],
        "the time of the removal stays"
    );
    f.store.note_hooks(&configured(&[("siem", hour), ("vpn", 2 * hour)]), at).await.unwrap();
    assert_eq!(removed().await, []);
    f.store.note_hooks(&configured(&[("siem", hour)]), at.plus(hour)).await.unwrap();
    assert_eq!(removed().await, [("vpn".to_owned(), at.plus(3 * hour))]);

    f.store.forget_hook("vpn").await.unwrap();
    assert_eq!(
        (f.states("vpn").await.len(), removed().await.len()),
        (3, 1),
        "it is subscribed again, so its deliveries stay"
    );
    f.store.subscribe(vec![wants("siem", &["*"])]);
    f.store.forget_hook("vpn").await.unwrap();
    assert_eq!((f.states("vpn").await.len(), removed().await.len()), (0, 0));
    assert_eq!(f.store.delivery_status("vpn").await.unwrap(), DeliveryStatus::default());
    assert_eq!(f.states("siem").await.len(), 4, "deliveries of other hooks stay");
}
