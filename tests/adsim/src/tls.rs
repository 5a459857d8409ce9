//! The simulator's certificate authority, and certificates that are wrong in every way a client
//! must notice.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The certificate that the server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Certificate {
    /// A valid one of the simulator's authority, for the address in the URLs.
    #[default]
    Valid,
    Expired,
    WrongName,
    /// One of an unknown authority.
    UnknownAuthority,
}

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        Ok(Self { issuer })
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Returns a server's TLS configuration with a certificate of this authority, or self-signed.
    pub(crate) fn server(
        &self,
        certificate: Certificate,
        host: &str,
        ip: IpAddr,
    ) -> io::Result<Arc<ServerConfig>> {
        let names = match certificate {
            Certificate::WrongName => vec!["elsewhere.example.net".to_owned()],
            _ => vec![host.to_owned(), "localhost".to_owned()],
        };
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, host);
        if certificate != Certificate::WrongName {
            params.subject_alt_names.push(SanType::IpAddress(ip));
        }
        if certificate == Certificate::Expired {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let stranger;
        let authority = if certificate == Certificate::UnknownAuthority {
            stranger = Self::new("Unknown CA")?;
            &stranger
        } else {
            self
        };
        let signed = params.signed_by(&key, &authority.issuer).map_err(io::Error::other)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![signed.der().clone()], key)
            .map_err(io::Error::other)?;
        Ok(Arc::new(config))
    }
}
