//! What both families share, and what each has for itself.
//!
//! [`Core`] holds attributes, peers and the working memory of decisions; a [`Plane`] holds the
//! table of one family with its pending changes, its sweep and its export journals. Everything on
//! the path of a route is a function of a plane with the core lent to it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::session::PeerKind;
use crate::types::{Asn, Family, PeerId, RouterId};
use crate::wire::{Attributes, Community};

use super::attrs::{AttributeStore, Identity};
use super::backup::Unbacked;
use super::decision::{Candidate, Filters, Rules};
use super::import::Ahead;
use super::key::Bits;
use super::limits::PrefixGauge;
use super::next_hops::NextHopState;
use super::out::journal::Journal;
use super::path::{Ineligible, Path};
use super::path_ids::PathIds;
use super::peers::{Peer, PeerCounts};
use super::reflection::Reflection;
use super::shares;
use super::sweep::Sweep;
use super::table::{Table, pending};
use super::{Announce, RibConfig, ShardSpec};

/// What both families share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) rules: Rules,
    /// The rules that were set last share by bandwidth and those before did not, or the other way round.
    pub(crate) reweigh: bool,
    pub(crate) asn: Asn,
    pub(crate) confederation: Option<Asn>,
    pub(crate) assume_reachable: bool,
    pub(crate) announce: Announce,
    pub(crate) shard: ShardSpec,
    /// The conditions that hold, one bit each (see [`super::watch`]).
    pub(crate) present: u64,
    /// Aggregates whose more specific routes are not announced.
    pub(crate) suppressing: Vec<IpNet>,
    pub(crate) attrs: AttributeStore,
    pub(crate) path_ids: PathIds,
    /// By peer id; the first is [`PeerId::LOCAL`].
    pub(crate) peers: Vec<Option<Peer>>,
    /// The clusters that clients of ours are in, besides the router's own.
    pub(crate) other_clusters: Vec<Ipv4Addr>,
    pub(crate) filters: Filters,
    pub(crate) candidates: Vec<Candidate>,
    /// Indexes of the paths that the candidates stand for.
    pub(crate) contenders: Vec<usize>,
}

