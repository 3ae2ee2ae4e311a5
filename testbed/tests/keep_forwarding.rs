//! Packets flow on while the daemon is away, and while another one takes over: none is lost, at a steady rate, by
//! whatever the daemon ends.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::daemon::{self, Daemon};
use testbed::netns::Sandbox;
use testbed::peers::bird::{self, Bird};
use testbed::process::wait_until;
use testbed::stream::{Pace, Stream};
use testbed::topology::{FAMILIES, Topology, V4, V6, daemon_config};
use testbed::{lab, tools};

const SESSION: Duration = Duration::from_secs(30);
const ROUTES: Duration = Duration::from_secs(15);
const TAKEOVER: Duration = Duration::from_secs(90);
/// Packets a second, of both families together, if the machine has nothing else to do.
const RATE: u32 = 100_000;

fn ready(test: &str) -> bool {
    let programs = [&bird::PROGRAMS[..], &tools::PROGRAMS].concat();
    daemon::ready(&format!("keep_forwarding::{test}"), &programs)
}

struct Running {
    daemon: Daemon,
    _bird: Bird,
    topology: Topology,
}

impl Running {
    fn start(name: &str, config: &str) -> Result<Self> {
        let topology = Topology::build(Sandbox::new(name)?)?;
        let bird = topology.start_bird()?;
        let daemon = Daemon::start(&topology.sandbox, &topology.router, config)?;
        let running = Self { daemon, _bird: bird, topology };
        running.is_whole()?;
        Ok(running)
    }

    /// The routes of both families forward.
    fn is_whole(&self) -> Result<()> {
        for family in &FAMILIES {
            self.daemon.wait_established(family.bird, SESSION)?;
            self.daemon.wait_installed(family.net_b, true, ROUTES)?;
            let answers = || tools::ping_all(&self.topology.host_a, None, family.host_b, 1);
            wait_until("host B answers", ROUTES, answers)?;
        }
        Ok(())
    }

    fn stream(&self) -> Result<Stream> {
        let targets = [V4.host_b.parse::<IpAddr>()?, V6.host_b.parse()?];
        Stream::start(&self.topology.host_a, &self.topology.host_b, &targets, Pace::Careful(RATE))
    }

