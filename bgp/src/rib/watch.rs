//! What a shard tells of its best routes to whoever originates routes that depend on them.
//!
//! An aggregate exists while routes within it do, and those lie in many shards; so does what a condition asks
//! for. A [`Watcher`] sees the best-path changes of one shard, keeps what of them matters, and says only what
//! its owner must know: whether a condition has routes here, and what the routes within an aggregate have in
//! common. One coordinator puts the answers of all shards together and decides; shards know nothing of
//! each other. Without anything to watch there is no watcher, and no work.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::policy::{Decision, PolicyChain, PolicyContext, PolicyNeighbor, PrefixList};
use crate::types::{Asn, PeerId};
use crate::wire::{AsPath, Attributes, Origin, SegmentKind};

use super::core::{Core, Plane};
use super::key::Bits;
use super::{BestChange, Rib};

/// What to watch for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchList {
    /// Aggregates.
    pub aggregates: Vec<Contributors>,
    /// Conditions: whether there is a best route to any prefix of a list. At most
    /// [`MAX_CONDITIONS`](crate::policy::MAX_CONDITIONS).
    pub conditions: Vec<Arc<PrefixList>>,
}

impl WatchList {
    /// Whether there is nothing to watch for.
    pub fn is_empty(&self) -> bool {
        self.aggregates.is_empty() && self.conditions.is_empty()
    }
}

/// Which routes make an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contributors {
    /// The aggregate: what is more specific contributes.
    pub prefix: IpNet,
    /// If they pass this chain.
    pub policy: PolicyChain,
    /// Tell the AS numbers of their paths.
    pub as_set: bool,
}

/// What a shard has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchNews {
    /// The routes within an aggregate; `None`: there are none any more.
    Aggregate {
        /// Which one, by its place in the list.
        index: usize,
        /// What they have in common.
        summary: Option<Summary>,
    },
    /// Whether a condition has routes.
    Condition {
        /// Which one, by its place in the list.
        index: usize,
        /// Whether it has.
        present: bool,
    },
}

/// What routes within an aggregate have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The worst ORIGIN (RFC 4271 section 9.2.2.2).
    pub origin: Origin,
    /// One of them has `ATOMIC_AGGREGATE`, or an AS path that an aggregate without AS numbers loses.
    pub atomic: bool,
    /// The AS numbers of their paths, where they are asked for.
    pub asns: BTreeSet<Asn>,
}

impl Summary {
    /// Adds what another shard has.
    pub fn absorb(&mut self, other: &Self) {
        self.origin = self.origin.max(other.origin);
        self.atomic |= other.atomic;
        self.asns.extend(&other.asns);
    }

    /// The AS path of the aggregate: empty, or one set with the AS numbers of all.
    pub fn as_path(&self) -> AsPath {
        let mut path = AsPath::new();
        path.push(SegmentKind::Set, self.asns.iter().copied());
        path
    }
}

/// What of a contributor matters.
#[derive(Debug)]
struct Contributor {
    origin: Origin,
    atomic: bool,
    /// Empty unless it is asked for.
    asns: Box<[Asn]>,
}

/// The routes of one aggregate in this shard.
#[derive(Debug, Default)]
struct Watched {
    routes: HashMap<IpNet, Contributor>,
    dirty: bool,
    told: Option<Summary>,
}

/// The eyes of one shard.
#[derive(Debug)]
pub struct Watcher {
    list: Arc<WatchList>,
    local_asn: Asn,
    aggregates: Vec<Watched>,
    /// The routes of each condition, and whether it was told that there are any.
    conditions: Vec<(HashSet<IpNet>, bool)>,
}

impl Watcher {
    /// One that has seen no route yet.
    pub fn new(list: Arc<WatchList>, local_asn: Asn) -> Self {
        let aggregates = list.aggregates.iter().map(|_| Watched::default()).collect();
        let conditions = list.conditions.iter().map(|_| (HashSet::new(), false)).collect();
        Self { list, local_asn, aggregates, conditions }
    }

