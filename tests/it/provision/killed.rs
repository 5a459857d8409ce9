//! The daemon as a process, killed between two requests to a target.

use nix::sys::signal::Signal;

use super::*;
use crate::folder::Directory;
use crate::process::Daemon;

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_at_each_request_takes_its_leaver_out_once() {
    let ad = adsim::Sim::builder().people(8).start().await.expect("a directory");
    let sim = Sim::start().await.expect("a target");
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    crate::folder::write_files(at, &ad.ca_pem(), &ad.service_password());
    crate::folder::write(&at.join("token"), &sim.token(), 0o600);
    let target = format!(
        "[[target]]\nname = \"app\"\naccount = \"acme\"\nurl = \"{}\"\ntoken-file = \"{}/token\"\nrate = \"1000/s\"\n",
        sim.url(),
        at.display()
    );
    let text = Directory::of(&ad, at).configuration(at, &target, "");
    std::fs::write(at.join("rosterd.toml"), text).expect("a file");
    let mut daemon = Daemon::start(at);
    daemon.import();
    let users = daemon.done("user list --status active");
    let users = users["users"].as_array().expect("users");
    until("each user has an account", async || (sim.users().len() == users.len()).then_some(()))
        .await;
    let (id, dn) = (&users[0]["id"], users[0]["directory"]["dn"].as_str().expect("a DN"));
    let account = |sim: &Sim| sim.users().into_iter().find(|account| account["externalId"] == *id);
    sim.fail(Fault::hang("PATCH", false).times(1));
    let before = sim.log().len();
    ad.edit(|ad| ad.disable(dn));
    daemon.ctl("sync corp");
    until("the deactivation is sent", async || {
        sim.log()[before..].iter().any(|request| request.method == "PATCH").then_some(())
    })
    .await;
    for number in 0..6 {
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        assert_eq!(account(&sim).expect("an account")["active"], json!(true), "{number}");
        sim.clear_faults();
        // Each start is killed one request later; a deactivation never has its effect.
        let before = sim.log().len();
        sim.fail(Fault::hang("PATCH", false));
        sim.fail(Fault::hang("", false).after(number).times(1));
        daemon = Daemon::start(at);
        until("a request hangs", async || {
            let log = sim.log();
            let is_late = log.len() > before + number as usize;
            (is_late || log[before..].iter().any(|r| r.method == "PATCH")).then_some(())
        })
        .await;
    }
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    sim.clear_faults();
    let before = sim.log().len();
    daemon = Daemon::start(at);
    until("the account is inactive", async || {
        (account(&sim)?["active"] == json!(false)).then_some(())
    })
    .await;
    until("nothing is left to do", async || {
        let target = &daemon.done("target list")["targets"][0];
        (target["pending"] == 0 && target["state"] == "ok").then_some(())
    })
    .await;
    let log = sim.log();
    let writes: Vec<_> = log[before..].iter().filter(|r| r.method != "GET").collect();
    assert_eq!(writes.len(), 1, "{writes:#?}");
    assert_eq!(sim.users().len(), users.len());
}
