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
fn a_route_without_room_is_listed_and_keeps_none_waiting_that_needs_none() {
    let mut lab = Lab::new();
    let sets = small_tables().sets;
    for index in 0..2 * sets {
        lab.route(&format!("192.0.{index}.0/24"), &[&format!("10.0.0.{}", index + 1)]);
    }
    lab.route("2001:db8::/32", &["10.0.0.250"]);
    let list = |lab: &Lab, family| {
        let (reply, mut answer) = oneshot::channel();
        lab.forwarder.answer(Query::Routes(RouteFilter::After(family, None), reply));
        answer.try_recv().unwrap()
    };
    let rows = list(&lab, Family::Ipv4);
    let bgp: Vec<_> = rows.iter().filter(|row| row.source == RouteSource::Bgp).collect();
    assert_eq!(bgp.len(), usize::try_from(2 * sets).unwrap());
    assert!(rows.is_sorted_by_key(|row| row.prefix));
    let left_out = bgp.iter().filter(|row| !row.installed).count();
    assert!(left_out > 5, "{left_out}");
    assert_eq!(lab.forwarder.refused.counts(), [left_out, 1]);
    assert_eq!(list(&lab, Family::Ipv6).iter().filter(|row| !row.installed).count(), 1);

    // A later one comes to share the next hop of a route that is installed: it does not need what the first
    // one waits for.
    let latest = net(&format!("192.0.{}.0/24", 2 * sets - 1));
    lab.forwarder.refused.insert(latest, RouteTarget::Via { next_hops: vec![ip("10.0.0.1")], backup: None });
    for _ in 0..2 {
        lab.forwarder.retry_refused();
    }
    lab.forwarder.flush(false);
    assert!(lab.paper.maps().routes.contains_key(&latest));
    assert_eq!(lab.forwarder.refused.counts(), [left_out - 1, 1]);
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
        keep: false,
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
