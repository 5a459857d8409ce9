//! ldap3 behind the gate: no admitted answer makes its driver or a caller panic or hang.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use bytes::BytesMut;
use ldap3::{LdapConnAsync, LdapConnSettings, Scope, StdStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::directory::frame::{self, Frame, Op};

/// Longer than any step here takes, and short enough to call it a hang.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Answers a bind and a search with the bytes that the gate admits. Panics if ldap3 panics or
/// hangs.
pub fn check(bytes: &[u8]) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for request in [Op::Other(0), Op::Other(3)] {
        let answers = admitted(bytes, request);
        if !answers.is_empty() {
            let done = runtime
                .block_on(async { tokio::time::timeout(TIME_LIMIT, ask(request, &answers)).await });
            assert!(done.is_ok(), "ldap3 hangs on what was let through");
        }
    }
}

/// Returns the frames that the gate admits as an answer to the request with id 1.
fn admitted(bytes: &[u8], request: Op) -> Vec<Frame> {
    let mut buffer = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = frame::split(&mut buffer) {
        // Entries do not go to ldap3. The request is identified by its id.
        if frame.op.answers(request) && frame.op != Op::SearchResultEntry && frame.message_id == 1 {
            frames.push(frame);
        }
    }
    frames
}

async fn ask(request: Op, answers: &[Frame]) {
    let (ours, theirs) = StdUnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("a socket");
    theirs.set_nonblocking(true).expect("a socket");
    let mut server = UnixStream::from_std(ours).expect("a socket");
    let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
    let (connection, mut ldap) =
        LdapConnAsync::with_settings(settings, "ldapi://fuzz").await.expect("a connection");
    let client = async {
        if request == Op::Other(0) {
            let _ = ldap.simple_bind("somebody", "secret").await;
        } else {
            let _ = ldap.search("DC=x", Scope::Subtree, "(objectClass=*)", vec!["*"]).await;
        }
        // Ends the driver.
        drop(ldap);
    };
    let answering = async {
        let mut asked = [0; 512];
        let _ = server.read(&mut asked).await;
        for answer in answers {
            if server.write_all(&answer.bytes).await.is_err() {
                break;
            }
        }
        let _ = server.shutdown().await;
    };
    let (ended, (), ()) = tokio::join!(connection.drive(), client, answering);
    drop(ended);
}
