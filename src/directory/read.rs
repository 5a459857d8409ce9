//! The full read: every base, page by page, recorded in the ledger.

use std::collections::HashSet;

use ldap3::Scope;

use super::controls::SearchMode;
use super::query::{Query, SearchEnd};
use super::search::MAX_EMPTY_PAGES;
use super::{Assertion, Decoder, DirectoryError, Malformed, Object, PERSON_FILTER, Session};
use crate::model::{Dn, Guid, Person, Placement};
use crate::reconcile::{Ledger, PageEnd};

/// A person, or the remains of an entry that could not be decoded.
pub type Entry = Result<Person, Malformed>;

impl Session {
    /// Reads all people below the bases and passes on each as it arrives.
    ///
    /// A failed page ends its base. The next base is still read while the connection is open.
    pub async fn read_people(
        &mut self,
        bases: &[Dn],
        filter: Option<&str>,
        page_size: u32,
        decoder: &Decoder,
        ledger: &mut Ledger,
        mut on_entry: impl FnMut(Entry),
    ) -> Result<(), DirectoryError> {
        let configured_filter = filter;
        let filter =
            Assertion::all([Some(PERSON_FILTER), filter].into_iter().flatten().map(Assertion::raw));
        let attributes = decoder.requested();
        for (number, base) in bases.iter().enumerate() {
            let mut cookie: Vec<u8> = Vec::new();
            let mut firsts: HashSet<Guid> = HashSet::new();
            let (mut empty, mut is_first) = (0, true);
            loop {
                let query = Query {
                    mode: SearchMode::Pages(page_size, &cookie),
                    ..Query::new(base.as_str(), Scope::Subtree, filter.as_str(), &attributes)
                };
                let mut first = None;
                let end = self
                    .search(&query, |entry| match decoder.person(entry, Placement::Inside) {
                        Ok((person, presence)) => {
                            first.get_or_insert(person.guid);
                            ledger.entry(number, presence);
                            on_entry(Ok(person));
                        }
                        Err(malformed) => {
                            if malformed.guid.is_none() {
                                ledger.unidentified(number);
                            }
                            on_entry(Err(malformed));
                        }
                    })
                    .await;
                let end = match end {
                    Ok(end) => end,
                    Err(error) => {
                        ledger.page(number, PageEnd::Cut);
                        return Err(error);
                    }
                };
                // A server may return the same cookie with every page. A page that begins with the
                // same person as an earlier page shows a loop.
                empty = if first.is_some() { 0 } else { empty + 1 };
                let is_circle = first.is_some_and(|guid| !firsts.insert(guid))
                    || (first.is_none()
                        && end.cookie.as_ref() == Some(&cookie)
                        && !cookie.is_empty())
                    || empty > MAX_EMPTY_PAGES;
                if end.code != 0 {
                    let text = self
                        .describe_refusal(
                            base,
                            configured_filter.filter(|_| is_first),
                            end.text.clone(),
                        )
                        .await;
                    ledger.message(number, text);
                }
                is_first = false;
                let end = match end {
                    SearchEnd { code: 0, cookie: None, .. } => PageEnd::NoControl,
                    SearchEnd { code: 0, cookie: Some(next), .. } if next.is_empty() => {
                        PageEnd::Last
                    }
                    SearchEnd { code: 0, .. } if is_circle => PageEnd::SameCookie,
                    SearchEnd { code: 0, cookie: Some(next), .. } => {
                        cookie = next;
                        PageEnd::More
                    }
                    SearchEnd { code, .. } => PageEnd::Refused(code),
                };
                ledger.page(number, end);
                if end != PageEnd::More {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Returns the diagnostic message, with the filter added if the search succeeds without it.
    async fn describe_refusal(&mut self, base: &Dn, filter: Option<&str>, text: String) -> String {
        let Some(filter) = filter else { return text };
        let people = Assertion::raw(PERSON_FILTER);
        match self.matches_any(base.as_str(), Scope::Subtree, &people, false, |_| true).await {
            Ok(true) => format!(
                "{text}{}AD refuses the filter {filter}: correct filter",
                if text.is_empty() { "" } else { "; " }
            ),
            Ok(false) | Err(_) => text,
        }
    }

    /// Returns whether a person is visible below a base, regardless of the configured filter.
    pub async fn has_visible_people(&mut self, base: &Dn) -> Result<bool, DirectoryError> {
        self.matches_any(
            base.as_str(),
            Scope::Subtree,
            &Assertion::raw(PERSON_FILTER),
            false,
            |_| true,
        )
        .await
    }

    /// Returns whether an entry shows the attribute that is in the container itself. Rights may differ
    /// from one OU to the next.
    pub async fn attribute_is_visible_in(
        &mut self,
        container: &Dn,
        attribute: &str,
    ) -> Result<bool, DirectoryError> {
        self.shows(container, Scope::OneLevel, attribute).await
    }

    /// Returns whether an entry anywhere below the container shows the attribute.
    pub async fn attribute_is_visible_below(
        &mut self,
        container: &Dn,
        attribute: &str,
    ) -> Result<bool, DirectoryError> {
        self.shows(container, Scope::Subtree, attribute).await
    }

    async fn shows(
        &mut self,
        container: &Dn,
        scope: Scope,
        attribute: &str,
    ) -> Result<bool, DirectoryError> {
        let filter = Assertion::all([
            Assertion::raw(PERSON_FILTER),
            Assertion::raw(&format!("({attribute}=*)")),
        ]);
        self.matches_any(container.as_str(), scope, &filter, false, |_| true).await
    }

    /// Passes on the GUIDs of all visible people below the bases. An unfinished base is an error.
    ///
    /// Costs about a fifth of a full read in bytes and server time: one paged search with one
    /// attribute.
    pub async fn visible_people(
        &mut self,
        bases: &[Dn],
        page_size: u32,
        mut on_guid: impl FnMut(Guid),
    ) -> Result<(), DirectoryError> {
        let attributes = ["objectGUID".to_owned()];
        for base in bases {
            let mut cookie: Vec<u8> = Vec::new();
            let mut empty = 0;
            loop {
                let query = Query {
                    mode: SearchMode::Pages(page_size, &cookie),
                    ..Query::new(base.as_str(), Scope::Subtree, PERSON_FILTER, &attributes)
                };
                let mut count = 0;
                let end = self
                    .search(&query, |entry| {
                        count += 1;
                        // An entry without a GUID is skipped. A person missed here is looked up by
                        // GUID.
                        if let Some(guid) = Object::read(entry).and_then(|object| object.guid()) {
                            on_guid(guid);
                        }
                    })
                    .await?;
                empty = if count > 0 { 0 } else { empty + 1 };
                match end {
                    SearchEnd { code: 0, cookie: Some(next), .. } if next.is_empty() => break,
                    SearchEnd { code: 0, cookie: Some(next), .. }
                        if next != cookie && empty <= MAX_EMPTY_PAGES =>
                    {
                        cookie = next
                    }
                    SearchEnd { code: 0, .. } => {
                        let problem = "the answer has no paging control, or no end";
                        return Err(self.search_error(base.as_str(), 80, problem.to_owned()));
                    }
                    SearchEnd { code, text, .. } => {
                        return Err(self.search_error(base.as_str(), code, text));
                    }
                }
            }
        }
        Ok(())
    }
}
