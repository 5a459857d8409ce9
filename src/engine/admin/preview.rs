//! The plan of a directory under another configuration. A preview reads the directory, and writes only
//! to a copy of the store.

use tokio_util::sync::CancellationToken;

use crate::directory::Settings;
use crate::engine::{Directory, DirectoryConfig, DryRun, Engine, EngineError, Request};
use crate::model::{Actor, Trigger};
use crate::store::Scratch;

impl Engine {
    /// Plans a directory as if it had this configuration.
    pub async fn preview(
        &self,
        directory: &Directory,
        other: DirectoryConfig,
        actor: Actor,
    ) -> Result<DryRun, EngineError> {
        let copy = Scratch::copy_of(&self.store).await?;
        let config = with_connection_of(&directory.config, other);
        let rules = self.configured().rules.clone();
        let stop = CancellationToken::new();
        let name = config.name.clone();
        let engine =
            Self::new(copy.store.clone(), self.clock.clone(), vec![config], rules, stop.clone());
        let _end = stop.drop_guard();
        let planned = engine.directory(name.as_str())?;
        let request = Request::full(Trigger::Manual, Some(actor));
        let dry_run = engine.dry_run(&planned, &request).await;
        drop(engine);
        copy.store.close().await;
        dry_run
    }
}

/// Returns the other configuration with the servers and the service account of the present one. So the
/// author of a preview cannot have the password sent to another server.
fn with_connection_of(present: &DirectoryConfig, other: DirectoryConfig) -> DirectoryConfig {
    let Settings { servers, starttls, ca_file, credential, timeouts, .. } =
        present.settings.clone();
    DirectoryConfig {
        name: present.name.clone(),
        discover: present.discover.clone(),
        settings: Settings { servers, starttls, ca_file, credential, timeouts, ..other.settings },
        ..other
    }
}
