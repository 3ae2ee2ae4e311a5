//! `match`: the conditions of a rule.
//!
//! All keys must hold. A key with several values holds when one of them matches; `{ any = [...], all = [...],
//! none = [...] }` asks for more. `any` and `not` hold whole conditions.

use bgp::policy::{AsnSet, Match, NeighborSet, NumberPattern, Policy, RouteType, RpkiState};
use bgp::types::{Family, FamilySet};
use bgp::wire::Origin;
use figment::value::Value;

use crate::named::Named;
use crate::reader::{Read, Report, Table, choice, number, shape, text};
use crate::source::Path;

use super::lists::{
    Lists, Prefixes, addresses, asns, neighbor_set, neighbors, patterns, prefix_matches, prefixes,
};
use super::some;

const ROUTE_TYPES: &[(&str, RouteType)] =
    &[("ebgp", RouteType::Ebgp), ("ibgp", RouteType::Ibgp), ("local", RouteType::Local)];
pub(super) const ORIGINS: &[(&str, Origin)] =
    &[("igp", Origin::Igp), ("egp", Origin::Egp), ("incomplete", Origin::Incomplete)];
const STATES: &[(&str, RpkiState)] = &[
    ("valid", RpkiState::Valid),
    ("invalid", RpkiState::Invalid),
    ("not-found", RpkiState::NotFound),
    ("unknown", RpkiState::Unknown),
];
const FAMILIES: &[(&str, Family)] =
    &[("ipv4-unicast", Family::Ipv4Unicast), ("ipv6-unicast", Family::Ipv6Unicast)];

/// What conditions may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'n> {
    pub(super) lists: &'n Lists,
    pub(super) policies: &'n Named<Policy>,
}

/// Reads the conditions of a table to its end.
pub(super) fn matches(mut table: Table<'_, '_>, known: Known<'_>) -> Vec<Match> {
    let mut matches = Vec::new();
    prefix_keys(&mut table, known.lists, &mut matches);
    neighbor_keys(&mut table, known.lists, &mut matches);
    as_path_keys(&mut table, known.lists, &mut matches);
    community_keys(&mut table, known.lists, &mut matches);
    number_keys(&mut table, &mut matches);
    policy_keys(&mut table, known, &mut matches);
    table.finish(&[]);
    matches
}

fn prefix_keys(table: &mut Table<'_, '_>, lists: &Lists, matches: &mut Vec<Match>) {
    let families = words(table, "family", FAMILIES).map(|families| families.into_iter().collect());
    let (report, path) = (table.report(), table.key("family"));
    let make = |values: Vec<Prefixes>| Match::Prefix(prefix_matches(values));
    let first = matches.len();
    let named = |value: &Value| {
        lists.prefixes.resolve(&text(value, "the name of a prefix list")?, &[]).map(Prefixes::List)
    };
    quantified(table, "prefix-list", named, true, make, matches);
    quantified(table, "prefix", |value| prefixes(value, &lists.prefixes), true, make, matches);
    if let Some(families) = families {
        if let Some(family) = never(families, &matches[first..]) {
            let reason = format!(
                "none of the prefixes is {family}, so the rule can never match; expected one that is"
            );
            report.error(&path, reason);
        }
        matches.push(Match::Family(families));
    }
    let make = |values: Vec<Prefixes>| Match::NextHop(prefix_matches(values));
    quantified(table, "next-hop", |value| addresses(value, &lists.prefixes), false, make, matches);
}

/// The one family asked for, if a condition has prefixes, and all of the other one.
fn never(families: FamilySet, conditions: &[Match]) -> Option<Family> {
    let mut asked = families.iter();
    let (Some(family), None) = (asked.next(), asked.next()) else { return None };
    conditions
        .iter()
        .any(|condition| {
            let Match::Prefix(lists) = condition else { return false };
            let mut entries = lists.iter().flat_map(|list| list.entries()).peekable();
            entries.peek().is_some() && entries.all(|entry| Family::of(&entry.prefix()) != family)
        })
        .then_some(family)
}

