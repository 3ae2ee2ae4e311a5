//! BIRD 2, the reference peer.
//!
//! Started in the foreground with a control socket of its own; questions go through `birdc`. The
//! configuration is the caller's text: [`Bird::start`] only adds the log and the device protocol
//! that every configuration needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::netns::{Namespace, Sandbox, output};
use crate::peers::program::Program;
use crate::process::wait_until;

/// Lines that each configuration starts with.
const PREAMBLE: &str = "log stderr all;\nprotocol device { }\n";

/// The programs that this driver needs.
pub const PROGRAMS: [&str; 2] = ["bird", "birdc"];

/// A running BIRD.
#[derive(Debug)]
pub struct Bird {
    config: PathBuf,
    socket: PathBuf,
    program: Program,
}

impl Bird {
    /// Starts BIRD with this configuration and waits until it answers.
    pub fn start(sandbox: &Sandbox, namespace: &Namespace, name: &str, config: &str) -> Result<Self> {
        let path = sandbox.directory().join(format!("{name}.conf"));
        let socket = sandbox.directory().join(format!("{name}.ctl"));
        write_config(&path, config)?;
        let words = ["bird", "-f", "-c", &path.display().to_string(), "-s", &socket.display().to_string()];
        let mut bird = Self { program: Program::new(namespace, name, &words), config: path, socket };
        bird.launch(sandbox)?;
        Ok(bird)
    }

    /// Starts the process again, after [`Bird::kill_9`].
    pub fn launch(&mut self, sandbox: &Sandbox) -> Result<()> {
        let socket = &self.socket;
        self.program.launch(sandbox, Duration::from_secs(5), || birdc(socket, "show status"))
    }

    /// Starts the process again as one that recovers by graceful restart, with another configuration: it tells
    /// its peers that it kept forwarding (`bird -R`).
    pub fn recover(&mut self, sandbox: &Sandbox, config: &str) -> Result<()> {
        write_config(&self.config, config)?;
        let socket = &self.socket;
        let answers = || birdc(socket, "show status");
        self.program.launch_with(sandbox, Duration::from_secs(5), &["-R"], answers)
    }

    /// Ends it without a farewell to its peers.
    pub fn kill_9(&mut self) -> Result<()> {
        self.program.kill_9()
    }

    /// What `birdc` answers.
    pub fn query(&self, question: &str) -> Result<String> {
        birdc(&self.socket, question)
    }

    /// Replaces the configuration and waits until it is in force.
    pub fn reconfigure(&self, config: &str) -> Result<()> {
        write_config(&self.config, config)?;
        let answer = self.query("configure")?;
        ensure!(answer.contains("Reconfig"), "birdc configure: {answer}");
        Ok(())
    }

    /// Waits until a protocol's state line says "Established".
    pub fn wait_established(&self, protocol: &str, timeout: Duration) -> Result<()> {
        wait_until(&format!("{} Established with {protocol}", self.program.name()), timeout, || {
            let answer = self.query(&format!("show protocols {protocol}"))?;
            if answer.contains("Established") { Ok(()) } else { Err(anyhow!("{}", answer.trim())) }
        })
    }

    /// Number of routes that a protocol exports in one channel (`ipv4` or `ipv6`).
    pub fn exported(&self, protocol: &str, channel: &str) -> Result<u64> {
        self.channel_figure(protocol, channel, "exported")
    }

    /// Number of routes that a protocol has imported in one channel.
    pub fn imported(&self, protocol: &str, channel: &str) -> Result<u64> {
        self.channel_figure(protocol, channel, "imported")
    }

    /// One figure of the line `Routes: 3 imported, 2 exported, 1 preferred` of a channel.
    fn channel_figure(&self, protocol: &str, channel: &str, figure: &str) -> Result<u64> {
        let answer = self.query(&format!("show protocols all {protocol}"))?;
        let heading = format!("Channel {channel}");
        let mut lines = answer.lines().skip_while(|line| line.trim() != heading).skip(1);
        let routes = lines
            .by_ref()
            .take_while(|line| !line.trim().starts_with("Channel"))
            .find_map(|line| line.trim().strip_prefix("Routes:"))
            .with_context(|| format!("no routes of {channel} in: {answer}"))?;
        for part in routes.split(',') {
            if let Some(number) = part.trim().strip_suffix(figure) {
                return number.trim().parse().with_context(|| format!("figure in: {routes}"));
            }
        }
        bail!("no figure \"{figure}\" in: {routes}")
    }

    /// `show route for PREFIX all`: every path with its attributes, the best marked `*`.
    pub fn routes(&self, prefix: &str) -> Result<String> {
        self.query(&format!("show route {prefix} all"))
    }

    /// Waits until it shows a prefix with all of these whole lines, as of attributes.
    pub fn wait_for_lines(&self, prefix: &str, expected: &[&str], within: Duration) -> Result<()> {
        wait_until(&format!("{prefix} with {expected:?}"), within, || {
            let answer = self.routes(prefix)?;
            let lines: Vec<&str> = answer.lines().map(str::trim).collect();
            if expected.iter().all(|line| lines.contains(line)) { Ok(()) } else { Err(anyhow!("{answer}")) }
        })
    }

    /// Whether it has a BGP route of this prefix; it fails to show what is not there.
    pub fn has_route(&self, prefix: &str) -> bool {
        self.routes(prefix).is_ok_and(|answer| answer.contains("BGP.origin"))
    }

    /// Its program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}

fn write_config(path: &Path, config: &str) -> Result<()> {
    fs::write(path, format!("{PREAMBLE}{config}")).with_context(|| format!("write {}", path.display()))
}

fn birdc(socket: &Path, question: &str) -> Result<String> {
    let mut command = Command::new("birdc");
    command.arg("-s").arg(socket).args(question.split_whitespace());
    let answer = output(&mut command)?;
    // The first line greets: "BIRD 2.0.12 ready."
    let text = answer.split_once('\n').map_or("", |(_, rest)| rest).to_owned();
    for complaint in ["syntax error", "Unable to connect"] {
        ensure!(!text.contains(complaint), "birdc `{question}`: {text}");
    }
    Ok(text)
}
