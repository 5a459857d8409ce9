//! Decisions: an operator's decision holds, an answer is based on data that was read, and records
//! are true.

mod races;
mod records;
mod rejections;

use rosterd::model::*;
use rosterd::store::HeldPlan;

use super::{guid_of, no_full_runs, see_tombstones};
use crate::firm::Firm;

fn bob() -> Actor {
    Actor("bob".to_owned())
}

async fn attention(firm: &Firm) -> Vec<String> {
    let directory = firm.engine.directory("corp").expect("corp");
    firm.engine.directory_status(&directory).await.expect("a status").attention
}

async fn waiting(firm: &Firm) -> Vec<HeldPlan> {
    firm.engine.store.plans(false).await.expect("plans")
}

async fn state_of(firm: &Firm, plan: &HeldPlan) -> PlanState {
    firm.engine.store.plan(plan.id).await.expect("a plan").expect("it is known").state
}

/// Returns a company with six deletions applied today and four more held over the limit.
async fn four_deletions_over_the_limit() -> (Firm, Vec<User>) {
    let firm = Firm::running(100, |c| c.full = no_full_runs()).await;
    see_tombstones(&firm).await;
    let doomed: Vec<User> = firm.users().await.into_iter().step_by(5).collect();
    firm.sim.edit(|ad| doomed.iter().take(6).for_each(|user| ad.delete(guid_of(user))));
    assert_eq!(firm.sync().await.counts.suspend, 6);
    firm.sim.edit(|ad| doomed.iter().skip(6).take(4).for_each(|user| ad.delete(guid_of(user))));
    assert_eq!(firm.sync().await.held, 4);
    (firm, doomed[6..10].to_vec())
}

/// Returns a company whose configuration excludes two users by mistake, so that their suspension is
/// held.
async fn two_excluded_by_mistake() -> (Firm, usize, Vec<User>) {
    let firm = Firm::running(100, |c| c.limits.grace_period = std::time::Duration::ZERO).await;
    let users: Vec<User> = firm.users().await.into_iter().take(2).collect();
    let addresses: Vec<String> = users
        .iter()
        .map(|u| u.addresses.primary.clone().expect("an address").to_string())
        .collect();
    let before = firm.active().await;
    firm.reconfigure(|c| c.exclude = addresses);
    let run = firm.sync().await;
    assert_eq!((run.state, run.held), (RunState::Held, 2), "it only plans: {run:?}");
    (firm, before, users)
}
