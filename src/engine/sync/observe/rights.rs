//! Rights: a missing attribute was cleared, or can no longer be read.
//!
//! AD answers both in the same way. A user loses an optional value only where other entries show the
//! attribute. They are in the same OU, or in the base if no user of the OU ever had it.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Bases, DirectoryError, Right, Session};
use crate::engine::sync::observe::baseline::shown;
use crate::engine::sync::observe::connection::Connection;
use crate::engine::sync::stages::ObservedRun;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{AttributeNames, Dn, Guid, Profile, User};
use crate::reconcile::{AttributeCounts, Canary, Desired, Known, Ledger, Moment, Problem};

/// Maximum number of OUs and attributes that one run asks about. Others keep their values until the
/// next run.
const MAX_ASKED: usize = 400;

/// The attribute that holds secondary addresses.
const PROXIES: &str = "proxyAddresses";

/// Returns the optional attributes: the profile field, and the attribute that is configured for it.
///
/// The manager is left out, because AD clears it by itself when the manager is deleted.
fn optional(names: &AttributeNames) -> impl Iterator<Item = (&str, &str)> {
    let extra = names.extra.iter().map(|name| (name.as_str(), name.as_str()));
    names.profile().into_iter().filter(|(field, _)| *field != "manager").chain(extra)
}

/// Returns whether a profile has a value of this field or further attribute; `None` where it has no
/// such attribute.
fn shows(profile: &Profile, field: &str) -> Option<bool> {
    let fields = profile.fields();
    let value = fields.iter().find(|(name, _)| *name == field).map(|(_, value)| value.is_some());
    value.or_else(|| Some(!profile.extra.get(field)?.is_empty()))
}

/// Returns whether a user has a value of this field; `None` stands for secondary addresses.
fn has(user: &User, field: Option<&str>) -> bool {
    match field {
        None => !user.addresses.secondary.is_empty(),
        Some(field) => shows(&user.profile, field) == Some(true),
    }
}

/// Returns the attributes that the entry no longer shows although the user has values of them.
fn missing<'a>(
    d: &Desired,
    user: &User,
    names: &'a AttributeNames,
) -> Vec<(Option<&'a str>, &'a str)> {
    let Some(profile) = &d.profile else { return Vec::new() };
    let lacks = |field: &str| shows(profile, field) == Some(false);
    let of_profile = optional(names).filter(|(field, _)| lacks(field) && has(user, Some(field)));
    let mut missing: Vec<_> =
        of_profile.map(|(field, attribute)| (Some(field), attribute)).collect();
    if d.shows_no_proxies() && has(user, None) {
        missing.push((None, PROXIES));
    }
    missing
}

