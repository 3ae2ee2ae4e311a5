//! `testbed churn`, `linear`, `idle`, `slow`: the measurements of [`testbed::soak`] by command line.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;
use testbed::failover::{self, Router, Trigger};
use testbed::load::run::{QUIET, settle};
use testbed::load::subject::{Rival, Subject};
use testbed::restart;
use testbed::soak::churn::{self, Pace, Phase};
use testbed::soak::scene::Setting;
use testbed::soak::slow::{self, Kind, Rounds};
use testbed::soak::{idle, linear};
use testbed::table::Table;

use crate::{TableSource, clear_when_interrupted};

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Without forwarding tables.
    #[arg(long)]
    no_fib: bool,
    /// A wait that takes longer than this many seconds is given up.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Append lines of JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Common {
    fn setting<'a>(&self, sandbox: &'a str, table: &'a Table, feeders: u16, seed: u64) -> Setting<'a> {
        let timeout = Duration::from_secs(self.timeout);
        Setting {
            sandbox,
            table,
            feeders,
            fib: !self.no_fib,
            seed,
            small_buffers: false,
            quiet: QUIET,
            timeout,
        }
    }

    fn write(&self, line: &Value) -> Result<()> {
        self.json.as_deref().map_or(Ok(()), |path| append(path, line))
    }

    fn subject(&self) -> Subject {
        Subject::Peregrine { fib: !self.no_fib }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ChurnArguments {
    #[command(flatten)]
    source: TableSource,
    #[command(flatten)]
    common: Common,
    /// How many feeders announce the table.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=250))]
    feeders: u16,
    /// UPDATEs in a second, of one prefix each, of all feeders together.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// How long, in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// What happens, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "load,churn")]
    phases: Vec<Phase>,
}

#[derive(Debug, Args)]
pub(crate) struct LinearArguments {
    /// Sizes of the tables, in prefixes of both families.
    #[arg(long, value_delimiter = ',', default_value = "250000,500000,1000000,2000000")]
    sizes: Vec<usize>,
    /// How many feeders announce each table.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=250))]
    feeders: u16,
    /// Seed of the tables.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct IdleArguments {
    /// How many sessions there are.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(2..=250))]
    sessions: u16,
    /// How long processor time is counted, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Routers to compare with.
    #[arg(long, value_enum, value_delimiter = ',')]
    against: Vec<Rival>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct SlowArguments {
    #[command(flatten)]
    source: TableSource,
    #[command(flatten)]
    common: Common,
    /// How long the slow receiver does not read, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Rounds with the quick receiver alone.
    #[arg(long, default_value_t = 5)]
    alone: usize,
    /// What happens in a round.
    #[arg(long, value_enum, default_value = "announce")]
    kind: Kind,
}

/// Clears the sandbox away when the user interrupts.
pub(crate) fn prepare(sandbox: &'static str) -> Result<()> {
    ensure!(nix::unistd::Uid::effective().is_root(), "needs root: it makes network namespaces");
    clear_when_interrupted(sandbox)
}

pub(crate) fn churn(arguments: &ChurnArguments) -> Result<()> {
    const SANDBOX: &str = "churn";
    prepare(SANDBOX)?;
    let ChurnArguments { source, common, feeders, rate, seconds, phases } = arguments;
    let table = source.table(None)?;
    let (v4, v6) = table.counts();
    println!("{feeders} feeders, {v4} IPv4 and {v6} IPv6 prefixes");
    let setting = common.setting(SANDBOX, &table, *feeders, source.seed);
    let pace = Pace { rate: *rate, period: Duration::from_secs(*seconds) };
    let reports = churn::run(setting, pace, phases, |second| common.write(&second.json()))?;
    for report in reports {
        print!("{}", report.text());
        common.write(&report.json())?;
    }
    Ok(())
}

pub(crate) fn linear(arguments: &LinearArguments) -> Result<()> {
    const SANDBOX: &str = "linear";
    prepare(SANDBOX)?;
    let LinearArguments { sizes, feeders, seed, common } = arguments;
    let timeout = Duration::from_secs(common.timeout);
    let mut points = Vec::new();
    for size in sizes {
        // As many IPv6 prefixes as in a table that `--generate` makes.
        let v4 = size * 100 / 123;
        eprintln!("{size} prefixes");
        let table = Table::generate(v4, size - v4, *seed);
        points.push(linear::measure(SANDBOX, &table, *feeders, common.subject(), QUIET, timeout)?);
        drop(table);
        settle()?;
    }
    print!("{}", linear::table(&points));
    common.write(&linear::json(&points))
}

pub(crate) fn idle(arguments: &IdleArguments) -> Result<()> {
    const SANDBOX: &str = "idle";
    prepare(SANDBOX)?;
    let IdleArguments { sessions, seconds, against, common } = arguments;
    let rivals = against.iter().map(|&which| Subject::Rival { which, kernel: false });
    for subject in [common.subject()].into_iter().chain(rivals) {
        let missing = subject.missing();
        ensure!(missing.is_empty(), "{subject}: not installed: {} (see scripts/setup)", missing.join(", "));
        let found = idle::measure(SANDBOX, *sessions, subject, Duration::from_secs(*seconds))
            .with_context(|| subject.to_string())?;
        println!("{subject}: {}", found.text());
        common.write(&found.json(&subject.to_string()))?;
    }
    Ok(())
}

pub(crate) fn slow(arguments: &SlowArguments) -> Result<()> {
    const SANDBOX: &str = "slow";
    prepare(SANDBOX)?;
    let SlowArguments { source, common, seconds, alone, kind } = arguments;
    let table = source.table(None)?;
    let (v4, v6) = table.counts();
    println!("{v4} IPv4 and {v6} IPv6 prefixes");
    let setting = common.setting(SANDBOX, &table, 1, source.seed);
    let rounds = Rounds { kind: *kind, alone: *alone, pause: Duration::from_secs(*seconds) };
    let report = slow::run(setting, rounds)?;
    print!("{}", report.text());
    common.write(&report.json())
}

#[derive(Debug, Args)]
pub(crate) struct FailoverArguments {
    /// Prefixes of the table, IPv4; IPv6 comes to 23 % of them on top.
    #[arg(long, value_delimiter = ',', default_value = "1000,100000,1000000")]
    prefixes: Vec<usize>,
    /// Who forwards besides our daemon, with the kernel's tables.
    #[arg(long, value_delimiter = ',')]
    against: Vec<Router>,
    /// What happens to the first uplink.
    #[arg(long, default_value = "link", value_enum)]
    trigger: Trigger,
    /// How often.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Seed of the table.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Append lines of JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the figures into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn failover(arguments: &FailoverArguments) -> Result<()> {
    prepare("failover")?;
    let FailoverArguments { prefixes, against, trigger, runs, seed, json, svg } = arguments;
    let mut outcomes = Vec::new();
    println!("{}", failover::head());
    for &count in prefixes {
        let table = Table::generate(count, count * 23 / 100, *seed);
        for _ in 0..*runs {
            for router in [Router::Peregrine].iter().chain(against) {
                let outcome = failover::run(*router, *trigger, &table)?;
                println!("{}", outcome.text());
                json.as_deref().map_or(Ok(()), |path| append(path, &outcome.json()))?;
                outcomes.push(outcome);
            }
        }
    }
    svg.as_deref().map_or(Ok(()), |path| failover::plot(&outcomes).write(path))
}

#[derive(Debug, Args)]
pub(crate) struct RestartArguments {
    /// Prefixes of the table, IPv4; IPv6 comes to 23 % of them on top.
    #[arg(long, value_delimiter = ',', default_value = "1000,100000,1000000")]
    prefixes: Vec<usize>,
    /// How the daemon ends, one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none,kill,stop")]
    ends: Vec<restart::End>,
    /// Packets a second.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Seed of the table.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Append lines of JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn restart(arguments: &RestartArguments) -> Result<()> {
    prepare("restart")?;
    let RestartArguments { prefixes, ends, rate, seed, json } = arguments;
    println!("{}", restart::head());
    for &count in prefixes {
        let mut scene = restart::Scene::build(&Table::generate(count, count * 23 / 100, *seed))?;
        for end in ends {
            let outcome = scene.restart(*end, testbed::stream::Pace::Steady(*rate))?;
            println!("{}", outcome.text());
            json.as_deref().map_or(Ok(()), |path| append(path, &outcome.json()))?;
        }
    }
    Ok(())
}

pub(crate) fn append(path: &Path, line: &Value) -> Result<()> {
    let file = File::options().create(true).append(true).open(path);
    let mut file = file.with_context(|| format!("open {}", path.display()))?;
    writeln!(file, "{line}").with_context(|| format!("write {}", path.display()))
}
