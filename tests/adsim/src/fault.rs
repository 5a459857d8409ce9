//! Faults: the misbehaviour of the server, and the moment at which it occurs.
//!
//! ```
//! use adsim::{Fault, What, When};
//! // The connection is cut after the 1500th entry of the first search for people, once.
//! let fault = Fault::new(When::search().containing("objectCategory=person").after_entries(1500), What::Cut);
//! // Every second page repeats the cookie it was asked with, for ever.
//! let endless = Fault::new(When::page(2), What::RepeatCookie).always();
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::directory::Ad;

/// A moment in the life of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// A TCP connection was accepted: no byte was read, and TLS has not begun.
    Connect,
    StartTls,
    Bind,
    /// The LDAP ping has arrived.
    Ping,
    /// A search request has arrived, or some entries of its answer were sent.
    Search(Moment),
}

/// A search, and a position in its answer. Every page is a search request of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    /// The n-th matching request (from 1), counted since the fault was added.
    pub nth: Option<usize>,
    /// The page of a paged search, from 1.
    pub page: Option<usize>,
    /// The filter's text contains this, in any case.
    pub filter: Option<String>,
    /// The base contains this, in any case.
    pub base: Option<String>,
    /// After this many entries of the whole search, over all its pages. Where `page` is given, of
    /// that page; with DirSync, of that round.
    pub after_entries: Option<usize>,
}

impl When {
    pub fn search() -> Self {
        Self::Search(Moment::default())
    }

    /// The n-th search request (from 1) since the fault was added.
    pub fn nth_search(n: usize) -> Self {
        Self::Search(Moment { nth: Some(n), ..Moment::default() })
    }

    /// The n-th page (from 1) of a paged search.
    pub fn page(n: usize) -> Self {
        Self::Search(Moment { page: Some(n), ..Moment::default() })
    }

    fn with(self, change: impl FnOnce(&mut Moment)) -> Self {
        match self {
            Self::Search(mut moment) => {
                change(&mut moment);
                Self::Search(moment)
            }
            other => other,
        }
    }

    #[must_use]
    pub fn nth(self, n: usize) -> Self {
        self.with(|moment| moment.nth = Some(n))
    }

    #[must_use]
    pub fn containing(self, filter: &str) -> Self {
        self.with(|moment| moment.filter = Some(filter.to_lowercase()))
    }

    #[must_use]
    pub fn based_at(self, base: &str) -> Self {
        self.with(|moment| moment.base = Some(base.to_lowercase()))
    }

    /// After this many entries instead of before the first one.
    #[must_use]
    pub fn after_entries(self, count: usize) -> Self {
        self.with(|moment| moment.after_entries = Some(count))
    }
}

/// Makes frames from a message id.
pub type Made = Arc<dyn Fn(i64) -> Vec<u8> + Send + Sync>;

/// Makes frames from a message id and a number.
pub type Numbered = Arc<dyn Fn(i64, u64) -> Vec<u8> + Send + Sync>;

/// A misbehaviour of the server.
#[derive(Clone)]
pub enum What {
    /// The connection is dropped, without a TLS close_notify.
    Cut,
    /// Half of the next frame is sent, then the connection is dropped.
    CutInsideFrame,
    /// The connection stays open and silent for ever.
    Stall,
    /// The answer comes this much later.
    Delay(Duration),
    /// From here on every byte is sent alone, at this interval.
    Drip(Duration),
    /// This result (code and message) ends the operation; with `after_entries`, after those.
    Result(u32, String),
    /// A bind is refused with result 49 and this AD sub-code, such as `"532"`.
    BindRefused(&'static str),
    /// Success without entries.
    EmptySuccess,
    /// The answer lacks the paging control.
    OmitPagingControl,
    /// The answer lacks the DirSync control.
    OmitDirSyncControl,
    /// The answer repeats the cookie of the request (or an invented one on page 1), and the page
    /// comes again. A DirSync answer always reports more.
    RepeatCookie,
    /// These bytes are sent at this moment; then the answer continues.
    Raw(Vec<u8>),
    /// These bytes are sent instead of the answer, or of the rest of it.
    RawInstead(Vec<u8>),
    /// Like [`Raw`](Self::Raw), made from the request's message id; see [`frames`](crate::frames).
    Frames(Made),
    /// Like [`RawInstead`](Self::RawInstead), made from the request's message id.
    FramesInstead(Made),
    /// Frames made from the request's message id and a counter from 0, until the client
    /// disconnects.
    Endless(Numbered),
    /// AD's Notice of Disconnection, then the connection is closed.
    NoticeOfDisconnection,
    /// A SearchResultReference to this URL is sent at this moment.
    Referral(String),
    /// The entry at this moment is sent once more (renamed while paging).
    RepeatEntry,
    /// The next entry is left out without a sign.
    SkipEntry,
    /// StartTLS is refused with result 52.
    RefuseStartTls,
    /// The StartTLS response is followed by these bytes in plain text, as an attacker would inject
    /// them.
    PlaintextAfterStartTls(Vec<u8>),
    /// Every bind succeeds as anonymous, and the searches find no entry, with result 0.
    Anonymous,
    /// The directory is edited at this moment: between two pages or two ranges.
    Edit(Arc<dyn Fn(&mut Ad) + Send + Sync>),
}

impl What {
    /// An edit at the moment.
    pub fn edit(change: impl Fn(&mut Ad) + Send + Sync + 'static) -> Self {
        Self::Edit(Arc::new(change))
    }

