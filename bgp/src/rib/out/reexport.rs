//! Export that changes while sessions are up: peers are sent what differs, and nothing else.
//!
//! What peers were sent is not kept, but it follows from the best routes and the configuration of their group.
//! So a group whose configuration changes keeps the earlier one until each entry was made into a route by both;
//! an entry for which the two differ is put into the journal like one that changed, and each peer reads it in
//! its turn. Entries that are in the journal anyway are read under the new configuration.
//!
//! When only some peers of a group change, the group is split: the journal is copied, so that it is known of
//! these peers too how far they have read and what they may have. This is a copy of some bytes a prefix for a
//! change that an operator makes; that two groups may then be equal costs nothing but work done twice.

use crate::types::{Family, PeerId};
use crate::wire::Attributes;

use super::super::core::{Core, Plane};
use super::super::key::Bits;
use super::super::table::pending;
use super::super::{Rib, on_plane};
use super::{Group, GroupConfig, Groups, Member};

/// Earlier configurations that are compared with; changes that come faster than the passes over the table
/// end have everything sent again.
const MOST_EARLIER: usize = 4;
/// What an entry counts for that is made into a route twice, in entries that are only looked at.
const COST: usize = 8;

/// The pass over the table for a group whose configuration changed.
#[derive(Clone, Debug)]
pub(super) struct Reexport {
    /// By which the routes were made that peers may have been sent.
    earlier: Vec<GroupConfig>,
    /// The entry to look at next; by [`Family::index`].
    next: [u32; Family::ALL.len()],
}

impl GroupConfig {
    /// Whether both can be of one session that stayed up: what only a new session changes is equal.
    fn is_same_session(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.families == other.families
            && self.encode == other.encode
            && self.route_server == other.route_server
    }
}

impl Groups {
    /// Whether a pass is under way.
    pub(crate) fn is_reexporting(&self) -> bool {
        self.groups.iter().flatten().any(|group| group.reexport.is_some())
    }

    /// Makes a group of its own of some members of another one; its slot.
    fn split(&mut self, from: usize, peers: &[PeerId]) -> Option<usize> {
        let group = self.groups.get_mut(from)?.as_mut()?;
        group.members -= peers.len();
        let (config, reexport) = (group.config.clone(), group.reexport.clone());
        let index = self.add(Group { config, members: peers.len(), reexport });
        for peer in peers {
            if let Some(Some(member)) = self.members.get_mut(usize::from(peer.0)) {
                *member = Member { group: index, ..*member };
            }
        }
        Some(index)
    }
}

impl Rib {
    /// Peers are exported to under other configurations from now on.
    pub(crate) fn set_exports(&mut self, changes: &[(PeerId, &GroupConfig)]) {
        let changes: Vec<(PeerId, GroupConfig)> =
            changes.iter().map(|&(peer, config)| (peer, self.with_conditions(config.clone()))).collect();
        let mut moves: Vec<(usize, &GroupConfig, Vec<PeerId>)> = Vec::new();
        for (peer, config) in &changes {
            let peer = *peer;
            let Some(Member { group, .. }) = self.groups.member(peer) else { continue };
            let changes = |present: &GroupConfig| present != config && present.is_same_session(config);
            if !self.groups.config(group).is_some_and(changes) {
                continue;
            }
            match moves.iter_mut().find(|(from, to, _)| *from == group && *to == config) {
                Some((.., peers)) => peers.push(peer),
                None => moves.push((group, config, vec![peer])),
            }
        }
        for (from, config, peers) in moves {
            let Some(Some(group)) = self.groups.groups.get(from) else { continue };
            let whole = group.members == peers.len();
            let index = if whole { Some(from) } else { self.split(from, &peers) };
            if let Some(index) = index {
                self.set_group(index, config);
            }
        }
    }

    fn split(&mut self, from: usize, peers: &[PeerId]) -> Option<usize> {
        let index = self.groups.split(from, peers)?;
        for family in Family::ALL {
            on_plane!(self, family, |plane| plane.split(&mut self.core, from, index, peers));
        }
        Some(index)
    }

    pub(super) fn set_group(&mut self, index: usize, config: &GroupConfig) {
        let Some(Some(group)) = self.groups.groups.get_mut(index) else { return };
        let earlier = std::mem::replace(&mut group.config, config.clone());
        let pass = group.reexport.get_or_insert_with(|| Reexport { earlier: Vec::new(), next: [0; 2] });
        pass.earlier.push(earlier);
        pass.next = [0; 2];
        let silent = config.is_silent();
        for family in Family::ALL {
            on_plane!(self, family, |plane| {
                // It is not among the best routes that are compared.
                let default = plane.default_route;
                if let Some(journal) = plane.journal(index) {
                    journal.reconfigured(silent);
                    if let Some((id, _)) = default {
                        journal.record(id);
                    }
                }
            });
        }
    }

