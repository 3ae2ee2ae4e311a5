//! From an UPDATE to paths: interning, the checks that make a path ineligible, import policy.
//!
//! The prefixes of some UPDATEs are noted first, as far as they are of this shard ([`Ahead`]), and taken from
//! there. Attributes are interned once for each list of an UPDATE that has any. The checks and a policy that does not ask
//! for the prefix run once for it too; only a policy that does is asked for each prefix. What a policy
//! changes is interned beside the received attributes, so that a new policy can start afresh.
//!
//! A path that is refused replaces what the peer sent before all the same, marked with the reason.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use ipnet::IpNet;

use crate::link::link_of;
use crate::policy::{Decision, PolicyChain, PolicyContext, PolicyNeighbor};
use crate::role::Role;
use crate::session::PeerKind;
use crate::types::{Family, PeerId};
use crate::wire::{
    Announcement, Attributes, Community, Nlri, Update, UpdateVerdict, mark_link, parse_attributes,
};

use super::ShardSpec;
use super::core::{Core, Plane};
use super::key::Bits;
use super::path::{Ineligible, LOCAL_RANK, Path};
use super::peers::{CommunityOrders, PeerSession};
use super::table::best_of;

/// Most paths of a prefix where peers send several each (RFC 7911). Every announcement looks through them.
const MOST_PATHS: usize = 4096;

/// Received attributes on their way through import: holds one use of them, and one of what policy
/// made of them last.
pub(crate) struct Incoming {
    peer: u16,
    received: u32,
    /// What policy starts from: the received ones, or others made of them, with one use.
    base: u32,
    /// The path that every prefix gets, without marks, once what policy says is known.
    outcome: Option<Path>,
    /// The marks of its paths.
    pub(crate) marks: u16,
    /// What is asked for each prefix, and the attributes to ask it about.
    policy: Option<Box<(PolicyChain, PolicyContext, Attributes)>>,
}

impl Core {
    /// Starts to import attributes, whose use by the caller passes to what is returned. `None`: there
    /// is no such peer.
    pub(crate) fn incoming(&mut self, peer_id: u16, received: u32, family: Family) -> Option<Incoming> {
        let peer = self.peer(peer_id)?;
        let session = &peer.session;
        let neighbor = PolicyNeighbor { address: session.address, asn: session.asn };
        let context = PolicyContext::import(session.local_asn, neighbor, session.kind);
        let context = PolicyContext { present: self.present, ..context };
        let marks = peer.marks(family);
        let (accepts_all, rejects_all) = (session.import.is_accept_all(), session.import.is_reject_all());
        let prepend = session.prepend_local_asn.then_some(session.local_asn);
        let mut incoming =
            Incoming { peer: peer_id, received, base: received, outcome: None, marks, policy: None };
        if let Some(reason) = self.refusal(peer_id, received) {
            incoming.settle(self, received, reason.flags());
            return Some(incoming);
        }
        if let Some(asn) = prepend {
            let mut attributes = self.attrs.attributes(received).unwrap_or_default();
            attributes.as_path.prepend(asn, 1);
            incoming.base = self.attrs.intern_attributes(&attributes);
        }
        let base = incoming.base;
        if accepts_all {
            self.attrs.retain(base);
            let (attr, flags) = self.follow_orders(peer_id, received, (base, 0));
            incoming.settle(self, attr, flags);
            self.attrs.release(attr);
        } else if rejects_all {
            incoming.settle(self, base, Ineligible::RejectedByPolicy.flags());
        } else {
            let chain = self.peer(peer_id).map(|peer| peer.session.import.clone()).unwrap_or_default();
            // Attributes in use can always be read again.
            let attributes = self.attrs.attributes(base).unwrap_or_default();
            if chain.depends_on_prefix() {
                incoming.policy = Some(Box::new((chain, context, attributes)));
            } else {
                let outcome = self.apply(&chain, context, &attributes, base, IpNet::default());
                let (attr, flags) = self.follow_orders(peer_id, received, outcome);
                incoming.settle(self, attr, flags);
                self.attrs.release(attr);
            }
        }
        Some(incoming)
    }

