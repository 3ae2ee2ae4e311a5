//! Prefixes to the smallest set of edits of the forwarding tables.
//!
//! Routes name next-hop sets, sets name next hops, next hops name adjacencies ([`fib_abi`] has the
//! picture). [`Fib`] holds what is meant of all of it, without a system call: callers change it, then
//! [`Fib::commit`] writes down the [`TableEdit`]s that bring the maps there from where the last commit
//! left them. The edits of a commit are in an order in which each word is complete before another
//! names it: adjacencies, next hops, member slots, next hops that are lost, sets, new entries, removed entries.
//!
//! What a commit stops using (an adjacency, a next hop, a set with its slots) is not used again before
//! [`Fib::grace_elapsed`] says that no program can still hold it. The whole cycle, on one thread:
//!
//! ```text
//! loop {
//!     insert, remove, resolve, ...
//!     commit(&mut edits) -> apply them -> write_failed(prefix) for each entry that failed
//!     if needs_grace() { wait for a grace period; grace_elapsed() }     // may be put off
//!     drain_status_changes()                                           // tell the RIB
//! }
//! ```
//!
//! Before a commit, [`Fib::wants_direct`] tells of tables that have outgrown their engine; see
//! [`EngineChoice`].
//!
//! Routes change with the commit; what is read of them, save by [`Fib::route`], is as of the last one.
//! Larger batches cost less for each route: when there is much to do, commit what has queued up at
//! once, not in pieces.
//!
//! The routes of a family are kept by a table engine (`engine`), of which there are two; each is one
//! generic piece of code for IPv4 and IPv6.

mod address;
mod audit;
mod edit;
mod engine;
mod ids;
mod next_hops;
mod sets;
mod table;

use std::net::IpAddr;

use fib_abi::direct::{Layout, SIZES};
use ipnet::IpNet;
use serde::Serialize;
use thiserror::Error;

use crate::address::{Address, Prefix};
pub use crate::audit::{AuditAt, Meant, Run};
pub use crate::edit::{EngineKind, Status, StatusChange, TableEdit};
use crate::engine::{NO_ROUTE, Route};
use crate::next_hops::NextHops;
pub use crate::next_hops::{NextHopId, NextHopKey, NextHopView, Resolution};
pub use crate::sets::SetId;
use crate::sets::Sets;
use crate::table::Table;
pub use crate::table::{DIRECT_FROM, EngineChoice};

/// Sizes of the maps, which must be loaded with the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibConfig {
    /// Which engines the tables may have.
    pub engine: EngineChoice,
    /// Entries of `ROUTES_V4`.
    pub capacity_v4: usize,
    /// Entries of `ROUTES_V6`.
    pub capacity_v6: usize,
    /// Nodes that may be used in each size of `DIRECT_V4`: at most those of its layout.
    pub nodes_v4: [u32; SIZES],
    /// Likewise of `DIRECT_V6`.
    pub nodes_v6: [u32; SIZES],
    /// Entries of `SETS`, at most 2^21; id 0 is never used.
    pub sets: u32,
    /// Entries of `MEMBERS`.
    pub members: u32,
    /// Entries of `NEXT_HOPS`.
    pub next_hops: u32,
    /// Entries of `ADJACENCIES`. Twice the neighbours leave room to move all of them at once.
    pub adjacencies: u32,
    /// Slots of a set of more than one member.
    pub ecmp_slots: u32,
}

impl Default for FibConfig {
    fn default() -> Self {
        Self {
            engine: EngineChoice::default(),
            capacity_v4: 2_000_000,
            capacity_v6: 1_000_000,
            nodes_v4: Layout::IPV4.map(|layout| layout.nodes),
            nodes_v6: Layout::IPV6.map(|layout| layout.nodes),
            sets: 32_768,
            members: 131_072,
            next_hops: 4096,
            adjacencies: 8192,
            ecmp_slots: 128,
        }
    }
}

