//! rtnetlink messages to [`Change`]s: what the message says, before the mirror decides whether it is news.
//!
//! Messages that do not concern us (other tables, other families, bridge entries) parse to `None`.
//! A message from the kernel that lacks what it must have is ignored the same way: the next dump
//! shows what is true.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia,
};

use super::{Link, Mac, Neighbour, RouteHop, VlanLink};

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Link(Link),
    LinkGone(u32),
    Address { ifindex: u32, net: IpNet, added: bool },
    Neighbour(Neighbour),
    NeighbourGone { ifindex: u32, ip: IpAddr },
    Route(Route),
    RouteGone(Route),
}

/// A route as one message describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) prefix: IpNet,
    pub(super) metric: u32,
    pub(super) hops: Vec<RouteHop>,
    /// The kernel put it beside or in place of one with the same prefix and metric: whether the message
    /// tells the whole outcome differs between families and versions.
    pub(super) merged: bool,
}

/// `flags` are those of the netlink header.
pub(super) fn change(message: &RouteNetlinkMessage, flags: u16) -> Option<Change> {
    Some(match message {
        RouteNetlinkMessage::NewLink(m) => Change::Link(link(m)?),
        RouteNetlinkMessage::DelLink(m) if is_unspec(m) => Change::LinkGone(m.header.index),
        RouteNetlinkMessage::NewAddress(m) => address(m, true)?,
        RouteNetlinkMessage::DelAddress(m) => address(m, false)?,
        RouteNetlinkMessage::NewNeighbour(m) => Change::Neighbour(neighbour(m)?),
        RouteNetlinkMessage::DelNeighbour(m) => {
            let n = neighbour(m)?;
            Change::NeighbourGone { ifindex: n.ifindex, ip: n.ip }
        }
        RouteNetlinkMessage::NewRoute(m) => Change::Route(route(m, flags)?),
        RouteNetlinkMessage::DelRoute(m) => Change::RouteGone(route(m, flags)?),
        _ => return None,
    })
}

/// Bridges report their ports as links of family `AF_BRIDGE`, also when a port merely leaves the bridge.
fn is_unspec(m: &LinkMessage) -> bool {
    m.header.interface_family == AddressFamily::Unspec
}

fn link(m: &LinkMessage) -> Option<Link> {
    if !is_unspec(m) {
        return None;
    }
    let flags = m.header.flags;
    let mut link = Link {
        ifindex: m.header.index,
        name: String::new(),
        mac: Mac::default(),
        mtu: 0,
        enabled: flags.contains(LinkFlags::Up),
        up: flags.contains(LinkFlags::Up | LinkFlags::Running),
        loopback: flags.contains(LinkFlags::Loopback),
        vlan: None,
    };
    let (mut parent, mut vid) = (None, None);
    for attribute in &m.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = mac(bytes).unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(below) => parent = Some(*below),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Dummy) => link.loopback = true,
                        LinkInfo::Data(InfoData::Vlan(data)) => {
                            vid = data.iter().find_map(|d| match d {
                                InfoVlan::Id(id) => Some(*id),
                                _ => None,
                            });
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link.vlan = parent.zip(vid).map(|(parent, vid)| VlanLink { parent, vid });
    (!link.name.is_empty()).then_some(link)
}

fn address(m: &AddressMessage, added: bool) -> Option<Change> {
    let (mut local, mut peer) = (None, None);
    for attribute in &m.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the other end, which is not ours.
    let net = IpNet::new(local.or(peer)?, m.header.prefix_len).ok()?;
    Some(Change::Address { ifindex: m.header.index, net, added })
}

fn neighbour(m: &NeighbourMessage) -> Option<Neighbour> {
    if !matches!(m.header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return None;
    }
    let (mut ip, mut lladdr, mut managed) = (None, None, false);
    for attribute in &m.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => lladdr = mac(bytes),
            NeighbourAttribute::ExtFlags(flags) => managed = flags.contains(NeighbourExtFlags::Managed),
            _ => {}
        }
    }
    let ip = ip.filter(|ip| !ip.is_multicast())?;
    let resolved = match m.header.state {
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Permanent => true,
        // NOARP entries are multicast, broadcast and the like, or those of interfaces without ARP.
        _ => false,
    };
    let usable = resolved && lladdr.is_some();
    Some(Neighbour {
        ifindex: m.header.ifindex,
        ip,
        mac: lladdr.filter(|_| usable),
        usable,
        permanent: m.header.state == NeighbourState::Permanent,
        managed,
    })
}

fn route(m: &RouteMessage, flags: u16) -> Option<Route> {
    // Routes for one type of service are not for next hops.
    if m.header.kind != RouteType::Unicast || m.header.tos != 0 {
        return None;
    }
    let mut table = u32::from(m.header.table);
    let (mut destination, mut metric, mut hops) = (None, 0, Vec::new());
    let (mut oif, mut gateway) = (None, None);
    for attribute in &m.attributes {
        match attribute {
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Destination(to) => destination = ip_of(to),
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(index) => oif = Some(*index),
            RouteAttribute::MultiPath(next_hops) => {
                hops.extend(next_hops.iter().map(|hop| RouteHop {
                    ifindex: hop.interface_index,
                    gateway: hop.attributes.iter().find_map(gateway_of),
                }));
            }
            other => gateway = gateway.or(gateway_of(other)),
        }
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    if let Some(ifindex) = oif.filter(|_| hops.is_empty()) {
        hops.push(RouteHop { ifindex, gateway });
    }
    let length = m.header.destination_prefix_length;
    // A default route names no destination.
    let destination = destination.or(match m.header.address_family {
        AddressFamily::Inet if length == 0 => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 if length == 0 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    });
    let prefix = IpNet::new(destination?, length).ok()?.trunc();
    if hops.is_empty() || is_link_local(prefix.addr()) || prefix.addr().is_multicast() {
        return None;
    }
    Some(Route { prefix, metric, hops, merged: flags & (NLM_F_APPEND | NLM_F_REPLACE) != 0 })
}

fn gateway_of(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip_of(address),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

/// Link-local scope: meaningful on one link only, never routed.
pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