    /// Why a peer's routes with these attributes are refused whatever policy says.
    fn refusal(&self, peer: u16, received: u32) -> Option<Ineligible> {
        if peer == PeerId::LOCAL.0 {
            return None;
        }
        let session = &self.peer(peer)?.session;
        let summary = self.attrs.summary(received);
        let external = session.kind == PeerKind::Ebgp;
        let attributes = || self.attrs.attributes(received);
        let loops = || attributes().is_some_and(|attributes| self.is_as_loop(session, &attributes));
        let leaks = |role: Role| {
            let otc = attributes().and_then(|attributes| attributes.otc);
            otc.is_some_and(|otc| role.is_leak(otc, session.asn))
        };
        if (summary.has_own_as() || self.has_other_asn(session)) && loops() {
            Some(Ineligible::AsLoop)
        } else if summary.has_own_reflection() || self.passed_other_cluster(received) {
            let originated = attributes().is_some_and(|attributes| self.attrs.is_own_originator(&attributes));
            Some(if originated { Ineligible::OriginatorLoop } else { Ineligible::ClusterLoop })
        } else if session.enforce_first_as && self.begins_elsewhere(session, received) {
            Some(Ineligible::FirstAsMismatch)
        } else if external && summary.has_otc() && session.rules.role.is_some_and(leaks) {
            Some(Ineligible::RouteLeak)
        } else if external && session.import.is_empty() {
            Some(Ineligible::NoPolicy)
        } else {
            None
        }
    }

    /// Whether the AS path begins with another AS than that of the peer it came from.
    fn begins_elsewhere(&self, session: &PeerSession, received: u32) -> bool {
        match session.kind {
            PeerKind::Ebgp => self.attrs.summary(received).first_as != session.asn.0,
            PeerKind::Confed => {
                let attributes = self.attrs.attributes(received);
                attributes.is_some_and(|attributes| attributes.as_path.first_member() != Some(session.asn))
            }
            PeerKind::Ibgp => false,
        }
    }

    /// Whether our own AS numbers are in the AS path more often than is allowed.
    fn is_as_loop(&self, session: &PeerSession, attributes: &Attributes) -> bool {
        let path = &attributes.as_path;
        let other = if self.has_other_asn(session) { path.count(session.local_asn) } else { 0 };
        path.times_through(self.asn, self.confederation) + other > usize::from(session.rules.allow_own_asn)
    }

    /// Whether we have an AS number of its own towards a peer, neither ours nor that of our confederation.
    fn has_other_asn(&self, session: &PeerSession) -> bool {
        session.local_asn != self.asn && Some(session.local_asn) != self.confederation
    }

    /// Asks policy; the caller gets one use of the attributes.
    fn apply(
        &mut self,
        chain: &PolicyChain,
        context: PolicyContext,
        attributes: &Attributes,
        base: u32,
        prefix: IpNet,
    ) -> (u32, u16) {
        match chain.evaluate(prefix, Cow::Borrowed(attributes), &context) {
            Decision::Accept(accepted) => match accepted.attributes {
                Cow::Borrowed(_) => {
                    self.attrs.retain(base);
                    (base, 0)
                }
                Cow::Owned(changed) => (self.attrs.intern_attributes(&changed), 0),
            },
            Decision::Reject(_) => {
                self.attrs.retain(base);
                (base, Ineligible::RejectedByPolicy.flags())
            }
        }
    }

    /// Does what communities of an accepted route ask for, received ones and those that policy added, and what
    /// the end of the session asks for that is near; takes a use of the attributes and gives one of what became of them.
    fn follow_orders(&mut self, peer: u16, received: u32, (attr, flags): (u32, u16)) -> (u32, u16) {
        let marked = self.attrs.summary(received).is_marked() || self.attrs.summary(attr).is_marked();
        let session = self.peer(peer).map(|peer| &peer.session);
        let (orders, last_choice) =
            session.map(|session| (session.orders, session.rules.last_choice)).unwrap_or_default();
        let ordered = marked && orders != CommunityOrders::default();
        if flags != 0 || !(ordered || last_choice) {
            return (attr, flags);
        }
        let asks = |community| self.has_community(received, community) || self.has_community(attr, community);
        let lowers = last_choice || orders.graceful_shutdown && asks(Community::GRACEFUL_SHUTDOWN);
        // What policy took off is no order to drop traffic any more.
        let drops = orders.blackhole && self.has_community(attr, Community::BLACKHOLE);
        if !lowers && !drops {
            return (attr, flags);
        }
        // Attributes in use can always be read again.
        let mut attributes = self.attrs.attributes(attr).unwrap_or_default();
        if lowers {
            attributes.local_pref = Some(0);
        }
        let stays = [Community::NO_EXPORT, Community::NO_ADVERTISE];
        if drops && !attributes.communities.iter().any(|community| stays.contains(community)) {
            attributes.communities.push(Community::NO_EXPORT);
        }
        let followed = self.attrs.intern_attributes(&attributes);
        self.attrs.release(attr);
        (followed, if drops { Path::BLACKHOLE } else { 0 })
    }

