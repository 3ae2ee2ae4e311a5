//! Lists that policies name: `[[prefix-list]]`, `[[as-path-list]]`, `[[as-list]]`, `[[neighbor-list]]`,
//! `[[community-list]]` and those of large and extended communities.
//!
//! Wherever a condition takes values of a kind, the name of a list of that kind may stand among them.
//! Names begin with a letter, values do not; those that do, such as `no-export`, are no names.

use std::cell::RefCell;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use bgp::policy::{
    AsPathPattern, AsnSet, CommunityPattern, ExtendedCommunityPattern, LargeCommunityPattern, MAX_CONDITIONS,
    Match, NeighborSet, NumberPattern, PrefixList, PrefixListEntry,
};
use bgp::wire::Community;
use figment::value::Value;
use ipnet::IpNet;

use crate::named::Named;
use crate::reader::{Read, Report, Table, number_or, text};

use super::{name, prefix_file};

pub(crate) const PREFIX: &str = "\"PREFIX/LENGTH [ge N] [le N]\"";
const NEIGHBOR: &str = "an address, a prefix, an AS number or a range \"64512-65534\"";
const ASN: &str = "an AS number or a range \"64512-65534\"";

/// The lists of a configuration.
pub(crate) struct Lists {
    pub(crate) prefixes: Named<PrefixList>,
    pub(super) as_paths: Named<Vec<AsPathPattern>>,
    pub(super) asns: Named<AsnSet>,
    pub(super) neighbors: Named<NeighborSet>,
    pub(super) communities: Named<Vec<CommunityPattern>>,
    pub(super) large_communities: Named<Vec<LargeCommunityPattern>>,
    pub(super) extended_communities: Named<Vec<ExtendedCommunityPattern>>,
    /// Those of which policies ask whether there is a route, in the order in which they were first named.
    pub(crate) conditions: RefCell<Vec<Arc<PrefixList>>>,
}

/// One value where prefixes are expected.
#[derive(Clone, PartialEq)]
pub(super) enum Prefixes {
    One(PrefixListEntry),
    List(Arc<PrefixList>),
}

impl Lists {
    pub(crate) fn read(root: &mut Table<'_, '_>) -> Self {
        let asns = named(root, "as-list", "AS list", "asns", |value| {
            asn_range(value, ASN).map(|range| AsnSet::new([range]))
        });
        Self {
            prefixes: prefix_lists(root),
            as_paths: named(root, "as-path-list", "AS-path list", "as-paths", parse),
            asns: merged(asns, |sets| AsnSet::new(sets.iter().flat_map(AsnSet::ranges).copied())),
            neighbors: merged(
                named(root, "neighbor-list", "neighbor list", "neighbors", |value| neighbor(value, NEIGHBOR)),
                |sets| neighbor_set(&sets),
            ),
            communities: named(root, "community-list", "community list", "communities", parse),
            large_communities: named(
                root,
                "large-community-list",
                "large community list",
                "communities",
                parse,
            ),
            extended_communities: named(
                root,
                "extended-community-list",
                "extended community list",
                "communities",
                parse,
            ),
            conditions: RefCell::default(),
        }
    }

    /// The condition that there is a route to a prefix of the list.
    pub(super) fn condition(&self, list: Arc<PrefixList>) -> Read<Match> {
        let mut conditions = self.conditions.borrow_mut();
        let known = conditions.iter().position(|other| Arc::ptr_eq(other, &list));
        let index = known.unwrap_or(conditions.len());
        if index == MAX_CONDITIONS {
            return Err(format!("one list too many; expected at most {MAX_CONDITIONS} in all policies"));
        }
        if known.is_none() {
            conditions.push(Arc::clone(&list));
        }
        Ok(Match::RoutePresent { list, index: index as u8 })
    }

    /// Warns of those that are never named.
    pub(crate) fn warn_unused(&self, report: &Report<'_>) {
        self.prefixes.warn_unused(report);
        self.as_paths.warn_unused(report);
        self.asns.warn_unused(report);
        self.neighbors.warn_unused(report);
        self.communities.warn_unused(report);
        self.large_communities.warn_unused(report);
        self.extended_communities.warn_unused(report);
    }
}

