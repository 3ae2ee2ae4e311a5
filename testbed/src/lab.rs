//! The demonstration: `host A - router - BIRD - host B`, told step by step.
//!
//! Every claim that is printed with a tick was checked just then, by somebody else than the daemon
//! where that is possible: ping, iperf3, traceroute, tshark, `ip route`, birdc. With
//! `--router bird` the same story runs with BIRD and the kernel as the router: what fails there is
//! the lab's own fault.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::capture::{CHECKSUM_GOOD, Capture};
use crate::daemon::{self, Daemon};
use crate::netns::{self, Sandbox, tail};
use crate::peers::bird::Bird;
use crate::process::{Process, wait_until};
use crate::story::Story;
use crate::stream::{Pace, Stream};
use crate::tools;
use crate::topology::{self, Addresses, BIRD_ASN, FAMILIES, ROUTER_ASN, Topology, V4, V6};

/// The lab's name: its namespaces are `pg-lab-*`.
pub const NAME: &str = "lab";

/// Sessions come up within this time.
const SESSION: Duration = Duration::from_secs(30);
/// Routes follow within this time.
const ROUTES: Duration = Duration::from_secs(10);

/// What the lab is run with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Leave everything running at the end.
    pub keep: bool,
    /// BIRD and the kernel instead of the daemon.
    pub stand_in: bool,
    /// How long each iperf3 runs.
    pub seconds: u32,
    /// Throughput that must be reached, in Mbit/s.
    pub megabits: u32,
}

struct Lab {
    options: Options,
    // Dropped in this order: programs first, then the namespaces that they run in.
    daemon: Option<Daemon>,
    _stand_in: Option<Bird>,
    bird: Bird,
    _iperf: Process,
    topology: Topology,
}

/// Runs the whole story. On failure the ends of the logs have been printed.
pub fn run(options: Options) -> Result<()> {
    let title = if options.stand_in {
        "The lab, with BIRD and the kernel as its router"
    } else {
        "First flight: host A - Peregrine - BIRD - host B"
    };
    let mut story = Story::begin(title);
    let mut sandbox = Sandbox::new(NAME)?;
    if options.keep {
        sandbox.keep();
    }
    let directory = sandbox.directory().to_path_buf();
    let outcome = tell(&mut story, sandbox, options, &directory);
    if outcome.is_err() && options.keep {
        story.quote("What there is of the lab is left running; to clear it away: scripts/lab down");
    } else if outcome.is_err() {
        netns::clear(NAME)?;
    }
    outcome
}

fn tell(story: &mut Story, sandbox: Sandbox, options: Options, directory: &Path) -> Result<()> {
    let outcome = Lab::build(story, sandbox, options).and_then(|mut lab| {
        let outcome = lab.chapters(story);
        // Read before the programs are ended, which they log too.
        if outcome.is_err() {
            quote_logs(story, directory);
        }
        outcome
    });
    if outcome.is_ok() {
        story.end("All seen");
        if options.keep {
            story.quote(&hints());
        }
    }
    outcome
}

fn quote_logs(story: &Story, directory: &Path) {
    for log in ["peregrine.log", "stand-in.log", "bird.log"] {
        let text = tail(&directory.join(log), 25);
        if !text.is_empty() {
            story.chapter(&format!("The end of {log}"));
            story.quote(&text);
        }
    }
}

/// What to play with after `--keep`.
fn hints() -> String {
    let binary = daemon::binary().map_or_else(|_| "peregrine".to_owned(), |path| path.display().to_string());
    let socket = format!("/tmp/peregrine-testbed/{NAME}/peregrine.sock");
    let birdc = format!("birdc -s /tmp/peregrine-testbed/{NAME}/bird.ctl");
    format!(
        "The lab is left running. To play with it:\n\
         \x20 {binary} --socket {socket} show summary\n\
         \x20 {binary} --socket {socket} monitor routes\n\
         \x20 ip netns exec pg-{NAME}-a ping {host}\n\
         \x20 ip netns exec pg-{NAME}-a traceroute -n {host}\n\
         \x20 {birdc} show protocols\n\
         \x20 {birdc} disable {announcements}\n\
         \x20 ip -n pg-{NAME}-router route show table all\n\
         and to clear it away:\n\
         \x20 scripts/lab down",
        host = V4.host_b,
        announcements = V4.announcements,
    )
}

fn seconds(since: Instant) -> String {
    format!("{:.2} s", since.elapsed().as_secs_f64())
}

