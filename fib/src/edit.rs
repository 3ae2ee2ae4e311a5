//! The words in which the FIB speaks to the data plane and to the rest of the daemon.

use std::fmt;

use fib_abi::{Adjacency, NextHopWord, SetWord};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Family;

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
    /// Write a slot: one that no set covers yet, or one that changes hands with one 4-byte store.
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
    /// Write words of a family's direct table, in ascending order, each with one 4-byte store.
    Fill {
        /// Whose table: of one of the layouts [`Family::layouts`].
        family: Family,
        /// The first word.
        first: u32,
        /// How many words, at least one.
        count: u32,
        /// What each is to be.
        value: u32,
    },
    /// Copy a family's direct table into one of the next size, which has been made for it, and write there
    /// from now on. Packets are looked up in the one before until the next [`TableEdit::Serve`].
    Grow {
        /// Whose table.
        family: Family,
    },
    /// Look packets up in a family's direct table from now on, and no more in its trie or in a smaller
    /// table. Done again it changes nothing. When it returns, no packet uses those any more.
    Serve {
        /// Whose table.
        family: Family,
    },
}

/// What a family's packets are looked up in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// A longest-prefix-match trie of compressed entries.
    #[default]
    LpmTrie,
    /// A table that is indexed by the address.
    Direct,
}

impl EngineKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::LpmTrie, Self::Direct];
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LpmTrie => "lpm-trie",
            Self::Direct => "direct",
        })
    }
}

/// Whether packets are forwarded by a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The map forwards by it.
    Installed,
    /// The table has no room for it (entries of the trie, nodes of the direct table): its addresses follow a less specific route, or none.
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
