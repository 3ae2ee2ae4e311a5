//! The FIB thread's state against a data plane that is only written down.

mod audit;
mod failover;
mod keep;
mod limits;
mod paper;
mod recursion;
mod shards;
mod tables;
mod thread;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, RwLock};

use fib::{Family, Fib, FibConfig};
use fib_abi::{Adjacency, NextHopKind, port_flags};
use ipnet::IpNet;
use tokio::sync::{oneshot, watch};

use super::forwarder::{Forwarder, Kept, Outputs};
use super::ports::{PortSpec, Ports};
use super::query::{Query, RouteFilter, RouteSource};
use super::topology::Topology;
use super::{
    BatchId, ForwardingConfig, ForwardingStats, NextHopSink, NextHopState, Reason, RouteChange, RouteTarget,
};
use crate::netlink::{Link, Mac, Neighbour, NetEvent, RouteHop, VlanLink};
use crate::xdp::{AttachedMode, XdpMode};
use paper::Paper;

const ETH0: u32 = 2;
const ETH1: u32 = 3;
const MGMT: u32 = 4;
const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

/// A next hop and its interior cost, if it can be reached.
type Cost = (IpAddr, Option<u32>);

#[derive(Clone, Debug, Default)]
struct Heard {
    next_hops: Arc<Mutex<Vec<Cost>>>,
    routes: Arc<Mutex<Vec<(IpNet, bool)>>>,
    /// Batches that are done, and how much had been said of routes before.
    batches: Arc<Mutex<Vec<(BatchId, usize)>>>,
}

impl Heard {
    fn next_hops(&self) -> Vec<(IpAddr, bool)> {
        self.costs().into_iter().map(|(addr, cost)| (addr, cost.is_some())).collect()
    }

    fn routes(&self) -> Vec<(IpNet, bool)> {
        std::mem::take(&mut self.routes.lock().unwrap())
    }
}

impl NextHopSink for Heard {
    fn next_hop(&mut self, addr: IpAddr, cost: Option<u32>) {
        self.next_hops.lock().unwrap().push((addr, cost));
    }

    fn route_status(&mut self, prefix: IpNet, installed: bool) {
        self.routes.lock().unwrap().push((prefix, installed));
    }

    fn batch_done(&mut self, batch: BatchId) {
        self.batches.lock().unwrap().push((batch, self.routes.lock().unwrap().len()));
    }
}

/// A router with eth0 (`10.0.0.1/24`, `2001:db8::1/64`), eth1 (`10.1.0.1/24`) and mgmt (`172.16.0.1/24`), which
/// is not routed.
struct Lab {
    forwarder: Forwarder<Paper>,
    paper: Paper,
    heard: Heard,
    kept: watch::Receiver<Kept>,
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(ifindex: u32, name: &str) -> Link {
    Link {
        ifindex,
        name: name.to_owned(),
        mac: Mac([2, 0, 0, 0, 1, ifindex as u8]),
        mtu: 1500,
        enabled: true,
        up: true,
        loopback: false,
        vlan: None,
    }
}

fn connected(prefix: &str, ifindex: u32) -> NetEvent {
    NetEvent::Route { prefix: net(prefix), metric: 0, hops: vec![RouteHop { ifindex, gateway: None }] }
}

fn address(text: &str, ifindex: u32) -> NetEvent {
    NetEvent::Address { ifindex, net: net(text), added: true }
}

fn neighbour(ifindex: u32, text: &str, mac: Option<Mac>) -> NetEvent {
    let usable = mac.is_some();
    NetEvent::Neighbour(Neighbour { ifindex, ip: ip(text), mac, usable, permanent: false, managed: false })
}

fn small_tables() -> FibConfig {
    FibConfig {
        capacity_v4: 64,
        capacity_v6: 64,
        sets: 32,
        members: 64,
        next_hops: 32,
        adjacencies: 32,
        ecmp_slots: 4,
        ..FibConfig::default()
    }
}

impl Lab {
    fn new() -> Self {
        Self::with(small_tables(), &["eth0", "eth1"])
    }

    fn with(tables: FibConfig, ports: &[&str]) -> Self {
        Self::make(tables, ports, None)
    }

    /// Beside the program of an earlier run on these devices.
    fn staged(ports: &[&str], earlier: HashMap<u32, Option<AttachedMode>>) -> Self {
        Self::make(small_tables(), ports, Some(earlier))
    }

