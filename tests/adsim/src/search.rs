//! Searches: from a request to the bytes of its answer.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::PoisonError;

use crate::ber;
use crate::directory::{Ad, ROOT};
use crate::dirsync::{self, Reading, Receipt};
use crate::dn;
use crate::encode::Selection;
use crate::entry::Id;
use crate::frames::{Outcome, reference};
use crate::matching::Test;
use crate::netlogon;
use crate::notify::{self, Watch};
use crate::request::{Control, PageRequest, Scope, Search, oid};
use crate::rootdse::{self, Server};

/// Open paged searches of one connection; the oldest is dropped beyond that.
const OPEN_SEARCHES: usize = 10;
const COOKIE: usize = 20;

/// The search state of a connection.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) connection: u64,
    pub(crate) bound: Option<Id>,
    /// Whether a bind was requested on this connection.
    pub(crate) has_bound: bool,
    /// Searches find no entry, with result 0.
    pub(crate) blind: bool,
    /// The searches that receive changes.
    pub(crate) watches: Vec<Watch>,
    open: VecDeque<OpenSearch>,
    next: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct OpenSearch {
    serial: u64,
    /// The fingerprint of the search, because a cookie belongs to its search.
    print: u64,
    /// The first entry of the next page.
    position: Id,
    pages: usize,
    sent: usize,
}

/// A search's answer: frames of entries, then the result.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) frames: Vec<u8>,
    /// The end of each entry's frame.
    pub(crate) ends: Vec<usize>,
    /// SearchResultReferences, after the entries.
    pub(crate) references: Vec<u8>,
    pub(crate) outcome: Outcome,
    /// The cookie of the paging control, empty on the last page; `None` without paging.
    pub(crate) cookie: Option<Vec<u8>>,
    /// The DirSync control; `None` without DirSync.
    pub(crate) receipt: Option<Receipt>,
    /// There is no result yet, because the search receives changes.
    pub(crate) open: bool,
}

impl Answer {
    pub(crate) fn failed(outcome: Outcome) -> Self {
        Self { outcome, ..Self::default() }
    }
}

impl Session {
    pub(crate) fn new(connection: u64) -> Self {
        Self { connection, ..Self::default() }
    }

    /// Returns the page of a request (0: not paged) and the number of entries sent before.
    pub(crate) fn progress(&self, controls: &[Control]) -> (usize, usize) {
        match PageRequest::of(controls) {
            Some(Ok(page)) if !page.cookie.is_empty() => {
                let open = self.find(&page.cookie);
                open.map_or((1, 0), |open| (open.pages + 1, open.sent))
            }
            Some(_) => (1, 0),
            None => (0, 0),
        }
    }

    fn find(&self, cookie: &[u8]) -> Option<&OpenSearch> {
        if cookie.len() != COOKIE || cookie[..8] != self.connection.to_le_bytes() {
            return None;
        }
        let serial = u64::from_le_bytes(cookie[8..16].try_into().ok()?);
        let position = Id::from_le_bytes(cookie[16..].try_into().ok()?);
        self.open.iter().find(|open| open.serial == serial && open.position == position)
    }

    /// Keeps a search open and returns its cookie.
    fn keep(&mut self, open: OpenSearch) -> Vec<u8> {
        let mut cookie = Vec::with_capacity(COOKIE);
        cookie.extend_from_slice(&self.connection.to_le_bytes());
        cookie.extend_from_slice(&open.serial.to_le_bytes());
        cookie.extend_from_slice(&open.position.to_le_bytes());
        self.open.push_back(open);
        if self.open.len() > OPEN_SEARCHES {
            self.open.pop_front();
        }
        cookie
    }

    /// Returns the search that a cookie continues, to be kept with [`repeat`](Self::repeat).
    pub(crate) fn remember(&self, controls: &[Control]) -> Option<(Vec<u8>, OpenSearch)> {
        let cookie = PageRequest::of(controls)?.ok()?.cookie;
        let open = self.find(&cookie)?.clone();
        Some((cookie, open))
    }

    /// A cookie that repeats the same page for ever: the previous one, or on a first page the
    /// answer's own.
    pub(crate) fn repeat(
        &mut self,
        before: Option<(Vec<u8>, OpenSearch)>,
        own: Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        match before {
            Some((cookie, open)) => {
                self.open.retain(|other| other.serial != open.serial);
                self.keep(open);
                Some(cookie)
            }
            None => own,
        }
    }

    /// Closes all searches, as a new bind does.
    pub(crate) fn rebind(&mut self, bound: Option<Id>) {
        self.bound = bound;
        self.has_bound = true;
        self.open.clear();
        self.watches.clear();
    }
}

