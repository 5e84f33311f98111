//! Networks, address pools, sandboxes, endpoints and published ports, by netlink and nftables.
//!
//! A sandbox is a network namespace under a name, held by a mount below the run directory, so that it
//! outlives the engine, the monitor and every process in it.
//! Invariant: what a record below the run directory names is whole; whatever else of ours a killed
//! engine left is removed when the next one opens, and nothing of anybody else is ever touched.
//! Absent on purpose: containers, images, host names; programs (`ip`, `nft`, `iptables`), none is started.

mod address;
mod bridge;
mod config;
pub mod dns;
mod error;
mod firewall;
mod host;
mod instance;
mod link;
mod names;
mod namespace;
mod nft;
mod options;
mod pins;
mod pool;
mod ports;
mod ready;
mod records;
mod resolver;
mod sandbox;
mod steps;

pub use address::{AddressFault, HostAddress, Mac, Subnet};
pub use config::{
    AddressPool, Addresses, DefaultNetwork, GatewayMode, Kind, NetworkConfig, NetworkRequest,
    PoolRequest, Rate,
};
pub use error::{NetworkClass, NetworkError, PortFault};
pub use firewall::Obstacle;
pub use host::{Host, HostOptions};
pub use instance::Instance;
pub use names::{Known, Member, NamesConfig, Table};
pub use options::{Ipvlan, Macvlan};
pub use resolver::{RESOLVER, RESOLVER_SOCKET};
pub use sandbox::{
    BoundPort, DEFAULT_NETWORK, Endpoint, EndpointRequest, Forward, PortMapping, Protocol, Sandbox,
    SandboxId, SandboxRequest,
};
pub use steps::Steps;
