//! The checks of the domain: bases, filter, rights, deleted objects, attributes, groups and
//! changes.

use std::collections::BTreeSet;

use ldap3::Scope;

use super::{CheckReport, failed};
use crate::directory::confirm::deleted_objects;
use crate::directory::controls::SearchMode;
use crate::directory::query::Query;
use crate::directory::{
    Assertion, Decoder, DirectoryError, Grants, PERSON_FILTER, Right, Session, Settings,
};
use crate::model::{CheckOutcome, CheckStep, Dn, Placement, Tier, unknown_rule};
use crate::reconcile::{Closure, Presence, foreign_members};

/// Most people in the sample of attributes.
const SAMPLE: u32 = 200;

/// Checks bases, filter, paging, rights, deleted objects, attributes and groups.
pub(super) async fn directory(
    session: &mut Session,
    settings: &Settings,
    report: &mut CheckReport,
) -> Result<(), DirectoryError> {
    let decoder = Decoder::new(&settings.attributes, &Closure::default());
    let mut sample = Sample { people: 0, seen: vec![0; decoder.attributes().len()] };
    for base in &settings.bases {
        self::base(session, settings, base, &decoder, &mut sample, report).await?;
    }
    for (key, ou) in settings.named_ous() {
        if container(session, key, ou.as_str(), report).await? {
            report.ok(key, ou.as_str());
        }
    }
    rights(&sample, &decoder, session, report);
    deleted(session, report).await?;
    names(session, settings, report).await?;
    groups(session, settings, report).await
}

/// Counts of people who show each attribute.
struct Sample {
    people: u32,
    seen: Vec<u32>,
}

/// Checks that a container exists which the configuration names by its DN. Returns whether it does.
async fn container(
    session: &mut Session,
    key: &'static str,
    name: &str,
    report: &mut CheckReport,
) -> Result<bool, DirectoryError> {
    if session.object(name, &["objectGUID".to_owned()]).await?.is_some() {
        return Ok(true);
    }
    let domain = session.root.default_naming_context.clone();
    if Dn::new(name).is_within(&Dn::new(domain.as_str())) {
        let similar = session.similar_containers(name).await?;
        let remedy = match similar.as_slice() {
            [] => "check its name, and that the service account may read it".to_owned(),
            names => format!("did you mean {}?", names.join(" or ")),
        };
        report.fail(key, format!("{name} was not found"), remedy);
    } else {
        report.fail(
            key,
            format!("{name} is outside the domain {domain} that this server holds"),
            format!("check {key}"),
        );
    }
    Ok(false)
}

/// Checks that a base exists, that the filter matches people in it, and that paging works.
async fn base(
    session: &mut Session,
    settings: &Settings,
    base: &str,
    decoder: &Decoder,
    sample: &mut Sample,
    report: &mut CheckReport,
) -> Result<(), DirectoryError> {
    let server = session.server.clone();
    if !container(session, "base", base, report).await? {
        return Ok(());
    }
    let attributes = decoder.requested();
    let people_filter = Assertion::raw(PERSON_FILTER);
    let wanted = Assertion::all(
        [Some(PERSON_FILTER), settings.filter_text().as_deref()]
            .into_iter()
            .flatten()
            .map(Assertion::raw),
    );
    let size = SAMPLE.min(settings.page_size);
    let mut people = 0;
    let query = Query {
        mode: SearchMode::Pages(size, b""),
        ..Query::new(base, Scope::Subtree, wanted.as_str(), &attributes)
    };
    let first = session
        .search(&query, |entry| {
            people += 1;
            sample.add(decoder.person(entry, Placement::Inside).ok().map(|(_, presence)| presence));
        })
        .await?;
    let Some(cookie) = first.cookie.filter(|_| first.code == 0) else {
        let error =
            session.search_error(base, if first.code == 0 { 12 } else { first.code }, first.text);
        let is_filter = first.code != 0
            && settings.filter.is_some()
            && session.has_visible_people(&Dn::new(base)).await?;
        if is_filter {
            let finding = format!(
                "AD refuses the filter {}: {}",
                settings.filter_text().unwrap_or_default(),
                error.finding()
            );
            report.fail("filter", finding, "correct filter");
        } else {
            report.add(failed("paging", &error).at(&server));
        }
        return Ok(());
    };
    let many = if cookie.is_empty() {
        format!("{people} people")
    } else {
        format!("at least {people} people")
    };
    match (people, &settings.filter) {
        (0, None) => report.fail(
            "base",
            format!("{base} shows no people"),
            "check base, and that the service account may list what is below it",
        ),
        (0, Some((filter, _))) => {
            let has_people =
                session.matches_any(base, Scope::Subtree, &people_filter, false, |_| true).await?;
            let (finding, remedy) = if has_people {
                (
                    format!("{base} has people, and the filter {filter} finds none of them"),
                    "check filter",
                )
            } else {
                (
                    format!("{base} shows no people"),
                    "check base, and that the service account may list what is below it",
                )
            };
            report.fail("base", finding, remedy);
        }
        _ => report.ok("base", format!("{base}: {many}")),
    }
    if cookie.is_empty() {
        report.ok("paging", "all people are on one page, which came with its control");
    } else {
        let mut next = 0;
        let second = session
            .search(&Query { mode: SearchMode::Pages(size, &cookie), ..query.clone() }, |_| {
                next += 1
            })
            .await?;
        match (second.code, second.cookie) {
            (0, Some(_)) if people == size => report.add(CheckStep::new(
                "paging",
                CheckOutcome::Ok,
                format!("paging works, with {size} people a page"),
                None,
            )),
            (0, _) => report.fail(
                "paging",
                format!("a page of {size} people came with {people}, or without its control"),
                "use a domain controller of Active Directory",
            ),
            (code, _) => {
                let error = session.search_error(base, code, second.text);
                report.add(failed("paging", &error));
            }
        }
    }
    Ok(())
}

