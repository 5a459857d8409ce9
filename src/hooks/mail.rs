//! Delivery by mail: one message with a readable text for each event.
//!
//! The connection is new for each message, and the password is read again. A server that cannot be
//! reached, or refuses the login, is down: the backlog waits.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message as Letter, Tokio1Executor};

use super::text::{Text, text_of};
use super::{Attempt, AttemptOutcome, Message, last_lines};
use crate::model::{Mail, MailLogin, MailTls, Timestamp, secret_line};
use crate::ownership::{SecretFileError, read_secret};
use crate::telemetry::chain;

/// Mails the text of an event. An event without a text of its own needs no mail.
pub async fn deliver(mail: &Mail, message: &Message, limit: Duration, now: Timestamp) -> Attempt {
    let Some(text) = text_of(&message.document) else {
        return ended(AttemptOutcome::Delivered, "nothing new, so no mail");
    };
    let letter = match letter(mail, message, &text, now) {
        Ok(letter) => letter,
        Err(reason) => return ended(AttemptOutcome::Rejected(reason), ""),
    };
    let transport = match transport(mail, limit) {
        Ok(transport) => transport,
        Err(reason) => return down(reason),
    };
    match tokio::time::timeout(limit, transport.send(letter)).await {
        Ok(Ok(answer)) => {
            let said = answer.message().collect::<Vec<_>>().join("\n");
            ended(AttemptOutcome::Delivered, &said)
        }
        Ok(Err(error)) => failed(mail, &error),
        Err(_) => down(format!(
            "{} did not take the mail within {}",
            mail.server,
            humantime::format_duration(limit)
        )),
    }
}

fn ended(ended: AttemptOutcome, output: &str) -> Attempt {
    Attempt { ended, output: last_lines(output.as_bytes()) }
}

fn down(reason: String) -> Attempt {
    ended(AttemptOutcome::Retry { reason, after: None, is_down: true }, "")
}

/// The answers of a server about the login (RFC 4954, 6): another password is needed, not another mail.
const ABOUT_LOGIN: [&str; 4] = ["530", "534", "535", "538"];

fn failed(mail: &Mail, error: &SmtpError) -> Attempt {
    let reason = last_lines(format!("{}: {}", mail.server, chain(error)).as_bytes());
    match error.status() {
        Some(code) if error.is_permanent() && !ABOUT_LOGIN.contains(&code.to_string().as_str()) => {
            ended(AttemptOutcome::Rejected(reason), "")
        }
        _ => down(reason),
    }
}

/// Writes the message. Its id is that of the event, so that a repeated delivery can be recognised.
fn letter(mail: &Mail, message: &Message, text: &Text, now: Timestamp) -> Result<Letter, String> {
    let domain = mail.from.email.domain();
    let add = |builder: MessageBuilder, to: &Mailbox| builder.to(to.clone());
    let builder = Letter::builder()
        .from(mail.from.clone())
        .subject(text.subject.clone())
        .date(now.to_utc().into())
        .message_id(Some(format!("<{}@{domain}>", message.id)))
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN);
    mail.to
        .iter()
        .fold(builder, add)
        .body(text.body.clone())
        .map_err(|error| format!("the mail cannot be written: {}", chain(&error)))
}

/// `Auto-Submitted: auto-generated` (RFC 3834), so that no program answers.
#[derive(Clone)]
struct AutoSubmitted;

impl lettre::message::header::Header for AutoSubmitted {
    fn name() -> lettre::message::header::HeaderName {
        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> lettre::message::header::HeaderValue {
        lettre::message::header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

fn transport(mail: &Mail, limit: Duration) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let tls = match mail.tls {
        MailTls::StartTls => Tls::Required(parameters(mail)?),
        MailTls::Implicit => Tls::Wrapper(parameters(mail)?),
        MailTls::Off => Tls::None,
    };
    // The name of this machine may mean nothing to the server.
    let hello = ClientId::Domain(mail.from.email.domain().to_owned());
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.server)
        .port(mail.port)
        .tls(tls)
        .timeout(Some(limit))
        .hello_name(hello);
    Ok(match &mail.login {
        Some(login) => builder.credentials(credentials(login)?).build(),
        None => builder.build(),
    })
}

fn parameters(mail: &Mail) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(mail.server.clone());
    if let Some(file) = &mail.ca_file {
        let bad = |error: String| format!("{}: {error}", file.display());
        let pem = std::fs::read(file).map_err(|error| bad(error.to_string()))?;
        let trusted = Certificate::from_pem(&pem).map_err(|error| bad(chain(&error)))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(trusted);
    }
    builder.build_rustls().map_err(|error| format!("TLS cannot be used: {}", chain(&error)))
}

fn credentials(MailLogin { user, password_file }: &MailLogin) -> Result<Credentials, String> {
    let bad = |fault: String| format!("{} {fault}", password_file.display());
    let content = read_secret(password_file).map_err(|error| match error {
        SecretFileError::OpenToAll => bad("can be read by every user: run chmod o= on it".into()),
        SecretFileError::Unreadable(error) => bad(format!("cannot be read: {error}")),
    })?;
    let password = secret_line(&content).map_err(|fault| bad(fault.to_string()))?;
    Ok(Credentials::new(user.clone(), password.to_owned()))
}