/// Why a call could not be carried out. Nothing was changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FibError {
    /// Every index of `NEXT_HOPS` is in use or waits for a grace period.
    #[error("no free next hop: all {limit} are in use")]
    NextHopsFull {
        /// Size of the map.
        limit: u32,
    },
    /// Every index of `SETS` is in use or waits for a grace period.
    #[error("no free next-hop set: all {limit} are in use")]
    SetsFull {
        /// Size of the map.
        limit: u32,
    },
    /// `MEMBERS` has no room for the slots of the set.
    #[error("no {needed} member slots in a row are free, of {limit}")]
    MembersFull {
        /// Slots of the set.
        needed: u32,
        /// Size of the map.
        limit: u32,
    },
    /// There is no such next hop (any more).
    #[error("there is no next hop {id}")]
    UnknownNextHop {
        /// The index given.
        id: u32,
    },
    /// Only a neighbour has a state to resolve.
    #[error("next hop {id} is not a neighbour")]
    NotANeighbour {
        /// The index given.
        id: u32,
    },
    /// There is no such set (any more).
    #[error("there is no next-hop set {id}")]
    UnknownSet {
        /// The id given.
        id: u32,
    },
    /// A set needs a member; to drop packets there are `Blackhole` and `Reject`.
    #[error("a next-hop set needs at least one member")]
    EmptySet,
}

/// Whose table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// `ROUTES_V4` or `DIRECT_V4`.
    Ipv4,
    /// `ROUTES_V6` or `DIRECT_V6`.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The shapes of the family's direct table, smallest first: what it begins as, and grows to.
    pub const fn layouts(self) -> [Layout; SIZES] {
        match self {
            Self::Ipv4 => Layout::IPV4,
            Self::Ipv6 => Layout::IPV6,
        }
    }
}

/// A route as `show` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// Its prefix.
    pub prefix: IpNet,
    /// The set it names.
    pub set: SetId,
    /// Whether packets are forwarded by it.
    pub status: Status,
}

/// Counts of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableStats {
    /// What packets are looked up in.
    pub engine: EngineKind,
    /// Routes held, installed or not.
    pub routes: usize,
    /// What is in use of that which can run out: entries of the LPM trie, after compression, or nodes
    /// of the direct table (groups of 256 words for the routes of a /24 that are longer, in IPv4; nodes
    /// of 16 words, in IPv6).
    pub entries: usize,
    /// How many of those there can be, in a direct table before it grows.
    pub capacity: usize,
    /// Routes not installed because there are no more of those.
    pub full: usize,
    /// Routes not installed because an entry they depend on could not be written.
    pub write_failed: usize,
    /// Entries that could not be written (or removed) and will be tried again.
    pub failed_entries: usize,
    /// Memory of the table in this process, in bytes.
    pub memory_bytes: usize,
    /// Memory of the direct table's map, in bytes; 0 for a trie, which takes some 64 bytes an entry.
    pub map_bytes: usize,
}

impl TableStats {
    /// Routes that packets are not forwarded by.
    pub fn not_installed(&self) -> usize {
        self.full + self.write_failed
    }
}

/// Counts of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FibStats {
    /// The IPv4 table.
    pub ipv4: TableStats,
    /// The IPv6 table.
    pub ipv6: TableStats,
    /// Next hops.
    pub next_hops: usize,
    /// Adjacencies in use.
    pub adjacencies: u32,
    /// Neighbours that wait for a free adjacency.
    pub unplaced_next_hops: usize,
    /// Sets.
    pub sets: usize,
    /// Member slots in use or waiting for a grace period.
    pub member_slots: u32,
    /// Ids and nodes that wait for a grace period.
    pub waiting_for_grace: usize,
}

/// All that is meant to be in the forwarding tables. See the crate's head for the cycle of use.
pub struct Fib {
    next_hops: NextHops,
    sets: Sets,
    v4: Table<u32>,
    v6: Table<u128>,
}

impl Fib {
    /// An empty table for empty maps.
    pub fn new(config: FibConfig) -> Self {
        Self {
            next_hops: NextHops::new(config.next_hops, config.adjacencies),
            sets: Sets::new(config.sets, config.members, config.ecmp_slots),
            v4: Table::new(config.engine, config.capacity_v4, config.nodes_v4),
            v6: Table::new(config.engine, config.capacity_v6, config.nodes_v6),
        }
    }

