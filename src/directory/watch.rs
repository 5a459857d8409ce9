//! Change notification (LDAP_SERVER_NOTIFICATION_OID, MS-ADTS 3.1.1.3.4.1.9).
//!
//! A notification only triggers a DirSync search, which reports the changed objects. The connection
//! of a watch serves nothing else.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use ldap3::exop::WhoAmI;
use ldap3::{LdapError, Scope, SearchResult};
use tokio::time::timeout;

use super::controls::{self, SearchMode};
use super::session::SIGN_OF_LIFE;
use super::wire_error::Step;
use super::{DirectoryError, Session};

/// The notification search, which ends with the connection.
type NotificationSearch = Pin<Box<dyn Future<Output = Result<SearchResult, LdapError>> + Send>>;

/// A connection on which the server reports each change in the domain.
pub struct Watch {
    session: Session,
    search: NotificationSearch,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Session {
    /// Starts the notification search. Every change after this returns is reported.
    pub async fn watch(mut self) -> Result<Watch, DirectoryError> {
        let Some(wire) = self.wire.as_ref() else { return Err(self.connection_error(None)) };
        let mut ldap = wire.ldap.clone();
        let base = self.root.default_naming_context.clone();
        let search = async move {
            // Without SHOW_DELETED, deletions are not reported. AD accepts no other filter.
            ldap.with_controls(controls::search_controls(SearchMode::Notification, true));
            ldap.search(&base, Scope::Subtree, "(objectClass=*)", vec!["objectGUID"]).await
        };
        let mut watch = Watch { session: self, search: Box::pin(search) };
        // A server that accepts the search is silent. It responds in order, so a ping shows the
        // acceptance.
        watch.ping().await?;
        Ok(watch)
    }
}

impl Watch {
    /// Waits for a change, and discards further notifications that have arrived.
    pub async fn changed(&mut self) -> Result<(), DirectoryError> {
        let Some(wire) = self.session.wire.as_mut() else {
            return Err(self.session.connection_error(None));
        };
        let ended = tokio::select! {
            biased;
            Some(_) = wire.entries.recv() => None,
            ended = &mut self.search => Some(ended),
        };
        match ended {
            None => {
                self.drain();
                Ok(())
            }
            Some(ended) => Err(self.ended(ended)),
        }
    }

    /// Discards the notifications that have arrived, before a DirSync search reports the changes.
    pub fn drain(&mut self) {
        if let Some(wire) = self.session.wire.as_mut() {
            while wire.entries.try_recv().is_ok() {}
        }
    }

    /// Checks that the server responds, because a dead connection reports no changes.
    ///
    /// Discards the notifications that arrive meanwhile.
    pub async fn ping(&mut self) -> Result<(), DirectoryError> {
        let wait = self.session.wait.min(SIGN_OF_LIFE);
        let Some(wire) = self.session.wire.as_mut() else {
            return Err(self.session.connection_error(None));
        };
        let mut ldap = wire.ldap.clone();
        let (search, entries) = (&mut self.search, &mut wire.entries);
        let answer = timeout(wait, async {
            let request = ldap.extended(WhoAmI);
            tokio::pin!(request);
            loop {
                tokio::select! {
                    // The search is polled first, because the first poll sends it.
                    biased;
                    ended = &mut *search => return Err(ended),
                    answer = &mut request => return Ok(answer),
                    // An unread entry would block the response behind it.
                    Some(_) = entries.recv() => {}
                }
            }
        });
        match answer.await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(error))) => Err(self.session.connection_error(Some(&error))),
            Ok(Err(ended)) => Err(self.ended(ended)),
            Err(_) => Err(self.session.timed_out(Step::Ping, wait)),
        }
    }

    /// Returns the error that ended the notification search.
    fn ended(&mut self, ended: Result<SearchResult, LdapError>) -> DirectoryError {
        match ended {
            Ok(SearchResult(_, result)) => {
                let base = self.session.root.default_naming_context.clone();
                self.session.search_error(&base, result.rc, result.text)
            }
            Err(error) => self.session.connection_error(Some(&error)),
        }
    }
}
