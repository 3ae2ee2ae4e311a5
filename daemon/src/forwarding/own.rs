//! Routes that follow from the kernel's state alone: local, host, connected and static ones.
//!
//! They go before BGP routes of the same prefix, which are put aside and come back when theirs goes.
//! [`Topology::own_routes`](super::topology::Topology::own_routes) says what there should be; here the
//! FIB is brought in line with that.

use fib::{FibError, NextHopKey};
use ipnet::IpNet;
use tracing::error;

use super::RouteTarget;
use super::forwarder::Forwarder;
use super::plane::Plane;
use super::query::RouteSource;
use super::topology::{Own, Way};

impl<P: Plane> Forwarder<P> {
    /// Brings the routes of the kernel's own state in line with that state.
    pub(super) fn reconcile_own(&mut self) {
        let wanted = self.topology.own_routes();
        let before = std::mem::take(&mut self.own);
        for &prefix in before.keys().filter(|prefix| !wanted.contains_key(prefix)) {
            match self.shadowed.remove(&prefix) {
                Some(target) => self.insert(prefix, target),
                None => self.remove(prefix),
            }
        }
        for (prefix, own) in wanted {
            if !before.contains_key(&prefix) {
                self.shadow(prefix);
            }
            if before.get(&prefix) != Some(&own)
                && let Err(error) = self.install_own(prefix, own)
            {
                error!(%prefix, %error, "a connected or local route is not installed, will be tried again");
                self.fib.remove(prefix);
                // Not in `own` as what it should be: found missing the next time.
                self.net_changed = true;
            }
            self.own.insert(prefix, own);
            if let Own::Host { ifindex } = own {
                let addr = prefix.addr();
                let key = NextHopKey::Via { addr, ifindex };
                let resolution = self.topology.resolution(Way::OnLink { ifindex, gateway: addr });
                if let Some(id) = self.fib.find_next_hop(key)
                    && let Err(error) = self.fib.resolve(id, resolution)
                {
                    error!(neighbour = %addr, %error, "cannot resolve a neighbour");
                }
            }
        }
        if self.net_changed {
            let missing: Vec<IpNet> =
                self.own.keys().filter(|prefix| self.fib.route(**prefix).is_none()).copied().collect();
            for prefix in missing {
                self.own.remove(&prefix);
            }
        }
    }

    fn install_own(&mut self, prefix: IpNet, own: Own) -> Result<(), FibError> {
        let key = match own {
            Own::Local => NextHopKey::Local,
            Own::Connected { ifindex } | Own::Kernel { ifindex } => NextHopKey::Glean { ifindex },
            Own::Host { ifindex } => NextHopKey::Via { addr: prefix.addr(), ifindex },
        };
        self.insert_single(prefix, key)
    }

    /// Puts the BGP route of a prefix aside.
    fn shadow(&mut self, prefix: IpNet) {
        if let Some(target) = self.refused.remove(prefix) {
            self.shadowed.insert(prefix, target);
            return;
        }
        let Some(route) = self.fib.route(prefix) else { return };
        let members = self.fib.set_members(route.set).unwrap_or_default();
        let keys = members.iter().filter_map(|&id| Some(self.fib.next_hop_view(id)?.key));
        let mut next_hops = Vec::with_capacity(members.len());
        for key in keys {
            let single = match key {
                NextHopKey::Reject => RouteTarget::Reject,
                NextHopKey::Blackhole => RouteTarget::Blackhole,
                NextHopKey::Via { addr, ifindex: 0 } => {
                    next_hops.push(addr);
                    continue;
                }
                _ => continue,
            };
            self.shadowed.insert(prefix, single);
            return;
        }
        if !next_hops.is_empty() {
            let backup = self.fib.set_backup(route.set).and_then(|id| self.fib.next_hop_view(id));
            let backup = backup.and_then(|view| match view.key {
                NextHopKey::Via { addr, ifindex: 0 } => Some(addr),
                _ => None,
            });
            self.shadowed.insert(prefix, RouteTarget::Via { next_hops, backup });
        }
    }

    /// Where a route comes from.
    pub(super) fn source(&self, prefix: IpNet) -> RouteSource {
        match self.own.get(&prefix) {
            Some(Own::Local) => RouteSource::Local,
            Some(Own::Host { .. }) => RouteSource::Host,
            Some(Own::Connected { .. }) => RouteSource::Connected,
            Some(Own::Kernel { .. }) => RouteSource::Kernel,
            None => RouteSource::Bgp,
        }
    }
}
