//! Prefix lists and policies: `[[prefix-list]]`, `[[policy]]`, and the chains that name them.
//!
//! A rule's `match` holds when each of its keys does, and a key when any of its values does. Its
//! `set` is applied in a fixed order, whatever the order in the file: local-pref, med, then for each
//! kind of community set, remove, add, and last prepend.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use bgp::policy::{
    CommunityEdit, Disposition, Match, Modify, Policy, PolicyChain, PrefixList, PrefixListEntry, Statement,
};
use figment::value::Value;

use crate::named::Named;
use crate::reader::{Read, Report, Table, choice, number, parsed_or_said, text};
use crate::sections::asn;
use crate::source::Path;

/// What a chain can name without defining it.
const BUILT_IN: [&str; 2] = [Policy::ALL, Policy::NONE];
/// More copies of an AS number than that are refused by many, and never help.
const MAX_PREPEND: u32 = 32;

const DISPOSITIONS: &[(&str, Disposition)] =
    &[("accept", Disposition::Accept), ("reject", Disposition::Reject)];

pub(crate) fn prefix_lists(root: &mut Table<'_, '_>) -> Named<PrefixList> {
    let mut lists = Named::new("prefix list");
    for mut table in root.tables("prefix-list") {
        let name = name(&mut table, &lists);
        let expected = "an array of \"PREFIX/LENGTH [ge N] [le N]\"";
        let entries = table
            .required_list("prefixes", expected, |value| parsed_or_said::<PrefixListEntry>(value, expected));
        if entries.as_ref().is_some_and(Vec::is_empty) {
            table.report().warn(&table.key("prefixes"), "the list is empty and matches nothing");
        }
        table.finish(&[]);
        if let Some((path, name)) = name {
            let entries = entries.unwrap_or_default().into_iter().map(|(_, entry)| entry).collect();
            lists.add(path, name.clone(), PrefixList::new(name, entries));
        }
    }
    lists
}

pub(crate) fn policies(root: &mut Table<'_, '_>, lists: &Named<PrefixList>) -> Named<Policy> {
    let mut policies = Named::new("policy");
    for mut table in root.tables("policy") {
        let name = name(&mut table, &policies);
        if let Some((path, name)) = &name
            && BUILT_IN.contains(&name.as_str())
        {
            let reason = format!("\"{name}\" is built in; expected another name");
            table.report().error(path, reason);
        }
        let default = table.optional("default", |v| choice(v, DISPOSITIONS)).unwrap_or(Disposition::Reject);
        let rules = table.tables("rule");
        let last = rules.len().saturating_sub(1);
        let mut statements = Vec::with_capacity(rules.len());
        for (index, rule) in rules.into_iter().enumerate() {
            let (report, path) = (rule.report(), rule.path().clone());
            let statement = statement(rule, lists);
            if index < last && statement.matches.is_empty() && statement.disposition.is_some() {
                report.warn(&path, "the rule decides every route, so the rules behind it are never reached");
            }
            statements.push(statement);
        }
        table.finish(&[]);
        if let Some((path, name)) = name {
            policies.add(path, name.clone(), Policy { name, statements, default });
        }
    }
    policies
}

/// The chain that a neighbour's `import` or `export` names.
pub(crate) fn chain(table: &mut Table<'_, '_>, key: &'static str, policies: &Named<Policy>) -> PolicyChain {
    let report = table.report();
    let names = table.list(key, |value| text(value, "the name of a policy")).unwrap_or_default();
    PolicyChain::new(names.into_iter().filter_map(|(path, name)| match name.as_str() {
        Policy::ALL => Some(Arc::new(Policy::all())),
        Policy::NONE => Some(Arc::new(Policy::none())),
        name => policies.resolve(name, &BUILT_IN).map_err(|reason| report.error(&path, reason)).ok(),
    }))
}

/// Warns of what is defined and never named.
pub(crate) fn warn_unused(report: &Report<'_>, policies: &Named<Policy>, lists: &Named<PrefixList>) {
    let unused = policies.unused().map(|path| (path, "no neighbor names this policy"));
    for (path, reason) in unused.chain(lists.unused().map(|path| (path, "no policy names this prefix list")))
    {
        report.warn(path, reason);
    }
}

/// The name of a list or a policy. Reports one that was there before.
fn name<T>(table: &mut Table<'_, '_>, named: &Named<T>) -> Option<(Path, String)> {
    let expected = "a name of letters, digits, \"-\", \"_\" and \".\"";
    let name = table.required("name", expected, |value| {
        let name = text(value, expected)?;
        let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(usable) {
            return Err(format!("\"{name}\" is no name; expected {expected}"));
        }
        Ok(name)
    })?;
    let path = table.key("name");
    if let Some(first) = named.path(&name) {
        let first = table.report().elsewhere(first);
        let kind = named.kind();
        table
            .report()
            .error(&path, format!("duplicate {kind} \"{name}\", first on {first}; expected another name"));
        return None;
    }
    Some((path, name))
}

