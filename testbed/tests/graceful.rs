//! What happens when sessions are lost: graceful restart of BIRD and FRR while packets flow, and long-lived
//! graceful restart.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use testbed::daemon::{self, Daemon};
use testbed::netns::Sandbox;
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::tools;
use testbed::topology::{FAMILIES, Star, Topology, V4, V6, bird_config, daemon_config};

const SESSION: Duration = Duration::from_secs(30);
const ROUTES: Duration = Duration::from_secs(15);
const ROUTER: &str = "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n";

/// The stale routes that `show neighbors ADDRESS` tells of, in a family: how, and how many.
fn stale(daemon: &Daemon, address: &str, family: &str) -> Result<(String, u64)> {
    let neighbors = daemon.show_json(&["neighbors"])?;
    let all = neighbors.as_array().context("show neighbors is no list")?;
    let neighbor = all.iter().find(|neighbor| neighbor["address"] == address).context("no such neighbor")?;
    let stale = &neighbor["stale"][family];
    let phase = stale["phase"].as_str().unwrap_or_default().to_owned();
    Ok((phase, stale["routes"].as_u64().unwrap_or(0)))
}

fn wait_stale(daemon: &Daemon, address: &str, family: &str, phase: &str, routes: u64) -> Result<()> {
    wait_until(&format!("{routes} stale {family} routes of {address}, {phase}"), ROUTES, || {
        let seen = stale(daemon, address, family)?;
        if seen == (phase.to_owned(), routes) { Ok(()) } else { Err(anyhow!("{seen:?}")) }
    })
}

/// BIRD is killed and starts again, with one prefix less; pings to host B never stop.
#[test]
fn packets_flow_while_a_neighbor_restarts() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &tools::PROGRAMS].concat();
    if !daemon::ready("graceful::packets_flow_while_a_neighbor_restarts", &programs) {
        return Ok(());
    }
    let options = "graceful restart on; graceful restart time 60;";
    let topology = Topology::build(Sandbox::new("gr-bird")?)?;
    // The way back, which BIRD's end must not take along: what counts is ours.
    for family in &FAMILIES {
        topology.bird.route(family.net_a, family.router_wan)?;
    }
    let mut bird = topology.start_bird_with(options)?;
    let text = daemon_config().replace("export = [\"all\"]", "export = [\"all\"]\naccept-blackhole = true");
    let daemon = Daemon::start(&topology.sandbox, &topology.router, &text)?;
    for family in &FAMILIES {
        daemon.wait_installed(family.net_b, true, SESSION)?;
        daemon.wait_installed(family.more[2], true, ROUTES)?;
        wait_until("host B answers", ROUTES, || tools::ping_all(&topology.host_a, None, family.host_b, 1))?;
    }
    blackholes(&topology, &daemon, &bird, options)?;
    // Both hosts' pings run from before the end of BIRD to after its return.
    let ping = |target: &str| {
        let mut command = topology.host_a.command("ping");
        command.args(["-n", "-q", "-i", "0.02", "-c", "100000", target]);
        command.stdout(Stdio::piped()).spawn().context("cannot run ping")
    };
    let pings = FAMILIES.iter().map(|family| ping(family.host_b)).collect::<Result<Vec<_>>>()?;

    bird.kill_9()?;
    for family in &FAMILIES {
        daemon.wait_down(family.bird, SESSION)?;
        wait_stale(&daemon, family.bird, family.family, "restarting", 4)?;
        let path = &daemon.paths(family.net_b)?[0];
        ensure!(path["stale"] == true && path["best"] == true, "{path}");
        ensure!(path["stale_seconds"].as_u64().is_some_and(|left| left <= 60), "{path}");
    }
    let shown = daemon.show(&["routes", V4.net_b])?;
    ensure!(shown.contains("S> 10.99.20.0/24"), "{shown}");
    ensure!(daemon.show(&["neighbors", V4.bird])?.contains("4 routes, restarting"), "not shown");

    bird.recover(&topology.sandbox, &bird_config(options, &V4.more[..2], &V6.more[..2]))?;
    for family in &FAMILIES {
        daemon.wait_established(family.bird, SESSION)?;
        daemon.wait_installed(family.more[2], false, ROUTES)?;
        wait_stale(&daemon, family.bird, family.family, "", 0)?;
        daemon.wait_count(family.bird, family.family, "best", 3, ROUTES)?;
        ensure!(daemon.paths(family.net_b)?[0]["stale"] == false, "announced again");
    }
    for (mut process, family) in pings.into_iter().zip(&FAMILIES) {
        // An interrupt has ping count and end.
        let id = nix::unistd::Pid::from_raw(process.id().try_into().context("a process id")?);
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).context("end ping")?;
        let mut text = String::new();
        if let Some(out) = &mut process.stdout {
            std::io::Read::read_to_string(out, &mut text).context("read what ping counted")?;
        }
        process.wait().context("wait for ping")?;
        let count = |what: &str| {
            let part = text.split(',').find_map(|part| part.trim().strip_suffix(what));
            part.and_then(|part| part.split_whitespace().last()?.parse::<u64>().ok())
        };
        let (sent, received) = (count(" packets transmitted"), count(" received"));
        let (sent, received) = sent.zip(received).with_context(|| format!("ping counted nothing: {text}"))?;
        // The last one may be on its way.
        ensure!(
            sent > 100 && sent - received <= 1,
            "{} pings of {sent} to {} lost",
            sent - received,
            family.host_b
        );
    }

    // It restarts without having kept forwarding: then its routes go at once when it is back.
    bird.kill_9()?;
    wait_stale(&daemon, V4.bird, V4.family, "restarting", 3)?;
    // And a shutdown by an operator is no restart.
    bird.launch(&topology.sandbox)?;
    daemon.wait_established(V4.bird, SESSION)?;
    daemon.wait_count(V4.bird, V4.family, "best", 3, ROUTES)?;
    bird.query(&format!("disable {}", V4.session))?;
    daemon.wait_down(V4.bird, SESSION)?;
    daemon.wait_installed(V4.net_b, false, ROUTES)
}

