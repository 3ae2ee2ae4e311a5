//! The engine for `BPF_MAP_TYPE_LPM_TRIE`: compressed prefixes, never more than the map can hold.
//!
//! Without pressure a commit compresses what changed and emits the difference. When the result would
//! exceed the capacity, routes are left out (`Status::Full`), as if they did not exist: their addresses
//! follow the next less specific route, or none, and every other route forwards as it should. Which ones
//! is decided by the routes and the order of batches alone:
//! 1. The new and changed routes of the batch are left out, then taken in again, shortest first, as far
//!    as they fit. Who came first stays.
//! 2. If it is too much even without them (a withdrawal can split an aggregate), routes are left out
//!    from the end of the address space, most specific first, until it fits.
//! 3. When room appears, left-out routes are tried again, shortest first, a bounded number of them in
//!    each commit, and less often while none fits.
//!
//! Entries that the kernel refused to remove still take up room there and are counted against the
//! capacity.

use std::collections::BTreeSet;

use super::failures::Failures;
use super::journal::Outcome;
use super::left_out::LeftOut;
use super::queue::Queue;
use super::trie::{Node, Trie, flag};
use super::{Engine, EngineStats, NO_ROUTE, Route};
use crate::address::{Address, Prefix};
use crate::edit::{Status, TableEdit};

/// Trial compressions that a commit spends on left-out routes at most.
const RETRY_TRIALS: usize = 64;

/// The routes of one family and the compressed table made from them.
#[derive(Debug)]
pub(crate) struct LpmTrie<A> {
    trie: Trie<A>,
    queue: Queue<A>,
    capacity: usize,
    commits: u64,
    /// Routes inserted in this batch; only kept when the batch may not fit.
    changed: Vec<Prefix<A>>,
    full: LeftOut<A>,
    failures: Failures<A>,
    /// Failed removals: entries that the map has although they are not meant to be there.
    stuck: BTreeSet<Prefix<A>>,
    status: Vec<(Prefix<A>, Status)>,
}

