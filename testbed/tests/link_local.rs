//! Sessions between the addresses of a link, with BIRD and FRR: no other addresses are needed on it.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use testbed::daemon::{self, Daemon};
use testbed::netns::{Namespace, Sandbox};
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::tools;
use testbed::topology::Topology;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(15);

/// The link-local address that a device gave itself, once it may be used.
fn link_local(namespace: &Namespace, device: &str) -> Result<String> {
    let mut found = String::new();
    wait_until("the device has an address", ROUTES, || {
        let text = namespace.ip_output(&["-6", "-o", "address", "show", "dev", device, "scope", "link"])?;
        ensure!(!text.contains("tentative"), "{text}");
        let address = text.split_whitespace().find(|word| word.starts_with("fe80::")).context("none")?;
        address.split('/').next().unwrap_or_default().clone_into(&mut found);
        Ok(())
    })?;
    Ok(found)
}

/// Host A - router - neighbor - host B, where the link in the middle has no addresses but its own.
fn topology(name: &str) -> Result<Topology> {
    let topology = Topology::build(Sandbox::new(name)?)?;
    for (namespace, host) in [(&topology.router, 1), (&topology.bird, 2)] {
        namespace.ip_output(&["address", "del", &format!("10.99.1.{host}/24"), "dev", "wan"])?;
        namespace.ip_output(&["address", "del", &format!("fd99:1::{host}/64"), "dev", "wan"])?;
    }
    Ok(topology)
}

