//! How long a whole table takes from a list of best paths into the maps, and how long a single change.
//!
//! The daemon's FIB thread is started as the daemon starts it, in a namespace with permanent neighbours, and
//! is handed routes as the RIB hands them on. It says when a batch is in the maps. The table goes in as fast as
//! there is room for batches. Then single routes change at a steady rate. The time of each counts from when it was
//! due, also while there is no room since others are on their way; only when this side was late by itself, having been
//! kept from running, does it count from when the change was handed on.

#![expect(clippy::cast_precision_loss, reason = "figures for people to read")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bgp::rib::{Generation, NextHopInterest};
use fib::{EngineChoice, FibConfig};
use ipnet::IpNet;
use peregrine::forwarding::{
    BatchId, Farewell, ForwardingConfig, ForwardingHandle, NextHopSink, RibBatch, RouteChange, RouteTarget,
    start,
};
use peregrine::xdp::XdpMode;
use serde_json::{Value, json};

use super::{IN, OUT, Site, mac, neighbor_of};
use crate::load::usage;
use crate::plot::Bars;
use crate::random::Random;
use crate::table::{Route, Table};

/// Routes that the RIB hands on at once, at most.
const BATCH: usize = 65_536;
const PATIENCE: Duration = Duration::from_mins(1);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Neighbours that routes lead to.
    pub neighbors: u8,
    /// Changes a second.
    pub rate: u32,
    /// For how long, in seconds.
    pub seconds: u32,
    /// Of the random choices.
    pub seed: u64,
}

/// A run with one engine.
#[derive(Clone, Debug)]
pub struct Report {
    /// The engine.
    pub engine: &'static str,
    /// Routes installed.
    pub routes: usize,
    /// From the first batch until the last one was in the maps.
    pub load: Duration,
    /// Memory of all maps after it, in bytes.
    pub map_bytes: u64,
    /// Times of the single changes, the shortest first.
    pub changes: Vec<Duration>,
    /// How many changes a second there were in the end.
    pub rate: f64,
}

/// Shares of the changes, of a thousand, that [`Report::percentiles`] has.
const SHARES: [(&str, usize); 4] = [("p50", 500), ("p99", 990), ("p99.9", 999), ("max", 1000)];

impl Report {
    /// The time that a share of the changes took no longer than, by name.
    pub fn percentiles(&self) -> Vec<(&'static str, Duration)> {
        let at = |share: usize| (self.changes.len() * share).div_ceil(1000).max(1) - 1;
        SHARES.map(|(name, share)| (name, self.changes.get(at(share)).copied().unwrap_or_default())).to_vec()
    }

    /// As two lines.
    pub fn text(&self) -> String {
        let seconds = self.load.as_secs_f64();
        let percentiles: Vec<String> = self
            .percentiles()
            .iter()
            .map(|(name, time)| format!("{name} {:.3} ms", time.as_secs_f64() * 1e3))
            .collect();
        format!(
            "{:<8}  {} routes in {seconds:.3} s, {:.2} million a second; maps {:.1} MiB\n\
             {:<8}  {} single changes at {:.0} a second: {}\n",
            self.engine,
            self.routes,
            self.routes as f64 / seconds / 1e6,
            self.map_bytes as f64 / f64::from(1 << 20),
            "",
            self.changes.len(),
            self.rate,
            percentiles.join(", ")
        )
    }

    /// As a line of JSON.
    pub fn json(&self) -> Value {
        let percentiles: serde_json::Map<String, Value> = self
            .percentiles()
            .into_iter()
            .map(|(name, time)| (name.to_owned(), json!(time.as_secs_f64())))
            .collect();
        json!({
            "engine": self.engine, "routes": self.routes, "load_seconds": self.load.as_secs_f64(),
            "map_bytes": self.map_bytes, "changes_a_second": self.rate, "change_seconds": percentiles,
        })
    }
}

