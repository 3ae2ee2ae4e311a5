//! Next hops that kernel routes and BGP routes resolve.

use std::time::{Duration, Instant};

use super::super::query::NextHopRow;
use super::super::resolve::Resolver;
use super::super::topology::{Reason, Way};
use super::*;

impl Heard {
    /// At what cost next hops can be reached, if they can.
    pub(super) fn costs(&self) -> Vec<Cost> {
        std::mem::take(&mut self.next_hops.lock().unwrap())
    }
}

impl Lab {
    fn kernel(&mut self, prefix: &str, metric: u32, ifindex: u32, gateway: Option<&str>) {
        let hops = vec![RouteHop { ifindex, gateway: gateway.map(ip) }];
        self.net(NetEvent::Route { prefix: net(prefix), metric, hops });
    }

    fn no_kernel(&mut self, prefix: &str) {
        self.net(NetEvent::Route { prefix: net(prefix), metric: 0, hops: Vec::new() });
    }

    fn next_hop_row(&self, addr: &str) -> NextHopRow {
        let (reply, mut answer) = oneshot::channel();
        self.forwarder.answer(Query::NextHops(reply));
        let rows = answer.try_recv().unwrap();
        let key = fib::NextHopKey::Via { addr: ip(addr), ifindex: 0 };
        rows.into_iter().find(|row| row.key == key).unwrap()
    }

    fn by(&self, addr: &str) -> Option<Resolver> {
        self.next_hop_row(addr).resolved.unwrap().by
    }
}

#[test]
fn the_cost_is_the_metric_of_the_kernels_route_and_nothing_on_a_connected_subnet() {
    let mut lab = Lab::new();
    lab.track("10.0.0.9");
    lab.track("10.255.0.1");
    assert_eq!(lab.heard.costs(), [(ip("10.0.0.9"), Some(0)), (ip("10.255.0.1"), None)]);
    lab.kernel("10.255.0.0/16", 20, ETH1, Some("10.1.0.2"));
    assert_eq!(lab.heard.costs(), [(ip("10.255.0.1"), Some(20))]);
    assert_eq!(lab.by("10.255.0.1"), Some(Resolver::Kernel(net("10.255.0.0/16"))));
    lab.kernel("10.255.0.0/16", 30, ETH1, Some("10.1.0.2"));
    assert_eq!(lab.heard.costs(), [(ip("10.255.0.1"), Some(30))]);
    lab.no_kernel("10.255.0.0/16");
    assert_eq!(lab.heard.costs(), [(ip("10.255.0.1"), None)]);
}

#[test]
fn a_bgp_route_resolves_next_hops_as_long_as_it_is_there() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH0, "10.0.0.9", Some(PEER_MAC)));
    lab.track("192.0.2.1");
    lab.route("203.0.113.0/24", &["192.0.2.1"]);
    assert_eq!(lab.heard.costs(), [(ip("192.0.2.1"), None)]);
    assert_eq!(lab.kind("203.0.113.1"), Some(NextHopKind::Unset));

    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    assert_eq!(lab.heard.costs(), [(ip("192.0.2.1"), Some(0))]);
    let (kind, adjacency) = lab.paper.maps().look_up("203.0.113.1").unwrap();
    assert_eq!((kind, adjacency.unwrap().dst_mac), (NextHopKind::Forward, PEER_MAC.0));
    assert_eq!(lab.by("192.0.2.1"), Some(Resolver::Bgp(net("192.0.2.0/24"))));

    // A more specific one by way of a kernel route, with its cost; then without it again.
    lab.kernel("10.255.0.0/16", 20, ETH1, Some("10.1.0.2"));
    lab.route("192.0.2.0/28", &["10.255.0.1"]);
    assert_eq!(lab.heard.costs(), [(ip("192.0.2.1"), Some(20))]);
    lab.route("192.0.2.0/28", &[]);
    assert_eq!(lab.heard.costs(), [(ip("192.0.2.1"), Some(0))]);
    lab.route("192.0.2.0/24", &[]);
    assert_eq!(lab.heard.costs(), [(ip("192.0.2.1"), None)]);
    assert_eq!(lab.kind("203.0.113.1"), Some(NextHopKind::Unset));
}

#[test]
fn what_is_connected_is_not_led_astray_by_a_more_specific_route() {
    let mut lab = Lab::new();
    lab.track("10.0.0.9");
    lab.route("10.0.0.0/28", &["10.1.0.2"]);
    assert_eq!(lab.heard.costs(), [(ip("10.0.0.9"), Some(0))]);
    assert_eq!(lab.by("10.0.0.9"), Some(Resolver::Connected(net("10.0.0.0/24"))));
}

