//! Next hops: interned by what they are, written by what is known of them.
//!
//! A next hop lives as long as its owner holds it (`acquire` until `release`; asking again does not
//! count twice) or a set names it. What the owner learns (`resolve`) changes no route and no set: at the
//! next commit the adjacency goes to an index that nothing names, then one 8-byte store of the next hop
//! switches to it. The old adjacency is reused only after a grace period, and so is the index of a next
//! hop that is gone. Several changes between two commits end as one.

use std::collections::HashMap;
use std::net::IpAddr;

use fib_abi::{Adjacency, NextHopKind, NextHopWord};
use serde::Serialize;

use crate::FibError;
use crate::edit::TableEdit;
use crate::ids::IdPool;

/// Index of a next hop in `NEXT_HOPS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NextHopId(pub u32);

/// What a next hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHopKey {
    /// An address of the router itself.
    Local,
    /// Drop without an answer.
    Blackhole,
    /// Drop; unreachable.
    Reject,
    /// A connected subnet on this interface: the host's stack resolves the destination.
    Glean {
        /// The interface.
        ifindex: u32,
    },
    /// A neighbour.
    Via {
        /// Its address.
        addr: IpAddr,
        /// The interface that it is on.
        ifindex: u32,
    },
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// Its MAC is known.
    Forward {
        /// How frames to it leave.
        adjacency: Adjacency,
        /// Largest IP packet in bytes; 0: not checked.
        mtu: u16,
    },
    /// Its MAC is unknown: packets go to the host's stack, which asks for it.
    Glean {
        /// Largest IP packet in bytes; 0: not checked.
        mtu: u16,
    },
    /// It cannot be reached: drop.
    Down,
}

/// A next hop as `show` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHopView {
    /// Its index, also that of its counters.
    pub id: NextHopId,
    /// What it is.
    pub key: NextHopKey,
    /// What is known of it; `None` for those that need no neighbour.
    pub resolution: Option<Resolution>,
    /// Whether it may be lost, see [`crate::Fib::suspect`].
    pub suspect: bool,
    /// Number of sets that name it.
    pub sets: u32,
}

/// How far a next hop can be relied on, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// Nothing is known against it.
    Good,
    /// It may be lost: others are used where there are others.
    Suspect,
    /// It cannot be reached.
    Down,
}

#[derive(Debug)]
struct NextHop {
    key: NextHopKey,
    resolution: Resolution,
    suspect: bool,
    /// What the map holds, or will after the edits of the last commit.
    written: Option<NextHopWord>,
    adjacency: Option<(u32, Adjacency)>,
    held: bool,
    sets: u32,
    dirty: bool,
}

impl NextHop {
    fn health(&self) -> Health {
        match (self.key, self.resolution) {
            (NextHopKey::Via { .. }, Resolution::Down) => Health::Down,
            (NextHopKey::Via { .. }, _) if self.suspect => Health::Suspect,
            _ => Health::Good,
        }
    }
}

/// All next hops.
#[derive(Debug)]
pub(crate) struct NextHops {
    slots: Vec<Option<NextHop>>,
    by_key: HashMap<NextHopKey, u32>,
    ids: IdPool,
    adjacencies: IdPool,
    adjacencies_used: u32,
    /// Those to look at in the next commit.
    dirty: Vec<u32>,
    /// Those whose health changed since the last commit.
    moved: Vec<NextHopId>,
}

impl NextHops {
    pub(crate) fn new(next_hops: u32, adjacencies: u32) -> Self {
        Self {
            slots: Vec::new(),
            by_key: HashMap::new(),
            ids: IdPool::new(0, next_hops),
            adjacencies: IdPool::new(0, adjacencies),
            adjacencies_used: 0,
            dirty: Vec::new(),
            moved: Vec::new(),
        }
    }

    pub(crate) fn acquire(&mut self, key: NextHopKey) -> Result<NextHopId, FibError> {
        if let Some(&id) = self.by_key.get(&key) {
            if let Some(Some(next_hop)) = self.slots.get_mut(id as usize) {
                next_hop.held = true;
            }
            return Ok(NextHopId(id));
        }
        let id = self.ids.allocate().ok_or(FibError::NextHopsFull { limit: self.ids.limit() })?;
        let next_hop = NextHop {
            key,
            resolution: Resolution::Down,
            suspect: false,
            written: None,
            adjacency: None,
            held: true,
            sets: 0,
            dirty: true,
        };
        if self.slots.len() <= id as usize {
            self.slots.resize_with(id as usize + 1, || None);
        }
        self.slots[id as usize] = Some(next_hop);
        self.by_key.insert(key, id);
        self.dirty.push(id);
        Ok(NextHopId(id))
    }