    fn make(tables: FibConfig, ports: &[&str], earlier: Option<HashMap<u32, Option<AttachedMode>>>) -> Self {
        let (paper, heard) = (Paper::default(), Heard::default());
        let (sender, kept) = watch::channel(Kept::new());
        let outputs = Outputs {
            sink: Box::new(heard.clone()),
            kept: sender,
            stats: Arc::new(RwLock::new(ForwardingStats::default())),
        };
        let mut specs: Vec<_> =
            ports.iter().map(|name| PortSpec { name: (*name).to_owned(), host: false }).collect();
        specs.push(PortSpec { name: "pg-xdp".to_owned(), host: true });
        let ports = Ports::new(specs, XdpMode::Auto);
        let mut forwarder =
            Forwarder::new(Fib::new(tables), paper.clone(), ports, Topology::new(false), outputs);
        if let Some(earlier) = earlier {
            forwarder.keep(true);
            forwarder.stage(earlier);
        }
        forwarder.net_all(vec![
            NetEvent::Link(link(ETH0, "eth0")),
            NetEvent::Link(link(ETH1, "eth1")),
            NetEvent::Link(link(MGMT, "mgmt")),
            address("10.0.0.1/24", ETH0),
            address("2001:db8::1/64", ETH0),
            address("10.1.0.1/24", ETH1),
            address("172.16.0.1/24", MGMT),
            connected("10.0.0.0/24", ETH0),
            connected("2001:db8::/64", ETH0),
            connected("10.1.0.0/24", ETH1),
            connected("172.16.0.0/24", MGMT),
        ]);
        forwarder.flush(true);
        Self { forwarder, paper, heard, kept }
    }

    fn net(&mut self, event: NetEvent) {
        self.forwarder.net(event);
        self.forwarder.flush(true);
    }

    fn route(&mut self, prefix: &str, next_hops: &[&str]) {
        let next_hops: Vec<IpAddr> = next_hops.iter().map(|text| ip(text)).collect();
        let target = if next_hops.is_empty() {
            RouteTarget::Withdrawn
        } else {
            RouteTarget::Via { next_hops, backup: None }
        };
        self.change(prefix, target);
    }

    fn change(&mut self, prefix: &str, target: RouteTarget) {
        self.forwarder.routes(vec![RouteChange { prefix: net(prefix), target }], Vec::new());
        self.forwarder.flush(true);
    }

    fn track(&mut self, text: &str) {
        self.forwarder.track(ip(text), true);
        self.forwarder.flush(true);
    }

    fn kind(&self, ip: &str) -> Option<NextHopKind> {
        self.paper.maps().kind(ip)
    }

    fn adjacency(&self, ip: &str) -> Adjacency {
        let found = self.paper.maps().look_up(ip);
        found.and_then(|(_, adjacency)| adjacency).expect("forwarded")
    }

    fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> T {
        let (reply, mut answer) = oneshot::channel();
        self.forwarder.answer(query(reply));
        answer.try_recv().unwrap()
    }
}

#[test]
fn addresses_of_the_router_are_local_and_connected_subnets_glean() {
    let lab = Lab::new();
    for (ip, kind) in [
        ("10.0.0.1", NextHopKind::Local),
        ("2001:db8::1", NextHopKind::Local),
        ("172.16.0.1", NextHopKind::Local),
        ("10.0.0.77", NextHopKind::Glean),
        ("2001:db8::77", NextHopKind::Glean),
        ("172.16.0.77", NextHopKind::Glean),
    ] {
        assert_eq!(lab.kind(ip), Some(kind), "{ip}");
    }
    assert_eq!(lab.kind("192.0.2.1"), None);
}

#[test]
fn link_local_and_loopback_addresses_get_no_route() {
    let mut lab = Lab::new();
    lab.net(address("fe80::1/64", ETH0));
    lab.net(address("127.0.0.1/8", 1));
    lab.net(neighbour(ETH0, "fe80::9", Some(PEER_MAC)));
    let routes = lab.paper.maps().routes.len();
    let before = Lab::new().paper.maps().routes.len();
    assert_eq!(routes, before);
}

#[test]
fn a_neighbour_that_is_learned_gets_a_host_route_and_is_kept_resolved() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH0, "10.0.0.9", Some(PEER_MAC)));
    let adjacency = lab.adjacency("10.0.0.9");
    assert_eq!((adjacency.ifindex, adjacency.port), (ETH0, 0));
    assert_eq!((adjacency.dst_mac, adjacency.src_mac), (PEER_MAC.0, [2, 0, 0, 0, 1, ETH0 as u8]));
    assert_eq!(*lab.kept.borrow(), Kept::from([(ETH0, ip("10.0.0.9"))]));

    lab.net(neighbour(ETH0, "10.0.0.9", None));
    assert_eq!(lab.kind("10.0.0.9"), Some(NextHopKind::Glean));
    assert!(lab.kept.borrow().is_empty());
}