impl Core {
    pub(crate) fn new(config: &RibConfig) -> Self {
        let identity = Identity {
            asn: config.local_asn,
            confederation: config.confederation,
            router_id: config.router_id,
            cluster_id: config.cluster_id,
        };
        Self {
            rules: config.rules,
            reweigh: false,
            asn: config.local_asn,
            confederation: config.confederation,
            assume_reachable: config.assume_reachable,
            announce: config.announce,
            shard: config.shard,
            present: 0,
            suppressing: Vec::new(),
            attrs: AttributeStore::new(identity),
            path_ids: PathIds::default(),
            peers: vec![Some(Peer::local(config.local_asn, config.router_id))],
            other_clusters: Vec::new(),
            filters: Filters::default(),
            candidates: Vec::new(),
            contenders: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn peer(&self, id: u16) -> Option<&Peer> {
        self.peers.get(usize::from(id))?.as_ref()
    }

    #[inline]
    pub(crate) fn peer_mut(&mut self, id: u16) -> Option<&mut Peer> {
        self.peers.get_mut(usize::from(id))?.as_mut()
    }

    /// The address of a peer; `None` for this router.
    pub(crate) fn address(&self, id: u16) -> Option<IpAddr> {
        self.peer(id).filter(|_| id != PeerId::LOCAL.0).map(|peer| peer.session.address)
    }

    /// [`Path::GENERATION`] of the paths that a peer announces now.
    #[inline]
    pub(crate) fn present_mark(&self, peer: u16, family: Family) -> u16 {
        self.peer(peer).map_or(0, |peer| peer.generations[family.index()].marks())
    }

    /// The limit on the prefixes that a peer announces.
    #[inline]
    pub(crate) fn receive_limit(&self, peer: u16, family: Family) -> Option<&PrefixGauge> {
        self.peer(peer)?.session.limits[family.index()].received.as_deref()
    }

    /// A path as far as the limit on accepted ones lets it be used, in place of another.
    #[inline]
    pub(crate) fn within_limit(&mut self, family: Family, old: Option<Path>, path: Path) -> Path {
        let within = self.peer_mut(path.peer).is_none_or(|peer| peer.admit(family, old, Some(path)));
        if within { path } else { Path { flags: path.flags | Ineligible::PrefixLimit.flags(), ..path } }
    }

    /// A path is taken out.
    #[inline]
    pub(crate) fn outside_limits(&mut self, family: Family, path: Path) {
        let Some(peer) = self.peer_mut(path.peer) else { return };
        if let Some(gauge) = &peer.session.limits[family.index()].received
            && peer.owns(family, path)
        {
            gauge.release(1);
        }
        peer.admit(family, Some(path), None);
    }

    /// The peers but the router itself.
    pub(crate) fn peer_ids(&self) -> Vec<PeerId> {
        self.peers.iter().flatten().map(|peer| peer.session.id).filter(|id| *id != PeerId::LOCAL).collect()
    }

    /// Takes note of a client's cluster; whether it is one that the router did not serve before.
    pub(crate) fn serves_new_cluster(&mut self, reflection: Reflection) -> bool {
        let cluster = reflection.cluster_id;
        let known = self.attrs.cluster_id() == cluster || self.other_clusters.contains(&cluster);
        let new = reflection.client && !known;
        if new {
            self.other_clusters.push(cluster);
        }
        new
    }

    /// Whether attributes went through a cluster of ours other than the router's own.
    pub(crate) fn passed_other_cluster(&self, attr: u32) -> bool {
        let others = &self.other_clusters;
        let passed = |attributes: Attributes| attributes.cluster_list.iter().any(|id| others.contains(id));
        !others.is_empty()
            && self.attrs.summary(attr).cluster_list_length() > 0
            && self.attrs.attributes(attr).is_some_and(passed)
    }

    /// The counts of a peer, to be changed.
    #[inline]
    pub(crate) fn count(&mut self, peer: u16, family: Family, change: impl FnOnce(&mut PeerCounts)) {
        if let Some(peer) = self.peer_mut(peer) {
            change(&mut peer.counts[family.index()]);
        }
    }

    /// Whether an attribute set has a community; reads it from its bytes.
    pub(crate) fn has_community(&self, attr: u32, community: Community) -> bool {
        self.attrs.attributes(attr).is_some_and(|attributes| attributes.communities.contains(&community))
    }

    /// Whether the next hop of an attribute set can be reached.
    #[inline]
    pub(crate) fn reachable(&self, attr: u32) -> bool {
        match self.attrs.next_hops.state(self.attrs.summary(attr).next_hop) {
            NextHopState::Unknown => self.assume_reachable,
            NextHopState::Unreachable => false,
            NextHopState::Reachable { .. } => true,
        }
    }

    /// Whether an aggregate stands for a prefix.
    #[inline]
    pub(crate) fn is_suppressed<K: Bits>(&self, bits: K, length: u8) -> bool {
        !self.suppressing.is_empty()
            && self.suppressing.iter().filter_map(K::of_net).any(|(aggregate, aggregate_length)| {
                aggregate_length < length && aggregate.covers(aggregate_length, bits, length)
            })
    }

    /// Cost of reaching the next hop of an attribute set, as far as it is known.
    pub(crate) fn interior_cost(&self, attr: u32) -> u32 {
        match self.attrs.next_hops.state(self.attrs.summary(attr).next_hop) {
            NextHopState::Reachable { cost } => cost,
            NextHopState::Unknown | NextHopState::Unreachable => 0,
        }
    }

    /// The next hops of paths that share the traffic by their bandwidths, if they do.
    pub(crate) fn weighted<'a>(
        &self,
        mut paths: impl Iterator<Item = &'a Path> + Clone,
    ) -> Option<SmallVec<[IpAddr; 1]>> {
        // The summary tells most of those that have none.
        let all = paths.clone().all(|path| self.attrs.summary(path.attr).has_bandwidth());
        if !self.rules.link_bandwidth || !all || paths.clone().nth(1).is_none() {
            return None;
        }
        let member = |path: &Path| {
            let next_hop = self.attrs.next_hops.addr(self.attrs.summary(path.attr).next_hop)?;
            Some((next_hop, shares::bandwidth(&self.attrs.attributes(path.attr)?)?))
        };
        paths
            .try_fold(Vec::new(), |mut members, path| {
                members.push(member(path)?);
                Some(members)
            })
            .map(shares::shares)
    }

    /// A path as the decision sees it.
    pub(crate) fn candidate(&self, path: Path) -> Candidate {
        let summary = self.attrs.summary(path.attr);
        let session = self.peer(path.peer).map(|peer| &peer.session);
        let external = session.is_some_and(|session| session.kind == PeerKind::Ebgp);
        // What we put in front of a path ourselves is no neighbour.
        let prepended = session.is_some_and(|session| session.prepend_local_asn);
        let first_as =
            if prepended { self.attrs.summary(self.received(path)).first_as } else { summary.first_as };
        // An empty path came from within our AS, or from a neighbour that says nothing of its own.
        let neighbour_as = match (first_as, session) {
            (0, Some(session)) if external => session.asn,
            (0, _) => self.asn,
            (first, _) => Asn(first),
        };
        let interior_cost = self.interior_cost(path.attr);
        let router_id = match summary.originator {
            0 => session.map_or(RouterId(Ipv4Addr::UNSPECIFIED), |session| session.router_id),
            originator => RouterId(originator.into()),
        };
        // Only what has one is read for it.
        let aigp = || self.attrs.attributes(path.attr)?.aigp;
        let aigp = if summary.has_aigp() { aigp() } else { None };
        Candidate {
            aigp: aigp.map(|aigp| aigp.metric.saturating_add(interior_cost.into())),
            local: path.peer == PeerId::LOCAL.0,
            long_lived: summary.is_long_lived(),
            local_pref: summary.local_pref,
            as_path_length: u32::from(summary.as_path_length),
            origin: summary.origin(),
            neighbour_as,
            med: summary.med,
            external,
            interior_cost,
            router_id,
            cluster_list_length: u32::from(summary.cluster_list_length()),
            peer_address: session.map_or(Ipv4Addr::UNSPECIFIED.into(), |session| session.address),
            path_id: self.path_id(path).unwrap_or_default(),
            as_path_hash: summary.as_path_hash,
        }
    }
}

/// What each family has for itself.
#[derive(Debug)]
pub(crate) struct Plane<K> {
    pub(crate) table: Table<K>,
    /// Entries with [`pending::CHANGE`], in the order in which they changed.
    pub(crate) changed: VecDeque<u32>,
    /// Whether the forwarding plane is told of backups.
    pub(crate) backups: bool,
    /// Entries with [`pending::BACKUP`].
    pub(crate) unbacked: Unbacked,
    pub(crate) sweep: Sweep,
    /// By group.
    pub(crate) journals: Vec<Option<Journal>>,
    /// How many of them are of groups that look at more than the best path: they send several paths of a prefix,
    /// or choose for themselves.
    pub(crate) paths_journals: usize,
    pub(crate) ahead: Ahead<K>,
    /// The entry of the default route and its attributes, once a group announces one whatever the RIB has.
    pub(crate) default_route: Option<(u32, u32)>,
}

impl<K: Bits> Plane<K> {
    pub(crate) fn new(backups: bool) -> Self {
        Self {
            table: Table::new(),
            changed: VecDeque::new(),
            backups,
            unbacked: Unbacked::default(),
            sweep: Sweep::default(),
            journals: Vec::new(),
            paths_journals: 0,
            ahead: Ahead::default(),
            default_route: None,
        }
    }

