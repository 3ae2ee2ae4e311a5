//! Our own addresses on a session's link: what we announce as next hop.
//!
//! For routes of the session's own address family the next hop is our end of the connection. Routes of
//! the other family need an address of that family on the same interface. A session of a link has both next hops
//! of RFC 2545 section 3, if the interface has a global address; else the link-local one alone.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bgp::link::{LinkTag, Zoned, bare, link_of};
use bgp::types::Family;
use bgp::wire::NextHop;
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{if_indextoname, if_nametoindex};

/// How old what is known of the addresses of links may be.
const RECENT: Duration = Duration::from_millis(500);

/// Our next hop for routes of a family, on a session that ends at `local` here: `None` if the interface
/// has no address of that family that others can use.
pub(crate) fn next_hop(local: IpAddr, family: Family) -> Option<NextHop> {
    if let (Family::Ipv6Unicast, IpAddr::V6(v6)) = (family, bare(local))
        && link_of(local).is_some()
    {
        let global = beside(local).into_iter().map(|subnet| subnet.addr()).find(is_global_v6);
        return Some(NextHop { addr: global.unwrap_or(v6.into()), link_local: global.map(|_| v6) });
    }
    let fits = |address: &IpAddr| match family {
        Family::Ipv4Unicast => address.is_ipv4(),
        Family::Ipv6Unicast => is_global_v6(address),
    };
    if fits(&local) {
        return Some(local.into());
    }
    beside(local).into_iter().map(|subnet| subnet.addr()).find(fits).map(NextHop::from)
}

/// The address of a socket, with its link if it is of one. An IPv4 address written as IPv6 is an IPv4 address.
pub(crate) fn marked(address: SocketAddr) -> IpAddr {
    match address {
        SocketAddr::V6(v6) => marked_by(address.ip(), v6.scope_id()),
        SocketAddr::V4(v4) => v4.ip().to_owned().into(),
    }
}

/// The same of an address and the index of an interface.
pub(crate) fn marked_by(address: IpAddr, ifindex: u32) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            let name = if_indextoname(ifindex).ok().and_then(|name| name.into_string().ok());
            // What the socket says in place of a tag is none of ours.
            let unmarked = bare(address);
            name.map_or(unmarked, |name| LinkTag::of(&name).mark(v6).into())
        }
        other => other.to_canonical(),
    }
}

/// The address of a socket for people: with the name of its interface, if it is of one.
pub(crate) fn named(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            format!("[{}]:{}", Zoned(marked(address)), address.port())
        }
        other => other.to_string(),
    }
}

/// Where to connect to, which takes the interface of an address of a link.
pub(crate) fn destination(address: IpAddr, port: u16) -> io::Result<SocketAddr> {
    let (Some(link), IpAddr::V6(v6)) = (link_of(address), bare(address)) else {
        return Ok(SocketAddr::new(address, port));
    };
    let missing =
        |name: &str| io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {name}"));
    let name = link.name().unwrap_or_default();
    let index = if_nametoindex(name.as_str()).map_err(|_| missing(&name))?;
    Ok(SocketAddrV6::new(v6, port, 0, index).into())
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

/// The interface by which a neighbour is directly connected to an address of ours.
pub(crate) fn link_to(remote: IpAddr, local: IpAddr) -> Option<String> {
    if let Some(link) = link_of(remote) {
        return Some(link.name().unwrap_or_default());
    }
    let addresses = subnets_of_machine();
    let (interface, _) = addresses.iter().find(|(_, subnet)| subnet.addr() == local)?;
    let near = |(name, subnet): &(String, IpNet)| {
        name == interface && subnet.prefix_len() < subnet.max_prefix_len() && subnet.contains(&remote)
    };
    addresses.iter().any(near).then(|| interface.clone())
}

/// Our link-local addresses on a link, as they were within [`RECENT`]: for who asks again and again, of many links.
pub(crate) fn link_locals(link: LinkTag) -> Vec<Ipv6Addr> {
    struct Known {
        at: Instant,
        subnets: Vec<(String, IpNet)>,
    }
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = match known.take() {
        Some(recent) if recent.at.elapsed() < RECENT => known.insert(recent),
        _ => known.insert(Known { at: Instant::now(), subnets: subnets_of_machine() }),
    };
    let of_link = |(name, subnet): &(String, IpNet)| match subnet.addr() {
        IpAddr::V6(v6) if v6.is_unicast_link_local() && link.is(name) => Some(v6),
        _ => None,
    };
    known.subnets.iter().filter_map(of_link).collect()
}

/// Whether a link-local address on a link is ours.
pub(crate) fn has(link: LinkTag, address: Ipv6Addr) -> bool {
    link_locals(link).contains(&address)
}

/// All addresses of this machine, with their interfaces and prefix lengths.
pub(crate) fn subnets_of_machine() -> Vec<(String, IpNet)> {
    match getifaddrs() {
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
            Vec::new()
        }
    }
}

/// All addresses on the interface that has this one, with their prefix lengths.
fn beside(local: IpAddr) -> Vec<IpNet> {
    let addresses = subnets_of_machine();
    let has = |(name, subnet): &&(String, IpNet)| match link_of(local) {
        Some(link) => link.is(name),
        None => subnet.addr() == local,
    };
    let Some((interface, _)) = addresses.iter().find(has) else {
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
