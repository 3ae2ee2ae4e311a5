//! Neighbours that are named by their interface alone: the session follows who is found there.
//!
//! As long as nobody is, the session waits for a connection, which may come from any address of the link. When the
//! neighbour is found under another address, or its interface has gone, the session with the old one ends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bgp::link::{LinkTag, Zoned, bare};
use bgp::session::{ConnId, StopReason};
use tokio::sync::watch;

use super::discovery::{self, Found};
use super::local::marked;
use super::settings::session_config;
use super::task::Task;
use crate::api::types::OnLinkInfo;

/// Who is on the link of a neighbour that is named by it alone.
pub(super) struct OnLink {
    news: watch::Receiver<Found>,
    /// As far as the session knows.
    found: Found,
    /// The last attempt to connect.
    dialed: Option<ConnId>,
}

impl OnLink {
    /// Begins to look.
    pub(super) fn new(link: LinkTag) -> Self {
        let mut news = discovery::start(link);
        let found = news.borrow_and_update().clone();
        Self { news, found, dialed: None }
    }

    /// The neighbour's address, if it has been found.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.found.address()
    }

    /// What is known from now on; waits until that is something else.
    pub(super) async fn changed(&mut self) -> Found {
        match self.news.changed().await {
            Ok(()) => self.news.borrow_and_update().clone(),
            // It looks as long as there is this receiver, unless the daemon ends.
            Err(_) => std::future::pending().await,
        }
    }

    /// Where to connect to.
    pub(super) fn dial(&mut self, conn: ConnId) -> io::Result<IpAddr> {
        self.dialed = Some(conn);
        match &self.found {
            Found::At(address) => Ok((*address).into()),
            Found::Nobody(why) => Err(io::Error::new(io::ErrorKind::NotFound, why.as_str())),
        }
    }

    /// For the operator; `remote` is the other end of the session that is up.
    pub(super) fn report(&self, remote: Option<SocketAddr>) -> OnLinkInfo {
        let address = remote.map(marked).or(self.address());
        let waits_for = match &self.found {
            Found::Nobody(why) if address.is_none() => Some(why.clone()),
            _ => None,
        };
        OnLinkInfo { address: address.map(Zoned), waits_for }
    }
}

impl Task {
    /// Goes on with what is known of the neighbour on the link.
    pub(super) fn found(&mut self, now: Instant, found: Found) {
        let Some(on_link) = &mut self.on_link else { return };
        let before = std::mem::replace(&mut on_link.found, found);
        let (was, is) = (before.address(), on_link.address());
        if was == is {
            return;
        }
        let text = match (&on_link.found, is) {
            (Found::Nobody(why), _) => why.clone(),
            (Found::At(_), address) => {
                address.map_or_else(String::new, |address| format!("the neighbor is {}", Zoned(address)))
            }
        };
        self.history.note("link", &text);
        let dialed = on_link.dialed.take();
        let (on_link, restart) = (self.on_link.as_ref(), self.following.restart());
        let settings = session_config(self.id, &self.config, &self.neighbor, on_link, restart);
        // An interface that has gone, or another name, has no link any more.
        let is_of = |address: IpAddr| self.connections.iter().any(|known| known.remote.ip() == bare(address));
        if was.is_some_and(is_of) {
            self.session.stop(now, &StopReason::Reset(text));
        } else if let Some(conn) = dialed.filter(|conn| self.session.has_connection(*conn))
            && !self.connections.iter().any(|known| known.id == conn)
        {
            self.connecting.abort_all();
            self.session.tcp_failed(now, conn, &text);
        }
        // A session that waits for its next attempt turns to the new address at once.
        let waiting = bgp::session::SessionConfig { passive: true, ..settings.clone() };
        self.session.reconfigure(now, waiting);
        self.session.reconfigure(now, settings);
        self.follow_bfd();
    }
}
