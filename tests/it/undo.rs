//! Undo: decided on companies in memory, and done by a whole engine.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rosterd::engine::Undone;
use rosterd::model::*;
use rosterd::model::{ChangeVerb, Reason};
use rosterd::store::EventFilter;

use crate::firm::{Firm, alice};
use crate::world::*;

const GRACE_PERIOD: Duration = Duration::from_mins(11);

fn nothing_lost() -> Loss {
    Loss::default()
}

/// Returns a company after an event, and the changes that were applied in the end.
fn after(change: impl FnOnce(&mut Company)) -> (Company, Vec<WrittenChange>) {
    let mut company = Company::running(60);
    change(&mut company);
    let mut done = Vec::new();
    for _ in 0..2 {
        company.run(&nothing_lost());
        done.extend(company.written.clone());
        company.later(GRACE_PERIOD);
    }
    (company, done)
}

fn runs(company: &mut Company) -> Vec<String> {
    let mut kinds = Vec::new();
    for _ in 0..3 {
        company.run(&nothing_lost());
        kinds.extend(
            company
                .written
                .iter()
                .map(|c| format!("{} {}", c.email.clone().unwrap_or_default(), c.kind)),
        );
        company.later(GRACE_PERIOD);
    }
    kinds
}

#[test]
fn an_undone_suspension_stays_undone_until_the_directory_changes() {
    let (mut company, done) = after(|c| (c.person(1).pro, c.person(1).basic) = (false, false));
    assert_eq!(company.status(1), Status::Suspended);
    assert_eq!(company.undo(&done), [""; 0]);
    assert_eq!(company.status(1), Status::Active);
    assert_eq!(runs(&mut company), [""; 0], "the directory is unchanged, and is overridden");
    company.person(1).basic = true;
    assert_eq!(
        runs(&mut company),
        ["p1@example.com update"],
        "a change of the directory ends the override"
    );
    company.person(1).basic = false;
    assert_eq!(runs(&mut company), ["p1@example.com suspend"]);
}

#[test]
fn a_suspension_seen_in_the_directory_is_never_undone() {
    for (change, reason) in [(0, "disabled"), (1, "expired"), (2, "deleted")] {
        let (mut company, done) = after(|c| match change {
            0 => c.person(1).disabled = true,
            1 => c.person(1).expires = Expiry::At(Timestamp(1)),
            _ => c.person(1).life = Life::Tombstone,
        });
        let (mut company, done) = if change == 2 {
            company.run(&Loss { tombstones_visible: true, ..Loss::default() });
            let done = if company.written.is_empty() { done } else { company.written.clone() };
            (company, done)
        } else {
            (company, done)
        };
        let done: Vec<WrittenChange> =
            done.into_iter().filter(|c| c.reason.map(Reason::as_str) == Some(reason)).collect();
        if done.is_empty() {
            assert_eq!(change, 2, "a purged person counts as vanished first");
            continue;
        }
        let left = company.undo(&done);
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(
            left[0].ends_with(&format!("the directory shows that it is {reason}: change it there")),
            "{left:?}"
        );
        assert_eq!(company.status(1), Status::Suspended);
    }
}

#[test]
fn an_undone_tier_change_stays_undone_until_the_directory_changes() {
    let (mut company, done) = after(|c| c.person(0).pro = false);
    assert_eq!(company.user(0).tier, Tier::Basic);
    assert_eq!(company.undo(&done), [""; 0]);
    assert_eq!((company.user(0).tier, runs(&mut company).len()), (Tier::Pro, 0));
    company.person(0).pro = true;
    runs(&mut company);
    assert!(company.user(0).overrides.is_empty());
    company.person(0).pro = false;
    runs(&mut company);
    assert_eq!(company.user(0).tier, Tier::Basic);
}

