//! Gates: real programs that are asked before a plan is applied.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use adsim::NewPerson;
use rosterd::model::{Gate, HoldReason, Program, RunState, Status};
use serde_json::Value;

use crate::firm::{Firm, alice, dn_of};

impl Firm {
    /// Configures this script as the gate of every plan.
    fn set_gate(&self, script: &str) {
        let path = self.folder.path().join("gate");
        // A running program cannot be written.
        drop(std::fs::remove_file(&path));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let gate = Gate {
            name: "board".into(),
            program: Program { path, arguments: Vec::new(), part: None },
            timeout: Duration::from_secs(20),
        };
        let was = self.engine.configured();
        let rules = rosterd::engine::Rules { gates: vec![gate], ..was.rules.clone() };
        self.engine
            .reconfigure(was.directories.values().map(|d| d.config.clone()).collect(), rules);
    }

    /// Disables an active user in the directory. Returns the user's id.
    async fn disable_one(&self) -> String {
        let user = self.users().await.into_iter().find(|u| u.status() == Status::Active).unwrap();
        self.sim.edit(|ad| ad.disable(user.link.as_ref().unwrap().dn.as_str()));
        user.id.to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_receives_the_plan_and_is_not_asked_about_an_empty_one() {
    let firm = Firm::running(40, |_| {}).await;
    let shown = firm.folder.path().join("shown");
    firm.set_gate(&format!("cat > '{}'", shown.display()));
    firm.sync().await;
    assert!(!shown.exists(), "a run without changes asks no gate");
    let who = firm.disable_one().await;
    let run = firm.sync().await;
    assert_eq!((run.state, run.counts.suspend), (RunState::Succeeded, 1), "{run:?}");
    let plan: Value = serde_json::from_slice(&std::fs::read(&shown).unwrap()).unwrap();
    assert_eq!(
        (&plan["directory"], &plan["changes"][0]["user_id"]),
        (&Value::from("corp"), &Value::from(who)),
        "{plan:#}"
    );
    assert_eq!(
        (&plan["changes"][0]["kind"], &plan["changes"][0]["evidence"][0]["value"]),
        (&Value::from("suspend"), &Value::from("514"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_refused_by_a_gate_is_held_with_the_output_of_the_gate() {
    let firm = Firm::running(40, |_| {}).await;
    firm.set_gate("echo 'not on a Friday'; exit 1");
    let leaver = firm.disable_one().await;
    let run = firm.sync().await;
    assert_eq!((run.state, run.counts.total()), (RunState::Held, 0), "{run:?}");
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    assert_eq!(
        plan.note.as_deref(),
        Some("the gate board holds it: it ended with exit status 1\nnot on a Friday")
    );
    let summary = firm.engine.store.plan_summary(plan.id).await.unwrap();
    assert!(summary.iter().all(|s| s.hold == Some(HoldReason::Gate)), "{summary:?}");
    firm.engine.approve(plan.id, alice()).await.unwrap();
    assert_eq!(
        firm.user(&leaver).await.status(),
        Status::Suspended,
        "an operator's approval needs no gate"
    );
    firm.sim.edit(|ad| {
        let new = ad.add_person(NewPerson::new("new").mail("new@example.com"));
        ad.add_member(adsim::names::BASIC, new);
    });
    assert_eq!(firm.sync().await.held, 1);
    firm.set_gate("exit 0");
    let run = firm.sync().await;
    assert_eq!((run.state, run.counts.create), (RunState::Succeeded, 1), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_does_not_wait_for_a_gate_and_a_changed_plan_is_asked_about_again() {
    let firm = Firm::running(40, |_| {}).await;
    let asked = firm.folder.path().join("asked");
    firm.set_gate(&format!(
        "cat > /dev/null; echo x >> '{0}'; while [ ! -e '{0}.go' ]; do sleep 0.05; done",
        asked.display()
    ));
    let who = firm.disable_one().await;
    let other = firm
        .users()
        .await
        .into_iter()
        .find(|u| u.id.to_string() != who && u.status() == Status::Active)
        .unwrap()
        .id
        .to_string();
    let braked = async {
        while !asked.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The operator suspends another user and the user in the gate's plan.
        firm.engine.suspend(&other, "", &alice()).await.unwrap();
        firm.engine.suspend(&who, "", &alice()).await.unwrap();
        std::fs::write(format!("{}.go", asked.display()), "").unwrap();
    };
    let (run, ()) = tokio::join!(firm.sync(), braked);
    assert_eq!(
        (run.state, run.dropped, run.counts.suspend),
        (RunState::Succeeded, 0, 1),
        "{run:?}"
    );
    assert_eq!(
        std::fs::read_to_string(&asked).unwrap().lines().count(),
        2,
        "the plan has changed, so the gate is asked again"
    );
    let reasons = firm.user(&who).await.causes.iter().count();
    assert_eq!((reasons, firm.user(&other).await.status()), (2, Status::Suspended));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waited_for_a_gate_replaces_nothing_that_was_read_since() {
    let firm = Firm::running(40, |_| {}).await;
    let (asked, go) = (firm.folder.path().join("asked"), firm.folder.path().join("go"));
    // Only the first plan waits.
    let script = "if [ ! -e ASKED ]; then touch ASKED; until [ -e GO ]; do sleep 0.05; done; fi"
        .replace("ASKED", &asked.display().to_string())
        .replace("GO", &go.display().to_string());
    firm.set_gate(&script);
    let user = firm.users().await.into_iter().find(|u| u.status() == Status::Active).unwrap();
    let who = user.id.to_string();
    firm.sim.edit(|ad| ad.set(dn_of(&user).as_str(), "title", "Chief"));
    let end = firm.clock.now().plus(Duration::from_hours(1));
    let meanwhile = async {
        while !asked.exists() {
            tokio::task::yield_now().await;
        }
        firm.sim.edit(|ad| {
            ad.set_expiry(dn_of(&user).as_str(), adsim::Expiry::Ticks(end.to_filetime()))
        });
        firm.engine.sync_user(&who, &alice()).await.expect("a run");
        std::fs::write(&go, "").unwrap();
    };
    let (run, ()) = tokio::join!(firm.sync(), meanwhile);
    assert_eq!(run.error, None, "{run:?}");
    let name = firm.engine.directory("corp").unwrap().config.name.clone();
    let due = firm.engine.store.expiries(&name, firm.clock.now()).await.unwrap();
    assert_eq!(due.len(), 1, "the older run has not read the expiry: {due:?}");
}
