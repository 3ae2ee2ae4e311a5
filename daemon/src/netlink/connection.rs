//! The sockets: subscribe, dump, follow, and dump again when something may have been missed.

use std::io;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{AsyncSocket, SocketAddr};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::NetEvent;
use super::mirror::{Mirror, Trust};
use super::parse::{self, Change};

const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Receive buffer of the event socket, bytes. The kernel caps it at `net.core.rmem_max`.
const EVENT_BUFFER: i32 = 4 << 20;

/// Silent changes come in swarms (a link goes down with a hundred routes): one dump for all of them.
const RESYNC_DELAY: Duration = Duration::from_millis(50);
/// However much happens, the whole state is not read more often than this.
const RESYNC_SPACING: Duration = Duration::from_secs(1);
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Messages taken at once before the events go out.
const BATCH: usize = 1024;

/// What can go wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// A dump failed.
    #[error("cannot list {what} by netlink: {}", Reason(.source))]
    Dump {
        /// What was asked for, in words.
        what: &'static str,
        /// The cause.
        #[source]
        source: rtnetlink::Error,
    },
}

/// The kernel's own words for a netlink error.
pub(crate) struct Reason<'a>(pub(crate) &'a rtnetlink::Error);

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            rtnetlink::Error::NetlinkError(e) => write!(f, "{}", e.to_io()),
            other => write!(f, "{other}"),
        }
    }
}

type Messages = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// The kernel's network state, followed. Lives in a tokio runtime; everything ends when it is dropped.
#[derive(Debug)]
pub struct Netlink {
    requests: Requests,
    events: Events,
    mirror: Mirror,
    resync_at: Option<Instant>,
    synced_at: Instant,
}

#[derive(Debug)]
struct Requests {
    handle: Handle,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Events {
    messages: Messages,
    task: JoinHandle<()>,
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Requests {
    fn open() -> Result<Self, NetlinkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }
}

impl Events {
    fn open() -> Result<Self, NetlinkError> {
        let (mut connection, _, messages) =
            rtnetlink::new_multicast_connection(&GROUPS).map_err(NetlinkError::Open)?;
        if let Err(error) = connection.socket_mut().socket_mut().set_rx_buf_sz(EVENT_BUFFER) {
            debug!(%error, "netlink receive buffer stays at its default size");
        }
        Ok(Self { messages, task: tokio::spawn(connection) })
    }
}

impl Netlink {
    /// Subscribes and takes the first full picture.
    pub async fn connect() -> Result<Self, NetlinkError> {
        // Subscribed before the dump: what changes in between is seen twice rather than not at all.
        let events = Events::open()?;
        let requests = Requests::open()?;
        let mirror = dump(&requests.handle).await?;
        Ok(Self { requests, events, mirror, resync_at: None, synced_at: Instant::now() })
    }

    /// What is known by now.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// For requests of other modules.
    pub fn handle(&self) -> Handle {
        self.requests.handle.clone()
    }

    /// Waits for news; never empty. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Vec<NetEvent> {
        loop {
            let events = match self.resync_at {
                Some(at) if at <= Instant::now() => self.resync().await,
                Some(at) => tokio::select! {
                    message = self.events.messages.next() => self.take(message),
                    () = tokio::time::sleep_until(at) => Vec::new(),
                },
                None => {
                    let message = self.events.messages.next().await;
                    self.take(message)
                }
            };
            if !events.is_empty() {
                return events;
            }
        }
    }

    /// Handles a message and those that already wait behind it.
    fn take(&mut self, first: Option<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>) -> Vec<NetEvent> {
        let mut events = Vec::new();
        let mut next = first;
        for _ in 0..BATCH {
            let Some((message, _)) = next else {
                warn!("netlink event socket closed, opening it again");
                self.resync_soon();
                break;
            };
            self.handle_message(message, &mut events);
            match self.events.messages.try_recv() {
                Ok(message) => next = Some(message),
                Err(_) => break,
            }
        }
        events
    }

