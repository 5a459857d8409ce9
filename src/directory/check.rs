//! Looking a directory over, step by step, as its operator would: what was found, and what to do about it.
//!
//! Everything is only read, and nothing is remembered. The service account is bound at most once where AD
//! refuses it, whatever the number of servers: a check must not lock the account it checks.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ldap3::Scope;

use super::confirm::deleted_objects;
use super::controls::Course;
use super::grants::{Grants, Right};
use super::session::{Query, password};
use super::tls::{self, Certificate, Secured, Trusted};
use super::wire::{self, Wire, WireError};
use super::{
    Again, Assertion, BindRefusal, Decoder, DirectoryError, PERSON_FILTER, Session, Settings,
};
use crate::model::{Dn, NameSource, Placement, ServerUrl, Tier, Timestamp, unknown_rule};
use crate::reconcile::{Closure, Presence};

/// A certificate that ends sooner is worth a word.
const RENEW: Duration = Duration::from_hours(30 * 24);
/// Clocks further apart than this say nothing about what has expired.
const MAX_SKEW: Duration = Duration::from_mins(5);
/// Names of a certificate that are listed.
const MANY_NAMES: usize = 4;
/// People whose attributes are looked at.
const SAMPLE: u32 = 200;

/// How one step went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepOutcome {
    /// As it should.
    Ok,
    /// Runs work, and something is worth knowing.
    Warning,
    /// Runs fail, or people are missed, until this is mended.
    Failed,
    /// It could not be tried, because something before it failed.
    Skipped,
}

