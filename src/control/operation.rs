//! One operation of the API: method, path, roles, document, answers and event. The route table
//! consists of these.

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::api;
use super::auth::roles::{Role, Roles};
use super::state::Control;

/// Event type of an operation that wrote no event itself, for example because nothing changed.
pub(super) const REQUESTED: &str = "operation.requested";

/// The record that an operation leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// None, because the operation reads.
    Reads,
    /// A counted sign-in decision. The store writes the events of users that it changes.
    Decides,
    /// An event, of this type unless the operation writes a more specific one.
    Records(&'static str),
}

/// The meaning of the query parameter `dry_run`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DryRuns {
    /// It is refused, because the operation acts outside of the store, or reads.
    Refused,
    /// It is refused. This command shows what the operation would do.
    Instead(&'static str),
    /// The operation is done on a copy of the store.
    Rehearsed,
    /// The handler reads it, and plans.
    Planned,
}

/// Adds the schema of a type and of the types it refers to.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema<T: JsonSchema>() -> SchemaOf {
    |generator| generator.subschema_for::<T>()
}

/// The document of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takes {
    /// None, or an empty object.
    Nothing,
    /// An optional document.
    Optional(SchemaOf),
    /// A required document.
    Document(SchemaOf),
}

/// The only binary media type that generators of clients know.
pub(super) const OCTET_STREAM: &str = "application/octet-stream";

/// The body of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Json(SchemaOf),
    /// Bytes of this media type.
    Bytes(&'static str),
    /// A file of the media type [`OCTET_STREAM`], which generated clients return as bytes.
    File,
}

/// One answer that is not an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answers {
    pub(super) status: StatusCode,
    pub(super) says: &'static str,
    pub(super) content: Content,
}

/// One row of the route table.
pub(super) struct Operation {
    pub(super) method: Method,
    /// Path below `/v1`.
    pub(super) path: &'static str,
    /// Roles of which a caller needs one; `None` needs no role.
    pub(super) roles: Option<Roles>,
    pub(super) effect: Effect,
    pub(super) summary: &'static str,
    /// Schema of an object whose fields are the query parameters.
    pub(super) query: Option<SchemaOf>,
    pub(super) takes: Takes,
    pub(super) dry_runs: DryRuns,
    pub(super) answers: Vec<Answers>,
    /// Whether a rosterd that does not lead carries it out.
    pub(super) is_for_all: bool,
    /// Errors of this operation, besides those of every operation.
    pub(super) fails: &'static [(u16, &'static str)],
    pub(super) handler: MethodRouter<Arc<Control>>,
}

impl Operation {
    pub(super) fn new<H, T>(
        method: Method,
        roles: Option<Roles>,
        effect: Effect,
        path: &'static str,
        handler: H,
        summary: &'static str,
    ) -> Self
    where
        H: Handler<T, Arc<Control>>,
        T: 'static,
    {
        let filter = if method == Method::GET { MethodFilter::GET } else { MethodFilter::POST };
        let handler = on(filter, handler);
        Self {
            method,
            path,
            roles,
            effect,
            summary,
            query: None,
            takes: Takes::Nothing,
            dry_runs: DryRuns::Refused,
            answers: Vec::new(),
            is_for_all: !matches!(effect, Effect::Records(_)),
            fails: &[],
            handler,
        }
    }

    /// Adds query parameters: the fields of `T`, which the handler reads.
    pub(super) fn with_query<T: JsonSchema>(self) -> Self {
        Self { query: Some(schema::<T>()), ..self }
    }

    pub(super) fn dry_runs(self, dry_runs: DryRuns) -> Self {
        Self { dry_runs, ..self }
    }

    /// Lets every rosterd on a shared store carry it out, and not the leader alone.
    pub(super) fn on_every_node(self) -> Self {
        Self { is_for_all: true, ..self }
    }

    pub(super) fn takes<T: JsonSchema>(self) -> Self {
        Self { takes: Takes::Document(schema::<T>()), ..self }
    }

    pub(super) fn may_take<T: JsonSchema>(self) -> Self {
        Self { takes: Takes::Optional(schema::<T>()), ..self }
    }

    pub(super) fn answers<T: JsonSchema>(self, says: &'static str) -> Self {
        self.answer(StatusCode::OK, says, Content::Json(schema::<T>()))
    }

    /// Adds the answer of a request that does not wait for the end of the run.
    pub(super) fn may_only_begin(self) -> Self {
        self.answer(
            StatusCode::ACCEPTED,
            "The run was started (`wait=false`)",
            Content::Json(schema::<api::Accepted>()),
        )
    }

    pub(super) fn answer(
        mut self,
        status: StatusCode,
        says: &'static str,
        content: Content,
    ) -> Self {
        self.answers.push(Answers { status, says, content });
        self
    }

    pub(super) fn fails(self, fails: &'static [(u16, &'static str)]) -> Self {
        Self { fails, ..self }
    }
}

pub(super) const READERS: Roles = Roles::of(&[Role::Viewer, Role::Operator]);

pub(super) const OPERATORS: Roles = Roles::of(&[Role::Operator]);

/// Sign-ins need a role of their own, because they test passwords, use up attempts and create
/// users.
pub(super) const AUTHENTICATORS: Roles = Roles::of(&[Role::Authenticator]);

/// Returns an operation that reads.
pub(super) fn read<H, T>(path: &'static str, handler: H, summary: &'static str) -> Operation
where
    H: Handler<T, Arc<Control>>,
    T: 'static,
{
    Operation::new(Method::GET, Some(READERS), Effect::Reads, path, handler, summary)
}

/// Returns an operation that changes or exports something, with an event of this type.
pub(super) fn act<H, T>(
    kind: &'static str,
    path: &'static str,
    handler: H,
    summary: &'static str,
) -> Operation
where
    H: Handler<T, Arc<Control>>,
    T: 'static,
{
    Operation::new(Method::POST, Some(OPERATORS), Effect::Records(kind), path, handler, summary)
}

/// Returns an operation whose event the store writes in the transaction of the change. It changes the
/// store alone, so it can be rehearsed.
pub(super) fn change<H, T>(path: &'static str, handler: H, summary: &'static str) -> Operation
where
    H: Handler<T, Arc<Control>>,
    T: 'static,
{
    act(REQUESTED, path, handler, summary).dry_runs(DryRuns::Rehearsed)
}

pub(super) const REFUSED: (u16, &str) = (409, "The present state does not allow it");

pub(super) const UNREADABLE: (u16, &str) = (502, "The directory cannot be read");

pub(super) const TOO_LONG: (u16, &str) = (504, "The time limit was exceeded");
