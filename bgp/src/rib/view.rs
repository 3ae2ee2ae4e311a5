//! Questions about the routes, for `show` and `explain`.
//!
//! Attributes are read from their bytes and the decision is run again for each prefix shown, so that a
//! route costs nothing to be shown later. Lists come in pages: one page is one pass over the table of
//! the family (milliseconds for a million prefixes), so that a page should be some hundreds of
//! routes, and other work fits between two pages.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::{Decision, PolicyContext, PolicyNeighbor};
use crate::types::{Family, PeerId};
use crate::wire::Attributes;

pub use super::generations::Standing;

use super::attrs::AttrId;
use super::core::{Core, Plane};
use super::decision::{DecisionStep, decide};
use super::key::Bits;
use super::next_hops::NextHopState;
use super::out::Advertised;
use super::path::{Ineligible, Path};
use super::table::pending;
use super::{BestRoute, Rib};

/// A prefix and all its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// The prefix.
    pub prefix: IpNet,
    /// The best one first, then the others by peer and path identifier.
    pub paths: Vec<PathView>,
    /// The last step that was needed to find the best path; `None` when there is none.
    pub decided_by: Option<DecisionStep>,
    /// The interior cost of the best path's next hop.
    pub best_interior_cost: Option<u32>,
    /// What the forwarding plane said of the best path.
    pub forwarding: ForwardingState,
}

impl RouteView {
    fn ends_covering(&self, wanted: Wanted) -> bool {
        wanted != Wanted::All || self.paths.iter().any(|path| path.best)
    }

    /// What all shards together answer to [`Rib::covering`], of what each one did.
    pub fn merge_covering(shards: impl IntoIterator<Item = Vec<Self>>, wanted: Wanted) -> Vec<Self> {
        let mut merged: Vec<Self> = shards.into_iter().flatten().collect();
        merged.sort_by_key(|view| std::cmp::Reverse(view.prefix.prefix_len()));
        let end = merged.iter().position(|view| view.ends_covering(wanted));
        merged.truncate(end.map_or(merged.len(), |last| last + 1));
        merged
    }
}

/// Whether the best path of a prefix is in the forwarding plane, as far as the RIB was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingState {
    /// Nothing is waited for.
    Settled,
    /// The forwarding plane has not answered yet.
    Pending,
    /// The forwarding plane could not take it, and it is not announced.
    NotInstalled,
}

/// One path of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathView {
    /// Whose it is.
    pub peer: PeerId,
    /// The address of that peer; `None` when it is this router.
    pub neighbor: Option<IpAddr>,
    /// The identifier by which the peer tells it from its other paths (RFC 7911).
    pub path_id: Option<u32>,
    /// Its attributes after import policy.
    pub attributes: Attributes,
    /// Its attributes as received, when policy changed them.
    pub received: Option<Attributes>,
    /// The name of its attribute set.
    pub attr: AttrId,
    /// Whether it is the best path.
    pub best: bool,
    /// Whether it carries traffic.
    pub multipath: bool,
    /// Why it takes no part in the decision.
    pub ineligible: Option<Ineligible>,
    /// The policy and rule that rejected it, in words.
    pub rejected_by: Option<String>,
    /// Where it lost to others.
    pub lost_at: Option<DecisionStep>,
    /// Traffic to it is dropped, as its community asks (RFC 7999).
    pub blackhole: bool,
    /// Whether it is of the present session.
    pub standing: Standing,
    /// The interior cost of its next hop, as far as it is known.
    pub interior_cost: Option<u32>,
}

/// Which prefixes, and which of their paths, a list is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All paths of all prefixes.
    All,
    /// What a peer sent.
    Received(PeerId),
    /// What a peer sent and is not used, for whatever reason but losing.
    Rejected(PeerId),
}

impl Wanted {
    fn wants(self, path: Path) -> bool {
        match self {
            Self::All => true,
            Self::Received(peer) => path.peer == peer.0,
            Self::Rejected(peer) => path.peer == peer.0 && !path.eligible(),
        }
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it, in order of prefixes.
    pub items: Vec<T>,
    /// Where the next page begins: pass it as `after`. `None`: this was the last one.
    pub next: Option<IpNet>,
}

impl<T> Page<T> {
    /// One page out of those that all shards gave for the same place. It goes on where the first of them
    /// ends; what others had behind that is on the next page again.
    pub fn merge(pages: impl IntoIterator<Item = Self>, prefix: impl Fn(&T) -> IpNet) -> Self {
        let mut merged = Self { items: Vec::new(), next: None };
        for page in pages {
            merged.items.extend(page.items);
            merged.next = merged.next.into_iter().chain(page.next).min();
        }
        if let Some(last) = merged.next {
            merged.items.retain(|item| prefix(item) <= last);
        }
        merged.items.sort_by_key(prefix);
        merged
    }
}

/// Routes of a peer, counted over a part of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Paths of the peer that are not usable, by reason.
    pub rejected: HashMap<Ineligible, usize>,
    /// Prefixes that the peer was announced and not withdrawn; while it is behind, perhaps.
    pub advertised: usize,
    /// Where to go on; `None`: this was all.
    pub next: Option<u32>,
}

