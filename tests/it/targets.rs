//! Targets: the client, the list and the check, on a simulated SCIM service provider.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use rosterd::http::Transport;
use rosterd::model::{
    Address, CheckOutcome, CheckStep, RemoteId, TargetCredential, Timestamp, nearest,
};
use rosterd::reconcile::provision::{
    AttributePath, Capabilities, DEFAULT_MAPPING, Declared, Listed, Mapping, Outcome, Paging,
    Partial, Quirks, Request, Resource, Template, fields, meaning,
};
use rosterd::scim::{self, Check, Client, ListError, Pages, ScimError, Settings};
use scimsim::{Fault, Manners, Sim};

/// A client of a simulated target, with its token file.
struct Desk {
    sim: Sim,
    folder: tempfile::TempDir,
    client: Client,
}

/// Returns the shipped mapping with changes.
pub(crate) fn mapping(changes: &[(&str, &str)]) -> Mapping {
    let near = |name: &str| nearest(name, fields().into_iter());
    let attributes = DEFAULT_MAPPING.iter().filter_map(|(path, text)| {
        let text = changes.iter().find(|(name, _)| name == path).map_or(*text, |(_, text)| text);
        let template = (!text.is_empty()).then(|| Template::parse(text, near).unwrap());
        Some((AttributePath::parse(path).unwrap(), template?))
    });
    Mapping { attributes: attributes.collect(), values: std::collections::BTreeMap::default() }
}

pub(crate) fn settings(url: &str, token_file: PathBuf) -> Settings {
    Settings {
        url: url.parse::<Url>().unwrap(),
        credential: TargetCredential::Token(token_file),
        transport: Transport::default(),
        timeout: Duration::from_secs(20),
        page_size: 100,
        quirks: Quirks::default(),
    }
}

/// Checks a target by its client.
pub(crate) async fn checked(
    client: &Client,
    mapping: &Mapping,
    trial: Option<&Address>,
) -> Vec<CheckStep> {
    let check = Check {
        mapping,
        token_expires: None,
        unique: rosterd::clock::Clock::system().new_id(),
        trial,
    };
    scim::check(client, &check, &NoPace, rosterd::clock::Clock::system().now()).await
}

/// A pace without a limit.
struct NoPace;

impl scim::Pace for NoPace {
    type Turn = ();

    async fn turn(&self) -> Result<(), ScimError> {
        Ok(())
    }
}

/// Reads all accounts; gives each of them to `each`, once.
pub(crate) async fn list(
    client: &Client,
    capabilities: &Capabilities,
    mut each: impl FnMut(Resource),
) -> Result<Listed, ListError> {
    let mut pages = Pages::new(capabilities, client.settings().page_size);
    while let Some(request) = pages.request() {
        let answer = client.send(&request, capabilities, Timestamp::default()).await?;
        pages.take(meaning(&request, &answer))?.into_iter().for_each(&mut each);
    }
    Ok(pages.finish()?)
}

/// Returns the outcome and the finding of a step.
pub(crate) fn step<'a>(steps: &'a [CheckStep], name: &str) -> (CheckOutcome, &'a str) {
    let step = steps.iter().find(|step| step.name == name);
    let step = step.unwrap_or_else(|| panic!("no step {name}: {steps:#?}"));
    assert!(
        step.remedy.is_some()
            || !matches!(step.outcome, CheckOutcome::Warning | CheckOutcome::Failed),
        "{step:?}"
    );
    (step.outcome, &step.finding)
}

pub(crate) fn capabilities(client: &Client) -> Capabilities {
    Capabilities::of(&Declared::default(), &client.settings().quirks)
}

