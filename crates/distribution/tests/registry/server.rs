//! A server of HTTP/1.1 that can break off, stall and lie at any byte.
//!
//! Written by hand: libraries do not let one do that.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// An answer, and how it ends.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) ending: Ending,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As it should.
    Whole,
    /// Without saying its length before.
    Chunked,
    /// The connection is cut after so many bytes.
    CutAfter(usize),
    /// Nothing more comes after so many bytes, but the connection stays.
    StallAfter(usize),
    /// No answer at all; the connection is cut.
    Nothing,
    /// Says to have so many bytes.
    Claiming(u64),
    /// Repeats itself without end.
    Endless,
    /// As it should, but a moment later.
    Late(Duration),
}

/// What a server does.
pub(crate) trait Handler: Send + Sync + 'static {
    fn handle(&self, request: &Request) -> Reply;

    /// Of a request's body, read only so much, and then cut the connection; what was read goes to
    /// `handle`, whose answer nobody sees.
    fn read_max(&self, _: &Request) -> Option<usize> {
        None
    }
}

impl<F: Fn(&Request) -> Reply + Send + Sync + 'static> Handler for F {
    fn handle(&self, request: &Request) -> Reply {
        self(request)
    }
}

/// A running server; it ends with the value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    load: Arc<Load>,
    task: JoinHandle<()>,
}

/// How many requests are being answered.
#[derive(Default)]
pub(crate) struct Load {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().expect("at least one part")
    }

    pub(crate) fn query(&self, key: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        let value = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",").replace("%20", " "))
    }

    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path() == path
    }
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), ending: Ending::Whole }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200).body(body)
    }

    /// An error document.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let text = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        Self::new(status).with("Content-Type", "application/json").body(text)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }
}

impl Server {
    pub(crate) async fn start(handler: impl Handler) -> Self {
        Self::start_with(handler, None).await
    }

    /// With TLS.
    pub(crate) async fn start_tls(handler: impl Handler, tls: Arc<rustls::ServerConfig>) -> Self {
        Self::start_with(handler, Some(tls)).await
    }

    async fn start_with(handler: impl Handler, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (seen, load) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Load::default()));
        let handler: Arc<dyn Handler> = Arc::new(handler);
        let state = (handler, seen.clone(), load.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(welcome(stream, tls.clone(), state.clone()));
            }
        });
        Self { address, seen, load, task }
    }

    /// Host and port, as a reference has them.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("nobody panics here").clone()
    }

    /// How often something was asked for.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        self.seen().iter().filter(|request| request.is(method, path)).count()
    }

    /// The most requests that were being answered at once.
    pub(crate) fn load_max(&self) -> usize {
        self.load.most.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type State = (Arc<dyn Handler>, Arc<Mutex<Vec<Request>>>, Arc<Load>);

async fn welcome(stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, state: State) {
    let Some(tls) = tls else { return converse(BufReader::new(stream), state).await };
    let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return super::tls::converse_h2(stream, state.0, state.1).await;
    }
    converse(BufReader::new(stream), state).await;
}

/// Requests of one connection, until either side has enough.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: BufReader<S>, state: State) {
    let (handler, seen, load) = state;
    while let Some(mut request) = read_head(&mut stream).await {
        if request.method.is_empty() {
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nwhat?").await;
            return;
        }
        let max = handler.read_max(&request);
        let length = request.header("content-length").and_then(|text| text.parse().ok());
        let length: usize = length.unwrap_or(0);
        let wanted = max.unwrap_or(length).min(length);
        request.body = vec![0; wanted];
        if stream.read_exact(&mut request.body).await.is_err() {
            return;
        }
        seen.lock().expect("nobody panics here").push(request.clone());
        let now = load.now.fetch_add(1, Ordering::SeqCst) + 1;
        load.most.fetch_max(now, Ordering::SeqCst);
        let reply = handler.handle(&request);
        let is_cut = max.is_some_and(|max| max < length);
        let goes_on = !is_cut && write_reply(&mut stream, &request, &reply).await;
        load.now.fetch_sub(1, Ordering::SeqCst);
        if !goes_on {
            return;
        }
    }
}

/// Without body; a request without method stands for what is none.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
        if !head[0].is_ascii_uppercase() {
            let (method, target) = Default::default();
            return Some(Request { method, target, headers: Vec::new(), body: Vec::new() });
        }
    }
    let text = String::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    Some(Request { method, target, headers: headers.collect(), body: Vec::new() })
}

/// Whether the connection can go on.
async fn write_reply(
    stream: &mut (impl AsyncWrite + Unpin),
    request: &Request,
    reply: &Reply,
) -> bool {
    if reply.ending == Ending::Nothing {
        return false;
    }
    if let Ending::Late(moment) = reply.ending {
        tokio::time::sleep(moment).await;
    }
    let is_head = request.method == "HEAD";
    let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
    let own_length =
        reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match reply.ending {
        Ending::Chunked | Ending::Endless => head.push_str("Transfer-Encoding: chunked\r\n"),
        Ending::Claiming(size) => head.push_str(&format!("Content-Length: {size}\r\n")),
        _ if own_length || reply.status == 204 => {}
        _ => head.push_str(&format!("Content-Length: {}\r\n", reply.body.len())),
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if stream.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    if is_head {
        return stream.flush().await.is_ok();
    }
    let body = &reply.body;
    let sent = match reply.ending {
        Ending::CutAfter(count) | Ending::StallAfter(count) => &body[..count.min(body.len())],
        _ => body.as_slice(),
    };
    let written = match reply.ending {
        Ending::Chunked | Ending::Endless => {
            let chunk = [format!("{:x}\r\n", sent.len()).as_bytes(), sent, b"\r\n"].concat();
            let mut written = stream.write_all(&chunk).await;
            while written.is_ok() && reply.ending == Ending::Endless {
                written = stream.write_all(&chunk).await;
            }
            match written {
                Ok(()) => stream.write_all(b"0\r\n\r\n").await,
                failed => failed,
            }
        }
        _ => stream.write_all(sent).await,
    };
    if written.is_err() || stream.flush().await.is_err() {
        return false;
    }
    if let Ending::StallAfter(_) = reply.ending {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    !matches!(reply.ending, Ending::CutAfter(_) | Ending::StallAfter(_))
}
