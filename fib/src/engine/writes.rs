//! What a batch writes into a direct table, and in which order.
//!
//! New nodes first, which nothing names yet. Then all words that name a set or a node, the deepest level
//! first; then those that become 0, the root's first; at the end those that named a node which is no
//! longer needed. Thus, as long as nobody reads in between two words, each address is answered as before
//! the batch or as after it: what is new and longer is in place before something shorter changes above
//! it, and what goes hides the shorter one until its own turn comes.

use crate::Family;
use crate::edit::TableEdit;

#[derive(Clone, Copy, Debug)]
struct Write {
    first: u32,
    count: u32,
    value: u32,
}

/// The writes of a batch.
#[derive(Debug)]
pub(crate) struct Writes {
    fresh: Vec<Write>,
    /// By level, the root's first.
    levels: Vec<Level>,
    /// The levels that have any.
    used: u32,
    unlinked: Vec<Write>,
}

#[derive(Debug, Default)]
struct Level {
    named: Vec<Write>,
    cleared: Vec<Write>,
}

impl Writes {
    /// For a table of so many levels, at most 32.
    pub(crate) fn new(levels: u8) -> Self {
        let levels = (0..levels).map(|_| Level::default()).collect();
        Self { fresh: Vec::new(), levels, used: 0, unlinked: Vec::new() }
    }

    /// Words of a node that nothing names yet.
    pub(crate) fn fresh(&mut self, first: u32, count: u32, value: u32) {
        self.fresh.push(Write { first, count, value });
    }

    /// Words of a level.
    #[inline]
    pub(crate) fn write(&mut self, level: u8, first: u32, count: u32, value: u32) {
        self.used |= 1 << level;
        let level = &mut self.levels[usize::from(level)];
        let writes = if value == 0 { &mut level.cleared } else { &mut level.named };
        writes.push(Write { first, count, value });
    }

    /// A word that named a node.
    pub(crate) fn unlinked(&mut self, word: u32, value: u32) {
        self.unlinked.push(Write { first: word, count: 1, value });
    }

    /// Moves the writes out, in their order.
    pub(crate) fn emit(&mut self, family: Family, edits: &mut Vec<TableEdit>) {
        if self.used == 0 && self.fresh.is_empty() && self.unlinked.is_empty() {
            return;
        }
        let mut push = |writes: &mut Vec<Write>| {
            let fill = |Write { first, count, value }| TableEdit::Fill { family, first, count, value };
            edits.extend(writes.drain(..).map(fill));
            // A bulk load leaves buffers that the usual batches never need again.
            writes.shrink_to(1 << 14);
        };
        push(&mut self.fresh);
        let mut left = self.used;
        while left != 0 {
            let level = left.ilog2();
            push(&mut self.levels[level as usize].named);
            left &= !(1 << level);
        }
        let mut left = self.used;
        while left != 0 {
            push(&mut self.levels[left.trailing_zeros() as usize].cleared);
            left &= left - 1;
        }
        push(&mut self.unlinked);
        self.used = 0;
    }
}
