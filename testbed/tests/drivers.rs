//! The laboratory itself, without the daemon: if this fails, look here first.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::feeder::{Feeder, FeederConfig};
use testbed::lab;
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::table::{Announcer, Table};
use testbed::topology::{FAMILIES, Star, Topology};
use testbed::{capture, netns, skip, tools};

const SESSION: Duration = Duration::from_secs(40);

/// The kernel forwards between two BIRDs; the same checks that judge the daemon must pass there.
#[test]
fn the_lab_forwards_with_bird_and_the_kernel() -> Result<()> {
    let mut programs = [&bird::PROGRAMS[..], &tools::PROGRAMS, &capture::PROGRAMS].concat();
    programs.dedup();
    if !skip::ready("drivers::the_lab_forwards_with_bird_and_the_kernel", &programs) {
        return Ok(());
    }
    let topology = Topology::build(netns::Sandbox::new("drivers-lab")?)?;
    let bird = topology.start_bird()?;
    let _router = topology.start_stand_in()?;
    for family in &FAMILIES {
        bird.wait_established(family.session, SESSION)?;
        wait_until("host B answers", SESSION, || tools::ping_all(&topology.host_a, None, family.host_b, 1))?;
        lab::capture_hop_limits(&topology, family)?;
        let hops = tools::traceroute(&topology.host_a, family.host_b)?;
        ensure!(hops == [family.router_lan, family.bird, family.host_b], "{hops:?}");
    }
    // BIRD's routes are in this router's kernel: the check for that must see them.
    ensure!(topology.no_bgp_route_in_the_kernel().is_err(), "routes by BIRD in the kernel went unnoticed");
    Ok(())
}

#[test]
fn bird_takes_a_generated_table_from_the_feeder() -> Result<()> {
    if !skip::ready("drivers::bird_takes_a_generated_table_from_the_feeder", &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("drivers-feed", 1)?;
    let config = "router id 10.99.0.1;\nprotocol bgp feeder {\n  local 10.99.1.1 as 64500;\n  \
                  neighbor 10.99.1.2 as 64501;\n  passive on;\n  ipv4 { import all; export none; };\n  \
                  ipv6 { import all; export none; };\n}\n";
    let bird = Bird::start(&star.sandbox, &star.router, "bird", config)?;
    let table = Table::generate(20_000, 5_000, 1);
    let announcer = Announcer {
        asn: 64501,
        next_hop_v4: "10.99.1.2".parse()?,
        next_hop_v6: "fd99:1::2".parse()?,
        seed: 1,
    };
    let config = FeederConfig {
        local: "10.99.1.2".parse()?,
        remote: "10.99.1.1:179".parse()?,
        asn: 64501,
        router_id: "10.99.1.2".parse()?,
        hold_time: 90,
    };
    let feeder = star.neighbors[0].enter(|| Feeder::connect(&config, SESSION))?;
    feeder.send(&table.encode(&announcer).messages)?;
    wait_until("BIRD has the whole table", SESSION, || {
        let counts = (bird.imported("feeder", "ipv4")?, bird.imported("feeder", "ipv6")?);
        ensure!(counts == (20_000, 5_000), "{counts:?}");
        Ok(())
    })?;
    ensure!(feeder.closed().is_none(), "{:?}", feeder.closed());
    Ok(())
}

#[test]
fn frr_and_bird_exchange_routes_and_survive_a_kill() -> Result<()> {
    let programs = [frr::PROGRAMS, bird::PROGRAMS].concat();
    if !skip::ready("drivers::frr_and_bird_exchange_routes_and_survive_a_kill", &programs) {
        return Ok(());
    }
    let star = Star::build("drivers-frr", 1)?;
    let config = "router id 10.99.0.1;\nprotocol static announce4 { ipv4; route 10.97.0.0/16 blackhole; }\n\
                  protocol bgp frr {\n  local 10.99.1.1 as 64500;\n  neighbor 10.99.1.2 as 64501;\n  \
                  connect delay time 1;\n  error wait time 1, 2;\n  graceful restart off;\n  \
                  ipv4 { import all; export where source = RTS_STATIC; };\n}\n";
    let bird = Bird::start(&star.sandbox, &star.router, "bird", config)?;
    let config = "router bgp 64501\n bgp router-id 10.99.1.2\n no bgp ebgp-requires-policy\n \
                  no bgp network import-check\n neighbor 10.99.1.1 remote-as 64500\n \
                  neighbor 10.99.1.1 timers connect 1\n network 10.98.0.0/16\n";
    let mut frr = Frr::start(&star.sandbox, &star.neighbors[0], "frr", config)?;
    frr.wait_established("10.99.1.1", SESSION)?;
    wait_until("one route each way", SESSION, || {
        let counts = (
            bird.imported("frr", "ipv4")?,
            frr.prefix_count("10.99.1.1", "ipv4Unicast", "acceptedPrefixCounter")?,
        );
        ensure!(counts == (1, 1), "{counts:?}");
        Ok(())
    })?;
    frr.kill_9()?;
    wait_until("BIRD has lost the route", SESSION, || {
        let imported = bird.imported("frr", "ipv4").unwrap_or(0);
        ensure!(imported == 0, "{imported}");
        Ok(())
    })?;
    frr.launch(&star.sandbox)?;
    bird.wait_established("frr", Duration::from_secs(90))
}
