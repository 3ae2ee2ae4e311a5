//! The whole of it with the real kernel, as root, in a namespace of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp::rib::NextHopInterest;
use fib::{Family, FibConfig};

use super::{
    ForwardingConfig, ForwardingError, NextHopSink, NextHopState, RibBatch, RouteChange, RouteFilter,
    RouteTarget, start,
};
use crate::netlink::tests::{in_fresh_namespace, sh};
use crate::xdp::{AttachedMode, XdpMode};

struct Heard(tokio::sync::mpsc::UnboundedSender<(IpAddr, bool)>);

impl NextHopSink for Heard {
    fn next_hop(&mut self, addr: IpAddr, cost: Option<u32>) {
        let _ = self.0.send((addr, cost.is_some()));
    }
}

fn config(interfaces: &[&str]) -> ForwardingConfig {
    let tables = FibConfig { capacity_v4: 1000, capacity_v6: 1000, ..FibConfig::default() };
    ForwardingConfig {
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        mode: XdpMode::Auto,
        router_id: Ipv4Addr::new(10, 99, 0, 1),
        tables,
        next_hop_via_default: false,
        hash_seed: 1,
    }
}

fn lay_out() {
    sh("echo 1 > /proc/sys/net/ipv6/conf/default/addr_gen_mode");
    sh("ip link add p1 type veth peer name x1 && ip link set p1 up && ip link set x1 up");
    sh("ip addr add 10.1.0.1/24 dev p1");
}

#[test]
fn the_forwarding_plane_starts_follows_the_kernel_and_stops_without_a_trace() {
    let name = "the_forwarding_plane_starts_follows_the_kernel_and_stops_without_a_trace";
    in_fresh_namespace(name, || async {
        lay_out();
        let state =
            || sh("ip rule; ip -6 rule; ip -4 route show table all; ip -br link | cut -d' ' -f1; ip -d link");
        let before = state();
        let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let handle = start(config(&["p1"]), Box::new(Heard(sender))).await.unwrap();
        let ports = handle.stats().ports;
        assert_eq!(ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["p1", "pg-xdp"]);
        assert!(ports.iter().all(|port| port.mode == Some(AttachedMode::Native)), "{ports:?}");

        let addr: IpAddr = "10.1.0.9".parse().unwrap();
        let batch = |next_hops, routes| RibBatch { id: None, next_hops, routes, arrivals: Vec::new() };
        let tracked = vec![NextHopInterest { addr, added: true }];
        handle.room().await.unwrap().send(batch(tracked, Vec::new()));
        assert_eq!(heard.recv().await, Some((addr, true)));
        let prefix = "192.0.2.0/24".parse().unwrap();
        let routes = vec![RouteChange { prefix, target: RouteTarget::Via(vec![addr]) }];
        handle.room().await.unwrap().send(batch(Vec::new(), routes));
        sh("ip neigh replace 10.1.0.9 lladdr 02:00:00:00:00:09 dev p1 nud reachable");
        loop {
            let rows = handle.fib_routes(RouteFilter::Exact(prefix)).await.unwrap();
            if rows.iter().any(|row| row.installed && row.next_hops[0].state == NextHopState::Forward) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let routes = handle.fib_routes(RouteFilter::After(Family::Ipv4, None)).await.unwrap();
        let prefixes: Vec<_> = routes.iter().map(|row| format!("{} {}", row.prefix, row.source)).collect();
        assert_eq!(
            prefixes,
            ["10.1.0.0/24 connected", "10.1.0.1/32 local", "10.1.0.9/32 host", "192.0.2.0/24 bgp"]
        );
        assert!(sh("ip link show p1").contains("xdp"));
        assert!(!sh("ip route show table all").contains("192.0.2."), "the kernel knows no BGP route");

        handle.stop().await;
        assert!(handle.next_hops().await.is_err());
        assert_eq!(state(), before);
    });
}

#[test]
fn an_interface_that_does_not_exist_is_named_with_those_that_do() {
    in_fresh_namespace("an_interface_that_does_not_exist_is_named_with_those_that_do", || async {
        lay_out();
        let (sender, _heard) = tokio::sync::mpsc::unbounded_channel();
        let error = start(config(&["p1", "p7"]), Box::new(Heard(sender))).await.unwrap_err();
        assert!(matches!(error, ForwardingError::NoInterface { .. }));
        assert_eq!(
            error.to_string(),
            "[fib] interfaces: there is no interface \"p7\" (there are: lo, x1, p1)"
        );
    });
}

#[test]
fn a_port_that_is_taken_is_an_error_and_nothing_is_left_behind() {
    in_fresh_namespace("a_port_that_is_taken_is_an_error_and_nothing_is_left_behind", || async {
        lay_out();
        let (sender, _heard) = tokio::sync::mpsc::unbounded_channel();
        let first = start(config(&["p1"]), Box::new(Heard(sender.clone()))).await.unwrap();
        let rules = sh("ip rule");
        let error = start(config(&["p1"]), Box::new(Heard(sender))).await.unwrap_err();
        assert!(error.to_string().starts_with("port p1: cannot attach native XDP to p1"), "{error}");
        assert_eq!(sh("ip rule"), rules, "the first one's are untouched");
        first.stop().await;
        assert!(!sh("ip rule; ip link").contains("5179") && !sh("ip link").contains("pg-"));
    });
}

#[test]
fn a_port_without_native_xdp_makes_every_hook_generic_the_routers_own_end_too() {
    let name = "a_port_without_native_xdp_makes_every_hook_generic_the_routers_own_end_too";
    in_fresh_namespace(name, || async {
        lay_out();
        sh("ip link add br0 type bridge && ip link set br0 up");
        let (sender, _heard) = tokio::sync::mpsc::unbounded_channel();
        let native = ForwardingConfig { mode: XdpMode::Native, ..config(&["p1", "br0"]) };
        let error = start(native, Box::new(Heard(sender.clone()))).await.unwrap_err();
        assert!(error.to_string().starts_with("port br0: cannot attach native XDP to br0"), "{error}");
        assert!(!sh("ip link").contains("xdp"));

        let generic = ForwardingConfig { mode: XdpMode::Generic, ..config(&["p1"]) };
        for config in [generic, config(&["p1", "br0"])] {
            let handle = start(config, Box::new(Heard(sender.clone()))).await.unwrap();
            let ports = handle.stats().ports;
            assert!(ports.iter().all(|port| port.mode == Some(AttachedMode::Generic)), "{ports:?}");
            let shown = sh("ip -o link show p1; ip -o link show pg-xdp");
            assert_eq!(shown.matches("xdpgeneric").count(), 2, "{shown}");
            handle.stop().await;
        }
    });
}
