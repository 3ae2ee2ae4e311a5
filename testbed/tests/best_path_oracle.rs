//! The same tie-heavy routes from the same feeders to BIRD and to us: equal choices.
//!
//! Five feeders of three ASes announce some hundred prefixes whose attributes are drawn from very
//! few values, so that most decisions are made late: by MED within a neighbour AS, by router id, by
//! peer address. Each feeder marks its routes with a community; a listening feeder of a fourth AS
//! takes down which mark the best path carries. BIRD with `deterministic med on` follows RFC 4271
//! section 9.1.2.2, as we must.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ipnet::IpNet;
use testbed::daemon::{self, Daemon};
use testbed::feeder::{Feeder, FeederConfig};
use testbed::netns::{Namespace, Sandbox};
use testbed::peers::bird::{self, Bird};
use testbed::random::Random;
use testbed::skip;
use testbed::speaker::{self, PathAttributes};

/// Last octet of the address, AS, and router id of each feeder. The order of router ids is not
/// that of the addresses, and one id is there twice, so that the address decides.
const FEEDERS: [(u8, u32, [u8; 4]); 5] = [
    (11, 64501, [192, 0, 2, 50]),
    (12, 64501, [192, 0, 2, 40]),
    (13, 64502, [192, 0, 2, 45]),
    (14, 64503, [192, 0, 2, 45]),
    (15, 64503, [192, 0, 2, 60]),
];
const LISTENER: (u8, u32) = (20, 64510);
const PREFIXES: u32 = 400;

/// What each feeder announces: a list of routes by feeder.
fn announcements(seed: u64) -> Vec<Vec<(IpNet, PathAttributes)>> {
    let mut random = Random::new(seed);
    let mut by_feeder = vec![Vec::new(); FEEDERS.len()];
    for i in 0..PREFIXES {
        let prefix: IpNet =
            ipnet::Ipv4Net::new((0x0a62_0000_u32 + (i << 8)).into(), 24).expect("a /24").into();
        for (feeder, &(host, asn, _)) in FEEDERS.iter().enumerate() {
            if random.chance(150) {
                continue;
            }
            let mut as_path = vec![asn];
            if random.chance(300) {
                as_path.push(65_551);
            }
            as_path.push(65_550);
            // The next hop is filled in for the router that it is sent to.
            let mut attributes = PathAttributes::new(as_path, Ipv4Addr::new(0, 0, 0, host).into());
            attributes.origin = if random.chance(100) { 2 } else { 0 };
            attributes.med = [None, Some(0), Some(10), Some(20)][random.index(4)];
            attributes.communities = vec![64_511 << 16 | u32::from(host)];
            by_feeder[feeder].push((prefix, attributes));
        }
    }
    by_feeder
}

/// Sends everything to one router (its subnet is `10.99.N.0/24`) and returns the mark that the
/// best path of each prefix has at the listener, with the sessions that hold the routes.
fn choices(
    feeders: &Namespace,
    subnet: u8,
    routes: &[Vec<(IpNet, PathAttributes)>],
) -> Result<(BTreeMap<IpNet, u32>, Vec<Feeder>)> {
    let connect = |host: u8, asn: u32, id: [u8; 4]| {
        let config = FeederConfig {
            local: Ipv4Addr::new(10, 99, subnet, host).into(),
            remote: SocketAddr::from(([10, 99, subnet, 1], 179)),
            asn,
            router_id: id.into(),
            hold_time: 90,
        };
        feeders.enter(|| Feeder::connect(&config, Duration::from_secs(30)))
    };
    let listener = connect(LISTENER.0, LISTENER.1, [192, 0, 2, 20])?;
    let mut sessions = Vec::new();
    // Each router hears them in another order: the order must not matter.
    let order: Vec<usize> =
        if subnet == 1 { (0..FEEDERS.len()).collect() } else { (0..FEEDERS.len()).rev().collect() };
    for &i in &order {
        let (host, asn, id) = FEEDERS[i];
        let session = connect(host, asn, id)?;
        let mut messages = Vec::new();
        for (prefix, attributes) in &routes[i] {
            let mut attributes = attributes.clone();
            attributes.next_hop = Ipv4Addr::new(10, 99, subnet, host).into();
            speaker::announce(&mut messages, &attributes, &[*prefix]);
        }
        session.send(&messages)?;
        sessions.push(session);
    }
    // Quiet for two seconds, with every prefix there.
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let inbox = listener.inbox();
        if let Some(reason) = &inbox.closed {
            bail!("the listener's session has ended: {reason}");
        }
        let quiet = inbox.last_update.is_some_and(|last| last.elapsed() > Duration::from_secs(2));
        if quiet && inbox.routes.len() == PREFIXES as usize {
            let chosen = inbox.routes.iter().map(|(prefix, heard)| (*prefix, heard.communities[0])).collect();
            return Ok((chosen, sessions));
        }
        ensure!(Instant::now() < deadline, "{} of {PREFIXES} prefixes at the listener", inbox.routes.len());
    }
}

