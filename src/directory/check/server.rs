//! The checks of one server: DNS, TCP, TLS, bind, identity and clock.

use std::net::SocketAddr;
use std::time::Duration;

use super::{CheckReport, failed};
use crate::directory::dial;
use crate::directory::kerberos::Login;
use crate::directory::secret::Secret;
use crate::directory::tls::{Certificate, Trusted};
use crate::directory::wire_error::WireError;
use crate::directory::{DirectoryError, Session, Settings};
use crate::model::{CheckOutcome, CheckStep, Dn, NameSource, ServerUrl, Timestamp};

/// A certificate that expires sooner gives a warning.
const RENEW: Duration = Duration::from_hours(30 * 24);
/// Largest difference of clocks at which expiry dates are still evaluated.
const MAX_SKEW: Duration = Duration::from_mins(5);
/// Most names of a certificate in the finding.
const MAX_NAMES: usize = 4;
/// Checks DNS, TCP and TLS of one server.
pub(super) async fn connect(
    url: &ServerUrl,
    settings: &Settings,
    now: Timestamp,
    report: &mut CheckReport,
) -> Option<Session> {
    let server = url.to_string();
    let broken = |name, source: WireError| {
        let remedy = source.remedy().map(str::to_owned);
        CheckStep::new(name, CheckOutcome::Failed, source.to_string(), remedy).at(&server)
    };
    let addresses = match dial::resolve(url, settings, None).await {
        Ok(addresses) => addresses,
        Err(error) => {
            report.add(broken("dns", error));
            return None;
        }
    };
    let listed =
        |all: &[SocketAddr]| all.iter().map(|a| a.ip().to_string()).collect::<Vec<_>>().join(", ");
    report.add(
        CheckStep::new(
            "dns",
            CheckOutcome::Ok,
            format!("{} is {}", url.host, listed(&addresses)),
            None,
        )
        .at(&server),
    );

    let dialled = match dial::dial(url, settings, &addresses).await {
        Ok(dialled) => dialled,
        Err(error) => {
            let name = if error.is_after_tcp() { "tls" } else { "tcp" };
            report.add(broken(name, error));
            return None;
        }
    };
    let finding = format!(
        "{} answers after {} ms",
        match addresses[..] {
            [_] => format!("port {}", url.port),
            _ => dialled.address.to_string(),
        },
        dialled.tcp_after.as_millis()
    );
    report.add(CheckStep::new("tcp", CheckOutcome::Ok, finding, None).at(&server));
    let version = dialled
        .stream
        .get_ref()
        .1
        .protocol_version()
        .and_then(|v| v.as_str())
        .unwrap_or("TLS")
        .replace("TLSv1_", "TLS 1.");
    report.add(certificate_step(url, settings, &dialled.certificate, &version, now).at(&server));
    match Session::over(url, dialled, settings).await {
        Ok(session) => Some(session),
        Err(error) => {
            report.add(failed("identity", &error).at(&server));
            None
        }
    }
}

/// Returns the step for a certificate: its names, its issuer, and the origin of the verified name.
fn certificate_step(
    url: &ServerUrl,
    settings: &Settings,
    certificate: &Certificate,
    version: &str,
    now: Timestamp,
) -> CheckStep {
    let Certificate { subject, issuer, names, until, .. } = certificate;
    let more = names.len().saturating_sub(MAX_NAMES);
    let mut names =
        if names.is_empty() { subject.clone() } else { names[..names.len() - more].join(", ") };
    if more > 0 {
        names = format!("{names} and {more} more");
    }
    let left = until.since(now);
    let source = match &url.source {
        NameSource::Configured => "is configured in servers".to_owned(),
        NameSource::Discovered(domain) => format!("came from DNS and lies in {domain}"),
    };
    let trusted = settings.ca_file.clone().map_or(Trusted::System, Trusted::File);
    let finding = format!(
        "{version}; the certificate is for {names}, issued by {issuer}, valid until {} ({} days); it proves, by {trusted}, \
         that the server is {}, a name that {source}",
        until.to_utc().format("%-d %B %Y"),
        left.as_secs() / 86_400,
        url.host
    );
    if left < RENEW {
        CheckStep::new(
            "tls",
            CheckOutcome::Warning,
            finding,
            Some("renew it in time: an expired one ends every run".to_owned()),
        )
    } else {
        CheckStep::new("tls", CheckOutcome::Ok, finding, None)
    }
}

