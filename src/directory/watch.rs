//! Being told that something has changed (LDAP_SERVER_NOTIFICATION_OID, MS-ADTS 3.1.1.3.4.1.9).
//!
//! What is told is taken for a word that it is worth looking, and for nothing else: which objects have changed, and what has
//! become of them, is asked for. A connection that watches does nothing beside it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use ldap3::exop::WhoAmI;
use ldap3::{LdapError, Scope, SearchResult};
use tokio::time::timeout;

use super::controls::{self, Course};
use super::{DirectoryError, Session};

/// A search that goes on for as long as the connection does.
type Asked = Pin<Box<dyn Future<Output = Result<SearchResult, LdapError>> + Send>>;

/// A connection on which the server tells that something has changed.
pub struct Watch {
    session: Session,
    asked: Asked,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Session {
    /// Has the server tell of every change in the domain. What changes after this returns is told.
    pub async fn watch(mut self) -> Result<Watch, DirectoryError> {
        let Some(wire) = self.wire.as_ref() else { return Err(self.fail(None)) };
        let mut ldap = wire.ldap.clone();
        let base = self.root.default_naming_context.clone();
        let asked = async move {
            // Deletions are told of only where deleted objects are asked for. The filter must be this one.
            ldap.with_controls(controls::of_search(Course::Notification, true));
            ldap.search(&base, Scope::Subtree, "(objectClass=*)", vec!["objectGUID"]).await
        };
        let mut watch = Watch { session: self, asked: Box::pin(asked) };
        // A server that takes the search says nothing. It answers in order: what comes next has it behind it.
        watch.is_alive().await?;
        Ok(watch)
    }
}

impl Watch {
    /// Waits until something has changed, and forgets what else has until now.
    pub async fn changed(&mut self) -> Result<(), DirectoryError> {
        let Some(wire) = self.session.wire.as_mut() else { return Err(self.session.fail(None)) };
        let ended = tokio::select! {
            biased;
            Some(_) = wire.entries.recv() => None,
            ended = &mut self.asked => Some(ended),
        };
        match ended {
            None => {
                self.forget();
                Ok(())
            }
            Some(ended) => Err(self.ended(ended)),
        }
    }

    /// Forgets what was told: it is about to be asked for.
    pub fn forget(&mut self) {
        if let Some(wire) = self.session.wire.as_mut() {
            while wire.entries.try_recv().is_ok() {}
        }
    }

    /// Makes sure that the server still answers on this connection: one that has gone without a word tells of nothing.
    /// Forgets what has changed until now.
    pub async fn is_alive(&mut self) -> Result<(), DirectoryError> {
        let wait = self.session.wait;
        let Some(wire) = self.session.wire.as_mut() else { return Err(self.session.fail(None)) };
        let mut ldap = wire.ldap.clone();
        let (asked, entries) = (&mut self.asked, &mut wire.entries);
        let answer = timeout(wait, async {
            let asking = ldap.extended(WhoAmI);
            tokio::pin!(asking);
            loop {
                tokio::select! {
                    // The search first: it is sent when it is first polled.
                    biased;
                    ended = &mut *asked => return Err(ended),
                    answer = &mut asking => return Ok(answer),
                    // Were it not taken, no answer would come through behind it.
                    Some(_) = entries.recv() => {}
                }
            }
        });
        match answer.await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(error))) => Err(self.session.fail(Some(&error))),
            Ok(Err(ended)) => Err(self.ended(ended)),
            Err(_) => Err(self.session.late("a sign of life")),
        }
    }

    /// Why the server tells of nothing any more.
    fn ended(&mut self, ended: Result<SearchResult, LdapError>) -> DirectoryError {
        match ended {
            Ok(SearchResult(_, result)) => {
                let base = self.session.root.default_naming_context.clone();
                self.session.refused(&base, result.rc, result.text)
            }
            Err(error) => self.session.fail(Some(&error)),
        }
    }
}
