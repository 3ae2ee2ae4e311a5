//! The routes of one shard: Adj-RIB-In, best paths, Adj-RIB-Out, as plain single-threaded data.
//!
//! What comes in are sessions coming and going, UPDATEs, routes originated here, policies and what became
//! known of next hops; all of it are methods of [`Rib`]. What comes out is drained in batches:
//! [`Rib::drain_changes`] for the forwarding plane, [`Rib::drain_next_hops`] for whoever resolves next
//! hops, [`Rib::next_batch`] for each peer's socket. Nothing here blocks, reads a clock or sends.
//!
//! Guarantees:
//! - the best path of a prefix is a function of the present paths, never of their order of arrival;
//! - a prefix that changes several times between two drains comes out once;
//! - an unusable path replaces the one before it and is kept, with its reason;
//! - long work (a session with a million routes ends) is done in slices by [`Rib::work`];
//! - memory follows the routes held, not the routes that ever were.
//!
//! The parts: `attrs` interns attributes, `table` and `blocks` hold prefixes and paths, `import`
//! turns UPDATEs into paths, `select` and [`decision`] choose, `confirm` hears what became of that, `sweep` does
//! the long work, [`view`] answers questions, [`out`] is the way back to the peers. `core` ties them together.

mod attrs;
mod backup;
mod blocks;
mod confirm;
mod core;
pub mod decision;
mod generations;
mod import;
mod key;
mod limits;
mod next_hops;
pub mod out;
mod path;
mod path_ids;
mod peers;
mod reflection;
mod select;
mod shares;
mod sweep;
mod table;
pub mod view;
pub mod watch;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::policy::{MAX_CONDITIONS, PolicyChain};
use crate::types::{Asn, Family, FamilySet, PeerId, RouterId};
use crate::wire::{Attributes, Update};

pub use attrs::{AttrId, DEFAULT_LOCAL_PREF};
pub use confirm::Generation;
pub use decision::{DecisionStep, Rules};
pub use limits::{LimitNews, PrefixGauge, ReceiveLimits};
pub use next_hops::{NextHopInterest, NextHopState};
pub use path::{Anchor, Ineligible};
pub use peers::{CommunityOrders, ImportRules, PeerCounts, PeerSession, PeerStatistics};
pub use reflection::Reflection;

use self::core::{Core, Plane};
use confirm::Flights;
use generations::Generations;
use import::List;
use key::Bits;
use out::{GroupConfig, Groups};
use path::Path;
use peers::Peer;
use sweep::Cause;
use table::pending;

/// Prefixes whose data is read before the first of them is changed: enough for the misses to overlap, few
/// enough for what was read to be still there.
const READ_AHEAD: usize = 64;

/// Which part of the prefixes a shard holds.
///
/// A prefix belongs to a shard by the hash of its first 16 bits in IPv4, its first 32 in IPv6; one that is
/// shorter has zeros behind its own. Neighbouring prefixes tend to be announced alike, so that this lets two
/// shards know the same attributes half as often as a hash of the whole prefix would, and of a real table
/// up to sixteen shards still get equal parts within a few percent of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardSpec {
    /// This shard, from 0.
    pub index: u16,
    /// How many shards there are.
    pub count: u16,
}

impl ShardSpec {
    /// The one shard that holds everything.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// The shard, of `count` shards, that a prefix is of.
    pub fn owner(count: u16, prefix: &IpNet) -> u16 {
        match prefix {
            IpNet::V4(net) => Self::owner_of(count, net.network().to_bits()),
            IpNet::V6(net) => Self::owner_of(count, net.network().to_bits()),
        }
    }

    #[inline]
    fn owner_of<K: Bits>(count: u16, bits: K) -> u16 {
        let mixed = u64::from(bits.top()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((mixed * u64::from(count)) >> 32) as u16
    }

    /// Whether a prefix is of this shard.
    pub fn holds(self, prefix: &IpNet) -> bool {
        self.count <= 1 || Self::owner(self.count, prefix) == self.index
    }

    #[inline]
    pub(crate) fn owns<K: Bits>(self, bits: K) -> bool {
        self.count <= 1 || Self::owner_of(self.count, bits) == self.index
    }
}

/// When peers are told of a new best path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// At once, and nobody confirms that it forwards.
    Unconfirmed,
    /// At once; withdrawn when [`Rib::forwarding_status`] says that it does not forward.
    AtOnce,
    /// When [`Rib::forwarded`] has confirmed that it forwards.
    Installed,
}

