//! Dynamic neighbours: from a connection out of a range to a neighbour with a task.
//!
//! Who a neighbour is shows in its OPEN, so that this is looked at first, without taking it off the socket: the
//! session then finds it there. Nothing else is kept for a connection that has not said anything, and each
//! address may have one of those; with the neighbours of the range they count against its limit.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp::link::Zoned;
use bgp::types::Asn;
use bgp::wire::notification::codes;
use bgp::wire::{self, DecodeContext, MAX_MESSAGE, Message, Notification, ProtocolError};
use bytes::BytesMut;
use ipnet::IpNet;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Peers;
use super::options::set_minimum_ttl;
use super::socket::reset;
use super::syn::{Incoming, TooFar};

/// How long a connection may take to say who it is.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a refusal may take to be read.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
/// Pause before the rest of an OPEN is looked for that has come in part.
const REST_PAUSE: Duration = Duration::from_millis(20);

/// Why an address is not let in.
#[derive(Debug, Error)]
pub(super) enum NotAdmitted {
    /// Nobody knows it.
    #[error("no neighbor, and in no neighbor-range")]
    Stranger,
    /// It is further away than the range lets it.
    #[error("{1} of the neighbor-range {0}")]
    TooFar(IpNet, TooFar),
    /// The range is closed.
    #[error("the neighbor-range {0} is shut down")]
    ShutDown(IpNet),
    /// There are as many as there may be.
    #[error("the neighbor-range {prefix} is full: {limit} neighbors, its limit")]
    Full { prefix: IpNet, limit: u32 },
    /// It has another connection that has not sent an OPEN yet.
    #[error("another connection from there has not sent an OPEN yet")]
    Waiting,
}

/// A place in a range for a connection that has not said who it is. Given back when dropped.
pub(super) struct Place {
    pub(super) peers: Arc<Peers>,
    pub(super) address: IpAddr,
    /// The range.
    pub(super) range: IpNet,
    /// Least TTL of its packets; 0: any.
    pub(super) minimum_ttl: u8,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.peers.write().waiting.remove(&self.address);
    }
}

/// Makes a neighbour of a connection, once it has sent its OPEN.
pub(super) async fn admit(incoming: Incoming, place: Place) {
    let (address, range, peers) = (place.address, place.range, Arc::clone(&place.peers));
    if place.minimum_ttl > 0
        && let Err(error) = set_minimum_ttl(&incoming.stream, address, place.minimum_ttl)
    {
        tracing::warn!(address = %Zoned(address), %error, "cannot set the least TTL of a connection");
        return reset(incoming.stream);
    }
    let admitted = match tokio::time::timeout(OPEN_PATIENCE, open(&incoming.stream)).await {
        Ok(Ok(Some(asn))) => peers.admit(place, asn),
        Ok(Ok(None)) => return,
        Ok(Err(error)) => Err(error.notification()),
        Err(_) => Err(Notification::hold_timer_expired()),
    };
    let refusal = match admitted {
        Ok(()) => {
            if let Err(error) = peers.incoming(address, incoming).await {
                tracing::debug!(address = %Zoned(address), %error, "connection of a dynamic neighbor");
            }
            return;
        }
        Err(refusal) => refusal,
    };
    peers.count_refused(range);
    tracing::info!(address = %Zoned(address), reason = %refusal, "dynamic neighbor refused");
    let mut stream = incoming.stream;
    refuse(&mut stream, &refusal).await;
}

/// Says why, as far as anybody listens.
pub(super) async fn refuse(stream: &mut TcpStream, why: &Notification) {
    let mut message = BytesMut::new();
    why.encode(&mut message);
    let tell = async {
        stream.write_all(&message).await?;
        stream.shutdown().await?;
        // A connection that is closed with something unread is reset, and the message is lost with it.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // The neighbour may be gone already; there is nobody to tell.
    let _ = tokio::time::timeout(REFUSAL_PATIENCE, tell).await;
}

/// The AS number in the OPEN that comes first; `None`: the connection ended.
async fn open(stream: &TcpStream) -> Result<Option<Asn>, ProtocolError> {
    let mut octets = vec![0; MAX_MESSAGE];
    let mut seen = 0;
    loop {
        let count = match stream.peek(&mut octets).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(count) => count,
        };
        let received = &octets[..count];
        let length = wire::frame_len(received, MAX_MESSAGE)?;
        match length.and_then(|length| received.get(..length)) {
            Some(frame) => {
                return match wire::decode(frame, &DecodeContext::default())? {
                    Message::Open(open) => Ok(Some(open.four_octet_asn())),
                    other => {
                        let reason = format!("{} before an OPEN", other.name());
                        Err(ProtocolError::new(codes::FSM, codes::fsm::IN_OPEN_SENT, &[], reason))
                    }
                };
            }
            // What is there is ready to be read, so that only time tells when there is more.
            None if count == seen => tokio::time::sleep(REST_PAUSE).await,
            None => seen = count,
        }
    }
}