    /// Whether a family's table, with what waits for the commit, has outgrown its engine. Then an
    /// empty direct table is to be made for it, and [`Self::move_to_direct`] to be called.
    pub fn wants_direct(&self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.v4.has_outgrown_its_engine(),
            Family::Ipv6 => self.v6.has_outgrown_its_engine(),
        }
    }

    /// There is an empty direct table for a family: the next commit fills it, and ends with
    /// [`TableEdit::Serve`].
    pub fn move_to_direct(&mut self, family: Family, own: impl Fn(IpNet) -> bool) {
        match family {
            Family::Ipv4 => self.v4.move_to_direct(|prefix| own(prefix.to_net())),
            Family::Ipv6 => self.v6.move_to_direct(|prefix| own(prefix.to_net())),
        }
    }

    /// The next hop with this key, made if there is none. It lives until it is released and no set
    /// names it; asking again for the same key does not count twice. A new neighbour is `Down`.
    pub fn next_hop(&mut self, key: NextHopKey) -> Result<NextHopId, FibError> {
        self.next_hops.acquire(key)
    }

    /// The next hop with this key, if there is one.
    pub fn find_next_hop(&self, key: NextHopKey) -> Option<NextHopId> {
        self.next_hops.find(key)
    }

    /// The caller will not use this id again. The next hop goes when no set names it.
    pub fn release_next_hop(&mut self, id: NextHopId) -> Result<(), FibError> {
        self.next_hops.release(id)
    }

    /// A neighbour was learned, has another MAC, or is lost. No route and no set changes.
    pub fn resolve(&mut self, id: NextHopId, resolution: Resolution) -> Result<(), FibError> {
        self.next_hops.resolve(id, resolution)
    }

    /// A next hop as it is meant to be.
    pub fn next_hop_view(&self, id: NextHopId) -> Option<NextHopView> {
        self.next_hops.view(id)
    }

    /// All next hops by id.
    pub fn next_hops(&self) -> impl Iterator<Item = NextHopView> + '_ {
        self.next_hops.iter()
    }

    /// The set of these members, whatever their order; one that is there several times has as many shares of
    /// the traffic. The id is good until the next
    /// commit, and beyond it as long as a route names it.
    pub fn set(&mut self, members: &[NextHopId]) -> Result<SetId, FibError> {
        self.set_with_backup(members, None)
    }

    /// [`Self::set`] with a next hop that takes over when no member is left, without any route being touched. A
    /// quarter of the ids and slots is not for new sets with a backup, which are as many as there are pairs.
    pub fn set_with_backup(
        &mut self,
        members: &[NextHopId],
        backup: Option<NextHopId>,
    ) -> Result<SetId, FibError> {
        self.sets.intern(members, backup, &mut self.next_hops)
    }

    /// A next hop may be lost, or is no longer thought to be: sets that have others, members or a backup, use
    /// those meanwhile. What is known of it does not change.
    pub fn suspect(&mut self, id: NextHopId, suspect: bool) -> Result<(), FibError> {
        self.next_hops.suspect(id, suspect)
    }

    /// The members of a set by id.
    pub fn set_members(&self, id: SetId) -> Option<&[NextHopId]> {
        self.sets.members(id)
    }

    /// The backup of a set by id.
    pub fn set_backup(&self, id: SetId) -> Option<NextHopId> {
        self.sets.backup(id)
    }

    /// Adds a route, or points the route of this prefix at another set, with the next commit. Only then
    /// is it known whether it fits: a new route counts as installed unless a status change says otherwise.
    pub fn insert(&mut self, prefix: IpNet, set: SetId) -> Result<(), FibError> {
        self.sets.retain(set)?;
        match prefix {
            IpNet::V4(net) => self.v4.change(net.into(), set.0, false),
            IpNet::V6(net) => self.v6.change(net.into(), set.0, false),
        }
        Ok(())
    }

    /// [`Self::insert`] for a route that the router itself needs: its addresses, neighbours, connected
    /// networks. A direct table keeps nodes for these that other routes cannot use up.
    pub fn insert_own(&mut self, prefix: IpNet, set: SetId) -> Result<(), FibError> {
        self.sets.retain(set)?;
        match prefix {
            IpNet::V4(net) => self.v4.change(net.into(), set.0, true),
            IpNet::V6(net) => self.v6.change(net.into(), set.0, true),
        }
        Ok(())
    }

    /// Removes a route, if there is one, with the next commit.
    pub fn remove(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(net) => self.v4.change(net.into(), NO_ROUTE, false),
            IpNet::V6(net) => self.v6.change(net.into(), NO_ROUTE, false),
        }
    }

    /// The route of exactly this prefix, with what was inserted or removed since the last commit taken
    /// into account (one that waits for the commit counts as installed). The cost grows with those.
    pub fn route(&self, prefix: IpNet) -> Option<RouteView> {
        match prefix {
            IpNet::V4(net) => self.v4.engine().route(net.into()).map(view),
            IpNet::V6(net) => self.v6.engine().route(net.into()).map(view),
        }
    }

    /// The most specific route that covers an address, installed or not.
    pub fn longest_match(&self, address: IpAddr) -> Option<RouteView> {
        match address {
            IpAddr::V4(addr) => self.v4.engine().longest_match(addr.to_bits()).map(view),
            IpAddr::V6(addr) => self.v6.engine().longest_match(addr.to_bits()).map(view),
        }
    }

    /// The compressed entry that decides for an address, as meant by the last commit.
    pub fn entry_for(&self, address: IpAddr) -> Option<(IpNet, SetId)> {
        match address {
            IpAddr::V4(addr) => self.v4.engine().entry_for(addr.to_bits()).map(entry),
            IpAddr::V6(addr) => self.v6.engine().entry_for(addr.to_bits()).map(entry),
        }
    }

    /// Up to `limit` routes of a family in prefix order, from after the route `after` on (which need not
    /// exist any more; one of the other family counts as none).
    pub fn routes(&self, family: Family, after: Option<IpNet>, limit: usize) -> Vec<RouteView> {
        match family {
            Family::Ipv4 => {
                page(limit, view, |out| self.v4.engine().routes_after(prefix_v4(after), limit, out))
            }
            Family::Ipv6 => {
                page(limit, view, |out| self.v6.engine().routes_after(prefix_v6(after), limit, out))
            }
        }
    }

    /// Up to `limit` compressed entries of a family, as meant by the last commit, likewise.
    pub fn entries(&self, family: Family, after: Option<IpNet>, limit: usize) -> Vec<(IpNet, SetId)> {
        match family {
            Family::Ipv4 => {
                page(limit, entry, |out| self.v4.engine().entries_after(prefix_v4(after), limit, out))
            }
            Family::Ipv6 => {
                page(limit, entry, |out| self.v6.engine().entries_after(prefix_v6(after), limit, out))
            }
        }
    }

    /// Appends the edits that bring the maps from the last commit to now, in the order to apply them.
    ///
    /// A direct table that runs short of nodes asks `grow` for the empty map of its next size; if that
    /// answers true, the edits have [`TableEdit::Grow`] and end with [`TableEdit::Serve`]. Else the table stays
    /// as it is, and asks again with the next commit.
    pub fn commit(&mut self, edits: &mut Vec<TableEdit>, mut grow: impl FnMut(Family) -> bool) {
        let mut released = Vec::new();
        self.v4.engine_mut().apply(&mut released, &mut || grow(Family::Ipv4));
        self.v6.engine_mut().apply(&mut released, &mut || grow(Family::Ipv6));
        for set in released {
            self.sets.release(set);
        }
        self.sets.retire_idle(&mut self.next_hops);
        let mut last = Vec::new();
        self.next_hops.commit(edits, &mut last);
        let moved = self.next_hops.take_moved();
        self.sets.redirect(&moved, &self.next_hops, edits);
        edits.append(&mut last);
        self.sets.commit(&self.next_hops, edits);
        self.v4.commit(edits);
        self.v6.commit(edits);
    }

    /// The [`TableEdit::Serve`] of the last commit failed; the next one has it again. Until then packets are
    /// forwarded as before the move, or the growth.
    pub fn serve_failed(&mut self, family: Family) {
        match family {
            Family::Ipv4 => self.v4.serve_failed(),
            Family::Ipv6 => self.v6.serve_failed(),
        }
    }

    /// The `Insert` or `Remove` of this prefix in the last commit's edits failed.
    ///
    /// The routes that depend on the entry count as not installed; it is written again with a later
    /// commit. Reports belong before the next commit: without one, the write counts as done.
    pub fn write_failed(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(net) => self.v4.write_failed(net.into()),
            IpNet::V6(net) => self.v6.write_failed(net.into()),
        }
    }

    /// Whether ids wait for a grace period.
    pub fn needs_grace(&self) -> bool {
        self.waiting() > 0
    }

    /// All edits so far have been applied, their failures reported, and since then every program that
    /// was running has finished: what the last commit and those before it retired may be used again.
    ///
    /// While entries have failed, the maps may still name what should be gone, so nothing is.
    pub fn grace_elapsed(&mut self) {
        if !self.v4.may_be_stale() && !self.v6.may_be_stale() {
            self.next_hops.grace_elapsed();
            self.sets.grace_elapsed();
        }
        self.v4.engine_mut().grace_elapsed();
        self.v6.engine_mut().grace_elapsed();
    }

    /// What waits for a grace period.
    fn waiting(&self) -> usize {
        let tables = self.v4.engine().waiting() + self.v6.engine().waiting();
        self.next_hops.waiting() + self.sets.waiting() + tables
    }

    /// Whether committing again is worth while even if nothing changes: failed writes or routes that
    /// did not fit are waiting.
    pub fn wants_retry(&self) -> bool {
        self.v4.wants_retry() || self.v6.wants_retry() || self.next_hops.unplaced() > 0
    }

    /// Moves out the status changes since the last call, oldest first. A prefix may occur twice.
    pub fn drain_status_changes(&mut self, out: &mut Vec<StatusChange>) {
        let change = |prefix, status| StatusChange { prefix, status };
        self.v4.drain_status_changes(|prefix, status| out.push(change(prefix.to_net(), status)));
        self.v6.drain_status_changes(|prefix, status| out.push(change(prefix.to_net(), status)));
    }

    /// Counts of everything.
    pub fn stats(&self) -> FibStats {
        FibStats {
            ipv4: stats(&self.v4),
            ipv6: stats(&self.v6),
            next_hops: self.next_hops.len(),
            adjacencies: self.next_hops.adjacencies(),
            unplaced_next_hops: self.next_hops.unplaced(),
            sets: self.sets.len(),
            member_slots: self.sets.slots_used(),
            waiting_for_grace: self.waiting(),
        }
    }
}

