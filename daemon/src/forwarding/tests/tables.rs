//! Tables that move from the LPM trie to a direct table.

use std::time::Instant;

use fib::{DIRECT_FROM, EngineChoice, EngineKind};

use super::*;

fn large_tables() -> FibConfig {
    FibConfig { capacity_v4: 100_000, ..small_tables() }
}

/// Routes to so many /24, in one batch.
fn grow(lab: &mut Lab, routes: usize) {
    let target = || RouteTarget::Via { next_hops: vec![ip("10.0.0.9")], backup: None };
    let prefix = |i: usize| IpNet::new(IpAddr::V4(((20 << 24) + ((i as u32) << 8)).into()), 24).unwrap();
    let changes = (0..routes).map(|i| RouteChange { prefix: prefix(i), target: target() }).collect();
    lab.forwarder.routes(changes, Vec::new());
    lab.forwarder.flush(true);
}

#[test]
fn a_table_that_grows_large_moves_before_the_trie_gets_the_batch() {
    let mut lab = Lab::with(large_tables(), &["eth0", "eth1"]);
    grow(&mut lab, 100);
    assert_eq!(lab.paper.maps().opened, []);
    let entries = lab.paper.maps().routes.len();
    grow(&mut lab, DIRECT_FROM + 100);
    let stats = lab.forwarder.fib.stats();
    assert_eq!((stats.ipv4.engine, stats.ipv6.engine), (EngineKind::Direct, EngineKind::LpmTrie));
    {
        let maps = lab.paper.maps();
        assert_eq!((&*maps.opened, &*maps.served), (&[Family::Ipv4][..], &[Family::Ipv4][..]));
        assert!(maps.routes.len() <= entries, "no more entries in the trie");
        assert!(maps.filled > DIRECT_FROM);
    }
    assert!(lab.forwarder.wake_at().is_some(), "to empty the trie");
    lab.forwarder.flush(true);
    assert!(!lab.paper.maps().routes.keys().any(|prefix| matches!(prefix, IpNet::V4(_))));
    grow(&mut lab, DIRECT_FROM + 200);
    assert_eq!(lab.paper.maps().served.len(), 1, "once");
}

#[test]
fn a_table_stays_in_the_trie_when_it_is_told_to_or_there_is_no_memory() {
    for refused in [false, true] {
        let engine = if refused { EngineChoice::Auto } else { EngineChoice::LpmTrie };
        let mut lab = Lab::with(FibConfig { engine, ..large_tables() }, &["eth0", "eth1"]);
        lab.paper.maps().refuse_direct = refused;
        grow(&mut lab, DIRECT_FROM + 100);
        assert_eq!(lab.forwarder.fib.stats().ipv4.engine, EngineKind::LpmTrie);
        assert_eq!(lab.kind("20.0.0.1"), Some(NextHopKind::Glean));
        assert_eq!(lab.paper.maps().filled, 0);
        assert_eq!(lab.forwarder.wake_at().is_some(), refused, "to try again, though nothing comes in");
    }
}

#[test]
fn the_trie_is_kept_until_the_program_has_been_told_to_leave_it() {
    let mut lab = Lab::with(large_tables(), &["eth0", "eth1"]);
    grow(&mut lab, 100);
    let entries = lab.paper.maps().routes.len();
    lab.paper.maps().refuse_serve = true;
    grow(&mut lab, DIRECT_FROM + 100);
    lab.forwarder.flush(true);
    assert_eq!(lab.paper.maps().served, []);
    assert_eq!(lab.paper.maps().routes.len(), entries, "packets still use them");
    lab.paper.maps().refuse_serve = false;
    for _ in 0..2 {
        lab.forwarder.flush(true);
    }
    assert_eq!(lab.paper.maps().served, [Family::Ipv4]);
    assert!(!lab.paper.maps().routes.keys().any(|prefix| matches!(prefix, IpNet::V4(_))));
}

