//! Whom a restarted router waits for before it goes on with the routes that it has learned (RFC 4724 section 4.1).
//!
//! - A neighbour that offers graceful restart says when it has sent everything: End-of-RIB, in each family of the session.
//! - One that does not offer it is taken to have sent everything when it has sent no route for a while, as it says no End-of-RIB
//!   that could be relied on. RFC 4724 would not wait for it at all, and neither do BIRD and FRR; but packets are
//!   forwarded by its routes too, and they are here within seconds.
//! - So is one that has just restarted itself, which may wait for us. FRR says that it has for two minutes after any start,
//!   and sends its routes all the same.
//! - One whose session is not up yet is waited for, unless somebody keeps it down.
//! - Neighbours that a range lets in are waited for once they are there; for a while anybody may come.
//!
//! All of it for no longer than the deferral time: meanwhile packets go by routes that nobody looks after.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bgp::types::FamilySet;

/// A neighbour that says no End-of-RIB is silent for this long when it has sent its routes.
const QUIET: Duration = Duration::from_secs(3);
/// One that always has something to say has sent its routes after this time.
const MOST_UNMARKED: Duration = Duration::from_secs(30);
/// How long dynamic neighbours may take to come back.
const RANGES: Duration = Duration::from_secs(30);

/// How far a neighbour is with sending its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Its session is kept down.
    Down,
    /// Its session is not up.
    Away,
    /// It has yet to say End-of-RIB in these families, or we to take what it sent before.
    Sending(FamilySet),
    /// It says no End-of-RIB, or perhaps not before we do: up since then, with its last routes at that time.
    Unmarked { up: Instant, heard: Instant },
    /// It has sent everything.
    Done,
}

/// Who is waited for, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// For somebody: there is nothing to look at before this time, unless something changes.
    Until(Instant),
    /// All that were waited for have sent everything.
    Complete,
    /// The time is over.
    TooLong,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Waits {
    since: Instant,
    deferral: Duration,
    /// Whether neighbours may come that are not configured one by one.
    ranges: bool,
    neighbors: BTreeMap<u64, (IpAddr, Progress)>,
    next: u64,
}

impl Waits {
    pub(super) fn new(now: Instant, deferral: Duration, ranges: bool) -> Self {
        Self { since: now, deferral, ranges, neighbors: BTreeMap::new(), next: 0 }
    }

    /// One more neighbour; by what it is known.
    pub(super) fn expect(&mut self, address: IpAddr) -> u64 {
        let id = self.next;
        self.next += 1;
        self.neighbors.insert(id, (address, Progress::Away));
        id
    }

    /// How far a neighbour is; whether that is news.
    pub(super) fn note(&mut self, id: u64, progress: Progress) -> bool {
        let Some((_, before)) = self.neighbors.get_mut(&id) else { return false };
        std::mem::replace(before, progress) != progress
    }

    pub(super) fn progress(&self, id: u64) -> Option<Progress> {
        self.neighbors.get(&id).map(|(_, progress)| *progress)
    }

    /// It is none any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.neighbors.remove(&id);
    }

    /// Until when selection is deferred at most.
    pub(super) fn deadline(&self) -> Instant {
        self.since + self.deferral
    }

    /// Who is still waited for, in order, with how far they are.
    pub(super) fn waiting(&self, now: Instant) -> Vec<(IpAddr, Progress)> {
        let waiting = self.neighbors.values().copied().filter(|(_, progress)| progress.is_waited_for(now));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|(address, _)| *address);
        waiting
    }

    /// Whether anybody may still come out of a range.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.ranges && now < self.since + RANGES
    }

    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        let waiting = self.waiting(now);
        if waiting.is_empty() && !self.is_open(now) {
            return Verdict::Complete;
        }
        let deadline = self.deadline();
        if now >= deadline {
            return Verdict::TooLong;
        }
        let ends = waiting.iter().filter_map(|(_, progress)| progress.ends());
        let open = self.is_open(now).then(|| self.since + RANGES);
        Verdict::Until(ends.chain(open).min().unwrap_or(deadline).min(deadline))
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("nothing, it is kept down"),
            Self::Away => f.write_str("its session"),
            Self::Sending(families) if families.is_empty() => f.write_str("what it has sent to be taken"),
            Self::Sending(families) => {
                f.write_str("its End-of-RIB of")?;
                for (index, family) in families.iter().enumerate() {
                    write!(f, "{} {}", if index > 0 { "," } else { "" }, family.as_str())?;
                }
                Ok(())
            }
            Self::Unmarked { .. } => f.write_str("its End-of-RIB, or silence"),
            Self::Done => f.write_str("nothing"),
        }
    }
}

