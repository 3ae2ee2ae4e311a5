//! The replay: a session for each recorded peer, its UPDATEs in the recorded order, and the questions
//! at the end.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;
use serde_json::Value;

use crate::daemon::{Daemon, FAMILIES};
use crate::feeder::Feeder;
use crate::load::neighbors::Neighbor;
use crate::load::site::Site;
use crate::replay::best;
use crate::replay::model::{self, Table};
use crate::replay::mrt::Recording;
use crate::skip;

/// As many peers fit on the link.
const MOST_PEERS: usize = 240;
/// How long the daemon may take to settle after the last message.
const SETTLE: Duration = Duration::from_mins(2);

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct Report {
    /// UPDATEs sent.
    pub messages: usize,
    /// Records that were left out.
    pub skipped: usize,
    /// Sessions.
    pub peers: usize,
    /// Routes at the end: of all peers, and prefixes.
    pub routes: (usize, usize),
    /// From the first message to when the daemon had taken the last one.
    pub time: Duration,
    /// Whether bgpdump agreed too.
    pub bgpdump: bool,
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let Self { messages, skipped, peers, routes: (routes, prefixes), time, bgpdump } = self;
        let readers = if *bgpdump { "the model and bgpdump" } else { "the model (bgpdump is not installed)" };
        format!(
            "{messages} UPDATEs of {peers} peers taken in {:.2} s ({skipped} records left out); {routes} routes for \
             {prefixes} prefixes, equal to {readers}; every best path reached the listener",
            time.as_secs_f64()
        )
    }
}

/// Replays an MRT file through sessions with the daemon, and compares what it holds in the end.
pub fn replay(sandbox: &str, file: &Path) -> Result<Report> {
    let recording = Recording::load(file)?;
    let peers = recording.peers.len();
    ensure!((1..=MOST_PEERS).contains(&peers), "{peers} peers: at least one, at most {MOST_PEERS}");
    let expected = model::of_recording(&recording)?;
    let unused = unused_asns(&recording, &expected);
    let neighbor = |asn: u32, subnet: u8, host: u8| Neighbor {
        asn,
        v4: Ipv4Addr::new(10, 99, subnet, host),
        v6: Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, u16::from(subnet), u16::from(host)),
    };
    let router = neighbor(unused[0], 0, 1);
    let listener = neighbor(unused[1], 2, 1);
    let told: Vec<Neighbor> =
        recording.peers.iter().zip(1..).map(|(peer, host)| neighbor(peer.asn, 1, host)).collect();
    let all: Vec<&Neighbor> = told.iter().chain([&listener]).collect();
    let site = Site::new(sandbox, &router, &all)?;
    let mut daemon = Daemon::start(&site.sandbox, &site.router, &config(&router, &told, &listener))?;
    let connect = |neighbor: &Neighbor| {
        site.outside.enter(|| Feeder::connect(&neighbor.session(&router), Duration::from_secs(30)))
    };
    let ear = connect(&listener)?;
    let sessions = told.iter().map(connect).collect::<Result<Vec<_>>>()?;

    let start = Instant::now();
    // What one peer says at a stretch goes out at once.
    for stretch in recording.messages.chunk_by(|left, right| left.0 == right.0) {
        let bytes: Vec<u8> = stretch.iter().flat_map(|(_, message)| message).copied().collect();
        let peer = stretch[0].0;
        sessions[peer].send(&bytes).with_context(|| format!("{:?}", recording.peers[peer]))?;
    }
    settled(&daemon, &told, &expected)?;
    let time = start.elapsed();
    daemon.process().ensure_running()?;
    for (peer, session) in recording.peers.iter().zip(&sessions) {
        ensure!(session.closed().is_none(), "{peer:?}: {:?}", session.closed());
    }

    let found = received(&daemon, &told)?;
    agree("the model", &expected, &found)?;
    let bgpdump = skip::installed(&["bgpdump"]);
    if bgpdump {
        agree("bgpdump", &model::of_bgpdump(&plain(&site, file)?, &recording.peers)?, &found)?;
    }
    let chosen = best::choose(&expected);
    let held = (expected.len(), chosen.len());
    heard(&ear, router.asn, &best::announced(chosen))?;
    let Recording { messages, skipped, .. } = &recording;
    Ok(Report { messages: messages.len(), skipped: *skipped, peers, routes: held, time, bgpdump })
}

