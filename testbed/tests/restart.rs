//! Our own restart, seen from BIRD, FRR and GoBGP: neighbours that keep our routes take none of them back.
//!
//! Behind each of them is an observer, whom they tell every change of their routes: what it did not hear, they did not
//! do. It counts withdrawals, so that none is too short to be seen.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use testbed::daemon::{self, Daemon};
use testbed::feeder::{Feeder, FeederConfig};
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::peers::gobgp::{self, Gobgp};
use testbed::process::wait_until;
use testbed::speaker::{self, PathAttributes};
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(20);
const LIVE: Duration = Duration::from_mins(1);
/// What we originate.
const OURS: &str = "10.99.0.0/24";
/// AS of the observers.
const OBSERVER: u32 = 64_600;

/// A route of a neighbour, by its number.
fn prefix(number: usize) -> String {
    format!("10.98.{number}.0/24")
}

/// BIRD as a neighbour, with these routes.
fn bird_config(number: usize, options: &str, routes: &[String]) -> String {
    let routes: String = routes.iter().map(|prefix| format!("  route {prefix} blackhole;\n")).collect();
    format!(
        "router id 10.99.{number}.2;\nprotocol static announced {{\n  ipv4;\n{routes}}}\n\
         protocol bgp uplink {{\n  local 10.99.{number}.2 as {};\n  neighbor 10.99.{number}.1 as 64500;\n  \
         connect delay time 1;\n  error wait time 1, 3;\n  {options}\n  \
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n\
         protocol bgp observer {{\n  local 10.99.{number}.2 as {};\n  neighbor 10.99.{number}.9 as {OBSERVER};\n  \
         multihop;\n  passive;\n  graceful restart off;\n  ipv4 {{ import none; export all; }};\n}}\n",
        64_500 + number,
        64_500 + number,
    )
}

fn frr_config(number: usize) -> String {
    let asn = 64_500 + number;
    format!(
        "router bgp {asn}\n bgp router-id 10.99.{number}.2\n no bgp ebgp-requires-policy\n \
         no bgp network import-check\n neighbor 10.99.{number}.1 remote-as 64500\n \
         neighbor 10.99.{number}.1 timers connect 1\n neighbor 10.99.{number}.9 remote-as {OBSERVER}\n \
         neighbor 10.99.{number}.9 ebgp-multihop\n neighbor 10.99.{number}.9 passive\n \
         neighbor 10.99.{number}.9 graceful-restart-disable\n \
         address-family ipv4 unicast\n  network {}\n exit-address-family\n",
        prefix(number)
    )
}

fn gobgp_config(number: usize) -> String {
    let family = "  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"ipv4-unicast\"\n";
    let graceful = "    [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true\n";
    format!(
        "[global.config]\n  as = {}\n  router-id = \"10.99.{number}.2\"\n\
         [[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"10.99.{number}.1\"\n    peer-as = 64500\n\
         \x20 [neighbors.timers.config]\n    connect-retry = 1\n    idle-hold-time-after-reset = 1\n\
         \x20 [neighbors.graceful-restart.config]\n    enabled = true\n    restart-time = 60\n\
         \x20   notification-enabled = true\n{family}{graceful}\
         [[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"10.99.{number}.9\"\n    peer-as = {OBSERVER}\n\
         \x20 [neighbors.transport.config]\n    passive-mode = true\n\
         \x20 [neighbors.ebgp-multihop.config]\n    enabled = true\n    multihop-ttl = 255\n{family}",
        64_500 + number
    )
}

fn config(neighbors: usize, router: &str, keys: impl Fn(usize) -> &'static str) -> String {
    let ports: Vec<String> = (1..=neighbors).map(|number| format!("\"wan{number}\"")).collect();
    let neighbors: String = (1..=neighbors)
        .map(|number| {
            format!(
                "\n[[neighbor]]\naddress = \"10.99.{number}.2\"\nasn = {}\nfamilies = [\"ipv4-unicast\"]\n\
                 import = [\"all\"]\nexport = [\"all\"]\nconnect-retry = 1\n{}",
                64_500 + number,
                keys(number)
            )
        })
        .collect();
    format!(
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n{router}\n[fib]\ninterfaces = [{}]\n{neighbors}\n\
         [[network]]\nprefix = \"{OURS}\"\n",
        ports.join(", ")
    )
}

