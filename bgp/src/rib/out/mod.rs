//! Adj-RIB-Out: what each peer is told, by update groups.
//!
//! Peers with equal [`GroupConfig`]s form a group. A group keeps no routes: it keeps, for each family, a
//! journal of which prefixes changed (see `journal`), and six bytes a prefix. What a peer is sent is
//! made from the best routes at the moment when its socket has room ([`Rib::next_batch`]), so that a
//! slow peer costs nothing but its place in the journal and skips what has been overtaken. Messages are
//! encoded once and shared by the peers that stand at the same place.
//!
//! A peer that comes up is walked through the table first, in the order of the arena; that this is done, and
//! that it has caught up with what changed before it came, is said for each family ([`Batch::end_of_rib`]). ROUTE-REFRESH (RFC 2918) is one more walk. A group that can never announce anything (export
//! `none`) keeps nothing.

mod choose;
mod held_back;
pub(crate) mod journal;
mod pack;
mod reexport;
mod rewrite;
mod rules;
mod sent;

use bytes::Bytes;
use ipnet::IpNet;
use smallvec::{SmallVec, smallvec};

use crate::types::{Family, PeerId};
use crate::wire::Attributes;

pub use rewrite::{ExportRules, PrivateAsns, SharedLan};
pub use rules::GroupConfig;

use super::core::{Core, Plane};
use super::key::Bits;
use super::path::Path;
use super::table::pending;
use super::{Rib, on_plane};
use journal::{Journal, Span};
use reexport::Reexport;

/// What a peer is sent next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Whole messages, one after another. May be empty: what was looked at was not for this peer.
    pub messages: Vec<Bytes>,
    /// Behind them everything of this family has been sent that there was when the peer came up, as far as
    /// this shard holds it. Said once. When all shards have said so, End-of-RIB (RFC 4724 section 2) is due:
    /// no shard can send it for the others.
    pub end_of_rib: Option<Family>,
    /// Behind them everything of this family has been sent again that the peer asked for by
    /// [`Rib::refresh`], as far as this shard holds it. Said once for each request, or once for several that
    /// came before the answer to the first was over. When all shards have said so, the end of the refresh
    /// (RFC 7313) may be told.
    pub end_of_refresh: Option<Family>,
}

/// A route as a peer is sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The prefix.
    pub prefix: IpNet,
    /// The path identifier, where the peer takes several paths of a prefix (RFC 7911).
    pub path_id: Option<u32>,
    /// Its attributes.
    pub attributes: Attributes,
}

impl Batch {
    /// Whether there is nothing in it for the peer.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.end_of_rib.is_none() && self.end_of_refresh.is_none()
    }
}

/// The update groups and who is in them.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Vec<Option<Group>>,
    /// By peer.
    members: Vec<Option<Member>>,
}

#[derive(Debug)]
struct Group {
    config: GroupConfig,
    members: usize,
    /// What the members were sent may still be as an earlier configuration had it.
    reexport: Option<Reexport>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    group: usize,
    /// The family to look at first next time, so that none starves another.
    turn: usize,
}

impl Groups {
    pub(crate) fn len(&self) -> usize {
        self.groups.iter().flatten().count()
    }

    fn member(&self, peer: PeerId) -> Option<Member> {
        self.members.get(usize::from(peer.0)).copied().flatten()
    }

    fn config(&self, group: usize) -> Option<&GroupConfig> {
        self.groups.get(group)?.as_ref().map(|group| &group.config)
    }

    /// The group of a configuration, made when there is none; slots of groups that ended are reused.
    fn find_or_make(&mut self, config: GroupConfig) -> usize {
        let found = |group: &Option<Group>| group.as_ref().is_some_and(|group| group.config == config);
        if let Some(index) = self.groups.iter().position(found) {
            return index;
        }
        self.add(Group { config, members: 0, reexport: None })
    }

    fn add(&mut self, group: Group) -> usize {
        let group = Some(group);
        if let Some(index) = self.groups.iter().position(Option::is_none) {
            self.groups[index] = group;
            index
        } else {
            self.groups.push(group);
            self.groups.len() - 1
        }
    }
}

