//! What fuzzing runs, one function a target: no input may panic, and what must hold is asserted.
//!
//! `fuzz_targets/` hands these to libFuzzer; `bgp/tests/fuzz_corpus.rs` runs them over
//! `corpus.tsv`, the inputs that once found something and those that every run begins with.

use bgp::types::{Family, FamilySet};
use bgp::wire::DecodeContext;

pub(crate) mod message;
pub(crate) mod session;
pub(crate) mod text;
pub(crate) mod update;

/// A context out of the bits of an octet.
fn context(bits: u8) -> DecodeContext {
    let mut families = FamilySet::EMPTY;
    for (bit, family) in [(1, Family::Ipv4Unicast), (2, Family::Ipv6Unicast)] {
        if bits & bit == 0 {
            families.insert(family);
        }
    }
    let add_path = if bits & 32 == 0 { FamilySet::EMPTY } else { FamilySet::ALL };
    DecodeContext {
        add_path,
        families,
        as4: bits & 4 == 0,
        extended_next_hop: false,
        ebgp: bits & 8 == 0,
        extended: bits & 16 != 0,
    }
}
