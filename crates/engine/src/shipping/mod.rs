//! Containers' output sent elsewhere: to the journal, syslog, GELF or fluentd.
//!
//! A monitor writes the local copy of the log and nothing else; what is here reads that copy from where it last
//! stopped, and sends it. So a destination that is slow or away holds up no container, `logs` works with every
//! driver, and what came while there was no engine is sent by the next one.
//!
//! `options` reads what users write, `about` is what messages say of their container, one file for each driver
//! turns a line into bytes, `connection` has the sockets, `shipper` sends.
//!
//! Invariant: an option has an effect or is refused by name. Lines arrive in order, and again rather than not at all.
//! Absent on purpose: writing logs, which is the monitor's; drivers of companies' own services.

mod about;
mod connection;
mod fluentd;
mod gelf;
mod journald;
mod options;
mod shipper;
mod syslog;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::PlanError;

pub(crate) use about::{About, attributes, check_attributes};
pub(crate) use shipper::{Shipping, start};

use connection::{Address, TlsFiles};
use fluentd::Fluentd;
use gelf::Gelf;
use journald::Journald;
use options::Options;
use syslog::Syslog;

/// The drivers that are here.
pub(crate) const DRIVERS: [&str; 4] = ["fluentd", "gelf", "journald", "syslog"];

/// Lines that wait for their destination take no more memory, unless the options say so.
const QUEUE_BYTES: usize = 1 << 20;

/// Where lines go, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    driver: Driver,
    /// What waits takes no more.
    queue_bytes: usize,
    /// What comes while the queue is full is dropped; otherwise it waits in the local copy.
    drops: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Driver {
    Fluentd(Fluentd),
    Gelf(Gelf),
    Journald(Journald),
    Syslog(Syslog),
}

/// A line on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    time_ns: i64,
    stderr: bool,
    /// Without its line end.
    text: Vec<u8>,
    part: Option<Part>,
}

/// Which part of a long line it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// The same for all parts of the line.
    id: String,
    /// From 1 on.
    ordinal: u32,
    /// None follows.
    last: bool,
}

/// How often, and after which pauses, one message is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Patience {
    first_pause: Duration,
    /// Each pause is twice the one before.
    grows: bool,
    /// For ever if absent.
    attempts_max: Option<u32>,
}

impl Destination {
    /// What driver and options ask for; nothing for a driver that sends nothing.
    pub(crate) fn parse(
        driver: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, PlanError> {
        let options = Options::new(driver, options);
        let driver = match driver {
            "fluentd" => Driver::Fluentd(Fluentd::parse(&options)?),
            "gelf" => Driver::Gelf(Gelf::parse(&options)?),
            "journald" => Driver::Journald(Journald::parse(&options)?),
            "syslog" => Driver::Syslog(Syslog::parse(&options)?),
            _ => return Ok(None),
        };
        let (mut queue_bytes, drops) = options.queue()?;
        if let Driver::Fluentd(Fluentd { buffer_bytes: Some(bytes), .. }) = &driver {
            queue_bytes = *bytes;
        }
        Ok(Some(Self { driver, queue_bytes, drops }))
    }

    /// Whether somebody takes lines there; said before a container starts, as Docker says it.
    pub(crate) async fn probe(&self) -> std::io::Result<()> {
        if let Driver::Fluentd(Fluentd { is_async: true, .. }) = &self.driver {
            return Ok(());
        }
        connection::Connection::open(self.address(), self.tls()).await.map(drop)
    }

    fn address(&self) -> &Address {
        match &self.driver {
            Driver::Fluentd(driver) => &driver.address,
            Driver::Gelf(driver) => &driver.address,
            Driver::Journald(driver) => &driver.address,
            Driver::Syslog(driver) => &driver.address,
        }
    }

    fn tls(&self) -> &TlsFiles {
        match &self.driver {
            Driver::Syslog(driver) => &driver.tls,
            _ => TlsFiles::SYSTEM,
        }
    }

    /// A line as its destination wants it: in as many pieces as it takes.
    fn packets(&self, about: &About, message: &Message) -> Vec<Vec<u8>> {
        match &self.driver {
            Driver::Fluentd(driver) => vec![driver.packet(about, message)],
            Driver::Gelf(driver) => driver.packets(about, message),
            Driver::Journald(_) => vec![journald::packet(about, message)],
            Driver::Syslog(driver) => vec![driver.packet(about, message)],
        }
    }

    /// What must come back before a message has arrived; nothing is waited for if absent.
    fn receipt(&self, message: &Message) -> Option<Vec<u8>> {
        match &self.driver {
            Driver::Fluentd(driver) => driver.receipt(message),
            _ => None,
        }
    }

    fn patience(&self) -> Patience {
        match &self.driver {
            Driver::Fluentd(driver) => driver.patience,
            Driver::Gelf(driver) => driver.patience,
            _ => Patience {
                first_pause: Duration::from_millis(100),
                grows: true,
                attempts_max: None,
            },
        }
    }

    /// How long a write, and a receipt, may take.
    fn timeouts(&self) -> (Option<Duration>, Option<Duration>) {
        match &self.driver {
            Driver::Fluentd(driver) => (driver.write_timeout, driver.read_timeout),
            _ => (None, None),
        }
    }

    /// A connection that is older is made anew.
    fn connection_age_max(&self) -> Option<Duration> {
        match &self.driver {
            Driver::Fluentd(driver) => driver.reconnect_interval,
            _ => None,
        }
    }

    /// How the driver writes the names of attributes.
    fn key(&self, name: &str) -> String {
        match self.driver {
            Driver::Gelf(_) => gelf::key(name),
            Driver::Journald(_) => journald::key(name),
            _ => name.to_owned(),
        }
    }
}
