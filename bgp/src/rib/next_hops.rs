//! The next hops that attributes name, and whether they can be reached.
//!
//! A next hop is counted by the attribute sets that name it. The first use and the last one are
//! reported, so that the caller can resolve it and stop doing so; what it finds out comes back as
//! [`NextHopState`]. A next hop stays known until its last report has been drained, so a caller
//! never hears of an end without a beginning.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Whether a next hop can be reached, and at what cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopState {
    /// Nothing was said about it yet: [`super::RibConfig::assume_reachable`] decides.
    Unknown,
    /// No way there.
    Unreachable,
    /// There is a way, of this interior cost; 0 when on a connected network.
    Reachable {
        /// Compared between paths, lower is better (RFC 4271 section 9.1.2.2 e).
        cost: u32,
    },
}

impl NextHopState {
    /// Reachable at no cost.
    pub const REACHABLE: Self = Self::Reachable { cost: 0 };
}

/// A next hop came into use or went out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHopInterest {
    /// The next hop.
    pub addr: IpAddr,
    /// In use from now on; else no longer.
    pub added: bool,
}

#[derive(Debug)]
struct NextHop {
    addr: IpAddr,
    state: NextHopState,
    /// Attribute sets that name it.
    uses: u32,
    /// The caller was told that it is in use.
    reported: bool,
    /// In the list of what to tell the caller.
    queued: bool,
}

/// All next hops in use.
#[derive(Debug, Default)]
pub(crate) struct NextHops {
    index: HashMap<IpAddr, u32, RandomState>,
    slots: Vec<NextHop>,
    free: Vec<u32>,
    queue: Vec<u32>,
}

/// Instead of an index: the route goes to this router itself.
pub(crate) const NO_NEXT_HOP: u32 = u32::MAX;

impl NextHops {
    /// The index of a next hop; one more use of it.
    pub(crate) fn retain(&mut self, addr: IpAddr) -> u32 {
        if addr.is_unspecified() {
            return NO_NEXT_HOP;
        }
        let index = match self.index.get(&addr) {
            Some(&index) => index,
            None => self.add(addr),
        };
        let slot = &mut self.slots[index as usize];
        slot.uses += 1;
        if slot.uses == 1 {
            self.enqueue(index);
        }
        index
    }

    /// One use less.
    pub(crate) fn release(&mut self, index: u32) {
        if index == NO_NEXT_HOP {
            return;
        }
        let slot = &mut self.slots[index as usize];
        slot.uses -= 1;
        if slot.uses == 0 {
            self.enqueue(index);
        }
    }

    fn add(&mut self, addr: IpAddr) -> u32 {
        let slot = NextHop { addr, state: NextHopState::Unknown, uses: 0, reported: false, queued: false };
        let index = if let Some(index) = self.free.pop() {
            self.slots[index as usize] = slot;
            index
        } else {
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        };
        self.index.insert(addr, index);
        index
    }

    fn enqueue(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.queued {
            slot.queued = true;
            self.queue.push(index);
        }
    }

    /// Takes note of a state; whether it differs from what was known. Unused next hops are ignored.
    pub(crate) fn set_state(&mut self, addr: IpAddr, state: NextHopState) -> bool {
        let Some(&index) = self.index.get(&addr) else { return false };
        let slot = &mut self.slots[index as usize];
        std::mem::replace(&mut slot.state, state) != state
    }

    /// The state of a next hop; the router itself is always reachable.
    #[inline]
    pub(crate) fn state(&self, index: u32) -> NextHopState {
        self.slots.get(index as usize).map_or(NextHopState::REACHABLE, |slot| slot.state)
    }

    /// The address of a next hop; `None` for the router itself.
    pub(crate) fn addr(&self, index: u32) -> Option<IpAddr> {
        self.slots.get(index as usize).map(|slot| slot.addr)
    }

    /// What came into use and went out of it since the last call.
    pub(crate) fn drain(&mut self) -> Vec<NextHopInterest> {
        let mut changes = Vec::new();
        for index in std::mem::take(&mut self.queue) {
            let slot = &mut self.slots[index as usize];
            slot.queued = false;
            let added = slot.uses > 0;
            if added != slot.reported {
                slot.reported = added;
                changes.push(NextHopInterest { addr: slot.addr, added });
            }
            if !added {
                self.index.remove(&slot.addr);
                self.free.push(index);
            }
        }
        changes
    }

    /// Next hops in use.
    pub(crate) fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.uses > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_use_are_told_and_nothing_between() {
        let addr: IpAddr = "192.0.2.1".parse().unwrap();
        let mut next_hops = NextHops::default();
        let index = next_hops.retain(addr);
        assert_eq!(next_hops.retain(addr), index);
        assert_eq!(next_hops.drain(), [NextHopInterest { addr, added: true }]);
        next_hops.release(index);
        assert_eq!(next_hops.drain(), []);
        next_hops.release(index);
        assert_eq!(next_hops.retain(addr), index);
        assert_eq!(next_hops.drain(), []);
        next_hops.release(index);
        assert_eq!(next_hops.drain(), [NextHopInterest { addr, added: false }]);
        assert_eq!(next_hops.len(), 0);
    }

    #[test]
    fn a_use_that_nobody_heard_of_ends_in_silence() {
        let mut next_hops = NextHops::default();
        let index = next_hops.retain("192.0.2.1".parse().unwrap());
        next_hops.release(index);
        assert_eq!(next_hops.drain(), []);
        assert!(!next_hops.set_state("192.0.2.1".parse().unwrap(), NextHopState::Unreachable));
        assert_eq!(next_hops.retain("192.0.2.2".parse().unwrap()), index);
    }
}
