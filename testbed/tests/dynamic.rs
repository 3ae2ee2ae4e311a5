//! Neighbours that are not configured one by one: let in from a range, and gone when they leave.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(30);
const ROUTES: Duration = Duration::from_secs(10);
const ROUTER: &str = "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n";

fn bird_config(number: u8) -> String {
    let asn = 64_500 + u32::from(number);
    format!(
        "router id 10.99.{number}.2;\nprotocol static own {{\n  ipv4;\n  route 10.98.{number}.0/24 blackhole;\n}}\n\
         protocol bgp uplink {{\n  local 10.99.{number}.2 as {asn};\n  neighbor 10.99.{number}.1 as 64500;\n  \
         connect delay time 1;\n  connect retry time 1;\n  error wait time 1, 2;\n  \
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n"
    )
}

fn range(prefix: &str, asn: &str, keys: &str) -> String {
    format!(
        "[[neighbor-range]]\nprefix = \"{prefix}\"\nasn = {asn}\nimport = [\"all\"]\nexport = [\"all\"]\n{keys}\n"
    )
}

/// Dynamic neighbours, and connections refused, of the first range.
fn taken(daemon: &Daemon) -> Result<(u64, u64)> {
    let summary = daemon.show_json(&["summary"])?;
    let range = &summary["ranges"][0];
    let count = |key: &str| range[key].as_u64().ok_or_else(|| anyhow!("no {key} in {summary}"));
    Ok((count("neighbors")?, count("refused")?))
}

#[test]
fn neighbors_in_a_range_come_within_its_limit_and_go() -> Result<()> {
    if !daemon::ready("dynamic::neighbors_in_a_range_come_within_its_limit_and_go", &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("dynamic", 3)?;
    let start = |number: u8| {
        let namespace = &star.neighbors[usize::from(number) - 1];
        Bird::start(&star.sandbox, namespace, &format!("bird{number}"), &bird_config(number))
    };
    let mut first = start(1)?;
    // The third one is in the smaller range, which wants another AS of it.
    let narrow = range("10.99.3.0/24", "64509", "");
    let wide = |limit: u8| range("10.99.0.0/16", "[64501, \"64502-64503\"]", &format!("limit = {limit}"));
    let mut daemon = Daemon::start(&star.sandbox, &star.router, &format!("{ROUTER}{}{narrow}", wide(1)))?;
    daemon.wait_established("10.99.1.2", SESSION)?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 1, ROUTES)?;
    ensure!(daemon.neighbor("10.99.1.2")?["range"] == "10.99.0.0/16");
    ensure!(daemon.show(&["summary"])?.contains("Range 10.99.0.0/16 AS 64501-64503: 1 of 1 neighbors"));

    // One too many, until there is room.
    let second = start(2)?;
    wait_until("the second is refused", SESSION, || {
        let taken = taken(&daemon)?;
        if taken.0 == 1 && taken.1 > 0 { Ok(()) } else { Err(anyhow!("{taken:?}")) }
    })?;
    daemon.rewrite(&format!("{ROUTER}{}{narrow}", wide(2)))?;
    let said = daemon.run(&["reload"])?;
    ensure!(said.contains("~ neighbor-range 10.99.0.0/16: limit: 1 -> 2 (disturbs nothing)"), "{said}");
    daemon.wait_established("10.99.2.2", SESSION)?;
    wait_until("the second has the route of the first", ROUTES, || {
        if second.imported("uplink", "ipv4")? == 1 { Ok(()) } else { Err(anyhow!("not yet")) }
    })?;

    // The longest prefix decides, whatever the wider range would let in.
    let third = start(3)?;
    wait_until("the third is told that its AS is wrong", SESSION, || {
        let shown = third.query("show protocols all uplink")?;
        if shown.contains("Bad peer AS") { Ok(()) } else { Err(anyhow!("{shown}")) }
    })?;
    ensure!(daemon.neighbor("10.99.3.2").is_err());
    let summary = daemon.show_json(&["summary"])?;
    ensure!(summary["ranges"][1]["refused"].as_u64() > Some(0), "{summary}");

    // Who leaves is no neighbour any more, and its place is free.
    first.kill_9()?;
    wait_until("the first is gone", SESSION, || match daemon.neighbor("10.99.1.2") {
        Err(_) => Ok(()),
        Ok(neighbor) => Err(anyhow!("{neighbor}")),
    })?;
    daemon.rewrite(&format!("{ROUTER}{}", wide(2)))?;
    ensure!(daemon.run(&["reload"])?.contains("- neighbor-range 10.99.3.0/24"));
    daemon.wait_established("10.99.3.2", SESSION)?;
    ensure!(daemon.paths("10.98.1.0/24")?.is_empty(), "routes went with it");
    first.launch(&star.sandbox)?;

    // A policy of the range applies to all of them at once; one that is configured by itself starts anew.
    let config = wide(2).replace("export = [\"all\"]", "export = [\"none\"]");
    daemon.rewrite(&format!("{ROUTER}{config}"))?;
    ensure!(daemon.run(&["reload"])?.contains("no session is reset"));
    wait_until("the second has nothing any more", ROUTES, || {
        if second.imported("uplink", "ipv4")? == 0 { Ok(()) } else { Err(anyhow!("not yet")) }
    })?;
    let own = "[[neighbor]]\naddress = \"10.99.2.2\"\nasn = 64502\npassive = true\nimport = [\"all\"]\nexport = [\"all\"]\n";
    daemon.rewrite(&format!("{ROUTER}{config}{own}"))?;
    let said = daemon.run(&["reload"])?;
    ensure!(said.contains("sessions reset: 10.99.2.2"), "{said}");
    wait_until("the second is configured by itself", SESSION, || {
        let neighbor = daemon.neighbor("10.99.2.2")?;
        let up = neighbor["range"].is_null() && neighbor["state"] == "Established";
        if up { Ok(()) } else { Err(anyhow!("{neighbor}")) }
    })?;
    daemon.wait_established("10.99.1.2", SESSION)?;
    daemon.terminate()
}

#[test]
fn who_is_too_far_away_gets_no_place_in_a_range() -> Result<()> {
    if !daemon::ready("dynamic::who_is_too_far_away_gets_no_place_in_a_range", &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("dynamic-far", 1)?;
    let bird = Bird::start(&star.sandbox, &star.neighbors[0], "bird", &bird_config(1))?;
    // The other range is why connections from anywhere may begin.
    let config = [
        ROUTER.to_owned(),
        range("10.99.1.0/24", "64501", "ttl-security = true"),
        range("10.99.9.0/24", "64509", ""),
    ]
    .concat();
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    wait_until("the neighbor is refused", SESSION, || {
        let summary = daemon.show_json(&["summary"])?;
        if summary["ranges"][0]["too_far"].as_u64() > Some(0) { Ok(()) } else { Err(anyhow!("{summary}")) }
    })?;
    ensure!(daemon.neighbor("10.99.1.2").is_err(), "it is a neighbor");
    ensure!(daemon.show(&["summary"])?.contains("from too far away"));
    // Not a word was said to it.
    let shown = bird.query("show protocols all uplink")?;
    ensure!(!shown.contains("Received:"), "{shown}");

    bird.reconfigure(&bird_config(1).replace("connect delay", "ttl security on;\n  connect delay"))?;
    daemon.wait_established("10.99.1.2", SESSION)?;
    ensure!(daemon.show_json(&["neighbors", "10.99.1.2"])?[0]["minimum_ttl"] == 255);
    Ok(())
}
