//! A route reflector with clients and other internal peers, judged by what BIRD and FRR hold.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(15);

/// A BIRD that announces `10.98.N.0/24`, and routes that went through the router already.
fn bird_config(n: u8) -> String {
    format!(
        "router id 10.99.{n}.2;\n\
         protocol static own {{ ipv4; route 10.98.{n}.0/24 blackhole; route 10.98.{n}1.0/24 blackhole; \
         route 10.98.{n}2.0/24 blackhole; }}\n\
         filter leaving {{\n  if source != RTS_STATIC then reject;\n  \
         if net = 10.98.{n}1.0/24 then bgp_originator_id = 10.99.0.1;\n  \
         if net = 10.98.{n}2.0/24 then bgp_cluster_list.add(10.0.0.7);\n  accept;\n}}\n\
         protocol bgp reflector {{\n  local 10.99.{n}.2 as 64500;\n  neighbor 10.99.{n}.1 as 64500;\n  \
         connect delay time 1;\n  error wait time 1, 5;\n  ipv4 {{ import all; export filter leaving; }};\n}}\n"
    )
}

const FRR: &str = "hostname frr\nrouter bgp 64500\n bgp router-id 10.99.2.2\n no bgp network import-check\n \
    timers bgp 3 9\n neighbor 10.99.2.1 remote-as 64500\n neighbor 10.99.2.1 timers connect 1\n \
    address-family ipv4 unicast\n  network 10.98.2.0/24\n exit-address-family\n";

/// Neighbours 1 and 2 are clients, 2 in a cluster of its own; 3 and 4 are not.
fn daemon_config() -> String {
    let mut parts = vec!["[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n".to_owned()];
    for n in 1..=4 {
        let keys = match n {
            1 => "route-reflector-client = true\nnext-hop-self = true\n",
            2 => "route-reflector-client = true\ncluster-id = \"10.0.0.7\"\n",
            _ => "",
        };
        parts.push(format!("\n[[neighbor]]\naddress = \"10.99.{n}.2\"\nasn = 64500\n{keys}"));
    }
    parts.concat()
}

#[test]
fn clients_and_others_hold_what_a_reflector_owes_them() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &frr::PROGRAMS[..]].concat();
    if !daemon::ready("reflection::clients_and_others_hold_what_a_reflector_owes_them", &programs) {
        return Ok(());
    }
    let star = Star::build("reflection", 4)?;
    let start = |n: u8| {
        let namespace = &star.neighbors[usize::from(n) - 1];
        Bird::start(&star.sandbox, namespace, &format!("bird{n}"), &bird_config(n))
    };
    let (client, other, another) = (start(1)?, start(3)?, start(4)?);
    let frr = Frr::start(&star.sandbox, &star.neighbors[1], "frr", FRR)?;
    let daemon = Daemon::start(&star.sandbox, &star.router, &daemon_config())?;
    for n in 1..=4 {
        daemon.wait_established(&format!("10.99.{n}.2"), SESSION)?;
    }

    // The client of the router's own cluster gets all, with the next hops of those who announced it, even
    // though next-hop-self is set: that is for external routes.
    let unchanged = |n: u8| format!("BGP.next_hop: 10.99.{n}.2");
    let originator = |n: u8| format!("BGP.originator_id: 10.99.{n}.2");
    for (n, clusters) in [(2, "10.99.0.1 10.0.0.7"), (3, "10.99.0.1"), (4, "10.99.0.1")] {
        let list = format!("BGP.cluster_list: {clusters}");
        client.wait_for_lines(&format!("10.98.{n}.0/24"), &[&unchanged(n), &originator(n), &list], ROUTES)?;
    }
    // So does the other client; here FRR says what it got.
    for (n, clusters) in [(1, ["10.0.0.7", "10.99.0.1"].as_slice()), (3, &["10.0.0.7"])] {
        wait_until(&format!("FRR has the route of neighbour {n}"), ROUTES, || {
            let answer = frr.query_json(&format!("show bgp ipv4 unicast 10.98.{n}.0/24 json"))?;
            let path = answer["paths"].get(0).with_context(|| format!("no path: {answer}"))?;
            let list: Vec<&str> = path["clusterList"]["list"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let id = format!("10.99.{n}.2");
            ensure!(path["originatorId"] == id && list == clusters, "{path}");
            ensure!(path["nexthops"][0]["ip"] == id, "{path}");
            Ok(())
        })?;
    }
    // Those who are no clients get what clients sent and nothing of each other.
    other.wait_for_lines(
        "10.98.1.0/24",
        &[&unchanged(1), &originator(1), "BGP.cluster_list: 10.99.0.1"],
        ROUTES,
    )?;
    another.wait_for_lines(
        "10.98.2.0/24",
        &[&unchanged(2), &originator(2), "BGP.cluster_list: 10.0.0.7"],
        ROUTES,
    )?;
    ensure!(another.has_route("10.98.2.0/24"), "what is there is seen");
    ensure!(!another.has_route("10.98.3.0/24"), "an internal route went to one who is no client");

    // What went through the router already is refused, with the reason.
    for (prefix, reason) in [
        ("10.98.31.0/24", "own router id as originator"),
        ("10.98.32.0/24", "own cluster in the cluster list"),
    ] {
        let paths = daemon.paths(prefix)?;
        ensure!(paths.len() == 1 && paths[0]["reason"] == reason, "{prefix}: {paths:?}");
    }
    let shown = daemon.show(&["neighbors", "10.99.2.2"])?;
    ensure!(shown.contains("a client, in cluster 10.0.0.7"), "{shown}");

    // Withdrawn by the one, gone at the others.
    client.query("disable own")?;
    for bird in [&other, &another] {
        wait_until("the withdrawal has gone on", ROUTES, || {
            if bird.has_route("10.98.1.0/24") { Err(anyhow!("it is still there")) } else { Ok(()) }
        })?;
    }
    Ok(())
}
