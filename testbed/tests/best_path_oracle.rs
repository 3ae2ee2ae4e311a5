//! The same tie-heavy routes from the same feeders to BIRD, to FRR and to us: equal choices.
//!
//! Five feeders of three ASes announce prefixes whose attributes are drawn from very few values, so that
//! most decisions are made late: by MED within a neighbour AS, by router id, by peer address. Every router
//! hears them in another order, many routes with other attributes before, or withdrawn and announced again;
//! then, over the same sessions, half of the routes once more in yet another order. Each feeder marks its
//! routes with a community; a listening feeder of a fourth AS takes down which mark the best path carries.
//! BIRD with `deterministic med on` and FRR with `bgp deterministic-med` and `compare-routerid` follow RFC
//! 4271 section 9.1.2.2, as we must.
//!
//! `scripts/bench oracle` does the same with more prefixes and many seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ipnet::IpNet;
use testbed::daemon::{self, Daemon};
use testbed::feeder::{Feeder, FeederConfig};
use testbed::netns::{Namespace, Sandbox};
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
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
/// Prefixes of a quick run.
const QUICK: u32 = 1000;

/// What one feeder announces in the end.
type Routes = BTreeMap<IpNet, PathAttributes>;

/// Attributes from few values. The next hop is filled in for the router that they are sent to.
fn attributes(random: &mut Random, feeder: usize) -> PathAttributes {
    let (host, asn, _) = FEEDERS[feeder];
    let mut as_path = vec![asn];
    if random.chance(300) {
        as_path.push(65_551);
    }
    as_path.push(65_550);
    let mut attributes = PathAttributes::new(as_path, Ipv4Addr::new(0, 0, 0, host).into());
    attributes.origin = if random.chance(100) { 2 } else { 0 };
    attributes.med = [None, Some(0), Some(10), Some(20)][random.index(4)];
    attributes.communities = vec![64_511 << 16 | u32::from(host)];
    attributes
}

/// What each feeder announces in the end.
fn announcements(seed: u64, prefixes: u32) -> Vec<Routes> {
    let mut random = Random::new(seed);
    let mut by_feeder = vec![Routes::new(); FEEDERS.len()];
    for i in 0..prefixes {
        let prefix: IpNet =
            ipnet::Ipv4Net::new((0x1400_0000_u32 + (i << 8)).into(), 24).expect("a /24").into();
        for (feeder, routes) in by_feeder.iter_mut().enumerate() {
            if !random.chance(150) {
                routes.insert(prefix, attributes(&mut random, feeder));
            }
        }
    }
    by_feeder
}

/// One message, and which feeder sends it.
type Sent = (usize, Vec<u8>);

/// Messages that lead to these routes, in an order that the seed decides, save for those of one route: some
/// are announced otherwise before, and some of these withdrawn in between. `again`: half of the routes only,
/// each withdrawn first.
fn script(routes: &[Routes], subnet: u8, seed: u64, again: bool) -> Vec<Sent> {
    let mut random = Random::new(seed);
    let mut chains: Vec<(usize, Vec<Vec<u8>>)> = Vec::new();
    for (feeder, routes) in routes.iter().enumerate() {
        for (prefix, last) in routes {
            if again && random.chance(500) {
                continue;
            }
            let announce = |mut attributes: PathAttributes| {
                let mut message = Vec::new();
                attributes.next_hop = Ipv4Addr::new(10, 99, subnet, FEEDERS[feeder].0).into();
                speaker::announce(&mut message, &attributes, &[*prefix]);
                message
            };
            let mut messages = vec![announce(last.clone())];
            let mut withdrawal = Vec::new();
            speaker::withdraw(&mut withdrawal, &[*prefix]);
            if again || random.chance(250) {
                messages.push(withdrawal);
            }
            if random.chance(400) {
                messages.push(announce(attributes(&mut random, feeder)));
            }
            chains.push((feeder, messages));
        }
    }
    // The messages of a chain are taken from its end, each time that its turn comes.
    let mut turns: Vec<usize> =
        chains.iter().enumerate().flat_map(|(index, (_, chain))| vec![index; chain.len()]).collect();
    for place in (1..turns.len()).rev() {
        turns.swap(place, random.index(place + 1));
    }
    turns.into_iter().filter_map(|index| Some((chains[index].0, chains[index].1.pop()?))).collect()
}

/// The sessions of all feeders with one router, whose subnet is `10.99.N.0/24`.
struct Sessions {
    listener: Feeder,
    feeders: Vec<Feeder>,
}

