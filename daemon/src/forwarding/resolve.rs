//! How next hops of BGP routes are reached: by the kernel's routes, or by other BGP routes.
//!
//! The longest match decides, with two exceptions. What is on a connected subnet is there, whatever more
//! specific routes neighbours announce. And a BGP route never leads to its own next hop, not even by way
//! of others: where a search comes round to an address that it passed already, the route is passed over for
//! the next less specific one. So a route that comes can make next hops reachable, and never the one
//! that it depends on itself unreachable.
//!
//! That alone does not keep a next hop from flapping: a path of a prefix may be best as soon as a worse path of
//! the same prefix makes its next hop reachable, and take the place of the one by which it is. So a route that
//! led to a next hop and came to depend on it does not resolve it for a while, twice as long each time
//! ([`Shunned`]); meanwhile the worse path stays.
//!
//! The interior cost (RFC 4271 section 9.1.2.2 e) is 0 on a connected subnet, and else the metric of the
//! kernel's route that the search ends with. Default routes resolve nothing unless `[decision]
//! next-hop-via-default` says so.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fib::NextHopKey;
use ipnet::IpNet;
use tracing::debug;

use super::forwarder::Forwarder;
use super::plane::Plane;
use super::topology::{Reason, Way};

/// Next hops in a row that resolve one another.
const DEEPEST: usize = 4;
/// BGP routes looked at for one next hop: a bound for tables made to be searched for long.
const MOST_ROUTES: u32 = 64;

/// How long a route does not resolve the next hop that it came to depend on, at first and at most.
const SHUNNED: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(5)];

/// By what a next hop is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// A connected subnet.
    Connected(IpNet),
    /// A route through a gateway in the kernel's main table.
    Kernel(IpNet),
    /// A BGP route.
    Bgp(IpNet),
    /// The link that a link-local address is on.
    Link,
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(prefix) => write!(f, "connected {prefix}"),
            Self::Kernel(prefix) => write!(f, "kernel {prefix}"),
            Self::Bgp(prefix) => write!(f, "bgp {prefix}"),
            Self::Link => f.write_str("link-local"),
        }
    }
}

/// How a next hop is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Where packets go.
    pub way: Way,
    /// The interior cost, where there is a way.
    pub cost: u32,
    /// By what; `None` where nothing covers it.
    pub by: Option<Resolver>,
}

impl Resolved {
    /// The interior cost; `None` when there is no way.
    pub fn reachable(&self) -> Option<u32> {
        matches!(self.way, Way::OnLink { .. }).then_some(self.cost)
    }

    /// Whether BGP routes may have a say in it.
    pub(super) fn is_recursive(&self) -> bool {
        !matches!(
            (self.by, self.way),
            (Some(Resolver::Connected(_) | Resolver::Link), _) | (_, Way::Unreachable(Reason::OwnAddress))
        )
    }
}

/// A search among BGP routes.
struct Search {
    /// The next hops that lead to where it is.
    passed: Vec<IpAddr>,
    /// Routes that may still be looked at.
    left: u32,
    /// Whether a route was passed over since it leads to its own next hop.
    circular: bool,
}

/// The BGP routes that do not resolve a next hop, since they did and came to depend on it.
#[derive(Debug)]
pub(super) struct Shunned {
    prefixes: Vec<IpNet>,
    /// Until when.
    pub(super) until: Instant,
    /// For how long.
    pause: Duration,
}

impl<P: Plane> Forwarder<P> {
    /// How a next hop is reached now.
    pub(super) fn resolve(&self, addr: IpAddr) -> Resolved {
        self.search_from(addr).0
    }

    /// The same when it was reached in another way before.
    pub(super) fn resolve_again(&mut self, addr: IpAddr, before: Resolved) -> Resolved {
        let (found, circular) = self.search_from(addr);
        let Some(Resolver::Bgp(prefix)) = before.by.filter(|_| circular) else { return found };
        let closer =
            matches!(found.by, Some(Resolver::Bgp(other)) if other.prefix_len() >= prefix.prefix_len());
        if closer || before.reachable().is_none() || self.fib.route(prefix).is_none() {
            return found;
        }
        self.shun(addr, prefix);
        self.resolve(addr)
    }

    fn search_from(&self, addr: IpAddr) -> (Resolved, bool) {
        let mut search = Search { passed: Vec::new(), left: MOST_ROUTES, circular: false };
        let mut found = self.search(addr, &mut search);
        if found.way == Way::Unreachable(Reason::NoRoute)
            && self.shunned.get(&addr).is_some_and(|shunned| !shunned.prefixes.is_empty())
        {
            found.way = Way::Unreachable(Reason::Itself);
        }
        (found, search.circular)
    }