/// How a RIB is set up.
#[derive(Clone, Copy, Debug)]
pub struct RibConfig {
    /// Our AS number.
    pub local_asn: Asn,
    /// The confederation that this is a member AS of (RFC 5065), by the number that others see.
    pub confederation: Option<Asn>,
    /// Our router id.
    pub router_id: RouterId,
    /// Our cluster id (RFC 4456). Clients may be in other clusters, see [`PeerSession::reflection`].
    pub cluster_id: Ipv4Addr,
    /// Options of the decision.
    pub rules: Rules,
    /// Use paths whose next hop nothing was said about yet.
    pub assume_reachable: bool,
    /// When peers are told of a change.
    pub announce: Announce,
    /// Tell of backups, see [`Rib::drain_backups`].
    pub backups: bool,
    /// The part of the prefixes to hold.
    pub shard: ShardSpec,
}

impl RibConfig {
    /// One shard with the default decision, which waits for next hops but not for the forwarding plane.
    pub fn new(local_asn: Asn, router_id: RouterId) -> Self {
        Self {
            local_asn,
            confederation: None,
            router_id,
            cluster_id: router_id.0,
            rules: Rules::default(),
            assume_reachable: false,
            announce: Announce::Unconfirmed,
            backups: false,
            shard: ShardSpec::WHOLE,
        }
    }
}

/// Where a best route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Originated here: only what is more specific has a way.
    Originated,
    /// Nowhere: traffic is dropped, as the route's community (RFC 7999) or [`Anchor::Blackhole`] wants it.
    Blackhole,
    /// To these next hops, in ascending order; one that has more of the traffic than others several times.
    Via(SmallVec<[IpAddr; 1]>),
}

/// The best route of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestRoute {
    /// Whose it is.
    pub peer: PeerId,
    /// Its attributes; valid until the RIB is changed again.
    pub attr: AttrId,
    /// Where it leads.
    pub forwarding: Forwarding,
    /// Where its traffic goes when none of those next hops is left, as far as that has been looked at.
    pub backup: Option<IpAddr>,
}

/// A prefix whose best route is another than before, or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestChange {
    /// The prefix.
    pub prefix: IpNet,
    /// Its best route now.
    pub best: Option<BestRoute>,
}

/// How much there is of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Prefixes with paths, or with changes that somebody has not heard of yet; by [`Family::index`].
    pub prefixes: [usize; Family::ALL.len()],
    /// Paths; by [`Family::index`].
    pub paths: [usize; Family::ALL.len()],
    /// Of all paths those with a path identifier (RFC 7911).
    pub identified: usize,
    /// Distinct attribute sets; what several shards have counts in each, here and below.
    pub attributes: usize,
    /// Next hops in use.
    pub next_hops: usize,
    /// Update groups.
    pub groups: usize,
    /// Bytes of tables, attributes and journals.
    pub bytes: usize,
}

impl std::ops::AddAssign for Totals {
    /// Adds what another shard has.
    fn add_assign(&mut self, other: Self) {
        for family in 0..Family::ALL.len() {
            self.prefixes[family] += other.prefixes[family];
            self.paths[family] += other.paths[family];
        }
        self.identified += other.identified;
        self.attributes += other.attributes;
        self.next_hops += other.next_hops;
        self.groups += other.groups;
        self.bytes += other.bytes;
    }
}

/// The RIB of one shard.
#[derive(Debug)]
pub struct Rib {
    core: Core,
    v4: Plane<u32>,
    v6: Plane<u128>,
    groups: Groups,
    flights: Flights,
    /// The attribute key of the UPDATE at hand.
    key: Vec<u8>,
    /// The lists of the UPDATEs that were read ahead.
    lists: VecDeque<List>,
}

/// Runs the same code on the plane of a family.
macro_rules! on_plane {
    ($rib:expr, $family:expr, |$plane:ident| $body:expr) => {
        match $family {
            Family::Ipv4Unicast => {
                let $plane = &mut $rib.v4;
                $body
            }
            Family::Ipv6Unicast => {
                let $plane = &mut $rib.v6;
                $body
            }
        }
    };
}
use on_plane;

impl Rib {
    /// An empty RIB.
    pub fn new(config: RibConfig) -> Self {
        Self {
            core: Core::new(&config),
            v4: Plane::new(config.backups),
            v6: Plane::new(config.backups),
            groups: Groups::default(),
            flights: Flights::default(),
            key: Vec::new(),
            lists: VecDeque::new(),
        }
    }

