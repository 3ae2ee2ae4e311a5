//! What a user gets wrong: each a clear line that says what to do, and never a crash.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::daemon::{self, Daemon, binary};
use testbed::feeder::{Feeder, FeederConfig};
use testbed::process::wait_until;
use testbed::speaker::{self, PathAttributes};
use testbed::topology::Star;

const ROUTER: &str = "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n";

/// Runs `peregrine check` on a configuration; exit code and what it said.
fn check(name: &str, config: &str) -> Result<(Option<i32>, String)> {
    let path = std::env::temp_dir().join(format!("peregrine-bad-input-{name}-{}.toml", std::process::id()));
    std::fs::write(&path, config)?;
    let done = Command::new(binary()?).arg("check").arg("-c").arg(&path).output()?;
    std::fs::remove_file(&path)?;
    let said = String::from_utf8_lossy(&done.stderr).replace(&path.display().to_string(), "FILE");
    Ok((done.status.code(), said))
}

/// Starts the daemon with a configuration that it must refuse; what it logged.
fn refused(star: &Star, config: &str) -> Result<String> {
    let mut daemon = Daemon::launch(&star.sandbox, &star.router, config)?;
    let status = wait_until("the daemon refuses and ends", Duration::from_secs(20), || {
        daemon.process().exited()?.context("it still runs")
    })?;
    let log = daemon.process().log_text();
    ensure!(!status.success(), "the daemon ended with success; its log:\n{log}");
    ensure!(!log.contains("panicked"), "the daemon panicked:\n{log}");
    Ok(log)
}

fn ensure_line(text: &str, words: &[&str]) -> Result<()> {
    let found = text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(found, "expected one line with all of {words:?} in:\n{text}");
    Ok(())
}

#[test]
fn an_unknown_key_is_named_with_its_line() -> Result<()> {
    if binary().is_err() {
        testbed::skip::note("bad_input::an_unknown_key_is_named_with_its_line", "peregrine is not built");
        return Ok(());
    }
    let (code, said) = check("key", &format!("{ROUTER}hold-timer = 3\n"))?;
    ensure!(code == Some(2), "exit code {code:?}: {said}");
    ensure_line(&said, &["FILE:4", "hold-timer"])
}

#[test]
fn a_policy_that_does_not_exist_is_named_with_its_line() -> Result<()> {
    if binary().is_err() {
        testbed::skip::note(
            "bad_input::a_policy_that_does_not_exist_is_named_with_its_line",
            "peregrine is not built",
        );
        return Ok(());
    }
    let config =
        format!("{ROUTER}[[neighbor]]\naddress = \"10.99.1.2\"\nasn = 64501\nimport = [\"transit\"]\n");
    let (code, said) = check("policy", &config)?;
    ensure!(code == Some(2), "exit code {code:?}: {said}");
    ensure_line(&said, &["FILE:7", "import", "transit"])
}

#[test]
fn an_interface_that_does_not_exist_is_named() -> Result<()> {
    if !daemon::ready("bad_input::an_interface_that_does_not_exist_is_named", &[]) {
        return Ok(());
    }
    let star = Star::build("bad-interface", 1)?;
    let log = refused(&star, &format!("{ROUTER}[fib]\ninterfaces = [\"eth77\"]\n"))?;
    ensure_line(&log, &["eth77"])
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    if !daemon::ready("bad_input::a_port_in_use_is_named", &[]) {
        return Ok(());
    }
    let star = Star::build("bad-port", 1)?;
    let _occupied = star.router.enter(|| TcpListener::bind("0.0.0.0:179").context("occupy port 179"))?;
    let log = refused(&star, ROUTER)?;
    ensure_line(&log, &["179", "in use"])
}

