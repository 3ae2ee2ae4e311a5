//! `testbed`: the lab, a feeder for any router, and the measurements, as commands.
//!
//! `scripts/lab` and `scripts/bench` are thin callers of this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use testbed::feeder::{Feeder, FeederConfig};
use testbed::table::{Announcer, Table};
use testbed::{budget, lab, netns};

use crate::convergence::{ConvergenceArguments, convergence};
use crate::forwarding::{InstallArguments, LookupArguments};
use crate::judges::{CrowdArguments, ReplayArguments, SeedsArguments};
use crate::measure::{
    ChurnArguments, FailoverArguments, IdleArguments, LinearArguments, RestartArguments, SlowArguments,
};

mod convergence;
mod forwarding;
mod judges;
mod measure;

/// Set when the user has interrupted: the signal's thread then clears up and exits.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Network-namespace labs for Peregrine.
#[derive(Debug, Parser)]
#[command(name = "testbed", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The demonstration: two hosts, the router under test and BIRD; `lab down` clears it away.
    Lab(LabArguments),
    /// Announce a table to a router over BGP, and stay.
    Feed(FeedArguments),
    /// Measure how fast the daemon and other routers take whole tables, a flap and a withdrawal.
    Convergence(ConvergenceArguments),
    /// Measure the daemon under steady changes of full tables, and in other phases of its life.
    Churn(ChurnArguments),
    /// Measure how time and memory grow with the table.
    Linear(LinearArguments),
    /// Measure what sessions without routes cost.
    Idle(IdleArguments),
    /// Measure what a neighbour that does not read does to another one and to memory.
    Slow(SlowArguments),
    /// Count instructions for each path or change, and compare with what is recorded.
    Budget(BudgetArguments),
    /// Replay MRT files of real updates, and compare what the daemon holds with other readers.
    Replay(ReplayArguments),
    /// Try every feature with every router that is installed, and write the README's table.
    Interop,
    /// Measure many neighbours with short hold times while a table arrives and is dumped.
    Crowd(CrowdArguments),
    /// Measure what is lost when the link to a whole table's next hop goes down.
    Failover(FailoverArguments),
    /// Measure lookups in the forwarding tables, and compare their answers.
    Lookup(LookupArguments),
    /// Measure how long a table, and single changes, take into the forwarding tables; and compression.
    Install(InstallArguments),
    /// Measure what is lost while the daemon is killed or stopped and started again.
    Restart(RestartArguments),
    /// Make inputs for the fuzzers from lists of messages.
    Seeds(SeedsArguments),
}

#[derive(Debug, Args)]
struct BudgetArguments {
    /// Record the figures.
    #[arg(long)]
    record: bool,
    /// Run one phase, to be counted, and print over how many items its cost is spread.
    #[arg(long, hide = true, value_enum)]
    phase: Option<budget::Phase>,
}

