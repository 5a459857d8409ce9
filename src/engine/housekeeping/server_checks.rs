//! Looks at the servers of all directories, also those that no run uses: an operator should learn of a
//! dead one before it is needed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::engine::periodic::Periodic;
use crate::engine::{Directory, Engine, EngineError};

/// Time between two rounds, in each of which few servers are due.
const PERIOD: Duration = Duration::from_mins(1);

/// The periodic task that looks at servers without a bind.
pub(in crate::engine) struct ServerChecks(Arc<Engine>);

impl ServerChecks {
    pub(in crate::engine) fn new(engine: &Arc<Engine>) -> Self {
        Self(Arc::clone(engine))
    }
}

impl Periodic for ServerChecks {
    fn name(&self) -> &'static str {
        "server-checks"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn round(&mut self) -> Result<(), EngineError> {
        self.0.look_at_servers().await;
        Ok(())
    }
}

impl Engine {
    /// Looks at the servers of all directories that are due, and asks DNS for those that are
    /// discovered.
    pub async fn look_at_servers(&self) {
        let configured = self.configured();
        let look = async |directory: &Arc<Directory>| {
            let config = &directory.config;
            let settings = match &config.discover {
                Some(discovery) => self.ask_dns(directory, discovery).await,
                None => Ok(config.settings.clone()),
            };
            match settings {
                Ok(settings) => {
                    directory.work.servers.look(&settings, &|| self.clock.passed()).await;
                }
                Err(error) => tracing::debug!("{}: {error}", config.name),
            }
        };
        join_all(configured.directories.values().map(look)).await;
    }
}
