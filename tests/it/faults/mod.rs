//! Faults that reviewers found, by kind. Each test states the rule of the design that the fault broke.

mod addresses;
mod brakes;
mod clocks;
mod decisions;
mod files;
mod filters;
mod hooks;
mod identity;
mod rights;
mod roles;
mod servers;
mod sight;
mod sign_in;

use std::time::Duration;

use adsim::{NewPerson, names};
use rosterd::engine::{DirectoryConfig, Request};
use rosterd::model::{Cron, Trigger, User};
use rosterd::reconcile::Checkpoint;
use rosterd::store::{HeldPlan, Run};

use crate::firm::{Firm, alice};

pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);
pub(crate) const TEN_YEARS: Duration = Duration::from_hours(24 * 3_653);

/// A schedule that fires once in four years: full runs happen only when a test asks.
pub(crate) fn hardly_ever() -> Cron {
    Cron::parse("0 0 29 2 *", chrono_tz::Tz::UTC).expect("a schedule")
}

pub(crate) fn dn_of(user: &User) -> String {
    user.link.as_ref().expect("a link").dn.as_str().to_owned()
}

pub(crate) fn guid_of(user: &User) -> uuid::Uuid {
    uuid::Uuid::parse_str(&user.link.as_ref().expect("a link").guid.to_string()).expect("a GUID")
}

/// Reads the user from the store again.
pub(crate) async fn again(firm: &Firm, user: &User) -> User {
    firm.user(&user.id.to_string()).await
}

/// Carries out the run that the schedule asks for at this moment.
pub(crate) async fn tick(firm: &Firm) -> Run {
    let directory = firm.engine.directory("corp").expect("corp");
    let request = firm.engine.scheduled(&directory).await;
    firm.engine.run(&directory, request).await.expect("a run")
}

/// Carries out a full run of the named directory.
pub(crate) async fn sync(firm: &Firm, name: &str) -> Run {
    let directory = firm.engine.directory(name).expect("a directory");
    firm.engine.run(&directory, Request::full(Trigger::Manual, Some(alice()))).await.expect("a run")
}

pub(crate) async fn checkpoint(firm: &Firm) -> Option<Checkpoint> {
    let name = firm.engine.directory("corp").expect("corp").config.name.clone();
    firm.engine.store.directory(&name).await.expect("its state").checkpoint
}

/// A firm whose people are all known, whose deleted objects are visible, and whose changes are followed.
pub(crate) async fn followed(people: usize, adapt: impl FnOnce(&mut DirectoryConfig)) -> Firm {
    let firm = Firm::running(people, |config| {
        config.full = hardly_ever();
        config.limits.grace_period = Duration::ZERO;
        adapt(config);
    })
    .await;
    see_tombstones(&firm).await;
    firm
}

pub(crate) async fn see_tombstones(firm: &Firm) {
    firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.add_person(NewPerson::new("nobody").ou(names::STAFF));
        ad.delete("nobody");
    });
    assert_eq!(firm.sync().await.error, None);
}

/// The held plan that waits.
pub(crate) async fn plan(firm: &Firm) -> HeldPlan {
    firm.engine.store.plans(false).await.expect("plans").into_iter().next().expect("a plan waits")
}
