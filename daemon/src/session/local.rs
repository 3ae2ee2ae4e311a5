//! Our own addresses on a session's link: what we announce as next hop.
//!
//! For routes of the session's own address family the next hop is our end of the connection. Routes of
//! the other family need an address of that family on the same interface.

use std::net::IpAddr;

use bgp::types::Family;
use nix::ifaddrs::getifaddrs;

/// Our next hop for routes of a family, on a session that ends at `local` here: `None` if the interface
/// has no address of that family that others can use.
pub(crate) fn next_hop(local: IpAddr, family: Family) -> Option<IpAddr> {
    let fits = |address: &IpAddr| match family {
        Family::Ipv4Unicast => address.is_ipv4(),
        Family::Ipv6Unicast => is_global_v6(address),
    };
    if fits(&local) {
        return Some(local);
    }
    let addresses: Vec<(String, IpAddr)> = match getifaddrs() {
        Ok(all) => all.filter_map(|entry| Some((entry.interface_name, ip(&entry.address?)?))).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list the addresses of this machine");
            return None;
        }
    };
    let interface = &addresses.iter().find(|(_, address)| *address == local)?.0;
    addresses.iter().filter(|(name, _)| name == interface).map(|(_, address)| *address).find(fits)
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(v4.ip().into());
    }
    address.as_sockaddr_in6().map(|v6| v6.ip().into())
}

fn is_global_v6(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}
