//! Runs as lines of JSON, and their medians as a table.

use std::time::Duration;

use serde_json::{Value, json};

use crate::load::feeds::Feeds;
use crate::load::run::{Phase, PhaseReport, RunReport};

/// All runs of one router.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name.
    pub subject: String,
    /// In the order in which they were run.
    pub runs: Vec<RunReport>,
}

impl RunReport {
    /// A phase, if it was played.
    pub fn phase(&self, phase: Phase) -> Option<&PhaseReport> {
        self.phases.iter().find(|report| report.phase == phase)
    }

    /// What the load has added to the router's resident memory, by path.
    pub fn bytes_per_path(&self, feeds: &Feeds) -> Option<f64> {
        let loaded = self.phase(Phase::Load).filter(|load| !load.timed_out)?.usage.resident;
        Some(float(loaded.saturating_sub(self.idle)) / float(feeds.paths()))
    }

    /// One line of JSON: times in seconds, sizes in bytes.
    pub fn json(&self, subject: &str, run: usize, feeds: &Feeds) -> Value {
        let attribute_sets: Vec<[usize; 2]> = feeds.feeds.iter().map(|feed| feed.attribute_sets).collect();
        json!({
            "subject": subject,
            "run": run,
            "feeders": feeds.feeds.len(),
            "prefixes": feeds.prefixes,
            "paths": feeds.paths(),
            "attribute_sets": attribute_sets,
            "phases": self.phases.iter().map(phase_json).collect::<Vec<_>>(),
            "resident_idle": self.idle,
            "map_bytes": self.map_bytes,
            "map_entries": self.map_entries,
            "bytes_per_path": self.bytes_per_path(feeds),
            "error": self.error,
        })
    }
}

fn phase_json(report: &PhaseReport) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "phase": report.phase.name(),
        "timed_out": report.timed_out,
        "first": seconds(report.line.first),
        "complete": seconds(report.line.complete),
        "quiet": seconds(report.line.last),
        "written": seconds(report.written),
        "rejoined": seconds(report.rejoined),
        "forwarding": seconds(report.forwarding),
        "updates": report.line.updates,
        "announced": report.line.announced,
        "withdrawn": report.line.withdrawn,
        "missing": report.line.missing,
        "surplus": report.line.surplus,
        "cpu": report.usage.cpu.as_secs_f64(),
        "harness_cpu": report.harness_cpu.as_secs_f64(),
        "other_cpu": report.other_cpu.as_secs_f64(),
        "resident": report.usage.resident,
        "peak": report.usage.peak,
    })
}

/// One column: its title, digits after the point, and a run's figure. A phase that was given up
/// counts as infinitely long.
struct Column {
    title: &'static str,
    digits: usize,
    figure: fn(&RunReport, &Feeds) -> Option<f64>,
}

/// A time of a phase.
fn time(run: &RunReport, phase: Phase, of: fn(&PhaseReport) -> Option<Duration>) -> Option<f64> {
    let report = run.phase(phase)?;
    if report.timed_out { Some(f64::INFINITY) } else { of(report).map(|time| time.as_secs_f64()) }
}

#[expect(clippy::cast_precision_loss, reason = "bytes and routes stay far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

fn mebibytes(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}

/// The last thing that a phase has brought about, at the receiver or in the forwarding table.
fn settled(report: &PhaseReport) -> Option<Duration> {
    report.line.last.max(report.forwarding).max(report.written)
}

