//! The prefixes of one family: a hash index over an arena of entries, generic over the address.
//!
//! What each operation costs:
//! - exact match: one probe of the index and one entry. Longest match: one exact match for each
//!   prefix length in use, longest first.
//! - an entry's only path lies inside it; more of them lie together in a block (see
//!   [`super::blocks`]). Paths of a prefix are a slice either way.
//! - [`Table::page`], the walk in prefix order: one pass over the whole arena, some milliseconds for
//!   each million entries, and a heap of `limit` ids, for each page. There is no sorted structure
//!   to be kept: routes come far more often than `show`.
//! - [`Table::next_live`], the walk in arena order: constant for each entry. Ids stay valid as long as
//!   the entry lives, so the walk may pause while routes change.
//!
//! Freed entries are chained and reused first; memory follows the greatest number of prefixes and
//! paths ever held, not the churn.

use std::collections::BinaryHeap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::blocks::Blocks;
use super::key::Bits;
use super::path::Path;

/// An entry that is on the free chain has this length.
const FREE: u8 = u8::MAX;
/// Ends the free chain.
const END: u32 = u32::MAX;

/// What is pending for a prefix.
pub(crate) mod pending {
    /// Its change has not been drained yet.
    pub(crate) const CHANGE: u8 = 1;
    /// The forwarding plane has not confirmed its best path yet: nothing is announced until then.
    pub(crate) const FORWARDING: u8 = 2;
    /// The forwarding plane could not take its best path: withdrawn from peers.
    pub(crate) const NOT_INSTALLED: u8 = 4;
    /// Its backup is to be looked at; see [`super::super::backup`].
    pub(crate) const BACKUP: u8 = 8;
    /// The generation of the batch with its last drained change; see [`super::super::confirm`].
    pub(crate) const GENERATION: u8 = 0xf0;
}

/// A prefix.
#[derive(Debug)]
struct Entry<K> {
    bits: K,
    /// The path, when there is one. When there are more, `attr` is the block and `rank` its class.
    /// On the free chain `attr` is the next free entry.
    inline: Path,
    count: u16,
    length: u8,
    pending: u8,
}

/// The best of the paths of an entry.
#[inline]
pub(crate) fn best_of(paths: &[Path]) -> Option<Path> {
    paths.first().copied().filter(|path| path.has(Path::BEST))
}

/// The table of one family.
#[derive(Debug)]
pub(crate) struct Table<K> {
    index: HashTable<u32>,
    entries: Vec<Entry<K>>,
    blocks: Blocks,
    hasher: RandomState,
    free: u32,
    paths: usize,
    /// Prefixes of each length.
    lengths: [u32; 129],
}

