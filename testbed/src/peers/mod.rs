//! Drivers for other people's routers.
//!
//! One process a test, in a namespace of its own, configured by text and asked through its own
//! control tool. What they say is the reference that the tests compare with.

pub mod bird;
pub mod exabgp;
pub mod frr;
pub mod gobgp;
pub mod openbgpd;
pub mod program;
