//! The maps, with the layouts of `fib_abi`.
//!
//! The capacities here are placeholders: user space sets the real ones when it loads the object.
//! The statics' names are those of `fib_abi::maps`.

use aya_ebpf::{
    macros::map,
    maps::{Array, DevMapHash, HashMap, LpmTrie, PerCpuArray},
};
use fib_abi::{Adjacency, Counter, NextHopWord, Port, PortCounters, PortKey, SetWord, Settings, Verdict};

const PLACEHOLDER: u32 = 64;

#[map]
pub static ROUTES_V4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static ROUTES_V6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static SETS: Array<SetWord> = Array::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static MEMBERS: Array<u32> = Array::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static NEXT_HOPS: Array<NextHopWord> = Array::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static ADJACENCIES: Array<Adjacency> = Array::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static PORTS: HashMap<PortKey, Port> = HashMap::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static EGRESS: DevMapHash = DevMapHash::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static PORT_COUNTERS: PerCpuArray<PortCounters> = PerCpuArray::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static NEXT_HOP_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static VERDICT_COUNTERS: PerCpuArray<Counter> =
    PerCpuArray::with_max_entries(Verdict::ALL.len() as u32, 0);
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
