//! Delivery to programs: order, failures, dead letters, reloads and samples.

use std::time::Duration;

use rosterd::engine::{AttemptOutcome, ReloadOutcome};
use rosterd::hooks::Hook;
use rosterd::model::{Actor, Timestamp};
use rosterd::store::{DeliveryFilter, DeliveryState};

use super::{Desk, by_program, until};

fn alice() -> Actor {
    Actor("alice".to_owned())
}

/// Appends the subject to `told`; fails while a file with the name of the subject exists.
const FAILS_FIRST: &str = r#"subject=$(sed 's/.*"subject":"\([^"]*\)".*/\1/')
cd "$(dirname "$0")"
if [ -e "fail.$subject" ]; then echo "not now, $subject"; exit 3; fi
echo "$subject $ROSTERD_EVENT_SEQ $ROSTERD_ATTEMPT" >> told"#;

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_person_stay_in_order_and_a_failure_delays_that_person_alone() {
    let desk = Desk::open().await;
    let fails = desk.folder.path().join("fail.anna");
    std::fs::write(&fails, "").unwrap();
    desk.hook_up(vec![by_program("vpn", desk.script("vpn", FAILS_FIRST))]);
    for _ in 0..5 {
        desk.happens("user.suspended", &["anna", "bert", "carl"]).await;
    }
    until("all others are told", async || (desk.written("told").len() == 10).then_some(())).await;
    until("she was tried twice", async || {
        (desk.deliveries("vpn").await[0].attempts > 1).then_some(())
    })
    .await;
    std::fs::remove_file(&fails).unwrap();
    desk.idle("vpn").await;
    let told = desk.written("told");
    assert_eq!(told.len(), 15, "{told:#?}");
    for (subject, seqs) in
        [("anna", [1, 4, 7, 10, 13]), ("bert", [2, 5, 8, 11, 14]), ("carl", [3, 6, 9, 12, 15])]
    {
        let its: Vec<u64> = told
            .iter()
            .filter(|l| l.starts_with(subject))
            .map(|l| l.split(' ').nth(1).unwrap().parse().unwrap())
            .collect();
        assert_eq!(its, seqs, "{subject}");
    }
    let attempts: Vec<u32> =
        told[10..].iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(
        attempts[0] > 2 && attempts[1..] == [1; 4],
        "only the first of hers was tried again: {told:?}"
    );
    assert_eq!(desk.status("vpn").await.state.as_str(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_a_failed_hook_is_shown_and_an_old_delivery_becomes_a_dead_letter() {
    let desk = Desk::open().await;
    let refuses = desk.script("refuses", "echo 'no such key' >&2; echo secondly >&2; exit 1");
    let vpn = Hook {
        events: vec!["user.*".into()],
        max_age: Duration::from_millis(1),
        ..by_program("vpn", refuses)
    };
    let told = Hook {
        events: vec!["hook.dead_lettered".into()],
        ..by_program("mail", desk.script("mail", "cat >> \"$0.told\"; echo >> \"$0.told\""))
    };
    desk.hook_up(vec![vpn.clone(), told]);
    desk.happens("user.suspended", &["anna"]).await;
    let dead = until("it is given up", async || {
        desk.deliveries("vpn").await.pop().filter(|d| d.state == DeliveryState::Failed)
    })
    .await;
    assert_eq!(
        (dead.error.as_deref(), dead.output.as_deref()),
        (Some("it ended with exit status 1"), Some("no such key\nsecondly"))
    );
    until("that is told", async || (!desk.written("mail.told").is_empty()).then_some(())).await;
    let event: serde_json::Value = serde_json::from_str(&desk.written("mail.told")[0]).unwrap();
    assert_eq!(
        (event["type"].as_str(), event["subject"].as_str()),
        (Some("hook.dead_lettered"), Some("vpn"))
    );
    assert_eq!(event["data"]["after"]["events"], serde_json::json!([dead.seq]));
    assert_eq!(desk.status("vpn").await.deliveries.failed, 1);

    // After the repair, an operator redelivers one event or all of them.
    desk.script("refuses", "exit 0");
    let one = DeliveryFilter { seq: Some(dead.seq), ..DeliveryFilter::default() };
    assert_eq!(desk.engine.redeliver("vpn", &one, &alice()).await.unwrap(), 1);
    desk.idle("vpn").await;
    assert_eq!(
        (
            desk.status("vpn").await.deliveries.failed,
            desk.deliveries("vpn").await[0].state.as_str()
        ),
        (0, "delivered")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_to_a_missing_program_become_dead_letters_at_their_maximum_age() {
    let desk = Desk::open().await;
    let missing = desk.folder.path().join("missing");
    desk.hook_up(vec![Hook {
        max_age: Duration::from_hours(1),
        ..by_program("vpn", missing.clone())
    }]);
    desk.happens("user.suspended", &["anna", "bert", "carl"]).await;
    let error = until("it was tried", async || desk.status("vpn").await.deliveries.error).await;
    assert!(error.contains("missing cannot be run: No such file"), "{error}");
    assert_eq!(desk.status("vpn").await.state.as_str(), "failing");
    desk.clock.advance(Duration::from_hours(2));
    until("they are given up", async || {
        (desk.status("vpn").await.deliveries.failed == 3).then_some(())
    })
    .await;
    let told = desk.events("hook.dead_lettered").await;
    let count: u64 = told.iter().map(|e| e["data"]["after"]["count"].as_u64().unwrap()).sum();
    assert_eq!(count, 3, "{told:#?}");
    // The backoff may take some seconds.
    desk.script("missing", "exit 0");
    assert_eq!(
        desk.engine
            .redeliver(
                "vpn",
                &DeliveryFilter { state: Some(DeliveryState::Failed), ..DeliveryFilter::default() },
                &alice()
            )
            .await
            .unwrap(),
        3
    );
    desk.idle("vpn").await;
    assert_eq!(desk.status("vpn").await.state.as_str(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_or_floods_delays_no_other_hook() {
    let desk = Desk::open().await;
    let hangs = Hook {
        timeout: Duration::from_mins(10),
        ..by_program("hangs", desk.script("hangs", "sleep 600"))
    };
    let floods = by_program("floods", desk.script("floods", "head -c 50000000 /dev/zero"));
    let quick = by_program("quick", desk.script("quick", "exit 0"));
    desk.hook_up(vec![hangs, floods, quick]);
    let subjects: Vec<String> = (0..50).map(|n| format!("person-{n}")).collect();
    desk.happens("user.suspended", &subjects.iter().map(String::as_str).collect::<Vec<_>>()).await;
    desk.idle("quick").await;
    assert_eq!(desk.status("hangs").await.deliveries.pending, 50);
    assert_eq!(desk.status("quick").await.deliveries.delivered, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_added_changed_and_removed_while_the_engine_runs() {
    let desk = Desk::open().await;
    let first =
        by_program("first", desk.script("first", "echo \"$ROSTERD_EVENT_SEQ\" >> \"$0.told\""));
    let second =
        by_program("second", desk.script("second", "echo \"$ROSTERD_EVENT_SEQ\" >> \"$0.told\""));
    assert_eq!(desk.hook_up(vec![first.clone()]), [("first".to_owned(), ReloadOutcome::Added)]);
    desk.happens("user.suspended", &["anna"]).await;
    desk.idle("first").await;
    let narrow = Hook { events: vec!["run.*".into()], ..first.clone() };
    let outcomes = desk.hook_up(vec![narrow, second.clone()]);
    assert_eq!(
        outcomes,
        [("first".to_owned(), ReloadOutcome::Changed), ("second".to_owned(), ReloadOutcome::Added)]
    );
    desk.happens("user.suspended", &["bert"]).await;
    desk.idle("second").await;
    assert_eq!(
        desk.hook_up(vec![second]),
        [
            ("first".to_owned(), ReloadOutcome::Removed),
            ("second".to_owned(), ReloadOutcome::Unchanged)
        ]
    );
    assert_eq!(
        (desk.written("first.told"), desk.written("second.told")),
        (vec!["1".to_owned()], vec!["2".to_owned()])
    );
    // A hook that is added later gets earlier events by a replay.
    desk.hook_up(vec![first]);
    assert_eq!(desk.engine.replay("first", Timestamp::default(), &alice()).await.unwrap(), 2);
    desk.idle("first").await;
    let mut told = desk.written("first.told");
    told.sort();
    assert_eq!(told, ["1", "1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_marked_and_overtakes_the_backlog() {
    let desk = Desk::open().await;
    let path =
        desk.script("vpn", "echo \"test=$ROSTERD_TEST\"; cat; [ \"$ROSTERD_TEST\" = 1 ] || exit 1");
    desk.hook_up(vec![Hook { events: vec!["user.*".into()], ..by_program("vpn", path) }]);
    desk.happens("user.suspended", &["anna"]).await;
    let sampled = desk.engine.test_hook("vpn", &alice()).await.unwrap();
    assert_eq!(sampled.attempt.ended, AttemptOutcome::Delivered);
    let (first, document) = sampled.attempt.output.split_once('\n').unwrap();
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    assert_eq!(first, "test=1");
    assert_eq!(
        (document["type"].as_str(), &document["sample"], &document["data"]["sample"]),
        (Some("user.suspended"), &true.into(), &true.into())
    );
    assert_eq!(desk.events("*").await.len(), 1, "it did not happen");
    assert!(desk.engine.test_hook("nothing", &alice()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_running_attempts_and_kills_those_that_do_not_end() {
    let desk = Desk::open().await;
    desk.engine.reconfigure_hooks(vec![
        by_program(
            "short",
            desk.script("short", "touch \"$0.begun\"; sleep 1; echo done >> \"$0.told\""),
        ),
        Hook {
            timeout: Duration::from_mins(10),
            ..by_program("long", desk.script("long", "echo $$ >> \"$0.pid\"; sleep 600"))
        },
    ]);
    let hooks = desk.engine.hooks();
    let keep = |name: &str| {
        tokio::spawn(
            std::sync::Arc::clone(&desk.engine).run_deliveries(std::sync::Arc::clone(&hooks[name])),
        )
    };
    let (short, long) = (keep("short"), keep("long"));
    desk.happens("user.suspended", &["anna"]).await;
    let pid = until("one runs", async || desk.written("long.pid").pop()).await;
    let begun = desk.folder.path().join("short.begun");
    until("so does the other", async || begun.exists().then_some(())).await;
    desk.engine.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), async {
        (short.await.unwrap(), long.await.unwrap())
    })
    .await
    .expect("an end");
    assert_eq!(desk.written("short.told"), ["done"]);
    until("the other is ended", async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    })
    .await;
}
