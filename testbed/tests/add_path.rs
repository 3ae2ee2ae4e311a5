//! Several paths of a prefix (RFC 7911) with BIRD, FRR and GoBGP at once: each sends and takes them, so that
//! each of them checks the identifiers that we write, and we those that three others write.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::peers::gobgp::{self, Gobgp};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(15);
const BIRD: &str = "10.99.1.2";
const FRR: &str = "10.99.2.2";
const GOBGP: &str = "10.99.3.2";
const V4: &str = "10.98.0.0/24";
const V6: &str = "fd98::/48";

/// Two static protocols with the same prefixes, and all that is known goes to us.
fn bird_config() -> String {
    let mut text = "router id 10.99.1.2;\n".to_owned();
    for (number, name) in [(1, "one"), (2, "two")] {
        for (channel, prefix) in [("ipv4", V4), ("ipv6", V6)] {
            text.push_str(&format!(
                "protocol static {name}_{channel} {{\n  {channel};\n  route {prefix} blackhole {{ \
                 bgp_community.add((64501, {number})); }};\n}}\n"
            ));
        }
    }
    text.push_str(
        "protocol bgp uplink {\n  local 10.99.1.2 as 64501;\n  neighbor 10.99.1.1 as 64500;\n  \
         connect delay time 1;\n  error wait time 1, 3;\n",
    );
    for channel in ["ipv4", "ipv6"] {
        text.push_str(&format!(
            "  {channel} {{ add paths on; import all; export where source = RTS_STATIC; next hop self; }};\n"
        ));
    }
    text.push_str("}\n");
    text
}

fn frr_config() -> String {
    format!(
        "hostname frr\nrouter bgp 64502\n bgp router-id 10.99.2.2\n no bgp ebgp-requires-policy\n \
         no bgp default ipv4-unicast\n no bgp network import-check\n \
         timers bgp 3 9\n neighbor 10.99.2.1 remote-as 64500\n neighbor 10.99.2.1 timers connect 1\n \
         address-family ipv4 unicast\n  neighbor 10.99.2.1 activate\n  neighbor 10.99.2.1 addpath-tx-all-paths\n  \
         network {V4}\n exit-address-family\n \
         address-family ipv6 unicast\n  neighbor 10.99.2.1 activate\n  neighbor 10.99.2.1 addpath-tx-all-paths\n \
         exit-address-family\n"
    )
}

const GOBGP_CONFIG: &str = "[global.config]\nas = 64503\nrouter-id = \"10.99.3.2\"\n\
    [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.99.3.1\"\npeer-as = 64500\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n\
    [neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8\n";

fn config() -> String {
    let neighbor = |address: &str, asn: u32, send: &str| {
        format!(
            "\n[[neighbor]]\naddress = \"{address}\"\nasn = {asn}\nimport = [\"all\"]\nexport = [\"all\"]\n\
             add-path = {{ receive = true, send = {send} }}\n"
        )
    };
    format!(
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n{}{}{}",
        neighbor(BIRD, 64501, "\"all\""),
        neighbor(FRR, 64502, "\"all\""),
        neighbor(GOBGP, 64503, "2")
    )
}

/// The identifiers of a neighbour's usable paths of a prefix.
fn received(daemon: &Daemon, prefix: &str, from: &str) -> Result<BTreeSet<u64>> {
    let paths = daemon.paths(prefix)?;
    let of_neighbor = paths.iter().filter(|path| path["neighbor"] == from && path["usable"] == true);
    let ids: Vec<u64> = of_neighbor.filter_map(|path| path["path_id"].as_u64()).collect();
    let distinct: BTreeSet<u64> = ids.iter().copied().collect();
    ensure!(ids.len() == distinct.len(), "the same identifier twice: {paths:?}");
    Ok(distinct)
}

/// How many paths FRR has of a prefix from us.
fn at_frr(frr: &Frr, family: &str, prefix: &str) -> Result<usize> {
    let route = frr.query_json(&format!("show bgp {family} unicast {prefix} json"))?;
    let paths = route["paths"].as_array().cloned().unwrap_or_default();
    Ok(paths.iter().filter(|path| path["peer"]["peerId"] == "10.99.2.1").count())
}

