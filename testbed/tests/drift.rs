//! A thousand entries of the forwarding tables are written by somebody else, behind the back of a daemon at
//! work: within the time of an audit they are found, counted, shown and right again, in either engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, Map, MapData};
use fib_abi::direct::Layout;
use testbed::daemon::{self, Daemon, FAMILIES};
use testbed::feeder::{Feeder, FeederConfig};
use testbed::process::wait_until;
use testbed::random::Random;
use testbed::table::{Announcer, Table};
use testbed::topology::Star;

const INTERVAL: Duration = Duration::from_secs(8);
/// A pass may be late, and `show` is asked now and then.
const SLACK: Duration = Duration::from_secs(2);
const NEIGHBOR: &str = "10.99.1.2";
const DRIFT: usize = 1000;
/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u64 = 2;
const WORDS_V4: usize = Layout::IPV4[0].words() as usize;
const WORDS_V6: usize = Layout::IPV6[0].words() as usize;

/// The fields that the kernel tells of each map of a process.
fn maps_of(pid: u32) -> Result<Vec<BTreeMap<String, u64>>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let mut maps = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| directory.clone())? {
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        let fields: BTreeMap<String, u64> = text.lines().filter_map(field).collect();
        if fields.contains_key("map_id") {
            maps.push(fields);
        }
    }
    Ok(maps)
}

fn map(id: u64) -> Result<MapData> {
    Ok(MapData::from_id(id as u32)?)
}

/// The trie of this name.
fn trie(daemon: &mut Daemon, name: &str) -> Result<MapData> {
    for fields in maps_of(daemon.process().pid())? {
        let map = map(fields["map_id"])?;
        if map.info()?.name_as_str() == Some(name) {
            return Ok(map);
        }
    }
    bail!("the daemon has no map {name}")
}

/// Takes out entries, points others at another set, and puts in some that nobody meant; how many.
fn spoil_trie<const N: usize>(map: MapData, random: &mut Random, count: usize) -> Result<()>
where
    [u8; N]: aya::Pod,
{
    let mut trie = LpmTrie::<_, [u8; N], u32>::try_from(Map::LpmTrie(map))?;
    let mut entries = trie.iter().collect::<Result<Vec<_>, _>>()?;
    ensure!(entries.len() > 2 * count, "only {} entries to choose from", entries.len());
    for number in 0..count {
        let (key, set) = entries.swap_remove(random.index(entries.len()));
        match number % 4 {
            0 | 1 => trie.remove(&key)?,
            2 => trie.insert(&key, set + 1, 0)?,
            _ => {
                // In 240.0.0.0/4 and f000::/4 there is nothing.
                let mut data = random.next_u64().to_be_bytes().repeat(2);
                data[0] |= 0xf0;
                data.truncate(N);
                let Ok(data) = <[u8; N]>::try_from(data) else { bail!("a key of {N} octets") };
                trie.insert(&Key::new(8 * N as u32, data), set, 0)?;
            }
        }
    }
    Ok(())
}

/// Writes something else into random words of the root of a direct table, of the `words` that it has.
fn spoil_array<const WORDS: usize>(
    daemon: &mut Daemon,
    layout: Layout,
    random: &mut Random,
    count: usize,
) -> Result<()> {
    let bytes = layout.bytes() as u64;
    let maps = maps_of(daemon.process().pid())?;
    let found = maps.iter().find(|map| map["map_type"] == ARRAY && map["value_size"] == bytes);
    let id = found.with_context(|| format!("no direct table of {bytes} octets"))?["map_id"];
    let root = 1_usize << layout.base;
    let mut places = BTreeSet::new();
    while places.len() < count {
        places.insert(random.index(root));
    }
    // The table is one element, on the stack for some moments.
    let work = move || -> Result<()> {
        let mut array = Array::<_, [u32; WORDS]>::try_from(Map::Array(map(id)?))?;
        let mut words = array.get(&0, 0)?;
        for place in places {
            words[place] = (words[place] & 0xffff) + 1;
        }
        array.set(0, words, 0)?;
        Ok(())
    };
    let thread = std::thread::Builder::new().stack_size(4 << 30).spawn(work)?;
    thread.join().unwrap_or_else(|_| bail!("writing the table failed"))
}