#[derive(Debug, Args)]
struct LabArguments {
    /// `down`: clear away what `--keep` has left.
    action: Option<LabAction>,
    /// Leave the lab running at the end and print commands to play with.
    #[arg(long)]
    keep: bool,
    /// Who routes between the hosts.
    #[arg(long, value_enum, default_value = "peregrine")]
    router: RouterKind,
    /// Seconds that each iperf3 runs.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Throughput in Mbit/s that TCP must reach.
    #[arg(long, default_value_t = 1000)]
    megabits: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LabAction {
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RouterKind {
    Peregrine,
    /// BIRD and the kernel: checks the lab itself.
    Bird,
}

#[derive(Debug, Args)]
struct TableSource {
    /// Files of lines `prefix origin-asn`; may be given more than once.
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Generate a table of this many IPv4 prefixes instead (a million unless more are needed); IPv6
    /// comes to 23 % of it.
    #[arg(long, value_name = "N", conflicts_with = "files")]
    generate: Option<usize>,
    /// Seed of the generator.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl TableSource {
    /// The table; one that may choose its size has at least `needed` prefixes.
    fn table(&self, needed: Option<usize>) -> Result<Table> {
        if self.files.is_empty() {
            let enough = needed.map_or(0, |needed| needed * 100 / 123 + 100);
            let v4 = self.generate.unwrap_or_else(|| enough.max(1_000_000));
            return Ok(Table::generate(v4, v4 * 23 / 100, self.seed));
        }
        Table::load(&self.files.iter().map(PathBuf::as_path).collect::<Vec<&Path>>())
    }
}

#[derive(Debug, Args)]
struct FeedArguments {
    /// Our address on the link to the router.
    #[arg(long)]
    local: IpAddr,
    /// The router.
    #[arg(long)]
    remote: SocketAddr,
    /// Our AS number.
    #[arg(long, default_value_t = 64501)]
    asn: u32,
    /// Our BGP identifier.
    #[arg(long, default_value = "192.0.2.1")]
    router_id: Ipv4Addr,
    /// Next hop of IPv4 routes; our address when that is IPv4.
    #[arg(long)]
    next_hop_v4: Option<Ipv4Addr>,
    /// Next hop of IPv6 routes; our address when that is IPv6.
    #[arg(long)]
    next_hop_v6: Option<Ipv6Addr>,
    #[command(flatten)]
    source: TableSource,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Lab(arguments) => lab_command(arguments),
        Command::Feed(arguments) => feed(arguments),
        Command::Convergence(arguments) => convergence(arguments),
        Command::Churn(arguments) => measure::churn(arguments),
        Command::Linear(arguments) => measure::linear(arguments),
        Command::Idle(arguments) => measure::idle(arguments),
        Command::Slow(arguments) => measure::slow(arguments),
        Command::Replay(arguments) => judges::replay(arguments),
        Command::Interop => judges::interop(),
        Command::Crowd(arguments) => judges::crowd(arguments),
        Command::Failover(arguments) => measure::failover(arguments),
        Command::Lookup(arguments) => forwarding::lookup(arguments),
        Command::Install(arguments) => forwarding::install(arguments),
        Command::Restart(arguments) => measure::restart(arguments),
        Command::Seeds(arguments) => judges::seeds(arguments),
        Command::Budget(arguments) => match arguments.phase {
            Some(phase) => budget::run_phase(phase).map(|items| println!("{items}")),
            None => budget::compare(arguments.record),
        },
    };
    if INTERRUPTED.load(Ordering::SeqCst) {
        // What failed did so because the lab is being cleared away under it.
        loop {
            std::thread::park();
        }
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ntestbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// From now on Ctrl-C, SIGTERM and a closed terminal clear this sandbox away before the end.
fn clear_when_interrupted(sandbox: &'static str) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("watch for signals")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            eprintln!("\ninterrupted, clearing the {sandbox} away");
            // The main thread stops at its next line: what fails from here on is our doing.
            let _silence = std::io::stdout().lock();
            if let Err(error) = netns::clear(sandbox) {
                eprintln!("testbed: {error:#}");
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

fn lab_command(arguments: &LabArguments) -> Result<()> {
    ensure!(nix::unistd::Uid::effective().is_root(), "the lab needs root: it makes network namespaces");
    if arguments.action == Some(LabAction::Down) {
        let namespaces = netns::namespaces_of(lab::NAME)?.len();
        netns::clear(lab::NAME)?;
        println!("cleared away: {namespaces} namespaces and what ran in them");
        return Ok(());
    }
    clear_when_interrupted(lab::NAME)?;
    lab::run(lab::Options {
        keep: arguments.keep,
        stand_in: arguments.router == RouterKind::Bird,
        seconds: arguments.seconds,
        megabits: arguments.megabits,
    })
}

fn feed(arguments: &FeedArguments) -> Result<()> {
    let (own_v4, own_v6) = match arguments.local {
        IpAddr::V4(address) => (Some(address), None),
        IpAddr::V6(address) => (None, Some(address)),
    };
    let table = arguments.source.table(None)?;
    let (v4, v6) = table.counts();
    let next_hop_v4 = arguments.next_hop_v4.or(own_v4);
    let next_hop_v6 = arguments.next_hop_v6.or(own_v6);
    let announcer = Announcer {
        asn: arguments.asn,
        next_hop_v4: next_hop_v4.context("--next-hop-v4 is needed when --local is IPv6")?,
        next_hop_v6: next_hop_v6.context("--next-hop-v6 is needed when --local is IPv4")?,
        seed: arguments.source.seed,
    };
    let messages = table.encode(&announcer).messages;
    println!("{v4} IPv4 and {v6} IPv6 prefixes encoded, {} MiB", messages.len() >> 20);
    let config = FeederConfig {
        local: arguments.local,
        remote: arguments.remote,
        asn: arguments.asn,
        router_id: arguments.router_id,
        hold_time: 90,
    };
    let feeder = Feeder::connect(&config, Duration::from_mins(1))?;
    println!("Established with {}", arguments.remote);
    let start = std::time::Instant::now();
    feeder.send(&messages)?;
    println!("sent in {:.2} s; the session stays until Ctrl-C", start.elapsed().as_secs_f64());
    let mut shown = (0, 0);
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let (routes, updates, closed) = {
            let inbox = feeder.inbox();
            (inbox.routes.len(), inbox.updates, inbox.closed.clone())
        };
        if let Some(reason) = closed {
            bail!("the session has ended: {reason}");
        }
        if shown != (routes, updates) {
            shown = (routes, updates);
            println!("received: {routes} routes in {updates} UPDATEs");
        }
    }
}
