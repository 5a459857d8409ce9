//! What the daemon tells of itself: the log as an operator reads it, the metrics as Prometheus does.

use std::process::Command;

use adsim::Sim;

use crate::service::Site;

mod journal;
mod logs;
mod metrics;
mod prometheus;

/// The service account's password.
const SECRET: &str = "Ma4ker!of-the-Secret";

/// Everybody may be created at once.
const ALL_AT_ONCE: &str = "[safety]\ncreate = { percent = 100, at-least = 10000, at-most = 10000 }";

/// A daemon over so many people, its account there; `adapt` sees the directory and the command before the daemon does.
fn site(people: usize, more: &str, adapt: impl FnOnce(&Sim, &mut Command)) -> Site {
    let site = Site::of(
        Sim::builder().people(people).service("svc-rosterd", SECRET),
        &format!("{ALL_AT_ONCE}\n{more}"),
        adapt,
    );
    site.daemon.create_acme();
    site
}

/// The DN of somebody who is a user, and active.
fn somebody(site: &Site, number: usize) -> String {
    site.done("user list --status active")["users"][number]["directory"]["dn"]
        .as_str()
        .unwrap()
        .to_owned()
}
