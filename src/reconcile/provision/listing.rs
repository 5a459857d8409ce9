//! A list that is read in pages, and the proof that it was read whole.
//!
//! Targets ignore `startIndex`, repeat pages, and count wrongly. A page therefore has to bring a new
//! account, and all pages have to agree on the total. Even a whole list proves no absence: an account
//! that is deleted between two pages hides another one.

use std::collections::HashSet;

use super::capabilities::Paging;
use super::resource::Resource;

/// Most accounts of a list, which a list without end would exceed.
const MAX_ACCOUNTS: usize = 2_000_000;

/// Targets without pages stop at a multiple of this number.
const ROUND: u64 = 50;

/// How often an expired cursor begins the list again.
const MAX_RESTARTS: u32 = 2;

/// The request for one page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageQuery {
    pub start_index: Option<u64>,
    /// Empty for the first page (RFC 9865, 2).
    pub cursor: Option<String>,
    pub count: Option<u32>,
}

/// The step after a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NextPage {
    Read(PageQuery),
    End,
}

/// The reason why a list was not read whole. The accounts that came are valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Partial {
    #[error("the answer is not a list")]
    NotAList,
    #[error("an account has no usable id")]
    WithoutId,
    #[error("the total changed from {0} to {1} while the pages were read")]
    TotalChanged(u64, u64),
    #[error("the pages have {seen} accounts and totalResults says {said}")]
    Miscounted { seen: u64, said: u64 },
    #[error("the pages have no totalResults")]
    Uncounted,
    #[error("a page brought no account that was not on an earlier page")]
    NothingNew,
    #[error("the cursor expired more than {MAX_RESTARTS} times")]
    CursorExpired,
    #[error("the list has more than {MAX_ACCOUNTS} accounts")]
    TooMany,
    #[error("the target has one page, and {0} accounts may be the most that it shows")]
    RoundPage(u64),
    #[error("the list was not read to its end")]
    Unfinished,
}

/// The proof that the pages agree with the total. It proves no absence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    accounts: u64,
}

impl Listed {
    pub fn accounts(self) -> u64 {
        self.accounts
    }
}

/// A list that is being read.
#[derive(Debug)]
pub struct Listing {
    paging: Paging,
    count: Option<u32>,
    /// Hashes of the ids so far.
    seen: HashSet<u64>,
    /// The number of resources so far, with repeated ones.
    received: u64,
    total: Option<u64>,
    cursor: Option<String>,
    restarts: u32,
    is_at_end: bool,
    problem: Option<Partial>,
}

impl Listing {
    /// Starts a list. With a `count` of 0 the target decides the size of a page.
    pub fn new(paging: Paging, count: u32) -> Self {
        Self {
            paging,
            count: Some(count).filter(|count| *count > 0),
            seen: HashSet::new(),
            received: 0,
            total: None,
            cursor: None,
            restarts: 0,
            is_at_end: false,
            problem: None,
        }
    }

    /// Returns the request for the first page.
    pub fn first(&self) -> PageQuery {
        match self.paging {
            Paging::Cursor => self.query(None, Some(String::new())),
            Paging::Index => self.query(Some(1), None),
            Paging::None => PageQuery { start_index: None, cursor: None, count: None },
        }
    }

    fn query(&self, start_index: Option<u64>, cursor: Option<String>) -> PageQuery {
        PageQuery { start_index, cursor, count: self.count }
    }

    /// Takes a page; returns its new resources and the next step.
    pub fn page(&mut self, page: &Resource) -> (Vec<Resource>, NextPage) {
        let resources = page.resources();
        let total = page.number("totalResults");
        if page.get("Resources").is_none() && total.is_none() {
            return (Vec::new(), self.end(Some(Partial::NotAList)));
        }
        match (self.total, total) {
            (Some(before), Some(now)) if before != now => {
                self.problem.get_or_insert(Partial::TotalChanged(before, now));
            }
            _ => self.total = self.total.or(total),
        }
        self.received += resources.len() as u64;
        let (mut new, received) = (Vec::new(), resources.len());
        for resource in resources {
            match resource.id() {
                Some(id) if self.seen.insert(xxhash_rust::xxh3::xxh3_64(id.as_bytes())) => {
                    new.push(resource)
                }
                Some(_) => {}
                None => drop(self.problem.get_or_insert(Partial::WithoutId)),
            }
        }
        let next = self.next(page, received, new.len());
        (new, next)
    }