    /// A session came up. Paths of an earlier session of the peer that are still waiting to be removed
    /// are not mistaken for its own.
    pub fn peer_up(&mut self, session: PeerSession) {
        if session.id == PeerId::LOCAL {
            return;
        }
        let index = usize::from(session.id.0);
        if self.core.peers.len() <= index {
            self.core.peers.resize_with(index + 1, || None);
        }
        if self.core.peers[index].as_ref().is_some_and(|peer| peer.up) {
            self.peer_down(session.id);
        }
        if self.core.peers[index].as_ref().is_some_and(|peer| peer.counts.iter().any(|c| c.received > 0)) {
            // Stale paths have the outcome of the policy of before.
            self.set_import(session.id, session.import.clone());
        }
        if self.core.serves_new_cluster(session.reflection) {
            // Routes that have been there are loops now.
            for other in self.core.peer_ids() {
                self.reimport(other, |_| ());
            }
        }
        let slot = &mut self.core.peers[index];
        let peer = match slot {
            Some(peer) => {
                if peer.session.address != session.address {
                    // The id was another neighbour's.
                    peer.statistics = PeerStatistics::default();
                    peer.heard = 0;
                }
                peer.session = session;
                peer
            }
            None => slot.insert(Peer::new(session)),
        };
        peer.up = true;
    }

    /// A session ended for good. Its paths are removed by [`Rib::work`], its export ends at once.
    pub fn peer_down(&mut self, id: PeerId) {
        self.peer_lost(id, FamilySet::EMPTY);
    }

    /// A session ended, and the peer is expected back (RFC 4724 section 4.2): in the families of `kept` its
    /// paths are stale from now on, those of the others are removed. Paths that were stale before are
    /// removed too, unless they are long-lived ones (RFC 9494 section 4.2). Its export ends at once.
    pub fn peer_lost(&mut self, id: PeerId, kept: FamilySet) {
        self.export_down(id);
        let Some(peer) = self.core.peer_mut(id.0).filter(|peer| peer.up && id != PeerId::LOCAL) else {
            return;
        };
        peer.up = false;
        for family in Family::ALL {
            let long_lived = self.generations(id, family).is_some_and(|generations| generations.long_lived);
            if !(kept.contains(family) && long_lived) {
                self.drop_stale(id, family);
            }
            self.next_generation(id, family, kept.contains(family));
            if kept.contains(family) && long_lived {
                self.age_stale(id, family);
            }
        }
    }

    /// What a peer announced so far in a family is stale from now on, because it begins to send everything
    /// again (RFC 7313). Without effect while stale paths of earlier have not been dropped: those that were
    /// announced since then are then taken for fresh, and explicit withdrawals still take them out.
    pub fn mark_stale(&mut self, id: PeerId, family: Family) {
        if self.generations(id, family).is_some_and(|generations| !generations.has_stale()) {
            self.next_generation(id, family, true);
        }
    }

    /// Gives up the paths of a peer that are still stale in a family: they are removed by [`Rib::work`].
    pub fn drop_stale(&mut self, id: PeerId, family: Family) {
        if self.generations(id, family).is_some_and(Generations::drop_stale) {
            on_plane!(self, family, |plane| plane.sweep_for(Cause::Departed));
        }
    }

    /// The stale paths of a peer in a family become long-lived ones (RFC 9494 section 4.2): [`Rib::work`]
    /// gives them the community `LLGR_STALE`, which makes them the least preferred, or removes those with
    /// `NO_LLGR`.
    pub fn age_stale(&mut self, id: PeerId, family: Family) {
        if let Some(generations) = self.generations(id, family).filter(|generations| generations.has_stale())
        {
            generations.long_lived = true;
            on_plane!(self, family, |plane| plane.sweep_for(Cause::Departed));
        }
    }

    fn generations(&mut self, id: PeerId, family: Family) -> Option<&mut Generations> {
        Some(&mut self.core.peer_mut(id.0)?.generations[family.index()])
    }

