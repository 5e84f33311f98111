//! Who we are, from two files that may change while we serve.
//!
//! Invariant: connections always meet a certificate that was whole; one that cannot be read changes nothing
//! and is said once.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;
use crate::log::Log;

/// The certificate, always the newest one that could be read.
pub(crate) struct Identity {
    files: TlsConfig,
    current: Mutex<(Arc<ServerConfig>, Option<[SystemTime; 2]>)>,
}

impl Identity {
    pub(crate) fn open(files: TlsConfig) -> io::Result<Self> {
        let dates = dates(&files);
        let config = load(&files)?;
        Ok(Self { files, current: Mutex::new((config, dates)) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(current.0.clone())
    }

    /// Reads both files again if one has changed. Waits for the disk.
    pub(crate) fn look(&self, log: &Log) {
        let found = dates(&self.files);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_none() || found == current.1 {
            return;
        }
        match load(&self.files) {
            Ok(config) => {
                *current = (config, found);
                log.say("certificate read again");
            }
            Err(error) => {
                current.1 = found;
                log.say(&format!("certificate: {error}; the one before is kept"));
            }
        }
    }
}

fn dates(files: &TlsConfig) -> Option<[SystemTime; 2]> {
    let date = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    Some([date(&files.certificate)?, date(&files.key)?])
}

fn load(files: &TlsConfig) -> io::Result<Arc<ServerConfig>> {
    let read = |path: &Path| {
        let about =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        std::fs::read(path).map_err(about)
    };
    let wrong = |path: &Path, why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&read(&files.certificate)?).collect();
    let chain = chain.map_err(|error| wrong(&files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?);
    let key = key.map_err(|error| wrong(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
