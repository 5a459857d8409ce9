//! Sign-in with the passwords of a real Active Directory.

use std::time::Duration;

use rosterd::directory::{Credentials, Password, Servers, authenticate};
use rosterd::engine::{Decision, Denied, SignIn};
use rosterd::model::{Status, Trigger};
use secrecy::SecretString;

use super::branch::Branch;
use super::{DOMAIN, file_time, staff};
use crate::firm::alice;

const ALAN: &str = "alan.turing@example.com";

impl Branch {
    async fn sign_in(&self, address: &str, password: &str) -> Decision {
        let password = Some(SecretString::from(password.to_owned()));
        self.engine
            .sign_in(SignIn { address: address.to_owned(), password, is_external: false }, &alice())
            .await
            .expect("a decision")
    }

    /// Returns the number of wrong passwords that AD has counted for an account.
    fn bad_passwords(&self, account: &str) -> String {
        let found =
            self.lab.samba("search", &[&format!("(sAMAccountName={account})"), "badPwdCount"]);
        found.lines().find_map(|line| line.strip_prefix("badPwdCount: ")).unwrap_or("0").to_owned()
    }
}

fn denied(decision: &Decision) -> Option<Denied> {
    match decision {
        Decision::Deny(why) => Some(*why),
        _ => None,
    }
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn ad_decides_right_wrong_disabled_expired_must_change_and_locked() {
    let branch = Branch::running(|_| {}).await;
    let right = branch.lab.fact("LAB_PERSON_PASSWORD").to_owned();
    let decision = branch.sign_in(ALAN, &right).await;
    assert!(
        matches!(&decision, Decision::Allow { user, .. } if user.joined_at.is_some()),
        "{decision:?}"
    );
    assert!(
        matches!(branch.sign_in("ADA@example.com", &right).await, Decision::Allow { .. }),
        "by a secondary address"
    );
    assert!(
        matches!(branch.sign_in("countess@example.org", &right).await, Decision::Redirect),
        "an address of an unclaimed domain"
    );
    assert_eq!(denied(&branch.sign_in(ALAN, "wrong").await), Some(Denied::Credentials));
    assert_eq!(branch.bad_passwords("alan.turing"), "1", "one attempt here is one bind in AD");
    assert_eq!(denied(&branch.sign_in(ALAN, "").await), Some(Denied::Credentials));
    assert_eq!(branch.bad_passwords("alan.turing"), "1", "an empty password is not sent");
    assert!(matches!(branch.sign_in(ALAN, &right).await, Decision::Allow { .. }));

    let dn = staff("Engineering", "Alan Turing");
    // AD reports "must change the password" only for the right password.
    branch.lab.set(&dn, &[("pwdLastSet", "0")]);
    assert_eq!(denied(&branch.sign_in(ALAN, &right).await), Some(Denied::Credentials), "773");
    assert_eq!(
        branch.user(ALAN).await.status(),
        Status::Active,
        "a password state suspends no user"
    );
    branch.lab.set(&dn, &[("pwdLastSet", "-1")]);
    assert!(matches!(branch.sign_in(ALAN, &right).await, Decision::Allow { .. }));

    branch.lab.set(&dn, &[("accountExpires", &file_time(1_600_000_000))]);
    assert_eq!(denied(&branch.sign_in(ALAN, &right).await), Some(Denied::Credentials), "701");
    // AD reports a leaver that no run has seen, so a run reads him at once.
    let mut looked = false;
    for _ in 0..200 {
        let runs = branch.engine.store.runs(Some("corp"), 5).await.expect("runs");
        looked = runs.iter().any(|run| run.trigger == Trigger::SignIn && run.counts.suspend == 1);
        if looked {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(looked, "no run suspended him");
    assert_eq!(denied(&branch.sign_in(ALAN, &right).await), Some(Denied::Credentials));

    let hana = staff("Sales", "Hana Suzuki");
    branch.lab.disable(&hana);
    assert_eq!(
        denied(&branch.sign_in("hana.suzuki@example.com", &right).await),
        Some(Denied::Credentials),
        "533"
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn guessed_passwords_lock_no_account_in_ad() {
    let branch = Branch::running(|_| {}).await;
    branch.lab.set(DOMAIN, &[("lockoutThreshold", "5")]);
    let right = branch.lab.fact("LAB_PERSON_PASSWORD").to_owned();
    let tries = (0..12).map(|n| {
        let password = format!("guess {n}");
        let branch = &branch;
        async move { branch.sign_in(ALAN, &password).await }
    });
    let all = futures_util::future::join_all(tries).await;
    assert!(all.iter().all(|d| denied(d) == Some(Denied::Credentials)), "{all:?}");
    assert_eq!(branch.bad_passwords("alan.turing"), "3");
    let dn = staff("Engineering", "Alan Turing");
    branch.lab.samba("check-password", &[&dn, &right]);

    // A locked-out person is denied and stays active.
    let settings = branch.engine.directory("corp").expect("corp").config.settings.clone();
    let hana = branch.user("hana.suzuki@example.com").await.link.expect("a link");
    let tried = async |password: &str| {
        let password = Password::new(SecretString::from(password.to_owned())).expect("a password");
        let (servers, now) = (Servers::default(), || Duration::ZERO);
        authenticate(&servers, &settings, None, hana.dn.as_str(), hana.guid, &password, &now)
            .await
            .answer
            .expect("an answer")
    };
    for _ in 0..5 {
        tried("wrong").await;
    }
    let Credentials::Refused(refusal) = tried(&right).await else {
        panic!("she is not locked out")
    };
    assert_eq!(refusal.sign_in_reason(), "the account is locked out (775)");
    assert_eq!(
        denied(&branch.sign_in("hana.suzuki@example.com", &right).await),
        Some(Denied::Credentials)
    );
    assert_eq!(
        branch.user("hana.suzuki@example.com").await.status(),
        Status::Active,
        "a password state suspends no user"
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_person_moved_since_the_last_run_signs_in_and_without_ad_none_does() {
    let branch = Branch::running(|_| {}).await;
    let right = branch.lab.fact("LAB_PERSON_PASSWORD").to_owned();
    branch
        .lab
        .move_to(&staff("Engineering", "Alan Turing"), &format!("OU=Sales,OU=Staff,{DOMAIN}"));
    let decision = branch.sign_in(ALAN, &right).await;
    assert!(matches!(decision, Decision::Allow { .. }), "{decision:?}");
    branch.lab.samba("crash", &[]);
    assert!(matches!(branch.sign_in(ALAN, &right).await, Decision::Unavailable));
    branch.lab.samba("restart", &[]);
    assert!(matches!(branch.sign_in(ALAN, &right).await, Decision::Allow { .. }));
}
