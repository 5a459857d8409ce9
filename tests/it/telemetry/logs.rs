//! Logs: one line per event, no person above debug, and no secret.

use std::io;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adsim::{Fault, What, When};
use rosterd::config::Config;
use rosterd::daemon;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use super::{SECRET, active_dn, site};
use crate::firm::Firm;

/// Part of all names and addresses of people.
const MARKER: &str = "zzquux";

/// The log lines of this thread.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

/// Serialises tests, because tracing caches for all threads whether a line has a subscriber.
static LISTENING: Mutex<()> = Mutex::new(());

/// A second subscriber. With a single one, tracing asks only the thread that logs a line first, and
/// caches its "no" for all threads.
static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| {
    let silent =
        tracing_subscriber::fmt().with_writer(io::sink).with_max_level(tracing::Level::ERROR);
    tracing::Dispatch::new(silent.finish())
});

impl Lines {
    /// Captures lines of this level and above while the guard lives.
    pub(crate) fn of(level: tracing::Level) -> (Self, (DefaultGuard, MutexGuard<'static, ()>)) {
        let alone = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
        LazyLock::force(&SECOND);
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .with_max_level(level)
            .with_ansi(false)
            .without_time();
        let guard = tracing::subscriber::set_default(subscriber.finish());
        (lines, (guard, alone))
    }

    /// Returns the lines of rosterd since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .filter(|line| line.contains(" rosterd::"))
            .map(str::to_owned)
            .collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Gives a person recognisable names and addresses.
fn mark(ad: &mut adsim::Ad, person: uuid::Uuid, number: usize) {
    for attribute in ["displayName", "givenName", "sn"] {
        ad.set(person, attribute, &format!("{MARKER} {number}"));
    }
    ad.set(person, "mail", &format!("{MARKER}.{number}@example.com"));
    ad.set(person, "userPrincipalName", &format!("{MARKER}.{number}@corp.example.com"));
    ad.set_values(person, "proxyAddresses", [format!("SMTP:{MARKER}.{number}@example.com")]);
    ad.rename(person, &format!("{MARKER} {number}"));
}

#[test]
fn logs_name_no_person_above_debug_and_never_a_password() {
    let site = site(24, "", |sim, rosterd| {
        rosterd.env("ROSTERD_LOG", "trace");
        let people: Vec<_> = sim.look(|ad| {
            ad.people().into_iter().filter(|p| ad.value(*p, "mail").is_some()).collect()
        });
        sim.edit(|ad| {
            people.iter().enumerate().for_each(|(number, person)| mark(ad, *person, number))
        });
    });
    site.done("sync corp");
    assert!(site.done("user list --status active")["users"].as_array().unwrap().len() > 10);

    // A day with all kinds of events.
    let [disabled, deleted, contested, foreign, searched] =
        [0, 1, 2, 3, 4].map(|n| active_dn(&site, n));
    let address = site.done("user list --status active")["users"][5]["primary_email"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(address.contains(MARKER) && disabled.contains(MARKER), "{address} {disabled}");
    site.sim.edit(|ad| {
        ad.disable(disabled.as_str());
        ad.delete(deleted.as_str());
        ad.set(contested.as_str(), "mail", &address);
        ad.set(foreign.as_str(), "mail", &format!("{MARKER}@unclaimed.example"));
        ad.set(searched.as_str(), "mail", &format!("not an address {MARKER}"));
    });
    site.daemon.ctl("sync corp");
    site.sim.faults().push(Fault::new(When::page(1), What::Cut));
    site.daemon.ctl("sync corp");
    site.sim.faults().push(Fault::new(
        When::search().containing("objectcategory=person"),
        What::result(1, format!("at {disabled}")),
    ));
    site.daemon.ctl("sync corp");
    site.sim.edit(|ad| ad.hide_subtree("Staff"));
    site.daemon.ctl("sync corp");
    site.sim.edit(|ad| ad.show_subtree("Staff"));
    site.done(&format!("user show {address}"));
    site.done(&format!("user suspend {address} --reason {MARKER}"));
    site.daemon.ctl(&format!("user sync {address}"));
    site.daemon.ctl("user show nobody@example.com");
    site.runtime.block_on(site.sim.crash()).unwrap();
    site.daemon.ctl("sync corp");

    let log = site.daemon.log();
    let is_loud = |line: &&str| {
        ["ERROR", "WARN", "INFO"].iter().any(|level| line.split_whitespace().nth(1) == Some(level))
    };
    let loud: Vec<&str> = log.lines().filter(is_loud).collect();
    assert!(loud.len() > 5 && log.lines().count() > 10 * loud.len(), "{loud:#?}");
    let told: Vec<&&str> =
        loud.iter().filter(|line| line.to_lowercase().contains(MARKER)).collect();
    assert!(told.is_empty(), "{told:#?}");
    assert!(log.contains(MARKER), "debug lines name people, so the marker works");
    assert!(!log.contains(SECRET), "the password");
    assert!(
        !log.contains(&format!("{:?}", SECRET.as_bytes()).replace(['[', ']'], "")),
        "the password, as bytes"
    );
}

#[test]
fn the_debug_output_of_the_settings_has_no_secret() {
    let site = site(1, "", |_, _| {});
    let config = Config::load(&site.folder.path().join("rosterd.toml")).unwrap();
    let setup = daemon::setup(&config);
    let dumps = format!("{config:?} {setup:?} {:?}", setup.directories[0].settings);
    assert!(dumps.contains("svc-rosterd"), "something is shown: {dumps}");
    assert!(!dumps.contains(SECRET), "{dumps}");
}

/// Returns the lines of an import and of a run after a fifth of the people were disabled.
async fn day(people: usize) -> Vec<String> {
    let (lines, _guard) = Lines::of(tracing::Level::INFO);
    let unlimited = rosterd::reconcile::Limit { percent: 100, at_least: 10_000, at_most: None };
    let firm =
        Firm::of(people, |c| c.limits.classes.values_mut().for_each(|limit| *limit = unlimited))
            .await;
    assert!(firm.sync().await.counts.create > people as u64 / 2);
    let users = firm.users().await;
    firm.sim.edit(|ad| {
        users.iter().step_by(5).for_each(|user| ad.disable(user.link.as_ref().unwrap().dn.as_str()))
    });
    assert_eq!(firm.sync().await.counts.suspend, users.len().div_ceil(5) as u64);
    lines.take()
}

#[tokio::test]
async fn a_run_is_one_line_with_its_id_and_directory() {
    let small = day(10).await;
    let large = day(500).await;
    for (what, lines) in [("10 people", &small), ("500 people", &large)] {
        assert_eq!(lines.len(), 2, "{what}: {lines:#?}");
        for line in lines {
            assert!(
                line.contains("run{run_id=")
                    && line.contains("directory=\"corp\"")
                    && line.contains("trigger=\"manual\""),
                "{line}"
            );
            assert!(
                line.contains(": corp: full run (manual): "),
                "readable without its fields: {line}"
            );
        }
        assert!(lines[0].contains(" created") && lines[1].contains(" suspended"), "{lines:#?}");
    }
}

#[tokio::test]
async fn every_line_of_a_run_has_its_id() {
    let firm = Firm::of(10, |_| {}).await;
    let (lines, _guard) = Lines::of(tracing::Level::DEBUG);
    firm.sim.faults().push(Fault::new(When::page(1), What::Cut));
    let run = firm.sync().await;
    let said = lines.take();
    let deep: Vec<_> = said.iter().filter(|line| line.contains("rosterd::directory")).collect();
    assert!(!deep.is_empty(), "{said:#?}");
    assert!(deep.iter().all(|line| line.contains(&run.id.to_string())), "{deep:#?}");
}

#[tokio::test]
async fn an_outage_of_a_directory_and_its_end_are_logged_once_each() {
    let firm = Firm::of(10, |_| {}).await;
    let (lines, _guard) = Lines::of(tracing::Level::INFO);
    firm.sync().await;
    lines.take();
    firm.sim.crash().await.unwrap();
    for _ in 0..5 {
        firm.sync().await;
    }
    let down = lines.take();
    assert_eq!(down.len(), 1, "{down:#?}");
    assert!(
        down[0].contains("WARN")
            && down[0].contains("corp: the run failed: no server of this directory can be used"),
        "{down:#?}"
    );

    firm.clock.advance(Duration::from_hours(1));
    firm.sync().await;
    let still = lines.take();
    assert!(still.len() == 1 && still[0].contains("(6 runs have failed in 1h"), "{still:#?}");

    firm.sim.restart().await.unwrap();
    firm.later(Duration::ZERO);
    firm.sync().await;
    let back = lines.take();
    assert!(
        back.len() == 2
            && back[0].contains("corp: the directory can be read again, after 6 failed runs"),
        "{back:#?}"
    );
    firm.sync().await;
    assert_eq!(lines.take().len(), 1);
}

#[tokio::test]
async fn a_failover_to_another_server_is_logged_once() {
    let firm = Firm::of(10, |_| {}).await;
    let other = firm.sim.replica("DC2").unwrap();
    firm.reconfigure(|c| {
        c.settings.servers.push(rosterd::model::ServerUrl::parse(&other.ldaps_url()).unwrap())
    });
    firm.sync().await;
    let (lines, _guard) = Lines::of(tracing::Level::INFO);
    firm.sim.crash().await.unwrap();
    firm.sync().await;
    firm.sync().await;
    let said = lines.take();
    let failover: Vec<_> = said.iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(failover.len(), 1, "{said:#?}");
    assert!(failover[0].contains(&format!("using {} instead", other.ldaps_url())), "{said:#?}");
}
