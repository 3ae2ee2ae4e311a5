//! Sessions with BIRD and with FRR.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use testbed::capture::{self, Capture};
use testbed::daemon::{self, Daemon};
use testbed::netns::Sandbox;
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::tools;
use testbed::topology::{self, FAMILIES, Topology, V4, V6};

use crate::scene::{
    FAST, NEIGHBORS, OURS, SESSION, SOON, Scene, break_path, config, detail, last_event, link_local,
    never_lost, session, wait_for, wait_for_one,
};

/// A notice within 200 ms of the last packet.
const WITHIN: f64 = 0.2;

const BIRD_BFD: &str = "protocol bfd {\n  interface \"*\" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; };\n  \
                        multihop { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; };\n}\n";

fn bird_config() -> String {
    let session = |index: usize| {
        format!(
            "protocol bgp router{index} {{\n  local {} as 64501;\n  neighbor {} as 64500;\n  connect delay time 1;\n  \
             error wait time 1, 2;\n  bfd on;\n  ipv4 {{ import all; export all; }};\n  ipv6 {{ import all; export all; }};\n}}\n",
            NEIGHBORS[index], OURS[index]
        )
    };
    format!("router id 10.99.1.2;\n{BIRD_BFD}{}{}", session(0), session(1))
}

/// BIRD's line of `show bfd sessions`, with a state and an interval.
fn wait_bird(bird: &Bird, ours: &str, words: &[&str]) -> Result<()> {
    wait_until(&format!("BIRD's session with {ours}: {words:?}"), SOON, || {
        let answer = bird.query("show bfd sessions")?;
        let line = answer.lines().find(|line| line.split_whitespace().next() == Some(ours));
        let line = line.ok_or_else(|| anyhow!("{answer}"))?;
        let has = |word: &&str| line.split_whitespace().any(|seen| seen == *word);
        if words.iter().all(has) { Ok(()) } else { Err(anyhow!("{line}")) }
    })
}

fn establish(daemon: &Daemon) -> Result<()> {
    NEIGHBORS.iter().try_for_each(|neighbor| daemon.wait_established(neighbor, SESSION))
}

/// Takes `bfd` out of the configuration, and puts it in again: the neighbour is told that an operator did it, and we
/// end no session. BIRD 2.0.12 and FRR 8.4.4 do end theirs.
fn taken_out(scene: &Scene, daemon: &Daemon) -> Result<()> {
    let capture = Capture::start(&scene.sandbox, &scene.neighbor, "wan", "udp port 3784")?;
    daemon.rewrite(&config("false"))?;
    daemon.run(&["reload"])?;
    std::thread::sleep(Duration::from_millis(1200));
    for neighbor in NEIGHBORS {
        let shown = detail(daemon, neighbor)?;
        ensure!(shown["bfd"].is_null() && shown["last_notification_sent"].is_null(), "{shown}");
    }
    let fields = [
        "ip.src",
        "ipv6.src",
        "ip.ttl",
        "ipv6.hlim",
        "ip.dsfield.dscp",
        "ipv6.tclass.dscp",
        "udp.srcport",
        "bfd.sta",
        "bfd.diag",
        "bfd.desired_min_tx_interval",
    ];
    let packets = capture.stop(&fields)?;
    for ours in OURS {
        let of_us: Vec<String> = packets
            .iter()
            .filter(|fields| fields.iter().any(|field| field == ours))
            .map(|fields| {
                fields.iter().filter(|field| !field.is_empty()).cloned().collect::<Vec<_>>().join(" ")
            })
            .collect();
        ensure!(of_us.iter().all(|packet| packet.starts_with(&format!("{ours} 255 48 "))), "{of_us:?}");
        let last: Vec<&str> = of_us.iter().rev().take(2).map(String::as_str).collect();
        // At once, and again a second later.
        ensure!(
            last.len() == 2 && last.iter().all(|packet| packet.ends_with(" 0x00 0x07 1000000")),
            "{of_us:?}"
        );
        let port: u16 = last[0].split(' ').nth(3).unwrap_or_default().parse()?;
        ensure!(port >= 49152, "{of_us:?}");
    }
    daemon.rewrite(&config(FAST))?;
    daemon.run(&["reload"]).map(drop)
}

