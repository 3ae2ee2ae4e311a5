//! Changes that wait for the next batch.
//!
//! A batch is taken in prefix order: neighbours in the table are neighbours in memory. Of several
//! changes of a prefix only the last counts.

use super::{NO_ROUTE, Route};
use crate::address::{Address, Prefix};
use crate::edit::Status;

/// A change of a route: to this set, or `NO_ROUTE` to remove it.
#[derive(Clone, Copy, Debug)]
struct Queued<A> {
    bits: A,
    set: u32,
    len: u8,
    own: bool,
}

/// What a batch does to one prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<A> {
    /// The prefix.
    pub(crate) prefix: Prefix<A>,
    /// The set that it is to name, or `NO_ROUTE`.
    pub(crate) set: u32,
    /// The route was removed before it was added again: what was told of its status is void.
    pub(crate) replaced: bool,
    /// The router itself needs it: it may use what is kept free for such routes.
    pub(crate) own: bool,
}

impl<A: Address> Change<A> {
    /// The route that there will be, counted as installed.
    pub(crate) fn route(self) -> Option<Route<A>> {
        let Self { prefix, set, .. } = self;
        (set != NO_ROUTE).then_some(Route { prefix, set, status: Status::Installed })
    }
}

/// The queue of one family.
#[derive(Debug)]
pub(crate) struct Queue<A> {
    changes: Vec<Queued<A>>,
}

impl<A> Default for Queue<A> {
    fn default() -> Self {
        Self { changes: Vec::new() }
    }
}

impl<A: Address> Queue<A> {
    /// Queues a change to a set, or with `NO_ROUTE` a removal; `own` when the router itself needs the route.
    #[inline]
    pub(crate) fn push(&mut self, prefix: Prefix<A>, set: u32, own: bool) {
        self.changes.push(Queued { bits: prefix.bits, set, len: prefix.len, own });
    }

    /// Prefixes that are to have a route and for which `held` does not hold, less those that are to lose one
    /// and for which it does; prefixes that wait more than once count more than once.
    pub(crate) fn growth(&self, held: impl Fn(Prefix<A>) -> bool) -> isize {
        let one = |change: &Queued<A>| match (
            change.set == NO_ROUTE,
            held(Prefix { bits: change.bits, len: change.len }),
        ) {
            (false, false) => 1,
            (true, true) => -1,
            _ => 0,
        };
        self.changes.iter().map(one).sum()
    }

    /// Appends what waits in another queue, which is emptied.
    pub(crate) fn append(&mut self, later: &mut Self) {
        self.changes.append(&mut later.changes);
    }

    /// Changes that wait.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Empties the queue: the changes in prefix order, each prefix once. Appends the sets of those
    /// that were overtaken.
    pub(crate) fn take(&mut self, released: &mut Vec<u32>) -> Vec<Change<A>> {
        // Stable: the changes of a prefix stay in their order.
        self.changes.sort_by_key(|change| (change.bits, change.len));
        let mut batch = Vec::with_capacity(self.changes.len());
        for group in self.changes.chunk_by(|a, b| a.bits == b.bits && a.len == b.len) {
            let [passed @ .., last] = group else { continue };
            released.extend(passed.iter().map(|change| change.set).filter(|&set| set != NO_ROUTE));
            let prefix = Prefix { bits: last.bits, len: last.len };
            let replaced = passed.iter().any(|change| change.set == NO_ROUTE);
            let own = group.iter().any(|change| change.own);
            batch.push(Change { prefix, set: last.set, replaced, own });
        }
        self.changes.clear();
        // A bulk load leaves a buffer of megabytes that the usual batches never need again.
        self.changes.shrink_to(1 << 16);
        batch
    }

    /// The change that waits for a prefix.
    pub(crate) fn find(&self, prefix: Prefix<A>) -> Option<Change<A>> {
        let same = |change: &&Queued<A>| (change.bits, change.len) == (prefix.bits, prefix.len);
        let &Queued { set, .. } = self.changes.iter().rev().find(same)?;
        Some(Change { prefix, set, replaced: false, own: false })
    }
}
