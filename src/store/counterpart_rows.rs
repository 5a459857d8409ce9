//! The columns of counterparts.

use std::collections::BTreeSet;

use super::error::StoreError;
use super::rows::{Columns, Row, word_columns};
use super::sql::Fields;
use crate::model::{
    Counterpart, CounterpartRow, CounterpartState, Due, Lane, LinkOrigin, ProvisionProblem,
    RemoteId, StepKind, TargetName,
};

word_columns! {
    CounterpartState "state of a counterpart";
    LinkOrigin "origin of a counterpart";
    ProvisionProblem "problem of a counterpart";
}

/// All columns but the first one, the target.
pub(super) const COLUMNS: &str = "user_id, state, remote_id, origin, sent, echo, active, deactivated_by_us, user_name, \
                       due_at, due_since, lane, due_seq, due_run, is_followed, admitted, attempts, failing_since, \
                       problem, answer, sent_at, seen_at, found_at";

impl Row for CounterpartRow {
    const COLUMNS: &'static str = COLUMNS;

    fn next(c: &mut Columns<'_>) -> Result<Self, StoreError> {
        let account = Counterpart {
            user: c.read()?,
            state: c.read()?,
            id: c.read::<Option<String>>()?.map(RemoteId),
            origin: c.read()?,
            sent: c.read()?,
            echo: c.read()?,
            active: c.read()?,
            deactivated_by_us: c.read()?,
        };
        let user_name = c.read()?;
        let (at, since) = (c.read()?, c.read()?);
        let lane: u32 = c.read()?;
        let due = Due {
            at,
            since,
            lane: at.and_then(|_| Lane::ALL.get(lane as usize).copied()),
            seq: c.read()?,
            run: c.read()?,
            is_followed: c.read()?,
            admitted: kinds(&c.read::<String>()?),
            attempts: c.read()?,
            failing_since: c.read()?,
        };
        Ok(Self {
            account,
            user_name,
            due,
            problem: c.read()?,
            answer: c.read()?,
            sent_at: c.read()?,
            seen_at: c.read()?,
            found_at: c.read()?,
        })
    }
}

fn kinds(words: &str) -> BTreeSet<StepKind> {
    words.split_whitespace().filter_map(StepKind::parse).collect()
}

pub(super) fn fields(target: &TargetName, row: &CounterpartRow) -> Fields {
    let CounterpartRow { account, user_name, due, problem, answer, sent_at, seen_at, found_at } =
        row;
    let admitted: Vec<&str> = due.admitted.iter().map(|kind| kind.as_str()).collect();
    let lane = due.lane.unwrap_or(Lane::Run);
    vec![
        ("target", target.as_str().into()),
        ("user_id", account.user.0.into()),
        ("state", account.state.as_str().into()),
        ("remote_id", account.id.as_ref().map(|id| id.0.as_str()).into()),
        ("origin", account.origin.as_str().into()),
        ("sent", account.sent.map(|sent| sent as i64).into()),
        ("echo", account.echo.map(|echo| echo as i64).into()),
        ("active", account.active.map(i64::from).into()),
        ("deactivated_by_us", account.deactivated_by_us.into()),
        ("user_name", user_name.as_deref().into()),
        ("due_at", due.at.into()),
        ("due_since", due.since.into()),
        ("lane", (lane as i64).into()),
        ("due_seq", due.seq.into()),
        ("due_run", due.run.map(|run| run.0).into()),
        ("is_followed", due.is_followed.into()),
        ("admitted", admitted.join(" ").into()),
        ("attempts", i64::from(due.attempts).into()),
        ("failing_since", due.failing_since.into()),
        ("problem", problem.map(ProvisionProblem::as_str).into()),
        ("answer", answer.as_deref().into()),
        ("sent_at", (*sent_at).into()),
        ("seen_at", (*seen_at).into()),
        ("found_at", (*found_at).into()),
    ]
}
