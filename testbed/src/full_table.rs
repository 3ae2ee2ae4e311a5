//! A whole Internet table through the daemon: how long, how much memory, nothing lost.
//!
//! One namespace for the router, one for the feeders, a veth between. The clock starts when the
//! feeders, all established, begin to send; it stops when the daemon counts every route as
//! received and best, and the forwarding table has them all. What the daemon says is compared with
//! what the feeders sent and with its own metrics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::daemon::Daemon;
use crate::feeder::{Feeder, FeederConfig};
use crate::netns::Sandbox;
use crate::process::wait_until;
use crate::table::{Announcer, Table};

/// The router's AS.
const ROUTER_ASN: u32 = 64500;
/// AS of the first feeder; the others follow.
const FEEDER_ASN: u32 = 64501;

/// What is to be measured.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Name of the sandbox.
    pub name: &'a str,
    /// What every feeder announces, by paths of its own.
    pub table: &'a Table,
    /// Number of feeders, 1 to 9.
    pub feeders: u8,
    /// With the forwarding plane, or only the control plane.
    pub fib: bool,
    /// Give up after this time.
    pub timeout: Duration,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// Prefixes of IPv4 and IPv6.
    pub prefixes: (usize, usize),
    /// From the first byte sent until all of it is best (and forwards).
    pub elapsed: Duration,
    /// Resident memory of the daemon then.
    pub resident_bytes: u64,
    /// Entries of the forwarding maps after compression, IPv4 and IPv6.
    pub entries: (u64, u64),
}

/// Runs it. The daemon's counts have been checked against each other when this returns.
pub fn run(plan: &Plan<'_>) -> Result<Report> {
    ensure!((1..=9).contains(&plan.feeders), "1 to 9 feeders, not {}", plan.feeders);
    let sandbox = Sandbox::new(plan.name)?;
    let router = sandbox.namespace("router")?;
    let feeders_ns = sandbox.namespace("feeders")?;
    sandbox.link((&router, "wan"), (&feeders_ns, "wan"))?;
    router.address("wan", "10.99.1.1/24")?;
    router.address("wan", "fd99:1::1/64")?;
    let announcers: Vec<Announcer> = (0..plan.feeders).map(announcer).collect();
    for announcer in &announcers {
        feeders_ns.address("wan", &format!("{}/24", announcer.next_hop_v4))?;
        feeders_ns.address("wan", &format!("{}/64", announcer.next_hop_v6))?;
    }
    feeders_ns.offloads_for_xdp("wan")?;
    let messages: Vec<Vec<u8>> = announcers.iter().map(|announcer| plan.table.encode(announcer)).collect();

    let mut daemon = Daemon::start(&sandbox, &router, &config(plan, &announcers))?;
    let mut sessions = Vec::new();
    for announcer in &announcers {
        let config = FeederConfig {
            local: announcer.next_hop_v4.into(),
            remote: SocketAddr::from((Ipv4Addr::new(10, 99, 1, 1), 179)),
            asn: announcer.asn,
            router_id: announcer.next_hop_v4,
            hold_time: 90,
        };
        sessions.push(feeders_ns.enter(|| Feeder::connect(&config, Duration::from_secs(30)))?);
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        let sending: Vec<_> = sessions
            .iter()
            .zip(&messages)
            .map(|(session, messages)| scope.spawn(move || session.send(messages)))
            .collect();
        sending.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a feeder panicked"))?)
    })?;
    let neighbors: Vec<String> =
        announcers.iter().map(|announcer| announcer.next_hop_v4.to_string()).collect();
    let deadline = start + plan.timeout;
    let summary = loop {
        daemon.process().ensure_running()?;
        let summary = daemon.show_json(&["summary"])?;
        match complete(plan, &summary, &neighbors) {
            Ok(()) => break summary,
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("the table is not through after {:?}", plan.timeout)));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let elapsed = start.elapsed();
    for session in &sessions {
        if let Some(reason) = session.closed() {
            bail!("a feeder's session has ended: {reason}");
        }
    }
    metrics_agree(&daemon, &summary, plan.fib)?;
    let entries = |family: &str| summary["fib"]["families"][family]["entries"].as_u64().unwrap_or(0);
    Ok(Report {
        prefixes: plan.table.counts(),
        elapsed,
        resident_bytes: daemon.process().resident_bytes()?,
        entries: (entries("ipv4-unicast"), entries("ipv6-unicast")),
    })
}

