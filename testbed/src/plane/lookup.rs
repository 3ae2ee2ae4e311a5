//! Nanoseconds a lookup, in both engines, and whether all of them answer alike.
//!
//! The program runs on single packets (`BPF_PROG_TEST_RUN`), each to another destination, as in traffic; the
//! kernel takes the time of each run. What is not the lookup - the clock, caches that went cold with the
//! system call, parsing, rewriting, redirecting - is measured in the same way with packets to the same
//! destinations and nothing but a default route in the tries, and subtracted. Beside the two engines there is
//! the trie without compression, with an entry for each prefix: what a router has that gives the kernel's trie its
//! table as it is.
//!
//! Then both engines are asked about random addresses and about the first, the last and the neighbouring
//! addresses of each prefix, in the maps as they are (shared memory, or a system call a lookup for a trie), and
//! some of these by the program itself. The answers must be those of the [`oracle`].

#![expect(clippy::cast_precision_loss, reason = "figures for people to read")]

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use fib::EngineChoice;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Site, Tables, neighbor_of, oracle, packet, sent_to};
use crate::plot::Bars;
use crate::random::Random;
use crate::table::{Route, Table};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Packets of each family and kind of traffic.
    pub packets: usize,
    /// Random addresses to compare answers for, of both families together; those at boundaries come on top.
    pub addresses: usize,
    /// Of the addresses, one in so many is also asked by a packet.
    pub every: usize,
    /// Neighbours that routes lead to.
    pub neighbors: u8,
    /// Of the random choices.
    pub seed: u64,
}

/// How destinations are spread over the prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each prefix as often as any other.
    Uniform,
    /// The n-th prefix, in a random order, 1/n as often as the first.
    Zipf,
}

/// Of one family and spread, means without the slowest hundredth, which interrupts and other tenants delay.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The family.
    pub ipv6: bool,
    /// The spread.
    pub spread: Spread,
    /// All that is not the lookup, in nanoseconds.
    pub harness: f64,
    /// A lookup in a trie of all prefixes, the harness subtracted.
    pub plain: f64,
    /// A lookup in the compressed trie, likewise.
    pub lpm_trie: f64,
    /// A lookup in the direct table, likewise.
    pub direct: f64,
}

impl Row {
    /// How many times as fast as the trie of all prefixes, and as the compressed one, the direct table is.
    pub fn ratios(&self) -> [f64; 2] {
        [self.plain, self.lpm_trie].map(|trie| trie / self.direct)
    }

    fn name(&self) -> String {
        let spread = if self.spread == Spread::Zipf { "Zipf" } else { "uniform" };
        format!("{}, {spread}", if self.ipv6 { "IPv6" } else { "IPv4" })
    }
}

/// Answers that were compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    /// Random addresses.
    pub random: usize,
    /// Addresses at boundaries of prefixes.
    pub boundaries: usize,
    /// Of both, those that packets were sent to as well.
    pub packets: usize,
    /// Of all of them, those that a route covers.
    pub covered: usize,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Prefixes: IPv4, IPv6.
    pub prefixes: (usize, usize),
    /// Entries that compression leaves in the tries: IPv4, IPv6.
    pub entries: (usize, usize),
    /// What was measured.
    pub rows: Vec<Row>,
    /// What was compared, with no difference.
    pub compared: Compared,
}

impl Report {
    /// As a table.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} IPv4 and {} IPv6 prefixes, {} and {} entries of the tries; nanoseconds a lookup\n\
             {:<14} {:>9} {:>11} {:>9} {:>9}   direct is faster by\n",
            self.prefixes.0,
            self.prefixes.1,
            self.entries.0,
            self.entries.1,
            "",
            "harness",
            "plain trie",
            "lpm-trie",
            "direct",
        );
        for row in &self.rows {
            let Row { harness, plain, lpm_trie, direct, .. } = row;
            let (name, [times, fewer]) = (row.name(), row.ratios());
            text += &format!(
                "{name:<14} {harness:>9.1} {plain:>11.1} {lpm_trie:>9.1} {direct:>9.1}   {times:.1}x, {fewer:.1}x\n"
            );
        }
        let Compared { random, boundaries, packets, covered } = self.compared;
        text + &format!(
            "equal answers of both engines and the oracle for {random} random and {boundaries} boundary addresses \
             ({covered} covered by a route), {packets} of them by packets too\n"
        )
    }

    /// As a line of JSON.
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "traffic": row.name(), "harness_ns": row.harness, "plain_trie_ns": row.plain, "lpm_trie_ns": row.lpm_trie,
                "direct_ns": row.direct, "ratios": row.ratios(),
            })
        };
        json!({
            "prefixes": [self.prefixes.0, self.prefixes.1],
            "entries": [self.entries.0, self.entries.1],
            "lookups": self.rows.iter().map(row).collect::<Vec<_>>(),
            "compared": { "random": self.compared.random, "boundaries": self.compared.boundaries,
                          "packets": self.compared.packets },
        })
    }

    /// As a picture.
    pub fn plot(&self) -> Bars {
        let title = format!("A lookup in {} prefixes", self.prefixes.0 + self.prefixes.1);
        let mut bars = Bars::new(&title, "nanoseconds", &["plain trie", "lpm-trie", "direct"]);
        for row in &self.rows {
            bars.group(&row.name(), &[row.plain, row.lpm_trie, row.direct].map(Some));
        }
        bars
    }
}

