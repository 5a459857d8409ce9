//! Runs over lists that are not what they seem: no account is changed, and leavers are found.

use rosterd::engine::TargetCondition;
use scimsim::Paging;

use super::*;

/// A company with a target whose pages have three accounts, the first of which is of no user, and
/// with a user who left.
struct Library {
    office: Office,
    stranger: String,
    leaver: User,
}

impl Library {
    async fn open() -> Self {
        let office = Office::before(9, |config, _| {
            config.client.page_size = 3;
            config.client.timeout = Duration::from_secs(2);
        })
        .await;
        let stranger = office.sim.add_user("stranger@elsewhere.example");
        office.start().await;
        let users = office.firm.active().await;
        until("each user has an account", async || {
            (office.active().len() == users + 1).then_some(())
        })
        .await;
        office.at_rest().await;
        let leaver = office.firm.users().await.pop().expect("a user");
        office.leave(&leaver).await;
        office.becomes(&leaver, false).await;
        office.at_rest().await;
        Self { office, stranger, leaver }
    }

    /// Runs over the target after another client activated the leaver. Nothing else may change.
    async fn run(&self, what: &str) -> rosterd::store::Run {
        let shown = |office: &Office| -> Vec<Value> {
            let users = office.sim.users().into_iter();
            users
                .map(|mut user| {
                    user["meta"] = Value::Null;
                    user
                })
                .collect()
        };
        let office = &self.office;
        let before = shown(office);
        let id = id_of(&office.account(&self.leaver).expect("an account"));
        office.sim.set(&id, "active", json!(true));
        let run = office.run().await;
        let found = (run.counts.total(), run.held, run.error.clone());
        assert_eq!(found, (0, 0, None), "{what}: {:?}", run.warnings);
        office.becomes(&self.leaver, false).await;
        office.at_rest().await;
        assert_eq!(shown(office), before, "{what}");
        assert!(office.status().await.state.last_complete_run.is_some(), "{what}");
        run
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_dishonest_pages_changes_nothing_and_finds_each_leaver() {
    let library = Library::open().await;
    let table = [
        ("honest", Paging::Index, false, None),
        ("G26 ignored", Paging::Ignored, false, Some("no account that was not on an earlier")),
        ("G26 from zero", Paging::FromZero, false, Some("totalResults says")),
        ("G26 overlapping", Paging::Overlapping, false, None),
        ("G26 fewer than counted", Paging::Index, true, Some("totalResults says")),
        ("G27 cursor", Paging::Cursor, false, None),
        ("G27 expired", Paging::ExpiringCursor, false, Some("the cursor expired")),
        (
            "G27 unchanged",
            Paging::StuckCursor,
            false,
            Some("no account that was not on an earlier"),
        ),
    ];
    for (row, paging, counts_more, partial) in table {
        library.office.sim.set_manners(Manners { paging, counts_more, ..Manners::default() });
        let before = library.office.sim.log().len();
        let run = library.run(row).await;
        assert_eq!(run.complete, partial.is_none(), "{row}: {:?}", run.warnings);
        if let Some(words) = partial {
            assert!(run.warnings.iter().any(|w| w.contains(words)), "{row}: {:?}", run.warnings);
        }
        let asked = library.office.sim.log().len() - before;
        assert!(asked < 60, "{row}: {asked} requests");
    }
    // Where the list cannot be read whole, the other accounts are unknown.
    library.office.sim.set_manners(Manners { paging: Paging::Ignored, ..Manners::default() });
    library.run("unknown").await;
    assert_eq!(library.office.status().await.state.listed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_page_of_a_round_number_is_no_whole_list() {
    let office = Office::before(90, |config, _| {
        config.client.page_size = 0;
        config.client.quirks.paging = Some(rosterd::reconcile::provision::Paging::None);
    })
    .await;
    let manners = Manners { paging: Paging::OnePage, page: 50, ..Manners::default() };
    office.sim.set_manners(manners);
    office.start().await;
    office.approve_all().await;
    let users = office.firm.active().await;
    until("each user has an account", async || (office.active().len() == users).then_some(()))
        .await;
    office.at_rest().await;
    let last = office.firm.users().await.pop().expect("a user");
    office.leave(&last).await;
    office.becomes(&last, false).await;
    office.at_rest().await;
    office.sim.set(&id_of(&office.account(&last).expect("an account")), "active", json!(true));
    let run = office.run().await;
    assert_eq!((run.counts.total(), run.held, run.error), (0, 0, None));
    assert!(!run.complete, "{:?}", run.warnings);
    office.becomes(&last, false).await;
    assert_eq!(office.status().await.state.listed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_deletion_hides_between_pages_is_asked_for_by_its_id() {
    let library = Library::open().await;
    let delete = Fault::delete("GET", &library.stranger).at("startIndex=4").times(1);
    let accounts = library.office.sim.users().len();
    library.office.sim.fail(delete);
    let run = library.office.run().await;
    assert_eq!((run.counts.total(), run.held, run.error), (0, 0, None));
    assert_eq!(library.office.sim.users().len(), accounts - 1, "the stranger was deleted");
    assert!(library.office.kinds_held().await.is_empty());
    assert!(library.run("the next run").await.complete);
}

/// A body of a list, made of its accounts, with its content type.
type Body = (&'static str, &'static str, fn(Vec<Value>) -> String);

fn list(accounts: &[Value]) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": accounts.len(), "Resources": accounts,
    })
}

fn with_active(accounts: Vec<Value>, active: impl Fn(bool) -> Value) -> String {
    let change = |mut account: Value| {
        account["active"] = active(account["active"] != json!(false));
        account
    };
    list(&accounts.into_iter().map(change).collect::<Vec<_>>()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_any_form_is_read_right_or_the_accounts_are_asked_for() {
    let library = Library::open().await;
    let json = "application/scim+json";
    let table: [Body; 11] = [
        ("JSON as HTML", "text/html", |all| list(&all).to_string()),
        ("a byte-order mark", json, |all| format!("\u{feff}{}", list(&all))),
        ("names in lower case, and numbers as text", json, |all| {
            json!({ "totalresults": all.len().to_string(), "resources": all }).to_string()
        }),
        ("active as a word", json, |all| {
            with_active(all, |active| json!(if active { "True" } else { "False" }))
        }),
        ("active as a number", json, |all| with_active(all, |active| json!(i32::from(active)))),
        ("active is null", json, |all| with_active(all, |_| Value::Null)),
        ("unknown attributes", json, |all| {
            let more = |mut account: Value| {
                account["urn:example:params:x"] = json!({ "a": [1, null, {}] });
                account
            };
            list(&all.into_iter().map(more).collect::<Vec<_>>()).to_string()
        }),
        ("duplicate attributes", json, |all| {
            list(&all).to_string().replace("\"active\":", "\"active\":null,\"active\":")
        }),
        ("an array", json, |all| json!(all).to_string()),
        ("an object that is no list", json, |_| json!({ "error": "none" }).to_string()),
        ("accounts without an id", json, |all| {
            list(&all).to_string().replace("\"id\"", "\"ident\"")
        }),
    ];
    for (what, kind, body) in table {
        let id = id_of(&library.office.account(&library.leaver).expect("an account"));
        let mut accounts = library.office.sim.users();
        // The list shows the leaver as another client left it.
        for account in accounts.iter_mut().filter(|account| account["id"] == id.as_str()) {
            account["active"] = json!(true);
        }
        let answer = Fault::answer("GET", 200, &[("content-type", kind)], &body(accounts));
        library.office.sim.fail(answer.at("Users?"));
        if what == "active is null" {
            // An account that shows no `active` is taken at its last word.
            let run = library.office.run().await;
            assert_eq!((run.counts.total(), run.held, run.error), (0, 0, None), "{what}");
        } else {
            library.run(what).await;
        }
        library.office.sim.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_breaks_off_is_partial_and_the_others_are_asked_for() {
    let library = Library::open().await;
    let table = [
        ("cut", Fault::cut_after("GET")),
        ("endless", Fault::endless("GET")),
        ("a byte a second", Fault::drip("GET")),
        ("an error", Fault::status("GET", 500)),
        ("a login page", Fault::login_page("GET", 200)),
        ("nothing", Fault::hang("GET", false)),
    ];
    for (what, fault) in table {
        library.office.sim.fail(fault.at("startIndex=4"));
        let run = library.run(what).await;
        let words = "a page cannot be read";
        assert!(run.warnings.iter().any(|w| w.contains(words)), "{what}: {:?}", run.warnings);
        assert!(!run.complete, "{what}");
        library.office.sim.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stops_takes_the_leavers_out_that_it_saw() {
    let library = Library::open().await;
    let office = &library.office;
    let id = id_of(&office.account(&library.leaver).expect("an account"));
    office.sim.set(&id, "active", json!(true));
    // All pages come, and then the target is down: one account was not listed.
    let other = office.someone().await;
    let hidden = id_of(&office.account(&other).expect("an account"));
    office.sim.fail(Fault::delete("GET", &hidden).at("startIndex=1").times(1));
    office.sim.fail(Fault::cut_before("GET").at(&hidden));
    let target = office.firm.engine.target(NAME).expect("the target");
    let request = TargetRequest::full(Trigger::Manual, Some(alice()));
    let run = office.firm.engine.run_target(&target, request).await.expect("a run");
    assert_eq!(run.state, RunState::Failed, "{run:?}");
    until("the account is inactive", async || {
        office.later(Duration::from_mins(1)).await;
        (office.is_active(&library.leaver) == Some(false)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_read_stops_no_run() {
    let office = Office::with(9, |config, _| config.client.page_size = 3).await;
    office.sim.set_manners(Manners { paging: Paging::Ignored, ..Manners::default() });
    let users = office.firm.users().await;
    let last = id_of(&office.account(&users[users.len() - 1]).expect("an account"));
    office.sim.fail(Fault::status("GET", 500).at(&last));
    let run = office.run().await;
    assert_eq!((run.counts.total(), run.held, run.error), (0, 0, None));
    let words = "1 accounts were not read: it answered 500";
    assert!(run.warnings.iter().any(|w| w.contains(words)), "{:?}", run.warnings);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_appears_late_is_not_gone_and_not_made_twice() {
    let office = Office::with(9, |config, _| {
        config.client.page_size = 3;
        config.limits.grace_period = Duration::from_mins(10);
    })
    .await;
    let joiner = adsim::NewPerson::new("joiner").mail("joiner@example.com");
    office.firm.sim.edit(|ad| ad.add_person(joiner.member_of(adsim::names::PRO)));
    office.firm.sync().await;
    let user = office.firm.user("joiner@example.com").await;
    let account = until("the joiner has an account", async || office.account(&user)).await;
    office.at_rest().await;
    // The list and a read by id do not show the new account for a minute.
    office.sim.set_manners(Manners { paging: Paging::Ignored, ..Manners::default() });
    office.sim.fail(Fault::status("GET", 404).at(&id_of(&account)));
    let run = office.run().await;
    assert_eq!((run.counts.total(), run.held, run.error), (0, 0, None));
    assert_eq!(office.problem(&user).await, Some(ProvisionProblem::Missing));
    office.sim.clear_faults();
    office.firm.later(Duration::from_hours(1));
    let run = office.run().await;
    assert_eq!((run.counts.total(), run.held, run.error), (0, 0, None));
    assert_eq!(office.problem(&user).await, None);
    let row = office.row(&user).await.expect("a row");
    assert_eq!((row.found_at, row.account.id.map(|id| id.0)), (None, Some(id_of(&account))));
    let creations = office.sim.log().iter().filter(|request| request.method == "POST").count();
    assert_eq!(creations, office.sim.users().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_that_reads_no_account_fails_and_the_target_is_degraded() {
    let refusal = || Fault::status("GET", 500).at("Users");
    let table = [
        ("500, and no account is linked", false, 5, refusal()),
        ("500, and more users than are tried", true, 30, refusal()),
        ("frozen", true, 5, Fault::hang("GET", false).at("Users")),
    ];
    for (what, is_linked, people, fault) in table {
        let timeout = |config: &mut TargetConfig, _: &Sim| {
            config.client.timeout = Duration::from_secs(1);
        };
        let office = if is_linked {
            Office::with(people, timeout).await
        } else {
            Office::before(people, timeout).await
        };
        office.sim.fail(fault);
        let target = office.firm.engine.target(NAME).expect("the target");
        let request = TargetRequest::full(Trigger::Manual, Some(alice()));
        let run = office.firm.engine.run_target(&target, request).await.expect("a run");
        assert_eq!(run.state, RunState::Failed, "{what}: {run:?}");
        let status = office.status().await;
        assert_eq!(status.condition, TargetCondition::Degraded, "{what}");
        let said = status.attention.iter().any(|line| line.contains("the last full run failed"));
        assert!(said, "{what}: {:?}", status.attention);
        office.sim.clear_faults();
        let request = TargetRequest::full(Trigger::Manual, Some(alice()));
        let run = office.firm.engine.run_target(&target, request).await.expect("a run");
        assert_ne!(run.state, RunState::Failed, "{what}: {run:?}");
        let status = office.status().await;
        assert_ne!(status.condition, TargetCondition::Degraded, "{what}: {:?}", status.attention);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_counts_only_the_accounts_that_it_asked_for() {
    let office = Office::before(40, |config, _| config.client.page_size = 3).await;
    // Every second user leaves before the import, so that it has no account to ask for.
    let users = office.firm.users().await;
    office.firm.sim.edit(|ad| {
        for user in users.iter().step_by(2) {
            ad.disable(crate::firm::guid_of(user));
        }
    });
    office.firm.sync().await;
    office.start().await;
    office.approve_all().await;
    let active = office.firm.active().await;
    until("each user has an account", async || (office.active().len() == active).then_some(()))
        .await;
    office.at_rest().await;
    office.sim.set_manners(Manners { paging: Paging::Ignored, ..Manners::default() });
    office.sim.fail(Fault::status("GET", 500).at("Users/").after(3));
    let target = office.firm.engine.target(NAME).expect("the target");
    let request = TargetRequest::full(Trigger::Manual, Some(alice()));
    let run = office.firm.engine.run_target(&target, request).await.expect("a run");
    assert_eq!(run.state, RunState::Failed, "{run:?}");
}
