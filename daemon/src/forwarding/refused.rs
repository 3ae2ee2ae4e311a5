//! Routes that found no room: no next hop, or no set of next hops, was free for them.
//!
//! A neighbour can make them by the million, with a next hop for each. So they are counted as they come and go,
//! and tried again a few at a time, all of them in turn: one that still finds no room keeps no other one waiting,
//! which may share the next hops of routes that are installed by now.

use std::collections::BTreeMap;
use std::ops::Bound;

use fib::Family;
use ipnet::IpNet;

use super::RouteTarget;

/// What each prefix is meant to lead to.
#[derive(Debug, Default)]
pub(super) struct Refused {
    routes: BTreeMap<IpNet, RouteTarget>,
    /// By family, IPv6 second.
    counts: [usize; 2],
    /// The last one that was tried again.
    tried: Option<IpNet>,
}

impl Refused {
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub(super) fn contains(&self, prefix: IpNet) -> bool {
        self.routes.contains_key(&prefix)
    }

    /// How many there are, IPv4 and IPv6.
    pub(super) fn counts(&self) -> [usize; 2] {
        self.counts
    }

    pub(super) fn insert(&mut self, prefix: IpNet, target: RouteTarget) {
        if self.routes.insert(prefix, target).is_none() {
            self.counts[usize::from(prefix.addr().is_ipv6())] += 1;
        }
    }

    pub(super) fn remove(&mut self, prefix: IpNet) -> Option<RouteTarget> {
        let target = self.routes.remove(&prefix)?;
        self.counts[usize::from(prefix.addr().is_ipv6())] -= 1;
        Some(target)
    }

    /// Those of a family in prefix order, from behind one on.
    pub(super) fn after(&self, family: Family, after: Option<IpNet>) -> impl Iterator<Item = IpNet> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let prefixes = self.routes.range((from, Bound::Unbounded)).map(|(prefix, _)| *prefix);
        prefixes.filter(move |prefix| prefix.addr().is_ipv6() == (family == Family::Ipv6))
    }

    /// This one was the last that was tried, and not the whole turn.
    pub(super) fn turn_ends(&mut self, prefix: IpNet) {
        self.tried = Some(prefix);
    }

    /// Up to so many that are to be tried now; the next ones will be those behind them.
    pub(super) fn turn(&mut self, most: usize) -> Vec<(IpNet, RouteTarget)> {
        let from = self.tried.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.routes.range((from, Bound::Unbounded));
        let all = behind.chain(self.routes.iter()).take(most.min(self.routes.len()));
        let turn: Vec<_> = all.map(|(prefix, target)| (*prefix, target.clone())).collect();
        self.tried = turn.last().map(|(prefix, _)| *prefix);
        turn
    }
}
