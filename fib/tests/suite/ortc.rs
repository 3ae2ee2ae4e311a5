//! The compressed table is as small as a table can be, found here by trying everything.

use std::net::Ipv4Addr;

use fib::{Fib, FibConfig, NextHopKey};
use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;

/// A table over the first `depth` bits: for each prefix, in heap order, 0 or the number of a set.
struct Table {
    depth: u8,
    values: Vec<u8>,
}

impl Table {
    fn nodes(depth: u8) -> usize {
        (2 << depth) - 1
    }

    /// Values of all addresses, by longest match.
    fn leaf(&self, mut node: usize) -> u8 {
        loop {
            if self.values[node] != 0 || node == 0 {
                return self.values[node];
            }
            node = (node - 1) / 2;
        }
    }

    /// Fewest entries in the subtree of a node that inherits a value, where no entry stands for 0.
    fn fewest(&self, node: usize, inherited: u8, sets: u8) -> u32 {
        let without = self.fewest_below(node, inherited, sets);
        (1..=sets).map(|set| self.fewest_below(node, set, sets).saturating_add(1)).fold(without, u32::min)
    }

    fn fewest_below(&self, node: usize, value: u8, sets: u8) -> u32 {
        if 2 * node + 1 >= self.values.len() {
            return if self.leaf(node) == value { 0 } else { u32::MAX / 4 };
        }
        let half = |child| self.fewest(child, value, sets);
        half(2 * node + 1).saturating_add(half(2 * node + 2))
    }

    fn prefix(&self, node: usize) -> IpNet {
        let len = (node + 1).ilog2() as u8;
        let place = (node + 1 - (1 << len)) as u32;
        let bits = place.checked_shl(32 - u32::from(len)).unwrap_or(0);
        assert!(len <= self.depth);
        IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(bits), len).expect("a valid length"))
    }

    /// Entries that the compression makes of it.
    fn compressed(&self, sets: u8) -> usize {
        let config = FibConfig { capacity_v4: 1000, sets: 16, members: 16, ..FibConfig::default() };
        let mut fib = Fib::new(config);
        let ids: Vec<_> = (0..sets)
            .map(|set| {
                let hop = fib.next_hop(NextHopKey::Glean { ifindex: set.into() }).expect("there is room");
                fib.set(&[hop]).expect("there is room")
            })
            .collect();
        for (node, &value) in self.values.iter().enumerate() {
            if value != 0 {
                fib.insert(self.prefix(node), ids[usize::from(value) - 1]).expect("the set lives");
            }
        }
        fib.commit(&mut Vec::new(), |_| false);
        fib.stats().ipv4.entries
    }

    fn check(&self, sets: u8) {
        let fewest = self.fewest(0, 0, sets) as usize;
        assert_eq!(self.compressed(sets), fewest, "table {:?}", self.values);
    }
}

#[test]
fn every_table_of_two_bits_and_two_sets_is_as_small_as_it_can_be() {
    let nodes = Table::nodes(2);
    for number in 0..3_usize.pow(nodes as u32) {
        let values = (0..nodes).map(|i| (number / 3_usize.pow(i as u32) % 3) as u8).collect();
        Table { depth: 2, values }.check(2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn crowded_tables_are_as_small_as_they_can_be(
        values in prop::collection::vec(0_u8..=3, Table::nodes(5)),
    ) {
        Table { depth: 5, values }.check(3);
    }

    #[test]
    fn sparse_tables_are_as_small_as_they_can_be(
        values in prop::collection::vec(prop_oneof![6 => Just(0_u8), 1 => 1_u8..=3], Table::nodes(5)),
        default in 0_u8..=3,
    ) {
        let mut values = values;
        values[0] = default;
        Table { depth: 5, values }.check(3);
    }
}
