//! Loads a table into the FIB and measures it: time, memory, compression, then random changes.
//!
//! `cargo run --release -p peregrine-fib --example fib_load -- [--engine=lpm-trie|direct] [--order=given|random]
//! [--rounds=N] [--default] [--sets=N,N...] [--batch=N] [--capacity=N] [--lookups] [--no-churn] [FILE ...]`
//!
//! A file has `PREFIX ORIGIN` on each line, of either family; without a file a table is made up. The
//! next-hop set of a route follows from its origin, one of N. With more than one round each route changes
//! its set so many times, in the same order, as best paths do while several feeds arrive. `--capacity`
//! makes the tries too small for the table, and `--default` adds a default route of a set of its own to both
//! families, which fills the holes. For direct tables the words are written to memory, as in the data
//! plane; `--lookups` then looks up random addresses below random routes there.
//!
//! Seconds are processor time of this thread.

#![expect(clippy::cast_precision_loss, reason = "figures for people to read")]

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fib::{EngineChoice, Family, Fib, FibConfig, NextHopKey, SetId, TableEdit};
use fib_abi::direct::Layout;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const CHANGES: usize = 100_000;

/// The generator `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn load(files: &[String]) -> Result<Vec<(IpNet, u32)>, Box<dyn Error>> {
    let mut routes = Vec::new();
    for file in files {
        for line in fs::read_to_string(file)?.lines() {
            let Some((prefix, origin)) = line.split_once(' ') else { continue };
            routes.push((prefix.parse::<IpNet>()?.trunc(), origin.trim().parse()?));
        }
    }
    Ok(routes)
}

/// Aggregates with more-specifics, in runs of one origin, roughly in the lengths of the real tables.
fn invent() -> Vec<(IpNet, u32)> {
    let mut random = Random(1);
    let mut routes = Vec::new();
    for _ in 0..140_000 {
        let origin = random.below(80_000) as u32;
        let (bits, len) = ((random.next() as u32) % 0xdfff_ffff, 16 + random.below(8) as u8);
        let aggregate = Ipv4Net::new(bits.into(), len).unwrap_or_default().trunc();
        routes.push((aggregate.into(), origin));
        for _ in 0..random.below(14) {
            let bits = aggregate.network().to_bits() | (random.next() as u32 >> len);
            routes.push((Ipv4Net::new(bits.into(), 24).unwrap_or_default().trunc().into(), origin));
        }
    }
    for _ in 0..60_000 {
        let origin = random.below(80_000) as u32;
        let bits = (0x2_u128 << 124) | (u128::from(random.next() >> 4) << 64);
        let aggregate = Ipv6Net::new(bits.into(), 32).unwrap_or_default().trunc();
        routes.push((aggregate.into(), origin));
        for _ in 0..random.below(8) {
            let bits = aggregate.network().to_bits() | (u128::from(random.next() as u16) << 80);
            routes.push((Ipv6Net::new(bits.into(), 48).unwrap_or_default().trunc().into(), origin));
        }
    }
    routes.sort_unstable();
    routes.dedup_by_key(|(prefix, _)| *prefix);
    routes
}

/// What else is asked for.
#[derive(Clone, Copy)]
struct Options {
    rounds: u32,
    default: bool,
    lookups: bool,
    churn: bool,
}

/// Resident memory of this process in MiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn sets(fib: &mut Fib, n: u32) -> Result<Vec<SetId>, Box<dyn Error>> {
    let mut sets = Vec::new();
    for i in 0..n {
        let addr = IpAddr::V4((0x0a00_0001 + i).into());
        let hop = fib.next_hop(NextHopKey::Via { addr, ifindex: 1 })?;
        sets.push(fib.set(&[hop])?);
    }
    Ok(sets)
}

fn pick(sets: &[SetId], key: u32) -> SetId {
    sets[((u64::from(key.wrapping_mul(0x9e37_79b1)) * sets.len() as u64) >> 32) as usize]
}

/// The direct tables in plain memory, or none.
struct Memory([Vec<AtomicU32>; 2], [Layout; 2]);

impl Memory {
    fn new(config: FibConfig) -> Self {
        let direct = config.engine == EngineChoice::Direct;
        let layouts = Family::ALL.map(|family| family.layouts()[0]);
        Self(layouts.map(|layout| if direct { zeroes(layout.words()) } else { Vec::new() }), layouts)
    }

