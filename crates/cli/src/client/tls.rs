//! TLS as Docker's clients do it: `ca.pem`, `cert.pem` and `key.pem` in one directory.
//!
//! `--tlsverify` checks the engine's certificate against the CA; `--tls` alone encrypts without
//! checking, as Docker does. Absent on purpose: the system's own CAs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::failure::Failure;

/// Which files to use, and whether to check.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) verify: bool,
}

impl TlsFiles {
    /// Reads the files. A missing pair of certificate and key is no error: the engine may not ask.
    pub(crate) fn load(&self) -> Result<Arc<ClientConfig>, Failure> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&self.ca, &error))?;
        let builder = if self.verify {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&self.ca)? {
                roots.add(certificate).map_err(|error| wrong(&self.ca, &error))?;
            }
            builder.with_root_certificates(roots)
        } else {
            let verifier = Arc::new(Unchecked(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        };
        if !self.certificate.exists() && !self.key.exists() {
            return Ok(Arc::new(builder.with_no_client_auth()));
        }
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| wrong(&self.key, &e))?;
        let config = builder.with_client_auth_cert(chain, key);
        Ok(Arc::new(config.map_err(|error| wrong(&self.certificate, &error))?))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(path, &error))
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    let text = error.to_string();
    let why = text.split(" (os error").next().unwrap_or_default();
    Failure::Tls { path: path.to_owned(), why: why.to_owned() }
}

/// Takes any certificate; the signatures must still fit it.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