impl StepOutcome {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One step of a check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Which: `dns`, `tcp`, `tls`, `bind`, `identity`, `clock`, `rights`, `deleted objects`, `base`, `filter`, `attributes`,
    /// `groups`, `paging`.
    pub name: &'static str,
    /// The server it is about; none for what is about the configuration.
    pub server: Option<String>,
    /// How it went.
    pub outcome: StepOutcome,
    /// What was found.
    pub finding: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Step {
    /// A step.
    pub fn new(
        name: &'static str,
        outcome: StepOutcome,
        finding: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self { name, server: None, outcome, finding: finding.into(), remedy }
    }

    fn at(self, server: &str) -> Self {
        Self { server: Some(server.to_owned()), ..self }
    }

    fn failed(name: &'static str, error: &DirectoryError) -> Self {
        Self::new(name, StepOutcome::Failed, error.finding(), error.remedy().map(str::to_owned))
    }
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Examination {
    /// Step by step.
    pub steps: Vec<Step>,
    /// AD's refusal of the service account, which somebody must remember.
    pub refusal: Option<BindRefusal>,
    /// Whether AD took the service account.
    pub is_bound: bool,
}

impl Examination {
    /// Whether runs can work.
    pub fn is_well(&self) -> bool {
        !self.steps.iter().any(|step| step.outcome == StepOutcome::Failed)
    }

    fn add(&mut self, step: Step) {
        self.steps.push(step);
    }

    fn ok(&mut self, name: &'static str, finding: impl Into<String>) {
        self.add(Step::new(name, StepOutcome::Ok, finding, None));
    }

    fn warn(&mut self, name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.add(Step::new(name, StepOutcome::Warning, finding, Some(remedy.into())));
    }

    fn fail(&mut self, name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.add(Step::new(name, StepOutcome::Failed, finding, Some(remedy.into())));
    }
}

/// Looks a directory over. With `no_bind` the service account is not tried, for that reason.
///
/// `is_incremental` says whether changes are to be followed; else the server is not asked about them.
pub async fn examine(
    settings: &Settings,
    now: Timestamp,
    no_bind: Option<&str>,
    is_incremental: bool,
) -> Examination {
    let mut found = Examination::default();
    if let Err(error) = password(settings) {
        found.add(Step::failed("secret", &error));
    }
    let mut session = None;
    for url in &settings.servers {
        let Some(wire) = connect(url, settings, now, &mut found).await else { continue };
        let server = url.to_string();
        if let Some(why) = no_bind {
            found.add(Step::new("bind", StepOutcome::Failed, why, None).at(&server));
        } else if found.refusal.as_ref().is_some_and(|refusal| refusal.again() != Again::Yes) {
            let why = "not tried: AD has refused the service account already";
            found.add(Step::new("bind", StepOutcome::Skipped, why, None).at(&server));
        } else if let Some(bound) = sign_in(url, wire, settings, now, &mut found).await {
            session.get_or_insert(bound);
        }
    }
    match session {
        Some(mut session) => {
            if let Err(error) = directory(&mut session, settings, &mut found).await {
                found.add(Step::failed("directory", &error));
            }
            // Last, because a firewall may end the connection at this question.
            changes(&mut session, is_incremental, &mut found).await;
        }
        None => found.add(Step::new(
            "directory",
            StepOutcome::Skipped,
            "base, groups and rights were not looked at: no server can be used",
            None,
        )),
    }
    found
}

/// DNS, TCP and TLS of one server.
async fn connect(
    url: &ServerUrl,
    settings: &Settings,
    now: Timestamp,
    found: &mut Examination,
) -> Option<Wire> {
    let server = url.to_string();
    let broken = |name, source: WireError| {
        let remedy = source.remedy().map(str::to_owned);
        Step::new(name, StepOutcome::Failed, source.to_string(), remedy).at(&server)
    };
    let addresses = match wire::resolve(url).await {
        Ok(addresses) => addresses,
        Err(error) => {
            found.add(broken("dns", error));
            return None;
        }
    };
    let listed =
        |all: &[SocketAddr]| all.iter().map(|a| a.ip().to_string()).collect::<Vec<_>>().join(", ");
    found.add(
        Step::new("dns", StepOutcome::Ok, format!("{} is {}", url.host, listed(&addresses)), None)
            .at(&server),
    );

    let begun = Instant::now();
    let tcp = match wire::dial(url, settings, &addresses).await {
        Ok(tcp) => tcp,
        Err(
            error @ (WireError::StartTlsRefused(_)
            | WireError::StartTlsInjection
            | WireError::Timeout { what: "StartTLS", .. }),
        ) => {
            found.add(broken("tls", error));
            return None;
        }
        Err(error) => {
            found.add(broken("tcp", error));
            return None;
        }
    };
    let finding = format!("port {} answers after {} ms", url.port, begun.elapsed().as_millis());
    found.add(Step::new("tcp", StepOutcome::Ok, finding, None).at(&server));

    match tls::secure(tcp, &url.host, settings.ca_file.as_deref(), settings.timeouts.connect).await
    {
        Ok(Secured { stream, certificate }) => {
            let version = stream
                .get_ref()
                .1
                .protocol_version()
                .and_then(|v| v.as_str())
                .unwrap_or("TLS")
                .replace("TLSv1_", "TLS 1.");
            found.add(certificate_step(url, settings, &certificate, &version, now).at(&server));
            match Wire::over(stream).await {
                Ok(wire) => Some(wire),
                Err(error) => {
                    found.add(broken("tls", error));
                    None
                }
            }
        }
        Err(error) => {
            found.add(broken("tls", error));
            None
        }
    }
}

/// Returns what the certificate says, and what it proves: a name, by the word of its issuer, and why that name is believed.
fn certificate_step(
    url: &ServerUrl,
    settings: &Settings,
    certificate: &Certificate,
    version: &str,
    now: Timestamp,
) -> Step {
    let Certificate { subject, issuer, names, until, .. } = certificate;
    let more = names.len().saturating_sub(MANY_NAMES);
    let mut names =
        if names.is_empty() { subject.clone() } else { names[..names.len() - more].join(", ") };
    if more > 0 {
        names = format!("{names} and {more} more");
    }
    let left = until.since(now);
    let source = match &url.source {
        NameSource::Configured => "is configured in servers".to_owned(),
        NameSource::Discovered(domain) => format!("came from DNS and lies in {domain}"),
    };
    let trusted = settings.ca_file.clone().map_or(Trusted::System, Trusted::File);
    let finding = format!(
        "{version}; the certificate is for {names}, issued by {issuer}, valid until {} ({} days); it proves, by {trusted}, \
         that the server is {}, a name that {source}",
        until.to_utc().format("%-d %B %Y"),
        left.as_secs() / 86_400,
        url.host
    );
    if left < RENEW {
        Step::new(
            "tls",
            StepOutcome::Warning,
            finding,
            Some("renew it in time: an expired one ends every run".to_owned()),
        )
    } else {
        Step::new("tls", StepOutcome::Ok, finding, None)
    }
}

/// Bind and identity, and what the server's clock says.
async fn sign_in(
    url: &ServerUrl,
    wire: Wire,
    settings: &Settings,
    now: Timestamp,
    found: &mut Examination,
) -> Option<Session> {
    let server = url.to_string();
    let secret = password(settings).ok()?;
    let mut session = Session::over(url, wire, settings);
    if let Err(error) = session.bind(&settings.bind_dn, &secret).await {
        found.refusal = error.refusal().cloned().or(found.refusal.take());
        found.add(Step::failed("bind", &error).at(&server));
        return None;
    }
    found.is_bound = true;
    if let Err(error) = session.identify().await {
        found.add(
            Step::new("bind", StepOutcome::Ok, format!("{} is let in", settings.bind_dn), None)
                .at(&server),
        );
        found.add(Step::failed("identity", &error).at(&server));
        return None;
    }
    found.add(account_step(&session, now).at(&server));
    let dsa = session.root.identity.ds_service_name.clone();
    // CN=NTDS Settings,CN=DC1,CN=Servers,CN=Berlin,CN=Sites,…
    let name = Dn::new(dsa.as_str()).parent().map_or(dsa, |dn| dn.name());
    let vendor = if session.root.vendor.is_empty() {
        String::new()
    } else {
        format!(", {}", session.root.vendor)
    };
    let finding = format!("{name} of {}{vendor}", session.root.default_naming_context);
    found.add(Step::new("identity", StepOutcome::Ok, finding, None).at(&server));
    found.add(clock_step(session.root.current_time, now).at(&server));
    Some(session)
}

/// Who we are, and until when.
fn account_step(session: &Session, now: Timestamp) -> Step {
    let finding = format!("the service account is {}", session.me.dn);
    let filetime = |attribute: &str| {
        session
            .me
            .text(attribute)
            .and_then(|t| t.parse::<i64>().ok())
            .filter(|t| *t > 0 && *t != i64::MAX)
    };
    match filetime("accountExpires").map(Timestamp::from_filetime) {
        Some(at) if at.since(now) < RENEW => Step::new(
            "bind",
            StepOutcome::Warning,
            format!("{finding}, which expires on {}", at.to_utc().format("%-d %B %Y")),
            Some("extend its accountExpires".to_owned()),
        ),
        _ => Step::new("bind", StepOutcome::Ok, finding, None),
    }
}

fn clock_step(theirs: Option<Timestamp>, now: Timestamp) -> Step {
    let remedy = || Some("set one of the clocks right: until then nobody expires".to_owned());
    match theirs {
        None => {
            Step::new("clock", StepOutcome::Failed, "the server does not tell the time", remedy())
        }
        Some(theirs) if theirs.distance(now) > MAX_SKEW => Step::new(
            "clock",
            StepOutcome::Failed,
            format!("the server's clock says {theirs}, ours {now}"),
            remedy(),
        ),
        Some(theirs) => Step::new(
            "clock",
            StepOutcome::Ok,
            format!("{} s from ours", theirs.distance(now).as_secs()),
            None,
        ),
    }
}

/// What is the same on every server: rights, bases, filter, attributes, groups, paging.
async fn directory(
    session: &mut Session,
    settings: &Settings,
    found: &mut Examination,
) -> Result<(), DirectoryError> {
    let decoder = Decoder::new(&settings.attributes, &Closure::default());
    let mut sample = Sample { people: 0, seen: vec![0; decoder.attributes().len()] };
    for base in &settings.bases {
        look_below(session, settings, base, &decoder, &mut sample, found).await?;
    }
    rights(&sample, &decoder, session, found);
    deleted(session, found).await?;
    names(session, settings, found).await?;
    groups(session, settings, found).await
}

/// On how many people each attribute was seen.
struct Sample {
    people: u32,
    seen: Vec<u32>,
}

/// Whether a base is there, whom the filter finds in it, and whether pages can be turned.
async fn look_below(
    session: &mut Session,
    settings: &Settings,
    base: &str,
    decoder: &Decoder,
    sample: &mut Sample,
    found: &mut Examination,
) -> Result<(), DirectoryError> {
    let server = session.server.clone();
    if session.object(base, &["objectGUID".to_owned()]).await?.is_none() {
        let domain = session.root.default_naming_context.clone();
        if Dn::new(base).is_within(&Dn::new(domain.as_str())) {
            found.fail(
                "base",
                format!("{base} was not found"),
                "check its name, and that the service account may read it",
            );
        } else {
            found.fail(
                "base",
                format!("{base} is outside the domain {domain} that this server holds"),
                "check base",
            );
        }
        return Ok(());
    }
    let attributes = decoder.attributes();
    let everybody = Assertion::raw(PERSON_FILTER);
    let wanted = Assertion::all(
        [Some(PERSON_FILTER), settings.filter_text().as_deref()]
            .into_iter()
            .flatten()
            .map(Assertion::raw),
    );
    let size = SAMPLE.min(settings.page_size);
    let mut people = 0;
    let query = Query {
        course: Course::Pages(size, b""),
        ..Query::new(base, Scope::Subtree, wanted.as_str(), &attributes)
    };
    let first = session
        .search(&query, |entry| {
            people += 1;
            sample.add(decoder.person(entry, Placement::Inside).ok().map(|(_, presence)| presence));
        })
        .await?;
    let Some(cookie) = first.cookie.filter(|_| first.code == 0) else {
        let error =
            session.refused(base, if first.code == 0 { 12 } else { first.code }, first.text);
        let is_filter = first.code != 0
            && settings.filter.is_some()
            && session.shows_people(&Dn::new(base)).await?;
        if is_filter {
            let finding = format!(
                "AD refuses the filter {}: {}",
                settings.filter_text().unwrap_or_default(),
                error.finding()
            );
            found.fail("filter", finding, "correct filter");
        } else {
            found.add(Step::failed("paging", &error).at(&server));
        }
        return Ok(());
    };
    let many = if cookie.is_empty() {
        format!("{people} people")
    } else {
        format!("{people} people and more")
    };
    match (people, &settings.filter) {
        (0, None) => found.fail(
            "base",
            format!("{base} shows nobody"),
            "check base, and that the service account may list what is below it",
        ),
        (0, Some((filter, _))) => {
            let anybody = session.finds(base, Scope::Subtree, &everybody, false, |_| true).await?;
            let (finding, remedy) = if anybody {
                (
                    format!("{base} has people, and the filter {filter} finds none of them"),
                    "check filter",
                )
            } else {
                (
                    format!("{base} shows nobody"),
                    "check base, and that the service account may list what is below it",
                )
            };
            found.fail("base", finding, remedy);
        }
        _ => found.ok("base", format!("{base}: {many}")),
    }
    if cookie.is_empty() {
        found.ok("paging", "everybody is on one page, which came with its control");
    } else {
        let mut next = 0;
        let second = session
            .search(&Query { course: Course::Pages(size, &cookie), ..query.clone() }, |_| next += 1)
            .await?;
        match (second.code, second.cookie) {
            (0, Some(_)) if people == size => found.add(Step::new(
                "paging",
                StepOutcome::Ok,
                format!("pages of {size} can be turned"),
                None,
            )),
            (0, _) => found.fail(
                "paging",
                format!("a page of {size} people came with {people}, or without its control"),
                "use a domain controller of Active Directory",
            ),
            (code, _) => {
                let error = session.refused(base, code, second.text);
                found.add(Step::failed("paging", &error));
            }
        }
    }
    Ok(())
}

impl Sample {
    fn add(&mut self, presence: Option<Presence>) {
        self.people += 1;
        let Some(Presence(bits)) = presence else { return };
        for (bit, seen) in self.seen.iter_mut().enumerate() {
            *seen += u32::from(bits >> bit & 1 == 1);
        }
    }
}

/// Whether the attributes that everybody has can be read on everybody, and the others on anybody.
fn rights(sample: &Sample, decoder: &Decoder, session: &Session, found: &mut Examination) {
    if sample.people == 0 {
        found.add(Step::new(
            "rights",
            StepOutcome::Skipped,
            "nobody was seen whose attributes could be looked at",
            None,
        ));
        return;
    }
    let universal = Decoder::universal();
    let mut unreadable = Vec::new();
    let mut unseen = Vec::new();
    for (name, seen) in decoder.attributes().into_iter().zip(&sample.seen) {
        if universal.contains(&name) && *seen < sample.people {
            unreadable.push(format!("{name} on {} of {}", sample.people - seen, sample.people));
        } else if *seen == 0 {
            unseen.push(name);
        }
    }
    let base = &session.root.default_naming_context;
    let grant = Grants::of(session).command(Right::ReadProperty, base);
    if !unreadable.is_empty() {
        found.fail(
            "rights",
            format!("cannot be read: {}", unreadable.join(", ")),
            format!("grant Read all properties on people: {grant}"),
        );
    }
    if !unseen.is_empty() {
        found.warn(
            "rights",
            format!("seen on none of {} people: {}", sample.people, unseen.join(", ")),
            format!("nothing to do if nobody has them; else grant Read all properties: {grant}"),
        );
    }
    if unreadable.is_empty() && unseen.is_empty() {
        found.ok(
            "rights",
            format!("every attribute that rosterd reads was seen on {} people", sample.people),
        );
    }
}

/// Whether deletions can be seen, and the grant that lets them.
async fn deleted(session: &mut Session, found: &mut Examination) -> Result<(), DirectoryError> {
    if session.sees_tombstones().await? {
        found.ok("deleted objects", "they can be read: a deletion is seen as one");
        return Ok(());
    }
    let container = deleted_objects(&session.root.default_naming_context);
    let grants = Grants::of(session);
    let mut grant = grants.command(Right::ListContents, &container);
    if !grants.is_for_samba() {
        grant = format!("dsacls \"{container}\" /takeownership, then {grant}");
    }
    found.warn(
        "deleted objects",
        "none can be seen: whoever is deleted is only missing, which takes a recheck and a witness, and is held where there is none",
        format!("if anybody was ever deleted, grant it as a domain administrator: {grant}"),
    );
    Ok(())
}

/// Whether the server tells of changes.
async fn changes(session: &mut Session, is_incremental: bool, found: &mut Examination) {
    if !is_incremental {
        found.add(Step::new(
            "changes",
            StepOutcome::Skipped,
            "not followed: incremental = false",
            None,
        ));
        return;
    }
    match session.tells_of_changes().await {
        Ok(()) => found.ok("changes", "the server tells what has changed (DirSync): it can be acted on at once"),
        Err(error) => found.warn(
            "changes",
            format!("the server does not tell what has changed: {}", error.finding()),
            "use a domain controller of Active Directory, and let firewalls pass DirSync; until then nothing is seen between scheduled runs, which read everybody: incremental = false says so",
        ),
    }
}

/// Whether the attributes that the configuration names exist.
async fn names(
    session: &mut Session,
    settings: &Settings,
    found: &mut Examination,
) -> Result<(), DirectoryError> {
    if let Some((_, filter)) = &settings.filter {
        for rule in filter.unknown_rules() {
            found.fail("filter", unknown_rule(rule), "check filter");
        }
    }
    for (step, key, names) in settings.named_attributes() {
        if names.is_empty() {
            continue;
        }
        match session
            .schema_of(names.iter().map(String::as_str))
            .await?
            .map(|schema| schema.unknown)
        {
            None => found.warn(
                step,
                "the schema cannot be read, so nothing tells whether the attributes exist",
                "let the service account read the schema",
            ),
            Some(unknown) if unknown.is_empty() => {
                found.ok(step, format!("AD has {}", names.join(", ")))
            }
            Some(unknown) => {
                let unknown = unknown.into_iter().collect::<Vec<_>>().join(", ");
                found.fail(step, format!("AD has no attribute {unknown}"), format!("check {key}"));
            }
        }
    }
    Ok(())
}

/// Whether the groups are there, and what is nested in them.
async fn groups(
    session: &mut Session,
    settings: &Settings,
    found: &mut Examination,
) -> Result<(), DirectoryError> {
    if settings.groups.is_empty() {
        found.add(Step::new(
            "groups",
            StepOutcome::Ok,
            "none are configured: everybody gets default-tier",
            None,
        ));
    }
    for (tier, name) in &settings.groups {
        let object = match session.resolve_group(name, None).await? {
            Ok(object) => object,
            Err(trouble) => {
                found.fail("groups", trouble.finding(), trouble.remedy());
                continue;
            }
        };
        let dn = object.dn.clone();
        let guid = object.guid();
        let nested = session.closure(&[(*tier, object)]).await?.groups().count().saturating_sub(1);
        let of = match tier {
            Tier::Pro => "pro",
            Tier::Basic => "basic",
        };
        let silent = session.groups_without_members(&guid.into_iter().collect()).await?;
        if silent.is_empty() || nested > 0 {
            found.ok("groups", format!("{of}: {dn}, {nested} nested groups"));
        } else {
            found.warn(
                "groups",
                format!("{of}: {dn} shows no member"),
                "nothing to do if it is empty, or the primary group of its people; else let the service account read member",
            );
        }
    }
    Ok(())
}
