//! Compression: the fewest entries that answer every address as the routes do.
//!
//! Draves, King, Venkatachary, Zill: Constructing Optimal IP Routing Tables (INFOCOM 1999). Three passes
//! over the binary trie: push the values down to the leaves; from the leaves up, give each node the
//! values its halves share, or else all of either (`gather`); from the root down, let a node inherit
//! where it can and choose a candidate where it must (`assign`). The choice among candidates is free, so
//! a node keeps the one it had: the count stays the least possible and few entries change.
//!
//! Addresses without a route stay without an entry. Such space leaves no candidate in any node above
//! it, so nothing is aggregated across it. Treating "no route" as one more value would save entries on
//! tables full of holes, but an entry that means "no entry" would have to be told apart in the program,
//! and a failed or late write of one would send packets that no route covers out of a port.
//!
//! Both passes run on the path-compressed trie. Between a node and a child `k` bits below lie `k - 1`
//! nodes of the binary trie, each with one leaf beside the way, whose value is `v`, what the node's
//! addresses have that no longer route covers. With `N` the candidates of the child:
//! - `k = 2`: the node between has `{v}` if `v` is in `N`, else `N` and `v`;
//! - `k > 2`: whatever the lowest node between has, it contains `v`, so the next one up has `{v}`.
//!
//! So an entry between them can only be of value `v`, and only right below the upper node, or, for
//! `k = 2` where the inherited value suits the child but is not `v`, at the leaf beside the child.
//! Where there is no child, the whole side is one leaf of value `v`.
//!
//! Of a node on the way to a change, the candidates are computed again only if its route, its children,
//! their candidates or `v` changed; values are assigned again only below those, as far as the inherited
//! value differs from before. The other child of a node is mostly not even looked at, which is what
//! counts: this walk is bound by memory. A node's `v` comes from the nearest route above, so changing a
//! route costs time in its direct more-specifics, not in the table.

use super::NO_ROUTE;
use super::choices::Choice;
use super::trie::{NIL, ROOT, Trie, flag};
use crate::address::Address;

/// How the way from a node to one of its children is covered.
struct Way {
    /// `flag::FIRST`, `flag::SIBLING` or 0.
    entry: u16,
    /// What the child inherits.
    inherited: u32,
}

/// What the second pass found.
#[derive(Clone, Copy, Default)]
struct Gathered {
    /// The node's candidates are others than before, or it now has routes below or none.
    changed: bool,
    /// The node or one below it was touched.
    below: bool,
}

impl<A: Address> Trie<A> {
    /// Brings the entries up to date with the routes; what changes is left in the journal.
    pub(crate) fn compress(&mut self) {
        if self.gather(ROOT, NO_ROUTE).below {
            self.assign(ROOT, NO_ROUTE);
        }
    }

    /// First and second pass below a node whose nearest route above has value `cover`.
    fn gather(&mut self, id: u32, cover: u32) -> Gathered {
        let node = *self.node(id);
        let value = node.active().unwrap_or(cover);
        let moved = value != node.cover;
        let mut touched = moved || node.has(flag::DIRTY);
        if !touched && !node.has(flag::BELOW | flag::BELOW << 1) {
            return Gathered::default();
        }
        if moved {
            // Entries on the way to the children have the old value.
            self.take_back_side(id, 0);
            self.take_back_side(id, 1);
        }
        let mut below = 0;
        for side in 0..2 {
            let child = node.child[side];
            if child != NIL && (moved || node.has(flag::BELOW << side)) {
                let gathered = self.gather(child, value);
                touched |= gathered.changed;
                below |= if gathered.below { flag::BELOW << side } else { 0 };
            }
        }
        let now = self.node_mut(id);
        now.cover = value;
        now.flags &= !(flag::DIRTY | flag::BELOW | flag::BELOW << 1);
        now.flags |= below | if touched { flag::TOUCHED } else { 0 };
        let changed = touched && self.gather_node(id);
        Gathered { changed, below: touched || below != 0 }
    }

