//! A loaded data plane with small tables, in a network namespace of its own, with either engine.
//!
//! Interfaces `in`, `host` and `none` (no port) receive, `out` sends. `10.N.0.0/16` and `2001:db8:N::/48` lead to
//! set N, as `fixtures.py` counts them.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    process::Command,
};

use fib::{Family, TableEdit};
use fib_abi::{
    Adjacency, Counter, NextHopKind, NextHopWord, Port, PortKey, SERVICE_TAG, SetWord, Verdict, port_flags,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::sched::{CloneFlags, unshare};
use peregrine::xdp::{DataPlane, PlaneConfig, TestRun};

use crate::painter::Painter;

pub(crate) const DROP: u32 = 1;
pub(crate) const PASS: u32 = 2;
pub(crate) const REDIRECT: u32 = 4;

pub(crate) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const OUT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const HOST_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
pub(crate) const HOST_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

/// Ids of the ports.
pub(crate) const IN_PORT: u32 = 0;
const HOST_PORT: u32 = 4;
const OUT_PORT: u32 = 5;
pub(crate) const PORT_COUNT: u32 = 6;

/// Next hops of set 12, and the slots that each has.
pub(crate) const ECMP_MEMBERS: [u32; 4] = [20, 21, 22, 23];
const ECMP_SLOTS: u32 = 64;
const ECMP_SET: u8 = 12;

pub(crate) struct Rig {
    pub(crate) plane: DataPlane,
}

impl Rig {
    /// With LPM tries. `None`, said so, when the machine cannot do it.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let mut rig = Self::empty(test)?;
        rig.write(&routes());
        Some(rig)
    }

    /// Likewise with direct tables.
    pub(crate) fn direct(test: &str) -> Option<Self> {
        let mut rig = Self::empty(test)?;
        for family in Family::ALL {
            rig.plane.open_direct(family).expect("memory for a direct table");
        }
        rig.write(&Painter::paint(routes()));
        rig.write(&Family::ALL.map(|family| TableEdit::Serve { family }));
        Some(rig)
    }

    /// Likewise with direct tables that have grown.
    pub(crate) fn large(test: &str) -> Option<Self> {
        let mut rig = Self::direct(test)?;
        for family in Family::ALL {
            rig.plane.open_larger(family).expect("memory for a larger table");
            rig.write(&[TableEdit::Grow { family }, TableEdit::Serve { family }]);
        }
        Some(rig)
    }

    fn write(&mut self, edits: &[TableEdit]) {
        let failures = self.plane.apply(edits);
        assert!(failures.is_empty(), "{failures:?}");
    }

    fn empty(test: &str) -> Option<Self> {
        if !testbed::skip::ready(test, &["ip"]) {
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        for link in [["in", "none"], ["host", "out"]] {
            let status = Command::new("ip")
                .args(["link", "add", link[0], "type", "veth", "peer", "name", link[1]])
                .status()
                .expect("ip runs");
            assert!(status.success(), "ip link add");
        }
        let mut plane = DataPlane::load(&config()).expect("the kernel accepts the program");
        fill(&mut plane);
        Some(Self { plane })
    }

    pub(crate) fn run(&self, packet: &[u8], ingress: &str) -> TestRun {
        self.plane.test_run(packet, ifindex(ingress), 1).expect("a test run")
    }

    pub(crate) fn verdicts(&self) -> Vec<(Verdict, Counter)> {
        self.plane.verdict_counters()
    }

    /// The one verdict that a packet is counted under.
    pub(crate) fn verdict(&self, packet: &[u8], ingress: &str) -> &'static str {
        let before = self.verdicts();
        self.run(packet, ingress);
        let counted = difference(&before, &self.verdicts());
        assert_eq!(counted.len(), 1, "one verdict: {counted:?}");
        counted[0].0
    }

    /// The member of the set of several that forwards this packet.
    pub(crate) fn member_taken(&self, packet: &[u8]) -> u32 {
        let counts = || ECMP_MEMBERS.map(|id| self.plane.next_hop_counters(id).packets);
        let before = counts();
        assert_eq!(self.run(packet, "in").action, REDIRECT);
        let after = counts();
        let taken: Vec<u32> = (0..ECMP_MEMBERS.len())
            .filter(|&index| after[index] != before[index])
            .map(|index| ECMP_MEMBERS[index])
            .collect();
        assert_eq!(taken.len(), 1, "one member: {taken:?}");
        taken[0]
    }
}

/// What has been counted in between.
pub(crate) fn difference(
    before: &[(Verdict, Counter)],
    after: &[(Verdict, Counter)],
) -> Vec<(&'static str, Counter)> {
    before
        .iter()
        .zip(after)
        .filter(|(before, after)| before != after)
        .map(|((_, before), (verdict, after))| {
            let packets = after.packets - before.packets;
            (verdict.label(), Counter { packets, bytes: after.bytes - before.bytes })
        })
        .collect()
}

pub(crate) fn ifindex(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).expect("the interface exists")
}