/// The file itself, or its contents in the sandbox: bgpdump does not unpack everything.
fn plain(site: &Site, file: &Path) -> Result<std::path::PathBuf> {
    let path = site.sandbox.directory().join("updates.mrt");
    std::fs::write(&path, super::mrt::unpacked(file)?)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Two AS numbers that no path and no peer has: a router drops what has its own as a loop.
fn unused_asns(recording: &Recording, table: &Table) -> [u32; 2] {
    let mut taken: HashSet<u32> = recording.peers.iter().map(|peer| peer.asn).collect();
    for route in table.values() {
        taken.extend(route.as_path.split([' ', ',', '{', '}']).filter_map(|asn| asn.parse::<u32>().ok()));
    }
    let mut free = (4_200_000_000..).filter(|asn| !taken.contains(asn));
    [free.next().unwrap_or_default(), free.next().unwrap_or_default()]
}

/// Route servers, which put no AS of their own into paths, are among the peers of collectors.
fn config(router: &Neighbor, told: &[Neighbor], listener: &Neighbor) -> String {
    let mut text = format!("[router]\nasn = {}\nrouter-id = \"{}\"\n", router.asn, router.v4);
    let told = told.iter().map(|neighbor| (neighbor, "all", "none"));
    for (Neighbor { asn, v4, .. }, import, export) in told.chain([(listener, "none", "all")]) {
        text += &format!(
            "\n[[neighbor]]\naddress = \"{v4}\"\nasn = {asn}\npassive = true\nimport = [\"{import}\"]\n\
             export = [\"{export}\"]\nenforce-first-as = false\n"
        );
    }
    text
}

/// Waits until the counts of each peer are those expected, or no longer change.
fn settled(daemon: &Daemon, told: &[Neighbor], expected: &Table) -> Result<()> {
    let mut wanted: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for (peer, prefix) in expected.keys() {
        let family = FAMILIES[usize::from(matches!(prefix, IpNet::V6(_)))];
        *wanted.entry((told[*peer].v4.to_string(), family)).or_default() += 1;
    }
    let deadline = Instant::now() + SETTLE;
    let (mut last, mut since) = (None, Instant::now());
    loop {
        let summary = daemon.show_json(&["summary"])?;
        let counts: BTreeMap<(String, &str), u64> = counts(&summary)?;
        if counts == wanted {
            return Ok(());
        }
        if last.as_ref() != Some(&counts) {
            (last, since) = (Some(counts), Instant::now());
        } else if since.elapsed() > Duration::from_secs(3) {
            // The comparison of the tables says what is wrong.
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the daemon does not come to rest");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Routes received by neighbour and family, none where there are none.
fn counts(summary: &Value) -> Result<BTreeMap<(String, &'static str), u64>> {
    let mut out = BTreeMap::new();
    for neighbor in summary["neighbors"].as_array().context("no neighbors")? {
        let address = neighbor["address"].as_str().unwrap_or_default();
        for family in FAMILIES {
            let count = neighbor["families"][family]["received"].as_u64().unwrap_or(0);
            if count > 0 {
                out.insert((address.to_owned(), family), count);
            }
        }
    }
    Ok(out)
}

/// The Adj-RIB-In of every peer.
fn received(daemon: &Daemon, told: &[Neighbor]) -> Result<Table> {
    let mut table = Table::new();
    for (index, neighbor) in told.iter().enumerate() {
        for line in daemon.get(&format!("/v1/routes?received={}", neighbor.v4))?.lines() {
            let (prefix, route) = model::of_json(line)?;
            table.insert((index, prefix), route);
        }
    }
    Ok(table)
}

fn agree(name: &str, expected: &Table, found: &Table) -> Result<()> {
    let differences = model::differences(name, expected, found);
    if differences.is_empty() {
        return Ok(());
    }
    bail!("{} routes in {name}, {} in the daemon:\n{}", expected.len(), found.len(), differences.join("\n"))
}

/// The listener holds the best path of each prefix, behind the router's own AS.
fn heard(ear: &Feeder, asn: u32, chosen: &BTreeMap<IpNet, (usize, &model::Route)>) -> Result<()> {
    let numbers = |as_path: &str| -> Vec<u32> {
        as_path.split([' ', ',', '{', '}']).filter_map(|asn| asn.parse().ok()).collect()
    };
    crate::process::wait_until("the listener has the best paths", SETTLE, || {
        let inbox = ear.inbox();
        ensure!(inbox.closed.is_none(), "{:?}", inbox.closed);
        ensure!(inbox.routes.len() == chosen.len(), "{} of {} prefixes", inbox.routes.len(), chosen.len());
        for (prefix, (peer, route)) in chosen {
            let heard = inbox.routes.get(prefix).with_context(|| format!("{prefix} is missing"))?;
            let expected = [&[asn][..], &numbers(&route.as_path)].concat();
            ensure!(
                *heard.as_path == expected[..],
                "{prefix}: heard {:?}, the best is of peer {peer}: {expected:?}",
                heard.as_path
            );
            ensure!(heard.next_hop.map(|hop: IpAddr| hop.is_ipv6()) == Some(prefix.addr().is_ipv6()));
        }
        Ok(())
    })
}
