//! Whom we believe: the roots for TLS to nodes and origins.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_rustls::TlsConnector;

use crate::model::Host;

/// The TLS client configurations, made once at the start.
#[derive(Clone)]
pub(crate) struct Trust {
    verified: TlsConnector,
    unverified: TlsConnector,
}

/// Why there is no usable set of roots.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the CA file {path}: {reason}")]
    CaFile { path: String, reason: String },
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Trust {
    /// The system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` replace them; a bare system gets the compiled-in ones),
    /// and those of `ca_file` beside them.
    pub(crate) fn load(own: OwnRoots) -> Result<Self, TrustError> {
        Ok(Self { verified: connector(verified(own)?), unverified: connector(unverified()?) })
    }

    pub(crate) fn connector(&self, insecure: bool) -> &TlsConnector {
        if insecure { &self.unverified } else { &self.verified }
    }
}

/// The roots of a file, which may be none.
#[derive(Debug)]
pub(crate) struct OwnRoots(RootCertStore);

impl OwnRoots {
    pub(crate) fn read(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = ca_file {
            add_file(&mut roots, path)?;
        }
        Ok(Self(roots))
    }
}

/// A TLS client that believes the system's roots and `own`. Reading them all takes a while.
pub(crate) fn verified(own: OwnRoots) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots.extend(own.0.roots);
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

/// A TLS client that believes anybody.
pub(crate) fn unverified() -> Result<ClientConfig, TrustError> {
    let builder = builder()?;
    let anyone = Anyone(builder.crypto_provider().signature_verification_algorithms);
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(anyone)).with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?)
}

/// The name that a certificate is checked against.
pub(crate) fn server_name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Ip(ip) => Some(ServerName::from(*ip)),
        Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let fail = |reason: String| TrustError::CaFile { path: path.display().to_string(), reason };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))?;
    let mut found = false;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| fail(error.to_string()))?;
        roots.add(certificate).map_err(|error| fail(error.to_string()))?;
        found = true;
    }
    if found { Ok(()) } else { Err(fail("no certificate in it".to_owned())) }
}

fn connector(mut config: ClientConfig) -> TlsConnector {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A request in early data could be replayed by anybody on the way.
    config.enable_early_data = false;
    TlsConnector::from(Arc::new(config))
}

/// Believes any certificate: a node's `insecure=true`. Signatures are still checked.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}
