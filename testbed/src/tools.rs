//! Small programs that prove forwarding: ping, traceroute, iperf3, run inside a namespace.

use std::net::IpAddr;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::netns::Namespace;

/// The programs that these helpers run.
pub const PROGRAMS: [&str; 4] = ["ping", "traceroute", "iperf3", "ethtool"];

fn family(target: &str) -> Result<&'static str> {
    let address: IpAddr = target.parse().with_context(|| format!("address {target}"))?;
    Ok(if address.is_ipv6() { "-6" } else { "-4" })
}

/// Sends pings, from a given source address if one is named; how many answers came.
pub fn ping(from: &Namespace, source: Option<&str>, target: &str, count: u32) -> Result<u32> {
    let count = count.to_string();
    let mut command = from.command("ping");
    command.args([family(target)?, "-n", "-q", "-c", &count, "-i", "0.05", "-W", "1"]);
    if let Some(source) = source {
        command.args(["-I", source]);
    }
    // ping fails when no answer came: that is a result here, not an error.
    let done = command.arg(target).output().context("cannot run ping")?;
    let text = String::from_utf8_lossy(&done.stdout);
    let received = text.split(',').find_map(|part| part.trim().strip_suffix(" received"));
    let received = received.with_context(|| {
        format!("ping {target} printed no count: {text}{}", String::from_utf8_lossy(&done.stderr))
    })?;
    received.trim().parse().with_context(|| format!("ping {target}: {text}"))
}

/// Sends pings that must all be answered.
pub fn ping_all(from: &Namespace, source: Option<&str>, target: &str, count: u32) -> Result<String> {
    let received = ping(from, source, target, count)?;
    ensure!(received == count, "{target} answered {received} of {count} pings");
    Ok(format!("{received} of {count} answered"))
}

/// Sends pings that must not be answered.
pub fn ping_none(from: &Namespace, target: &str, count: u32) -> Result<String> {
    let received = ping(from, None, target, count)?;
    ensure!(received == 0, "{target} answered {received} of {count} pings, expected none");
    Ok(format!("0 of {count} answered"))
}

/// The addresses of the hops to a target, `*` for one that did not answer.
pub fn traceroute(from: &Namespace, target: &str) -> Result<Vec<String>> {
    let text = from.run(&["traceroute", family(target)?, "-n", "-q", "2", "-w", "2", "-m", "6", target])?;
    // " 1  10.99.10.1  0.052 ms  0.010 ms"
    let hop =
        |line: &str| line.split_whitespace().skip(1).find(|word| *word != "*").unwrap_or("*").to_owned();
    Ok(text.lines().skip(1).map(hop).collect())
}

/// TCP throughput in Gbit/s; an `iperf3 -s` must run on the target.
pub fn iperf3(from: &Namespace, target: &str, seconds: u32) -> Result<f64> {
    let text = from.run(&["iperf3", family(target)?, "-c", target, "-t", &seconds.to_string(), "-J"])?;
    let report: Value = serde_json::from_str(&text).context("iperf3 did not answer JSON")?;
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    rate.map(|rate| rate / 1e9).ok_or_else(|| anyhow!("iperf3 measured nothing: {}", report["error"]))
}
