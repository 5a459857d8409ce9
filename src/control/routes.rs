//! The table of the API: for every operation its method and path, the roles that may call it, what it takes, what it
//! answers and the event that it leaves.
//!
//! The router and the OpenAPI document are both made from this one table, so neither can know of something
//! that the other does not. The check of the caller, and of what may come with a request, and the event of an
//! operation that recorded none, are put around every handler here: no handler can forget them.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::auth::roles::{Role, Roles};
use super::record::{Effect, REQUESTED};
use super::resources::{backup, events, hooks};
use super::server::{Control, Gate, gate};
use super::{api, metrics, openapi, read, write};
use crate::telemetry::Format;

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
    handler: MethodRouter<Arc<Control>>,
}

impl Operation {
    fn new<H, T>(
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
    fn with_query<T: JsonSchema>(self) -> Self {
        Self { query: Some(schema::<T>()), ..self }
    }

    /// With a document.
    fn takes<T: JsonSchema>(self) -> Self {
        Self { takes: Takes::Document(schema::<T>()), ..self }
    }

    /// With a document that may be left out.
    fn may_take<T: JsonSchema>(self) -> Self {
        Self { takes: Takes::Perhaps(schema::<T>()), ..self }
    }

    /// Answers with a document.
    fn answers<T: JsonSchema>(self, says: &'static str) -> Self {
        self.answer(StatusCode::OK, says, Content::Json(schema::<T>()))
    }

    /// Answers that it is under way, where its end is not awaited.
    fn may_only_begin(self) -> Self {
        self.answer(
            StatusCode::ACCEPTED,
            "It has begun (`wait=false`)",
            Content::Json(schema::<api::Accepted>()),
        )
    }

    fn answer(mut self, status: StatusCode, says: &'static str, content: Content) -> Self {
        self.answers.push(Answers { status, says, content });
        self
    }

    /// Can go wrong in ways of its own.
    fn fails(self, fails: &'static [(u16, &'static str)]) -> Self {
        Self { fails, ..self }
    }
}

/// Operators and viewers read.
const READERS: Roles = Roles::of(&[Role::Viewer, Role::Operator]);

/// Only operators change and export.
const OPERATORS: Roles = Roles::of(&[Role::Operator]);

/// Only authenticators ask for sign-ins: asking guesses passwords, uses up attempts and creates users.
const AUTHENTICATORS: Roles = Roles::of(&[Role::Authenticator]);

/// An operation that reads.
fn look<H, T>(path: &'static str, handler: H, summary: &'static str) -> Operation
where
    H: Handler<T, Arc<Control>>,
    T: 'static,
{
    Operation::new(Method::GET, Some(READERS), Effect::Reads, path, handler, summary)
}