#[test]
fn missing_permission_for_bpf_is_explained() -> Result<()> {
    if !daemon::ready("bad_input::missing_permission_for_bpf_is_explained", &["setpriv"]) {
        return Ok(());
    }
    let star = Star::build("bad-permission", 1)?;
    let config = star.sandbox.directory().join("nobody.toml");
    let socket = star.sandbox.directory().join("nobody.sock");
    let text = format!(
        "{}listen = [\"127.0.0.1:1790\"]\n[fib]\ninterfaces = [\"wan1\"]\n[api]\nsocket = \"{}\"\n",
        ROUTER,
        socket.display()
    );
    std::fs::write(&config, text)?;
    // Root without any capability: files are readable, BPF and netlink writes are not allowed.
    let done = star
        .router
        .command("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "timeout", "20"])
        .arg(binary()?)
        .args(["run", "-c"])
        .arg(&config)
        .output()?;
    let log = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    ensure!(!matches!(done.status.code(), Some(0 | 124)), "it ran on ({}):\n{log}", done.status);
    ensure!(!log.contains("panicked"), "the daemon panicked:\n{log}");
    ensure!(
        log.lines()
            .any(|line| line.contains("CAP_BPF") || line.contains("root") || line.contains("permission")),
        "no line says which permission is missing:\n{log}"
    );
    Ok(())
}

/// 100 routes for a map of 20 entries: what does not fit is marked, counted and told to no neighbour, the daemon
/// lives, and room that appears is used.
#[test]
fn a_full_map_marks_routes_as_not_installed() -> Result<()> {
    const ROUTES: u64 = 100;
    if !daemon::ready("bad_input::a_full_map_marks_routes_as_not_installed", &[]) {
        return Ok(());
    }
    let star = Star::build("bad-full", 2)?;
    let config = format!(
        "{ROUTER}[fib]\ninterfaces = [\"wan1\"]\nmax-ipv4-entries = 20\n\n[[neighbor]]\naddress = \"10.99.1.2\"\n\
         asn = 64501\npassive = true\nimport = [\"all\"]\nexport = [\"none\"]\n\n[[neighbor]]\naddress = \"10.99.2.2\"\n\
         asn = 64502\npassive = true\nimport = [\"none\"]\nexport = [\"all\"]\n"
    );
    let mut daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    let config = FeederConfig {
        local: "10.99.1.2".parse()?,
        remote: "10.99.1.1:179".parse()?,
        asn: 64501,
        router_id: "10.99.1.2".parse()?,
        hold_time: 90,
    };
    let feeder = star.neighbors[0].enter(|| Feeder::connect(&config, Duration::from_secs(30)))?;
    let config = FeederConfig {
        local: "10.99.2.2".parse()?,
        remote: "10.99.2.1:179".parse()?,
        asn: 64502,
        router_id: "10.99.2.2".parse()?,
        hold_time: 90,
    };
    let receiver = star.neighbors[1].enter(|| Feeder::connect(&config, Duration::from_secs(30)))?;
    // Every other /24, so that nothing can be compressed away.
    let prefixes: Vec<ipnet::IpNet> =
        (0..ROUTES).map(|i| format!("10.98.{}.0/24", 2 * i).parse()).collect::<Result<_, _>>()?;
    let mut messages = Vec::new();
    speaker::announce(&mut messages, &PathAttributes::new(vec![64501], "10.99.1.2".parse()?), &prefixes);
    feeder.send(&messages)?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", ROUTES, Duration::from_secs(15))?;

    let table = |daemon: &Daemon| {
        Ok::<_, anyhow::Error>(daemon.show_json(&["summary"])?["fib"]["families"]["ipv4-unicast"].clone())
    };
    let missing = wait_until("routes are counted as not installed", Duration::from_secs(15), || {
        let table = table(&daemon)?;
        let missing = table["not_installed"].as_u64().unwrap_or(0);
        let entries = table["entries"].as_u64().unwrap_or(0);
        ensure!((ROUTES - 20..ROUTES).contains(&missing) && entries <= 20, "{table}");
        Ok(missing)
    })?;
    let shown = daemon.fib()?.values().filter(|state| *state != "installed").count() as u64;
    ensure!(shown == missing, "{shown} routes shown as not installed, {missing} counted");
    daemon.wait_metrics_agree()?;
    let told = |count: u64| {
        wait_until("the neighbour is told of what forwards", Duration::from_secs(15), || {
            let inbox = receiver.inbox();
            ensure!(inbox.routes.len() as u64 == count, "{} routes, not {count}", inbox.routes.len());
            Ok(inbox.withdrawn)
        })
    };
    ensure!(told(ROUTES - missing)? == 0, "the neighbour was told of routes that did not fit");

    // The first 90 go: now all of the rest fits.
    let mut messages = Vec::new();
    speaker::withdraw(&mut messages, &prefixes[..90]);
    feeder.send(&messages)?;
    wait_until("every route is installed", Duration::from_secs(15), || {
        let table = table(&daemon)?;
        ensure!(table["not_installed"] == 0, "{table}");
        Ok(())
    })?;
    told(10)?;
    ensure!(feeder.closed().is_none(), "the session has ended: {:?}", feeder.closed());
    daemon.process().ensure_running()
}
