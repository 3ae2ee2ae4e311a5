//! Routes in prefix order, packed: 8 bytes each for IPv4, 20 for IPv6.
//!
//! They lie in sorted leaves of up to [`LEAF`] routes, found by a sorted directory of the leaves' first
//! prefixes: a B+ tree of two levels. The directory of a full table stays in the cache, so that
//! finding a route costs the misses of one leaf. Whoever goes through a batch in order passes on the
//! leaf he was at, and the next is found from there.
//!
//! Prefix order puts a route right before all that it covers, so routes below it are the next ones, and
//! the one above it is found by a few steps back ([`Routes::above`]).

use crate::address::{Address, Prefix};

/// Most routes of a leaf.
const LEAF: usize = 256;
/// A leaf that shrinks below this is joined with its neighbour if both then fit well.
const SPARSE: usize = LEAF / 4;

/// Most set ids that a packed route can name.
pub(crate) const MOST_SETS: u32 = 1 << 21;

/// Flags of a packed route.
pub(crate) mod mark {
    /// On its way out; it still has its set.
    pub(crate) const GONE: u32 = 1 << 29;
    /// New, or of another set, or gone, since the tables were last worked out.
    pub(crate) const CHANGED: u32 = 1 << 30;
    /// Found no room: not in the table.
    pub(crate) const LEFT_OUT: u32 = 1 << 31;
}

/// A route: the length in the low 8 bits, the set in the next 21, three marks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed<A: Address> {
    bits: A::Packed,
    word: u32,
}

impl<A: Address> Packed<A> {
    pub(crate) fn new(prefix: Prefix<A>, set: u32, marks: u32) -> Self {
        debug_assert!(set < MOST_SETS, "set ids have 21 bits");
        Self { bits: prefix.bits.pack(), word: u32::from(prefix.len) | (set << 8) | marks }
    }

    #[inline]
    fn key(&self) -> (A, u8) {
        (A::unpack(self.bits), self.len())
    }

    #[inline]
    pub(crate) fn prefix(&self) -> Prefix<A> {
        Prefix { bits: A::unpack(self.bits), len: self.len() }
    }

    #[inline]
    pub(crate) fn len(&self) -> u8 {
        self.word as u8
    }

    /// The set.
    #[inline]
    pub(crate) fn set(&self) -> u32 {
        (self.word >> 8) & (MOST_SETS - 1)
    }

    #[inline]
    pub(crate) fn has(&self, mark: u32) -> bool {
        self.word & mark != 0
    }

    /// Whether the table is to forward by it.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        !self.has(mark::GONE | mark::LEFT_OUT)
    }

    #[inline]
    pub(crate) fn change(&mut self, set: u32, marks: u32) {
        self.word = u32::from(self.len()) | (set << 8) | marks;
    }

    #[inline]
    pub(crate) fn unmark(&mut self, mark: u32) {
        self.word &= !mark;
    }
}

/// A place between routes, or the route right behind it. Good until a route comes or goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    leaf: usize,
    slot: usize,
}

/// What is left of a leaf to search, and what is searched.
type Search<'a, A> = (&'a [Packed<A>], (A, u8));

/// The routes of one family.
#[derive(Debug)]
pub(crate) struct Routes<A: Address> {
    /// The first prefix of each leaf.
    firsts: Vec<(A, u8)>,
    /// Never empty, and no leaf is, save the only one.
    leaves: Vec<Vec<Packed<A>>>,
    len: usize,
}