/// An operation that changes or exports something, and leaves an event of this type.
fn act<H, T>(kind: &'static str, path: &'static str, handler: H, summary: &'static str) -> Operation
where
    H: Handler<T, Arc<Control>>,
    T: 'static,
{
    Operation::new(Method::POST, Some(OPERATORS), Effect::Records(kind), path, handler, summary)
}

/// An operation whose event the store writes together with the change.
fn change<H, T>(path: &'static str, handler: H, summary: &'static str) -> Operation
where
    H: Handler<T, Arc<Control>>,
    T: 'static,
{
    act(REQUESTED, path, handler, summary)
}

const REFUSED: (u16, &str) = (409, "It cannot be done as things stand");
const UNREADABLE: (u16, &str) = (502, "The directory cannot be read");
const TOO_LONG: (u16, &str) = (504, "It took longer than it may");

/// Every operation.
pub(super) fn operations() -> Vec<Operation> {
    // The document is the same for every rosterd of a version and holds nothing of anybody, and who writes a client
    // needs it before having a role: everybody may read it.
    let document = Operation::new(
        Method::GET,
        None,
        Effect::Reads,
        "/openapi.json",
        openapi::answer,
        "This document",
    )
    .answer(StatusCode::OK, "An OpenAPI document", Content::Bytes("application/json"));
    let sign_in = Operation::new(
        Method::POST,
        Some(AUTHENTICATORS),
        Effect::Decides,
        "/sign-ins",
        write::sign_in,
        "Whether a user may sign in",
    )
    .takes::<api::SignIn>()
    .answers::<api::SignInDecision>("The decision, also when it is no");
    vec![
        document,
        sign_in,
        look("/status", read::status, "How everything stands").answers::<api::Status>("The state of the daemon and of its directories"),
        look("/metrics", metrics::metrics, "Counts and states for Prometheus").answer(
            StatusCode::OK,
            "The metrics, in the OpenMetrics format or Prometheus's own, as the Accept header asks",
            Content::Bytes(Format::default().content_type()),
        ),
        look("/directories", read::directories, "All directories").answers::<api::Directories>("The configured directories, by name"),
        look("/directories/{name}/progress", read::progress, "How far the run of a directory has come")
            .answers::<api::Progress>("The run in progress, or the last one"),
        look("/directories/{name}/plan", read::plan, "What a run would do now; reads the directory and changes nothing")
            .answers::<api::Plan>("The changes")
            .fails(&[UNREADABLE, TOO_LONG, REFUSED]),
        look("/directories/{name}/check", read::check, "Look at everything a run of a directory needs, step by step")
            .answers::<api::Check>("The steps, also when some failed"),
        look("/held", read::held_plans, "Plans that wait for approval")
            .with_query::<read::WhichPlans>()
            .answers::<api::HeldPlans>("The plans"),
        look("/held/{id}", read::held_plan, "One held plan with its changes").answers::<api::HeldPlan>("The plan"),
        look("/runs", read::runs, "The latest runs").with_query::<read::WhichRuns>().answers::<api::Runs>("The runs, newest first"),
        look("/runs/{id}", read::run, "One run with its changes").answers::<api::RunDetail>("The run"),
        look("/accounts", read::accounts, "All accounts")
            .with_query::<read::WhichAccounts>()
            .answers::<api::Accounts>("The accounts, by handle"),
        look("/accounts/{handle}", read::account, "One account").answers::<api::Account>("The account"),
        look("/domains", read::domains, "Domain claims")
            .with_query::<read::WhichDomains>()
            .answers::<api::Domains>("The claims, by domain"),
        look("/users", read::users, "Users, page by page").with_query::<read::WhichUsers>().answers::<api::Users>("One page"),
        look("/users/search", read::search, "Users whose name or address begins with these words")
            .with_query::<read::WhatToFind>()
            .answers::<api::Users>("Who was found"),
        look("/users/{who}", read::user, "One user, and what was done to it").answers::<api::UserDetail>("The user"),
        look("/users/{who}/explain", read::explain, "Why somebody is what they are; reads the directory and changes nothing")
            .answers::<api::Explanation>("What is known, also of people who are no users")
            .fails(&[TOO_LONG]),
        look("/users/{who}/contacts", read::contacts, "Colleagues of a user whose name or address begins with these words")
            .with_query::<read::WhatToFind>()
            .answers::<api::Contacts>("Active users of the same account, by name")
            .fails(&[REFUSED]),
        look("/quarantine", read::quarantine, "Directory entries that cannot be used as they are")
            .answers::<api::Quarantine>("The entries, each with what to do about it"),
        look("/events", events::events, "Everything that happened")
            .with_query::<events::WhichEvents>()
            .answers::<api::Events>("The events, oldest first; none where the time is over, or the connection is needed by others")
            .fails(&[(429, "Too many requests of the caller wait for news")]),
        look("/events/verify", events::verify, "Follow the chain of the log from its first entry")
            .with_query::<events::AgainstWhat>()
            .answers::<api::LogCheck>("Its end, or where it breaks"),
        look("/hooks", hooks::hooks, "All hooks, and how they do").answers::<api::Hooks>("The configured hooks, by name"),
        look("/hooks/{name}/deliveries", hooks::deliveries, "What a hook was told, and is to be told")
            .with_query::<hooks::WhichDeliveries>()
            .answers::<api::Deliveries>("The deliveries, newest event first"),
        act("hook.tested", "/hooks/{name}/test", hooks::test, "Send a hook a sample, marked as one")
            .answers::<api::Sample>("What the hook made of it, also when it did not take it"),
        act("hook.redelivered", "/hooks/{name}/redeliver", hooks::redeliver, "Deliver again what was given up, or one event")
            .may_take::<api::Redeliver>()
            .answers::<api::Redelivered>("How many deliveries that makes")
            .fails(&[REFUSED]),
        act("hook.replayed", "/hooks/{name}/replay", hooks::replay, "Tell a hook everything it wants to know since then")
            .takes::<api::Replay>()
            .answers::<api::Redelivered>("How many deliveries that makes"),
        act("store.backed_up", "/backup", backup::backup, "A consistent copy of the store")
            .answer(StatusCode::OK, "The store", Content::Bytes(backup::MEDIA_TYPE))
            .fails(&[REFUSED]),
        act("configuration.reloaded", "/reload", write::reload, "Have the configuration read again")
            .answers::<api::Reloaded>("What it means for each directory")
            .fails(&[(422, "The file has problems, and changes nothing")]),
        act("run.requested", "/sync", write::sync_all, "Run all directories now")
            .with_query::<write::Waiting>()
            .answers::<api::Runs>("The runs, also those that failed")
            .may_only_begin()
            .fails(&[REFUSED]),
        act("run.requested", "/directories/{name}/sync", write::sync, "Run one directory now")
            .with_query::<write::Waiting>()
            .answers::<api::Run>("The run, also when it failed")
            .may_only_begin()
            .fails(&[REFUSED]),
        change("/directories/{name}/pause", write::pause, "Start no runs of a directory for a while")
            .may_take::<api::Pause>()
            .answers::<api::DirectoryStatus>("How the directory stands then"),
        change("/directories/{name}/resume", write::resume, "Start runs of a directory again")
            .answers::<api::DirectoryStatus>("How the directory stands then"),
        act("directory.unlocked", "/directories/{name}/unlock", write::unlock, "Try the bind again, after the service account was refused")
            .answers::<api::DirectoryStatus>("How the directory stands then"),
        act(
            "directory.rebaselined",
            "/directories/{name}/rebaseline",
            write::rebaseline,
            "Accept bases, groups, canaries and readable attributes as they are now",
        )
        .answers::<api::DirectoryStatus>("How the directory stands then")
        .fails(&[REFUSED]),
        change(
            "/directories/{name}/rename",
            write::rename_directory,
            "Give what is stored of a directory that is configured no longer to another",
        )
        .takes::<api::DirectoryRenaming>()
        .answers::<api::DirectoryStatus>("How the directory of the new name stands then")
        .fails(&[REFUSED]),
        change("/held/{id}/approve", write::approve, "Read the people of a plan again, and apply what is still true of it")
            .may_take::<api::Approving>()
            .answers::<api::Approval>("The run that applied it, and what still waits")
            .fails(&[REFUSED, UNREADABLE, TOO_LONG]),
        change(
            "/held/{id}/reject",
            write::reject,
            "Reject a plan: every run holds its changes until the directory no longer asks for them",
        )
        .may_take::<api::Rejecting>()
        .answers::<api::HeldPlan>("The plan")
        .fails(&[REFUSED]),
        change("/held/{id}/reopen", write::reopen, "Take the rejection of a plan back: its changes wait for approval again")
            .may_take::<api::Rejecting>()
            .answers::<api::HeldPlan>("The plan in which they wait")
            .fails(&[REFUSED]),
        change("/runs/{id}/undo", write::undo, "Take a run back, as far as that goes, or show what that would do")
            .with_query::<write::Undoing>()
            .answers::<api::Undo>("What was done, and what was left alone")
            .fails(&[REFUSED, TOO_LONG]),
        change("/accounts", write::create_account, "Create an account")
            .takes::<api::NewAccount>()
            .answers::<api::Account>("The account")
            .fails(&[REFUSED]),
        change("/accounts/{handle}/rename", write::rename_account, "Give an account another name")
            .takes::<api::Renaming>()
            .answers::<api::Account>("The account"),
        change("/accounts/{handle}/policies", write::set_policies, "Set policies of an account: all that are given, or none")
            .takes::<api::NewPolicies>()
            .answers::<api::Account>("The account"),
        change("/accounts/{handle}/delete", write::delete_account, "Delete an account without domains and users")
            .takes::<api::Deletion>()
            .answers::<api::Account>("The account, as it was")
            .fails(&[REFUSED]),
        change("/accounts/{handle}/invitations", write::invite, "Invite people to an account, each answered on its own")
            .takes::<api::NewInvitations>()
            .answers::<api::Invitations>("What came of each"),
        change("/accounts/{handle}/domains", write::claim, "Claim a domain for an account")
            .takes::<api::NewClaim>()
            .answers::<api::Domain>("The claim, with the record that proves it")
            .fails(&[REFUSED]),
        change("/domains/{domain}/verify", write::verify, "Look for the record of a claim now")
            .with_query::<write::WhoseClaim>()
            .answers::<api::Domain>("The claim, with what was found")
            .fails(&[REFUSED]),
        change("/domains/{domain}/release", write::release, "Give a domain back, or show whom that would touch")
            .with_query::<write::Releasing>()
            .answers::<api::Release>("Whom it touched, and how")
            .fails(&[REFUSED]),
        act("run.requested", "/users/{who}/sync", write::sync_user, "Read one person again, and apply what has changed")
            .answers::<api::Run>("The run")
            .fails(&[REFUSED, UNREADABLE, TOO_LONG]),
        change("/users/{who}/suspend", write::suspend, "Bar somebody at once, whatever the directory says")
            .may_take::<api::Suspension>()
            .answers::<api::User>("The user")
            .fails(&[REFUSED]),
        change("/users/{who}/tier", write::set_tier, "Set the tier of somebody whom no directory manages")
            .takes::<api::NewTier>()
            .answers::<api::User>("The user")
            .fails(&[REFUSED]),
        change("/users/{who}/relink", write::relink, "Say that somebody who left and was created anew in the directory is the same person")
            .takes::<api::Relinking>()
            .answers::<api::Run>("The run that read that person")
            .fails(&[REFUSED, UNREADABLE, TOO_LONG]),
        change("/users/{who}/release-address", write::release_address, "Free the addresses of a suspended user for somebody new")
            .answers::<api::User>("The user")
            .fails(&[REFUSED, UNREADABLE, TOO_LONG]),
        change("/users/{who}/clear-override", write::clear_override, "Let the directory decide again about what an operator has overruled")
            .answers::<api::User>("The user")
            .fails(&[REFUSED]),
        change("/users/{who}/remove", write::remove_user, "Take somebody out of an account, and forget them")
            .answers::<api::User>("The user, as it was")
            .fails(&[REFUSED]),
        change("/users/{who}/activate", write::activate, "Lift an operator's suspension, and what else the directory allows")
            .answers::<api::Activation>("The user, and what still bars them")
            .fails(&[REFUSED]),
    ]
}

/// The operations as a router, each behind its gate.
pub(super) fn router(control: &Arc<Control>) -> Router<Arc<Control>> {
    operations().into_iter().fold(Router::new(), |router, operation| {
        let Operation { path, roles, effect, query, takes, handler, .. } = operation;
        let at = Gate {
            control: Arc::clone(control),
            pattern: path,
            roles,
            effect,
            takes_query: query.is_some(),
            takes_document: !matches!(takes, Takes::Nothing),
        };
        router.route(&format!("/v1{path}"), handler.route_layer(from_fn_with_state(at, gate)))
    })
}
