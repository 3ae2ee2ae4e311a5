//! Changes as they happen, for `peregrine monitor` and whoever else follows the API.
//!
//! Publishers never wait: each stream is a ring of the newest events. A reader that falls behind the
//! ring is told how many events it missed and goes on with the oldest that is left.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::broadcast;

/// Events that a slow reader may lag behind before it misses some.
const RING: usize = 16_384;

/// One stream of events.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    sender: broadcast::Sender<Arc<str>>,
}

impl Stream {
    fn new() -> Self {
        Self { sender: broadcast::Sender::new(RING) }
    }

    /// Whether anybody listens; building an event that nobody reads can be skipped.
    pub(crate) fn is_followed(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Publishes an event as one line of JSON.
    pub(crate) fn publish(&self, event: &impl Serialize) {
        if !self.is_followed() {
            return;
        }
        match serde_json::to_string(event) {
            Ok(mut line) => {
                line.push('\n');
                // Without a receiver the event is dropped, which is what a stream is for.
                let _ = self.sender.send(line.into());
            }
            Err(error) => tracing::error!(%error, "cannot encode an event for monitors"),
        }
    }

    /// Follows the stream from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Arc<str>> {
        self.sender.subscribe()
    }
}

/// All streams of the daemon.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    /// Best-path changes: in order for each prefix, in none between prefixes.
    pub(crate) routes: Stream,
    /// Session state changes.
    pub(crate) sessions: Stream,
}

impl Monitor {
    pub(crate) fn new() -> Self {
        Self { routes: Stream::new(), sessions: Stream::new() }
    }
}

/// Time of an event: seconds since the Unix epoch.
pub(crate) fn unix_time() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
