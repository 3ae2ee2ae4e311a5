//! A steady stream of numbered packets from one namespace to another, counted one by one.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt};

use crate::netns::Namespace;

const PORT: u16 = 9000;
/// Octets of a packet's payload: its number.
const NUMBER: usize = 4;
/// Packets that the kernel makes of what it is given at once, at most.
const SEGMENTS: usize = 64;
/// Packets of this time are sent at once.
const TICK: Duration = Duration::from_micros(500);
/// In a careful stream, packets that may be on their way: queues of the kernel on the way hold 256.
const UNDER_WAY: usize = 128;
/// In a careful stream, what has not arrived in this time is taken to be lost.
const LOST: Duration = Duration::from_millis(100);
/// What a packet may take on its way.
const FLIGHT: Duration = Duration::from_millis(500);
/// The longest stream, in seconds.
const LONGEST: usize = 120;

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Packets sent.
    pub sent: usize,
    /// Packets that arrived, each once.
    pub received: usize,
    /// Packets that arrived twice or more.
    pub doubled: usize,
    /// Packets that did not, by the target that they were sent to.
    pub missing: Vec<(IpAddr, usize)>,
    /// When those were sent, since the start, to the tenth of a second: the first and the last of them.
    pub lost: Option<(Duration, Duration)>,
    /// Packets a second that were really sent.
    pub rate: usize,
}

impl Counted {
    /// An error unless every packet arrived.
    pub fn whole(&self) -> Result<()> {
        ensure!(self.received == self.sent, "{} packets lost: {self:?}", self.sent - self.received);
        ensure!(self.doubled == 0, "packets came twice: {self:?}");
        Ok(())
    }
}

/// How packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many a second, come what may: for a machine that has nothing else to do.
    Steady(u32),
    /// So many a second, but never more than the queues on the way hold: where the processors are busy with other
    /// things these are not always emptied in time, which would count as a loss of the router.
    Careful(u32),
}

impl Pace {
    fn rate(self) -> u32 {
        let (Self::Steady(rate) | Self::Careful(rate)) = self;
        rate
    }
}

/// A stream that flows. Dropped without [`Stream::stop`], it ends by itself.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    targets: Vec<IpAddr>,
    sender: JoinHandle<Result<Sent>>,
    receivers: Vec<JoinHandle<Result<()>>>,
    done: Arc<AtomicBool>,
}

impl Stream {
    /// Sends packets from one namespace, in turn to each of some addresses of another one. They must have been
    /// reached before: neighbours are not waited for.
    pub fn start(from: &Namespace, to: &Namespace, targets: &[IpAddr], pace: Pace) -> Result<Self> {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let each = (0..pace.rate() as usize * LONGEST).map(|_| AtomicU8::new(0)).collect();
        let seen = Arc::new(Seen { each, all: AtomicUsize::new(0) });
        let mut receivers = Vec::new();
        for target in targets {
            let socket = to.enter(|| {
                let socket =
                    UdpSocket::bind((*target, PORT)).with_context(|| format!("receive at {target}"))?;
                // A receiver that has to wait for a processor loses nothing.
                setsockopt(&socket, sockopt::RcvBufForce, &(256 << 20))
                    .context("enlarge the receive buffer")?;
                socket.set_read_timeout(Some(Duration::from_millis(50)))?;
                Ok(socket)
            })?;
            let (seen, done) = (Arc::clone(&seen), Arc::clone(&done));
            receivers.push(std::thread::spawn(move || receive(&socket, &seen, &done)));
        }
        let sockets = from.enter(|| {
            let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind a sender")?;
            let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).context("bind a sender")?;
            Ok([v4, v6])
        })?;
        let sockets_of: Vec<SocketAddr> = targets.iter().map(|target| (*target, PORT).into()).collect();
        let sender = std::thread::spawn({
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            move || send(&sockets, &sockets_of, pace, &seen, &stop)
        });
        Ok(Self { stop, seen, targets: targets.to_vec(), sender, receivers, done })
    }

    /// Ends the stream, waits for what is on its way, and counts.
    pub fn stop(self) -> Result<Counted> {
        self.stop.store(true, Ordering::Relaxed);
        let Sent { packets: sent, took, marks } =
            self.sender.join().map_err(|_| anyhow!("the sender has failed"))??;
        std::thread::sleep(FLIGHT);
        self.done.store(true, Ordering::Relaxed);
        for receiver in self.receivers {
            receiver.join().map_err(|_| anyhow!("a receiver has failed"))??;
        }
        let times = |number: usize| self.seen.each[number].load(Ordering::Relaxed);
        let mut gaps = (0..sent).filter(|number| times(*number) == 0);
        let at = |number: usize| {
            let tenths = marks.iter().take_while(|mark| **mark <= number).count();
            Duration::from_millis(100) * tenths as u32
        };
        let first = gaps.next();
        let last = gaps.next_back().or(first);
        let missing = self.targets.iter().enumerate().map(|(place, target)| {
            let of_it = (place..sent).step_by(self.targets.len());
            (*target, of_it.filter(|number| times(*number) == 0).count())
        });
        Ok(Counted {
            missing: missing.collect(),
            sent,
            received: (0..sent).filter(|number| times(*number) > 0).count(),
            doubled: (0..sent).filter(|number| times(*number) > 1).count(),
            lost: first.zip(last).map(|(first, last)| (at(first), at(last))),
            rate: (sent as u128 * 1_000_000 / took.as_micros().max(1)) as usize,
        })
    }
}

