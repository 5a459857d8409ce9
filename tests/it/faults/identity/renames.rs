//! Directories that get another name, are split or are merged.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_under_another_name_takes_its_people_over_and_leavers_leave() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    see_tombstones(&firm).await;
    let users = firm.users().await;
    let active = firm.active().await;
    let mut renamed = firm.engine.directory("corp").unwrap().config.clone();
    renamed.name = name("corp2");
    configure(&firm, vec![renamed]);
    firm.sim.edit(|ad| {
        ad.disable(guid_of(&users[0]));
        ad.delete(guid_of(&users[1]));
        ad.set(guid_of(&users[2]), "title", "Chief");
    });
    let run = sync(&firm, "corp2").await;
    assert_eq!((run.error.as_deref(), run.held, run.dropped), (None, 0, 0), "{run:?}");
    let reasons = [again(&firm, &users[0]).await, again(&firm, &users[1]).await]
        .map(|u| u.causes.weightiest().map(|c| c.reason));
    assert_eq!(reasons, [Some(Reason::Disabled), Some(Reason::Deleted)]);
    assert_eq!(again(&firm, &users[2]).await.profile.title.as_deref(), Some("Chief"));
    assert_eq!(firm.active().await, active - 2, "no other user is suspended");
    assert!(firm.users().await.iter().all(|u| directory_of(u) == "corp2"));
    assert_eq!(sync(&firm, "corp2").await.counts.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_directory_reactivates_its_people_when_their_domain_is_claimed_again() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let users = firm.users().await;
    let mut renamed = firm.engine.directory("corp").unwrap().config.clone();
    renamed.name = name("corp2");
    configure(&firm, vec![renamed]);
    firm.sim.edit(|ad| ad.disable(dn_of(&users[0]).as_str()));
    sync(&firm, "corp2").await;
    assert_eq!(again(&firm, &users[0]).await.status(), Status::Suspended);
    firm.engine.release("example.com", Some("acme"), &alice()).await.expect("a release");
    firm.engine.claim("acme", "example.com", &alice()).await.expect("a claim");
    approve_held(&firm, "corp2").await;
    assert_eq!(
        again(&firm, &users[0]).await.status(),
        Status::Suspended,
        "a leaver does not come back with the domain"
    );
    assert!(firm.active().await > 40, "the others do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_split_into_three_and_merged_again_loses_no_leaver() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    see_tombstones(&firm).await;
    let root = firm.sim.root_dn();
    let corp = firm.engine.directory("corp").unwrap().config.clone();
    let active = firm.active().await;
    let in_ou = |users: &[User], ou: &str| {
        users
            .iter()
            .filter(|u| dn_of(u).contains(ou) && u.status() == Status::Active)
            .cloned()
            .collect::<Vec<_>>()
    };
    let ous = ["Engineering", "Sales", "Operations", "Finance", "Support"];
    let present: Vec<&str> = ous
        .into_iter()
        .filter(|ou| {
            firm.sim.look(|ad| ad.people().iter().any(|p| ad.dn(*p).contains(&format!("OU={ou},"))))
        })
        .collect();
    assert!(present.len() >= 3, "{present:?}");
    // The split: a leaver of each part, one of whom has also moved.
    let users = firm.users().await;
    let leavers: Vec<User> =
        present.iter().map(|ou| in_ou(&users, &format!("OU={ou},")).remove(0)).collect();
    firm.sim.edit(|ad| {
        for (n, leaver) in leavers.iter().enumerate() {
            if n % 2 == 0 { ad.disable(guid_of(leaver)) } else { ad.delete(guid_of(leaver)) }
        }
    });
    configure(
        &firm,
        vec![
            over(&corp, "one", &present[..1], &root),
            over(&corp, "two", &present[1..2], &root),
            over(&corp, "three", &present[2..], &root),
        ],
    );
    for of in ["one", "two", "three"] {
        approve_held(&firm, of).await;
    }
    for leaver in &leavers {
        assert_eq!(again(&firm, leaver).await.status(), Status::Suspended, "{}", dn_of(leaver));
    }
    let outside = users
        .iter()
        .filter(|u| !present.iter().any(|ou| dn_of(u).contains(&format!("OU={ou},"))))
        .count();
    assert_eq!(firm.active().await, active - leavers.len(), "no other user ({outside} elsewhere)");
    // The merge: a leaver of each former directory.
    let users = firm.users().await;
    let leavers: Vec<User> =
        present.iter().map(|ou| in_ou(&users, &format!("OU={ou},")).remove(0)).collect();
    firm.sim.edit(|ad| leavers.iter().for_each(|leaver| ad.disable(guid_of(leaver))));
    let before = firm.active().await;
    configure(&firm, vec![over(&corp, "one", &present, &root)]);
    approve_held(&firm, "one").await;
    for leaver in &leavers {
        assert_eq!(again(&firm, leaver).await.status(), Status::Suspended, "{}", dn_of(leaver));
    }
    assert_eq!(firm.active().await, before - leavers.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_with_rename_from_continues_where_the_old_one_ended() {
    for configured in [true, false] {
        let firm = followed(40, |_| {}).await;
        let users = firm.users().await;
        let mail = users[1].addresses.primary.clone().expect("an address");
        firm.reconfigure(|c| c.protect = vec![mail.clone()]);
        firm.sync().await;
        let corp = firm.engine.directory("corp").expect("corp").config.clone();
        let mut renamed = corp.clone();
        renamed.name = name("berlin");
        renamed.rename_from = configured.then(|| name("corp"));
        let refused =
            firm.engine.rename_directory("corp", "berlin", &alice()).await.unwrap_err().to_string();
        assert!(refused.contains("still configured"), "{refused}");
        configure(&firm, vec![renamed]);
        if !configured {
            let unknown = firm
                .engine
                .rename_directory("corp", "paris", &alice())
                .await
                .unwrap_err()
                .to_string();
            assert!(unknown.contains("no directory paris is configured"), "{unknown}");
            firm.engine.rename_directory("corp", "berlin", &alice()).await.expect("a rename");
        }
        firm.sim.edit(|ad| {
            ad.disable(guid_of(&users[0]));
            ad.disable(guid_of(&users[1]));
        });
        let run = tick_of(&firm, "berlin").await;
        // With `rename-from` the first request precedes the run that renames. The next one finds
        // the checkpoint.
        let run = if configured {
            tick_of(&firm, "berlin").await.error.map_or(run, |error| panic!("{error}"))
        } else {
            run
        };
        assert_eq!(
            (run.error.as_deref(), run.counts.suspend, run.counts.link, run.held),
            (None, 1, 0, 1),
            "{run:?}"
        );
        assert_eq!(again(&firm, &users[0]).await.status(), Status::Suspended);
        assert_eq!(again(&firm, &users[1]).await.status(), Status::Active, "still protected");
        let events = firm.events("directory.renamed").await;
        assert_eq!(events.len(), 1, "{events:?}");
        let twice =
            firm.engine.rename_directory("corp", "berlin", &alice()).await.unwrap_err().to_string();
        assert_eq!(twice, "there is no directory \"corp\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_people_of_its_own_does_not_become_another() {
    let firm = two_offices().await;
    let emea = firm.engine.directory("emea").expect("emea").config.clone();
    configure(&firm, vec![emea]);
    let refused =
        firm.engine.rename_directory("corp", "emea", &alice()).await.unwrap_err().to_string();
    assert!(refused.contains("has people of its own already"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_removed_directory_fail_no_run_of_another_domain() {
    let firm = Firm::of(40, |c| c.limits.grace_period = Duration::ZERO).await;
    let london = Sim::builder()
        .seed(77)
        .people(20)
        .domain("emea.example.com")
        .mail_domain("example.net")
        .start()
        .await
        .expect("another domain");
    let folder = tempfile::tempdir().expect("a folder");
    let corp = firm.engine.directory("corp").expect("corp").config.clone();
    let mut emea = config(&london, folder.path());
    emea.name = name("emea");
    emea.limits.grace_period = Duration::ZERO;
    let mut rules = firm.engine.configured().rules.clone();
    rules.trusted.insert(Domain::parse("example.net").expect("a domain"));
    firm.engine.reconfigure(vec![corp.clone(), emea], rules);
    firm.engine.claim("acme", "example.net", &alice()).await.expect("a claim");
    approve_held(&firm, "corp").await;
    approve_held(&firm, "emea").await;
    let left = of_directory(&firm, "emea").await.len();
    assert!(left > 5, "{left}");
    configure(&firm, vec![corp]);
    let users = of_directory(&firm, "corp").await;
    firm.sim.edit(|ad| ad.set(guid_of(&users[0]), "title", "Chief"));
    let run = sync(&firm, "corp").await;
    // No server of the previous domain answers, which suspends no user.
    assert_eq!(
        (run.error.as_deref(), run.complete, run.counts.suspend, run.held),
        (None, true, 0, 0),
        "{run:?}"
    );
    assert_eq!(again(&firm, &users[0]).await.profile.title.as_deref(), Some("Chief"));
    assert_eq!(of_directory(&firm, "emea").await.len(), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_follows_its_users_to_a_directory_of_another_name() {
    for named in [false, true] {
        let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
        see_tombstones(&firm).await;
        let leavers: Vec<User> = firm
            .users()
            .await
            .into_iter()
            .filter(|u| u.status() == Status::Active)
            .step_by(3)
            .collect();
        firm.sim.edit(|ad| leavers.iter().for_each(|leaver| ad.delete(guid_of(leaver))));
        let held = sync(&firm, "corp").await.held;
        assert!(held > 5, "{held}");
        let plan = firm.engine.store.plans(false).await.expect("plans").remove(0);
        firm.engine.reject(plan.id, "a mistake of HR", &alice()).await.expect("a rejection");
        let mut renamed = firm.engine.directory("corp").expect("corp").config.clone();
        renamed.name = name("berlin");
        configure(&firm, vec![renamed]);
        assert_eq!(sync(&firm, "berlin").await.counts.suspend, 0, "rejected by an operator");
        let berlin = firm.engine.directory("berlin").expect("berlin");
        let attention = firm.engine.directory_status(&berlin).await.expect("the status").attention;
        assert!(attention.iter().any(|a| a.contains("were rejected")), "{attention:?}");
        if named {
            let which = Selection {
                causes: Vec::new(),
                people: vec![leavers[0].id.to_string()],
                digest: None,
            };
            let approval = firm
                .engine
                .approve_part(plan.id, &which, "", alice().into())
                .await
                .expect("an approval");
            assert_eq!(
                (
                    approval.run.directory.as_ref().map_or("", |name| name.as_str()),
                    approval.run.counts.suspend
                ),
                ("berlin", 1),
                "{:?}",
                approval.run
            );
        } else {
            let open = firm
                .engine
                .reopen(plan.id, "they did leave", &alice())
                .await
                .expect("a plan that is held again");
            assert_eq!(
                (open.directory.as_str(), open.state, open.count),
                ("berlin", PlanState::Open, held)
            );
            let run = firm.engine.approve(open.id, alice()).await.expect("an approval").run;
            assert_eq!((run.error.as_deref(), run.counts.suspend), (None, held), "{run:?}");
            assert!(firm.engine.store.plans(false).await.expect("plans").is_empty());
        }
        assert_eq!(again(&firm, &leavers[0]).await.status(), Status::Suspended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_person_with_a_new_address_stays_protected_in_a_renamed_section() {
    let firm = followed(40, |_| {}).await;
    let user = firm.users().await.remove(1);
    let mail = user.addresses.primary.clone().expect("an address");
    firm.reconfigure(|c| c.protect = vec![mail]);
    firm.sync().await;
    firm.sim.edit(|ad| ad.set(guid_of(&user), "mail", "chair@example.com"));
    firm.sync().await;
    let mut renamed = firm.engine.directory("corp").expect("corp").config.clone();
    renamed.name = name("berlin");
    configure(&firm, vec![renamed]);
    firm.sim.edit(|ad| ad.disable(guid_of(&user)));
    let run = sync(&firm, "berlin").await;
    assert_eq!((run.error.as_deref(), run.counts.suspend, run.held), (None, 0, 1), "{run:?}");
    assert_eq!(again(&firm, &user).await.status(), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_event_that_is_held_stays_one_event_in_a_section_of_another_name() {
    for leaves_groups in [true, false] {
        let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
        let root = firm.sim.root_dn();
        let corp = firm.engine.directory("corp").expect("corp").config.clone();
        let ous = ["Engineering", "Sales", "Operations", "Finance", "Support"];
        configure(&firm, vec![over(&corp, "corp", &ous, &root)]);
        approve_held(&firm, "corp").await;
        let chosen: Vec<User> = of_directory(&firm, "corp").await.into_iter().take(12).collect();
        firm.sim.edit(|ad| {
            ad.add_ou("", "Elsewhere");
            for user in &chosen {
                if leaves_groups {
                    for group in [names::PRO, names::PRO_NESTED, names::BASIC] {
                        ad.remove_member(group, guid_of(user));
                    }
                } else {
                    ad.move_to(guid_of(user), "Elsewhere");
                }
            }
        });
        let held = sync(&firm, "corp").await;
        assert_eq!((held.counts.suspend, held.held), (0, 12), "{held:?}");
        configure(&firm, vec![over(&corp, "berlin", &ous, &root)]);
        for _ in 0..3 {
            let run = sync(&firm, "berlin").await;
            assert_eq!(
                (run.error.as_deref(), run.counts.suspend, run.held),
                (None, 0, 12),
                "{run:?}"
            );
        }
        let plan = firm.engine.store.plans(false).await.expect("plans").remove(0);
        let summary = firm.engine.store.plan_summary(plan.id).await.expect("its summary");
        assert!(summary.iter().all(|line| line.cluster.is_some()), "{summary:?}");
        approve_held(&firm, "berlin").await;
        assert_eq!(again(&firm, &chosen[0]).await.status(), Status::Suspended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_that_waits_for_approval_waits_in_a_section_of_another_name() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let user = of_directory(&firm, "corp").await.remove(0);
    firm.engine.rebaseline("corp", &alice()).await.expect("a baseline");
    let mut renamed = firm.engine.directory("corp").expect("corp").config.clone();
    renamed.name = name("berlin");
    configure(&firm, vec![renamed]);
    firm.sim.edit(|ad| ad.set(guid_of(&user), "title", "Chief"));
    let run = sync(&firm, "berlin").await;
    assert_eq!((run.error.as_deref(), run.counts.total()), (None, 0), "{run:?}");
    assert!(run.warnings.iter().any(|w| w.contains("changes wait for your approval")), "{run:?}");
    approve_held(&firm, "berlin").await;
    assert_eq!(again(&firm, &user).await.profile.title.as_deref(), Some("Chief"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_plan_keeps_its_id_when_its_directory_is_renamed() {
    let firm = Firm::running(40, |c| c.limits.grace_period = Duration::ZERO).await;
    let user = of_directory(&firm, "corp").await.remove(0);
    let mail = user.addresses.primary.clone().expect("an address");
    firm.reconfigure(|c| c.protect = vec![mail]);
    firm.sim.edit(|ad| ad.disable(guid_of(&user)));
    assert_eq!(firm.sync().await.held, 1);
    let plan = held_plan(&firm).await;
    let mut renamed = firm.engine.directory("corp").expect("corp").config.clone();
    renamed.name = name("berlin");
    configure(&firm, vec![renamed]);
    firm.engine.rename_directory("corp", "berlin", &alice()).await.expect("a rename");
    let after = held_plan(&firm).await;
    assert_eq!((after.id, after.directory.as_str()), (plan.id, "berlin"));
    assert_eq!(sync(&firm, "berlin").await.held, 1);
    firm.engine.approve(plan.id, alice()).await.expect("an approval");
    assert_eq!(again(&firm, &user).await.status(), Status::Suspended);
}

/// Configures the directory under another name, without a run.
fn rename(firm: &Firm, from: &str, to: &str) {
    let mut renamed = firm.engine.directory(from).expect("a directory").config.clone();
    renamed.name = name(to);
    configure(firm, vec![renamed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebaseline_of_a_directory_that_was_never_read_lets_its_first_run_only_plan() {
    let firm = Firm::running(20, |_| {}).await;
    rename(&firm, "corp", "berlin");
    firm.engine.rebaseline("berlin", &alice()).await.expect("a rebaseline");
    let run = sync(&firm, "berlin").await;
    assert_eq!((run.counts.total(), run.held), (0, firm.active().await as u64), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_moves_keeps_no_grace_period_in_a_section_between() {
    let firm = Firm::running(20, |c| {
        let base = c.settings.bases[0].clone();
        let root = &base[base.find("DC=").expect("a suffix")..];
        c.settings.bases = vec![format!("OU=Staff,{root}")];
    })
    .await;
    let user = of_directory(&firm, "corp").await.remove(0);
    let root = firm.sim.root_dn();
    firm.sim.edit(|ad| {
        let elsewhere = ad.add_ou(root.as_str(), "Elsewhere");
        ad.move_to(guid_of(&user), elsewhere);
    });
    rename(&firm, "corp", "berlin");
    firm.engine.rebaseline("berlin", &alice()).await.expect("a rebaseline");
    sync(&firm, "berlin").await;
    let periods = async |of| firm.engine.store.grace_periods(&name(of)).await.expect("periods");
    assert_eq!(periods("berlin").await.len(), 1, "the plan of berlin has begun one");
    rename(&firm, "berlin", "paris");
    approve_held(&firm, "paris").await;
    assert_eq!(directory_of(&again(&firm, &user).await), "paris");
    assert_eq!(periods("berlin").await, []);
    assert_eq!(firm.engine.store.plans(false).await.expect("plans").len(), 0, "no plan is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_is_suspended_although_the_move_of_its_user_was_rejected() {
    for deleted in [false, true] {
        let firm = followed(20, |_| {}).await;
        let user = of_directory(&firm, "corp").await.remove(0);
        rename(&firm, "corp", "berlin");
        firm.engine.rebaseline("berlin", &alice()).await.expect("a rebaseline");
        sync(&firm, "berlin").await;
        let plan = held_plan(&firm).await;
        firm.engine.reject(plan.id, "", &alice()).await.expect("a rejection");
        firm.sim.edit(|ad| {
            if deleted {
                ad.delete(guid_of(&user));
            } else {
                ad.disable(guid_of(&user));
            }
        });
        let tick = tick_of(&firm, "berlin").await;
        let after_tick = again(&firm, &user).await.status();
        let full = sync(&firm, "berlin").await;
        let after_full = again(&firm, &user).await.status();
        assert_eq!(
            (after_tick, after_full),
            (Status::Suspended, Status::Suspended),
            "deleted: {deleted}: {tick:?} {full:?}"
        );
    }
}
