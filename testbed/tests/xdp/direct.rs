//! The direct tables in the kernel: the whole of a random table, and the move from the trie under traffic.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use fib::{
    DIRECT_FROM, EngineChoice, EngineKind, Family, Fib, FibConfig, NextHopId, NextHopKey, Resolution, SetId,
    TableEdit,
};
use fib_abi::Adjacency;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use peregrine::xdp::{DataPlane, PlaneConfig, Probe, XdpMode};
use testbed::packet::{Frame, Ipv4, Ipv6, Payload, Transport};

use crate::rig::{HOST_A, OUR_MAC, OUT_MAC, REDIRECT, Rig, config, ifindex};

/// A data plane with the FIB that writes it, and a set for each neighbour, told apart by its MAC.
pub(crate) struct Lab {
    pub(crate) fib: Fib,
    pub(crate) plane: DataPlane,
    sets: Vec<SetId>,
}

fn mac(neighbour: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, neighbour]
}

pub(crate) fn packet(to: IpAddr) -> Vec<u8> {
    let transport = || Transport::Udp(1, 2, vec![0; 18]);
    let payload: Payload = match to {
        IpAddr::V4(to) => Ipv4::new(Ipv4Addr::new(192, 0, 2, 1), to, transport()).into(),
        IpAddr::V6(to) => {
            Ipv6::new(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1), to, transport()).into()
        }
    };
    Frame::new(OUR_MAC, HOST_A, payload).bytes()
}

/// The neighbour that a packet to an address is sent to.
fn neighbour(probe: &Probe, port: u32, to: &[u8]) -> Option<u8> {
    let run = probe.test_run(to, port, 1).expect("a test run");
    (run.action == REDIRECT).then(|| {
        assert_eq!(run.packet[..5], mac(0)[..5]);
        run.packet[5]
    })
}

impl Lab {
    /// In the namespace of a rig, whose plane gives way. Direct tables grow when they have about `first` nodes,
    /// or when their first size is nearly used up.
    pub(crate) fn new(rig: &mut Rig, engine: EngineChoice, neighbours: u8, first: u32) -> Self {
        let capacity = 1_000_000;
        let tables = PlaneConfig {
            capacity_v4: capacity,
            capacity_v6: capacity,
            sets: 128,
            members: 1024,
            ..config()
        };
        let plane = DataPlane::load(&tables).expect("a second plane");
        rig.plane = DataPlane::load(&config()).expect("a third one, which nobody uses");
        let mut fib = Fib::new(FibConfig {
            engine,
            capacity_v4: capacity as usize,
            capacity_v6: capacity as usize,
            nodes_v4: [first, u32::MAX],
            nodes_v6: [first, u32::MAX],
            sets: tables.sets,
            members: tables.members,
            ecmp_slots: 64,
            next_hops: tables.next_hops,
            adjacencies: tables.adjacencies,
        });
        let mut lab_sets = Vec::new();
        for number in 0..neighbours {
            let addr = IpAddr::V4(Ipv4Addr::new(10, 255, 0, number));
            let hop: NextHopId = fib.next_hop(NextHopKey::Via { addr, ifindex: 1 }).expect("room");
            let adjacency = Adjacency {
                ifindex: ifindex("out"),
                port: 5,
                dst_mac: mac(number),
                src_mac: OUT_MAC,
                ..Adjacency::default()
            };
            fib.resolve(hop, Resolution::Forward { adjacency, mtu: 1500 }).expect("a neighbour");
            let set = fib.set(&[hop]).expect("room");
            // Keeps the set.
            let prefix = Ipv4Net::new(Ipv4Addr::new(172, 31, 255, number), 32).expect("a length");
            fib.insert(prefix.into(), set).expect("the set lives");
            lab_sets.push(set);
        }
        let mut lab = Self { fib, plane, sets: lab_sets };
        let port = fib_abi::PortKey { ifindex: ifindex("in"), outer_vlan: 0, inner_vlan: 0 };
        lab.plane.set_port(port, fib_abi::Port { id: 0, flags: 0, mac: OUR_MAC }).expect("room for a port");
        lab.plane.set_egress(ifindex("out")).expect("room for an egress");
        if engine == EngineChoice::Direct {
            for family in Family::ALL {
                lab.plane.open_direct(family).expect("memory");
            }
        }
        // An attached program is run at once; for another the kernel would rewrite its dispatcher each time.
        lab.plane.attach(ifindex("in"), "in", XdpMode::Auto).expect("free");
        lab.commit();
        lab
    }

