//! The bytes that are stored and hashed: plans and rejections of an earlier version are recognised by
//! them, and events are verified by them. A digest here may change with a decision only.

use sha2::Digest as _;

use super::*;
use crate::model::{Digest, Means, Override, Plan, Quarantine, QuarantineReason};
use crate::reconcile::{Entitlement, Metadata, PersonRow, Proposal};
use crate::store::rows::Columns;
use crate::store::sql::Sql;

on_both! {
    changes_plans_rejections_and_events_keep_their_bytes
}

/// An instant with all digits of the stored precision.
const SEEN: Timestamp = Timestamp(978_307_200_123_456);

/// A text with characters that JSON escapes, and with some that it does not.
const ODD: &str = "Zoë \"Q\" \\ \u{1}\t</b> 東京 🙂";

fn id(n: u8) -> UserId {
    UserId(uuid::Uuid::from_bytes([n; 16]))
}

fn link(n: u8) -> Link {
    Link { directory: corp(), guid: guid(n), dn: Dn::new(format!("CN={ODD} {n},OU=Säle,DC=corp")) }
}

fn evidence(attribute: &str) -> Evidence {
    Evidence {
        server: "dc1.example.com".into(),
        object: Some(guid(9)),
        dn: Some(ODD.into()),
        attribute: attribute.into(),
        value: "514".into(),
        seen_at: SEEN,
    }
}

fn cause(reason: Reason) -> Cause {
    let by = match reason {
        Reason::Operator => By::Operator("alice".into()),
        _ => By::Directory("corp".into()),
    };
    Cause { reason, since: SEEN, by, evidence: evidence("userAccountControl") }
}

fn profile(title: Option<&str>) -> Profile {
    let extra = [("extensionAttribute2", vec!["b", "a"]), ("Company", vec![]), ("a", vec![ODD])];
    Profile {
        display_name: Some(ODD.into()),
        surname: Some("Müller".into()),
        title: title.map(str::to_owned),
        manager: Some("CN=Boss,DC=corp".into()),
        sam_account_name: Some("zoe".into()),
        user_principal_name: Some("zoe@corp.example.com".into()),
        extra: extra
            .into_iter()
            .map(|(name, values)| (name.into(), values.into_iter().map(str::to_owned).collect()))
            .collect(),
        ..Profile::default()
    }
}

fn joined(n: u8, causes: &[Reason]) -> Joined {
    let of = |text: String| Address::parse(&text).unwrap();
    Joined {
        tier: Tier::Pro,
        addresses: Addresses {
            primary: Some(of(format!("Zoe{n}@Bücher.example"))),
            secondary: ["b", "a"].map(|name| of(format!("{name}{n}@example.com"))).into(),
        },
        profile: profile(Some("Dr.")),
        link: Some(link(n)),
        causes: causes.iter().map(|reason| cause(*reason)).collect::<Vec<_>>().into(),
    }
}

/// Returns a change of each kind, about users of these numbers.
fn all_kinds(reference: &AccountRef) -> Vec<Change> {
    let boxed = |n, causes: &[Reason]| Box::new(joined(n, causes));
    let hash =
        |n: u64| BTreeSet::from([Override::Attributes(n), Override::Reason(Reason::NoGroup)]);
    let other = AccountRef { id: reference.id, handle: Handle::parse("other").unwrap() };
    let unlinked = Box::new(Joined { link: None, ..joined(5, &[]) });
    let readdressed = joined(7, &[]).addresses;
    let kinds = vec![
        ChangeKind::Create(boxed(1, &[])),
        ChangeKind::Create(boxed(2, &[Reason::Disabled, Reason::Operator])),
        ChangeKind::Invite { after: boxed(3, &[]), account_name: ODD.into() },
        ChangeKind::Register { before: Status::Invited },
        ChangeKind::Transfer { before: reference.clone(), after: other },
        ChangeKind::Release { before: Status::Suspended },
        ChangeKind::Remove { before: Some(boxed(4, &[])), status: Status::Active },
        ChangeKind::Remove { before: None, status: Status::Released },
        ChangeKind::Link { before: unlinked.clone(), after: boxed(5, &[Reason::Disabled]) },
        ChangeKind::Unlink { before: boxed(5, &[]), after: unlinked },
        ChangeKind::Relink { before: link(5), after: link(6) },
        ChangeKind::Move { before: link(6), after: link(7) },
        ChangeKind::Suspend { cause: cause(Reason::Vanished), was_active: true },
        ChangeKind::Suspend { cause: cause(Reason::Deleted), was_active: false },
        ChangeKind::Reactivate {
            lifted: vec![cause(Reason::Disabled), cause(Reason::NoGroup)].into(),
            remaining: BTreeSet::from([Reason::Operator]),
            evidence: vec![evidence("memberOf"), evidence("accountExpires")],
        },
        ChangeKind::Tier { before: Tier::Basic, after: Tier::Pro, evidence: evidence("memberOf") },
        ChangeKind::Readdress {
            before: readdressed.clone(),
            after: Addresses { primary: None, ..readdressed },
        },
        ChangeKind::Update { before: Box::new(profile(None)), after: Box::new(profile(Some(ODD))) },
        ChangeKind::Update {
            before: Box::new(Profile { extra: BTreeMap::new(), ..profile(Some("Dr.")) }),
            after: Box::new(profile(Some("Dr."))),
        },
        ChangeKind::Override { before: hash(1), after: hash(2) },
    ];
    let of_kind = |(n, kind)| Change {
        user: id(n),
        guid: Some(guid(n)),
        email: Some(Address::parse(&format!("Zoe{n}@example.com")).unwrap()),
        names: Names::from(&profile(None)),
        kind,
        class: Some(ChangeClass::Create),
        version: None,
        cluster: n.is_multiple_of(2).then(|| format!("ou=säle {n}")),
        home: n.is_multiple_of(3).then(|| "ou=säle,dc=corp".to_owned()),
    };
    (1..).zip(kinds).map(of_kind).collect()
}

