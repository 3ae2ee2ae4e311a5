//! The thread: sleeps until a packet, a command or a timer, reads what has arrived, then serves what is due.
//!
//! A timer is due only by a clock that was read before the sockets were: what had arrived by then has been read. So a
//! thread that was kept from running does not take its own delay for the silence of a neighbour.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use bgp::bfd::{Packet, Session};
use bgp::link::bare;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ScheduleParams, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::watch;

use super::entry::{Dropped, Drops, Entry, Forwarding};
use super::receive::{Datagram, Port, Receivers};
use super::send::Sender;
use super::{Command, Spec, Status, random};
use crate::api::bfd::{BfdReport, BfdTimers};
use crate::session::marked_by;

/// Datagrams that are read of a socket before timers are looked at.
const BATCH: usize = 1024;
/// Above everything that is not real-time, and low among that.
const PRIORITY: i32 = 10;

/// Takes commands and packets until nobody is left who could give commands.
pub(super) fn run(inbox: &Receiver<Command>, waker: &EventFd) {
    let mut driver = Driver::default();
    while driver.take_commands(inbox, waker) {
        let now = Instant::now();
        for port in driver.wait(now, waker) {
            driver.receive(port);
        }
        driver.timers(now);
    }
}

/// How late timers were served.
#[derive(Default)]
struct Lateness {
    served: u64,
    sum: Duration,
    most: Duration,
}

#[derive(Default)]
struct Driver {
    receivers: Receivers,
    forwarding: Forwarding,
    /// By our discriminator.
    entries: HashMap<u32, Entry>,
    /// Our discriminator by the number of the watch.
    watched: HashMap<u64, u32>,
    /// Our discriminator by neighbour, with its link, and kind.
    by_neighbor: HashMap<(IpAddr, bool), u32>,
    /// When to look at a session; what is out of date does no harm.
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    received: u64,
    drops: Drops,
    lateness: Lateness,
    is_real_time: Option<bool>,
}

