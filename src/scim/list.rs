//! The list of all accounts, page by page.

use super::client::Client;
use super::error::ScimError;
use crate::model::Timestamp;
use crate::reconcile::provision::{
    Capabilities, Listed, Listing, NextPage, Outcome, Partial, Request, Resource, meaning,
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

/// Reads all accounts; gives each of them to `each`, once.
pub async fn list(
    client: &Client,
    capabilities: &Capabilities,
    now: impl Fn() -> Timestamp,
    mut each: impl FnMut(Resource),
) -> Result<Listed, ListError> {
    let mut listing = Listing::new(capabilities.paging, client.settings.page_size);
    let mut query = listing.first();
    loop {
        let request = Request::list(&query);
        let answer = client.send(&request, capabilities, now()).await?;
        match meaning(&request, &answer) {
            Outcome::Done(page) => {
                let (new, next) = listing.page(&page);
                new.into_iter().for_each(&mut each);
                match next {
                    NextPage::Read(next) => query = next,
                    NextPage::End => return Ok(listing.finish()?),
                }
            }
            Outcome::CursorExpired => match listing.restart() {
                Some(first) => query = first,
                None => return Ok(listing.finish()?),
            },
            other => return Err(ListError::Answered(other)),
        }
    }
}
