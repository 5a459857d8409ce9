//! The guard of the console against other sites, other users and old links.

use std::time::Duration;

use super::{Visitor, office_with_leavers};
use crate::socket::Office;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_the_session_gets_no_page_and_changes_nothing() {
    let (office, plan) = office_with_leavers(40, 2).await;
    let active = office.firm.active().await;
    let visitor = Visitor::of(&office).await;
    let other = format!("rosterd-console-{}={}", visitor.port, "0".repeat(32));
    let foreign = visitor.cookie.replace("console-", "console-1");
    for cookie in ["", &other, &foreign, "a=b"] {
        for line in ["GET /", "GET /people.csv", "GET /nowhere", "POST /leave"] {
            let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin")];
            let answer = visitor.send(line, &headers, "");
            assert_eq!(answer.status, 401, "{line} with {cookie}");
            assert!(!answer.body.contains("corp"), "{}", answer.body);
        }
    }
    assert!(visitor.page("/").contains("corp"), "the session itself is shown the overview");
    // A link is used once, and a wrong code opens nothing.
    for code in [visitor.code.as_str(), "0", ""] {
        let origin = [("sec-fetch-site", "same-origin")];
        let answer = visitor.send("POST /open", &origin, &format!("code={code}"));
        assert_eq!((answer.status, answer.header("set-cookie")), (401, None), "{code}");
    }
    assert_eq!(visitor.get(&format!("/held/{plan}")).status, 200);
    assert_eq!(office.firm.active().await, active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_points_to_this_machine_gets_no_page() {
    let office = Office::open().await;
    let visitor = Visitor::of(&office).await;
    let port = visitor.port;
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        (format!("evil.example:{port}"), 421),
        ("evil.example".to_owned(), 421),
        ("127.0.0.1".to_owned(), 421),
        (format!("127.0.0.1:{}", port - 1), 421),
        (format!("localhost.evil.example:{port}"), 421),
        (format!("LOCALHOST:{port}"), 421),
        (format!("[::1]:{port}"), 421),
        (String::new(), 421),
    ] {
        let headers = [("host", host.as_str()), ("cookie", &visitor.cookie)];
        assert_eq!(visitor.send("GET /", &headers, "").status, status, "{host}");
    }
    let twice = [("host", "evil.example"), ("cookie", &visitor.cookie), ("host", &visitor.host())];
    assert_ne!(visitor.send("GET /", &twice, "").status, 200, "two hosts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_or_session_changes_nothing() {
    let (office, plan) = office_with_leavers(40, 2).await;
    let visitor = Visitor::of(&office).await;
    let (path, token) = (format!("POST /held/{plan}/reject"), visitor.token());
    let shown = visitor.get(&format!("/held/{plan}"));
    let body = format!("digest={}&token={token}&sure=yes", shown.input("digest"));
    let own = format!("http://{}", visitor.host());
    let cookie = ("cookie", visitor.cookie.as_str());
    for (headers, body) in [
        (vec![cookie, ("sec-fetch-site", "cross-site"), ("origin", &own)], body.as_str()),
        (vec![cookie, ("sec-fetch-site", "same-site")], &body),
        (vec![cookie, ("origin", "http://evil.example")], &body),
        (vec![cookie, ("origin", "null")], &body),
        (vec![cookie], &body),
        (vec![cookie, ("sec-fetch-site", "same-origin")], "digest=1"),
        (vec![cookie, ("sec-fetch-site", "same-origin")], "token=0123456789abcdef0123456789abcdef"),
        (vec![cookie, ("sec-fetch-site", "same-origin")], "token="),
    ] {
        let answer = visitor.send(&path, &headers, body);
        assert_eq!(answer.status, 403, "{headers:?} {body}");
        assert!(answer.body.contains("Nothing was changed"), "{}", answer.body);
    }
    let state = |page: &str| page.contains("waits for a decision");
    assert!(state(&visitor.page(&format!("/held/{plan}"))));
    for headers in [[cookie, ("origin", &own)], [cookie, ("sec-fetch-site", "same-origin")]] {
        assert_ne!(visitor.send(&path, &headers, &body).status, 403, "{headers:?}");
    }
    assert!(!state(&visitor.page(&format!("/held/{plan}"))), "the own form is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_forbids_foreign_scripts_frames_readers_and_caches() {
    let office = Office::open().await;
    let visitor = Visitor::of(&office).await;
    let evil = [("cookie", visitor.cookie.as_str()), ("origin", "http://evil.example")];
    for line in [
        "GET /",
        "GET /nowhere",
        "GET /assets/console.js",
        "GET /open",
        "OPTIONS /",
        "DELETE /held",
    ] {
        let answer = visitor.send(line, &evil, "");
        for (name, value) in [
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
            ),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{line}");
        }
        assert!(!answer.head.to_lowercase().contains("access-control"), "{}", answer.head);
    }
    for line in ["OPTIONS /", "DELETE /held", "PUT /"] {
        assert_eq!(visitor.send(line, &evil, "").status, 405, "{line}");
    }
    let cookie = Visitor::waiting(&office, false).await;
    let origin = [("sec-fetch-site", "same-origin")];
    let opened = cookie.send("POST /open", &origin, &format!("code={}", cookie.code));
    let set = opened.header("set-cookie").unwrap();
    let name = format!("rosterd-console-{}=", cookie.port);
    assert!(
        set.starts_with(&name) && set.ends_with("; HttpOnly; SameSite=Strict; Path=/"),
        "{set}"
    );
    assert_eq!((opened.status, opened.header("location")), (303, Some("/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_after_a_quarter_of_an_hour_without_use() {
    let office = Office::open().await;
    let late = Visitor::waiting(&office, false).await;
    late.clock.advance(Duration::from_secs(61));
    let origin = [("sec-fetch-site", "same-origin")];
    let answer = late.send("POST /open", &origin, &format!("code={}", late.code));
    assert_eq!(answer.status, 401);
    assert!(answer.body.contains("The link was not opened within 60 seconds."), "{}", answer.body);
    let visitor = Visitor::of(&office).await;
    visitor.clock.advance(Duration::from_mins(14));
    assert_eq!(visitor.get("/").status, 200);
    visitor.clock.advance(Duration::from_mins(14));
    let refresh = [("cookie", visitor.cookie.as_str()), ("rosterd-refresh", "1")];
    assert_eq!(visitor.send("GET /", &refresh, "").status, 200);
    visitor.clock.advance(Duration::from_mins(1));
    let answer = visitor.get("/");
    assert_eq!(answer.status, 401, "a refresh by the script is no use");
    assert!(answer.body.contains("after 15 minutes without use"), "{}", answer.body);
}

/// The script asks for this page while a person ticks, types or scrolls.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_of_work_on_a_page_keeps_the_session() {
    let office = Office::open().await;
    let visitor = Visitor::of(&office).await;
    for _ in 0..3 {
        visitor.clock.advance(Duration::from_mins(14));
        assert_eq!(visitor.page("/here"), "");
    }
    assert_eq!(visitor.get("/").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_console_offers_no_change_and_makes_none() {
    let (office, plan) = office_with_leavers(40, 2).await;
    let active = office.firm.active().await;
    let visitor = Visitor::opened(&office, true).await;
    let user = office.firm.users().await[0].id.to_string();
    for path in ["/", &format!("/held/{plan}"), &format!("/person/{user}"), "/systems"] {
        let page = visitor.page(path);
        let forms: Vec<&str> = page.split("method=\"post\" ").skip(1).collect();
        assert!(page.contains("looking only") && forms.len() == 1, "{page}");
        assert!(forms[0].starts_with("action=\"/leave\""), "{page}");
    }
    let token = visitor.token();
    for path in [format!("/held/{plan}/approve"), format!("/person/{user}/suspend")] {
        for token in ["", &token] {
            let answer = visitor.post(&path, &[("token", token), ("reason", "x")]);
            assert_eq!(answer.status, 403, "{path}");
            let said = "This console only looks: it was started with --read-only.";
            assert!(answer.body.contains(said), "{path}: {}", answer.body);
        }
    }
    assert_eq!(office.firm.active().await, active);
    assert_eq!(visitor.post("/leave", &[("token", "")]).status, 403, "the form of another");
    assert!(visitor.post("/leave", &[("token", &token)]).body.contains("The console has ended"));
}
