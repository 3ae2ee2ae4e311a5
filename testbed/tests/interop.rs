//! The routers that the README's table names: everything that it says works does.

use anyhow::{Result, ensure};
use testbed::daemon;
use testbed::interop::Verdict;
use testbed::interop::partners::Kind;
use testbed::interop::run::run;
use testbed::interop::table::{recorded, words};

fn features_work(test: &str, kind: Kind) -> Result<()> {
    if !daemon::ready(&format!("interop::{test}"), kind.programs()) {
        return Ok(());
    }
    let verdicts = run(kind)?;
    let failed: Vec<String> = verdicts
        .iter()
        .filter_map(|(feature, verdict)| match verdict {
            Verdict::Fails(how) => Some(format!("{}: {how}", feature.heading())),
            _ => None,
        })
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    // Another version may offer more or less: that is no failure.
    if let Some(known) = recorded()?.get(&kind.name()?) {
        ensure!(*known == words(&verdicts), "not as recorded: run scripts/bench interop: {verdicts:?}");
    }
    Ok(())
}

#[test]
fn features_work_with_bird() -> Result<()> {
    features_work("features_work_with_bird", Kind::Bird)
}

#[test]
fn features_work_with_frr() -> Result<()> {
    features_work("features_work_with_frr", Kind::Frr)
}

#[test]
fn features_work_with_gobgp() -> Result<()> {
    features_work("features_work_with_gobgp", Kind::Gobgp)
}

#[test]
fn features_work_with_openbgpd() -> Result<()> {
    features_work("features_work_with_openbgpd", Kind::Openbgpd)
}

#[test]
fn features_work_with_exabgp() -> Result<()> {
    features_work("features_work_with_exabgp", Kind::Exabgp)
}
