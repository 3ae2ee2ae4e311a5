//! What a batch did to the entries, and the order in which the map is told.
//!
//! While a batch is worked on, each entry that vanishes or appears leaves a record; one that is taken
//! back and set again (a node moved, a trial undone) leaves several. `settle` keeps the first old and
//! the last new value of each prefix and drops those that ended as they began.
//!
//! Order of the edits. New and changed entries go first, longest prefix first; then the removals,
//! shortest first. Thus at any moment each address is answered as before the batch or as after it,
//! never in a third way: a longer new entry is in place before a shorter one changes beneath it, and an
//! old entry hides shorter ones until its own turn comes. Where the map lacks the room to hold old and
//! new together, as many removals as are needed go first; for that moment their addresses follow a
//! shorter entry, or none. The map never holds more than its capacity, so that no write fails for
//! want of room: a gap of microseconds is worth less than an entry that is missing for good.

use crate::address::{Address, Prefix};
use crate::edit::TableEdit;

#[derive(Clone, Copy, Debug)]
struct Record<A> {
    bits: A,
    value: u32,
    len: u8,
    added: bool,
}

/// Records of the entries that changed since the last commit.
#[derive(Debug)]
pub(crate) struct Journal<A> {
    records: Vec<Record<A>>,
    /// Entries that are meant to be in the map, with the records taken into account.
    entries: usize,
    /// The same at the last commit.
    committed: usize,
}

/// The outcome of a batch.
#[derive(Debug)]
pub(crate) struct Outcome<A> {
    /// Entries to write, with whether the map lacks them so far.
    pub(crate) writes: Vec<(Prefix<A>, u32, bool)>,
    /// Entries to remove.
    pub(crate) removes: Vec<Prefix<A>>,
    /// Entries before the batch.
    pub(crate) before: usize,
}

impl<A> Default for Journal<A> {
    fn default() -> Self {
        Self { records: Vec::new(), entries: 0, committed: 0 }
    }
}

impl<A: Address> Journal<A> {
    /// Entries meant to be in the map.
    #[inline]
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// An entry appears.
    #[inline]
    pub(crate) fn add(&mut self, bits: A, len: u8, value: u32) {
        self.entries += 1;
        self.records.push(Record { bits, value, len, added: true });
    }

    /// An entry vanishes.
    #[inline]
    pub(crate) fn remove(&mut self, bits: A, len: u8, value: u32) {
        self.entries -= 1;
        self.records.push(Record { bits, value, len, added: false });
    }

    /// Ends the batch and sums it up, in prefix order.
    pub(crate) fn settle(&mut self) -> Outcome<A> {
        let mut outcome = Outcome { writes: Vec::new(), removes: Vec::new(), before: self.committed };
        self.committed = self.entries;
        // Stable: the records of a prefix stay in the order in which they were made.
        self.records.sort_by_key(|record| (record.bits, record.len));
        for group in self.records.chunk_by(|a, b| a.bits == b.bits && a.len == b.len) {
            let (first, last) = (&group[0], &group[group.len() - 1]);
            let prefix = Prefix { bits: first.bits, len: first.len };
            match (!first.added, last.added) {
                (true, true) if first.value == last.value => {}
                (old, true) => outcome.writes.push((prefix, last.value, !old)),
                (true, false) => outcome.removes.push(prefix),
                (false, false) => {}
            }
        }
        self.records.clear();
        // A bulk load leaves a buffer of megabytes that the usual batches never need again.
        self.records.shrink_to(1 << 16);
        outcome
    }

    /// Heap memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.records.capacity() * size_of::<Record<A>>()
    }
}

impl<A: Address> Outcome<A> {
    /// Writes the edits in an order that never lets the map, which holds at most `present` entries
    /// now, exceed `capacity`.
    pub(crate) fn emit(mut self, present: usize, capacity: usize, edits: &mut Vec<TableEdit>) {
        self.writes.sort_by_key(|(prefix, ..)| std::cmp::Reverse(prefix.len));
        self.removes.sort_by_key(|prefix| prefix.len);
        let new = self.writes.iter().filter(|(_, _, new)| *new).count();
        let early = (present + new).saturating_sub(capacity).min(self.removes.len());
        let remove = |prefix: &Prefix<A>| TableEdit::Remove { prefix: prefix.to_net() };
        edits.reserve(self.writes.len() + self.removes.len());
        // The longest first among those that cannot wait: each uncovers the fewest addresses.
        let late = self.removes.len() - early;
        edits.extend(self.removes[late..].iter().rev().map(remove));
        edits.extend(
            self.writes.iter().map(|&(prefix, set, _)| TableEdit::Insert { prefix: prefix.to_net(), set }),
        );
        edits.extend(self.removes[..late].iter().map(remove));
    }
}
