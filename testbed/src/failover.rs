//! How long traffic is lost when the link to the next hop of a whole table goes down.
//!
//! A router with two uplinks that announce the same table; all of it goes by the first. A source sends numbered
//! packets to addresses spread over the table, ten thousand a second; both uplinks take whatever comes. Then the first
//! uplink's link goes down, or takes nothing any more without a word, which only BFD tells (50 ms, three packets; BIRD
//! answers it in the uplinks): what is missing until the last of those addresses is served by the second one was lost.
//! The same place, table and traffic for our daemon and for others that have the kernel forward.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::feeder::{Feeder, FeederConfig};
use crate::load::usage;
use crate::netns::{Namespace, Sandbox};
use crate::peers::bird::Bird;
use crate::peers::frr::Frr;
use crate::plot::Bars;
use crate::process::wait_until;
use crate::table::{Announcer, Table};

/// Packets a second, of one family at a time.
const RATE: u32 = 10_000;
/// How long packets go before the link is cut, and after it at most.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_secs(20);
/// Destinations, spread over the table.
const TARGETS: usize = 100;
const PORT: u16 = 9000;
const ROUTER_ASN: u32 = 4_200_000_000;
/// A session, and a table on its way into the kernel.
const PATIENCE: Duration = Duration::from_mins(5);

/// What forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Router {
    /// Our daemon with XDP.
    Peregrine,
    /// BIRD and the kernel.
    Bird,
    /// FRR and the kernel.
    Frr,
}

/// What happens to the first uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Trigger {
    /// Its link goes down.
    Link,
    /// It drops whatever comes, and says nothing: BFD has to notice.
    Bfd,
}

/// What was lost in one family.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// Packets sent since the link was cut that reached nobody.
    pub packets: u32,
    /// From the first of them until the last destination was served again; `None`: some never were.
    pub time: Option<Duration>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Who.
    pub router: Router,
    /// After what.
    pub trigger: Trigger,
    /// Prefixes, IPv4 and IPv6 together.
    pub prefixes: usize,
    /// IPv4, IPv6.
    pub loss: [Loss; 2],
}

impl Outcome {
    /// As a line of JSON.
    pub fn json(&self) -> Value {
        let family = |loss: Loss| json!({ "lost_packets": loss.packets, "seconds": loss.time.map(|time| time.as_secs_f64()) });
        json!({
            "router": format!("{:?}", self.router).to_lowercase(),
            "trigger": format!("{:?}", self.trigger).to_lowercase(),
            "prefixes": self.prefixes,
            "ipv4": family(self.loss[0]),
            "ipv6": family(self.loss[1]),
        })
    }

    /// As a line of text.
    pub fn text(&self) -> String {
        let family = |loss: Loss| match loss.time {
            Some(time) => format!("{:>7} lost, {:>9.1} ms", loss.packets, time.as_secs_f64() * 1e3),
            None => format!("{:>7} lost, never again whole", loss.packets),
        };
        let name = format!("{:?}", self.router).to_lowercase();
        let trigger = format!("{:?}", self.trigger).to_lowercase();
        let [v4, v6] = self.loss.map(family);
        format!("{name:<10} {trigger:<7} {:>9}   {v4}   {v6}", self.prefixes)
    }
}

/// The head over lines of [`Outcome::text`].
pub fn head() -> String {
    format!("{:<10} {:<7} {:>9}   {:<25}   IPv6", "router", "trigger", "prefixes", "IPv4")
}

/// Outcomes as a picture: the worst time of each router and family, by the size of the table.
pub fn plot(outcomes: &[Outcome]) -> Bars {
    let mut columns: Vec<(Router, usize)> = Vec::new();
    let mut sizes: Vec<usize> = Vec::new();
    for outcome in outcomes {
        if !columns.contains(&(outcome.router, 0)) {
            columns.extend([(outcome.router, 0), (outcome.router, 1)]);
        }
        if !sizes.contains(&outcome.prefixes) {
            sizes.push(outcome.prefixes);
        }
    }
    let name = |(router, family): &(Router, usize)| {
        format!("{}, {}", format!("{router:?}").to_lowercase(), ["IPv4", "IPv6"][*family])
    };
    let names: Vec<String> = columns.iter().map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bfd = outcomes.iter().any(|outcome| outcome.trigger == Trigger::Bfd);
    let title = if bfd {
        "Traffic lost when the next hop of all routes goes silent"
    } else {
        "Traffic lost when the link to the next hop of all routes goes down"
    };
    let mut bars = Bars::new(title, "milliseconds", &names);
    for size in sizes {
        let worst = |(router, family): &(Router, usize)| {
            let of = outcomes.iter().filter(|outcome| (outcome.router, outcome.prefixes) == (*router, size));
            of.map(|outcome| outcome.loss[*family].time.unwrap_or(AFTER)).max()
        };
        let values: Vec<Option<f64>> =
            columns.iter().map(|column| worst(column).map(|time| time.as_secs_f64() * 1e3)).collect();
        bars.group(&format!("{size} routes"), &values);
    }
    bars
}

