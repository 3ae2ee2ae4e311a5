//! `peregrine run`: brings the rooms up in order, waits for a signal, takes them down again.
//!
//! What can fail for a reason that an operator can mend fails before the first session starts: the
//! configuration, the listening sockets, the API's sockets, the forwarding plane.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use bgp::session::StopReason;
use bgp::types::FamilySet;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;

use crate::api::{App, Listeners, metrics};
use crate::bfd::Bfd;
use crate::forwarding::{self, Farewell, ForwardingConfig, ForwardingHandle};
use crate::monitor::Monitor;
use crate::reload::Reloader;
use crate::restart::{self, Restart};
use crate::routing::{self, Outlets};
use crate::session::{self, Peers, Rooms};

/// The variable that sets what is logged, in the syntax of `tracing`: `debug`, `peregrine=debug,warn`.
const LOG_VARIABLE: &str = "RUST_LOG";

/// Runs the daemon until it is told to stop.
pub(crate) fn main(path: &Path) -> ExitCode {
    let config = match conf::load(path, conf::environment()) {
        Ok(config) => Arc::new(config),
        Err(errors) => {
            for error in errors {
                eprintln!("{error}");
            }
            return ExitCode::from(2);
        }
    };
    log();
    die_whole();
    raise_file_limit();
    crate::xdp::map_large_blocks();
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run(path, config)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peregrine: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// What failed, why, and what to do. Causes that the text names already are not repeated.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Has what is logged written to standard error.
pub(crate) fn log() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    // A value of several words is quoted, whatever kind of value it is.
    let field = debug_fn(|writer, field, value| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{text}"),
            name if text.contains(' ') && !text.starts_with('"') => write!(writer, "{name}={text:?}"),
            name => write!(writer, "{name}={text}"),
        }
    });
    tracing_subscriber::fmt()
        .fmt_fields(field.delimited(" "))
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Sessions, their listeners and the API's clients all take descriptors: as many as we may have.
fn raise_file_limit() {
    let raise = || {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    };
    if let Err(error) = raise() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// A panic is a broken invariant in one of the rooms. A daemon without its FIB thread or one of its RIB
/// threads would hold sessions up and forward by old routes: better that all of it ends and is started anew.
fn die_whole() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

async fn run(path: &Path, config: Arc<conf::Config>) -> anyhow::Result<()> {
    let started = Instant::now();
    // Signals first: one that comes during start-up is served after it.
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;

    let prometheus = metrics::install().context("cannot set up the metrics")?;
    let listeners = session::Listeners::open(&config.router.listen)?;
    listeners.protect(&config)?;
    let api = Listeners::open(&config.api).await?;

    let bfd = Bfd::start().context("cannot start the BFD thread")?;
    bfd.open(&config).await?;
    let monitor = Monitor::new();
    let rib_threads = routing::shards(&config);
    let (news_sink, news) = routing::news(rib_threads);
    let forwarding = start_forwarding(&config, news_sink).await?;
    if let Some(forwarding) = forwarding.clone() {
        bfd.tell_forwarding(move |doubt| forwarding.doubt(doubt));
    }
    let restart = follow(&config, forwarding.as_ref());
    let (origins, watched) = mpsc::unbounded_channel();
    let rib = routing::start(
        &config,
        Outlets {
            forwarding: forwarding.clone(),
            monitor: monitor.clone(),
            news,
            origins,
            restart: restart.clone(),
        },
    )
    .context("cannot start the RIB threads")?;
    let origin = routing::origin::start(&config, rib.clone(), watched);
    let rooms =
        Rooms { rib: rib.clone(), monitor: monitor.clone(), bfd: bfd.clone(), restart: restart.clone() };
    let peers = Peers::start(&config, rooms);
    if let Some(forwarding) = forwarding.clone() {
        tokio::spawn(restart::learn(restart.clone(), rib.clone(), forwarding));
    }
    let listeners = Arc::new(listeners);
    listeners.accept(&peers);
    let reloader = Arc::new(Reloader::new(
        path.to_path_buf(),
        Arc::clone(&config),
        Arc::clone(&peers),
        Arc::clone(&listeners),
        rib.clone(),
        origin,
    ));
    let app = App {
        router: config.router.clone(),
        reloader: Arc::clone(&reloader),
        started,
        peers: Arc::clone(&peers),
        rib,
        forwarding: forwarding.clone(),
        monitor,
        bfd: bfd.clone(),
        prometheus,
    };
    let _socket = api.serve(Arc::new(app));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        asn = %config.router.asn,
        router_id = %config.router.router_id,
        neighbors = config.neighbors.len(),
        rib_threads,
        "peregrine is running"
    );

    // What it says may be another one soon.
    drop(config);

    let mut lost = false;
    let farewell = loop {
        let forwarding_ended = async {
            match &forwarding {
                Some(forwarding) => forwarding.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => break Farewell::Keep,
            _ = interrupt.recv() => break Farewell::Remove,
            () = forwarding_ended => {
                lost = true;
                break Farewell::Keep;
            }
            _ = hangup.recv() => {
                let reloader = Arc::clone(&reloader);
                // The log has the outcome.
                tokio::spawn(async move { reloader.reload().await.map(drop) });
            }
        }
    };
    tracing::info!("stopping");
    stop(farewell, &restart, &peers, &bfd, forwarding.as_ref()).await;
    anyhow::ensure!(!lost, "the forwarding plane has ended by itself; the log says why");
    Ok(())
}

/// Takes the rooms down.
async fn stop(
    farewell: Farewell,
    restart: &Restart,
    peers: &Peers,
    bfd: &Bfd,
    forwarding: Option<&ForwardingHandle>,
) {
    let keeps = farewell == Farewell::Keep && restart.outlives();
    if let Some(forwarding) = forwarding.filter(|_| keeps) {
        // First: what goes with the sessions is to stay in the tables.
        forwarding.stop(farewell).await;
        // BFD last: it would end sessions whose neighbours are to keep our routes.
        peers.shut_down(StopReason::Restart).await;
        bfd.stop().await;
        return;
    }
    bfd.stop().await;
    peers.shut_down(StopReason::Shutdown(String::new())).await;
    if let Some(forwarding) = forwarding {
        forwarding.stop(farewell).await;
    }
}

async fn start_forwarding(
    config: &conf::Config,
    news: routing::NewsSink,
) -> anyhow::Result<Option<ForwardingHandle>> {
    if config.fib.interfaces.is_empty() {
        tracing::info!("[fib] names no interfaces: a pure control plane, nothing is forwarded here");
        // An earlier run may have forwarded here, by a configuration that had some.
        match forwarding::let_go().await {
            Ok(removed) if removed.programs > 0 => {
                tracing::info!("forwarding of an earlier run has ended: {removed}");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "what an earlier run has left may still be there"),
        }
        return Ok(None);
    }
    let settings = ForwardingConfig::from_conf(config);
    Ok(Some(Box::pin(forwarding::start(settings, Box::new(news))).await?))
}

/// How this run follows an earlier one: where that goes on forwarding, packets go over to the tables of this run once
/// routes have been learned again.
fn follow(config: &conf::Config, forwarding: Option<&ForwardingHandle>) -> Restart {
    let Some(forwarding) = forwarding else { return Restart::none() };
    if !forwarding.found_earlier() {
        return Restart::none().outliving(forwarding.keeps());
    }
    let (deferral, ranges) = (config.router.deferral_time, !config.ranges.is_empty());
    let restart = Restart::kept(FamilySet::ALL, deferral, ranges).outliving(forwarding.keeps());
    tokio::spawn({
        let (restart, forwarding) = (restart.clone(), forwarding.clone());
        async move {
            restart.over().await;
            // It fails when the forwarding plane has ended, and the daemon ends.
            if forwarding.go_live().await.is_ok() {
                restart.live();
            }
        }
    });
    restart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("address in use");
        let error =
            anyhow::Error::new(cause).context("cannot listen (address in use); stop the other daemon");
        assert_eq!(one_line(&error), "cannot listen (address in use); stop the other daemon");
        let error = anyhow::Error::msg("no memory").context("cannot start the runtime");
        assert_eq!(one_line(&error), "cannot start the runtime: no memory");
    }
}
