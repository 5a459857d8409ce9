//! The helper process that gets Kerberos tickets (`src/gssapi`), for one bind.
//!
//! The domain controller that was dialled is also the KDC: the generated krb5.conf names its address
//! and asks no DNS. So a server that fails fails as a whole, and the next one is tried.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout_at};

use super::bind::KDC_REFUSALS;
use super::{BindRefusal, DirectoryError, KerberosError};

/// The key of the service account, and the program that uses it.
#[derive(Debug)]
pub(super) struct Login {
    pub helper: PathBuf,
    pub keytab: PathBuf,
    pub principal: String,
    /// The version of the newest key.
    pub kvno: u32,
    pub has_aes: bool,
    pub krb5_conf: Option<PathBuf>,
}

/// The service that a ticket is for, and the connection that it is bound to.
#[derive(Debug)]
pub(super) struct Service<'a> {
    /// The server's URL, for errors.
    pub server: &'a str,
    /// The name of the domain controller.
    pub host: String,
    pub realm: String,
    /// The address of the connection, where the KDC is, too.
    pub address: IpAddr,
    /// The channel binding of the connection.
    pub binding: &'a [u8],
}

/// A token for the server.
#[derive(Debug)]
pub(super) struct Token {
    pub bytes: Vec<u8>,
    /// Whether the server has proven its identity, and only accepts or refuses this token.
    pub is_last: bool,
    /// The time until the ticket ends.
    pub lifetime: Duration,
}

/// One exchange: a running helper that has a ticket-granting ticket. It is killed when dropped.
#[derive(Debug)]
pub(super) struct Exchange {
    _helper: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    path: PathBuf,
    server: String,
    pub service: String,
    pub kdc: IpAddr,
    wait: Duration,
    deadline: Instant,
    /// The time until the ticket-granting ticket ends.
    pub lifetime: Duration,
}

/// One line of the helper.
enum Answer {
    Ticket(Duration),
    Token(Token),
    Failed(u32, String),
    Missing(String),
}

impl Answer {
    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        let seconds = |text: &str| text.parse().ok().map(Duration::from_secs);
        Some(match word {
            "ticket" => Self::Ticket(seconds(rest)?),
            "token" | "last" => {
                let (lifetime, token) = rest.split_once(' ')?;
                let (bytes, lifetime) = (STANDARD.decode(token).ok()?, seconds(lifetime)?);
                Self::Token(Token { bytes, is_last: word == "last", lifetime })
            }
            "failed" => {
                let (code, text) = rest.split_once(' ')?;
                Self::Failed(code.parse().ok()?, text.to_owned())
            }
            "missing" => Self::Missing(rest.to_owned()),
            _ => return None,
        })
    }
}

impl Login {
    /// Starts the helper, and gets a ticket-granting ticket. The whole exchange ends after `wait`.
    pub(super) async fn begin(
        &self,
        service: &Service<'_>,
        wait: Duration,
    ) -> Result<Exchange, DirectoryError> {
        let name = format!("ldap/{}@{}", service.host, service.realm);
        let failed = |error: std::io::Error| DirectoryError::Kerberos {
            server: service.server.to_owned(),
            error: KerberosError::Helper { path: self.helper.clone(), problem: error.to_string() },
        };
        let mut command = Command::new(&self.helper);
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let configuration = match &self.krb5_conf {
            Some(file) => {
                command.env("KRB5_CONFIG", file);
                String::new()
            }
            None => configuration(self.realm().unwrap_or(&service.realm), service.address),
        };
        let mut helper = command.kill_on_drop(true).spawn().map_err(failed)?;
        let (Some(requests), Some(answers)) = (helper.stdin.take(), helper.stdout.take()) else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        let mut exchange = Exchange {
            _helper: helper,
            requests,
            answers: BufReader::new(answers).lines(),
            path: self.helper.clone(),
            server: service.server.to_owned(),
            service: name.clone(),
            kdc: service.address,
            wait,
            deadline: Instant::now() + wait,
            lifetime: Duration::ZERO,
        };
        let keytab = format!("FILE:{}", self.keytab.display());
        let fields = [
            keytab.as_bytes(),
            self.principal.as_bytes(),
            name.as_bytes(),
            service.binding,
            configuration.as_bytes(),
        ];
        exchange.send(&fields.map(|field| STANDARD.encode(field)).join(" ")).await;
        match exchange.receive().await? {
            Answer::Ticket(lifetime) => Ok(Exchange { lifetime, ..exchange }),
            Answer::Failed(code, _) if KDC_REFUSALS.contains(&code) => {
                Err(DirectoryError::Refused {
                    server: service.server.to_owned(),
                    refusal: BindRefusal::by_kdc(code, self.kvno),
                })
            }
            other => Err(exchange.error(other)),
        }
    }

    /// Returns the realm of the account.
    pub(super) fn realm(&self) -> Option<&str> {
        self.principal.rsplit_once('@').map(|(_, realm)| realm)
    }
}

impl Exchange {
    /// Returns the next token. The first one needs a ticket for the service.
    pub(super) async fn token(&mut self) -> Result<Token, DirectoryError> {
        match self.receive().await? {
            Answer::Token(token) => Ok(token),
            other => Err(self.error(other)),
        }
    }

    /// Passes the server's answer on.
    pub(super) async fn answer(&mut self, token: &[u8]) {
        self.send(&STANDARD.encode(token)).await;
    }

    /// Writes a line. The next read reports a failure, with the reason that the helper gave.
    async fn send(&mut self, line: &str) {
        let line = format!("{line}\n");
        let _ = timeout_at(self.deadline, self.requests.write_all(line.as_bytes())).await;
    }

    async fn receive(&mut self) -> Result<Answer, DirectoryError> {
        let line = timeout_at(self.deadline, self.answers.next_line()).await;
        let problem = match line {
            Err(_) => {
                let (kdc, after) = (self.kdc, self.wait);
                return Err(self.kerberos(KerberosError::Timeout { kdc, after }));
            }
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(None)) => "it ended".to_owned(),
            Ok(Ok(Some(line))) => match Answer::parse(&line) {
                Some(answer) => return Ok(answer),
                None => "its answer cannot be read".to_owned(),
            },
        };
        Err(self.kerberos(KerberosError::Helper { path: self.path.clone(), problem }))
    }

    fn error(&self, answer: Answer) -> DirectoryError {
        self.kerberos(match answer {
            Answer::Failed(code, text) => {
                let (service, kdc) = (self.service.clone(), self.kdc);
                KerberosError::Failed { code, text, service, kdc }
            }
            Answer::Missing(problem) => KerberosError::NoLibrary(problem),
            Answer::Ticket(_) | Answer::Token(_) => KerberosError::Helper {
                path: self.path.clone(),
                problem: "its answer is out of order".to_owned(),
            },
        })
    }

    fn kerberos(&self, error: KerberosError) -> DirectoryError {
        DirectoryError::Kerberos { server: self.server.clone(), error }
    }
}

/// Returns a krb5.conf with one KDC. libkrb5 must not look anything up by itself, because the server
/// has been chosen and proven by TLS already.
fn configuration(realm: &str, kdc: IpAddr) -> String {
    let kdc = match kdc {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!(
        "[libdefaults]\n\
         default_realm = {realm}\n\
         dns_lookup_kdc = false\n\
         dns_lookup_realm = false\n\
         dns_canonicalize_hostname = false\n\
         rdns = false\n\
         udp_preference_limit = 1\n\
         [realms]\n\
         {realm} = {{\n\
         kdc = {kdc}:88\n\
         }}\n"
    )
}