#[test]
fn a_neighbour_outside_the_connected_subnets_or_off_the_ports_gets_no_route() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH0, "192.0.2.9", Some(PEER_MAC)));
    lab.net(neighbour(ETH1, "10.0.0.9", Some(PEER_MAC)));
    lab.net(neighbour(MGMT, "172.16.0.9", Some(PEER_MAC)));
    assert_eq!(lab.kind("192.0.2.9"), None);
    assert_eq!(lab.kind("10.0.0.9"), Some(NextHopKind::Glean));
    assert_eq!(lab.kind("172.16.0.9"), Some(NextHopKind::Glean));
}

#[test]
fn a_bgp_route_gleans_until_its_next_hop_is_resolved_and_then_forwards() {
    let mut lab = Lab::new();
    lab.track("10.0.0.9");
    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Glean));
    assert_eq!(lab.heard.next_hops(), [(ip("10.0.0.9"), true)]);
    assert!(lab.kept.borrow().contains(&(ETH0, ip("10.0.0.9"))));

    lab.net(neighbour(ETH0, "10.0.0.9", Some(PEER_MAC)));
    assert_eq!(lab.adjacency("192.0.2.1").dst_mac, PEER_MAC.0);
    assert_eq!(lab.heard.next_hops(), [], "still reachable: no news");

    lab.route("192.0.2.0/24", &[]);
    assert_eq!(lab.kind("192.0.2.1"), None);
}

#[test]
fn a_neighbour_with_a_new_mac_moves_all_routes_without_touching_one() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH0, "10.0.0.9", Some(PEER_MAC)));
    for third in 0..20 {
        lab.route(&format!("198.51.{third}.0/24"), &["10.0.0.9"]);
    }
    let old = lab.adjacency("198.51.3.1");
    lab.paper.maps().applied.clear();
    let moved = Mac([2, 0, 0, 0, 0, 0x10]);
    lab.net(neighbour(ETH0, "10.0.0.9", Some(moved)));
    assert_eq!(lab.adjacency("198.51.3.1"), Adjacency { dst_mac: moved.0, ..old });
    // One adjacency and one next hop for the BGP routes, the same for the host route.
    assert_eq!(lab.paper.maps().applied, [4]);
}

#[test]
fn a_link_that_goes_down_takes_its_next_hops_down_and_the_rib_hears_of_it() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH0, "10.0.0.9", Some(PEER_MAC)));
    lab.track("10.0.0.9");
    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    lab.heard.next_hops();

    lab.net(NetEvent::Link(Link { up: false, ..link(ETH0, "eth0") }));
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Unset), "dropped, at once");
    assert_eq!(lab.kind("10.0.0.77"), None, "the connected subnet went too");
    assert_eq!(lab.heard.next_hops(), [(ip("10.0.0.9"), false)]);

    lab.net(NetEvent::Link(link(ETH0, "eth0")));
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Forward));
    assert_eq!(lab.heard.next_hops(), [(ip("10.0.0.9"), true)]);
}

#[test]
fn next_hops_that_cannot_be_used_are_reported_unreachable_with_their_reason() {
    let mut lab = Lab::new();
    let cases = [
        ("203.0.113.9", Reason::NoRoute),
        ("172.16.0.9", Reason::NotRouted),
        ("10.0.0.1", Reason::OwnAddress),
        ("2001:db8:f::1", Reason::NoRoute),
    ];
    for (addr, _) in cases {
        lab.track(addr);
    }
    assert_eq!(lab.heard.next_hops(), cases.map(|(addr, _)| (ip(addr), false)));
    let rows = lab.ask(Query::NextHops);
    for (addr, reason) in cases {
        let row = rows.iter().find(|row| row.to_string() == addr).unwrap();
        assert_eq!(row.state, NextHopState::Down(reason), "{addr}");
    }
}