    /// A prefix has too many paths for another one.
    fn refuse(&mut self, peer: u16, prefix: IpNet) {
        if let Some(peer) = self.peer_mut(peer) {
            peer.statistics.treated_as_withdraw += 1;
            peer.statistics.last_error =
                Some(format!("{prefix} has {MOST_PATHS} paths, and room for no more"));
            peer.statistics.last_error_in = peer.heard;
        }
    }

    /// The path that a prefix gets.
    #[inline]
    pub(crate) fn imported<K: Bits>(&mut self, incoming: &mut Incoming, bits: K, length: u8) -> Path {
        if let Some(policy) = incoming.policy.take() {
            let (chain, context, attributes) = &*policy;
            let outcome = self.apply(chain, *context, attributes, incoming.base, bits.net(length));
            let (attr, flags) = self.follow_orders(incoming.peer, incoming.received, outcome);
            incoming.policy = Some(policy);
            incoming.settle(self, attr, flags);
            self.attrs.release(attr);
        }
        let mut path = incoming.outcome.unwrap_or_else(|| self.outcome(incoming, incoming.received, 0));
        if bits.is_martian(length) {
            path = self.outcome(incoming, path.attr, Ineligible::MartianPrefix.flags());
        }
        path.flags |= incoming.marks;
        path
    }

    /// The path that these attributes after policy make, without marks.
    fn outcome(&self, incoming: &Incoming, attr: u32, mut flags: u16) -> Path {
        if flags & Path::BLACKHOLE == 0 && !self.reachable(attr) {
            flags |= Path::UNREACHABLE;
        }
        let local = if incoming.peer == PeerId::LOCAL.0 { LOCAL_RANK } else { 0 };
        let rank = self.attrs.summary(attr).rank | local;
        Path { attr, source: incoming.received, rank, peer: incoming.peer, flags }
    }
}

impl Incoming {
    /// Takes note of what became of the attributes, with a use of them.
    fn settle(&mut self, core: &mut Core, attr: u32, flags: u16) {
        core.attrs.retain(attr);
        let path = core.outcome(self, attr, flags);
        if let Some(old) = self.outcome.replace(path) {
            core.attrs.release(old.attr);
        }
    }

    /// Ends the import: the attributes are now held by paths only.
    pub(crate) fn finish(self, core: &mut Core) {
        if let Some(path) = self.outcome {
            core.attrs.release(path.attr);
        }
        if self.base != self.received {
            core.attrs.release(self.base);
        }
        core.attrs.release(self.received);
    }
}

impl<K: Bits> Plane<K> {
    /// Where the path of a peer is among those of an entry.
    #[inline]
    fn place(core: &Core, paths: &[Path], peer: u16, path_id: Option<u32>) -> Option<usize> {
        paths.iter().position(|path| path.peer == peer && core.path_id(*path) == path_id)
    }

    /// Puts a path into the entry of its prefix, in place of what the peer had there (by that identifier).
    pub(crate) fn put(&mut self, core: &mut Core, bits: K, length: u8, path: Path, path_id: Option<u32>) {
        let id = self.table.find_or_insert(bits, length);
        let paths = self.table.paths(id);
        let best = best_of(paths);
        let index = Self::place(core, paths, path.peer, path_id);
        if path_id.is_some() && index.is_none() && paths.len() >= MOST_PATHS {
            return core.refuse(path.peer, bits.net(length));
        }
        if let Some(gauge) = core.receive_limit(path.peer, K::FAMILY) {
            let old = index.map(|index| self.table.paths(id)[index]);
            let counted = old.is_some_and(|old| old.generation() == path.generation());
            if !counted && !gauge.admit() {
                // What the peer sent before must not outlive what it sends now.
                return match index {
                    Some(index) => self.take(core, id, index),
                    None => self.free_if_unused(id),
                };
            }
        }
        if let Some(index) = index {
            return self.replace(core, id, index, path);
        }
        let mut path = core.within_limit(K::FAMILY, None, path);
        core.attrs.retain(path.source);
        if let Some(path_id) = path_id {
            path.source = core.path_ids.insert(path.source, path_id);
            path.flags |= Path::IDENTIFIED;
        }
        core.attrs.retain(path.attr);
        core.count(path.peer, K::FAMILY, |counts| {
            counts.received += 1;
            counts.accepted += usize::from(path.accepted());
        });
        if !path.eligible() {
            self.table.push(id, path);
            return;
        }
        match best.map(|best| path.rank.cmp(&best.rank)) {
            Some(Ordering::Less) => self.table.push(id, path),
            Some(Ordering::Equal) => {
                let before = self.choice_of(core, id, best);
                self.table.push(id, path);
                self.reselect(core, id, before);
            }
            Some(Ordering::Greater) | None => {
                let before = self.choice_of(core, id, best);
                self.table.push(id, path);
                self.crown_last(core, id, before);
            }
        }
        self.export_paths(id);
    }