impl<T> Named<T> {
    fn warn_unused(&self, report: &Report<'_>) {
        for path in self.unused() {
            report.warn(path, format!("no policy names this {}", self.kind()));
        }
    }
}

fn prefix_lists(root: &mut Table<'_, '_>) -> Named<PrefixList> {
    let mut lists = Named::new("prefix list");
    for mut table in root.tables("prefix-list") {
        let report = table.report();
        let name = name(&mut table, &lists);
        let expected = format!("an array of {PREFIX}");
        let errors = report.error_count();
        let key = if table.has("file") { "file" } else { "prefixes" };
        if !table.has(key) {
            report.error(&table.key("prefixes"), format!("missing; expected {expected}, or file"));
        }
        let prefixes = table.list("prefixes", |value| {
            text(value, &expected)?.parse::<PrefixListEntry>().map_err(|error| error.to_string())
        });
        let mut entries: Vec<PrefixListEntry> =
            prefixes.unwrap_or_default().into_iter().map(|(_, entry)| entry).collect();
        let expected = "the path of a file";
        let files = table.list("file", |value| {
            let file = text(value, expected)?;
            if prefix_file::is_file_name(&file) {
                return Ok(file);
            }
            Err(format!("\"{file}\" is no file; expected {expected}"))
        });
        for (path, file) in files.unwrap_or_default() {
            entries.extend(prefix_file::read(report, &path, &file));
        }
        if entries.is_empty() && report.error_count() == errors {
            report.warn(&table.key(key), "the list is empty and matches nothing");
        }
        table.finish(&[]);
        if let Some((path, name)) = name {
            lists.add(path, name.clone(), PrefixList::new(name, entries));
        }
    }
    lists
}

/// The lists of one kind, each with its values.
fn named<T>(
    root: &mut Table<'_, '_>,
    section: &'static str,
    kind: &'static str,
    key: &'static str,
    read: impl Fn(&Value) -> Read<T> + Copy,
) -> Named<Vec<T>> {
    let mut lists = Named::new(kind);
    for mut table in root.tables(section) {
        let report = table.report();
        let name = name(&mut table, &lists);
        if let Some((path, name)) = &name
            && (!is_name(name) || read(&Value::from(name.as_str())).is_ok())
        {
            let reason = format!("\"{name}\" reads as a value; expected a name that begins with a letter");
            report.error(path, reason);
        }
        let errors = report.error_count();
        let values = table.required_list(key, "an array of values", read);
        if values.as_ref().is_some_and(Vec::is_empty) && report.error_count() == errors {
            report.warn(&table.key(key), "the list is empty and matches nothing");
        }
        table.finish(&[]);
        if let Some((path, name)) = name {
            lists.add(path, name, values.unwrap_or_default().into_iter().map(|(_, value)| value).collect());
        }
    }
    lists
}

/// The same lists, the values of each made into one.
fn merged<T: Clone, U>(lists: Named<Vec<T>>, merge: impl Fn(Vec<T>) -> U) -> Named<U> {
    lists.map(|values| merge(values.clone()))
}

/// Whether the text can only be the name of a list.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn parse<T: FromStr<Err: Display>>(value: &Value) -> Read<T> {
    text(value, "a string")?.parse().map_err(|error: T::Err| error.to_string())
}

