//! `DataPlane`: edits reach the maps, failures name themselves, attachments end with their owner.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    process::Command,
    time::Instant,
};

use bgp::types::Family;
use fib::TableEdit;
use ipnet::{IpNet, Ipv4Net};
use peregrine::xdp::{AttachedMode, DataPlane, PlaneConfig, XdpError, XdpMode};

use crate::rig::{Rig, config, ifindex};

fn host_route(number: u32, set: u32) -> TableEdit {
    TableEdit::Insert { prefix: host_prefix(number), set }
}

fn host_prefix(number: u32) -> IpNet {
    IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits((172 << 24) + number), 32).expect("a length"))
}

/// The program that is attached, as `ip` shows it.
fn shown(device: &str) -> String {
    let output = Command::new("ip").args(["link", "show", "dev", device]).output().expect("ip runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn tables_larger_than_a_batch_are_written_read_and_emptied() {
    let Some(mut rig) = Rig::new("tables_larger_than_a_batch_are_written_read_and_emptied") else { return };
    rig.plane = DataPlane::load(&PlaneConfig { capacity_v4: 20_000, ..config() }).expect("a second plane");
    let edits: Vec<TableEdit> = (0..20_000).map(|number| host_route(number, number % 7)).collect();
    assert!(rig.plane.apply(&edits).is_empty());

    let entries: BTreeMap<IpNet, u32> =
        rig.plane.entries(Family::Ipv4Unicast).collect::<Result<_, _>>().expect("readable");
    assert_eq!(entries.len(), 20_000);
    assert!((0..20_000).all(|number| entries[&host_prefix(number)] == number % 7));
    let address = IpAddr::V4(Ipv4Addr::from_bits((172 << 24) + 9000));
    assert_eq!(rig.plane.lookup(address).expect("readable"), Some(9000 % 7));

    let edits: Vec<TableEdit> =
        (0..20_000).map(|number| TableEdit::Remove { prefix: host_prefix(number) }).collect();
    assert!(rig.plane.apply(&edits).is_empty());
    assert_eq!(rig.plane.entries(Family::Ipv4Unicast).count(), 0);
    assert_eq!(rig.plane.lookup(address).expect("readable"), None);
}

#[test]
fn a_full_table_refuses_each_entry_by_name_and_takes_what_follows() {
    let Some(mut rig) = Rig::new("a_full_table_refuses_each_entry_by_name_and_takes_what_follows") else {
        return;
    };
    rig.plane = DataPlane::load(&PlaneConfig { capacity_v4: 100, ..config() }).expect("a second plane");
    let mut edits: Vec<TableEdit> = (0..110).map(|number| host_route(number, 1)).collect();
    // Replacing an entry needs no room; nor does one in the other table.
    edits.push(host_route(5, 2));
    edits.push(TableEdit::Insert { prefix: "2001:db8::/32".parse().expect("a prefix"), set: 3 });
    // Room for one.
    edits.push(TableEdit::Remove { prefix: host_prefix(0) });
    edits.push(host_route(200, 4));

    let failures = rig.plane.apply(&edits);
    let indices: Vec<usize> = failures.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, (100..110).collect::<Vec<_>>());
    for (_, error) in &failures {
        assert!(error.is_full(), "{error}");
        assert!(error.to_string().contains("ROUTES_V4"), "{error}");
    }
    let lookup = |number: u32| {
        rig.plane.lookup(IpAddr::V4(Ipv4Addr::from_bits((172 << 24) + number))).expect("readable")
    };
    assert_eq!(
        (lookup(0), lookup(5), lookup(99), lookup(105), lookup(200)),
        (None, Some(2), Some(1), None, Some(4))
    );
    assert_eq!(rig.plane.lookup("2001:db8::1".parse().expect("an address")).expect("readable"), Some(3));
}

#[test]
fn removing_what_is_gone_is_no_failure() {
    let Some(mut rig) = Rig::new("removing_what_is_gone_is_no_failure") else { return };
    let edits: Vec<TableEdit> = (0..10)
        .map(|number| TableEdit::Remove { prefix: host_prefix(number) })
        .chain([host_route(1, 1), TableEdit::Remove { prefix: host_prefix(2) }])
        .collect();
    assert!(rig.plane.apply(&edits).is_empty());
}