/// Whoever is told all that a neighbour changes.
fn observer(star: &Star, number: usize) -> Result<Feeder> {
    let namespace = &star.neighbors[number - 1];
    namespace.address("lo", &format!("10.99.{number}.9/32"))?;
    let address = format!("10.99.{number}.9").parse()?;
    let config = FeederConfig {
        local: address,
        remote: format!("10.99.{number}.2:179").parse()?,
        asn: OBSERVER,
        router_id: Ipv4Addr::new(10, 99, number as u8, 9),
        hold_time: 90,
    };
    namespace.enter(|| Feeder::connect(&config, SESSION))
}

/// A neighbour that does not know graceful restart.
fn feeder(star: &Star, number: usize) -> Result<Feeder> {
    let config = FeederConfig {
        local: format!("10.99.{number}.2").parse()?,
        remote: format!("10.99.{number}.1:179").parse()?,
        asn: 64_500 + number as u32,
        router_id: Ipv4Addr::new(10, 99, number as u8, 2),
        hold_time: 90,
    };
    let feeder = star.neighbors[number - 1].enter(|| Feeder::connect(&config, SESSION))?;
    let attributes = PathAttributes::new(vec![config.asn], config.local);
    let mut out = Vec::new();
    speaker::announce(&mut out, &attributes, &[prefix(number).parse()?]);
    feeder.send(&out)?;
    Ok(feeder)
}

fn wait_held(who: &str, observer: &Feeder, prefixes: &[String]) -> Result<()> {
    wait_until(&format!("{who} has all routes"), ROUTES, || {
        let inbox = observer.inbox();
        let missing: Vec<&String> = prefixes
            .iter()
            .filter(|prefix| prefix.parse().is_ok_and(|prefix| !inbox.routes.contains_key(&prefix)))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(anyhow!("not {missing:?}")) }
    })
}

/// BIRD, FRR and GoBGP around the router, each with a route and an observer.
struct Helpers {
    daemon: Daemon,
    observers: Vec<(&'static str, Feeder)>,
    bird: Bird,
    frr: Frr,
    gobgp: Gobgp,
    star: Star,
}

impl Helpers {
    fn start(name: &str) -> Result<Self> {
        let star = Star::build(name, 3)?;
        let (sandbox, around) = (&star.sandbox, &star.neighbors);
        let routes = [prefix(1), prefix(101)];
        let bird = Bird::start(sandbox, &around[0], "bird", &bird_config(1, "", &routes))?;
        let frr = Frr::start(sandbox, &around[1], "frr", &frr_config(2))?;
        let gobgp = Gobgp::start(sandbox, &around[2], "gobgp", &gobgp_config(3))?;
        gobgp.query(&format!("global rib add -a ipv4 {} nexthop 10.99.3.2", prefix(3)))?;
        let daemon = Daemon::start(sandbox, &star.router, &config(3, "", |_| ""))?;
        let names = ["BIRD", "FRR", "GoBGP"];
        let observers = names.into_iter().zip(1..).map(|(name, number)| Ok((name, observer(&star, number)?)));
        let observers = observers.collect::<Result<Vec<_>>>()?;
        let helpers = Self { daemon, observers, bird, frr, gobgp, star };
        helpers.wait_whole(&[prefix(1), prefix(101), prefix(2), prefix(3)])?;
        Ok(helpers)
    }

    /// All have all routes.
    fn wait_whole(&self, routes: &[String]) -> Result<()> {
        for number in 1..=3 {
            self.daemon.wait_established(&format!("10.99.{number}.2"), SESSION)?;
        }
        let all = [&[OURS.to_owned()], routes].concat();
        for (name, observer) in &self.observers {
            wait_held(name, observer, &all)?;
        }
        for prefix in routes {
            self.daemon.wait_installed(prefix, true, ROUTES)?;
        }
        Ok(())
    }

    /// How many withdrawals each observer has heard.
    fn withdrawn(&self) -> Vec<(&'static str, u64)> {
        self.observers.iter().map(|(name, observer)| (*name, observer.inbox().withdrawn)).collect()
    }