impl Sample {
    fn add(&mut self, presence: Option<Presence>) {
        self.people += 1;
        let Some(Presence(bits)) = presence else { return };
        for (bit, seen) in self.seen.iter_mut().enumerate() {
            *seen += u32::from(bits >> bit & 1 == 1);
        }
    }
}

/// Checks that universal attributes are visible on all people, and the others on at least one.
fn rights(sample: &Sample, decoder: &Decoder, session: &Session, report: &mut CheckReport) {
    if sample.people == 0 {
        report.add(CheckStep::new(
            "rights",
            CheckOutcome::Skipped,
            "no person was seen, so no attribute could be checked",
            None,
        ));
        return;
    }
    let universal = Decoder::universal();
    let mut unreadable = Vec::new();
    let mut unseen = Vec::new();
    for (name, seen) in decoder.attributes().into_iter().zip(&sample.seen) {
        if universal.contains(&name) && *seen < sample.people {
            unreadable.push(format!("{name} on {} of {}", sample.people - seen, sample.people));
        } else if *seen == 0 {
            unseen.push(name);
        }
    }
    let base = &session.root.default_naming_context;
    let grant = Grants::of(session).command(Right::ReadProperty, base);
    if !unreadable.is_empty() {
        report.fail(
            "rights",
            format!("cannot be read: {}", unreadable.join(", ")),
            format!("grant Read all properties on people: {grant}"),
        );
    }
    if !unseen.is_empty() {
        report.warn(
            "rights",
            format!("none of {} sampled people has {}", sample.people, unseen.join(", ")),
            format!("nothing to do if no person has them; else grant Read all properties: {grant}"),
        );
    }
    if unreadable.is_empty() && unseen.is_empty() {
        report.ok(
            "rights",
            format!("every attribute that rosterd reads was seen on {} people", sample.people),
        );
    }
}

/// Checks the visibility of deleted objects.
async fn deleted(session: &mut Session, report: &mut CheckReport) -> Result<(), DirectoryError> {
    if session.sees_tombstones().await? {
        report.ok("deleted objects", "they can be read: a deletion is seen as one");
        return Ok(());
    }
    let container = deleted_objects(&session.root.default_naming_context);
    let grant = Grants::of(session).see_deleted_objects(&container);
    report.warn(
        "deleted objects",
        "the service account cannot see deleted objects: deletions are noticed after a recheck, and held if a whole OU is concerned",
        format!("if a person was ever deleted, grant the right {grant}"),
    );
    Ok(())
}