    /// What a peer announced so far in a family becomes stale, or departs.
    fn next_generation(&mut self, id: PeerId, family: Family, stale: bool) {
        while self.generations(id, family).is_some_and(|generations| !generations.begin(stale)) {
            let Some(generations) = self.generations(id, family) else { return };
            if generations.has_departed() {
                // Too many generations are in the table: finish with those that are on their way out.
                self.work(usize::MAX);
            } else {
                let mark = generations.merge_stale();
                on_plane!(self, family, |plane| plane.merge_stale(&self.core, id.0, mark));
            }
        }
        if let Some(peer) = self.core.peer_mut(id.0) {
            let counts = &mut peer.counts[family.index()];
            let present = counts.received - std::mem::replace(&mut counts.stale, counts.received);
            let limits = &peer.session.limits[family.index()];
            // Every path that was present is none of this session any more, or has to come again.
            if let Some(gauge) = &limits.received {
                gauge.release(present as u32);
            }
            if let Some(gauge) = &limits.accepted {
                gauge.release(std::mem::take(&mut peer.accepted_present[family.index()]));
            }
        }
        if !stale {
            on_plane!(self, family, |plane| plane.sweep_for(Cause::Departed));
        }
    }

    /// A peer has another import policy: its paths are judged anew from what was received, by
    /// [`Rib::work`]. Before that, paths have the outcome of the old policy.
    pub fn set_import(&mut self, id: PeerId, import: PolicyChain) {
        let Some(peer) = self.core.peer(id.0) else { return };
        self.set_session(PeerSession { import, ..peer.session.clone() });
    }

    /// Peers whose sessions stay up have other policies, or whatever else import and export depend on and
    /// sessions do not. Those that are not up as it is said here (any more, or again) are passed over. By
    /// [`Rib::work`] their paths are judged anew from what was received, and they are sent what differs.
    pub fn reconfigure(&mut self, peers: &[(PeerSession, GroupConfig)]) {
        let mut exports = Vec::with_capacity(peers.len());
        for (session, export) in peers {
            let up = |peer: &&Peer| peer.up && peer.session.is_same_session(session);
            if self.core.peer(session.id.0).as_ref().is_some_and(up) {
                self.set_session(session.clone());
                exports.push((session.id, export));
            }
        }
        self.set_exports(&exports);
    }

    fn set_session(&mut self, session: PeerSession) {
        let id = session.id;
        let anew = self.set_limits(id, &session.limits);
        if anew || self.core.peer(id.0).is_some_and(|peer| peer.session != session) {
            self.reimport(id, |peer| peer.session = session);
        }
    }

    /// Has the paths of a peer judged anew, after something that decides about them has changed.
    fn reimport(&mut self, id: PeerId, change: impl FnOnce(&mut Peer)) {
        if self.core.peer(id.0).is_some_and(|peer| peer.reimporting) {
            while self.v4.sweep.is_busy(Cause::Policies) || self.v6.sweep.is_busy(Cause::Policies) {
                self.work(usize::MAX);
            }
        }
        let Some(peer) = self.core.peer_mut(id.0) else { return };
        change(peer);
        peer.reimporting = true;
        peer.policy ^= Path::POLICY;
        self.v4.sweep_for(Cause::Policies);
        self.v6.sweep_for(Cause::Policies);
    }

