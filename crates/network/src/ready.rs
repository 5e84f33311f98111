//! Namespaces with a device on the bridge; and a few namespaces, with one or without, made ahead.
//!
//! What is made ahead is held by descriptors alone: with the engine it is gone, devices and all, and
//! nobody has to find it. The device inside is up and has no address, so that by the time somebody takes
//! it the bridge already passes packets on, which it does not in the first moment.
//! A taken one is replaced when nobody has taken another for a while: making one costs the kernel's lock
//! that a start needs, too. Absent on purpose: giving back; used ones are not ready again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dhow_sys::{Errno, NetlinkError};

use crate::bridge::Device;
use crate::error::NetworkError;
use crate::link::{Links, NewVeth};
use crate::namespace::Namespace;

/// How long nobody takes one before the next is made.
const QUIET: Duration = Duration::from_millis(30);
/// How long and in what steps the kernel is given to pass packets on; they are lost before that.
const SENDING_WAIT: Duration = Duration::from_micros(200);
const SENDING_WAIT_MAX: Duration = Duration::from_millis(100);
/// How often a name that is taken is replaced by another.
const NAMES_MAX: usize = 16;

/// A namespace whose device only lacks its address.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) namespace: Namespace,
    /// The device inside.
    pub(crate) index: u32,
}

impl Ready {
    /// Makes one.
    pub(crate) fn make(bridge: &Device) -> Result<Self, NetworkError> {
        let mut namespace = Namespace::make(bridge.config.resolves())?;
        let inside = format!("{}0", bridge.config.interface_prefix);
        let index = plug(bridge, &mut namespace, &inside)?.index;
        Ok(Self { namespace, index })
    }
}

/// A device inside that has its other end on a bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plugged {
    pub(crate) index: u32,
}

/// Connects a namespace to a bridge by a device that passes packets on when this returns.
pub(crate) fn plug(
    bridge: &Device,
    namespace: &mut Namespace,
    inside: &str,
) -> Result<Plugged, NetworkError> {
    let mut host = Links::open().map_err(NetworkError::netlink("open a netlink socket"))?;
    let interface = &bridge.config.interface;
    let connecting = || NetworkError::netlink::<NetlinkError>(format!("connect to {interface}"));
    let name = connect(&mut host, bridge, namespace, inside).map_err(connecting())?;
    let bringing = || NetworkError::netlink::<NetlinkError>(format!("bring up {inside}"));
    let found = namespace.links().find(inside).map_err(bringing())?;
    let index = found.ok_or(Errno::NODEV.into()).map_err(bringing())?.index;
    namespace.links().bring_up(index).map_err(bringing())?;
    host.bring_up_port(&name).map_err(connecting())?;
    bound(&mut host, bridge, &name)?;
    let begin = Instant::now();
    while begin.elapsed() < SENDING_WAIT_MAX {
        // The bridge itself came up with its first port.
        let passes = host.is_forwarding(&name).map_err(connecting())?
            && host.is_sending(interface).map_err(connecting())?;
        if passes && namespace.links().is_sending(inside).map_err(bringing())? {
            break;
        }
        thread::sleep(SENDING_WAIT);
    }
    Ok(Plugged { index })
}

/// Bounds what the end on the bridge sends, which is what its container receives.
fn bound(host: &mut Links, bridge: &Device, name: &str) -> Result<(), NetworkError> {
    let rate = bridge.config.rate.inward;
    if rate == 0 {
        return Ok(());
    }
    let bounding = || NetworkError::netlink::<NetlinkError>(format!("bound the rate of {name}"));
    let found = host.find(name).map_err(bounding())?;
    let index = found.ok_or(Errno::NODEV.into()).map_err(bounding())?.index;
    host.bound(index, rate).map_err(bounding())
}

/// Makes the pair of devices, under a name that nobody has; returns the name.
fn connect(
    host: &mut Links,
    bridge: &Device,
    namespace: &Namespace,
    inside: &str,
) -> Result<String, NetlinkError> {
    let mut tries = 1..=NAMES_MAX;
    loop {
        // Network managers leave devices of this prefix alone.
        let name = format!("veth{:08x}", RandomState::new().build_hasher().finish() as u32);
        let made = host.make_veth(&NewVeth {
            name: &name,
            bridge: bridge.index,
            mtu: bridge.config.mtu,
            isolated: !bridge.config.icc,
            namespace: namespace.as_fd(),
            inside,
        });
        match made {
            // A name inside that is taken is the caller's fault, and said so in the end.
            Err(error) if error.errno == Errno::EXIST && tries.next().is_some() => {}
            made => return made.map(|()| name),
        }
    }
}

