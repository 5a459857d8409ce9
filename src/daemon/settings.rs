//! The settings of each part, from the configuration.

use std::path::{Path, PathBuf};

use crate::config::{self, Config, Servers};
use crate::control::{self, api};
use crate::daemon::{RunnerAt, Setup};
use crate::directory::Settings;
use crate::engine::{DirectoryConfig, Rules, TargetConfig};
use crate::hooks::{Hook, Receiver, Webhook};
use crate::http::Transport;
use crate::scim;
use crate::sources::Source;

/// Returns the settings of all parts.
pub fn setup(config: &Config) -> Setup {
    Setup {
        store: config.store.clone(),
        control: control::Settings {
            socket: config.control.socket.clone(),
            operators: config.control.operators.clone(),
            viewers: config.control.viewers.clone(),
            authenticators: config.control.authenticators.clone(),
            own_user_operates: false,
        },
        rules: Rules {
            trusted: config.trusted.clone(),
            resolver: config.resolver,
            max_failures: config.sign_in.max_failures,
            gates: config.gates.clone(),
            retention: config.retention,
            digest: config.digest.clone(),
        },
        metrics: config.metrics_listen,
        directories: config.directories.iter().map(directory).collect(),
        hooks: config.hooks.iter().map(hook).collect(),
        targets: config.targets.iter().map(target_config).collect(),
        runner: RunnerAt::default(),
        log_keys: config.log_keys.clone(),
        state: std::env::var_os("STATE_DIRECTORY").map(PathBuf::from),
        cluster: config.cluster.clone(),
    }
}

/// Parses the directories of another configuration, for a preview.
pub(super) fn directories(previewing: &api::Previewing) -> Result<Vec<DirectoryConfig>, String> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let main = Path::new("configuration");
    let parts = previewing.parts.iter().map(|part| Source::part(main, &part.name, &part.text));
    let sources: Vec<_> =
        std::iter::once(Source::main(main, &previewing.configuration)).chain(parts).collect();
    let config = Config::parse(&sources, credentials.as_deref());
    let config = config.map_err(|problems| problems.to_string())?;
    Ok(config.directories.iter().map(directory).collect())
}

fn hook(hook: &config::Hook) -> Hook {
    let config::Hook { name, events, receiver, timeout, max_age, concurrency } = hook;
    let receiver = match receiver {
        config::Receiver::Exec(program) => Receiver::Exec(program.clone()),
        config::Receiver::Mail(mail) => Receiver::Mail(mail.clone()),
        config::Receiver::Webhook(config::Webhook {
            url,
            secret_file,
            ca_file,
            proxy,
            allow_http: _,
        }) => Receiver::Webhook(Webhook {
            url: url.clone(),
            secret_file: secret_file.clone(),
            transport: Transport::new(ca_file.clone(), proxy.clone()),
        }),
    };
    let (name, events, concurrency) = (name.clone(), events.clone(), *concurrency as usize);
    Hook { name, events, receiver, timeout: *timeout, max_age: *max_age, concurrency }
}

fn directory(directory: &config::Directory) -> DirectoryConfig {
    let d = directory.clone();
    let (servers, discover) = match d.servers {
        Servers::Listed(urls) => (urls, None),
        Servers::Discovered(discovery) => (Vec::new(), Some(discovery)),
    };
    DirectoryConfig {
        name: d.name,
        rename_from: d.rename_from,
        account: d.account,
        mode: d.mode,
        discover,
        tiers: d.tiers,
        settings: Settings {
            servers,
            starttls: d.starttls,
            ca_file: d.ca_file,
            credential: d.credential,
            bases: d.bases.iter().map(|base| base.as_str().to_owned()).collect(),
            filter: d.filter,
            exclude_ou: d.exclude_ou,
            rules: d.rules,
            timeouts: d.timeouts,
            page_size: d.page_size,
            groups: d.groups,
            canaries: d.canaries,
            attributes: d.attributes,
        },
        exclude: d.exclude,
        protect: d.protect,
        limits: d.limits,
        quiet: d.quiet,
        zone: d.zone,
        schedule: d.schedule,
        stale_after: d.stale_after,
        full: d.full,
        live: d.live && d.incremental,
        watch: d.watch,
        incremental: d.incremental,
    }
}

/// Returns the configuration of a target.
pub(super) fn target_config(target: &config::Target) -> TargetConfig {
    let t = target.clone();
    TargetConfig {
        client: target_settings(target),
        name: t.name,
        account: t.account,
        mode: t.mode,
        token_expires: t.token_expires,
        rate: t.rate,
        concurrency: t.concurrency as usize,
        tiers: t.tiers,
        exclude: t.exclude,
        adopt: t.adopt,
        matched_by: t.matched_by,
        leaver: t.leaver,
        delete_after: t.delete_after,
        drift: t.drift,
        full: t.full,
        mapping: t.mapping,
        limits: t.limits,
        groups: t.groups,
    }
}

/// Returns the settings of a target's client.
fn target_settings(target: &config::Target) -> scim::Settings {
    scim::Settings {
        url: target.url.clone(),
        credential: target.credential.clone(),
        transport: Transport::new(target.ca_file.clone(), target.proxy.clone()),
        timeout: target.timeout,
        page_size: target.page_size,
        quirks: target.quirks,
    }
}
