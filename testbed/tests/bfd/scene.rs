//! The network of these tests, and what is asked of the daemon.
//!
//! ```text
//!  router wan ---- bridge ---- wan neighbor
//!  10.99.1.1, fd99:1::1        10.99.1.2, fd99:1::2
//! ```
//!
//! When the bridge goes down, no link does: the ends do not see it but by silence.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use testbed::daemon::Daemon;
use testbed::netns::{Namespace, Sandbox};
use testbed::process::wait_until;

pub(crate) const SESSION: Duration = Duration::from_secs(40);
pub(crate) const SOON: Duration = Duration::from_secs(15);
/// The neighbour's addresses.
pub(crate) const NEIGHBORS: [&str; 2] = ["10.99.1.2", "fd99:1::2"];
/// Ours.
pub(crate) const OURS: [&str; 2] = ["10.99.1.1", "fd99:1::1"];
/// 50 ms, three packets.
pub(crate) const FAST: &str = "{ min-tx = \"50ms\", min-rx = \"50ms\" }";

pub(crate) struct Scene {
    pub(crate) router: Namespace,
    bridge: Namespace,
    pub(crate) neighbor: Namespace,
    /// Last, so that the namespaces outlive what runs in them.
    pub(crate) sandbox: Sandbox,
}

impl Scene {
    pub(crate) fn build(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        let [router, bridge, neighbor] =
            [sandbox.namespace("router")?, sandbox.namespace("bridge")?, sandbox.namespace("n")?];
        sandbox.link((&router, "wan"), (&bridge, "left"))?;
        sandbox.link((&bridge, "right"), (&neighbor, "wan"))?;
        bridge.ip(&["link", "add", "name", "br", "type", "bridge"])?;
        for port in ["left", "right"] {
            bridge.ip(&["link", "set", "dev", port, "master", "br"])?;
        }
        bridge.ip(&["link", "set", "dev", "br", "up"])?;
        for (namespace, host) in [(&router, 1), (&neighbor, 2)] {
            namespace.address("wan", &format!("10.99.1.{host}/24"))?;
            namespace.address("wan", &format!("fd99:1::{host}/64"))?;
        }
        // FRR resets its sessions until it has one.
        link_local(&neighbor)?;
        Ok(Self { router, bridge, neighbor, sandbox })
    }

    /// Breaks the path so that nobody is told, or mends it; when it was done, at the latest.
    pub(crate) fn set_path(&self, up: bool) -> Result<f64> {
        self.bridge.ip(&["link", "set", "dev", "br", if up { "up" } else { "down" }])?;
        Ok(unix_time())
    }
}

pub(crate) fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The link-local address of `wan`, once it may be used.
pub(crate) fn link_local(namespace: &Namespace) -> Result<String> {
    wait_until("a link-local address that may be used", SOON, || {
        let text = namespace.ip_output(&["-6", "-o", "address", "show", "dev", "wan", "scope", "link"])?;
        ensure!(!text.contains("tentative"), "{text}");
        let address = text.split_whitespace().find(|word| word.starts_with("fe80::")).context("none")?;
        Ok(address.split('/').next().unwrap_or_default().to_owned())
    })
}

/// The daemon's configuration: a neighbour of each family, with this for `bfd`.
pub(crate) fn config(bfd: &str) -> String {
    let neighbor = |address: &&str| {
        format!(
            "[[neighbor]]\naddress = \"{address}\"\nasn = 64501\nimport = [\"all\"]\nexport = [\"all\"]\n\
             connect-retry = 1\nbfd = {bfd}\n"
        )
    };
    let neighbors: String = NEIGHBORS.iter().map(neighbor).collect();
    format!("[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n{neighbors}")
}

/// All that is known of a neighbour.
pub(crate) fn detail(daemon: &Daemon, neighbor: &str) -> Result<Value> {
    Ok(serde_json::from_str(&daemon.get(&format!("/v1/neighbors/{neighbor}"))?)?)
}

/// What `show bfd` says of the session with a neighbour.
pub(crate) fn session(daemon: &Daemon, neighbor: &str) -> Result<Value> {
    let report = daemon.show_json(&["bfd"])?;
    let sessions = report["sessions"].as_array().context("no sessions")?;
    let found = sessions.iter().find(|session| session["neighbor"] == neighbor && session["ending"] == false);
    found.cloned().with_context(|| format!("no session with {neighbor}: {report}"))
}

/// Waits until sessions with both neighbours are in a state, with this detection time.
pub(crate) fn wait_for(daemon: &Daemon, state: &str, detection: Option<f64>) -> Result<()> {
    NEIGHBORS.iter().try_for_each(|neighbor| wait_for_one(daemon, neighbor, state, detection))
}

pub(crate) fn wait_for_one(
    daemon: &Daemon,
    neighbor: &str,
    state: &str,
    detection: Option<f64>,
) -> Result<()> {
    wait_until(&format!("BFD with {neighbor} {state}, detection {detection:?}"), SOON, || {
        let session = session(daemon, neighbor)?;
        let agreed = detection.is_none_or(|time| session["detection_seconds"] == time);
        if session["state"] == state && agreed && session["polling"] == false {
            Ok(())
        } else {
            Err(anyhow!("{session}"))
        }
    })
}

/// Both BGP sessions are up, as they were all along.
pub(crate) fn never_lost(daemon: &Daemon) -> Result<()> {
    for neighbor in NEIGHBORS {
        let shown = detail(daemon, neighbor)?;
        ensure!(shown["state"] == "Established" && shown["established_transitions"] == 1, "{shown}");
    }
    Ok(())
}

/// The last event of a kind in the history of a neighbour: when, and in words.
pub(crate) fn last_event(daemon: &Daemon, neighbor: &str, kind: &str) -> Result<(f64, String)> {
    let history = daemon.show_json(&["history", neighbor])?;
    let events = history.as_array().context("no list")?;
    let last = events.iter().rfind(|event| event["event"] == kind);
    let last = last.with_context(|| format!("no {kind} of {neighbor}: {history}"))?;
    Ok((last["time"].as_f64().context("no time")?, last["text"].as_str().unwrap_or_default().to_owned()))
}

/// Breaks the path; both BGP sessions must end by BFD within this time from then on.
pub(crate) fn break_path(scene: &Scene, daemon: &Daemon, within: f64) -> Result<()> {
    let before = unix_time();
    let broken = scene.set_path(false)?;
    for neighbor in NEIGHBORS {
        daemon.wait_down(neighbor, SOON)?;
        let (at, text) = last_event(daemon, neighbor, "down")?;
        eprintln!(
            "{neighbor}: down {:.1} ms after the path broke, which took {:.1} ms",
            (at - broken) * 1e3,
            (broken - before) * 1e3
        );
        ensure!(text.contains("BFD Down") && text.contains("detection time expired"), "{text}");
        ensure!(at - broken <= within, "{neighbor}: down after {} s, expected {within}", at - broken);
        // Three intervals of 50 ms without what was under way.
        ensure!(at - before >= 0.1, "{neighbor}: down after {} s, too soon", at - before);
        let shown = detail(daemon, neighbor)?;
        let told = &shown["last_notification_sent"];
        // In a Hard Reset if both sides speak RFC 8538, as FRR does.
        ensure!(told["code"] == 6 && (told["subcode"] == 10 || told["data"] == "060a"), "{shown}");
        ensure!(shown["bfd"]["failures"] == 1 && shown["bfd"]["state"] != "Up", "{shown}");
    }
    Ok(())
}
