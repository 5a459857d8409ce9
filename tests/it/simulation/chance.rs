//! Histories from a seed.

use fastrand::Rng;

use super::history::{ALL, Do, Edit, Layout, Mail, Mass, Reload, Stage, Step, Trouble};

/// The kinds that are played by default. `ROSTERD_SIM_KINDS` names others: `directories`, `clocks`,
/// `reloads`, `sequences`, or `all`.
const ORDINARY: &str = "wire,blindness,operators";

/// Returns whether histories play a kind.
pub(super) fn plays(kind: &str) -> bool {
    let kinds = std::env::var("ROSTERD_SIM_KINDS").unwrap_or_else(|_| ORDINARY.to_owned());
    kinds.split(',').any(|k| k.trim() == kind || k.trim() == "all")
}

/// The kinds of trouble. A law about one kind is weak if all the others hide its effects.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one kind of trouble that a history has or has not"
)]
struct Kinds {
    /// Faults of the wire, server outages, crashes.
    wire: bool,
    /// Invisible entries and attributes.
    blindness: bool,
    /// Clocks with a wrong time.
    clocks: bool,
    /// Changes of the configuration.
    reloads: bool,
    /// Operators that do more than approve.
    operators: bool,
    /// Sequences of steps, for the promises about several steps.
    sequences: bool,
}

/// Returns the stage and the steps of a seed.
pub(super) fn of_seed(seed: u64, steps: usize) -> (Stage, Vec<Step>) {
    let mut rng = Rng::with_seed(seed);
    let stage = Stage {
        // Small companies, and some in which a percentage matters.
        people: if rng.u8(0..3) == 0 { rng.usize(1..=10) } else { rng.usize(12..=70) },
        without_group: if rng.u8(0..3) == 0 { rng.usize(1..3) } else { 0 },
        filtered: rng.bool(),
        excludes: rng.u8(0..3) == 0,
        has_grace_period: rng.u8(0..4) != 0,
        tombstones: rng.bool(),
        protects: rng.bool(),
        two_servers: rng.u8(0..3) == 0,
        established: rng.u8(0..3) != 0,
        page_size: [3, 7, 20, 1000][rng.usize(0..4)],
        layout: match rng.u8(0..10) {
            0..3 => Layout::One,
            _ if !plays("directories") => Layout::One,
            3..5 => Layout::Bases,
            5..8 => Layout::Departments(rng.usize(2..=3)),
            _ => Layout::Domains,
        },
    };
    let mut often = |kind| rng.u8(0..5) < 3 && plays(kind);
    let kinds = Kinds {
        wire: often("wire"),
        blindness: often("blindness"),
        clocks: often("clocks"),
        reloads: often("reloads"),
        operators: often("operators"),
        sequences: plays("sequences"),
    };
    let mut history = Vec::with_capacity(steps);
    while history.len() < steps {
        if kinds.sequences && rng.u8(0..8) == 0 {
            phrase(&mut rng, kinds, &mut history);
            continue;
        }
        let next = step(&mut rng);
        if !kinds.knows(&next) {
            continue;
        }
        // Most edits are followed by a run; some come in groups.
        let is_edit = matches!(next, Step::Edit(_) | Step::Trouble(_));
        history.push(next);
        if is_edit && rng.u8(0..3) == 0 {
            history.push(Step::Do(read(&mut rng)));
        }
    }
    history.truncate(steps);
    (stage, history)
}

impl Kinds {
    /// Returns whether this history has this kind of trouble.
    fn knows(self, step: &Step) -> bool {
        match step {
            Step::Edit(edit) => self.makes(edit),
            Step::During(edit, _, what) => self.makes(edit) && self.asks(what),
            Step::Do(what) => self.asks(what),
            Step::Both(one, other) => self.asks(one) && self.asks(other),
            Step::Trouble(_)
            | Step::Calm
            | Step::Restart
            | Step::Backup
            | Step::Restore
            | Step::ServerDown
            | Step::ServerUp => self.wire,
            Step::Kill(what, _) => self.wire && self.asks(what),
            Step::Clock(_) | Step::ClockRight | Step::ServerClock(_) => self.clocks,
            Step::Reload(_) => self.reloads,
            Step::Meanwhile(_, _, what) => self.reloads && self.asks(what),
            Step::Wait(_) => true,
        }
    }

