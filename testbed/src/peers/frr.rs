//! FRR's bgpd: alone, which keeps its hands off the kernel and is all a peer needs, or with zebra, and bfdd.
//!
//! Both drop to the user `frr`, so their directory belongs to that user. Questions go through
//! `vtysh`, answers are JSON where FRR offers it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nix::unistd::User;
use serde_json::Value;

use crate::netns::{Namespace, Sandbox, output};
use crate::peers::program::Program;
use crate::process::wait_until;

/// Where Debian keeps it.
const BGPD: &str = "/usr/lib/frr/bgpd";
const ZEBRA: &str = "/usr/lib/frr/zebra";
const BFDD: &str = "/usr/lib/frr/bfdd";

/// The programs that this driver needs.
pub const PROGRAMS: [&str; 2] = [BGPD, "vtysh"];

/// Those with BFD.
pub const PROGRAMS_WITH_BFD: [&str; 4] = [BGPD, ZEBRA, BFDD, "vtysh"];

/// A running bgpd, with or without others.
#[derive(Debug)]
pub struct Frr {
    directory: PathBuf,
    /// What runs before bgpd, with the names that vtysh has for them.
    helpers: Vec<(&'static str, Program)>,
    bgpd: Program,
}

impl Frr {
    /// Starts bgpd alone with this configuration and waits until it answers.
    pub fn start(sandbox: &Sandbox, namespace: &Namespace, name: &str, config: &str) -> Result<Self> {
        Self::start_with(sandbox, namespace, name, config, &[])
    }

    /// Starts bgpd with this configuration, and zebra before it, which writes what is best into
    /// the kernel's tables.
    pub fn start_with_zebra(
        sandbox: &Sandbox,
        namespace: &Namespace,
        name: &str,
        config: &str,
    ) -> Result<Self> {
        Self::start_with(sandbox, namespace, name, config, &[("zebra", ZEBRA)])
    }

    /// The same with bfdd, which takes its timers from bgpd's configuration.
    pub fn start_with_bfd(
        sandbox: &Sandbox,
        namespace: &Namespace,
        name: &str,
        config: &str,
    ) -> Result<Self> {
        Self::start_with(sandbox, namespace, name, config, &[("zebra", ZEBRA), ("bfdd", BFDD)])
    }