fn neighbor_keys(table: &mut Table<'_, '_>, lists: &Lists, matches: &mut Vec<Match>) {
    let read = |value: &Value| neighbors(value, &lists.neighbors);
    let make = |sets: Vec<NeighborSet>| Match::Neighbor(neighbor_set(&sets));
    quantified(table, "neighbor", read, false, make, matches);
    let make = |sets: Vec<NeighborSet>| Match::From(neighbor_set(&sets));
    quantified(table, "from", read, false, make, matches);
    matches.extend(words(table, "route-type", ROUTE_TYPES).map(Match::RouteType));
    if let Some(states) = words(table, "rpki", STATES) {
        if states.iter().any(|state| *state != RpkiState::Unknown) {
            let reason = "there is no RPKI cache, so every route is \"unknown\" and no other state matches";
            table.report().warn(&table.key("rpki"), reason);
        }
        matches.push(Match::Rpki(states));
    }
}

fn as_path_keys(table: &mut Table<'_, '_>, lists: &Lists, matches: &mut Vec<Match>) {
    let read = |value: &Value| patterns(value, &lists.as_paths);
    quantified(table, "as-path", read, true, |values| Match::AsPath(values.concat()), matches);
    let read = |value: &Value| asns(value, &lists.asns);
    let union = |sets: Vec<AsnSet>| AsnSet::new(sets.iter().flat_map(AsnSet::ranges).copied());
    quantified(table, "as-path-contains", read, true, |sets| Match::AsPathContains(union(sets)), matches);
    quantified(table, "as-path-first", read, false, |sets| Match::AsPathFirst(union(sets)), matches);
    quantified(table, "as-path-origin", read, false, |sets| Match::AsPathOrigin(union(sets)), matches);
    matches.extend(comparison(table, "as-path-length").map(Match::AsPathLength));
    matches.extend(comparison(table, "as-path-unique-length").map(Match::AsPathUniqueLength));
}

fn community_keys(table: &mut Table<'_, '_>, lists: &Lists, matches: &mut Vec<Match>) {
    let read = |value: &Value| patterns(value, &lists.communities);
    quantified(table, "community", read, true, |values| Match::Community(values.concat()), matches);
    let read = |value: &Value| patterns(value, &lists.large_communities);
    let make = |values: Vec<Vec<_>>| Match::LargeCommunity(values.concat());
    quantified(table, "large-community", read, true, make, matches);
    let read = |value: &Value| patterns(value, &lists.extended_communities);
    let make = |values: Vec<Vec<_>>| Match::ExtendedCommunity(values.concat());
    quantified(table, "extended-community", read, true, make, matches);
    matches.extend(comparison(table, "community-count").map(Match::CommunityCount));
    matches.extend(comparison(table, "large-community-count").map(Match::LargeCommunityCount));
    matches.extend(comparison(table, "extended-community-count").map(Match::ExtendedCommunityCount));
}

fn number_keys(table: &mut Table<'_, '_>, matches: &mut Vec<Match>) {
    matches.extend(words(table, "origin", ORIGINS).map(Match::Origin));
    if matches!(table.peek("med"), Some(Value::String(_, word)) if word == "none") {
        table.optional("med", |_| Ok(()));
        matches.push(Match::Not(vec![Match::HasMed]));
    } else {
        matches.extend(comparison(table, "med").map(Match::Med));
    }
    matches.extend(comparison(table, "local-pref").map(Match::LocalPref));
}

fn policy_keys(table: &mut Table<'_, '_>, known: Known<'_>, matches: &mut Vec<Match>) {
    let read =
        |value: &Value| known.policies.resolve(&text(value, "the name of a policy")?, &[]).map(Match::Policy);
    quantified(table, "policy", read, true, any_of, matches);
    let present = |value: &Value| {
        let list = known.lists.prefixes.resolve(&text(value, "the name of a prefix list")?, &[])?;
        known.lists.condition(list)
    };
    quantified(table, "route-present", present, true, any_of, matches);
    let report = table.report();
    let (has_any, errors) = (table.has("any"), report.error_count());
    let groups: Vec<Vec<Match>> =
        table.tables("any").into_iter().map(|group| conditions(group, known)).collect();
    if has_any {
        if groups.is_empty() && report.error_count() == errors {
            let reason = "the array is empty; expected at least one group of conditions";
            report.error(&table.key("any"), reason);
        }
        matches.push(Match::Any(groups));
    }
    matches.extend(table.table("not").map(|group| Match::Not(conditions(group, known))));
}

