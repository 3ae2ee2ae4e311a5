//! Next hops that kernel routes and BGP routes resolve, with their interior costs, and traffic by them.
//!
//! An internal neighbour on link 1 announces a network behind a far next hop; a second one on link 2 the
//! same behind another. Which of them forwards, and whether, follows the ways to these next hops.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(15);

/// An internal BIRD on link `n`: `10.98.0.0/24` behind `192.0.2.n`, and what else it announces.
fn bird_config(n: u8, more: &str) -> String {
    format!(
        "router id 10.99.{n}.2;\n\
         protocol static far {{ ipv4; route 10.98.0.0/24 blackhole; }}\n\
         protocol static near {{ ipv4; {more} }}\n\
         protocol bgp pg {{\n  local 10.99.{n}.2 as 64500;\n  neighbor 10.99.{n}.1 as 64500;\n  \
         connect delay time 1;\n  error wait time 1, 5;\n  ipv4 {{ import none; export filter {{\n    \
         if proto = \"far\" then {{ bgp_next_hop = 192.0.2.{n}; accept; }}\n    \
         if proto = \"near\" then accept;\n    reject;\n  }}; }};\n}}\n"
    )
}

const DAEMON: &str = "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n\n\
    [fib]\ninterfaces = [\"wan1\", \"wan2\"]\n\n\
    [[neighbor]]\naddress = \"10.99.1.2\"\nasn = 64500\n\n[[neighbor]]\naddress = \"10.99.2.2\"\nasn = 64500\n";

/// The path of a neighbour to the far network.
fn path(daemon: &Daemon, from: &str) -> Result<Value> {
    let paths = daemon.paths("10.98.0.0/24")?;
    paths.into_iter().find(|path| path["neighbor"] == from).with_context(|| format!("no path of {from}"))
}

fn wait_reason(daemon: &Daemon, from: &str, reason: &str) -> Result<()> {
    wait_until(&format!("the path of {from}: {reason}"), ROUTES, || {
        let path = path(daemon, from)?;
        let said = path["reason"].as_str().unwrap_or_default();
        let told = said == reason || said.strip_prefix(reason).is_some_and(|why| why.starts_with(": "));
        if told { Ok(()) } else { Err(anyhow!("{path}")) }
    })
}

/// What `show nexthops` says of an address: by what it is resolved, and its cost.
fn resolved(daemon: &Daemon, address: &str) -> Result<(Value, Value)> {
    let all = daemon.show_json(&["nexthops"])?;
    let all = all.as_array().context("show nexthops is no list")?;
    let row = all.iter().find(|row| row["name"].as_str().is_some_and(|name| name.starts_with(address)));
    let row = row.with_context(|| format!("no next hop {address} in {all:?}"))?;
    Ok((row["resolved_by"].clone(), row["cost"].clone()))
}