const COLUMNS: [Column; 13] = [
    Column { title: "first s", digits: 3, figure: |run, _| time(run, Phase::Load, |load| load.line.first) },
    Column { title: "all s", digits: 2, figure: |run, _| time(run, Phase::Load, |load| load.line.complete) },
    Column { title: "quiet s", digits: 2, figure: |run, _| time(run, Phase::Load, |load| load.line.last) },
    Column {
        title: "forwarding s",
        digits: 2,
        figure: |run, _| time(run, Phase::Load, |load| load.forwarding),
    },
    Column { title: "flap s", digits: 2, figure: |run, _| time(run, Phase::Flap, settled) },
    Column { title: "back s", digits: 2, figure: |run, _| time(run, Phase::Flap, |flap| flap.rejoined) },
    Column { title: "withdraw s", digits: 2, figure: |run, _| time(run, Phase::Withdraw, settled) },
    Column {
        title: "peak MiB",
        digits: 0,
        figure: |run, _| run.phases.last().map(|last| mebibytes(last.usage.peak)),
    },
    Column {
        title: "maps MiB",
        digits: 0,
        figure: |run, _| run.map_bytes.filter(|&bytes| bytes > 0).map(mebibytes),
    },
    Column { title: "B/path", digits: 0, figure: RunReport::bytes_per_path },
    Column {
        title: "CPU s",
        digits: 2,
        figure: |run, _| run.phase(Phase::Load).map(|load| load.usage.cpu.as_secs_f64()),
    },
    Column {
        title: "harness CPU s",
        digits: 2,
        figure: |run, _| run.phase(Phase::Load).map(|load| load.harness_cpu.as_secs_f64()),
    },
    Column {
        title: "other CPU s",
        digits: 2,
        figure: |run, _| run.phase(Phase::Load).map(|load| load.other_cpu.as_secs_f64()),
    },
];

/// The middle one; between two, their mean.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    Some(if figures.len().is_multiple_of(2) { f64::midpoint(figures[middle - 1], upper) } else { upper })
}

/// Medians, a row for each router; in parentheses how many times BIRD's figure it is.
pub fn table(series: &[Series], feeds: &Feeds, timeout: Duration) -> String {
    let figures: Vec<Vec<Option<f64>>> = series.iter().map(|series| medians(series, feeds)).collect();
    let reference = series.iter().position(|series| series.subject == "bird").map(|row| &figures[row]);
    let cell = |row: usize, at: usize| -> String {
        let Some(figure) = figures[row][at] else { return "-".to_owned() };
        if figure.is_infinite() {
            return format!(">{}", timeout.as_secs());
        }
        let text = format!("{figure:.*}", COLUMNS[at].digits);
        match reference.and_then(|reference| reference[at]) {
            Some(base) if base > 0.0 && base.is_finite() && series[row].subject != "bird" => {
                format!("{text} ({:.2})", figure / base)
            }
            _ => text,
        }
    };
    let mut lines = vec![vec!["median of good runs".to_owned()]];
    lines[0].extend(COLUMNS.iter().map(|column| column.title.to_owned()));
    for (row, series) in series.iter().enumerate() {
        let good = series.runs.iter().filter(|run| run.error.is_none()).count();
        let mut line = vec![format!("{} {good}/{}", series.subject, series.runs.len())];
        line.extend((0..COLUMNS.len()).map(|at| cell(row, at)));
        lines.push(line);
    }
    let mut text = aligned(&lines);
    if reference.is_some() && series.len() > 1 {
        text.push_str("in parentheses: how many times BIRD's figure\n");
    }
    text.push_str("what the columns are: scripts/bench\n");
    text
}

/// A series' median in each column.
fn medians(series: &Series, feeds: &Feeds) -> Vec<Option<f64>> {
    let good = || series.runs.iter().filter(|run| run.error.is_none());
    COLUMNS
        .iter()
        .map(|column| median(good().filter_map(|run| (column.figure)(run, feeds)).collect()))
        .collect()
}

/// The first column to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |at: usize| lines.iter().map(|line| line[at].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
            if at == 0 {
                out.push_str(&format!("{cell:<width$}"));
            } else {
                out.push_str(&format!("  {cell:>width$}"));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle_and_a_timeout_is_longer_than_all() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![1.0, 2.0]), Some(1.5));
        assert_eq!(median(vec![f64::INFINITY, 1.0, f64::INFINITY]), Some(f64::INFINITY));
    }

    #[test]
    fn columns_line_up() {
        let lines = [vec!["a".to_owned(), "title".to_owned()], vec!["long".to_owned(), "1".to_owned()]];
        assert_eq!(aligned(&lines), "a     title\nlong      1\n");
    }
}
