//! Packet captures: tcpdump writes them, tshark reads them.
//!
//! tshark is told to verify IPv4 checksums, which it does not do by itself.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::netns::{Namespace, Sandbox, output};
use crate::process::Process;

/// The programs that captures need.
pub const PROGRAMS: [&str; 2] = ["tcpdump", "tshark"];

/// `ip.checksum.status` of a checksum that was verified and is right.
pub const CHECKSUM_GOOD: &str = "1";

/// A running capture on one device.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts to capture what matches a pcap filter; returns once it listens.
    pub fn start(sandbox: &Sandbox, namespace: &Namespace, device: &str, filter: &str) -> Result<Self> {
        let name = format!("capture-{}-{device}", namespace.name());
        let file = sandbox.directory().join(format!("{name}.pcap"));
        let path = file.display().to_string();
        let _ = std::fs::remove_file(sandbox.directory().join(format!("{name}.log")));
        let words =
            ["tcpdump", "-n", "--immediate-mode", "-U", "-Z", "root", "-i", device, "-w", &path, filter];
        let mut process = Process::spawn(sandbox, namespace, &name, &words)?;
        process.wait_for_line("listening on", Duration::from_secs(10))?;
        Ok(Self { process, file })
    }

    /// Stops, and returns these fields of each packet (tshark's names; the first occurrence in
    /// the packet, empty where it has none).
    pub fn stop(mut self, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        // What was sent just before is still on its way through the namespaces.
        std::thread::sleep(Duration::from_millis(300));
        self.process.end(Signal::SIGINT, Duration::from_secs(5))?;
        let path = self.file.display().to_string();
        let mut command = Command::new("tshark");
        command.args([
            "-n",
            "-r",
            &path,
            "-o",
            "ip.check_checksum:TRUE",
            "-T",
            "fields",
            "-E",
            "occurrence=f",
        ]);
        for field in fields {
            command.args(["-e", field]);
        }
        let text = output(&mut command).with_context(|| format!("read {path}"))?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }
}