#[test]
fn bird_and_we_notice_a_dead_path_and_nothing_else_ends_a_session() -> Result<()> {
    let name = "bfd::bird_and_we_notice_a_dead_path_and_nothing_else_ends_a_session";
    if !daemon::ready(name, &[&bird::PROGRAMS[..], &capture::PROGRAMS].concat()) {
        return Ok(());
    }
    let scene = Scene::build("bfd-bird")?;
    let bird = Bird::start(&scene.sandbox, &scene.neighbor, "bird", &bird_config())?;
    let daemon = Daemon::start(&scene.sandbox, &scene.router, &config(FAST))?;
    establish(&daemon)?;
    wait_for(&daemon, "Up", Some(0.15))?;
    for ours in OURS {
        wait_bird(&bird, ours, &["Up", "0.050", "0.150"])?;
    }
    for (neighbor, ours) in NEIGHBORS.into_iter().zip(OURS) {
        let shown = session(&daemon, neighbor)?;
        ensure!(
            shown["interface"] == "wan" && shown["local"] == ours && shown["multihop"] == false,
            "{shown}"
        );
        ensure!(shown["tx_interval_seconds"] == 0.05 && shown["remote_multiplier"] == 3, "{shown}");
        ensure!(shown["source_port"].as_u64() >= Some(49152), "{shown}");
        ensure!(daemon.show(&["neighbors", neighbor])?.contains("BFD           Up, for"));
        let metrics = daemon.metrics()?;
        let labels = [("neighbor", neighbor), ("interface", "wan")];
        ensure!(metrics.sum("peregrine_bfd_session_up", &labels)? > 0.5);
    }

    // Other intervals: agreed on, nothing lost.
    daemon.rewrite(&config("{ min-tx = \"120ms\", min-rx = \"200ms\", multiplier = 5 }"))?;
    let said = daemon.run(&["reload"])?;
    ensure!(said.contains("disturbs nothing") && !said.contains("resets"), "{said}");
    wait_for(&daemon, "Up", Some(0.6))?;
    for ours in OURS {
        wait_bird(&bird, ours, &["Up", "0.200", "0.600"])?;
    }
    daemon.rewrite(&config(FAST))?;
    daemon.run(&["reload"])?;
    wait_for(&daemon, "Up", Some(0.15))?;
    never_lost(&daemon)?;
    taken_out(&scene, &daemon)?;
    establish(&daemon)?;
    wait_for(&daemon, "Up", Some(0.15))?;

    break_path(&scene, &daemon, WITHIN)?;
    scene.set_path(true)?;
    establish(&daemon)?;
    wait_for(&daemon, "Up", Some(0.15))?;

    // Shut down by an operator, it has no BFD; enabled, it has.
    let others = detail(&daemon, NEIGHBORS[1])?["established_transitions"].clone();
    daemon.run(&["shutdown", NEIGHBORS[0], "maintenance"])?;
    ensure!(detail(&daemon, NEIGHBORS[0])?["bfd"].is_null());
    wait_bird(&bird, OURS[0], &["Down"]).or_else(|_| bird.query("show bfd sessions").map(drop))?;
    daemon.run(&["enable", NEIGHBORS[0]])?;
    daemon.wait_established(NEIGHBORS[0], SESSION)?;
    wait_for(&daemon, "Up", Some(0.15))?;
    let left_alone = detail(&daemon, NEIGHBORS[1])?["established_transitions"].clone();
    ensure!(left_alone == others, "the other one came up {left_alone} times, before {others}");
    Ok(())
}

const FRR: &str = "router bgp 64501\n bgp router-id 10.99.1.2\n no bgp ebgp-requires-policy\n \
    no bgp network import-check\n \
    neighbor 10.99.1.1 remote-as 64500\n neighbor 10.99.1.1 timers connect 1\n neighbor 10.99.1.1 bfd 3 50 50\n \
    neighbor fd99:1::1 remote-as 64500\n neighbor fd99:1::1 timers connect 1\n neighbor fd99:1::1 bfd 3 50 50\n";