/// Reports as a picture.
pub fn plot(reports: &[Report]) -> Bars {
    let names: Vec<&str> = reports.iter().map(|report| report.engine).collect();
    let routes = reports.first().map_or(0, |report| report.routes);
    let mut bars = Bars::new(&format!("From the RIB into the maps, {routes} routes"), "milliseconds", &names);
    let milliseconds = |time: Duration| Some(time.as_secs_f64() * 1e3);
    let all: Vec<Option<f64>> = reports.iter().map(|report| milliseconds(report.load)).collect();
    bars.group("whole table", &all);
    for (at, (name, _)) in SHARES.iter().enumerate() {
        let times: Vec<Option<f64>> =
            reports.iter().map(|report| milliseconds(report.percentiles()[at].1)).collect();
        bars.group(&format!("one, {name}"), &times);
    }
    bars
}

/// What the FIB thread says.
enum Said {
    Reachable,
    Done(u16, Instant),
    NotInstalled(IpNet),
}

struct Ear(mpsc::Sender<Said>);

impl NextHopSink for Ear {
    fn next_hop(&mut self, _: IpAddr, cost: Option<u32>) {
        if cost.is_some() {
            let _ = self.0.send(Said::Reachable);
        }
    }

    fn route_status(&mut self, prefix: IpNet, installed: bool) {
        if !installed {
            let _ = self.0.send(Said::NotInstalled(prefix));
        }
    }

    fn batch_done(&mut self, batch: BatchId) {
        let _ = self.0.send(Said::Done(batch.shard, Instant::now()));
    }
}

/// The address of a neighbour.
fn address(neighbor: u8, ipv6: bool) -> IpAddr {
    let host = u16::from(neighbor) + 2;
    if ipv6 {
        Ipv6Addr::new(0xfd97, 0, 0, 0, 0, 0, 0, host).into()
    } else {
        Ipv4Addr::new(10, 97, 0, host as u8).into()
    }
}

fn change(prefix: IpNet, neighbor: u8) -> RouteChange {
    let next_hops = vec![address(neighbor, prefix.addr().is_ipv6())];
    RouteChange { prefix, target: RouteTarget::Via { next_hops, backup: None } }
}

/// A batch with a number, which the FIB thread says when it is done.
fn batch(number: usize, routes: Vec<RouteChange>) -> RibBatch {
    let id = BatchId { shard: number as u16, generation: Generation::default() };
    RibBatch { id: Some(id), next_hops: Vec::new(), routes, arrivals: Vec::new(), settled: Vec::new() }
}

/// Measures one engine.
pub fn run(table: &Table, engine: EngineChoice, setting: Setting) -> Result<Report> {
    ensure!(setting.neighbors < 250, "{} neighbours do not fit into a /24", setting.neighbors);
    let site = Site::build("install")?;
    let router = &site.router;
    router.address(OUT, "10.97.0.1/24")?;
    router.address(OUT, "fd97::1/64")?;
    for neighbor in 0..setting.neighbors {
        let link = mac(neighbor).map(|octet| format!("{octet:02x}")).join(":");
        for ipv6 in [false, true] {
            let address = address(neighbor, ipv6).to_string();
            router.ip(&["neigh", "add", &address, "lladdr", &link, "dev", OUT, "nud", "permanent"])?;
        }
    }
    router.enter(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (sender, said) = mpsc::channel();
        let handle = runtime.block_on(start(config(engine), Box::new(Ear(sender))))?;
        let report = measure(&handle, &said, table, engine, setting);
        runtime.block_on(handle.stop(Farewell::Remove));
        report
    })
}

/// As the daemon's, with room for any table.
fn config(engine: EngineChoice) -> ForwardingConfig {
    ForwardingConfig {
        interfaces: vec![IN.to_owned(), OUT.to_owned()],
        mode: XdpMode::Auto,
        router_id: Ipv4Addr::new(10, 97, 0, 1),
        tables: FibConfig { engine, ..FibConfig::default() },
        next_hop_via_default: false,
        hash_seed: 1,
        audit_interval: Some(Duration::from_mins(1)),
        keep: false,
    }
}