#[test]
fn an_undo_swaps_addresses_back_and_restores_names() {
    let (mut company, done) = after(|c| {
        for n in [1, 2] {
            c.person(n).proxies.clear();
        }
        (c.person(1).mail, c.person(2).mail) =
            ("p2@example.com".to_owned(), "p1@example.com".to_owned());
        c.person(3).name = "Somebody Else".to_owned();
    });
    let mail = |company: &Company, n| {
        company.user(n).addresses.primary.as_ref().unwrap().as_str().to_owned()
    };
    assert_eq!(
        (mail(&company, 1), mail(&company, 2)),
        ("p2@example.com".to_owned(), "p1@example.com".to_owned())
    );
    assert_eq!(company.undo(&done), [""; 0]);
    for _ in 0..2 {
        assert_eq!(
            (mail(&company, 1), mail(&company, 2)),
            ("p1@example.com".to_owned(), "p2@example.com".to_owned())
        );
        assert_eq!(company.user(3).profile.display_name.as_deref(), Some("Person 3"));
        assert_eq!(runs(&mut company), [""; 0], "overridden");
    }
    company.person(1).mail = "p1.new@example.com".to_owned();
    assert_eq!(runs(&mut company).len(), 2, "new addresses end the override");
    assert_eq!(mail(&company, 1), "p1.new@example.com");
}

#[test]
fn an_undo_leaves_an_address_that_another_user_has_now() {
    let (mut company, done) = after(|c| {
        (c.person(1).mail, c.person(1).proxies) = ("new@example.com".to_owned(), Vec::new())
    });
    company.truth.insert(
        guid(77),
        Facts {
            mail: "p1@example.com".to_owned(),
            proxies: Vec::new(),
            ..company.truth[&guid(2)].clone()
        },
    );
    company.run(&nothing_lost());
    assert_eq!(
        company.undo(&done),
        ["new@example.com update: another user holds p1@example.com by now"]
    );
    assert!(company.user(1).overrides.is_empty());
}

#[test]
fn an_undone_import_releases_its_users_until_they_leave_and_return() {
    let (mut company, done) = after(|c| {
        c.truth.insert(
            guid(77),
            Facts {
                mail: "x@example.com".to_owned(),
                proxies: Vec::new(),
                ..c.truth[&guid(2)].clone()
            },
        );
    });
    assert_eq!(done.iter().map(|c| c.kind.as_str()).collect::<Vec<_>>(), ["create"]);
    assert_eq!(company.undo(&done), [""; 0]);
    let back = company.written.clone();
    assert_eq!(company.status(77), Status::Released);
    assert_eq!(runs(&mut company), [""; 0]);
    company.person(77).disabled = true;
    runs(&mut company);
    company.person(77).disabled = false;
    runs(&mut company);
    assert_eq!(
        company.status(77),
        Status::Active,
        "after disabling and enabling, the directory decides again"
    );
    assert_eq!(company.undo(&back), [""; 0]);
    assert!(company.written.is_empty(), "the release has ended");
}

#[test]
fn an_undone_link_is_not_made_again() {
    let mut company = Company::running(60);
    company.unmanaged("late@example.com");
    let before = company.users.values().find(|u| u.link.is_none()).unwrap().clone();
    company.truth.insert(
        guid(77),
        Facts { mail: "late@example.com".to_owned(), ..company.truth[&guid(2)].clone() },
    );
    company.person(77).proxies.clear();
    company.run(&nothing_lost());
    let done = company.written.clone();
    assert_eq!(done.iter().map(|c| c.kind.as_str()).collect::<Vec<_>>(), ["link"]);
    assert_eq!(company.undo(&done), [""; 0]);
    let user = company.users[&before.id].clone();
    assert_eq!(
        (user.link, user.tier, user.addresses, user.profile),
        (None, before.tier, before.addresses, before.profile)
    );
    assert_eq!(runs(&mut company), [""; 0]);
    assert_eq!(company.quarantined.len(), 1, "the person waits for an operator's link");
}

