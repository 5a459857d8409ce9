//! What happens in a history, and how one is made from a seed.
//!
//! A step names people, OUs and groups by numbers that are taken modulo what there is when it happens. So a step means
//! something wherever it stands, and a history that broke something can be cut down to the steps that matter.

use fastrand::Rng;

/// One change an administrator makes in the directory. The first number is a person, unless it says otherwise.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Hire {
        ou: usize,
        group: usize,
        mail: Mail,
        staged: bool,
    },
    Recreate(usize),
    Disable(usize),
    Enable(usize),
    /// So many minutes from now; before now where it is negative.
    Expire(usize, i64),
    NeverExpire(usize),
    Delete(usize),
    Purge(usize),
    Restore(usize),
    Move(usize, usize),
    Rename(usize),
    Redisplay(usize),
    RenameOu(usize),
    SetMail(usize, Mail),
    SwapMail(usize, usize),
    StealMail(usize, usize),
    ShareProxy(usize, usize),
    Join(usize, usize),
    Leave(usize, usize),
    LeaveAll(usize),
    PrimaryGroup(usize, usize),
    Nest(usize, usize),
    Unnest(usize, usize),
    EmptyGroup(usize),
    RenameGroup(usize),
    HideOu(usize),
    ShowOus,
    HidePerson(usize),
    ShowPeople,
    HideAttribute(usize, Option<usize>),
    ShowAttributes,
    HideMembers(usize),
    ShowMembers,
    ShowTombstones(bool),
    Robot(usize, bool),
    /// Every so manieth person.
    Many(usize, Mass),
}

impl Edit {
    /// Whether a directory tells of it: neither of what somebody may see is told, nor of a tombstone that goes.
    pub(super) fn is_told(&self) -> bool {
        !matches!(
            self,
            Self::Purge(_)
                | Self::HideOu(_)
                | Self::ShowOus
                | Self::HidePerson(_)
                | Self::ShowPeople
                | Self::HideAttribute(..)
                | Self::ShowAttributes
                | Self::HideMembers(_)
                | Self::ShowMembers
                | Self::ShowTombstones(_)
        )
    }
}

/// The address somebody gets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mail {
    /// Of the first domain, which is always claimed.
    Home,
    /// Of the second, which is claimed and released.
    Second,
    /// Of one that nobody claims.
    Foreign,
    Malformed,
    None,
    /// The same, in capitals.
    Shouted,
}

/// What happens to many at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mass {
    Disable,
    Enable,
    Delete,
    MoveOut,
    LeaveGroups,
    JoinPro,
    Readdress,
    Hire,
}

/// What rosterd is asked to do. Users are numbers, too.
#[derive(Clone, Debug)]
pub(super) enum Do {
    Full,
    /// What the schedule does at its ticks: what has changed is read, where that can be told, and everybody where not.
    Tick,
    /// What the schedule would do now: second looks and expiries.
    Due,
    SyncUser(usize),
    Plan,
    Approve,
    ApproveOld(usize),
    /// What concerns somebody, or has a cause in common.
    ApprovePart(usize),
    Reject,
    /// Takes a run back.
    Undo(usize),
    Suspend(usize),
    Activate(usize),
    Pause(u64),
    Resume,
    Relink(usize),
    ReleaseAddress(usize),
    Unpin(usize),
    Claim,
    Release,
    Invite(usize),
    Repin,
}

impl Do {
    /// Whether an operator approves something by it; a part may be all there is.
    pub(super) fn approves(&self) -> bool {
        matches!(self, Self::Approve | Self::ApproveOld(_) | Self::ApprovePart(_))
    }
}

/// What goes wrong on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    CutAfter(usize),
    CutAt(usize),
    CutInsideFrame(usize),
    Refused(usize, u32),
    PageRefused(usize, u32),
    NoControl(usize),
    SameCookie(usize),
    /// Result 0 and nobody, to the n-th search.
    Empty(usize),
    /// The same, to a page.
    EmptyPage(usize),
    SkipAfter(usize),
    RepeatAfter(usize),
    Notice(usize),
    Referral(usize),
    Anonymous,
    Locked,
}

