//! Sends a password to AD once, and counts the attempt by the answer.

use std::sync::Arc;
use std::time::Duration;

use super::{Obstacle, RefusalReason, Verdict};
use crate::directory::{
    BadPasswordCount, BindAttempt, Credentials, DirectoryError, Password, Session, Use,
    authenticate,
};
use crate::engine::{Directory, Engine, EngineError, Request};
use crate::model::{Guid, Link, Trigger, User};
use crate::store::SignInAttempt;
use crate::telemetry::chain;

/// Time limit of the look-up of an entry's DN. After it, the DN of the last run is used.
const LOOK_UP: Duration = Duration::from_secs(2);
/// Time limit of a look-up over the connection of an earlier one, whose server may be dead.
const KEPT_LOOK_UP: Duration = Duration::from_secs(1);

impl Engine {
    /// Returns the reason why AD does not accept the password; `None` when it does.
    pub(super) async fn judged_by_directory(
        self: &Arc<Self>,
        user: &User,
        link: &Link,
        password: &Password,
    ) -> Result<Option<Verdict>, EngineError> {
        let name = link.directory.as_str();
        let unreachable = |reason: &dyn std::fmt::Display| {
            tracing::warn!(
                directory = name,
                "{name}: sign-in of {} is unavailable: {reason}",
                user.id
            );
            Ok(Some(Verdict::Unavailable(Obstacle::Unreachable)))
        };
        let Ok(directory) = self.directory(name) else {
            return unreachable(&"the directory is not configured any more");
        };
        let settings = match self.locate(&directory).await {
            Ok(settings) => settings,
            Err(error) => return unreachable(&chain(&error)),
        };
        let found = self.name_of(&directory, link.guid).await;
        let dn = found.unwrap_or_else(|| link.dn.as_str().to_owned());
        let servers = &directory.work.servers;
        servers.begin_with(self.store.directory(&link.directory).await?.server);
        let ask = async |skip: Option<&str>| {
            let Some(attempt) = self.begin_attempt(user.id).await? else { return Ok(None) };
            let now = || self.clock.passed();
            let asked =
                authenticate(servers, &settings, skip, &dn, link.guid, password, &now).await;
            self.count(&attempt, &asked).await?;
            Ok::<_, EngineError>(Some(asked))
        };
        let Some(mut asked) = ask(None).await? else {
            return Ok(Some(Verdict::Deny(RefusalReason::RateLimited)));
        };
        if let Ok(Credentials::Refused(refusal)) = &asked.answer
            && !refusal.concerns_account()
        {
            let reason = refusal.sign_in_reason();
            tracing::warn!(directory = name, "{name}: {}: {reason}", asked.server);
            // One further server only, because AD may have counted the attempt.
            let Some(further) = ask(Some(&asked.server)).await? else {
                return unreachable(&reason);
            };
            asked = further;
        }
        let BindAttempt { server, answer, .. } = asked;
        match answer {
            Ok(Credentials::Valid) => Ok(None),
            Ok(Credentials::OtherPerson) => {
                tracing::warn!(
                    directory = name,
                    "{name}: sign-in of {} refused, because another entry has the DN now",
                    user.id
                );
                Ok(Some(Verdict::Deny(RefusalReason::OtherEntry)))
            }
            Ok(Credentials::Refused(refusal)) if !refusal.concerns_account() => {
                unreachable(&format_args!("{server}: {}", refusal.sign_in_reason()))
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

    /// Counts an attempt by its answer.
    async fn count(
        &self,
        attempt: &SignInAttempt,
        BindAttempt { server, answer, count }: &BindAttempt,
    ) -> Result<(), EngineError> {
        match (answer, count) {
            (Ok(Credentials::Valid), _) => self.store.accept_sign_in(attempt, server).await?,
            (_, BadPasswordCount::Unchanged) => self.store.take_back_sign_in(attempt).await?,
            (Ok(_), BadPasswordCount::MayHaveRisen) => {
                self.store.refuse_sign_in(attempt, server).await?
            }
            // A lost answer: the attempt stays counted, and no later success takes it back.
            (Err(_), BadPasswordCount::MayHaveRisen) => {}
        }
        Ok(())
    }

    /// Returns the present DN of an entry. Looked up before the bind, because AD refuses a renamed
    /// entry and a wrong password alike. A password is sent only once.
    async fn name_of(&self, directory: &Directory, person: Guid) -> Option<String> {
        let look_up = async {
            let mut kept = directory.names.0.lock().await;
            // The connection may have ended: servers close idle ones after a quarter of an hour.
            if let Some(mut session) = kept.take() {
                session.limit_wait(KEPT_LOOK_UP);
                match find(&mut session, person).await {
                    Ok(found) => {
                        *kept = Some(session);
                        return found;
                    }
                    Err(error) if error.is_timeout() => {
                        let now = self.clock.passed();
                        directory.work.servers.note_lost(&session, error.finding(), now);
                    }
                    Err(_) => {}
                }
            }
            let (mut session, _) = self.open(directory, Use::LookUp).await.ok()?;
            let found = find(&mut session, person).await.ok()?;
            *kept = Some(session);
            found
        };
        tokio::time::timeout(LOOK_UP, look_up).await.ok()?
    }

    /// Starts a run for a person whose state AD revealed at sign-in.
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

/// Returns the DN of an entry; `None` where the entry is not visible.
async fn find(session: &mut Session, person: Guid) -> Result<Option<String>, DirectoryError> {
    let found = session.object(&format!("<GUID={person}>"), &["objectGUID".to_owned()]).await?;
    Ok(found.map(|object| object.dn))
}
