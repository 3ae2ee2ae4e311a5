//! A path that fails where nobody is told: packets take the other one within what BFD takes to notice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::process::wait_until;
use testbed::tools;
use testbed::topology::Star;

use crate::scene::{FAST, SESSION, SOON, wait_for_one};

/// Where the pings go, which both neighbours have.
const TARGET: &str = "10.98.0.1";
/// Detection takes 150 ms; the rest is for a slow machine.
const MOST_SECONDS: f64 = 0.4;

#[test]
fn packets_take_the_other_path_as_soon_as_bfd_notices() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &tools::PROGRAMS].concat();
    if !daemon::ready("bfd::packets_take_the_other_path_as_soon_as_bfd_notices", &programs) {
        return Ok(());
    }
    let star = Star::build("bfd-failover", 2)?;
    let host = star.sandbox.namespace("host")?;
    star.sandbox.link((&star.router, "lan"), (&host, "lan"))?;
    star.router.address("lan", "10.99.10.1/24")?;
    host.address("lan", "10.99.10.2/24")?;
    host.route("default", "10.99.10.1")?;
    host.offloads_for_xdp("lan")?;
    let mut birds = Vec::new();
    let mut neighbors = String::new();
    for (i, namespace) in (1..).zip(&star.neighbors) {
        namespace.address("lo", &format!("{TARGET}/32"))?;
        namespace.route("10.99.10.0/24", &format!("10.99.{i}.1"))?;
        let text = format!(
            "router id 10.99.{i}.2;\nprotocol bfd {{ interface \"*\" {{ min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }}; }}\n\
             protocol static target {{ ipv4; route 10.98.0.0/24 blackhole; }}\n\
             protocol bgp uplink {{ local 10.99.{i}.2 as 6450{i}; neighbor 10.99.{i}.1 as 64500; bfd on; connect delay time 1; \
             ipv4 {{ import all; export all; }}; }}\n"
        );
        birds.push(Bird::start(&star.sandbox, namespace, &format!("bird{i}"), &text)?);
        neighbors.push_str(&format!(
            "[[neighbor]]\naddress = \"10.99.{i}.2\"\nasn = 6450{i}\nimport = [\"{}\"]\nexport = [\"all\"]\nbfd = {FAST}\n\
             connect-retry = 1\n",
            if i == 1 { "prefer" } else { "all" }
        ));
    }
    let text = format!(
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n[fib]\ninterfaces = [\"lan\", \"wan1\", \"wan2\"]\n\
         [[policy]]\nname = \"prefer\"\n[[policy.rule]]\nset = {{ local-pref = 200 }}\naction = \"accept\"\n{neighbors}"
    );
    let daemon = Daemon::start(&star.sandbox, &star.router, &text)?;
    for neighbor in ["10.99.1.2", "10.99.2.2"] {
        daemon.wait_established(neighbor, SESSION)?;
        wait_for_one(&daemon, neighbor, "Up", Some(0.15))?;
    }
    daemon.wait_installed("10.98.0.0/24", true, SOON)?;
    wait_until("the best path has a backup", SOON, || {
        let shown = daemon.show(&["fib", "10.98.0.0/24"])?;
        ensure!(shown.contains("10.99.1.2") && shown.contains("10.99.2.2"), "{shown}");
        Ok(())
    })?;
    wait_until("the target answers", SOON, || tools::ping_all(&host, None, TARGET, 1))?;

    // Nothing of what the neighbour sends arrives any more.
    let break_it = std::thread::spawn({
        let namespace = star.neighbors[0].clone();
        move || {
            std::thread::sleep(Duration::from_secs(1));
            namespace.ip(&["neigh", "replace", "10.99.1.1", "lladdr", "02:00:00:00:00:77", "dev", "wan"])
        }
    });
    let said =
        host.run(&["ping", "-q", "-n", "-i", "0.01", "-c", "300", "-W", "1", TARGET]).or_else(|error| {
            let text = error.to_string();
            if text.contains("packets transmitted") { Ok(text) } else { Err(error) }
        })?;
    break_it.join().ok().context("the thread that breaks the path")??;
    let line = said.lines().find(|line| line.contains("packets transmitted")).context("no statistics")?;
    let number = |word: &str| word.trim_end_matches("ms").parse::<u32>().ok();
    let numbers: Vec<u32> = line.split_whitespace().filter_map(number).collect();
    let [sent, received, time] = numbers[..] else { anyhow::bail!("{line}") };
    let lost = f64::from(sent - received) * f64::from(time) / f64::from(sent) / 1e3;
    eprintln!("{line}: {:.0} ms without an answer", lost * 1e3);
    ensure!(
        lost > 0.0 && lost <= MOST_SECONDS,
        "{lost} s without an answer, expected at most {MOST_SECONDS}"
    );
    daemon.wait_down("10.99.1.2", SOON)
}
