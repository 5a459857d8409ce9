//! The control socket of an engine with a simulated directory. Each answer matches the OpenAPI
//! document, and `rosterctl` uses documented operations only.

mod callers;
mod commands;
mod lists;
mod openapi;
mod operations;
mod situations;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rosterd::control::{Ask, Callers, Reloaded, Reloader, Settings, bind, serve};
use rosterd::hooks::{Hook, Receiver};
use rosterd::model::{Mode, Program};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::firm::Firm;
use crate::provision;
pub(crate) use commands::{rosterctl, rosterctl_to};

pub(crate) const NO_GROUP: &str = "no-such-group-of-rosterd";

/// An engine that serves the control socket.
pub(crate) struct Office {
    pub(crate) firm: Firm,
    /// The service of the target `app`.
    target: scimsim::Sim,
    /// User name of the caller.
    pub(crate) me: String,
    pub(crate) socket: PathBuf,
    http: reqwest::Client,
    stop: CancellationToken,
    document: Value,
    /// Operations with the statuses that they answered.
    seen: BTreeSet<String>,
    /// Documents of operations by id: the `request`, and answers by status.
    examples: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Drop for Office {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Answers reloads with success and with problems, alternately.
async fn reloads(mut asked: mpsc::Receiver<Ask>) {
    let mut is_well = true;
    while let Some(Ask { by: _, asked: _, answer }) = asked.recv().await {
        let well = Reloaded {
            directories: BTreeMap::new(),
            hooks: BTreeMap::new(),
            targets: BTreeMap::new(),
            needs_restart: vec!["store.url"],
        };
        let _ = answer.send(if is_well {
            Ok(well)
        } else {
            Err("rosterd.toml:3: one problem\nrosterd.toml:5: another".to_owned())
        });
        is_well = !is_well;
    }
}

impl Office {
    /// Starts in plan-only mode, in which only confirmed suspensions are applied.
    pub(crate) async fn open() -> Self {
        Self::of(40, Mode::PlanOnly).await
    }

    pub(crate) async fn of(people: usize, mode: Mode) -> Self {
        let firm = Firm::running(people, |config| config.mode = mode).await;
        firm.engine.reconfigure_hooks(vec![Hook {
            name: "vpn".to_owned(),
            events: vec!["*".to_owned()],
            receiver: Receiver::Exec(Program {
                path: "/bin/true".into(),
                arguments: Vec::new(),
                part: None,
            }),
            timeout: Duration::from_secs(20),
            max_age: Duration::from_hours(1),
            concurrency: 2,
        }]);
        let target = scimsim::Sim::start().await.unwrap();
        firm.engine.reconfigure_targets(vec![provision::config(&target, firm.folder.path())]);
        let hook = firm.engine.hook("vpn").unwrap();
        tokio::spawn(Arc::clone(&firm.engine).run_deliveries(hook));
        let socket = firm.folder.path().join("control.sock");
        let listening = bind(&socket).await.unwrap();
        let settings = Settings {
            socket: socket.clone(),
            operators: NO_GROUP.into(),
            viewers: NO_GROUP.into(),
            authenticators: NO_GROUP.into(),
            own_user_operates: true,
        };
        let stop = CancellationToken::new();
        let (reloader, asked) = Reloader::new();
        let other = firm.engine.directory("corp").unwrap().config.clone();
        let reloader = reloader.parsing(move |sent| match sent.configuration.as_str() {
            "" => Err("rosterd.toml:1: there is no directory".to_owned()),
            _ => Ok(vec![other.clone()]),
        });
        tokio::spawn(reloads(asked));
        tokio::spawn(serve(
            listening,
            Arc::clone(&firm.engine),
            Arc::new(Callers::new(&settings)),
            reloader,
            stop.clone(),
        ));
        let http = rosterd::control::client::Client::builder(&socket).build().unwrap();
        let document = http.get("http://rosterd/v1/openapi.json").send().await.unwrap();
        assert_eq!(document.headers()["content-type"], "application/json");
        let document = document.json().await.unwrap();
        let me = nix::unistd::geteuid();
        let me = nix::unistd::User::from_uid(me)
            .unwrap()
            .map_or_else(|| format!("uid:{me}"), |user| user.name);
        Self {
            firm,
            target,
            me,
            socket,
            http,
            stop,
            document,
            seen: BTreeSet::from(["get /v1/openapi.json 200".to_owned()]),
            examples: BTreeMap::new(),
        }
    }

    /// Serves the same engine on another socket, with other roles.
    pub(crate) async fn serve_also(&self, settings: Settings) {
        let listening = bind(&settings.socket).await.unwrap();
        let (engine, callers) = (Arc::clone(&self.firm.engine), Arc::new(Callers::new(&settings)));
        tokio::spawn(serve(listening, engine, callers, Reloader::new().0, self.stop.clone()));
    }

    pub(crate) async fn get(&mut self, path: &str) -> Value {
        self.expect(200, &format!("get {path}"), None).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Option<Value>) -> Value {
        self.expect(200, &format!("post {path}"), body).await
    }

    async fn expect(&mut self, status: u16, line: &str, body: Option<Value>) -> Value {
        let (answered, document) = self.ask(line, body).await;
        assert_eq!(answered, status, "{line}: {document:#}");
        document
    }
}
