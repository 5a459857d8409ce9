//! The console, as a browser, a hostile page and another program of the machine see it.

pub(crate) mod browser;
mod cockpit;
mod guard;
mod pages;
mod pipes;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rosterd::clock::Clock;
use rosterd::console::{self, Settings};
use rosterd::model::Mode;

use crate::firm::dn_of;
use crate::socket::Office;

/// The secrets of one console. It sends requests as they are given, also those that no browser sends.
pub(crate) struct Visitor {
    pub(crate) port: u16,
    code: String,
    cookie: String,
    pub(crate) clock: Clock,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Returns the value of a header.
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Returns the value of the first input with this name.
    pub(crate) fn input(&self, name: &str) -> String {
        let at = self
            .body
            .find(&format!("name=\"{name}\""))
            .unwrap_or_else(|| panic!("no input {name}: {} {}", self.status, self.body));
        let value = &self.body[at..];
        let begin = value.find("value=\"").expect("a value") + 7;
        let end = value[begin..].find('"').expect("its end");
        value[begin..begin + end].to_owned()
    }
}

/// Starts a console on the socket of an office. Returns its link.
pub(crate) async fn start(office: &Office, read_only: bool, clock: &Clock) -> String {
    let settings = Settings { socket: office.socket.clone(), read_only, zone: chrono_tz::Tz::UTC };
    let (link, serving) = console::start(settings, clock.clone()).await.expect("a console");
    tokio::spawn(serving);
    link
}

impl Visitor {
    /// Opens a console, and swaps its code for a session.
    pub(crate) async fn of(office: &Office) -> Self {
        Self::opened(office, false).await
    }

    async fn opened(office: &Office, read_only: bool) -> Self {
        let mut visitor = Self::waiting(office, read_only).await;
        let code = format!("code={}", visitor.code);
        let opened = visitor.send("POST /open", &[("sec-fetch-site", "same-origin")], &code);
        let cookie = opened.header("set-cookie").expect("a cookie");
        cookie.split(';').next().unwrap_or_default().clone_into(&mut visitor.cookie);
        visitor
    }

    /// Opens a console whose code is not used yet.
    async fn waiting(office: &Office, read_only: bool) -> Self {
        let clock = Clock::system();
        let link = start(office, read_only, &clock).await;
        let (address, code) = link.split_once("/open#").expect("a code");
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Self { port, code: code.to_owned(), cookie: String::new(), clock }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends these headers and no others, but `Host` where it is not given.
    fn send(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
        let host = self.host();
        let given = headers.iter().any(|(name, _)| *name == "host");
        for (name, value) in headers.iter().chain((!given).then_some(&("host", host.as_str()))) {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if line.starts_with("POST") {
            let length = body.len();
            let _ = write!(
                text,
                "content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n"
            );
        }
        tokio::task::block_in_place(|| {
            let mut stream = TcpStream::connect(&host).expect("a connection");
            stream.write_all(format!("{text}\r\n{body}").as_bytes()).expect("a request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
            let status = status.expect("a status");
            Answer { status, head: head.to_owned(), body: body.to_owned() }
        })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), &[("cookie", &self.cookie)], "")
    }

    /// Returns a page that must be shown.
    pub(crate) fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Sends a form as a page of the console does.
    pub(crate) fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut url = reqwest::Url::parse("http://x").expect("a URL");
        url.query_pairs_mut().extend_pairs(fields);
        let headers = [("cookie", self.cookie.as_str()), ("sec-fetch-site", "same-origin")];
        self.send(&format!("POST {path}"), &headers, url.query().unwrap_or_default())
    }

    /// Returns the token of the session, from any page with a form.
    pub(crate) fn token(&self) -> String {
        self.get("/").input("token")
    }
}

/// Returns an office whose run holds the suspensions of this number of people, and the id of the plan.
pub(crate) async fn office_with_leavers(people: usize, leavers: usize) -> (Office, String) {
    let office = Office::of(people, Mode::PlanOnly).await;
    take_groups(&office, leavers).await;
    let plan = office.firm.engine.store.plans(false).await.unwrap().remove(0);
    (office, plan.id.to_string())
}

/// Takes the groups of these first active people, so that a run holds their suspensions.
pub(crate) async fn take_groups(office: &Office, people: usize) {
    let users = office.firm.users().await;
    let active = users
        .iter()
        .filter(|user| user.link.is_some() && user.status() == rosterd::model::Status::Active);
    office.firm.sim.edit(|ad| {
        for user in active.take(people) {
            for group in [adsim::names::PRO, adsim::names::PRO_NESTED, adsim::names::BASIC] {
                ad.remove_member(group, dn_of(user).as_str());
            }
        }
    });
    office.firm.sync().await;
}
