//! What the kernel knows and the forwarding tables need: links, addresses, neighbours, routes.
//!
//! Two rtnetlink sockets. One is subscribed to the multicast groups of links, addresses, neighbours
//! and routes and never sends anything; the other one carries requests and dumps, so that an answer
//! can not be lost in a flood of events. A [`Mirror`] holds what was reported so far. Everything that
//! comes out of this module is a [`NetEvent`]: a change of the mirror, and never the repetition of
//! something known.
//!
//! Events get lost: the kernel drops them when the receive buffer is full (it says so: `ENOBUFS`), and
//! IPv4 removes routes without a word when their device goes down or their source address is
//! deleted. In both cases [`Netlink`] dumps everything anew and reports the difference.
//!
//! Routes are those of the main table, unicast: next hops are resolved by them, and the operator's own static
//! routes are among them.
//! Of several routes to a prefix the one with the lowest metric is reported.

mod connection;
mod mirror;
mod neighbours;
mod parse;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) use connection::Reason;
pub use connection::{Netlink, NetlinkError};
pub use mirror::Mirror;
pub use neighbours::NeighbourKeeper;
pub(crate) use parse::is_link_local;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Kernel interface index.
    pub ifindex: u32,
    /// Interface name.
    pub name: String,
    /// Ethernet address; zero for interfaces that have none.
    pub mac: Mac,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Switched on by the administrator.
    pub enabled: bool,
    /// Switched on and operational (carrier).
    pub up: bool,
    /// Holds addresses of the router as a whole: `lo` or a dummy interface.
    pub loopback: bool,
    /// For a VLAN interface: the interface below and the VLAN id.
    pub vlan: Option<VlanLink>,
}

/// Where a VLAN interface sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanLink {
    /// Kernel interface index of the interface below.
    pub parent: u32,
    /// VLAN id.
    pub vid: u16,
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// An entry of the kernel's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Interface that the neighbour is on.
    pub ifindex: u32,
    /// Its address.
    pub ip: IpAddr,
    /// Its Ethernet address, when known.
    pub mac: Option<Mac>,
    /// Whether frames may be sent to it: resolved, even if not confirmed of late.
    pub usable: bool,
    /// Set by the operator: the kernel never checks it, and we leave it alone.
    pub permanent: bool,
    /// Kept resolved by the kernel (`NTF_EXT_MANAGED`).
    pub managed: bool,
}

impl Neighbour {
    /// Whether a change from `other` to this one matters to forwarding.
    fn forwards_like(&self, other: &Self) -> bool {
        (self.mac, self.usable) == (other.mac, other.usable)
    }
}

/// One way that a kernel route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteHop {
    /// Interface that it leaves by.
    pub ifindex: u32,
    /// The gateway (of either family); `None` for a connected subnet.
    pub gateway: Option<IpAddr>,
}

/// A change of what the kernel knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// A link is new or changed.
    Link(Link),
    /// A link vanished, and all that was on it (which is reported too, before).
    LinkGone {
        /// Its interface index, which the kernel may reuse.
        ifindex: u32,
    },
    /// An address of the router came or went.
    Address {
        /// Interface that it is on.
        ifindex: u32,
        /// The address with its prefix length, host bits kept.
        net: IpNet,
        /// Came (`true`) or went.
        added: bool,
    },
    /// A neighbour is new, changed (`usable`, MAC), or gone (not `usable`, no MAC).
    Neighbour(Neighbour),
    /// The kernel's way to a prefix changed. No hops: there is none any more.
    Route {
        /// Destination.
        prefix: IpNet,
        /// The metric of the route; 0 when it is gone.
        metric: u32,
        /// Where it leads, multipath hops in the kernel's order.
        hops: Vec<RouteHop>,
    },
}