impl<A: Address> LpmTrie<A> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            trie: Trie::new(),
            queue: Queue::default(),
            capacity,
            commits: 0,
            changed: Vec::new(),
            full: LeftOut::default(),
            failures: Failures::default(),
            stuck: BTreeSet::new(),
            status: Vec::new(),
        }
    }

    /// Whether it has more than so many routes, with what waits for the next commit counted in.
    pub(crate) fn is_larger_than(&self, size: usize) -> bool {
        // What waits is looked at one by one only when it could matter.
        self.trie.routes() + self.queue.len() > size
            && self.trie.routes().saturating_add_signed(
                self.queue.growth(|prefix| self.trie.find(prefix).is_some_and(|node| node.route != NO_ROUTE)),
            ) > size
    }

    /// The entries that the map may have after the last commit.
    pub(crate) fn entries_in_map(&self) -> Vec<Prefix<A>> {
        let mut entries = Vec::new();
        self.trie.entries_after(None, usize::MAX, &mut entries);
        entries.into_iter().map(|(entry, _)| entry).chain(self.stuck.iter().copied()).collect()
    }

    fn limit(&self) -> usize {
        self.capacity.saturating_sub(self.stuck.len())
    }

    fn fits(&self) -> bool {
        self.trie.journal.entries() <= self.limit()
    }

    fn status_of(&self, node: &Node<A>) -> Status {
        if node.has(flag::EXCLUDED) {
            Status::Full
        } else if self.failures.affects(node.prefix()) {
            Status::WriteFailed
        } else {
            Status::Installed
        }
    }

    fn view(&self, node: &Node<A>) -> Option<Route<A>> {
        (node.route != NO_ROUTE).then(|| Route {
            prefix: node.prefix(),
            set: node.route,
            status: self.status_of(node),
        })
    }

    /// Tells the status of a route as it is now.
    fn tell(&mut self, prefix: Prefix<A>) {
        if let Some(route) = self.route(prefix) {
            self.status.push((prefix, route.status));
        }
    }

    /// Carries out one change; `replaced` says that the route was removed before it was added again,
    /// so that whatever was told of its status is void. Answers the set that it named.
    fn apply_one(&mut self, prefix: Prefix<A>, set: u32, replaced: bool) -> Option<u32> {
        let watched = !self.full.is_empty() || !self.failures.is_empty();
        if watched && (replaced || set == NO_ROUTE) {
            self.full.remove(prefix);
            self.failures.forget(prefix);
        }
        if set == NO_ROUTE {
            return self.trie.remove(prefix);
        }
        let (old, changed) = self.trie.insert(prefix, set);
        if watched || (changed && self.trie.routes() > self.limit()) {
            self.changed.push(prefix);
        }
        old
    }

    /// Leaves out what does not fit.
    fn enforce_capacity(&mut self) {
        let mut batch = std::mem::take(&mut self.changed);
        if !self.fits() {
            batch.sort_unstable_by_key(|prefix| (prefix.len, prefix.bits));
            batch.dedup();
            batch.retain(|&prefix| self.trie.find(prefix).is_some_and(|node| node.active().is_some()));
            self.exclude(&batch, true);
            self.make_room();
            // Together they did not fit, so the halves are next.
            let (a, b) = batch.split_at(batch.len().div_ceil(2));
            let mut trials = usize::MAX;
            self.admit(a, &mut trials);
            self.admit(b, &mut trials);
            self.make_room();
        }
        for &prefix in &batch {
            self.record(prefix);
        }
        self.changed = batch;
    }

    /// Leaves routes out or takes them in, and compresses.
    fn exclude(&mut self, routes: &[Prefix<A>], excluded: bool) {
        for &prefix in routes {
            self.trie.set_excluded(prefix, excluded);
        }
        self.trie.compress();
    }

    /// Takes in left-out routes as far as they fit, in order, halving what does not fit together.
    fn admit(&mut self, routes: &[Prefix<A>], trials: &mut usize) {
        if routes.is_empty() || *trials == 0 {
            return;
        }
        *trials -= 1;
        self.exclude(routes, false);
        if self.fits() {
            return;
        }
        self.exclude(routes, true);
        if routes.len() > 1 {
            let (a, b) = routes.split_at(routes.len().div_ceil(2));
            self.admit(a, trials);
            self.admit(b, trials);
        }
    }

    /// Leaves out routes from the end of the address space until the rest fits.
    fn make_room(&mut self) {
        while !self.fits() {
            let Some(victim) = self.trie.last_live() else { return };
            self.exclude(&[victim], true);
            self.record(victim);
        }
    }

    /// Keeps `full` and the told status in step with what was decided about a route.
    fn record(&mut self, prefix: Prefix<A>) {
        let Some(node) = self.trie.find(prefix) else { return };
        let changed = if node.route != NO_ROUTE && node.has(flag::EXCLUDED) {
            self.full.insert(prefix)
        } else {
            self.full.remove(prefix)
        };
        if changed {
            self.tell(prefix);
        }
    }

    /// Tries left-out routes again if there is room.
    fn retry_full(&mut self) {
        let room = self.limit().saturating_sub(self.trie.journal.entries());
        let batch = self.full.due(room, self.commits);
        if batch.is_empty() {
            return;
        }
        let before = self.full.len();
        let mut trials = RETRY_TRIALS;
        self.admit(&batch, &mut trials);
        self.make_room();
        for &prefix in &batch {
            self.record(prefix);
        }
        self.full.tried(&batch, self.full.len() < before, room, self.commits);
    }

    /// Adds to the edits what failed before and is due, and notes what is written again anyway.
    fn retry_failures(&mut self, outcome: &mut Outcome<A>) {
        if self.failures.is_empty() {
            return;
        }
        self.blame_again();
        for &(prefix, ..) in &outcome.writes {
            self.failures.retrying(prefix);
            self.stuck.remove(&prefix);
        }
        for &prefix in &outcome.removes {
            self.failures.retrying(prefix);
        }
        for prefix in self.failures.due(self.commits) {
            self.failures.retrying(prefix);
            match self.trie.entry_covering(prefix) {
                // Counted as present already, so not as new.
                Some((entry, set)) if entry == prefix => outcome.writes.push((prefix, set, false)),
                _ => outcome.removes.push(prefix),
            }
        }
    }

    /// Whatever changed in this batch, failed entries may now decide for other routes than before. All
    /// of them are looked at again: a table with failed writes has worse problems than this takes time.
    fn blame_again(&mut self) {
        for entry in self.failures.prefixes() {
            let decided = self.trie.decided_by(entry);
            for route in self.failures.acquit(entry, &decided) {
                self.tell(route);
            }
            self.blame_for(entry, decided);
        }
    }

    /// Lets the routes that depend on a failed entry count as not installed.
    fn blame(&mut self, entry: Prefix<A>) {
        let decided = self.trie.decided_by(entry);
        self.blame_for(entry, decided);
    }

    fn blame_for(&mut self, entry: Prefix<A>, decided: Vec<Prefix<A>>) {
        for route in decided {
            if self.failures.blame(entry, route) {
                self.tell(route);
            }
        }
    }
}

