//! Packet captures: tcpdump writes them, tshark reads them.
//!
//! tshark is told to verify IPv4 checksums, which it does not do by itself.
//!
//! [`judge`] has tshark read BGP messages and lists what it finds fault with.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::netns::{Namespace, Sandbox, output};
use crate::packet::{Ipv4, Transport};
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

    /// Stops, and checks that [`judge`] finds no fault with the BGP messages of the capture; how many
    /// there are.
    pub fn stop_well_formed(mut self) -> Result<usize> {
        self.end()?;
        let seen = judge(&self.file, AsNumbers::Either)?;
        ensure!(!seen.messages.is_empty(), "no BGP message in {}", self.file.display());
        seen.sound()?;
        Ok(seen.messages.len())
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

/// How many octets the AS numbers in UPDATEs have, which tshark cannot tell from a message alone.
#[derive(Clone, Copy, Debug)]
pub enum AsNumbers {
    /// Two, for a peer that does not read four (RFC 6793).
    Two,
    /// Four.
    Four,
    /// Either, session by session: a message counts as malformed if it is so both ways.
    Either,
}

/// What tshark makes of the BGP messages of a capture.
#[derive(Debug, Default)]
pub struct Reading {
    /// The types of the messages, in order.
    pub messages: Vec<u8>,
    /// Messages that it does not read, longer than 4096 octets (RFC 8654).
    pub unread: usize,
    /// Prefixes in the others, announced and withdrawn.
    pub prefixes: usize,
    /// Path identifiers before these (RFC 7911).
    pub path_ids: usize,
    /// What it finds fault with, as it puts it, by the number of the packet.
    pub faults: BTreeMap<u64, Vec<String>>,
}

impl Reading {
    /// An error with the first faults, if there are any.
    pub fn sound(&self) -> Result<()> {
        let lines = self.faults.iter().map(|(packet, how)| format!("packet {packet}: {}", how.join("; ")));
        let first: Vec<String> = lines.take(20).collect();
        let count = self.faults.len();
        ensure!(count == 0, "tshark finds fault with {count} packets:\n{}", first.join("\n"));
        Ok(())
    }
}

/// Has tshark read the BGP messages of a capture. A fault is what it remarks on as a note, a warning or
/// an error, save how TCP's segments came, and what it does not know yet.
pub fn judge(file: &Path, numbers: AsNumbers) -> Result<Reading> {
    match numbers {
        AsNumbers::Two => read_messages(file, "2 octet"),
        AsNumbers::Four => read_messages(file, "4 octet"),
        AsNumbers::Either => {
            let mut reading = read_messages(file, "4 octet")?;
            if !reading.faults.is_empty() {
                let other = read_messages(file, "2 octet")?;
                reading.faults.retain(|packet, _| other.faults.contains_key(packet));
            }
            Ok(reading)
        }
    }
}

fn read_messages(file: &Path, as_numbers: &str) -> Result<Reading> {
    const PREFIXES: [&str; 6] = [
        "bgp.nlri_prefix",
        "bgp.withdrawn_prefix",
        "bgp.mp_reach_nlri_ipv4_prefix",
        "bgp.mp_unreach_nlri_ipv4_prefix",
        "bgp.mp_reach_nlri_ipv6_prefix",
        "bgp.mp_unreach_nlri_ipv6_prefix",
    ];
    const FIELDS: [&str; 6] = [
        "frame.number",
        "bgp.type",
        "bgp.nlri_path_id",
        "_ws.expert.severity",
        "_ws.expert.group",
        "_ws.expert.message",
    ];
    let path = file.display().to_string();
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", &path, "-o", &format!("bgp.asn_len:{as_numbers}"), "-Y", "bgp"]);
    command.args(["-T", "fields", "-E", "aggregator=|"]);
    for field in FIELDS.iter().chain(&PREFIXES) {
        command.args(["-e", field]);
    }
    let text = output(&mut command).with_context(|| format!("read {path}"))?;
    let mut reading = Reading::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let values = |at: usize| {
            fields.get(at).into_iter().flat_map(|field| field.split('|')).filter(|value| !value.is_empty())
        };
        for kind in values(1) {
            reading.messages.push(kind.parse().with_context(|| format!("message type {kind}"))?);
        }
        reading.path_ids += values(2).count();
        reading.prefixes += (FIELDS.len()..fields.len()).flat_map(values).count();
        let packet: u64 = fields[0].parse().with_context(|| format!("packet number {}", fields[0]))?;
        for ((severity, group), message) in values(3).zip(values(4)).zip(values(5)) {
            let severity: u32 = severity.parse().with_context(|| format!("severity {severity}"))?;
            let group: u32 = group.parse().with_context(|| format!("group {group}"))?;
            if severity < NOTE || group == SEQUENCE || not_known_yet(message) {
                reading.unread += usize::from(is_long(message));
                continue;
            }
            reading.faults.entry(packet).or_default().push(message.to_owned());
        }
    }
    Ok(reading)
}

/// The group of tshark's remarks on the order of TCP segments.
const SEQUENCE: u32 = 0x0200_0000;
/// The severity "Note" of its remarks; "Chat" is below, "Warning" and "Error" are above.
const NOTE: u32 = 0x0040_0000;

/// Remarks of tshark 4.0 on what is newer than it, or what it never learned.
fn not_known_yet(remark: &str) -> bool {
    // The code of RFC 9687.
    remark == "Unknown notification error (8)" || is_long(remark)
}

/// Whether this is about the length of a message that only RFC 8654 allows.
fn is_long(remark: &str) -> bool {
    let length = remark.strip_prefix("Length is invalid ").and_then(|length| length.parse().ok());
    length.is_some_and(|length: usize| {
        (bgp::wire::MAX_MESSAGE + 1..=bgp::wire::MAX_EXTENDED_MESSAGE).contains(&length)
    })
}

/// A capture file, of packets that begin with their IP header.
#[derive(Debug)]
pub struct PacketFile(BufWriter<File>);

impl PacketFile {
    /// A file without packets.
    pub fn create(path: &Path) -> Result<Self> {
        // As libpcap writes them: microseconds, version 2.4, no time zone, up to 256 KiB, raw IP.
        let mut file =
            BufWriter::new(File::create(path).with_context(|| format!("create {}", path.display()))?);
        file.write_all(&0xa1b2_c3d4_u32.to_ne_bytes())?;
        file.write_all(&[2_u16, 4].map(u16::to_ne_bytes).concat())?;
        file.write_all(&[0_u32, 0, 1 << 18, 101].map(u32::to_ne_bytes).concat())?;
        Ok(Self(file))
    }

    /// Appends a packet that was seen at this time since 1970.
    pub fn push(&mut self, at: Duration, packet: &[u8]) -> Result<()> {
        let length = packet.len() as u32;
        let head = [at.as_secs() as u32, at.subsec_micros(), length, length].map(u32::to_ne_bytes).concat();
        self.0.write_all(&head)?;
        self.0.write_all(packet).context("write a packet")
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<()> {
        self.0.flush().context("write the capture")
    }
}

/// Writes a capture of a TCP connection to port 179 on which these bytes are sent.
pub fn write_stream(path: &Path, stream: &[u8]) -> Result<()> {
    let mut file = PacketFile::create(path)?;
    let mut sequence = 1;
    for part in stream.chunks(1448) {
        let transport = Transport::Tcp(40_000, 179, sequence, part.to_vec());
        let packet = Ipv4::new(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2), transport);
        file.push(Duration::ZERO, &packet.bytes())?;
        sequence += part.len() as u32;
    }
    file.finish()
}
