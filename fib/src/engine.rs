//! What a table engine must do: hold the routes of one family and turn their changes into map edits.
//!
//! An engine knows prefixes and set ids, nothing of next hops. Its queue takes changes; `apply` carries
//! them out in prefix order, which spares most of the cache misses of a large batch, and `commit` gives
//! the edits. So the cost follows the batch, and several changes of a prefix between two commits become
//! one edit or none. But for `route`, all that is read is as of the last commit.
//!
//! ```text
//! queue       changes that wait
//! left_out    routes that found no room, and when to try them again
//! lpm_trie    BPF_MAP_TYPE_LPM_TRIE: entries by prefix, as few as possible
//!   trie, ortc, choices, journal, failures
//! direct      arrays indexed by the address: no limit but the nodes for long prefixes
//!   routes, nodes, writes
//! ```

pub(crate) mod choices;
pub(crate) mod direct;
pub(crate) mod failures;
pub(crate) mod journal;
pub(crate) mod left_out;
pub(crate) mod lpm_trie;
pub(crate) mod nodes;
pub(crate) mod ortc;
pub(crate) mod queue;
pub(crate) mod routes;
pub(crate) mod trie;
pub(crate) mod writes;

use self::queue::Queue;
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
    /// What the map has of that which limits it: entries after compression, or nodes.
    pub entries: usize,
    /// How many of those it can have.
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
    /// Changes that wait for `apply`: routes with their sets, or with `NO_ROUTE` to be removed.
    fn queue(&mut self) -> &mut Queue<A>;

    /// Carries out what is queued; appends a set for each queued or held route that no longer names it.
    /// `grow` is asked for a larger map where there can be one, and answers whether it has been made.
    fn apply(&mut self, released: &mut Vec<u32>, grow: &mut dyn FnMut() -> bool);

    /// The route with exactly this prefix; sees what is queued, at a cost that grows with the queue.
    fn route(&self, prefix: Prefix<A>) -> Option<Route<A>>;

    /// The most specific route that covers an address, installed or not.
    fn longest_match(&self, address: A) -> Option<Route<A>>;

    /// The entry that decides for an address, as meant after the last commit: of the compressed table,
    /// or, where there is no compression, the route.
    fn entry_for(&self, address: A) -> Option<(Prefix<A>, u32)>;

    /// The set of the map entry of exactly this prefix, as meant after the last commit.
    fn entry_at(&self, prefix: Prefix<A>) -> Option<u32>;

    /// Whether the last write or removal of the entry with this prefix failed.
    fn has_failed(&self, prefix: Prefix<A>) -> bool;

    /// Appends up to `limit` routes that come after `after` in prefix order.
    fn routes_after(&self, after: Option<Prefix<A>>, limit: usize, out: &mut Vec<Route<A>>);

    /// Appends up to `limit` map entries, as meant after the last commit, that come after `after`.
    fn entries_after(&self, after: Option<Prefix<A>>, limit: usize, out: &mut Vec<(Prefix<A>, u32)>);

    /// Appends the edits that bring the map from the last commit to now, in the order to apply them.
    fn commit(&mut self, edits: &mut Vec<TableEdit>);

    /// The write or the removal of this entry, as given by the last commit, failed.
    fn write_failed(&mut self, prefix: Prefix<A>);

    /// What waits for a grace period before it is used again.
    fn waiting(&self) -> usize;

    /// A grace period has passed since the edits of the last commit were applied.
    fn grace_elapsed(&mut self);

    /// Whether a later commit has something to repeat even if no route changes.
    fn wants_retry(&self) -> bool;

    /// Whether the map may still hold entries that it was told to replace or remove.
    fn may_be_stale(&self) -> bool;

    /// Moves out the routes that became installed again, or ceased to be, since the last call.
    fn drain_status_changes(&mut self, out: &mut Vec<(Prefix<A>, Status)>);

    /// Counts.
    fn stats(&self) -> EngineStats;
}
