//! Questions to the FIB thread, answered between two bursts. Tables are read in pages.

use std::fmt;
use std::net::IpAddr;

use bgp::link::{Zoned, bare};
use fib::{Family, NextHopId, NextHopKey, NextHopView, Resolution, RouteView};
use fib_abi::{Counter, PortCounters, Verdict};
use ipnet::IpNet;
use tokio::sync::oneshot;

use super::forwarder::Forwarder;
use super::plane::Plane;
use super::resolve::Resolved;
use super::topology::{Reason, Way};
use crate::netlink::Mac;

/// Rows in a page.
pub const PAGE: usize = 1000;

/// Where a route of the forwarding table comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteSource {
    /// An address of the router.
    Local,
    /// A neighbour on a connected subnet whose MAC is known.
    Host,
    /// A connected subnet.
    Connected,
    /// A route through a gateway in the kernel's main table.
    Kernel,
    /// BGP, or a network originated here.
    Bgp,
}

impl fmt::Display for RouteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Host => "host",
            Self::Connected => "connected",
            Self::Kernel => "kernel",
            Self::Bgp => "bgp",
        })
    }
}

/// Which routes to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteFilter {
    /// The route of exactly this prefix.
    Exact(IpNet),
    /// The route that forwards this address.
    Match(IpAddr),
    /// Up to [`PAGE`] routes of a family, in prefix order, from behind this one.
    After(Family, Option<IpNet>),
}

/// A route of the forwarding table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibRow {
    /// Its prefix.
    pub prefix: IpNet,
    /// Where it comes from.
    pub source: RouteSource,
    /// `installed`, or `staged` while packets go by the tables of an earlier run, or why it is neither.
    pub status: String,
    /// Whether packets are forwarded by it.
    pub installed: bool,
    /// Its next-hop set; 0 when it found no free one.
    pub set: u32,
    /// Its next hops.
    pub next_hops: Vec<NextHopRow>,
    /// What takes over from them.
    pub backup: Option<NextHopRow>,
}

/// What a next hop does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopState {
    /// Sends them to a neighbour.
    Forward,
    /// Hands them to the kernel, which has the rest of the way.
    Glean,
    /// Hands them to the kernel, which resolves the neighbour.
    Resolving,
    /// Delivers them to the router itself.
    Local,
    /// Drops them.
    Drop,
    /// Nothing: no route leads there.
    Unused,
    /// Drops them, because it can not be reached.
    Down(Reason),
}

impl fmt::Display for NextHopState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward => f.write_str("forward"),
            Self::Glean => f.write_str("glean"),
            Self::Resolving => f.write_str("resolving"),
            Self::Local => f.write_str("local"),
            Self::Drop => f.write_str("drop"),
            Self::Unused => f.write_str("unused"),
            Self::Down(reason) => write!(f, "down: {reason}"),
        }
    }
}

/// A next hop of the forwarding table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHopRow {
    /// Its id in the maps; none while nothing is forwarded to it.
    pub id: Option<u32>,
    /// What it is.
    pub key: NextHopKey,
    /// What it does.
    pub state: NextHopState,
    /// The neighbour that frames go to, where it is not the next hop itself.
    pub gateway: Option<IpAddr>,
    /// Interface that packets leave by.
    pub port: Option<String>,
    /// MAC of the neighbour.
    pub mac: Option<Mac>,
    /// How it is reached, where it is a next hop of BGP routes.
    pub resolved: Option<Resolved>,
    /// Whether it may be lost: routes that have others use those meanwhile.
    pub suspect: bool,
    /// Its shares of the traffic of a route, against those of the route's other next hops.
    pub shares: usize,
    /// Number of sets that name it.
    pub sets: u32,
    /// What was forwarded by it.
    pub counter: Counter,
}