/// Addresses of the link between the router and an uplink (1 or 2), or the source (0): the router's and the other's.
fn link(number: u8) -> [[IpAddr; 2]; 2] {
    let end = |host: u8| -> [IpAddr; 2] {
        let v6 = Ipv6Addr::new(0xfd98, 0, 0, number.into(), 0, 0, 0, host.into());
        [Ipv4Addr::new(10, 98, number, host).into(), v6.into()]
    };
    [end(1), end(2)]
}

struct Place {
    sandbox: Sandbox,
    router: Namespace,
    source: Namespace,
    uplinks: [Namespace; 2],
    /// Between the router and the first uplink, where nobody sees a link go down.
    bridge: Option<Namespace>,
}

/// The least that both ends agree on, as operators write it.
const BIRD_BFD: &str =
    "protocol bfd { interface \"*\" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }\n";

const DEVICES: [&str; 3] = ["lan", "up1", "up2"];

impl Place {
    fn new(trigger: Trigger) -> Result<Self> {
        let sandbox = Sandbox::new("failover")?;
        let (router, source) = (sandbox.namespace("router")?, sandbox.namespace("source")?);
        let uplinks = [sandbox.namespace("uplink1")?, sandbox.namespace("uplink2")?];
        let bridge = (trigger == Trigger::Bfd).then(|| sandbox.namespace("bridge")).transpose()?;
        router.forwarding()?;
        for (number, other) in (0..).zip([&source, &uplinks[0], &uplinks[1]]) {
            let device = DEVICES[usize::from(number)];
            match &bridge {
                Some(bridge) if number == 1 => {
                    sandbox.link((&router, device), (bridge, "left"))?;
                    sandbox.link((bridge, "right"), (other, device))?;
                    bridge.ip(&["link", "add", "name", "br", "type", "bridge"])?;
                    for port in ["left", "right"] {
                        bridge.ip(&["link", "set", "dev", port, "master", "br"])?;
                    }
                    bridge.ip(&["link", "set", "dev", "br", "up"])?;
                    bridge.offloads_for_xdp("left")?;
                }
                _ => sandbox.link((&router, device), (other, device))?,
            }
            for (namespace, end) in [&router, other].into_iter().zip(link(number)) {
                let networks = [IpNet::new(end[0], 24)?, IpNet::new(end[1], 64)?];
                namespace.addresses(device, &networks)?;
            }
            other.offloads_for_xdp(device)?;
        }
        let [v4, v6] = link(0)[0];
        source.ip(&["route", "add", "default", "via", &v4.to_string()])?;
        source.ip(&["-6", "route", "add", "default", "via", &v6.to_string()])?;
        for uplink in &uplinks {
            // Whatever comes is for them, and needs no way back.
            uplink.run(&[
                "sysctl",
                "-qw",
                "net.ipv4.conf.all.accept_local=1",
                "net.ipv4.conf.all.rp_filter=0",
                "net.ipv4.conf.default.rp_filter=0",
            ])?;
            uplink.ip(&["route", "add", "local", "0.0.0.0/0", "dev", "lo"])?;
            uplink.ip(&["-6", "route", "add", "local", "::/0", "dev", "lo"])?;
        }
        Ok(Self { sandbox, router, source, uplinks, bridge })
    }

    /// Who answers BFD in both uplinks.
    fn answer_bfd(&self) -> Result<[Bird; 2]> {
        let bird = |number: u8| {
            let [[router, _], [own, _]] = link(number);
            let device = DEVICES[usize::from(number)];
            let config = format!(
                "router id {own};\n{}",
                BIRD_BFD.replacen(
                    "; }\n",
                    &format!("; neighbor {router} dev \"{device}\" local {own}; }}\n"),
                    1
                )
            );
            let uplink = &self.uplinks[usize::from(number) - 1];
            Bird::start(&self.sandbox, uplink, &format!("bfd{number}"), &config)
        };
        Ok([bird(1)?, bird(2)?])
    }

