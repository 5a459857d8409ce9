use adsim::{Certificate, Event, Expiry, NewPerson, Sim};
use ldap3_proto::proto::LdapResultCode as Code;
use tokio::net::TcpStream;

use crate::client::{Client, at, below, text, tls};

const DATA: &str = "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data";
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";

#[tokio::test]
async fn the_service_account_binds_by_dn_by_upn_in_any_case_and_by_short_name() {
    let sim = Sim::builder().start().await.expect("starts");
    let mut client = Client::connect(&sim).await;
    for name in [
        sim.service_dn(),
        sim.service_upn(),
        sim.service_upn().to_uppercase(),
        sim.service_dn().to_lowercase(),
        "CORP\\svc-rosterd".to_owned(),
    ] {
        let result = client.bind(&name, &sim.service_password()).await;
        assert_eq!(result.code, Code::Success, "{name}");
    }
    let (result, who) = client.extended(WHO_AM_I).await;
    assert_eq!(result.code, Code::Success);
    assert_eq!(who.as_deref(), Some(&b"u:CORP\\svc-rosterd"[..]));
}

#[tokio::test]
async fn refusals_carry_the_sub_code_ad_gives() {
    let sim = Sim::builder().start().await.expect("starts");
    let domain = sim.edit(|ad| {
        ad.add_person(NewPerson::new("bob").password("right"));
        ad.add_person(NewPerson::new("off").disabled().password("right"));
        ad.add_person(
            NewPerson::new("old").expires(Expiry::Ticks(130_000_000_000_000_000)).password("right"),
        );
        ad.add_person(NewPerson::new("new").with("pwdLastSet", "0").password("right"));
        "corp.example.com"
    });
    let mut client = Client::connect(&sim).await;
    for (sam, password, expected) in [
        ("bob", "wrong", "52e"),
        ("nobody", "right", "52e"),
        ("off", "right", "533"),
        ("off", "wrong", "52e"),
        ("old", "right", "701"),
        ("new", "right", "773"),
    ] {
        let result = client.bind(&format!("{sam}@{domain}"), password).await;
        assert_eq!(result.code, Code::InvalidCredentials);
        assert_eq!(result.message, format!("{DATA} {expected}, v1db1"), "{sam}");
    }
    assert_eq!(client.bind("bob@corp.example.com", "right").await.code, Code::Success);
}

#[tokio::test]
async fn an_empty_password_binds_as_anonymous_with_access_to_the_rootdse_only() {
    let sim = Sim::builder().start().await.expect("starts");
    let mut client = Client::connect(&sim).await;
    assert_eq!(client.bind(&sim.service_upn(), "").await.code, Code::Success);
    let found = client.ask(below(&sim.root_dn(), "(objectClass=*)", &[])).await;
    assert_eq!(found.code, 1);
    let found = client.ask(at("", &["tokenGroups", "defaultNamingContext"])).await;
    assert_eq!(found.only()["tokenGroups"], vec![vec![1, 1, 0, 0, 0, 0, 0, 5, 7, 0, 0, 0]]);
    assert_eq!(text(found.only(), "defaultNamingContext"), ["DC=corp,DC=example,DC=com"]);
}

#[tokio::test]
async fn a_password_is_accepted_under_tls_only_also_by_starttls() {
    let sim = Sim::builder().start().await.expect("starts");
    let mut client = Client::plain(sim.ldap_addr()).await;
    let result = client.bind(&sim.service_upn(), &sim.service_password()).await;
    assert_eq!(result.code, Code::StrongerAuthRequired);

    let tcp = TcpStream::connect(sim.ldap_addr()).await.expect("connects");
    let mut tcp = tcp;
    start_tls(&mut tcp).await;
    let mut client = Client::over(tls(&sim, tcp).await.expect("TLS"));
    let result = client.bind(&sim.service_upn(), &sim.service_password()).await;
    assert_eq!(result.code, Code::Success);
    assert_eq!(client.extended(START_TLS).await.0.code, Code::OperationsError);
}

/// Sends StartTLS and reads exactly its answer.
async fn start_tls(tcp: &mut TcpStream) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut request = vec![0x30, 0x1d, 0x02, 0x01, 0x01, 0x77, 0x18, 0x80, 0x16];
    request.extend_from_slice(START_TLS.as_bytes());
    tcp.write_all(&request).await.expect("sends");
    let mut answer = Vec::new();
    while adsim::ber::whole_frame(&answer).expect("a frame").is_none() {
        assert_ne!(tcp.read_buf(&mut answer).await.expect("reads"), 0);
    }
}

#[tokio::test]
async fn the_first_sid_of_the_token_is_the_bound_account() {
    let sim = Sim::builder().start().await.expect("starts");
    let mut client = Client::service(&sim).await;
    let found = client.ask(at("", &["tokenGroups"])).await;
    let token = &found.only()["tokenGroups"];
    let own = client.ask(at(&sim.service_dn(), &["objectSid"])).await;
    assert_eq!(token[0], own.only()["objectSid"][0]);
    let users = sim.look(|ad| ad.values("Domain Users", "objectSid"));
    assert_eq!(token[1..], users);
}

#[tokio::test]
async fn wrong_certificates_end_the_handshake() {
    let sim = Sim::builder().start().await.expect("starts");
    for wrong in [Certificate::Expired, Certificate::WrongName, Certificate::UnknownAuthority] {
        sim.set_certificate(wrong).expect("set");
        let tcp = TcpStream::connect(sim.ldaps_addr()).await.expect("connects");
        assert!(tls(&sim, tcp).await.is_err(), "{wrong:?}");
    }
    sim.rotate_authority().expect("rotates");
    Client::service(&sim).await;
    let failed = |logged: &&adsim::Logged| matches!(logged.event, Event::TlsFailed(_));
    assert_eq!(sim.log().events.iter().filter(failed).count(), 3);
}
