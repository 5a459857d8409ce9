//! TLS to a domain controller, with errors that quote the certificate.
//!
//! A certificate is always verified against the configured name. It is also kept, because errors
//! quote its subject and `directory check` reports when it expires.

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
use tokio_rustls::client::TlsStream;
use x509_parser::extensions::GeneralName;

use crate::model::Timestamp;

/// The fields of a certificate that messages quote.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Certificate {
    /// The distinguished name of the subject.
    pub subject: String,
    /// The distinguished name of the issuer.
    pub issuer: String,
    /// DNS names and IP addresses of the subjectAltName extension.
    pub names: Vec<String>,
    /// Start of the validity period.
    pub from: Timestamp,
    /// End of the validity period.
    pub until: Timestamp,
}

impl Certificate {
    /// Parses a certificate; unreadable fields stay empty, because it is only quoted.
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

/// Reason why TLS could not be established.
#[derive(Debug)]
pub enum TlsError {
    /// Verification of the server's certificate failed.
    Certificate {
        reason: CertificateError,
        shown: Box<Certificate>,
        /// The configured name of the server.
        asked: String,
        trusted: Trusted,
    },
    /// The server closed the connection during the handshake.
    HungUp(io::Error),
    /// The peer does not speak TLS.
    NotTls,
    /// Any other failure of the handshake.
    Handshake(io::Error),
    /// The handshake exceeded the connect timeout.
    Timeout(Duration),
    /// The host is neither a DNS name nor an IP address.
    ServerName(String),
    /// The configured CA file cannot be used.
    CaFile { path: PathBuf, problem: String },
    /// The system's trust store is empty.
    NoTrust,
}

/// Origin of the trusted CAs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trusted {
    /// The configured `ca-file`.
    File(PathBuf),
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
            Self::Certificate { .. }
            | Self::NotTls
            | Self::Timeout(_)
            | Self::ServerName(_)
            | Self::CaFile { .. }
            | Self::NoTrust => None,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { reason, shown, asked, trusted } => match reason {
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
            Self::Timeout(limit) => {
                let limit = humantime::format_duration(*limit);
                write!(f, "no answer to the TLS handshake within {limit}")
            }
            Self::ServerName(name) => {
                write!(f, "\"{name}\" is not a name a certificate can be checked against")
            }
            Self::CaFile { path, problem } => {
                write!(f, "the CA file {} cannot be used: {problem}", path.display())
            }
            Self::NoTrust => f.write_str("the system's trust store holds no certificates"),
        }
    }
}

