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

mod learn;
mod waits;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bgp::types::FamilySet;
use tokio::sync::{Notify, watch};

pub(crate) use learn::learn;
pub(crate) use waits::Progress;
use waits::{Verdict, Waits};

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
    outlives: bool,
    stage: watch::Sender<Stage>,
    waits: Arc<Mutex<Waits>>,
    changed: Arc<Notify>,
}

impl Restart {
    /// No tables of an earlier run: over and live from the start.
    pub(crate) fn none() -> Self {
        Self::new(FamilySet::EMPTY, Stage::Live, Waits::new(Instant::now(), Duration::ZERO, false))
    }

    /// Packets of these families go on by the tables of an earlier run, for so long at most while routes are learned
    /// again; `ranges`: neighbours may come that are not configured one by one.
    pub(crate) fn kept(families: FamilySet, deferral: Duration, ranges: bool) -> Self {
        Self::new(families, Stage::Learning, Waits::new(Instant::now(), deferral, ranges))
    }

    fn new(families: FamilySet, stage: Stage, waits: Waits) -> Self {
        Self {
            families,
            outlives: false,
            stage: watch::Sender::new(stage),
            waits: Arc::new(Mutex::new(waits)),
            changed: Arc::default(),
        }
    }

    /// The same, of a run whose own tables are going to outlive it, or not.
    pub(crate) fn outliving(self, outlives: bool) -> Self {
        Self { outlives, ..self }
    }

    /// Whether packets go on by the tables of this run, or those of the one before, when it ends and is followed by
    /// another one.
    pub(crate) fn outlives(&self) -> bool {
        self.outlives
    }

    /// The families that were forwarded all the while, also after the restart is over.
    pub(crate) fn families(&self) -> FamilySet {
        self.families
    }

    /// One more neighbour, whose routes are waited for.
    pub(crate) fn expect(&self, address: IpAddr) -> Expected {
        let id = (!self.is_over()).then(|| self.waits().expect(address));
        Expected { restart: self.clone(), id }
    }

    /// What is still waited for; `None` once it is over.
    pub(crate) fn status(&self) -> Option<Status> {
        if self.is_live() {
            return None;
        }
        let (now, waits) = (Instant::now(), self.waits());
        Some(Status {
            neighbors: if self.is_over() { Vec::new() } else { waits.waiting(now) },
            ranges: !self.is_over() && waits.is_open(now),
            left: waits.deadline().saturating_duration_since(now),
        })
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when everybody who is waited for has sent everything; false: the time is over before that.
    async fn heard(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            let verdict = self.waits().verdict(Instant::now());
            match verdict {
                Verdict::Complete => return true,
                Verdict::TooLong => return false,
                Verdict::Until(at) => {
                    // What changed just now has left a permit.
                    let _ = tokio::time::timeout_at(at.into(), changed).await;
                }
            }
        }
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

/// What a run that follows another one still waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// These neighbours.
    pub(crate) neighbors: Vec<(IpAddr, Progress)>,
    /// Anybody who may come out of a range.
    pub(crate) ranges: bool,
    /// For how long still, at most.
    pub(crate) left: Duration,
}

/// A neighbour whose routes are waited for; dropped when it is none any more.
#[derive(Debug)]
pub(crate) struct Expected {
    restart: Restart,
    /// None once nobody waits.
    id: Option<u64>,
}

impl Expected {
    /// Whether it matters how far it is.
    pub(crate) fn matters(&mut self) -> bool {
        if self.id.is_some() && self.restart.is_over() {
            self.id = None;
        }
        self.id.is_some()
    }

    /// What is waited for of it; `None`: nothing.
    pub(crate) fn waits_for(&self) -> Option<Progress> {
        let id = self.id.filter(|_| !self.restart.is_over())?;
        let progress = self.restart.waits().progress(id)?;
        progress.is_waited_for(Instant::now()).then_some(progress)
    }

    /// How far it is.
    pub(crate) fn note(&self, progress: Progress) {
        if let Some(id) = self.id
            && self.restart.waits().note(id, progress)
        {
            self.restart.changed.notify_one();
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.restart.waits().forget(id);
            self.restart.changed.notify_one();
        }
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
        let restart = Restart::kept(FamilySet::ALL, Duration::from_mins(2), false);
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
        let restart = Restart::kept(FamilySet::ALL, Duration::from_mins(2), false);
        let waits = tokio::spawn({
            let restart = restart.clone();
            async move { restart.went_live().await }
        });
        tokio::task::yield_now().await;
        restart.learned();
        restart.live();
        waits.await.unwrap();
    }

    #[tokio::test]
    async fn all_are_heard_when_the_last_one_has_sent_everything_or_is_no_neighbor_any_more() {
        let restart = Restart::kept(FamilySet::ALL, Duration::from_mins(2), false);
        let mut expected: Vec<Expected> = [1, 2].map(|last| restart.expect([192, 0, 2, last].into())).into();
        let heard = tokio::spawn({
            let restart = restart.clone();
            async move { restart.heard().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(restart.status().unwrap().neighbors.len(), 2);
        assert!(expected[0].matters());
        expected[0].note(Progress::Done);
        tokio::task::yield_now().await;
        assert!(!heard.is_finished());
        expected.remove(1);
        assert!(heard.await.unwrap());
        restart.learned();
        assert!(!expected[0].matters());
        assert_eq!(restart.status().unwrap().neighbors, []);
        restart.live();
        assert_eq!(restart.status(), None);
    }

    #[tokio::test]
    async fn whoever_does_not_come_is_not_waited_for_for_ever() {
        let restart = Restart::kept(FamilySet::ALL, Duration::from_millis(20), false);
        let _expected = restart.expect([192, 0, 2, 1].into());
        assert!(!restart.heard().await);
    }
}