/// Checks that the server supports DirSync.
pub(super) async fn changes(session: &mut Session, is_incremental: bool, report: &mut CheckReport) {
    if !is_incremental {
        report.add(CheckStep::new(
            "changes",
            CheckOutcome::Skipped,
            "not followed: incremental = false",
            None,
        ));
        return;
    }
    match session.supports_dirsync().await {
        Ok(()) => report.ok("changes", "the server tells what has changed (DirSync): it can be acted on at once"),
        Err(error) => report.warn(
            "changes",
            format!("the server does not tell what has changed: {}", error.finding()),
            "use a domain controller of Active Directory, and let firewalls pass DirSync; until then only scheduled runs see changes, and each is a full run; incremental = false confirms that",
        ),
    }
}

/// Checks that the configured attributes exist.
async fn names(
    session: &mut Session,
    settings: &Settings,
    report: &mut CheckReport,
) -> Result<(), DirectoryError> {
    if let Some((_, filter)) = &settings.filter {
        for rule in filter.unknown_rules() {
            report.fail("filter", unknown_rule(rule), "check filter");
        }
    }
    for (step, key, names) in settings.named_attributes() {
        if names.is_empty() {
            continue;
        }
        match session
            .schema_of(names.iter().map(String::as_str))
            .await?
            .map(|schema| schema.unknown)
        {
            None => report.warn(
                step,
                "the schema cannot be read, so nothing tells whether the attributes exist",
                "let the service account read the schema",
            ),
            Some(unknown) if unknown.is_empty() => {
                report.ok(step, format!("AD has {}", names.join(", ")))
            }
            Some(unknown) => {
                let unknown = unknown.into_iter().collect::<Vec<_>>().join(", ");
                report.fail(step, format!("AD has no attribute {unknown}"), format!("check {key}"));
            }
        }
    }
    Ok(())
}

fn nested_groups(nested: usize) -> String {
    match nested {
        0 => String::new(),
        1 => ", with 1 nested group".to_owned(),
        n => format!(", with {n} nested groups"),
    }
}

/// Checks the groups, and counts nested ones.
async fn groups(
    session: &mut Session,
    settings: &Settings,
    report: &mut CheckReport,
) -> Result<(), DirectoryError> {
    if settings.groups.is_empty() {
        report.add(CheckStep::new(
            "groups",
            CheckOutcome::Ok,
            "none are configured: every user gets default-tier",
            None,
        ));
    }
    for (tier, name) in &settings.groups {
        if let Some(other) = name.directory() {
            let finding = format!("{}: read in the directory {other}", name.as_str());
            let remedy = format!("look at its members with rosterctl directory check {other}");
            report.add(CheckStep::new("groups", CheckOutcome::Ok, finding, Some(remedy)));
            continue;
        }
        let object = match session.resolve_group(name, None).await? {
            Ok(object) => object,
            Err(trouble) => {
                let similar = session.similar_groups(name).await?;
                let remedy = match similar.as_slice() {
                    [] => trouble.remedy().to_owned(),
                    names => format!("did you mean {}? {}", names.join(", "), trouble.remedy()),
                };
                report.fail("groups", trouble.finding(), remedy);
                continue;
            }
        };
        let dn = object.dn.clone();
        let guid = object.guid();
        let closure = session.closure(&[(*tier, object)]).await?;
        let nested = closure.groups().count().saturating_sub(1);
        let mut foreign = BTreeSet::new();
        for group in closure.groups() {
            foreign.extend(session.group_members(group.guid).await?.foreign);
        }
        let of = match tier {
            Tier::Pro => "pro",
            Tier::Basic => "basic",
        };
        let silent = session.groups_without_members(&guid.into_iter().collect()).await?;
        if silent.is_empty() || nested > 0 {
            report.ok("groups", format!("{of}: {dn}{}", nested_groups(nested)));
        } else {
            report.warn(
                "groups",
                format!("{of}: {dn} shows no member"),
                "nothing to do if it is empty, or the primary group of its people; else let the service account read member",
            );
        }
        if !foreign.is_empty() {
            let foreign: Vec<String> = foreign.iter().map(ToString::to_string).collect();
            report.warn(
                "groups",
                foreign_members(&Dn::new(dn.as_str()).name(), &foreign),
                "to give them a tier, write DIRECTORY:GROUP, with the name of this directory, in the groups of the directory of these people",
            );
        }
    }
    Ok(())
}