    /// Frees an entry that holds nothing and that nobody waits for.
    pub(crate) fn free_if_unused(&mut self, id: u32) {
        if self.table.is_live(id)
            && self.table.paths(id).is_empty()
            && self.default_route.is_none_or(|(default, _)| default != id)
            && !self.table.is_pending(id, pending::CHANGE | pending::FORWARDING)
            && self.journals.iter().flatten().all(|journal| journal.is_settled(id))
        {
            self.table.remove(id);
        }
    }

    /// Keeps an entry for the default route, whether the RIB has one or not.
    pub(crate) fn keep_default_route(&mut self, core: &mut Core) {
        if self.default_route.is_some() || !core.shard.owns(K::default()) {
            return;
        }
        let attr = core.attrs.intern_attributes(&Attributes::originated(K::default().net(0).addr()));
        self.default_route = Some((self.table.find_or_insert(K::default(), 0), attr));
    }

    /// 1 if the entry of the default route is kept and has no path.
    pub(crate) fn unused_default(&self) -> usize {
        usize::from(self.default_route.is_some_and(|(id, _)| self.table.paths(id).is_empty()))
    }

    /// Has every group look again at what is more specific than a prefix.
    pub(crate) fn export_within(&mut self, prefix: IpNet) {
        let Some((within, length)) = K::of_net(&prefix) else { return };
        let mut next = 0;
        while let Some(id) = self.table.next_live(next) {
            let (bits, own_length) = self.table.prefix(id);
            if own_length > length && within.covers(length, bits, own_length) {
                self.export(id);
            }
            next = id + 1;
        }
    }

    /// Has every group look at the entry again.
    pub(crate) fn export(&mut self, id: u32) {
        for journal in self.journals.iter_mut().flatten() {
            journal.record(id);
        }
    }

    /// Has whoever is told of more than the best path look at the entry again: groups, and the forwarding plane.
    #[inline]
    pub(crate) fn export_paths(&mut self, id: u32) {
        if self.backups {
            self.note_backup(id);
        }
        if self.paths_journals > 0 {
            self.journals.iter_mut().flatten().filter(|journal| journal.hears_of_paths()).for_each(
                |journal| {
                    journal.record(id);
                },
            );
        }
    }
}
