//! From an UPDATE to paths: interning, the checks that make a path ineligible, import policy.
//!
//! Attributes are interned once for each list of an UPDATE. The checks and a policy that does not ask
//! for the prefix run once for it too; only a policy that does is asked for each prefix. What a policy
//! changes is interned beside the received attributes, so that a new policy can start afresh.
//!
//! A path that is refused replaces what the peer sent before all the same, marked with the reason.

use std::borrow::Cow;

use ipnet::IpNet;

use crate::policy::{Decision, PolicyChain, PolicyContext};
use crate::session::PeerKind;
use crate::types::PeerId;
use crate::wire::{Attributes, Nlri, Update, UpdateVerdict};

use super::core::{Core, Plane};
use super::key::Bits;
use super::path::{Ineligible, LOCAL_RANK, Path};

/// Received attributes on their way through import: holds one use of them, and one of what policy
/// made of them last.
pub(crate) struct Incoming {
    peer: u16,
    received: u32,
    /// Attributes after policy, once known.
    outcome: Option<(u32, u16)>,
    marks: u16,
    /// What is asked for each prefix, and the attributes to ask it about.
    policy: Option<(PolicyChain, PolicyContext, Attributes)>,
}

impl Core {
    /// Starts to import attributes, whose use by the caller passes to what is returned. `None`: there
    /// is no such peer.
    pub(crate) fn incoming(&mut self, peer_id: u16, received: u32) -> Option<Incoming> {
        let peer = self.peer(peer_id)?;
        let session = &peer.session;
        let (marks, context) = (peer.marks, PolicyContext { local_asn: session.local_asn });
        let mut incoming = Incoming { peer: peer_id, received, outcome: None, marks, policy: None };
        if let Some(reason) = self.refusal(peer_id, received) {
            incoming.settle(self, received, reason.flags());
        } else if session.import.is_accept_all() {
            incoming.settle(self, received, 0);
        } else if session.import.is_reject_all() {
            incoming.settle(self, received, Ineligible::RejectedByPolicy.flags());
        } else {
            let chain = session.import.clone();
            // Attributes in use can always be read again.
            let attributes = self.attrs.attributes(received).unwrap_or_default();
            if chain.depends_on_prefix() {
                incoming.policy = Some((chain, context, attributes));
            } else {
                let (attr, flags) = self.apply(&chain, context, &attributes, received, IpNet::default());
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
        let own_as = summary.has_own_as()
            || (session.local_asn != self.asn
                && self.attrs.attributes(received).is_some_and(|a| a.as_path.contains(session.local_asn)));
        if own_as {
            Some(Ineligible::AsLoop)
        } else if summary.has_own_originator() {
            Some(Ineligible::OriginatorLoop)
        } else if summary.has_own_cluster() {
            Some(Ineligible::ClusterLoop)
        } else if external && session.enforce_first_as && summary.first_as != session.asn.0 {
            Some(Ineligible::FirstAsMismatch)
        } else if external && session.import.is_empty() {
            Some(Ineligible::NoPolicy)
        } else {
            None
        }
    }

    /// Asks policy; the caller gets one use of the attributes.
    fn apply(
        &mut self,
        chain: &PolicyChain,
        context: PolicyContext,
        attributes: &Attributes,
        received: u32,
        prefix: IpNet,
    ) -> (u32, u16) {
        match chain.evaluate(prefix, Cow::Borrowed(attributes), &context) {
            Decision::Accept(Cow::Borrowed(_)) => {
                self.attrs.retain(received);
                (received, 0)
            }
            Decision::Accept(Cow::Owned(changed)) => (self.attrs.intern_attributes(&changed), 0),
            Decision::Reject(_) => {
                self.attrs.retain(received);
                (received, Ineligible::RejectedByPolicy.flags())
            }
        }
    }

    /// The path that a prefix gets.
    #[inline]
    pub(crate) fn imported<K: Bits>(&mut self, incoming: &mut Incoming, bits: K, length: u8) -> Path {
        if let Some((chain, context, attributes)) = incoming.policy.take() {
            let (attr, flags) = self.apply(&chain, context, &attributes, incoming.received, bits.net(length));
            incoming.policy = Some((chain, context, attributes));
            incoming.settle(self, attr, flags);
            self.attrs.release(attr);
        }
        let (attr, mut flags) = incoming.outcome.unwrap_or((incoming.received, 0));
        if bits.is_martian(length) {
            flags = Ineligible::MartianPrefix.flags();
        }
        if !self.reachable(attr) {
            flags |= Path::UNREACHABLE;
        }
        let local = if incoming.peer == PeerId::LOCAL.0 { LOCAL_RANK } else { 0 };
        Path {
            attr,
            received: incoming.received,
            rank: self.attrs.summary(attr).rank | local,
            peer: incoming.peer,
            flags: flags | incoming.marks,
        }
    }
}

impl Incoming {
    /// Takes note of what became of the attributes, with a use of them.
    fn settle(&mut self, core: &mut Core, attr: u32, flags: u16) {
        core.attrs.retain(attr);
        if let Some((old, _)) = self.outcome.replace((attr, flags)) {
            core.attrs.release(old);
        }
    }

    /// Ends the import: the attributes are now held by paths only.
    pub(crate) fn finish(self, core: &mut Core) {
        if let Some((attr, _)) = self.outcome {
            core.attrs.release(attr);
        }
        core.attrs.release(self.received);
    }
}

impl<K: Bits> Plane<K> {
    /// Puts a path into the entry of its prefix, in place of what the peer had there.
    pub(crate) fn put(&mut self, core: &mut Core, bits: K, length: u8, path: Path) {
        let id = self.table.find_or_insert(bits, length);
        if let Some(index) = self.table.paths(id).iter().position(|other| other.peer == path.peer) {
            return self.replace(core, id, index, path);
        }
        core.attrs.retain(path.received);
        core.attrs.retain(path.attr);
        core.count(path.peer, K::FAMILY, |counts| {
            counts.received += 1;
            counts.accepted += usize::from(path.accepted());
        });
        if self.loses_at_once(id, path) {
            self.table.push(id, path);
        } else {
            let before = self.choice(core, id);
            self.table.push(id, path);
            self.reselect(core, id, before);
        }
    }

    /// Puts a path in the place of one of the same peer.
    pub(crate) fn replace(&mut self, core: &mut Core, id: u32, index: usize, path: Path) {
        let old = self.table.paths(id)[index];
        let chosen = old.flags & Path::CHOSEN;
        if (Path { flags: path.flags | chosen, ..path }) == old {
            return;
        }
        core.attrs.retain(path.received);
        core.attrs.retain(path.attr);
        core.count(path.peer, K::FAMILY, |counts| {
            counts.accepted += usize::from(path.accepted());
            counts.accepted -= usize::from(old.accepted());
        });
        // Nothing but the marks of its session or policy is new: whatever was chosen stays.
        let same = (old.attr, old.rank) == (path.attr, path.rank)
            && (old.flags ^ path.flags) & !(Path::CHOSEN | Path::GENERATION | Path::POLICY) == 0;
        if same || (chosen == 0 && self.loses_at_once(id, path)) {
            self.table.paths_mut(id)[index] = Path { flags: path.flags | chosen, ..path };
        } else {
            let before = self.choice(core, id);
            self.table.paths_mut(id)[index] = path;
            self.reselect(core, id, before);
        }
        core.attrs.release(old.received);
        core.attrs.release(old.attr);
    }

    /// Takes a path out of an entry.
    pub(crate) fn take(&mut self, core: &mut Core, id: u32, index: usize) {
        let before = self.choice(core, id);
        let old = self.table.swap_remove(id, index);
        core.count(old.peer, K::FAMILY, |counts| {
            counts.received -= 1;
            counts.accepted -= usize::from(old.accepted());
        });
        if old.has(Path::CHOSEN) {
            self.reselect(core, id, before);
        }
        core.attrs.release(old.received);
        core.attrs.release(old.attr);
        self.free_if_unused(id);
    }

    /// Withdraws a prefix of a peer.
    pub(crate) fn withdraw(&mut self, core: &mut Core, bits: K, length: u8, peer: u16) {
        let Some(id) = self.table.find(bits, length) else { return };
        let Some(index) = self.table.paths(id).iter().position(|path| path.peer == peer) else { return };
        self.take(core, id, index);
    }

    /// Announces a list of prefixes; how many of them are of this shard.
    pub(crate) fn announce_list(&mut self, core: &mut Core, incoming: &mut Incoming, list: Nlri<'_>) -> u64 {
        let mut count = 0;
        for (bits, length) in K::prefixes(list) {
            if length <= K::WIDTH && core.shard.owns(bits, length) {
                let path = core.imported(incoming, bits, length);
                self.put(core, bits, length, path);
                count += 1;
            }
        }
        count
    }

    /// Notes the prefixes of a list for [`Plane::read_ahead`]; how many are noted now.
    pub(crate) fn expect(&mut self, core: &Core, list: Nlri<'_>) -> usize {
        let of_shard = |&(bits, length): &(K, u8)| length <= K::WIDTH && core.shard.owns(bits, length);
        self.ahead.0.extend(K::prefixes(list).filter(of_shard));
        self.ahead.0.len()
    }

    /// Reads what the prefixes noted will need.
    pub(crate) fn read_ahead(&mut self) {
        let (prefixes, ids) = &mut self.ahead;
        self.table.read_ahead(prefixes, ids);
        prefixes.clear();
    }

    /// Withdraws a list of prefixes; how many of them are of this shard.
    pub(crate) fn withdraw_list(&mut self, core: &mut Core, peer: u16, list: Nlri<'_>) -> u64 {
        let mut count = 0;
        for (bits, length) in K::prefixes(list) {
            if length <= K::WIDTH && core.shard.owns(bits, length) {
                self.withdraw(core, bits, length, peer);
                count += 1;
            }
        }
        count
    }
}

/// What came of the attributes of a list of announcements.
pub(crate) fn intern(
    core: &mut Core,
    peer: u16,
    update: &Update<'_>,
    mp: bool,
    key: &mut Vec<u8>,
) -> Option<Incoming> {
    let session = &core.peer(peer)?.session;
    update.attribute_key(mp, session.kind == PeerKind::Ebgp, session.as4, key);
    let result = match update.verdict() {
        UpdateVerdict::Accept => core.attrs.intern(key),
        UpdateVerdict::TreatAsWithdraw(error) => Err(error),
    };
    match result {
        Ok((received, discarded)) => {
            if !discarded.is_empty() {
                let count = discarded.iter().count() as u64;
                let statistics = &mut core.peer_mut(peer)?.statistics;
                statistics.discarded_attributes += count;
            }
            core.incoming(peer, received)
        }
        Err(error) => {
            let statistics = &mut core.peer_mut(peer)?.statistics;
            statistics.treated_as_withdraw += 1;
            statistics.last_error = Some(error.to_string());
            None
        }
    }
}