    /// Sees a change before the RIB changes again.
    pub fn observe(&mut self, change: &BestChange, rib: &Rib) {
        let Self { list, local_asn, aggregates, conditions } = self;
        for (wanted, (routes, _)) in list.conditions.iter().zip(conditions) {
            if wanted.contains(change.prefix) {
                if change.best.is_some() {
                    routes.insert(change.prefix);
                } else {
                    routes.remove(&change.prefix);
                }
            }
        }
        for (wanted, watched) in list.aggregates.iter().zip(aggregates) {
            if wanted.prefix == change.prefix || !wanted.prefix.contains(&change.prefix) {
                continue;
            }
            let contributor = change.best.as_ref().and_then(|best| {
                let attributes = rib.attributes(best.attr)?;
                contributor(wanted, change.prefix, &attributes, &rib.context_of(best.peer, *local_asn))
            });
            let before = match contributor {
                Some(contributor) => watched.routes.insert(change.prefix, contributor).is_some(),
                None => watched.routes.remove(&change.prefix).is_some(),
            };
            watched.dirty |= before || watched.routes.contains_key(&change.prefix);
        }
    }

    /// What changed since the last call.
    pub fn drain(&mut self) -> Vec<WatchNews> {
        let mut news = Vec::new();
        for (index, watched) in self.aggregates.iter_mut().enumerate() {
            if !std::mem::take(&mut watched.dirty) {
                continue;
            }
            let summary = summary(watched.routes.values());
            if summary != watched.told {
                watched.told.clone_from(&summary);
                news.push(WatchNews::Aggregate { index, summary });
            }
        }
        for (index, (routes, told)) in self.conditions.iter_mut().enumerate() {
            let present = !routes.is_empty();
            if std::mem::replace(told, present) != present {
                news.push(WatchNews::Condition { index, present });
            }
        }
        news
    }
}

fn contributor(
    wanted: &Contributors,
    prefix: IpNet,
    attributes: &Attributes,
    context: &PolicyContext,
) -> Option<Contributor> {
    let accepted = wanted.policy.evaluate(prefix, Cow::Borrowed(attributes), context);
    if matches!(accepted, Decision::Reject(_)) {
        return None;
    }
    let path = &attributes.as_path;
    let asns = if wanted.as_set { path.asns().collect() } else { Box::default() };
    let atomic = attributes.atomic_aggregate || !(wanted.as_set || path.is_empty());
    Some(Contributor { origin: attributes.origin, atomic, asns })
}

fn summary<'a>(routes: impl Iterator<Item = &'a Contributor>) -> Option<Summary> {
    let mut sum: Option<Summary> = None;
    for route in routes {
        let sum =
            sum.get_or_insert_with(|| Summary { origin: route.origin, atomic: false, asns: BTreeSet::new() });
        sum.origin = sum.origin.max(route.origin);
        sum.atomic |= route.atomic;
        sum.asns.extend(&route.asns);
    }
    sum
}

impl Rib {
    /// Every best route, as if it had changed just now.
    pub fn replay(&self, mut see: impl FnMut(&BestChange)) {
        self.v4.replay(&self.core, &mut see);
        self.v6.replay(&self.core, &mut see);
    }

    /// What policy knows of a best route that is looked at for nobody in particular.
    fn context_of(&self, peer: PeerId, local_asn: Asn) -> PolicyContext {
        let context = PolicyContext { present: self.core.present, ..PolicyContext::new(local_asn) };
        match self.core.peer(peer.0).filter(|_| peer != PeerId::LOCAL) {
            None => context,
            Some(peer) => {
                let session = &peer.session;
                let from = PolicyNeighbor { address: session.address, asn: session.asn };
                PolicyContext { from: Some(from), route_type: session.kind.into(), ..context }
            }
        }
    }
}

impl<K: Bits> Plane<K> {
    fn replay(&self, core: &Core, see: &mut impl FnMut(&BestChange)) {
        let mut next = 0;
        while let Some(id) = self.table.next_live(next) {
            if let Some(best) = self.table.best(id) {
                let (bits, length) = self.table.prefix(id);
                let best = Some(self.best_route(core, id, best));
                see(&BestChange { prefix: bits.net(length), best });
            }
            next = id + 1;
        }
    }
}
