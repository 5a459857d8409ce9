//! `rosterctl console`: pages for a web browser on the same machine.
//!
//! The process of `rosterctl` serves them on the loopback address and asks the daemon over the
//! control socket, as the caller. So the kernel names the operator, and the daemon has no second way
//! in. [`guard`] decides about every request before a page sees it. A page is a function of documents
//! of the API; words that `rosterctl` prints, too, come from [`ctl`](crate::ctl).
//!
//! GET changes nothing. A change is a POST with the token of the session. All text is escaped by
//! the templates, and everything but live filtering works without the script.

mod door;
mod events;
mod guard;
mod held;
mod launch;
mod layout;
mod overview;
mod people;
mod person;
mod problems;
mod reports;
mod runs;
mod serve;
mod state;
mod stdio;
mod systems;
mod visit;

pub use launch::run;
pub use serve::{Settings, start};