fn wait_for(what: &str, expected: usize, count: impl Fn() -> Result<usize>) -> Result<()> {
    wait_until(what, ROUTES, || {
        let seen = count()?;
        ensure!(seen == expected, "{seen}, expected {expected}");
        Ok(())
    })
}

#[test]
fn several_paths_go_both_ways_with_bird_frr_and_gobgp() -> Result<()> {
    let programs: Vec<&str> = [&bird::PROGRAMS[..], &frr::PROGRAMS, &gobgp::PROGRAMS].concat();
    if !daemon::ready("add_path::several_paths_go_both_ways_with_bird_frr_and_gobgp", &programs) {
        return Ok(());
    }
    let star = Star::build("add-path", 3)?;
    let mut bird = Bird::start(&star.sandbox, &star.neighbors[0], "bird", &bird_config())?;
    let frr = Frr::start(&star.sandbox, &star.neighbors[1], "frr", &frr_config())?;
    let gobgp = Gobgp::start(&star.sandbox, &star.neighbors[2], "gobgp", GOBGP_CONFIG)?;
    for identifier in ["7", "9"] {
        gobgp.query(&format!("global rib add {V4} identifier {identifier} community 64503:{identifier}"))?;
    }
    let daemon = Daemon::start(&star.sandbox, &star.router, &config())?;
    for address in [BIRD, FRR, GOBGP] {
        daemon.wait_established(address, SESSION)?;
    }

    // In: two paths of BIRD in both families, two of GoBGP, one of FRR's own.
    for (from, prefix, count) in [(BIRD, V4, 2), (BIRD, V6, 2), (GOBGP, V4, 2), (FRR, V4, 1)] {
        let what = format!("paths of {prefix} from {from}");
        wait_for(&what, count, || Ok(received(&daemon, prefix, from)?.len()))?;
    }
    // Out: BIRD and FRR get all the others', GoBGP two, which are BIRD's by its router id.
    let at_bird = |prefix: &str| Ok(bird.routes(prefix)?.matches("[uplink ").count());
    let at_gobgp = || Ok(gobgp.query("neighbor 10.99.3.1 adj-in")?.matches(V4).count());
    wait_for("paths at BIRD", 3, || at_bird(V4))?;
    wait_for("paths at FRR", 4, || at_frr(&frr, "ipv4", V4))?;
    wait_for("IPv6 paths at FRR", 2, || at_frr(&frr, "ipv6", V6))?;
    wait_for("paths at GoBGP", 2, at_gobgp)?;
    let advertised = daemon.show_json(&["routes", V4, "--advertised", FRR])?;
    let ids: BTreeSet<Option<u64>> = advertised[0]["paths"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|path: &Value| path["path_id"].as_u64())
        .collect();
    ensure!(ids.len() == 4 && !ids.contains(&None), "advertised to FRR: {advertised}");

    // One path goes: exactly that one goes everywhere, and the others keep their identifiers.
    let before = received(&daemon, V4, BIRD)?;
    bird.query("disable two_ipv4")?;
    bird.query("disable two_ipv6")?;
    wait_for("paths from BIRD", 1, || Ok(received(&daemon, V4, BIRD)?.len()))?;
    ensure!(received(&daemon, V4, BIRD)?.is_subset(&before), "the path that stays keeps its identifier");
    wait_for("paths at FRR", 3, || at_frr(&frr, "ipv4", V4))?;
    wait_for("IPv6 paths at FRR", 1, || at_frr(&frr, "ipv6", V6))?;
    wait_until("GoBGP has one of BIRD and one of FRR", ROUTES, || {
        let routes = gobgp.query("neighbor 10.99.3.1 adj-in")?;
        for (as_path, count) in [("64500 64501", 1), ("64500 64502", 1)] {
            ensure!(routes.matches(as_path).count() == count, "{routes}");
        }
        Ok(())
    })?;
    bird.query("enable two_ipv4")?;
    wait_for("paths at FRR", 4, || at_frr(&frr, "ipv4", V4))?;

    // The session goes, and all its paths.
    bird.kill_9()?;
    daemon.wait_down(BIRD, SESSION)?;
    wait_for("paths at FRR", 2, || at_frr(&frr, "ipv4", V4))?;
    wait_for("IPv6 paths at FRR", 0, || at_frr(&frr, "ipv6", V6))?;
    ensure!(received(&daemon, V4, BIRD)?.is_empty(), "paths of a session that is down");
    Ok(())
}
