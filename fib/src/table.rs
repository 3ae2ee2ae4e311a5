//! A family's table: its engine, and how one engine follows another.
//!
//! With [`EngineChoice::Auto`] a table begins as an LPM trie, which costs next to nothing while it
//! is small, and moves to a direct table when it has outgrown that ([`DIRECT_FROM`]). It never goes back:
//! a table that was large once will be again, and an empty direct table costs no more than a full one.
//!
//! The move loses no packet. The caller makes the map (`Fib::move_to_direct`); the next commit fills it
//! with all routes, then lets the program use it ([`TableEdit::Serve`]). From then on nobody reads the
//! trie, and its entries are removed bit by bit.
//!
//! A direct table that runs short of nodes moves likewise to a larger one (`engine::direct`), if
//! the caller has made the map when `apply` asks for it.

use fib_abi::direct::SIZES;

use crate::address::{Address, Prefix};
use crate::edit::{EngineKind, Status, TableEdit};
use crate::engine::direct::Direct;
use crate::engine::lpm_trie::LpmTrie;
use crate::engine::{Engine, Route};

/// A table with more routes than this outgrows the LPM trie.
///
/// Measured with random destinations, a lookup in a trie of ten thousand entries takes five times as long as
/// in a direct table, and each change costs a microsecond in the kernel; in a table ten times smaller the
/// difference is hardly worth 80 MiB. It must be far below the size of a full table, or the trie takes a
/// good part of its load.
pub const DIRECT_FROM: usize = 10_000;

/// Entries of the trie that are removed with a commit once it is out of use.
const REMOVED: usize = 1024;

/// Which engines a table may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The LPM trie, and a direct table once there are more than [`DIRECT_FROM`] routes.
    #[default]
    Auto,
    /// The LPM trie.
    LpmTrie,
    /// A direct table, which must be there from the start.
    Direct,
}

enum Inner<A: Address> {
    LpmTrie(LpmTrie<A>),
    Direct(Direct<A>),
}

/// A family's routes with the engine that has them.
pub(crate) struct Table<A: Address> {
    inner: Inner<A>,
    choice: EngineChoice,
    nodes: [u32; SIZES],
    /// The program is still to be told to use the direct table, or the larger one.
    unserved: bool,
    /// Entries of the trie that is out of use, to be removed from its map.
    remains: Vec<Prefix<A>>,
    /// Those that the last commit removed.
    removing: Vec<Prefix<A>>,
}

impl<A: Address> Table<A> {
    /// An empty table: a trie of at most `entries`, a direct table of at most `nodes` in each size.
    pub(crate) fn new(choice: EngineChoice, entries: usize, nodes: [u32; SIZES]) -> Self {
        let direct = choice == EngineChoice::Direct;
        let inner = match choice {
            EngineChoice::Direct => Inner::Direct(Direct::new(nodes)),
            EngineChoice::Auto | EngineChoice::LpmTrie => Inner::LpmTrie(LpmTrie::new(entries)),
        };
        Self { inner, choice, nodes, unserved: direct, remains: Vec::new(), removing: Vec::new() }
    }

    pub(crate) fn engine(&self) -> &dyn Engine<A> {
        match &self.inner {
            Inner::LpmTrie(trie) => trie,
            Inner::Direct(direct) => direct,
        }
    }

    pub(crate) fn engine_mut(&mut self) -> &mut dyn Engine<A> {
        match &mut self.inner {
            Inner::LpmTrie(trie) => trie,
            Inner::Direct(direct) => direct,
        }
    }

    pub(crate) fn direct(&self) -> Option<&Direct<A>> {
        match &self.inner {
            Inner::LpmTrie(_) => None,
            Inner::Direct(direct) => Some(direct),
        }
    }

    pub(crate) fn has_failed(&self, prefix: Prefix<A>) -> bool {
        self.engine().has_failed(prefix)
    }

