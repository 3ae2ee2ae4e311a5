//! Loads a full table from several feeders into a RIB, sends it to a receiver, and says what it took.
//!
//! `rib_load [--shards N] [FILE..]`: each line of a file is `prefix origin-as`. Without files a table is made
//! up. With several shards each has a thread, which is given everything that the feeders send; times on the
//! CPU are summed up. Every feeder announces every prefix with paths of its own, packed as real feeds are: tens of thousands of
//! origins, a few attribute sets for each. Encoding the feeds is not part of the time.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use bgp::policy::PolicyChain;
use bgp::rib::out::{ExportRules, GroupConfig};
use bgp::rib::view::{Page, Wanted};
use bgp::rib::{ImportRules, NextHopState, PeerSession, Reflection, Rib, RibConfig, ShardSpec, Totals};
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, PeerId, RouterId};
use bgp::wire::{
    AsPath, Attributes, Community, DecodeContext, EncodeContext, MAX_MESSAGE, Message, Update, UpdateLayout,
    decode, encode_announce, frame_len,
};
use bytes::{Bytes, BytesMut};
use ipnet::IpNet;

const FEEDERS: u16 = 4;
const OURS: Asn = Asn(4_200_000_000);
const DECODE: DecodeContext = DecodeContext {
    as4: true,
    families: FamilySet::ALL,
    extended: false,
    add_path: FamilySet::EMPTY,
    extended_next_hop: false,
    ebgp: true,
};
const ENCODE: EncodeContext =
    EncodeContext { as4: true, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };

/// Time on the CPU where the kernel tells it, so that other work on the machine does not count.
struct Stopwatch(Option<u64>, Instant);

impl Stopwatch {
    fn start() -> Self {
        Self(Self::on_cpu(), Instant::now())
    }

    fn elapsed(&self) -> Duration {
        match (self.0, Self::on_cpu()) {
            (Some(before), Some(now)) => Duration::from_nanos(now.saturating_sub(before)),
            _ => self.1.elapsed(),
        }
    }

    fn on_cpu() -> Option<u64> {
        std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
    }
}

/// A small generator of numbers (xorshift), so that every run sees the same table.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut table = Vec::new();
    let mut shards = 1;
    let mut arguments = std::env::args().skip(1);
    while let Some(file) = arguments.next() {
        if file == "--shards" {
            shards = arguments.next().ok_or("--shards wants a number")?.parse()?;
            continue;
        }
        for line in std::fs::read_to_string(&file)?.lines() {
            let mut fields = line.split_whitespace();
            if let (Some(prefix), Some(origin)) = (fields.next(), fields.next()) {
                table.push((prefix.parse::<IpNet>()?, Asn(origin.parse()?)));
            }
        }
    }
    if table.is_empty() {
        table = made_up();
    }
    let feeds: Vec<_> = (1..=FEEDERS).map(|feeder| feed(&table, feeder)).collect();
    let prefixes = table.len();
    drop(table);
    println!(
        "{prefixes} prefixes from {FEEDERS} feeders, {} messages",
        feeds.iter().map(Vec::len).sum::<usize>()
    );
    run(&feeds, prefixes, shards);
    Ok(())
}

/// A table like the real one in size and shape of lengths.
fn made_up() -> Vec<(IpNet, Asn)> {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let mut table = Vec::new();
    for index in 0..1_150_000_u32 {
        let length = if index % 10 < 6 { 24 } else { 17 + (index % 7) as u8 };
        let address = Ipv4Addr::from_bits(0x0100_0000 + index * 0xc00);
        table.push((
            IpNet::new_assert(address.into(), length).trunc(),
            Asn(1000 + numbers.next(79_000) as u32),
        ));
    }
    for index in 0..265_000_u128 {
        let length = if index % 2 == 0 { 48 } else { 40 };
        let address = Ipv6Addr::from_bits((0x2001 << 112) + (index << 82));
        table.push((
            IpNet::new_assert(address.into(), length).trunc(),
            Asn(1000 + numbers.next(79_000) as u32),
        ));
    }
    table.sort_unstable();
    table.dedup_by_key(|(prefix, _)| *prefix);
    table
}

