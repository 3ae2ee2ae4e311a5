//! What a path costs in instructions, counted by callgrind: a figure that noise does not move.
//!
//! Each [`Phase`] is one step of a route's way (decode, best path, ...) over a generated table from four
//! feeders whose paths and order differ. The parent runs itself under `valgrind --tool=callgrind`, which
//! counts only inside [`counted`], and divides by the paths of the phase. The figures are kept in
//! `testbed/budget.json`; a change that costs shows as a ratio. What an instruction count does not show
//! is a cache miss: those are for `rib_load`, `fib_load` and `scripts/bench convergence`.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use bgp::policy::PolicyChain;
use bgp::rib::out::{ExportRules, GroupConfig};
use bgp::rib::{ImportRules, PeerSession, Reflection, Rib, RibConfig};
use bgp::session::PeerKind;
use bgp::types::{Asn, FamilySet, PeerId, RouterId};
use bgp::wire::{
    DecodeContext, EncodeContext, MAX_MESSAGE, Message, Update, UpdateLayout, decode, frame_len,
};
use clap::ValueEnum;
use fib::{EngineChoice, Fib, FibConfig, NextHopKey, SetId};
use ipnet::IpNet;

use crate::random::Random;
use crate::table::{Announcer, Table};

/// Feeders of the table.
const FEEDERS: u16 = 4;
/// Prefixes of IPv4 and IPv6: large enough for the fixed costs to vanish, small enough for valgrind.
const PREFIXES: (usize, usize) = (40_000, 10_000);
/// Octets of one read from a socket, thus of one batch of UPDATEs.
const BATCH: usize = 64 * 1024;
/// Routes in one commit of the forwarding table.
const COMMIT: usize = 1024;
/// A figure that is higher by more than this share is pointed out.
const TOLERANCE: f64 = 0.03;

/// A step of a route's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Phase {
    /// From bytes to the layout of an UPDATE; for each path.
    Decode,
    /// Interning, import, insertion and the decision; for each path.
    BestPath,
    /// Draining the changes of best paths; for each change.
    Changes,
    /// Export and encoding for one receiver; for each prefix.
    Export,
    /// Four sessions end; for each path.
    Withdraw,
    /// Loading the LPM trie in random order; for each route.
    TrieLoad,
    /// Changes of the full LPM trie, one in a commit; for each change.
    TrieChange,
    /// Loading the direct tables in random order; for each route.
    DirectLoad,
    /// Changes of the full direct tables, one in a commit; for each change.
    DirectChange,
}

impl Phase {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Runs a phase and returns over how many items its cost is to be spread. Under callgrind only what
/// [`counted`] runs is counted.
pub fn run_phase(phase: Phase) -> Result<usize> {
    match phase {
        Phase::TrieLoad => run_fib_phase(EngineChoice::LpmTrie, true),
        Phase::TrieChange => run_fib_phase(EngineChoice::LpmTrie, false),
        Phase::DirectLoad => run_fib_phase(EngineChoice::Direct, true),
        Phase::DirectChange => run_fib_phase(EngineChoice::Direct, false),
        _ => run_rib_phase(phase),
    }
}

/// The code whose instructions count: callgrind is told to collect inside this function.
#[inline(never)]
fn counted<T>(code: impl FnOnce() -> T) -> T {
    black_box(code())
}

/// Runs the code, counted or not.
fn maybe<T>(count: bool, code: impl FnOnce() -> T) -> T {
    if count { counted(code) } else { code() }
}

type Batch = (Vec<u8>, Vec<(usize, usize, UpdateLayout)>);

fn context() -> DecodeContext {
    DecodeContext {
        as4: true,
        families: FamilySet::ALL,
        extended: false,
        add_path: FamilySet::EMPTY,
        extended_next_hop: false,
        ebgp: true,
    }
}

/// The messages of one feeder in a random order, cut into batches.
fn feed(table: &Table, feeder: u16) -> Result<Vec<Vec<u8>>> {
    let announcer = Announcer {
        asn: 4_200_000_000 + u32::from(feeder),
        next_hop_v4: Ipv4Addr::new(192, 0, 2, feeder as u8),
        next_hop_v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, feeder),
        seed: u64::from(feeder),
    };
    let encoded = table.encode(&announcer).messages;
    let (mut rest, mut messages) = (&encoded[..], Vec::new());
    while let Some(length) = frame_len(rest, MAX_MESSAGE)? {
        let (message, tail) = rest.split_at(length);
        messages.push(message);
        rest = tail;
    }
    let mut random = Random::new(announcer.seed);
    for last in (1..messages.len()).rev() {
        messages.swap(last, random.below(last as u64 + 1) as usize);
    }
    let mut batches = vec![Vec::new()];
    for message in messages {
        if batches.last().is_none_or(|batch: &Vec<u8>| batch.len() + message.len() > BATCH) {
            batches.push(Vec::new());
        }
        if let Some(batch) = batches.last_mut() {
            batch.extend(message);
        }
    }
    Ok(batches)
}

