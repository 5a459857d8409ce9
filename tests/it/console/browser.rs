//! The console in Chromium, driven through the WebDriver protocol (w3.org/TR/webdriver2).
//!
//! `$ROSTERD_LAB_AXE` names the file of axe-core. With `$ROSTERD_SCREENSHOTS`, the pages are saved there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use rosterd::clock::Clock;
use rosterd::model::{Status, User};
use serde_json::{Value, json};

use super::pages::paths;
use super::{office_with_leavers, start, take_groups};
use crate::firm::{dn_of, held_plan};
use crate::socket::Office;

/// Widths of a desktop, a tablet and a telephone, in CSS pixels.
const WIDTHS: [u32; 3] = [1280, 768, 360];

/// The time in which a browser ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Chromium with an empty profile.
pub(crate) struct Browser {
    pub(crate) page: Client,
    driver: Child,
    /// The port of the driver.
    port: u16,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A driver that is killed leaves its browser behind. This request ends both.
        let ended =
            std::net::TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                write!(
                    stream,
                    "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                )?;
                stream.read_to_end(&mut Vec::new())
            });
        if ended.is_err() {
            let _ = self.driver.kill();
        }
        let _ = self.driver.wait();
    }
}

/// A command of the Chrome DevTools Protocol.
#[derive(Debug)]
struct DevTools(&'static str, Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(
        &self,
        base: &reqwest::Url,
        session: Option<&str>,
    ) -> Result<reqwest::Url, <reqwest::Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &reqwest::Url) -> (reqwest::Method, Option<String>) {
        let body = json!({ "cmd": self.0, "params": self.1 });
        (reqwest::Method::POST, Some(body.to_string()))
    }
}

impl Browser {
    pub(crate) async fn start() -> Self {
        assert!(
            std::env::var_os("ROSTERD_LAB").is_some(),
            "this test needs Chromium: run tests/run, or run tests/lab/install as root and set ROSTERD_LAB=1"
        );
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver; tests/lab/install has it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port: u16 = lines
            .find_map(|line| {
                let line = line.unwrap();
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse().ok()
            })
            .expect("a port");
        // Reads on, so that the driver never waits for its output.
        std::thread::spawn(move || lines.for_each(drop));
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        ]
        .map(str::to_owned);
        let own = format!("--user-data-dir={}", profile.path().display());
        let arguments: Vec<String> = arguments.into_iter().chain([own]).collect();
        let capabilities = json!({ "goog:chromeOptions": { "args": arguments } });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let http = hyper_util::client::legacy::connect::HttpConnector::new();
        let page = ClientBuilder::new(http)
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser");
        Self { page, driver, port, _profile: profile }
    }

    /// Opens a link of a console, and waits for the overview.
    pub(crate) async fn open(&self, link: &str) -> String {
        self.page.goto(link).await.unwrap();
        self.page.wait().for_element(Locator::Css("nav[aria-label=Pages]")).await.unwrap();
        link.split_once("/open").unwrap().0.to_owned()
    }

    pub(crate) async fn text(&self, css: &str) -> String {
        let element = self.page.wait().for_element(Locator::Css(css)).await;
        element.unwrap_or_else(|e| panic!("{css}: {e}")).text().await.unwrap()
    }

    pub(crate) async fn click(&self, css: &str) {
        let element = self.page.wait().for_element(Locator::Css(css)).await;
        let element = element.unwrap_or_else(|e| panic!("{css}: {e}"));
        // As a person scrolls, because the bar of the decision covers the end of the window.
        let script =
            format!("document.querySelector({css:?}).scrollIntoView({{ block: 'center' }})");
        self.page.execute(&script, Vec::new()).await.unwrap();
        element.click().await.unwrap();
    }

    /// Types into a field.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let element = self.page.find(Locator::Css(css)).await.unwrap();
        element.send_keys(text).await.unwrap();
    }

    /// Waits until the heading of the page is this one.
    pub(crate) async fn until_title(&self, title: &str) {
        let path = format!("//h1[.='{title}']");
        let found = self.page.wait().for_element(Locator::XPath(&path)).await;
        found.unwrap_or_else(|e| panic!("{title}: {e}"));
    }

    async fn run(&self, script: &str) -> Value {
        self.page.execute(script, Vec::new()).await.unwrap()
    }

    async fn key(&self, key: &str) {
        let script = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: arguments[0], bubbles: true }))";
        self.page.execute(script, vec![json!(key)]).await.unwrap();
    }

    async fn set_width(&self, width: u32) {
        let metrics =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        let command = DevTools("Emulation.setDeviceMetricsOverride", metrics);
        self.page.issue_cmd(command).await.unwrap();
    }

    async fn set_dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.page.issue_cmd(DevTools("Emulation.setEmulatedMedia", features)).await.unwrap();
    }

    /// Saves the whole page, however long it is.
    pub(crate) async fn save(&self, name: &str) {
        let Some(folder) = std::env::var_os("ROSTERD_SCREENSHOTS") else { return };
        let whole = json!({ "captureBeyondViewport": true, "format": "png" });
        let shot = self.page.issue_cmd(DevTools("Page.captureScreenshot", whole)).await.unwrap();
        let data = shot["data"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
    }

    /// Returns the URLs that the page loaded from elsewhere.
    async fn foreign(&self) -> Vec<Value> {
        let script = "return performance.getEntries().map(e => e.name).filter(n => /^[a-z]+:/.test(n) && !n.startsWith(location.origin) && !n.startsWith('data:'))";
        self.run(script).await.as_array().unwrap().clone()
    }

    /// Returns the findings of axe-core that are serious or critical.
    async fn barriers(&self, axe: &str) -> Vec<String> {
        self.run(axe).await;
        let script = "const done = arguments[0]; axe.run({ resultTypes: ['violations'] }).then(r => done(r.violations), e => done([{ impact: 'critical', id: String(e), nodes: [] }]))";
        let found = self.page.execute_async(script, Vec::new()).await.unwrap();
        let is_serious =
            |found: &&Value| matches!(found["impact"].as_str(), Some("serious" | "critical"));
        found
            .as_array()
            .unwrap()
            .iter()
            .filter(is_serious)
            .map(|found| format!("{}: {}", found["id"], found["nodes"][0]["html"]))
            .collect()
    }
}