impl Rib {
    /// Counts what is rejected of a peer's and advertised to it, over up to `limit` prefixes from `from` on, which
    /// is 0 at first.
    pub fn tally(&self, peer: PeerId, family: Family, from: u32, limit: usize) -> Tally {
        let group = self.export_group(peer);
        match family {
            Family::Ipv4Unicast => self.v4.tally(peer.0, group, from, limit),
            Family::Ipv6Unicast => self.v6.tally(peer.0, group, from, limit),
        }
    }

    /// A prefix and its paths.
    pub fn lookup(&self, prefix: IpNet) -> Option<RouteView> {
        match prefix.trunc() {
            IpNet::V4(net) => {
                let id = self.v4.table.find(net.network().to_bits(), net.prefix_len())?;
                self.v4.view(&self.core, id, Wanted::All)
            }
            IpNet::V6(net) => {
                let id = self.v6.table.find(net.network().to_bits(), net.prefix_len())?;
                self.v6.view(&self.core, id, Wanted::All)
            }
        }
    }

    /// The longest prefix covering an address that has wanted paths. When all paths are wanted, it stands behind
    /// those longer ones that have no best path.
    pub fn covering(&self, address: IpAddr, wanted: Wanted) -> Vec<RouteView> {
        match address {
            IpAddr::V4(address) => self.v4.covering(&self.core, address.to_bits(), wanted),
            IpAddr::V6(address) => self.v6.covering(&self.core, address.to_bits(), wanted),
        }
    }

    /// Up to `limit` routes of a family behind `after`, within `within` if given.
    pub fn routes(
        &self,
        family: Family,
        wanted: Wanted,
        within: Option<IpNet>,
        after: Option<IpNet>,
        limit: usize,
    ) -> Page<RouteView> {
        match family {
            Family::Ipv4Unicast => self.v4.page(&self.core, wanted, within, after, limit),
            Family::Ipv6Unicast => self.v6.page(&self.core, wanted, within, after, limit),
        }
    }

    /// Routes of a family behind `after` that a peer is sent, as it is sent them, within `within` if given. At most `limit` are looked
    /// at: what export policy keeps back leaves a page short, or empty, and is no sign of its end.
    pub fn advertised(
        &self,
        peer: PeerId,
        family: Family,
        within: Option<IpNet>,
        after: Option<IpNet>,
        limit: usize,
    ) -> Page<Advertised> {
        match family {
            Family::Ipv4Unicast => self.advertised_of(&self.v4, peer, within, after, limit),
            Family::Ipv6Unicast => self.advertised_of(&self.v6, peer, within, after, limit),
        }
    }

    /// The best route of a prefix.
    pub fn best(&self, prefix: IpNet) -> Option<BestRoute> {
        match prefix.trunc() {
            IpNet::V4(net) => self.v4.best_of(&self.core, net.network().to_bits(), net.prefix_len()),
            IpNet::V6(net) => self.v6.best_of(&self.core, net.network().to_bits(), net.prefix_len()),
        }
    }

    fn advertised_of<K: Bits>(
        &self,
        plane: &Plane<K>,
        peer: PeerId,
        within: Option<IpNet>,
        after: Option<IpNet>,
        limit: usize,
    ) -> Page<Advertised> {
        let of_net = |net: Option<IpNet>| net.as_ref().and_then(K::of_net);
        let elsewhere = within.is_some() && of_net(within).is_none();
        let Some((group, config)) = self.export_config(peer).filter(|_| !elsewhere) else {
            return Page { items: Vec::new(), next: None };
        };
        let paths = config.encode.add_path.contains(K::FAMILY);
        let default = plane.default_route.filter(|_| config.rules.default_originate.is_some());
        let others = |id| plane.table.paths(id).iter().any(|path| path.eligible() && path.peer != peer.0);
        let wanted = |id| match plane.table.best(id) {
            _ if default.is_some_and(|(default, _)| default == id) => true,
            Some(best) => paths || best.peer != peer.0 || (config.route_server && others(id)),
            None => false,
        };
        let ids = plane.table.page(of_net(after), of_net(within), limit, wanted);
        let next = ids.last().filter(|_| ids.len() == limit).map(|&id| plane.table.prefix(id));
        let items = ids.iter().flat_map(|&id| plane.told(&self.core, config, group, peer, id)).collect();
        Page { items, next: next.map(|(bits, length)| bits.net(length)) }
    }
}

impl<K: Bits> Plane<K> {
    fn best_of(&self, core: &Core, bits: K, length: u8) -> Option<BestRoute> {
        let id = self.table.find(bits, length)?;
        Some(self.best_route(core, id, self.table.best(id)?))
    }

    fn tally(&self, peer: u16, group: Option<usize>, from: u32, limit: usize) -> Tally {
        let mut tally = Tally::default();
        let mut next = from;
        for _ in 0..limit {
            let Some(id) = self.table.next_live(next) else { return tally };
            next = id + 1;
            let of_peer = self.table.paths(id).iter().filter(|path| path.peer == peer);
            for reason in of_peer.filter_map(|path| path.ineligible()) {
                *tally.rejected.entry(reason).or_default() += 1;
            }
            tally.advertised += usize::from(self.holds(group, peer, id));
        }
        tally.next = Some(next);
        tally
    }

