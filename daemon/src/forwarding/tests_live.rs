//! The whole of it with the real kernel, as root, in a namespace of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp::rib::NextHopInterest;
use fib::{EngineChoice, Family, Fib, FibConfig, TableEdit};

use super::forwarder::{Forwarder, Outputs};
use super::ports::Ports;
use super::topology::Topology;
use super::{
    Farewell, ForwardingConfig, ForwardingError, NextHopSink, NextHopState, RibBatch, RouteChange,
    RouteFilter, RouteTarget, start,
};
use crate::netlink::tests::{in_fresh_namespace, sh};
use crate::xdp::{AttachedMode, DataPlane, XdpMode};

pub(super) struct Heard(pub(super) tokio::sync::mpsc::UnboundedSender<(IpAddr, bool)>);

impl NextHopSink for Heard {
    fn next_hop(&mut self, addr: IpAddr, cost: Option<u32>) {
        let _ = self.0.send((addr, cost.is_some()));
    }
}

pub(super) fn config(interfaces: &[&str]) -> ForwardingConfig {
    let tables = FibConfig { capacity_v4: 1000, capacity_v6: 1000, ..FibConfig::default() };
    ForwardingConfig {
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        mode: XdpMode::Auto,
        router_id: Ipv4Addr::new(10, 99, 0, 1),
        tables,
        next_hop_via_default: false,
        hash_seed: 1,
        audit_interval: Some(Duration::from_mins(1)),
        keep: false,
    }
}

pub(super) fn lay_out() {
    sh("echo 1 > /proc/sys/net/ipv6/conf/default/addr_gen_mode");
    sh("ip link add p1 type veth peer name x1 && ip link set p1 up && ip link set x1 up");
    sh("ip addr add 10.1.0.1/24 dev p1");
}