impl<A: Address> Engine<A> for LpmTrie<A> {
    fn queue(&mut self) -> &mut Queue<A> {
        &mut self.queue
    }

    fn apply(&mut self, released: &mut Vec<u32>, _: &mut dyn FnMut() -> bool) {
        for change in self.queue.take(released) {
            released.extend(self.apply_one(change.prefix, change.set, change.replaced));
        }
    }

    fn route(&self, prefix: Prefix<A>) -> Option<Route<A>> {
        if let Some(change) = self.queue.find(prefix) {
            return change.route();
        }
        self.view(self.trie.find(prefix)?)
    }

    fn longest_match(&self, address: A) -> Option<Route<A>> {
        let mut found = None;
        self.trie.descend(Prefix::new(address, A::WIDTH), |node| {
            found = self.view(node).or(found);
        });
        found
    }

    fn entry_for(&self, address: A) -> Option<(Prefix<A>, u32)> {
        self.trie.entry_covering(Prefix::new(address, A::WIDTH))
    }

    fn entry_at(&self, prefix: Prefix<A>) -> Option<u32> {
        self.trie.entry_covering(prefix).filter(|(entry, _)| *entry == prefix).map(|(_, set)| set)
    }

    fn has_failed(&self, prefix: Prefix<A>) -> bool {
        self.failures.contains(prefix) || self.stuck.contains(&prefix)
    }

    fn routes_after(&self, after: Option<Prefix<A>>, limit: usize, out: &mut Vec<Route<A>>) {
        let end = out.len().saturating_add(limit);
        self.trie.walk(after, |node| {
            if after.is_none_or(|after| node.prefix() > after) {
                out.extend(self.view(node));
            }
            out.len() >= end
        });
    }

    fn entries_after(&self, after: Option<Prefix<A>>, limit: usize, out: &mut Vec<(Prefix<A>, u32)>) {
        self.trie.entries_after(after, out.len() + limit, out);
    }

    fn commit(&mut self, edits: &mut Vec<TableEdit>) {
        self.commits += 1;
        for route in self.failures.settle() {
            self.tell(route);
        }
        if !self.stuck.is_empty() {
            self.stuck.retain(|&entry| self.failures.contains(entry));
        }
        self.trie.compress();
        self.enforce_capacity();
        self.retry_full();
        let present_extra = self.stuck.len();
        let mut outcome = self.trie.journal.settle();
        self.retry_failures(&mut outcome);
        self.changed.clear();
        self.changed.shrink_to(1 << 14);
        let present = outcome.before + present_extra;
        outcome.emit(present, self.capacity, edits);
    }

    fn write_failed(&mut self, prefix: Prefix<A>) {
        self.failures.add(prefix, self.commits);
        let meant = self.trie.entry_covering(prefix).is_some_and(|(entry, _)| entry == prefix);
        if !meant {
            self.stuck.insert(prefix);
        }
        self.blame(prefix);
    }

    // A program that runs meanwhile is the kernel's business: it frees entries behind a grace period.
    fn waiting(&self) -> usize {
        0
    }

    fn grace_elapsed(&mut self) {}

    fn wants_retry(&self) -> bool {
        !self.failures.is_empty() || (!self.full.is_empty() && self.trie.journal.entries() < self.limit())
    }

    fn may_be_stale(&self) -> bool {
        !self.failures.is_empty()
    }

    fn drain_status_changes(&mut self, out: &mut Vec<(Prefix<A>, Status)>) {
        out.append(&mut self.status);
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            routes: self.trie.routes(),
            entries: self.trie.journal.entries(),
            capacity: self.capacity,
            full: self.full.len(),
            write_failed: self.failures.routes(),
            failed_entries: self.failures.entries(),
            memory: self.trie.memory(),
        }
    }
}
