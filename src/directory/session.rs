//! One bound connection: who we are, who the server is, and one search at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ldap3::Scope;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::ber::EntryRef;
use super::controls::{self, Course};
use super::wire::{Wire, WireError};
use super::{Again, Assertion, DirectoryError, Settings, parse_refusal};
use crate::model::{Guid, ServerUrl, Timestamp, secret_line};
use crate::reconcile::ServerIdentity;

/// LDAP_CAP_ACTIVE_DIRECTORY_PARTIAL_SECRETS_OID: what read-only domain controllers say of themselves.
const READ_ONLY: &str = "1.2.840.113556.1.4.1920";
/// The most bytes of values that one look-up keeps: the groups of the largest forests take less.
const LARGEST_LOOK_UP: usize = 64 << 20;
/// Pages without an entry, one after the other, that are taken for a server at work; Active Directory sends one where it has searched
/// for some time and found nobody.
pub(super) const EMPTY_PAGES: u32 = 100;
/// The SID of whoever is nobody.
const ANONYMOUS: &str = "S-1-5-7";

/// One entry with the attributes that were asked for, by lower-case name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Object {
    /// Its distinguished name.
    pub dn: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Object {
    /// Reads all of an entry.
    pub(super) fn read(entry: Option<&EntryRef<'_>>) -> Option<Self> {
        let entry = entry?;
        let mut object = Self {
            dn: String::from_utf8_lossy(entry.dn()).into_owned(),
            attributes: BTreeMap::new(),
        };
        for attribute in entry.attributes() {
            let attribute = attribute.ok()?;
            let name = String::from_utf8_lossy(attribute.name).to_ascii_lowercase();
            object
                .attributes
                .entry(name)
                .or_default()
                .extend(attribute.values().map(<[u8]>::to_vec));
        }
        Some(object)
    }

    /// How many bytes its values have.
    fn size(&self) -> usize {
        self.dn.len() + self.attributes.values().flatten().map(Vec::len).sum::<usize>()
    }

    /// The first value of an attribute, as text.
    pub fn text(&self, attribute: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(attribute)?).ok()
    }

    /// The first value of an attribute.
    pub fn bytes(&self, attribute: &str) -> Option<&[u8]> {
        self.attributes.get(&attribute.to_ascii_lowercase())?.first().map(Vec::as_slice)
    }

    /// Its GUID.
    pub fn guid(&self) -> Option<Guid> {
        Guid::from_ad(self.bytes("objectGUID")?)
    }
}

/// What the rootDSE says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RootDse {
    /// The domain's naming context.
    pub default_naming_context: String,
    /// The configuration's.
    pub configuration_naming_context: String,
    /// The schema's.
    pub schema_naming_context: String,
    /// The DC's clock.
    pub current_time: Option<Timestamp>,
    /// Who the server is.
    pub identity: ServerIdentity,
    /// The highest USN it has given; 0 where it does not say.
    pub usn: u64,
    /// Whether it is a read-only domain controller, from which attributes may be withheld (MS-ADTS 3.1.1.3.2.1).
    pub is_read_only: bool,
    /// Who wrote the server, where it says so. Active Directory itself does not.
    pub vendor: String,
}

/// How a search ended.
#[derive(Debug)]
pub(super) struct SearchEnd {
    pub code: u32,
    pub text: String,
    /// The cookie of the control that came back, if one did: of pages, or of changes.
    pub cookie: Option<Vec<u8>>,
    /// Whether there is more to fetch with it.
    pub has_more: bool,
}

/// What a search asks for.
#[derive(Debug, Clone)]
pub(super) struct Query<'a> {
    pub base: &'a str,
    pub scope: Scope,
    pub filter: &'a str,
    pub attributes: &'a [String],
    pub course: Course<'a>,
    pub show_deleted: bool,
    /// The most entries wanted; 0 for all.
    pub size_limit: i32,
}

impl<'a> Query<'a> {
    pub(super) fn new(
        base: &'a str,
        scope: Scope,
        filter: &'a str,
        attributes: &'a [String],
    ) -> Self {
        Self {
            base,
            scope,
            filter,
            attributes,
            course: Course::Whole,
            show_deleted: false,
            size_limit: 0,
        }
    }
}

