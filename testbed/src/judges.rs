//! `testbed replay`, `interop`, `crowd`, `seeds`: other readers, other routers, many neighbours, and
//! inputs for the fuzzers, by command line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use testbed::interop::partners::Kind;
use testbed::interop::{Verdict, run as trial, table};
use testbed::replay::run::replay as replayed;
use testbed::skip;
use testbed::soak::crowd;

use crate::TableSource;
use crate::measure::prepare;

#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// MRT files of BGP4MP records; `.bz2`, `.gz` and `.xz` are unpacked.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CrowdArguments {
    #[command(flatten)]
    source: TableSource,
    /// How many neighbours there are.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(2..=250))]
    sessions: u16,
    /// How many of them are told the table.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=249))]
    listeners: u16,
    /// How long processor time is counted while idle, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

#[derive(Debug, Args)]
pub(crate) struct SeedsArguments {
    /// Folder of a folder for each fuzz target.
    out: PathBuf,
    /// Files of lines `hexadecimal-message TAB anything`; those that end in `corpus.tsv` have the
    /// target in front.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(crate) fn replay(arguments: &ReplayArguments) -> Result<()> {
    const SANDBOX: &str = "replay-bench";
    prepare(SANDBOX)?;
    for file in &arguments.files {
        println!("{}: {}", file.display(), replayed(SANDBOX, file)?.text());
    }
    Ok(())
}

/// Tries every partner that is installed, and writes the results and the README's table.
pub(crate) fn interop() -> Result<()> {
    ensure!(nix::unistd::Uid::effective().is_root(), "needs root: it makes network namespaces");
    let mut results = BTreeMap::new();
    let mut failures = 0;
    for kind in Kind::ALL {
        let name = kind.name()?;
        if !skip::installed(kind.programs()) {
            println!("{name}: SKIPPED, not installed (scripts/setup --peers)");
            continue;
        }
        let verdicts = trial::run(kind).with_context(|| name.clone())?;
        for (feature, verdict) in &verdicts {
            let how = match verdict {
                Verdict::Fails(how) => {
                    failures += 1;
                    format!(": {how}")
                }
                _ => String::new(),
            };
            println!("{name}: {}: {}{how}", feature.heading(), verdict.word());
        }
        results.insert(name, table::words(&verdicts));
    }
    table::record(results)?;
    ensure!(failures == 0, "{failures} features failed");
    Ok(())
}

pub(crate) fn crowd(arguments: &CrowdArguments) -> Result<()> {
    const SANDBOX: &str = "crowd";
    prepare(SANDBOX)?;
    let CrowdArguments { source, sessions, listeners, seconds } = arguments;
    ensure!(listeners < sessions, "the first neighbour announces: at most {} listen", sessions - 1);
    let table = source.table(None)?;
    let window = Duration::from_secs(*seconds);
    let found = crowd::measure(SANDBOX, usize::from(*sessions), usize::from(*listeners), &table, window)?;
    println!("{}", found.text());
    println!("{}", found.json());
    Ok(())
}

/// Writes each message as the inputs that the fuzz targets take.
pub(crate) fn seeds(arguments: &SeedsArguments) -> Result<()> {
    let mut count = 0;
    for file in &arguments.files {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let own = file.ends_with("corpus.tsv");
        for line in text.lines() {
            let mut fields = line.split('\t');
            if own {
                let target = fields.next().unwrap_or_default();
                write_seed(&arguments.out, target, &bytes(fields.next().unwrap_or_default())?, &mut count)?;
                continue;
            }
            // Other people's lists have lines that are no message.
            let Ok(message) = bytes(fields.next().unwrap_or_default()) else { continue };
            let Some((kind, body)) = message.get(18).zip(message.get(19..)) else { continue };
            write_seed(&arguments.out, "message", &[&[0], &message[..]].concat(), &mut count)?;
            if *kind == 2 {
                write_seed(&arguments.out, "update", &[&[0], body].concat(), &mut count)?;
            }
            if let Ok(length) = u8::try_from(body.len()) {
                // Accepted, an OPEN, a KEEPALIVE, and the message.
                let session = [&[0, 0, 6, 7, 8, *kind, length][..], body].concat();
                write_seed(&arguments.out, "session", &session, &mut count)?;
            }
        }
    }
    println!("{count} seeds in {}", arguments.out.display());
    Ok(())
}

fn write_seed(out: &Path, target: &str, input: &[u8], count: &mut usize) -> Result<()> {
    let folder = out.join(target);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let file = folder.join(format!("seed-{count:06}"));
    fs::write(&file, input).with_context(|| format!("write {}", file.display()))?;
    *count += 1;
    Ok(())
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        bail!("no hexadecimal octets: {hex}");
    }
    let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).context("hexadecimal digits");
    (0..hex.len()).step_by(2).map(octet).collect()
}
