//! Who the peers of the model are, and the policies between which they switch.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp::policy::{
    Disposition, Match, Modify, Policy, PolicyChain, PolicyNeighbor, PrefixList, PrefixListEntry, Statement,
};
use bgp::rib::out::{ExportRules, GroupConfig};
use bgp::rib::{Ineligible, Reflection};
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, RouterId};
use bgp::wire::{Attributes, EncodeContext};
use ipnet::IpNet;

pub(crate) const OURS: Asn = Asn(65_000);
pub(crate) const ENCODE: EncodeContext =
    EncodeContext { as4: true, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };
pub(crate) const PEERS: u16 = 10;
/// The router's id, which is its cluster too, and the cluster of one of its clients.
pub(crate) const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
pub(crate) const CLUSTER: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

pub(crate) fn kind(peer: u16) -> PeerKind {
    if peer <= 4 || is_client(peer) { PeerKind::Ebgp } else { PeerKind::Ibgp }
}

/// Whether we are a route server for the peer.
pub(crate) fn is_client(peer: u16) -> bool {
    peer >= 9
}

/// Two external peers of one AS, four of others, four internal ones.
pub(crate) fn asn(peer: u16) -> Asn {
    match peer {
        1 | 2 => Asn(65_001),
        3 | 4 | 9 | 10 => Asn(65_000 + u32::from(peer)),
        _ => OURS,
    }
}

pub(crate) fn prefix(index: usize) -> IpNet {
    const PREFIXES: [&str; 12] = [
        "10.0.0.0/8",
        "10.0.0.0/9",
        "10.0.0.0/24",
        "10.1.0.0/24",
        "10.2.0.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "0.0.0.0/0",
        "2001:db8::/32",
        "2001:db8::/48",
        "2001:db9:1::/48",
        "::/0",
    ];
    PREFIXES[index % PREFIXES.len()].parse().unwrap()
}

pub(crate) fn next_hop(index: u8, family: Family) -> IpAddr {
    match family {
        Family::Ipv4Unicast => Ipv4Addr::new(192, 0, 2, 100 + index).into(),
        Family::Ipv6Unicast => format!("2001:db8:ffff::{index}").parse().unwrap(),
    }
}

/// The import policies that peers switch between.
pub(crate) fn import(index: u8) -> PolicyChain {
    let policy = |statements, default| {
        PolicyChain::new([Arc::new(Policy { name: "test".into(), statements, default })])
    };
    let statement =
        |matches, actions, disposition| Statement { matches, actions, disposition, ..Statement::default() };
    let list = |text: &str| {
        let entry = PrefixListEntry::new(text.parse().unwrap(), None, Some(24)).unwrap();
        Arc::new(PrefixList::new("list", vec![entry]))
    };
    match index {
        0 => PolicyChain::all(),
        1 => policy(vec![statement(vec![], vec![Modify::LocalPref(150)], None)], Disposition::Accept),
        2 => policy(
            vec![statement(
                vec![Match::Prefix(vec![list("10.0.0.0/8")])],
                vec![Modify::LocalPref(90)],
                Some(Disposition::Accept),
            )],
            Disposition::Reject,
        ),
        3 => PolicyChain::none(),
        _ => PolicyChain::default(),
    }
}

/// What that policy does, said again without it.
pub(crate) fn imported(
    index: u8,
    kind: PeerKind,
    prefix: IpNet,
    attributes: &Attributes,
) -> Result<Attributes, Ineligible> {
    let with = |preference| Attributes { local_pref: Some(preference), ..attributes.clone() };
    let ten: IpNet = "10.0.0.0/8".parse().unwrap();
    match index {
        0 => Ok(attributes.clone()),
        1 => Ok(with(150)),
        2 if ten.contains(&prefix) && prefix.prefix_len() <= 24 => Ok(with(90)),
        2 | 3 => Err(Ineligible::RejectedByPolicy),
        _ if kind == PeerKind::Ebgp => Err(Ineligible::NoPolicy),
        _ => Ok(attributes.clone()),
    }
}

/// The export policy that a peer starts with, one of those of [`import`].
pub(crate) fn first_export(peer: u16) -> u8 {
    if matches!(peer, 3 | 10) { 2 } else { 0 }
}

/// Of the internal peers 6 and 7 are clients, each in a cluster of its own.
pub(crate) fn cluster(peer: u16) -> Option<Ipv4Addr> {
    match peer {
        6 => Some(ROUTER_ID),
        7 => Some(CLUSTER),
        _ => None,
    }
}

pub(crate) fn reflection(peer: u16) -> Reflection {
    cluster(peer).map(Reflection::client).unwrap_or_default()
}

pub(crate) fn address(peer: u16) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 50 - peer as u8).into()
}

pub(crate) fn router_id(peer: u16) -> RouterId {
    // Peers 3 and 4 share a router id, so that their address has to decide.
    RouterId(Ipv4Addr::new(10, 0, 1, (peer / 3) as u8))
}

/// Peers 1 and 2 share a group at first, 5 and 8 too; 3 has a policy of its own and 4 gets IPv4 only.
pub(crate) fn group(peer: u16, export_index: u8) -> GroupConfig {
    let export = import(export_index);
    let families = if peer == 4 { Family::Ipv4Unicast.into() } else { FamilySet::ALL };
    let own = |family| Some(own_next_hop(family).into());
    GroupConfig {
        export,
        kind: kind(peer),
        local_asn: OURS,
        neighbor: is_client(peer).then(|| PolicyNeighbor { address: address(peer), asn: asn(peer) }),
        next_hops: [own(Family::Ipv4Unicast), own(Family::Ipv6Unicast)],
        next_hop_self: false,
        behind_local_asn: None,
        reflection: reflection(peer),
        route_server: is_client(peer),
        families,
        long_lived: peer <= 2,
        limits: Default::default(),
        encode: ENCODE,
        rules: ExportRules::default(),
        most_paths: usize::MAX,
    }
}

pub(crate) fn own_next_hop(family: Family) -> IpAddr {
    next_hop(99, family)
}