    /// As the daemon does it.
    pub(crate) fn commit(&mut self) -> usize {
        for family in Family::ALL {
            if self.fib.wants_direct(family) {
                self.plane.open_direct(family).expect("memory");
                self.fib.move_to_direct(family, |_| false);
            }
        }
        let mut edits = Vec::new();
        let plane = &mut self.plane;
        self.fib.commit(&mut edits, |family| plane.open_larger(family).is_ok());
        let failures = self.plane.apply(&edits);
        assert!(failures.is_empty(), "{failures:?}");
        if self.fib.needs_grace() {
            self.plane.grace_period().expect("a map update");
            self.fib.grace_elapsed();
        }
        edits.iter().filter(|edit| matches!(edit, TableEdit::Insert { .. })).count()
    }

    /// Whether the tables have another size than the first.
    fn has_grown(&self) -> [bool; 2] {
        let stats = self.fib.stats();
        let first = Family::ALL.map(|family| family.layouts()[0].bytes());
        [stats.ipv4.map_bytes > first[0], stats.ipv6.map_bytes > first[1]]
    }

    pub(crate) fn insert(&mut self, prefix: IpNet, neighbour: u8) {
        self.fib.insert(prefix, self.sets[usize::from(neighbour)]).expect("the set lives");
    }
}

/// A generator (Knuth's multiplier), the high bits of which are random enough.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// Below 10.0.0.0/8 and `2001:db8::/32`, crowded, of all lengths.
    fn prefix(&mut self) -> IpNet {
        let len = (self.next() % 25) as u8;
        if self.next().is_multiple_of(2) {
            let bits = (10 << 24) + (self.next() & 0x0003_03ff);
            return Ipv4Net::new(bits.into(), 8 + len).expect("a length").trunc().into();
        }
        let bits =
            (0x2001_0db8_u128 << 96) + (u128::from(self.next() & 0x0f0f) << 72) + u128::from(self.next() & 3);
        let len = if self.next().is_multiple_of(8) { 128 } else { 32 + len };
        Ipv6Net::new(bits.into(), len).expect("a length").trunc().into()
    }
}

fn boundaries(prefix: &IpNet) -> Vec<IpAddr> {
    match prefix {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first - 1, first, last, last + 1].map(|bits| IpAddr::V4(bits.into())).to_vec()
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first - 1, first, last, last + 1].map(|bits| IpAddr::V6(bits.into())).to_vec()
        }
    }
}

#[test]
fn the_program_finds_the_longest_match_in_either_engine() {
    let name = "the_program_finds_the_longest_match_in_either_engine";
    // The third ones grow when they have some routes, and go on there.
    for (engine, nodes) in
        [(EngineChoice::LpmTrie, 0), (EngineChoice::Direct, u32::MAX), (EngineChoice::Direct, 16)]
    {
        let Some(mut rig) = Rig::new(name) else { return };
        let mut lab = Lab::new(&mut rig, engine, 8, nodes);
        let probe = lab.plane.probe().expect("a program");
        let mut random = Random(1);
        let mut routes: BTreeMap<IpNet, u8> = BTreeMap::new();
        for round in 0..6 {
            for _ in 0..120 {
                let (prefix, to) = (random.prefix(), (random.next() % 8) as u8);
                lab.insert(prefix, to);
                routes.insert(prefix, to);
            }
            let gone: Vec<IpNet> =
                routes.keys().copied().filter(|_| random.next().is_multiple_of(3)).collect();
            for prefix in gone {
                lab.fib.remove(prefix);
                routes.remove(&prefix);
            }
            lab.commit();
            for address in routes.keys().flat_map(boundaries) {
                let longest = routes.iter().filter(|(net, _)| net.contains(&address));
                let meant = longest.max_by_key(|(net, _)| net.prefix_len()).map(|(_, to)| *to);
                let got = neighbour(&probe, ifindex("in"), &packet(address));
                assert_eq!(got, meant, "{address} in round {round} with {engine:?}, {nodes} nodes");
                let set = lab.plane.lookup(address).expect("readable");
                assert_eq!(set, meant.map(|to| lab.sets[usize::from(to)].0), "{address} in the map");
            }
        }
        assert_eq!(lab.has_grown(), [nodes == 16; 2]);
    }
}

/// A route that never changes, one that changes all the time, and one that comes and goes below another.
const STEADY: u8 = 0;
const FLIPS: [u8; 2] = [1, 2];
const PARENT: u8 = 3;
const CHILD: u8 = 4;

