//! What lies around the router, and the two questions that forwarding asks of it.
//!
//! - [`Topology::own_routes`]: which routes follow from the kernel's state alone. An address of the router
//!   is delivered locally; a neighbour whose MAC is known, on a routed port, has a route of its own; the
//!   rest of a connected subnet goes up to the kernel, which resolves the destination (glean), and so
//!   does what the operator's static routes cover.
//! - [`Topology::resolve`]: how a next hop is reached. By longest match over the kernel's routes it is on a
//!   connected subnet, or behind a gateway that is; the way must leave by a routed port that is up. What BGP
//!   routes add to that is in `resolve`.
//!
//! Links, addresses, routes and neighbours are as the kernel reported them; nothing here is remembered
//! beyond that, so the answers depend on the present state alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

use bgp::link::{bare, link_of};
use fib::Resolution;
use fib_abi::Adjacency;
use ipnet::IpNet;

use super::resolve::{Resolved, Resolver};

use crate::netlink::{Link, Mac, NetEvent, RouteHop, is_link_local};

/// A routed port as frames leave by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Egress {
    /// Port id.
    pub(super) port: u32,
    /// The device that frames go to; the one below, for a VLAN interface.
    pub(super) device: u32,
    pub(super) outer_vlan: u16,
    pub(super) inner_vlan: u16,
    pub(super) mac: Mac,
}

/// A route that follows from the kernel's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// An address of the router.
    Local,
    /// A neighbour with a known MAC.
    Host { ifindex: u32 },
    /// A connected subnet.
    Connected { ifindex: u32 },
    /// A route through a gateway in the kernel's main table: the kernel forwards by it.
    Kernel { ifindex: u32 },
}

/// How a next hop is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through a neighbour on a routed port.
    OnLink {
        /// The interface.
        ifindex: u32,
        /// The neighbour: the next hop itself, or the gateway before it.
        gateway: IpAddr,
    },
    /// Not at all.
    Unreachable(Reason),
}

/// Why a next hop can not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is an address of this router.
    OwnAddress,
    /// No connected subnet, kernel route or BGP route leads there; default routes count only if asked for.
    NoRoute,
    /// The way leaves by an interface that is down.
    LinkDown,
    /// The way leaves by an interface that is not a port of the forwarding plane.
    NotRouted,
    /// The BGP route that led there came to depend on it as soon as it did.
    Itself,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnAddress => "an address of this router",
            Self::NoRoute => "no route",
            Self::LinkDown => "link down",
            Self::NotRouted => "interface is not in [fib] interfaces",
            Self::Itself => "the BGP route to it depends on it",
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Topology {
    links: BTreeMap<u32, Link>,
    addresses: BTreeSet<(u32, IpNet)>,
    routes: Routes,
    /// Usable neighbours.
    neighbours: HashMap<(u32, IpAddr), Mac>,
    /// Neighbours that were usable and ceased to be, while somebody leads traffic to them; what their MACs were.
    lost: BTreeMap<(u32, IpAddr), Mac>,
    /// Routed ports by the interface index that addresses and routes are on.
    egress: HashMap<u32, Egress>,
    /// Default routes resolve next hops too.
    via_default: bool,
}

impl Topology {
    /// Nothing is known yet; `via_default` says whether default routes resolve next hops.
    pub(super) fn new(via_default: bool) -> Self {
        Self { via_default, ..Self::default() }
    }

    pub(super) fn resolves_by_default(&self) -> bool {
        self.via_default
    }

    pub(super) fn apply(&mut self, event: NetEvent) {
        match event {
            NetEvent::Link(link) => {
                self.links.insert(link.ifindex, link);
            }
            NetEvent::LinkGone { ifindex } => {
                self.links.remove(&ifindex);
                self.lost.retain(|(on, _), _| *on != ifindex);
            }
            NetEvent::Address { ifindex, net, added: true } => {
                self.addresses.insert((ifindex, net));
            }
            NetEvent::Address { ifindex, net, added: false } => {
                self.addresses.remove(&(ifindex, net));
            }
            NetEvent::Neighbour(neighbour) => {
                let key = (neighbour.ifindex, neighbour.ip);
                if let Some(mac) = neighbour.mac.filter(|_| neighbour.usable) {
                    self.neighbours.insert(key, mac);
                    self.lost.remove(&key);
                } else if let Some(mac) = self.neighbours.remove(&key) {
                    self.lost.insert(key, mac);
                }
            }
            NetEvent::Route { prefix, metric, hops } => self.routes.set(prefix, metric, hops),
        }
    }

