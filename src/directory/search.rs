//! Searches on a session, one at a time.

use bytes::Bytes;
use ldap3::Scope;
use tokio::time::timeout;

use super::ber::EntryRef;
use super::controls::{self, SearchMode};
use super::query::{Query, SearchEnd};
use super::wire_error::{Step, WireError};
use super::{Assertion, DirectoryError, Object, Session};

/// Most bytes of the objects that one look-up keeps. The groups of the largest forests take less.
const MAX_OBJECT_BYTES: usize = 64 << 20;
/// Most consecutive empty pages. AD sends an empty page when a long search has found no entry yet.
/// More than this number count as an endless loop.
pub(super) const MAX_EMPTY_PAGES: u32 = 100;

impl Session {
    /// Reads one object by DN, `<GUID=…>` or `<SID=…>`; `None` if it does not exist or is not
    /// visible.
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
            // invalidDNSyntax or a referral to another domain: this domain has no such object.
            10 | 34 => Ok(None),
            code => Err(self.search_error(name, code, end.text)),
        }
    }

    /// Finds a canary by DN, UPN or logon name.
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

    /// Returns all objects that match, read in pages.
    pub(super) async fn objects(
        &mut self,
        query: &Query<'_>,
    ) -> Result<Vec<Object>, DirectoryError> {
        let mut found = Vec::new();
        let mut cookie: Vec<u8> = Vec::new();
        let (mut bytes, mut empty) = (0, 0);
        loop {
            let query = Query { mode: SearchMode::Pages(1_000, &cookie), ..query.clone() };
            let mut broken = false;
            let before = found.len();
            let end = self.search(&query, |entry| {
                match Object::read(entry).filter(|object| bytes + object.size() <= MAX_OBJECT_BYTES)
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
                    if !broken && empty <= MAX_EMPTY_PAGES && found.len() < 1_000_000 =>
                {
                    cookie = next
                }
                SearchEnd { code: 0, .. } => {
                    let problem = "the answer has no paging control, no end, or an entry that cannot be read or is too large";
                    return Err(self.search_error(query.base, 80, problem.into()));
                }
                SearchEnd { code, text, .. } => {
                    return Err(self.search_error(query.base, code, text));
                }
            }
        }
    }

    /// Returns whether an entry below the base matches the filter and the predicate.
    pub(super) async fn matches_any(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &Assertion,
        show_deleted: bool,
        is_match: impl Fn(&Object) -> bool,
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
            .search(&query, |entry| is_found |= Object::read(entry).is_some_and(|o| is_match(&o)))
            .await?;
        match end.code {
            // 4 (sizeLimitExceeded): more than two match. 32 (noSuchObject): the base is not
            // visible.
            0 | 4 | 32 => Ok(is_found),
            code => Err(self.search_error(base, code, end.text)),
        }
    }

    /// Performs one search and passes on each entry as it arrives; `None` stands for a malformed
    /// entry.
    pub(super) async fn search(
        &mut self,
        query: &Query<'_>,
        mut on_entry: impl FnMut(Option<&EntryRef<'_>>),
    ) -> Result<SearchEnd, DirectoryError> {
        let wait = self.wait;
        let Some(wire) = self.wire.as_mut() else { return Err(self.connection_error(None)) };
        let Query { base, scope, filter, attributes, mode, show_deleted, size_limit } = query;
        let mut ldap = wire.ldap.clone();
        ldap.with_controls(controls::search_controls(*mode, *show_deleted));
        if *size_limit > 0 {
            ldap.with_search_options(ldap3::SearchOptions::new().sizelimit(*size_limit));
        }
        let asked = ldap.search(base, *scope, filter, attributes);
        tokio::pin!(asked);
        // Twice the page size leaves room for mistakes. A size limit gives no bound: Samba ignores
        // it.
        let most = match (mode, scope) {
            (SearchMode::Pages(size, _), _) => *size as usize * 2,
            (_, Scope::Base) => 2,
            _ => usize::MAX,
        };
        let mut count = 0;
        let mut hand_over = |batch: Vec<Bytes>| {
            count += batch.len();
            for frame in batch {
                // The relay checks BER only. A frame that is not an entry still counts as an entry.
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
                Err(_) => return Err(self.timed_out(Step::Search, wait)),
            }
        };
        while let Ok(batch) = wire.entries.try_recv() {
            // The limit no longer matters, because the search has ended.
            let _ = hand_over(batch);
        }
        match ended {
            Ok(ldap3::SearchResult(_, result)) => {
                let (cookie, has_more) = controls::continuation(&result.ctrls).unzip();
                Ok(SearchEnd {
                    code: result.rc,
                    text: without_names(result.text.trim_end_matches('\0')),
                    cookie,
                    has_more: has_more.unwrap_or(false),
                })
            }
            Err(error) => Err(self.connection_error(Some(&error))),
        }
    }
}

/// Returns the diagnostic message, or nothing if it may name a person: names are logged at debug
/// only.
fn without_names(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if lower.contains('@') || ["cn=", "ou=", "dc=", "uid="].iter().any(|part| lower.contains(part))
    {
        tracing::debug!("the server's message names an entry: {text}");
        return String::new();
    }
    text.to_owned()
}
