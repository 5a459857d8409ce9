//! One operation of the API: method, path, roles, document, answers and event.

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::api;
use super::auth::roles::{Role, Roles};
use super::state::Control;

/// Type of the event that an operation leaves which recorded none itself, for example because nothing was to be done.
pub(super) const REQUESTED: &str = "operation.requested";

/// The trace that an operation leaves: none, or an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Nothing: it reads.
    Reads,
    /// A sign-in decision. Decisions are counted; users that they change are events of the store.
    Decides,
    /// An event, at the latest one of this type from the router.
    Records(&'static str),
}

/// Writes the schema of a type, and what it refers to, into a generator.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of `T`.
fn schema<T: JsonSchema>() -> SchemaOf {
    |generator| generator.subschema_for::<T>()
}

/// The document that comes with a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takes {
    /// None, or an empty one.
    Nothing,
    /// One that may be left out.
    Perhaps(SchemaOf),
    /// This one.
    Document(SchemaOf),
}

/// What an answer carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// JSON.
    Json(SchemaOf),
    /// Something else, of this media type.
    Bytes(&'static str),
}

/// One answer that is no error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answers {
    /// Its status.
    pub(super) status: StatusCode,
    /// What it says.
    pub(super) says: &'static str,
    /// What it carries.
    pub(super) content: Content,
}

/// One operation of the API.
pub(super) struct Operation {
    /// Its method.
    pub(super) method: Method,
    /// Its path below `/v1`.
    pub(super) path: &'static str,
    /// Roles of which a caller needs one; `None` where no role is needed.
    pub(super) roles: Option<Roles>,
    /// Event that it leaves.
    pub(super) effect: Effect,
    /// What it does, in a line.
    pub(super) summary: &'static str,
    /// An object whose fields are the query parameters.
    pub(super) query: Option<SchemaOf>,
    /// The document it takes.
    pub(super) takes: Takes,
    /// What it answers.
    pub(super) answers: Vec<Answers>,
    /// What can go wrong beside what can go wrong with every such operation.
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
            answers: Vec::new(),
            fails: &[],
            handler,
        }
    }

    /// With query parameters: the fields of `T`, which the handler reads.
    pub(super) fn with_query<T: JsonSchema>(self) -> Self {
        Self { query: Some(schema::<T>()), ..self }
    }

    /// With a document.
    pub(super) fn takes<T: JsonSchema>(self) -> Self {
        Self { takes: Takes::Document(schema::<T>()), ..self }
    }

    /// With a document that may be left out.
    pub(super) fn may_take<T: JsonSchema>(self) -> Self {
        Self { takes: Takes::Perhaps(schema::<T>()), ..self }
    }

    /// Answers with a document.
    pub(super) fn answers<T: JsonSchema>(self, says: &'static str) -> Self {
        self.answer(StatusCode::OK, says, Content::Json(schema::<T>()))
    }

    /// Answers that it is under way, where its end is not awaited.
    pub(super) fn may_only_begin(self) -> Self {
        self.answer(
            StatusCode::ACCEPTED,
            "It has begun (`wait=false`)",
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

    /// Can go wrong in ways of its own.
    pub(super) fn fails(self, fails: &'static [(u16, &'static str)]) -> Self {
        Self { fails, ..self }
    }
}

/// Operators and viewers read.
pub(super) const READERS: Roles = Roles::of(&[Role::Viewer, Role::Operator]);

/// Only operators change and export.
pub(super) const OPERATORS: Roles = Roles::of(&[Role::Operator]);

/// Only authenticators ask for sign-ins: asking guesses passwords, uses up attempts and creates users.
pub(super) const AUTHENTICATORS: Roles = Roles::of(&[Role::Authenticator]);

/// An operation that reads.
pub(super) fn look<H, T>(path: &'static str, handler: H, summary: &'static str) -> Operation
where
    H: Handler<T, Arc<Control>>,
    T: 'static,
{
    Operation::new(Method::GET, Some(READERS), Effect::Reads, path, handler, summary)
}

/// An operation that changes or exports something, and leaves an event of this type.
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

/// An operation whose event the store writes together with the change.
pub(super) fn change<H, T>(path: &'static str, handler: H, summary: &'static str) -> Operation
where
    H: Handler<T, Arc<Control>>,
    T: 'static,
{
    act(REQUESTED, path, handler, summary)
}

pub(super) const REFUSED: (u16, &str) = (409, "It cannot be done as things stand");

pub(super) const UNREADABLE: (u16, &str) = (502, "The directory cannot be read");

pub(super) const TOO_LONG: (u16, &str) = (504, "It took longer than it may");