impl Rib {
    /// Starts to send routes to a peer: first the whole table, then End-of-RIB, then what changes. A
    /// peer that is sent routes already starts anew.
    pub fn export_up(&mut self, peer: PeerId, mut config: GroupConfig) {
        self.export_down(peer);
        config = self.with_conditions(config);
        let (families, silent, paths) = (config.families, config.is_silent(), config.encode.add_path);
        let chooses = config.route_server;
        let index = self.groups.find_or_make(config);
        if let Some(Some(group)) = self.groups.groups.get_mut(index) {
            group.members += 1;
        }
        let place = usize::from(peer.0);
        if self.groups.members.len() <= place {
            self.groups.members.resize(place + 1, None);
        }
        self.groups.members[place] = Some(Member { group: index, turn: 0 });
        for family in families.iter() {
            on_plane!(self, family, |plane| plane.join(index, silent, paths.contains(family), chooses, peer));
        }
    }

    /// A configuration with the conditions that hold now, and a place for the default route if it wants one.
    fn with_conditions(&mut self, mut config: GroupConfig) -> GroupConfig {
        config.rules.present = self.core.present & config.conditions();
        if config.rules.default_originate.is_some() {
            self.v4.keep_default_route(&mut self.core);
            self.v6.keep_default_route(&mut self.core);
        }
        config
    }

    /// Conditions changed: the groups whose policies ask for them look at their routes again.
    pub(crate) fn conditions_changed(&mut self, conditions: u64) {
        for index in 0..self.groups.groups.len() {
            let Some(config) = self.groups.config(index).cloned() else { continue };
            if config.conditions() & conditions != 0 {
                let config = self.with_conditions(config);
                self.set_group(index, &config);
            }
        }
    }

    /// Stops sending routes to a peer.
    pub fn export_down(&mut self, peer: PeerId) {
        let Some(member) = self.groups.member(peer) else { return };
        self.groups.members[usize::from(peer.0)] = None;
        for family in Family::ALL {
            on_plane!(self, family, |plane| plane.leave(&mut self.core, member.group, peer));
        }
        if let Some(slot) = self.groups.groups.get_mut(member.group)
            && let Some(group) = slot
        {
            group.members -= 1;
            if group.members == 0 {
                *slot = None;
            }
        }
    }

    /// Sends everything of a family again, as a peer asked for by ROUTE-REFRESH; whether the peer is sent
    /// routes of that family at all.
    pub fn refresh(&mut self, peer: PeerId, family: Family) -> bool {
        let Some(member) = self.groups.member(peer) else { return false };
        on_plane!(self, family, |plane| {
            let end = plane.table.end();
            plane.journal(member.group).is_some_and(|journal| journal.walk_again(peer.0, end))
        })
    }

    /// Whether there is anything to send to a peer.
    pub fn has_pending(&self, peer: PeerId) -> bool {
        self.groups.member(peer).is_some_and(|member| {
            self.v4.is_behind(member.group, peer) || self.v6.is_behind(member.group, peer)
        })
    }

    /// The peers with anything to send to.
    pub fn peers_with_pending(&self) -> Vec<PeerId> {
        (0..self.groups.members.len())
            .map(|index| PeerId(index as u16))
            .filter(|&peer| self.has_pending(peer))
            .collect()
    }

    /// The next messages for a peer, about `max_bytes` in all; `None` when there is nothing to send. When
    /// it is empty, ask again. Meant to be called when the peer's socket has room.
    pub fn next_batch(&mut self, peer: PeerId, max_bytes: usize) -> Option<Batch> {
        let Member { group, turn } = self.groups.member(peer)?;
        let config = self.groups.groups.get(group)?.as_ref().map(|group| &group.config)?;
        for step in 0..Family::ALL.len() {
            let family = Family::ALL[(turn + step) % Family::ALL.len()];
            let batch =
                on_plane!(self, family, |plane| plane.read(&self.core, config, group, peer, max_bytes));
            if batch.is_some() {
                on_plane!(self, family, |plane| plane.settle_uses(&mut self.core, group));
                self.groups.members[usize::from(peer.0)] = Some(Member { group, turn: family.index() + 1 });
                return batch;
            }
        }
        None
    }