/// Measures and compares.
pub fn run(table: &Table, setting: Setting) -> Result<Report> {
    let site = Site::build("lookup")?;
    site.router.enter(|| inside(table, setting))
}

fn inside(table: &Table, setting: Setting) -> Result<Report> {
    let mut random = Random::new(setting.seed);
    let mut traffic = Vec::new();
    for ipv6 in [false, true] {
        let prefixes = of_family(&table.routes, ipv6);
        if prefixes.is_empty() {
            continue;
        }
        for spread in [Spread::Uniform, Spread::Zipf] {
            traffic.push((ipv6, spread, destinations(&prefixes, spread, setting.packets, &mut random)));
        }
    }
    ensure!(!traffic.is_empty(), "the table is empty");
    let questions = Questions::new(table, &setting, &mut random);

    let mut idle = Tables::new(EngineChoice::LpmTrie, 1)?;
    for default in ["0.0.0.0/0", "::/0"] {
        idle.insert(default.parse()?, 0)?;
    }
    idle.commit()?;
    let harness = times(&idle, &traffic)?;
    drop(idle);
    let mut plain = Tables::new(EngineChoice::LpmTrie, setting.neighbors)?;
    plain.fill_plainly(&table.routes)?;
    let all_prefixes = times(&plain, &traffic)?;
    drop(plain);
    let mut compared = Compared::default();
    let mut measured = Vec::new();
    let mut entries = (0, 0);
    for engine in [EngineChoice::LpmTrie, EngineChoice::Direct] {
        let mut tables = Tables::new(engine, setting.neighbors)?;
        tables.fill(&table.routes)?;
        if engine == EngineChoice::LpmTrie {
            let stats = tables.fib.stats();
            entries = (stats.ipv4.entries, stats.ipv6.entries);
        }
        measured.push(times(&tables, &traffic)?);
        compared = questions.ask(&tables, setting.every).with_context(|| format!("{engine:?}"))?;
    }
    let rows = traffic.iter().enumerate().map(|(at, (ipv6, spread, _))| Row {
        ipv6: *ipv6,
        spread: *spread,
        harness: harness[at],
        plain: all_prefixes[at] - harness[at],
        lpm_trie: measured[0][at] - harness[at],
        direct: measured[1][at] - harness[at],
    });
    Ok(Report { prefixes: table.counts(), entries, rows: rows.collect(), compared })
}

fn of_family(routes: &[Route], ipv6: bool) -> Vec<IpNet> {
    routes.iter().map(|route| route.prefix).filter(|prefix| prefix.addr().is_ipv6() == ipv6).collect()
}

/// A random address of a prefix.
fn within(prefix: IpNet, random: &mut Random) -> IpAddr {
    let wide = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    let host = wide.checked_shr(prefix.prefix_len().into()).unwrap_or(0);
    match prefix.network() {
        IpAddr::V4(first) => {
            let host = ((wide >> 96) as u32).checked_shr(prefix.prefix_len().into()).unwrap_or(0);
            IpAddr::V4((first.to_bits() | host).into())
        }
        IpAddr::V6(first) => IpAddr::V6((first.to_bits() | host).into()),
    }
}

fn destinations(prefixes: &[IpNet], spread: Spread, count: usize, random: &mut Random) -> Vec<IpAddr> {
    let mut order: Vec<IpNet> = prefixes.to_vec();
    for at in (1..order.len()).rev() {
        order.swap(at, random.index(at + 1));
    }
    // The sums of the weights up to each rank.
    let sums: Vec<f64> = (1..=order.len())
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        })
        .collect();
    let total = sums.last().copied().unwrap_or(0.0);
    (0..count)
        .map(|_| {
            let at = match spread {
                Spread::Uniform => random.index(order.len()),
                Spread::Zipf => {
                    let point = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * total;
                    sums.partition_point(|sum| *sum <= point).min(order.len() - 1)
                }
            };
            within(order[at], random)
        })
        .collect()
}

