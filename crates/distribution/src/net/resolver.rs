//! Names to addresses, by whoever the caller says.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

/// Addresses that are still being looked up.
pub type Addresses<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Knows where names lead. A program that is linked statically may not want the C library's way, and
/// tests want their own.
pub trait Resolver: Send + Sync {
    /// The addresses of `host` (a name, or an address without brackets) with `port`, best first. An
    /// empty list means that there is no such host.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Addresses<'a>;
}

/// The C library's way.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Addresses<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