/// Host B's other addresses are attacked, and BIRD asks to have their traffic dropped (RFC 7999).
fn blackholes(topology: &Topology, daemon: &Daemon, bird: &Bird, options: &str) -> Result<()> {
    let marked = |prefix: &str, other: &str| {
        format!("{prefix} blackhole {{ bgp_community.add((65535,666)); }};\n  route {other}")
    };
    let (v4, v6) = ("10.99.20.77/32", "fd99:20::77/128");
    let (v4_marked, v6_marked) = (marked(v4, "10.98.9.0/24"), marked(v6, "fd98:9::/48"));
    let (v4_all, v6_all) = ([&V4.more[..], &[&v4_marked]].concat(), [&V6.more[..], &[&v6_marked]].concat());
    bird.reconfigure(&bird_config(options, &v4_all, &v6_all))?;
    for (prefix, target) in [(v4, "10.99.20.77"), (v6, "fd99:20::77")] {
        daemon.wait_installed(prefix, true, ROUTES)?;
        let path = &daemon.paths(prefix)?[0];
        ensure!(path["blackhole"] == true, "{path}");
        let communities = path["communities"].as_array().context("communities")?;
        ensure!(communities.iter().any(|community| community == "no-export"), "{path}");
        let before = daemon.verdicts()?["blackhole"];
        tools::ping_none(&topology.host_a, target, 3)?;
        let dropped = daemon.verdicts()?["blackhole"] - before;
        ensure!(dropped >= 3, "{dropped} packets to {target} counted as blackhole");
    }
    bird.reconfigure(&bird_config(options, &V4.more, &V6.more))?;
    daemon.wait_installed(v4, false, ROUTES)?;
    daemon.wait_installed(v6, false, ROUTES)
}