    /// Puts a path in the place of one of the same peer, whose identifier it gets.
    pub(crate) fn replace(&mut self, core: &mut Core, id: u32, index: usize, mut path: Path) {
        let old = self.table.paths(id)[index];
        let (before, received) = (core.received(old), core.received(path));
        if old.has(Path::IDENTIFIED) {
            path.source = old.source;
            path.flags |= Path::IDENTIFIED;
        }
        let chosen = old.flags & Path::CHOSEN;
        let path = core.within_limit(K::FAMILY, Some(old), path);
        if received == before && (Path { flags: path.flags | chosen, ..path }) == old {
            return;
        }
        core.attrs.retain(received);
        core.attrs.retain(path.attr);
        let mark = core.present_mark(path.peer, K::FAMILY);
        core.count(path.peer, K::FAMILY, |counts| {
            counts.accepted += usize::from(path.accepted());
            counts.accepted -= usize::from(old.accepted());
            counts.stale += usize::from(path.flags & Path::GENERATION != mark);
            counts.stale -= usize::from(old.flags & Path::GENERATION != mark);
        });
        // Nothing but the marks of its session or policy is new: whatever was chosen stays.
        let same = (old.attr, old.rank) == (path.attr, path.rank)
            && (old.flags ^ path.flags) & !(Path::CHOSEN | Path::GENERATION | Path::POLICY) == 0;
        // One that was in the running until MED or what comes after it may have kept out others.
        let loses = chosen == 0 && self.loses_at_once(id, path) && self.loses_at_once(id, old);
        if same || loses {
            self.table.paths_mut(id)[index] = Path { flags: path.flags | chosen, ..path };
        } else {
            let before = self.choice(core, id);
            self.table.paths_mut(id)[index] = path;
            self.reselect(core, id, before);
        }
        if !same && (old.eligible() || path.eligible()) {
            self.export_paths(id);
        }
        if old.has(Path::IDENTIFIED) {
            core.path_ids.set_received(old.source, received);
        }
        core.attrs.release(before);
        core.attrs.release(old.attr);
    }

    /// Takes a path out of an entry.
    pub(crate) fn take(&mut self, core: &mut Core, id: u32, index: usize) {
        let before = self.choice(core, id);
        let old = self.table.swap_remove(id, index);
        let mark = core.present_mark(old.peer, K::FAMILY);
        core.count(old.peer, K::FAMILY, |counts| {
            counts.received -= 1;
            counts.accepted -= usize::from(old.accepted());
            counts.stale -= usize::from(old.flags & Path::GENERATION != mark);
        });
        core.outside_limits(K::FAMILY, old);
        // Not chosen, it may all the same have kept out others of its neighbouring AS by its MED.
        if old.has(Path::CHOSEN) || !self.loses_at_once(id, old) {
            self.reselect(core, id, before);
        }
        if old.eligible() {
            self.export_paths(id);
        }
        core.attrs.release(core.received(old));
        core.attrs.release(old.attr);
        if old.has(Path::IDENTIFIED) {
            core.path_ids.remove(old.source);
        }
        self.free_if_unused(id);
    }

    /// Withdraws a prefix of a peer, or the path with an identifier.
    pub(crate) fn withdraw(&mut self, core: &mut Core, bits: K, length: u8, peer: u16, path_id: Option<u32>) {
        let Some(id) = self.table.find(bits, length) else { return };
        let Some(index) = Self::place(core, self.table.paths(id), peer, path_id) else { return };
        self.take(core, id, index);
    }

    /// Announces the prefixes of the next list noted.
    pub(crate) fn announce_expected(&mut self, core: &mut Core, incoming: &mut Incoming, list: List) {
        for place in self.ahead.take(list.own) {
            let (bits, length) = self.ahead.prefixes[place];
            let path = core.imported(incoming, bits, length);
            self.put(core, bits, length, path, self.ahead.path_id(list, place));
        }
    }