#[test]
fn an_undo_leaves_values_that_have_changed_since_and_reports_them() {
    let (mut company, done) = after(|c| {
        c.person(0).pro = false;
        (c.person(1).pro, c.person(1).basic) = (false, false);
        c.person(2).name = "Somebody Else".to_owned();
        c.person(4).mail = "new4@example.com".to_owned();
    });
    company.person(0).pro = true;
    company.person(1).basic = true;
    company.person(2).name = "Yet Another".to_owned();
    company.person(4).mail = "newer4@example.com".to_owned();
    runs(&mut company);
    let mut left = company.undo(&done);
    left.sort();
    assert_eq!(
        left,
        [
            "p0@example.com tier: its tier has changed since",
            "p1@example.com suspend: it is no longer suspended as no-group by this run",
            "p2@example.com update: its attributes have changed since",
            "p4@example.com update: its addresses have changed since",
        ]
    );
    assert!(company.written.is_empty());
}

#[test]
fn an_undone_reactivation_is_an_operators_suspension() {
    let (mut company, _) = after(|c| (c.person(1).pro, c.person(1).basic) = (false, false));
    company.person(1).basic = true;
    company.run(&nothing_lost());
    let done = company.written.clone();
    assert_eq!(company.status(1), Status::Active);
    assert_eq!(company.undo(&done), [""; 0]);
    assert_eq!(company.user(1).causes.weightiest().map(|c| c.reason), Some(Reason::Operator));
    assert_eq!(runs(&mut company), [""; 0], "no run lifts the suspension");
    let back = company.written.clone();
    assert!(back.is_empty());
}

