//! SCIM 2.0 service providers (RFC 7643, RFC 7644): requests, tokens, lists and the check.
//!
//! This module sends one request and returns its answer. [`crate::reconcile::provision`] makes the
//! requests and interprets the answers; the engine decides about order and repetition.

mod auth;
mod check;
mod client;
mod error;
mod list;
mod pace;
mod redaction;

pub use check::{Check, check};
pub use client::{Client, Settings};
pub use error::ScimError;
pub use list::{ListError, Pages};
pub use pace::Pace;
