//! The servers of one directory, with the health of each. All callers share one value.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{BindRefusal, DirectoryError, Retry, Session, Settings};
use crate::model::ServerUrl;

/// Time during which a server gets no password after it refused one for a reason of its own. AD's
/// default observation window of a lockout is as long.
const REST: Duration = Duration::from_mins(30);

/// The health of the servers of one directory, by URL. Times are elapsed times of the process.
#[derive(Debug, Default)]
pub struct Servers(Mutex<BTreeMap<String, Health>>);

#[derive(Debug, Default)]
struct Health {
    /// The last refusal for a reason of the server's own, and when it may be tried again.
    resting: Option<(Duration, BindRefusal)>,
}

impl Servers {
    /// Opens the first usable server. Each is tried once, `preferred` first.
    pub async fn open(
        &self,
        settings: &Settings,
        preferred: Option<&str>,
        now: Duration,
    ) -> Result<Session, DirectoryError> {
        let mut errors: Vec<DirectoryError> = Vec::new();
        for url in settings.servers_from(preferred) {
            if let Some(resting) = self.resting(url, now) {
                errors.push(resting);
                continue;
            }
            match Session::open(url, settings).await {
                Ok(session) => {
                    // If no server is usable, the caller logs these errors.
                    for error in &errors {
                        if !matches!(error, DirectoryError::Resting { .. }) {
                            tracing::warn!("{error}; using {url} instead");
                        }
                    }
                    return Ok(session);
                }
                Err(error) => {
                    self.note(url, &error, now);
                    // A second server would count the same wrong password again.
                    let is_over =
                        error.refusal().is_some_and(|refusal| refusal.retry() != Retry::Anytime);
                    errors.push(error);
                    if is_over {
                        break;
                    }
                }
            }
        }
        Err(DirectoryError::NoServer(errors))
    }

    /// Forgets all refusals, so that each server is tried again.
    pub fn forget_refusals(&self) {
        self.lock().values_mut().for_each(|health| health.resting = None);
    }

    fn note(&self, url: &ServerUrl, error: &DirectoryError, now: Duration) {
        let Some(refusal) = error.refusal().filter(|refusal| refusal.is_servers_own()) else {
            return;
        };
        let mut all = self.lock();
        all.entry(url.to_string()).or_default().resting = Some((now + REST, refusal.clone()));
    }

    fn resting(&self, url: &ServerUrl, now: Duration) -> Option<DirectoryError> {
        let server = url.to_string();
        let all = self.lock();
        let (until, refusal) = all.get(&server)?.resting.as_ref()?;
        let left = until.checked_sub(now).filter(|left| !left.is_zero())?;
        Some(DirectoryError::Resting { server, refusal: refusal.clone(), left })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Health>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