pub(crate) fn config() -> PlaneConfig {
    PlaneConfig {
        capacity_v4: 64,
        capacity_v6: 64,
        sets: 32,
        members: 256,
        next_hops: 32,
        adjacencies: 32,
        ports: 8,
        hash_seed: 0x5eed,
    }
}

fn next_hop(kind: NextHopKind, mtu: u16, adjacency: u32) -> NextHopWord {
    NextHopWord { kind: kind as u8, reserved: 0, mtu, adjacency }
}

fn fill(plane: &mut DataPlane) {
    let (ingress, host, out) = (ifindex("in"), ifindex("host"), ifindex("out"));
    let ports = [
        (PortKey { ifindex: ingress, outer_vlan: 0, inner_vlan: 0 }, IN_PORT, 0),
        (PortKey { ifindex: ingress, outer_vlan: 10, inner_vlan: 0 }, 1, 0),
        (PortKey { ifindex: ingress, outer_vlan: 20, inner_vlan: 30 }, 2, 0),
        (PortKey { ifindex: ingress, outer_vlan: SERVICE_TAG + 40, inner_vlan: 50 }, 3, 0),
        (PortKey { ifindex: host, outer_vlan: 0, inner_vlan: 0 }, HOST_PORT, port_flags::HOST),
    ];
    for (key, id, flags) in ports {
        plane.set_port(key, Port { id, flags, mac: OUR_MAC }).expect("room for a port");
    }
    plane.set_egress(out).expect("room for an egress");

    let adjacency = |ifindex, outer_vlan, inner_vlan| Adjacency {
        ifindex,
        port: OUT_PORT,
        dst_mac: HOST_B,
        src_mac: OUT_MAC,
        outer_vlan,
        inner_vlan,
    };
    // Set N has slot N with next hop N; set 0 is left empty.
    let forward = |mtu, adjacency| next_hop(NextHopKind::Forward, mtu, adjacency);
    let mut next_hops = vec![
        (1, forward(1500, 1), Some(adjacency(out, 0, 0))),
        (2, forward(1500, 2), Some(adjacency(out, 100, 0))),
        (3, forward(1500, 3), Some(adjacency(out, 200, 300))),
        (4, forward(1500, 4), Some(adjacency(out, SERVICE_TAG + 400, 500))),
        (5, forward(1500, 5), Some(adjacency(ingress, 0, 0))),
        (6, next_hop(NextHopKind::Local, 0, 0), None),
        (7, next_hop(NextHopKind::Blackhole, 0, 0), None),
        (8, next_hop(NextHopKind::Reject, 0, 0), None),
        (9, next_hop(NextHopKind::Unset, 0, 0), None),
        (11, forward(9000, 1), None),
        (13, next_hop(NextHopKind::Glean, 0, 0), None),
    ];
    let mut edits = Vec::new();
    for (id, word, adjacency) in next_hops.drain(..) {
        if let Some(value) = adjacency {
            edits.push(TableEdit::Adjacency { index: id, value });
        }
        edits.push(TableEdit::NextHop { index: id, value: word });
        edits.push(TableEdit::Member { slot: id, next_hop: id });
        edits.push(TableEdit::Set { index: id, value: SetWord { base: id, slots: 1 } });
    }
    for id in ECMP_MEMBERS {
        edits.push(TableEdit::NextHop { index: id, value: forward(1500, 1) });
    }
    let base = 100;
    for slot in 0..ECMP_SLOTS {
        let next_hop = ECMP_MEMBERS[slot as usize % ECMP_MEMBERS.len()];
        edits.push(TableEdit::Member { slot: base + slot, next_hop });
    }
    edits.push(TableEdit::Set { index: u32::from(ECMP_SET), value: SetWord { base, slots: ECMP_SLOTS } });
    let failures = plane.apply(&edits);
    assert!(failures.is_empty(), "{failures:?}");
}

fn routes() -> Vec<TableEdit> {
    let mut edits = Vec::new();
    for number in (1..=12).filter(|&number| number != 6) {
        let (v4, v6) = prefixes(number);
        edits.push(TableEdit::Insert { prefix: v4, set: u32::from(number) });
        edits.push(TableEdit::Insert { prefix: v6, set: u32::from(number) });
    }
    // The connected subnets, and our own addresses in them.
    let (v4, v6) = prefixes(6);
    edits.push(TableEdit::Insert { prefix: v4, set: 13 });
    edits.push(TableEdit::Insert { prefix: v6, set: 13 });
    edits.push(TableEdit::Insert { prefix: "10.6.0.1/32".parse().expect("a prefix"), set: 6 });
    edits.push(TableEdit::Insert { prefix: "2001:db8:6::1/128".parse().expect("a prefix"), set: 6 });
    edits
}

fn prefixes(number: u8) -> (IpNet, IpNet) {
    let v4 = Ipv4Net::new(Ipv4Addr::new(10, number, 0, 0), 16).expect("a length");
    let v6 = Ipv6Addr::new(
        0x2001,
        0xdb8,
        u16::from_str_radix(&number.to_string(), 16).expect("hex"),
        0,
        0,
        0,
        0,
        0,
    );
    let v6 = Ipv6Net::new(v6, 48).expect("a length");
    (v4.into(), v6.into())
}
