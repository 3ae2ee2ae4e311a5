//! Long answers, a page at a time: streams of lines that hold one page in memory.
//!
//! Each page is one question to the thread that owns the table, so that routes are processed between two
//! pages, and a reader that stops reading stops the questions too.

use std::convert::Infallible;
use std::sync::Arc;

use bgp::rib::view::{RouteView, Wanted};
use bgp::types::{Family, PeerId};
use bytes::Bytes;
use futures::Stream;
use ipnet::IpNet;
use serde::Serialize;

use super::App;
use super::handlers::Target;
use super::server::Refusal;
use super::types::Route;
use super::views;
use crate::forwarding::{self, ForwardingHandle, RouteFilter};
use crate::routing::RibStopped;

/// Prefixes in one page.
const PAGE: usize = 4_096;

/// Which routes are listed.
#[derive(Clone, Copy, Debug)]
pub(super) enum RouteSource {
    /// All paths of all prefixes.
    LocRib,
    /// All paths of one neighbour.
    Received(PeerId),
    /// Those of its paths that are not usable.
    Rejected(PeerId),
    /// What a neighbour is sent.
    Advertised(PeerId),
}

impl RouteSource {
    fn wanted(self) -> Wanted {
        match self {
            Self::LocRib | Self::Advertised(_) => Wanted::All,
            Self::Received(peer) => Wanted::Received(peer),
            Self::Rejected(peer) => Wanted::Rejected(peer),
        }
    }
}

type Line = Result<Bytes, Infallible>;

/// Where a list goes on.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    family: Family,
    after: Option<IpNet>,
}

impl Cursor {
    const START: Self = Self { family: Family::Ipv4Unicast, after: None };

    /// The place behind a page that ended at `next`: in this family, or at the start of the other.
    fn behind(self, next: Option<IpNet>) -> Option<Self> {
        match (next, self.family) {
            (Some(_), family) => Some(Self { family, after: next }),
            (None, Family::Ipv4Unicast) => Some(Self { family: Family::Ipv6Unicast, after: None }),
            (None, Family::Ipv6Unicast) => None,
        }
    }
}

fn lines<T: Serialize>(items: impl IntoIterator<Item = T>) -> Bytes {
    let mut text = Vec::new();
    for item in items {
        // Writing into a vector cannot fail, and our types have string keys only.
        if serde_json::to_writer(&mut text, &item).is_ok() {
            text.push(b'\n');
        }
    }
    text.into()
}

/// The routes of a source, a line each; with a target, only the one it means; or those within a prefix.
pub(super) async fn routes(
    app: Arc<App>,
    source: RouteSource,
    target: Option<Target>,
    within: Option<IpNet>,
) -> Result<impl Stream<Item = Line> + Send + use<>, Refusal> {
    let first = match target {
        None => None,
        Some(target) => Some(match source {
            RouteSource::Advertised(peer) => lines([one_advertised(&app, peer, target).await?]),
            _ => lines(one_route(&app, source.wanted(), target).await?),
        }),
    };
    let start = if first.is_some() { None } else { Some(Cursor::START) };
    Ok(futures::stream::unfold((app, first, start), move |(app, first, cursor)| async move {
        if let Some(only) = first {
            return Some((Ok(only), (app, None, None)));
        }
        let cursor = cursor?;
        // The daemon is stopping: the list ends.
        let (page, next) = match source {
            RouteSource::Advertised(peer) => advertised_page(&app, peer, within, cursor).await?,
            _ => route_page(&app, source.wanted(), within, cursor).await?,
        };
        Some((Ok(page), (app, None, cursor.behind(next))))
    }))
}

async fn route_page(
    app: &App,
    wanted: Wanted,
    within: Option<IpNet>,
    cursor: Cursor,
) -> Option<(Bytes, Option<IpNet>)> {
    let page = app.rib.routes(cursor.family, wanted, within, cursor.after, PAGE).await.ok()?;
    Some((lines(shown(app, wanted, &page.items).await), page.next))
}

async fn advertised_page(
    app: &App,
    peer: PeerId,
    within: Option<IpNet>,
    cursor: Cursor,
) -> Option<(Bytes, Option<IpNet>)> {
    if !app.peers.restart().is_live() {
        return None;
    }
    let page = app.rib.advertised(peer, cursor.family, within, cursor.after, PAGE).await.ok()?;
    let prefixes = page.items.chunk_by(|a, b| a.prefix == b.prefix);
    let routes = prefixes.filter_map(|paths| Some(views::advertised(paths.first()?.prefix, paths)));
    Some((lines(routes), page.next))
}

