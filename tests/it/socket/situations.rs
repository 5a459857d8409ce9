//! Situations that an operation needs, such as leavers, lost commits, or a renamed directory.

use std::time::Duration;

use rosterd::model::{DirectoryName, Mode, Status, User};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::Office;
use crate::firm::guid_of;

impl Office {
    /// Returns three user ids and a GUID: a leaver who was created again, a leaver, a user with an
    /// override; and the new GUID of the first.
    pub(crate) async fn leavers(&mut self) -> [String; 4] {
        self.firm.reconfigure(|config| {
            (config.mode, config.limits.grace_period) = (Mode::Apply, Duration::ZERO)
        });
        // The first run that begins after a rebaseline only plans.
        self.firm.sync().await;
        let users = self.get("/v1/users?status=active&account=acme").await;
        let of = |n: usize, at: &str| {
            users["users"][n].pointer(at).unwrap().as_str().unwrap().to_owned()
        };
        let ids = [0, 1, 2].map(|n| of(n, "/id"));
        let dns = [0, 1, 2].map(|n| of(n, "/directory/dn"));
        let mail = of(0, "/primary_email");
        let person = self.firm.sim.edit(|ad| {
            ad.delete(dns[0].as_str());
            ad.delete(dns[1].as_str());
            for group in [adsim::names::PRO, adsim::names::PRO_NESTED, adsim::names::BASIC] {
                ad.remove_member(group, dns[2].as_str());
            }
            let person = ad.add_person(adsim::NewPerson::new("anew").mail(&mail));
            ad.add_member(adsim::names::BASIC, person);
            person
        });
        self.firm.sync().await;
        let [recreated, left, overruled] = ids;
        self.post(&format!("/v1/users/{overruled}/activate"), None).await;
        [recreated, left, overruled, person.to_string()]
    }

    /// Adds a section whose OU has an entry with the former SID of a person of the present one.
    pub(super) async fn migrate_one(&self) {
        let users = self.firm.users().await;
        let is_there = |user: &&User| user.status() == Status::Active && user.link.is_some();
        let guid = guid_of(users.iter().find(is_there).expect("an active user"));
        self.firm.sim.edit(|ad| {
            let sid = ad.values(guid, "objectSid");
            ad.add_ou("", "Abroad");
            let person = adsim::NewPerson::new("abroad").ou("Abroad");
            ad.add_person(person.with_values("sIDHistory", sid));
        });
        let was = self.firm.engine.configured();
        let corp = self.firm.engine.directory("corp").unwrap().config.clone();
        let mut emea = corp.clone();
        emea.name = DirectoryName::parse("emea").unwrap();
        emea.settings.bases = vec![format!("OU=Abroad,{}", self.firm.sim.root_dn())];
        self.firm.engine.reconfigure(vec![corp, emea], was.rules.clone());
    }

    /// Notes a loss of commits, which no file has.
    pub(super) async fn lose_commits(&self) {
        let file = self.firm.folder.path().join("rosterd.db");
        let options = SqliteConnectOptions::new().filename(file);
        let mut store = options.connect().await.unwrap();
        let noted = sqlx::raw_sql("INSERT INTO counters (name, value) VALUES ('loss', 2)");
        noted.execute(&mut store).await.unwrap();
        store.close().await.unwrap();
    }

    /// Removes the target from the configuration.
    pub(super) fn remove_target(&self) {
        self.firm.engine.reconfigure_targets(Vec::new());
    }

    /// Renames the directory in the configuration.
    pub(super) fn rename_section(&self) {
        self.firm.reconfigure(|config| config.name = DirectoryName::parse("hq").unwrap());
    }

    /// Renames a person, so that a run holds a change. Returns the user id.
    pub(super) async fn rename_person(&mut self) -> String {
        let users = self.get("/v1/users?status=active&limit=3").await;
        let who = &users["users"][0];
        let dn = who["directory"]["dn"].as_str().unwrap().to_owned();
        self.firm.sim.edit(|ad| ad.set(dn.as_str(), "displayName", "Somebody Else"));
        who["id"].as_str().unwrap().to_owned()
    }
}