#[test]
fn the_ways_to_next_hops_decide() -> Result<()> {
    if !daemon::ready("next_hops::the_ways_to_next_hops_decide", &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("next-hops", 2)?;
    let first = Bird::start(&star.sandbox, &star.neighbors[0], "first", &bird_config(1, ""))?;
    let route = "route 192.0.2.2/32 blackhole;";
    let second = Bird::start(&star.sandbox, &star.neighbors[1], "second", &bird_config(2, route))?;
    second.query("disable near")?;
    let daemon = Daemon::start(&star.sandbox, &star.router, DAEMON)?;
    for n in 1..=2 {
        daemon.wait_established(&format!("10.99.{n}.2"), SESSION)?;
    }

    // Nobody knows how to get there.
    for n in 1..=2 {
        wait_reason(&daemon, &format!("10.99.{n}.2"), "next hop unreachable")?;
    }
    daemon.wait_installed("10.98.0.0/24", false, ROUTES)?;
    // The operator's static route: usable at once, at the cost of its metric.
    star.router.ip(&["route", "add", "192.0.2.1/32", "via", "10.99.1.2", "metric", "20"])?;
    wait_reason(&daemon, "10.99.1.2", "only path")?;
    daemon.wait_installed("10.98.0.0/24", true, ROUTES)?;
    ensure!(resolved(&daemon, "192.0.2.1")? == ("kernel 192.0.2.1/32".into(), 20.into()));
    // A BGP route resolves the other one: nearer, since its own next hop is on the link.
    second.query("enable near")?;
    wait_reason(&daemon, "10.99.1.2", "lost by interior cost (20, the best has 0)")?;
    wait_reason(&daemon, "10.99.2.2", "best by interior cost")?;
    ensure!(resolved(&daemon, "192.0.2.2")? == ("bgp 192.0.2.2/32".into(), 0.into()));
    wait_until("the route leaves by the second link", ROUTES, || {
        let fib = daemon.show(&["fib", "10.98.0.0/24"])?;
        if fib.contains("192.0.2.2 via 10.99.2.2 dev wan2") { Ok(()) } else { Err(anyhow!("{fib}")) }
    })?;
    // Gone with the route that resolved it, and back with it.
    second.query("disable near")?;
    wait_reason(&daemon, "10.99.2.2", "next hop unreachable")?;
    wait_reason(&daemon, "10.99.1.2", "only path")?;
    second.query("enable near")?;
    wait_reason(&daemon, "10.99.2.2", "best by interior cost")?;
    // A metric that changes is a cost that changes; here both are equal, and the router id decides.
    star.router.ip(&["route", "del", "192.0.2.1/32"])?;
    wait_reason(&daemon, "10.99.2.2", "only path")?;
    first.query("disable far")?;
    star.router.ip(&["link", "set", "wan2", "down"])?;
    daemon.wait_installed("10.98.0.0/24", false, ROUTES)
}

#[test]
fn routes_by_way_of_an_interface_that_is_no_port_say_why_they_are_not_used() -> Result<()> {
    if !daemon::ready(
        "next_hops::routes_by_way_of_an_interface_that_is_no_port_say_why_they_are_not_used",
        &bird::PROGRAMS,
    ) {
        return Ok(());
    }
    let star = Star::build("no-port", 2)?;
    let config = |n: u8, routes: &str| {
        format!(
            "router id 10.99.{n}.2;\nprotocol static own {{ ipv4; {routes} }}\n\
             protocol bgp pg {{\n  local 10.99.{n}.2 as 6450{n};\n  neighbor 10.99.{n}.1 as 64500;\n  \
             connect delay time 1;\n  ipv4 {{ import none; export where proto = \"own\"; next hop self; }};\n}}\n"
        )
    };
    let wide = config(1, "route 10.0.0.0/8 blackhole;");
    let _first = Bird::start(&star.sandbox, &star.neighbors[0], "first", &wide)?;
    let narrow = config(2, "route 10.98.0.0/24 blackhole; route 192.0.2.0/24 blackhole;");
    let _second = Bird::start(&star.sandbox, &star.neighbors[1], "second", &narrow)?;
    let neighbor = |n: u8| {
        format!(
            "[[neighbor]]\naddress = \"10.99.{n}.2\"\nasn = 6450{n}\nimport = [\"mark\"]\nexport = [\"all\"]\n"
        )
    };
    let text = format!(
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n[fib]\ninterfaces = [\"wan1\"]\n[[policy]]\nname = \"mark\"\n[[policy.rule]]\nset = {{ community-add = \"64500:7\" }}\naction = \"accept\"\n{}{}{}",
        neighbor(1),
        neighbor(2),
        "[[neighbor]]\naddress = \"fe80::9%eth7\"\nasn = 64509\nconnect-retry = 1\n"
    );
    let mut daemon = Daemon::start(&star.sandbox, &star.router, &text)?;
    daemon.wait_count("10.99.2.2", "ipv4-unicast", "received", 2, SESSION)?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 1, SESSION)?;
    let why = "next hop unreachable: interface is not in [fib] interfaces";
    wait_until("the reason", ROUTES, || {
        let path = path(&daemon, "10.99.2.2")?;
        if path["reason"] == why { Ok(()) } else { Err(anyhow!("{path}")) }
    })?;
    let log = daemon.process().log_text();
    let warnings: Vec<&str> =
        log.lines().filter(|line| line.contains("is not in [fib] interfaces")).collect();
    let named = |line: &&str| line.contains("neighbor=10.99.2.2") && line.contains("interface=\"wan2\"");
    ensure!(warnings.len() == 1 && warnings.iter().all(named), "{log}");

    // By address: the longest match, what is more specific and of no use, and what is of no use at all.
    let said = daemon.run(&["explain", "10.98.0.1"])?;
    let (used, unused) = said.split_once("no path that can be used").with_context(|| said.clone())?;
    ensure!(
        used.starts_with("10.0.0.0/8\n") && unused.contains("10.98.0.0/24") && unused.contains(why),
        "{said}"
    );
    for words in [["explain", "192.0.2.1"].as_slice(), &["show", "routes", "192.0.2.1"]] {
        let said = daemon.run(words)?;
        ensure!(said.contains("192.0.2.0/24") && said.contains(why), "{words:?}: {said}");
    }
    // What a neighbour sent is shown as it was, whatever policy made of it.
    let communities = |words: &[&str]| -> Result<Value> {
        let all = daemon.show_json(&[&["routes", "10.0.0.0/8"], words].concat())?;
        Ok(all[0]["paths"][0]["communities"].clone())
    };
    ensure!(communities(&[])? == serde_json::json!(["64500:7"]), "{}", communities(&[])?);
    let received = communities(&["--received", "10.99.1.2"])?;
    ensure!(received == serde_json::json!([]), "{received}");
    // A part of the table, and how much it is.
    let within = |words: &[&str]| daemon.run(&[&["show", "routes"], words].concat());
    let said = within(&["10.98.0.0/15", "--longer"])?;
    ensure!(
        said.contains("10.98.0.0/24") && !said.contains("10.0.0.0/8") && !said.contains("192.0.2.0"),
        "{said}"
    );
    for (words, count) in [
        (["0.0.0.0/0", "--longer", "--count"].as_slice(), "3"),
        (&["192.0.0.0/8", "--longer", "--count"], "1"),
        (&["192.0.2.0/25", "--longer", "--count"], "0"),
        (&["10.0.0.0/8", "--longer", "--count", "--received", "10.99.2.2"], "1"),
        (&["10.0.0.0/8", "--longer", "--count", "--advertised", "10.99.2.2"], "1"),
        (&["192.0.0.0/8", "--longer", "--count", "--advertised", "10.99.2.2"], "0"),
        (&["::/0", "--longer", "--count", "--advertised", "10.99.2.2"], "0"),
    ] {
        let said = within(words)?;
        ensure!(said.trim() == count, "{words:?}: {said}");
    }
    let said = daemon.run(&["show", "routes", "--received", "10.99.2.2", "10.98.0.1"])?;
    ensure!(said.contains("10.98.0.0/24"), "{said}");
    let (code, said) = daemon.command(&["explain", "203.0.113.1"])?;
    ensure!(code == 1 && said.contains("no neighbor announced one"), "{said}");
    // Why there is no session is said, and once.
    wait_until("several attempts", ROUTES, || {
        let history = daemon.show_json(&["history", "fe80::9%eth7"])?;
        if history[0]["count"].as_u64() > Some(1) { Ok(()) } else { Err(anyhow!("{history}")) }
    })?;
    let log = daemon.process().log_text();
    ensure!(log.matches("reason=\"cannot connect: there is no interface eth7\"").count() == 1, "{log}");
    Ok(())
}
