//! The check of a target: one finding and one remedy for each step.
//!
//! A check only reads. With a trial address it creates, changes, deactivates and deletes one account
//! of that address, and changes no other account.

mod trial;

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::client::Client;
use super::error::ScimError;
use super::list::{ListError, Pages};
use super::pace::Pace;
use crate::http;
use crate::model::{Address, CheckOutcome, CheckStep, TargetCredential, Timestamp, nearest};
use crate::reconcile::provision::{
    Capabilities, Declared, Lesson, Listed, Listing, Mapping, Method, NextPage, Outcome, Paging,
    Request, Resource, USER, meaning,
};

/// A certificate or token that expires sooner gives a warning.
const RENEW: Duration = Duration::from_hours(30 * 24);

/// Accounts in the pages by which paging is tried: few, so that there are several pages.
const TRIAL_PAGE: u32 = 2;

/// The remedy for a token that the target refuses.
const NEW_TOKEN: &str =
    "write a valid token into the file, or ask the provider for the rights of a SCIM client";

/// The values of a check.
pub struct Check<'a> {
    pub mapping: &'a Mapping,
    /// The configured end of the token's validity.
    pub token_expires: Option<Timestamp>,
    /// A value that no account has.
    pub unique: Uuid,
    /// The address of the trial account.
    pub trial: Option<&'a Address>,
}

/// The accounts that the list showed.
struct Accounts {
    all: Vec<Resource>,
    /// Whether the pages agree with the total.
    is_whole: bool,
}

/// The target refused the token, so that the steps behind are left out.
struct Unauthorized;

struct Checking<'a, P> {
    client: &'a Client,
    check: &'a Check<'a>,
    pace: &'a P,
    now: Timestamp,
    capabilities: Capabilities,
    steps: Vec<CheckStep>,
}

/// Checks a target at its pace. The steps after one that failed for all requests are left out.
pub async fn check<P: Pace>(
    client: &Client,
    check: &Check<'_>,
    pace: &P,
    now: Timestamp,
) -> Vec<CheckStep> {
    let capabilities = Capabilities::of(&Declared::default(), &client.settings.quirks);
    let mut checking = Checking { client, check, pace, now, capabilities, steps: Vec::new() };
    // A step that stops the check is the last one, and says why.
    let _ = checking.run().await;
    checking.steps
}