/// Replaces what differs from run to run: ids of the clock, which are of version 7, and the time.
fn scrubbed(document: &str) -> String {
    let mut text = document.to_owned();
    let is_id = |part: &str| uuid::Uuid::try_parse(part).is_ok_and(|id| id.get_version_num() == 7);
    let is_now = |part: &str| {
        part.len() == "2026-11-30T08:00:00.000000Z".len() && part.ends_with('Z') && *part > *"2020"
    };
    for part in document.split('"').filter(|part| is_id(part) || is_now(part)) {
        text = text.replace(part, "?");
    }
    text
}

fn hash(parts: impl IntoIterator<Item = String>) -> String {
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update("\n");
    }
    Digest(hash.finalize().into()).to_string()[..16].to_owned()
}

impl Fresh {
    /// Returns the texts of all rows.
    async fn texts(&self, columns: &[&str], rest: &str) -> Vec<String> {
        let sql = format!("SELECT {} FROM {rest}", columns.join(", "));
        let rows = Sql::new(&sql).all(&self.store.readers).await.unwrap();
        let text = |row| {
            let mut row = Columns::of(row);
            columns
                .iter()
                .map(|_| row.maybe_text().unwrap().unwrap_or_default())
                .collect::<Vec<_>>()
        };
        rows.iter().map(|row| scrubbed(&text(row).join("|"))).collect()
    }

    /// Returns the digests of all rows.
    async fn digests(&self, column: &str, rest: &str) -> Vec<String> {
        let sql = format!("SELECT {column} FROM {rest}");
        let rows = Sql::new(&sql).all(&self.store.readers).await.unwrap();
        rows.iter().map(|row| Columns::of(row).read::<Digest>().unwrap().to_string()).collect()
    }
}

const SHOWN: [&str; 10] =
    ["kind", "class", "email", "names", "reason", "before", "after", "evidence", "cluster", "home"];

