//! The requests of clients, for assertions in tests.

use crate::request::{Control, Scope};

/// The length at which the log cuts filters: hundreds of GUIDs say nothing more.
const LONGEST_FILTER: usize = 2048;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The connection, counted from 1 over the server's life.
    pub connection: u64,
    /// Whether TLS protected the connection at the time.
    pub tls: bool,
    pub event: Event,
}

/// An action of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Connect,
    /// The TLS handshake failed, with the reason.
    TlsFailed(String),
    StartTls,
    /// A bind, with the result's code.
    Bind {
        /// The name as given.
        name: String,
        /// 0 for success.
        code: u32,
    },
    Search(LoggedSearch),
    /// Another extended operation, by its identifier.
    Extended(String),
    Abandon,
    Unbind,
    /// Bytes that are no LDAP, or an attempt to write.
    Refused(String),
    Disconnect,
}

/// A search request, each page being one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedSearch {
    pub base: String,
    pub scope: Scope,
    /// The filter in RFC 4515 notation, cut if very long.
    pub filter: String,
    pub attributes: Vec<String>,
    pub controls: Vec<Control>,
    /// The page, from 1; 0 without paging.
    pub page: usize,
    /// The size limit, 0 for none.
    pub size_limit: usize,
    /// The number of entries found.
    pub entries: usize,
    /// The result's code, before faults.
    pub code: u32,
}

impl LoggedSearch {
    /// Returns whether the request has a control.
    pub fn has_control(&self, oid: &str) -> bool {
        self.controls.iter().any(|control| control.oid == oid)
    }
}

/// All actions of clients up to now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub events: Vec<Logged>,
}

impl Log {
    pub fn searches(&self) -> Vec<&LoggedSearch> {
        let search = |logged| match logged {
            &Logged { event: Event::Search(ref search), .. } => Some(search),
            _ => None,
        };
        self.events.iter().filter_map(search).collect()
    }

    /// Returns the searches whose filter contains this text, in any case.
    pub fn searches_for(&self, filter: &str) -> Vec<&LoggedSearch> {
        let wanted = filter.to_lowercase();
        let mut searches = self.searches();
        searches.retain(|search| search.filter.to_lowercase().contains(&wanted));
        searches
    }

    /// Returns the binds: name and result code.
    pub fn binds(&self) -> Vec<(&str, u32)> {
        let bind = |logged| match logged {
            &Logged { event: Event::Bind { ref name, code }, .. } => Some((name.as_str(), code)),
            _ => None,
        };
        self.events.iter().filter_map(bind).collect()
    }

    /// Returns the number of connections made.
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
