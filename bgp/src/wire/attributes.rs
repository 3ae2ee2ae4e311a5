//! The path attributes of a route, read and owned (RFC 4271 section 5 and later RFCs).
//!
//! Two routes with equal [`Attributes`] may share one UPDATE. [`Attributes::to_key`] is their
//! canonical byte string; [`parse_attributes`](super::parse_attributes) of it gives them back.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::as_path::AsPath;
use super::community::{Community, ExtendedCommunity, LargeCommunity};
use super::key;
use super::next_hop::NextHop;
use super::table::{self, Target};
use crate::types::{Asn, RouterId};

/// Bits of an attribute's flags octet.
pub mod flags {
    /// Not every speaker has to know the attribute.
    pub const OPTIONAL: u8 = 0x80;
    /// Speakers that do not know the attribute pass it on.
    pub const TRANSITIVE: u8 = 0x40;
    /// A speaker on the way did not know the attribute.
    pub const PARTIAL: u8 = 0x20;
    /// The attribute's length has two octets.
    pub const EXTENDED_LENGTH: u8 = 0x10;
}

/// How the route came into BGP; the lower is preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Origin {
    /// From an interior protocol.
    #[default]
    Igp = 0,
    /// From EGP.
    Egp = 1,
    /// By other means.
    Incomplete = 2,
}

impl Origin {
    pub(super) fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Igp,
            1 => Self::Egp,
            2 => Self::Incomplete,
            _ => return None,
        })
    }

    /// The origin in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Igp => "igp",
            Self::Egp => "egp",
            Self::Incomplete => "incomplete",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An optional transitive attribute that this speaker does not know and passes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnknownAttribute {
    /// [`flags`], Partial set, without Extended Length, which encoding chooses by itself.
    pub flags: u8,
    /// Attribute type code.
    pub code: u8,
    /// Attribute value.
    pub value: Vec<u8>,
}

/// The accumulated IGP metric of a route (RFC 7311).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Aigp {
    /// The sum of the metrics up to the next hop.
    pub metric: u64,
    /// The attribute's other TLVs as they came, which are passed on.
    pub others: Vec<u8>,
}

impl From<u64> for Aigp {
    fn from(metric: u64) -> Self {
        Self { metric, others: Vec::new() }
    }
}

/// Known optional transitive attributes that a speaker on the way did not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Partial(u64);

impl Partial {
    /// Whether the attribute of this type code is marked. Codes from 64 on never are.
    pub fn contains(self, code: u8) -> bool {
        code < 64 && self.0 & (1 << code) != 0
    }

    /// The type codes, in order.
    pub fn codes(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |code| self.contains(*code))
    }

    pub(super) fn insert(&mut self, code: u8) {
        if code < 64 {
            self.0 |= 1 << code;
        }
    }
}

/// Everything that a route carries beside its prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// ORIGIN.
    pub origin: Origin,
    /// `AS_PATH`, merged with `AS4_PATH` where the peer sends two octets.
    pub as_path: AsPath,
    /// Next hop, from `NEXT_HOP` or `MP_REACH_NLRI`.
    pub next_hop: NextHop,
    /// `MULTI_EXIT_DISC`.
    pub med: Option<u32>,
    /// `LOCAL_PREF`, never from another AS.
    pub local_pref: Option<u32>,
    /// `ATOMIC_AGGREGATE`.
    pub atomic_aggregate: bool,
    /// AGGREGATOR: AS and address of the router that made the aggregate.
    pub aggregator: Option<(Asn, Ipv4Addr)>,
    /// `ORIGINATOR_ID` (RFC 4456), never from another AS.
    pub originator_id: Option<RouterId>,
    /// `CLUSTER_LIST` (RFC 4456), nearest first, never from another AS.
    pub cluster_list: Vec<Ipv4Addr>,
    /// COMMUNITIES.
    pub communities: Vec<Community>,
    /// EXTENDED COMMUNITIES.
    pub extended_communities: Vec<ExtendedCommunity>,
    /// `LARGE_COMMUNITY`; duplicates are dropped on the wire (RFC 8092 section 5).
    pub large_communities: Vec<LargeCommunity>,
    /// AIGP (RFC 7311), only from neighbours for which it is enabled.
    pub aigp: Option<Aigp>,
    /// "Only to Customer" (RFC 9234): the AS from which on the route goes to customers only.
    pub otc: Option<Asn>,
    /// Those of the above that came with the Partial flag, which stays (RFC 4271 section 5).
    pub partial: Partial,
    /// What else is passed on, in order of type code.
    pub unknown: Vec<UnknownAttribute>,
}

impl Attributes {
    /// The attributes of a route from the own AS: origin IGP, an empty path, nothing else.
    pub fn originated(next_hop: impl Into<NextHop>) -> Self {
        Self {
            origin: Origin::Igp,
            as_path: AsPath::new(),
            next_hop: next_hop.into(),
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            originator_id: None,
            cluster_list: Vec::new(),
            communities: Vec::new(),
            extended_communities: Vec::new(),
            large_communities: Vec::new(),
            aigp: None,
            otc: None,
            partial: Partial::default(),
            unknown: Vec::new(),
        }
    }

    /// The canonical key: four-octet AS numbers, the next hop in front, attributes in order of type
    /// code. [`parse_attributes`](super::parse_attributes) of it gives these attributes again, if
    /// the next hop is a host's address and there are no duplicate large communities.
    pub fn to_key(&self) -> Vec<u8> {
        let mut out = vec![key::AttributeContext::OWN.to_flags(), 0];
        self.next_hop.encode(&mut out);
        out[1] = (out.len() - 2) as u8;
        table::encode_block(self, Target { as4: true, next_hop: false }, &mut out);
        out
    }
}

impl Default for Attributes {
    /// An originated route without a usable next hop.
    fn default() -> Self {
        Self::originated(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }
}