async fn changes_plans_rejections_and_events_keep_their_bytes(f: Fresh) {
    let name = corp();
    let run = |n: u8| RunId(uuid::Uuid::from_bytes([n; 16]));
    let held: Vec<HeldChange> = all_kinds(&f.reference())
        .into_iter()
        .map(|change| HeldChange { change, hold: HoldReason::Limit })
        .collect();
    let hold = async |held: &[HeldChange]| {
        let by = DecidedBy::default();
        let mut changes = f.store.held_changes();
        for change in held {
            changes.push(change).unwrap();
        }
        let holding = f.store.hold_changes(&name, run(1), 0, changes, &by, |_| true, &f.clock);
        f.store.plan(holding.await.unwrap().plan.unwrap()).await.unwrap().unwrap()
    };
    let plan = hold(&held).await;
    let mut seen = vec![
        ("digest of the plan", plan.digest.to_string()[..16].to_owned()),
        ("held changes", hash(f.texts(&SHOWN, "changes ORDER BY seq").await)),
        ("digests", hash(f.digests("digest", "changes ORDER BY seq").await)),
    ];
    let decision = Decision { actor: &alice(), comment: ODD };
    f.store.reject_plan(&plan, decision, &f.clock).await.unwrap();
    let keys = f.digests("rejection_key", "rejections ORDER BY rejection_key").await;
    seen.push(("rejections", hash(keys)));
    for plan in f.store.rejected_plans(Some(&name)).await.unwrap() {
        f.store.reopen_plan(&plan, None, decision, &f.clock).await.unwrap();
    }

    let plan = hold(&held).await;
    let consent = Consent { by: &alice().into(), comment: ODD, needed: 1, valid_from: SEEN };
    f.store.approve_plan(&plan, None, consent, &f.clock).await.unwrap();
    let writer = Writer {
        right: Right::Leader,
        run: run(2),
        directory: Some(&name),
        account: f.reference(),
        actor: alice(),
        observed_from: ObservationNumber::default(),
        clock: &f.clock,
        asked: &[],
    };
    let further = all_kinds(&f.reference()).into_iter().filter_map(|change| {
        let of = |n: u8| Change { user: id(n), version: Some(1), ..change.clone() };
        match change.kind {
            ChangeKind::Suspend { was_active: true, .. } => Some(of(1)),
            ChangeKind::Update { .. } => Some(of(2)),
            ChangeKind::Remove { before: Some(_), .. } => Some(of(3)),
            _ => None,
        }
    });
    let mut applied = Applied::default();
    for changes in [all_kinds(&f.reference()), further.collect()] {
        let admitted = Admitted::by_operator(changes, alice());
        let work = f.store.apply(&admitted, &writer, &mut applied);
        watch_events(&alice(), Some(Means::Console), work).await.0.unwrap();
        seen.push(("applied", format!("{:?} {}", applied.counts, applied.dropped)));
    }
    let rest = "changes WHERE outcome <> 'held' ORDER BY run_id, seq, digest";
    seen.push(("changes", hash(f.texts(&SHOWN, rest).await)));
    let events = f.texts(&["kind", "document"], "events ORDER BY seq").await;
    seen.push(("events", format!("{} {}", events.len(), hash(events))));
    f.store.verify_events(None).await.unwrap().expect("the chain is whole");
    // The groups of a plan without a cluster are the first ones on SQLite, and the last ones on PostgreSQL.
    let events = match f.store.file() {
        Some(_) => "11 c46c36b8e47d08e3",
        None => "11 1562234c2a1dfd3e",
    };
    let counts = |later: &str| format!("ChangeCounts {{ create: 3, {later} }} 17");
    let first = counts("update: 0, suspend: 0, reactivate: 0, tier: 0, link: 0, release: 0");
    let later = counts("update: 2, suspend: 1, reactivate: 0, tier: 0, link: 0, release: 1");
    let as_ever = [
        ("digest of the plan", "17c0b89e67239fae"),
        ("held changes", "d85a534f2cc15889"),
        ("digests", "719132079daafcf8"),
        ("rejections", "495abdb612beff90"),
        ("applied", &first),
        ("applied", &later),
        ("changes", "a5d6e2ce34b266ce"),
        ("events", events),
    ];
    assert_eq!(seen, as_ever.map(|(what, value)| (what, value.to_owned())));
}

#[tokio::test]
async fn a_plan_comes_back_from_a_spool_as_it_was_in_memory_or_in_a_file() {
    let f = on("sqlite").await.unwrap();
    let row = |n: u8| PersonRow {
        guid: guid(n),
        user: Some(id(n)),
        fingerprint: Fingerprint::from_stored(u64::MAX),
        dn: Some(link(n).dn),
        // AD shows instants that lie far beyond the year 9999.
        expires: Some(Timestamp(i64::MAX)),
        entitled_by: Entitlement::By(guid(8)),
        keeps_place: true,
        quarantine: Some(QuarantineReason::NoAddress),
        notes: BTreeSet::from([ODD.to_owned()]),
        metadata: Some(Metadata::default()),
        sid: "S-1-5-21-1-2-4294967295".parse().ok(),
    };
    let dn = ODD.to_owned();
    let quarantine =
        Quarantine { object_guid: guid(7), dn, reason: QuarantineReason::MalformedEntry };
    let plan = Plan { changes: all_kinds(&f.reference()), quarantined: vec![quarantine] };
    let people = vec![row(1), PersonRow { user: None, expires: None, sid: None, ..row(2) }];
    let proposal = Proposal { plan, people, unwitnessed: BTreeSet::from([id(3)]) };
    let shown = format!("{proposal:?}");
    let copy = || {
        let line = serde_json::to_vec(&proposal).unwrap();
        serde_json::from_slice::<Proposal>(&line).unwrap()
    };
    let files = || std::fs::read_dir(f.folder.path()).unwrap().count();
    let before = files();
    // One plan is some 16 kB, and a file has more than one MiB.
    for (plans, at_most) in [(1, 1), (2, 1), (100, 1), (100, 3)] {
        let mut spool = f.store.spool(at_most);
        for _ in 0..plans {
            spool.push(copy()).unwrap();
        }
        let mut read = 0;
        // A spool can be shown more than once.
        for _ in 0..2 {
            spool
                .show(|back| {
                    assert_eq!(format!("{back:?}"), shown);
                    read += 1;
                })
                .unwrap();
        }
        for back in spool.into_values().unwrap() {
            assert_eq!(format!("{:?}", back.unwrap()), shown);
            read += 1;
        }
        assert_eq!(read, 3 * plans);
    }
    assert_eq!(files(), before, "its file has no name");
}
