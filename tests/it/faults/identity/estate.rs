//! Two domains that feed one account, with edits of each and moves between them.

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

    pub(super) async fn mover(&self) -> User {
        of_directory(&self.firm, "corp").await.remove(0)
    }

    /// Moves the entry from the domain of `corp` to the other one, into its group, and edits it there.
    pub(super) fn moves(
        &self,
        user: &User,
        how: Leaving,
        edit: impl FnOnce(&mut adsim::Ad, uuid::Uuid),
    ) {
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
    pub(super) async fn server_behind(&self, domain: &Sim, of: &str) -> Sim {
        let behind = domain.lagging_replica("behind").expect("a replica");
        for servers in [&[&behind][..], &[&behind, domain]] {
            self.serve(of, servers);
            let run = sync(&self.firm, of).await;
            assert_eq!((run.error, run.server), (None, Some(behind.ldaps_url())));
        }
        behind
    }

    /// Configures the servers of a directory.
    pub(super) fn serve(&self, of: &str, servers: &[&Sim]) {
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

    pub(super) async fn attention(&self, of: &str) -> Vec<String> {
        let directory = self.firm.engine.directory(of).expect("a directory");
        self.firm.engine.directory_status(&directory).await.expect("a status").attention
    }

    pub(super) async fn unseen(&self) -> usize {
        let query = rosterd::engine::UserQuery { unseen: true, limit: 10, ..Default::default() };
        self.firm.engine.list_users(query).await.expect("users").users.len()
    }
}

pub(super) fn causes(user: &User) -> Vec<Reason> {
    user.causes.iter().map(|cause| cause.reason).collect()
}
