//! Connected systems: hooks with their deliveries, and targets.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};

use super::layout::{
    self, Fault, Place, Shown, Tone, badge, count, facts, number, segment, sentence, when,
};
use super::state::Console;
use super::visit::Visit;
use crate::control::api::{
    Deliveries, Delivery, DeliveryState, Hook, HookState, Hooks, Redeliver, Redelivered,
    TargetState, TargetStatus, Targets,
};
use crate::control::client::Route;
use crate::ctl::link::Answer;
use crate::ctl::target::of_no_user;
use crate::ctl::text::View;

/// Deliveries that a page lists.
const SHOWN: u64 = 100;

pub async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
) -> Shown {
    let hooks: Answer<Hooks> = console.daemon().get(&Route::to(["hooks"])).await?;
    let targets: Answer<Targets> = console.daemon().get(&Route::to(["targets"])).await?;
    let view = &visit.view;
    Ok(layout::page(
        &visit,
        Place::Systems,
        "Connected systems",
        &html! {
            section {
                h2 { "Hooks" }
                @if hooks.value.hooks.is_empty() { p.empty { "No hooks are configured." } }
                ul.cards { @for one in &hooks.value.hooks { li.card { (hook_card(one, &visit, view)) } } }
            }
            section {
                h2 { "Targets" }
                @if targets.value.targets.is_empty() { p.empty { "No targets are configured." } }
                ul.cards { @for one in &targets.value.targets { li.card { (target(one, view)) } } }
            }
        },
    ))
}

fn hook_card(hook: &Hook, visit: &Visit, view: &View) -> Markup {
    let Hook {
        name,
        events,
        target,
        state,
        pending,
        failed,
        delivered,
        last_delivered,
        last_error,
        last_error_at,
        ..
    } = hook;
    let tone = match state {
        HookState::Ok => Tone::Good,
        HookState::Failing => Tone::Bad,
        HookState::Disabled | HookState::Removed => Tone::Waits,
    };
    html! {
        h3 { a href={ "/systems/hooks/" (segment(name)) } { (name) } " " (badge(tone, state)) }
        (facts(&[
            ("Receiver", html! { (target) }),
            ("Events", html! { (events.join(", ")) }),
            ("Delivered", html! { (number(*delivered)) @if let Some(at) = last_delivered { span.small { "last " (when(at, view)) } } }),
            ("Waiting", html! { (number(*pending)) }),
            ("Failed", html! { @if *failed > 0 { strong.bad-text { (number(*failed)) } } @else { "0" } }),
            ("Last error", match (last_error, last_error_at) {
                (Some(error), Some(at)) => html! { (error) span.small { (when(at, view)) } },
                (Some(error), None) => html! { (error) },
                _ => html! {},
            }),
        ]))
        @if *failed > 0 && visit.may_change && *state != HookState::Removed {
            form method="post" action={ "/systems/hooks/" (segment(name)) "/redeliver" } {
                (visit.token())
                button { "Deliver " (count(*failed, "failed delivery")) " again" }
            }
        }
    }
}

/// Returns a target in a few lines.
pub fn target(target: &TargetStatus, view: &View) -> Markup {
    let TargetStatus {
        name,
        account,
        state,
        host,
        active,
        inactive,
        pending,
        quarantined,
        held,
        oldest_deactivation,
        last_complete_run,
        next_run,
        token_expires,
        attention,
        ..
    } = target;
    let tone = match state {
        TargetState::Ok => Tone::Good,
        TargetState::New => Tone::Plain,
        TargetState::Degraded | TargetState::Unauthorized | TargetState::Foreign => Tone::Bad,
        TargetState::PlanOnly | TargetState::Paused | TargetState::Removed => Tone::Waits,
    };
    let at = |at: &Option<String>| at.as_ref().map_or_else(|| html! {}, |at| when(at, view));
    html! {
        h3 { (name) " " (badge(tone, state)) }
        p.big { strong { (number(*active)) } " active" span.dim { " · " (number(*inactive)) " inactive" } }
        (facts(&[
            ("Account", html! { (account) }),
            ("Service", html! { (host.as_deref().unwrap_or_default()) }),
            ("Waiting", html! { (number(*pending)) " pending" @if *held > 0 { ", " a href="/held" { (number(*held)) " to decide" } } @if *quarantined > 0 { ", " (number(*quarantined)) " with a problem" } }),
            ("Of no user", html! { (of_no_user(target)) }),
            ("Oldest leaver", at(oldest_deactivation)),
            ("Last full run", at(last_complete_run)),
            ("Next full run", at(next_run)),
            ("Token until", at(token_expires)),
        ]))
        @for text in attention { p.waits-text { (sentence(text)) } }
    }
}

pub async fn hook(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Shown {
    let of = async |state: DeliveryState| {
        let route =
            Route::to(["hooks", &name, "deliveries"]).with("state", state).with("limit", SHOWN);
        console.daemon().get::<Deliveries>(&route).await.map(|found| found.value.deliveries)
    };
    let failed = of(DeliveryState::Failed).await?;
    let pending = of(DeliveryState::Pending).await?;
    let delivered = of(DeliveryState::Delivered).await?;
    let view = &visit.view;
    Ok(layout::page(
        &visit,
        Place::Systems,
        &format!("Hook {name}"),
        &html! {
            @if !failed.is_empty() && visit.may_change {
                form method="post" action={ "/systems/hooks/" (segment(&name)) "/redeliver" } {
                    (visit.token()) button.primary { "Deliver all failed ones again" }
                }
            }
            @for (heading, all) in [("Failed", &failed), ("Waiting", &pending), ("Delivered", &delivered)] {
                section {
                    h2 { (heading) }
                    @if all.is_empty() { p.empty { "None." } } @else { (deliveries(all, view)) }
                }
            }
            p { a href="/systems" { "All connected systems" } }
        },
    ))
}

fn deliveries(all: &[Delivery], view: &View) -> Markup {
    html! {
        table.wide {
            thead { tr { th scope="col" { "Event" } th scope="col" { "Type" } th scope="col" { "Since" } th scope="col" { "Attempts" } th scope="col" { "Answer" } } }
            tbody {
                @for Delivery { seq, kind, since, attempts, error, output, .. } in all {
                    tr {
                        td { (seq) }
                        td { (kind) }
                        td { (when(since, view)) }
                        td { (attempts) }
                        td { @if let Some(error) = error { (error) } @if let Some(output) = output.as_ref().filter(|o| !o.is_empty()) { span.small { (output) } } }
                    }
                }
            }
        }
    }
}

pub async fn redeliver(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
) -> Result<Response, Fault> {
    let route = Route::to(["hooks", &name, "redeliver"]);
    let _: Answer<Redelivered> = console.daemon().post(&route, &Redeliver::default()).await?;
    Ok(Redirect::to(&format!("/systems/hooks/{}", segment(&name))).into_response())
}
