//! A configuration that changes while sessions are up, and sessions that an operator stops and starts.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(30);
const ROUTES: Duration = Duration::from_secs(10);
const ROUTER: &str = "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\nrib-threads = 2\n";

/// BIRD as neighbour `number` of AS 64500 + `number`, announcing 10.98.0.0/24 to 10.98.99.0/24 when it is the first.
fn bird_config(number: u8) -> String {
    let asn = 64_500 + u32::from(number);
    let mut routes = String::new();
    if number == 1 {
        for i in 0..100 {
            routes.push_str(&format!("  route 10.98.{i}.0/24 blackhole;\n"));
        }
    }
    format!(
        "router id 10.99.{number}.2;\nprotocol static own {{\n  ipv4;\n{routes}}}\n\
         protocol bgp uplink {{\n  local 10.99.{number}.2 as {asn};\n  neighbor 10.99.{number}.1 as 64500;\n  \
         connect delay time 1;\n  error wait time 1, 3;\n  \
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n"
    )
}

fn neighbor(number: u8, keys: &str) -> String {
    let asn = 64_500 + u32::from(number);
    format!(
        "[[neighbor]]\naddress = \"10.99.{number}.2\"\nasn = {asn}\nfamilies = \"ipv4-unicast\"\n{keys}\n"
    )
}

/// A policy that accepts what is within a prefix.
fn policy(name: &str, within: &str) -> String {
    format!(
        "[[policy]]\nname = \"{name}\"\n[[policy.rule]]\nmatch = {{ prefix = \"{within} le 32\" }}\naction = \"accept\"\n"
    )
}

fn detail(daemon: &Daemon, number: u8) -> Result<Value> {
    let shown = daemon.run(&["show", "neighbors", &format!("10.99.{number}.2"), "--json"])?;
    serde_json::from_str(&shown).with_context(|| shown.clone())
}

/// How often a session came up so far.
fn came_up(daemon: &Daemon, number: u8) -> Result<u64> {
    detail(daemon, number)?["established_transitions"].as_u64().context("no established_transitions")
}

fn updates_sent(daemon: &Daemon, number: u8) -> Result<u64> {
    detail(daemon, number)?["messages"]["sent update"].as_u64().context("no count of UPDATEs")
}

