//! The maps, with the layouts of `fib_abi`.
//!
//! The capacities here are placeholders: user space sets the real ones when it loads the object.
//! The statics' names are those of `fib_abi::maps`.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps,
    macros::{btf_map, map},
    maps::{Array, DevMapHash, HashMap, LpmTrie, PerCpuArray},
};
use fib_abi::{
    Adjacency, Counter, NextHopWord, Port, PortCounters, PortKey, SetWord, Settings, Verdict, direct::Layout,
};

const PLACEHOLDER: u32 = 64;

#[map]
pub static ROUTES_V4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(PLACEHOLDER, 0);
#[map]
pub static ROUTES_V6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(PLACEHOLDER, 0);

/// A slot for a direct table of so many words, which are those of one size. All of it is one element, so that the program looks it
/// up once a packet and has the verifier check each access by its index alone.
pub type DirectSlot<const WORDS: usize> =
    btf_maps::ArrayOfMaps<btf_maps::Array<[u32; WORDS], 1, { BPF_F_MMAPABLE as usize }>, 1>;

#[btf_map]
pub static DIRECT_V4: DirectSlot<{ Layout::IPV4[0].words() as usize }> = DirectSlot::new();
#[btf_map]
pub static DIRECT_V4_LARGE: DirectSlot<{ Layout::IPV4[1].words() as usize }> = DirectSlot::new();
#[btf_map]
pub static DIRECT_V6: DirectSlot<{ Layout::IPV6[0].words() as usize }> = DirectSlot::new();
#[btf_map]
pub static DIRECT_V6_LARGE: DirectSlot<{ Layout::IPV6[1].words() as usize }> = DirectSlot::new();

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
