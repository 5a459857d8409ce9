//! Logs and metrics of the daemon.

use std::process::Command;

use adsim::Sim;

use crate::service::Site;

mod journal;
pub(crate) mod logs;
mod metrics;
mod prometheus;

/// The service account's password.
const SECRET: &str = "Ma4ker!of-the-Secret";

/// Limits that let one run create all people.
const ALL_AT_ONCE: &str = "[safety]\ncreate = { percent = 100, at-least = 10000, at-most = 10000 }";

/// Starts a daemon whose account exists. `adapt` runs before the start.
fn site(people: usize, more: &str, adapt: impl FnOnce(&Sim, &mut Command)) -> Site {
    let site = Site::of(
        Sim::builder().people(people).service("svc-rosterd", SECRET),
        &format!("{ALL_AT_ONCE}\n{more}"),
        adapt,
    );
    site.daemon.create_acme();
    site
}

/// Returns the DN of an active user.
fn active_dn(site: &Site, number: usize) -> String {
    site.done("user list --status active")["users"][number]["directory"]["dn"]
        .as_str()
        .unwrap()
        .to_owned()
}