fn wait_imported(bird: &Bird, routes: u64) -> Result<()> {
    wait_until(&format!("BIRD has {routes} routes"), ROUTES, || {
        let seen = bird.imported("uplink", "ipv4")?;
        if seen == routes { Ok(()) } else { Err(anyhow!("{seen}")) }
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "one router's day, in order")]
fn a_reload_touches_what_it_says_and_nothing_else() -> Result<()> {
    if !daemon::ready("reload::a_reload_touches_what_it_says_and_nothing_else", &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("reload", 3)?;
    let birds = (1..=3)
        .map(|number| {
            let namespace = &star.neighbors[usize::from(number) - 1];
            Bird::start(&star.sandbox, namespace, &format!("bird{number}"), &bird_config(number))
        })
        .collect::<Result<Vec<_>>>()?;
    let feeder = neighbor(1, "import = [\"in\"]\nexport = [\"none\"]");
    let receiver = neighbor(2, "import = [\"none\"]\nexport = [\"out\"]");
    let policies = policy("in", "10.98.0.0/16") + &policy("out", "10.0.0.0/8");
    let config = format!("{ROUTER}{policies}{feeder}{receiver}");
    let mut daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    daemon.wait_established("10.99.1.2", SESSION)?;
    daemon.wait_established("10.99.2.2", SESSION)?;
    wait_imported(&birds[1], 100)?;

    // A broken file, and one that takes a restart, change nothing.
    daemon.rewrite(&config.replace("out\"]", "uot\"]").replace("asn = 64501", "asn = 0"))?;
    let (code, said) = daemon.command(&["reload"])?;
    let path = daemon.config().display().to_string();
    let places = [format!("{path}:17: neighbor.asn: "), format!("{path}:26: neighbor.export: ")];
    ensure!(code == 2 && places.iter().all(|place| said.contains(place)), "exit code {code}: {said}");
    daemon
        .rewrite(&config.replace("rib-threads = 2", "rib-threads = 3").replace("[\"in\"]", "[\"none\"]"))?;
    let (code, said) = daemon.command(&["reload"])?;
    ensure!(
        code == 2 && said.contains("router.rib-threads cannot change at run time"),
        "exit code {code}: {said}"
    );
    ensure!(daemon.count("10.99.1.2", "ipv4-unicast", "accepted")? == 100);

    // Policies: judged anew from what was received, and only what differs is sent.
    let halved = config.replace("10.98.0.0/16", "10.98.0.0/18");
    daemon.rewrite(&halved)?;
    let said = daemon.run(&["reload", "--check"])?;
    ensure!(said.contains("~ policy in") && said.contains("no session is reset"), "{said}");
    ensure!(daemon.count("10.99.1.2", "ipv4-unicast", "accepted")? == 100, "only checked");
    daemon.run(&["reload"])?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "accepted", 64, ROUTES)?;
    wait_imported(&birds[1], 64)?;
    ensure!(
        detail(&daemon, 1)?["rejected"]["ipv4-unicast"]
            == serde_json::json!({ "rejected by import policy": 36 })
    );
    // Why a route is not announced is said, too.
    let not_advertised = |number: u8, prefix: &str| -> Result<String> {
        let (code, said) =
            daemon.command(&["show", "routes", "--advertised", &format!("10.99.{number}.2"), prefix])?;
        ensure!(code == 1, "{said}");
        Ok(said)
    };
    for (number, prefix, why) in [
        (2, "10.98.99.0/24", "no path of it can be used"),
        (2, "10.97.0.0/24", "there is no route"),
        (1, "10.98.1.0/24", "its best path is this neighbor's own"),
    ] {
        let said = not_advertised(number, prefix)?;
        ensure!(said.contains(why), "{said}");
    }
    let before = updates_sent(&daemon, 2)?;
    daemon.rewrite(&halved.replace("10.0.0.0/8", "10.98.0.0/19"))?;
    daemon.run(&["reload"])?;
    wait_imported(&birds[1], 32)?;
    let sent = updates_sent(&daemon, 2)? - before;
    let said = not_advertised(2, "10.98.63.1")?;
    ensure!(
        said.contains("10.98.63.0/24")
            && said.contains("rejected by export policy: policy \"out\", by default"),
        "{said}"
    );
    ensure!((1..=2).contains(&sent), "32 withdrawals from two shards in {sent} UPDATEs");
    ensure!(detail(&daemon, 2)?["advertised"]["ipv4-unicast"] == 32);
    ensure!(daemon.run(&["reload"])?.contains("no changes"));
    daemon.rewrite(&config)?;
    daemon.process().signal(Signal::SIGHUP)?;
    wait_imported(&birds[1], 100)?;
    ensure!(came_up(&daemon, 1)? == 1 && came_up(&daemon, 2)? == 1, "no session was touched");
    // Who looks at the log sees it all, whoever asked.
    let log = daemon.process().log_text();
    for line in ["neighbor.export: ", "router.rib-threads cannot change", "configuration reloaded changes=1"]
    {
        ensure!(log.contains(line), "{line} in {log}");
    }
    ensure!(log.matches("configuration reloaded").count() == 4, "{log}");
    daemon.clear("10.99.1.2")?;
    daemon.process().wait_for_line("session reset by the operator", ROUTES)?;
    daemon.wait_established("10.99.1.2", SESSION)?;
    wait_imported(&birds[1], 100)?;

    // What only a new session changes resets that one alone. Others come and go.
    daemon.rewrite(&config.replace("export = [\"out\"]", "export = [\"out\"]\nhold-time = 30"))?;
    let said = daemon.run(&["reload"])?;
    ensure!(said.contains("hold-time: 90 -> 30") && said.contains("sessions reset: 10.99.2.2"), "{said}");
    wait_until("the session is back", SESSION, || {
        if came_up(&daemon, 2)? == 2 { Ok(()) } else { Err(anyhow!("not yet")) }
    })?;
    let third = neighbor(3, "import = [\"none\"]\nexport = [\"out\"]");
    let network = "[[network]]\nprefix = \"10.97.0.0/16\"\n";
    daemon.rewrite(&format!("{ROUTER}{policies}{feeder}{third}{network}"))?;
    daemon.run(&["reload"])?;
    wait_until("BIRD was told why", ROUTES, || {
        let shown = birds[1].query("show protocols all uplink")?;
        if shown.contains("Peer de-configured") { Ok(()) } else { Err(anyhow!("{shown}")) }
    })?;
    wait_imported(&birds[2], 101)?;
    ensure!(came_up(&daemon, 1)? == 2 && detail(&daemon, 2).is_err());
    daemon.rewrite(&format!("{ROUTER}{policies}{feeder}{third}"))?;
    daemon.run(&["reload"])?;
    wait_imported(&birds[2], 100)?;

    // An operator's shutdown outlives a reload, and both sides can read why.
    daemon.run(&["shutdown", "10.99.3.2", "until 06:00 \u{2192} tea"])?;
    wait_until("BIRD was told why", ROUTES, || {
        let shown = birds[2].query("show protocols all uplink")?;
        if shown.contains("until 06:00 \u{2192} tea") { Ok(()) } else { Err(anyhow!("{shown}")) }
    })?;
    daemon.rewrite(&format!("{ROUTER}{policies}{feeder}{third}hold-time = 30\n"))?;
    daemon.run(&["reload"])?;
    std::thread::sleep(Duration::from_secs(3));
    let shown = detail(&daemon, 3)?;
    ensure!(shown["state"] == "Idle" && shown["shutdown"]["by"] == "operator", "{shown}");
    let (code, said) = daemon.command(&["shutdown", "10.99.3.2", &"x".repeat(256)])?;
    ensure!(code == 1 && said.contains("at most 255"), "{said}");
    daemon.run(&["enable", "10.99.3.2"])?;
    daemon.wait_established("10.99.3.2", SESSION)?;
    let (code, said) = daemon.command(&["enable", "10.99.3.2"])?;
    ensure!(code == 1 && said.contains("is not shut down"), "{said}");
    birds[2].query("disable uplink \"gone fishing\"")?;
    daemon.wait_down("10.99.3.2", ROUTES)?;
    let farewell = detail(&daemon, 3)?["last_notification_received"].clone();
    ensure!(farewell["text"].as_str().is_some_and(|text| text.contains("gone fishing")), "{farewell}");
    let history = daemon.run(&["show", "history", "10.99.3.2"])?;
    for event in ["established", "shutdown", "configuration", "enable", "gone fishing"] {
        ensure!(history.contains(event), "{event} in {history}");
    }
    let shown = daemon.run(&["show", "neighbors", "10.99.1.2"])?;
    for line in ["We offer", "It offers", "Timers", "100 received, 100 accepted, 100 best, 0 advertised"] {
        ensure!(shown.contains(line), "{line} in {shown}");
    }
    daemon.terminate()
}
