//! A large table through the daemon: everything received, best and installed, counts agree.
//!
//! A tenth of the Internet's table by default, generated. With `PEREGRINE_TEST_DATA` naming a
//! directory that holds `v4.txt` and `v6.txt` (lines `prefix origin-asn`), that table whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::daemon;
use testbed::full_table::{Plan, run};
use testbed::table::Table;

#[test]
fn a_large_table_arrives_whole_and_is_counted_right() -> Result<()> {
    if !daemon::ready("full_table::a_large_table_arrives_whole_and_is_counted_right", &[]) {
        return Ok(());
    }
    let files: Option<Vec<PathBuf>> = std::env::var_os("PEREGRINE_TEST_DATA")
        .map(|directory| ["v4.txt", "v6.txt"].map(|file| Path::new(&directory).join(file)).to_vec())
        .filter(|files| files.iter().all(|file| file.is_file()));
    let table = match &files {
        Some(files) => Table::load(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>())?,
        None => Table::generate(100_000, 25_000, 1),
    };
    let plan =
        Plan { name: "full-table", table: &table, feeders: 1, fib: true, timeout: Duration::from_mins(5) };
    let report = run(&plan)?;
    let (v4, v6) = report.prefixes;
    println!("{v4} + {v6} prefixes in {:?}, {} MiB", report.elapsed, report.resident_bytes >> 20);
    ensure!(report.entries.0 > 0 && report.entries.0 <= v4 as u64 + 1000, "{} map entries", report.entries.0);
    Ok(())
}

#[test]
fn four_feeders_of_one_table_leave_one_best_path_each() -> Result<()> {
    if !daemon::ready("full_table::four_feeders_of_one_table_leave_one_best_path_each", &[]) {
        return Ok(());
    }
    let table = Table::generate(20_000, 5_000, 2);
    let plan =
        Plan { name: "four-feeders", table: &table, feeders: 4, fib: false, timeout: Duration::from_mins(2) };
    run(&plan).map(drop)
}