    fn makes(self, edit: &Edit) -> bool {
        (self.blindness || edit.is_seen()) && (self.sequences || !edit.is_of_sequences())
    }

    fn asks(self, what: &Do) -> bool {
        if matches!(what, Do::Reopen(_) | Do::Remove(_) | Do::Forget) && !self.sequences {
            return false;
        }
        self.operators
            || matches!(
                what,
                Do::Full(_) | Do::Tick(_) | Do::Due | Do::SyncUser(_) | Do::Approve(_) | Do::Forget
            )
    }
}

/// Sequences of steps.
fn phrase(rng: &mut Rng, kinds: Kinds, history: &mut Vec<Step>) {
    let (a, b) = (rng.usize(0..1000), rng.usize(0..1000));
    let few = rng.usize(1..5);
    let tick = |n| Step::Do(Do::Tick(n));
    let full = |n| Step::Do(Do::Full(n));
    match rng.u8(0..12) {
        // One event in slices.
        0 => {
            for _ in 0..rng.usize(3..12) {
                history.extend([Step::Edit(Edit::DeleteSlice(a, few)), tick(ALL)]);
            }
        }
        1 => {
            for _ in 0..rng.usize(3..12) {
                history.extend([
                    Step::Edit(Edit::LeaveSlice(a, few)),
                    tick(ALL),
                    Step::Wait(11),
                    Step::Do(Do::Due),
                ]);
            }
        }
        // A clock that is wrong for one run.
        2 if kinds.clocks => {
            let by = seconds(rng);
            history.extend([
                Step::Clock(by),
                Step::Edit(Edit::Retitle(a)),
                tick(ALL),
                Step::ClockRight,
            ]);
            history.extend([Step::Edit(Edit::Disable(a)), tick(ALL), tick(ALL)]);
        }
        3 if kinds.clocks => {
            history.extend([
                Step::Edit(Edit::Purge(a)),
                Step::Clock(seconds(rng)),
                full(ALL),
                Step::ClockRight,
                full(ALL),
            ]);
            history.extend([Step::Wait(30), full(ALL)]);
        }
        // A rejection, and time.
        4 if kinds.operators => {
            history.push(Step::Edit(Edit::Many(few, Mass::Delete)));
            history.extend([
                full(ALL),
                Step::Do(Do::Reject(a)),
                full(ALL),
                tick(ALL),
                Step::Wait(minutes(rng)),
                full(ALL),
                full(ALL),
            ]);
        }
        5 if kinds.reloads => {
            history.extend([Step::Reload(Reload::Narrow(a)), full(ALL)]);
            if kinds.operators {
                history.extend([Step::Do(Do::Reject(b)), full(ALL), full(ALL)]);
            }
            history.extend([Step::Reload(Reload::Widen), full(ALL)]);
        }
        // Changed sections of the configuration, and a leaver.
        6 if kinds.reloads => {
            history.extend([
                full(ALL),
                Step::Reload(if rng.bool() { Reload::Rename(a) } else { Reload::Rebase(a, b) }),
                full(ALL),
                full(ALL),
            ]);
            history.extend([Step::Edit(Edit::Disable(b)), full(ALL), tick(ALL), tick(ALL)]);
        }
        // A near expiry.
        7 => history.extend([
            Step::Edit(Edit::ExpireSoon(a, rng.i64(-3..4))),
            tick(ALL),
            Step::Do(Do::Due),
            Step::Wait(1),
            Step::Do(Do::Due),
        ]),
        // Two people with one address, one of whom is edited.
        8 => {
            history.extend([
                Step::Edit(Edit::Clash(a)),
                full(ALL),
                Step::Edit(Edit::Retitle(usize::MAX)),
                tick(ALL),
            ]);
            history.push(Step::Do(Do::SyncUser(b)));
        }
        // A move, and a leaver in the new place.
        9 => {
            let go = if rng.bool() { Edit::Move(a, b) } else { Edit::Emigrate(a, b) };
            history.extend([
                Step::Edit(go),
                tick(a),
                tick(b),
                tick(ALL),
                Step::Edit(Edit::Disable(a)),
                tick(ALL),
                full(ALL),
            ]);
        }
        10 if kinds.blindness => {
            history.extend([Step::Edit(Edit::HideByMove(a)), tick(ALL), tick(ALL), tick(ALL)])
        }
        // One group and then another.
        _ => history.extend([
            Step::Edit(Edit::LeaveAll(a)),
            Step::Edit(Edit::Disable(a)),
            tick(ALL),
            tick(ALL),
        ]),
    }
}