/// A bound connection to one server.
#[derive(Debug)]
pub struct Session {
    /// The server, as configured.
    pub server: String,
    /// What it says of itself.
    pub root: RootDse,
    /// Our own entry.
    pub me: Object,
    pub(super) wire: Option<Wire>,
    pub(super) wait: Duration,
}

impl Session {
    /// Connects and binds to one server, and makes sure of who both sides are.
    pub async fn open(url: &ServerUrl, settings: &Settings) -> Result<Self, DirectoryError> {
        let password = password(settings)?;
        let wire = Wire::connect(url, settings)
            .await
            .map_err(|source| DirectoryError::Wire { server: url.to_string(), source })?;
        let mut session = Self::over(url, wire, settings);
        session.bind(&settings.bind_dn, &password).await?;
        session.identify().await?;
        Ok(session)
    }

    /// Nobody yet, on a connection.
    pub(super) fn over(url: &ServerUrl, wire: Wire, settings: &Settings) -> Self {
        let wait = settings.timeouts.operation;
        Self {
            server: url.to_string(),
            root: RootDse::default(),
            me: Object::default(),
            wire: Some(wire),
            wait,
        }
    }

    /// Opens the first server that serves, each tried once, `preferred` before the others.
    pub async fn open_any(
        settings: &Settings,
        preferred: Option<&str>,
    ) -> Result<Self, DirectoryError> {
        let mut errors: Vec<DirectoryError> = Vec::new();
        for url in settings.servers_from(preferred) {
            match Self::open(url, settings).await {
                Ok(session) => {
                    // That none serves is told by whoever asked for one.
                    for error in &errors {
                        tracing::warn!("{error}; {url} is used instead");
                    }
                    return Ok(session);
                }
                Err(error) => {
                    // Another server would count the same wrong password once more.
                    let is_over =
                        error.refusal().is_some_and(|refusal| refusal.again() != Again::Yes);
                    errors.push(error);
                    if is_over {
                        break;
                    }
                }
            }
        }
        Err(DirectoryError::NoServer(errors))
    }

    pub(super) async fn bind(
        &mut self,
        name: &str,
        password: &SecretString,
    ) -> Result<(), DirectoryError> {
        let wait = self.wait;
        let Some(wire) = self.wire.as_mut() else { return Err(self.fail(None)) };
        let answer = timeout(wait, wire.ldap.simple_bind(name, password.expose_secret())).await;
        match answer {
            Ok(Ok(result)) if result.rc == 0 => Ok(()),
            Ok(Ok(result)) => Err(DirectoryError::Refused {
                server: self.server.clone(),
                refusal: parse_refusal(result.rc, &result.text),
            }),
            Ok(Err(error)) => Err(self.fail(Some(&error))),
            Err(_) => Err(self.late("the bind")),
        }
    }

    /// Reads the rootDSE, who the server is, and our own entry: the first SID of `tokenGroups` is ours.
    pub(super) async fn identify(&mut self) -> Result<(), DirectoryError> {
        self.root = self.read_root().await?;
        if self.root.is_read_only {
            return Err(self.unsuitable(
                "is a read-only domain controller, which may withhold attributes from everybody",
                "name writable domain controllers in servers",
            ));
        }
        let sid = self.own_sid().await?;
        let name = sid_text(&sid).unwrap_or_default();
        let me = self.object(&format!("<SID={name}>"), &["*".to_owned()]).await?;
        self.me = me.ok_or_else(|| {
            self.unsuitable(
                "does not let the service account read its own entry",
                "give it the right to",
            )
        })?;
        Ok(())
    }

    /// Returns the SID that the connection is bound as: the first of the rootDSE's `tokenGroups`. Anonymous is an error.
    pub(super) async fn own_sid(&mut self) -> Result<Vec<u8>, DirectoryError> {
        let names = ["tokenGroups".to_owned()];
        let token = self.object("", &names).await?.unwrap_or_default();
        let sid = token.attributes.get("tokengroups").and_then(|sids| sids.first());
        let Some((sid, text)) = sid.and_then(|sid| Some((sid, sid_text(sid)?))) else {
            return Err(self.unsuitable(
                "does not say who we are (no tokenGroups in the rootDSE)",
                "use a domain controller of Active Directory",
            ));
        };
        if text == ANONYMOUS {
            return Err(DirectoryError::Anonymous { server: self.server.clone() });
        }
        Ok(sid.clone())
    }

