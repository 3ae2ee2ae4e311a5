//! How time and memory grow with the table: the same load with tables of several sizes.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::load::feeds::{Feeds, Share};
use crate::load::neighbors::Neighbors;
use crate::load::run::{self, Phase, Setting};
use crate::load::subject::Subject;
use crate::soak::fit::{self, Line};
use crate::table::Table;

/// One table.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Prefixes of both families.
    pub prefixes: u64,
    /// Paths to them.
    pub paths: u64,
    /// When the receiver had been told all of them.
    pub complete: Duration,
    /// When all of them were in the forwarding table.
    pub forwarding: Option<Duration>,
    /// Processor time of the router for it.
    pub cpu: Duration,
    /// The most that was resident, in bytes.
    pub peak: u64,
    /// What was resident afterwards, in bytes.
    pub resident: u64,
    /// Memory of the BPF maps, in bytes.
    pub maps: Option<u64>,
}

/// Measures one table, which is announced by every feeder.
pub fn measure(
    sandbox: &str,
    table: &Table,
    feeders: u16,
    subject: Subject,
    quiet: Duration,
    timeout: Duration,
) -> Result<Point> {
    let neighbors = Neighbors::new(feeders, table)?;
    let feeds = Feeds::encode(table, Share::Whole, &neighbors, 1)?;
    let setting =
        Setting { sandbox, neighbors: &neighbors, feeds: &feeds, phases: &[Phase::Load], timeout, quiet };
    let report = run::run(&setting, subject);
    if let Some(error) = report.error {
        bail!("{} prefixes: {error}", feeds.union.len());
    }
    let load = report.phase(Phase::Load).filter(|load| !load.timed_out);
    let load = load.with_context(|| format!("{} prefixes: not within {timeout:?}", feeds.union.len()))?;
    Ok(Point {
        prefixes: feeds.union.len() as u64,
        paths: feeds.paths(),
        complete: load.line.complete.context("the receiver is never complete")?,
        forwarding: load.forwarding,
        cpu: load.usage.cpu,
        peak: load.usage.peak,
        resident: load.usage.resident,
        maps: report.map_bytes,
    })
}

/// A figure of a [`Point`] that is set against paths.
struct Figure {
    name: &'static str,
    unit: &'static str,
    /// How many of the unit there are in what `of` returns, to show the intercept.
    scale: f64,
    of: fn(&Point) -> Option<f64>,
}

const FIGURES: [Figure; 5] = [
    Figure { name: "complete", unit: "s", scale: 1.0, of: |point| Some(point.complete.as_secs_f64()) },
    Figure {
        name: "forwarding",
        unit: "s",
        scale: 1.0,
        of: |point| point.forwarding.map(|time| time.as_secs_f64()),
    },
    Figure { name: "CPU", unit: "s", scale: 1.0, of: |point| Some(point.cpu.as_secs_f64()) },
    Figure { name: "peak", unit: "MiB", scale: MEBIBYTE, of: |point| Some(float(point.peak)) },
    Figure { name: "resident", unit: "MiB", scale: MEBIBYTE, of: |point| Some(float(point.resident)) },
];

const MEBIBYTE: f64 = 1_048_576.0;

#[expect(clippy::cast_precision_loss, reason = "bytes and routes stay far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

impl Figure {
    fn fit(&self, points: &[Point]) -> Option<Line> {
        let pairs: Option<Vec<(f64, f64)>> =
            points.iter().map(|point| Some((float(point.paths), (self.of)(point)?))).collect();
        fit::line(&pairs?)
    }
}

/// A row for each table, and the straight line through each figure against paths.
pub fn table(points: &[Point]) -> String {
    let mut out = format!(
        "{:>10}{:>10}{:>12}{:>14}{:>9}{:>11}{:>15}{:>11}\n",
        "prefixes", "paths", "complete s", "forwarding s", "CPU s", "peak MiB", "resident MiB", "maps MiB"
    );
    let optional =
        |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    for point in points {
        out.push_str(&format!(
            "{:>10}{:>10}{:>12.2}{:>14}{:>9.2}{:>11.0}{:>15.0}{:>11}\n",
            point.prefixes,
            point.paths,
            point.complete.as_secs_f64(),
            optional(point.forwarding.map(|time| time.as_secs_f64()), 2),
            point.cpu.as_secs_f64(),
            float(point.peak) / MEBIBYTE,
            float(point.resident) / MEBIBYTE,
            optional(point.maps.map(|bytes| float(bytes) / MEBIBYTE), 0),
        ));
    }
    for figure in &FIGURES {
        if let Some(Line { intercept, slope, r_squared }) = figure.fit(points) {
            let (by_path, unit) = if figure.scale > 1.0 { (slope, "B") } else { (1e6 * slope, "us") };
            out.push_str(&format!(
                "{}: {:.2} {} + {by_path:.2} {unit} a path, R^2 {r_squared:.4}\n",
                figure.name,
                intercept / figure.scale,
                figure.unit,
            ));
        }
    }
    out
}

/// The same as JSON: times in seconds, sizes in bytes.
pub fn json(points: &[Point]) -> Value {
    let rows = points.iter().map(|point| {
        json!({
            "prefixes": point.prefixes,
            "paths": point.paths,
            "complete": point.complete.as_secs_f64(),
            "forwarding": point.forwarding.map(|time| time.as_secs_f64()),
            "cpu": point.cpu.as_secs_f64(),
            "peak": point.peak,
            "resident": point.resident,
            "map_bytes": point.maps,
        })
    });
    let fits: serde_json::Map<String, Value> = FIGURES
        .iter()
        .filter_map(|figure| {
            let Line { intercept, slope, r_squared } = figure.fit(points)?;
            let fit = json!({ "intercept": intercept, "slope": slope, "r_squared": r_squared });
            Some((figure.name.to_ascii_lowercase(), fit))
        })
        .collect();
    json!({ "points": rows.collect::<Vec<_>>(), "fits": fits })
}
