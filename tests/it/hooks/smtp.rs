//! A mail server that keeps what it receives: ESMTP with STARTTLS, AUTH and scripted refusals.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A received mail.
#[derive(Clone, Debug, Default)]
pub(super) struct Mail {
    pub(super) recipients: Vec<String>,
    /// Whether the connection was encrypted.
    pub(super) is_encrypted: bool,
    /// The base64 of AUTH PLAIN.
    pub(super) login: Option<String>,
    /// Header and body, still encoded.
    pub(super) text: String,
}

/// The encryption that the server offers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Plain,
    StartTls,
    Implicit,
}

#[derive(Default)]
struct Desk {
    mails: Mutex<Vec<Mail>>,
    /// Answers that replace the next ones, each to a command that begins so.
    refusals: Mutex<VecDeque<(&'static str, &'static str)>>,
}

pub(super) struct Smtp {
    pub(super) address: SocketAddr,
    desk: Arc<Desk>,
    serving: JoinHandle<()>,
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Smtp {
    /// Starts a server for `localhost`; returns it with the certificate of its CA.
    pub(super) async fn start(offer: Offer) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, offer)
    }

    pub(super) fn on(listener: TcpListener, offer: Offer) -> (Self, String) {
        let (acceptor, pem) = super::receiver::tls_of_localhost();
        let (address, desk) = (listener.local_addr().unwrap(), Arc::<Desk>::default());
        let at = Arc::clone(&desk);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that breaks off ends its own session only.
                tokio::spawn(session(stream, offer, acceptor.clone(), Arc::clone(&at)));
            }
        });
        (Self { address, desk, serving }, pem)
    }

    pub(super) fn mails(&self) -> Vec<Mail> {
        self.desk.mails.lock().unwrap().clone()
    }

    /// Answers the next command that begins so with this line.
    pub(super) fn refuse(&self, command: &'static str, answer: &'static str) {
        self.desk.refusals.lock().unwrap().push_back((command, answer));
    }
}

async fn session(stream: TcpStream, offer: Offer, tls: TlsAcceptor, desk: Arc<Desk>) -> Option<()> {
    if offer == Offer::Implicit {
        let mut stream = BufReader::new(tls.accept(stream).await.ok()?);
        let session = Session { is_encrypted: true, starttls: false, greets: true };
        return talk(&mut stream, session, &desk).await.map(drop);
    }
    let mut plain = BufReader::new(stream);
    let starttls = offer == Offer::StartTls;
    let session = Session { is_encrypted: false, starttls, greets: true };
    if talk(&mut plain, session, &desk).await? == Next::Encrypt {
        let mut stream = BufReader::new(tls.accept(plain.into_inner()).await.ok()?);
        let session = Session { is_encrypted: true, starttls: false, greets: false };
        talk(&mut stream, session, &desk).await?;
    }
    Some(())
}

struct Session {
    is_encrypted: bool,
    starttls: bool,
    /// After STARTTLS the server does not greet again (RFC 3207, 4.2).
    greets: bool,
}

#[derive(PartialEq, Eq)]
enum Next {
    Encrypt,
    End,
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    Session { is_encrypted, starttls, greets }: Session,
    desk: &Desk,
) -> Option<Next> {
    let mut mail = Mail { is_encrypted, ..Mail::default() };
    if greets {
        stream.write_all(b"220 localhost ESMTP\r\n").await.ok()?;
        stream.flush().await.ok()?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return Some(Next::End);
        }
        let line = line.trim_end();
        let refused = {
            let mut refusals = desk.refusals.lock().unwrap();
            let at = refusals.iter().position(|(command, _)| line.starts_with(command));
            at.and_then(|at| refusals.remove(at)).map(|(_, answer)| answer)
        };
        let answer = match (refused, line.split(' ').next().unwrap_or_default()) {
            (Some(answer), _) => answer.to_owned(),
            (None, "EHLO") if starttls => "250-localhost\r\n250 STARTTLS".to_owned(),
            (None, "EHLO") => "250-localhost\r\n250 AUTH PLAIN".to_owned(),
            (None, "STARTTLS") => {
                stream.write_all(b"220 go ahead\r\n").await.ok()?;
                stream.flush().await.ok()?;
                return Some(Next::Encrypt);
            }
            (None, "AUTH") => {
                mail.login = line.rsplit(' ').next().map(str::to_owned);
                "235 welcome".to_owned()
            }
            (None, "RCPT") => {
                mail.recipients.push(line["RCPT TO:".len()..].trim_matches(['<', '>']).to_owned());
                "250 ok".to_owned()
            }
            (None, "DATA") => {
                stream.write_all(b"354 go ahead\r\n").await.ok()?;
                stream.flush().await.ok()?;
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.ok()?;
                    if line == ".\r\n" {
                        break;
                    }
                    mail.text.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                desk.mails.lock().unwrap().push(mail.clone());
                "250 kept".to_owned()
            }
            (None, "QUIT") => {
                stream.write_all(b"221 bye\r\n").await.ok()?;
                return Some(Next::End);
            }
            (None, _) => "250 ok".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}
