//! Events for directories without a successful run for too long.

use std::time::Duration;

use rosterd::store::EventFilter;

use crate::firm::Firm;

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_directory_is_reported_once_for_each_period() {
    let firm = Firm::running(20, |config| config.stale_after = Duration::from_hours(6)).await;
    let told = async || {
        firm.engine.send_reminders().await.unwrap();
        let filter = EventFilter {
            kinds: vec!["directory.stale".into()],
            limit: 10,
            ..EventFilter::default()
        };
        firm.engine.store.events(&filter).await.unwrap()
    };
    firm.later(Duration::from_hours(5));
    assert!(told().await.is_empty());
    firm.later(Duration::from_hours(2));
    let events = told().await;
    let document = &events[0].document;
    assert_eq!(
        (events.len(), document["subject"].as_str(), &document["data"]["after"]["stale_after"]),
        (1, Some("corp"), &"6h".into())
    );
    assert!(document["data"]["after"]["last_complete_read"].is_string());
    firm.later(Duration::from_hours(20));
    assert_eq!(told().await.len(), 1, "it still is");
    firm.sync().await;
    assert_eq!(told().await.len(), 1);
    firm.later(Duration::from_hours(7));
    assert_eq!(told().await.len(), 2, "it is again");
}