    /// Has the daemon end, and after a while start again; returns when packets go by its new tables.
    fn restart(&mut self, end: impl FnOnce(&mut Daemon, &Sandbox) -> Result<()>) -> Result<()> {
        std::thread::sleep(Duration::from_millis(500));
        end(&mut self.daemon, &self.topology.sandbox)?;
        std::thread::sleep(Duration::from_millis(500));
        self.daemon.restart(&self.topology.sandbox)?;
        self.daemon.wait_live(TAKEOVER)?;
        let summary = self.daemon.show_json(&["summary"])?;
        ensure!(summary["fib"]["took_over_seconds"].as_f64().is_some(), "nothing was taken over: {summary}");
        let metrics = self.daemon.metrics()?;
        ensure!(metrics.sum("peregrine_fib_staged", &[])? < 0.5);
        ensure!(metrics.sum("peregrine_fib_takeover_seconds", &[])? > 0.0);
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    /// The program on an interface of the router, by its number.
    fn program_on(&self, device: &str) -> Result<String> {
        let shown = self.topology.router.ip_output(&["link", "show", "dev", device])?;
        let (_, id) = shown.split_once("prog/xdp id ").with_context(|| format!("no program: {shown}"))?;
        Ok(id.split_whitespace().next().unwrap_or_default().to_owned())
    }
}

#[test]
fn no_packet_is_lost_when_the_daemon_is_killed_and_another_one_takes_over() -> Result<()> {
    if !ready("no_packet_is_lost_when_the_daemon_is_killed_and_another_one_takes_over") {
        return Ok(());
    }
    let mut running = Running::start("keep-kill", &daemon_config())?;
    let before = running.program_on("lan")?;
    let stream = running.stream()?;
    running.restart(|daemon, _| daemon.process().kill_9())?;
    let counted = stream.stop()?;
    eprintln!("killed by SIGKILL: {counted:?}");
    counted.whole()?;
    ensure!(running.program_on("lan")? != before, "the old program still runs");
    running.is_whole()?;

    // Killed once more, and again before its successor has taken over.
    let before = running.program_on("lan")?;
    let stream = running.stream()?;
    running.restart(|daemon, sandbox| {
        daemon.process().kill_9()?;
        std::thread::sleep(Duration::from_millis(300));
        daemon.restart(sandbox)?;
        let summary = daemon.show_json(&["summary"])?;
        ensure!(summary["fib"]["staged"] == true, "{summary}");
        ensure!(daemon.show(&["summary"])?.contains("by the tables of an earlier run"));
        ensure!(daemon.metrics()?.sum("peregrine_fib_staged", &[])? > 0.5);
        daemon.process().kill_9()
    })?;
    let counted = stream.stop()?;
    eprintln!("killed twice: {counted:?}");
    counted.whole()?;
    ensure!(running.program_on("lan")? != before);
    running.is_whole()?;
    let routes = running.topology.no_bgp_route_in_the_kernel()?;
    ensure!(routes.contains("only our 2 defaults"), "{routes}");
    running.daemon.interrupt()?;
    lab::nothing_left(&running.topology)
}

/// SIGTERM, with another set of ports the next time.
#[test]
fn no_packet_is_lost_when_the_daemon_is_stopped_and_started_with_other_ports() -> Result<()> {
    if !ready("no_packet_is_lost_when_the_daemon_is_stopped_and_started_with_other_ports") {
        return Ok(());
    }
    let ports = |names: &str| daemon_config().replace("[\"lan\", \"wan\"]", names);
    let mut running = Running::start("keep-stop", &ports("[\"lan\", \"wan\", \"mgmt\"]"))?;
    running.program_on("mgmt")?;
    let stream = running.stream()?;
    running.restart(|daemon, _| {
        daemon.rewrite(&ports("[\"lan\", \"wan\"]"))?;
        daemon.terminate()
    })?;
    ensure!(running.program_on("mgmt").is_err(), "an interface that is no port any more keeps its program");
    running.restart(|daemon, _| {
        daemon.rewrite(&ports("[\"wan\", \"lan\", \"mgmt\"]"))?;
        daemon.terminate()
    })?;
    running.program_on("mgmt")?;
    let counted = stream.stop()?;
    eprintln!("stopped by SIGTERM: {counted:?}");
    counted.whole()?;
    running.is_whole()
}

#[test]
fn without_keep_forwarding_all_goes_with_the_daemon() -> Result<()> {
    if !ready("without_keep_forwarding_all_goes_with_the_daemon") {
        return Ok(());
    }
    let config = daemon_config().replace("[fib]\n", "[fib]\nkeep-forwarding = false\n");
    let mut running = Running::start("keep-not", &config)?;
    ensure!(running.daemon.metrics()?.sum("peregrine_fib_kept", &[])? < 0.5);
    running.daemon.terminate()?;
    lab::nothing_left(&running.topology)?;
    running.daemon.restart(&running.topology.sandbox)?;
    running.is_whole()?;
    running.daemon.process().kill_9()?;
    ensure!(running.program_on("lan").is_err(), "a killed daemon's program stays");
    Ok(())
}

#[test]
fn a_second_daemon_is_refused_and_touches_nothing() -> Result<()> {
    if !ready("a_second_daemon_is_refused_and_touches_nothing") {
        return Ok(());
    }
    let running = Running::start("keep-second", &daemon_config())?;
    let directory = running.topology.sandbox.directory();
    let (config, socket) = (directory.join("second.toml"), directory.join("second.sock"));
    let ports = daemon_config()
        .replace("[router]\n", "[router]\nlisten = [\"127.0.0.1:1179\"]\n")
        .replace("[\"lan\", \"wan\"]", "[\"mgmt\"]");
    std::fs::write(&config, format!("{ports}\n[api]\nsocket = \"{}\"\n", socket.display()))?;
    let binary = daemon::binary()?.display().to_string();
    let refused = running.topology.router.run(&[&binary, "run", "-c", &config.display().to_string()]);
    let said = format!("{:#}", refused.err().context("a second daemon runs")?);
    ensure!(said.contains("packets are forwarded here already, by process"), "{said}");
    ensure!(running.program_on("mgmt").is_err(), "the second one has attached its program");
    running.is_whole()
}

/// What the tests leave is cleared away with their namespaces: pinned maps would fill the kernel's memory.
#[test]
fn a_sandbox_leaves_nothing_pinned() -> Result<()> {
    if !ready("a_sandbox_leaves_nothing_pinned") {
        return Ok(());
    }
    let mut running = Running::start("keep-clear", &daemon_config())?;
    let log = running.daemon.process().log_text();
    let (_, rest) = log.split_once("pins=").with_context(|| format!("no pins in {log}"))?;
    let place = std::path::PathBuf::from(rest.split('"').nth(1).unwrap_or_default());
    let names = || std::fs::read_dir(&place).map_or(0, Iterator::count);
    ensure!(names() == 3, "{} names in {}: {log}", names(), place.display());
    running.daemon.process().kill_9()?;
    ensure!(names() == 3, "{} names in {}", names(), place.display());
    drop(running);
    ensure!(!place.exists(), "{} is still there", place.display());
    Ok(())
}