    fn next(&mut self, page: &Resource, received: usize, new: usize) -> NextPage {
        if self.seen.len() > MAX_ACCOUNTS {
            return self.end(Some(Partial::TooMany));
        }
        let cursor = page.text("nextCursor").map(str::to_owned);
        if let (Some(cursor), Paging::Cursor | Paging::Index) = (cursor, self.paging) {
            if new == 0 || self.cursor.as_ref() == Some(&cursor) {
                return self.end(Some(Partial::NothingNew));
            }
            // A page with a cursor continues by cursor, even where paging by index was declared.
            self.paging = Paging::Cursor;
            self.cursor = Some(cursor.clone());
            return NextPage::Read(self.query(None, Some(cursor)));
        }
        let has_all = self.total.is_some_and(|total| self.seen.len() as u64 >= total);
        match self.paging {
            Paging::Index if received > 0 && new == 0 => self.end(Some(Partial::NothingNew)),
            Paging::Index if received > 0 && !has_all => {
                NextPage::Read(self.query(Some(self.received + 1), None))
            }
            _ => self.end(None),
        }
    }

    fn end(&mut self, problem: Option<Partial>) -> NextPage {
        self.problem = self.problem.or(problem);
        self.is_at_end = true;
        NextPage::End
    }

    /// Begins again after the target has forgotten the cursor; `None` if that happens too often.
    pub fn restart(&mut self) -> Option<PageQuery> {
        if self.restarts == MAX_RESTARTS {
            self.end(Some(Partial::CursorExpired));
            return None;
        }
        let restarts = self.restarts + 1;
        *self = Self { restarts, ..Self::new(self.paging, self.count.unwrap_or(0)) };
        Some(self.first())
    }

    /// Returns the proof that the pages agree with the total.
    pub fn finish(self) -> Result<Listed, Partial> {
        let seen = self.seen.len() as u64;
        match (self.problem, self.total) {
            (Some(problem), _) => Err(problem),
            (None, _) if !self.is_at_end => Err(Partial::Unfinished),
            // RFC 9865, 2: the total may be absent there.
            (None, None) if self.paging == Paging::Cursor => Ok(Listed { accounts: seen }),
            (None, None) => Err(Partial::Uncounted),
            (None, Some(said)) if said != seen => Err(Partial::Miscounted { seen, said }),
            (None, Some(_))
                if self.paging == Paging::None && seen > 0 && seen.is_multiple_of(ROUND) =>
            {
                Err(Partial::RoundPage(seen))
            }
            (None, Some(_)) => Ok(Listed { accounts: seen }),
        }
    }
}

impl PageQuery {
    /// Returns the parameters of the request.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let start = self.start_index.map(|start| ("startIndex", start.to_string()));
        let cursor = self.cursor.clone().map(|cursor| ("cursor", cursor));
        let count = self.count.map(|count| ("count", count.to_string()));
        [start, cursor, count].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Reads a list from a server, a function from the parameters to a page.
    fn read(
        paging: Paging,
        count: u32,
        server: impl Fn(&PageQuery) -> Value,
    ) -> (Vec<String>, Result<u64, Partial>) {
        let mut listing = Listing::new(paging, count);
        let (mut query, mut ids) = (listing.first(), Vec::new());
        for _ in 0..100 {
            let page = Resource::parse(server(&query).to_string().as_bytes()).unwrap();
            let (new, next) = listing.page(&page);
            ids.extend(new.iter().filter_map(Resource::id));
            match next {
                NextPage::Read(next) => query = next,
                NextPage::End => return (ids, listing.finish().map(Listed::accounts)),
            }
        }
        panic!("the list does not end");
    }

    fn accounts(ids: std::ops::Range<u64>) -> Value {
        ids.map(|id| json!({ "id": id.to_string() })).collect()
    }

    fn page(total: u64, ids: std::ops::Range<u64>) -> Value {
        json!({ "totalResults": total, "Resources": accounts(ids) })
    }

    #[test]
    fn an_honest_list_is_read_whole_whatever_the_size_of_its_pages() {
        for most in [1, 3, 7, 100] {
            let (ids, end) = read(Paging::Index, 5, |query| {
                let start = query.start_index.unwrap();
                page(7, start..(start + most).min(8))
            });
            assert_eq!((ids.len(), end), (7, Ok(7)), "{most}");
        }
        assert_eq!(read(Paging::Index, 5, |_| page(0, 0..0)), (vec![], Ok(0)));
        assert_eq!(read(Paging::None, 5, |_| page(3, 0..3)).1, Ok(3));
    }

