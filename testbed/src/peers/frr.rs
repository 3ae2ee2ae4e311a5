//! FRR's bgpd, alone: without zebra it keeps its hands off the kernel, which is all a peer needs.
//!
//! bgpd drops to the user `frr`, so its directory belongs to that user. Questions go through
//! `vtysh`, answers are JSON where FRR offers it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::unistd::User;
use serde_json::Value;

use crate::netns::{Namespace, Sandbox, output};
use crate::process::{Process, wait_until};

/// Where Debian keeps it.
const BGPD: &str = "/usr/lib/frr/bgpd";

/// The programs that this driver needs.
pub const PROGRAMS: [&str; 2] = [BGPD, "vtysh"];

/// A running bgpd.
#[derive(Debug)]
pub struct Frr {
    name: String,
    namespace: Namespace,
    directory: PathBuf,
    process: Option<Process>,
}

impl Frr {
    /// Starts bgpd with this configuration and waits until it answers.
    pub fn start(sandbox: &Sandbox, namespace: &Namespace, name: &str, config: &str) -> Result<Self> {
        let directory = sandbox.directory().join(name);
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let path = directory.join("bgpd.conf");
        fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
        let user = User::from_name("frr").context("look up user frr")?.context("there is no user frr")?;
        for owned in [&directory, &path] {
            chown(owned, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .with_context(|| format!("chown {}", owned.display()))?;
        }
        let mut frr = Self { name: name.to_owned(), namespace: namespace.clone(), directory, process: None };
        frr.launch(sandbox)?;
        Ok(frr)
    }

    /// Starts the process again, after [`Frr::kill_9`].
    pub fn launch(&mut self, sandbox: &Sandbox) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let at = |file: &str| self.directory.join(file).display().to_string();
        let (config, pid, sockets) = (at("bgpd.conf"), at("bgpd.pid"), self.directory.display().to_string());
        // Without -A, two bgpds would meet on the same address for their terminals.
        let words = [
            BGPD,
            "-Z",
            "-A",
            "127.0.0.1",
            "-f",
            &config,
            "-i",
            &pid,
            "--vty_socket",
            &sockets,
            "--log",
            "stdout",
        ];
        let mut process = Process::spawn(sandbox, &self.namespace, &self.name, &words)?;
        wait_until("bgpd answers on its terminal", Duration::from_secs(10), || {
            process.ensure_running()?;
            self.query("show version")
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it without a farewell to its peers.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process.take().with_context(|| format!("{} does not run", self.name))?.kill_9()
    }

    /// What vtysh answers to one command.
    pub fn query(&self, question: &str) -> Result<String> {
        let sockets = self.directory.display().to_string();
        let mut command = std::process::Command::new("vtysh");
        command.args(["--vty_socket", &sockets, "-d", "bgpd", "-c", question]);
        output(&mut command)
    }

    /// The answer to a question that ends in `json`.
    pub fn query_json(&self, question: &str) -> Result<Value> {
        let answer = self.query(question)?;
        serde_json::from_str(&answer)
            .with_context(|| format!("vtysh `{question}` did not answer JSON: {answer}"))
    }

    /// Enters configuration commands, one after the other.
    pub fn configure(&self, commands: &[&str]) -> Result<()> {
        let sockets = self.directory.display().to_string();
        let mut command = std::process::Command::new("vtysh");
        command.args(["--vty_socket", &sockets, "-d", "bgpd", "-c", "configure terminal"]);
        for line in commands {
            command.args(["-c", line]);
        }
        output(&mut command).map(drop)
    }

    /// Waits until the session with a neighbour is Established.
    pub fn wait_established(&self, neighbor: &str, timeout: Duration) -> Result<()> {
        wait_until(&format!("{} Established with {neighbor}", self.name), timeout, || {
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
