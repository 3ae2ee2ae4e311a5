//! Next hops that may be lost: what is known against them, and what that changes.
//!
//! A next hop whose link is down cannot be used, and [`resolve`](super::resolve) says so. Of others it may be known that
//! they are probably lost: the neighbour that they lead to no longer answers the kernel's probes, BFD has lost it, or
//! the session with it has gone and its routes are on their way out. Those are suspects: sets that have another member
//! or a backup use it meanwhile, others go on as before. Whoever raises a doubt takes it back. What is said of one
//! address of a neighbour holds for its others, which its MAC tells: a session over IPv4 brings IPv6 routes, too.
//!
//! Both take effect with one flush, whatever the number of routes; that the RIB then decides anew is another matter.

use std::collections::HashMap;
use std::net::IpAddr;

use bgp::link::{bare, link_of};
use tracing::{debug, error};

use super::forwarder::Forwarder;
use super::plane::Plane;
use super::resolve::Resolved;
use super::topology::Way;

/// Somebody doubts that a neighbour is there, or no longer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Its address, a link-local one with its link.
    pub addr: IpAddr,
    /// Raised, or taken back.
    pub raised: bool,
}

/// Neighbours in doubt, and how many doubt each.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    by_address: HashMap<IpAddr, u32>,
    /// They changed since the last flush.
    pub(super) moved: bool,
}

impl Doubts {
    /// Takes note of a doubt.
    pub(super) fn note(&mut self, Doubt { addr, raised }: Doubt) {
        let count = self.by_address.entry(addr).or_default();
        let before = *count > 0;
        *count = if raised { count.saturating_add(1) } else { count.saturating_sub(1) };
        let after = *count > 0;
        if !after {
            self.by_address.remove(&addr);
        }
        self.moved |= before != after;
    }

    fn has(&self, addr: IpAddr) -> bool {
        self.by_address.contains_key(&addr)
    }
}

impl<P: Plane> Forwarder<P> {
    /// Whether a next hop that is reached this way may be lost.
    pub(super) fn is_suspect(&self, addr: IpAddr, found: Resolved) -> bool {
        let Way::OnLink { ifindex, gateway } = found.way else { return false };
        let is_it = |doubted: &IpAddr| match link_of(*doubted) {
            Some(_) if !self.topology.is_of_link(*doubted, ifindex) => false,
            Some(_) if bare(*doubted) == gateway => true,
            _ => self.topology.is_same_neighbour(ifindex, bare(*doubted), gateway),
        };
        self.doubts.has(addr)
            || self.doubts.has(gateway)
            || self.topology.is_lost(ifindex, gateway)
            || self.doubts.by_address.keys().any(is_it)
    }

    /// Brings what the tables know of a next hop in line with what is known now.
    pub(super) fn refresh_next_hop(&mut self, addr: IpAddr) {
        let Some(next_hop) = self.next_hops.get(&addr) else { return };
        let (Some(id), found) = (next_hop.id, next_hop.found) else { return };
        let suspect = self.is_suspect(addr, found);
        let was = self.fib.next_hop_view(id).is_some_and(|view| view.suspect);
        if suspect != was {
            debug!(next_hop = %addr, suspect, "next hop may be lost");
        }
        let resolution = self.topology.resolution(found.way);
        if let Err(error) = self.fib.resolve(id, resolution).and_then(|()| self.fib.suspect(id, suspect)) {
            error!(next_hop = %addr, %error, "cannot resolve a next hop");
        }
    }
}