    /// Takes UPDATEs of one peer in order: withdrawals first, then announcements. Malformed announcements
    /// are withdrawals (RFC 7606), counted and remembered in [`Rib::statistics`]. UPDATEs of a peer without
    /// a session are ignored.
    ///
    /// Every shard is to be given every UPDATE: each takes the prefixes that are its own, and looks at the
    /// attributes only where there are some.
    ///
    /// Give it many at once: what some tens of prefixes will need is read before the first of them changes,
    /// which a large table rewards (half the time).
    ///
    /// Answers how many of them count in this shard (see [`Rib::statistics`]).
    pub fn updates<'a>(&mut self, id: PeerId, updates: impl Iterator<Item = Update<'a>> + Clone) -> u64 {
        if id == PeerId::LOCAL || !self.core.peer(id.0).is_some_and(|peer| peer.up) {
            return 0;
        }
        let mut ahead = updates.clone();
        let mut expected = 0;
        let mut counted = 0;
        for update in updates {
            if expected == 0 {
                while self.v4.ahead.len() + self.v6.ahead.len() < READ_AHEAD
                    && let Some(next) = ahead.next()
                {
                    self.expect(&next);
                    expected += 1;
                }
                self.v4.read_ahead();
                self.v6.read_ahead();
            }
            expected -= 1;
            counted += u64::from(self.update(id, &update));
            if expected == 0 {
                self.v4.ahead.clear();
                self.v6.ahead.clear();
            }
        }
        counted
    }

    /// Notes the prefixes of an UPDATE that are of this shard.
    fn expect(&mut self, update: &Update<'_>) {
        let announced = update.announcements().map(|announcement| announcement.nlri);
        for list in update.withdrawals().map(|(_, list)| list).chain(announced) {
            let shard = self.core.shard;
            self.lists.push_back(on_plane!(self, list.family(), |plane| plane.ahead.note(shard, list)));
        }
    }

    /// What was noted of the next list; the caller asks in the order of [`Rib::expect`].
    fn expected(&mut self) -> List {
        self.lists.pop_front().unwrap_or_default()
    }

    /// Takes an UPDATE whose prefixes were noted; whether it counts in this shard.
    fn update(&mut self, id: PeerId, update: &Update<'_>) -> bool {
        let Some(peer) = self.core.peer_mut(id.0) else { return false };
        peer.heard += 1;
        let (mut announced, mut withdrawn) = (0, 0);
        // Whether the first prefix is of this shard, which then counts the UPDATE.
        let mut leads = None;
        for (family, _) in update.withdrawals() {
            let list = self.expected();
            leads.get_or_insert(list.leads);
            withdrawn += u64::from(list.own);
            on_plane!(self, family, |plane| plane.withdraw_expected(&mut self.core, id.0, list));
        }
        for announcement in update.announcements() {
            let list = self.expected();
            leads.get_or_insert(list.leads);
            if list.own == 0 {
                continue;
            }
            let core = &mut self.core;
            let incoming = import::intern(core, id.0, update, announcement, list.leads, &mut self.key);
            if let Some(mut incoming) = incoming {
                announced += u64::from(list.own);
                on_plane!(self, announcement.family, |plane| plane.announce_expected(
                    &mut self.core,
                    &mut incoming,
                    list
                ));
                incoming.finish(&mut self.core);
            } else {
                withdrawn += u64::from(list.own);
                on_plane!(self, announcement.family, |plane| plane.withdraw_expected(
                    &mut self.core,
                    id.0,
                    list
                ));
            }
        }
        let counts = leads.unwrap_or(self.core.shard.index == 0);
        if let Some(peer) = self.core.peer_mut(id.0) {
            peer.statistics.updates += u64::from(counts);
            peer.statistics.announced += announced;
            peer.statistics.withdrawn += withdrawn;
        }
        counts
    }

    /// Originates a route, or changes its attributes. Its next hop is this router, whatever the
    /// attributes say.
    pub fn originate(&mut self, prefix: IpNet, attributes: Attributes) {
        self.originate_with(prefix, attributes, Anchor::Reject);
    }

    /// The same, and says what becomes of traffic to it.
    pub fn originate_with(&mut self, prefix: IpNet, mut attributes: Attributes, anchor: Anchor) {
        let prefix = prefix.trunc();
        if !self.core.shard.holds(&prefix) {
            return;
        }
        let unspecified: IpAddr = match prefix {
            IpNet::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpNet::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        attributes.next_hop = unspecified.into();
        let received = self.core.attrs.intern_attributes(&attributes);
        let family = Family::of(&prefix);
        let Some(mut incoming) = self.core.incoming(PeerId::LOCAL.0, received, family) else { return };
        let flags = if anchor == Anchor::Blackhole { Path::BLACKHOLE } else { 0 };
        match prefix {
            IpNet::V4(net) => {
                let (bits, length) = (net.network().to_bits(), net.prefix_len());
                let mut path = self.core.imported(&mut incoming, bits, length);
                path.flags |= flags;
                self.v4.put(&mut self.core, bits, length, path, None);
            }
            IpNet::V6(net) => {
                let (bits, length) = (net.network().to_bits(), net.prefix_len());
                let mut path = self.core.imported(&mut incoming, bits, length);
                path.flags |= flags;
                self.v6.put(&mut self.core, bits, length, path, None);
            }
        }
        incoming.finish(&mut self.core);
    }

    /// Stops originating a route.
    pub fn withdraw_originated(&mut self, prefix: IpNet) {
        match prefix.trunc() {
            IpNet::V4(net) => {
                let bits = net.network().to_bits();
                self.v4.withdraw(&mut self.core, bits, net.prefix_len(), PeerId::LOCAL.0, None);
            }
            IpNet::V6(net) => {
                let bits = net.network().to_bits();
                self.v6.withdraw(&mut self.core, bits, net.prefix_len(), PeerId::LOCAL.0, None);
            }
        }
    }

    /// The decision has other options. Every prefix with several paths is decided anew by [`Rib::work`].
    pub fn set_rules(&mut self, rules: Rules) {
        if rules != self.core.rules {
            // Kept from then on: a round that another one overtakes must not forget it.
            self.core.reweigh |= self.core.rules.link_bandwidth != rules.link_bandwidth;
            self.core.rules = rules;
            self.v4.sweep_for(Cause::Rules);
            self.v6.sweep_for(Cause::Rules);
        }
    }

    /// The address of a peer; `None` for [`PeerId::LOCAL`] and for those that never had a session.
    pub fn address(&self, id: PeerId) -> Option<IpAddr> {
        self.core.address(id.0)
    }

    /// A condition of [`watch`] holds or does not any more. Policies that ask for it are evaluated again: those
    /// of import by [`Rib::work`], those of export when peers are served next.
    pub fn set_condition(&mut self, index: usize, holds: bool) {
        let bit = 1 << (index % MAX_CONDITIONS);
        let present = if holds { self.core.present | bit } else { self.core.present & !bit };
        if std::mem::replace(&mut self.core.present, present) == present {
            return;
        }
        for index in 1..self.core.peers.len() {
            let id = PeerId(index as u16);
            let asks = |peer: &Peer| peer.session.import.dependence().conditions & bit != 0;
            if self.core.peer(id.0).is_some_and(asks) {
                self.reimport(id, |_| ());
            }
        }
        self.conditions_changed(bit);
    }

    /// Routes more specific than an aggregate are announced or not from now on.
    pub fn suppress(&mut self, aggregate: IpNet, on: bool) {
        let known = self.core.suppressing.iter().position(|other| *other == aggregate);
        match (known, on) {
            (None, true) => self.core.suppressing.push(aggregate),
            (Some(index), false) => drop(self.core.suppressing.swap_remove(index)),
            _ => return,
        }
        on_plane!(self, Family::of(&aggregate), |plane| plane.export_within(aggregate));
    }

    /// Something became known of a next hop. New paths see it at once, the others when
    /// [`Rib::work`] comes by. A next hop that no path has is ignored.
    pub fn next_hop_changed(&mut self, addr: IpAddr, state: NextHopState) {
        if self.core.attrs.next_hops.set_state(addr, state) {
            self.v4.sweep_for(Cause::NextHops);
            self.v6.sweep_for(Cause::NextHops);
        }
    }

    /// Goes on with long work, looking at up to `budget` prefixes (some tens of nanoseconds each while
    /// there is nothing to do for them, up to a microsecond when there is); whether there is more.
    pub fn work(&mut self, budget: usize) -> bool {
        let left = self.v4.sweep(&mut self.core, budget);
        let left = self.v6.sweep(&mut self.core, left);
        self.reexport(left);
        let busy = |cause| [self.v4.sweep.is_busy(cause), self.v6.sweep.is_busy(cause)];
        let (departing, reimporting) = (busy(Cause::Departed), busy(Cause::Policies).contains(&true));
        for peer in self.core.peers.iter_mut().flatten() {
            for (generations, departing) in peer.generations.iter_mut().zip(departing) {
                if !departing {
                    generations.swept();
                }
            }
            peer.reimporting &= reimporting;
        }
        self.has_work()
    }

    /// Whether [`Rib::work`] has anything to do.
    pub fn has_work(&self) -> bool {
        !self.v4.sweep.is_idle() || !self.v6.sweep.is_idle() || self.groups.is_reexporting()
    }

    /// Appends up to `limit` changed prefixes, in the order in which they first changed; and their generation,
    /// which [`Rib::forwarded`] is to confirm, unless nobody does (see [`Announce`]).
    pub fn drain_changes(&mut self, limit: usize, changes: &mut Vec<BestChange>) -> Option<Generation> {
        if !self.can_drain() {
            return None;
        }
        let room = limit.min(self.v4.changed.len());
        let v4 = self.v4.drain_changes(&mut self.core, room, changes);
        let room = (limit - room).min(self.v6.changed.len());
        let v6 = self.v6.drain_changes(&mut self.core, room, changes);
        self.take_off(v4, v6)
    }

    /// Prefixes that [`Rib::drain_changes`] would give.
    pub fn pending_changes(&self) -> usize {
        self.v4.changed.len() + self.v6.changed.len()
    }

    /// Next hops that came into use or went out of it since the last call.
    pub fn drain_next_hops(&mut self) -> Vec<NextHopInterest> {
        self.core.attrs.next_hops.drain()
    }

    /// The attributes of an id, read from their bytes. `None` when nothing has them any more.
    pub fn attributes(&self, id: AttrId) -> Option<Attributes> {
        self.core.attrs.attributes(id.0)
    }

    /// Routes of a peer in a family; of [`PeerId::LOCAL`], those originated here.
    pub fn counts(&self, id: PeerId, family: Family) -> PeerCounts {
        self.core.peer(id.0).map(|peer| peer.counts[family.index()]).unwrap_or_default()
    }

    /// What a peer sent since the RIB knows it. Each UPDATE and each error counts in one shard, that of the
    /// first prefix: [`PeerStatistics::absorb`] puts together what the shards say.
    pub fn statistics(&self, id: PeerId) -> PeerStatistics {
        self.core.peer(id.0).map(|peer| peer.statistics.clone()).unwrap_or_default()
    }

    /// How much there is of what.
    pub fn totals(&self) -> Totals {
        let ((v4_prefixes, v4_paths), (v6_prefixes, v6_paths)) = (self.v4.table.len(), self.v6.table.len());
        let journals = self.v4.journals.iter().chain(&self.v6.journals).flatten();
        Totals {
            prefixes: [v4_prefixes - self.v4.unused_default(), v6_prefixes - self.v6.unused_default()],
            paths: [v4_paths, v6_paths],
            identified: self.core.path_ids.len(),
            attributes: self.core.attrs.len(),
            next_hops: self.core.attrs.next_hops.len(),
            groups: self.groups.len(),
            bytes: self.core.attrs.bytes()
                + self.core.path_ids.bytes()
                + self.v4.table.bytes()
                + self.v6.table.bytes()
                + journals.map(out::journal::Journal::bytes).sum::<usize>(),
        }
    }
}

