//! The task between the kernel and the FIB thread: events inwards, requests outwards.
//!
//! It alone talks netlink: it passes what changes to the FIB thread, keeps the host's way out in line
//! with it, and asks the kernel to keep resolved what the FIB thread forwards to. It never waits for the
//! FIB thread other than to hand it events, and the FIB thread never waits for it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::pin::pin;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, warn};

use super::Farewell;
use super::forwarder::Kept;
use crate::host::{self, Host, Plan};
use crate::netlink::{NeighbourKeeper, NetEvent, Netlink};

pub(super) struct NetTask {
    pub(super) netlink: Netlink,
    pub(super) host: Host,
    pub(super) plan: Plan,
    pub(super) interfaces: Vec<String>,
    pub(super) router_id: Ipv4Addr,
    pub(super) events: mpsc::Sender<Vec<NetEvent>>,
    pub(super) kept: watch::Receiver<Kept>,
    pub(super) stop: watch::Receiver<Option<Farewell>>,
    /// What becomes of it all if nobody says anything.
    pub(super) unless_told: Farewell,
}

impl NetTask {
    /// Runs until told to stop or until the FIB thread is gone; then hands everything back, or leaves it in place for
    /// the forwarding that goes on.
    pub(super) async fn run(mut self) {
        let mut keeper = NeighbourKeeper::default();
        let mut stop = self.stop.clone();
        // Whoever held the other end is gone when waiting fails: time to stop as well.
        let mut stopped = pin!(async move { stop.wait_for(Option::is_some).await.is_ok() });
        let mut tick = interval(NeighbourKeeper::REFRESH);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Whether what is in place differs from the plan, because a request failed.
        let mut behind = false;
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                () = self.events.closed() => break,
                events = self.netlink.next() => {
                    if self.events.send(events).await.is_err() {
                        break;
                    }
                    behind |= !self.follow_plan(behind).await;
                }
                Ok(()) = self.kept.changed() => {
                    let kept = self.kept.borrow_and_update().clone();
                    keeper.keep_resolved(&self.netlink.handle(), self.netlink.mirror(), &kept).await;
                }
                _ = tick.tick() => {
                    keeper.refresh(&self.netlink.handle(), self.netlink.mirror()).await;
                    if behind {
                        behind = !self.follow_plan(true).await;
                    }
                }
            }
        }
        if self.stop.borrow().unwrap_or(self.unless_told) == Farewell::Keep {
            return;
        }
        keeper.keep_resolved(&self.netlink.handle(), self.netlink.mirror(), &BTreeSet::new()).await;
        self.host.tear_down().await;
    }

    /// Brings the host's way out in line with the network; whether that is done.
    async fn follow_plan(&mut self, force: bool) -> bool {
        let mirror = self.netlink.mirror();
        let plan = Plan::new(mirror, &self.interfaces, self.router_id, host::ipv6_available());
        let lost = [host::HOST_END, host::XDP_END].iter().any(|name| mirror.link_named(name).is_none());
        let done = if lost {
            warn!("{}/{} is gone, making it anew", host::HOST_END, host::XDP_END);
            self.host.make_anew(&plan).await
        } else if force || plan != self.plan {
            self.host.apply(&plan).await
        } else {
            Ok(())
        };
        self.plan = plan;
        match done {
            Ok(()) => true,
            Err(error) => {
                error!(%error, "the way out for the router's own traffic is not as it should be");
                false
            }
        }
    }
}