/// The messages of one feeder, and the layouts that a session would hand on with them.
fn feed(table: &[(IpNet, Asn)], feeder: u16) -> Vec<(Bytes, UpdateLayout)> {
    let mut numbers = Numbers(0x9e37_79b9 + u64::from(feeder));
    let mut order: Vec<usize> = (0..table.len()).collect();
    // Most origins announce all prefixes alike, some in several ways.
    order.sort_by_key(|&index| {
        let (prefix, origin) = table[index];
        (prefix.addr().is_ipv6(), origin, variant(prefix))
    });
    let mut out = BytesMut::new();
    let key = |index: usize| (table[index].0.addr().is_ipv6(), table[index].1, variant(table[index].0));
    let mut runs: Vec<&[usize]> = order.chunk_by(|&a, &b| key(a) == key(b)).collect();
    // Feeders do not agree on an order.
    for last in (1..runs.len()).rev() {
        runs.swap(last, numbers.next(last as u64 + 1) as usize);
    }
    for run in runs {
        let (prefix, origin) = table[run[0]];
        let family = Family::of(&prefix);
        let next_hop: IpAddr = match family {
            Family::Ipv4Unicast => Ipv4Addr::new(192, 0, 2, feeder as u8).into(),
            Family::Ipv6Unicast => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, feeder).into(),
        };
        let mut path = vec![Asn(65_000 + u32::from(feeder))];
        path.extend((0..=numbers.next(4)).map(|_| Asn(100 + numbers.next(3000) as u32)));
        path.push(origin);
        let attributes = Attributes {
            as_path: AsPath::sequence(path),
            communities: (0..numbers.next(8)).map(|n| Community::new(feeder, n as u16)).collect(),
            ..Attributes::originated(next_hop)
        };
        let nlri = run.iter().map(|&index| table[index].0);
        if let Err(error) = encode_announce(&mut out, family, &attributes, nlri, &ENCODE) {
            println!("not announced: {error}");
        }
    }
    let mut stream = out.freeze();
    let mut messages = Vec::new();
    while let Ok(Some(length)) = frame_len(&stream, MAX_MESSAGE) {
        let frame = stream.split_to(length);
        if let Ok(Message::Update(update)) = decode(&frame, &DECODE) {
            let layout = update.layout();
            messages.push((frame, layout));
        }
    }
    messages
}

fn variant(prefix: IpNet) -> u8 {
    let bits = match prefix {
        IpNet::V4(net) => net.network().to_bits() >> 8,
        IpNet::V6(net) => (net.network().to_bits() >> 80) as u32,
    };
    (bits.wrapping_mul(0x9e37_79b9) >> 30) as u8 / 2
}

/// What a shard took, on its thread, and what it has at the end.
#[derive(Default)]
struct Load {
    updating: Duration,
    draining: Duration,
    sending: Duration,
    drained: usize,
    sent: usize,
    totals: Totals,
}

fn run(feeds: &[Vec<(Bytes, UpdateLayout)>], prefixes: usize, shards: u16) {
    let before = resident();
    let started = Instant::now();
    let mut loaded: Vec<(Rib, Load)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..shards)
            .map(|index| scope.spawn(move || load(feeds, ShardSpec { index, count: shards })))
            .collect();
        threads.into_iter().flat_map(std::thread::ScopedJoinHandle::join).collect()
    });
    let elapsed = started.elapsed();
    let mut sum = Load::default();
    for (rib, load) in &mut loaded {
        load.totals = rib.totals();
        sum.updating += load.updating;
        sum.draining += load.draining;
        sum.sending += load.sending;
        sum.drained += load.drained;
        sum.sent += load.sent;
        sum.totals += load.totals;
    }
    let totals = sum.totals;
    let paths: usize = totals.paths.iter().sum();
    let mut text = String::new();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(paths as u32);
    let _ = writeln!(text, "{paths} paths, {} attribute sets, {prefixes} prefixes", totals.attributes);
    if shards > 1 {
        for (_, load) in &loaded {
            let Totals { paths, attributes, .. } = load.totals;
            let _ = writeln!(
                text,
                "shard    {:7.3} s  {paths:?} paths, {attributes} attribute sets",
                load.updating.as_secs_f64()
            );
        }
    }
    let Load { updating, draining, sending, .. } = sum;
    let _ = writeln!(text, "update   {:7.3} s  {:.3} us a path", updating.as_secs_f64(), each(updating));
    let _ = writeln!(text, "drain    {:7.3} s  {} changes", draining.as_secs_f64(), sum.drained);
    let _ = writeln!(text, "send     {:7.3} s  {} MiB to one peer", sending.as_secs_f64(), sum.sent >> 20);
    let all = updating + draining + sending;
    let _ =
        writeln!(text, "all      {:7.3} s  {:.3} s by the clock", all.as_secs_f64(), elapsed.as_secs_f64());
    let grown = resident().saturating_sub(before);
    let _ = writeln!(
        text,
        "memory   {} MiB resident, {} a path; {} MiB by our own count",
        grown >> 20,
        grown / paths.max(1),
        totals.bytes >> 20
    );
    print!("{text}");

    let started = Stopwatch::start();
    let pages = loaded.iter().map(|(rib, _)| rib.routes(Family::Ipv4Unicast, Wanted::All, None, None, 500));
    let page = Page::merge(pages, |route| route.prefix);
    println!("page     {:7.3} s  {} routes", started.elapsed().as_secs_f64(), page.items.len());
    let started = Stopwatch::start();
    let mut left = Totals::default();
    for (rib, _) in &mut loaded {
        unload(rib);
        left += rib.totals();
    }
    println!("down     {:7.3} s  {:?} left", started.elapsed().as_secs_f64(), left.prefixes);
}