fn wait_frr(frr: &Frr, ours: &str, status: &str, receive: Option<u64>) -> Result<()> {
    wait_until(&format!("FRR's session with {ours} {status}"), SOON, || {
        let peer = frr.bfd(ours)?;
        let agreed = receive.is_none_or(|interval| peer["remote-transmit-interval"] == interval);
        if peer["status"] == status && agreed { Ok(()) } else { Err(anyhow!("{peer}")) }
    })
}

#[test]
fn frr_and_we_notice_a_dead_path_and_nothing_else_ends_a_session() -> Result<()> {
    let name = "bfd::frr_and_we_notice_a_dead_path_and_nothing_else_ends_a_session";
    if !daemon::ready(name, &[&frr::PROGRAMS_WITH_BFD[..], &capture::PROGRAMS].concat()) {
        return Ok(());
    }
    let scene = Scene::build("bfd-frr")?;
    let frr = Frr::start_with_bfd(&scene.sandbox, &scene.neighbor, "frr", FRR)?;
    let daemon = Daemon::start(&scene.sandbox, &scene.router, &config(FAST))?;
    establish(&daemon)?;
    wait_for(&daemon, "Up", Some(0.15))?;
    for ours in OURS {
        wait_frr(&frr, ours, "up", Some(50))?;
    }
    daemon.rewrite(&config("{ min-tx = \"120ms\", min-rx = \"200ms\", multiplier = 5 }"))?;
    daemon.run(&["reload"])?;
    wait_for(&daemon, "Up", Some(0.6))?;
    for ours in OURS {
        wait_frr(&frr, ours, "up", Some(120))?;
    }
    daemon.rewrite(&config(FAST))?;
    daemon.run(&["reload"])?;
    wait_for(&daemon, "Up", Some(0.15))?;

    // Its operator takes BFD down, and lets it up: BGP does not care.
    for (neighbor, ours) in NEIGHBORS.into_iter().zip(OURS) {
        let peer = format!("peer {ours} local-address {neighbor} interface wan");
        let peer = if ours.contains(':') { peer } else { format!("peer {ours} interface wan") };
        frr.configure_of("bfdd", &["bfd", &peer, "shutdown"])?;
        wait_for_one(&daemon, neighbor, "Down", None)?;
        let (_, text) = last_event(&daemon, neighbor, "bfd")?;
        ensure!(text == "down: by an operator of the neighbor", "{text}");
        ensure!(session(&daemon, neighbor)?["remote_state"] == "AdminDown");
        frr.configure_of("bfdd", &["bfd", &peer, "no shutdown"])?;
    }
    wait_for(&daemon, "Up", Some(0.15))?;
    never_lost(&daemon)?;

    taken_out(&scene, &daemon)?;
    establish(&daemon)?;
    wait_for(&daemon, "Up", Some(0.15))?;

    break_path(&scene, &daemon, WITHIN)?;
    scene.set_path(true)?;
    establish(&daemon)?;
    wait_for(&daemon, "Up", Some(0.15))
}