#[test]
fn a_next_hop_behind_a_gateway_uses_the_gateways_mac_and_follows_the_kernels_route() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH1, "10.1.0.2", Some(PEER_MAC)));
    lab.track("10.255.0.1");
    lab.route("192.0.2.0/24", &["10.255.0.1"]);
    assert_eq!(lab.heard.next_hops(), [(ip("10.255.0.1"), false)]);

    let hops = vec![RouteHop { ifindex: ETH1, gateway: Some(ip("10.1.0.2")) }];
    lab.net(NetEvent::Route { prefix: net("10.255.0.0/16"), metric: 0, hops });
    assert_eq!(lab.adjacency("192.0.2.1").ifindex, ETH1);
    assert_eq!(lab.heard.next_hops(), [(ip("10.255.0.1"), true)]);

    let hops = vec![RouteHop { ifindex: ETH0, gateway: Some(ip("10.0.0.2")) }];
    lab.net(NetEvent::Route { prefix: net("10.255.0.1/32"), metric: 0, hops });
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Glean), "the new gateway is not resolved yet");
    assert!(lab.kept.borrow().contains(&(ETH0, ip("10.0.0.2"))));

    lab.net(NetEvent::Route { prefix: net("10.255.0.1/32"), metric: 0, hops: Vec::new() });
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Forward), "back to the less specific route");
}

#[test]
fn a_connected_subnet_goes_before_a_bgp_route_which_takes_over_when_it_goes() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH1, "10.1.0.2", Some(PEER_MAC)));
    lab.route("10.0.0.0/24", &["10.1.0.2"]);
    assert_eq!(lab.kind("10.0.0.77"), Some(NextHopKind::Glean));

    lab.net(NetEvent::Route { prefix: net("10.0.0.0/24"), metric: 0, hops: Vec::new() });
    assert_eq!(lab.adjacency("10.0.0.77").ifindex, ETH1);

    lab.net(connected("10.0.0.0/24", ETH0));
    assert_eq!(lab.kind("10.0.0.77"), Some(NextHopKind::Glean));
    lab.net(NetEvent::Route { prefix: net("10.0.0.0/24"), metric: 0, hops: Vec::new() });
    assert_eq!(lab.adjacency("10.0.0.77").ifindex, ETH1, "it was put aside");

    lab.net(connected("10.0.0.0/24", ETH0));
    lab.route("10.0.0.0/24", &[]);
    lab.net(NetEvent::Route { prefix: net("10.0.0.0/24"), metric: 0, hops: Vec::new() });
    assert_eq!(lab.kind("10.0.0.77"), None, "withdrawn while it was hidden");
}

#[test]
fn an_interface_that_vanishes_and_comes_back_is_attached_again_under_its_port_id() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH1, "10.1.0.2", Some(PEER_MAC)));
    lab.route("192.0.2.0/24", &["10.1.0.2"]);
    assert!(lab.paper.maps().attached.contains(&ETH1));
    lab.net(NetEvent::LinkGone { ifindex: ETH1 });
    assert!(!lab.paper.maps().attached.contains(&ETH1) && !lab.paper.maps().egress.contains(&ETH1));
    assert!(!lab.paper.maps().ports.contains_key(&(ETH1, 0, 0)));
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Unset));

    let back = 30;
    lab.forwarder.net_all(vec![
        NetEvent::Link(link(back, "eth1")),
        connected("10.1.0.0/24", back),
        neighbour(back, "10.1.0.2", Some(PEER_MAC)),
    ]);
    lab.forwarder.flush(true);
    assert!(lab.paper.maps().attached.contains(&back));
    assert_eq!(lab.paper.maps().ports[&(back, 0, 0)].id, 1);
    assert_eq!(lab.adjacency("192.0.2.1").ifindex, back);
}

#[test]
fn an_interface_that_comes_back_under_its_old_index_is_attached_again_too() {
    let mut lab = Lab::new();
    lab.forwarder.net_all(vec![NetEvent::LinkGone { ifindex: ETH1 }, NetEvent::Link(link(ETH1, "eth1"))]);
    lab.paper.maps().attached.remove(&ETH1);
    lab.forwarder.flush(true);
    assert!(lab.paper.maps().attached.contains(&ETH1));
}