/// The next hop in words, as in `10.0.0.1 via 10.1.0.9 dev eth0`.
impl fmt::Display for NextHopRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            NextHopKey::Local => f.write_str("local")?,
            NextHopKey::Blackhole => f.write_str("blackhole")?,
            NextHopKey::Reject => f.write_str("reject")?,
            NextHopKey::Glean { .. } => f.write_str("connected")?,
            NextHopKey::Via { addr, .. } => write!(f, "{}", Zoned(addr))?,
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(port) = &self.port {
            write!(f, " dev {port}")?;
        }
        if self.shares > 1 {
            write!(f, " ({} shares)", self.shares)?;
        }
        Ok(())
    }
}

/// Counters of the data plane, summed over CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneCounters {
    /// By what became of packets.
    pub verdicts: Vec<(Verdict, Counter)>,
    /// By port name.
    pub ports: Vec<(String, PortCounters)>,
}

/// A question with the place for its answer.
pub(super) enum Query {
    Routes(RouteFilter, oneshot::Sender<Vec<FibRow>>),
    NextHops(oneshot::Sender<Vec<NextHopRow>>),
    Counters(oneshot::Sender<PlaneCounters>),
}

impl<P: Plane> Forwarder<P> {
    /// Answers a question. That the asker has gone away is no error.
    pub(super) fn answer(&self, query: Query) {
        match query {
            Query::Routes(filter, reply) => drop(reply.send(self.rows(filter))),
            Query::NextHops(reply) => {
                let rows = self.fib.next_hops().map(|view| self.next_hop_row(view));
                drop(reply.send(rows.chain(self.unused_next_hops()).collect()));
            }
            Query::Counters(reply) => drop(reply.send(self.counters())),
        }
    }

    fn rows(&self, filter: RouteFilter) -> Vec<FibRow> {
        match filter {
            RouteFilter::Exact(prefix) => {
                let prefix = prefix.trunc();
                let route = self.fib.route(prefix).map(|route| self.row(route));
                route.or_else(|| self.refused_row(prefix)).into_iter().collect()
            }
            RouteFilter::Match(ip) => self.fib.longest_match(ip).map(|r| self.row(r)).into_iter().collect(),
            RouteFilter::After(family, after) => self.rows_after(family, after),
        }
    }

    /// The routes of the tables, and those that found no room there.
    fn rows_after(&self, family: Family, after: Option<IpNet>) -> Vec<FibRow> {
        let routes = self.fib.routes(family, after, PAGE).into_iter().map(|route| self.row(route));
        let refused = self.refused.after(family, after).filter(|prefix| self.fib.route(*prefix).is_none());
        let refused = refused.take(PAGE).filter_map(|prefix| self.refused_row(prefix));
        let mut rows: Vec<FibRow> = routes.chain(refused).collect();
        rows.sort_by_key(|row| row.prefix);
        rows.truncate(PAGE);
        rows
    }

    fn row(&self, route: RouteView) -> FibRow {
        let members = self.fib.set_members(route.set).unwrap_or_default();
        // Sorted, each as often as it has shares.
        let each = members.chunk_by(|a, b| a == b);
        let row = |equal: &[NextHopId]| {
            let view = self.fib.next_hop_view(*equal.first()?)?;
            Some(NextHopRow { shares: equal.len(), ..self.next_hop_row(view) })
        };
        FibRow {
            prefix: route.prefix,
            source: self.source(route.prefix),
            status: if self.is_staged() && route.status.is_installed() {
                "staged".to_owned()
            } else {
                route.status.to_string()
            },
            installed: route.status.is_installed() && !self.is_staged(),
            set: route.set.0,
            next_hops: each.filter_map(row).collect(),
            backup: self
                .fib
                .set_backup(route.set)
                .and_then(|id| Some(self.next_hop_row(self.fib.next_hop_view(id)?))),
        }
    }

    fn refused_row(&self, prefix: IpNet) -> Option<FibRow> {
        self.refused.contains(prefix).then(|| FibRow {
            prefix,
            source: RouteSource::Bgp,
            status: "not installed: no free next hop or next-hop set".to_owned(),
            installed: false,
            set: 0,
            next_hops: Vec::new(),
            backup: None,
        })
    }