/// An expression or community pattern, or the name of a list of them.
pub(super) fn patterns<T>(value: &Value, lists: &Named<Vec<T>>) -> Read<Vec<T>>
where
    T: FromStr<Err: Display> + Clone,
{
    let text = text(value, "a string or an array of strings")?;
    match text.parse() {
        Ok(pattern) => Ok(vec![pattern]),
        Err(_) if is_name(&text) => {
            let known: Vec<&str> = if lists.kind() == "community list" {
                Community::WELL_KNOWN.iter().map(|(_, name)| *name).collect()
            } else {
                Vec::new()
            };
            lists.resolve(&text, &known).map(|list| list.to_vec())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A number, a range, or the name of a list.
pub(super) fn asns(value: &Value, lists: &Named<AsnSet>) -> Read<AsnSet> {
    match value {
        Value::String(_, name) if is_name(name) && AsnSet::parse_range(name).is_err() => {
            lists.resolve(name, &[]).map(|list| (*list).clone())
        }
        value => asn_range(value, "an AS number, a range \"64512-65534\" or the name of an [[as-list]]")
            .map(|range| AsnSet::new([range])),
    }
}

/// An AS number, or a range of them.
pub(crate) fn asn_range(value: &Value, expected: &str) -> Read<NumberPattern> {
    match value {
        Value::String(_, text) => AsnSet::parse_range(text).map_err(|error| error.to_string()),
        value => number_or(value, 0..=u32::MAX, expected).map(NumberPattern::exactly),
    }
}

/// An address, a prefix, a number, a range, or the name of a list.
pub(super) fn neighbors(value: &Value, lists: &Named<NeighborSet>) -> Read<NeighborSet> {
    match value {
        Value::String(_, name) if is_name(name) && AsnSet::parse_range(name).is_err() => {
            lists.resolve(name, &[]).map(|list| (*list).clone())
        }
        value => neighbor(value, &format!("{NEIGHBOR}, or the name of a [[neighbor-list]]")),
    }
}

fn neighbor(value: &Value, expected: &str) -> Read<NeighborSet> {
    if let Value::String(_, text) = value
        && text.contains(['.', ':', '/'])
    {
        let entry = host_or_prefix(text, expected)?;
        let addresses = vec![Arc::new(PrefixList::new("", vec![entry]))];
        return Ok(NeighborSet { addresses, ..NeighborSet::default() });
    }
    let asns = AsnSet::new([asn_range(value, expected)?]);
    Ok(NeighborSet { asns, ..NeighborSet::default() })
}

/// One set of several.
pub(super) fn neighbor_set(sets: &[NeighborSet]) -> NeighborSet {
    // Single addresses into one list: their lengths do not matter, so that lists may be joined.
    let entries = sets.iter().flat_map(|set| &set.addresses).flat_map(|list| list.entries()).copied();
    let entries: Vec<PrefixListEntry> = entries.collect();
    let addresses =
        if entries.is_empty() { Vec::new() } else { vec![Arc::new(PrefixList::new("", entries))] };
    let asns = AsnSet::new(sets.iter().flat_map(|set| set.asns.ranges()).copied());
    NeighborSet { addresses, asns }
}

/// A prefix with lengths, or the name of a list.
pub(super) fn prefixes(value: &Value, lists: &Named<PrefixList>) -> Read<Prefixes> {
    let text = text(value, &format!("{PREFIX} or the name of a prefix list"))?;
    if is_name(&text) {
        return lists.resolve(&text, &[]).map(Prefixes::List);
    }
    text.parse().map(Prefixes::One).map_err(|error: bgp::policy::PrefixListEntryError| error.to_string())
}

/// An address, a prefix, or the name of a list of prefixes.
pub(super) fn addresses(value: &Value, lists: &Named<PrefixList>) -> Read<Prefixes> {
    let expected = "an address, a prefix or the name of a prefix list";
    let text = text(value, expected)?;
    if is_name(&text) {
        return lists.resolve(&text, &[]).map(Prefixes::List);
    }
    host_or_prefix(&text, expected).map(Prefixes::One)
}

fn host_or_prefix(text: &str, expected: &str) -> Read<PrefixListEntry> {
    let net = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    let net = net.map_err(|_| format!("\"{text}\" is no address or prefix; expected {expected}"))?;
    PrefixListEntry::new(net, None, None).map_err(|error| error.to_string())
}

/// All values in as few lists as can be: single prefixes in one, the others as they are.
pub(super) fn prefix_matches(values: Vec<Prefixes>) -> Vec<Arc<PrefixList>> {
    let (mut single, mut lists) = (Vec::new(), Vec::new());
    for value in values {
        match value {
            Prefixes::One(entry) => single.push(entry),
            Prefixes::List(list) => lists.push(list),
        }
    }
    if !single.is_empty() {
        lists.push(Arc::new(PrefixList::new("", single)));
    }
    lists
}