/// The receiver of all routes.
const RECEIVER: PeerId = PeerId(FEEDERS + 1);

/// Gives a shard all that the feeders send, then sends what it has.
fn load(feeds: &[Vec<(Bytes, UpdateLayout)>], shard: ShardSpec) -> (Rib, Load) {
    let mut load = Load::default();
    let config = RibConfig { shard, ..RibConfig::new(OURS, RouterId(Ipv4Addr::new(10, 0, 0, 1))) };
    let mut rib = Rib::new(config);
    for feeder in 1..=FEEDERS {
        rib.peer_up(session(feeder));
    }
    rib.peer_up(session(RECEIVER.0));
    rib.export_up(RECEIVER, group());

    let mut best = Vec::new();
    let longest = feeds.iter().map(Vec::len).max().unwrap_or(0);
    for round in (0..longest).step_by(200) {
        let started = Stopwatch::start();
        for (feeder, feed) in feeds.iter().enumerate() {
            let messages = feed.iter().skip(round).take(200);
            let updates = messages.map(|(frame, layout)| Update::from_layout(frame, *layout));
            rib.updates(PeerId(feeder as u16 + 1), updates);
        }
        load.updating += started.elapsed();

        let started = Stopwatch::start();
        for interest in rib.drain_next_hops() {
            rib.next_hop_changed(interest.addr, NextHopState::REACHABLE);
        }
        while rib.work(10_000) {}
        best.clear();
        rib.drain_changes(usize::MAX, &mut best);
        load.drained += best.len();
        load.draining += started.elapsed();
    }
    let started = Stopwatch::start();
    while let Some(batch) = rib.next_batch(RECEIVER, 1 << 20) {
        load.sent += batch.messages.iter().map(Bytes::len).sum::<usize>();
    }
    load.sending += started.elapsed();
    (rib, load)
}

/// Ends all sessions of the feeders, until nothing is left of their routes.
fn unload(rib: &mut Rib) {
    let mut best = Vec::new();
    for feeder in 1..=FEEDERS {
        rib.peer_down(PeerId(feeder));
    }
    while rib.has_work() {
        rib.work(10_000);
        best.clear();
        rib.drain_changes(usize::MAX, &mut best);
    }
    while rib.next_batch(RECEIVER, 1 << 20).is_some() {}
}

fn session(peer: u16) -> PeerSession {
    PeerSession {
        id: PeerId(peer),
        address: Ipv4Addr::new(192, 0, 2, peer as u8).into(),
        asn: Asn(65_000 + u32::from(peer)),
        router_id: RouterId(Ipv4Addr::new(10, 0, 1, peer as u8)),
        kind: PeerKind::Ebgp,
        local_asn: OURS,
        as4: true,
        import: PolicyChain::all(),
        families: FamilySet::ALL,
        enforce_first_as: true,
        rules: ImportRules::default(),
        orders: bgp::rib::CommunityOrders::default(),
        limits: Default::default(),
        prepend_local_asn: false,
        reflection: Reflection::default(),
    }
}

fn group() -> GroupConfig {
    GroupConfig {
        export: PolicyChain::all(),
        kind: PeerKind::Ebgp,
        local_asn: OURS,
        neighbor: None,
        next_hops: [
            Some(IpAddr::from(Ipv4Addr::new(192, 0, 2, 254)).into()),
            Some(IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 254)).into()),
        ],
        next_hop_self: false,
        behind_local_asn: None,
        reflection: Reflection::default(),
        route_server: false,
        families: FamilySet::ALL,
        long_lived: false,
        limits: Default::default(),
        encode: ENCODE,
        rules: ExportRules::default(),
        most_paths: usize::MAX,
    }
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