/// What has arrived.
#[derive(Debug)]
struct Seen {
    /// How often each packet has.
    each: Box<[AtomicU8]>,
    /// All together.
    all: AtomicUsize,
}

/// What was sent.
#[derive(Debug)]
struct Sent {
    /// How many.
    packets: usize,
    /// In which time.
    took: Duration,
    /// How many at the end of each tenth of a second.
    marks: Vec<usize>,
}

/// Sends until told to stop. One that the kernel does not take is an error, not a loss.
fn send(
    [v4, v6]: &[UdpSocket; 2],
    targets: &[SocketAddr],
    pace: Pace,
    seen: &Seen,
    stop: &AtomicBool,
) -> Result<Sent> {
    let start = Instant::now();
    let (mut number, most, mut marks) = (0, seen.each.len(), Vec::new());
    // What is behind is made up for bit by bit: a burst would not fit into the queues on the way.
    let at_once = 1 + pace.rate() as usize * 5 / 4 * TICK.as_micros() as usize / 1_000_000;
    let mut behind = false;
    // Those that nobody waits for any more, and when one arrived last.
    let (mut lost, mut arrived) = (0, (0, start));
    while !stop.load(Ordering::Relaxed) && number < most {
        if behind {
            std::thread::yield_now();
        } else {
            std::thread::sleep(TICK);
        }
        let mut due = (start.elapsed().as_micros() * u128::from(pace.rate()) / 1_000_000) as usize;
        if matches!(pace, Pace::Careful(_)) {
            let all = seen.all.load(Ordering::Relaxed);
            if all != arrived.0 || all + lost >= number {
                arrived = (all, Instant::now());
            } else if arrived.1.elapsed() > LOST {
                lost = number - all;
            }
            due = due.min(all + lost + UNDER_WAY);
        }
        // A careful stream leaves the processors to others.
        behind = matches!(pace, Pace::Steady(_)) && due > number + at_once;
        due = due.min(number + at_once);
        if start.elapsed() >= Duration::from_millis(100) * (marks.len() + 1) as u32 {
            marks.push(number);
        }
        let end = due.min(most);
        for (place, target) in targets.iter().enumerate() {
            let socket = if target.is_ipv4() { v4 } else { v6 };
            let numbers = (number..end).filter(|number| number % targets.len() == place);
            send_each(socket, *target, numbers).with_context(|| format!("send packets to {target}"))?;
        }
        number = number.max(end);
    }
    Ok(Sent { packets: number, took: start.elapsed(), marks })
}

/// Sends a packet for each number. The kernel is asked once for as many as it takes apart itself, which costs a
/// fraction of asking for each.
fn send_each(socket: &UdpSocket, target: SocketAddr, numbers: impl Iterator<Item = usize>) -> Result<()> {
    let octets: Vec<u8> = numbers.flat_map(|number| (number as u32).to_be_bytes()).collect();
    let segments = ControlMessage::UdpGsoSegments(&(NUMBER as u16));
    for packets in octets.chunks(NUMBER * SEGMENTS) {
        let parts = [IoSlice::new(packets)];
        let sent = sendmsg(
            socket.as_raw_fd(),
            &parts,
            &[segments],
            MsgFlags::empty(),
            Some(&SockaddrStorage::from(target)),
        )?;
        ensure!(sent == packets.len(), "{sent} of {} octets", packets.len());
    }
    Ok(())
}

fn receive(socket: &UdpSocket, seen: &Seen, done: &AtomicBool) -> Result<()> {
    let mut buffer = [0; 64];
    loop {
        match socket.recv(&mut buffer) {
            Ok(NUMBER) => {
                let number = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
                let times = seen.each.get(number as usize).context("a number that was not sent")?;
                times.fetch_add(1, Ordering::Relaxed);
                seen.all.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if done.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            Err(error) => return Err(error).context("receive"),
        }
    }
}
