//! `rosterctl plan`: the changes a run would make now.

use clap::Args;
use serde_json::json;

use super::link::{Answer, Daemon, Failure};
use super::text::{Page, View, bold, count, number, yellow};
use super::{Exit, Output, change, directory};
use crate::control::api::{HoldReason, Plan};
use crate::control::client::Route;

/// Show the changes a run would make now; applies none
#[derive(Debug, Args)]
pub struct Arguments {
    /// The directory; default: all
    pub(super) directory: Option<String>,
}

pub(super) async fn call(
    Arguments { directory }: &Arguments,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let names = match directory {
        Some(name) => vec![name.clone()],
        None => directory::names(daemon).await?,
    };
    let mut plans: Vec<Answer<Plan>> = Vec::new();
    for name in &names {
        plans.push(daemon.get(&Route::to(["directories", name, "plan"])).await?);
    }
    let raw = match plans.as_slice() {
        [one] => one.raw.clone(),
        all => json!({ "plans": all.iter().map(|p| &p.raw).collect::<Vec<_>>() }),
    };
    output.data(&raw, |view| {
        let mut whole = Page::default();
        for (n, plan) in plans.iter().enumerate() {
            if n > 0 {
                whole.line("");
            }
            whole.append(&page(&plan.value, view));
        }
        whole
    })?;
    Ok(plans.iter().map(|p| exit(&p.value)).max().unwrap_or(Exit::Done))
}

/// Returns 3 if a change would be held. Grace periods and rejections need no decision.
pub fn exit(plan: &Plan) -> Exit {
    let waits = plan
        .changes
        .iter()
        .filter_map(|c| c.held)
        .any(|held| !matches!(held, HoldReason::GracePeriod | HoldReason::Rejected));
    if waits { Exit::Held } else { Exit::Done }
}

pub fn page(plan: &Plan, view: &View) -> Page {
    let Plan { id: _, directory, changes, quarantined, error, warnings } = plan;
    let mut page = Page::default();
    match changes.len() as u64 {
        0 => page.line(format!("{}: nothing would change", bold(directory))),
        n => {
            let held = changes.iter().filter(|c| c.held.is_some()).count() as u64;
            let split = if held == 0 {
                "all would be applied".to_owned()
            } else {
                format!("{} would be applied, {} held", number(n - held), number(held))
            };
            page.line(format!("{}: {}, {split}", bold(directory), count(n, "change")));
        }
    }
    if let Some(error) = error {
        page.sentence(&format!("{} ", yellow("! incomplete read:")), error, view);
    }
    for warning in warnings {
        page.sentence(&format!("{} ", yellow("!")), warning, view);
    }
    if !changes.is_empty() {
        page.line("");
        page.append(&change::diff(changes, view));
        page.append(&change::reasons_to_wait(changes, view));
    }
    if !quarantined.is_empty() {
        page.line("");
        page.append(&change::quarantined(quarantined, view));
    }
    page
}