/// One of the conditions.
fn any_of(mut asked: Vec<Match>) -> Match {
    match asked.pop() {
        Some(only) if asked.is_empty() => only,
        last => Match::Any(asked.into_iter().chain(last).map(|condition| vec![condition]).collect()),
    }
}

/// Conditions within others, of which there must be one at least.
fn conditions(table: Table<'_, '_>, known: Known<'_>) -> Vec<Match> {
    let (report, path) = (table.report(), table.path().clone());
    let errors = report.error_count();
    let conditions = matches(table, known);
    if conditions.is_empty() && report.error_count() == errors {
        report.error(&path, "there is no condition in it; expected at least one");
    }
    conditions
}

/// Values of which any must match, or a table of any, all and none. `all`: whether a route can match more
/// than one of the values.
fn quantified<T: Clone + PartialEq>(
    table: &mut Table<'_, '_>,
    key: &'static str,
    read: impl Fn(&Value) -> Read<T>,
    all: bool,
    make: impl Fn(Vec<T>) -> Match,
    matches: &mut Vec<Match>,
) {
    let values = |pairs: &[(Path, T)]| pairs.iter().map(|(_, value)| value.clone()).collect::<Vec<T>>();
    if !table.has_table(key) {
        matches.extend(some(table, key, read).map(|found| make(values(&found))));
        return;
    }
    let Some(mut table) = table.table(key) else { return };
    let report = table.report();
    if !["any", "all", "none"].iter().any(|key| table.has(key)) {
        report.error(table.path(), "no values are in it; expected any, all or none");
    }
    let any = some(&mut table, "any", &read);
    let every = if all { some(&mut table, "all", &read) } else { None };
    let none = some(&mut table, "none", &read).unwrap_or_default();
    table.finish(&[]);
    let refused = |value: &T| none.iter().any(|(_, other)| other == value);
    if let Some((path, _)) = every.iter().flatten().find(|(_, value)| refused(value)) {
        report.error(
            path,
            "the value is also in none, so the rule can never match; expected it in one of them",
        );
    }
    if let Some(any) = &any
        && let Some((path, _)) = any.first()
        && any.iter().all(|(_, value)| refused(value))
    {
        report
            .error(path, "all these values are also in none, so the rule can never match; expected another");
    }
    matches.extend(any.map(|found| make(values(&found))));
    matches.extend(every.into_iter().flatten().map(|(_, value)| make(vec![value])));
    if !none.is_empty() {
        matches.push(Match::Not(vec![make(values(&none))]));
    }
}

/// Some of several words.
fn words<T: Copy>(table: &mut Table<'_, '_>, key: &'static str, choices: &[(&str, T)]) -> Option<Vec<T>> {
    some(table, key, |value| choice(value, choices))
        .map(|found| found.into_iter().map(|(_, value)| value).collect())
}

/// A number, or `{ ge = 1, le = 9 }`.
fn comparison(table: &mut Table<'_, '_>, key: &'static str) -> Option<NumberPattern> {
    let whole = |value: &Value| number(value, 0..=u32::MAX, "");
    if !table.has_table(key) {
        let read = |value: &Value| match value {
            Value::Num(..) => whole(value),
            other => Err(format!("{}; expected a number, or {{ ge = N, le = N }}", shape(other))),
        };
        return table.optional(key, read).map(NumberPattern::exactly);
    }
    let mut table = table.table(key)?;
    let (report, path) = (table.report(), table.path().clone());
    let errors = report.error_count();
    let (exact, bounds) = (table.has("eq"), table.has("ge") || table.has("le"));
    let [eq, ge, le] = ["eq", "ge", "le"].map(|key| table.optional(key, whole));
    table.finish(&[]);
    let range = NumberPattern { first: eq.or(ge).unwrap_or(0), last: eq.or(le).unwrap_or(u32::MAX) };
    if report.error_count() == errors {
        check_comparison(report, &path, range, exact, bounds);
    }
    Some(range)
}

fn check_comparison(report: &Report<'_>, path: &Path, range: NumberPattern, exact: bool, bounds: bool) {
    if exact && bounds {
        report.error(path, "eq stands beside ge or le; expected eq alone, or ge and le");
    } else if !exact && !bounds {
        report.error(path, "there is no number in it; expected eq, or ge and le");
    } else if range.first > range.last {
        let (first, last) = (range.first, range.last);
        report.error(path, format!("ge {first} le {last} can never match; expected ge <= le"));
    }
}
