//! What BFD says of the neighbour, and what the session makes of it (RFC 5882).
//!
//! The BFD session is there while the BGP session may be: not while somebody keeps that down. BGP does not wait for it
//! (RFC 5882 section 4.1): a neighbour without BFD has its session. But a path that was there and failed ends an
//! Established session at once, by a Cease (RFC 9384); it then comes back as after any error, longer each time. A
//! neighbour whose operator takes BFD down keeps its session (section 3.2).
//!
//! Routes of a neighbour that restarts gracefully go with the session, as with BIRD and FRR, since what BFD is there for
//! is to get traffic off a dead path. With `graceful`, they are kept, unless the neighbour has said that its BFD does
//! not share the fate of its control plane (section 4.3): then it is forwarding that has failed.

use std::net::IpAddr;
use std::time::Instant;

use bgp::bfd::State;
use bgp::link::link_of;
use bgp::session::StopReason;

use super::local::marked;
use super::task::Task;
use crate::api::types::NeighborBfd;
use crate::bfd::{Bfd, Spec, Status, Watch};

/// The BFD session of a neighbour, if it has one.
pub(super) struct Detection {
    bfd: Bfd,
    watch: Option<Watch>,
    /// Failures that were acted on.
    seen: u64,
    /// Our end of the last BGP session: the neighbour expects our packets from there.
    local: Option<IpAddr>,
    /// The address of a neighbour that is named by its interface alone, as last known.
    on_link: Option<IpAddr>,
}

impl Detection {
    pub(super) fn new(bfd: Bfd) -> Self {
        Self { bfd, watch: None, seen: 0, local: None, on_link: None }
    }

    /// Begins, goes on as another one, or ends.
    fn set(&mut self, spec: Option<Spec>) {
        match (spec, &mut self.watch) {
            (None, _) => self.watch = None,
            (Some(spec), Some(watch)) => watch.update(spec),
            (Some(spec), None) => {
                self.seen = 0;
                self.watch = Some(self.bfd.watch(spec));
            }
        }
    }

    /// Waits for news.
    pub(super) async fn changed(&mut self) -> Status {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }

    /// The session is up: the neighbour is there, whatever BFD has found before.
    pub(super) fn trust(&self) {
        if let Some(watch) = &self.watch {
            watch.trust();
        }
    }

    pub(super) fn shown(&self) -> Option<NeighborBfd> {
        let status = self.watch.as_ref()?.status();
        let ago = |change: bgp::bfd::Change| change.at.elapsed().as_secs();
        Some(NeighborBfd {
            state: status.state.as_str().to_owned(),
            since_seconds: status.last.map(ago),
            failures: status.failures,
            last_failure: status.last_failure.map(|change| change.diagnostic.as_str().to_owned()),
            last_failure_seconds: status.last_failure.map(ago),
        })
    }
}

impl Task {
    /// Has the BFD session be as the configuration and the BGP session say.
    pub(super) fn follow_bfd(&mut self) {
        let conn = self.session.established().map(|(conn, _)| conn);
        let connection = self.connections.iter().find(|known| Some(known.id) == conn);
        if let Some(connection) = connection.filter(|_| link_of(self.neighbor.address).is_none()) {
            self.detection.local = Some(connection.local.ip().to_canonical());
        }
        if let Some(on_link) = &self.on_link {
            let remote = connection.map(|connection| marked(connection.remote));
            self.detection.on_link = remote.or(on_link.address()).or(self.detection.on_link);
        }
        let address =
            if self.on_link.is_some() { self.detection.on_link } else { Some(self.neighbor.address) };
        let wanted = !self.neighbor.shutdown && self.shut_down.is_none();
        let spec = address.filter(|_| wanted).and_then(|address| {
            Spec::new(&self.neighbor, &self.config.router, address, self.detection.local)
        });
        self.detection.set(spec);
    }

    /// BFD has something to say.
    pub(super) fn detected(&mut self, now: Instant, status: &Status) {
        let name = self.neighbor.name();
        if let Some(last) = status.last
            && matches!(last.to, State::Up | State::Down)
        {
            let text = match last.to {
                State::Up => "up".to_owned(),
                _ if last.by_operator_there() => "down: by an operator of the neighbor".to_owned(),
                to => format!("{}: {}", to.as_str().to_lowercase(), last.diagnostic),
            };
            tracing::info!(neighbor = %name, from = %last.from, %text, "BFD");
            self.history.note("bfd", text);
        }
        if status.failures == self.detection.seen {
            return;
        }
        self.detection.seen = status.failures;
        let Some(failure) = status.last_failure else { return };
        let graceful = self.neighbor.bfd.is_some_and(|bfd| bfd.graceful) && !failure.remote_independent;
        if self.session.established().is_some() {
            let why = failure.diagnostic.to_string();
            self.session.stop(now, &StopReason::BfdDown { graceful, why });
        } else if !graceful {
            self.session.forwarding_lost();
        }
    }
}
