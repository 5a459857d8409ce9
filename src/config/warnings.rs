//! Warnings about valid settings: secrets that a role can read, and groups that give no role.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::{Group, User, getegid, geteuid};

use super::{Config, Control, Receiver};

/// User and group of the daemon in the package.
const DAEMON: &str = "rosterd";

impl Config {
    /// Returns warnings about valid settings, each a sentence with its remedy.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let groups = Groups::of(&self.control);
        warnings.extend(groups.of_daemon(&self.control));
        if groups.operators.is_none() {
            warnings.push(format!(
                "the group {0} does not exist, so that only root operates rosterd: run groupadd --system {0}, or set control.operators",
                self.control.operators
            ));
        }
        let secrets = self.directories.iter().map(|directory| directory.credential.file());
        let keys = self.hooks.iter().filter_map(|hook| match &hook.receiver {
            Receiver::Webhook(webhook) => webhook.secret_file.as_deref(),
            Receiver::Mail(mail) => mail.login.as_ref().map(|login| login.password_file.as_path()),
            Receiver::Exec(_) => None,
        });
        let tokens = self.targets.iter().map(|target| target.credential.file());
        let secrets = secrets.chain(keys).chain(tokens);
        warnings.extend(secrets.filter_map(|file| groups.read(file)));
        warnings
    }
}

/// The groups of the roles; `None` where the machine has no such group.
struct Groups {
    operators: Option<Group>,
    viewers: Option<Group>,
    authenticators: Option<Group>,
}

impl Groups {
    fn of(Control { socket: _, operators, viewers, authenticators }: &Control) -> Self {
        let group = |name: &str| Group::from_name(name).ok().flatten();
        Self {
            operators: group(operators),
            viewers: group(viewers),
            authenticators: group(authenticators),
        }
    }

    /// Returns a warning about a role whose group is the daemon's own.
    fn of_daemon(&self, control: &Control) -> Option<String> {
        let own = if geteuid().is_root() {
            User::from_name(DAEMON).ok().flatten().map(|user| user.gid)
        } else {
            Some(getegid())
        };
        let roles = [
            ("operators", &control.operators, &self.operators),
            ("viewers", &control.viewers, &self.viewers),
            ("authenticators", &control.authenticators, &self.authenticators),
        ];
        roles.into_iter().find_map(|(key, name, group)| {
            let is_own = name == DAEMON || group.as_ref().is_some_and(|group| Some(group.gid) == own);
            is_own.then(|| {
                format!(
                    "control.{key} = \"{name}\" is the daemon's own group, whose members read every secret that rosterd reads: \
                     make a group of its own (groupadd --system rosterd-{key}), put the {key} into it and out of {name}, and name it here"
                )
            })
        })
    }

    /// Returns a warning about a secret that the members of a role can read.
    fn read(&self, file: &Path) -> Option<String> {
        let metadata = fs::metadata(file).ok()?;
        let of_file = [&self.operators, &self.viewers, &self.authenticators];
        let group =
            of_file.into_iter().flatten().find(|group| group.gid.as_raw() == metadata.gid())?;
        (metadata.mode() & 0o040 != 0).then(|| {
            let (file, group) = (file.display(), &group.name);
            format!(
                "the members of {group} can read the secret in {file}: give it to root alone (chown root:root {file}; chmod 600 {file}) \
                 and hand it to rosterd by LoadCredential= (password-credential or keytab-credential), or chgrp it to the daemon's group"
            )
        })
    }
}
