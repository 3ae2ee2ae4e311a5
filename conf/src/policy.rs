//! Policies and the chains that name them: `[[policy]]`, a neighbour's `import` and `export`.
//!
//! A rule applies to a route when its [`match`](matches) holds; then come its [`set`](actions), the policies
//! of its `call`, and its `action`. What policies name has its own sections, see [`lists`].

mod actions;
mod calls;
mod lists;
mod matches;
mod prefix_file;

use std::sync::Arc;

use bgp::policy::{Disposition, Modify, NextHopAction, Policy, PolicyChain, Statement};
use figment::value::Value;

use crate::named::Named;
use crate::reader::{Read, Report, Table, choice, text};
use crate::source::Path;

use actions::actions;
use matches::{Known, matches};

pub(crate) use lists::{Lists, asn_range};

/// What a chain can name without defining it.
const BUILT_IN: [&str; 2] = [Policy::ALL, Policy::NONE];

const DEFAULTS: &[(&str, Disposition)] = &[("accept", Disposition::Accept), ("reject", Disposition::Reject)];
/// To accept a route is to hand it to the next policy of the chain, so the two words mean the same.
const ACTIONS: &[(&str, Option<Disposition>)] = &[
    ("accept", Some(Disposition::Accept)),
    ("reject", Some(Disposition::Reject)),
    ("next", None),
    ("next-policy", Some(Disposition::Accept)),
    ("accept-now", Some(Disposition::AcceptNow)),
];

pub(crate) fn policies(root: &mut Table<'_, '_>, lists: &Lists) -> Named<Policy> {
    let mut policies = Named::new("policy");
    let mut tables = root.tables("policy");
    let mut names = Vec::with_capacity(tables.len());
    // All names first, so that a policy may name one further down.
    for table in &mut tables {
        let name = name(table, &policies);
        if let Some((path, name)) = &name {
            if BUILT_IN.contains(&name.as_str()) {
                let reason = format!("\"{name}\" is built in; expected another name");
                table.report().error(path, reason);
            }
            policies.add(path.clone(), name.clone(), Policy::none());
        }
        names.push(name.map(|(_, name)| name));
    }
    let order = calls::order(&tables, &names);
    let mut tables: Vec<Option<Table<'_, '_>>> = tables.into_iter().map(Some).collect();
    for index in order {
        let (Some(table), name) = (tables[index].take(), names[index].take()) else { continue };
        let (statements, default) = policy(table, Known { lists, policies: &policies });
        if let Some(name) = name {
            policies.set(&name, Policy { name: name.clone(), statements, default });
        }
    }
    policies
}

fn policy(mut table: Table<'_, '_>, known: Known<'_>) -> (Vec<Statement>, Disposition) {
    let default = table.optional("default", |v| choice(v, DEFAULTS)).unwrap_or(Disposition::Reject);
    let rules = table.tables("rule");
    let last = rules.len().saturating_sub(1);
    let mut statements = Vec::with_capacity(rules.len());
    for (index, rule) in rules.into_iter().enumerate() {
        let (report, path) = (rule.report(), rule.path().clone());
        let statement = statement(rule, known);
        if index < last && statement.matches.is_empty() && statement.disposition.is_some() {
            report.warn(&path, "the rule decides every route, so the rules behind it are never reached");
        }
        statements.push(statement);
    }
    table.finish(&[]);
    (statements, default)
}

/// The chain that a neighbour's `import` or `export` names.
pub(crate) fn chain(table: &mut Table<'_, '_>, key: &'static str, policies: &Named<Policy>) -> PolicyChain {
    let report = table.report();
    let names = table.list(key, |value| text(value, "the name of a policy")).unwrap_or_default();
    PolicyChain::new(names.into_iter().filter_map(|(path, name)| match name.as_str() {
        Policy::ALL => Some(Arc::new(Policy::all())),
        Policy::NONE => Some(Arc::new(Policy::none())),
        name => {
            let policy =
                policies.resolve(name, &BUILT_IN).map_err(|reason| report.error(&path, reason)).ok()?;
            check_next_hops(report, &path, key == "import", &policy);
            Some(policy)
        }
    }))
}

/// Some next hops only make sense in one direction.
fn check_next_hops(report: &Report<'_>, path: &Path, import: bool, policy: &Policy) {
    for (set_by, statement) in policy.effective_statements() {
        for action in &statement.actions {
            let Modify::NextHop(action) = action else { continue };
            let (word, expected) = match (import, action) {
                (true, NextHopAction::Own) => ("self", "an address, or \"peer-address\""),
                (true, NextHopAction::Unchanged) => ("unchanged", "no next-hop at all"),
                (false, NextHopAction::PeerAddress) => ("peer-address", "\"self\" or an address"),
                _ => continue,
            };
            let (name, direction) = (&set_by.name, if import { "import" } else { "export" });
            let reason = format!(
                "policy \"{name}\" sets the next hop to \"{word}\", which means nothing on {direction}; expected \
                 {expected}"
            );
            return report.error(path, reason);
        }
    }
}

/// Warns of what is defined and never named.
pub(crate) fn warn_unused(report: &Report<'_>, policies: &Named<Policy>, lists: &Lists) {
    for path in policies.unused() {
        report.warn(path, "no neighbor names this policy");
    }
    lists.warn_unused(report);
}

/// The name of a list or a policy. Reports one that was there before.
pub(crate) fn name<T>(table: &mut Table<'_, '_>, named: &Named<T>) -> Option<(Path, String)> {
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

fn statement(mut table: Table<'_, '_>, known: Known<'_>) -> Statement {
    let report = table.report();
    let [has_match, has_set, has_call, has_action] =
        ["match", "set", "call", "action"].map(|key| table.has(key));
    if !has_match && !has_set && !has_call && !has_action {
        report.error(table.path(), "the rule does nothing; expected match, set, call or action in it");
    }
    let name = table.optional("name", |value| text(value, "a string"));
    let matches = table.table("match").map(|table| matches(table, known)).unwrap_or_default();
    let actions = table.table("set").map(|table| actions(table, known.lists)).unwrap_or_default();
    let called = |value: &Value| known.policies.resolve(&text(value, "the name of a policy")?, &[]);
    let calls = some(&mut table, "call", called).unwrap_or_default();
    let errors = report.error_count();
    let action = table.optional("action", |value| choice(value, ACTIONS));
    let disposition = action.flatten();
    if has_set && disposition == Some(Disposition::Reject) {
        report.warn(&table.key("set"), "the rule rejects the route, so what it sets is lost");
    }
    let idle = !has_set && !has_call && disposition.is_none() && report.error_count() == errors;
    if idle && (has_match || has_action) {
        report.warn(table.path(), "the rule matches routes, but neither sets nor decides anything");
    }
    table.finish(&[]);
    let calls = calls.into_iter().map(|(_, policy)| policy).collect();
    Statement { name, matches, actions, calls, disposition }
}

/// The values of a key, each with its path, of which there must be one at least.
fn some<T>(
    table: &mut Table<'_, '_>,
    key: &'static str,
    read: impl Fn(&Value) -> Read<T>,
) -> Option<Vec<(Path, T)>> {
    let (report, path) = (table.report(), table.key(key));
    let errors = report.error_count();
    let values = table.list(key, read)?;
    if values.is_empty() && report.error_count() == errors {
        report.error(&path, "the array is empty; expected at least one value");
    }
    Some(values)
}
