//! Signals and the processes that send them.

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook_tokio::SignalsInfo;
use tokio_util::sync::CancellationToken;

use crate::control::{Asked, Reloader};
use crate::model::Actor;

/// Cancels `stop` on SIGTERM and SIGINT, and reloads the configuration on SIGHUP.
pub fn watch_signals(stop: CancellationToken, reloader: Reloader) -> std::io::Result<()> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGTERM, SIGINT, SIGHUP])?;
    tokio::spawn(async move {
        while let Some(origin) = signals.next().await {
            let sender = origin.process.map_or_else(
                || "the kernel".to_owned(),
                |p| format!("process {} of uid {}", p.pid, p.uid),
            );
            match origin.signal {
                SIGHUP => {
                    // The reload logs its outcome.
                    let reloader = reloader.clone();
                    tokio::spawn(async move {
                        reloader
                            .reload(Actor(format!("SIGHUP from {sender}")), Asked::BySignal)
                            .await
                    });
                }
                signal => {
                    let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
                    tracing::info!("shutting down: {name} from {sender}");
                    stop.cancel();
                }
            }
        }
    });
    Ok(())
}