#[test]
fn a_direct_table_is_in_use_from_the_start_if_it_is_asked_for() {
    let lab = Lab::with(FibConfig { engine: EngineChoice::Direct, ..small_tables() }, &["eth0", "eth1"]);
    assert_eq!(lab.paper.maps().served, Family::ALL);
    assert!(lab.paper.maps().routes.is_empty() && lab.paper.maps().filled > 0);
}

/// Routes to so many /32, each in a /24 of its own, in one batch.
fn grow_long(lab: &mut Lab, routes: usize, next_hop: &str) {
    let target = || RouteTarget::Via { next_hops: vec![ip(next_hop)], backup: None };
    let prefix = |i: usize| IpNet::new(IpAddr::V4(((1 << 24) + ((i as u32) << 8) + 7).into()), 32).unwrap();
    let changes = (0..routes).map(|i| RouteChange { prefix: prefix(i), target: target() }).collect();
    lab.forwarder.routes(changes, Vec::new());
    lab.forwarder.flush(true);
}

#[test]
fn whatever_neighbours_announce_the_routers_own_routes_stay() {
    let nodes = 64;
    for engine in [EngineChoice::Auto, EngineChoice::Direct] {
        let tables = FibConfig { engine, nodes_v4: [nodes; 2], ..large_tables() };
        let mut lab = Lab::with(tables, &["eth0", "eth1"]);
        let own: Vec<IpNet> = lab.forwarder.own.keys().copied().filter(|net| net.addr().is_ipv4()).collect();
        assert!(own.iter().any(|net| net.prefix_len() > 24), "{own:?}");
        grow_long(&mut lab, DIRECT_FROM + 100, "10.0.0.9");
        let stats = lab.forwarder.fib.stats().ipv4;
        assert_eq!(stats.engine, EngineKind::Direct);
        assert!(stats.full > DIRECT_FROM / 2, "most find no node");
        for prefix in own {
            let route = lab.forwarder.fib.route(prefix).unwrap();
            assert!(route.status.is_installed(), "{prefix} {engine:?}");
        }
        // Nor does one that comes later.
        lab.net(connected("100.64.0.0/30", ETH0));
        lab.forwarder.flush(true);
        let late = lab.forwarder.fib.route(net("100.64.0.0/30")).unwrap();
        assert!(late.status.is_installed(), "{engine:?}");
    }
}

#[test]
fn a_batch_is_done_when_it_is_in_the_tables_and_what_does_not_fit_has_been_told() {
    let tables = FibConfig { engine: EngineChoice::Direct, nodes_v4: [64; 2], ..large_tables() };
    let mut lab = Lab::with(tables, &["eth0", "eth1"]);
    lab.heard.routes();
    let batch = BatchId { shard: 1, generation: bgp::rib::Generation::default() };
    lab.forwarder.batch(batch);
    assert!(lab.heard.batches.lock().unwrap().is_empty());
    grow_long(&mut lab, 200, "10.0.0.9");
    let left_out = lab.forwarder.fib.stats().ipv4.full;
    assert!(left_out > 100);
    assert_eq!(*lab.heard.batches.lock().unwrap(), [(batch, left_out)]);
    lab.forwarder.flush(true);
    assert_eq!(lab.heard.batches.lock().unwrap().len(), 1, "once");
}

#[test]
fn a_route_that_still_finds_no_room_is_told_again_when_its_path_changes() {
    let tables = FibConfig { engine: EngineChoice::Direct, nodes_v4: [64; 2], ..large_tables() };
    let mut lab = Lab::with(tables, &["eth0", "eth1"]);
    grow_long(&mut lab, 200, "10.0.0.9");
    let left_out = lab.forwarder.fib.stats().ipv4.full;
    assert!(left_out > 100);
    lab.heard.routes();
    grow_long(&mut lab, 200, "10.0.0.8");
    let told = lab.heard.routes();
    assert_eq!(told.iter().filter(|(_, installed)| !installed).count(), left_out);
}

