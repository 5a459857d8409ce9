//! The checks of one server: DNS, TCP, TLS, bind, identity and clock.

use std::net::SocketAddr;
use std::time::Duration;

use super::{CheckOutcome, CheckReport, CheckStep};
use crate::directory::dial;
use crate::directory::password_file::read_password;
use crate::directory::tls::{Certificate, Trusted};
use crate::directory::wire_error::WireError;
use crate::directory::{Session, Settings};
use crate::model::{Dn, NameSource, ServerUrl, Timestamp};

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
            report.add(CheckStep::failed("identity", &error).at(&server));
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

/// Checks bind, identity and clock of one server.
pub(super) async fn sign_in(
    mut session: Session,
    settings: &Settings,
    now: Timestamp,
    report: &mut CheckReport,
) -> Option<Session> {
    let server = session.server.clone();
    let secret = read_password(settings).ok()?;
    if let Err(error) = session.bind(&settings.bind_dn, &secret).await {
        report.refusal = error.refusal().cloned().or(report.refusal.take());
        report.add(CheckStep::failed("bind", &error).at(&server));
        return None;
    }
    report.is_bound = true;
    if let Err(error) = session.identify().await {
        report.add(
            CheckStep::new(
                "bind",
                CheckOutcome::Ok,
                format!("{} is let in", settings.bind_dn),
                None,
            )
            .at(&server),
        );
        report.add(CheckStep::failed("identity", &error).at(&server));
        return None;
    }
    report.add(account_step(&session, now).at(&server));
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
fn account_step(session: &Session, now: Timestamp) -> CheckStep {
    let finding = format!("the service account is {}", session.service_account.dn);
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
