//! What is originated here: `[[network]]`, `[[aggregate]]`, `[[redistribute]]`, a neighbour's `default-originate`.

use bgp::policy::{Policy, PolicyChain};
use bgp::rib::Anchor;
use figment::value::Value;
use ipnet::IpNet;

use crate::named::Named;
use crate::policy::chain;
use crate::reader::{Table, boolean, choice, shape};
use crate::sections::{PREFIX, network_prefix, unique};

/// A prefix originated here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The prefix, in network form.
    pub prefix: IpNet,
    /// What its attributes go through; the prefix is not originated when it rejects it.
    pub policy: PolicyChain,
    /// Only while the kernel's main table has a route to exactly this prefix.
    pub only_if_present: bool,
    /// What becomes of traffic to it that no more specific route takes.
    pub anchor: Anchor,
}

/// A prefix that is originated while there are routes within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// The prefix, in network form.
    pub prefix: IpNet,
    /// The routes within it are not announced to anybody.
    pub summary_only: bool,
    /// Its AS path has the AS numbers of these routes as an `AS_SET`, against the advice of RFC 9774.
    pub as_set: bool,
    /// Which of the routes within it count.
    pub contributors: PolicyChain,
    /// What its attributes go through.
    pub policy: PolicyChain,
    /// What becomes of traffic to it that no more specific route takes.
    pub anchor: Anchor,
}

/// Routes of the kernel that are originated here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redistribute {
    /// Which.
    pub source: KernelSource,
    /// What their attributes go through.
    pub policy: PolicyChain,
}

/// Which routes of the kernel's main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KernelSource {
    /// Subnets that the router is on.
    Connected,
    /// Those through a gateway.
    Kernel,
}

impl KernelSource {
    const WORDS: [(&'static str, Self); 2] = [("connected", Self::Connected), ("kernel", Self::Kernel)];

    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Kernel => "kernel",
        }
    }
}

impl std::fmt::Display for KernelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

const ANCHORS: [(&str, Anchor); 2] = [("reject", Anchor::Reject), ("blackhole", Anchor::Blackhole)];

fn anchor(table: &mut Table<'_, '_>) -> Anchor {
    table.optional("kind", |value| choice(value, &ANCHORS)).unwrap_or_default()
}

/// As `kind` says it.
pub(crate) fn anchor_word(anchor: Anchor) -> &'static str {
    ANCHORS.iter().find(|(_, known)| *known == anchor).map_or("", |(word, _)| word)
}

pub(crate) fn networks(root: &mut Table<'_, '_>, policies: &Named<Policy>) -> Vec<Network> {
    let report = root.report();
    let mut networks = Vec::new();
    for mut table in root.tables("network") {
        let path = table.key("prefix");
        let prefix = table.required("prefix", PREFIX, network_prefix);
        let policy = chain(&mut table, "policy", policies);
        let only_if_present = table.optional("only-if-present", boolean).unwrap_or(false);
        let anchor = anchor(&mut table);
        networks.extend(prefix.map(|prefix| (path, Network { prefix, policy, only_if_present, anchor })));
        table.finish(&[]);
    }
    unique(report, &networks, |network| network.prefix);
    networks.into_iter().map(|(_, network)| network).collect()
}

pub(crate) fn aggregates(root: &mut Table<'_, '_>, policies: &Named<Policy>) -> Vec<Aggregate> {
    let report = root.report();
    let mut aggregates = Vec::new();
    for mut table in root.tables("aggregate") {
        let path = table.key("prefix");
        let prefix = table.required("prefix", PREFIX, network_prefix);
        let summary_only = table.optional("summary-only", boolean).unwrap_or(false);
        let as_set = table.optional("as-set", boolean).unwrap_or(false);
        let contributors = chain(&mut table, "contributors", policies);
        let policy = chain(&mut table, "policy", policies);
        let anchor = anchor(&mut table);
        let aggregate =
            |prefix| (path, Aggregate { prefix, summary_only, as_set, contributors, policy, anchor });
        aggregates.extend(prefix.map(aggregate));
        table.finish(&[]);
    }
    unique(report, &aggregates, |aggregate| aggregate.prefix);
    aggregates.into_iter().map(|(_, aggregate)| aggregate).collect()
}

pub(crate) fn redistribute(root: &mut Table<'_, '_>, policies: &Named<Policy>) -> Vec<Redistribute> {
    let report = root.report();
    let mut all = Vec::new();
    for mut table in root.tables("redistribute") {
        let path = table.key("source");
        let expected = "\"connected\" or \"kernel\"";
        let source = table.required("source", expected, |value| choice(value, &KernelSource::WORDS));
        let policy = chain(&mut table, "policy", policies);
        all.extend(source.map(|source| (path, Redistribute { source, policy })));
        table.finish(&[]);
    }
    unique(report, &all, |redistribute| redistribute.source);
    all.into_iter().map(|(_, redistribute)| redistribute).collect()
}

/// `true`, or a table with the policy that it goes through.
pub(crate) fn default_originate(table: &mut Table<'_, '_>, policies: &Named<Policy>) -> Option<PolicyChain> {
    const KEY: &str = "default-originate";
    if table.has_table(KEY) {
        let mut inner = table.table(KEY)?;
        let policy = chain(&mut inner, "policy", policies);
        inner.finish(&[]);
        return Some(policy);
    }
    let on = table.optional(KEY, |value| match value {
        Value::Bool(_, on) => Ok(*on),
        other => Err(format!("{}; expected true, false or {{ policy = [...] }}", shape(other))),
    });
    on.unwrap_or(false).then(PolicyChain::default)
}