#[test]
fn a_table_that_is_emptied_or_changed_has_not_grown() {
    let mut lab = Lab::with(large_tables(), &["eth0", "eth1"]);
    grow(&mut lab, DIRECT_FROM * 2 / 3);
    grow_long(&mut lab, 1, "10.0.0.9");
    grow(&mut lab, DIRECT_FROM * 2 / 3);
    let withdraw = (0..DIRECT_FROM * 2 / 3).map(|i| RouteChange {
        prefix: IpNet::new(IpAddr::V4(((20 << 24) + ((i as u32) << 8)).into()), 24).unwrap(),
        target: RouteTarget::Withdrawn,
    });
    lab.forwarder.routes(withdraw.collect(), Vec::new());
    lab.forwarder.flush(true);
    assert_eq!(lab.forwarder.fib.stats().ipv4.engine, EngineKind::LpmTrie);
}

#[test]
fn a_direct_table_grows_before_a_route_is_left_out() {
    let tables = FibConfig { engine: EngineChoice::Direct, nodes_v4: [64, 4096], ..large_tables() };
    let mut lab = Lab::with(tables, &["eth0", "eth1"]);
    grow_long(&mut lab, 20, "10.0.0.9");
    assert_eq!(lab.paper.maps().grown, [], "there is room");
    grow_long(&mut lab, 500, "10.0.0.9");
    let stats = lab.forwarder.fib.stats().ipv4;
    assert_eq!((stats.full, stats.capacity), (0, 4096));
    assert_eq!(lab.paper.maps().grown, [Family::Ipv4]);
    assert_eq!(lab.paper.maps().served, [Family::Ipv4, Family::Ipv6, Family::Ipv4]);
    assert_eq!(lab.heard.routes(), []);
    grow_long(&mut lab, 5000, "10.0.0.9");
    assert!(lab.forwarder.fib.stats().ipv4.full > 0, "there is no third size");
    assert_eq!(lab.paper.maps().grown, [Family::Ipv4]);
}

#[test]
fn a_direct_table_that_gets_no_memory_leaves_routes_out_until_it_does() {
    let tables = FibConfig { engine: EngineChoice::Direct, nodes_v4: [64, 4096], ..large_tables() };
    let mut lab = Lab::with(tables, &["eth0", "eth1"]);
    lab.paper.maps().refuse_larger = true;
    grow_long(&mut lab, 200, "10.0.0.9");
    let left_out = lab.forwarder.fib.stats().ipv4.full;
    assert!(left_out > 100);
    assert!(lab.forwarder.wake_at().is_some(), "to ask again, though nothing comes in");
    lab.forwarder.flush(true);
    assert_eq!(lab.paper.maps().larger_refused, 1, "not asked again at once");
    lab.heard.routes();

    lab.paper.maps().refuse_larger = false;
    lab.forwarder.refusals[Family::Ipv4 as usize].until = Some(Instant::now());
    lab.forwarder.flush(true);
    assert_eq!(lab.forwarder.fib.stats().ipv4.full, 0);
    let told = lab.heard.routes();
    assert_eq!(told.iter().filter(|(_, installed)| *installed).count(), left_out);
}

#[test]
fn the_smaller_table_is_looked_up_in_until_the_program_has_been_told_of_the_larger_one() {
    let tables = FibConfig { engine: EngineChoice::Direct, nodes_v4: [64, 4096], ..large_tables() };
    let mut lab = Lab::with(tables, &["eth0", "eth1"]);
    lab.paper.maps().served.clear();
    lab.paper.maps().refuse_serve = true;
    grow_long(&mut lab, 200, "10.0.0.9");
    assert_eq!(lab.paper.maps().grown, [Family::Ipv4]);
    assert!(lab.forwarder.wake_at().is_some(), "to tell it again");
    lab.paper.maps().refuse_serve = false;
    lab.forwarder.flush(true);
    assert_eq!(lab.paper.maps().served, [Family::Ipv4]);
}
