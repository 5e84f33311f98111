//! The addresses of one network: one bit each.
//!
//! Invariant: an address is given once until it is given back, and the one given back last is the last
//! to be given again: whoever still talks to the old owner does not meet a new one.
//! Absent on purpose: what survives a process; it follows from the sandboxes that are there.

use std::net::Ipv4Addr;

use crate::address::Subnet;

/// Addresses for endpoints.
#[derive(Debug)]
pub(crate) struct Pool {
    subnet: Subnet,
    taken: Vec<u64>,
    /// Where the search goes on.
    next: u64,
}

/// Why one certain address is not to be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Taken,
    Outside,
}

impl Pool {
    /// All of a subnet but the first, the last, and the gateway, which is the second; nothing, if that is
    /// all.
    pub(crate) fn of(subnet: Subnet) -> Option<Self> {
        let size = subnet.size();
        if size < 4 {
            return None;
        }
        let words = usize::try_from(size.div_ceil(64)).ok()?;
        let mut pool = Self { subnet, taken: vec![0; words], next: 2 };
        for offset in [0, 1, size - 1] {
            pool.set(offset, true);
        }
        // What is past the end of a small one is nobody's.
        for offset in size..size.next_multiple_of(64) {
            pool.set(offset, true);
        }
        Some(pool)
    }

    /// The next free address.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        let size = self.subnet.size();
        let found = self.free_in(self.next, size).or_else(|| self.free_in(0, self.next))?;
        self.set(found, true);
        self.next = (found + 1) % size;
        self.subnet.nth(found)
    }

    /// One certain address.
    pub(crate) fn take_this(&mut self, address: Ipv4Addr) -> Result<(), Refusal> {
        let offset = self.subnet.offset(address).ok_or(Refusal::Outside)?;
        if offset == 0 || offset == self.subnet.size() - 1 {
            return Err(Refusal::Outside);
        }
        if self.is_taken(offset) {
            return Err(Refusal::Taken);
        }
        self.set(offset, true);
        Ok(())
    }

    /// Continues behind the address that an earlier engine gave last.
    pub(crate) fn pass(&mut self, address: Ipv4Addr) {
        if let Some(offset) = self.subnet.offset(address) {
            self.next = (offset + 1) % self.subnet.size();
        }
    }

    /// Makes an address free again.
    pub(crate) fn give_back(&mut self, address: Ipv4Addr) {
        if let Some(offset) = self.subnet.offset(address) {
            self.set(offset, false);
        }
    }

    /// The first free one from `begin` on, before `end`; whole words of taken ones cost one look.
    fn free_in(&self, begin: u64, end: u64) -> Option<u64> {
        let mut at = begin;
        while at < end {
            let free = !self.taken[(at / 64) as usize] >> (at % 64);
            if free != 0 {
                let found = at + u64::from(free.trailing_zeros());
                return (found < end).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    fn is_taken(&self, offset: u64) -> bool {
        self.taken[(offset / 64) as usize] >> (offset % 64) & 1 != 0
    }

    fn set(&mut self, offset: u64, taken: bool) {
        let bit = 1 << (offset % 64);
        let word = &mut self.taken[(offset / 64) as usize];
        *word = if taken { *word | bit } else { *word & !bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(text: &str) -> Pool {
        Pool::of(text.parse().unwrap()).unwrap()
    }

    fn address(text: &str) -> Ipv4Addr {
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
    fn all_of_a_subnet_is_given_and_no_more() {
        for (text, count) in [("10.0.0.0/30", 1), ("10.0.0.0/26", 61), ("10.0.0.0/20", 4093)] {
            let mut pool = pool(text);
            let mut given = std::collections::HashSet::new();
            while let Some(address) = pool.take() {
                assert!(pool.subnet.contains(address) && given.insert(address));
            }
            assert_eq!(given.len(), count, "{text}");
        }
        assert!(Pool::of("10.0.0.0/31".parse().unwrap()).is_none());
    }
}