    pub(crate) fn release(&mut self, id: NextHopId) -> Result<(), FibError> {
        let next_hop = self.slot_mut(id)?;
        next_hop.held = false;
        self.touch(id);
        Ok(())
    }

    pub(crate) fn resolve(&mut self, id: NextHopId, resolution: Resolution) -> Result<(), FibError> {
        let next_hop = self.slot_mut(id)?;
        if !matches!(next_hop.key, NextHopKey::Via { .. }) {
            return Err(FibError::NotANeighbour { id: id.0 });
        }
        if next_hop.resolution != resolution {
            let before = next_hop.health();
            next_hop.resolution = resolution;
            let moved = next_hop.health() != before;
            self.touch(id);
            self.moved.extend(moved.then_some(id));
        }
        Ok(())
    }

    pub(crate) fn suspect(&mut self, id: NextHopId, suspect: bool) -> Result<(), FibError> {
        let next_hop = self.slot_mut(id)?;
        if std::mem::replace(&mut next_hop.suspect, suspect) != suspect {
            self.moved.push(id);
        }
        Ok(())
    }

    /// How far a next hop can be relied on; one that is gone not at all.
    pub(crate) fn health(&self, id: NextHopId) -> Health {
        match self.slots.get(id.0 as usize) {
            Some(Some(next_hop)) => next_hop.health(),
            _ => Health::Down,
        }
    }

    /// The next hops whose health changed since the last call.
    pub(crate) fn take_moved(&mut self) -> Vec<NextHopId> {
        std::mem::take(&mut self.moved)
    }

    /// A set names the next hop.
    pub(crate) fn retain(&mut self, id: NextHopId) {
        if let Ok(next_hop) = self.slot_mut(id) {
            next_hop.sets += 1;
        }
    }

    /// A set that named the next hop is gone.
    pub(crate) fn forget(&mut self, id: NextHopId) {
        if let Ok(next_hop) = self.slot_mut(id) {
            next_hop.sets -= 1;
            self.touch(id);
        }
    }

    pub(crate) fn exists(&self, id: NextHopId) -> bool {
        matches!(self.slots.get(id.0 as usize), Some(Some(_)))
    }

    pub(crate) fn find(&self, key: NextHopKey) -> Option<NextHopId> {
        self.by_key.get(&key).copied().map(NextHopId)
    }

