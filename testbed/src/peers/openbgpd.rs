//! OpenBGPD, with a control socket of its own; questions go through `bgpctl`.
//!
//! [`Openbgpd::start`] adds the control socket and `fib-update no` to the caller's configuration:
//! a peer keeps its hands off the kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::netns::{Namespace, Sandbox, output};
use crate::peers::program::Program;

/// Where Debian keeps it; `bgpd` alone may be FRR's.
const BGPD: &str = "/usr/sbin/bgpd";
/// It will not start without this directory, which Debian's service makes.
const RUN_DIRECTORY: &str = "/run/openbgpd";

/// The programs that this driver needs.
pub const PROGRAMS: [&str; 2] = [BGPD, "bgpctl"];

/// A running OpenBGPD.
#[derive(Debug)]
pub struct Openbgpd {
    socket: PathBuf,
    program: Program,
}

impl Openbgpd {
    /// Starts it with this configuration and waits until it answers.
    pub fn start(sandbox: &Sandbox, namespace: &Namespace, name: &str, config: &str) -> Result<Self> {
        fs::create_dir_all(RUN_DIRECTORY).with_context(|| format!("create {RUN_DIRECTORY}"))?;
        let path = sandbox.directory().join(format!("{name}.conf"));
        let socket = sandbox.directory().join(format!("{name}.sock"));
        let text = format!("socket \"{}\"\nfib-update no\n{config}", socket.display());
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        // It refuses a file that others may read.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("chmod {}", path.display()))?;
        let mut program = Program::new(namespace, name, &[BGPD, "-d", "-f", &path.display().to_string()]);
        program.launch(sandbox, Duration::from_secs(10), || summary(&socket))?;
        Ok(Self { socket, program })
    }

    /// What `bgpctl` answers.
    pub fn query(&self, question: &str) -> Result<String> {
        output(Command::new("bgpctl").arg("-s").arg(&self.socket).args(question.split_whitespace()))
    }

    /// Its program: the parent process of three.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}

fn summary(socket: &Path) -> Result<String> {
    output(Command::new("bgpctl").arg("-s").arg(socket).args(["show", "summary"]))
}
