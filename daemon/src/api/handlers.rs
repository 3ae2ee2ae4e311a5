//! One function for each path of the API.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bgp::link::Zoned;
use bgp::types::{Family, PeerId};
use futures::StreamExt;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::App;
use super::pages::{self, RouteSource};
use super::server::Refusal;
use super::types::{
    FibDiff, HistoryEvent, NeighborCounts, NeighborDetail, NextHopInfo, ReloadReport, RibCounts, Route,
    RouterInfo, Summary, VerdictCount,
};
use super::{metrics as sampled, views};
use crate::reload::ReloadError;
use crate::routing::PeerNumbers;
use crate::session::PeerError;

type Answer<T> = Result<Json<T>, Refusal>;

/// A line of JSON for each element.
pub(super) const LINES: &str = "application/x-ndjson";

/// A prefix, or an address that is looked up by longest match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Prefix(IpNet),
    Address(IpAddr),
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let prefix: IpNet = text.parse().map_err(|_| {
            Refusal::bad_request(format!("`{text}` is neither a prefix (192.0.2.0/24) nor an address"))
        })?;
        if prefix != prefix.trunc() {
            return Err(Refusal::bad_request(format!(
                "`{text}` has bits beyond its length; the prefix is {}",
                prefix.trunc()
            )));
        }
        Ok(Self::Prefix(prefix))
    }
}

pub(super) async fn summary(State(app): State<Arc<App>>) -> Answer<Summary> {
    Ok(Json(summarize(&app, &details(&app).await?).await?))
}

async fn summarize(app: &App, neighbors: &[NeighborDetail]) -> Result<Summary, Refusal> {
    let totals = app.rib.totals().await?;
    let counts = |family: Family| RibCounts {
        prefixes: totals.prefixes[family.index()] as u64,
        paths: totals.paths[family.index()] as u64,
    };
    let rib: BTreeMap<String, RibCounts> =
        Family::ALL.iter().map(|&family| (family.as_str().to_owned(), counts(family))).collect();
    let router = &app.router;
    Ok(Summary {
        router: RouterInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            asn: router.asn.0,
            confederation: router.confederation.as_ref().map(|all| all.identifier.0),
            router_id: router.router_id.to_string(),
            uptime_seconds: app.started.elapsed().as_secs(),
            resident_bytes: views::resident_bytes(),
        },
        neighbors: neighbors.iter().map(|neighbor| neighbor.brief.clone()).collect(),
        ranges: app.peers.ranges(),
        rib,
        fib: app.forwarding.as_ref().map(views::fib_summary),
        restart: app.peers.restart().status().map(views::restart),
    })
}

/// All neighbours, with the counts of their routes.
async fn details(app: &App) -> Result<Vec<NeighborDetail>, Refusal> {
    counted(app, app.peers.reports().await).await
}