    fn next_hop_row(&self, view: NextHopView) -> NextHopRow {
        let way = self.way_of(view.key);
        let state = match (view.key, view.resolution) {
            (NextHopKey::Local, _) => NextHopState::Local,
            (NextHopKey::Blackhole | NextHopKey::Reject, _) => NextHopState::Drop,
            (NextHopKey::Glean { .. }, _) => NextHopState::Glean,
            (_, Some(Resolution::Glean { .. })) => NextHopState::Resolving,
            (_, Some(Resolution::Forward { .. })) => NextHopState::Forward,
            (_, Some(Resolution::Down) | None) => NextHopState::Down(match way {
                Some(Way::Unreachable(reason)) => reason,
                _ => Reason::NoRoute,
            }),
        };
        let neighbour = match way {
            Some(Way::OnLink { ifindex, gateway }) => Some((ifindex, gateway)),
            _ => None,
        };
        let ifindex = match view.key {
            NextHopKey::Glean { ifindex } => Some(ifindex),
            _ => neighbour.map(|(ifindex, _)| ifindex),
        };
        let (port, mac) = match view.resolution {
            Some(Resolution::Forward { adjacency, .. }) => {
                (self.ports.name(adjacency.port), Some(Mac(adjacency.dst_mac)))
            }
            _ => (ifindex.and_then(|ifindex| self.interface_name(ifindex)), None),
        };
        NextHopRow {
            id: Some(view.id.0),
            key: view.key,
            state,
            gateway: neighbour.map(|(_, gateway)| gateway).filter(|gateway| match view.key {
                NextHopKey::Via { addr, .. } => bare(addr) != *gateway,
                _ => false,
            }),
            port: port.map(str::to_owned),
            mac,
            resolved: self.resolved(view.key),
            suspect: view.suspect,
            shares: 1,
            sets: view.sets,
            counter: self.next_hop_counter(view.id),
        }
    }

    /// Next hops that the RIB asks about and no route leads to: those that cannot be reached, mostly.
    fn unused_next_hops(&self) -> impl Iterator<Item = NextHopRow> + '_ {
        let unused = self.next_hops.iter().filter(|(_, next_hop)| next_hop.id.is_none());
        unused.map(|(&addr, next_hop)| {
            let (state, gateway, ifindex) = match next_hop.found.way {
                Way::OnLink { ifindex, gateway } => (
                    NextHopState::Unused,
                    Some(gateway).filter(|gateway| *gateway != bare(addr)),
                    Some(ifindex),
                ),
                Way::Unreachable(reason) => (NextHopState::Down(reason), None, None),
            };
            NextHopRow {
                id: None,
                key: NextHopKey::Via { addr, ifindex: 0 },
                state,
                gateway,
                port: ifindex.and_then(|ifindex| self.interface_name(ifindex)).map(str::to_owned),
                mac: None,
                resolved: Some(next_hop.found),
                suspect: false,
                shares: 1,
                sets: 0,
                counter: Counter::default(),
            }
        })
    }

    fn resolved(&self, key: NextHopKey) -> Option<Resolved> {
        match key {
            NextHopKey::Via { addr, ifindex: 0 } => Some(self.next_hops.get(&addr)?.found),
            _ => None,
        }
    }

    fn interface_name(&self, ifindex: u32) -> Option<&str> {
        self.topology.links().get(&ifindex).map(|link| link.name.as_str())
    }

    fn next_hop_counter(&self, id: NextHopId) -> Counter {
        self.plane.next_hop_counters(id.0)
    }

    fn counters(&self) -> PlaneCounters {
        let ports = self.ports.status();
        PlaneCounters {
            verdicts: self.plane.verdict_counters(),
            ports: ports.into_iter().map(|port| (port.name, self.plane.port_counters(port.id))).collect(),
        }
    }
}
