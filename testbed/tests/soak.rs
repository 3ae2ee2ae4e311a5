//! The long measurements on tables so small that each takes a few seconds; and a neighbour that does not
//! read harms nobody but itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::daemon;
use testbed::load::subject::Subject;
use testbed::soak::churn::{self, Pace, Phase};
use testbed::soak::scene::Setting;
use testbed::soak::slow::{self, Kind, Rounds};
use testbed::soak::{idle, linear};
use testbed::table::Table;

const TIMEOUT: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_millis(300);

fn setting<'a>(sandbox: &'a str, table: &'a Table, feeders: u16) -> Setting<'a> {
    Setting {
        sandbox,
        table,
        feeders,
        fib: true,
        seed: 1,
        small_buffers: false,
        quiet: QUIET,
        timeout: TIMEOUT,
    }
}

#[test]
fn after_churn_refresh_and_flap_the_receiver_holds_exactly_what_is_announced() -> Result<()> {
    const NAME: &str = "soak::after_churn_refresh_and_flap_the_receiver_holds_exactly_what_is_announced";
    if !daemon::ready(NAME, &[]) {
        return Ok(());
    }
    let table = Table::generate(2000, 500, 4);
    let pace = Pace { rate: 2000, period: Duration::from_secs(2) };
    let phases = [
        Phase::Load,
        Phase::Churn,
        Phase::RefreshIn,
        Phase::RefreshOut,
        Phase::Flap,
        Phase::PolicyIn,
        Phase::PolicyOut,
        Phase::PolicyIn,
        Phase::Withdraw,
    ];
    let mut seconds = 0;
    let reports = churn::run(setting("soak-churn", &table, 2), pace, &phases, |_| {
        seconds += 1;
        Ok(())
    })?;
    ensure!(reports.len() == phases.len() && seconds >= 2, "{} reports, {seconds} s", reports.len());
    let churn = reports[1].churn.as_ref().context("no figures of the churn")?;
    ensure!(churn.changes.total() == 4000, "{churn:?}");
    for report in &reports {
        // What changes nothing is not an event of the forwarding table.
        let changes = matches!(report.phase, Phase::Load | Phase::Churn | Phase::Flap | Phase::Withdraw);
        ensure!(!changes || report.latency.quantile(0.5).is_some(), "{report:?}");
        ensure!(report.text().contains(&report.phase.name()), "{}", report.text());
    }
    let told = reports[3].heard;
    ensure!(told.announced >= 2400 && told.announced <= 2500, "refreshed: {told:?}");
    for report in &reports[5..8] {
        let told = report.heard;
        ensure!(told.announced >= 2400 && told.announced <= 2500 && told.withdrawn == 0, "{report:?}");
    }
    Ok(())
}

#[test]
fn a_receiver_that_does_not_read_is_told_what_holds_in_the_end() -> Result<()> {
    const NAME: &str = "soak::a_receiver_that_does_not_read_is_told_what_holds_in_the_end";
    if !daemon::ready(NAME, &[]) {
        return Ok(());
    }
    // Much larger than the buffers of a connection.
    let table = Table::generate(60_000, 15_000, 4);
    for kind in [Kind::Announce, Kind::Flap] {
        let rounds = Rounds { kind, alone: 1, pause: Duration::from_secs(1) };
        let report = slow::run(setting("soak-slow", &table, 1), rounds)?;
        let shown = report.text();
        ensure!(report.paused.len() >= 4, "too few rounds:\n{shown}");
        // Each prefix once, and what the buffers held.
        ensure!(report.told() < 1.8, "told of every round:\n{shown}");
    }
    Ok(())
}

#[test]
fn growth_and_idle_sessions_are_measured() -> Result<()> {
    if !daemon::ready("soak::growth_and_idle_sessions_are_measured", &[]) {
        return Ok(());
    }
    let subject = Subject::Peregrine { fib: true };
    let mut points = Vec::new();
    for size in [1000, 3000] {
        let table = Table::generate(size, size / 4, 2);
        points.push(linear::measure("soak-linear", &table, 2, subject, QUIET, TIMEOUT)?);
    }
    ensure!(points[1].paths == 7500 && points[1].forwarding.is_some(), "{points:?}");
    let shown = linear::table(&points);
    ensure!(shown.contains("peak: ") && linear::json(&points)["fits"]["cpu"].is_object(), "{shown}");

    let found = idle::measure("soak-idle", 20, subject, Duration::from_secs(1))?;
    ensure!(found.sessions == 20 && found.resident > found.anonymous, "{found:?}");
    ensure!(found.text().contains("20 sessions"), "{}", found.text());
    Ok(())
}
