//! The command line: `run` and `check` work on a configuration file, everything else is a client of
//! the daemon's API.
//!
//! Exit codes: 0 done, 1 failed at run time, 2 the configuration or the command line is wrong, or a
//! configuration cannot be taken on at run time.

mod bfd;
mod client;
mod neighbor;
mod path;
mod reload;
mod show;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use bgp::link::Zoned;
use clap::parser::ValueSource;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use client::{Client, ClientError};

/// Where the API listens unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/peregrine/peregrine.sock";

/// A BGP speaker that programs its own eBPF forwarding plane.
#[derive(Debug, Parser)]
#[command(name = "peregrine", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// The socket of the daemon that is asked.
    #[arg(long, global = true, env = "PEREGRINE_SOCKET", default_value = DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground.
    Run(ConfigFile),
    /// Validate a configuration file; exit code 2 and `FILE:LINE: key: reason` for each error.
    Check(ConfigFile),
    /// Remove what a daemon that was killed has left on the machine; as root.
    Detach,
    /// Show the state of the running daemon.
    Show {
        #[command(subcommand)]
        what: Show,
    },
    /// Why this path is best for a prefix, and why each other lost or was refused.
    Explain {
        /// A prefix, or an address to look up by longest match.
        prefix: String,
        /// JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Print changes as they happen, one JSON object a line.
    Monitor {
        /// What to follow.
        #[arg(value_enum)]
        what: Stream,
    },
    /// Shut a session down until it is enabled or the daemon restarted.
    Shutdown {
        /// The neighbour's address.
        address: Zoned,
        /// What its operator is told, at most 255 octets (RFC 9003).
        message: Option<String>,
    },
    /// Have traffic leave a session before it is shut down: routes to the neighbour are marked, those from it the
    /// last choice (RFC 8326).
    GracefulShutdown {
        /// The neighbour's address, or `all`.
        #[arg(value_name = "ADDRESS|all")]
        whom: Whom,
        /// Let routes be as they were.
        #[arg(long)]
        undo: bool,
    },
    /// Let a session up that was shut down.
    Enable {
        /// The neighbour's address.
        address: Zoned,
    },
    /// Read the configuration file again and go on by it; shows first what changes and which sessions it resets.
    Reload {
        /// Only show.
        #[arg(long)]
        check: bool,
        /// JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Reset a session, or with --soft refresh its routes without a reset.
    Clear {
        /// The neighbour's address.
        address: Zoned,
        /// Only ask for its routes again (in) or send ours again (out).
        #[arg(long, value_enum, value_name = "DIRECTION")]
        soft: Option<Direction>,
    },
}

/// One neighbour, or all of them.
#[derive(Clone, Copy, Debug)]
enum Whom {
    All,
    One(Zoned),
}

impl std::str::FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            address => address
                .parse()
                .map(Self::One)
                .map_err(|_| "expected the address of a neighbor, or `all`".to_owned()),
        }
    }
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// What `peregrine monitor` follows.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Stream {
    /// Each change of a best path.
    Routes,
    /// Each change of a session's state.
    Sessions,
}

/// A direction of routes, from our point of view.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Direction {
    /// Ask the neighbour to send its routes again (RFC 2918).
    In,
    /// Send our routes to the neighbour again.
    Out,
}

