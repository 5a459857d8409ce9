//! What configuration names, followed by the GUID of the object it meant when it was first found.
//!
//! The pin wins: a base or group that was renamed is followed and reported, one that is gone is an alarm
//! and never "nobody". `rosterctl directory repin` accepts a successor.

use std::collections::BTreeSet;

use super::{Directory, Engine, EngineError};
use crate::directory::{GroupTrouble, Object, Session};
use crate::model::{Dn, Tier};
use crate::reconcile::{Canary, Closure};
use crate::store::{Pin, PinKind};

impl Engine {
    /// Where the bases stand now: each is pinned to the object it meant first.
    pub(super) async fn bases(
        &self,
        directory: &Directory,
        session: &mut Session,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Dn>, EngineError> {
        let name = &directory.config.name;
        let baseline = self.store.directory(name).await?.baseline;
        let pins = self.store.pins(name, PinKind::Base).await?;
        let attributes = ["objectGUID".to_owned()];
        let mut bases = Vec::new();
        for configured in &directory.config.settings.bases {
            let key = Dn::new(configured.as_str()).key().to_owned();
            let pinned = pins.get(&key).and_then(|p| p.first());
            let found = match pinned {
                Some(pin) => session.object(&format!("<GUID={}>", pin.guid), &attributes).await?,
                None => session.object(configured, &attributes).await?,
            };
            let Some(object) = found else {
                let what = if pinned.is_some() {
                    "can no longer be read: it was deleted, or the service account has lost the right to see it"
                } else {
                    "was not found: check base"
                };
                warnings.push(format!("the base {configured} {what}"));
                // It is read all the same: the refusal makes this base, and no other, incomplete.
                bases.push(Dn::new(configured.as_str()));
                continue;
            };
            let dn = Dn::new(object.dn.clone());
            match (pinned, object.guid()) {
                (None, Some(guid)) => {
                    self.store.pin_by(baseline, name, PinKind::Base, &Pin { name: key, guid, detail: object.dn.clone() }).await?
                }
                _ if dn.key() != key => warnings.push(format!("the base {configured} is now {}: update the configuration", object.dn)),
                _ => {}
            }
            bases.push(dn);
        }
        Ok(bases)
    }

    /// The closure of the configured groups; what is wrong with one of them, if something is.
    pub(super) async fn groups(
        &self,
        directory: &Directory,
        session: &mut Session,
        warnings: &mut Vec<String>,
    ) -> Result<(Closure, Option<GroupTrouble>), EngineError> {
        let name = &directory.config.name;
        let baseline = self.store.directory(name).await?.baseline;
        let pins = self.store.pins(name, PinKind::Group).await?;
        let mut roots: Vec<(Tier, Object)> = Vec::new();
        let mut trouble = None;
        for (tier, group) in &directory.config.settings.groups {
            let key = group.as_str().to_lowercase();
            let pinned = pins.get(&key).and_then(|p| p.first());
            match session.resolve_group(group, pinned.map(|p| p.guid)).await? {
                Ok(object) => {
                    match (pinned, object.guid()) {
                        (None, Some(guid)) => {
                            self.store.pin_by(baseline, name, PinKind::Group, &Pin { name: key, guid, detail: object.dn.clone() }).await?;
                        }
                        (Some(pin), _) if group.is_outdated(&Dn::new(pin.detail.as_str()), &Dn::new(object.dn.as_str())) => {
                            warnings.push(format!("the group \"{}\" is now {}: update the configuration", group.as_str(), object.dn));
                        }
                        _ => {}
                    }
                    roots.push((*tier, object));
                }
                Err(problem) => trouble = Some(problem),
            }
        }
        Ok((session.closure(&roots).await?, trouble))
    }

    /// The canaries with what each showed when it was pinned; our own entry when none is configured.
    pub(super) async fn canaries(&self, directory: &Directory, session: &mut Session) -> Result<Vec<Canary>, EngineError> {
        let name = &directory.config.name;
        let baseline = self.store.directory(name).await?.baseline;
        let pins = self.store.pins(name, PinKind::Canary).await?;
        let mut configured: Vec<String> = directory.config.settings.canaries.clone();
        if configured.is_empty() {
            configured.push(session.me.dn.clone());
        }
        let mut canaries = Vec::new();
        for canary in configured {
            let key = canary.to_lowercase();
            if let Some(pin) = pins.get(&key).and_then(|p| p.first()) {
                let attributes = pin.detail.split(',').filter(|a| !a.is_empty()).map(str::to_owned).collect();
                canaries.push(Canary { guid: pin.guid, name: canary, attributes });
                continue;
            }
            let found = session.find_canary(&canary).await?;
            let Some((guid, object)) = found.and_then(|o| Some((o.guid()?, o))) else {
                return Err(EngineError::Refused(format!(
                    "the canary {canary} was not found: check canaries, and that the service account may read it"
                )));
            };
            let attributes: BTreeSet<String> = shown(&object);
            let detail = attributes.iter().cloned().collect::<Vec<_>>().join(",");
            self.store.pin_by(baseline, name, PinKind::Canary, &Pin { name: key, guid, detail }).await?;
            canaries.push(Canary { guid, name: canary, attributes });
        }
        Ok(canaries)
    }
}

/// The attributes an object shows, without those that come and go by themselves.
pub(super) fn shown(object: &Object) -> BTreeSet<String> {
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
