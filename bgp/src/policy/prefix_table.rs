//! The table behind prefix lists: which prefix lengths are accepted below which prefixes.
//!
//! A hash table of the entries' prefixes, each with the set of lengths that it accepts; and for each length
//! of a route, how long the entries are that may accept it. A list of exact prefixes, such as one made from
//! a routing registry, is thus asked once for a route, however long it is. One of ranges is asked once for
//! each length of entry that there is, at most; these look-ups do not wait for each other, and so cost less than
//! the steps of a trie, each of which leads to the next.

use std::hash::{BuildHasher, Hash};

use foldhash::HashMap;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The address of one family as a number.
pub(super) trait Bits: Copy + Eq + Hash {
    const WIDTH: u8;

    /// The first `len` bits, the others zero.
    fn first(self, len: u8) -> Self;
}

impl Bits for u32 {
    const WIDTH: u8 = 32;

    fn first(self, len: u8) -> Self {
        self & Self::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
    }
}

impl Bits for u128 {
    const WIDTH: u8 = 128;

    fn first(self, len: u8) -> Self {
        self & Self::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
    }
}

/// A set of prefix lengths 0..=128: 129 bits, so that length 0 lies apart.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Lengths {
    zero: bool,
    /// Bit n stands for length n + 1.
    others: u128,
}

impl Lengths {
    fn range(ge: u8, le: u8) -> Self {
        let first = ge.max(1);
        let others = if le < first { 0 } else { (u128::MAX >> (128 - (le - first + 1))) << (first - 1) };
        Self { zero: ge == 0, others }
    }

    fn union(self, other: Self) -> Self {
        Self { zero: self.zero || other.zero, others: self.others | other.others }
    }

    fn contains(self, len: u8) -> bool {
        match len.checked_sub(1) {
            None => self.zero,
            Some(bit) => self.others >> bit & 1 == 1,
        }
    }

    /// The lengths in it, longest first.
    fn iter(self) -> impl Iterator<Item = u8> {
        let mut others = self.others;
        let longer = std::iter::from_fn(move || {
            let length = 128 - others.leading_zeros() as u8;
            let bit = length.checked_sub(1)?;
            others &= !(1 << bit);
            Some(length)
        });
        longer.chain(self.zero.then_some(0))
    }
}

/// A prefix with the lengths accepted below it, from and to.
pub(super) type Entry<B> = ((B, u8), (u8, u8));

/// The entries of one family.
#[derive(Clone)]
pub(super) struct PrefixTable<B> {
    slots: HashTable<Slot<B>>,
    hasher: RandomState,
    /// The sets of lengths that the slots name; there are few different ones.
    lengths: Vec<Lengths>,
    /// How long the entries are.
    present: Lengths,
    /// For each length of a route, how long the entries are that may accept it.
    candidates: Vec<Lengths>,
}

#[derive(Clone, Copy)]
struct Slot<B> {
    bits: B,
    len: u8,
    /// What it accepts, as an index.
    lengths: u32,
}

impl<B: Bits> PrefixTable<B> {
    /// The table of these entries.
    pub(super) fn new(mut entries: Vec<Entry<B>>) -> Self
    where
        B: Ord,
    {
        entries.sort_unstable();
        let mut table = Self {
            slots: HashTable::new(),
            hasher: RandomState::default(),
            lengths: Vec::new(),
            present: Lengths::default(),
            candidates: vec![Lengths::default(); usize::from(B::WIDTH) + 1],
        };
        let groups = || entries.chunk_by(|a, b| a.0 == b.0);
        table.slots.reserve(groups().count(), |_| 0);
        let mut known: HashMap<Lengths, u32> = HashMap::default();
        for group in groups() {
            let (bits, len) = group[0].0;
            let accepted = group
                .iter()
                .fold(Lengths::default(), |sum, (_, (ge, le))| sum.union(Lengths::range(*ge, *le)));
            table.present = table.present.union(Lengths::range(len, len));
            for length in accepted.iter() {
                let candidates = &mut table.candidates[usize::from(length)];
                *candidates = candidates.union(Lengths::range(len, len));
            }
            let all = &mut table.lengths;
            let lengths = *known.entry(accepted).or_insert_with(|| {
                all.push(accepted);
                (all.len() - 1) as u32
            });
            let hasher = &table.hasher;
            let hash = |slot: &Slot<B>| hasher.hash_one((slot.bits, slot.len));
            let slot = Slot { bits, len, lengths };
            table.slots.insert_unique(hash(&slot), slot, hash);
        }
        table
    }

    /// Whether an entry accepts this prefix.
    pub(super) fn contains(&self, (bits, len): (B, u8)) -> bool {
        let Some(candidates) = self.candidates.get(usize::from(len)) else { return false };
        candidates.iter().any(|length| {
            let slot = self.slot(bits.first(length), length);
            slot.is_some_and(|slot| self.lengths[slot.lengths as usize].contains(len))
        })
    }

    /// Whether the prefix of an entry covers this address.
    pub(super) fn covers(&self, address: B) -> bool {
        self.present.iter().any(|length| self.slot(address.first(length), length).is_some())
    }

    fn slot(&self, bits: B, len: u8) -> Option<&Slot<B>> {
        self.slots.find(self.hasher.hash_one((bits, len)), |slot| slot.len == len && slot.bits == bits)
    }
}