fn axe() -> String {
    let file = std::env::var("ROSTERD_LAB_AXE").expect("ROSTERD_LAB_AXE: tests/lab/axe provision");
    // Its script defines a global, and a driver runs scripts as functions.
    let source = std::fs::read_to_string(file).expect("axe-core");
    format!("{source}\nwindow.axe = axe;")
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_approves_299_of_300_people_by_typing_the_number() {
    let (office, id) = office_with_leavers(440, 300).await;
    let browser = Browser::start().await;
    browser.open(&start(&office, false, &Clock::system()).await).await;
    let active = office.firm.active().await;
    assert_eq!(browser.run("return location.hash").await, json!(""), "the code leaves the address");
    browser.click(&format!("a[href='/held/{id}']")).await;
    assert_eq!(browser.text("h1").await, "300 changes of corp");
    assert_eq!(browser.text("#chosen").await, "300");
    // The tick of a group takes those of its people, and gives them back.
    let own = browser.run("return document.querySelector('details.group').querySelectorAll('input[name=who]').length").await;
    browser.click("[data-all]").await;
    let left = (300 - own.as_u64().unwrap()).to_string();
    assert_eq!(browser.text("#chosen").await, left);
    browser.click("[data-all]").await;
    assert_eq!(browser.text("#chosen").await, "300");
    // The keys move, leave one out, and lead to the number.
    browser.key("j").await;
    browser.key("j").await;
    browser.key("x").await;
    assert_eq!(browser.text("#chosen").await, "299");
    let left_out = browser.run("return document.querySelector('tr.here input').value").await;
    // Ticks stay while the person looks at another page, and work on a page keeps the session.
    browser.page.refresh().await.unwrap();
    assert_eq!(browser.text("#chosen").await, "299");
    browser.run(WORK).await;
    let asked =
        "return performance.getEntriesByType('resource').some(e => e.name.endsWith('/here'))";
    while browser.run(asked).await != json!(true) {}
    // Another grouping keeps the ticks.
    browser.run("const s = document.querySelector('select[name=by]'); s.value = 'department'; s.dispatchEvent(new Event('change'))").await;
    browser
        .page
        .wait()
        .for_element(Locator::XPath("//*[@class='group-name' and not(starts-with(., 'OU='))]"))
        .await
        .unwrap();
    assert_eq!(browser.text("#chosen").await, "299");
    browser.fill("#search", "zzzz").await;
    assert_eq!(browser.run("return [...document.querySelectorAll('tr[data-text]')].filter(r => !r.hidden).length").await, json!(0));
    assert!(browser.text(".selected").await.contains("299 of them hidden"));
    browser.run("const s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input'))").await;
    browser.fill("input[name=comment]", "HR-300").await;
    browser.click("#approve").await;
    assert_eq!(
        browser.text("h1").await,
        "300 changes of corp",
        "without the number nothing is sent"
    );
    browser.key("Escape").await;
    browser.fill("input[name=number]", "299").await;
    browser.click("#approve").await;
    browser.until_title("Run of corp").await;
    assert!(browser.text("main").await.contains("299 suspended"));
    assert_eq!(office.firm.active().await, active - 299);
    let left_out = office.firm.user(left_out.as_str().unwrap()).await;
    assert_eq!(left_out.status(), Status::Active);
    assert_eq!(browser.foreign().await, [json!(null); 0]);
}

/// A scroll, two minutes after the last sign of work.
const WORK: &str = "const now = Date.now(); Date.now = () => now + 120000; document.dispatchEvent(new Event('scroll'))";

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_console_that_has_ended_says_so() {
    let (office, id) = office_with_leavers(40, 3).await;
    let browser = Browser::start().await;
    let clock = Clock::system();
    let origin = browser.open(&start(&office, false, &clock).await).await;
    browser.page.goto(&format!("{origin}/held/{id}")).await.unwrap();
    clock.advance(Duration::from_mins(16));
    browser.run(WORK).await;
    assert!(browser.text(".notice.bad").await.contains("The console has ended"));
    assert_eq!(
        browser.run("return document.querySelector('#approve').disabled").await,
        json!(true)
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_legible_and_accessible_at_three_widths() {
    let mut office = Office::open().await;
    let evil = "<script>document.title = 'gone'</script>";
    let [_, _, _, guid] = office.leavers().await;
    let users = office.firm.users().await;
    let is_active = |user: &&User| user.status() == Status::Active && user.link.is_some();
    let named = users.iter().rfind(is_active).unwrap().clone();
    office.firm.sim.edit(|ad| ad.set(dn_of(&named).as_str(), "displayName", evil));
    office.firm.reconfigure(|config| config.mode = rosterd::model::Mode::PlanOnly);
    take_groups(&office, 30).await;
    // Some names are long, and have no space.
    let dn = dn_of(&named);
    let (_, ou) = dn.as_str().split_once(',').unwrap();
    let long = "Aussenstellenverwaltung".repeat(4);
    office.firm.sim.edit(|ad| ad.rename(ou, &long));
    office.firm.sync().await;
    let plan = held_plan(&office.firm).await;
    let first = office
        .firm
        .engine
        .store
        .find_runs(&rosterd::store::RunFilter::default(), 1_000)
        .await
        .unwrap();
    let run = first.iter().find(|run| run.counts.create > 0).unwrap().id.to_string();
    let browser = Browser::start().await;
    let origin = browser.open(&start(&office, false, &Clock::system()).await).await;
    let axe = axe();
    let mut wrong = Vec::new();
    let mut paths = paths(&plan.id.to_string(), &run, &named.id.to_string());
    paths.push(format!("/problems/{guid}"));
    for path in &paths {
        for width in WIDTHS {
            browser.set_width(width).await;
            browser.page.goto(&format!("{origin}{path}")).await.unwrap();
            let name: String =
                path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            browser.save(&format!("{name}-{width}")).await;
            let overflow = browser
                .run("return document.documentElement.scrollWidth - window.innerWidth")
                .await;
            if overflow.as_i64() > Some(0) {
                wrong.push(format!("{path} at {width}: {overflow} pixels too wide"));
            }
            assert!(browser.page.title().await.unwrap().ends_with(" · rosterd"), "{path}");
            let foreign = browser.foreign().await;
            assert!(foreign.is_empty(), "{path} loads {foreign:?}");
        }
        for is_dark in [true, false] {
            browser.set_dark(is_dark).await;
            let found = browser.barriers(&axe).await;
            wrong.extend(found.into_iter().map(|found| format!("{path}, dark {is_dark}: {found}")));
        }
    }
    browser.set_dark(true).await;
    browser.set_width(1280).await;
    for (path, name) in [("/", "dark-overview"), (&format!("/held/{}", plan.id), "dark-plan")] {
        browser.page.goto(&format!("{origin}{path}")).await.unwrap();
        browser.save(name).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_page_in_the_next_tab_gets_nothing_and_changes_nothing() {
    let (office, id) = office_with_leavers(40, 3).await;
    let browser = Browser::start().await;
    let link = start(&office, false, &Clock::system()).await;
    let origin = browser.open(&link).await;
    // A page of another origin of this machine: another port is another origin, and the same site.
    let other = start(&office, false, &Clock::system()).await;
    let evil = other.split_once("/open").unwrap().0;
    browser.page.goto(&format!("{evil}/open")).await.unwrap();
    let script = "const done = arguments[1]; const t = arguments[0]; Promise.allSettled([
        fetch(t + '/'),
        fetch(t + '/', { mode: 'no-cors', credentials: 'include' }).then(r => r.text()).then(x => { if (!x) throw 0; }),
        fetch(t + arguments[2], { method: 'POST', mode: 'no-cors', credentials: 'include', body: 'token=1' }).then(() => { throw 0; }),
    ].slice(0, 3)).then(all => done(all.map(a => a.status)))";
    let script = script
        .replace("arguments[1]", "arguments[2]")
        .replace("t + arguments[2]", "t + arguments[1]");
    let reject = format!("/held/{id}/reject");
    let done =
        browser.page.execute_async(&script, vec![json!(origin), json!(reject)]).await.unwrap();
    assert_eq!(done, json!(["rejected", "rejected", "rejected"]));
    // A form is sent whatever the origin, and the guard refuses it.
    let form = "const f = document.createElement('form'); f.method = 'post'; f.action = arguments[0]; document.body.append(f); HTMLFormElement.prototype.submit.call(f)";
    browser.page.execute(form, vec![json!(format!("{origin}{reject}"))]).await.ok();
    browser.page.goto("about:blank").await.unwrap();
    browser.page.execute(form, vec![json!(format!("{origin}{reject}"))]).await.ok();
    browser.page.wait().for_element(Locator::Css("main.bare")).await.unwrap();
    assert!(browser.text("main").await.contains("Another site sent this request"));
    // A link from elsewhere opens the console without its session, and an old link opens none.
    browser.page.goto(&link).await.unwrap();
    assert!(browser.text("main").await.contains("This link was used before"));
    assert_eq!(held_plan(&office.firm).await.state, rosterd::model::PlanState::Open);
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_scripts_approves_a_plan() {
    let (office, id) = office_with_leavers(100, 60).await;
    let browser = Browser::start().await;
    browser.set_width(1280).await;
    let off = json!({ "value": true });
    browser.page.issue_cmd(DevTools("Emulation.setScriptExecutionDisabled", off)).await.unwrap();
    let link = start(&office, false, &Clock::system()).await;
    let (origin, code) = link.split_once("/open#").unwrap();
    browser.page.goto(&format!("{origin}/open")).await.unwrap();
    browser.fill("#code", code).await;
    browser.click("#open button").await;
    browser.page.goto(&format!("{origin}/held/{id}")).await.unwrap();
    browser.click("input[name=who]").await;
    browser.fill("input[name=number]", "60").await;
    browser.click("#approve").await;
    assert!(browser.text(".notice.bad").await.contains("type 59"));
    browser.fill("input[name=number]", "59").await;
    browser.click("#approve").await;
    browser.until_title("Run of corp").await;
    assert!(browser.text("main").await.contains("59 suspended"));
}
