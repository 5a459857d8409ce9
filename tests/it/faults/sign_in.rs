//! Sign-ins lock no account in AD and reveal nothing. One client cannot exhaust them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adsim::{Fault, NewPerson, What, When};
use futures_util::future::join_all;
use rosterd::engine::{Decision, Denied, FLOOR, SignIn};
use rosterd::model::{ServerUrl, Status};
use rosterd::store::{AttemptLimit, SignInAttempt};
use serde_json::Value;

use crate::firm::{Firm, alice};

const ANN: &str = "ann@example.com";

/// Returns a company with ann and ben, which allows this many refused attempts.
async fn firm(max_failures: u32) -> Firm {
    let firm = Firm::of(0, |c| {
        c.settings.groups.clear();
        c.settings.timeouts.operation = Duration::from_millis(700);
    })
    .await;
    firm.reconfigure(|c| c.tiers.grouped = false);
    firm.sim.edit(|ad| {
        ad.add_person(NewPerson::new("ann").mail(ANN));
        ad.add_person(NewPerson::new("ben").mail("ben@example.com"));
    });
    let was = firm.engine.configured();
    let mut rules = was.rules.clone();
    rules.max_failures = max_failures;
    firm.engine.reconfigure(was.directories.values().map(|d| d.config.clone()).collect(), rules);
    assert_eq!(firm.sync().await.error, None);
    firm.sim.clear_log();
    firm
}

impl Firm {
    async fn try_ann(&self, password: &str) -> Decision {
        self.sign_in(ANN, Some(password)).await
    }

