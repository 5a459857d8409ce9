//! What clients asked, for tests to look at.

use crate::request::{Control, Scope};

/// Filters longer than this are cut in the log: hundreds of GUIDs tell nothing more.
const LONGEST_FILTER: usize = 2048;

/// One thing a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The connection, counted from 1 over the server's life.
    pub connection: u64,
    /// Whether it was protected by TLS at the time.
    pub tls: bool,
    /// What it was.
    pub event: Event,
}

/// What a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It connected.
    Connect,
    /// The TLS handshake failed, with the reason.
    TlsFailed(String),
    /// It asked for StartTLS.
    StartTls,
    /// It bound; with the result's code.
    Bind {
        /// The name as given.
        name: String,
        /// 0 where it succeeded.
        code: u32,
    },
    /// It searched.
    Search(LoggedSearch),
    /// Another extended operation, by its identifier.
    Extended(String),
    /// It abandoned a request.
    Abandon,
    /// It said good-bye.
    Unbind,
    /// It sent what cannot be read as LDAP, or tried to write.
    Refused(String),
    /// The connection ended.
    Disconnect,
}

/// A search request, each page being one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedSearch {
    /// The base as given.
    pub base: String,
    /// The scope.
    pub scope: Scope,
    /// The filter in RFC 4515 notation, cut if very long.
    pub filter: String,
    /// The attributes asked for.
    pub attributes: Vec<String>,
    /// The request's controls.
    pub controls: Vec<Control>,
    /// The page, from 1; 0 where no paging was asked for.
    pub page: usize,
    /// The size limit, 0 for none.
    pub size_limit: usize,
    /// How many entries were found.
    pub entries: usize,
    /// The result's code, before faults.
    pub code: u32,
}

impl LoggedSearch {
    /// Whether a control was sent.
    pub fn has_control(&self, oid: &str) -> bool {
        self.controls.iter().any(|control| control.oid == oid)
    }
}

/// All that clients did up to now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// In order.
    pub events: Vec<Logged>,
}

impl Log {
    /// The searches.
    pub fn searches(&self) -> Vec<&LoggedSearch> {
        let search = |logged| match logged {
            &Logged { event: Event::Search(ref search), .. } => Some(search),
            _ => None,
        };
        self.events.iter().filter_map(search).collect()
    }

    /// The searches whose filter contains this text, in any case.
    pub fn searches_for(&self, filter: &str) -> Vec<&LoggedSearch> {
        let wanted = filter.to_lowercase();
        let mut searches = self.searches();
        searches.retain(|search| search.filter.to_lowercase().contains(&wanted));
        searches
    }

    /// The binds: name and result code.
    pub fn binds(&self) -> Vec<(&str, u32)> {
        let bind = |logged| match logged {
            &Logged { event: Event::Bind { ref name, code }, .. } => Some((name.as_str(), code)),
            _ => None,
        };
        self.events.iter().filter_map(bind).collect()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.events.iter().filter(|logged| logged.event == Event::Connect).count()
    }
}

/// Filter text as the log keeps it.
pub(crate) fn shortened(mut filter: String) -> String {
    if filter.len() > LONGEST_FILTER {
        let end = (0..=LONGEST_FILTER).rev().find(|end| filter.is_char_boundary(*end)).unwrap_or(0);
        filter.truncate(end);
        filter.push('…');
    }
    filter
}