impl Lab {
    fn build(story: &mut Story, sandbox: Sandbox, options: Options) -> Result<Self> {
        story.chapter("The network");
        let topology = story.make("five namespaces with links and addresses", || {
            Ok((Topology::build(sandbox)?, "host A, router, BIRD, host B, office".to_owned()))
        })?;
        let bird = story.make("BIRD runs, and announces host B's networks", || {
            let bird = topology.start_bird()?;
            let status = bird.query("show status")?;
            Ok((bird, format!("{}, AS {BIRD_ASN}", status.lines().next().unwrap_or_default())))
        })?;
        let (mut daemon, mut stand_in) = (None, None);
        let name = if options.stand_in {
            "a second BIRD runs on the router"
        } else {
            "Peregrine runs on the router"
        };
        story.step(name, || {
            if options.stand_in {
                stand_in = Some(topology.start_stand_in()?);
            } else {
                daemon = Some(topology.start_daemon("")?);
            }
            Ok(format!("AS {ROUTER_ASN}"))
        })?;
        let iperf = Process::spawn(&topology.sandbox, &topology.host_b, "iperf3", &["iperf3", "-s"])?;
        Ok(Self { options, daemon, _stand_in: stand_in, bird, _iperf: iperf, topology })
    }

    fn chapters(&mut self, story: &mut Story) -> Result<()> {
        let operator = self.topology.operator_defaults()?;
        self.sessions(story)?;
        self.packets(story)?;
        self.kernel(story, &operator)?;
        self.capture(story)?;
        self.withdrawal(story)?;
        self.crash(story)?;
        self.restart(story)?;
        if !self.options.keep {
            self.farewell(story, &operator)?;
        }
        Ok(())
    }

    fn sessions(&self, story: &mut Story) -> Result<()> {
        story.chapter("Routes");
        for family in &FAMILIES {
            story.step(&format!("the {} session is Established", family.name), || {
                let start = Instant::now();
                self.bird.wait_established(family.session, SESSION)?;
                if let Some(daemon) = &self.daemon {
                    daemon.wait_established(family.bird, SESSION)?;
                }
                Ok(seconds(start))
            })?;
        }
        for family in &FAMILIES {
            story.step(&format!("{} routes are received and best", family.name), || {
                self.routes_arrived(family)
            })?;
        }
        if let Some(daemon) = &self.daemon {
            story.quote(&daemon.show(&["summary"])?);
        }
        Ok(())
    }

    fn routes_arrived(&self, family: &Addresses) -> Result<String> {
        let expected = family.more.len() as u64 + 1;
        let exported = wait_until("BIRD exports its routes", ROUTES, || {
            let exported = topology::exported(&self.bird, family)?;
            if exported >= expected { Ok(exported) } else { Err(anyhow!("{exported} exported")) }
        })?;
        if let Some(daemon) = &self.daemon {
            for which in ["received", "accepted", "best"] {
                daemon.wait_count(family.bird, family.family, which, exported, ROUTES)?;
            }
            daemon.wait_installed(family.net_b, true, ROUTES)?;
        }
        // The way back: BIRD has host A's network from us.
        wait_until("BIRD imports host A's network", ROUTES, || {
            let imported = self.bird.imported(family.session, family.channel)?;
            if imported == 1 { Ok(()) } else { Err(anyhow!("{imported} imported")) }
        })?;
        Ok(format!("{exported}, as BIRD counts; 1 announced to it"))
    }

    fn packets(&self, story: &mut Story) -> Result<()> {
        story.chapter("Packets");
        let before = self.verdicts()?;
        for family in &FAMILIES {
            story.step(&format!("host A pings host B by {}", family.name), || {
                // The first packets may be spent on finding the neighbours.
                wait_until("a first answer", ROUTES, || {
                    tools::ping_all(&self.topology.host_a, None, family.host_b, 1)
                })?;
                tools::ping_all(&self.topology.host_a, None, family.host_b, 20)
            })?;
        }
        for family in &FAMILIES {
            story.step(&format!("TCP from host A to host B by {}", family.name), || {
                let least = f64::from(self.options.megabits) / 1000.0;
                let mut rate = 0.0_f64;
                // A busy machine is no fault of the router's: the best of three counts.
                for _ in 0..3 {
                    rate =
                        rate.max(tools::iperf3(&self.topology.host_a, family.host_b, self.options.seconds)?);
                    if rate >= least {
                        break;
                    }
                }
                ensure!(
                    rate >= least,
                    "{rate:.2} Gbit/s at best, expected at least {least}: is the machine busy? --megabits asks for less"
                );
                Ok(format!("{rate:.2} Gbit/s"))
            })?;
        }
        for family in &FAMILIES {
            story.step(&format!("traceroute by {} shows the router, BIRD, host B", family.name), || {
                let hops = tools::traceroute(&self.topology.host_a, family.host_b)?;
                let expected = [family.router_lan, family.bird, family.host_b];
                ensure!(hops == expected, "hops {hops:?}, expected {expected:?}");
                Ok(hops.join(" > "))
            })?;
        }
        for family in &FAMILIES {
            story.step(&format!("the router itself pings host B by {}", family.name), || {
                tools::ping_all(&self.topology.router, Some(family.router_wan), family.host_b, 5)
            })?;
        }
        self.proof(story, &before)
    }

