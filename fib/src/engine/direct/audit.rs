//! What the words of a direct table should be, worked out anew from the routes.
//!
//! In prefix order a route comes before those that it covers, so each is laid over the words of its level in
//! turn, and what comes later is longer. Words that name a node come from the index of nodes.

use fib_abi::direct::NODE;

use super::{Direct, Place, end_of, start_of, word_of};
use crate::address::{Address, Prefix};
use crate::audit::Meant;
use crate::engine::NO_ROUTE;

/// Words of the root in a slice.
const ROOT_WORDS: u32 = 1 << 15;
/// Words of nodes in a slice, those that they hide not counted.
const NODE_WORDS: u32 = 1 << 12;

impl<A: Address> Direct<A> {
    fn root_slices(&self) -> u32 {
        ((1 << self.layout.base) / ROOT_WORDS).max(1)
    }

    fn nodes_in_slice(&self) -> u32 {
        NODE_WORDS / self.layout.node_words()
    }

    /// Number of slices.
    pub(crate) fn audit_slices(&self) -> usize {
        self.root_slices() as usize + self.nodes.used().div_ceil(self.nodes_in_slice()) as usize
    }

    /// States the words of a slice; of the root first, then of nodes by their index.
    pub(crate) fn audit_slice(&self, slice: u32, out: &mut Meant) {
        if let Some(node) = slice.checked_sub(self.root_slices()) {
            let first = node * self.nodes_in_slice();
            for id in first..(first + self.nodes_in_slice()).min(self.nodes.used()) {
                self.audit_node(id, out);
            }
            return;
        }
        let bits = self.root_slices().ilog2() as u8;
        let first = slice * ROOT_WORDS.min(1 << self.layout.base);
        self.audit_level(0, Prefix::new(A::from_top(slice, bits), bits), first, out);
    }

    fn audit_node(&self, id: u32, out: &mut Meant) {
        let Some(path) = self.nodes.live(id) else { return };
        let level = super::level_of::<A>(path.len);
        let hidden = self.cover(level, path, path.len, Place::default());
        out.words(A::FAMILY, self.layout.hidden(id), path.to_net(), [hidden]);
        self.audit_level(level + 1, path, self.layout.node(id), out);
    }

    /// The words of a level that stand for the addresses of a prefix; `first` is the first of them.
    fn audit_level(&self, level: u8, within: Prefix<A>, first: u32, out: &mut Meant) {
        let end = end_of::<A>(level);
        let node = level > 0;
        // What is shorter than a node's words is hidden by the node.
        let outside = if node { NO_ROUTE } else { self.cover(level, within, within.len, Place::default()) };
        let mut values = vec![outside; 1 << (end - within.len)];
        let skipped = word_of(level, within.bits);
        let (mut place, _) = self.routes.seek(within, Place::default());
        while let Some(route) = self.routes.at(place) {
            if !within.covers(route.prefix()) {
                break;
            }
            let prefix = route.prefix();
            place = self.routes.after(place);
            if !route.is_live() || (node && prefix.len <= start_of::<A>(level)) {
                continue;
            }
            let word = (word_of(level, prefix.bits) - skipped) as usize;
            if prefix.len <= end {
                values[word..word + (1 << (end - prefix.len))].fill(route.set());
            } else {
                let cell = Prefix::new(prefix.bits, end);
                if let Some(node) = self.nodes.find(cell) {
                    values[word] = NODE | node;
                    place = self.behind(cell, place);
                }
            }
        }
        out.words(A::FAMILY, first, within.to_net(), values);
    }
}