    fn handle_message(&mut self, message: NetlinkMessage<RouteNetlinkMessage>, events: &mut Vec<NetEvent>) {
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => {
                let Some(change) = parse::change(&inner, message.header.flags) else { return };
                if self.mirror.apply(change, events) == Trust::Lost {
                    self.resync_soon();
                }
            }
            NetlinkPayload::Overrun(_) => {
                warn!("netlink events were lost, reading everything again");
                self.resync_soon();
            }
            _ => {}
        }
    }

    /// Reads everything now and returns what is new.
    pub async fn refresh(&mut self) -> Result<Vec<NetEvent>, NetlinkError> {
        let fresh = self.fresh().await?;
        Ok(self.mirror.catch_up(fresh))
    }

    fn resync_soon(&mut self) {
        let at = (Instant::now() + RESYNC_DELAY).max(self.synced_at + RESYNC_SPACING);
        self.resync_at = Some(self.resync_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Dumps everything and returns the difference; tries again later when that fails.
    async fn resync(&mut self) -> Vec<NetEvent> {
        match self.fresh().await {
            Ok(fresh) => {
                self.resync_at = None;
                self.synced_at = Instant::now();
                self.mirror.catch_up(fresh)
            }
            Err(error) => {
                warn!(%error, "cannot read the state of the network, trying again");
                self.resync_at = Some(Instant::now() + RETRY_DELAY);
                Vec::new()
            }
        }
    }

    async fn fresh(&mut self) -> Result<Mirror, NetlinkError> {
        if self.events.task.is_finished() {
            self.events = Events::open()?;
        }
        if self.requests.task.is_finished() {
            self.requests = Requests::open()?;
        }
        dump(&self.requests.handle).await
    }
}

async fn dump(handle: &Handle) -> Result<Mirror, NetlinkError> {
    let mut mirror = Mirror::default();
    let links = handle.link().get().execute().map_ok(RouteNetlinkMessage::NewLink);
    collect(&mut mirror, "links", links).await?;
    let addresses = handle.address().get().execute().map_ok(RouteNetlinkMessage::NewAddress);
    collect(&mut mirror, "addresses", addresses).await?;
    let v4 = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
    let routes = handle.route().get(v4).execute().map_ok(RouteNetlinkMessage::NewRoute);
    collect(&mut mirror, "IPv4 routes", routes).await?;
    let v6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new().build();
    let routes = handle.route().get(v6).execute().map_ok(RouteNetlinkMessage::NewRoute);
    collect(&mut mirror, "IPv6 routes", routes).await?;
    let neighbours = handle.neighbours().get().execute().map_ok(RouteNetlinkMessage::NewNeighbour);
    collect(&mut mirror, "neighbours", neighbours).await?;
    Ok(mirror)
}

async fn collect(
    mirror: &mut Mirror,
    what: &'static str,
    messages: impl Stream<Item = Result<RouteNetlinkMessage, rtnetlink::Error>>,
) -> Result<(), NetlinkError> {
    let mut messages = std::pin::pin!(messages);
    let mut ignored = Vec::new();
    while let Some(message) = messages.next().await {
        let message = message.map_err(|source| NetlinkError::Dump { what, source })?;
        let Some(change) = parse::change(&message, 0) else { continue };
        // Several routes with one prefix and metric: the kernel uses the one that it lists first.
        if matches!(&change, Change::Route(route) if mirror.has_route(route)) {
            continue;
        }
        let _: Trust = mirror.apply(change, &mut ignored);
        ignored.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::NetlinkHeader;

    use super::*;

    #[tokio::test]
    async fn lost_events_make_everything_be_read_anew() {
        let mut netlink = Netlink::connect().await.unwrap();
        assert!(netlink.resync_at.is_none());
        // As if nothing had ever been heard.
        netlink.mirror = Mirror::default();
        let overrun = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::Overrun(Vec::new()));
        netlink.handle_message(overrun, &mut Vec::new());
        assert!(netlink.resync_at.is_some());
        let events = netlink.next().await;
        assert!(events.iter().any(|event| matches!(event, NetEvent::Link(link) if link.name == "lo")));
    }
}
