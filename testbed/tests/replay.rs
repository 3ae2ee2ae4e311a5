//! What route collectors heard, told again: the daemon ends up with what other readers of the same
//! file have. A generated file by default; `PEREGRINE_MRT` names a real one.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use testbed::daemon;
use testbed::random::Random;
use testbed::replay::mrt::{Peer, Recording};
use testbed::replay::run::replay;
use testbed::speaker::{self, PathAttributes};

/// Peers of two families that announce, change and withdraw routes to the same few prefixes.
fn generated(seed: u64) -> Recording {
    let mut random = Random::new(seed);
    let peers: Vec<Peer> = (0..8_u8)
        .map(|i| {
            let address = if i % 4 == 3 { format!("2001:db8::{i}") } else { format!("198.51.100.{i}") };
            // Two peers in each AS, so that MED counts.
            Peer { address: address.parse().expect("an address"), asn: 64510 + u32::from(i / 2) }
        })
        .collect();
    let mut messages = Vec::new();
    for _ in 0..3000 {
        let index = random.index(peers.len());
        let ipv6 = random.chance(300);
        let start = random.index(400) as u32;
        let prefixes: Vec<IpNet> = (start..start + 1 + random.index(8) as u32)
            .map(|i| {
                if ipv6 {
                    Ipv6Net::new((0x2001_0db8_u128 << 96 | u128::from(i) << 80).into(), 48)
                        .expect("a /48")
                        .into()
                } else {
                    Ipv4Net::new((0x0a62_0000 + (i << 8)).into(), 24).expect("a /24").into()
                }
            })
            .collect();
        let mut bytes = Vec::new();
        if random.chance(250) {
            speaker::withdraw(&mut bytes, &prefixes);
        } else {
            let next_hop: IpAddr =
                if ipv6 { "2001:db8::9" } else { "198.51.100.9" }.parse().expect("an address");
            let mut path = vec![peers[index].asn];
            path.extend((0..random.index(4)).map(|_| 64520 + random.index(5) as u32));
            let mut attributes = PathAttributes::new(path, next_hop);
            attributes.origin = random.index(3) as u8;
            attributes.med = [None, Some(0), Some(5), Some(9)][random.index(4)];
            attributes.communities = (0..random.index(3)).map(|i| 64510 << 16 | i as u32).collect();
            speaker::announce(&mut bytes, &attributes, &prefixes);
        }
        messages.push((index, bytes));
    }
    Recording { peers, messages, skipped: 0 }
}

#[test]
fn a_written_recording_is_read_back() -> Result<()> {
    let recording = generated(3);
    let read = Recording::parse(&recording.to_mrt())?;
    ensure!(read.skipped == 0 && read.messages.len() == recording.messages.len());
    for ((left, message), (right, expected)) in read.messages.iter().zip(&recording.messages) {
        ensure!(read.peers[*left] == recording.peers[*right] && message == expected);
    }
    ensure!(Recording::parse(&recording.to_mrt()[..200]).is_err(), "a cut file was read");
    Ok(())
}

#[test]
fn replayed_updates_leave_what_other_readers_have() -> Result<()> {
    if !daemon::ready("replay::replayed_updates_leave_what_other_readers_have", &[]) {
        return Ok(());
    }
    let real = std::env::var_os("PEREGRINE_MRT").map(PathBuf::from);
    let file = match &real {
        Some(path) => path.clone(),
        None => std::env::temp_dir().join(format!("peregrine-replay-{}.mrt", std::process::id())),
    };
    if real.is_none() {
        std::fs::write(&file, generated(1).to_mrt()).context("write the recording")?;
    }
    let report = replay("replay", &file);
    if real.is_none() {
        std::fs::remove_file(&file)?;
    }
    let report = report?;
    println!("{}", report.text());
    ensure!(report.routes.1 > 100, "{} prefixes: too few to show anything", report.routes.1);
    Ok(())
}