    /// Goes on with the passes; up to `budget` in entries that are only looked at.
    pub(crate) fn reexport(&mut self, mut budget: usize) {
        for index in 0..self.groups.groups.len() {
            let Some(Some(group)) = self.groups.groups.get_mut(index) else { continue };
            let Some(mut pass) = group.reexport.take() else { continue };
            let config = group.config.clone();
            let mut done = true;
            for family in config.families.iter() {
                let next = &mut pass.next[family.index()];
                let entries = budget.div_ceil(COST);
                let (stopped, looked_at) = on_plane!(self, family, |plane| plane.reexport(
                    &self.core,
                    index,
                    &config,
                    &pass.earlier,
                    *next,
                    entries
                ));
                budget -= (looked_at * COST).min(budget);
                done &= stopped.is_none();
                *next = stopped.unwrap_or(u32::MAX);
            }
            if !done && let Some(Some(group)) = self.groups.groups.get_mut(index) {
                group.reexport = Some(pass);
            }
        }
    }
}

impl<K: Bits> Plane<K> {
    fn split(&mut self, core: &mut Core, from: usize, index: usize, peers: &[PeerId]) {
        // What is noted of attributes so far is the original's to settle.
        self.settle_uses(core, from);
        let Some(journal) = self.journal(from) else { return };
        let copy = journal.split(|peer| peers.contains(&PeerId(peer)));
        if copy.readers().is_empty() {
            return;
        }
        if self.journals.len() <= index {
            self.journals.resize_with(index + 1, || None);
        }
        self.journals[index] = Some(copy);
        self.settle_uses(core, index);
        self.count_paths_journals();
        for peer in peers {
            self.leave(core, from, *peer);
        }
    }

    /// Looks at up to `limit` entries from `next` on; where to go on, if not at the end, and at how many it was.
    fn reexport(
        &mut self,
        core: &Core,
        group: usize,
        config: &GroupConfig,
        earlier: &[GroupConfig],
        next: u32,
        limit: usize,
    ) -> (Option<u32>, usize) {
        // Put back below; with it in place, the rest of the plane could not be read.
        let Some(mut journal) = self.journals.get_mut(group).and_then(Option::take) else { return (None, 0) };
        let everything = earlier.len() > MOST_EARLIER || config.route_server;
        let mut seen = Seen::default();
        let (mut next, mut looked_at) = (next, 0);
        let stopped = loop {
            let Some(id) = self.table.next_live(next) else { break None };
            if looked_at == limit {
                break Some(id);
            }
            looked_at += 1;
            next = id + 1;
            let differs = |seen: &mut Seen| match &journal.sent {
                Some(_) => self.paths_differ(core, config, earlier, id),
                None => self.differs(core, config, earlier, id, seen),
            };
            if everything || differs(&mut seen) {
                journal.record(id);
            }
        };
        self.journals[group] = Some(journal);
        (stopped, looked_at)
    }

    /// Whether the paths of an entry that are sent, or how, are others by the present configuration than by one of
    /// the earlier ones.
    fn paths_differ(&self, core: &Core, config: &GroupConfig, earlier: &[GroupConfig], id: u32) -> bool {
        if self.is_held_back(core, id) || self.table.is_pending(id, pending::NOT_INSTALLED) {
            return false;
        }
        // Of no peer: what came from a member is not left out.
        let paths = |config: &GroupConfig| self.exported(core, config, None, id);
        let now = paths(config);
        earlier.iter().any(|earlier| paths(earlier) != now)
    }

    /// Whether an entry is another route by the present configuration than by one of the earlier ones.
    fn differs(
        &self,
        core: &Core,
        config: &GroupConfig,
        earlier: &[GroupConfig],
        id: u32,
        seen: &mut Seen,
    ) -> bool {
        // What waits for the forwarding plane is read when that has answered.
        if self.is_held_back(core, id) || self.table.is_pending(id, pending::NOT_INSTALLED) {
            return false;
        }
        let Some(best) = self.table.best(id) else { return false };
        let of = Some((best.peer, best.attr));
        if seen.of != of {
            *seen = Seen { of, attributes: core.attrs.attributes(best.attr), differs: None };
        }
        if let Some(differs) = seen.differs {
            return differs;
        }
        let Some(attributes) = &seen.attributes else { return false };
        let source = core.source(best);
        let (bits, length) = self.table.prefix(id);
        let route = |config: &GroupConfig| config.exported(source, attributes, bits.net(length));
        let now = route(config);
        let differs = earlier.iter().any(|earlier| route(earlier) != now);
        if !earlier.iter().chain([config]).any(|config| config.export.depends_on_prefix()) {
            seen.differs = Some(differs);
        }
        differs
    }
}

/// What was found of the attributes seen last: neighbouring entries tend to have the same.
#[derive(Default)]
struct Seen {
    of: Option<(u16, u32)>,
    attributes: Option<Attributes>,
    /// When the prefix makes no difference.
    differs: Option<bool>,
}