    fn covering(&self, core: &Core, bits: K, wanted: Wanted) -> Vec<RouteView> {
        let mut covering = Vec::new();
        for id in self.table.covering(bits) {
            let Some(view) = self.view(core, id, wanted) else { continue };
            let ends = view.ends_covering(wanted);
            covering.push(view);
            if ends {
                break;
            }
        }
        covering
    }

    fn page(
        &self,
        core: &Core,
        wanted: Wanted,
        within: Option<IpNet>,
        after: Option<IpNet>,
        limit: usize,
    ) -> Page<RouteView> {
        let place = |net: Option<IpNet>| net.as_ref().and_then(K::of_net);
        if within.is_some() && place(within).is_none() {
            return Page { items: Vec::new(), next: None };
        }
        let has_any = |id| self.table.paths(id).iter().any(|path| wanted.wants(*path));
        let ids = self.table.page(place(after), place(within), limit, has_any);
        let items: Vec<_> = ids.into_iter().filter_map(|id| self.view(core, id, wanted)).collect();
        let next = items.last().filter(|_| items.len() == limit).map(|last| last.prefix);
        Page { items, next }
    }

    /// A prefix with its wanted paths; `None` when there are none.
    fn view(&self, core: &Core, id: u32, wanted: Wanted) -> Option<RouteView> {
        let paths = self.table.paths(id);
        let (bits, length) = self.table.prefix(id);
        let prefix = bits.net(length);
        let eligible: Vec<usize> = (0..paths.len()).filter(|&index| paths[index].eligible()).collect();
        let candidates: Vec<_> = eligible.iter().map(|&index| core.candidate(paths[index])).collect();
        let ranked = decide(&candidates, &core.rules);
        let lost_at = |index: usize| {
            let place = eligible.iter().position(|&other| other == index)?;
            ranked.as_ref()?.lost_at[place]
        };
        let mut shown: Vec<PathView> = paths
            .iter()
            .enumerate()
            .filter(|(_, path)| wanted.wants(**path))
            .filter_map(|(index, path)| core.path_view::<K>(*path, prefix, lost_at(index)))
            .collect();
        if shown.is_empty() {
            return None;
        }
        shown.sort_by_key(|path| (!path.best, path.peer, path.path_id));
        let forwarding = if self.table.is_pending(id, pending::NOT_INSTALLED) {
            ForwardingState::NotInstalled
        } else if self.table.is_pending(id, pending::FORWARDING) {
            ForwardingState::Pending
        } else {
            ForwardingState::Settled
        };
        Some(RouteView {
            prefix,
            paths: shown,
            best_interior_cost: ranked.as_ref().map(|ranked| candidates[ranked.best].interior_cost),
            decided_by: ranked.map(|ranked| ranked.decided_by),
            forwarding,
        })
    }
}

impl Core {
    fn path_view<K: Bits>(
        &self,
        path: Path,
        prefix: IpNet,
        lost_at: Option<DecisionStep>,
    ) -> Option<PathView> {
        let standing = self.peer(path.peer)?.generations[K::FAMILY.index()].standing(path);
        let ineligible = path.ineligible();
        let received = Some(self.received(path)).filter(|received| *received != path.attr);
        let received = received.and_then(|received| self.attrs.attributes(received));
        let mut attributes = self.attrs.attributes(path.attr)?;
        let rejected_by = match ineligible {
            Some(Ineligible::RejectedByPolicy) => self.rejection(path, prefix, &attributes),
            _ => None,
        };
        attributes.otc = attributes.otc.or_else(|| self.peer(path.peer)?.session.otc());
        Some(PathView {
            peer: PeerId(path.peer),
            neighbor: self.address(path.peer),
            path_id: self.path_id(path),
            attributes,
            received,
            attr: AttrId(path.attr),
            best: path.has(Path::BEST),
            multipath: path.has(Path::MULTIPATH),
            ineligible,
            rejected_by,
            lost_at,
            blackhole: path.has(Path::BLACKHOLE),
            standing,
            interior_cost: match self.attrs.next_hops.state(self.attrs.summary(path.attr).next_hop) {
                NextHopState::Reachable { cost } => Some(cost),
                NextHopState::Unknown | NextHopState::Unreachable => None,
            },
        })
    }

    /// Asks import policy again, for its words.
    fn rejection(&self, path: Path, prefix: IpNet, attributes: &Attributes) -> Option<String> {
        let session = &self.peer(path.peer)?.session;
        let neighbor = PolicyNeighbor { address: session.address, asn: session.asn };
        let context = PolicyContext::import(session.local_asn, neighbor, session.kind);
        let context = PolicyContext { present: self.present, ..context };
        match session.import.evaluate(prefix, Cow::Borrowed(attributes), &context) {
            Decision::Reject(rejection) => Some(rejection.to_string()),
            Decision::Accept(_) => None,
        }
    }
}
