//! The routes of one family: a path-compressed binary trie in an arena.
//!
//! A node stands for a prefix that has a route or where two branches part; the root, for the default
//! route, always exists. Nodes are 32 bytes for IPv4 and 48 for IPv6, name each other by `u32`, and also
//! hold what the compression (`ortc`) knows and has emitted at and just below them, so that a change is
//! found by comparing a few nodes and no second copy of the compressed table is kept.
//!
//! An entry of the compressed table lies either at a node (`OWN`) or on the way to a child, where the
//! uncompressed binary trie would have a node that this one leaves out: right below the node, at
//! `len + 1` (`FIRST`), or beside a child that is two bits away (`SIBLING`). Why no other place is
//! possible is told in `ortc`. Any step that changes a node's place or children first takes back the
//! entries that depend on it.

use super::NO_ROUTE;
use super::choices::{Choice, Choices};
use super::journal::Journal;
use crate::address::{Address, Prefix};

/// No node.
pub(crate) const NIL: u32 = u32::MAX;
/// The node of the default route.
pub(crate) const ROOT: u32 = 0;

pub(crate) mod flag {
    /// The route or the children of this node changed.
    pub(crate) const DIRTY: u16 = 1;
    /// The candidates were computed anew; the values below have to be assigned.
    pub(crate) const TOUCHED: u16 = 1 << 1;
    /// The node has an entry, of its `chosen` value.
    pub(crate) const OWN: u16 = 1 << 2;
    /// The route is left out of the table.
    pub(crate) const EXCLUDED: u16 = 1 << 3;
    /// There is a route that is not left out at or below this node.
    pub(crate) const LIVE: u16 = 1 << 4;
    /// An entry of the `cover` value at `len + 1`; shifted left by the side.
    pub(crate) const FIRST: u16 = 1 << 5;
    /// An entry of the `cover` value beside the child; shifted left by the side.
    pub(crate) const SIBLING: u16 = 1 << 7;
    /// Something below is dirty or, after the second pass, touched; shifted left by the side.
    pub(crate) const BELOW: u16 = 1 << 9;
}

/// A node of the trie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<A> {
    pub(crate) bits: A,
    pub(crate) child: [u32; 2],
    /// The set of the route here, or `NO_ROUTE`.
    pub(crate) route: u32,
    /// The value of addresses here that no longer route covers.
    pub(crate) cover: u32,
    /// The candidates by ORTC's second pass.
    pub(crate) choice: Choice,
    /// The value in force after ORTC's third pass.
    pub(crate) chosen: u32,
    pub(crate) flags: u16,
    pub(crate) len: u8,
}

impl<A: Address> Node<A> {
    fn new(prefix: Prefix<A>) -> Self {
        Self {
            bits: prefix.bits,
            child: [NIL; 2],
            route: NO_ROUTE,
            cover: NO_ROUTE,
            choice: Choice::NONE,
            chosen: NO_ROUTE,
            flags: flag::DIRTY,
            len: prefix.len,
        }
    }

    pub(crate) fn prefix(&self) -> Prefix<A> {
        Prefix { bits: self.bits, len: self.len }
    }

    #[inline]
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The set of the route here if it is part of the table.
    #[inline]
    pub(crate) fn active(&self) -> Option<u32> {
        (self.route != NO_ROUTE && !self.has(flag::EXCLUDED)).then_some(self.route)
    }

    /// Where the `FIRST` entry of a side lies.
    #[inline]
    pub(crate) fn first(&self, side: usize) -> Prefix<A> {
        let bits = if side == 1 { self.bits.flip(self.len) } else { self.bits };
        Prefix { bits, len: self.len + 1 }
    }

    /// The prefix beside this one, under a parent that is two bits away.
    #[inline]
    pub(crate) fn sibling(&self) -> Prefix<A> {
        Prefix { bits: self.bits.flip(self.len - 1), len: self.len }
    }
}

/// The routes of one family and the entries they compress to.
#[derive(Debug)]
pub(crate) struct Trie<A> {
    pub(crate) nodes: Vec<Node<A>>,
    free: Vec<u32>,
    path: Vec<u32>,
    routes: usize,
    pub(crate) choices: Choices,
    pub(crate) journal: Journal<A>,
}

