//! `GET /v1/bfd`: the sessions of BFD, as JSON and as metrics.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bgp::link::Zoned;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use serde::{Deserialize, Serialize};

use super::App;
use super::metrics::float;
use super::server::Refusal;
use crate::routing::RibStopped;

/// `GET /v1/bfd`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BfdReport {
    /// The sessions, by address of the neighbour.
    pub sessions: Vec<BfdSession>,
    /// How many of them are up.
    pub up: u64,
    /// Packets that arrived at our ports.
    pub received: u64,
    /// Those of them that changed nothing, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// How punctual the timers are.
    pub timers: BfdTimers,
    /// Whether the thread has real-time priority.
    pub real_time: bool,
}

/// Timers that were served, and how late.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct BfdTimers {
    /// How many.
    pub served: u64,
    /// On average.
    pub late_seconds_mean: f64,
    /// At most.
    pub late_seconds_max: f64,
}

/// One session (RFC 5880).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the JSON")]
pub struct BfdSession {
    /// The neighbour.
    pub neighbor: Zoned,
    /// The interface of a session on a link.
    pub interface: Option<String>,
    /// Our address, once known.
    pub local: Option<IpAddr>,
    /// The UDP port that we send from.
    pub source_port: Option<u16>,
    /// Over several hops (RFC 5883), or on a link (RFC 5881).
    pub multihop: bool,
    /// Our state.
    pub state: String,
    /// Seconds since it was entered.
    pub since_seconds: u64,
    /// The state that the neighbour was last heard to be in.
    pub remote_state: String,
    /// Why our state is what it is.
    pub diagnostic: String,
    /// The neighbour's last diagnostic.
    pub remote_diagnostic: String,
    /// Our discriminator.
    pub discriminator: u32,
    /// The neighbour's, once known.
    pub remote_discriminator: Option<u32>,
    /// Configured interval of our packets.
    pub min_tx_seconds: f64,
    /// Configured interval of the neighbour's.
    pub min_rx_seconds: f64,
    /// Our multiplier.
    pub multiplier: u8,
    /// The neighbour's.
    pub remote_multiplier: Option<u8>,
    /// Interval of our packets as agreed on, before jitter.
    pub tx_interval_seconds: f64,
    /// Interval of the neighbour's.
    pub rx_interval_seconds: Option<f64>,
    /// How long the neighbour may be silent.
    pub detection_seconds: Option<f64>,
    /// The neighbour is being told of other parameters (a Poll Sequence).
    pub polling: bool,
    /// The neighbour wants no packets while both sides are up.
    pub remote_demand: bool,
    /// The neighbour's BFD does not share the fate of its control plane.
    pub remote_control_plane_independent: bool,
    /// How often it was up and went down.
    pub downs: u64,
    /// Why it last did.
    pub last_down: Option<String>,
    /// Seconds since then.
    pub last_down_seconds: Option<u64>,
    /// Packets of the neighbour that counted.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets that named the session and did not count, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Nobody wants it any more, which the neighbour is being told.
    pub ending: bool,
    /// Why nothing can be sent or received.
    pub error: Option<String>,
}

pub(super) async fn bfd(State(app): State<Arc<App>>) -> Result<Json<BfdReport>, Refusal> {
    app.bfd.report().await.map(Json).ok_or(Refusal::from(RibStopped))
}

pub(super) fn describe() {
    describe_gauge!("peregrine_bfd_session_up", "1 while the BFD session with the neighbor is Up, else 0.");
    describe_gauge!("peregrine_bfd_detection_seconds", "How long the neighbor may be silent; 0: not heard.");
    describe_gauge!("peregrine_bfd_timer_late_seconds_max", "How late a timer of BFD was served at most.");
    describe_counter!("peregrine_bfd_session_downs_total", "How often the session was Up and went down.");
    describe_counter!("peregrine_bfd_packets_total", "BFD packets of the session by direction.");
    describe_counter!("peregrine_bfd_dropped_packets_total", "BFD packets that changed nothing, by reason.");
}

/// Copies what `show bfd` says.
pub(super) fn sample(report: &BfdReport) {
    for (reason, count) in &report.dropped {
        counter!("peregrine_bfd_dropped_packets_total", "reason" => reason.clone()).absolute(*count);
    }
    gauge!("peregrine_bfd_timer_late_seconds_max").set(report.timers.late_seconds_max);
    for session in report.sessions.iter().filter(|session| !session.ending) {
        let labels = [
            ("neighbor", session.neighbor.to_string()),
            ("interface", session.interface.clone().unwrap_or_default()),
        ];
        let up = session.state == bgp::bfd::State::Up.as_str();
        gauge!("peregrine_bfd_session_up", &labels).set(float(u64::from(up)));
        gauge!("peregrine_bfd_detection_seconds", &labels).set(session.detection_seconds.unwrap_or(0.0));
        counter!("peregrine_bfd_session_downs_total", &labels).absolute(session.downs);
        for (direction, count) in [("received", session.received), ("sent", session.sent)] {
            counter!("peregrine_bfd_packets_total", "neighbor" => session.neighbor.to_string(),
                "direction" => direction)
            .absolute(count);
        }
    }
}
