//! A relay in front of a server, on a port that is closed, open, or silent.
#![allow(dead_code, reason = "tests of the store and of the daemon each use some of it")]

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A relay to one server. Dropped, it cuts all connections.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    /// Changes when the connections so far become silent.
    silenced: watch::Sender<u64>,
    /// Whether further connections are silent, too.
    is_cut: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(server: &str) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), server).await
    }

    /// Opens a relay at an address that was free a moment ago.
    #[expect(clippy::unused_async, reason = "a listener needs a runtime")]
    pub(crate) async fn at(address: SocketAddr, server: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(address).expect("a free port");
        let listener = socket.listen(64).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (silenced, is_cut) = (watch::Sender::new(0), watch::Sender::new(false));
        let (told, cut) = (silenced.clone(), is_cut.subscribe());
        let serving = tokio::spawn(serve(listener, server.to_owned(), told, cut));
        Self { address, silenced, is_cut, serving }
    }

    /// Cuts the network: nothing passes, and no side is told. Further connections work after
    /// [`Self::mend`].
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
        self.silence();
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }

    /// Makes the connections so far silent: they stay open, and nothing passes. Further ones work.
    pub(crate) fn silence(&self) {
        self.silenced.send_modify(|count| *count += 1);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: TcpListener,
    server: String,
    silenced: watch::Sender<u64>,
    is_cut: watch::Receiver<bool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let (server, mut silenced) = (server.clone(), silenced.subscribe());
        let is_cut = *is_cut.borrow();
        connections.spawn(async move {
            if is_cut {
                std::future::pending::<()>().await;
            }
            let Ok(mut server) = TcpStream::connect(server).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = silenced.changed() => std::future::pending().await,
            }
        });
    }
}