    /// Each has heard so many more withdrawals.
    fn ensure_withdrawn(&self, before: &[(&'static str, u64)], more: u64, when: &str) -> Result<()> {
        let expected: Vec<_> = before.iter().map(|(name, count)| (*name, count + more)).collect();
        let seen = self.withdrawn();
        let log = self.daemon.log_text();
        ensure!(
            seen == expected,
            "{when}: withdrawals heard {seen:?}, expected {expected:?}; the daemon: {log}"
        );
        Ok(())
    }

    /// Starts the daemon again, and returns when its own tables forward.
    fn return_live(&mut self) -> Result<()> {
        let start = Instant::now();
        self.daemon.restart(&self.star.sandbox)?;
        self.daemon.wait_live(LIVE)?;
        eprintln!("live after {:?}", start.elapsed());
        Ok(())
    }
}

#[test]
fn neighbors_take_nothing_back_when_the_daemon_is_killed_or_stopped() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &frr::PROGRAMS, &gobgp::PROGRAMS].concat();
    if !daemon::ready("restart::neighbors_take_nothing_back_when_the_daemon_is_killed_or_stopped", &programs)
    {
        return Ok(());
    }
    let mut helpers = Helpers::start("restart")?;
    let shown = helpers.daemon.show(&["neighbors", "10.99.1.2"])?;
    ensure!(shown.contains("on; the neighbor keeps our routes for 120s while we restart"), "{shown}");
    let before = helpers.withdrawn();

    // Killed; and a neighbour's routes change while we are away.
    helpers.daemon.process().kill_9()?;
    wait_until("BIRD keeps our routes", ROUTES, || {
        let shown = helpers.bird.query("show protocols all uplink")?;
        if shown.contains("Neighbor graceful restart active") { Ok(()) } else { Err(anyhow!("{shown}")) }
    })?;
    std::thread::sleep(Duration::from_secs(3));
    helpers.ensure_withdrawn(&before, 0, "while the daemon is away")?;
    helpers.bird.reconfigure(&bird_config(1, "", &[prefix(1), prefix(102)]))?;
    helpers.return_live()?;
    helpers.wait_whole(&[prefix(1), prefix(102), prefix(2), prefix(3)])?;
    // What is gone is taken back, by all of them, and nothing else.
    let gone = prefix(101).parse()?;
    for (name, observer) in &helpers.observers {
        wait_until(&format!("{name} takes back what is gone"), ROUTES, || {
            ensure!(!observer.inbox().routes.contains_key(&gone), "still there");
            Ok(())
        })?;
    }
    helpers.daemon.wait_installed(&prefix(101), false, ROUTES)?;
    std::thread::sleep(Duration::from_secs(2));
    helpers.ensure_withdrawn(&before, 1, "after the return of one that was killed")?;

    // Stopped, as its service manager does for an upgrade.
    let before = helpers.withdrawn();
    helpers.daemon.terminate()?;
    std::thread::sleep(Duration::from_secs(3));
    helpers.ensure_withdrawn(&before, 0, "while the stopped daemon is away")?;
    helpers.return_live()?;
    helpers.wait_whole(&[prefix(1), prefix(102), prefix(2), prefix(3)])?;
    std::thread::sleep(Duration::from_secs(2));
    helpers.ensure_withdrawn(&before, 0, "after the return of one that was stopped")?;
    for (name, log) in [("FRR", helpers.frr.log_text()), ("GoBGP", helpers.gobgp.log_text())] {
        ensure!(!log.to_lowercase().contains("administrative"), "{name} was told something: {log}");
    }