fn stats<A: Address>(table: &Table<A>) -> TableStats {
    let stats = table.engine().stats();
    TableStats {
        engine: table.kind(),
        routes: stats.routes,
        entries: stats.entries,
        capacity: stats.capacity,
        full: stats.full,
        write_failed: stats.write_failed,
        failed_entries: stats.failed_entries,
        memory_bytes: stats.memory,
        map_bytes: table.map_bytes(),
    }
}

fn view<A: Address>(route: Route<A>) -> RouteView {
    RouteView { prefix: route.prefix.to_net(), set: SetId(route.set), status: route.status }
}

fn entry<A: Address>((prefix, set): (Prefix<A>, u32)) -> (IpNet, SetId) {
    (prefix.to_net(), SetId(set))
}

fn page<T, U>(limit: usize, convert: impl Fn(T) -> U, fill: impl FnOnce(&mut Vec<T>)) -> Vec<U> {
    let mut out = Vec::with_capacity(limit.min(1024));
    fill(&mut out);
    out.into_iter().map(convert).collect()
}

fn prefix_v4(net: Option<IpNet>) -> Option<Prefix<u32>> {
    match net {
        Some(IpNet::V4(net)) => Some(net.into()),
        _ => None,
    }
}

fn prefix_v6(net: Option<IpNet>) -> Option<Prefix<u128>> {
    match net {
        Some(IpNet::V6(net)) => Some(net.into()),
        _ => None,
    }
}
