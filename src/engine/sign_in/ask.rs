//! Puts a password to the directory, once, and keeps the count of attempts by AD's answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::{Obstacle, RefusalReason, Verdict};
use crate::directory::{
    BadPasswordCount, BindAttempt, Credentials, DirectoryError, Password, Session, authenticate,
};
use crate::engine::{Directory, Engine, EngineError, Request};
use crate::model::{Guid, Link, Trigger, User};
use crate::telemetry::chain;

/// Longest time for the look-up of an entry's name. Without it, the name is the one that the last run read.
const LOOK_UP: Duration = Duration::from_secs(2);

/// The connection that the last run leaves behind: entries are looked up over it, without a bind for each sign-in. Where it has
/// ended, the next sign-in opens another one.
#[derive(Debug, Default)]
pub(in crate::engine) struct Names(Mutex<Option<Session>>);

impl Names {
    /// Keeps a run's connection for look-ups, unless one is being used.
    pub(in crate::engine) fn keep(&self, session: Session) {
        if let Ok(mut kept) = self.0.try_lock() {
            *kept = Some(session);
        }
    }
}

impl Engine {
    /// Returns why a user may not sign in with this password; `None` when AD accepts it as that person's.
    pub(super) async fn judged_by_directory(
        self: &Arc<Self>,
        user: &User,
        link: &Link,
        password: &Password,
    ) -> Result<Option<Verdict>, EngineError> {
        let name = link.directory.as_str();
        let unreachable = |why: &dyn std::fmt::Display| {
            tracing::warn!(directory = name, "{name}: {} could not sign in: {why}", user.id);
            Ok(Some(Verdict::Unavailable(Obstacle::Unreachable)))
        };
        let Ok(directory) = self.directory(name) else {
            return unreachable(&"the directory is not configured any more");
        };
        let settings = match self.locate(&directory).await {
            Ok(settings) => settings,
            Err(error) => return unreachable(&chain(&error)),
        };
        let (dn, preferred) = match self.name_of(&directory, link.guid).await {
            Some((dn, server)) => (dn, Some(server)),
            None => {
                (link.dn.as_str().to_owned(), self.store.directory(&link.directory).await?.server)
            }
        };
        let Some(attempt) = self.begin_attempt(user.id).await? else {
            return Ok(Some(Verdict::Deny(RefusalReason::RateLimited)));
        };
        let BindAttempt { server, answer, count } =
            authenticate(&settings, preferred.as_deref(), &dn, link.guid, password).await;
        match (&answer, count) {
            (Ok(Credentials::Valid), _) => self.store.accept_sign_in(&attempt, &server).await?,
            (_, BadPasswordCount::Unchanged) => self.store.take_back_sign_in(&attempt).await?,
            (Ok(_), BadPasswordCount::MayHaveRisen) => {
                self.store.refuse_sign_in(&attempt, &server).await?
            }
            // The answer was lost: the attempt goes on counting, and no later success takes it back.
            (Err(_), BadPasswordCount::MayHaveRisen) => {}
        }
        match answer {
            Ok(Credentials::Valid) => Ok(None),
            Ok(Credentials::OtherPerson) => {
                tracing::warn!(
                    directory = name,
                    "{name}: {}: another entry has the name by now",
                    user.id
                );
                Ok(Some(Verdict::Deny(RefusalReason::OtherEntry)))
            }
            Ok(Credentials::Refused(refusal)) => {
                tracing::info!(
                    directory = name,
                    "{name}: the password of {} was refused: {}",
                    user.id,
                    refusal.sign_in_reason()
                );
                if refusal.indicates_leaver() {
                    self.sync_refused(link);
                }
                Ok(Some(Verdict::Deny(RefusalReason::of(&refusal))))
            }
            Err(error) => unreachable(&chain(&error)),
        }
    }

    /// Returns the present name of a person's entry, and the server that says so. A renamed entry is looked up before the bind:
    /// after it, AD does not tell a name that is gone from a wrong password, and the password may not be sent again.
    async fn name_of(&self, directory: &Directory, person: Guid) -> Option<(String, String)> {
        let look_up = async {
            let mut kept = directory.names.0.lock().await;
            // A server ends a connection that is idle for a quarter of an hour, and a controller may have been restarted.
            if let Some(mut session) = kept.take()
                && let Ok(found) = find(&mut session, person).await
            {
                *kept = Some(session);
                return found;
            }
            let (mut session, _) = self.open(directory).await.ok()?;
            let found = find(&mut session, person).await.ok()?;
            *kept = Some(session);
            found
        };
        tokio::time::timeout(LOOK_UP, look_up).await.ok()?
    }

    /// Starts a run for a person of whom AD shows at sign-in what no run has read yet.
    fn sync_refused(self: &Arc<Self>, link: &Link) {
        let (engine, Link { directory, guid, .. }) = (Arc::clone(self), link.clone());
        tokio::spawn(async move {
            let request = Request::people(Trigger::SignIn, [guid], None);
            let run = match engine.directory(directory.as_str()) {
                Ok(configured) => engine.run(&configured, request).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = run {
                tracing::warn!(
                    "{directory}: sync triggered by a refused sign-in failed: {}",
                    chain(&error)
                );
            }
        });
    }
}

/// Returns the name of an entry and the server of the session; `None` where the entry is not visible.
async fn find(
    session: &mut Session,
    person: Guid,
) -> Result<Option<(String, String)>, DirectoryError> {
    let found = session.object(&format!("<GUID={person}>"), &["objectGUID".to_owned()]).await?;
    Ok(found.map(|object| (object.dn, session.server.clone())))
}