/// What a target means: of what covers an address the longest match, behind longer ones that cannot be used.
async fn find(app: &App, wanted: Wanted, target: Target) -> Result<Vec<RouteView>, RibStopped> {
    let prefix = match target {
        Target::Prefix(prefix) => prefix,
        Target::Address(address) => return app.rib.covering(address, wanted).await,
    };
    let found = app.rib.lookup(prefix).await?;
    let found = found.and_then(|mut view| {
        match wanted {
            Wanted::All => {}
            Wanted::Received(peer) => view.paths.retain(|path| path.peer == peer),
            Wanted::Rejected(peer) => {
                view.paths.retain(|path| path.peer == peer && path.ineligible.is_some());
            }
        }
        (!view.paths.is_empty()).then_some(view)
    });
    Ok(found.into_iter().collect())
}

/// The route that a target means, with all its paths, and what else covers an address but cannot be used.
pub(super) async fn explained(app: &App, target: Target) -> Result<Option<Route>, Refusal> {
    let found = find(app, Wanted::All, target).await?;
    let usable = found.iter().position(|view| view.paths.iter().any(|path| path.best));
    let mut routes = shown(app, Wanted::All, &found).await;
    if routes.is_empty() {
        return Ok(None);
    }
    let route = routes.remove(usable.unwrap_or(0));
    Ok(Some(Route { not_usable: routes, ..route }))
}

/// The route that a target means: the longest match of an address, or, where nothing that covers it can be used,
/// the longest of that.
async fn one_route(app: &App, wanted: Wanted, target: Target) -> Result<Option<Route>, Refusal> {
    let found = find(app, wanted, target).await?;
    let usable = found.iter().position(|view| view.paths.iter().any(|path| path.best));
    let found = found.get(usable.unwrap_or(0)).map(std::slice::from_ref).unwrap_or_default();
    Ok(shown(app, wanted, found).await.pop())
}

async fn shown(app: &App, wanted: Wanted, found: &[RouteView]) -> Vec<Route> {
    let received = matches!(wanted, Wanted::Received(_));
    let unreachable = views::unreachable(app.forwarding.as_ref(), found).await;
    found.iter().map(|view| views::route(&app.peers, &unreachable, received, view)).collect()
}

/// The route that a target means as a neighbour is sent it, or why it is not.
async fn one_advertised(app: &App, peer: PeerId, target: Target) -> Result<Route, Refusal> {
    let prefix = match target {
        Target::Prefix(prefix) => prefix,
        Target::Address(address) => match app.rib.covering(address, Wanted::All).await?.pop() {
            Some(route) => route.prefix,
            None => return Err(Refusal::not_found(format!("no route covers {address}"))),
        },
    };
    if !app.peers.restart().is_live() {
        let why = "the daemon has restarted, and announces nothing before it has learned all routes again";
        return Err(Refusal::not_found(format!("{prefix} is not advertised to this neighbor: {why}")));
    }
    let found = app.rib.exported(peer, prefix).await?;
    if !found.is_empty() {
        return Ok(views::advertised(prefix, &found));
    }
    let why = app.rib.why_not_exported(peer, prefix).await?;
    let why = why.unwrap_or_else(|| "it has just changed".to_owned());
    Err(Refusal::not_found(format!("{prefix} is not advertised to this neighbor: {why}")))
}

/// The routes of the forwarding table, a line each; with a target, only the one it means.
pub(super) async fn fib_routes(
    handle: ForwardingHandle,
    target: Option<Target>,
) -> Result<impl Stream<Item = Line> + Send + use<>, Refusal> {
    let first = match target {
        None => None,
        Some(target) => {
            let filter = match target {
                Target::Prefix(prefix) => RouteFilter::Exact(prefix),
                Target::Address(address) => RouteFilter::Match(address),
            };
            let found = handle.fib_routes(filter).await.map_err(|error| Refusal::unavailable(&error))?;
            Some(lines(found.iter().map(views::fib_route)))
        }
    };
    let start = if first.is_some() { None } else { Some(Cursor::START) };
    Ok(futures::stream::unfold((handle, first, start), |(handle, first, cursor)| async move {
        if let Some(only) = first {
            return Some((Ok(only), (handle, None, None)));
        }
        let cursor = cursor?;
        let family = match cursor.family {
            Family::Ipv4Unicast => fib::Family::Ipv4,
            Family::Ipv6Unicast => fib::Family::Ipv6,
        };
        let page = handle.fib_routes(RouteFilter::After(family, cursor.after)).await.ok()?;
        let next = page.last().filter(|_| page.len() == forwarding::PAGE).map(|route| route.prefix);
        Some((Ok(lines(page.iter().map(views::fib_route))), (handle, None, cursor.behind(next))))
    }))
}