/// Some of a kind that were made ahead.
#[derive(Debug)]
pub(crate) struct ReadyPool<T> {
    shared: Arc<Shared<T>>,
    maker: Mutex<Option<JoinHandle<()>>>,
    max: usize,
}

#[derive(Debug)]
struct Shared<T> {
    stock: Mutex<Stock<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Stock<T> {
    ready: Vec<T>,
    /// How many were ever taken, or asked for: tells the maker that somebody is busy.
    taken: u64,
    /// Making one failed: the next is tried when somebody asks again.
    failed: bool,
    closing: bool,
}

impl<T: Send + 'static> ReadyPool<T> {
    /// One that keeps so many, once it [serves](Self::serve).
    pub(crate) fn new(max: usize) -> Self {
        let stock = Stock { ready: Vec::new(), taken: 0, failed: false, closing: false };
        let shared = Shared { stock: Mutex::new(stock), changed: Condvar::new() };
        Self { shared: Arc::new(shared), maker: Mutex::new(None), max }
    }

    /// Begins to make them, unless that has begun.
    pub(crate) fn serve(&self, make: impl Fn() -> Result<T, NetworkError> + Send + 'static) {
        let mut maker = self.maker.lock().unwrap_or_else(PoisonError::into_inner);
        if self.max == 0 || maker.is_some() {
            return;
        }
        let (shared, max) = (self.shared.clone(), self.max);
        let thread = thread::Builder::new().name("ready-netns".to_owned());
        // Without the thread nothing is made ahead, and everything goes its longer way.
        *maker = thread.spawn(move || shared.fill(make, max)).ok();
    }

    /// One of them, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        let mut stock = self.shared.stock();
        stock.taken += 1;
        stock.failed = false;
        let ready = stock.ready.pop();
        drop(stock);
        self.shared.changed.notify_all();
        ready
    }
}

impl<T> Drop for ReadyPool<T> {
    fn drop(&mut self) {
        self.shared.stock().closing = true;
        self.shared.changed.notify_all();
        let maker = self.maker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A maker that panicked has nothing that has to be given back.
        let _ = maker.map(JoinHandle::join);
    }
}

impl<T> Shared<T> {
    fn fill(&self, make: impl Fn() -> Result<T, NetworkError>, max: usize) {
        let mut stock = self.stock();
        while !stock.closing {
            if stock.ready.len() >= max || stock.failed {
                stock = self.changed.wait(stock).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let taken = stock.taken;
            let nobody_came = |stock: &Stock<T>| !stock.closing && stock.taken == taken;
            let waited = self.changed.wait_timeout_while(stock, QUIET, |stock| nobody_came(stock));
            stock = waited.unwrap_or_else(PoisonError::into_inner).0;
            // Quiet: now as many as are missing, until somebody comes.
            while nobody_came(&stock) && stock.ready.len() < max {
                drop(stock);
                let made = make();
                stock = self.stock();
                match made {
                    Ok(ready) => stock.ready.push(ready),
                    Err(_) => {
                        stock.failed = true;
                        break;
                    }
                }
            }
        }
    }

    fn stock(&self) -> MutexGuard<'_, Stock<T>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(until: impl Fn() -> bool) {
        while !until() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_is_taken_is_made_again_and_failures_wait_for_a_need() {
        let made = Arc::new(Mutex::new(0));
        let pool = ReadyPool::new(2);
        let count = made.clone();
        pool.serve(move || {
            let mut count = count.lock().unwrap();
            *count += 1;
            match *count {
                3 => Err(NetworkError::NoSubnet),
                number => Ok(number),
            }
        });
        let stock = || pool.shared.stock().ready.len();
        wait(|| stock() == 2);
        assert_eq!(pool.take(), Some(2));
        wait(|| *made.lock().unwrap() == 3);
        wait(|| pool.shared.stock().failed);
        assert_eq!(stock(), 1);
        assert_eq!(pool.take(), Some(1));
        wait(|| stock() == 2);
        assert_eq!(*made.lock().unwrap(), 5);
    }
}
