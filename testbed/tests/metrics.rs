//! `/metrics`: well-formed by Prometheus' own tool, and the same numbers as `show summary`.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::daemon::{self, Daemon};
use testbed::netns::Sandbox;
use testbed::peers::bird::{self, Bird};
use testbed::tools;
use testbed::topology::{FAMILIES, Topology};

/// The lab's network with routes in both families and some packets forwarded.
fn start(name: &str) -> Result<(Daemon, Bird, Topology)> {
    let topology = Topology::build(Sandbox::new(name)?)?;
    let bird = topology.start_bird()?;
    let daemon = topology.start_daemon("")?;
    for family in &FAMILIES {
        bird.wait_established(family.session, Duration::from_secs(30))?;
        daemon.wait_count(family.bird, family.family, "best", 4, Duration::from_secs(15))?;
        daemon.wait_installed(family.net_b, true, Duration::from_secs(15))?;
        tools::ping(&topology.host_a, None, family.host_b, 5)?;
    }
    Ok((daemon, bird, topology))
}

#[test]
fn the_scrape_agrees_with_show_summary() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &tools::PROGRAMS].concat();
    if !daemon::ready("metrics::the_scrape_agrees_with_show_summary", &programs) {
        return Ok(());
    }
    let (daemon, _bird, _topology) = start("metrics")?;
    daemon.wait_metrics_agree()?;
    let metrics = daemon.metrics()?;
    let up = metrics.sum("peregrine_session_up", &[])?;
    ensure!((up - 2.0).abs() < 0.5, "{up} sessions up, expected 2");
    let forwarded = metrics.sum("peregrine_forwarding_packets_total", &[("reason", "forwarded")])?;
    ensure!(forwarded > 0.0, "no packet is counted as forwarded");
    let bytes = metrics.sum("peregrine_forwarding_bytes_total", &[("reason", "forwarded")])?;
    ensure!(bytes >= 60.0 * forwarded, "{bytes} bytes in {forwarded} packets");
    let count = metrics.sum("peregrine_update_to_fib_seconds_count", &[])?;
    ensure!(count > 0.0, "the latency histogram is empty");
    // The TCP address serves the same.
    ensure!(daemon.get_tcp("/metrics")?.contains("peregrine_session_up"), "no metrics on the TCP address");
    Ok(())
}

#[test]
fn promtool_finds_nothing_in_the_scrape() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &tools::PROGRAMS, &["promtool"]].concat();
    if !daemon::ready("metrics::promtool_finds_nothing_in_the_scrape", &programs) {
        return Ok(());
    }
    let (daemon, _bird, _topology) = start("promtool")?;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = promtool.stdin.take().context("promtool's input")?;
    input.write_all(daemon.get("/metrics")?.as_bytes())?;
    drop(input);
    let done = promtool.wait_with_output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    ensure!(done.status.success() && said.trim().is_empty(), "promtool check metrics: {said}");
    Ok(())
}
