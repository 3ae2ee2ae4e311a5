//! Our own addresses on a session's link: what we announce as next hop.
//!
//! For routes of the session's own address family the next hop is our end of the connection. Routes of
//! the other family need an address of that family on the same interface.

use std::net::IpAddr;

use bgp::types::Family;
use ipnet::IpNet;
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
    beside(local).into_iter().map(|subnet| subnet.addr()).find(fits)
}

/// The subnets on the interface that has an address: where others may be that can be reached without us.
pub(crate) fn subnets(local: IpAddr) -> Vec<IpNet> {
    let is_shared = |subnet: &IpNet| {
        let address = subnet.addr();
        subnet.prefix_len() < subnet.max_prefix_len()
            && !address.is_loopback()
            && (address.is_ipv4() || is_global_v6(&address))
    };
    let mut subnets: Vec<IpNet> =
        beside(local).into_iter().filter(is_shared).map(|subnet| subnet.trunc()).collect();
    subnets.sort_unstable();
    subnets.dedup();
    subnets
}

/// All addresses on the interface that has this one, with their prefix lengths.
fn beside(local: IpAddr) -> Vec<IpNet> {
    let addresses: Vec<(String, IpNet)> = match getifaddrs() {
        Ok(all) => all
            .filter_map(|entry| {
                let address = ip(&entry.address?)?;
                let mask = entry.netmask.as_ref().and_then(ip);
                let subnet = mask.and_then(|mask| IpNet::with_netmask(address, mask).ok());
                Some((entry.interface_name, subnet.unwrap_or_else(|| address.into())))
            })
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list the addresses of this machine");
            return Vec::new();
        }
    };
    let Some((interface, _)) = addresses.iter().find(|(_, subnet)| subnet.addr() == local) else {
        return Vec::new();
    };
    addresses.iter().filter(|(name, _)| name == interface).map(|(_, subnet)| *subnet).collect()
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
