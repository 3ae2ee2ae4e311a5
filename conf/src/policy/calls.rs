//! Which policies name which: the order in which to read them, and circles.
//!
//! A policy holds those that it calls or asks, so these must be there first, wherever they stand in the file.

use std::collections::HashMap;

use figment::value::Value;

use crate::reader::{Report, Table};
use crate::source::Path;

/// Deeper calls are a mistake, and every route would take the stack that they take.
const MAX_DEPTH: usize = 32;
/// A policy with all that it calls, each as often as it is called: what one route may take.
const MAX_SIZE: usize = 10_000;

/// A policy that another one names, and where.
struct Edge {
    to: usize,
    path: Path,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    /// With how many policies below one another, and how many in all.
    Done(usize, usize),
}

struct Search<'r, 's, 'n> {
    report: &'r Report<'s>,
    names: &'n [Option<String>],
    edges: Vec<Vec<Edge>>,
    states: Vec<State>,
    open: Vec<usize>,
    order: Vec<usize>,
}

/// The indexes of the policies, each behind those that it names. `names` are theirs; one that is wrong is
/// `None`. Circles and calls that go too deep are reported.
pub(super) fn order(tables: &[Table<'_, '_>], names: &[Option<String>]) -> Vec<usize> {
    let Some(first) = tables.first() else { return Vec::new() };
    let mut index: HashMap<&str, usize> = HashMap::new();
    for (at, name) in names.iter().enumerate() {
        if let Some(name) = name {
            index.entry(name).or_insert(at);
        }
    }
    let edges = tables
        .iter()
        .map(|table| {
            let mut found = Vec::new();
            if let Some(Value::Array(_, rules)) = table.peek("rule") {
                let path = table.key("rule");
                rules.iter().enumerate().for_each(|(at, rule)| in_rule(rule, &path.index(at), &mut found));
            }
            let edge = |(name, path): (&str, Path)| Some(Edge { to: *index.get(name)?, path });
            found.into_iter().filter_map(edge).collect()
        })
        .collect();
    let mut search = Search {
        report: first.report(),
        names,
        edges,
        states: vec![State::New; tables.len()],
        open: Vec::new(),
        order: Vec::with_capacity(tables.len()),
    };
    for at in 0..tables.len() {
        search.visit(at);
    }
    search.order
}

impl Search<'_, '_, '_> {
    /// How many policies stand below one another from this one on, and how many there are in all, each
    /// counted as often as it is called.
    fn visit(&mut self, at: usize) -> (usize, usize) {
        if let State::Done(depth, size) = self.states[at] {
            return (depth, size);
        }
        self.states[at] = State::Open;
        self.open.push(at);
        let (mut depth, mut size, mut too_large) = (1, 1, false);
        for edge in std::mem::take(&mut self.edges[at]) {
            if self.states[edge.to] == State::Open {
                self.circle(&edge);
                continue;
            }
            let (below, more) =
                if self.open.len() > MAX_DEPTH { (MAX_DEPTH, 0) } else { self.visit(edge.to) };
            size += more;
            if size > MAX_SIZE && !too_large {
                too_large = true;
                let reason = format!(
                    "policies call each other so often that one route could pass more than {MAX_SIZE} of them; \
                     expected fewer calls"
                );
                self.report.error(&edge.path, reason);
            }
            if below >= MAX_DEPTH {
                let reason = format!(
                    "policies call each other more than {MAX_DEPTH} deep; expected fewer levels of calls"
                );
                self.report.error(&edge.path, reason);
            } else {
                depth = depth.max(below + 1);
            }
        }
        if too_large {
            // Said once, and not again by everyone above.
            size = 0;
        }
        self.open.pop();
        self.states[at] = State::Done(depth, size);
        self.order.push(at);
        (depth, size)
    }

    fn circle(&self, edge: &Edge) {
        let start = self.open.iter().position(|at| *at == edge.to).unwrap_or_default();
        let round = self.open[start..].iter().chain([&edge.to]);
        let names: Vec<&str> = round.filter_map(|at| self.names[*at].as_deref()).collect();
        let reason = format!(
            "policies call each other in a circle: {}; expected none that leads back to itself",
            names.join(" -> ")
        );
        self.report.error(&edge.path, reason);
    }
}

fn in_rule<'v>(rule: &'v Value, path: &Path, found: &mut Vec<(&'v str, Path)>) {
    let Value::Dict(_, keys) = rule else { return };
    if let Some(names) = keys.get("call") {
        in_names(names, &path.key("call"), found);
    }
    if let Some(conditions) = keys.get("match") {
        in_conditions(conditions, &path.key("match"), found);
    }
}

fn in_conditions<'v>(conditions: &'v Value, path: &Path, found: &mut Vec<(&'v str, Path)>) {
    let Value::Dict(_, keys) = conditions else { return };
    if let Some(names) = keys.get("policy") {
        let path = path.key("policy");
        match names {
            Value::Dict(_, groups) => {
                for (key, names) in groups {
                    in_names(names, &path.key(key), found);
                }
            }
            names => in_names(names, &path, found),
        }
    }
    if let Some(conditions) = keys.get("not") {
        in_conditions(conditions, &path.key("not"), found);
    }
    if let Some(Value::Array(_, groups)) = keys.get("any") {
        let path = path.key("any");
        groups.iter().enumerate().for_each(|(at, group)| in_conditions(group, &path.index(at), found));
    }
}

fn in_names<'v>(names: &'v Value, path: &Path, found: &mut Vec<(&'v str, Path)>) {
    match names {
        Value::String(_, name) => found.push((name, path.clone())),
        Value::Array(_, names) => {
            names.iter().enumerate().for_each(|(at, name)| in_names(name, &path.index(at), found));
        }
        _ => {}
    }
}