impl TlsError {
    /// Returns the remedy, unless only the server can help itself.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Certificate { reason, .. } => match reason {
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
            Self::Handshake(_) => "see the server's log",
            Self::ServerName(_) => "write the server's DNS name into servers",
            Self::CaFile { .. } => "write the CA's certificates into it, as PEM",
            Self::NoTrust => "install ca-certificates, or set ca-file",
            Self::Timeout(_) => return None,
        })
    }

    fn from_handshake(
        error: io::Error,
        asked: &str,
        shown: Option<Certificate>,
        trusted: Trusted,
    ) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(reason)) => Self::Certificate {
                reason: reason.clone(),
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

/// A TLS connection with the certificate of its server.
pub(super) struct Secured {
    pub stream: TlsStream<TcpStream>,
    pub certificate: Certificate,
    /// The channel binding `tls-server-end-point` of the connection.
    pub binding: Vec<u8>,
}

/// Returns the channel binding `tls-server-end-point` (RFC 5929, 4.1): the hash of the server's
/// certificate, by the hash function of its signature, or by SHA-256 instead of MD5 and SHA-1.
fn server_end_point(der: &CertificateDer<'_>) -> Vec<u8> {
    use sha2::Digest as _;
    use x509_parser::signature_algorithm::SignatureAlgorithm;
    let signature = x509_parser::parse_x509_certificate(der).ok().and_then(|(_, certificate)| {
        let algorithm = &certificate.signature_algorithm;
        Some(match SignatureAlgorithm::try_from(algorithm).ok()? {
            SignatureAlgorithm::RSASSA_PSS(parameters) => {
                parameters.hash_algorithm_oid().to_id_string()
            }
            _ => algorithm.algorithm.to_id_string(),
        })
    });
    let hash = match signature.as_deref() {
        // sha384, sha384WithRSAEncryption and ecdsa-with-SHA384.
        Some("2.16.840.1.101.3.4.2.2" | "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3") => {
            sha2::Sha384::digest(der).to_vec()
        }
        // The same with SHA-512.
        Some("2.16.840.1.101.3.4.2.3" | "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4") => {
            sha2::Sha512::digest(der).to_vec()
        }
        _ => sha2::Sha256::digest(der).to_vec(),
    };
    [&b"tls-server-end-point:"[..], &hash].concat()
}

/// Performs the TLS handshake and verifies the certificate against `host`.
pub(super) async fn secure(
    tcp: TcpStream,
    host: &str,
    ca_file: Option<&Path>,
) -> Result<Secured, TlsError> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| TlsError::ServerName(host.to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let broken = |e: String| TlsError::Handshake(io::Error::other(e));
    let verifier = WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots(ca_file)?),
        Arc::clone(&provider),
    )
    .build();
    let recording = Arc::new(RecordingVerifier {
        verifier: verifier.map_err(|e| broken(e.to_string()))?,
        shown: OnceLock::new(),
    });
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| broken(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<RecordingVerifier>::clone(&recording))
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let done = connector.connect(name, tcp).await;
    let shown = recording.shown.get().map(Certificate::read);
    match done {
        Ok(stream) => Ok(Secured {
            stream,
            certificate: shown.unwrap_or_default(),
            binding: recording.shown.get().map(server_end_point).unwrap_or_default(),
        }),
        Err(error) => {
            let trusted = ca_file.map_or(Trusted::System, |path| Trusted::File(path.to_owned()));
            Err(TlsError::from_handshake(error, host, shown, trusted))
        }
    }
}

fn roots(ca_file: Option<&Path>) -> Result<rustls::RootCertStore, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = ca_file {
        let bad = |problem: String| TlsError::CaFile { path: path.to_owned(), problem };
        for cert in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
            roots.add(cert.map_err(|e| bad(e.to_string()))?).map_err(|e| bad(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("it holds no certificate".into()));
        }
    } else {
        for cert in rustls_native_certs::load_native_certs().certs {
            // rustls rejects some certificates of the system's store; the others are still trusted.
            let _ = roots.add(cert);
        }
        if roots.is_empty() {
            return Err(TlsError::NoTrust);
        }
    }
    Ok(roots)
}

/// The verifier of rustls, which also records the certificate for messages.
#[derive(Debug)]
struct RecordingVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    shown: OnceLock<CertificateDer<'static>>,
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // A handshake shows one certificate, so the cell is empty here.
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
    use sha2::Digest as _;

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> CertificateDer<'static> {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let parameters = CertificateParams::new(["dc1.corp.example.com".to_owned()]);
        parameters.expect("a name").self_signed(&key).expect("a certificate").der().clone()
    }

    #[test]
    fn the_channel_binding_is_the_hash_by_which_the_certificate_is_signed() {
        let prefix = b"tls-server-end-point:".to_vec();
        let p256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        let hash = sha2::Sha256::digest(&p256).to_vec();
        assert_eq!(server_end_point(&p256), [prefix.clone(), hash].concat());
        let p384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        let hash = sha2::Sha384::digest(&p384).to_vec();
        assert_eq!(server_end_point(&p384), [prefix.clone(), hash].concat());
        let rsa = certificate(&rcgen::PKCS_RSA_SHA512);
        let hash = sha2::Sha512::digest(&rsa).to_vec();
        assert_eq!(server_end_point(&rsa), [prefix.clone(), hash].concat());
        // Ed25519 names no hash function.
        let edwards = certificate(&rcgen::PKCS_ED25519);
        let hash = sha2::Sha256::digest(&edwards).to_vec();
        assert_eq!(server_end_point(&edwards), [prefix, hash].concat());
    }
}
