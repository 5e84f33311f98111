//! The addresses of one network, of one kind.
//!
//! Invariant: an address is given once until it is given back, and the one given back last is the last
//! to be given again: whoever still talks to the old owner does not meet a new one.
//! Absent on purpose: what survives a process; it follows from the sandboxes that are there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::address::Subnet;

/// Addresses for endpoints.
#[derive(Debug)]
pub(crate) struct Pool {
    subnet: Subnet,
    /// The part of it that addresses are chosen from: first and last, both inside.
    chosen: (u128, u128),
    /// By their distance from the subnet's first.
    taken: BTreeSet<u128>,
    /// Where the search goes on.
    next: u128,
}

/// Why one certain address is not to be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Taken,
    Outside,
}

impl Pool {
    /// All of a subnet but the first and, of IPv4, the last, which mean the network as a whole; addresses
    /// that nobody asks for come from `range`. The reserved ones are nobody's.
    pub(crate) fn of(
        subnet: Subnet,
        range: Option<Subnet>,
        reserved: impl Iterator<Item = IpAddr>,
    ) -> Self {
        let range = range.unwrap_or(subnet);
        let offset = |address| subnet.offset(address).unwrap_or_default();
        let chosen = (offset(range.first()), offset(range.last()));
        let mut taken: BTreeSet<_> = reserved.filter_map(|one| subnet.offset(one)).collect();
        if subnet.host_bits() > 1 {
            taken.insert(0);
            taken.extend((!subnet.is_ipv6()).then(|| offset(subnet.last())));
        }
        Self { subnet, chosen, taken, next: chosen.0 }
    }

    /// Whether its addresses are of IPv6.
    pub(crate) fn is_ipv6(&self) -> bool {
        self.subnet.is_ipv6()
    }

    /// The next free address.
    pub(crate) fn take(&mut self) -> Option<IpAddr> {
        let (first, last) = self.chosen;
        let next = self.next.clamp(first, last);
        let behind = self.free_in(next, last);
        let found = match next.checked_sub(1) {
            Some(before) if before >= first => behind.or_else(|| self.free_in(first, before)),
            _ => behind,
        }?;
        self.taken.insert(found);
        self.next = if found == last { first } else { found + 1 };
        self.subnet.nth(found)
    }

    /// One certain address.
    pub(crate) fn take_this(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let offset = self.subnet.offset(address).ok_or(Refusal::Outside)?;
        let means_all = self.subnet.host_bits() > 1
            && (offset == 0 || !self.subnet.is_ipv6() && address == self.subnet.last());
        if means_all {
            return Err(Refusal::Outside);
        }
        if self.taken.insert(offset) { Ok(()) } else { Err(Refusal::Taken) }
    }

    /// Continues behind the address that an earlier engine gave last.
    pub(crate) fn pass(&mut self, address: IpAddr) {
        if let Some(offset) = self.subnet.offset(address) {
            let (first, last) = self.chosen;
            self.next = if offset >= last { first } else { offset + 1 };
        }
    }

    /// Makes an address free again.
    pub(crate) fn give_back(&mut self, address: IpAddr) {
        if let Some(offset) = self.subnet.offset(address) {
            self.taken.remove(&offset);
        }
    }

    /// The first free one from the one to the other: the end of the first run of taken ones.
    fn free_in(&self, begin: u128, end: u128) -> Option<u128> {
        let mut free = begin;
        for taken in self.taken.range(begin..=end) {
            if *taken != free {
                break;
            }
            if free == end {
                return None;
            }
            free += 1;
        }
        Some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(text: &str) -> Pool {
        let subnet: Subnet = text.parse().unwrap();
        Pool::of(subnet, None, subnet.nth(1).into_iter())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_come_in_turn_and_rest_before_they_come_again() {
        let mut pool = pool("10.0.0.0/29");
        let given: Vec<_> = (0..3).map(|_| pool.take().unwrap().to_string()).collect();
        assert_eq!(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        pool.give_back(address("10.0.0.2"));
        pool.give_back(address("10.0.0.4"));
        let given: Vec<_> = (0..4).map(|_| pool.take().unwrap().to_string()).collect();
        assert_eq!(given, ["10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.4"]);
        assert_eq!(pool.take(), None);
        pool.give_back(address("10.0.0.3"));
        assert_eq!(pool.take(), Some(address("10.0.0.3")));
    }

    #[test]
    fn certain_addresses_are_refused_where_they_are_somebody_s() {
        let mut pool = pool("172.17.0.0/16");
        assert_eq!(pool.take_this(address("172.17.0.1")), Err(Refusal::Taken));
        assert_eq!(pool.take_this(address("172.17.0.0")), Err(Refusal::Outside));
        assert_eq!(pool.take_this(address("172.17.255.255")), Err(Refusal::Outside));
        assert_eq!(pool.take_this(address("172.18.0.2")), Err(Refusal::Outside));
        assert_eq!(pool.take_this(address("172.17.0.2")), Ok(()));
        assert_eq!(pool.take_this(address("172.17.0.2")), Err(Refusal::Taken));
        assert_eq!(pool.take(), Some(address("172.17.0.3")));
        pool.pass(address("172.17.1.0"));
        assert_eq!(pool.take(), Some(address("172.17.1.1")));
    }

    #[test]
    fn what_nobody_asks_for_comes_from_the_range() {
        let subnet: Subnet = "10.0.0.0/16".parse().unwrap();
        let range = "10.0.5.0/30".parse().ok();
        let mut pool = Pool::of(subnet, range, [address("10.0.5.0")].into_iter());
        pool.take_this(address("10.0.7.7")).unwrap();
        let given: Vec<_> = std::iter::from_fn(|| pool.take()).map(|one| one.to_string()).collect();
        assert_eq!(given, ["10.0.5.1", "10.0.5.2", "10.0.5.3"]);
    }

    #[test]
    fn all_of_a_subnet_is_given_and_no_more() {
        let cases =
            [("10.0.0.0/30", 1), ("10.0.0.0/26", 61), ("10.0.0.0/20", 4093), ("fd00::/120", 254)];
        for (text, count) in cases {
            let mut pool = pool(text);
            let mut given = std::collections::HashSet::new();
            while let Some(address) = pool.take() {
                assert!(pool.subnet.contains(address) && given.insert(address));
            }
            assert_eq!(given.len(), count, "{text}");
        }
    }
}
