//! From a name to a stream of bytes: look-up, proxies, TLS.
//!
//! Invariant: which certificates a host must show is decided by its origin alone, whoever sent us
//! there.
//! Absent on purpose: HTTP, but for the one request that opens a proxy's tunnel.

mod cidr;
mod connector;
mod fault;
mod proxy;
mod resolver;
mod tls;

pub(crate) use cidr::Cidr;
pub(crate) use connector::{ConnectError, Connector};
pub use fault::ConnectFault;
pub use proxy::Proxies;
pub use resolver::{Addresses, Resolver, SystemResolver};
pub(crate) use tls::Tls;
pub use tls::{TlsFault, tls_config};
