//! From what the configuration says to what each part is told.

use crate::config::{self, Checks, Config};
use crate::control;
use crate::daemon::{RunnerAt, Setup};
use crate::directory::{AttributeNames, Discovery, GroupName, Settings, Timeouts};
use crate::dns::Resolver;
use crate::engine::{DirectoryConfig, Mode, Retention, Rules};
use crate::hooks::webhook::Connections;
use crate::hooks::{Gate, Hook, Program, Target, Webhook};
use crate::model::{Cron, Filter, ServerUrl, Tier, unknown_rule};
use crate::reconcile::{Limit, Limits, TierRules, WithoutGroup};

/// The parsers of the parts, for the configuration to ask.
pub fn checks() -> Checks {
    Checks {
        server: |text| ServerUrl::parse(text).map(drop),
        filter: |text| {
            let filter = Filter::parse(text).map_err(|e| e.to_string())?;
            if let Some(rule) = filter.unknown_rules().first() {
                return Err(unknown_rule(rule));
            }
            let is_sendable = ldap3::parse_filter(filter.to_string()).is_ok();
            is_sendable.then_some(()).ok_or_else(|| {
                format!("\"{text}\" is not an LDAP filter: write (employeeType=staff), for example")
            })
        },
        schedule: |text, zone| Cron::parse(text, zone).map(drop).map_err(|e| e.to_string()),
        credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY").map(Into::into),
    }
}

/// What the daemon is told. Whatever could be wrong was refused by [`checks`].
pub fn setup(config: &Config) -> Setup {
    Setup {
        store: config.store_url.clone(),
        control: control::Settings {
            socket: config.control.socket.clone(),
            operators: config.control.operators.clone(),
            viewers: config.control.viewers.clone(),
            authenticators: config.control.authenticators.clone(),
            own_user_operates: false,
        },
        rules: Rules {
            trusted: config.trusted.clone(),
            resolver: match config.resolver {
                config::Resolver::System => Resolver::System,
                config::Resolver::At(address) => Resolver::At(address),
            },
            max_failures: config.sign_in.max_failures,
            gates: config.gates.iter().map(gate).collect(),
            retention: retention(&config.retention),
        },
        metrics: config.metrics_listen,
        directories: config.directories.iter().filter_map(|d| directory(d, config)).collect(),
        hooks: config.hooks.iter().map(hook).collect(),
        runner: RunnerAt::default(),
        log_keys: config.log_keys.clone(),
    }
}

fn retention(r: &config::Retention) -> Retention {
    let config::Retention { release_address_after, remove_after, events } = *r;
    Retention { release_address_after, remove_after, events }
}

fn hook(hook: &config::Hook) -> Hook {
    let config::Hook { name, events, target, timeout, max_age, concurrency } = hook;
    let target = match target {
        config::Target::Exec(exec) => Target::Exec(Program::of(exec)),
        config::Target::Webhook(config::Webhook {
            url,
            secret_file,
            ca_file,
            proxy,
            allow_http: _,
        }) => Target::Webhook(Webhook {
            url: url.clone(),
            secret_file: secret_file.clone(),
            ca_file: ca_file.clone(),
            proxy: proxy.clone(),
            connections: Connections::default(),
        }),
    };
    let (name, events, concurrency) = (name.clone(), events.clone(), *concurrency as usize);
    Hook { name, events, target, timeout: *timeout, max_age: *max_age, concurrency }
}

/// One directory; `None` only for a schedule that was not checked.
fn directory(d: &config::Directory, config: &Config) -> Option<DirectoryConfig> {
    let (servers, discover) = match &d.servers {
        config::Servers::Listed(urls) => {
            (urls.iter().filter_map(|url| ServerUrl::parse(url).ok()).collect(), None)
        }
        config::Servers::Discovered { domain, site, suffixes } => (
            Vec::new(),
            Some(Discovery {
                domain: domain.clone(),
                site: site.clone(),
                suffixes: suffixes.clone(),
            }),
        ),
    };
    let groups = |tier: Tier, names: &[String]| {
        names.iter().map(|n| (tier, GroupName::parse(n))).collect::<Vec<_>>()
    };
    let groups = [groups(Tier::Pro, &d.pro_groups), groups(Tier::Basic, &d.basic_groups)].concat();
    Some(DirectoryConfig {
        name: d.name.clone(),
        rename_from: d.rename_from.clone(),
        account: d.account.clone(),
        mode: match d.mode {
            config::Mode::Apply => Mode::Apply,
            config::Mode::PlanOnly => Mode::PlanOnly,
        },
        discover,
        tiers: TierRules {
            grouped: !groups.is_empty(),
            without_group: match d.without_group {
                config::WithoutGroup::Suspend => WithoutGroup::Suspend,
                config::WithoutGroup::Keep => WithoutGroup::Keep,
                config::WithoutGroup::Basic => WithoutGroup::Basic,
            },
            default_tier: d.default_tier,
        },
        settings: Settings {
            servers,
            starttls: d.starttls,
            ca_file: d.ca_file.clone(),
            bind_dn: d.bind_dn.clone(),
            password_file: d.password_file.clone(),
            bases: d.bases.iter().map(|b| b.as_str().to_owned()).collect(),
            filter: d
                .filter
                .as_ref()
                .and_then(|text| Some((text.clone(), Filter::parse(text).ok()?))),
            timeouts: Timeouts {
                connect: d.timeouts.connect,
                operation: d.timeouts.operation,
                run: d.timeouts.run,
            },
            page_size: d.page_size,
            groups,
            canaries: d.canaries.clone(),
            attributes: attributes(&d.attributes),
        },
        exclude: d.exclude.clone(),
        protect: d.protect.clone(),
        limits: limits(&d.safety),
        schedule: Cron::parse(&d.schedule, config.timezone).ok()?,
        stale_after: d.stale_after,
        full: Cron::parse(&d.full, config.timezone).ok()?,
        live: d.live && d.incremental,
        incremental: d.incremental,
    })
}

fn gate(g: &config::Gate) -> Gate {
    let config::Gate { name, exec, timeout } = g;
    Gate { name: name.clone(), program: Program::of(exec), timeout: *timeout }
}

fn attributes(a: &config::Attributes) -> AttributeNames {
    let config::Attributes {
        email,
        display_name,
        given_name,
        surname,
        title,
        department,
        phone,
        employee_id,
        manager,
    } = a.clone();
    AttributeNames {
        email,
        display_name,
        given_name,
        surname,
        title,
        department,
        phone,
        employee_id,
        manager,
    }
}

fn limits(s: &config::Safety) -> Limits {
    let config::Safety { window, grace_period, approval_expires, classes } = s;
    let classes = classes
        .iter()
        .map(|(class, l)| {
            (*class, Limit { percent: l.percent, at_least: l.at_least, at_most: l.at_most })
        })
        .collect();
    Limits {
        window: *window,
        grace_period: *grace_period,
        approval_expires: *approval_expires,
        classes,
    }
}