    /// These frames at the moment; then the answer continues.
    pub fn frames(make: impl Fn(i64) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::Frames(Arc::new(make))
    }

    /// These frames instead of the answer, or of the rest of it.
    pub fn frames_instead(make: impl Fn(i64) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::FramesInstead(Arc::new(make))
    }

    pub fn endless(make: impl Fn(i64, u64) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::Endless(Arc::new(make))
    }

    pub fn result(code: u32, text: impl Into<String>) -> Self {
        Self::Result(code, text.into())
    }
}

impl fmt::Debug for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "Cut",
            Self::CutInsideFrame => "CutInsideFrame",
            Self::Stall => "Stall",
            Self::Delay(_) => "Delay",
            Self::Drip(_) => "Drip",
            Self::Result(code, text) => return write!(f, "Result({code}, {text:?})"),
            Self::BindRefused(code) => return write!(f, "BindRefused({code})"),
            Self::EmptySuccess => "EmptySuccess",
            Self::OmitPagingControl => "OmitPagingControl",
            Self::OmitDirSyncControl => "OmitDirSyncControl",
            Self::RepeatCookie => "RepeatCookie",
            Self::Raw(_) => "Raw",
            Self::RawInstead(_) => "RawInstead",
            Self::Frames(_) => "Frames",
            Self::FramesInstead(_) => "FramesInstead",
            Self::Endless(_) => "Endless",
            Self::NoticeOfDisconnection => "NoticeOfDisconnection",
            Self::Referral(url) => return write!(f, "Referral({url})"),
            Self::RepeatEntry => "RepeatEntry",
            Self::SkipEntry => "SkipEntry",
            Self::RefuseStartTls => "RefuseStartTls",
            Self::PlaintextAfterStartTls(_) => "PlaintextAfterStartTls",
            Self::Anonymous => "Anonymous",
            Self::Edit(_) => "Edit",
        })
    }
}

/// A misbehaviour at a moment, once by default.
#[derive(Debug, Clone)]
#[must_use]
pub struct Fault {
    pub at: When,
    pub what: What,
    /// How often the fault still occurs; `None`: always.
    pub times: Option<usize>,
}

impl Fault {
    pub fn new(at: When, what: What) -> Self {
        Self { at, what, times: Some(1) }
    }

    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }
}

/// The faults of one server.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<Vec<Armed>>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    /// Matching requests so far.
    seen: usize,
    fired: usize,
}

/// A search request as faults see it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// From 1; 0 for a search without paging.
    pub(crate) page: usize,
    pub(crate) filter: String,
    pub(crate) base: String,
    /// Entries sent on the previous pages.
    pub(crate) before: usize,
}

impl Faults {
    /// Adds a fault. Faults of the same moment occur in the order in which they were added.
    pub fn push(&self, fault: Fault) {
        self.lock().push(Armed { fault, seen: 0, fired: 0 });
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Returns the number of faults that are still to occur, including those that always do.
    pub fn pending(&self) -> usize {
        self.lock().iter().filter(|armed| armed.fault.times != Some(0)).count()
    }

    /// Returns how often faults have occurred.
    pub fn fired(&self) -> usize {
        self.lock().iter().map(|armed| armed.fired).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the faults at a moment that is no search.
    pub(crate) fn take(&self, at: &When) -> Vec<What> {
        let mut armed = self.lock();
        armed.iter_mut().filter(|armed| armed.fault.at == *at).filter_map(Armed::fire).collect()
    }

    /// Returns the faults at the arrival of a search request.
    pub(crate) fn at_request(&self, seen: &Seen) -> Vec<What> {
        let mut happening = Vec::new();
        for armed in self.lock().iter_mut() {
            let When::Search(moment) = &armed.fault.at else { continue };
            if !moment.fits(seen) {
                continue;
            }
            armed.seen += 1;
            let its_turn = moment.nth.is_none_or(|nth| nth == armed.seen);
            if its_turn && moment.after_entries.is_none() {
                happening.extend(armed.fire());
            }
        }
        happening
    }

    /// Returns the faults between the `count` entries of an answer, each with its position.
    pub(crate) fn between_entries(&self, seen: &Seen, count: usize) -> Vec<(usize, What)> {
        let mut happening = Vec::new();
        for armed in self.lock().iter_mut() {
            let When::Search(moment) = &armed.fault.at else { continue };
            let Some(after) = moment.after_entries else { continue };
            if !moment.fits(seen) || moment.nth.is_some_and(|nth| nth != armed.seen) {
                continue;
            }
            let before = if moment.page.is_some() { 0 } else { seen.before };
            let here = match after.checked_sub(before) {
                Some(here) if here <= count && (here > 0 || before == 0) => here,
                _ => continue,
            };
            happening.extend(armed.fire().map(|what| (here, what)));
        }
        happening.sort_by_key(|(here, _)| *here);
        happening
    }
}

impl Armed {
    fn fire(&mut self) -> Option<What> {
        if let Some(times) = &mut self.fault.times {
            *times = times.checked_sub(1)?;
        }
        self.fired += 1;
        Some(self.fault.what.clone())
    }
}

impl Moment {
    /// Returns whether a request matches; `nth` and `after_entries` are counted elsewhere.
    fn fits(&self, seen: &Seen) -> bool {
        let within = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| text.contains(&wanted.to_lowercase()))
        };
        self.page.is_none_or(|page| page == seen.page)
            && within(&self.filter, &seen.filter)
            && within(&self.base, &seen.base)
    }
}