    /// Cuts off the first uplink.
    fn cut(&self) -> Result<()> {
        match &self.bridge {
            None => self.uplinks[0].ip(&["link", "set", DEVICES[1], "down"]),
            Some(bridge) => bridge.ip(&["link", "set", "dev", "br", "down"]),
        }
    }

    /// The sessions of both uplinks.
    fn feed(&self, table: &Table) -> Result<[Feeder; 2]> {
        let session = |number: u8| -> Result<Feeder> {
            let [[router, _], [v4, v6]] = link(number);
            let (IpAddr::V4(next_hop_v4), IpAddr::V6(next_hop_v6)) = (v4, v6) else { bail!("families") };
            let asn = ROUTER_ASN + u32::from(number);
            let config = FeederConfig {
                local: v4,
                remote: SocketAddr::from((router, 179)),
                asn,
                router_id: next_hop_v4,
                hold_time: 180,
            };
            let announcer = Announcer { asn, next_hop_v4, next_hop_v6, seed: number.into() };
            let messages = table.encode(&announcer).messages;
            self.uplinks[usize::from(number) - 1].enter(|| {
                let feeder = Feeder::connect(&config, Duration::from_mins(1))?;
                feeder.send(&messages)?;
                Ok(feeder)
            })
        };
        Ok([session(1)?, session(2)?])
    }
}

/// Whoever forwards, running.
enum Running {
    Peregrine(Box<Daemon>),
    Bird(Box<Bird>),
    Frr(Box<Frr>),
}

impl Running {
    fn start(router: Router, trigger: Trigger, place: &Place, prefixes: usize) -> Result<Self> {
        let bfd = trigger == Trigger::Bfd;
        let neighbors = [1, 2].map(|number: u8| (link(number)[1][0], ROUTER_ASN + u32::from(number), number));
        Ok(match router {
            Router::Peregrine => {
                let sessions: String = neighbors
                    .iter()
                    .map(|(address, asn, number)| {
                        format!(
                            "[[neighbor]]\naddress = \"{address}\"\nasn = {asn}\npassive = true\nimport = [\"from-{number}\"]\n\
                             export = [\"none\"]\n{}[[policy]]\nname = \"from-{number}\"\ndefault = \"accept\"\n\
                             [[policy.rule]]\nset = {{ local-pref = {} }}\n",
                            if bfd { "bfd = { min-tx = \"50ms\", min-rx = \"50ms\", multiplier = 3 }\n" } else { "" },
                            300 - 100 * u32::from(*number)
                        )
                    })
                    .collect();
                let config = format!(
                    "[router]\nasn = {ROUTER_ASN}\nrouter-id = \"10.98.0.1\"\n[fib]\ninterfaces = [\"lan\", \"up1\", \"up2\"]\n\
                     max-ipv4-entries = {0}\nmax-ipv6-entries = {0}\n{sessions}",
                    prefixes + 1000
                );
                Self::Peregrine(Box::new(Daemon::start(&place.sandbox, &place.router, &config)?))
            }
            Router::Bird => {
                let sessions: String = neighbors
                    .iter()
                    .map(|(address, asn, number)| {
                        let filter = format!("filter {{ bgp_local_pref = {}; accept; }}", 300 - 100 * u32::from(*number));
                        format!(
                            "protocol bgp u{number} {{\n  local as {ROUTER_ASN};\n  neighbor {address} as {asn};\n  direct;\n  passive;\n  {}\
                             ipv4 {{ import {filter}; export none; }};\n  ipv6 {{ import {filter}; export none; }};\n}}\n",
                            if bfd { "bfd on;\n  " } else { "" }
                        )
                    })
                    .collect();
                let kernel = ["ipv4", "ipv6"].map(|channel| {
                    format!(
                        "protocol kernel {{ scan time 3600; {channel} {{ import none; export all; }}; }}\n"
                    )
                });
                let config = format!(
                    "router id 10.98.0.1;\nprotocol direct {{ ipv4; ipv6; }}\n{}{}{sessions}",
                    kernel.concat(),
                    if bfd { BIRD_BFD } else { "" }
                );
                Self::Bird(Box::new(Bird::start(&place.sandbox, &place.router, "router", &config)?))
            }
            Router::Frr => {
                let sessions: String = neighbors
                    .iter()
                    .map(|(address, asn, number)| {
                        format!(
                            " neighbor {address} remote-as {asn}\n neighbor {address} passive\n{1} address-family ipv4 unicast\n  \
                             neighbor {address} activate\n  neighbor {address} weight {0}\n exit-address-family\n address-family ipv6 unicast\n  \
                             neighbor {address} activate\n  neighbor {address} weight {0}\n exit-address-family\n",
                            300 - 100 * u32::from(*number),
                            if bfd { format!(" neighbor {address} bfd 3 50 50\n") } else { String::new() }
                        )
                    })
                    .collect();
                let config = format!(
                    "hostname frr\nlog stdout errors\nrouter bgp {ROUTER_ASN}\n bgp router-id 10.98.0.1\n no bgp ebgp-requires-policy\n{sessions}"
                );
                let start = if bfd { Frr::start_with_bfd } else { Frr::start_with_zebra };
                Self::Frr(Box::new(start(&place.sandbox, &place.router, "router", &config)?))
            }
        })
    }

