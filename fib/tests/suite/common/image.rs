//! A direct table, kept as runs of equal words, and read by the lookup code that the XDP program has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fib_abi::direct::{Layout, NODE};

#[derive(Debug)]
pub(crate) struct Image {
    layout: Layout,
    /// The first word of each run, and the value up to the next run.
    runs: BTreeMap<u32, u32>,
    /// Nodes that a word names, and those that one named at any time since the last grace period.
    named: BTreeSet<u32>,
    seen: BTreeSet<u32>,
}

impl Default for Image {
    fn default() -> Self {
        Self::new(Layout::IPV4[0])
    }
}

impl Image {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, runs: BTreeMap::from([(0, 0)]), named: BTreeSet::new(), seen: BTreeSet::new() }
    }

    fn read(&self, word: u32) -> u32 {
        assert!(word < self.layout.words(), "word {word} lies outside");
        *self.runs.range(..=word).next_back().expect("the first run begins at 0").1
    }

    /// The node that a word belongs to.
    fn node(&self, word: u32) -> Option<u32> {
        let below = word.checked_sub(self.layout.node(0))?;
        Some(word.checked_sub(self.layout.hidden(0)).unwrap_or(below >> self.layout.stride))
    }

    /// The table with a larger layout: the root and the nodes stay where they are, and what they hide follows
    /// the larger number of nodes.
    pub(crate) fn grow(&mut self, layout: Layout) {
        let (end, moved) = (self.layout.same_words(), layout.hidden(0) - self.layout.hidden(0));
        let at_end = self.read(end);
        let hidden = self.runs.split_off(&end);
        self.runs.insert(end, 0);
        self.runs.insert(layout.hidden(0), at_end);
        self.runs.extend(hidden.into_iter().map(|(first, value)| (first + moved, value)));
        self.runs.insert(self.layout.words() + moved, 0);
        self.layout = layout;
    }

    pub(crate) fn fill(&mut self, first: u32, count: u32, value: u32) {
        let end = first + count;
        assert!(count > 0 && end <= self.layout.words(), "{count} words from {first}");
        if let Some(node) = self.node(first) {
            assert_eq!(self.node(end - 1), Some(node), "a write goes into one node");
            let idle = self.seen.contains(&node) && !self.named.contains(&node);
            assert!(!idle, "node {node} may be in use");
        }
        let rest = if end < self.layout.words() { Some(self.read(end)) } else { None };
        let first_old = self.read(first);
        let inside: Vec<u32> = self.runs.range(first..end).map(|(&start, _)| start).collect();
        let old: BTreeSet<u32> =
            inside.into_iter().filter_map(|start| self.runs.remove(&start)).chain([first_old]).collect();
        for word in old.into_iter().filter(|word| word & NODE != 0) {
            self.named.remove(&(word & !NODE));
        }
        self.runs.insert(first, value);
        if let Some(rest) = rest {
            self.runs.insert(end, rest);
        }
        if value & NODE != 0 {
            assert_eq!(count, 1, "one word names a node");
            assert!(value & !NODE < self.layout.nodes);
            self.named.insert(value & !NODE);
            self.seen.insert(value & !NODE);
        }
    }

    /// Whether the words from `first` on have these values.
    pub(crate) fn has(&self, first: u32, values: &[u32]) -> bool {
        let end = first + values.len() as u32;
        let mut found = vec![self.read(first); values.len()];
        for (&start, &value) in self.runs.range(first..end) {
            found[(start - first) as usize..].fill(value);
        }
        found == values
    }

    /// The set that a value names.
    pub(crate) fn set(value: u32) -> Option<u32> {
        (value != 0 && value & NODE == 0).then_some(value)
    }

    /// The sets that words name which a program can come to.
    pub(crate) fn sets(&self) -> BTreeSet<u32> {
        let live = |word: u32| self.node(word).is_none_or(|node| self.named.contains(&node));
        // A run over several nodes is looked at in each.
        let ends = self.runs.keys().skip(1).copied().chain([self.layout.words()]);
        let runs = self.runs.iter().zip(ends).filter(|((_, value), _)| Self::set(**value).is_some());
        runs.filter(|((first, _), end)| (**first..*end).any(live)).map(|((_, value), _)| *value).collect()
    }

    pub(crate) fn grace(&mut self) {
        self.seen = self.named.clone();
    }

    pub(crate) fn lookup(&self, address: IpAddr) -> Option<u32> {
        let read = |word| self.read(word);
        let set = match address {
            IpAddr::V4(address) => self.layout.lookup_v4(address.octets(), read),
            IpAddr::V6(address) => self.layout.lookup_v6(&address.octets(), read),
        };
        (set != 0).then_some(set)
    }

    /// Whether no address has a route and no word names a node.
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.sets().is_empty()
    }
}
