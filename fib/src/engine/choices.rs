//! Sets of candidate values at a trie node, as ORTC's second pass makes them.
//!
//! Nearly all nodes have a single candidate, which is its own handle. The others share interned sorted
//! lists, counted by reference, so that a node spends four bytes on its candidates. A list is cut at
//! [`LONGEST`]: forwarding stays right with any non-empty part of the candidates, since a node only
//! emits what its inherited value does not already give; only the count of entries may then be more
//! than the least possible, and only where more than `LONGEST` values tie.

use hashbrown::HashTable;

use super::NO_ROUTE;

/// Longest list of candidates; bounds the work and the memory of a node.
pub(crate) const LONGEST: usize = 64;

/// Marks a handle that names a list; without it the handle is the only candidate itself.
const LIST: u32 = 1 << 31;

/// A handle to a set of candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice(u32);

impl Choice {
    /// No route: such a node may neither have an entry nor inherit one.
    pub(crate) const NONE: Self = Self(NO_ROUTE);

    /// The set of one candidate.
    #[inline]
    pub(crate) fn single(value: u32) -> Self {
        debug_assert!(value < LIST, "set ids stay below 2^31");
        Self(value)
    }

    #[inline]
    fn list(self) -> Option<usize> {
        (self.0 & LIST != 0).then_some((self.0 & !LIST) as usize)
    }
}

#[derive(Debug, Default)]
struct List {
    values: Box<[u32]>,
    references: u32,
}

/// The interned lists.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    lists: Vec<List>,
    free: Vec<u32>,
    index: HashTable<u32>,
    scratch: Vec<u32>,
}

impl Choices {
    /// Counts one more holder.
    #[inline]
    pub(crate) fn retain(&mut self, choice: Choice) -> Choice {
        if let Some(list) = choice.list() {
            self.lists[list].references += 1;
        }
        choice
    }

    /// Counts one holder less; the last one frees the list.
    #[inline]
    pub(crate) fn release(&mut self, choice: Choice) {
        if let Some(list) = choice.list() {
            self.lists[list].references -= 1;
            if self.lists[list].references == 0 {
                self.free_list(list);
            }
        }
    }

    #[cold]
    fn free_list(&mut self, list: usize) {
        let values = std::mem::take(&mut self.lists[list].values);
        if let Ok(entry) = self.index.find_entry(hash(&values), |&other| other as usize == list) {
            entry.remove();
        }
        self.free.push(list as u32);
    }

    /// Whether a value is among the candidates.
    #[inline]
    pub(crate) fn contains(&self, choice: Choice, value: u32) -> bool {
        match choice.list() {
            None => choice.0 == value,
            Some(list) => self.lists[list].values.binary_search(&value).is_ok(),
        }
    }

    /// The candidate with the lowest id.
    #[inline]
    pub(crate) fn first(&self, choice: Choice) -> u32 {
        match choice.list() {
            None => choice.0,
            Some(list) => self.lists[list].values.first().copied().unwrap_or(NO_ROUTE),
        }
    }

    /// Candidates of a node whose two halves have these: what both share, else what either has; none
    /// if either half has addresses without a route. Takes over both handles and returns one.
    #[inline]
    pub(crate) fn combine(&mut self, a: Choice, b: Choice) -> Choice {
        if a == b {
            self.release(b);
            return a;
        }
        self.combine_different(a, b)
    }

    fn combine_different(&mut self, a: Choice, b: Choice) -> Choice {
        let result = if a == Choice::NONE || b == Choice::NONE {
            Choice::NONE
        } else {
            match (a.list(), b.list()) {
                (None, Some(_)) if self.contains(b, a.0) => a,
                (Some(_), None) if self.contains(a, b.0) => b,
                _ => self.merge(a, b),
            }
        };
        self.release(a);
        self.release(b);
        result
    }

