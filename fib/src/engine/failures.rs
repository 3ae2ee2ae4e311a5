//! Entries whose write the kernel refused, and the routes that suffer from it.
//!
//! A failed entry is written again at later commits, after twice as many of them each time. A write
//! that is not reported as failed before the next commit has worked. Until then every route that the
//! entry decides for counts as not installed, also one that joins later.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{Address, Prefix};

/// After this many failures the wait grows no more: 1024 commits.
const LONGEST_WAIT: u32 = 10;

#[derive(Debug)]
struct Failure<A> {
    attempts: u32,
    due: u64,
    /// Written by the last commit, with no complaint so far.
    retrying: bool,
    routes: BTreeSet<Prefix<A>>,
}

/// The failed entries of one family.
#[derive(Debug)]
pub(crate) struct Failures<A> {
    entries: BTreeMap<Prefix<A>, Failure<A>>,
    /// Routes that suffer, with the number of entries that each suffers from.
    routes: BTreeMap<Prefix<A>, u32>,
}

impl<A> Default for Failures<A> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), routes: BTreeMap::new() }
    }
}

impl<A: Address> Failures<A> {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn routes(&self) -> usize {
        self.routes.len()
    }

    /// Whether a route suffers from a failed entry.
    pub(crate) fn affects(&self, route: Prefix<A>) -> bool {
        !self.routes.is_empty() && self.routes.contains_key(&route)
    }

    pub(crate) fn contains(&self, entry: Prefix<A>) -> bool {
        self.entries.contains_key(&entry)
    }

    /// The failed entries.
    pub(crate) fn prefixes(&self) -> Vec<Prefix<A>> {
        self.entries.keys().copied().collect()
    }

    /// Only these routes still suffer from a failed entry; answers those that suffer from none any more.
    pub(crate) fn acquit(&mut self, entry: Prefix<A>, suffering: &[Prefix<A>]) -> Vec<Prefix<A>> {
        let Some(failure) = self.entries.get_mut(&entry) else { return Vec::new() };
        let suffering: BTreeSet<_> = suffering.iter().copied().collect();
        let acquitted: Vec<_> = failure.routes.difference(&suffering).copied().collect();
        failure.routes.retain(|route| suffering.contains(route));
        acquitted.into_iter().filter(|&route| release(&mut self.routes, route)).collect()
    }

    /// The write of an entry failed in commit number `commit`.
    pub(crate) fn add(&mut self, entry: Prefix<A>, commit: u64) {
        let failure = self.entries.entry(entry).or_insert_with(|| Failure {
            attempts: 0,
            due: 0,
            retrying: false,
            routes: BTreeSet::new(),
        });
        failure.due = commit + (1 << failure.attempts.min(LONGEST_WAIT));
        failure.attempts += 1;
        failure.retrying = false;
    }

    /// A route suffers from a failed entry. True if it suffered from none before.
    pub(crate) fn blame(&mut self, entry: Prefix<A>, route: Prefix<A>) -> bool {
        let Some(failure) = self.entries.get_mut(&entry) else { return false };
        if !failure.routes.insert(route) {
            return false;
        }
        let count = self.routes.entry(route).or_insert(0);
        *count += 1;
        *count == 1
    }

    /// A route is gone.
    pub(crate) fn forget(&mut self, route: Prefix<A>) {
        if self.routes.remove(&route).is_some() {
            for failure in self.entries.values_mut() {
                failure.routes.remove(&route);
            }
        }
    }

    /// Ends what was written again without a complaint; answers the routes that suffer no more.
    pub(crate) fn settle(&mut self) -> Vec<Prefix<A>> {
        let mut healed = Vec::new();
        let Self { entries, routes } = self;
        entries.retain(|_, failure| {
            if failure.retrying {
                healed.extend(failure.routes.iter().copied().filter(|&route| release(routes, route)));
            }
            !failure.retrying
        });
        healed
    }

    /// Entries to write again now, save those that this commit writes anyway.
    pub(crate) fn due(&self, commit: u64) -> Vec<Prefix<A>> {
        self.entries
            .iter()
            .filter(|(_, failure)| failure.due <= commit && !failure.retrying)
            .map(|(&entry, _)| entry)
            .collect()
    }

    /// The entry is part of this commit's edits.
    pub(crate) fn retrying(&mut self, entry: Prefix<A>) {
        if let Some(failure) = self.entries.get_mut(&entry) {
            failure.retrying = true;
        }
    }
}

/// A route suffers from one entry less; whether that was the last one.
fn release<A: Address>(routes: &mut BTreeMap<Prefix<A>, u32>, route: Prefix<A>) -> bool {
    let left = routes.get_mut(&route).map_or(0, |count| {
        *count -= 1;
        *count
    });
    if left == 0 {
        routes.remove(&route);
    }
    left == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_limit() {
        let entry = Prefix::new(0x0a00_0000_u32, 8);
        let mut failures = Failures::default();
        let mut waits = Vec::new();
        for _ in 0..13 {
            failures.add(entry, 100);
            waits.push(
                (100..2000).find(|&commit| !failures.due(commit).is_empty()).map(|commit| commit - 100),
            );
        }
        assert_eq!(waits[..4], [Some(1), Some(2), Some(4), Some(8)]);
        assert_eq!(waits[10..], [Some(1024); 3]);
    }

    #[test]
    fn a_route_suffers_until_the_last_of_its_entries_is_written() {
        let (a, b, route) = (Prefix::new(0_u32, 1), Prefix::new(1 << 31, 1), Prefix::new(0, 0));
        let mut failures = Failures::default();
        failures.add(a, 1);
        failures.add(b, 1);
        assert!(failures.blame(a, route));
        assert!(!failures.blame(b, route));
        failures.retrying(a);
        assert_eq!(failures.settle(), []);
        assert!(failures.affects(route));
        failures.retrying(b);
        assert_eq!(failures.settle(), [route]);
        assert!(failures.is_empty());
    }
}
