//! The list of all accounts, page by page.

use super::error::ScimError;
use crate::reconcile::provision::{
    Capabilities, Listed, Listing, NextPage, Outcome, PageQuery, Partial, Request, Resource,
};

/// The reason why the accounts were not listed whole. The accounts that came are valid.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ListError {
    #[error("{0}")]
    Partial(#[from] Partial),
    /// A page has another answer than a list.
    #[error("a page was not a list: {0:?}")]
    Answered(Outcome),
    #[error("{0}")]
    Failed(#[from] ScimError),
}

/// A list that is being read.
#[derive(Debug)]
pub struct Pages {
    listing: Listing,
    next: Option<PageQuery>,
}

impl Pages {
    pub fn new(capabilities: &Capabilities, page_size: u32) -> Self {
        let listing = Listing::new(capabilities.paging, page_size);
        let next = Some(listing.first());
        Self { listing, next }
    }

    /// Returns the request for the next page; `None` at the end.
    pub fn request(&self) -> Option<Request> {
        self.next.as_ref().map(Request::list)
    }

    /// Takes the answer; returns the accounts that were on no page before.
    pub fn take(&mut self, outcome: Outcome) -> Result<Vec<Resource>, ListError> {
        match outcome {
            Outcome::Done(page) => {
                let (new, next) = self.listing.page(&page);
                self.next = match next {
                    NextPage::Read(query) => Some(query),
                    NextPage::End => None,
                };
                Ok(new)
            }
            Outcome::CursorExpired => {
                self.next = self.listing.restart();
                Ok(Vec::new())
            }
            other => Err(ListError::Answered(other)),
        }
    }

    /// Returns the proof that the pages agree with the total.
    pub fn finish(self) -> Result<Listed, Partial> {
        self.listing.finish()
    }
}