    /// Interns the intersection or, where that is empty, the union.
    fn merge(&mut self, a: Choice, b: Choice) -> Choice {
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        {
            let (singles_a, singles_b) = ([a.0], [b.0]);
            let left = a.list().map_or(&singles_a[..], |list| &self.lists[list].values);
            let right = b.list().map_or(&singles_b[..], |list| &self.lists[list].values);
            intersect(left, right, &mut out);
            if out.is_empty() {
                union(left, right, &mut out);
                out.truncate(LONGEST);
            }
        }
        let result = self.intern(&out);
        self.scratch = out;
        result
    }

    fn intern(&mut self, values: &[u32]) -> Choice {
        if let [value] = values {
            return Choice::single(*value);
        }
        let hash_of = hash(values);
        if let Some(&list) = self.index.find(hash_of, |&list| *self.lists[list as usize].values == *values) {
            self.lists[list as usize].references += 1;
            return Choice(list | LIST);
        }
        let new = List { values: values.into(), references: 1 };
        let list = if let Some(list) = self.free.pop() {
            self.lists[list as usize] = new;
            list
        } else {
            self.lists.push(new);
            self.lists.len() as u32 - 1
        };
        let lists = &self.lists;
        self.index.insert_unique(hash_of, list, |&other| hash(&lists[other as usize].values));
        Choice(list | LIST)
    }

    /// Heap memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        let values: usize = self.lists.iter().map(|list| list.values.len() * 4 + 16).sum();
        self.lists.capacity() * size_of::<List>() + values + self.index.capacity() * 5
    }

    /// Number of lists in use.
    #[cfg(test)]
    pub(crate) fn live(&self) -> usize {
        self.lists.len() - self.free.len()
    }
}

/// A multiplicative hash: lists are short and of our own making, nobody picks them to collide.
fn hash(values: &[u32]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for &value in values {
        hash = (hash.rotate_left(5) ^ u64::from(value)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    hash ^ (hash >> 29)
}

fn intersect(a: &[u32], b: &[u32], out: &mut Vec<u32>) {
    let (mut i, mut j) = (0, 0);
    while let (Some(&x), Some(&y)) = (a.get(i), b.get(j)) {
        if x == y {
            out.push(x);
        }
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
}

fn union(a: &[u32], b: &[u32], out: &mut Vec<u32>) {
    let (mut i, mut j) = (0, 0);
    while let (Some(&x), Some(&y)) = (a.get(i), b.get(j)) {
        out.push(x.min(y));
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    out.extend_from_slice(&a[i..]);
    out.extend_from_slice(&b[j..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(choices: &mut Choices, a: u32, b: u32) -> Choice {
        choices.combine(Choice::single(a), Choice::single(b))
    }

    #[test]
    fn halves_that_share_a_value_keep_only_what_they_share() {
        let mut choices = Choices::default();
        let a = pair(&mut choices, 1, 2);
        let b = pair(&mut choices, 3, 2);
        assert_eq!(choices.combine(a, b), Choice::single(2));
        assert_eq!(choices.live(), 0);
    }

    #[test]
    fn halves_that_share_nothing_keep_everything() {
        let mut choices = Choices::default();
        let a = pair(&mut choices, 4, 2);
        let all = choices.combine(a, Choice::single(3));
        assert!([2, 3, 4].iter().all(|&value| choices.contains(all, value)));
        assert!(!choices.contains(all, 1));
        assert_eq!(choices.first(all), 2);
    }

    #[test]
    fn a_half_without_a_route_leaves_no_candidate() {
        let mut choices = Choices::default();
        let a = pair(&mut choices, 1, 2);
        assert_eq!(choices.combine(a, Choice::NONE), Choice::NONE);
        assert_eq!(choices.live(), 0);
    }

    #[test]
    fn equal_lists_are_one_list_and_the_last_holder_frees_it() {
        let mut choices = Choices::default();
        let a = pair(&mut choices, 1, 2);
        let b = pair(&mut choices, 2, 1);
        assert_eq!(a, b);
        choices.release(a);
        assert_eq!(choices.live(), 1);
        choices.release(b);
        assert_eq!(choices.live(), 0);
    }
}
