//! The server in the runner: accepts orders of one user and runs their programs.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Uid, geteuid};
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::order::{self, Order};
use super::programs::Programs;
use super::{execute, io_error, not_run};

/// Time limit for receiving an order, which is one small message.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept, for example for lack of descriptors.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// The socket of the runner.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    /// The only user whose orders are accepted.
    user: Uid,
}

impl Listener {
    /// Uses the listening socket on stdin, for orders of this user.
    pub fn on_stdin(user: Uid) -> io::Result<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        if !rustix::net::sockopt::socket_acceptconn(&stdin).unwrap_or(false) {
            return Err(io_error(
                "stdin is not a listening socket: the hook runner is started by rosterd-hooks.socket or rosterd",
            ));
        }
        let socket = std::os::unix::net::UnixListener::from(stdin);
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixListener::from_std(socket)?, user })
    }

    #[cfg(test)]
    pub(super) fn new(socket: UnixListener, user: Uid) -> Self {
        Self { socket, user }
    }
}

/// Serves orders until `stop`, then kills all running programs.
pub async fn serve(listener: Listener, programs: Programs, stop: CancellationToken) {
    let Listener { socket, user } = listener;
    let programs = Arc::new(programs);
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = under_way.join_next() => {}
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => drop(under_way.spawn(handle_connection(stream, user, Arc::clone(&programs)))),
                Err(error) => {
                    tracing::warn!("hook runner: accepting a connection failed: {error}");
                    tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                }
            },
        }
    }
}

/// Serves the order of one connection.
async fn handle_connection(mut stream: UnixStream, user: Uid, programs: Arc<Programs>) {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == user.as_raw() => {}
        Ok(peer) => {
            return tracing::warn!(
                "hook runner: refused a connection of uid {}: only uid {user} may order programs",
                peer.uid()
            );
        }
        Err(error) => {
            return tracing::warn!(
                "hook runner: refused a connection without peer credentials: {error}"
            );
        }
    }
    let order = match tokio::time::timeout(ORDER_TIMEOUT, Order::receive(&mut stream)).await {
        Ok(Ok(order)) => order,
        Ok(Err(error)) => return tracing::warn!("hook runner: reading an order failed: {error}"),
        Err(_) => {
            return tracing::warn!(
                "hook runner: reading an order failed: incomplete after {ORDER_TIMEOUT:?}"
            );
        }
    };
    let (order, configuration, stdin) = order;
    let is_apart = user != geteuid();
    let carried_out = async {
        let found = {
            let (order, programs) = (order.clone(), Arc::clone(&programs));
            tokio::task::spawn_blocking(move || programs.find(&order, configuration)).await
        };
        match found {
            Ok(Ok(program)) => execute(&order, &program, stdin, is_apart).await,
            Ok(Err(reason)) => not_run(reason),
            Err(panic) => not_run(format!("the hook runner failed: {panic}")),
        }
    };
    let mut nothing = [0];
    let finished = tokio::select! {
        finished = carried_out => finished,
        // The daemon has closed the connection. Dropping the future kills the process group.
        _ = stream.read(&mut nothing) => return,
    };
    if let Err(error) = order::send(finished, &mut stream).await {
        tracing::debug!("hook runner: sending an answer failed: {error}");
    }
}
