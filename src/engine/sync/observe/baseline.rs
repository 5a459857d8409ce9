//! The baseline: the GUIDs of the configured bases, OUs and groups, and the attributes of canaries.
//!
//! The GUID wins over the name. A renamed base, OU or group is followed and reported. A missing one fails
//! the run and does not count as empty. `rosterctl directory rebaseline` accepts a successor.

use std::collections::BTreeSet;

use crate::directory::{Bases, GroupError, Object, Session};
use crate::engine::sync::observe::connection::Connection;
use crate::engine::{Directory, DirectoryConfig, Engine, EngineError};
use crate::model::{Dn, GroupName, Tier};
use crate::reconcile::{Canary, Closure, Exclude, Ou, OuRules};
use crate::store::{BaselineKind, BaselineObject};

/// The use of a container that the configuration names by its DN.
#[derive(Clone, Copy)]
enum Container {
    Base,
    /// An OU whose people are out of scope.
    Excluded,
    /// An OU whose people have rules of their own.
    Ruled,
}

/// The words of a warning about a container.
struct Words {
    noun: &'static str,
    /// The configuration key.
    key: &'static str,
    /// The effect of a missing one, as the end of a sentence.
    effect: &'static str,
}

impl Container {
    fn kind(self) -> BaselineKind {
        match self {
            Self::Base => BaselineKind::Base,
            Self::Excluded | Self::Ruled => BaselineKind::Ou,
        }
    }

    fn words(self) -> Words {
        match self {
            Self::Base => Words { noun: "base", key: "base", effect: "" },
            Self::Excluded => Words {
                noun: "excluded OU",
                key: "exclude-ou",
                effect: ". Until then no user is created or reactivated",
            },
            Self::Ruled => Words {
                noun: "OU",
                key: "ou in [[directory.rule]]",
                effect: ". Until then people in no group keep their tier",
            },
        }
    }
}

impl Engine {
    /// Returns the present DNs of the bases. A base that cannot be found makes only itself incomplete.
    pub(in crate::engine) async fn bases(
        &self,
        directory: &Directory,
        session: &mut Session,
        warnings: &mut Vec<String>,
    ) -> Result<Bases, EngineError> {
        let configured = &directory.config.settings.bases;
        let found = self.containers(directory, session, Container::Base, configured, warnings);
        let found = found.await?;
        let are_certain = found.iter().all(Option::is_some);
        // A missing one is read nevertheless, because the refusal makes this base incomplete and no other.
        let dns = found
            .into_iter()
            .zip(configured)
            .map(|(found, name)| found.unwrap_or_else(|| Dn::new(name.as_str())));
        Ok(Bases { dns: dns.collect(), are_certain })
    }

    /// Returns the exclusions with the present DNs of their OUs.
    pub(in crate::engine) async fn exclude(
        &self,
        directory: &Directory,
        session: &mut Session,
        warnings: &mut Vec<String>,
    ) -> Result<Exclude, EngineError> {
        let DirectoryConfig { exclude, settings, .. } = &directory.config;
        let exclude_ou = &settings.exclude_ou;
        let names: Vec<String> = exclude_ou.iter().map(|ou| ou.as_str().to_owned()).collect();
        let found = self.containers(directory, session, Container::Excluded, &names, warnings);
        let ous = exclude_ou.iter().zip(found.await?);
        let ous = ous.map(|(ou, present)| Ou { configured: ou.clone(), present }).collect();
        Ok(Exclude::new(exclude.iter().cloned(), ous))
    }

    /// Returns the rules with the present DNs of their OUs.
    pub(in crate::engine) async fn rules(
        &self,
        directory: &Directory,
        session: &mut Session,
        warnings: &mut Vec<String>,
    ) -> Result<OuRules, EngineError> {
        let mut rules = directory.config.settings.rules.clone();
        let names: Vec<String> =
            rules.0.iter().map(|rule| rule.ou.configured.as_str().to_owned()).collect();
        let found = self.containers(directory, session, Container::Ruled, &names, warnings).await?;
        for (rule, present) in rules.0.iter_mut().zip(found) {
            rule.ou.present = present;
        }
        Ok(rules)
    }

