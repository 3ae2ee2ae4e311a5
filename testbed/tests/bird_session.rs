//! Sessions with BIRD: what it announces is what we have, in both families and through changes.
//!
//! The control plane alone (no `[fib]`), so that a failure here is one of BGP, not of forwarding.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(30);
const ROUTES: Duration = Duration::from_secs(10);
const ROUTER: &str = "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n";
const FAMILIES: [(&str, &str); 2] = [("ipv4-unicast", "ipv4"), ("ipv6-unicast", "ipv6")];

/// BIRD as neighbour `number`, one session for both families, announcing `count` routes of each.
fn bird_config(number: u8, asn: u32, count: u32, attributes: &str) -> String {
    let mut parts = vec![format!("router id 10.99.{number}.2;\n")];
    for channel in ["ipv4", "ipv6"] {
        parts.push(format!("protocol static routes_{channel} {{\n  {channel};\n"));
        for i in 0..count {
            let prefix =
                if channel == "ipv4" { format!("10.98.{i}.0/24") } else { format!("fd98:0:{i:x}::/48") };
            parts.push(format!("  route {prefix} blackhole {{ {attributes} }};\n"));
        }
        parts.push("}\n".to_owned());
    }
    parts.push(format!(
        "protocol bgp uplink {{\n  local 10.99.{number}.2 as {asn};\n  neighbor 10.99.{number}.1 as 64500;\n  \
         connect delay time 1;\n  error wait time 1, 3;\n  \
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};\n  \
         ipv6 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n"
    ));
    parts.concat()
}

fn neighbor(number: u8, asn: u32, import: &str) -> String {
    format!("\n[[neighbor]]\naddress = \"10.99.{number}.2\"\nasn = {asn}\n{import}export = [\"all\"]\n")
}

fn routes_equal(daemon: &Daemon, bird: &Bird, which: &str) -> Result<u64> {
    let mut total = 0;
    for (family, channel) in FAMILIES {
        total += wait_until(&format!("{which} {family} routes as BIRD counts"), ROUTES, || {
            let exported = bird.exported("uplink", channel)?;
            let seen = daemon.count("10.99.1.2", family, which)?;
            if seen == exported { Ok(seen) } else { Err(anyhow!("we have {seen}, BIRD exports {exported}")) }
        })?;
    }
    Ok(total)
}

#[test]
fn routes_of_both_families_come_go_and_come_back() -> Result<()> {
    if !daemon::ready("bird_session::routes_of_both_families_come_go_and_come_back", &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("bird-session", 1)?;
    let mut bird = Bird::start(&star.sandbox, &star.neighbors[0], "bird", &bird_config(1, 64501, 100, ""))?;
    let config = format!("{ROUTER}{}", neighbor(1, 64501, "import = [\"all\"]\n"));
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    bird.wait_established("uplink", SESSION)?;
    daemon.wait_established("10.99.1.2", SESSION)?;
    for which in ["received", "accepted", "best"] {
        daemon.wait_count("10.99.1.2", "ipv4-unicast", which, 100, ROUTES)?;
        ensure!(routes_equal(&daemon, &bird, which)? == 200);
    }

    // Withdrawn: half by half.
    bird.query("disable routes_ipv4")?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "received", 0, ROUTES)?;
    ensure!(routes_equal(&daemon, &bird, "best")? == 100);
    bird.query("enable routes_ipv4")?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 100, ROUTES)?;

    // Changed attributes replace the path, they do not add one.
    bird.reconfigure(&bird_config(1, 64501, 100, "bgp_med = 77;"))?;
    wait_until("the new MED", ROUTES, || {
        let paths = daemon.paths("10.98.7.0/24")?;
        ensure!(paths.len() == 1, "{} paths", paths.len());
        ensure!(paths[0]["med"] == 77, "{}", paths[0]);
        Ok(())
    })?;

    // Killed: routes leave. Back: they return.
    bird.kill_9()?;
    daemon.wait_down("10.99.1.2", SESSION)?;
    for (family, _) in FAMILIES {
        wait_until("no routes are left", ROUTES, || {
            let rib = daemon.show_json(&["summary"])?["rib"][family].clone();
            if rib["paths"] == 0 { Ok(()) } else { Err(anyhow!("{rib}")) }
        })?;
    }
    bird.launch(&star.sandbox)?;
    daemon.wait_established("10.99.1.2", Duration::from_secs(90))?;
    daemon.wait_count("10.99.1.2", "ipv6-unicast", "best", 100, ROUTES)?;
    ensure!(routes_equal(&daemon, &bird, "best")? == 200);
    Ok(())
}