    fn verdicts(&self) -> Result<BTreeMap<String, u64>> {
        self.daemon.as_ref().map_or_else(|| Ok(BTreeMap::new()), Daemon::verdicts)
    }

    /// The program's counters moved by at least what iperf3 must have sent.
    fn proof(&self, story: &mut Story, before: &BTreeMap<String, u64>) -> Result<()> {
        if self.daemon.is_none() {
            return Ok(());
        }
        let after = self.verdicts()?;
        let moved: Vec<(&String, u64)> = after
            .iter()
            .map(|(reason, count)| (reason, count - before.get(reason).copied().unwrap_or(0)))
            .filter(|&(_, count)| count > 0)
            .collect();
        story.step("all of it went through the XDP program", || {
            let forwarded =
                moved.iter().find(|(reason, _)| *reason == "forwarded").map_or(0, |&(_, count)| count);
            // At the least rate, in frames of 1514 bytes, for the time of both transfers.
            let least =
                u64::from(self.options.megabits) * u64::from(2 * self.options.seconds) * 1_000_000 / 8 / 1514;
            ensure!(forwarded >= least, "{forwarded} packets forwarded, expected at least {least}");
            Ok(format!("{forwarded} packets forwarded"))
        })?;
        for (reason, count) in moved {
            story.quote(&format!("{count:>12}  {reason}"));
        }
        Ok(())
    }

    fn kernel(&self, story: &mut Story, operator: &str) -> Result<()> {
        story.chapter("The router's kernel");
        if self.daemon.is_some() {
            story.step("it holds no BGP route", || self.topology.no_bgp_route_in_the_kernel())?;
            for line in self.topology.routes_not_the_kernels()? {
                story.quote(&line);
            }
        }
        story.step("the operator's default routes are as they were", || {
            let now = self.topology.operator_defaults()?;
            ensure!(now == operator, "now: {now}; before: {operator}");
            Ok(format!("via {} and {}", V4.gateway, V6.gateway))
        })
    }

    fn capture(&self, story: &mut Story) -> Result<()> {
        story.chapter("What arrives");
        for family in &FAMILIES {
            story.step(&format!("a capture shows {} lowered by one a router", hop_limit(family)), || {
                capture_hop_limits(&self.topology, family)
            })?;
        }
        Ok(())
    }

    fn withdrawal(&self, story: &mut Story) -> Result<()> {
        story.chapter("BIRD withdraws host B's networks");
        for family in &FAMILIES {
            story.step(&format!("{} forwarding stops", family.name), || {
                let before = self.verdicts()?;
                self.bird.query(&format!("disable {}", family.announcements))?;
                if let Some(daemon) = &self.daemon {
                    daemon.wait_installed(family.net_b, false, ROUTES)?;
                    let answer = tools::ping_none(&self.topology.host_a, family.host_b, 5)?;
                    let dropped = self.verdicts()?["no_route"] - before["no_route"];
                    ensure!(dropped >= 5, "{dropped} packets dropped for want of a route, expected 5");
                    return Ok(format!("{answer}, {dropped} dropped: no_route"));
                }
                wait_until("no answer any more", ROUTES, || {
                    tools::ping_none(&self.topology.host_a, family.host_b, 5)
                })
            })?;
            story.step(&format!("announced again, {} works", family.name), || {
                let start = Instant::now();
                self.bird.query(&format!("enable {}", family.announcements))?;
                self.wait_for_ping(family)?;
                Ok(format!("after {}", seconds(start)))
            })?;
        }
        Ok(())
    }

    fn wait_for_ping(&self, family: &Addresses) -> Result<()> {
        wait_until("host B answers", SESSION, || {
            tools::ping_all(&self.topology.host_a, None, family.host_b, 1)
        })
        .map(drop)
    }

    fn crash(&mut self, story: &mut Story) -> Result<()> {
        story.chapter("BIRD is killed (SIGKILL) and comes back");
        let start = Instant::now();
        self.bird.kill_9()?;
        for family in &FAMILIES {
            story.step(&format!("the {} routes are gone, forwarding stops", family.name), || {
                if let Some(daemon) = &self.daemon {
                    daemon.wait_down(family.bird, SESSION)?;
                    daemon.wait_installed(family.net_b, false, ROUTES)?;
                    for prefix in family.more {
                        daemon.wait_installed(prefix, false, ROUTES)?;
                    }
                }
                let gone = seconds(start);
                wait_until("no answer any more", ROUTES, || {
                    tools::ping_none(&self.topology.host_a, family.host_b, 3)
                })?;
                Ok(format!("after {gone}"))
            })?;
        }
        let start = Instant::now();
        self.bird.launch(&self.topology.sandbox)?;
        for family in &FAMILIES {
            story.step(&format!("the {} session is back, and so is host B", family.name), || {
                self.bird.wait_established(family.session, Duration::from_secs(90))?;
                self.wait_for_ping(family)?;
                Ok(format!("after {}", seconds(start)))
            })?;
        }
        Ok(())
    }