    /// The routes by which a prefix is announced to a peer once it has caught up: none, one, or several paths
    /// (RFC 7911).
    pub fn exported(&self, peer: PeerId, prefix: IpNet) -> Vec<Advertised> {
        let Some((group, config)) = self.export_config(peer) else { return Vec::new() };
        match prefix.trunc() {
            IpNet::V4(net) => {
                let id = self.v4.table.find(net.network().to_bits(), net.prefix_len());
                id.map_or_else(Vec::new, |id| self.v4.told(&self.core, config, group, peer, id))
            }
            IpNet::V6(net) => {
                let id = self.v6.table.find(net.network().to_bits(), net.prefix_len());
                id.map_or_else(Vec::new, |id| self.v6.told(&self.core, config, group, peer, id))
            }
        }
    }

    /// Routes that could not be put into a message for a peer's group, because their attributes are too
    /// large or its next hop is of the wrong family. They are withdrawn instead.
    pub fn unsendable(&self, peer: PeerId) -> u64 {
        let Some(member) = self.groups.member(peer) else { return 0 };
        let of = |journals: &[Option<Journal>]| {
            journals.get(member.group).and_then(Option::as_ref).map_or(0, |journal| journal.unsendable)
        };
        of(&self.v4.journals) + of(&self.v6.journals)
    }

    /// The group of a peer that is sent routes.
    pub(crate) fn export_group(&self, peer: PeerId) -> Option<usize> {
        self.groups.member(peer).map(|member| member.group)
    }

    /// The group in which a peer is sent routes, and its configuration.
    pub(crate) fn export_config(&self, peer: PeerId) -> Option<(usize, &GroupConfig)> {
        let group = self.groups.member(peer)?.group;
        Some((group, self.groups.config(group)?))
    }
}

impl<K: Bits> Plane<K> {
    fn journal(&mut self, group: usize) -> Option<&mut Journal> {
        self.journals.get_mut(group)?.as_mut()
    }

    fn join(&mut self, group: usize, silent: bool, paths: bool, chooses: bool, peer: PeerId) {
        if self.journals.len() <= group {
            self.journals.resize_with(group + 1, || None);
        }
        let end = self.table.end();
        self.journals[group].get_or_insert_with(|| Journal::new(silent, paths, chooses)).join(peer.0, end);
        self.count_paths_journals();
    }

    fn leave(&mut self, core: &mut Core, group: usize, peer: PeerId) {
        let mut passed = Vec::new();
        let Some(journal) = self.journal(group) else { return };
        journal.leave(peer.0, &mut passed);
        if journal.readers().is_empty() {
            if let Some(sent) = &mut journal.sent {
                sent.clear();
                sent.settle_uses(&mut core.attrs);
            }
            self.journals[group] = None;
            self.count_paths_journals();
        }
        self.release(&passed);
    }

    fn count_paths_journals(&mut self) {
        self.paths_journals =
            self.journals.iter().flatten().filter(|journal| journal.hears_of_paths()).count();
    }

    /// Settles with the store what was noted of attributes while a group was told of changes.
    fn settle_uses(&mut self, core: &mut Core, group: usize) {
        if let Some(sent) = self.journal(group).and_then(|journal| journal.sent.as_mut()) {
            sent.settle_uses(&mut core.attrs);
        }
    }

    /// Frees what was kept only so that its end could be told.
    fn release(&mut self, passed: &[u32]) {
        for &id in passed {
            self.free_if_unused(id);
        }
    }

    fn is_behind(&self, group: usize, peer: PeerId) -> bool {
        let journal = self.journals.get(group).and_then(Option::as_ref);
        journal.is_some_and(|journal| journal.reader(peer.0).is_some_and(|reader| journal.is_behind(reader)))
    }

    fn read(
        &mut self,
        core: &Core,
        config: &GroupConfig,
        group: usize,
        peer: PeerId,
        max_bytes: usize,
    ) -> Option<Batch> {
        let mut journal = self.journals.get_mut(group)?.take()?;
        let mut passed = Vec::new();
        let batch = self.read_journal(core, config, &mut journal, peer, max_bytes, &mut passed);
        self.journals[group] = Some(journal);
        self.release(&passed);
        batch
    }