    fn apply(&mut self, edits: &[TableEdit]) {
        for edit in edits {
            match *edit {
                TableEdit::Fill { family, first, count, value } => {
                    for word in &self.0[family as usize][first as usize..(first + count) as usize] {
                        word.store(value, Ordering::Release);
                    }
                }
                TableEdit::Grow { family } => {
                    let layout = family.layouts()[1];
                    let before = std::mem::replace(&mut self.1[family as usize], layout);
                    let mut words = std::mem::take(&mut self.0[family as usize]);
                    let hidden = words.split_off(before.same_words() as usize);
                    words.extend(zeroes(layout.same_words() - before.same_words()));
                    words.extend(hidden);
                    words.extend(zeroes(layout.words() - words.len() as u32));
                    self.0[family as usize] = words;
                }
                _ => {}
            }
        }
    }

    fn lookup(&self, address: IpAddr) -> u32 {
        match address {
            IpAddr::V4(address) => {
                self.1[0].lookup_v4(address.octets(), |word| self.0[0][word as usize].load(Ordering::Relaxed))
            }
            IpAddr::V6(address) => self.1[1]
                .lookup_v6(&address.octets(), |word| self.0[1][word as usize].load(Ordering::Relaxed)),
        }
    }

    /// Nanoseconds a lookup of addresses in routes picked at random.
    fn time(&self, routes: &[(IpNet, u32)], family: Family) -> f64 {
        let mut random = Random(5);
        let of_family: Vec<IpNet> = routes
            .iter()
            .map(|(prefix, _)| *prefix)
            .filter(|prefix| prefix.addr().is_ipv6() == (family == Family::Ipv6))
            .collect();
        if of_family.is_empty() || self.0[family as usize].is_empty() {
            return 0.0;
        }
        let addresses: Vec<IpAddr> = (0..1_000_000)
            .map(|_| match of_family[random.below(of_family.len())] {
                IpNet::V4(net) => {
                    let host = (random.next() as u32).checked_shr(net.prefix_len().into()).unwrap_or(0);
                    IpAddr::V4((net.network().to_bits() | host).into())
                }
                IpNet::V6(net) => {
                    let host = (u128::from(random.next()) << 64) | u128::from(random.next());
                    let host = host.checked_shr(net.prefix_len().into()).unwrap_or(0);
                    IpAddr::V6((net.network().to_bits() | host).into())
                }
            })
            .collect();
        let start = Instant::now();
        // Each address waits for the answer before, as packets wait for each other's cache misses.
        let mut carry = 0;
        for &address in &addresses {
            let address = match address {
                IpAddr::V4(address) => IpAddr::V4((address.to_bits() ^ (carry >> 31)).into()),
                IpAddr::V6(address) => IpAddr::V6((address.to_bits() ^ u128::from(carry >> 31)).into()),
            };
            carry = self.lookup(address);
        }
        black_box(carry);
        start.elapsed().as_secs_f64() * 1e9 / addresses.len() as f64
    }
}

fn zeroes(words: u32) -> Vec<AtomicU32> {
    (0..words).map(|_| AtomicU32::new(0)).collect()
}

