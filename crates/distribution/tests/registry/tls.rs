//! TLS: who must prove what to whom, and what happens otherwise.

use std::sync::{Arc, Mutex};

use dhow_distribution::{Config, Identity, Insecure, RegistryConfig};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;

use crate::memory::Memory;
use crate::server::{Handler, Reply, Request, Server};
use crate::support::*;

/// An authority and what it signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key for a name, PEM.
    fn sign(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// For a server of this name; with `clients`, only for those whom it signed.
    pub(crate) fn server(&self, name: &str, clients: Option<&Self>, h2: bool) -> Arc<ServerConfig> {
        let (certificate, key) = self.sign(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).expect("PEM"))
                    .expect("a root");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
        let mut config = builder.with_single_cert(vec![certificate], key).expect("a pair");
        if h2 {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        Arc::new(config)
    }
}

/// The same answers over HTTP/2; how they end is not for this library to spoil.
pub(crate) async fn converse_h2(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    handler: Arc<dyn Handler>,
    seen: Arc<Mutex<Vec<Request>>>,
) {
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (handler, seen) = (handler.clone(), seen.clone());
            async move {
                let (head, body) = request.into_parts();
                let headers = head.headers.iter().map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                });
                let request = Request {
                    method: head.method.to_string(),
                    target: head.uri.path_and_query().expect("a path").to_string(),
                    headers: headers
                        .chain([("version".to_owned(), format!("{:?}", head.version))])
                        .collect(),
                    body: body.collect().await?.to_bytes().to_vec(),
                };
                seen.lock().expect("nobody panics here").push(request.clone());
                let reply = handler.handle(&request);
                let mut response = hyper::Response::builder().status(reply.status);
                for (name, value) in reply.headers {
                    response = response.header(name, value);
                }
                Ok::<_, hyper::Error>(
                    response.body(Full::new(bytes::Bytes::from(reply.body))).expect("an answer"),
                )
            }
        });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

fn filled() -> Memory {
    let memory = Memory::new();
    memory.fill(|content| {
        add_index(content, "a", "1", &[]);
        content.add_blob(&noise(3_000_000));
    });
    memory
}

fn with_ca(authority: &Authority) -> Config {
    let mut config = config();
    let ca_pem = authority.pem().into_bytes();
    let entry = RegistryConfig { ca_pem, ..RegistryConfig::default() };
    config.registries.insert("registry.test".to_owned(), entry);
    config
}

/// What pulling from `registry.test` ends with.
async fn pull(config: Config, server: &Server) -> Result<(), String> {
    let client = client_of(config, Names::new([("registry.test", server.address)]));
    let pulled = client.manifest(&reference("registry.test/a:1"), &()).await;
    pulled.map(drop).map_err(|error| error.to_string())
}

const UNKNOWN: &str = "registry.test/a:1: cannot reach registry.test: x509: certificate signed by unknown authority (put its authority into certs.d/registry.test/ca.crt, or list registry.test in insecure-registries)";

#[tokio::test]
async fn an_authority_counts_for_its_registry_alone() {
    let authority = Authority::new();
    let server = Server::start_tls(filled(), authority.server("registry.test", None, false)).await;
    assert_eq!(pull(config(), &server).await, Err(UNKNOWN.to_owned()));
    assert_eq!(pull(with_ca(&authority), &server).await, Ok(()));
    let mut other = with_ca(&authority);
    let entry = other.registries.remove("registry.test").expect("an entry");
    other.registries.insert("other.test".to_owned(), entry);
    assert_eq!(pull(other, &server).await, Err(UNKNOWN.to_owned()));
    // The machine's own count everywhere.
    let mut usual = config();
    usual.roots_pem = format!("rubbish\n{}", authority.pem()).into_bytes();
    assert_eq!(pull(usual, &server).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let authority = Authority::new();
    let server = Server::start_tls(filled(), authority.server("other.test", None, false)).await;
    let text =
        "registry.test/a:1: cannot reach registry.test: x509: certificate is valid for other names";
    assert_eq!(pull(with_ca(&authority), &server).await, Err(text.to_owned()));
}

#[tokio::test]
async fn client_certificates() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let tls = authority.server("registry.test", Some(&clients), false);
    let server = Server::start_tls(filled(), tls).await;
    let error = pull(with_ca(&authority), &server).await.expect_err("without");
    assert!(error.contains("registry.test"), "{error}");
    let mut config = with_ca(&authority);
    let (certificate, key) = clients.sign("ann");
    let entry = config.registries.get_mut("registry.test").expect("an entry");
    entry.identity =
        Some(Identity { certificates_pem: certificate.into_bytes(), key_pem: key.into_bytes() });
    assert_eq!(pull(config, &server).await, Ok(()));
}

#[tokio::test]
async fn certificates_that_are_none_are_refused_at_once() {
    let mut config = with_ca(&Authority::new());
    let entry = config.registries.get_mut("registry.test").expect("an entry");
    entry.identity = Some(Identity { certificates_pem: Vec::new(), key_pem: b"no".to_vec() });
    let error = dhow_distribution::Client::new(config, Arc::new(Names::default())).err();
    let error = error.expect("no key").to_string();
    assert!(error.starts_with("certificates of registry.test: client key"), "{error}");
}