/// The mean time of a run of the program for each kind of traffic, in nanoseconds.
fn times(tables: &Tables, traffic: &[(bool, Spread, Vec<IpAddr>)]) -> Result<Vec<f64>> {
    let probe = tables.plane.probe()?;
    let mean = |destinations: &[IpAddr]| -> Result<f64> {
        let mut times = Vec::with_capacity(destinations.len());
        for destination in destinations {
            let run = probe.test_run(&packet(*destination), tables.port, 1)?;
            times.push(run.duration.as_nanos() as u32);
        }
        times.sort_unstable();
        let kept = &times[..times.len().div_ceil(100) * 99];
        Ok(kept.iter().map(|time| f64::from(*time)).sum::<f64>() / kept.len() as f64)
    };
    traffic.iter().map(|(_, _, destinations)| mean(destinations)).collect()
}

/// Addresses with the oracle's answers, by family.
struct Questions {
    families: Vec<(Vec<IpAddr>, Vec<Option<u8>>)>,
    random: usize,
}

impl Questions {
    fn new(table: &Table, setting: &Setting, random: &mut Random) -> Self {
        let answer = |route: &Route| (route.prefix, neighbor_of(route, setting.neighbors));
        let routes: Vec<(IpNet, u8)> = table.routes.iter().map(answer).collect();
        let families = [false, true].map(|ipv6| {
            let prefixes = of_family(&table.routes, ipv6);
            let mut addresses: Vec<IpAddr> = (0..setting.addresses / 2)
                .map(|number| {
                    // Every second one anywhere, in IPv6 within what is given out; the others where routes are.
                    if number % 2 == 0 && !prefixes.is_empty() {
                        return within(prefixes[random.index(prefixes.len())], random);
                    }
                    let wide = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
                    if ipv6 {
                        IpAddr::V6((0x2 << 124 | wide >> 4).into())
                    } else {
                        IpAddr::V4((wide as u32).into())
                    }
                })
                .collect();
            for prefix in &prefixes {
                addresses.extend(boundaries(*prefix));
            }
            addresses.sort_unstable();
            let answers = oracle::answers(&routes, &addresses);
            (addresses, answers)
        });
        Self { families: families.to_vec(), random: setting.addresses / 2 * 2 }
    }

    /// Asks the maps, and the program about one address in so many.
    fn ask(&self, tables: &Tables, every: usize) -> Result<Compared> {
        let probe = tables.plane.probe()?;
        let mut compared = Compared { random: self.random, ..Compared::default() };
        for (addresses, answers) in &self.families {
            for (number, (&address, &meant)) in addresses.iter().zip(answers).enumerate() {
                let found = tables.lookup(address)?;
                ensure!(found == meant, "{address}: {found:?} in the map, {meant:?} by the oracle");
                compared.boundaries += 1;
                compared.covered += usize::from(meant.is_some());
                if number.is_multiple_of(every) && is_unicast(address) {
                    let sent = sent_to(&probe, tables.port, address)?;
                    ensure!(sent == meant, "{address}: sent to {sent:?}, {meant:?} by the oracle");
                    compared.packets += 1;
                }
            }
        }
        compared.boundaries -= self.random;
        Ok(compared)
    }
}

/// The first and the last address of a prefix, and those before and behind.
fn boundaries(prefix: IpNet) -> [IpAddr; 4] {
    match prefix {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(|bits| IpAddr::V4(bits.into()))
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(|bits| IpAddr::V6(bits.into()))
        }
    }
}

/// Whether the program looks an address up at all, rather than drop the packet or hand it to the host.
fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            first != 0 && first != 127 && first < 224
        }
        IpAddr::V6(address) => {
            !address.is_multicast() && !address.is_unicast_link_local() && address.to_bits() > 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_prefers_few_prefixes_and_leaves_none_out_forever() {
        let table = Table::generate(1000, 100, 1);
        let prefixes = of_family(&table.routes, false);
        let mut random = Random::new(1);
        for (spread, least, most) in [(Spread::Uniform, 1, 200), (Spread::Zipf, 5_000, 40_000)] {
            let all = destinations(&prefixes, spread, 100_000, &mut random);
            let answers: Vec<(IpNet, u8)> = prefixes.iter().map(|prefix| (*prefix, 0)).collect();
            let mut sorted = all.clone();
            sorted.sort_unstable();
            assert!(oracle::answers(&answers, &sorted).iter().all(|answer| *answer == Some(0)));
            let mut counts = std::collections::BTreeMap::new();
            for address in all {
                let longest = prefixes.iter().filter(|prefix| prefix.contains(&address));
                *counts.entry(longest.max_by_key(|prefix| prefix.prefix_len())).or_insert(0) += 1;
            }
            let top = *counts.values().max().expect("some");
            assert!((least..most).contains(&top), "{spread:?}: {top}");
        }
    }
}
