//! TLS: whom we trust, what the server shows, and what is wrong with it, in words.
//!
//! Certificates are always verified, against the name that was asked for. They are also kept, so that an
//! error can say whose certificate it was, and `directory check` when it ends.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use x509_parser::extensions::GeneralName;

use super::wire::WireError;
use crate::model::Timestamp;

/// What a server's certificate says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Who says so.
    pub issuer: String,
    /// The names and addresses it is for.
    pub names: Vec<String>,
    /// From when it holds.
    pub from: Timestamp,
    /// Until when it holds.
    pub until: Timestamp,
}

impl Certificate {
    /// Reads one; what cannot be read is left empty.
    fn read(der: &CertificateDer<'_>) -> Self {
        let Ok((_, cert)) = x509_parser::parse_x509_certificate(der) else {
            return Self::default();
        };
        let names =
            cert.subject_alternative_name().ok().flatten().map_or_else(Vec::new, |extension| {
                let name = |name: &GeneralName<'_>| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    GeneralName::IPAddress([a, b, c, d]) => {
                        Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string())
                    }
                    GeneralName::IPAddress(bytes) => <[u8; 16]>::try_from(*bytes)
                        .ok()
                        .map(|b| std::net::Ipv6Addr::from(b).to_string()),
                    _ => None,
                };
                extension.value.general_names.iter().filter_map(name).collect()
            });
        let at = |seconds: i64| Timestamp(seconds.saturating_mul(1_000_000));
        Self {
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            names,
            from: at(cert.validity().not_before.timestamp()),
            until: at(cert.validity().not_after.timestamp()),
        }
    }

    fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

/// Why TLS did not come about.
#[derive(Debug)]
pub enum TlsError {
    /// The server's certificate is not accepted.
    Certificate {
        /// Why not.
        why: CertificateError,
        /// What it says.
        shown: Box<Certificate>,
        /// The name that was asked for.
        asked: String,
        /// The CAs that are trusted.
        trusted: Trusted,
    },
    /// The server hung up.
    HungUp(io::Error),
    /// What answers speaks something else.
    NotTls,
    /// Anything else.
    Handshake(io::Error),
}

/// Where the trusted CAs come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trusted {
    /// `ca-file`.
    File(PathBuf),
    /// The system's store.
    System,
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "ca-file {}", path.display()),
            Self::System => f.write_str("the system's trust store"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::HungUp(error) | Self::Handshake(error) => Some(error),
            Self::Certificate { .. } | Self::NotTls => None,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { why, shown, asked, trusted } => match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    write!(f, "the certificate of {asked} expired on {}", day(shown.until))
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    write!(
                        f,
                        "the certificate of {asked} is valid only from {} on",
                        day(shown.from)
                    )
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    let names = if shown.names.is_empty() {
                        "no name at all".to_owned()
                    } else {
                        shown.names.join(", ")
                    };
                    write!(f, "the certificate is for {names}, and not for {asked}")
                }
                CertificateError::UnknownIssuer if shown.is_self_signed() => {
                    write!(
                        f,
                        "the certificate of {asked} is self-signed ({}), and {trusted} does not hold it",
                        shown.subject
                    )
                }
                CertificateError::UnknownIssuer => {
                    write!(
                        f,
                        "the certificate of {asked} was issued by {}, which {trusted} does not hold",
                        shown.issuer
                    )
                }
                CertificateError::BadSignature => {
                    write!(
                        f,
                        "the certificate of {asked} is not signed by the CA of that name in {trusted} ({})",
                        shown.issuer
                    )
                }
                CertificateError::Revoked => write!(f, "the certificate of {asked} was revoked"),
                other => write!(f, "the certificate of {asked} cannot be used: {other}"),
            },
            Self::HungUp(error) => {
                write!(f, "the server hung up during the TLS handshake ({error})")
            }
            Self::NotTls => f.write_str("what answers there does not speak TLS"),
            Self::Handshake(error) => write!(f, "the TLS handshake failed: {error}"),
        }
    }
}

