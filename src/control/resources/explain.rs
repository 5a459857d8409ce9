//! The explanation of one person.

use axum::Json;
use axum::extract::{Path, State};

use super::request::{Answer, Shared};
use super::{changes, targets, users};
use crate::control::api;
use crate::control::operation::{Operation, TOO_LONG, read};
use crate::engine::{Entry, Explanation};
use crate::reconcile::{Line, Reading, Steps};

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        read(
            "/users/{who}/explain",
            explain,
            "Explain the state of a person; reads the directory and changes nothing",
        )
        .answers::<api::Explanation>("The explanation, also of a person without a user")
        .fails(&[TOO_LONG]),
    ]
}

async fn explain(State(control): Shared, Path(who): Path<String>) -> Answer<api::Explanation> {
    let mut explained = control.engine.explain(&who).await?;
    let Some(user) = explained.user.take() else {
        return Ok(Json(convert(&who, explained, None, (Vec::new(), Vec::new()))));
    };
    let targets =
        (targets::of_user(&control, user.id).await?, targets::outlook(&control, &user).await?);
    let user = users::show(&control, user).await?;
    Ok(Json(convert(&who, explained, Some(user), targets)))
}

pub(in crate::control) fn convert(
    who: &str,
    explanation: Explanation,
    user: Option<api::User>,
    (targets, outlook): (Vec<api::TargetAccount>, Vec<api::TargetOutlook>),
) -> api::Explanation {
    let Explanation { user: _, remedies, entries, elsewhere, history } = explanation;
    api::Explanation {
        who: who.to_owned(),
        user,
        remedies,
        entries: entries.into_iter().map(entry).collect(),
        elsewhere: elsewhere
            .into_iter()
            .map(|(directory, why)| api::Elsewhere { directory: directory.to_string(), why })
            .collect(),
        targets,
        outlook,
        history: users::history(history),
    }
}

fn entry(entry: Entry) -> api::ExplainedEntry {
    let Entry {
        directory,
        server,
        guid: person,
        dn,
        found,
        is_gone: _,
        reading,
        groups,
        has_user,
        quarantine,
        remedy,
        would,
        waits,
        warnings,
    } = entry;
    let steps = reading.as_ref().map(|reading| steps(reading.steps));
    let (names, scope, state, tier, addresses, obstacles) = match reading {
        Some(Reading { names, scope, state, tier, groups: _, addresses, obstacles, steps: _ }) => {
            (names, Some(scope), state, Some(tier), addresses, obstacles)
        }
        None => (Vec::new(), None, Vec::new(), None, Vec::new(), Vec::new()),
    };
    api::ExplainedEntry {
        directory: directory.to_string(),
        server,
        object_guid: person.to_string(),
        dn,
        found,
        names: names.into_iter().map(looked).collect(),
        scope: scope.map(looked),
        state: state.into_iter().map(looked).collect(),
        tier,
        steps,
        groups,
        addresses: addresses.into_iter().map(looked).collect(),
        obstacles: if has_user { Vec::new() } else { obstacles },
        quarantine,
        remedy,
        would: would.iter().map(|(change, hold)| changes::planned(change, *hold)).collect(),
        waits,
        warnings,
    }
}

fn steps(Steps { is_in_scope, has_address, is_enabled, has_tier }: Steps) -> api::ExplainedSteps {
    api::ExplainedSteps {
        scope: is_in_scope,
        address: has_address,
        enabled: is_enabled,
        tier: has_tier,
    }
}

fn looked(Line { attribute, value, meaning }: Line) -> api::Looked {
    api::Looked { attribute, value, meaning }
}
