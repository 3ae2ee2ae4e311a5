//! Packets while the tables change at full speed: each finds what was meant before a commit or after it, and
//! nothing that is half written.
//!
//! What every destination should find is known for each step. The thread that asks notes which step was done
//! before the packet and which had begun after it: only what those and the ones between them say is right. A
//! neighbour's number is in both MACs of the frame, so that an adjacency written in part would show.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU32, Ordering},
};

use fib::{EngineChoice, FibError, NextHopId, NextHopKey, Resolution, SetId};
use fib_abi::Adjacency;
use ipnet::IpNet;
use peregrine::xdp::Probe;

use crate::direct::{Lab, packet};
use crate::rig::{REDIRECT, Rig, ifindex};

const STEPS: u32 = 4000;
/// Steps between grace periods. The tables have room for what is replaced meanwhile, and not for more.
const STEPS_AT_ONCE: u32 = 8;

/// Neighbours that stay; beyond them each step has one of its own.
const FLIPS: [u32; 2] = [1, 2];
const PARENT: u32 = 3;
const CHILD: u32 = 4;
const MEMBERS: [u32; 3] = [5, 6, 7];
/// The one that has another MAC with each step.
const MOVER: u32 = 0x1000_0000;
/// The one that is new with each step.
const FRESH: u32 = 0x2000_0000;

/// What happens to a route.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It names one of two sets by turns.
    Flips,
    /// A more specific route comes and goes.
    Parent,
    /// It names a set and a next hop that did not exist before.
    Fresh,
    /// Its next hop has another MAC each time.
    Moves,
    /// Its set loses a member and gets it back.
    Shares,
}

impl Fate {
    const ALL: [Self; 5] = [Self::Flips, Self::Parent, Self::Fresh, Self::Moves, Self::Shares];

    /// The neighbours that packets may find after a step.
    fn answers(self, step: u32) -> Vec<u32> {
        let even = step.is_multiple_of(2);
        match self {
            Self::Flips => vec![FLIPS[usize::from(even)]],
            Self::Parent => vec![if even { CHILD } else { PARENT }],
            Self::Fresh => vec![FRESH + step],
            Self::Moves => vec![MOVER + step],
            Self::Shares => MEMBERS[usize::from(even)..].to_vec(),
        }
    }

    /// The routes, in both families, and destinations that they cover.
    fn routes(self) -> [(IpNet, IpAddr); 2] {
        let number = self as usize + 1;
        let parsed =
            |net: String, to: String| (net.parse().expect("a prefix"), to.parse().expect("an address"));
        [
            parsed(format!("10.{number}.0.0/16"), format!("10.{number}.7.9")),
            parsed(format!("2001:db8:{number}::/48"), format!("2001:db8:{number}:7::9")),
        ]
    }
}

/// The more specific routes: in direct tables they need nodes.
fn children() -> [IpNet; 2] {
    ["10.2.7.0/28", "2001:db8:2:7::/64"].map(|net| net.parse().expect("a prefix"))
}

fn resolution(number: u32) -> Resolution {
    let [a, b, c, d] = number.to_be_bytes();
    let adjacency = Adjacency {
        ifindex: ifindex("out"),
        port: 5,
        dst_mac: [2, 0, a, b, c, d],
        src_mac: [6, 0, a, b, c, d],
        ..Adjacency::default()
    };
    Resolution::Forward { adjacency, mtu: 1500 }
}

/// The neighbour that a packet is sent to, if it is forwarded.
fn neighbour(probe: &Probe, port: u32, to: &[u8]) -> Option<u32> {
    let run = probe.test_run(to, port, 1).expect("a test run");
    (run.action == REDIRECT).then(|| {
        let number = |at: usize| u32::from_be_bytes(run.packet[at..at + 4].try_into().expect("four octets"));
        assert_eq!((run.packet[0], run.packet[6]), (2, 6), "MACs of an adjacency");
        assert_eq!(number(2), number(8), "an adjacency that is half written");
        number(2)
    })
}

/// The tables, and what the steps do to them.
struct Flipper {
    lab: Lab,
    /// Of the neighbours that stay.
    hops: Vec<NextHopId>,
    mover: NextHopId,
    fresh: Option<NextHopId>,
}

impl Flipper {
    fn new(rig: &mut Rig, engine: EngineChoice) -> Result<Self, FibError> {
        let mut lab = Lab::new(rig, engine, 0, u32::MAX);
        let mut hop = |number: u32| -> Result<NextHopId, FibError> {
            let addr = Ipv4Addr::from_bits(number).into();
            let id = lab.fib.next_hop(NextHopKey::Via { addr, ifindex: 1 })?;
            lab.fib.resolve(id, resolution(number))?;
            Ok(id)
        };
        let hops = (0..=MEMBERS[2]).map(&mut hop).collect::<Result<Vec<_>, _>>()?;
        let mover = hop(MOVER)?;
        let mut flipper = Self { lab, hops, mover, fresh: None };
        flipper.step(0)?;
        Ok(flipper)
    }

