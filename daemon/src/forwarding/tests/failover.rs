//! Traffic goes to the backup before the RIB has decided anything.

use super::super::{Doubt, FibRow};
use super::*;

const BY_ETH0: &str = "10.0.0.9";
const BY_ETH1: &str = "10.1.0.9";

/// A route by the one neighbour, backed up by the other.
fn guarded() -> Lab {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH0, BY_ETH0, Some(PEER_MAC)));
    lab.net(neighbour(ETH1, BY_ETH1, Some(PEER_MAC)));
    lab.track(BY_ETH0);
    lab.track(BY_ETH1);
    lab.change("192.0.2.0/24", RouteTarget::Via { next_hops: vec![ip(BY_ETH0)], backup: Some(ip(BY_ETH1)) });
    lab
}

fn port(lab: &Lab) -> u32 {
    lab.adjacency("192.0.2.1").ifindex
}

#[test]
fn a_link_that_goes_down_leaves_its_traffic_to_the_backup_and_takes_it_back() {
    let mut lab = guarded();
    assert_eq!(port(&lab), ETH0);
    lab.net(NetEvent::Link(Link { up: false, ..link(ETH0, "eth0") }));
    assert_eq!(port(&lab), ETH1);
    lab.net(NetEvent::Link(link(ETH0, "eth0")));
    assert_eq!(port(&lab), ETH0);
}

#[test]
fn a_neighbour_that_no_longer_answers_is_gone_round_until_it_does() {
    let mut lab = guarded();
    lab.net(neighbour(ETH0, BY_ETH0, None));
    assert_eq!(port(&lab), ETH1);
    let rows = lab.ask(Query::NextHops);
    let suspects: Vec<_> = rows.iter().filter(|row| row.suspect).map(ToString::to_string).collect();
    assert_eq!(suspects, ["10.0.0.9 dev eth0"]);
    lab.net(neighbour(ETH0, BY_ETH0, Some(PEER_MAC)));
    assert_eq!(port(&lab), ETH0);
}

#[test]
fn a_neighbour_that_was_never_there_is_asked_for_first() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH1, BY_ETH1, Some(PEER_MAC)));
    lab.change("192.0.2.0/24", RouteTarget::Via { next_hops: vec![ip(BY_ETH0)], backup: Some(ip(BY_ETH1)) });
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Glean));
}

#[test]
fn each_doubt_is_taken_back_by_whoever_raised_it() {
    let mut lab = guarded();
    let doubt = |lab: &mut Lab, raised| {
        lab.forwarder.doubts.note(Doubt { addr: ip(BY_ETH0), raised });
        lab.forwarder.flush(true);
        port(lab)
    };
    assert_eq!(doubt(&mut lab, true), ETH1);
    assert_eq!(doubt(&mut lab, true), ETH1);
    assert_eq!(doubt(&mut lab, false), ETH1);
    assert_eq!(doubt(&mut lab, false), ETH0);
    // Of one that nobody has there is nothing to take back.
    assert_eq!(doubt(&mut lab, false), ETH0);
    assert_eq!(doubt(&mut lab, true), ETH1);
}

#[test]
fn a_next_hop_behind_a_doubted_gateway_is_doubted_too() {
    let mut lab = guarded();
    let prefix = net("10.9.0.0/16");
    let hops = vec![RouteHop { ifindex: ETH0, gateway: Some(ip(BY_ETH0)) }];
    lab.net(NetEvent::Route { prefix, metric: 5, hops });
    lab.change(
        "198.51.100.0/24",
        RouteTarget::Via { next_hops: vec![ip("10.9.0.1")], backup: Some(ip(BY_ETH1)) },
    );
    assert_eq!(lab.adjacency("198.51.100.1").ifindex, ETH0);
    lab.forwarder.doubts.note(Doubt { addr: ip(BY_ETH0), raised: true });
    lab.forwarder.flush(true);
    assert_eq!(lab.adjacency("198.51.100.1").ifindex, ETH1);
}

#[test]
fn a_doubted_neighbour_is_doubted_by_its_other_addresses_too() {
    const OTHER_MAC: Mac = Mac([2, 0, 0, 0, 9, 9]);
    let mut lab = guarded();
    let (by_eth0, by_eth1) = ("2001:db8::9", "2001:db8:1::9");
    for (ifindex, prefix) in [(ETH0, "2001:db8::/64"), (ETH1, "2001:db8:1::/64")] {
        let hops = vec![RouteHop { ifindex, gateway: None }];
        lab.net(NetEvent::Route { prefix: net(prefix), metric: 0, hops });
    }
    lab.net(neighbour(ETH0, by_eth0, Some(PEER_MAC)));
    lab.net(neighbour(ETH1, by_eth1, Some(OTHER_MAC)));
    let target = RouteTarget::Via { next_hops: vec![ip(by_eth0)], backup: Some(ip(by_eth1)) };
    lab.change("2001:db8:9::/48", target);
    let port = |lab: &Lab| lab.adjacency("2001:db8:9::1").ifindex;
    assert_eq!(port(&lab), ETH0);
    lab.forwarder.doubts.note(Doubt { addr: ip(BY_ETH0), raised: true });
    lab.forwarder.flush(true);
    assert_eq!(port(&lab), ETH1);
    // Also when the kernel has forgotten where it was.
    lab.net(neighbour(ETH0, BY_ETH0, None));
    assert_eq!(port(&lab), ETH1);
    lab.forwarder.doubts.note(Doubt { addr: ip(BY_ETH0), raised: false });
    lab.forwarder.flush(true);
    assert_eq!(port(&lab), ETH0);
    // Another one on the same link is another matter.
    lab.net(neighbour(ETH0, by_eth0, Some(OTHER_MAC)));
    lab.net(neighbour(ETH0, BY_ETH0, Some(PEER_MAC)));
    lab.forwarder.doubts.note(Doubt { addr: ip(BY_ETH0), raised: true });
    lab.forwarder.flush(true);
    assert_eq!(port(&lab), ETH0);
}

#[test]
fn without_room_for_more_sets_a_route_goes_without_backup() {
    let mut lab = Lab::with(FibConfig { sets: 12, ..small_tables() }, &["eth0", "eth1"]);
    let hop = |n: u8| IpAddr::from([10, 0, 0, 100 + n]);
    for n in 0..20 {
        let target = RouteTarget::Via { next_hops: vec![hop(0)], backup: Some(hop(1 + n)) };
        lab.change(&format!("192.0.{n}.0/24"), target);
    }
    for n in 0..20 {
        assert_eq!(lab.kind(&format!("192.0.{n}.1")), Some(NextHopKind::Glean), "{n}");
    }
    let rows = lab.ask(|reply| Query::Routes(RouteFilter::Exact(net("192.0.0.0/24")), reply));
    let words = |row: &FibRow| row.backup.as_ref().map(ToString::to_string);
    assert_eq!(rows.iter().map(words).collect::<Vec<_>>(), [Some("10.0.0.101 dev eth0".to_owned())]);
}