#[test]
fn a_route_never_leads_to_its_own_next_hop() {
    let mut lab = Lab::new();
    // Alone, then with a less specific one that does lead there: installed or not, it is the same.
    lab.track("198.51.100.1");
    lab.route("198.51.100.0/24", &["198.51.100.1"]);
    assert_eq!(lab.heard.costs(), [(ip("198.51.100.1"), None)]);
    lab.route("198.51.0.0/16", &["10.0.0.9"]);
    assert_eq!(lab.heard.costs(), [(ip("198.51.100.1"), Some(0))]);
    assert_eq!(lab.by("198.51.100.1"), Some(Resolver::Bgp(net("198.51.0.0/16"))));
    lab.route("198.51.100.0/24", &[]);
    assert_eq!(lab.heard.costs(), []);

    // Two that would lead to each other lead nowhere, until one of them is reached otherwise.
    let mut lab = Lab::new();
    lab.track("192.0.2.1");
    lab.track("198.51.100.1");
    lab.route("192.0.2.0/24", &["198.51.100.1"]);
    lab.route("198.51.100.0/24", &["192.0.2.1"]);
    assert!(lab.heard.costs().iter().all(|(_, cost)| cost.is_none()));
    lab.kernel("192.0.0.0/16", 7, ETH1, Some("10.1.0.2"));
    let mut heard = lab.heard.costs();
    heard.sort_unstable();
    assert_eq!(heard, [(ip("192.0.2.1"), Some(7)), (ip("198.51.100.1"), Some(7))]);
}

#[test]
fn which_of_several_equal_ways_leads_to_a_next_hop_does_not_depend_on_what_was_before() {
    let ways = ["10.0.0.9", "10.1.0.2"].map(|first| {
        let mut lab = Lab::new();
        lab.route("203.0.113.0/24", &[first]);
        lab.route("192.0.2.0/24", &["10.0.0.9", "10.1.0.2"]);
        lab.track("192.0.2.1");
        lab.next_hop_row("192.0.2.1").resolved.unwrap().way
    });
    assert_eq!(ways[0], ways[1]);
}

/// What the RIB makes of two paths of a prefix, the better one of which has a next hop within the prefix.
fn best_of_two(lab: &mut Lab, prefix: &str, next_hop: &str) -> bool {
    let reachable = lab.next_hop_row(next_hop).resolved.unwrap().reachable().is_some();
    lab.route(prefix, &[if reachable { next_hop } else { "10.0.0.9" }]);
    reachable
}

#[test]
fn a_better_path_that_depends_on_the_worse_one_does_not_take_turns_with_it_forever() {
    let mut lab = Lab::new();
    let next_hop = ip("192.0.2.1");
    lab.track("192.0.2.1");
    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    // The other path is best at first, once, and its next hop unreachable from then on.
    let turns: Vec<bool> = (0..6).map(|_| best_of_two(&mut lab, "192.0.2.0/24", "192.0.2.1")).collect();
    assert_eq!(turns, [true, false, false, false, false, false]);
    let row = lab.next_hop_row("192.0.2.1");
    assert_eq!(row.resolved.unwrap().way, Way::Unreachable(Reason::Itself));

    // It is tried again after a while, which is longer each time.
    for pause in [2, 4, 8] {
        assert!(lab.forwarder.wake_at().is_some());
        lab.forwarder.shunned.get_mut(&next_hop).unwrap().until = Instant::now();
        lab.forwarder.flush(false);
        let turns: Vec<bool> = (0..4).map(|_| best_of_two(&mut lab, "192.0.2.0/24", "192.0.2.1")).collect();
        assert_eq!(turns, [true, false, false, false]);
        let left = lab.forwarder.shunned[&next_hop].until - Instant::now();
        assert!(left > Duration::from_secs(pause - 1) && left <= Duration::from_secs(pause), "{left:?}");
    }
    // Without the path that depended on it, the other one leads there.
    lab.forwarder.shunned.get_mut(&next_hop).unwrap().until = Instant::now();
    lab.forwarder.flush(false);
    assert_eq!(lab.by("192.0.2.1"), Some(Resolver::Bgp(net("192.0.2.0/24"))));
}

