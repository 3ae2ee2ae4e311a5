//! Prefix lists: sets of prefixes with a range of lengths, `10.0.0.0/8 ge 16 le 24`.
//!
//! An entry matches a route whose prefix lies inside the entry's and whose length is within
//! `ge..=le`. Without `ge` and `le` that is the prefix itself; with only `ge` every length from
//! there to the longest; with only `le` every length from the entry's own. An empty list matches
//! nothing.
//!
//! Lists of customers hold tens of thousands of entries, and every route is held against them. So
//! the entries are compiled into a path-compressed binary trie whose nodes carry all lengths that
//! they or a node above them accept: one walk down to the last node that covers the route, then
//! one bit test. Both families share the code: addresses are left-aligned in 128 bits.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// One line of a prefix list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrefixListEntry {
    prefix: IpNet,
    ge: u8,
    le: u8,
}

/// A named set of prefixes.
#[derive(Clone)]
pub struct PrefixList {
    name: String,
    entries: Vec<PrefixListEntry>,
    ipv4: Trie,
    ipv6: Trie,
}

/// Why the text of an entry, or its lengths, make no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixListEntryError {
    /// Not of the form `PREFIX [ge N] [le N]`.
    #[error("\"{0}\" is not a prefix list entry; expected \"PREFIX/LENGTH [ge N] [le N]\"")]
    Syntax(String),
    /// Bits are set behind the prefix length.
    #[error("{0} has host bits set; expected the network {network}", network = .0.trunc())]
    HostBits(IpNet),
    /// The lengths do not satisfy prefix length <= ge <= le <= longest.
    #[error("ge {ge} le {le} does not fit {prefix}; expected {len} <= ge <= le <= {max}",
        len = .prefix.prefix_len(), max = .prefix.max_prefix_len())]
    Lengths {
        /// The entry's prefix.
        prefix: IpNet,
        /// The shortest length asked for.
        ge: u8,
        /// The longest length asked for.
        le: u8,
    },
}

impl PrefixListEntry {
    /// The entry for `prefix`; see the head of this module for what absent bounds mean.
    pub fn new(prefix: IpNet, ge: Option<u8>, le: Option<u8>) -> Result<Self, PrefixListEntryError> {
        if prefix != prefix.trunc() {
            return Err(PrefixListEntryError::HostBits(prefix));
        }
        let max = prefix.max_prefix_len();
        let (ge, le) = match (ge, le) {
            (None, None) => (prefix.prefix_len(), prefix.prefix_len()),
            (Some(ge), None) => (ge, max),
            (None, Some(le)) => (prefix.prefix_len(), le),
            (Some(ge), Some(le)) => (ge, le),
        };
        if prefix.prefix_len() <= ge && ge <= le && le <= max {
            Ok(Self { prefix, ge, le })
        } else {
            Err(PrefixListEntryError::Lengths { prefix, ge, le })
        }
    }

    /// The prefix that routes must lie in.
    pub fn prefix(&self) -> IpNet {
        self.prefix
    }

    /// The shortest length that matches.
    pub fn ge(&self) -> u8 {
        self.ge
    }

    /// The longest length that matches.
    pub fn le(&self) -> u8 {
        self.le
    }

    /// Whether the entry matches this route.
    pub fn contains(&self, route: IpNet) -> bool {
        self.prefix.contains(&route) && (self.ge..=self.le).contains(&route.prefix_len())
    }
}

impl FromStr for PrefixListEntry {
    type Err = PrefixListEntryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || PrefixListEntryError::Syntax(text.to_owned());
        let mut words = text.split_whitespace();
        let prefix: IpNet = words.next().and_then(|word| word.parse().ok()).ok_or_else(syntax)?;
        let (mut ge, mut le) = (None, None);
        while let Some(word) = words.next() {
            let bound = match word {
                "ge" => &mut ge,
                "le" => &mut le,
                _ => return Err(syntax()),
            };
            let value = words.next().and_then(|number| number.parse::<u8>().ok()).ok_or_else(syntax)?;
            if bound.replace(value).is_some() {
                return Err(syntax());
            }
        }
        Self::new(prefix, ge, le)
    }
}

/// The shortest text that parses to this entry.
impl fmt::Display for PrefixListEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, max) = (self.prefix.prefix_len(), self.prefix.max_prefix_len());
        write!(f, "{}", self.prefix)?;
        if (self.ge, self.le) == (len, len) {
            return Ok(());
        }
        if self.ge != len || self.le == max {
            write!(f, " ge {}", self.ge)?;
        }
        if self.le != max {
            write!(f, " le {}", self.le)?;
        }
        Ok(())
    }
}

