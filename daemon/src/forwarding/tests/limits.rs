//! What is bounded, what a neighbour cannot use up, and what it may have dropped.

use super::*;

#[test]
fn next_hops_that_cannot_be_reached_leave_room_for_those_that_can() {
    let mut lab = Lab::new();
    let slots = small_tables().next_hops;
    for index in 0..2 * slots {
        lab.forwarder.track(Ipv4Addr::from_bits(0xcb00_7100 + index).into(), true);
    }
    lab.forwarder.flush(true);
    lab.track("10.0.0.9");
    assert_eq!(lab.heard.next_hops().last(), Some(&(ip("10.0.0.9"), true)));
    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Glean));
}

#[test]
fn every_port_and_the_device_below_it_fit_into_the_port_maps() {
    let config = ForwardingConfig {
        interfaces: vec!["eth0.1".to_owned(), "eth1.1".to_owned()],
        mode: XdpMode::Auto,
        router_id: Ipv4Addr::new(10, 99, 0, 1),
        tables: small_tables(),
        next_hop_via_default: false,
        hash_seed: 0,
        audit_interval: None,
    };
    assert_eq!(config.plane().ports, 5);
}

#[test]
fn a_blackhole_is_a_drop_of_its_own_and_comes_back_when_the_kernels_route_goes() {
    let mut lab = Lab::new();
    lab.net(NetEvent::Route { prefix: net("10.0.0.0/24"), metric: 0, hops: Vec::new() });
    lab.change("10.0.0.0/24", RouteTarget::Blackhole);
    assert_eq!(lab.kind("10.0.0.77"), Some(NextHopKind::Blackhole));
    lab.net(connected("10.0.0.0/24", ETH0));
    assert_eq!(lab.kind("10.0.0.77"), Some(NextHopKind::Glean), "connected");
    lab.net(NetEvent::Route { prefix: net("10.0.0.0/24"), metric: 0, hops: Vec::new() });
    assert_eq!(lab.kind("10.0.0.77"), Some(NextHopKind::Blackhole), "it was put aside");
}
