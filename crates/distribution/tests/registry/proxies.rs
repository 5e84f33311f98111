//! Proxies: for plain HTTP, for TLS through tunnels, with a name and a password, and for nobody.

use std::sync::Arc;

use dhow_distribution::{Config, Insecure, Proxies, RegistryConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::memory::Memory;
use crate::server::{Handler, Reply, Request, Server};
use crate::support::*;
use crate::tls::Authority;

const ANN: &str = "Basic YW5uOnBAc3M=";

/// A proxy that opens tunnels to one place, whatever name it is told.
struct Tunnel {
    name: String,
    told: Arc<std::sync::Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Tunnel {
    async fn start(to: std::net::SocketAddr) -> Self {
        Self::start_with(to, None).await
    }

    /// The proxy itself wants TLS, or does not.
    async fn start_with(to: std::net::SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let name = listener.local_addr().expect("an address").to_string();
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = told.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, tls) = (heard.clone(), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return tunnel(stream, to, heard).await };
                    let accepting = tokio_rustls::TlsAcceptor::from(tls).accept(stream);
                    if let Ok(stream) = accepting.await {
                        tunnel(stream, to, heard).await;
                    }
                });
            }
        });
        Self { name, told, task }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tunnel(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    to: std::net::SocketAddr,
    heard: Arc<std::sync::Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).expect("text");
    heard.lock().expect("fine").push(head.lines().next().expect("a line").to_owned());
    if !head.contains(ANN) {
        let answer = b"HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(answer).await;
        return;
    }
    let Ok(mut other) = TcpStream::connect(to).await else { return };
    if stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
        let _ = copy_bidirectional(&mut stream, &mut other).await;
    }
}

fn filled() -> Memory {
    let memory = Memory::new();
    memory.fill(|content| add_index(content, "a", "1", &[]));
    memory
}

fn proxied(http: &str, https: &str, none: &str) -> Config {
    let mut config = config();
    config.proxies = Proxies::parse(http, https, none).expect("proxies");
    config
}

#[tokio::test]
async fn tunnels_for_tls() {
    let authority = Authority::new();
    let server = Server::start_tls(filled(), authority.server("registry.test", None, false)).await;
    let tunnel = Tunnel::start(server.address).await;
    let name = reference("registry.test/a:1");
    let with_ca = |proxy: &str| {
        let mut config = proxied("", proxy, "other.test");
        let ca_pem = authority.pem().into_bytes();
        let entry = RegistryConfig { ca_pem, ..RegistryConfig::default() };
        config.registries.insert("registry.test".to_owned(), entry);
        // The name leads nowhere from here: only the proxy knows it.
        client_of(config, Names::default())
    };
    let client = with_ca(&format!("http://ann:p%40ss@{}", tunnel.name));
    client.manifest(&name, &()).await.expect("an index");
    assert_eq!(tunnel.told.lock().expect("fine")[0], "CONNECT registry.test:443 HTTP/1.1");
    assert!(server.seen().iter().all(|seen| seen.header("proxy-authorization").is_none()));

    let error = with_ca(&tunnel.name).manifest(&name, &()).await.expect_err("nobody").to_string();
    let text = format!("proxy {} wants a name and a password (407)", tunnel.name);
    assert!(error.ends_with(&text), "{error}");
}

#[tokio::test]
async fn a_proxy_with_tls_of_its_own() {
    let authority = Authority::new();
    let server = Server::start_tls(filled(), authority.server("registry.test", None, true)).await;
    let tls = authority.server("proxy.test", None, false);
    let tunnel = Tunnel::start_with(server.address, Some(tls)).await;
    let mut config = proxied("", "https://ann:p%40ss@proxy.test", "");
    config.roots_pem = authority.pem().into_bytes();
    let proxy = tunnel.name.parse().expect("an address");
    let client = client_of(config, Names::new([("proxy.test", proxy)]));
    client.manifest(&reference("registry.test/a:1"), &()).await.expect("an index");
    assert_eq!(server.seen()[0].header("version"), Some("HTTP/2.0"));
}

#[tokio::test]
async fn plain_http_through_a_proxy() {
    let memory = filled();
    let server = Server::start(move |request: &Request| {
        // A proxy is told the whole address.
        let Some(path) = request.target.strip_prefix("http://registry.test") else {
            return Reply::new(421);
        };
        if request.header("proxy-authorization") != Some(ANN) {
            return Reply::new(407);
        }
        memory.handle(&Request { target: path.to_owned(), ..request.clone() })
    })
    .await;
    let mut config = proxied(&format!("ann:p%40ss@{}", server.name()), "", "");
    config.insecure = Insecure::parse(["registry.test"]).expect("a list");
    let client = client_of(config, Names::default());
    client.manifest(&reference("registry.test/a:1"), &()).await.expect("an index");
}

#[tokio::test]
async fn around_the_proxy() {
    let server = Server::start(filled()).await;
    let dead = "127.0.0.1:1";
    let mut config = proxied(dead, dead, "registry.test");
    config.insecure = Insecure::parse(["registry.test"]).expect("a list");
    let client = client_of(config, Names::new([("registry.test", server.address)]));
    client.manifest(&reference("registry.test/a:1"), &()).await.expect("an index");
    // The machine itself is never asked of a proxy.
    client.manifest(&reference(&format!("{}/a:1", server.name())), &()).await.expect("an index");
}
