//! Limits on prefixes, seen from BIRD: a session that ends and stays down, one that comes back, one that goes on
//! without the excess, and no more announced than allowed.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(30);
const ROUTES: Duration = Duration::from_secs(15);
const V4: &str = "ipv4-unicast";

fn config(number: usize, count: usize) -> String {
    let routes: String =
        (0..count).map(|i| format!("  route 10.{}.{i}.0/24 blackhole;\n", 100 + number)).collect();
    format!(
        "router id 10.99.{number}.2;\nprotocol static announced {{\n  ipv4;\n{routes}}}\n\
         protocol bgp uplink {{\n  local 10.99.{number}.2 as {};\n  neighbor 10.99.{number}.1 as 64500;\n  \
         connect delay time 1;\n  error wait time 1, 2;\n  \
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n",
        64500 + number
    )
}

/// The limit on what is `received`, `accepted` or `advertised`, as `show neighbors ADDR --json` has it.
fn limit(daemon: &Daemon, address: &str, what: &str) -> Result<Value> {
    let neighbors = daemon.show_json(&["neighbors"])?;
    let all = neighbors.as_array().context("show neighbors is no list")?;
    let neighbor = all.iter().find(|neighbor| neighbor["address"] == address).context("no such neighbor")?;
    let limits = neighbor["limits"].as_array().context("no limits")?;
    limits.iter().find(|limit| limit["what"] == what).cloned().with_context(|| format!("{neighbor}"))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one router's day, in order")]
fn prefixes_beyond_the_limit_end_the_session_or_stay_out() -> Result<()> {
    if !daemon::ready("limits::prefixes_beyond_the_limit_end_the_session_or_stay_out", &bird::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("limits", 3)?;
    let birds = (1..=3)
        .map(|number| {
            let name = format!("bird{number}");
            Bird::start(&star.sandbox, &star.neighbors[number - 1], &name, &config(number, 20))
        })
        .collect::<Result<Vec<_>>>()?;
    let neighbor = |number: usize, keys: &str| {
        format!(
            "\n[[neighbor]]\naddress = \"10.99.{number}.2\"\nasn = {}\nfamilies = [\"{V4}\"]\n\
             import = [\"all\"]\nexport = [\"all\"]\n{keys}\n",
            64500 + number
        )
    };
    let text = format!(
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\nrib-threads = 3\n{}{}{}",
        neighbor(1, "max-prefixes = { ipv4-unicast = 25 }"),
        neighbor(
            2,
            "max-prefixes = { ipv4-unicast = { limit = 25, action = \"restart\", restart-after = 3 } }"
        ),
        neighbor(
            3,
            "max-prefixes = { ipv4-unicast = { limit = 25, action = \"drop-excess\" } }\n\
             max-prefixes-out = { ipv4-unicast = 30 }"
        ),
    );
    let daemon = Daemon::start(&star.sandbox, &star.router, &text)?;
    for number in 1..=3 {
        daemon.wait_count(&format!("10.99.{number}.2"), V4, "best", 20, SESSION)?;
    }
    // 40 routes of the others, and room for 30.
    wait_until("30 routes are announced", ROUTES, || {
        let imported = birds[2].imported("uplink", "ipv4")?;
        if imported == 30 { Ok(()) } else { Err(anyhow!("{imported}")) }
    })?;
    let out = limit(&daemon, "10.99.3.2", "advertised")?;
    ensure!(out["count"] == 30 && out["refused"].as_u64() >= Some(10), "{out}");
    let advertised = daemon.show_json(&["routes", "--advertised", "10.99.3.2"])?;
    ensure!(advertised.as_array().map(Vec::len) == Some(30), "{advertised}");

    for (number, bird) in (1..=3).zip(&birds) {
        bird.reconfigure(&config(number, 40))?;
    }
    daemon.wait_count("10.99.3.2", V4, "received", 25, ROUTES)?;
    let received = limit(&daemon, "10.99.3.2", "received")?;
    ensure!(received["count"] == 25 && received["refused"] == 15, "{received}");
    wait_until("the first is down for good and says why", ROUTES, || {
        let shown = daemon.show(&["neighbors", "10.99.1.2"])?;
        let expected = ["more than 25 ipv4-unicast prefixes", "Kept idle", "too many prefixes", "Idle, for"];
        if expected.iter().all(|text| shown.contains(text)) { Ok(()) } else { Err(anyhow!("{shown}")) }
    })?;
    wait_until("BIRD was told", ROUTES, || {
        let shown = birds[0].query("show protocols all uplink")?;
        if shown.contains("Maximum number of prefixes reached") { Ok(()) } else { Err(anyhow!("{shown}")) }
    })?;
    // The second comes back, and is sent away again.
    wait_until("the second comes and goes", SESSION, || {
        let neighbors = daemon.show_json(&["neighbors"])?;
        let times = neighbors[1]["established_transitions"].as_u64();
        if times >= Some(3) { Ok(()) } else { Err(anyhow!("{times:?}")) }
    })?;
    for (number, bird) in (1..=3).zip(&birds) {
        bird.reconfigure(&config(number, 10))?;
    }
    daemon.wait_count("10.99.2.2", V4, "best", 10, SESSION)?;
    daemon.wait_count("10.99.3.2", V4, "received", 10, ROUTES)?;
    // An operator lets the first in again.
    ensure!(daemon.neighbor("10.99.1.2")?["state"] == "Idle", "it came back by itself");
    daemon.run(&["enable", "10.99.1.2"])?;
    daemon.wait_count("10.99.1.2", V4, "best", 10, SESSION)?;

    // Limits change while sessions are up, and count what is there already.
    let first = |keys: &str| text.replace("max-prefixes = { ipv4-unicast = 25 }", keys);
    let reload = |text: String| {
        daemon.rewrite(&text)?;
        let said = daemon.run(&["reload"])?;
        ensure!(said.contains("no session is reset"), "{said}");
        anyhow::Ok(())
    };
    let ups =
        || Ok::<_, anyhow::Error>(daemon.show_json(&["neighbors"])?[0]["established_transitions"].clone());
    let before = ups()?;
    reload(first("max-prefixes = { ipv4-unicast = 30 }"))?;
    let received = limit(&daemon, "10.99.1.2", "received")?;
    ensure!(received["count"] == 10 && received["limit"] == 30, "{received}");
    reload(first(""))?;
    reload(first("max-prefixes = { ipv4-unicast = { limit = 5, action = \"warn\" } }"))?;
    let received = limit(&daemon, "10.99.1.2", "received")?;
    ensure!(received["count"] == 10 && ups()? == before, "{received}");
    // One that ends the session, and one that lets it in again.
    reload(first("max-prefixes = { ipv4-unicast = 5 }"))?;
    daemon.wait_down("10.99.1.2", ROUTES)?;
    reload(first("max-prefixes = { ipv4-unicast = 4 }"))?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(daemon.neighbor("10.99.1.2")?["state"] == "Idle", "that lifts nothing");
    reload(first("max-prefixes = { ipv4-unicast = 10 }"))?;
    daemon.wait_count("10.99.1.2", V4, "best", 10, SESSION)?;
    // What was left out comes in.
    birds[2].reconfigure(&config(3, 28))?;
    daemon.wait_count("10.99.3.2", V4, "received", 25, ROUTES)?;
    let wider = "max-prefixes = { ipv4-unicast = { limit = 27, action = \"drop-excess\" } }";
    reload(
        first("")
            .replace("max-prefixes = { ipv4-unicast = { limit = 25, action = \"drop-excess\" } }", wider),
    )?;
    daemon.wait_count("10.99.3.2", V4, "received", 27, ROUTES)?;
    let (code, said) = daemon.command(&["shutdown", "10.99.1.2"])?;
    ensure!(code == 0, "{said}");
    let (code, said) = daemon.command(&["clear", "10.99.1.2"])?;
    ensure!(code == 1 && said.contains("`peregrine enable 10.99.1.2`"), "{said}");
    Ok(())
}