    pub(super) fn unsuitable(&self, problem: &'static str, remedy: &'static str) -> DirectoryError {
        DirectoryError::Unsuitable { server: self.server.clone(), problem, remedy }
    }

    /// The rootDSE now, with the identity of the database behind it.
    pub async fn read_root(&mut self) -> Result<RootDse, DirectoryError> {
        let names = [
            "defaultNamingContext",
            "configurationNamingContext",
            "schemaNamingContext",
            "currentTime",
            "dsServiceName",
            "supportedCapabilities",
            "vendorName",
            "highestCommittedUSN",
        ];
        let names = names.map(str::to_owned);
        let root = self.object("", &names).await?.unwrap_or_default();
        let text = |name: &str| root.text(name).unwrap_or_default().to_owned();
        let ds_service_name = text("dsServiceName");
        let mut identity =
            ServerIdentity { ds_service_name: ds_service_name.clone(), invocation_id: None };
        if !ds_service_name.is_empty() {
            let settings = self
                .object(&ds_service_name, &["invocationId".to_owned()])
                .await?
                .unwrap_or_default();
            identity.invocation_id = settings.bytes("invocationId").and_then(Guid::from_ad);
        }
        let default_naming_context = text("defaultNamingContext");
        if default_naming_context.is_empty() {
            return Err(self.unsuitable(
                "holds no domain (no defaultNamingContext in the rootDSE)",
                "use a domain controller of Active Directory",
            ));
        }
        Ok(RootDse {
            default_naming_context,
            configuration_naming_context: text("configurationNamingContext"),
            schema_naming_context: text("schemaNamingContext"),
            current_time: root.text("currentTime").and_then(generalized_time),
            identity,
            usn: text("highestCommittedUSN").parse().unwrap_or(0),
            is_read_only: root
                .attributes
                .get("supportedcapabilities")
                .is_some_and(|all| all.iter().any(|c| c == READ_ONLY.as_bytes())),
            vendor: text("vendorName"),
        })
    }

    /// The highest USN the server has given by now.
    pub async fn highest_usn(&mut self) -> Result<u64, DirectoryError> {
        let root = self.object("", &["highestCommittedUSN".to_owned()]).await?.unwrap_or_default();
        Ok(root.text("highestCommittedUSN").and_then(|usn| usn.parse().ok()).unwrap_or(0))
    }

    /// One object by its name (`<GUID=…>` and `<SID=…>` too); `None` where there is none, or none we may see.
    pub async fn object(
        &mut self,
        name: &str,
        attributes: &[String],
    ) -> Result<Option<Object>, DirectoryError> {
        let mut found = None;
        let query = Query::new(name, Scope::Base, "(objectClass=*)", attributes);
        let end = self.search(&query, |entry| found = Object::read(entry)).await?;
        match end.code {
            0 | 32 => Ok(found),
            // A malformed DN, or one in another domain, names nothing here.
            10 | 34 => Ok(None),
            code => Err(self.refused(name, code, end.text)),
        }
    }

    /// A canary by its DN, UPN, or logon name.
    pub async fn find_canary(&mut self, name: &str) -> Result<Option<Object>, DirectoryError> {
        let all = ["*".to_owned()];
        if name.contains('=') {
            return self.object(name, &all).await;
        }
        let attribute = if name.contains('@') { "userPrincipalName" } else { "sAMAccountName" };
        let base = self.root.default_naming_context.clone();
        let filter = Assertion::equals(attribute, name);
        Ok(self.objects(&Query::new(&base, Scope::Subtree, filter.as_str(), &all)).await?.pop())
    }