/// The tables of `peregrine show`.
#[derive(Debug, Subcommand)]
pub enum Show {
    /// The router, its neighbours, RIB and FIB at a glance.
    Summary {
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// All neighbours, or one in detail.
    Neighbors {
        /// One neighbour's address.
        address: Option<Zoned>,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// What happened to the session with a neighbour, the last 100 events.
    History {
        /// The neighbour's address.
        address: Zoned,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Routes of the Loc-RIB, or of one neighbour.
    Routes(RouteFilter),
    /// Routes of the forwarding table, with their state; `fib diff`: what the maps held that was not meant.
    Fib {
        /// A prefix, or an address to look up by longest match; or `diff`.
        prefix: Option<String>,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Next hops and what is known of them.
    Nexthops {
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// The sessions of BFD: states, intervals, packets, and what was dropped.
    Bfd {
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Packets of the forwarding plane by verdict.
    Counters {
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
}

/// Which routes `peregrine show routes` prints.
#[derive(Debug, Args)]
pub struct RouteFilter {
    /// A prefix, or an address to look up by longest match.
    prefix: Option<String>,
    /// All routes within the prefix, a line each.
    #[arg(long, requires = "prefix")]
    longer: bool,
    /// Only how many prefixes they are.
    #[arg(long, conflicts_with = "json")]
    count: bool,
    /// All routes received from this neighbour, as it sent them.
    #[arg(long, value_name = "ADDR", group = "view")]
    received: Option<Zoned>,
    /// Routes of this neighbour that are not usable, with the reason.
    #[arg(long, value_name = "ADDR", group = "view")]
    rejected: Option<Zoned>,
    /// Routes announced to this neighbour, as it sees them; with a prefix also why it is not.
    #[arg(long, value_name = "ADDR", group = "view")]
    advertised: Option<Zoned>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// The command line, as it is parsed and explained.
fn command_line() -> clap::Command {
    // What runs on a configuration takes its socket from there: the option is refused with a reason, not offered.
    let hidden =
        |command: clap::Command| command.arg(Arg::new("socket").long("socket").value_name("PATH").hide(true));
    Cli::command().mut_subcommand("run", hidden).mut_subcommand("check", hidden)
}

/// Runs the command line; the process exits with what it returns.
pub fn main() -> ExitCode {
    let matches = command_line().get_matches();
    let socket_given = matches
        .subcommand()
        .is_some_and(|(_, matches)| matches.value_source("socket") == Some(ValueSource::CommandLine));
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Run(_) | Command::Check(_) if socket_given => {
            eprintln!(
                "peregrine: --socket is for the commands that ask a running daemon; set `socket` in [api]"
            );
            ExitCode::from(2)
        }
        Command::Run(file) => crate::run::main(&file.config),
        Command::Check(file) => check(&file.config),
        Command::Detach => detach(&cli.socket),
        command => client_command(&cli.socket, command),
    }
}

fn detach(socket: &std::path::Path) -> ExitCode {
    crate::run::log();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("peregrine: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(crate::host::detach(socket)) {
        Ok(removed) => {
            println!("{removed}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("peregrine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(path: &std::path::Path) -> ExitCode {
    match conf::load(path, conf::environment()) {
        Ok(config) => {
            for warning in config.warnings() {
                eprintln!("warning: {warning}");
            }
            println!("{}: no errors", path.display());
            ExitCode::SUCCESS
        }
        Err(errors) => {
            for error in errors {
                eprintln!("{error}");
            }
            ExitCode::from(2)
        }
    }
}

fn client_command(socket: &std::path::Path, command: Command) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("peregrine: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(&Client::new(socket), command)) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that had enough (`| head`) is no failure.
        Err(ClientError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let unusable = match &error {
                ClientError::Unusable { details, .. } => Some(details),
                _ => None,
            };
            for detail in unusable.into_iter().flatten() {
                eprintln!("{detail}");
            }
            eprintln!("peregrine: {error}");
            if unusable.is_some() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

async fn dispatch(client: &Client, command: Command) -> Result<(), ClientError> {
    match command {
        Command::Run(_) | Command::Check(_) | Command::Detach => Ok(()),
        Command::Show { what } => show::show(client, what).await,
        Command::Explain { prefix, json } => show::explain(client, &prefix, json).await,
        Command::Monitor { what } => {
            let path = match what {
                Stream::Routes => "/v1/monitor/routes",
                Stream::Sessions => "/v1/monitor/sessions",
            };
            client.lines(path, |line| table::print_line(line).map(|()| true)).await
        }
        Command::Reload { check, json } => reload::reload(client, check, json).await,
        Command::Clear { address, soft } => {
            let query = match soft {
                None => String::new(),
                Some(Direction::In) => "?soft=in".to_owned(),
                Some(Direction::Out) => "?soft=out".to_owned(),
            };
            post(client, &format!("/v1/neighbors/{}/clear{query}", address.in_url()), String::new()).await
        }
        Command::Shutdown { address, message } => {
            post(client, &format!("/v1/neighbors/{}/shutdown", address.in_url()), message.unwrap_or_default())
                .await
        }
        Command::GracefulShutdown { whom, undo } => {
            let whose = match whom {
                Whom::All => String::new(),
                Whom::One(address) => format!("/neighbors/{}", address.in_url()),
            };
            post(client, &format!("/v1{whose}/graceful-shutdown?undo={undo}"), String::new()).await
        }
        Command::Enable { address } => {
            post(client, &format!("/v1/neighbors/{}/enable", address.in_url()), String::new()).await
        }
    }
}

/// Has something done, and says so.
async fn post(client: &Client, path: &str, text: String) -> Result<(), ClientError> {
    table::print_line(client.post(path, text).await?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_offered_where_a_daemon_is_asked_and_noticed_where_none_is() {
        let help = |words: &[&str]| {
            let asked = [&["peregrine"], words, &["--help"]].concat();
            command_line().try_get_matches_from(asked).unwrap_err().to_string()
        };
        for words in [["run"].as_slice(), &["check"]] {
            assert!(!help(words).contains("socket"), "{}", help(words));
        }
        assert!(help(&["show", "routes"]).contains("--socket <PATH>"));
        for words in [["--socket", "s", "run", "-c", "f"], ["run", "--socket", "s", "-c", "f"]] {
            let matches = command_line().get_matches_from([&["peregrine"], &words[..]].concat());
            let (_, of_run) = matches.subcommand().unwrap();
            assert_eq!(of_run.value_source("socket"), Some(ValueSource::CommandLine), "{words:?}");
        }
        for words in [["--socket", "s", "show", "summary"], ["show", "summary", "--socket", "s"]] {
            let matches = command_line().get_matches_from([&["peregrine"], &words[..]].concat());
            let cli = Cli::from_arg_matches(&matches).unwrap();
            assert_eq!(cli.socket, std::path::Path::new("s"));
        }
    }
}
