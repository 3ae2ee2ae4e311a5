//! What should be in place, worked out from what the kernel reports. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::is_global;
use super::rules::{Family, Rule};
use crate::netlink::Mirror;

/// The least MTU that IPv6 works with (RFC 8200 section 5).
const MIN_MTU: u32 = 1280;
const DEFAULT_MTU: u32 = 1500;

/// The host's way out as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Routed ports that exist now, with their interface index: one that came back is another one.
    pub(super) ports: Vec<(String, u32)>,
    /// Devices whose VLAN tags must not be stripped before XDP sees them.
    pub(super) tagged: BTreeSet<u32>,
    pub(super) rules: BTreeSet<Rule>,
    /// Source of traffic that is not bound to an address.
    pub(super) source_v4: Option<Ipv4Addr>,
    pub(super) source_v6: Option<Ipv6Addr>,
    /// Smallest MTU of the ports, so that the kernel's packets fit whichever way they leave.
    pub(super) mtu: u32,
    pub(super) ipv6: bool,
}

impl Plan {
    /// The plan for these routed ports (names, whether they exist or not).
    pub fn new(mirror: &Mirror, ports: &[String], router_id: Ipv4Addr, ipv6: bool) -> Self {
        let present: Vec<_> = ports.iter().filter_map(|name| mirror.link_named(name)).collect();
        let mtu = present.iter().map(|link| link.mtu).min().unwrap_or(DEFAULT_MTU).max(MIN_MTU);
        // Addresses by port in the order of the configuration, then those of loopback interfaces.
        // Those of other interfaces are the operator's: their traffic stays with the main table.
        let on_port = |ifindex: u32| present.iter().position(|link| link.ifindex == ifindex);
        let mut own: Vec<(usize, IpAddr)> = mirror
            .addresses()
            .filter(|(_, net)| is_global(net.addr()))
            .filter_map(|(ifindex, net)| {
                let loopback = mirror.link(ifindex).is_some_and(|link| link.loopback);
                let place = on_port(ifindex).or(loopback.then_some(usize::MAX))?;
                Some((place, net.addr()))
            })
            .collect();
        own.sort_by_key(|(place, _)| *place);

        let mut rules = BTreeSet::new();
        for family in Family::ALL.into_iter().filter(|family| ipv6 || *family == Family::V4) {
            rules.insert(Rule::last(family));
            for port in ports {
                rules.extend(Rule::for_port(family, port));
            }
        }
        for &(_, address) in own.iter().filter(|(_, ip)| ipv6 || ip.is_ipv4()) {
            rules.extend(Rule::for_address(address));
        }

        let router_id = own.iter().map(|(_, ip)| *ip).find(|ip| *ip == IpAddr::V4(router_id));
        let first = |v4: bool| own.iter().map(|(_, ip)| *ip).find(|ip| ip.is_ipv4() == v4);
        Self {
            ports: present.iter().map(|link| (link.name.clone(), link.ifindex)).collect(),
            tagged: present.iter().filter_map(|link| Some(link.vlan?.parent)).collect(),
            rules,
            source_v4: router_id.or_else(|| first(true)).and_then(|ip| match ip {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            }),
            source_v6: first(false).filter(|_| ipv6).and_then(|ip| match ip {
                IpAddr::V6(v6) => Some(v6),
                IpAddr::V4(_) => None,
            }),
            mtu,
            ipv6,
        }
    }
}
