//! Next hops, from `NEXT_HOP` and from `MP_REACH_NLRI`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::Reason;

/// Where packets for a route go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The address; a link-local one when the peer sent no other.
    pub addr: IpAddr,
    /// The link-local address that RFC 2545 section 3 sends beside a global one.
    pub link_local: Option<Ipv6Addr>,
}

impl NextHop {
    /// Reads 4, 16 or 32 octets and refuses what cannot be a host's address.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Reason> {
        if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            return v4_host(octets).map(Self::from);
        }
        if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
            let addr = Ipv6Addr::from(octets);
            return if is_v6_host(addr) { Ok(addr.into()) } else { Err(Reason::NotAHost) };
        }
        let Some((global, link_local)) = bytes.split_first_chunk::<16>() else { return Err(Reason::Length) };
        let link_local = <[u8; 16]>::try_from(link_local).map_err(|_| Reason::Length)?;
        let global = Ipv6Addr::from(*global);
        // Some speakers repeat the global address or send zeros; only a link-local one is used.
        let link_local = Some(Ipv6Addr::from(link_local)).filter(Ipv6Addr::is_unicast_link_local);
        let addr = if global.is_unspecified() { link_local.unwrap_or(global) } else { global };
        if is_v6_host(addr) { Ok(Self { addr: addr.into(), link_local }) } else { Err(Reason::NotAHost) }
    }

    /// Appends the address: 4, 16 or 32 octets.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self.addr {
            IpAddr::V4(addr) => out.extend(addr.octets()),
            IpAddr::V6(addr) => {
                out.extend(addr.octets());
                out.extend(self.link_local.iter().flat_map(Ipv6Addr::octets));
            }
        }
    }
}

fn v4_host(octets: [u8; 4]) -> Result<Ipv4Addr, Reason> {
    // 0/8 is no destination, 127/8 is never on the wire, 224/4 is multicast, 240/4 reserved (RFC 1122
    // section 3.2.1.3).
    match octets[0] {
        0 | 127 | 224.. => Err(Reason::NotAHost),
        _ => Ok(octets.into()),
    }
}

fn is_v6_host(addr: Ipv6Addr) -> bool {
    !(addr.is_unspecified() || addr.is_loopback() || addr.is_multicast())
}

impl<A: Into<IpAddr>> From<A> for NextHop {
    fn from(addr: A) -> Self {
        Self { addr: addr.into(), link_local: None }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)?;
        match self.link_local {
            Some(link_local) => write!(f, " ({link_local})"),
            None => Ok(()),
        }
    }
}

/// A next hop as an UPDATE carries it, not read yet: 4, 16 or 32 octets, or none when the UPDATE has
/// no next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHopBytes<'a>(pub &'a [u8]);

impl NextHopBytes<'_> {
    /// The next hop, if the bytes are one.
    pub fn decode(self) -> Option<NextHop> {
        NextHop::decode(self.0).ok()
    }
}
