//! GoBGP, the control plane alone: it never writes routes into the kernel without zebra.
//!
//! Its API answers inside its namespace; questions go through `gobgp`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::netns::{Namespace, Sandbox, output};
use crate::peers::program::Program;

/// The programs that this driver needs.
pub const PROGRAMS: [&str; 2] = ["gobgpd", "gobgp"];

/// A running gobgpd.
#[derive(Debug)]
pub struct Gobgp {
    namespace: Namespace,
    program: Program,
}

impl Gobgp {
    /// Starts gobgpd with this configuration (TOML) and waits until it answers.
    pub fn start(sandbox: &Sandbox, namespace: &Namespace, name: &str, config: &str) -> Result<Self> {
        let path = sandbox.directory().join(format!("{name}.toml"));
        fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
        let file = path.display().to_string();
        let words = ["gobgpd", "-f", &file, "-t", "toml", "--api-hosts", "127.0.0.1:50051"];
        let mut program = Program::new(namespace, name, &words);
        program.launch(sandbox, Duration::from_secs(10), || {
            output(namespace.command("gobgp").args(["-u", "127.0.0.1", "neighbor"]))
        })?;
        Ok(Self { namespace: namespace.clone(), program })
    }

    /// What `gobgp` answers.
    pub fn query(&self, question: &str) -> Result<String> {
        let mut command = self.namespace.command("gobgp");
        output(command.args(["-u", "127.0.0.1"]).args(question.split_whitespace()))
    }

    /// Ends it without a farewell to its peers.
    pub fn kill_9(&mut self) -> Result<()> {
        self.program.kill_9()
    }

    /// Starts the process again as one that has kept forwarding. It knows nothing of what it announced.
    pub fn recover(&mut self, sandbox: &Sandbox) -> Result<()> {
        let namespace = self.namespace.clone();
        self.program.launch_with(sandbox, Duration::from_secs(10), &["-r"], || {
            output(namespace.command("gobgp").args(["-u", "127.0.0.1", "neighbor"]))
        })
    }

    /// The log so far.
    pub fn log_text(&self) -> String {
        self.program.log_text()
    }

    /// Its program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}
