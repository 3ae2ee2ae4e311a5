//! Packet captures: tcpdump writes them, tshark reads them.
//!
//! tshark is told to verify IPv4 checksums, which it does not do by itself.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
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

    /// Stops, and checks that tshark finds nothing malformed in the BGP messages of the capture, nor
    /// anything else in them that it warns of; how many packets have messages.
    pub fn stop_well_formed(mut self) -> Result<usize> {
        self.end()?;
        let path = self.file.display().to_string();
        let read = |filter: &str, fields: &[&str]| {
            let mut command = Command::new("tshark");
            command.args(["-n", "-r", &path, "-Y", filter, "-T", "fields"]);
            for field in fields {
                command.args(["-e", field]);
            }
            output(&mut command).with_context(|| format!("read {path}"))
        };
        let messages = read("bgp", &["frame.number"])?.lines().count();
        ensure!(messages > 0, "no BGP message in {path}");
        let bad = read(
            "bgp && (_ws.malformed || _ws.expert.severity >= \"Warning\" && !tcp.analysis.flags && !_ws.expert.group == \"Sequence\")",
            &["frame.number", "_ws.expert.message", "tcp.payload"],
        )?;
        ensure!(bad.is_empty(), "messages that tshark finds fault with:\n{bad}");
        Ok(messages)
    }

    fn end(&mut self) -> Result<()> {
        // What was sent just before is still on its way through the namespaces.
        std::thread::sleep(Duration::from_millis(300));
        self.process.end(Signal::SIGINT, Duration::from_secs(5)).map(drop)
    }

    /// Stops, and returns these fields of each packet (tshark's names; the first occurrence in
    /// the packet, empty where it has none).
    pub fn stop(mut self, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        self.end()?;
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
