//! The full read: every base, page by page, everything noted in the ledger.

use std::collections::HashSet;

use ldap3::Scope;

use super::controls::Course;
use super::session::{EMPTY_PAGES, Query, SearchEnd};
use super::{Assertion, Decoder, DirectoryError, Malformed, Object, PERSON_FILTER, Session};
use crate::model::{Dn, Guid, Person, Placement};
use crate::reconcile::{Ledger, PageEnd};

/// One entry of a read.
pub type Entry = Result<Person, Malformed>;

impl Session {
    /// Reads everybody below the bases, handing over each as it comes.
    ///
    /// A page that ends badly ends its base; the next base is still read, as long as the connection holds.
    pub async fn read_people(
        &mut self,
        bases: &[Dn],
        filter: Option<&str>,
        page_size: u32,
        decoder: &Decoder,
        ledger: &mut Ledger,
        mut on_entry: impl FnMut(Entry),
    ) -> Result<(), DirectoryError> {
        let configured = filter;
        let filter =
            Assertion::all([Some(PERSON_FILTER), filter].into_iter().flatten().map(Assertion::raw));
        let attributes = decoder.attributes();
        for (number, base) in bases.iter().enumerate() {
            let mut cookie: Vec<u8> = Vec::new();
            let mut firsts: HashSet<Guid> = HashSet::new();
            let (mut empty, mut is_first) = (0, true);
            loop {
                let query = Query {
                    course: Course::Pages(page_size, &cookie),
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
                // Some servers answer every page with the same cookie, which is theirs to do; a page that
                // begins with somebody a page has begun with before is not.
                empty = if first.is_some() { 0 } else { empty + 1 };
                let is_circle = first.is_some_and(|guid| !firsts.insert(guid))
                    || (first.is_none()
                        && end.cookie.as_ref() == Some(&cookie)
                        && !cookie.is_empty())
                    || empty > EMPTY_PAGES;
                if end.code != 0 {
                    let said = self
                        .about_refusal(base, configured.filter(|_| is_first), end.text.clone())
                        .await;
                    ledger.message(number, said);
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

    /// The server's text about a search it refused; with the filter named, where the same search without it succeeds.
    async fn about_refusal(&mut self, base: &Dn, filter: Option<&str>, text: String) -> String {
        let Some(filter) = filter else { return text };
        let everybody = Assertion::raw(PERSON_FILTER);
        match self.finds(base.as_str(), Scope::Subtree, &everybody, false, |_| true).await {
            Ok(true) => format!(
                "{text}{}AD refuses the filter {filter}: correct filter",
                if text.is_empty() { "" } else { "; " }
            ),
            Ok(false) | Err(_) => text,
        }
    }

    /// Whether anybody is visible below a base, whatever the configured filter says.
    pub async fn shows_people(&mut self, base: &Dn) -> Result<bool, DirectoryError> {
        self.finds(base.as_str(), Scope::Subtree, &Assertion::raw(PERSON_FILTER), false, |_| true)
            .await
    }

    /// Whether a person below this entry shows the attribute.
    pub async fn shows(&mut self, below: &Dn, attribute: &str) -> Result<bool, DirectoryError> {
        let filter = Assertion::all([
            Assertion::raw(PERSON_FILTER),
            Assertion::raw(&format!("({attribute}=*)")),
        ]);
        self.finds(below.as_str(), Scope::Subtree, &filter, false, |_| true).await
    }

    /// Hands over the GUIDs of all people that are visible below the bases. Fails when one base is not read to its end.
    ///
    /// Costs one search in pages with one attribute: about a fifth of a full read in bytes and in the server's time.
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
                    course: Course::Pages(page_size, &cookie),
                    ..Query::new(base.as_str(), Scope::Subtree, PERSON_FILTER, &attributes)
                };
                let mut count = 0;
                let end = self
                    .search(&query, |entry| {
                        count += 1;
                        // An entry without a GUID says nothing: a person who is missed is asked for, and proves nothing by that alone.
                        if let Some(guid) = Object::read(entry).and_then(|object| object.guid()) {
                            on_guid(guid);
                        }
                    })
                    .await?;
                empty = if count > 0 { 0 } else { empty + 1 };
                match end {
                    SearchEnd { code: 0, cookie: Some(next), .. } if next.is_empty() => break,
                    SearchEnd { code: 0, cookie: Some(next), .. }
                        if next != cookie && empty <= EMPTY_PAGES =>
                    {
                        cookie = next
                    }
                    SearchEnd { code: 0, .. } => {
                        let problem = "the answer has no paging control, or no end";
                        return Err(self.refused(base.as_str(), 80, problem.to_owned()));
                    }
                    SearchEnd { code, text, .. } => {
                        return Err(self.refused(base.as_str(), code, text));
                    }
                }
            }
        }
        Ok(())
    }
}
