//! Refreshes that the peer is in the middle of: it sends everything of a family again between two marks
//! (RFC 7313), and what it has left out is void at the second one.
//!
//! A peer that never tells the end must not keep routes alive that it does not announce any more, so that each
//! refresh ends after some time by itself (section 4).

use std::time::Instant;

use crate::types::{Family, FamilySet};

/// When each refresh ends at the latest; by [`Family::index`].
#[derive(Debug, Default)]
pub(super) struct Refreshes([Option<Instant>; Family::ALL.len()]);

impl Refreshes {
    /// The peer begins. A second beginning before the end does not prolong the time: what the first one made
    /// stale still is.
    pub(super) fn begin(&mut self, family: Family, until: Instant) {
        self.0[family.index()].get_or_insert(until);
    }

    /// The peer is done; whether it had begun.
    pub(super) fn end(&mut self, family: Family) -> bool {
        self.0[family.index()].take().is_some()
    }

    /// Ends those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> FamilySet {
        let mut over = |family: &Family| self.0[family.index()].take_if(|until| *until <= now).is_some();
        Family::ALL.into_iter().filter(|family| over(family)).collect()
    }

    /// When the refresh of a family is over.
    pub(super) fn until(&self, family: Family) -> Option<Instant> {
        self.0[family.index()]
    }

    /// When the first of them is over.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }
}
