//! `testbed lookup`, `install`: the measurements of [`testbed::plane`] by command line.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use fib::EngineChoice;
use testbed::plane::{compression, install, lookup};

use crate::TableSource;
use crate::measure::{append, prepare};

#[derive(Debug, Args)]
pub(crate) struct LookupArguments {
    #[command(flatten)]
    source: TableSource,
    /// Packets of each family and kind of traffic.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(100..))]
    packets: u32,
    /// Random addresses to compare answers for.
    #[arg(long, default_value_t = 10_000_000)]
    addresses: usize,
    /// One in so many of the compared addresses is also asked by a packet.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Neighbours that routes lead to.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..))]
    neighbors: u8,
    /// Append a line of JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the figures into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn lookup(arguments: &LookupArguments) -> Result<()> {
    prepare("lookup")?;
    let LookupArguments { source, packets, addresses, every, neighbors, json, svg } = arguments;
    let table = source.table(None)?;
    let setting = lookup::Setting {
        packets: *packets as usize,
        addresses: *addresses,
        every: *every as usize,
        neighbors: *neighbors,
        seed: source.seed,
    };
    let report = lookup::run(&table, setting)?;
    print!("{}", report.text());
    json.as_deref().map_or(Ok(()), |path| append(path, &report.json()))?;
    svg.as_deref().map_or(Ok(()), |path| report.plot().write(path))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    Direct,
    LpmTrie,
}

#[derive(Debug, Args)]
pub(crate) struct InstallArguments {
    #[command(flatten)]
    source: TableSource,
    /// What the tables are.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "direct,lpm-trie")]
    engines: Vec<Engine>,
    /// Neighbours that routes lead to.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..250))]
    neighbors: u8,
    /// Single changes a second, after the table is in.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// For how many seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Numbers of next hops for which compression is counted.
    #[arg(long, value_delimiter = ',', default_value = "2,8,64")]
    compress: Vec<u8>,
    /// Random changes after which compression is counted again.
    #[arg(long, default_value_t = 500_000)]
    changes: usize,
    /// Append lines of JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the figures into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn install(arguments: &InstallArguments) -> Result<()> {
    prepare("install")?;
    let table = arguments.source.table(None)?;
    ensure!(!table.routes.is_empty(), "the table is empty");
    let InstallArguments { neighbors, rate, seconds, .. } = *arguments;
    let seed = arguments.source.seed;
    let mut reports = Vec::new();
    for engine in &arguments.engines {
        let engine = match engine {
            Engine::Direct => EngineChoice::Direct,
            Engine::LpmTrie => EngineChoice::LpmTrie,
        };
        let setting = install::Setting { neighbors, rate, seconds, seed };
        let report = install::run(&table, engine, setting)?;
        print!("{}", report.text());
        arguments.json.as_deref().map_or(Ok(()), |path| append(path, &report.json()))?;
        reports.push(report);
    }
    for &next_hops in &arguments.compress {
        let row = compression::measure(&table, next_hops, arguments.changes, seed)?;
        println!("{}", row.text());
        arguments.json.as_deref().map_or(Ok(()), |path| append(path, &row.json()))?;
    }
    arguments.svg.as_deref().map_or(Ok(()), |path| install::plot(&reports).write(path))
}
