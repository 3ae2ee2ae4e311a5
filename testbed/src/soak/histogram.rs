//! The daemon's histograms: what was recorded between two scrapes, and its quantiles.
//!
//! A bucket says how many values were at most its bound. Inside a bucket values are taken to be spread
//! evenly, as Prometheus' `histogram_quantile` does; a quantile is therefore shown with its bucket.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::daemon::Metrics;

/// Time from reading an UPDATE off its socket until its routes are in the forwarding tables.
pub const UPDATE_TO_FIB: &str = "peregrine_update_to_fib_seconds";

/// Counts by bucket, in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bounds, the last one infinite, and how many values lie in each bucket alone.
    buckets: Vec<(f64, f64)>,
}

/// A quantile and the bucket that it lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// Estimated by linear interpolation; the lower bound in the last, infinite bucket.
    pub seconds: f64,
    /// The bucket's lower bound, which is not part of it.
    pub above: f64,
    /// The bucket's upper bound.
    pub at_most: f64,
}

impl Histogram {
    /// Reads one off a scrape; empty when nothing has been recorded yet.
    pub fn read(metrics: &Metrics, name: &str) -> Result<Self> {
        let mut bounds = Vec::new();
        for (bound, count) in metrics.by_label(&format!("{name}_bucket"), "le") {
            bounds.push((bound.parse::<f64>().with_context(|| format!("bound {bound} of {name}"))?, count));
        }
        bounds.sort_by(|left, right| left.0.total_cmp(&right.0));
        let mut below = 0.0;
        let buckets =
            bounds.into_iter().map(|(bound, count)| (bound, count - std::mem::replace(&mut below, count)));
        Ok(Self { buckets: buckets.collect() })
    }

    /// What has been recorded since an earlier scrape.
    pub fn since(&self, earlier: &Self) -> Result<Self> {
        if earlier.buckets.is_empty() {
            return Ok(self.clone());
        }
        ensure!(self.buckets.len() == earlier.buckets.len(), "the histogram has changed its buckets");
        let both = self.buckets.iter().zip(&earlier.buckets);
        let buckets: Vec<_> = both.map(|((bound, now), (_, then))| (*bound, now - then)).collect();
        ensure!(buckets.iter().all(|(_, count)| *count >= 0.0), "the histogram has run backwards");
        Ok(Self { buckets })
    }

    /// How many values there are.
    pub fn count(&self) -> f64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The value that this share of all is at most; none without values.
    pub fn quantile(&self, share: f64) -> Option<Quantile> {
        let wanted = share * self.count();
        let (mut above, mut before) = (0.0, 0.0);
        for &(bound, count) in &self.buckets {
            if count > 0.0 && before + count >= wanted {
                let inside = ((wanted - before) / count).clamp(0.0, 1.0);
                let seconds = if bound.is_finite() { above + inside * (bound - above) } else { above };
                return Some(Quantile { seconds, above, at_most: bound });
            }
            (above, before) = (bound, before + count);
        }
        None
    }

    /// As JSON: the count, quantiles with their buckets, and every bucket that is not empty.
    pub fn json(&self) -> Value {
        let quantile = |share| {
            let found = self.quantile(share)?;
            Some(json!({ "seconds": found.seconds, "bucket": [found.above, finite(found.at_most)] }))
        };
        let filled = self.buckets.iter().filter(|(_, count)| *count > 0.0);
        json!({
            "count": self.count(),
            "p50": quantile(0.5),
            "p99": quantile(0.99),
            "max": quantile(1.0).map(|_| self.quantile(1.0).map(|found| json!([found.above, finite(found.at_most)]))),
            "buckets": filled.map(|(bound, count)| json!([finite(*bound), count])).collect::<Vec<_>>(),
        })
    }
}

/// JSON has no infinity.
fn finite(bound: f64) -> Option<f64> {
    Some(bound).filter(|bound| bound.is_finite())
}

impl fmt::Display for Histogram {
    /// `p50 1.2 ms (1 to 2.5), p99 ..., max in (2.5, 5] ms, of 1234`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [Some(half), Some(most), Some(all)] = [0.5, 0.99, 1.0].map(|share| self.quantile(share)) else {
            return f.write_str("nothing recorded");
        };
        write!(f, "p50 {half}, p99 {most}, max in {}, of {:.0}", all.bucket(), self.count())
    }
}

impl Quantile {
    fn bucket(self) -> String {
        if self.at_most.is_finite() {
            format!("({}, {}] ms", milliseconds(self.above), milliseconds(self.at_most))
        } else {
            format!("above {} ms", milliseconds(self.above))
        }
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ms in {}", milliseconds(self.seconds), self.bucket())
    }
}

/// Rounded to microseconds, so that bounds look as they are written.
fn milliseconds(seconds: f64) -> f64 {
    (Duration::from_secs_f64(seconds).as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(counts: [u64; 3]) -> Histogram {
        let [fast, slow, all] = counts;
        let text = format!(
            "x_bucket{{le=\"0.001\"}} {fast}\nx_bucket{{le=\"+Inf\"}} {all}\nx_bucket{{le=\"0.01\"}} {slow}\nx_count {all}\n"
        );
        Histogram::read(&Metrics::parse(&text).expect("metrics"), "x").expect("a histogram")
    }

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn quantiles_are_of_what_came_between_two_scrapes() {
        let between = scrape([110, 200, 200]).since(&scrape([100, 100, 100])).expect("a difference");
        assert!(near(between.count(), 100.0));
        // Ten in the first bucket, ninety in the second: the middle is 40 of 90 into the second.
        let half = between.quantile(0.5).expect("a median");
        assert!(near(half.seconds, 0.001 + 0.009 * 40.0 / 90.0), "{half:?}");
        assert!(near(half.above, 0.001) && near(half.at_most, 0.01), "{half:?}");
        assert!(near(between.quantile(1.0).expect("a maximum").at_most, 0.01));
        assert!(scrape([1, 1, 1]).since(&scrape([2, 2, 2])).is_err());
    }

    #[test]
    fn nothing_recorded_has_no_quantile_and_the_last_bucket_no_end() {
        assert_eq!(Histogram::read(&Metrics::default(), "x").expect("a histogram").quantile(0.5), None);
        assert_eq!(scrape([5, 5, 5]).since(&scrape([5, 5, 5])).expect("a difference").quantile(0.5), None);
        let last = scrape([0, 0, 4]).quantile(0.5).expect("a median");
        assert!(near(last.seconds, 0.01) && last.at_most.is_infinite());
        assert!(scrape([0, 0, 4]).to_string().contains("max in above 10 ms"));
    }
}