#[test]
fn a_vlan_port_is_the_device_below_with_its_tag() {
    let mut lab = Lab::with(small_tables(), &["eth0", "eth0.100", "eth0.100.7"]);
    let vlan = |parent, vid| Some(VlanLink { parent, vid });
    lab.net(NetEvent::Link(Link { vlan: vlan(ETH0, 100), ..link(20, "eth0.100") }));
    lab.net(NetEvent::Link(Link { vlan: vlan(20, 7), ..link(21, "eth0.100.7") }));
    assert_eq!(lab.paper.maps().attached, BTreeSet::from([ETH0]), "one hook for all three");
    let keys: Vec<_> = lab.paper.maps().ports.iter().map(|(key, port)| (*key, port.id)).collect();
    assert_eq!(keys, [((ETH0, 0, 0), 0), ((ETH0, 100, 0), 1), ((ETH0, 100, 7), 2)]);

    lab.net(connected("10.7.0.0/24", 21));
    lab.net(neighbour(21, "10.7.0.2", Some(PEER_MAC)));
    let adjacency = lab.adjacency("10.7.0.2");
    assert_eq!(
        (adjacency.ifindex, adjacency.port, adjacency.outer_vlan, adjacency.inner_vlan),
        (ETH0, 2, 100, 7)
    );
    lab.net(NetEvent::LinkGone { ifindex: 21 });
    assert!(lab.paper.maps().attached.contains(&ETH0), "still needed by the others");
}

#[test]
fn the_routers_own_end_of_the_pair_is_a_host_port_and_never_leads_anywhere() {
    let mut lab = Lab::new();
    lab.net(NetEvent::Link(link(9, "pg-xdp")));
    let port = lab.paper.maps().ports[&(9, 0, 0)];
    assert_eq!((port.id, port.flags), (2, port_flags::HOST));
    lab.net(connected("10.9.0.0/24", 9));
    lab.track("10.9.0.2");
    assert_eq!(lab.heard.next_hops(), [(ip("10.9.0.2"), false)]);
}

#[test]
fn a_port_that_cannot_be_attached_is_shown_with_its_reason_and_tried_again() {
    let mut lab = Lab::new();
    lab.net(NetEvent::LinkGone { ifindex: ETH1 });
    lab.paper.maps().refuse_attach.insert(ETH1);
    lab.net(NetEvent::Link(link(ETH1, "eth1")));
    let status = &lab.forwarder.ports.status()[1];
    assert_eq!(status.ifindex, None);
    assert!(status.error.as_ref().is_some_and(|error| error.contains("ENOSPC")));
    assert!(lab.forwarder.wake_at().is_some());

    lab.paper.maps().refuse_attach.clear();
    lab.net(NetEvent::Link(link(ETH1, "eth1")));
    assert_eq!(lab.forwarder.ports.status()[1].error, None);
    assert!(lab.paper.maps().attached.contains(&ETH1));
}

#[test]
fn one_port_without_native_xdp_makes_all_generic_and_they_stay_so() {
    let mut lab = Lab::with(small_tables(), &["eth0", "eth1", "late", "eth0.100"]);
    lab.net(NetEvent::Link(link(9, "pg-xdp")));
    let vlan = Some(VlanLink { parent: ETH0, vid: 100 });
    lab.net(NetEvent::Link(Link { vlan, ..link(20, "eth0.100") }));
    assert!(lab.paper.maps().generic.is_empty());
    let ports = lab.paper.maps().ports.clone();

    lab.paper.maps().refuse_native.insert(30);
    lab.net(NetEvent::Link(link(30, "late")));
    assert_eq!(lab.paper.maps().generic, BTreeSet::from([ETH0, ETH1, 9, 30]));
    let status = lab.forwarder.ports.status();
    assert!(status.iter().all(|port| port.mode == Some(AttachedMode::Generic)), "{status:?}");
    assert!(ports.iter().all(|port| lab.paper.maps().ports.get(port.0) == Some(port.1)));

    lab.net(NetEvent::LinkGone { ifindex: 30 });
    lab.net(NetEvent::LinkGone { ifindex: ETH1 });
    lab.net(NetEvent::Link(link(31, "eth1")));
    assert_eq!(lab.paper.maps().generic, BTreeSet::from([ETH0, 9, 31]));
}