impl Progress {
    /// When a neighbour that does not say so is taken to have sent everything.
    fn ends(self) -> Option<Instant> {
        match self {
            Self::Unmarked { up, heard } => Some((heard + QUIET).min(up + MOST_UNMARKED)),
            Self::Down | Self::Away | Self::Sending(_) | Self::Done => None,
        }
    }

    pub(super) fn is_waited_for(self, now: Instant) -> bool {
        match self {
            Self::Down | Self::Done => false,
            Self::Away | Self::Sending(_) => true,
            Self::Unmarked { .. } => self.ends().is_some_and(|end| now < end),
        }
    }
}

#[cfg(test)]
mod tests {
    use bgp::types::Family;

    use super::*;

    const DEFERRAL: Duration = Duration::from_mins(2);

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn names(waits: &Waits, now: Instant) -> Vec<IpAddr> {
        waits.waiting(now).into_iter().map(|(address, _)| address).collect()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn all_who_are_not_kept_down_are_waited_for_until_they_have_sent_everything() {
        let start = Instant::now();
        let mut waits = Waits::new(start, DEFERRAL, false);
        let [one, two, down] = [2, 1, 3].map(|last| waits.expect(address(last)));
        assert!(waits.note(down, Progress::Down));
        assert_eq!(names(&waits, start), [address(1), address(2)]);
        assert_eq!(waits.verdict(start), Verdict::Until(start + DEFERRAL));
        assert!(waits.note(one, Progress::Sending(FamilySet::ALL)));
        assert!(waits.note(one, Progress::Sending(Family::Ipv6Unicast.into())));
        assert!(waits.note(two, Progress::Done));
        assert!(!waits.note(two, Progress::Done), "no news");
        assert_eq!(names(&waits, start), [address(2)]);
        assert!(waits.note(one, Progress::Done));
        assert_eq!(waits.verdict(start), Verdict::Complete);
        // A session that is lost before the end is waited for again.
        waits.note(two, Progress::Away);
        assert_eq!(waits.verdict(start + secs(1)), Verdict::Until(start + DEFERRAL));
        waits.forget(two);
        assert_eq!(waits.verdict(start + secs(1)), Verdict::Complete);
    }

    #[test]
    fn nobody_is_waited_for_longer_than_the_deferral_time() {
        let start = Instant::now();
        let mut waits = Waits::new(start, DEFERRAL, false);
        waits.expect(address(1));
        let nearly = start + secs(119);
        assert_eq!(waits.verdict(nearly), Verdict::Until(start + DEFERRAL));
        assert_eq!(waits.verdict(start + DEFERRAL), Verdict::TooLong);
    }

    #[test]
    fn without_neighbors_there_is_nothing_to_wait_for() {
        let now = Instant::now();
        assert_eq!(Waits::new(now, DEFERRAL, false).verdict(now), Verdict::Complete);
    }

    #[test]
    fn what_is_waited_for_is_said_in_words() {
        assert_eq!(
            Progress::Sending(FamilySet::ALL).to_string(),
            "its End-of-RIB of ipv4-unicast, ipv6-unicast"
        );
        assert_eq!(Progress::Away.to_string(), "its session");
    }

    #[test]
    fn silence_is_the_end_where_none_is_said() {
        let start = Instant::now();
        let mut waits = Waits::new(start, DEFERRAL, false);
        let one = waits.expect(address(1));
        waits.note(one, Progress::Unmarked { up: start, heard: start });
        assert_eq!(waits.verdict(start), Verdict::Until(start + QUIET));
        let heard = start + secs(2);
        waits.note(one, Progress::Unmarked { up: start, heard });
        assert_eq!(waits.verdict(start + QUIET), Verdict::Until(heard + QUIET));
        assert_eq!(waits.verdict(heard + QUIET), Verdict::Complete);
        // Whoever always has something to say is not waited for much longer.
        let late = start + secs(29);
        waits.note(one, Progress::Unmarked { up: start, heard: late });
        assert_eq!(waits.verdict(late), Verdict::Until(start + MOST_UNMARKED));
        assert_eq!(waits.verdict(start + MOST_UNMARKED), Verdict::Complete);
    }

    #[test]
    fn neighbors_of_ranges_have_time_to_come_back() {
        let start = Instant::now();
        let mut waits = Waits::new(start, DEFERRAL, true);
        assert_eq!(waits.verdict(start), Verdict::Until(start + RANGES));
        let one = waits.expect(address(1));
        waits.note(one, Progress::Sending(FamilySet::ALL));
        assert_eq!(waits.verdict(start + RANGES), Verdict::Until(start + DEFERRAL));
        waits.note(one, Progress::Done);
        assert_eq!(waits.verdict(start + RANGES), Verdict::Complete);
        let hasty = Waits::new(start, secs(5), true);
        assert_eq!(hasty.verdict(start), Verdict::Until(start + secs(5)));
        assert_eq!(hasty.verdict(start + secs(5)), Verdict::TooLong);
    }
}