async fn counted(
    app: &App,
    mut reports: Vec<(PeerId, NeighborDetail)>,
) -> Result<Vec<NeighborDetail>, Refusal> {
    let ids: Vec<_> = reports.iter().map(|(id, _)| *id).collect();
    let numbers = app.rib.peers(ids).await?;
    for ((_, report), PeerNumbers { counts, statistics, unsendable }) in reports.iter_mut().zip(numbers) {
        for (family, counts) in Family::ALL.into_iter().zip(counts) {
            if let Some(entry) = report.brief.families.get_mut(family.as_str()) {
                *entry = NeighborCounts {
                    received: counts.received as u64,
                    accepted: counts.accepted as u64,
                    best: counts.best as u64,
                };
            }
            if let Some(stale) = report.stale.get_mut(family.as_str()) {
                stale.routes = counts.stale as u64;
            }
        }
        report.unsendable = unsendable;
        report.update_errors = statistics.treated_as_withdraw;
        report.last_update_error = statistics.last_error;
    }
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

pub(super) async fn neighbors(State(app): State<Arc<App>>) -> Answer<Vec<NeighborDetail>> {
    Ok(Json(details(&app).await?))
}

fn neighbor_address(app: &App, text: &str) -> Result<IpAddr, Refusal> {
    let Zoned(address) = text
        .parse()
        .map_err(|_| Refusal::bad_request(format!("`{text}` is not an address of a neighbor")))?;
    if app.peers.id(address).is_none() {
        return Err(Refusal::not_found(format!("no neighbor {text} is configured")));
    }
    Ok(address)
}

pub(super) async fn neighbor(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Answer<NeighborDetail> {
    let address = neighbor_address(&app, &text)?;
    let report = app.peers.report(address).await.map_err(|error| Refusal::unavailable(&error))?;
    let id = report.0;
    let mut found = counted(&app, vec![report]).await?;
    let mut neighbor = found.pop().ok_or_else(|| Refusal::unavailable(&PeerError::Stopped(address)))?;
    let families: Vec<String> = neighbor.brief.families.keys().cloned().collect();
    for family in Family::ALL.into_iter().filter(|family| families.iter().any(|up| up == family.as_str())) {
        let tally = app.rib.tally(id, family).await?;
        let rejected = tally.rejected.into_iter().map(|(reason, count)| (reason.to_string(), count as u64));
        neighbor.rejected.insert(family.as_str().to_owned(), rejected.collect());
        let advertised = if app.peers.restart().is_live() { tally.advertised } else { 0 };
        neighbor.advertised.insert(family.as_str().to_owned(), advertised as u64);
    }
    Ok(Json(neighbor))
}

pub(super) async fn history(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Answer<Vec<HistoryEvent>> {
    let address = neighbor_address(&app, &text)?;
    app.peers.history(address).await.map(Json).map_err(|error| Refusal::unavailable(&error))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClearQuery {
    soft: Option<String>,
}

pub(super) async fn clear(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Query(query): Query<ClearQuery>,
) -> Answer<serde_json::Value> {
    let address = neighbor_address(&app, &text)?;
    let done = match query.soft.as_deref() {
        None => {
            app.peers.reset(address).await.map_err(|error| Refusal::unavailable(&error))?;
            format!("session with {text} reset")
        }
        Some("in") => {
            app.peers.refresh_in(address).await.map_err(|error| Refusal::unavailable(&error))?;
            format!("asked {text} for its routes")
        }
        Some("out") => {
            app.peers.refresh_out(address).await.map_err(|error| Refusal::unavailable(&error))?;
            format!("sending our routes to {text} again")
        }
        Some(other) => {
            return Err(Refusal::bad_request(format!("soft={other}: expected `in` or `out`")));
        }
    };
    Ok(Json(json!({ "done": done })))
}

/// Octets of a text for the other operator (RFC 9003 section 2).
const LONGEST_SHUTDOWN_TEXT: usize = 255;

/// The body is the text for the other operator.
pub(super) async fn shutdown(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    message: String,
) -> Answer<serde_json::Value> {
    let address = neighbor_address(&app, &text)?;
    if message.len() > LONGEST_SHUTDOWN_TEXT {
        let octets = message.len();
        return Err(Refusal::bad_request(format!(
            "the message has {octets} octets; expected at most {LONGEST_SHUTDOWN_TEXT} (RFC 9003)"
        )));
    }
    app.peers.shut_down_one(address, message).await.map_err(|error| Refusal::unavailable(&error))?;
    Ok(Json(json!({ "done": format!("session with {text} shut down until it is enabled") })))
}

pub(super) async fn enable(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Answer<serde_json::Value> {
    let address = neighbor_address(&app, &text)?;
    app.peers.enable(address).await.map_err(|error| Refusal::unavailable(&error))?;
    Ok(Json(json!({ "done": format!("session with {text} enabled") })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UndoQuery {
    #[serde(default)]
    undo: bool,
}

pub(super) async fn graceful_shutdown(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Query(UndoQuery { undo }): Query<UndoQuery>,
) -> Answer<serde_json::Value> {
    let address = neighbor_address(&app, &text)?;
    app.peers.leave_one(address, !undo).await.map_err(|error| Refusal::unavailable(&error))?;
    let done = if undo {
        format!("graceful shutdown of {text} undone")
    } else {
        format!("routes to and from {text} are the last choice until this is undone")
    };
    Ok(Json(json!({ "done": done })))
}

pub(super) async fn graceful_shutdown_all(
    State(app): State<Arc<App>>,
    Query(UndoQuery { undo }): Query<UndoQuery>,
) -> Answer<serde_json::Value> {
    let sessions = app.peers.leave_all(!undo).await?;
    let done = if undo {
        format!("graceful shutdown undone, of {sessions} sessions that are up")
    } else {
        format!(
            "routes of {sessions} sessions, and of those to come, are the last choice until this is undone"
        )
    };
    Ok(Json(json!({ "done": done })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadQuery {
    #[serde(default)]
    check: bool,
}

pub(super) async fn reload(
    State(app): State<Arc<App>>,
    Query(query): Query<ReloadQuery>,
) -> Answer<ReloadReport> {
    let outcome = if query.check { app.reloader.check().await } else { app.reloader.reload().await };
    outcome.map(Json).map_err(|error| match &error {
        ReloadError::Invalid(errors) => {
            Refusal::unusable(&error, errors.iter().map(ToString::to_string).collect())
        }
        ReloadError::Restart { changes, .. } => {
            Refusal::unusable(&error, changes.iter().map(ToString::to_string).collect())
        }
        ReloadError::Stopped(stopped) => Refusal::unavailable(stopped),
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoutesQuery {
    prefix: Option<String>,
    #[serde(default)]
    longer: bool,
    received: Option<String>,
    rejected: Option<String>,
    advertised: Option<String>,
}

pub(super) async fn routes(
    State(app): State<Arc<App>>,
    Query(query): Query<RoutesQuery>,
) -> Result<Response, Refusal> {
    let target = query.prefix.as_deref().map(Target::parse).transpose()?;
    let (target, within) = match target {
        Some(Target::Prefix(prefix)) if query.longer => (None, Some(prefix)),
        _ if query.longer => return Err(Refusal::bad_request("`longer` wants a `prefix` with its length")),
        target => (target, None),
    };
    let peer = |text: &str| -> Result<_, Refusal> {
        let address = neighbor_address(&app, text)?;
        app.peers.id(address).ok_or_else(|| Refusal::not_found(format!("no neighbor {text}")))
    };
    let source = match (&query.received, &query.rejected, &query.advertised) {
        (None, None, None) => RouteSource::LocRib,
        (Some(address), None, None) => RouteSource::Received(peer(address)?),
        (None, Some(address), None) => RouteSource::Rejected(peer(address)?),
        (None, None, Some(address)) => RouteSource::Advertised(peer(address)?),
        _ => {
            return Err(Refusal::bad_request("give at most one of `received`, `rejected` and `advertised`"));
        }
    };
    let pages = pages::routes(Arc::clone(&app), source, target, within).await?;
    Ok(lines(Body::from_stream(pages)))
}

fn lines(body: Body) -> Response {
    ([(CONTENT_TYPE, LINES)], body).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrefixQuery {
    prefix: Option<String>,
}

pub(super) async fn explain(State(app): State<Arc<App>>, Query(query): Query<PrefixQuery>) -> Answer<Route> {
    let text = query.prefix.ok_or_else(|| Refusal::bad_request("say which: ?prefix=PREFIX or ADDRESS"))?;
    let target = Target::parse(&text)?;
    pages::explained(&app, target)
        .await?
        .map(Json)
        .ok_or_else(|| Refusal::not_found(format!("no route for {text}: no neighbor announced one")))
}

fn forwarding(app: &App) -> Result<&crate::forwarding::ForwardingHandle, Refusal> {
    app.forwarding
        .as_ref()
        .ok_or_else(|| Refusal::not_found("no forwarding plane: [fib] names no interfaces"))
}

pub(super) async fn fib(
    State(app): State<Arc<App>>,
    Query(query): Query<PrefixQuery>,
) -> Result<Response, Refusal> {
    let target = query.prefix.as_deref().map(Target::parse).transpose()?;
    let handle = forwarding(&app)?.clone();
    Ok(lines(Body::from_stream(pages::fib_routes(handle, target).await?)))
}

pub(super) async fn fib_diff(State(app): State<Arc<App>>) -> Answer<FibDiff> {
    Ok(Json(views::fib_diff(forwarding(&app)?)))
}

pub(super) async fn next_hops(State(app): State<Arc<App>>) -> Answer<Vec<NextHopInfo>> {
    views::next_hops(forwarding(&app)?).await.map(Json).map_err(|error| Refusal::unavailable(&error))
}

pub(super) async fn counters(State(app): State<Arc<App>>) -> Answer<Vec<VerdictCount>> {
    views::verdicts(forwarding(&app)?).await.map(Json).map_err(|error| Refusal::unavailable(&error))
}

pub(super) async fn monitor_routes(State(app): State<Arc<App>>) -> Response {
    follow(app.monitor.routes.follow())
}

pub(super) async fn monitor_sessions(State(app): State<Arc<App>>) -> Response {
    follow(app.monitor.sessions.follow())
}

fn follow(receiver: broadcast::Receiver<Arc<str>>) -> Response {
    let events = futures::stream::unfold(receiver, |mut receiver| async move {
        let line = match receiver.recv().await {
            Ok(line) => line.to_string(),
            Err(RecvError::Lagged(missed)) => format!("{}\n", json!({ "missed": missed })),
            Err(RecvError::Closed) => return None,
        };
        Some((line, receiver))
    });
    lines(Body::from_stream(events.map(Ok::<_, std::convert::Infallible>)))
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let neighbors = details(&app).await?;
    sampled::sample_summary(&summarize(&app, &neighbors).await?);
    for neighbor in &neighbors {
        sampled::sample_neighbor(neighbor);
    }
    if let Some(report) = app.bfd.report().await {
        super::bfd::sample(&report);
    }
    if let Some(forwarding) = &app.forwarding {
        sampled::sample_audit(&views::fib_diff(forwarding));
        sampled::sample_verdicts(
            &views::verdicts(forwarding).await.map_err(|error| Refusal::unavailable(&error))?,
        );
        views::sample_ports(forwarding).await.map_err(|error| Refusal::unavailable(&error))?;
    }
    app.prometheus.run_upkeep();
    let mut text = app.prometheus.render();
    if let Some(forwarding) = &app.forwarding {
        text += &sampled::latency(&forwarding.stats().latency);
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