fn statement(mut table: Table<'_, '_>, lists: &Named<PrefixList>) -> Statement {
    let report = table.report();
    let [has_match, has_set, has_action] = ["match", "set", "action"].map(|key| table.has(key));
    if !has_match && !has_set && !has_action {
        report.error(table.path(), "the rule does nothing; expected match, set or action in it");
    } else if !has_set && !has_action {
        report.warn(table.path(), "the rule matches routes, but neither sets nor decides anything");
    }
    let name = table.optional("name", |value| text(value, "a string"));
    let matches = table.table("match").map(|table| matches(table, lists)).unwrap_or_default();
    let actions = table.table("set").map(actions).unwrap_or_default();
    let disposition = table.optional("action", |value| choice(value, DISPOSITIONS));
    if has_set && disposition == Some(Disposition::Reject) {
        report.warn(&table.key("set"), "the rule rejects the route, so what it sets is lost");
    }
    table.finish(&[]);
    Statement { name, matches, actions, disposition }
}

fn matches(mut table: Table<'_, '_>, lists: &Named<PrefixList>) -> Vec<Match> {
    let mut matches = Vec::new();
    let lists = some(&mut table, "prefix-list", |value| {
        lists.resolve(&text(value, "the name of a prefix list")?, &[])
    });
    matches.extend(lists.map(Match::Prefix));
    matches.extend(patterns(&mut table, "as-path").map(Match::AsPath));
    matches.extend(patterns(&mut table, "community").map(Match::Community));
    matches.extend(patterns(&mut table, "large-community").map(Match::LargeCommunity));
    matches.extend(patterns(&mut table, "extended-community").map(Match::ExtendedCommunity));
    table.finish(&[]);
    matches
}

fn actions(mut table: Table<'_, '_>) -> Vec<Modify> {
    let mut actions = Vec::new();
    actions.extend(table.optional("local-pref", |v| number(v, 0..=u32::MAX, "")).map(Modify::LocalPref));
    actions.extend(table.optional("med", med).map(Modify::Med));
    let keys = ["community-set", "community-remove", "community-add"];
    actions.extend(edits(&mut table, keys).into_iter().map(Modify::Communities));
    let keys = ["large-community-set", "large-community-remove", "large-community-add"];
    actions.extend(edits(&mut table, keys).into_iter().map(Modify::LargeCommunities));
    let keys = ["extended-community-set", "extended-community-remove", "extended-community-add"];
    actions.extend(edits(&mut table, keys).into_iter().map(Modify::ExtendedCommunities));
    actions.extend(prepend(&mut table));
    table.finish(&[]);
    actions
}

/// The changes to one kind of communities, in the order in which they are made.
fn edits<T, P>(table: &mut Table<'_, '_>, [set, remove, add]: [&'static str; 3]) -> Vec<CommunityEdit<T, P>>
where
    T: FromStr<Err: Display>,
    P: FromStr<Err: Display>,
{
    let mut edits = Vec::new();
    // An empty list is an order here: it clears what was there.
    let values = table.list(set, |value| parsed_or_said(value, "a string or an array of strings"));
    edits.extend(
        values.map(|values| CommunityEdit::Set(values.into_iter().map(|(_, value)| value).collect())),
    );
    edits.extend(patterns(table, remove).map(CommunityEdit::Remove));
    edits.extend(patterns(table, add).map(CommunityEdit::Add));
    edits
}

/// The values of a key, of which there must be one at least.
fn some<T>(table: &mut Table<'_, '_>, key: &'static str, read: impl Fn(&Value) -> Read<T>) -> Option<Vec<T>> {
    let (report, path) = (table.report(), table.key(key));
    let errors = report.error_count();
    let values = table.list(key, read)?;
    if values.is_empty() && report.error_count() == errors {
        report.error(&path, "the array is empty; expected at least one value");
    }
    Some(values.into_iter().map(|(_, value)| value).collect())
}

fn patterns<T: FromStr<Err: Display>>(table: &mut Table<'_, '_>, key: &'static str) -> Option<Vec<T>> {
    some(table, key, |value| parsed_or_said(value, "a string or an array of strings"))
}

fn med(value: &Value) -> Read<Option<u32>> {
    match value {
        Value::String(_, word) if word == "none" => Ok(None),
        other => number(other, 0..=u32::MAX, ", or \"none\"").map(Some),
    }
}

/// `prepend = 2`, or `prepend = { asn = 65000, count = 2 }`.
fn prepend(table: &mut Table<'_, '_>) -> Option<Modify> {
    let count = |value: &Value| number(value, 1..=MAX_PREPEND, " (times)");
    let (asn, count) = if table.has_table("prepend") {
        let mut table = table.table("prepend")?;
        let asn = table.optional("asn", asn);
        let count = table.optional("count", count).unwrap_or(1);
        table.finish(&[]);
        (asn, count)
    } else {
        (None, table.optional("prepend", count)?)
    };
    Some(Modify::Prepend { asn, count: count as u8 })
}
