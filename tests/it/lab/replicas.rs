//! Two domain controllers, of which one has not heard of the changes on the other.

use rosterd::model::Reason;

use super::sites::{on_two_controllers, person};

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_server_that_knows_more_suspends_at_once() {
    on_two_controllers(async |sites| {
        sites.dc2.disable(&person("p0040"));
        sites.dc2.delete(&person("p0041"));
        sites.sync().await;
        assert_eq!(sites.reasons(["p0040", "p0041"]).await, [None, None], "dc1 has not heard");
        sites.dc1.samba("crash", &[]);
        sites.sync().await;
        assert_eq!(
            sites.reasons(["p0040", "p0041"]).await,
            [Some(Reason::Disabled), Some(Reason::Deleted)]
        );
    });
}
