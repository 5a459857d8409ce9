//! Directories that get another name in the configuration.

use crate::engine::{Directory, DirectoryStatus, Engine, EngineError};
use crate::model::{Actor, DirectoryName};

impl Engine {
    /// Gives everything stored under the name of a directory that is not configured any more to the one that took its place.
    pub async fn rename_directory(
        &self,
        from: &str,
        to: &str,
        actor: &Actor,
    ) -> Result<DirectoryStatus, EngineError> {
        let missing =
            |name: &str| EngineError::NotFound { what: "directory", name: name.to_owned() };
        let former = DirectoryName::parse(from).ok_or_else(|| missing(from))?;
        if self.directory(from).is_ok() {
            return Err(EngineError::Refused(format!(
                "the directory {from} is still configured: give its section the name {to}, then rosterctl reload, and try again"
            )));
        }
        let Ok(directory) = self.directory(to) else {
            return Err(EngineError::Refused(format!(
                "no directory {to} is configured: give the section of {from} that name, then rosterctl reload, and try again"
            )));
        };
        if !self.store.knows_directory(&former).await? {
            return Err(missing(from));
        }
        self.rename(&former, &directory, actor).await?;
        self.directory_status(&directory).await
    }

    /// Does what `rename-from` says, once: afterwards nothing is stored under the old name. Returns why it could not be done.
    pub(in crate::engine) async fn rename_as_configured(
        &self,
        directory: &Directory,
    ) -> Result<Option<String>, EngineError> {
        let Some(former) = &directory.config.rename_from else { return Ok(None) };
        if self.directory(former.as_str()).is_ok() || !self.store.knows_directory(former).await? {
            return Ok(None);
        }
        match self.rename(former, directory, &Actor::rosterd()).await {
            Ok(()) => Ok(None),
            Err(EngineError::Refused(why)) => Ok(Some(why)),
            Err(error) => Err(error),
        }
    }

    async fn rename(
        &self,
        former: &DirectoryName,
        directory: &Directory,
        actor: &Actor,
    ) -> Result<(), EngineError> {
        let name = &directory.config.name;
        let _applying = self.apply_lock.lock().await;
        if !self.store.knows_directory(former).await? {
            return Ok(());
        }
        let people = self.store.people_of_directory(name).await?;
        if people > 0 {
            return Err(EngineError::Refused(format!(
                "the directory {name} has people of its own already, so {former} cannot become it: its users move to {name} one by one, at the next full run that shows them; remove rename-from"
            )));
        }
        self.store
            .rename_directory(former, name, &directory.config.account, actor, &self.clock)
            .await?;
        tracing::info!(directory = %name, "{name}: the directory was {former} until now; {actor} has renamed it");
        directory.work.wake.notify_one();
        Ok(())
    }
}
