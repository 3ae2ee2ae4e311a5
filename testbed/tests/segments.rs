//! BGP messages know nothing of TCP segments: together, apart or cut in two, they say the same.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use testbed::daemon::{self, Daemon};
use testbed::speaker::{self, HEADER, PathAttributes};
use testbed::topology::Star;

const CONFIG: &str = "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n\n[[neighbor]]\naddress = \"10.99.1.2\"\n\
                      asn = 64501\npassive = true\nimport = [\"all\"]\nexport = [\"none\"]\n";
const WAIT: Duration = Duration::from_secs(10);

/// A router, and a connection to it on which our OPEN and its OPEN and KEEPALIVE have been exchanged.
fn half_way(name: &str) -> Result<(Daemon, TcpStream, Star)> {
    let star = Star::build(name, 1)?;
    let daemon = Daemon::start(&star.sandbox, &star.router, CONFIG)?;
    let mut stream =
        star.neighbors[0].enter(|| TcpStream::connect("10.99.1.1:179").context("connect to the router"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.write_all(&speaker::open(64501, 90, [10, 99, 1, 2].into()))?;
    for _ in 0..2 {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).context("read a header")?;
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - HEADER];
        stream.read_exact(&mut body).context("read a body")?;
    }
    Ok((daemon, stream, star))
}

fn announcement(prefix: &str) -> Result<Vec<u8>> {
    let next_hop: IpAddr = "10.99.1.2".parse()?;
    let prefix: IpNet = prefix.parse()?;
    let mut messages = Vec::new();
    speaker::announce(&mut messages, &PathAttributes::new(vec![64501], next_hop), &[prefix]);
    Ok(messages)
}

#[test]
fn updates_in_the_segment_that_establishes_the_session_are_not_lost() -> Result<()> {
    if !daemon::ready("segments::updates_in_the_segment_that_establishes_the_session_are_not_lost", &[]) {
        return Ok(());
    }
    let (daemon, mut stream, _star) = half_way("segments-joined")?;
    let together =
        [speaker::keepalive(), announcement("10.98.0.0/24")?, announcement("10.98.1.0/24")?].concat();
    stream.write_all(&together)?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 2, WAIT)
}

#[test]
fn a_message_cut_in_two_is_one_message() -> Result<()> {
    if !daemon::ready("segments::a_message_cut_in_two_is_one_message", &[]) {
        return Ok(());
    }
    let (mut daemon, mut stream, _star) = half_way("segments-cut")?;
    stream.write_all(&speaker::keepalive())?;
    daemon.wait_established("10.99.1.2", WAIT)?;
    let message = announcement("10.98.0.0/24")?;
    // Inside the marker, inside the length, behind the header, before the last octet.
    for cut in [5, 17, HEADER, message.len() - 1] {
        stream.write_all(&message[..cut])?;
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(&message[cut..])?;
        daemon.process().ensure_running()?;
    }
    stream.write_all(&announcement("10.98.1.0/24")?)?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 2, WAIT)
}