impl Sessions {
    fn open(namespace: &Namespace, subnet: u8) -> Result<Self> {
        let connect = |host: u8, asn: u32, id: [u8; 4]| {
            let config = FeederConfig {
                local: Ipv4Addr::new(10, 99, subnet, host).into(),
                remote: SocketAddr::from(([10, 99, subnet, 1], 179)),
                asn,
                router_id: id.into(),
                hold_time: 90,
            };
            namespace.enter(|| Feeder::connect(&config, Duration::from_secs(30)))
        };
        let listener = connect(LISTENER.0, LISTENER.1, [192, 0, 2, 20])?;
        let feeders = FEEDERS.iter().map(|&(host, asn, id)| connect(host, asn, id)).collect::<Result<_>>()?;
        Ok(Self { listener, feeders })
    }

    /// Sends everything, and returns the mark that the best path of each prefix has at the listener once it
    /// has been quiet for two seconds with every prefix there.
    fn choices(&self, messages: &[Sent], expected: usize) -> Result<BTreeMap<IpNet, u32>> {
        for run in messages.chunk_by(|a, b| a.0 == b.0) {
            self.feeders[run[0].0]
                .send(&run.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>())?;
        }
        let sent = Instant::now();
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let inbox = self.listener.inbox();
            if let Some(reason) = &inbox.closed {
                bail!("the listener's session has ended: {reason}");
            }
            let last = inbox.last_update.map_or(sent, |last| last.max(sent));
            if last.elapsed() > Duration::from_secs(2) && inbox.routes.len() == expected {
                return Ok(inbox
                    .routes
                    .iter()
                    .map(|(prefix, heard)| (*prefix, heard.communities[0]))
                    .collect());
            }
            ensure!(sent.elapsed() < Duration::from_mins(1), "{} of {expected} prefixes", inbox.routes.len());
        }
    }
}