fn measure(
    handle: &ForwardingHandle,
    said: &mpsc::Receiver<Said>,
    table: &Table,
    engine: EngineChoice,
    setting: Setting,
) -> Result<Report> {
    let neighbors = (0..setting.neighbors).flat_map(|neighbor| [(neighbor, false), (neighbor, true)]);
    let interests =
        neighbors.map(|(neighbor, ipv6)| NextHopInterest { addr: address(neighbor, ipv6), added: true });
    let mut first = batch(0, Vec::new());
    first.next_hops = interests.collect();
    hand_on(handle, first)?;
    // The batch is done, and all neighbours are reachable.
    let mut awaited = 1 + 2 * usize::from(setting.neighbors);
    while awaited > 0 {
        match said.recv_timeout(PATIENCE).context("the neighbours are not reachable")? {
            Said::Reachable | Said::Done(..) => awaited -= 1,
            Said::NotInstalled(prefix) => bail!("{prefix} is not installed"),
        }
    }

    let of = |route: &Route| change(route.prefix, neighbor_of(route, setting.neighbors));
    let batches: Vec<RibBatch> = (1..)
        .zip(table.routes.chunks(BATCH))
        .map(|(number, routes)| batch(number, routes.iter().map(of).collect()))
        .collect();
    let last = batches.len();
    let begin = Instant::now();
    for batch in batches {
        hand_on(handle, batch)?;
    }
    let load = await_batch(said, last)?.duration_since(begin);
    let stats = handle.stats().fib;
    let missing = stats.ipv4.not_installed() + stats.ipv6.not_installed();
    ensure!(missing == 0, "{missing} routes are not installed");
    let map_bytes = usage::map_bytes(std::process::id().cast_signed())?;
    let (changes, rate) = single_changes(handle, said, table, setting)?;
    let engine = match engine {
        EngineChoice::LpmTrie => "lpm-trie",
        EngineChoice::Direct => "direct",
        EngineChoice::Auto => "auto",
    };
    Ok(Report { engine, routes: table.routes.len(), load, map_bytes, changes, rate })
}

/// The times of single changes at a steady rate, sorted, and the rate that came of it.
fn single_changes(
    handle: &ForwardingHandle,
    said: &mpsc::Receiver<Said>,
    table: &Table,
    setting: Setting,
) -> Result<(Vec<Duration>, f64)> {
    let mut random = Random::new(setting.seed);
    let count = setting.rate as usize * setting.seconds as usize;
    let gap = Duration::from_secs(1) / setting.rate.max(1);
    let begin = Instant::now() + Duration::from_millis(100);
    let mut due = Vec::with_capacity(count);
    // Whether changes wait for those before them.
    let mut behind = false;
    for number in 0..count {
        let route = &table.routes[random.index(table.routes.len())];
        let changed = vec![change(route.prefix, random.below(setting.neighbors.into()) as u8)];
        let batch = batch(number, changed);
        let at = begin + gap * number as u32;
        let mut now = Instant::now();
        behind &= now > at;
        while now < at {
            std::hint::spin_loop();
            now = Instant::now();
        }
        due.push(if behind { at } else { now });
        behind |= hand_on(handle, batch)?;
    }
    let mut times = Vec::with_capacity(count);
    let mut end = begin;
    for (number, due) in due.iter().enumerate() {
        let done = await_batch(said, number)?;
        times.push(done.saturating_duration_since(*due));
        end = done;
    }
    times.sort_unstable();
    Ok((times, count as f64 / end.duration_since(begin).as_secs_f64()))
}

/// Hands a batch on as soon as there is room; whether there was none at first.
fn hand_on(handle: &ForwardingHandle, batch: RibBatch) -> Result<bool> {
    let mut waited = false;
    loop {
        if let Some(room) = handle.try_room()? {
            room.send(batch);
            return Ok(waited);
        }
        waited = true;
        std::hint::spin_loop();
    }
}

/// Waits until a batch is done; those before it are done earlier.
fn await_batch(said: &mpsc::Receiver<Said>, number: usize) -> Result<Instant> {
    loop {
        match said.recv_timeout(PATIENCE).with_context(|| format!("batch {number} is not done"))? {
            Said::Done(done, at) if done == number as u16 => return Ok(at),
            Said::Done(..) | Said::Reachable => {}
            Said::NotInstalled(prefix) => bail!("{prefix} is not installed"),
        }
    }
}