    /// All objects a filter finds, in pages.
    pub(super) async fn objects(
        &mut self,
        query: &Query<'_>,
    ) -> Result<Vec<Object>, DirectoryError> {
        let mut found = Vec::new();
        let mut cookie: Vec<u8> = Vec::new();
        let (mut bytes, mut empty) = (0, 0);
        loop {
            let query = Query { course: Course::Pages(1_000, &cookie), ..query.clone() };
            let mut broken = false;
            let before = found.len();
            let end = self.search(&query, |entry| {
                match Object::read(entry).filter(|object| bytes + object.size() <= LARGEST_LOOK_UP)
                {
                    Some(object) => {
                        bytes += object.size();
                        found.push(object);
                    }
                    None => broken = true,
                }
            });
            let end = end.await?;
            empty = if found.len() > before { 0 } else { empty + 1 };
            match end {
                SearchEnd { code: 0, cookie: Some(next), .. } if next.is_empty() && !broken => {
                    return Ok(found);
                }
                SearchEnd { code: 0, cookie: Some(next), .. }
                    if !broken && empty <= EMPTY_PAGES && found.len() < 1_000_000 =>
                {
                    cookie = next
                }
                SearchEnd { code: 0, .. } => {
                    let problem = "the answer has no paging control, no end, or an entry that cannot be read or is too large";
                    return Err(self.refused(query.base, 80, problem.into()));
                }
                SearchEnd { code, text, .. } => return Err(self.refused(query.base, code, text)),
            }
        }
    }

    /// Whether a filter finds anything at all below a base.
    pub(super) async fn finds(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &Assertion,
        show_deleted: bool,
        is_it: impl Fn(&Object) -> bool,
    ) -> Result<bool, DirectoryError> {
        let attributes = ["objectGUID".to_owned()];
        // Two, because the first may be the container of deleted objects itself.
        let query = Query {
            show_deleted,
            size_limit: 2,
            ..Query::new(base, scope, filter.as_str(), &attributes)
        };
        let mut is_found = false;
        let end = self
            .search(&query, |entry| is_found |= Object::read(entry).is_some_and(|o| is_it(&o)))
            .await?;
        match end.code {
            // 4: there are more than two. 32: the base cannot be seen.
            0 | 4 | 32 => Ok(is_found),
            code => Err(self.refused(base, code, end.text)),
        }
    }

