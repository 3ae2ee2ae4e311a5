//! What a table engine must do: hold the routes of one family and turn their changes into map edits.
//!
//! An engine knows prefixes and set ids, nothing of next hops. `insert` and `remove` only queue a change;
//! `apply` carries the queue out in prefix order, which spares most of the cache misses of a large batch,
//! and `commit` works out the edits. So the cost follows the batch, and several changes of a prefix
//! between two commits become one edit or none. But for `route`, all that is read is as of the last
//! commit. `lpm_trie` is the engine for `BPF_MAP_TYPE_LPM_TRIE`; a `direct` engine for arrays indexed by
//! the address fits the same interface.

pub(crate) mod choices;
pub(crate) mod failures;
pub(crate) mod journal;
pub(crate) mod lpm_trie;
pub(crate) mod ortc;
pub(crate) mod trie;

use crate::address::{Address, Prefix};
use crate::edit::{Status, TableEdit};

/// The value of an address that no route covers. Set id 0 is reserved for it and never handed out.
pub(crate) const NO_ROUTE: u32 = 0;

/// One route as the engine holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route<A> {
    /// Its prefix.
    pub prefix: Prefix<A>,
    /// The set it names.
    pub set: u32,
    /// Whether the map forwards by it.
    pub status: Status,
}

/// Counts of one engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineStats {
    /// Routes held, installed or not.
    pub routes: usize,
    /// Entries the map should have after compression.
    pub entries: usize,
    /// Entries the map can hold.
    pub capacity: usize,
    /// Routes left out because the map is full.
    pub full: usize,
    /// Routes touched by an entry whose last write failed.
    pub write_failed: usize,
    /// Entries whose last write failed and is waiting to be repeated.
    pub failed_entries: usize,
    /// Heap memory of the engine in bytes, to the nearest allocation it knows of.
    pub memory: usize,
}

/// A family's forwarding table.
pub(crate) trait Engine<A: Address>: Send {
    /// Queues: add a route or point it at another set.
    fn insert(&mut self, prefix: Prefix<A>, set: u32);

    /// Queues: remove a route if there is one.
    fn remove(&mut self, prefix: Prefix<A>);

    /// Carries out what is queued; appends a set for each queued or held route that no longer names it.
    fn apply(&mut self, released: &mut Vec<u32>);

    /// The route with exactly this prefix; sees what is queued, at a cost that grows with the queue.
    fn route(&self, prefix: Prefix<A>) -> Option<Route<A>>;

    /// The most specific route that covers an address, installed or not.
    fn longest_match(&self, address: A) -> Option<Route<A>>;

    /// The map entry that decides for an address, as meant after the last commit.
    fn entry_for(&self, address: A) -> Option<(Prefix<A>, u32)>;

    /// Appends up to `limit` routes that come after `after` in prefix order.
    fn routes_after(&self, after: Option<Prefix<A>>, limit: usize, out: &mut Vec<Route<A>>);

    /// Appends up to `limit` map entries, as meant after the last commit, that come after `after`.
    fn entries_after(&self, after: Option<Prefix<A>>, limit: usize, out: &mut Vec<(Prefix<A>, u32)>);

    /// Appends the edits that bring the map from the last commit to now, in the order to apply them.
    fn commit(&mut self, edits: &mut Vec<TableEdit>);

    /// The write or the removal of this entry, as given by the last commit, failed.
    fn write_failed(&mut self, prefix: Prefix<A>);

    /// Whether a later commit has something to repeat even if no route changes.
    fn wants_retry(&self) -> bool;

    /// Whether the map may still hold entries that it was told to replace or remove.
    fn may_be_stale(&self) -> bool;

    /// Moves out the routes that became installed again, or ceased to be, since the last call.
    fn drain_status_changes(&mut self, out: &mut Vec<(Prefix<A>, Status)>);

    /// Counts.
    fn stats(&self) -> EngineStats;
}