/// The choices of one router, heard in one order and then in another: they must be the same.
fn choices(feeders: &Namespace, subnet: u8, routes: &[Routes], seed: u64) -> Result<BTreeMap<IpNet, u32>> {
    let prefixes: BTreeSet<&IpNet> = routes.iter().flat_map(BTreeMap::keys).collect();
    let sessions = Sessions::open(feeders, subnet)?;
    let first = sessions.choices(&script(routes, subnet, seed, false), prefixes.len())?;
    let second = sessions.choices(&script(routes, subnet, seed + 1, true), prefixes.len())?;
    let different = differences(&first, &second);
    ensure!(different.is_empty(), "heard in another order, other choices: {different:?}");
    Ok(first)
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

fn frr_config(subnet: u8, options: &str) -> String {
    let mut parts = vec![format!(
        "hostname frr\nrouter bgp 64500\n bgp router-id 10.99.{subnet}.1\n no bgp ebgp-requires-policy\n \
         bgp deterministic-med\n bgp bestpath compare-routerid\n{options}"
    )];
    for (host, asn, _) in FEEDERS.iter().copied().chain([(LISTENER.0, LISTENER.1, [0; 4])]) {
        let peer = format!(" neighbor 10.99.{subnet}.{host}");
        parts.push(format!("{peer} remote-as {asn}\n{peer} passive\n{peer} advertisement-interval 0\n"));
        if host != LISTENER.0 {
            parts.push(format!("{peer} route-map nothing out\n"));
        }
    }
    parts.push("route-map nothing deny 10\n".to_owned());
    parts.concat()
}

fn daemon_config(subnet: u8, always_compare_med: bool) -> String {
    let mut parts = vec![format!(
        "[router]\nasn = 64500\nrouter-id = \"10.99.{subnet}.1\"\n\n[decision]\nalways-compare-med = {always_compare_med}\n"
    )];
    for (host, asn, _) in FEEDERS.iter().copied().chain([(LISTENER.0, LISTENER.1, [0; 4])]) {
        parts.push(format!(
            "\n[[neighbor]]\naddress = \"10.99.{subnet}.{host}\"\nasn = {asn}\npassive = true\nimport = [\"all\"]\nexport = [\"{}\"]\n",
            if host == LISTENER.0 { "all" } else { "none" }
        ));
    }
    parts.concat()
}

/// The feeders' namespace and the routers of subnets 1, 2 and 3.
fn network(sandbox: &Sandbox) -> Result<(Namespace, [Namespace; 3])> {
    let feeders = sandbox.namespace("feeders")?;
    let routers = [sandbox.namespace("one")?, sandbox.namespace("two")?, sandbox.namespace("three")?];
    for (subnet, router) in (1_u8..).zip(&routers) {
        let device = format!("to{subnet}");
        sandbox.link((&feeders, &device), (router, "lan"))?;
        router.address("lan", &format!("10.99.{subnet}.1/24"))?;
        for host in FEEDERS.iter().map(|feeder| feeder.0).chain([LISTENER.0]) {
            feeders.address(&device, &format!("10.99.{subnet}.{host}/24"))?;
        }
    }
    Ok((feeders, routers))
}

/// Where two routers chose differently, in words.
fn differences(theirs: &BTreeMap<IpNet, u32>, ours: &BTreeMap<IpNet, u32>) -> Vec<String> {
    let different = theirs.iter().filter(|(prefix, mark)| ours.get(*prefix) != Some(mark));
    let last = |mark: Option<&u32>| mark.map_or(0, |mark| mark & 0xff);
    different
        .map(|(prefix, mark)| format!("{prefix}: .{}, not .{}", last(ours.get(prefix)), last(Some(mark))))
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
    let (feeders, sites) = network(&sandbox)?;
    let routes = announcements(1, 400);
    let bird = Bird::start(&sandbox, &sites[0], "careful", &bird_config(1, "deterministic med on;"))?;
    let careful = choices(&feeders, 1, &routes, 1)?;
    drop(bird);
    let _bird = Bird::start(&sandbox, &sites[1], "careless", &bird_config(2, ""))?;
    let sessions = Sessions::open(&feeders, 2)?;
    let careless = sessions.choices(&script(&routes, 2, 2, false), careful.len())?;
    ensure!(!differences(&careful, &careless).is_empty(), "no route depends on deterministic MED");
    Ok(())
}

/// The choices of BIRD, FRR and the daemon for the routes of some seeds.
fn compare(name: &str, seeds: std::ops::Range<u64>, prefixes: u32) -> Result<()> {
    let sandbox = Sandbox::new(name)?;
    let (feeders, sites) = network(&sandbox)?;
    let with_frr = skip::ready(&format!("best_path_oracle::{name} (FRR)"), &frr::PROGRAMS);
    for seed in seeds {
        let always = seed % 2 == 0;
        let routes = announcements(seed, prefixes);
        let daemon = Daemon::start(&sandbox, &sites[2], &daemon_config(3, always))?;
        let ours = choices(&feeders, 3, &routes, 1000 * seed)?;
        let check = |who: &str, theirs: &BTreeMap<IpNet, u32>| {
            let different = differences(theirs, &ours);
            let Some(first) = different.first() else { return Ok(()) };
            let prefix = first.split(": ").next().unwrap_or_default();
            bail!(
                "seed {seed}, always-compare-med {always}: {} of {} choices are not those of {who}, {first}:\n{}",
                different.len(),
                theirs.len(),
                daemon.show(&["routes", prefix])?
            )
        };
        let options = if always { "deterministic med on; med metric on;" } else { "deterministic med on;" };
        let bird = Bird::start(&sandbox, &sites[0], &format!("bird{seed}"), &bird_config(1, options))?;
        check("BIRD", &choices(&feeders, 1, &routes, 1000 * seed + 10)?)?;
        drop(bird);
        if with_frr {
            let options = if always { " bgp always-compare-med\n" } else { "" };
            let frr = Frr::start(&sandbox, &sites[1], &format!("frr{seed}"), &frr_config(2, options))?;
            check("FRR", &choices(&feeders, 2, &routes, 1000 * seed + 20)?)?;
            drop(frr);
        }
        // The routes are drawn so that everyone wins sometimes: else the test would show nothing.
        for (host, _, _) in FEEDERS {
            ensure!(ours.values().any(|mark| mark & 0xff == u32::from(host)), "feeder .{host} never wins");
        }
        println!("seed {seed}: {} choices as BIRD's{}", ours.len(), if with_frr { " and FRR's" } else { "" });
    }
    Ok(())
}

#[test]
fn best_paths_equal_those_of_bird_and_frr() -> Result<()> {
    if !daemon::ready("best_path_oracle::best_paths_equal_those_of_bird_and_frr", &bird::PROGRAMS) {
        return Ok(());
    }
    compare("oracle", 1..3, QUICK)
}

#[test]
#[ignore = "takes minutes: scripts/bench oracle"]
fn many_seeds_of_many_prefixes() -> Result<()> {
    if !daemon::ready("best_path_oracle::many_seeds_of_many_prefixes", &bird::PROGRAMS) {
        return Ok(());
    }
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => anyhow::Ok(default),
    };
    compare("oracle-long", 1..number("SEEDS", 10)? + 1, u32::try_from(number("PREFIXES", 5000)?)?)
}