    /// Waits until BFD is up with both uplinks.
    fn wait_bfd(&self) -> Result<()> {
        let [first, second] = [1, 2].map(|number| link(number)[1][0].to_string());
        wait_until("BFD is up", Duration::from_secs(30), || {
            let up = match self {
                Self::Peregrine(daemon) => daemon.show(&["bfd"])?.matches(" Up ").count() == 2,
                Self::Bird(bird) => bird.query("show bfd sessions")?.matches(" Up ").count() == 2,
                Self::Frr(frr) => frr.bfd(&first)?["status"] == "up" && frr.bfd(&second)?["status"] == "up",
            };
            ensure!(up, "it is not");
            Ok(())
        })
    }

    /// Our own answers of a route are looked at; the kernel's are.
    fn is_ready(&self, place: &Place, targets: &[IpAddr]) -> bool {
        for target in targets {
            let ready = match self {
                Self::Peregrine(daemon) => {
                    let fib = daemon.show_json(&["fib", &target.to_string()]).unwrap_or_default();
                    fib[0]["backup"].is_string()
                }
                Self::Bird(_) | Self::Frr(_) => {
                    let via = link(1)[1][usize::from(target.is_ipv6())].to_string();
                    let family = if target.is_ipv6() { "-6" } else { "-4" };
                    let route = place.router.ip_output(&[family, "route", "get", &target.to_string()]);
                    route.is_ok_and(|route| route.contains(&via) || route.contains("up1"))
                }
            };
            if !ready {
                return false;
            }
        }
        true
    }
}