#[test]
fn an_index_beyond_a_table_fails_alone() {
    let Some(mut rig) = Rig::new("an_index_beyond_a_table_fails_alone") else { return };
    let failures = rig.plane.apply(&[TableEdit::Member { slot: 1_000_000, next_hop: 1 }, host_route(1, 1)]);
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].0, 0);
    assert!(failures[0].1.to_string().contains("MEMBERS"), "{}", failures[0].1);
    assert_eq!(rig.plane.entries(Family::Ipv4Unicast).filter(|it| matches!(it, Ok((_, 1)))).count(), 2);
}

#[test]
fn a_veth_attaches_natively_and_only_while_the_plane_lives() {
    let Some(mut rig) = Rig::new("a_veth_attaches_natively_and_only_while_the_plane_lives") else { return };
    let mode = rig.plane.attach(ifindex("in"), "in", XdpMode::Auto).expect("veth has native XDP");
    assert_eq!(mode, AttachedMode::Native);
    assert!(shown("in").contains("prog/xdp"), "{}", shown("in"));
    assert!(matches!(
        rig.plane.attach(ifindex("in"), "in", XdpMode::Auto),
        Err(XdpError::AlreadyAttached { .. })
    ));
    assert!(rig.plane.detach(ifindex("in")));
    assert!(!shown("in").contains("prog/xdp"), "{}", shown("in"));

    rig.plane.attach(ifindex("in"), "in", XdpMode::Native).expect("free again");
    rig.plane.attach(ifindex("out"), "out", XdpMode::Generic).expect("any device has generic XDP");
    assert!(shown("out").contains("xdpgeneric"), "{}", shown("out"));
    drop(rig);
    assert!(!shown("in").contains("xdp") && !shown("out").contains("xdp"));
}

#[test]
fn a_device_without_native_xdp_falls_back_to_generic() {
    let Some(mut rig) = Rig::new("a_device_without_native_xdp_falls_back_to_generic") else { return };
    let error = rig.plane.attach(ifindex("lo"), "lo", XdpMode::Native).expect_err("lo has no native XDP");
    assert!(error.to_string().contains("EOPNOTSUPP"), "{error}");
    let mode = rig.plane.attach(ifindex("lo"), "lo", XdpMode::Auto).expect("generic");
    assert_eq!(mode, AttachedMode::Generic);
}

#[test]
fn jumbo_interfaces_attach_natively() {
    let Some(mut rig) = Rig::new("jumbo_interfaces_attach_natively") else { return };
    for device in ["in", "none"] {
        let status = Command::new("ip").args(["link", "set", "dev", device, "mtu", "9000"]).status();
        assert!(status.expect("ip runs").success());
    }
    let mode = rig.plane.attach(ifindex("in"), "in", XdpMode::Native).expect("the program takes fragments");
    assert_eq!(mode, AttachedMode::Native);
}

#[test]
fn an_interface_with_another_program_is_refused_with_what_to_do() {
    let Some(mut rig) = Rig::new("an_interface_with_another_program_is_refused_with_what_to_do") else {
        return;
    };
    let mut other = DataPlane::load(&config()).expect("a second plane");
    other.attach(ifindex("in"), "in", XdpMode::Auto).expect("free");
    let error = rig.plane.attach(ifindex("in"), "in", XdpMode::Auto).expect_err("taken");
    assert!(error.to_string().contains("EBUSY") && error.to_string().contains("xdp off"), "{error}");
    let error = rig.plane.attach(1_000_000, "gone", XdpMode::Auto).expect_err("no such interface");
    assert!(error.to_string().contains("no such interface"), "{error}");
}

#[test]
fn a_grace_period_ends_soon() {
    let Some(rig) = Rig::new("a_grace_period_ends_soon") else { return };
    let start = Instant::now();
    for _ in 0..10 {
        rig.plane.grace_period().expect("a map update");
    }
    assert!(start.elapsed().as_secs() < 5, "{:?} for ten", start.elapsed());
}

#[test]
fn counters_of_a_reused_next_hop_start_anew() {
    let Some(mut rig) = Rig::new("counters_of_a_reused_next_hop_start_anew") else { return };
    let case = include_str!("fixtures.tsv").lines().next().expect("a line");
    let packet = case.split('\t').nth(3).expect("a packet");
    let packet: Vec<u8> = (0..packet.len() / 2)
        .map(|at| u8::from_str_radix(&packet[2 * at..2 * at + 2], 16).expect("hex"))
        .collect();
    rig.run(&packet, "in");
    assert_eq!(rig.plane.next_hop_counters(1).packets, 1);
    rig.plane.reset_next_hop_counters(1).expect("a map update");
    assert_eq!(rig.plane.next_hop_counters(1).packets, 0);
}