    /// A server, from the parameters to a page.
    type Server<'a> = &'a dyn Fn(&PageQuery) -> Value;

    #[test]
    fn a_dishonest_list_ends_and_is_partial() {
        let table: [(&str, Server<'_>, Partial); 8] = [
            ("ignores startIndex", &|_| page(33, 0..20), Partial::NothingNew),
            (
                "begins at 0",
                &|q| {
                    let s = q.start_index.unwrap();
                    page(9, s..(s + 4).min(9))
                },
                Partial::Miscounted { seen: 8, said: 9 },
            ),
            (
                "drops rows",
                &|q| {
                    let s = q.start_index.unwrap();
                    page(8, s + 1..(s + 4).min(8))
                },
                Partial::Miscounted { seen: 6, said: 8 },
            ),
            (
                "changes the total",
                &|q| {
                    let s = q.start_index.unwrap();
                    page(9 + s, s..(s + 2).min(7))
                },
                Partial::TotalChanged(10, 12),
            ),
            (
                "has no id",
                &|_| json!({ "totalResults": 1, "Resources": [{ "userName": "a" }] }),
                Partial::WithoutId,
            ),
            (
                "has no total",
                &|q| json!({ "Resources": if q.start_index == Some(1) { accounts(1..4) } else { json!([]) } }),
                Partial::Uncounted,
            ),
            ("is an error page", &|_| json!({ "message": "sign in" }), Partial::NotAList),
            ("shows 50 of 60", &|_| page(60, 0..50), Partial::NothingNew),
        ];
        for (name, server, partial) in table {
            assert_eq!(read(Paging::Index, 5, server).1, Err(partial), "{name}");
        }
        assert_eq!(
            read(Paging::None, 0, |_| page(60, 0..50)).1,
            Err(Partial::Miscounted { seen: 50, said: 60 })
        );
    }

    #[test]
    fn overlapping_pages_give_each_account_once() {
        let (ids, end) = read(Paging::Index, 5, |query| {
            let start = query.start_index.unwrap();
            page(9, start.saturating_sub(1).max(1)..(start + 4).min(10))
        });
        let distinct: HashSet<_> = ids.iter().collect();
        assert_eq!((ids.len(), distinct.len(), end), (9, 9, Ok(9)));
    }

    #[test]
    fn a_cursor_is_followed_to_its_end_and_one_that_repeats_ends_the_list() {
        let by_cursor = |query: &PageQuery, most: u64| {
            let start: u64 = query.cursor.as_deref().unwrap().parse().unwrap_or(0);
            let end = (start + most).min(7);
            let next = (end < 7).then(|| end.to_string());
            json!({ "Resources": accounts(start..end), "nextCursor": next })
        };
        assert_eq!(read(Paging::Cursor, 3, |q| by_cursor(q, 3)).1, Ok(7));
        let repeating = |_: &PageQuery| json!({ "totalResults": 9, "Resources": accounts(0..3), "nextCursor": "x" });
        assert_eq!(read(Paging::Cursor, 3, repeating).1, Err(Partial::NothingNew));
        // A cursor where paging by index was declared.
        let undeclared = |query: &PageQuery| match query.cursor.as_deref() {
            None => json!({ "totalResults": 4, "Resources": accounts(0..2), "nextCursor": "2" }),
            Some(_) => page(4, 2..4),
        };
        assert_eq!(read(Paging::Index, 2, undeclared).1, Ok(4));
    }

    #[test]
    fn a_list_begins_again_twice_after_its_cursor_expired() {
        let mut listing = Listing::new(Paging::Cursor, 2);
        let _ = listing
            .page(&Resource::parse(br#"{"Resources":[{"id":"1"}],"nextCursor":"c"}"#).unwrap());
        assert_eq!(listing.restart(), Some(listing.first()));
        assert!(listing.restart().is_some());
        assert_eq!(listing.restart(), None);
        assert_eq!(listing.finish(), Err(Partial::CursorExpired));
        assert_eq!(Listing::new(Paging::Index, 2).finish(), Err(Partial::Unfinished));
    }
}