/// Waits until every target has its route, and nobody in the router's namespace has anything to do.
fn settle(running: &Running, place: &Place, targets: &[IpAddr]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut quiet = 0;
    let cpu = || -> Result<Duration> { usage::cpu_of(&place.router.pids()?) };
    let mut before = cpu()?;
    while quiet < 4 {
        ensure!(Instant::now() < deadline, "the router has not settled in {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(500));
        let now = cpu()?;
        let idle = now.saturating_sub(before) < Duration::from_millis(25);
        quiet = if idle && (quiet > 0 || running.is_ready(place, targets)) { quiet + 1 } else { 0 };
        // To answer costs time too.
        before = if quiet == 1 { cpu()? } else { now };
    }
    Ok(())
}

/// Takes numbered packets until told to stop.
fn take(uplink: &Namespace, ipv6: bool, seen: &[AtomicU8], stop: &AtomicBool) -> Result<()> {
    uplink.enter(|| {
        let any: IpAddr = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, PORT)).context("bind the receiver")?;
        // A receiver that has to wait for a processor loses nothing.
        setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).context("enlarge the receive buffer")?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let mut buffer = [0; 64];
        while !stop.load(Ordering::Relaxed) {
            if let Ok(4) = socket.recv(&mut buffer) {
                let number = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
                if let Some(seen) = seen.get(number as usize) {
                    seen.store(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    })
}

/// Sends numbered packets at a steady rate; says which one came next when the link was about to be cut. Ends when all
/// targets have been served for a while after that, or after [`AFTER`].
fn send(place: &Place, targets: &[IpAddr], seen: &[AtomicU8], cut: &AtomicBool) -> Result<(usize, usize)> {
    place.source.enter(|| {
        let any: IpAddr =
            if targets[0].is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).context("bind the sender")?;
        // Neighbours on the way are found before it counts.
        for target in targets {
            let _ = socket.send_to(b"hello", (*target, PORT));
            std::thread::sleep(Duration::from_millis(2));
        }
        let (start, gap) = (Instant::now(), Duration::from_secs(1) / RATE);
        let mut cut_at = None;
        for number in 0..seen.len() {
            let due = start + gap * number as u32;
            while Instant::now() < due {
                std::hint::spin_loop();
            }
            // One that finds no way is lost like any other.
            let _ = socket.send_to(&(number as u32).to_be_bytes(), (targets[number % targets.len()], PORT));
            if cut_at.is_none() && cut.load(Ordering::Relaxed) {
                cut_at = Some(number);
            }
            if let Some(at) = cut_at
                && number > at + RATE as usize
                && number.is_multiple_of(1000)
            {
                let last = number - RATE as usize / 10;
                if seen[last - RATE as usize / 2..last].iter().all(|seen| seen.load(Ordering::Relaxed) == 1) {
                    return Ok((at, last));
                }
            }
        }
        Ok((cut_at.context("the link was never cut")?, seen.len()))
    })
}

/// Cuts off the first uplink while packets go to these targets.
fn cut(place: &Place, targets: &[IpAddr]) -> Result<Loss> {
    let count = (BEFORE + AFTER).as_millis() as usize * RATE as usize / 1000;
    let seen: Vec<AtomicU8> = std::iter::repeat_with(|| AtomicU8::new(0)).take(count).collect();
    let (stop, is_cut) = (AtomicBool::new(false), AtomicBool::new(false));
    let ipv6 = targets[0].is_ipv6();
    let (cut_at, end) = std::thread::scope(|scope| {
        let (seen, stop, is_cut) = (&seen[..], &stop, &is_cut);
        for uplink in &place.uplinks {
            scope.spawn(move || take(uplink, ipv6, seen, stop));
        }
        std::thread::sleep(Duration::from_millis(200));
        let sender = scope.spawn(move || send(place, targets, seen, is_cut));
        std::thread::sleep(BEFORE + Duration::from_millis(2) * targets.len() as u32);
        // What is lost while the command starts is lost by the cut, too.
        is_cut.store(true, Ordering::Relaxed);
        let down = place.cut();
        let sent = sender.join().unwrap_or_else(|_| bail!("the sender panicked"));
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        down.and(sent)
    })?;
    let lost = |number: &usize| seen[*number].load(Ordering::Relaxed) == 0;
    let early = (0..cut_at).filter(lost).count();
    ensure!(early == 0, "{early} of {cut_at} packets were lost before the link was cut");
    let all: Vec<usize> = (cut_at..end).filter(lost).collect();
    let time = match (all.first(), all.last()) {
        (Some(start), Some(end_of_loss)) => Duration::from_secs(1) / RATE * (end_of_loss - start + 1) as u32,
        _ => Duration::ZERO,
    };
    Ok(Loss { packets: all.len() as u32, time: (end < seen.len()).then_some(time) })
}

/// Addresses spread over the prefixes of a family.
fn targets(table: &Table, ipv6: bool) -> Vec<IpAddr> {
    let of_family = |prefix: &IpNet| prefix.addr().is_ipv6() == ipv6;
    let prefixes: Vec<IpNet> = table.routes.iter().map(|route| route.prefix).filter(of_family).collect();
    let step = (prefixes.len() / TARGETS).max(1);
    let address = |prefix: &IpNet| match prefix {
        IpNet::V4(net) => {
            IpAddr::V4(Ipv4Addr::from_bits(net.network().to_bits() | u32::from(net.prefix_len() < 32)))
        }
        IpNet::V6(net) => {
            IpAddr::V6(Ipv6Addr::from_bits(net.network().to_bits() | u128::from(net.prefix_len() < 128)))
        }
    };
    prefixes.iter().step_by(step).take(TARGETS).map(address).collect()
}

/// One router, one table, both families one after the other.
pub fn run(router: Router, trigger: Trigger, table: &Table) -> Result<Outcome> {
    let mut loss = [Loss { packets: 0, time: None }; 2];
    for (ipv6, loss) in [false, true].into_iter().zip(&mut loss) {
        let place = Place::new(trigger)?;
        let bfd = (trigger == Trigger::Bfd).then(|| place.answer_bfd()).transpose()?;
        let running = Running::start(router, trigger, &place, table.routes.len())?;
        let feeders = place.feed(table)?;
        let targets = targets(table, ipv6);
        ensure!(!targets.is_empty(), "the table has no prefix of a family");
        settle(&running, &place, &targets)?;
        if bfd.is_some() {
            running.wait_bfd()?;
        }
        *loss = cut(&place, &targets)?;
        drop((feeders, bfd));
        match running {
            Running::Peregrine(mut daemon) => daemon.interrupt()?,
            Running::Bird(bird) => drop(bird),
            Running::Frr(frr) => drop(frr),
        }
    }
    Ok(Outcome { router, trigger, prefixes: table.routes.len(), loss })
}
