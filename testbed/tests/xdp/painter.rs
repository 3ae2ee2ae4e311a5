//! Direct tables written in the plainest way: nothing but the layout is shared with the `fib` crate.

use std::{collections::BTreeMap, net::IpAddr};

use fib::{Family, TableEdit};
use fib_abi::direct::{Layout, NODE};

/// A table that is being written, from an empty one.
#[derive(Default)]
pub(crate) struct Painter {
    /// Nodes by the word that names them, and words that have a value, of both families.
    nodes: BTreeMap<(usize, u32), u32>,
    words: BTreeMap<(usize, u32), u32>,
    edits: Vec<TableEdit>,
}

impl Painter {
    /// Turns entries of tries into words of direct tables.
    pub(crate) fn paint(mut entries: Vec<TableEdit>) -> Vec<TableEdit> {
        // The longest last: it decides.
        entries.sort_by_key(|edit| match edit {
            TableEdit::Insert { prefix, .. } => prefix.prefix_len(),
            _ => panic!("{edit:?} is no entry"),
        });
        let mut painter = Self::default();
        for edit in entries {
            if let TableEdit::Insert { prefix, set } = edit {
                painter.insert(prefix.network(), prefix.prefix_len(), set);
            }
        }
        painter.edits
    }

    fn insert(&mut self, address: IpAddr, len: u8, set: u32) {
        let (family, bits) = match address {
            IpAddr::V4(address) => (Family::Ipv4, u128::from(address.to_bits()) << 96),
            IpAddr::V6(address) => (Family::Ipv6, address.to_bits()),
        };
        let layout = family.layouts()[0];
        let (mut origin, mut start, mut end) = (0, 0, layout.base);
        loop {
            let word = origin + ((bits << start) >> (128 - u32::from(end - start))) as u32;
            if len <= end {
                return self.write(family, word, 1 << (end - len), set);
            }
            origin = layout.node(self.node(family, layout, word));
            (start, end) = (end, end + layout.stride);
        }
    }

    /// The node that a word names, made if there is none.
    fn node(&mut self, family: Family, layout: Layout, word: u32) -> u32 {
        let key = (family as usize, word);
        if let Some(node) = self.nodes.get(&key) {
            return *node;
        }
        let node = self.nodes.len() as u32;
        if let Some(&hidden) = self.words.get(&key) {
            self.write(family, layout.hidden(node), 1, hidden);
        }
        self.write(family, word, 1, NODE | node);
        self.nodes.insert(key, node);
        node
    }

    fn write(&mut self, family: Family, first: u32, count: u32, value: u32) {
        self.words.extend((first..first + count).map(|word| ((family as usize, word), value)));
        self.edits.push(TableEdit::Fill { family, first, count, value });
    }
}
