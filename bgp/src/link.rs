//! Link-local addresses that say on which link they are (RFC 4007: their zone).
//!
//! `fe80::1` on one link is somebody else than `fe80::1` on another. Inside the router such an address carries a tag
//! of its interface in octets 4 to 7, which are zero on every wire (RFC 4291 section 2.5.6), so that an [`IpAddr`] alone
//! names a neighbour or a next hop everywhere. The tag is a hash of the interface's name: it means the same in every
//! process and outlives the interface.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most names that are remembered: whoever asks for others makes them up.
const MOST_NAMES: usize = 4096;

/// The names of the links that have been spoken of.
static NAMES: RwLock<BTreeMap<u32, String>> = RwLock::new(BTreeMap::new());

/// An interface, as link-local addresses carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkTag(u32);

impl LinkTag {
    /// The tag of an interface.
    pub fn of(interface: &str) -> Self {
        let tag = Self::hash(interface);
        let known = NAMES.read().unwrap_or_else(PoisonError::into_inner).contains_key(&tag.0);
        if !known {
            let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
            if names.len() < MOST_NAMES {
                names.insert(tag.0, interface.to_owned());
            }
        }
        tag
    }

    /// The interface's name, if it has been spoken of.
    pub fn name(self) -> Option<String> {
        NAMES.read().unwrap_or_else(PoisonError::into_inner).get(&self.0).cloned()
    }

    /// Whether an interface has this tag.
    pub fn is(self, interface: &str) -> bool {
        Self::hash(interface) == self
    }

    /// FNV-1a, never zero.
    fn hash(interface: &str) -> Self {
        let step = |hash: u32, octet: u8| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
        Self(interface.bytes().fold(0x811c_9dc5, step).max(1))
    }

    /// The address on this link. Only link-local ones have a link.
    pub fn mark(self, address: Ipv6Addr) -> Ipv6Addr {
        if address.is_unicast_link_local() { with_tag(address, self.0) } else { address }
    }
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

/// An address as people write it: `fe80::1%eth0`.
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
            Some(name) => f.pad(&format!("{}%{name}", bare(self.0))),
            None => f.pad(&format!("{}%link-{:08x}", bare(self.0), tag.0)),
        }
    }
}

/// No address, or a zone where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an IP address; one of a link is written as fe80::1%eth0")]
pub struct ParseZonedError;

impl FromStr for Zoned {
    type Err = ParseZonedError;

    fn from_str(text: &str) -> Result<Self, ParseZonedError> {
        let Some((address, interface)) = text.split_once('%') else {
            return text.parse().map(Self).map_err(|_| ParseZonedError);
        };
        let address: Ipv6Addr = address.parse().map_err(|_| ParseZonedError)?;
        let named = !interface.is_empty() && !interface.contains(|c: char| c == '/' || c.is_whitespace());
        if !address.is_unicast_link_local() || !named || link_of(address.into()).is_some() {
            return Err(ParseZonedError);
        }
        Ok(Self(LinkTag::of(interface).mark(address).into()))
    }
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
        for text in ["2001:db8::1%eth0", "192.0.2.1%eth0", "fe80::1%", "fe80:0:1::1%eth0"] {
            assert!(text.parse::<Zoned>().is_err(), "{text}");
        }
    }
}
