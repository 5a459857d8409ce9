//! An in-process Active Directory that speaks LDAP and misbehaves on request.
//!
//! [`Sim::builder`] makes a domain controller on a loopback port, with LDAPS and StartTLS under its
//! own certificate authority. [`Sim::edit`] changes the directory while clients read it.
//! [`Sim::faults`] makes the server misbehave at chosen moments. [`Sim::log`] lists the requests of
//! clients.
//!
//! It is as strict as Windows about MaxPageSize, MaxValRange, cookies per connection and binds
//! under TLS. Forbidden entries are invisible, as on Windows. It must never be more helpful than a
//! real domain controller, because a client might then work by luck. DirSync and change
//! notification report only what a real server reports. A delta lacks unchanged attributes, and a
//! deletion does not touch groups. A cookie that matches nothing silently returns nothing. Writes,
//! SASL and referral chasing are not implemented. Neither are DirSync's byte limit and its order by
//! ancestors.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use adsim::{Fault, NewPerson, Sim, What, When};
//!
//! let sim = Sim::builder().domain("corp.example.com").people(1000).start().await?;
//! sim.edit(|ad| {
//!     ad.add_person(NewPerson::new("bob").name("Bob", "Smith").mail("bob@example.com").ou("Staff").member_of("Roster Basic"));
//!     ad.disable("bob");
//! });
//! sim.faults().push(Fault::new(When::page(2).after_entries(17), What::Cut));
//! println!("{} {}", sim.ldaps_url(), sim.service_upn());
//! # Ok(())
//! # }
//! ```

pub mod ber;
pub mod frames;

mod answering;
mod bind;
mod clock;
mod connection;
mod directory;
mod dirsync;
mod dn;
mod edit;
mod encode;
mod entry;
mod fault;
mod filter;
mod history;
mod identity;
mod log;
mod look;
mod matching;
mod migrate;
mod netlogon;
mod notify;
mod person;
mod population;
mod request;
mod rights;
mod rootdse;
mod schema;
mod search;
mod sim;
mod tls;

pub use directory::{Ad, Who};
pub use fault::{Fault, Faults, Moment, What, When};
pub use log::{Event, Log, Logged, LoggedSearch};
pub use migrate::Migrant;
pub use person::{Expiry, NewPerson};
pub use population::names;
pub use request::{Control, Scope};
pub use schema::Kind;
pub use sim::{Builder, Sim};
pub use tls::Certificate;