fn announcer(index: u8) -> Announcer {
    let host = 11 + index;
    Announcer {
        asn: FEEDER_ASN + u32::from(index),
        next_hop_v4: Ipv4Addr::new(10, 99, 1, host),
        next_hop_v6: Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, u16::from(host)),
        seed: u64::from(index) + 1,
    }
}

fn config(plan: &Plan<'_>, announcers: &[Announcer]) -> String {
    let mut parts = vec![format!("[router]\nasn = {ROUTER_ASN}\nrouter-id = \"10.99.1.1\"\n")];
    if plan.fib {
        let (v4, v6) = plan.table.counts();
        // Room for connected and host routes beside the table.
        parts.push(format!(
            "\n[fib]\ninterfaces = [\"wan\"]\nmax-ipv4-entries = {}\nmax-ipv6-entries = {}\n",
            v4 + 1000,
            v6 + 1000
        ));
    }
    for announcer in announcers {
        parts.push(format!(
            "\n[[neighbor]]\naddress = \"{}\"\nasn = {}\npassive = true\nimport = [\"all\"]\nexport = [\"none\"]\n",
            IpAddr::V4(announcer.next_hop_v4),
            announcer.asn
        ));
    }
    parts.concat()
}

fn figure(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("expected a number, found {value}"))
}

/// Whether everything has arrived everywhere; the error says what has not.
fn complete(plan: &Plan<'_>, summary: &Value, neighbors: &[String]) -> Result<()> {
    let (v4, v6) = plan.table.counts();
    for (family, expected) in [("ipv4-unicast", v4 as u64), ("ipv6-unicast", v6 as u64)] {
        let mut best = 0;
        for address in neighbors {
            let all = summary["neighbors"].as_array().context("no neighbors")?;
            let neighbor = all.iter().find(|n| n["address"] == *address).context("a neighbor is missing")?;
            for which in ["received", "accepted"] {
                let seen = neighbor["families"][family][which].as_u64().unwrap_or(0);
                ensure!(seen == expected, "{address}: {seen} of {expected} {family} routes {which}");
            }
            best += neighbor["families"][family]["best"].as_u64().unwrap_or(0);
        }
        ensure!(best == expected, "{best} of {expected} {family} prefixes have a best path");
        if plan.fib {
            let fib = &summary["fib"]["families"][family];
            let (routes, missing) = (figure(&fib["routes"])?, figure(&fib["not_installed"])?);
            // Connected and host routes come on top.
            ensure!(routes >= expected, "{routes} of {expected} {family} routes in the forwarding table");
            ensure!(missing == 0, "{missing} {family} routes are not installed");
        }
    }
    Ok(())
}

/// `/metrics` says the same as `show summary`.
pub fn metrics_agree(daemon: &Daemon, summary: &Value, fib: bool) -> Result<()> {
    let metrics = daemon.metrics()?;
    let same = |name: &str, labels: &[(&str, &str)], expected: &Value| -> Result<()> {
        let (seen, expected) = (metrics.sum(name, labels)?, expected.as_f64().context("not a number")?);
        ensure!((seen - expected).abs() < 0.5, "{name} {labels:?} is {seen}, show summary says {expected}");
        Ok(())
    };
    for (family, rib) in summary["rib"].as_object().context("no rib in the summary")? {
        same("peregrine_rib_prefixes", &[("family", family)], &rib["prefixes"])?;
        same("peregrine_rib_paths", &[("family", family)], &rib["paths"])?;
    }
    for neighbor in summary["neighbors"].as_array().context("no neighbors in the summary")? {
        let address = neighbor["address"].as_str().context("a neighbor without an address")?;
        for (family, counts) in neighbor["families"].as_object().context("no families")? {
            for which in ["received", "accepted", "best"] {
                let name = format!("peregrine_session_routes_{which}");
                same(&name, &[("neighbor", address), ("family", family)], &counts[which])?;
            }
        }
    }
    if fib {
        for (family, table) in summary["fib"]["families"].as_object().context("no fib in the summary")? {
            same("peregrine_fib_routes", &[("family", family)], &table["routes"])?;
            same("peregrine_fib_entries", &[("family", family)], &table["entries"])?;
            same("peregrine_fib_capacity_entries", &[("family", family)], &table["capacity"])?;
            same("peregrine_fib_not_installed_routes", &[("family", family)], &table["not_installed"])?;
        }
    }
    Ok(())
}

/// [`metrics_agree`], tried again while routes still move.
pub fn wait_metrics_agree(daemon: &Daemon, fib: bool) -> Result<()> {
    wait_until("show summary and /metrics agree", Duration::from_secs(5), || {
        metrics_agree(daemon, &daemon.show_json(&["summary"])?, fib)
    })
}
