//! The data plane in the kernel: the XDP program on single packets, its maps, its attachments.
//!
//! ```text
//! rig.rs        a data plane with small tables in a network namespace of its own
//! fixtures.rs   packet in, packet out, verdict (fixtures.tsv, written by fixtures.py with scapy)
//! direct.rs     the direct tables, and the move to them under traffic
//! flips.rs      packets while the tables change at full speed
//! painter.rs    direct tables written in the plainest way
//! plane.rs      writing and reading the maps, attaching and detaching
//! speed.rs      nanoseconds a packet; run with --ignored --nocapture
//! ```
//!
//! All of it needs root and says SKIPPED without.

mod direct;
mod fixtures;
mod flips;
mod painter;
mod plane;
mod rig;
mod speed;