/// Processor time of this thread so far, in seconds; the kernel counts nanoseconds.
fn cpu_seconds() -> f64 {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = schedstat.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

fn measure(
    routes: &[(IpNet, u32)],
    n: u32,
    batch: usize,
    config: FibConfig,
    options: Options,
) -> Result<(), Box<dyn Error>> {
    let mut memory = Memory::new(config);
    let before = resident();
    let mut fib = Fib::new(config);
    let start = cpu_seconds();
    // One more set, for the default route; a set is kept alive by the first batch that names it.
    let all = sets(&mut fib, n + 1)?;
    let sets = &all[..n as usize];
    let mut edits = Vec::new();
    let mut writes = 0;
    if options.default {
        fib.insert("0.0.0.0/0".parse()?, all[n as usize])?;
        fib.insert("::/0".parse()?, all[n as usize])?;
    }
    // Holds every set of the test for all of its time.
    for (i, set) in (1..).zip(sets) {
        fib.insert(IpNet::new(IpAddr::V4((0xff00_0000 + 2 * i).into()), 32)?, *set)?;
    }
    for round in (0..options.rounds).rev() {
        for batch in routes.chunks(batch) {
            for &(prefix, origin) in batch {
                fib.insert(prefix, pick(sets, origin.wrapping_add(round)))?;
            }
            fib.commit(&mut edits, |_| true);
            memory.apply(&edits);
            writes += edits.len();
            black_box(&edits);
            edits.clear();
        }
    }
    let loaded = cpu_seconds() - start;
    let used = resident() - before;
    let stats = fib.stats();
    if stats.ipv4.full + stats.ipv6.full > 0 {
        println!("      not installed: ipv4 {}, ipv6 {}", stats.ipv4.full, stats.ipv6.full);
    }
    println!(
        "{n:>4} sets: {:.3} s, {writes} writes; ipv4 {} -> {}, ipv6 {} -> {}; {used:.1} MiB resident, \
         {:.1} by own count",
        loaded,
        stats.ipv4.routes,
        stats.ipv4.entries,
        stats.ipv6.routes,
        stats.ipv6.entries,
        (stats.ipv4.memory_bytes + stats.ipv6.memory_bytes) as f64 / f64::from(1 << 20),
    );
    if options.lookups {
        let [v4, v6] = Family::ALL.map(|family| memory.time(routes, family));
        println!("      {v4:.1} ns an IPv4 lookup, {v6:.1} ns an IPv6 lookup");
    }
    for size in if options.churn { vec![1, 100] } else { Vec::new() } {
        churn(&mut fib, &mut memory, routes, sets, size)?;
    }
    Ok(())
}

/// Random routes go, come back, or change their set.
fn churn(
    fib: &mut Fib,
    memory: &mut Memory,
    routes: &[(IpNet, u32)],
    sets: &[SetId],
    size: usize,
) -> Result<(), Box<dyn Error>> {
    let mut random = Random(7 + size as u64);
    let mut edits = Vec::new();
    let (mut writes, mut most) = (0, 0);
    let mut times = Vec::with_capacity(CHANGES / size);
    for _ in 0..CHANGES / size {
        let start = Instant::now();
        for _ in 0..size {
            let (prefix, origin) = routes[random.below(routes.len())];
            if random.below(3) == 0 {
                fib.remove(prefix);
                continue;
            }
            let key = if random.below(2) == 0 { origin } else { random.next() as u32 };
            fib.insert(prefix, pick(sets, key))?;
        }
        fib.commit(&mut edits, |_| true);
        memory.apply(&edits);
        times.push(start.elapsed());
        writes += edits.len();
        most = most.max(edits.len());
        edits.clear();
        // As soon as the daemon would.
        fib.grace_elapsed();
    }
    times.sort_unstable();
    let total: Duration = times.iter().sum();
    println!(
        "      {CHANGES} changes by {size}: {:.2} us each, commit p50 {:?} p99 {:?} max {:?}; {:.2} writes a change, \
         at most {most} in a commit",
        total.as_secs_f64() * 1e6 / CHANGES as f64,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1],
        writes as f64 / CHANGES as f64,
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, files): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let mut routes = if files.is_empty() { invent() } else { load(&files)? };
    let option = |name: &str| flags.iter().find_map(|flag| flag.strip_prefix(name));
    if option("--order=").unwrap_or("given") == "random" {
        let mut random = Random(3);
        for i in (1..routes.len()).rev() {
            routes.swap(i, random.below(i + 1));
        }
    }
    println!("{} routes", routes.len());
    let counts = option("--sets=").unwrap_or("1,2,8,64").split(',').map(str::parse);
    let batch = option("--batch=").unwrap_or("4096").parse()?;
    let engine = match option("--engine=").unwrap_or("lpm-trie") {
        "direct" => EngineChoice::Direct,
        "lpm-trie" => EngineChoice::LpmTrie,
        other => return Err(format!("--engine={other}: expected lpm-trie or direct").into()),
    };
    let mut config = FibConfig { engine, ..FibConfig::default() };
    let options = Options {
        rounds: option("--rounds=").unwrap_or("1").parse()?,
        default: has("--default"),
        lookups: has("--lookups"),
        churn: !has("--no-churn"),
    };
    if let Some(capacity) = option("--capacity=") {
        config.capacity_v4 = capacity.parse()?;
        config.capacity_v6 = capacity.parse()?;
    }
    for n in counts.collect::<Result<Vec<u32>, _>>()? {
        measure(&routes, n, batch, config, options)?;
    }
    Ok(())
}