    /// One search, one page; every entry is handed over as it comes, and `None` for one that is none inside.
    pub(super) async fn search(
        &mut self,
        query: &Query<'_>,
        mut on_entry: impl FnMut(Option<&EntryRef<'_>>),
    ) -> Result<SearchEnd, DirectoryError> {
        let wait = self.wait;
        let Some(wire) = self.wire.as_mut() else { return Err(self.fail(None)) };
        let Query { base, scope, filter, attributes, course, show_deleted, size_limit } = query;
        let mut ldap = wire.ldap.clone();
        ldap.with_controls(controls::of_search(*course, *show_deleted));
        if *size_limit > 0 {
            ldap.with_search_options(ldap3::SearchOptions::new().sizelimit(*size_limit));
        }
        let asked = ldap.search(base, *scope, filter, attributes);
        tokio::pin!(asked);
        // Twice what was asked for: more is no mistake. A size limit is no measure: Samba passes over it.
        let most = match (course, scope) {
            (Course::Pages(size, _), _) => *size as usize * 2,
            (_, Scope::Base) => 2,
            _ => usize::MAX,
        };
        let mut count = 0;
        let mut hand_over = |batch: Vec<Bytes>| {
            count += batch.len();
            for frame in batch {
                // The relay lets through what is well-formed BER; what is no entry inside still counts as somebody.
                on_entry(EntryRef::parse(&frame).ok().as_ref());
            }
            if count > most { Err(WireError::Overfull(most)) } else { Ok(()) }
        };
        let ended = loop {
            let step = timeout(wait, async {
                tokio::select! {
                    biased;
                    Some(batch) = wire.entries.recv() => Ok(batch),
                    ended = &mut asked => Err(ended),
                }
            });
            match step.await {
                Ok(Ok(batch)) => {
                    if let Err(source) = hand_over(batch) {
                        self.wire = None;
                        return Err(DirectoryError::Wire { server: self.server.clone(), source });
                    }
                }
                Ok(Err(ended)) => break ended,
                Err(_) => return Err(self.late("a search")),
            }
        };
        while let Ok(batch) = wire.entries.try_recv() {
            // Too many of them does not matter any more.
            let _ = hand_over(batch);
        }
        match ended {
            Ok(ldap3::SearchResult(_, result)) => {
                let (cookie, has_more) = controls::going_on(&result.ctrls).unzip();
                Ok(SearchEnd {
                    code: result.rc,
                    text: without_names(result.text.trim_end_matches('\0')),
                    cookie,
                    has_more: has_more.unwrap_or(false),
                })
            }
            Err(error) => Err(self.fail(Some(&error))),
        }
    }

    /// Waits for the next answer no longer than this.
    pub fn wait_at_most(&mut self, wait: Duration) {
        self.wait = self.wait.min(wait);
    }

    /// Whether the connection still stands.
    pub fn is_open(&self) -> bool {
        self.wire.is_some()
    }

    /// Ends the connection: a search was given up, and its answers may still come.
    pub fn hang_up(&mut self) {
        self.wire = None;
    }

    pub(super) fn refused(&self, base: &str, code: u32, mut text: String) -> DirectoryError {
        // What follows is the nearest object there is. It may be a person, whose name is not for the log.
        text.truncate(text.find(", best match of").unwrap_or(text.len()));
        DirectoryError::Search { server: self.server.clone(), base: base.to_owned(), code, text }
    }

    /// The connection is over; says why.
    pub(super) fn fail(&mut self, error: Option<&ldap3::LdapError>) -> DirectoryError {
        let source = self.wire.take().map_or(WireError::Cut, |wire| wire.explain(error));
        DirectoryError::Wire { server: self.server.clone(), source }
    }

    /// Nothing answered in time: the connection is of no more use.
    pub(super) fn late(&mut self, what: &'static str) -> DirectoryError {
        if self.wire.as_ref().is_some_and(Wire::has_failed) {
            return self.fail(None);
        }
        self.wire = None;
        DirectoryError::Wire {
            server: self.server.clone(),
            source: WireError::Timeout { what, after: self.wait },
        }
    }
}

/// Reads the password file. A file that others can read, or that is malformed, is an error: nothing of it is sent.
pub(super) fn password(settings: &Settings) -> Result<SecretString, DirectoryError> {
    use std::os::unix::fs::MetadataExt as _;
    let path = &settings.password_file;
    let bad = |problem: String, remedy| DirectoryError::Secret {
        path: path.display().to_string(),
        problem,
        remedy,
    };
    let unreadable = |e: std::io::Error| {
        bad(
            format!("cannot be read: {e}"),
            "write the password into it, and let rosterd's user read it",
        )
    };
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if meta.mode() & 0o007 != 0 {
        return Err(bad("can be read by everybody".to_owned(), "chmod 600"));
    }
    let content = Zeroizing::new(std::fs::read(path).map_err(unreadable)?);
    let line = secret_line(&content).map_err(|fault| bad(fault.to_string(), fault.remedy()))?;
    Ok(SecretString::from(line.to_owned()))
}

/// A binary SID (MS-DTYP 2.4.2.2) as text.
pub(super) fn sid_text(sid: &[u8]) -> Option<String> {
    let (head, rest) = sid.split_at_checked(8)?;
    let authority = head[2..].iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    if rest.len() != usize::from(head[1]) * 4 {
        return None;
    }
    let parts = rest.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
    Some(parts.fold(format!("S-{}-{authority}", head[0]), |text, part| format!("{text}-{part}")))
}

/// The last subauthority of a binary SID.
pub(super) fn rid(sid: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*sid.last_chunk::<4>()?)).filter(|_| sid.len() >= 12)
}

/// The server's diagnostic message; empty where it may name a person, since no name or address is logged above debug.
fn without_names(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if lower.contains('@') || ["cn=", "ou=", "dc=", "uid="].iter().any(|part| lower.contains(part))
    {
        tracing::debug!("the server's message names an entry: {text}");
        return String::new();
    }
    text.to_owned()
}

/// `20260102030405.0Z` (RFC 4517, 3.3.13).
fn generalized_time(text: &str) -> Option<Timestamp> {
    let digits = text.split(['.', 'Z']).next()?;
    let time = chrono::NaiveDateTime::parse_from_str(digits, "%Y%m%d%H%M%S").ok()?;
    Some(Timestamp::from(time.and_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_and_times_are_what_ad_writes() {
        let sid =
            [1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 80, 4, 0, 0];
        assert_eq!(sid_text(&sid).as_deref(), Some("S-1-5-21-1-2-3-1104"));
        assert_eq!(rid(&sid), Some(1104));
        assert_eq!(sid_text(&sid[..9]), None);
        assert_eq!(
            generalized_time("20260102030405.0Z").map(|t| t.to_string()).as_deref(),
            Some("2026-01-02T03:04:05.000Z")
        );
    }
}