/// Returns the fingerprint of a search.
fn print(search: &Search, filter: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    search.base.to_lowercase().hash(&mut hasher);
    search.scope.hash(&mut hasher);
    filter.hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn run(
    ad: &Ad,
    server: &Server,
    session: &mut Session,
    id: i64,
    search: &Search,
    filter: &str,
    controls: &[Control],
) -> Answer {
    let unknown = |control: &Control| control.critical && !server.knows(&control.oid);
    if controls.iter().any(unknown) {
        return Answer::failed(Outcome::new(
            12,
            "00000057: LdapErr: DSID-0C0907EE, comment: Error processing control, data 0, v4563",
        ));
    }
    if netlogon::is_ping(search) {
        let mut body = Vec::new();
        let mut answer = Answer::default();
        if server.answers_pings && netlogon::write(ad, server, &search.filter, &mut body) {
            frame(&mut answer, id, |out| out.extend_from_slice(&body));
        }
        return answer;
    }
    if is_root_dse(search) {
        let mut answer = Answer::default();
        frame(&mut answer, id, |out| {
            rootdse::write(ad, server, session.bound, &search.attributes, out);
        });
        return answer;
    }
    let asked = dirsync::Asked::of(controls);
    if session.blind && asked.is_none() {
        let cookie = PageRequest::of(controls).map(|_| Vec::new());
        return Answer { cookie, ..Answer::default() };
    }
    if session.bound.is_none() && !session.blind {
        return Answer::failed(Outcome::new(
            1,
            "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be completed on the connection., data 0, v4563",
        ));
    }
    let deleted_too = has(controls, oid::SHOW_DELETED) || has(controls, oid::SHOW_RECYCLED);
    let base = ad.resolve(&search.base).filter(|base| ad.visible(*base, deleted_too));
    let Some(base) = base else {
        return Answer::failed(missing(ad, &search.base));
    };
    if let Some(asked) = asked {
        return Reading { ad, server, search, base, filter, blind: session.blind }
            .run(id, asked, controls);
    }
    if has(controls, oid::NOTIFICATION) && server.knows(oid::NOTIFICATION) {
        return notify::register(ad, session, id, search, base, deleted_too);
    }
    let paging = match PageRequest::of(controls) {
        None => None,
        Some(Ok(page)) => Some(page),
        Some(Err(_)) => {
            return Answer::failed(Outcome::new(2, "the paging control cannot be read"));
        }
    };
    let print = print(search, filter);
    let started = match resume(session, paging.as_ref(), print) {
        Ok(started) => started,
        Err(outcome) => return Answer::failed(outcome),
    };
    let walk = Walk { ad, server, search, base, deleted_too };
    let mut answer = walk.page(id, session, paging.as_ref(), started);
    let last = answer.cookie.as_ref().is_none_or(Vec::is_empty);
    let refers =
        base == ROOT && search.scope == Scope::Subtree && !has(controls, oid::DOMAIN_SCOPE);
    if refers && last && answer.outcome.code == 0 {
        let url = format!("ldap://{}/CN=Configuration,{}", ad.domain, ad.root_dn);
        answer.references = reference(id, &url);
    }
    answer
}

/// Returns whether a search reads the rootDSE.
pub(crate) fn is_root_dse(search: &Search) -> bool {
    search.base.is_empty() && search.scope == Scope::Base
}

fn has(controls: &[Control], oid: &str) -> bool {
    controls.iter().any(|control| control.oid == oid)
}

/// The beginning of a page.
fn resume(
    session: &mut Session,
    paging: Option<&PageRequest>,
    print: u64,
) -> Result<OpenSearch, Outcome> {
    let Some(page) = paging.filter(|page| !page.cookie.is_empty()) else {
        session.next += 1;
        return Ok(OpenSearch { serial: session.next, print, position: 0, pages: 0, sent: 0 });
    };
    let Some(open) = session.find(&page.cookie).cloned() else {
        return Err(Outcome::new(
            53,
            "00002035: LdapErr: DSID-0C090FC0, comment: Error processing control, data 0, v4563",
        ));
    };
    if open.print != print {
        return Err(Outcome::new(
            12,
            "0000202C: LdapErr: DSID-0C090FC0, comment: Error processing control, data 0, v4563",
        ));
    }
    session.open.retain(|other| other.serial != open.serial);
    Ok(open)
}

/// The answer for a missing base: the nearest entry above it, or another forest's referral.
fn missing(ad: &Ad, base: &str) -> Outcome {
    let parts = dn::parse(base).unwrap_or_default();
    let domain = |text: &str| {
        let parts = dn::parse(text).unwrap_or_default();
        let labels = parts
            .into_iter()
            .filter(|part| part.kind == "dc")
            .map(|part| part.value.to_lowercase());
        labels.collect::<Vec<_>>().join(".")
    };
    let asked = domain(base);
    if !asked.is_empty() && asked != ad.domain.to_lowercase() {
        return Outcome {
            code: 10,
            text: format!(
                "0000202B: RefErr: DSID-0310084A, data 0, 1 access points\n\tref 1: '{asked}'\n"
            ),
            matched: String::new(),
            referral: vec![format!("ldap://{asked}/{base}")],
        };
    }
    let mut best = String::new();
    for skip in 1..parts.len() {
        let above: Vec<String> = parts[skip..]
            .iter()
            .map(|part| format!("{}={}", part.kind, dn::escape(&part.value)))
            .collect();
        if let Some(id) = ad.by_dn(&above.join(",")).filter(|id| ad.visible(*id, false)) {
            best = ad.dn_of(id);
            break;
        }
    }
    Outcome {
        code: 32,
        text: format!(
            "0000208D: NameErr: DSID-0310028C, problem 2001 (NO_OBJECT), data 0, best match of:\n\t'{best}'\n"
        ),
        matched: best,
        referral: Vec::new(),
    }
}

pub(crate) fn frame(answer: &mut Answer, id: i64, body: impl FnOnce(&mut Vec<u8>)) {
    let out = &mut answer.frames;
    let begun = ber::begin(out, ber::SEQUENCE);
    ber::put_number(out, ber::INTEGER, id);
    body(out);
    ber::end(out, begun);
    answer.ends.push(out.len());
}

struct Walk<'a> {
    ad: &'a Ad,
    server: &'a Server,
    search: &'a Search,
    base: Id,
    deleted_too: bool,
}

