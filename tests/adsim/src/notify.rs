//! Change notification: searches that stay open and receive changes (MS-ADTS 3.1.1.3.4.1.9).
//!
//! Several changes of one entry before its notification are one notification, with the current
//! values.

use std::io;
use std::sync::PoisonError;

use crate::connection::Connection;
use crate::directory::Ad;
use crate::encode::Selection;
use crate::entry::Id;
use crate::filter::Filter;
use crate::frames::{self, Outcome};
use crate::request::{Scope, Search};
use crate::rootdse::{Notifications, Server};
use crate::search::{Answer, Session, frame};

/// MaxNotificationPerConn: the open searches of one connection.
const MOST: usize = 5;

/// A search that receives changes.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) id: i64,
    base: Id,
    scope: Scope,
    selection: Selection,
    deleted_too: bool,
    /// The USN up to which all changes were sent.
    since: u64,
}

/// Opens a search; its connection sends it the changes from here on.
pub(crate) fn register(
    ad: &Ad,
    session: &mut Session,
    id: i64,
    search: &Search,
    base: Id,
    deleted_too: bool,
) -> Answer {
    let simple =
        matches!(&search.filter, Filter::Present(name) if name.eq_ignore_ascii_case("objectClass"));
    if !simple {
        let text = "000020B9: LdapErr: DSID-0C090A08, comment: The notify filter is not supported, data 0, v4563";
        return Answer::failed(Outcome::new(53, text));
    }
    if session.watches.len() == MOST {
        let text = "00002024: LdapErr: DSID-0C090A31, comment: Too many notifications on this connection, data 0, v4563";
        return Answer::failed(Outcome::new(11, text));
    }
    let selection = Selection::new(ad, &search.attributes, search.types_only);
    session.watches.push(Watch {
        id,
        base,
        scope: search.scope,
        selection,
        deleted_too,
        since: ad.usn,
    });
    Answer { open: true, ..Answer::default() }
}

impl Watch {
    /// Appends the changes. Returns false if the base is gone, which ends the search.
    fn tell(&mut self, ad: &Ad, server: &Server, out: &mut Vec<u8>) -> bool {
        let Self { id, base, scope, ref selection, deleted_too, ref mut since } = *self;
        if let Notifications::Told(from) = server.notifications {
            *since = from.max(*since);
        } else {
            return true;
        }
        let changed = ad.changed_after(*since);
        *since = ad.usn;
        let mut answer = Answer::default();
        for at in changed {
            if !ad.visible(at, deleted_too) || !ad.in_scope(at, base, scope) {
                continue;
            }
            let mut body = Vec::new();
            if ad.encode(at, selection, server.max_values, &mut body).is_ok() {
                frame(&mut answer, id, |out| out.extend_from_slice(&body));
            }
        }
        out.append(&mut answer.frames);
        let there = ad.get(base).is_some_and(|entry| !entry.deleted);
        if !there {
            let text = "0000208D: NameErr: DSID-0310028C, problem 2001 (NO_OBJECT), data 0, best match of:\n\t''\n";
            out.extend_from_slice(&frames::done(id, 32, text));
        }
        there
    }
}

impl Connection {
    /// Sends the changes to this connection's open searches.
    pub(crate) async fn tell(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        {
            let server = self.shared.server();
            let ad = self.shared.directory.read().unwrap_or_else(PoisonError::into_inner);
            self.session.watches.retain_mut(|watch| watch.tell(&ad, &server, &mut out));
        }
        if out.is_empty() {
            return Ok(());
        }
        self.send(&out).await
    }
}