    /// Queues a change of a route to a set, or with `NO_ROUTE` its removal; `own` when the router itself
    /// needs the route.
    #[inline]
    pub(crate) fn change(&mut self, prefix: Prefix<A>, set: u32, own: bool) {
        match &mut self.inner {
            Inner::LpmTrie(trie) => trie.queue().push(prefix, set, own),
            Inner::Direct(direct) => direct.queue().push(prefix, set, own),
        }
    }

    pub(crate) fn kind(&self) -> EngineKind {
        match self.inner {
            Inner::LpmTrie(_) => EngineKind::LpmTrie,
            Inner::Direct(_) => EngineKind::Direct,
        }
    }

    /// Whether the table should move to a direct one, with what waits for the next commit counted in.
    pub(crate) fn has_outgrown_its_engine(&self) -> bool {
        match &self.inner {
            Inner::LpmTrie(trie) => self.choice == EngineChoice::Auto && trie.is_larger_than(DIRECT_FROM),
            Inner::Direct(_) => false,
        }
    }

    /// Moves all routes to a direct table, whose map is empty; `own` says which the router itself needs.
    pub(crate) fn move_to_direct(&mut self, own: impl Fn(Prefix<A>) -> bool) {
        let Inner::LpmTrie(trie) = &mut self.inner else { return };
        let mut direct = Direct::new(self.nodes);
        let mut routes: Vec<Route<A>> = Vec::new();
        trie.routes_after(None, usize::MAX, &mut routes);
        for route in routes {
            direct.adopt(route, own(route.prefix));
        }
        // What waits comes after what there is.
        direct.queue().append(trie.queue());
        self.remains = trie.entries_in_map();
        self.inner = Inner::Direct(direct);
        self.unserved = true;
    }

    pub(crate) fn commit(&mut self, edits: &mut Vec<TableEdit>) {
        self.engine_mut().commit(edits);
        if let Inner::Direct(direct) = &mut self.inner {
            self.unserved |= direct.take_grown();
        }
        self.removing.clear();
        if self.unserved {
            edits.push(TableEdit::Serve { family: A::FAMILY });
            self.unserved = false;
        } else if !self.remains.is_empty() {
            self.removing = self.remains.split_off(self.remains.len().saturating_sub(REMOVED));
            edits.extend(self.removing.iter().map(|entry| TableEdit::Remove { prefix: entry.to_net() }));
        }
    }

    /// A write of this prefix by the last commit failed.
    pub(crate) fn write_failed(&mut self, prefix: Prefix<A>) {
        match &mut self.inner {
            Inner::LpmTrie(trie) => trie.write_failed(prefix),
            // Nobody reads it; it only takes up room.
            Inner::Direct(_) => self.remains.insert(0, prefix),
        }
    }

    /// The program could not be told to use the direct table.
    pub(crate) fn serve_failed(&mut self) {
        self.unserved = self.kind() == EngineKind::Direct;
    }

    /// Whether a later commit has something to do even if no route changes.
    pub(crate) fn wants_retry(&self) -> bool {
        self.unserved || !self.remains.is_empty() || self.engine().wants_retry()
    }

    /// Whether packets may be forwarded by what should have been replaced or removed.
    pub(crate) fn may_be_stale(&self) -> bool {
        self.unserved || self.engine().may_be_stale()
    }

    /// Moves out status changes since the last call.
    pub(crate) fn drain_status_changes(&mut self, mut each: impl FnMut(Prefix<A>, Status)) {
        let mut changes = Vec::new();
        self.engine_mut().drain_status_changes(&mut changes);
        for (prefix, status) in changes {
            each(prefix, status);
        }
    }

    /// Bytes of the direct table's map, 0 for a trie: it grows with its entries.
    pub(crate) fn map_bytes(&self) -> usize {
        match &self.inner {
            Inner::LpmTrie(_) => 0,
            Inner::Direct(direct) => direct.map_bytes(),
        }
    }
}
