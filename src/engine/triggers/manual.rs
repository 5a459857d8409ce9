//! Manual full runs: concurrent callers share one run.

use std::sync::Arc;

use tokio::sync::watch;

use crate::engine::sync::stages::Request;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{Actor, Trigger};
use crate::store::Run;

impl Engine {
    /// Starts a full run, or joins one that waits. The read begins after this call, so callers that wait
    /// at the same time share one run.
    pub async fn sync(
        self: &Arc<Self>,
        directory: &Arc<Directory>,
        actor: Actor,
    ) -> Result<Run, EngineError> {
        let mut outcome = {
            let mut queue = directory.work.queue.lock().await;
            match &queue.next {
                Some(next) => next.clone(),
                None => {
                    let (sender, receiver) = watch::channel(None);
                    queue.next = Some(receiver.clone());
                    let (engine, directory) = (Arc::clone(self), Arc::clone(directory));
                    tokio::spawn(async move {
                        // The run in progress ends first. Callers until then join this one.
                        let reading = directory.work.full_read_lock.lock().await;
                        directory.work.queue.lock().await.next = None;
                        drop(reading);
                        // A reload may have replaced the configuration meanwhile.
                        let run = match engine.directory(directory.config.name.as_str()) {
                            Ok(directory) => {
                                engine
                                    .run(&directory, Request::full(Trigger::Manual, Some(actor)))
                                    .await
                            }
                            Err(error) => Err(error),
                        };
                        sender.send_replace(Some(run.map_err(Arc::new)));
                    });
                    receiver
                }
            }
        };
        let run =
            outcome.wait_for(Option::is_some).await.map_err(|_| EngineError::Stopping)?.clone();
        run.ok_or(EngineError::Stopping)?.map_err(EngineError::OfRun)
    }
}
