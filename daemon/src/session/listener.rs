//! Accepting connections: each goes to the task of the neighbour it comes from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::wire::Notification;
use bgp::wire::notification::codes;
use tokio::net::{TcpListener, TcpStream};

use super::{Peers, dynamic};

/// Pause after an error of `accept` itself, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

/// At most one line in the log about strangers, or about failures to accept, in this time.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Accepts connections until the process ends.
pub(crate) async fn accept(listener: TcpListener, peers: Arc<Peers>) {
    let (mut strangers, mut failures) = (Seldom::default(), Seldom::default());
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => hand_over(stream, remote, &peers, &mut strangers).await,
            Err(error) => {
                if let Some(unsaid) = failures.say() {
                    tracing::warn!(%error, unsaid, "cannot accept a BGP connection");
                }
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// Keeps what outsiders can cause at will from filling the log.
#[derive(Default)]
struct Seldom {
    last: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Whether it may be said now, and how often it was not since the last time.
    fn say(&mut self) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < LOG_PAUSE) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

async fn hand_over(mut stream: TcpStream, remote: SocketAddr, peers: &Arc<Peers>, strangers: &mut Seldom) {
    let address = canonical(remote.ip());
    if peers.id(address).is_none() {
        match peers.place(address) {
            Ok(place) => drop(tokio::spawn(dynamic::admit(stream, place))),
            Err(reason) => {
                if let Some(unsaid) = strangers.say() {
                    tracing::info!(%remote, %reason, unsaid, "connection refused");
                }
                // RFC 4486: Connection Rejected.
                let refusal = Notification::cease(codes::cease::CONNECTION_REJECTED);
                tokio::spawn(async move { dynamic::refuse(&mut stream, &refusal).await });
            }
        }
    } else if let Err(error) = peers.incoming(address, stream).await {
        tracing::debug!(%remote, %error, "connection while the daemon stops");
    }
}

/// An IPv4 neighbour on a dual-stack socket is an IPv4 neighbour.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
