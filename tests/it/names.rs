//! DNS and claimed domains, with a name server that answers, errs or stays silent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinEncodable as _};
use rosterd::dns::Answer;
use rosterd::engine::Rules;
use rosterd::model::{AccountKind, ClaimState, Resolver};
use tokio::net::UdpSocket;

use crate::firm::{Firm, alice};

/// The answer for a name.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// These TXT records, each of these strings.
    Txt(Vec<Vec<String>>),
    /// An alias of this name.
    Alias(&'static str),
    /// SRV records of these targets.
    Servers(Vec<&'static str>),
    At(Ipv4Addr),
    /// The name exists, without records.
    Nothing,
    Error(ResponseCode),
    /// No answer at all.
    Silence,
}

/// A name server. Unknown names do not exist.
#[derive(Clone)]
pub(crate) struct Names {
    replies: Arc<Mutex<BTreeMap<String, Reply>>>,
    asked: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) at: SocketAddr,
}

impl Names {
    pub(crate) async fn serve() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let names = Self {
            replies: Arc::default(),
            asked: Arc::default(),
            at: socket.local_addr().unwrap(),
        };
        let replies = Arc::clone(&names.replies);
        let log = Arc::clone(&names.asked);
        tokio::spawn(async move {
            let mut packet = [0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let asked = Message::from_bytes(&packet[..length]).unwrap();
                log.lock().unwrap().extend(asked.queries.iter().map(|query| plain(query.name())));
                let said = answer(&asked, &replies.lock().unwrap());
                if let Some(answer) = said {
                    socket.send_to(&answer.to_bytes().unwrap(), from).await.unwrap();
                }
            }
        });
        names
    }

    /// Returns the names that were asked for.
    pub(crate) fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn reply(&self, name: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(name.to_owned(), reply);
    }

    /// Publishes the record of a claim, as one string.
    fn publish(&self, claim: &rosterd::model::Claim) {
        self.reply(&claim.record_name(), Reply::Txt(vec![vec![claim.record_value()]]));
    }
}

fn plain(name: &Name) -> String {
    name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()
}

fn answer(asked: &Message, replies: &BTreeMap<String, Reply>) -> Option<Message> {
    let query = asked.queries.first()?.clone();
    // The client mixes upper and lower case, to tell answers from forgeries.
    let name = plain(query.name());
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    let record = |data| Record::from_rdata(query.name().clone(), 60, data);
    match replies.get(&name).cloned().unwrap_or(Reply::Error(ResponseCode::NXDomain)) {
        Reply::Silence => return None,
        Reply::Error(code) => answer.metadata.response_code = code,
        Reply::Alias(target) if query.query_type() == RecordType::CNAME => {
            answer.add_answer(record(RData::CNAME(CNAME(Name::from_utf8(target).unwrap()))));
        }
        Reply::Txt(records) if query.query_type() == RecordType::TXT => {
            for strings in records {
                answer.add_answer(record(RData::TXT(TXT::new(strings))));
            }
        }
        Reply::Servers(targets) if query.query_type() == RecordType::SRV => {
            for (priority, target) in (0..).zip(targets) {
                let target = Name::from_ascii(target).unwrap();
                answer.add_answer(record(RData::SRV(SRV::new(priority, 0, 389, target))));
            }
        }
        Reply::At(address) if query.query_type() == RecordType::A => {
            answer.add_answer(record(RData::A(A(address))));
        }
        Reply::Nothing | Reply::Alias(_) | Reply::Txt(_) | Reply::Servers(_) | Reply::At(_) => {}
    }
    answer.add_query(query.clone());
    Some(answer)
}