#[test]
fn dynamic_neighbors_and_those_of_a_link_have_bfd_too() -> Result<()> {
    if !daemon::ready("bfd::dynamic_neighbors_and_those_of_a_link_have_bfd_too", &bird::PROGRAMS) {
        return Ok(());
    }
    let scene = Scene::build("bfd-dynamic")?;
    let [ours, theirs] = [link_local(&scene.router)?, link_local(&scene.neighbor)?];
    let protocol = |name: &str, neighbor: &str| {
        format!(
            "protocol bgp {name} {{\n  local as 64501;\n  neighbor {neighbor} as 64500;\n  connect delay time 1;\n  \
             error wait time 1, 2;\n  bfd on;\n  ipv4 {{ import all; export all; extended next hop; }};\n}}\n"
        )
    };
    let (link, dynamic) = (protocol("by_link", &format!("{ours}%wan")), protocol("by_range", OURS[0]));
    let text = format!("router id 10.99.1.2;\n{BIRD_BFD}{link}{dynamic}");
    let bird = Bird::start(&scene.sandbox, &scene.neighbor, "bird", &text)?;
    let of_link = format!("{theirs}%wan");
    let keys = format!("asn = 64501\nimport = [\"all\"]\nexport = [\"all\"]\nbfd = {FAST}\n");
    let text_of =
        |keys: &str| format!("[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n[[neighbor]]\n{keys}");
    let both = format!(
        "address = \"{of_link}\"\nconnect-retry = 1\n{keys}[[neighbor-range]]\nprefix = \"10.99.1.0/24\"\n{keys}"
    );
    let daemon = Daemon::start(&scene.sandbox, &scene.router, &text_of(&both))?;
    for neighbor in [of_link.as_str(), NEIGHBORS[0]] {
        daemon.wait_established(neighbor, SESSION)?;
        wait_for_one(&daemon, neighbor, "Up", Some(0.15))?;
        ensure!(session(&daemon, neighbor)?["interface"] == "wan");
    }
    let broken = scene.set_path(false)?;
    daemon.wait_down(&of_link, SOON)?;
    let (at, text) = last_event(&daemon, &of_link, "down")?;
    ensure!(text.contains("BFD Down") && at - broken <= WITHIN, "{text} after {}", at - broken);
    // The dynamic one is none any more, and its BFD has gone with it.
    wait_until("only one neighbor is left, and one session of BFD", SOON, || {
        let neighbors = daemon.show_json(&["neighbors"])?.as_array().map_or(0, Vec::len);
        let sessions = daemon.show_json(&["bfd"])?["sessions"].as_array().map_or(0, Vec::len);
        ensure!((neighbors, sessions) == (1, 1), "{neighbors} neighbors, {sessions} sessions");
        Ok(())
    })?;
    scene.set_path(true)?;
    for neighbor in [of_link.as_str(), NEIGHBORS[0]] {
        wait_until("the neighbor is there", SOON, || daemon.neighbor(neighbor))?;
        daemon.wait_established(neighbor, SESSION)?;
        wait_for_one(&daemon, neighbor, "Up", Some(0.15))?;
    }
    bird.wait_established("by_range", SESSION)?;

    // Named by its interface alone, it has BFD at the address that it has there.
    daemon.rewrite(&text_of(&format!("interface = \"wan\"\n{keys}")))?;
    daemon.run(&["reload"])?;
    daemon.wait_established("wan", SESSION)?;
    wait_for_one(&daemon, &of_link, "Up", Some(0.15))
}