impl<P: Pace> Checking<'_, P> {
    fn ok(&mut self, name: &'static str, finding: impl Into<String>) {
        self.steps.push(CheckStep::new(name, CheckOutcome::Ok, finding, None));
    }

    fn warn(&mut self, name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) {
        let remedy = Some(remedy.into());
        self.steps.push(CheckStep::new(name, CheckOutcome::Warning, finding, remedy));
    }

    fn fail(&mut self, name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) {
        let remedy = Some(remedy.into());
        self.steps.push(CheckStep::new(name, CheckOutcome::Failed, finding, remedy));
    }

    fn skip(&mut self, name: &'static str, finding: impl Into<String>) {
        self.steps.push(CheckStep::new(name, CheckOutcome::Skipped, finding, None));
    }

    /// Adds a failure by an answer that the step does not expect.
    fn fail_by(&mut self, name: &'static str, outcome: &Outcome, remedy: &str) {
        match outcome {
            Outcome::Unauthorized(refusal) => {
                self.fail(name, format!("the target refuses the token: {refusal}"), NEW_TOKEN);
            }
            other => self.fail(name, described(other), remedy),
        }
    }

    async fn run(&mut self) -> Result<(), Unauthorized> {
        if !(self.connection().await && self.token().await && self.service().await) {
            return Ok(());
        }
        self.attributes().await?;
        let Some(accounts) = self.accounts().await else { return Ok(()) };
        self.paging(&accounts.all).await?;
        self.filter(&accounts.all).await?;
        if let Some(address) = self.check.trial {
            self.trial(address, &accounts).await;
        }
        Ok(())
    }

    /// Checks DNS and TCP. A proxy resolves the name itself.
    async fn connection(&mut self) -> bool {
        let settings = &self.client.settings;
        let (server, url) = match &settings.transport.proxy {
            Some(proxy) => ("the proxy ", proxy),
            None => ("", &settings.url),
        };
        let (host, port) = (http::host(url), url.port_or_known_default().unwrap_or(443));
        let bare = host.trim_matches(['[', ']']);
        let addresses: Vec<_> = match tokio::net::lookup_host((bare, port)).await {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                let finding = format!("{server}{host} has no address: {error}");
                self.fail(
                    "dns",
                    finding,
                    "correct the host in the URL, or ask your DNS administrator",
                );
                return false;
            }
        };
        let listed: BTreeSet<_> = addresses.iter().map(|a| a.ip().to_string()).collect();
        let listed = listed.into_iter().collect::<Vec<_>>().join(", ");
        self.ok("dns", format!("{server}{host} is {listed}"));
        let connecting = tokio::net::TcpStream::connect(&addresses[..]);
        let reason = match tokio::time::timeout(http::CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(_)) => {
                self.ok("tcp", format!("port {port} answers"));
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer within 10s".to_owned(),
        };
        let finding = format!("{server}{host} port {port} does not answer: {reason}");
        self.fail("tcp", finding, "let a firewall admit this machine, or set proxy");
        false
    }

    /// Reads the token, or gets one.
    async fn token(&mut self) -> bool {
        let settings = &self.client.settings;
        if let Err(error) = self.client.auth.token(&settings.transport, self.now).await {
            let remedy = match &error {
                ScimError::TokenRefused(_) => "correct client-id, the client secret and scope",
                ScimError::Secret(_) => {
                    "write the secret alone into it, on one line, and let only rosterd's user read it (chmod o=)"
                }
                _ => "correct token-url, or let a firewall admit this machine",
            };
            self.fail("token", error.to_string(), remedy);
            return false;
        }
        let source = match settings.credential {
            TargetCredential::Token(_) => "is in its file",
            TargetCredential::OAuth { .. } => "came from the token server",
        };
        let is_oauth = self.client.auth.can_renew();
        // A token of OAuth is replaced before it expires.
        let expires = self.client.token_expires(self.check.token_expires);
        match expires.filter(|_| !is_oauth) {
            None => self.ok("token", format!("the token {source}")),
            Some(until) => self.expires("token", "the token", until),
        }
        true
    }

    fn expires(&mut self, name: &'static str, subject: &str, until: Timestamp) {
        let left = until.since(self.now);
        let date = until.to_utc().format("%-d %B %Y");
        if until <= self.now {
            let remedy = "replace it: leavers stay active at the target until then";
            return self.fail(name, format!("{subject} expired on {date}"), remedy);
        }
        let days = left.as_secs() / 86_400;
        let finding = format!("{subject} is valid until {date} ({days} days)");
        if left < RENEW {
            self.warn(
                name,
                finding,
                "renew it in time: leavers stay active at the target after that",
            );
        } else {
            self.ok(name, finding);
        }
    }

    /// Reads the `ServiceProviderConfig`. Any answer of the server proves TLS.
    async fn service(&mut self) -> bool {
        let request = Request::describe("ServiceProviderConfig");
        let exchanged = match self.pace.turn().await {
            Ok(_turn) => self.client.exchange(&request, &self.capabilities, self.now).await,
            Err(error) => Err(error),
        };
        let (answer, certificate) = match exchanged {
            Ok(answered) => answered,
            Err(error) => {
                let is_https = self.client.settings.url.scheme() == "https";
                let (name, remedy) = match &error {
                    ScimError::Unreachable(_) if is_https => (
                        "tls",
                        "set ca-file if the certificate is from a CA of your own; otherwise ask the provider",
                    ),
                    ScimError::TimedOut(_) => ("service", "raise timeout, or ask the provider"),
                    ScimError::Paused(_) => ("service", "check again after that time"),
                    _ => ("service", "correct the url, or ask the provider"),
                };
                self.fail(name, error.to_string(), remedy);
                return false;
            }
        };
        if let Some(until) = certificate.as_deref().and_then(not_after) {
            self.expires("tls", "the certificate", until);
        }
        match meaning(&request, &answer) {
            Outcome::Done(config) => {
                let declared = Declared::read(&config);
                self.capabilities = Capabilities::of(&declared, &self.client.settings.quirks);
                let says = |flag: Option<bool>| match flag {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "not said",
                };
                let finding = format!(
                    "declares PATCH: {}, filter: {}, paging by cursor: {}",
                    says(declared.patch),
                    says(declared.filter),
                    says(declared.cursor)
                );
                self.ok("service", finding);
                true
            }
            refused @ Outcome::Unauthorized(_) => {
                self.fail_by("token", &refused, NEW_TOKEN);
                false
            }
            Outcome::Learned(Lesson::PlainJson) => {
                let _ = self.capabilities.learn(Lesson::PlainJson);
                let remedy = "write media-type = \"application/json\" under [target.quirks]";
                self.warn("service", "application/scim+json is not supported", remedy);
                true
            }
            other => {
                let finding = format!("no ServiceProviderConfig: {}", described(&other));
                let remedy = "correct the url if the next step fails, too; otherwise the capabilities are tried";
                self.warn("service", finding, remedy);
                true
            }
        }
    }

    /// Compares the mapping with the schemas of the target.
    async fn attributes(&mut self) -> Result<(), Unauthorized> {
        let schemas = match self.get("attributes", &Request::describe("Schemas")).await? {
            Ok(Outcome::Done(schemas)) => schemas.resources(),
            _ => Vec::new(),
        };
        if schemas.is_empty() {
            self.skip("attributes", "the target shows no schemas, so the mapping was not compared");
            return Ok(());
        }
        let mut unknown = Vec::new();
        for (path, _) in &self.check.mapping.attributes {
            // RFC 7643, 3.1: every resource has it, and no schema lists it.
            if path.schema().is_none() && path.attribute().eq_ignore_ascii_case("externalId") {
                continue;
            }
            let id = path.schema().unwrap_or(USER);
            let schema = schemas
                .iter()
                .find(|schema| schema.id().is_some_and(|its| its.eq_ignore_ascii_case(id)));
            let known = schema.map(names).unwrap_or_default();
            let wanted = match path.sub_attribute() {
                Some(sub) => format!("{}.{sub}", path.attribute()),
                None => path.attribute().to_owned(),
            };
            if known.iter().any(|name| name.eq_ignore_ascii_case(&wanted)) {
                continue;
            }
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            unknown.push(match nearest(&wanted, known.iter().copied()) {
                Some(near) => format!("{path} (did you mean {near}?)"),
                None => path.to_string(),
            });
        }
        if unknown.is_empty() {
            self.ok("attributes", "the target knows all mapped attributes");
        } else {
            let finding = format!("the target does not know {}", unknown.join(", "));
            let remedy = "correct the name under [target.attributes], or leave it out with \"\"";
            self.warn("attributes", finding, remedy);
        }
        Ok(())
    }

    /// Lists all accounts.
    async fn accounts(&mut self) -> Option<Accounts> {
        let mut all = Vec::new();
        let listed = self.list(|account| all.push(account)).await;
        let (count, is_whole) = (all.len(), listed.is_ok());
        match listed {
            Ok(listed) => self.ok("list", format!("{} accounts, read whole", listed.accounts())),
            Err(ListError::Partial(partial)) => self.warn(
                "list",
                format!("{count} accounts were read, and not all: {partial}"),
                "nothing: accounts of rosterd are then asked for one by one, and unmanaged ones are not listed. Where the target has one page, write paging = \"none\" under [target.quirks]",
            ),
            Err(ListError::Answered(Outcome::Unauthorized(refusal))) => {
                let remedy = "write a valid token into the file, or ask the provider for the right to list users";
                self.fail("list", format!("the target refuses the token: {refusal}"), remedy);
                return None;
            }
            Err(ListError::Answered(outcome)) => {
                let remedy = match outcome {
                    Outcome::Retry { .. } | Outcome::Refused(_) => {
                        "write page-size = 0, so that no count is sent, or ask the provider"
                    }
                    _ => "correct the url: it ends before /Users, often in /scim/v2",
                };
                self.fail("list", format!("Users is not a list: {}", described(&outcome)), remedy);
                return None;
            }
            Err(ListError::Failed(error)) => {
                self.fail("list", error.to_string(), "ask the provider, or raise timeout");
                return None;
            }
        }
        Some(Accounts { all, is_whole })
    }

    /// Reads two small pages, which must not have an account in common.
    async fn paging(&mut self, accounts: &[Resource]) -> Result<(), Unauthorized> {
        let is_one_page =
            self.capabilities.paging == Paging::None || self.client.settings.page_size == 0;
        if is_one_page || accounts.len() <= TRIAL_PAGE as usize {
            let reason = if is_one_page { "no page size is asked for" } else { "too few accounts" };
            self.skip("paging", format!("pages were not compared: {reason}"));
            return Ok(());
        }
        let mut listing = Listing::new(self.capabilities.paging, TRIAL_PAGE);
        let first = listing.first();
        let mut pages = Vec::new();
        let mut next = NextPage::Read(first);
        while let (NextPage::Read(query), true) = (&next, pages.len() < 2) {
            match self.get("paging", &Request::list(query)).await? {
                Ok(Outcome::Done(page)) => {
                    let came = page.resources().len();
                    let (new, then) = listing.page(&page);
                    pages.push((came, new.len()));
                    next = then;
                }
                Ok(other) => {
                    let finding = format!("a page of {TRIAL_PAGE} accounts: {}", described(&other));
                    let remedy = "write page-size = 0, so that the target decides";
                    self.warn("paging", finding, remedy);
                    return Ok(());
                }
                Err(error) => {
                    self.warn("paging", error.to_string(), "ask the provider");
                    return Ok(());
                }
            }
        }
        match pages[..] {
            [(came, _)] if came >= accounts.len() => {
                self.ok("paging", "the target sends all accounts at once");
            }
            [_, (came, new)] if new < came || new == 0 => {
                let finding = "paging is not honest: the second page repeats accounts of the first";
                let remedy = "write paging = \"none\" under [target.quirks], or ask the provider for startIndex or cursors";
                self.warn("paging", finding, remedy);
            }
            [_, _] => self.ok(
                "paging",
                format!("two pages by {} have no account in common", self.capabilities.paging),
            ),
            _ => {
                let came = pages.first().map_or(0, |(came, _)| *came);
                let finding = format!(
                    "paging is not honest: the list ends after a page of {came}, and the target has {} accounts",
                    accounts.len()
                );
                let remedy = "write paging = \"none\" under [target.quirks], and page-size = 0";
                self.warn("paging", finding, remedy);
            }
        }
        Ok(())
    }

    /// Searches a name that does not exist, and one that does.
    async fn filter(&mut self, accounts: &[Resource]) -> Result<(), Unauthorized> {
        if !self.capabilities.filter {
            self.skip("filter", "filters are not supported, so the list is searched");
            return Ok(());
        }
        let off = "nothing: rosterd compares the values again. filter = false under [target.quirks] saves the requests";
        let total = accounts.len();
        let nobody = format!("rosterd-check-{}", self.check.unique);
        let problem = match self.get("filter", &Request::search("userName", &nobody)).await? {
            Ok(Outcome::Done(found)) => {
                let count = found.resources().len();
                (count > 0).then(|| format!(
                    "the filter is not honest: it gives {count} of {total} accounts for a name that no account has"
                ))
            }
            Ok(Outcome::Learned(Lesson::NoFilter)) => {
                let _ = self.capabilities.learn(Lesson::NoFilter);
                Some("filters are refused, so the list is searched".to_owned())
            }
            Ok(other) => Some(format!("a search: {}", described(&other))),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            self.warn("filter", problem, off);
            return Ok(());
        }
        let Some(known) = accounts.iter().find_map(|account| account.text("userName")) else {
            self.ok("filter", "finds no account for a name that no account has");
            return Ok(());
        };
        let swapped: String = known
            .chars()
            .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        let mut found = Vec::new();
        for name in [known, &swapped] {
            found.push(match self.get("filter", &Request::search("userName", name)).await? {
                Ok(Outcome::Done(found)) => found.resources(),
                _ => Vec::new(),
            });
        }
        let is_it = |account: &Resource| {
            account.text("userName").is_some_and(|its| its.eq_ignore_ascii_case(known))
        };
        let finds = |found: &Vec<Resource>| found.iter().any(is_it);
        match found.iter().find(|found| !found.iter().all(is_it)) {
            _ if !finds(&found[0]) => {
                let finding =
                    "the filter is not honest: it does not find an account that the list shows";
                self.warn("filter", finding, "write filter = false under [target.quirks]");
            }
            Some(found) => {
                let finding = format!(
                    "the filter is not honest: for the name of an account it returns others, too ({} of {total} accounts)",
                    found.len()
                );
                self.warn("filter", finding, off);
            }
            None if !finds(&found[1]) => self
                .ok("filter", "honest, and case-sensitive: the list is searched after a conflict"),
            None => {
                self.ok(
                    "filter",
                    "honest: finds an account by its name, and no account by another",
                );
            }
        }
        Ok(())
    }

    /// Sends a request that reads; returns the meaning of its answer. A refused token is the failure
    /// of the step.
    async fn get(
        &mut self,
        name: &'static str,
        request: &Request,
    ) -> Result<Result<Outcome, ScimError>, Unauthorized> {
        let outcome = self.read(request).await;
        if let Ok(refused @ Outcome::Unauthorized(_)) = &outcome {
            self.fail_by(name, refused, NEW_TOKEN);
            return Err(Unauthorized);
        }
        Ok(outcome)
    }

    /// Sends a request that reads; returns the meaning of its answer.
    async fn read(&self, request: &Request) -> Result<Outcome, ScimError> {
        debug_assert_eq!(request.method, Method::Get);
        self.send(request).await
    }

    /// Sends a request when it is its turn; returns the meaning of its answer.
    async fn send(&self, request: &Request) -> Result<Outcome, ScimError> {
        let _turn = self.pace.turn().await?;
        let answer = self.client.send(request, &self.capabilities, self.now).await?;
        Ok(meaning(request, &answer))
    }

    /// Reads all accounts; gives each of them to `each`, once.
    async fn list(&self, mut each: impl FnMut(Resource)) -> Result<Listed, ListError> {
        let mut pages = Pages::new(&self.capabilities, self.client.settings.page_size);
        while let Some(request) = pages.request() {
            pages.take(self.read(&request).await?)?.into_iter().for_each(&mut each);
        }
        Ok(pages.finish()?)
    }
}