impl<A: Address> Routes<A> {
    pub(crate) fn new() -> Self {
        Self { firsts: vec![(A::default(), 0)], leaves: vec![Vec::with_capacity(LEAF)], len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The route at a place.
    #[inline]
    pub(crate) fn at(&self, place: Place) -> Option<&Packed<A>> {
        self.leaves.get(place.leaf)?.get(place.slot)
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, place: Place) -> Option<&mut Packed<A>> {
        self.leaves.get_mut(place.leaf)?.get_mut(place.slot)
    }

    /// The place of the next route.
    #[inline]
    pub(crate) fn after(&self, place: Place) -> Place {
        if place.slot + 1 < self.leaves[place.leaf].len() {
            return Place { slot: place.slot + 1, ..place };
        }
        Place { leaf: place.leaf + 1, slot: 0 }
    }

    /// The place of the first route that is not before a prefix, and whether it is the route of the
    /// prefix; found fastest near and behind `from`.
    #[inline]
    pub(crate) fn seek(&self, prefix: Prefix<A>, from: Place) -> (Place, bool) {
        let key = (prefix.bits, prefix.len);
        let leaf = self.leaf_of(key, from.leaf);
        let routes = &self.leaves[leaf];
        let slot = routes.partition_point(|route| route.key() < key);
        match routes.get(slot) {
            Some(route) => (Place { leaf, slot }, route.key() == key),
            None if leaf + 1 < self.leaves.len() => (Place { leaf: leaf + 1, slot: 0 }, false),
            None => (Place { leaf, slot }, false),
        }
    }

    /// The last leaf that does not start behind a key.
    #[inline]
    fn leaf_of(&self, key: (A, u8), from: usize) -> usize {
        let (mut low, mut high) = (0, self.firsts.len());
        if from < high && self.firsts[from] > key {
            high = from;
        } else if from < high {
            // In ever wider steps.
            let mut step = 1;
            low = from;
            while low + step < high && self.firsts[low + step] <= key {
                low += step;
                step *= 2;
            }
            high = high.min(low + step);
        }
        // The first leaf also takes what comes before its first prefix.
        low + self.firsts[low..high].partition_point(|first| *first <= key).max(1) - 1
    }

    /// Brings into the cache what [`Self::seek`] will read for these prefixes, which come in order and are at
    /// most 16. One search waits for memory at each step; several in step wait together.
    pub(crate) fn read_ahead(&self, prefixes: impl Iterator<Item = Prefix<A>>, from: Place) {
        let nothing: Search<'_, A> = (&[], (A::default(), 0));
        let mut searches = [nothing; 16];
        let mut leaf = from.leaf;
        for (search, prefix) in searches.iter_mut().zip(prefixes) {
            let key = (prefix.bits, prefix.len);
            leaf = self.leaf_of(key, leaf);
            *search = (&self.leaves[leaf], key);
        }
        for _ in 0..LEAF.ilog2() {
            for (routes, key) in &mut searches {
                let (below, above) = routes.split_at(routes.len() / 2);
                *routes = match above.first() {
                    Some(middle) if middle.key() <= *key => above,
                    _ => below,
                };
            }
        }
        std::hint::black_box(&searches);
    }

    /// The route of a prefix.
    pub(crate) fn find(&self, prefix: Prefix<A>) -> Option<&Packed<A>> {
        let (place, found) = self.seek(prefix, Place::default());
        if found { self.at(place) } else { None }
    }

    /// Adds a route that is not there yet, at the place that [`Self::seek`] gave; answers its place.
    pub(crate) fn insert(&mut self, place: Place, route: Packed<A>) -> Place {
        self.len += 1;
        let mut place = place;
        if place.slot == 0 && place.leaf > 0 {
            // To the end of the leaf before, since a leaf's first prefix is in the directory.
            let leaf = place.leaf - 1;
            place = Place { leaf, slot: self.leaves[leaf].len() };
        }
        if self.leaves[place.leaf].len() == LEAF {
            place = self.split(place);
        }
        let leaf = &mut self.leaves[place.leaf];
        leaf.insert(place.slot, route);
        if place.slot == 0 {
            self.firsts[place.leaf] = route.key();
        }
        place
    }

    /// Splits a full leaf; answers where the place went. In the middle, but behind the last route of all
    /// where routes come in order, so that the leaves of a table that is loaded in order are full.
    fn split(&mut self, place: Place) -> Place {
        let Place { leaf, slot } = place;
        let middle = if slot == LEAF && leaf + 1 == self.leaves.len() { LEAF } else { LEAF / 2 };
        let mut upper = Vec::with_capacity(LEAF);
        upper.extend_from_slice(&self.leaves[leaf][middle..]);
        self.leaves[leaf].truncate(middle);
        let first = upper.first().map_or((A::default(), 0), Packed::key);
        self.leaves.insert(leaf + 1, upper);
        self.firsts.insert(leaf + 1, first);
        if slot >= middle && (slot > middle || middle == LEAF) {
            Place { leaf: leaf + 1, slot: slot - middle }
        } else {
            place
        }
    }

    /// Removes the route at a place.
    pub(crate) fn remove(&mut self, place: Place) {
        let Place { leaf, slot } = place;
        self.leaves[leaf].remove(slot);
        self.len -= 1;
        if self.leaves[leaf].len() < SPARSE {
            if leaf + 1 < self.leaves.len()
                && self.leaves[leaf].len() + self.leaves[leaf + 1].len() <= LEAF / 2
            {
                let upper = self.leaves.remove(leaf + 1);
                self.firsts.remove(leaf + 1);
                self.leaves[leaf].extend(upper);
            } else if self.leaves[leaf].is_empty() && self.leaves.len() > 1 {
                self.leaves.remove(leaf);
                self.firsts.remove(leaf);
                return;
            }
        }
        // Also after joining: what was the first may have been the only one.
        if let Some(first) = self.leaves[leaf].first() {
            self.firsts[leaf] = first.key();
        }
    }

    /// The longest route of at most `longest` bits that covers a prefix and that `counts` accepts.
    pub(crate) fn above(
        &self,
        prefix: Prefix<A>,
        longest: u8,
        near: Place,
        counts: impl Fn(&Packed<A>) -> bool,
    ) -> Option<&Packed<A>> {
        let mut shared = longest;
        loop {
            let route = self.last_up_to(Prefix::new(prefix.bits, shared), near)?;
            // Either it covers the prefix, or whatever does is no longer than what both share.
            let common = route.prefix().bits.common(prefix.bits);
            if route.len() > common {
                shared = common;
            } else if counts(route) {
                return Some(route);
            } else {
                shared = route.len().checked_sub(1)?;
            }
        }
    }

    /// The last route that is not behind a prefix.
    fn last_up_to(&self, prefix: Prefix<A>, near: Place) -> Option<&Packed<A>> {
        let (place, found) = self.seek(prefix, near);
        if found {
            return self.at(place);
        }
        match place.slot.checked_sub(1) {
            Some(slot) => self.at(Place { slot, ..place }),
            None => self.leaves[..place.leaf].last()?.last(),
        }
    }

    /// Heap memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        // Each leaf has room for all that it may have.
        self.leaves.len() * LEAF * size_of::<Packed<A>>()
            + self.leaves.capacity() * size_of::<Vec<Packed<A>>>()
            + self.firsts.capacity() * size_of::<(A, u8)>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const KEYS: u32 = 1500;

    fn prefix(key: u32) -> Prefix<u32> {
        Prefix::new(key << 8, 24)
    }

    /// Every key is found or not as in the model, by whatever place the search starts from.
    fn check(routes: &Routes<u32>, model: &BTreeSet<u32>) -> Result<(), TestCaseError> {
        prop_assert_eq!(routes.len(), model.len());
        let mut from = Place::default();
        for key in 0..KEYS {
            let (place, found) = routes.seek(prefix(key), Place::default());
            prop_assert_eq!(found, model.contains(&key), "{}", key);
            prop_assert_eq!(routes.find(prefix(key)).is_some(), found);
            let next = routes.at(place).map(Packed::prefix);
            prop_assert_eq!(next, model.range(key..).next().map(|&key| prefix(key)), "{}", key);
            let (near, _) = routes.seek(prefix(key), from);
            prop_assert_eq!((near.leaf, near.slot), (place.leaf, place.slot), "{}", key);
            let above = routes.above(prefix(key), 24, from, |_| true).map(Packed::prefix);
            prop_assert_eq!(above, found.then(|| prefix(key)), "{}", key);
            from = near;
        }
        Ok(())
    }

    #[test]
    fn a_leaf_that_was_emptied_and_joined_begins_where_its_routes_begin() {
        let mut routes = Routes::<u32>::new();
        let insert = |routes: &mut Routes<u32>, key| {
            let (place, found) = routes.seek(prefix(key), Place::default());
            assert!(!found);
            routes.insert(place, Packed::new(prefix(key), 1, 0));
        };
        // Two full leaves; the second splits in halves of which the upper one has half a leaf exactly.
        let second = 2000..2000 + 2 * LEAF as u32;
        (0..2 * LEAF as u32).chain(second.clone()).step_by(2).for_each(|key| insert(&mut routes, key));
        insert(&mut routes, second.start + 1);
        let upper = second.start + LEAF as u32;
        for key in second.start..upper {
            let (place, found) = routes.seek(prefix(key), Place::default());
            if found {
                routes.remove(place);
            }
        }
        insert(&mut routes, upper - 1);
        assert!(routes.find(prefix(upper - 1)).is_some());
        assert!(routes.firsts.is_sorted());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn routes_that_come_and_go_in_runs_are_found_as_in_a_sorted_set(
            runs in prop::collection::vec((0..KEYS, 1..700_u32, any::<bool>(), any::<bool>()), 1..20),
        ) {
            let mut routes = Routes::<u32>::new();
            let mut model = BTreeSet::new();
            for (first, count, scattered, add) in runs {
                for index in 0..count {
                    let key = (first + if scattered { index * 991 } else { index }) % KEYS;
                    let (place, found) = routes.seek(prefix(key), Place::default());
                    if add && !found {
                        routes.insert(place, Packed::new(prefix(key), 1, 0));
                        model.insert(key);
                    } else if !add && found {
                        routes.remove(place);
                        model.remove(&key);
                    }
                }
                check(&routes, &model)?;
            }
        }
    }
}