/// Returns a company without domains, whose claims are looked up at this server.
async fn claiming() -> (Firm, Names) {
    let firm = Firm::of(0, |_| {}).await;
    firm.engine.release("example.com", None, &alice()).await.unwrap();
    let names = Names::serve().await;
    let rules = Rules { resolver: Resolver::At(names.at), ..Rules::default() };
    let was = firm.engine.configured();
    firm.engine.reconfigure(was.directories.values().map(|d| d.config.clone()).collect(), rules);
    (firm, names)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dns_answer_is_reported_and_only_the_exact_record_verifies() {
    let (firm, names) = claiming().await;
    let claim = firm.engine.claim("acme", "bücher.example", &alice()).await.unwrap();
    assert_eq!(
        (claim.domain.as_str(), claim.domain.unicode().as_deref()),
        ("xn--bcher-kva.example", Some("bücher.example"))
    );
    let (name, value) = (claim.record_name(), claim.record_value());
    let (half, rest) = value.split_at(20);
    let one = |text: &str| vec![text.to_owned()];
    let table = [
        (Reply::Error(ResponseCode::NXDomain), "(NXDOMAIN)", false),
        (Reply::Nothing, "exists in DNS, but has no TXT record", false),
        (Reply::Alias("elsewhere.example"), "is an alias (CNAME) of elsewhere.example", false),
        (Reply::Error(ResponseCode::ServFail), "no answer from DNS", false),
        (Reply::Error(ResponseCode::Refused), "no answer from DNS", false),
        (Reply::Silence, "no name server answered in time", false),
        (Reply::Txt(vec![one("v=spf1 -all")]), "a TXT record, but not with the token", false),
        (
            Reply::Txt(vec![one("x"), one(&format!("{value}0")), one(&value.to_uppercase())]),
            "3 TXT records, but none",
            false,
        ),
        (
            Reply::Txt(vec![one("v=spf1 -all"), vec![half.to_owned(), rest.to_owned()]]),
            "the record was found",
            true,
        ),
    ];
    for (reply, finding, verifies) in table {
        names.reply(&name, reply.clone());
        let found = firm.engine.verify("BÜCHER.example", None, &alice()).await.unwrap();
        assert!(
            found.finding.as_deref().is_some_and(|f| f.contains(finding)),
            "{reply:?}: {:?}",
            found.finding
        );
        assert_eq!(found.state.holds(), verifies, "{reply:?}");
    }
    assert_eq!(firm.engine.account("acme").await.unwrap().kind, AccountKind::Enterprise);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_account_to_verify_holds_the_domain_and_is_not_named_to_others() {
    let (firm, names) = claiming().await;
    firm.engine.create_account("rival", "Rival", &alice()).await.unwrap();
    let (ours, theirs) = (
        firm.engine.claim("acme", "example.com", &alice()).await.unwrap(),
        firm.engine.claim("rival", "example.com", &alice()).await.unwrap(),
    );
    names.reply(
        &ours.record_name(),
        Reply::Txt(vec![vec![ours.record_value()], vec![theirs.record_value()]]),
    );
    let which = firm.engine.verify("example.com", None, &alice()).await.unwrap_err().to_string();
    assert!(which.contains("several accounts claim example.com"), "{which}");
    assert_eq!(
        firm.engine.verify("example.com", Some("acme"), &alice()).await.unwrap().state,
        ClaimState::Verified
    );
    let refused =
        firm.engine.verify("example.com", Some("rival"), &alice()).await.unwrap_err().to_string();
    assert!(
        refused.contains("claimed by another account") && !refused.contains("acme"),
        "{refused}"
    );
    let again = firm.engine.claim("rival", "example.com", &alice()).await.unwrap_err().to_string();
    assert!(!again.contains("acme"), "{again}");
    let still = firm.engine.store.claims(Some(theirs.account)).await.unwrap().remove(0);
    assert_eq!(
        (still.state, still.finding.as_deref()),
        (ClaimState::Pending, Some("example.com is claimed by another account"))
    );
    // A domain that its holder releases can be claimed by the other account.
    firm.engine.release("example.com", Some("acme"), &alice()).await.unwrap();
    assert_eq!(
        firm.engine.verify("example.com", Some("rival"), &alice()).await.unwrap().state,
        ClaimState::Verified
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_looked_up_soon_then_daily_and_lapses_after_three_daily_misses() {
    let (firm, names) = claiming().await;
    let claim = firm.engine.claim("acme", "example.com", &alice()).await.unwrap();
    names.publish(&claim);
    // A due lookup takes place at its instant.
    let after = async |by: Duration| {
        firm.clock.advance(by);
        let next = firm.engine.check_claims().await.unwrap();
        assert!(next > Duration::ZERO && next <= Duration::from_mins(1), "{next:?}");
        firm.engine.store.claims(None).await.unwrap().remove(0)
    };
    assert_eq!(after(Duration::from_secs(29)).await.state, ClaimState::Pending);
    assert_eq!(
        after(Duration::from_secs(2)).await.state,
        ClaimState::Verified,
        "half a minute after the claim"
    );
    names.reply(&claim.record_name(), Reply::Error(ResponseCode::ServFail));
    let day = Duration::from_hours(24);
    for _ in 0..4 {
        let claim = after(day).await;
        assert_eq!(
            (claim.state, claim.misses),
            (ClaimState::Verified, 0),
            "a lost answer changes no claim: {claim:?}"
        );
    }
    names.reply(&claim.record_name(), Reply::Error(ResponseCode::NXDomain));
    for _ in 0..10 {
        let claim = firm.engine.verify("example.com", None, &alice()).await.unwrap();
        assert_eq!(
            (claim.state, claim.misses),
            (ClaimState::Verified, 0),
            "an operator who looks does not count"
        );
    }
    for (misses, expected) in
        [(1, ClaimState::Verified), (2, ClaimState::Verified), (3, ClaimState::Lapsed)]
    {
        let claim = after(day).await;
        assert_eq!((claim.state, claim.misses), (expected, misses));
    }
    assert_eq!(firm.events("domain.lapsed").await.len(), 1);
    assert_eq!(
        firm.engine.account("acme").await.unwrap().kind,
        AccountKind::Enterprise,
        "an alarm, and nothing else"
    );
    assert!(!firm.engine.store.claimed_domains(claim.account).await.unwrap().is_empty());
    let status =
        firm.engine.directory_status(&firm.engine.directory("corp").unwrap()).await.unwrap();
    assert!(
        status.attention.iter().any(|a| a.contains("has gone from DNS")),
        "{:?}",
        status.attention
    );
    names.publish(&claim);
    assert_eq!(after(day).await.state, ClaimState::Verified);
    let verified: Vec<_> = firm
        .events("domain.verified")
        .await
        .iter()
        .map(|e| e["data"]["before"]["state"].clone())
        .collect();
    assert_eq!(verified[verified.len() - 2..], ["pending", "lapsed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_suffix_or_malformed_domain_cannot_be_claimed() {
    let (firm, _names) = claiming().await;
    for bad in [
        "com",
        "co.uk",
        "github.io",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "::1",
        "1.2.3",
        "*.example.com",
        "_dmarc.example.com",
        "a@example.com",
        "example.com/",
        "exa mple.com",
        "",
        ".",
        "-a.example",
        "a..example",
        "example.com.",
    ] {
        let refused = firm.engine.claim("acme", bad, &alice()).await;
        assert!(
            matches!(
                refused,
                Err(rosterd::engine::EngineError::Claim(rosterd::engine::ClaimError::Domain(_)))
            ),
            "{bad:?}: {refused:?}"
        );
    }
    for good in ["sub.example.com", "user.github.io", "EXAMPLE.net", "straße.example"] {
        assert_eq!(
            firm.engine.claim("acme", good, &alice()).await.unwrap().state,
            ClaimState::Pending,
            "{good}"
        );
    }
    assert!(
        matches!(
            Resolver::At("127.0.0.1:1".parse().unwrap()).txt("x.example").await,
            Answer::Failed(_)
        ),
        "no server, no answer"
    );
}
