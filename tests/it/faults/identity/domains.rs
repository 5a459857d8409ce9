//! Two domains that feed one account: moves within a forest, and migrations between forests.

use std::time::Instant;

use super::*;

/// Company `firm` reads the domain of `corp`, and a second one as `emea`.
pub(super) struct Estate {
    pub(super) firm: Firm,
    pub(super) emea: Sim,
    _folder: tempfile::TempDir,
}

/// The names by which an entry leaves its domain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Leaving {
    /// Without a trace.
    Nowhere,
    /// As a deleted object.
    Tombstone,
}

impl Estate {
    pub(super) async fn open() -> Self {
        let firm = Firm::of(20, |c| {
            c.full = no_full_runs();
            c.limits.grace_period = Duration::ZERO;
        })
        .await;
        let emea = Sim::builder()
            .seed(77)
            .people(10)
            .domain("emea.example.com")
            .mail_domain("example.net")
            .start()
            .await
            .expect("another domain");
        let folder = tempfile::tempdir().expect("a folder");
        let corp = firm.engine.directory("corp").expect("corp").config.clone();
        let mut second = config(&emea, folder.path());
        second.name = name("emea");
        second.full = no_full_runs();
        second.limits.grace_period = Duration::ZERO;
        let mut rules = firm.engine.configured().rules.clone();
        rules.trusted.insert(Domain::parse("example.net").expect("a domain"));
        firm.engine.reconfigure(vec![corp, second], rules);
        firm.engine.claim("acme", "example.net", &alice()).await.expect("a claim");
        // Names that are unique over the domains, because people move.
        let service = emea.service_dn();
        emea.edit(|ad| {
            let service = ad.guid(service.as_str());
            let people = ad.people().into_iter().filter(|who| *who != service);
            for (n, who) in people.collect::<Vec<_>>().into_iter().enumerate() {
                ad.set(who, "sAMAccountName", &format!("emea{n}"));
                ad.rename(who, &format!("Emea {n}"));
            }
        });
        for sim in [&firm.sim, &emea] {
            sim.edit(|ad| {
                ad.show_tombstones(true);
                ad.add_person(NewPerson::new("nobody").ou(names::STAFF));
                ad.delete("nobody");
            });
        }
        let estate = Self { firm, emea, _folder: folder };
        for of in ["corp", "emea"] {
            approve_held(&estate.firm, of).await;
        }
        estate
    }

    async fn mover(&self) -> User {
        of_directory(&self.firm, "corp").await.remove(0)
    }

    /// Moves the entry from the domain of `corp` to the other one, into its group, and edits it there.
    fn moves(&self, user: &User, how: Leaving, edit: impl FnOnce(&mut adsim::Ad, uuid::Uuid)) {
        let guid = guid_of(user);
        let migrant = self
            .firm
            .sim
            .edit(|ad| if how == Leaving::Nowhere { ad.emigrate(guid) } else { ad.exile(guid) });
        self.emea.edit(|ad| {
            ad.immigrate(migrant, "Sales");
            ad.add_member(names::BASIC, guid);
            edit(ad, guid);
        });
    }

    /// Has a directory use a server that gets no more changes, beside the one that does.
    async fn server_behind(&self, domain: &Sim, of: &str) -> Sim {
        let behind = domain.lagging_replica("behind").expect("a replica");
        for servers in [&[&behind][..], &[&behind, domain]] {
            self.serve(of, servers);
            let run = sync(&self.firm, of).await;
            assert_eq!((run.error, run.server), (None, Some(behind.ldaps_url())));
        }
        behind
    }

    /// Configures the servers of a directory.
    fn serve(&self, of: &str, servers: &[&Sim]) {
        let was = self.firm.engine.configured();
        let mut directories: Vec<DirectoryConfig> =
            was.directories.values().map(|d| d.config.clone()).collect();
        let config = directories.iter_mut().find(|d| d.name.as_str() == of).expect("a section");
        let url = |sim: &&Sim| ServerUrl::parse(&sim.ldaps_url()).expect("a URL");
        config.settings.servers = servers.iter().map(url).collect();
        configure(&self.firm, directories);
    }

    /// Lets time pass, so that servers that did not answer are asked again.
    pub(super) fn later(&self, by: Duration) {
        self.firm.later(by);
        let ahead = self.firm.clock.now().0 - rosterd::clock::Clock::system().now().0;
        self.emea.set_clock_skew(ahead / 1_000_000);
    }