fn drift_is_repaired(engine: &str, spoil: impl FnOnce(&mut Daemon, &mut Random) -> Result<()>) -> Result<()> {
    let star = Star::build(&format!("drift-{engine}"), 1)?;
    let config = format!(
        "[router]\nasn = 4200000000\nrouter-id = \"10.99.1.1\"\n[fib]\ninterfaces = [\"wan1\"]\nlookup = \"{engine}\"\n\
         audit-interval = {}\n[[neighbor]]\naddress = \"{NEIGHBOR}\"\nasn = 4200000001\npassive = true\n\
         import = [\"all\"]\nexport = [\"none\"]\n",
        INTERVAL.as_secs()
    );
    let mut daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    let table = Table::generate(20_000, 8_000, 1);
    let next_hop = Ipv4Addr::new(10, 99, 1, 2);
    let announcer =
        Announcer { asn: 4_200_000_001, next_hop_v4: next_hop, next_hop_v6: "fd99:1::2".parse()?, seed: 1 };
    let feeder = star.neighbors[0].enter(|| {
        let feeder = Feeder::connect(
            &FeederConfig {
                local: next_hop.into(),
                remote: "10.99.1.1:179".parse()?,
                asn: announcer.asn,
                router_id: next_hop,
                hold_time: 90,
            },
            Duration::from_secs(30),
        )?;
        feeder.send(&table.encode(&announcer).messages)?;
        Ok(feeder)
    })?;
    let (v4, v6) = table.counts();
    for (family, count) in FAMILIES.into_iter().zip([v4, v6]) {
        daemon.wait_count(NEIGHBOR, family, "best", count as u64, Duration::from_secs(30))?;
    }
    let diff = |daemon: &Daemon| Ok::<_, anyhow::Error>(daemon.show_json(&["fib", "diff"])?[0].clone());
    let passes = diff(&daemon)?["passes"].as_u64().unwrap_or(0);
    wait_until("an audit without drift", 3 * INTERVAL, || {
        let diff = diff(&daemon)?;
        ensure!(diff["passes"].as_u64() >= Some(passes + 2), "{diff}");
        ensure!(
            diff["drift"].as_object().is_some_and(|maps| maps.values().all(|count| *count == 0)),
            "{diff}"
        );
        Ok(())
    })?;

    spoil(&mut daemon, &mut Random::new(1))?;
    let spoiled = Instant::now();
    let all = Some(DRIFT as u64);
    wait_until("all drift is repaired", INTERVAL + SLACK, || {
        let diff = diff(&daemon)?;
        let (drift, repairs) = (diff["drift"][engine].as_u64(), diff["repairs"][engine].as_u64());
        ensure!((drift, repairs) == (all, all), "{drift:?} found, {repairs:?} repaired: {}", diff["passes"]);
        Ok(())
    })?;
    let took = spoiled.elapsed();
    let diff = diff(&daemon)?;
    let recent = diff["recent"].as_array().context("no recent differences")?;
    ensure!(recent.len() == 100 && recent.iter().all(|drift| drift["repaired"] == true), "{diff}");
    let shown = daemon.show(&["fib", "diff"])?;
    ensure!(shown.contains("1000 differences since the start, 1000 repaired."), "after {took:?}: {shown}");
    let metrics = daemon.metrics()?;
    for name in ["peregrine_fib_drift_total", "peregrine_fib_repairs_total"] {
        let count = metrics.sum(name, &[("map", engine)])?;
        ensure!((count - 1000.0).abs() < 0.5, "{name} is {count}");
    }
    // The next pass finds nothing.
    let passes = diff["passes"].as_u64().unwrap_or(0);
    wait_until("two more audits", 3 * INTERVAL, || {
        let diff = daemon.show_json(&["fib", "diff"])?[0].clone();
        ensure!(diff["passes"].as_u64() >= Some(passes + 2), "{diff}");
        ensure!(diff["drift"][engine].as_u64() == all, "found again: {diff}");
        Ok(())
    })?;
    drop(feeder);
    daemon.process().ensure_running()
}

#[test]
fn a_thousand_spoiled_entries_of_the_tries_are_right_again_within_an_audit() -> Result<()> {
    if !daemon::ready("drift::a_thousand_spoiled_entries_of_the_tries_are_right_again_within_an_audit", &[]) {
        return Ok(());
    }
    drift_is_repaired("lpm-trie", |daemon, random| {
        spoil_trie::<4>(trie(daemon, "ROUTES_V4")?, random, DRIFT / 2)?;
        spoil_trie::<16>(trie(daemon, "ROUTES_V6")?, random, DRIFT / 2)
    })
}

#[test]
fn a_thousand_spoiled_words_of_the_direct_tables_are_right_again_within_an_audit() -> Result<()> {
    if !daemon::ready(
        "drift::a_thousand_spoiled_words_of_the_direct_tables_are_right_again_within_an_audit",
        &[],
    ) {
        return Ok(());
    }
    drift_is_repaired("direct", |daemon, random| {
        spoil_array::<WORDS_V4>(daemon, Layout::IPV4[0], random, DRIFT / 2)?;
        spoil_array::<WORDS_V6>(daemon, Layout::IPV6[0], random, DRIFT / 2)
    })
}
