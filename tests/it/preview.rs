//! Previews: what another configuration would change, and who the people of a directory are.

use rosterd::engine::{CheckOutcome, DryRun};
use rosterd::model::{ChangeVerb, Filter, ServerUrl, Status};

use crate::firm::{Firm, alice};

/// Plans the directory as if it had this filter.
async fn with_filter(firm: &Firm, filter: &str) -> DryRun {
    let directory = firm.engine.directory("corp").unwrap();
    let mut other = directory.config.clone();
    other.settings.filter = Some((filter.to_owned(), Filter::parse(filter).unwrap()));
    // A password never goes to a server of the sent configuration.
    other.settings.servers = vec![ServerUrl::parse("ldaps://192.0.2.1").unwrap()];
    firm.engine.preview(&directory, other, alice()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_what_another_filter_would_change_and_changes_nothing() {
    let firm = Firm::running(30, |_| {}).await;
    let dn = |user: rosterd::model::User| user.link.unwrap().dn.to_string();
    let contractors: Vec<String> = firm.users().await.into_iter().take(3).map(dn).collect();
    firm.sim.edit(|ad| {
        for dn in &contractors {
            ad.set(dn.as_str(), "employeeType", "contractor");
        }
    });
    let runs = firm.engine.store.runs(None, 100).await.unwrap().len();
    let events = firm.engine.store.event_count().await.unwrap();
    let DryRun { observed, planned } = with_filter(&firm, "(!(employeeType=contractor))").await;
    assert_eq!(observed.seen.failure, None);
    let suspended = |change: &rosterd::model::Change| change.kind.verb() == ChangeVerb::Suspend;
    let held = planned.verdict.held.iter().filter(|held| suspended(&held.change)).count();
    assert_eq!(held, 3, "{:?}", planned.warnings);

    assert_eq!(firm.engine.store.runs(None, 100).await.unwrap().len(), runs);
    assert_eq!(firm.engine.store.event_count().await.unwrap(), events);
    assert!(firm.users().await.iter().all(|user| user.status() == Status::Active));
    let left = std::fs::read_dir(firm.folder.path()).unwrap();
    let scratch = left
        .filter_map(Result::ok)
        .filter(|file| file.file_name().to_string_lossy().contains("scratch"));
    assert_eq!(scratch.count(), 0, "the copy is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_counts_people_by_tier_mail_domain_and_group() {
    let firm = Firm::of(20, |_| {}).await;
    firm.sim.edit(|ad| {
        let is_member = |guid: &uuid::Uuid| {
            ad.value(*guid, "memberOf").is_some_and(|group| group.contains("Roster"))
        };
        let dns: Vec<uuid::Uuid> = ad.people().into_iter().filter(is_member).collect();
        ad.clear(dns[0], "mail");
        ad.set(dns[1], "mail", "x@subsidiary.net");
        ad.set(dns[2], "mail", "twin@example.com");
        ad.set(dns[3], "mail", "twin@example.com");
    });
    let mut report = firm.engine.check_directory("corp").await.unwrap();
    firm.engine.check_people("corp", &mut report).await;
    let step = report.steps.last().unwrap();
    assert_eq!((step.name, step.outcome), ("people", CheckOutcome::Warning), "{step:?}");
    for part in [
        "21 people found",
        "in your groups (",
        "in no group",
        "1 without a mail address",
        "1 of domains that the account does not hold (subsidiary.net)",
        "2 share a mail address",
    ] {
        assert!(step.finding.contains(part), "{part}: {}", step.finding);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_group_or_base_is_answered_with_similar_names() {
    let firm = Firm::of(5, |config| {
        config.settings.groups[0].1 = rosterd::model::GroupName::parse("Roster Por");
    })
    .await;
    let report = firm.engine.check_directory("corp").await.unwrap();
    let step = report.steps.iter().find(|s| s.outcome == CheckOutcome::Failed).unwrap();
    let remedy = step.remedy.as_deref().unwrap();
    assert!(remedy.contains("did you mean Roster Pro"), "{step:?}");
}
