//! Signals, with who sent them.

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook_tokio::SignalsInfo;
use tokio_util::sync::CancellationToken;

/// Stops on SIGTERM and SIGINT; tells on SIGHUP that the configuration is read at start.
pub fn watch_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGTERM, SIGINT, SIGHUP])?;
    tokio::spawn(async move {
        while let Some(origin) = signals.next().await {
            let sender = origin.process.map_or_else(|| "the kernel".to_owned(), |p| format!("process {} of uid {}", p.pid, p.uid));
            match origin.signal {
                SIGHUP => {
                    tracing::warn!(%sender, "SIGHUP: this version reads its configuration at start only; restart it: systemctl restart rosterd")
                }
                signal => {
                    tracing::info!(signal, %sender, "stopping");
                    stop.cancel();
                }
            }
        }
    });
    Ok(())
}
