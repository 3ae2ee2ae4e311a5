//! What a neighbour's configuration means for its session and its sockets.

use bgp::session::{OwnRestart, PeerKind, SessionConfig};
use bgp::types::PeerId;

use super::about::about;
use super::socket::SocketOptions;
use super::unnumbered::OnLink;
use crate::monitor::unix_time;
use crate::restart::Restart;

/// The session of a neighbour as it is configured.
pub(super) fn session_config(
    id: PeerId,
    config: &conf::Config,
    neighbor: &conf::Neighbor,
    on_link: Option<&OnLink>,
    restart: &Restart,
) -> SessionConfig {
    let router = &config.router;
    // Jitter wants to differ between neighbours and between restarts; it is no secret.
    let seed = unix_time().to_bits() ^ u64::from(id.0).rotate_left(48);
    let mut settings = SessionConfig::new(neighbor.session_asn(router), neighbor.asn, router.router_id, seed);
    settings.confederation = neighbor.kind(router) == PeerKind::Confed;
    settings.hold_time = neighbor.hold_time;
    settings.keepalive = neighbor.keepalive;
    settings.min_hold_time = neighbor.min_hold_time;
    settings.send_hold_time = neighbor.send_hold_time;
    settings.extended_next_hop = neighbor.extended_next_hop;
    settings.about = about(router, neighbor);
    settings.families = neighbor.families;
    // Whose address is not known cannot be called.
    settings.passive = neighbor.passive || on_link.is_some_and(|link| link.address().is_none());
    if neighbor.add_path.receive {
        settings.add_path_receive = neighbor.families;
    }
    if neighbor.add_path.send.is_some() {
        settings.add_path_send = neighbor.families;
    }
    settings.role = neighbor.attributes.role;
    settings.role_strict = neighbor.attributes.role_strict;
    settings.graceful_restart = neighbor.graceful_restart;
    settings.own_restart = (restart.outlives() && neighbor.offers_restart(&config.fib)).then(|| OwnRestart {
        restart_time: router.restart_time,
        forwarding: restart.families(),
        restarting: !restart.is_over(),
    });
    settings.timing.refresh_limit = neighbor.refresh_stale_time;
    settings.timing.connect_retry = neighbor.connect_retry;
    settings.timing.connect_retry_max = settings.timing.connect_retry_max.max(neighbor.connect_retry);
    settings
}

/// What its connections are given.
pub(super) fn socket_options(config: &conf::Config, neighbor: &conf::Neighbor) -> SocketOptions {
    let external = neighbor.kind(&config.router) != PeerKind::Ibgp;
    SocketOptions::new(neighbor, external)
}
