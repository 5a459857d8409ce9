//! Sign-in: the decision, and the binds that AD sees.

use std::time::Duration;

use adsim::{Fault, NewPerson, What, When};
use rosterd::engine::{Decision, Denied, SignIn};
use rosterd::model::{Status, Trigger};

use crate::firm::{Firm, alice};

/// Returns a company with ann, who has the default password and no groups.
async fn with_ann() -> Firm {
    let firm = Firm::of(0, |c| c.settings.groups.clear()).await;
    firm.reconfigure(|c| c.tiers.grouped = false);
    firm.sim.edit(|ad| {
        ad.add_person(NewPerson::new("ann").mail("ann@example.com"));
    });
    firm.sync().await;
    firm.sim.clear_log();
    firm
}

fn denied(decision: &Decision) -> Option<Denied> {
    match decision {
        Decision::Deny(denied) => Some(*denied),
        _ => None,
    }
}

impl Firm {
    async fn ann(&self, password: &str) -> Decision {
        self.sign_in("ann@example.com", Some(password)).await
    }

    /// Returns the number of binds in ann's name.
    fn anns_binds(&self) -> usize {
        self.sim
            .log()
            .binds()
            .iter()
            .filter(|(name, _)| name.to_lowercase().contains("ann"))
            .count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_user_signs_in_with_the_directory_password_only() {
    let firm = with_ann().await;
    let right = firm.sim.default_password();
    assert!(firm.user("ann@example.com").await.joined_at.is_none());
    let decision = firm.ann(&right).await;
    assert!(
        matches!(&decision, Decision::Allow { user, account } if account.handle.as_str() == "acme" && user.joined_at.is_some()),
        "{decision:?}"
    );
    assert_eq!(firm.anns_binds(), 1);
    assert_eq!(denied(&firm.ann("wrong").await), Some(Denied::Credentials));
    let external = firm.sign_in("ann@example.com", None).await;
    assert_eq!(
        denied(&external),
        Some(Denied::Credentials),
        "a managed user never takes the external path"
    );
    for (who, password) in [("new@example.com", Some("x")), ("new@example.com", None)] {
        assert_eq!(
            denied(&firm.sign_in(who, password).await),
            Some(Denied::Credentials),
            "an unknown address of a domain with a directory"
        );
    }
    let before = firm.anns_binds();
    let silent = SignIn { address: "ann@example.com".into(), password: None, is_external: false };
    for empty in [
        silent,
        SignIn {
            address: "ann@example.com".into(),
            password: Some(String::new().into()),
            is_external: false,
        },
    ] {
        let decision = firm.engine.sign_in(empty, &alice()).await.unwrap();
        assert_eq!(denied(&decision), Some(Denied::Credentials));
    }
    assert_eq!(
        firm.anns_binds(),
        before,
        "an empty password is not sent, because AD would accept it as anonymous"
    );
    assert_eq!(firm.events("user.registered").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_or_expired_user_is_denied_without_asking_ad() {
    let firm = with_ann().await;
    let right = firm.sim.default_password();
    firm.engine.suspend("ann@example.com", "", &alice()).await.unwrap();
    assert_eq!(denied(&firm.ann(&right).await), Some(Denied::Credentials));
    firm.engine.activate("ann@example.com", &alice()).await.unwrap();
    let tomorrow = firm.sim.now() + Duration::from_hours(24);
    firm.sim.edit(|ad| ad.set_expiry("ann", tomorrow));
    firm.sync().await;
    firm.sim.clear_log();
    firm.clock.advance(Duration::from_hours(25));
    assert_eq!(
        denied(&firm.ann(&right).await),
        Some(Denied::Credentials),
        "the stored expiry has passed, although no run has seen it"
    );
    assert_eq!(firm.anns_binds(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_lock_no_ad_account_not_even_across_a_restart() {
    let firm = with_ann().await;
    let right = firm.sim.default_password();
    let many = (0..20).map(|_| firm.ann("wrong"));
    let all = futures_util::future::join_all(many).await;
    assert!(
        all.iter().all(|d| denied(d) == Some(Denied::Credentials)),
        "concurrent attempts share the limit: {all:?}"
    );
    let binds = firm.anns_binds();
    assert_eq!(binds, 3, "AD counts no more binds");
    assert_eq!(denied(&firm.ann(&right).await), Some(Denied::Credentials));
    let again = firm.restarted();
    let who = || SignIn {
        address: "ann@example.com".into(),
        password: Some(right.clone().into()),
        is_external: false,
    };
    assert_eq!(denied(&again.sign_in(who(), &alice()).await.unwrap()), Some(Denied::Credentials));
    firm.later(Duration::from_mins(16));
    assert!(matches!(again.sign_in(who(), &alice()).await.unwrap(), Decision::Allow { .. }));
    assert_eq!(
        denied(
            &again
                .sign_in(SignIn { password: Some("wrong".into()), ..who() }, &alice())
                .await
                .unwrap()
        ),
        Some(Denied::Credentials)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_directory_allows_no_sign_in_and_counts_no_attempt() {
    let firm = with_ann().await;
    let right = firm.sim.default_password();
    firm.sim.crash().await.unwrap();
    for _ in 0..5 {
        assert!(matches!(firm.ann(&right).await, Decision::Unavailable));
    }
    firm.sim.restart().await.unwrap();
    assert!(matches!(firm.ann(&right).await, Decision::Allow { .. }));
    for what in [What::Cut, What::Result(51, "busy".into()), What::Result(8, "sign".into())] {
        firm.sim.faults().push(Fault::new(When::Bind, what));
        assert!(matches!(firm.ann(&right).await, Decision::Unavailable));
    }
    firm.reconfigure(|c| c.settings.servers.clear());
    assert!(matches!(firm.ann(&right).await, Decision::Unavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_account_is_denied_and_a_leaver_is_read_at_once() {
    for code in ["530", "531", "532", "773", "775"] {
        let firm = with_ann().await;
        firm.sim.faults().push(Fault::new(When::Bind, What::BindRefused(code)));
        assert_eq!(
            denied(&firm.ann("right").await),
            Some(Denied::Credentials),
            "the caller does not learn about {code}"
        );
        assert_eq!(
            firm.user("ann@example.com").await.status(),
            Status::Active,
            "{code} is no reason to suspend"
        );
    }
    let firm = with_ann().await;
    let right = firm.sim.default_password();
    firm.sim.edit(|ad| ad.disable("ann"));
    assert_eq!(denied(&firm.ann(&right).await), Some(Denied::Credentials));
    let run = loop {
        let runs = firm.engine.store.runs(Some("corp"), 1).await.unwrap();
        match runs.into_iter().next() {
            Some(run) if run.trigger == Trigger::SignIn && run.finished_at.is_some() => break run,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!((run.mode.as_str(), run.counts.suspend), ("scoped", 1), "{run:?}");
    assert_eq!(denied(&firm.ann(&right).await), Some(Denied::Credentials));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_person_signs_in_and_the_heir_of_the_name_does_not() {
    let firm = with_ann().await;
    let right = firm.sim.default_password();
    let ann = firm.user("ann@example.com").await;
    firm.sim.edit(|ad| ad.rename("ann", "Ann Married"));
    let decision = firm.ann(&right).await;
    assert!(matches!(&decision, Decision::Allow { user, .. } if user.id == ann.id), "{decision:?}");
    // A newcomer has her old name. The password is the newcomer's, the account is not.
    firm.sim.edit(|ad| {
        ad.set_password("ann", "hers");
        ad.add_person(NewPerson::new("ann2").cn("ann").mail("ann2@example.com").password("his"));
    });
    assert_eq!(denied(&firm.ann("his").await), Some(Denied::Credentials));
    assert!(matches!(firm.ann("hers").await, Decision::Allow { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_address_is_denied_and_nothing_of_it_reaches_ad() {
    let firm = with_ann().await;
    let long = format!("{}@example.com", "a".repeat(900_000));
    let abuses = [
        "",
        "*",
        "*)(mail=*",
        "ann@example.com)(cn=*",
        "ann\0@example.com",
        "аnn@example.com",
        "ann@exаmple.com",
        &long,
    ];
    for address in abuses {
        let decision = firm.sign_in(address, Some("x")).await;
        assert!(
            matches!(decision, Decision::Deny(Denied::Credentials) | Decision::Redirect),
            "{address:.40}: {decision:?}"
        );
    }
    assert!(firm.sim.log().binds().is_empty(), "{:?}", firm.sim.log().binds());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_during_a_full_read() {
    let firm = Firm::running(60, |_| {}).await;
    let right = firm.sim.default_password();
    let who = firm.users().await[0].addresses.primary.clone().unwrap().to_string();
    let slow = Fault::new(
        When::search().containing("objectCategory=person"),
        What::Delay(Duration::from_secs(2)),
    );
    firm.sim.faults().push(slow);
    let mut progress = firm.engine.directory("corp").unwrap().progress();
    let signed_in = async {
        progress.wait_for(|p| p.phase == rosterd::engine::Phase::Reading).await.unwrap();
        firm.sign_in(&who, Some(&right)).await
    };
    tokio::select! {
        decision = signed_in => assert!(matches!(decision, Decision::Allow { .. }), "{decision:?}"),
        run = firm.sync() => panic!("the run ended before the sign-in: {run:?}"),
    }
}
