//! Real updates: an MRT file of what route collectors heard, told again to the daemon.
//!
//! [`mrt`] reads (and, for tests, writes) the file, [`run`] gives each recorded peer a session and sends
//! what it said, in the recorded order. What the daemon must hold in the end is worked out
//! twice without it: by [`model`], which knows no more of BGP than the attributes' encoding, and by
//! bgpdump, where that is installed. [`best`] chooses the best paths from the model, which a
//! listening neighbour must have been told.

pub mod best;
pub mod model;
pub mod mrt;
pub mod run;