    /// Whether a neighbour was usable and is not any more.
    pub(super) fn is_lost(&self, ifindex: u32, gateway: IpAddr) -> bool {
        self.lost.contains_key(&(ifindex, gateway))
    }

    /// Whether two addresses on a link are, or were when last seen, those of one neighbour.
    pub(super) fn is_same_neighbour(&self, ifindex: u32, one: IpAddr, other: IpAddr) -> bool {
        let mac = |addr| {
            let key = (ifindex, addr);
            self.neighbours.get(&key).or_else(|| self.lost.get(&key))
        };
        mac(one).is_some_and(|one| mac(other) == Some(one))
    }

    /// Forgets those of the lost neighbours that nothing leads to.
    pub(super) fn forget_lost(&mut self, kept: &BTreeSet<(u32, IpAddr)>) {
        self.lost.retain(|lost, _| kept.contains(lost));
    }

    /// Whether an address with a link is of the link with this interface index.
    pub(super) fn is_of_link(&self, addr: IpAddr, ifindex: u32) -> bool {
        link_of(addr).is_some() && self.link_of(addr) == Some(ifindex)
    }

    pub(super) fn links(&self) -> &BTreeMap<u32, Link> {
        &self.links
    }

    pub(super) fn set_egress(&mut self, egress: HashMap<u32, Egress>) {
        self.egress = egress;
    }

    /// The routes that the FIB holds whatever BGP says.
    pub(super) fn own_routes(&self) -> BTreeMap<IpNet, Own> {
        let mut own = BTreeMap::new();
        // A default is the operator's own way out: packets that no route covers are not for it.
        for (prefix, hops) in self.routes.iter().filter(|(prefix, _)| prefix.prefix_len() > 0) {
            let own_route = match *hops {
                [RouteHop { ifindex, gateway: None }, ..] => {
                    self.is_up(ifindex).then_some(Own::Connected { ifindex })
                }
                _ => hops
                    .iter()
                    .find(|hop| self.is_up(hop.ifindex))
                    .map(|hop| Own::Kernel { ifindex: hop.ifindex }),
            };
            if let Some(own_route) = own_route {
                own.insert(prefix, own_route);
            }
        }
        let addresses: HashSet<IpAddr> = self.addresses.iter().map(|(_, net)| net.addr()).collect();
        for &(ifindex, ip) in self.neighbours.keys() {
            let reached = matches!(self.resolve(ip).way, Way::OnLink { ifindex: by, gateway }
                if by == ifindex && gateway == ip);
            if reached && !is_link_local(ip) && !addresses.contains(&ip) {
                own.insert(IpNet::from(ip), Own::Host { ifindex });
            }
        }
        for ip in addresses {
            if !ip.is_loopback() && !is_link_local(ip) {
                own.insert(IpNet::from(ip), Own::Local);
            }
        }
        own
    }

    /// How a next hop is reached by the kernel's routes.
    pub(super) fn resolve(&self, next_hop: IpAddr) -> Resolved {
        let unreachable = |reason| Resolved { way: Way::Unreachable(reason), cost: 0, by: None };
        let link = link_of(next_hop).map(|_| self.link_of(next_hop));
        let is_own = |&(ifindex, net): &(u32, IpNet)| {
            net.addr() == bare(next_hop) && link.is_none_or(|on| on == Some(ifindex))
        };
        if self.addresses.iter().any(is_own) {
            return unreachable(Reason::OwnAddress);
        }
        let (ifindex, gateway, cost, by) = if is_link_local(next_hop) {
            match self.link_of(next_hop) {
                Some(ifindex) => (ifindex, bare(next_hop), 0, Resolver::Link),
                None => return unreachable(Reason::NoRoute),
            }
        } else {
            match self.routes.longest_match(next_hop, u8::from(!self.via_default)) {
                Some((prefix, _, RouteHop { ifindex, gateway: None })) => {
                    (ifindex, next_hop, 0, Resolver::Connected(prefix))
                }
                Some((prefix, metric, RouteHop { ifindex, gateway: Some(gateway) })) => {
                    (ifindex, gateway, metric, Resolver::Kernel(prefix))
                }
                None => return unreachable(Reason::NoRoute),
            }
        };
        let way = if !self.egress.contains_key(&ifindex) {
            Way::Unreachable(Reason::NotRouted)
        } else if self.is_up(ifindex) {
            Way::OnLink { ifindex, gateway }
        } else {
            Way::Unreachable(Reason::LinkDown)
        };
        Resolved { way, cost, by: Some(by) }
    }

