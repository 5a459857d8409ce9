//! Several daemons on one PostgreSQL, as processes: who leads, what the others do, and what is in the
//! store afterwards.

mod lab;
mod losses;
mod nemesis;
mod rows;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;

use adsim::{NewPerson, Sim};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::folder;
use crate::postgres::{administer, database, parts};
use crate::process::{Daemon, until};
use crate::relay::Relay;
use crate::service::configuration;

/// A company on a simulated directory, with a database and several places for daemons.
struct Site {
    nodes: Vec<Node>,
    sim: Sim,
    runtime: Runtime,
    url: String,
    /// The file in which the hook notes each event, for all nodes.
    told: PathBuf,
    like: Like,
    _shared: TempDir,
}

/// The place of one daemon.
struct Node {
    name: String,
    daemon: Option<Daemon>,
    folder: TempDir,
    /// The ways to the database and to the directory, if it has its own.
    to_database: Option<Relay>,
    to_directory: Option<Relay>,
    /// Further variables of its environment.
    environment: Vec<(&'static str, String)>,
}

impl Node {
    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    fn start(&mut self) {
        let mut command = Daemon::command(self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.daemon = Some(Daemon::start_without_store_as(self.folder.path(), command));
    }

    /// Returns whether it answers, and who leads by its word.
    fn leader(&self) -> Option<String> {
        let (code, cluster) = self.daemon.as_ref()?.ctl("leader show");
        (code == 0).then(|| cluster["leader"]["node"].as_str().map(str::to_owned))?
    }
}

/// The properties of a site.
#[derive(Debug)]
struct Like {
    nodes: usize,
    people: usize,
    lease: &'static str,
    /// Further sections of the configuration.
    more: String,
    /// Further keys of the directory.
    keys: &'static str,
    /// Further commands of the hook.
    hook: &'static str,
    /// How long the hook may take. The next leader waits for a program of the former one so long.
    hook_timeout: &'static str,
    /// Variables of the environment, each with the name of its node.
    environment: Vec<(&'static str, &'static str, String)>,
    /// Whether each node has a relay of its own to the database, and to the directory.
    has_far_database: bool,
    has_far_directory: bool,
}

impl Default for Like {
    fn default() -> Self {
        let keys = "live = true";
        let (more, environment) = (String::new(), Vec::new());
        Self {
            nodes: 2,
            people: 60,
            lease: "3s",
            more,
            keys,
            hook: "",
            hook_timeout: "8s",
            environment,
            has_far_database: false,
            has_far_directory: false,
        }
    }
}

impl Site {
    /// Returns a site whose first node leads and has read the directory. Returns `None` without a
    /// server.
    fn new(like: Like) -> Option<Self> {
        let url = Runtime::new().unwrap().block_on(database())?;
        Some(Self::at(url, like))
    }

    /// Returns such a site on this database.
    fn at(url: String, mut like: Like) -> Self {
        sqlx::any::install_default_drivers();
        let Like { nodes, people, hook, hook_timeout, .. } = like;
        let runtime = Runtime::new().unwrap();
        let sim = runtime.block_on(Sim::builder().people(people).start()).unwrap();
        let shared = tempfile::tempdir().unwrap();
        let told = shared.path().join("told");
        std::fs::write(&told, "").unwrap();
        let program = shared.path().join("hook");
        let text = format!(
            "#!/bin/sh\ncat >/dev/null\n{hook}\necho \"$ROSTERD_EVENT_SEQ $ROSTERD_EVENT_TYPE\" >> {}\n",
            told.display()
        );
        folder::write(&program, &text, 0o755);
        like.more = format!(
            "[safety]\nconfirmed = {{ percent = 100, at-least = 100 }}\nreactivate = {{ percent = 100, at-least = 100 }}\n{}\n[[hook]]\nname = \"tells\"\nevents = [\"user.*\"]\ntimeout = \"{hook_timeout}\"\nexec = [\"{}\"]\n",
            like.more,
            program.display()
        );
        let mut site = Self { nodes: Vec::new(), sim, runtime, url, told, like, _shared: shared };
        site.nodes = ["a", "b", "c"].iter().take(nodes).map(|name| site.place(name)).collect();
        site.nodes[0].start();
        until("the first node leads", || site.leader().filter(|leader| *leader == 0));
        site.daemon(0).import();
        for node in 1..site.nodes.len() {
            site.start(node);
        }
        site
    }

    /// Makes the place of another daemon.
    fn place(&self, name: &str) -> Node {
        let Like { lease, more, keys, environment, .. } = &self.like;
        let folder = tempfile::tempdir().unwrap();
        folder::write_files(folder.path(), &self.sim.ca_pem(), &self.sim.service_password());
        let text = configuration(&self.sim, folder.path(), more, keys);
        let file = format!("sqlite://{}/rosterd.db", folder.path().display());
        let text = text.replace(&file, &self.url);
        let text = format!("[cluster]\nnode = \"{name}\"\nlease = \"{lease}\"\n\n{text}");
        let own = environment.iter().filter(|(node, ..)| *node == name);
        let environment = own.map(|(_, variable, value)| (*variable, value.clone())).collect();
        let directory = self.directory();
        let relay =
            |server: &str, is_far: bool| is_far.then(|| self.runtime.block_on(Relay::to(server)));
        let to_database = relay(parts(&self.url).1, self.like.has_far_database);
        let to_directory = relay(&directory, self.like.has_far_directory);
        let mut text = text;
        for (server, relay) in [(parts(&self.url).1, &to_database), (&directory, &to_directory)] {
            if let Some(relay) = relay {
                text = text.replace(server, &relay.address.to_string());
            }
        }
        std::fs::write(folder.path().join("rosterd.toml"), text).unwrap();
        Node { name: name.to_owned(), daemon: None, folder, to_database, to_directory, environment }
    }

