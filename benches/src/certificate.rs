//! The certificate of the TLS origin, signed by itself, good for this one run.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use crate::Outcome;

/// Names `localhost` and 127.0.0.1.
pub struct Certificate {
    /// What a proxy has to trust.
    pub pem: String,
    key: String,
}

impl Certificate {
    pub fn new() -> Outcome<Self> {
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.self_signed(&key)?;
        Ok(Self { pem: certificate.pem(), key: key.serialize_pem() })
    }

    pub fn acceptor(&self) -> Outcome<TlsAcceptor> {
        let certificate = CertificateDer::from_pem_slice(self.pem.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
