//! A web proxy that connects or fails, and records the bytes of its clients.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The bytes that all clients have sent.
type Seen = Arc<Mutex<Vec<u8>>>;

pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    seen: Seen,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    /// Starts a proxy that answers each CONNECT with this status; it connects for 200 only.
    pub(super) async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
        let sees = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, status, Arc::clone(&sees)));
            }
        });
        Self { address, seen, serving }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the head of the first request, and the bytes after it.
    pub(super) fn seen(&self) -> (String, Vec<u8>) {
        let seen = self.seen.lock().unwrap();
        let end =
            seen.windows(4).position(|four| four == b"\r\n\r\n").map_or(seen.len(), |at| at + 4);
        (String::from_utf8_lossy(&seen[..end]).into_owned(), seen[end..].to_vec())
    }
}

async fn carry(mut client: TcpStream, status: u16, seen: Seen) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    seen.lock().unwrap().extend_from_slice(&head);
    client.write_all(format!("HTTP/1.1 {status} As Told\r\n\r\n").as_bytes()).await?;
    if status != 200 {
        return Ok(());
    }
    let head = String::from_utf8_lossy(&head);
    let server = TcpStream::connect(head.split(' ').nth(1).unwrap_or_default()).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut piece = [0; 4096];
    while let length @ 1.. = from_client.read(&mut piece).await? {
        seen.lock().unwrap().extend_from_slice(&piece[..length]);
        to_server.write_all(&piece[..length]).await?;
    }
    Ok(())
}
