//! The protocol between daemon and hook runner: one order and one answer on each connection.
//!
//! An order is a length (four bytes, big-endian) and a JSON document. Two descriptors come with it:
//! the configuration file and the stdin of the program. The answer is a JSON document up to the end
//! of the connection.

use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

use super::exec::{NoExit, ProgramResult, Variable};
use super::{io_error, not_run};
use crate::hooks::leftovers::INSTANCE;
use crate::model::Program;

/// Most bytes of an order or answer. An order has names and a short text; input is passed as a descriptor.
const LONGEST: usize = 64 * 1024;

/// Kind of a program. Hooks and gates have separate names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramKind {
    Hook,
    Gate,
}

impl ProgramKind {
    /// Returns the word for messages, which is also the name of the configuration section.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Gate => "gate",
        }
    }
}

/// A request to run one program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    pub(super) kind: ProgramKind,
    pub(super) name: String,
    /// Name of the part of the configuration that has the program; `None` for the main file.
    pub(super) part: Option<String>,
    /// Digest of the program in the configuration of the daemon.
    pub(super) digest: String,
    pub(super) instance: String,
    pub(super) limit_ms: u64,
    /// The event of a hook; `None` for a gate.
    pub(super) event: Option<EventSummary>,
    /// Only checks that the program can be run.
    pub(super) is_check: bool,
}

/// The fields of an event in the environment of a hook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventSummary {
    pub(super) id: String,
    pub(super) kind: String,
    /// `None` for a sample.
    pub(super) seq: Option<u64>,
    pub(super) head: Option<String>,
    pub(super) attempt: u32,
    /// The readable text; `None` where the event says nothing new.
    pub(super) text: Option<String>,
}

impl Order {
    pub(super) fn new(
        kind: ProgramKind,
        name: &str,
        program: &Program,
        limit: Duration,
        instance: &str,
        event: Option<EventSummary>,
    ) -> Self {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Self {
            kind,
            name: name.to_owned(),
            part: program.part.clone(),
            digest: program.digest(),
            instance: instance.to_owned(),
            limit_ms,
            event,
            is_check: false,
        }
    }

    pub(super) fn limit(&self) -> Duration {
        Duration::from_millis(self.limit_ms)
    }

    /// Returns the environment variables besides those of all programs.
    pub(super) fn variables(&self) -> Vec<Variable> {
        let mut variables = vec![(INSTANCE, self.instance.clone())];
        match (self.kind, &self.event) {
            (ProgramKind::Gate, _) => variables.push(("ROSTERD_GATE", self.name.clone())),
            (ProgramKind::Hook, None) => variables.push(("ROSTERD_HOOK", self.name.clone())),
            (ProgramKind::Hook, Some(EventSummary { id, kind, seq, head, attempt, text })) => {
                variables.extend([
                    ("ROSTERD_HOOK", self.name.clone()),
                    ("ROSTERD_EVENT_ID", id.clone()),
                    ("ROSTERD_EVENT_TYPE", kind.clone()),
                    ("ROSTERD_ATTEMPT", attempt.to_string()),
                ]);
                match seq {
                    Some(seq) => variables.push(("ROSTERD_EVENT_SEQ", seq.to_string())),
                    None => variables.push(("ROSTERD_TEST", "1".to_owned())),
                }
                variables.extend(head.clone().map(|head| ("ROSTERD_LOG_HEAD", head)));
                variables.extend(text.clone().map(|text| ("ROSTERD_TEXT", text)));
            }
        }
        variables
    }

    /// Sends the order with its two descriptors.
    pub(super) async fn send(
        &self,
        stream: &mut UnixStream,
        configuration: BorrowedFd<'_>,
        stdin: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let document = serde_json::to_vec(self)?;
        let length =
            u32::try_from(document.len()).ok().filter(|length| *length as usize <= LONGEST);
        let mut frame =
            length.ok_or_else(|| io_error("the order exceeds 64 KiB"))?.to_be_bytes().to_vec();
        frame.extend(document);
        let descriptors = [configuration, stdin];
        let sent = loop {
            stream.writable().await?;
            let sent = stream.try_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
                Ok(sendmsg(
                    stream.as_fd(),
                    &[IoSlice::new(&frame)],
                    &mut control,
                    SendFlags::NOSIGNAL,
                )?)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => break sent?,
            }
        };
        // The descriptors belong to the first byte.
        stream.write_all(&frame[sent..]).await
    }

    /// Receives an order with its two descriptors: the configuration file, and the program's stdin.
    pub(super) async fn receive(stream: &mut UnixStream) -> io::Result<(Self, OwnedFd, OwnedFd)> {
        let mut length = [0; 4];
        let mut descriptors = Vec::new();
        let received = loop {
            stream.readable().await?;
            let received = stream.try_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let received = recvmsg(
                    stream.as_fd(),
                    &mut [IoSliceMut::new(&mut length)],
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(passed) = message {
                        descriptors.extend(passed);
                    }
                }
                Ok(received.bytes)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => break received?,
            }
        };
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.read_exact(&mut length[received..]).await?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST {
            return Err(io_error("the order exceeds 64 KiB"));
        }
        let mut document = vec![0; length];
        stream.read_exact(&mut document).await?;
        let order = serde_json::from_slice(&document)?;
        let mut descriptors = descriptors.into_iter();
        match (descriptors.next(), descriptors.next(), descriptors.next()) {
            (Some(configuration), Some(stdin), None) => Ok((order, configuration, stdin)),
            _ => Err(io_error("the order does not come with two descriptors")),
        }
    }
}

/// Answer to an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Answer {
    /// The wait status (wait(2)) and the output.
    Ended { status: i32, output: String },
    /// The time limit passed.
    Late { output: String },
    /// No program was started.
    NotRun { why: String },
}

/// Sends the answer and closes the connection.
pub(super) async fn send(finished: ProgramResult, stream: &mut UnixStream) -> io::Result<()> {
    let ProgramResult { status, output } = finished;
    let answer = match status {
        Ok(status) => Answer::Ended { status: status.into_raw(), output },
        Err(NoExit::TimedOut) => Answer::Late { output },
        Err(NoExit::NotRun(why)) => Answer::NotRun { why },
    };
    stream.write_all(&serde_json::to_vec(&answer)?).await?;
    stream.shutdown().await
}

/// Receives the answer.
pub(super) async fn receive(stream: &mut UnixStream) -> io::Result<ProgramResult> {
    let mut document = Vec::new();
    stream.take(LONGEST as u64).read_to_end(&mut document).await?;
    if document.is_empty() {
        return Err(io_error("it closed the connection without an answer"));
    }
    Ok(match serde_json::from_slice(&document)? {
        Answer::Ended { status, output } => {
            ProgramResult { status: Ok(ExitStatus::from_raw(status)), output }
        }
        Answer::Late { output } => ProgramResult { status: Err(NoExit::TimedOut), output },
        Answer::NotRun { why } => not_run(why),
    })
}

/// Reads a passed file from its body_beginning.
pub(super) fn read(file: &std::fs::File, longest: u64) -> io::Result<String> {
    let mut text = String::new();
    file.take(longest).read_to_string(&mut text)?;
    Ok(text)
}