#[test]
fn over_several_hops_a_dead_path_is_noticed_too() -> Result<()> {
    if !daemon::ready("bfd::over_several_hops_a_dead_path_is_noticed_too", &bird::PROGRAMS) {
        return Ok(());
    }
    let sandbox = Sandbox::new("bfd-hops")?;
    let [router, middle, far] =
        [sandbox.namespace("router")?, sandbox.namespace("m")?, sandbox.namespace("n")?];
    sandbox.link((&router, "wan"), (&middle, "left"))?;
    sandbox.link((&middle, "right"), (&far, "wan"))?;
    for (namespace, device, net, host) in
        [(&router, "wan", 1, 1), (&middle, "left", 1, 2), (&middle, "right", 2, 2), (&far, "wan", 2, 1)]
    {
        namespace.address(device, &format!("10.99.{net}.{host}/24"))?;
        namespace.address(device, &format!("fd99:{net}::{host}/64"))?;
    }
    middle.forwarding()?;
    for (namespace, other, net) in [(&router, 2, 1), (&far, 1, 2)] {
        namespace.route(&format!("10.99.{other}.0/24"), &format!("10.99.{net}.2"))?;
        namespace.route(&format!("fd99:{other}::/64"), &format!("fd99:{net}::2"))?;
    }
    let there = ["10.99.2.1", "fd99:2::1"];
    let protocol = |index: usize| {
        format!(
            "protocol bgp router{index} {{\n  local {} as 64501;\n  neighbor {} as 64500;\n  multihop 2;\n  bfd on;\n  \
             ipv4 {{ import all; export all; }};\n  ipv6 {{ import all; export all; }};\n}}\n",
            there[index], OURS[index]
        )
    };
    let text = format!("router id 10.99.2.1;\n{BIRD_BFD}{}{}", protocol(0), protocol(1));
    let _bird = Bird::start(&sandbox, &far, "bird", &text)?;
    let mut text = config(FAST).replace("connect-retry", "multihop = 2\nconnect-retry");
    for (from, to) in NEIGHBORS.into_iter().zip(there) {
        text = text.replace(from, to);
    }
    let daemon = Daemon::start(&sandbox, &router, &text)?;
    for neighbor in there {
        daemon.wait_established(neighbor, SESSION)?;
        wait_for_one(&daemon, neighbor, "Up", Some(0.15))?;
        let shown = session(&daemon, neighbor)?;
        ensure!(shown["multihop"] == true && shown["interface"].is_null(), "{shown}");
    }
    // The router in the middle forwards no more.
    middle.run(&["sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"])?;
    let broken = crate::scene::unix_time();
    for neighbor in there {
        daemon.wait_down(neighbor, SOON)?;
        let (at, text) = last_event(&daemon, neighbor, "down")?;
        eprintln!("{neighbor}: down {:.1} ms after the path broke", (at - broken) * 1e3);
        ensure!(text.contains("BFD Down") && at - broken <= WITHIN, "{text} after {}", at - broken);
    }
    Ok(())
}

#[test]
fn packets_of_bfd_reach_us_and_leave_past_xdp() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &tools::PROGRAMS].concat();
    if !daemon::ready("bfd::packets_of_bfd_reach_us_and_leave_past_xdp", &programs) {
        return Ok(());
    }
    let topology = Topology::build(Sandbox::new("bfd-xdp")?)?;
    let text = format!("{BIRD_BFD}{}", topology::bird_config("bfd on;", &V4.more, &V6.more));
    let mut bird = Bird::start(&topology.sandbox, &topology.bird, "bird", &text)?;
    let text = topology::daemon_config().replace("import =", &format!("bfd = {FAST}\nimport ="));
    let daemon = Daemon::start(&topology.sandbox, &topology.router, &text)?;
    for family in &FAMILIES {
        daemon.wait_established(family.bird, SESSION)?;
        wait_for_one(&daemon, family.bird, "Up", Some(0.15))?;
        daemon.wait_installed(family.net_b, true, SOON)?;
        wait_until("host B answers", SESSION, || tools::ping_all(&topology.host_a, None, family.host_b, 1))?;
    }
    std::thread::sleep(Duration::from_secs(2));
    let report = daemon.show_json(&["bfd"])?;
    let dropped: u64 =
        report["dropped"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
    ensure!(dropped == 0, "{report}");
    let wan = daemon.show_json(&["summary"])?["fib"]["ports"].clone();
    ensure!(wan.to_string().contains("native"), "{wan}");
    // A neighbour that is there and does nothing any more.
    let process = bird.program().process().ok_or_else(|| anyhow!("BIRD does not run"))?;
    process.signal(nix::sys::signal::Signal::SIGSTOP)?;
    let stopped = crate::scene::unix_time();
    let outcome = FAMILIES.iter().try_for_each(|family| {
        daemon.wait_down(family.bird, SOON)?;
        let (at, text) = last_event(&daemon, family.bird, "down")?;
        eprintln!("{}: down {:.1} ms after BIRD stopped", family.bird, (at - stopped) * 1e3);
        ensure!(text.contains("BFD Down") && at - stopped <= WITHIN, "{text} after {}", at - stopped);
        daemon.wait_installed(family.net_b, false, SOON)
    });
    process.signal(nix::sys::signal::Signal::SIGCONT)?;
    outcome
}