impl PrefixList {
    /// Compiles a list.
    pub fn new(name: impl Into<String>, entries: Vec<PrefixListEntry>) -> Self {
        let trie = |ipv6: bool| {
            let mut keyed: Vec<Entry> = entries
                .iter()
                .filter(|entry| matches!(entry.prefix, IpNet::V6(_)) == ipv6)
                .map(|entry| Entry {
                    key: Key::of(entry.prefix),
                    lengths: Lengths::range(entry.ge, entry.le),
                })
                .collect();
            keyed.sort_unstable_by_key(|entry| (entry.key.bits, entry.key.len));
            Trie::build(&keyed)
        };
        let (ipv4, ipv6) = (trie(false), trie(true));
        Self { name: name.into(), entries, ipv4, ipv6 }
    }

    /// The name by which policies refer to it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The entries, in the order given.
    pub fn entries(&self) -> &[PrefixListEntry] {
        &self.entries
    }

    /// Whether one of the entries matches this route.
    pub fn contains(&self, route: IpNet) -> bool {
        match route {
            IpNet::V4(_) => self.ipv4.contains(Key::of(route)),
            IpNet::V6(_) => self.ipv6.contains(Key::of(route)),
        }
    }
}

/// The tries follow from the entries.
impl PartialEq for PrefixList {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.entries == other.entries
    }
}

impl Eq for PrefixList {}

impl fmt::Debug for PrefixList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrefixList")
            .field("name", &self.name)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

/// A prefix with its address left-aligned in 128 bits, host bits zero.
#[derive(Clone, Copy)]
struct Key {
    bits: u128,
    len: u8,
}

impl Key {
    fn of(prefix: IpNet) -> Self {
        let bits = match prefix.network() {
            IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
            IpAddr::V6(address) => u128::from(address),
        };
        Self { bits, len: prefix.prefix_len() }
    }

    fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.common_len(other) >= self.len
    }

    /// How many leading bits are equal; 128 for equal addresses.
    fn common_len(self, other: Self) -> u8 {
        (self.bits ^ other.bits).leading_zeros() as u8
    }

    /// The bit behind the first `len` ones, as a child index; `len` is below 128.
    fn bit(self, len: u8) -> usize {
        usize::from(self.bits << len >> 127 == 1)
    }
}

/// A set of prefix lengths 0..=128: 129 bits, so that length 0 lies apart.
#[derive(Clone, Copy, Default)]
struct Lengths {
    zero: bool,
    /// Bit n stands for length n + 1.
    others: u128,
}

impl Lengths {
    fn range(ge: u8, le: u8) -> Self {
        let first = ge.max(1);
        let others = if le < first { 0 } else { (u128::MAX >> (128 - (le - first + 1))) << (first - 1) };
        Self { zero: ge == 0, others }
    }

    fn union(self, other: Self) -> Self {
        Self { zero: self.zero || other.zero, others: self.others | other.others }
    }

    fn contains(self, len: u8) -> bool {
        match len.checked_sub(1) {
            None => self.zero,
            Some(bit) => self.others >> bit & 1 == 1,
        }
    }
}

#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    lengths: Lengths,
}

/// Node 0 is the root and nobody's child, so that a child index of 0 means none.
#[derive(Clone, Default)]
struct Trie {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
struct Node {
    key: Key,
    /// What this node and those above it accept.
    lengths: Lengths,
    children: [u32; 2],
}

impl Trie {
    /// Builds from entries sorted by address, then length.
    fn build(entries: &[Entry]) -> Self {
        let mut trie = Self { nodes: Vec::with_capacity(entries.len()) };
        trie.add(entries, Lengths::default());
        trie
    }

    /// Adds a subtrie for the entries, all below what accepts `inherited`; returns its root's index,
    /// or 0 when there are none. Recurses at most once a bit.
    fn add(&mut self, entries: &[Entry], inherited: Lengths) -> u32 {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return 0 };
        // In this order the first entry is the shortest of those that share its address, and
        // the first and the last differ earliest.
        let len = first.key.len.min(first.key.common_len(last.key));
        let own = entries.partition_point(|entry| entry.key.bits == first.key.bits && entry.key.len == len);
        let (own, below) = entries.split_at(own);
        let lengths = own.iter().fold(inherited, |sum, entry| sum.union(entry.lengths));
        let bits = if len == 0 { 0 } else { first.key.bits & (u128::MAX << (128 - len)) };

        let index = self.nodes.len();
        self.nodes.push(Node { key: Key { bits, len }, lengths, children: [0; 2] });
        if !below.is_empty() {
            let (zeros, ones) = below.split_at(below.partition_point(|entry| entry.key.bit(len) == 0));
            let children = [self.add(zeros, lengths), self.add(ones, lengths)];
            self.nodes[index].children = children;
        }
        index as u32
    }

    fn contains(&self, route: Key) -> bool {
        let mut lengths = Lengths::default();
        let mut next = self.nodes.first();
        while let Some(node) = next {
            if !node.key.covers(route) {
                break;
            }
            lengths = node.lengths;
            if node.key.len == route.len {
                break;
            }
            let child = node.children[route.bit(node.key.len)];
            next = if child == 0 { None } else { self.nodes.get(child as usize) };
        }
        lengths.contains(route.len)
    }
}
