//! The full read: every base, page by page, everything noted in the ledger.

use std::collections::HashSet;

use ldap3::Scope;

use super::controls::Course;
use super::session::{EMPTY_PAGES, Query, SearchEnd};
use super::{Assertion, Decoder, DirectoryError, Malformed, PERSON_FILTER, Session};
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
        let filter = Assertion::all([Some(PERSON_FILTER), filter].into_iter().flatten().map(Assertion::raw));
        let attributes = decoder.attributes();
        for (number, base) in bases.iter().enumerate() {
            let mut cookie: Vec<u8> = Vec::new();
            let mut firsts: HashSet<Guid> = HashSet::new();
            let mut empty = 0;
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
                    || (first.is_none() && end.cookie.as_ref() == Some(&cookie) && !cookie.is_empty())
                    || empty > EMPTY_PAGES;
                let end = match end {
                    SearchEnd { code: 0, cookie: None, .. } => PageEnd::NoControl,
                    SearchEnd { code: 0, cookie: Some(next), .. } if next.is_empty() => PageEnd::Last,
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
}