    fn read_journal(
        &self,
        core: &Core,
        config: &GroupConfig,
        journal: &mut Journal,
        peer: PeerId,
        max_bytes: usize,
        passed: &mut Vec<u32>,
    ) -> Option<Batch> {
        let reader = journal.reader(peer.0)?.clone();
        if !journal.is_behind(&reader) {
            return None;
        }
        let mut messages = Vec::new();
        if reader.walk.is_some() || reader.position < journal.end() {
            let chunk = journal.chunk_for(&reader).cloned().unwrap_or_else(|| {
                let chunk = pack::make_chunk(core, self, config, journal, &reader, max_bytes);
                journal.keep(&chunk);
                chunk
            });
            let pieces = chunk.pieces.into_iter().filter(|(audience, _)| audience.includes(peer.0));
            messages.extend(pieces.map(|(_, bytes)| bytes));
            let span = match reader.walk {
                Some(walk) => Span::Walk(walk.next, reader.position),
                None => Span::Log(reader.position),
            };
            journal.advance(peer.0, span, chunk.next, passed);
        }
        let end_of_rib = journal.take_end_of_rib(peer.0).then_some(K::FAMILY);
        let end_of_refresh = journal.take_end_of_refresh(peer.0).then_some(K::FAMILY);
        Some(Batch { messages, end_of_rib, end_of_refresh })
    }

    /// The paths of an entry that a group is told of, before export has its say: the best one, or several in
    /// order of preference.
    pub(crate) fn chosen_for(
        &self,
        core: &Core,
        config: &GroupConfig,
        client: Option<PeerId>,
        id: u32,
    ) -> SmallVec<[Path; 4]> {
        if !config.families.contains(K::FAMILY) {
            return SmallVec::new();
        }
        if let Some((default, attr)) = self.default_route
            && default == id
            && config.rules.default_originate.is_some()
        {
            return smallvec![Path { attr, source: attr, peer: PeerId::LOCAL.0, ..Path::default() }];
        }
        let (bits, length) = self.table.prefix(id);
        if self.table.is_pending(id, pending::NOT_INSTALLED) || core.is_suppressed(bits, length) {
            return SmallVec::new();
        }
        if config.encode.add_path.contains(K::FAMILY) {
            self.best_paths(core, id, config.most_paths)
        } else if let Some(client) = client.filter(|_| config.route_server) {
            let passes = |path| self.passes(core, config, path, id);
            self.best_for_client(core, client.0, id, passes).into_iter().collect()
        } else {
            self.table.best(id).into_iter().collect()
        }
    }

    /// Whether a member of a group has an entry that is not its own; while it is behind, perhaps.
    pub(crate) fn holds(&self, group: Option<usize>, peer: u16, id: u32) -> bool {
        let journal = group.and_then(|group| self.journals.get(group)).and_then(Option::as_ref);
        let Some(journal) = journal else { return false };
        // Of several paths that are sent, the best one may be its own.
        let from_peer = || self.table.best(id).is_some_and(|best| best.peer == peer);
        journal.is_held(id, peer) && (journal.sent.is_some() || !from_peer())
    }

    /// What a peer is to be told of an entry, if that is not beyond its limit.
    pub(crate) fn told(
        &self,
        core: &Core,
        config: &GroupConfig,
        group: usize,
        peer: PeerId,
        id: u32,
    ) -> Vec<Advertised> {
        let journal = self.journals.get(group).and_then(Option::as_ref);
        if config.limits[K::FAMILY.index()].is_some()
            && !journal.is_some_and(|journal| journal.is_held(id, peer.0))
        {
            return Vec::new();
        }
        self.exported(core, config, Some(peer), id)
    }

    /// What a peer, or any but those that routes came from, is to be told of an entry.
    pub(crate) fn exported(
        &self,
        core: &Core,
        config: &GroupConfig,
        peer: Option<PeerId>,
        id: u32,
    ) -> Vec<Advertised> {
        let (bits, length) = self.table.prefix(id);
        let prefix = bits.net(length);
        let path_ids = config.encode.add_path.contains(K::FAMILY);
        let paths = self.chosen_for(core, config, peer, id);
        let others = paths.into_iter().filter(|path| peer != Some(PeerId(path.peer)));
        let exported = others.filter_map(|path| {
            let attributes =
                config.exported(core.source(path), &core.attrs.attributes(path.attr)?, prefix)?;
            Some(Advertised { prefix, path_id: path_ids.then(|| sent::path_id(path)), attributes })
        });
        exported.collect()
    }
}