    async fn attention(&self, of: &str) -> Vec<String> {
        let directory = self.firm.engine.directory(of).expect("a directory");
        self.firm.engine.directory_status(&directory).await.expect("a status").attention
    }

    async fn unseen(&self) -> usize {
        let query = rosterd::engine::UserQuery { unseen: true, limit: 10, ..Default::default() };
        self.firm.engine.list_users(query).await.expect("users").users.len()
    }
}

fn causes(user: &User) -> Vec<Reason> {
    user.causes.iter().map(|cause| cause.reason).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_moves_with_its_entry_to_another_domain() {
    for how in [Leaving::Nowhere, Leaving::Tombstone] {
        for order in [["corp", "emea"], ["emea", "corp"]] {
            let estate = Estate::open().await;
            let user = estate.mover().await;
            estate.moves(&user, how, |_, _| {});
            for of in order {
                let run = tick_of(&estate.firm, of).await;
                assert_eq!(
                    (run.error.as_deref(), run.counts.suspend, run.counts.create, run.held),
                    (None, 0, 0, 0),
                    "{how:?}, {order:?}: {run:?}"
                );
            }
            let now = again(&estate.firm, &user).await;
            assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{how:?}");
            assert_eq!(now.addresses.primary, user.addresses.primary);
            estate.emea.edit(|ad| ad.disable(guid_of(&user)));
            tick_of(&estate.firm, "emea").await;
            assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Disabled]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_moves_and_gets_another_address_keeps_its_id() {
    for order in [["corp", "emea"], ["emea", "corp"]] {
        let estate = Estate::open().await;
        let user = estate.mover().await;
        estate.moves(&user, Leaving::Nowhere, |ad, who| {
            ad.set(who, "mail", "new.name@example.net");
            ad.clear(who, "proxyAddresses");
        });
        for of in order {
            let run = tick_of(&estate.firm, of).await;
            assert_eq!((run.counts.create, run.dropped, run.held), (0, 0, 0), "{run:?}");
        }
        let now = estate.firm.user("new.name@example.net").await;
        assert_eq!((now.id, now.status(), directory_of(&now)), (user.id, Status::Active, "emea"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_has_moved_is_no_attention_of_its_former_directory() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    let people = [user.link.as_ref().expect("a link").guid].into();
    let long_ago = estate.firm.clock.now().minus(Duration::from_hours(24));
    let (store, corp) = (&estate.firm.engine.store, name("corp"));
    store.mark_people(&corp, Mark::Behind, &people, |_| false, long_ago).await.expect("a mark");
    let is_told =
        async || estate.attention("corp").await.iter().any(|a| a.contains("has not heard"));
    assert!(is_told().await);
    estate.moves(&user, Leaving::Nowhere, |_, _| {});
    tick_of(&estate.firm, "emea").await;
    assert_eq!(directory_of(&again(&estate.firm, &user).await), "emea");
    assert!(!is_told().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_has_the_tier_of_the_groups_of_the_new_domain() {
    let estate = Estate::open().await;
    let pro = of_directory(&estate.firm, "corp").await.into_iter().find(|u| u.tier == Tier::Pro);
    let user = pro.expect("a user with the tier Pro");
    estate.moves(&user, Leaving::Nowhere, |_, _| {});
    let run = tick_of(&estate.firm, "emea").await;
    assert_eq!(again(&estate.firm, &user).await.tier, Tier::Basic, "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_moves_and_is_disabled_at_once_is_suspended_in_any_order() {
    for order in [["corp", "emea"], ["emea", "corp"]] {
        let estate = Estate::open().await;
        let user = estate.mover().await;
        estate.moves(&user, Leaving::Tombstone, |ad, who| ad.disable(who));
        for of in order {
            tick_of(&estate.firm, of).await;
        }
        let now = again(&estate.firm, &user).await;
        assert_eq!((causes(&now), directory_of(&now)), (vec![Reason::Disabled], "emea"));
    }
}

/// Deletes an entry, as the domain controller `emea` writes it at this time.
fn delete_at(ad: &mut adsim::Ad, who: uuid::Uuid, at: Timestamp) {
    ad.delete(who);
    let write = written(AttributeId::IS_DELETED, uuid::Uuid::from_u128(7), 500, at);
    ad.set_values(who, "replPropertyMetaData", [write]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_who_is_deleted_before_a_run_of_the_new_domain_is_suspended() {
    for order in [&["corp"][..], &["emea", "corp"]] {
        let estate = Estate::open().await;
        let user = estate.mover().await;
        estate.later(Duration::from_mins(10));
        let now = estate.firm.clock.now();
        estate.moves(&user, Leaving::Nowhere, |ad, who| delete_at(ad, who, now));
        for of in order {
            let run = tick_of(&estate.firm, of).await;
            assert_eq!((run.error, run.held), (None, 0), "{order:?}");
        }
        assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Deleted], "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_of_an_earlier_move_suspends_nobody_who_is_hidden_now() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    let before = estate.firm.clock.now().minus(Duration::from_hours(1));
    let copy = estate.firm.sim.edit(|ad| ad.copy_of(guid_of(&user)));
    estate.emea.edit(|ad| {
        ad.immigrate(copy, "Sales");
        delete_at(ad, guid_of(&user), before);
    });
    hide_completely(&estate.firm, guid_of(&user));
    tick_of(&estate.firm, "corp").await;
    assert_eq!(causes(&again(&estate.firm, &user).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_to_a_section_that_was_never_read_moves_with_its_first_run() {
    for how in [Leaving::Nowhere, Leaving::Tombstone] {
        let estate = Estate::open().await;
        let user = estate.mover().await;
        // The same domain in a section that no run has read.
        let was = estate.firm.engine.configured();
        let mut sections: Vec<DirectoryConfig> =
            was.directories.values().map(|d| d.config.clone()).collect();
        for section in sections.iter_mut().filter(|s| s.name.as_str() == "emea") {
            section.name = name("apac");
        }
        configure(&estate.firm, sections);
        estate.moves(&user, how, |_, _| {});
        let run = tick_of(&estate.firm, "corp").await;
        assert_eq!((run.error, run.counts.suspend, run.held), (None, 0, 0), "{how:?}");
        approve_held(&estate.firm, "apac").await;
        let now = again(&estate.firm, &user).await;
        assert_eq!((now.status(), directory_of(&now)), (Status::Active, "apac"), "{how:?}");
        estate.emea.edit(|ad| ad.disable(guid_of(&user)));
        tick_of(&estate.firm, "apac").await;
        assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Disabled], "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_stays_as_it_is_while_the_server_in_use_of_the_new_domain_lacks_its_entry() {
    let estate = Estate::open().await;
    let behind = estate.server_behind(&estate.emea, "emea").await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Tombstone, |_, _| {});
    for of in ["corp", "emea", "corp"] {
        let run = sync(&estate.firm, of).await;
        assert_eq!((run.counts.suspend, run.held, run.error.as_deref()), (0, 0, None), "{run:?}");
        assert_eq!(again(&estate.firm, &user).await.status(), Status::Active, "{of}");
    }
    behind.stop().await;
    sync(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_stays_as_it_is_while_the_new_domain_is_down() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Nowhere, |_, _| {});
    estate.emea.freeze();
    let run = tick_of(&estate.firm, "corp").await;
    assert_eq!(again(&estate.firm, &user).await.status(), Status::Active);
    assert!(run.warnings.iter().any(|w| w.contains("emea could not be asked")), "{run:?}");
    estate.emea.thaw();
    estate.later(Duration::from_mins(6));
    let run = tick_of(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_entry_suspends_while_the_new_domain_is_down_and_returns_with_it() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Tombstone, |_, _| {});
    estate.emea.freeze();
    tick_of(&estate.firm, "corp").await;
    assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Deleted], "a tombstone is seen");
    estate.emea.thaw();
    estate.later(Duration::from_mins(6));
    let run = tick_of(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_positive_evidence_counts_while_the_former_domain_is_down() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Nowhere, |ad, who| {
        ad.set(who, "mail", "new.name@example.net");
    });
    estate.firm.sim.freeze();
    let run = tick_of(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "corp"), "{run:?}");
    assert_eq!(now.addresses, user.addresses);
    assert!(run.warnings.iter().any(|w| w.contains("only leavers among them")), "{run:?}");
    // Disabled in the only domain that shows the entry.
    estate.emea.edit(|ad| ad.disable(guid_of(&user)));
    let run = tick_of(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((causes(&now), directory_of(&now)), (vec![Reason::Disabled], "corp"), "{run:?}");
    // No lift before the former domain answers.
    estate.emea.edit(|ad| ad.enable(guid_of(&user)));
    tick_of(&estate.firm, "emea").await;
    assert_eq!(again(&estate.firm, &user).await.status(), Status::Suspended);
    estate.firm.sim.thaw();
    estate.later(Duration::from_mins(6));
    let run = tick_of(&estate.firm, "emea").await;
    let now = again(&estate.firm, &user).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{run:?}");
    assert_eq!(
        now.addresses.primary.map(|a| a.to_string()).as_deref(),
        Some("new.name@example.net")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_whom_the_filter_of_the_new_directory_excludes_is_suspended() {
    let estate = Estate::open().await;
    let configured = estate.firm.engine.configured();
    let mut directories: Vec<DirectoryConfig> =
        configured.directories.values().map(|d| d.config.clone()).collect();
    let text = "(!(userAccountControl:1.2.840.113556.1.4.803:=2))";
    directories[1].settings.filter =
        Some((text.to_owned(), Filter::parse(text).expect("a filter")));
    configure(&estate.firm, directories);
    approve_held(&estate.firm, "emea").await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Nowhere, |ad, who| ad.disable(who));
    estate.firm.sim.freeze();
    let run = tick_of(&estate.firm, "emea").await;
    assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Disabled], "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whom_no_directory_shows_is_told_in_run_and_status() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    estate.moves(&user, Leaving::Nowhere, |_, _| {});
    assert_eq!(estate.unseen().await, 0);
    for _ in 0..2 {
        tick_of(&estate.firm, "corp").await;
        let attention = estate.attention("corp").await;
        let is_told = |a: &String| {
            a.starts_with("1 active user of corp has not been shown by it")
                && a.contains("rosterctl user list --unseen")
        };
        assert!(attention.iter().any(is_told), "{attention:?}");
        assert_eq!(estate.unseen().await, 1);
    }
    let run = tick_of(&estate.firm, "corp").await;
    let is_told = |w: &String| w.starts_with("1 person is not shown any more");
    assert!(run.warnings.iter().any(is_told), "{run:?}");
    tick_of(&estate.firm, "emea").await;
    tick_of(&estate.firm, "corp").await;
    assert_eq!(estate.unseen().await, 0);
    let attention = estate.attention("corp").await;
    assert!(!attention.iter().any(|a| a.contains("not been shown")), "{attention:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_a_directory_that_is_not_configured_is_listed_as_unseen() {
    let estate = Estate::open().await;
    let emea = estate.firm.engine.directory("emea").expect("emea").config.clone();
    let left = of_directory(&estate.firm, "corp").await.len();
    configure(&estate.firm, vec![emea]);
    assert_eq!(estate.unseen().await, left.min(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_neighbour_costs_its_time_limit_once() {
    let estate = Estate::open().await;
    let users = of_directory(&estate.firm, "corp").await;
    for user in &users[..2] {
        estate.firm.sim.edit(|ad| ad.purge(guid_of(user)));
    }
    estate.emea.freeze();
    tick_of(&estate.firm, "corp").await;
    for _ in 0..2 {
        let began = Instant::now();
        let run = tick_of(&estate.firm, "corp").await;
        let taken = began.elapsed();
        assert!(taken < Duration::from_millis(1_500), "{taken:?}: {run:?}");
        let is_told = |w: &String| w.contains("did not answer a short time ago");
        assert!(run.warnings.iter().any(is_told), "{run:?}");
    }
    assert_eq!(
        again(&estate.firm, &users[0]).await.status(),
        Status::Active,
        "not asked is no answer"
    );
    estate.emea.thaw();
    estate.later(Duration::from_mins(6));
    let run = tick_of(&estate.firm, "corp").await;
    assert!(!run.warnings.iter().any(|w| w.contains("could not be asked")), "{run:?}");
    assert_eq!(run.held, 2, "they vanished without a witness: {run:?}");
}

/// Adds an entry of the same person to the second domain, as a migration tool does.
fn migrate(estate: &Estate, user: &User, sam: &str) -> Guid {
    let mail = user.addresses.primary.as_ref().expect("an address").to_string();
    let guid = estate.emea.edit(|ad| {
        ad.add_person(NewPerson::new(sam).cn(sam).mail(&mail).ou("Sales").member_of(names::BASIC))
    });
    Guid(guid.into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_links_a_migrated_user_to_its_entry_in_another_directory() {
    for is_disabled in [false, true] {
        let estate = Estate::open().await;
        let user = estate.mover().await;
        let entry = migrate(&estate, &user, "migrated");
        if is_disabled {
            estate.firm.sim.edit(|ad| ad.disable(guid_of(&user)));
            tick_of(&estate.firm, "corp").await;
        }
        tick_of(&estate.firm, "emea").await;
        let waits = quarantine(&estate.firm, "emea").await;
        let expected = if is_disabled {
            QuarantineReason::AddressHeld
        } else {
            QuarantineReason::ContestedAddress
        };
        assert_eq!(waits, [expected]);
        let who = user.id.to_string();
        let run = estate.firm.engine.relink(&who, &entry.to_string(), &alice()).await;
        let run = run.expect("a run");
        let now = again(&estate.firm, &user).await;
        assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{run:?}");
        assert_eq!(now.link.as_ref().map(|link| link.guid), Some(entry));
        assert_eq!(now.addresses.primary, user.addresses.primary);
        // The former entry does not become a second user, nor does it suspend the first.
        for of in ["corp", "emea", "corp"] {
            let run = sync(&estate.firm, of).await;
            assert_eq!((run.counts.total(), run.held), (0, 0), "{of}: {run:?}");
        }
        assert_eq!(quarantine(&estate.firm, "emea").await, []);
        estate.emea.edit(|ad| ad.disable(uuid::Uuid::from_bytes(entry.0)));
        tick_of(&estate.firm, "emea").await;
        assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Disabled]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relink_that_would_suspend_or_mislead_is_refused_with_a_remedy() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    let entry = migrate(&estate, &user, "migrated");
    let sibling = of_directory(&estate.firm, "corp").await.remove(1);
    let refused = async |guid: Guid| {
        let (who, entry) = (user.id.to_string(), guid.to_string());
        let refused = estate.firm.engine.relink(&who, &entry, &alice()).await;
        refused.expect_err("a refusal").to_string()
    };
    let other = refused(sibling.link.as_ref().expect("a link").guid).await;
    assert!(other.contains("is the user"), "{other}");
    let nobody = refused(Guid([7; 16])).await;
    assert!(nobody.contains("is not in another directory of the account"), "{nobody}");
    let entry_there = uuid::Uuid::from_bytes(entry.0);
    estate.emea.edit(|ad| ad.disable(entry_there));
    let disabled = refused(entry).await;
    assert!(
        disabled.contains("is disabled in emea") && disabled.contains("correct the entry in AD"),
        "{disabled}"
    );
    estate.emea.edit(|ad| {
        ad.enable(entry_there);
        ad.add_ou("", "Elsewhere");
        ad.move_to(entry_there, "Elsewhere");
    });
    let configured = estate.firm.engine.configured();
    let mut directories: Vec<DirectoryConfig> =
        configured.directories.values().map(|d| d.config.clone()).collect();
    directories[1].settings.bases = vec![format!("OU=Staff,{}", estate.emea.root_dn())];
    configure(&estate.firm, directories);
    let outside = refused(entry).await;
    assert!(outside.contains("out of the scope of emea"), "{outside}");
    estate.emea.freeze();
    let unasked = refused(entry).await;
    assert!(unasked.contains("no answer"), "{unasked}");
    assert_eq!(directory_of(&again(&estate.firm, &user).await), "corp");
}

/// Returns the SID of a user's entry in the domain of `corp`.
fn sid_of(estate: &Estate, user: &User) -> Vec<u8> {
    let guid = guid_of(user);
    estate.firm.sim.look(|ad| ad.values(guid, "objectSid")).remove(0)
}

/// Adds entries of these people to the second domain, with the SIDs that they had.
fn migrate_with_history(estate: &Estate, users: &[User]) -> Vec<Guid> {
    let entries = users.iter().enumerate().map(|(n, user)| {
        let entry = migrate(estate, user, &format!("migrated{n}"));
        let sid = sid_of(estate, user);
        let who = uuid::Uuid::from_bytes(entry.0);
        estate.emea.edit(|ad| ad.set_values(who, "sIDHistory", [sid]));
        entry
    });
    entries.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_proposed_to_be_linked_by_sid_history_and_linked_on_approval() {
    let estate = Estate::open().await;
    let users: Vec<User> = of_directory(&estate.firm, "corp").await.drain(..3).collect();
    let entries = migrate_with_history(&estate, &users);
    estate.firm.sim.edit(|ad| ad.disable(guid_of(&users[0])));
    tick_of(&estate.firm, "corp").await;
    tick_of(&estate.firm, "emea").await;
    let run = estate.firm.engine.relink_by_sid_history("emea", &alice()).await.expect("a run");
    assert_eq!((run.error.as_deref(), run.held, run.counts.total()), (None, 3, 0), "{run:?}");
    // A later run of any kind proposes the same, and links nobody.
    for full in [false, true] {
        let run = if full {
            sync(&estate.firm, "emea").await
        } else {
            tick_of(&estate.firm, "emea").await
        };
        assert_eq!((run.held, run.counts.link), (3, 0), "{run:?}");
    }
    assert_eq!(directory_of(&again(&estate.firm, &users[0]).await), "corp");
    let plan = held_plan(&estate.firm).await;
    let which =
        Selection { causes: Vec::new(), people: vec![users[0].id.to_string()], digest: None };
    let approval = estate.firm.engine.approve_part(plan.id, &which, "", alice().into()).await;
    let approval = approval.expect("an approval");
    assert_eq!(approval.run.counts.link, 1, "{:?}", approval.run);
    let now = again(&estate.firm, &users[0]).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{now:?}");
    assert_eq!(now.link.as_ref().map(|link| link.guid), Some(entries[0]));
    let rest = held_plan(&estate.firm).await;
    assert_eq!(rest.count, 2);
    estate.firm.engine.reject(rest.id, "not yet", &alice()).await.expect("a rejection");
    for of in ["emea", "corp", "emea"] {
        let run = sync(&estate.firm, of).await;
        assert_eq!((run.counts.link, run.counts.suspend), (0, 0), "{run:?}");
    }
    assert_eq!(directory_of(&again(&estate.firm, &users[1]).await), "corp");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unclear_sid_history_proposes_no_link() {
    let estate = Estate::open().await;
    let users: Vec<User> = of_directory(&estate.firm, "corp").await.drain(..2).collect();
    let none = estate.firm.engine.relink_by_sid_history("emea", &alice()).await;
    let none = none.expect_err("nothing to propose").to_string();
    assert!(none.starts_with("0 entries of emea have a sIDHistory"), "{none}");
    let entries = migrate_with_history(&estate, &users[..1]);
    // A second entry with the SID of the same person.
    let sid = sid_of(&estate, &users[0]);
    let second = migrate(&estate, &users[1], "second");
    estate.emea.edit(|ad| ad.set_values(uuid::Uuid::from_bytes(second.0), "sIDHistory", [sid]));
    let unclear = estate.firm.engine.relink_by_sid_history("emea", &alice()).await;
    let unclear = unclear.expect_err("nothing to propose").to_string();
    assert!(unclear.contains("2 are unclear"), "{unclear}");
    // An entry that would suspend an active user is not proposed.
    estate.emea.edit(|ad| {
        ad.delete(uuid::Uuid::from_bytes(second.0));
        ad.disable(uuid::Uuid::from_bytes(entries[0].0));
    });
    let run = estate.firm.engine.relink_by_sid_history("emea", &alice()).await.expect("a run");
    assert_eq!((run.held, run.counts.total()), (0, 0), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_person_without_a_sid_gets_one_without_a_change() {
    let estate = Estate::open().await;
    let users: Vec<User> = of_directory(&estate.firm, "corp").await.drain(..1).collect();
    migrate_with_history(&estate, &users);
    let url = format!("sqlite://{}", estate.firm.folder.path().join("rosterd.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.expect("the database");
    sqlx::query("UPDATE people SET object_sid = NULL").execute(&pool).await.expect("an update");
    let refused = estate.firm.engine.relink_by_sid_history("emea", &alice()).await;
    assert!(refused.is_err(), "as after an upgrade");
    let run = sync(&estate.firm, "corp").await;
    assert_eq!((run.counts.total(), run.held), (0, 0), "{run:?}");
    let missing: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM people WHERE object_sid IS NULL AND directory = 'corp'",
    )
    .fetch_one(&pool)
    .await
    .expect("a count");
    assert_eq!(missing, 0);
    let run = estate.firm.engine.relink_by_sid_history("emea", &alice()).await.expect("a run");
    assert_eq!(run.held, 1, "{run:?}");
}

/// Configures the groups of `emea`.
async fn groups_of_emea(estate: &Estate, groups: &[(Tier, &str)]) {
    let configured = estate.firm.engine.configured();
    let mut directories: Vec<DirectoryConfig> =
        configured.directories.values().map(|d| d.config.clone()).collect();
    directories[1].settings.groups =
        groups.iter().map(|(tier, name)| (*tier, GroupName::parse(name))).collect();
    configure(&estate.firm, directories);
    approve_held(&estate.firm, "emea").await;
}

/// Adds a person of the second domain to a group of the first one, by SID.
fn join_by_sid(estate: &Estate, group: &str, user: &User) -> uuid::Uuid {
    let guid = guid_of(user);
    let sid = estate.emea.look(|ad| ad.sid(guid));
    estate.firm.sim.edit(|ad| {
        let principal = ad.add_foreign_principal(&sid);
        ad.add_member(group, principal);
        principal
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_another_directory_gives_its_foreign_members_a_tier() {
    let estate = Estate::open().await;
    let user = of_directory(&estate.firm, "emea")
        .await
        .into_iter()
        .find(|user| user.tier == Tier::Basic)
        .expect("a basic user");
    estate.firm.sim.edit(|ad| ad.add_group(names::GROUPS, "Company Pro"));
    let principal = join_by_sid(&estate, "Company Pro", &user);
    groups_of_emea(
        &estate,
        &[(Tier::Pro, "corp:Company Pro"), (Tier::Pro, names::PRO), (Tier::Basic, names::BASIC)],
    )
    .await;
    assert_eq!(again(&estate.firm, &user).await.tier, Tier::Pro);
    for full in [true, false] {
        let run = if full {
            sync(&estate.firm, "emea").await
        } else {
            tick_of(&estate.firm, "emea").await
        };
        assert_eq!((run.counts.total(), run.held, run.error.as_deref()), (0, 0, None), "{run:?}");
    }
    // A change of that group is no change of this domain. The next incremental run sees it.
    let second = of_directory(&estate.firm, "emea")
        .await
        .into_iter()
        .find(|user| user.tier == Tier::Basic)
        .expect("another basic user");
    join_by_sid(&estate, "Company Pro", &second);
    let run = tick_of(&estate.firm, "emea").await;
    assert_eq!(
        (run.counts.tier, again(&estate.firm, &second).await.tier),
        (1, Tier::Pro),
        "{run:?}"
    );
    // Its domain cannot be asked: nobody loses the tier, and the run tells.
    estate.firm.sim.freeze();
    let run = sync(&estate.firm, "emea").await;
    assert_eq!((run.counts.total(), run.held), (0, 0), "{run:?}");
    let is_told = |w: &String| w.contains("the groups of corp could not be read");
    assert!(run.warnings.iter().any(is_told), "{run:?}");
    assert_eq!(again(&estate.firm, &user).await.tier, Tier::Pro);
    estate.firm.sim.thaw();
    estate.later(Duration::from_mins(6));
    // It can be asked, and does not list the person any more.
    estate.firm.sim.edit(|ad| ad.remove_member("Company Pro", principal));
    tick_of(&estate.firm, "emea").await;
    assert_eq!(again(&estate.firm, &user).await.tier, Tier::Basic);
    assert_eq!(again(&estate.firm, &second).await.tier, Tier::Pro);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_this_domain_within_a_group_of_another_directory_counts() {
    let estate = Estate::open().await;
    let user = of_directory(&estate.firm, "emea")
        .await
        .into_iter()
        .find(|user| user.tier == Tier::Basic)
        .expect("a basic user");
    let guid = guid_of(&user);
    let sid = estate.emea.edit(|ad| {
        ad.add_group(names::GROUPS, "Emea Pilots");
        ad.add_member("Emea Pilots", guid);
        ad.sid("Emea Pilots")
    });
    estate.firm.sim.edit(|ad| {
        ad.add_group(names::GROUPS, "Company Pro");
        let principal = ad.add_foreign_principal(&sid);
        ad.add_member("Company Pro", principal);
    });
    groups_of_emea(&estate, &[(Tier::Pro, "corp:Company Pro"), (Tier::Basic, names::BASIC)]).await;
    assert_eq!(again(&estate.firm, &user).await.tier, Tier::Pro);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_other_domains_are_told_by_number_and_name() {
    let estate = Estate::open().await;
    let user = of_directory(&estate.firm, "emea").await.remove(0);
    join_by_sid(&estate, names::PRO, &user);
    estate.firm.sim.edit(|ad| {
        let stranger = ad.add_foreign_principal("S-1-5-21-1-2-3-1105");
        ad.add_member(names::PRO, stranger);
    });
    let run = sync(&estate.firm, "corp").await;
    let told = run.warnings.iter().find(|w| w.contains("of other domains")).expect("a warning");
    let dn = dn_of(&user);
    assert!(
        told.starts_with("2 members of Roster Pro are of other domains")
            && told.contains("S-1-5-21-1-2-3-1105")
            && told.contains(&format!("{dn} of emea"))
            && told.contains("\"corp:Roster Pro\""),
        "{told}"
    );
    let check = estate.firm.engine.check_directory("corp").await.expect("a check");
    let is_told =
        |step: &CheckStep| step.finding.starts_with("2 members of Roster Pro are of other domains");
    assert!(check.steps.iter().any(is_told), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_another_directory_is_not_read_on_a_server_that_may_lack_its_change() {
    let estate = Estate::open().await;
    let users = of_directory(&estate.firm, "emea").await.into_iter();
    let mut basic = users.filter(|user| user.tier == Tier::Basic);
    let (stays, joins) = (basic.next().expect("a user"), basic.next().expect("another user"));
    estate.firm.sim.edit(|ad| ad.add_group(names::GROUPS, "Company Pro"));
    let leaver = join_by_sid(&estate, "Company Pro", &stays);
    groups_of_emea(&estate, &[(Tier::Pro, "corp:Company Pro"), (Tier::Basic, names::BASIC)]).await;
    assert_eq!(again(&estate.firm, &stays).await.tier, Tier::Pro);
    let behind = estate.firm.sim.lagging_replica("behind").expect("a replica");
    estate.serve("corp", &[&estate.firm.sim, &behind]);
    estate.firm.sim.edit(|ad| ad.remove_member("Company Pro", leaver));
    join_by_sid(&estate, "Company Pro", &joins);
    sync(&estate.firm, "emea").await;
    let tiers = async || {
        let (stays, joins) = (again(&estate.firm, &stays).await, again(&estate.firm, &joins).await);
        (stays.tier, joins.tier)
    };
    assert_eq!(tiers().await, (Tier::Basic, Tier::Pro));
    estate.firm.sim.crash().await.expect("a crash");
    let run = sync(&estate.firm, "emea").await;
    assert_eq!(tiers().await, (Tier::Basic, Tier::Pro), "{run:?}");
    assert!(run.warnings.iter().any(|w| w.contains("has not heard of")), "{run:?}");
    let trust = estate.firm.engine.trust_server("emea", &alice()).await;
    trust.expect("the remedy of the warning");
    sync(&estate.firm, "emea").await;
    assert_eq!(tiers().await, (Tier::Pro, Tier::Basic));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_an_entry_in_two_domains_gets_a_user_when_one_section_excludes_it() {
    let estate = Estate::open().await;
    let address = "twin@example.com";
    for domain in [&estate.firm.sim, &estate.emea] {
        domain.edit(|ad| {
            ad.add_person(NewPerson::new("twin").cn("twin").mail(address).member_of(names::BASIC))
        });
    }
    for of in ["corp", "emea", "corp"] {
        sync(&estate.firm, of).await;
    }
    assert!(estate.firm.engine.find_user(address).await.is_err());
    let entries = estate.firm.engine.store.quarantined(&name("corp")).await.expect("entries");
    let [(_, _, reason, None)] = entries[..] else { panic!("{entries:?}") };
    assert_eq!(reason, QuarantineReason::ContestedAddress);
    assert!(reason.remedy().contains("put the address into exclude of one of them"));
    let mut directories: Vec<DirectoryConfig> =
        estate.firm.engine.configured().directories.values().map(|d| d.config.clone()).collect();
    directories[1].exclude = vec![address.to_owned()];
    configure(&estate.firm, directories);
    for of in ["emea", "corp"] {
        approve_held(&estate.firm, of).await;
    }
    let user = estate.firm.user(address).await;
    assert_eq!((user.status(), directory_of(&user)), (Status::Active, "corp"));
}
