//! A route server on a LAN with clients that are BIRD, GoBGP and OpenBGPD.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use testbed::daemon::{self, Daemon};
use testbed::netns::Sandbox;
use testbed::peers::bird::{self, Bird};
use testbed::peers::gobgp::{self, Gobgp};
use testbed::peers::openbgpd::{self, Openbgpd};
use testbed::process::wait_until;
use testbed::skip;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(20);

/// Client `n`, AS 6450`n`, with a network of its own and one that two of them have.
fn bird_config(n: u8, more: &str) -> String {
    format!(
        "router id 10.99.0.{n};\n\
         protocol static own {{ ipv4; route 10.98.{n}.0/24 blackhole; route 10.97.0.0/16 blackhole; }}\n\
         protocol bgp server {{\n  local 10.99.0.{n} as 6450{n};\n  neighbor 10.99.0.100 as 64500;\n  \
         enforce first as off;\n  connect delay time 1;\n  error wait time 1, 5;\n  \
         ipv4 {{ import all; export filter {{ if source != RTS_STATIC then reject; {more} accept; }}; }};\n}}\n"
    )
}

const GOBGP: &str = "[global.config]\nas = 64503\nrouter-id = \"10.99.0.3\"\n\n\
    [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.99.0.100\"\npeer-as = 64500\n\
    [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n";

const OPENBGPD: &str = "AS 64504\nrouter-id 10.99.0.4\nnetwork 10.98.4.0/24\nneighbor 10.99.0.100 {\n  \
    remote-as 64500\n  enforce neighbor-as no\n}\nallow from any\nallow to any\n";

/// Client 4 must not get what client 1 announces.
const DAEMON: &str = "[router]\nasn = 64500\nrouter-id = \"10.99.0.100\"\n\n\
    [[policy]]\nname = \"not-from-1\"\ndefault = \"accept\"\n\
    [[policy.rule]]\nmatch = { from = \"10.99.0.1\" }\naction = \"reject\"\n";

#[test]
fn clients_see_each_other_and_not_the_server() -> Result<()> {
    let name = "route_server::clients_see_each_other_and_not_the_server";
    if !daemon::ready(name, &bird::PROGRAMS) {
        return Ok(());
    }
    let sandbox = Sandbox::new("route-server")?;
    let server = sandbox.namespace("server")?;
    server.ip(&["link", "add", "lan", "type", "bridge"])?;
    server.ip(&["link", "set", "lan", "up"])?;
    server.address("lan", "10.99.0.100/24")?;
    let mut clients = Vec::new();
    let mut config = DAEMON.to_owned();
    for n in 1..=4 {
        let client = sandbox.namespace(&format!("c{n}"))?;
        let port = format!("port{n}");
        sandbox.link((&server, &port), (&client, "lan"))?;
        server.ip(&["link", "set", &port, "master", "lan"])?;
        client.address("lan", &format!("10.99.0.{n}/24"))?;
        clients.push(client);
        let export = if n == 4 { "not-from-1" } else { "all" };
        config.push_str(&format!(
            "\n[[neighbor]]\naddress = \"10.99.0.{n}\"\nasn = 6450{n}\nfamilies = [\"ipv4-unicast\"]\n\
             route-server-client = true\nimport = [\"all\"]\nexport = [\"{export}\"]\n"
        ));
    }
    let first = "bgp_med = 30; bgp_community.add((65535, 65281)); if net = 10.97.0.0/16 then bgp_path.prepend(64501);";
    let second = "if net = 10.97.0.0/16 then { bgp_path.prepend(64502); bgp_path.prepend(64502); }";
    let one = Bird::start(&sandbox, &clients[0], "one", &bird_config(1, first))?;
    let two = Bird::start(&sandbox, &clients[1], "two", &bird_config(2, second))?;
    let daemon = Daemon::start(&sandbox, &server, &config)?;
    for n in 1..=2 {
        daemon.wait_established(&format!("10.99.0.{n}"), SESSION)?;
    }
    // As the one sent it, so the other has it: no AS, no next hop of the server, the MED there.
    wait_until("client 2 has the route of client 1", ROUTES, || {
        let answer = two.routes("10.98.1.0/24")?;
        let has = |line: &str| answer.lines().any(|shown| shown.trim() == line);
        let lines = ["BGP.as_path: 64501", "BGP.next_hop: 10.99.0.1", "BGP.med: 30"];
        if lines.iter().all(|line| has(line)) { Ok(()) } else { Err(anyhow!("{answer}")) }
    })?;
    // What is best for all is client 1's own: it gets the next best.
    wait_until("client 1 has the common route of client 2", ROUTES, || {
        let answer = one.routes("10.97.0.0/16")?;
        let path = "BGP.as_path: 64502 64502 64502";
        if answer.contains(path) && answer.contains("10.99.0.2") { Ok(()) } else { Err(anyhow!("{answer}")) }
    })?;
    // And so does the client that its policy keeps from the best one.
    let wanted = |paths: &[serde_json::Value], path: &str| paths.iter().any(|shown| shown["as_path"] == path);
    if skip::ready(&format!("{name} (GoBGP)"), &gobgp::PROGRAMS) {
        let _gobgp = Gobgp::start(&sandbox, &clients[2], "gobgp", GOBGP)?;
        daemon.wait_established("10.99.0.3", SESSION)?;
        wait_until("GoBGP has the common route of client 1", ROUTES, || {
            let answer = clients[2].run(&["gobgp", "-u", "127.0.0.1", "global", "rib", "10.97.0.0/16"])?;
            let best = answer.lines().find(|line| line.contains("*>")).unwrap_or_default().to_owned();
            let (hop, path) = ("10.99.0.1 ", "64501 64501 ");
            if best.contains(hop) && best.contains(path) { Ok(()) } else { Err(anyhow!("{answer}")) }
        })?;
    }
    if skip::ready(&format!("{name} (OpenBGPD)"), &openbgpd::PROGRAMS) {
        let _openbgpd = Openbgpd::start(&sandbox, &clients[3], "openbgpd", OPENBGPD)?;
        daemon.wait_established("10.99.0.4", SESSION)?;
        let socket = sandbox.directory().join("openbgpd.sock").display().to_string();
        wait_until("OpenBGPD has the common route of client 2", ROUTES, || {
            let answer = clients[3].run(&["bgpctl", "-s", &socket, "show", "rib", "10.97.0.0/16"])?;
            let line = answer.lines().find(|line| line.contains("10.97.0.0/16")).unwrap_or_default();
            let right = line.contains("10.99.0.2") && line.contains("64502 64502 64502");
            if right { Ok(()) } else { Err(anyhow!("{answer}")) }
        })?;
        ensure!(
            daemon.show_json(&["routes", "--advertised", "10.99.0.4"])?.to_string().contains("10.98.2.0/24")
        );
        let lone = daemon.show(&["routes", "10.98.1.0/24", "--advertised", "10.99.0.4"]);
        ensure!(!lone.is_ok_and(|shown| shown.contains("64501")), "client 4 is sent a route of client 1");
        // The other one goes: then there is none for client 4, and the server's best stays.
        two.query("disable own")?;
        wait_until("OpenBGPD has lost the common route", ROUTES, || {
            let answer = clients[3].run(&["bgpctl", "-s", &socket, "show", "rib", "10.97.0.0/16"])?;
            if answer.contains("10.97.0.0/16") { Err(anyhow!("{answer}")) } else { Ok(()) }
        })?;
        ensure!(wanted(&daemon.paths("10.97.0.0/16")?, "64501 64501"), "the route of client 1 is gone");
    }
    Ok(())
}
