//! How long UPDATEs take from their socket until their routes are in the forwarding tables.
//!
//! Counted here and not by the metrics recorder: that one keeps every value until somebody scrapes it, which
//! for a router that nobody scrapes is memory without bound.

use std::time::{Duration, Instant};

/// Upper bounds of the buckets, in seconds; one more bucket takes what is longer.
const BOUNDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// UPDATEs that were read off a socket together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When they were read.
    pub at: Instant,
    /// How many there are.
    pub updates: u64,
}

/// A histogram of latencies, one count for each UPDATE.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    counts: [u64; BOUNDS.len() + 1],
    /// Of all latencies, in seconds.
    pub sum: f64,
}

impl Latency {
    /// Counts some UPDATEs that took so long.
    pub fn record(&mut self, took: Duration, updates: u64) {
        let seconds = took.as_secs_f64();
        self.counts[BOUNDS.partition_point(|bound| *bound < seconds)] += updates;
        #[expect(clippy::cast_precision_loss, reason = "nobody sends 2^52 UPDATEs at once")]
        let updates = updates as f64;
        self.sum += seconds * updates;
    }

    /// How many UPDATEs took at most as long as each bound; the last count, without a bound, is of all.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = BOUNDS.into_iter().map(Some).chain([None]);
        bounds.zip(self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((bound, *sum))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_update_counts_in_the_bucket_of_its_latency() {
        let mut latency = Latency::default();
        latency.record(Duration::from_micros(100), 3);
        latency.record(Duration::from_micros(101), 2);
        latency.record(Duration::from_mins(1), 1);
        let counts: Vec<_> = latency.cumulative().collect();
        assert_eq!(counts[0], (Some(0.000_1), 3));
        assert_eq!(counts[1], (Some(0.000_25), 5));
        assert_eq!(counts[BOUNDS.len() - 1], (Some(10.0), 5));
        assert_eq!(counts[BOUNDS.len()], (None, 6));
        assert!((latency.sum - 60.000_502).abs() < 1e-9);
    }
}
