//! Connecting and binding: refusals of a server, and the service account is never locked out.

use std::time::Duration;

use adsim::{Certificate, Fault, What, When};
use rosterd::engine::{CheckOutcome, CheckReport};
use rosterd::model::{RunState, ServerUrl};

use crate::firm::{Firm, alice};

/// Returns the first failed step, with its finding and remedy.
fn failed(check: &CheckReport) -> (&'static str, String) {
    let step = check
        .steps
        .iter()
        .find(|step| step.outcome == CheckOutcome::Failed)
        .unwrap_or_else(|| panic!("nothing failed: {check:#?}"));
    (step.name, format!("{} → {}", step.finding, step.remedy.as_deref().unwrap_or_default()))
}

async fn check(firm: &Firm) -> CheckReport {
    firm.engine.check_directory("corp").await.expect("a check")
}

/// Returns the number of binds that the simulator refused.
fn refused(firm: &Firm) -> usize {
    firm.sim.log().binds().iter().filter(|(_, code)| *code != 0).count()
}

fn refuse_binds(firm: &Firm, code: &'static str) {
    firm.sim.faults().push(Fault::new(When::Bind, What::BindRefused(code)).always());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fault_of_an_unusable_certificate_is_reported() {
    let firm = Firm::of(3, |_| {}).await;
    for (certificate, finding, remedy) in [
        (Certificate::Expired, "expired on ", "renew it"),
        (
            Certificate::WrongName,
            "the certificate is for elsewhere.example.net, and not for 127.",
            "write its own name into servers",
        ),
        (Certificate::UnknownAuthority, "was issued by", "into ca-file"),
    ] {
        firm.sim.set_certificate(certificate).expect("a certificate");
        let run = firm.sync().await;
        let error = run.error.expect("an error");
        assert!(error.contains(finding) && error.contains(remedy), "{certificate:?}: {error}");
        let (step, text) = failed(&check(&firm).await);
        assert!(
            step == "tls" && text.contains(finding) && text.contains(remedy),
            "{certificate:?}: {step}: {text}"
        );
    }
    firm.sim.set_certificate(Certificate::Valid).expect("a certificate");
    assert!(check(&firm).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_on_the_plain_port_is_reported() {
    let firm = Firm::of(1, |_| {}).await;
    let plain = firm.sim.ldap_addr();
    firm.reconfigure(|c| {
        c.settings.servers = vec![ServerUrl::parse(&format!("ldaps://{plain}")).expect("a URL")]
    });
    let (step, text) = failed(&check(&firm).await);
    assert!(step == "tls" && text.contains("check the port"), "{step}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_domain_controller_is_refused() {
    let firm = Firm::running(5, |_| {}).await;
    firm.sim.set_read_only(true);
    let run = firm.sync().await;
    let error = run.error.expect("an error");
    assert!(
        error.contains("is a read-only domain controller")
            && error.contains("name writable domain controllers"),
        "{error}"
    );
    let (step, text) = failed(&check(&firm).await);
    assert!(step == "identity" && text.contains("read-only"), "{step}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_writable_or_not_complete_gets_no_password() {
    for make in [
        |sim: &adsim::Sim| sim.set_read_only(true),
        |sim: &adsim::Sim| sim.set_read_only_by_ping(),
        |sim: &adsim::Sim| sim.set_synchronized(false),
    ] {
        let firm = Firm::running(5, |_| {}).await;
        let second = firm.sim.replica("dc2").expect("a replica");
        firm.reconfigure(|c| {
            c.settings.servers.push(ServerUrl::parse(&second.ldaps_url()).expect("a URL"))
        });
        make(&firm.sim);
        firm.sim.clear_log();
        let run = firm.sync().await;
        assert_eq!((run.error, run.server), (None, Some(second.ldaps_url())));
        assert!(!check(&firm).await.is_ok());
        assert_eq!(firm.sim.log().binds(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_no_ping_is_asked_after_the_bind() {
    let firm = Firm::running(5, |_| {}).await;
    firm.sim.set_answers_pings(false);
    assert_eq!(firm.sync().await.error, None);
    firm.sim.set_read_only(true);
    assert!(firm.sync().await.error.is_some_and(|e| e.contains("read-only")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_secret_is_tried_once_over_all_callers_and_servers() {
    let firm = Firm::running(5, |_| {}).await;
    let second = firm.sim.replica("dc2").expect("a replica");
    firm.reconfigure(|c| {
        c.settings.servers.push(ServerUrl::parse(&second.ldaps_url()).expect("a URL"))
    });
    refuse_binds(&firm, "52e");
    second.faults().push(Fault::new(When::Bind, What::BindRefused("52e")).always());
    let directory = firm.engine.directory("corp").expect("corp");
    let run = firm.sync().await;
    assert!(
        run.error.as_deref().is_some_and(|e| e.contains("52e") && e.contains("the password file")),
        "{run:?}"
    );
    // Four runs, a plan and a check at once.
    let runs = futures_util::future::join_all((0..4).map(|_| firm.sync()));
    let request = rosterd::engine::Request::full(rosterd::model::Trigger::Manual, None);
    let (runs, plan, check) =
        tokio::join!(runs, firm.engine.dry_run(&directory, &request), check(&firm));
    assert!(runs.iter().all(|r| r.state == RunState::Failed) && plan.is_err());
    let (step, text) = failed(&check);
    assert!(step == "bind" && text.contains("rosterctl directory unlock corp"), "{step}: {text}");
    let attempts =
        refused(&firm) + second.log().binds().iter().filter(|(_, code)| *code != 0).count();
    assert_eq!(attempts, 1, "each one counts towards a lockout");
    // A new secret is tried again.
    firm.sim.faults().clear();
    second.faults().clear();
    std::fs::write(firm.folder.path().join("password"), firm.sim.service_password())
        .expect("a file");
    assert_eq!(firm.sync().await.error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_one_server_accepted_is_withheld_from_the_one_that_refuses_it() {
    let firm = Firm::running(5, |_| {}).await;
    let second = firm.sim.replica("dc2").expect("a replica");
    firm.reconfigure(|c| {
        c.settings.servers.push(ServerUrl::parse(&second.ldaps_url()).expect("a URL"))
    });
    assert_eq!(firm.sync().await.error, None);
    // The new password has not reached the second server.
    firm.sim.freeze();
    second.faults().push(Fault::new(When::Bind, What::BindRefused("52e")).always());
    for _ in 0..3 {
        let error = firm.sync().await.error.expect("no server");
        assert!(error.contains("although another server has accepted the same secret"), "{error}");
        assert!(!error.contains("unlock"), "the secret is not locked: {error}");
    }
    let refusals = || second.log().binds().iter().filter(|(_, code)| *code != 0).count();
    assert_eq!(refusals(), 1);
    firm.sim.thaw();
    let run = firm.sync().await;
    assert_eq!((run.error, run.server), (None, Some(firm.sim.ldaps_url())));
    firm.later(Duration::from_mins(31));
    firm.sim.freeze();
    firm.sync().await;
    assert_eq!(refusals(), 2, "the second server is asked again after half an hour");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_a_second_server_refuses_is_sent_to_no_server_for_half_an_hour() {
    let firm = Firm::running(5, |_| {}).await;
    let others = ["dc2", "dc3"].map(|name| firm.sim.replica(name).expect("a replica"));
    firm.reconfigure(|c| {
        let urls = others.iter().map(|s| ServerUrl::parse(&s.ldaps_url()).expect("a URL"));
        c.settings.servers.extend(urls);
    });
    assert_eq!(firm.sync().await.error, None);
    // The password was changed, and the file still has the former one.
    firm.sim.freeze();
    for server in &others {
        server.faults().push(Fault::new(When::Bind, What::BindRefused("52e")).always());
    }
    for _ in 0..3 {
        assert!(firm.sync().await.error.is_some());
    }
    let refusals =
        |server: &adsim::Sim| server.log().binds().iter().filter(|(_, code)| *code != 0).count();
    assert_eq!(others.iter().map(refusals).sum::<usize>(), 2, "each one counts towards a lockout");
    firm.sim.thaw();
    assert!(firm.sync().await.error.is_some_and(|error| error.contains("unlock corp")));
    firm.later(Duration::from_mins(31));
    assert_eq!(firm.sync().await.error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_a_check_saw_refused_is_not_tried_by_runs() {
    let firm = Firm::running(5, |_| {}).await;
    refuse_binds(&firm, "533");
    let (step, text) = failed(&check(&firm).await);
    assert!(
        step == "bind" && text.contains("disabled (533)") && text.contains("enable it"),
        "{step}: {text}"
    );
    let run = firm.sync().await;
    assert!(
        run.error.as_deref().is_some_and(|e| e.contains("so that the account is not locked")),
        "{run:?}"
    );
    assert_eq!(refused(&firm), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lockout_or_logon_hours_allow_one_attempt_every_half_hour() {
    for code in ["775", "530"] {
        let firm = Firm::running(5, |_| {}).await;
        refuse_binds(&firm, code);
        for _ in 0..3 {
            firm.sync().await;
            firm.later(Duration::from_mins(9));
        }
        assert_eq!(refused(&firm), 1, "{code}");
        firm.later(Duration::from_mins(5));
        firm.sync().await;
        firm.sync().await;
        assert_eq!(refused(&firm), 2, "{code}");
        firm.sim.faults().clear();
        firm.later(Duration::from_mins(31));
        assert_eq!(firm.sync().await.error, None, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_skipped_and_does_not_count_as_a_refused_secret() {
    let firm = Firm::running(5, |_| {}).await;
    let second = firm.sim.replica("dc2").expect("a replica");
    firm.reconfigure(|c| {
        c.settings.servers.push(ServerUrl::parse(&second.ldaps_url()).expect("a URL"))
    });
    firm.sim.faults().push(Fault::new(When::Bind, What::Result(51, "busy".to_owned())).always());
    let run = firm.sync().await;
    assert_eq!((run.error, run.server), (None, Some(second.ldaps_url())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_check_the_password_is_skipped_for_half_an_hour() {
    for code in ["54f", "51f", "35b", "80090346"] {
        let firm = Firm::running(5, |_| {}).await;
        let second = firm.sim.replica("dc2").expect("a replica");
        firm.reconfigure(|c| {
            c.settings.servers.push(ServerUrl::parse(&second.ldaps_url()).expect("a URL"))
        });
        refuse_binds(&firm, code);
        for _ in 0..3 {
            let run = firm.sync().await;
            assert_eq!((run.error, run.server), (None, Some(second.ldaps_url())), "{code}");
        }
        assert_eq!(refused(&firm), 1, "{code}: another attempt may count towards a lockout");
        firm.later(Duration::from_mins(31));
        second.crash().await.expect("a crash");
        let error = firm.sync().await.error.expect("an error");
        assert_eq!(refused(&firm), 2, "{code}");
        assert!(!error.contains("unlock"), "{code}: the secret is not locked: {error}");
        let error = firm.sync().await.error.expect("an error");
        assert!(error.contains("it is asked again in 29m") || error.contains("30m"), "{error}");
        firm.sim.faults().clear();
        firm.engine.unlock("corp", &alice()).await.expect("a bind");
        assert_eq!(firm.sync().await.error, None, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlock_tries_the_bind_at_once_and_reports_the_answer_of_ad() {
    let firm = Firm::running(5, |_| {}).await;
    refuse_binds(&firm, "532");
    firm.sync().await;
    let still = firm.engine.unlock("corp", &alice()).await.expect_err("a refusal").to_string();
    assert!(still.contains("password has expired (532)"), "{still}");
    assert_eq!(refused(&firm), 2);
    firm.sim.faults().clear();
    let run = firm.sync().await;
    assert!(run.error.is_some(), "no run tries the bind");
    firm.engine.unlock("corp", &alice()).await.expect("AD accepts the bind again");
    assert_eq!(firm.sync().await.error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_secret_file_is_reported_before_any_bind() {
    let firm = Firm::of(1, |_| {}).await;
    let file = firm.folder.path().join("password");
    let write = |text: &str, mode| {
        std::fs::write(&file, text).expect("a file");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .expect("a mode");
    };
    for (secret, mode, text) in [
        ("\n", 0o600, "is empty"),
        ("secret", 0o604, "can be read by every user: run chmod o= on it"),
    ] {
        write(secret, mode);
        let run = firm.sync().await;
        assert!(run.error.as_deref().is_some_and(|e| e.contains(text)), "{run:?}");
        let (step, found) = failed(&check(&firm).await);
        assert!(
            step == "secret" && found.contains(text.split(':').next().expect("a word")),
            "{step}: {found}"
        );
    }
    std::fs::remove_file(&file).expect("a file");
    assert!(firm.sync().await.error.is_some_and(|e| e.contains("cannot be read")));
    assert!(
        firm.sim.log().binds().is_empty(),
        "an empty password would be an anonymous bind, which sees no entry"
    );
}
