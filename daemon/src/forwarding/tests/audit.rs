//! Drift: found, counted, remembered, repaired.

use std::time::{Duration, Instant};

use fib_abi::NextHopWord;

use super::super::AuditedMap;
use super::*;

/// Goes through all maps once.
fn pass(lab: &mut Lab) {
    let passes = lab.forwarder.audit.stats.passes;
    while lab.forwarder.audit.stats.passes == passes {
        // So short that all of it is due at once.
        lab.forwarder.audit_every(Some(Duration::from_nanos(1)));
        lab.forwarder.flush(true);
    }
}

#[test]
fn what_somebody_else_wrote_into_the_maps_is_found_and_written_anew() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH0, "10.0.0.9", Some(PEER_MAC)));
    lab.track("10.0.0.9");
    for route in 0..30 {
        lab.route(&format!("192.0.{route}.0/25"), &["10.0.0.9"]);
    }
    lab.forwarder.flush(true);
    pass(&mut lab);
    assert_eq!(lab.forwarder.audit.stats.drift, [0; 6]);
    assert!(lab.forwarder.audit.stats.compared > 30);
    let before = lab.paper.maps().look_up("192.0.7.1");
    {
        let mut maps = lab.paper.maps();
        maps.routes.remove(&net("192.0.7.0/25"));
        *maps.routes.get_mut(&net("192.0.8.0/25")).unwrap() = 31;
        maps.routes.insert(net("203.0.113.0/24"), 1);
        let (set, hop) = (*maps.routes.get(&net("192.0.9.0/25")).unwrap(), PEER_MAC);
        let slot = maps.sets[&set].base;
        maps.sets.get_mut(&set).unwrap().slots = 0;
        let next_hop = maps.members.insert(slot, 30).unwrap();
        let adjacency = maps.next_hops.insert(next_hop, NextHopWord::default()).unwrap().adjacency;
        let adjacency = maps.adjacencies.get_mut(&adjacency).unwrap();
        assert_eq!(Mac(adjacency.dst_mac), hop);
        adjacency.dst_mac = [9; 6];
    }
    pass(&mut lab);
    let stats = lab.forwarder.audit.stats.clone();
    let of = |map: AuditedMap| stats.drift[map as usize];
    let counts = AuditedMap::ALL.map(of);
    assert_eq!(counts, [3, 0, 1, 1, 1, 1], "{:?}", stats.recent);
    assert_eq!(stats.repairs, stats.drift);
    let places: Vec<&str> = stats.recent.iter().map(|drift| drift.place.as_str()).collect();
    for place in ["192.0.7.0/25", "192.0.8.0/25", "203.0.113.0/24"] {
        assert!(places.contains(&place), "{place} in {places:?}");
    }
    assert_eq!(lab.paper.maps().look_up("192.0.7.1"), before);
    assert_eq!(lab.kind("203.0.113.1"), None);
    pass(&mut lab);
    assert_eq!(lab.forwarder.audit.stats.drift, stats.drift, "all is well again");
}

#[test]
fn what_cannot_be_repaired_is_found_again_and_what_is_known_to_have_failed_is_no_drift() {
    let mut lab = Lab::new();
    lab.track("10.0.0.9");
    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    lab.paper.maps().refuse.insert(net("192.0.2.0/24"));
    lab.paper.maps().refuse.insert(net("198.51.100.0/24"));
    lab.route("198.51.100.0/24", &["10.0.0.9"]);
    pass(&mut lab);
    assert_eq!(lab.forwarder.audit.stats.drift, [0; 6]);
    lab.paper.maps().routes.remove(&net("192.0.2.0/24"));
    pass(&mut lab);
    let stats = lab.forwarder.audit.stats.clone();
    assert_eq!((stats.drift[0], stats.repairs[0]), (1, 0));
    lab.paper.maps().refuse.clear();
    pass(&mut lab);
    assert_eq!((lab.forwarder.audit.stats.drift[0], lab.forwarder.audit.stats.repairs[0]), (2, 1));
}

#[test]
fn an_audit_is_spread_over_its_time() {
    let mut lab = Lab::new();
    lab.forwarder.audit_every(Some(Duration::from_mins(1)));
    lab.forwarder.flush(true);
    let due = lab.forwarder.wake_at().unwrap();
    assert!(due > Instant::now() + Duration::from_secs(1), "a few slices in a minute");
    lab.forwarder.audit_every(None);
    assert_eq!(lab.forwarder.wake_at(), None);
}
