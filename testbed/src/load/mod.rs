//! The load harness: how fast a router takes whole tables, survives a flap and forgets again.
//!
//! [`run::run`] starts a router in a namespace of its own, connects feeders and one receiver to it
//! ([`neighbors`]), and plays the phases: load, flap, withdraw. The feeders' UPDATEs are encoded
//! before the clock starts ([`feeds`]); one thread drives every session ([`engine`]) and only
//! records what the receiver is sent ([`recording`]). After a phase the recording is read
//! ([`ledger`]): the times in the report are those at which the receiver, a stranger to the router,
//! had been told, and a run in which it does not end up with exactly what was announced fails.
//! Where the router forwards, its own account or the kernel's tables say when ([`watch`]).
//!
//! The same for every router ([`subject`]): the topology, the bytes, the policy. [`report`] sets
//! the medians side by side.

pub mod engine;
pub mod feeds;
pub mod ledger;
pub mod neighbors;
pub mod recording;
pub mod report;
pub mod run;
pub mod site;
pub mod subject;
pub mod usage;
pub mod watch;
