//! The console on pipes, as the module of Cockpit uses it.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{Answer, office_with_leavers};
use crate::socket::Office;

/// A process of `rosterctl` that answers requests.
struct Piped {
    process: Child,
    requests: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Piped {
    fn of(office: &Office, more: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_rosterctl"))
            .arg("--socket")
            .arg(&office.socket)
            .args(["console", "--stdio"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("rosterctl");
        let answers = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Self { requests: process.stdin.take(), process, answers }
    }

    fn ask(&mut self, request: &Value) -> Value {
        tokio::task::block_in_place(|| {
            let requests = self.requests.as_mut().expect("it is not closed");
            writeln!(requests, "{request}").expect("a request");
            let answer = self.answers.next().expect("an answer").expect("text");
            serde_json::from_str(&answer).expect("JSON")
        })
    }

    fn page(&mut self, path: &str) -> Answer {
        let answer = self.ask(&json!({ "path": path }));
        let body = answer["body"].as_str().unwrap_or_default().to_owned();
        let status = answer["status"].as_u64().and_then(|status| status.try_into().ok());
        Answer { status: status.unwrap_or_default(), head: String::new(), body }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_on_pipes_shows_a_plan_and_approves_it_with_the_token_of_the_page() {
    let (office, id) = office_with_leavers(60, 20).await;
    let mut console = Piped::of(&office, &[]);
    assert!(console.page("/").body.contains("<main"));
    assert_eq!(console.page("/nowhere").status, 404);
    assert_eq!(console.page("no path").status, 400);
    let file = console.ask(&json!({ "path": "/people.csv" }));
    assert!(file["file"].as_str().is_some_and(|name| name.contains(".csv")), "{file}");
    for gone in ["/open", "/leave", "/assets/console.js"] {
        assert_eq!(console.page(gone).status, 404, "{gone} is for browsers");
    }

    let active = office.firm.active().await;
    let plan = console.page(&format!("/held/{id}"));
    let inputs = plan.body.split("<input ").filter(|input| input.contains("name=\"who\""));
    let who: Vec<_> =
        inputs.map(|i| i.split("value=\"").nth(1).unwrap().split('"').next().unwrap()).collect();
    let form = |token: &str| {
        let mut url = reqwest::Url::parse("http://x").expect("a URL");
        let fields = [("digest", plan.input("digest")), ("token", token.to_owned())];
        url.query_pairs_mut().extend_pairs(fields).extend_pairs(who.iter().map(|who| ("who", who)));
        json!({ "path": format!("/held/{id}/approve"), "form": url.query() })
    };
    let refused = console.ask(&form("another"));
    assert_eq!((refused["status"].as_u64(), office.firm.active().await), (Some(403), active));
    let done = console.ask(&form(&plan.input("token")));
    assert_eq!(done["status"], 303, "{done}");
    let run = console.page(done["location"].as_str().expect("a page"));
    assert_eq!((run.status, office.firm.active().await), (200, active - 20));

    console.requests.take();
    assert!(console.process.wait().expect("its status").success(), "it ends with its input");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_on_pipes_that_is_read_only_offers_and_takes_no_decision() {
    let (office, id) = office_with_leavers(60, 20).await;
    let mut console = Piped::of(&office, &["--read-only"]);
    let plan = console.page(&format!("/held/{id}"));
    assert!(plan.status == 200 && !plan.body.contains("id=\"decision\""), "{}", plan.body);
    let form = json!({ "path": format!("/held/{id}/reject"), "form": "token=&digest=" });
    assert_eq!(console.ask(&form)["status"], 403);
}
