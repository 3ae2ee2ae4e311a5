//! Accepting connections: each goes to the task of the neighbour it comes from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp::wire::Notification;
use bgp::wire::notification::codes;
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::Peers;

/// Pause after an error of `accept` itself, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

/// Accepts connections until the process ends.
pub(crate) async fn accept(listener: TcpListener, peers: Arc<Peers>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => hand_over(stream, remote, &peers).await,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a BGP connection");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn hand_over(stream: TcpStream, remote: SocketAddr, peers: &Peers) {
    let address = canonical(remote.ip());
    if peers.id(address).is_none() {
        tracing::info!(%remote, "connection from an address that is no neighbor refused");
        tokio::spawn(refuse(stream));
    } else if let Err(error) = peers.incoming(address, stream).await {
        tracing::debug!(%remote, %error, "connection while the daemon stops");
    }
}

/// An IPv4 neighbour on a dual-stack socket is an IPv4 neighbour.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Tells a stranger that it is one (RFC 4486: Connection Rejected), as far as it listens.
async fn refuse(mut stream: TcpStream) {
    let mut message = BytesMut::new();
    Notification::cease(codes::cease::CONNECTION_REJECTED).encode(&mut message);
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&message)).await;
}