/// Long-lived: when the restart time is over, routes go on as the last choice, for those who know what that
/// is.
#[test]
fn long_lived_stale_routes_are_the_last_choice_and_told_to_those_who_know() -> Result<()> {
    let name = "graceful::long_lived_stale_routes_are_the_last_choice_and_told_to_those_who_know";
    if !daemon::ready(name, &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("llgr", 5)?;
    let asn = |number: usize| if number == 5 { 64_500 } else { 64_500 + number };
    let bird = |number: usize, options: &str, routes: &str| {
        let config = format!(
            "router id 10.99.{number}.2;\nprotocol static announced {{\n  ipv4;\n{routes}}}\n\
             protocol bgp uplink {{\n  local 10.99.{number}.2 as {};\n  neighbor 10.99.{number}.1 as 64500;\n  \
             connect delay time 1;\n  error wait time 1, 3;\n  {options}\n  \
             ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n",
            asn(number)
        );
        Bird::start(&star.sandbox, &star.neighbors[number - 1], &format!("bird{number}"), &config)
    };
    let routes = "  route 10.98.1.0/24 blackhole;\n  route 10.98.2.0/24 blackhole;\n  \
                  route 10.98.3.0/24 blackhole { bgp_community.add((65535,7)); };\n";
    let long_lived = "graceful restart on; graceful restart time 3; long lived graceful restart on; \
                      long lived stale time 3600;";
    let mut restarting = bird(1, long_lived, routes)?;
    let _other = bird(2, "", "  route 10.98.2.0/24 blackhole { bgp_path.prepend(64502); };\n")?;
    let aware = bird(3, "long lived graceful restart aware;", "")?;
    let unaware = bird(4, "graceful restart off; long lived graceful restart off;", "")?;
    let internal = bird(5, "graceful restart off; long lived graceful restart off;", "")?;
    let neighbors: String = (1..=5)
        .map(|number| {
            format!(
                "\n[[neighbor]]\naddress = \"10.99.{number}.2\"\nasn = {}\nfamilies = [\"ipv4-unicast\"]\n\
                 import = [\"all\"]\nexport = [\"all\"]\nlong-lived-graceful-restart = {{ ipv4-unicast = 14 }}\n",
                asn(number)
            )
        })
        .collect();
    let daemon = Daemon::start(&star.sandbox, &star.router, &format!("{ROUTER}{neighbors}"))?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 3, SESSION)?;
    daemon.wait_count("10.99.2.2", "ipv4-unicast", "received", 1, SESSION)?;
    let has = |bird: &Bird, prefix: &str, path: Option<&str>| {
        wait_until(&format!("{prefix} with {path:?}"), ROUTES, || {
            // BIRD calls it an error to have no such route.
            let shown = match bird.routes(prefix) {
                Err(_) if path.is_none() => return Ok(String::new()),
                answer => answer?,
            };
            let seen = shown.lines().find_map(|line| line.trim().strip_prefix("BGP.as_path: "));
            if seen == path { Ok(shown) } else { Err(anyhow!("{shown}")) }
        })
    };
    for receiver in [&aware, &unaware] {
        has(receiver, "10.98.1.0/24", Some("64500 64501"))?;
        has(receiver, "10.98.2.0/24", Some("64500 64501"))?;
    }

    restarting.kill_9()?;
    wait_stale(&daemon, "10.99.1.2", "ipv4-unicast", "long-lived", 2)?;
    let first = &daemon.paths("10.98.1.0/24")?[0];
    ensure!(first["best"] == true && first["communities"][0] == "llgr-stale", "{first}");
    ensure!(daemon.paths("10.98.2.0/24")?[0]["neighbor"] == "10.99.2.2", "any other route is better");
    ensure!(daemon.paths("10.98.3.0/24")?.is_empty(), "NO_LLGR");
    let shown = has(&aware, "10.98.1.0/24", Some("64500 64501"))?;
    wait_until("the community", ROUTES, || {
        let shown = aware.routes("10.98.1.0/24")?;
        if shown.contains("(65535,6)") { Ok(()) } else { Err(anyhow!("{shown}")) }
    })
    .with_context(|| shown.clone())?;
    has(&unaware, "10.98.1.0/24", None)?;
    // Within the AS it is kept there, and the last choice (RFC 9494 section 4.6).
    wait_until("the internal neighbor has it as the last choice", ROUTES, || {
        let shown = internal.routes("10.98.1.0/24")?;
        let expected = ["BGP.local_pref: 0\n", "(65535,6)", "(65535,65281)", "BGP.as_path: 64501\n"];
        if expected.iter().all(|text| shown.contains(text)) { Ok(()) } else { Err(anyhow!("{shown}")) }
    })?;
    for receiver in [&aware, &unaware] {
        has(receiver, "10.98.2.0/24", Some("64500 64502 64502"))?;
        has(receiver, "10.98.3.0/24", None)?;
    }
    // Our limit on its time is shorter than what it asked for.
    wait_until("the end", Duration::from_secs(20), || {
        let left = daemon.count("10.99.1.2", "ipv4-unicast", "received")?;
        let paths = daemon.paths("10.98.1.0/24")?;
        if paths.is_empty() { Ok(()) } else { Err(anyhow!("{left} {paths:?}")) }
    })?;
    has(&aware, "10.98.1.0/24", None).map(drop)
}

/// FRR's bgpd is killed and started again; its routes stay.
#[test]
fn routes_of_a_restarting_frr_stay() -> Result<()> {
    if !daemon::ready("graceful::routes_of_a_restarting_frr_stay", &frr::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("gr-frr", 1)?;
    let config = "bgp graceful-restart preserve-fw-state\n\
         router bgp 64501\n bgp router-id 10.99.1.2\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart restart-time 40\n \
         neighbor 10.99.1.1 remote-as 64500\n neighbor 10.99.1.1 timers connect 1\n \
         address-family ipv4 unicast\n  network 10.98.1.0/24\n  network 10.98.2.0/24\n exit-address-family\n";
    let mut frr = Frr::start(&star.sandbox, &star.neighbors[0], "frr", config)?;
    let neighbor = "\n[[neighbor]]\naddress = \"10.99.1.2\"\nasn = 64501\nfamilies = [\"ipv4-unicast\"]\n\
                    import = [\"all\"]\nexport = [\"all\"]\n";
    let daemon = Daemon::start(&star.sandbox, &star.router, &format!("{ROUTER}{neighbor}"))?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 2, SESSION)?;
    wait_until("End-of-RIB", ROUTES, || {
        let shown = daemon.show(&["neighbors", "10.99.1.2"])?;
        if shown.contains("received: ipv4-unicast") { Ok(()) } else { Err(anyhow!("{shown}")) }
    })?;
    frr.kill_9()?;
    wait_stale(&daemon, "10.99.1.2", "ipv4-unicast", "restarting", 2)?;
    ensure!(daemon.paths("10.98.1.0/24")?[0]["best"] == true, "still used");
    frr.launch(&star.sandbox)?;
    daemon.wait_established("10.99.1.2", SESSION)?;
    wait_stale(&daemon, "10.99.1.2", "ipv4-unicast", "", 0)?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 2, ROUTES)
}
