//! Routes that found no room, and when to try them again.
//!
//! They are tried shortest first, in turn, a bounded number of them at a time. While none fits they
//! are tried less and less often, unless more room appears.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::address::{Address, Prefix};

/// Routes that are tried at a time.
const BATCH: usize = 1024;
/// The longest pause between trials that all fail, in commits.
const LONGEST_PAUSE: u64 = 1024;

/// The routes of a family that are left out.
#[derive(Debug)]
pub(crate) struct LeftOut<A> {
    /// Shortest first.
    routes: BTreeSet<(u8, A)>,
    cursor: Option<(u8, A)>,
    /// The room there was when the last trial failed.
    failed_room: usize,
    pause: u64,
    /// The commit from which on the next trial is worth while without more room.
    at: u64,
}

impl<A> Default for LeftOut<A> {
    fn default() -> Self {
        Self { routes: BTreeSet::new(), cursor: None, failed_room: 0, pause: 0, at: 0 }
    }
}

impl<A: Address> LeftOut<A> {
    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Adds a route; whether it is new.
    pub(crate) fn insert(&mut self, route: Prefix<A>) -> bool {
        self.routes.insert((route.len, route.bits))
    }

    /// Takes a route out; whether it was there.
    pub(crate) fn remove(&mut self, route: Prefix<A>) -> bool {
        self.routes.remove(&(route.len, route.bits))
    }

    /// The routes to try in this commit, with so much room; [`Self::tried`] is to follow unless none is due.
    pub(crate) fn due(&self, room: usize, commit: u64) -> Vec<Prefix<A>> {
        if room == 0 || self.is_empty() || (room <= self.failed_room && commit < self.at) {
            return Vec::new();
        }
        let from = self.cursor.unwrap_or_default();
        let turn = self.routes.range(from..).chain(self.routes.range(..from));
        turn.take(room.min(BATCH)).map(|&(len, bits)| Prefix { bits, len }).collect()
    }

    /// Those that were due have been tried, and those that fit have been taken out.
    pub(crate) fn tried(&mut self, routes: &[Prefix<A>], fitted: bool, room: usize, commit: u64) {
        // After the last one tried, or from the shortest again once the end is reached.
        self.cursor = routes.last().and_then(|last| {
            self.routes.range((Bound::Excluded((last.len, last.bits)), Bound::Unbounded)).next().copied()
        });
        if fitted {
            self.failed_room = 0;
            self.pause = 0;
        } else {
            self.failed_room = room;
            self.pause = (self.pause * 2).clamp(1, LONGEST_PAUSE);
            self.at = commit + self.pause;
        }
    }
}
