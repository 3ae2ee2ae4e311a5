//! `testbed convergence`: the load harness by command line.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use testbed::load::feeds::{Feeds, Share};
use testbed::load::neighbors::Neighbors;
use testbed::load::report::{self, Series};
use testbed::load::run::{self, Phase, Setting};
use testbed::load::subject::{Rival, Subject};

use crate::{TableSource, clear_when_interrupted};

/// Name of the sandbox.
const SANDBOX: &str = "convergence";

#[derive(Debug, Args)]
pub(crate) struct ConvergenceArguments {
    #[command(flatten)]
    source: TableSource,
    /// How many feeders there are.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=250))]
    feeders: u16,
    /// Each feeder announces this many prefixes of the table, not all; the same ones without
    /// --disjoint.
    #[arg(long, value_name = "N")]
    each: Option<usize>,
    /// Each feeder announces prefixes that no other announces.
    #[arg(long, requires = "each")]
    disjoint: bool,
    /// The phases to run; the load always is.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "load,flap,withdraw")]
    phases: Vec<Phase>,
    /// Routers to compare with.
    #[arg(long, value_enum, value_delimiter = ',')]
    against: Vec<Rival>,
    /// Of those that can, also a variant that writes into the kernel's tables.
    #[arg(long)]
    kernel_fib: bool,
    /// With the forwarding plane, without, or both.
    #[arg(long, value_enum, default_value = "fib")]
    peregrine: Variant,
    /// Only the others.
    #[arg(long, requires = "against")]
    skip_peregrine: bool,
    /// How often each router is measured; the medians are shown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// A phase that takes longer than this many seconds is given up.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Append a line of JSON for each run to this file, instead of standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Variant {
    Fib,
    NoFib,
    Both,
}

impl ConvergenceArguments {
    fn share(&self) -> Share {
        match self.each {
            None => Share::Whole,
            Some(each) if self.disjoint => Share::Disjoint(each),
            Some(each) => Share::Same(each),
        }
    }

    /// In the order in which they take turns.
    fn subjects(&self) -> Vec<Subject> {
        let fib: &[bool] = match self.peregrine {
            _ if self.skip_peregrine => &[],
            Variant::Fib => &[true],
            Variant::NoFib => &[false],
            Variant::Both => &[true, false],
        };
        let ours = fib.iter().map(|&fib| Subject::Peregrine { fib });
        let variants = [false, true].into_iter().filter(|&kernel| !kernel || self.kernel_fib);
        let others = variants.flat_map(|kernel| {
            let able = self.against.iter().filter(move |which| !kernel || which.has_kernel());
            able.map(move |&which| Subject::Rival { which, kernel })
        });
        ours.chain(others).collect()
    }

    fn phases(&self) -> Vec<Phase> {
        let all = [Phase::Load, Phase::Flap, Phase::Withdraw];
        all.into_iter().filter(|phase| *phase == Phase::Load || self.phases.contains(phase)).collect()
    }
}

pub(crate) fn convergence(arguments: &ConvergenceArguments) -> Result<()> {
    ensure!(nix::unistd::Uid::effective().is_root(), "needs root: it makes network namespaces");
    let subjects = arguments.subjects();
    for subject in &subjects {
        let missing = subject.missing();
        ensure!(missing.is_empty(), "{subject}: not installed: {} (see scripts/setup)", missing.join(", "));
    }
    clear_when_interrupted(SANDBOX)?;
    let each = if arguments.disjoint { arguments.each } else { None };
    let table = arguments.source.table(each.map(|each| each * usize::from(arguments.feeders)))?;
    let neighbors = Neighbors::new(arguments.feeders, &table)?;
    let feeds = Feeds::encode(&table, arguments.share(), &neighbors, arguments.source.seed)?;
    drop(table);
    describe(&feeds);
    let phases = arguments.phases();
    let timeout = Duration::from_secs(arguments.timeout);
    let setting = Setting {
        sandbox: SANDBOX,
        neighbors: &neighbors,
        feeds: &feeds,
        phases: &phases,
        timeout,
        quiet: run::QUIET,
    };
    let new_series = |subject: &Subject| Series { subject: subject.to_string(), runs: Vec::new() };
    let mut series: Vec<Series> = subjects.iter().map(new_series).collect();
    for number in 1..=usize::from(arguments.runs) {
        for (subject, series) in subjects.iter().zip(&mut series) {
            eprintln!("run {number} of {}: {subject}", arguments.runs);
            let report = run::run(&setting, *subject);
            write_line(arguments, &report.json(&series.subject, number, &feeds).to_string())?;
            if let Some(error) = &report.error {
                eprintln!("FAILED: {subject}: {error}");
            }
            series.runs.push(report);
            run::settle()?;
        }
    }
    println!("\n{}", report::table(&series, &feeds, timeout));
    let failed = series.iter().flat_map(|series| &series.runs).filter(|run| run.error.is_some()).count();
    ensure!(failed == 0, "{failed} runs failed");
    Ok(())
}

fn describe(feeds: &Feeds) {
    let [v4, v6] = feeds.prefixes;
    println!("{} feeders, {} paths to {v4} IPv4 and {v6} IPv6 prefixes", feeds.feeds.len(), feeds.paths());
    let bounds = |family: usize| {
        let sets = feeds.feeds.iter().map(|feed| feed.attribute_sets[family]);
        let (low, high) = (sets.clone().min().unwrap_or(0), sets.max().unwrap_or(0));
        if low == high { low.to_string() } else { format!("{low} to {high}") }
    };
    println!("attribute sets of each feeder: {} IPv4, {} IPv6; none are shared", bounds(0), bounds(1));
}

fn write_line(arguments: &ConvergenceArguments, line: &str) -> Result<()> {
    let Some(path) = &arguments.json else { return Ok(()) };
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    writeln!(file, "{line}").with_context(|| format!("write {}", path.display()))
}
