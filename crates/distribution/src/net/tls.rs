//! What a host must show, and what we show it.
//!
//! Invariant: without being told otherwise, a host must prove its name to the machine's authorities;
//! a registry's own authority counts for that registry alone.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::{Config, ConfigError, Identity, RegistryConfig};
use crate::url::Origin;

/// TLS for every host.
#[derive(Debug)]
pub(crate) struct Tls {
    usual: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
    special: Vec<(String, Special)>,
    /// Hosts that need not prove anything, found out one by one.
    lax: RwLock<HashMap<String, Arc<ClientConfig>>>,
}

/// One registry's, with and without proof.
#[derive(Debug)]
struct Special {
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) fn new(config: &Config, api_host: fn(&str) -> &str) -> Result<Self, ConfigError> {
        let provider = Arc::new(ring::default_provider());
        let roots = roots_of(&config.roots_pem);
        let usual = Builder { provider: &provider, roots: roots.clone() };
        let mut special = Vec::new();
        for (name, registry) in &config.registries {
            if registry.ca_pem.is_empty() && registry.identity.is_none() {
                continue;
            }
            let bad = |fault| ConfigError::Certificates { registry: name.clone(), fault };
            let built = Special::build(&provider, &roots, registry).map_err(bad)?;
            special.push((api_host(name).to_owned(), built));
        }
        Ok(Self {
            unverified: Arc::new(usual.clone().unverified(None).expect("nothing can be wrong")),
            usual: Arc::new(usual.verified(None).expect("nothing can be wrong")),
            special,
            lax: RwLock::default(),
        })
    }

    /// Lets a host off without proof.
    pub(crate) fn trust_blindly(&self, origin: &Origin) {
        let config = self.special(origin).map_or(&self.unverified, |special| &special.unverified);
        let mut lax = self.lax.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        lax.insert(origin.authority(), config.clone());
    }

    /// Whether something special is asked of a host.
    pub(crate) fn is_special(&self, origin: &Origin) -> bool {
        self.special(origin).is_some()
    }

    pub(crate) fn for_origin(&self, origin: &Origin) -> Arc<ClientConfig> {
        let lax = self.lax.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(config) = lax.get(&origin.authority()) {
            return config.clone();
        }
        self.special(origin).map_or(&self.usual, |special| &special.verified).clone()
    }

    fn special(&self, origin: &Origin) -> Option<&Special> {
        let authority = origin.authority();
        let fits = |name: &str| match name.strip_prefix('*') {
            Some(above) => origin.host.ends_with(above),
            None => name == authority,
        };
        // The longest name is the nearest.
        let fitting = self.special.iter().filter(|(name, _)| fits(name));
        fitting.max_by_key(|(name, _)| (!name.starts_with('*'), name.len())).map(|(_, built)| built)
    }
}

impl Special {
    fn build(
        provider: &Arc<CryptoProvider>,
        roots: &RootCertStore,
        registry: &RegistryConfig,
    ) -> Result<Self, String> {
        let mut roots = roots.clone();
        for certificate in CertificateDer::pem_slice_iter(&registry.ca_pem) {
            let certificate = certificate.map_err(|error| format!("authority: {error}"))?;
            roots.add(certificate).map_err(|error| format!("authority: {error}"))?;
        }
        let identity = match &registry.identity {
            None => None,
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(&identity.certificates_pem);
                let chain: Result<Vec<_>, _> = chain.collect();
                let chain = chain.map_err(|error| format!("client certificate: {error}"))?;
                let key = PrivateKeyDer::from_pem_slice(&identity.key_pem);
                Some((chain, key.map_err(|error| format!("client key: {error}"))?))
            }
        };
        let copy = identity.as_ref().map(|(chain, key)| (chain.clone(), key.clone_key()));
        let builder = Builder { provider, roots };
        let wrong = |error: rustls::Error| format!("client certificate: {error}");
        Ok(Self {
            verified: Arc::new(builder.clone().verified(copy).map_err(wrong)?),
            unverified: Arc::new(builder.unverified(identity).map_err(wrong)?),
        })
    }
}

/// TLS to somebody who is no registry: `authorities_pem` vouch for him, unless nothing is to be verified.
pub fn tls_config(
    authorities_pem: &[u8],
    identity: Option<&Identity>,
    verify: bool,
) -> Result<Arc<ClientConfig>, TlsFault> {
    let provider = Arc::new(ring::default_provider());
    let entry = RegistryConfig {
        ca_pem: authorities_pem.to_vec(),
        identity: identity.cloned(),
        ..RegistryConfig::default()
    };
    let built = Special::build(&provider, &RootCertStore::empty(), &entry).map_err(TlsFault)?;
    let mut config = if verify { built.verified } else { built.unverified };
    Arc::make_mut(&mut config).alpn_protocols.clear();
    Ok(config)
}

/// Certificates or a key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFault(String);

impl std::fmt::Display for TlsFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsFault {}

type Shown = Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>;

#[derive(Clone)]
struct Builder<'a> {
    provider: &'a Arc<CryptoProvider>,
    roots: RootCertStore,
}

impl Builder<'_> {
    fn verified(self, shown: Shown) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots);
        finish(match shown {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        })
    }

    fn unverified(self, shown: Shown) -> Result<ClientConfig, rustls::Error> {
        let anyone = Arc::new(Anyone { provider: self.provider.clone() });
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(anyone);
        finish(match shown {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        })
    }
}

fn finish(mut config: ClientConfig) -> Result<ClientConfig, rustls::Error> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn roots_of(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let readable = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    roots.add_parsable_certificates(readable);
    roots
}

/// Takes every certificate; the user said that this registry's prove nothing.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
