//! ExaBGP: it announces what its configuration lists and writes down what it hears.
//!
//! It has no table and no control tool that answers: a helper process of its API appends every
//! message, as JSON, to a file, which [`Exabgp::heard`] reads.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::netns::{Namespace, Sandbox};
use crate::peers::program::Program;

/// The programs that this driver needs.
pub const PROGRAMS: [&str; 1] = ["exabgp"];

/// A running ExaBGP.
#[derive(Debug)]
pub struct Exabgp {
    config: PathBuf,
    helper: PathBuf,
    heard: PathBuf,
    program: Program,
}

impl Exabgp {
    /// Starts ExaBGP with the sections of one neighbour: `neighbor` is what stands between the
    /// braces, except the API.
    pub fn start(
        sandbox: &Sandbox,
        namespace: &Namespace,
        name: &str,
        address: &str,
        neighbor: &str,
    ) -> Result<Self> {
        let at = |ending: &str| sandbox.directory().join(format!("{name}.{ending}"));
        // The shell stays: ExaBGP takes a helper that closes its output for dead.
        let (config, helper, heard) = (at("conf"), at("sh"), at("json"));
        fs::write(&heard, "").with_context(|| format!("write {}", heard.display()))?;
        fs::write(&helper, format!("#!/bin/sh\ncat >> {}\n", heard.display()))
            .with_context(|| format!("write {}", helper.display()))?;
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("chmod {}", helper.display()))?;
        let words =
            ["env", "exabgp.daemon.user=root", "exabgp.api.cli=false", "exabgp.log.destination=stdout"];
        let file = config.display().to_string();
        let words = [&words[..], &["exabgp", &file]].concat();
        let program = Program::new(namespace, name, &words);
        let mut exabgp = Self { config, helper, heard, program };
        exabgp.recover(sandbox, address, neighbor)?;
        Ok(exabgp)
    }

    /// Starts the process, also after [`Exabgp::kill_9`], with such sections.
    pub fn recover(&mut self, sandbox: &Sandbox, address: &str, neighbor: &str) -> Result<()> {
        let text = format!(
            "process hear {{ run {}; encoder json; }}\n\
             neighbor {address} {{\n{neighbor}\n  api {{ processes [ hear ]; neighbor-changes; \
             receive {{ parsed; update; notification; refresh; }} }}\n}}\n",
            self.helper.display()
        );
        fs::write(&self.config, text).with_context(|| format!("write {}", self.config.display()))?;
        // It says nothing until the session is up: to have started is all that can be waited for.
        self.program.launch(sandbox, Duration::from_secs(10), || Ok(()))
    }

    /// Ends it without a farewell to its peers.
    pub fn kill_9(&mut self) -> Result<()> {
        self.program.kill_9()
    }

    /// Every message so far, as its API tells it.
    pub fn heard(&self) -> Result<Vec<Value>> {
        let text =
            fs::read_to_string(&self.heard).with_context(|| format!("read {}", self.heard.display()))?;
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Its program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}