impl Walk<'_> {
    /// Returns one page, or the whole answer of an unpaged search.
    fn page(
        &self,
        id: i64,
        session: &mut Session,
        paging: Option<&PageRequest>,
        mut open: OpenSearch,
    ) -> Answer {
        let Self { ad, server, search, base, deleted_too } = *self;
        let mut answer = Answer::default();
        if let Some(page) = paging
            && page.size == 0
        {
            // Size 0: the client ends the search, or only asks for an estimate.
            answer.cookie = Some(Vec::new());
            return answer;
        }
        let page_size = paging.map_or(usize::MAX, |page| page.size).min(server.max_page_size);
        let limit =
            if search.size_limit == 0 { page_size } else { page_size.min(search.size_limit) };
        let cut_by_limit =
            paging.is_none() || (search.size_limit != 0 && search.size_limit < page_size);

        let test = Test::new(ad, &search.filter);
        let selection = Selection::new(ad, &search.attributes, search.types_only);
        let candidates = if search.scope == Scope::Base {
            Some(std::borrow::Cow::Owned(vec![base]))
        } else {
            test.candidates(ad, deleted_too)
        };
        // Only searches over all people are worth caching.
        let mut cache = ad.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = candidates.is_none().then(|| cache.list(&selection.key));
        let mut next = None;
        let mut look = |at: Id, answer: &mut Answer| -> bool {
            if !ad.visible(at, deleted_too)
                || !ad.in_scope(at, base, search.scope)
                || test.matches(ad, at) != Some(true)
            {
                return true;
            }
            if answer.ends.len() == limit {
                next = Some(at);
                return false;
            }
            if let Some(list) = &mut kept
                && selection.cacheable(ad.entry(at).kind)
            {
                let body = list.get_or_encode(at, ad.entries.len(), |body| {
                    let encoded = ad.encode(at, &selection, server.max_values, body);
                    debug_assert!(encoded.is_ok(), "only ranges can lie beyond the last value");
                });
                frame(answer, id, |out| out.extend_from_slice(body));
                return true;
            }
            let mut encoded = Ok(());
            let before = answer.frames.len();
            frame(answer, id, |out| encoded = ad.encode(at, &selection, server.max_values, out));
            if encoded.is_err() {
                answer.frames.truncate(before);
                answer.ends.pop();
                answer.outcome = Outcome::new(
                    1,
                    "00000057: LdapErr: DSID-0C090C3D, comment: Error in attribute conversion operation, data 0, v4563",
                );
                return false;
            }
            true
        };
        match candidates {
            Some(ids) => {
                let start = ids.partition_point(|id| *id < open.position);
                for at in &ids[start..] {
                    if !look(*at, &mut answer) {
                        break;
                    }
                }
            }
            None => {
                for at in open.position..ad.entries.len() as Id {
                    if !look(at, &mut answer) {
                        break;
                    }
                }
            }
        }
        if paging.is_some() {
            answer.cookie = Some(Vec::new());
        }
        if let Some(position) = next {
            if cut_by_limit {
                answer.outcome = Outcome::new(4, "");
            } else {
                open.position = position;
                open.pages += 1;
                open.sent += answer.ends.len();
                answer.cookie = Some(session.keep(open));
            }
        }
        answer
    }
}

impl Ad {
    /// Returns whether a search of this base and scope reaches an entry.
    pub(crate) fn in_scope(&self, at: Id, base: Id, scope: Scope) -> bool {
        match scope {
            Scope::Base => at == base,
            Scope::One => {
                at != base
                    && self
                        .get(at)
                        .is_some_and(|entry| entry.parent == base && !entry.kind.is_head())
            }
            Scope::Subtree => self.is_under(at, base),
        }
    }
}
