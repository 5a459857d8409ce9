//! Notes of operators on people: they stay with the user, and operators and hooks see them.

use std::time::Duration;

use adsim::{NewPerson, names};
use rosterd::engine::{EngineError, Rules};
use rosterd::model::{Mode, NoteText, Retention, Status, User};
use serde_json::{Value, json};

use crate::firm::{Firm, again, alice, dn_of, guid_of, held_plan, see_tombstones};
use crate::socket::{Office, rosterctl};

const DAY: Duration = Duration::from_hours(24);

async fn write(firm: &Firm, user: &User, text: &str) {
    firm.engine.note(&user.id.to_string(), Some(text), &alice()).await.expect("a note");
}

fn text(user: &User) -> Option<&str> {
    user.note.as_ref().map(|note| note.text.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_stays_with_the_user_through_runs_and_a_relink_until_the_removal() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    see_tombstones(&firm).await;
    let user = firm.users().await.remove(0);
    let version = user.version;
    write(&firm, &user, "legal hold").await;
    assert_eq!(again(&firm, &user).await.version, version, "no planned change depends on a note");
    firm.sim.edit(|ad| ad.set(dn_of(&user).as_str(), "title", "Chief"));
    firm.sync().await;
    assert_eq!(text(&again(&firm, &user).await), Some("legal hold"));
    // The entry is deleted, and the person is created anew.
    let mail = user.addresses.primary.clone().unwrap();
    firm.sim.edit(|ad| ad.delete(guid_of(&user)));
    firm.sync().await;
    let new = firm.sim.edit(|ad| {
        ad.add_person(NewPerson::new("again").mail(mail.as_str()).member_of(names::BASIC))
    });
    firm.sync().await;
    firm.engine.relink(&user.id.to_string(), &new.to_string(), &alice()).await.unwrap();
    let relinked = again(&firm, &user).await;
    assert_eq!((guid_of(&relinked), text(&relinked)), (new, Some("legal hold")));
    let restarted = firm.restarted();
    let stored = restarted.find_user(&user.id.to_string()).await.unwrap();
    assert_eq!(stored.note, relinked.note);

    // A user that is removed for good and comes back is another one, and has no note.
    let was = firm.engine.configured();
    let directories = was.directories.values().map(|d| d.config.clone()).collect();
    let retention = Retention { remove_after: Some(DAY), ..Retention::default() };
    firm.engine.reconfigure(directories, Rules { retention, ..was.rules.clone() });
    firm.sim.edit(|ad| ad.disable(new));
    firm.sync().await;
    firm.later(DAY * 2);
    assert_eq!(firm.engine.apply_retention().await.unwrap().removed, 1);
    firm.sim.edit(|ad| ad.enable(new));
    firm.sync().await;
    assert_eq!(text(&firm.user(mail.as_str()).await), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_see_the_note_in_its_own_event_and_in_each_later_event_of_the_user() {
    let firm = Firm::running(20, |_| {}).await;
    let user = firm.users().await.remove(0);
    let who = user.id.to_string();
    write(&firm, &user, "parental leave").await;
    // An equal text changes nothing.
    write(&firm, &user, " parental leave ").await;
    firm.sim.edit(|ad| ad.disable(dn_of(&user).as_str()));
    firm.sync().await;
    assert_eq!(again(&firm, &user).await.status(), Status::Suspended);
    let suspended = &firm.events("user.suspended").await[0]["data"]["user"];
    for side in ["before", "after"] {
        assert_eq!(suspended[side]["note"], "parental leave", "{suspended}");
    }
    firm.engine.note(&who, None, &alice()).await.unwrap();
    let seen: Vec<Value> = firm
        .events("user.noted")
        .await
        .iter()
        .map(|event| {
            let data = &event["data"];
            assert_eq!((&data["actor"], &data["account"]), (&json!("alice"), &json!("acme")));
            assert_eq!(data["user"]["after"]["note"], data["after"]["note"], "{data}");
            json!([data["before"]["note"], data["after"]["note"]])
        })
        .collect();
    assert_eq!(seen, [json!([null, "parental leave"]), json!(["parental leave", null])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_cannot_be_kept_is_refused_with_the_reason() {
    let firm = Firm::running(20, |_| {}).await;
    let who = firm.users().await[0].id.to_string();
    let too_long = "x".repeat(NoteText::MAX + 1);
    for (note, why) in [
        (Some(too_long.as_str()), "the note has 201 characters, and 200 are the most"),
        (Some(" "), "the note is empty"),
        (Some("legal\nhold"), "on one line"),
        (None, "has no note: rosterctl user list --noted"),
    ] {
        let refused: EngineError = firm.engine.note(&who, note, &alice()).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert_eq!(firm.events("user.noted").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_the_note_of_a_person_in_lists_plans_and_reports() {
    let office = Office::open().await;
    let firm = &office.firm;
    let active = |user: &User| user.link.is_some() && user.status() == Status::Active;
    let user = firm.users().await.into_iter().find(active).unwrap();
    let who = user.id.to_string();
    let (_, noted, _) =
        rosterctl(&office, &format!("user note {who} leave\u{202e}(parental)")).await;
    assert!(noted.contains("has the note \"leave\\u{202e}(parental)\""), "{noted}");
    firm.sync().await;
    firm.reconfigure(|config| config.mode = Mode::PlanOnly);
    firm.sim.edit(|ad| {
        for group in [names::PRO, names::PRO_NESTED, names::BASIC] {
            ad.remove_member(group, dn_of(&user).as_str());
        }
    });
    firm.sync().await;
    let plan = held_plan(firm).await.id;
    let shown = "leave\\u{202e}(parental)";
    for command in [
        format!("user show {who}"),
        format!("user explain {who}"),
        "user list --noted --csv".to_owned(),
        format!("held show {plan}"),
        format!("held show {plan} --by ou"),
        format!("held show {plan} --csv"),
        "report access-review --csv".to_owned(),
    ] {
        let (_, out, err) = rosterctl(&office, &command).await;
        assert!(out.contains(shown) && err.is_empty(), "rosterctl {command}:\n{out}{err}");
    }
    let events = firm.events("run.held").await;
    let reported = &events.last().expect("an event")["data"]["after"]["people"];
    let noted = |person: &Value| person["note"].as_str().is_some_and(|note| note.contains("leave"));
    let people = reported.as_array().expect("people");
    assert_eq!(
        people.iter().filter(|person| noted(person)).count(),
        1,
        "a mail has it: {reported}"
    );
    // A narrow table wraps the text.
    for command in ["user list --noted", "report access-review"] {
        let (_, out, _) = rosterctl(&office, command).await;
        assert!(out.to_lowercase().contains("note"), "rosterctl {command}:\n{out}");
    }
    let (_, list, _) = rosterctl(&office, "user list --noted --count").await;
    assert_eq!(list, "1\n");
    let (_, cleared, _) = rosterctl(&office, &format!("user note {who} --clear")).await;
    assert!(cleared.contains("has no note any more"), "{cleared}");
    let (_, again, _) = rosterctl(&office, &format!("held show {plan}")).await;
    assert!(!again.contains(shown), "{again}");
}
