//! A read-only domain controller, as branch offices have one.

use rosterd::model::ServerUrl;

use super::controller::{script, text};
use super::sites::{Sites, on_two_controllers, person};

const DC1: &str = "ldaps://10.77.0.11";
const RODC: &str = "ldaps://10.77.0.13";

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_read_only_controller_is_named_and_a_writable_one_serves() {
    on_two_controllers(async |sites: Sites| {
        sites.replication("on");
        let joined = script("replicas").arg("join-rodc").arg(&sites.dc1.dir).output();
        text(joined.expect("tests/lab/replicas"), "join-rodc");
        let rodc = ServerUrl::parse(RODC).expect("a URL");
        sites.reconfigure(|config| config.settings.servers.insert(0, rodc));
        sites.dc1.disable(&person("p0030"));
        let run = sites.sync().await;
        assert_eq!((run.server.as_deref(), run.counts.suspend), (Some(DC1), 1), "{run:?}");
        sites.engine.look_at_servers().await;
        let directory = sites.engine.directory("corp").expect("corp");
        let status = sites.engine.directory_status(&directory).await.expect("a status");
        let server = status.servers.iter().find(|server| server.url == RODC).expect("rodc1");
        assert_eq!((server.writable, server.in_use), (Some(false), false));
        let found = sites.engine.check_directory("corp").await.expect("a check");
        let of_rodc: Vec<_> =
            found.steps.iter().filter(|step| step.server.as_deref() == Some(RODC)).collect();
        let last = of_rodc.last().expect("a step");
        assert_eq!(last.name, "identity", "no bind follows: {found:?}");
        assert!(last.finding.contains("is a read-only domain controller"), "{}", last.finding);
        assert!(of_rodc.iter().all(|step| step.name != "bind"), "{found:?}");
    });
}
