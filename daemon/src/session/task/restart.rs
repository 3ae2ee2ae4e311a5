//! What a restart of ours means for one session: whether its routes are still waited for, and how it is left.

use std::time::{Duration, Instant};

use super::Task;
use crate::restart::{Expected, Progress, Restart};

/// How long neighbours may take to connect before we do.
const PAUSE: Duration = Duration::from_secs(1);

/// What a session knows of our restart.
pub(in crate::session) struct Following {
    restart: Restart,
    expected: Expected,
    /// The session knows that it is over.
    pub(super) is_over: bool,
    /// When the session came up, and when the neighbour last sent routes.
    up: Instant,
    heard: Instant,
    /// The daemon is about to be followed by another one: what becomes of sessions is nothing to the RIB, whose
    /// routes packets go by until then.
    pub(super) is_leaving: bool,
}

impl Following {
    pub(super) fn new(restart: Restart, expected: Expected) -> Self {
        let is_over = restart.is_over();
        let now = Instant::now();
        Self { restart, expected, is_over, up: now, heard: now, is_leaving: false }
    }

    pub(in crate::session) fn restart(&self) -> &Restart {
        &self.restart
    }

    /// What our restart waits for of the neighbour, in words.
    pub(super) fn waits_for(&self) -> Option<String> {
        self.expected.waits_for().map(|progress| progress.to_string())
    }

    /// The session has come up.
    pub(super) fn up(&mut self) {
        self.up = Instant::now();
        self.heard = self.up;
    }

    /// The neighbour has sent routes.
    pub(super) fn hears(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Returns once, when the restart is over.
    pub(super) async fn over(&self) {
        if self.is_over { std::future::pending().await } else { self.restart.over().await }
    }
}

impl Task {
    /// Starts the session. Neighbours that are there already and wait to be let in go first in a restart.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.following.is_over {
            self.session.start(now);
        } else {
            self.session.start_after(now, PAUSE);
        }
    }

    /// The restart is over: OPENs say so from now on.
    pub(super) fn restart_over(&mut self) {
        self.following.is_over = true;
        self.session.restart_over();
    }

    /// Tells whoever waits for the neighbour's routes how far it is.
    pub(super) fn note_progress(&mut self, now: Instant) {
        if !self.following.expected.matters() {
            return;
        }
        // What has been read and not been taken by the RIB is not there yet.
        let is_behind = self.is_sending();
        if is_behind {
            self.following.heard = now;
        }
        let progress = match self.session.established() {
            None if self.session.is_stopped() => Progress::Down,
            None => Progress::Away,
            Some((_, negotiated)) => {
                let offer = &negotiated.restart;
                let left = negotiated.families.without(self.session.ends_of_rib());
                if left.is_empty() && !is_behind {
                    Progress::Done
                } else if !is_behind && (!offer.offered || offer.restarting) {
                    Progress::Unmarked { up: self.following.up, heard: self.following.heard }
                } else {
                    Progress::Sending(left)
                }
            }
        };
        self.following.expected.note(progress);
    }
}