    /// Returns the binds of all accounts since the log was cleared.
    fn all_binds(&self) -> Vec<String> {
        self.sim.log().binds().iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    /// Returns the binds of people since the log was cleared. Name look-ups have a connection of
    /// their own.
    fn binds_of_people(&self) -> Vec<String> {
        let service = self.sim.service_upn();
        self.all_binds().into_iter().filter(|bound| *bound != service).collect()
    }

    /// Returns the reports of refused sign-ins, oldest first.
    async fn refusals(&self) -> Vec<Value> {
        self.engine.report_refused_sign_ins(true).await.expect("a report");
        self.events("sign_in.refused")
            .await
            .into_iter()
            .map(|mut event| event["data"]["after"].take())
            .collect()
    }
}

fn request(address: &str, password: &str) -> SignIn {
    SignIn {
        address: address.to_owned(),
        password: Some(password.to_owned().into()),
        is_external: false,
    }
}

fn is_denied(decision: &Decision) -> bool {
    matches!(decision, Decision::Deny(Denied::Credentials))
}

fn is_allowed(decision: &Decision) -> bool {
    matches!(decision, Decision::Allow { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_answer_is_lost_counts_as_a_wrong_password() {
    for lost in [
        What::Cut,
        What::CutInsideFrame,
        What::Stall,
        What::NoticeOfDisconnection,
        What::RawInstead(vec![0x30, 0x03, 1, 2, 3]),
    ] {
        let firm = firm(2).await;
        let right = firm.sim.default_password();
        for _ in 0..2 {
            firm.sim.faults().push(Fault::new(When::Bind, lost.clone()));
            assert!(matches!(firm.try_ann("wrong").await, Decision::Unavailable), "{lost:?}");
        }
        firm.sim.clear_log();
        assert!(is_denied(&firm.try_ann(&right).await), "{lost:?}: AD may have counted both");
        assert!(
            is_denied(&firm.restarted().sign_in(request(ANN, &right), &alice()).await.unwrap()),
            "{lost:?}: after a restart"
        );
        assert_eq!(firm.binds_of_people(), Vec::<String>::new(), "{lost:?}");
        firm.later(Duration::from_mins(16));
        assert!(is_allowed(&firm.try_ann(&right).await), "{lost:?}: AD's window is over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_got_no_password_or_looked_at_none_counts_nothing() {
    let firm = firm(1).await;
    let right = firm.sim.default_password();
    firm.sim.crash().await.unwrap();
    assert!(matches!(firm.try_ann("wrong").await, Decision::Unavailable));
    firm.sim.restart().await.unwrap();
    // The look-up of names binds, too. The faults below are for ann's bind.
    assert!(is_allowed(&firm.try_ann(&right).await));
    for code in [8, 51, 52] {
        firm.sim.faults().push(Fault::new(When::Bind, What::Result(code, "not now".into())));
        assert!(matches!(firm.try_ann("wrong").await, Decision::Unavailable), "{code}");
    }
    assert!(is_allowed(&firm.try_ann(&right).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_in_progress_when_the_process_ends_counts() {
    let firm = firm(1).await;
    let right = firm.sim.default_password();
    firm.sim.faults().push(Fault::new(When::Bind, What::Stall));
    let first = Arc::clone(&firm.engine);
    let under_way =
        tokio::spawn(async move { first.sign_in(request(ANN, "wrong"), &alice()).await });
    // The row is stored before the password is sent, so a restarted engine sees it.
    let next = firm.restarted();
    let mut answers = Vec::new();
    while !under_way.is_finished() {
        answers.push(next.sign_in(request(ANN, "wrong"), &alice()).await.unwrap());
    }
    under_way.abort();
    assert!(is_denied(&next.sign_in(request(ANN, &right), &alice()).await.unwrap()));
    assert!(
        firm.binds_of_people().len() <= 1,
        "one attempt of both processes together: {:?}",
        firm.binds_of_people()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_answers_that_surely_did_not_count_are_taken_back() {
    for (code, is_counted) in [
        ("525", false),
        ("530", false),
        ("531", false),
        ("532", false),
        ("533", false),
        ("701", false),
        ("773", false),
        ("52e", true),
        ("775", true),
    ] {
        let firm = firm(1).await;
        let right = firm.sim.default_password();
        firm.sim.faults().push(Fault::new(When::Bind, What::BindRefused(code)));
        assert!(is_denied(&firm.try_ann("any").await), "{code}");
        assert_eq!(is_denied(&firm.try_ann(&right).await), is_counted, "{code}");
    }
    let servers_own = ["54f", "51f", "57"].map(What::BindRefused);
    for what in servers_own.into_iter().chain([1, 50, 53, 80].map(|c| What::result(c, "no"))) {
        let firm = firm(1).await;
        let right = firm.sim.default_password();
        firm.sim.faults().push(Fault::new(When::Bind, what.clone()));
        assert!(matches!(firm.try_ann("any").await, Decision::Unavailable), "{what:?}");
        assert!(is_denied(&firm.try_ann(&right).await), "{what:?}: AD may have counted it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_check_a_password_costs_one_further_bind() {
    let firm = firm(2).await;
    let right = firm.sim.default_password();
    let replicas = ["dc2", "dc3"].map(|name| firm.sim.replica(name).unwrap());
    firm.reconfigure(|c| {
        let urls = replicas.iter().map(|dc| ServerUrl::parse(&dc.ldaps_url()).unwrap());
        c.settings.servers.extend(urls);
    });
    // The look-up of names binds, too. The faults below are for ann's bind.
    assert!(is_allowed(&firm.try_ann(&right).await));
    firm.sim.faults().push(Fault::new(When::Bind, What::BindRefused("54f")).times(2));
    assert!(is_allowed(&firm.try_ann(&right).await), "the next server knows the password");
    replicas[0].faults().push(Fault::new(When::Bind, What::BindRefused("54f")));
    firm.later(Duration::from_mins(16));
    assert!(matches!(firm.try_ann(&right).await, Decision::Unavailable));
    let third = replicas[1].log().binds().len();
    assert_eq!(third, 0, "two servers may have counted the attempt already");
    assert!(is_denied(&firm.try_ann(&right).await), "both attempts count");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_costs_one_bind_also_after_a_rename() {
    let firm = firm(9).await;
    let right = firm.sim.default_password();
    assert!(is_denied(&firm.try_ann("wrong").await));
    assert_eq!(firm.all_binds().len(), 1, "{:?}", firm.all_binds());
    // Another case, another name, another OU; and once without the connection for look-ups.
    for (name, is_cut) in [("ANN", false), ("Ann Married", false), ("ann", true)] {
        firm.sim.edit(|ad| ad.rename("ann", name));
        if is_cut {
            firm.sim.crash().await.unwrap();
            assert!(matches!(firm.try_ann(&right).await, Decision::Unavailable));
            firm.sim.restart().await.unwrap();
        }
        firm.sim.clear_log();
        assert!(is_denied(&firm.try_ann("wrong").await), "{name}");
        let of_ann = firm.binds_of_people();
        assert_eq!(of_ann.len(), 1, "{name}: {of_ann:?}");
        assert!(of_ann[0].contains(&format!("CN={name},")), "{name}: {of_ann:?}");
        assert!(is_allowed(&firm.try_ann(&right).await), "{name}");
    }
    // Renamed between the look-up and the bind: the sign-in is refused.
    firm.sim.faults().push(Fault::new(When::Bind, What::edit(|ad| ad.rename("ann", "Ann Again"))));
    firm.sim.clear_log();
    assert!(is_denied(&firm.try_ann(&right).await));
    assert_eq!(firm.all_binds().len(), 1, "{:?}", firm.all_binds());
    assert!(is_allowed(&firm.try_ann(&right).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_of_two_processes_at_one_moment_share_the_limit() {
    let firm = firm(3).await;
    let other = firm.restarted();
    let both = [&firm.engine, &other];
    let actor = alice();
    let all = join_all((0..30).map(|n| both[n % 2].sign_in(request(ANN, "wrong"), &actor))).await;
    assert!(all.iter().all(|decision| decision.as_ref().is_ok_and(is_denied)), "{all:?}");
    assert_eq!(firm.binds_of_people().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_change_neither_adds_attempts_nor_prolongs_a_lockout() {
    for is_restarted in [false, true] {
        for set in [Firm::set_back_two_hours as fn(&Firm), Firm::set_forward_two_hours] {
            let firm = firm(1).await;
            let right = firm.sim.default_password();
            assert!(is_denied(&firm.try_ann("wrong").await));
            let engine = if is_restarted { firm.restarted() } else { Arc::clone(&firm.engine) };
            set(&firm);
            assert!(
                is_denied(&engine.sign_in(request(ANN, &right), &alice()).await.unwrap()),
                "no time has passed"
            );
            firm.clock.advance(Duration::from_mins(14));
            assert!(
                is_denied(&engine.sign_in(request(ANN, &right), &alice()).await.unwrap()),
                "not enough time has passed"
            );
            firm.clock.advance(Duration::from_mins(2));
            assert!(
                is_allowed(&engine.sign_in(request(ANN, &right), &alice()).await.unwrap()),
                "enough time has passed"
            );
        }
    }
}

impl Firm {
    fn set_back_two_hours(&self) {
        self.clock.set_back(Duration::from_hours(2));
    }

    fn set_forward_two_hours(&self) {
        self.clock.set_forward(Duration::from_hours(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_in_a_claimed_domain_has_one_reason_and_one_floor_of_time() {
    let firm = firm(2).await;
    let right = firm.sim.default_password();
    let soon = firm.sim.now() + Duration::from_hours(1);
    firm.sim.edit(|ad| {
        for name in ["gone", "late", "old", "limited", "locked"] {
            ad.add_person(NewPerson::new(name).mail(&format!("{name}@example.com")));
        }
        ad.set_expiry("late", soon);
    });
    assert_eq!(firm.sync().await.error, None);
    firm.engine.suspend("gone@example.com", "", &alice()).await.unwrap();
    firm.sim.edit(|ad| ad.set("old", "pwdLastSet", "0"));
    firm.clock.advance(Duration::from_hours(2));
    for _ in 0..2 {
        assert!(is_denied(&firm.sign_in("limited@example.com", Some("wrong")).await));
    }
    let nul = format!("{right}\0");
    let long = "a".repeat(1_000);
    let table = [
        ("unknown-user", "nobody@example.com", Some("wrong")),
        ("unknown-user", "nobody@example.com", None),
        ("wrong-password", ANN, Some("wrong")),
        ("no-password", ANN, Some("")),
        ("managed-by-directory", ANN, None),
        ("not-a-password", ANN, Some(&*nul)),
        ("not-a-password", ANN, Some(&*long)),
        ("suspended", "gone@example.com", Some(&*right)),
        ("account-expired", "late@example.com", Some(&*right)),
        ("password-expired", "old@example.com", Some(&*right)),
        ("rate-limited", "limited@example.com", Some(&*right)),
    ];
    firm.refusals().await;
    for (reason, address, password) in table {
        let begun = Instant::now();
        let decision = firm.sign_in(address, password).await;
        let took = begun.elapsed();
        assert_eq!(format!("{decision:?}"), "Deny(Credentials)", "{reason}");
        assert!(took >= FLOOR, "{reason}: answered after {took:?}");
        let reported = firm.refusals().await.pop().expect("an event");
        assert_eq!(reported["reasons"][reason], 1, "{reason}: {reported:#}");
    }
    // The floor also holds for concurrent attempts.
    let begun = Instant::now();
    let all = join_all((0..40).map(|n| {
        let address = if n % 2 == 0 { ANN.to_owned() } else { format!("nobody{n}@example.com") };
        let firm = &firm;
        async move {
            let decision = firm.sign_in(&address, Some("wrong")).await;
            (decision, begun.elapsed())
        }
    }))
    .await;
    for (decision, took) in all {
        assert!(is_denied(&decision) && took >= FLOOR, "{decision:?} after {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spray_makes_sign_ins_unavailable_and_never_refused_and_leaves_a_reserve() {
    let firm = firm(2).await;
    let right = firm.sim.default_password();
    for _ in 0..2 {
        assert!(is_denied(&firm.try_ann("wrong").await));
    }
    // Guesses for a user and for unknown addresses get the same answer.
    let sprayed = join_all((0..400).map(|n| {
        let address =
            if n % 2 == 0 { ANN.to_owned() } else { format!("nobody{}@example.com", n % 20) };
        let firm = &firm;
        async move { firm.sign_in(&address, Some("guess")).await }
    }))
    .await;
    let words: BTreeSet<&str> = sprayed.iter().map(Decision::as_str).collect();
    assert_eq!(
        words,
        BTreeSet::from(["deny", "unavailable"]),
        "the limit for all says nothing about a password"
    );
    let decision = firm.sign_in("ben@example.com", Some(&right)).await;
    assert!(is_allowed(&decision), "a user without a refusal signs in: {decision:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_address_cannot_use_up_the_attempts_of_the_others() {
    let firm = firm(2).await;
    let right = firm.sim.default_password();
    let [attacker, office]: [IpAddr; 2] =
        ["192.0.2.66".parse().unwrap(), "192.0.2.1".parse().unwrap()];
    let actor = alice();
    let guesses = (0..1_000).map(|n| {
        firm.engine.sign_in_from(
            request(&format!("nobody{n}@example.com"), "guess"),
            Some(attacker),
            &actor,
        )
    });
    let all = join_all(guesses).await;
    assert!(
        all.iter().filter(|decision| matches!(decision, Ok(Decision::Unavailable))).count() > 800
    );
    for address in [ANN, "ben@example.com"] {
        let decision =
            firm.engine.sign_in_from(request(address, &right), Some(office), &actor).await.unwrap();
        assert!(is_allowed(&decision), "{decision:?}");
    }
    let [reported] = &firm.refusals().await[..] else { panic!("one event") };
    assert_eq!(reported["client_addresses"][0]["address"], "192.0.2.66", "{reported:#}");
    assert_eq!(reported["refused"], reported["client_addresses"][0]["refused"], "{reported:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_sign_ins_make_one_event_of_many_with_counts_and_the_most_refused() {
    let firm = firm(3).await;
    let ann = firm.user(ANN).await;
    for n in 0..5 {
        firm.try_ann("wrong").await;
        firm.sign_in(&format!("nobody{n}@example.com"), Some("wrong")).await;
    }
    firm.engine.report_refused_sign_ins(false).await.unwrap();
    assert!(firm.events("sign_in.refused").await.is_empty(), "the window has not ended");
    firm.clock.advance(rosterd::engine::REPORTED_EVERY);
    firm.engine.report_refused_sign_ins(false).await.unwrap();
    let events = firm.events("sign_in.refused").await;
    let [event] = &events[..] else { panic!("{events:#?}") };
    let after = &event["data"]["after"];
    assert_eq!(
        after["reasons"],
        serde_json::json!({ "wrong-password": 3, "rate-limited": 2, "unknown-user": 5 }),
        "{event:#}"
    );
    assert_eq!(after["users"], serde_json::json!([{ "user": ann.id.to_string(), "refused": 5 }]));
    assert_eq!((&event["data"]["account"], &after["refused"]), (&"acme".into(), &10.into()));
    assert!(!event.to_string().contains("example.com"), "no addresses of people: {event:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_a_server_would_truncate_is_not_sent() {
    let firm = firm(3).await;
    let right = firm.sim.default_password();
    for password in
        [format!("{right}\0"), format!("{right}\0and more"), "\0".to_owned(), right.repeat(200)]
    {
        assert!(is_denied(&firm.try_ann(&password).await), "{password:?}");
    }
    assert_eq!(firm.all_binds(), Vec::<String>::new());
    firm.sim.faults().push(Fault::new(When::Bind, What::Anonymous));
    let decision = firm.try_ann(&right).await;
    assert!(matches!(decision, Decision::Unavailable), "{decision:?}");
    assert_eq!(firm.user(ANN).await.status(), Status::Active);
    assert!(is_allowed(&firm.try_ann(&right).await));
}

impl Firm {
    async fn begin(&self, at_most: u32) -> Option<SignInAttempt> {
        let limit = AttemptLimit { at_most, window: Duration::from_mins(15), clock_step: 0 };
        let user = self.user(ANN).await.id;
        self.engine
            .store
            .begin_sign_in(self.clock.new_id(), user, self.clock.now(), limit)
            .await
            .expect("an answer")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_takes_back_only_what_the_same_server_had_refused_before() {
    let firm = firm(9).await;
    let store = &firm.engine.store;
    let [refused_here, refused_elsewhere, _lost] =
        [firm.begin(9).await.unwrap(), firm.begin(9).await.unwrap(), firm.begin(9).await.unwrap()];
    store.refuse_sign_in(&refused_here, "ldaps://dc1").await.unwrap();
    store.refuse_sign_in(&refused_elsewhere, "ldaps://dc2").await.unwrap();
    let (slow, accepted) = (firm.begin(9).await.unwrap(), firm.begin(9).await.unwrap());
    // The server may have been selected after the success.
    store.refuse_sign_in(&slow, "ldaps://dc1").await.unwrap();
    store.accept_sign_in(&accepted, "ldaps://dc1").await.unwrap();
    assert!(firm.begin(3).await.is_none(), "elsewhere, lost and slow go on counting");
    assert!(firm.begin(4).await.is_some());
}