    /// Returns host and port of the directory.
    fn directory(&self) -> String {
        self.sim.ldaps_url().replace("ldaps://", "")
    }

    /// Starts a node, and waits until it answers.
    fn start(&mut self, node: usize) {
        self.nodes[node].start();
        let node = &self.nodes[node];
        until("the node answers", || (node.daemon().ctl("status").0 == 0).then_some(()));
    }

    /// Kills a node.
    fn kill(&mut self, node: usize) {
        self.daemon(node).signal(Signal::SIGKILL);
        self.nodes[node].daemon = None;
    }

    fn daemon(&self, node: usize) -> &Daemon {
        self.nodes[node].daemon()
    }

    /// Returns the node that leads, by the word of the first one that answers.
    fn leader(&self) -> Option<usize> {
        let name = self.nodes.iter().find_map(Node::leader)?;
        self.nodes.iter().position(|node| node.name == name)
    }

    /// Waits until this node says itself that it leads.
    fn leads(&self, node: usize) {
        let name = &self.nodes[node].name;
        until(&format!("{name} leads"), || {
            (self.nodes[node].leader().as_ref() == Some(name)).then_some(())
        });
    }

    /// Returns the active managed users of this node, each with its id and its entry.
    fn people(&self, node: usize) -> Vec<(String, String)> {
        let users = self.daemon(node).done("user list --status active --limit 1000");
        let of = |user: &Value| {
            let dn = user["directory"]["dn"].as_str()?;
            Some((user["id"].as_str()?.to_owned(), dn.to_owned()))
        };
        users["users"].as_array().unwrap().iter().filter_map(of).collect()
    }

    /// Makes ann, a new person of the directory, a user.
    fn hire_ann(&self) {
        self.sim.edit(|ad| {
            let ann = ad.add_person(NewPerson::new("ann").mail("ann@example.com"));
            ad.add_member(adsim::names::BASIC, ann);
        });
        self.daemon(0).done("sync corp");
    }

    fn status_of(&self, node: usize, user: &str) -> String {
        let user = self.daemon(node).done(&format!("user show {user}"));
        user["status"].as_str().unwrap().to_owned()
    }

    /// Asks a node for the decision about a password.
    fn sign_in(&self, node: usize, address: &str, password: &str) -> String {
        let asked = format!(r#"{{"address":"{address}","password":"{password}"}}"#);
        let headers = format!(
            "content-type: application/json\r\ncontent-length: {}\r\n\r\n{asked}",
            asked.len()
        );
        let answer = self.daemon(node).ask("POST /v1/sign-ins", &headers);
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let decision: Value = serde_json::from_str(body).unwrap_or_default();
        decision["decision"].as_str().unwrap_or(&answer).to_owned()
    }

    /// Runs a statement in the database.
    fn sql(&self, statement: &str) {
        self.runtime.block_on(administer(&self.url, statement));
    }

    /// Returns the number of a query.
    fn number(&self, query: &str) -> i64 {
        self.runtime.block_on(async {
            let pool = sqlx::any::AnyPoolOptions::new().connect(&self.url).await.unwrap();
            let query = sqlx::AssertSqlSafe(query.to_owned());
            let number = sqlx::query_scalar::<_, i64>(query).fetch_one(&pool).await.unwrap();
            pool.close().await;
            number
        })
    }

    /// Returns all events of the log.
    fn events(&self, node: usize) -> Vec<Value> {
        let mut events = Vec::new();
        let mut after = 0;
        loop {
            let page = self.daemon(node).done(&format!("event list --after {after} --limit 1000"));
            let page = page["events"].as_array().unwrap().clone();
            let Some(last) = page.last() else { return events };
            after = last["seq"].as_u64().unwrap();
            events.extend(page);
        }
    }

    /// Returns the numbers of the events that the hook was told, in its order.
    fn told(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(&self.told).unwrap();
        text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
    }

    /// Waits until no delivery is pending.
    fn all_told(&self) {
        let pending = "SELECT COUNT(*) FROM deliveries WHERE state = 'pending'";
        until("all is told", || (self.number(pending) == 0).then_some(()));
    }

    /// Checks what holds for every history: the log has no gap and a whole chain, terms never fall,
    /// nobody was suspended twice, and the hook was told each event, in order for each person.
    fn check(&self, node: usize) {
        self.all_told();
        let verified = self.daemon(node).done("event verify");
        assert_eq!(verified["intact"], true, "{verified:#}");
        let events = self.events(node);
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event["seq"].as_u64(), Some(at as u64 + 1), "{event:#}");
        }
        let epochs: Vec<u64> = events
            .iter()
            .filter(|event| event["type"] == "cluster.led")
            .map(|event| event["data"]["after"]["epoch"].as_u64().unwrap())
            .collect();
        assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
        let told = self.told();
        let mut last: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
        let mut first_told: BTreeMap<u64, usize> = BTreeMap::new();
        for (at, seq) in told.iter().enumerate() {
            first_told.entry(*seq).or_insert(at);
        }
        for event in &events {
            let kind = event["type"].as_str().unwrap();
            if !kind.starts_with("user.") {
                continue;
            }
            let (seq, subject) =
                (event["seq"].as_u64().unwrap(), event["subject"].as_str().unwrap());
            let at = first_told.get(&seq).unwrap_or_else(|| panic!("not told: {event:#}"));
            if let Some((before, was)) = last.insert(subject, (seq, kind)) {
                assert!(first_told[&before] < *at, "{before} after {seq} of {subject}");
                assert!(
                    !(was == kind && ["user.suspended", "user.reactivated"].contains(&kind)),
                    "{kind} twice: {event:#}"
                );
            }
        }
    }
}