#[test]
fn an_originated_network_rejects_what_nothing_more_specific_takes() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH1, "10.1.0.2", Some(PEER_MAC)));
    lab.route("0.0.0.0/0", &["10.1.0.2"]);
    lab.change("10.0.0.0/16", RouteTarget::Reject);
    lab.change("10.0.0.0/24", RouteTarget::Reject);
    lab.route("10.0.7.0/24", &["10.1.0.2"]);
    assert_eq!(lab.kind("10.0.9.1"), Some(NextHopKind::Reject));
    assert_eq!(lab.kind("10.0.7.1"), Some(NextHopKind::Forward));
    assert_eq!(lab.kind("10.0.0.77"), Some(NextHopKind::Glean), "connected");
    assert_eq!(lab.kind("10.0.0.1"), Some(NextHopKind::Local));
    let row = &lab.ask(|reply| Query::Routes(RouteFilter::Exact(net("10.0.0.0/16")), reply))[0];
    assert_eq!(row.next_hops[0].to_string(), "reject");

    lab.net(NetEvent::Route { prefix: net("10.0.0.0/24"), metric: 0, hops: Vec::new() });
    assert_eq!(lab.kind("10.0.0.77"), Some(NextHopKind::Reject), "it was put aside");
    lab.net(connected("10.0.0.0/24", ETH0));
    lab.net(NetEvent::Route { prefix: net("10.0.0.0/24"), metric: 0, hops: Vec::new() });
    assert_eq!(lab.kind("10.0.0.77"), Some(NextHopKind::Reject), "and again");
    lab.change("10.0.0.0/16", RouteTarget::Withdrawn);
    assert_eq!(lab.kind("10.0.9.1"), Some(NextHopKind::Forward), "the default route");
}

#[test]
fn a_static_route_of_the_kernel_goes_before_bgp_and_up_to_the_kernel() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH1, "10.1.0.2", Some(PEER_MAC)));
    lab.route("192.0.2.0/24", &["10.1.0.2"]);
    let by = |ifindex, gateway| vec![RouteHop { ifindex, gateway: Some(ip(gateway)) }];
    let row =
        |lab: &Lab| lab.ask(|reply| Query::Routes(RouteFilter::Exact(net("192.0.2.0/24")), reply)).remove(0);
    for (ifindex, gateway) in [(ETH0, "10.0.0.2"), (MGMT, "172.16.0.2")] {
        lab.net(NetEvent::Route { prefix: net("192.0.2.0/24"), metric: 0, hops: by(ifindex, gateway) });
        assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Glean));
        assert_eq!(row(&lab).source.to_string(), "kernel");
    }
    lab.track("192.0.2.9");
    assert_eq!(lab.heard.next_hops(), [(ip("192.0.2.9"), false)], "resolved by it: off the ports");
    lab.net(NetEvent::Route { prefix: net("192.0.2.0/24"), metric: 0, hops: Vec::new() });
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Forward));
    assert_eq!(row(&lab).source, RouteSource::Bgp);
}

#[test]
fn a_next_hop_whose_neighbour_is_not_resolved_yet_is_shown_as_resolving() {
    let mut lab = Lab::new();
    lab.route("192.0.2.0/24", &["10.1.0.2"]);
    let shown = |lab: &Lab, prefix: &str| {
        let rows = lab.ask(|reply| Query::Routes(RouteFilter::Exact(net(prefix)), reply));
        rows[0].next_hops[0].state.to_string()
    };
    assert_eq!(shown(&lab, "192.0.2.0/24"), "resolving");
    assert_eq!(shown(&lab, "10.1.0.0/24"), "glean");
}

#[test]
fn a_failed_write_is_counted_reported_and_the_rest_goes_on() {
    let mut lab = Lab::new();
    lab.paper.maps().refuse.insert(net("192.0.2.0/24"));
    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    lab.route("198.51.100.0/24", &["10.0.0.9"]);
    assert!(lab.heard.routes().contains(&(net("192.0.2.0/24"), false)));
    assert_eq!(lab.kind("198.51.100.1"), Some(NextHopKind::Glean));
    let row = &lab.ask(|reply| Query::Routes(RouteFilter::Exact(net("192.0.2.0/24")), reply))[0];
    assert!(!row.installed && row.status.contains("write failed"), "{}", row.status);

    lab.paper.maps().refuse.clear();
    assert!(lab.forwarder.wake_at().is_some());
    for _ in 0..4 {
        lab.forwarder.flush(true);
    }
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Glean), "written again");
    assert!(lab.heard.routes().contains(&(net("192.0.2.0/24"), true)));
}

