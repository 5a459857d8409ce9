//! Signals, with who sent them.

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook_tokio::SignalsInfo;
use tokio_util::sync::CancellationToken;

use crate::control::{Asked, Reloader};
use crate::model::Actor;

/// Stops on SIGTERM and SIGINT; has the configuration read again on SIGHUP.
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
                    // What comes of it is in the log; nobody waits for it here.
                    let reloader = reloader.clone();
                    tokio::spawn(async move {
                        reloader
                            .reload(Actor(format!("SIGHUP from {sender}")), Asked::BySignal)
                            .await
                    });
                }
                signal => {
                    let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
                    tracing::info!("stopping: {name} from {sender}");
                    stop.cancel();
                }
            }
        }
    });
    Ok(())
}
