//! Prefix lists: sets of prefixes with a range of lengths, `10.0.0.0/8 ge 16 le 24`.
//!
//! An entry matches a route whose prefix lies inside the entry's and whose length is within
//! `ge..=le`. Without `ge` and `le` that is the prefix itself; with only `ge` every length from
//! there to the longest; with only `le` every length from the entry's own. An empty list matches
//! nothing.
//!
//! Lists of customers hold tens of thousands of entries, and every route is held against them. So
//! the entries are compiled into hash tables, one a family, see `prefix_table`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::prefix_table::PrefixTable;

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
    ipv4: PrefixTable<u32>,
    ipv6: PrefixTable<u128>,
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
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for entry in &entries {
            match entry.prefix {
                IpNet::V4(net) => ipv4.push((key_v4(net), (entry.ge, entry.le))),
                IpNet::V6(net) => ipv6.push((key_v6(net), (entry.ge, entry.le))),
            }
        }
        let (ipv4, ipv6) = (PrefixTable::new(ipv4), PrefixTable::new(ipv6));
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
            IpNet::V4(net) => self.ipv4.contains(key_v4(net)),
            IpNet::V6(net) => self.ipv6.contains(key_v6(net)),
        }
    }

    /// Whether the prefix of one of the entries covers this address, whatever the entry's lengths.
    pub fn covers_address(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4.covers(address.into()),
            IpAddr::V6(address) => self.ipv6.covers(address.into()),
        }
    }
}

/// The tables follow from the entries.
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

fn key_v4(net: Ipv4Net) -> (u32, u8) {
    (net.network().into(), net.prefix_len())
}

fn key_v6(net: Ipv6Net) -> (u128, u8) {
    (net.network().into(), net.prefix_len())
}
