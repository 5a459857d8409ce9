//! Rights: a missing attribute was cleared, or can no longer be read.
//!
//! AD answers both in the same way. A user loses an optional value only where other entries show the
//! attribute. They are in the same OU, or in the base if no user of the OU ever had it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::directory::{Bases, DirectoryError, Right, Session};
use crate::engine::sync::observe::baseline::shown;
use crate::engine::sync::observe::connection::Connection;
use crate::engine::sync::stages::ObservedRun;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{AttributeNames, Cause, Dn, Guid, Profile, Reason, Timestamp, User};
use crate::reconcile::{
    AttributeCounts, Canary, Desired, Known, Ledger, Metadata, Moment, Problem,
};

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
        let known =
            self.store.load(name, observed.seen.policy.account, &alive, &BTreeSet::new()).await?;
        self.doubt_returns(directory, connection, &alive, &known, observed).await?;
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

    /// Marks people who are in scope again although their entry was not changed since they left, and
    /// nobody in their OU shows the attribute that kept them out. A filter such as
    /// `(!(employeeType=left))` matches everybody when it cannot be read.
    async fn doubt_returns(
        &self,
        directory: &Directory,
        connection: &mut Connection,
        alive: &BTreeSet<Guid>,
        known: &Known,
        observed: &mut ObservedRun,
    ) -> Result<(), EngineError> {
        let Some((_, filter)) = connection.settings.filter.clone() else { return Ok(()) };
        let is_filtered = |cause: &&Cause| {
            let attribute = &cause.evidence.attribute;
            filter.attributes().iter().any(|a| a.eq_ignore_ascii_case(attribute))
        };
        let mut places: BTreeMap<_, BTreeMap<Guid, Timestamp>> = BTreeMap::new();
        for d in alive.iter().filter_map(|guid| observed.seen.desired.get(guid)) {
            let user = known.of_person(d.guid).filter(|_| d.is_in_scope());
            let cause = user.and_then(|user| user.causes.get(Reason::OutOfScope));
            if let Some(cause) = cause.filter(is_filtered) {
                let place = (d.dn.parent(), cause.evidence.attribute.clone());
                places.entry(place).or_default().insert(d.guid, cause.since);
            }
        }
        for (asked, ((parent, attribute), people)) in places.into_iter().enumerate() {
            let is_shown = match &parent {
                Some(parent)
                    if asked < MAX_ASKED && self.is_connected(directory, connection).await =>
                {
                    let shown = connection.session.attribute_is_visible(parent, &attribute).await;
                    matches!(shown, Ok(true))
                }
                _ => false,
            };
            if is_shown {
                continue;
            }
            let asked: BTreeSet<Guid> = people.keys().copied().collect();
            let stamps = if self.is_connected(directory, connection).await {
                connection.session.metadata(&asked).await.unwrap_or_default()
            } else {
                BTreeMap::new()
            };
            for (guid, since) in people {
                let changed_at = stamps.get(&guid).and_then(Metadata::changed_at);
                // A stamp has whole seconds.
                if changed_at.is_none_or(|at| at.plus(Duration::from_secs(1)) <= since)
                    && let Some(desired) = observed.seen.desired.get_mut(&guid)
                {
                    desired.returns_unwitnessed();
                }
            }
        }
        Ok(())
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
        match connection.session.attribute_is_visible(parent, attribute).await {
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
        for base in &bases.dns {
            if self.is_connected(directory, connection).await
                && matches!(
                    connection.session.attribute_is_visible(base, attribute).await,
                    Ok(true)
                )
            {
                return Ok(true);
            }
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
