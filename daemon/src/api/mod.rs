//! The daemon's API: HTTP and JSON on a Unix socket, and read-only on TCP when configured.
//!
//! Lists that can be long (`/v1/routes`, `/v1/fib`) and the monitor streams come as one JSON object a
//! line; everything else is one JSON value. A refusal is `{"error": "..."}` with a fitting status.

pub mod bfd;
mod handlers;
pub mod metrics;
mod pages;
mod patience;
mod server;
pub mod types;
mod views;

use std::sync::Arc;
use std::time::Instant;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::bfd::Bfd;
use crate::forwarding::ForwardingHandle;
use crate::monitor::Monitor;
use crate::reload::Reloader;
use crate::routing::RibHandle;
use crate::session::Peers;

pub use server::ApiListenError;
pub(crate) use server::Listeners;

/// What the handlers reach.
pub(crate) struct App {
    pub(crate) router: conf::Router,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) started: Instant,
    pub(crate) peers: Arc<Peers>,
    pub(crate) rib: RibHandle,
    /// Absent in a pure control plane.
    pub(crate) forwarding: Option<ForwardingHandle>,
    pub(crate) monitor: Monitor,
    pub(crate) bfd: Bfd,
    pub(crate) prometheus: PrometheusHandle,
}