#[test]
fn an_external_neighbor_without_policy_moves_nothing() -> Result<()> {
    if !daemon::ready("bird_session::an_external_neighbor_without_policy_moves_nothing", &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("bird-rfc8212", 1)?;
    let bird = Bird::start(&star.sandbox, &star.neighbors[0], "bird", &bird_config(1, 64501, 10, ""))?;
    let config = format!(
        "{ROUTER}\n[[network]]\nprefix = \"10.97.0.0/16\"\n\n[[neighbor]]\naddress = \"10.99.1.2\"\nasn = 64501\n"
    );
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    daemon.wait_established("10.99.1.2", SESSION)?;
    for (family, _) in FAMILIES {
        daemon.wait_count("10.99.1.2", family, "received", 10, ROUTES)?;
        for which in ["accepted", "best"] {
            let count = daemon.count("10.99.1.2", family, which)?;
            ensure!(count == 0, "{count} {family} routes {which} without a policy (RFC 8212)");
        }
    }
    ensure!(bird.imported("uplink", "ipv4")? == 0, "BIRD was sent a route without an export policy");
    let paths = daemon.paths("10.98.1.0/24")?;
    ensure!(paths.len() == 1 && paths[0]["usable"] == false, "kept and marked: {paths:?}");
    Ok(())
}

/// Routes of two BIRDs: the second one's local preference, set by policy, beats a shorter path;
/// equal otherwise, the lower MED of the same neighbour AS wins.
#[test]
fn local_preference_and_med_choose_between_two_neighbors() -> Result<()> {
    if !daemon::ready("bird_session::local_preference_and_med_choose_between_two_neighbors", &bird::PROGRAMS)
    {
        return Ok(());
    }
    let star = Star::build("bird-best", 2)?;
    let first = bird_config(1, 64501, 20, "bgp_med = 20;");
    let second = bird_config(2, 64501, 20, "bgp_med = 10;");
    let _first = Bird::start(&star.sandbox, &star.neighbors[0], "bird1", &first)?;
    let second = Bird::start(&star.sandbox, &star.neighbors[1], "bird2", &second)?;
    let config = format!(
        "{ROUTER}{}{}\n[[prefix-list]]\nname = \"preferred\"\nprefixes = [\"10.98.0.0/20 le 24\"]\n\n\
         [[policy]]\nname = \"prefer\"\ndefault = \"accept\"\n\n\
         [[policy.rule]]\nmatch = {{ prefix-list = \"preferred\" }}\nset = {{ local-pref = 200 }}\naction = \"accept\"\n",
        neighbor(1, 64501, "import = [\"prefer\"]\n"),
        neighbor(2, 64501, "import = [\"all\"]\n"),
    );
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    for address in ["10.99.1.2", "10.99.2.2"] {
        daemon.wait_count(address, "ipv4-unicast", "accepted", 20, SESSION)?;
    }
    let best = |prefix: &str| -> Result<String> {
        let paths = daemon.paths(prefix)?;
        ensure!(paths.len() == 2, "{} paths of {prefix}", paths.len());
        ensure!(paths[0]["best"] == true && paths[1]["best"] == false, "best first: {paths:?}");
        Ok(paths[0]["neighbor"].as_str().unwrap_or_default().to_owned())
    };
    // 10.98.0.0 to 10.98.15.0 by local preference, the rest by MED.
    ensure!(best("10.98.3.0/24")? == "10.99.1.2", "local preference 200 wins over a lower MED");
    ensure!(best("10.98.17.0/24")? == "10.99.2.2", "MED 10 wins over 20");
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 16, ROUTES)?;
    daemon.wait_count("10.99.2.2", "ipv4-unicast", "best", 4, ROUTES)?;
    // When the second goes, the first has them all.
    second.query("disable uplink")?;
    daemon.wait_down("10.99.2.2", SESSION)?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 20, ROUTES)
}

#[test]
fn an_originated_network_reaches_bird_with_our_as_and_next_hop() -> Result<()> {
    if !daemon::ready(
        "bird_session::an_originated_network_reaches_bird_with_our_as_and_next_hop",
        &bird::PROGRAMS,
    ) {
        return Ok(());
    }
    let star = Star::build("bird-export", 2)?;
    let bird = Bird::start(&star.sandbox, &star.neighbors[0], "bird1", &bird_config(1, 64501, 0, ""))?;
    let origin = Bird::start(&star.sandbox, &star.neighbors[1], "bird2", &bird_config(2, 64502, 5, ""))?;
    let config = format!(
        "{ROUTER}\n[[network]]\nprefix = \"10.97.0.0/16\"\n\n[[network]]\nprefix = \"fd97::/32\"\n{}{}",
        neighbor(1, 64501, "import = [\"all\"]\n"),
        neighbor(2, 64502, "import = [\"all\"]\n"),
    );
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    bird.wait_established("uplink", SESSION)?;
    origin.wait_established("uplink", SESSION)?;
    let has = |prefix: &str, as_path: &str, next_hop: &str| {
        wait_until(&format!("BIRD has {prefix}"), ROUTES, || {
            let routes = bird.routes(prefix)?;
            ensure!(
                routes.contains(&format!("BGP.as_path: {as_path}\n")),
                "expected path {as_path}: {routes}"
            );
            ensure!(
                routes.contains(&format!("BGP.next_hop: {next_hop}")),
                "expected next hop {next_hop}: {routes}"
            );
            Ok(())
        })
    };
    has("10.97.0.0/16", "64500", "10.99.1.1")?;
    has("fd97::/32", "64500", "fd99:1::1")?;
    has("10.98.2.0/24", "64500 64502", "10.99.1.1")?;
    has("fd98:0:2::/48", "64500 64502", "fd99:1::1")?;
    let advertised = daemon.show_json(&["routes", "--advertised", "10.99.1.2"])?;
    let advertised = advertised.as_array().map_or(0, Vec::len);
    // Two networks of ours, five routes of each family from BIRD 2.
    ensure!(advertised == 12, "{advertised} routes shown as advertised, expected 12");
    // Nothing goes back to where it came from.
    ensure!(origin.imported("uplink", "ipv4")? == 1, "BIRD 2 gets our network only");
    origin.query("disable routes_ipv4")?;
    wait_until("the withdraw has reached BIRD 1", ROUTES, || {
        let imported = bird.imported("uplink", "ipv4")?;
        if imported == 1 { Ok(()) } else { Err(anyhow!("{imported} imported")) }
    })
}