impl<K: Bits> Table<K> {
    pub(crate) fn new() -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            blocks: Blocks::new(),
            hasher: RandomState::default(),
            free: END,
            paths: 0,
            lengths: [0; 129],
        }
    }

    #[inline]
    fn hash(&self, bits: K, length: u8) -> u64 {
        self.hasher.hash_one(bits.fold() ^ (u64::from(length) << 40))
    }

    /// The entry of a prefix.
    #[inline]
    pub(crate) fn find(&self, bits: K, length: u8) -> Option<u32> {
        let entries = &self.entries;
        let matches = |&id: &u32| {
            let entry = &entries[id as usize];
            entry.bits == bits && entry.length == length
        };
        self.index.find(self.hash(bits, length), matches).copied()
    }

    /// Reads what routes for these prefixes will need, so that it is in the cache when they come.
    ///
    /// A route costs a chain of cache misses: index, entry, block of paths. Taken one prefix after the other
    /// that is all that a large table does. Here each link of the chain is followed for all prefixes before
    /// the next one, and nothing is decided by what was read: so the misses overlap.
    pub(crate) fn read_ahead(&self, prefixes: &[(K, u8)], ids: &mut Vec<u32>) {
        ids.clear();
        // The first entry with the same bits of the hash: nearly always the right one.
        ids.extend(
            prefixes.iter().filter_map(|&(bits, length)| self.index.find(self.hash(bits, length), |_| true)),
        );
        for id in &mut *ids {
            let entry = &self.entries[*id as usize];
            // Where there is no block, some other one is read.
            *id = if entry.count > 1 { entry.inline.attr } else { 0 };
        }
        let seen = ids.iter().fold(0, |seen, &block| seen ^ self.blocks.peek(block));
        // Or the compiler finds that nobody asks for what was read.
        std::hint::black_box(seen);
    }

    /// The entry of a prefix, made when there is none.
    #[inline]
    pub(crate) fn find_or_insert(&mut self, bits: K, length: u8) -> u32 {
        if let Some(id) = self.find(bits, length) {
            return id;
        }
        let entry = Entry { bits, inline: Path::default(), count: 0, length, pending: 0 };
        let id = if self.free == END {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            let id = self.free;
            self.free = self.entries[id as usize].inline.attr;
            self.entries[id as usize] = entry;
            id
        };
        self.lengths[usize::from(length)] += 1;
        let hash = self.hash(bits, length);
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index.insert_unique(hash, id, |&id| {
            let entry = &entries[id as usize];
            hasher.hash_one(entry.bits.fold() ^ (u64::from(entry.length) << 40))
        });
        id
    }

    /// Frees an entry without paths.
    pub(crate) fn remove(&mut self, id: u32) {
        let (bits, length) = self.prefix(id);
        debug_assert!(self.paths(id).is_empty(), "an entry with paths is never freed");
        let hash = self.hash(bits, length);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == id) {
            found.remove();
        }
        self.lengths[usize::from(length)] -= 1;
        let entry = &mut self.entries[id as usize];
        entry.length = FREE;
        entry.inline.attr = self.free;
        self.free = id;
    }

    /// The prefix of an entry.
    #[inline]
    pub(crate) fn prefix(&self, id: u32) -> (K, u8) {
        let entry = &self.entries[id as usize];
        (entry.bits, entry.length)
    }

    /// The paths of an entry; the best one, when there is one, comes first.
    #[inline]
    pub(crate) fn paths(&self, id: u32) -> &[Path] {
        let entry = &self.entries[id as usize];
        match entry.count {
            0 => &[],
            1 => std::slice::from_ref(&entry.inline),
            count => self.blocks.paths(entry.inline.attr, usize::from(count)),
        }
    }

    /// The paths of an entry, to be changed in place.
    #[inline]
    pub(crate) fn paths_mut(&mut self, id: u32) -> &mut [Path] {
        let entry = &mut self.entries[id as usize];
        match entry.count {
            0 => &mut [],
            1 => std::slice::from_mut(&mut entry.inline),
            count => self.blocks.paths_mut(entry.inline.attr, usize::from(count)),
        }
    }

    /// The best path of an entry.
    #[inline]
    pub(crate) fn best(&self, id: u32) -> Option<Path> {
        best_of(self.paths(id))
    }

    /// Adds a path behind the others. One of each peer, or fewer than peers there can be, so that the count
    /// always fits.
    pub(crate) fn push(&mut self, id: u32, path: Path) {
        let entry = &mut self.entries[id as usize];
        let blocks = &mut self.blocks;
        let count = usize::from(entry.count);
        match count {
            0 => entry.inline = path,
            1 => {
                let class = Blocks::class(2);
                let block = blocks.allocate(class);
                blocks.paths_mut(block, 2).copy_from_slice(&[entry.inline, path]);
                entry.inline = Path { attr: block, rank: u32::from(class), ..Path::default() };
            }
            _ => {
                let (mut block, mut class) = (entry.inline.attr, entry.inline.rank as u8);
                if count == Blocks::capacity(class) {
                    (block, class) = Self::resize(blocks, &mut entry.inline, count, count + 1);
                }
                debug_assert!(count < Blocks::capacity(class), "a block has room for what is pushed");
                blocks.paths_mut(block, count + 1)[count] = path;
            }
        }
        entry.count += 1;
        self.paths += 1;
    }

    /// Takes out the path at an index; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, id: u32, index: usize) -> Path {
        let paths = self.paths_mut(id);
        let last = paths.len() - 1;
        paths.swap(index, last);
        let removed = paths[last];
        let entry = &mut self.entries[id as usize];
        let blocks = &mut self.blocks;
        match last {
            0 => {}
            1 => {
                let (block, class) = (entry.inline.attr, entry.inline.rank as u8);
                entry.inline = blocks.paths(block, 1)[0];
                blocks.release(block, class);
            }
            // Half of the next smaller class, so that one path coming and going does not copy.
            _ if Blocks::class(last * 2) < entry.inline.rank as u8 => {
                Self::resize(blocks, &mut entry.inline, last, last);
            }
            _ => {}
        }
        entry.count -= 1;
        self.paths -= 1;
        removed
    }

    /// Moves `count` paths to a block with room for `room`.
    fn resize(blocks: &mut Blocks, inline: &mut Path, count: usize, room: usize) -> (u32, u8) {
        let (old, old_class) = (inline.attr, inline.rank as u8);
        let class = Blocks::class(room);
        let block = blocks.allocate(class);
        blocks.copy(old, block, count);
        blocks.release(old, old_class);
        inline.attr = block;
        inline.rank = u32::from(class);
        (block, class)
    }

    #[inline]
    pub(crate) fn is_pending(&self, id: u32, flags: u8) -> bool {
        self.entries[id as usize].pending & flags != 0
    }

    #[inline]
    pub(crate) fn set_pending(&mut self, id: u32, flags: u8) {
        self.entries[id as usize].pending |= flags;
    }

    #[inline]
    pub(crate) fn clear_pending(&mut self, id: u32, flags: u8) {
        self.entries[id as usize].pending &= !flags;
    }

    /// Clears some flags and sets others; answers those of before.
    #[inline]
    pub(crate) fn replace_pending(&mut self, id: u32, clear: u8, set: u8) -> u8 {
        let pending = &mut self.entries[id as usize].pending;
        std::mem::replace(pending, *pending & !clear | set)
    }

    /// Its change was drained with a batch of this generation.
    #[inline]
    pub(crate) fn set_generation(&mut self, id: u32, generation: u8) {
        let entry = &mut self.entries[id as usize];
        entry.pending = (entry.pending & !pending::GENERATION) | generation;
    }

    /// Whether the forwarding plane has yet to confirm its best path, which a batch of this generation had.
    #[inline]
    pub(crate) fn awaits(&self, id: u32, generation: u8) -> bool {
        let mask = pending::CHANGE | pending::FORWARDING | pending::GENERATION;
        self.entries[id as usize].pending & mask == pending::FORWARDING | generation
    }

    /// The forwarding plane has done the batch of this generation; whether that confirms the best path.
    #[inline]
    pub(crate) fn confirm(&mut self, id: u32, generation: u8) -> bool {
        let awaits = self.awaits(id, generation);
        if awaits {
            self.clear_pending(id, pending::FORWARDING);
        }
        awaits
    }

    /// The next entry in arena order, from `id` on.
    pub(crate) fn next_live(&self, id: u32) -> Option<u32> {
        let start = id as usize;
        let rest = self.entries.get(start..)?;
        rest.iter().position(|entry| entry.length != FREE).map(|offset| (start + offset) as u32)
    }

    /// Whether the id names an entry that is in use.
    pub(crate) fn is_live(&self, id: u32) -> bool {
        self.entries.get(id as usize).is_some_and(|entry| entry.length != FREE)
    }

    /// One past the greatest id ever used.
    pub(crate) fn end(&self) -> u32 {
        self.entries.len() as u32
    }

    /// The entries whose prefixes cover an address, the longest first.
    pub(crate) fn covering(&self, bits: K) -> impl Iterator<Item = u32> {
        let lengths = (0..=K::WIDTH).rev().filter(|&length| self.lengths[usize::from(length)] > 0);
        lengths.filter_map(move |length| self.find(bits.mask(length), length))
    }

    /// The first `limit` entries in prefix order behind `after` that lie within `within` and for
    /// which `wanted` holds. See the head of this file for the cost.
    pub(crate) fn page(
        &self,
        after: Option<(K, u8)>,
        within: Option<(K, u8)>,
        limit: usize,
        wanted: impl Fn(u32) -> bool,
    ) -> Vec<u32> {
        let mut heap: BinaryHeap<(K, u8, u32)> = BinaryHeap::with_capacity(limit.saturating_add(1).min(4096));
        for (id, entry) in self.entries.iter().enumerate() {
            let place = (entry.bits, entry.length);
            if entry.length == FREE
                || limit == 0
                || after.is_some_and(|after| place <= after)
                || within.is_some_and(|(bits, length)| !bits.covers(length, entry.bits, entry.length))
                || (heap.len() == limit && heap.peek().is_some_and(|last| place > (last.0, last.1)))
                || !wanted(id as u32)
            {
                continue;
            }
            heap.push((entry.bits, entry.length, id as u32));
            if heap.len() > limit {
                heap.pop();
            }
        }
        heap.into_sorted_vec().into_iter().map(|(_, _, id)| id).collect()
    }

    /// Prefixes, and paths of all of them.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.index.len(), self.paths)
    }

    /// Bytes held by the arenas and the index.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<K>>() + self.blocks.bytes() + self.index.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn path(peer: u16) -> Path {
        Path { peer, attr: u32::from(peer) + 7, ..Path::default() }
    }

    fn prefix() -> impl Strategy<Value = (u32, u8)> {
        (0..=8_u8, 0..=3_u32).prop_map(|(length, bits)| ((bits << 25).mask(length), length))
    }

    proptest! {
        #[test]
        fn entries_and_paths_equal_those_of_a_map(
            steps in prop::collection::vec((prefix(), 0..40_u16, any::<bool>()), 1..400),
        ) {
            let mut table = Table::<u32>::new();
            let mut model: BTreeMap<(u32, u8), Vec<u16>> = BTreeMap::new();
            for ((bits, length), peer, add) in steps {
                let peers = model.entry((bits, length)).or_default();
                let id = table.find_or_insert(bits, length);
                let place = table.paths(id).iter().position(|path| path.peer == peer);
                prop_assert_eq!(place.is_some(), peers.contains(&peer));
                match place {
                    None if add => {
                        table.push(id, path(peer));
                        peers.push(peer);
                    }
                    Some(index) if !add => {
                        prop_assert_eq!(table.swap_remove(id, index), path(peer));
                        peers.retain(|other| *other != peer);
                    }
                    _ => {}
                }
                if table.paths(id).is_empty() {
                    table.remove(id);
                    model.remove(&(bits, length));
                }
            }
            let ordered = table.page(None, None, usize::MAX, |_| true);
            let prefixes: Vec<_> = ordered.iter().map(|&id| table.prefix(id)).collect();
            prop_assert_eq!(&prefixes, &model.keys().copied().collect::<Vec<_>>());
            for (&id, peers) in ordered.iter().zip(model.values()) {
                let mut found: Vec<_> = table.paths(id).iter().map(|path| path.peer).collect();
                found.sort_unstable();
                let mut peers = peers.clone();
                peers.sort_unstable();
                prop_assert_eq!(found, peers);
            }
            for address in (0..16_u32).map(|bits| bits << 24) {
                let naive = model.keys().filter(|(bits, length)| address.mask(*length) == *bits)
                    .max_by_key(|(_, length)| *length);
                let found = table.covering(address).next().map(|id| table.prefix(id));
                prop_assert_eq!(found, naive.copied());
            }
            prop_assert_eq!(table.len().1, model.values().map(Vec::len).sum::<usize>());
        }
    }

    #[test]
    fn churn_needs_no_new_memory() {
        let mut table = Table::<u128>::new();
        let mut fill = |first: u128| {
            for bits in first..first + 100 {
                let id = table.find_or_insert(bits << 64, 64);
                (0..5).for_each(|peer| table.push(id, path(peer)));
            }
            // The index may double once, when it first has to make room for what was removed.
            assert!(table.index.capacity() < 500);
            let bytes = (table.entries.capacity(), table.blocks.bytes());
            for bits in first..first + 100 {
                let id = table.find(bits << 64, 64).unwrap();
                for _ in 0..5 {
                    table.swap_remove(id, 0);
                }
                table.remove(id);
            }
            assert_eq!(table.len(), (0, 0));
            bytes
        };
        let bytes = fill(0);
        assert!((1..25).all(|round| fill(round * 1000) == bytes));
    }

    #[test]
    fn pages_in_order_cover_everything_once() {
        let mut table = Table::<u32>::new();
        for bits in (0..50_u32).rev() {
            table.find_or_insert(bits << 24, 8);
            table.find_or_insert(bits << 24, 16);
        }
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = table.page(after, Some((0, 3)), 7, |_| true);
            let Some(&last) = page.last() else { break };
            after = Some(table.prefix(last));
            seen.extend(page.into_iter().map(|id| table.prefix(id)));
        }
        let all: Vec<_> = (0..32_u32).flat_map(|bits| [(bits << 24, 8), (bits << 24, 16)]).collect();
        assert_eq!(seen, all);
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry<u32>>(), 24);
        assert_eq!(size_of::<Entry<u128>>(), 48);
    }
}
