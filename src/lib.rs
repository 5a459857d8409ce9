//! rosterd keeps the people of an Active Directory reconciled into enterprise accounts.
//!
//! ```text
//! directory ── read(scope) ─► decide (per entry) ─► Index: Same | Changed | New
//!                     └─ observations ─► Ledger ─► Complete | Incomplete
//! Complete: Index.unseen ─► confirm by GUID ─► absences
//! store.load ─► plan ─► guard ─► Admitted ─► apply: users + events, one transaction
//!                          └───► Held (waits for an operator)
//! ```
//!
//! [`engine::sync`] is this pipeline. [`model`] has values, [`reconcile`] pure functions of them.
//! [`directory`], [`dns`], [`store`], [`hooks`] and [`scim`] are adapters that do not import each
//! other.
//! [`control`] is the socket, [`ctl`] the operator's tool, [`console`] its pages for a web browser, and
//! [`daemon`] the wiring.

pub mod clock;
pub mod config;
pub mod console;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod directory;
pub mod dns;
pub mod engine;
pub mod hooks;
pub mod http;
pub mod manual;
pub mod model;
pub mod ownership;
pub mod reconcile;
pub mod scim;
pub mod sources;
pub mod store;
pub mod telemetry;
pub mod visible;
