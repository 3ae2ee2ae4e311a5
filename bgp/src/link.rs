//! Link-local addresses that say on which link they are (RFC 4007: their zone).
//!
//! `fe80::1` on one link is somebody else than `fe80::1` on another. Inside the router such an address carries a tag
//! of its interface in octets 4 to 7, which are zero on every wire (RFC 4291 section 2.5.6), so that an [`IpAddr`] alone
//! names a neighbour or a next hop everywhere. A tag is given to a name when it is first spoken of and stays its own
//! as long as the process runs, whether there is such an interface or not; no two names ever have the same one.
//!
//! A neighbour that is named by its interface alone, whatever its address there, has the address of all zeros behind
//! the tag, which no host has (RFC 4291 section 2.6.1: it is that of all routers).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most names that are remembered of those that anybody can make up.
const MOST_NAMES: usize = 65_536;
/// Longest name of an interface in octets: Linux' `IFNAMSIZ` without the end.
const LONGEST_NAME: usize = 15;

/// The names of the links that have been spoken of.
static NAMES: RwLock<BTreeMap<u32, String>> = RwLock::new(BTreeMap::new());

/// An interface, as link-local addresses carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkTag(u32);

impl LinkTag {
    /// The tag of an interface that is configured, or that the kernel has.
    pub fn of(interface: &str) -> Self {
        Self::find(interface).unwrap_or_else(|| Self::give(interface))
    }

    /// The tag of an interface that anybody has named; `None` when too many others have been named before.
    fn of_text(interface: &str) -> Option<Self> {
        Self::find(interface).or_else(|| {
            let room = NAMES.read().unwrap_or_else(PoisonError::into_inner).len() < MOST_NAMES;
            room.then(|| Self::give(interface))
        })
    }

    /// The tag that the name has.
    fn find(interface: &str) -> Option<Self> {
        let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
        let (tag, name) = candidates(interface).find_map(|tag| match names.get(&tag) {
            Some(name) if name != interface => None,
            other => Some((tag, other)),
        })?;
        name.map(|_| Self(tag))
    }

    /// Gives the name the first of its tags that no other name has.
    fn give(interface: &str) -> Self {
        let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
        let mut tag = 0;
        for candidate in candidates(interface) {
            tag = candidate;
            if names.entry(tag).or_insert_with(|| interface.to_owned()) == interface {
                break;
            }
        }
        Self(tag)
    }

    /// The interface's name.
    pub fn name(self) -> Option<String> {
        NAMES.read().unwrap_or_else(PoisonError::into_inner).get(&self.0).cloned()
    }

    /// Whether this is the tag of an interface.
    pub fn is(self, interface: &str) -> bool {
        NAMES
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&self.0)
            .is_some_and(|name| name == interface)
    }

    /// The address on this link. Only link-local ones have a link.
    pub fn mark(self, address: Ipv6Addr) -> Ipv6Addr {
        if address.is_unicast_link_local() { with_tag(address, self.0) } else { address }
    }

    /// What stands for the neighbour on this link, whatever its address.
    pub fn neighbor(self) -> IpAddr {
        self.mark(NOBODY).into()
    }
}

/// The tags that a name may have, the first one that is free: FNV-1a, and what follows; never zero.
fn candidates(interface: &str) -> impl Iterator<Item = u32> {
    let step = |hash: u32, octet: u8| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
    let first = interface.bytes().fold(0x811c_9dc5, step);
    (0..=u32::MAX).map(move |offset| first.wrapping_add(offset)).filter(|tag| *tag != 0)
}

/// `fe80::`
const NOBODY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

/// The link of a neighbour that is named by it alone.
pub fn unnumbered(address: IpAddr) -> Option<LinkTag> {
    link_of(address).filter(|_| bare(address) == NOBODY)
}

fn with_tag(address: Ipv6Addr, tag: u32) -> Ipv6Addr {
    let mut octets = address.octets();
    octets[4..8].copy_from_slice(&tag.to_be_bytes());
    octets.into()
}

/// The link that a link-local address says it is on.
pub fn link_of(address: IpAddr) -> Option<LinkTag> {
    let IpAddr::V6(v6) = address else { return None };
    let [_, _, high, low, ..] = v6.segments();
    let tag = u32::from(high) << 16 | u32::from(low);
    (v6.is_unicast_link_local() && tag != 0).then_some(LinkTag(tag))
}

/// The address as it is on the wire.
pub fn bare(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if link_of(address).is_some() => with_tag(v6, 0).into(),
        other => other,
    }
}

/// An address as people write it: `fe80::1%eth0`; `eth0` for the neighbour there, whatever its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zoned(pub IpAddr);

impl Zoned {
    /// As a part of a URL.
    pub fn in_url(&self) -> String {
        self.to_string().replace('%', "%25")
    }
}

