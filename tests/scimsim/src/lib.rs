//! An in-process SCIM 2.0 service provider (RFC 7643, RFC 7644) that misbehaves on request.
//!
//! [`Sim::start`] serves users and groups on a loopback port. [`Sim::manners`] makes it dishonest:
//! filters that match all, pages that repeat. [`Sim::faults`] makes single answers fail at chosen
//! moments. [`Sim::log`] lists the requests of clients.
//!
//! It supports filters with all operators, PATCH with paths and filters, paging by `startIndex` and
//! by cursor (RFC 9865), `attributes` and `excludedAttributes`. Bulk, sorting, ETags and `/Me` are
//! declared as unsupported.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use scimsim::{Fault, Manners, Sim};
//!
//! let sim = Sim::start().await?;
//! sim.add_user("anna@example.com");
//! sim.set_manners(Manners { filter_matches_all: true, ..Manners::default() });
//! sim.fail(Fault::status("PATCH", 503).times(2));
//! println!("{} {}", sim.url(), sim.token());
//! # Ok(())
//! # }
//! ```

mod answer;
mod fault;
mod filter;
mod patch;
mod path;
mod resource;
mod schema;
mod service;
mod sim;

pub use fault::{Fault, Manners, Paging};
pub use resource::{find, is_true};
pub use sim::{Request, Sim};
