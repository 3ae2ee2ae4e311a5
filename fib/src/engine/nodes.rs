//! The nodes of a direct table: which there are, and how many routes and nodes need each.
//!
//! A node is found by the prefix that leads to it, without going down from the root.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::address::{Address, Prefix};
use crate::ids::IdPool;

#[derive(Clone, Copy, Debug, Default)]
struct Node<P> {
    bits: P,
    len: u8,
    /// Routes that end in the node, and nodes right below it.
    users: u32,
}

/// The nodes of one family's table.
#[derive(Debug)]
pub(crate) struct Nodes<A: Address> {
    by_id: Vec<Node<A::Packed>>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    ids: IdPool,
    /// Nodes that had no user at some time in this batch.
    idle: Vec<u32>,
}

impl<A: Address> Nodes<A> {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            by_id: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            ids: IdPool::new(0, limit),
            idle: Vec::new(),
        }
    }

    /// The node that a prefix leads to.
    #[inline]
    pub(crate) fn find(&self, prefix: Prefix<A>) -> Option<u32> {
        if self.index.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one((prefix.bits, prefix.len));
        self.index.find(hash, |&id| self.prefix(id) == prefix).copied()
    }

    /// The prefix that leads to a node, if there is one with this id.
    pub(crate) fn live(&self, id: u32) -> Option<Prefix<A>> {
        let prefix = self.by_id.get(id as usize).map(|_| self.prefix(id))?;
        (self.find(prefix) == Some(id)).then_some(prefix)
    }

    /// The ids below this one may be in use.
    pub(crate) fn used(&self) -> u32 {
        self.by_id.len() as u32
    }

    /// The prefix that leads to a node.
    #[inline]
    pub(crate) fn prefix(&self, id: u32) -> Prefix<A> {
        let node = &self.by_id[id as usize];
        Prefix { bits: A::unpack(node.bits), len: node.len }
    }

    /// Makes a node that is not there yet, with no user; also answers whether its words have never been
    /// written.
    pub(crate) fn make(&mut self, prefix: Prefix<A>) -> Option<(u32, bool)> {
        let id = self.ids.allocate()?;
        let fresh = id as usize >= self.by_id.len();
        let node = Node { bits: prefix.bits.pack(), len: prefix.len, users: 0 };
        if fresh {
            self.by_id.resize(id as usize + 1, Node::default());
        }
        self.by_id[id as usize] = node;
        let (nodes, hasher) = (&self.by_id, &self.hasher);
        let hash = |id: &u32| {
            let node = &nodes[*id as usize];
            hasher.hash_one((A::unpack(node.bits), node.len))
        };
        self.index.insert_unique(hasher.hash_one((prefix.bits, prefix.len)), id, hash);
        Some((id, fresh))
    }

    /// A route or a node below needs the node.
    pub(crate) fn retain(&mut self, id: u32) {
        self.by_id[id as usize].users += 1;
    }

    /// A route or a node below needs it no more.
    pub(crate) fn release(&mut self, id: u32) {
        let node = &mut self.by_id[id as usize];
        node.users -= 1;
        if node.users == 0 {
            self.idle.push(id);
        }
    }

    /// A node that nobody needs and that is now forgotten, for one of those idle; it is not used again
    /// before a grace period. `None` when there is none left.
    pub(crate) fn retire(&mut self) -> Option<Prefix<A>> {
        while let Some(id) = self.idle.pop() {
            let prefix = self.prefix(id);
            let hash = self.hasher.hash_one((prefix.bits, prefix.len));
            // An id may be there twice, and may have been retired the first time.
            if self.by_id[id as usize].users == 0
                && let Ok(entry) = self.index.find_entry(hash, |&other| other == id)
            {
                entry.remove();
                self.ids.retire(id);
                return Some(prefix);
            }
        }
        None
    }

    pub(crate) fn grace_elapsed(&mut self) {
        self.ids.grace_elapsed();
    }

    /// Nodes that wait for a grace period.
    pub(crate) fn waiting(&self) -> usize {
        self.ids.waiting()
    }

    /// There can be more nodes from now on: so many.
    pub(crate) fn extend(&mut self, limit: u32) {
        self.ids.extend(limit);
    }

    /// Nodes in use.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Nodes that can be made now.
    pub(crate) fn room(&self) -> usize {
        self.ids.available()
    }

    /// Nodes that there can be.
    pub(crate) fn limit(&self) -> usize {
        self.ids.limit() as usize
    }

    /// Heap memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.by_id.capacity() * size_of::<Node<A::Packed>>() + self.index.allocation_size()
    }
}