impl TlsError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Certificate { why, .. } => match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "renew it on the server"
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "compare the clocks of both machines"
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    "find out which server answers there: issue a certificate for this name, or, if the server is yours, write its own name into servers"
                }
                CertificateError::UnknownIssuer => {
                    "put the certificate of the CA that issued it into ca-file"
                }
                CertificateError::BadSignature => {
                    "put the CA's present certificate into ca-file, beside the old one while both are in use"
                }
                _ => "issue another one for the server",
            },
            Self::HungUp(_) => {
                "a domain controller without a certificate does that, and one that is asked on its plain port: install a certificate, or check the port"
            }
            Self::NotTls => "check the port, or use an ldap:// URL with starttls = true",
            Self::Handshake(_) => "see what the server's log says of it",
        }
    }

    fn of(error: io::Error, asked: &str, shown: Option<Certificate>, trusted: Trusted) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(why)) => Self::Certificate {
                why: why.clone(),
                shown: Box::new(shown.unwrap_or_default()),
                asked: asked.to_owned(),
                trusted,
            },
            Some(rustls::Error::InvalidMessage(_)) if shown.is_none() => Self::NotTls,
            None if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ) =>
            {
                Self::HungUp(error)
            }
            _ => Self::Handshake(error),
        }
    }
}

fn day(at: Timestamp) -> impl fmt::Display {
    at.to_utc().format("%-d %B %Y, %H:%M UTC")
}

/// A connection under TLS, and whose it is.
pub(super) struct Secured {
    pub stream: TlsStream<TcpStream>,
    pub certificate: Certificate,
}

/// Does the TLS handshake with the server of this name.
pub(super) async fn secure(
    tcp: TcpStream,
    host: &str,
    ca_file: Option<&Path>,
    wait: Duration,
) -> Result<Secured, WireError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| WireError::ServerName(host.to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let broken = |e: String| WireError::Tls(Box::new(TlsError::Handshake(io::Error::other(e))));
    let verifier = WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots(ca_file)?),
        Arc::clone(&provider),
    )
    .build();
    let watching = Arc::new(Watching {
        verifier: verifier.map_err(|e| broken(e.to_string()))?,
        shown: OnceLock::new(),
    });
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| broken(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Watching>::clone(&watching))
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let done = timeout(wait, connector.connect(name, tcp)).await;
    let shown = watching.shown.get().map(Certificate::read);
    match done.map_err(|_| WireError::Timeout { what: "the TLS handshake", after: wait })? {
        Ok(stream) => Ok(Secured { stream, certificate: shown.unwrap_or_default() }),
        Err(error) => {
            let trusted = ca_file.map_or(Trusted::System, |path| Trusted::File(path.to_owned()));
            Err(WireError::Tls(Box::new(TlsError::of(error, host, shown, trusted))))
        }
    }
}

fn roots(ca_file: Option<&Path>) -> Result<rustls::RootCertStore, WireError> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = ca_file {
        let bad = |problem: String| WireError::CaFile { path: path.to_owned(), problem };
        for cert in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
            roots.add(cert.map_err(|e| bad(e.to_string()))?).map_err(|e| bad(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("it holds no certificate".into()));
        }
    } else {
        for cert in rustls_native_certs::load_native_certs().certs {
            // The system's store may hold certificates that rustls does not take; the others still count.
            let _ = roots.add(cert);
        }
        if roots.is_empty() {
            return Err(WireError::NoTrust);
        }
    }
    Ok(roots)
}

/// rustls's own verifier, watched: it decides, and the certificate is kept for the message.
#[derive(Debug)]
struct Watching {
    verifier: Arc<WebPkiServerVerifier>,
    shown: OnceLock<CertificateDer<'static>>,
}

impl ServerCertVerifier for Watching {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // One handshake shows one certificate.
        let _ = self.shown.set(end_entity.clone().into_owned());
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
