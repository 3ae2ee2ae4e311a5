//! The words in which the FIB speaks to the data plane and to the rest of the daemon.

use std::fmt;

use fib_abi::{Adjacency, NextHopWord, SetWord};
use ipnet::IpNet;
use serde::Serialize;

/// One write to one map. Edits are applied in the order in which a commit gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableEdit {
    /// Write an adjacency that no next hop names yet.
    Adjacency {
        /// Index into `ADJACENCIES`.
        index: u32,
        /// What to write.
        value: Adjacency,
    },
    /// Write a next hop: one 8-byte store.
    NextHop {
        /// Index into `NEXT_HOPS`.
        index: u32,
        /// What to write.
        value: NextHopWord,
    },
    /// Write a slot that no set covers yet.
    Member {
        /// Index into `MEMBERS`.
        slot: u32,
        /// The next hop of that slot.
        next_hop: u32,
    },
    /// Write a set that no entry names yet.
    Set {
        /// Index into `SETS`.
        index: u32,
        /// What to write.
        value: SetWord,
    },
    /// Add an entry, or replace the one with this prefix.
    Insert {
        /// Key in `ROUTES_V4` or `ROUTES_V6`.
        prefix: IpNet,
        /// The set it names.
        set: u32,
    },
    /// Remove an entry. That it is gone already is no failure.
    Remove {
        /// Key in `ROUTES_V4` or `ROUTES_V6`.
        prefix: IpNet,
    },
}

/// Whether packets are forwarded by a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The map forwards by it.
    Installed,
    /// The map has no room for it: its addresses follow a less specific route, or none.
    Full,
    /// The kernel refused to write an entry that this route depends on; the write will be repeated.
    WriteFailed,
}

impl Status {
    /// Whether packets are forwarded by the route.
    pub fn is_installed(self) -> bool {
        self == Self::Installed
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Installed => "installed",
            Self::Full => "not installed: table full",
            Self::WriteFailed => "not installed: write failed",
        })
    }
}

/// A route whose status is another than was last told (a new route counts as told: installed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// The route.
    pub prefix: IpNet,
    /// What it is now.
    pub status: Status,
}
