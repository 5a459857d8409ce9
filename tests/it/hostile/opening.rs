//! Opening of a connection: TCP, StartTLS, TLS and bind. An unverified server must not get the
//! password.

use adsim::frames::{self, Outcome};
use adsim::{Certificate, Fault, What, When};
use rosterd::directory::{Servers, Use};
use rosterd::model::ServerUrl;
use rosterd::reconcile::HighWaterMarks;

use super::{Ends, Ordeal, Sees, row};
use crate::firm::Firm;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_while_it_opens_is_a_failed_run() {
    let rows = vec![
        row(
            "at once",
            When::Connect,
            What::Cut,
            Ends::Failed("hung up during the TLS handshake"),
            Sees::NoLeaver,
        ),
        row("at the bind", When::Bind, What::Cut, Ends::Failed("cut"), Sees::NoLeaver),
        row(
            "inside the answer to the bind",
            When::Bind,
            What::CutInsideFrame,
            Ends::Failed("cut"),
            Sees::NoLeaver,
        ),
        row(
            "with a notice at the bind",
            When::Bind,
            What::NoticeOfDisconnection,
            Ends::Failed("Notice of Disconnection"),
            Sees::NoLeaver,
        ),
        row(
            "unavailable at the bind",
            When::Bind,
            What::result(52, "down"),
            Ends::Failed("unavailable"),
            Sees::NoLeaver,
        ),
        row(
            "busy at the bind",
            When::Bind,
            What::result(51, "busy"),
            Ends::Failed("busy"),
            Sees::NoLeaver,
        ),
    ];
    Ordeal::new(|_| {}).await.suffer(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stripped_or_tampered_starttls_gets_no_password() {
    let firm = Firm::running(20, |_| {}).await;
    let url = ServerUrl::parse(&firm.sim.ldap_url()).unwrap();
    let success = |id| frames::extended(id, &Outcome::default());
    let injected = || frames::done(2, 0, "injected");
    let table: Vec<(&str, Option<What>, bool, &str)> = vec![
        ("honest", None, true, ""),
        ("not asked for", None, false, "without TLS is refused"),
        ("refused with 52", Some(What::RefuseStartTls), true, "refuses StartTLS (result 52)"),
        ("refused with 53", Some(What::result(53, "")), true, "refuses StartTLS (result 53)"),
        ("refused with 1", Some(What::result(1, "")), true, "refuses StartTLS (result 1)"),
        (
            "something behind the answer",
            Some(What::PlaintextAfterStartTls(injected())),
            true,
            "in the clear",
        ),
        (
            "half a message behind the answer",
            Some(What::PlaintextAfterStartTls(vec![0x30])),
            true,
            "in the clear",
        ),
        ("something before the answer", Some(What::Raw(injected())), true, "answered message 2"),
        ("success, and no TLS", Some(What::frames_instead(success)), true, "TLS"),
        (
            "an answer to another",
            Some(What::frames_instead(move |id| success(id + 1))),
            true,
            "answered message 2",
        ),
        (
            "an answer of another kind",
            Some(What::frames_instead(|id| frames::done(id, 0, ""))),
            true,
            "answered message 1",
        ),
        ("a notice", Some(What::NoticeOfDisconnection), true, "Notice of Disconnection"),
        (
            "no LDAP",
            Some(What::RawInstead(b"220 ready\r\n".to_vec())),
            true,
            "begins with the byte 0x30",
        ),
        ("deep BER", Some(What::RawInstead(frames::nested(20_000))), true, "nested deeper"),
        ("cut", Some(What::Cut), true, "cut"),
        ("silence", Some(What::Stall), true, "no answer to StartTLS"),
    ];
    for (name, fault, starttls, told) in table {
        let mut settings = firm.engine.directory("corp").unwrap().config.settings.clone();
        settings.servers = vec![url.clone()];
        settings.starttls = starttls;
        settings.timeouts.connect = std::time::Duration::from_millis(1_500);
        firm.sim.faults().clear();
        if let Some(what) = fault {
            firm.sim.faults().push(Fault::new(When::StartTls, what));
        }
        firm.sim.clear_log();
        let outcome = Servers::default()
            .open(&settings, Use::Follow, &HighWaterMarks::default(), &|| std::time::Duration::ZERO)
            .await;
        let binds = firm.sim.log().binds().len();
        match (told, outcome) {
            ("", Ok(_)) => assert_eq!(binds, 1),
            (told, Err(error)) => {
                assert!(!told.is_empty() && error.to_string().contains(told), "{name}: {error}");
                assert_eq!(binds, 0, "{name}: no password was sent");
            }
            (_, Ok(_)) => panic!("{name}: it went on"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_valid_certificate_gets_no_password() {
    let ordeal = Ordeal::new(|_| {}).await;
    for certificate in [Certificate::Expired, Certificate::WrongName, Certificate::UnknownAuthority]
    {
        ordeal.firm.sim.set_certificate(certificate).unwrap();
        ordeal.firm.sim.clear_log();
        let run = ordeal.firm.sync().await;
        ordeal
            .judge(
                &format!("{certificate:?}"),
                &run,
                Ends::Failed("the certificate"),
                Sees::NoLeaver,
            )
            .await;
        assert!(ordeal.firm.sim.log().binds().is_empty(), "{certificate:?}");
    }
    ordeal.firm.sim.set_certificate(Certificate::Valid).unwrap();
    assert_eq!(ordeal.firm.sync().await.error, None);
}
