//! Traffic leaves sessions before they are shut down (RFC 8326), seen from BIRD and FRR.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(15);
/// What BIRD calls the community.
const MARK: &str = "(65535,0)";

fn bird_config(number: u8, asn: u32) -> String {
    format!(
        "router id 10.99.{number}.2;\n\
         protocol static announced {{ ipv4; route 10.90.0.0/16 blackhole; route 10.9{number}.0.0/24 blackhole; }}\n\
         protocol bgp uplink {{\n  local 10.99.{number}.2 as {asn};\n  neighbor 10.99.{number}.1 as 64500;\n  \
         connect delay time 1;\n  error wait time 1, 2;\n  \
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n"
    )
}

fn config() -> String {
    let neighbor = |number: u8, asn: u32| {
        format!(
            "[[neighbor]]\naddress = \"10.99.{number}.2\"\nasn = {asn}\nfamilies = [\"ipv4-unicast\"]\n\
             import = [\"all\"]\nexport = [\"all\"]\nnext-hop-self = true\n"
        )
    };
    [
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\nrib-threads = 2\n[[network]]\nprefix = \"10.99.10.0/24\"\n",
        &neighbor(1, 64501),
        &neighbor(2, 64500),
        &neighbor(3, 64503),
    ]
    .concat()
}

/// Waits until BIRD has a prefix of ours with these attributes and without those.
fn wait_bird(bird: &Bird, prefix: &str, with: &[&str], without: &[&str]) -> Result<()> {
    wait_until("BIRD has the route as it should be", ROUTES, || {
        let seen = bird.routes(prefix)?;
        let is_so = seen.contains("BGP.as_path")
            && with.iter().all(|part| seen.contains(part))
            && !without.iter().any(|part| seen.contains(part));
        if is_so { Ok(()) } else { Err(anyhow!("{seen}")) }
    })
}

#[test]
fn traffic_leaves_a_session_that_stays_up() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &frr::PROGRAMS].concat();
    if !daemon::ready("graceful_shutdown::traffic_leaves_a_session_that_stays_up", &programs) {
        return Ok(());
    }
    let star = Star::build("leaving", 3)?;
    let start = |number: u8, asn: u32| {
        let namespace = &star.neighbors[usize::from(number) - 1];
        Bird::start(&star.sandbox, namespace, &format!("bird{number}"), &bird_config(number, asn))
    };
    // The first two both have 10.90.0.0/16; the second is of our AS.
    let (first, second) = (start(1, 64501)?, start(2, 64500)?);
    let frr = Frr::start(
        &star.sandbox,
        &star.neighbors[2],
        "frr",
        "router bgp 64503\n bgp router-id 10.99.3.2\n no bgp ebgp-requires-policy\n \
         neighbor 10.99.3.1 remote-as 64500\n neighbor 10.99.3.1 timers connect 1\n",
    )?;
    let config = config();
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    let addresses = ["10.99.1.2", "10.99.2.2", "10.99.3.2"];
    for address in addresses {
        daemon.wait_established(address, SESSION)?;
    }
    let best = |address: &str| {
        wait_until("the best path is that of another neighbor", ROUTES, || {
            let paths = daemon.paths("10.90.0.0/16")?;
            let best = paths.iter().find(|path| path["best"] == true).map(|path| &path["neighbor"]);
            if best.is_some_and(|best| best == address) { Ok(()) } else { Err(anyhow!("{paths:?}")) }
        })
    };
    wait_bird(&first, "10.99.10.0/24", &[], &[MARK])?;
    // The internal path is the shorter one.
    best("10.99.2.2")?;

    // One neighbor, external.
    let said = daemon.run(&["graceful-shutdown", "10.99.1.2"])?;
    ensure!(said.contains("last choice until this is undone"), "{said}");
    wait_bird(&first, "10.99.10.0/24", &[MARK], &[])?;
    wait_bird(&second, "10.99.10.0/24", &["BGP.local_pref: 100"], &[MARK])?;
    // What came from it goes to others within the AS as the last choice too.
    wait_bird(&second, "10.91.0.0/24", &["BGP.local_pref: 0"], &[MARK])?;
    let shown = daemon.show(&["summary"])?;
    ensure!(shown.matches("(graceful shutdown)").count() == 1, "{shown}");
    ensure!(daemon.show(&["neighbors", "10.99.1.2"])?.contains("Leaving"));
    // It holds across a reload, also one with another policy for the neighbor.
    daemon.rewrite(&config.replacen(
        "next-hop-self = true",
        "next-hop-self = true\ndescription = \"one\"",
        1,
    ))?;
    daemon.run(&["reload"])?;
    wait_bird(&first, "10.99.10.0/24", &[MARK], &[])?;
    // And across a reset.
    daemon.clear("10.99.1.2")?;
    daemon.wait_established("10.99.1.2", SESSION)?;
    wait_bird(&first, "10.99.10.0/24", &[MARK], &[])?;
    daemon.run(&["graceful-shutdown", "10.99.1.2", "--undo"])?;
    wait_bird(&first, "10.99.10.0/24", &[], &[MARK])?;
    wait_bird(&second, "10.91.0.0/24", &["BGP.local_pref: 100"], &[])?;

    // One that is of our AS: its path was the best.
    daemon.run(&["graceful-shutdown", "10.99.2.2"])?;
    best("10.99.1.2")?;
    wait_bird(&second, "10.99.10.0/24", &[MARK, "BGP.local_pref: 0"], &[])?;
    daemon.run(&["graceful-shutdown", "10.99.2.2", "--undo"])?;
    best("10.99.2.2")?;

    // All of them.
    daemon.run(&["graceful-shutdown", "all"])?;
    wait_bird(&first, "10.99.10.0/24", &[MARK], &[])?;
    wait_bird(&second, "10.99.10.0/24", &[MARK, "BGP.local_pref: 0"], &[])?;
    let at_frr = || frr.query_json("show bgp ipv4 unicast 10.99.10.0/24 json");
    wait_until("FRR sees the community", ROUTES, || {
        let route = at_frr()?;
        if route["paths"][0]["community"]["string"] == "graceful-shutdown" {
            Ok(())
        } else {
            Err(anyhow!("{route}"))
        }
    })?;
    let on = daemon.metrics()?.by_label("peregrine_session_graceful_shutdown", "neighbor");
    ensure!(on.len() == 3 && on.values().all(|on| *on > 0.5), "{on:?}");
    daemon.run(&["graceful-shutdown", "all", "--undo"])?;
    wait_until("FRR does not see it any more", ROUTES, || {
        let route = at_frr()?;
        let is_plain = route["paths"][0]["community"].is_null() && !route["paths"][0].is_null();
        if is_plain { Ok(()) } else { Err(anyhow!("{route}")) }
    })?;
    wait_bird(&first, "10.99.10.0/24", &[], &[MARK])?;

    let neighbors = daemon.show_json(&["neighbors"])?;
    for (index, address) in addresses.iter().enumerate() {
        let expected = if index == 0 { 2 } else { 1 };
        let seen = &neighbors[index]["established_transitions"];
        ensure!(*seen == expected, "{address} came up {seen} times");
    }
    let history = daemon.show(&["history", "10.99.2.2"])?;
    ensure!(history.contains("begun by the operator") && history.contains("undone"), "{history}");
    let (code, said) = daemon.command(&["graceful-shutdown", "10.99.9.9"])?;
    ensure!(code == 1 && said.contains("no neighbor 10.99.9.9"), "{code} {said}");
    Ok(())
}