/// BIRD as the router of a subnet, with options for each session.
fn bird_config(subnet: u8, options: &str) -> String {
    let mut parts = vec![format!("router id 10.99.{subnet}.1;\n")];
    for (host, asn, _) in FEEDERS.iter().copied().chain([(LISTENER.0, LISTENER.1, [0; 4])]) {
        parts.push(format!(
            "protocol bgp n{host} {{\n  local 10.99.{subnet}.1 as 64500;\n  neighbor 10.99.{subnet}.{host} as {asn};\n  \
             passive on;\n  {options}\n  ipv4 {{ import all; export {}; }};\n}}\n",
            if host == LISTENER.0 { "all" } else { "none" }
        ));
    }
    parts.concat()
}

fn daemon_config(always_compare_med: bool) -> String {
    let mut parts = vec![format!(
        "[router]\nasn = 64500\nrouter-id = \"10.99.2.1\"\n\n[decision]\nalways-compare-med = {always_compare_med}\n"
    )];
    for (host, asn, _) in FEEDERS.iter().copied().chain([(LISTENER.0, LISTENER.1, [0; 4])]) {
        parts.push(format!(
            "\n[[neighbor]]\naddress = \"10.99.2.{host}\"\nasn = {asn}\npassive = true\nimport = [\"all\"]\nexport = [\"{}\"]\n",
            if host == LISTENER.0 { "all" } else { "none" }
        ));
    }
    parts.concat()
}

/// The feeders' namespace and two routers, each on a subnet of its own.
fn network(sandbox: &Sandbox) -> Result<(Namespace, [Namespace; 2])> {
    let feeders = sandbox.namespace("feeders")?;
    let both = [sandbox.namespace("one")?, sandbox.namespace("two")?];
    for (subnet, router) in (1_u8..).zip(&both) {
        let device = format!("to{subnet}");
        sandbox.link((&feeders, &device), (router, "lan"))?;
        router.address("lan", &format!("10.99.{subnet}.1/24"))?;
        for host in FEEDERS.iter().map(|feeder| feeder.0).chain([LISTENER.0]) {
            feeders.address(&device, &format!("10.99.{subnet}.{host}/24"))?;
        }
    }
    Ok((feeders, both))
}

/// Where two routers chose differently, in words.
fn differences(theirs: &BTreeMap<IpNet, u32>, ours: &BTreeMap<IpNet, u32>) -> Vec<String> {
    let different = theirs.iter().filter(|(prefix, mark)| ours[*prefix] != **mark);
    different
        .map(|(prefix, mark)| format!("{prefix}: .{}, not .{}", ours[prefix] & 0xff, mark & 0xff))
        .collect()
}

/// The oracle itself: BIRD's choices do not depend on the order in which it hears the feeders, but
/// would, for some of these routes, if MED were compared without regard to order.
#[test]
fn the_routes_are_ties_that_only_deterministic_med_decides() -> Result<()> {
    let name = "best_path_oracle::the_routes_are_ties_that_only_deterministic_med_decides";
    if !skip::ready(name, &bird::PROGRAMS) {
        return Ok(());
    }
    let sandbox = Sandbox::new("oracle-itself")?;
    let (feeders, both) = network(&sandbox)?;
    let routes = announcements(1);
    let mut chosen = Vec::new();
    for (name, subnet, options) in
        [("first", 1, "deterministic med on;"), ("reversed", 2, "deterministic med on;"), ("careless", 2, "")]
    {
        let _bird =
            Bird::start(&sandbox, &both[usize::from(subnet) - 1], name, &bird_config(subnet, options))?;
        chosen.push(choices(&feeders, subnet, &routes)?.0);
    }
    let same = differences(&chosen[0], &chosen[1]);
    ensure!(same.is_empty(), "BIRD depends on the order: {same:?}");
    ensure!(!differences(&chosen[0], &chosen[2]).is_empty(), "no route depends on deterministic MED");
    Ok(())
}

#[test]
fn best_paths_equal_those_of_bird() -> Result<()> {
    if !daemon::ready("best_path_oracle::best_paths_equal_those_of_bird", &bird::PROGRAMS) {
        return Ok(());
    }
    let sandbox = Sandbox::new("oracle")?;
    let (feeders, both) = network(&sandbox)?;
    for always in [false, true] {
        let routes = announcements(if always { 2 } else { 1 });
        let (name, options) = if always {
            ("bird-always", "deterministic med on; med metric on;")
        } else {
            ("bird", "deterministic med on;")
        };
        let bird = Bird::start(&sandbox, &both[0], name, &bird_config(1, options))?;
        let (expected, _) = choices(&feeders, 1, &routes)?;
        drop(bird);
        let daemon = Daemon::start(&sandbox, &both[1], &daemon_config(always))?;
        let (ours, _sessions) = choices(&feeders, 2, &routes)?;
        let different = differences(&expected, &ours);
        if let Some(first) = different.first() {
            let prefix = first.split(": ").next().unwrap_or_default();
            bail!(
                "always-compare-med {always}: {} of {PREFIXES} choices are not BIRD's, {first}:\n{}",
                different.len(),
                daemon.show(&["routes", prefix])?
            );
        }
        // The routes are drawn so that everyone wins sometimes: else the test would show nothing.
        for (host, _, _) in FEEDERS {
            ensure!(ours.values().any(|mark| mark & 0xff == u32::from(host)), "feeder .{host} never wins");
        }
        drop(daemon);
    }
    Ok(())
}