impl Desk {
    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let sim = Sim::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        crate::folder::write(&file, &sim.token(), 0o600);
        let mut settings = settings(&sim.url(), file);
        change(&mut settings);
        Self { client: Client::new(settings), sim, folder }
    }

    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    fn write_token(&self, token: &str) {
        let new = self.folder.path().join("new");
        crate::folder::write(&new, token, 0o600);
        std::fs::rename(new, self.folder.path().join("token")).unwrap();
    }

    async fn check(&self, trial: Option<&str>) -> Vec<CheckStep> {
        let trial = trial.map(|address| Address::parse(address).unwrap());
        checked(&self.client, &mapping(&[]), trial.as_ref()).await
    }

    /// Lists all accounts; returns the number of those that were seen.
    async fn list(&self, paging: Paging) -> (usize, Result<u64, String>) {
        let capabilities = Capabilities { paging, ..capabilities(&self.client) };
        let mut seen = 0;
        let listed = list(&self.client, &capabilities, |_| seen += 1).await;
        (seen, listed.map(|l| l.accounts()).map_err(|error| error.to_string()))
    }

    async fn outcome(&self, request: &Request) -> Result<Outcome, ScimError> {
        let answer = self.client.send(request, &capabilities(&self.client), Timestamp(0)).await?;
        Ok(meaning(request, &answer))
    }
}

#[tokio::test]
async fn a_check_passes_an_honest_target_and_only_reads() {
    let desk = Desk::start().await;
    (0..7).for_each(|n| drop(desk.sim.add_user(&format!("user{n}@example.com"))));
    let steps = desk.check(None).await;
    for name in ["dns", "tcp", "token", "service", "attributes", "list", "paging", "filter"] {
        assert_eq!(step(&steps, name).0, CheckOutcome::Ok, "{name}: {steps:#?}");
    }
    assert_eq!(step(&steps, "list").1, "7 accounts, read whole");
    let log = desk.sim.log();
    assert!(log.iter().all(|request| request.method == "GET"), "{log:#?}");
    assert!(log.iter().all(|request| request.headers["user-agent"].starts_with("rosterd/")));
}

#[tokio::test]
async fn a_check_with_an_address_takes_one_account_through_its_life() {
    let desk = Desk::start().await;
    let id = desk.sim.add_user("other@example.com");
    let steps = desk.check(Some("trial@example.com")).await;
    for name in ["create", "change", "deactivate", "delete"] {
        assert_eq!(step(&steps, name).0, CheckOutcome::Ok, "{name}: {steps:#?}");
    }
    assert_eq!(desk.sim.users().len(), 1);
    let writes: Vec<_> =
        desk.sim.log().into_iter().filter(|request| request.method != "GET").collect();
    let methods: Vec<_> = writes.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["POST", "PATCH", "PATCH", "DELETE"]);
    assert!(writes.iter().all(|request| !request.target.contains(&id)), "{writes:#?}");
    // An account of the address is not changed.
    let steps = desk.check(Some("Other@Example.com")).await;
    assert_eq!(step(&steps, "create").0, CheckOutcome::Failed);
    assert_eq!(desk.sim.users().len(), 1);
}