    fn restart(&mut self, story: &mut Story) -> Result<()> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        story.chapter("Peregrine is killed (SIGKILL) and started again");
        let topology = &self.topology;
        story.step("every packet from host A reaches host B meanwhile", || {
            let targets = [V4.host_b.parse()?, V6.host_b.parse()?];
            let stream = Stream::start(&topology.host_a, &topology.host_b, &targets, Pace::Careful(10_000))?;
            std::thread::sleep(Duration::from_millis(500));
            daemon.process().kill_9()?;
            std::thread::sleep(Duration::from_secs(1));
            daemon.restart(&topology.sandbox)?;
            daemon.wait_live(SESSION)?;
            std::thread::sleep(Duration::from_millis(500));
            let counted = stream.stop()?;
            counted.whole()?;
            let took = daemon.show_json(&["summary"])?["fib"]["took_over_seconds"].as_f64();
            let took = took.ok_or_else(|| anyhow!("nothing was taken over"))?;
            Ok(format!("{} packets, the new tables took over after {took:.1} s", counted.sent))
        })?;
        for family in &FAMILIES {
            story.step(&format!("{} answers come as before", family.name), || {
                self.wait_for_ping(family).map(|()| "host B answers".to_owned())
            })?;
        }
        Ok(())
    }

    fn farewell(&mut self, story: &mut Story, operator: &str) -> Result<()> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        story.chapter("Peregrine is stopped for good (SIGINT)");
        story.step("nothing of it stays behind", || {
            daemon.interrupt()?;
            nothing_left(&self.topology)?;
            let now = self.topology.operator_defaults()?;
            ensure!(now == operator, "the operator's routes now: {now}; before: {operator}");
            Ok("no XDP program, no veth pair, no rules, no routes".to_owned())
        })
    }
}

/// TTL or hop limit.
fn hop_limit(family: &Addresses) -> &'static str {
    if family.channel == "ipv4" { "TTL, checksum right," } else { "hop limit" }
}

/// Pings from A to B, captured behind each router: 64, then 63, then 62, checksums right.
pub fn capture_hop_limits(topology: &Topology, family: &Addresses) -> Result<String> {
    const SENT: u32 = 5;
    let ipv4 = family.channel == "ipv4";
    let filter = if ipv4 { "icmp[icmptype] == icmp-echo" } else { "icmp6 and ip6[40] == 128" };
    let fields = if ipv4 { ["ip.ttl", "ip.checksum.status"] } else { ["ipv6.hlim", "ipv6.plen"] };
    // The very first ping makes the routers find their neighbours.
    tools::ping(&topology.host_a, None, family.host_b, 1)?;
    let behind_us = Capture::start(&topology.sandbox, &topology.bird, "wan", filter)?;
    let at_host_b = Capture::start(&topology.sandbox, &topology.host_b, "lan", filter)?;
    tools::ping_all(&topology.host_a, None, family.host_b, SENT)?;
    for (capture, hops, place) in [(behind_us, 1, "behind the router"), (at_host_b, 2, "at host B")] {
        let packets = capture.stop(&fields)?;
        ensure!(
            packets.len() == SENT as usize,
            "{} packets captured {place}, expected {SENT}",
            packets.len()
        );
        let expected = (64 - hops).to_string();
        for packet in &packets {
            ensure!(packet[0] == expected, "TTL or hop limit {} {place}, expected {expected}", packet[0]);
            ensure!(!ipv4 || packet[1] == CHECKSUM_GOOD, "wrong IPv4 checksum {place}");
        }
    }
    Ok(format!("{SENT} packets: 64 > 63 > 62"))
}

/// Checks that a stopped daemon has taken away what it made in the router's namespace.
pub fn nothing_left(topology: &Topology) -> Result<()> {
    let links = topology.router.ip_output(&["-o", "link", "show"])?;
    ensure!(
        !links.contains("pg-host") && !links.contains("pg-xdp"),
        "our veth pair is still there:\n{links}"
    );
    ensure!(!links.contains("xdp"), "an XDP program is still attached:\n{links}");
    for family in ["-4", "-6"] {
        let rules = topology.router.ip_output(&[family, "rule", "show"])?;
        ensure!(!rules.contains("5179"), "a rule of ours is still there:\n{rules}");
        let routes = topology.router.ip_output(&[family, "route", "show", "table", "all"])?;
        ensure!(!routes.contains("5179"), "a route of ours is still there:\n{routes}");
    }
    Ok(())
}
