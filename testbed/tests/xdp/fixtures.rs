//! The XDP program, run by the kernel on one packet at a time (`BPF_PROG_TEST_RUN`).
//!
//! `fixtures.tsv` is a table of packets in, packets out and verdicts, built by scapy
//! (`fixtures.py` beside it). Around it, properties over many packets: every checksum, every flow's
//! share of a set, fragments, jumbo frames, counters that add up.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    process::Command,
};

use fib_abi::{Counter, Verdict};
use testbed::packet::{Frame, Ipv4, Ipv6, Transport, checksum, protocol};

use crate::rig::{
    DROP, ECMP_MEMBERS, HOST_A, HOST_B, IN_PORT, OUR_MAC, OUT_MAC, PASS, PORT_COUNT, REDIRECT, Rig,
    difference, ifindex,
};

const FIXTURES: &str = include_str!("fixtures.tsv");

struct Case {
    name: &'static str,
    ingress: &'static str,
    verdict: Verdict,
    packet: Vec<u8>,
    /// `None`: unchanged.
    out: Option<Vec<u8>>,
}

fn cases() -> Vec<Case> {
    FIXTURES
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let &[name, ingress, verdict, packet, out] = fields.as_slice() else {
                panic!("five fields: {line}");
            };
            let verdict = *Verdict::ALL.iter().find(|it| it.label() == verdict).expect("a verdict's label");
            let out = (out != "=").then(|| unhex(out));
            Case { name, ingress, verdict, packet: unhex(packet), out }
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("four bits");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

#[test]
fn every_packet_of_the_table_has_its_verdict_and_its_bytes() {
    let name = "every_packet_of_the_table_has_its_verdict_and_its_bytes";
    for rig in [Rig::new, Rig::direct, Rig::large] {
        let Some(rig) = rig(name) else { return };
        check(&rig);
    }
}

fn check(rig: &Rig) {
    let mut failures = Vec::new();
    let mut before = rig.verdicts();
    for case in cases() {
        let run = rig.run(&case.packet, case.ingress);
        let after = rig.verdicts();
        let counted: Vec<(&str, Counter)> = difference(&before, &after);
        before = after;
        let expected = Counter { packets: 1, bytes: case.packet.len() as u64 };
        if counted != [(case.verdict.label(), expected)] {
            failures.push(format!("{}: counted {counted:?}, not {}", case.name, case.verdict.label()));
        }
        let action = match case.verdict.action() {
            fib_abi::Action::Forward => REDIRECT,
            fib_abi::Action::Pass => PASS,
            fib_abi::Action::Drop => DROP,
        };
        if run.action != action {
            failures.push(format!("{}: action {}, not {action}", case.name, run.action));
        }
        // What a dropped packet looks like is nobody's business.
        let expected = case.out.as_ref().unwrap_or(&case.packet);
        if run.action != DROP && run.packet != *expected {
            failures.push(format!("{}:\n  got  {}\n  want {}", case.name, hex(&run.packet), hex(expected)));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_table_has_every_verdict_that_one_packet_can_show() {
    let seen: BTreeSet<&str> = cases().iter().map(|case| case.verdict.label()).collect();
    let missing: Vec<&str> =
        Verdict::ALL.iter().map(|verdict| verdict.label()).filter(|label| !seen.contains(label)).collect();
    // A test of its own below: it needs a frame without headroom.
    assert_eq!(missing, [Verdict::Resize.label()]);
}

#[test]
fn the_table_is_what_its_script_writes() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/xdp/fixtures.py");
    let output = Command::new("/usr/bin/python3").args(["-c", "import scapy"]).output();
    if !output.is_ok_and(|output| output.status.success()) {
        testbed::skip::note("the_table_is_what_its_script_writes", "python3-scapy is not installed");
        return;
    }
    let output = Command::new("/usr/bin/python3").arg(script).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), FIXTURES);
}

#[test]
fn every_checksum_is_right_after_the_ttl_is_lowered() {
    let Some(rig) = Rig::new("every_checksum_is_right_after_the_ttl_is_lowered") else { return };
    let mut packet = ipv4_to(1, Transport::Raw(protocol::UDP, vec![0; 8]));
    for id in 0..=u16::MAX {
        packet.id = id;
        // All TTLs that may be forwarded, in turn.
        packet.ttl = 2 + (id % 254) as u8;
        let run = rig.run(&frame(packet.clone()), "in");
        assert_eq!(run.action, REDIRECT, "id {id}");
        assert_eq!(run.packet[14 + 8], packet.ttl - 1, "id {id}");
        assert_eq!(checksum(&run.packet[14..34]), 0, "id {id}: {}", hex(&run.packet[14..34]));
    }
}

#[test]
fn flows_spread_over_a_set_and_each_keeps_its_member() {
    let Some(rig) = Rig::new("flows_spread_over_a_set_and_each_keeps_its_member") else { return };
    for v6 in [false, true] {
        let mut taken: BTreeMap<u32, u32> = BTreeMap::new();
        for flow in 0..4096_u16 {
            let make = |ttl| {
                let transport = Transport::Udp(1024 + flow, 53, b"question".to_vec());
                if v6 { frame(ipv6_flow(ttl, transport)) } else { frame(ipv4_flow(ttl, transport)) }
            };
            let member = rig.member_taken(&make(64));
            assert_eq!(rig.member_taken(&make(9)), member, "flow {flow}: another packet, the same member");
            *taken.entry(member).or_default() += 1;
        }
        // 1,024 each is fair; six standard deviations are 166.
        assert_eq!(taken.len(), ECMP_MEMBERS.len(), "{taken:?}");
        assert!(taken.values().all(|count| (858..=1190).contains(count)), "{taken:?}");
    }
}

#[test]
fn flows_that_differ_only_in_addresses_spread_too() {
    let Some(rig) = Rig::new("flows_that_differ_only_in_addresses_spread_too") else { return };
    let mut taken = BTreeSet::new();
    let mut taken_v6 = BTreeSet::new();
    for host in 0..64_u8 {
        let mut packet = ipv4_flow(64, Transport::Echo(1, 1, Vec::new()));
        packet.source = Ipv4Addr::new(192, 0, 2, host);
        taken.insert(rig.member_taken(&frame(packet)));
        let mut packet = ipv6_flow(64, Transport::Echo(1, 1, Vec::new()));
        packet.destination = Ipv6Addr::new(0x2001, 0xdb8, 0x12, 0, 0, 0, 0, u16::from(host));
        taken_v6.insert(rig.member_taken(&frame(packet)));
    }
    assert_eq!((taken.len(), taken_v6.len()), (ECMP_MEMBERS.len(), ECMP_MEMBERS.len()));
}

#[test]
fn all_fragments_of_a_packet_take_one_member() {
    let Some(rig) = Rig::new("all_fragments_of_a_packet_take_one_member") else { return };
    for flow in 0..64_u16 {
        // The first fragment has the ports, the others have data in their place.
        let whole = Transport::Udp(1024 + flow, 53, vec![0xa5; 64]);
        let data = Transport::Raw(protocol::UDP, vec![flow as u8; 64]);
        let v4 = |fragment, transport| frame(Ipv4 { fragment, ..ipv4_flow(64, transport) });
        let first = rig.member_taken(&v4(0x2000, whole.clone()));
        assert_eq!(rig.member_taken(&v4(0x2009, data.clone())), first, "IPv4 middle, flow {flow}");
        assert_eq!(rig.member_taken(&v4(0x0012, data.clone())), first, "IPv4 last, flow {flow}");

        let v6 = |offset: u16, transport| {
            let mut header = vec![0];
            header.extend(offset.to_be_bytes());
            header.extend([0, 0, 0, 7]);
            frame(Ipv6 { extensions: vec![(protocol::FRAGMENT, header)], ..ipv6_flow(64, transport) })
        };
        let first = rig.member_taken(&v6(1, whole));
        assert_eq!(rig.member_taken(&v6(73, data.clone())), first, "IPv6 middle, flow {flow}");
        assert_eq!(rig.member_taken(&v6(144, data)), first, "IPv6 last, flow {flow}");
    }
}

#[test]
fn padding_is_not_mistaken_for_ports() {
    let Some(rig) = Rig::new("padding_is_not_mistaken_for_ports") else { return };
    let mut members = BTreeSet::new();
    for padding in 0..64_u8 {
        let mut packet =
            Frame::new(OUR_MAC, HOST_A, ipv4_flow(64, Transport::Raw(protocol::UDP, Vec::new())));
        packet.padding = vec![padding; 26];
        members.insert(rig.member_taken(&packet.bytes()));
    }
    assert_eq!(members.len(), 1);
}

#[test]
fn a_jumbo_frame_in_several_buffers_is_forwarded_whole() {
    let Some(rig) = Rig::new("a_jumbo_frame_in_several_buffers_is_forwarded_whole") else { return };
    let make = |ttl| Ipv4 { ttl, ..ipv4_to(11, Transport::Udp(1, 2, vec![0x77; 8000])) };
    let packet = frame(make(64));
    let before = rig.plane.port_counters(IN_PORT).received;
    let run = rig.run(&packet, "in");
    assert_eq!(run.action, REDIRECT);
    assert_eq!(run.packet, Frame::new(HOST_B, OUT_MAC, make(63)).bytes());
    let after = rig.plane.port_counters(IN_PORT).received;
    assert_eq!(after.bytes - before.bytes, packet.len() as u64, "bytes of all buffers are counted");

    let short = Ipv4 { total_length: Some(8029), ..make(64) };
    assert_eq!(rig.verdict(&frame(short), "in"), Verdict::BadTotalLength.label());
    let large = ipv4_to(11, Transport::Udp(1, 2, vec![0; 9001 - 28]));
    assert_eq!(rig.verdict(&frame(large), "in"), Verdict::TooBig.label());
}

#[test]
fn a_frame_without_headroom_for_its_tag_is_dropped_and_counted() {
    let Some(rig) = Rig::new("a_frame_without_headroom_for_its_tag_is_dropped_and_counted") else { return };
    // The kernel keeps 40 of the 256 bytes of headroom; metadata fills the rest.
    let packet = frame(ipv4_to(2, Transport::Udp(1, 2, Vec::new())));
    let before = rig.verdicts();
    let run = rig.plane.test_run_with_metadata(&packet, ifindex("in"), 216).expect("a test run");
    assert_eq!(run.action, DROP);
    let labels: Vec<&str> =
        difference(&before, &rig.verdicts()).into_iter().map(|(label, _)| label).collect();
    assert_eq!(labels, [Verdict::Resize.label()]);
}

#[test]
fn counters_of_verdicts_ports_and_next_hops_add_up() {
    let Some(rig) = Rig::new("counters_of_verdicts_ports_and_next_hops_add_up") else { return };
    let (mut packets, mut bytes) = (0, 0);
    let mut forwarded = Counter::default();
    for case in cases() {
        rig.run(&case.packet, case.ingress);
        packets += 1;
        bytes += case.packet.len() as u64;
        if case.verdict == Verdict::Forwarded {
            forwarded.packets += 1;
            forwarded.bytes += case.packet.len() as u64;
        }
    }
    let verdicts = rig.plane.verdict_counters();
    let total = sum(verdicts.iter().map(|(_, counter)| *counter));
    assert_eq!((total.packets, total.bytes), (packets, bytes), "one verdict for each packet");

    let ports: Vec<_> = (0..PORT_COUNT).map(|port| rig.plane.port_counters(port)).collect();
    let by_action = |action| {
        sum(verdicts.iter().filter(|(verdict, _)| verdict.action() == action).map(|(_, counter)| *counter))
    };
    let received = sum(ports.iter().map(|port| port.received));
    let dropped = sum(ports.iter().map(|port| port.dropped));
    let passed = sum(ports.iter().map(|port| port.passed));
    let sent = sum(ports.iter().map(|port| port.sent));
    assert_eq!(sent, forwarded, "what is forwarded is sent from a port");
    assert_eq!(by_action(fib_abi::Action::Forward), forwarded);
    assert_eq!(
        sum([forwarded, dropped, passed].into_iter()),
        received,
        "what a port receives goes somewhere"
    );
    assert_eq!(sum((0..32).map(|id| rig.plane.next_hop_counters(id))), forwarded);

    // Some frames belong to no port: truncated ones, and unknown ports and VLANs.
    let (portless, _) = cases()
        .iter()
        .filter(|case| {
            matches!(case.verdict, Verdict::UnknownPort | Verdict::UnknownVlan)
                || matches!(case.name, "no VLAN tag" | "no inner VLAN tag")
        })
        .fold((0, 0), |(count, bytes), case| (count + 1, bytes + case.packet.len()));
    assert_eq!(received.packets + portless, packets);
}

fn sum(counters: impl Iterator<Item = Counter>) -> Counter {
    counters.fold(Counter::default(), |sum, counter| Counter {
        packets: sum.packets + counter.packets,
        bytes: sum.bytes + counter.bytes,
    })
}

fn frame(packet: impl Into<testbed::packet::Payload>) -> Vec<u8> {
    Frame::new(OUR_MAC, HOST_A, packet).bytes()
}

fn ipv4_to(leads_to: u8, transport: Transport) -> Ipv4 {
    Ipv4::new(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(10, leads_to, 0, 7), transport)
}

/// To the set with several members.
fn ipv4_flow(ttl: u8, transport: Transport) -> Ipv4 {
    Ipv4 { ttl, ..ipv4_to(12, transport) }
}

fn ipv6_flow(hop_limit: u8, transport: Transport) -> Ipv6 {
    let source = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);
    let destination = Ipv6Addr::new(0x2001, 0xdb8, 0x12, 0, 0, 0, 0, 7);
    Ipv6 { hop_limit, ..Ipv6::new(source, destination, transport) }
}
