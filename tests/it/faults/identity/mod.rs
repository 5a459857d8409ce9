//! Identity is the account and the objectGUID: moves, renames, relinks, and names of several users.

mod domains;
mod estate;
mod foreign_groups;
mod migrations;
mod moves;
mod moves_law;
mod renames;
mod users;

use std::collections::BTreeSet;
use std::time::Duration;

use adsim::{Fault, NewPerson, Sim, What, When, names};
use rosterd::engine::{DirectoryConfig, Invitation, Request, Selection};
use rosterd::model::*;
use rosterd::reconcile::AttributeId;
use rosterd::store::{Mark, Run};

use super::{
    again, checkpoint, dn_of, followed, guid_of, held_plan, hide_completely, no_full_runs,
    see_tombstones, sync, tick,
};
use crate::firm::{Firm, alice, config, written};

fn name(text: &str) -> DirectoryName {
    DirectoryName::parse(text).expect("a name")
}

/// Returns the directory over one OU of the company.
fn over(corp: &DirectoryConfig, called: &str, ous: &[&str], root: &str) -> DirectoryConfig {
    let mut config = corp.clone();
    config.name = name(called);
    config.settings.bases = ous.iter().map(|ou| format!("OU={ou},OU=Staff,{root}")).collect();
    config
}

/// Replaces the directories.
fn configure(firm: &Firm, directories: Vec<DirectoryConfig>) {
    firm.engine.reconfigure(directories, firm.engine.configured().rules.clone());
}

/// Approves held plans, so that a directory is in normal operation.
async fn approve_held(firm: &Firm, of: &str) {
    for _ in 0..2 {
        let run = sync(firm, of).await;
        assert_eq!(run.error, None, "{run:?}");
        for plan in firm.engine.store.plans(false).await.expect("plans") {
            firm.engine.approve(plan.id, alice()).await.expect("an approval");
        }
    }
}

/// Returns a company read by `corp` (Engineering) and `emea` (Sales), with visible deleted objects.
async fn two_offices() -> Firm {
    let firm = Firm::of(60, |c| {
        c.full = no_full_runs();
        c.limits.grace_period = Duration::ZERO;
    })
    .await;
    let root = firm.sim.root_dn();
    let corp = firm.engine.directory("corp").expect("corp").config.clone();
    let corp = over(&corp, "corp", &["Engineering"], &root);
    let emea = over(&corp, "emea", &["Sales"], &root);
    configure(&firm, vec![corp, emea]);
    firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.add_person(NewPerson::new("nobody").ou(names::STAFF));
        ad.delete("nobody");
    });
    approve_held(&firm, "corp").await;
    approve_held(&firm, "emea").await;
    firm
}

async fn tick_of(firm: &Firm, of: &str) -> Run {
    let directory = firm.engine.directory(of).expect("a directory");
    let request = firm.engine.scheduled(&directory).await;
    firm.engine.run(&directory, request).await.expect("a run")
}

async fn of_directory(firm: &Firm, of: &str) -> Vec<User> {
    let is_of = |u: &User| {
        u.status() == Status::Active && u.link.as_ref().is_some_and(|l| l.directory.as_str() == of)
    };
    firm.users().await.into_iter().filter(is_of).collect()
}

fn directory_of(user: &User) -> &str {
    user.link.as_ref().expect("a link").directory.as_str()
}

async fn quarantine(firm: &Firm, of: &str) -> Vec<QuarantineReason> {
    firm.engine
        .store
        .quarantined(&name(of))
        .await
        .expect("the quarantine")
        .into_iter()
        .map(|(_, _, reason, _)| reason)
        .collect()
}
