//! Indices into the maps: handed out densely, and not again before a grace period has passed.
//!
//! A running program may still hold what it read a moment ago, so an index or a range of slots that
//! is retired with a commit must not be written anew until each program that ran then has finished.

use std::collections::BTreeMap;

/// Hands out single indices below a limit.
#[derive(Debug)]
pub(crate) struct IdPool {
    next: u32,
    limit: u32,
    free: Vec<u32>,
    limbo: Vec<u32>,
}

impl IdPool {
    /// Indices from `first` up to, not including, `limit`.
    pub(crate) fn new(first: u32, limit: u32) -> Self {
        Self { next: first, limit, free: Vec::new(), limbo: Vec::new() }
    }

    pub(crate) fn allocate(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        let id = self.next;
        (id < self.limit).then(|| {
            self.next += 1;
            id
        })
    }

    /// Gives back an index that no program can have seen.
    pub(crate) fn free(&mut self, id: u32) {
        self.free.push(id);
    }

    /// Gives back an index that is no longer named by anything written from now on.
    pub(crate) fn retire(&mut self, id: u32) {
        self.limbo.push(id);
    }

    pub(crate) fn grace_elapsed(&mut self) {
        self.free.append(&mut self.limbo);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.limbo.len()
    }

    /// Raises the limit.
    pub(crate) fn extend(&mut self, limit: u32) {
        self.limit = self.limit.max(limit);
    }

    /// Indices that can be handed out now.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.limit.saturating_sub(self.next) as usize
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }
}

/// Hands out ranges of slots: single ones from the low end, wider ones from the high end, so that the
/// many single ones do not cut the space to pieces.
#[derive(Debug)]
pub(crate) struct RangePool {
    limit: u32,
    /// Free ranges by first slot; neighbours are always joined.
    free: BTreeMap<u32, u32>,
    limbo: Vec<(u32, u32)>,
    used: u32,
}

impl RangePool {
    pub(crate) fn new(limit: u32) -> Self {
        let mut pool = Self { limit, free: BTreeMap::new(), limbo: Vec::new(), used: limit };
        if limit > 0 {
            pool.free(0, limit);
        }
        pool
    }

    /// The first slot of a range of `len`, which is at least 1.
    pub(crate) fn allocate(&mut self, len: u32) -> Option<u32> {
        let fits = |(&base, &size): (&u32, &u32)| (size >= len).then_some((base, size));
        let (base, size) =
            if len == 1 { self.free.iter().find_map(fits) } else { self.free.iter().rev().find_map(fits) }?;
        self.used += len;
        if len == 1 {
            self.free.remove(&base);
            if size > 1 {
                self.free.insert(base + 1, size - 1);
            }
            return Some(base);
        }
        if size == len {
            self.free.remove(&base);
        } else {
            self.free.insert(base, size - len);
        }
        Some(base + size - len)
    }

    /// Gives back a range that no program can have seen.
    pub(crate) fn free(&mut self, base: u32, len: u32) {
        self.used -= len;
        let (mut base, mut len) = (base, len);
        if let Some((&before, &size)) = self.free.range(..base).next_back()
            && before + size == base
        {
            (base, len) = (before, size + len);
        }
        if let Some(size) = self.free.remove(&(base + len)) {
            len += size;
        }
        self.free.insert(base, len);
    }

    /// Gives back a range that is no longer named by anything written from now on.
    pub(crate) fn retire(&mut self, base: u32, len: u32) {
        self.limbo.push((base, len));
    }

    pub(crate) fn grace_elapsed(&mut self) {
        for (base, len) in std::mem::take(&mut self.limbo) {
            self.free(base, len);
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.limbo.len()
    }

    /// Slots in use or waiting for a grace period.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_index_waits_for_the_grace_period() {
        let mut pool = IdPool::new(1, 3);
        assert_eq!((pool.allocate(), pool.allocate(), pool.allocate()), (Some(1), Some(2), None));
        pool.retire(1);
        assert_eq!(pool.allocate(), None);
        pool.grace_elapsed();
        assert_eq!(pool.allocate(), Some(1));
    }

    #[test]
    fn ranges_come_from_both_ends_and_grow_together_again() {
        let mut pool = RangePool::new(10);
        assert_eq!(pool.allocate(1), Some(0));
        assert_eq!(pool.allocate(4), Some(6));
        assert_eq!(pool.allocate(4), Some(2));
        assert_eq!(pool.allocate(2), None);
        assert_eq!(pool.allocate(1), Some(1));
        assert_eq!(pool.used(), 10);
        pool.free(2, 4);
        pool.free(0, 1);
        pool.free(1, 1);
        pool.free(6, 4);
        assert_eq!(pool.allocate(10), Some(0));
    }

    #[test]
    fn a_retired_range_waits_for_the_grace_period() {
        let mut pool = RangePool::new(4);
        assert_eq!(pool.allocate(4), Some(0));
        pool.retire(0, 4);
        assert_eq!(pool.allocate(1), None);
        pool.grace_elapsed();
        assert_eq!(pool.allocate(1), Some(0));
    }
}
