//! Per-CPU counters: one verdict for each packet, its ports, its next hop.
//!
//! The program runs to its end on one CPU, so plain additions suffice.

use fib_abi::{Adjacency, Counter, Port, PortCounters, Verdict};

use crate::maps::{NEXT_HOP_COUNTERS, PORT_COUNTERS, VERDICT_COUNTERS};

#[inline(always)]
fn add(counter: &mut Counter, bytes: u64) {
    counter.packets += 1;
    counter.bytes += bytes;
}

#[inline(always)]
fn port_counters(id: u32) -> Option<&'static mut PortCounters> {
    let counters = PORT_COUNTERS.get_ptr_mut(id)?;
    // SAFETY: a live element of a per-CPU array; nobody else on this CPU touches it meanwhile.
    Some(unsafe { &mut *counters })
}

#[inline(always)]
fn verdict_counter(verdict: Verdict, bytes: u64) {
    if let Some(counter) = VERDICT_COUNTERS.get_ptr_mut(verdict as u32) {
        // SAFETY: a live element of a per-CPU array; nobody else on this CPU touches it meanwhile.
        add(unsafe { &mut *counter }, bytes);
    }
}

/// Counts a packet that is being redirected.
#[inline(always)]
pub fn forwarded(ingress: Option<&Port>, egress: &Adjacency, bytes: u64) {
    verdict_counter(Verdict::Forwarded, bytes);
    if let Some(counters) = ingress.and_then(|port| port_counters(port.id)) {
        add(&mut counters.received, bytes);
    }
    if let Some(counters) = port_counters(egress.port) {
        add(&mut counters.sent, bytes);
    }
}

/// Counts a packet that is passed up or dropped.
#[inline(always)]
pub fn not_forwarded(ingress: Option<&Port>, verdict: Verdict, pass: bool, bytes: u64) {
    verdict_counter(verdict, bytes);
    if let Some(counters) = ingress.and_then(|port| port_counters(port.id)) {
        add(&mut counters.received, bytes);
        add(if pass { &mut counters.passed } else { &mut counters.dropped }, bytes);
    }
}

/// Counts a packet for its next hop.
#[inline(always)]
pub fn next_hop(id: u32, bytes: u64) {
    if let Some(counter) = NEXT_HOP_COUNTERS.get_ptr_mut(id) {
        // SAFETY: a live element of a per-CPU array; nobody else on this CPU touches it meanwhile.
        add(unsafe { &mut *counter }, bytes);
    }
}
