//! A run of the daemon that follows another one whose forwarding plane goes on (RFC 4724 section 4.1).
//!
//! ```text
//!   start -------------------> over --------------------> live
//!     the routes are learned    the new tables hold them    packets go by the new tables
//!     packets go by the tables of the run before
//! ```
//!
//! Until `over` the new tables are filled beside those that forward. What is told and asked on the way is as ever:
//! the forwarding plane resolves next hops and confirms each batch of the RIB once it is in the tables that
//! are being filled. It is the RIB threads that keep everything from the neighbours until `live`, routes and
//! End-of-RIB alike, whatever `[fib] advertise` says: nothing is announced that is not forwarded, and nothing that is
//! still forwarded by the tables before is taken back. `over` is said when all shards have nothing left to hand on
//! and all that they handed on is confirmed; then the forwarding plane changes over, and says that it has.
//!
//! Without tables of an earlier run both is the case from the start.

#![cfg_attr(not(test), expect(dead_code, reason = "no forwarding plane outlives the daemon yet"))]

use bgp::types::FamilySet;
use tokio::sync::watch;

/// How far a run that follows another one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Routes are learned again.
    Learning,
    /// What could be learned is in the new tables.
    Over,
    /// Packets go by the new tables.
    Live,
}

/// How this run follows another one, shared by all who have a part in it. See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Restart {
    families: FamilySet,
    stage: watch::Sender<Stage>,
}

impl Restart {
    /// No tables of an earlier run: over and live from the start.
    pub(crate) fn none() -> Self {
        Self { families: FamilySet::EMPTY, stage: watch::Sender::new(Stage::Live) }
    }

    /// Packets of these families go on by the tables of an earlier run.
    pub(crate) fn kept(families: FamilySet) -> Self {
        Self { families, stage: watch::Sender::new(Stage::Learning) }
    }

    /// The families that were forwarded all the while, also after the restart is over.
    pub(crate) fn families(&self) -> FamilySet {
        self.families
    }

    /// Routes have been learned again, and are in the new tables. The forwarding plane is to change over.
    pub(crate) fn learned(&self) {
        self.reach(Stage::Over);
    }

    /// Whether [`Self::learned`] was said.
    pub(crate) fn is_over(&self) -> bool {
        *self.stage.borrow() >= Stage::Over
    }

    /// Returns when [`Self::learned`] was said. For the forwarding plane: whatever the RIB handed on before, it has
    /// put into the tables by then. What comes after is change as ever, which may be taken before or after the
    /// change of tables.
    pub(crate) async fn over(&self) {
        self.wait(Stage::Over).await;
    }

    /// The forwarding plane has changed over: packets go by the new tables.
    pub(crate) fn live(&self) {
        self.reach(Stage::Live);
    }

    /// Whether [`Self::live`] was said.
    pub(crate) fn is_live(&self) -> bool {
        *self.stage.borrow() >= Stage::Live
    }

    /// Returns when [`Self::live`] was said.
    pub(crate) async fn went_live(&self) {
        self.wait(Stage::Live).await;
    }

    fn reach(&self, stage: Stage) {
        self.stage.send_if_modified(|before| {
            let later = *before < stage;
            *before = stage.max(*before);
            later
        });
    }

    async fn wait(&self, stage: Stage) {
        // Never fails: the sender is our own.
        let _ = self.stage.subscribe().wait_for(|reached| *reached >= stage).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn without_tables_of_an_earlier_run_there_is_nothing_to_wait_for() {
        let restart = Restart::none();
        assert!(restart.is_over() && restart.is_live() && restart.families().is_empty());
        assert!(is_ready(restart.over()) && is_ready(restart.went_live()));
    }

    #[test]
    fn one_stage_follows_the_other_for_all_who_hold_it() {
        let restart = Restart::kept(FamilySet::ALL);
        let other = restart.clone();
        assert!(!restart.is_over() && !is_ready(other.over()));
        restart.learned();
        assert!(other.is_over() && !other.is_live());
        assert!(is_ready(other.over()) && !is_ready(other.went_live()));
        other.live();
        assert!(restart.is_live() && is_ready(restart.went_live()));
        restart.learned();
        assert!(other.is_live(), "no way back");
        assert_eq!(other.families(), FamilySet::ALL);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let restart = Restart::kept(FamilySet::ALL);
        let waits = tokio::spawn({
            let restart = restart.clone();
            async move { restart.went_live().await }
        });
        tokio::task::yield_now().await;
        restart.learned();
        restart.live();
        waits.await.unwrap();
    }
}