#[test]
fn a_route_that_finds_no_free_set_is_kept_shown_and_installed_when_there_is_room() {
    // Room for the sets of the five kinds of own routes and one more.
    let mut lab = Lab::with(FibConfig { sets: 6, ..small_tables() }, &["eth0", "eth1"]);
    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    lab.route("198.51.100.0/24", &["10.0.0.8"]);
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Glean));
    assert_eq!(lab.kind("198.51.100.1"), None);
    assert_eq!(lab.heard.routes(), [(net("198.51.100.0/24"), false)]);
    let row = &lab.ask(|reply| Query::Routes(RouteFilter::Exact(net("198.51.100.0/24")), reply))[0];
    assert!(!row.installed && row.status.contains("no free"), "{}", row.status);

    lab.route("203.0.113.0/24", &["10.0.0.9"]);
    lab.route("203.0.113.0/24", &["10.0.0.8"]);
    assert_eq!(lab.kind("203.0.113.1"), None, "the old way must not outlive its replacement");

    lab.route("192.0.2.0/24", &[]);
    lab.route("198.51.100.0/24", &["10.0.0.8"]);
    assert_eq!(lab.kind("198.51.100.1"), Some(NextHopKind::Glean));
    assert!(lab.paper.maps().graces > 0, "the old set was not reused under traffic");
}

#[test]
fn a_next_hop_that_nobody_uses_is_forgotten_and_no_longer_kept_resolved() {
    let mut lab = Lab::new();
    lab.forwarder.track(ip("10.0.0.9"), true);
    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    lab.forwarder.track(ip("10.0.0.9"), false);
    lab.forwarder.flush(true);
    assert!(lab.kept.borrow().contains(&(ETH0, ip("10.0.0.9"))), "a route still needs it");
    lab.route("192.0.2.0/24", &[]);
    lab.forwarder.flush(true);
    assert!(lab.kept.borrow().is_empty());
    assert!(lab.forwarder.next_hops.is_empty());
}

#[test]
fn a_next_hop_that_is_tracked_again_is_reported_again() {
    let mut lab = Lab::new();
    lab.forwarder.track(ip("10.0.0.9"), true);
    lab.forwarder.track(ip("10.0.0.9"), false);
    lab.forwarder.track(ip("10.0.0.9"), true);
    lab.forwarder.flush(true);
    assert_eq!(lab.heard.next_hops().last(), Some(&(ip("10.0.0.9"), true)));
    lab.forwarder.flush(true);
    assert_eq!(lab.forwarder.next_hops.len(), 1);
}

#[test]
fn a_link_local_next_hop_is_looked_for_where_such_a_neighbour_is_known() {
    let mut lab = Lab::new();
    lab.track("fe80::9");
    assert_eq!(lab.heard.next_hops(), [(ip("fe80::9"), false)], "on either of two ports");
    lab.net(neighbour(ETH1, "fe80::9", Some(PEER_MAC)));
    assert_eq!(lab.heard.next_hops(), [(ip("fe80::9"), true)]);
}

#[test]
fn several_next_hops_share_the_traffic_of_a_route() {
    let mut lab = Lab::new();
    lab.route("192.0.2.0/24", &["10.0.0.9", "10.1.0.2"]);
    let rows = lab.ask(|reply| Query::Routes(RouteFilter::Match(ip("192.0.2.1")), reply));
    let names: Vec<_> = rows[0].next_hops.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["10.0.0.9 dev eth0", "10.1.0.2 dev eth1"]);
    let maps = lab.paper.maps();
    let set = maps.sets[&maps.routes[&net("192.0.2.0/24")]];
    assert_eq!(set.slots, 4);
}

#[test]
fn show_tells_where_a_route_comes_from() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH0, "10.0.0.9", Some(PEER_MAC)));
    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    let rows = lab.ask(|reply| Query::Routes(RouteFilter::After(Family::Ipv4, None), reply));
    let source = |prefix: &str| rows.iter().find(|row| row.prefix == net(prefix)).unwrap().source;
    assert_eq!(source("10.0.0.1/32"), RouteSource::Local);
    assert_eq!(source("10.0.0.9/32"), RouteSource::Host);
    assert_eq!(source("10.0.0.0/24"), RouteSource::Connected);
    assert_eq!(source("192.0.2.0/24"), RouteSource::Bgp);
    let counters = lab.ask(Query::Counters);
    assert_eq!(
        counters.ports.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["eth0", "eth1", "pg-xdp"]
    );
}