/// Returns the names of a schema's attributes, with sub-attributes behind a dot.
fn names(schema: &Resource) -> Vec<String> {
    let attributes = |resource: &Resource, key: &str| -> Vec<Resource> {
        let items = resource.get(key).and_then(|items| items.as_array());
        items.into_iter().flatten().filter_map(|a| a.as_object().cloned()).map(Resource).collect()
    };
    let mut names = Vec::new();
    for attribute in attributes(schema, "attributes") {
        let Some(name) = attribute.text("name") else { continue };
        names.push(name.to_owned());
        for sub in attributes(&attribute, "subAttributes") {
            names.extend(sub.text("name").map(|sub| format!("{name}.{sub}")));
        }
    }
    names
}

/// Returns the end of a certificate's validity.
fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(Timestamp::from_seconds(certificate.validity().not_after.timestamp()))
}

/// Describes an outcome that the check did not expect.
fn described(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(_) | Outcome::Unverified => "it answered with success".to_owned(),
        Outcome::NotFound => "it answered 404".to_owned(),
        Outcome::Refused(refusal)
        | Outcome::Unauthorized(refusal)
        | Outcome::Conflict(refusal)
        | Outcome::Retry { refusal, .. } => refusal.to_string(),
        Outcome::NotScim(refusal) => format!("{refusal}, which is no answer of SCIM"),
        Outcome::Learned(lesson) => format!("it does not support this ({lesson})"),
        Outcome::Stale => "it answered 412".to_owned(),
        Outcome::TooLarge => "it answered 413".to_owned(),
        Outcome::CursorExpired => "the cursor expired".to_owned(),
    }
}