impl<A: Address> Trie<A> {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::new(Prefix::default())],
            free: Vec::new(),
            path: Vec::new(),
            routes: 0,
            choices: Choices::default(),
            journal: Journal::default(),
        }
    }

    /// Number of routes, with those left out.
    pub(crate) fn routes(&self) -> usize {
        self.routes
    }

    #[inline]
    pub(crate) fn node(&self, id: u32) -> &Node<A> {
        &self.nodes[id as usize]
    }

    #[inline]
    pub(crate) fn node_mut(&mut self, id: u32) -> &mut Node<A> {
        &mut self.nodes[id as usize]
    }

    /// Adds a route or points it elsewhere, and makes it part of the table if it was left out.
    /// Answers the set it had, and whether anything changed.
    pub(crate) fn insert(&mut self, prefix: Prefix<A>, set: u32) -> (Option<u32>, bool) {
        let id = self.find_or_make(prefix);
        let node = self.node_mut(id);
        let old = (node.route != NO_ROUTE).then_some(node.route);
        let changed = node.active() != Some(set);
        if changed {
            node.route = set;
            node.flags &= !flag::EXCLUDED;
            self.routes += usize::from(old.is_none());
            self.mark_path();
        }
        (old, changed)
    }

    /// Removes a route; answers the set it had.
    pub(crate) fn remove(&mut self, prefix: Prefix<A>) -> Option<u32> {
        let id = self.find_path(prefix)?;
        let node = self.node_mut(id);
        if node.route == NO_ROUTE {
            return None;
        }
        let old = std::mem::replace(&mut node.route, NO_ROUTE);
        node.flags &= !flag::EXCLUDED;
        self.routes -= 1;
        self.mark_path();
        self.prune();
        Some(old)
    }

    /// Leaves a route out of the table or takes it in again.
    pub(crate) fn set_excluded(&mut self, prefix: Prefix<A>, excluded: bool) {
        let Some(id) = self.find_path(prefix) else { return };
        let node = self.node_mut(id);
        if node.route != NO_ROUTE && node.has(flag::EXCLUDED) != excluded {
            node.flags ^= flag::EXCLUDED;
            self.mark_path();
        }
    }

    /// The node of a prefix.
    pub(crate) fn find(&self, prefix: Prefix<A>) -> Option<&Node<A>> {
        let mut node = self.node(ROOT);
        while node.len < prefix.len {
            let child = node.child[prefix.bits.bit(node.len)];
            if child == NIL {
                return None;
            }
            node = self.node(child);
            if !node.prefix().covers(prefix) {
                return None;
            }
        }
        Some(node)
    }

    /// Calls `visit` with each node on the way to a prefix, ending with the node of the prefix itself
    /// if there is one.
    pub(crate) fn descend(&self, prefix: Prefix<A>, mut visit: impl FnMut(&Node<A>)) {
        let mut node = self.node(ROOT);
        loop {
            visit(node);
            if node.len >= prefix.len {
                return;
            }
            let child = node.child[prefix.bits.bit(node.len)];
            if child == NIL {
                return;
            }
            node = self.node(child);
            if !node.prefix().covers(prefix) {
                return;
            }
        }
    }

    /// Like `find`, leaving the way from the root in `path`, the node itself last.
    fn find_path(&mut self, prefix: Prefix<A>) -> Option<u32> {
        self.path.clear();
        self.path.push(ROOT);
        let mut id = ROOT;
        loop {
            let node = self.node(id);
            if node.len == prefix.len {
                return Some(id);
            }
            let child = node.child[prefix.bits.bit(node.len)];
            if child == NIL || !self.node(child).prefix().covers(prefix) {
                return None;
            }
            self.path.push(child);
            id = child;
        }
    }

    /// Finds the node of a prefix or makes it, with a branching node where one is needed, and leaves
    /// the way to it in `path`.
    fn find_or_make(&mut self, prefix: Prefix<A>) -> u32 {
        self.path.clear();
        self.path.push(ROOT);
        let mut id = ROOT;
        loop {
            let node = self.node(id);
            if node.len == prefix.len {
                return id;
            }
            let side = prefix.bits.bit(node.len);
            let child = node.child[side];
            if child == NIL {
                self.take_back_side(id, side);
                let leaf = self.allocate(prefix);
                self.node_mut(id).child[side] = leaf;
                self.path.push(leaf);
                return leaf;
            }
            let below = self.node(child);
            let shared = below.bits.common(prefix.bits).min(below.len).min(prefix.len);
            if shared < below.len {
                let child_side = below.bits.bit(shared);
                self.take_back_side(id, side);
                let middle = self.allocate(Prefix::new(prefix.bits, shared));
                self.node_mut(middle).child[child_side] = child;
                // What waits below the child must stay within reach of the root.
                self.node_mut(middle).flags |= flag::BELOW << child_side;
                self.node_mut(id).child[side] = middle;
                id = middle;
            } else {
                id = child;
            }
            self.path.push(id);
        }
    }

    fn allocate(&mut self, prefix: Prefix<A>) -> u32 {
        let node = Node::new(prefix);
        if let Some(id) = self.free.pop() {
            *self.node_mut(id) = node;
            return id;
        }
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    /// Marks the end of `path` as changed, and the way to it.
    ///
    /// A change is at most three nodes deep: a new leaf, a new branch above it, and their parent.
    fn mark_path(&mut self) {
        for ends in self.path.windows(2) {
            let side = self.nodes[ends[1] as usize].bits.bit(self.nodes[ends[0] as usize].len);
            self.nodes[ends[0] as usize].flags |= flag::BELOW << side;
        }
        for &id in self.path.iter().rev().take(3) {
            self.nodes[id as usize].flags |= flag::DIRTY;
        }
    }

    /// Removes the nodes at the end of `path` that neither hold a route nor branch.
    fn prune(&mut self) {
        while let [.., parent, id] = self.path[..] {
            let node = *self.node(id);
            if node.route != NO_ROUTE || !node.child.contains(&NIL) {
                return;
            }
            let only = if node.child[0] == NIL { node.child[1] } else { node.child[0] };
            let side = node.bits.bit(self.node(parent).len);
            self.take_back_side(parent, side);
            self.take_back_side(id, 0);
            self.take_back_side(id, 1);
            if node.has(flag::OWN) {
                self.journal.remove(node.bits, node.len, node.chosen);
            }
            self.choices.release(node.choice);
            self.node_mut(parent).child[side] = only;
            self.free.push(id);
            self.path.pop();
            if only != NIL {
                return;
            }
        }
    }

    /// Takes back the entry on the way from a node to its child on one side.
    pub(crate) fn take_back_side(&mut self, id: u32, side: usize) {
        let node = *self.node(id);
        let place = if node.has(flag::FIRST << side) {
            node.first(side)
        } else if node.has(flag::SIBLING << side) {
            self.node(node.child[side]).sibling()
        } else {
            return;
        };
        self.journal.remove(place.bits, place.len, node.cover);
        self.node_mut(id).flags &= !((flag::FIRST | flag::SIBLING) << side);
    }

    /// The entry that decides for a prefix (for an address: of full length).
    pub(crate) fn entry_covering(&self, prefix: Prefix<A>) -> Option<(Prefix<A>, u32)> {
        let mut best = None;
        self.descend(prefix, |node| {
            if node.has(flag::OWN) {
                best = Some((node.prefix(), node.chosen));
            }
            if node.len >= prefix.len {
                return;
            }
            let side = prefix.bits.bit(node.len);
            let place = if node.has(flag::FIRST << side) {
                node.first(side)
            } else if node.has(flag::SIBLING << side) {
                self.node(node.child[side]).sibling()
            } else {
                return;
            };
            if place.covers(prefix) {
                best = Some((place, node.cover));
            }
        });
        best
    }

    /// Walks nodes in prefix order from the first that may come after `after`, until `visit` says stop.
    pub(crate) fn walk(&self, after: Option<Prefix<A>>, mut visit: impl FnMut(&Node<A>) -> bool) {
        let mut stack = vec![ROOT];
        while let Some(id) = stack.pop() {
            let node = self.node(id);
            // What ends before `after` holds nothing that comes after it.
            if after.is_some_and(|after| node.bits.last(node.len) < after.bits) {
                continue;
            }
            if visit(node) {
                return;
            }
            stack.extend(node.child.iter().rev().filter(|&&child| child != NIL));
        }
    }

    /// Appends entries that come after `after`, in prefix order, until `out` holds `end` of them.
    pub(crate) fn entries_after(
        &self,
        after: Option<Prefix<A>>,
        end: usize,
        out: &mut Vec<(Prefix<A>, u32)>,
    ) {
        self.entries_below(ROOT, after, end, out);
    }

    fn entries_below(&self, id: u32, after: Option<Prefix<A>>, end: usize, out: &mut Vec<(Prefix<A>, u32)>) {
        let node = self.node(id);
        if out.len() >= end || after.is_some_and(|after| node.bits.last(node.len) < after.bits) {
            return;
        }
        let push = |place: Prefix<A>, value: u32, out: &mut Vec<_>| {
            if out.len() < end && after.is_none_or(|after| place > after) {
                out.push((place, value));
            }
        };
        if node.has(flag::OWN) {
            push(node.prefix(), node.chosen, out);
        }
        for side in 0..2 {
            let child = node.child[side];
            if node.has(flag::FIRST << side) {
                push(node.first(side), node.cover, out);
            }
            if child == NIL {
                continue;
            }
            let beside = node.has(flag::SIBLING << side).then(|| self.node(child).sibling());
            let before = beside.filter(|beside| beside.bits < self.node(child).bits);
            if let Some(place) = before {
                push(place, node.cover, out);
            }
            self.entries_below(child, after, end, out);
            if let (Some(place), None) = (beside, before) {
                push(place, node.cover, out);
            }
        }
    }

    /// The last route of the table in prefix order that has no other one below it.
    pub(crate) fn last_live(&self) -> Option<Prefix<A>> {
        let live = |id: u32| id != NIL && self.node(id).has(flag::LIVE);
        let mut node = self.node(ROOT);
        if !node.has(flag::LIVE) {
            return None;
        }
        loop {
            match node.child {
                [_, right] if live(right) => node = self.node(right),
                [left, _] if live(left) => node = self.node(left),
                _ => return node.active().map(|_| node.prefix()),
            }
        }
    }

    /// Routes of the table whose addresses an entry at this prefix decides for, in whole or in part.
    /// May name a covering route that in fact has no address there.
    pub(crate) fn decided_by(&self, prefix: Prefix<A>) -> Vec<Prefix<A>> {
        let mut cover = None;
        let mut top = ROOT;
        self.descend(prefix, |node| {
            if node.active().is_some() {
                cover = Some(node.prefix());
            }
        });
        while self.node(top).len < prefix.len {
            let child = self.node(top).child[prefix.bits.bit(self.node(top).len)];
            if child == NIL
                || self.node(child).bits.common(prefix.bits) < self.node(child).len.min(prefix.len)
            {
                return cover.into_iter().collect();
            }
            top = child;
        }
        let mut routes: Vec<Prefix<A>> = cover.into_iter().collect();
        let mut stack = vec![top];
        while let Some(id) = stack.pop() {
            let node = self.node(id);
            if node.len > prefix.len && node.has(flag::OWN) {
                continue;
            }
            if node.active().is_some() && cover != Some(node.prefix()) {
                routes.push(node.prefix());
            }
            for side in [1, 0] {
                if node.child[side] != NIL && !node.has(flag::FIRST << side) {
                    stack.push(node.child[side]);
                }
            }
        }
        routes
    }

    /// Heap memory in bytes, without what is reserved but never touched.
    pub(crate) fn memory(&self) -> usize {
        self.nodes.len() * size_of::<Node<A>>()
            + self.free.capacity() * 4
            + self.choices.memory()
            + self.journal.memory()
    }
}