#[test]
fn no_packet_is_lost_or_led_astray_while_a_table_moves_to_another_engine_and_grows() {
    let name = "no_packet_is_lost_or_led_astray_while_a_table_moves_to_another_engine_and_grows";
    let Some(mut rig) = Rig::new(name) else { return };
    // Half as many as the table has in the end.
    let mut lab = Lab::new(&mut rig, EngineChoice::Auto, 5, 1000);
    let net = |text: &str| -> IpNet { text.parse().expect("a prefix") };
    let probes = [
        ("10.1.2.3", vec![STEADY]),
        ("10.2.2.3", FLIPS.to_vec()),
        ("10.3.7.3", vec![PARENT, CHILD]),
        ("2001:db8:1::7", vec![STEADY]),
        ("2001:db8:2::7", FLIPS.to_vec()),
        ("2001:db8:3:7::7", vec![PARENT, CHILD]),
    ];
    for prefix in ["10.1.0.0/16", "2001:db8:1::/48"] {
        lab.insert(net(prefix), STEADY);
    }
    for prefix in ["10.2.0.0/16", "2001:db8:2::/48"] {
        lab.insert(net(prefix), FLIPS[0]);
    }
    for prefix in ["10.3.0.0/16", "2001:db8:3::/48"] {
        lab.insert(net(prefix), PARENT);
    }
    lab.commit();
    assert_eq!(lab.fib.stats().ipv4.engine, EngineKind::LpmTrie);

    let (done, runs) = (AtomicBool::new(false), AtomicU64::new(0));
    let probe = lab.plane.probe().expect("a program");
    let port = ifindex("in");
    let packets: Vec<(Vec<u8>, &str, &[u8])> = probes
        .iter()
        .map(|(to, answers)| (packet(to.parse().expect("an address")), *to, answers.as_slice()))
        .collect();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut seen: BTreeMap<&str, BTreeMap<Option<u8>, u32>> = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                for (packet, to, _) in &packets {
                    *seen.entry(to).or_default().entry(neighbour(&probe, port, packet)).or_default() += 1;
                }
                runs.fetch_add(1, Ordering::Relaxed);
            }
            seen
        });
        let mut most_entries = 0;
        for step in 0..400_u32 {
            let flip = FLIPS[step as usize % 2];
            lab.insert(net("10.2.0.0/16"), flip);
            lab.insert(net("2001:db8:2::/48"), flip);
            for child in ["10.3.7.0/28", "2001:db8:3:7::/64"] {
                if step % 2 == 0 {
                    lab.insert(net(child), CHILD);
                } else {
                    lab.fib.remove(net(child));
                }
            }
            // The table grows until it is large enough to be moved, and then beyond.
            for number in (step * 50)..(step * 50 + 50) {
                let to = (number % 3) as u8;
                let len = if number % 16 == 0 { 25 } else { 24 };
                let prefix = Ipv4Net::new(((20 << 24) + (number << 8)).into(), len).expect("a length");
                lab.insert(prefix.into(), to);
                let bits = (0x2002_u128 << 112) + (u128::from(number) << 80);
                lab.insert(Ipv6Net::new(bits.into(), 48).expect("a length").into(), to);
            }
            most_entries = most_entries.max(lab.commit());
            // Let the other thread see each state on a machine with one processor too.
            let before = runs.load(Ordering::Relaxed);
            while runs.load(Ordering::Relaxed) == before && !asking.is_finished() {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
        let seen = asking.join().expect("every answer is one of a route");
        for (_, to, answers) in &packets {
            let got: Vec<Option<u8>> = seen[to].keys().copied().collect();
            let meant: Vec<Option<u8>> = answers.iter().copied().map(Some).collect();
            assert_eq!(got, meant, "answers for {to}: {:?}", seen[to]);
        }
    });
    let stats = lab.fib.stats();
    assert!(stats.ipv4.routes > DIRECT_FROM && stats.ipv6.routes > DIRECT_FROM);
    assert_eq!((stats.ipv4.engine, stats.ipv6.engine), (EngineKind::Direct, EngineKind::Direct));
    assert_eq!(lab.has_grown(), [true, true]);
    for family in [bgp::types::Family::Ipv4Unicast, bgp::types::Family::Ipv6Unicast] {
        assert_eq!(lab.plane.entries(family).count(), 0, "what is left of the trie");
    }
}
