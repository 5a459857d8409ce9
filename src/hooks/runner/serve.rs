//! The runner's side: takes orders from one user, and runs the programs they name.

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
use super::{carry_out, not_run, other};

/// An order is one small message, which is there at once.
const ORDER: Duration = Duration::from_secs(5);

/// After a failure to accept (too many descriptors, say), so long before the next try.
const AGAIN: Duration = Duration::from_millis(200);

/// The socket that orders come by.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    /// The only user who may order anything.
    user: Uid,
}

impl Listener {
    /// The listening socket that this process was given as stdin, for orders of this user.
    pub fn on_stdin(user: Uid) -> io::Result<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        if !rustix::net::sockopt::socket_acceptconn(&stdin).unwrap_or(false) {
            return Err(other(
                "stdin is no listening socket: rosterd-hooks.socket, or rosterd itself, starts the hook runner",
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

/// Runs what is ordered until `stop`; then all programs that still run are ended.
pub async fn serve(listener: Listener, programs: Programs, stop: CancellationToken) {
    let Listener { socket, user } = listener;
    let programs = Arc::new(programs);
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = under_way.join_next() => {}
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => drop(under_way.spawn(attend(stream, user, Arc::clone(&programs)))),
                Err(error) => {
                    tracing::warn!("hook runner: accepting a connection failed: {error}");
                    tokio::time::sleep(AGAIN).await;
                }
            },
        }
    }
}

/// Carries out the order of one connection.
async fn attend(mut stream: UnixStream, user: Uid, programs: Arc<Programs>) {
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
    let order = match tokio::time::timeout(ORDER, Order::receive(&mut stream)).await {
        Ok(Ok(order)) => order,
        Ok(Err(error)) => return tracing::warn!("hook runner: reading an order failed: {error}"),
        Err(_) => {
            return tracing::warn!(
                "hook runner: reading an order failed: it was not whole within {ORDER:?}"
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
            Ok(Ok(program)) => carry_out(&order, &program, stdin, is_apart).await,
            Ok(Err(why)) => not_run(why),
            Err(panic) => not_run(format!("the hook runner failed: {panic}")),
        }
    };
    let mut nothing = [0];
    let finished = tokio::select! {
        finished = carried_out => finished,
        // The daemon has gone, or waits no longer: dropping the program's future ends its process group.
        _ = stream.read(&mut nothing) => return,
    };
    if let Err(error) = order::send(finished, &mut stream).await {
        tracing::debug!("hook runner: sending an answer failed: {error}");
    }
}
