//! All BGP that leaves a namespace, taken down while a daemon runs and judged by tshark when it ends.
//!
//! With the environment variable [`JUDGE`] set, as `scripts/test` does, this happens to each daemon under
//! test; see [`crate::daemon::Daemon`]. It takes a socket and a thread of this process, so that there is no
//! other program in the namespace, whose processes some tests count.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::capture::{AsNumbers, PacketFile, judge};
use crate::netns::{Namespace, Sandbox};
use crate::packet::protocol;
use crate::skip;

/// The environment variable that asks for it.
pub const JUDGE: &str = "PEREGRINE_TSHARK";

const BGP: u16 = 179;
/// `PACKET_OUTGOING` of `linux/if_packet.h`.
const OUTGOING: u8 = 4;
/// What may wait to be taken down.
const BUFFER: usize = 64 << 20;
/// Longer than any packet, segments to be cut by the card included.
const LONGEST: usize = 1 << 18;

/// What leaves a namespace, being taken down.
#[derive(Debug)]
pub struct Outgoing {
    file: PathBuf,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Outgoing {
    /// Begins, if [`JUDGE`] asks for it and tshark is there.
    pub fn start_if_asked(sandbox: &Sandbox, namespace: &Namespace) -> Result<Option<Self>> {
        if std::env::var_os(JUDGE).is_none() || sandbox.is_kept() || !skip::installed(&["tshark"]) {
            return Ok(None);
        }
        Self::start(sandbox, namespace).map(Some)
    }

    fn start(sandbox: &Sandbox, namespace: &Namespace) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("outgoing-{}.pcap", COUNT.fetch_add(1, Ordering::Relaxed));
        let file = sandbox.directory().join(name);
        let packets = PacketFile::create(&file)?;
        let socket = namespace.enter(listen)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || take_down(&socket, packets, &stopped));
        Ok(Self { file, stop, thread })
    }

    /// Ends, and checks that tshark finds no fault with what was sent; how many messages that was.
    pub fn judge(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let Ok(done) = self.thread.join() else { bail!("the thread that takes down packets panicked") };
        done?;
        let seen = judge(&self.file, AsNumbers::Either)?;
        seen.sound().with_context(|| self.file.display().to_string())?;
        fs::remove_file(&self.file).with_context(|| format!("remove {}", self.file.display()))?;
        Ok(seen.messages.len())
    }
}

/// A socket that hears all packets of all devices, from their IP headers on.
fn listen() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll);
    let socket = socket.context("open a packet socket")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("enlarge the receive buffer")?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 10_000)).context("set a timeout")?;
    Ok(socket)
}

/// Takes down BGP until told to stop, and then what is left.
fn take_down(socket: &OwnedFd, mut file: PacketFile, stop: &AtomicBool) -> Result<()> {
    let mut buffer = vec![0; LONGEST];
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            Ok((length, Some(from))) if from.pkttype() == OUTGOING && is_bgp(&buffer[..length]) => {
                let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                file.push(at, &buffer[..length])?;
            }
            Err(Errno::EAGAIN) if stopping => return file.finish(),
            // ENETDOWN: a device went down, others are still heard.
            Ok(_) | Err(Errno::EINTR | Errno::ENETDOWN | Errno::EAGAIN) => {}
            Err(error) => return Err(error).context("receive packets"),
        }
    }
}

/// Whether an IP packet is TCP from or to port 179.
fn is_bgp(packet: &[u8]) -> bool {
    let (protocol, header) = match packet.first().map(|first| first >> 4) {
        Some(4) => (packet.get(9), usize::from(packet[0] & 0xf) * 4),
        Some(6) => (packet.get(6), 40),
        _ => return false,
    };
    let port = |at| packet.get(at..at + 2).map(|port| u16::from_be_bytes([port[0], port[1]]));
    protocol == Some(&protocol::TCP) && [port(header), port(header + 2)].contains(&Some(BGP))
}