    /// Withdraws the prefixes of the next list noted.
    pub(crate) fn withdraw_expected(&mut self, core: &mut Core, peer: u16, list: List) {
        for place in self.ahead.take(list.own) {
            let (bits, length) = self.ahead.prefixes[place];
            self.withdraw(core, bits, length, peer, self.ahead.path_id(list, place));
        }
    }

    /// Reads what the prefixes noted will need.
    pub(crate) fn read_ahead(&mut self) {
        self.table.read_ahead(&self.ahead.prefixes, &mut self.ahead.ids);
    }
}

/// A list of prefixes of an UPDATE, as far as it is of this shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List {
    /// How many are.
    pub(crate) own: u32,
    /// Whether the first one is: then what is to be counted once is counted here.
    pub(crate) leads: bool,
    /// Whether they have path identifiers.
    path_ids: bool,
}

/// Prefixes of this shard that are about to change, noted list by list and taken in the same order.
#[derive(Debug)]
pub(crate) struct Ahead<K> {
    prefixes: Vec<(K, u8)>,
    /// By place, where lists have path identifiers.
    path_ids: Vec<u32>,
    taken: usize,
    /// Room for where they lead.
    ids: Vec<u32>,
}

impl<K> Default for Ahead<K> {
    fn default() -> Self {
        Self { prefixes: Vec::new(), path_ids: Vec::new(), taken: 0, ids: Vec::new() }
    }
}

impl<K: Bits> Ahead<K> {
    /// How many prefixes are noted.
    pub(crate) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Notes the prefixes of a list.
    pub(crate) fn note(&mut self, shard: ShardSpec, list: Nlri<'_>) -> List {
        let before = self.prefixes.len();
        let mut leads = None;
        let owns = |bits, length| length <= K::WIDTH && shard.owns(bits);
        let path_ids = list.has_path_ids();
        if path_ids {
            self.path_ids.resize(before, 0);
            for ((bits, length), path_id) in K::prefixes(list).zip(list.path_ids()) {
                let own = owns(bits, length);
                leads.get_or_insert(own);
                if own {
                    self.prefixes.push((bits, length));
                    self.path_ids.push(path_id);
                }
            }
        } else {
            for (bits, length) in K::prefixes(list) {
                let own = owns(bits, length);
                leads.get_or_insert(own);
                if own {
                    self.prefixes.push((bits, length));
                }
            }
        }
        List { own: (self.prefixes.len() - before) as u32, leads: leads.unwrap_or_default(), path_ids }
    }

    /// The path identifier at a place of a list.
    #[inline]
    fn path_id(&self, list: List, place: usize) -> Option<u32> {
        if list.path_ids { self.path_ids.get(place).copied() } else { None }
    }

    fn take(&mut self, count: u32) -> Range<usize> {
        let from = self.taken;
        self.taken += count as usize;
        from..self.taken
    }

    /// Forgets them all.
    pub(crate) fn clear(&mut self) {
        self.prefixes.clear();
        self.path_ids.clear();
        self.taken = 0;
    }
}

/// What came of the attributes of a list of announcements. `counts` says whether this shard is the one to
/// count what was wrong with them.
pub(crate) fn intern(
    core: &mut Core,
    peer: u16,
    update: &Update<'_>,
    Announcement { mp, family, .. }: Announcement<'_>,
    counts: bool,
    key: &mut Vec<u8>,
) -> Option<Incoming> {
    let session = &core.peer(peer)?.session;
    let (context, link) = (session.attribute_context(), link_of(session.address));
    update.attribute_key(mp, context, key);
    mark_link(key, link);
    let result = match update.verdict() {
        UpdateVerdict::Accept => core.attrs.intern(key),
        UpdateVerdict::TreatAsWithdraw(error) => Err(error),
    };
    // The list that stands first speaks for both.
    let first = || !mp || update.announcements().all(|announcement| announcement.mp);
    match result {
        Ok(received) => {
            if counts && core.attrs.summary(received).has_discarded() && first() {
                let discarded = parse_attributes(key).map_or(0, |(_, discarded)| discarded.iter().count());
                core.peer_mut(peer)?.statistics.discarded_attributes += discarded as u64;
            }
            core.incoming(peer, received, family)
        }
        Err(error) => {
            let mut told = || {
                update.attribute_key(false, context, key);
                update.verdict() != UpdateVerdict::Accept || parse_attributes(key).is_err()
            };
            if counts && (first() || !told()) {
                let peer = core.peer_mut(peer)?;
                peer.statistics.treated_as_withdraw += 1;
                peer.statistics.last_error = Some(error.to_string());
                peer.statistics.last_error_in = peer.heard;
            }
            None
        }
    }
}