    // For good.
    helpers.daemon.interrupt()?;
    for (name, observer) in &helpers.observers {
        wait_until(&format!("{name} takes our route back"), ROUTES, || {
            let ours = OURS.parse()?;
            ensure!(!observer.inbox().routes.contains_key(&ours), "still there");
            Ok(())
        })?;
    }
    Ok(())
}

/// The restart that `show summary` tells of: who is waited for, and for what.
fn waits(daemon: &Daemon) -> Result<Vec<(String, String)>> {
    let summary = daemon.show_json(&["summary"])?;
    let waits = summary["restart"]["waits_for"].as_array().cloned().unwrap_or_default();
    let word = |wait: &serde_json::Value, key: &str| wait[key].as_str().unwrap_or_default().to_owned();
    Ok(waits.iter().map(|wait| (word(wait, "neighbor"), word(wait, "what"))).collect())
}

/// Who does not come back is waited for until the deferral time is over; who does not know graceful restart, until it has
/// nothing more to say.
#[test]
fn neighbors_that_say_no_end_or_do_not_come_back_are_not_waited_for_for_ever() -> Result<()> {
    let name = "restart::neighbors_that_say_no_end_or_do_not_come_back_are_not_waited_for_for_ever";
    if !daemon::ready(name, &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("restart-timer", 3)?;
    let (sandbox, around) = (&star.sandbox, &star.neighbors);
    let start = |number: usize| {
        let config = bird_config(number, "", &[prefix(number)]);
        Bird::start(sandbox, &around[number - 1], &format!("bird{number}"), &config)
    };
    let (_bird, mut lost) = (start(1)?, start(2)?);
    let text = config(3, "deferral-time = 12", |number| if number == 3 { "passive = true\n" } else { "" });
    let mut daemon = Daemon::start(sandbox, &star.router, &text)?;
    let observer = observer(&star, 1)?;
    let plain = feeder(&star, 3)?;
    for number in 1..=3 {
        daemon.wait_installed(&prefix(number), true, SESSION)?;
    }
    wait_held("BIRD", &observer, &[prefix(2), prefix(3)])?;
    daemon.terminate()?;
    ensure!(plain.closed().is_some_and(|why| why == "NOTIFICATION 6/2"), "{:?}", plain.closed());
    lost.kill_9()?;
    daemon.restart(sandbox)?;
    let returned = Instant::now();
    let _plain = feeder(&star, 3)?;
    let silence = ("10.99.3.2".to_owned(), "its End-of-RIB, or silence".to_owned());
    let session = ("10.99.2.2".to_owned(), "its session".to_owned());
    let shown = daemon.show(&["summary"])?;
    for expected in ["Restarting: packets go by the routes of the run before", "10.99.2.2: its session"] {
        ensure!(shown.contains(expected), "{shown}");
    }
    let shown = daemon.show(&["neighbors", "10.99.2.2"])?;
    ensure!(shown.contains("waits for its session"), "{shown}");
    let (code, said) = daemon.command(&["show", "routes", OURS, "--advertised", "10.99.1.2"])?;
    ensure!(code != 0 && said.contains("announces nothing before it has learned"), "{said}");
    let metrics = daemon.metrics()?;
    ensure!(metrics.sum("peregrine_restart_deferred", &[])? > 0.5);
    ensure!(metrics.sum("peregrine_restart_waiting_neighbors", &[])? > 1.5);
    // Each way of waiting, from the first to the last.
    let mut seen: Vec<Vec<(String, String)>> = Vec::new();
    loop {
        let waits = waits(&daemon)?;
        if waits.is_empty() {
            break;
        }
        ensure!(observer.inbox().withdrawn == 0, "nothing is taken back before the end");
        if seen.last() != Some(&waits) {
            seen.push(waits);
        }
        ensure!(returned.elapsed() < LIVE, "{seen:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(seen.iter().any(|waits| waits.contains(&silence)), "{seen:?}");
    ensure!(seen.last().is_some_and(|last| *last == [session]), "{seen:?}");
    daemon.wait_live(ROUTES)?;
    let took = returned.elapsed();
    ensure!(took > Duration::from_secs(10), "{took:?} is too short for the deferral time");
    let metrics = daemon.metrics()?;
    ensure!(metrics.sum("peregrine_restart_deferred", &[])? < 0.5);
    ensure!(!daemon.show(&["summary"])?.contains("Restarting"));
    // Its route has gone with it; the others' are there.
    daemon.wait_installed(&prefix(2), false, ROUTES)?;
    for number in [1, 3] {
        daemon.wait_installed(&prefix(number), true, ROUTES)?;
    }
    wait_until("what is gone is taken back", ROUTES, || {
        ensure!(!observer.inbox().routes.contains_key(&prefix(2).parse()?), "still there");
        Ok(())
    })?;
    let withdrawn = observer.inbox().withdrawn;
    ensure!(withdrawn == 1, "{withdrawn} withdrawals");
    let log = daemon.process().log_text();
    ensure!(log.contains("the deferral time is over") && log.contains("missing=\"10.99.2.2\""), "{log}");
    Ok(())
}

/// Both have restarted, and each could wait for the other's End-of-RIB for ever.
#[test]
fn two_that_restart_at_once_do_not_wait_for_each_other() -> Result<()> {
    let test = "restart::two_that_restart_at_once_do_not_wait_for_each_other";
    if !daemon::ready(test, &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("restart-both", 1)?;
    let options = "graceful restart on; graceful restart time 60;";
    let bird_text = bird_config(1, options, &[prefix(1)]);
    let mut bird = Bird::start(&star.sandbox, &star.neighbors[0], "bird", &bird_text)?;
    let mut daemon = Daemon::start(&star.sandbox, &star.router, &config(1, "", |_| ""))?;
    daemon.wait_installed(&prefix(1), true, SESSION)?;
    daemon.process().kill_9()?;
    bird.kill_9()?;
    daemon.restart(&star.sandbox)?;
    bird.recover(&star.sandbox, &bird_text)?;
    let start = Instant::now();
    daemon.wait_live(LIVE)?;
    ensure!(start.elapsed() < Duration::from_secs(30), "they waited for each other: {:?}", start.elapsed());
    let shown = daemon.show(&["neighbors", "10.99.1.2"])?;
    ensure!(shown.contains("and had just done so"), "{shown}");
    daemon.wait_installed(&prefix(1), true, ROUTES)?;
    wait_until("BIRD has our route", ROUTES, || bird.routes(OURS)).map(drop)
}

/// BFD goes with the daemon, by SIGTERM or by silence. Our routes are kept all the same (RFC 5882 section 4.3): by BIRD when it
/// is told to be graceful, by FRR since the session is closed first.
#[test]
fn neighbors_with_bfd_keep_our_routes() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &frr::PROGRAMS_WITH_BFD].concat();
    let name = "restart::neighbors_with_bfd_keep_our_routes";
    if !daemon::ready(name, &programs) {
        return Ok(());
    }
    let star = Star::build("restart-bfd", 2)?;
    let (sandbox, around) = (&star.sandbox, &star.neighbors);
    let text = format!("protocol bfd {{ }}\n{}", bird_config(1, "bfd graceful;", &[prefix(1)]));
    let _bird = Bird::start(sandbox, &around[0], "bird", &text)?;
    let text = frr_config(2).replacen(" address-family", " neighbor 10.99.2.1 bfd\n address-family", 1);
    let frr = Frr::start_with_bfd(sandbox, &around[1], "frr", &text)?;
    let mut daemon = Daemon::start(sandbox, &star.router, &config(2, "", |_| "bfd = true\n"))?;
    let observers = [("BIRD", observer(&star, 1)?), ("FRR", observer(&star, 2)?)];
    for (number, (name, observer)) in (1..).zip(&observers) {
        daemon.wait_installed(&prefix(number), true, SESSION)?;
        wait_held(name, observer, &[OURS.to_owned(), prefix(3 - number)])?;
    }
    wait_until("BFD is up", SESSION, || {
        let shown = daemon.show(&["bfd"])?;
        if shown.matches(" Up ").count() == 2 { Ok(()) } else { Err(anyhow!("{shown}")) }
    })?;
    for end in ["SIGTERM", "SIGKILL"] {
        if end == "SIGTERM" {
            daemon.terminate()?;
        } else {
            daemon.process().kill_9()?;
        }
        // Long after BFD has noticed.
        wait_until("FRR's BFD is down", ROUTES, || {
            let peer = frr.bfd("10.99.2.1")?;
            if peer["status"] == "down" { Ok(()) } else { Err(anyhow!("{peer}")) }
        })?;
        std::thread::sleep(Duration::from_secs(2));
        daemon.restart(sandbox)?;
        daemon.wait_live(LIVE)?;
        std::thread::sleep(Duration::from_secs(2));
        for (name, observer) in &observers {
            let withdrawn = observer.inbox().withdrawn;
            ensure!(withdrawn == 0, "{end}: {name} has withdrawn {withdrawn}: {}", daemon.log_text());
        }
    }
    Ok(())
}
