//! An in-process Active Directory that speaks LDAP for real, and misbehaves on request.
//!
//! [`Sim::builder`] makes a domain controller on a loopback port, with LDAPS and StartTLS under a certificate authority of
//! its own. [`Sim::edit`] changes its directory while clients read it, [`Sim::faults`] lets things go wrong at chosen
//! moments, and [`Sim::log`] tells what clients asked.
//!
//! It is strict where Windows is strict (MaxPageSize, MaxValRange, cookies that belong to a connection, binds only under
//! TLS, invisible instead of forbidden) and it must never be more helpful than a real domain controller: a client that
//! works with it by luck would fail in earnest. DirSync and change notification tell only what a real one tells: a
//! delta lacks what did not change, a deletion does not touch groups, and a cookie that fits nothing brings nothing, without
//! a word. What it does not do: writes, SASL, referral chasing; of DirSync the limit of bytes and the order by ancestors.
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
