//! The steps of a history.
//!
//! A step refers to people, OUs and groups by numbers, modulo their count at that moment. So a step
//! is valid in any place, and a failing history can be reduced to the steps that matter.

/// One edit of the directory by an administrator. The first number is a person, unless stated
/// otherwise.
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
    /// Minutes from now, negative in the past.
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
    /// Every n-th person.
    Many(usize, Mass),
    /// Seconds until the account expires.
    ExpireSoon(usize, i64),
    /// An attribute without effect on addresses, tiers and leaving.
    Retitle(usize),
    /// Two newcomers with one address.
    Clash(usize),
    /// Disabled, and moved to the invisible OU.
    HideByMove(usize),
    /// Moved out of the invisible OU.
    ShowByMove(usize),
    /// The manager of most people is deleted, and AD removes the manager attribute from all of
    /// them.
    DeleteManager(usize),
    /// The number of people of an OU that are deleted.
    DeleteSlice(usize, usize),
    /// The number of members that leave a group.
    LeaveSlice(usize, usize),
    /// All deleted people are restored.
    RestoreAll,
    /// A move to another domain of the forest.
    Emigrate(usize, usize),
}

impl Edit {
    /// Returns the first number, which also chooses the domain.
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
            | Self::HideByMove(n)
            | Self::ShowByMove(n)
            | Self::DeleteManager(n)
            | Self::DeleteSlice(n, _)
            | Self::LeaveSlice(n, _)
            | Self::Emigrate(n, _) => *n,
        }
    }

    /// Returns whether only the promises about several steps notice the effect.
    pub(super) fn is_of_sequences(&self) -> bool {
        matches!(
            self,
            Self::ExpireSoon(..)
                | Self::Retitle(_)
                | Self::Clash(_)
                | Self::HideByMove(_)
                | Self::ShowByMove(_)
                | Self::DeleteManager(_)
                | Self::DeleteSlice(..)
                | Self::LeaveSlice(..)
                | Self::RestoreAll
                | Self::Emigrate(..)
        )
    }

    /// Returns whether the service account sees the edit and loses no sight by it.
    pub(super) fn is_seen(&self) -> bool {
        self.is_notified()
            || matches!(self, Self::Purge(_) | Self::Emigrate(..) | Self::ShowTombstones(_))
    }

    /// Returns whether change notification reports it. Changes of rights and the end of a tombstone
    /// are not reported.
    pub(super) fn is_notified(&self) -> bool {
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
                | Self::HideByMove(_)
                | Self::ShowByMove(_)
                | Self::Emigrate(..)
        )
    }
}

/// The address of a person.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mail {
    /// In the first domain, which is always claimed.
    Home,
    /// In the second domain, which is claimed and released.
    Second,
    /// In an unclaimed domain.
    Foreign,
    Malformed,
    None,
    /// The same, in capitals.
    Shouted,
}

/// A mass event.
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

/// A request to rosterd. Users are numbers, too.
#[derive(Clone, Debug)]
pub(super) enum Do {
    /// A full run of one directory, or of all with [`ALL`].
    Full(usize),
    /// A tick of the schedule: incremental if possible, else full.
    Tick(usize),
    /// The due work of the schedule: rechecks and expiries.
    Due,
    SyncUser(usize),
    Plan(usize),
    Approve(usize),
    ApproveOld(usize),
    /// The changes of one person, or of one cause.
    ApprovePart(usize),
    Reject(usize),
    /// Reopens a rejected plan.
    Reopen(usize),
    /// Undoes a run.
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
    /// Retention, as configured.
    Forget,
    Rebaseline(usize),
}

/// All directories instead of one.
pub(super) const ALL: usize = usize::MAX;

/// A change of the configuration by an administrator, followed by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// A base is removed.
    Narrow(usize),
    /// All bases are restored.
    Widen,
    /// A directory is renamed.
    Rename(usize),
    /// A base moves to another directory, or becomes a directory of its own.
    Rebase(usize, usize),
    /// A change without effect on the scope.
    Harmless,
}

impl Do {
    /// Returns whether an operator approves changes by it. A part may be the whole.
    pub(super) fn approves(&self) -> bool {
        matches!(self, Self::Approve(_) | Self::ApproveOld(_) | Self::ApprovePart(_))
    }
}

/// A fault of the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    CutAfter(usize),
    CutAt(usize),
    CutInsideFrame(usize),
    Refused(usize, u32),
    PageRefused(usize, u32),
    NoControl(usize),
    SameCookie(usize),
    /// An empty success for the n-th search.
    Empty(usize),
    /// An empty success for a page.
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
    /// The edit occurs after this many people were read.
    During(Edit, usize, Do),
    /// Both at the same time.
    Both(Do, Do),
    Trouble(Trouble),
    /// All troubles end.
    Calm,
    /// rosterd is killed after this many polls.
    Kill(Do, u32),
    Restart,
    Backup,
    /// The backup replaces the store.
    Restore,
    ServerDown,
    ServerUp,
    /// The number of minutes.
    Wait(u64),
    /// The machine's clock is set by this many seconds. The directory's continues.
    Clock(i64),
    /// The machine's clock is corrected.
    ClockRight,
    /// Seconds by which the directory's clock is ahead of the true time, negative if behind.
    ServerClock(i64),
    Reload(Reload),
    /// A reload after this many polls of the current action.
    Meanwhile(Reload, u32, Do),
}

impl Step {
    /// Returns the actions of the step.
    pub(super) fn deeds(&self) -> impl Iterator<Item = &Do> {
        let (one, other) = match self {
            Self::Do(what)
            | Self::During(_, _, what)
            | Self::Kill(what, _)
            | Self::Meanwhile(_, _, what) => (Some(what), None),
            Self::Both(one, other) => (Some(one), Some(other)),
            _ => (None, None),
        };
        one.into_iter().chain(other)
    }
}

/// The setting of a history.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that a company has or has not"
)]
pub(super) struct Stage {
    pub(super) people: usize,
    pub(super) without_group: usize,
    pub(super) filtered: bool,
    /// Whether an OU below the bases is excluded.
    pub(super) excludes: bool,
    pub(super) has_grace_period: bool,
    pub(super) tombstones: bool,
    pub(super) protects: bool,
    pub(super) two_servers: bool,
    /// Whether the first day is over at the beginning.
    pub(super) established: bool,
    pub(super) page_size: u32,
    pub(super) layout: Layout,
}

/// The division of the company into directories of one account.
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