    /// Returns the present DN of each container; `None` for those that were not found.
    async fn containers(
        &self,
        directory: &Directory,
        session: &mut Session,
        container: Container,
        names: &[String],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Option<Dn>>, EngineError> {
        let name = &directory.config.name;
        let kind = container.kind();
        let mut present = Vec::new();
        if names.is_empty() {
            return Ok(present);
        }
        let baseline = self.store.directory(name).await?.baseline;
        let accepted = self.store.baseline(name, kind).await?;
        let attributes = ["objectGUID".to_owned()];
        let Words { noun, key: option, effect } = container.words();
        for configured in names {
            let key = Dn::new(configured.as_str()).key().to_owned();
            let pinned = accepted.get(&key).and_then(|objects| objects.first());
            let found = match pinned {
                Some(pin) => session.object(&format!("<GUID={}>", pin.guid), &attributes).await,
                None => session.object(configured, &attributes).await,
            };
            let object = match found {
                Ok(Some(object)) => object,
                missing => {
                    let what = match (missing, pinned) {
                        (Err(error), _) => format!("could not be looked up: {error}"),
                        (Ok(_), Some(_)) => format!(
                            "can no longer be read: it was deleted, or the service account has lost the right to see it; correct {option}, or give the right back"
                        ),
                        (Ok(_), None) => format!("was not found: check {option}"),
                    };
                    warnings.push(format!("the {noun} {configured} {what}{effect}"));
                    present.push(None);
                    continue;
                }
            };
            let dn = Dn::new(object.dn.clone());
            match (pinned, object.guid()) {
                (None, Some(guid)) => {
                    let found = BaselineObject { name: key, guid, detail: object.dn.clone() };
                    self.store.accept_in_baseline(baseline, name, kind, &found).await?;
                }
                _ if dn.key() != key => warnings.push(format!(
                    "the {noun} {configured} is now {}: update the configuration",
                    object.dn
                )),
                _ => {}
            }
            present.push(Some(dn));
        }
        Ok(present)
    }

    /// Returns the closure of the configured groups, and the problem with one of them.
    pub(in crate::engine) async fn groups(
        &self,
        directory: &Directory,
        session: &mut Session,
        warnings: &mut Vec<String>,
    ) -> Result<(Closure, Option<GroupError>), EngineError> {
        let mut roots: Vec<(Tier, Object)> = Vec::new();
        let mut trouble = None;
        let groups = &directory.config.settings.groups;
        for (tier, group) in groups.iter().filter(|(_, group)| group.directory().is_none()) {
            match self.group(directory, session, group, warnings).await? {
                Ok(object) => roots.push((*tier, object)),
                Err(problem) => trouble = Some(problem),
            }
        }
        let mut closure = session.closure(&roots).await?;
        let named = directory.config.settings.filter_groups();
        session.note_filter_groups(&named, &mut closure).await?;
        if groups.iter().any(|(_, group)| group.directory().is_some()) {
            let elsewhere = self.groups_elsewhere(directory, session, &mut closure, warnings).await;
            trouble = trouble.or(elsewhere?);
        }
        Ok((if trouble.is_some() { closure.partial() } else { closure }, trouble))
    }

    /// Finds a configured group of a directory by the baseline, and reports another name. `session` is
    /// one with the domain that has the group.
    pub(in crate::engine) async fn group(
        &self,
        directory: &Directory,
        session: &mut Session,
        group: &GroupName,
        warnings: &mut Vec<String>,
    ) -> Result<Result<Object, GroupError>, EngineError> {
        let name = &directory.config.name;
        let baseline = self.store.directory(name).await?.baseline;
        let accepted = self.store.baseline(name, BaselineKind::Group).await?;
        let key = group.as_str().to_lowercase();
        let pinned = accepted.get(&key).and_then(|objects| objects.first());
        let object = match session.resolve_group(group, pinned.map(|p| p.guid)).await? {
            Ok(object) => object,
            Err(problem) => return Ok(Err(problem)),
        };
        match (pinned, object.guid()) {
            (None, Some(guid)) => {
                let accepted = BaselineObject { name: key, guid, detail: object.dn.clone() };
                self.store
                    .accept_in_baseline(baseline, name, BaselineKind::Group, &accepted)
                    .await?;
            }
            (Some(pin), _)
                if group
                    .is_outdated(&Dn::new(pin.detail.as_str()), &Dn::new(object.dn.as_str())) =>
            {
                warnings.push(format!(
                    "the group \"{}\" is now {}: update the configuration",
                    group.as_str(),
                    object.dn
                ));
            }
            _ => {}
        }
        Ok(Ok(object))
    }

    /// Returns the names of the canaries: the service account's own entry when none is configured.
    fn canary_names(directory: &Directory, own: &str) -> Vec<String> {
        let configured = directory.config.settings.canaries.clone();
        if configured.is_empty() { vec![own.to_owned()] } else { configured }
    }

    /// Returns the canaries of the baseline, each with the attributes that it showed.
    pub(in crate::engine) async fn known_canaries(
        &self,
        directory: &Directory,
        own: &str,
    ) -> Result<Vec<Canary>, EngineError> {
        let accepted = self.store.baseline(&directory.config.name, BaselineKind::Canary).await?;
        let of = |name: String| {
            let canary = accepted.get(&name.to_lowercase())?.first()?;
            let attributes =
                canary.detail.split(',').filter(|a| !a.is_empty()).map(str::to_owned).collect();
            Some(Canary { guid: canary.guid, name, attributes })
        };
        Ok(Self::canary_names(directory, own).into_iter().filter_map(of).collect())
    }

    /// Returns the canaries of the baseline, adds new ones, and returns the problem with a missing one.
    pub(in crate::engine) async fn canaries(
        &self,
        directory: &Directory,
        connection: &mut Connection,
    ) -> Result<(Vec<Canary>, Option<String>), EngineError> {
        let name = &directory.config.name;
        let baseline = self.store.directory(name).await?.baseline;
        let own = connection.session.service_account.dn.clone();
        let mut canaries = self.known_canaries(directory, &own).await?;
        let known: BTreeSet<String> = canaries.iter().map(|canary| canary.name.clone()).collect();
        let mut lost = None;
        for canary in
            Self::canary_names(directory, &own).into_iter().filter(|name| !known.contains(name))
        {
            let found = if self.is_connected(directory, connection).await {
                connection.session.find_canary(&canary).await.map_err(|error| error.to_string())
            } else {
                Err("the connection ended".to_owned())
            };
            let object = match found {
                Ok(found) => found.and_then(|o| Some((o.guid()?, o))),
                Err(reason) => {
                    lost.get_or_insert(format!(
                        "the canary {canary} could not be asked for: {reason}"
                    ));
                    continue;
                }
            };
            let Some((guid, object)) = object else {
                lost.get_or_insert(format!("the canary {canary} was not found: check canaries, and that the service account may read it"));
                continue;
            };
            let attributes: BTreeSet<String> = shown(&object);
            let detail = attributes.iter().cloned().collect::<Vec<_>>().join(",");
            self.store
                .accept_in_baseline(
                    baseline,
                    name,
                    BaselineKind::Canary,
                    &BaselineObject { name: canary.to_lowercase(), guid, detail },
                )
                .await?;
            canaries.push(Canary { guid, name: canary, attributes });
        }
        Ok((canaries, lost))
    }
}

/// Returns the attributes that an object shows, without those that AD sets and clears by itself.
pub(in crate::engine) fn shown(object: &Object) -> BTreeSet<String> {
    const VOLATILE: [&str; 11] = [
        "lastlogon",
        "lastlogontimestamp",
        "logoncount",
        "badpwdcount",
        "badpasswordtime",
        "lastlogoff",
        "memberof",
        "lockouttime",
        "dscorepropagationdata",
        "whenchanged",
        "usnchanged",
    ];
    object.attributes.keys().filter(|a| !VOLATILE.contains(&a.as_str())).cloned().collect()
}