impl Serialize for Zoned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Zoned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Zoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(tag) = link_of(self.0) else { return self.0.fmt(f) };
        match tag.name() {
            Some(name) if unnumbered(self.0).is_some() => f.pad(&name),
            Some(name) => f.pad(&format!("{}%{name}", bare(self.0))),
            None => f.pad(&format!("{}%link-{:08x}", bare(self.0), tag.0)),
        }
    }
}

/// No address, or a zone where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an IP address; one of a link is written as fe80::1%eth0, and a neighbor without address as eth0"
)]
pub struct ParseZonedError;

impl FromStr for Zoned {
    type Err = ParseZonedError;

    fn from_str(text: &str) -> Result<Self, ParseZonedError> {
        let Some((address, interface)) = text.split_once('%') else {
            // An address with an error in it is no name of an interface.
            let is_name = is_name(text) && text.contains(|c: char| !c.is_ascii_digit() && c != '.');
            return match text.parse() {
                Ok(address) => Ok(Self(address)),
                Err(_) if is_name => {
                    LinkTag::of_text(text).map(|link| Self(link.neighbor())).ok_or(ParseZonedError)
                }
                Err(_) => Err(ParseZonedError),
            };
        };
        let address: Ipv6Addr = address.parse().map_err(|_| ParseZonedError)?;
        let is_bare =
            address.is_unicast_link_local() && link_of(address.into()).is_none() && address != NOBODY;
        if !is_bare || !is_name(interface) {
            return Err(ParseZonedError);
        }
        let link = LinkTag::of_text(interface).ok_or(ParseZonedError)?;
        Ok(Self(link.mark(address).into()))
    }
}

/// Whether an interface can have this name.
fn is_name(text: &str) -> bool {
    let forbidden = |c: char| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control();
    !text.is_empty() && text.len() <= LONGEST_NAME && !text.contains(forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_its_link_and_is_written_with_it() {
        let eth0: Zoned = "fe80::1%eth0".parse().unwrap();
        let eth1: Zoned = "fe80::1%eth1".parse().unwrap();
        assert_ne!(eth0, eth1);
        assert_eq!(eth0.to_string(), "fe80::1%eth0");
        assert_eq!(bare(eth0.0), "fe80::1".parse::<IpAddr>().unwrap());
        assert_eq!(link_of(eth1.0), Some(LinkTag::of("eth1")));
        assert!(LinkTag::of("eth1").is("eth1") && !LinkTag::of("eth1").is("eth0"));
    }

    #[test]
    fn other_addresses_have_no_link() {
        for text in ["192.0.2.1", "2001:db8::1", "fe80::1"] {
            let address: Zoned = text.parse().unwrap();
            assert_eq!((link_of(address.0), address.to_string().as_str()), (None, text));
        }
        let global: Ipv6Addr = "2001:db8::1".parse().unwrap();
        assert_eq!(LinkTag::of("eth0").mark(global), global);
        for text in ["2001:db8::1%eth0", "192.0.2.1%eth0", "fe80::1%", "fe80:0:1::1%eth0", "fe80::%eth0"] {
            assert!(text.parse::<Zoned>().is_err(), "{text}");
        }
        for text in ["192.0.2.300", "2001:db8::g", "10.0.0.0/8", "a-name-that-is-too-long", "eth 0", ""] {
            assert!(text.parse::<Zoned>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_neighbor_without_address_is_named_by_its_link() {
        let eth0: Zoned = "eth0.100".parse().unwrap();
        assert_eq!(eth0.to_string(), "eth0.100");
        assert_eq!(unnumbered(eth0.0), Some(LinkTag::of("eth0.100")));
        assert_eq!(eth0.0, LinkTag::of("eth0.100").neighbor());
        assert_ne!(eth0, "eth0.101".parse().unwrap());
        for text in ["fe80::1%eth0", "192.0.2.1", "fe80::"] {
            assert_eq!(unnumbered(text.parse::<Zoned>().unwrap().0), None, "{text}");
        }
    }

    #[test]
    fn names_of_one_hash_have_tags_of_their_own() {
        let (first, second) = ("eth196499", "vlan34720");
        let hash = |name| candidates(name).next();
        assert_eq!(hash(first), hash(second), "chosen for that");
        let tags = [LinkTag::of(first), LinkTag::of(second)];
        assert_ne!(tags[0], tags[1]);
        for _ in 0..2 {
            assert_eq!(tags, [LinkTag::of(first), LinkTag::of(second)]);
            let parsed = [first, second].map(|name| format!("fe80::1%{name}").parse::<Zoned>().unwrap());
            assert_eq!(parsed.map(|address| link_of(address.0)), tags.map(Some));
            assert_eq!(parsed[1].to_string(), format!("fe80::1%{second}"));
        }
        assert!(tags[1].is(second) && !tags[1].is(first) && !tags[0].is(second));
    }
}