impl<K: Bits> Plane<K> {
    /// Answers the entries that the forwarding plane is to confirm.
    fn drain_changes(&mut self, core: &mut Core, count: usize, changes: &mut Vec<BestChange>) -> Vec<u32> {
        let back_up = self.backups && count <= backup::AT_ONCE;
        let mut drained = Vec::new();
        let mut ids = std::mem::take(&mut self.changed);
        for id in ids.drain(..count) {
            self.table.clear_pending(id, pending::CHANGE);
            let (bits, length) = self.table.prefix(id);
            let mut best = self.table.best(id).map(|best| self.best_route(core, id, best));
            if let Some(best) =
                best.as_mut().filter(|best| back_up && matches!(best.forwarding, Forwarding::Via(_)))
            {
                best.backup = self.backup(core, id);
            }
            changes.push(BestChange { prefix: bits.net(length), best });
            if self.table.is_pending(id, pending::FORWARDING) {
                drained.push(id);
            } else {
                self.free_if_unused(id);
            }
        }
        self.changed = ids;
        drained
    }

    /// The best route of an entry as the forwarding plane wants it.
    pub(crate) fn best_route(&self, core: &Core, id: u32, best: Path) -> BestRoute {
        let address = |path: &Path| core.attrs.next_hops.addr(core.attrs.summary(path.attr).next_hop);
        let forwarding = if best.has(Path::BLACKHOLE) {
            Forwarding::Blackhole
        } else if best.peer == PeerId::LOCAL.0 {
            Forwarding::Originated
        } else if !core.rules.share() {
            Forwarding::Via(address(&best).into_iter().collect())
        } else {
            let members = self
                .table
                .paths(id)
                .iter()
                .filter(|path| path.has(Path::MULTIPATH) && !path.has(Path::BLACKHOLE));
            if let Some(shares) = core.weighted(members.clone()) {
                return BestRoute {
                    peer: PeerId(best.peer),
                    attr: AttrId(best.attr),
                    forwarding: Forwarding::Via(shares),
                    backup: None,
                };
            }
            let mut next_hops: SmallVec<[IpAddr; 1]> = members.filter_map(address).collect();
            next_hops.sort_unstable();
            next_hops.dedup();
            Forwarding::Via(next_hops)
        };
        BestRoute { peer: PeerId(best.peer), attr: AttrId(best.attr), forwarding, backup: None }
    }
}