#[test]
fn a_default_route_resolves_next_hops_only_if_asked_for() {
    for via_default in [false, true] {
        let mut lab = Lab::new();
        lab.forwarder.topology = Topology::new(via_default);
        let links = [link(ETH0, "eth0"), link(ETH1, "eth1")].map(NetEvent::Link);
        lab.forwarder.net_all(links.into_iter().collect());
        lab.net(connected("10.0.0.0/24", ETH0));
        lab.track("192.0.2.1");
        lab.kernel("0.0.0.0/0", 100, ETH0, Some("10.0.0.9"));
        let expected = via_default.then_some(100);
        assert_eq!(lab.heard.costs().last(), Some(&(ip("192.0.2.1"), expected)));
        assert_eq!(lab.kind("203.0.113.1"), None, "and it is no route of ours in any case");
        lab.no_kernel("0.0.0.0/0");
        lab.route("0.0.0.0/0", &["10.0.0.9"]);
        let reachable = lab.next_hop_row("192.0.2.1").resolved.unwrap().reachable();
        assert_eq!(reachable, via_default.then_some(0));
    }
}

#[test]
fn a_chain_of_next_hops_ends() {
    let mut lab = Lab::new();
    lab.route("192.0.1.0/24", &["10.0.0.9"]);
    for third in 2..10 {
        lab.route(&format!("192.0.{third}.0/24"), &[&format!("192.0.{}.1", third - 1)]);
        lab.track(&format!("192.0.{third}.1"));
    }
    let heard = lab.heard.costs();
    let reachable = heard.iter().filter(|(_, cost)| cost.is_some()).count();
    assert!((2..8).contains(&reachable), "{heard:?}");
}

#[test]
fn shares_of_the_traffic_are_slots_of_the_set_and_are_shown() {
    let mut lab = Lab::with(FibConfig { ecmp_slots: 128, members: 512, ..small_tables() }, &["eth0", "eth1"]);
    lab.net(neighbour(ETH0, "10.0.0.9", Some(PEER_MAC)));
    lab.route("192.0.2.0/24", &["10.0.0.9", "10.0.0.9", "10.0.0.9", "10.1.0.2"]);
    let maps = lab.paper.maps();
    let set = maps.sets[&maps.routes[&net("192.0.2.0/24")]];
    let kinds: Vec<u8> =
        (set.base..set.base + set.slots).map(|slot| maps.next_hops[&maps.members[&slot]].kind).collect();
    assert_eq!(kinds.len(), 128);
    let forwards = |kind| NextHopKind::from_u8(kind) == Some(NextHopKind::Forward);
    let forwarded = kinds.into_iter().filter(|kind| forwards(*kind)).count();
    assert!((88..=104).contains(&forwarded), "{forwarded} of 128 slots for three shares of four");
    drop(maps);
    let (reply, mut answer) = oneshot::channel();
    lab.forwarder.answer(Query::Routes(RouteFilter::Exact(net("192.0.2.0/24")), reply));
    let shown: Vec<String> =
        answer.try_recv().unwrap()[0].next_hops.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.9 dev eth0 (3 shares)", "10.1.0.2 dev eth1"]);
}

#[test]
fn a_next_hop_of_a_link_is_on_that_link_only() {
    let mut lab = Lab::new();
    let on = |interface: &str, text: &str| -> IpAddr {
        let bgp::link::Zoned(address) = format!("{text}%{interface}").parse().unwrap();
        address
    };
    let way = |lab: &Lab, next_hop| lab.forwarder.topology.resolve(next_hop).way;
    // The same address is known on both links, and no other link is asked.
    lab.net(neighbour(ETH0, "fe80::9", Some(PEER_MAC)));
    lab.net(neighbour(ETH1, "fe80::9", Some(PEER_MAC)));
    for (interface, ifindex) in [("eth0", ETH0), ("eth1", ETH1)] {
        let expected = Way::OnLink { ifindex, gateway: ip("fe80::9") };
        assert_eq!(way(&lab, on(interface, "fe80::9")), expected, "{interface}");
    }
    assert_eq!(way(&lab, on("eth2", "fe80::9")), Way::Unreachable(Reason::NoRoute));
    // Our own address on one link is somebody else's on the other.
    lab.net(NetEvent::Address { ifindex: ETH1, net: "fe80::9/64".parse().unwrap(), added: true });
    assert_eq!(way(&lab, on("eth1", "fe80::9")), Way::Unreachable(Reason::OwnAddress));
    assert_eq!(way(&lab, on("eth0", "fe80::9")), Way::OnLink { ifindex: ETH0, gateway: ip("fe80::9") });
    // Nor is a next hop reached by another link while its own is away.
    lab.net(NetEvent::LinkGone { ifindex: ETH0 });
    assert_eq!(way(&lab, on("eth0", "fe80::9")), Way::Unreachable(Reason::NoRoute));
}