/// What a session hands on of a read: whole messages, and where the UPDATEs are.
fn decode_batch(bytes: Vec<u8>) -> Result<Batch> {
    let (context, mut updates, mut start) = (context(), Vec::new(), 0);
    while let Some(length) = frame_len(&bytes[start..], MAX_MESSAGE)? {
        if let Message::Update(update) = decode(&bytes[start..start + length], &context)? {
            updates.push((start, start + length, update.layout()));
        }
        start += length;
    }
    Ok((bytes, updates))
}

fn run_rib_phase(phase: Phase) -> Result<usize> {
    let table = Table::generate(PREFIXES.0, PREFIXES.1, 1);
    let prefixes = table.routes.len();
    let paths = prefixes * usize::from(FEEDERS);
    let mut rib = Rib::new(RibConfig {
        assume_reachable: true,
        ..RibConfig::new(Asn(4_200_000_100), RouterId(Ipv4Addr::new(10, 0, 0, 1)))
    });
    let receiver = PeerId(FEEDERS + 1);
    for peer in 1..=receiver.0 {
        rib.peer_up(session(peer));
    }
    rib.export_up(receiver, group());

    let feeds = (1..=FEEDERS).map(|feeder| feed(&table, feeder)).collect::<Result<Vec<_>>>()?;
    let rounds = feeds.iter().map(Vec::len).max().unwrap_or(0);
    let mut feeds: Vec<_> = feeds.into_iter().map(Vec::into_iter).collect();
    let (mut changes, mut drained) = (Vec::new(), 0);
    for _ in 0..rounds {
        for (feed, peer) in feeds.iter_mut().zip(1..) {
            let Some(bytes) = feed.next() else { continue };
            let (bytes, updates) = maybe(phase == Phase::Decode, || decode_batch(bytes))?;
            let updates =
                updates.iter().map(|&(start, end, layout)| Update::from_layout(&bytes[start..end], layout));
            maybe(phase == Phase::BestPath, || rib.updates(PeerId(peer), updates));
        }
        changes.clear();
        maybe(phase == Phase::Changes, || rib.drain_changes(usize::MAX, &mut changes));
        drained += changes.len();
    }
    if phase == Phase::Export {
        counted(|| while rib.next_batch(receiver, BATCH).is_some() {});
    }
    if phase == Phase::Withdraw {
        counted(|| {
            (1..=FEEDERS).for_each(|peer| rib.peer_down(PeerId(peer)));
            while rib.work(usize::MAX) {}
        });
    }
    Ok(match phase {
        Phase::Changes => drained,
        Phase::Export => prefixes,
        _ => paths,
    })
}