/// A change of manners, the step that reports it, its outcome, and words of its finding.
type Dishonesty = (&'static str, fn(&mut Manners), &'static str, CheckOutcome, &'static str);

#[tokio::test]
async fn each_dishonesty_of_a_target_has_its_finding() {
    use CheckOutcome::{Failed, Ok, Skipped, Warning};
    let table: [Dishonesty; 15] = [
        ("G10", |m| m.filter_matches_all = true, "filter", Warning, "it gives 7 of 7 accounts"),
        (
            "F3",
            |m| m.filter_matches_more = true,
            "filter",
            Warning,
            "others, too (7 of 7 accounts)",
        ),
        (
            "L2",
            |m| m.paging = scimsim::Paging::OnePage,
            "paging",
            Warning,
            "ends after a page of 2",
        ),
        ("F1", |m| m.filter_matches_none = true, "filter", Warning, "does not find"),
        ("F2", |m| m.filter_is_case_sensitive = true, "filter", Ok, "case-sensitive"),
        ("F7", |m| m.no_filter = true, "filter", Warning, "refused"),
        ("G26", |m| m.paging = scimsim::Paging::Ignored, "paging", Warning, "repeats accounts"),
        ("L1", |m| m.paging = scimsim::Paging::Overlapping, "paging", Warning, "repeats accounts"),
        ("L4", |m| m.counts_more = true, "list", Warning, "7 accounts and totalResults says 8"),
        (
            "G27",
            |m| {
                m.paging = scimsim::Paging::ExpiringCursor;
                m.page = 3
            },
            "list",
            Warning,
            "the cursor expired",
        ),
        ("A4", |m| m.no_discovery = true, "attributes", Skipped, "no schemas"),
        ("G5", |m| m.ignores_active = true, "deactivate", Failed, "stayed active"),
        ("absent active", |m| m.hides_active = true, "deactivate", Warning, "does not show active"),
        ("G9", |m| m.no_patch = true, "deactivate", Ok, "deactivated"),
        ("V2", |m| m.delete_deactivates = true, "delete", Warning, "still exists"),
    ];
    for (row, change, name, outcome, words) in table {
        let desk = Desk::start().await;
        (0..7).for_each(|n| drop(desk.sim.add_user(&format!("user{n}@example.com"))));
        let mut manners = Manners::default();
        change(&mut manners);
        desk.sim.set_manners(manners);
        let steps = desk.check(Some("trial@example.com")).await;
        let found = step(&steps, name);
        assert!(found.0 == outcome && found.1.contains(words), "{row}: {steps:#?}");
    }
}

#[tokio::test]
async fn a_target_that_cannot_be_used_is_described_without_its_token() {
    let desk = Desk::start().await;
    desk.write_token("MARKER-token");
    let steps = desk.check(None).await;
    assert_eq!(step(&steps, "token").0, CheckOutcome::Ok);
    assert!(steps.iter().any(|s| s.name == "token" && s.outcome == CheckOutcome::Failed));
    assert!(!format!("{steps:?}").contains("MARKER"), "{steps:#?}");
    let wrong = Desk::with(|s| s.url = format!("{}/nowhere", s.url).parse().unwrap()).await;
    assert!(step(&wrong.check(None).await, "list").1.contains("Users is not a list"));
    let page = Desk::start().await;
    page.sim.fail(Fault::login_page("", 200));
    assert!(step(&page.check(None).await, "list").1.contains("no answer of SCIM"));
    let closed = Desk::with(|s| s.url = "http://127.0.0.1:9/scim/v2".parse().unwrap()).await;
    assert_eq!(step(&closed.check(None).await, "tcp").0, CheckOutcome::Failed);
}

#[tokio::test]
async fn an_attribute_that_the_target_does_not_know_is_named_with_its_neighbour() {
    let desk = Desk::start().await;
    let mut mapping = mapping(&[]);
    let template = Template::parse("{title}", |_| None).unwrap();
    for name in ["titl", "enterprise.costCentre"] {
        mapping.attributes.push((AttributePath::parse(name).unwrap(), template.clone()));
    }
    let steps = checked(&desk.client, &mapping, None).await;
    let (outcome, finding) = step(&steps, "attributes");
    assert_eq!(outcome, CheckOutcome::Warning);
    assert!(finding.contains("titl (did you mean title?)"), "{finding}");
    assert!(finding.contains("enterprise.costCentre (did you mean costCenter?)"), "{finding}");
}

#[tokio::test]
async fn a_list_is_read_by_index_and_by_cursor_and_each_account_comes_once() {
    let desk = Desk::with(|s| s.page_size = 4).await;
    (0..23).for_each(|n| drop(desk.sim.add_user(&format!("user{n}@example.com"))));
    for (paging, wanted) in [
        (scimsim::Paging::Index, Ok(23)),
        (scimsim::Paging::Cursor, Ok(23)),
        (scimsim::Paging::Overlapping, Ok(23)),
        (scimsim::Paging::Ignored, Err(Partial::NothingNew.to_string())),
        (scimsim::Paging::FromZero, Err(Partial::Miscounted { seen: 22, said: 23 }.to_string())),
    ] {
        desk.sim.set_manners(Manners { paging, loose_lists: true, ..Manners::default() });
        let by = if paging == scimsim::Paging::Cursor { Paging::Cursor } else { Paging::Index };
        let (seen, listed) = desk.list(by).await;
        assert_eq!(listed, wanted, "{paging:?}");
        assert!(listed.is_err() || seen == 23);
    }
    desk.sim.set_manners(Manners { paging: scimsim::Paging::ExpiringCursor, ..Manners::default() });
    assert_eq!(desk.list(Paging::Cursor).await, (12, Err(Partial::CursorExpired.to_string())));
}

#[tokio::test]
async fn a_list_that_breaks_off_or_never_ends_costs_its_own_target_alone() {
    let desk = Desk::with(|s| (s.page_size, s.timeout) = (2, Duration::from_secs(3))).await;
    (0..9).for_each(|n| drop(desk.sim.add_user(&format!("user{n}@example.com"))));
    desk.sim.fail(Fault::cut_after("GET").after(2).times(1));
    let (seen, listed) = desk.list(Paging::Index).await;
    assert!(seen == 4 && listed.is_err(), "{listed:?}");
    desk.sim.clear_faults();
    desk.sim.fail(Fault::endless("GET").times(1));
    assert!(desk.list(Paging::Index).await.1.unwrap_err().contains("is longer than"));
    desk.sim.clear_faults();
    desk.sim.fail(Fault::drip("GET").times(1));
    assert!(desk.list(Paging::Index).await.1.unwrap_err().contains("no answer within 3s"));
}

#[tokio::test]
async fn a_token_is_read_again_when_its_file_changes() {
    let desk = Desk::start().await;
    let read = Request::read(&RemoteId(desk.sim.add_user("anna@example.com")));
    assert!(matches!(desk.outcome(&read).await, Ok(Outcome::Done(_))));
    desk.sim.set_token("second");
    assert!(matches!(desk.outcome(&read).await, Ok(Outcome::Unauthorized(_))));
    assert_eq!(desk.sim.log().len(), 2, "a token from a file is not tried twice");
    desk.write_token("second\n");
    assert!(matches!(desk.outcome(&read).await, Ok(Outcome::Done(_))));
}

#[tokio::test]
async fn ids_of_any_characters_are_read_below_the_base_url() {
    let desk = Desk::start().await;
    for id in ["a/b ?c", "ü@x", "%2e%2e", "a&b=c#d", "..x", "+"] {
        desk.sim.add(&serde_json::json!({ "id": id, "userName": id }));
        let Ok(Outcome::Done(seen)) = desk.outcome(&Request::read(&RemoteId(id.to_owned()))).await
        else {
            panic!("{id}: {:#?}", desk.sim.log().last())
        };
        assert_eq!(Resource::id(&seen).as_deref(), Some(id));
    }
}

#[tokio::test]
async fn a_token_is_not_sent_to_another_origin() {
    let (desk, other) = (Desk::start().await, Sim::start().await.unwrap());
    let to = format!("{}/Users", other.url());
    desk.sim.fail(Fault::answer("GET", 307, &[("location", &to)], ""));
    let list = desk.list(Paging::Index).await.1;
    assert!(list.is_err() && other.log().is_empty(), "{list:?}");
}

/// A change of manners, the answer to POST, and words of the finding about it.
type Foreign = (fn(&mut Manners), fn(&str) -> serde_json::Value, &'static str);

#[tokio::test]
async fn a_trial_changes_no_account_that_is_not_certainly_its_own() {
    use serde_json::json;
    let unsure = |m: &mut Manners| (m.no_filter, m.counts_more) = (true, true);
    let table: [Foreign; 6] = [
        (|_| {}, |old| json!({ "id": old, "userName": "old@example.com" }), "existed before"),
        (|_| {}, |old| json!({ "id": old, "userName": "trial@example.com" }), "existed before"),
        (
            |_| {},
            |_| json!({ "id": "x9", "userName": "trial@example.com", "externalId": "E7" }),
            "which does not have the externalId",
        ),
        (|_| {}, |_| json!({ "id": "x9", "userName": "trial@example.com" }), "which does not have"),
        (|_| {}, |_| json!({ "id": "x8" }), "reading the account x8 failed"),
        (unsure, |_| json!({ "id": "x9" }), "shows no externalId, and may have existed before"),
    ];
    for (change, answer, words) in table {
        let desk = Desk::start().await;
        let old = desk.sim.add_user("old@example.com");
        let mut manners = Manners::default();
        change(&mut manners);
        desk.sim.set_manners(manners);
        // The account that no list shows.
        let hidden = r#"{"id":"x9","userName":"hidden@example.com"}"#;
        desk.sim.fail(Fault::answer("GET", 200, &[], hidden).at("Users/x9"));
        desk.sim.fail(Fault::answer("POST", 201, &[], &answer(&old).to_string()));
        let steps = desk.check(Some("trial@example.com")).await;
        let (outcome, finding) = step(&steps, "create");
        assert_eq!(outcome, CheckOutcome::Failed, "{words}: {steps:#?}");
        assert!(finding.contains(words), "{words}: {finding}");
        let writes = desk.sim.log().into_iter().filter(|request| request.method != "GET");
        assert_eq!(writes.map(|request| request.method).collect::<Vec<_>>(), ["POST"], "{words}");
    }
}

#[tokio::test]
async fn a_trial_account_without_an_external_id_is_read_before_it_is_changed() {
    let desk = Desk::start().await;
    let address = Address::parse("trial@example.com");
    let mapping = mapping(&[("externalId", "")]);
    let steps = checked(&desk.client, &mapping, address.as_ref().ok()).await;
    assert_eq!(step(&steps, "delete").0, CheckOutcome::Ok, "{steps:#?}");
    assert!(desk.sim.users().is_empty());
    let log = desk.sim.log();
    let methods: Vec<_> = log.iter().map(|request| request.method.as_str()).collect();
    let created = methods.iter().position(|method| *method == "POST").unwrap();
    assert_eq!(methods[created - 1..created + 3], ["GET", "POST", "GET", "PATCH"]);
    assert!(log[created - 1].target.contains("filter=userName"), "{log:#?}");
    assert!(log[created + 1].target.contains("/Users/"), "{log:#?}");
}

#[tokio::test]
async fn an_account_that_a_lost_answer_left_is_deleted_or_named() {
    use CheckOutcome::{Failed, Ok, Warning};
    let no_body = || Manners { create_has_no_body: true, ..Manners::default() };
    let lost = || Some(Fault::cut_after("POST"));
    let unsure = Manners { no_filter: true, counts_more: true, ..no_body() };
    let liar = Manners { filter_matches_none: true, ..no_body() };
    let table = [
        ("cut", Manners::default(), lost(), true, Ok),
        ("cut, no filter", Manners { no_filter: true, ..Manners::default() }, lost(), true, Ok),
        ("201 without a body", no_body(), None, true, Ok),
        ("201 without a body, and a filter without results", liar, None, true, Ok),
        ("201 without a body, no externalId", no_body(), None, false, Ok),
        ("nothing is certain", unsure, None, false, Failed),
        ("nothing is shown", Manners::default(), Some(Fault::status("POST", 500)), true, Warning),
    ];
    for (row, manners, fault, has_external_id, outcome) in table {
        let desk = Desk::start().await;
        desk.sim.add_user("other@example.com");
        desk.sim.set_manners(manners);
        if let Some(fault) = fault {
            desk.sim.fail(fault);
        }
        let mapping = if has_external_id { mapping(&[]) } else { mapping(&[("externalId", "")]) };
        let address = Address::parse("trial@example.com");
        let steps = checked(&desk.client, &mapping, address.as_ref().ok()).await;
        assert_eq!(step(&steps, "create").0, Failed, "{row}: {steps:#?}");
        assert_eq!(step(&steps, "delete").0, outcome, "{row}: {steps:#?}");
        let left = desk.sim.user("trial@example.com");
        assert_eq!(left.is_some(), outcome == Failed, "{row}");
        let remedy = steps.last().and_then(|step| step.remedy.clone()).unwrap_or_default();
        if let Some(left) = left {
            assert!(remedy.contains(left["id"].as_str().unwrap()), "{row}: {remedy}");
        }
        assert_eq!(remedy.contains("trial@example.com"), outcome != Ok, "{row}: {remedy}");
    }
}

#[tokio::test]
async fn a_token_that_the_target_repeats_is_hidden_in_each_finding() {
    let desk = Desk::start().await;
    (0..3).for_each(|n| drop(desk.sim.add_user(&format!("user{n}@example.com"))));
    let echo = format!(r#"{{"detail":"your header was Bearer {}"}}"#, desk.sim.token());
    for (method, path) in [
        ("GET", "ServiceProviderConfig"),
        ("GET", "startIndex=1&count=100"),
        ("GET", "count=2"),
        ("GET", "filter"),
        ("POST", "Users"),
        ("PATCH", "Users"),
    ] {
        for status in [400, 401, 500] {
            desk.sim.fail(Fault::answer(method, status, &[], &echo).at(path));
            let steps = format!("{:?}", desk.check(Some("trial@example.com")).await);
            assert!(!steps.contains(&desk.sim.token()), "{method} {path} {status}: {steps}");
            // A refused filter has no words.
            assert!(path == "filter" && status == 400 || steps.contains("[hidden]"), "{steps}");
            desk.sim.clear_faults();
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_in_the_middle_fails_the_check() {
    for (name, path) in [("attributes", "Schemas"), ("paging", "count=2"), ("filter", "filter=")] {
        let desk = Desk::start().await;
        (0..7).for_each(|n| drop(desk.sim.add_user(&format!("user{n}@example.com"))));
        desk.sim.fail(Fault::status("GET", 401).at(path));
        let steps = desk.check(Some("trial@example.com")).await;
        let last = steps.last().unwrap();
        assert_eq!((last.name, last.outcome), (name, CheckOutcome::Failed), "{steps:#?}");
        assert!(last.finding.contains("refuses the token"), "{steps:#?}");
        assert!(last.remedy.as_ref().unwrap().contains("a valid token"), "{steps:#?}");
    }
}

#[tokio::test]
async fn a_target_by_http_that_gives_no_answer_is_not_blamed_on_a_certificate() {
    let table = [
        (Fault::hang("GET", false), "no answer within", "raise timeout"),
        (Fault::endless("GET"), "is longer than", "correct the url"),
        (Fault::cut_before("GET"), "connection closed", "correct the url"),
    ];
    for (fault, words, remedy) in table {
        let limit = Duration::from_millis(if words.starts_with("no") { 300 } else { 20_000 });
        let desk = Desk::with(|settings| settings.timeout = limit).await;
        desk.sim.fail(fault);
        let steps = desk.check(None).await;
        let last = steps.last().unwrap();
        assert_eq!((last.name, last.outcome), ("service", CheckOutcome::Failed), "{steps:#?}");
        assert!(last.finding.contains(words), "{steps:#?}");
        assert!(last.remedy.as_ref().unwrap().contains(remedy), "{steps:#?}");
    }
}

#[tokio::test]
async fn a_redirect_is_reported_with_its_place_and_without_its_query() {
    for (to, place) in [
        ("https://sso.example.com/login?s=MARKER", "a redirect to https://sso.example.com,"),
        ("/login?s=MARKER", "a redirect to /login,"),
    ] {
        let desk = Desk::start().await;
        desk.sim.fail(Fault::answer("GET", 302, &[("location", to)], "").at("Users"));
        let steps = desk.check(None).await;
        assert!(step(&steps, "list").1.contains(place), "{steps:#?}");
        assert!(!format!("{steps:?}").contains("MARKER"), "{steps:#?}");
    }
}

#[tokio::test]
async fn a_token_that_has_expired_by_its_own_word_fails_the_check() {
    let now = rosterd::clock::Clock::system().now();
    let day = Duration::from_hours(24);
    for (exp, outcome, words) in [
        (now.minus(day), CheckOutcome::Failed, "the token expired on"),
        (now.plus(day * 3), CheckOutcome::Warning, "the token is valid until"),
        (now.plus(day * 90), CheckOutcome::Ok, "the token is valid until"),
    ] {
        let desk = Desk::start().await;
        let token = jwt(exp);
        desk.write_token(&token);
        desk.sim.set_token(&token);
        let steps = desk.check(None).await;
        let found = step(&steps, "token");
        assert!(found.0 == outcome && found.1.starts_with(words), "{steps:#?}");
    }
}

/// Returns a JWT that expires at a time.
pub(crate) fn jwt(exp: Timestamp) -> String {
    use base64::Engine as _;
    let claims = serde_json::json!({ "exp": exp.to_utc().timestamp() }).to_string();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
    format!("eyJhbGciOiJub25lIn0.{claims}.signature")
}

#[tokio::test]
async fn a_throttled_list_says_so() {
    let desk = Desk::start().await;
    desk.sim.fail(Fault::answer("GET", 429, &[("retry-after", "7")], "").at("Users"));
    let capabilities = capabilities(&desk.client);
    let listed = list(&desk.client, &capabilities, drop).await;
    let Err(ListError::Answered(Outcome::Retry { after, is_down, .. })) = listed else {
        panic!("{listed:?}")
    };
    assert_eq!((after, is_down), (Some(Duration::from_secs(7)), true));
}