    /// What the tables say of a next hop.
    pub(super) fn resolution(&self, way: Way) -> Resolution {
        let Way::OnLink { ifindex, gateway } = way else { return Resolution::Down };
        let Some(egress) = self.egress.get(&ifindex) else { return Resolution::Down };
        let mtu = self.links.get(&ifindex).map_or(0, |link| u16::try_from(link.mtu).unwrap_or(u16::MAX));
        match self.neighbours.get(&(ifindex, gateway)) {
            Some(mac) => Resolution::Forward {
                adjacency: Adjacency {
                    ifindex: egress.device,
                    port: egress.port,
                    dst_mac: mac.0,
                    src_mac: egress.mac.0,
                    outer_vlan: egress.outer_vlan,
                    inner_vlan: egress.inner_vlan,
                },
                mtu,
            },
            None => Resolution::Glean { mtu },
        }
    }

    fn is_up(&self, ifindex: u32) -> bool {
        self.links.get(&ifindex).is_some_and(|link| link.up)
    }

    /// A link-local next hop of a session that is not of a link itself says nothing of its own: it is where such
    /// a neighbour is known, or on the only port there is.
    fn link_of(&self, next_hop: IpAddr) -> Option<u32> {
        if let Some(link) = link_of(next_hop) {
            return self.links.values().find(|known| link.is(&known.name)).map(|known| known.ifindex);
        }
        let mut known: Vec<u32> = self
            .egress
            .keys()
            .copied()
            .filter(|&ifindex| self.neighbours.contains_key(&(ifindex, next_hop)))
            .collect();
        if known.is_empty() {
            known = self.egress.keys().copied().collect();
        }
        match known[..] {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// The kernel's routes, for longest match. Few: connected subnets and static routes.
#[derive(Debug, Default)]
struct Routes {
    /// With their metrics.
    by_prefix: HashMap<IpNet, (u32, Vec<RouteHop>)>,
    /// Number of prefixes by family (IPv6 second) and length.
    lengths: [BTreeMap<u8, usize>; 2],
}

impl Routes {
    fn set(&mut self, prefix: IpNet, metric: u32, hops: Vec<RouteHop>) {
        let lengths = &mut self.lengths[usize::from(prefix.addr().is_ipv6())];
        let length = prefix.prefix_len();
        if hops.is_empty() {
            if self.by_prefix.remove(&prefix).is_some()
                && let Some(count) = lengths.get_mut(&length)
            {
                *count -= 1;
                if *count == 0 {
                    lengths.remove(&length);
                }
            }
        } else if self.by_prefix.insert(prefix, (metric, hops)).is_none() {
            *lengths.entry(length).or_default() += 1;
        }
    }

    /// The most specific route of at least this length: its prefix, its metric, its first hop.
    fn longest_match(&self, ip: IpAddr, shortest: u8) -> Option<(IpNet, u32, RouteHop)> {
        let lengths = &self.lengths[usize::from(ip.is_ipv6())];
        lengths.range(shortest..).rev().find_map(|(&length, _)| {
            let prefix = IpNet::new(ip, length).ok()?.trunc();
            let (metric, hops) = self.by_prefix.get(&prefix)?;
            Some((prefix, *metric, *hops.first()?))
        })
    }

    fn iter(&self) -> impl Iterator<Item = (IpNet, &[RouteHop])> {
        self.by_prefix.iter().map(|(prefix, (_, hops))| (*prefix, hops.as_slice()))
    }
}
