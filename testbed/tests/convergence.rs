//! The load harness, and by it: a table of any size arrives whole, is counted right and goes again.
//!
//! A tenth of the Internet's table in the largest run, generated. With `PEREGRINE_TEST_DATA` naming
//! a directory that holds `v4.txt` and `v6.txt` (lines `prefix origin-asn`), that table whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::daemon;
use testbed::load::feeds::{Feeds, Share};
use testbed::load::neighbors::Neighbors;
use testbed::load::report::{self, Series};
use testbed::load::run::{Phase, RunReport, Setting, run};
use testbed::load::subject::{Rival, Subject};
use testbed::peers::bird;
use testbed::table::Table;

const TIMEOUT: Duration = Duration::from_mins(2);
const QUIET: Duration = Duration::from_millis(300);
const ALL: [Phase; 3] = [Phase::Load, Phase::Flap, Phase::Withdraw];

/// Runs it; whatever was not exact is an error.
fn good(setting: &Setting<'_>, subject: Subject) -> Result<RunReport> {
    let report = run(setting, subject);
    if let Some(error) = &report.error {
        anyhow::bail!("{subject}: {error}");
    }
    ensure!(report.phases.len() == setting.phases.len(), "{subject}: phases are missing");
    for phase in &report.phases {
        ensure!(!phase.timed_out, "{subject}: {} took too long", phase.phase.name());
        ensure!(phase.line.exact(), "{subject}: {phase:?}");
    }
    Ok(report)
}

#[test]
fn routers_are_loaded_shaken_and_emptied() -> Result<()> {
    if !daemon::ready("convergence::routers_are_loaded_shaken_and_emptied", &bird::PROGRAMS) {
        return Ok(());
    }
    let table = Table::generate(2000, 460, 3);
    let neighbors = Neighbors::new(3, &table)?;
    let feeds = Feeds::encode(&table, Share::Whole, &neighbors, 1)?;
    let setting = Setting {
        sandbox: "convergence-test",
        neighbors: &neighbors,
        feeds: &feeds,
        phases: &ALL,
        timeout: TIMEOUT,
        quiet: QUIET,
    };
    let mut series = Vec::new();
    for subject in [Subject::Peregrine { fib: true }, Subject::Rival { which: Rival::Bird, kernel: true }] {
        let report = good(&setting, subject)?;
        for phase in [Phase::Load, Phase::Withdraw] {
            let phase = report.phase(phase).context("a phase")?;
            let moved = (phase.line.announced.max(phase.line.withdrawn), phase.line.updates);
            ensure!(moved.0 >= 2460 && moved.1 > 0, "{subject}: {phase:?}");
            ensure!(phase.forwarding.is_some() && phase.line.complete.is_some(), "{subject}: {phase:?}");
        }
        let flap = report.phase(Phase::Flap).context("a phase")?;
        ensure!(flap.rejoined.is_some() && flap.written > flap.rejoined, "{subject}: {flap:?}");
        series.push(Series { subject: subject.to_string(), runs: vec![report] });
    }
    let shown = report::table(&series, &feeds, TIMEOUT);
    // The head, a row for each router, and where the columns are explained.
    ensure!(shown.lines().count() == 4 && shown.contains("peregrine 1/1"), "{shown}");
    Ok(())
}

#[test]
fn feeders_with_prefixes_of_their_own_lose_none() -> Result<()> {
    if !daemon::ready("convergence::feeders_with_prefixes_of_their_own_lose_none", &[]) {
        return Ok(());
    }
    let table = Table::generate(20_000, 5_000, 2);
    let neighbors = Neighbors::new(20, &table)?;
    let feeds = Feeds::encode(&table, Share::Disjoint(1000), &neighbors, 1)?;
    let setting = Setting {
        sandbox: "convergence-disjoint",
        neighbors: &neighbors,
        feeds: &feeds,
        phases: &ALL,
        timeout: TIMEOUT,
        quiet: QUIET,
    };
    let report = good(&setting, Subject::Peregrine { fib: false })?;
    // Nobody else has what the flapping feeder announces: it goes and comes back.
    let flap = report.phase(Phase::Flap).context("a phase")?;
    ensure!((flap.line.withdrawn, flap.line.announced) == (1000, 1000), "{flap:?}");
    Ok(())
}

#[test]
fn a_large_table_arrives_whole_and_is_counted_right() -> Result<()> {
    if !daemon::ready("convergence::a_large_table_arrives_whole_and_is_counted_right", &[]) {
        return Ok(());
    }
    let files: Option<Vec<PathBuf>> = std::env::var_os("PEREGRINE_TEST_DATA")
        .map(|directory| ["v4.txt", "v6.txt"].map(|file| Path::new(&directory).join(file)).to_vec())
        .filter(|files| files.iter().all(|file| file.is_file()));
    let table = match &files {
        Some(files) => Table::load(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>())?,
        None => Table::generate(100_000, 25_000, 1),
    };
    let neighbors = Neighbors::new(1, &table)?;
    let feeds = Feeds::encode(&table, Share::Whole, &neighbors, 1)?;
    let setting = Setting {
        sandbox: "full-table",
        neighbors: &neighbors,
        feeds: &feeds,
        phases: &[Phase::Load],
        timeout: Duration::from_mins(5),
        quiet: QUIET,
    };
    let report = good(&setting, Subject::Peregrine { fib: true })?;
    let map_bytes = report.map_bytes.context("no size of the maps")?;
    ensure!((1 << 20..110 << 20).contains(&map_bytes), "{map_bytes} bytes of maps");
    Ok(())
}
