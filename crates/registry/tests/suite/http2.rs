//! HTTP/2, with and without TLS, and a certificate that changes while the registry serves.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http::send;
use crate::pushes::digest;
use crate::server::{Scratch, Server};

/// A body that is there.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

type Sender = SendRequest<Whole>;

async fn client(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Sender {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

/// One request; gives the status and all of the body.
async fn ask(mut sender: Sender, method: &str, path: String, body: Vec<u8>) -> (u16, Vec<u8>) {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://registry.test{path}"))
        .version(Version::HTTP_2)
        .body(Whole(Some(body.into())))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    let (head, mut body) = answer.into_parts();
    let mut all = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        let frame = frame.expect("a frame");
        all.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    (head.status.as_u16(), all)
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// Blobs in and out, several at once over one connection.
async fn many_at_once(sender: Sender) {
    let blobs: Vec<Vec<u8>> = (0..8u8).map(|n| vec![n; 300_000 + usize::from(n)]).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for bytes in blobs {
        let sender = sender.clone();
        tasks.spawn(async move {
            let path = format!("/v2/a/blobs/uploads/?digest={}", digest(&bytes));
            assert_eq!(ask(sender.clone(), "POST", path, bytes.clone()).await.0, 201);
            let path = format!("/v2/a/blobs/{}", digest(&bytes));
            let (status, read) = ask(sender, "GET", path, Vec::new()).await;
            assert_eq!((status, read == bytes), (200, true));
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
}

#[test]
fn without_tls() {
    let server = Server::open();
    runtime().block_on(async {
        let stream = TcpStream::connect(server.address).await.expect("a connection");
        many_at_once(client(stream).await).await;
    });
}

/// A new certificate for the server; gives what a client has to trust.
fn certify(folder: &Path, age: Duration) -> CertificateDer<'static> {
    let params = CertificateParams::new(vec!["registry.test".to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    for (name, text) in [("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())] {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        // Two that are written at once have the same date otherwise.
        let file = File::options().write(true).open(path).expect("a file");
        file.set_modified(SystemTime::now() - age).expect("a date");
    }
    CertificateDer::from_pem_slice(certificate.pem().as_bytes()).expect("PEM")
}

/// Connects to whom that certificate belongs.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("registry.test").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[test]
fn with_tls_and_a_certificate_that_changes() {
    let scratch = Scratch::new();
    let folder = scratch.path().to_owned();
    let first = certify(&folder, Duration::from_secs(60));
    let server =
        Server::over(scratch, r#"{"tls": {"certificate": "DIR/cert.pem", "key": "DIR/key.pem"}}"#);
    runtime().block_on(async {
        let stream = connect(server.address, &first).await.expect("TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let sender = client(stream).await;
        many_at_once(sender.clone()).await;
        // Half of a new pair changes nothing, and is said once.
        std::fs::write(folder.join("key.pem"), "nothing").expect("a file");
        server.registry.look();
        server.registry.look();
        connect(server.address, &first).await.expect("the one before");
        let second = certify(&folder, Duration::from_secs(30));
        server.registry.look();
        connect(server.address, &second).await.expect("the new one");
        connect(server.address, &first).await.expect_err("the one before");
        // Who was there already stays.
        assert_eq!(ask(sender, "GET", "/v2/".to_owned(), Vec::new()).await.0, 200);
    });
    let log = server.log.lock().expect("no panic").clone();
    let said = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!((said("the one before is kept"), said("certificate read again")), (1, 1), "{log:?}");
}

/// What a plain client hears of TLS.
#[test]
fn plain_clients_of_a_tls_registry_are_let_go() {
    let scratch = Scratch::new();
    let _ = certify(scratch.path(), Duration::ZERO);
    let server =
        Server::over(scratch, r#"{"tls": {"certificate": "DIR/cert.pem", "key": "DIR/key.pem"}}"#);
    let mut plain = crate::http::Http::try_connect(server.address).expect("a connection");
    assert!(plain.try_send("GET", "/v2/", &[], b"").is_none());
    let open = Server::open();
    assert_eq!(send(open.address, "GET", "/v2/", &[], b"").status, 200);
}
