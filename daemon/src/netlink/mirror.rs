//! A copy of what the kernel reported, which turns [`Change`]s into news.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::parse::{Change, Route};
use super::{Link, Neighbour, NetEvent, RouteHop};

/// Links, addresses, neighbours and main-table routes, as far as known.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    links: BTreeMap<u32, Link>,
    addresses: BTreeSet<(u32, IpNet)>,
    neighbours: HashMap<(u32, IpAddr), Neighbour>,
    /// By prefix and metric. The lowest metric is the one that the kernel uses.
    routes: BTreeMap<IpNet, BTreeMap<u32, Vec<RouteHop>>>,
}

/// Whether the mirror can be relied on after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Trust {
    Kept,
    /// The kernel may have changed more than it told.
    Lost,
}

impl Mirror {
    /// All links, by interface index.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The link with this interface index.
    pub fn link(&self, ifindex: u32) -> Option<&Link> {
        self.links.get(&ifindex)
    }

    /// The link with this name.
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// All addresses with their interface, host bits kept.
    pub fn addresses(&self) -> impl Iterator<Item = (u32, IpNet)> + '_ {
        self.addresses.iter().copied()
    }

    /// One neighbour.
    pub fn neighbour(&self, ifindex: u32, ip: IpAddr) -> Option<&Neighbour> {
        self.neighbours.get(&(ifindex, ip))
    }

    /// Everything, as if it had just appeared: links first, then addresses, routes and neighbours.
    pub fn events(&self) -> Vec<NetEvent> {
        Self::default().catch_up(self.clone())
    }

    /// Takes one change in and appends what is new to `events`.
    pub(super) fn apply(&mut self, change: Change, events: &mut Vec<NetEvent>) -> Trust {
        match change {
            Change::Link(link) => {
                let before = self.links.insert(link.ifindex, link.clone());
                let disabled = before.as_ref().is_some_and(|old| old.enabled) && !link.enabled;
                if before.as_ref() != Some(&link) {
                    events.push(NetEvent::Link(link));
                }
                if disabled { Trust::Lost } else { Trust::Kept }
            }
            Change::LinkGone(ifindex) => {
                self.remove_link(ifindex, events);
                Trust::Lost
            }
            Change::Address { ifindex, net, added: true } => {
                if self.addresses.insert((ifindex, net)) {
                    events.push(NetEvent::Address { ifindex, net, added: true });
                }
                Trust::Kept
            }
            Change::Address { ifindex, net, added: false } => {
                if self.addresses.remove(&(ifindex, net)) {
                    events.push(NetEvent::Address { ifindex, net, added: false });
                }
                Trust::Lost
            }
            Change::Neighbour(neighbour) => {
                let key = (neighbour.ifindex, neighbour.ip);
                let before = self.neighbours.insert(key, neighbour);
                let news = match before {
                    Some(old) => !neighbour.forwards_like(&old),
                    None => neighbour.usable,
                };
                if news {
                    events.push(NetEvent::Neighbour(neighbour));
                }
                Trust::Kept
            }
            Change::NeighbourGone { ifindex, ip } => {
                if self.neighbours.remove(&(ifindex, ip)).is_some_and(|old| old.usable) {
                    events.push(gone(ifindex, ip));
                }
                Trust::Kept
            }
            Change::Route(route) => {
                let merged = route.merged;
                let prefix = route.prefix;
                let before = self.best(prefix);
                self.routes.entry(prefix).or_default().insert(route.metric, route.hops);
                self.report_route(prefix, before.as_ref(), events);
                if merged { Trust::Lost } else { Trust::Kept }
            }
            Change::RouteGone(route) => self.remove_route(&route, events),
        }
    }

    /// Becomes `fresh` and returns what that changes.
    pub(super) fn catch_up(&mut self, fresh: Self) -> Vec<NetEvent> {
        let mut events = Vec::new();
        let vanished: Vec<u32> =
            self.links.keys().filter(|i| !fresh.links.contains_key(i)).copied().collect();
        for ifindex in vanished {
            self.remove_link(ifindex, &mut events);
        }
        for (ifindex, link) in &fresh.links {
            if self.links.get(ifindex) != Some(link) {
                events.push(NetEvent::Link(link.clone()));
            }
        }
        for &(ifindex, net) in self.addresses.difference(&fresh.addresses) {
            events.push(NetEvent::Address { ifindex, net, added: false });
        }
        for &(ifindex, net) in fresh.addresses.difference(&self.addresses) {
            events.push(NetEvent::Address { ifindex, net, added: true });
        }
        for prefix in self.routes.keys().filter(|prefix| !fresh.routes.contains_key(prefix)) {
            events.push(NetEvent::Route { prefix: *prefix, metric: 0, hops: Vec::new() });
        }
        for &prefix in fresh.routes.keys() {
            fresh.report_route(prefix, self.best(prefix).as_ref(), &mut events);
        }
        for (&(ifindex, ip), old) in &self.neighbours {
            if old.usable && !fresh.neighbours.contains_key(&(ifindex, ip)) {
                events.push(gone(ifindex, ip));
            }
        }
        for (key, neighbour) in &fresh.neighbours {
            let known = self.neighbours.get(key);
            if known.map_or(neighbour.usable, |old| !neighbour.forwards_like(old)) {
                events.push(NetEvent::Neighbour(*neighbour));
            }
        }
        *self = fresh;
        events
    }

    /// A link takes everything on it along; the kernel does not always say so.
    fn remove_link(&mut self, ifindex: u32, events: &mut Vec<NetEvent>) {
        if self.links.remove(&ifindex).is_none() {
            return;
        }
        self.neighbours.retain(|&(on, ip), old| {
            if on == ifindex && old.usable {
                events.push(gone(on, ip));
            }
            on != ifindex
        });
        self.addresses.retain(|&(on, net)| {
            if on == ifindex {
                events.push(NetEvent::Address { ifindex, net, added: false });
            }
            on != ifindex
        });
        let over: Vec<IpNet> = self
            .routes
            .iter()
            .filter(|(_, by_metric)| by_metric.values().flatten().any(|hop| hop.ifindex == ifindex))
            .map(|(prefix, _)| *prefix)
            .collect();
        for prefix in over {
            let before = self.best(prefix);
            if let Some(by_metric) = self.routes.get_mut(&prefix) {
                by_metric.retain(|_, hops| {
                    hops.retain(|hop| hop.ifindex != ifindex);
                    !hops.is_empty()
                });
                if by_metric.is_empty() {
                    self.routes.remove(&prefix);
                }
            }
            self.report_route(prefix, before.as_ref(), events);
        }
        events.push(NetEvent::LinkGone { ifindex });
    }

    fn remove_route(&mut self, route: &Route, events: &mut Vec<NetEvent>) -> Trust {
        let prefix = route.prefix;
        let before = self.best(prefix);
        let Some(by_metric) = self.routes.get_mut(&prefix) else { return Trust::Kept };
        let Some(known) = by_metric.get_mut(&route.metric) else { return Trust::Kept };
        // One of several: the message names only the hops that went.
        known.retain(|hop| !route.hops.contains(hop));
        if known.is_empty() {
            by_metric.remove(&route.metric);
        }
        if by_metric.is_empty() {
            self.routes.remove(&prefix);
        }
        self.report_route(prefix, before.as_ref(), events);
        // A route that was hidden by this one (`ip route append`) shows only in a dump.
        Trust::Lost
    }

    /// Whether a route with this prefix and metric is known.
    pub(super) fn has_route(&self, route: &Route) -> bool {
        self.routes.get(&route.prefix).is_some_and(|by_metric| by_metric.contains_key(&route.metric))
    }

    /// Metric and hops of the route that the kernel uses.
    fn best(&self, prefix: IpNet) -> Option<(u32, Vec<RouteHop>)> {
        let (metric, hops) = self.routes.get(&prefix)?.first_key_value()?;
        Some((*metric, hops.clone()))
    }

    fn report_route(&self, prefix: IpNet, before: Option<&(u32, Vec<RouteHop>)>, events: &mut Vec<NetEvent>) {
        let now = self.best(prefix);
        if now.as_ref() != before {
            let (metric, hops) = now.unwrap_or_default();
            events.push(NetEvent::Route { prefix, metric, hops });
        }
    }
}

fn gone(ifindex: u32, ip: IpAddr) -> NetEvent {
    NetEvent::Neighbour(Neighbour { ifindex, ip, mac: None, usable: false, permanent: false, managed: false })
}