    /// Computes a node's candidates from its children; true if they are others than before.
    fn gather_node(&mut self, id: u32) -> bool {
        let node = *self.node(id);
        let live = node.active().is_some()
            || node.child.iter().any(|&child| child != NIL && self.node(child).has(flag::LIVE));
        let halves = node.child.map(|child| self.half(node.len, child, node.cover));
        let choice = self.choices.combine(halves[0], halves[1]);
        self.choices.release(node.choice);
        let now = self.node_mut(id);
        now.choice = choice;
        now.flags &= !flag::LIVE;
        now.flags |= if live { flag::LIVE } else { 0 };
        // The old list was held until here, so that an equal handle is an equal set.
        choice != node.choice || live != node.has(flag::LIVE)
    }

    /// The candidates right below a node of length `len`, on the side of `child`.
    fn half(&mut self, len: u8, child: u32, value: u32) -> Choice {
        if child == NIL {
            return Choice::single(value);
        }
        let child = self.node(child);
        let (distance, choice) = (child.len - len, child.choice);
        match distance {
            1 => self.choices.retain(choice),
            2 if !self.choices.contains(choice, value) => {
                let choice = self.choices.retain(choice);
                self.choices.combine(choice, Choice::single(value))
            }
            _ => Choice::single(value),
        }
    }

    /// Third pass below a node that inherits this value.
    fn assign(&mut self, id: u32, inherited: u32) {
        let node = *self.node(id);
        let chosen = if self.choices.contains(node.choice, inherited) {
            inherited
        } else if self.choices.contains(node.choice, node.chosen) {
            node.chosen
        } else if self.choices.contains(node.choice, node.cover) {
            node.cover
        } else {
            self.choices.first(node.choice)
        };
        debug_assert!(
            chosen != NO_ROUTE || inherited == NO_ROUTE,
            "nothing above space without a route has a value"
        );
        let moved = chosen != node.chosen;
        let own = chosen != inherited;
        if node.has(flag::OWN) && (moved || !own) {
            self.journal.remove(node.bits, node.len, node.chosen);
        }
        if own && (moved || !node.has(flag::OWN)) {
            self.journal.add(node.bits, node.len, chosen);
        }
        let all = moved || node.has(flag::TOUCHED);
        let now = self.node_mut(id);
        now.chosen = chosen;
        now.flags &= !(flag::TOUCHED | flag::OWN | flag::BELOW | flag::BELOW << 1);
        now.flags |= if own { flag::OWN } else { 0 };
        if node.len == A::WIDTH {
            return;
        }
        for side in 0..2 {
            if !all && !node.has(flag::BELOW << side) {
                continue;
            }
            let way = self.way(node.len, node.child[side], node.cover, chosen);
            self.set_side(id, side, way.entry);
            if node.child[side] != NIL {
                self.assign(node.child[side], way.inherited);
            }
        }
    }

    /// What lies between a node of length `len` with these values and one of its children.
    fn way(&self, len: u8, child: u32, cover: u32, chosen: u32) -> Way {
        let first = if chosen == cover { 0 } else { flag::FIRST };
        if child == NIL {
            return Way { entry: first, inherited: cover };
        }
        let child = self.node(child);
        match child.len - len {
            1 => Way { entry: 0, inherited: chosen },
            2 if chosen != cover
                && self.choices.contains(child.choice, chosen)
                && !self.choices.contains(child.choice, cover) =>
            {
                Way { entry: flag::SIBLING, inherited: chosen }
            }
            _ => Way { entry: first, inherited: cover },
        }
    }

    /// Makes the entry on one side of a node, of the node's `cover` value, what it should be.
    fn set_side(&mut self, id: u32, side: usize, entry: u16) {
        let node = *self.node(id);
        let mask = (flag::FIRST | flag::SIBLING) << side;
        if node.flags & mask == entry << side {
            return;
        }
        self.take_back_side(id, side);
        let place = match entry {
            0 => return,
            flag::SIBLING => self.node(node.child[side]).sibling(),
            _ => node.first(side),
        };
        self.journal.add(place.bits, place.len, node.cover);
        self.node_mut(id).flags |= entry << side;
    }
}