/// Notes the server's identity and the canaries. A canary that cannot be read counts as missing.
pub(in crate::engine) async fn note(
    session: &mut Session,
    canaries: &[Canary],
    moment: Moment,
    ledger: &mut Ledger,
) -> Result<(), DirectoryError> {
    ledger.server(moment, session.read_root().await?.identity);
    for canary in canaries {
        match session.object(&format!("<GUID={}>", canary.guid), &["*".to_owned()]).await {
            Ok(Some(object)) => ledger.canary(moment, canary.guid, &shown(&object)),
            Ok(None) | Err(DirectoryError::Search { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Engine {
    /// Reads the canaries for a scoped run. Returns the right that was lost.
    pub(in crate::engine) async fn lost_right(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Problem>, EngineError> {
        for canary in self.known_canaries(directory, &connection.session.service_account.dn).await?
        {
            // The service account's own entry was read when the connection was opened.
            let own = (connection.session.service_account.guid() == Some(canary.guid))
                .then(|| connection.session.service_account.clone());
            let found = match own {
                Some(own) => Ok(Some(own)),
                None if self.is_connected(directory, connection).await => {
                    connection
                        .session
                        .object(&format!("<GUID={}>", canary.guid), &["*".to_owned()])
                        .await
                }
                None => return Ok(None),
            };
            match found {
                Ok(Some(object)) => {
                    if let Some(lost) = canary.blind(&shown(&object)).next() {
                        return Ok(Some(Problem::CanaryBlind(
                            canary.name.clone(),
                            lost.to_owned(),
                        )));
                    }
                }
                Ok(None) => return Ok(Some(Problem::CanaryGone(canary.name.clone()))),
                Err(error) => warnings
                    .push(format!("the canary {} could not be asked for: {error}", canary.name)),
            }
        }
        Ok(None)
    }

    /// Keeps the values of users whose missing attribute is no evidence.
    pub(in crate::engine) async fn withhold(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        bases: &Bases,
        counts: &AttributeCounts,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        // Attribute counts are empty before the first complete read, and after a rebaseline.
        if counts.people == 0 {
            return Ok(());
        }
        let name = &directory.config.name;
        let alive: BTreeSet<Guid> = observed
            .seen
            .desired
            .values()
            .filter(|d| d.is_alive() && d.profile.is_some())
            .map(|d| d.guid)
            .collect();
        if alive.is_empty() {
            return Ok(());
        }
        let mut known =
            self.store.load(name, observed.seen.policy.account, &alive, &BTreeSet::new()).await?;
        let moving = self.moving(name, &observed.seen).await?;
        known.reject(&self.rejections(name, &moving).await?);
        self.doubt_admissions(directory, connection, bases, counts, &known, observed).await?;
        let names = connection.settings.attributes.clone();
        let mut places: BTreeMap<(Option<Dn>, &str), Place<'_>> = BTreeMap::new();
        for d in alive.iter().filter_map(|guid| observed.seen.desired.get(guid)) {
            let Some(user) = known.of_person(d.guid) else { continue };
            for (field, attribute) in missing(d, user, &names) {
                let place = places
                    .entry((d.dn.parent(), attribute))
                    .or_insert_with(|| Place { field, people: BTreeSet::new() });
                place.people.insert(d.guid);
            }
        }
        let mut hidden: BTreeMap<(String, String), u64> = BTreeMap::new();
        for (asked, ((parent, attribute), place)) in places.into_iter().enumerate() {
            let is_believed = asked < MAX_ASKED
                && self
                    .is_absence(
                        directory,
                        connection,
                        bases,
                        counts,
                        parent.as_ref(),
                        attribute,
                        &place,
                    )
                    .await?;
            if is_believed {
                continue;
            }
            let at = parent.map_or_else(String::new, |dn| dn.as_str().to_owned());
            *hidden.entry((at, attribute.to_owned())).or_default() += place.people.len() as u64;
            keep(observed, &known, &place);
        }
        for ((at, attribute), n) in hidden {
            let grant = observed.grants.command(Right::ReadProperty, &at);
            observed.warnings.push(format!(
                "{attribute} is no longer shown by {n} users in {at}, nor by any other entry there: cleared, or no longer readable; they keep what they have until it can be read (as a domain administrator: {grant}), or rosterctl directory rebaseline accepts it"
            ));
        }
        Ok(())
    }

    /// Marks people whom the filter lets in perhaps only because it cannot read what it excludes by.
    ///
    /// AD matches everybody to `(!(employeeType=left))` when employeeType cannot be read. So nobody is
    /// believed to have come into scope where the attribute was in use, and no entry shows it.
    async fn doubt_admissions(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        bases: &Bases,
        counts: &AttributeCounts,
        known: &Known,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        let Some((_, filter)) = connection.settings.filter.clone() else { return Ok(()) };
        let name = &directory.config.name;
        let mut places: BTreeMap<Dn, Vec<Guid>> = BTreeMap::new();
        for d in observed.seen.desired.values() {
            if let Some(parent) = d.dn.parent().filter(|_| known.admits(d, &observed.seen.policy)) {
                places.entry(parent).or_default().push(d.guid);
            }
        }
        let mut hidden: BTreeMap<&str, BTreeSet<Guid>> = BTreeMap::new();
        let mut asked = 0;
        for attribute in filter.excluding_attributes() {
            if places.is_empty() {
                break;
            }
            let was_shown = counts.seen.get(attribute).is_some_and(|n| *n > 0)
                || self.store.suspends_by(name, attribute, None).await?;
            let is_lost =
                was_shown && !self.is_shown(directory, connection, &bases.dns, attribute).await;
            for (parent, people) in &places {
                let is_hidden = if is_lost {
                    true
                } else if people.iter().any(|guid| known.is_excused(*guid))
                    || self.store.suspends_by(name, attribute, Some(parent)).await?
                {
                    asked += 1;
                    asked > MAX_ASKED
                        || !self.is_connected(directory, connection).await
                        || !matches!(
                            connection.session.attribute_is_visible_in(parent, attribute).await,
                            Ok(true)
                        )
                } else {
                    false
                };
                if is_hidden {
                    hidden.entry(attribute).or_default().extend(people);
                }
            }
        }
        for (attribute, people) in hidden {
            for guid in &people {
                if let Some(desired) = observed.seen.desired.get_mut(guid) {
                    desired.admitted_unwitnessed();
                }
            }
            let base = bases.dns.first().map_or("", Dn::as_str);
            let grant = observed.grants.command(Right::ReadProperty, base);
            observed.warnings.push(format!(
                "the filter excludes people by {attribute}, which no entry shows where people come into scope ({} of them): cleared, or no longer readable; they wait for approval until it can be read (as a domain administrator: {grant}), or rosterctl directory rebaseline accepts it",
                people.len()
            ));
        }
        Ok(())
    }

    /// Returns whether an entry in one of the bases shows the attribute.
    pub(in crate::engine) async fn is_shown(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        bases: &[Dn],
        attribute: &str,
    ) -> bool {
        for base in bases {
            if self.is_connected(directory, connection).await
                && matches!(
                    connection.session.attribute_is_visible_below(base, attribute).await,
                    Ok(true)
                )
            {
                return true;
            }
        }
        false
    }

    /// Returns whether the missing attribute was cleared, because other entries show it.
    #[expect(clippy::too_many_arguments, reason = "one question with the values that decide it")]
    async fn is_absence(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        bases: &Bases,
        counts: &AttributeCounts,
        parent: Option<&Dn>,
        attribute: &str,
        place: &Place<'_>,
    ) -> Result<bool, EngineError> {
        let Some(parent) = parent else { return Ok(false) };
        if !self.is_connected(directory, connection).await {
            return Ok(false);
        }
        match connection.session.attribute_is_visible_in(parent, attribute).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(_) => return Ok(false),
        }
        // No entry there shows it. If another user there had it, the right was lost.
        let neighbours = self.store.users_below(&directory.config.name, parent).await?;
        let had_it = |user: &User| {
            user.link.as_ref().is_none_or(|link| !place.people.contains(&link.guid))
                && has(user, place.field)
        };
        if place.people.len() > 1 || neighbours.iter().any(had_it) {
            return Ok(false);
        }
        if self.is_shown(directory, connection, &bases.dns, attribute).await {
            return Ok(true);
        }
        Ok(counts.seen.get(attribute).is_none_or(|seen| *seen <= 1))
    }
}

/// The people of one OU who no longer show one attribute.
struct Place<'a> {
    /// The profile field; `None` for secondary addresses.
    field: Option<&'a str>,
    people: BTreeSet<Guid>,
}

fn keep(observed: &mut ObservedRun, known: &Known, place: &Place<'_>) {
    for guid in &place.people {
        if let (Some(desired), Some(user)) =
            (observed.seen.desired.get_mut(guid), known.of_person(*guid))
        {
            desired.keep(place.field, user, &observed.seen.policy);
        }
    }
}
