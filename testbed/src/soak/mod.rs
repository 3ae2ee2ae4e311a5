//! What takes time to show: steady churn, a neighbour that does not read, growth with the table,
//! sessions that only stay up.
//!
//! [`churn`] and [`slow`] drive every session from one thread ([`hub`]) and keep what each receiver
//! holds up to date as it is told ([`mirror`]), so that they may run for hours. What is announced when
//! is decided by [`mix`], which knows at any time what a receiver must hold. Times inside the daemon
//! are its own, read from its metrics before and after ([`histogram`]). [`linear`] repeats the load of
//! [`crate::load`] with tables of several sizes, [`idle`] holds many sessions without routes, [`crowd`] many
//! with short hold times while everything happens at once.

pub mod churn;
pub mod crowd;
pub mod fit;
pub mod histogram;
pub mod hub;
pub mod idle;
pub mod linear;
pub mod mirror;
pub mod mix;
pub mod scene;
pub mod slow;
