//! MRT files of BGP messages (RFC 6396 sections 4.4 and 3): `BGP4MP` and `BGP4MP_ET`, four-octet AS
//! numbers.
//!
//! Kept are the UPDATEs. Left out, and counted, is what cannot be told again over a session of ours:
//! peers with two-octet AS numbers, add-path (RFC 8050), messages that exceed 4096 octets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::speaker::{MAX_MESSAGE, UPDATE, take, take_u16, take_u32};

const BGP4MP: u16 = 16;
const BGP4MP_ET: u16 = 17;
const MESSAGE_AS4: u16 = 4;

/// Who spoke to the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// Its address then.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: u32,
}

/// The UPDATEs of a file.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// In order of appearance.
    pub peers: Vec<Peer>,
    /// Index of the peer, and the whole message, in the order of the file.
    pub messages: Vec<(usize, Vec<u8>)>,
    /// How many records were left out.
    pub skipped: usize,
}

impl Recording {
    /// Reads a file, unpacked by its ending: `.bz2`, `.gz`, `.xz`.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(&unpacked(path)?).with_context(|| path.display().to_string())
    }

    /// Reads the records.
    pub fn parse(mut bytes: &[u8]) -> Result<Self> {
        let mut out = Self::default();
        let mut known = HashMap::new();
        while !bytes.is_empty() {
            take(&mut bytes, 4)?;
            let (kind, subtype) = (take_u16(&mut bytes)?, take_u16(&mut bytes)?);
            let length = take_u32(&mut bytes)? as usize;
            let mut record = take(&mut bytes, length)?;
            match kind {
                BGP4MP => (),
                BGP4MP_ET => drop(take(&mut record, 4)?),
                _ => {
                    out.skipped += 1;
                    continue;
                }
            }
            if subtype != MESSAGE_AS4 {
                out.skipped += 1;
                continue;
            }
            let (peer, message) = message_as4(record)?;
            if message.get(18) != Some(&UPDATE) || message.len() > MAX_MESSAGE {
                out.skipped += 1;
                continue;
            }
            let next = known.len();
            let index = *known.entry(peer).or_insert(next);
            if index == next {
                out.peers.push(peer);
            }
            out.messages.push((index, message.to_vec()));
        }
        Ok(out)
    }

    /// The file that [`Recording::parse`] reads back, every other record with microseconds.
    pub fn to_mrt(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, (peer, message)) in self.messages.iter().enumerate() {
            let peer = self.peers[*peer];
            let precise = at % 2 == 1;
            let mut record = if precise { vec![0, 1, 2, 3] } else { Vec::new() };
            record.extend(peer.asn.to_be_bytes());
            record.extend(64_511_u32.to_be_bytes());
            record.extend([0, 0]);
            match peer.address {
                IpAddr::V4(address) => {
                    record.extend([0, 1]);
                    record.extend(address.octets());
                    record.extend(Ipv4Addr::new(192, 0, 2, 254).octets());
                }
                IpAddr::V6(address) => {
                    record.extend([0, 2]);
                    record.extend(address.octets());
                    record.extend(Ipv6Addr::LOCALHOST.octets());
                }
            }
            record.extend(message);
            out.extend(1_700_000_000_u32.to_be_bytes());
            out.extend(if precise { BGP4MP_ET } else { BGP4MP }.to_be_bytes());
            out.extend(MESSAGE_AS4.to_be_bytes());
            out.extend((record.len() as u32).to_be_bytes());
            out.extend(record);
        }
        out
    }
}

/// `BGP4MP_MESSAGE_AS4`: the peer and what it sent.
fn message_as4(mut record: &[u8]) -> Result<(Peer, &[u8])> {
    let asn = take_u32(&mut record)?;
    // The collector's AS, the interface.
    take(&mut record, 6)?;
    let address = match take_u16(&mut record)? {
        1 => {
            let octets: [u8; 4] = take(&mut record, 4)?.try_into()?;
            take(&mut record, 4)?;
            IpAddr::from(octets)
        }
        2 => {
            let octets: [u8; 16] = take(&mut record, 16)?.try_into()?;
            take(&mut record, 16)?;
            IpAddr::from(octets)
        }
        afi => bail!("a peer of address family {afi}"),
    };
    Ok((Peer { address, asn }, record))
}

/// The contents of a file, unpacked by its ending.
pub fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|ending| ending.to_str()) {
        Some("bz2") => "bzip2",
        Some("gz") => "gzip",
        Some("xz") => "xz",
        _ => return std::fs::read(path).with_context(|| format!("read {}", path.display())),
    };
    let done = Command::new(program).arg("-dc").arg(path).output();
    let done = done.with_context(|| format!("{program} -dc {}", path.display()))?;
    ensure!(
        done.status.success(),
        "{program} -dc {}: {}",
        path.display(),
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(done.stdout)
}