#[test]
fn undoing_an_undo_returns_the_decision_to_the_directory() {
    let (mut company, done) = after(|c| {
        c.person(0).pro = false;
        (c.person(1).pro, c.person(1).basic) = (false, false);
    });
    company.undo(&done);
    let undone = company.written.clone();
    assert_eq!(company.undo(&undone), [""; 0]);
    assert_eq!(
        (company.user(0).tier, company.status(1)),
        (Tier::Pro, Status::Active),
        "only a run changes the user"
    );
    assert_eq!(runs(&mut company), ["p0@example.com tier", "p1@example.com suspend"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_undone_change_is_repeated_only_when_it_was_positively_seen(
        happenings in prop::collection::vec((0u32..40, 0u8..8, 0u32..40), 1..8),
    ) {
        let (mut company, done) = after(|c| {
            for (who, what, other) in &happenings {
                let mail = c.person(*other).mail.clone();
                let person = c.person(*who);
                match what {
                    0 => person.disabled = true,
                    1 => (person.pro, person.basic) = (false, false),
                    2 => person.pro = !person.pro,
                    3 => person.mail = format!("new{other}@example.com"),
                    4 => person.name = format!("Other {other}"),
                    5 => person.life = Life::Purged,
                    6 => person.ou = "Elsewhere".to_owned(),
                    _ => person.mail = mail,
                }
            }
        });
        let was: BTreeSet<(UserId, ChangeVerb, String)> =
            done.iter().map(|c| (c.user, c.kind, c.after.to_string())).collect();
        let left = company.undo(&done);
        for user in company.users.values() {
            let is_positive = user.causes.iter().any(|c| c.reason.is_positive());
            prop_assert!(user.status() == Status::Active || is_positive || !left.is_empty());
        }
        for _ in 0..3 {
            company.run(&nothing_lost());
            for change in &company.written {
                let is_again = was.contains(&(change.user, change.kind, change.after.to_string()));
                let is_positive = change.reason.is_some_and(Reason::is_positive);
                prop_assert!(!is_again || is_positive, "{change:?}");
            }
            company.later(GRACE_PERIOD);
        }
    }
}

fn leave_all_groups(firm: &Firm, who: &str) {
    let groups = [adsim::names::PRO, adsim::names::BASIC, adsim::names::PRO_NESTED];
    firm.sim.edit(|ad| groups.iter().for_each(|group| ad.remove_member(*group, who)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_of_a_mass_suspension_has_events_and_is_shown_on_its_run() {
    let firm = Firm::running(100, |c| c.limits.grace_period = Duration::ZERO).await;
    let users = firm.users().await;
    let dn = |n: usize| users[n].link.as_ref().unwrap().dn.as_str().to_owned();
    for n in 0..3 {
        leave_all_groups(&firm, &dn(n));
    }
    firm.sim.edit(|ad| ad.disable(dn(3).as_str()));
    let run = firm.sync().await;
    assert_eq!(run.counts.suspend, 4, "{run:?}");
    let would = firm.engine.plan_undo(run.id).await.unwrap();
    assert_eq!(
        (would.changes.len(), would.left.len(), would.run.is_none()),
        (6, 1, true),
        "{would:?}"
    );
    assert_eq!(
        firm.user(&users[0].id.to_string()).await.status(),
        Status::Suspended,
        "the plan changes nothing"
    );

    let Undone { run: undo, left, read, .. } = firm.engine.undo(run.id, &alice()).await.unwrap();
    let undo = undo.expect("a run");
    assert_eq!(
        (
            undo.trigger,
            undo.undoes,
            undo.counts.reactivate,
            undo.directory.as_ref().map_or("", |name| name.as_str()),
        ),
        (Trigger::Undo, Some(run.id), 3, "corp")
    );
    assert_eq!((left.len(), left[0].user), (1, users[3].id));
    assert_eq!(read.map(|r| (r.state, r.counts.total())), Some((RunState::Succeeded, 0)));
    for (n, user) in users.iter().enumerate().take(4) {
        let status = if n < 3 { Status::Active } else { Status::Suspended };
        assert_eq!(firm.user(&user.id.to_string()).await.status(), status, "{n}");
    }
    assert_eq!(firm.engine.store.undone_by(run.id).await.unwrap(), Some(undo.id));
    let of_undo = EventFilter { run: Some(undo.id), limit: 20, ..EventFilter::default() };
    let events = firm.engine.store.events(&of_undo).await.unwrap();
    let kinds: Vec<&str> = events.iter().filter_map(|e| e.document["type"].as_str()).collect();
    assert_eq!(kinds.iter().filter(|k| **k == "user.reactivated").count(), 3);
    let told =
        events.iter().find(|e| e.document["type"] == "run.undone").expect("an event of the undo");
    assert_eq!(
        (&told.document["subject"], &told.document["data"]["actor"]),
        (&run.id.to_string().into(), &"alice".into())
    );
    let quiet = firm.sync().await;
    assert_eq!((quiet.counts.total(), quiet.held), (0, 0), "the directory is overridden");
    firm.engine.clear_override(&users[0].id.to_string(), &alice()).await.unwrap();
    assert_eq!(firm.sync().await.counts.suspend, 1, "the cleared override");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_needs_no_directory_and_reactivates_no_later_leaver() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let users = firm.users().await;
    let dn = |n: usize| users[n].link.as_ref().unwrap().dn.as_str().to_owned();
    for n in 0..2 {
        leave_all_groups(&firm, &dn(n));
    }
    let run = firm.sync().await;
    assert_eq!(run.counts.suspend, 2);
    firm.sim.edit(|ad| ad.disable(dn(0).as_str()));
    let undone = firm.engine.undo(run.id, &alice()).await.unwrap();
    assert_eq!(undone.read.map(|r| r.counts.suspend), Some(1), "the people were read again");
    let causes = firm.user(&users[0].id.to_string()).await.causes;
    assert_eq!(causes.iter().map(|c| c.reason).collect::<Vec<_>>(), [Reason::Disabled]);
    let again = firm.engine.undo(run.id, &alice()).await.unwrap();
    assert!(
        again.run.is_none() && again.left.len() == 2,
        "nothing is left to be taken back: {again:?}"
    );
}