fn config(address: &str) -> String {
    format!(
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n[fib]\ninterfaces = [\"lan\", \"wan\"]\n\
         [[network]]\nprefix = \"10.99.10.0/24\"\n[[network]]\nprefix = \"fd99:10::/64\"\n\
         [[neighbor]]\naddress = \"{address}%wan\"\nasn = 64501\nimport = [\"all\"]\nexport = [\"all\"]\n\
         extended-next-hop = true\nconnect-retry = 1\n"
    )
}

/// How many packets are forwarded meanwhile.
fn forwarded_by(daemon: &Daemon, act: impl FnOnce() -> Result<String>) -> Result<u64> {
    let before = daemon.verdicts()?["forwarded"];
    act()?;
    Ok(daemon.verdicts()?["forwarded"] - before)
}

/// Routes of both families, shown with their link, and packets of both families along them.
fn check(topology: &Topology, daemon: &Daemon, neighbor: &str) -> Result<()> {
    for prefix in ["10.99.20.0/24", "fd99:20::/64"] {
        daemon.wait_installed(prefix, true, ROUTES)?;
        let path = daemon.paths(prefix)?.into_iter().next().context("no path")?;
        ensure!(path["next_hop"] == neighbor && path["neighbor"] == neighbor, "{path}");
        let shown = daemon.show(&["fib", prefix])?;
        ensure!(shown.contains(neighbor) && shown.contains("dev wan"), "{shown}");
    }
    for target in ["10.99.20.2", "fd99:20::2"] {
        // The kernel finds out the MACs of the hosts by the first packets.
        wait_until("a ping and its answer are forwarded", ROUTES, || {
            let forwarded = forwarded_by(daemon, || tools::ping_all(&topology.host_a, None, target, 1))?;
            ensure!(forwarded == 2, "{forwarded} packets to and from {target}");
            Ok(())
        })?;
        let forwarded = forwarded_by(daemon, || tools::ping_all(&topology.host_a, None, target, 5))?;
        ensure!(forwarded == 10, "{forwarded} packets to and from {target}");
    }

    ensure!(daemon.show(&["summary"])?.contains(neighbor));
    ensure!(daemon.show(&["neighbors", neighbor])?.contains("Established"));
    ensure!(daemon.show(&["history", neighbor])?.contains("established"));
    ensure!(daemon.show(&["routes", "--received", neighbor])?.contains("10.99.20.0/24"));
    ensure!(daemon.show(&["nexthops"])?.contains("link-local"));
    Ok(())
}

#[test]
fn bird_and_we_are_neighbors_on_a_link() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &tools::PROGRAMS].concat();
    if !daemon::ready("link_local::bird_and_we_are_neighbors_on_a_link", &programs) {
        return Ok(());
    }
    let topology = topology("link-bird")?;
    let (ours, theirs) = (link_local(&topology.router, "wan")?, link_local(&topology.bird, "wan")?);
    let bird = Bird::start(
        &topology.sandbox,
        &topology.bird,
        "bird",
        &format!(
            "router id 10.99.1.2;\n\
             protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}\n\
             protocol kernel {{ ipv6 {{ import none; export where source = RTS_BGP; }}; }}\n\
             protocol static announce4 {{ ipv4; route 10.99.20.0/24 via \"lan\"; }}\n\
             protocol static announce6 {{ ipv6; route fd99:20::/64 via \"lan\"; }}\n\
             protocol bgp uplink {{\n  local as 64501;\n  neighbor {ours}%wan as 64500;\n  connect delay time 1;\n  \
             error wait time 1, 2;\n  \
             ipv4 {{ extended next hop; import all; export where source = RTS_STATIC; next hop self; }};\n  \
             ipv6 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n"
        ),
    )?;
    let daemon = Daemon::start(&topology.sandbox, &topology.router, &config(&theirs))?;
    let neighbor = format!("{theirs}%wan");
    bird.wait_established("uplink", SESSION)?;
    daemon.wait_established(&neighbor, SESSION)?;
    for prefix in ["10.99.10.0/24", "fd99:10::/64"] {
        wait_until("BIRD has our route", ROUTES, || {
            let seen = bird.routes(prefix)?;
            if seen.contains(&format!("via {ours} on wan")) { Ok(()) } else { Err(anyhow!("{seen}")) }
        })?;
    }
    check(&topology, &daemon, &neighbor)?;

    // The session comes back whoever connects, and after the link was away.
    daemon.clear(&neighbor)?;
    daemon.wait_established(&neighbor, SESSION)?;
    let text = config(&theirs).replace("connect-retry = 1", "passive = true");
    daemon.rewrite(&text)?;
    let said = daemon.run(&["reload"])?;
    ensure!(said.contains(&format!("~ neighbor {neighbor}")), "{said}");
    daemon.clear(&neighbor)?;
    daemon.wait_established(&neighbor, SESSION)?;
    check(&topology, &daemon, &neighbor)
}

#[test]
fn frr_and_we_are_neighbors_on_a_link() -> Result<()> {
    let programs = [&frr::PROGRAMS[..], &tools::PROGRAMS].concat();
    if !daemon::ready("link_local::frr_and_we_are_neighbors_on_a_link", &programs) {
        return Ok(());
    }
    let topology = topology("link-frr")?;
    let (ours, theirs) = (link_local(&topology.router, "wan")?, link_local(&topology.bird, "wan")?);
    let frr = Frr::start_with_zebra(
        &topology.sandbox,
        &topology.bird,
        "frr",
        &format!(
            "router bgp 64501\n bgp router-id 10.99.1.2\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
             neighbor {ours} remote-as 64500\n neighbor {ours} interface wan\n neighbor {ours} timers connect 1\n \
             neighbor {ours} capability extended-nexthop\n \
             address-family ipv4 unicast\n  network 10.99.20.0/24\n exit-address-family\n \
             address-family ipv6 unicast\n  neighbor {ours} activate\n  network fd99:20::/64\n exit-address-family\n"
        ),
    )?;
    let daemon = Daemon::start(&topology.sandbox, &topology.router, &config(&theirs))?;
    let neighbor = format!("{theirs}%wan");
    frr.wait_established(&ours, SESSION)?;
    daemon.wait_established(&neighbor, SESSION)?;
    check(&topology, &daemon, &neighbor)
}