    pub(crate) fn view(&self, id: NextHopId) -> Option<NextHopView> {
        let next_hop = self.slots.get(id.0 as usize)?.as_ref()?;
        let neighbour = matches!(next_hop.key, NextHopKey::Via { .. });
        Some(NextHopView {
            id,
            key: next_hop.key,
            resolution: neighbour.then_some(next_hop.resolution),
            suspect: next_hop.suspect,
            sets: next_hop.sets,
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = NextHopView> + '_ {
        (0..self.slots.len() as u32).filter_map(|id| self.view(NextHopId(id)))
    }

    /// Retires what nobody needs and writes what changed. What takes traffic off next hops is appended to
    /// `last`: it is to be done when others have that traffic.
    pub(crate) fn commit(&mut self, edits: &mut Vec<TableEdit>, last: &mut Vec<TableEdit>) {
        let start = edits.len();
        let mut words = Vec::new();
        for id in std::mem::take(&mut self.dirty) {
            let Some(next_hop) = self.slots[id as usize].as_mut() else { continue };
            next_hop.dirty = false;
            if !next_hop.held && next_hop.sets == 0 {
                self.retire(id);
            } else if let Some(word) = self.write(id, edits) {
                let drops = word.kind == NextHopKind::Unset as u8;
                let words = if drops { &mut *last } else { &mut words };
                words.push(TableEdit::NextHop { index: id, value: word });
            }
        }
        debug_assert!(edits[start..].iter().all(|edit| matches!(edit, TableEdit::Adjacency { .. })));
        edits.append(&mut words);
    }

    /// The word to store for a next hop, if it differs from the one in the map.
    fn write(&mut self, id: u32, edits: &mut Vec<TableEdit>) -> Option<NextHopWord> {
        let next_hop = self.slots[id as usize].as_mut()?;
        let (kind, mtu) = match (next_hop.key, next_hop.resolution) {
            (NextHopKey::Local, _) => (NextHopKind::Local, 0),
            (NextHopKey::Blackhole, _) => (NextHopKind::Blackhole, 0),
            (NextHopKey::Reject, _) => (NextHopKind::Reject, 0),
            (NextHopKey::Glean { .. }, _) => (NextHopKind::Glean, 0),
            (NextHopKey::Via { .. }, Resolution::Forward { mtu, .. }) => (NextHopKind::Forward, mtu),
            (NextHopKey::Via { .. }, Resolution::Glean { mtu }) => (NextHopKind::Glean, mtu),
            (NextHopKey::Via { .. }, Resolution::Down) => (NextHopKind::Unset, 0),
        };
        let mut word = NextHopWord { kind: kind as u8, reserved: 0, mtu, adjacency: 0 };
        let wanted = match next_hop.resolution {
            Resolution::Forward { adjacency, .. } if kind == NextHopKind::Forward => Some(adjacency),
            _ => None,
        };
        if next_hop.adjacency.map(|(_, adjacency)| adjacency) != wanted {
            let fresh = wanted.map(|adjacency| (self.adjacencies.allocate(), adjacency));
            if let Some((None, _)) = fresh {
                // No index is free: the next hop stays as it was until a grace period frees one. One
                // that was never written must not show what its index held before.
                next_hop.dirty = true;
                self.dirty.push(id);
                let unset = NextHopWord::default();
                return next_hop
                    .written
                    .replace(next_hop.written.unwrap_or(unset))
                    .is_none()
                    .then_some(unset);
            }
            if let Some((old, _)) = next_hop.adjacency.take() {
                self.adjacencies.retire(old);
                self.adjacencies_used -= 1;
            }
            if let Some((Some(index), value)) = fresh {
                edits.push(TableEdit::Adjacency { index, value });
                next_hop.adjacency = Some((index, value));
                self.adjacencies_used += 1;
            }
        }
        word.adjacency = next_hop.adjacency.map_or(0, |(index, _)| index);
        (next_hop.written.replace(word) != Some(word)).then_some(word)
    }

    fn retire(&mut self, id: u32) {
        let Some(next_hop) = self.slots[id as usize].take() else { return };
        self.by_key.remove(&next_hop.key);
        if let Some((adjacency, _)) = next_hop.adjacency {
            self.adjacencies.retire(adjacency);
            self.adjacencies_used -= 1;
        }
        if next_hop.written.is_some() {
            self.ids.retire(id);
        } else {
            self.ids.free(id);
        }
    }

    /// States up to `limit` written next hops from an id on, with their adjacencies; the id to go on with.
    pub(crate) fn audit(&self, from: u32, limit: usize, meant: &mut Vec<TableEdit>) -> Option<u32> {
        let next_hops = self.slots.get(from as usize..)?;
        for (id, next_hop) in (from..).zip(next_hops.iter().take(limit)) {
            let Some(next_hop) = next_hop.as_ref().filter(|next_hop| !next_hop.dirty) else { continue };
            meant.extend(next_hop.adjacency.map(|(index, value)| TableEdit::Adjacency { index, value }));
            meant.extend(next_hop.written.map(|value| TableEdit::NextHop { index: id, value }));
        }
        (next_hops.len() > limit).then_some(from + limit as u32)
    }

    pub(crate) fn grace_elapsed(&mut self) {
        self.ids.grace_elapsed();
        self.adjacencies.grace_elapsed();
    }

    /// Indices that wait for a grace period.
    pub(crate) fn waiting(&self) -> usize {
        self.ids.waiting() + self.adjacencies.waiting()
    }

    /// Neighbours that wait for a free adjacency.
    pub(crate) fn unplaced(&self) -> usize {
        self.dirty.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn adjacencies(&self) -> u32 {
        self.adjacencies_used
    }

    fn slot_mut(&mut self, id: NextHopId) -> Result<&mut NextHop, FibError> {
        self.slots
            .get_mut(id.0 as usize)
            .and_then(Option::as_mut)
            .ok_or(FibError::UnknownNextHop { id: id.0 })
    }

    fn touch(&mut self, id: NextHopId) {
        if let Ok(next_hop) = self.slot_mut(id)
            && !std::mem::replace(&mut next_hop.dirty, true)
        {
            self.dirty.push(id.0);
        }
    }
}
