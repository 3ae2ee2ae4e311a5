//! What becomes of packets to what is originated here, where nothing more specific takes them.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::daemon::{self, Daemon};
use testbed::netns::Sandbox;
use testbed::tools;
use testbed::topology::Topology;

const ROUTES: Duration = Duration::from_secs(15);

fn config(kind: &str) -> String {
    let network = |prefix: &str, keys: &str| format!("[[network]]\nprefix = \"{prefix}\"\n{keys}\n");
    let networks = [
        network("203.0.113.0/24", kind),
        network("fd93::/32", kind),
        network("198.51.100.0/24", ""),
        network("fd98::/32", "kind = \"reject\""),
        network("192.0.2.128/25", ""),
    ];
    format!(
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n[fib]\ninterfaces = [\"lan\", \"wan\"]\n{}\
         [[aggregate]]\nprefix = \"192.0.2.0/24\"\n{kind}\n",
        networks.concat()
    )
}

/// Packets to an address are all dropped for this reason.
fn dropped(topology: &Topology, daemon: &Daemon, target: &str, reason: &str) -> Result<()> {
    let before = daemon.verdicts()?;
    tools::ping_none(&topology.host_a, target, 3)?;
    let after = daemon.verdicts()?;
    let dropped = after[reason] - before[reason];
    ensure!(dropped >= 3, "{dropped} packets to {target} counted as {reason}: {before:?} {after:?}");
    Ok(())
}

fn check(topology: &Topology, daemon: &Daemon, kind: &str) -> Result<()> {
    for (prefix, target, reason) in [
        ("203.0.113.0/24", "203.0.113.9", kind),
        ("fd93::/32", "fd93::9", kind),
        ("192.0.2.0/24", "192.0.2.9", kind),
        ("192.0.2.128/25", "192.0.2.129", "reject"),
        ("198.51.100.0/24", "198.51.100.9", "reject"),
        ("fd98::/32", "fd98::9", "reject"),
    ] {
        daemon.wait_installed(prefix, true, ROUTES)?;
        let path = &daemon.paths(prefix)?[0];
        ensure!(path["blackhole"] == (reason == "blackhole"), "{path}");
        let shown = daemon.show(&["fib", prefix])?;
        ensure!(shown.contains(reason), "{shown}");
        dropped(topology, daemon, target, reason)?;
    }
    Ok(())
}

#[test]
fn what_is_originated_is_dropped_as_it_says_where_nothing_else_takes_it() -> Result<()> {
    let name = "anchors::what_is_originated_is_dropped_as_it_says_where_nothing_else_takes_it";
    if !daemon::ready(name, &tools::PROGRAMS) {
        return Ok(());
    }
    let topology = Topology::build(Sandbox::new("anchors")?)?;
    let daemon = Daemon::start(&topology.sandbox, &topology.router, &config("kind = \"blackhole\""))?;
    check(&topology, &daemon, "blackhole")?;
    // The other way is a change like any other, and back.
    for (keys, kind) in [("", "reject"), ("kind = \"blackhole\"", "blackhole")] {
        daemon.rewrite(&config(keys))?;
        let said = daemon.run(&["reload"])?;
        for line in ["~ network 203.0.113.0/24", "~ network fd93::/32", "~ aggregate 192.0.2.0/24"] {
            ensure!(said.contains(line), "{said}");
        }
        check(&topology, &daemon, kind)?;
    }
    Ok(())
}