impl Driver {
    /// False when it is time to end.
    fn take_commands(&mut self, inbox: &Receiver<Command>, waker: &EventFd) -> bool {
        // Emptied before the commands are taken: one that comes now wakes again. It does not block.
        let _ = waker.read();
        loop {
            let command = match inbox.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            };
            let now = Instant::now();
            match command {
                Command::Open(ports, reply) => {
                    let opened = ports.into_iter().try_for_each(|port| self.receivers.ensure(port));
                    let _ = reply.send(opened);
                }
                Command::Add(id, spec, status) => {
                    let discriminator = self.add(now, spec, status);
                    self.watched.insert(id, discriminator);
                }
                Command::Update(id, spec) => self.update(now, id, spec),
                Command::Remove(id) => {
                    if let Some(discriminator) = self.watched.remove(&id) {
                        self.end(now, discriminator);
                    }
                }
                Command::Trust(id) => {
                    if let Some(entry) = self.watched.get(&id).and_then(|named| self.entries.get_mut(named)) {
                        entry.doubt(false, &self.forwarding);
                    }
                }
                Command::Forwarding(forwarding) => self.forwarding = forwarding,
                // Whoever asked may have gone away.
                Command::Report(reply) => drop(reply.send(self.report(now))),
                Command::Stop(reply) => {
                    for entry in self.entries.values_mut() {
                        entry.end(now, &self.forwarding);
                    }
                    let _ = reply.send(());
                    return false;
                }
            }
        }
    }

    fn add(&mut self, now: Instant, spec: Spec, status: watch::Sender<Status>) -> u32 {
        self.prioritize();
        let key = (spec.neighbor, spec.multihop);
        // One that is ending makes room.
        if let Some(before) = self.by_neighbor.remove(&key) {
            self.entries.remove(&before);
        }
        let discriminator = loop {
            let drawn = random() as u32;
            if drawn != 0 && !self.entries.contains_key(&drawn) {
                break drawn;
            }
        };
        let session = Session::new(now, discriminator, spec.parameters, false, random());
        self.by_neighbor.insert(key, discriminator);
        self.entries.insert(discriminator, Entry::new(spec, session, status));
        self.serve(now, discriminator);
        discriminator
    }

    fn update(&mut self, now: Instant, id: u64, spec: Spec) {
        let Some(discriminator) = self.watched.get(&id).copied() else { return };
        let Some(entry) = self.entries.get_mut(&discriminator) else { return };
        if (entry.spec.neighbor, entry.spec.multihop) == (spec.neighbor, spec.multihop) {
            entry.update(now, spec);
            return self.serve(now, discriminator);
        }
        let status = entry.take_status();
        self.end(now, discriminator);
        let discriminator = self.add(now, spec, status);
        self.watched.insert(id, discriminator);
    }

    fn end(&mut self, now: Instant, discriminator: u32) {
        if let Some(entry) = self.entries.get_mut(&discriminator) {
            entry.end(now, &self.forwarding);
            self.arm(discriminator);
        }
    }

    fn remove(&mut self, discriminator: u32) {
        if let Some(entry) = self.entries.remove(&discriminator) {
            let key = (entry.spec.neighbor, entry.spec.multihop);
            // Another one may have its place by now.
            if self.by_neighbor.get(&key) == Some(&discriminator) {
                self.by_neighbor.remove(&key);
            }
        }
    }

    /// Opens what a session lacks, sends what it has to send, and sets its timer.
    fn serve(&mut self, now: Instant, discriminator: u32) {
        if self.entries.get_mut(&discriminator).is_some_and(|entry| entry.wants_sender(now)) {
            self.open(now, discriminator);
        }
        if let Some(entry) = self.entries.get_mut(&discriminator) {
            entry.pump(now, &self.forwarding);
            self.arm(discriminator);
        }
    }

    fn open(&mut self, now: Instant, discriminator: u32) {
        let Some(entry) = self.entries.get(&discriminator) else { return };
        let taken = |port| self.entries.values().any(|entry| entry.port() == Some(port));
        let listening = self.receivers.ensure(entry.receives_on()).map_err(std::io::Error::other);
        let opened = listening.and_then(|()| Sender::open(&entry.spec, taken, random));
        if let Some(entry) = self.entries.get_mut(&discriminator) {
            entry.set_sender(now, opened);
        }
    }

    fn arm(&mut self, discriminator: u32) {
        let Some(entry) = self.entries.get_mut(&discriminator) else { return };
        // A timer that is set too early is looked at and set again; nearly every packet puts one off.
        if let Some(at) = entry.next_timer()
            && entry.armed.is_none_or(|armed| at < armed)
        {
            entry.armed = Some(at);
            self.timers.push(Reverse((at, discriminator)));
        }
    }

    /// Serves what was due by then.
    fn timers(&mut self, now: Instant) {
        while let Some(Reverse((at, discriminator))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            let Some(entry) = self.entries.get_mut(&discriminator).filter(|entry| entry.armed == Some(at))
            else {
                continue;
            };
            entry.armed = None;
            if entry.ends_at.is_some_and(|at| at <= now) {
                self.remove(discriminator);
                continue;
            }
            if let Some(due) = entry.session.poll_timeout().filter(|due| *due <= now) {
                self.lateness.note(now - due);
            }
            entry.session.handle_timeout(now);
            self.serve(now, discriminator);
        }
    }

    /// Sleeps until a timer is due, a packet has arrived or a command waits, and not at all if one is due now; the
    /// sockets with packets.
    fn wait(&self, now: Instant, waker: &EventFd) -> Vec<Port> {
        let timeout = self
            .timers
            .peek()
            .map(|Reverse((at, _))| TimeSpec::from_duration(at.saturating_duration_since(now)));
        let (ports, mut fds): (Vec<Port>, Vec<PollFd<'_>>) =
            self.receivers.open().map(|(port, fd)| (port, PollFd::new(fd, PollFlags::POLLIN))).unzip();
        fds.push(PollFd::new(waker.as_fd(), PollFlags::POLLIN));
        // It fails when it is interrupted by a signal: then nothing is ready.
        if ppoll(&mut fds, timeout, None).unwrap_or(0) <= 0 {
            return Vec::new();
        }
        ports.into_iter().zip(&fds).filter(|(_, fd)| fd.any().unwrap_or(true)).map(|(port, _)| port).collect()
    }

    fn receive(&mut self, port: Port) {
        for _ in 0..BATCH {
            match self.receivers.receive(port) {
                Ok(Some(datagram)) => self.datagram(Instant::now(), &datagram),
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "receiving BFD packets");
                    break;
                }
            }
        }
    }

    fn datagram(&mut self, now: Instant, datagram: &Datagram) {
        self.received += 1;
        if let Err(dropped) = self.packet(now, datagram) {
            *self.drops.entry(dropped).or_default() += 1;
        }
    }

    fn packet(&mut self, now: Instant, datagram: &Datagram) -> Result<(), Dropped> {
        let packet = Packet::decode(datagram.octets()).map_err(Dropped::Unusable)?;
        let discriminator = match packet.your_discriminator {
            // The neighbour does not know ours yet (RFC 5880 section 6.3).
            0 => self.by_source(datagram).ok_or(Dropped::NoSession)?,
            named => named,
        };
        let entry = self.entries.get_mut(&discriminator).ok_or(Dropped::NoSession)?;
        if let Err(dropped) = entry.check(datagram) {
            entry.count(dropped);
            return Err(dropped);
        }
        entry.handle(now, &packet);
        self.serve(now, discriminator);
        Ok(())
    }

    fn by_source(&self, datagram: &Datagram) -> Option<u32> {
        let source = marked_by(datagram.source, datagram.ifindex);
        self.by_neighbor.get(&(source, datagram.multihop)).copied()
    }

    fn report(&self, now: Instant) -> BfdReport {
        let mut sessions: Vec<_> = self.entries.values().map(|entry| entry.shown(now)).collect();
        sessions.sort_by_key(|session| (bare(session.neighbor.0), session.neighbor, session.multihop));
        let counted = |dropped: Dropped| {
            (dropped.as_str().to_owned(), self.drops.get(&dropped).copied().unwrap_or_default())
        };
        BfdReport {
            up: self.entries.values().filter(|entry| entry.is_up()).count() as u64,
            sessions,
            received: self.received,
            dropped: Dropped::all().map(counted).collect(),
            timers: self.lateness.shown(),
            real_time: self.is_real_time.unwrap_or(false),
        }
    }

    /// Asks for real-time priority, once.
    fn prioritize(&mut self) {
        if self.is_real_time.is_some() {
            return;
        }
        let priority = ThreadPriority::from_posix(ScheduleParams { sched_priority: PRIORITY });
        let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
        let outcome = set_thread_priority_and_policy(thread_native_id(), priority, policy);
        if let Err(error) = &outcome {
            tracing::warn!(?error, "no real-time priority for BFD: its timers may be late on a busy machine");
        }
        self.is_real_time = Some(outcome.is_ok());
    }
}

impl Lateness {
    fn note(&mut self, late: Duration) {
        self.served += 1;
        self.sum += late;
        self.most = self.most.max(late);
    }

    fn shown(&self) -> BfdTimers {
        let served = u32::try_from(self.served).unwrap_or(u32::MAX);
        BfdTimers {
            served: self.served,
            late_seconds_mean: self.sum.checked_div(served).unwrap_or_default().as_secs_f64(),
            late_seconds_max: self.most.as_secs_f64(),
        }
    }
}
