//! The console as the operator starts it: the two binaries over a domain controller, and Chromium.

use std::fmt::Write as _;
use std::process::Child;

use serde_json::{Value, json};

use super::branch::PROVISIONED;
use super::office::Office;
use super::{BASIC, staff};
use crate::console::browser::Browser;

const PEOPLE: usize = 300;

/// Hires people for OU=Sales in one request each way. Returns their DNs.
fn hire(office: &Office) -> Vec<String> {
    let mut ldif = String::new();
    let dns: Vec<String> = (0..PEOPLE).map(|n| staff("Sales", &format!("Temp {n:03}"))).collect();
    for (n, dn) in dns.iter().enumerate() {
        let _ = write!(
            ldif,
            "dn: {dn}\nchangetype: add\nobjectClass: user\nsAMAccountName: temp{n:03}\nmail: temp{n:03}@example.com\n\
             displayName: Temp {n:03}\ndepartment: Season {}\nuserAccountControl: 544\n\n",
            n % 3
        );
    }
    office.lab.ldif(&ldif);
    office.lab.ldif(&members("add", &dns));
    dns
}

fn members(verb: &str, dns: &[String]) -> String {
    let lines: Vec<String> = dns.iter().map(|dn| format!("member: {dn}")).collect();
    format!("dn: {BASIC}\nchangetype: modify\n{verb}: member\n{}\n", lines.join("\n"))
}

/// A process that is ended with its test.
struct Ended(Child);

impl Ended {
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.end();
    }
}

fn suspended(office: &Office) -> usize {
    office.users().iter().filter(|user| user["status"] == "suspended").count()
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_300_people_is_decided_in_a_browser_as_the_operator() {
    let office = Office::of_acme("[directory.safety]\ngrace-period = \"0s\"");
    let dns = hire(&office);
    let approve = |comment: &str| {
        office.ctl("sync corp");
        let id = office.done("held list")["held"][0]["id"].as_str().unwrap().to_owned();
        office.done(&format!("held approve {id} --comment {comment}"));
    };
    approve("import");
    assert_eq!(office.users().len(), PROVISIONED + PEOPLE);
    office.lab.ldif(&members("delete", &dns));
    // A run that misses an answer of a busy controller takes no tier away.
    for _ in 0..5 {
        office.ctl("sync corp");
        if office.done("held list")["held"][0]["count"] == PEOPLE {
            break;
        }
    }
    let (console, link) = office.console();
    let mut console = Ended(console);
    let browser = Browser::start().await;
    let origin = browser.open(&link).await;
    let held = office.done("held list")["held"][0].clone();
    assert_eq!(held["count"], PEOPLE);
    let id = held["id"].as_str().unwrap();

    // A plan that changed after it was opened is refused.
    browser.page.goto(&format!("{origin}/held/{id}")).await.unwrap();
    office.lab.join(BASIC, &dns[7]);
    office.ctl("sync corp");
    browser.fill("input[name=number]", "300").await;
    browser.click("#approve").await;
    let said = browser.text(".notice.bad").await;
    assert!(said.contains("the plan has changed") && said.contains("Temp 007"), "{said}");
    assert_eq!(suspended(&office), 0);

    // The answer shows the present plan, and leaves one person out.
    browser.click("tr[data-text] input[name=who]").await;
    assert_eq!(browser.text("#chosen").await, "298");
    browser.fill("input[name=comment]", "HR-300").await;
    browser.fill("input[name=number]", "298").await;
    browser.click("#approve").await;
    browser.until_title("Run of corp").await;
    assert!(browser.text("main").await.contains("298 suspended"));
    assert_eq!(suspended(&office), 298);
    let event = office.events("plan.approved").pop().unwrap();
    assert_eq!(
        (&event["data"]["actor"], &event["data"]["via"]),
        (&json!("root"), &json!("console"))
    );
    let event: Value = office.events("user.suspended").pop().unwrap();
    assert_eq!(event["data"]["approval"]["comment"], "HR-300");

    // The console ends with its terminal.
    console.end();
    assert!(browser.page.goto(&format!("{origin}/")).await.is_err());
}
