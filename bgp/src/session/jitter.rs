//! Jitter and exponential backoff.
//!
//! RFC 4271 section 10 multiplies timers by a random factor between 0.75 and 1.0, so that a reboot
//! of one router does not make all others speak in step. The factor comes from a seeded generator
//! (`SplitMix64`, public domain by Sebastiano Vigna): the same seed and inputs give the same session, so
//! that a recorded one can be replayed.

use std::time::Duration;

/// The source of all chance in a session.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The interval times a factor from 0.75 to 1.0, both included.
    pub(crate) fn apply(&mut self, interval: Duration) -> Duration {
        self.between(interval * 3 / 4, interval)
    }

    /// A time between two, both included.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        const STEPS: u32 = 4096;
        let step = (self.next() % u64::from(STEPS + 1)) as u32;
        most.saturating_sub(most.saturating_sub(least) * step / STEPS)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A delay that doubles with each use up to a cap.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    base: Duration,
    cap: Duration,
    level: u32,
}

impl Backoff {
    pub(super) fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, level: 0 }
    }

    /// The delay that applies now, without jitter.
    pub(super) fn current(&self) -> Duration {
        // 2^20 times any sensible base is beyond any sensible cap.
        self.base.saturating_mul(1 << self.level.min(20)).min(self.cap)
    }

    /// The delay that applies now; the next will be longer.
    pub(super) fn next(&mut self) -> Duration {
        let delay = self.current();
        self.level = self.level.saturating_add(1);
        delay
    }

    /// How many delays were used since the last reset.
    pub(super) fn level(&self) -> u32 {
        self.level
    }

    pub(super) fn reset(&mut self) {
        self.level = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_three_quarters_and_the_whole_and_uses_the_range() {
        let whole = Duration::from_secs(40);
        let mut jitter = Jitter::new(7);
        let drawn: Vec<_> = (0..10_000).map(|_| jitter.apply(whole)).collect();
        let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(30) && *most <= whole);
        assert!(*least < Duration::from_millis(30_100) && *most > Duration::from_millis(39_900));
    }

    #[test]
    fn the_same_seed_gives_the_same_jitter() {
        let draw = |seed| Jitter::new(seed).apply(Duration::from_secs(1000));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn backoff_doubles_up_to_its_cap_and_starts_over_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(5), Duration::from_mins(1));
        let seconds: Vec<_> = (0..6).map(|_| backoff.next().as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
        for _ in 0..100 {
            assert_eq!(backoff.next(), Duration::from_mins(1));
        }
        backoff.reset();
        assert_eq!(backoff.next(), Duration::from_secs(5));
    }
}
