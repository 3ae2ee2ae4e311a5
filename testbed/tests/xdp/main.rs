//! The data plane in the kernel: the XDP program on single packets, its maps, its attachments.
//!
//! ```text
//! rig.rs        a data plane with small tables in a network namespace of its own
//! fixtures.rs   packet in, packet out, verdict (fixtures.tsv, written by fixtures.py with scapy)
//! plane.rs      writing and reading the maps, attaching and detaching
//! speed.rs      nanoseconds a packet; run with --ignored --nocapture
//! ```
//!
//! All of it needs root and says SKIPPED without.

mod fixtures;
mod plane;
mod rig;
mod speed;
