//! The steps that a history is made of.
//!
//! A step names people, OUs and groups by numbers that are taken modulo what there is when it happens. So a step means
//! something wherever it stands, and a history that broke something can be cut down to the steps that matter.

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
    /// The account expires so many seconds from now.
    ExpireSoon(usize, i64),
    /// An attribute that says nothing about addresses, tiers and leaving.
    Retitle(usize),
    /// Two newcomers with one address.
    Clash(usize),
    /// Disabled, and moved to where the service account sees nothing.
    Bury(usize),
    /// Out of where the service account sees nothing.
    Unearth(usize),
    /// The manager of most is deleted, and AD takes the name of the manager off all of them.
    DeleteManager(usize),
    /// So many people of an OU are deleted.
    DeleteSlice(usize, usize),
    /// So many members leave a group.
    LeaveSlice(usize, usize),
    /// Everybody who is deleted comes back.
    RestoreAll,
    /// To another domain of the forest.
    Emigrate(usize, usize),
}

impl Edit {
    /// The first number of it, which also says in which domain it is made.
    pub(super) fn number(&self) -> usize {
        match self {
            Self::Hire { ou, .. } => *ou,
            Self::ShowOus
            | Self::ShowPeople
            | Self::ShowAttributes
            | Self::ShowMembers
            | Self::ShowTombstones(_)
            | Self::RestoreAll => 0,
            Self::Recreate(n)
            | Self::Disable(n)
            | Self::Enable(n)
            | Self::Expire(n, _)
            | Self::NeverExpire(n)
            | Self::Delete(n)
            | Self::Purge(n)
            | Self::Restore(n)
            | Self::Move(n, _)
            | Self::Rename(n)
            | Self::Redisplay(n)
            | Self::RenameOu(n)
            | Self::SetMail(n, _)
            | Self::SwapMail(n, _)
            | Self::StealMail(n, _)
            | Self::ShareProxy(n, _)
            | Self::Join(n, _)
            | Self::Leave(n, _)
            | Self::LeaveAll(n)
            | Self::PrimaryGroup(n, _)
            | Self::Nest(n, _)
            | Self::Unnest(n, _)
            | Self::EmptyGroup(n)
            | Self::RenameGroup(n)
            | Self::HideOu(n)
            | Self::HidePerson(n)
            | Self::HideAttribute(n, _)
            | Self::HideMembers(n)
            | Self::Robot(n, _)
            | Self::Many(n, _)
            | Self::ExpireSoon(n, _)
            | Self::Retitle(n)
            | Self::Clash(n)
            | Self::Bury(n)
            | Self::Unearth(n)
            | Self::DeleteManager(n)
            | Self::DeleteSlice(n, _)
            | Self::LeaveSlice(n, _)
            | Self::Emigrate(n, _) => *n,
        }
    }

    /// Whether only promises about several steps see what comes of it.
    pub(super) fn is_of_sequences(&self) -> bool {
        matches!(
            self,
            Self::ExpireSoon(..)
                | Self::Retitle(_)
                | Self::Clash(_)
                | Self::Bury(_)
                | Self::Unearth(_)
                | Self::DeleteManager(_)
                | Self::DeleteSlice(..)
                | Self::LeaveSlice(..)
                | Self::RestoreAll
                | Self::Emigrate(..)
        )
    }

    /// Whether the service account sees the edit, and goes on seeing what it saw.
    pub(super) fn is_seen(&self) -> bool {
        self.is_told()
            || matches!(self, Self::Purge(_) | Self::Emigrate(..) | Self::ShowTombstones(_))
    }

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
                | Self::Bury(_)
                | Self::Unearth(_)
                | Self::Emigrate(..)
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
    /// Everybody of a directory is read; of all directories with [`ALL`].
    Full(usize),
    /// What the schedule does at its ticks: what has changed is read, where that can be told, and everybody where not.
    Tick(usize),
    /// What the schedule would do now: rechecks and expiries.
    Due,
    SyncUser(usize),
    Plan(usize),
    Approve(usize),
    ApproveOld(usize),
    /// What concerns somebody, or has a cause in common.
    ApprovePart(usize),
    Reject(usize),
    /// What was rejected is asked again.
    Reopen(usize),
    /// Takes a run back.
    Undo(usize),
    Suspend(usize),
    Activate(usize),
    Pause(usize, u64),
    Resume(usize),
    Relink(usize),
    ReleaseAddress(usize),
    ClearOverride(usize),
    Claim,
    Release,
    Invite(usize),
    Remove(usize),
    /// Retention, as it is configured.
    Forget,
    Rebaseline(usize),
}

/// Every directory, and not one.
pub(super) const ALL: usize = usize::MAX;

/// What an administrator changes in the configuration, and reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// A base is forgotten.
    Narrow(usize),
    /// Every base is there again.
    Widen,
    /// A directory gets another name.
    Rename(usize),
    /// A base of one directory becomes one of another, or a directory of its own.
    Rebase(usize, usize),
    /// Something that nobody comes into scope by, or leaves it.
    Harmless,
}

impl Do {
    /// Whether an operator approves something by it; a part may be all there is.
    pub(super) fn approves(&self) -> bool {
        matches!(self, Self::Approve(_) | Self::ApproveOld(_) | Self::ApprovePart(_))
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
    /// The machine's clock is set so many seconds forward or back; the directory's goes on.
    Clock(i64),
    /// The machine's clock is set right.
    ClockRight,
    /// The directory's clock goes so many seconds ahead of the true time, or behind it.
    ServerClock(i64),
    Reload(Reload),
    /// The same, after what is done has been polled so often.
    Meanwhile(Reload, u32, Do),
}

/// What a history plays in.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that a company has or has not"
)]
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
    pub(super) layout: Layout,
}

/// How the company is divided into directories of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One directory with one base.
    One,
    /// One directory with a base for each department.
    Bases,
    /// Two or three directories, each with departments of one domain.
    Departments(usize),
    /// Two domains of a forest, each a directory.
    Domains,
}
