//! What the receiver's recording means: which prefixes were present when.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use ipnet::IpNet;

use crate::load::recording::Recording;
use crate::speaker::{self, Received};

/// The receiver's table, brought up to date phase by phase.
#[derive(Debug)]
pub struct Ledger {
    /// Each expected prefix, and its place in `present`.
    places: HashMap<IpNet, usize>,
    present: Vec<bool>,
    /// How many are.
    count: usize,
    /// Prefixes that nobody announced to the router.
    foreign: HashSet<IpNet>,
}

/// What should be there at the end of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Every prefix that feeders announce.
    All,
    /// None.
    Nothing,
}

/// One phase as the receiver saw it; times since the start of the phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The first UPDATE with a route, announced or withdrawn.
    pub first: Option<Duration>,
    /// Since when what is wanted, and nothing else, has been there until the end; none if it is
    /// not there, or was so all the time.
    pub complete: Option<Duration>,
    /// The last UPDATE with a route.
    pub last: Option<Duration>,
    /// UPDATE messages with routes.
    pub updates: u64,
    /// Routes announced in them.
    pub announced: u64,
    /// Routes withdrawn in them.
    pub withdrawn: u64,
    /// Wanted at the end and not there.
    pub missing: u64,
    /// There at the end and not wanted.
    pub surplus: u64,
}

impl Timeline {
    /// Whether exactly what is wanted was there at the end.
    pub fn exact(&self) -> bool {
        self.missing == 0 && self.surplus == 0
    }
}

impl Ledger {
    /// An empty table of a receiver that is expected to be told these prefixes.
    pub fn new(expected: &[IpNet]) -> Self {
        let places = expected.iter().enumerate().map(|(place, prefix)| (*prefix, place)).collect();
        Self { places, present: vec![false; expected.len()], count: 0, foreign: HashSet::new() }
    }

    fn set(&mut self, prefix: IpNet, present: bool) {
        if let Some(&place) = self.places.get(&prefix) {
            if self.present[place] != present {
                self.present[place] = present;
                self.count = if present { self.count + 1 } else { self.count - 1 };
            }
        } else if present {
            self.foreign.insert(prefix);
        } else {
            self.foreign.remove(&prefix);
        }
    }

    fn missing_and_surplus(&self, want: Want) -> (usize, usize) {
        match want {
            Want::All => (self.present.len() - self.count, self.foreign.len()),
            Want::Nothing => (0, self.count + self.foreign.len()),
        }
    }

    /// Goes through a phase that began at `start`.
    pub fn replay(&mut self, recording: &Recording, start: Instant, want: Want) -> Result<Timeline> {
        let mut line = Timeline::default();
        recording.replay(|frame, time| {
            let Received::Update(update) = speaker::parse(frame)? else { return Ok(()) };
            if update.announced.is_empty() && update.withdrawn.is_empty() {
                return Ok(());
            }
            let time = time.saturating_duration_since(start);
            line.first.get_or_insert(time);
            line.last = Some(time);
            line.updates += 1;
            line.announced += update.announced.len() as u64;
            line.withdrawn += update.withdrawn.len() as u64;
            for prefix in update.withdrawn {
                self.set(prefix, false);
            }
            for prefix in update.announced {
                self.set(prefix, true);
            }
            if self.missing_and_surplus(want) == (0, 0) {
                line.complete.get_or_insert(time);
            } else {
                line.complete = None;
            }
            Ok(())
        })?;
        let (missing, surplus) = self.missing_and_surplus(want);
        (line.missing, line.surplus) = (missing as u64, surplus as u64);
        Ok(line)
    }

