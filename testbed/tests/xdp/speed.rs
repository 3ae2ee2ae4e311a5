//! First figures: nanoseconds from frame to redirect, by `BPF_PROG_TEST_RUN`.
//!
//! One packet over and over: everything is in the cache, and neither driver nor transmission is part
//! of it. A lower bound for comparing two versions of the program, not a packet rate.
//!
//! Random destinations in a full table, each once: hardly anything of the table is in the cache. Beside it
//! stands one destination over and over, which is what all but the lookup costs, and a lookup in the cache.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use fib::EngineChoice;
use fib_abi::{Port, PortKey};
use ipnet::IpNet;
use testbed::packet::{Frame, Ipv4, Ipv6, Payload, Transport};

use crate::direct::{Lab, Random, packet};
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

/// Destinations of each family.
const DESTINATIONS: usize = 20_000;

#[test]
#[ignore = "a measurement; TABLE names files of PREFIX ORIGIN lines, separated by colons"]
fn nanoseconds_for_random_destinations_in_a_full_table() {
    let files = std::env::var("TABLE").expect("TABLE is set");
    let lines = files.split(':').map(|file| std::fs::read_to_string(file).expect("readable"));
    let routes: Vec<(IpNet, u32)> = lines
        .flat_map(|text| {
            let route = |line: &str| line.split_once(' ').map(|(net, asn)| (net.parse(), asn.trim().parse()));
            text.lines().filter_map(route).collect::<Vec<_>>()
        })
        .map(|(net, origin)| (net.expect("a prefix"), origin.expect("a number")))
        .collect();
    for (engine, nodes) in
        [(EngineChoice::LpmTrie, 0), (EngineChoice::Direct, u32::MAX), (EngineChoice::Direct, 0)]
    {
        let Some(mut rig) = Rig::new("nanoseconds_for_random_destinations_in_a_full_table") else { return };
        let mut lab = Lab::new(&mut rig, engine, 4, nodes);
        for (prefix, origin) in &routes {
            lab.insert(*prefix, (origin.wrapping_mul(0x9e37_79b1) >> 30) as u8);
        }
        lab.commit();
        let port = ifindex("in");
        let probe = lab.plane.probe().expect("a program");
        let mean = |packets: &[Vec<u8>]| -> u64 {
            let mut times: Vec<_> = packets
                .iter()
                .map(|packet| probe.test_run(packet, port, 1).expect("a test run").duration.as_nanos() as u64)
                .collect();
            // Interrupts are no part of it.
            times.sort_unstable();
            let kept = &times[..times.len() * 95 / 100];
            kept.iter().sum::<u64>() / kept.len() as u64
        };
        let mut random = Random(3);
        let mut packets = |v6: bool| -> Vec<Vec<u8>> {
            let of_family: Vec<IpNet> =
                routes.iter().map(|(net, _)| *net).filter(|net| net.addr().is_ipv6() == v6).collect();
            (0..DESTINATIONS)
                .map(|_| {
                    let net = of_family[random.next() as usize % of_family.len()];
                    let wide = u128::from(random.next()) << 96 | u128::from(random.next()) << 40;
                    let address = match net.network() {
                        IpAddr::V4(first) => {
                            let host = ((wide >> 96) as u32).checked_shr(net.prefix_len().into());
                            IpAddr::V4((first.to_bits() | host.unwrap_or(0)).into())
                        }
                        IpAddr::V6(first) => {
                            IpAddr::V6((first.to_bits() | (wide >> net.prefix_len())).into())
                        }
                    };
                    packet(address)
                })
                .collect()
        };
        for v6 in [false, true] {
            let many = packets(v6);
            let one = vec![many[0].clone(); DESTINATIONS];
            let size = if engine == EngineChoice::Direct && nodes == 0 { "large" } else { "" };
            let family = if v6 { "IPv6" } else { "IPv4" };
            println!("{engine:?} {size}, {family}: one {} ns, random {} ns", mean(&one), mean(&many));
        }
    }
}
