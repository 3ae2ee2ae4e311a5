//! A first figure: nanoseconds from frame to redirect, by `BPF_PROG_TEST_RUN`.
//!
//! One packet over and over: everything is in the cache, and neither driver nor transmission is part
//! of it. A lower bound for comparing two versions of the program, not a packet rate.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use fib_abi::{Port, PortKey};
use testbed::packet::{Frame, Ipv4, Ipv6, Payload, Transport};

use crate::rig::{DROP, HOST_A, HOST_B, IN_PORT, PASS, REDIRECT, Rig, ifindex};

/// TTL 255 allows so many runs on the same packet.
const RUNS: u32 = 250;
/// Each round costs the kernel some 20 ms to switch its XDP dispatcher over.
const ROUNDS: u32 = 100;

#[test]
#[ignore = "a measurement"]
fn nanoseconds_for_each_forwarded_packet() {
    let Some(mut rig) = Rig::new("nanoseconds_for_each_forwarded_packet") else { return };
    // The program runs on its own output, which is addressed to the next hop.
    let key = PortKey { ifindex: ifindex("in"), outer_vlan: 0, inner_vlan: 0 };
    rig.plane.set_port(key, Port { id: IN_PORT, flags: 0, mac: HOST_B }).expect("room for a port");
    let transport = || Transport::Udp(1, 2, vec![0; 18]);
    let v4 = |to| -> Payload {
        let packet = Ipv4::new(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(10, to, 0, 7), transport());
        Ipv4 { ttl: 255, ..packet }.into()
    };
    let v6 = |to| -> Payload {
        let source = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);
        let packet = Ipv6::new(source, Ipv6Addr::new(0x2001, 0xdb8, to, 0, 0, 0, 0, 7), transport());
        Ipv6 { hop_limit: 255, ..packet }.into()
    };
    let arp = || Payload::Other(0x0806, vec![0; 46]);
    for (name, payload, action) in [
        ("ARP, passed up", arp(), PASS),
        ("IPv4, no route", v4(200), DROP),
        ("IPv4, local", v4(6), PASS),
        ("IPv4", v4(1), REDIRECT),
        ("IPv4, 4 members", v4(12), REDIRECT),
        ("IPv6", v6(1), REDIRECT),
        ("IPv6, 4 members", v6(0x12), REDIRECT),
    ] {
        let packet = Frame::new(HOST_B, HOST_A, payload).bytes();
        let mut times: Vec<Duration> = (0..ROUNDS)
            .map(|_| {
                let run = rig.plane.test_run(&packet, ifindex("in"), RUNS).expect("a test run");
                assert_eq!(run.action, action, "the last run is like the first");
                run.duration
            })
            .collect();
        times.sort();
        println!("{name}: median {:?}, least {:?} a packet", times[times.len() / 2], times[0]);
    }
}