fn session(peer: u16) -> PeerSession {
    PeerSession {
        id: PeerId(peer),
        address: Ipv4Addr::new(192, 0, 2, peer as u8).into(),
        asn: Asn(4_200_000_000 + u32::from(peer)),
        router_id: RouterId(Ipv4Addr::new(10, 0, 1, peer as u8)),
        kind: PeerKind::Ebgp,
        local_asn: Asn(4_200_000_100),
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
    let own: [IpAddr; 2] = [Ipv4Addr::new(192, 0, 2, 254).into(), Ipv6Addr::LOCALHOST.into()];
    GroupConfig {
        export: PolicyChain::all(),
        kind: PeerKind::Ebgp,
        local_asn: Asn(4_200_000_100),
        neighbor: None,
        next_hops: own.map(|address| Some(address.into())),
        next_hop_self: false,
        behind_local_asn: None,
        reflection: Reflection::default(),
        route_server: false,
        families: FamilySet::ALL,
        long_lived: false,
        limits: Default::default(),
        encode: EncodeContext {
            as4: true,
            extended: false,
            add_path: FamilySet::EMPTY,
            extended_next_hop: false,
        },
        rules: ExportRules::default(),
        most_paths: usize::MAX,
    }
}

fn run_fib_phase(engine: EngineChoice, load: bool) -> Result<usize> {
    const CHANGES: usize = 10_000;
    let mut random = Random::new(3);
    let mut prefixes: Vec<IpNet> =
        Table::generate(PREFIXES.0, PREFIXES.1, 1).routes.into_iter().map(|route| route.prefix).collect();
    for last in (1..prefixes.len()).rev() {
        prefixes.swap(last, random.below(last as u64 + 1) as usize);
    }
    let mut fib = Fib::new(FibConfig { engine, ..FibConfig::default() });
    let mut sets = Vec::new();
    for index in 0..u32::from(FEEDERS) {
        let addr = IpAddr::V4((0x0a00_0001 + index).into());
        let hop = fib.next_hop(NextHopKey::Via { addr, ifindex: 1 })?;
        let set = fib.set(&[hop])?;
        // Kept in use, whatever the routes below do.
        fib.insert(IpNet::new(IpAddr::V4((0xff00_0000 + 2 * index).into()), 32)?, set)?;
        sets.push(set);
    }
    let mut edits = Vec::new();
    for batch in prefixes.chunks(COMMIT) {
        maybe(load, || change(&mut fib, batch, &sets, &mut random, &mut edits))?;
    }
    if load {
        return Ok(prefixes.len());
    }
    for _ in 0..CHANGES {
        let prefix = prefixes[random.below(prefixes.len() as u64) as usize];
        counted(|| change(&mut fib, &[prefix], &sets, &mut random, &mut edits))?;
    }
    Ok(CHANGES)
}

/// Points prefixes at sets, in one commit.
fn change(
    fib: &mut Fib,
    prefixes: &[IpNet],
    sets: &[SetId],
    random: &mut Random,
    edits: &mut Vec<fib::TableEdit>,
) -> Result<()> {
    for &prefix in prefixes {
        fib.insert(prefix, sets[random.below(sets.len() as u64) as usize])?;
    }
    edits.clear();
    fib.commit(edits, |_| false);
    black_box(edits);
    Ok(())
}

/// Where the recorded figures are.
fn record() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("budget.json")
}

/// Counts every phase and sets the figures beside the recorded ones; `keep` records the new ones.
pub fn compare(keep: bool) -> Result<()> {
    let recorded: BTreeMap<String, f64> = match fs::read_to_string(record()) {
        Ok(text) => serde_json::from_str(&text).with_context(|| record().display().to_string())?,
        Err(_) => BTreeMap::new(),
    };
    let mut counts = BTreeMap::new();
    println!("{:<14}{:>14}{:>12}{:>8}", "phase", "instructions", "recorded", "ratio");
    for &phase in Phase::value_variants() {
        let name = phase.name();
        let count = count(phase)?;
        match recorded.get(&name) {
            Some(&before) => {
                let ratio = count / before;
                let remark = if ratio > 1.0 + TOLERANCE { "  costs more than recorded" } else { "" };
                println!("{name:<14}{count:>14.1}{before:>12.1}{ratio:>8.2}{remark}");
            }
            None => println!("{name:<14}{count:>14.1}{:>12}{:>8}", "-", "-"),
        }
        counts.insert(name, (count * 10.0).round() / 10.0);
    }
    if keep {
        let text = serde_json::to_string_pretty(&counts)? + "\n";
        fs::write(record(), text).with_context(|| format!("write {}", record().display()))?;
        println!("recorded in {}", record().display());
    }
    Ok(())
}

/// Instructions an item of a phase, by running this program again under callgrind.
fn count(phase: Phase) -> Result<f64> {
    let own = std::env::current_exe().context("the path of this program")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*budget::counted*")
        .arg(own)
        .args(["budget", "--phase", &phase.name()])
        .output()
        .context("start valgrind (Debian: the package valgrind)")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind, phase {}: {errors}", phase.name());
    let items: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("number of items")?;
    let Some(collected) = errors.lines().find_map(|line| line.split_once("Collected :")) else {
        bail!("callgrind has said no count: {errors}");
    };
    let instructions: f64 = collected.1.trim().parse().context("count of callgrind")?;
    ensure!(instructions > 0.0, "callgrind has counted nothing in {}", phase.name());
    Ok(instructions / items)
}