pub(super) fn index_of(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

/// The ids of the XDP programs on these interfaces, of those that have one.
pub(super) fn programs_on(names: &[&str]) -> Vec<u32> {
    let one = |name: &&str| {
        let shown = sh(&format!("ip link show {name}"));
        let (_, id) = shown.split_once("prog/xdp id ")?;
        id.split_whitespace().next()?.parse().ok()
    };
    names.iter().filter_map(one).collect()
}

/// A thousand words of the direct tables, and some sets and next hops, are overwritten behind the forwarder's back.
#[test]
fn drift_in_the_kernels_maps_is_found_counted_and_repaired() {
    in_fresh_namespace("drift_in_the_kernels_maps_is_found_counted_and_repaired", || async {
        for engine in [EngineChoice::Direct, EngineChoice::LpmTrie] {
            let tables =
                FibConfig { engine, capacity_v4: 10_000, capacity_v6: 10_000, ..FibConfig::default() };
            let mut plane = DataPlane::load(&ForwardingConfig { tables, ..config(&[]) }.plane()).unwrap();
            if engine == EngineChoice::Direct {
                for family in Family::ALL {
                    plane.open_direct(family).unwrap();
                }
            }
            let (sender, _heard) = tokio::sync::mpsc::unbounded_channel();
            let (kept, _) = tokio::sync::watch::channel(std::collections::BTreeSet::new());
            let stats = Arc::default();
            let outputs = Outputs { sink: Box::new(Heard(sender)), kept, stats };
            let ports = Ports::new(Vec::new(), XdpMode::Auto);
            let mut forwarder = Forwarder::new(Fib::new(tables), plane, ports, Topology::new(false), outputs);
            let target = |number: u32| RouteTarget::Via {
                next_hops: vec![IpAddr::V4((0x0a00_0000 + number % 7).into())],
                backup: None,
            };
            let changes = (0..4000_u32).flat_map(|number| {
                let v4 = format!("{}/25", Ipv4Addr::from(0x1400_0000 + (number << 8)));
                let v6 = format!("2001:db8:{number:x}::/48");
                [v4, v6].map(|net| RouteChange { prefix: net.parse().unwrap(), target: target(number) })
            });
            forwarder.routes(changes.collect(), Vec::new());
            forwarder.flush(false);
            let pass = |forwarder: &mut Forwarder<DataPlane>| {
                let passes = forwarder.audit.stats.passes;
                while forwarder.audit.stats.passes == passes {
                    forwarder.audit_every(Some(Duration::from_nanos(1)));
                    forwarder.flush(false);
                }
                (forwarder.audit.stats.drift.iter().sum(), forwarder.audit.stats.repairs.iter().sum())
            };
            assert_eq!(pass(&mut forwarder), (0, 0), "{engine:?}: {:?}", forwarder.audit.stats.recent);

            let mut edits: Vec<TableEdit> = Vec::new();
            for number in 0..500_u32 {
                let mixed = number.wrapping_mul(0x9e37_79b1) % 4000;
                if engine == EngineChoice::Direct {
                    // In the root of IPv4, and in the nodes of both.
                    let [v4, v6] = [Family::Ipv4, Family::Ipv6].map(|family| family.layouts()[0]);
                    let spare = (2 << 20) + number;
                    let fill = |family, first| TableEdit::Fill { family, first, count: 1, value: 0x1f_0000 };
                    edits.push(fill(Family::Ipv4, if number % 2 == 0 { spare } else { v4.node(mixed) }));
                    edits.push(fill(Family::Ipv6, v6.node(mixed / 16) + mixed % 16));
                } else if number % 2 == 0 {
                    let prefix =
                        format!("{}/25", Ipv4Addr::from(0x1400_0000 + (mixed << 8))).parse().unwrap();
                    edits.push(TableEdit::Remove { prefix });
                    let prefix = format!("2001:db8:{mixed:x}::/48").parse().unwrap();
                    edits.push(TableEdit::Insert { prefix, set: 999 });
                } else {
                    let prefix = format!("{}/32", Ipv4Addr::from(0x2800_0000 + mixed)).parse().unwrap();
                    edits.push(TableEdit::Insert { prefix, set: 3 });
                    let prefix = format!("2001:db9:{mixed:x}::/48").parse().unwrap();
                    edits.push(TableEdit::Insert { prefix, set: 3 });
                }
            }
            edits.push(TableEdit::Set { index: 1, value: fib_abi::SetWord { base: 77, slots: 1 } });
            edits.push(TableEdit::NextHop {
                index: 0,
                value: fib_abi::NextHopWord { mtu: 9, ..Default::default() },
            });
            let places: std::collections::BTreeSet<String> = edits
                .iter()
                .map(|edit| match edit {
                    TableEdit::Fill { family, first, .. } => format!("{family:?} {first}"),
                    TableEdit::Insert { prefix, .. } | TableEdit::Remove { prefix } => prefix.to_string(),
                    other => format!("{other:?}"),
                })
                .collect();
            assert!(forwarder.plane.apply(&edits).is_empty());
            let drift = places.len() as u64;
            assert!(drift > 900, "{drift}");
            assert_eq!(
                pass(&mut forwarder),
                (drift, drift),
                "{engine:?}: {:?}",
                forwarder.audit.stats.recent
            );
            assert_eq!(
                pass(&mut forwarder),
                (drift, drift),
                "{engine:?}: {:?}",
                forwarder.audit.stats.recent
            );
            assert_eq!(forwarder.audit.stats.recent.len(), 100);
        }
    });
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
        let batch = |next_hops, routes| RibBatch {
            id: None,
            next_hops,
            routes,
            arrivals: Vec::new(),
            settled: Vec::new(),
        };
        let tracked = vec![NextHopInterest { addr, added: true }];
        handle.room().await.unwrap().send(batch(tracked, Vec::new()));
        assert_eq!(heard.recv().await, Some((addr, true)));
        let prefix = "192.0.2.0/24".parse().unwrap();
        let routes =
            vec![RouteChange { prefix, target: RouteTarget::Via { next_hops: vec![addr], backup: None } }];
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

        handle.stop(Farewell::Remove).await;
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
        let mut other = DataPlane::load(&config(&[]).plane()).unwrap();
        other.attach(index_of("p1"), "p1", XdpMode::Native).unwrap();
        let (sender, _heard) = tokio::sync::mpsc::unbounded_channel();
        for keep in [false, true] {
            let config = ForwardingConfig { keep, ..config(&["p1"]) };
            let error = start(config, Box::new(Heard(sender.clone()))).await.unwrap_err();
            assert!(error.to_string().starts_with("port p1: cannot attach native XDP to p1"), "{error}");
            assert!(!sh("ip rule; ip link").contains("5179") && !sh("ip link").contains("pg-"));
            assert_eq!(programs_on(&["p1"]).len(), 1);
        }
    });
}

#[test]
fn a_second_one_is_refused_before_it_touches_anything() {
    in_fresh_namespace("a_second_one_is_refused_before_it_touches_anything", || async {
        lay_out();
        sh("ip link add p2 type veth peer name x2 && ip link set p2 up && ip link set x2 up");
        let (sender, _heard) = tokio::sync::mpsc::unbounded_channel();
        let first = start(config(&["p1"]), Box::new(Heard(sender.clone()))).await.unwrap();
        let state = || sh("ip rule; ip -6 rule; ip -4 route show table all; ip -d link");
        let before = state();
        // Neither the ports that the first one has nor others.
        for port in ["p1", "p2"] {
            let error = start(config(&[port]), Box::new(Heard(sender.clone()))).await.unwrap_err();
            let whose = format!("packets are forwarded here already, by process {}", std::process::id());
            assert!(error.to_string().starts_with(&whose), "{error}");
            assert_eq!(state(), before, "what the first one has made is untouched");
        }
        first.stop(Farewell::Remove).await;
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
            handle.stop(Farewell::Remove).await;
        }
    });
}
