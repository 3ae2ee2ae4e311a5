//! Laboratories for Peregrine: networks of real routers in network namespaces.
//!
//! A [`netns::Sandbox`] owns a handful of namespaces, the links between them and every process
//! started inside; dropping it leaves nothing behind. Into it go real peers ([`peers::bird`],
//! [`peers::frr`]), the daemon under test ([`daemon`]), a speaker of our own that announces tables
//! of any size ([`feeder`], [`table`]) and packet captures ([`capture`]). [`lab`] strings them
//! together into the demonstration that `scripts/lab` runs, [`load`] measures how fast the daemon and
//! other routers converge under full tables; the namespace tests use the same parts.
//!
//! The feeder encodes BGP by itself, on purpose: a mistake in the code under test must not be able
//! to hide in both ends of a session.

pub mod budget;
pub mod capture;
pub mod daemon;
pub mod failover;
pub mod feeder;
pub mod interop;
pub mod lab;
pub mod load;
pub mod netns;
pub mod outgoing;
pub mod packet;
pub mod peers;
pub mod plane;
pub mod plot;
pub mod process;
pub mod random;
pub mod replay;
pub mod restart;
pub mod skip;
pub mod soak;
pub mod speaker;
pub mod story;
pub mod stream;
pub mod table;
pub mod tools;
pub mod topology;