/// The errors of clocks: a minute to ten years, in both directions.
fn seconds(rng: &mut Rng) -> i64 {
    let much =
        [60, 400, 3_600, 2 * 3_600, 26 * 3_600, 40 * 86_400, 10 * 365 * 86_400][rng.usize(0..7)];
    if rng.bool() { much } else { -much }
}

/// One directory, and sometimes all.
fn place(rng: &mut Rng) -> usize {
    if rng.u8(0..3) == 0 { ALL } else { rng.usize(0..6) }
}

fn step(rng: &mut Rng) -> Step {
    match rng.u8(0..110) {
        0..42 => Step::Edit(edit(rng)),
        42..57 => Step::Do(read(rng)),
        57..72 => Step::Do(order(rng)),
        72..80 => Step::Wait(minutes(rng)),
        80..86 => Step::Trouble(trouble(rng)),
        86..88 => Step::Calm,
        88..91 => Step::During(edit(rng), rng.usize(0..40), read(rng)),
        91..93 => Step::Both(if rng.bool() { read(rng) } else { order(rng) }, order(rng)),
        93..96 => Step::Kill(if rng.bool() { read(rng) } else { order(rng) }, rng.u32(1..220)),
        96 => Step::Restart,
        97 => [Step::Backup, Step::Backup, Step::Restore][rng.usize(0..3)].clone(),
        98 => Step::ServerDown,
        99 => Step::ServerUp,
        100..102 => Step::Clock(seconds(rng)),
        102..104 => Step::ClockRight,
        104 => Step::ServerClock(rng.i64(-5..6)),
        105..108 => Step::Reload(reload(rng)),
        _ => Step::Meanwhile(
            reload(rng),
            rng.u32(1..220),
            if rng.bool() { read(rng) } else { order(rng) },
        ),
    }
}

fn reload(rng: &mut Rng) -> Reload {
    let (a, b) = (rng.usize(0..1000), rng.usize(0..1000));
    match rng.u8(0..8) {
        0 => Reload::Narrow(a),
        1 => Reload::Widen,
        2 | 3 => Reload::Rename(a),
        4 | 5 => Reload::Rebase(a, b),
        _ => Reload::Harmless,
    }
}

fn read(rng: &mut Rng) -> Do {
    let place = place(rng);
    if rng.u8(0..5) < 2 { Do::Full(place) } else { Do::Tick(place) }
}

fn minutes(rng: &mut Rng) -> u64 {
    match rng.u8(0..10) {
        0..4 => rng.u64(1..12),
        4..7 => rng.u64(11..90),
        7..9 => rng.u64(90..24 * 60),
        _ => rng.u64(24 * 60..10 * 24 * 60),
    }
}

fn mail(rng: &mut Rng) -> Mail {
    match rng.u8(0..12) {
        0..6 => Mail::Home,
        6..8 => Mail::Second,
        8 => Mail::Foreign,
        9 => Mail::Malformed,
        10 => Mail::None,
        _ => Mail::Shouted,
    }
}