    fn set(&mut self, members: &[u32]) -> Result<SetId, FibError> {
        let members: Vec<_> = members.iter().map(|&number| self.hops[number as usize]).collect();
        self.lab.fib.set(&members)
    }

    fn route(&mut self, fate: Fate, set: SetId) -> Result<(), FibError> {
        fate.routes().into_iter().try_for_each(|(prefix, _)| self.lab.fib.insert(prefix, set))
    }

    /// One commit.
    fn step(&mut self, step: u32) -> Result<(), FibError> {
        for fate in [Fate::Flips, Fate::Shares] {
            let set = self.set(&fate.answers(step))?;
            self.route(fate, set)?;
        }
        let parent = self.set(&[PARENT])?;
        self.route(Fate::Parent, parent)?;
        if step.is_multiple_of(2) {
            let child = self.set(&[CHILD])?;
            for prefix in children() {
                self.lab.fib.insert(prefix, child)?;
            }
        } else {
            for prefix in children() {
                self.lab.fib.remove(prefix);
            }
        }
        self.lab.fib.resolve(self.mover, resolution(MOVER + step))?;
        let mover = self.lab.fib.set(&[self.mover])?;
        self.route(Fate::Moves, mover)?;
        let addr = Ipv4Addr::from_bits(FRESH + step).into();
        let fresh = self.lab.fib.next_hop(NextHopKey::Via { addr, ifindex: 1 })?;
        self.lab.fib.resolve(fresh, resolution(FRESH + step))?;
        let set = self.lab.fib.set(&[fresh])?;
        self.route(Fate::Fresh, set)?;
        if let Some(before) = self.fresh.replace(fresh) {
            self.lab.fib.release_next_hop(before)?;
        }
        let mut edits = Vec::new();
        self.lab.fib.commit(&mut edits, |_| false);
        let failures = self.lab.plane.apply(&edits);
        assert!(failures.is_empty(), "{failures:?}");
        Ok(())
    }

    fn wait_for_grace(&mut self) {
        self.lab.plane.grace_period().expect("a map update");
        self.lab.fib.grace_elapsed();
    }
}

/// Nobody asks any more when this is gone, be it by a panic.
struct Asking<'a>(&'a AtomicU32);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.store(STEPS, Ordering::SeqCst);
    }
}

/// Asks until the last step is done; how many steps' own answers were seen.
fn ask(probe: &Probe, begun: &AtomicU32, done: &AtomicU32, runs: &AtomicU32) -> usize {
    let port = ifindex("in");
    let destinations: Vec<_> =
        Fate::ALL.into_iter().flat_map(|fate| fate.routes().map(|(_, to)| (fate, to, packet(to)))).collect();
    let mut seen = BTreeSet::new();
    while done.load(Ordering::SeqCst) < STEPS {
        for (fate, to, packet) in &destinations {
            let from = done.load(Ordering::SeqCst);
            let found = neighbour(probe, port, packet);
            let until = begun.load(Ordering::SeqCst);
            let right = (from..=until).flat_map(|step| fate.answers(step)).collect::<BTreeSet<_>>();
            let is_right = found.is_some_and(|found| right.contains(&found));
            assert!(
                is_right,
                "{to} ({fate:?}) found {found:x?} between steps {from} and {until}: {right:x?}"
            );
            if matches!(fate, Fate::Fresh) {
                seen.extend(found);
            }
        }
        runs.fetch_add(1, Ordering::SeqCst);
    }
    seen.len()
}

#[test]
fn every_packet_finds_the_old_state_or_the_new_one() {
    for engine in [EngineChoice::LpmTrie, EngineChoice::Direct] {
        let Some(mut rig) = Rig::new("every_packet_finds_the_old_state_or_the_new_one") else { return };
        let mut flipper = Flipper::new(&mut rig, engine).expect("room");
        let probe = flipper.lab.plane.probe().expect("a program");
        let (begun, done, runs) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&probe, &begun, &done, &runs));
            let end = Asking(&done);
            for step in 1..=STEPS {
                if asking.is_finished() {
                    break;
                }
                begun.store(step, Ordering::SeqCst);
                flipper.step(step).expect("room");
                if step.is_multiple_of(STEPS_AT_ONCE) {
                    flipper.wait_for_grace();
                    // On a machine with one processor the other thread has its turn now.
                    let before = runs.load(Ordering::SeqCst);
                    while runs.load(Ordering::SeqCst) == before && !asking.is_finished() {
                        std::thread::yield_now();
                    }
                }
                done.store(step, Ordering::SeqCst);
            }
            drop(end);
            let steps = asking.join().expect("every answer is right");
            assert!(steps > STEPS as usize / 20, "answers of {steps} steps seen with {engine:?}");
            println!(
                "{engine:?}: {} rounds of packets, answers of {steps} steps",
                runs.load(Ordering::SeqCst)
            );
        });
    }
}