/// Returns the step for a keytab that can be used.
pub(super) fn keytab_step(login: &Login) -> CheckStep {
    let Login { principal, kvno, keytab, .. } = login;
    let finding = format!("{} holds the key of {principal}, kvno {kvno}", keytab.display());
    if login.has_aes {
        CheckStep::new("keytab", CheckOutcome::Ok, finding, None)
    } else {
        CheckStep::new(
            "keytab",
            CheckOutcome::Warning,
            format!("{finding}, and none for AES"),
            Some(
                "export it with AES keys, because RC4 and DES are disabled step by step".to_owned(),
            ),
        )
    }
}

/// Binds with a ticket. A failure has the name of its step.
async fn bind_by_ticket(
    session: &mut Session,
    login: &Login,
    now: Timestamp,
    report: &mut CheckReport,
) -> Result<(), (&'static str, DirectoryError)> {
    let server = session.server.clone();
    let mut exchange = session.begin_kerberos(login).await.map_err(|e| ("kdc", e))?;
    let until = now.plus(exchange.lifetime).to_utc().format("%H:%M UTC");
    let finding = format!("the KDC {} gives a ticket until {until}", exchange.kdc);
    report.add(CheckStep::new("kdc", CheckOutcome::Ok, finding, None).at(&server));
    let token = exchange.token().await.map_err(|e| ("ticket", e))?;
    let finding = format!("for {}", exchange.service);
    report.add(CheckStep::new("ticket", CheckOutcome::Ok, finding, None).at(&server));
    session.bind_gssapi(exchange, token).await.map_err(|e| ("bind", e))
}

/// Checks bind, identity and clock of one server.
pub(super) async fn sign_in(
    mut session: Session,
    secret: &Secret,
    now: Timestamp,
    report: &mut CheckReport,
) -> Option<Session> {
    let server = session.server.clone();
    let (name, how, bound) = match secret {
        Secret::Password(name, password) => {
            (name, "", session.bind(name, password).await.map_err(|e| ("bind", e)))
        }
        Secret::Kerberos(login) => (
            &login.principal,
            ", by Kerberos with channel binding",
            bind_by_ticket(&mut session, login, now, report).await,
        ),
    };
    if let Err((step, error)) = bound {
        report.refusal = error.refusal().cloned().or(report.refusal.take());
        report.add(failed(step, &error).at(&server));
        return None;
    }
    report.is_bound = true;
    if let Err(error) = session.identify().await {
        report.add(
            CheckStep::new("bind", CheckOutcome::Ok, format!("{name} is let in{how}"), None)
                .at(&server),
        );
        report.add(failed("identity", &error).at(&server));
        return None;
    }
    report.add(account_step(&session, how, now).at(&server));
    let dsa = session.root.identity.ds_service_name.clone();
    // CN=NTDS Settings,CN=DC1,CN=Servers,CN=Berlin,CN=Sites,…
    let name = Dn::new(dsa.as_str()).parent().map_or(dsa, |dn| dn.name());
    let vendor = if session.root.vendor.is_empty() {
        String::new()
    } else {
        format!(", {}", session.root.vendor)
    };
    let finding = format!("{name} of {}{vendor}", session.root.default_naming_context);
    report.add(CheckStep::new("identity", CheckOutcome::Ok, finding, None).at(&server));
    report.add(clock_step(session.root.current_time, now).at(&server));
    Some(session)
}

/// Returns the step for the service account, with its expiry.
fn account_step(session: &Session, how: &str, now: Timestamp) -> CheckStep {
    let finding = format!("the service account is {}{how}", session.service_account.dn);
    let filetime = |attribute: &str| {
        session
            .service_account
            .text(attribute)
            .and_then(|t| t.parse::<i64>().ok())
            .filter(|t| *t > 0 && *t != i64::MAX)
    };
    match filetime("accountExpires").map(Timestamp::from_filetime) {
        Some(at) if at.since(now) < RENEW => CheckStep::new(
            "bind",
            CheckOutcome::Warning,
            format!("{finding}, which expires on {}", at.to_utc().format("%-d %B %Y")),
            Some("extend its accountExpires".to_owned()),
        ),
        _ => CheckStep::new("bind", CheckOutcome::Ok, finding, None),
    }
}

fn clock_step(theirs: Option<Timestamp>, now: Timestamp) -> CheckStep {
    let remedy = || Some("correct one of the clocks: until then no account expires".to_owned());
    match theirs {
        None => CheckStep::new(
            "clock",
            CheckOutcome::Failed,
            "the server does not tell the time",
            remedy(),
        ),
        Some(theirs) if theirs.distance(now) > MAX_SKEW => CheckStep::new(
            "clock",
            CheckOutcome::Failed,
            format!("the server's clock says {theirs}, ours {now}"),
            remedy(),
        ),
        Some(theirs) => CheckStep::new(
            "clock",
            CheckOutcome::Ok,
            format!("{} s from ours", theirs.distance(now).as_secs()),
            None,
        ),
    }
}