    /// How what is there differs from what is wanted, with a few examples.
    pub fn difference(&self, want: Want) -> String {
        let (missing, surplus) = self.missing_and_surplus(want);
        let all = want == Want::All;
        let wrong = self.places.iter().filter(|&(_, &place)| self.present[place] != all);
        let examples: Vec<String> =
            wrong.map(|(prefix, _)| prefix).chain(&self.foreign).take(5).map(IpNet::to_string).collect();
        format!(
            "the receiver lacks {missing} prefixes and has {surplus} too many, such as {}",
            examples.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::speaker::PathAttributes;

    fn nets(prefixes: &[&str]) -> Vec<IpNet> {
        prefixes.iter().map(|prefix| prefix.parse().expect("a prefix")).collect()
    }

    fn announce(prefixes: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for net in nets(prefixes) {
            let next_hop = if net.addr().is_ipv6() { "2001:db8::1" } else { "192.0.2.1" };
            let attributes = PathAttributes::new(vec![1], next_hop.parse().expect("an address"));
            speaker::announce(&mut out, &attributes, &[net]);
        }
        out
    }

    fn withdraw(prefixes: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for net in nets(prefixes) {
            speaker::withdraw(&mut out, &[net]);
        }
        out
    }

    /// A recording in which each of these came by a read of its own, some milliseconds apart.
    fn recording(reads: &[&[u8]]) -> Recording {
        let mut recording = Recording::new(&[]);
        for read in reads {
            std::thread::sleep(Duration::from_millis(3));
            assert!(recording.read_from(&mut read.take(1 << 20)).expect("read"));
        }
        recording
    }

    const BOTH: [&str; 2] = ["192.0.2.0/24", "2001:db8:1::/48"];

    #[test]
    fn a_phase_is_complete_when_the_last_wanted_prefix_came() {
        let start = Instant::now();
        let (mut bytes, again) = (announce(&BOTH), announce(&BOTH[..1]));
        let second = bytes.split_off(announce(&BOTH[..1]).len());
        // The second message in two reads: it counts from its last byte.
        let (half, rest) = second.split_at(20);
        let reads: [&[u8]; 5] = [&speaker::keepalive(), &bytes, half, rest, &again];
        let recording = recording(&reads);
        let mut ledger = Ledger::new(&nets(&BOTH));
        let line = ledger.replay(&recording, start, Want::All).expect("a timeline");
        assert!(line.exact());
        assert_eq!((line.updates, line.announced, line.withdrawn), (3, 3, 0));
        let times = [line.first, line.complete, line.last].map(|time| time.expect("a time"));
        let apart = Duration::from_millis(3);
        assert!(times[0] >= 2 * apart, "{times:?}");
        assert!(times[1] >= times[0] + 2 * apart, "{times:?}");
        assert!(times[2] >= times[1] + apart, "{times:?}");
    }

    #[test]
    fn what_is_missing_or_too_much_is_counted() {
        let start = Instant::now();
        let mut ledger = Ledger::new(&nets(&BOTH));
        let foreign = announce(&["198.51.100.0/24"]);
        let line = ledger
            .replay(&recording(&[&announce(&BOTH[1..]), &foreign]), start, Want::All)
            .expect("a timeline");
        assert_eq!((line.missing, line.surplus, line.complete), (1, 1, None));
        assert!(!line.exact());
        let said = ledger.difference(Want::All);
        assert!(said.contains("lacks 1 prefixes and has 1 too many"), "{said}");
        assert!(
            said.contains(BOTH[0]) && said.contains("198.51.100.0/24") && !said.contains(BOTH[1]),
            "{said}"
        );
        // The next phase goes on from there.
        let line = ledger
            .replay(
                &recording(&[&withdraw(&BOTH[1..]), &withdraw(&["198.51.100.0/24"])]),
                start,
                Want::Nothing,
            )
            .expect("a timeline");
        assert!(line.exact());
        assert_eq!((line.withdrawn, line.announced, line.complete), (2, 0, line.last));
    }

    #[test]
    fn a_prefix_that_goes_and_comes_back_counts_from_its_return() {
        let start = Instant::now();
        let mut ledger = Ledger::new(&nets(&BOTH));
        let reads: [&[u8]; 3] = [&announce(&BOTH), &withdraw(&BOTH[..1]), &announce(&BOTH[..1])];
        let line = ledger.replay(&recording(&reads), start, Want::All).expect("a timeline");
        assert!(line.exact());
        assert_eq!(line.complete, line.last);
        // Nothing happens: it has been complete all the time.
        let line = ledger.replay(&recording(&[]), start, Want::All).expect("a timeline");
        assert_eq!((line.complete, line.first, line.exact()), (None, None, true));
    }

    #[test]
    fn counting_and_clearing_keep_half_a_message() {
        let bytes = announce(&BOTH);
        let (front, back) = bytes.split_at(bytes.len() - 5);
        let mut recording = recording(&[front]);
        assert_eq!(recording.tally().expect("a tally").announced, 1);
        recording.clear().expect("cleared");
        assert!(recording.read_from(&mut &*back).expect("read"));
        assert_eq!(recording.tally().expect("a tally").announced, 1);
        let notification = speaker::notification(6, 2);
        assert!(recording.read_from(&mut &*notification).expect("read"));
        assert!(recording.tally().is_err());
    }
}