/// One step of a history.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Edit(Edit),
    Do(Do),
    /// The edit happens when so many people have been read.
    During(Edit, usize, Do),
    /// Both at the same time.
    Both(Do, Do),
    Trouble(Trouble),
    /// All troubles are over.
    Calm,
    /// rosterd is killed after it has been polled so often.
    Kill(Do, u32),
    Restart,
    Backup,
    /// The backup takes the store's place.
    Restore,
    ServerDown,
    ServerUp,
    /// Minutes.
    Wait(u64),
}

/// What a history plays in.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a company has or has not")]
pub(super) struct Stage {
    pub(super) people: usize,
    pub(super) without_group: usize,
    pub(super) filtered: bool,
    pub(super) settles: bool,
    pub(super) tombstones: bool,
    pub(super) protects: bool,
    pub(super) two_servers: bool,
    /// Whether the first day is over when it begins.
    pub(super) established: bool,
    pub(super) page_size: u32,
}

/// Makes the stage and the steps of a seed.
pub(super) fn of_seed(seed: u64, steps: usize) -> (Stage, Vec<Step>) {
    let mut rng = Rng::with_seed(seed);
    let stage = Stage {
        // Small companies as well as some that a share of matters in.
        people: if rng.u8(0..3) == 0 { rng.usize(1..=10) } else { rng.usize(12..=70) },
        without_group: if rng.u8(0..3) == 0 { rng.usize(1..3) } else { 0 },
        filtered: rng.bool(),
        settles: rng.u8(0..4) != 0,
        tombstones: rng.bool(),
        protects: rng.bool(),
        two_servers: rng.u8(0..3) == 0,
        established: rng.u8(0..3) != 0,
        page_size: [3, 7, 20, 1000][rng.usize(0..4)],
    };
    let mut history = Vec::with_capacity(steps);
    while history.len() < steps {
        let next = step(&mut rng);
        // Most edits are seen by a run soon; some come in numbers first.
        let is_edit = matches!(next, Step::Edit(_) | Step::Trouble(_));
        history.push(next);
        if is_edit && rng.u8(0..3) == 0 {
            history.push(Step::Do(read(&mut rng)));
        }
    }
    (stage, history)
}

fn step(rng: &mut Rng) -> Step {
    match rng.u8(0..100) {
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
        _ => Step::ServerUp,
    }
}

fn read(rng: &mut Rng) -> Do {
    if rng.bool() { Do::Full } else { Do::Tick }
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
    match rng.u8(0..100) {
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
        _ => {
            let all =
                [Mass::Disable, Mass::Enable, Mass::Delete, Mass::MoveOut, Mass::LeaveGroups, Mass::JoinPro, Mass::Readdress, Mass::Hire];
            Edit::Many(rng.usize(1..5), all[rng.usize(0..all.len())])
        }
    }
}

fn order(rng: &mut Rng) -> Do {
    let n = rng.usize(0..1000);
    match rng.u8(0..60) {
        0..10 => Do::Approve,
        10..13 => Do::ApproveOld(n),
        13..16 => Do::Reject,

        16..22 => Do::Due,
        22..25 => Do::SyncUser(n),
        25..27 => Do::ApprovePart(n),
        27..29 => Do::Plan,
        29..33 => Do::Suspend(n),
        33..38 => Do::Activate(n),
        38 => Do::Pause(rng.u64(1..600)),
        39 => Do::Resume,
        40..43 => Do::Relink(n),
        43..46 => Do::ReleaseAddress(n),
        46..48 => Do::Unpin(n),
        48..50 => Do::Claim,
        50..52 => Do::Release,
        52..54 => Do::Invite(n),
        54 => Do::Repin,
        55..58 => Do::Undo(n),
        _ => Do::Full,
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