#[tokio::test]
async fn insecure_registries() {
    let authority = Authority::new();
    let server = Server::start_tls(filled(), authority.server("other.test", None, false)).await;
    let mut lax = config();
    lax.insecure = Insecure::parse(["registry.test"]).expect("a list");
    assert_eq!(pull(lax.clone(), &server).await, Ok(()));
    let plain = Server::start(filled()).await;
    assert_eq!(pull(lax, &plain).await, Ok(()));
    // By the address that the name has.
    let mut range = config();
    range.insecure = Insecure::parse(["127.0.0.0/8"]).expect("a list");
    assert_eq!(pull(range, &plain).await, Ok(()));
    // And not otherwise.
    let text = "registry.test/a:1: cannot reach registry.test: http: server gave HTTP response to HTTPS client (list registry.test in insecure-registries if that is meant)";
    assert_eq!(pull(config(), &plain).await, Err(text.to_owned()));
}

#[tokio::test]
async fn loopback_with_its_own_authority_must_prove_itself() {
    let (authority, wrong) = (Authority::new(), Authority::new());
    let server = Server::start_tls(filled(), authority.server("127.0.0.1", None, false)).await;
    let check = async |authority: &Authority| {
        let mut config = config();
        let ca_pem = authority.pem().into_bytes();
        let entry = RegistryConfig { ca_pem, ..RegistryConfig::default() };
        config.registries.insert(server.name(), entry);
        let client = client_of(config, Names::default());
        client.manifest(&reference(&format!("{}/a:1", server.name())), &()).await
    };
    check(&authority).await.expect("an index");
    let error = check(&wrong).await.expect_err("another authority").to_string();
    assert!(error.contains("x509: certificate signed by unknown authority"), "{error}");
    // Without one it need not.
    let name = format!("{}/a:1", server.name());
    client().manifest(&reference(&name), &()).await.expect("an index");
}

#[tokio::test]
async fn docker_hub_is_called_otherwise_than_it_is() {
    let authority = Authority::new();
    let memory = Memory::new();
    memory.fill(|content| add_index(content, "library/alpine", "latest", &[]));
    let tls = authority.server("registry-1.docker.io", None, false);
    let server = Server::start_tls(memory, tls).await;
    let mut config = config();
    config.roots_pem = authority.pem().into_bytes();
    let client = client_of(config, Names::new([("registry-1.docker.io", server.address)]));
    client.manifest(&reference("alpine"), &()).await.expect("an index");
    assert_eq!(server.seen()[0].header("host"), Some("registry-1.docker.io"));
    let error = client.manifest(&reference("alpine:nope"), &()).await.expect_err("nothing");
    let text = "manifest for alpine:nope not found: manifest unknown: manifest unknown";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn http_2() {
    let authority = Authority::new();
    let server = Server::start_tls(filled(), authority.server("registry.test", None, true)).await;
    let client = client_of(with_ca(&authority), Names::new([("registry.test", server.address)]));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        tasks.spawn(async move {
            let (bytes, mut kept) = (noise(3_000_000), Kept::default());
            let from = repository("registry.test/a");
            client.fetch(&from, &layer_of(&bytes), &mut kept, &()).await.expect("a blob");
            assert!(kept.bytes == bytes);
            let mut source = Pieces::new(&bytes[1..]);
            client
                .push(&from, &layer_of(&bytes[1..]), None, &mut source, &())
                .await
                .expect("a push");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    assert!(server.seen().iter().all(|seen| seen.header("version") == Some("HTTP/2.0")));
}

#[tokio::test]
async fn out_of_tls_only_to_what_proves_itself() {
    let authority = Authority::new();
    let (bytes, elsewhere) = (noise(3000), noise(3000));
    let plain = Server::start(move |_: &Request| Reply::ok(elsewhere.clone())).await;
    let target = format!("http://{}/elsewhere", plain.name());
    let memory = filled().rule(move |_, _| Some(Reply::new(307).with("Location", &target)));
    let server = Server::start_tls(memory, authority.server("registry.test", None, false)).await;
    let client = client_of(with_ca(&authority), Names::new([("registry.test", server.address)]));
    let from = repository("registry.test/a");
    let mut kept = Kept::default();
    client.fetch(&from, &layer_of(&bytes), &mut kept, &()).await.expect("a blob");
    assert!(kept.bytes == bytes);
    let error = client.manifest(&reference("registry.test/a:1"), &()).await.expect_err("no");
    let text = format!(
        "registry.test/a:1: registry.test redirects to \"http://{}\", where nothing protects the answer",
        plain.name()
    );
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_token_server_without_tls_sees_no_password() {
    let authority = Authority::new();
    let realm = Server::start(|_: &Request| Reply::ok(r#"{"token":"t"}"#)).await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", realm.name());
    let memory = filled().rule(move |request, _| {
        let is_stranger = request.header("authorization").is_none();
        is_stranger.then(|| Reply::new(401).with("WWW-Authenticate", &challenge))
    });
    let server = Server::start_tls(memory, authority.server("registry.test", None, false)).await;
    let client = client_of(with_ca(&authority), Names::new([("registry.test", server.address)]));
    let name = reference("registry.test/a:1");
    client.manifest(&name, &()).await.expect("nobody has nothing to lose");
    let ann =
        dhow_distribution::Credentials::Password { username: "ann".into(), password: "p".into() };
    let client = client.with_credentials(dhow_distribution::Keyring::of("registry.test", ann));
    let error = client.manifest(&name, &()).await.expect_err("no").to_string();
    assert!(error.contains("wants credentials without TLS"), "{error}");
    assert_eq!(realm.seen().len(), 1);
}