pub(super) fn edit(rng: &mut Rng) -> Edit {
    let mut n = || rng.usize(0..1000);
    let (a, b) = (n(), n());
    match rng.u8(0..104) {
        0..8 => Edit::Hire { ou: a, group: b, mail: mail(rng), staged: rng.u8(0..5) == 0 },
        8..11 => Edit::Recreate(a),
        11..20 => Edit::Disable(a),
        20..26 => Edit::Enable(a),
        26..29 => Edit::Expire(a, rng.i64(-60..600)),
        29..31 => Edit::NeverExpire(a),
        31..36 => Edit::Delete(a),
        36..40 => Edit::Purge(a),
        40..42 => Edit::Restore(a),
        42..47 => Edit::Move(a, b),
        47..49 => Edit::Rename(a),
        49..51 => Edit::Redisplay(a),
        51 => Edit::RenameOu(a),
        52..57 => Edit::SetMail(a, mail(rng)),
        57..60 => Edit::SwapMail(a, b),
        60..63 => Edit::StealMail(a, b),
        63..65 => Edit::ShareProxy(a, b),
        65..68 => Edit::Join(a, b),
        68..71 => Edit::Leave(a, b),
        71..74 => Edit::LeaveAll(a),
        74 => Edit::PrimaryGroup(a, b),
        75..77 => Edit::Nest(a, b),
        77 => Edit::Unnest(a, b),
        78 => Edit::EmptyGroup(a),
        79 => Edit::RenameGroup(a),
        80..84 => Edit::HideOu(a),
        84..86 => Edit::ShowOus,
        86 => Edit::HidePerson(a),
        87 => Edit::ShowPeople,
        88..90 => Edit::HideAttribute(a, (rng.u8(0..2) == 0).then_some(b)),
        90..92 => Edit::ShowAttributes,
        92 => Edit::HideMembers(a),
        93 => Edit::ShowMembers,
        94 => Edit::ShowTombstones(rng.bool()),
        95..97 => Edit::Robot(a, rng.bool()),
        97 => match rng.u8(0..8) {
            0 | 1 => Edit::ExpireSoon(a, rng.i64(-10..10)),
            2 => Edit::Retitle(a),
            3 => Edit::Clash(a),
            4 => Edit::DeleteManager(a),
            5 => Edit::RestoreAll,
            _ => Edit::Emigrate(a, b),
        },
        98 if rng.bool() => Edit::HideByMove(a),
        98 => Edit::ShowByMove(a),
        _ => {
            let all = [
                Mass::Disable,
                Mass::Enable,
                Mass::Delete,
                Mass::MoveOut,
                Mass::LeaveGroups,
                Mass::JoinPro,
                Mass::Readdress,
                Mass::Hire,
            ];
            Edit::Many(rng.usize(1..5), all[rng.usize(0..all.len())])
        }
    }
}

fn order(rng: &mut Rng) -> Do {
    let (n, place) = (rng.usize(0..1000), place(rng));
    match rng.u8(0..60) {
        0..10 => Do::Approve(place),
        10..13 => Do::ApproveOld(n),
        13..15 => Do::Reject(place),
        15 => Do::Reopen(n),
        16..22 => Do::Due,
        22..25 => Do::SyncUser(n),
        25..27 => Do::ApprovePart(n),
        27..29 => Do::Plan(place),
        29..33 => Do::Suspend(n),
        33..38 => Do::Activate(n),
        38 => Do::Pause(place, rng.u64(1..600)),
        39 => Do::Resume(ALL),
        40..43 => Do::Relink(n),
        43..46 => Do::ReleaseAddress(n),
        46..48 => Do::ClearOverride(n),
        48..50 => Do::Claim,
        50..52 => Do::Release,
        52..54 => Do::Invite(n),
        54 => Do::Rebaseline(place),
        55..57 => Do::Undo(n),
        57 => Do::Remove(n),
        58 => Do::Forget,
        _ => Do::Full(place),
    }
}

fn trouble(rng: &mut Rng) -> Trouble {
    let (at, code) = (rng.usize(1..30), [1, 3, 4, 11, 50, 51, 52, 53, 80][rng.usize(0..9)]);
    let (page, entries) = (rng.usize(1..4), rng.usize(0..40));
    match rng.u8(0..15) {
        0 => Trouble::CutAfter(entries),
        1 => Trouble::CutAt(at),
        2 => Trouble::CutInsideFrame(at),
        3 => Trouble::Refused(at, code),
        4 => Trouble::PageRefused(page, code),
        5 => Trouble::NoControl(page),
        6 => Trouble::SameCookie(page),
        7 => Trouble::Empty(at),
        8 => Trouble::EmptyPage(page),
        9 => Trouble::SkipAfter(entries),
        10 => Trouble::RepeatAfter(entries),
        11 => Trouble::Notice(at),
        12 => Trouble::Referral(at),
        13 => Trouble::Anonymous,
        _ => Trouble::Locked,
    }
}