    fn start_with(
        sandbox: &Sandbox,
        namespace: &Namespace,
        name: &str,
        config: &str,
        helpers: &[(&'static str, &str)],
    ) -> Result<Self> {
        let directory = sandbox.directory().join(name);
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let user = User::from_name("frr").context("look up user frr")?.context("there is no user frr")?;
        let owned_by_frr = |path: &Path| {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .with_context(|| format!("chown {}", path.display()))
        };
        owned_by_frr(&directory)?;
        for (file, text) in [("bgpd.conf", config), ("zebra.conf", ""), ("bfdd.conf", "")] {
            let path = directory.join(file);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            owned_by_frr(&path)?;
        }
        let sockets = directory.display().to_string();
        let of = |path: &str, daemon: &str, options: &[&str]| {
            let at = |kind: &str| format!("{sockets}/{daemon}.{kind}");
            let (config, pid, zserv) = (at("conf"), at("pid"), format!("{sockets}/zserv.api"));
            // Without -A, two bgpds would meet on the same address for their terminals.
            let mut words = vec![path, "-A", "127.0.0.1", "-f", &config, "-i", &pid, "-z", &zserv];
            words.extend(["--vty_socket", &sockets, "--log", "stdout"]);
            words.extend(options);
            Program::new(namespace, &format!("{name}-{daemon}"), &words)
        };
        let alone: &[&str] = if helpers.is_empty() { &["-Z"] } else { &[] };
        let bgpd = of(BGPD, "bgpd", alone);
        let control = format!("{sockets}/bfdd.sock");
        let helper = |(daemon, path): &(&'static str, &str)| {
            let options: &[&str] = if *daemon == "bfdd" { &["--bfdctl", &control] } else { &[] };
            (*daemon, of(path, daemon, options))
        };
        let helpers = helpers.iter().map(helper).collect();
        let mut frr = Self { directory, helpers, bgpd };
        frr.launch(sandbox)?;
        Ok(frr)
    }

    /// Starts the processes again, after [`Frr::kill_9`].
    pub fn launch(&mut self, sandbox: &Sandbox) -> Result<()> {
        let directory = &self.directory;
        let start = |program: &mut Program, daemon: &str| {
            program.launch(sandbox, Duration::from_secs(10), || vtysh(directory, daemon, &["show version"]))
        };
        for (daemon, helper) in &mut self.helpers {
            start(helper, daemon)?;
        }
        start(&mut self.bgpd, "bgpd")
    }

    /// Replaces bgpd's configuration, for the next time that it starts.
    pub fn rewrite(&self, config: &str) -> Result<()> {
        let path = self.directory.join("bgpd.conf");
        fs::write(&path, config).with_context(|| format!("write {}", path.display()))
    }

    /// Ends it without a farewell to its peers.
    pub fn kill_9(&mut self) -> Result<()> {
        for (_, helper) in &mut self.helpers {
            helper.kill_9()?;
        }
        self.bgpd.kill_9()
    }

    /// bgpd's log so far.
    pub fn log_text(&self) -> String {
        self.bgpd.log_text()
    }

    /// bgpd.
    pub fn program(&mut self) -> &mut Program {
        &mut self.bgpd
    }

    /// What vtysh answers to one command.
    pub fn query(&self, question: &str) -> Result<String> {
        vtysh(&self.directory, "bgpd", &[question])
    }

    /// The answer to a question that ends in `json`.
    pub fn query_json(&self, question: &str) -> Result<Value> {
        let answer = self.query(question)?;
        serde_json::from_str(&answer)
            .with_context(|| format!("vtysh `{question}` did not answer JSON: {answer}"))
    }

    /// Enters configuration commands, one after the other.
    pub fn configure(&self, commands: &[&str]) -> Result<()> {
        self.configure_of("bgpd", commands)
    }

    /// The same of another of its daemons.
    pub fn configure_of(&self, daemon: &str, commands: &[&str]) -> Result<()> {
        let lines: Vec<&str> = ["configure terminal"].iter().chain(commands).copied().collect();
        vtysh(&self.directory, daemon, &lines).map(drop)
    }

    /// What bfdd knows of its session with a neighbour.
    pub fn bfd(&self, neighbor: &str) -> Result<Value> {
        let answer = vtysh(&self.directory, "bfdd", &["show bfd peers json"])?;
        let peers: Value = serde_json::from_str(&answer).with_context(|| format!("bfdd said {answer}"))?;
        let found = peers.as_array().and_then(|peers| peers.iter().find(|peer| peer["peer"] == neighbor));
        found.cloned().with_context(|| format!("bfdd does not know {neighbor}: {peers}"))
    }

    /// Waits until the session with a neighbour is Established.
    pub fn wait_established(&self, neighbor: &str, timeout: Duration) -> Result<()> {
        wait_until(&format!("{} Established with {neighbor}", self.bgpd.name()), timeout, || {
            let answer = self.query_json(&format!("show bgp neighbors {neighbor} json"))?;
            let state = answer[neighbor]["bgpState"].as_str().unwrap_or("none").to_owned();
            if state == "Established" { Ok(()) } else { Err(anyhow!("state {state}")) }
        })
    }

    /// A figure of `show bgp neighbors` for one family: `sentPrefixCounter`,
    /// `acceptedPrefixCounter`.
    pub fn prefix_count(&self, neighbor: &str, family: &str, counter: &str) -> Result<u64> {
        let answer = self.query_json(&format!("show bgp neighbors {neighbor} json"))?;
        let figures = &answer[neighbor]["addressFamilyInfo"][family];
        figures[counter].as_u64().with_context(|| format!("no {counter} of {family} in: {figures}"))
    }
}

/// What vtysh answers to commands, one after the other.
fn vtysh(sockets: &Path, daemon: &str, lines: &[&str]) -> Result<String> {
    let mut command = Command::new("vtysh");
    command.arg("--vty_socket").arg(sockets).args(["-d", daemon]);
    for line in lines {
        command.args(["-c", line]);
    }
    output(&mut command)
}
