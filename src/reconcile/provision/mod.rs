//! The rules of targets: pure functions from a user and an account to the requests that make them
//! agree.
//!
//! ```text
//! User ── Mapping::wanted ─► Wanted ─┐
//! pages ── Listing ─► Listed ────────┼─ steps ─► Step ── requests ─► Request ── meaning(answer) ─► Outcome
//! Counterpart ───────────────────────┘
//! ```
//!
//! No answer of a target proves that an account is absent, but 404 for its id and a list that was
//! read whole. RFC 7643 and RFC 7644 define the terms.

mod account;
mod answer;
mod capabilities;
mod cleared;
mod guard;
mod listing;
mod mapping;
mod recognition;
mod request;
mod resource;
mod steps;
mod wish;

pub use account::{Account, Sighting};
pub use answer::{Answer, AnswerBody, Outcome, Refusal, meaning};
pub use capabilities::{Capabilities, Declared, Lesson, Paging, Quirks};
pub use cleared::{Clearance, Cleared, Permission};
pub use guard::{FoundStep, FurtherSteps, Ruling, TargetBounds, cluster_of, is_quarantine, rule};
pub use listing::{Listed, Listing, NextPage, PageQuery, Partial};
pub use mapping::{
    AttributePath, DEFAULT_MAPPING, Mapping, MappingError, Template, Unfit, Wanted, fields,
};
pub use recognition::{Verdict, Vote};
pub use request::{Method, Operation, Request, Requests};
pub use resource::{ENTERPRISE_USER, Resource, USER};
pub use steps::{Decision, Situation, Step, steps};
pub use wish::{Followed, Wish};