    fn shun(&mut self, addr: IpAddr, prefix: IpNet) {
        let now = Instant::now();
        let [first, most] = SHUNNED;
        let shunned = self.shunned.entry(addr).or_insert(Shunned {
            prefixes: Vec::new(),
            until: now,
            pause: Duration::ZERO,
        });
        if shunned.prefixes.is_empty() {
            let calm = now.saturating_duration_since(shunned.until) > most;
            shunned.pause = if calm { first } else { (2 * shunned.pause).clamp(first, most) };
            shunned.until = now + shunned.pause;
        }
        shunned.prefixes.push(prefix);
        debug!(next_hop = %addr, %prefix, pause = ?shunned.pause, "a BGP route depends on the next hop that it leads to");
    }

    /// When routes that are shunned are to be tried again.
    pub(super) fn shunned_until(&self) -> Option<Instant> {
        self.shunned
            .values()
            .filter(|shunned| !shunned.prefixes.is_empty())
            .map(|shunned| shunned.until)
            .min()
    }

    /// Lets routes resolve again that were shunned for long enough.
    pub(super) fn shun_no_longer(&mut self, now: Instant) {
        for shunned in self.shunned.values_mut().filter(|shunned| shunned.until <= now) {
            self.recursive_moved |= !shunned.prefixes.is_empty();
            shunned.prefixes.clear();
        }
    }

    fn search(&self, addr: IpAddr, search: &mut Search) -> Resolved {
        let by_kernel = self.topology.resolve(addr);
        if !by_kernel.is_recursive() || search.passed.len() == DEEPEST {
            return by_kernel;
        }
        let floor = match by_kernel.by {
            Some(Resolver::Kernel(prefix)) => prefix.prefix_len() + 1,
            _ => u8::from(!self.topology.resolves_by_default()),
        };
        search.passed.push(addr);
        let found = self.search_bgp(addr, floor, search);
        search.passed.pop();
        found.unwrap_or(by_kernel)
    }

    /// What a BGP route of at least this length makes of a next hop.
    fn search_bgp(&self, addr: IpAddr, floor: u8, search: &mut Search) -> Option<Resolved> {
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        for length in (floor..=longest).rev() {
            let prefix = IpNet::new(addr, length).ok()?.trunc();
            let Some(route) = self.fib.route(prefix).filter(|_| !self.own.contains_key(&prefix)) else {
                continue;
            };
            search.left = search.left.checked_sub(1)?;
            if self.shunned.get(&addr).is_some_and(|shunned| shunned.prefixes.contains(&prefix)) {
                continue;
            }
            let members = self.fib.set_members(route.set).unwrap_or_default();
            let keys = || members.iter().filter_map(|&id| Some(self.fib.next_hop_view(id)?.key));
            if keys().any(|key| !matches!(key, NextHopKey::Via { .. })) {
                // Packets to it would be dropped here.
                let way = Way::Unreachable(Reason::NoRoute);
                return Some(Resolved { way, cost: 0, by: Some(Resolver::Bgp(prefix)) });
            }
            let mut next_hops: Vec<IpAddr> = keys()
                .filter_map(|key| match key {
                    NextHopKey::Via { addr, .. } => Some(addr),
                    _ => None,
                })
                .collect();
            if next_hops.iter().any(|next_hop| search.passed.contains(next_hop)) {
                search.circular = true;
                continue;
            }
            // Of several that are as near the first one decides: not by which of them was heard of first.
            next_hops.sort_unstable();
            let ways = next_hops.iter().map(|next_hop| self.search(*next_hop, search));
            let nearest = ways.filter(|way| way.reachable().is_some()).min_by_key(|way| way.cost);
            if let Some(Resolved { way, cost, .. }) = nearest {
                return Some(Resolved { way, cost, by: Some(Resolver::Bgp(prefix)) });
            }
        }
        None
    }

    /// A BGP route came, changed or went: whether next hops may be resolved by it is looked at with the
    /// next flush.
    #[inline]
    pub(super) fn route_moved(&mut self, prefix: IpNet) {
        if self.recursive.is_empty() || self.recursive_moved {
            return;
        }
        let covered = self.recursive.range(prefix.network()..=prefix.broadcast()).next();
        self.recursive_moved = covered.is_some();
    }
}
