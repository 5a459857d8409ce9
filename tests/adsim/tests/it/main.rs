//! The simulator, judged from outside.

mod binding;
mod client;
mod deleting;
mod dirsync;
mod faults;
mod filter;
mod notifying;
mod paging;
mod searching;

use adsim::Sim;

/// A small company.
async fn company(people: usize) -> Sim {
    Sim::builder().people(people).start().await.expect("starts")
}
